"""Windows around binding sites, and windows without a site: the two classes of a labelled set.

Tables are pandas DataFrames with chrom (canonical), start, end (0-based, half-open), strand, and further columns of
`LAMAR.genomics.peaks.read_peaks`. Sequences are read 5' to 3' on the window's strand.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import InputError
from .choices import CENTERS
from .genome import SequenceSource
from .intervals import is_standard, merge, within

__all__ = [
    "WindowFilter",
    "center_windows",
    "describe_absent_values",
    "far_from",
    "merge_replicates",
    "random_windows",
    "significant",
    "warn_of_absent_values",
    "with_sequence",
    "without_values",
]

logger = logging.getLogger(__name__)

# Values that thresholds apply to: their column in tables of peaks, their name, and what says where files have them.
_VALUES = {
    "min_log2fc": ("log2fc", "log2 fold change", "fc_column"),
    "min_neg_log10_p": ("neg_log10_p", "-log10 p", "p_column"),
}


def significant(peaks: pd.DataFrame, min_log2fc: float, min_neg_log10_p: float) -> np.ndarray:
    """Return whether each peak reaches both thresholds, bool (n,); a value that is absent from the file passes."""
    low = (peaks["log2fc"] < min_log2fc) | (peaks["neg_log10_p"] < min_neg_log10_p)
    return ~low.to_numpy()


def without_values(peaks: pd.DataFrame) -> dict[str, int]:
    """Return the number of peaks whose file has no such value, by threshold: these pass whatever the threshold is."""
    return {threshold: int(peaks[column].isna().sum()) for threshold, (column, _, _) in _VALUES.items()}


def describe_absent_values(absent: dict[str, int], n_peaks: int) -> str:
    """Return what `without_values` counts as text; "" where every peak has both values."""
    parts = [
        f"{n:,} of {n_peaks:,} peaks have no {_VALUES[threshold][1]}, so that {threshold} has no effect on them"
        for threshold, n in absent.items()
        if n
    ]
    return "; ".join(parts)


def warn_of_absent_values(peaks: pd.DataFrame) -> None:
    """Log a warning for each threshold that has no effect on some of the peaks, with the first file of such peaks."""
    for threshold, n in without_values(peaks).items():
        if n:
            column, value, parameter = _VALUES[threshold]
            file = peaks["source"].to_numpy()[int(np.argmax(peaks[column].isna()))]
            logger.warning(
                "`%s` has no effect on %d of %d peaks, whose files have no %s (first: %s); `%s` names its column",
                threshold, n, len(peaks), value, file, parameter,
            )  # fmt: skip


def center_windows(peaks: pd.DataFrame, width: int, center: str = "middle") -> pd.DataFrame:
    """Replace each peak by the window of ``width`` nt around its centre.

    The centre is base ``width // 2`` of the window in genomic order: ``(start + end) // 2`` for ``middle``, the first
    base in the direction of the strand for ``five_prime``, ``start + summit`` for ``summit``.

    Parameters
    ----------
    peaks : DataFrame
        As `LAMAR.genomics.peaks.read_peaks` returns them.
    width : int
        Length of the windows, in nt.
    center : str
        One of `LAMAR.genomics.choices.CENTERS`.

    Returns
    -------
    DataFrame
        The peaks with start and end of the window, which may lie beyond the chromosome's ends.

    Raises
    ------
    InputError
        If a summit is wanted and a peak has none, or a 5' end is wanted and a peak has no strand.
    """
    start, end = peaks["start"].to_numpy(), peaks["end"].to_numpy()
    if center == "middle":
        middle = (start + end) // 2
    elif center == "five_prime":
        if (peaks["strand"] == ".").any():
            row = peaks.iloc[int(np.argmax(peaks["strand"] == "."))]
            peak = f"{row.source}: peak {row.chrom}:{row.start}-{row.end}"
            raise InputError(f"`center` five_prime: {peak} has no strand, wanted + or -")
        middle = np.where(peaks["strand"] == "+", start, end - 1)
    elif center == "summit":
        if (peaks["summit"] < 0).any():
            row = peaks.iloc[int(np.argmax(peaks["summit"] < 0))]
            peak = f"{row.source}: peak {row.chrom}:{row.start}-{row.end}"
            wanted = f"wanted an offset from 0 to {row.end - row.start - 1}; use middle"
            raise InputError(f"`center` summit: {peak} has no summit in column 10, {wanted}")
        middle = start + peaks["summit"].to_numpy()
    else:
        raise InputError(f"`center`: found {center!r}, wanted one of {', '.join(CENTERS)}")
    return peaks.assign(start=middle - width // 2, end=middle - width // 2 + width)


def merge_replicates(peaks: pd.DataFrame) -> pd.DataFrame:
    """Keep one peak of each group that overlaps on a strand across several files: that of the highest fold change.

    Peaks of one file are not merged, since the peak caller kept them apart.
    """
    if peaks["source"].nunique() < 2:
        return peaks
    group = merge(peaks)[1]
    files = peaks.groupby(group)["source"].transform("nunique").to_numpy()
    order = np.lexsort((np.arange(len(peaks)), -peaks["neg_log10_p"].fillna(0), -peaks["log2fc"].fillna(0)))
    best = np.zeros(len(peaks), dtype=bool)
    best[order[np.unique(group[order], return_index=True)[1]]] = True
    return peaks[best | (files == 1)]


def far_from(windows: pd.DataFrame, sites: pd.DataFrame, distance: int) -> np.ndarray:
    """Return whether at least ``distance`` nt lie between each window and every site on its strand; bool (n,)."""
    return ~within(windows, sites, distance, stranded=True)


def random_windows(spans: pd.DataFrame, width: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw a window at a uniform position within every span that is long enough, on the span's strand.

    Parameters
    ----------
    spans : DataFrame with chrom, start, end, strand
        One row per draw; rows may be repeated.
    width : int
        Length of the windows, in nt.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    DataFrame
        chrom, start, end, strand, in the order of the spans.
    """
    spans = spans[spans["end"] - spans["start"] >= width]
    start = rng.integers(spans["start"].to_numpy(), spans["end"].to_numpy() - width + 1)
    windows = spans[["chrom", "strand"]].assign(start=start, end=start + width)
    return windows[["chrom", "start", "end", "strand"]].reset_index(drop=True)


class WindowFilter:
    """Windows from which unusable ones are dropped, reason by reason, with the number dropped by each.

    Attributes
    ----------
    windows : DataFrame with chrom
        The windows kept so far.
    dropped : dict of int
        Number of windows by reason, in the order of the calls.
    """

    def __init__(self, windows: pd.DataFrame):
        self.windows = windows
        self.dropped: dict[str, int] = {}

    def drop(self, reason: str, is_bad) -> None:
        """Drop the windows for which ``is_bad``, boolean (n,), is true, and count them under ``reason``."""
        is_bad = np.asarray(is_bad, dtype=bool)
        self.dropped[reason] = int(is_bad.sum())
        self.windows = self.windows[~is_bad]

    def drop_nonstandard(self, keep: bool) -> None:
        """Drop windows outside chr1-22, X and Y as ``nonstandard_chromosome``, unless ``keep`` is true."""
        standard = {chrom: is_standard(chrom) for chrom in self.windows["chrom"].unique()}
        self.drop("nonstandard_chromosome", ~self.windows["chrom"].map(standard).astype(bool) & (not keep))


def with_sequence(
    windows: pd.DataFrame, source: SequenceSource, known: Sequence[str] = (), keep_nonstandard: bool = False
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Read the sequences of windows, and drop windows that cannot be used.

    Parameters
    ----------
    windows : DataFrame with chrom, start, end, strand
        Windows to read.
    source : SequenceSource
        Genome, or regions.
    known : sequence of str
        Sequences that no window may repeat.
    keep_nonstandard : bool
        Keep chromosomes other than chr1-22, X, Y.

    Returns
    -------
    windows : DataFrame
        The windows kept, with a column ``sequence``.
    dropped : dict of int
        Number of windows dropped by the first reason that applies: ``nonstandard_chromosome``; ``same_window`` (chrom,
        start and strand of an earlier one); ``chromosome_absent`` from the sequence; ``past_the_sequence``, beyond an
        end of its contig or of every region; ``ambiguous_bases``, with a letter other than A, C, G, T;
        ``repeated_sequence``.
    """
    kept = WindowFilter(windows)
    kept.drop_nonstandard(keep_nonstandard)
    kept.drop("same_window", kept.windows.duplicated(["chrom", "start", "strand"]))
    kept.drop("chromosome_absent", ~kept.windows["chrom"].isin(source.contigs["chrom"].unique()))
    kept.drop("past_the_sequence", source.locate(kept.windows) < 0)
    kept.windows = kept.windows.assign(sequence=source.extract(kept.windows))
    kept.drop("ambiguous_bases", ["N" in sequence for sequence in kept.windows["sequence"]])
    kept.drop("repeated_sequence", kept.windows["sequence"].duplicated() | kept.windows["sequence"].isin(known))
    return kept.windows.reset_index(drop=True), kept.dropped
