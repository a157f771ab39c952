"""DeLong's variance of AUROC: the interval of one area, and the test of two on the same records."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from .checks import classification_records, finite_array, warn
from .comparisons import Comparison, ratio_to_error

__all__ = ["delong_interval", "delong_test"]

NAN = math.nan


def _placements(labels, scores, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return per positive the negatives that score lower, per negative the positives that score higher; ties 1/2.

    None, with a warning, where the variance of either is undefined. O(n log n) by midranks (Sun & Xu 2014).
    """
    from scipy.stats import rankdata

    labels, scores, _ = classification_records(labels, finite_array(scores, name), name, probabilities=False)
    positive, scores = scores[labels == 1, 1], scores[:, 1]
    negative = scores[labels == 0]
    if min(len(positive), len(negative)) < 2:
        return warn("DeLong's variance of auroc is undefined: fewer than two records of a class")
    ranks = rankdata(scores)
    lower = ranks[labels == 1] - rankdata(positive)
    return lower, len(positive) - (ranks[labels == 0] - rankdata(negative))


def _area_and_error(by_positive: np.ndarray, by_negative: np.ndarray) -> tuple[float, float]:
    m, n = len(by_positive), len(by_negative)
    variance = by_positive.var(ddof=1) / (m * n * n) + by_negative.var(ddof=1) / (n * m * m)
    return float(by_positive.sum() / (m * n)), math.sqrt(variance)


def delong_test(labels, scores_a, scores_b, level: float = 0.95) -> Comparison:
    """Test the difference of two correlated AUROCs.

    With V10 per positive the share of negatives that score lower, and V01 per negative the share of positives that
    score higher, ``z = (AUC_a - AUC_b) / sqrt(var(V10_a - V10_b) / m + var(V01_a - V01_b) / n)`` is standard normal
    under equality.

    Parameters
    ----------
    labels : array-like of 0 and 1, shape (n,)
    scores_a, scores_b : array-like of float, shape (n,)
        On any scale.
    level : float
        Coverage of the confidence limits.

    Returns
    -------
    Comparison
        Scores that order the records alike give difference 0 and p 1. NaN with a ``RuntimeWarning`` when a class has
        fewer than two records, or when the areas differ but their difference has no variance.

    Raises
    ------
    ValueError
        The arrays differ in length, or hold values that are not finite or no classes.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson, Biometrics 44:837 (1988); Sun & Xu, IEEE Signal Process Lett 21:1389 (2014).
    """
    a, b = _placements(labels, scores_a, "scores_a"), _placements(labels, scores_b, "scores_b")
    if a is None or b is None:
        return Comparison(NAN, NAN, NAN, NAN, NAN, "DeLong")
    # Differences of counts are exact, so equal orderings have variance exactly zero.
    difference, error = _area_and_error(a[0] - b[0], a[1] - b[1])
    if difference and not error:
        warn("DeLong's test is undefined: the difference has no variance")
        return Comparison(difference, NAN, NAN, NAN, NAN, "DeLong")
    margin, z = NormalDist().inv_cdf((1 + level) / 2) * error, ratio_to_error(difference, error)
    p_value = math.erfc(abs(z) / math.sqrt(2))
    return Comparison(difference, difference - margin, difference + margin, z, p_value, "DeLong")


def delong_interval(labels, scores, level: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval ``AUC ± z sqrt(var(V10) / m + var(V01) / n)`` of an AUROC, cut at 0 and 1.

    Symbols, parameters and reference are those of `delong_test`. A perfect ordering has variance 0 and the interval
    (1, 1) however few the records, as in the bootstrap.

    Returns
    -------
    low, high : float
        NaN with a ``RuntimeWarning`` when a class has fewer than two records.
    """
    placements = _placements(labels, scores, "scores")
    if placements is None:
        return NAN, NAN
    area, error = _area_and_error(*placements)
    margin = NormalDist().inv_cdf((1 + level) / 2) * error
    return max(0.0, area - margin), min(1.0, area + margin)
