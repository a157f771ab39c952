"""Collapses of fine-tuning, told apart by hand."""

from __future__ import annotations

import numpy as np
import pytest

from LAMAR.training.collapse import diagnose


def test_diagnosis_by_hand():
    labels = np.array([0, 1] * 50)
    good = np.stack([np.linspace(0, 1, 100), np.linspace(1, 0, 100)], axis=1)
    falling, stuck = [{"loss": 0.69}, {"loss": 0.3}], [{"loss": 0.7}, {"loss": 0.6931}]
    assert diagnose(falling, labels, good, "classification", False) is None
    assert diagnose(stuck, labels, good, "classification", False)["kind"] == "loss_stuck"
    learnt = [*stuck, {"eval_loss": 0.5}]
    assert diagnose(learnt, labels, good, "classification", False) is None
    assert diagnose(falling, labels, np.full((9, 2), 0.5), "classification", False)["kind"] == "constant_predictions"
    assert diagnose(falling, labels, good, "classification", True)["kind"] == "nan_loss"
    # With one class in ten, knowing frequencies alone gives 0.325: below ln 2 and still nothing learnt.
    rare = np.array([1] * 10 + [0] * 90)
    assert diagnose([{"loss": 0.3251}], rare, good, "classification", False)["kind"] == "loss_stuck"
    assert diagnose([{"loss": 0.2}], rare, good, "classification", False) is None


def test_advice_leaves_out_what_is_set():
    labels, good = np.array([0, 1] * 50), np.stack([np.linspace(0, 1, 100), np.linspace(1, 0, 100)], axis=1)
    stuck = [[{"loss": 0.6931}], labels, good, "classification", False]
    found = diagnose(*stuck, settled=["head", "pretrain_path"], n_steps=50)
    assert found["try"] == "`warmup_epochs` 5 (the head first), another `lr` or more `epochs`"
    not_finite = diagnose(*stuck[:4], True, settled=["grad_clipping_norm", "fp16"], n_steps=9)
    assert (not_finite["kind"], not_finite["try"]) == ("nan_loss", "a lower `lr`")
    short = diagnose(*stuck, settled=["higher_lr", "pretrain_path"], n_steps=9)
    assert (short["kind"], short["try"]) == ("under_trained", "more `epochs`")


LABELS = np.array([0, 1] * 50)


def scores_with_auroc(area: float, low: float, high: float) -> np.ndarray:
    """Probabilities of two classes from low to high; that share of positives is above all negatives, others below."""
    p = np.empty(100)
    n_above = round(50 * area)
    p[LABELS == 0] = np.linspace(0.4, 0.6, 50)
    p[LABELS == 1] = np.r_[np.full(50 - n_above, 0.0), np.full(n_above, 1.0)]
    p = low + (high - low) * p
    return np.stack([1 - p, p], axis=1)


@pytest.mark.parametrize(
    ("area", "kind"), [(0.94, "under_trained"), (0.7, "under_trained"), (0.6, "loss_stuck"), (0.1, "loss_stuck")]
)
def test_a_model_that_orders_heldout_records_has_not_collapsed(area, kind):
    """With 50 + 50 records, areas from 0.68 on have a p-value below 0.001; reversed order is no knowledge."""
    predictions = scores_with_auroc(area, 0.45, 0.55)
    found = diagnose(
        [{"loss": 0.69}], LABELS, predictions, "classification", False, judged=LABELS, n_steps=900, way=0.03
    )
    assert found["kind"] == kind
    assert found["evidence"].startswith("training loss ended at 0.6900; knowing class frequencies alone gives 0.6931")
    if kind == "under_trained":
        assert found["evidence"].endswith(f"order 100 held-out records with an AUROC of {area:.3f}")
        assert found["try"] == "more `epochs`, a higher `lr` or pretrained weights (`pretrain_path`)"


def test_the_class_that_is_ordered_may_be_any_of_several():
    labels = np.arange(300) % 3
    predictions = np.full((300, 3), 0.33)
    predictions[labels == 2, 2] += 0.01
    loss = [{"loss": 1.0986}]
    found = diagnose(loss, labels, predictions, "classification", False, judged=labels, n_steps=900)
    assert found["kind"] == "under_trained"
    shuffled = predictions[np.random.default_rng(0).permutation(300)]
    assert diagnose(loss, labels, shuffled, "classification", False, judged=labels)["kind"] == "loss_stuck"


@pytest.mark.parametrize(
    ("n_steps", "way", "end"),
    [
        (49, 0.3, "49 optimiser steps can teach a model little"),
        (1, 0.3, "1 optimiser step can teach a model little"),
        (900, 9e-10, "at this `lr` no weight can have moved by more than about 9e-10"),
        (900, 0.03, None),
        (None, None, None),
    ],
)
def test_too_short_a_training_had_no_chance(n_steps, way, end):
    constant = np.full((100, 2), 0.5)
    stuck = scores_with_auroc(0.5, 0.4, 0.6)
    for predictions, kind in ((constant, "constant_predictions"), (stuck, "loss_stuck")):
        found = diagnose(
            [{"loss": 0.7}], LABELS, predictions, "classification", False, judged=LABELS, n_steps=n_steps, way=way
        )
        assert found["kind"] == ("under_trained" if end else kind)
        assert end is None or found["evidence"].endswith(f"; {end}")


def test_constant_predictions_after_a_whole_training_are_a_collapse_however_they_are_ordered():
    predictions = scores_with_auroc(0.94, 0.5, 0.5001)
    found = diagnose([{"loss": 0.6931}], LABELS, predictions, "classification", False, judged=LABELS, n_steps=900)
    assert found["kind"] == "constant_predictions"
