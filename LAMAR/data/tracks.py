"""Windows labelled for many tracks at once: which RBPs bind each window, which do not, and which are unknown.

A track is one RBP in one cell line, such as ``QKI_K562``. A folder of such a data set has two files:

``windows.parquet``
    One row per window: chrom, start, end (0-based, half-open), strand, sequence (5' to 3' on the strand), part
    (``train``, ``dev``, ``test``), kind (``site``, ``background``), bound and unknown (lists of track ids). A track in
    neither list does not bind the window.
``tracks.tsv``
    One row per track, in the order of their ids: id, track (its name), target, cell, accession (several joined by
    ``;``), n_peaks, and the number of windows bound and unknown in each part.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, quoted
from ..runs.storage import atomic_write, require_files
from ..statistics.track_metrics import UNKNOWN
from .sequences import is_missing
from .text_files import read_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KINDS", "PARTS", "TRACKS", "WINDOWS", "IdLists", "TrackSet", "read_track_set", "write_track_set"]

PARTS = ("train", "dev", "test")
KINDS = ("site", "background")
WINDOWS, TRACKS = "windows.parquet", "tracks.tsv"
_TEXTS = ("chrom", "strand", "sequence", "part", "kind")
_COORDINATES = ("start", "end")
_LISTS = ("bound", "unknown")
_COLUMNS = ("chrom", "start", "end", "strand", "sequence", "part", "kind", *_LISTS)
_ROWS_AT_ONCE = 65_536  # of a row group


@dataclass(frozen=True, eq=False)
class IdLists:
    """One list of track ids per window, stored one after the other.

    Attributes
    ----------
    ids : numpy.ndarray of int32, shape (total,)
        Ids of all windows; ascending and without repeats within a window.
    offsets : numpy.ndarray of int64, shape (n + 1,)
        Window i has ``ids[offsets[i]:offsets[i + 1]]``.
    """

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_pairs(cls, rows: np.ndarray, ids: np.ndarray, n: int) -> IdLists:
        """Return the lists of ``n`` windows from pairs of a window and an id.

        Parameters
        ----------
        rows, ids : numpy.ndarray of int64, shape (m,)
            Pairs in any order; repeats are allowed.
        n : int
            Number of windows.
        """
        width = int(ids.max(initial=0)) + 1
        key = np.unique(rows.astype(np.int64) * width + ids)
        rows, ids = np.divmod(key, width)
        offsets = np.zeros(n + 1, dtype=np.int64)
        np.cumsum(np.bincount(rows, minlength=n), out=offsets[1:])
        return cls(ids.astype(np.int32), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Return the number of ids of each window; int64, shape (n,)."""
        return np.diff(self.offsets)

    def pairs(self, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the pairs of a position in ``rows`` and an id of that window.

        Parameters
        ----------
        rows : numpy.ndarray of int64, shape (m,), optional
            Windows, in any order; default all.

        Returns
        -------
        positions : numpy.ndarray of int64, shape (n_pairs,)
            Positions in ``rows``, ascending.
        ids : numpy.ndarray of int32, shape (n_pairs,)
        """
        if rows is None:
            return np.repeat(np.arange(len(self)), self.lengths), self.ids
        rows = np.asarray(rows, dtype=np.int64)
        first, lengths = self.offsets[rows], self.lengths[rows]
        place = np.arange(lengths.sum()) + np.repeat(first - (np.cumsum(lengths) - lengths), lengths)
        return np.repeat(np.arange(len(rows)), lengths), self.ids[place]

    def take(self, rows: np.ndarray) -> IdLists:
        """Return the lists of the windows at ``rows`` (int64, shape (m,), any order)."""
        _, ids = self.pairs(rows)
        return IdLists(ids, np.concatenate([[0], np.cumsum(self.lengths[np.asarray(rows, dtype=np.int64)])]))

    def renumbered(self, new_ids: np.ndarray) -> IdLists:
        """Return lists with ``new_ids[id]`` in place of each id; ids for which that is -1 are left out.

        Parameters
        ----------
        new_ids : numpy.ndarray of int64, shape (n_tracks,)
            Ascending, apart from -1.
        """
        rows, ids = self.pairs()
        ids = new_ids[ids]
        kept = ids >= 0
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows[kept], minlength=len(self)))])
        return IdLists(ids[kept].astype(np.int32), offsets.astype(np.int64))


@dataclass(frozen=True, eq=False)
class TrackSet:
    """Windows, the tracks that they are labelled for, and the labels.

    Attributes
    ----------
    windows : pandas.DataFrame, n rows, index 0 to n - 1
        chrom, start, end (int64; 0-based, half-open), strand, sequence (letters of ``ACGTN``), part, kind.
    tracks : pandas.DataFrame, n_tracks rows
        id (0 to n_tracks - 1), track, target, cell, accession and further columns of ``tracks.tsv``.
    bound, unknown : IdLists of n windows
        Tracks that bind a window, and tracks whose label there is unknown; no id is in both lists of a window.
    """

    windows: pd.DataFrame
    tracks: pd.DataFrame
    bound: IdLists
    unknown: IdLists

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def names(self) -> list[str]:
        """Return the names of the tracks, in the order of their ids."""
        return self.tracks["track"].tolist()

    @property
    def sequences(self) -> list[str]:
        """Return the sequences of all windows."""
        return self.windows["sequence"].tolist()

    def rows(self, part: str, kind: str | None = None) -> np.ndarray:
        """Return the windows of a part, and of a kind where one is named; int64, shape (m,), ascending.

        Raises
        ------
        ValueError
            For a part that is not in `PARTS`, or a kind that is not in `KINDS`.
        """
        if part not in PARTS or kind not in (None, *KINDS):
            raise ValueError(
                f"`part`, `kind`: found {part!r} and {kind!r}, wanted one of {PARTS} and of {KINDS} or None"
            )
        chosen = self.windows["part"].eq(part)
        if kind is not None:
            chosen &= self.windows["kind"].eq(kind)
        return np.flatnonzero(chosen.to_numpy())

    def labels(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return dense labels and mask of some windows.

        Parameters
        ----------
        rows : numpy.ndarray of int64, shape (m,)
            Windows, in any order.

        Returns
        -------
        labels : numpy.ndarray of float32, shape (m, n_tracks)
            1 where the track binds the window, else 0.
        mask : numpy.ndarray of float32, shape (m, n_tracks)
            1 where the label is known, 0 where it is unknown.
        """
        shape = len(rows), len(self.tracks)
        labels, mask = np.zeros(shape, dtype=np.float32), np.ones(shape, dtype=np.float32)
        labels[self.bound.pairs(rows)] = 1
        mask[self.unknown.pairs(rows)] = 0
        return labels, mask

    def coded_labels(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Return labels and mask of some windows, or of all, in one dense array.

        Returns
        -------
        numpy.ndarray of int8, shape (m, n_tracks)
            1 where the track binds the window, 0 where it does not, `LAMAR.statistics.track_metrics.UNKNOWN` where that
            is not known.
        """
        labels = np.zeros((len(self) if rows is None else len(rows), len(self.tracks)), dtype=np.int8)
        labels[self.bound.pairs(rows)] = 1
        labels[self.unknown.pairs(rows)] = UNKNOWN
        return labels

    def counts(self, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of bound and of unknown windows of each track, among ``rows`` or all.

        Returns
        -------
        bound, unknown : numpy.ndarray of int64, shape (n_tracks,)
        """
        return tuple(
            np.bincount(lists.pairs(rows)[1], minlength=len(self.tracks)) for lists in (self.bound, self.unknown)
        )

    def take(self, rows: np.ndarray) -> TrackSet:
        """Return the set of the windows at ``rows`` (int64, shape (m,), any order)."""
        windows = self.windows.iloc[rows].reset_index(drop=True)
        return replace(self, windows=windows, bound=self.bound.take(rows), unknown=self.unknown.take(rows))

    def select_tracks(self, ids: Sequence[int] | np.ndarray) -> TrackSet:
        """Return the set with the tracks of these ids only, renumbered from 0; windows without a label remain.

        Parameters
        ----------
        ids : sequence of int
            Ascending.

        Raises
        ------
        ValueError
            For ids that do not ascend or do not exist.
        """
        ids = np.asarray(ids, dtype=np.int64)
        if (np.diff(ids) <= 0).any() or (len(ids) and (ids[0] < 0 or ids[-1] >= len(self.tracks))):
            raise ValueError(f"`ids`: wanted ascending ids from 0 to {len(self.tracks) - 1}")
        new_ids = np.full(len(self.tracks), -1, dtype=np.int64)
        new_ids[ids] = np.arange(len(ids))
        tracks = self.tracks.iloc[ids].reset_index(drop=True)
        tracks["id"] = np.arange(len(ids))
        bound, unknown = self.bound.renumbered(new_ids), self.unknown.renumbered(new_ids)
        return replace(self, tracks=tracks, bound=bound, unknown=unknown)

    def with_part_counts(self) -> TrackSet:
        """Return the set with columns ``train_bound``, ``train_unknown``, ``dev_bound`` ... of its tracks recounted."""
        columns = {}
        for part in PARTS:
            columns[f"{part}_bound"], columns[f"{part}_unknown"] = self.counts(self.rows(part))
        return replace(self, tracks=self.tracks.assign(**columns))


def write_track_set(folder: str | PathLike, data: TrackSet) -> None:
    """Write ``windows.parquet`` and ``tracks.tsv`` into a folder that exists, each atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {name: pa.array(data.windows[name].to_numpy(object), pa.string()) for name in _TEXTS}
    arrays |= {name: pa.array(data.windows[name].to_numpy(np.int64)) for name in _COORDINATES}
    for name in _LISTS:
        lists = getattr(data, name)
        # Arrow's offsets are int32: up to 2**31 ids in all.
        arrays[name] = pa.ListArray.from_arrays(pa.array(lists.offsets, pa.int32()), pa.array(lists.ids, pa.int32()))
    table = pa.table({name: arrays[name] for name in _COLUMNS})
    with atomic_write(Path(folder, WINDOWS), "wb") as handle:
        pq.write_table(table, handle, compression="zstd", row_group_size=_ROWS_AT_ONCE)
    with atomic_write(Path(folder, TRACKS)) as handle:
        data.tracks.to_csv(handle, sep="\t", index=False, lineterminator="\n")


def read_track_set(folder: str | PathLike) -> TrackSet:
    """Read and check a folder that `write_track_set` wrote.

    Raises
    ------
    InputError
        For a file or column that is missing, ids out of order, two tracks of one name, a label of a track that
        ``tracks.tsv`` does not list, a track both bound and unknown, or an unknown part or kind. The message names the
        file and the row.
    """
    folder = Path(folder)
    require_files([folder / WINDOWS, folder / TRACKS])
    tracks = _read_tracks(folder / TRACKS)
    windows, bound, unknown = _read_windows(folder / WINDOWS)
    data = TrackSet(windows, tracks, bound, unknown)
    _check(folder / WINDOWS, data)
    return data


def _read_tracks(path: Path) -> pd.DataFrame:
    import pandas as pd

    columns, rows = read_table(path)
    if missing := [name for name in ("id", "track", "target", "cell") if name not in columns]:
        raise InputError(f"{path}: row 1: found no column {missing[0]!r}, wanted id, track, target and cell")
    for number, (row, text) in enumerate(zip(rows, columns["id"])):
        if text != str(number):
            raise InputError(f"{path}: row {row}: column id: found {text[:40]!r}, wanted {number}")
    tracks = pd.DataFrame(columns)
    twice = tracks["track"].duplicated().to_numpy()
    if twice.any():
        i = int(np.argmax(twice))
        raise InputError(f"{path}: row {rows[i]}: found track {quoted(tracks['track'][i])} a second time")
    counts = [name for name in tracks if name == "n_peaks" or name.endswith(("_bound", "_unknown"))]
    for name in ["id", *counts]:
        for row, text in zip(rows, columns[name]):
            if not re.fullmatch("[0-9]{1,15}", text.strip()):
                raise InputError(f"{path}: row {row}: column {name}: found {quoted(text)}, wanted a whole number")
        tracks[name] = tracks[name].astype(np.int64)
    return tracks


def _read_windows(path: Path) -> tuple[pd.DataFrame, IdLists, IdLists]:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if missing := [name for name in _COLUMNS if name not in file.schema_arrow.names]:
                raise InputError(f"{path}: found no column {missing[0]!r}, wanted {', '.join(_COLUMNS)}")
            table = file.read(columns=list(_COLUMNS)).combine_chunks()
        table.validate(full=True)  # text that is no UTF-8, and lists that pass their values' end
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read as Parquet: {error}") from None
    kinds = {name: pa.string() for name in _TEXTS} | {name: pa.int64() for name in _COORDINATES}
    kinds |= {name: pa.list_(pa.int32()) for name in _LISTS}
    if not table.num_rows:
        raise InputError(f"{path}: found no window, wanted one or more")
    for name, kind in kinds.items():
        try:
            column = table[name].cast(kind)
        except pa.ArrowException:
            raise InputError(f"{path}: column {name}: found type {table[name].type}, wanted {kind}") from None
        if column.null_count:
            raise InputError(f"{path}: column {name}: found {column.null_count} empty cells, wanted none")
        table = table.set_column(table.column_names.index(name), name, column)
    windows = pd.DataFrame({name: table[name].to_numpy() for name in _COLUMNS if name not in _LISTS})
    return windows, *(_id_lists(table[name].combine_chunks()) for name in _LISTS)


def _id_lists(column) -> IdLists:
    """Return the lists of an Arrow column, which may be a chunked array of one chunk."""
    array = column.chunk(0) if hasattr(column, "chunk") else column
    offsets = array.offsets.to_numpy().astype(np.int64)
    return IdLists(array.flatten().to_numpy(zero_copy_only=False).astype(np.int32), offsets - offsets[0])


def _check(path: Path, data: TrackSet) -> None:
    """Refuse invalid labels and parts; messages count rows from 0, as Parquet readers do."""
    for name, wanted in (("part", PARTS), ("kind", KINDS)):
        wrong = ~data.windows[name].isin(wanted).to_numpy()
        if wrong.any():
            row = int(np.argmax(wrong))
            found = str(data.windows[name].iat[row])[:40]
            raise InputError(f"{path}: row {row}: column {name}: found {found!r}, wanted one of {', '.join(wanted)}")
    missing = np.fromiter(map(is_missing, data.windows["sequence"]), bool, len(data.windows))
    if missing.any():
        row = int(np.argmax(missing))
        found = data.windows["sequence"].iat[row] or "nothing"
        raise InputError(f"{path}: row {row}: column sequence: found {found}, wanted nucleotides")
    n = len(data.tracks)
    keys = []
    for name in _LISTS:
        rows, ids = getattr(data, name).pairs()
        wrong = (ids < 0) | (ids >= n)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise InputError(
                f"{path}: row {rows[i]}: column {name}: found track {ids[i]}, wanted 0 to {n - 1} ({TRACKS})"
            )
        keys.append(rows * n + ids)
        # Labels and counts are made without a search for repeats, which sorted lists do not have.
        wrong = np.diff(keys[-1]) <= 0
        if wrong.any():
            row = rows[1 + int(np.argmax(wrong))]
            raise InputError(f"{path}: row {row}: column {name}: found ids that do not ascend, wanted each once")
    both = np.isin(keys[0], keys[1])
    if both.any():
        row, track = divmod(int(keys[0][np.argmax(both)]), n)
        raise InputError(f"{path}: row {row}: found track {track} both bound and unknown, wanted one of them")
