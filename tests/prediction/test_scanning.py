"""Scores along records, with models whose logits can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from counting_model import Counts, random_sequence

from LAMAR import scan
from LAMAR.errors import InputError
from LAMAR.prediction import scanning
from LAMAR.prediction.scanning import ScanOptions, positive_columns, scan_record
from LAMAR.statistics.calibration import fit_calibration


class TwoClasses(Counts):
    """Class 1 is the number of T, class 0 the number of A."""

    def __init__(self):
        super().__init__()
        self.config.loss_type, self.config.id2label = None, {0: "no", 1: "yes"}


def by_hand(sequence: str, tile: int, stride: int) -> np.ndarray:
    """Mean over the tiles that cover each nucleotide of their numbers of A and T."""
    starts = [*range(0, len(sequence) - tile, stride), len(sequence) - tile]
    sums, n = np.zeros((len(sequence), 2)), np.zeros((len(sequence), 1))
    for start in starts:
        text = sequence[start : start + tile]
        sums[start : start + tile] += [text.count("A"), text.count("T")]
        n[start : start + tile] += 1
    return sums / n


@pytest.mark.parametrize(("length", "stride"), [(50, None), (51, 3), (49, 8), (9, 2), (8, 2)])
def test_scores_are_means_over_covering_tiles(length, stride):
    sequence = random_sequence(length)
    found = scan(Counts(), sequence.lower().replace("t", "u"), stride=stride)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(sequence, 8, stride or 2), rtol=1e-5)


def test_a_record_shorter_than_a_tile_is_scored_as_it_is():
    assert scan(Counts(), "AATC").tolist() == [[2.0, 1.0]] * 4


def test_runs_of_n_are_nan_and_divide_the_record():
    one, two = random_sequence(30, 1), random_sequence(21, 2)
    found = scan(Counts(), one + "N" * 12 + two)
    assert np.isnan(found[30:42]).all()
    np.testing.assert_allclose(found[:30], by_hand(one, 8, 2), rtol=1e-5)
    np.testing.assert_allclose(found[42:], by_hand(two, 8, 2), rtol=1e-5)


def test_scores_do_not_depend_on_pieces_and_batches(monkeypatch):
    sequence = random_sequence(400) + "N" * 10 + random_sequence(90, 1)
    whole = scan(Counts(), sequence, token_budget=10_000)
    monkeypatch.setattr(scanning, "N_TILES", 7)
    np.testing.assert_array_equal(scan(Counts(), sequence, token_budget=40), whole)
    options = ScanOptions(tile=8, stride=2, margin=5)
    parts = list(scan_record(Counts(), sequence, options))
    assert len(parts) > 20
    for part in parts:
        left, right = part.profile.bounds[[0, -1]]
        assert left <= part.piece.start < part.piece.end <= right
        np.testing.assert_array_equal(part.profile.per_nucleotide(), whole[left:right])


def test_two_classes_are_one_score_their_difference():
    sequence = random_sequence(40)
    counts = by_hand(sequence, 8, 2)
    np.testing.assert_allclose(scan(TwoClasses(), sequence), counts[:, 1:] - counts[:, :1], atol=1e-5)
    assert positive_columns(TwoClasses())[0] == ["yes"]


def test_columns_choose_scores():
    sequence = random_sequence(40)
    (part,) = scan_record(Counts(), sequence, ScanOptions(tile=8, stride=2), columns=np.array([1]))
    np.testing.assert_array_equal(part.profile.per_nucleotide(), scan(Counts(), sequence)[:, 1:])


def test_scales_are_those_of_the_models_calibration():
    model, sequence = Counts(), random_sequence(40) + "N" * 10
    logits = scan(model, sequence)
    np.testing.assert_allclose(
        scan(model, sequence, scale="probability"), torch.from_numpy(logits).sigmoid(), rtol=1e-6
    )
    rng = np.random.default_rng(0)
    labels = np.repeat([[1, 1], [0, 0]], [50, 450], axis=0)
    model.calibration = fit_calibration(rng.normal(size=(500, 2)) + labels, labels, labels[:, 0] == 0, ["A", "T"])
    for scale, values in (
        ("probability", model.calibration.probabilities(logits)),
        ("p_value", model.calibration.p_values(logits)),
    ):
        np.testing.assert_allclose(scan(model, sequence, scale=scale), values, rtol=1e-6)
        assert np.isnan(values[40:]).all()


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (Counts(None), {}, "`tile`: not given, and config.json of the model has no window_length"),
        (Counts(), {"stride": 9}, "`stride`: found 9, wanted 1 to 8, the length of a tile"),
        (Counts(), {"scale": "p_value"}, "`scale`: found p_value, but the model has no calibration.json"),
        (Counts(), {"scale": "odds"}, "`scale`: found 'odds', wanted one of probability, p_value, logit"),
    ],
)
def test_mistakes_are_one_line(model, options, message):
    with pytest.raises(InputError, match=message):
        scan(model, random_sequence(40), **options)


def test_many_classes_have_no_one_score():
    model = Counts()
    model.config.num_labels, model.config.loss_type = 3, None
    model.config.id2label = dict(enumerate("abc"))
    with pytest.raises(InputError, match="found a classifier of 3 classes, wanted one of two"):
        scan(model, random_sequence(40))
    with pytest.raises(InputError, match="`sequence`: found 5, wanted a sequence as text"):
        scan(model, 5)
