"""One-hot arrays of nucleotide sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..alphabet import LETTERS, NUCLEOTIDES
from ..errors import InputError

__all__ = ["decode_one_hot", "encode_one_hot"]

_BLOCK = 4_000_000  # letters encoded or decoded at a time: bounds what is needed beside the result


def _rows() -> np.ndarray:
    """Return a row of four bytes per ASCII code, as one uint32; N and the padding byte are zeros."""
    rows = np.zeros((256, 4), dtype=np.uint8)
    rows[np.frombuffer(NUCLEOTIDES.encode(), dtype=np.uint8)] = np.eye(4, dtype=np.uint8)
    return rows.view(np.uint32)[:, 0]


_ROWS = _rows()
_KNOWN = np.isin(np.arange(256), np.frombuffer(LETTERS.encode(), dtype=np.uint8))


def encode_one_hot(sequences: Sequence[str], length: int | None = None) -> np.ndarray:
    """Return the one-hot array of sequences; the inverse of `decode_one_hot`.

    Parameters
    ----------
    sequences : sequence of str, length n
        Normalized: letters of ``ACGTN`` (see `LAMAR.data.sequences.normalize_sequence`).
    length : int, optional
        Number of positions L; default that of the longest sequence.

    Returns
    -------
    uint8, shape (n, L, 4)
        Order A C G T; N and the padding at the end are zeros. 800,000 sequences of 101 nt take a third of a gigabyte.

    Raises
    ------
    InputError
        If there is no sequence, a sequence is longer than ``length``, or a letter is not of ``ACGTN``; names the
        record, counted from 1.
    """
    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    if not len(lengths):
        raise InputError("one-hot encoding: found no sequence")
    longest = int(lengths.max())
    length = longest if length is None else length
    if longest > length:
        record = int(np.argmax(lengths > length))
        raise InputError(
            f"one-hot encoding: sequence {record + 1} has {lengths[record]} nucleotides, wanted at most {length}"
        )
    encoded = np.zeros((len(sequences), length, 4), dtype=np.uint8)
    if not length:
        return encoded
    # Four bytes at a time: one look-up per nucleotide instead of four comparisons.
    words = encoded.view(np.uint32)[..., 0]
    step = max(1, _BLOCK // length)
    for first in range(0, len(sequences), step):
        block = sequences[first : first + step]
        # A fixed-width byte string pads with zero bytes; "replace" keeps one byte per character.
        text = np.array([sequence.encode("ascii", "replace") for sequence in block], dtype=f"S{length}")
        codes = text.view(np.uint8).reshape(len(block), length)
        known = _KNOWN[codes]
        if np.count_nonzero(known) < lengths[first : first + step].sum():  # padding bytes are not among the known
            inside = np.arange(length) < lengths[first : first + step, None]
            i, position = np.argwhere(inside & ~known)[0]
            raise InputError(
                f"one-hot encoding: sequence {first + i + 1}: position {position + 1}: "
                f"found {block[i][position]!r}, wanted A, C, G, T or N"
            )
        words[first : first + step] = _ROWS[codes]
    return encoded


def decode_one_hot(array: Any, source: str = "") -> list[str]:
    """Return the sequences of a one-hot array.

    Parameters
    ----------
    array : array or h5py.Dataset, shape (n, L, 4) or (n, 4, L)
        Order A C G T; read as (n, L, 4) where both fit. A position of zeros is N. Zeros at the end are padding and are
        removed, so that an N there is lost.
    source : str
        Name of the array, for messages.

    Returns
    -------
    list of str, length n
        Letters of ``ACGTN``.

    Raises
    ------
    InputError
        If the array has another shape, a position is neither one-hot nor zeros, or a record is zeros only; names the
        index, counted from 0, and the position, counted from 1.
    """
    if array.ndim != 3 or 4 not in array.shape[1:]:
        raise InputError(f"{source}: found shape {tuple(array.shape)}, wanted (n, L, 4) or (n, 4, L)")
    sequences = []
    # In blocks, so that memory holds one copy of a block and not several of the whole.
    step = max(1, min(4096, 4 * _BLOCK // max(1, math.prod(array.shape[1:]))))
    for first in range(0, len(array), step):
        block = array[first : first + step]
        if block.shape[2] != 4:
            block = block.transpose(0, 2, 1)
        letters = (block != 0).sum(axis=2)
        bad = ((block != 0) & (block != 1)).any(axis=2) | (letters > 1)
        if bad.any():
            i, position = np.argwhere(bad)[0]
            found = block[i, position].tolist()
            where = f"{source}: index {first + i}: position {position + 1}"
            raise InputError(f"{where}: found {found}, wanted one 1 among zeros, or zeros")
        known = letters > 0
        if not known.any(axis=1).all():
            empty = first + int(np.argmin(known.any(axis=1)))
            raise InputError(f"{source}: index {empty}: found zeros only, wanted a sequence")
        lengths = known.shape[1] - known[:, ::-1].argmax(axis=1)
        text = np.frombuffer(LETTERS.encode(), dtype=np.uint8)[np.where(known, block.argmax(axis=2), 4)]
        sequences.extend(row[:length].tobytes().decode() for row, length in zip(text, lengths))
    return sequences
