"""Getting pretrained weights: verified or refused, whole or not there."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM

from LAMAR.checkpoints import build_model, load_pretrained
from LAMAR.configuration import named_config
from LAMAR.modeling_nucESM2 import EsmForMaskedLM, EsmForSequenceClassification


@pytest.fixture(scope="module")
def fetch_lamar(repo_root):
    spec = importlib.util.spec_from_file_location("fetch_lamar", repo_root / "weights" / "fetch_lamar.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model():
    return build_model(EsmForMaskedLM, named_config("lamar-tiny"), seed=5)


@pytest.fixture
def upstream(model, tmp_path):
    """A checkpoint as upstream and DDP write it: other key names, leftovers, no config.json; the path of its file."""
    state = {}
    for name, tensor in model.state_dict().items():
        state[f"module.{name.replace('lm_head.', 'esm.lm_head.')}"] = tensor.clone()
    state["module.esm.embeddings.position_ids"] = torch.arange(12)[None].float()
    (tmp_path / "upstream").mkdir()
    torch.save(state, tmp_path / "upstream" / "pytorch_model.bin")
    return tmp_path / "upstream" / "pytorch_model.bin"


def hub(monkeypatch, upstream, folder, name="weights"):
    """Stand-in for the download: puts the upstream file where the real one would land."""

    def snapshot_download(repository, *, revision, allow_patterns, local_dir):
        assert repository == "zhw-e8/LAMAR"
        assert allow_patterns == [f"{folder}/*"]
        target = local_dir / folder / name
        target.mkdir(parents=True)
        shutil.copy2(upstream, target)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


def test_conversion_keeps_every_value(fetch_lamar, model, upstream, tmp_path, capsys):
    target = tmp_path / "converted"
    assert fetch_lamar.main(["--convert", str(upstream), "--output_dir", str(target)]) == 0
    assert "verified: " in capsys.readouterr().out
    found, report = load_pretrained(EsmForMaskedLM, target)
    assert report.renamed == report.left_out == {}
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name
    record = json.loads((target / "run.json").read_text())
    assert record["weights"]["left_out"] == {
        "module.esm.embeddings.position_ids": "position index buffer; rotary positions need none"
    }
    assert {"config.json", "model.safetensors", "tokenizer_config.json"} <= {path.name for path in target.iterdir()}
    # As any other pretrained weights.
    _, report = load_pretrained(EsmForSequenceClassification, target)
    assert all(name.startswith("classifier.") for name in report.new)


def test_the_shape_is_a_name_or_a_json_file(fetch_lamar, upstream, tmp_path, capsys):
    target, shape = tmp_path / "converted", tmp_path / "shape.json"
    named_config("lamar-mini").to_json_file(shape)
    arguments = ["--convert", str(upstream), "--output_dir", str(target), "--config"]
    assert fetch_lamar.main([*arguments, str(shape)]) == 2
    assert not target.exists()
    assert fetch_lamar.main([*arguments, "tiny"]) == 2
    assert "--config: found 'tiny', wanted one of lamar, lamar-mini, lamar-tiny, or a config.json" in (
        capsys.readouterr().err
    )
    named_config("lamar-tiny").to_json_file(shape)
    assert fetch_lamar.main([*arguments, str(shape)]) == 0
    assert json.loads((target / "config.json").read_text())["hidden_size"] == named_config("lamar-tiny").hidden_size


def test_half_precision_is_stored_and_read_as_single(fetch_lamar, model, upstream, tmp_path):
    target = tmp_path / "half"
    assert fetch_lamar.main(["--convert", str(upstream), "--output_dir", str(target), "--dtype", "float16"]) == 0
    assert {tensor.dtype for tensor in load_file(target / "model.safetensors").values()} == {torch.float16}
    # Small on disk, but a model of it computes in full precision, as pipelines build it, too.
    assert json.loads((target / "config.json").read_text())["dtype"] == "float32"
    assert AutoModelForMaskedLM.from_pretrained(target, dtype="auto").dtype == torch.float32
    found, _ = load_pretrained(EsmForMaskedLM, target)
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor.half().float()), name
    assert EsmForMaskedLM.from_pretrained(target, dtype=torch.float32).dtype == torch.float32


def test_a_classifier_keeps_its_head_and_calibration(fetch_lamar, tmp_path):
    source, target = tmp_path / "source", tmp_path / "half"
    config = named_config("lamar-tiny", num_labels=3, id2label=dict(enumerate("abc")), head_trained=True)
    classifier = EsmForSequenceClassification(config)
    classifier.save_pretrained(source)
    (source / "calibration.json").write_text("{}")
    arguments = ["--convert", str(source), "--output_dir", str(target), "--dtype", "float16"]
    assert fetch_lamar.main(arguments) == 0
    found, report = load_pretrained(EsmForSequenceClassification, target)
    assert not report.new
    assert not report.left_out
    assert (found.config.head_trained, list(found.config.id2label.values())) == (True, ["a", "b", "c"])
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor.half().float()), name
    assert (target / "calibration.json").read_bytes() == (source / "calibration.json").read_bytes()
    made = json.loads((target / "run.json").read_text())["made"]
    assert {"calibration.json", "model.safetensors"} <= made.keys()


def test_download_is_verified_against_the_published_shape(fetch_lamar, model, upstream, tmp_path, monkeypatch, capsys):
    hub(monkeypatch, upstream, "mammalian80D_4096len1mer1sw_80M")
    target = tmp_path / "fetched"
    arguments = ["--context", "4096", "--output_dir", str(target)]
    assert fetch_lamar.main(arguments) == 2  # a tiny model is not the published one
    assert "the chosen configuration" in capsys.readouterr().err
    assert not target.exists()
    assert fetch_lamar.main([*arguments, "--config", "lamar-tiny"]) == 0
    found, _ = load_pretrained(EsmForMaskedLM, target)
    assert torch.equal(found.lm_head.decoder.weight, model.lm_head.decoder.weight)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LocalEntryNotFoundError("no"), "Hugging Face cannot be reached; on a machine with a network run this"),
        (ConnectionError("slow"), r"the download failed \(slow\)"),
    ],
)
def test_without_network_the_way_round_is_told(fetch_lamar, tmp_path, monkeypatch, capsys, error, message):
    def snapshot_download(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert fetch_lamar.main(["--output_dir", str(tmp_path / "new")]) == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in printed if line.startswith("error: ")]) == 1
    assert re.search(message, printed[-1])
    assert "--convert" in printed[-1]
    assert not (tmp_path / "new").exists()


def test_what_does_not_fit_is_refused_and_leaves_nothing(fetch_lamar, model, upstream, tmp_path, capsys):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    broken = {
        "missing": {name: t for name, t in state.items() if "layer.1.attention.self.query" not in name},
        "finite": state | {"esm.encoder.layer.0.output.dense.bias": torch.full((64,), torch.nan)},
        "home": state | {"esm.encoder.adapter.weight": torch.zeros(3)},
        "range": state | {"esm.encoder.layer.0.output.dense.bias": torch.full((64,), 1e6)},
    }
    wanted = {
        "missing": "tensors missing",
        "finite": "not finite",
        "home": "without a place",
        "range": "beyond its range",
    }
    for name, tensors in broken.items():
        file, target = tmp_path / f"{name}.safetensors", tmp_path / name
        save_file(tensors, file)
        arguments = ["--convert", str(file), "--output_dir", str(target), "--dtype", "float16"]
        assert fetch_lamar.main(arguments) == 2
        assert wanted[name] in capsys.readouterr().err
        assert not target.exists()
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_folders_of_others_are_not_replaced(fetch_lamar, upstream, tmp_path, capsys):
    def convert(target, *options):
        return fetch_lamar.main(["--convert", str(upstream), "--output_dir", str(target), *options])

    target = tmp_path / "target"
    assert convert(target) == 0
    assert convert(target) == 2
    assert "is there already" in capsys.readouterr().err
    assert convert(target, "--overwrite") == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert convert(tmp_path / "mine", "--overwrite") == 2
    assert "has files that this script did not make" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.tex").exists()
    (target / "notes.txt").touch()
    assert convert(target, "--overwrite") == 2
    assert (target / "notes.txt").exists()
    (tmp_path / "file").touch()
    capsys.readouterr()
    assert convert(tmp_path / "file" / "x") == 2
    assert "cannot be made" in capsys.readouterr().err
    (target / "notes.txt").unlink()
    assert fetch_lamar.main(["--convert", str(target), "--output_dir", str(target), "--overwrite"]) == 2
    assert "holds what --convert reads" in capsys.readouterr().err
    assert fetch_lamar.main(["--convert", str(target)]) == 2
    assert "--output_dir: not given" in capsys.readouterr().err
