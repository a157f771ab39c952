"""One track of a data set for many RBPs as a labelled set: which windows an RBP binds, and which it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError, shortened, similar
from .text_files import read_table
from .tracks import PARTS, TRACKS, WINDOWS, read_track_set

__all__ = ["is_track_folder", "read_track_columns", "track_names"]


def is_track_folder(folder: Path) -> bool:
    """Return whether a folder was written by ``make_track_dataset.py``."""
    return (folder / WINDOWS).is_file() and (folder / TRACKS).is_file()


def track_names(folder: Path) -> list[str]:
    """Return the names of the folder's tracks, in the order of their ids."""
    return list(read_table(folder / TRACKS)[0]["track"])


def read_track_columns(folder: Path, name: str | None, argument: str) -> dict[str, dict[str, list]]:
    """Return the windows whose label for one track is known, by part.

    Parameters
    ----------
    folder : path
        Folder of ``make_track_dataset.py``.
    name : str, optional
        The track, such as ``QKI_K562``; None where there is one only.
    argument : str
        What the caller calls ``name``, for messages.

    Returns
    -------
    dict of dict of list
        For each part that has windows, the columns ``sequence``, ``label`` (1 bound, 0 not bound), ``id``, ``chrom``,
        ``start``, ``end`` and ``strand``, in the order of the file.

    Raises
    ------
    InputError
        There is no such track, or files that cannot be read.
    """
    data = read_track_set(folder)
    if name is None and len(data.names) == 1:
        name = data.names[0]
    if name not in data.names:
        found = repr(name) if name else "no name"
        hint = similar(name, data.names) if name else f" ({shortened(sorted(data.names), 6)})"
        raise InputError(f"{argument}: found {found}, wanted one of the {len(data.names)} tracks of {folder}{hint}")
    only = data.select_tracks([data.names.index(name)])
    known = np.flatnonzero(only.unknown.lengths == 0)
    windows = only.windows.iloc[known]
    columns = {column: windows[column].to_numpy() for column in ("sequence", "chrom", "start", "end", "strand")}
    columns["label"] = only.bound.lengths[known]
    places = zip(*(columns[column] for column in ("chrom", "start", "end", "strand")))
    columns["id"] = np.array([f"{chrom}:{start}-{end}({strand})" for chrom, start, end, strand in places], dtype=object)
    parts = windows["part"].to_numpy()
    return {
        part: {column: values[parts == part].tolist() for column, values in columns.items()}
        for part in PARTS
        if (parts == part).any()
    }
