"""Nucleotide sequences: normalization, coordinates in headers, FASTA files, lengths.

Sequences are upper-cased, U becomes T, and IUPAC ambiguity codes become N; anything else is an error. Coordinates are
0-based and half-open, as BED and bedtools write them.
"""

from __future__ import annotations

import gzip
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from ..alphabet import NORMALIZED
from ..errors import InputError, excerpt, quoted
from .text_files import MAX_RECORD, open_text, read_lines

__all__ = [
    "Region",
    "check_lengths",
    "check_span",
    "find_region",
    "is_missing",
    "looks_like_coordinates",
    "normalize_sequence",
    "parse_region",
    "read_fasta",
    "record_name",
    "warn_of_unused_coordinates",
    "write_fasta",
]

logger = logging.getLogger(__name__)

_SPECIAL_TOKENS = 2  # <cls> and <eos>
_MISSING = {"", "NA", "NAN", "N/A", "#N/A", "<NA>", "NONE", "NULL"}
_REGION = re.compile(r"(?:.*::)?(\S+):(\d{1,18})-(\d{1,18})(?:\(([+.-])\))?(?:\s.*)?")
# What a reader would take for coordinates: chr1:100-110, 2L:1..99, chr1:1,000-2,000, chr1_100_110, and Ensembl's.
_LIKE_REGION = re.compile(
    r"\S:\d[\d,]*(?:-|\.\.)\d|\bchr\w*?[_|:]\d+[_|:]\d|\b(?:chromosome|scaffold|primary_assembly):[^:\s]+:[^:\s]+:\d+:\d"
)


def is_missing(value: object) -> bool:
    """Return whether a table's cell says that there is no value: nothing, NaN, or text such as ``NA`` and ``null``."""
    if isinstance(value, str):
        return len(value) < 8 and value.strip().upper() in _MISSING  # most cells are long
    return value is None or (isinstance(value, Real) and value != value)  # NaN differs from itself


def normalize_sequence(sequence: str, *, source: str = "", record: str = "", piece: bool = False) -> str:
    """Upper-case a sequence, write U as T and IUPAC ambiguity codes as N.

    Parameters
    ----------
    sequence : str
        Nucleotides in any case; surrounding whitespace is removed.
    source, record : str
        File and record (``"row 7"``, ``"record chr1:5-9"``), for messages.
    piece : bool
        Whether this is cut out of a longer sequence: ``NA`` is then two nucleotides, and not a missing value.

    Returns
    -------
    str
        Letters of ``ACGTN``.

    Raises
    ------
    InputError
        If the sequence is empty, a missing value (`is_missing`) such as pandas and R write it, or a character is not a
        nucleotide code; names its position, counted from 1.
    """
    where = "".join(f"{part}: " for part in (source, record) if part)
    if not isinstance(sequence, str):
        raise InputError(f"{where}found {quoted(sequence)}, wanted a sequence as text")
    stripped = sequence.strip()
    if not stripped:
        raise InputError(f"{where}found an empty sequence, wanted nucleotides")
    if is_missing(stripped) and not piece:
        raise InputError(f"{where}found the missing value {stripped}, wanted nucleotides")
    # "replace" writes one "?" for each character outside ASCII, so positions stay those of the text.
    bases = stripped.encode("ascii", "replace").translate(NORMALIZED)
    position = bases.find(0)
    if position >= 0:
        raise InputError(
            f"{where}position {position + 1}: found {stripped[position]!r}, "
            "wanted A, C, G, T, U, N or an IUPAC ambiguity code"
        )
    return bases.decode("ascii")


class Region(NamedTuple):
    """A stretch of the genome, 0-based half-open; strand is ``+``, ``-`` or ``.`` (unknown)."""

    chrom: str
    start: int
    end: int
    strand: str


def parse_region(header: str) -> Region | None:
    """Read the coordinates in a FASTA header as ``bedtools getfasta`` writes them.

    Parameters
    ----------
    header : str
        ``chr1:100-110``, ``chr1:100-110(+)`` or ``name::chr1:100-110(-)``, with or without ``>`` and
        with or without a description after whitespace. 0-based, half-open.

    Returns
    -------
    Region or None
        None if the header has no coordinates.
    """
    match = _REGION.fullmatch(header.strip().removeprefix(">"))
    if match is None:
        return None
    chrom, start, end, strand = match.groups()
    return Region(chrom, int(start), int(end), strand or ".")


def find_region(header: str, length: int | None = None) -> Region | None:
    """Return the coordinates of a record from anywhere in its header, if they are as long as its sequence.

    Parameters
    ----------
    header : str
        With coordinates as `parse_region` reads them, or as a later word: ``site_7 chr1:100-110(+) QKI``.
    length : int, optional
        Number of nucleotides of the record; None for any.

    Returns
    -------
    Region or None
    """
    first = parse_region(header)
    words = [first] if first else [parse_region(word) for word in header.split()[1:] if "=" not in word]
    return next((region for region in words if region and length in (None, region.end - region.start)), None)


def record_name(header: str, length: int) -> str:
    """Return the name of a record: the first word of its header, which holds its coordinates if the header does.

    Coordinates that follow after a blank are appended as ``bedtools getfasta -name`` does: ``site_7::chr1:100-110(+)``.

    Parameters
    ----------
    header, length
        See `find_region`.
    """
    name = header.split(maxsplit=1)[0]
    region = find_region(header, length)
    if region is None or parse_region(name):
        return name
    strand = "" if region.strand == "." else f"({region.strand})"
    return f"{name}::{region.chrom}:{region.start}-{region.end}{strand}"


def looks_like_coordinates(header: str) -> bool:
    """Return whether a header holds what a reader would take for coordinates, in this form or another."""
    return _LIKE_REGION.search(header) is not None


def warn_of_unused_coordinates(path: str | PathLike, headers: Iterable[str], n_records: int, wanted: str = "") -> None:
    """Log how many records have headers with what looks like coordinates that are not used, and the first of them.

    Parameters
    ----------
    path : path
        File, for the message.
    headers : iterable of str
        Headers of the records whose coordinates are not used, if they have any.
    n_records : int
        Number of records of the file.
    wanted : str
        What would make them usable; by default, the form and the length.
    """
    unused = [header for header in headers if looks_like_coordinates(header)]
    if unused:
        logger.warning(
            "%s: found what looks like coordinates in the headers of %d of %d records, which are not used (first: %r), "
            "wanted %s",
            path, len(unused), n_records, unused[0][:80],
            wanted or "chr1:100-110 or chr1:100-110(+) of the sequence's length, 0-based and half-open as bedtools "
            "writes them; samtools and UCSC count from 1",
        )  # fmt: skip


def check_span(region: Region, length: int, where: str, one_based: str = "") -> None:
    """Raise an `InputError` unless a record has ``end - start`` nucleotides.

    Parameters
    ----------
    region : Region
        Coordinates of the record.
    length : int
        Its number of nucleotides.
    where : str
        File and record, for the message.
    one_based : str
        Hint for a record that is one nucleotide longer, as with coordinates counted from 1.
    """
    span = region.end - region.start
    if length != span:
        hint = one_based if length == span + 1 else ""
        raise InputError(f"{where}: found {length} nucleotides, wanted end - start = {span}{hint}")


def read_fasta(path: str | PathLike, max_record: int = MAX_RECORD, *, piece: bool = True) -> Iterator[tuple[str, str]]:
    """Yield the records of a FASTA file, gzipped or plain.

    Records may have several lines, blank lines and Windows line ends. Lines that start with ``;`` or ``#`` before the
    first record are comments.

    Parameters
    ----------
    path : path
        File to read.
    max_record : int
        Most letters of a record. A longer record is not read to its end.
    piece : bool
        Whether a record ``NA`` may be two nucleotides, as of a genome; False refuses it as a missing value.

    Yields
    ------
    (str, str)
        Header without ``>``, and the normalized sequence.

    Raises
    ------
    InputError
        If there is text before the first ``>``, a header without name or sequence, a character that is not a
        nucleotide code, too long a record, or no record; names the file and the line or record. Also what `open_text`
        raises.
    """

    # Bio.SeqIO.FastaIO.SimpleFastaParser knows no line numbers, ignores text before the first ">" and removes spaces
    # within sequences; this loop reports all three and is as fast.
    def record(header: str, line: int, parts: list[str]) -> tuple[str, str]:
        if not parts:
            raise InputError(f"{path}: line {line}: record {excerpt(header)} has no sequence")
        return header, normalize_sequence(
            "".join(parts), source=str(path), record=f"record {excerpt(header)}", piece=piece
        )

    header, header_line, parts, length = "", 0, [], 0
    with open_text(path) as handle:
        for number, line in read_lines(handle, path, max_record):
            if line[0] == ">":
                if header:
                    yield record(header, header_line, parts)
                header, header_line, parts, length = line[1:].strip(), number, [], 0
                if not header:
                    raise InputError(f"{path}: line {number}: found '>' alone, wanted a record name after it")
            elif header:
                parts.append(line)
                length += len(line)
                if length > max_record:
                    raise InputError(f"{path}: record {excerpt(header)} has more than {max_record:,} letters")
            elif line[0] not in ";#":
                raise InputError(f"{path}: line {number}: found {line[:20]!r} before the first '>' line")
        if not header:
            raise InputError(f"{path}: found no FASTA record")
        yield record(header, header_line, parts)


def write_fasta(
    path: str | PathLike, records: Iterable[tuple[str, str]], comment: str | None = None, width: int = 0
) -> None:
    """Write records as FASTA, gzipped if the name ends in ``.gz``; equal content gives equal bytes.

    Parameters
    ----------
    path : path
        File to write.
    records : iterable of (str, str)
        Header without ``>``, and sequence.
    comment : str, optional
        Written above the records, each line after ``;``.
    width : int
        Nucleotides per line; 0 writes each sequence on one line.
    """
    lines = [f"; {line}" for line in comment.splitlines()] if comment else []
    for header, sequence in records:
        lines.append(f">{header}")
        step = width or max(len(sequence), 1)
        lines.extend(sequence[i : i + step] for i in range(0, len(sequence), step))
    data = "".join(f"{line}\n" for line in lines).encode()
    Path(path).write_bytes(gzip.compress(data, mtime=0) if str(path).endswith(".gz") else data)


def check_lengths(dataset, ids: Sequence[str] | None, max_length: int, truncate: bool = False) -> list[str]:
    """Check that every sequence fits the model, or truncate it if asked to.

    Parameters
    ----------
    dataset : LabelledSet or sequence of str
        Sequences of one letter per token.
    ids : sequence of str or None
        Names of the records, for messages; None takes those of the data set.
    max_length : int
        Tokens, of which two are special: 101 nucleotides need 103.
    truncate : bool
        Truncate at the 3' end instead of raising an error; the number of truncated sequences is logged as a warning.

    Returns
    -------
    list of str
        Sequences of at most ``max_length - 2`` nucleotides.

    Raises
    ------
    InputError
        If ``max_length`` is below 3, or a sequence is too long and ``truncate`` is false.
    """
    if max_length <= _SPECIAL_TOKENS:
        raise InputError(f"`max_length`: found {max_length}, wanted at least 3 (two are special)")
    sequences = list(getattr(dataset, "sequences", dataset))
    ids = getattr(dataset, "ids", None) if ids is None else ids
    room = max_length - _SPECIAL_TOKENS
    too_long = [i for i, sequence in enumerate(sequences) if len(sequence) > room]
    if too_long and not truncate:
        first = too_long[0]
        record = excerpt(ids[first]) if ids is not None else f"number {first + 1}"
        raise InputError(
            f"`max_length`: record {record} has {len(sequences[first])} nucleotides and needs "
            f"{len(sequences[first]) + _SPECIAL_TOKENS} tokens, but `max_length` is {max_length} "
            f"({len(too_long)} of {len(sequences)} records are too long; "
            f"the longest needs {max(map(len, sequences)) + _SPECIAL_TOKENS})"
        )
    if too_long:
        logger.warning("truncated %d of %d sequences to %d nucleotides", len(too_long), len(sequences), room)
    return [sequence[:room] for sequence in sequences] if too_long else sequences
