"""Intrinsic dimension from the distances to each point's two nearest neighbours (TwoNN).

Where density is constant out to the second neighbour, ``mu = r_2 / r_1`` has ``P(mu <= x) = 1 - x^(-D)`` whatever the
density, so ``-ln(1 - F(mu))`` against ``ln mu`` is a line through the origin with slope D, the number of dimensions
that the points have locally (Facco, d'Errico, Rodriguez and Laio, Sci Rep 7:12140, 2017).

Near-copies among the points (windows that overlap, or random encoders, under which windows of one composition lie close
together) give ratios far above 1, and a slope that depends on how many of them are left out. A wide bootstrap interval
indicates this.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np

__all__ = ["NeighbourRatios", "neighbour_ratios", "two_nn"]

SAMPLE = 2000
BLOCK = 512
DISCARDED = 0.1  # share of the largest ratios that `two_nn` leaves out
_CANDIDATES = 4  # neighbours by the fast distance, among which the exact one chooses two


@dataclass(frozen=True, eq=False)
class NeighbourRatios:
    """Ratios of neighbour distances.

    Attributes
    ----------
    mu : float64, shape (m,)
        Distance to the second neighbour over distance to the first.
    rows : int64, shape (m,)
        Rows of the embeddings that the ratios belong to.
    """

    mu: np.ndarray
    rows: np.ndarray


def neighbour_ratios(embeddings: np.ndarray, n_sample: int = SAMPLE, seed: int = 0) -> NeighbourRatios:
    """Return the ratios of the distances to the second and the first neighbour.

    Neighbours are exact, among a random sample of the rows: all pairs of 100,000 would take minutes. The dimension is
    therefore that at the sample's scale; compare figures at the same ``n_sample``. Of equal rows only the first is
    used.

    Parameters
    ----------
    embeddings : float, shape (n, d)
        Finite values.
    n_sample : int
        Number of rows to draw without replacement; all rows are used where there are no more.
    seed : int
        Seed of the sample.

    Returns
    -------
    NeighbourRatios
        Of all distinct rows of the sample; empty if there are fewer than three.
    """
    n = len(embeddings)
    rows = np.arange(n)
    if n > n_sample:
        rows = np.sort(np.random.default_rng(seed).choice(n, n_sample, replace=False))
    points = np.asarray(embeddings[rows], dtype=np.float64)
    _, first = np.unique(points, axis=0, return_index=True)
    rows, points = rows[np.sort(first)], points[np.sort(first)]
    if len(points) < 3:
        return NeighbourRatios(np.empty(0), np.empty(0, dtype=np.int64))
    points = points - points.mean(axis=0)  # distances are unchanged, and products lose fewer digits
    squares = np.einsum("ij,ij->i", points, points)
    n_candidates = min(_CANDIDATES, len(points) - 1)
    mu = np.empty(len(points))
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK]
        fast = squares[None, :] - 2 * block @ points.T
        index = np.arange(len(block))
        fast[index, start + index] = np.inf
        near = np.argpartition(fast, n_candidates - 1, axis=1)[:, :n_candidates]
        # Distances of close points from products are mostly rounding error; their differences are exact.
        exact = np.sort(np.sqrt(((points[near] - block[:, None]) ** 2).sum(axis=2)), axis=1)
        mu[start : start + BLOCK] = exact[:, 1] / exact[:, 0]
    return NeighbourRatios(mu, rows)


def two_nn(ratios: NeighbourRatios, weights: np.ndarray | None = None) -> float:
    """Return the intrinsic dimension D: the slope by least squares through the origin.

    The largest tenth of the ratios is left out, as Facco et al. do, because the assumption fails there first.

    Parameters
    ----------
    ratios : NeighbourRatios
    weights : float, shape (m,), optional
        Weights of the ratios, for a bootstrap that resamples ratios and keeps the neighbours: with resampled points, a
        copy of a point would be its nearest neighbour.

    Returns
    -------
    float
        NaN with a ``RuntimeWarning`` where fewer than three rows differ, or all ratios are 1 (as on a grid).
    """
    order = np.argsort(ratios.mu, kind="stable")
    weights = np.ones(len(order)) if weights is None else np.asarray(weights, dtype=np.float64)
    cumulative = np.cumsum(weights[order])
    # Without weights F is i / m; rounding must not decide whether the last of ten is left out.
    share = cumulative / cumulative[-1] if len(order) else cumulative
    kept = (share <= 1 - DISCARDED + 1e-12) & (share < 1)
    x, y = np.log(ratios.mu[order][kept]), -np.log1p(-share[kept])
    w = weights[order][kept]
    slope = (w * x) @ x
    if not slope > 0:
        warnings.warn("intrinsic dimension is undefined: too few rows differ", RuntimeWarning, stacklevel=2)
        return math.nan
    return float((w * x) @ y / slope)
