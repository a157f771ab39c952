"""What every Hugging Face ``Trainer`` here has in common: arguments, whole checkpoints, processes."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import fields
from pathlib import Path
from shutil import rmtree

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from ..errors import InputError
from ..runs.storage import read_json, write_json

__all__ = [
    "COMPLETE",
    "KeepBestAndLast",
    "check_precision",
    "check_reporters",
    "checkpoint_step",
    "complete_checkpoints",
    "discard_broken_checkpoints",
    "last_complete_checkpoint",
    "mark_complete",
    "processes_argument",
    "remove_checkpoint",
    "silence",
    "training_arguments",
    "world_size",
]

logger = logging.getLogger(__name__)

COMPLETE = "complete"  # in a checkpoint folder that is wholly on disk
SIZES = "sizes.json"  # of its files, so that one that was lost or cut since is found


class KeepBestAndLast(TrainerCallback):
    """Marks a checkpoint as whole once all of it is on disk, and only then removes those it makes superfluous.

    In place of the Trainer's ``save_total_limit``, which deletes the last whole checkpoint before the new one is known
    to be whole, and tells them apart by the time of their folders.
    """

    def on_train_begin(self, args, state, control, **kwargs):
        # A checkpoint holds the path of its first start; the folder may have been moved since.
        if state.best_global_step:
            state.best_model_checkpoint = str(_checkpoint(args, state.best_global_step))

    def on_save(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            last = _checkpoint(args, state.global_step)
            mark_complete(last, {})
            for path in _checkpoints(last.parent):
                if checkpoint_step(path) not in (state.global_step, state.best_global_step):
                    remove_checkpoint(path)


def _checkpoint(args: TrainingArguments, step: int) -> Path:
    return Path(args.output_dir) / f"checkpoint-{step}"


def checkpoint_step(checkpoint: Path) -> int:
    """Optimiser steps that a checkpoint of the Trainer was made after."""
    return int(checkpoint.name.split("-")[1])


def mark_complete(checkpoint: Path, state: dict) -> None:
    """Write down the sizes of a checkpoint's files, and, last of all, ``state`` as the mark that it is whole.

    Other processes may still be writing theirs.
    """
    others = re.compile(r"rng_state_[1-9]\d*\.pth")
    files = (file for file in checkpoint.iterdir() if file.is_file() and not others.fullmatch(file.name))
    write_json(checkpoint / SIZES, {file.name: file.stat().st_size for file in files})
    write_json(checkpoint / COMPLETE, state)


def remove_checkpoint(checkpoint: Path) -> None:
    """Delete a checkpoint, its mark first: half of one never passes for a whole one."""
    (checkpoint / COMPLETE).unlink(missing_ok=True)
    # A file that something has open stays on some network file systems; that is no reason to stop training.
    rmtree(checkpoint, ignore_errors=True)


def _fault(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be used, or None."""
    if not (checkpoint / COMPLETE).exists():
        return "incomplete (the run was stopped while writing or deleting it)"
    if not (checkpoint / SIZES).exists():
        return f"damaged ({SIZES} is gone)"
    for name, size in read_json(checkpoint / SIZES).items():
        if not (checkpoint / name).is_file():
            return f"damaged ({name} is gone)"
        if (found := (checkpoint / name).stat().st_size) != size:
            return f"damaged ({name} has {found} bytes, wanted {size})"
    best = read_json(checkpoint / TRAINER_STATE_NAME)["best_global_step"]
    if best and best != checkpoint_step(checkpoint) and (fault := _fault(checkpoint.with_name(f"checkpoint-{best}"))):
        return f"without its best epoch: checkpoint-{best} is {fault}"
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of the Trainer, oldest first; copies under other names are the user's."""
    found = (path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name))
    return sorted(found, key=checkpoint_step)


def _faults(folder: Path) -> dict[Path, str | None]:
    """Checkpoints in ``folder``, oldest first, each with what is wrong with it."""
    return {path: _fault(path) for path in _checkpoints(folder)}


def complete_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of the Trainer that are whole, oldest first."""
    return [path for path, fault in _faults(folder).items() if not fault]


def last_complete_checkpoint(folder: Path) -> Path | None:
    """Newest checkpoint of the Trainer that is whole, or None."""
    return next(reversed(complete_checkpoints(folder)), None)


def discard_broken_checkpoints(folder: Path) -> None:
    """Delete checkpoints that no training can go on from, with a warning: new ones will have their names."""
    for path, fault in _faults(folder).items():
        if fault:
            logger.warning("%s is %s; removed", path, fault)
            remove_checkpoint(path)


def training_arguments(options, folder: Path, **more) -> TrainingArguments:
    """Arguments of every Trainer here: the options that all have, devices, and what its defaults would spoil.

    Parameters
    ----------
    options
        `LAMAR.training.fitting.FitOptions` or `LAMAR.training.pretraining.PretrainOptions`.
    folder
        Of the checkpoints.
    more
        Arguments of the one Trainer.
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
        ddp_backend=("nccl" if cuda else "gloo") if world_size() > 1 else None,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=cuda,
        remove_unused_columns=False,
        label_names=["labels"],
        log_level="error",
        # The filter would replace a NaN loss in the log by the last finite one.
        logging_nan_inf_filter=False,
        report_to=[] if options.report_to == "none" else options.report_to.split(","),
        disable_tqdm=not options.progress,
        seed=options.seed,
        **more,
    )
    # Several GPUs are used through torchrun; left to itself the Trainer would give each a batch, or a part of one.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def check_precision(fp16: bool, bf16: bool) -> None:
    """:class:`InputError` for a precision that this device cannot train in."""
    if fp16 and not torch.cuda.is_available():
        raise InputError("--fp16 needs a CUDA device and none is visible; leave it out to train in float32")
    if fp16 and bf16:
        raise InputError("--fp16 and --bf16: found both, wanted one")
    if bf16 and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        raise InputError("--bf16: this CUDA device has no bfloat16; leave it out, or give --fp16")


def check_reporters(names: str) -> None:
    """:class:`InputError` unless this is ``none`` or services that are installed, joined by commas."""
    from transformers.integrations import get_available_reporting_integrations

    known = get_available_reporting_integrations()
    for source in names.split(",") if names != "none" else ():
        if source not in known:
            raise InputError(
                f"--report_to: found {source!r}, wanted none alone{''.join(f' or {name}' for name in known)}"
            )


def processes_argument(n: int) -> dict[str, int]:
    """What several processes add to the arguments that a run must be gone on with: they divide steps and batches."""
    return {"processes": n} if n > 1 else {}


def _checkpointing_arguments(wanted: bool) -> dict:
    """Gradient checkpointing under the name that this version of transformers has for it."""
    if not wanted:
        return {}
    names = {field.name for field in fields(TrainingArguments)}
    name = "activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}


def silence(trainer: Trainer) -> None:
    """Take out the callback that prints every log entry."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)


def world_size() -> int:
    """Processes of this run, as torchrun says."""
    return int(os.environ.get("WORLD_SIZE", "1"))
