"""What must hold for any such encoder: shapes, rotary positions, gradients, parts of a forward pass."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from tiny_models import BACKEND_TOLERANCE, CPU_BACKENDS, largest_difference, random_batch, states, tiny
from torch import nn

from LAMAR import lm_head
from LAMAR.checkpoints import load_pretrained
from LAMAR.errors import InputError
from LAMAR.flash_attn_patch import PaddingMask
from LAMAR.layers import normalize_layer
from LAMAR.modeling_nucESM2 import (
    CONFIGS,
    EsmForMaskedLM,
    EsmForSequenceClassification,
    EsmModel,
    count_parameters,
    gelu,
    named_config,
)
from LAMAR.rotary import RotaryEmbedding, apply_rotary_pos_emb, rotate_half
from LAMAR.sequence_classification_patch import nucleotide_mask
from LAMAR.tasks import HEADS

# ------------------------------------------------------------------------------------- architecture


def expected_parameters(vocab, d, f, layers) -> tuple[int, int]:
    """Parameters of encoder and masked LM from the dimensions: weights, biases, two per layer-norm channel."""
    attention_block = 4 * (d * d + d) + 2 * d
    feed_forward = (d * f + f) + (f * d + d) + 2 * d
    encoder = vocab * d + layers * (attention_block + feed_forward) + 2 * d
    head = (d * d + d) + 2 * d + vocab * d + vocab
    return encoder, encoder + head


@pytest.mark.parametrize("name", CONFIGS)
def test_parameter_counts(name):
    config = named_config(name)
    encoder, masked_lm = expected_parameters(
        config.vocab_size, config.hidden_size, config.intermediate_size, config.num_hidden_layers
    )
    with torch.device("meta"):
        assert count_parameters(EsmModel(config)) == encoder
        assert count_parameters(EsmForMaskedLM(config)) == masked_lm


def test_published_configuration():
    assert expected_parameters(10, 768, 3072, 12) == (85_063_680, 85_663_498)
    config = named_config("lamar")
    assert (config.vocab_size, config.hidden_size, config.intermediate_size) == (10, 768, 3072)
    assert (config.num_hidden_layers, config.num_attention_heads) == (12, 12)
    assert config.layer_norm_eps == 1e-5
    assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0.0
    assert config.position_embedding_type == "rotary"
    assert not config.token_dropout
    assert not config.emb_layer_norm_before
    assert not config.tie_word_embeddings


def test_mini_has_about_five_million_parameters():
    with torch.device("meta"):
        assert 4.5e6 < count_parameters(EsmForMaskedLM(named_config("lamar-mini"))) < 5.5e6


def test_no_position_table():
    model = EsmModel(named_config("lamar-tiny"))
    assert list(model.buffers()) == []
    assert [name for name, _ in model.named_parameters() if "position" in name] == []
    assert not any(parameter.shape[0] == 1026 for parameter in model.parameters())


def test_gelu_is_x_times_the_normal_distribution_function():
    assert gelu(torch.tensor(0.0)) == 0.0
    # Phi(1) = 0.841345.
    assert float(gelu(torch.tensor(1.0))) == pytest.approx(0.8413447)
    assert float(gelu(torch.tensor(-1.0))) == pytest.approx(0.8413447 - 1)
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    torch.testing.assert_close(gelu(x), nn.functional.gelu(x))


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_inference_without_gradients_gives_what_training_sees(backend):
    model = tiny(backend=backend)
    ids, mask = random_batch([12, 8, 30])
    with_gradients = [state.detach() for state in model(ids, mask, output_hidden_states=True).hidden_states]
    largest = largest_difference(states(model, ids, mask), with_gradients, mask)
    assert largest <= (0 if backend == "eager" else 1e-5)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_masked_lm_head_is_the_same_function_with_and_without_gradients(backend, monkeypatch):
    model = tiny(EsmForMaskedLM, backend)
    hidden = 4 * torch.randn(50, 64, generator=torch.Generator().manual_seed(0))
    kept, exact = hidden.clone(), []
    monkeypatch.setattr(lm_head, "gelu", lambda x: exact.append(1) or gelu(x))
    wanted = model.lm_head(hidden).detach()
    assert len(exact) == 1
    with torch.no_grad():
        found = model.lm_head(hidden)
    # Only the eager backend keeps to upstream's operations without gradients.
    assert len(exact) == (2 if backend == "eager" else 1)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0 if backend == "eager" else 2e-6)
    assert torch.equal(hidden, kept)


def test_hidden_states_begin_with_the_embeddings_and_end_with_the_final_norm():
    model = tiny()
    ids, mask = random_batch([12, 8])
    hidden = states(model, ids, mask)
    embeddings = model.embeddings.word_embeddings(ids) * mask.unsqueeze(-1)
    assert torch.equal(hidden[0], embeddings)
    with torch.no_grad():
        assert torch.equal(hidden[-1], model(ids, mask).last_hidden_state)
    norm = model.encoder.emb_layer_norm_after
    centred = (hidden[-1] - norm.bias) / norm.weight
    torch.testing.assert_close(centred.mean(-1), torch.zeros(2, 12), atol=1e-4, rtol=0)
    torch.testing.assert_close(centred.var(-1, unbiased=False), torch.ones(2, 12), atol=1e-3, rtol=0)


def test_attention_mask_is_derived_from_padding():
    model = tiny()
    ids, mask = random_batch([12, 8, 5])
    assert torch.equal(model(ids).last_hidden_state, model(ids, mask).last_hidden_state)


def test_ids_and_embeddings_together_or_neither_are_refused():
    model = tiny()
    ids, _ = random_batch([5])
    for arguments in ({}, {"input_ids": ids, "inputs_embeds": torch.zeros(1, 5, 64)}):
        with pytest.raises(ValueError, match="`input_ids` and `inputs_embeds`: wanted exactly one"):
            model(**arguments)


def test_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"attention_mask: found shape \(1, 1, 5, 5\)"):
        PaddingMask.from_attention_mask(torch.ones(1, 1, 5, 5))


def test_tuples_on_request():
    model = tiny(EsmForMaskedLM)
    ids, mask = random_batch([6])
    plain = model(ids, mask, return_dict=False)
    assert type(plain) is tuple
    assert torch.equal(plain[0], model(ids, mask).logits)


def test_masked_lm_loss_is_the_mean_over_labelled_positions():
    model = tiny(EsmForMaskedLM)
    ids, mask = random_batch([9, 6])
    labels = torch.full_like(ids, -100)
    labels[0, 3], labels[1, 2] = 5, 8
    output = model(ids, mask, labels=labels)
    log_p = output.logits.log_softmax(-1)
    assert float(output.loss.detach()) == pytest.approx(float(-(log_p[0, 3, 5] + log_p[1, 2, 8]).detach() / 2))


def test_head_at_labelled_positions_only():
    model = tiny(EsmForMaskedLM)
    ids, mask = random_batch([9, 6])
    labels = torch.full_like(ids, -100)
    labels[0, 3], labels[1, 2] = 5, 8
    whole = model(ids, mask, labels=labels)
    part = model(ids, mask, labels=labels, labelled_only=True)
    torch.testing.assert_close(part.logits, torch.stack([whole.logits[0, 3], whole.logits[1, 2]]), rtol=0, atol=1e-5)
    torch.testing.assert_close(part.loss, whole.loss, rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="`labelled_only` needs `labels`"):
        model(ids, mask, labelled_only=True)


@pytest.mark.parametrize(("layer", "index"), [(0, 0), (11, 11), (-1, 11), (-12, 0)])
def test_layers_are_counted_from_0_and_negatives_from_the_end(layer, index):
    assert normalize_layer(layer, 12) == index


@pytest.mark.parametrize("layer", [12, -13])
def test_layers_outside_the_model_are_refused(layer):
    with pytest.raises(ValueError, match=rf"`layer`: found {layer}, wanted -12 to 11"):
        normalize_layer(layer, 12)


def test_nucleotide_mask():
    ids = torch.tensor([[0, 5, 9, 4, 3, 2], [0, 8, 2, 1, 1, 1]])
    wanted = [[False, True, True, True, True, False], [False, True, False, False, False, False]]
    assert nucleotide_mask(ids, None).tolist() == wanted
    assert nucleotide_mask(ids, ids.ne(1)).tolist() == wanted
    # Without ids the first and the last attended position count as special.
    assert nucleotide_mask(None, ids.ne(1).long()).tolist() == wanted


# ------------------------------------------------------------------------------------ rotary positions


def test_rotation_by_hand():
    # One pair of coordinates, frequency 1: position p is turned by p radians.
    cos, sin = RotaryEmbedding(2).cos_sin(4)
    turned = apply_rotary_pos_emb(torch.tensor([1.0, 0.0]).expand(1, 1, 4, 2), cos, sin)[0, 0]
    for p in range(4):
        assert turned[p].tolist() == pytest.approx([np.cos(p), np.sin(p)], abs=1e-6)
    assert rotate_half(torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist() == [-3.0, -4.0, 1.0, 2.0]
    assert RotaryEmbedding(4).inverse_frequencies().tolist() == pytest.approx([1.0, 0.01])


@pytest.mark.parametrize("dim", [2, 16, 64])
def test_rotation_keeps_norms_and_sees_distance_only(dim):
    generator = torch.Generator().manual_seed(dim)
    q, k = torch.randn(2, dim, generator=generator, dtype=torch.float64)
    length = 50
    cos, sin = RotaryEmbedding(dim).cos_sin(length)
    rotated_q, rotated_k = (apply_rotary_pos_emb(x.expand(1, 2, length, dim), cos, sin) for x in (q, k))
    for rotated, vector in ((rotated_q, q), (rotated_k, k)):
        torch.testing.assert_close(rotated.norm(dim=-1), vector.norm().expand(1, 2, length), rtol=1e-5, atol=1e-5)
    products = rotated_q[0, 0] @ rotated_k[0, 0].T
    for distance in range(-10, 11):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[0].expand_as(diagonal), rtol=1e-4, atol=1e-4)
    # Distances are told apart, and so is their sign.
    assert len({round(float(products.diagonal(d)[0]), 4) for d in range(-10, 11)}) == 21


@pytest.mark.parametrize("model_class", [EsmModel, EsmForMaskedLM, EsmForSequenceClassification])
def test_sequences_may_be_longer_than_max_position_embeddings(model_class):
    # The field is upstream's; rotary positions have no table that could end.
    short, long = (tiny(model_class, max_position_embeddings=n) for n in (16, 4096))
    ids, mask = random_batch([60, 33])
    with torch.no_grad():
        assert torch.equal(short(ids, mask)[0], long(ids, mask)[0])


def swapped_states(model) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([[0, *[5, 6, 7, 8, 9] * 6, 2]])
    assert ids[0, 3] != ids[0, 25]
    swapped = ids.clone()
    swapped[0, 3], swapped[0, 25] = ids[0, 25], ids[0, 3]
    with torch.no_grad():
        return model(ids).last_hidden_state[0], model(swapped).last_hidden_state[0]


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_swapping_two_distant_nucleotides_changes_a_third(backend, monkeypatch):
    model = tiny(backend=backend)
    before, after = swapped_states(model)
    others = [i for i in range(32) if i not in (3, 25)]
    assert float((before - after)[others].abs().amax(-1).min()) > 1e-3

    # Control: without rotation the encoder has no positions, and a swap is only a swap.
    flat = RotaryEmbedding.cos_sin

    def no_angles(self, length, device=None):
        cos, sin = flat(self, length, device)
        return torch.ones_like(cos), torch.zeros_like(sin)

    monkeypatch.setattr(RotaryEmbedding, "cos_sin", no_angles)
    before, after = swapped_states(model)
    torch.testing.assert_close(after[others], before[others], rtol=0, atol=1e-5)
    torch.testing.assert_close(after[[3, 25]], before[[25, 3]], rtol=0, atol=1e-5)


def test_angles_stay_float32_in_half_precision():
    model = tiny()
    ids, mask = random_batch([60, 33])
    wanted = states(model, ids, mask)
    found = states(model.to(torch.bfloat16), ids, mask)
    assert {state.dtype for state in found} == {torch.bfloat16}
    # bfloat16 has 8 bits: each rounding changes a value by up to 0.4 %, and some dozens follow each other.
    assert largest_difference([state.float() for state in found], wanted, mask) < 0.25
    cos, _ = model.encoder.rotary.cos_sin(3)
    assert cos.dtype == torch.float32


# ------------------------------------------------------------------------------------------ gradients


def assert_gradients_everywhere(model) -> None:
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []
    words = (model.esm if hasattr(model, "esm") else model).embeddings.word_embeddings.weight.grad
    assert float(words[1].abs().max()) == 0.0
    assert bool((words[[0, 2, 4, 5, 6, 7, 8, 9]].abs().amax(1) > 0).all())


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_gradients_reach_every_parameter_of_the_masked_lm(backend):
    model = tiny(EsmForMaskedLM, backend).train()
    ids, mask = random_batch([30, 22, 14])
    labels = torch.where(mask.bool(), ids, -100)
    model(ids, mask, labels=labels).loss.backward()
    assert_gradients_everywhere(model)


@pytest.mark.parametrize("head_type", HEADS)
def test_gradients_reach_every_parameter_of_the_classifiers(head_type):
    model = tiny(EsmForSequenceClassification, head_type=head_type, head_channels=8).train()
    ids, mask = random_batch([30, 22, 14])
    model(ids, mask, labels=torch.tensor([0, 1, 1])).loss.backward()
    assert_gradients_everywhere(model)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_gradient_checkpointing_changes_nothing(backend):
    ids, mask = random_batch([20, 11])
    labels = torch.where(mask.bool(), ids, -100)
    gradients = []
    for checkpointing in (False, True):
        model = tiny(EsmForMaskedLM, backend).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert all(layer.gradient_checkpointing for layer in model.esm.encoder.layer)
        runs = []
        model.esm.encoder.layer[0].intermediate.register_forward_hook(lambda *_, runs=runs: runs.append(1))
        model(ids, mask, labels=labels).loss.backward()
        # With checkpointing, the backward pass computes the block again.
        assert len(runs) == 1 + checkpointing
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert torch.equal(gradient, gradients[1][name]), name


# ------------------------------------------------------------------------------- parts of a forward pass


@pytest.mark.parametrize("layer", [0, 1, 2, -1, -3])
def test_stopping_after_a_layer_saves_the_layers_above(layer):
    model = tiny()
    ids, mask = random_batch([15, 10])
    wanted = states(model, ids, mask)
    ran = []
    for i, block in enumerate(model.encoder.layer):
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
    with torch.no_grad():
        output = model(ids, mask, stop_after_layer=layer, output_hidden_states=True)
    index = layer % 3
    assert ran == list(range(index + 1))
    assert torch.equal(output.last_hidden_state, wanted[index + 1])
    assert len(output.hidden_states) == index + 2
    for found, state in zip(output.hidden_states, wanted):
        assert torch.equal(found, state)


@pytest.mark.parametrize("layer", [3, -4])
def test_stopping_outside_the_model_is_refused(layer):
    ids, mask = random_batch([5])
    with pytest.raises(ValueError, match="the model has 3 blocks"):
        tiny()(ids, mask, stop_after_layer=layer)


def test_attention_weights_are_probabilities_and_ignore_padding():
    model = tiny(backend="eager")
    lengths = [14, 9]
    ids, mask = random_batch(lengths)
    with torch.no_grad():
        weights = model(ids, mask, output_attentions=True).attentions
    assert len(weights) == 3
    for layer in weights:
        assert layer.shape == (2, 4, 14, 14)
        torch.testing.assert_close(layer.sum(-1), torch.ones(2, 4, 14))
        assert bool((layer >= 0).all())
        assert float(layer[1, :, :9, 9:].abs().max()) == 0.0
        assert float(layer[1, :, :9, :9].min()) > 0.0
    assert model(ids, mask).attentions is None


@pytest.mark.parametrize("model_class", [EsmModel, EsmForMaskedLM, EsmForSequenceClassification])
def test_attention_weights_come_from_the_eager_backend_with_one_warning(model_class, caplog):
    logging.Logger.warning_once.cache_clear()
    ids, mask = random_batch([14, 9])
    model, eager = tiny(model_class, "sdpa"), tiny(model_class, "eager")
    with torch.no_grad(), caplog.at_level(logging.WARNING):
        found, again, wanted = (one(ids, mask, output_attentions=True) for one in (model, model, eager))
    assert caplog.messages == ["attention weights asked for: the eager backend is used, as sdpa keeps none"]
    for weights, repeated, expected in zip(found.attentions, again.attentions, wanted.attentions, strict=True):
        assert torch.equal(weights, expected)
        assert torch.equal(weights, repeated)
    torch.testing.assert_close(found[0], wanted[0], rtol=0, atol=BACKEND_TOLERANCE)
    # The model keeps its backend.
    assert model.config._attn_implementation == "sdpa"
    assert model(ids, mask).attentions is None


# ------------------------------------------------------------------------------------- number of tokens


@pytest.mark.parametrize(("arguments", "n_tokens"), [((12,), 12), ((None, 8), 16), ((11, 4), 12), ((None,), 10)])
def test_more_tokens_leave_the_others_as_they_were(arguments, n_tokens, tmp_path):
    model = tiny(EsmForMaskedLM)
    ids, mask = random_batch([14, 9])
    with torch.no_grad():
        before = model(ids, mask).logits
        embeddings = model.resize_token_embeddings(*arguments)
        after = model(ids, mask).logits
    assert embeddings is model.get_input_embeddings()
    assert after.shape == (2, 14, n_tokens)
    torch.testing.assert_close(after[..., :10], before, rtol=0, atol=1e-6)
    # The mean of the others' weights and biases gives the mean of their logits.
    torch.testing.assert_close(after[..., 10:], before.mean(-1, keepdim=True).expand_as(after[..., 10:]))
    assert isinstance(model.lm_head.decoder, nn.Linear)
    assert model.lm_head.bias.shape == (n_tokens,)
    assert model.lm_head.bias.requires_grad
    assert model.config.vocab_size == model.esm.config.vocab_size == n_tokens
    model.save_pretrained(tmp_path)
    loaded, report = load_pretrained(EsmForMaskedLM, tmp_path)
    assert report.new == []
    with torch.no_grad():
        assert torch.equal(loaded(ids, mask).logits, after)


def test_tokens_drawn_anew_and_taken_back():
    model = tiny(EsmForMaskedLM)
    bias = model.lm_head.bias.detach().clone()
    model.resize_token_embeddings(300, mean_resizing=False)
    assert float(model.lm_head.decoder.weight[10:].detach().std()) == pytest.approx(0.02, rel=0.05)
    assert torch.equal(model.lm_head.bias, torch.cat([bias, torch.zeros(290)]))
    model.resize_token_embeddings(10)
    assert torch.equal(model.lm_head.bias, bias)
    assert model.lm_head.decoder.weight.shape == (10, 64)


@pytest.mark.parametrize("model_class", [EsmModel, EsmForSequenceClassification])
def test_models_without_a_decoder_have_embeddings_alone_to_resize(model_class):
    model = tiny(model_class)
    assert model.resize_token_embeddings(13).weight.shape == model.get_input_embeddings().weight.shape == (13, 64)


@pytest.mark.parametrize("model_class", [EsmModel, EsmForMaskedLM])
def test_fewer_tokens_than_the_alphabet_are_refused(model_class):
    model = tiny(model_class)
    with pytest.raises(InputError, match="`new_num_tokens`: found 9, wanted LAMAR's 10 or more"):
        model.resize_token_embeddings(9)
    assert model.config.vocab_size == 10


@pytest.mark.parametrize("model_class", [EsmModel, EsmForMaskedLM, EsmForSequenceClassification])
@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_embeddings_in_place_of_ids(model_class, backend):
    model = tiny(model_class, backend, **({"head_type": "cnn"} if "Seq" in model_class.__name__ else {}))
    ids, mask = random_batch([18, 12])
    embeddings = model.get_input_embeddings()(ids)
    with torch.no_grad():
        for wanted, found in (
            (model(ids, mask), model(inputs_embeds=embeddings, attention_mask=mask)),
            (model(ids[:1], mask[:1]), model(inputs_embeds=embeddings[:1])),
        ):
            assert torch.equal(found[0], wanted[0])


def test_dropout_is_live_only_in_training():
    model = tiny(hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    ids, mask = random_batch([12])
    once, again = (model(ids, mask).last_hidden_state for _ in range(2))
    assert torch.equal(once, again)
    model.train()
    once, again = (model(ids, mask).last_hidden_state for _ in range(2))
    assert not torch.equal(once, again)
