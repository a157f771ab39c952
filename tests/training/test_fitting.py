"""LAMAR.training.fitting: batches, and when a training ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import TrainerState

from LAMAR import EsmForSequenceClassification, named_config
from LAMAR.batches import EncodedSequences
from LAMAR.checkpoints import build_model
from LAMAR.embeddings import Embeddings, extract_features
from LAMAR.training import fitting
from LAMAR.training.fitting import LabelledData, collate, fit
from LAMAR.training.fold_training import predict
from LAMAR.training.options import FitOptions


def test_batches_are_padded_to_their_own_longest_record():
    encoded = EncodedSequences.encode(["ACGT", "ACGTACG", "AC"])
    data = LabelledData(encoded, np.array([2, 0]), np.array([0, 1, 1]))
    batch = collate([data[0], data[1]])
    assert batch["input_ids"].shape == (2, 6)  # four nucleotides, <cls>, <eos>
    assert batch["attention_mask"].sum(1).tolist() == [4, 6]
    assert batch["labels"].tolist() == [1, 0]
    assert data.lengths == [4, 6]


def test_ragged_features_are_padded_with_a_mask():
    features = Embeddings(np.arange(12, dtype=np.float32).reshape(6, 2), np.array([0, 4, 6]))
    data = LabelledData(features, np.array([1, 0]), np.array([1, 0]))
    batch = collate([data[0], data[1]])
    assert batch["features"].shape == (2, 4, 2)
    assert batch["mask"].sum(1).tolist() == [2, 4]
    assert batch["features"][0, 0].tolist() == [8, 9]


def test_records_without_labels_make_batches_without_labels():
    encoded = EncodedSequences.encode(["ACGT", "AC"])
    assert set(collate([LabelledData(encoded, np.array([1]))[0]])) == {"input_ids", "attention_mask"}


# ------------------------------------------------------------------------------------------------ predictions


@pytest.mark.parametrize("head", ["linear", "mean", "cnn"])
def test_predictions_on_features_are_those_of_each_record_alone(head, monkeypatch):
    """Batches of records of different lengths give what one record at a time gives, in the order asked for."""
    config = named_config("lamar-tiny", num_labels=3, head_type=head)
    model = build_model(EsmForSequenceClassification, config, seed=1).eval()
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACGT"), size=n)) for n in rng.integers(5, 40, size=30)]
    features = extract_features(model, EncodedSequences.encode(sequences), head)
    indices = rng.permutation(30)[:20]
    calls = []
    head_module = model.classifier
    head_module.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    found = predict(model, features, indices, "classification")
    assert sum(calls) == 20
    assert len(calls) < 5
    with torch.no_grad():
        alone = [
            head_module(
                torch.from_numpy(features[i])[None], torch.ones((1, len(features[i])), dtype=torch.bool)
            ).softmax(-1)[0]
            for i in indices
        ]
    np.testing.assert_allclose(found, torch.stack(alone).numpy(), atol=1e-6)
    assert len(np.unique(found[:, 0].round(8))) > 15, "records differ"
    assert not len(predict(model, features, indices[:0], "classification"))


# ------------------------------------------------------------------------------------------------ early stopping


@pytest.mark.parametrize(
    ("patience", "save_epochs", "last_epoch"),
    # The second evaluation is the best one. Patience 3 takes two evaluations that lie two epochs apart.
    [(1, 1, 3), (2, 1, 4), (2, 2, 6), (3, 2, 8), (4, 2, 8), (5, 5, 15)],
)
def test_patience_counts_epochs_whatever_the_evaluations(tmp_path, monkeypatch, patience, save_epochs, last_epoch):
    scores = iter([0.5, 0.9] + [0.4] * 20)
    monkeypatch.setattr(fitting, "task_metrics", lambda *_: {"auprc": next(scores)})
    model = build_model(EsmForSequenceClassification, named_config("lamar-tiny"), seed=0)
    data = LabelledData(EncodedSequences.encode(["ACGTACGT", "CCCCGGGG"]), np.arange(2), np.array([0, 1]))
    options = FitOptions(
        epochs=20, batch_size=2, early_stopping_patience=patience, save_epochs=save_epochs, progress=False
    )
    result = fit(model, data, data, options, tmp_path)
    evaluated = [entry["epoch"] for entry in result.history if "eval_auprc" in entry]
    assert evaluated[-1] == last_epoch
    assert result.best_epoch == 2 * save_epochs


def test_evaluations_since_the_best():
    log = [{"eval_loss": 1.0, "step": step} for step in (10, 20, 30)] + [{"loss": 1.0, "step": 40}]
    assert fitting._evaluations_since_best(TrainerState(log_history=log, best_global_step=20)) == 1
    assert fitting._evaluations_since_best(TrainerState(log_history=log)) == 2


# ------------------------------------------------------------------------------------------------ progress


def test_progress_has_steps_epoch_loss_and_validation_score(tmp_path, progress_at_once, capsys):
    model = build_model(EsmForSequenceClassification, named_config("lamar-tiny"), seed=0)
    data = LabelledData(EncodedSequences.encode(["ACGTACGT", "CCCCGGGG"] * 2), np.arange(4), np.array([0, 1] * 2))
    options = FitOptions(epochs=3, batch_size=2, logging_steps=1)
    fit(model, data, data, options, tmp_path, "fold_0 (1 of 5)")
    lines = progress_at_once()
    steps = [line for line in lines if "epoch 1.50 of 3" in line]
    assert steps[0].startswith("fold_0 (1 of 5): 3 of 6 steps (50 %), epoch 1.50 of 3, loss 0.")
    assert ", validation auprc " in steps[0]
    assert steps[0].endswith(" left")
    # The Trainer itself says nothing.
    assert capsys.readouterr() == ("", "")


def test_progress_of_a_resumed_training_begins_where_it_stopped(tmp_path, progress_at_once, monkeypatch):
    data = LabelledData(EncodedSequences.encode(["ACGTACGT", "CCCCGGGG"] * 2), np.arange(4), np.array([0, 1] * 2))

    def start(epochs: int) -> None:
        model = build_model(EsmForSequenceClassification, named_config("lamar-tiny"), seed=0)
        fit(model, data, data, FitOptions(epochs=epochs, batch_size=2), tmp_path)

    start(1)
    before = len(progress_at_once())
    start(2)
    assert progress_at_once()[before:][0].startswith("training: 3 of 4 steps (75 %)")


def test_without_progress_nothing_is_shown(tmp_path, progress_at_once, capsys):
    model = build_model(EsmForSequenceClassification, named_config("lamar-tiny"), seed=0)
    data = LabelledData(EncodedSequences.encode(["ACGTACGT", "CCCCGGGG"]), np.arange(2), np.array([0, 1]))
    fit(model, data, data, FitOptions(epochs=1, batch_size=2, progress=False), tmp_path)
    assert progress_at_once() == []
    assert capsys.readouterr() == ("", "")
