"""Composition alone beside a fine-tuned model: on the same records, and in words where the model is not above."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest

from LAMAR.data.composition import composition_scores
from LAMAR.statistics.metrics import auroc
from LAMAR.training.composition_baselines import composition_figures, composition_lines
from LAMAR.training.fold_plans import Fold


def windows(n: int, length: int = 40, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """n sequences; those of label 1 have more G and C, by an amount that overlaps."""
    rng = random.Random(seed)
    labels = np.arange(n) % 2
    share = [rng.gauss(0.55 if label else 0.45, 0.08) for label in labels]
    return ["".join(rng.choices("ACGT", (1 - gc, gc, gc, 1 - gc), k=length)) for gc in share], labels


SEQUENCES, LABELS = windows(400)
TEST = np.arange(300, 400)
FOLDS = [
    Fold("fold_0", np.arange(0, 130), np.arange(130, 150), np.arange(150, 300)),
    Fold("fold_1", np.arange(170, 300), np.arange(150, 170), np.arange(0, 150)),
]


def model(test_scores: np.ndarray, heldout: float) -> tuple[list[dict], dict]:
    """Results and summary of a model with these probabilities on the test part, in each fold."""
    results = [{"predictions": {"test": np.stack([1 - test_scores, test_scores], axis=1)}} for _ in FOLDS]
    return results, {"cross_validation": {"auroc": {"mean": heldout, "sd": 0.0, "n": 2}}}


def figures(test_scores: np.ndarray, heldout: float) -> dict:
    return composition_figures(SEQUENCES, LABELS, FOLDS, TEST, *model(test_scores, heldout))


def scores_alone(features: str, fold: Fold, rows: np.ndarray) -> np.ndarray:
    train = [SEQUENCES[i] for i in fold.train]
    return composition_scores(train, LABELS[fold.train], [SEQUENCES[i] for i in rows], features)


@pytest.mark.parametrize("features", ["gc", "dinucleotide", "4mer"])
def test_each_fold_is_fitted_on_its_training_records_and_scores_those_of_its_model(features):
    found = figures(LABELS[TEST].astype(float), 1.0)["baselines"][features]
    heldout = [auroc(LABELS[fold.heldout], scores_alone(features, fold, fold.heldout)) for fold in FOLDS]
    assert found["cross_validation"]["auroc"]["mean"] == pytest.approx(np.mean(heldout), abs=1e-9)
    assert found["cross_validation"]["auroc"]["sd"] == pytest.approx(np.std(heldout, ddof=1), abs=1e-9)
    on_test = [scores_alone(features, fold, TEST) for fold in FOLDS]
    assert found["test"]["auroc"]["mean"] == pytest.approx(np.mean([auroc(LABELS[TEST], p) for p in on_test]), abs=1e-9)
    assert found["test_ensemble"]["auroc"]["value"] == pytest.approx(
        auroc(LABELS[TEST], np.mean(on_test, axis=0)), abs=1e-9
    )
    assert set(found["test_ensemble"]) == {"auroc", "auprc"}


def test_a_model_above_composition_needs_no_words():
    assert figures(LABELS[TEST].astype(float), 1.0)["verdict"] == []


def test_a_model_below_composition_is_said_to_be():
    composition = figures(np.random.default_rng(0).random(100), 0.5)
    heldout, test = composition["verdict"]
    baselines = composition["baselines"]
    best = max(baselines, key=lambda name: baselines[name]["cross_validation"]["auroc"]["mean"])
    assert best == "gc"  # that is all the labels depend on
    value = baselines[best]["cross_validation"]["auroc"]["mean"]
    assert heldout == f"mean held-out AUROC 0.5000 is below that of GC content alone, {value:.4f}"
    assert test.startswith("test AUROC 0.")
    assert " is below that of " in test
    text = "\n".join(composition_lines({"composition": composition}))
    assert f"NOT ABOVE COMPOSITION: {heldout}" in text
    assert f"GC content alone{'':<32}held-out auroc {value:.4f} auprc" in text


def test_a_model_that_is_composition_cannot_be_told_from_it():
    areas = {
        name: figure["test_ensemble"]["auroc"]["value"]
        for name, figure in figures(LABELS[TEST].astype(float), 1.0)["baselines"].items()
    }
    best = max(areas, key=areas.get)
    # The same order, on another scale: DeLong's p-value is 1.
    scores = np.mean([scores_alone(best, fold, TEST) for fold in FOLDS], axis=0) ** 2
    (sentence,) = figures(scores, 1.0)["verdict"]
    assert sentence.startswith(f"test AUROC {areas[best]:.4f} cannot be told from that of ")
    assert sentence.endswith(f" alone, {areas[best]:.4f} (DeLong p = 1)")


@pytest.mark.parametrize(
    "labels", [np.arange(400) % 3, np.stack([LABELS, LABELS], axis=1), np.zeros(400, dtype=np.int64)]
)
def test_labels_of_other_kinds_have_no_baseline(labels):
    assert composition_figures(SEQUENCES, labels, FOLDS, TEST, *model(np.zeros(100), 0.5)) == {}
    assert composition_lines({"composition": {}}) == composition_lines({}) == []


def test_without_folds_or_test_part_there_are_figures_of_the_other():
    test_only = [Fold("fold_0", np.arange(0, 250), np.arange(250, 300))]
    results = [{"predictions": {"test": np.full((100, 2), 0.5)}}]
    found = composition_figures(SEQUENCES, LABELS, test_only, TEST, results, {"cross_validation": {}})
    assert found["baselines"]["gc"]["cross_validation"] == {}
    assert len(found["verdict"]) == 1
    no_test = np.empty(0, dtype=np.int64)
    heldout = composition_figures(SEQUENCES, LABELS, FOLDS, no_test, [], model(np.zeros(0), 0.99)[1])
    assert set(heldout["baselines"]["4mer"]) == {"cross_validation"}
    assert heldout["verdict"] == []
    assert "test" not in "".join(composition_lines({"composition": heldout}))


@pytest.mark.slow
def test_ten_thousand_windows_in_five_folds_take_seconds():
    sequences, labels = windows(10_000, 101)
    test = np.arange(9_000, 10_000)
    pool = np.arange(9_000)
    folds = [Fold(f"fold_{k}", pool[pool % 5 != k], pool[:0], pool[pool % 5 == k]) for k in range(5)]
    results = [{"predictions": {"test": np.full((1_000, 2), 0.5)}} for _ in folds]
    start = time.process_time()
    composition_figures(sequences, labels, folds, test, results, {"cross_validation": {"auroc": {"mean": 0.5}}})
    assert time.process_time() - start < 20
