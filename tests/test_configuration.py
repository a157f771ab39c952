"""The model's configuration, its files, and transformers' Auto classes."""

from __future__ import annotations

import json
import re

import pytest
import torch
from tiny_models import random_batch, tiny
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from LAMAR.errors import InputError
from LAMAR.modeling_nucESM2 import (
    CONFIGS,
    EsmConfig,
    EsmForMaskedLM,
    EsmForSequenceClassification,
    EsmModel,
    named_config,
)

# ------------------------------------------------------------------------------------- saving, Auto classes

AUTO = {
    EsmModel: AutoModel,
    EsmForMaskedLM: AutoModelForMaskedLM,
    EsmForSequenceClassification: AutoModelForSequenceClassification,
}


@pytest.mark.parametrize("model_class", AUTO)
def test_saved_models_come_back_to_the_last_bit(model_class, tmp_path):
    model = tiny(model_class, num_labels=3, head_type="mean", loss_type="focal", focal_gamma=1.5, rope_theta=500.0)
    model.save_pretrained(tmp_path)
    ids, mask = random_batch([12, 20])
    for loader in (model_class, AUTO[model_class]):
        loaded = loader.from_pretrained(tmp_path)
        assert type(loaded) is model_class
        assert loaded.training is False
        for name, tensor in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor), name
        with torch.no_grad():
            assert torch.equal(loaded(ids, mask)[0], model(ids, mask)[0])
        config = loaded.config
        assert (config.num_labels, config.head_type, config.loss_type) == (3, "mean", "focal")
        assert (config.focal_gamma, config.rope_theta) == (1.5, 500.0)
    assert type(AutoConfig.from_pretrained(tmp_path)) is EsmConfig


@pytest.mark.parametrize("first", ["LAMAR", "transformers"])
def test_auto_classes_in_either_import_order(first, tmp_path, run_python):
    second = {"LAMAR": "transformers", "transformers": "LAMAR"}[first]
    tiny(EsmForSequenceClassification).save_pretrained(tmp_path)
    names = run_python(
        f"import {first}\nimport {second}\n"
        "from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer\n"
        "from transformers import AutoModelForSequenceClassification\n"
        f"folder, tokenizer = {str(tmp_path)!r}, LAMAR.__path__[0] + '/tokenizer'\n"
        "for auto in (AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification):\n"
        "    print(type(auto.from_pretrained(folder)).__name__)\n"
        "print(type(AutoTokenizer.from_pretrained(tokenizer)).__name__)\n"
        "print(type(AutoConfig.for_model('esm')).__module__)\n"
    ).split()
    assert names == [
        "EsmConfig",
        "EsmModel",
        "EsmForMaskedLM",
        "EsmForSequenceClassification",
        "LamarTokenizer",
        # transformers' own ESM stays registered.
        "transformers.models.esm.configuration_esm",
    ]


def test_light_import_leaves_torch_and_transformers_alone(run_python):
    code = "import sys, LAMAR.errors; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    assert run_python(code, LAMAR_LIGHT="1").strip() == "[]"


# ---------------------------------------------------------------------------------------- configuration


def test_upstreams_config_file_is_read(parity_folder):
    fields = json.loads((parity_folder / "config.json").read_text())
    assert fields["tie_word_embeddings"] is True
    config = EsmConfig(**fields)
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (64, 3, 4)
    assert config.intermediate_size == 256
    assert config.tie_word_embeddings is False
    assert config.model_type == "lamar"


def test_second_name_of_the_position_field():
    assert EsmConfig(positional_embedding_type="rotary").position_embedding_type == "rotary"
    assert EsmConfig(positional_embedding_type="rotary", position_embedding_type="rotary").to_dict() == (
        EsmConfig().to_dict()
    )
    for fields in (
        {"positional_embedding_type": "absolute"},
        {"positional_embedding_type": "rotary", "position_embedding_type": "absolute"},
        {"positional_embedding_type": "absolute", "position_embedding_type": "rotary"},
    ):
        with pytest.raises(InputError, match="contradicts"):
            EsmConfig(**fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("position_embedding_type", "absolute"),
        ("position_embedding_type", "relative_key"),
        ("position_embedding_type", None),
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("is_folding_model", True),
        ("hidden_act", "relu"),
        ("emb_layer_norm_before", True),
        ("token_dropout", True),
        ("pad_token_id", 0),
        ("mask_token_id", 32),
        ("num_attention_heads", 0),
        ("hidden_size", "64"),
        ("hidden_size", -64),
        ("layer_norm_eps", None),
        ("rope_theta", 0),
        ("window_length", 0),
        ("window_length", "101"),
        ("head_type", "gru"),
        ("loss_type", "hinge"),
        ("head_type", ["cnn"]),
        ("loss_type", {"ce": 1}),
        ("attn_implementation", 3),
        ("dtype", 16),
        ("dtype", "float33"),
        ("dtype", "nn"),
    ],
)
def test_fields_that_the_architecture_lacks_are_refused_by_name(field, value):
    with pytest.raises(InputError, match=rf"config: {field}: found {re.escape(repr(value))}, (LAMAR has|wanted)"):
        EsmConfig(**{field: value})


def test_unknown_keys_are_refused_by_name():
    with pytest.raises(InputError, match="unknown keys num_layer, position_embeding_type"):
        EsmConfig(position_embeding_type="rotary", num_layer=3)


@pytest.mark.parametrize(("hidden", "heads"), [(64, 5), (60, 20)])
def test_uneven_head_dimensions_are_refused(hidden, heads):
    with pytest.raises(InputError, match="does not give an even head dimension"):
        EsmConfig(hidden_size=hidden, num_attention_heads=heads)


def test_null_dropouts_mean_none():
    config = EsmConfig(hidden_dropout_prob=None, attention_probs_dropout_prob=None, classifier_dropout=None)
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.0, 0.0)
    assert config.classifier_dropout == 0.0


def test_configurations_survive_a_round_trip(tmp_path):
    config = named_config(
        "lamar-tiny",
        num_labels=4,
        head_type="cnn",
        head_channels=12,
        head_kernel_size=5,
        loss_type="bce",
        head_trained=True,
        classifier_dropout=0.2,
    )
    config.save_pretrained(tmp_path)
    loaded = EsmConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert loaded.num_labels == 4
    assert len(loaded.id2label) == 4
    assert loaded.head_trained is True
    # The defaults are the published model's.
    EsmConfig().save_pretrained(tmp_path)
    assert EsmConfig.from_pretrained(tmp_path).to_dict() == named_config("lamar").to_dict()


def test_named_configurations():
    assert sorted(CONFIGS) == ["lamar", "lamar-mini", "lamar-tiny"]
    assert named_config("lamar-tiny", num_labels=5).num_labels == 5
    with pytest.raises(InputError, match="`config`: found 'lamar-huge', wanted one of lamar, lamar-mini"):
        named_config("lamar-huge")
