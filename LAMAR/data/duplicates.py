"""Equal sequences in a labelled set: which records are copies, and in which parts they lie.

Sequences are compared on the strand given. Import-light: NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError

__all__ = ["Duplicates", "find_duplicates", "first_copies", "without_copies"]


def first_copies(sequences: Sequence[str]) -> np.ndarray | None:
    """Return the first record with the sequence of each record, int64 (n,); None where all sequences differ."""
    first: dict[str, int] = {}
    copies = np.fromiter((first.setdefault(text, i) for i, text in enumerate(sequences)), np.int64, len(sequences))
    return copies if len(first) < len(sequences) else None


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Copies in the parts of a data set.

    Attributes
    ----------
    across : list of (int, int)
        For each sequence in more than one part, its first record and the first one in another part.
    counts : dict of int
        Ready for a report: ``duplicates_across_parts`` (sequences), ``duplicates_within_parts`` (sequences that occur
        more than once in one part), ``duplicate_records`` (records besides the first of each sequence),
        ``conflicting_duplicates`` (sequences with two classes).
    kept : int64, shape (n,)
        Part of each record, -1 where a copy lies in a later part: test keeps its copies, dev those that test lacks.
    """

    across: list[tuple[int, int]]
    counts: dict[str, int]
    kept: np.ndarray


def find_duplicates(copies: np.ndarray | None, part: np.ndarray, strata: np.ndarray) -> Duplicates:
    """Count copies within and across parts.

    Parameters
    ----------
    copies : int64, shape (n,), or None
        From `first_copies`.
    part : int, shape (n,)
        Part of each record, later parts with larger numbers; -1 for records in no part, which are ignored.
    strata : int, shape (n,)
        Class of each record.

    Returns
    -------
    Duplicates
    """
    across: dict[int, tuple[int, int]] = {}
    first: dict[int, int] = {}
    within, conflicting, seen = set(), set(), set()
    last = part.copy()
    if copies is not None:
        np.maximum.at(last, copies, part)
        used = np.flatnonzero(part >= 0)
        for i, sequence in zip(used.tolist(), copies[used].tolist()):
            j = first.setdefault(sequence, i)
            if part[i] != part[j]:
                across.setdefault(sequence, (j, i))
            if strata[i] != strata[j]:
                conflicting.add(sequence)
            if (sequence, part[i]) in seen:
                within.add(sequence)
            seen.add((sequence, part[i]))
        last = last[copies]
    counts = {
        "duplicates_across_parts": len(across),
        "duplicates_within_parts": len(within),
        "duplicate_records": int((part >= 0).sum()) - len(first) if first else 0,
        "conflicting_duplicates": len(conflicting),
    }
    return Duplicates(list(across.values()), counts, np.where(part == last, part, -1))


def without_copies(
    indices: np.ndarray, others: np.ndarray, copies: np.ndarray | None, labels: np.ndarray
) -> np.ndarray:
    """Return the training records whose sequence is not among other records.

    Groups that are not made from sequences, such as chromosomes, can divide copies.

    Parameters
    ----------
    indices, others : int64
        Records to train on, and to validate or judge on.
    copies : int64, shape (n,), or None
        From `first_copies`.
    labels : array, shape (n,)
        Classes of all records (`LAMAR.data.folds.strata_of`).

    Raises
    ------
    InputError
        If no record of a class is left.
    """
    if copies is None:
        return indices
    kept = indices[~np.isin(copies[indices], copies[others])]
    if lost := sorted({*labels[indices].tolist()} - {*labels[kept].tolist()}):
        found = f"found every record with label {lost[0]} among the sequences to validate or judge on too"
        raise InputError(f"training part: {found}; wanted different sequences")
    return kept
