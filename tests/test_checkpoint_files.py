"""Reading of weights files: every form that is accepted, and every damage that must be refused."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import warnings

import pytest
import torch
from checkpoint_calls import KEY, assert_same_weights, refused, write
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from LAMAR import checkpoint_files
from LAMAR.checkpoint_files import read_state_dict, stored_heads, stored_tensors
from LAMAR.checkpoints import load_pretrained
from LAMAR.errors import InputError
from LAMAR.modeling_nucESM2 import EsmForMaskedLM, EsmModel
from LAMAR.runs.storage import sha256_file


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt", ".pth", ".ckpt"])
def test_every_file_form_gives_the_same_model(suffix, parity_tensors, tmp_path):
    file = write(parity_tensors, tmp_path / f"weights{suffix}")
    model, report = load_pretrained(EsmForMaskedLM, file)
    assert_same_weights(model, parity_tensors)
    assert report.source == str(file)
    assert report.sha256 == sha256_file(file)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_state_dict_inside_a_training_checkpoint(key, parity_tensors, tmp_path):
    file = tmp_path / "epoch3.pt"
    torch.save({key: parity_tensors, "epoch": 3}, file)
    model, _ = load_pretrained(EsmForMaskedLM, file)
    assert_same_weights(model, parity_tensors)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_folders(name, parity_folder, parity_tensors, tmp_path):
    write(parity_tensors, tmp_path / name)
    shutil.copy(parity_folder / "config.json", tmp_path)
    model, report = load_pretrained(EsmForMaskedLM, tmp_path)
    assert_same_weights(model, parity_tensors)
    assert report.sha256 == sha256_file(tmp_path / name)


def test_sharded_folder(parity_folder, parity_tensors, tmp_path):
    model, _ = load_pretrained(EsmForMaskedLM, parity_folder)
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    loaded, report = load_pretrained(EsmForMaskedLM, tmp_path)
    assert_same_weights(loaded, parity_tensors)
    assert len(report.matched) == len(model.state_dict())
    assert len(report.sha256) == 64
    # The digest stands for all shards.
    tensors = load_file(shards[-1])
    name = sorted(tensors)[0]
    tensors[name] = tensors[name] + 1
    save_file(tensors, shards[-1])
    assert load_pretrained(EsmForMaskedLM, tmp_path)[1].sha256 != report.sha256

    shards[0].unlink()
    refused(lambda: read_state_dict(tmp_path), "names shards that do not exist", shards[0].name)


def test_sharded_pickles(parity_tensors, tmp_path):
    names = sorted(parity_tensors)
    parts = {"a.bin": names[: len(names) // 2], "b.bin": names[len(names) // 2 :]}
    for file, part in parts.items():
        torch.save({name: parity_tensors[name] for name in part}, tmp_path / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    model, _ = load_pretrained(EsmForMaskedLM, tmp_path)
    assert_same_weights(model, parity_tensors)
    torch.save({name: parity_tensors[name] for name in [*parts["b.bin"], names[0]]}, tmp_path / "b.bin")
    refused(lambda: read_state_dict(tmp_path), "b.bin: tensors that another shard has too", names[0])


BROKEN = ["{}", "[]", "{", '{"weight_map": []}', "[" * 100_000]
BROKEN += [f'{{"weight_map": {{"a": {name}}}}}' for name in ('"../a.bin"', '".."', '"/a.bin"', '""', "3", '"a\\u0000"')]


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: content[:40])
def test_broken_index(content, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    refused(lambda: read_state_dict(tmp_path), "model.safetensors.index.json")


def test_path_that_does_not_exist(tmp_path):
    for path in (tmp_path / "no", str(tmp_path / "no.safetensors"), " "):
        refused(lambda p=path: load_pretrained(EsmModel, p), "no such file or folder")


def test_empty_folder(tmp_path):
    refused(
        lambda: load_pretrained(EsmModel, tmp_path), "no weights found, wanted model.safetensors, pytorch_model.bin"
    )


def test_unknown_suffix(tmp_path):
    (tmp_path / "weights.h5").write_bytes(b"")
    refused(lambda: load_pretrained(EsmModel, tmp_path / "weights.h5"), "found suffix '.h5', wanted .safetensors")


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_truncated_files(suffix, kept, model_tensors, tmp_path):
    file = write(model_tensors, tmp_path / f"weights{suffix}")
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    refused(lambda: load_pretrained(EsmForMaskedLM, file), f"weights{suffix}", "truncated")


@given(data=st.data())
@settings(max_examples=60)
def test_damaged_files_are_refused_or_read_never_a_crash(damaged_from, data):
    content, file = damaged_from
    spoilt = bytearray(content[: data.draw(st.integers(0, len(content)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if spoilt:
            spoilt[data.draw(st.integers(0, min(len(spoilt), 4000) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(spoilt)
    # Anything but an InputError fails the test.
    with contextlib.suppress(InputError):
        read_state_dict(file)


@pytest.fixture(scope="module", params=["zip", "legacy", "safetensors"])
def damaged_from(request, tmp_path_factory):
    """Bytes of a small valid file, and the path for a damaged copy."""
    base = tmp_path_factory.mktemp("damaged")
    tensors = {f"layer.{i}.weight": torch.full((4, 4), float(i)) for i in range(6)}
    file = base / ("weights.safetensors" if request.param == "safetensors" else "weights.bin")
    if request.param == "safetensors":
        save_file(tensors, file)
    else:
        torch.save(tensors, file, _use_new_zipfile_serialization=request.param == "zip")
    return file.read_bytes(), file


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {0: torch.zeros(2)}, torch.zeros(3), {"a": {"b": 1}}])
def test_pickles_that_are_no_state_dict(content, tmp_path):
    torch.save(content, tmp_path / "weights.pt")
    refused(lambda: load_pretrained(EsmModel, tmp_path / "weights.pt"), "wanted a state dict")


def test_file_without_tensors(tmp_path):
    torch.save({}, tmp_path / "weights.pt")
    refused(lambda: load_pretrained(EsmModel, tmp_path / "weights.pt"), "holds no tensors")


class Payload:
    """Writes a file when unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt"])
@pytest.mark.parametrize("form", ["torch", "legacy", 2, 4], ids=str)
def test_code_in_a_pickle_is_refused_and_not_run(form, suffix, model_tensors, tmp_path):
    marker, file = tmp_path / "marker", tmp_path / f"weights{suffix}"
    content = {**model_tensors, "esm.payload": Payload(marker)}
    if form in (2, 4):  # a plain pickle of this protocol; of the second torch would have more to say
        file.write_bytes(pickle.dumps(Payload(marker), protocol=form))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "torch")
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        refused(lambda: load_pretrained(EsmForMaskedLM, file), "holds more than plain tensors")
    assert not remarks
    assert not marker.exists()
    # Unpickled without precautions, the payload does run.
    pickle.loads(pickle.dumps(Payload(marker))).close()
    assert marker.exists()


# ------------------------------------------------------------------------------------- tensors of other kinds

# What a tensor of a file may be instead of a dense one of floating point, and what the message says.
KINDS = {
    "COO": (lambda x: x.to_sparse(), "found layout torch.sparse_coo, wanted a dense tensor"),
    "CSR": (lambda x: x.to_sparse_csr(), "found layout torch.sparse_csr, wanted a dense tensor"),
    "BSC": (lambda x: x.to_sparse_bsc((2, 2)), "found layout torch.sparse_bsc, wanted a dense tensor"),
    "nested": (lambda x: torch.nested.nested_tensor(list(x)), "found a nested tensor, wanted a dense one"),
    "meta": (lambda x: x.to("meta"), "found a tensor of device meta, wanted one with values"),
    "one value everywhere": (lambda x: torch.zeros(1).expand(64, 64), "found shape [64, 64] of fewer stored values"),
    "overlapping rows": (
        lambda x: x.as_strided((64, 64), (1, 1)).clone().new_zeros(127).as_strided((64, 64), (1, 1)),
        "found shape [64, 64] of fewer stored values",
    ),
    "float8_e4m3fn": (lambda x: x.to(torch.float8_e4m3fn), "found dtype torch.float8_e4m3fn, wanted floating point"),
    "float8_e5m2": (lambda x: x.to(torch.float8_e5m2), "found dtype torch.float8_e5m2, wanted floating point"),
    "complex": (lambda x: x.to(torch.complex64), "found dtype torch.complex64, wanted floating point of 16, 32 or 64"),
}


@pytest.mark.filterwarnings("ignore:Sparse|The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_tensors_of_other_kinds(kind, model_tensors, tmp_path):
    change, fragment = KINDS[kind]
    name = f"esm.{KEY}"
    file = write({**model_tensors, name: change(model_tensors[name])}, tmp_path / "weights.pt")
    refused(lambda: load_pretrained(EsmForMaskedLM, file), f"{name}: {fragment}")
    if "dtype" in fragment:
        return
    # Where the tensor would be left out, too: nothing of such a file is understood.
    leftover = write({**model_tensors, "esm.embeddings.position_ids": change(torch.rand(64, 64))}, file)
    refused(lambda: load_pretrained(EsmModel, leftover), f"esm.embeddings.position_ids: {fragment}")


def test_rotary_frequencies_of_another_dtype(model_tensors, tmp_path):
    name = "esm.encoder.layer.0.attention.self.rotary_embeddings.inv_freq"
    frequencies = (10000.0 ** -(torch.arange(0, 16, 2) / 16)).to(torch.float8_e5m2)
    file = write({**model_tensors, name: frequencies}, tmp_path / "weights.safetensors")
    refused(lambda: load_pretrained(EsmForMaskedLM, file), f"{name}: found dtype torch.float8_e5m2")


@pytest.mark.parametrize("name", ["lm_head.\udc80", "esm.\n", "classifier.\x1b[31m"])
def test_names_that_cannot_be_written(name, model_tensors, tmp_path):
    file = write({**model_tensors, name: torch.zeros(1)}, tmp_path / "weights.pt")
    refused(lambda: load_pretrained(EsmModel, file), f"found a tensor named {name!a}, wanted a name of printable")


# ---------------------------------------------------------------------------------------------- names alone


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_heads_are_told_from_names_alone(suffix, model_tensors, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    name = "model.safetensors" if suffix == ".safetensors" else "pytorch_model.bin"
    tensors = {**model_tensors, "module.classifier.out_proj.weight": torch.zeros(2, 64).half()}
    file = write(tensors, folder / name)
    for function in ("load_file", "sha256_file"):  # nothing of the values is read
        monkeypatch.delattr(checkpoint_files, function)
    assert stored_heads(folder) == stored_heads(file) == ("masked-LM head", "classification head")
    stored = stored_tensors(folder)
    assert stored["module.classifier.out_proj.weight"] == ("F16", (2, 64))
    assert stored[f"esm.{KEY}"] == ("F32", (64, 64))
    assert stored.keys() == tensors.keys()
    write({KEY: torch.zeros(2, 2)}, file)
    assert stored_heads(folder) == ()
    file.write_bytes(file.read_bytes()[:40])
    refused(lambda: stored_heads(folder), "truncated")
