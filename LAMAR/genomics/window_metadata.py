"""Windows with their metadata: sequence, place on the genome, and the peaks and binding sites in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from .intervals import IntervalIndex, overlap
from .windows import CLASSES, LONG, METHODS, WindowRule, place_windows, to_genomic, to_local

__all__ = ["DescribedWindows", "Record"]


class Record(NamedTuple):
    """A stretch of the genome and its sequence on the strand given; ``.`` is read as ``+``."""

    seq_id: str
    chrom: str
    start: int
    end: int
    strand: str
    sequence: str


class DescribedWindows:
    """Windows of a batch of records, with the peaks and the binding sites in them.

    On a record of known strand, peaks and BED lines of the other strand are ignored; those without strand count.

    Parameters
    ----------
    batch : sequence of Record
        At least one record.
    rule : WindowRule
        Rule that draws the windows.
    peaks : IntervalIndex, optional
        Peaks, with columns rbp, cell, and n_peaks where they were merged.
    bed : IntervalIndex, optional
        Regions with binding sites, with the column score.

    Attributes
    ----------
    counts : Counter
        Counts by (kind, name). Kinds ``class`` and ``method`` count by the names in `CLASSES` and `METHODS`; kinds
        ``records``, ``windows``, ``complete`` and ``partial`` (occurrences of peaks in windows) by chromosome; kind
        ``total`` has ``pairs`` (overlaps of a record and a peak, on any strand), ``opposite`` (those on opposite
        strands), ``in_bed`` (records that overlap a BED line) and ``window_nucleotides``.
    peak_rows : int64
        Rows of ``peaks`` that lie in a window, at least in part; ascending.
    """

    def __init__(
        self,
        batch: Sequence[Record],
        rule: WindowRule,
        peaks: IntervalIndex | None = None,
        bed: IntervalIndex | None = None,
    ):
        self.batch, self.counts, self.peaks = batch, Counter(), peaks
        ids, *place, _ = zip(*batch)
        regions = pd.DataFrame(dict(zip(("chrom", "start", "end", "strand"), place)))
        regions = regions.astype({"chrom": object, "start": np.int64, "end": np.int64, "strand": object})
        chrom, start, end, strand = (regions[name].to_numpy() for name in regions)
        classes = rule.length_class(end - start)
        nearby = None if peaks is None else peaks.near(chrom, start, end)
        table = None if peaks is None else peaks.rows(nearby)
        long_peaks = np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
        if peaks is not None:
            one, two = overlap(regions, table, stranded=True)
            pairs = len(overlap(regions, table)[0]) if (strand != ".").any() else len(one)
            self.counts.update({("total", "pairs"): pairs, ("total", "opposite"): pairs - len(one)})
            one, two = one[classes[one] == LONG], two[classes[one] == LONG]
            inside = _intersection(regions, table, one, two)
            long_peaks = one, np.stack(to_local(start[one], end[one], strand[one], *inside), axis=1)
        self.windows = place_windows(end - start, ids, rule, *long_peaks)
        r = self.windows.record
        genomic = to_genomic(start[r], end[r], strand[r], self.windows.start, self.windows.end)
        self.table = pd.DataFrame({"chrom": chrom[r], "start": genomic[0], "end": genomic[1], "strand": strand[r]})
        self.scores = [None] * len(r) if bed is None else self._scores(regions, bed)
        self.first, self.peak_rows = np.zeros(len(r) + 1, np.int64), np.zeros(0, np.int64)
        if peaks is not None:
            self._find_pieces(table, nearby)
        self._count("class", np.array(CLASSES, object)[classes])
        self._count("method", np.array(METHODS, object)[self.windows.method])
        self._count("records", chrom)
        self._count("windows", self.table["chrom"].to_numpy())
        self.counts["total", "window_nucleotides"] = int((self.windows.end - self.windows.start).sum())

    def _count(self, kind: str, names: np.ndarray) -> None:
        self.counts.update({(kind, name): number for name, number in Counter(names.tolist()).items()})

    def _scores(self, regions: pd.DataFrame, bed: IntervalIndex) -> list[float | None]:
        """Return the largest score of the BED lines that overlap each window, None without one."""
        nearby = bed.near(*(regions[name].to_numpy() for name in ("chrom", "start", "end")))
        lines = bed.rows(nearby)
        self.counts["total", "in_bed"] = len(np.unique(overlap(regions, lines, stranded=True)[0]))
        one, two = overlap(self.table, lines, stranded=True)
        largest = np.full(len(self), -np.inf)
        np.maximum.at(largest, one, bed.table["score"][nearby[two]])
        return [None if score == -np.inf else score for score in largest.tolist()]

    def _find_pieces(self, table: pd.DataFrame, nearby: np.ndarray) -> None:
        """Find the pieces of peaks in windows: one per overlapping pair, ordered by window."""
        one, two = overlap(self.table, table, stranded=True)
        self.first = np.searchsorted(one, np.arange(len(self) + 1))
        self.rows, self.peak_rows = nearby[two], np.unique(nearby[two])
        windows = [self.table[name].to_numpy()[one] for name in ("start", "end", "strand")]
        genomic = _intersection(self.table, table, one, two)
        local = to_local(*windows, *genomic)
        self.pieces = dict(zip(("start", "end", "genomic_start", "genomic_end"), (*local, *genomic)))
        self.complete = genomic[1] - genomic[0] == (table["end"] - table["start"]).to_numpy()[two]
        chrom = self.table["chrom"].to_numpy()[one]
        self._count("complete", chrom[self.complete])
        self._count("partial", chrom[~self.complete])

    def __len__(self) -> int:
        return len(self.windows.record)

    def sequences(self, first: int, last: int) -> list[str]:
        """Return the sequences of windows ``first`` to ``last - 1``."""
        columns = (column[first:last].tolist() for column in self.windows[:3])
        return [self.batch[i].sequence[a:b] for i, a, b in zip(*columns)]

    def records(self, first: int, last: int) -> list[dict]:
        """Return the metadata of windows ``first`` to ``last - 1`` as plain Python objects."""
        part = slice(first, last)
        record, start, end, method = (column[part] for column in self.windows)
        columns = {
            "sequence": self.sequences(first, last),
            "seq_id": [self.batch[i].seq_id for i in record.tolist()],
            **{name: column.to_numpy()[part].tolist() for name, column in self.table.items()},
            "local_start": start.tolist(),
            "local_end": end.tolist(),
            "method": [METHODS[i] for i in method.tolist()],
            "seq_len": (end - start).tolist(),
            "binding_sites": self.scores[part],
            "eclip_regions": self._piece_lists(self.first[first : last + 1]),
        }
        return [dict(zip(columns, values)) for values in zip(*columns.values())]

    def _piece_lists(self, bounds: np.ndarray) -> list[list[dict]]:
        """Return the pieces of peaks in each window; ``bounds`` are the windows' bounds in the arrays of pieces."""
        if self.peaks is None:
            return [[] for _ in bounds[1:]]
        part, listed = slice(bounds[0], bounds[-1]), self.peaks.table
        columns = {name: array[part].tolist() for name, array in self.pieces.items()}
        columns |= {name: listed[name][self.rows[part]].tolist() for name in ("strand", "rbp", "cell")}
        columns["complete"] = self.complete[part].tolist()
        if "n_peaks" in listed:
            columns["n_peaks"] = listed["n_peaks"][self.rows[part]].tolist()
        pieces = [dict(zip(columns, values)) for values in zip(*columns.values())]
        return [pieces[a:b] for a, b in pairwise((bounds - bounds[0]).tolist())]


def _intersection(one: pd.DataFrame, two: pd.DataFrame, first, second) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end of the common part of rows ``first`` of one table and rows ``second`` of another."""
    start = np.maximum(one["start"].to_numpy()[first], two["start"].to_numpy()[second])
    return start, np.minimum(one["end"].to_numpy()[first], two["end"].to_numpy()[second])
