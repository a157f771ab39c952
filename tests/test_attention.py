"""The attention backends agree, and none lets padding change a record."""

from __future__ import annotations

import itertools
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import (
    BACKEND_TOLERANCE,
    CPU_BACKENDS,
    available_backends,
    largest_difference,
    random_batch,
    states,
    tiny,
)

from LAMAR import flash_attn_patch
from LAMAR.errors import InputError
from LAMAR.flash_attn_patch import PaddingMask, attention, resolve_backend
from LAMAR.modeling_nucESM2 import EsmForMaskedLM


@pytest.mark.parametrize("lengths", [[33, 33], [40, 17, 3, 25]], ids=["unpadded", "padded"])
@pytest.mark.parametrize("backend", [name for name in CPU_BACKENDS if name != "eager"])
def test_backends_agree_in_every_layer(backend, lengths):
    ids, mask = random_batch(lengths)
    model = tiny(EsmForMaskedLM, backend)
    reference = tiny(EsmForMaskedLM, "eager")
    assert largest_difference(states(model, ids, mask), states(reference, ids, mask), mask) <= BACKEND_TOLERANCE
    with torch.no_grad():
        logits = [m(ids, mask).logits for m in (model, reference)]
    assert largest_difference(logits[:1], logits[1:], mask) <= BACKEND_TOLERANCE


def test_backend_names():
    assert {"eager", "sdpa"} <= set(available_backends())
    assert resolve_backend(None) == resolve_backend("auto") == "sdpa"
    assert resolve_backend("eager") == "eager"
    with pytest.raises(InputError, match="`attention`: found 'xformers', wanted one of eager, sdpa"):
        resolve_backend("xformers")


@pytest.mark.parametrize("length", [30, flash_attn_patch.LONGEST_WITHOUT_SDPA + 1], ids=["products", "SDPA"])
@pytest.mark.parametrize("padded", [False, True])
def test_sdpa_in_bfloat16_trains_as_float32_does(length, padded):
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(3, 2, 4, length, 16, generator=generator) / 2
    upstream = torch.randn(2, 4, length, 16, generator=generator)
    mask = torch.ones(2, length, dtype=torch.long)
    mask[1, 20:] = not padded
    padding, upstream = PaddingMask.from_attention_mask(mask), upstream * mask[:, None, :, None]

    def gradients(dtype):
        inputs = [x.to(dtype).requires_grad_() for x in drawn]
        context, weights = attention(*inputs, padding, "sdpa")
        assert weights is None
        assert context.dtype == dtype
        context.backward(upstream.to(dtype))
        return [x.grad.float() for x in inputs]

    for found, wanted in zip(gradients(torch.bfloat16), gradients(torch.float32)):
        assert (found - wanted).norm() < 0.02 * wanted.norm()


def test_sdpa_leaves_its_kernel_only_to_train_short_sequences_in_bfloat16(monkeypatch):
    kernel, called = torch.nn.functional.scaled_dot_product_attention, []
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: called.append(1) or kernel(*a, **k)
    )

    def takes_the_kernel(dtype, length, trained):
        called.clear()
        attention(*torch.randn(3, 1, 2, length, 8).to(dtype).requires_grad_(trained), None, "sdpa")
        return bool(called)

    longest = flash_attn_patch.LONGEST_WITHOUT_SDPA
    assert not takes_the_kernel(torch.bfloat16, longest, True)
    assert takes_the_kernel(torch.bfloat16, longest + 1, True)
    assert takes_the_kernel(torch.bfloat16, longest, False)
    assert takes_the_kernel(torch.float32, longest, True)


@pytest.mark.skipif("flash_attention_2" in available_backends(), reason="flash-attn can run here")
@pytest.mark.parametrize("name", ["flash", "flash_attention_2"])
def test_flash_says_why_it_cannot_run(name):
    with pytest.raises(
        InputError, match=r"`attention`: flash_attention_2 cannot be used: (it needs a CUDA|the package)"
    ):
        resolve_backend(name)


@pytest.mark.skipif("flash_attention_2" not in available_backends(), reason="needs CUDA and flash-attn")
def test_flash_agrees_on_a_gpu():
    ids, mask = (x.cuda() for x in random_batch([40, 17, 3, 25]))
    wanted = states(tiny(backend="eager").cuda(), ids, mask)
    # flash-attn computes in half precision whatever the model's dtype.
    assert largest_difference(states(tiny(backend="flash_attention_2").cuda(), ids, mask), wanted, mask) < 0.1


@pytest.fixture
def flash_stand_in(monkeypatch) -> list[torch.Tensor]:
    """Replace flash-attn by plain torch with its interface, so that the packing around it is tested.

    The list holds the starts of each call of the kernel for packed records.
    """
    calls = []

    def dense(q, k, v, dropout_p, softmax_scale):
        assert q.dtype in (torch.float16, torch.bfloat16)
        assert dropout_p == 0.0
        q, k, v = (x.transpose(-3, -2).float() for x in (q, k, v))
        weights = torch.softmax(q @ k.transpose(-1, -2) * softmax_scale, -1)
        return (weights @ v).transpose(-3, -2).to(torch.bfloat16)

    def packed(q, k, v, starts_q, starts_k, longest_q, longest_k, dropout_p, softmax_scale):
        assert starts_q.dtype == starts_k.dtype == torch.int32
        starts = starts_q.tolist()
        assert starts == starts_k.tolist()
        assert longest_q == longest_k == max(np.diff(starts))
        calls.append(starts_q)
        pieces = [slice(start, stop) for start, stop in itertools.pairwise(starts)]
        return torch.cat([dense(q[p], k[p], v[p], dropout_p, softmax_scale) for p in pieces])

    stand_in = types.SimpleNamespace(flash_attn_func=dense, flash_attn_varlen_func=packed)
    monkeypatch.setitem(sys.modules, "flash_attn", stand_in)
    monkeypatch.setattr(flash_attn_patch, "_why_unavailable", lambda backend: None)
    return calls


@pytest.mark.parametrize("lengths", [[9, 9], [12, 5, 7]], ids=["unpadded", "padded"])
def test_flash_packs_and_unpacks_records(lengths, flash_stand_in):
    _, mask = random_batch(lengths)
    q, k, v = torch.randn(3, len(lengths), 4, max(lengths), 16, generator=torch.Generator().manual_seed(0))
    padding = PaddingMask.from_attention_mask(mask)
    wanted, _ = attention(q, k, v, padding, "eager")
    found, weights = attention(q, k, v, padding, "flash_attention_2")
    assert weights is None
    assert found.dtype == q.dtype
    keep = mask.bool()
    assert [starts.tolist() for starts in flash_stand_in] == ([[0, 12, 17, 24]] if padding else [])
    # Inputs rounded to bfloat16: 0.4 % of logits of size 10.
    torch.testing.assert_close(found.transpose(1, 2)[keep], wanted.transpose(1, 2)[keep], rtol=0, atol=0.1)
    assert found.transpose(1, 2)[~keep].abs().sum() == 0.0


def test_gradients_flow_through_the_packing(flash_stand_in):
    _, mask = random_batch([12, 5, 7])
    padding = PaddingMask.from_attention_mask(mask)
    drawn = torch.randn(3, 3, 4, 12, 16, generator=torch.Generator().manual_seed(1)) / 2
    upstream = torch.randn(3, 4, 12, 16, generator=torch.Generator().manual_seed(2)) * mask[:, None, :, None]

    def gradients(backend):
        inputs = [x.clone().requires_grad_() for x in drawn]
        attention(*inputs, padding, backend)[0].backward(upstream)
        return [x.grad for x in inputs]

    for found, wanted in zip(gradients("flash_attention_2"), gradients("eager")):
        assert (found - wanted).norm() < 0.03 * wanted.norm()


def test_the_packing_is_found_once_per_forward_pass(flash_stand_in, monkeypatch):
    # On a GPU each of these look-ups waits for the device: once a pass, not once a layer.
    model = tiny()
    monkeypatch.setattr(model.config, "_attn_implementation_internal", "flash_attention_2", raising=False)
    nonzero, lookups = torch.Tensor.nonzero, []
    monkeypatch.setattr(torch.Tensor, "nonzero", lambda *a, **k: lookups.append(1) or nonzero(*a, **k))
    ids, mask = random_batch([12, 5, 7])
    wanted = states(tiny(backend="eager"), ids, mask)
    for number in (1, 2):
        found = states(model, ids, mask)
        assert len(lookups) == number
        assert len(flash_stand_in) == number * model.config.num_hidden_layers
    assert len({id(starts) for starts in flash_stand_in[:3]}) == 1
    assert largest_difference(found, wanted, mask) < 0.1


def test_forms_of_a_mask_are_made_once():
    padding = PaddingMask.from_attention_mask(torch.tensor([[1, 1, 0], [1, 1, 1]]))
    assert padding.additive(torch.float32) is padding.additive(torch.float32)
    lowest = torch.finfo(torch.float32).min
    assert padding.additive(torch.float32)[:, 0, 0].tolist() == [[0, 0, lowest], [0, 0, 0]]
    assert padding.additive(torch.float64).dtype == torch.float64
    packing = padding.packing()
    assert packing is padding.packing()
    assert packing.indices.tolist() == [0, 1, 3, 4, 5]
    assert (packing.starts.tolist(), packing.longest) == ([0, 2, 5], 3)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_the_additive_mask_is_made_once_per_forward_pass(backend, monkeypatch):
    made = []
    fill = torch.Tensor.masked_fill
    monkeypatch.setattr(torch.Tensor, "masked_fill", lambda *a, **k: made.append(1) or fill(*a, **k))
    ids, mask = random_batch([12, 5])
    states(tiny(backend=backend), ids, mask)
    assert len(made) == (1 if backend == "eager" else 0)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@given(lengths=st.lists(st.integers(2, 30), min_size=2, max_size=5), seed=st.integers(0, 99))
@settings(max_examples=10)
def test_padding_never_changes_a_record(backend, lengths, seed):
    model = tiny(EsmForMaskedLM, backend)
    ids, mask = random_batch(lengths, seed)
    together = states(model, ids, mask)
    for row, length in enumerate(lengths):
        alone = states(model, ids[row : row + 1, :length], None)
        for one, many in zip(alone, together):
            torch.testing.assert_close(many[row, :length], one[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_what_stands_in_padding_does_not_matter(backend):
    model = tiny(backend=backend)
    ids, mask = random_batch([20, 9])
    garbage = torch.where(mask.bool(), ids, 7)
    assert largest_difference(states(model, garbage, mask), states(model, ids, mask), mask) == 0.0


def test_an_all_ones_mask_takes_the_unmasked_path():
    assert PaddingMask.from_attention_mask(torch.ones(2, 5)) is None
    assert PaddingMask.from_attention_mask(None) is None
    assert PaddingMask.from_attention_mask(torch.tensor([[1, 0]])).keep.tolist() == [[True, False]]
