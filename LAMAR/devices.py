"""Where a model runs, and the check of an argument that has a few values."""

from __future__ import annotations

import torch

from .errors import InputError

__all__ = ["check_choice", "choose_device"]


def choose_device(model: torch.nn.Module, device: str | torch.device | None = None) -> torch.device:
    """Where to run: ``device`` if given, else the model's own accelerator, else a CUDA device, else the CPU.

    Raises
    ------
    InputError
        For a device that is unknown or not there.
    """
    own = next(model.parameters()).device
    if device is None:
        return torch.device("cuda") if own.type == "cpu" and torch.cuda.is_available() else own
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise InputError(f"`device`: found {device!r}, wanted cpu, cuda or cuda:<number>") from None
    if chosen.type not in ("cpu", "cuda") or (chosen.type == "cpu" and chosen.index):
        raise InputError(f"`device`: found {device!r}, wanted cpu, cuda or cuda:<number>")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(f"`device`: found {device}, but {torch.cuda.device_count()} CUDA devices are visible")
    return chosen


def check_choice(argument: str, found: str, wanted: tuple[str, ...]) -> None:
    """:class:`InputError` that names the argument, unless ``found`` is one of ``wanted``."""
    if found not in wanted:
        raise InputError(f"{argument}: found {found!r}, wanted one of {', '.join(wanted)}")
