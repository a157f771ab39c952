"""The tables of heads, losses and tasks: what they say, and that one entry is enough to add a head."""

from __future__ import annotations

import argparse
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_models import tiny
from torch import nn

from LAMAR.batches import EncodedSequences
from LAMAR.checkpoints import load_pretrained
from LAMAR.cli.finetune_arguments import add_head_arguments
from LAMAR.embeddings import POOLINGS, extract_features
from LAMAR.errors import InputError
from LAMAR.modeling_nucESM2 import EsmForSequenceClassification
from LAMAR.sequence_classification_patch import sequence_loss
from LAMAR.statistics.metrics import METRICS
from LAMAR.tasks import HEADS, LOSSES, TASKS, Head, Loss, check_loss, task_of

SEQUENCES = ["ACGTACGTTA", "GGC", "TTTTTTTTTTTTA"]


def test_tables_need_neither_torch_nor_transformers():
    program = (
        "import sys; from LAMAR.tasks import HEADS, LOSSES, TASKS; print(HEADS.names, LOSSES.names, TASKS.names); "
        "assert not {'torch', 'transformers', 'pandas', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={"LAMAR_LIGHT": "1"}, check=True
    )
    assert "'linear', 'mean', 'cnn'" in done.stdout
    assert "('ce', 'focal', 'mse', 'bce') ('classification', 'regression', 'multilabel')" in done.stdout


def test_entries_name_things_that_exist():
    for head in HEADS.values():
        assert issubclass(head.load(), nn.Module)
        assert head.pooling in POOLINGS
        assert all(hasattr(tiny(EsmForSequenceClassification).config, option) for option in head.options)
    for loss in LOSSES.values():
        assert callable(loss.load())
        assert set(loss.tasks) <= set(TASKS)
    for task in TASKS.values():
        assert task.name in LOSSES[task.loss].tasks
        assert task.name in METRICS[task.best_metric].tasks
        assert callable(task.load())


def test_metrics_of_each_task_from_its_entry():
    labels = np.array([0, 1, 1, 0])
    perfect = np.array([0.0, 1.0, 1.0, 0.0])
    assert TASKS["classification"].load()(labels, np.stack([1 - perfect, perfect], 1))["auroc"] == 1.0
    assert TASKS["regression"].load()(labels, perfect)["mse"] == 0.0
    both = np.stack([labels, 1 - labels], 1)
    assert TASKS["multilabel"].load()(both, np.stack([perfect, 1 - perfect], 1))["auroc"] == 1.0


@pytest.mark.parametrize(
    ("nlabels", "loss", "task"),
    [
        (1, None, "regression"),
        (1, "mse", "regression"),
        (2, None, "classification"),
        (2, "ce", "classification"),
        (5, "focal", "classification"),
        (2, "bce", "multilabel"),
        (7, "bce", "multilabel"),
    ],
)
def test_task_follows_from_labels_and_loss(nlabels, loss, task):
    assert task_of(nlabels, loss) == check_loss(nlabels, loss) == task


@pytest.mark.parametrize(
    ("nlabels", "loss", "message"),
    [
        (1, "ce", "`loss` ce does not fit `nlabels` 1 \\(regression\\)"),
        (1, "focal", "`loss` focal does not fit `nlabels` 1 \\(regression\\)"),
        (1, "bce", "`loss` bce: found `nlabels` 1, wanted 2 or more yes/no labels"),
        (3, "mse", "`loss` mse does not fit `nlabels` 3 \\(classification\\)"),
        (3, "hinge", "`loss`: found 'hinge', wanted one of ce, focal, mse, bce"),
    ],
)
def test_losses_that_do_not_fit_are_refused(nlabels, loss, message):
    with pytest.raises(InputError, match=message):
        check_loss(nlabels, loss)


class MeanMaxHead(nn.Module):
    """A head of this test: the mean and the maximum over nucleotides, side by side."""

    def __init__(self, config):
        super().__init__()
        self.out_proj = nn.Linear(2 * config.hidden_size, config.num_labels)

    def forward(self, features, mask):
        keep = mask.unsqueeze(-1)
        mean = (features * keep).sum(1) / keep.sum(1)
        largest = features.masked_fill(~keep, -torch.inf).amax(1)
        return self.out_proj(torch.cat([mean, largest], 1))


@pytest.fixture
def dummy_head():
    HEADS.add(Head("dummy", "mean and maximum", MeanMaxHead, pooling="none"))
    yield "dummy"
    HEADS.remove("dummy")


def test_one_entry_adds_a_head(dummy_head, tmp_path):
    parser = argparse.ArgumentParser()
    add_head_arguments(parser)
    assert parser.parse_args(["--head", dummy_head]).head == dummy_head
    assert "mean and maximum" in parser.format_help()

    model = tiny(EsmForSequenceClassification, head_type=dummy_head, num_labels=3)
    assert isinstance(model.classifier, MeanMaxHead)
    model.config.head_trained = True
    model.save_pretrained(tmp_path)
    loaded, report = load_pretrained(EsmForSequenceClassification, tmp_path)
    assert loaded.config.head_type == dummy_head
    assert not report.new
    assert loaded.config.head_trained

    encoded = EncodedSequences.encode(SEQUENCES)
    features = extract_features(loaded, encoded, dummy_head)
    for i, sequence in enumerate(SEQUENCES):
        assert features[i].shape == (len(sequence), model.config.hidden_size)
        ids = torch.from_numpy(encoded[i].astype(np.int64))[None]
        with torch.no_grad():
            # Stored features of a frozen encoder and the whole model give the same logits.
            stored = torch.from_numpy(features[i])[None]
            from_features = loaded.classifier(stored, torch.ones(stored.shape[:2], dtype=torch.bool))
            torch.testing.assert_close(from_features, loaded(ids).logits, rtol=0, atol=1e-5)
            torch.testing.assert_close(loaded(ids).logits, model(ids).logits, rtol=0, atol=1e-5)
    assert loaded(ids, labels=torch.tensor([2])).loss.isfinite()


def test_one_entry_adds_a_loss():
    LOSSES.add(Loss("hinge", "hinge loss", lambda logits, labels: (1 - logits * labels).clamp(min=0).mean()))
    try:
        model = tiny(EsmForSequenceClassification, loss_type="hinge", num_labels=1)
        # Mean of 1 - 0.5 and 0.
        found = sequence_loss(torch.tensor([[0.5], [-3.0]]), torch.tensor([[1.0], [-1.0]]), model.config.loss_type)
        assert float(found) == 0.25
    finally:
        LOSSES.remove("hinge")
