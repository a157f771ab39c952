"""The forward pass on a GPU: the CPU's hidden states and logits, in float32 and in half precision; loading to it."""

from __future__ import annotations

import shutil
from functools import cache

import pytest
import torch
from gpu_runs import DEVICE, WEIGHTS, check_close, check_parity, pick
from safetensors.torch import load_file, save_file
from tiny_models import random_batch, states
from transformers import AutoModelForMaskedLM

from LAMAR import EsmForMaskedLM, embed, load_pretrained, named_config
from LAMAR.checkpoints import build_model
from LAMAR.errors import InputError

pytestmark = pytest.mark.gpu

MODELS = ("random", "trained")
LENGTHS = {"unpadded": pick([256] * 4, [24] * 2), "padded": pick([514, 103, 260, 3], [40, 17, 3])}
# Of hidden states and logits, as the norm of the difference; smallest cosine of a token's.
LIMITS = {torch.bfloat16: (0.05, 0.99), torch.float16: (0.01, 0.9995)}


def model_of(name: str, attention: str = "sdpa") -> EsmForMaskedLM:
    """Return a masked LM of the published shape with random weights, or the trained one that ships."""
    if name == "trained":
        return load_pretrained(EsmForMaskedLM, WEIGHTS / "lamar-mini", attention=attention)[0]
    config = named_config(pick("lamar", "lamar-tiny"), attn_implementation=attention)
    return build_model(EsmForMaskedLM, config, seed=0).eval()


def outputs(model, ids, mask) -> list[torch.Tensor]:
    """Return every hidden state and the logits (tokens, d), of tokens that are not padding, on the CPU."""
    with torch.no_grad():
        output = model(ids, mask, output_hidden_states=True)
    return [tensor[mask.bool()].float().cpu() for tensor in (*output.hidden_states, output.logits)]


@cache
def on_cpu(name: str, padding: str) -> list[torch.Tensor]:
    return outputs(model_of(name), *random_batch(LENGTHS[padding]))


@pytest.mark.parametrize("padding", LENGTHS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_and_logits_are_those_of_the_cpu(name, attention, padding):
    ids, mask = (tensor.to(DEVICE) for tensor in random_batch(LENGTHS[padding]))
    found = outputs(model_of(name, attention).to(DEVICE), ids, mask)
    *hidden, logits = zip(found, on_cpu(name, padding), strict=True)
    check_parity(f"{name}, {attention}, {padding}, hidden states", *hidden)
    check_parity(f"{name}, {attention}, {padding}, logits", logits)


@pytest.mark.parametrize("weights", ["float32 weights", "weights of that precision"])
@pytest.mark.parametrize("dtype", LIMITS, ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", MODELS)
def test_half_precision_is_near_float32(name, dtype, weights):
    ids, mask = (tensor.to(DEVICE) for tensor in random_batch(LENGTHS["padded"]))
    model = model_of(name).to(DEVICE)
    if weights == "float32 weights":
        with torch.autocast(DEVICE.type, dtype):
            found = outputs(model, ids, mask)
    else:
        found = outputs(model.to(dtype), ids, mask)
    pairs = list(zip(found, on_cpu(name, "padded"), strict=True))[-2:]
    check_close(f"{name}, {dtype}, {weights}, last hidden state and logits", *pairs, limits=LIMITS[dtype])


def test_padding_changes_no_record():
    ids, mask = (tensor.to(DEVICE) for tensor in random_batch(LENGTHS["padded"]))
    model = model_of("trained").to(DEVICE)
    together = states(model, ids, mask)[-1]
    pairs = []
    for row, length in enumerate(LENGTHS["padded"]):
        pairs.append((together[row, :length], states(model, ids[row : row + 1, :length], None)[-1][0]))
    check_parity("records alone and in a padded batch", *pairs)


@pytest.mark.parametrize("loader", [EsmForMaskedLM, AutoModelForMaskedLM])
def test_checkpoints_load_to_the_device(loader):
    model = loader.from_pretrained(WEIGHTS / "lamar-mini", device_map={"": str(DEVICE)})
    assert {(parameter.device.type, parameter.dtype) for parameter in model.parameters()} == {
        (DEVICE.type, torch.float32)
    }
    wanted = model_of("trained").state_dict()
    found = model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name].cpu(), tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize("dtype", LIMITS, ids=["bf16", "fp16"])
def test_checkpoints_load_to_the_device_in_half_precision(dtype):
    model = EsmForMaskedLM.from_pretrained(WEIGHTS / "lamar-mini", device_map={"": str(DEVICE)}, dtype=dtype)
    assert {(parameter.device.type, parameter.dtype) for parameter in model.parameters()} == {(DEVICE.type, dtype)}
    ids, mask = (tensor.to(DEVICE) for tensor in random_batch(LENGTHS["padded"]))
    pair = outputs(model, ids, mask)[-1], on_cpu("trained", "padded")[-1]
    check_close(f"loaded as {dtype}, logits", pair, limits=LIMITS[dtype])


@pytest.mark.parametrize("fault", ["missing", "not finite", "shape"])
def test_weights_that_do_not_fit_are_refused_on_the_device_too(fault, tmp_path):
    for file in ("config.json", "vocab.txt", "tokenizer_config.json"):
        shutil.copy2(WEIGHTS / "lamar-mini" / file, tmp_path)
    state = load_file(WEIGHTS / "lamar-mini" / "model.safetensors")
    name = "esm.encoder.layer.2.attention.self.query.weight"
    if fault == "missing":
        del state[name]
    elif fault == "not finite":
        state[name][0, 0] = torch.nan
    else:
        state[name] = state[name][1:].clone()
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"query\.weight"):
        EsmForMaskedLM.from_pretrained(tmp_path, device_map={"": str(DEVICE)})


def test_a_run_moves_a_model_there_and_back():
    """The model that a call gets stays where it was."""
    model = model_of("trained")
    vectors = embed(model, ["ACGUACGUAA"], device=DEVICE)
    assert next(model.parameters()).device.type == "cpu"
    moved = model.to(DEVICE)
    check_parity("a model that is on the device", (embed(moved, ["ACGUACGUAA"]), vectors), share=1e-6)
    assert next(moved.parameters()).device.type == DEVICE.type
