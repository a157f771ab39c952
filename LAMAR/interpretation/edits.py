"""Copies of sequences with some nucleotides replaced, and the normalization of what a caller passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..alphabet import LETTER_CODES, NUCLEOTIDES, TOKEN_IDS, UNKNOWN_CODE
from ..batches import EncodedSequences
from ..data.sequences import normalize_sequence
from ..errors import InputError, quoted

__all__ = ["TOKENS", "EditedSequences", "letter_codes", "normalized_sequences", "substitutions"]

# Token ids in the order of `NUCLEOTIDES`.
TOKENS = np.array([TOKEN_IDS[letter] for letter in NUCLEOTIDES], dtype=np.uint8)


class EditedSequences:
    """Copies of encoded sequences with some tokens replaced, each built when it is indexed.

    It takes the place of `LAMAR.batches.EncodedSequences` in `LAMAR.batches.batched`.

    Parameters
    ----------
    originals : EncodedSequences
        The sequences to copy.
    record : ndarray of int, shape (n,)
        Index of the original of each copy.
    position : ndarray of int, shape (n, k)
        Token indices to replace in each copy; nucleotide i is token i + 1.
    token : ndarray of uint8, shape (n, k)
        The tokens to put there.
    """

    def __init__(self, originals: EncodedSequences, record: np.ndarray, position: np.ndarray, token: np.ndarray):
        self.originals, self.record, self.position, self.token = originals, record, position, token

    def __len__(self) -> int:
        return len(self.record)

    @property
    def lengths(self) -> np.ndarray:
        """Lengths in tokens, int64, shape (n,)."""
        return self.originals.lengths[self.record]

    def __getitem__(self, index: int) -> np.ndarray:
        ids = self.originals[self.record[index]].copy()
        ids[self.position[index]] = self.token[index]
        return ids


def normalized_sequences(sequences: Sequence[str]) -> list[str]:
    """Return the sequences as letters of ``ACGTN`` (see `LAMAR.data.sequences.normalize_sequence`).

    Raises
    ------
    InputError
        For one string in place of a list, an empty sequence, or a letter that is no nucleotide code.
    """
    if isinstance(sequences, str):
        raise InputError("`sequences`: found one string, wanted a list of sequences")
    if not isinstance(sequences, Iterable):
        raise InputError(f"`sequences`: found {quoted(sequences)}, wanted a list of sequences")
    return [
        normalize_sequence(sequence, source="`sequences`", record=f"item {i}") for i, sequence in enumerate(sequences)
    ]


def letter_codes(sequence: str) -> np.ndarray:
    """Return codes of the letters of a normalized sequence: 0 to 3 for A, C, G, T and 4 for N; uint8, shape (L,)."""
    return np.frombuffer(sequence.encode("ascii").translate(LETTER_CODES), dtype=np.uint8)


def substitutions(sequence: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and new letters (0 to 3) of all substitutions in [start, end), int64, shape (m,) each.

    N is not substituted.
    """
    codes = letter_codes(sequence)[start:end]
    is_changed = (np.arange(4) != codes[:, None]) & (codes != UNKNOWN_CODE)[:, None]
    position, letter = np.nonzero(is_changed)
    return position + start, letter
