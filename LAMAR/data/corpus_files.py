"""Files of unlabelled sequences (FASTA, text, tables, window metadata, Parquet), read by record in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError, excerpt, shortened
from ..runs.storage import require_files
from .sequences import normalize_sequence, read_fasta
from .text_files import MAX_RECORD, open_text, read_lines, read_rows
from .window_files import read_metadata

__all__ = ["SequenceRecord", "corpus_files", "corpus_form", "read_records"]

SUFFIXES = (".fa", ".fasta", ".fna", ".txt", ".csv", ".tsv", ".jsonl", ".json", ".parquet")
MOST_UNKNOWN = 0.5  # share of N above which a file is taken for something else than nucleotides
_COLUMNS = ("sequence", "seq", "eclip_regions")


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


def corpus_form(path: str | PathLike) -> str:
    """Return the form of a file: ``fasta``, ``text``, ``table`` (CSV, TSV), ``jsonl``, ``json`` or ``parquet``.

    The first character decides; a comma or a tab in the first line makes a table of a text, which otherwise has one
    sequence per line.

    Raises
    ------
    InputError
        If the file is empty or cannot be read.
    """
    with open(path, "rb") as handle:
        if handle.read(4) == b"PAR1":
            return "parquet"
    with open_text(path) as handle:
        while piece := handle.read(4096):
            if piece := piece.lstrip():
                table = any(separator in piece.splitlines()[0] for separator in ",\t")
                forms = {">": "fasta", ";": "fasta", "#": "fasta", "{": "jsonl", "[": "json"}
                return forms.get(piece[0], "table" if table else "text")
    raise InputError(f"{path}: the file is empty, wanted sequences")


def read_records(path: str | PathLike, max_record: int = MAX_RECORD) -> Iterator[SequenceRecord]:
    """Yield the records of one file.

    Windows' metadata, as preprocess.py writes them, have their peaks in ``eclip_regions``. One record is in memory at a
    time (4,096 records of a Parquet file; a JSON array is read as a whole).

    Parameters
    ----------
    path : path
        File to read.
    max_record : int
        Most letters of a record.

    Yields
    ------
    SequenceRecord

    Raises
    ------
    InputError
        If a record cannot be read, has a letter that is not a nucleotide code, or is too long, or if the file is empty
        or mostly N once its ambiguity codes are read as N; names the file and the record or line.
    """
    form = corpus_form(path)
    letters = unknown = 0
    for record in _records(path, form, max_record):
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


def _records(path, form: str, max_record: int) -> Iterator[SequenceRecord]:
    source = str(path)
    if form == "fasta":
        for header, sequence in read_fasta(path, max_record, piece=False):
            yield SequenceRecord(f"record {excerpt(header)}", sequence, None)
    elif form == "text":
        with open_text(path) as handle:
            for number, line in read_lines(handle, path, max_record):
                where = f"line {number}"
                yield SequenceRecord(where, normalize_sequence(line, source=source, record=where), None)
    elif form == "table":
        yield from _table_records(path, max_record)
    else:
        for where, entry in read_metadata(path, form, _COLUMNS, max_record):
            text = entry.get("sequence", entry.get("seq"))
            if not isinstance(text, str):
                raise InputError(f"{path}: {where}: found no text under 'sequence' or 'seq', wanted nucleotides")
            sequence = normalize_sequence(text, source=source, record=where)
            yield SequenceRecord(where, sequence, _regions(entry.get("eclip_regions"), len(sequence), path, where))


def _table_records(path, max_record: int) -> Iterator[SequenceRecord]:
    rows = read_rows(path, max_record)
    columns = [name.strip().lower() for name in next(rows)[1]]
    column = next((columns.index(name) for name in _COLUMNS[:2] if name in columns), None)
    if column is None:
        raise InputError(f"{path}: found columns {shortened(map(excerpt, columns))}, wanted one called sequence or seq")
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
