"""Tables of a joint model beside its baselines, on a few windows whose figures can be counted."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from track_sets import tracks_by_hand

from LAMAR.evaluation.track_choice import ChosenTracks
from LAMAR.evaluation.track_figures import plot_joint_vs_baseline, plot_reliability
from LAMAR.evaluation.track_tables import (
    COLUMNS,
    calibration_tables,
    closing_table,
    gain_rows,
    mean_rows,
    method_rows,
    p_value_rows,
    pair_table,
    win_rows,
)
from LAMAR.statistics.calibration import fit_calibration
from LAMAR.statistics.delong import delong_interval
from LAMAR.statistics.reliability import EDGES

# Six test windows, the fourth and fifth of background; the last is unknown to the first track.
LABELS = np.array([[1, 0], [1, 1], [0, 1], [0, 0], [0, 0], [-1, 0]], dtype=np.int8)
KINDS = ["site", "site", "site", "background", "background", "site"]
DATA = tracks_by_hand(["test"] * 6, KINDS, LABELS)
CHOSEN = ChosenTracks(DATA, np.arange(2), np.array([30, 900]), np.array([1, 4]), {})
SCORES = np.array([[3, 0], [1, 5], [2, 4], [0, 1], [-1, 2], [9, 3]], dtype=np.float32)


def test_rows_by_hand():
    first, second = method_rows("joint", CHOSEN, "test", SCORES)
    assert tuple(first) == COLUMNS
    assert (first["track"], first["target"], first["cell"], first["quartile"]) == ("T0_A", "T0", "A", 1)
    assert (first["n_train_bound"], first["n_bound"], first["n_unbound"]) == (30, 2, 3)
    # 3 and 1 against 2, 0, -1: five of six pairs, precision 1 and 2/3; against 2 alone one of two.
    assert (first["auroc"], first["auprc"], first["auroc_sites"]) == pytest.approx((5 / 6, 5 / 6, 1 / 2))
    assert (first["auroc_low"], first["auroc_high"]) == delong_interval([1, 1, 0, 0, 0], [3, 1, 2, 0, -1])
    # 5 and 4 against 0, 1, 2, 3: all right.
    assert (second["n_bound"], second["n_unbound"], second["auroc"], second["auprc"]) == (2, 4, 1.0, 1.0)


def table(values: dict[str, list[float]], quartiles=(1, 1, 4)) -> pd.DataFrame:
    """Rows of three tracks with these AUROCs by method; the average precision is half of them."""
    rows = []
    for method, areas in values.items():
        for j, area in enumerate(areas):
            figures = {"auroc": area, "auprc": area / 2, "auroc_sites": area, "auroc_low": area - 0.05}
            row = {"track": f"T{j}", "quartile": quartiles[j], "method": method, "n_train_bound": 10 + j}
            rows.append({**row, **figures, "auroc_high": area + 0.04})
    return pd.DataFrame(rows)


THREE = table({"joint": [0.9, 0.8, 0.7], "4mer": [0.8, 0.85, 0.6], "dinucleotide": [0.85, 0.6, 0.5]})


def test_means_by_quartile_by_hand():
    rows = [(row["method"], row["quartile"], row["n_tracks"], round(row["auroc"], 6)) for row in mean_rows(THREE)]
    assert rows[:3] == [("joint", "1", 2, 0.85), ("joint", "4", 1, 0.7), ("joint", "all", 3, 0.8)]
    assert rows[3:6] == [("4mer", "1", 2, 0.825), ("4mer", "4", 1, 0.6), ("4mer", "all", 3, 0.75)]
    assert len(rows) == 9


def test_gains_by_hand():
    rows = {(row["baseline"], row["quartile"]): row for row in gain_rows(THREE)}
    assert rows["4mer", "1"]["auroc"] == pytest.approx((0.1 - 0.05) / 2)
    assert rows["dinucleotide", "all"]["auprc"] == pytest.approx((0.05 + 0.2 + 0.2) / 2 / 3)
    # The best of each track: 0.85, 0.85, 0.6.
    assert rows["best baseline", "all"]["auroc"] == pytest.approx((0.05 - 0.05 + 0.1) / 3)
    assert rows["best baseline", "4"]["n_tracks"] == 1
    alone = gain_rows(THREE[THREE["method"] != "4mer"])
    assert {row["baseline"] for row in alone} == {"dinucleotide"}


def test_wins_and_tests_by_hand():
    pairs = pair_table(THREE)
    assert pairs.columns[0] == "metric"
    assert len(pairs) == 6
    wins = {(row["metric"], row["baseline"]): row for row in win_rows(pairs)}
    assert (wins["auroc", "4mer"]["wins"], wins["auroc", "4mer"]["n_tracks"]) == (2, 3)
    assert wins["auroc", "dinucleotide"]["wins"] == 3
    # Three differences of one sign: 2 / 2^3, and that times three pairs.
    assert wins["auroc", "dinucleotide"]["p_holm"] == pytest.approx(0.75)
    assert set(wins) == {(metric, name) for metric in ("auroc", "auprc") for name in ("4mer", "dinucleotide")}


# ----------------------------------------------------------------------------------------------------- calibration


def test_shares_of_p_values_by_hand():
    p_values = np.array([[0.5, 0.04], [0.009, 0.0001], [0.04, 0.2], [0.3, 0.3]])
    is_background = np.array([[1, 1], [1, 0], [1, 1], [1, 0]], dtype=bool)
    first, second, pooled = p_value_rows(p_values, is_background, ["A", "B"])
    assert first == {"track": "A", "n_background": 4, "below_0.05": 0.5, "below_0.01": 0.25, "below_0.001": 0.0}
    assert second == {"track": "B", "n_background": 2, "below_0.05": 0.5, "below_0.01": 0.0, "below_0.001": 0.0}
    assert pooled == {"track": "all", "n_background": 6, "below_0.05": 0.5, "below_0.01": 1 / 6, "below_0.001": 0.0}
    nothing = p_value_rows(p_values, is_background & [True, False], ["A", "B"])[1]
    assert nothing["n_background"] == 0
    assert math.isnan(nothing["below_0.05"])


def test_calibration_mends_a_model_that_calls_a_tenth_of_everything():
    """Normal scores, shifted so that the sigmoid expects far more sites than the prior."""
    rng = np.random.default_rng(0)
    is_bound = np.arange(24_000)[:, None] < np.array([4_000, 2_000])
    logits = rng.normal(size=is_bound.shape) + np.where(is_bound, 2.0, -1.0)
    labels = is_bound.astype(np.int8)
    calibration = fit_calibration(logits[::2], labels[::2], ~is_bound.any(1)[::2], ["A", "B"], 1e-2)
    rows, errors = calibration_tables(logits[1::2], is_bound[1::2], ~is_bound[1::2], calibration, 0)
    assert [row["scale"] for row in rows] == sorted((row["scale"] for row in rows), reverse=True)
    assert rows[0]["scale"] == "sigmoid"
    # The mean sigmoid of background is that of N(-1, 1), 0.303; a share of 0.01 / 1.01 are sites.
    assert errors["sigmoid"]["expected_error"] == pytest.approx(0.30, abs=0.02)
    assert errors["sigmoid"]["relative_to_prior"] == pytest.approx(errors["sigmoid"]["expected_error"] / 0.01)
    assert errors["calibrated"]["expected_error"] < 0.002
    for row in rows:
        if row["scale"] == "calibrated" and row["n_bound"] > 300:
            assert row["site_share"] == pytest.approx(row["mean_probability"], rel=0.25)


# ---------------------------------------------------------------------------------------------------- text, figures


def test_closing_text_has_quartiles_and_gains():
    summary = {"n_tracks": 3, "part": "test", "n_windows": 1_200, "n_background": 200, "prior": 1e-3}
    pairs = pair_table(THREE)
    summary |= {"means": mean_rows(THREE), "gains": gain_rows(THREE), "wins": win_rows(pairs)}
    summary["calibration"] = {"sigmoid": {"expected_error": 0.02, "relative_to_prior": 20.0}}
    summary["background_below"] = {"0.05": 0.049}
    text = closing_table(summary)
    assert "3 tracks on part test: 1,200 windows, of them 200 background" in text
    (line,) = [line for line in text.splitlines() if line.split()[0] == "4"]
    assert line.split() == "4 1 0.700 (0.350) 0.600 (0.300) 0.500 (0.250) +0.100 (+0.050)".split()
    assert "joint above dinucleotide in 3 of 3 tracks (AUROC; Wilcoxon, Holm: p 0.75)" in text
    assert "at 0.001 sites per background window: sigmoid 0.02 (20 times the prior)" in text
    assert "0.049 below 0.05" in text
    alone = THREE[THREE["method"] == "joint"]
    bare = closing_table({**summary, "means": mean_rows(alone), "gains": [], "wins": [], "calibration": {}})
    assert len(bare.splitlines()) == 5


def test_points_are_the_tracks_against_their_best_baseline():
    axis = plot_joint_vs_baseline(THREE, "test", "SYNTHETIC: made up").axes[0]
    points = np.concatenate([line.get_offsets() for line in axis.collections if len(line.get_offsets())])
    points = points[(points != 0).any(axis=1)]
    assert sorted(points.tolist()) == [[0.6, 0.7], [0.85, 0.8], [0.85, 0.9]]
    labels = axis.get_legend_handles_labels()[1]
    assert labels == [
        "quartile 1, 10 to 11 train sites: above in 1 of 2",
        "quartile 4, 12 train sites: above in 1 of 1",
    ]
    assert axis.get_xlabel() == "best of 4-mer, dinucleotide regression, AUROC on test"
    assert axis.get_title().endswith("SYNTHETIC")


def test_reliability_is_drawn_on_logarithmic_axes_without_empty_bins():
    row = {"bin_low": EDGES[9], "bin_high": EDGES[10], "n_background": 9, "weight": 0.1, "low": 0.0, "high": 0.01}
    rows = pd.DataFrame(
        [
            {**row, "scale": "sigmoid", "n_bound": 3, "mean_probability": 0.1, "site_share": 0.002},
            {**row, "scale": "calibrated", "n_bound": 3, "mean_probability": 0.001, "site_share": 0.002},
            {**row, "scale": "calibrated", "n_bound": 0, "mean_probability": 0.5, "site_share": 0.0},
        ]
    )
    axis = plot_reliability(rows, 1e-3, "dev").axes[0]
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
    lines = {line.get_label(): line for line in axis.lines}
    assert lines["sigmoid of the logit"].get_xydata().tolist() == [[0.1, 0.002]]
    assert lines["calibrated"].get_xydata().tolist() == [[0.001, 0.002]]
