"""Cells along a record, and the order of tracks in a heat map."""

from __future__ import annotations

import numpy as np
import pytest

from LAMAR.prediction.heat import MOST_CELLS, HeatCells, cluster_order
from LAMAR.prediction.predictor import RecordScores, SiteTable
from LAMAR.prediction.stored_records import load_heat, save_heat
from LAMAR.prediction.tiling import Profile, profile_of, tile_starts


def profile(bounds, *tracks) -> Profile:
    return Profile(np.array(bounds), np.array(tracks, dtype=np.float32).T)


def test_a_cell_has_the_highest_score_of_its_nucleotides():
    heat = HeatCells(45, 2, 10)
    heat.add(profile([5, 9, 11, 32], [1, 3, 2], [-1, -2, -3]))
    nan = np.nan
    assert heat.width == 10
    np.testing.assert_array_equal(heat.scores, [[3, -1], [3, -2], [2, -3], [2, -3], [nan, nan]])


def test_parts_of_a_record_give_the_cells_of_the_whole():
    starts = tile_starts(1003, 101, 25)
    scores = np.random.default_rng(0).normal(size=(len(starts), 3)).astype(np.float32)
    whole = profile_of(starts, starts + 101, scores)
    one, parts = HeatCells(1003, 3, 25), HeatCells(1003, 3, 25)
    one.add(whole)
    for left in range(0, 1003, 60):
        parts.add(whole.cut(left, min(left + 60, 1003)))
    np.testing.assert_array_equal(one.scores, parts.scores)
    expected = [whole.per_nucleotide()[left : left + 25].max(axis=0) for left in range(0, 1003, 25)]
    np.testing.assert_array_equal(one.scores, expected)


@pytest.mark.parametrize(("length", "stride", "width"), [(5, 25, 25), (5401, 25, 25), (100_000, 25, 167), (601, 1, 2)])
def test_the_number_of_cells_is_bounded(length, stride, width):
    heat = HeatCells(length, 1, stride)
    assert heat.width == width
    assert len(heat.scores) == -(-length // width) <= MOST_CELLS


def test_cells_are_saved(tmp_path):
    heats = [HeatCells(100, 2, 25), HeatCells(7, 2, 1)]
    heats[1].add(profile([0, 7], [1.5], [2.5]))
    nothing = np.empty(0)
    save_heat(
        tmp_path / "heat.npz",
        [RecordScores(1, 0, nothing, nothing, SiteTable.joined([]), heat=heat) for heat in heats],
    )
    found = load_heat(tmp_path / "heat.npz")
    assert [width for width, _ in found] == [25, 1]
    for heat, (_, scores) in zip(heats, found):
        np.testing.assert_array_equal(scores, heat.scores)


def test_like_rows_stand_together_and_the_highest_come_first():
    x = np.arange(20)
    left, right = np.exp(-((x - 4) ** 2)), np.exp(-((x - 15) ** 2))
    rows = np.stack([left, 0.5 * right, 2 * left, 3 * right, 0.1 * left, np.zeros(20)])
    order = cluster_order(rows)
    assert sorted(order.tolist()) == list(range(6))
    assert order[:2].tolist() == [3, 1]
    # The row without a shape is as far from both groups; it does not divide one.
    assert order.tolist() in ([3, 1, 5, 2, 0, 4], [3, 1, 2, 0, 4, 5])


@pytest.mark.parametrize(
    ("rows", "order"), [([[1.0, 2]], [0]), ([[1.0, 2], [3, 0]], [1, 0]), ([[1.0], [3], [2]], [1, 2, 0])]
)
def test_few_rows_or_cells_are_ordered_by_their_highest_value(rows, order):
    assert cluster_order(np.array(rows)).tolist() == order
