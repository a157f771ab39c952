"""Named sequences to be analysed: a single one, or the records of a FASTA file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..errors import InputError, excerpt
from .sequences import (
    Region,
    find_region,
    normalize_sequence,
    parse_region,
    read_fasta,
    record_name,
    warn_of_unused_coordinates,
)

__all__ = ["genome_positions", "read_records", "record_stem"]


def read_records(sequence: str | None, path: str | Path | None) -> list[tuple[str, str]]:
    """Read named sequences.

    Parameters
    ----------
    sequence : str or None
        A single sequence.
    path : path or None
        FASTA file, read if no sequence is given.

    Returns
    -------
    list of (str, str)
        Name (of `LAMAR.data.sequences.record_name`; "sequence" for a single one) and normalized sequence of each
        record. A warning tells of headers with coordinates that cannot be used.

    Raises
    ------
    InputError
        If two records have one name, or `LAMAR.data.sequences.read_fasta` fails.
    """
    if sequence is not None:
        return [("sequence", normalize_sequence(sequence, source="`sequence`"))]
    records: dict[str, str] = {}
    without_place: list[str] = []
    for header, letters in read_fasta(path, piece=False):
        name = record_name(header, len(letters))
        if name in records:
            raise InputError(f"{path}: record {excerpt(name)}: found twice, wanted distinct names")
        records[name] = letters
        if find_region(header, len(letters)) is None:
            without_place.append(header)
    warn_of_unused_coordinates(path, without_place, len(records))
    return list(records.items())


def record_stem(index: int, name: str) -> str:
    """Return the beginning of the names of a record's files: its number from 1, and its name as file names allow."""
    return f"{index + 1:05d}_{re.sub(r'[^A-Za-z0-9.+-]+', '_', name).strip('_')[:60]}"


def genome_positions(name: str, length: int) -> tuple[Region, np.ndarray] | None:
    """Return the place of a record on the genome and the position of each nucleotide.

    Parameters
    ----------
    name : str
        Name of the record, as `LAMAR.data.sequences.parse_region` reads it.
    length : int
        Its number of nucleotides.

    Returns
    -------
    (Region, int64 of shape (length,)) or None
        Positions are 0-based and descend on the minus strand. None without coordinates of this length in the name.
    """
    place = parse_region(name)
    if place is None or place.end - place.start != length:
        return None
    positions = np.arange(place.start, place.end)
    return place, positions[::-1] if place.strand == "-" else positions
