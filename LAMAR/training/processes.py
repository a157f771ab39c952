"""The processes of one training run, as torchrun starts them: rank, number, and waiting for each other.

Functions that ask for the rank or the number of processes import no torch, so that scripts can call them first.
"""

from __future__ import annotations

import os

__all__ = [
    "is_main_process",
    "process_count",
    "process_device",
    "process_rank",
    "processes_argument",
    "start_processes",
    "value_of_first_process",
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


def process_device():
    """Return the ``torch.device`` of this process: its own GPU where there is CUDA, else the CPU."""
    return _state().device


def value_of_first_process(value: float, device) -> float:
    """Return the first process's value, so that all processes decide alike; every process must make this call.

    Parameters
    ----------
    value : float
    device : torch.device
        Device of this process, over which the value is sent.
    """
    import torch

    if process_count() == 1:
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    torch.distributed.broadcast(shared, 0)
    return shared.item()


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
