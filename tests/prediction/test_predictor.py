"""Sites and best scores along records, with a model that counts letters."""

from __future__ import annotations

import numpy as np
import pytest
from counting_model import Counts, calibrated, planted, random_sequence

from LAMAR import scan
from LAMAR.errors import InputError
from LAMAR.prediction import scanning
from LAMAR.prediction.predictor import SITE_WIDTH, Predictor, choose_tracks
from LAMAR.prediction.records import Place, Record


def record(sequence: str) -> Record:
    return Record("r", sequence, Place("r", "+", (0,), (len(sequence),)))


def test_planted_sites_are_found_where_they_are():
    found = Predictor(calibrated(), stride=1).predict(record(planted()))
    strong = found.sites.take(found.sites.p < 5e-3)
    middles = (strong.start + strong.end) // 2
    assert strong.track.tolist() == [0, 1, 0]
    assert np.abs(middles - [104, 304, 404]).max() <= 1
    assert (strong.end - strong.start == SITE_WIDTH).all()
    assert np.abs(found.best_position - [104, 304]).max() <= 1
    assert found.best_score == pytest.approx(scan(Counts(), planted(), stride=1).max(axis=0))
    assert (found.n_tiles, found.n_skipped) == (493, 0)


def test_p_values_are_those_of_the_scores_and_all_tiles_are_counted():
    model = calibrated()
    predictor = Predictor(model, stride=1)
    found = predictor.predict(record(planted()))
    scores = scan(Counts(), planted(), stride=1)
    p = model.calibration.p_values(scores)
    for track, start, end, score, value in zip(*vars(found.sites).values()):
        middle = (start + end) // 2
        assert score == scores[middle, track]
        assert value == p[middle, track]
    assert predictor.p_counts.total == 493 * 2
    # At stride 1 the tiles' middles are nucleotides 4 to 496.
    assert predictor.p_counts.counts[:, 200:].sum() == (p[4:497] <= 0.1).sum()


@pytest.mark.parametrize("n_tiles", [3, 20, 41])
def test_nothing_depends_on_the_pieces(monkeypatch, n_tiles):
    sequence = planted()[:250] + "N" * 15 + random_sequence(333)
    whole = Predictor(calibrated())
    expected = whole.predict(record(sequence), keep_profiles=True)
    assert len(expected.sites) > 3
    monkeypatch.setattr(scanning, "N_TILES", n_tiles)
    parts = Predictor(calibrated())
    found = parts.predict(record(sequence), keep_profiles=True)
    for name, values in vars(expected.sites).items():
        np.testing.assert_array_equal(getattr(found.sites, name), values)
    np.testing.assert_array_equal(found.best_score, expected.best_score)
    np.testing.assert_array_equal(found.best_position, expected.best_position)
    assert (found.n_tiles, found.n_skipped) == (expected.n_tiles, 15)
    np.testing.assert_array_equal(parts.p_counts.counts, whole.p_counts.counts)
    for both in zip(*(np.concatenate([p.per_nucleotide() for p in r.profiles]) for r in (found, expected))):
        np.testing.assert_array_equal(*both)


def test_top_sites_of_each_track():
    everything = Predictor(calibrated(), stride=1, max_p=1).predict(record(planted())).sites
    found = Predictor(calibrated(), stride=1, max_p=1, top=2).predict(record(planted())).sites
    for track in (0, 1):
        scores = np.sort(everything.score[everything.track == track])[::-1]
        assert sorted(found.score[found.track == track], reverse=True) == scores[:2].tolist()
    assert (np.diff(found.start) >= 0).all()


def test_chosen_tracks_have_the_scores_of_all():
    model = calibrated()
    both, one = (Predictor(model, rbps=rbps).predict(record(planted())) for rbps in (None, ["t"]))
    rows = both.sites.track == 1
    assert one.sites.score.tolist() == both.sites.score[rows].tolist()
    assert one.sites.p.tolist() == both.sites.p[rows].tolist()
    assert not one.sites.track.any()


def test_without_calibration_there_are_no_p_values():
    found = Predictor(Counts(), top=3).predict(record(planted()))
    assert np.isnan(found.sites.p).all()
    assert np.bincount(found.sites.track).tolist() == [3, 2]  # the second track has no more maxima
    with pytest.raises(InputError, match=r"`prior`: given, but the model has no calibration\.json"):
        Predictor(Counts(), prior=0.01)


def test_a_record_of_n_has_no_score():
    found = Predictor(calibrated()).predict(record("N" * 50))
    assert (found.n_tiles, found.n_skipped, len(found.sites)) == (0, 50, 0)
    assert np.isnan(found.best_score).all()
    assert found.best_position.tolist() == [-1, -1]


def test_names_choose_tracks():
    names = ["PUM2_HepG2", "PUM2_K562", "QKI_K562"]
    for wanted, columns in ((None, [0, 1, 2]), (["pum2"], [0, 1]), (["QKI", "PUM2_K562"], [1, 2]), ([], [0, 1, 2])):
        assert choose_tracks(names, wanted).tolist() == columns
    with pytest.raises(InputError, match=r"`rbps`: found 'QKI_HepG2', wanted an RBP or a track .* \(similar: QKI_K562"):
        choose_tracks(names, ["QKI_HepG2"])
