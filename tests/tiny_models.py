"""Small models with random weights, batches for them, and the distance of two outputs."""

from __future__ import annotations

import torch
from torch import nn

from LAMAR.errors import InputError
from LAMAR.flash_attn_patch import BACKENDS, resolve_backend
from LAMAR.modeling_nucESM2 import EsmModel, named_config

BACKEND_TOLERANCE = 5e-5
CPU_BACKENDS = ("eager", "sdpa")


def available_backends() -> list[str]:
    """Backends that can run on this machine."""

    def is_available(name: str) -> bool:
        try:
            return resolve_backend(name) == name
        except InputError:
            return False

    return [name for name in BACKENDS if is_available(name)]


def randomise(model: nn.Module, seed: int = 0, scale: float = 0.15) -> nn.Module:
    """Draw every parameter, norms and biases included, so that a swapped or missing tensor changes the output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0.0, scale, generator=generator)
            if "norm" in name.lower() and name.endswith("weight"):
                parameter.add_(1.0)
    return model.eval()


def random_batch(lengths, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids of records of these lengths (special tokens included) with N and <mask> among them, padded right."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.full((len(lengths), max(lengths)), 1)
    for row, length in zip(ids, lengths):
        row[:length] = torch.randint(4, 10, (length,), generator=generator)
        row[0], row[length - 1] = 0, 2
    return ids, ids.ne(1).long()


def tiny(model_class=EsmModel, backend: str = "sdpa", seed: int = 0, **fields):
    config = named_config("lamar-tiny", attn_implementation=backend, **fields)
    return randomise(model_class(config), seed)


def states(model, ids, mask) -> list[torch.Tensor]:
    with torch.no_grad():
        return list(model(ids, mask, output_hidden_states=True).hidden_states)


def largest_difference(found, wanted, mask) -> float:
    """Largest absolute difference on positions that are not padding."""
    keep = mask.bool()
    assert len(found) == len(wanted)
    return max(float((f[keep] - w[keep]).abs().max()) for f, w in zip(found, wanted))
