"""LAMAR.training.summaries: tables and texts of a finished run."""

from __future__ import annotations

import math

import numpy as np
import pytest

from LAMAR.data.labelled import load_labelled
from LAMAR.training import summaries


@pytest.mark.parametrize("bad", [0, 1])
def test_a_fold_of_no_finite_prediction_has_a_row_without_figures(bad):
    labels = np.array([0, 1, 0, 1])
    results = [
        {"fold": f"fold_{i}", "seed": i, "n_train": 8, "n_validation": 2, "best_epoch": 1, "seconds": 1.0}
        | {"indices": {"validation": [], "heldout": [2 * i, 2 * i + 1], "test": [0, 1, 2, 3]}}
        | {"predictions": {"validation": [], "heldout": [[p, 1 - p]] * 2, "test": [[p, 1 - p]] * 4}}
        | {"collapsed": {"kind": "nan_loss"} if i == bad else None}
        for i, p in enumerate([math.nan if i == bad else 0.5 for i in range(2)])
    ]
    summary, rows = summaries.summarise(results, labels, "classification", 0)
    assert len({tuple(row) for row in rows}) == 1
    assert all((row["auroc"] is None) == (row["fold"] in (f"fold_{bad}", "mean of folds")) for row in rows)
    assert summary["test"]["auroc"]["n"] == 1


def fold_result(name: str, indices: list[int], probabilities: list[float]) -> dict:
    parts = {"validation": [], "heldout": indices, "test": []}
    predictions = {"validation": [], "heldout": [[1 - p, p] for p in probabilities], "test": []}
    sizes = {"fold": name, "seed": 0, "n_train": 8, "n_validation": 2, "best_epoch": 1.0, "seconds": 1.0}
    return sizes | {"collapsed": None, "indices": parts, "predictions": predictions}


def test_folds_on_two_scales_are_pooled_as_ranks_too():
    """Each fold orders its four records without a mistake; all of the second lie above all of the first."""
    labels = np.array([0, 0, 1, 1] * 2)
    results = [
        fold_result("fold_0", [0, 1, 2, 3], [0.1, 0.11, 0.12, 0.13]),
        fold_result("fold_1", [4, 5, 6, 7], [0.8, 0.81, 0.82, 0.83]),
    ]
    summary, _ = summaries.summarise(results, labels, "classification", 0)
    # Of 16 pairs, the four of a positive of the first fold and a negative of the second are in the wrong order.
    assert summary["out_of_fold"]["auroc"]["value"] == 12 / 16
    assert summary["out_of_fold_ranks"]["auroc"]["value"] == 1
    assert summary["cross_validation"]["auroc"]["mean"] == 1
    text = summaries.closing_table(summary, "classification")
    assert "the same, as ranks within folds                 auroc 1.0000" in text
    assert "the folds' probabilities are not on one scale" in text
    legends = summaries.judged_sets(results, labels)
    assert list(legends) == ["out of fold", "the same, as ranks within folds"]
    # On one scale there is nothing to say.
    results[1] = fold_result("fold_1", [4, 5, 6, 7], [0.1, 0.11, 0.12, 0.13])
    summary, _ = summaries.summarise(results, labels, "classification", 0)
    assert summary["out_of_fold"]["auroc"]["value"] == summary["out_of_fold_ranks"]["auroc"]["value"] == 1
    assert "not on one scale" not in summaries.closing_table(summary, "classification")


def test_a_fold_is_described_with_its_verdict():
    labels = np.array([0, 1])
    result = fold_result("fold_0", [0, 1], [0.4, 0.6])
    assert summaries.describe(result, labels, "classification").startswith("fold_0: best epoch 1, heldout auroc 1.0000")
    verdict = {
        "kind": "under_trained",
        "evidence": "9 optimiser steps can teach a model little",
        "try": "more `epochs`",
    }
    short = summaries.describe(result | {"under_trained": verdict}, labels, "classification")
    assert short.endswith("\n  UNDER-TRAINED: 9 optimiser steps can teach a model little. Try more `epochs`")
    stuck = {"kind": "loss_stuck", "evidence": "loss", "try": "another `lr`"}
    collapsed = summaries.describe(result | {"collapsed": stuck, "best_epoch": None}, labels, "classification")
    assert collapsed.startswith("fold_0: heldout")
    assert collapsed.endswith("\n  COLLAPSED (loss_stuck): loss. Try another `lr`")


def test_summary_text_shows_what_the_file_holds():
    figures = {"auroc": {"value": 0.9, "low": 0.85, "high": 0.95}, "auprc": {"value": 0.8, "low": 0.7, "high": 0.9}}
    text = summaries.closing_table({"folds": [{}], "collapsed": {}, "test_ensemble": figures}, "classification")
    assert "auroc 0.9000 (0.8500 to 0.9500)" in text
    assert "auprc 0.8000 (0.7000 to 0.9000)" in text


def test_predictions_have_the_coordinates_that_the_table_has(tmp_path):
    table = tmp_path / "windows.csv"
    table.write_text("sequence,label,chrom\nACGTACGT,0,chr1\nTTTTACGT,1,chr2\n")
    dataset = load_labelled(table)
    result = {"fold": "fold_0", "indices": {"validation": [], "heldout": [], "test": [0, 1]}}
    result |= {"predictions": {"test": [[0.6, 0.4], [0.1, 0.9]], "validation": [], "heldout": []}}
    rows = summaries.prediction_rows([result], dataset, "classification")
    assert [row["chrom"] for row in rows] == ["chr1", "chr2"]
    assert [row["probability"] for row in rows] == [0.4, 0.9]
    assert not {"start", "end", "strand"} & rows[0].keys()
