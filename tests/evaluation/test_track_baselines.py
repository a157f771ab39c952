"""Composition baselines of many tracks: scikit-learn's minimum at the penalty that dev chooses; unknown labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from track_sets import MOTIFS, make_track_set

from LAMAR.data.composition import FEATURES, feature_transform
from LAMAR.evaluation import track_baselines
from LAMAR.evaluation.probes import PENALTIES
from LAMAR.evaluation.track_baselines import fit_track_baseline
from LAMAR.statistics.metrics import auroc
from LAMAR.statistics.track_metrics import UNKNOWN


@pytest.fixture(scope="module")
def data():
    return make_track_set(n=600)


@pytest.mark.parametrize("features", ["dinucleotide", "4mer", "gc"])
def test_scores_are_those_of_scikit_learn_at_the_penalty_that_dev_chooses(data, features):
    found = fit_track_baseline(data, features, "test")
    train, dev, test = (data.rows(part) for part in ("train", "dev", "test"))
    assert found.log_odds.shape == (len(test), 4)
    assert found.log_odds.dtype == np.float32
    values = FEATURES[features](data.sequences)
    scaled = feature_transform(features).fit(values[train]).transform(values)
    labels = data.coded_labels()
    for j in (0, 3):
        known = {part: rows[labels[rows, j] != UNKNOWN] for part, rows in (("train", train), ("dev", dev))}
        models, areas = [], []
        for penalty in PENALTIES:
            model = LogisticRegression(C=penalty, tol=1e-9, max_iter=5_000)
            models.append(model.fit(scaled[known["train"]], labels[known["train"], j]))
            areas.append(auroc(labels[known["dev"], j], model.decision_function(scaled[known["dev"]])))
        chosen = PENALTIES.index(found.penalties[j])
        assert areas[chosen] >= max(areas) - 0.005
        assert found.log_odds[:, j] == pytest.approx(models[chosen].decision_function(scaled[test]), abs=0.05)


def test_a_planted_motif_is_found_by_4mers(data):
    found = fit_track_baseline(data, "4mer", "test").log_odds
    labels = data.coded_labels(data.rows("test"))
    for j in range(len(MOTIFS) + 1):
        known = labels[:, j] != UNKNOWN
        assert auroc(labels[known, j], found[known, j]) > 0.9


def test_windows_of_unknown_label_do_not_count(data):
    """The sequences of windows that one track does not know decide nothing for it, in train and dev."""
    rows, ids = data.unknown.pairs()
    windows = data.windows.copy()
    masked = rows[(ids == 2) & np.isin(windows["part"].to_numpy()[rows], ["train", "dev"])]
    # Standardised by train as a whole: two of these windows change places, and the features' moments stay.
    assert len(masked) >= 4
    of_train = masked[windows["part"].to_numpy()[masked] == "train"]
    order = np.roll(of_train, 1)
    windows.loc[of_train, "sequence"] = windows["sequence"].to_numpy()[order]
    before, after = (fit_track_baseline(one, "4mer", "test") for one in (data, replace(data, windows=windows)))
    assert after.log_odds[:, 2] == pytest.approx(before.log_odds[:, 2], abs=0.02)
    assert after.penalties[2] == before.penalties[2]


def test_blocks_change_nothing(data, monkeypatch):
    before = fit_track_baseline(data, "dinucleotide", "test").log_odds
    monkeypatch.setattr(track_baselines, "BLOCK", 7)
    assert np.array_equal(fit_track_baseline(data, "dinucleotide", "test").log_odds, before)


def test_the_strongest_of_equal_penalties_wins_and_others_choose_for_a_track_without_dev_sites():
    areas = np.array(
        [[0.6, 0.7, np.nan], [0.8, 0.7, np.nan], [0.8, 0.6, np.nan], [0.5, 0.5, np.nan], [0.5, 0.5, np.nan]]
    )
    # Means over the first two: 0.65, 0.75, 0.70, 0.5, 0.5.
    assert track_baselines._best_penalties(areas).tolist() == [1, 0, 1]
    assert track_baselines._best_penalties(np.full((5, 2), np.nan)).tolist() == [4, 4]


def test_without_a_dev_part_the_penalty_is_that_of_single_sets(data):
    kept = data.take(np.flatnonzero(data.windows["part"] != "dev"))
    assert fit_track_baseline(kept, "dinucleotide", "test").penalties.tolist() == [1.0] * 4
