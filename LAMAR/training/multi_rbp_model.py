"""A classifier with one output per track: its head, its loss over the labels that are known, its logits."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..checkpoints import LoadReport, load_pretrained, read_config, stored_heads
from ..configuration import EsmConfig
from ..errors import InputError
from ..modeling_nucESM2 import EsmForSequenceClassification
from .multi_rbp_data import UNKNOWN, JointData

__all__ = [
    "DEFAULT_HEAD",
    "JointModelSettings",
    "build_joint_model",
    "masked_track_loss",
    "predict_logits",
    "set_prior_bias",
    "token_batch",
    "track_weights",
]

DEFAULT_HEAD = "max_mean"
EVALUATION_BATCH = 128


@dataclass(frozen=True)
class JointModelSettings:
    """Source of the weights and head of a joint model; names and defaults as in ``finetune_all_rbps.py``."""

    pretrain_path: str = ""
    config: EsmConfig | None = None
    head: str | None = None
    head_channels: int = 256
    head_kernel_size: int = 9
    new_head: bool = False
    attention: str = "sdpa"


def build_joint_model(
    settings: JointModelSettings, data: JointData, seed: int
) -> tuple[EsmForSequenceClassification, LoadReport]:
    """A classifier with one named output per track.

    A new head begins at the tracks' prior log-odds. Weights that have a classification head already keep it, unless
    ``new_head`` is set.

    Raises
    ------
    InputError
        The weights have a head of other tracks or of another form, or do not fit.
    """
    path = settings.pretrain_path
    kept = bool(path) and not settings.new_head and "classification head" in stored_heads(path)
    fields_of_head = {
        "head_type": settings.head or DEFAULT_HEAD,
        "head_channels": settings.head_channels,
        "head_kernel_size": settings.head_kernel_size,
    }
    if kept:
        fields_of_head = _check_kept_head(settings, data)
    model, report = load_pretrained(
        EsmForSequenceClassification,
        path,
        config=settings.config,
        seed=seed,
        new_head=not kept,
        attention=settings.attention,
        id2label=dict(enumerate(data.names)),
        label2id={name: number for number, name in enumerate(data.names)},
        loss_type="bce",
        problem_type="multi_label_classification",
        window_length=data.window_length,
        **fields_of_head,
    )
    if not kept:
        set_prior_bias(model, *data.track_counts(data.train))
    return model, report


def _check_kept_head(settings: JointModelSettings, data: JointData) -> dict:
    """Fields of a head that is trained on; :class:`InputError` unless it has the tracks of the data, in this order."""
    config = read_config(Path(settings.pretrain_path) / "config.json")
    wanted, found = data.names, [config.id2label[number] for number in sorted(config.id2label)]
    if found != wanted:
        differing = next((pair for pair in zip(found, wanted) if pair[0] != pair[1]), None)
        what = f"{differing[0]!r} where these have {differing[1]!r}" if differing else f"{len(found)} tracks"
        raise InputError(
            f"--pretrain_path: {settings.pretrain_path}: found a head of other tracks than the {len(wanted)} of "
            f"--data_path ({what}); wanted the same tracks in the same order, or --new_head"
        )
    if settings.head not in (None, config.head_type):
        raise InputError(
            f"--head: found {settings.head}, but {settings.pretrain_path} has a trained {config.head_type} head; "
            "wanted that, or --new_head"
        )
    return {name: getattr(config, name) for name in ("head_type", "head_channels", "head_kernel_size")}


def track_weights(n_sites: np.ndarray, power: float) -> np.ndarray:
    """Weight of each track in the loss: its number of sites to a power, with a mean of 1.

    Parameters
    ----------
    n_sites : int (k,)
        Bound train windows of each track, 1 or more.
    power : float
        0 weighs all tracks alike, a negative power favours tracks with few sites, a positive one those with many.

    Returns
    -------
    float32 (k,)
    """
    weights = np.asarray(n_sites, dtype=np.float64) ** power
    return (weights / weights.mean()).astype(np.float32)


def masked_track_loss(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sum of the binary cross-entropy over known labels, in float32, and the sum of their weights.

    Parameters
    ----------
    logits : (batch, k)
    labels : int8 (batch, k)
        1, 0 or :data:`~LAMAR.training.multi_rbp_data.UNKNOWN`.
    weights : float32 (k,)
        Weight of each track.

    Returns
    -------
    loss, weight
        Scalars; the mean loss is their ratio, which several processes take over the sums of all.
    """
    known = (labels != UNKNOWN) * weights
    targets = labels.clamp(min=0).float()
    losses = nn.functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    return (losses * known).sum(), known.sum()


@torch.no_grad()
def set_prior_bias(model: EsmForSequenceClassification, n_bound: np.ndarray, n_unbound: np.ndarray) -> None:
    """Set the bias of each output to the log-odds of its share of bound windows, with half a window added to each."""
    log_odds = np.log((n_bound + 0.5) / (n_unbound + 0.5))
    bias = model.classifier.out_proj.bias
    bias.copy_(torch.as_tensor(log_odds, dtype=bias.dtype))


def token_batch(data: JointData, rows: np.ndarray, device) -> torch.Tensor:
    """Token ids of a batch, padded to its own longest window; int64 (m, length)."""
    ids = data.input_ids[rows][:, : data.lengths(rows).max()]
    return torch.from_numpy(ids).to(device).long()


@contextmanager
def _evaluation_mode(model: nn.Module):
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def predict_logits(
    model: EsmForSequenceClassification, data: JointData, rows: np.ndarray, bf16: bool = False
) -> np.ndarray:
    """Logits of some windows in their order; float32 (m, k). The model's mode is restored."""
    device = next(model.parameters()).device
    logits = np.empty((len(rows), model.config.num_labels), dtype=np.float32)
    by_length = np.argsort(data.lengths(rows), kind="stable")
    with _evaluation_mode(model), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for start in range(0, len(rows), EVALUATION_BATCH):
            places = by_length[start : start + EVALUATION_BATCH]
            logits[places] = model(token_batch(data, rows[places], device)).logits.float().cpu().numpy()
    return logits
