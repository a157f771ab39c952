"""What every Hugging Face ``Trainer`` here has in common: arguments, whole checkpoints, processes."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import fields
from pathlib import Path

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from .errors import InputError
from .storage import read_json, write_json

__all__ = [
    "COMPLETE",
    "MarkComplete",
    "check_precision",
    "check_reporters",
    "checkpointing_arguments",
    "complete_checkpoints",
    "device_arguments",
    "last_complete_checkpoint",
    "note_sizes",
    "silence",
    "world_size",
]

logger = logging.getLogger(__name__)

COMPLETE = "complete"  # in a checkpoint folder that is wholly on disk
SIZES = "sizes.json"  # of its files, so that one that was lost or cut since is found


class MarkComplete(TrainerCallback):
    """Puts a marker in each checkpoint once all of it is on disk, so that a half-written one is never resumed."""

    def on_save(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            note_sizes(checkpoint)
            (checkpoint / COMPLETE).touch()


def note_sizes(checkpoint: Path) -> None:
    """Write down the sizes of a checkpoint's files; other processes may still be writing theirs."""
    others = re.compile(r"rng_state_[1-9]\d*\.pth")
    files = (file for file in checkpoint.iterdir() if file.is_file() and not others.fullmatch(file.name))
    write_json(checkpoint / SIZES, {file.name: file.stat().st_size for file in files})


def _fault(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be used, or None."""
    if not (checkpoint / COMPLETE).exists():
        return "incomplete (the run was stopped while writing it)"
    sizes = read_json(checkpoint / SIZES) if (checkpoint / SIZES).exists() else {}
    for name, size in sizes.items():
        if not (checkpoint / name).is_file():
            return f"damaged ({name} is gone)"
        if (found := (checkpoint / name).stat().st_size) != size:
            return f"damaged ({name} has {found} bytes, wanted {size})"
    return None


def complete_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of the Trainer that are whole, oldest first; others are left aside with a warning."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    faults = {path: _fault(path) for path in found}
    for path, fault in faults.items():
        if fault:
            logger.warning("%s is %s; ignored", path, fault)
    return [path for path in found if not faults[path]]


def last_complete_checkpoint(folder: Path) -> Path | None:
    """Newest checkpoint of the Trainer that is whole, or None."""
    return next(reversed(complete_checkpoints(folder)), None)


def device_arguments() -> dict:
    """Arguments of every Trainer here: devices, processes, and what its defaults would spoil."""
    cuda = torch.cuda.is_available()
    return {
        "use_cpu": not cuda,
        "ddp_backend": ("nccl" if cuda else "gloo") if world_size() > 1 else None,
        "ddp_find_unused_parameters": False,
        "dataloader_pin_memory": cuda,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "log_level": "error",
        # The filter would replace a NaN loss in the log by the last finite one.
        "logging_nan_inf_filter": False,
    }


def check_precision(fp16: bool, bf16: bool) -> None:
    """:class:`InputError` for a precision that this device cannot train in."""
    if fp16 and not torch.cuda.is_available():
        raise InputError("--fp16 needs a CUDA device and none is visible; leave it out to train in float32")
    if fp16 and bf16:
        raise InputError("--fp16 and --bf16: found both, wanted one")
    if bf16 and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        raise InputError("--bf16: this CUDA device has no bfloat16; leave it out, or give --fp16")


def check_reporters(names: str) -> None:
    """:class:`InputError` unless these, joined by commas, are ``none`` or services that are installed."""
    from transformers.integrations import get_available_reporting_integrations

    known = ("none", *get_available_reporting_integrations())
    for source in names.split(","):
        if source not in known:
            raise InputError(f"--report_to: found {source!r}, wanted {' or '.join(known)}")


def checkpointing_arguments(wanted: bool) -> dict:
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
