"""Fine-tuning that starts with the head of one output of a model of many RBPs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from finetune_runs import script
from tiny_models import tiny
from track_sets import write_small_set

from LAMAR.errors import InputError
from LAMAR.modeling_nucESM2 import EsmForSequenceClassification
from LAMAR.training.track_heads import classifier_of_track, stored_head

NAMES = ("PUM2_HepG2", "PUM2_K562", "QKI_K562", "TARDBP_HepG2")


@pytest.fixture(scope="module")
def joint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("joint")
    model = tiny(
        EsmForSequenceClassification,
        num_labels=4,
        id2label=dict(enumerate(NAMES)),
        label2id={name: i for i, name in enumerate(NAMES)},
        loss_type="bce",
        head_type="max_mean",
        head_channels=8,
        head_kernel_size=5,
        head_trained=True,
        window_length=31,
    )
    torch.nn.init.normal_(model.classifier.out_proj.bias)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("track", ["PUM2_HepG2", "TARDBP_HepG2"])
def test_it_predicts_what_the_track_predicts(joint, track):
    of_all = EsmForSequenceClassification.from_pretrained(joint).eval()
    of_one, report = classifier_of_track(str(joint), track)
    ids = torch.randint(5, 9, (6, 33))
    with torch.no_grad():
        wanted = of_all(ids).logits[:, NAMES.index(track)]
        found = of_one(ids).logits
    assert found.shape == (6, 2)
    torch.testing.assert_close(found[:, 1] - found[:, 0], wanted)
    assert (of_one.config.num_labels, of_one.config.loss_type, of_one.config.head_type) == (2, None, "max_mean")
    assert not of_one.config.head_trained
    assert of_one.config.window_length is None
    assert report.n_parameters == sum(p.numel() for p in of_one.parameters())
    assert not report.new


def test_finetuning_starts_from_it_and_the_checkpoint_loads(joint, tmp_path):
    data = write_small_set(tmp_path / "tracks")
    options = ["--data_path", data, "--rbp_name", "QKI_K562", "--pretrain_path", joint, "--track", "QKI_K562"]
    options += ["--cv_folds", 1, "--epochs", 1, "--lr", "1e-9", "--batch_size", 16, "--output_dir", tmp_path / "models"]
    assert script.main([str(word) for word in options]) == 0
    run = tmp_path / "models" / "QKI_K562"
    checkpoint = EsmForSequenceClassification.from_pretrained(run / "fold_0")
    assert (checkpoint.config.num_labels, checkpoint.config.head_trained) == (2, True)
    # At a rate of nearly nothing, the predictions are still those of the track.
    of_one, _ = classifier_of_track(str(joint), "QKI_K562")
    for name, tensor in of_one.state_dict().items():
        torch.testing.assert_close(checkpoint.state_dict()[name], tensor, atol=1e-6, rtol=0)
    assert json.loads((run / "run.json").read_text())["arguments"]["head"] == "max_mean"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--track", "QKI_HepG2"], "--track: found 'QKI_HepG2', wanted an output of .*similar: QKI_K562"),
        (["--track", "QKI_K562", "--nlabels", "3"], "--track: found --nlabels, --loss or --config beside it"),
        (["--track", "QKI_K562", "--config", "lamar"], "--track: found --nlabels, --loss or --config beside it"),
    ],
)
def test_a_track_that_does_not_fit_is_refused(joint, tmp_path, capsys, options, message):
    data = write_small_set(tmp_path / "tracks")
    fixed = [
        "--data_path",
        data,
        "--rbp_name",
        "QKI_K562",
        "--pretrain_path",
        joint,
        "--output_dir",
        tmp_path / "models",
    ]
    assert script.main([*map(str, fixed), *options]) == 2
    assert re.search(message, capsys.readouterr().err.strip().splitlines()[-1])
    assert not (tmp_path / "models").exists()


def test_weights_without_tracks_are_refused(tmp_path, repo_root):
    with pytest.raises(InputError, match="`pretrain_path`: found '', wanted the folder of a model with track QKI"):
        stored_head("", "QKI")
    with pytest.raises(InputError, match=r"`track`: found 'QKI', wanted an output of .*lamar-mini"):
        stored_head(str(repo_root / "weights" / "lamar-mini"), "QKI")
    tiny(EsmForSequenceClassification, id2label={0: "QKI", 1: "PUM2"}).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="found no trained head with one output per track"):
        stored_head(str(tmp_path), "QKI")
