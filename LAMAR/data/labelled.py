"""Labelled data sets: one reader for every form in which sequences with labels come.

Each form is read into tables of columns (`LAMAR.data.labelled_files`), whose sequences, labels and coordinates are then
checked in one way. Coordinates are 0-based and half-open.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import InputError, counted, excerpt, quoted
from ..tasks import TASKS
from .labelled_files import ALIASES, COORDINATES, Table, find, listing, set_names
from .sequences import is_missing, normalize_sequence
from .text_files import is_plain_number

__all__ = ["LabelledSet", "load_labelled", "set_names"]

logger = logging.getLogger(__name__)

_CHOSEN = {"sequence_column": "sequence", "label_column": "label"}
_FLAGS = {"true": 1, "false": 0}
_LABEL_K = re.compile(r"label_\d+")


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Sequences with labels, and further columns of their source.

    Attributes
    ----------
    sequences : list of str, length n
        Letters of ``ACGTN``.
    labels : ndarray
        int64 (n,) for classification, float32 (n,) for regression, int64 (n, n_labels) for multi-label.
    ids : list of str, length n
        FASTA header, ``id`` column, or ``<file>:<row>`` (header row = 1); for messages and result tables.
    name : str
        Name of the set.
    split : ndarray of str, shape (n,), optional
        ``train``, ``dev`` or ``test``, if the source names parts.
    chrom, start, end, strand : ndarray, shape (n,), optional
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
        for key in ("labels", "ids", "split", *COORDINATES):
            if (value := getattr(self, key)) is not None and len(value) != len(self.sequences):
                raise ValueError(f"{key} has {len(value)} entries for {len(self.sequences)} sequences")

    def __len__(self) -> int:
        return len(self.sequences)

    def take(self, indices: Sequence[int] | np.ndarray) -> LabelledSet:
        """Return the records at ``indices`` (int, any order, repeats allowed) as a new set."""
        indices = np.asarray(indices, dtype=np.int64)
        arrays = {key: getattr(self, key) for key in ("labels", "split", *COORDINATES)}
        return replace(
            self,
            sequences=[self.sequences[i] for i in indices],
            ids=[self.ids[i] for i in indices],
            **{key: value if value is None else value[indices] for key, value in arrays.items()},
        )

    def digest(self) -> str:
        """Return the SHA-256 (hex) of sequences and labels in their order, without names and coordinates."""
        digest = hashlib.sha256("\n".join(self.sequences).encode())
        digest.update(f"\n{self.labels.dtype.kind}{self.labels.shape}\n".encode())
        digest.update(self.labels.astype(self.labels.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()


def load_labelled(
    path: str | PathLike,
    *,
    name: str | None = None,
    task: str = "classification",
    nlabels: int = 2,
    sequence_column: str | None = None,
    label_column: str | None = None,
    arguments: tuple[str, str] = ("`path`", "`name`"),
) -> LabelledSet:
    """Read a labelled data set in any of its forms, gzipped or plain.

    Parameters
    ----------
    path : path
        One of these forms:

        - a folder with ``train.csv``, ``dev.csv`` (or ``validation``, ``valid``, ``val``) and ``test.csv``,
          or TSV; dev and test may be absent;
        - a folder with ``<name>.positives.fa`` and ``<name>.negatives.fa``, one of these two files, or their
          common prefix ``folder/<name>``; tables of parts in a folder of that name take precedence. A pair for each
          part is called ``<name>.train.positives.fa``, ``<name>.test.positives.fa`` ...;
        - one CSV or TSV file;
        - a folder written by Hugging Face ``save_to_disk``;
        - an HDF5 file with ``X_train``, ``Y_train``, ``X_valid`` (or ``dev``, ``val``, ``validation``),
          ``X_test`` ..., one-hot as `LAMAR.data.one_hot.decode_one_hot` reads it;
        - a folder of ``make_track_dataset.py``, of which ``name`` is one track: windows that it binds, and those that
          it does not; windows whose label is unknown are left out;
        - a folder that holds a folder, CSV, TSV or HDF5 file called ``name`` in one of these forms.

        Tables have columns ``sequence`` or ``seq`` and ``label`` or ``labels`` (multi-label: ``0;1;0``, or
        ``label_0``, ``label_1`` ...; yes/no labels may be TRUE and FALSE), and optionally ``id``, ``chrom``,
        ``start``, ``end``, ``strand``. Lines that start with ``#`` above the header are comments. Parts stay as given.
    name : str, optional
        Name of the data set, if the folder holds several; takes precedence over files of the folder itself.
    task : {"classification", "regression", "multilabel"}
        Kind of labels.
    nlabels : int
        Number of classes (classification) or of labels (multi-label).
    sequence_column, label_column : str, optional
        Columns of tables that have other names; upper and lower case do not differ. For multi-label, ``label_column``
        y stands for ``y_0``, ``y_1`` ... too.
    arguments : (str, str)
        What the caller calls ``path`` and ``name``, for messages.

    Returns
    -------
    LabelledSet

    Raises
    ------
    InputError
        If there is no such set, or a record is malformed; names the file and the row (header = row 1), FASTA record or
        array index (from 0), what was found and what was wanted.
    """
    TASKS.choose(task, "task")
    if task == "classification" and nlabels < 2:
        raise InputError(f"`nlabels`: found {nlabels}, wanted at least 2 classes for classification")
    # "." and ".." are no names to call the set by.
    path = Path(path) if Path(path).name not in ("", "..") else Path(path).resolve()
    tables, files, default_name = find(path, name, task, arguments)
    for table in tables:
        _choose_columns(table, task, {"sequence_column": sequence_column, "label_column": label_column})
    return _assemble(tables, task, nlabels, name or default_name, files)


def _renamed(given: str, name: str, columns: Mapping[str, list], task: str) -> dict[str, str]:
    """Return the columns that a user's name for ``name`` stands for, each with the name that it gets."""
    found = given.strip().lower()
    if found in columns or name != "label" or task != "multilabel":
        return {found: name} if found in columns else {}
    pattern = re.compile(rf"{re.escape(found)}(_\d+)")
    return {column: f"label{match[1]}" for column in columns if (match := pattern.fullmatch(column))}


def _choose_columns(table: Table, task: str, chosen: Mapping[str, str | None]) -> None:
    """Give the columns of sequences and labels their names; refuse a table without them.

    ``chosen`` holds the names that a user gives, by parameter: those in `_CHOSEN`.
    """
    columns, written = table.columns, table.written
    in_file = listing(written.values(), in_order=True)
    for parameter, name in _CHOSEN.items():
        given = chosen[parameter]
        if given is None:
            continue
        if not written:
            raise InputError(f"`{parameter}`: found {quoted(given)} for {table.source}, wanted it with tables only")
        renamed = _renamed(given, name, columns, task)
        if not renamed:
            raise InputError(f"`{parameter}`: found no {quoted(given)} in {table.source}, wanted one of {in_file}")
        others = [c for c in columns if _LABEL_K.fullmatch(c) and c not in renamed] if name == "label" else []
        for other in others:
            del columns[other]
        columns.update({new: columns[old] for old, new in renamed.items()})
        written.update({new: written[old] for old, new in renamed.items()})
    for alias, name in ALIASES.items():
        if alias in columns and name not in columns:
            columns[name], written[name] = columns[alias], written.get(alias, alias)
    if "sequence" not in columns or not ("label" in columns or (task == "multilabel" and "label_0" in columns)):
        labels = "label or labels, or label_0, label_1 ..." if task == "multilabel" else "label or labels"
        wanted = f"wanted sequence (or seq) and {labels}; `sequence_column` and `label_column` name others"
        raise InputError(f"{table.source}: found columns {in_file}, {wanted}")


def _numbers(table: Table, column: str, wanted: str, valid: Callable, flags: bool = False) -> np.ndarray:
    """Return a column as finite float64 (n,); refuse the first value that is not a number, or not ``valid``.

    With ``flags``, TRUE and FALSE in upper or lower case are 1 and 0.
    """
    values = table.columns[column]
    if flags:
        values = [_FLAGS.get(value.strip().lower(), value) if isinstance(value, str) else value for value in values]
    numbers = np.full(len(values), np.nan)
    # Values after one that is not a number stay NaN, so that the first NaN is the one to report.
    with suppress(ValueError, TypeError):
        for i, value in enumerate(values):
            if not isinstance(value, str) or is_plain_number(value):
                numbers[i] = value
    good = np.isfinite(numbers) & valid(numbers)
    if not good.all():
        i = int(np.argmin(good))
        found = excerpt(values[i]) or "nothing"
        raise InputError(f"{table.where(i)}: column {table.name_of(column)}: found {found}, wanted {wanted}")
    return numbers


def _labels(table: Table, task: str, nlabels: int) -> np.ndarray:
    if task == "regression":
        in_float32 = np.finfo(np.float32).max
        return _numbers(table, "label", "a finite number", lambda x: abs(x) <= in_float32).astype(np.float32)
    if task == "classification":
        wanted = "0 or 1" if nlabels == 2 else f"a whole number from 0 to {nlabels - 1}"
        classes = _numbers(
            table, "label", wanted, lambda x: (x >= 0) & (x < nlabels) & (x == np.floor(x)), nlabels == 2
        )
        return classes.astype(np.int64)
    columns = table.columns
    if "label" in columns:
        rows = [value.split(";") if isinstance(value, str) else value for value in columns["label"]]
        for i, row in enumerate(rows):
            if not hasattr(row, "__len__") or len(row) != nlabels:
                wanted = f"wanted {nlabels} values joined by ';'"
                found = excerpt(columns["label"][i]) or "nothing"
                raise InputError(f"{table.where(i)}: column {table.name_of('label')}: found {found}, {wanted}")
        columns = {name: column for name, column in columns.items() if not _LABEL_K.fullmatch(name)}
        table.columns = columns = columns | {f"label_{k}": column for k, column in enumerate(zip(*rows))}
    names = [f"label_{k}" for k in range(nlabels)]
    present = {column for column in columns if _LABEL_K.fullmatch(column)}
    if present != set(names):
        found = listing(map(table.name_of, present))
        raise InputError(f"{table.source}: found columns {found}, wanted {listing(names)}")
    arrays = [_numbers(table, name, "0 or 1", lambda x: np.isin(x, (0, 1)), True) for name in names]
    return np.stack(arrays, axis=1).astype(np.int64)


def _text(value) -> str:
    """Return a cell as text: a chromosome in an Arrow column of floats is ``8`` and not ``8.0``."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _coordinates(table: Table, lengths: list[int]) -> dict[str, np.ndarray]:
    """Return the coordinate columns that a table has, checked."""
    arrays: dict[str, np.ndarray] = {}
    for column, form, wanted in (("chrom", r"\S+", "a name"), ("strand", r"[+.-]", "+, - or .")):
        values = ["" if is_missing(value) else _text(value) for value in table.columns.get(column, ())]
        bad = next((i for i, value in enumerate(values) if not re.fullmatch(form, value)), None)
        if bad is not None:
            found = excerpt(values[bad] or table.columns[column][bad] or "") or "nothing"
            raise InputError(f"{table.where(bad)}: column {table.name_of(column)}: found {found}, wanted {wanted}")
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
            names = f"{table.name_of('start')} and {table.name_of('end')}"
            raise InputError(f"{table.where(i)}: columns {names}: {found}, wanted start < end")
        # Spliced windows, or windows around a narrower peak, are legitimate: a warning, not an error.
        if differs := int((span != lengths).sum()):
            logger.warning("%s: in %s end - start is not the length", table.source, counted(differs, "record"))
    return arrays


def _assemble(tables: list[Table], task: str, nlabels: int, name: str, files: tuple) -> LabelledSet:
    """Check all tables and join them into one set."""
    sequences, ids, labels, coordinates = [], [], [], []
    for table in tables:
        columns = table.columns
        letters = columns["sequence"]
        if table.unit != "record":  # FASTA is normalized while it is read
            letters = [normalize_sequence(text, record=table.where(i)) for i, text in enumerate(letters)]
        defaults = [f"{table.stem}:{row}" for row in table.rows]
        names = zip(columns.get("id", defaults), defaults)
        ids.extend(default if is_missing(value) else str(value) for value, default in names)
        labels.append(_labels(table, task, nlabels))
        coordinates.append(_coordinates(table, [len(sequence) for sequence in letters]))
        sequences.extend(letters)
    kept = set.intersection(*(set(arrays) for arrays in coordinates))
    if dropped := set.union(*(set(arrays) for arrays in coordinates)) - kept:
        logger.warning("%s: %s is missing from a part and not used", name, listing(dropped))
    joined = {key: np.concatenate([arrays[key] for arrays in coordinates]) for key in kept}
    if tables[0].part:
        joined["split"] = np.repeat([table.part for table in tables], [len(table.rows) for table in tables])
    return LabelledSet(sequences, np.concatenate(labels), ids, name=name, files=files, **joined)
