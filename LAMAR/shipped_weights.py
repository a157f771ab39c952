"""Where the weights that ship with the repository lie."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError

__all__ = ["WEIGHTS", "shipped_weights"]

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


def shipped_weights(name: str, parameter: str = "pretrain_path") -> Path:
    """Return the checkpoint folder of weights that ship.

    Parameters
    ----------
    name : str
        "lamar-mini-tapt" or the like.
    parameter : str
        Whose default they are, for the message.

    Raises
    ------
    InputError
        They are not there, as in a package that was installed without the repository.
    """
    folder = WEIGHTS / name
    if not (folder / "model.safetensors").is_file():
        raise InputError(
            f"`{parameter}`: not given, and the weights that ship with the repository are not at {folder}; "
            "wanted a weights file or a checkpoint folder"
        )
    return folder
