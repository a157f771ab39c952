"""Which tracks are judged: names that model and data share, enough windows, equal shares of the quartiles of size."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from track_sets import tracks_by_hand

from LAMAR.data.tracks import TrackSet
from LAMAR.errors import InputError
from LAMAR.evaluation.track_choice import choose_tracks


def by_counts(n_train: list[int], n_test: list[int]) -> TrackSet:
    """Tracks with these numbers of bound train and test windows, of 40 each."""
    parts = ["train"] * 40 + ["test"] * 40
    labels = np.zeros((80, len(n_train)), dtype=np.int8)
    for j, (train, test) in enumerate(zip(n_train, n_test)):
        labels[:train, j] = 1
        labels[40 : 40 + test, j] = 1
    return tracks_by_hand(parts, ["site"] * 80, labels)


# Quartiles by train windows: 7 and 1 are the first, 12 and 9 the second, 20 and 15 the third, 33 and 30 the last.
EIGHT = by_counts([7, 33, 12, 20, 1, 9, 30, 15], [5, 10, 10, 10, 3, 10, 10, 10])


def test_outputs_are_those_of_the_names_in_any_order(caplog):
    outputs = [*reversed(EIGHT.names)]
    with caplog.at_level(logging.WARNING):
        chosen = choose_tracks(EIGHT, outputs, "test", min_bound=2)
    assert chosen.data.names == EIGHT.names
    assert [outputs[i] for i in chosen.outputs] == EIGHT.names
    assert chosen.n_train.tolist() == [7, 33, 12, 20, 1, 9, 30, 15]
    assert chosen.quartile.tolist() == [1, 4, 2, 3, 1, 2, 4, 3]
    assert caplog.text == ""


def test_tracks_that_one_of_them_lacks_are_left_out_with_one_warning(caplog):
    outputs = [*EIGHT.names[2:], "NEW_A", "NEW_B"]
    with caplog.at_level(logging.WARNING):
        chosen = choose_tracks(EIGHT, outputs, "test", min_bound=2)
    (record,) = caplog.records
    assert record.getMessage() == (
        "tracks left out: 2 that the data set lacks (NEW_A, NEW_B); 2 that the model lacks (T0_A, T1_B)"
    )
    assert chosen.lacking == {"not_in_data": ["NEW_A", "NEW_B"], "not_in_model": ["T0_A", "T1_B"]}
    assert chosen.data.names == EIGHT.names[2:]
    # Quartiles are among the six that they share.
    assert chosen.quartile.tolist() == [2, 3, 1, 1, 4, 3]


@pytest.mark.parametrize(("min_bound", "wanted"), [(4, [0, 1, 2, 3, 5, 6, 7]), (1, range(8)), (6, [1, 2, 3, 5, 6, 7])])
def test_all_tracks_have_the_windows_that_are_asked_for(min_bound, wanted):
    chosen = choose_tracks(EIGHT, EIGHT.names, "test", min_bound=min_bound)
    assert chosen.data.names == [EIGHT.names[i] for i in wanted]


@pytest.mark.parametrize("seed", range(4))
def test_drawn_tracks_have_equal_shares_of_the_quartiles(seed, caplog):
    for n, shares in ((4, [1, 1, 1, 1]), (8, [2, 2, 2, 2]), (6, [2, 2, 1, 1])):
        chosen = choose_tracks(EIGHT, EIGHT.names, "test", n, min_bound=2, seed=seed)
        assert np.bincount(chosen.quartile, minlength=5)[1:].tolist() == shares
        again = choose_tracks(EIGHT, EIGHT.names, "test", n, min_bound=2, seed=seed)
        assert chosen.data.names == again.data.names
    assert caplog.text == ""


def test_seeds_draw_different_tracks():
    drawn = {
        tuple(choose_tracks(EIGHT, EIGHT.names, "test", 4, min_bound=2, seed=seed).data.names) for seed in range(9)
    }
    assert len(drawn) > 3


def test_a_quartile_that_runs_out_is_filled_from_the_others_and_said(caplog):
    # Only track 0 of the first quartile has four test windows.
    chosen = choose_tracks(EIGHT, EIGHT.names, "test", 7, min_bound=4)
    assert np.bincount(chosen.quartile, minlength=5)[1:].tolist() == [1, 2, 2, 2]
    assert caplog.text == ""
    one_quartile = by_counts([1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 0, 0, 0, 0, 9, 9])
    choose_tracks(one_quartile, one_quartile.names, "test", 2, min_bound=4)
    assert "too few tracks for equal shares: 0, 0, 0, 2 drawn" in caplog.text


def test_named_tracks_come_in_the_order_of_the_data_each_once():
    chosen = choose_tracks(EIGHT, EIGHT.names, "test", ["T4_A", "T1_B", "T4_A"])
    assert chosen.data.names == ["T1_B", "T4_A"]  # three test windows are enough for a track that is named
    assert chosen.quartile.tolist() == [4, 1]


def test_unknown_labels_are_neither_bound_nor_unbound():
    labels = np.array([[1, 0, 1, 1, 0, -1, -1], [1, 0, 1, 1, 0, 0, -1]], dtype=np.int8).T
    data = tracks_by_hand(["train"] * 2 + ["test"] * 5, ["site"] * 7, labels)
    assert choose_tracks(data, data.names, "test", min_bound=2).data.names == ["T1_B"]
    with pytest.raises(
        InputError, match="`tracks`: T0_A: found 2 and 1 bound in parts test and train, wanted 2 or more"
    ):
        choose_tracks(data, data.names, "test", ["T0_A"])


def test_tracks_that_cannot_be_trained_are_judged_without_baselines_only():
    data = by_counts([0, 5], [5, 5])
    assert choose_tracks(data, data.names, "test", min_bound=2).data.names == ["T1_B"]
    assert choose_tracks(data, data.names, "test", min_bound=2, needs_training=False).data.names == data.names
    with pytest.raises(InputError, match=r"T0_A: found 5 and 0 bound in parts test and train, .* for `baselines`"):
        choose_tracks(data, data.names, "test", ["T0_A"])


@pytest.mark.parametrize(
    ("outputs", "part", "tracks", "options", "message"),
    [
        (
            ["A_B"],
            "test",
            None,
            {},
            "`model_path`, `data_path`: found no common track .A_B in the model, T0_A, T1_B, T2_A",
        ),
        (None, "dev", None, {}, "`part`: found no window of part dev in `data_path`, wanted some"),
        (None, "test", None, {"min_bound": 11}, r"`min_bound`: found no track with 11 .* \(the most are 10\)"),
        (None, "test", 9, {"min_bound": 2}, "`tracks`: found 9, wanted 1 to 8, the tracks with 2 or more"),
        (None, "test", 0, {"min_bound": 2}, "`tracks`: found 0, wanted 1 to 8"),
        (None, "test", ["T7_A"], {}, r"`tracks`: found 'T7_A', which is not in `data_path`, .*\(similar: T7_B"),
        (["T0_A"], "test", ["T1_B"], {}, "`tracks`: found 'T1_B', which the model lacks"),
    ],
)
def test_choices_that_cannot_be_judged_are_refused(outputs, part, tracks, options, message):
    with pytest.raises(InputError, match=message):
        choose_tracks(EIGHT, outputs or EIGHT.names, part, tracks, **options)
