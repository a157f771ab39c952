"""Fine-tuning that failed: which kind of collapse it was, or that it was too short, and what may help."""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..errors import InputError, counted
from ..runs.storage import read_json
from ..statistics.metrics import auroc

__all__ = ["UNDER_TRAINED", "collapse_of", "diagnose", "warn_of_collapse"]

logger = logging.getLogger(__name__)

UNDER_TRAINED = "under_trained"
# Predictions of all records that differ by less than this, as a share of their scale, are constant.
_CONSTANT_SPREAD = 1e-3
# Fewer optimiser steps than this may be too few to learn anything.
_FEW_STEPS = 50
# Weights begin with a standard deviation of 0.02, and AdamW moves them by about the rate in each step: where the rates
# of all steps add up to less than this, no weight can have gone anywhere.
_SHORT_WAY = 1e-3
# Predictions order records better than chance where a rank test says so with a smaller p-value.
_BEYOND_CHANCE = 1e-3
# What may help, by kind and by the option that it is about.
_ADVICE = {
    "nan_loss": {
        "lr": "a lower `lr`",
        "grad_clipping_norm": "`grad_clipping_norm` 1.0",
        "fp16": "no `fp16`",
    },
    "constant_predictions": {
        "warmup_epochs": "`warmup_epochs` 5 (the head first)",
        "lr": "a lower `lr`",
        "pretrain_path": "pretrained weights (`pretrain_path`)",
        "seed": "another `seed`",
    },
    "loss_stuck": {
        "warmup_epochs": "`warmup_epochs` 5 (the head first)",
        "head": "`head` cnn",
        "lr": "another `lr`",
        "epochs": "more `epochs`",
        "pretrain_path": "pretrained weights (`pretrain_path`)",
    },
    UNDER_TRAINED: {
        "epochs": "more `epochs`",
        "higher_lr": "a higher `lr`",
        "pretrain_path": "pretrained weights (`pretrain_path`)",
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
    judged: np.ndarray | None = None,
    settled: Collection[str] = (),
    n_steps: int | None = None,
    way: float | None = None,
) -> dict[str, str] | None:
    """Return what went wrong in a training, or None where it learned something.

    A model whose loss is that of the class frequencies has collapsed if it had the chance to learn. It had none in few
    steps or at a rate that moves no weight, and it has begun to learn where its predictions order held-out records
    better than chance: such a training is only too short, whatever its loss.

    Parameters
    ----------
    history : list of dict
        Log entries with ``loss`` (training) or ``eval_loss`` (validation).
    labels : int or float, shape (n_train,) or (n_train, n_labels)
        Training labels, for the loss of a model that only knows the class frequencies (ln 2 for two equal classes).
    predictions : float, shape (n,) or (n, k)
        Predictions on held-out records, as `LAMAR.training.fitting.probabilities` gives them.
    task : str
    not_finite : bool
        Whether the loss became NaN or infinite.
    loss_type : str
        A name of `LAMAR.tasks.LOSSES`.
    judged : int, shape (n,), optional
        Classes of the held-out records; None where unknown.
    settled : collection of str
        Options (``head`` ...) that already are what would be advised, and ``higher_lr`` where the rate is high.
    n_steps : int, optional
        Optimiser steps, those of a warm-up included; None where unknown.
    way : float, optional
        Sum of the peak learning rates of all steps; None where unknown.

    Returns
    -------
    dict or None
        ``kind`` (``nan_loss``, ``constant_predictions``, ``loss_stuck`` or `UNDER_TRAINED`), ``evidence``, and ``try``,
        what may help.
    """

    def verdict(kind: str, evidence: str, reason: str | None = None) -> dict[str, str]:
        if reason is not None:
            kind, evidence = UNDER_TRAINED, f"{evidence}; {reason}"
        advice = [text for name, text in _ADVICE[kind].items() if name not in settled]
        *others, last = advice
        return {"kind": kind, "evidence": evidence, "try": f"{', '.join(others)} or {last}" if others else last}

    if not_finite or not np.isfinite(predictions).all():
        return verdict("nan_loss", "the loss or a prediction became NaN or infinite")
    spread = float(np.ptp(predictions, axis=0).max())
    scale = float(np.std(labels)) if task == "regression" else 1.0
    if spread < _CONSTANT_SPREAD * max(scale, 1e-12):
        evidence = f"predictions of all records lie within {spread:.2g}"
        return verdict("constant_predictions", evidence, _too_short(n_steps, way))
    losses = [entry["loss"] for entry in history if "loss" in entry]
    # For other losses than cross-entropy the class frequencies give other levels.
    if task != "classification" or loss_type != "ce" or not losses:
        return None
    share = np.bincount(labels) / len(labels)
    chance = float(-(share[share > 0] * np.log(share[share > 0])).sum())
    final = float(np.mean(losses[-max(1, len(losses) // 5) :]))
    # The last training losses are a few noisy batches; what a model learned shows in its best validation loss.
    best = min((entry["eval_loss"] for entry in history if "eval_loss" in entry), default=final)
    if min(final, best) > 0.985 * chance:
        evidence = f"training loss ended at {final:.4f}; knowing class frequencies alone gives {chance:.4f}"
        return verdict("loss_stuck", evidence, _too_short(n_steps, way) or _order(judged, predictions))
    return None


def _too_short(n_steps: int | None, way: float | None) -> str | None:
    """Return why no training of that many steps at that rate learns anything, or None."""
    if n_steps is not None and n_steps < _FEW_STEPS:
        return f"{counted(n_steps, 'optimiser step')} can teach a model little"
    if way is not None and way < _SHORT_WAY:
        return f"at this `lr` no weight can have moved by more than about {way:.1g}"
    return None


def _order(judged: np.ndarray | None, predictions: np.ndarray) -> str | None:
    """Return how far predictions of classes order held-out records beyond chance, or None where they do not."""
    if judged is None or len(np.unique(judged)) < predictions.shape[1]:
        return None
    from scipy.stats import mannwhitneyu

    columns = range(predictions.shape[1]) if predictions.shape[1] > 2 else [1]
    for column in columns:
        inside = judged == column
        test = mannwhitneyu(predictions[inside, column], predictions[~inside, column], alternative="greater")
        if test.pvalue < _BEYOND_CHANCE / len(columns):
            area = auroc(judged, predictions)
            return f"but its predictions order {counted(len(judged), 'held-out record')} with an AUROC of {area:.3f}"
    return None


def collapse_of(checkpoint: str | Path) -> dict[str, str]:
    """Return the diagnosis that fine-tuning left beside a checkpoint whose training collapsed.

    Parameters
    ----------
    checkpoint : path
        Its folder, or the weights file in it.

    Returns
    -------
    dict
        ``kind``, ``evidence`` and ``try`` as `diagnose` gives them; empty where training did not collapse, or where no
        readable file says so.
    """
    folder = Path(checkpoint) if Path(checkpoint).is_dir() else Path(checkpoint).parent
    figures = None
    with suppress(InputError):
        figures = read_json(folder / "eval_results.json")
    collapse = figures.get("collapsed") if isinstance(figures, dict) else None
    # In the figures of a whole run it maps folds to kinds.
    return collapse if isinstance(collapse, dict) and isinstance(collapse.get("kind"), str) else {}


def warn_of_collapse(checkpoint: str | Path, what: str) -> str | None:
    """Log a warning where the checkpoint's training collapsed, and return the kind of collapse.

    Parameters
    ----------
    checkpoint : path
        As for `collapse_of`.
    what : str
        Subject and verb of the warning's end, "... nothing about binding".
    """
    collapse = collapse_of(checkpoint)
    if not collapse:
        return None
    kind, evidence = collapse["kind"], collapse.get("evidence", "no evidence noted")
    logger.warning("%s: its fine-tuning collapsed (%s: %s); %s nothing about binding", checkpoint, kind, evidence, what)
    return kind
