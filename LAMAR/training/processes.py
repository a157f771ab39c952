"""The processes of one training run, as torchrun starts them: rank, number, and waiting for each other.

Only `start_processes` and `wait_for_everyone` import torch, so that scripts can ask for their rank before that.
"""

from __future__ import annotations

import os

__all__ = [
    "is_main_process",
    "process_count",
    "process_rank",
    "processes_argument",
    "start_processes",
    "wait_for_everyone",
]


def process_rank() -> int:
    """Return this process's number among those of the run, from 0."""
    return int(os.environ.get("RANK", "0"))


def process_count() -> int:
    """Return the number of processes of the run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Return whether this is the process that writes the outputs: the only one, or that of rank 0."""
    return process_rank() == 0


def start_processes() -> None:
    """Connect the processes of the run with each other (gloo on CPUs, NCCL on GPUs); one process needs no connection.

    Calling it again has no effect.
    """
    _state()


def wait_for_everyone() -> None:
    """Return once every process of the run has made this call."""
    _state().wait_for_everyone()


def processes_argument() -> dict[str, int]:
    """Return what several processes add to a run's recorded arguments; empty for one process.

    The processes share each step's batches, so that a run can only be resumed with the same number of them.
    """
    return {"processes": process_count()} if process_count() > 1 else {}


def _state():
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
