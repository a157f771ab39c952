"""The scripts of evalEmbeddings/isoscore as a user starts them, on small made-up sets and models."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from labelled_pairs import write_pair

from LAMAR import runs
from LAMAR.checkpoints import build_model
from LAMAR.configuration import named_config
from LAMAR.embedding_cache import cached_outputs, model_digest
from LAMAR.errors import InputError
from LAMAR.evaluation import geometry_run, geometry_stages
from LAMAR.evaluation.encoders import open_variants
from LAMAR.evaluation.geometry import POOLED, sample_rows
from LAMAR.evaluation.probes import find_sets, prepare
from LAMAR.evaluation.tables import write_tables
from LAMAR.evaluation.units import evaluate
from LAMAR.modeling_nucESM2 import EsmForMaskedLM
from LAMAR.statistics.isotropy import FIGURES
from LAMAR.training import finetuned_runs
from LAMAR.training.fold_training import build_classifier
from LAMAR.training.options import ModelSettings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "evalEmbeddings" / "isoscore"
TINY = ["--config", "lamar-tiny"]
IMAGES = {f"{name}.{ending}" for name in ("layers", "spectra", "components") for ending in ("png", "svg")}


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


frozen_script = load(FOLDER / "compute_isoscore_clip.py")
finetuned_script = load(FOLDER / "compute_isoscore_finetuned_clip.py")
training_script = load(ROOT / "finetune_scripts" / "finetune_rbp.py")


def call(script, *arguments) -> int:
    return script.main([str(word) for word in arguments])


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    """Two sets as FASTA pairs, GC-rich positives, 24 to 30 nt: 80 and 60 records."""
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    write_pair(folder, "A", 40, rng, 24, 31)
    write_pair(folder, "B", 30, rng, 24, 31)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    build_model(EsmForMaskedLM, named_config("lamar-tiny"), seed=1).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def evaluation(data_dir, weights, tmp_path_factory) -> Path:
    """An evaluation run with linear probes of both variants; in the place of the CNN stands a constant."""
    folder = tmp_path_factory.mktemp("evaluation")
    variants = open_variants(
        ["Pretrained", "Random"], {"Pretrained": weights}, named={"Pretrained"}, config=None, layers=[-1], seed=42
    )
    parts = [prepare(dataset) for dataset in find_sets(data_dir)]

    def embeddings_of(variant, sequences, outputs):
        return cached_outputs(
            variant.model, variant.digest, sequences, outputs, dtype="float32", cache_dir=folder / "cache"
        )

    def constant(records, labels, train, validation, test, representation, seed):
        return np.full(len(test), 0.5), 1

    with runs.RunFolder.open(
        folder / "run", arguments={}, seed=42, weights={one.name: {"digest": one.digest} for one in variants}
    ) as run:
        settings = {"n_repeats": 1, "seed": 42, "embeddings_of": embeddings_of}
        results = {one.dataset.name: list(evaluate(run, one, variants, constant, **settings)) for one in parts}
        write_tables(run, parts, results)
        run.finish()
    return folder / "run"


@pytest.fixture(scope="module")
def measured(data_dir, weights, evaluation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("geometry") / "run"
    common = ["--data_dir", data_dir, "--variants", "Pretrained", "Random", "--pretrained_weights", weights]
    common += ["--n_per_rbp", 50, "--bootstrap", 8, "--with_probe", evaluation, "--output_dir", folder]
    assert call(frozen_script, *common) == 0
    return folder, common


@pytest.fixture
def undrawn(monkeypatch):
    """Leaves out the figures, which take most of a small run's time."""
    monkeypatch.setattr("LAMAR.evaluation.geometry_units.write_figures", lambda *_: None)


# --------------------------------------------------------------------------------------------- frozen encoders


def test_tables_of_a_run(measured):
    folder, _ = measured
    table = pd.read_csv(folder / "results.csv")
    assert tuple(table.columns) == geometry_run.RESULT_COLUMNS
    # Two variants of three layers, two sets and their union.
    assert len(table) == 2 * 3 * 3 * len(FIGURES)
    assert table.groupby("dataset")["n"].unique().map(list).to_dict() == {"A": [50], "B": [50], POOLED: [100]}
    for name, rows in table.groupby("figure"):
        assert rows["value"].between(FIGURES[name].low, FIGURES[name].high).all(), name
    assert (table["low"] <= table["value"] + 1e-9).mean() > 0.99
    assert table["value"].notna().all()
    wide = table.pivot(index=["variant", "layer", "dataset"], columns="figure", values="value")
    np.testing.assert_allclose(wide["isoscore"], (wide["participation_ratio"] - 1) / (64 - 1), rtol=1e-9)
    spectra = pd.read_csv(folder / "spectra.csv")
    assert spectra.groupby(["variant", "layer"])["singular_value"].sum().to_numpy() == pytest.approx(1)
    assert {path.name for path in folder.iterdir()} >= IMAGES | {"probe.png", "run.json"}


def test_figures_are_those_of_the_embeddings(measured, data_dir, weights, tmp_path):
    """One cell, made by hand: the sampled records through the encoder, and NumPy's covariance."""
    folder, _ = measured
    (dataset,) = find_sets(data_dir, ["A"])
    rows = sample_rows(dataset.labels, 50, 42, "A")
    (encoder,) = open_variants(
        ["Pretrained"], {"Pretrained": weights}, named={"Pretrained"}, config=None, layers=[1], seed=0
    )
    chosen = [dataset.sequences[i] for i in rows]
    found = cached_outputs(encoder.model, "", chosen, [(1, "mean")], dtype="float32", cache_dir=tmp_path)
    values = np.linalg.eigvalsh(np.cov(np.asarray(found[1, "mean"].values, dtype=np.float64).T))
    table = pd.read_csv(folder / "results.csv")
    cell = table.query("variant == 'Pretrained' and layer == 1 and dataset == 'A' and figure == 'participation_ratio'")
    assert cell["value"].item() == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-5)


def test_differences_are_of_the_same_records(measured):
    folder, _ = measured
    table, pairs = pd.read_csv(folder / "results.csv"), pd.read_csv(folder / "differences.csv")
    assert tuple(pairs.columns) == geometry_run.PAIR_COLUMNS
    assert len(pairs) == 3 * 3 * len(FIGURES)
    wide = table.pivot(index=["layer", "dataset", "figure"], columns="variant", values="value")
    wanted = pairs.set_index(["layer", "dataset", "figure"])["difference"]
    np.testing.assert_allclose((wide["Random"] - wide["Pretrained"]).loc[wanted.index], wanted, atol=1e-12)


def test_probe_correlations(measured, evaluation):
    folder, _ = measured
    found = pd.read_csv(folder / "probe_correlations.csv")
    assert found["n_configurations"].max() == 6  # two variants of three layers
    probes = pd.read_csv(evaluation / "results.csv").query("representation == 'linear_probe'")
    table = pd.read_csv(folder / "results.csv").query("figure == 'average_cosine' and dataset == 'A'")
    both = table.merge(probes, on=["dataset", "variant", "layer"])
    assert len(both) == 6
    row = found.query("variant == 'all variants' and dataset == 'A' and figure == 'average_cosine'")
    assert row["spearman"].item() == pytest.approx(both["value"].corr(both["auroc"], method="spearman"))


def test_a_run_goes_on_where_it_was(measured, tmp_path, capsys, undrawn):
    folder, common = measured
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    before = (copy / "results.csv").read_bytes()
    for unit in sorted((copy / "units").iterdir())[:2]:
        unit.unlink()
    shutil.rmtree(copy / "embeddings")
    again = [*common[:-1], copy]
    assert call(frozen_script, *again) == 0
    assert (copy / "results.csv").read_bytes() == before
    assert call(frozen_script, *again, "--zeta", 0.5) == 2
    assert "another --zeta: found 0.2, wanted 0.5" in capsys.readouterr().err


def test_one_set_layers_and_no_bootstrap(data_dir, tmp_path, undrawn):
    options = ["--data_dir", data_dir, "--rbps", "B", "--variants", "Random", *TINY, "--layers", -1, 0]
    assert call(frozen_script, *options, "--bootstrap", 0, "--pooling", "max", "--output_dir", tmp_path / "out") == 0
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert table["layer"].unique().tolist() == [0, 2]
    assert set(table["dataset"]) == {"B"}
    assert table[["low", "high", "bias"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--rbps", "C"], "nothing called 'C'"),
        (["--layers", 7], "--layers: layer: found 7"),
        (["--max_length", 20], "nucleotides"),
        (["--variants", "TAPT", "--tapt_weights", "none"], "--tapt_weights: found no weights at none"),
        (["--tapt_weights", "none"], "--tapt_weights: given, but TAPT is not among --variants Random"),
        (["--config", "huge"], "--config: found 'huge'"),
        (["--with_probe", "nowhere"], "--with_probe: found no folder nowhere"),
        (["--device", "tpu"], "--device: found 'tpu'"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_leaves_nothing(data_dir, tmp_path, capsys, changes, message):
    output = tmp_path / "out"
    options = ["--data_dir", data_dir, "--variants", "Random", *TINY, "--output_dir", output]
    assert call(frozen_script, *options, *changes) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not output.exists()


def test_probes_of_other_weights_are_refused(data_dir, evaluation, tmp_path, capsys):
    options = ["--data_dir", data_dir, "--variants", "Random", *TINY, "--with_probe", evaluation, "--seed", 7]
    assert call(frozen_script, *options, "--output_dir", tmp_path / "out") == 2
    assert "its Random has other weights than Random here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("script", ["compute_isoscore_clip.py", "compute_isoscore_finetuned_clip.py"])
@pytest.mark.parametrize(("option", "value"), [("--n_per_rbp", "1"), ("--zeta", "2"), ("--bootstrap", "-1")])
def test_impossible_numbers_are_refused_by_name(script, option, value):
    command = [sys.executable, str(FOLDER / script), "--data_dir", "x", "--models_dir", "x", option, value]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert option in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_without_arguments_the_demo_set(tmp_path):
    command = [sys.executable, str(FOLDER / "compute_isoscore_clip.py"), "--output_dir", str(tmp_path / "out")]
    command += ["--n_per_rbp", "60", "--bootstrap", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC demo data" in done.stdout
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert {"PUM2", "QKI", POOLED} == set(table["dataset"])
    assert "Random" in set(table["variant"])


# ---------------------------------------------------------------------------------------------- fine-tuned models


@pytest.fixture(scope="module")
def models(tmp_path_factory, weights) -> Path:
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
    assert call(training_script, *common, "--rbp_name", "random", "--head", "mean") == 0
    assert call(training_script, *common, "--rbp_name", "given", "--pretrain_path", weights) == 0
    assert call(training_script, *common, "--rbp_name", "frozen", "--freeze_encoder") == 0
    return folder / "models"


@pytest.fixture(scope="module")
def compared(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("geometry") / "finetuned"
    options = ["--models_dir", models, "--bootstrap", 4, "--output_dir", folder]
    assert call(finetuned_script, *options) == 0
    return folder, options


def test_before_is_what_the_fold_started_from(models, weights):
    start = {"random": ModelSettings("", named_config("lamar-tiny"), head="mean"), "given": ModelSettings(str(weights))}
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
    assert call(finetuned_script, *options[:-1], copy) == 0
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
    assert call(finetuned_script, *options, "--bootstrap", 0, "--output_dir", tmp_path / "out") == 0
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert set(table["n"]) == {104}
    assert set(table["layer"]) == {2}


def test_folders_that_are_no_finished_runs_are_named(models, weights, tmp_path, caplog):
    shutil.copytree(models / "given", tmp_path / "given")
    shutil.copytree(models / "given", tmp_path / "stopped", ignore=shutil.ignore_patterns("*.csv"))
    record = json.loads((tmp_path / "stopped" / "run.json").read_text())
    (tmp_path / "stopped" / "run.json").write_text(json.dumps({**record, "status": "stopped"}))
    shutil.copytree(models / "given", tmp_path / "torn", ignore=shutil.ignore_patterns("predictions.csv"))
    shutil.copytree(models / "given", tmp_path / "draws")
    for number in range(2):
        (tmp_path / "draws" / f"fold_{number}").rename(tmp_path / "draws" / f"draw_{number}")
    shutil.copytree(weights, tmp_path / "weights")
    shutil.copytree(weights, tmp_path / "tapt")
    (tmp_path / "tapt" / "run.json").write_text(json.dumps({"arguments": {"epochs": 1}, "status": "finished"}))
    (tmp_path / ".cache").mkdir()
    assert finetuned_runs.find_runs(tmp_path) == [tmp_path / "given"]
    assert caplog.messages == [
        "left out: draws (no fold_0 with model.safetensors), stopped (not finished), tapt (no run of "
        "finetune_rbp.py), torn (no predictions.csv), weights (no run.json)"
    ]
    caplog.clear()
    assert finetuned_runs.find_runs(tmp_path, ["given"]) == finetuned_runs.find_runs(tmp_path / "given")
    assert caplog.messages == []
    for folder, message in ((tmp_path / "stopped", r"stopped \(not finished\)"), (models.parent, r"\): data \(no run")):
        with pytest.raises(InputError, match=f"found no finished run .*{message}"):
            finetuned_runs.find_runs(folder)
    with pytest.raises(InputError, match=r"no finished run 'torn' in .* \(no predictions.csv\), wanted some of: given"):
        finetuned_runs.find_runs(tmp_path, ["torn"])


def test_a_collapsed_fold_is_said_and_noted(models, tmp_path, caplog, undrawn):
    shutil.copytree(models / "given", tmp_path / "given")
    path = tmp_path / "given" / "fold_1" / "eval_results.json"
    collapse = {"kind": "loss_stuck", "evidence": "training loss ended at 0.6931", "try": "another --lr"}
    path.write_text(json.dumps({**json.loads(path.read_text()), "collapsed": collapse}))
    caplog.clear()
    options = ["--models_dir", tmp_path / "given", "--layers", -1, "--bootstrap", 0, "--output_dir", tmp_path / "out"]
    assert call(finetuned_script, *options) == 0
    said = [message for message in caplog.messages if message.startswith(f"{path.parent}: its fine-tuning collapsed")]
    assert said == [
        f"{path.parent}: its fine-tuning collapsed (loss_stuck: training loss ended at 0.6931); its geometry after "
        "training says nothing about binding"
    ]
    summary = json.loads((tmp_path / "out" / "run.json").read_text())["summary"]
    assert summary["collapsed"]["given fold_1"] == "loss_stuck"


def test_starting_weights_are_not_for_runs_from_random(models, weights, tmp_path, capsys, caplog):
    options = ["--models_dir", models, "--pretrained_weights", weights, "--bootstrap", 0, "--output_dir"]
    assert call(finetuned_script, *options, tmp_path / "out", "--rbps", "random", "frozen") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error == "error: --pretrained_weights: given, but random, frozen started from random weights"
    assert not (tmp_path / "out").exists()
    assert call(finetuned_script, *options, tmp_path / "out", "--rbps", "random", "given", "--layers", 9) == 2
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
        (lambda models: ["--layers", 9], "--layers: layer: found 9"),
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
    assert call(finetuned_script, *options, *change(copy)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not output.exists()
