"""Sizes in configuration files, which are compared with the tensors before memory is taken for a model."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from checkpoint_calls import KEY, refused, write
from tiny_models import tiny
from transformers import AutoModel

from LAMAR import checkpoints, memory_limits
from LAMAR.checkpoints import build_model, infer_config, load_pretrained, read_config
from LAMAR.errors import InputError
from LAMAR.memory_limits import memory_limit
from LAMAR.modeling_nucESM2 import (
    EsmConfig,
    EsmForMaskedLM,
    EsmForSequenceClassification,
    EsmModel,
    count_parameters,
    named_config,
)


@pytest.fixture
def folder(tmp_path):
    """A masked LM of the smallest configuration, saved; and no model of its size may be built."""
    tiny(EsmForMaskedLM).save_pretrained(tmp_path)
    return tmp_path


def rewrite(folder, **fields) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


@pytest.fixture
def no_model(monkeypatch):
    def build(*arguments):
        raise AssertionError("a model was built")

    monkeypatch.setattr(checkpoints, "build_model", build)


@pytest.mark.parametrize(
    ("field", "size", "stored"),
    [
        ("num_hidden_layers", 1024, 3),
        ("num_hidden_layers", 2, 3),
        ("intermediate_size", 2**20, 256),
        ("vocab_size", 2**20, 10),
        ("hidden_size", 2**14, 64),
    ],
)
def test_sizes_are_compared_before_a_model_is_built(field, size, stored, folder, no_model):
    rewrite(folder, **{field: size})
    message = f"{folder}: config.json has {field} {size}, the tensors have {stored}"
    refused(lambda: load_pretrained(EsmForMaskedLM, folder), message)
    refused(lambda: EsmForMaskedLM.from_pretrained(folder), message)
    refused(lambda: AutoModel.from_pretrained(folder), message)


@pytest.mark.parametrize("fields", [{"head_channels": 2**12}, {"head_kernel_size": 2**12}])
def test_heads_are_compared_before_a_model_is_built(fields, tmp_path, no_model):
    tiny(EsmForSequenceClassification, head_type="cnn", head_channels=4).save_pretrained(tmp_path)
    rewrite(tmp_path, **fields)
    refused(lambda: load_pretrained(EsmForSequenceClassification, tmp_path), "classifier.conv.weight: found shape")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 2**20}, "hidden_size 1048576 x hidden_size 1048576: wanted at most 1073741824 values"),
        ({"head_channels": 2**20}, "hidden_size 768 x head_channels 1048576 x head_kernel_size 7: wanted at most"),
        ({"head_kernel_size": 2**20}, "hidden_size 768 x head_channels 64 x head_kernel_size 1048576: wanted at most"),
        ({"vocab_size": 2**20, "hidden_size": 1536}, "vocab_size 1048576 x hidden_size 1536: wanted at most"),
        ({"num_labels": 2**20, "hidden_size": 1536}, "hidden_size 1536 x num_labels 1048576: wanted at most"),
        ({"num_hidden_layers": 2**20}, "num_hidden_layers: found 1048576, wanted a whole number from 1 to 1024"),
        ({"per_layer_config": {"0": {"hidden_size": 2**20}}}, "per_layer_config: found sizes of single blocks"),
    ],
)
def test_sizes_that_no_model_has(fields, message):
    with pytest.raises(InputError, match=f"config: {message}"):
        EsmConfig(**fields)


def test_sizes_of_single_blocks_are_refused_in_files(folder):
    rewrite(folder, per_layer_config={"1": {"intermediate_size": 2**20}})
    refused(lambda: load_pretrained(EsmForMaskedLM, folder), "config.json: config: per_layer_config: found")
    with pytest.raises(InputError, match="per_layer_config: found"):
        AutoModel.from_pretrained(folder)


def test_a_model_larger_than_memory_is_refused(tmp_path, monkeypatch):
    config = named_config("lamar-tiny")
    n_parameters = count_parameters(build_model(EsmForMaskedLM, config, 0))
    monkeypatch.setattr(checkpoints, "memory_limit", lambda: 4 * n_parameters - 1)
    refused(
        lambda: load_pretrained(EsmForMaskedLM, "", config=config), "`config`: a model of these sizes needs 0.0 GiB"
    )
    monkeypatch.setattr(checkpoints, "memory_limit", lambda: 4 * n_parameters)
    load_pretrained(EsmForMaskedLM, "", config=config)
    monkeypatch.undo()
    deep = EsmConfig(hidden_size=8192, num_attention_heads=64, intermediate_size=2**17, num_hidden_layers=1024)
    refused(lambda: load_pretrained(EsmModel, "", config=deep), "needs 9,", "GiB for its parameters")


def test_memory_limit_is_the_least_that_the_system_says(tmp_path, monkeypatch):
    machine = memory_limit()
    assert machine > 2**28
    monkeypatch.setattr(memory_limits, "CGROUP_LIMIT", tmp_path / "memory.max")
    (tmp_path / "memory.max").write_text("1048576\n")
    assert memory_limit() == 2**20
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_limit() >= machine


def test_a_number_in_a_name_makes_no_deep_model(model_tensors):
    name = "esm.encoder.layer.999999999.output.dense.bias"
    refused(lambda: infer_config({**model_tensors, name: torch.zeros(64)}), "found block 999999999 in a file of")


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_transformers_way_converts_no_other_dtypes(dtype, folder):
    tensors = {name: tensor.clone() for name, tensor in tiny(EsmForMaskedLM).state_dict().items()}
    tensors[f"esm.{KEY}"] = tensors[f"esm.{KEY}"].to(dtype)
    write(tensors, folder / "model.safetensors")
    found = {torch.int8: "I8", torch.float8_e4m3fn: "F8_E4M3"}[dtype]
    refused(lambda: EsmModel.from_pretrained(folder), f"found esm.{KEY} ({found})")
    shutil.move(write(tensors, folder / "weights.bin"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    refused(lambda: EsmModel.from_pretrained(folder), f"found esm.{KEY} ({dtype})")


def test_read_config_gives_what_was_saved(folder):
    assert read_config(folder / "config.json").num_hidden_layers == 3
