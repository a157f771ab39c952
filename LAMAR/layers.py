"""Layer numbers: 0-based indices of the encoder's blocks, negative ones counted from the end."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from .errors import InputError, quoted

__all__ = ["default_layers", "normalize_layer", "resolve_layers"]


def default_layers(n_layers: int) -> tuple[int, ...]:
    """Return the top and the middle block, 11 and 5 of twelve; one number for a model of one block."""
    return tuple(dict.fromkeys((n_layers - 1, (n_layers - 1) // 2)))


def normalize_layer(layer: int, n_layers: int, parameter: str = "layer") -> int:
    """Return the index, from 0, of a block; negative numbers count from the end.

    Parameters
    ----------
    layer : int
    n_layers : int
        Number of the model's blocks.
    parameter : str
        What the caller calls ``layer``, for the message.

    Raises
    ------
    InputError
        For a block that the model does not have.
    """
    try:
        layer = operator.index(layer)
    except TypeError:
        raise InputError(f"`{parameter}`: found {quoted(layer)}, wanted a whole number") from None
    if not -n_layers <= layer < n_layers:
        raise InputError(
            f"`{parameter}`: found {layer}, wanted {-n_layers} to {n_layers - 1} (the model has {n_layers} blocks)"
        )
    return layer % n_layers


def resolve_layers(layers: Sequence[int], n_layers: int) -> tuple[int, ...]:
    """Return 0-based indices of blocks, in the order given.

    Raises
    ------
    InputError
        For a layer that the model does not have, one named twice, or none at all.
    """
    resolved: dict[int, int] = {}
    for layer in layers:
        index = normalize_layer(layer, n_layers, "layers")
        if index in resolved:
            raise InputError(f"`layers`: found {resolved[index]} and {layer}, which are the same layer")
        resolved[index] = layer
    if not resolved:
        raise InputError(f"`layers`: found none, wanted {-n_layers} to {n_layers - 1}")
    return tuple(resolved)
