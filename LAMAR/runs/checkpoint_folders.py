"""Checkpoint folders that a path stands for: a checkpoint itself, or the folds or draws of a fine-tuning run."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

from ..errors import InputError, shortened

__all__ = ["CALIBRATION", "INDEX_FILES", "SINGLE_FILES", "checkpoints_of", "fold_names", "subfolders"]

WEIGHTS = "model.safetensors"
# Files that make a folder a checkpoint: all weights in one, or the index of several.
SINGLE_FILES = (WEIGHTS, "pytorch_model.bin")
INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
CALIBRATION = "calibration.json"  # of a model with one output per track
# What a run calls its models: folds of a cross-validation, or draws of few records.
_KINDS = ("fold", "draw")
_DEPTH = 2  # levels of folders above a run that may stand for it


def fold_names(run: str | PathLike) -> list[str]:
    """Return the names of a run's checkpoint folders, ``fold_0`` ... or ``draw_0`` ..., in numerical order.

    Folders without weights, those of folds that are not trained yet, are left out; the list is empty where ``run`` is
    no run of fine-tuning.
    """
    for kind in _KINDS:
        folders = (file.parent.name for file in Path(run).glob(f"{kind}_*/{WEIGHTS}"))
        matches = (re.fullmatch(rf"{kind}_([0-9]+)", name) for name in folders)
        numbers = sorted(int(match[1]) for match in matches if match)
        if numbers:
            return [f"{kind}_{number}" for number in numbers]
    return []


def checkpoints_of(path: str | PathLike) -> list[Path]:
    """Return the checkpoints that ``path`` stands for.

    Parameters
    ----------
    path : path
        Weights file, checkpoint folder, or the folder of a fine-tuning run, also one or two levels above the run: the
        ``output_dir`` of ``finetune_rbp.py`` has the run in a folder of the data set's name.

    Returns
    -------
    list of Path
        The folds or draws of a run in numerical order; ``[path]`` for anything else, including a path that does not
        exist, which the loader reports.

    Raises
    ------
    InputError
        The folder holds several runs.
    """
    path = Path(path)
    if any((path / name).is_file() for name in (*SINGLE_FILES, *INDEX_FILES)):
        return [path]
    runs, level = [], [path]
    for _ in range(_DEPTH + 1):
        runs += (found := [folder for folder in level if fold_names(folder)])
        level = [inner for folder in level if folder not in found for inner in subfolders(folder)]
    if len(runs) > 1:
        names = shortened(run.relative_to(path) for run in runs)
        raise InputError(f"`model_path`: {path} holds {len(runs)} runs, wanted one of them: {names}")
    return [run / name for run in runs for name in fold_names(run)] or [path]


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
