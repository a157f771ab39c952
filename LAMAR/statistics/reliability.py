"""Are probabilities and p-values of rare sites right? Reliability by bins of a log scale, and shares below levels.

The population is the one that a scan meets: ``prior`` sites per background window. Bound windows count 1 each, and the
background windows of each track share a weight so that they are ``1 / prior`` times as many as its bound ones, as in
`LAMAR.statistics.calibration.fit_logistic`.

References
----------
Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, AAAI, 2015.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["EDGES", "Reliability", "counts_below", "reliability"]

# Four bins per power of ten. The first bin takes what lies below it too.
EDGES = 10.0 ** (np.arange(-24, 1) / 4)
NAN = math.nan


@dataclass(frozen=True, eq=False)
class Reliability:
    """Windows of each track in each bin of their probability.

    Attributes
    ----------
    predicted : numpy.ndarray of float64, shape (k, b)
        Weighted sum of probabilities.
    n_bound, n_background : numpy.ndarray of int64, shape (k, b)
        Numbers of windows; the weight of bound windows is 1.
    weight : numpy.ndarray of float64, shape (k, b)
        Sum of the weights of both.
    """

    predicted: np.ndarray
    n_bound: np.ndarray
    n_background: np.ndarray
    weight: np.ndarray

    def expected_error(self) -> float:
        """Return the expected calibration error of all tracks pooled; NaN without any window.

        It is ``sum_b w_b |mean probability of b - share of sites in b|``, with the bin's share w_b of all weights.
        """
        total = self.weight.sum()
        return float(np.abs(self.predicted.sum(axis=0) - self.n_bound.sum(axis=0)).sum() / total) if total else NAN

    def rows(self, n_boot: int = 1000, seed: int = 0, level: float = 0.95) -> list[dict]:
        """Return the bins that hold windows, tracks pooled, from the lowest probability on.

        Parameters
        ----------
        n_boot, seed : int
            Resamples of whole tracks, whose windows are not independent of each other; their seed.
        level : float
            Coverage of the percentile interval.

        Returns
        -------
        list of dict
            bin_low, bin_high, n_bound, n_background, weight (share of all), mean_probability, site_share (of the
            weight), low, high (interval of site_share; NaN with one track).
        """
        k = len(self.weight)
        draws = np.random.default_rng(seed).multinomial(k, np.full(k, 1 / max(k, 1)), n_boot)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = (draws @ self.n_bound) / (draws @ self.weight)
        rows = []
        for b in np.flatnonzero(self.weight.sum(axis=0)):
            defined = shares[np.isfinite(shares[:, b]), b]
            limits = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]) if k > 1 else (NAN, NAN)
            weight = float(self.weight[:, b].sum())
            row = {"bin_low": float(EDGES[b]) if b else 0.0, "bin_high": float(EDGES[b + 1])}
            row |= {"n_bound": int(self.n_bound[:, b].sum()), "n_background": int(self.n_background[:, b].sum())}
            row |= {"weight": weight / float(self.weight.sum())}
            row |= {"mean_probability": float(self.predicted[:, b].sum()) / weight}
            row |= {"site_share": row["n_bound"] / weight, "low": float(limits[0]), "high": float(limits[1])}
            rows.append(row)
        return rows


def reliability(
    probabilities: np.ndarray, is_bound: np.ndarray, is_background: np.ndarray, prior: float
) -> Reliability:
    """Return how many windows of each track have a probability in each bin of `EDGES`.

    Parameters
    ----------
    probabilities : numpy.ndarray of float, shape (n, k)
    is_bound, is_background : numpy.ndarray of bool, shape (n, k)
        Windows that count as sites and as background; the others do not count. A track without one of both counts
        nothing.
    prior : float
        Sites per background window.
    """
    k, n_bins = probabilities.shape[1], len(EDGES) - 1
    predicted, weight = np.zeros((k, n_bins)), np.zeros((k, n_bins))
    n_bound, n_background = (np.zeros((k, n_bins), dtype=np.int64) for _ in range(2))
    for j in range(k):
        sites, background = is_bound[:, j], is_background[:, j]
        if not (sites.any() and background.any()):
            continue
        each = sites.sum() / prior / background.sum()
        for chosen, of_one, counts in ((sites, 1.0, n_bound), (background, each, n_background)):
            values = probabilities[chosen, j].astype(np.float64)
            bins = np.clip(np.searchsorted(EDGES, values, side="right") - 1, 0, n_bins - 1)
            counts[j] = np.bincount(bins, minlength=n_bins)
            weight[j] += of_one * counts[j]
            predicted[j] += of_one * np.bincount(bins, weights=values, minlength=n_bins)
    return Reliability(predicted, n_bound, n_background, weight)


def counts_below(p_values: np.ndarray, is_background: np.ndarray, levels) -> tuple[np.ndarray, np.ndarray]:
    """Return how many background windows of each track have a p-value below each level.

    Parameters
    ----------
    p_values : numpy.ndarray of float, shape (n, k)
    is_background : numpy.ndarray of bool, shape (n, k)
        Windows that count.
    levels : sequence of float, length m

    Returns
    -------
    below : numpy.ndarray of int64, shape (k, m)
    total : numpy.ndarray of int64, shape (k,)
        Background windows of each track.
    """
    below = [((p_values < level) & is_background).sum(axis=0) for level in levels]
    return np.stack(below, axis=1), is_background.sum(axis=0)
