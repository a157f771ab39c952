"""Token ids of many records, and the batched inference loop over them.

Records are sorted by length and divided into batches under a token budget, so that a batch is padded to its longest
record and no further. Results are returned with the indices of their records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from .alphabet import PAD
from .runs.progress import Progress
from .tokenization import encode_ragged

__all__ = ["EncodedSequences", "batched", "batched_logits", "pad_batch", "token_batches"]

# Tokens that a batch may hold, padding included. On a CPU small batches are faster because they stay in the cache.
CPU_TOKEN_BUDGET = 2_048
CUDA_TOKEN_BUDGET = 65_536

_Output = TypeVar("_Output")


@dataclass(frozen=True)
class EncodedSequences:
    """Token ids of n records, ``<cls>`` and ``<eos>`` included, in one ragged array.

    Attributes
    ----------
    ids : np.ndarray of uint8, shape (total tokens,)
    offsets : np.ndarray of int64, shape (n + 1,)
        Record i is ``ids[offsets[i]:offsets[i + 1]]``.
    """

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def encode(cls, sequences: list[str]) -> EncodedSequences:
        """Return the token ids of nucleotide sequences, see `LAMAR.tokenization.encode_ragged`."""
        return cls(*encode_ragged(sequences))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def take(self, indices: np.ndarray) -> EncodedSequences:
        """Return the records at ``indices``, int (m,), in that order; there may be none."""
        records = [self[index] for index in indices]
        return EncodedSequences(
            np.concatenate([self.ids[:0], *records]), np.concatenate([[0], np.cumsum(self.lengths[indices])])
        )

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each record, int64 (n,)."""
        return np.diff(self.offsets)


def pad_batch(records: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids padded to the longest record, and the attention mask.

    Parameters
    ----------
    records : list of np.ndarray of int, shape (length,)

    Returns
    -------
    input_ids, attention_mask : torch.Tensor of int64, shape (batch, longest)
    """
    longest = max(map(len, records))
    ids = np.full((len(records), longest), PAD, dtype=np.int64)
    for row, record in zip(ids, records):
        row[: len(record)] = record
    ids = torch.from_numpy(ids)
    return ids, ids.ne(PAD).long()


def token_batches(lengths: np.ndarray, token_budget: int, max_padding: float = 1.0) -> list[np.ndarray]:
    """Return the record indices of each batch, longest records first.

    Parameters
    ----------
    lengths : np.ndarray of int, shape (n,)
        In tokens.
    token_budget : int
        Largest number of tokens in a batch, padding included. A longer record forms a batch by itself.
    max_padding : float
        Largest share of padding among the tokens of a batch; batches are smaller where lengths differ more than that.

    Returns
    -------
    list of np.ndarray of int64
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        # The longest comes first, so it sets the padded length of its batch.
        longest = int(lengths[order[start]])
        size = max(1, token_budget // longest)
        if max_padding < 1:
            filled = np.cumsum(lengths[order[start : start + size]])
            # The share of padding only grows with shorter records, so those that fit come first.
            size = int((filled >= (1 - max_padding) * longest * np.arange(1, len(filled) + 1)).sum())
        batches.append(order[start : start + size])
        start += size
    return batches


@torch.inference_mode()
def batched(
    model: torch.nn.Module,
    sequences: EncodedSequences,
    function: Callable[[torch.Tensor, torch.Tensor], _Output],
    *,
    token_budget: int | None = None,
    progress: str | None = None,
) -> Iterator[tuple[np.ndarray, _Output]]:
    """Run ``function(input_ids, attention_mask)`` over all records with the model in evaluation mode.

    The model's training mode is restored in any case.

    Parameters
    ----------
    model : torch.nn.Module
        Gives the device; its mode is switched to evaluation.
    sequences : EncodedSequences
        Or anything with its length, ``lengths`` and indexing.
    function : callable
        Takes int64 tensors (batch, length) on the model's device.
    token_budget : int, optional
        See `token_batches`; None chooses by device.
    progress : str, optional
        Label of the progress bar (`LAMAR.runs.progress.Progress`); None shows none.

    Yields
    ------
    indices : np.ndarray of int64
        Records of the batch.
    output
        What the function returned for them.
    """
    device = next(model.parameters()).device
    if token_budget is None:
        token_budget = CPU_TOKEN_BUDGET if device.type == "cpu" else CUDA_TOKEN_BUDGET
    training = model.training
    model.eval()
    try:
        with Progress(len(sequences), "sequences", progress or "", enabled=progress is not None) as shown:
            for indices in token_batches(sequences.lengths, token_budget):
                ids, mask = pad_batch([sequences[i] for i in indices])
                yield indices, function(ids.to(device), mask.to(device))
                shown.advance(len(indices))
    finally:
        model.train(training)


def batched_logits(
    model: torch.nn.Module,
    sequences: EncodedSequences,
    *,
    token_budget: int | None = None,
    progress: str | None = None,
    bf16: bool = False,
) -> np.ndarray:
    """Return a classifier's logits of all records, in their order.

    Parameters
    ----------
    model : torch.nn.Module
        Called with ``(input_ids, attention_mask)`` it returns an output with ``logits``, (batch, k); ``config`` has
        ``num_labels``.
    sequences, token_budget, progress
        See `batched`.
    bf16 : bool
        Run the model in bfloat16.

    Returns
    -------
    np.ndarray of float32, shape (n, k)
    """
    device = next(model.parameters()).device

    def forward(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            return model(ids, mask).logits.float()

    logits = np.empty((len(sequences), model.config.num_labels), dtype=np.float32)
    for indices, output in batched(model, sequences, forward, token_budget=token_budget, progress=progress):
        logits[indices] = output.cpu().numpy()
    return logits
