"""Classifiers whose head was trained, which are the only ones to predict with."""

from __future__ import annotations

from pathlib import Path

from .checkpoints import LoadReport, load_pretrained
from .errors import InputError
from .modeling_nucESM2 import EsmForSequenceClassification

__all__ = ["load_trained_classifier"]


def load_trained_classifier(
    path: str | Path, *, attention: str = "sdpa"
) -> tuple[EsmForSequenceClassification, LoadReport]:
    """Load a classifier from a checkpoint, and refuse one without a trained head.

    Parameters
    ----------
    path : path
        Checkpoint folder or weights file.
    attention : str
        Attention backend, see `LAMAR.flash_attn_patch.resolve_backend`.

    Returns
    -------
    model : EsmForSequenceClassification
        float32, in evaluation mode, on the CPU.
    report : LoadReport

    Raises
    ------
    InputError
        There is no checkpoint, no head in the file, or no ``head_trained`` in ``config.json``.
    """
    model, report = load_pretrained(EsmForSequenceClassification, path, attention=attention)
    if report.new or not model.config.head_trained:
        why = "the file has no head" if report.new else "config.json does not say head_trained: true"
        raise InputError(
            f"`model_path`: {path}: found no trained classification head ({why}), wanted a fine-tuned classifier, such "
            "as a fold_0 of finetune_rbp.py; predictions of an untrained head, and their attributions, mean nothing"
        )
    return model, report
