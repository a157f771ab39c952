"""Sequences with some of their nucleotides replaced, made one by one as the inference loop asks for them."""

from __future__ import annotations

import numpy as np

from ..alphabet import LETTER_CODES, NUCLEOTIDES, TOKEN_IDS, UNKNOWN_CODE
from ..batches import EncodedSequences

__all__ = ["TOKENS", "EditedSequences", "letter_codes", "substitutions"]

# Token ids in the order of `NUCLEOTIDES`.
TOKENS = np.array([TOKEN_IDS[letter] for letter in NUCLEOTIDES], dtype=np.uint8)


class EditedSequences:
    """Copies of encoded sequences with some tokens replaced, each made when it is asked for.

    It takes the place of :class:`LAMAR.batches.EncodedSequences` in :func:`LAMAR.batches.batched`.

    Parameters
    ----------
    originals
        What is copied.
    record
        int (n,): which original each copy is of.
    position, token
        int and uint8 (n, k): token indices (nucleotide i is token i + 1) and what is put there.
    """

    def __init__(self, originals: EncodedSequences, record: np.ndarray, position: np.ndarray, token: np.ndarray):
        self.originals, self.record, self.position, self.token = originals, record, position, token

    def __len__(self) -> int:
        return len(self.record)

    @property
    def lengths(self) -> np.ndarray:
        """int64 (n,), in tokens."""
        return self.originals.lengths[self.record]

    def __getitem__(self, index: int) -> np.ndarray:
        ids = self.originals[self.record[index]].copy()
        ids[self.position[index]] = self.token[index]
        return ids


def letter_codes(sequence: str) -> np.ndarray:
    """uint8 (L,): 0-3 for A, C, G, T, 4 for N."""
    return np.frombuffer(sequence.encode("ascii").translate(LETTER_CODES), dtype=np.uint8)


def substitutions(sequence: str, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and letters (0-3) of every substitution in [start, end), int64 (m,); those of N are not made."""
    own = letter_codes(sequence)[start:end]
    is_changed = (np.arange(4) != own[:, None]) & (own != UNKNOWN_CODE)[:, None]
    position, letter = np.nonzero(is_changed)
    return position + start, letter
