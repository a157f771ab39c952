"""The one batched inference loop.

Records are sorted by length and cut into batches under a token budget, so that a batch is padded to its own longest
record and no further; results come back in the order of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from .configuration import PAD
from .modeling_nucESM2 import nucleotide_mask
from .sequence_classification_patch import head_features
from .tokenization import encode_ragged

__all__ = ["EncodedSequences", "Features", "batched", "extract_features", "pad_batch", "token_batches"]

# Tokens a batch may hold, padding included. On a CPU small batches stay in the cache and are the faster ones.
CPU_TOKEN_BUDGET = 2_048
CUDA_TOKEN_BUDGET = 65_536
# Features beyond this go to a memory-mapped file.
MEMORY_LIMIT_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class EncodedSequences:
    """Token ids of n records, ``<cls>`` and ``<eos>`` included, in one ragged array.

    Attributes
    ----------
    ids
        uint8, (total tokens,).
    offsets
        int64, (n + 1,).
    """

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def encode(cls, sequences: list[str]) -> EncodedSequences:
        """Encode nucleotide sequences, see :func:`LAMAR.tokenization.encode_ragged`."""
        return cls(*encode_ragged(sequences))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def take(self, indices: np.ndarray) -> EncodedSequences:
        """The records at ``indices``, int (m,), in that order; may be empty."""
        records = [self[index] for index in indices]
        return EncodedSequences(
            np.concatenate([self.ids[:0], *records]), np.concatenate([[0], np.cumsum(self.lengths[indices])])
        )

    @property
    def lengths(self) -> np.ndarray:
        """int64, (n,), in tokens."""
        return np.diff(self.offsets)


def pad_batch(records: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad token ids to the longest record: input_ids and attention_mask, int64, (batch, longest)."""
    longest = max(map(len, records))
    ids = np.full((len(records), longest), PAD, dtype=np.int64)
    for row, record in zip(ids, records):
        row[: len(record)] = record
    ids = torch.from_numpy(ids)
    return ids, ids.ne(PAD).long()


def token_batches(lengths: np.ndarray, token_budget: int) -> list[np.ndarray]:
    """Record indices of each batch, longest records first.

    Parameters
    ----------
    lengths
        int, (n,), in tokens.
    token_budget
        Most tokens in a batch, padding included. A record longer than that is a batch of its own.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        # The longest comes first, so it sets the padded length of its batch.
        size = max(1, token_budget // int(lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


@torch.inference_mode()
def batched(
    model: torch.nn.Module,
    sequences: EncodedSequences,
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    *,
    token_budget: int | None = None,
    progress: str | None = None,
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Run ``function(input_ids, attention_mask)`` over all records in evaluation mode.

    Yields the record indices of a batch with what the function returned for them. The model's training mode is
    restored whatever happens.

    Parameters
    ----------
    model
        Gives the device; its mode is switched to evaluation.
    token_budget
        See :func:`token_batches`; None chooses by device.
    progress
        Label of the progress bar; None shows none.
    """
    device = next(model.parameters()).device
    if token_budget is None:
        token_budget = CPU_TOKEN_BUDGET if device.type == "cpu" else CUDA_TOKEN_BUDGET
    training = model.training
    model.eval()
    try:
        with tqdm(total=len(sequences), desc=progress, disable=progress is None, leave=False, unit="seq") as bar:
            for indices in token_batches(sequences.lengths, token_budget):
                ids, mask = pad_batch([sequences[i] for i in indices])
                yield indices, function(ids.to(device), mask.to(device))
                bar.update(len(indices))
    finally:
        model.train(training)


@dataclass(frozen=True)
class Features:
    """What a head reads of n records, computed once.

    Attributes
    ----------
    values
        float32: (n, d), or (total nucleotides, d) when ``offsets`` are given.
    offsets
        int64, (n + 1,), or None for one vector a record.
    """

    values: np.ndarray
    offsets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        if self.offsets is None:
            return self.values[index]
        return self.values[self.offsets[index] : self.offsets[index + 1]]


def extract_features(
    model: torch.nn.Module,
    sequences: EncodedSequences,
    head_type: str,
    *,
    token_budget: int | None = None,
    progress: str | None = None,
    scratch: Path | None = None,
) -> Features:
    """Features of a frozen encoder for a head of :mod:`LAMAR.sequence_classification_patch`.

    Parameters
    ----------
    model
        ``EsmForSequenceClassification``; its encoder ``model.esm`` is run.
    head_type
        ``linear`` (``<cls>``), ``mean`` (mean over nucleotides), or ``cnn`` (every nucleotide).
    scratch
        File for a memory map, used when the features pass 2 GiB. The caller removes it.
    """
    width = model.config.hidden_size
    per_nucleotide = head_type == "cnn"
    offsets = sequences.offsets - 2 * np.arange(len(sequences) + 1) if per_nucleotide else None
    shape = (int(offsets[-1]) if per_nucleotide else len(sequences), width)
    if scratch is not None and shape[0] * width * 4 > MEMORY_LIMIT_BYTES:
        values = np.lib.format.open_memmap(scratch, mode="w+", dtype=np.float32, shape=shape)
    else:
        values = np.empty(shape, dtype=np.float32)

    def encode(ids, mask):
        hidden = model.esm(ids, mask).last_hidden_state.float()
        return head_features(head_type, hidden, nucleotide_mask(ids, mask))

    for indices, output in batched(model, sequences, encode, token_budget=token_budget, progress=progress):
        output = output.cpu().numpy()
        if not per_nucleotide:
            values[indices] = output
            continue
        for index, hidden in zip(indices, output):
            start, stop = offsets[index], offsets[index + 1]
            values[start:stop] = hidden[1 : 1 + stop - start]
    return Features(values, offsets)
