"""The processes of one training run, as torchrun starts them: rank, number, and waiting for each other.

Functions that ask for the rank or the number of processes import no torch, so that scripts can call them first.
"""

from __future__ import annotations

import os

__all__ = [
    "is_main_process",
    "process_backend",
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


def process_backend() -> str | None:
    """Return how the processes of the run exchange tensors: ``nccl``, ``gloo``, or None for one process.

    NCCL wants a GPU for each process of a machine. On CPUs, and where processes share a GPU, it is gloo.
    """
    import torch

    if process_count() == 1:
        return None
    n_local = int(os.environ.get("LOCAL_WORLD_SIZE", process_count()))
    return "nccl" if torch.cuda.is_available() and n_local <= torch.cuda.device_count() else "gloo"


def start_processes() -> None:
    """Connect the processes of the run with each other (see `process_backend`); one process needs no connection.

    Calling it again has no effect.
    """
    _state()


def process_device():
    """Return the ``torch.device`` of this process: a GPU where there is CUDA, its own if there are enough, or the CPU.

    Where processes share GPUs, ``LOCAL_RANK`` becomes the number of this process's GPU.
    """
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

    has_gpu, backend = torch.cuda.is_available(), process_backend()
    if has_gpu and backend == "gloo" and "LOCAL_RANK" in os.environ:
        # accelerate uses the local rank as the number of a GPU.
        os.environ["LOCAL_RANK"] = str(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    return PartialState(cpu=not has_gpu, backend=backend)
