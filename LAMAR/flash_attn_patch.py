"""Choice of the attention backend: eager, PyTorch's SDPA, or flash-attn.

All backends take a query that is already scaled by ``head_dim ** -0.5`` (ESM-2 scales it before the rotary rotation),
so the scale used here is 1.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import torch
from torch import nn

from .errors import InputError

__all__ = ["BACKENDS", "Packing", "PaddingMask", "attention", "resolve_backend"]

BACKENDS = ("eager", "sdpa", "flash_attention_2")
LONGEST_WITHOUT_SDPA = 160  # tokens


def _why_unavailable(backend: str) -> str | None:
    if backend != "flash_attention_2":
        return None
    if not torch.cuda.is_available():
        return "it needs a CUDA device and none is visible"
    if importlib.util.find_spec("flash_attn") is None:
        return "the package flash-attn is not installed"
    return None


def resolve_backend(name: str | None) -> str:
    """Return the name of the backend to use.

    Parameters
    ----------
    name : str or None
        A name of `BACKENDS`; None and ``auto`` mean ``sdpa``, ``flash`` is short for ``flash_attention_2``.

    Raises
    ------
    InputError
        For an unknown backend, or one that cannot run on this machine.
    """
    name = {None: "sdpa", "auto": "sdpa", "flash": "flash_attention_2"}.get(name, name)
    if name not in BACKENDS:
        raise InputError(f"`attention`: found {name!r}, wanted one of {', '.join(BACKENDS)}")
    reason = _why_unavailable(name)
    if reason:
        raise InputError(f"`attention`: {name} cannot be used: {reason}")
    return name


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a padded batch stand once padding is left out.

    Attributes
    ----------
    indices : torch.Tensor of int64, shape (tokens,)
        Positions of the tokens in the flattened batch.
    starts : torch.Tensor of int32, shape (batch + 1,)
        First token of each record, then the number of tokens.
    longest : int
        Tokens of the longest record.
    """

    indices: torch.Tensor
    starts: torch.Tensor
    longest: int


class PaddingMask:
    """Padding of a batch in the forms that the backends want, each made once per forward pass.

    Parameters
    ----------
    keep : torch.Tensor of bool, shape (batch, length)
        True on tokens that are not padding.
    """

    def __init__(self, keep: torch.Tensor):
        self.keep = keep
        self._additive: dict[torch.dtype, torch.Tensor] = {}
        self._packing: Packing | None = None

    @classmethod
    def from_attention_mask(cls, attention_mask: torch.Tensor | None) -> PaddingMask | None:
        """Return the mask of a batch, or None where nothing is padded, so that the fast unmasked kernels are taken.

        Parameters
        ----------
        attention_mask : torch.Tensor, shape (batch, length), or None
            1 on tokens and 0 on padding.

        Raises
        ------
        ValueError
            For another shape.
        """
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
        """Return what is added to the scores, (batch, 1, 1, length): 0, or the most negative finite value."""
        if dtype not in self._additive:
            bias = torch.zeros(self.keep.shape, dtype=dtype, device=self.keep.device)
            self._additive[dtype] = bias.masked_fill(~self.keep, torch.finfo(dtype).min)[:, None, None, :]
        return self._additive[dtype]

    def packing(self) -> Packing:
        """Return the places of the tokens without padding. The first call waits for the GPU, later ones do not."""
        if self._packing is None:
            lengths = self.keep.sum(dim=1, dtype=torch.int32)
            starts = nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
            self._packing = Packing(self.keep.flatten().nonzero()[:, 0], starts, int(lengths.max()))
        return self._packing


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: PaddingMask | None,
    backend: str,
    dropout: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return bidirectional attention with scale 1.

    Parameters
    ----------
    query, key, value : torch.Tensor, shape (batch, heads, length, head_dim)
        Of one floating dtype; the query already scaled and rotated.
    mask : PaddingMask or None
        Padding to ignore.
    backend : str
        A name of `BACKENDS`.
    dropout : float
        Probability of dropping an attention weight (0 outside training).

    Returns
    -------
    context : torch.Tensor, shape (batch, heads, length, head_dim)
        Values at padded query positions mean nothing and may differ between backends.
    weights : torch.Tensor, shape (batch, heads, length, length), or None
        With the eager backend only.
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
    """Return whether this is training on a CPU in bfloat16 with short sequences.

    There SDPA takes up to four times as long as the plain products. Longer sequences are faster with SDPA, as is
    float32 of any length (tests/benchmarks/bench_attention.py).
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
    packing = mask.packing()
    packed = flash_attn_varlen_func(
        *(x.flatten(0, 1).index_select(0, packing.indices) for x in (query, key, value)),
        packing.starts,
        packing.starts,
        packing.longest,
        packing.longest,
        dropout_p=dropout,
        softmax_scale=1.0,
    )
    context = packed.new_zeros((batch * length, *packed.shape[1:])).index_copy(0, packing.indices, packed)
    return context.unflatten(0, (batch, length)).transpose(1, 2).to(dtype)
