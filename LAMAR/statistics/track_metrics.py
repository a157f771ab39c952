"""Figures of each track of a joint model, and their means over all tracks and by quartile of size.

Labels are int8: 1 where a track binds a window, 0 where it does not, `UNKNOWN` where that is not known.
"""

from __future__ import annotations

import numpy as np

from .metrics import auprc, auroc

__all__ = ["QUARTILES", "UNKNOWN", "size_quartiles", "summarise_tracks", "track_areas", "track_table"]

UNKNOWN = -1
QUARTILES = ("auroc_q1", "auroc_q2", "auroc_q3", "auroc_q4")  # from the tracks with the fewest sites on


def track_table(labels: np.ndarray, logits: np.ndarray, is_background: np.ndarray | None = None) -> list[dict]:
    """Return area under the ROC curve and average precision of each track, over the windows whose label is known.

    Parameters
    ----------
    labels : numpy.ndarray of int8, shape (n, k)
        1, 0 or `UNKNOWN`.
    logits : numpy.ndarray of float, shape (n, k)
        Any scores.
    is_background : numpy.ndarray of bool, shape (n,), optional
        Adds the area without these windows, against sites of other RBPs alone.

    Returns
    -------
    list of dict, length k
        n_bound, n_unbound, auroc, auprc, and auroc_sites with ``is_background``; NaN where a class is absent.
    """
    rows = []
    for column, scores in zip(labels.T, logits.T):
        known = column != UNKNOWN
        row = {"n_bound": int((column == 1).sum()), "n_unbound": int((column == 0).sum())}
        row |= {"auroc": _defined(auroc, column, scores, known), "auprc": _defined(auprc, column, scores, known)}
        if is_background is not None:
            row["auroc_sites"] = _defined(auroc, column, scores, known & ~is_background)
        rows.append(row)
    return rows


def track_areas(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of each track, as `track_table` has it; float64, shape (k,)."""
    return np.array([_defined(auroc, column, scores, column != UNKNOWN) for column, scores in zip(labels.T, logits.T)])


def _defined(metric, column: np.ndarray, scores: np.ndarray, chosen: np.ndarray) -> float:
    """Return a metric over the chosen windows, NaN where they are all bound or all unbound."""
    column = column[chosen]
    return metric(column, scores[chosen]) if 0 < column.sum() < len(column) else float("nan")


def size_quartiles(n_sites: np.ndarray) -> np.ndarray:
    """Return each track's quartile by its number of sites, 0 for those with the fewest; int64, shape (k,)."""
    ranks = np.argsort(np.argsort(n_sites, kind="stable"), kind="stable")
    return ranks * 4 // max(len(n_sites), 1)


def summarise_tracks(table: list[dict], n_sites: np.ndarray) -> dict[str, float]:
    """Return means over the tracks that have both classes: auroc, auprc, and auroc by quartile of size.

    Parameters
    ----------
    table : list of dict, length k
        As `track_table` returns it.
    n_sites : numpy.ndarray of int, shape (k,)
        Sites in the train part, by which tracks are divided into quartiles.

    Returns
    -------
    dict
        auroc, auprc, the names `QUARTILES` (NaN where no track has both classes), and n_tracks, the number of tracks
        that have both.
    """
    areas = np.array([row["auroc"] for row in table])
    quartile = size_quartiles(n_sites)
    figures = {"auroc": _mean(areas), "auprc": _mean(np.array([row["auprc"] for row in table]))}
    figures |= {name: _mean(areas[quartile == number]) for number, name in enumerate(QUARTILES)}
    return figures | {"n_tracks": int(np.isfinite(areas).sum())}


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")
