"""Scores along a record in a bounded number of cells, and tracks in an order that puts like ones together."""

from __future__ import annotations

import numpy as np

from .tiling import Profile

__all__ = ["MOST_CELLS", "HeatCells", "cluster_order"]

MOST_CELLS = 600  # of a record: about as many as a page has pixels for


class HeatCells:
    """Highest score of each track in cells of equal width along a record; memory does not grow with its length.

    Parameters
    ----------
    length : int
        Nucleotides of the record.
    n_tracks : int
    stride : int
        Distance of two tiles. Cells are no narrower: scores change little within it.

    Attributes
    ----------
    width : int
        Nucleotides of a cell; the last may have fewer.
    scores : numpy.ndarray of float32, shape (n_cells, n_tracks)
        NaN where nothing was predicted.
    """

    def __init__(self, length: int, n_tracks: int, stride: int):
        self.width = max(stride, -(-length // MOST_CELLS))
        self.scores = np.full((-(-length // self.width), n_tracks), np.nan, dtype=np.float32)

    def add(self, profile: Profile) -> None:
        """Add the scores of a part of the record."""
        first, last = profile.bounds[:-1] // self.width, (profile.bounds[1:] - 1) // self.width
        n_cells = last - first + 1
        interval = np.repeat(np.arange(len(profile)), n_cells)
        cell = np.repeat(first - np.cumsum(n_cells) + n_cells, n_cells) + np.arange(len(interval))
        # Intervals ascend, so that those of a cell follow one another.
        begins = np.flatnonzero(np.diff(cell, prepend=-1))
        highest = np.maximum.reduceat(profile.scores[interval], begins, axis=0)
        self.scores[cell[begins]] = np.fmax(self.scores[cell[begins]], highest)


def cluster_order(values: np.ndarray) -> np.ndarray:
    """Return an order of rows in which rows of like shape stand together, the highest first where that allows.

    Rows are clustered by average linkage of their correlation distances. Of two clusters that are joined, the one with
    the highest value comes first.

    Parameters
    ----------
    values : numpy.ndarray of float, shape (n, m)
        Without NaN.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)

    References
    ----------
    Eisen et al., Cluster analysis and display of genome-wide expression patterns, PNAS 95:14863, 1998.
    """
    n, m = values.shape
    if n < 3 or m < 2:
        return np.argsort(-values.max(axis=1, initial=-np.inf), kind="stable")
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    centred = values.astype(np.float64) - values.mean(axis=1, keepdims=True, dtype=np.float64)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    centred = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 1e-9)
    # Rounded: which of two equal distances is joined first must not depend on the last bit.
    distance = np.round(np.clip(1 - centred @ centred.T, 0, 2), 6)
    np.fill_diagonal(distance, 0)
    members = {i: [i] for i in range(n)}
    highest = dict(enumerate(values.max(axis=1).tolist()))
    for step, (left, right, *_) in enumerate(linkage(squareform(distance, checks=False), "average")):
        pair = sorted((int(left), int(right)), key=lambda cluster: (-highest[cluster], members[cluster][0]))
        members[n + step] = members.pop(pair[0]) + members.pop(pair[1])
        highest[n + step] = highest[pair[0]]
    return np.array(members[2 * n - 2], dtype=np.int64)
