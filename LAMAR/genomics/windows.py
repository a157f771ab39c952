"""Windows for self-supervised training: where they lie in a sequence and on the genome, and the peaks in them.

Coordinates are 0-based and half-open. Local coordinates count along a sequence as it is written, so position 0 of
one on the minus strand is its genomic end; on ``+`` and on ``.`` (unknown) it is its genomic start.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import InputError
from .intervals import merge, overlap

__all__ = ["CLASSES", "METHODS", "SAMPLING", "DescribedWindows", "IntervalIndex", "Record", "WindowRule", "Windows"]
__all__ += ["merge_named_peaks", "place_windows", "to_genomic", "to_local"]

METHODS = ("whole", "sliding", "peak", "uniform")
WHOLE, SLIDING, PEAK, UNIFORM = range(4)
CLASSES = ("short", "medium", "long")
SHORT, MEDIUM, LONG = range(3)
SAMPLING = ("default", "doc")


def to_genomic(start, end, strand, local_start, local_end) -> tuple[np.ndarray, np.ndarray]:
    """Genomic coordinates of the intervals ``[local_start, local_end)`` of stretches ``[start, end)``.

    All arguments and results are arrays (n,), int64 but for ``strand`` (``+``, ``-`` or ``.``).
    """
    minus = np.asarray(strand) == "-"
    return np.where(minus, end - local_end, start + local_start), np.where(minus, end - local_start, start + local_end)


def to_local(start, end, strand, genomic_start, genomic_end) -> tuple[np.ndarray, np.ndarray]:
    """The way back from `to_genomic`."""
    minus = np.asarray(strand) == "-"
    local_start = np.where(minus, end - genomic_end, genomic_start - start)
    return local_start, local_start + (genomic_end - genomic_start)


@dataclass(frozen=True)
class WindowRule:
    """How windows are drawn from a sequence, by its length L.

    ======== ========================== ==========================================================================
    sampling L                          windows
    ======== ========================== ==========================================================================
    default  up to max_len              ``whole``: the sequence
    default  up to 12 max_len           ``sliding``: every ``stride`` nt, and a last one flush with the end
    default  longer                     ``peak``: one around each peak; and ``uniform`` ones
    doc      up to max_len              ``whole``
    doc      below 4 max_len            ``sliding``, stride max_len // 2
    doc      longer                     ``uniform`` ones
    ======== ========================== ==========================================================================

    A ``peak`` window is centred on the middle of the peak (of the part of it that is in the sequence), shifted by a
    random number of up to ``jitter`` nt either way, but never so far that it loses that middle, and then moved into
    the sequence. The ``uniform`` windows are int(sqrt(L / max_len)), rounded down and at least 1, at random different
    starts. A window that would be there a second time is left out. All but ``whole`` have ``max_len`` nt.

    Attributes
    ----------
    max_len, stride, jitter : int
        nt. ``jitter`` None is max_len // 4.
    sampling : {"default", "doc"}
    seed : int
        With the record's id it determines all that is random, so neither the other records nor the order matter.

    Raises
    ------
    InputError
        Names the argument: max_len below 8, stride not in 1 to max_len, jitter or seed below 0.
    """

    max_len: int = 512
    stride: int = 256
    sampling: str = "default"
    jitter: int | None = None
    seed: int = 42

    def __post_init__(self):
        if self.jitter is None:
            object.__setattr__(self, "jitter", self.max_len // 4)
        if self.sampling not in SAMPLING:
            raise InputError(f"--sampling: found {self.sampling!r}, wanted {' or '.join(SAMPLING)}")
        if not 8 <= self.max_len < 2**31:
            raise InputError(f"--max_len: found {self.max_len}, wanted 8 or more, below 2**31")
        if not 1 <= self.stride <= self.max_len:
            raise InputError(f"--stride: found {self.stride}, wanted 1 to --max_len ({self.max_len})")
        if not 0 <= self.jitter < 2**31:
            raise InputError(f"--jitter: found {self.jitter}, wanted 0 or more, below 2**31")
        if self.seed < 0:
            raise InputError(f"--seed: found {self.seed}, wanted 0 or more")

    @property
    def step(self) -> int:
        """Distance (nt) of sliding windows."""
        return self.stride if self.sampling == "default" else self.max_len // 2

    def length_class(self, lengths) -> np.ndarray:
        """Index into `CLASSES` (int64) of lengths (nt): short are taken whole, medium covered, long sampled."""
        longest_covered = 12 * self.max_len if self.sampling == "default" else 4 * self.max_len - 1
        return np.searchsorted([self.max_len, longest_covered], lengths)

    def nucleotides(self, length: int) -> int:
        """An estimate of the nucleotides to hold for a sequence of ``length``: its own, or those in its windows."""
        if length <= self.max_len or self.length_class(length) == LONG:
            return length
        return max(length, (2 + (length - self.max_len) // self.step) * self.max_len)

    def starts(self, length: int, record_id: str, peaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Windows of one sequence that is longer than ``max_len``.

        Parameters
        ----------
        length : int
            nt.
        record_id : str
        peaks : int64 (n_peaks, 2)
            Local [start, end), inside the sequence, in a fixed order. Used for long sequences only.

        Returns
        -------
        starts : int64 (n_windows,)
            Ascending, all different; each window has ``max_len`` nt.
        methods : int64 (n_windows,)
            Indices into `METHODS`.
        """
        last = length - self.max_len
        if self.length_class(length) == MEDIUM:
            starts = np.arange(0, last + self.step, self.step, dtype=np.int64)
            starts[-1] = last
            return starts, np.full(len(starts), SLIDING)
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, zlib.crc32(record_id.encode())]))
        n_uniform = max(1, int((length / self.max_len) ** 0.5))
        uniform = rng.choice(last + 1, size=min(n_uniform, last + 1), replace=False)
        centred = np.zeros(0, dtype=np.int64)
        if self.sampling == "default" and len(peaks):
            middle = peaks.sum(axis=1) // 2
            shift = rng.integers(-self.jitter, self.jitter + 1, size=len(middle))
            centred = np.clip(middle - self.max_len // 2 + shift, middle - self.max_len + 1, middle)
            centred = np.clip(centred, 0, last)
        # unique returns the first of equal ones: what is both is called a peak window.
        starts, first = np.unique(np.concatenate([centred, uniform]), return_index=True)
        return starts, np.where(first < len(centred), PEAK, UNIFORM)


class Windows(NamedTuple):
    """Windows of several sequences, ordered by sequence and start; int64 (n_windows,) each."""

    record: np.ndarray  # position of the sequence
    start: np.ndarray  # local
    end: np.ndarray
    method: np.ndarray  # index into METHODS


def place_windows(
    lengths: np.ndarray, ids: Sequence[str], rule: WindowRule, peak_record: np.ndarray, peaks: np.ndarray
) -> Windows:
    """Windows of many sequences.

    Parameters
    ----------
    lengths : int64 (n,)
        nt, at least 1.
    ids : sequence of str, n
        Names of the sequences; they seed what is random.
    rule : WindowRule
    peak_record : int64 (n_peaks,)
        Sequence that each peak lies in, ascending.
    peaks : int64 (n_peaks, 2)
        Local [start, end), inside the sequence.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    classes = rule.length_class(lengths)
    short = np.flatnonzero(classes == SHORT)
    parts = [Windows(short, np.zeros_like(short), lengths[short], np.full(len(short), WHOLE))]
    others = np.flatnonzero(classes != SHORT)
    first, last = np.searchsorted(peak_record, [others, others + 1])
    for i, a, b in zip(others.tolist(), first.tolist(), last.tolist()):
        starts, methods = rule.starts(int(lengths[i]), ids[i], peaks[a:b])
        parts.append(Windows(np.full(len(starts), i), starts, starts + rule.max_len, methods))
    joined = Windows(*(np.concatenate(column) for column in zip(*parts)))
    order = np.argsort(joined.record, kind="stable")
    return Windows(*(column[order] for column in joined))


class IntervalIndex:
    """A large table of intervals, sorted, of which the part near a few others is found without a look at the rest.

    Attributes
    ----------
    table : dict of ndarray (n,)
        The columns, sorted by chrom, start, end; rows that agree in these keep their order.
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
        return list(self._slices)

    def near(self, chrom: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Rows (int64, ascending) of all intervals that overlap one of those given, and of a few more."""
        found = [np.zeros(0, np.int64)]
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
            found.append(part.start + np.repeat(low - before, sizes) + np.arange(sizes.sum()))
        return np.sort(np.concatenate(found))

    def rows(self, rows: np.ndarray) -> pd.DataFrame:
        """chrom, start, end and strand of some rows."""
        return pd.DataFrame({name: self.table[name][rows] for name in ("chrom", "start", "end", "strand")})


def merge_named_peaks(peaks: pd.DataFrame) -> pd.DataFrame:
    """Join overlapping peaks of one strand.

    Parameters
    ----------
    peaks : DataFrame with chrom, start, end, strand, rbp, cell

    Returns
    -------
    DataFrame
        The same columns, ``rbp`` and ``cell`` being the different names in order, joined by ";", and ``n_peaks``.
    """
    merged, row = merge(peaks)
    for column in ("rbp", "cell"):
        code, names = pd.factorize(peaks[column].to_numpy(object), sort=True)
        keys = np.unique(row * len(names) + code)
        bounds = np.searchsorted(keys, np.arange(len(merged) + 1) * len(names))
        members = names[keys % len(names)].tolist()
        merged[column] = [";".join(members[a:b]) for a, b in pairwise(bounds.tolist())]
    merged["n_peaks"] = np.bincount(row, minlength=len(merged))
    return merged


class Record(NamedTuple):
    """A stretch of the genome and its sequence, on the strand given; ``.`` is read as ``+``."""

    seq_id: str
    chrom: str
    start: int
    end: int
    strand: str
    sequence: str


class DescribedWindows:
    """Windows of some records, with the peaks and the binding sites in them.

    On a record of known strand only peaks and BED lines of this strand, or of none, count.

    Parameters
    ----------
    batch : sequence of Record
        At least one.
    rule : WindowRule
    peaks : IntervalIndex, optional
        With columns rbp, cell, and n_peaks where peaks were merged.
    bed : IntervalIndex, optional
        With the column score.

    Attributes
    ----------
    counts : Counter
        By (kind, name): ``class`` and ``method``, ``records`` and ``windows`` by chromosome, ``complete`` and
        ``partial`` (peaks in windows, as often as they occur) by chromosome; by ("total", name): ``pairs`` (of a record
        and a peak, on either strand), ``opposite`` (those on opposite strands), ``in_bed`` (records that overlap a BED
        line), ``window_nucleotides``.
    found : int64
        Rows of ``peaks`` that lie, at least in part, in a window; ascending.
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
        self.first, self.found = np.zeros(len(r) + 1, np.int64), np.zeros(0, np.int64)
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
        """The largest score of the BED lines that overlap each window."""
        nearby = bed.near(*(regions[name].to_numpy() for name in ("chrom", "start", "end")))
        lines = bed.rows(nearby)
        self.counts["total", "in_bed"] = len(np.unique(overlap(regions, lines, stranded=True)[0]))
        one, two = overlap(self.table, lines, stranded=True)
        largest = np.full(len(self), -np.inf)
        np.maximum.at(largest, one, bed.table["score"][nearby[two]])
        return [None if score == -np.inf else score for score in largest.tolist()]

    def _find_pieces(self, table: pd.DataFrame, nearby: np.ndarray) -> None:
        """The stretches of peaks in windows, one for each pair of them, ordered by window."""
        one, two = overlap(self.table, table, stranded=True)
        self.first = np.searchsorted(one, np.arange(len(self) + 1))
        self.rows, self.found = nearby[two], np.unique(nearby[two])
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
        """Nucleotides of the windows number ``first`` to ``last - 1``."""
        columns = (column[first:last].tolist() for column in self.windows[:3])
        return [self.batch[i].sequence[a:b] for i, a, b in zip(*columns)]

    def records(self, first: int, last: int) -> list[dict]:
        """Metadata of the windows number ``first`` to ``last - 1``, as plain Python objects."""
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
        """The stretches of peaks in each window, where ``bounds`` are those of the windows in the arrays of pieces."""
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
    """What rows ``first`` of one table and ``second`` of another have in common."""
    start = np.maximum(one["start"].to_numpy()[first], two["start"].to_numpy()[second])
    return start, np.minimum(one["end"].to_numpy()[first], two["end"].to_numpy()[second])
