"""Trainings whose end can be moved: when they end, what they were trained for, and the checkpoint in a run's folder.

The options of such a training have ``max_steps`` (completed), ``max_minutes`` and ``decay_ratio``.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, counted
from ..runs import RunFolder
from ..tokenization import LamarTokenizer
from .processes import is_main_process, processes_argument, wait_for_everyone
from .schedules import Schedule

__all__ = [
    "END",
    "begin_training",
    "continue_schedule",
    "earlier_results",
    "end_by_time",
    "end_of",
    "expected_end",
    "open_run",
    "passes_through",
    "save_results",
    "write_checkpoint",
]

logger = logging.getLogger(__name__)

END = ("max_steps", "max_minutes")
MODEL = "model"  # the unit of a run: the folder holds one model, however often the run was extended


def end_of(options) -> dict[str, Any]:
    """Return the options that say where a run ends, which may change between its starts."""
    return {name: getattr(options, name) for name in (*END, "decay_ratio")}


def _is_trained(trained: Mapping[str, float], options, folder: Path) -> bool:
    """Return whether a model is at the end that the options name.

    Parameters
    ----------
    trained : mapping
        What `_trained_for` returned when the model was finished.
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


def _trained_for(steps: int, seconds: float, options) -> dict[str, float]:
    """Return what `_is_trained` compares with: a limit that ended the training stands for what it took."""
    minutes, limit = round(seconds / 60, 4), options.max_minutes
    if limit is not None and (minutes > limit or steps < options.max_steps):
        minutes = limit
    return {"max_steps": steps, "max_minutes": minutes}


def expected_end(schedule: Schedule, step: int, seconds: float, max_minutes: float | None, ends_by_time: bool) -> int:
    """Return the last step of a run, which for one that ends by time follows from its speed.

    Parameters
    ----------
    schedule : Schedule
    step : int
        Steps done.
    seconds : float
        Time that they took.
    max_minutes : float, optional
        Time of the whole run.
    ends_by_time : bool
        Whether the end of ``schedule`` is already that of the time.
    """
    if max_minutes is None or ends_by_time or not seconds:
        return schedule.end
    return min(schedule.end, max(step, round(step * 60 * max_minutes / seconds)))


def open_run(
    output_dir: Path,
    options,
    *,
    inputs: Iterable[Path],
    sha256: str | None,
    overwrite: bool,
    ignore: tuple[str, ...],
    **recorded: Any,
) -> RunFolder:
    """Open the run's folder; refuse an end before that of the model in it while nothing is changed yet.

    Parameters
    ----------
    output_dir : path
    options
        Have ``recorded``, ``seed`` and ``pretrain_path``.
    inputs : iterable of path
        Files that the data were read from.
    sha256 : str, optional
        Checksum of the weights that training starts from.
    overwrite : bool
        Discard an earlier run in the folder.
    ignore : tuple of str
        Arguments that may differ between the starts of a run.
    recorded
        Further arguments that ``run.json`` holds.
    """
    if not overwrite and (earlier := RunFolder(output_dir, is_writer=False).find_unit(MODEL)) is not None:
        _is_trained(earlier["trained"], options, output_dir)
    return RunFolder.open(
        output_dir,
        arguments=options.recorded(**recorded, output_dir=output_dir, **processes_argument()),
        seed=options.seed,
        inputs=inputs,
        weights={"pretrain_path": str(options.pretrain_path), "sha256": sha256},
        overwrite=overwrite,
        ignore=ignore,
        is_writer=is_main_process(),
    )


def earlier_results(run_folder: RunFolder, options) -> dict | None:
    """Return the results of the model in the folder if it is at the end that the options name, else None."""
    unit = run_folder.find_unit(MODEL)
    if unit is None or not _is_trained(unit["trained"], options, run_folder.path):
        return None
    logger.info("trained earlier, nothing to do: %s", counted(unit["results"]["steps"], "step"))
    return unit["results"]


def begin_training(run_folder: RunFolder) -> tuple[Path, Path]:
    """Return the folder of the checkpoints and the path of the log, when all processes may use them.

    From here on the folder counts as unfinished, until `save_results`.
    """
    scratch, log_path = run_folder.folder("checkpoints", is_work=True), run_folder.file("log.csv")
    wait_for_everyone()
    run_folder.drop_unit(MODEL)
    return scratch, log_path


def save_results(run_folder: RunFolder, training, options, results: dict) -> dict:
    """Record that the model is finished, and return its results as all later starts read them.

    ``training`` has the number of ``steps`` and their ``seconds``.
    """
    unit = {"trained": _trained_for(training.steps, training.seconds, options), "results": results}
    return run_folder.save_unit(MODEL, unit)["results"]


def passes_through(
    step: int, stored_schedule: Mapping[str, int], stored_end: Mapping, schedule: Schedule, options
) -> bool:
    """Return whether the run with these options and their schedule would have passed through a checkpoint.

    Parameters
    ----------
    step : int
        Steps after which the checkpoint was written.
    stored_schedule, stored_end : mapping
        Schedule and `end_of` of the run that wrote it.
    schedule : Schedule
        Planned for ``options``.
    options
    """
    return stored_end == end_of(options) or step <= min(stored_schedule["decay_start"], schedule.decay_start)


def continue_schedule(schedule: Schedule, stored_schedule: Mapping[str, int], stored_end: Mapping, options) -> bool:
    """Let a planned schedule continue that of a checkpoint; return whether the options have the same end.

    Parameters
    ----------
    schedule : Schedule
        Planned for ``options``; changed in place.
    stored_schedule, stored_end : mapping
        As in `passes_through`.
    options
    """
    # The warm-up is over or under way; a new end must not change it.
    schedule.warmup = stored_schedule["warmup"]
    if stored_end != end_of(options):
        return False
    schedule.decay_start, schedule.end = stored_schedule["decay_start"], stored_schedule["end"]
    return True


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
