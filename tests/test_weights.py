"""The weights that ship: complete, loaded without a warning, and as their cards describe them."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess

import numpy as np
import pytest
import torch
from transformers import AutoModel

from LAMAR import load_classifier, predict
from LAMAR.checkpoints import load_pretrained
from LAMAR.configuration import named_config
from LAMAR.data.track_calibration import read_calibration
from LAMAR.modeling_nucESM2 import EsmForMaskedLM, EsmForSequenceClassification
from LAMAR.runs.storage import sha256_file
from LAMAR.training.masked_validation import MaskedWindows, evaluate

NAMES = ("lamar-mini", "lamar-mini-tapt")
# Consensus of AluY, the repeat that human transcripts have most of.
ALU = (
    "GGCCGGGCGCGGTGGCTCACGCCTGTAATCCCAGCACTTTGGGAGGCCGAGGCGGGCGGATCACGAGGTCAGGAGATCGAGACCATCCCGGCTAAAACGGTGAAACCC"
    "CGTCTCTACTAAAAATACAAAAAATTAGCCGGGCGTGGTGGCGGGCGCCTGTAGTCCCAGCTACTCGGGAGGCTGAGGCAGGAGAATGGCGTGAACCCGGGAGGCGGA"
    "GCTTGCAGTGAGCCGAGATCGCGCCACTGCACTCCAGCCTGGGCGACAGAGCGAGACTCCGTCTC"
)


@pytest.fixture(scope="module", params=NAMES)
def shipped(request, repo_root):
    return repo_root / "weights" / request.param


def test_loading_report_is_clean(shipped):
    model, report = load_pretrained(EsmForMaskedLM, shipped)
    assert not any((report.new, report.left_out, report.renamed))
    assert len(report.matched) == len(model.state_dict())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    wanted = named_config("lamar-mini")
    for key in (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "position_embedding_type",
    ):
        assert getattr(model.config, key) == getattr(wanted, key)


def test_auto_classes_compute_in_full_precision_and_say_nothing(shipped, caplog):
    for dtype in (None, "auto"):
        model = AutoModel.from_pretrained(shipped, dtype=dtype)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert caplog.messages == []


def test_files_are_those_that_were_verified(shipped):
    made = json.loads((shipped / "run.json").read_text())["made"]
    assert {name: sha256_file(shipped / name) for name in made} == made
    assert (shipped / "model.safetensors").stat().st_size <= 16_000_000


def test_the_card_has_the_figures_of_training(shipped):
    card, figures = ((shipped / name).read_text() for name in ("README.md", "eval_results.json"))
    figures = json.loads(figures)
    for value in (
        f"{figures['loss']:.4f}",
        f"{figures['markov']['two_sided']['loss']:.4f}",
        f"{figures['steps']:,}",
        f"{figures['tokens'] / 1e6:.1f} million",
    ):
        assert value in card, value


def test_they_know_the_commonest_repeat_from_its_letters_in_another_order(shipped):
    trained, _ = load_pretrained(EsmForMaskedLM, shipped)
    untrained, _ = load_pretrained(EsmForMaskedLM, "", config=named_config("lamar-mini"), seed=1)
    letters = np.random.default_rng(0).permutation(list(ALU))
    alu, shuffled = (MaskedWindows(["".join(text)] * 40, room=510, seed=1) for text in (ALU, letters))
    loss = evaluate(trained, alu)["loss"]
    assert loss < evaluate(trained, shuffled)["loss"] - 0.04
    assert loss < evaluate(untrained, alu)["loss"] - 0.04


@pytest.fixture(scope="module")
def joint(repo_root):
    return repo_root / "weights" / "lamar-mini-rbp"


def test_the_model_of_all_rbps_is_complete_and_calibrated(joint):
    model, report = load_pretrained(EsmForSequenceClassification, joint)
    assert not any((report.new, report.left_out, report.renamed))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert (model.config.num_labels, model.config.window_length, model.config.head_trained) == (244, 101, True)
    names = list(model.config.id2label.values())
    assert len({name.rpartition("_")[0] for name in names}) == 168
    calibration = read_calibration(joint, names)
    assert calibration.prior == 1e-3
    assert (calibration.n_background == 10_000).all()
    with (joint / "tracks.csv").open(newline="") as handle:
        assert [row["track"] for row in csv.DictReader(handle)] == names
    test_files_are_those_that_were_verified(joint)


def test_the_card_of_all_rbps_has_the_figures_of_training(joint, repo_root):
    card, figures = (joint / "README.md").read_text(), json.loads((joint / "eval_results.json").read_text())
    values = [f"{figures[name]:.3f}" for name in ("auroc", "auroc_q1", "auroc_q2", "auroc_q3", "auroc_q4", "auprc")]
    values += [f"{figures[name]:,}" for name in ("steps", "windows", "n_parameters")] + [
        f"{figures['passes']:.2f} passes"
    ]
    for value in values:
        assert value in card, value
    script = (repo_root / "weights" / "train_lamar_mini_rbp.sh").read_text()
    assert re.findall(r"--max_steps (\d+)", script) == [str(figures["steps"])]


# Motifs: Ray et al., Nature 499:172, 2013, and Dominguez et al., Molecular Cell 70:854, 2018.
@pytest.mark.parametrize(
    ("track", "motif", "least"),
    [
        ("PUM2_K562", "TGTATATA", 3.0),
        ("QKI_K562", "ACTAACA", 2.0),
        ("HNRNPL_HepG2", "ACACACACACAC", 2.0),
        ("TARDBP_K562", "GTGTGTGTGTGT", 2.0),
        ("RBFOX2_HepG2", "TGCATG", 0.5),
    ],
)
def test_the_model_of_all_rbps_knows_motifs_from_their_letters_in_another_order(joint, track, motif, least):
    rng = np.random.default_rng(1)
    with_motif, without = [], []
    for _ in range(30):
        window = rng.choice(list("ACGT"), 101)
        for letters, texts in ((list(motif), with_motif), (rng.permutation(list(motif)), without)):
            window[47 : 47 + len(motif)] = letters
            texts.append("".join(window))
    model, _ = load_classifier(joint)
    column = list(model.config.id2label.values()).index(track)
    gain = (predict(model, with_motif, scale="logit") - predict(model, without, scale="logit"))[:, column]
    assert gain.mean() > least


def test_the_script_names_the_steps_of_the_cards(repo_root):
    script = (repo_root / "weights" / "train_lamar_mini.sh").read_text()
    steps = [int(n) for n in re.findall(r"--max_steps (\d+)", script)]
    trained = [json.loads((repo_root / "weights" / name / "eval_results.json").read_text())["steps"] for name in NAMES]
    assert steps == trained


@pytest.mark.parametrize("script", ["train_lamar_mini.sh", "train_lamar_mini_rbp.sh"])
def test_sets_that_must_stay_unseen_are_looked_for_before_hours_of_training(repo_root, tmp_path, script):
    (tmp_path / "labelled").mkdir()
    names = {name: str(tmp_path) for name in ("TRANSCRIPTS", "REGIONS", "PEAKS")}
    environment = {**os.environ, **names, "LABELLED": str(tmp_path / "labelled"), "RUNS": str(tmp_path / "runs")}
    command = ["bash", str(repo_root / "weights" / script)]
    done = subprocess.run(command, env={**environment, "PYTHON": "false"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: LABELLED: found")
    assert not (tmp_path / "runs").exists()
