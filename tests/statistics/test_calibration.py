"""Calibration against populations whose answer is known: normal and exponential scores, taken at their quantiles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import genpareto, norm

from LAMAR.errors import InputError
from LAMAR.statistics.calibration import (
    P_LEVELS,
    SMALLEST_SLOPE,
    TAIL,
    fit_calibration,
    fit_logistic,
    fit_tail,
)


def grid(distribution, n: int) -> np.ndarray:
    """Evenly spaced quantiles: a sample without the accidents of drawing."""
    return distribution.ppf((np.arange(n) + 0.5) / n)


BOUND, REST = grid(norm(1, 1), 20_000), grid(norm(-1, 1), 20_000)


def expected_sites(slope: float, intercept: float, bound: np.ndarray, rest: np.ndarray, prior: float) -> float:
    """Sites that the probabilities sum to in the population of the prior, over those that there are."""

    def probability(z):
        return 1 / (1 + np.exp(-(slope * z + intercept)))

    return (probability(bound).sum() + len(bound) / prior * probability(rest).mean()) / len(bound)


@pytest.mark.parametrize("prior", [1.0, 0.1, 1e-3])
def test_normal_scores_have_the_log_odds_of_bayes(prior):
    # Densities N(1, 1) and N(-1, 1): the log of their ratio is 2 z, to which the log of the prior odds is added.
    slope, intercept = fit_logistic(BOUND, REST, prior)
    assert slope == pytest.approx(2, rel=0.02)
    assert intercept == pytest.approx(math.log(prior), abs=0.06)


@pytest.mark.parametrize("prior", [1.0, 1e-3])
@pytest.mark.parametrize("shape", ["normal", "few", "turned"])
def test_probabilities_sum_to_the_sites_of_the_population(shape, prior):
    bound = {"normal": BOUND, "few": np.array([0.3, 2.0]), "turned": REST - 3}[shape]
    slope, intercept = fit_logistic(bound, REST, prior, slope_prior=1.0)
    assert expected_sites(slope, intercept, bound, REST, prior) == pytest.approx(1, rel=1e-3)
    # Scores that are lower at sites do not turn the order round.
    assert slope >= SMALLEST_SLOPE
    assert (slope == SMALLEST_SLOPE) == (shape == "turned")


def test_few_sites_take_over_the_slope_of_all_tracks():
    two, many = np.array([0.9, 1.1]), BOUND
    assert abs(fit_logistic(two, REST, 1e-3, slope_prior=0.7)[0] - 0.7) < 0.3
    assert fit_logistic(many, REST, 1e-3, slope_prior=0.7)[0] == pytest.approx(2, rel=0.03)
    # Separated without a prior: large, but a number.
    slope, intercept = fit_logistic(np.array([5.0, 6.0]), np.array([-5.0, -6.0]), 1e-3)
    assert math.isfinite(slope)
    assert math.isfinite(intercept)
    assert slope > 1


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3])
@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_tail_recovers_scale_and_shape(shape, scale):
    found = fit_tail(grid(genpareto(shape, scale=scale), 5_000))
    assert found == pytest.approx((scale, shape), rel=0.05, abs=0.02)


def test_tail_of_few_excesses_is_exponential():
    assert fit_tail(np.array([1.0, 3.0])) == (2.0, 0.0)
    scale, shape = fit_tail(np.zeros(0))
    assert scale > 0
    assert shape == 0


def one_track(bound, rest, prior=1e-3):
    logits = np.concatenate([bound, rest])[:, None]
    labels = np.concatenate([np.ones(len(bound)), np.zeros(len(rest))]).astype(np.int8)[:, None]
    return fit_calibration(logits, labels, labels[:, 0] == 0, ["A_K562"], prior)


def test_p_values_of_background_are_uniform():
    rest = np.random.default_rng(0).normal(size=5_000)
    calibration = one_track(BOUND, rest)
    p = calibration.p_values(rest[:, None])[:, 0]
    for level in (0.9, 0.5, 0.2, 0.07, 0.02, 0.01):
        assert (p <= level).mean() == pytest.approx(level, rel=0.05)
    order = np.argsort(rest)
    assert (np.diff(p[order]) <= 0).all()
    # The share of background windows at the grid's quantiles is the grid itself.
    at_grid = calibration.p_values(calibration.quantiles.T)[:, 0]
    assert at_grid == pytest.approx(P_LEVELS)


def test_tail_of_exponential_scores_is_right_far_out():
    calibration = one_track(np.array([3.0, 5.0]), -np.log(1 - (np.arange(10_000) + 0.5) / 10_000))
    for p in (0.03, 1e-2, 1e-3, 1e-4):
        assert calibration.p_values(np.array([[-math.log(p)]]))[0, 0] == pytest.approx(p, rel=0.1)


def test_p_values_have_ends():
    calibration = one_track(BOUND, REST)
    low, high, unknown = calibration.p_values(np.array([[-99.0], [99.0], [np.nan]]))[:, 0]
    assert low == 1
    assert high == 0.01 / len(REST)
    assert math.isnan(unknown)


def test_probabilities_by_hand():
    calibration = one_track(BOUND, REST)
    z = np.array([[-800.0], [0.0], [1.5], [800.0]])
    odds = calibration.slope[0] * z[1:3, 0] + calibration.intercept[0]
    found = calibration.probabilities(z)[:, 0]
    assert found[1:3] == pytest.approx(1 / (1 + np.exp(-odds)))
    assert found[0] == pytest.approx(0)
    assert found[3] == pytest.approx(1)
    with pytest.raises(ValueError, match=r"`logits`: found shape \(4, 2\), wanted \(n, 1\)"):
        calibration.probabilities(np.zeros((4, 2)))


def several_tracks():
    """Three tracks over 900 windows, the last 600 background: separable, unknown in places, and never bound."""
    rng = np.random.default_rng(1)
    labels = np.zeros((900, 3), dtype=np.int8)
    labels[:100, 0] = labels[80:200, 1] = 1
    logits = rng.normal(size=(900, 3)) + 2 * labels
    labels[200:250, 0] = -1
    labels[300:330, 0] = -1
    return logits, labels, np.arange(900) >= 300


def test_unknown_windows_and_sites_of_others_do_not_count():
    logits, labels, is_background = several_tracks()
    before = fit_calibration(logits, labels, is_background, ["a", "b", "c"])
    assert before.n_bound.tolist() == [100, 120, 0]
    assert before.n_background.tolist() == [570, 600, 600]
    assert before.negatives == "background"
    changed = logits.copy()
    changed[labels == -1] = 1e6
    changed[250:300] = -1e6  # sites that none of the tracks binds
    after = fit_calibration(changed, labels, is_background, ["a", "b", "c"])
    for name in ("slope", "intercept", "quantiles", "scale", "shape"):
        assert np.array_equal(getattr(before, name), getattr(after, name)), name


def test_a_track_without_sites_has_the_pooled_fit():
    logits, labels, is_background = several_tracks()
    calibration = fit_calibration(logits, labels, is_background, ["a", "b", "c"])
    low, high = sorted(calibration.slope[:2])
    assert low - 0.2 <= calibration.slope[2] <= high + 0.2
    assert np.isfinite(calibration.intercept).all()


def test_without_background_windows_all_unbound_ones_stand_in():
    logits, labels, _ = several_tracks()
    calibration = fit_calibration(logits, labels, np.zeros(900, dtype=bool), ["a", "b", "c"])
    assert calibration.negatives == "unbound"
    assert calibration.n_background.tolist() == [(labels[:, j] == 0).sum() for j in range(3)]


def test_without_any_site_nothing_can_be_calibrated():
    with pytest.raises(InputError, match="calibration: found no track with bound and background windows"):
        fit_calibration(np.zeros((4, 1)), np.zeros((4, 1)), np.ones(4, dtype=bool), ["a"])


def test_the_grid_ends_where_the_tail_begins():
    assert P_LEVELS[0] == 1
    assert P_LEVELS[-1] == TAIL
    assert (np.diff(P_LEVELS) < 0).all()


def test_another_prior_multiplies_the_odds():
    calibration = one_track(BOUND, REST)
    z = np.array([[-1.0], [0.5], [3.0]])
    p, moved = calibration.probabilities(z), calibration.at_prior(calibration.prior * 4)
    odds = p / (1 - p)
    found = moved.probabilities(z)
    assert found / (1 - found) == pytest.approx(4 * odds)
    assert moved.prior == pytest.approx(calibration.prior * 4)
    assert moved.p_values(z) == pytest.approx(calibration.p_values(z))
    with pytest.raises(InputError, match="`prior`: found 0, wanted more than 0, at most 1"):
        calibration.at_prior(0)


def test_some_tracks_are_taken():
    rng = np.random.default_rng(0)
    labels = np.repeat([[1, 1, 1], [0, 0, 0]], [50, 450], axis=0)
    logits = rng.normal(size=(500, 3)) + labels * [1, 2, 3]
    whole = fit_calibration(logits, labels, labels[:, 0] == 0, ["a", "b", "c"])
    part = whole.take(np.array([2, 0]))
    assert part.names == ["c", "a"]
    assert part.p_values(logits[:, [2, 0]]).tolist() == whole.p_values(logits)[:, [2, 0]].tolist()
    assert part.probabilities(logits[:, [2, 0]]).tolist() == whole.probabilities(logits)[:, [2, 0]].tolist()
    assert whole.p_values_of(1, logits[:, 1]).tolist() == whole.p_values(logits)[:, 1].tolist()
