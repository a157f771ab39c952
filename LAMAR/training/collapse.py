"""Fine-tuning that came to nothing: what kind of collapse it was, and what may help."""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..runs.storage import read_json

__all__ = ["collapse_of", "diagnose", "warn_of_collapse"]

logger = logging.getLogger(__name__)

# Probabilities whose spread is below this say the same of every record.
_CONSTANT_SPREAD = 1e-3
# Fewer optimiser steps than this may be too few to learn anything in.
_FEW_STEPS = 50
# What may help, by kind of collapse and by the argument that it is about.
_ADVICE = {
    "nan_loss": {
        "--lr": "a lower --lr",
        "--grad_clipping_norm": "--grad_clipping_norm 1.0",
        "--fp16": "no --fp16",
    },
    "constant_predictions": {
        "--warmup_epochs": "--warmup_epochs 5 (the head first)",
        "--lr": "a lower --lr",
        "--pretrain_path": "pretrained weights (--pretrain_path)",
        "--seed": "another --seed",
    },
    "loss_stuck": {
        "--warmup_epochs": "--warmup_epochs 5 (the head first)",
        "--head": "--head cnn",
        "--lr": "another --lr",
        "--epochs": "more --epochs",
        "--pretrain_path": "pretrained weights (--pretrain_path)",
    },
}


def diagnose(
    history: list[dict],
    labels: np.ndarray,
    predictions: np.ndarray,
    task: str,
    not_finite: bool,
    loss_type: str = "ce",
    *,
    settled: Collection[str] = (),
    n_steps: int | None = None,
) -> dict | None:
    """Name a collapsed run, or return None.

    Parameters
    ----------
    history
        Log entries with ``loss`` (training).
    labels
        Training labels, for the loss of a model that only knows class frequencies (ln 2 when balanced).
    predictions
        Predictions on held-out records, as :func:`probabilities` gives them.
    settled
        Arguments (``--head`` ...) that are already what would be advised.
    n_steps
        Optimiser steps, those of a warm-up included; None where that is not known.

    Returns
    -------
    None, or a dict with ``kind`` (``nan_loss``, ``constant_predictions`` or ``loss_stuck``), ``evidence``, ``try``.
    """

    def collapse(kind: str, evidence: str) -> dict:
        advice = {name: text for name, text in _ADVICE[kind].items() if name not in settled}
        if n_steps is not None and n_steps < _FEW_STEPS and kind != "nan_loss":
            evidence += f"; {n_steps} optimiser steps are too few to tell a collapse from too short a training"
            advice = {"--epochs": "more --epochs"} | advice
        *others, last = advice.values()
        return {"kind": kind, "evidence": evidence, "try": f"{', '.join(others)} or {last}" if others else last}

    if not_finite or not np.isfinite(predictions).all():
        return collapse("nan_loss", "the loss or a prediction became NaN or infinite")
    spread = float(np.ptp(predictions, axis=0).max())
    scale = float(np.std(labels)) if task == "regression" else 1.0
    if spread < _CONSTANT_SPREAD * max(scale, 1e-12):
        return collapse("constant_predictions", f"predictions of all records lie within {spread:.2g}")
    losses = [entry["loss"] for entry in history if "loss" in entry]
    # Other losses than cross-entropy have other levels of knowing nothing.
    if task != "classification" or loss_type != "ce" or not losses:
        return None
    share = np.bincount(labels) / len(labels)
    chance = float(-(share[share > 0] * np.log(share[share > 0])).sum())
    final = float(np.mean(losses[-max(1, len(losses) // 5) :]))
    # The last training losses are a few noisy batches; a model that learnt shows it in its best validation loss.
    best = min((entry["eval_loss"] for entry in history if "eval_loss" in entry), default=final)
    if min(final, best) > 0.985 * chance:
        evidence = f"training loss ended at {final:.4f}; knowing class frequencies alone gives {chance:.4f}"
        return collapse("loss_stuck", evidence)
    return None


def collapse_of(checkpoint: str | Path) -> dict[str, str]:
    """Diagnosis that ``finetune_rbp.py`` left beside a checkpoint whose training collapsed.

    Parameters
    ----------
    checkpoint
        Its folder, or the weights file in it.

    Returns
    -------
    dict
        ``kind``, ``evidence`` and ``try`` as :func:`LAMAR.training.collapse.diagnose` gives them; empty where training did not
        collapse, or nothing legible says so.
    """
    folder = Path(checkpoint) if Path(checkpoint).is_dir() else Path(checkpoint).parent
    found = None
    with suppress(InputError):
        found = read_json(folder / "eval_results.json")
    collapse = found.get("collapsed") if isinstance(found, dict) else None
    return collapse if isinstance(collapse, dict) and "kind" in collapse else {}  # that of a run maps folds to kinds


def warn_of_collapse(checkpoint: str | Path, what: str) -> str | None:
    """Warn where the checkpoint's training collapsed, with ``what`` before "nothing about binding"; gives the kind."""
    collapse = collapse_of(checkpoint)
    if not collapse:
        return None
    kind, evidence = collapse["kind"], collapse.get("evidence", "no evidence noted")
    logger.warning("%s: its fine-tuning collapsed (%s: %s); %s nothing about binding", checkpoint, kind, evidence, what)
    return kind
