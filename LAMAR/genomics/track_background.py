"""Background windows of a set of tracks: sequence of transcripts or genes far from every peak.

No background window shares a run of some nt (default 30) with a peak or a window around one, on either strand, nor with
another background window, so that parts share nothing and isoforms count once.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from os import PathLike

import numpy as np
import pandas as pd

from ..alphabet import reverse_complement
from ..data.corpus_files import corpus_files
from ..data.kmers import RunIndex, WindowHashes
from ..data.sequences import parse_region, read_fasta
from ..data.tracks import PARTS
from ..errors import InputError
from .annotation import Annotation
from .genome import SequenceSource
from .intervals import canonical_chromosome, canonical_chromosomes, is_standard, merge, overlap, within
from .site_windows import random_windows
from .track_windows import TrackOptions

__all__ = [
    "background_windows",
    "chromosome_of",
    "gene_candidates",
    "peak_runs",
    "read_transcripts",
    "transcript_candidates",
]

_AT_ONCE = 20_000  # candidates that are checked together
_BATCHES = 100  # of random windows, at most
_LEAST_YIELD = 0.001  # share of a batch below which drawing more is not worth it
_FRACTIONS = (0.8, 0.1, 0.1)  # train, dev, test: of transcripts whose headers name no chromosome
# UCSC's table browser, Ensembl, and coordinates after the name, whatever they count from and however many they are.
_CHROMOSOME = re.compile(
    r"\srange=(\w+):\d+-\d+|\s(?:chromosome|scaffold|primary_assembly):[^:\s]+:([^:\s]+):\d+:\d+"
    r"|\s(chr\w+|\d{1,2}|[XY]|MT?):\d+-\d+(?:\([+.-]\))?(?:\s|$)"
)


def chromosome_of(header: str) -> str | None:
    """Return the chromosome (UCSC's name) in a FASTA header of bedtools, UCSC, Ensembl or the like; None without."""
    if region := parse_region(header):
        return canonical_chromosome(region.chrom)
    match = _CHROMOSOME.search(header)
    return canonical_chromosome(next(filter(None, match.groups()))) if match else None


def read_transcripts(paths: Sequence[str | PathLike], options: TrackOptions) -> pd.DataFrame:
    """Return the transcripts of FASTA files and folders of them, each sequence once.

    Returns
    -------
    pandas.DataFrame
        name (first word of the header), sequence, part: that of the chromosome where the header names one, else by a
        hash of the sequence and the seed (80 % train, 10 % dev, 10 % test).
    """
    names, sequences, chroms = [], {}, []
    for file in corpus_files(paths, "background"):
        for header, sequence in read_fasta(file):
            if sequence not in sequences:
                sequences[sequence] = None
                names.append(header.split()[0])
                chroms.append(chromosome_of(header))
    table = pd.DataFrame({"name": names, "sequence": list(sequences), "chrom": pd.Series(chroms, dtype=object)})
    part = options.parts_of(table["chrom"])
    limits = np.cumsum(_FRACTIONS)[:-1]
    for i in np.flatnonzero(table["chrom"].isna()).tolist():
        part[i] = PARTS[int(np.searchsorted(limits, _rank(table["sequence"][i], options.seed), side="right"))]
    return table[["name", "sequence"]].assign(part=part)


def _rank(sequence: str, seed: int) -> float:
    """Return a number from 0 to 1 that the sequence and the seed determine."""
    digest = hashlib.blake2b(sequence.encode("ascii"), digest_size=8, key=seed.to_bytes(8, "big")).digest()
    return int.from_bytes(digest, "big") / 2**64


def peak_runs(windows: pd.DataFrame, peaks: pd.DataFrame, source: SequenceSource, length: int) -> RunIndex:
    """Return the runs of ``length`` nt of all peaks and of all windows around them, on the forward strand.

    Of windows and peaks that extend beyond a contig or region, the part inside is used.
    """
    spans = pd.concat([windows[["chrom", "start", "end"]], peaks[["chrom", "start", "end"]]], ignore_index=True)
    spans = merge(spans, stranded=False, min_gap=0)[0]
    one, two = overlap(spans, source.contigs)
    pieces = spans.iloc[one].reset_index(drop=True)
    contigs = source.contigs.iloc[two].reset_index(drop=True)
    pieces["start"] = np.maximum(pieces["start"], contigs["start"])
    pieces["end"] = np.minimum(pieces["end"], contigs["end"])
    return RunIndex(source.extract(pieces), length)


def _shortened(
    windows: pd.DataFrame, lengths: np.ndarray, options: TrackOptions, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the windows cut at both ends to lengths drawn from those of the sites: length must not tell the kind."""
    cut = (options.window - rng.choice(lengths, size=len(windows))) // 2
    return windows.assign(start=windows["start"] + cut, end=windows["end"] - cut)


def _flank(options: TrackOptions) -> int:
    """Return the number of bases on each side of a window that must be free of peaks too."""
    return max(0, options.near - (options.window - options.core) // 2)


def transcript_candidates(
    transcripts: pd.DataFrame, lengths: np.ndarray, options: TrackOptions, rng: np.random.Generator
) -> Iterator[pd.DataFrame]:
    """Yield adjacent windows of each transcript from a random first base on, all in random order, in batches.

    Parameters
    ----------
    transcripts : pandas.DataFrame
        As `read_transcripts` returns it.
    lengths : numpy.ndarray of int
        Lengths of the site windows.
    options : TrackOptions
    rng : numpy.random.Generator

    Yields
    ------
    pandas.DataFrame
        chrom (name of the transcript), start, end (within it), strand (``+``), part, sequence, around (the sequence
        with what must be free of peaks too).
    """
    sizes = transcripts["sequence"].str.len().to_numpy()
    phase = rng.integers(0, options.window, size=len(sizes))
    numbers = np.maximum(0, (sizes - phase) // options.window)
    owner = np.repeat(np.arange(len(sizes)), numbers)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    order = rng.permutation(len(owner))
    owner, start = owner[order], (phase[owner] + nth * options.window)[order]
    names, parts, texts = (transcripts[name].to_numpy(object) for name in ("name", "part", "sequence"))
    flank = _flank(options)
    for first in range(0, len(owner), _AT_ONCE):
        chosen = owner[first : first + _AT_ONCE]
        begin = start[first : first + _AT_ONCE]
        windows = pd.DataFrame({"chrom": names[chosen], "start": begin, "end": begin + options.window})
        windows = _shortened(windows.assign(strand="+", part=parts[chosen]), lengths, options, rng)
        spans = zip(chosen.tolist(), windows["start"].tolist(), windows["end"].tolist())
        windows["sequence"] = [texts[i][a:b] for i, a, b in spans]
        around = zip(chosen.tolist(), begin.tolist())
        windows["around"] = [texts[i][max(0, a - flank) : a + options.window + flank] for i, a in around]
        yield windows


def gene_candidates(
    annotation: Annotation,
    peaks: pd.DataFrame,
    source: SequenceSource,
    lengths: np.ndarray,
    options: TrackOptions,
    rng: np.random.Generator,
) -> Iterator[pd.DataFrame]:
    """Yield random windows in genes that hold a peak, and are thus expressed, at least ``near`` nt from all peaks.

    The columns are those of `transcript_candidates`, with coordinates on the genome. Introns are part of the gene.

    Raises
    ------
    InputError
        No gene holds a peak.
    """
    genes = annotation.genes
    genes = genes.iloc[np.unique(overlap(genes, peaks, stranded=True)[0])]
    genes = genes[genes["chrom"].isin(source.contigs["chrom"])]
    genes = genes[genes["chrom"].map(is_standard).astype(bool) | options.keep_nonstandard]
    sizes = (genes["end"] - genes["start"]).to_numpy()
    genes, sizes = genes[sizes >= options.window], sizes[sizes >= options.window]
    if not len(genes):
        raise InputError("`gtf`: found no gene with a peak in it and sequence in `fasta`, wanted some for background")
    for _ in range(_BATCHES):
        # In proportion to their lengths, so that all bases are equally likely.
        spans = genes.iloc[rng.choice(len(genes), size=_AT_ONCE, p=sizes / sizes.sum())]
        windows = random_windows(spans, options.window, rng)
        windows = windows[~within(windows, peaks, _flank(options))]
        windows = windows[source.locate(windows) >= 0] if len(windows) else windows
        windows = _shortened(windows, lengths, options, rng)
        windows = windows.assign(chrom=canonical_chromosomes(windows["chrom"]))
        windows["part"] = options.parts_of(windows["chrom"])
        windows["sequence"] = source.extract(windows)
        yield windows.assign(around=windows["sequence"]).reset_index(drop=True)


def background_windows(
    candidates: Iterator[pd.DataFrame], runs: RunIndex, options: TrackOptions, apart: RunIndex | None = None
) -> tuple[pd.DataFrame, dict]:
    """Return background windows chosen from candidates, up to the number wanted of each part.

    Parameters
    ----------
    candidates : iterator of pandas.DataFrame
        As `transcript_candidates` or `gene_candidates` yield them.
    runs : RunIndex
        As `peak_runs` returns it: neither strand of a window and its surroundings shares a run with it.
    options : TrackOptions
    apart : RunIndex, optional
        Training windows that share a run with it are left out.

    Returns
    -------
    windows : pandas.DataFrame
        chrom, start, end, strand, sequence, part.
    counts : dict
        ``wanted`` and ``kept`` by part, and the candidates lost: ``ambiguous_bases``, ``near_a_peak``, ``excluded``,
        ``shared_with_another`` background window.

    Raises
    ------
    InputError
        No candidate is usable.
    """
    wanted = dict(zip(PARTS, options.background_windows))
    kept, lost, pieces = Counter(), Counter(), []
    seen = np.zeros(0, dtype=np.uint64)
    for windows in candidates:
        least = _LEAST_YIELD * len(windows)
        windows = windows[windows["part"].map(lambda part: kept[part] < wanted[part]).astype(bool)]
        windows = _usable(windows, runs, apart, seen, options.exclude_run, lost)
        is_last = len(windows) < max(least, 1)
        if not len(windows):
            break
        room = windows["part"].map(lambda part: wanted[part] - kept[part])
        windows = windows[windows.groupby("part").cumcount() < room]
        hashes = WindowHashes(windows["sequence"].tolist())
        new = hashes.hashes(hashes.starts(options.exclude_run), options.exclude_run)
        seen = np.sort(np.concatenate([seen, new]))
        kept.update(windows["part"].tolist())
        pieces.append(windows.drop(columns="around"))
        if is_last or all(kept[part] >= wanted[part] for part in PARTS):
            break
    if not sum(kept.values()):
        losses = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in lost.items() if number)
        raise InputError(f"`background`, `gtf`: found no background window (lost: {losses or 'none was drawn'})")
    counts = {"wanted": wanted, "kept": {part: kept[part] for part in PARTS}, **lost}
    return pd.concat(pieces, ignore_index=True), counts


def _usable(
    windows: pd.DataFrame, runs: RunIndex, apart: RunIndex | None, seen: np.ndarray, length: int, lost: Counter
) -> pd.DataFrame:
    """Return the candidates that pass all tests; ``lost`` counts the others, under the first test that they fail."""

    def drop(name: str, bad) -> None:
        nonlocal windows
        lost[name] += int(bad.sum())
        windows = windows[~bad]

    drop("ambiguous_bases", windows["sequence"].str.contains("N", regex=False).to_numpy(bool))
    around = windows["around"]
    drop("near_a_peak", _shares(around, runs) | _shares(around.map(reverse_complement), runs))
    drop("excluded", windows["part"].eq("train").to_numpy(bool) & _shares(windows["sequence"], apart))
    drop("shared_with_another", _repeats(windows["sequence"].tolist(), length, seen))
    return windows


def _shares(sequences: pd.Series, runs: RunIndex | None) -> np.ndarray:
    return np.zeros(len(sequences), dtype=bool) if runs is None else runs.shares(sequences.tolist())


def _repeats(sequences: list[str], length: int, seen: np.ndarray) -> np.ndarray:
    """Return whether each sequence shares a run with an earlier one, or has a hash in ``seen``; bool, shape (n,)."""
    windows = WindowHashes(sequences)
    starts = windows.starts(length)
    record, hashes = windows.record[starts], windows.hashes(starts, length)
    values, first, code = np.unique(hashes, return_index=True, return_inverse=True)
    is_old = np.zeros(len(values), dtype=bool)
    if len(seen):
        is_old = seen[np.minimum(np.searchsorted(seen, values), len(seen) - 1)] == values
    repeated = np.zeros(len(sequences), dtype=bool)
    repeated[record[is_old[code] | (record[first][code] != record)]] = True
    return repeated
