"""Paired tests: DeLong written from its definition, the paired bootstrap beside it, Holm by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from noisy_scores import noisy_scores
from scipy import stats

from LAMAR.statistics.bootstrap import paired_bootstrap
from LAMAR.statistics.comparisons import holm
from LAMAR.statistics.delong import delong_interval, delong_test
from LAMAR.statistics.metrics import auroc


def test_holm_by_hand():
    # Ascending 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1, never decreasing.
    np.testing.assert_allclose(holm([0.03, 0.01, 0.04, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.6]), [1, 1])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    assert holm([]).shape == (0,)
    with pytest.raises(ValueError, match="`p_values`"):
        holm([0.5, 1.5])


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


def test_malformed_scores_are_named():
    with pytest.raises(ValueError, match="`scores_b`: 1 values are NaN"):
        delong_test([0, 0, 1, 1], [1, 2, 3, 4], [1, 2, 3, np.inf])
