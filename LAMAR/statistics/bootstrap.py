"""Percentile bootstrap: intervals of metrics, and the test of a difference on the same records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from .checks import ScoredRecords, classification_records, regression_records, warn
from .comparisons import Comparison, ratio_to_error
from .metrics import METRICS, metric_names, metric_value

__all__ = ["bootstrap_intervals", "paired_bootstrap"]

NAN = math.nan
TASKS = ("classification", "regression")


def _check_choices(metrics: Sequence[str], n_boot: int, task: str) -> None:
    if task not in TASKS:
        raise ValueError(f"`task`: found {task!r}, wanted {' or '.join(TASKS)}")
    names = metric_names(task)
    if unknown := [metric for metric in metrics if metric not in names]:
        raise ValueError(f"`metrics`: found {unknown[0]!r}, wanted some of {', '.join(names)} for {task}")
    if n_boot < 1:
        raise ValueError(f"`n_boot`: found {n_boot}, wanted 1 or more")


def _resample(
    labels, scores: Mapping, metrics: Sequence[str], n_boot: int, seed: int, task: str, threshold: float
) -> tuple[list[ScoredRecords], np.ndarray]:
    """Return checked records of each named set of scores, and metrics on resamples that all sets share.

    The metrics are float64 (n_boot, sets, metrics).
    """
    _check_choices(metrics, n_boot, task)
    if task == "regression":
        sets = [regression_records(labels, values, name) for name, values in scores.items()]
        strata = [np.arange(len(sets[0][0]))]
    else:
        needed = not all(METRICS[metric].any_score for metric in metrics)
        sets = [classification_records(labels, values, name, threshold, needed) for name, values in scores.items()]
        strata = [np.flatnonzero(sets[0][0] == c) for c in np.unique(sets[0][0])]
    functions = [METRICS[metric].load() for metric in metrics]
    rng = np.random.default_rng(seed)
    values = np.empty((n_boot, len(sets), len(metrics)))
    for row in values:
        drawn = np.concatenate([stratum[rng.integers(0, len(stratum), len(stratum))] for stratum in strata])
        for i, records in enumerate(sets):
            resampled = [array[drawn] for array in records]
            row[i] = [np.mean(function(*resampled)) for function in functions]
    return sets, values


def _interval(name: str, values: np.ndarray, level: float) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if len(defined) < len(values):
        warn(f"{name} is undefined in {len(values) - len(defined)} of {len(values)} resamples, left out")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]) if len(defined) else (NAN, NAN)
    return float(low), float(high)


def bootstrap_intervals(
    labels,
    scores,
    metrics: Sequence[str] = ("auroc", "auprc"),
    n_boot: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    task: str = "classification",
    threshold: float = 0.5,
) -> dict[str, tuple[float, float]]:
    """Return percentile bootstrap intervals (low, high) by metric.

    For classification, records are drawn within each class: every resample has the data's class counts and none lacks
    a class. All metrics see the same resamples. Resampling raises ece, so its interval lies above its value.

    Parameters
    ----------
    labels : array-like, shape (n,)
        Class numbers, or real-valued targets for regression.
    scores : array-like of float, shape (n,) or (n, k)
        Probabilities, or scores on any scale when only auroc and auprc are asked for; predictions for regression.
    metrics : sequence of str
        Names in `LAMAR.statistics.metrics.METRICS` that judge the task.
    n_boot : int
        Number of resamples.
    level : float
        Coverage of the intervals.
    seed : int
        Seed of the resamples.
    task : str
        "classification" or "regression".
    threshold : float
        As in `LAMAR.statistics.metrics.classification_metrics`.

    Returns
    -------
    dict of (float, float)

    Raises
    ------
    ValueError
        The arrays are malformed, or ``metrics``, ``n_boot`` or ``task`` is out of range.

    Warns
    -----
    RuntimeWarning
        When a metric is undefined in some resamples, which are left out; in all of them: NaN.

    References
    ----------
    Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.
    """
    _, values = _resample(labels, {"scores": scores}, metrics, n_boot, seed, task, threshold)
    return {name: _interval(name, values[:, 0, i], level) for i, name in enumerate(metrics)}


def paired_bootstrap(
    labels,
    scores_a,
    scores_b,
    metric: str = "auroc",
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    task: str = "classification",
    threshold: float = 0.5,
) -> Comparison:
    """Test ``metric(A) - metric(B)`` on the same records by bootstrap.

    Both score sets see the same resamples. The p-value inverts the percentile interval of the differences d:
    ``2 (min(#{d <= 0}, #{d >= 0}) + 1) / (n_boot + 1)`` and at most 1, so never below ``2 / (n_boot + 1)``.

    Parameters
    ----------
    labels, n_boot, seed, level, task, threshold
        As in `bootstrap_intervals`.
    scores_a, scores_b : array-like of float, shape (n,) or (n, k)
    metric : str
        One name.

    Returns
    -------
    Comparison
        All NaN, with a ``RuntimeWarning``, when the metric is undefined.

    Raises
    ------
    ValueError
        As `bootstrap_intervals`.

    References
    ----------
    Davison & Hinkley, Bootstrap Methods and their Application (1997).
    """
    scores = {"scores_a": scores_a, "scores_b": scores_b}
    sets, values = _resample(labels, scores, [metric], n_boot, seed, task, threshold)
    a, b = (metric_value(metric, records) for records in sets)
    method = f"paired bootstrap, {n_boot} resamples"
    if math.isnan(a - b):
        return Comparison(NAN, NAN, NAN, NAN, NAN, method)
    differences = values[:, 0, 0] - values[:, 1, 0]
    low, high = _interval(metric, differences, level)
    differences = differences[~np.isnan(differences)]
    tail = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    p_value = min(1.0, 2 * (tail + 1) / (len(differences) + 1))
    return Comparison(a - b, low, high, ratio_to_error(a - b, float(differences.std())), p_value, method)
