"""Windows for self-supervised training: their places in a sequence and on the genome.

Coordinates are 0-based and half-open. Local coordinates count along a sequence as it is written: position 0 is the
genomic end of a sequence on the minus strand, and the genomic start of one on ``+`` or on ``.`` (unknown).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from .choices import SAMPLING

__all__ = ["CLASSES", "METHODS", "WindowRule", "Windows", "place_windows", "to_genomic", "to_local"]

METHODS = ("whole", "sliding", "peak", "uniform")
WHOLE, SLIDING, PEAK, UNIFORM = range(4)
CLASSES = ("short", "medium", "long")
SHORT, MEDIUM, LONG = range(3)


def to_genomic(start, end, strand, local_start, local_end) -> tuple[np.ndarray, np.ndarray]:
    """Return the genomic coordinates of local intervals.

    Parameters
    ----------
    start, end : int64, shape (n,)
        Genomic stretch that each interval lies in.
    strand : str, shape (n,)
        Strand of the stretch: ``+``, ``-`` or ``.``.
    local_start, local_end : int64, shape (n,)
        The intervals.

    Returns
    -------
    (int64, int64)
        Genomic start and end of each interval, shape (n,) each.
    """
    minus = np.asarray(strand) == "-"
    return np.where(minus, end - local_end, start + local_start), np.where(minus, end - local_start, start + local_end)


def to_local(start, end, strand, genomic_start, genomic_end) -> tuple[np.ndarray, np.ndarray]:
    """Return the local coordinates of genomic intervals; the inverse of `to_genomic`."""
    minus = np.asarray(strand) == "-"
    local_start = np.where(minus, end - genomic_end, genomic_start - start)
    return local_start, local_start + (genomic_end - genomic_start)


@dataclass(frozen=True)
class WindowRule:
    """Rule that draws windows from a sequence, by its length L.

    ======== ========================== ============================================================================
    sampling L                          windows
    ======== ========================== ============================================================================
    default  up to max_len              ``whole``: the sequence
    default  up to 12 max_len           ``sliding``: one every ``stride`` nt, and a last one that ends with the sequence
    default  longer                     ``peak``: one around each peak; and ``uniform`` ones
    doc      up to max_len              ``whole``
    doc      below 4 max_len            ``sliding``, stride max_len // 2
    doc      longer                     ``uniform`` ones
    ======== ========================== ============================================================================

    A ``peak`` window is centred on the middle of the peak (of its part in the sequence) and shifted at random by up to
    ``jitter`` nt either way, never so far that it loses that middle; it is then moved into the sequence. There are
    ``sqrt(L / max_len)`` ``uniform`` windows, rounded down and at least one, at different random starts. Duplicate
    windows are removed. All windows but ``whole`` have ``max_len`` nt.

    Attributes
    ----------
    max_len : int
        Longest window, in nt.
    stride : int
        Distance between sliding windows, in nt.
    sampling : {"default", "doc"}
        Rule of the table above.
    jitter : int or None
        Largest shift of a window around a peak, in nt; None means ``max_len // 4``.
    seed : int
        Seed. Together with a record's id it determines the record's windows, whatever other records there are.

    Raises
    ------
    InputError
        If max_len is below 8, stride not in 1 to max_len, jitter or seed below 0.
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
            raise InputError(f"`sampling`: found {self.sampling!r}, wanted {' or '.join(SAMPLING)}")
        if not 8 <= self.max_len < 2**31:
            raise InputError(f"`max_len`: found {self.max_len}, wanted 8 or more, below 2**31")
        if not 1 <= self.stride <= self.max_len:
            raise InputError(f"`stride`: found {self.stride}, wanted 1 to `max_len` ({self.max_len})")
        if not 0 <= self.jitter < 2**31:
            raise InputError(f"`jitter`: found {self.jitter}, wanted 0 or more, below 2**31")
        if self.seed < 0:
            raise InputError(f"`seed`: found {self.seed}, wanted 0 or more")

    @property
    def step(self) -> int:
        """Distance between sliding windows, in nt."""
        return self.stride if self.sampling == "default" else self.max_len // 2

    def length_class(self, lengths) -> np.ndarray:
        """Return the index into `CLASSES` (int64) of lengths in nt.

        Short sequences are taken whole, medium ones covered by windows, long ones sampled.
        """
        longest_covered = 12 * self.max_len if self.sampling == "default" else 4 * self.max_len - 1
        return np.searchsorted([self.max_len, longest_covered], lengths)

    def nucleotides(self, length: int) -> int:
        """Estimate the nucleotides to hold in memory for a sequence of ``length`` nt and its windows."""
        if length <= self.max_len or self.length_class(length) == LONG:
            return length
        return max(length, (2 + (length - self.max_len) // self.step) * self.max_len)

    def starts(self, length: int, record_id: str, peaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the windows of one sequence that is longer than ``max_len``.

        Parameters
        ----------
        length : int
            Length of the sequence, in nt.
        record_id : str
            Name of the sequence, which seeds its random windows.
        peaks : int64, shape (n_peaks, 2)
            Local [start, end) of its peaks, inside the sequence, in a fixed order. Used for long sequences only.

        Returns
        -------
        starts : int64, shape (n_windows,)
            Local starts, ascending, without duplicates; each window has ``max_len`` nt.
        methods : int64, shape (n_windows,)
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
        # np.unique keeps the first of equal starts: a window that is both is called a peak window.
        starts, first = np.unique(np.concatenate([centred, uniform]), return_index=True)
        return starts, np.where(first < len(centred), PEAK, UNIFORM)


class Windows(NamedTuple):
    """Windows of several sequences, ordered by sequence and start; int64 arrays of shape (n_windows,).

    Attributes
    ----------
    record : int64
        Position of the sequence among all.
    start, end : int64
        Local coordinates.
    method : int64
        Index into `METHODS`.
    """

    record: np.ndarray
    start: np.ndarray
    end: np.ndarray
    method: np.ndarray


def place_windows(
    lengths: np.ndarray, ids: Sequence[str], rule: WindowRule, peak_record: np.ndarray, peaks: np.ndarray
) -> Windows:
    """Place the windows of many sequences.

    Parameters
    ----------
    lengths : int64, shape (n,)
        Lengths of the sequences in nt, at least 1.
    ids : sequence of str, length n
        Names of the sequences, which seed their random windows.
    rule : WindowRule
        Rule that draws the windows.
    peak_record : int64, shape (n_peaks,)
        Position of the sequence that each peak lies in, ascending.
    peaks : int64, shape (n_peaks, 2)
        Local [start, end) of the peaks, inside their sequences.

    Returns
    -------
    Windows
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
