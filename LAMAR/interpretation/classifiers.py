"""Fine-tuned classification models as interpretation reads them: loading, the score that is explained, state kept.

A model here is :class:`LAMAR.modeling_nucESM2.EsmForSequenceClassification`, or any module with its interface: called
with ``(input_ids, attention_mask)`` or ``(inputs_embeds=..., attention_mask=...)`` it gives ``.logits``, (batch, K);
``get_input_embeddings()`` is its embedding table; ``config`` has ``num_labels``, ``loss_type`` and
``max_position_embeddings``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from ..checkpoints import LoadReport, load_pretrained
from ..devices import check_choice, choose_device
from ..errors import InputError
from ..modeling_nucESM2 import EsmForSequenceClassification

__all__ = [
    "PREDICTED",
    "SCALES",
    "default_scale",
    "load_classifier",
    "resolve_region",
    "resolve_scale",
    "resolve_targets",
    "scores",
    "target_scores",
    "task_of",
    "undisturbed",
    "unexplainable",
]

logger = logging.getLogger(__name__)

SCALES = ("log_odds", "logit", "probability")
PREDICTED = "predicted"


def load_classifier(path: str | Path, *, attention: str = "sdpa") -> tuple[EsmForSequenceClassification, LoadReport]:
    """A fine-tuned classifier from its checkpoint folder (as ``finetune_rbp.py`` writes: ``fold_0`` ...).

    Returns
    -------
    model, report
        float32, in evaluation mode on the CPU; see :func:`LAMAR.checkpoints.load_pretrained`.

    Raises
    ------
    InputError
        When there is no checkpoint, or its head was never trained: no head in the file, or no ``head_trained`` in
        ``config.json``. An attribution of a random head means nothing. Whether its training collapsed is not looked at: see
        :mod:`LAMAR.training.collapse`.
    """
    path = Path(path)
    folds = sorted(path.glob("fold_*/config.json")) if path.is_dir() and not (path / "config.json").exists() else []
    if folds:
        names = ", ".join(file.parent.name for file in folds[:6])
        raise InputError(f"--model_path: {path} is a run with several checkpoints, wanted one of them: {names}")
    model, report = load_pretrained(EsmForSequenceClassification, path, attention=attention)
    if report.new or not model.config.head_trained:
        why = "the file has no head" if report.new else "config.json does not say head_trained: true"
        raise InputError(
            f"--model_path: {path}: found no trained classification head ({why}), wanted a fine-tuned classifier, such "
            "as a fold_0 of finetune_rbp.py; attributions of an untrained head mean nothing"
        )
    return model, report


def task_of(config) -> str:
    """``regression`` (one output), ``multilabel`` (trained with ``bce``) or ``classification``."""
    if config.num_labels == 1:
        return "regression"
    return "multilabel" if config.loss_type == "bce" else "classification"


def default_scale(task: str) -> str:
    """``log_odds``; for regression ``logit``, which is the predicted value."""
    return "logit" if task == "regression" else "log_odds"


def resolve_scale(scale: str | None, task: str) -> str:
    """``scale``, or the task's default for None; :class:`InputError` for one that the task does not have."""
    if scale is None:
        return default_scale(task)
    check_choice("--score", scale, SCALES)
    if task == "regression" and scale != "logit":
        raise InputError(f"--score: found {scale}, but the model predicts a number; wanted logit, that number")
    return scale


def resolve_targets(logits: np.ndarray, target: int | str | None, task: str) -> np.ndarray:
    """Class that is explained for each sequence, int64 (n,); it stays what it is whatever is done to the sequence.

    Parameters
    ----------
    logits
        Of the unchanged sequences, (n, K).
    target
        A class; ``predicted`` for the one with the largest logit; None for class 1 of two, else ``predicted``.

    Raises
    ------
    InputError
        For a class that the model does not have.
    """
    n, n_labels = logits.shape
    if target is None:
        target = 1 if (task == "classification" and n_labels == 2) else PREDICTED
    if target == PREDICTED:
        return logits.argmax(axis=1).astype(np.int64)
    if not isinstance(target, int | np.integer) or not 0 <= target < n_labels:
        raise InputError(f"--target: found {target}, wanted a class from 0 to {n_labels - 1}, or {PREDICTED}")
    return np.full(n, target, dtype=np.int64)


def resolve_region(region: tuple[int, int] | None, length: int) -> tuple[int, int]:
    """Start and end of what is explained of a sequence; :class:`InputError` for a range that it does not have."""
    if region is None:
        return 0, length
    start, end = region
    if not 0 <= start < end <= length:
        raise InputError(f"--region: found {start}-{end}, wanted 0 <= start < end <= {length}, the sequence's length")
    return start, end


def target_scores(logits: torch.Tensor, targets: torch.Tensor, scale: str, task: str) -> torch.Tensor:
    """The number that is explained, in float32, differentiable.

    Parameters
    ----------
    logits
        (..., K).
    targets
        int64 (...): class of each row.
    scale
        ``logit``: of the class as the model gives it. ``probability``: softmax, or the sigmoid of several yes/no
        labels. ``log_odds``: natural log of p / (1 - p); with two classes the difference of their logits, with more
        the logit less the log-sum-exp of the others, with yes/no labels the logit itself.

    Returns
    -------
    float32 (...).
    """
    logits = logits.float()
    index = targets.unsqueeze(-1)
    own = logits.gather(-1, index).squeeze(-1)
    if scale == "logit" or (scale == "log_odds" and task == "multilabel"):
        return own
    if task == "multilabel":
        return own.sigmoid()
    if scale == "probability":
        return logits.softmax(-1).gather(-1, index).squeeze(-1)
    return own - logits.scatter(-1, index, -torch.inf).logsumexp(-1)


def scores(logits: np.ndarray, target: int, scale: str, task: str) -> np.ndarray:
    """:func:`target_scores` of an array (..., K) and one class: float32 (...). NaN stays NaN."""
    values = torch.from_numpy(np.asarray(logits, dtype=np.float32))
    targets = torch.full(values.shape[:-1], int(target), dtype=torch.int64)
    return target_scores(values, targets, scale, task).numpy()


@contextmanager
def undisturbed(model: torch.nn.Module, device: str | torch.device | None = None) -> Iterator[torch.device]:
    """The model in evaluation mode, without gradients of parameters, on a device, which is given.

    Afterwards, whatever happened, each module's mode, each parameter's ``requires_grad`` and the device are what they
    were. Autocast is off inside: scores are float32.
    """
    chosen, own = choose_device(model, device), next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    wants = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval().requires_grad_(False).to(chosen)
        with torch.autocast(chosen.type, enabled=False):
            yield chosen
    finally:
        model.to(own)
        for module, training in modes:
            module.training = training
        for parameter, wanted in wants:
            parameter.requires_grad_(wanted)


def unexplainable(
    sequence: str, config, *, window_size: int | None = None, region: tuple[int, int] | None = None
) -> str | None:
    """Why a normalized sequence cannot be explained, in words that go behind its name; None when it can."""
    length, most = len(sequence), config.max_position_embeddings - 2
    if length > most:
        return f"found {length} nucleotides, wanted at most {most}, the model's context"
    if set(sequence) == {"N"}:
        return "found only N, wanted nucleotides"
    if window_size is not None and length < window_size:
        return f"found {length} nucleotides, fewer than --window_size {window_size}"
    if region is not None and region[1] > length:
        return f"found {length} nucleotides, --region {region[0]}-{region[1]} ends behind them"
    if region is not None and set(sequence[slice(*region)]) == {"N"}:
        return f"found only N in --region {region[0]}-{region[1]}, wanted nucleotides"
    return None
