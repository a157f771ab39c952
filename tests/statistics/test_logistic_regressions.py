"""Many logistic regressions at once: the minimum that scikit-learn finds one by one, unknown labels, rare classes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from LAMAR.statistics import logistic_regressions
from LAMAR.statistics.logistic_regressions import fit_path
from LAMAR.statistics.track_metrics import UNKNOWN

PENALTIES = (1e-3, 1e-1, 1.0)


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray]:
    """Correlated features, one without variance in its own direction; shares of positives of 0.5, 0.1 and 0.01."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4_000, 12)) @ rng.normal(size=(12, 12))
    features[:, -1] = features[:, 0] - features[:, 1]
    features = ((features - features.mean(0)) / features.std(0)).astype(np.float32)
    log_odds = features @ rng.normal(scale=0.6, size=(12, 3)) + [0.0, -3.0, -6.0]
    labels = (rng.random(log_odds.shape) < 1 / (1 + np.exp(-log_odds))).astype(np.int8)
    labels[rng.random(labels.shape) < 0.2] = UNKNOWN
    return features, labels


def test_the_minima_are_those_of_scikit_learn(problem):
    features, labels = problem
    for penalty, found in zip(PENALTIES, fit_path(features, labels, PENALTIES)):
        for j in range(labels.shape[1]):
            known = labels[:, j] != UNKNOWN
            wanted = LogisticRegression(C=penalty, tol=1e-9, max_iter=5_000)
            wanted.fit(features[known].astype(np.float64), labels[known, j])
            assert found.coefficients[:, j] == pytest.approx(wanted.coef_[0], abs=0.01)
            assert found.intercepts[j] == pytest.approx(wanted.intercept_[0], abs=0.01)
    assert found.log_odds(features[:5]) == pytest.approx(
        features[:5] @ found.coefficients + found.intercepts, rel=1e-4, abs=1e-4
    )
    assert found.log_odds(features[:5]).dtype == np.float32


def test_intercept_alone_is_the_share_of_positives_by_hand():
    # Features say nothing: log-odds of 1 in 4 among known records, whatever the unknown ones are.
    labels = np.array([[1], [0], [0], [0], [UNKNOWN], [UNKNOWN]], dtype=np.int8)
    (found,) = fit_path(np.zeros((6, 2), dtype=np.float32), labels, [1.0])
    assert found.intercepts == pytest.approx([np.log(1 / 3)])
    assert found.coefficients.tolist() == [[0.0], [0.0]]


def test_one_feature_by_hand():
    # Two records at -1 and 1, labels 0 and 1, C = 1: the gradient is 0 where w = 2 / (1 + e^w), at 0.675.
    (found,) = fit_path(np.array([[-1.0], [1.0]], dtype=np.float32), np.array([[0], [1]], dtype=np.int8), [1.0])
    assert found.coefficients[0, 0] == pytest.approx(0.675, abs=0.03)
    assert found.intercepts[0] == pytest.approx(0, abs=0.03)


def test_other_labels_and_the_size_of_blocks_change_nothing(problem, monkeypatch):
    features, labels = problem
    together = list(fit_path(features, labels, PENALTIES))
    monkeypatch.setattr(logistic_regressions, "BLOCK", 300)
    for j in range(labels.shape[1]):
        for found, alone in zip(together, fit_path(features, labels[:, [j]], PENALTIES)):
            assert found.coefficients[:, j] == pytest.approx(alone.coefficients[:, 0], abs=0.01)


def test_separable_classes_end_at_the_penalty(problem):
    features = problem[0]
    labels = (features[:, [0]] > 1.5).astype(np.int8)
    (found,) = fit_path(features, labels, [10.0])
    wanted = LogisticRegression(C=10.0, tol=1e-9, max_iter=5_000).fit(features.astype(np.float64), labels[:, 0])
    assert found.coefficients[:, 0] == pytest.approx(wanted.coef_[0], abs=0.2)
    assert np.isfinite(found.intercepts).all()


@pytest.mark.parametrize("column", [[0, 0, UNKNOWN], [1, 1, UNKNOWN]])
def test_one_class_is_refused(column):
    labels = np.stack([[0, 1, 1], column], axis=1).astype(np.int8)
    with pytest.raises(ValueError, match=r"`labels`: found \d positive of 2 records in column 1, wanted both"):
        next(fit_path(np.zeros((3, 1), dtype=np.float32), labels, [1.0]))
