"""A whole evaluation and a whole geometry run as a notebook starts them, without parsers."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from labelled_pairs import write_pair

from LAMAR.errors import InputError
from LAMAR.evaluation.encoders import EncoderOptions, open_encoders
from LAMAR.evaluation.geometry_run import closing_table as geometry_table
from LAMAR.evaluation.geometry_run import measure_geometry
from LAMAR.evaluation.geometry_units import GeometryOptions
from LAMAR.evaluation.results import read_results
from LAMAR.evaluation.run import SetOptions, evaluate_sets
from LAMAR.evaluation.tables import COLUMNS, closing_table

TINY = EncoderOptions(variants=["Random"], config="lamar-tiny", layers=[-1])


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    write_pair(folder, "A", 40, np.random.default_rng(0))
    return folder


@pytest.fixture(scope="module")
def evaluated(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation") / "run"
    return folder, evaluate_sets(SetOptions(data_dir), folder, TINY, no_cnn=True, n_repeats=1, seed=3)


def arguments_of(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())["arguments"]


def test_rows_are_those_of_the_table(evaluated, capsys):
    folder, rows = evaluated
    table = pd.read_csv(folder / "results.csv", keep_default_na=False)
    assert table.columns.tolist() == list(COLUMNS)
    assert table["auroc"].tolist() == [row["auroc"] for row in rows]
    assert capsys.readouterr().out == ""
    lines = closing_table(rows).splitlines()
    assert lines[:2] == ["", "A: test AUROC, mean (sd over repeats)"]
    chosen = [row for row in rows if row["chosen"]]
    assert [line.split()[0] for line in lines[2:]] == [row["representation"] for row in chosen]
    assert [line.split()[-1] for line in lines[2:]] == [f"{row['auroc']:.3f}" for row in chosen]


def test_a_run_begun_by_an_earlier_version_resumes(evaluated, data_dir, tmp_path, caplog):
    """Arguments of run.json as they were before there was --truncate, with the CNN's unread options of a script."""
    folder, rows = evaluated
    record = json.loads((folder / "run.json").read_text())
    assert "truncate" not in record["arguments"]
    record["arguments"] |= {"recipe": "default", "epochs": 3}
    assert list(record["arguments"])[:10] == [
        *("data_dir", "rbps", "split", "test_chroms", "dev_chroms", "allow_duplicates"),
        *("subsample_pos", "subsample_neg", "max_length", "variants"),
    ]
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "run.json").write_text(json.dumps(record))
    (copy / "units").mkdir()
    for unit in (folder / "units").iterdir():
        (copy / "units" / unit.name).write_bytes(unit.read_bytes())
    with caplog.at_level(logging.INFO):
        again = evaluate_sets(SetOptions(data_dir), copy, TINY, no_cnn=True, n_repeats=1, seed=3)
    assert again == rows
    assert not [message for message in caplog.messages if "AUROC" in message]  # nothing was computed
    with pytest.raises(InputError, match="another"):
        evaluate_sets(SetOptions(data_dir), copy, TINY, no_cnn=True, n_repeats=1, seed=4)


def test_truncated_sequences_are_evaluated_and_recorded(data_dir, tmp_path, caplog):
    long = SetOptions(data_dir, max_length=40)
    with pytest.raises(InputError, match=r"`?-*max_length`?: record .* nucleotides"):
        evaluate_sets(long, tmp_path / "long", no_cnn=True, n_repeats=1)
    assert not (tmp_path / "long").exists()
    short = SetOptions(data_dir, max_length=40, truncate=True)
    evaluate_sets(short, tmp_path / "short", no_cnn=True, n_repeats=1)
    assert any("truncated" in message and "to 38 nucleotides" in message for message in caplog.messages)
    assert arguments_of(tmp_path / "short")["truncate"] is True
    report = json.loads((tmp_path / "short" / "split_report.json").read_text())
    assert report["A"]["composition"]["positives"]["length"]["max"] == 38


def test_duplicates_are_dropped_when_asked_and_that_is_recorded(tmp_path):
    rng = np.random.default_rng(0)
    letters = ["".join(rng.choice(list("ACGT"), 30)) for _ in range(60)]
    folder = tmp_path / "A"
    folder.mkdir()
    for part, members in (("train", letters[:40]), ("dev", letters[40:50]), ("test", [*letters[50:], letters[0]])):
        rows = "".join(f"{sequence},{i % 2}\n" for i, sequence in enumerate(members))
        (folder / f"{part}.csv").write_text(f"sequence,label\n{rows}")
    with pytest.raises(InputError, match="found 1 sequence in more than one part"):
        evaluate_sets(SetOptions(folder), tmp_path / "out", no_cnn=True)
    rows = evaluate_sets(SetOptions(folder, drop_duplicates=True), tmp_path / "out", no_cnn=True)
    assert {(row["n_train"], row["n_test"]) for row in rows} == {(39, 11)}
    assert arguments_of(tmp_path / "out")["drop_duplicates"] is True


def test_columns_of_another_name_are_read_and_recorded(tmp_path):
    rng = np.random.default_rng(0)
    rows = "".join(f"{''.join(rng.choice(list('ACGT'), 30))},{i % 2},=id{i}\n" for i in range(80))
    (tmp_path / "a.csv").write_text(f"RNA,Bound,id\n{rows}")
    sets = SetOptions(tmp_path / "a.csv", sequence_column="RNA", label_column="Bound")
    assert evaluate_sets(sets, tmp_path / "out", no_cnn=True)
    assert "\na,gc,,,0,'=id" in (tmp_path / "out" / "predictions.csv").read_text()
    assert read_results([tmp_path / "out"]).predictions["id"].str.startswith("=id").all()
    assert (arguments_of(tmp_path / "out")["sequence_column"], sets.recorded()["label_column"]) == ("RNA", "Bound")
    columns = {"sequence_column": "RNA", "label_column": "Bound"}
    measure_geometry(
        tmp_path / "a.csv", tmp_path / "geometry", TINY, GeometryOptions(n_per_rbp=40, bootstrap=0), **columns
    )
    assert arguments_of(tmp_path / "geometry")["label_column"] == "Bound"


def test_options_that_leave_nothing_or_cannot_be_read_are_refused(data_dir, tmp_path):
    sets, output = SetOptions(data_dir), tmp_path / "out"
    with pytest.raises(InputError, match="`no_cnn` and `no_baselines`: found both"):
        evaluate_sets(sets, output, TINY, no_cnn=True, no_baselines=True)
    with pytest.raises(InputError, match="`pooling`: found 'max' without `no_cnn`, wanted 'none'"):
        evaluate_sets(sets, output, TINY, pooling="max")
    assert not output.exists()


def test_pooling_changes_the_probes(evaluated, data_dir, tmp_path):
    folder, rows = evaluated
    pooled = evaluate_sets(SetOptions(data_dir), tmp_path, TINY, no_cnn=True, n_repeats=1, seed=3, pooling="max")
    before, after = (
        pd.DataFrame(each).query("representation == 'linear_probe'").set_index("layer") for each in (rows, pooled)
    )
    assert set(before["pooling"]) == {"mean"}
    assert set(after["pooling"]) == {"max"}
    assert (before["auroc"] != after["auroc"]).any()
    assert arguments_of(tmp_path)["pooling"] == "max"
    assert arguments_of(folder)["pooling"] == "none"


def test_shape_of_random_weights_from_a_file(tmp_path):
    from LAMAR.configuration import named_config

    named_config("lamar-tiny", num_hidden_layers=2).save_pretrained(tmp_path)
    options = EncoderOptions(variants=["Random"], config=str(tmp_path / "config.json"))
    (encoder,) = open_encoders(options, seed=1)
    assert encoder.n_layers == 2
    with pytest.raises(InputError, match=r"config`?: found 'huge'"):
        open_encoders(EncoderOptions(variants=["Random"], config="huge"), seed=1)


def test_geometry_of_a_notebook(data_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("LAMAR.evaluation.geometry_units.write_figures", lambda *_: None)
    encoders = EncoderOptions(variants=["Random"], config="lamar-tiny", dtype="float32")
    options = GeometryOptions(n_per_rbp=30, bootstrap=2)
    result = measure_geometry(data_dir, tmp_path, encoders, options, max_length=40, truncate=True)
    assert capsys.readouterr().out == ""
    assert result.correlations is None
    assert list(result.units["Random"]) == [0, 1, 2]  # all layers
    table = pd.read_csv(tmp_path / "results.csv")
    cell = table.query("layer == 2 and figure == 'isoscore'")["value"].item()
    assert result.units["Random"][2]["figures"]["A"]["isoscore"] == pytest.approx(cell)
    assert f"layer  2: IsoScore {cell:.3g}" in geometry_table(result)
    assert arguments_of(tmp_path)["truncate"] is True
