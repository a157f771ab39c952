"""The metrics of classification and regression, each an entry of one registry.

`METRICS` is the only list of metrics: parsers take their choices from it, and tables, figures and reports their
columns, labels and chance levels. A metric is added there and nowhere else.

Each metric is one small function of `LAMAR.statistics.metric_functions` that serves both for the value and for every
bootstrap resample, so that an interval belongs to the value beside it; scikit-learn's functions would take minutes for
a thousand resamples, and the tests compare each metric with them. An undefined metric is NaN with a ``RuntimeWarning``
that names it and gives the reason, never 0 or 0.5. Malformed input (shapes that differ, NaN or infinite values, labels
or probabilities out of range) is a ``ValueError`` that names the parameter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..registry import Entry, Registry
from . import metric_functions as functions
from .checks import (
    ScoredRecords,
    classification_records,
    finite_array,
    integer_classes,
    regression_records,
    warn,
)

__all__ = [
    "METRICS",
    "Metric",
    "auprc",
    "auroc",
    "classification_metrics",
    "headline_metrics",
    "metric_names",
    "metric_value",
    "multilabel_metrics",
    "regression_metrics",
    "reported_metrics",
]


@dataclass(frozen=True)
class Metric(Entry):
    """A metric and what tables, figures and reports need to know about it.

    ``function`` maps labels int (n,), scores float64 (n, k) and predicted classes int (n,), for regression targets and
    predictions float64 (n,), to a float, or to a list of floats whose mean is the metric.

    Attributes
    ----------
    tasks : tuple of str
        Tasks that the metric judges: "classification", "multilabel", "regression".
    higher_is_better : bool
        Whether larger values mean better predictions.
    chance : float or None
        Value of uninformative predictions; None where it depends on the data.
    low, high : float
        Smallest and largest value that the metric can take.
    any_score : bool
        Whether scores on any scale will do; else they must be probabilities.
    reported : int
        Place among the columns of result tables, which also get intervals; 0 for metrics without a column.
    headline : bool
        Whether log messages and closing tables show it.
    undefined : str
        Reason that the warning of an undefined value gives.
    """

    tasks: tuple[str, ...] = ("classification", "multilabel")
    higher_is_better: bool = True
    chance: float | None = None
    low: float = 0.0
    high: float = 1.0
    any_score: bool = False
    reported: int = 0
    headline: bool = False
    undefined: str = ""


_ONE_CLASS, _CONSTANT = "only one class is present", "targets or predictions are constant"
_ERROR = {"tasks": ("regression",), "higher_is_better": False, "high": math.inf}
_CORRELATION = {"tasks": ("regression",), "chance": 0.0, "low": -1.0, "headline": True, "undefined": _CONSTANT}

METRICS: Registry[Metric] = Registry(
    "metric",
    [
        Metric("accuracy", "accuracy", functions.accuracy, reported=1),
        Metric("f1", "F1", functions.one_vs_rest(functions.f1), reported=4, undefined="nothing is positive"),
        Metric(
            "precision", "precision", functions.one_vs_rest(functions.precision), undefined="none is predicted positive"
        ),
        Metric("recall", "recall", functions.one_vs_rest(functions.recall), undefined="no record is positive"),
        Metric(
            "auroc",
            "AUROC",
            functions.one_vs_rest(functions.roc_area),
            chance=0.5,
            any_score=True,
            reported=2,
            headline=True,
            undefined=_ONE_CLASS,
        ),
        Metric(
            "auprc",
            "AUPRC",
            functions.one_vs_rest(functions.average_precision),
            any_score=True,
            reported=3,
            headline=True,
            undefined=_ONE_CLASS,
        ),
        Metric(
            "mcc",
            "MCC",
            functions.matthews,
            chance=0.0,
            low=-1.0,
            reported=5,
            undefined="labels or predictions hold only one class",
        ),
        Metric("brier", "Brier score", functions.brier, higher_is_better=False, high=2.0),
        Metric("ece", "expected calibration error", functions.calibration_error, higher_is_better=False),
        Metric("log_loss", "log loss", functions.log_loss, higher_is_better=False, high=math.inf),
        Metric("mse", "mean squared error", functions.mean_squared_error, reported=3, **_ERROR),
        Metric("rmse", "root mean squared error", functions.root_mean_squared_error, **_ERROR),
        Metric("mae", "mean absolute error", functions.mean_absolute_error, **_ERROR),
        Metric(
            "r2",
            "R²",
            functions.r2,
            tasks=("regression",),
            chance=0.0,
            low=-math.inf,
            undefined="the targets are constant",
        ),
        Metric("pearson", "Pearson r", functions.pearson, reported=1, **_CORRELATION),
        Metric("spearman", "Spearman ρ", functions.spearman, reported=2, **_CORRELATION),
    ],
)


def metric_names(task: str) -> tuple[str, ...]:
    """Return the names of all metrics of a task ("classification", "multilabel" or "regression"), in order."""
    return tuple(name for name, metric in METRICS.items() if task in metric.tasks)


def reported_metrics(task: str) -> tuple[str, ...]:
    """Return the names of the metrics that are columns of result tables and get intervals, in column order."""
    shown = [name for name in metric_names(task) if METRICS[name].reported]
    return tuple(sorted(shown, key=lambda name: METRICS[name].reported))


def headline_metrics(task: str) -> tuple[str, ...]:
    """Return the names of the metrics that log messages and closing tables show."""
    return tuple(name for name in metric_names(task) if METRICS[name].headline)


# ------------------------------------------------------------------------------------------------------- values


def metric_value(name: str, records: ScoredRecords, where: str = "") -> float:
    """Return one metric of checked records.

    Parameters
    ----------
    name : str
        Name in `METRICS`.
    records : tuple of arrays
        As `LAMAR.statistics.checks.classification_records` or ``regression_records`` return them.
    where : str
        Addition to the warning of an undefined metric.

    Returns
    -------
    float
        NaN with a ``RuntimeWarning`` where the metric is undefined.
    """
    metric = METRICS[name]
    values = np.atleast_1d(metric.load()(*records))
    undefined = np.flatnonzero(np.isnan(values))
    if len(undefined):
        where += f" (class {', '.join(map(str, undefined))})" if len(values) > 1 else ""
        warn(f"{name} is undefined: {metric.undefined}{where}")
    return float(values.mean())


def auroc(labels, scores) -> float:
    """Return the area under the ROC curve.

    It is the share of positive-negative pairs in the right order, a tie counting one half.

    Parameters
    ----------
    labels : array-like of int, shape (n,)
    scores : array-like of float, shape (n,) or (n, k)
        Scores on any scale; with k columns the mean of the k one-vs-rest areas is returned.

    Returns
    -------
    float
        From 0 to 1; NaN with a ``RuntimeWarning`` when a class is absent.

    References
    ----------
    Hanley & McNeil, Radiology 143:29 (1982).
    """
    return metric_value("auroc", classification_records(labels, scores, "scores", probabilities=False))


def auprc(labels, scores) -> float:
    """Return the average precision ``sum_t (recall_t - recall_(t-1)) precision_t`` over distinct scores t.

    Nothing is interpolated. Parameters and undefined values are those of `auroc`.

    References
    ----------
    Davis & Goadrich, ICML (2006).
    """
    return metric_value("auprc", classification_records(labels, scores, "scores", probabilities=False))


def classification_metrics(labels, probabilities, threshold: float = 0.5) -> dict[str, float]:
    """Return all metrics of a binary or multi-class classifier by name.

    Parameters
    ----------
    labels : array-like of int, shape (n,)
        Classes, 0 .. k-1. Integral floats and booleans are accepted.
    probabilities : array-like of float, shape (n,) or (n, k)
        Probability of class 1, or of each class (rows sum to 1).
    threshold : float
        Two classes: class 1 is predicted from this probability on. More classes: the most probable is.

    Returns
    -------
    dict of float
        - accuracy ``(tp + tn) / n``, precision ``tp / (tp + fp)``, recall ``tp / (tp + fn)``,
          f1 ``2 tp / (2 tp + fp + fn)``; auroc and auprc as `auroc` and `auprc` return them
        - mcc ``(tp tn - fp fn) / sqrt((tp+fp)(tp+fn)(tn+fp)(tn+fn))``, for more classes R_K
        - brier: mean of ``(p - y)^2``; for more classes of ``sum_k (p_k - y_k)^2``, which for two classes would be
          twice as large
        - ece ``sum_b n_b/n |mean_b(p) - mean_b(y)|`` over 15 bins of equal width, closed below, p the probability of
          class 1; for more classes p is that of the predicted class and y whether it is right
        - log_loss: mean of ``-ln p_true``, p at least 2.2e-16

        With more than two classes f1, precision, recall, auroc and auprc are unweighted means over one-vs-rest
        classes, undefined as soon as one class's is.

    Raises
    ------
    ValueError
        The arrays have other shapes, values that are not finite, or values out of range.

    Warns
    -----
    RuntimeWarning
        For each undefined metric, which is NaN: auroc and auprc with one class; precision without predicted
        positives; recall without positives; f1 without either; mcc with one class among labels or among
        predictions.

    References
    ----------
    mcc: Matthews, BBA 405:442 (1975); Gorodkin, Comput Biol Chem 28:367 (2004). brier: Brier, Mon Weather Rev 78:1
    (1950). ece: Naeini et al., AAAI (2015); Guo et al., ICML (2017).
    """
    records = classification_records(labels, probabilities, "probabilities", threshold)
    return {name: metric_value(name, records) for name in metric_names("classification")}


def multilabel_metrics(labels, probabilities, threshold: float = 0.5) -> dict[str, float]:
    """Return all metrics of k yes-or-no labels per record by name.

    Parameters
    ----------
    labels : array-like of 0 and 1, shape (n, k)
    probabilities : array-like of float, shape (n, k)
    threshold : float
        A label is predicted from this probability on.

    Returns
    -------
    dict of float
        Each metric of `classification_metrics` under its name as the unweighted mean over labels (macro), undefined
        as soon as one label's is. ``NAME_micro`` (auroc, auprc, f1, precision, recall, mcc) pools all n k decisions;
        ``subset_accuracy`` is the share of records with every label right.

    Raises
    ------
    ValueError
        The shapes differ, or values are not finite or out of range.
    """
    probabilities = finite_array(probabilities, "probabilities", (2,))
    labels = integer_classes(labels, "labels", 2, (2,))
    if labels.shape != probabilities.shape:
        raise ValueError(f"`probabilities`: found shape {probabilities.shape}, wanted {labels.shape} as `labels`")
    pairs = [*zip(labels.T, probabilities.T), (labels.ravel(), probabilities.ravel())]
    *columns, pooled = [classification_records(y, p, "probabilities", threshold) for y, p in pairs]
    values = {}
    for name in metric_names("multilabel"):
        macro = [metric_value(name, column, f" (label {j})") for j, column in enumerate(columns)]
        values[name] = float(np.mean(macro))
    for name in ("auroc", "auprc", "f1", "precision", "recall", "mcc"):
        values[f"{name}_micro"] = metric_value(name, pooled, " (all labels pooled)")
    values["subset_accuracy"] = float(((probabilities >= threshold) == labels).all(axis=1).mean())
    return values


def regression_metrics(targets, predictions) -> dict[str, float]:
    """Return all metrics of real-valued predictions by name.

    Parameters
    ----------
    targets, predictions : array-like of float, shape (n,)

    Returns
    -------
    dict of float
        mse ``mean((y - p)^2)``, rmse its root, mae ``mean(|y - p|)``, r2 ``1 - mse / var(y)``, pearson
        ``cov(y, p) / (sd(y) sd(p))``, spearman the same of midranks. NaN with a ``RuntimeWarning``: r2 with constant
        targets, the correlations with constant targets or predictions.

    Raises
    ------
    ValueError
        The lengths differ, or a value is not finite.

    References
    ----------
    spearman: Spearman, Am J Psychol 15:72 (1904).
    """
    records = regression_records(targets, predictions, "predictions")
    return {name: metric_value(name, records) for name in metric_names("regression")}
