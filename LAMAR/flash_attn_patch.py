"""The one place that chooses how attention is computed: eager, PyTorch's SDPA, or flash-attn.

All backends take the query already scaled by ``head_dim ** -0.5`` (ESM-2 scales it before the rotary
rotation), so the scale used here is 1.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import torch
from torch import nn

from .errors import InputError

__all__ = ["BACKENDS", "PaddingMask", "attention", "available_backends", "backend_argument", "resolve_backend"]

BACKENDS = ("eager", "sdpa", "flash_attention_2")
LONGEST_WITHOUT_SDPA = 160  # tokens


def available_backends() -> tuple[str, ...]:
    """Backends that can run on this machine."""
    return tuple(name for name in BACKENDS if _why_unavailable(name) is None)


def _why_unavailable(backend: str) -> str | None:
    if backend != "flash_attention_2":
        return None
    if not torch.cuda.is_available():
        return "it needs a CUDA device and none is visible"
    if importlib.util.find_spec("flash_attn") is None:
        return "the package flash-attn is not installed"
    return None


def resolve_backend(name: str | None) -> str:
    """Name of the backend to use; ``None`` and ``auto`` mean SDPA, ``flash`` is short for flash_attention_2.

    Raises
    ------
    ValueError
        For an unknown backend, or one that cannot run here.
    """
    name = {None: "sdpa", "auto": "sdpa", "flash": "flash_attention_2"}.get(name, name)
    if name not in BACKENDS:
        raise ValueError(f"attention backend: found {name!r}, wanted one of {', '.join(BACKENDS)}")
    reason = _why_unavailable(name)
    if reason:
        raise ValueError(f"attention backend {name!r} cannot be used: {reason}")
    return name


def backend_argument(name: str) -> str:
    """:func:`resolve_backend` for ``--attention``: raises :class:`InputError`."""
    try:
        return resolve_backend(name)
    except ValueError as error:
        raise InputError(f"--attention: {error}") from error


@dataclass(frozen=True)
class PaddingMask:
    """A padding mask in the forms that the backends want, made once per forward pass.

    ``keep`` is boolean, shape (batch, length), True on tokens that are not padding.
    """

    keep: torch.Tensor

    @classmethod
    def from_attention_mask(cls, attention_mask: torch.Tensor | None) -> PaddingMask | None:
        """``None`` when nothing is padded, so that the fast unmasked kernels are taken."""
        if attention_mask is None:
            return None
        if attention_mask.dim() != 2:
            raise ValueError(f"attention_mask: found shape {tuple(attention_mask.shape)}, wanted (batch, length)")
        keep = attention_mask.bool()
        # Reading a value back would break a compiled graph; there the masked kernel is always right.
        if not torch.compiler.is_compiling() and bool(keep.all()):
            return None
        return cls(keep)

    def additive(self, dtype: torch.dtype) -> torch.Tensor:
        """(batch, 1, 1, length): 0 on tokens, the most negative finite value on padding."""
        bias = torch.zeros(self.keep.shape, dtype=dtype, device=self.keep.device)
        return bias.masked_fill(~self.keep, torch.finfo(dtype).min)[:, None, None, :]


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: PaddingMask | None,
    backend: str,
    dropout: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Bidirectional attention with scale 1.

    Parameters
    ----------
    query, key, value
        Shape (batch, heads, length, head_dim), one floating dtype; query already scaled and rotated.
    mask
        Padding to ignore, or None.
    backend
        One of :data:`BACKENDS`.
    dropout
        Probability of dropping an attention weight (0 outside training).

    Returns
    -------
    context, weights
        (batch, heads, length, head_dim); and (batch, heads, length, length) with the eager backend, else None.
        Values at padded query positions mean nothing and may differ between backends.
    """
    if backend == "eager":
        return _eager(query, key, value, mask, dropout)
    if backend == "sdpa":
        if _backward_of_sdpa_is_slow(query):
            return _eager(query, key, value, mask, dropout)[0], None
        keep = None if mask is None else mask.keep[:, None, None, :]
        context = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=keep, dropout_p=dropout, scale=1.0
        )
        return context, None
    return _flash(query, key, value, mask, dropout), None


def _eager(query, key, value, mask, dropout):
    scores = torch.matmul(query, key.transpose(-1, -2))
    if mask is not None:
        scores = scores + mask.additive(scores.dtype)
    # Half precision would lose the tail of long rows.
    wide = torch.promote_types(scores.dtype, torch.float32)
    weights = torch.softmax(scores, dim=-1, dtype=wide).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout) if dropout else weights
    return torch.matmul(weights, value), weights


def _backward_of_sdpa_is_slow(query: torch.Tensor) -> bool:
    """Training on a CPU in bfloat16: for short sequences SDPA takes up to four times as long as the plain products.

    Longer ones are faster with SDPA, as is float32 of any length (tests/benchmarks/bench_attention.py).
    """
    short = query.shape[-2] <= LONGEST_WITHOUT_SDPA
    return short and query.requires_grad and query.device.type == "cpu" and query.dtype == torch.bfloat16


def _flash(query, key, value, mask, dropout):
    from flash_attn import flash_attn_func, flash_attn_varlen_func

    dtype = query.dtype
    # flash-attn has half-precision kernels only; under autocast the inputs may still be float32.
    half = dtype if dtype in (torch.float16, torch.bfloat16) else torch.bfloat16
    query, key, value = (x.transpose(1, 2).to(half) for x in (query, key, value))
    if mask is None:
        context = flash_attn_func(query, key, value, dropout_p=dropout, softmax_scale=1.0)
        return context.transpose(1, 2).to(dtype)
    batch, length = mask.keep.shape
    lengths = mask.keep.sum(dim=1, dtype=torch.int32)
    starts = nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
    longest = int(lengths.max())
    packed = flash_attn_varlen_func(
        *(x[mask.keep] for x in (query, key, value)),
        starts,
        starts,
        longest,
        longest,
        dropout_p=dropout,
        softmax_scale=1.0,
    )
    context = packed.new_zeros((batch, length, *packed.shape[1:]))
    context[mask.keep] = packed
    return context.transpose(1, 2).to(dtype)
