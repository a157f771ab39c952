"""LAMAR.training.summaries: tables and texts of a finished run."""

from __future__ import annotations

import math

import numpy as np
import pytest

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


def test_summary_text_shows_what_the_file_holds():
    figures = {"auroc": {"value": 0.9, "low": 0.85, "high": 0.95}, "auprc": {"value": 0.8, "low": 0.7, "high": 0.9}}
    text = summaries.closing_table({"folds": [{}], "collapsed": {}, "test_ensemble": figures}, "classification")
    assert "auroc 0.9000 (0.8500 to 0.9500)" in text
    assert "auprc 0.8000 (0.7000 to 0.9000)" in text
