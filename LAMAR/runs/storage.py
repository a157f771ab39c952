"""Files that are either complete or absent, JSON and CSV files, and checksums."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import InputError

__all__ = [
    "MOST_LEVELS",
    "active_text",
    "atomic_write",
    "hash_inputs",
    "inert_text",
    "is_intact",
    "is_partial",
    "is_plain_name",
    "jsonable",
    "partial_path",
    "read_json",
    "read_json_object",
    "remove_leftovers",
    "require_files",
    "sha256_file",
    "sha256_tree",
    "write_csv",
    "write_json",
]

MOST_LEVELS = 100  # of objects and lists in a JSON file
# What begins a formula, half- or full-width, and any ``'`` before it, so that each text comes from one original.
_FORMULA = re.compile(r"'*[=+@\t\r\n\uff1d\uff0b\uff0d\uff20-]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-](inf|nan)", re.ASCII | re.IGNORECASE)
_PARTIAL = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)-[0-9a-f]{8}\.partial")


def partial_path(path: Path) -> Path:
    """Return a new hidden name beside ``path`` for a file that will be renamed to it; it holds the process id."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")


def is_partial(name: str) -> bool:
    """Return whether this is a name that `partial_path` gives."""
    return _PARTIAL.fullmatch(name) is not None


def remove_leftovers(path: Path) -> None:
    """Remove the hidden files that killed processes left beside the file ``path``."""
    for left in path.parent.iterdir():
        match = _PARTIAL.fullmatch(left.name)
        if match and match["name"] == path.name and not _is_running(int(match["process"])):
            left.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # someone else's
        return True
    return True


@contextmanager
def atomic_write(path: str | Path, mode: str = "w", newline: str | None = None) -> Iterator[IO]:
    """Open a file that appears under its name only when it is complete and on disk.

    Output goes to a hidden file beside it, which replaces ``path`` at the end of the block. An exception removes the
    hidden file and leaves an older ``path`` unchanged; after a kill, `LAMAR.runs.RunFolder.open` removes it.

    Parameters
    ----------
    path : str or Path
    mode : str
        "w" (UTF-8) or "wb".
    newline : str, optional
        As in the built-in ``open``.

    Yields
    ------
    file object

    Raises
    ------
    ValueError
        Another mode.
    OSError
        The folder is missing or cannot be written.
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"`mode`: found {mode!r}, wanted 'w' or 'wb'")
    path = Path(path)
    partial = partial_path(path)
    text = {"encoding": "utf-8", "newline": newline} if mode == "w" else {}
    try:
        with open(partial, mode.replace("w", "x"), **text) as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    # Not every file system supports this; a power cut may then undo the rename, but never leaves half a file.
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def jsonable(value: Any) -> Any:
    """Return a value in the form that JSON can hold.

    NaN and infinity become None; arrays, tuples and (sorted) sets become lists; paths and keys become text. Bytes of
    file names that are no UTF-8, which Python keeps as halves of characters, are spelt out, ``\\udc80`` to ``\\udcff``.
    """
    if isinstance(value, Mapping):
        return {jsonable(str(key)): jsonable(item) for key, item in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, set | frozenset):
        value = sorted(value)
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: str | Path, obj: Any) -> None:
    """Write a value as JSON, atomically and with keys in their order; `jsonable` converts it first."""
    text = json.dumps(jsonable(obj), indent=2, allow_nan=False, ensure_ascii=False)
    with atomic_write(path) as handle:
        handle.write(text + "\n")


def read_json(path: str | Path) -> Any:
    """Return the content of a JSON file.

    Raises
    ------
    InputError
        The file is missing, truncated or not JSON, is nested deeper than `MOST_LEVELS`, or has texts that cannot be
        written again (halves of characters, ``"\\ud800"``).
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(content, ensure_ascii=False).encode()
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    if _is_deep(content):
        raise InputError(f"{path}: found JSON nested deeper than {MOST_LEVELS} levels")
    return content


def _is_deep(content: Any) -> bool:
    """Return whether objects and lists are nested deeper than `MOST_LEVELS`; what recurs over them could fail."""
    level = [content]
    for _ in range(MOST_LEVELS):
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = list(itertools.chain.from_iterable(inner))
    return any(isinstance(one, dict | list) for one in level)


def read_json_object(path: str | Path) -> dict[str, Any]:
    """Return the object that a JSON file holds; `InputError` where it holds something else, or as in `read_json`."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: found a JSON {type(content).__name__}, wanted an object")
    return content


def is_plain_name(name: Any) -> bool:
    """Return whether this is the name of a file or folder alone, which leads to no other folder."""
    return isinstance(name, str) and name not in ("", "..") and Path(name).name == name and "\0" not in name


def write_csv(path: str | Path, rows: Any, columns: Sequence[str] | None = None) -> None:
    """Write a table as CSV, atomically.

    ``float`` reads each float back bit for bit, as does ``pandas.read_csv`` with ``float_precision="round_trip"``; None
    and NaN are empty cells. Text that a spreadsheet would run as a formula is written as `inert_text`. Rows are written
    as they come, so a generator needs little memory.

    Parameters
    ----------
    path : str or Path
    rows : iterable of mappings, or DataFrame
        The index of a DataFrame is left out.
    columns : sequence of str, optional
        Names in order; by default those of the first row.

    Raises
    ------
    ValueError
        A row's keys are not the columns, or there are neither rows nor ``columns``.
    """
    if hasattr(rows, "to_dict"):
        columns = list(rows.columns) if columns is None else columns
        rows = rows.astype(object).where(rows.notna(), None).to_dict("records")
    rows = iter(rows)
    if columns is None:
        if (first := next(rows, None)) is None:
            raise ValueError(f"{path}: no rows, so `columns` must be given")
        columns, rows = list(first), itertools.chain([first], rows)
    columns = list(columns)
    with atomic_write(path, newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        for i, row in enumerate(rows):
            if difference := set(row) ^ set(columns):
                raise ValueError(f"{path}: row {i} lacks or adds {', '.join(sorted(map(str, difference)))}")
            writer.writerow([_cell(row[name]) for name in columns])


def inert_text(text: str) -> str:
    """Return text behind a ``'`` where a spreadsheet would take it for a formula, as an id that begins with ``=``.

    Numbers and single characters, such as strands, stay. Reference: OWASP, CSV injection.
    """
    return f"'{text}" if len(text) > 1 and _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def active_text(text: str) -> str:
    """Return the text that `inert_text` was made of."""
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text


def _cell(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()  # csv writes a Python float by repr, a NumPy one by str
    if isinstance(value, str):
        return inert_text(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal; the file is read in pieces."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def is_intact(path: str | Path, sha256: str) -> bool:
    """Return whether a file is there and has the bytes whose SHA-256 was noted when it was written."""
    return Path(path).is_file() and sha256_file(path) == sha256


def sha256_tree(folder: str | Path) -> str:
    """Return the SHA-256 over the relative paths and contents of all files below a folder."""
    digest = hashlib.sha256()
    for file in sorted(file for file in Path(folder).rglob("*") if file.is_file()):
        line = f"{file.relative_to(folder).as_posix()}\0{sha256_file(file)}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))  # names need not be UTF-8
    return digest.hexdigest()


def hash_inputs(paths: Iterable[str | Path]) -> dict[str, str]:
    """Return the SHA-256 of files and folders by path as given.

    Raises
    ------
    InputError
        A path is missing, cannot be read, or is a pipe or device.
    """
    hashes = {}
    for path in paths:
        require_files([path])
        try:
            hashes[str(path)] = sha256_tree(path) if Path(path).is_dir() else sha256_file(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return hashes


def require_files(paths: Iterable[str | Path]) -> None:
    """Raise `InputError` unless each path is an existing file or folder; a pipe could be read only once."""
    for path in paths:
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise InputError(f"{path}: found a pipe or device, wanted a file: inputs are read more than once")
