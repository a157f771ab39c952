"""Trainings whose end can be moved: when they end, what they were trained for, and the checkpoint in a run's folder.

The options of such a training have ``max_steps`` (completed), ``max_minutes`` and ``decay_ratio``.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..runs import RunFolder
from ..tokenization import LamarTokenizer
from .schedules import Schedule

__all__ = ["END", "end_by_time", "end_of", "is_trained", "trained_for", "write_checkpoint"]

logger = logging.getLogger(__name__)

END = ("max_steps", "max_minutes")


def end_of(options) -> dict[str, Any]:
    """Return the options that say where a run ends, which may change between its starts."""
    return {name: getattr(options, name) for name in (*END, "decay_ratio")}


def is_trained(trained: Mapping[str, float], options, folder: Path) -> bool:
    """Return whether a model is at the end that the options name.

    Parameters
    ----------
    trained : mapping
        What `trained_for` returned when the model was finished.
    options
        Options of the run now.
    folder : path
        Folder of the model, for the message.

    Raises
    ------
    InputError
        The model is beyond that end: it is not replaced by one that was trained less.
    """
    limits = {name: getattr(options, name) for name in END if getattr(options, name) is not None}
    for name, limit in limits.items():
        if limit < trained[name]:
            raise InputError(
                f"`{name}`: found {limit}, wanted {trained[name]} or more, for which the model in {folder} was "
                "trained; use `overwrite` or another `output_dir`"
            )
    return any(limit == trained[name] for name, limit in limits.items())


def trained_for(steps: int, seconds: float, options) -> dict[str, float]:
    """Return what `is_trained` compares with: a limit that ended the training stands for what it took."""
    minutes, limit = round(seconds / 60, 4), options.max_minutes
    if limit is not None and (minutes > limit or steps < options.max_steps):
        minutes = limit
    return {"max_steps": steps, "max_minutes": minutes}


def end_by_time(schedule: Schedule, step: int, seconds: float, max_minutes: float, decay_ratio: float) -> bool:
    """Move the end of a schedule so that the training takes ``max_minutes``; return whether it was moved.

    Parameters
    ----------
    schedule : Schedule
        Changed in place.
    step : int
        Steps so far.
    seconds : float
        Time in these steps, the same in all processes.
    max_minutes : float
    decay_ratio : float
        Share of the steps with a falling rate; 0 for a schedule that falls from the beginning.
    """
    limit = 60 * max_minutes
    if step < schedule.decay_start and seconds >= (1 - decay_ratio) * limit:
        schedule.end_early(step, decay_ratio)
    elif step >= schedule.decay_start and seconds >= limit:
        schedule.end = step  # the fall began by the number of steps, too late
    else:
        return False
    logger.info("`max_minutes` %g: training ends at step %d", max_minutes, schedule.end)
    return True


def write_checkpoint(model, scratch: Path, run_folder: RunFolder, files: Iterable[Path] = ()) -> None:
    """Put the model, its tokenizer and copies of ``files`` into the run's folder, each file as a whole."""
    staged = scratch / "final"
    shutil.rmtree(staged, ignore_errors=True)
    model.save_pretrained(staged)
    LamarTokenizer().save_pretrained(staged)
    for file in files:
        shutil.copy2(file, staged)
    for file in sorted(staged.iterdir()):
        file.replace(run_folder.file(file.name))
    staged.rmdir()
