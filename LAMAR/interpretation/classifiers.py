"""Fine-tuned classifiers as interpretation reads them: loading, the score that is explained, restoring of state.

A model here is `LAMAR.modeling_nucESM2.EsmForSequenceClassification`, an ensemble of such models
(`LAMAR.interpretation.ensembles.ClassifierEnsemble`), or any module with their interface: called with
``(input_ids, attention_mask)`` or ``(inputs_embeds=..., attention_mask=...)`` it returns an output with ``logits``,
(batch, K); ``get_input_embeddings()`` is its embedding table; ``config`` has ``num_labels`` and ``loss_type``.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from ..batches import EncodedSequences, batched_logits
from ..checkpoints import LoadReport
from ..data.track_calibration import read_calibration
from ..devices import choose_device
from ..errors import InputError
from ..modeling_nucESM2 import EsmForSequenceClassification
from ..runs.checkpoint_folders import CALIBRATION, checkpoints_of
from ..tasks import task_of
from ..trained_heads import load_trained_classifier
from .edits import EditedSequences
from .ensembles import ClassifierEnsemble, merge_reports
from .methods import SCALES

__all__ = [
    "PREDICTED",
    "default_scale",
    "load_classifier",
    "model_task",
    "predict_logits",
    "resolve_region",
    "resolve_scale",
    "resolve_targets",
    "scores",
    "target_scores",
    "undisturbed",
    "unexplainable",
]

logger = logging.getLogger(__name__)

PREDICTED = "predicted"


def load_classifier(
    model_path: str | Path, *, attention: str = "sdpa"
) -> tuple[EsmForSequenceClassification | ClassifierEnsemble, LoadReport]:
    """Load a fine-tuned classifier from a checkpoint, or all folds or draws of a run as one ensemble.

    Parameters
    ----------
    model_path : path
        Checkpoint folder or weights file, or the folder of a fine-tuning run or one above it (see
        `LAMAR.runs.checkpoint_folders.checkpoints_of`). A run with several checkpoints (``fold_0`` ..., ``draw_0``
        ...) becomes a `ClassifierEnsemble`, whose logits are the mean over them; the log says so.
    attention : str, default "sdpa"
        Attention backend, see `LAMAR.flash_attn_patch.resolve_backend`.

    Returns
    -------
    model : EsmForSequenceClassification or ClassifierEnsemble
        float32, in evaluation mode, on the CPU. ``model.calibration`` is the `LAMAR.statistics.calibration.Calibration`
        of the checkpoint's ``calibration.json``, None where it has none; an ensemble has none.
    report : LoadReport
        Of all checkpoints together.

    Raises
    ------
    InputError
        When there is no checkpoint, or its head was never trained: no head in the file, or no ``head_trained`` in
        ``config.json``. An attribution of a random head has no meaning. Whether the training collapsed is not checked
        here, see `LAMAR.training.collapse`.
    """
    folders = checkpoints_of(model_path)
    loaded = [_load_checkpoint(folder, attention) for folder in folders]
    names, run = [folder.name for folder in folders], folders[0].parent
    if len(loaded) == 1:
        if folders != [Path(model_path)]:
            logger.info("%s: a run with one checkpoint, %s, which is explained", run, names[0])
        return loaded[0]
    models, reports = zip(*loaded)
    logger.info(
        "%s: a run with %d checkpoints; the mean of their logits is explained: %s", run, len(names), ", ".join(names)
    )
    return ClassifierEnsemble(models, names).eval(), merge_reports(str(model_path), names, reports)


def _load_checkpoint(path: Path, attention: str) -> tuple[EsmForSequenceClassification, LoadReport]:
    model, report = load_trained_classifier(path, attention=attention)
    calibrated = (Path(path) / CALIBRATION).is_file()
    model.calibration = read_calibration(path, list(model.config.id2label.values())) if calibrated else None
    return model, report


def model_task(model: torch.nn.Module) -> str:
    """Return the task of a model, ``classification``, ``multilabel`` or ``regression`` (see `LAMAR.tasks.task_of`)."""
    return task_of(model.config.num_labels, model.config.loss_type)


def default_scale(task: str) -> str:
    """Return the scale that is explained by default: ``log_odds``; for regression ``logit``, the predicted value."""
    return "logit" if task == "regression" else "log_odds"


def resolve_scale(scale: str | None, task: str) -> str:
    """Return ``scale``, or the task's default for None.

    Raises
    ------
    InputError
        For a scale that is unknown or that the task does not have.
    """
    if scale is None:
        return default_scale(task)
    if scale not in SCALES:
        raise InputError(f"`scale`: found {scale!r}, wanted one of {', '.join(SCALES)}")
    if task == "regression" and scale != "logit":
        raise InputError(f"`scale`: found {scale}, but the model predicts a number; wanted logit, that number")
    return scale


def resolve_targets(logits: np.ndarray, target: int | str | None, task: str) -> np.ndarray:
    """Return the class that is explained for each sequence; it is kept however the sequence is changed.

    Parameters
    ----------
    logits : ndarray, shape (n, K)
        Logits of the unchanged sequences.
    target : int, "predicted" or None
        A class; ``predicted`` for the class with the largest logit; None for class 1 of two, else ``predicted``.
    task : str
        See `LAMAR.tasks.task_of`.

    Returns
    -------
    ndarray of int64, shape (n,)

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
        raise InputError(f"`target`: found {target}, wanted a class from 0 to {n_labels - 1}, or {PREDICTED}")
    return np.full(n, target, dtype=np.int64)


def resolve_region(region: tuple[int, int] | None, length: int) -> tuple[int, int]:
    """Return start and end of the part of a sequence to explain, by default the whole of it.

    Raises
    ------
    InputError
        For a range that a sequence of ``length`` nucleotides does not have.
    """
    if region is None:
        return 0, length
    try:
        start, end = (operator.index(position) for position in region)
    except (TypeError, ValueError):
        raise InputError(f"`region`: found {region!r}, wanted two whole numbers, (start, end)") from None
    if not 0 <= start < end <= length:
        raise InputError(f"`region`: found {start}-{end}, wanted 0 <= start < end <= {length}, the sequence's length")
    return start, end


def target_scores(logits: torch.Tensor, targets: torch.Tensor, scale: str, task: str) -> torch.Tensor:
    """Return the number that is explained; differentiable.

    Parameters
    ----------
    logits : Tensor, shape (..., K)
    targets : Tensor of int64, shape (...)
        Class of each row.
    scale : str
        ``logit``: of the class, as the model gives it. ``probability``: softmax, or the sigmoid of several yes/no
        labels. ``log_odds``: natural logarithm of p / (1 - p); with two classes the difference of their logits, with
        more the logit minus the log-sum-exp of the others, with yes/no labels the logit itself.
    task : str
        See `LAMAR.tasks.task_of`.

    Returns
    -------
    Tensor of float32, shape (...)
    """
    logits = logits.float()
    index = targets.unsqueeze(-1)
    target_logits = logits.gather(-1, index).squeeze(-1)
    if scale == "logit" or (scale == "log_odds" and task == "multilabel"):
        return target_logits
    if task == "multilabel":
        return target_logits.sigmoid()
    if scale == "probability":
        return logits.softmax(-1).gather(-1, index).squeeze(-1)
    return target_logits - logits.scatter(-1, index, -torch.inf).logsumexp(-1)


def scores(logits: np.ndarray, target: int, scale: str, task: str) -> np.ndarray:
    """Return `target_scores` of an array (..., K) for one class: float32, shape (...). NaN stays NaN."""
    values = torch.from_numpy(np.asarray(logits, dtype=np.float32))
    targets = torch.full(values.shape[:-1], int(target), dtype=torch.int64)
    return target_scores(values, targets, scale, task).numpy()


@contextmanager
def undisturbed(model: torch.nn.Module, device: str | torch.device | None = None) -> Iterator[torch.device]:
    """Put the model in evaluation mode on a device, without parameter gradients, and restore its state afterwards.

    Each module's mode, each parameter's ``requires_grad`` and the device are restored, also after an error. Autocast is
    off inside: scores are float32.

    Yields
    ------
    torch.device
        The device that `LAMAR.devices.choose_device` chose.
    """
    chosen, original = choose_device(model, device), next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval().requires_grad_(False).to(chosen)
        with torch.autocast(chosen.type, enabled=False):
            yield chosen
    finally:
        model.to(original)
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in gradients:
            parameter.requires_grad_(requires_grad)


def predict_logits(
    model: torch.nn.Module,
    sequences: EncodedSequences | EditedSequences,
    *,
    token_budget: int | None = None,
    device: str | torch.device | None = None,
    progress: str | None = None,
    bf16: bool = False,
) -> np.ndarray:
    """Return the logits of encoded sequences through the one inference loop (`LAMAR.batches.batched`).

    Parameters
    ----------
    model : Module
        See the module's text; its state is restored.
    sequences : EncodedSequences or EditedSequences
        n encoded sequences.
    token_budget, progress
        See `LAMAR.batches.batched`.
    device
        See `LAMAR.devices.choose_device`.
    bf16 : bool
        Run the model in bfloat16.

    Returns
    -------
    ndarray of float32, shape (n, K)

    Raises
    ------
    InputError
        For logits that are not finite.
    """
    with undisturbed(model, device):
        logits = batched_logits(model, sequences, token_budget=token_budget, progress=progress, bf16=bf16)
    if not np.isfinite(logits).all():
        raise InputError("`model`: found logits that are not finite; the weights cannot be right")
    return logits


def unexplainable(
    sequence: str, *, window_size: int | None = None, region: tuple[int, int] | None = None
) -> str | None:
    """Return why a normalized sequence cannot be explained, as words that follow its name; None when it can.

    Length is no reason: rotary positions have no limit.

    Parameters
    ----------
    sequence : str
        Letters of ``ACGTN``.
    window_size : int, optional
        Length of masked windows, nt.
    region : (int, int), optional
        Range to explain, 0-based half-open.
    """
    length = len(sequence)
    if set(sequence) == {"N"}:
        return "found only N, wanted nucleotides"
    if window_size is not None and length < window_size:
        return f"found {length} nucleotides, fewer than `window_size` {window_size}"
    if region is not None and region[1] > length:
        return f"found {length} nucleotides, `region` {region[0]}-{region[1]} ends behind them"
    if region is not None and set(sequence[slice(*region)]) == {"N"}:
        return f"found only N in `region` {region[0]}-{region[1]}, wanted nucleotides"
    return None
