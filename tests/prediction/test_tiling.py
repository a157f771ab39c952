"""Tiles of long records, and the mean of those that cover a nucleotide."""

from __future__ import annotations

import numpy as np
import pytest

from LAMAR.errors import InputError
from LAMAR.prediction.tiling import pieces, profile_of, segments, tile_starts


@pytest.mark.parametrize(
    ("sequence", "wanted"),
    [
        ("ACGT", [(0, 4)]),
        ("ACNNNNNNNNNGT", [(0, 13)]),  # nine: within a tile
        ("AC" + "N" * 10 + "GT", [(0, 2), (12, 14)]),
        ("N" * 12 + "ACG" + "N" * 30, [(12, 15)]),
        ("N" * 10, []),
    ],
)
def test_runs_of_n_divide_a_record(sequence, wanted):
    assert segments(sequence) == wanted


@pytest.mark.parametrize(
    ("length", "wanted"),
    [(3, [0]), (8, [0]), (9, [0, 1]), (11, [0, 3]), (12, [0, 3, 4]), (14, [0, 3, 6]), (15, [0, 3, 6, 7])],
)
def test_the_last_tile_ends_with_the_record(length, wanted):
    assert tile_starts(length, 8, 3).tolist() == wanted


@pytest.mark.parametrize("stride", [0, 9, -1])
def test_a_stride_that_leaves_nucleotides_out_is_refused(stride):
    with pytest.raises(InputError, match=f"`stride`: found {stride}, wanted 1 to 8"):
        tile_starts(20, 8, stride)


def by_hand(starts, ends, logits, length: int) -> np.ndarray:
    """Mean of the tiles over each nucleotide, one at a time."""
    return np.array([logits[(starts <= i) & (i < ends)].mean(axis=0) for i in range(length)])


@pytest.mark.parametrize(("length", "tile", "stride"), [(5, 8, 3), (8, 8, 3), (41, 8, 3), (40, 8, 8), (33, 8, 1)])
def test_a_profile_is_the_mean_over_covering_tiles(length, tile, stride):
    starts = tile_starts(length, tile, stride)
    ends = np.minimum(starts + tile, length)
    logits = np.random.default_rng(0).normal(size=(len(starts), 2)).astype(np.float32)
    profile = profile_of(starts, ends, logits)
    assert (profile.bounds[0], profile.bounds[-1]) == (0, length)
    np.testing.assert_allclose(profile.per_nucleotide(), by_hand(starts, ends, logits, length), rtol=1e-5)


def test_a_cut_profile_has_the_same_scores():
    starts = tile_starts(41, 8, 3)
    logits = np.random.default_rng(0).normal(size=(len(starts), 2)).astype(np.float32)
    profile = profile_of(starts, starts + 8, logits)
    for start, end in ((0, 41), (0, 1), (7, 30), (9, 12), (40, 41)):
        part = profile.cut(start, end)
        assert (part.bounds[0], part.bounds[-1], len(part)) == (start, end, len(part.bounds) - 1)
        np.testing.assert_array_equal(part.per_nucleotide(), profile.per_nucleotide()[start:end])


@pytest.mark.parametrize(("n_tiles", "margin"), [(1, 0), (2, 5), (4, 3), (100, 8)])
def test_pieces_give_the_scores_of_the_whole(n_tiles, margin):
    start, end, tile, stride = 7, 98, 8, 3
    logits_of = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)  # by the tile's start
    starts = start + tile_starts(end - start, tile, stride)
    whole = profile_of(starts, starts + tile, logits_of[starts])
    reached = start
    for piece in pieces(start, end, tile, stride, n_tiles, margin):
        assert piece.start == reached
        left, right = max(piece.start - margin, start), min(piece.end + margin, end)
        part = profile_of(piece.starts, piece.ends, logits_of[piece.starts]).cut(left, right)
        np.testing.assert_array_equal(part.per_nucleotide(), whole.cut(left, right).per_nucleotide())
        reached = piece.end
    assert reached == end
