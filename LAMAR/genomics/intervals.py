"""Genomic intervals in tables: chromosome names, overlaps, merging, distances; built on bioframe.

A table of intervals is a pandas DataFrame with the columns ``chrom``, ``start``, ``end`` (0-based, half-open, int64)
and, where strands count, ``strand``: ``+``, ``-`` or ``.`` (unknown, which agrees with either).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..data.chromosomes import canonical_chromosome

__all__ = [
    "IntervalIndex",
    "canonical_chromosome",
    "canonical_chromosomes",
    "is_standard",
    "merge",
    "overlap",
    "within",
]

STANDARD = frozenset(f"chr{name}" for name in [*range(1, 23), "X", "Y"])
_COORDINATES = ["chrom", "start", "end"]


def canonical_chromosomes(names: pd.Series) -> pd.Series:
    """Return `canonical_chromosome` of a column."""
    return names.map({name: canonical_chromosome(name) for name in names.unique()})


def is_standard(name: str) -> bool:
    """Return whether a chromosome is one of chr1-22, chrX, chrY, in any spelling."""
    return canonical_chromosome(name) in STANDARD


def _disagree(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return (one != two) & (one != ".") & (two != ".")


def overlap(one: pd.DataFrame, two: pd.DataFrame, *, stranded: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of overlapping intervals.

    Parameters
    ----------
    one, two : DataFrame with chrom, start, end (and strand)
        Intervals of one base or more.
    stranded : bool
        Leave out pairs on opposite known strands.

    Returns
    -------
    int64, int64, shape (n_pairs,) each
        Row positions in ``one`` and in ``two``, ordered by the first and then the second.
    """
    if not len(one) or not len(two):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    import bioframe

    tables = [table[_COORDINATES].reset_index(drop=True) for table in (one, two)]
    pairs = bioframe.overlap(*tables, how="inner", return_input=False, return_index=True, suffixes=("_1", "_2"))
    first, second = (pairs[f"index_{i}"].to_numpy(dtype=np.int64) for i in (1, 2))
    if stranded:
        agree = ~_disagree(one["strand"].to_numpy(object)[first], two["strand"].to_numpy(object)[second])
        first, second = first[agree], second[agree]
    order = np.lexsort((second, first))
    return first[order], second[order]


def merge(
    intervals: pd.DataFrame, *, stranded: bool = True, min_gap: int | None = None
) -> tuple[pd.DataFrame, np.ndarray]:
    """Merge overlapping intervals.

    Parameters
    ----------
    intervals : DataFrame with chrom, start, end (and strand)
        Intervals in any order.
    stranded : bool
        Merge within each strand only; ``.`` counts as a third strand.
    min_gap : int, optional
        Also merge intervals with at most that many bases between them; 0 merges neighbours that touch.

    Returns
    -------
    merged : DataFrame
        chrom, start, end (and strand), sorted by them.
    row : int64, shape (n,)
        Row of ``merged`` that each interval is part of.
    """
    columns = [*_COORDINATES, "strand"] if stranded else _COORDINATES
    if not len(intervals):
        return intervals[columns].reset_index(drop=True), np.zeros(0, np.int64)
    import bioframe

    table = intervals[columns].reset_index(drop=True)
    if stranded:
        table["strand"] = table["strand"].astype(object)
    clusters = bioframe.cluster(table, min_dist=min_gap, on=["strand"] if stranded else None)
    label = clusters["cluster"].to_numpy(dtype=np.int64)
    merged = (
        clusters.drop_duplicates("cluster")[["chrom", "cluster_start", "cluster_end", *columns[3:], "cluster"]]
        .set_axis([*columns, "cluster"], axis=1)
        .sort_values(columns, ignore_index=True)
        .astype({"start": np.int64, "end": np.int64})
    )
    row = np.empty(len(merged), dtype=np.int64)
    row[merged.pop("cluster").to_numpy(dtype=np.int64)] = np.arange(len(merged))
    return merged, row[label]


def within(one: pd.DataFrame, two: pd.DataFrame, distance: int, *, stranded: bool = False) -> np.ndarray:
    """Return whether fewer than ``distance`` bases lie between an interval of ``one`` and the nearest of ``two``.

    Parameters
    ----------
    one, two : DataFrame with chrom, start, end (and strand)
        Intervals of one base or more.
    distance : int
        Number of bases. Neighbours that touch have 0 bases between them; overlapping intervals are within any distance.
    stranded : bool
        Ignore intervals on opposite known strands.

    Returns
    -------
    bool, shape (len(one),)
    """
    near = np.zeros(len(one), dtype=bool)
    # [a, b) and [c, d) with c - b < distance overlap exactly when [a, b + distance) and [c, d) do.
    wider = one.assign(start=one["start"] - distance, end=one["end"] + distance)
    near[overlap(wider, two, stranded=stranded)[0]] = True
    return near


class IntervalIndex:
    """A large sorted table of intervals, of which those near a few others are found by binary search.

    Parameters
    ----------
    intervals : DataFrame with chrom, start, end, strand
        Any further columns are kept.

    Attributes
    ----------
    table : dict of ndarray, shape (n,)
        The columns, sorted by chrom, start, end; rows equal in these keep their order.
    """

    def __init__(self, intervals: pd.DataFrame):
        code, names = pd.factorize(intervals["chrom"].to_numpy(object), sort=True)
        order = np.lexsort((intervals["end"].to_numpy(), intervals["start"].to_numpy(), code))
        self.table = {name: column.to_numpy()[order] for name, column in intervals.items()}
        bounds = np.searchsorted(code[order], np.arange(len(names) + 1))
        self._slices = {name: slice(a, b) for name, a, b in zip(names.tolist(), bounds[:-1], bounds[1:])}
        # The largest end so far ascends, so that a search finds the first interval that may reach a place.
        self._reach = {name: np.maximum.accumulate(self.table["end"][part]) for name, part in self._slices.items()}

    def __len__(self) -> int:
        return len(self.table["start"])

    @property
    def chromosomes(self) -> list[str]:
        """Names of all chromosomes, sorted."""
        return list(self._slices)

    def near(self, chrom: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Return the rows (int64, ascending) of all intervals that overlap one of those given, and of a few more."""
        rows = [np.zeros(0, np.int64)]
        for name in pd.unique(chrom):
            if name not in self._slices:
                continue
            here, part = chrom == name, self._slices[name]
            low = np.searchsorted(self._reach[name], start[here], side="right")
            high = np.searchsorted(self.table["start"][part], end[here], side="left")
            order = np.argsort(low)
            low, high = low[order], np.maximum.accumulate(high[order])
            new = np.ones(len(low), dtype=bool)
            new[1:] = low[1:] > high[:-1]
            first = np.flatnonzero(new)
            low, high = low[first], high[np.append(first[1:], len(high)) - 1]
            sizes = high - low
            before = np.cumsum(sizes) - sizes
            rows.append(part.start + np.repeat(low - before, sizes) + np.arange(sizes.sum()))
        return np.sort(np.concatenate(rows))

    def rows(self, rows: np.ndarray) -> pd.DataFrame:
        """Return chrom, start, end and strand of rows as a DataFrame."""
        return pd.DataFrame({name: self.table[name][rows] for name in ("chrom", "start", "end", "strand")})
