"""What every Hugging Face ``Trainer`` here shares: complete checkpoints, arguments, and checks of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from shutil import rmtree

import torch
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import logging as transformers_logging

from ..errors import InputError
from ..runs.progress import Progress
from ..runs.storage import read_json_object, write_json
from .options import TrainerOptions
from .processes import process_backend

__all__ = [
    "COMPLETE",
    "KeepBestAndLast",
    "ShowProgress",
    "check_precision",
    "check_reporters",
    "checkpoint_step",
    "complete_checkpoints",
    "discard_broken_checkpoints",
    "last_complete_checkpoint",
    "mark_complete",
    "remove_checkpoint",
    "training_arguments",
    "without_file_bars",
]

logger = logging.getLogger(__name__)

COMPLETE = "complete"  # file in a checkpoint folder that is wholly on disk
SIZES = "sizes.json"  # sizes of its files, which show that one was lost or cut since


# ---------------------------------------------------------------------------------------------------- progress


class ShowProgress(TrainerCallback):
    """Shows steps, epoch, loss and validation score of a training counted in epochs, in place of the Trainer's bar.

    Parameters
    ----------
    progress : Progress
        Of optimiser steps; it must be open while the Trainer runs.
    metric : str
        Name of the validation metric to show.
    """

    def __init__(self, progress: Progress, metric: str):
        self.progress, self.metric = progress, metric

    def on_train_begin(self, args, state, control, **kwargs):
        """Take the number of steps, and those of an earlier start."""
        self.progress.total = state.max_steps
        self.progress.resume(state.global_step)

    def on_step_end(self, args, state, control, **kwargs):
        """Count a step."""
        self.progress.advance(1, epoch=f"{state.epoch:.2f} of {args.num_train_epochs:g}")

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Take the loss, or the validation score."""
        logs = logs or {}
        score = {f"validation_{self.metric}": logs.get(f"eval_{self.metric}")}
        self.progress.advance(0, loss=logs.get("loss"), **score)


# ------------------------------------------------------------------------------------------------- checkpoints


class KeepBestAndLast(TrainerCallback):
    """Marks a checkpoint as complete once all of it is on disk, and only then removes those it supersedes.

    This replaces the Trainer's ``save_total_limit``, which deletes the last complete checkpoint before the new one is
    known to be complete, and orders checkpoints by the time of their folders.
    """

    def on_train_begin(self, args, state, control, **kwargs):
        """Find the best checkpoint in the folder of this start."""
        # A checkpoint holds the path of its first start; the folder may have been moved since.
        if state.best_global_step:
            state.best_model_checkpoint = str(_checkpoint(args, state.best_global_step))

    def on_save(self, args, state, control, **kwargs):
        """Mark the new checkpoint, then remove all others but the best."""
        if state.is_world_process_zero:
            last = _checkpoint(args, state.global_step)
            mark_complete(last, {})
            for path in _checkpoints(last.parent):
                if checkpoint_step(path) not in (state.global_step, state.best_global_step):
                    remove_checkpoint(path)


def _checkpoint(args: TrainingArguments, step: int) -> Path:
    return Path(args.output_dir) / f"checkpoint-{step}"


def checkpoint_step(checkpoint: Path) -> int:
    """Return the number of optimiser steps after which a checkpoint of the Trainer was written."""
    return int(checkpoint.name.split("-")[1])


def mark_complete(checkpoint: Path, state: dict) -> None:
    """Record the sizes of a checkpoint's files, and then ``state`` as the mark that it is complete.

    Files that other processes may still be writing are left out.
    """
    of_other_processes = re.compile(r"rng_state_[1-9]\d*\.pth")
    files = (file for file in checkpoint.iterdir() if file.is_file() and not of_other_processes.fullmatch(file.name))
    write_json(checkpoint / SIZES, {file.name: file.stat().st_size for file in files})
    write_json(checkpoint / COMPLETE, state)


def remove_checkpoint(checkpoint: Path) -> None:
    """Delete a checkpoint, its mark first, so that half of one is never taken for a complete one."""
    (checkpoint / COMPLETE).unlink(missing_ok=True)
    # A file that something has open stays on some network file systems; that is no reason to stop training.
    rmtree(checkpoint, ignore_errors=True)


def _fault(checkpoint: Path) -> str | None:
    """Return why a checkpoint cannot be used, or None."""
    if not (checkpoint / COMPLETE).exists():
        return "incomplete (the run was stopped while writing or deleting it)"
    if not (checkpoint / SIZES).exists():
        return f"damaged ({SIZES} is gone)"
    try:
        sizes = read_json_object(checkpoint / SIZES)
        present = {file.name: file.stat().st_size for file in checkpoint.iterdir()}
        for name, size in sizes.items():
            if name not in present:
                return f"damaged ({name} is gone)"
            if present[name] != size:
                return f"damaged ({name} has {present[name]} bytes, wanted {size})"
        best = read_json_object(checkpoint / TRAINER_STATE_NAME).get("best_global_step")
    except InputError as error:
        return f"damaged ({error})"
    if best and best != checkpoint_step(checkpoint) and (fault := _fault(checkpoint.with_name(f"checkpoint-{best}"))):
        return f"without its best epoch: checkpoint-{best} is {fault}"
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of the Trainer, oldest first; copies under other names belong to the user."""
    named = (path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name))
    return sorted(named, key=checkpoint_step)


def _faults(folder: Path) -> dict[Path, str | None]:
    """Return the checkpoints in ``folder``, oldest first, each with what is wrong with it."""
    return {path: _fault(path) for path in _checkpoints(folder)}


def complete_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of the Trainer, oldest first."""
    return [path for path, fault in _faults(folder).items() if not fault]


def last_complete_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint of the Trainer, or None."""
    return next(reversed(complete_checkpoints(folder)), None)


def discard_broken_checkpoints(folder: Path) -> None:
    """Delete checkpoints that no training can resume from, with a warning: new ones will have their names."""
    for path, fault in _faults(folder).items():
        if fault:
            logger.warning("%s is %s; removed", path, fault)
            remove_checkpoint(path)


# --------------------------------------------------------------------------------------------------- arguments


def training_arguments(options: TrainerOptions, folder: Path, **more) -> TrainingArguments:
    """Return the arguments of a Trainer: the options that all share, devices, and replacements of its defaults.

    Parameters
    ----------
    options : TrainerOptions
    folder : path
        Folder of the checkpoints.
    more
        Further arguments of ``TrainingArguments``.
    """
    cuda = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(folder),
        gradient_accumulation_steps=options.accum_steps,
        weight_decay=options.weight_decay,
        adam_beta1=0.9,
        adam_beta2=0.98,
        max_grad_norm=options.grad_clipping_norm,
        fp16=options.fp16,
        bf16=options.bf16,
        **_checkpointing_arguments(options.gradient_checkpointing),
        use_cpu=not cuda,
        ddp_backend=process_backend(),
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=cuda,
        remove_unused_columns=False,
        label_names=["labels"],
        log_level="error",
        # The filter would replace a NaN loss in the log by the last finite one.
        logging_nan_inf_filter=False,
        report_to=[] if options.report_to == "none" else options.report_to.split(","),
        disable_tqdm=True,  # `ShowProgress` and its relatives show more, and also where there is no terminal
        seed=options.seed,
        **more,
    )
    # Several GPUs are used through torchrun; without it the Trainer would give each a batch, or a part of one.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def check_precision(fp16: bool, bf16: bool) -> None:
    """Raise `InputError` for a precision that this device cannot train in."""
    if fp16 and not torch.cuda.is_available():
        raise InputError("`fp16` needs a CUDA device and none is visible; leave it out to train in float32")
    if fp16 and bf16:
        raise InputError("`fp16` and `bf16`: found both, wanted one")
    if bf16 and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        raise InputError("`bf16`: this CUDA device has no bfloat16; leave it out, or use `fp16`")


def check_reporters(report_to: str) -> None:
    """Raise `InputError` unless this is ``none``, or services that are installed, joined by commas."""
    from transformers.integrations import get_available_reporting_integrations

    known = get_available_reporting_integrations()
    for source in report_to.split(",") if report_to != "none" else ():
        if source not in known:
            raise InputError(
                f"`report_to`: found {source!r}, wanted none alone{''.join(f' or {name}' for name in known)}"
            )


def _checkpointing_arguments(wanted: bool) -> dict:
    """Return gradient checkpointing under the name that this version of transformers has for it."""
    if not wanted:
        return {}
    names = {field.name for field in fields(TrainingArguments)}
    name = "activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}


@contextmanager
def without_file_bars() -> Iterator[None]:
    """Hide the progress bars of transformers that count files written."""
    enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()
