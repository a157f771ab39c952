"""Classifiers of one RBP that start with the head of a model of many."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..checkpoints import LoadReport, load_pretrained, read_config
from ..configuration import EsmConfig
from ..errors import InputError, similar
from ..modeling_nucESM2 import EsmForSequenceClassification, count_parameters
from ..tasks import task_of

__all__ = ["classifier_of_track", "stored_head"]


def _track_config(pretrain_path: str, track: str) -> EsmConfig:
    """Return the configuration of a model that has the track among its outputs."""
    path = Path(pretrain_path) / "config.json"
    if not pretrain_path or not path.is_file():
        raise InputError(f"`pretrain_path`: found {pretrain_path!r}, wanted the folder of a model with track {track}")
    config = read_config(path)
    outputs = config.id2label.values()
    if track not in outputs:
        near = similar(track, outputs)
        raise InputError(f"`track`: found {track!r}, wanted an output of {pretrain_path}, such as QKI_K562{near}")
    if task_of(config.num_labels, config.loss_type) != "multilabel" or not config.head_trained:
        raise InputError(f"`track` {track}: {pretrain_path}: found no trained head with one output per track")
    return config


def stored_head(pretrain_path: str, track: str) -> str:
    """Return the kind of head (a name of `LAMAR.tasks.HEADS`) of a model that has the track among its outputs.

    Raises
    ------
    InputError
        The weights have no such track, or their head was never trained.
    """
    return _track_config(pretrain_path, track).head_type


def classifier_of_track(
    pretrain_path: str, track: str, *, loss: str | None = None, attention: str = "sdpa", log: bool = True
) -> tuple[EsmForSequenceClassification, LoadReport]:
    """Return a classifier of two classes that predicts, untrained, what the track's output predicts.

    The difference of its two logits is the logit of the track: class 0 starts at a logit of 0.

    Parameters
    ----------
    pretrain_path : str
        Folder of a model with one output per track (`LAMAR.training.multi_rbp_run.finetune_all_rbps`).
    track : str
        Name of the output, such as ``QKI_K562``.
    loss : str, optional
        A name of `LAMAR.tasks.LOSSES` for two classes.
    attention : str
        Attention backend.
    log : bool
        As for `LAMAR.checkpoints.load_pretrained`.

    Raises
    ------
    InputError
        The weights do not fit, or have no such track.
    """
    outputs = _track_config(pretrain_path, track).id2label
    index = next(number for number, name in outputs.items() if name == track)
    model, report = load_pretrained(EsmForSequenceClassification, pretrain_path, attention=attention, log=log)
    of_all = model.classifier.out_proj
    projection = nn.Linear(of_all.in_features, 2)
    with torch.no_grad():
        for wanted, stored in ((projection.weight, of_all.weight), (projection.bias, of_all.bias)):
            wanted.copy_(torch.stack([torch.zeros_like(stored[index]), stored[index]]))
    model.classifier.out_proj = projection
    config = model.config
    config.num_labels, config.loss_type, config.problem_type = 2, loss, None
    # Untrained for the task at hand, whatever it was trained for before.
    config.head_trained, config.window_length = False, None
    report.n_parameters = count_parameters(model)
    return model.eval(), report
