"""Tiles of the length that a model was trained on, and what they say about every nucleotide of a record."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import InputError

__all__ = ["MIN_GAP", "Piece", "Profile", "pieces", "profile_of", "segments", "tile_starts"]

MIN_GAP = 10  # unknown nucleotides in a row that no tile may contain
_GAP = re.compile("N" * MIN_GAP + "+")


def segments(sequence: str) -> list[tuple[int, int]]:
    """Return the parts of a normalized sequence between runs of `MIN_GAP` or more N, as 0-based half-open intervals."""
    bounds = [0]
    for gap in _GAP.finditer(sequence):
        bounds += gap.span()
    bounds.append(len(sequence))
    return [(start, end) for start, end in zip(bounds[::2], bounds[1::2]) if end > start]


def tile_starts(length: int, tile: int, stride: int) -> np.ndarray:
    """Return where the tiles of a segment begin; int64, ascending.

    The first begins at 0, each following one ``stride`` later, and the last one ends with the segment, so that every
    nucleotide is covered. A segment shorter than a tile is one tile, of its own length.

    Parameters
    ----------
    length : int
        Nucleotides of the segment, 1 or more.
    tile, stride : int
        Length of a tile and distance of two of them, in nucleotides; the stride is at most the length.

    Raises
    ------
    InputError
        A stride that is below 1 or leaves nucleotides out.
    """
    if not 1 <= stride <= tile:
        raise InputError(f"`stride`: found {stride}, wanted 1 to {tile}, the length of a tile")
    if length <= tile:
        return np.zeros(1, dtype=np.int64)
    starts = np.arange(0, length - tile + 1, stride, dtype=np.int64)
    return starts if starts[-1] == length - tile else np.append(starts, length - tile)


@dataclass(frozen=True, eq=False)
class Profile:
    """Scores along a part of a record, constant between bounds.

    Attributes
    ----------
    bounds : numpy.ndarray of int64, shape (m + 1,)
        Interval i is ``bounds[i]`` to ``bounds[i + 1]``, 0-based and half-open in the record.
    scores : numpy.ndarray of float32, shape (m, k)
        Mean logit of the tiles that cover the interval, for each track.
    """

    bounds: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def cut(self, start: int, end: int) -> Profile:
        """Return the part from ``start`` to ``end``, both within the profile."""
        first = int(np.searchsorted(self.bounds, start, side="right")) - 1
        last = int(np.searchsorted(self.bounds, end, side="left"))
        bounds = self.bounds[first : last + 1].copy()
        bounds[0], bounds[-1] = start, end
        return Profile(bounds, self.scores[first:last])

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the scores of nucleotides, int64 (n,), that the profile has; float32, shape (n, k)."""
        return self.scores[np.searchsorted(self.bounds, positions, side="right") - 1]

    def per_nucleotide(self) -> np.ndarray:
        """Return the score of every nucleotide; float32, shape (``bounds[-1] - bounds[0]``, k)."""
        return np.repeat(self.scores, np.diff(self.bounds), axis=0)


def profile_of(starts: np.ndarray, ends: np.ndarray, logits: np.ndarray) -> Profile:
    """Return the mean logit of the tiles over every nucleotide that they cover without a gap.

    The mean is over at most a few tiles and taken in their order, so that it does not depend on how a record was
    divided into pieces.

    Parameters
    ----------
    starts, ends : numpy.ndarray of int64, shape (n,)
        Tiles, both ascending; each begins within the one before or at its end.
    logits : numpy.ndarray of float32, shape (n, k)
    """
    bounds = np.unique(np.concatenate([starts, ends]))
    first = np.searchsorted(ends, bounds[:-1], side="right")  # first tile that ends behind the interval's start
    last = np.searchsorted(starts, bounds[:-1], side="right")  # one past the last tile that begins at or before it
    covering = last - first
    scores = logits[first].astype(np.float32)
    for lag in range(1, int(covering.max())):
        has_more = covering > lag
        scores[has_more] += logits[first[has_more] + lag]
    return Profile(bounds, scores / covering[:, None].astype(np.float32))


@dataclass(frozen=True)
class Piece:
    """A part of a segment that is predicted at once.

    Attributes
    ----------
    start, end : int
        Part of the record that the piece answers for.
    starts, ends : numpy.ndarray of int64, shape (n,)
        Its tiles, in the record. They cover the piece and ``margin`` nucleotides beside it where the segment has them.
    """

    start: int
    end: int
    starts: np.ndarray
    ends: np.ndarray


def pieces(start: int, end: int, tile: int, stride: int, n_tiles: int, margin: int) -> Iterator[Piece]:
    """Yield the pieces of a segment, so that memory does not grow with its length.

    Tiles at the borders belong to two pieces. A nucleotide's score does not depend on the division.

    Parameters
    ----------
    start, end : int
        The segment.
    tile, stride : int
        As for `tile_starts`.
    n_tiles : int
        Tiles per piece, approximately.
    margin : int
        Nucleotides beside a piece whose score is known too.
    """
    tiles = start + tile_starts(end - start, tile, stride)
    ends = np.minimum(tiles + tile, end)
    step = max(n_tiles, 1) * stride
    for left in range(start, end, step):
        right = min(left + step, end)
        first = int(np.searchsorted(ends, max(left - margin, start), side="right"))
        last = int(np.searchsorted(tiles, min(right + margin, end), side="left"))
        yield Piece(left, right, tiles[first:last], ends[first:last])
