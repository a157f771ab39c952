"""Weights files for tests, and what a call that must be refused says."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from LAMAR.checkpoints import load_pretrained
from LAMAR.errors import InputError
from LAMAR.modeling_nucESM2 import EsmForMaskedLM

# An encoder tensor, under the bare encoder's name.
KEY = "encoder.layer.1.attention.self.key.weight"


def write(state, path):
    """Write a state dict to a file of the kind that the suffix names."""
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    else:
        torch.save(state, path)
    return path


def assert_same_weights(model, state) -> None:
    """Assert that the model's tensors are those of the state dict (upstream's names), bit for bit."""
    prefix = "" if hasattr(model, "esm") else "esm."
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[prefix + name]), name


def refused(call, *fragments) -> str:
    """Return the message of the one-line InputError that the call ends with."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message
    return message


def load_state(state, tmp_path, model_class=EsmForMaskedLM, **arguments):
    return load_pretrained(model_class, write(state, tmp_path / "weights.safetensors"), **arguments)
