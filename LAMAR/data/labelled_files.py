"""Labelled data sets on disk: the form of a path, and the columns that it holds, still unchecked.

`LAMAR.data.labelled` makes one checked set of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

from ..errors import InputError, excerpt, shortened
from ..runs.storage import is_plain_name, read_json_object
from .sequences import check_span, find_region, parse_region, read_fasta, warn_of_unused_coordinates
from .text_files import open_text, read_lines, read_named_table
from .track_tables import is_track_folder, read_track_columns, track_names
from .tracks import TRACKS, WINDOWS

__all__ = ["ALIASES", "COORDINATES", "PARTS", "PART_OF", "Table", "find", "listing", "set_names", "stem_of"]

PARTS = {"train": ("train",), "dev": ("dev", "validation", "valid", "val"), "test": ("test",)}
PART_OF = {alias: part for part, aliases in PARTS.items() for alias in aliases}
_TABLE_ENDS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_HDF5_ENDS = (".h5", ".hdf5", ".h5.gz", ".hdf5.gz")
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_PAIR_FILE = re.compile(r"(?P<name>.+)\.(?P<side>positives|negatives)\.(?:fa|fasta)(?:\.gz)?")
_PAIR_OF_PART = re.compile(rf"(?:(?P<name>.+)[._-])?(?P<part>{'|'.join(PART_OF)})")
ALIASES = {"seq": "sequence", "labels": "label"}
COORDINATES = ("chrom", "start", "end", "strand")


@dataclass
class Table:
    """Columns of one file or part.

    Attributes
    ----------
    source : str
        File, and part of it, for messages.
    columns : dict of list
        Values by column name.
    rows : sequence of int
        Number of each record, for messages.
    stem : str
        Beginning of the default ids.
    unit : str
        What the numbers count: ``row``, ``record`` or ``index``.
    part : str or None
        ``train``, ``dev`` or ``test``, if the source names parts.
    written : dict of str
        Names of columns as the source has them, by name in lower case; empty where the source has no column names.
    """

    source: str
    columns: dict[str, list]
    rows: Sequence[int]
    stem: str
    unit: str = "row"
    part: str | None = None
    written: dict[str, str] = field(default_factory=dict)

    def where(self, i: int) -> str:
        """Return the place of record i, for messages."""
        return f"{self.source}: {self.unit} {self.rows[i]}"

    def name_of(self, column: str) -> str:
        """Return the name of a column as the source has it."""
        return excerpt(self.written.get(column, column))


TablesRead = tuple[list[Table], tuple[Path, ...], str]  # tables, files read, name of the set


def stem_of(path: Path) -> str:
    """Return the name of a file without its ending, and without ``.gz``."""
    return Path(path.name.removesuffix(".gz")).stem


def listing(names: Iterable, in_order: bool = False) -> str:
    """Return names, or the names of files, shortened, and sorted unless they are ``in_order``; "nothing" for none."""
    names = [excerpt(getattr(name, "name", name)) for name in names]
    return shortened(names if in_order else sorted(names)) or "nothing"


def find(path: Path, name: str | None, task: str, arguments: tuple[str, str]) -> TablesRead:
    """Find out the form of ``path`` and read it; parameters as in `LAMAR.data.labelled.load_labelled`."""
    if path.is_dir():
        return _find_in_folder(path, name, task, arguments)
    if path.exists():
        if pair := _PAIR_FILE.fullmatch(path.name):
            return _read_pairs(path.parent, pair["name"], task, {None: [pair["name"]]})
        if re.search(r"\.(fa|fasta)(\.gz)?$", path.name):
            raise InputError(f"{path}: found one FASTA file, wanted NAME.positives.fa and .negatives.fa")
        with path.open("rb") as handle:
            hdf5 = handle.read(len(_HDF5_MAGIC)) == _HDF5_MAGIC or path.name.endswith(_HDF5_ENDS)
        if hdf5:
            from .hdf5_files import read_hdf5

            return read_hdf5(path, task), (path,), stem_of(path)
        return _read_csv(path), (path,), stem_of(path)
    if path.parent.is_dir() and path.name in (*_pairs(path.parent), *_pair_files(path.parent)):
        return _read_pairs(path.parent, path.name, task)
    raise InputError(f"{arguments[0]}: found no file or folder {path}")


def _find_in_folder(folder: Path, name: str | None, task: str, arguments: tuple[str, str]) -> TablesRead:
    if is_track_folder(folder):
        return _read_track(folder, name, task, arguments[1])
    pairs = _pairs(folder)
    # The folder of a set may hold it both as a pair and as tables, which name the parts.
    if name in (*pairs, *_pair_files(folder)) and not (name == folder.name and _has_tables(folder)):
        return _read_pairs(folder, name, task)
    for end in ("", *_TABLE_ENDS, *_HDF5_ENDS) if name else ():
        if (inner := folder / f"{name}{end}").exists():
            return find(inner, name, task, arguments)
    if _is_arrow(folder):
        return _read_arrow(folder), tuple(sorted(p for p in folder.rglob("*") if p.is_file())), folder.name
    files: dict[str, Path] = {}
    for part, aliases in PARTS.items():
        present = [file for a in aliases for end in _TABLE_ENDS if (file := folder / f"{a}{end}").exists()]
        if len(present) > 1:
            raise InputError(f"{folder}: found {listing(present)}, wanted one file for {part}")
        files.update((part, file) for file in present)
    if "train" in files:
        tables = [replace(_read_csv(file)[0], part=part) for part, file in files.items()]
        return tables, tuple(files.values()), folder.name
    if len(pairs) == 1 and not name:
        return _read_pairs(folder, next(iter(pairs)), task)
    missing = f"nothing called {name!r}" if name else f"no data set that can be told without {arguments[1]}"
    labelled = (name for name, file in _single_files(folder).items() if _is_labelled(file))
    choices = listing({*_sets_inside(folder), *labelled})
    argument = arguments[1 if name else 0]
    raise InputError(f"{argument}: found {missing} in {folder}, wanted train.csv or a name of: {choices}")


def _pair_files(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """Return the FASTA pairs of a folder as beginning of the files' names -> side -> files."""
    files: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(folder.iterdir()):
        if match := _PAIR_FILE.fullmatch(path.name):
            files.setdefault(match["name"], {}).setdefault(match["side"], []).append(path)
    return files


def _pairs(folder: Path) -> dict[str, dict[str | None, list[str]]]:
    """Return the sets that a folder holds as FASTA pairs: name of the set -> part -> beginnings of the files' names.

    ``QKI.train`` and ``QKI.test`` are parts of the set QKI, ``train`` and ``test`` those of a set called as the folder.
    A pair that is no such part, and one without others, is a set of its own, with the part None.
    """
    stems = list(_pair_files(folder))
    parts: dict[str, dict[str | None, list[str]]] = {}
    for stem in stems:
        if match := _PAIR_OF_PART.fullmatch(stem):
            of_name = parts.setdefault(match["name"] or folder.resolve().name, {})
            of_name.setdefault(PART_OF[match["part"]], []).append(stem)
    parts = {name: of_name for name, of_name in parts.items() if "train" in of_name and len(of_name) > 1}
    in_parts = {stem for of_name in parts.values() for of_part in of_name.values() for stem in of_part}
    return {stem: {None: [stem]} for stem in stems if stem not in in_parts} | parts


def set_names(path: str | PathLike) -> list[str]:
    """Return the names by which `load_labelled` finds the sets of a folder; none if ``path`` is one set itself."""
    path = Path(path)
    if path.is_dir() and is_track_folder(path):
        return track_names(path)
    if not path.is_dir() or _has_tables(path):
        return []
    if _is_arrow(path) or (path / "dataset_info.json").exists():
        return []
    # Beside folders of sets, single files are tables about the sets.
    return sorted(_sets_inside(path) or _single_files(path))


def _sets_inside(path: Path) -> set[str]:
    """Return the names of the sets in a folder that are FASTA pairs or folders."""
    folders = (entry for entry in path.iterdir() if entry.is_dir())
    inside = (folder.name for folder in folders if _has_tables(folder) or _is_arrow(folder) or _pairs(folder))
    return {*_pairs(path), *inside}


def _single_files(folder: Path) -> dict[str, Path]:
    """Return the CSV, TSV and HDF5 files of a folder, each of which may be a set, by name without the ending."""
    ends = (*_TABLE_ENDS, *_HDF5_ENDS)
    matches = ((path, end) for path in folder.iterdir() for end in ends if path.name.endswith(end))
    return {path.name.removesuffix(end): path for path, end in matches if not path.name.startswith(".")}


def _is_labelled(path: Path) -> bool:
    """Return whether a file is HDF5, or its first line names columns of sequences and of labels."""
    if path.name.endswith(_HDF5_ENDS):
        return True
    head = ""
    with suppress(InputError), open_text(path) as handle:
        head = next((line for _, line in read_lines(handle, path) if not line.startswith("#")), "")
    names = (column.strip(' "').lower() for column in re.split("[\t,]", head))
    columns = {ALIASES.get(name, name) for name in names}
    return "sequence" in columns and not columns.isdisjoint(("label", "label_0"))


def _is_arrow(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _has_tables(folder: Path) -> bool:
    return any((folder / f"train{end}").exists() for end in _TABLE_ENDS)


def _read_pairs(folder: Path, name: str, task: str, parts: Mapping[str | None, list[str]] | None = None) -> TablesRead:
    """Read a set from its pair, or from a pair for each part; ``parts`` as `_pairs` has them, by default those of it.

    The name of a pair that is a part of a set asks for this part alone.
    """
    if task != "classification":
        raise InputError(f"{folder / name}: a FASTA pair holds two classes, wanted a table for {task}")
    tables, files = [], []
    parts = parts or _pairs(folder).get(name, {None: [name]})
    for part in (part for part in (None, *PARTS) if part in parts):
        stems = parts[part]
        if len(stems) != 1:
            raise InputError(f"{folder}: found pairs {listing(stems)}, wanted one for {part}")
        pair = _pair(folder, stems[0])
        tables += [replace(_fasta_table(file, label), part=part) for file, label in zip(pair, (1, 0))]
        files += pair
    return tables, tuple(files), name


def _pair(folder: Path, stem: str) -> tuple[Path, Path]:
    """Return the files of the positives and of the negatives."""
    sides = _pair_files(folder)[stem]
    for side in ("positives", "negatives"):
        if len(present := sides.get(side, [])) != 1:
            raise InputError(f"{folder}: found {listing(present)}, wanted one file {stem}.{side}.fa")
    return sides["positives"][0], sides["negatives"][0]


def _fasta_table(path: Path, label: int) -> Table:
    records = list(read_fasta(path, piece=False))
    headers, sequences = map(list, zip(*records))
    regions = [parse_region(header) or find_region(header, len(sequence)) for header, sequence in records]
    for (header, sequence), region in zip(records, regions):
        if region:
            hint = " (0-based half-open; these look 1-based)"
            check_span(region, len(sequence), f"{path}: record {excerpt(header)}", hint)
    columns = {"sequence": sequences, "label": [label] * len(records), "id": headers}
    if all(regions):
        columns.update(zip(COORDINATES, map(list, zip(*regions))))
    else:
        wanted = "chr1:100-110(+), 0-based and half-open, in every header"
        warn_of_unused_coordinates(path, headers, len(records), wanted)
    return Table(str(path), columns, range(1, len(records) + 1), stem_of(path), unit="record")


def _read_track(folder: Path, name: str | None, task: str, argument: str) -> TablesRead:
    if task != "classification":
        raise InputError(f"{folder}: a track is bound or not bound, wanted another data set for {task}")
    name = name or None
    columns = read_track_columns(folder, name, argument)
    tables = [
        Table(f"{folder}: {part}", values, range(1, len(values["label"]) + 1), part, unit="window", part=part)
        for part, values in columns.items()
    ]
    return tables, tuple(folder / file for file in (WINDOWS, TRACKS)), name or track_names(folder)[0]


def _read_csv(path: Path) -> list[Table]:
    columns, rows, written = read_named_table(path)
    return [Table(str(path), columns, rows, stem_of(path), written=written)]


def _read_arrow(folder: Path) -> list[Table]:
    from datasets import DatasetDict, load_from_disk

    _check_arrow_names(folder)
    tables = []
    try:
        loaded = load_from_disk(str(folder))
        for key, data in loaded.items() if isinstance(loaded, DatasetDict) else [(None, loaded)]:
            source = f"{folder}: {key}" if key else str(folder)
            if key and key not in PART_OF:
                raise InputError(f"{source}: found a part of this name, wanted one of {listing(PART_OF)}")
            if not len(data):
                raise InputError(f"{source}: found no records")
            data.data.table.validate(full=True)  # before values of a damaged file are read
            written = {column.lower(): column for column in data.column_names}
            columns = {name: list(data[column]) for name, column in written.items()}
            names = key or folder.name, "index", PART_OF.get(key), written
            tables.append(Table(source, columns, range(len(data)), *names))
    except InputError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, AssertionError) as error:
        raise InputError(f"{folder}: cannot be loaded as a Hugging Face data set: {error}") from None
    if not tables:
        raise InputError(f"{folder}: found a Hugging Face data set without parts")
    return tables


def _check_arrow_names(folder: Path) -> None:
    """Raise `InputError` where a Hugging Face data set names files or parts outside its folder."""
    files = [file for name in ("dataset_dict.json", "state.json") for file in folder.rglob(name)]
    for file in files:
        content = read_json_object(file)
        lists = [content.get(key) for key in ("splits", "_data_files", "_indices_data_files")]
        for entry in (entry for entries in lists if isinstance(entries, list) for entry in entries):
            name = entry.get("filename") if isinstance(entry, dict) else entry
            if not is_plain_name(name):
                raise InputError(f"{file}: found {str(name)[:80]!r}, wanted the name of a file or part in its folder")
