"""Collapses of fine-tuning, told apart by hand."""

from __future__ import annotations

import numpy as np

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


def test_advice_leaves_out_what_is_set_and_counts_steps():
    labels, good = np.array([0, 1] * 50), np.stack([np.linspace(0, 1, 100), np.linspace(1, 0, 100)], axis=1)
    stuck = [[{"loss": 0.6931}], labels, good, "classification", False]
    found = diagnose(*stuck, settled=["head", "pretrain_path"], n_steps=50)
    assert found["try"] == "`warmup_epochs` 5 (the head first), another `lr` or more `epochs`"
    assert "optimiser steps" not in found["evidence"]
    found = diagnose(*stuck, settled=["head", "warmup_epochs"], n_steps=49)
    assert found["try"] == "more `epochs`, another `lr` or pretrained weights (`pretrain_path`)"
    assert found["evidence"].endswith("; 49 optimiser steps are too few to tell a collapse from too short a training")
    constant = diagnose([], labels, np.full((9, 2), 0.5), "classification", False, n_steps=9)
    assert constant["try"].startswith("more `epochs`, `warmup_epochs` 5")
    not_finite = diagnose(*stuck[:4], True, settled=["grad_clipping_norm", "fp16"], n_steps=9)
    assert (not_finite["try"], "steps" in not_finite["evidence"]) == ("a lower `lr`", False)
