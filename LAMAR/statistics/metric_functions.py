"""One function for each metric, on arrays that are already checked; `LAMAR.statistics.metrics` registers them.

Classification: labels int (n,), scores float64 (n, k), predicted classes int (n,). Functions of one class get bool
labels, the scores of that class (n,), and bool predictions, and `one_vs_rest` applies them to each class. Regression:
targets and predictions, float64 (n,). Undefined values are NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

__all__ = [
    "accuracy",
    "average_precision",
    "brier",
    "calibration_error",
    "f1",
    "log_loss",
    "matthews",
    "mean_absolute_error",
    "mean_squared_error",
    "one_vs_rest",
    "pearson",
    "precision",
    "r2",
    "recall",
    "roc_area",
    "root_mean_squared_error",
    "spearman",
]

N_BINS = 15  # of the expected calibration error
NAN = math.nan


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator) / float(denominator) if denominator else NAN


def one_vs_rest(metric: Callable) -> Callable:
    """Return a metric of one class as a list over classes, which for two classes holds class 1 alone."""

    def per_class(labels: np.ndarray, scores: np.ndarray, predicted: np.ndarray) -> list[float]:
        k = scores.shape[1]
        return [metric(labels == c, scores[:, c], predicted == c) for c in (range(k) if k > 2 else [1])]

    return per_class


# ---------------------------------------------------------------------------------------------- of one class


def f1(labels: np.ndarray, _, predicted: np.ndarray) -> float:
    """Return ``2 tp / (2 tp + fp + fn)`` of one class."""
    return _ratio(2 * (labels & predicted).sum(), labels.sum() + predicted.sum())


def precision(labels: np.ndarray, _, predicted: np.ndarray) -> float:
    """Return ``tp / (tp + fp)`` of one class."""
    return _ratio((labels & predicted).sum(), predicted.sum())


def recall(labels: np.ndarray, _, predicted: np.ndarray) -> float:
    """Return ``tp / (tp + fn)`` of one class."""
    return _ratio((labels & predicted).sum(), labels.sum())


def _roc_counts(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positives and negatives at or above each distinct score, highest first."""
    order = np.argsort(-scores)
    scores, tp = scores[order], np.cumsum(labels[order])
    last_of_tie = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    return tp[last_of_tie], last_of_tie + 1 - tp[last_of_tie]


def roc_area(labels: np.ndarray, scores: np.ndarray, _) -> float:
    """Return the area under the ROC curve of one class."""
    tp, fp = _roc_counts(labels, scores)
    # Trapezoids: a tie between a positive and a negative counts one half.
    return _ratio((np.diff(fp, prepend=0) * (tp - np.diff(tp, prepend=0) / 2)).sum(), tp[-1] * fp[-1])


def average_precision(labels: np.ndarray, scores: np.ndarray, _) -> float:
    """Return the average precision of one class, without interpolation."""
    tp, fp = _roc_counts(labels, scores)
    return _ratio((np.diff(tp, prepend=0) * tp / (tp + fp)).sum(), tp[-1]) if fp[-1] else NAN


# ---------------------------------------------------------------------------------------------- of all classes


def accuracy(labels: np.ndarray, _, predicted: np.ndarray) -> float:
    """Return the share of records whose class is predicted."""
    return (labels == predicted).mean()


def matthews(labels: np.ndarray, scores: np.ndarray, predicted: np.ndarray) -> float:
    """Return Matthews' correlation coefficient, for more than two classes Gorodkin's R_K."""
    n, k = scores.shape
    true, called = np.bincount(labels, minlength=k), np.bincount(predicted, minlength=k)
    spread = float(n * n - true @ true) * float(n * n - called @ called)
    return _ratio(n * np.count_nonzero(labels == predicted) - true @ called, math.sqrt(spread))


def brier(labels: np.ndarray, scores: np.ndarray, _) -> float:
    """Return the mean squared error of the probability of class 1, for more classes summed over classes."""
    squares = (scores - (labels[:, None] == np.arange(scores.shape[1]))) ** 2
    return squares.sum(axis=1).mean() if scores.shape[1] > 2 else squares[:, 1].mean()


def calibration_error(labels: np.ndarray, scores: np.ndarray, predicted: np.ndarray) -> float:
    """Return the expected calibration error over `N_BINS` bins of equal width."""
    is_binary = scores.shape[1] == 2
    confidence, hit = (scores[:, 1], labels) if is_binary else (scores.max(axis=1), labels == predicted)
    bins = np.minimum((confidence * N_BINS).astype(np.int64), N_BINS - 1)
    # n_b / n |mean confidence - hit rate| = |sum of (confidence - hit)| / n
    return np.abs(np.bincount(bins, confidence - hit)).sum() / len(labels)


def log_loss(labels: np.ndarray, scores: np.ndarray, _) -> float:
    """Return the mean of ``-ln p`` of the true class."""
    return -np.log(np.maximum(scores[np.arange(len(labels)), labels], np.finfo(np.float64).eps)).mean()


# ---------------------------------------------------------------------------------------------- of regression


def mean_squared_error(targets: np.ndarray, predictions: np.ndarray) -> float:
    """Return the mean squared difference."""
    return ((targets - predictions) ** 2).mean()


def root_mean_squared_error(targets: np.ndarray, predictions: np.ndarray) -> float:
    """Return the root of the mean squared difference."""
    return math.sqrt(mean_squared_error(targets, predictions))


def mean_absolute_error(targets: np.ndarray, predictions: np.ndarray) -> float:
    """Return the mean absolute difference."""
    return np.abs(targets - predictions).mean()


def r2(targets: np.ndarray, predictions: np.ndarray) -> float:
    """Return one minus the mean squared difference over the variance of the targets."""
    return 1 - _ratio(mean_squared_error(targets, predictions), np.ptp(targets) and targets.var())


def pearson(targets: np.ndarray, predictions: np.ndarray) -> float:
    """Return Pearson's correlation coefficient."""
    if np.ptp(targets) == 0 or np.ptp(predictions) == 0:
        return NAN
    y, p = ((v - v.mean()) / np.ptp(v) for v in (targets, predictions))
    return min(1.0, max(-1.0, float(y @ p / math.sqrt((y @ y) * (p @ p)))))


def spearman(targets: np.ndarray, predictions: np.ndarray) -> float:
    """Return Pearson's correlation coefficient of midranks."""
    from scipy.stats import rankdata

    return pearson(rankdata(targets), rankdata(predictions))
