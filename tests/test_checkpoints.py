"""The weight loader: every form that it accepts, every fault that it must refuse, and what it reports."""

from __future__ import annotations

import json
import logging
import re
import shutil

import numpy as np
import pytest
import torch
from checkpoint_calls import KEY, assert_same_weights, load_state, refused, write

from LAMAR import checkpoints
from LAMAR.checkpoints import LoadReport, build_model, infer_config, load_pretrained, load_weights
from LAMAR.modeling_nucESM2 import (
    EsmConfig,
    EsmForMaskedLM,
    EsmForSequenceClassification,
    EsmModel,
    count_parameters,
    named_config,
)

# ------------------------------------------------------------------------------------------- key forms

FORMS = {
    "upstream": lambda name: name,
    "bare encoder": lambda name: name.removeprefix("esm."),
    "head under esm.": lambda name: name if name.startswith("esm.") else f"esm.{name}",
    "DistributedDataParallel": lambda name: f"module.{name}",
    "torch.compile": lambda name: f"_orig_mod.{name}",
    "both": lambda name: f"module._orig_mod.{name}",
    "both, other way round": lambda name: f"_orig_mod.module.{name}",
    "wrapped bare encoder": lambda name: f"module.{name.removeprefix('esm.')}",
    "wrapped, head under esm.": lambda name: f"module.{name if name.startswith('esm.') else 'esm.' + name}",
    "compiled encoder": lambda name: name.replace("esm.", "esm._orig_mod."),
    "wrapped encoder": lambda name: name.replace("esm.", "esm.module."),
    "compiled blocks": lambda name: re.sub(r"(layer\.\d+)\.", r"\1._orig_mod.", name),
    "compiled head": lambda name: name.replace("lm_head.", "lm_head._orig_mod."),
    "FSDP with recomputed blocks": lambda name: (
        "_fsdp_wrapped_module."
        + re.sub(r"(layer\.\d+)\.", r"\1._fsdp_wrapped_module._checkpoint_wrapped_module.", name)
    ),
    "DeepSpeed": lambda name: f"_forward_module.{name}",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model_class", [EsmModel, EsmForMaskedLM, EsmForSequenceClassification])
def test_every_key_form_gives_the_same_model(form, model_class, parity_tensors, tmp_path):
    renamed = {FORMS[form](name): tensor for name, tensor in parity_tensors.items()}
    assert len(renamed) == len(parity_tensors)
    model, report = load_pretrained(model_class, write(renamed, tmp_path / "weights.safetensors"))
    encoder = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("classifier.")}
    prefix = "" if model_class is EsmModel else "esm."
    for name, tensor in encoder.items():
        wanted = parity_tensors[name if name.startswith("lm_head.") else f"esm.{name.removeprefix('esm.')}"]
        assert torch.equal(tensor, wanted), name
    assert sorted(report.matched) == sorted(encoder)
    # Each tensor of the file is accounted for once.
    used = len(report.matched) + len(report.left_out)
    assert used == len(parity_tensors)
    for old, new in report.renamed.items():
        assert old != new
        assert new in encoder
        assert old in renamed
    own = f"{prefix}{KEY}"
    key_name = FORMS[form](f"esm.{KEY}")
    assert report.renamed.get(key_name) == (None if key_name == own else own)


def test_saved_models_load_whatever_wrote_them(tmp_path):
    config = named_config("lamar-tiny", head_type="cnn", num_labels=3, head_channels=6, head_trained=True)
    model = build_model(EsmForSequenceClassification, config, seed=1)
    model.save_pretrained(tmp_path)
    loaded, report = load_pretrained(EsmForSequenceClassification, tmp_path)
    assert report.new == []
    assert report.renamed == report.left_out == {}
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert (loaded.config.head_type, loaded.config.num_labels, loaded.config.head_trained) == ("cnn", 3, True)


# --------------------------------------------------------------------------------------------- report


def test_report_names_what_was_left_out_and_why(parity_folder, parity_tensors):
    _, report = load_pretrained(EsmModel, parity_folder)
    reasons = {name: report.left_out[name] for name in report.left_out}
    assert reasons["esm.embeddings.position_ids"].startswith("position index")
    assert reasons["esm.embeddings.position_embeddings.weight"].startswith("absolute position table")
    assert "checked" in reasons["esm.encoder.layer.2.attention.self.rotary_embeddings.inv_freq"]
    assert reasons["esm.contact_head.regression.weight"].startswith("contact head")
    assert "masked-LM head" in reasons["lm_head.decoder.weight"]
    assert report.dtypes == {"torch.float32": len(parity_tensors) - 1, "torch.int64": 1}
    assert report.n_parameters == 150_720
    assert json.loads(json.dumps(report.to_dict()))["matched"] == report.matched
    line = report.summary()
    assert "\n" not in line
    for part in ("51 tensors loaded (51 renamed)", "150,720 parameters", "contact head", report.sha256[:12]):
        assert part in line


def test_report_of_a_new_head(parity_folder, caplog):
    with caplog.at_level(logging.INFO, logger="LAMAR.checkpoints"):
        model, report = load_pretrained(EsmForSequenceClassification, parity_folder)
    heads = [name for name in model.state_dict() if name.startswith("classifier.")]
    assert report.new == heads
    assert f"{len(heads)} new ({', '.join(heads)})" in caplog.text
    assert report.seed == 42
    assert model.config.head_trained is False


def test_half_precision_files_become_float32_and_the_report_says_so(model_tensors, tmp_path):
    half = {name: tensor.half() for name, tensor in model_tensors.items()}
    model, report = load_pretrained(EsmForMaskedLM, write(half, tmp_path / "half.safetensors"))
    assert report.dtypes == {"torch.float16": len(model_tensors)}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert_same_weights(model, {name: tensor.half().float() for name, tensor in model_tensors.items()})


def test_half_precision_rotary_frequencies_are_recognised(parity_tensors, tmp_path):
    half = {n: t.half() if t.is_floating_point() else t for n, t in parity_tensors.items()}
    model, _ = load_pretrained(EsmForMaskedLM, write(half, tmp_path / "half.safetensors"))
    assert model.config.num_attention_heads == 4
    assert float(model.esm.encoder.rotary.inverse_frequencies()[1]) == pytest.approx(10000 ** (-1 / 8), rel=1e-6)


# ------------------------------------------------------------------------------------------- refusals


def test_missing_encoder_tensors(model_tensors, tmp_path):
    del model_tensors["esm.encoder.layer.1.LayerNorm.bias"], model_tensors[f"esm.{KEY}"]
    refused(
        lambda: load_state(model_tensors, tmp_path),
        "2 encoder tensors missing",
        f"esm.{KEY}",
        "esm.encoder.layer.1.LayerNorm.bias",
    )


def test_missing_layer(model_tensors, tmp_path):
    short = {name: tensor for name, tensor in model_tensors.items() if ".layer.2." not in name}
    # No named configuration has two layers, so that the number of heads cannot be told.
    refused(lambda: load_state(short, tmp_path), "number of attention heads cannot be told from tensor shapes (2 x 64)")
    refused(
        lambda: load_state(short, tmp_path, config=named_config("lamar-tiny")),
        "checkpoint has num_hidden_layers 2, the chosen configuration 3",
    )
    without = {name: tensor for name, tensor in model_tensors.items() if ".layer.1." not in name}
    refused(lambda: load_state(without, tmp_path), "16 encoder tensors missing")


def test_wrong_shape(model_tensors, tmp_path):
    model_tensors[f"esm.{KEY}"] = torch.zeros(64, 32)
    refused(lambda: load_state(model_tensors, tmp_path), f"esm.{KEY}: found shape [64, 32], wanted [64, 64]")


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool])
def test_wrong_kind_of_dtype(model_tensors, tmp_path, dtype):
    model_tensors[f"esm.{KEY}"] = torch.ones(64, 64, dtype=dtype)
    refused(lambda: load_state(model_tensors, tmp_path), f"esm.{KEY}: found dtype {dtype}, wanted floating point")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite(model_tensors, tmp_path, value):
    model_tensors[f"esm.{KEY}"][3, :2] = value
    refused(lambda: load_state(model_tensors, tmp_path), f"esm.{KEY}: 2 values are not finite")


@pytest.mark.parametrize("value", [1e300, -1e39, 3.5e38])
def test_values_beyond_float32_are_not_finite(model_tensors, tmp_path, value):
    double = {name: tensor.double() for name, tensor in model_tensors.items()}
    model, report = load_state(double, tmp_path)
    assert_same_weights(model, model_tensors)
    assert report.dtypes == {"torch.float64": len(double)}
    double[f"esm.{KEY}"][3, :2] = value
    refused(lambda: load_state(double, tmp_path), f"esm.{KEY}: 2 values are not finite in torch.float32")
    # A model of half precision has a smaller range.
    half = build_model(EsmForMaskedLM, named_config("lamar-tiny"), 0).half()
    model_tensors[f"esm.{KEY}"][0, 0] = 65520.0
    file = write(model_tensors, tmp_path / "weights.bin")
    refused(lambda: load_weights(half, file), f"esm.{KEY}: 1 values are not finite in torch.float16")


@pytest.mark.parametrize(
    "name",
    ["esm.encoder.layer.3.output.dense.weight", "esm.encoder.layer.0.attention.self.gate.weight", "decoder.bias"],
)
def test_tensors_without_a_place(model_tensors, tmp_path, name):
    model_tensors[name] = torch.zeros(64)
    wanted = named_config("lamar-tiny")
    file = write(model_tensors, tmp_path / "weights.safetensors")
    model = build_model(EsmForMaskedLM, wanted, 0)
    refused(lambda: load_weights(model, file), "1 tensors without a place in the model", name)


def test_foreign_rotary_frequencies(model_tensors, parity_tensors, tmp_path):
    name = "esm.encoder.layer.0.attention.self.rotary_embeddings.inv_freq"
    # 8 frequencies are 4 heads of 16; another base, or another head dimension.
    base = 1.0 / 500.0 ** (torch.arange(0, 16, 2) / 16)
    refused(
        lambda: load_state({**model_tensors, name: base}, tmp_path),
        name,
        "rotary frequencies are not those of this model",
    )
    heads = 1.0 / 10000.0 ** (torch.arange(0, 32, 2) / 32)
    refused(
        lambda: load_state({**model_tensors, name: heads}, tmp_path, config=named_config("lamar-tiny")),
        "checkpoint has num_attention_heads 2, the chosen configuration 4",
    )
    model = build_model(EsmForMaskedLM, named_config("lamar-tiny"), 0)
    refused(lambda: load_weights(model, write({**model_tensors, name: heads}, tmp_path / "w.pt")), "rotary frequencies")
    for count in (0, 5, 100):
        refused(
            lambda n=count: load_state({**model_tensors, name: torch.ones(n)}, tmp_path), f"{count} rotary frequencies"
        )


def test_two_names_for_one_tensor(model_tensors, tmp_path):
    model_tensors[KEY] = model_tensors[f"esm.{KEY}"] + 1
    refused(lambda: load_state(model_tensors, tmp_path), KEY, f"are both esm.{KEY}, wanted one of them")


def test_half_a_head(model_tensors, tmp_path):
    del model_tensors["lm_head.decoder.weight"]
    refused(lambda: load_state(model_tensors, tmp_path), "half a head: lm_head.decoder.weight missing")
    # The encoder of such a file is complete.
    _, report = load_state(model_tensors, tmp_path, model_class=EsmModel)
    assert len(report.matched) == 51
    _, report = load_state(model_tensors, tmp_path, new_head=True)
    assert "lm_head.decoder.weight" in report.new


def test_several_faults_are_listed_together(model_tensors, tmp_path):
    del model_tensors["esm.encoder.layer.0.LayerNorm.bias"]
    model_tensors[f"esm.{KEY}"][0, 0] = float("nan")
    refused(lambda: load_state(model_tensors, tmp_path), "1 values are not finite", "1 encoder tensors missing")


def test_file_that_holds_something_else(tmp_path):
    refused(
        lambda: load_state({"conv1.weight": torch.zeros(3, 3), "fc.bias": torch.zeros(3)}, tmp_path),
        "not LAMAR weights",
        "conv1.weight",
    )


# --------------------------------------------------------------------------- configuration of a checkpoint


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_attention_heads", 8),
        ("hidden_size", 128),
        ("num_hidden_layers", 6),
        ("intermediate_size", 128),
        ("layer_norm_eps", 1e-12),
        ("rope_theta", 500.0),
        ("vocab_size", 33),
    ],
)
def test_another_architecture_is_refused_with_the_field_that_differs(field, value, parity_folder):
    wanted = named_config("lamar-tiny", **{field: value})
    found = getattr(named_config("lamar-tiny"), field)
    text = f"checkpoint has {field} {found}, the chosen configuration {value}"
    refused(lambda: load_pretrained(EsmForMaskedLM, parity_folder, config=wanted), text)
    # As an override too: heads and rotary base leave no trace in shapes, and would load and compute nonsense.
    refused(lambda: load_pretrained(EsmForMaskedLM, parity_folder, **{field: value}), text)
    # And for a model that exists already.
    model = build_model(EsmForMaskedLM, wanted, 0)
    refused(lambda: load_weights(model, parity_folder), text)


def test_the_same_architecture_under_another_name_is_accepted(parity_folder, parity_tensors):
    model, _ = load_pretrained(EsmForMaskedLM, parity_folder, config=named_config("lamar-tiny"), num_attention_heads=4)
    assert_same_weights(model, parity_tensors)


def test_architecture_from_shapes(model_tensors, parity_tensors):
    # Rotary frequencies tell the heads; without them the named configuration of that shape does.
    for tensors in (model_tensors, parity_tensors):
        config = infer_config(tensors)
        assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (64, 3, 4)
        assert (config.intermediate_size, config.vocab_size) == (256, 10)


def other_shape(**fields) -> dict[str, torch.Tensor]:
    return build_model(EsmModel, EsmConfig(**fields), 0).state_dict()


def test_heads_that_cannot_be_known(tmp_path):
    fields = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    model_tensors = other_shape(**fields)
    refused(
        lambda: load_state(model_tensors, tmp_path, EsmModel),
        "number of attention heads cannot be told from tensor shapes (2 x 32)",
        "config.json",
    )
    # The caller, a config.json or the file's rotary frequencies can tell them.
    frequencies = {"encoder.layer.0.attention.self.rotary_embeddings.inv_freq": 10000.0 ** -(torch.arange(0, 8, 2) / 8)}
    model, _ = load_state(model_tensors, tmp_path, EsmModel, config=EsmConfig(**fields))
    assert model.config.num_attention_heads == 4
    model, _ = load_state({**model_tensors, **frequencies}, tmp_path, EsmModel)
    assert model.config.num_attention_heads == 4
    EsmConfig(**fields).save_pretrained(tmp_path)
    model, _ = load_state(model_tensors, tmp_path, EsmModel)
    assert model.config.num_attention_heads == 4


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ({"position_embedding_type": "absolute"}, "position_embedding_type: found 'absolute', LAMAR has 'rotary'"),
        ({"position_embedding_type": "absolute", "positional_embedding_type": "rotary"}, "contradicts"),
        ({"is_decoder": True}, "is_decoder: found True"),
        ({"emb_layer_norm_before": True}, "emb_layer_norm_before: found True"),
        ({"hidden_layers": 3}, "unknown keys hidden_layers"),
        ({"num_attention_heads": 0}, "num_attention_heads: found 0"),
        ({"hidden_size": "64"}, "hidden_size: found '64'"),
        ({"max_position_embeddings": "many"}, "max_position_embeddings: found 'many'"),
        ({"num_labels": -3}, "num_labels: found -3"),
        ({"id2label": 5}, "id2label: found 5"),
        ({"id2label": {"a": "bound"}}, "id2label: found {'a': 'bound'}"),
        ({"label2id": 5}, "label2id: found 5"),
        ({"head_trained": "no"}, "head_trained: found 'no'"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers: found 1000000000, wanted a whole number from 1 to 1024"),
        ({"hidden_size": 10**9}, "hidden_size: found 1000000000, wanted a whole number from 1 to 1048576"),
        ({"hidden_size": 0}, "hidden_size: found 0, wanted a whole number from 1"),
    ],
)
def test_config_files_that_are_not_lamars(change, fragment, parity_folder, tmp_path):
    shutil.copy(parity_folder / "model.safetensors", tmp_path)
    fields = json.loads((parity_folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**fields, **change}))
    refused(lambda: load_pretrained(EsmForMaskedLM, tmp_path), "config.json", fragment)


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00"])
def test_config_file_that_is_no_json_object(content, parity_folder, tmp_path):
    shutil.copy(parity_folder / "model.safetensors", tmp_path)
    (tmp_path / "config.json").write_text(content)
    refused(lambda: load_pretrained(EsmForMaskedLM, tmp_path), "config.json")


def test_overrides_reach_the_model(parity_folder):
    model, _ = load_pretrained(
        EsmForSequenceClassification, parity_folder, num_labels=5, head_type="cnn", head_channels=7, loss_type="focal"
    )
    assert model.classifier.out_proj.weight.shape == (5, 7)
    assert (model.config.num_labels, model.config.loss_type) == (5, "focal")
    assert len(model.config.id2label) == 5
    for attention, backend in (("eager", "eager"), ("sdpa", "sdpa"), ("auto", "sdpa")):
        model, _ = load_pretrained(EsmModel, parity_folder, attention=attention)
        assert model.config._attn_implementation == backend
    refused(lambda: load_pretrained(EsmModel, parity_folder, attention="xformers"), "`attention`: found 'xformers'")


def test_nonsense_overrides_are_input_errors(parity_folder):
    refused(lambda: load_pretrained(EsmForSequenceClassification, parity_folder, head_type="transformer"), "head_type")
    refused(lambda: load_pretrained(EsmModel, parity_folder, head_tpye="cnn"), "unknown keys head_tpye")


# ----------------------------------------------------------------------------------------------- heads


def test_new_head_leaves_the_files_head_out(tmp_path):
    config = named_config("lamar-tiny", head_trained=True)
    trained = build_model(EsmForSequenceClassification, config, seed=7)
    trained.save_pretrained(tmp_path)
    kept, _ = load_pretrained(EsmForSequenceClassification, tmp_path)
    assert kept.config.head_trained is True
    fresh, report = load_pretrained(EsmForSequenceClassification, tmp_path, new_head=True, seed=8)
    assert torch.equal(fresh.esm.state_dict()[KEY], trained.esm.state_dict()[KEY])
    assert not torch.equal(fresh.classifier.dense.weight, trained.classifier.dense.weight)
    assert (
        sorted(report.new) == sorted(report.left_out) == [n for n in sorted(fresh.state_dict()) if "classifier." in n]
    )
    # Interpretation refuses heads that were never trained, and this one was not.
    assert fresh.config.head_trained is False
    again, _ = load_pretrained(EsmForSequenceClassification, tmp_path, new_head=True, seed=8)
    assert torch.equal(fresh.classifier.dense.weight, again.classifier.dense.weight)


def test_new_head_may_have_another_form(tmp_path):
    build_model(EsmForSequenceClassification, named_config("lamar-tiny"), 0).save_pretrained(tmp_path)
    model, _ = load_pretrained(EsmForSequenceClassification, tmp_path, new_head=True, num_labels=6)
    assert model.classifier.out_proj.weight.shape == (6, 64)
    # Without new_head, a head of another form is an error.
    refused(
        lambda: load_pretrained(EsmForSequenceClassification, tmp_path, num_labels=6),
        "classifier.out_proj.weight: found shape [2, 64], wanted [6, 64]",
    )
    refused(lambda: load_pretrained(EsmForSequenceClassification, tmp_path, head_type="cnn"), "half a head")


def test_random_heads_are_never_trained_ones():
    model, _ = load_pretrained(
        EsmForSequenceClassification, "", config=named_config("lamar-tiny", head_trained=True), seed=0
    )
    assert model.config.head_trained is False


# ----------------------------------------------------------------------------------- effect on a model


def test_loaded_weights_are_the_files_and_not_the_random_ones(parity_folder, parity_tensors):
    random, _ = load_pretrained(EsmForMaskedLM, "", config=named_config("lamar-tiny"))
    loaded, _ = load_pretrained(EsmForMaskedLM, parity_folder)
    assert_same_weights(loaded, parity_tensors)
    same = [name for name, tensor in random.state_dict().items() if torch.equal(tensor, parity_tensors[name])]
    assert same == []
    assert loaded.training is False


@pytest.mark.parametrize("fault", ["missing", "not finite", "homeless", "shape"])
def test_a_refused_file_leaves_the_model_as_it_was(fault, model_tensors, tmp_path):
    if fault == "missing":
        del model_tensors[f"esm.{KEY}"]
    elif fault == "homeless":
        model_tensors["esm.encoder.layer.0.extra"] = torch.zeros(1)
    else:
        model_tensors[f"esm.{KEY}"] = torch.full((64, 64), float("nan")) if fault == "not finite" else torch.zeros(2, 2)
    model = build_model(EsmForMaskedLM, named_config("lamar-tiny"), 5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    refused(lambda: load_weights(model, write(model_tensors, tmp_path / "weights.bin")))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_load_weights_fills_in_place(parity_folder, parity_tensors):
    model = build_model(EsmForMaskedLM, named_config("lamar-tiny"), 5)
    parameter = model.esm.encoder.layer[0].output.dense.weight
    report = load_weights(model, parity_folder)
    assert isinstance(report, LoadReport)
    assert_same_weights(model, parity_tensors)
    assert model.esm.encoder.layer[0].output.dense.weight is parameter


# ------------------------------------------------------------------------------ random initialisation


def test_empty_path_is_random_and_the_log_says_so(caplog):
    with caplog.at_level(logging.WARNING, logger="LAMAR.checkpoints"):
        model, report = load_pretrained(EsmForMaskedLM, "", config=named_config("lamar-tiny"), seed=9)
    assert caplog.messages == ["random initialisation, seed 9: 155,658 parameters, none pretrained"]
    assert (report.source, report.sha256, report.matched) == ("", "", [])
    assert report.new == list(model.state_dict())
    assert report.seed == 9
    assert report.n_parameters == count_parameters(model) == 155_658


def test_random_weights_follow_the_seed_alone():
    config = named_config("lamar-tiny")
    first, second, other = (
        load_pretrained(EsmForMaskedLM, "", config=config, seed=seed)[0].state_dict() for seed in (1, 1, 2)
    )
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    drawn = [name for name in first if name.endswith("weight") and "norm" not in name.lower()]
    assert len(drawn) == 1 + 3 * 6 + 2
    for name in drawn:
        assert not torch.equal(first[name], other[name]), name


def test_building_leaves_the_callers_random_numbers_alone(parity_folder):
    torch.manual_seed(0)
    np.random.seed(0)
    wanted, numpy_wanted = torch.rand(3), np.random.rand(3)
    torch.manual_seed(0)
    np.random.seed(0)
    build_model(EsmForMaskedLM, named_config("lamar-tiny"), seed=123)
    load_pretrained(EsmForSequenceClassification, parity_folder, seed=4)
    assert torch.equal(torch.rand(3), wanted)
    assert np.array_equal(np.random.rand(3), numpy_wanted)


def test_published_configuration_is_the_default(monkeypatch):
    asked = []

    def build(model_class, config, seed):
        asked.append(config)
        return EsmModel(named_config("lamar-tiny"))

    monkeypatch.setattr(checkpoints, "build_model", build)
    load_pretrained(EsmModel, "")
    assert asked[0].to_dict() == {**named_config("lamar").to_dict()}


def test_messages_name_the_file(model_tensors, tmp_path):
    model_tensors[f"esm.{KEY}"] = torch.zeros(3)
    file = write(model_tensors, tmp_path / "weights.safetensors")
    message = refused(lambda: load_pretrained(EsmForMaskedLM, file))
    assert re.match(re.escape(f"{file}: weights do not fit the model: "), message)
