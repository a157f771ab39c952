"""The masked-LM head, and its change to another number of tokens."""

from __future__ import annotations

import math

import torch
from torch import nn

from .configuration import EsmConfig

__all__ = ["EsmLMHead", "gelu"]


def gelu(x: torch.Tensor) -> torch.Tensor:
    """Return the GELU in its erf form, x * Phi(x), operation for operation as ESM-2 writes it.

    The fused ``torch.nn.functional.gelu`` is the same function and some 20 times as fast on a CPU, but rounds
    differently (2e-6 after three blocks). The eager backend uses this one, so that it equals upstream to the bit.
    """
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


class EsmLMHead(nn.Module):
    """Dense layer, GELU, layer norm, and a decoder that does not share the embeddings' weight."""

    def __init__(self, config: EsmConfig):
        super().__init__()
        self.config = config
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = self.dense(hidden)
        # Training keeps the form that upstream was trained with.
        exact = torch.is_grad_enabled() or self.config._attn_implementation == "eager"
        hidden = gelu(hidden) if exact else torch.ops.aten.gelu_(hidden)
        return self.decoder(self.layer_norm(hidden)) + self.bias

    @torch.no_grad()
    def set_decoder(self, decoder: nn.Linear) -> None:
        """Replace the decoder, (d, n) without a bias, and fit the bias to its n tokens: that of new ones is zero."""
        old, kept = self.bias, min(len(self.bias), decoder.out_features)
        self.decoder = decoder
        if decoder.out_features != len(old):
            bias = old.new_zeros(decoder.out_features)
            bias[:kept] = old[:kept]
            self.bias = nn.Parameter(bias, requires_grad=old.requires_grad)
