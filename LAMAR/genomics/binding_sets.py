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
from ..data.split_methods import SPLITS, refuse_unread
from ..data.splits import PARTS, Split, make_split
from ..errors import InputError
from .annotation import Annotation, read_gtf
from .choices import MATCHES, NEGATIVES
from .genome import SequenceSource, open_genome
from .peaks import value_columns
from .site_windows import (
    center_windows,
    describe_absent_values,
    merge_replicates,
    significant,
    with_sequence,
    without_values,
)

__all__ = ["BindingSet", "SetOptions", "Sources", "build_set", "describe", "set_name"]

logger = logging.getLogger(__name__)

TEST_CHROMS = ("chr8", "chr9")
# Windows to draw per negative that is wanted: those near a site or without sequence are lost.
_DRAW = 5
# At least as many, for sets of few sites in a sequence that covers little.
_LEAST_DRAW = 1000
_COLUMNS = ["id", "sequence", "label", "chrom", "start", "end", "strand", "kind", "source"]
_COLUMNS += ["log2fc", "neg_log10_p", "region", "gene"]


@dataclass(frozen=True)
class SetOptions:
    """How a labelled set is made.

    Attributes
    ----------
    window : int
        Length of all windows, in nt.
    center : str
        Centre of a window on a peak, of `LAMAR.genomics.choices.CENTERS`.
    min_log2fc, min_neg_log10_p : float
        Thresholds of log2 fold change and -log10 p of the peaks, for positives and for sites of other RBPs. Peaks
        whose file has no such column pass.
    fc_column, p_column : int, optional
        Columns of these values where they are not 7 and 8 of narrowPeak, see `LAMAR.genomics.peaks.read_peaks`.
    min_sites : int
        Least number of positives, and of negatives, of a set.
    keep_nonstandard : bool
        Keep chromosomes other than chr1-22, chrX, chrY.
    negatives : str
        Kind of negatives, of `LAMAR.genomics.choices.NEGATIVES`.
    match : str
        How negatives are chosen among candidates, of `LAMAR.genomics.choices.MATCHES`.
    min_distance : int
        Least distance in nt between a negative and a site.
    ratio : int
        Negatives per positive.
    split : str
        Method in `LAMAR.data.split_methods.SPLITS` that does not read parts from the data.
    test_chroms, dev_chroms : sequence of str, optional
        Chromosomes for ``split`` chromosome; default test chromosomes: chr8 and chr9.
    dev_fraction, test_fraction : float
        Shares of the records.
    seed : int
        Seed of everything random.

    Raises
    ------
    InputError
        If a value is unknown, or two of them contradict each other.
    """

    window: int = 101
    center: str = "middle"
    min_log2fc: float = 3.0
    min_neg_log10_p: float = 3.0
    fc_column: int | None = None
    p_column: int | None = None
    min_sites: int = 50
    keep_nonstandard: bool = False
    negatives: str = "other_rbps"
    match: str = "none"
    min_distance: int = 150
    ratio: int = 1
    split: str = "cluster"
    test_chroms: Sequence[str] | None = None
    dev_chroms: Sequence[str] | None = None
    dev_fraction: float = 0.15
    test_fraction: float = 0.15
    seed: int = 42

    def __post_init__(self):
        for name, least in (("window", 1), ("min_sites", 1), ("ratio", 1), ("min_distance", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"`{name}`: found {getattr(self, name)}, wanted {least} or more")
        value_columns(fc_column=self.fc_column, p_column=self.p_column)
        kind, _ = NEGATIVES.choose(self.negatives), MATCHES.choose(self.match)
        if self.match != "none" and "match" not in kind.options:
            readers = " or ".join(other.name for other in NEGATIVES.values() if "match" in other.options)
            raise InputError(f"`match` {self.match} goes with `negatives` {readers}, found `negatives` {kind.name}")
        if self.dev_fraction + self.test_fraction >= 1 or not self.test_fraction:
            found = f"{self.dev_fraction} and {self.test_fraction}"
            raise InputError(f"`dev_fraction`, `test_fraction`: found {found}, wanted a sum below 1 and some test part")
        refuse_unread(self.split, test_chroms=self.test_chroms, dev_chroms=self.dev_chroms)
        if "test_chroms" in SPLITS[self.split].options and not self.test_chroms:
            object.__setattr__(self, "test_chroms", list(TEST_CHROMS))


@dataclass(frozen=True, eq=False)
class Sources:
    """What sets are made from.

    Attributes
    ----------
    peaks : DataFrame
        Peaks of all RBPs, as `LAMAR.genomics.peaks.read_peaks` returns them.
    sequence : SequenceSource
        Genome, or regions.
    annotation : Annotation or None
        Genes of a GTF file.
    """

    peaks: pd.DataFrame
    sequence: SequenceSource
    annotation: Annotation | None

    @classmethod
    def open(cls, peaks: pd.DataFrame, fasta: str | PathLike, gtf: str | PathLike | None) -> Sources:
        """Open the sequence and read the annotation."""
        return cls(peaks, open_genome(fasta), read_gtf(gtf) if gtf else None)


@dataclass(frozen=True, eq=False)
class BindingSet:
    """A labelled set ready to be written.

    Attributes
    ----------
    files : dict of str
        Contents by file name.
    report : dict
        Ready for JSON: counts of windows used and lost, regions, composition, split.
    text : str
        The report as a page of text.
    """

    files: dict[str, str]
    report: dict
    text: str


def set_name(rbp: str, cell: str) -> str:
    """Return the name of a set's folder and files."""
    return f"{rbp}_{cell}" if cell else rbp


def build_set(rbp: str, cell: str, sources: Sources, options: SetOptions) -> BindingSet:
    """Make the labelled set of one RBP in one cell line.

    Parameters
    ----------
    rbp, cell : str
        Names in the peaks.
    sources : Sources
        Peaks, sequence, annotation.
    options : SetOptions
        How the set is made.

    Returns
    -------
    BindingSet

    Raises
    ------
    InputError
        If there are too few sites or negatives, peaks lack the centre wanted, or the split leaves a part without a
        class.
    """
    name, peaks = set_name(rbp, cell), sources.peaks
    rbp_peaks = peaks[(peaks["rbp"] == rbp) & (peaks["cell"] == cell)]
    # One stream of random numbers per set, so that a set does not depend on which others are made.
    rng = np.random.default_rng([options.seed, *name.encode()])

    positives, counts = _positives(rbp_peaks, sources, options)
    if len(positives) < options.min_sites:
        found = f"{len(positives)} usable sites of {len(rbp_peaks)} peaks (lost: {_losses(counts)})"
        raise InputError(f"{name}: found {found}, wanted `min_sites` {options.min_sites}")
    report = {"rbp": rbp, "cell": cell, "options": asdict(options), "positives": {**counts, "kept": len(positives)}}
    report["peaks_without_value"] = without_values(rbp_peaks)
    positives = _annotate(positives, sources.annotation)

    negatives, counts = _negatives(rbp, cell, positives, sources, options, rng)
    wanted = options.ratio * len(positives)
    if len(negatives) < max(options.min_sites, 1):
        raise InputError(
            f"{name}: `negatives` {options.negatives}: found {len(negatives)} windows for {len(positives)} positives "
            f"(lost: {_losses(counts)}), wanted {wanted}, at least `min_sites` {options.min_sites}"
        )
    if len(negatives) < wanted:
        logger.warning("%s: %d negatives instead of %d", name, len(negatives), wanted)
    report["negatives"] = {"kind": options.negatives, "match": options.match, "wanted": wanted}
    report["negatives"] |= {**counts, "kept": len(negatives)}

    positives = positives.assign(label=1, copy=0, parent=np.arange(len(positives)))
    both = pd.concat([positives, negatives.assign(label=0)], ignore_index=True)
    return _assemble(name, both, report, options)


def _negatives(
    rbp: str, cell: str, positives: pd.DataFrame, sources: Sources, options: SetOptions, rng: np.random.Generator
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the negatives, and how many windows were drawn and lost by reason."""
    from .negatives import NegativeRequest

    kind, method = NEGATIVES.choose(options.negatives), MATCHES.choose(options.match)
    n_wanted = options.ratio * len(positives)
    n_draw = max(_DRAW * n_wanted, _LEAST_DRAW, method.n_candidates)
    request = NegativeRequest(rbp, cell, positives, sources, options, n_wanted, n_draw, rng)
    candidates, counts = kind.load()(request)
    if "match" not in kind.options:
        return candidates, counts
    candidates = _annotate(candidates, sources.annotation)
    features = (windows[method.column].tolist() for windows in (positives, candidates))
    return candidates.iloc[method.load()(*features, n=options.ratio, seed=int(rng.integers(2**31)))], counts


def _positives(peaks: pd.DataFrame, sources: Sources, options: SetOptions) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return windows at the sites of an RBP, with sequence, and how many peaks were lost by reason."""
    strong = peaks[significant(peaks, options.min_log2fc, options.min_neg_log10_p)]
    single = merge_replicates(strong)
    counts = {"peaks": len(peaks), "below_threshold": len(peaks) - len(strong)}
    counts["in_another_replicate"] = len(strong) - len(single)
    windows = center_windows(single, options.window, options.center)
    windows, dropped = with_sequence(windows, sources.sequence, keep_nonstandard=options.keep_nonstandard)
    return windows.assign(kind="site", origin=windows["rbp"]), counts | dropped


def _annotate(windows: pd.DataFrame, annotation: Annotation | None) -> pd.DataFrame:
    """Add region, gene and conflict (gene on the other strand only) of each window."""
    if annotation is None:
        return windows.assign(region=".", gene=".", conflict=False)
    types = annotation.region_types(windows)
    return windows.assign(**{name: types[name].to_numpy() for name in ("region", "gene", "conflict")})


def _headers(windows: pd.DataFrame) -> list[str]:
    """Return the names of windows in FASTA files, with their coordinates."""
    columns = (windows[name] for name in ("chrom", "start", "end", "strand", "kind", "copy"))
    # A prefix tells copies from their positive; readers of coordinates ignore it.
    return [
        f"{f'{kind}{copy}::' if copy else ''}{chrom}:{start}-{end}" + (f"({strand})" if strand != "." else "")
        for chrom, start, end, strand, kind, copy in zip(*columns)
    ]


def _split(name: str, both: pd.DataFrame, options: SetOptions) -> Split:
    """Split the set; negatives that derive from a positive are put into the part of that positive."""

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
    if not NEGATIVES.choose(options.negatives).paired:
        return make_split(labelled(both), options.split, **settings)
    # In another part than its positive, a copy would teach that this composition belongs to the other class.
    of_positives = make_split(labelled(both[both["label"] == 1]), options.split, **settings)
    part = np.empty(int((both["label"] == 1).sum()), dtype="<U5")
    for name_of_part in PARTS:
        part[getattr(of_positives, name_of_part)] = name_of_part
    split = make_split(labelled(both, part[both["parent"].to_numpy(dtype=np.int64)]), "given")
    # How the positives were split is the method; sizes, labels and shared runs are those of the whole set.
    method = {"method": of_positives.report["method"], "seed": options.seed}
    return replace(split, report=of_positives.report | split.report | method)


def _assemble(name: str, both: pd.DataFrame, report: dict, options: SetOptions) -> BindingSet:
    """Split the set, describe it, and render its files."""
    both["copy"] = both["copy"].fillna(0).astype(np.int64)
    both["id"] = _headers(both)
    both["source"] = both.pop("origin")  # replaces the file of the peak
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
    """Return the report of a set as a page of text."""
    lines = [name, "=" * len(name)]
    for side in ("positives", "negatives"):
        counts = report[side]
        kind = f" ({counts['kind']}, match {counts['match']})" if "kind" in counts else ""
        source = counts.get("peaks", counts.get("drawn"))
        lines.append(f"{side}{kind}: {counts['kept']:,} of {source:,} {'peaks' if 'peaks' in counts else 'drawn'}")
        lines.append(f"  lost: {_losses(counts)}")
        if side == "positives" and (absent := describe_absent_values(report["peaks_without_value"], source)):
            lines.append(f"  {absent}")
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
    """Return the numbers of lost windows by reason as text."""
    others = ("peaks", "drawn", "kept", "kind", "match", "wanted")
    losses = [f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if name not in others and n]
    return ", ".join(losses) or "none"
