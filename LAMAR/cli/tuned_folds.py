"""Runs of fine-tuning as the geometry of `LAMAR.evaluation.geometry_stages` measures them, which knows no training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..evaluation.geometry_stages import TunedFold
from ..training.finetuned_runs import FinetunedRun, find_runs, fold_encoder, fold_records, open_run

__all__ = ["OpenedFolds", "open_folds"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class OpenedFolds:
    """Folds of some runs, and what ``run.json`` holds of them.

    Attributes
    ----------
    folds : list of TunedFold
    inputs : list of path
        Data files of all runs.
    weights : dict
        SHA-256 of checkpoints and starting weights, by run.
    """

    folds: list[TunedFold]
    inputs: list[Path]
    weights: dict


def open_folds(
    models_dir: Path,
    rbps: Sequence[str] | None = None,
    data_dir: Path | None = None,
    pretrained_weights: Path | None = None,
    records: str = "test",
) -> OpenedFolds:
    """Read runs of ``finetune_rbp.py`` and the records of each of their folds or draws.

    Parameters
    ----------
    models_dir : path
        A run, or a folder of runs.
    rbps : sequence of str, optional
        Names of runs in the folder; None takes all.
    data_dir, pretrained_weights : path, optional
        Where data and starting weights are now; None takes what the runs recorded.
    records : {"test", "all"}
        The test part, else each fold's held-out or validation part; or all records.

    Returns
    -------
    OpenedFolds

    Raises
    ------
    InputError
        For runs that are missing or unfinished, data that are not theirs, or starting weights for runs that all
        started from random weights.
    """
    runs = [open_run(path, data_dir) for path in find_runs(models_dir, rbps)]
    if pretrained_weights is not None:
        from_random = [run.name for run in runs if run.is_from_random()]
        if len(from_random) == len(runs):
            raise InputError(f"`pretrained_weights`: given, but {', '.join(from_random)} started from random weights")
        if from_random:
            started = f"{', '.join(from_random)}, started from random weights"
            logger.warning("`pretrained_weights`: not used for %s", started)
    folds = [_open_fold(run, fold, pretrained_weights, records) for run in runs for fold in run.folds]
    inputs = sorted({file for run in runs for file in run.dataset.files})
    return OpenedFolds(folds, inputs, {run.name: run.weights() for run in runs})


def _open_fold(run: FinetunedRun, fold: str, pretrained_weights: Path | None, records: str) -> TunedFold:
    rows = fold_records(run, fold, records)

    def load(stage: str):
        return fold_encoder(run, fold, stage, pretrained_weights)

    dataset, labels = run.dataset.take(rows), run.class_labels(rows)
    return TunedFold(run.name, fold, run.path, dataset, labels, load, run.collapsed.get(fold, ""))
