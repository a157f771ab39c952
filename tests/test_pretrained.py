"""Initialisation of weights, and transformers' way of loading them, which accepts nothing silently."""

from __future__ import annotations

import json
import logging
import re

import pytest
import torch
from checkpoint_calls import KEY, refused
from safetensors.torch import load_file, save_file
from tiny_models import tiny
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from LAMAR.checkpoints import build_model, load_pretrained
from LAMAR.modeling_nucESM2 import EsmForMaskedLM, EsmForSequenceClassification, EsmModel, named_config

# --------------------------------------------------------------------------------------------- loading


def test_the_encoder_alone_is_read_from_a_masked_lm_checkpoint(tmp_path):
    model = tiny(EsmForMaskedLM)
    model.save_pretrained(tmp_path)
    encoder = AutoModel.from_pretrained(tmp_path)
    assert type(encoder) is EsmModel
    for name, tensor in model.esm.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], tensor), name
    # A new head is allowed, and marked as not trained.
    classifier = EsmForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(
        classifier.esm.encoder.layer[2].output.dense.weight, encoder.encoder.layer[2].output.dense.weight
    )
    assert classifier.config.head_trained is False


def test_a_missing_head_is_never_a_trained_one(tmp_path):
    tiny(EsmForMaskedLM, head_trained=True, window_length=101).save_pretrained(tmp_path)
    config = EsmForSequenceClassification.from_pretrained(tmp_path).config
    assert (config.head_trained, config.window_length) == (False, None)
    tiny(EsmForSequenceClassification, head_trained=True).save_pretrained(tmp_path)
    assert EsmForSequenceClassification.from_pretrained(tmp_path).config.head_trained is True


def test_a_new_head_does_not_claim_the_windows_of_the_old_one(tmp_path):
    tiny(EsmForSequenceClassification, head_trained=True, window_length=101).save_pretrained(tmp_path)
    assert EsmForSequenceClassification.from_pretrained(tmp_path).config.window_length == 101
    kept, _ = load_pretrained(EsmForSequenceClassification, tmp_path)
    assert kept.config.window_length == 101
    fresh, _ = load_pretrained(EsmForSequenceClassification, tmp_path, new_head=True)
    assert fresh.config.window_length is None
    trained_on, _ = load_pretrained(EsmForSequenceClassification, tmp_path, new_head=True, window_length=75)
    assert trained_on.config.window_length == 75


LOADERS = {
    "EsmModel": EsmModel,
    "EsmForMaskedLM": EsmForMaskedLM,
    "AutoModel": AutoModel,
    "AutoModelForMaskedLM": AutoModelForMaskedLM,
}


def gate(tensors):
    tensors["esm.encoder.layer.1.attention.self.gate.weight"] = torch.zeros(64, 64)


def not_a_number(tensors):
    tensors[f"esm.{KEY}"][3, 2] = torch.nan


def infinite(tensors):
    tensors[f"esm.{KEY}"][0, 0] = torch.inf


CHANGES = {
    "missing": (lambda tensors: tensors.pop(f"esm.{KEY}"), rf"missing: (esm\.)?{KEY}"),
    "unexpected": (gate, r"unexpected: (esm\.)?encoder\.layer\.1\.attention\.self\.gate\.weight"),
    "shape": (
        lambda tensors: tensors.update({f"esm.{KEY}": torch.zeros(64, 128)}),
        rf"mismatched: (esm\.)?{KEY} \(found shape \[64, 128\], wanted \[64, 64\]\)",
    ),
    "not a number": (not_a_number, rf"not finite: (esm\.)?{KEY}"),
    "infinite": (infinite, rf"not finite: (esm\.)?{KEY}"),
}


def rewrite(folder, change) -> None:
    """Change the tensors of a saved model."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("options", [{}, {"ignore_mismatched_sizes": True}], ids=["", "sizes ignored"])
@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("change", CHANGES)
def test_an_encoder_that_does_not_fit_is_refused(change, loader, options, tmp_path):
    tiny(EsmForMaskedLM).save_pretrained(tmp_path)
    function, message = CHANGES[change]
    rewrite(tmp_path, function)
    found = refused(lambda: LOADERS[loader].from_pretrained(tmp_path, **options), f"{tmp_path}: weights do not fit")
    assert re.search(message, found)


def test_values_of_a_head_that_are_not_finite_are_refused(tmp_path):
    tiny(EsmForSequenceClassification, head_trained=True).save_pretrained(tmp_path)
    rewrite(tmp_path, lambda tensors: tensors["classifier.out_proj.bias"].fill_(torch.nan))
    refused(lambda: EsmForSequenceClassification.from_pretrained(tmp_path), "not finite: classifier.out_proj.bias")


def test_half_precision_does_not_hide_values_that_overflow_it(tmp_path):
    tiny(EsmForMaskedLM).save_pretrained(tmp_path)
    rewrite(tmp_path, lambda tensors: tensors[f"esm.{KEY}"].fill_(1e6))
    assert EsmForMaskedLM.from_pretrained(tmp_path).dtype == torch.float32
    refused(lambda: EsmForMaskedLM.from_pretrained(tmp_path, dtype=torch.float16), f"not finite: esm.{KEY}")


@pytest.mark.parametrize("loader", LOADERS)
def test_half_precision_files_become_float32_unless_another_dtype_is_asked_for(loader, tmp_path):
    tiny(EsmForMaskedLM).half().save_pretrained(tmp_path)
    load = LOADERS[loader].from_pretrained
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float16"
    assert load(tmp_path).dtype == load(tmp_path, torch_dtype=None).dtype == torch.float32
    assert load(tmp_path, dtype="auto").dtype == load(tmp_path, dtype=torch.float16).dtype == torch.float16
    assert load(tmp_path, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_a_head_that_is_not_asked_for_is_no_warning(tmp_path, caplog, capfd):
    tiny(EsmForMaskedLM).save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING):
        AutoModel.from_pretrained(tmp_path)
    assert caplog.messages == []
    assert "UNEXPECTED" not in "".join(capfd.readouterr())
    # The table of transformers is silenced for this call alone.
    transformers_logger = logging.getLogger("transformers.modeling_utils")
    assert transformers_logger.filters == []


def with_leftovers(tensors):
    tensors["esm.embeddings.position_ids"] = torch.arange(1026)
    tensors["esm.encoder.layer.0.attention.self.rotary_embeddings.inv_freq"] = torch.ones(8)


def wrapped(tensors):
    for name in list(tensors):
        tensors[f"module.{name}"] = tensors.pop(name)


@pytest.mark.parametrize("change", [with_leftovers, wrapped])
@pytest.mark.parametrize("model_class", [EsmModel, EsmForMaskedLM])
def test_upstreams_and_wrapped_files_are_refused_with_the_name_of_their_reader(change, model_class, tmp_path):
    tiny(EsmForMaskedLM).save_pretrained(tmp_path)
    rewrite(tmp_path, change)
    refused(lambda: model_class.from_pretrained(tmp_path), "LAMAR.load_pretrained reads files of upstream")
    if change is wrapped:
        load_pretrained(model_class, tmp_path)


def test_other_files_are_not_sent_to_a_reader_that_refuses_them_too(tmp_path):
    tiny(EsmForMaskedLM).save_pretrained(tmp_path)
    rewrite(tmp_path, gate)
    assert "load_pretrained" not in refused(lambda: EsmForMaskedLM.from_pretrained(tmp_path))
    refused(lambda: load_pretrained(EsmForMaskedLM, tmp_path), "gate.weight")


@pytest.mark.parametrize(
    ("saved", "loader", "new"),
    [
        (EsmForMaskedLM, AutoModelForSequenceClassification, "classifier.dense.bias, classifier.dense.weight"),
        (EsmForSequenceClassification, AutoModelForMaskedLM, "lm_head.bias, lm_head.decoder.weight"),
        (EsmModel, EsmForMaskedLM, "lm_head.bias, lm_head.decoder.weight"),
    ],
)
def test_a_new_head_is_allowed_and_warned_of(saved, loader, new, tmp_path, caplog):
    tiny(saved, head_trained=True).save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, logger="LAMAR.pretrained"):
        model = loader.from_pretrained(tmp_path)
    warned = [record.getMessage() for record in caplog.records if record.name == "LAMAR.pretrained"]
    assert warned[0].startswith(f"{tmp_path}: head freshly initialised, not trained: {new}")
    # A head of the file that the model does not have is named as well.
    assert len(warned) == (1 if saved is EsmModel else 2)
    if saved is EsmForMaskedLM:
        assert model.config.head_trained is False
        assert warned[1].startswith(f"{tmp_path}: head left out: lm_head.bias")


def test_a_whole_checkpoint_is_loaded_without_a_warning(tmp_path, caplog):
    tiny(EsmForSequenceClassification).save_pretrained(tmp_path)
    EsmForSequenceClassification.from_pretrained(tmp_path)
    assert [record for record in caplog.records if record.name.startswith("LAMAR")] == []


def test_another_number_of_labels_must_be_asked_for(tmp_path):
    tiny(EsmForSequenceClassification, head_trained=True).save_pretrained(tmp_path)
    message = "mismatched: classifier.out_proj.bias (found shape [2], wanted [5])"
    refused(lambda: EsmForSequenceClassification.from_pretrained(tmp_path, num_labels=5), message)
    model = EsmForSequenceClassification.from_pretrained(tmp_path, num_labels=5, ignore_mismatched_sizes=True)
    assert model.classifier.out_proj.weight.shape == (5, 64)
    assert model.config.head_trained is False


@pytest.mark.parametrize(
    ("head_type", "message"),
    [("cnn", "half a head: classifier.conv.bias"), ("mean", "head of another form: classifier.dense.bias")],
)
def test_a_head_is_taken_whole_or_not_at_all(head_type, message, tmp_path):
    # All heads have an out_proj of one shape: taken from a head of another form it would compute nonsense.
    tiny(EsmForSequenceClassification, head_type="linear", head_channels=64, head_trained=True).save_pretrained(
        tmp_path
    )
    refused(lambda: EsmForSequenceClassification.from_pretrained(tmp_path, head_type=head_type), message)
    refused(lambda: load_pretrained(EsmForSequenceClassification, tmp_path, head_type=head_type), message)
    model, report = load_pretrained(EsmForSequenceClassification, tmp_path, head_type=head_type, new_head=True)
    assert model.config.head_trained is False
    assert "classifier.out_proj.weight" in report.new


def test_transformers_report_is_given_on_request(tmp_path):
    tiny(EsmForMaskedLM).save_pretrained(tmp_path)
    model, info = EsmModel.from_pretrained(tmp_path, output_loading_info=True)
    assert type(model) is EsmModel
    assert any("lm_head.decoder.weight" in name for name in info["unexpected_keys"])
    assert not info["missing_keys"]


def test_tensors_may_be_given_in_place_of_a_file(tmp_path):
    model = tiny(EsmForMaskedLM)
    loaded = EsmForMaskedLM.from_pretrained(None, config=model.config, state_dict=model.state_dict())
    assert torch.equal(loaded.lm_head.decoder.weight, model.lm_head.decoder.weight)
    refused(lambda: EsmForMaskedLM.from_pretrained(None, config=model.config, state_dict={}), "missing")


# --------------------------------------------------------------------------------------- initialisation


@pytest.mark.parametrize("head_type", ["linear", "mean", "cnn"])
def test_initialisation_is_berts(head_type):
    config = named_config("lamar-tiny", head_type=head_type, hidden_size=128, num_hidden_layers=2, num_labels=50)
    model = build_model(EsmForSequenceClassification, config, seed=0)
    for name, tensor in model.state_dict().items():
        if "LayerNorm" in name or "layer_norm" in name:
            assert bool((tensor == (1.0 if name.endswith("weight") else 0.0)).all()), name
        elif name.endswith("bias"):
            assert not tensor.any(), name
        elif name.endswith("word_embeddings.weight"):
            assert not tensor[1].any()
            kept = tensor[[0, *range(2, 10)]]
            assert float(kept.std()) == pytest.approx(0.02, rel=0.1)
        else:
            # The head's convolutions have He's: sqrt(2 / inputs).
            sd = (2 / tensor[0].numel()) ** 0.5 if tensor.dim() == 3 else 0.02
            # Standard error of a standard deviation: sd / sqrt(2 n), five of them allowed.
            n = tensor.numel()
            assert float(tensor.std()) == pytest.approx(sd, abs=5 * sd / (2 * n) ** 0.5), name
            assert abs(float(tensor.mean())) < 5 * sd / n**0.5, name


def test_masked_lm_starts_with_a_decoder_of_its_own():
    model = build_model(EsmForMaskedLM, named_config("lamar-tiny"), seed=0)
    decoder, words = model.lm_head.decoder.weight, model.esm.embeddings.word_embeddings.weight
    assert decoder.data_ptr() != words.data_ptr()
    assert not torch.equal(decoder, words)
    assert float(decoder.detach().std()) == pytest.approx(0.02, rel=0.15)
