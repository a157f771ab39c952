"""Heads and losses for sequence-level prediction from token embeddings."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["HEADS", "LOSSES", "build_head", "default_loss", "head_features", "masked_mean", "sequence_loss"]

HEADS = ("linear", "mean", "cnn")
LOSSES = ("ce", "focal", "mse", "bce")


def masked_mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the positions where ``mask`` is True: (batch, length, d), (batch, length) -> (batch, d)."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


class LinearHead(nn.Module):
    """ESM's classification head: dense, tanh, projection. Takes (batch, d), the ``<cls>`` embedding."""

    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.out_proj(self.dropout(torch.tanh(self.dense(self.dropout(features)))))


class MeanHead(nn.Module):
    """One projection of the mean nucleotide embedding. Takes (batch, d)."""

    def __init__(self, config):
        super().__init__()
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.out_proj(self.dropout(features))


class CNNHead(nn.Module):
    """Two convolutions over nucleotides, max over positions, projection.

    Takes (batch, length, d) and the boolean nucleotide mask (batch, length). Masked positions are zeroed before
    each convolution and excluded from the maximum, so neither padding nor special tokens change the result.
    """

    def __init__(self, config):
        super().__init__()
        width = config.head_channels
        self.reduce = nn.Conv1d(config.hidden_size, width, kernel_size=1)
        self.conv = nn.Conv1d(width, width, kernel_size=config.head_kernel_size, padding="same")
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.out_proj = nn.Linear(width, config.num_labels)

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        keep = mask.unsqueeze(1)
        # GELU, not ReLU: a unit that a large step pushes below zero everywhere still has a gradient.
        x = nn.functional.gelu(self.reduce(features.transpose(1, 2))) * keep
        x = nn.functional.gelu(self.conv(x)).masked_fill(~keep, torch.finfo(x.dtype).min)
        return self.out_proj(self.dropout(x.amax(dim=-1)))


def build_head(config) -> nn.Module:
    """Head named by ``config.head_type``: ``linear`` (on ``<cls>``), ``mean`` or ``cnn`` (on nucleotides)."""
    return {"linear": LinearHead, "mean": MeanHead, "cnn": CNNHead}[config.head_type](config)


def head_features(head_type: str, hidden: torch.Tensor, nucleotides: torch.Tensor) -> torch.Tensor:
    """What a head takes from the encoder's last hidden state (batch, length, d).

    Kept apart from the head so that a frozen encoder's features can be computed once and stored.

    Returns
    -------
    (batch, d) for ``linear`` and ``mean``; (batch, length, d) for ``cnn``.
    """
    if head_type == "linear":
        return hidden[:, 0]
    if head_type == "mean":
        return masked_mean(hidden, nucleotides)
    return hidden


def default_loss(num_labels: int, labels: torch.Tensor) -> str:
    """MSE for one output; BCE for (batch, num_labels) labels; else cross-entropy."""
    if num_labels == 1:
        return "mse"
    return "bce" if labels.dim() == 2 else "ce"


def sequence_loss(
    logits: torch.Tensor, labels: torch.Tensor, loss_type: str | None = None, focal_gamma: float = 2.0
) -> torch.Tensor:
    """Mean loss over the batch, in float32.

    Parameters
    ----------
    logits
        (batch, num_labels).
    labels
        ``ce``, ``focal``: class indices (batch,). ``mse``: targets (batch,) or (batch, 1).
        ``bce``: 0/1 (batch, num_labels).
    loss_type
        One of :data:`LOSSES`; None chooses by :func:`default_loss`.
    focal_gamma
        Exponent of the focal loss, (1 - p) ** gamma * cross-entropy (Lin et al., ICCV 2017); 0 is cross-entropy.
    """
    logits = logits.float()
    loss_type = loss_type or default_loss(logits.shape[-1], labels)
    if loss_type == "ce":
        return nn.functional.cross_entropy(logits, labels.long())
    if loss_type == "focal":
        cross_entropy = nn.functional.cross_entropy(logits, labels.long(), reduction="none")
        # Kept above 0: at a certainty, the power's slope is infinite for a gamma below 1, and the gradient NaN.
        doubt = (-torch.expm1(-cross_entropy)).clamp(min=torch.finfo(torch.float32).tiny)
        return (doubt**focal_gamma * cross_entropy).mean()
    if loss_type == "mse":
        return nn.functional.mse_loss(logits.reshape(labels.shape), labels.float())
    if loss_type == "bce":
        return nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
    raise ValueError(f"loss_type: found {loss_type!r}, wanted one of {', '.join(LOSSES)}")
