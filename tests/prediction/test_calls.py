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


@pytest.mark.parametrize("family", ["track", "all"])
def test_q_values_are_those_of_benjamini_and_hochberg(family):
    rng = np.random.default_rng(0)
    p = rng.uniform(size=(500, 2))
    p[:60, 0] = rng.uniform(0, 1e-4, 60)
    counts = PValueCounts(2)
    for part in np.split(p, 10):
        counts.add(part)
    assert counts.total == 1000
    rates = counts.rates(family)
    assert (rates.n_tracks, rates.n_tests) == (2, 500 if family == "track" else 1000)
    tracks = np.arange(2)[None].repeat(500, axis=0)
    found = rates.q_values(tracks.ravel(), p.ravel()).reshape(p.shape)
    exact = false_discovery_control(p, axis=0 if family == "track" else None).reshape(p.shape)
    assert (found >= exact * (1 - 1e-9)).all()
    assert (found <= np.minimum(exact * 10 ** (1 / 200) * (1 + 1e-9), 1)).all()


def test_a_track_has_the_rates_that_it_has_alone():
    rng = np.random.default_rng(1)
    p = rng.uniform(size=(300, 4)) ** 3
    counts, alone = PValueCounts(4), PValueCounts(1)
    counts.add(p)
    alone.add(p[:, 2:3])
    two, zero = np.full(300, 2), np.zeros(300, dtype=int)
    found = counts.rates("track").q_values(two, p[:, 2])
    np.testing.assert_array_equal(found, alone.rates("track").q_values(zero, p[:, 2]))
    np.testing.assert_array_equal(found, alone.rates("all").q_values(zero, p[:, 2]))


def test_extreme_p_values_are_counted():
    counts = PValueCounts(1)
    counts.add(np.array([[0.0], [1e-30], [1e-12], [1.0]]))
    # Three of four at the smallest p-value that is told apart.
    found = counts.rates("track").q_values(np.zeros(2, dtype=int), np.array([0.0, 1.0]))
    assert found.tolist() == pytest.approx([1e-12 * 4 / 3, 1.0])
