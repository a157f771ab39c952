"""Labelled sets in HDF5 files: one-hot arrays and labels of each part.

A file may declare more than it holds, and may point to other files. Arrays are therefore found without following links
out of the file, and their type and size are checked before they are read.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..memory_limits import memory_limit
from .labelled_files import PART_OF, PARTS, Table, listing, stem_of
from .one_hot import decode_one_hot

__all__ = ["read_hdf5"]

_MOST_LINKS = 8  # one after the other
# Nothing expands further: deflate, the usual filter, at most 1032-fold.
_EXPANSION = 2000
_FREE_BYTES = 2**26  # below this, sizes are not compared
_NUMBERS = "biuf"  # kinds of dtypes
# What h5py raises for damaged files, besides OSError: whatever the bytes happen to spell.
_DAMAGE = (
    OSError,
    EOFError,
    zlib.error,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    MemoryError,
)


def read_hdf5(path: Path, task: str) -> list[Table]:
    """Return the parts of an HDF5 file, gzipped or plain, as tables of sequences and labels.

    Parameters
    ----------
    path : Path
        File with ``X_train``, ``Y_train`` ...; X as `LAMAR.data.one_hot.decode_one_hot` reads it, Y numbers (n,),
        (n, 1) or (n, k).
    task : str
        A key of `LAMAR.tasks.TASKS`.

    Raises
    ------
    InputError
        The file is damaged, an array is missing, of another type or shape, larger than the file can hold, or lies in
        another file.
    """
    with _damage_named(path), _opened(path) as file:
        parts = _parts(path, file)
        arrays = {part: [_array(path, file, key) for key in keys] for part, keys in parts.items()}
        for part, (x, y) in arrays.items():
            if not len(x) or len(x) != len(y):
                found = f"{len(x)} records in {parts[part][0]} and {len(y)} labels in {parts[part][1]}"
                raise InputError(f"{path}: found {found}")
        return [_table(path, task, part, parts[part], *arrays[part]) for part in parts]


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{path}: cannot be read as HDF5: {error or type(error).__name__}") from None


def _opened(path: Path):
    import h5py

    return h5py.File(io.BytesIO(gzip.decompress(path.read_bytes())) if path.name.endswith(".gz") else path, "r")


def _parts(path: Path, file) -> dict[str, tuple[str, str]]:
    """Return the names of a part's sequences and labels, by part in their order."""
    parts: dict[str, str] = {}
    for key in file:
        if key.startswith("X_") and (part := PART_OF.get(key[2:].lower())):
            if part in parts:
                raise InputError(f"{path}: found {parts[part]} and {key}, wanted one of them")
            parts[part] = key
    if "train" not in parts:
        raise InputError(f"{path}: found {listing(file)}, wanted X_train and Y_train")
    return {part: (parts[part], f"Y{parts[part][1:]}") for part in PARTS if part in parts}


def _array(path: Path, file, key: str):
    """Return a data set of the file itself that can be read: numbers, no larger than what is stored may expand to."""
    import h5py

    name, where = key, f"{path}: {key}"
    for _ in range(_MOST_LINKS):
        link = file.get(name, getlink=True)
        if link is None:
            return np.empty(0)  # reported with the number of records beside it
        if not isinstance(link, h5py.SoftLink):
            break
        name = link.path.removeprefix("/")
        if "/" in name or name not in file:
            raise InputError(f"{where}: found a link to {link.path}, wanted an array")
    if not isinstance(link, h5py.HardLink):
        raise InputError(f"{where}: found a link out of the file or in a circle, wanted an array")
    array = file[name]
    if not isinstance(array, h5py.Dataset) or not array.shape:
        raise InputError(f"{where}: wanted an array, found a group or a single value")
    if array.dtype.kind not in _NUMBERS:
        raise InputError(f"{where}: found type {array.dtype}, wanted numbers")
    if array.external or array.is_virtual:
        raise InputError(f"{where}: found values in other files, wanted them in this one")
    _check_size(where, array)
    return array


def _check_size(where: str, array) -> None:
    item = array.dtype.itemsize
    declared = max(math.prod(array.shape), math.prod(array.chunks or (0,))) * item
    stored = array.id.get_storage_size()
    most = max(_FREE_BYTES, _EXPANSION * stored)
    # Sequences take a byte for each position, four values.
    limit = memory_limit()
    if declared > most or (limit is not None and declared > 4 * item * limit):
        shape = " x ".join(map(str, array.shape))
        raise InputError(f"{where}: declares {shape} values of {item} bytes, but {stored} bytes are stored")


def _table(path: Path, task: str, part: str, keys: tuple[str, str], x, y) -> Table:
    columns = {"sequence": decode_one_hot(x, f"{path}: {keys[0]}")}
    columns |= _label_columns(y[()], f"{path}: {keys[1]}", task)
    return Table(f"{path}: {keys[1]}", columns, range(len(x)), f"{stem_of(path)}:{part}", "index", part)


def _label_columns(labels: np.ndarray, source: str, task: str) -> dict[str, list]:
    """Return the label column of an array: (n,) or (n, 1), one-hot classes (n, k), or multi-label (n, k)."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    elif labels.ndim == 2 and task == "classification" and ((labels == 0) | (labels == 1)).all():
        labels = labels.argmax(axis=1) if (labels.sum(axis=1) == 1).all() else labels
    if labels.ndim != (2 if task == "multilabel" else 1):
        raise InputError(f"{source}: found shape {labels.shape}, wanted (n,) or (n, `nlabels`)")
    return {"label": labels.tolist()}
