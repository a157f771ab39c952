"""Labelled sets of one RBP in one cell line: positives, negatives, split, and the report to read scores by."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike

import numpy as np
import pandas as pd

from ..data.composition import describe_likeness, likeness
from ..data.labelled import LabelledSet
from ..data.shuffling import dinucleotide_shuffle
from ..data.splits import PARTS, Split, make_split
from ..errors import InputError
from .annotation import Annotation, read_gtf
from .genome import SequenceSource, open_genome
from .intervals import overlap
from .matching import match_categories, match_dinucleotide, match_gc
from .site_windows import center_windows, far_from, merge_replicates, random_windows, significant, with_sequence

__all__ = ["BindingSet", "SetOptions", "Sources", "build_set", "set_name"]

logger = logging.getLogger(__name__)

# Candidates per negative that is wanted: what is near a site or lacks sequence is lost.
_DRAW = 5
# Candidates to match from; rare compositions need many, and 200,000 windows are read and searched in seconds.
_DRAW_TO_MATCH = 200_000
_COLUMNS = ["id", "sequence", "label", "chrom", "start", "end", "strand", "kind", "source"]
_COLUMNS += ["log2fc", "neg_log10_p", "region", "gene"]


@dataclass(frozen=True)
class SetOptions:
    """How sets are made; the names are the arguments of ``preprocess/make_rbp_dataset.py``, which explains them."""

    window: int = 101
    center: str = "middle"
    min_log2fc: float = 3.0
    min_neg_log10_p: float = 3.0
    min_sites: int = 50
    keep_nonstandard: bool = False
    negatives: str = "other_rbps"
    match: str = "none"
    min_distance: int = 150
    ratio: int = 1
    split: str = "cluster"
    test_chroms: Sequence[str] = ()
    dev_chroms: Sequence[str] = ()
    dev_fraction: float = 0.15
    test_fraction: float = 0.15
    seed: int = 42


@dataclass(frozen=True, eq=False)
class Sources:
    """What sets are made from: peaks as of `LAMAR.genomics.peaks.read_peaks`, sequence, and genes where there is a GTF."""

    peaks: pd.DataFrame
    sequence: SequenceSource
    annotation: Annotation | None

    @classmethod
    def open(cls, peaks: pd.DataFrame, fasta: str | PathLike, gtf: str | PathLike | None) -> Sources:
        return cls(peaks, open_genome(fasta), read_gtf(gtf) if gtf else None)


@dataclass(frozen=True, eq=False)
class BindingSet:
    """A labelled set ready to be written.

    Attributes
    ----------
    files : dict of str
        Contents by file name.
    report : dict
        Ready for JSON: counts of what was used and dropped, regions, composition, split.
    text : str
        The report as a page.
    """

    files: dict[str, str]
    report: dict
    text: str


def set_name(rbp: str, cell: str) -> str:
    """Name of a set's folder and files."""
    return f"{rbp}_{cell}" if cell else rbp


def build_set(rbp: str, cell: str, sources: Sources, options: SetOptions) -> BindingSet:
    """Make the labelled set of one RBP in one cell line.

    Raises
    ------
    InputError
        Too few sites or negatives, a centre that the peaks do not have, a split that leaves a part without a class.
    """
    peaks = sources.peaks
    own = peaks[(peaks["rbp"] == rbp) & (peaks["cell"] == cell)]
    # One stream of random numbers per set, so that it does not matter which other sets are made.
    seed = [options.seed, *set_name(rbp, cell).encode()]
    rng = np.random.default_rng(seed)

    positives, counts = _positives(own, sources, options)
    if len(positives) < options.min_sites:
        found = f"{len(positives)} usable sites of {len(own)} peaks (lost: {_losses(counts)})"
        raise InputError(f"{set_name(rbp, cell)}: found {found}, wanted --min_sites {options.min_sites}")
    report = {"rbp": rbp, "cell": cell, "options": asdict(options), "positives": {**counts, "kept": len(positives)}}
    positives = _annotate(positives, sources.annotation)

    if options.negatives == "shuffle":
        negatives, counts = _shuffled(positives, options, rng)
    else:
        # At least 1,000, for sets of few sites in a sequence that covers little.
        draw = max(_DRAW * options.ratio * len(positives), 1000)
        draw = max(draw, _DRAW_TO_MATCH) if options.match != "none" else draw
        negatives, counts = _candidates(rbp, cell, positives, sources, options, draw, rng)
        if len(negatives) < options.ratio * len(positives) and options.negatives == "other_rbps":
            # A piece of a genome holds few of them: look at all there are.
            negatives, counts = _candidates(rbp, cell, positives, sources, options, len(peaks), rng)
        negatives = _annotate(negatives, sources.annotation)
        negatives = negatives.iloc[_matched(positives, negatives, options, int(rng.integers(2**31)))]
    wanted = options.ratio * len(positives)
    if len(negatives) < max(options.min_sites, 1):
        raise InputError(
            f"{set_name(rbp, cell)}: --negatives {options.negatives}: found {len(negatives)} windows for "
            f"{len(positives)} positives (lost: {_losses(counts)}), wanted {wanted}, at least --min_sites "
            f"{options.min_sites}"
        )
    if len(negatives) < wanted:
        logger.warning("%s: %d negatives instead of %d", set_name(rbp, cell), len(negatives), wanted)
    report["negatives"] = {"kind": options.negatives, "match": options.match, "wanted": wanted}
    report["negatives"] |= {**counts, "kept": len(negatives)}

    positives = positives.assign(label=1, copy=0, parent=np.arange(len(positives)))
    both = pd.concat([positives, negatives.assign(label=0)], ignore_index=True)
    return _assemble(set_name(rbp, cell), both, report, options)


def _positives(own: pd.DataFrame, sources: Sources, options: SetOptions) -> tuple[pd.DataFrame, dict[str, int]]:
    """Windows at the sites of an RBP, with sequence, and how many peaks were lost to what."""
    strong = own[significant(own, options.min_log2fc, options.min_neg_log10_p)]
    single = merge_replicates(strong)
    counts = {"peaks": len(own), "below_threshold": len(own) - len(strong)}
    counts["in_another_replicate"] = len(strong) - len(single)
    windows = center_windows(single, options.window, options.center)
    windows, dropped = with_sequence(windows, sources.sequence, keep_nonstandard=options.keep_nonstandard)
    return windows.assign(kind="site", origin=windows["rbp"]), counts | dropped


def _candidates(
    rbp: str,
    cell: str,
    positives: pd.DataFrame,
    sources: Sources,
    options: SetOptions,
    draw: int,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Windows without a site, in random order, and how many were lost to what."""
    peaks = sources.peaks
    if options.negatives == "other_rbps":
        others = peaks[(peaks["cell"] == cell) & (peaks["rbp"] != rbp)]
        others = others[significant(others, options.min_log2fc, options.min_neg_log10_p)]
        drawn = others.iloc[rng.permutation(len(others))[:draw]]
        windows = center_windows(drawn, options.window, options.center)
        windows = windows.assign(kind="other_rbp", origin=windows["rbp"])
    else:
        windows = random_windows(_spans(positives, sources, options.window, draw, rng), options.window, rng)
        windows = windows.assign(kind="genome", origin=".", log2fc=np.nan, neg_log10_p=np.nan)
    counts = {"drawn": len(windows)}
    far = far_from(windows, peaks[peaks["rbp"] == rbp], options.min_distance)
    counts["near_a_site"] = int((~far).sum())
    known = positives["sequence"].tolist()
    windows, dropped = with_sequence(windows[far], sources.sequence, known, options.keep_nonstandard)
    return windows, counts | dropped


def _spans(positives: pd.DataFrame, sources: Sources, window: int, draw: int, rng: np.random.Generator) -> pd.DataFrame:
    """Where to draw ``draw`` windows: genes that hold positives, or without annotation regions of the sequence."""
    if sources.annotation is not None:
        gene = sources.annotation.genes_at(positives)
        if (gene < 0).all():
            raise InputError("--negatives genome: found no positive in a gene of --gtf, wanted the same genome build")
        # A gene with ten positives is drawn from ten times as often.
        spans = sources.annotation.genes.iloc[gene[gene >= 0]][["chrom", "start", "end", "strand"]]
    else:
        contigs = sources.sequence.contigs
        if (contigs["start"] == 0).all():
            raise InputError("--negatives genome: needs --gtf, or --fasta with regions, to know where transcripts are")
        spans = contigs[["chrom", "start", "end", "strand"]]
    spans = spans[spans["end"] - spans["start"] >= window]
    spans = spans.iloc[rng.integers(len(spans), size=draw)] if len(spans) else spans
    if sources.annotation is None:
        # A region says nothing of its strand, the peaks in it do.
        region, peak = overlap(spans, sources.peaks)
        strand = spans["strand"].to_numpy(object).copy()
        strand[region] = sources.peaks["strand"].to_numpy(object)[peak]
        spans = spans.assign(strand=np.where(spans["strand"] == ".", strand, spans["strand"]))
    return spans


def _shuffled(
    positives: pd.DataFrame, options: SetOptions, rng: np.random.Generator
) -> tuple[pd.DataFrame, dict[str, int]]:
    copies = [
        positives.assign(
            sequence=dinucleotide_shuffle(positives["sequence"].tolist(), seed=int(rng.integers(2**31))),
            kind="shuffle",
            log2fc=np.nan,
            neg_log10_p=np.nan,
            copy=number,
            parent=np.arange(len(positives)),
        )
        for number in range(1, options.ratio + 1)
    ]
    negatives = pd.concat(copies, ignore_index=True)
    repeated = negatives["sequence"].duplicated() | negatives["sequence"].isin(positives["sequence"])
    return negatives[~repeated], {"drawn": len(negatives), "repeated_sequence": int(repeated.sum())}


def _annotate(windows: pd.DataFrame, annotation: Annotation | None) -> pd.DataFrame:
    if annotation is None:
        return windows.assign(region=".", gene=".", conflict=False)
    types = annotation.region_types(windows)
    return windows.assign(**{name: types[name].to_numpy() for name in ("region", "gene", "conflict")})


def _matched(positives: pd.DataFrame, candidates: pd.DataFrame, options: SetOptions, seed: int) -> np.ndarray:
    """Rows of the candidates to take as negatives; candidates are in random order."""
    if options.match == "none":
        return np.arange(min(len(candidates), options.ratio * len(positives)))
    function, column = {
        "gc": (match_gc, "sequence"),
        "dinucleotide": (match_dinucleotide, "sequence"),
        "region": (match_categories, "region"),
    }[options.match]
    return function(positives[column].tolist(), candidates[column].tolist(), n=options.ratio, seed=seed)


def _headers(windows: pd.DataFrame) -> list[str]:
    spans = zip(windows["chrom"], windows["start"], windows["end"], windows["strand"], windows["copy"])
    # A prefix tells shuffled copies from their positive; readers of coordinates take it off.
    return [
        f"{f'shuffle{copy}::' if copy else ''}{chrom}:{start}-{end}" + (f"({strand})" if strand != "." else "")
        for chrom, start, end, strand, copy in spans
    ]


def _split(name: str, both: pd.DataFrame, options: SetOptions) -> Split:
    """Parts of the set; a shuffled copy goes where its positive goes."""

    def labelled(records: pd.DataFrame, split: np.ndarray | None = None) -> LabelledSet:
        columns = {key: records[key].to_numpy() for key in ("chrom", "start", "end", "strand")}
        labels = records["label"].to_numpy(dtype=np.int64)
        return LabelledSet(records["sequence"].tolist(), labels, records["id"].tolist(), name, split, **columns)

    settings = {
        "fractions": (1 - options.dev_fraction - options.test_fraction, options.dev_fraction, options.test_fraction),
        "test_chroms": options.test_chroms,
        "dev_chroms": options.dev_chroms,
        "seed": options.seed,
    }
    if options.negatives != "shuffle":
        return make_split(labelled(both), options.split, **settings)
    # Apart from its positive, a copy would teach that this composition is the other class's.
    own = make_split(labelled(both[both["label"] == 1]), options.split, **settings)
    part = np.empty(int((both["label"] == 1).sum()), dtype="<U5")
    for name_of_part in PARTS:
        part[getattr(own, name_of_part)] = name_of_part
    split = make_split(labelled(both, part[both["parent"].to_numpy(dtype=np.int64)]), "given")
    # How the positives were split is the method; sizes, labels and shared runs are those of the whole set.
    return replace(split, report=own.report | split.report | {"method": own.report["method"], "seed": options.seed})


def _assemble(name: str, both: pd.DataFrame, report: dict, options: SetOptions) -> BindingSet:
    """Split the set, describe it, and render its files."""
    both["copy"] = both["copy"].fillna(0).astype(np.int64)
    both["id"] = _headers(both)
    both["source"] = both.pop("origin")  # the column of this name so far is the peaks' file
    split = _split(name, both, options)
    sides = {"positives": both[both["label"] == 1], "negatives": both[both["label"] == 0]}
    report["gene_strand_conflicts"] = {side: int(windows["conflict"].sum()) for side, windows in sides.items()}
    known = both["region"].ne(".").all()
    report["composition"] = likeness(
        *(windows["sequence"].tolist() for windows in sides.values()),
        split=(split.train, split.test),  # positives come first in ``both``
        regions=tuple(windows["region"] for windows in sides.values()) if known else None,
        seed=options.seed,
    )
    report["split"] = split.report

    files = {}
    for side, windows in sides.items():
        records = zip(windows["id"], windows["sequence"])
        files[f"{name}.{side}.fa"] = "".join(f">{header}\n{sequence}\n" for header, sequence in records)
    for part in PARTS:
        indices = getattr(split, part)
        if len(indices):
            table = io.StringIO()
            both.iloc[indices][_COLUMNS].to_csv(table, index=False, lineterminator="\n")
            files[f"{part}.csv"] = table.getvalue()
    return BindingSet(files, report, describe(name, report))


def describe(name: str, report: dict) -> str:
    """The report of a set as a page of text."""
    lines = [name, "=" * len(name)]
    for side in ("positives", "negatives"):
        counts = report[side]
        kind = f" ({counts['kind']}, match {counts['match']})" if "kind" in counts else ""
        source = counts.get("peaks", counts.get("drawn"))
        lines.append(f"{side}{kind}: {counts['kept']:,} of {source:,} {'peaks' if 'peaks' in counts else 'drawn'}")
        lines.append(f"  lost: {_losses(counts)}")
    conflicts = report["gene_strand_conflicts"]
    if sum(conflicts.values()):
        numbers = f"{conflicts['positives']:,} positives, {conflicts['negatives']:,} negatives"
        lines.append(f"in a gene of the other strand only: {numbers}")
    split = report["split"]
    sizes = ", ".join(f"{part} {size:,}" for part, size in split["sizes"].items())
    lines += ["", describe_likeness(report["composition"]), ""]
    lines.append(f"split {split['method']}: {sizes}")
    lines.append(
        f"  test records that share 30 nt with train: {split['test_sharing_30mer']:.1%}; "
        f"longest run in common {split['longest_shared_run']} nt"
    )
    return "\n".join(lines) + "\n"


def _losses(counts: dict) -> str:
    """Numbers of lost windows by reason, as text."""
    others = ("peaks", "drawn", "kept", "kind", "match", "wanted")
    losses = [f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if name not in others and n]
    return ", ".join(losses) or "none"
