"""Windows around clustered peaks of many experiments, each labelled for every track.

A track is one RBP in one cell line; several experiments of the two are one track with all their peaks. Tables are
pandas DataFrames with chrom (UCSC's name), start, end (0-based, half-open), strand, and further columns of
`LAMAR.genomics.peaks.read_peaks`. Sequences are read 5' to 3' on the window's strand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.kmers import RunIndex
from ..data.tracks import PARTS, IdLists
from ..errors import InputError, excerpt, quoted, shortened
from .binding_sets import set_name
from .genome import SequenceSource
from .intervals import canonical_chromosome, overlap
from .peaks import read_peaks, value_columns
from .site_windows import WindowFilter, significant

__all__ = [
    "TrackOptions",
    "cluster_centers",
    "label_windows",
    "read_track_peaks",
    "site_windows",
    "track_table",
]

_ROWS_AT_ONCE = 65_536  # windows whose labels are held as a table of bytes
_MOST_NAMES = 10  # in an error message


@dataclass(frozen=True)
class TrackOptions:
    """How windows are made and labelled; names and defaults are those of the flags of ``make_track_dataset.py``.

    Lengths and distances are in nt.

    Attributes
    ----------
    window, min_length : int
        Length of a window, and the least length where its region or contig ends.
    core : int
        Length of the middle of a window; a track is bound where one of its peaks overlaps it.
    near : int
        A track is unknown where fewer bases than this lie between the core and one of its peaks.
    cluster : int
        Largest distance between the peak centres of one window.
    min_log2fc, min_neg_log10_p : float
        Thresholds of the peaks that make windows and bound labels. Peaks whose file has no such column pass.
    fc_column, p_column : int, optional
        Columns of these values where they are not 7 and 8 of narrowPeak, see `LAMAR.genomics.peaks.read_peaks`.
    min_windows : int
        Bound training windows below which a track is left out.
    keep_nonstandard : bool
        Keep chromosomes other than chr1 to chr22, chrX and chrY.
    allow_missing : bool
        Ignore peaks on chromosomes that the sequence lacks.
    test_chroms, dev_chroms : sequence of str
        Chromosomes of these parts; all others are the train part.
    exclude_run : int
        Length of a run of nucleotides that counts as shared with excluded sequences, and between background and sites.
    background_windows : (int, int, int)
        Background windows of the train, dev and test part.
    seed : int
        Seed of the background windows.

    Raises
    ------
    InputError
        Lengths or chromosomes that contradict each other.
    """

    window: int = 101
    min_length: int = 45
    core: int = 30
    near: int = 150
    cluster: int = 25
    min_log2fc: float = 3.0
    min_neg_log10_p: float = 3.0
    fc_column: int | None = None
    p_column: int | None = None
    min_windows: int = 1
    keep_nonstandard: bool = False
    allow_missing: bool = False
    test_chroms: Sequence[str] = ("chr8", "chr9", "chr19", "chr22")
    dev_chroms: Sequence[str] = ("chr10", "chr20")
    exclude_run: int = 30
    background_windows: Sequence[int] = (40_000, 10_000, 10_000)
    seed: int = 42

    def __post_init__(self):
        value_columns(fc_column=self.fc_column, p_column=self.p_column)
        if not self.core <= self.min_length <= self.window:
            found = f"`core` {self.core}, `min_length` {self.min_length}, `window` {self.window}"
            raise InputError(f"found {found}, wanted no length above the next")
        # Any peak of a cluster then overlaps the core, so that every window has a bound track.
        if self.cluster + 2 > self.core:
            raise InputError(f"`cluster`: found {self.cluster}, wanted at most `core` - 2 = {self.core - 2}")
        if self.exclude_run > self.min_length:
            raise InputError(f"`exclude_run`: found {self.exclude_run}, wanted at most `min_length` {self.min_length}")
        both = {*map(canonical_chromosome, self.test_chroms)} & {*map(canonical_chromosome, self.dev_chroms)}
        if both:
            raise InputError(f"`dev_chroms`: found {', '.join(sorted(both))} in `test_chroms` too, wanted others")

    def parts_of(self, chrom: pd.Series) -> np.ndarray:
        """Return the part of each chromosome (UCSC's name): train where it is in neither list; str, shape (n,)."""
        test, dev = (chrom.isin([*map(canonical_chromosome, c)]) for c in (self.test_chroms, self.dev_chroms))
        return np.select([test, dev], ["test", "dev"], "train").astype(object)


def read_track_peaks(
    paths: Sequence[str | PathLike],
    rbps: Sequence[str] | None = None,
    cells: Sequence[str] | None = None,
    **columns: int | None,
) -> pd.DataFrame:
    """Read the peaks of many experiments, and name their tracks.

    Parameters
    ----------
    paths : sequence of path
        Folders and files as `LAMAR.genomics.peaks.read_peaks` takes them.
    rbps, cells : sequence of str, optional
        RBPs and cell lines to keep; default all.
    **columns : int, optional
        ``fc_column`` and ``p_column`` of `read_peaks`.

    Returns
    -------
    pandas.DataFrame, one row per peak
        As `read_peaks` returns it, with the column ``track``: the name of the RBP and its cell line, ``QKI_K562``.

    Raises
    ------
    InputError
        As `read_peaks`; for an accession, or a name of BED files, in two of the paths; a name in ``rbps`` or ``cells``
        without peaks; two RBPs whose tracks would have the same name.
    """
    tables, origin = [], {}
    for path in paths:
        table = read_peaks(path, **columns)
        for name in table["accession"].unique():
            if name in origin:
                raise InputError(f"`peaks`: found {name!r} in {origin[name]} and in {path}, wanted it once")
            origin[name] = Path(path)
        tables.append(table)
    peaks = _choose_peaks(pd.concat(tables, ignore_index=True), rbps, cells)
    pairs = peaks[["rbp", "cell"]].drop_duplicates()
    names = [set_name(rbp, cell) for rbp, cell in pairs.itertuples(index=False)]
    called: dict[str, tuple[str, str]] = {}
    for name, pair in zip(names, pairs.itertuples(index=False, name=None)):
        if called.setdefault(name, pair) != pair:
            one, two = (f"RBP {rbp!r} in {cell!r}" for rbp, cell in (called[name], pair))
            raise InputError(f"`peaks`: found {one} and {two}, whose tracks would both be called {name}")
    names = pd.DataFrame({"rbp": pairs["rbp"], "cell": pairs["cell"], "track": names})
    return peaks.merge(names, on=["rbp", "cell"], how="left")


def _choose_peaks(peaks: pd.DataFrame, rbps: Sequence[str] | None, cells: Sequence[str] | None) -> pd.DataFrame:
    """Return the peaks of the RBPs and cell lines wanted; refuse a name without any."""
    chosen = peaks
    for parameter, column, wanted in (("rbps", "rbp", rbps), ("cells", "cell", cells)):
        if wanted:
            present = sorted(peaks[column].unique())
            if missing := [name for name in wanted if name not in present]:
                known = shortened(map(excerpt, present), _MOST_NAMES)
                raise InputError(f"`{parameter}`: found no peaks of {quoted(missing[0])}, wanted some of {known}")
            chosen = chosen[chosen[column].isin(wanted)]
    if missing := [name for name in rbps or () if name not in chosen["rbp"].unique()]:
        raise InputError(f"`rbps`, `cells`: found no peaks of {missing[0]!r} in {', '.join(cells)}")
    return chosen


def track_table(peaks: pd.DataFrame) -> pd.DataFrame:
    """Return the tracks of peaks, in the order of their names.

    Returns
    -------
    pandas.DataFrame, one row per track
        id (0, 1, ...), track, target, cell, accession (several joined by ``;``), n_peaks.
    """
    grouped = peaks.groupby("track")
    table = grouped.agg(
        target=("rbp", "first"),
        cell=("cell", "first"),
        accession=("accession", lambda names: ";".join(sorted(set(names)))),
        n_peaks=("start", "size"),
    ).reset_index()
    table.insert(0, "id", np.arange(len(table)))
    return table


def cluster_centers(peaks: pd.DataFrame, distance: int) -> pd.DataFrame:
    """Return clusters of the centres of peaks on each strand.

    A cluster starts at the first centre that is in no cluster yet, and takes all centres up to ``distance`` nt after
    it. Its centres are therefore within ``distance`` nt of each other, however densely the peaks lie.

    Parameters
    ----------
    peaks : pandas.DataFrame with chrom, start, end, strand
    distance : int
        In nt.

    Returns
    -------
    pandas.DataFrame, one row per cluster
        chrom, center (base in the middle of the first and the last centre, ``(first + last) // 2``), strand; sorted by
        chrom, strand, center. The centre of a peak is base ``(start + end) // 2``.
    """
    table = pd.DataFrame({"chrom": peaks["chrom"], "strand": peaks["strand"]})
    table["center"] = (peaks["start"] + peaks["end"]) // 2
    table = table.sort_values(["chrom", "strand", "center"], ignore_index=True)
    if not len(table):
        return table
    group = table.groupby(["chrom", "strand"], sort=False).ngroup().to_numpy(np.int64)
    centers = table["center"].to_numpy()
    # All strands of all chromosomes on one axis, farther apart than any distance.
    axis = group * 2**33 + centers
    following = np.searchsorted(axis, axis + distance, side="right").tolist()
    first, i = [], 0
    while i < len(axis):
        first.append(i)
        i = following[i]
    last = [*first[1:], len(axis)]
    middle = (centers[first] + centers[np.asarray(last) - 1]) // 2
    return table.iloc[first].assign(center=middle)[["chrom", "center", "strand"]].reset_index(drop=True)


def site_windows(
    clusters: pd.DataFrame, source: SequenceSource, options: TrackOptions, apart: RunIndex | None = None
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the windows around clusters whose sequence can be read, with sequence and part.

    A window that extends beyond its region or contig is shortened by the same amount at its other end, so that its
    middle remains the cluster's centre.

    Parameters
    ----------
    clusters : pandas.DataFrame
        As `cluster_centers` returns it.
    source : SequenceSource
    options : TrackOptions
    apart : RunIndex, optional
        Training windows that share a run with it are left out.

    Returns
    -------
    windows : pandas.DataFrame
        chrom, start, end, strand, center, sequence, part; test first, then dev, then train.
    dropped : dict of int
        Number of clusters lost, each under the first reason that applies: ``nonstandard_chromosome``;
        ``chromosome_absent`` from the sequence; ``center_outside`` every contig or region; ``too_short`` for
        ``min_length``; ``ambiguous_bases``, with a letter other than A, C, G, T; ``repeated_sequence`` of an earlier
        window (test and dev windows come first); ``excluded``, a training window that shares a run with ``apart``.

    Raises
    ------
    InputError
        The sequence lacks all chromosomes of the peaks, or without ``allow_missing`` one of them.
    """
    kept = WindowFilter(clusters)
    kept.drop_nonstandard(options.keep_nonstandard)
    _check_chromosomes(kept.windows, source, options.allow_missing)
    kept.drop("chromosome_absent", ~kept.windows["chrom"].isin(source.contigs["chrom"].unique()))
    kept.windows, is_outside = _within_contigs(kept.windows, source, options.window)
    kept.drop("center_outside", is_outside)
    kept.drop("too_short", kept.windows["end"] - kept.windows["start"] < options.min_length)
    windows = kept.windows
    windows = windows.assign(sequence=source.extract(windows), part=options.parts_of(windows["chrom"]))
    # Where test and training windows are one sequence, the test window stays.
    order = np.argsort(-windows["part"].map(PARTS.index).to_numpy(np.int64), kind="stable")
    kept.windows = windows.iloc[order]
    kept.drop("ambiguous_bases", ["N" in sequence for sequence in kept.windows["sequence"]])
    kept.drop("repeated_sequence", kept.windows["sequence"].duplicated())
    is_near = np.zeros(len(kept.windows), dtype=bool)
    if apart is not None:
        training = np.flatnonzero(kept.windows["part"] == "train")
        is_near[training] = apart.shares(kept.windows["sequence"].iloc[training].tolist())
    kept.drop("excluded", is_near)
    return kept.windows.reset_index(drop=True), kept.dropped


def _check_chromosomes(windows: pd.DataFrame, source: SequenceSource, allow_missing: bool) -> None:
    """Refuse a sequence that lacks chromosomes of the peaks: all, or without ``allow_missing`` any."""
    present = set(source.contigs["chrom"])
    missing = [chrom for chrom in windows["chrom"].unique() if chrom not in present]
    if missing and (not allow_missing or len(missing) == windows["chrom"].nunique()):
        raise InputError(
            f"`fasta` {source.path}: found no chromosome {shortened(missing, 1)}, on which peaks lie, wanted all of "
            f"them (it has {shortened(sorted(present), _MOST_NAMES)}); `allow_missing` ignores the peaks on some"
        )


def _within_contigs(clusters: pd.DataFrame, source: SequenceSource, width: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return windows of up to ``width`` nt within one contig, and which have their centre in none (and width 1)."""
    center = clusters["center"].to_numpy()
    start, end = center - width // 2, center - width // 2 + width
    row = source.locate(clusters.assign(start=start, end=end))
    cut_off = np.flatnonzero(row < 0)
    row[cut_off] = source.locate(clusters.iloc[cut_off].assign(start=center[cut_off], end=center[cut_off] + 1))
    first, last = (source.contigs[name].to_numpy()[row] for name in ("start", "end"))
    cut = np.maximum(0, np.maximum(first - start, end - last))
    start, end = np.where(row < 0, center, start + cut), np.where(row < 0, center + 1, end - cut)
    return clusters.assign(start=start, end=end), row < 0


def label_windows(
    windows: pd.DataFrame, peaks: pd.DataFrame, tracks: pd.DataFrame, options: TrackOptions
) -> tuple[IdLists, IdLists]:
    """Return the tracks that bind each window, and those for which this is unknown.

    A track is bound where one of its peaks that reach the thresholds overlaps the ``core`` nt around the centre. It is
    unknown where it is not bound and fewer than ``near`` bases lie between the core and one of its peaks, weak ones
    included; and where no peak of its cell line, weak ones included, overlaps the ``window`` nt around the centre,
    because the transcript may be absent there. Otherwise it does not bind. Only peaks on the window's strand count.

    Parameters
    ----------
    windows : pandas.DataFrame with chrom, center, strand
        n rows.
    peaks : pandas.DataFrame
        As `read_track_peaks` returns it.
    tracks : pandas.DataFrame
        As `track_table` returns it.
    options : TrackOptions

    Returns
    -------
    bound, unknown : IdLists of n windows
    """
    center = windows["center"].to_numpy()
    spans = {
        "core": (center - options.core // 2, options.core),
        "window": (center - options.window // 2, options.window),
    }
    core, around = ((start, start + length) for start, length in spans.values())
    near = core[0] - options.near, core[1] + options.near
    widest = windows.assign(start=np.minimum(near[0], around[0]), end=np.maximum(near[1], around[1]))
    row, peak = overlap(widest, peaks, stranded=True)
    start, end = (peaks[name].to_numpy()[peak] for name in ("start", "end"))

    def meets(span: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return (start < span[1][row]) & (end > span[0][row])

    ids = peaks["track"].map(dict(zip(tracks["track"], tracks["id"]))).to_numpy(np.int64)[peak]
    strong = significant(peaks, options.min_log2fc, options.min_neg_log10_p)[peak]
    names, cell = np.unique(tracks["cell"].to_numpy(str), return_inverse=True)
    has_cell = np.zeros((len(windows), len(names)), dtype=bool)
    is_around = meets(around)
    has_cell[row[is_around], cell[ids[is_around]]] = True
    is_bound, is_near = meets(core) & strong, meets(near)

    lists = {1: [], 2: []}
    for first in range(0, len(windows), _ROWS_AT_ONCE):
        block = slice(*np.searchsorted(row, [first, first + _ROWS_AT_ONCE]))
        state = np.where(has_cell[first : first + _ROWS_AT_ONCE, cell], np.uint8(0), np.uint8(2))
        for value, chosen in ((2, is_near[block]), (1, is_bound[block])):
            state[row[block][chosen] - first, ids[block][chosen]] = value
        for value, blocks in lists.items():
            rows, columns = np.nonzero(state == value)
            blocks.append((np.bincount(rows, minlength=len(state)), columns.astype(np.int32)))
    return tuple(_joined(blocks) for blocks in lists.values())


def _joined(blocks: list[tuple[np.ndarray, np.ndarray]]) -> IdLists:
    """Return the lists of consecutive blocks of windows, from the lengths and the ids of each block."""
    lengths = np.concatenate([np.zeros(1, np.int64), *(lengths for lengths, _ in blocks)])
    return IdLists(np.concatenate([np.zeros(0, np.int32), *(ids for _, ids in blocks)]), np.cumsum(lengths))
