"""LAMAR.training.finetuning as a notebook calls it: data in memory, results, errors that name parameters."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finetune_runs import make_dataset, script, table

from LAMAR import EsmForSequenceClassification, embeddings, named_config
from LAMAR.batches import EncodedSequences
from LAMAR.data.labelled import LabelledSet, load_labelled
from LAMAR.errors import InputError
from LAMAR.runs.storage import jsonable
from LAMAR.sequence_classification_patch import MeanHead
from LAMAR.tasks import HEADS, Head
from LAMAR.training import finetuned_runs, finetuning, fold_training
from LAMAR.training.finetuning import finetune
from LAMAR.training.options import ModelSettings

TINY = {"config": "lamar-tiny", "epochs": 1, "batch_size": 16, "lr": 1e-3, "cv_folds": 2, "progress": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    return finetune(data, tmp_path_factory.mktemp("run"), **TINY)


def predictions(folder: Path) -> bytes:
    return (folder / "predictions.csv").read_bytes()


# ------------------------------------------------------------------------------------------------ the call


def test_a_path_and_its_records_in_memory_give_the_same_run(data, finished, tmp_path):
    dataset = load_labelled(data)
    again = finetune(dataset, tmp_path, **TINY)
    assert predictions(again.folder) == predictions(finished.folder)
    assert again.folder == tmp_path / "RBP1"
    record = json.loads((again.folder / "run.json").read_text())
    assert record["arguments"]["data_path"] is None
    assert record["arguments"]["data_digest"] == dataset.digest()


def test_the_result_is_what_the_folder_holds(finished):
    assert jsonable(finished.figures) == json.loads((finished.folder / "eval_results.json").read_text())
    assert [path.name for path in finished.checkpoints] == ["fold_0", "fold_1"]
    for path in finished.checkpoints:
        assert EsmForSequenceClassification.from_pretrained(path).config.head_trained


def test_the_script_resumes_what_a_notebook_began(data, finished, monkeypatch):
    monkeypatch.setattr(finetuning, "train_fold", lambda *a, **k: pytest.fail("trained again"))
    options = ["--config", "lamar-tiny", "--epochs", "1", "--batch_size", "16", "--lr", "1e-3", "--cv_folds", "2"]
    assert script.main(["--data_path", str(data), "--output_dir", str(finished.folder.parent), *options]) == 0
    assert jsonable(finetune(data, finished.folder.parent, **TINY).figures) == jsonable(finished.figures)


def test_other_records_are_another_run(data, tmp_path):
    dataset = load_labelled(data)
    finetune(dataset, tmp_path, **TINY)
    changed = replace(dataset, labels=dataset.labels[::-1].copy())
    with pytest.raises(InputError, match=r"holds a run with another .*data_digest"):
        finetune(changed, tmp_path, **TINY)


def test_a_notice_is_in_figures_and_record(data, tmp_path):
    result = finetune(data, tmp_path, notice="INVENTED data: for tests", **TINY)
    assert result.figures["data"] == "INVENTED data: for tests"
    assert json.loads((result.folder / "run.json").read_text())["arguments"]["demo"] is True


def test_a_copy_in_the_test_part_is_not_trained_on_when_asked(tmp_path):
    data = make_dataset(tmp_path)
    lines = (data / "train.csv").read_text().splitlines()
    with (data / "test.csv").open("a") as handle:
        handle.write(f"{lines[1]}\n")
    with pytest.raises(InputError, match="found 1 sequence in more than one part"):
        finetune(data, tmp_path / "out", **TINY)
    result = finetune(data, tmp_path / "out", drop_duplicates=True, **TINY)
    rows = table(result.folder / "predictions.csv")
    assert sorted(int(row["index"]) for row in rows if row["evaluated_on"] == "heldout") == list(range(1, 160))
    assert {int(row["index"]) for row in rows if row["evaluated_on"] == "test"} == set(range(160, 201))
    report = json.loads((result.folder / "split_report.json").read_text())
    assert (report["duplicates_across_parts"], report["dropped_duplicates"]) == (1, 1)
    assert json.loads((result.folder / "run.json").read_text())["arguments"]["drop_duplicates"] is True


def test_an_unknown_option_is_a_type_error(data, tmp_path):
    with pytest.raises(TypeError, match="n_epochs"):
        finetune(data, tmp_path, n_epochs=3)
    assert not list(tmp_path.iterdir())


MISTAKES = {
    "loss": ({"loss": "mse"}, "`loss` mse does not fit `nlabels` 2"),
    "head": ({"head": "tree"}, "`head`: found 'tree', wanted one of linear, mean, cnn"),
    "metric": ({"metric_for_best": "aucroc"}, "`metric_for_best`: found 'aucroc', wanted one of accuracy"),
    "draws": ({"draws": 3}, "`draws` 3: goes with `cv_folds` 1"),
    "both": ({"lora_rank": 2, "freeze_encoder": True}, "`lora_rank` and `freeze_encoder`: found both"),
    "reporter": ({"report_to": "json"}, "`report_to`: found 'json'"),
    "name": ({"rbp_name": "a/b"}, "`rbp_name`: found 'a/b'"),
    "config": ({"config": "lamar-huge"}, "`config`: found 'lamar-huge'"),
    "length": ({"max_length": 20}, "max_length"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_errors_name_parameters_and_nothing_is_written(data, tmp_path, case):
    options, message = MISTAKES[case]
    with pytest.raises(InputError) as raised:
        finetune(data, tmp_path / "out", **{**TINY, **options})
    assert message in str(raised.value)
    assert "--" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (np.zeros(20, dtype=np.int64), {}, "set: found label 0 only"),
        (np.arange(20) % 3, {}, "set: found labels 0 to 2, wanted 0 to 1"),
        (np.linspace(0, 1, 20, dtype=np.float32), {}, "set: found labels for regression, wanted them for classif"),
        (np.ones((20, 3), dtype=np.int64), {"loss": "bce"}, "set: found 3 labels per record, wanted 2"),
    ],
)
def test_labels_in_memory_are_checked(tmp_path, labels, options, message):
    dataset = LabelledSet([f"ACGT{'ACGT' * i}" for i in range(20)], labels, [str(i) for i in range(20)], name="set")
    with pytest.raises(InputError, match=message):
        finetune(dataset, tmp_path / "out", **TINY, **options)
    with pytest.raises(InputError, match="`rbp_name`: not given"):
        finetune(replace(dataset, name=""), tmp_path / "out", **TINY, **options)
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------ heads


class MaxHead(MeanHead):
    """A head that the library does not have: one projection of the largest embedding over nucleotides."""


def max_head(config):
    return MaxHead(config)


def test_a_head_added_in_one_place_is_a_choice_and_trains(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(
        HEADS._entries, "largest", Head("largest", "projection of the maximum", max_head, pooling="max")
    )
    with pytest.raises(SystemExit):
        script.main(["--help"])
    assert "largest (projection of the maximum)" in " ".join(capsys.readouterr().out.split())
    frozen = finetune(data, tmp_path / "frozen", head="largest", freeze_encoder=True, **TINY)
    options = ["--config", "lamar-tiny", "--epochs", "1", "--batch_size", "16", "--lr", "1e-3", "--cv_folds", "2"]
    options += ["--head", "largest", "--data_path", str(data), "--output_dir", str(tmp_path / "whole")]
    assert script.main(options) == 0
    for folder in (frozen.folder, tmp_path / "whole" / "RBP1"):
        model = EsmForSequenceClassification.from_pretrained(folder / "fold_0").eval()
        assert type(model.classifier) is MaxHead
        rows = [row for row in table(folder / "predictions.csv") if row["fold"] == "fold_0"]
        test = [float(row["probability"]) for row in rows if row["evaluated_on"] == "test"]
        sequences = EncodedSequences.encode([row["sequence"] for row in table(data / "test.csv")])
        again = fold_training.predict(model, sequences, np.arange(len(sequences)), "classification")
        np.testing.assert_allclose(again[:, 1], test, atol=1e-5)


# ------------------------------------------------------------------------------------------------ large features


def test_processes_do_not_share_the_file_of_their_features(tmp_path, monkeypatch):
    """Opened for writing by a second process, a shared file would be zeros under the first."""
    monkeypatch.setattr(embeddings, "MEMORY_LIMIT_BYTES", 0)
    settings = ModelSettings(config=named_config("lamar-tiny"), head="cnn")
    encoded = EncodedSequences.encode(["ACGTACGTAA", "CCCCGGGG"])
    expected = fold_training.frozen_features(settings, encoded, 0, None, progress=False).features.values
    first = fold_training.frozen_features(settings, encoded, 0, tmp_path, progress=False)
    seen = []
    original = embeddings.extract_outputs

    def look_before_filling(*args, **kwargs):
        seen.append(np.array(first.features.values))
        return original(*args, **kwargs)

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(embeddings, "extract_outputs", look_before_filling)
    second = fold_training.frozen_features(settings, encoded, 0, tmp_path, progress=False)
    assert {file.name for file in tmp_path.iterdir()} == {"features_0.npy", "features_1.npy"}
    for values in (*seen, first.features.values, second.features.values):
        np.testing.assert_array_equal(values, expected)
    assert len(seen) == 1


# ------------------------------------------------------------------------------------------------ read back


def test_columns_and_ids_of_any_name_are_recorded_and_read_back(data, tmp_path):
    other = tmp_path / "RBP1"
    other.mkdir()
    for path in data.iterdir():
        rows = path.read_text().splitlines()[1:]
        named = [f"{row},{name}" for row, name in zip(rows, ["=1+1", "-2", "-a", "@b", "'=c"] * 30)]
        (other / path.name).write_text("\n".join(["RNA,Bound,id", *named]) + "\n")
    with pytest.raises(InputError, match=r"found columns RNA, Bound, id, wanted sequence"):
        finetune(other, tmp_path / "out", **TINY)
    names = {"sequence_column": "rna", "label_column": "bound"}
    result = finetune(other, tmp_path / "out", **names, **TINY)
    recorded = json.loads((result.folder / "run.json").read_text())["arguments"]
    assert {name: recorded[name] for name in names} == names
    run = finetuned_runs.open_run(result.folder)
    assert run.dataset.sequences == load_labelled(data).sequences
    assert len(finetuned_runs.fold_records(run, "fold_0", "test")) == 40
    assert {row["record"] for row in table(result.folder / "predictions.csv")} == {"'=1+1", "-2", "'-a", "'@b", "''=c"}


def test_draws_of_few_records_are_read_back(data, tmp_path):
    result = finetune(data, tmp_path, **{**TINY, "cv_folds": 1}, subsample_pos=20, subsample_neg=20, draws=2)
    assert [path.name for path in result.checkpoints] == ["draw_0", "draw_1"]
    assert finetuned_runs.find_runs(tmp_path) == finetuned_runs.find_runs(result.folder) == [result.folder]
    run = finetuned_runs.open_run(result.folder)
    assert run.folds == ["draw_0", "draw_1"]
    for draw in run.folds:
        assert finetuned_runs.fold_records(run, draw, "test").tolist() == list(range(160, 200))
        before, start = finetuned_runs.fold_encoder(run, draw, "before")
        after, end = finetuned_runs.fold_encoder(run, draw, "after")
        assert start != end
        assert not torch.equal(
            before.esm.embeddings.word_embeddings.weight, after.esm.embeddings.word_embeddings.weight
        )
    # Each draw starts from random weights of its own seed.
    assert len({digests["start"] for digests in run.weights().values()}) == 2


def test_a_copied_clone_resumes_and_is_read_back(data, finished, tmp_path, monkeypatch):
    clone, copy = tmp_path / "clone", tmp_path / "scratch" / "copy"
    shutil.copytree(data, clone / "data" / data.name)
    shutil.copytree(finished.checkpoints[0], clone / "weights")
    start = finetune(clone / "data" / data.name, clone / "more", pretrain_path=clone / "weights", **TINY)
    shutil.copytree(clone, copy)
    shutil.rmtree(clone)
    run = finetuned_runs.open_run(copy / "more" / start.folder.name)
    assert len(run.dataset) == 200
    finetuned_runs.fold_encoder(run, run.folds[0], "before")

    def train(*arguments, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr(fold_training, "fit", train)
    again = finetune(copy / "data" / data.name, copy / "more", pretrain_path=copy / "weights", **TINY)
    assert jsonable(again.figures) == jsonable(start.figures)


def test_a_run_on_records_in_memory_needs_their_file(data, tmp_path):
    result = finetune(load_labelled(data), tmp_path, **TINY)
    with pytest.raises(InputError, match=r"`data_dir`: not given, but .* was trained on records in memory"):
        finetuned_runs.open_run(result.folder)
    assert len(finetuned_runs.open_run(result.folder, data).dataset) == 200
    lines = (data / "test.csv").read_text().splitlines()
    other = tmp_path / "other" / "RBP1"
    other.mkdir(parents=True)
    for part in ("train", "dev"):
        (other / f"{part}.csv").write_text((data / f"{part}.csv").read_text())
    (other / "test.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(InputError, match="not the data that"):
        finetuned_runs.open_run(result.folder, other)


def test_the_time_that_is_left_follows_from_the_folds_of_this_start(monkeypatch):
    monkeypatch.setattr(finetuning.time, "monotonic", lambda: 1600.0)
    # Two folds of this start took 600 seconds; the first one was there before, and three are left.
    assert finetuning._time_left(1000.0, [True, False, False, False, False, False], 2) == (
        "\n  about 15 min left for 3 folds"
    )
    assert finetuning._time_left(1000.0, [False, False], 0) == "\n  about 10 min left for 1 fold"
    assert finetuning._time_left(1000.0, [False, False], 1) == ""
    assert finetuning._time_left(1599.0, [False, False], 0) == ""
