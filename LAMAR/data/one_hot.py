"""One-hot encoding of nucleotide sequences; the inverse is `LAMAR.data.sequences.decode_one_hot`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..alphabet import LETTERS, NUCLEOTIDES
from ..errors import InputError

__all__ = ["encode_one_hot"]

_BLOCK = 4_000_000  # letters encoded at a time: bounds what is needed beside the result


def _rows() -> np.ndarray:
    """One row of four bytes for each ASCII code, read as one uint32; N and the padding byte are zeros."""
    rows = np.zeros((256, 4), dtype=np.uint8)
    rows[np.frombuffer(NUCLEOTIDES.encode(), dtype=np.uint8)] = np.eye(4, dtype=np.uint8)
    return rows.view(np.uint32)[:, 0]


_ROWS = _rows()
_KNOWN = np.isin(np.arange(256), np.frombuffer(LETTERS.encode(), dtype=np.uint8))


def encode_one_hot(sequences: Sequence[str], length: int | None = None) -> np.ndarray:
    """One-hot array of sequences.

    Parameters
    ----------
    sequences : sequence of str, n
        Normalized: letters of ``ACGTN`` (see `LAMAR.data.sequences.normalize_sequence`).
    length : int, optional
        L, positions of the result. Default: those of the longest sequence.

    Returns
    -------
    uint8 (n, L, 4)
        Order A C G T; N and the padding at the end are zeros. A third of a gigabyte takes 800,000 sequences of
        101 nt, so the array fits where the sequences do.

    Raises
    ------
    InputError
        No sequence, a sequence longer than ``length``, or a letter outside ``ACGTN``; names the record, counted
        from 1.
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
    # Four bytes at a time: one look-up a nucleotide instead of four comparisons.
    words = encoded.view(np.uint32)[..., 0]
    step = max(1, _BLOCK // length)
    for first in range(0, len(sequences), step):
        block = sequences[first : first + step]
        # A fixed-width byte string pads with zero bytes; "replace" keeps one byte a character.
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
