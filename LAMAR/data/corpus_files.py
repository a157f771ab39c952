"""Files of unlabelled sequences (FASTA, text, tables, window metadata, Parquet), read by record in bounded memory."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple, TextIO

from ..alphabet import NORMALIZED
from ..errors import InputError, excerpt, quoted, shortened
from ..runs.storage import require_files
from .sequences import normalize_sequence, read_fasta
from .text_files import MAX_RECORD, is_parquet, open_text, read_lines, read_rows
from .window_files import read_metadata

__all__ = ["COLUMNS", "SequenceRecord", "corpus_files", "corpus_form", "read_records"]

SUFFIXES = (".fa", ".fasta", ".fna", ".txt", ".csv", ".tsv", ".jsonl", ".json", ".parquet")
MOST_UNKNOWN = 0.5  # share of N above which a file is taken for something else than nucleotides
COLUMNS = ("sequence", "seq")  # names of the column or key of sequences
_REGIONS = "eclip_regions"
_HEAD = 4096  # characters of a line that tell the form of its file


class SequenceRecord(NamedTuple):
    """One sequence of a corpus.

    Attributes
    ----------
    where : str
        Its place in the file: ``line 7``, ``record chr1:5-9``.
    sequence : str
        Normalized letters.
    regions : list of (start, end) or None
        Its peaks, 0-based and half-open; None where the file has no peaks.
    """

    where: str
    sequence: str
    regions: list[tuple[int, int]] | None


def corpus_files(paths: Sequence[str | PathLike], parameter: str = "data_path") -> list[Path]:
    """Return the files of a corpus: files named, and files with a known suffix in folders named, gzipped or plain.

    Where a folder has both ``X_metadata.jsonl`` (``.json``, ``.parquet``) and ``X_sequences.txt``, as preprocess.py
    writes them, the second has the same windows and is left out.

    Parameters
    ----------
    paths : sequence of path
        Files and folders.
    parameter : str
        Name of the parameter, for messages.

    Raises
    ------
    InputError
        If a path is missing, a folder has no such file, or a file is named more than once.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        require_files([path])
        if not path.is_dir():
            files.append(path)
            continue
        inside = [file for file in sorted(path.iterdir()) if file.is_file() and _is_corpus(file)]
        described = {_stem(file).removesuffix("_metadata") for file in inside if not _is_plain(file)}
        inside = [f for f in inside if not (_is_plain(f) and _stem(f).removesuffix("_sequences") in described)]
        if not inside:
            raise InputError(f"`{parameter}` {path}: found no file with one of the suffixes {', '.join(SUFFIXES)}")
        files += inside
    times = Counter(file.resolve() for file in files)
    if twice := [file for file, number in times.items() if number > 1]:
        raise InputError(f"`{parameter}`: {twice[0]} is named more than once")
    return files


def _stem(file: Path) -> str:
    return file.name.removesuffix(".gz").rsplit(".", 1)[0]


def _is_plain(file: Path) -> bool:
    return _stem(file).endswith("_sequences")


def _is_corpus(file: Path) -> bool:
    # preprocess.py writes records of its runs beside the windows.
    record = _stem(file).endswith(("_stats", "_split")) and file.suffix == ".json"
    return file.name.removesuffix(".gz").endswith(SUFFIXES) and not file.name.startswith(".") and not record


def corpus_form(path: str | PathLike, columns: Sequence[str] = COLUMNS) -> str:
    """Return the form of a file: ``fasta``, ``text``, ``table`` (CSV, TSV), ``jsonl``, ``json`` or ``parquet``.

    The first character below comments (``#``) decides. A text has one sequence per line; it is a table where its first
    line holds a comma or a tab, or is the name of one of ``columns``, or where the file is called ``.csv`` or ``.tsv``
    and that line is no sequence.

    Raises
    ------
    InputError
        If the file is empty or cannot be read.
    """
    if is_parquet(path):
        return "parquet"
    with open_text(path) as handle:
        first = _first_line(handle)
    if not first:
        raise InputError(f"{path}: the file is empty, wanted sequences")
    forms = {">": "fasta", ";": "fasta", "{": "jsonl", "[": "json"}
    if first[0] in forms:
        return forms[first[0]]
    is_named = first.strip('"').lower() in map(str.lower, columns)
    is_table = Path(path).name.lower().removesuffix(".gz").endswith((".csv", ".tsv"))
    is_sequence = 0 not in first.encode("ascii", "replace").translate(NORMALIZED)
    separated = any(separator in first for separator in ",\t")
    return "table" if separated or is_named or (is_table and not is_sequence) else "text"


def _first_line(handle: TextIO) -> str:
    """Return the beginning of the first line that is neither blank nor a comment, "" without one."""
    in_comment = False
    while piece := handle.readline(_HEAD):
        is_comment = in_comment or piece.startswith("#")
        in_comment = is_comment and not piece.endswith("\n")
        if not is_comment and piece.strip():
            return piece.strip()
    return ""


def read_records(
    path: str | PathLike, max_record: int = MAX_RECORD, columns: Sequence[str] = COLUMNS
) -> Iterator[SequenceRecord]:
    """Yield the records of one file.

    Windows' metadata, as preprocess.py writes them, have their peaks in ``eclip_regions``. One record is in memory at a
    time (4,096 records of a Parquet file; a JSON array is read as a whole).

    Parameters
    ----------
    path : path
        File to read.
    max_record : int
        Most letters of a record.
    columns : sequence of str
        Names that the column or key of sequences may have, the preferred one first.

    Yields
    ------
    SequenceRecord

    Raises
    ------
    InputError
        If a record cannot be read, has a letter that is not a nucleotide code, or is too long, or if the file is empty
        or mostly N once its ambiguity codes are read as N; names the file and the record or line.
    """
    form = corpus_form(path, columns)
    letters = unknown = 0
    for record in _records(path, form, max_record, columns):
        letters += len(record.sequence)
        unknown += record.sequence.count("N")
        yield record
    if not letters:
        raise InputError(f"{path}: found no record, wanted sequences")
    if unknown > MOST_UNKNOWN * letters:
        raise InputError(
            f"{path}: found {unknown / letters:.0%} letters other than A, C, G, T, U, wanted nucleotides "
            f"({MOST_UNKNOWN:.0%} at most; is this a file of proteins?)"
        )


def _records(path, form: str, max_record: int, columns: Sequence[str]) -> Iterator[SequenceRecord]:
    source = str(path)
    if form == "fasta":
        for header, sequence in read_fasta(path, max_record, piece=False):
            yield SequenceRecord(f"record {excerpt(header)}", sequence, None)
    elif form == "text":
        with open_text(path) as handle:
            lines = read_lines(handle, path, max_record)
            for number, line in itertools.dropwhile(lambda numbered: numbered[1].startswith("#"), lines):
                where = f"line {number}"
                yield SequenceRecord(where, normalize_sequence(line, source=source, record=where), None)
    elif form == "table":
        yield from _table_records(path, max_record, columns)
    else:
        for where, entry in read_metadata(path, form, (*columns, _REGIONS), max_record):
            text = next((entry[name] for name in columns if name in entry), None)
            if not isinstance(text, str):
                wanted = " or ".join(map(quoted, columns))
                raise InputError(f"{path}: {where}: found no text under {wanted}, wanted nucleotides")
            sequence = normalize_sequence(text, source=source, record=where)
            yield SequenceRecord(where, sequence, _regions(entry.get(_REGIONS), len(sequence), path, where))


def _table_records(path, max_record: int, columns: Sequence[str]) -> Iterator[SequenceRecord]:
    rows = read_rows(path, max_record)
    written = [name.strip() for name in next(rows)[1]]
    present = [name.lower() for name in written]
    column = next((present.index(name.lower()) for name in columns if name.lower() in present), None)
    if column is None:
        wanted = " or ".join(map(excerpt, columns))
        found = shortened(map(excerpt, written))
        raise InputError(f"{path}: found columns {found}, wanted one called {wanted} (`sequence_column` names another)")
    for number, cells in rows:
        where, text = f"line {number}", cells[column] if column < len(cells) else ""
        yield SequenceRecord(where, normalize_sequence(text, source=str(path), record=where), None)


def _regions(pieces, length: int, path, where: str) -> list[tuple[int, int]] | None:
    if pieces is None:
        return None
    try:
        regions = [(piece["start"], piece["end"]) for piece in pieces]
        whole = all(type(place) is int for region in regions for place in region)
        right = whole and all(0 <= start < end <= length for start, end in regions)
    except (KeyError, TypeError):
        right = False
    if not right:
        raise InputError(
            f"{path}: {where}: eclip_regions: wanted whole numbers start and end of each, within 0 to {length}"
        )
    return regions
