"""Nucleotide sequences: alphabet, coordinates in headers, FASTA and table files, lengths.

Alphabet: sequences are upper-cased, U becomes T, IUPAC ambiguity codes become N; anything else is an error.
Coordinates: 0-based, half-open, as BED and bedtools write them.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import logging
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from ..alphabet import LETTERS, NORMALIZED
from ..errors import InputError

__all__ = [
    "Region",
    "check_lengths",
    "check_span",
    "decode_one_hot",
    "normalize_sequence",
    "open_text",
    "parse_region",
    "read_fasta",
    "read_lines",
    "read_table",
    "write_fasta",
]

logger = logging.getLogger(__name__)

_SPECIAL_TOKENS = 2  # <cls> and <eos>
MAX_RECORD = 300_000_000  # letters of one line or record: more than the longest human chromosome has
_GZIP_MAGIC = b"\x1f\x8b"
_REGION = re.compile(r"(?:.*::)?(\S+):(\d{1,18})-(\d{1,18})(?:\(([+.-])\))?(?:\s.*)?")


def normalize_sequence(sequence: str, *, source: str = "", record: str = "") -> str:
    """Upper-case a sequence, write U as T and IUPAC ambiguity codes as N.

    Parameters
    ----------
    sequence : str
        Nucleotides, any case, surrounding whitespace allowed.
    source, record : str
        The file and the record (``"row 7"``, ``"record chr1:5-9"``) that an error message names.

    Returns
    -------
    str
        Letters of ``ACGTN``.

    Raises
    ------
    InputError
        Empty sequence, or a character that is no nucleotide code; its position is counted from 1.
    """
    stripped = sequence.strip()
    where = "".join(f"{part}: " for part in (source, record) if part)
    if not stripped:
        raise InputError(f"{where}found an empty sequence, wanted nucleotides")
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
        None when the header carries no coordinates.
    """
    match = _REGION.fullmatch(header.strip().removeprefix(">"))
    if match is None:
        return None
    chrom, start, end, strand = match.groups()
    return Region(chrom, int(start), int(end), strand or ".")


def check_span(region: Region, length: int, where: str, one_based: str = "") -> None:
    """:class:`InputError` unless a record is ``end - start`` nt long; ``one_based`` is the hint if it is one longer."""
    span = region.end - region.start
    if length != span:
        hint = one_based if length == span + 1 else ""
        raise InputError(f"{where}: found {length} nucleotides, wanted end - start = {span}{hint}")


@contextmanager
def open_text(path: str | PathLike) -> Iterator[TextIO]:
    """Open a UTF-8 text file, gzipped or plain, for reading.

    Compression is told from the first bytes, whatever the name says. Line ends of any platform become
    ``\\n``; a byte-order mark is dropped.

    Raises
    ------
    InputError
        Missing or unreadable file, truncated or damaged gzip, binary content. Damage further down the file is
        raised while the caller reads it.
    """
    try:
        plain = Path(path).open("rb")  # noqa: SIM115 - closed below, after errors of opening are told apart
    except FileNotFoundError:
        raise InputError(f"{path}: found no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    with plain:
        try:
            # peek, not seek: the file may be a pipe.
            packed = plain.peek(2)[:2] == _GZIP_MAGIC
            binary = gzip.GzipFile(fileobj=plain) if packed else plain
            if b"\0" in binary.peek(4096)[:4096]:
                raise InputError(f"{path}: found binary content, wanted UTF-8 text or gzipped text")
            with io.TextIOWrapper(binary, encoding="utf-8-sig") as text:
                yield text
        except EOFError:
            raise InputError(f"{path}: the gzip stream ends early: the file is truncated") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path}: the gzip stream is damaged: {error}") from None
        except UnicodeDecodeError:
            raise InputError(f"{path}: found bytes that are not UTF-8, wanted text") from None


def read_lines(handle: TextIO, source: str | PathLike, max_line: int = MAX_RECORD) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, stripped, with their numbers from 1.

    A line of more than ``max_line`` characters is an `InputError`, and is not read to its end.
    """
    number = 0
    while line := handle.readline(max_line + 1):
        number += 1
        if len(line) > max_line and line[-1] != "\n":
            raise InputError(f"{source}: line {number}: found more than {max_line:,} characters, wanted shorter lines")
        if line := line.strip():
            yield number, line


def read_fasta(path: str | PathLike, max_record: int = MAX_RECORD) -> Iterator[tuple[str, str]]:
    """Yield the records of a FASTA file, gzipped or plain.

    Multi-line records, blank lines and Windows line ends are read; lines that start with ``;`` or ``#``
    before the first record are comments. A record of more than ``max_record`` letters is an error, and is not read
    to its end.

    Yields
    ------
    (str, str)
        Header without ``>``, and the normalized sequence.

    Raises
    ------
    InputError
        Names the file and the line or record: text before the first ``>``, a header without a name or
        without a sequence, a character that is no nucleotide code, no record at all; also what `open_text`
        raises.
    """

    # Bio.SeqIO.FastaIO.SimpleFastaParser knows no line numbers, passes over text before the first ">" and
    # removes spaces within sequences; a loop of our own reports all three and is as fast.
    def record(header: str, line: int, parts: list[str]) -> tuple[str, str]:
        if not parts:
            raise InputError(f"{path}: line {line}: record {header} has no sequence")
        return header, normalize_sequence("".join(parts), source=str(path), record=f"record {header}")

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
                    raise InputError(f"{path}: record {header} has more than {max_record:,} letters")
            elif line[0] not in ";#":
                raise InputError(f"{path}: line {number}: found {line[:20]!r} before the first '>' line")
        if not header:
            raise InputError(f"{path}: found no FASTA record")
        yield record(header, header_line, parts)


def write_fasta(
    path: str | PathLike, records: Iterable[tuple[str, str]], comment: str | None = None, width: int = 0
) -> None:
    """Write ``(header, sequence)`` records, gzipped when the name ends in ``.gz``; same content, same bytes.

    Parameters
    ----------
    path : path
    records : iterable of (str, str)
    comment : str, optional
        Goes to the top, each line behind ``;``, which `read_fasta` skips.
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


def read_table(path: str | PathLike) -> tuple[dict[str, list[str]], list[int]]:
    """Read a CSV or TSV file (a tab in the header line tells which), gzipped or plain.

    Lines that start with ``#`` above the header are comments; blank rows are passed over.

    Returns
    -------
    columns : dict of list of str
        By column name in lower case.
    rows : list of int
        Row number of each record; the header is row 1.

    Raises
    ------
    InputError
        Names the file and the row: nothing in the file, no record, a row of another width, broken quotation.
    """
    rows, records = [], []
    with open_text(path) as handle:
        first = next((line for line in handle if line.strip() and not line.startswith("#")), None)
        if first is None:
            raise InputError(f"{path}: the file is empty, wanted a header row and records")
        reader = csv.reader(itertools.chain([first], handle), delimiter="\t" if "\t" in first else ",")
        try:
            header = [column.strip().lower() for column in next(reader)]
            twice = sorted({column for column in header if header.count(column) > 1})
            if twice:
                raise InputError(f"{path}: row 1: found column {twice[0]!r} more than once")
            for row, record in enumerate(reader, start=2):
                if any(record):
                    if len(record) != len(header):
                        raise InputError(f"{path}: row {row}: found {len(record)} columns, wanted {len(header)}")
                    rows.append(row)
                    records.append(record)
        except csv.Error as error:
            raise InputError(f"{path}: after row {len(rows) + 1}: {error}") from None
    if not records:
        raise InputError(f"{path}: found a header and no records")
    return dict(zip(header, map(list, zip(*records)))), rows


def decode_one_hot(array: Any, source: str = "") -> list[str]:
    """Sequences of a one-hot array.

    Parameters
    ----------
    array : array or h5py.Dataset, (n, L, 4) or (n, 4, L)
        Order A C G T; taken as (n, L, 4) where both fit. A position of zeros is N; zeros at the end are
        padding and are removed, so an N there is lost.
    source : str
        Data set that an error message names, beside the index (from 0) and the position (from 1).

    Raises
    ------
    InputError
        Another shape, a position that is neither one-hot nor zeros, a record of zeros only.
    """
    if array.ndim != 3 or 4 not in array.shape[1:]:
        raise InputError(f"{source}: found shape {tuple(array.shape)}, wanted (n, L, 4) or (n, 4, L)")
    sequences = []
    # In blocks, so that memory holds one copy of a block and not several of the whole.
    for first in range(0, len(array), 4096):
        block = array[first : first + 4096]
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


def check_lengths(dataset, ids: Sequence[str] | None, max_length: int, truncate: bool = False) -> list[str]:
    """Make sure that every sequence fits the model, or cut it where the user asked for that.

    Parameters
    ----------
    dataset : LabelledSet or sequence of str
        Sequences of one letter per token.
    ids : sequence of str or None
        Record names for the message; None takes those of the data set.
    max_length : int
        Tokens, of which two are special: 101 nucleotides need 103.
    truncate : bool
        Cut at the 3' end instead of raising; how many were cut is logged as a warning.

    Returns
    -------
    list of str
        Sequences of at most ``max_length - 2`` nucleotides.

    Raises
    ------
    InputError
        ``max_length`` below 3, or a sequence too long without ``truncate``.
    """
    if max_length <= _SPECIAL_TOKENS:
        raise InputError(f"--max_length: found {max_length}, wanted at least 3 (two are special)")
    sequences = list(getattr(dataset, "sequences", dataset))
    ids = getattr(dataset, "ids", None) if ids is None else ids
    room = max_length - _SPECIAL_TOKENS
    too_long = [i for i, sequence in enumerate(sequences) if len(sequence) > room]
    if too_long and not truncate:
        first = too_long[0]
        record = ids[first] if ids is not None else f"number {first + 1}"
        raise InputError(
            f"--max_length: record {record} has {len(sequences[first])} nucleotides and needs "
            f"{len(sequences[first]) + _SPECIAL_TOKENS} tokens, but --max_length is {max_length} "
            f"({len(too_long)} of {len(sequences)} records are too long; "
            f"the longest needs {max(map(len, sequences)) + _SPECIAL_TOKENS})"
        )
    if too_long:
        logger.warning("truncated %d of %d sequences to %d nucleotides", len(too_long), len(sequences), room)
    return [sequence[:room] for sequence in sequences] if too_long else sequences
