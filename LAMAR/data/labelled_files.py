"""Labelled data sets on disk: the form of a path, and the columns that it holds, still unchecked.

`LAMAR.data.labelled` makes one checked set of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from ..errors import InputError, excerpt, shortened
from ..runs.storage import is_plain_name, read_json_object
from .sequences import check_span, find_region, parse_region, read_fasta, warn_of_unused_coordinates
from .text_files import open_text, read_lines, read_table
from .track_tables import is_track_folder, read_track_columns, track_names
from .tracks import TRACKS, WINDOWS

__all__ = ["ALIASES", "COORDINATES", "PARTS", "PART_OF", "Table", "find", "listing", "set_names", "stem_of"]

PARTS = {"train": ("train",), "dev": ("dev", "validation", "valid", "val"), "test": ("test",)}
PART_OF = {alias: part for part, aliases in PARTS.items() for alias in aliases}
_TABLE_ENDS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_HDF5_ENDS = (".h5", ".hdf5", ".h5.gz", ".hdf5.gz")
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_PAIR_FILE = re.compile(r"(?P<name>.+)\.(?P<side>positives|negatives)\.(?:fa|fasta)(?:\.gz)?")
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
    """

    source: str
    columns: dict[str, list]
    rows: Sequence[int]
    stem: str
    unit: str = "row"
    part: str | None = None

    def where(self, i: int) -> str:
        """Return the place of record i, for messages."""
        return f"{self.source}: {self.unit} {self.rows[i]}"


TablesRead = tuple[list[Table], tuple[Path, ...], str]  # tables, files read, name of the set


def stem_of(path: Path) -> str:
    """Return the name of a file without its ending, and without ``.gz``."""
    return Path(path.name.removesuffix(".gz")).stem


def listing(names: Iterable) -> str:
    """Return names, or the names of files, sorted and shortened; "nothing" for none."""
    return shortened(sorted(excerpt(getattr(name, "name", name)) for name in names)) or "nothing"


def find(path: Path, name: str | None, task: str, arguments: tuple[str, str]) -> TablesRead:
    """Find out the form of ``path`` and read it; parameters as in `LAMAR.data.labelled.load_labelled`."""
    if path.is_dir():
        return _find_in_folder(path, name, task, arguments)
    if path.exists():
        if pair := _PAIR_FILE.fullmatch(path.name):
            return _read_pair(path.parent, pair["name"], task)
        if re.search(r"\.(fa|fasta)(\.gz)?$", path.name):
            raise InputError(f"{path}: found one FASTA file, wanted NAME.positives.fa and .negatives.fa")
        with path.open("rb") as handle:
            hdf5 = handle.read(len(_HDF5_MAGIC)) == _HDF5_MAGIC or path.name.endswith(_HDF5_ENDS)
        if hdf5:
            from .hdf5_files import read_hdf5

            return read_hdf5(path, task), (path,), stem_of(path)
        return _read_csv(path), (path,), stem_of(path)
    if path.parent.is_dir() and path.name in _pairs(path.parent):
        return _read_pair(path.parent, path.name, task)
    raise InputError(f"{arguments[0]}: found no file or folder {path}")


def _find_in_folder(folder: Path, name: str | None, task: str, arguments: tuple[str, str]) -> TablesRead:
    if is_track_folder(folder):
        return _read_track(folder, name, task, arguments[1])
    pairs = _pairs(folder)
    # The folder of a set may hold it both as a pair and as tables, which name the parts.
    if name in pairs and not (name == folder.name and _has_tables(folder)):
        return _read_pair(folder, name, task)
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
        return _read_pair(folder, next(iter(pairs)), task)
    missing = f"nothing called {name!r}" if name else f"no data set that can be told without {arguments[1]}"
    labelled = (name for name, file in _single_files(folder).items() if _is_labelled(file))
    choices = listing({*_sets_inside(folder), *labelled})
    argument = arguments[1 if name else 0]
    raise InputError(f"{argument}: found {missing} in {folder}, wanted train.csv or a name of: {choices}")


def _pairs(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """Return the FASTA pairs of a folder as name -> side -> files."""
    pairs: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(folder.iterdir()):
        if match := _PAIR_FILE.fullmatch(path.name):
            pairs.setdefault(match["name"], {}).setdefault(match["side"], []).append(path)
    return pairs


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


def _read_pair(folder: Path, name: str, task: str) -> TablesRead:
    if task != "classification":
        raise InputError(f"{folder / name}: a FASTA pair holds two classes, wanted a table for {task}")
    sides = _pairs(folder)[name]
    for side in ("positives", "negatives"):
        if len(present := sides.get(side, [])) != 1:
            raise InputError(f"{folder}: found {listing(present)}, wanted one file {name}.{side}.fa")
    files = (sides["positives"][0], sides["negatives"][0])
    return [_fasta_table(file, label) for file, label in zip(files, (1, 0))], files, name


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
    columns, rows = read_table(path)
    return [Table(str(path), columns, rows, stem_of(path))]


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
            columns = {column.lower(): list(data[column]) for column in data.column_names}
            tables.append(Table(source, columns, range(len(data)), key or folder.name, "index", PART_OF.get(key)))
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
