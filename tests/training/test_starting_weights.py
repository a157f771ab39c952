"""What a fine-tuning starts from where the user leaves it open, with which defaults, and what is said of it."""

from __future__ import annotations

import json
import re

import finetune_runs
import pytest

from LAMAR import shipped_weights
from LAMAR.data.chromosomes import canonical_chromosome
from LAMAR.errors import InputError
from LAMAR.training.options import FinetuneOptions
from LAMAR.training.starting_weights import _SEEN, find_start

TAPT, RBP = (shipped_weights.WEIGHTS / name for name in ("lamar-mini-tapt", "lamar-mini-rbp"))


@pytest.mark.parametrize(
    ("named", "config", "track", "path"),
    [
        (None, None, None, str(TAPT)),
        (None, None, "QKI_K562", str(RBP)),
        (None, "lamar-tiny", None, ""),
        ("", None, None, ""),
        ("", "lamar-tiny", None, ""),
        ("models/mine", None, None, "models/mine"),
        ("models/mine", "lamar-tiny", None, "models/mine"),
    ],
)
def test_the_weights_that_ship_are_taken_where_neither_weights_nor_a_shape_are_named(named, config, track, path):
    start = find_start(named, config, track)
    assert (start.path, start.is_default) == (path, path in (str(TAPT), str(RBP)))


@pytest.mark.parametrize(
    ("named", "config", "lines"),
    [
        ("", None, ['weights are random, not pretrained: `pretrain_path` is ""']),
        (None, "lamar-tiny", ["weights are random, not pretrained: `config` is given, and `pretrain_path` is not"]),
        ("models/mine", None, []),
    ],
)
def test_random_weights_are_announced_in_one_line(caplog, named, config, lines):
    find_start(named, config).announce()
    assert caplog.messages == lines


def test_the_default_is_announced_with_its_recipe_and_with_what_the_other_weights_have_seen(caplog):
    caplog.set_level("INFO")
    start = find_start(None, None)
    start.announce(FinetuneOptions(lr=1e-4).completed(start.path, is_shipped=start.is_default))
    first, second = caplog.messages
    assert first == (
        "starting from weights/lamar-mini-tapt, which ships: neither `pretrain_path` nor `config` is given; "
        "`head` mean, `batch_size` 16, `lr` 0.0001"
    )
    assert second == (
        f'they have seen CLIP regions without labels. `pretrain_path` names others; "" is random, and {_SEEN}'
    )


def test_weights_that_have_seen_labels_are_announced_however_they_are_named(caplog, monkeypatch):
    monkeypatch.chdir(RBP.parents[1])
    find_start("weights/lamar-mini-rbp", None).announce()
    (message,) = caplog.messages
    assert "was trained on the eCLIP labels of 168 RBPs" in message


def test_what_is_said_of_the_labels_is_what_the_weights_were_trained_on():
    names = json.loads((RBP / "config.json").read_text())["id2label"].values()
    said = re.search(r"labels of (\d+) RBPs: for these, only records on (.*) judge", _SEEN)
    assert int(said[1]) == len({name.rpartition("_")[0] for name in names})
    card = (RBP / "README.md").read_text()
    test_chroms = re.search(r"of training: (.*?) \(test\)", card)[1]
    chroms = [{canonical_chromosome(name) for name in re.findall(r"chr\d+", text)} for text in (said[2], test_chroms)]
    assert chroms[0] == chroms[1]
    assert len(chroms[0]) == 4


@pytest.mark.parametrize(
    ("options", "is_shipped", "wanted"),
    [
        ({}, True, ("mean", 16, 3e-4)),
        ({}, False, ("linear", 4, None)),
        ({"head": "cnn", "lr": 1e-4}, True, ("cnn", 16, 1e-4)),
        # A head on a frozen encoder has a rate of its own.
        ({"freeze_encoder": True}, True, ("mean", 16, None)),
    ],
)
def test_values_left_open_follow_from_the_weights(options, is_shipped, wanted):
    completed = FinetuneOptions(**options).completed("weights", is_shipped=is_shipped)
    assert (completed.head, completed.batch_size, completed.lr) == wanted
    assert completed.pretrain_path == "weights"


def test_without_the_repository_the_weights_must_be_named(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped_weights, "WEIGHTS", tmp_path)
    with pytest.raises(InputError, match=r"`pretrain_path`: not given, and the weights that ship .*tapt; wanted"):
        find_start(None, None)
    assert find_start(None, "lamar-tiny").path == ""


def test_a_script_without_weights_says_so_in_one_line_and_writes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(shipped_weights, "WEIGHTS", tmp_path)
    data = finetune_runs.make_dataset(tmp_path)
    assert finetune_runs.script.main(["--data_path", str(data), "--output_dir", str(tmp_path / "models")]) == 2
    assert capsys.readouterr().err.startswith("error: --pretrain_path: not given, and the weights that ship")
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_a_run_from_the_weights_that_ship_records_them_and_can_be_resumed_by_their_name(tmp_path, caplog):
    caplog.set_level("INFO")
    data = finetune_runs.make_dataset(tmp_path)
    words = ["--data_path", data, "--output_dir", tmp_path / "models", "--cv_folds", 1, "--epochs", 1]
    assert finetune_runs.script.main([str(word) for word in words]) == 0
    record = json.loads((tmp_path / "models" / "RBP1" / "run.json").read_text())
    assert record["arguments"]["pretrain_path"] == str(TAPT)
    assert [record["arguments"][name] for name in ("head", "batch_size", "lr")] == ["mean", 16, 3e-4]
    # Weights are described once, however many models are built from them.
    assert sum("tensors loaded" in message for message in caplog.messages) == 1
    words += ["--pretrain_path", TAPT, "--head", "mean", "--batch_size", 16, "--lr", 3e-4]
    assert finetune_runs.script.main([str(word) for word in words]) == 0
    assert "fold_0: finished earlier, kept" in caplog.text
