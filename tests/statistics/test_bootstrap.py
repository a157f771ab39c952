"""Bootstrap intervals: they repeat, hold the value, agree with DeLong, and leave out what is undefined."""

from __future__ import annotations

import time

import numpy as np
import pytest
from noisy_scores import noisy_scores

from LAMAR.statistics.bootstrap import bootstrap_intervals
from LAMAR.statistics.delong import delong_interval
from LAMAR.statistics.metrics import auprc, auroc, classification_metrics, regression_metrics


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


def test_undefined_resamples_are_left_out_with_a_warning():
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


def test_malformed_input_is_named():
    with pytest.raises(ValueError, match="`metrics`: found 'pearson'"):
        bootstrap_intervals([0, 1], [0.1, 0.2], ("pearson",))
    with pytest.raises(ValueError, match="`task`: found 'ranking'"):
        bootstrap_intervals([0, 1], [0.1, 0.2], task="ranking")
    with pytest.raises(ValueError, match="`n_boot`: found 0"):
        bootstrap_intervals([0, 1], [0.1, 0.2], n_boot=0)
    with pytest.raises(ValueError, match="`scores`: wanted probabilities"):
        bootstrap_intervals([0, 1], [-3.0, 2.0], ("auroc", "brier"))
