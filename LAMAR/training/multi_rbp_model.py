"""A classifier with one output per track: its head, its loss over the labels that are known, its logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..batches import batched_logits
from ..checkpoint_files import stored_heads
from ..checkpoints import LoadReport, config_argument, load_pretrained, read_config
from ..errors import InputError
from ..flash_attn_patch import resolve_backend
from ..modeling_nucESM2 import EsmForSequenceClassification
from ..statistics.track_metrics import UNKNOWN
from .multi_rbp_data import JointData
from .multi_rbp_options import DEFAULT_HEAD, JointOptions

__all__ = [
    "build_joint_model",
    "masked_track_loss",
    "predict_logits",
    "set_prior_bias",
    "token_batch",
    "track_weights",
]

EVALUATION_BATCH = 128  # windows of the longest length


def build_joint_model(options: JointOptions, data: JointData) -> tuple[EsmForSequenceClassification, LoadReport]:
    """Return a classifier with one named output per track, and the report of its weights.

    A new head starts at the tracks' prior log-odds. Weights that have a classification head keep it, unless
    ``new_head`` is set.

    Raises
    ------
    InputError
        The weights have a head of other tracks or of another kind, or do not fit.
    """
    path = str(options.pretrain_path)
    keeps_head = bool(path) and not options.new_head and "classification head" in stored_heads(path)
    if keeps_head:
        fields_of_head = _check_stored_head(options, data)
    else:
        fields_of_head = {
            "head_type": options.head or DEFAULT_HEAD,
            "head_channels": options.head_channels,
            "head_kernel_size": options.head_kernel_size,
        }
    model, report = load_pretrained(
        EsmForSequenceClassification,
        path,
        config=config_argument(options.config or ("" if path else "lamar")),
        seed=options.seed,
        new_head=not keeps_head,
        attention=resolve_backend(options.attention),
        id2label=dict(enumerate(data.names)),
        label2id={name: number for number, name in enumerate(data.names)},
        loss_type="bce",
        problem_type="multi_label_classification",
        window_length=data.window_length,
        **fields_of_head,
    )
    if not keeps_head:
        set_prior_bias(model, *data.track_counts(data.train))
    return model, report


def _check_stored_head(options: JointOptions, data: JointData) -> dict:
    """Return the configuration of the weights' head; `InputError` unless it has the data's tracks, in their order."""
    config = read_config(Path(options.pretrain_path) / "config.json")
    wanted, found = data.names, [config.id2label[number] for number in sorted(config.id2label)]
    if found != wanted:
        differing = next((pair for pair in zip(found, wanted) if pair[0] != pair[1]), None)
        what = f"{differing[0]!r} where these have {differing[1]!r}" if differing else f"{len(found)} tracks"
        raise InputError(
            f"`pretrain_path`: {options.pretrain_path}: found a head of other tracks than the {len(wanted)} of "
            f"`data_path` ({what}); wanted the same tracks in the same order, or `new_head`"
        )
    if options.head not in (None, config.head_type):
        raise InputError(
            f"`head`: found {options.head}, but {options.pretrain_path} has a trained {config.head_type} head; "
            "wanted that, or `new_head`"
        )
    return {name: getattr(config, name) for name in ("head_type", "head_channels", "head_kernel_size")}


def track_weights(n_sites: np.ndarray, power: float) -> np.ndarray:
    """Return the weight of each track in the loss: its number of sites to a power, with a mean of 1.

    Parameters
    ----------
    n_sites : numpy.ndarray of int, shape (k,)
        Bound train windows of each track, 1 or more.
    power : float
        0 gives all tracks the same weight, a negative power favours tracks with few sites, a positive one those with
        many.

    Returns
    -------
    numpy.ndarray of float32, shape (k,)
    """
    weights = np.asarray(n_sites, dtype=np.float64) ** power
    return (weights / weights.mean()).astype(np.float32)


def masked_track_loss(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted sum of the binary cross-entropy over known labels, and the sum of their weights.

    The mean loss is their ratio, which several processes take over the sums of all.

    Parameters
    ----------
    logits : torch.Tensor, shape (batch, k)
    labels : torch.Tensor of int8, shape (batch, k)
        1, 0 or `LAMAR.statistics.track_metrics.UNKNOWN`.
    weights : torch.Tensor of float32, shape (k,)
        Weight of each track.

    Returns
    -------
    loss, weight : torch.Tensor, scalar, float32
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
    """Return the token ids of a batch, padded to its longest window; int64, shape (m, length)."""
    ids = data.input_ids[rows][:, : data.lengths(rows).max()]
    return torch.from_numpy(ids).to(device).long()


def predict_logits(
    model: EsmForSequenceClassification,
    data: JointData,
    rows: np.ndarray,
    bf16: bool = False,
    progress: str | None = None,
) -> np.ndarray:
    """Return the logits of the windows at ``rows``, in their order; float32, shape (m, k).

    The model's mode is restored. ``progress`` is the label of the progress; None shows none.
    """
    token_budget = EVALUATION_BATCH * data.input_ids.shape[1]
    return batched_logits(model, data.encoded(rows), token_budget=token_budget, progress=progress, bf16=bf16)
