"""The result of a paired test, and the adjustment of p-values for many tests."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Comparison", "holm", "ratio_to_error"]


@dataclass(frozen=True)
class Comparison:
    """Paired test of predictions A against predictions B on the same records.

    Attributes
    ----------
    difference : float
        Metric of A minus metric of B.
    low, high : float
        Confidence limits of the difference.
    statistic : float
        Difference over its standard error.
    p_value : float
        Two-sided.
    method : str
        Name of the test.
    """

    difference: float
    low: float
    high: float
    statistic: float
    p_value: float
    method: str


def ratio_to_error(difference: float, error: float) -> float:
    """Return ``difference / error``; 0 for no difference, and infinite for one without error."""
    return difference / error if error > 0 else (math.copysign(math.inf, difference) if difference else 0.0)


def holm(p_values) -> np.ndarray:
    """Return Holm's step-down adjustment ``max over j <= i of min(1, (m - j + 1) p_(j))``.

    Parameters
    ----------
    p_values : array-like of float, shape (m,)
        From 0 to 1. NaN marks a test that could not be done: it stays NaN and does not count towards m.

    Returns
    -------
    float64, shape (m,)
        In the order given.

    Raises
    ------
    ValueError
        Another number of dimensions, or a value outside 0 to 1.

    References
    ----------
    Holm, Scand J Stat 6:65 (1979).
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(p_values))
    if p_values.ndim != 1 or (p_values[tested] < 0).any() or (p_values[tested] > 1).any():
        raise ValueError("`p_values`: wanted one dimension of values from 0 to 1")
    ascending = tested[np.argsort(p_values[tested])]
    adjusted = np.full(len(p_values), math.nan)
    stepped = np.minimum(1, p_values[ascending] * np.arange(len(ascending), 0, -1))
    adjusted[ascending] = np.maximum.accumulate(stepped)
    return adjusted
