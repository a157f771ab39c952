"""Calibration on sequences: p-values are shares of their tiles, saved and read again, without probabilities."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from counting_model import Counts, calibrated, random_sequence

from LAMAR import scan
from LAMAR.data.track_calibration import read_calibration
from LAMAR.errors import InputError
from LAMAR.interpretation.run_record import RunRecord
from LAMAR.prediction import background as background_module
from LAMAR.prediction.background import Background
from LAMAR.prediction.predictor import Predictor
from LAMAR.prediction.records import Place, Record
from LAMAR.prediction.run import Outputs, predict_records

RECORD = Record("r", random_sequence(300, 9), Place("r", "+", (0,), (300,)))


def fasta(folder: Path, n: int = 20, length: int = 500, first: int = 100) -> Path:
    path = folder / f"background{first}.fa"
    path.write_text("".join(f">{i}\n{random_sequence(length, first + i)}\n" for i in range(n)))
    return path


def run(folder: Path, predictor: Predictor, background: Background, **outputs):
    return predict_records([RECORD], predictor, folder, RunRecord(), Outputs(**outputs), background=background)


def predictor(model=None, **options) -> Predictor:
    return Predictor(Counts() if model is None else model, stride=2, max_p=1, **options)


@pytest.mark.parametrize("is_single", [False, True])
def test_p_values_are_shares_of_the_tiles(tmp_path, is_single):
    path, one = fasta(tmp_path), predictor()
    run(tmp_path / "out", one, Background(path, is_single), q=0.5)
    values = []
    for i in range(20):
        sequence = random_sequence(500, 100 + i)
        starts = np.arange(0, 493, 2)
        counts = [[sequence[a : a + 8].count(letter) for letter in "AT"] for a in starts]
        values.append(np.array(counts) if is_single else scan(Counts(), sequence, stride=2)[starts + 4])
    values = np.concatenate(values)
    calibration = one.calibration
    assert (calibration.negatives, calibration.has_probabilities) == ("scan", False)
    assert calibration.n_background.tolist() == [len(values) if is_single else len(values) // 4] * 2
    for track in range(2):
        for score in np.unique(values[:, track]):
            reached = (values[:, track] >= score).mean()
            above = (values[:, track] > score).mean()
            p = calibration.p_values_of(track, np.array([score]))[0]
            # Between two scores that occur the p-value is interpolated.
            assert above - 0.02 <= p <= reached + 0.02


def test_it_is_calibrated_on_sequences_of_the_same_kind(tmp_path):
    one = predictor()
    run(tmp_path / "out", one, Background(fasta(tmp_path, 40)), q=0.5)
    fresh = np.concatenate([scan(Counts(), random_sequence(500, 900 + i), stride=2)[4:496:2] for i in range(40)])
    p = one.calibration.p_values(fresh)
    for level in (0.3, 0.05):
        assert (p <= level).mean() == pytest.approx(level, rel=0.35)
    assert 0 < (p <= 0.01).mean() < 0.015  # scores are quarters of counts


def test_a_second_start_reads_it_and_so_does_another_run(tmp_path, monkeypatch):
    path = fasta(tmp_path)
    run(tmp_path / "out", predictor(), Background(path), q=0.5)
    before = (tmp_path / "out" / "sites.bed").read_bytes()
    assert b"p: share of tiles of the sequences that the run was calibrated on that score as high; q:" in before
    head = [line for line in before.decode().splitlines() if line.startswith("#chrom")]
    assert head[0].endswith("record\tlogit\tp\tq")
    with (tmp_path / "out" / "records.csv").open(newline="") as handle:
        assert list(next(csv.DictReader(handle)))[4:-2] == ["best_logit", "best_p", "best_q"]
    monkeypatch.setattr(background_module, "_scan", None)  # is not called again
    run(tmp_path / "out", predictor(), Background(path), q=0.5)
    run(tmp_path / "other", predictor(rbps=["T"]), Background(tmp_path / "out" / "calibration.json"), q=0.5)
    assert (tmp_path / "out" / "sites.bed").read_bytes() == before
    assert read_calibration(tmp_path / "other" / "calibration.json").names == ["T"]
    rows = [line for line in before.decode().splitlines() if "\tT\t" in line]
    assert [line for line in (tmp_path / "other" / "sites.bed").read_text().splitlines() if "\tT\t" in line] == rows


def test_a_model_keeps_its_probabilities(tmp_path):
    model, one = calibrated(), predictor(calibrated(), prior=0.01)
    run(tmp_path / "out", one, Background(fasta(tmp_path)), q=0.5)
    logits = np.array([[1.0, 2.0], [7.0, 8.0]])
    wanted = model.calibration.at_prior(0.01).probabilities(logits)
    assert one.calibration.probabilities(logits) == pytest.approx(wanted, rel=1e-4)
    assert (one.calibration.p_values(logits) != model.calibration.p_values(logits)).all()


def test_a_sample_bounds_the_memory(tmp_path, monkeypatch):
    whole, part = predictor(), predictor()
    path = fasta(tmp_path, 40)
    run(tmp_path / "whole", whole, Background(path), q=0.5)
    monkeypatch.setattr(background_module, "MAX_TILES", 2_000)
    run(tmp_path / "part", part, Background(path), q=0.5)
    assert part.calibration.n_background.tolist() == [500, 500]
    np.testing.assert_allclose(part.calibration.quantiles, whole.calibration.quantiles, atol=0.25)


def test_what_cannot_be_used_is_refused(tmp_path):
    short = fasta(tmp_path, 1, 100)
    with pytest.raises(InputError, match=r"`calibrate_on`: .*: found 47 tiles of 8 nt, wanted 200 or more"):
        run(tmp_path / "out", predictor(), Background(short))
    assert not (tmp_path / "out").exists()
    run(tmp_path / "one", predictor(rbps=["T"]), Background(fasta(tmp_path)), q=0.5)
    with pytest.raises(InputError, match=r"found no track A, wanted those of the model"):
        run(tmp_path / "out", predictor(), Background(tmp_path / "one" / "calibration.json"))
    with pytest.raises(InputError, match="found p-values only, wanted probabilities too"):
        replace(calibrated().calibration, slope=None, intercept=None).at_prior(0.1)
