"""Figures of each track and their means, from labels of which some are unknown."""

from __future__ import annotations

import math

import numpy as np
import pytest

from LAMAR.statistics.track_metrics import UNKNOWN, size_quartiles, summarise_tracks, track_areas, track_table


def test_track_figures_by_hand():
    # Track 0: bound windows score 3 and 1 against 2 and 0: three of four pairs are right; precision 1 and 2/3.
    # The unknown window would spoil it. Without the background window 0, one of two pairs.
    labels = np.array([[1, 0], [1, 0], [0, 0], [0, 0], [UNKNOWN, 1]], dtype=np.int8)
    logits = np.array([[3, 0], [1, 0], [2, 0], [0, 0], [9, 1]], dtype=np.float32)
    is_background = np.array([False, False, False, True, False])
    first, second = track_table(labels, logits, is_background)
    assert first == pytest.approx(
        {"n_bound": 2, "n_unbound": 2, "auroc": 0.75, "auprc": (1 + 2 / 3) / 2, "auroc_sites": 0.5}
    )
    assert (second["n_bound"], second["auroc"]) == (1, 1.0)
    assert track_areas(labels, logits).tolist() == [0.75, 1.0]
    alone = track_table(labels[:4], logits[:4])
    assert math.isnan(alone[1]["auroc"])
    figures = summarise_tracks(alone, np.array([5, 9]))
    assert figures["auroc"] == 0.75
    assert figures["n_tracks"] == 1
    assert figures["auroc_q1"] == 0.75
    assert math.isnan(figures["auroc_q4"])


def test_quartiles_are_by_size_and_equal():
    assert size_quartiles(np.array([50, 1, 7, 900, 20, 3, 11, 100])).tolist() == [2, 0, 1, 3, 2, 0, 1, 3]
