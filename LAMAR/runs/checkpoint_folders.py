"""Checkpoint folders that a path stands for: a checkpoint itself, or the folds or draws of a fine-tuning run."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

__all__ = ["CALIBRATION", "checkpoints_of", "fold_names"]

WEIGHTS = "model.safetensors"
CALIBRATION = "calibration.json"  # of a model with one output per track
# What a run calls its models: folds of a cross-validation, or draws of few records.
_KINDS = ("fold", "draw")


def fold_names(run: str | PathLike) -> list[str]:
    """Return the names of a run's checkpoint folders, ``fold_0`` ... or ``draw_0`` ..., in numerical order.

    Folders without weights, those of folds that are not trained yet, are left out; the list is empty where ``run`` is
    no run of fine-tuning.
    """
    for kind in _KINDS:
        folders = (file.parent.name for file in Path(run).glob(f"{kind}_*/{WEIGHTS}"))
        numbers = sorted(int(name.removeprefix(f"{kind}_")) for name in folders if re.fullmatch(rf"{kind}_\d+", name))
        if numbers:
            return [f"{kind}_{number}" for number in numbers]
    return []


def checkpoints_of(path: str | PathLike) -> list[Path]:
    """Return the checkpoints that ``path`` stands for.

    Parameters
    ----------
    path : path
        Weights file, checkpoint folder, or the folder of a fine-tuning run.

    Returns
    -------
    list of Path
        The folds or draws of a run in numerical order; ``[path]`` for anything else, including a path that does not
        exist, which the loader reports.
    """
    path = Path(path)
    if (path / WEIGHTS).is_file():
        return [path]
    return [path / name for name in fold_names(path)] or [path]
