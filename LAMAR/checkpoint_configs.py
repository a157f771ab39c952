"""Configurations of checkpoints: read from files, told from tensor shapes, compared with both."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from .checkpoint_files import canonical_name, canonical_state
from .configuration import CONFIGS, EsmConfig, named_config
from .errors import InputError, quoted, shortened
from .runs.storage import read_json_object

__all__ = [
    "check_architecture",
    "check_sizes",
    "config_argument",
    "config_file_of",
    "config_of",
    "infer_config",
    "read_config",
]

# What two configurations must share for one's weights to mean the same in the other.
_ARCHITECTURE = (
    "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size layer_norm_eps rope_theta"
).split()


def _sizes(shapes: Mapping[str, Sequence[int]], source) -> dict[str, int]:
    """Return those sizes of an encoder that shapes by canonical name tell."""
    blocks = {int(match[1]) for name in shapes if (match := re.match(r"esm\.encoder\.layer\.(\d{1,9})\.", name))}
    depth = max(blocks, default=-1) + 1
    # One name with a large number does not make a deep model.
    if depth > len(shapes):
        raise InputError(f"{source}: found block {depth - 1} in a file of {len(shapes)} tensors, not LAMAR weights")
    sizes = {"num_hidden_layers": depth}
    if len(words := shapes.get("esm.embeddings.word_embeddings.weight", ())) == 2:
        sizes["vocab_size"], sizes["hidden_size"] = words
    if len(up := shapes.get("esm.encoder.layer.0.intermediate.dense.weight", ())) == 2:
        sizes["intermediate_size"] = up[0]
    return sizes


def infer_config(state: dict[str, torch.Tensor], source="weights", heads: int | None = None) -> EsmConfig:
    """Return the architecture that tensor shapes tell.

    Shapes do not tell the number of attention heads. It is taken from stored rotary frequencies, else from the named
    configuration of the same shape, else from ``heads``. It is never guessed: a wrong number would load without an
    error and compute nonsense.

    Parameters
    ----------
    state : dict of str to torch.Tensor
        As `read_state_dict` returns it.
    source : path or str
        Where the tensors come from, for messages.
    heads : int, optional
        Number of attention heads according to the caller.

    Raises
    ------
    InputError
        When the tensors are not an ESM-2-style encoder's, or the number of heads cannot be known.
    """
    tensors = {target: tensor for target, (_, tensor) in canonical_state(state, source).items()}
    shape = _sizes({name: tensor.shape for name, tensor in tensors.items()}, source)
    if len(shape) < 4:
        raise InputError(f"{source}: not LAMAR weights (first tensors: {shortened(state, 3)})")
    frequencies = [tensor for name, tensor in tensors.items() if name.endswith("rotary_embeddings.inv_freq")]
    if frequencies:
        head_dim = 2 * frequencies[0].numel()
        if not head_dim or shape["hidden_size"] % head_dim:
            raise InputError(
                f"{source}: {head_dim // 2} rotary frequencies per head do not fit hidden size {shape['hidden_size']}"
            )
        return EsmConfig(**shape, num_attention_heads=shape["hidden_size"] // head_dim)
    for name in CONFIGS:
        config = named_config(name)
        if all(getattr(config, key) == value for key, value in shape.items()):
            return config
    if heads is not None:
        return EsmConfig(**shape, num_attention_heads=heads)
    raise InputError(
        f"{source}: the number of attention heads cannot be told from tensor shapes "
        f"({shape['num_hidden_layers']} x {shape['hidden_size']}); put the model's config.json beside the weights"
    )


def check_sizes(config: EsmConfig, shapes: Mapping[str, Sequence[int]], source) -> None:
    """Raise `InputError` unless an encoder's sizes are those of a file's tensors.

    Compared before a model is built: one of wrong sizes would fill the memory.

    Parameters
    ----------
    config : EsmConfig
    shapes : mapping of str to sequence of int
        Shapes of the file's tensors by their names in the file.
    source : path or str
        File or folder of the tensors, for messages.
    """
    for key, size in _sizes({canonical_name(name): shape for name, shape in shapes.items()}, source).items():
        if getattr(config, key) != size:
            raise InputError(f"{source}: config.json has {key} {getattr(config, key)}, the tensors have {size}")


def config_file_of(path: Path) -> Path:
    """Return the path of the configuration that belongs to a weights file or checkpoint folder."""
    return (path if path.is_dir() else path.parent) / "config.json"


def config_of(path: Path, state: dict[str, torch.Tensor], heads: int | None = None) -> EsmConfig:
    """Return the configuration beside weights, checked against their tensors, else what `infer_config` tells.

    Raises
    ------
    InputError
        The file is not LAMAR's configuration or has other sizes than the tensors, or as in `infer_config`.
    """
    if config_file_of(path).is_file():
        config = read_config(config_file_of(path))
        check_sizes(config, {name: tensor.shape for name, tensor in state.items()}, path)
        return config
    try:
        return infer_config(state, path, heads)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def read_config(path: str | Path) -> EsmConfig:
    """Return the configuration that a JSON file holds; `InputError` names the file and the key that is wrong."""
    fields = read_json_object(Path(path))
    try:
        return EsmConfig(**fields)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {error}") from error


def config_argument(name: str) -> EsmConfig | None:
    """Return the configuration that ``name`` stands for: a name in `CONFIGS`, or a JSON file; None for ""."""
    if name in CONFIGS:
        return named_config(name)
    if name and not Path(name).is_file():
        raise InputError(f"`config`: found {quoted(name)}, wanted one of {', '.join(CONFIGS)}, or a config.json")
    return read_config(name) if name else None


def check_architecture(path: Path, stored: EsmConfig, wanted: Mapping) -> None:
    """Raise `InputError` where a checkpoint's configuration and the wanted fields are not of one architecture."""
    for key in _ARCHITECTURE:
        if key in wanted and getattr(stored, key) != wanted[key]:
            raise InputError(
                f"{path}: checkpoint has {key} {getattr(stored, key)}, the chosen configuration {wanted[key]}"
            )
