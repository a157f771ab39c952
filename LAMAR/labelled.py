"""Labelled data sets: one reader for every form in which sequences with labels come.

Each form is read into tables of columns (`_Table`); one piece of code then checks sequences, labels and
coordinates of all of them alike. Coordinates are 0-based and half-open.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from LAMAR.errors import InputError
from LAMAR.sequences import (
    check_span,
    decode_one_hot,
    normalize_sequence,
    open_text,
    parse_region,
    read_fasta,
    read_lines,
    read_table,
)

__all__ = ["LabelledSet", "load_labelled", "set_names"]

logger = logging.getLogger(__name__)

_PARTS = {"train": ("train",), "dev": ("dev", "validation", "valid", "val"), "test": ("test",)}
_PART_OF = {alias: part for part, aliases in _PARTS.items() for alias in aliases}
_TABLE_ENDS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_HDF5_ENDS = (".h5", ".hdf5", ".h5.gz", ".hdf5.gz")
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_PAIR_FILE = re.compile(r"(?P<name>.+)\.(?P<side>positives|negatives)\.(?:fa|fasta)(?:\.gz)?")
_ALIASES = {"seq": "sequence", "labels": "label"}
_COORDINATES = ("chrom", "start", "end", "strand")


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Sequences with labels, and what their source says about them.

    Attributes
    ----------
    sequences : list of str, n
        Letters of ``ACGTN``.
    labels : ndarray
        int64 (n,) for classification, float32 (n,) for regression, int64 (n, n_labels) for multi-label.
    ids : list of str, n
        FASTA header, ``id`` column, or ``<file>:<row>`` (header row = 1); for messages and result tables.
    name : str
    split : ndarray of str (n,), optional
        ``train``, ``dev`` or ``test``, when the source says so.
    chrom, start, end, strand : ndarray (n,), optional
        str, int64, int64, str; 0-based half-open; strand is ``+``, ``-`` or ``.``.
    files : tuple of Path
        Files that were read.
    """

    sequences: list[str]
    labels: np.ndarray
    ids: list[str]
    name: str = ""
    split: np.ndarray | None = None
    chrom: np.ndarray | None = None
    start: np.ndarray | None = None
    end: np.ndarray | None = None
    strand: np.ndarray | None = None
    files: tuple[Path, ...] = ()

    def __post_init__(self):
        for key in ("labels", "ids", "split", *_COORDINATES):
            if (value := getattr(self, key)) is not None and len(value) != len(self.sequences):
                raise ValueError(f"{key} has {len(value)} entries for {len(self.sequences)} sequences")

    def __len__(self) -> int:
        return len(self.sequences)

    def take(self, indices: Sequence[int] | np.ndarray) -> LabelledSet:
        """The records at ``indices`` (integers, any order, repeats allowed) as a new set."""
        indices = np.asarray(indices, dtype=np.int64)
        arrays = {key: getattr(self, key) for key in ("labels", "split", *_COORDINATES)}
        return replace(
            self,
            sequences=[self.sequences[i] for i in indices],
            ids=[self.ids[i] for i in indices],
            **{key: value if value is None else value[indices] for key, value in arrays.items()},
        )

    def digest(self) -> str:
        """SHA-256 (hex) over sequences and labels in their order; names and coordinates do not enter."""
        digest = hashlib.sha256("\n".join(self.sequences).encode())
        digest.update(f"\n{self.labels.dtype.kind}{self.labels.shape}\n".encode())
        digest.update(self.labels.astype(self.labels.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()


def load_labelled(
    path: str | PathLike,
    *,
    name: str | None = None,
    task: str = "classification",
    n_labels: int = 2,
    arguments: tuple[str, str] = ("--data_path", "--rbp_name"),
) -> LabelledSet:
    """Read a labelled data set in any of its forms, gzipped or plain.

    Parameters
    ----------
    path : path
        - a folder with ``train.csv``, ``dev.csv`` (or ``validation``, ``valid``, ``val``) and ``test.csv``,
          or TSV; dev and test may be absent;
        - a folder with ``<name>.positives.fa`` and ``<name>.negatives.fa``, one of these two files, or their
          common prefix ``folder/<name>``; tables of parts in a folder of that name come before it;
        - one CSV or TSV file;
        - a folder written by Hugging Face ``save_to_disk``;
        - an HDF5 file with ``X_train``, ``Y_train``, ``X_valid`` (or ``dev``, ``val``, ``validation``),
          ``X_test`` ..., one-hot as `LAMAR.sequences.decode_one_hot` reads it;
        - a folder that holds a folder, CSV, TSV or HDF5 file called ``name`` in one of these forms.

        Tables have columns ``sequence`` or ``seq`` and ``label`` (multi-label: ``0;1;0``, or ``label_0``,
        ``label_1`` ...), and optionally ``id``, ``chrom``, ``start``, ``end``, ``strand``. Lines that start
        with ``#`` above the header are comments. Parts stay as given.
    name : str, optional
        Which data set, where the folder holds several; goes before the folder's own files.
    task : {"classification", "regression", "multilabel"}
    n_labels : int
        Number of classes (classification) or of labels (multi-label).
    arguments : (str, str)
        What a script calls ``path`` and ``name``, for messages.

    Raises
    ------
    InputError
        Names the file and the row (header = row 1), FASTA record or array index (from 0), what was found and
        what was wanted.
    """
    if task not in ("classification", "regression", "multilabel"):
        raise ValueError(f"task: found {task!r}, wanted classification, regression or multilabel")
    if task == "classification" and n_labels < 2:
        raise InputError(f"--nlabels: found {n_labels}, wanted at least 2 classes for classification")
    # "." and ".." have no name of their own to call the set by.
    path = Path(path) if Path(path).name not in ("", "..") else Path(path).resolve()
    tables, files, found = _find(path, name, task, arguments)
    return _assemble(tables, task, n_labels, name or found, files)


@dataclass
class _Table:
    """Columns of one file or part; ``unit`` and ``rows`` say how a message names a record."""

    source: str
    columns: dict[str, list]
    rows: Sequence[int]
    stem: str
    unit: str = "row"
    part: str | None = None

    def where(self, i: int) -> str:
        return f"{self.source}: {self.unit} {self.rows[i]}"


_Found = tuple[list[_Table], tuple[Path, ...], str]  # tables, files read, name of the set


def _stem(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).stem


def _listing(names: Iterable, most: int = 12) -> str:
    names = sorted(str(getattr(name, "name", name)) for name in names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) + more) or "nothing"


def _find(path: Path, name: str | None, task: str, arguments: tuple[str, str]) -> _Found:
    """Tell the form of ``path`` and read it."""
    if path.is_dir():
        return _find_in_folder(path, name, task, arguments)
    if path.exists():
        if pair := _PAIR_FILE.fullmatch(path.name):
            return _read_pair(path.parent, pair["name"], task)
        if re.search(r"\.(fa|fasta)(\.gz)?$", path.name):
            raise InputError(f"{path}: found one FASTA file, wanted NAME.positives.fa and .negatives.fa")
        with path.open("rb") as handle:
            hdf5 = handle.read(len(_HDF5_MAGIC)) == _HDF5_MAGIC or path.name.endswith(_HDF5_ENDS)
        reader = _read_hdf5 if hdf5 else _read_csv
        return reader(path, task), (path,), _stem(path)
    if path.parent.is_dir() and path.name in _pairs(path.parent):
        return _read_pair(path.parent, path.name, task)
    raise InputError(f"{arguments[0]}: found no file or folder {path}")


def _find_in_folder(folder: Path, name: str | None, task: str, arguments: tuple[str, str]) -> _Found:
    pairs = _pairs(folder)
    # A set's own folder may hold it both as a pair and as tables; the tables know the parts.
    if name in pairs and not (name == folder.name and _has_tables(folder)):
        return _read_pair(folder, name, task)
    for end in ("", *_TABLE_ENDS, *_HDF5_ENDS) if name else ():
        if (inner := folder / f"{name}{end}").exists():
            return _find(inner, name, task, arguments)
    if _is_arrow(folder):
        return _read_arrow(folder), tuple(sorted(p for p in folder.rglob("*") if p.is_file())), folder.name
    files: dict[str, Path] = {}
    for part, aliases in _PARTS.items():
        found = [file for a in aliases for end in _TABLE_ENDS if (file := folder / f"{a}{end}").exists()]
        if len(found) > 1:
            raise InputError(f"{folder}: found {_listing(found)}, wanted one file for {part}")
        files.update((part, file) for file in found)
    if "train" in files:
        tables = [replace(_read_csv(file, task)[0], part=part) for part, file in files.items()]
        return tables, tuple(files.values()), folder.name
    if len(pairs) == 1 and not name:
        return _read_pair(folder, next(iter(pairs)), task)
    missing = f"nothing called {name!r}" if name else f"no data set that can be told without {arguments[1]}"
    labelled = (name for name, file in _single_files(folder).items() if _is_labelled(file))
    choices = _listing({*_sets_inside(folder), *labelled})
    argument = arguments[1 if name else 0]
    raise InputError(f"{argument}: found {missing} in {folder}, wanted train.csv or a name of: {choices}")


def _pairs(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """FASTA pairs of a folder: name -> side -> files."""
    pairs: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(folder.iterdir()):
        if match := _PAIR_FILE.fullmatch(path.name):
            pairs.setdefault(match["name"], {}).setdefault(match["side"], []).append(path)
    return pairs


def set_names(path: str | PathLike) -> list[str]:
    """Names by which `load_labelled` finds the sets of a folder of sets; none where ``path`` is one set itself."""
    path = Path(path)
    if not path.is_dir() or _has_tables(path):
        return []
    if any((path / name).exists() for name in ("dataset_dict.json", "state.json", "dataset_info.json")):
        return []
    # Beside folders of sets, single files are tables about them.
    return sorted(_sets_inside(path) or _single_files(path))


def _sets_inside(path: Path) -> set[str]:
    """Names of the sets of a folder of sets that are FASTA pairs or folders."""
    folders = (entry for entry in path.iterdir() if entry.is_dir())
    inside = (folder.name for folder in folders if _has_tables(folder) or _is_arrow(folder) or _pairs(folder))
    return {*_pairs(path), *inside}


def _single_files(folder: Path) -> dict[str, Path]:
    """CSV, TSV and HDF5 files of a folder, each of which may be a set, by name without the ending."""
    ends = (*_TABLE_ENDS, *_HDF5_ENDS)
    matches = ((path, end) for path in folder.iterdir() for end in ends if path.name.endswith(end))
    return {path.name.removesuffix(end): path for path, end in matches if not path.name.startswith(".")}


def _is_labelled(path: Path) -> bool:
    """Whether a file of `_single_files` is HDF5, or its first line names columns of sequences and of labels."""
    if path.name.endswith(_HDF5_ENDS):
        return True
    head = ""
    with suppress(InputError), open_text(path) as handle:
        head = next((line for _, line in read_lines(handle, path) if not line.startswith("#")), "")
    columns = {column.strip(' "').lower() for column in re.split("[\t,]", head)}
    return not columns.isdisjoint(("sequence", "seq")) and not columns.isdisjoint(("label", "labels", "label_0"))


def _is_arrow(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _has_tables(folder: Path) -> bool:
    return any((folder / f"train{end}").exists() for end in _TABLE_ENDS)


def _read_pair(folder: Path, name: str, task: str) -> _Found:
    if task != "classification":
        raise InputError(f"{folder / name}: a FASTA pair holds two classes, wanted a table for {task}")
    sides = _pairs(folder)[name]
    for side in ("positives", "negatives"):
        if len(found := sides.get(side, [])) != 1:
            raise InputError(f"{folder}: found {_listing(found)}, wanted one file {name}.{side}.fa")
    files = (sides["positives"][0], sides["negatives"][0])
    return [_fasta_table(file, label) for file, label in zip(files, (1, 0))], files, name


def _fasta_table(path: Path, label: int) -> _Table:
    records = list(read_fasta(path))
    headers, sequences = map(list, zip(*records))
    regions = [parse_region(header) for header in headers]
    for (header, sequence), region in zip(records, regions):
        if region:
            hint = " (0-based half-open; these look 1-based)"
            check_span(region, len(sequence), f"{path}: record {header}", hint)
    columns = {"sequence": sequences, "label": [label] * len(records), "id": headers}
    if all(regions):
        columns.update(zip(_COORDINATES, map(list, zip(*regions))))
    return _Table(str(path), columns, range(1, len(records) + 1), _stem(path), unit="record")


def _read_csv(path: Path, task: str) -> list[_Table]:
    columns, rows = read_table(path)
    return [_Table(str(path), columns, rows, _stem(path))]


def _read_arrow(folder: Path) -> list[_Table]:
    from datasets import DatasetDict, load_from_disk

    try:
        loaded = load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder}: cannot be loaded as a Hugging Face data set: {error}") from None
    tables = []
    for key, data in loaded.items() if isinstance(loaded, DatasetDict) else [(None, loaded)]:
        source = f"{folder}: {key}" if key else str(folder)
        if key and key not in _PART_OF:
            raise InputError(f"{source}: found a part of this name, wanted one of {_listing(_PART_OF)}")
        if not len(data):
            raise InputError(f"{source}: found no records")
        columns = {column.lower(): list(data[column]) for column in data.column_names}
        tables.append(_Table(source, columns, range(len(data)), key or folder.name, "index", _PART_OF.get(key)))
    if not tables:
        raise InputError(f"{folder}: found a Hugging Face data set without parts")
    return tables


def _read_hdf5(path: Path, task: str) -> list[_Table]:
    import h5py

    tables, parts = [], {}
    try:
        source = io.BytesIO(gzip.decompress(path.read_bytes())) if path.name.endswith(".gz") else path
        with h5py.File(source, "r") as file:
            for key in file:
                if key.startswith("X_") and (part := _PART_OF.get(key[2:].lower())):
                    if part in parts:
                        raise InputError(f"{path}: found {parts[part]} and {key}, wanted one of them")
                    parts[part] = key
            if "train" not in parts:
                raise InputError(f"{path}: found {_listing(file)}, wanted X_train and Y_train")
            for part in (part for part in _PARTS if part in parts):
                x, y = parts[part], f"Y{parts[part][1:]}"
                for key in (x, y):
                    if key in file and not (isinstance(file[key], h5py.Dataset) and file[key].ndim):
                        raise InputError(f"{path}: {key}: wanted an array, found a group or a single value")
                sizes = [len(file[key]) if key in file else 0 for key in (x, y)]
                if not sizes[0] or sizes[0] != sizes[1]:
                    raise InputError(f"{path}: found {sizes[0]} records in {x} and {sizes[1]} labels in {y}")
                columns = {"sequence": decode_one_hot(file[x], f"{path}: {x}")}
                columns |= _label_columns(file[y][()], f"{path}: {y}", task)
                names = f"{path}: {y}", columns, range(sizes[0]), f"{_stem(path)}:{part}"
                tables.append(_Table(*names, "index", part))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as HDF5: {error}") from None
    return tables


def _label_columns(labels: np.ndarray, source: str, task: str) -> dict[str, list]:
    """The label column of an array: (n,) or (n, 1), one-hot classes (n, k), or multi-label (n, k)."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    elif labels.ndim == 2 and task == "classification" and ((labels == 0) | (labels == 1)).all():
        labels = labels.argmax(axis=1) if (labels.sum(axis=1) == 1).all() else labels
    if labels.ndim != (2 if task == "multilabel" else 1):
        raise InputError(f"{source}: found shape {labels.shape}, wanted (n,) or (n, --nlabels)")
    return {"label": labels.tolist()}


def _numbers(table: _Table, column: str, wanted: str, valid: Callable) -> np.ndarray:
    """A column as finite float64 (n,); an error names the first value that is none, or is not ``valid``."""
    values = table.columns[column]
    numbers = np.full(len(values), np.nan)
    # What follows a value that is no number stays NaN, so the first NaN is the one to name.
    with suppress(ValueError, TypeError):
        for i, value in enumerate(values):
            numbers[i] = value
    good = np.isfinite(numbers) & valid(numbers)
    if not good.all():
        i = int(np.argmin(good))
        found = str(values[i]).strip() or "nothing"
        raise InputError(f"{table.where(i)}: column {column}: found {found}, wanted {wanted}")
    return numbers


def _labels(table: _Table, task: str, n_labels: int) -> np.ndarray:
    if task == "regression":
        in_float32 = np.finfo(np.float32).max
        return _numbers(table, "label", "a finite number", lambda x: abs(x) <= in_float32).astype(np.float32)
    if task == "classification":
        wanted = "0 or 1" if n_labels == 2 else f"a whole number from 0 to {n_labels - 1}"
        return _numbers(table, "label", wanted, lambda x: (x >= 0) & (x < n_labels) & (x == np.floor(x))).astype(
            np.int64
        )
    columns = table.columns
    if "label" in columns:
        rows = [value.split(";") if isinstance(value, str) else value for value in columns["label"]]
        for i, row in enumerate(rows):
            if not hasattr(row, "__len__") or len(row) != n_labels:
                wanted = f"wanted {n_labels} values joined by ';'"
                raise InputError(f"{table.where(i)}: column label: found {columns['label'][i]}, {wanted}")
        table.columns = columns = {f"label_{k}": column for k, column in enumerate(zip(*rows))}
    names = [f"label_{k}" for k in range(n_labels)]
    found = {column for column in columns if re.fullmatch(r"label_\d+", column)}
    if found != set(names):
        raise InputError(f"{table.source}: found columns {_listing(found)}, wanted {_listing(names)}")
    arrays = [_numbers(table, name, "0 or 1", lambda x: np.isin(x, (0, 1))) for name in names]
    return np.stack(arrays, axis=1).astype(np.int64)


def _coordinates(table: _Table, lengths: list[int]) -> dict[str, np.ndarray]:
    """The coordinate columns that a table has, checked."""
    arrays: dict[str, np.ndarray] = {}
    for column, form, wanted in (("chrom", r"\S+", "a name"), ("strand", r"[+.-]", "+, - or .")):
        values = [str(value or "").strip() for value in table.columns.get(column, ())]
        bad = next((i for i, value in enumerate(values) if not re.fullmatch(form, value)), None)
        if bad is not None:
            found = values[bad] or "nothing"
            raise InputError(f"{table.where(bad)}: column {column}: found {found}, wanted {wanted}")
        if values:
            arrays[column] = np.array(values)
    for column in ("start", "end") if {"start", "end"} <= table.columns.keys() else ():
        whole = _numbers(table, column, "a whole number from 0", lambda x: (x >= 0) & (x < 2**53) & (x == np.floor(x)))
        arrays[column] = whole.astype(np.int64)
    if "start" in arrays:
        span = arrays["end"] - arrays["start"]
        if (span <= 0).any():
            i = int(np.argmax(span <= 0))
            found = f"found {arrays['start'][i]} and {arrays['end'][i]}"
            raise InputError(f"{table.where(i)}: columns start and end: {found}, wanted start < end")
        # Spliced windows, or windows around a narrower peak, are legitimate: a warning and no error.
        if differs := int((span != lengths).sum()):
            logger.warning("%s: in %d records end - start is not the length", table.source, differs)
    return arrays


def _assemble(tables: list[_Table], task: str, n_labels: int, name: str, files: tuple) -> LabelledSet:
    """Check all tables and join them into one set."""
    sequences, ids, labels, coordinates = [], [], [], []
    for table in tables:
        columns = table.columns
        for alias in _ALIASES.keys() & columns.keys():
            columns.setdefault(_ALIASES[alias], columns[alias])
        labelled = "label" in columns or (task == "multilabel" and "label_0" in columns)
        if "sequence" not in columns or not labelled:
            found = _listing(columns)
            raise InputError(f"{table.source}: found columns {found}, wanted sequence (or seq) and label")
        own = columns["sequence"]
        if table.unit != "record":  # FASTA has been normalized as it was read
            own = [normalize_sequence(str(s or ""), record=table.where(i)) for i, s in enumerate(own)]
        defaults = [f"{table.stem}:{row}" for row in table.rows]
        ids.extend(str(value or default) for value, default in zip(columns.get("id", defaults), defaults))
        labels.append(_labels(table, task, n_labels))
        coordinates.append(_coordinates(table, [len(sequence) for sequence in own]))
        sequences.extend(own)
    kept = set.intersection(*(set(arrays) for arrays in coordinates))
    if dropped := set.union(*(set(arrays) for arrays in coordinates)) - kept:
        logger.warning("%s: %s is missing from a part and not used", name, _listing(dropped))
    joined = {key: np.concatenate([arrays[key] for arrays in coordinates]) for key in kept}
    if tables[0].part:
        joined["split"] = np.repeat([table.part for table in tables], [len(table.rows) for table in tables])
    return LabelledSet(sequences, np.concatenate(labels), ids, name=name, files=files, **joined)
