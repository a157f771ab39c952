"""compute_isoscore_finetuned_clip.py as a user starts it, on small models trained for it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import finetune_runs
import numpy as np
import pandas as pd
import pytest
from evaluation_scripts import call, load_script

from LAMAR.configuration import named_config
from LAMAR.embedding_cache import model_digest
from LAMAR.errors import InputError
from LAMAR.evaluation import geometry_stages
from LAMAR.statistics.isotropy import FIGURES
from LAMAR.training import finetuned_runs
from LAMAR.training.fold_training import build_classifier
from LAMAR.training.options import ModelSettings

TINY = ["--config", "lamar-tiny"]


script = load_script("isoscore/compute_isoscore_finetuned_clip.py")


@pytest.fixture(scope="module")
def models(tmp_path_factory, tiny_weights) -> Path:
    """Runs of one epoch on train.csv, dev.csv and test.csv: from random, from given, and with frozen weights."""
    folder, rng = tmp_path_factory.mktemp("finetuned"), np.random.default_rng(1)
    data = folder / "data" / "RBP"
    data.mkdir(parents=True)
    for part, n in (("train", 60), ("dev", 20), ("test", 24)):
        letters = ("".join(rng.choice(list("ACGT"), 30)) for _ in range(n))
        lines = [f"{sequence},{i % 2}" for i, sequence in enumerate(letters)]
        (data / f"{part}.csv").write_text("\n".join(["sequence,label", *lines]) + "\n")
    common = ["--data_path", data, *TINY, "--epochs", 1, "--cv_folds", 2, "--batch_size", 16, "--lr", 1e-3]
    common += ["--output_dir", folder / "models"]
    assert call(finetune_runs.script, *common, "--rbp_name", "random", "--head", "mean") == 0
    assert call(finetune_runs.script, *common, "--rbp_name", "given", "--pretrain_path", tiny_weights) == 0
    assert call(finetune_runs.script, *common, "--rbp_name", "frozen", "--freeze_encoder") == 0
    return folder / "models"


@pytest.fixture(scope="module")
def compared(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("geometry") / "finetuned"
    options = ["--models_dir", models, "--bootstrap", 4, "--output_dir", folder]
    assert call(script, *options) == 0
    return folder, options


def test_before_is_what_the_fold_started_from(models, tiny_weights):
    start = {
        "random": ModelSettings("", named_config("lamar-tiny"), head="mean"),
        "given": ModelSettings(str(tiny_weights)),
    }
    for name, settings in start.items():
        run = finetuned_runs.open_run(models / name)
        for number, fold in enumerate(run.folds):
            began, _ = build_classifier(settings, 42 + number)
            _, before = finetuned_runs.fold_encoder(run, fold, "before")
            _, after = finetuned_runs.fold_encoder(run, fold, "after")
            assert before == model_digest(began)
            assert after != before
    frozen = finetuned_runs.open_run(models / "frozen")
    for fold in frozen.folds:
        before, after = (finetuned_runs.fold_encoder(frozen, fold, stage)[1] for stage in ("before", "after"))
        assert before == after


def test_tables_before_and_after(compared):
    folder, _ = compared
    table, pairs = pd.read_csv(folder / "results.csv"), pd.read_csv(folder / "differences.csv")
    assert tuple(table.columns) == geometry_stages.RESULT_COLUMNS
    assert len(table) == 3 * 2 * 2 * 3 * len(FIGURES)  # runs, folds, stages, layers
    assert set(table["n"]) == {24}  # the test part
    frozen = pairs[pairs["dataset"] == "frozen"]
    assert (frozen[["difference", "low", "high"]] == 0).all(axis=None)
    trained = pairs[(pairs["dataset"] == "given") & (pairs["figure"] == "isoscore")]
    assert (trained["difference"] != 0).all()
    summary = pd.read_csv(folder / "summary.csv")
    means = pairs.groupby(["dataset", "layer", "figure"])["difference"].mean()
    found = summary.set_index(["dataset", "layer", "figure"])["difference"]
    np.testing.assert_allclose(found, means.loc[found.index], atol=1e-12)
    assert set(summary["n_folds"]) == {2}
    for name in ("random", "given", "frozen"):
        assert {f"{stem}_{name}.png" for stem in ("layers", "spectra", "components")} <= {
            p.name for p in folder.iterdir()
        }


def test_a_comparison_goes_on_where_it_was(compared, tmp_path, undrawn):
    folder, options = compared
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    before = (copy / "results.csv").read_bytes()
    (copy / "units" / "given,fold_1,after,2.json").unlink()
    assert call(script, *options[:-1], copy) == 0
    assert (copy / "results.csv").read_bytes() == before


def test_held_out_records_where_there_is_no_test_part(models):
    run = finetuned_runs.open_run(models / "given")
    for fold in run.folds:
        assert run.dataset.split[finetuned_runs.fold_records(run, fold, "test")].tolist() == ["test"] * 24
    assert len(finetuned_runs.fold_records(run, "fold_0", "all")) == 104


def test_held_out_part_is_another_in_every_fold(models, tmp_path):
    shutil.copytree(models / "given", tmp_path / "given")
    path = tmp_path / "given" / "predictions.csv"
    table = pd.read_csv(path)
    table[table["evaluated_on"] != "test"].to_csv(path, index=False)
    run = finetuned_runs.open_run(tmp_path / "given")
    first, second = (set(finetuned_runs.fold_records(run, fold, "test")) for fold in run.folds)
    assert not first & second
    assert len(first | second) == 80  # train and dev


def test_all_records_of_one_run_elsewhere(models, tmp_path, undrawn):
    moved = tmp_path / "moved" / "given"
    shutil.copytree(models.parent / "data" / "RBP", moved)
    options = ["--models_dir", models / "given", "--data_dir", moved, "--records", "all", "--layers", -1]
    assert call(script, *options, "--bootstrap", 0, "--output_dir", tmp_path / "out") == 0
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert set(table["n"]) == {104}
    assert set(table["layer"]) == {2}


def test_folders_that_are_no_finished_runs_are_named(models, tiny_weights, tmp_path, caplog):
    shutil.copytree(models / "given", tmp_path / "given")
    shutil.copytree(models / "given", tmp_path / "stopped", ignore=shutil.ignore_patterns("*.csv"))
    record = json.loads((tmp_path / "stopped" / "run.json").read_text())
    (tmp_path / "stopped" / "run.json").write_text(json.dumps({**record, "status": "stopped"}))
    shutil.copytree(models / "given", tmp_path / "torn", ignore=shutil.ignore_patterns("predictions.csv"))
    shutil.copytree(models / "given", tmp_path / "emptied", ignore=shutil.ignore_patterns("model.safetensors"))
    shutil.copytree(tiny_weights, tmp_path / "weights")
    shutil.copytree(tiny_weights, tmp_path / "tapt")
    (tmp_path / "tapt" / "run.json").write_text(json.dumps({"arguments": {"epochs": 1}, "status": "finished"}))
    (tmp_path / ".cache").mkdir()
    assert finetuned_runs.find_runs(tmp_path) == [tmp_path / "given"]
    assert caplog.messages == [
        "left out: emptied (no fold_0 or draw_0 with model.safetensors), stopped (not finished), tapt (no run of "
        "finetune_rbp.py), torn (no predictions.csv), weights (no run.json)"
    ]
    caplog.clear()
    assert finetuned_runs.find_runs(tmp_path, ["given"]) == finetuned_runs.find_runs(tmp_path / "given")
    assert caplog.messages == []
    assert finetuned_runs.find_runs(models.parent) == finetuned_runs.find_runs(models)
    (tmp_path / "none" / "data").mkdir(parents=True)
    for folder, message in (
        (tmp_path / "stopped", r"stopped \(not finished\)"),
        (tmp_path / "none", r"\): data \(no run"),
    ):
        with pytest.raises(InputError, match=f"found no finished run .*{message}"):
            finetuned_runs.find_runs(folder)
    with pytest.raises(InputError, match=r"no finished run 'torn' in .* \(no predictions.csv\), wanted some of: given"):
        finetuned_runs.find_runs(tmp_path, ["torn"])


def test_draws_of_few_records_are_measured_as_folds_are(models, tiny_weights, tmp_path, undrawn, capsys):
    options = ["--data_path", models.parent / "data" / "RBP", "--epochs", 1, "--cv_folds", 1, "--batch_size", 16]
    options += ["--lr", 1e-3, "--rbp_name", "few", "--pretrain_path", tiny_weights, "--output_dir", tmp_path / "models"]
    few = ["--subsample_pos", 10, "--subsample_neg", 10, "--draws", 3]
    assert call(finetune_runs.script, *options, *few) == 0
    capsys.readouterr()
    geometry = ["--models_dir", tmp_path / "models", "--layers", -1, "--bootstrap", 0, "--output_dir", tmp_path / "out"]
    assert call(script, *geometry) == 0
    assert "few, layer 2, mean of 3 folds:" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert sorted(table["fold"].unique()) == ["draw_0", "draw_1", "draw_2"]
    assert set(table["n"]) == {24}  # the test part
    score = table[table["figure"] == "isoscore"].pivot(index="fold", columns="stage", values="value")
    # All draws started from the same weights, and each was trained on records that differ.
    assert score["before"].nunique() == 1
    assert score["after"].nunique() == 3


def test_a_collapsed_fold_is_said_and_noted(models, tmp_path, caplog, undrawn):
    shutil.copytree(models / "given", tmp_path / "given")
    path = tmp_path / "given" / "fold_1" / "eval_results.json"
    collapse = {"kind": "loss_stuck", "evidence": "training loss ended at 0.6931", "try": "another --lr"}
    path.write_text(json.dumps({**json.loads(path.read_text()), "collapsed": collapse}))
    caplog.clear()
    options = ["--models_dir", tmp_path / "given", "--layers", -1, "--bootstrap", 0, "--output_dir", tmp_path / "out"]
    assert call(script, *options) == 0
    said = [message for message in caplog.messages if message.startswith(f"{path.parent}: its fine-tuning collapsed")]
    assert said == [
        f"{path.parent}: its fine-tuning collapsed (loss_stuck: training loss ended at 0.6931); its geometry after "
        "training says nothing about binding"
    ]
    summary = json.loads((tmp_path / "out" / "run.json").read_text())["summary"]
    assert summary["collapsed"]["given fold_1"] == "loss_stuck"


def test_starting_weights_are_not_for_runs_from_random(models, tiny_weights, tmp_path, capsys, caplog):
    options = ["--models_dir", models, "--pretrained_weights", tiny_weights, "--bootstrap", 0, "--output_dir"]
    assert call(script, *options, tmp_path / "out", "--rbps", "random", "frozen") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error == "error: --pretrained_weights: given, but random, frozen started from random weights"
    assert not (tmp_path / "out").exists()
    assert call(script, *options, tmp_path / "out", "--rbps", "random", "given", "--layers", 9) == 2
    assert "`pretrained_weights`: not used for random, started from random weights" in caplog.messages


def damage_data(models: Path) -> list:
    table = models / "data" / "test.csv"
    table.write_text(table.read_text().replace("A", "C", 1))
    return ["--data_dir", models / "data"]


def damage_predictions(models: Path) -> list:
    path = models / "given" / "predictions.csv"
    path.write_text(path.read_text().replace("test:2,", "test:999,"))
    return []


def damage_record(models: Path) -> list:
    (models / "given" / "run.json").write_text(json.dumps({"arguments": {}}))
    return []


def damage_weights(models: Path) -> list:
    os.truncate(models / "given" / "fold_1" / "model.safetensors", 5000)
    return []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda models: ["--rbps", "QKI"], "--rbps: found no finished run 'QKI'"),
        (lambda models: ["--models_dir", models / "nowhere"], "--models_dir: found no folder"),
        (lambda models: ["--models_dir", models / "data"], "--models_dir: found no finished run"),
        (lambda models: ["--pretrained_weights", models / "nowhere"], "--pretrained_weights: found no"),
        (lambda models: ["--pretrained_weights", models / "given" / "fold_0"], "other SHA-256"),
        (lambda models: ["--layers", 9], "--layers: found 9"),
        (damage_data, "not the data that"),
        (damage_predictions, "names records that are not in the data"),
        (damage_weights, "fold_1/model.safetensors: truncated"),
        (damage_record, "not of a run of finetune_rbp.py"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_leaves_nothing(models, tmp_path, capsys, change, message):
    copy, output = tmp_path / "models", tmp_path / "out"
    copy.mkdir()
    shutil.copytree(models / "given", copy / "given")
    shutil.copytree(models.parent / "data" / "RBP", copy / "data")
    options = ["--models_dir", copy, "--output_dir", output, "--bootstrap", 0]
    assert call(script, *options, *change(copy)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not output.exists()
