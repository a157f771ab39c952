"""Local maxima of profiles, and false discovery rates from counts of p-values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from LAMAR.prediction.calls import PValueCounts, local_maxima
from LAMAR.prediction.tiling import Profile


def profile(*scores: float, width: int = 10) -> Profile:
    return Profile(np.arange(len(scores) + 1) * width, np.array(scores, dtype=np.float32)[:, None])


@pytest.mark.parametrize(
    ("scores", "distance", "wanted"),
    [
        ((1, 3, 2, 0, 5, 1), 10, [1, 4]),
        ((1, 3, 2, 0, 5, 1), 30, [4]),
        ((1, 3, 2, 0, 5, 1), 29, [1, 4]),
        ((2, 2, 2, 1), 10, [0]),  # of a plateau the first
        ((0, 1), 5, [0, 1]),  # nothing within the distance
        ((7,), 50, [0]),
    ],
)
def test_maxima_by_hand(scores, distance, wanted):
    intervals, tracks = local_maxima(profile(*scores), distance)
    assert intervals.tolist() == wanted
    assert not tracks.any()


def test_maxima_agree_with_each_score_compared_with_its_neighbours():
    rng = np.random.default_rng(0)
    bounds = np.cumsum(rng.integers(1, 30, 200))
    scores = rng.integers(0, 20, (199, 3)).astype(np.float32)  # with ties
    middles = (bounds[:-1] + bounds[1:]) / 2
    wanted = []
    for i, j in np.ndindex(scores.shape):
        near = np.abs(middles - middles[i]) <= 40
        before, after = scores[near & (middles < middles[i]), j], scores[near & (middles > middles[i]), j]
        if (before < scores[i, j]).all() and (after <= scores[i, j]).all():
            wanted.append((i, j))
    assert list(zip(*local_maxima(Profile(bounds, scores), 40))) == wanted


def test_q_values_are_those_of_benjamini_and_hochberg():
    rng = np.random.default_rng(0)
    p = np.concatenate([rng.uniform(0, 1e-4, 60), rng.uniform(size=940)])
    counts = PValueCounts()
    for part in np.split(p, 10):
        counts.add(part.reshape(-1, 2))
    assert counts.total == 1000
    found, exact = counts.q_values(p), false_discovery_control(p)
    assert (found >= exact * (1 - 1e-9)).all()
    assert (found <= np.minimum(exact * 10 ** (1 / 200) * (1 + 1e-9), 1)).all()


def test_extreme_p_values_are_counted():
    counts = PValueCounts()
    counts.add(np.array([0.0, 1e-30, 1e-12, 1.0]))
    # Three of four at the smallest p-value that is told apart.
    assert counts.q_values(np.array([0.0, 1.0])).tolist() == pytest.approx([1e-12 * 4 / 3, 1.0])
