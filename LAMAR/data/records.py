"""Named sequences that a script is asked about, one of the command line or those of a FASTA file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..errors import InputError
from .sequences import Region, normalize_sequence, parse_region, read_fasta

__all__ = ["genome_positions", "read_records", "record_stem"]


def read_records(sequence: str | None, path: str | Path | None) -> list[tuple[str, str]]:
    """Names (first word of a header; "sequence" for the one given as such) and normalized sequences.

    Raises
    ------
    InputError
        What :func:`LAMAR.data.sequences.read_fasta` refuses, and names that do not tell records apart.
    """
    if sequence is not None:
        return [("sequence", normalize_sequence(sequence, source="--sequence"))]
    records: dict[str, str] = {}
    for header, letters in read_fasta(path):
        name = header.split()[0]
        if name in records:
            raise InputError(f"{path}: record {name}: found twice, wanted names that tell records apart")
        records[name] = letters
    return list(records.items())


def record_stem(index: int, name: str) -> str:
    """Beginning of the names of a record's files: its number from 1, and its name as file names may be."""
    return f"{index + 1:05d}_{re.sub(r'[^A-Za-z0-9.+-]+', '_', name).strip('_')[:60]}"


def genome_positions(name: str, length: int) -> tuple[Region, np.ndarray] | None:
    """Place of a record and of each of its nucleotides, int64 (length,), 0-based; None without coordinates in its name.

    On the minus strand positions fall.
    """
    place = parse_region(name)
    if place is None or place.end - place.start != length:
        return None
    positions = np.arange(place.start, place.end)
    return place, positions[::-1] if place.strand == "-" else positions
