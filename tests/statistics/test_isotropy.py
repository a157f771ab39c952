"""Geometry of embeddings: known spectra, invariances, streaming, bootstrap, intrinsic dimension, rank correlation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from LAMAR.errors import InputError
from LAMAR.evaluation import geometry
from LAMAR.evaluation.geometry import POOLED, measure, sample_rows
from LAMAR.evaluation.geometry_probe import ALL_VARIANTS, EVERY_SET, rank_correlations
from LAMAR.statistics import isotropy
from LAMAR.statistics.intrinsic_dimension import NeighbourRatios, neighbour_ratios, two_nn
from LAMAR.statistics.isotropy import FIGURES
from LAMAR.statistics.moments import Moments

SPECTRAL = [name for name in FIGURES if name not in ("average_cosine", "intrinsic_dimension")]


def rotation(d: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def with_spectrum(values, n: int = 60, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    """(n, d) whose unbiased covariance has exactly these eigenvalues, along random axes."""
    values = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(seed).normal(size=(n, len(values)))
    white = np.linalg.qr(drawn - drawn.mean(axis=0))[0] * math.sqrt(n - 1)
    return white * np.sqrt(values) @ rotation(len(values), seed + 1) + mean


def figures_of(embeddings, **options) -> dict[str, float]:
    return isotropy.geometry(Moments.of(embeddings), **options)[0]


# ---------------------------------------------------------------------------------------------- known spectra


def test_isotropic_spectrum():
    figures = figures_of(with_spectrum(np.ones(10)))
    wanted = {"isoscore": 1, "isoscore_star": 1, "participation_ratio": 10, "k90_ratio": 0.9, "partition_entropy": 1}
    wanted |= {"variance_share_1": 0.1, "variance_share_5": 0.5, "variance_share_10": 1, "nesum": 10}
    wanted |= {"rankme": 10, "stable_rank": 10, "k90_ratio_uncentred": 0.9}  # the mean is 0
    assert {name: figures[name] for name in wanted} == pytest.approx(wanted, rel=1e-10)


def test_single_direction():
    figures = figures_of(with_spectrum([4, 0, 0, 0, 0]))
    wanted = {"isoscore": 0, "isoscore_star": 0, "participation_ratio": 1, "k90_ratio": 0.2, "partition_entropy": 0}
    wanted |= {"variance_share_1": 1, "variance_share_5": 1, "nesum": 1, "rankme": 1, "stable_rank": 1}
    assert {name: figures[name] for name in wanted} == pytest.approx(wanted, abs=1e-9)


def test_figures_by_hand():
    # l = 16, 4, 4, 1; s = 4, 2, 2, 1, in the sum 9.
    figures = figures_of(with_spectrum([4, 16, 1, 4]))
    shares = np.array([4, 2, 2, 1]) / 9
    entropy = -(shares * np.log(shares)).sum()
    ratio = 25**2 / (256 + 16 + 16 + 1)
    wanted = {"participation_ratio": ratio, "isoscore": (ratio - 1) / 3, "nesum": 25 / 16, "stable_rank": 25 / 16}
    wanted |= {"k90_ratio": 1.0}  # 8 of 9 are 89 %
    wanted |= {"partition_entropy": entropy / math.log(4), "rankme": math.exp(entropy), "variance_share_1": 16 / 25}
    assert {name: figures[name] for name in wanted} == pytest.approx(wanted, rel=1e-9)


@given(st.lists(st.floats(0, 1e3), min_size=2, max_size=30).filter(lambda values: max(values) > 1e-3))
def test_isoscore_is_the_distance_form_of_the_paper(values):
    l, d = np.array(values), len(values)
    normalised = math.sqrt(d) * l / np.linalg.norm(l)
    delta = np.linalg.norm(normalised - 1) / math.sqrt(2 * (d - math.sqrt(d)))
    phi = (d - delta**2 * (d - math.sqrt(d))) ** 2 / d**2
    assert isotropy.isoscore(l) == pytest.approx((d * phi - 1) / (d - 1), abs=1e-9)


def test_rank_r_data():
    d, r = 12, 3
    figures = figures_of(with_spectrum([1.0] * r + [0.0] * (d - r)))
    assert figures["rankme"] == pytest.approx(r, rel=1e-6)
    assert figures["participation_ratio"] == pytest.approx(r)
    assert figures["isoscore"] == pytest.approx((r - 1) / (d - 1))
    assert figures["k90_ratio"] == r / d
    assert d ** figures["partition_entropy"] == pytest.approx(r, rel=1e-6)


def test_uncentred_figures_see_the_mean_and_the_others_do_not():
    near, far = (figures_of(with_spectrum([4, 2, 1, 1], mean=mean)) for mean in (0.0, 1e3))
    centred = [name for name in SPECTRAL if name not in ("rankme", "stable_rank", "k90_ratio_uncentred")]
    assert [far[name] for name in centred] == pytest.approx([near[name] for name in centred], rel=1e-6)
    assert near["stable_rank"] == pytest.approx(2)
    assert far["stable_rank"] == pytest.approx(1, abs=1e-4)
    assert far["average_cosine"] == pytest.approx(1, abs=1e-4)


# ------------------------------------------------------------------------------------------------- invariances


@pytest.mark.parametrize("scale", [1e-6, 37.0])
def test_scale_and_rotation_change_nothing(scale):
    embeddings = np.random.default_rng(1).normal(size=(50, 7)) * np.arange(1, 8) + 2
    before, after = measure({"x": embeddings}, n_boot=0), measure({"x": scale * embeddings @ rotation(7, 5)}, n_boot=0)
    assert after["figures"]["x"] == pytest.approx(before["figures"]["x"], rel=1e-6)
    assert after["spectrum"] == pytest.approx(before["spectrum"], rel=1e-6)


# ------------------------------------------------------------------------------------- agreement with IsoScore


def waves(n: int, d: int) -> np.ndarray:
    place = np.arange(1, d + 1)
    return np.sin(np.outer(np.arange(1, n + 1), place**1.3)) * np.sqrt(place) + 2.0


def test_values_of_the_isoscore_package():
    """IsoScore 2.0.1 on the same arrays; its own arithmetic is partly float32."""
    target = np.diag(np.arange(1.0, 9.0))
    many, few = waves(40, 8), waves(5, 8)
    assert figures_of(many)["isoscore"] == pytest.approx(0.6299782355629697, abs=1e-6)
    assert figures_of(few)["isoscore"] == pytest.approx(0.11318036491270764, abs=1e-6)
    assert figures_of(few, target=target, zeta=0.3)["isoscore_star"] == pytest.approx(0.40487530799909516, abs=1e-6)


@pytest.mark.parametrize(("n", "d"), [(200, 30), (20, 50)])
def test_isoscore_package_itself(n, d):
    package = pytest.importorskip("IsoScore.IsoScore")
    rng = np.random.default_rng(n)
    embeddings, other = (rng.normal(size=(size, d)) * np.linspace(1, 4, d) + 1 for size in (n, 400))
    target = Moments.of(other).covariance
    figures = figures_of(embeddings, target=target, zeta=0.2)
    assert figures["isoscore"] == pytest.approx(float(package.IsoScore(embeddings)), abs=1e-6)
    import torch

    star = package.IsoScore_star(embeddings, torch.from_numpy(target), 0.2)
    assert figures["isoscore_star"] == pytest.approx(float(star), abs=1e-6)


def test_shrinkage_between_covariance_and_target():
    covariance, target = np.diag([1.0, 0, 0]), np.eye(3)
    assert isotropy.isoscore_star(covariance, target, 0.0) == pytest.approx(0)
    assert isotropy.isoscore_star(covariance, target, 1.0) == pytest.approx(1)
    # 0.5 C + 0.5 T has eigenvalues 1, 1/2, 1/2: PR = 4 / 1.5.
    assert isotropy.isoscore_star(covariance, target, 0.5) == pytest.approx((4 / 1.5 - 1) / 2)
    with pytest.raises(ValueError, match="`zeta`: found 2"):
        isotropy.isoscore_star(covariance, target, 2)


# ---------------------------------------------------------------------------------------------------- moments


@pytest.mark.parametrize("block_bytes", [1, 8 * 5 * 7, 2**25])
def test_streaming_is_batch(monkeypatch, block_bytes):
    monkeypatch.setattr("LAMAR.statistics.moments.BLOCK_BYTES", block_bytes)
    embeddings = np.random.default_rng(2).normal(size=(53, 5)) * [1, 2, 3, 4, 5] + 1e4
    whole = Moments.of(embeddings.astype(np.float32))
    streamed = Moments(5)
    for part in np.array_split(embeddings.astype(np.float32), 4):
        streamed.update(part)
    exact = embeddings.astype(np.float32).astype(np.float64)
    for found in (whole, streamed):
        assert found.n == 53
        assert found.mean == pytest.approx(exact.mean(axis=0), rel=1e-12)
        np.testing.assert_allclose(found.covariance, np.cov(exact.T), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.second_moment, exact.T @ exact / 53, rtol=1e-12)


def test_whole_weights_are_copies_of_rows():
    embeddings = np.random.default_rng(3).normal(size=(9, 4))
    counts = np.array([0, 1, 2, 3, 1, 1, 0, 2, 5])
    weighted, copied = Moments.of(embeddings, counts), Moments.of(np.repeat(embeddings, counts, axis=0))
    np.testing.assert_allclose(weighted.second_moment, copied.second_moment, rtol=1e-12)
    np.testing.assert_allclose(weighted.scatter, copied.scatter, rtol=1e-12)
    assert weighted.weight == copied.weight == 15


def test_average_cosine_is_the_mean_over_all_pairs():
    embeddings = np.random.default_rng(4).normal(size=(11, 3)) + 0.5
    embeddings[4] = 0  # has no direction
    unit = np.delete(embeddings, 4, axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    pairs = [a @ b for a, b in itertools.combinations(unit, 2)]
    assert figures_of(embeddings)["average_cosine"] == pytest.approx(np.mean(pairs), abs=1e-12)
    weights = np.random.default_rng(5).uniform(0.5, 2, size=11)
    w = np.delete(weights, 4)
    both = [(w[i] * w[j], unit[i] @ unit[j]) for i, j in itertools.combinations(range(10), 2)]
    wanted = np.average([cosine for _, cosine in both], weights=[weight for weight, _ in both])
    assert isotropy.average_cosine(Moments.of(embeddings, weights)) == pytest.approx(wanted, abs=1e-12)


def test_opposite_vectors_have_cosine_minus_one():
    assert isotropy.average_cosine(Moments.of(np.array([[1.0, 2], [-2, -4]]))) == pytest.approx(-1)


# ------------------------------------------------------------------------------------------- what has no value


def test_constant_embeddings_are_undefined_but_for_the_mean():
    embeddings = np.full((20, 6), 0.1, dtype=np.float32)
    with pytest.warns(RuntimeWarning, match="no variance"):
        figures = figures_of(embeddings)
    undefined = {name for name, value in figures.items() if math.isnan(value)}
    assert undefined == set(figures) - {"average_cosine", "k90_ratio_uncentred", "rankme", "stable_rank"}
    assert figures["average_cosine"] == pytest.approx(1)
    assert figures["rankme"] == pytest.approx(1)
    found = measure({"x": embeddings}, n_boot=2)
    assert math.isnan(found["figures"]["x"]["intrinsic_dimension"])
    assert all(math.isnan(row["low"]) for row in geometry.figure_rows({}, found) if row["figure"] == "isoscore")


def test_fewer_samples_than_dimensions():
    n, d = 8, 40
    figures = figures_of(np.random.default_rng(6).normal(size=(n, d)))
    assert figures["participation_ratio"] <= n - 1
    assert 0 < figures["isoscore"] < (n - 2) / (d - 1)
    # Shrunk towards what the samples were drawn from, it is nearer the truth, 1.
    star = figures_of(np.random.default_rng(6).normal(size=(n, d)), target=np.eye(d), zeta=0.5)["isoscore_star"]
    assert figures["isoscore"] < star < 1


def test_one_sample_is_an_error_and_a_zero_one_has_no_cosine():
    with pytest.raises(ValueError, match="found 1 with a weight, wanted 2 or more"):
        figures_of(np.ones((1, 3)))
    with pytest.warns(RuntimeWarning, match="fewer than two embeddings have a direction"):
        assert math.isnan(isotropy.average_cosine(Moments.of(np.array([[0.0, 0], [1, 1]]))))


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (np.array([[1.0, 2], [3, np.nan]]), "row 1 .from 0. has values that are NaN"),
        (np.array([[np.inf, 2], [3, 4]]), "row 0"),
        (np.zeros(5), "shape"),
        (np.zeros((0, 5)), "not empty"),
        (np.array([["a", "b"]]), "real numbers"),
    ],
)
def test_what_is_no_matrix_of_numbers_is_refused(embeddings, message):
    with pytest.raises(ValueError, match=message):
        Moments.of(embeddings)


def test_negative_weights_and_other_widths_are_refused():
    with pytest.raises(ValueError, match="weights"):
        Moments.of(np.ones((2, 2)), np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="found 3 dimensions, wanted 2"):
        Moments(2).merge(Moments(3))


# ----------------------------------------------------------------------------------------- intrinsic dimension


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_intrinsic_dimension_of_a_flat_cube(dimension):
    points = np.zeros((1500, 12))
    points[:, :dimension] = np.random.default_rng(dimension).uniform(size=(1500, dimension))
    assert two_nn(neighbour_ratios(points @ rotation(12))) == pytest.approx(dimension, rel=0.1)


def test_neighbour_ratios_are_those_of_all_distances():
    points = np.random.default_rng(7).normal(size=(700, 5)) + 1e3  # more than one block, and far from the origin
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    nearest = np.sort(distances, axis=1)[:, 1:3]
    found = neighbour_ratios(points)
    np.testing.assert_allclose(found.mu, nearest[:, 1] / nearest[:, 0], rtol=1e-9)
    assert found.rows.tolist() == list(range(700))


def test_equal_rows_count_once_and_the_sample_is_seeded():
    points = np.random.default_rng(8).normal(size=(30, 3))
    twice = neighbour_ratios(np.concatenate([points, points[:10]]))
    assert twice.rows.tolist() == list(range(30))
    np.testing.assert_allclose(twice.mu, neighbour_ratios(points).mu)
    first, again, other = (neighbour_ratios(points, n_sample=12, seed=seed).rows for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()
    assert len(first) == 12


def test_two_nn_by_hand_and_whole_weights_are_copies():
    # ln mu = 1, 2, 3 and one that is left out; -ln(1 - F) = ln(4/3), ln 2, ln 4.
    mu = np.exp([2.0, 1.0, 9.0, 3.0])
    wanted = (math.log(4 / 3) + 2 * math.log(2) + 3 * math.log(4)) / 14
    assert two_nn(NeighbourRatios(mu, np.arange(4))) == pytest.approx(wanted)
    heavy = two_nn(NeighbourRatios(mu, np.arange(4)), np.full(4, 2.5))
    assert heavy == pytest.approx(wanted)


def test_too_few_rows_have_no_dimension():
    with pytest.warns(RuntimeWarning, match="too few rows differ"):
        assert math.isnan(two_nn(neighbour_ratios(np.array([[0.0, 1], [1, 0], [1, 0]]))))


# --------------------------------------------------------------------------------------- several sets, bootstrap


@pytest.fixture(scope="module")
def two_sets() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(9)
    return {name: rng.normal(size=(n, 6)) * np.arange(1, 7) + mean for name, n, mean in (("a", 80, 0), ("b", 50, 3))}


def test_union_is_the_stacked_sets(two_sets):
    found = measure(two_sets, n_boot=0, zeta=0.4)
    stacked = np.concatenate(list(two_sets.values()))
    assert found["n"] == {"a": 80, "b": 50, POOLED: 130}
    assert found["figures"][POOLED] == pytest.approx(measure({"x": stacked}, n_boot=0)["figures"]["x"], rel=1e-9)
    target = np.cov(stacked.T)
    for name, values in two_sets.items():
        star = isotropy.isoscore_star(np.cov(values.T), target, 0.4)
        assert found["figures"][name]["isoscore_star"] == pytest.approx(star)
    assert found["figures"][POOLED]["isoscore_star"] == pytest.approx(found["figures"][POOLED]["isoscore"])


def test_resamples_are_those_of_the_rows_whatever_the_model(two_sets):
    plain = measure(two_sets, n_boot=6, seed=3)
    turned = measure({name: 5 * values @ rotation(6) for name, values in two_sets.items()}, n_boot=6, seed=3)
    for name in plain["resamples"]:
        for figure in FIGURES:
            assert turned["resamples"][name][figure] == pytest.approx(plain["resamples"][name][figure], rel=1e-6)
    alone = measure({"a": two_sets["a"]}, n_boot=6, seed=3)
    assert alone["resamples"]["a"]["isoscore"] == pytest.approx(plain["resamples"]["a"]["isoscore"])
    # Models that differ by a rotation do not differ, in any resample.
    for row in geometry.difference_rows({}, plain, turned):
        assert max(map(abs, (row["difference"], row["low"], row["high"]))) < 1e-5 * max(1, abs(row["value_a"]))


def test_intervals_hold_the_value_and_cover_the_truth():
    """Spectrum and n known: the spread of the figure over new samples is what the interval claims."""
    rng, scale = np.random.default_rng(10), np.sqrt(np.linspace(3, 0.5, 8))
    draws = [figures_of(rng.normal(size=(150, 8)) * scale)["isoscore"] for _ in range(300)]
    rows = geometry.figure_rows({}, measure({"x": rng.normal(size=(150, 8)) * scale}, n_boot=200))
    row = next(row for row in rows if row["figure"] == "isoscore")
    assert row["low"] < row["value"] < row["high"]
    assert row["high"] - row["low"] == pytest.approx(np.ptp(np.quantile(draws, [0.025, 0.975])), rel=0.35)
    assert row["bias"] < 0  # resamples are less even than the sample, as the sample is less even than its source


def test_interval_by_hand_and_its_range():
    low, high, bias = geometry.interval(0.5, [0.2, 0.3, 0.4], 0, 1)
    assert (low, high, bias) == pytest.approx((0.5 - 0.095, 0.5 + 0.095, -0.2))
    assert geometry.interval(0.02, [0.0, 0.1, 0.2], 0, 1)[0] == 0
    for value, drawn in ((0.5, []), (None, [0.1]), (0.5, [0.1, None])):
        assert all(map(math.isnan, geometry.interval(value, drawn, 0, 1)))


def test_differences_of_models_of_another_width_are_not_made(two_sets):
    narrow = {name: values[:, :4] for name, values in two_sets.items()}
    assert geometry.difference_rows({}, measure(two_sets, n_boot=0), measure(narrow, n_boot=0)) == []


def test_component_scores_are_uncorrelated_and_explain_what_they_say(two_sets):
    scores = measure(two_sets, n_boot=0, with_scores=True)["scores"]["a"]
    points = np.array(scores["values"])
    covariance = np.cov(points.T)
    total = np.trace(np.cov(two_sets["a"].T))
    assert abs(covariance[0, 1]) < 1e-9 * total
    assert np.diag(covariance) / total == pytest.approx(scores["explained"])
    assert scores["rows"] == list(range(80))


def test_sampled_rows_keep_classes_and_do_not_depend_on_the_model():
    labels = np.repeat([0, 1], [300, 100])
    rows = sample_rows(labels, 40, seed=1, name="QKI")
    assert np.bincount(labels[rows]).tolist() == [30, 10]
    assert len(np.unique(rows)) == 40
    assert rows.tolist() == sample_rows(labels, 40, seed=1, name="QKI").tolist()
    assert rows.tolist() != sample_rows(labels, 40, seed=1, name="PUM2").tolist()
    assert sample_rows(labels, 1000, seed=1, name="QKI").tolist() == list(range(400))


def test_a_set_called_as_their_union_is_refused():
    with pytest.raises(InputError, match="rename it"):
        geometry.check_names(["a", POOLED])


# -------------------------------------------------------------------------------------- geometry and performance


def tables(values: dict[str, list[float]], aurocs: dict[str, list[float]], variants=("V",)):
    """Long tables of one figure; the lists hold the configurations of each data set."""
    rows, scores = [], []
    for dataset, own in values.items():
        n_layers = len(own) // len(variants)
        for i, (value, auroc) in enumerate(zip(own, aurocs[dataset])):
            where = {"dataset": dataset, "variant": variants[i // n_layers], "layer": i % n_layers}
            rows.append(where | {"figure": "isoscore", "value": value})
            scores.append(where | {"auroc": auroc})
    return pd.DataFrame(rows), pd.DataFrame(scores)


def test_rank_correlation_of_one_set_is_spearmans_with_an_exact_p_value():
    values, aurocs = [0.1, 0.4, 0.2, 0.9, 0.5], [0.6, 0.7, 0.8, 0.95, 0.9]
    (row,) = rank_correlations(*tables({"s": values}, {"s": aurocs})).to_dict("records")
    assert row["spearman"] == pytest.approx(stats.spearmanr(values, aurocs).statistic)
    every = [stats.spearmanr(values, order).statistic for order in itertools.permutations(aurocs)]
    assert row["p_value"] == pytest.approx(np.mean(np.abs(every) >= abs(row["spearman"]) - 1e-12))
    assert (row["n_configurations"], row["n_sets"], row["smallest_p"]) == (5, 1, 2 / 120)


def test_difficulty_of_data_sets_does_not_make_a_correlation():
    """Within each set the order is reversed; pooled over sets it would look like a positive one."""
    values = {"easy": [0.51, 0.52, 0.53, 0.54], "hard": [0.11, 0.12, 0.13, 0.14]}
    aurocs = {"easy": [0.94, 0.93, 0.92, 0.91], "hard": [0.64, 0.63, 0.62, 0.61]}
    table = rank_correlations(*tables(values, aurocs)).set_index("dataset")
    assert table["spearman"].tolist() == pytest.approx([-1, -1, -1])
    # The same permutation in all sets: two sets that agree are no more evidence than one.
    assert table.loc[EVERY_SET, "p_value"] == table.loc["easy", "p_value"] == pytest.approx(2 / 24)


def test_many_configurations_are_permuted_at_random_and_variants_apart():
    rng = np.random.default_rng(11)
    values = rng.normal(size=12)
    figures, aurocs = tables({"s": values.tolist()}, {"s": (values**3).tolist()}, variants=("A", "B"))
    table = rank_correlations(figures, aurocs, n_permutations=199).set_index("variant")
    assert table.loc[ALL_VARIANTS, ["spearman", "p_value", "n_configurations"]].tolist() == pytest.approx(
        [1, 1 / 200, 12]
    )
    assert table.loc["A", ["n_configurations", "smallest_p"]].tolist() == pytest.approx([6, 2 / 720])


def test_constant_figures_have_no_correlation():
    (row,) = rank_correlations(*tables({"s": [0.5] * 4}, {"s": [0.6, 0.7, 0.8, 0.9]})).to_dict("records")
    assert math.isnan(row["spearman"])
    assert math.isnan(row["p_holm"])


def test_a_set_without_a_correlation_is_not_in_the_mean():
    values = {"s": [0.1, 0.2, 0.3, 0.4], "same": [0.1, 0.2, 0.3, 0.4], "undefined": [0.1, 0.2, 0.3, math.nan]}
    aurocs = {"s": [0.6, 0.7, 0.8, 0.9], "same": [1.0] * 4, "undefined": [0.6, 0.7, 0.8, 0.9]}
    table = rank_correlations(*tables(values, aurocs)).set_index("dataset")
    assert table.loc[EVERY_SET, ["spearman", "n_sets"]].tolist() == pytest.approx([1, 1])
    assert table.loc[["same", "undefined"], "spearman"].isna().all()


def test_nothing_in_common_is_an_error():
    figures, aurocs = tables({"s": [1.0, 2, 3]}, {"s": [0.5, 0.6, 0.7]})
    with pytest.raises(InputError, match="no data set, variant and layer"):
        rank_correlations(figures, aurocs.assign(variant="W"))
