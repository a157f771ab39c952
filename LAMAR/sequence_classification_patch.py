"""Heads and losses for sequence-level prediction from token embeddings.

`LAMAR.tasks` lists them. A head is a module that is built from an `EsmConfig` and called with features and the
nucleotide mask; a loss is a function of float32 logits and labels.
"""

from __future__ import annotations

import torch
from torch import nn

from .alphabet import EOS
from .tasks import HEADS, LOSSES, TASKS, task_of

__all__ = [
    "AttentionHead",
    "CNNHead",
    "LinearHead",
    "MaxMeanHead",
    "MeanHead",
    "binary_cross_entropy",
    "build_head",
    "cross_entropy",
    "default_loss",
    "focal",
    "head_features",
    "masked_mean",
    "nucleotide_mask",
    "pool",
    "sequence_loss",
    "squared_error",
]


def nucleotide_mask(input_ids: torch.Tensor | None, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """Return a mask that is True on nucleotides (``<mask>``, ``<unk>`` and N included).

    It is False on ``<cls>``, ``<eos>`` and ``<pad>``. Without ids (a forward pass from embeddings) the first and the
    last attended position count as special.

    Parameters
    ----------
    input_ids : torch.Tensor of int64, shape (batch, length), or None
    attention_mask : torch.Tensor, shape (batch, length), or None
        Necessary without ids.

    Returns
    -------
    torch.Tensor of bool, shape (batch, length)
    """
    if input_ids is not None:
        mask = input_ids > EOS
        return mask if attention_mask is None else mask & attention_mask.bool()
    keep = attention_mask.bool().clone()
    last = keep.shape[1] - 1 - keep.flip(1).int().argmax(1)
    keep[:, 0] = False
    keep[torch.arange(len(keep), device=keep.device), last] = False
    return keep


def masked_mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean over the positions where ``mask`` is True, zeros where there is none.

    Parameters
    ----------
    hidden : torch.Tensor, shape (batch, length, d)
    mask : torch.Tensor of bool, shape (batch, length)

    Returns
    -------
    torch.Tensor, shape (batch, d)
        Of the dtype of ``hidden``.
    """
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def pool(hidden: torch.Tensor, nucleotides: torch.Tensor, pooling: str) -> torch.Tensor:
    """Return one vector per record.

    Parameters
    ----------
    hidden : torch.Tensor, shape (batch, length, d)
    nucleotides : torch.Tensor of bool, shape (batch, length)
        True on nucleotides.
    pooling : {"cls", "mean", "max"}
        The first position, or the mean or maximum over nucleotides.

    Returns
    -------
    torch.Tensor, shape (batch, d)
    """
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "mean":
        return masked_mean(hidden, nucleotides)
    return hidden.masked_fill(~nucleotides.unsqueeze(-1), -torch.inf).amax(1)


class LinearHead(nn.Module):
    """ESM's classification head: dense layer, tanh, projection. It takes the ``<cls>`` embedding, (batch, d)."""

    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.out_proj(self.dropout(torch.tanh(self.dense(self.dropout(features)))))


class MeanHead(nn.Module):
    """One projection of the mean nucleotide embedding, (batch, d)."""

    def __init__(self, config):
        super().__init__()
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.out_proj(self.dropout(features))


class CNNHead(nn.Module):
    """Two convolutions over nucleotides, maximum over positions, projection.

    It takes (batch, length, d) and the boolean nucleotide mask (batch, length). Masked positions are zeroed before
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


class AttentionHead(nn.Module):
    """Attention pooling over nucleotides, dense layer, projection.

    It takes (batch, length, d) and the boolean nucleotide mask (batch, length). Each of the configuration's
    ``num_attention_heads`` pools one slice of the channels with its own weights, so that one part of the head can
    select the positions of a motif and another the whole sequence.
    """

    def __init__(self, config):
        super().__init__()
        self.heads = config.num_attention_heads
        self.score = nn.Linear(config.hidden_size, self.heads)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        scores = self.score(features).float().masked_fill(~mask.unsqueeze(-1), torch.finfo(torch.float32).min)
        weights = scores.softmax(dim=1).to(features.dtype)
        slices = features.unflatten(-1, (self.heads, -1))
        pooled = (slices * weights.unsqueeze(-1)).sum(dim=1).flatten(1)
        return self.out_proj(self.dropout(nn.functional.gelu(self.dense(pooled))))


class MaxMeanHead(nn.Module):
    """Maximum of a convolution over nucleotides and the nucleotides' mean, dense layer, projection.

    It takes (batch, length, d) and the boolean nucleotide mask (batch, length). The maximum keeps a motif of a few
    nucleotides that the mean of a long sequence would dilute; the mean keeps the composition. Masked positions are
    zeroed before the convolution and excluded from maximum and mean.
    """

    def __init__(self, config):
        super().__init__()
        self.conv = nn.Conv1d(config.hidden_size, config.head_channels, config.head_kernel_size, padding="same")
        self.dense = nn.Linear(config.head_channels + config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        keep = mask.unsqueeze(1)
        x = nn.functional.gelu(self.conv(features.transpose(1, 2) * keep))
        largest = x.masked_fill(~keep, torch.finfo(x.dtype).min).amax(dim=-1)
        both = torch.cat([largest, masked_mean(features, mask).to(largest.dtype)], dim=-1)
        return self.out_proj(self.dropout(nn.functional.gelu(self.dense(both))))


def build_head(config) -> nn.Module:
    """Return a freshly initialised head of the kind that ``config.head_type`` names (a key of `LAMAR.tasks.HEADS`)."""
    return HEADS.choose(config.head_type, "head_type").load()(config)


def head_features(head_type: str, hidden: torch.Tensor, nucleotides: torch.Tensor) -> torch.Tensor:
    """Return what a head reads of the encoder's last hidden state.

    Kept apart from the head so that a frozen encoder's features can be computed once and stored.

    Parameters
    ----------
    head_type : str
        A key of `LAMAR.tasks.HEADS`.
    hidden : torch.Tensor, shape (batch, length, d)
    nucleotides : torch.Tensor of bool, shape (batch, length)

    Returns
    -------
    torch.Tensor
        ``hidden`` itself for heads that read every position, else (batch, d).
    """
    pooling = HEADS[head_type].pooling
    return hidden if pooling == "none" else pool(hidden, nucleotides, pooling)


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of logits (batch, K) and class indices (batch,)."""
    return nn.functional.cross_entropy(logits, labels.long())


def focal(logits: torch.Tensor, labels: torch.Tensor, focal_gamma: float = 2.0) -> torch.Tensor:
    """Return the mean focal loss, ``(1 - p) ** focal_gamma`` times the cross-entropy, of logits (batch, K).

    References
    ----------
    Lin et al., Focal Loss for Dense Object Detection, ICCV 2017.
    """
    losses = nn.functional.cross_entropy(logits, labels.long(), reduction="none")
    # Kept above 0: at a certainty, the power's slope is infinite for a gamma below 1, and the gradient NaN.
    doubt = (-torch.expm1(-losses)).clamp(min=torch.finfo(torch.float32).tiny)
    return (doubt**focal_gamma * losses).mean()


def squared_error(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of predictions (batch, 1) and targets (batch,) or (batch, 1)."""
    return nn.functional.mse_loss(logits.reshape(labels.shape), labels.float())


def binary_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean binary cross-entropy of logits and 0/1 labels, both (batch, K)."""
    return nn.functional.binary_cross_entropy_with_logits(logits, labels.float())


def default_loss(nlabels: int, labels: torch.Tensor) -> str:
    """Return the name of the loss of a model with that many outputs, by the shape of its labels.

    One output means regression, labels (batch, nlabels) several yes/no labels, anything else classes.
    """
    return TASKS[task_of(nlabels, "bce" if labels.dim() == 2 else None)].loss


def sequence_loss(
    logits: torch.Tensor, labels: torch.Tensor, loss_type: str | None = None, focal_gamma: float = 2.0
) -> torch.Tensor:
    """Return the mean loss over the batch, computed in float32.

    Parameters
    ----------
    logits : torch.Tensor, shape (batch, num_labels)
    labels : torch.Tensor
        Class indices (batch,) for ``ce`` and ``focal``, targets (batch,) or (batch, 1) for ``mse``, 0/1
        (batch, num_labels) for ``bce``.
    loss_type : str, optional
        A key of `LAMAR.tasks.LOSSES`; None chooses by `default_loss`.
    focal_gamma : float
        Exponent of the focal loss; 0 gives cross-entropy.

    Returns
    -------
    torch.Tensor, scalar, float32

    Raises
    ------
    InputError
        For an unknown loss.
    """
    loss = LOSSES.choose(loss_type or default_loss(logits.shape[-1], labels), "loss_type")
    options = {"focal_gamma": focal_gamma}
    return loss.load()(logits.float(), labels, **{name: options[name] for name in loss.options})
