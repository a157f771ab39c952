"""Reliability of probabilities of rare sites: bins, weights, errors and shares that can be counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from LAMAR.statistics.reliability import EDGES, counts_below, reliability

# Track 0: two sites at 0.5 and 0.02; two background windows at 0.02 and 1e-9. A prior of 1/10 gives each of these a
# weight of 2 * 10 / 2 = 10. Track 1: one site, one background window of weight 10; the third window is neither.
PROBABILITIES = np.array([[0.5, 0.02], [0.02, 0.5], [0.02, 0.02], [1e-9, 0.02]])
BOUND = np.array([[1, 1], [1, 0], [0, 0], [0, 0]], dtype=bool)
BACKGROUND = np.array([[0, 0], [0, 0], [1, 1], [1, 0]], dtype=bool)


def test_bins_and_weights_by_hand():
    found = reliability(PROBABILITIES, BOUND, BACKGROUND, 0.1)
    rows = found.rows()
    assert [(row["n_bound"], row["n_background"]) for row in rows] == [(0, 1), (2, 2), (1, 0)]
    lowest, middle, _ = rows
    assert (lowest["bin_low"], lowest["bin_high"]) == (0.0, pytest.approx(10**-5.75))
    assert middle["bin_low"] < 0.02 <= middle["bin_high"]
    assert [row["weight"] for row in rows] == pytest.approx([10 / 33, 22 / 33, 1 / 33])
    assert [row["mean_probability"] for row in rows] == pytest.approx([1e-9, 0.02, 0.5])
    assert [row["site_share"] for row in rows] == pytest.approx([0, 2 / 22, 1])
    # 10 windows at 1e-9 and no site; 22 at 0.02, 0.44 predicted and 2 there; one at 0.5 that is a site.
    assert found.expected_error() == pytest.approx((1e-8 + 1.56 + 0.5) / 33)


def test_intervals_are_over_tracks():
    rows = reliability(PROBABILITIES, BOUND, BACKGROUND, 0.1).rows(seed=3)
    # Both tracks have one site and ten of background there, whichever are drawn; only track 0 has a window above.
    assert (rows[1]["low"], rows[1]["high"]) == pytest.approx((1 / 11, 1 / 11))
    assert (rows[2]["low"], rows[2]["high"]) == (1, 1)
    (row, *_) = reliability(PROBABILITIES[:, :1], BOUND[:, :1], BACKGROUND[:, :1], 0.1).rows()
    assert math.isnan(row["low"])


def test_probabilities_that_are_the_shares_have_no_error():
    # 1 site in 1,000 of weight: all at 1 / 1001.
    probabilities = np.full((30, 1), 1 / 1001)
    bound = np.arange(30)[:, None] < 10
    assert reliability(probabilities, bound, ~bound, 1e-3).expected_error() == pytest.approx(0, abs=1e-12)


def test_a_track_of_one_class_counts_nothing():
    found = reliability(PROBABILITIES, BOUND, BACKGROUND & [True, False], 0.1)
    assert found.weight.sum(axis=1).tolist() == [22, 0]
    empty = reliability(PROBABILITIES, BOUND & False, BACKGROUND, 0.1)
    assert empty.rows() == []
    assert math.isnan(empty.expected_error())


def test_bins_span_six_powers_of_ten():
    assert len(EDGES) == 25
    assert (EDGES[0], EDGES[-1]) == (pytest.approx(1e-6), 1)
    found = reliability(np.array([[1.0], [0.0]]), np.array([[True], [False]]), np.array([[False], [True]]), 1.0)
    assert np.flatnonzero(found.weight[0]).tolist() == [0, 23]


def test_shares_below_levels_by_hand():
    p_values = np.array([[0.04, 0.0005], [0.0005, 0.05], [0.2, 0.009], [0.0005, 0.0005]])
    is_background = np.array([[1, 1], [1, 1], [1, 1], [0, 0]], dtype=bool)
    below, total = counts_below(p_values, is_background, (0.05, 0.01, 0.001))
    assert below.tolist() == [[2, 1, 1], [2, 2, 1]]
    assert total.tolist() == [3, 3]
