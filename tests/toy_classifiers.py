"""Small classifiers whose attributions can be worked out by hand, see `LAMAR.interpretation.classifiers`."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn

N_TOKENS, LONGEST = 10, 64


class ToyClassifier(nn.Module):
    """One-hot token embeddings of ten dimensions; subclasses turn them into logits."""

    def __init__(self, num_labels: int = 2, loss_type: str | None = None):
        super().__init__()
        self.config = SimpleNamespace(num_labels=num_labels, loss_type=loss_type, max_position_embeddings=LONGEST)
        self.table = nn.Embedding.from_pretrained(torch.eye(N_TOKENS), freeze=False)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.table

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None):
        embeddings = self.table(input_ids) if inputs_embeds is None else inputs_embeds
        return SimpleNamespace(logits=self.logits(embeddings * attention_mask.unsqueeze(-1)))


class Linear(ToyClassifier):
    """logit[k] = sum over positions of weight[position, token, k]; positions count ``<cls>`` as 0."""

    def __init__(self, seed: int = 0, **options):
        super().__init__(**options)
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(LONGEST, N_TOKENS, self.config.num_labels, generator=generator))

    def logits(self, embeddings):
        return torch.einsum("bld,ldk->bk", embeddings, self.weight[: embeddings.shape[1]])


class Coupled(ToyClassifier):
    """logit[1] = strength where nucleotide ``first`` is A and nucleotide ``second`` is T, else 0; logit[0] = 0."""

    A, T = 5, 6

    def __init__(self, first: int, second: int, strength: float = 3.0):
        super().__init__()
        self.places = (first + 1, second + 1)
        self.strength = nn.Parameter(torch.tensor(strength))

    def logits(self, embeddings):
        both = embeddings[:, self.places[0], self.A] * embeddings[:, self.places[1], self.T]
        return torch.stack([torch.zeros_like(both), self.strength * both], dim=1)


class Sum(ToyClassifier):
    """logit[1] = function(number of A); logit[0] = 0."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def logits(self, embeddings):
        value = self.function(embeddings[..., 5].sum(1))
        return torch.stack([torch.zeros_like(value), value], dim=1)
