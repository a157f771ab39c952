"""Text files, gzipped or plain: lines, and tables of comma- or tab-separated values.

Errors name the file and the line or row. A row number counts from the header, which is row 1.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TextIO

from ..errors import InputError, quoted

__all__ = [
    "MAX_RECORD",
    "is_parquet",
    "is_plain_number",
    "open_text",
    "read_lines",
    "read_named_table",
    "read_rows",
    "read_table",
]

MAX_RECORD = 300_000_000  # letters of one line or record: more than the longest human chromosome has
_GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"


@contextmanager
def open_text(path: str | PathLike) -> Iterator[TextIO]:
    """Open a UTF-8 text file, gzipped or plain, for reading.

    Compression is detected from the first bytes, not from the name. Line ends of any platform become ``\\n``; a
    byte-order mark is dropped.

    Raises
    ------
    InputError
        If the file is missing, unreadable, truncated, damaged or binary. Damage further down the file is raised while
        the caller reads it.
    """
    with _opened(path) as plain:
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


def _opened(path: str | PathLike) -> io.BufferedReader:
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: found no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def is_parquet(path: str | PathLike) -> bool:
    """Return whether a file begins as Parquet does; `InputError` where it cannot be opened."""
    with _opened(path) as plain:
        return plain.read(4) == _PARQUET_MAGIC


def read_lines(handle: TextIO, source: str | PathLike, max_line: int = MAX_RECORD) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, stripped, with their numbers counted from 1.

    Parameters
    ----------
    handle : text file
        Open for reading.
    source : path
        Name of the file, for messages.
    max_line : int
        Most characters of a line. A longer line is not read to its end.

    Raises
    ------
    InputError
        If a line is too long.
    """
    number = 0
    while line := handle.readline(max_line + 1):
        number += 1
        if len(line) > max_line and line[-1] != "\n":
            raise InputError(f"{source}: line {number}: found more than {max_line:,} characters, wanted shorter lines")
        if line := line.strip():
            yield number, line


def is_plain_number(text: str) -> bool:
    """Return whether text that Python reads as a number is one for others too: no ``1_000``, no digits but 0 to 9."""
    return text.isascii() and "_" not in text


def read_table(path: str | PathLike) -> tuple[dict[str, list[str]], list[int]]:
    """Return the columns and row numbers of `read_named_table`."""
    columns, rows, _ = read_named_table(path)
    return columns, rows


def read_named_table(path: str | PathLike) -> tuple[dict[str, list[str]], list[int], dict[str, str]]:
    """Read a CSV or TSV file, gzipped or plain, as a whole; a tab in the header line makes it TSV.

    Lines that start with ``#`` above the header are comments; blank rows are ignored.

    Returns
    -------
    columns : dict of list of str
        Values by column name in lower case.
    rows : list of int
        Row number of each record; the header is row 1.
    written : dict of str
        Name of each column as the header has it, in its order, by name in lower case.

    Raises
    ------
    InputError
        If the file has no header or no record, a column name twice, a row of another width, or broken quotation.
    """
    rows, records = [], []
    with open_text(path) as handle:
        first = next((line for line in handle if line.strip() and not line.startswith("#")), None)
        if first is None:
            raise InputError(f"{path}: the file is empty, wanted a header row and records")
        reader = csv.reader(itertools.chain([first], handle), delimiter="\t" if "\t" in first else ",")
        try:
            names = [column.strip() for column in next(reader)]
            header = [name.lower() for name in names]
            twice = sorted({column for column in header if header.count(column) > 1})
            if twice:
                raise InputError(f"{path}: row 1: found column {quoted(twice[0])} more than once")
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
    return dict(zip(header, map(list, zip(*records)))), rows, dict(zip(header, names))


def read_rows(path: str | PathLike, max_line: int = MAX_RECORD) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of the rows of a CSV or TSV file, header included, one line in memory at a time.

    Unlike in `read_table`, a record is one line: quoted cells hold no line ends. Lines that start with ``#`` above the
    header are comments.

    Parameters
    ----------
    path : path
        File, gzipped or plain; a tab in the header line makes it TSV.
    max_line : int
        Most characters of a line.

    Raises
    ------
    InputError
        If a line is too long; also what `open_text` raises.
    """
    separator = None
    with open_text(path) as handle:
        for number, line in read_lines(handle, path, max_line):
            if separator is None and line.startswith("#"):
                continue
            separator = separator or ("\t" if "\t" in line else ",")
            # The csv module's limit of a cell is 131,072 letters; a line has its limit already.
            before = csv.field_size_limit(MAX_RECORD)
            try:
                cells = next(csv.reader([line], delimiter=separator))
            finally:
                csv.field_size_limit(before)
            yield number, cells
