"""Classifiers as interpretation reads them: scores, targets, loading, runs of several checkpoints, long sequences."""

from __future__ import annotations

import hashlib
import json
import logging

import numpy as np
import pytest
import torch
from toy_classifiers import Linear

from LAMAR import EsmForMaskedLM, EsmForSequenceClassification, named_config
from LAMAR.batches import EncodedSequences, pad_batch
from LAMAR.checkpoints import build_model
from LAMAR.errors import InputError
from LAMAR.interpretation import attribution
from LAMAR.interpretation.classifiers import (
    load_classifier,
    predict_logits,
    resolve_targets,
    scores,
    unexplainable,
)
from LAMAR.interpretation.dependency import dependency_map
from LAMAR.interpretation.ensembles import ClassifierEnsemble

SEQUENCES = ["ACGTNACGGT", "TTGACA", "CCCCAGGTTTACATG"]


# ------------------------------------------------------------------------------------------------------ scores


def test_scales_of_three_classes():
    logits = np.log(np.array([[0.2, 0.3, 0.5]], dtype=np.float32)) + 1.7
    assert scores(logits, 1, "probability", "classification") == pytest.approx([0.3])
    assert scores(logits, 1, "log_odds", "classification") == pytest.approx([np.log(0.3 / 0.7)])
    assert scores(logits, 1, "logit", "classification") == pytest.approx([np.log(0.3) + 1.7])


def test_scales_of_two_classes_of_labels_and_of_a_number():
    logits = np.array([[0.5, 2.0]], dtype=np.float32)
    assert scores(logits, 1, "log_odds", "classification") == pytest.approx([1.5])
    assert scores(logits, 0, "log_odds", "classification") == pytest.approx([-1.5])
    assert scores(logits, 1, "log_odds", "multilabel") == pytest.approx([2.0])
    assert scores(logits, 1, "probability", "multilabel") == pytest.approx([1 / (1 + np.exp(-2.0))])
    (result,) = attribution.mutagenesis(Linear(num_labels=1), ["ACG"])
    assert result.effects().shape == (3, 4)
    with pytest.raises(InputError, match="`scale`: found log_odds, but the model predicts a number"):
        result.effects("log_odds")


def test_large_logits_do_not_overflow():
    logits = np.array([[1e4, -1e4, 0.0]], dtype=np.float32)
    assert scores(logits, 0, "log_odds", "classification") == pytest.approx([1e4])
    assert scores(logits, 1, "probability", "classification") == 0


def test_targets():
    logits = np.array([[3.0, 1.0], [0.0, 2.0]])
    assert resolve_targets(logits, None, "classification").tolist() == [1, 1]
    assert resolve_targets(logits, "predicted", "classification").tolist() == [0, 1]
    assert resolve_targets(logits, None, "multilabel").tolist() == [0, 1]
    assert resolve_targets(np.tile([0, 2, 1], (2, 1)), None, "classification").tolist() == [1, 1]
    with pytest.raises(InputError, match="`target`: found 2, wanted a class from 0 to 1, or predicted"):
        resolve_targets(logits, 2, "classification")


# ---------------------------------------------------------------------------------------------- loading and refusing


@pytest.mark.parametrize(
    ("sequence", "options", "wanted"),
    [
        ("ACGT", {}, None),
        ("NNN", {}, "found only N"),
        ("A" * 1500, {}, None),
        ("ACGT", {"window_size": 5}, "fewer than `window_size` 5"),
        ("ACGT", {"region": (1, 5)}, "`region` 1-5 ends behind them"),
        ("ANNT", {"region": (1, 3)}, "found only N in `region` 1-3"),
    ],
)
def test_what_cannot_be_explained(sequence, options, wanted):
    reason = unexplainable(sequence, **options)
    assert reason is None if wanted is None else wanted in reason


def test_a_classifier_without_a_trained_head_is_refused(tmp_path):
    torch.manual_seed(0)
    EsmForMaskedLM(named_config("lamar-tiny")).save_pretrained(tmp_path / "language_model")
    classifier = build_model(EsmForSequenceClassification, named_config("lamar-tiny"), 0)
    classifier.save_pretrained(tmp_path / "run" / "fold_0")
    for folder, why in (
        ("language_model", "the file has no head"),
        ("run/fold_0", "config.json does not say head_trained"),
    ):
        with pytest.raises(InputError, match=f"no trained classification head .{why}"):
            load_classifier(tmp_path / folder)
    with pytest.raises(InputError, match="run/fold_0: found no trained classification head"):
        load_classifier(tmp_path / "run")
    config = json.loads((tmp_path / "run" / "fold_0" / "config.json").read_text())
    (tmp_path / "run" / "fold_0" / "config.json").write_text(json.dumps({**config, "head_trained": True}))
    model, report = load_classifier(tmp_path / "run" / "fold_0")
    assert not model.training
    assert len(report.sha256) == 64


# ---------------------------------------------------------------------------------------- runs of several checkpoints


def save_members(run, names, **overrides) -> list[EsmForSequenceClassification]:
    """Save classifiers that say they were trained, of different weights, heads and widths."""
    members = []
    for seed, name in enumerate(names):
        config = named_config(
            "lamar-tiny",
            num_hidden_layers=2,
            hidden_size=(64, 32)[seed % 2],
            head_type=("mean", "cnn")[seed % 2],
            head_trained=True,
            **overrides,
        )
        member = build_model(EsmForSequenceClassification, config, seed).eval()
        member.save_pretrained(run / name)
        members.append(member)
    return members


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three folds and its members; they are numbered so that text order is not the order of numbers."""
    folder = tmp_path_factory.mktemp("runs") / "QKI"
    return folder, save_members(folder, ("fold_0", "fold_2", "fold_10"))


def logits_of(model, sequence: str) -> np.ndarray:
    return predict_logits(model, EncodedSequences.encode([sequence]))[0]


def test_a_run_is_loaded_as_the_mean_of_its_folds_and_the_log_says_so(run, caplog):
    folder, members = run
    with caplog.at_level(logging.INFO):
        model, report = load_classifier(folder)
    assert model.names == ("fold_0", "fold_2", "fold_10")
    wanted = f"{folder}: a run with 3 checkpoints; the mean of their logits is explained: fold_0, fold_2, fold_10"
    assert wanted in caplog.messages
    assert not any(module.training for module in model.modules())
    for sequence in SEQUENCES:
        mean = np.mean([logits_of(member, sequence) for member in members], axis=0)
        np.testing.assert_allclose(logits_of(model, sequence), mean, atol=1e-6)
    digests = [load_classifier(folder / name)[1].sha256 for name in model.names]
    assert report.sha256 == hashlib.sha256("".join(digests).encode()).hexdigest()
    assert report.n_parameters == sum(parameter.numel() for member in members for parameter in member.parameters())
    assert {name.split("/")[0] for name in report.matched} == set(model.names)


def test_draws_are_a_run_too_and_one_checkpoint_is_no_ensemble(tmp_path, caplog):
    members = save_members(tmp_path / "few", ("draw_0", "draw_1"))
    model, _ = load_classifier(tmp_path / "few")
    mean = np.mean([logits_of(member, SEQUENCES[0]) for member in members], axis=0)
    np.testing.assert_allclose(logits_of(model, SEQUENCES[0]), mean, atol=1e-6)
    single = tmp_path / "one" / "single"
    save_members(single, ("draw_0",))
    # The folder above, which finetune_rbp.py was given, stands for the run in it.
    for path in (single, single.parent):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            model, _ = load_classifier(path)
        assert isinstance(model, EsmForSequenceClassification)
        assert f"{single}: a run with one checkpoint, draw_0, which is explained" in caplog.messages
    with pytest.raises(InputError, match="holds 2 runs, wanted one of them: few, one/single"):
        load_classifier(tmp_path)


# The score is a mean of the members' scores in these scales, so every attribution is the mean of the members'.
@pytest.mark.parametrize("scale", ["logit", "log_odds"])
def test_attributions_of_an_ensemble_are_the_means_of_its_members(run, scale):
    folder, members = run
    model, _ = load_classifier(folder)
    calls = {
        "mutagenesis": lambda one: attribution.mutagenesis(one, SEQUENCES),
        "window": lambda one: attribution.window_masking(one, SEQUENCES, window_size=3),
        "gradient": lambda one: attribution.saliency(one, SEQUENCES, scale=scale),
    }
    for method, call in calls.items():
        more = () if method == "gradient" else (scale,)
        joint = [result.importance(*more) for result in call(model)]
        single = [[result.importance(*more) for result in call(member)] for member in members]
        for i in range(len(SEQUENCES)):
            np.testing.assert_allclose(joint[i], np.mean([tracks[i] for tracks in single], axis=0), atol=2e-6)
            assert np.nanmax(np.abs(joint[i])) > 1e-4


@pytest.mark.parametrize("baseline", ["mask", "mean", "shuffle"])
def test_integrated_gradients_of_an_ensemble_follow_every_member(run, baseline):
    pytest.importorskip("captum")
    folder, members = run
    # Without refinement, which would give members and ensemble different nodes.
    options = {"baseline": baseline, "n_steps": 8, "n_shuffles": 2, "tolerance": 1e9, "scale": "logit"}
    model, _ = load_classifier(folder)
    joint = attribution.integrated_gradients(model, SEQUENCES, **options)
    single = [attribution.integrated_gradients(member, SEQUENCES, **options) for member in members]
    for i, result in enumerate(joint):
        np.testing.assert_allclose(result.scores, np.mean([one[i].scores for one in single], axis=0), atol=1e-5)
        assert result.difference == pytest.approx(np.mean([one[i].difference for one in single]), abs=1e-5)


def test_the_path_of_an_ensemble_is_complete_where_scores_are_no_means(run):
    """The probability of the mean logits is no mean of probabilities; 5 %: the maximum in a CNN head has kinks."""
    pytest.importorskip("captum")
    model, _ = load_classifier(run[0])
    (result,) = attribution.integrated_gradients(model, SEQUENCES[:1], scale="probability", n_steps=32)
    assert abs(result.scores.sum() - result.difference) <= 0.05 * abs(result.difference)


def test_checkpoints_of_different_tasks_are_no_ensemble(tmp_path):
    save_members(tmp_path, ("fold_0",))
    config = named_config("lamar-tiny", num_hidden_layers=1, num_labels=3, head_trained=True)
    build_model(EsmForSequenceClassification, config, 0).save_pretrained(tmp_path / "fold_1")
    with pytest.raises(InputError, match="`model_path`: found num_labels 3 in fold_1 and 2 in fold_0, wanted"):
        load_classifier(tmp_path)


def test_an_ensemble_of_one_is_its_member():
    model = Linear(seed=3)
    ensemble = ClassifierEnsemble([model], ["only"])
    (one,), (other,) = (attribution.mutagenesis(each, ["ACGTT"]) for each in (model, ensemble))
    np.testing.assert_array_equal(one.logits, other.logits)


# -------------------------------------------------------------------------------------------------- long sequences


def test_a_sequence_beyond_the_configured_positions_is_explained():
    """Rotary positions have no limit: 1,500 nt with max_position_embeddings 1026."""
    pytest.importorskip("captum")
    model = build_model(EsmForSequenceClassification, named_config("lamar-tiny", head_type="cnn"), 1).eval()
    assert model.config.max_position_embeddings == 1026
    sequence = "".join(np.random.default_rng(0).choice(list("ACGT"), 1500))
    (result,) = attribution.mutagenesis(model, [sequence], region=(1400, 1402))
    letter = "ACGT"[("ACGT".index(sequence[1401]) + 1) % 4]
    changed = sequence[:1401] + letter + sequence[1402:]
    with torch.no_grad():
        one, two = (model(*pad_batch([EncodedSequences.encode([s])[0]])).logits[0] for s in (sequence, changed))
    effect = float((two[1] - two[0]) - (one[1] - one[0]))
    assert result.effects("log_odds")[1, "ACGT".index(letter)] == pytest.approx(effect, abs=2e-6)
    (saliency,) = attribution.saliency(model, [sequence], region=(1400, 1500))
    assert np.isfinite(saliency.norm).all()
    assert saliency.norm.max() > 0
    (integrated,) = attribution.integrated_gradients(model, [sequence], region=(1490, 1500), n_steps=2, tolerance=0.999)
    assert np.isfinite(integrated.scores).all()


def test_a_map_beyond_the_configured_positions_is_computed():
    model = build_model(EsmForMaskedLM, named_config("lamar-tiny", num_hidden_layers=1), 0)
    sequence = "".join(np.random.default_rng(1).choice(list("ACGT"), 1500))
    found = dependency_map(model, sequence, region=(1498, 1500))
    assert found.values.shape == (2, 1500)
    assert np.isfinite(found.values).all()


# ------------------------------------------------------------------------------------------------ what callers pass


def test_sequences_are_normalized_and_one_string_is_refused():
    model = Linear()
    (plain,), (messy,) = (attribution.mutagenesis(model, [text]) for text in ("ACGTN", " acguR\n"))
    assert messy.sequence == "ACGTN"
    np.testing.assert_array_equal(plain.logits, messy.logits)
    with pytest.raises(InputError, match="`sequences`: found one string, wanted a list of sequences"):
        attribution.saliency(model, "ACGT")
    with pytest.raises(InputError, match="`sequences`: item 1: position 2: found 'L'"):
        attribution.window_masking(model, ["ACGT", "ALA"])
