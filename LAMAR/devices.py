"""Choice of the device that a model runs on, and the check of an argument with a few possible values."""

from __future__ import annotations

import torch

from .errors import InputError, quoted

__all__ = ["check_choice", "choose_device"]


def choose_device(model: torch.nn.Module, device: str | torch.device | None = None) -> torch.device:
    """Return the device to run on: ``device`` if given, else the model's accelerator, else a CUDA device, else the CPU.

    Parameters
    ----------
    model : torch.nn.Module
    device : str or torch.device, optional
        ``cpu``, ``cuda`` or ``cuda:<number>``.

    Raises
    ------
    InputError
        For a device that is unknown or not visible.
    """
    current = next(model.parameters()).device
    if device is None:
        return torch.device("cuda") if current.type == "cpu" and torch.cuda.is_available() else current
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise InputError(f"`device`: found {quoted(device)}, wanted cpu, cuda or cuda:<number>") from None
    if chosen.type not in ("cpu", "cuda") or (chosen.type == "cpu" and chosen.index):
        raise InputError(f"`device`: found {quoted(device)}, wanted cpu, cuda or cuda:<number>")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(f"`device`: found {device}, but {torch.cuda.device_count()} CUDA devices are visible")
    return chosen


def check_choice(argument: str, value: str, wanted: tuple[str, ...]) -> None:
    """Raise an `InputError` that names the argument, unless ``value`` is one of ``wanted``.

    Parameters
    ----------
    argument : str
        As it stands in messages: a parameter in backticks.
    value : str
    wanted : tuple of str
    """
    if value not in wanted:
        raise InputError(f"{argument}: found {quoted(value)}, wanted one of {', '.join(wanted)}")
