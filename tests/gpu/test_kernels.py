"""Each kernel of scaled dot-product attention gives values and gradients of the plain products, padded and unpadded."""

from __future__ import annotations

import pytest
import torch
from gpu_runs import DEVICE, IS_REHEARSAL, NOTES, check_close, pick
from tiny_models import random_batch
from torch.nn.attention import SDPBackend, sdpa_kernel

from LAMAR.flash_attn_patch import PaddingMask, attention

pytestmark = pytest.mark.gpu

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
HALF = (torch.bfloat16, torch.float16)
LENGTHS = {"unpadded": pick([260] * 4, [24] * 2), "padded": pick([514, 103, 259, 3], [40, 17, 3])}
HEADS, HEAD_DIM = pick((12, 64), (2, 16))
# Norm of the difference from plain products in float32 of the same rounded inputs, and smallest cosine of a vector.
LIMITS = {torch.float32: (5e-5, 0.9999), torch.bfloat16: (0.02, 0.99), torch.float16: (0.005, 0.999)}


def must_run(kernel: str, dtype: torch.dtype, padding: str) -> bool:
    """Whether PyTorch documents that a CUDA device has this kernel for such a batch."""
    if IS_REHEARSAL:
        return kernel == "math"
    return {
        "flash": dtype in HALF and padding == "unpadded",
        "memory-efficient": True,
        "math": True,
        "cuDNN": False,  # depends on card and version
    }[kernel]


def drawn(padding: str, dtype: torch.dtype):
    """Return query, key and value, the gradient of the context, and the mask; all on the device."""
    _, mask = random_batch(LENGTHS[padding])
    generator = torch.Generator().manual_seed(0)
    tensors = torch.randn(4, len(mask), HEADS, mask.shape[1], HEAD_DIM, generator=generator).to(dtype)
    tensors[0] *= HEAD_DIM**-0.5
    # Nothing reads the context of padding.
    tensors[3] *= mask[:, None, :, None]
    return *tensors.to(DEVICE), mask.to(DEVICE)


def context_and_gradients(inputs, upstream, mask, backend: str, kernel: SDPBackend | None = None):
    """Return context and gradients of query, key, value as (tokens, heads, head_dim), at tokens of the batch."""
    inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    padding = PaddingMask.from_attention_mask(mask)
    if kernel is None:
        context, _ = attention(*inputs, padding, backend)
    else:
        with sdpa_kernel(kernel):
            context, _ = attention(*inputs, padding, backend)
    context.backward(upstream)
    return [x.detach().transpose(1, 2)[mask.bool()] for x in (context, *(tensor.grad for tensor in inputs))]


@pytest.mark.parametrize("padding", LENGTHS)
@pytest.mark.parametrize("dtype", LIMITS, ids=["float32", "bf16", "fp16"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_gives_the_plain_products(kernel, dtype, padding):
    *inputs, upstream, mask = drawn(padding, dtype)
    wide = [tensor.float() for tensor in (*inputs, upstream)]
    wanted = context_and_gradients(wide[:3], wide[3], mask, "eager")
    try:
        found = context_and_gradients(inputs, upstream, mask, "sdpa", KERNELS[kernel])
    except RuntimeError as error:
        if must_run(kernel, dtype, padding):
            raise
        NOTES.append(f"{kernel}, {dtype}, {padding}: not available ({str(error).splitlines()[0][:100]})")
        pytest.skip(f"{kernel} does not take this batch here")
    pairs = []
    for one, other in zip(found, wanted):
        # Of gradients near 0, as where a softmax is saturated, half precision leaves little.
        lengths = other.norm(dim=-1)
        kept = lengths > 0.05 * lengths.mean()
        pairs.append((one[kept], other[kept]))
    check_close(f"{kernel}, {dtype}, {padding}, context and gradients", *pairs, limits=LIMITS[dtype])


@pytest.mark.parametrize("padding", LENGTHS)
@pytest.mark.parametrize("dtype", LIMITS, ids=["float32", "bf16", "fp16"])
def test_a_gpu_does_not_fall_back_to_the_math_kernel(dtype, padding):
    query, key, value, _, mask = drawn(padding, dtype)
    keep = None if padding == "unpadded" else mask.bool()[:, None, None, :]
    chosen = SDPBackend(torch._fused_sdp_choice(query, key, value, keep, scale=1.0))
    NOTES.append(f"kernel chosen for {dtype}, {padding}: {chosen.name}")
    assert IS_REHEARSAL or chosen != SDPBackend.MATH
