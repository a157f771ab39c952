"""Metrics against numbers derived by hand, scikit-learn and SciPy."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from LAMAR.statistics import metrics
from LAMAR.statistics.bootstrap import bootstrap_intervals
from LAMAR.statistics.metrics import (
    METRICS,
    Metric,
    auprc,
    auroc,
    classification_metrics,
    headline_metrics,
    metric_names,
    multilabel_metrics,
    regression_metrics,
    reported_metrics,
)


@st.composite
def binary_data(draw):
    """Both classes twice or more, scores on a coarse grid so that ties are common."""
    labels = draw(st.lists(st.integers(0, 1), min_size=4, max_size=40))
    labels += [0, 0, 1, 1]
    grid = st.integers(0, 12).map(lambda v: v / 12)
    scores = draw(st.lists(grid, min_size=len(labels), max_size=len(labels)))
    return np.array(labels), np.array(scores)


# ------------------------------------------------------------------------------------------ by hand


def test_four_records_by_hand():
    labels, p = [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]
    found = classification_metrics(labels, p)
    # Pairs in order: 0.35 > 0.1, 0.8 > 0.1, 0.8 > 0.4 of four.
    assert found["auroc"] == 0.75
    # Ranked 1 0 1 0: precision 1 at the first positive, 2/3 at the second.
    assert found["auprc"] == pytest.approx((1 + 2 / 3) / 2)
    # Predicted 0 0 0 1: tp 1, fp 0, fn 1, tn 2.
    assert found["accuracy"] == 0.75
    assert found["precision"] == 1
    assert found["recall"] == 0.5
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["mcc"] == pytest.approx((1 * 2 - 0 * 1) / math.sqrt(1 * 2 * 2 * 3))
    assert found["brier"] == pytest.approx((0.01 + 0.16 + 0.4225 + 0.04) / 4)
    # Fifteen bins: 0.1 in bin 1, 0.4 in 6, 0.35 in 5, 0.8 in 12: each alone.
    assert found["ece"] == pytest.approx((0.1 + 0.4 + 0.65 + 0.2) / 4)
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.6, 0.35, 0.8]).mean())
    assert all(type(value) is float for value in found.values())


def test_ece_pools_the_records_of_a_bin():
    # 0.90, 0.91 and 0.92 share bin 13: mean 0.91 against two of three positive. 1 belongs to the last bin.
    found = classification_metrics([1, 1, 0, 1, 0], [0.90, 0.91, 0.92, 1.0, 0.0])
    assert found["ece"] == pytest.approx(3 / 5 * (0.91 - 2 / 3))


def test_ties_count_one_half():
    assert auroc([0, 1], [0.5, 0.5]) == 0.5
    assert auroc([0, 1, 1], [0.5, 0.5, 0.9]) == 0.75
    assert auprc([0, 1, 1], [0.5, 0.5, 0.9]) == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)


def test_multi_class_by_hand():
    p = [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]
    found = classification_metrics([0, 1, 2, 2], p)
    squares = [0.09 + 0.04 + 0.01, 0.01 + 0.16 + 0.09, 0.04 + 0.25 + 0.49, 0.01 + 0.01 + 0.04]
    assert found["brier"] == pytest.approx(np.mean(squares))
    # Predicted 0 1 1 2 with confidences 0.7, 0.6, 0.5, 0.8 in bins 10, 9, 7, 12: the third is wrong.
    assert found["accuracy"] == 0.75
    assert found["ece"] == pytest.approx((0.3 + 0.4 + 0.5 + 0.2) / 4)
    assert found["recall"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert found["precision"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    # Class 2 (0.3 and 0.8 against 0.1 and 0.3): three pairs and a tie of four. The others are in order.
    assert found["auroc"] == pytest.approx((1 + 1 + 3.5 / 4) / 3)


def test_regression_by_hand():
    found = regression_metrics([1, 2, 3, 4], [1, 2, 3, 8])
    assert found["mse"] == 4
    assert found["rmse"] == 2
    assert found["mae"] == 1
    assert found["r2"] == pytest.approx(1 - 4 / 1.25)
    assert found["spearman"] == pytest.approx(1)
    assert found["pearson"] == pytest.approx(11 / math.sqrt(5 * 29))


# ------------------------------------------------------------------------------------- against references


@settings(max_examples=150, deadline=None)
@given(binary_data())
def test_binary_equals_scikit_learn(data):
    labels, p = data
    predicted = (p >= 0.5).astype(int)
    expected = {
        "accuracy": sk.accuracy_score(labels, predicted),
        "recall": sk.recall_score(labels, predicted),
        "f1": sk.f1_score(labels, predicted, zero_division=np.nan),
        "auroc": sk.roc_auc_score(labels, p),
        "auprc": sk.average_precision_score(labels, p),
        "brier": sk.brier_score_loss(labels, p),
        "log_loss": sk.log_loss(labels, np.column_stack([1 - p, p])),
        "precision": sk.precision_score(labels, predicted, zero_division=np.nan),
        "mcc": sk.matthews_corrcoef(labels, predicted) if np.ptp(predicted) else np.nan,
    }
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # which ones come is the matter of other tests
        one_column = classification_metrics(labels, p)
        two_columns = classification_metrics(labels, np.column_stack([1 - p, p]))
    assert {name: one_column[name] for name in expected} == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert two_columns == pytest.approx(one_column, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 5))
def test_multi_class_equals_scikit_learn(seed, k):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(k), rng.integers(0, k, 30)])
    logits = rng.normal(size=(len(labels), k)).round(1) + 2 * np.eye(k)[labels]
    logits[:k] = 5 * np.eye(k)  # each class is predicted at least once
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found, predicted = classification_metrics(labels, p), p.argmax(axis=1)
    assert found["f1"] == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    assert found["precision"] == pytest.approx(sk.precision_score(labels, predicted, average="macro"))
    assert found["recall"] == pytest.approx(sk.recall_score(labels, predicted, average="macro"))
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(labels, predicted))
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(labels, p, multi_class="ovr"))
    assert found["auprc"] == pytest.approx(sk.average_precision_score(np.eye(k)[labels], p, average="macro"))
    assert found["log_loss"] == pytest.approx(sk.log_loss(labels, p))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_multilabel_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.zeros((1, 3)), np.ones((1, 3)), rng.integers(0, 2, (30, 3))]).astype(int)
    p = np.concatenate([np.zeros((1, 3)), np.ones((1, 3)), rng.random((30, 3)).round(1)])
    found, predicted = multilabel_metrics(labels, p), p >= 0.5
    for average, suffix in (("macro", ""), ("micro", "_micro")):
        assert found[f"auroc{suffix}"] == pytest.approx(sk.roc_auc_score(labels, p, average=average))
        expected = sk.average_precision_score(labels, p, average=average)
        assert found[f"auprc{suffix}"] == pytest.approx(expected)
        assert found[f"f1{suffix}"] == pytest.approx(sk.f1_score(labels, predicted, average=average))
    assert found["mcc_micro"] == pytest.approx(sk.matthews_corrcoef(labels.ravel(), predicted.ravel()))
    assert found["subset_accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted))
    assert found["brier"] == pytest.approx(((p - labels) ** 2).mean())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1e-6, 1.0, 1e6]), st.sampled_from([0.0, 1e3]))
def test_regression_equals_scipy(seed, scale, offset):
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=30).round(1)
    predictions = (targets + rng.normal(size=30)).round(1)
    targets, predictions = targets * scale + offset * scale, predictions * scale + offset * scale
    found = regression_metrics(targets, predictions)
    assert found["pearson"] == pytest.approx(stats.pearsonr(targets, predictions).statistic, abs=1e-9)
    assert found["spearman"] == pytest.approx(stats.spearmanr(targets, predictions).statistic, abs=1e-9)
    assert found["r2"] == pytest.approx(sk.r2_score(targets, predictions), abs=1e-6)
    assert found["mse"] == pytest.approx(sk.mean_squared_error(targets, predictions))


@settings(max_examples=50, deadline=None)
@given(binary_data())
def test_rank_metrics_ignore_monotone_transforms_and_the_order_of_records(data):
    labels, scores = data
    shuffled = np.random.default_rng(0).permutation(len(labels))
    for metric in (auroc, auprc):
        assert metric(labels, np.exp(3 * scores) - 7) == metric(labels, scores)
        assert metric(labels[shuffled], scores[shuffled]) == metric(labels, scores)
    assert auroc(labels, -scores) == pytest.approx(1 - auroc(labels, scores))


# ------------------------------------------------------------------------------------------ undefined


def undefined(function, *args) -> tuple[dict[str, float], dict[str, str]]:
    """The function's result and, by metric, the reasons its warnings gave."""
    with pytest.warns(RuntimeWarning) as caught:
        found = function(*args)
    reasons = dict(str(w.message).split(" is undefined: ") for w in caught)
    assert {name for name, value in found.items() if math.isnan(value)} == set(reasons)
    return found, reasons


def test_one_class_is_nan_and_says_so():
    found, reasons = undefined(classification_metrics, [1, 1, 1], [0.2, 0.7, 0.9])
    assert set(reasons) == {"auroc", "auprc", "mcc"}
    assert "only one class" in reasons["auroc"]
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["precision"] == 1
    _, reasons = undefined(classification_metrics, [0, 0], [0.2, 0.7])
    assert set(reasons) == {"auroc", "auprc", "mcc", "recall"}
    _, reasons = undefined(classification_metrics, [0, 0], [0.2, 0.3])
    assert set(reasons) == {"auroc", "auprc", "mcc", "recall", "precision", "f1"}


def test_constant_predictions_are_nan_where_a_metric_is_undefined():
    found, reasons = undefined(classification_metrics, [0, 1, 1], [0.4, 0.4, 0.4])
    assert set(reasons) == {"precision", "mcc"}
    assert "predicted positive" in reasons["precision"]
    assert found["recall"] == found["f1"] == 0  # defined: positives exist and none was found
    assert found["auroc"] == 0.5  # defined: every pair is a tie


def test_a_class_absent_from_the_labels_is_named():
    p = np.full((4, 3), 0.1) + 0.7 * np.eye(3)[[0, 1, 0, 1]]
    _, reasons = undefined(classification_metrics, [0, 1, 0, 1], p)
    assert set(reasons) == {"auroc", "auprc", "f1", "precision", "recall"}
    assert reasons["auroc"].endswith("(class 2)")


def test_undefined_label_of_many_is_named():
    labels, p = np.array([[0, 1], [1, 1]]), np.array([[0.2, 0.6], [0.7, 0.8]])
    with pytest.warns(RuntimeWarning, match=r"\(label 1\)"):
        found = multilabel_metrics(labels, p)
    assert math.isnan(found["auroc"])
    assert found["auroc_micro"] == 1


def test_constant_regression_is_nan():
    _, reasons = undefined(regression_metrics, [1, 2, 3], [0.1, 0.1, 0.1])
    assert set(reasons) == {"pearson", "spearman"}
    _, reasons = undefined(regression_metrics, [0.1, 0.1, 0.1], [1, 2, 3])
    assert set(reasons) == {"pearson", "spearman", "r2"}


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1], [0.1, np.nan], "`probabilities`: 1 values are NaN or infinite"),
        ([0, 1], [0.1, 1.2], "`probabilities`: wanted probabilities from 0 to 1"),
        ([0, 1], [0.1, -0.2], "`probabilities`: wanted probabilities from 0 to 1"),
        ([0, 1], [[0.1, 0.5], [0.5, 0.5]], "rows that sum to 1"),
        ([0, 2], [0.1, 0.2], "`labels`: found 2, wanted integers from 0 to 1"),
        ([0, -1], [0.1, 0.2], "`labels`: found -1"),
        ([0, 0.5], [0.1, 0.2], "`labels`: found 0.5"),
        ([0, 1, 1], [0.1, 0.2], "`probabilities`: found 2 rows, wanted 3"),
        ([], [], "not empty"),
        ([0, 1], [[0.1], [0.2]], r"`probabilities`: found shape \(2, 1\)"),
        ([[0, 1]], [0.1, 0.2], r"`labels`: found shape \(1, 2\)"),
    ],
)
def test_malformed_input_is_named(labels, probabilities, message):
    with pytest.raises(ValueError, match=message):
        classification_metrics(labels, probabilities)


def test_malformed_regression_and_labels_are_named():
    with pytest.raises(ValueError, match="`predictions`: found 1 rows, wanted 2"):
        regression_metrics([1, 2], [1])
    with pytest.raises(ValueError, match="`targets`: 1 values are NaN"):
        regression_metrics([1, np.nan], [1, 2])
    with pytest.raises(ValueError, match="`probabilities`: found shape"):
        multilabel_metrics([[0, 1]], [[0.1, 0.2], [0.3, 0.4]])


# ------------------------------------------------------------------------------------------ registry


def test_names_by_task_in_the_order_of_tables():
    names = "accuracy f1 precision recall auroc auprc mcc brier ece log_loss".split()
    assert list(classification_metrics([0, 1], [0.2, 0.7])) == names == list(metric_names("classification"))
    assert metric_names("multilabel") == metric_names("classification")
    assert list(regression_metrics([1, 2], [1, 3])) == list(metric_names("regression"))
    assert reported_metrics("classification") == ("accuracy", "auroc", "auprc", "f1", "mcc")
    assert reported_metrics("regression") == ("pearson", "spearman", "mse")
    assert headline_metrics("classification") == ("auroc", "auprc")
    assert headline_metrics("regression") == ("pearson", "spearman")
    assert metric_names("ranking") == ()


def test_direction_range_and_chance_hold_on_data():
    """Perfect, uninformative and inverted predictions of a balanced set."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1], 4000))
    perfect = classification_metrics(labels, np.where(labels == 1, 0.99, 0.01))
    random = classification_metrics(labels, rng.random(8000))
    inverted = classification_metrics(labels, np.where(labels == 1, 0.01, 0.99))
    targets, noise = rng.normal(size=(2, 8000))
    perfect |= regression_metrics(targets, targets + 1e-3 * noise)
    with pytest.warns(RuntimeWarning, match="constant"):  # R² of the mean is 0; correlations with it do not exist
        random |= regression_metrics(targets, np.full(8000, targets.mean()))
    random |= {name: regression_metrics(targets, noise)[name] for name in ("pearson", "spearman")}
    inverted |= regression_metrics(targets, -targets)
    for name, metric in METRICS.items():
        better, worse = (perfect, inverted) if metric.higher_is_better else (inverted, perfect)
        assert better[name] > worse[name], name
        assert all(metric.low <= values[name] <= metric.high for values in (perfect, random, inverted)), name
        if metric.chance is not None:
            assert random[name] == pytest.approx(metric.chance, abs=0.03), name


def test_a_metric_is_added_in_one_place():
    METRICS.add(Metric("half", "half", lambda y, p, d: (y == d).mean() / 2, reported=9, headline=True))
    try:
        found = classification_metrics([0, 1, 1, 1], [0.1, 0.9, 0.9, 0.9])
        assert found["half"] == 0.5
        assert found == pytest.approx(classification_metrics([0, 1, 1, 1], [0.1, 0.9, 0.9, 0.9]))
        assert multilabel_metrics([[0], [1]], [[0.1], [0.9]])["half"] == 0.5
        assert bootstrap_intervals([0, 1], [0.1, 0.9], ("half",), n_boot=5)["half"] == (0.5, 0.5)
        assert reported_metrics("classification")[-1] == headline_metrics("classification")[-1] == "half"
    finally:
        METRICS.remove("half")
    assert "half" not in classification_metrics([0, 1], [0.1, 0.9])


def test_import_stays_light():
    # A bare package stands in for LAMAR/__init__.py: this is about the module alone.
    code = (
        "import sys, types; package = types.ModuleType('LAMAR'); package.__path__ = [sys.argv[1]];"
        "sys.modules['LAMAR'] = package; import LAMAR.statistics.metrics;"
        "print([m for m in ('torch', 'transformers', 'tensorflow', 'sklearn', 'scipy') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(Path(metrics.__file__).parents[1])]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_public_names_exist():
    assert all(hasattr(metrics, name) for name in metrics.__all__)
