"""Input of the CNN: records of sequences, in batches, from memory or from a memory map on disk."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InputError
from ...memory_maps import RESIDENT_LIMIT_BYTES, release_pages

__all__ = ["Batches", "Records"]


@dataclass(frozen=True, eq=False)
class Records:
    """Records of n sequences, read in batches by their indices; memory maps stay on disk.

    Attributes
    ----------
    values : ndarray, any number type
        (n, L, d), or (total nucleotides, d) when ``offsets`` are given.
    offsets : int64, shape (n + 1,), optional
        Record i is ``values[offsets[i] : offsets[i + 1]]``.

    Raises
    ------
    InputError
        For one vector per sequence, or no record.
    ValueError
        For values or offsets of another shape.
    """

    values: np.ndarray
    offsets: np.ndarray | None = None

    def __post_init__(self):
        if self.offsets is None and self.values.ndim == 2:
            raise InputError("`pooling`: found one vector per sequence, wanted 'none': the CNN reads every nucleotide")
        if self.values.ndim != (3 if self.offsets is None else 2):
            wanted = "(n, L, d)" if self.offsets is None else "(total, d)"
            raise ValueError(f"values: found shape {self.values.shape}, wanted {wanted}")
        if self.offsets is not None and (
            not len(self.offsets) or self.offsets[-1] > len(self.values) or (np.diff(self.offsets) < 0).any()
        ):
            raise ValueError(f"offsets: wanted n + 1 rising numbers, the last at most {len(self.values)}")
        if not len(self):
            raise InputError("the CNN's records: found none, wanted at least one")

    @classmethod
    def from_source(cls, source: Any) -> Records:
        """Return `Records`, or the records of an array (n, L, d) or of `LAMAR.embeddings.Embeddings`."""
        return source if isinstance(source, cls) else cls(getattr(source, "values", source), _offsets(source))

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    @property
    def width(self) -> int:
        """d, channels of a nucleotide."""
        return self.values.shape[-1]

    @functools.cached_property
    def length(self) -> int:
        """L, positions of the longest record."""
        return self.values.shape[1] if self.offsets is None else int(np.diff(self.offsets).max())

    def batch(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return these records, (len(indices), L, d) of the values' dtype, padded at the end with zeros."""
        if self.offsets is None:
            return self.values[indices]
        batch = np.zeros((len(indices), self.length, self.width), dtype=self.values.dtype)
        for row, i in zip(batch, indices):
            start, end = self.offsets[i], self.offsets[i + 1]
            row[: end - start] = self.values[start:end]
        return batch


def _offsets(source: Any) -> np.ndarray | None:
    offsets = getattr(source, "offsets", None)
    return None if offsets is None else np.asarray(offsets)


class Batches:
    """Batches of records, with labels where given; in a new order each epoch where ``seed`` is given.

    Sizes of batches differ by one record at most: batch norm on a last batch of one or two records would be noise.

    Attributes
    ----------
    records : Records
    labels : array, shape (n,), optional
    indices : int, shape (n_part,)
        Records of these batches.
    n_batches : int
        Batches per epoch, of at most ``batch_size`` records.
    seed : int, optional
    """

    def __init__(self, records: Records, labels, indices, batch_size: int, seed: int | None = None):
        self.records, self.labels, self.seed = records, labels, seed
        self.indices = np.asarray(indices)
        self.n_batches = math.ceil(len(self.indices) / batch_size)
        self.bytes_read = 0

    def epoch(self, number: int = 0) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield (records float32 (b, L, d), labels (b, 1)), or (records,) alone, of pass ``number``, from 0."""
        order = self.indices
        if self.seed is not None:
            order = np.random.default_rng([self.seed, number]).permutation(order)
        for chosen in np.array_split(order, self.n_batches):
            batch = self.records.batch(chosen)
            self.bytes_read += batch.nbytes
            if self.bytes_read > RESIDENT_LIMIT_BYTES:
                self.bytes_read = 0
                release_pages(self.records.values)
            # TensorFlow has no fast kernels for float16 on most CPUs, and on some logs that as an error.
            batch = batch.astype(np.float32, copy=False)
            # A column, as the network's output is: a row of labels would be broadcast against it.
            yield (batch,) if self.labels is None else (batch, self.labels[chosen][:, None])
