"""Metrics against numbers derived by hand, scikit-learn, SciPy, and DeLong written from its definition."""

from __future__ import annotations

import math
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from LAMAR.statistics import metrics
from LAMAR.statistics.metrics import (
    auprc,
    auroc,
    bootstrap_intervals,
    classification_metrics,
    delong_interval,
    delong_test,
    holm,
    multilabel_metrics,
    paired_bootstrap,
    regression_metrics,
)


@st.composite
def binary_data(draw):
    """Both classes twice or more, scores on a coarse grid so that ties are common."""
    labels = draw(st.lists(st.integers(0, 1), min_size=4, max_size=40))
    labels += [0, 0, 1, 1]
    grid = st.integers(0, 12).map(lambda v: v / 12)
    scores = draw(st.lists(grid, min_size=len(labels), max_size=len(labels)))
    return np.array(labels), np.array(scores)


def noisy_scores(n: int, seed: int, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    return labels, rng.normal(size=n) + signal * labels


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


def test_holm_by_hand():
    # Ascending 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1, never decreasing.
    np.testing.assert_allclose(holm([0.03, 0.01, 0.04, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.6]), [1, 1])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    assert holm([]).shape == (0,)
    with pytest.raises(ValueError, match="p_values"):
        holm([0.5, 1.5])


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


def test_constant_predictions_are_nan_where_nothing_can_be_said():
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
        ([0, 1], [0.1, np.nan], "probabilities: 1 values are NaN or infinite"),
        ([0, 1], [0.1, 1.2], "probabilities: wanted probabilities from 0 to 1"),
        ([0, 1], [0.1, -0.2], "probabilities: wanted probabilities from 0 to 1"),
        ([0, 1], [[0.1, 0.5], [0.5, 0.5]], "rows that sum to 1"),
        ([0, 2], [0.1, 0.2], "labels: found 2, wanted integers from 0 to 1"),
        ([0, -1], [0.1, 0.2], "labels: found -1"),
        ([0, 0.5], [0.1, 0.2], "labels: found 0.5"),
        ([0, 1, 1], [0.1, 0.2], "probabilities: found 2 rows, wanted 3"),
        ([], [], "not empty"),
        ([0, 1], [[0.1], [0.2]], r"probabilities: found shape \(2, 1\)"),
        ([[0, 1]], [0.1, 0.2], r"labels: found shape \(1, 2\)"),
    ],
)
def test_malformed_input_is_named(labels, probabilities, message):
    with pytest.raises(ValueError, match=message):
        classification_metrics(labels, probabilities)


def test_other_malformed_input_is_named():
    with pytest.raises(ValueError, match="predictions: found 1 rows, wanted 2"):
        regression_metrics([1, 2], [1])
    with pytest.raises(ValueError, match="targets: 1 values are NaN"):
        regression_metrics([1, np.nan], [1, 2])
    with pytest.raises(ValueError, match="scores_b: 1 values are NaN"):
        delong_test([0, 0, 1, 1], [1, 2, 3, 4], [1, 2, 3, np.inf])
    with pytest.raises(ValueError, match="metrics: found 'pearson'"):
        bootstrap_intervals([0, 1], [0.1, 0.2], ("pearson",))
    with pytest.raises(ValueError, match="task: found 'ranking'"):
        bootstrap_intervals([0, 1], [0.1, 0.2], task="ranking")
    with pytest.raises(ValueError, match="n_boot: found 0"):
        bootstrap_intervals([0, 1], [0.1, 0.2], n_boot=0)
    with pytest.raises(ValueError, match="scores: wanted probabilities"):
        bootstrap_intervals([0, 1], [-3.0, 2.0], ("auroc", "brier"))
    with pytest.raises(ValueError, match="probabilities: found shape"):
        multilabel_metrics([[0, 1]], [[0.1, 0.2], [0.3, 0.4]])


# ------------------------------------------------------------------------------------------ bootstrap


def test_bootstrap_repeats_with_its_seed_and_holds_the_value():
    labels, scores = noisy_scores(300, 0)
    first = bootstrap_intervals(labels, scores, n_boot=200, seed=4)
    assert first == bootstrap_intervals(labels, scores, n_boot=200, seed=4)
    assert first != bootstrap_intervals(labels, scores, n_boot=200, seed=5)
    assert first["auroc"][0] < auroc(labels, scores) < first["auroc"][1]
    assert first["auprc"][0] < auprc(labels, scores) < first["auprc"][1]


def test_bootstrap_agrees_with_delong():
    labels, scores = noisy_scores(1500, 1)
    low, high = bootstrap_intervals(labels, scores, ("auroc",))["auroc"]
    assert (low, high) == pytest.approx(delong_interval(labels, scores), abs=0.004)


def test_no_resample_lacks_a_class():
    # Two positives of fifty: unstratified, one resample in eight would have none and warn, which fails.
    labels, scores = np.repeat([0, 1], [48, 2]), np.linspace(0, 1, 50)
    assert bootstrap_intervals(labels, scores, n_boot=300)["auroc"] == (1, 1)
    # Recall has two records to draw from: 0.9 is found, 0.1 is not.
    p = np.append(np.zeros(48), [0.1, 0.9])
    assert bootstrap_intervals(labels, p, ("recall",), n_boot=300)["recall"] == (0, 1)


def test_bootstrap_of_every_metric():
    labels, scores = noisy_scores(400, 2)
    p = 1 / (1 + np.exp(-scores))
    values = classification_metrics(labels, p)
    intervals = bootstrap_intervals(labels, p, list(values), n_boot=200)
    for name in set(values) - {"ece"}:
        assert intervals[name][0] < values[name] < intervals[name][1]
    p = p + np.random.default_rng(2).normal(size=400)
    values = regression_metrics(scores, p)
    intervals = bootstrap_intervals(scores, p, list(values), n_boot=200, task="regression")
    for name, value in values.items():
        assert intervals[name][0] < value < intervals[name][1]


def test_bootstrap_of_three_classes():
    rng = np.random.default_rng(9)
    labels = rng.integers(0, 3, 300)
    p = rng.dirichlet(np.ones(3), 300) / 2 + np.eye(3)[labels] / 2 * rng.random((300, 1))
    p /= p.sum(axis=1, keepdims=True)
    found = bootstrap_intervals(labels, p, ("auroc", "mcc"), n_boot=100)
    values = classification_metrics(labels, p)
    assert found["auroc"][0] < values["auroc"] < found["auroc"][1]
    assert found["mcc"][0] < values["mcc"] < found["mcc"][1]


def test_undefined_resamples_are_left_out_aloud():
    with pytest.warns(RuntimeWarning, match="precision is undefined in [0-9]+ of 200 resamples"):
        found = bootstrap_intervals([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.9], ("precision",), n_boot=200)
    assert found["precision"] == (1, 1)
    with pytest.warns(RuntimeWarning, match="auroc is undefined in 20 of 20"):
        found = bootstrap_intervals([1, 1], [0.1, 0.2], ("auroc",), n_boot=20)
    assert np.isnan(found["auroc"]).all()


def test_bootstrap_is_fast():
    labels, scores = noisy_scores(4000, 3)
    start = time.process_time()
    bootstrap_intervals(labels, scores, n_boot=1000)
    assert time.process_time() - start < 2


# ------------------------------------------------------------------------------------------ paired tests


def slow_delong(labels, a, b) -> tuple[float, float]:
    """Difference and its standard error by DeLong et al. 1988, from the m x n kernel and full covariances."""
    labels = np.asarray(labels)
    placements = []
    for scores in (np.asarray(a, float), np.asarray(b, float)):
        x, y = scores[labels == 1], scores[labels == 0]
        psi = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
        placements.append((psi.mean(), psi.mean(axis=1), psi.mean(axis=0)))
    (area_a, v10_a, v01_a), (area_b, v10_b, v01_b) = placements
    s = np.cov(v10_a, v10_b) / len(v10_a) + np.cov(v01_a, v01_b) / len(v01_a)
    return area_a - area_b, math.sqrt(max(0, s[0, 0] + s[1, 1] - 2 * s[0, 1]))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(6, 60), st.booleans())
def test_delong_equals_its_definition(seed, n, tied):
    rng = np.random.default_rng(seed)
    labels = np.append([0, 0, 1, 1], rng.integers(0, 2, n))
    a, b = rng.normal(size=(2, n + 4)) + 0.7 * labels
    if tied:
        a, b = a.round(), b.round()
    difference, error = slow_delong(labels, a, b)
    assume(error > 1e-6)
    found = delong_test(labels, a, b)
    assert found.difference == pytest.approx(difference, abs=1e-12)
    assert found.difference == pytest.approx(auroc(labels, a) - auroc(labels, b), abs=1e-12)
    assert found.statistic == pytest.approx(difference / error, rel=1e-8, abs=1e-8)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(difference / error)), rel=1e-6)
    margin = stats.norm.ppf(0.975) * error
    assert (found.low, found.high) == pytest.approx((difference - margin, difference + margin), abs=1e-9)


def test_delong_by_hand():
    # Positives 3, 1, negatives 2, 0: 3 of 4 pairs in order. Placements 1, 1/2 and 1/2, 1: variances 1/8.
    area, error = 0.75, math.sqrt(1 / 8 / 2 + 1 / 8 / 2)
    low, high = delong_interval([1, 1, 0, 0], [3, 1, 2, 0])
    assert low == pytest.approx(area - 1.959964 * error, abs=1e-6)
    assert high == 1  # cut from 1.44


def test_equal_orderings_have_no_difference():
    labels, scores = noisy_scores(200, 5)
    for other in (scores, np.exp(scores)):
        found = delong_test(labels, scores, other)
        assert (found.difference, found.p_value, found.low, found.high) == (0, 1, 0, 0)
        found = paired_bootstrap(labels, scores, other, n_boot=50)
        assert (found.difference, found.p_value, found.low, found.high) == (0, 1, 0, 0)


def test_delong_is_uniform_under_the_null():
    rng = np.random.default_rng(6)
    labels = np.repeat([0, 1], 60)
    p_values = []
    for _ in range(400):
        shared, *own = rng.normal(size=(3, 120))
        p_values.append(delong_test(labels, labels + shared + own[0], labels + shared + own[1]).p_value)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_delong_where_it_is_undefined():
    with pytest.warns(RuntimeWarning, match="fewer than two records of a class"):
        found = delong_test([0, 0, 1], [1, 2, 3], [3, 2, 1])
    assert math.isnan(found.p_value)
    with pytest.warns(RuntimeWarning, match="no variance"):
        found = delong_test([0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1])
    assert found.difference == 1
    assert math.isnan(found.p_value)
    assert delong_interval([0, 0, 1, 1], [1, 2, 3, 4]) == (1, 1)


def test_paired_bootstrap_agrees_with_delong():
    rng = np.random.default_rng(7)
    labels, shared = noisy_scores(1500, 7)
    a, b = shared + rng.normal(size=1500), shared + 1.3 * rng.normal(size=1500)
    delong, boot = delong_test(labels, a, b), paired_bootstrap(labels, a, b, n_boot=2000)
    assert boot.difference == pytest.approx(delong.difference)
    assert (boot.low, boot.high) == pytest.approx((delong.low, delong.high), abs=0.003)
    assert boot.statistic == pytest.approx(delong.statistic, rel=0.1)
    assert boot.p_value == pytest.approx(delong.p_value, abs=0.02)


def test_paired_bootstrap_of_other_metrics_and_direction():
    labels, scores = noisy_scores(300, 8, signal=3)
    noise = np.random.default_rng(8).normal(size=300)
    found = paired_bootstrap(labels, scores, noise, "auprc", n_boot=200)
    assert found.low > 0
    assert found.p_value == pytest.approx(2 / 201)
    swapped = paired_bootstrap(labels, noise, scores, "auprc", n_boot=200)
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low))
    found = paired_bootstrap(scores, scores + noise, scores, "mse", n_boot=100, task="regression")
    assert found.difference == pytest.approx((noise**2).mean())
    with pytest.warns(RuntimeWarning, match="auroc is undefined: only one class is present"):
        found = paired_bootstrap([1, 1], [0.1, 0.2], [0.1, 0.3], n_boot=10)
    assert math.isnan(found.p_value)


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
