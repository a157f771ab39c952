"""finetune_rbp.py, run on small sets with a planted motif."""

from __future__ import annotations

import json
import logging
import math
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from finetune_runs import SCRIPT, arguments, make_dataset, run, script, table, windows, write_table
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from LAMAR import EsmForMaskedLM, EsmForSequenceClassification, LamarTokenizer, named_config
from LAMAR.batches import EncodedSequences
from LAMAR.training import fitting, fold_training
from LAMAR.training.collapse import collapse_of


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """A masked-LM checkpoint folder to start from."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(7)
    EsmForMaskedLM(named_config("lamar-tiny")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory) -> Path:
    """Output folder of a two-fold run."""
    output = tmp_path_factory.mktemp("run")
    run(dataset, output)
    return output / dataset.name


# ------------------------------------------------------------------------------------------------ outputs


def test_tables_agree_with_each_other(finished, dataset):
    results = json.loads((finished / "eval_results.json").read_text())
    rows = table(finished / "predictions.csv")
    heldout = [row for row in rows if row["evaluated_on"] == "heldout"]
    assert sorted(int(row["index"]) for row in heldout) == list(range(160))

    def scores(chosen):
        return np.array([int(r["label"]) for r in chosen]), np.array([float(r["probability"]) for r in chosen])

    labels, probability = scores(heldout)
    assert results["out_of_fold"]["auroc"]["value"] == pytest.approx(roc_auc_score(labels, probability), abs=1e-12)
    by_fold = {}
    for row in rows:
        if row["evaluated_on"] == "test":
            by_fold.setdefault(row["fold"], []).append(row)
    assert set(by_fold) == {"fold_0", "fold_1", "mean of folds"}
    assert all(len(chosen) == 40 for chosen in by_fold.values())
    per_fold = [scores(by_fold[f"fold_{k}"])[1] for k in (0, 1)]
    labels, mean = scores(by_fold["mean of folds"])
    np.testing.assert_allclose(mean, np.mean(per_fold, axis=0), atol=1e-12)
    ensemble = results["test_ensemble"]["auprc"]
    assert ensemble["value"] == pytest.approx(average_precision_score(labels, mean), abs=1e-12)
    assert ensemble["low"] <= ensemble["value"] <= ensemble["high"]
    aurocs = [roc_auc_score(labels, p) for p in per_fold]
    assert results["test"]["auroc"]["mean"] == pytest.approx(np.mean(aurocs))
    assert results["test"]["auroc"]["sd"] == pytest.approx(np.std(aurocs, ddof=1))
    tidy = {(r["fold"], r["evaluated_on"]): r for r in table(finished / "results.csv")}
    assert float(tidy["mean of folds", "test"]["auprc"]) == ensemble["value"]
    assert len(tidy) == 2 * 3 + 1


def test_ranks_within_folds_and_composition_stand_beside_the_model(finished):
    results = json.loads((finished / "eval_results.json").read_text())
    heldout = [row for row in table(finished / "predictions.csv") if row["evaluated_on"] == "heldout"]
    ranks, labels = [], []
    for fold in ("fold_0", "fold_1"):
        rows = [row for row in heldout if row["fold"] == fold]
        ranks.append(rankdata([float(row["probability"]) for row in rows]) / len(rows))
        labels += [int(row["label"]) for row in rows]
    figure = results["out_of_fold_ranks"]["auroc"]
    assert figure["value"] == pytest.approx(roc_auc_score(labels, np.concatenate(ranks)), abs=1e-9)
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert set(results["out_of_fold_ranks"]) == {"auroc", "auprc"}
    baselines = results["composition"]["baselines"]
    assert set(baselines) == {"gc", "dinucleotide", "4mer"}
    assert all(entry["cross_validation"]["auroc"]["n"] == 2 for entry in baselines.values())
    # The planted motif is a word of eight letters, of which 4-mers know five and a GC share of 35 letters little.
    on_test = {name: entry["test_ensemble"]["auroc"]["value"] for name, entry in baselines.items()}
    assert on_test["4mer"] > max(0.95, on_test["gc"])


def test_checkpoint_reproduces_its_predictions(finished, dataset):
    model = EsmForSequenceClassification.from_pretrained(finished / "fold_1").eval()
    assert model.config.head_trained
    records = table(dataset / "test.csv")
    batch = LamarTokenizer.from_pretrained(finished / "fold_1")(
        [record["sequence"] for record in records], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        probability = model(**batch).logits.softmax(-1)[:, 1].numpy()
    rows = table(finished / "predictions.csv")
    saved = [float(r["probability"]) for r in rows if (r["fold"], r["evaluated_on"]) == ("fold_1", "test")]
    np.testing.assert_allclose(probability, saved, atol=1e-5)


def test_the_epoch_with_the_best_validation_score_is_kept(finished):
    for fold in ("fold_0", "fold_1"):
        unit = json.loads((finished / "units" / f"{fold}.json").read_text())["result"]
        by_epoch = {entry["epoch"]: entry["eval_auprc"] for entry in unit["history"] if "eval_auprc" in entry}
        assert len(by_epoch) == 2
        assert by_epoch[unit["best_epoch"]] == max(by_epoch.values())
        kept = json.loads((finished / fold / "eval_results.json").read_text())["validation"]["auprc"]
        assert kept == pytest.approx(max(by_epoch.values()), abs=1e-6)


def test_provenance_and_clean_folder(finished, dataset):
    record = json.loads((finished / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["seed"] == 42
    assert record["arguments"]["lr"] == 3e-3
    assert {Path(name).name for name in record["inputs"]} == {"train.csv", "dev.csv", "test.csv"}
    assert sorted(path.name for path in finished.iterdir() if not path.name.startswith(".")) == [
        "eval_results.json",
        "fold_0",
        "fold_1",
        "learning_curves.png",
        "predictions.csv",
        "results.csv",
        "roc_pr.png",
        "run.json",
        "split_report.json",
        "units",
    ]


def test_one_fold_reports_dev_and_test(dataset, tmp_path):
    results = run(dataset, tmp_path, "--cv_folds", 1)
    (fold,) = results["folds"]
    assert (fold["n_train"], fold["n_validation"]) == (120, 40)
    assert "heldout" not in fold
    assert "cross_validation" not in results or not results["cross_validation"]
    rows = table(tmp_path / dataset.name / "predictions.csv")
    assert [sum(r["evaluated_on"] == part for r in rows) for part in ("validation", "test")] == [40, 40]


def test_it_learns_a_planted_motif(tmp_path):
    """From random weights a small model tells records with the motif from those without."""
    folder = tmp_path / "RBP2"
    folder.mkdir()
    for number, (part, n) in enumerate((("train", 800), ("dev", 100), ("test", 200))):
        write_table(folder / f"{part}.csv", windows(n, seed=10 + number, lengths=(24, 28)))
    results = run(folder, tmp_path / "out", "--cv_folds", 1, "--epochs", 8, "--head", "cnn", "--lr", 2e-3)
    assert results["test_ensemble"]["auroc"]["low"] > 0.9
    assert results["collapsed"] == {}


# ------------------------------------------------------------------------------------------------ ways of training


def state_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    return EsmForSequenceClassification.from_pretrained(checkpoint).state_dict()


@pytest.mark.parametrize("head", ["linear", "cnn"])
def test_frozen_encoder_runs_once_and_stays(dataset, pretrained, tmp_path, monkeypatch, head):
    passes = []
    extract = fold_training.extract_features

    def counted(model, sequences, *args, **kwargs):
        passes.append(len(sequences))
        return extract(model, sequences, *args, **kwargs)

    monkeypatch.setattr(fold_training, "extract_features", counted)
    results = run(dataset, tmp_path, "--freeze_encoder", "--pretrain_path", pretrained, "--head", head)
    assert passes == [200]
    source = EsmForMaskedLM.from_pretrained(pretrained).state_dict()
    for fold in ("fold_0", "fold_1"):
        state = state_of(tmp_path / dataset.name / fold)
        assert all(torch.equal(state[name], source[name]) for name in source if name.startswith("esm."))
    heads = [state_of(tmp_path / dataset.name / f"fold_{k}")["classifier.out_proj.weight"] for k in (0, 1)]
    assert not torch.equal(*heads)
    # The checkpoint, run as a whole, gives what the head gave on stored features.
    model = EsmForSequenceClassification.from_pretrained(tmp_path / dataset.name / "fold_0")
    records = [r["sequence"] for r in table(dataset / "test.csv")]
    whole = fold_training.predict(model, EncodedSequences.encode(records), np.arange(40), "classification")
    unit = json.loads((tmp_path / dataset.name / "units" / "fold_0.json").read_text())["result"]
    np.testing.assert_allclose(whole, unit["predictions"]["test"], atol=1e-5)
    assert results["folds"][0]["n_train"] == unit["n_train"]
    assert unit["n_trained_parameters"] == sum(p.numel() for p in model.classifier.parameters()) < unit["n_parameters"]


def test_frozen_with_warm_up_says_that_nothing_is_left(dataset, tmp_path, caplog):
    caplog.set_level("INFO")
    run(dataset, tmp_path, "--freeze_encoder", "--warmup_epochs", 2, "--cv_folds", 1)
    assert "`warmup_epochs` 2: nothing left to do with `freeze_encoder`" in caplog.text


def test_warm_up_trains_the_head_before_the_encoder(dataset, pretrained, tmp_path, monkeypatch):
    seen = {}
    fit = fold_training.fit

    def spy(model, train, validation, options, folder, label):
        seen[folder.name] = (options.epochs, options.lr, sum(p.numel() for p in model.parameters()))
        before = [p.detach().clone() for p in model.parameters()]
        outcome = fit(model, train, validation, options, folder, label)
        seen[folder.name] += (all(not torch.equal(a, b) for a, b in zip(before, model.parameters())),)
        return outcome

    monkeypatch.setattr(fold_training, "fit", spy)
    run(dataset, tmp_path, "--warmup_epochs", 3, "--cv_folds", 1, "--pretrain_path", pretrained)
    head = 64 * 64 + 64 + 2 * 64 + 2
    assert seen["warmup"] == (3, 1e-3, head, True)
    assert seen["full"][:3] == (2, 3e-3, 155_010)
    unit = json.loads((tmp_path / dataset.name / "units" / "fold_0.json").read_text())["result"]
    assert {entry.get("phase") for entry in unit["history"]} == {"warmup", None}


def test_lora_changes_query_and_value_by_low_rank_only(dataset, pretrained, tmp_path):
    pytest.importorskip("peft")
    run(dataset, tmp_path, "--lora_rank", 2, "--cv_folds", 1, "--pretrain_path", pretrained)
    source = EsmForMaskedLM.from_pretrained(pretrained).state_dict()
    state = state_of(tmp_path / dataset.name / "fold_0")
    for name in source:
        if not name.startswith("esm."):
            continue
        change = state[name] - source[name]
        if name.endswith(("query.weight", "value.weight")):
            assert torch.linalg.matrix_rank(change, rtol=1e-3) == 2
        else:
            assert not change.any()


def test_gradient_checkpointing_changes_nothing(dataset, tmp_path):
    plain = run(dataset, tmp_path / "a", "--cv_folds", 1)
    less_memory = run(dataset, tmp_path / "b", "--cv_folds", 1, "--gradient_checkpointing")
    assert less_memory["test_ensemble"]["auroc"]["value"] == pytest.approx(
        plain["test_ensemble"]["auroc"]["value"], abs=1e-4
    )


def test_regression(tmp_path):
    rng = random.Random(0)
    for part, n in (("train", 300), ("dev", 60), ("test", 60)):
        records = []
        for _ in range(n):
            sequence = "".join(rng.choices("ACGT", weights=(1, g := rng.uniform(0.3, 3), g, 1), k=30))
            records.append((sequence, (sequence.count("G") + sequence.count("C")) / 30 * 4 - 2))
        (tmp_path / "GC").mkdir(exist_ok=True)
        write_table(tmp_path / "GC" / f"{part}.csv", records)
    results = run(tmp_path / "GC", tmp_path / "out", "--nlabels", 1, "--head", "mean", "--epochs", 6)
    assert results["task"] == "regression"
    assert results["test_ensemble"]["pearson"]["low"] > 0.9
    rows = table(tmp_path / "out" / "GC" / "predictions.csv")
    assert {"label", "prediction"} <= set(rows[0])
    assert (tmp_path / "out" / "GC" / "scatter.png").stat().st_size > 5_000


def test_three_classes_and_several_labels(tmp_path):
    records = [("".join(random.Random(i).choices("ACGT", k=20)), i % 3) for i in range(90)]
    write_table(tmp_path / "three.csv", records)
    assert script.main(arguments(tmp_path / "three.csv", tmp_path / "o", "--nlabels", 3, "--epochs", 1)) == 0
    rows = table(tmp_path / "o" / "three" / "predictions.csv")
    total = [sum(float(row[f"probability_{k}"]) for k in range(3)) for row in rows]
    np.testing.assert_allclose(total, 1, atol=1e-9)
    write_table(
        tmp_path / "several.csv", [(sequence, f"{i % 2};{i // 2 % 2}") for i, (sequence, _) in enumerate(records)]
    )
    more = ("--nlabels", 2, "--loss", "bce", "--epochs", 1)
    assert script.main(arguments(tmp_path / "several.csv", tmp_path / "o", *more)) == 0
    results = json.loads((tmp_path / "o" / "several" / "eval_results.json").read_text())
    assert results["task"] == "multilabel"
    assert 0 <= results["test"]["subset_accuracy"]["mean"] <= 1


# ------------------------------------------------------------------------------------------------ collapse


def test_a_run_that_was_too_short_is_not_called_collapsed(dataset, tmp_path, caplog):
    options = ["--lr", "1e-12", "--cv_folds", 1, "--epochs", 1, "--batch_size", 16, "--head", "cnn"]
    with caplog.at_level(logging.INFO):
        results = run(dataset, tmp_path, *options)
    assert (results["collapsed"], results["folds"][0]["collapsed"]) == ({}, None)
    short = results["folds"][0]["under_trained"]
    assert results["under_trained"] == {"fold_0": short["evidence"]}
    assert short["evidence"].endswith("; 8 optimiser steps can teach a model little")
    assert short["try"] == "more `epochs`, a higher `lr` or pretrained weights (`pretrain_path`)"
    assert f"UNDER-TRAINED: {short['evidence']}. Try {short['try']}" in caplog.text
    assert "COLLAPSED" not in caplog.text
    assert collapse_of(tmp_path / dataset.name / "fold_0") == {}


def test_labels_that_nothing_predicts_are_a_collapse_of_the_loss(tmp_path):
    rng = random.Random(0)
    (tmp_path / "RBP3").mkdir()
    for part, n in (("train", 240), ("dev", 40), ("test", 40)):
        records = [("".join(rng.choices("ACGT", k=20)), rng.randrange(2)) for _ in range(n)]
        write_table(tmp_path / "RBP3" / f"{part}.csv", records)
    results = run(tmp_path / "RBP3", tmp_path / "out", "--cv_folds", 1, "--epochs", 1, "--batch_size", 4, "--lr", 1e-4)
    assert results["collapsed"] == {"fold_0": "loss_stuck"}
    assert results["under_trained"] == {}
    collapse = results["folds"][0]["collapsed"]
    assert collapse_of(tmp_path / "out" / "RBP3" / "fold_0") == collapse
    assert collapse["try"].startswith("`warmup_epochs` 5")


def test_a_loss_that_is_not_finite_is_a_collapse(dataset, tmp_path):
    results = run(dataset, tmp_path, "--lr", "1e30", "--cv_folds", 1, "--epochs", 1)
    assert results["collapsed"] == {"fold_0": "nan_loss"}
    assert collapse_of(tmp_path / dataset.name / "fold_0") == results["folds"][0]["collapsed"]


# ------------------------------------------------------------------------------------------------ mistakes

MISTAKES = {
    "missing data": (["--data_path", "nowhere"], "nowhere"),
    "missing weights": (["--pretrain_path", "nowhere.safetensors"], "nowhere.safetensors"),
    "fp16": (["--fp16"], "--fp16"),
    "folds": (["--cv_folds", "500"], "--cv_folds"),
    "loss": (["--loss", "mse"], "--loss"),
    "config": (["--config", "lamar-huge"], "--config"),
    "config mismatch": (["--config", "lamar-mini", "--pretrain_path", "PRETRAINED"], "hidden_size"),
    "chromosomes": (["--split", "chromosome", "--test_chroms", "chr8"], "chrom"),
    "test_chroms": (["--test_chroms", "chr8"], "--split chromosome"),
    "too long": (["--max_length", "20"], "max_length"),
    "subsample": (["--subsample_pos", "5000"], "--subsample_pos"),
    "draws of nothing": (["--cv_folds", "1", "--draws", "3"], "--draws 3"),
    "draws and folds": (["--draws", "3", "--subsample_pos", "10"], "--draws 3"),
    "lora and frozen": (["--lora_rank", "2", "--freeze_encoder"], "--lora_rank"),
    "report_to": (["--report_to", "no_such_logger"], "--report_to"),
    "not a reporter": (["--report_to", "json"], "--report_to"),
    "name with a path": (["--rbp_name", "../../elsewhere"], "--rbp_name"),
    "name of a folder": (["--rbp_name", ".."], "--rbp_name"),
    "metric": (["--metric_for_best", "aucroc"], "--metric_for_best"),
    "tokenizer": (["--tokenizer_path", "nowhere"], "nowhere"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(dataset, pretrained, tmp_path, capsys, caplog, case):
    if case == "fp16" and torch.cuda.is_available():
        pytest.skip("a CUDA device is visible")
    extra, wanted = MISTAKES[case]
    extra = [str(pretrained) if word == "PRETRAINED" else word for word in extra]
    assert script.main(arguments(dataset, tmp_path / "out", *extra)) == 2
    error = capsys.readouterr().err
    assert wanted in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "extra",
    [["--lr", "0"], ["--epochs", "-1"], ["--warmup_ratio", "1.5"], ["--head", "tree"], ["--seed", str(2**31)]],
)
def test_values_out_of_range_exit_2(dataset, tmp_path, capsys, extra):
    with pytest.raises(SystemExit) as stopped:
        script.main(arguments(dataset, tmp_path / "out", *extra))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert extra[0] in error
    assert error.count("\n") == 1


def test_labels_outside_01_name_file_and_row(tmp_path, capsys):
    write_table(tmp_path / "bad.csv", [("ACGTACGT", 0), ("ACGTTTTT", 1), ("ACGTACGG", 2)])
    assert script.main(arguments(tmp_path / "bad.csv", tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert "bad.csv" in error
    assert "row 4" in error
    assert not (tmp_path / "out").exists()


def test_one_class_and_two_label_columns_are_refused(tmp_path, capsys):
    write_table(tmp_path / "one.csv", [("ACGT" * 3 + letter, 1) for letter in "ACGT"])
    assert script.main(arguments(tmp_path / "one.csv", tmp_path / "out")) == 2
    assert "label 1 only" in capsys.readouterr().err
    write_table(tmp_path / "two.csv", [("ACGTA", 1, 0), ("ACGTT", 0, 1)], header="sequence,label,label")
    assert script.main(arguments(tmp_path / "two.csv", tmp_path / "out")) == 2
    assert "'label' more than once" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vocab_size", 4),
        ("focal_gamma", "x"),
        ("hidden_dropout_prob", 2),
        ("initializer_range", "x"),
        ("rope_theta", 0),
    ],
)
def test_a_wrong_value_in_a_configuration_names_file_and_key(dataset, tmp_path, capsys, key, value):
    (tmp_path / "bad.json").write_text(json.dumps({"hidden_size": 64, "num_attention_heads": 4, key: value}))
    assert script.main(arguments(dataset, tmp_path / "out", "--config", tmp_path / "bad.json")) == 2
    error = capsys.readouterr().err
    assert "bad.json" in error
    assert key in error
    assert not (tmp_path / "out").exists()


def test_the_folder_itself_may_be_the_data_path(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(dataset)
    assert script.main(arguments(Path("."), tmp_path / "out", "--cv_folds", 1, "--epochs", 1)) == 0
    assert (tmp_path / "out" / dataset.name / "eval_results.json").is_file()


# ------------------------------------------------------------------------------------------------ as processes


@pytest.mark.slow
def test_without_arguments_it_runs_on_the_demo_set(tmp_path):
    """From another folder, as a new user would call it."""
    process = subprocess.run(
        [sys.executable, SCRIPT, "--output_dir", tmp_path / "out"], capture_output=True, text=True, cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr
    assert "SYNTHETIC" in process.stderr
    results = json.loads((tmp_path / "out" / "PUM2" / "eval_results.json").read_text())
    assert results["data"].startswith("SYNTHETIC")
    assert results["test_ensemble"]["auroc"]["low"] > 0.9


def test_an_undefined_metric_is_said(dataset, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(fitting, "task_metrics", lambda *_: {"auprc": math.nan})
    run(dataset, tmp_path, "--cv_folds", 1)
    assert "auprc was undefined on the 40 validation records in every epoch" in caplog.text
