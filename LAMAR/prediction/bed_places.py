"""Places of a BED file, with the blocks of its twelve-column form."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from os import PathLike

from ..data.text_files import open_text, read_lines
from ..errors import InputError, quoted
from .records import Place

__all__ = ["bed_places"]

logger = logging.getLogger(__name__)

_SKIPPED = ("#", "track", "browser")


def bed_places(path: str | PathLike) -> list[tuple[str, Place]]:
    """Return the names and places of a BED file of three to twelve columns, gzipped or plain.

    Names are those of column 4, else ``chr1:100-200(+)``. Lines without a strand are read on the forward strand, so
    that predictions on both strands (`LAMAR.prediction.records.both_strands`) are all there is to say about them.

    Raises
    ------
    InputError
        No interval, or a line that is not one; names file and line.

    References
    ----------
    https://samtools.github.io/hts-specs/BEDv1.pdf
    """
    places, n_unstranded = [], 0
    with open_text(path) as handle:
        for number, line in read_lines(handle, path):
            if not line.startswith(_SKIPPED):
                fields = line.split("\t") if "\t" in line else line.split()
                place, is_stranded = _place(fields, f"{path}: line {number}")
                places.append(place)
                n_unstranded += not is_stranded
    if not places:
        raise InputError(f"{path}: found no interval, wanted lines of BED: chrom, start, end, name, score, strand ...")
    if n_unstranded:
        logger.warning("%s: %d of %d intervals have no strand and are read on +", path, n_unstranded, len(places))
    return places


def _place(fields: list[str], where: str) -> tuple[tuple[str, Place], bool]:
    """Return name and place of a line, and whether it has a strand."""
    if len(fields) < 3 or not fields[0]:
        raise InputError(f"{where}: found {len(fields)} columns, wanted chrom, start, end and, optionally, more")
    start, end = _whole_number(fields[1], f"{where}: start"), _whole_number(fields[2], f"{where}: end")
    if start >= end:
        raise InputError(f"{where}: found {start} and {end}, wanted start < end")
    strand = fields[5].strip() if len(fields) > 5 else "."
    if strand not in ("+", "-", "."):
        raise InputError(f"{where}: strand: found {quoted(strand)}, wanted +, - or .")
    is_stranded, strand = strand != ".", "-" if strand == "-" else "+"
    starts, ends = _blocks(fields, start, end, where) if len(fields) >= 12 else ((start,), (end,))
    name = fields[3].strip() if len(fields) > 3 and fields[3].strip() not in ("", ".") else ""
    name = name or f"{fields[0]}:{start}-{end}({strand})"
    return (name, Place(fields[0], strand, starts, ends)), is_stranded


def _whole_number(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise InputError(f"{where}: found {quoted(text)}, wanted a whole number")
    return int(text)


def _numbers(text: str, where: str) -> Iterator[int]:
    for part in text.rstrip(",").split(","):
        yield _whole_number(part.strip(), where)


def _blocks(fields: list[str], start: int, end: int, where: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    n = _whole_number(fields[9], f"{where}: blockCount")
    sizes = list(_numbers(fields[10], f"{where}: blockSizes"))
    offsets = list(_numbers(fields[11], f"{where}: blockStarts"))
    if not n == len(sizes) == len(offsets):
        raise InputError(f"{where}: found {len(sizes)} blockSizes and {len(offsets)} blockStarts, wanted {n}")
    starts = tuple(start + offset for offset in offsets)
    ends = tuple(left + size for left, size in zip(starts, sizes))
    in_order = all(left >= before for left, before in zip(starts[1:], ends))
    if not in_order or min(sizes) < 1 or starts[0] != start or ends[-1] != end:
        raise InputError(f"{where}: found blocks that overlap, are not in order or do not span {start}-{end}")
    return starts, ends
