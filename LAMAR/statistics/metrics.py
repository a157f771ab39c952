"""The one set of metrics: values, bootstrap intervals, paired tests.

Each metric is one small function of (labels, scores, predicted), used both for the value and for every
bootstrap resample, so that an interval belongs to the value beside it; scikit-learn's functions would take
minutes for a thousand resamples, and the tests compare each metric with them. An undefined metric is NaN with
a ``RuntimeWarning`` that names it and says why, never 0 or 0.5. Input that is malformed (shapes that differ,
NaN or infinite values, labels or probabilities out of range) is a ``ValueError`` that names the argument.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

__all__ = [
    "METRICS",
    "Comparison",
    "auprc",
    "auroc",
    "bootstrap_intervals",
    "classification_metrics",
    "delong_interval",
    "delong_test",
    "holm",
    "multilabel_metrics",
    "paired_bootstrap",
    "regression_metrics",
]

N_BINS = 15  # of the expected calibration error
NAN = math.nan
# Labels (n,) int, scores (n, k), predicted classes (n,) int; for regression targets and predictions, (n,).
_Problem = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Comparison:
    """Paired test of predictions A against B: metric of A minus metric of B, its confidence limits, the
    difference over its standard error, and the two-sided p-value."""

    difference: float
    low: float
    high: float
    statistic: float
    p_value: float
    method: str


def _finite(values, name: str, ndim: Sequence[int] = (1,)) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in ndim or array.size == 0:
        wanted = " or ".join(str(d) for d in ndim)
        raise ValueError(f"{name}: found shape {array.shape}, wanted {wanted} dimensions, not empty")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: {np.count_nonzero(~np.isfinite(array))} values are NaN or infinite")
    return array


def _classes(values, name: str, k: int, ndim: Sequence[int] = (1,)) -> np.ndarray:
    array = _finite(values, name, ndim)
    bad = (array != np.floor(array)) | (array < 0) | (array >= k)
    if bad.any():
        raise ValueError(f"{name}: found {array[bad][0]:g}, wanted integers from 0 to {k - 1}")
    return array.astype(np.int64)


def _classification(labels, scores, name: str, threshold: float = 0.5, probabilities: bool = True) -> _Problem:
    scores = _finite(scores, name, (1, 2))
    if scores.ndim == 1:
        scores = np.column_stack([1 - scores, scores])
    elif scores.shape[1] < 2:
        raise ValueError(f"{name}: found shape {scores.shape}, wanted (n,) or (n, k) with k of 2 or more")
    labels = _classes(labels, "labels", scores.shape[1])
    if len(labels) != len(scores):
        raise ValueError(f"{name}: found {len(scores)} rows, wanted {len(labels)} as in labels")
    if probabilities and (scores.min() < 0 or np.abs(scores.sum(axis=1) - 1).max() > 1e-3):
        raise ValueError(f"{name}: wanted probabilities from 0 to 1, in rows that sum to 1")
    predicted = scores[:, 1] >= threshold if scores.shape[1] == 2 else scores.argmax(axis=1)
    return labels, scores, predicted.astype(np.int64)


def _regression(targets, predictions, name: str) -> _Problem:
    targets, predictions = _finite(targets, "targets"), _finite(predictions, name)
    if targets.shape != predictions.shape:
        raise ValueError(f"{name}: found {len(predictions)} rows, wanted {len(targets)} as in targets")
    return targets, predictions


# --------------------------------------------------------------------------------------------------- metrics


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator) / float(denominator) if denominator else NAN


def _one_vs_rest(metric: Callable) -> Callable:
    """Makes a metric of one class into a list over classes, which for two classes holds class 1 alone."""

    def per_class(y: np.ndarray, p: np.ndarray, predicted: np.ndarray) -> list[float]:
        k = p.shape[1]
        return [metric(y == c, p[:, c], predicted == c) for c in (range(k) if k > 2 else [1])]

    return per_class


def _roc_counts(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives at or above each distinct score, highest first."""
    order = np.argsort(-p)
    p, tp = p[order], np.cumsum(y[order])
    last_of_tie = np.flatnonzero(np.append(p[1:] != p[:-1], True))
    return tp[last_of_tie], last_of_tie + 1 - tp[last_of_tie]


def _auroc(y: np.ndarray, p: np.ndarray, _) -> float:
    tp, fp = _roc_counts(y, p)
    # Trapezoids: a tie between a positive and a negative counts one half.
    return _ratio((np.diff(fp, prepend=0) * (tp - np.diff(tp, prepend=0) / 2)).sum(), tp[-1] * fp[-1])


def _auprc(y: np.ndarray, p: np.ndarray, _) -> float:
    tp, fp = _roc_counts(y, p)
    return _ratio((np.diff(tp, prepend=0) * tp / (tp + fp)).sum(), tp[-1]) if fp[-1] else NAN


def _mcc(y: np.ndarray, p: np.ndarray, predicted: np.ndarray) -> float:
    n, k = p.shape
    true, called = np.bincount(y, minlength=k), np.bincount(predicted, minlength=k)
    spread = float(n * n - true @ true) * float(n * n - called @ called)
    return _ratio(n * np.count_nonzero(y == predicted) - true @ called, math.sqrt(spread))


def _brier(y: np.ndarray, p: np.ndarray, _) -> float:
    squares = (p - (y[:, None] == np.arange(p.shape[1]))) ** 2
    return squares.sum(axis=1).mean() if p.shape[1] > 2 else squares[:, 1].mean()


def _ece(y: np.ndarray, p: np.ndarray, predicted: np.ndarray) -> float:
    confidence, hit = (p[:, 1], y) if p.shape[1] == 2 else (p.max(axis=1), y == predicted)
    bins = np.minimum((confidence * N_BINS).astype(np.int64), N_BINS - 1)
    # n_b / n |mean confidence - hit rate| = |sum of (confidence - hit)| / n
    return np.abs(np.bincount(bins, confidence - hit)).sum() / len(y)


def _log_loss(y: np.ndarray, p: np.ndarray, _) -> float:
    return -np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(np.float64).eps)).mean()


def _pearson(y: np.ndarray, p: np.ndarray) -> float:
    if np.ptp(y) == 0 or np.ptp(p) == 0:
        return NAN
    y, p = ((v - v.mean()) / np.ptp(v) for v in (y, p))
    return min(1.0, max(-1.0, float(y @ p / math.sqrt((y @ y) * (p @ p)))))


def _spearman(y: np.ndarray, p: np.ndarray) -> float:
    from scipy.stats import rankdata

    return _pearson(rankdata(y), rankdata(p))


# Name: (function, why it can be undefined). Where the value is a list, it is averaged over classes.
_ONE_CLASS, _CONSTANT = "only one class is present", "targets or predictions are constant"
_CLASSIFICATION: dict[str, tuple[Callable, str]] = {
    "accuracy": (lambda y, p, d: (y == d).mean(), ""),
    "f1": (_one_vs_rest(lambda y, p, d: _ratio(2 * (y & d).sum(), y.sum() + d.sum())), "nothing is positive"),
    "precision": (_one_vs_rest(lambda y, p, d: _ratio((y & d).sum(), d.sum())), "none is predicted positive"),
    "recall": (_one_vs_rest(lambda y, p, d: _ratio((y & d).sum(), y.sum())), "no record is positive"),
    "auroc": (_one_vs_rest(_auroc), _ONE_CLASS),
    "auprc": (_one_vs_rest(_auprc), _ONE_CLASS),
    "mcc": (_mcc, "labels or predictions hold only one class"),
    "brier": (_brier, ""),
    "ece": (_ece, ""),
    "log_loss": (_log_loss, ""),
}
_REGRESSION: dict[str, tuple[Callable, str]] = {
    "mse": (lambda y, p: ((y - p) ** 2).mean(), ""),
    "rmse": (lambda y, p: math.sqrt(((y - p) ** 2).mean()), ""),
    "mae": (lambda y, p: np.abs(y - p).mean(), ""),
    "r2": (lambda y, p: 1 - _ratio(((y - p) ** 2).mean(), np.ptp(y) and y.var()), "the targets are constant"),
    "pearson": (_pearson, _CONSTANT),
    "spearman": (_spearman, _CONSTANT),
}
_TABLES = {"classification": _CLASSIFICATION, "regression": _REGRESSION}
# Names by task, for choosing one by argument.
METRICS = {
    "classification": tuple(_CLASSIFICATION),
    "multilabel": tuple(_CLASSIFICATION),
    "regression": tuple(_REGRESSION),
}
_RANK_METRICS = {"auroc", "auprc"}  # take any score; the others need probabilities


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def _value(name: str, problem: _Problem, where: str = "") -> float:
    metric, reason = (_CLASSIFICATION | _REGRESSION)[name]
    values = np.atleast_1d(metric(*problem))
    undefined = np.flatnonzero(np.isnan(values))
    if len(undefined):
        where += f" (class {', '.join(map(str, undefined))})" if len(values) > 1 else ""
        _warn(f"{name} is undefined: {reason}{where}")
    return float(values.mean())


def auroc(labels, scores) -> float:
    """Area under the ROC curve: share of positive-negative pairs in the right order, ties counting one half.

    ``labels`` (n,) int; ``scores`` (n,) float on any scale, or (n, k) for the mean of the k one-vs-rest
    areas. NaN with a ``RuntimeWarning`` when a class is absent. Hanley & McNeil, Radiology 143:29 (1982).
    """
    return _value("auroc", _classification(labels, scores, "scores", probabilities=False))


def auprc(labels, scores) -> float:
    """Average precision ``sum_t (recall_t - recall_(t-1)) precision_t`` over distinct scores t.

    Nothing is interpolated. Arguments and undefined values as :func:`auroc`. Davis & Goadrich, ICML (2006).
    """
    return _value("auprc", _classification(labels, scores, "scores", probabilities=False))


def classification_metrics(labels, probabilities, threshold: float = 0.5) -> dict[str, float]:
    """Metrics of a binary or multi-class classifier.

    Parameters
    ----------
    labels : (n,) int
        Classes, 0 .. k-1. Integral floats and booleans are taken too.
    probabilities : (n,) or (n, k) float
        Probability of class 1, or of each class (rows sum to 1).
    threshold : float
        Two classes: class 1 is predicted from this probability on. More classes: the most probable is.

    Returns
    -------
    dict of float
        - accuracy ``(tp + tn) / n``, precision ``tp / (tp + fp)``, recall ``tp / (tp + fn)``,
          f1 ``2 tp / (2 tp + fp + fn)``; auroc and auprc: see :func:`auroc`, :func:`auprc`
        - mcc ``(tp tn - fp fn) / sqrt((tp+fp)(tp+fn)(tn+fp)(tn+fn))`` (Matthews, BBA 405:442, 1975), for more
          classes R_K (Gorodkin, Comput Biol Chem 28:367, 2004)
        - brier: mean of ``(p - y)^2``; for more classes of ``sum_k (p_k - y_k)^2`` (Brier, Mon Weather Rev
          78:1, 1950), which for two classes would be twice as large
        - ece ``sum_b n_b/n |mean_b(p) - mean_b(y)|`` over 15 bins of equal width, closed below, p the
          probability of class 1 (Naeini et al., AAAI 2015); for more classes p is that of the predicted class
          and y whether it is right (Guo et al., ICML 2017)
        - log_loss: mean of ``-ln p_true``, p at least 2.2e-16

        With more than two classes f1, precision, recall, auroc, auprc are unweighted means over one-vs-rest
        classes, undefined as soon as one class's is.

    Warns
    -----
    RuntimeWarning
        For each undefined metric, then NaN: auroc and auprc with one class; precision without predicted
        positives; recall without positives; f1 without either; mcc with one class among labels or among
        predictions.
    """
    problem = _classification(labels, probabilities, "probabilities", threshold)
    return {name: _value(name, problem) for name in _CLASSIFICATION}


def multilabel_metrics(labels, probabilities, threshold: float = 0.5) -> dict[str, float]:
    """Metrics of k yes-or-no labels per record; ``labels`` (n, k) of 0 and 1, ``probabilities`` (n, k) float.

    Each metric of :func:`classification_metrics` under its own name is the unweighted mean over labels
    (macro), undefined as soon as one label's is. ``NAME_micro`` (auroc, auprc, f1, precision, recall, mcc)
    pools all n k decisions; ``subset_accuracy`` is the share of records with every label right.
    """
    probabilities = _finite(probabilities, "probabilities", (2,))
    labels = _classes(labels, "labels", 2, (2,))
    if labels.shape != probabilities.shape:
        raise ValueError(f"probabilities: found shape {probabilities.shape}, wanted {labels.shape} as labels")
    pairs = [(y, p) for y, p in zip(labels.T, probabilities.T)] + [(labels.ravel(), probabilities.ravel())]
    *columns, pooled = [_classification(y, p, "probabilities", threshold) for y, p in pairs]
    metrics = {}
    for name in _CLASSIFICATION:
        macro = [_value(name, column, f" (label {j})") for j, column in enumerate(columns)]
        metrics[name] = float(np.mean(macro))
    for name in ("auroc", "auprc", "f1", "precision", "recall", "mcc"):
        metrics[f"{name}_micro"] = _value(name, pooled, " (all labels pooled)")
    metrics["subset_accuracy"] = float(((probabilities >= threshold) == labels).all(axis=1).mean())
    return metrics


def regression_metrics(targets, predictions) -> dict[str, float]:
    """Metrics of real-valued ``predictions`` (n,) of ``targets`` (n,).

    mse ``mean((y - p)^2)``, rmse its root, mae ``mean(|y - p|)``, r2 ``1 - mse / var(y)``, pearson
    ``cov(y, p) / (sd(y) sd(p))``, spearman the same of midranks (Spearman, Am J Psychol 15:72, 1904). NaN
    with a ``RuntimeWarning``: r2 with constant targets, the correlations with constant targets or
    predictions.
    """
    problem = _regression(targets, predictions, "predictions")
    return {name: _value(name, problem) for name in _REGRESSION}


# ------------------------------------------------------------------------------------------------- bootstrap


def _bootstrap(labels, scores: dict, metrics: Sequence[str], n_boot: int, seed: int, task: str, threshold):
    """A problem per named set of scores; values (n_boot, sets, metrics) on resamples that all sets share."""
    if task not in _TABLES:
        raise ValueError(f"task: found {task!r}, wanted {' or '.join(_TABLES)}")
    table = _TABLES[task]
    if unknown := [metric for metric in metrics if metric not in table]:
        raise ValueError(f"metrics: found {unknown[0]!r}, wanted some of {', '.join(table)} for {task}")
    if n_boot < 1:
        raise ValueError(f"n_boot: found {n_boot}, wanted 1 or more")
    if task == "regression":
        problems = [_regression(labels, s, name) for name, s in scores.items()]
        strata = [np.arange(len(problems[0][0]))]
    else:
        needed = not _RANK_METRICS.issuperset(metrics)
        problems = [_classification(labels, s, name, threshold, needed) for name, s in scores.items()]
        strata = [np.flatnonzero(problems[0][0] == c) for c in np.unique(problems[0][0])]
    rng = np.random.default_rng(seed)
    values = np.empty((n_boot, len(problems), len(metrics)))
    for row in values:
        drawn = np.concatenate([stratum[rng.integers(0, len(stratum), len(stratum))] for stratum in strata])
        for i, problem in enumerate(problems):
            resample = [array[drawn] for array in problem]
            row[i] = [np.mean(table[name][0](*resample)) for name in metrics]
    return problems, values


def _interval(name: str, values: np.ndarray, level: float) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if len(defined) < len(values):
        _warn(f"{name} is undefined in {len(values) - len(defined)} of {len(values)} resamples, left out")
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
    """Percentile bootstrap intervals (low, high) by metric.

    Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13. For classification, records are drawn
    within each class: every resample has the data's class counts and none lacks a class. All metrics see the
    same resamples. Resampling raises ece, so its interval lies above its value.

    Parameters
    ----------
    labels : (n,) int, or (n,) float targets for regression
    scores : (n,) or (n, k) float
        Probabilities, or any scores when only auroc and auprc are asked for; predictions for regression.
    metrics : names as in :func:`classification_metrics` or :func:`regression_metrics`
    task : "classification" or "regression"

    Warns
    -----
    RuntimeWarning
        When a metric is undefined in some resamples, which are left out; in all of them: NaN.
    """
    _, values = _bootstrap(labels, {"scores": scores}, metrics, n_boot, seed, task, threshold)
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
    """Bootstrap test of ``metric(A) - metric(B)`` on the same records.

    Arguments are those of :func:`bootstrap_intervals`; both score sets see the same resamples. The p-value
    inverts the percentile interval of the differences d: ``2 (min(#{d <= 0}, #{d >= 0}) + 1) / (n_boot + 1)``
    and at most 1, so never below ``2 / (n_boot + 1)`` (Davison & Hinkley, Bootstrap Methods and their
    Application, 1997). All is NaN, with a warning, when the metric is undefined.
    """
    scores = {"scores_a": scores_a, "scores_b": scores_b}
    problems, values = _bootstrap(labels, scores, [metric], n_boot, seed, task, threshold)
    a, b = (_value(metric, problem) for problem in problems)
    method = f"paired bootstrap, {n_boot} resamples"
    if math.isnan(a - b):
        return Comparison(NAN, NAN, NAN, NAN, NAN, method)
    differences = values[:, 0, 0] - values[:, 1, 0]
    low, high = _interval(metric, differences, level)
    differences = differences[~np.isnan(differences)]
    tail = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    p_value = min(1.0, 2 * (tail + 1) / (len(differences) + 1))
    return Comparison(a - b, low, high, _statistic(a - b, float(differences.std())), p_value, method)


# ---------------------------------------------------------------------------------------------------- DeLong


def _statistic(difference: float, error: float) -> float:
    return difference / error if error > 0 else (math.copysign(math.inf, difference) if difference else 0.0)


def _placements(labels, scores, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Per positive the negatives that score lower, per negative the positives that score higher; ties 1/2.

    None, with a warning, where the variance of either is undefined. O(n log n) by midranks (Sun & Xu 2014).
    """
    from scipy.stats import rankdata

    labels, scores, _ = _classification(labels, _finite(scores, name), name, probabilities=False)
    positive, scores = scores[labels == 1, 1], scores[:, 1]
    negative = scores[labels == 0]
    if min(len(positive), len(negative)) < 2:
        return _warn("DeLong's variance of auroc is undefined: fewer than two records of a class")
    ranks = rankdata(scores)
    lower = ranks[labels == 1] - rankdata(positive)
    return lower, len(positive) - (ranks[labels == 0] - rankdata(negative))


def _area_and_error(by_positive: np.ndarray, by_negative: np.ndarray) -> tuple[float, float]:
    m, n = len(by_positive), len(by_negative)
    variance = by_positive.var(ddof=1) / (m * n * n) + by_negative.var(ddof=1) / (n * m * m)
    return float(by_positive.sum() / (m * n)), math.sqrt(variance)


def delong_test(labels, scores_a, scores_b, level: float = 0.95) -> Comparison:
    """DeLong's test of two correlated AUROCs.

    With V10 per positive the share of negatives that score lower, and V01 per negative the share of positives
    that score higher, ``z = (AUC_a - AUC_b) / sqrt(var(V10_a - V10_b) / m + var(V01_a - V01_b) / n)`` is
    standard normal under equality (DeLong, DeLong & Clarke-Pearson, Biometrics 44:837, 1988; Sun & Xu, IEEE
    Signal Process Lett 21:1389, 2014).

    ``labels`` (n,) 0 or 1; ``scores_a``, ``scores_b`` (n,) float on any scale. Scores that order the records
    alike give difference 0 and p 1. NaN with a ``RuntimeWarning`` when a class has fewer than two records, or
    when the areas differ but their difference has no variance.
    """
    a, b = _placements(labels, scores_a, "scores_a"), _placements(labels, scores_b, "scores_b")
    if a is None or b is None:
        return Comparison(NAN, NAN, NAN, NAN, NAN, "DeLong")
    # Differences of counts are exact, so equal orderings have variance exactly zero.
    difference, error = _area_and_error(a[0] - b[0], a[1] - b[1])
    if difference and not error:
        _warn("DeLong's test is undefined: the difference has no variance")
        return Comparison(difference, NAN, NAN, NAN, NAN, "DeLong")
    margin, z = NormalDist().inv_cdf((1 + level) / 2) * error, _statistic(difference, error)
    p_value = math.erfc(abs(z) / math.sqrt(2))
    return Comparison(difference, difference - margin, difference + margin, z, p_value, "DeLong")


def delong_interval(labels, scores, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval ``AUC ± z sqrt(var(V10) / m + var(V01) / n)`` of an AUROC, cut at 0 and 1.

    Symbols, arguments and source as :func:`delong_test`. A perfect ordering has variance 0 and the interval
    (1, 1) however few the records, as in the bootstrap.
    """
    placements = _placements(labels, scores, "scores")
    if placements is None:
        return NAN, NAN
    area, error = _area_and_error(*placements)
    margin = NormalDist().inv_cdf((1 + level) / 2) * error
    return max(0.0, area - margin), min(1.0, area + margin)


def holm(p_values) -> np.ndarray:
    """Holm's step-down adjustment: ``max over j <= i of min(1, (m - j + 1) p_(j))``.

    ``p_values`` (m,) float in [0, 1]; returns (m,) float64 in the order given. NaN marks a test that could
    not be done: it stays NaN and is not counted in m. Holm, Scand J Stat 6:65 (1979).
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    done = np.flatnonzero(~np.isnan(p_values))
    if p_values.ndim != 1 or (p_values[done] < 0).any() or (p_values[done] > 1).any():
        raise ValueError("p_values: wanted one dimension of values from 0 to 1")
    ascending = done[np.argsort(p_values[done])]
    adjusted = np.full(len(p_values), NAN)
    stepped = np.minimum(1, p_values[ascending] * np.arange(len(ascending), 0, -1))
    adjusted[ascending] = np.maximum.accumulate(stepped)
    return adjusted
