"""The one batched inference loop, layer selection and pooling.

Records are sorted by length and cut into batches under a token budget, so that a batch is padded to its own longest
record and no further; results come back in the order of the input. The forward pass stops after the highest layer
that is asked for, and one pass gives several layers. :mod:`LAMAR.embedding_cache` keeps the results on disk.

Layers are 0-based block indices, negatives count from the end; the last block carries the final layer norm.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tqdm.auto import tqdm

from .configuration import PAD
from .errors import InputError
from .modeling_nucESM2 import normalize_layer, nucleotide_mask
from .sequence_classification_patch import masked_mean
from .tokenization import encode_ragged

__all__ = [
    "DTYPES",
    "POOLINGS",
    "PRECISIONS",
    "Embeddings",
    "EncodedSequences",
    "batched",
    "check_choice",
    "choose_device",
    "default_layers",
    "embedding_layout",
    "extract_embeddings",
    "extract_features",
    "pad_batch",
    "release_pages",
    "resolve_layers",
    "token_batches",
]

POOLINGS = ("none", "mean", "cls", "max")
DTYPES = ("float32", "float16")
PRECISIONS = ("float32", "bfloat16")

# Tokens a batch may hold, padding included. On a CPU small batches stay in the cache and are the faster ones.
CPU_TOKEN_BUDGET = 2_048
CUDA_TOKEN_BUDGET = 65_536
# Features beyond this go to a memory-mapped file.
MEMORY_LIMIT_BYTES = 2 * 1024**3
# Pages of a memory map that may stay in this process's memory while it is being filled.
RESIDENT_LIMIT_BYTES = 256 * 1024**2
# What a classification head reads, as a pooling.
_HEAD_POOLING = {"linear": "cls", "mean": "mean", "cnn": "none"}

_Output = TypeVar("_Output")


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
    function: Callable[[torch.Tensor, torch.Tensor], _Output],
    *,
    token_budget: int | None = None,
    progress: str | None = None,
) -> Iterator[tuple[np.ndarray, _Output]]:
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
class Embeddings:
    """Vectors of n records, one each or one per nucleotide.

    Attributes
    ----------
    values
        float32 or float16: (n, d), or (total nucleotides, d) when ``offsets`` are given. May be a memory map.
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


def default_layers(n_layers: int) -> tuple[int, ...]:
    """The top and the middle block, 11 and 5 of twelve; one entry for a model of one block."""
    return tuple(dict.fromkeys((n_layers - 1, (n_layers - 1) // 2)))


def resolve_layers(layers: Sequence[int], n_layers: int) -> tuple[int, ...]:
    """0-based block indices in the order given, negatives counted from the end.

    Raises
    ------
    InputError
        For a layer that the model does not have, one named twice, or none at all.
    """
    resolved: dict[int, int] = {}
    for layer in layers:
        try:
            index = normalize_layer(layer, n_layers)
        except ValueError as error:
            raise InputError(f"--layers: {error}") from None
        if index in resolved:
            raise InputError(f"--layers: found {resolved[index]} and {layer}, which are the same layer")
        resolved[index] = layer
    if not resolved:
        raise InputError(f"--layers: found none, wanted {-n_layers} to {n_layers - 1}")
    return tuple(resolved)


def choose_device(model: torch.nn.Module, device: str | torch.device | None = None) -> torch.device:
    """Where to run: ``device`` if given, else the model's own accelerator, else a CUDA device, else the CPU.

    Raises
    ------
    InputError
        For a device that is unknown or not there.
    """
    own = next(model.parameters()).device
    if device is None:
        return torch.device("cuda") if own.type == "cpu" and torch.cuda.is_available() else own
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise InputError(f"--device: found {device!r}, wanted cpu, cuda or cuda:<number>") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device: found {device}, but {torch.cuda.device_count()} CUDA devices are visible")
    return chosen


def embedding_layout(
    sequences: EncodedSequences, pooling: str, width: int
) -> tuple[tuple[int, int], np.ndarray | None]:
    """Shape of the values, and the offsets (None for one vector a record), of embeddings of ``sequences``.

    Raises
    ------
    InputError
        For an unknown pooling, or a record without nucleotides.
    """
    check_choice("--pooling", pooling, POOLINGS)
    if (sequences.lengths < 3).any():
        raise InputError(f"record {int(np.argmax(sequences.lengths < 3))} (from 0): found no nucleotides")
    if pooling != "none":
        return (len(sequences), width), None
    # <cls> and <eos> of every record are left out.
    offsets = sequences.offsets - 2 * np.arange(len(sequences) + 1)
    return (int(offsets[-1]), width), offsets


def check_choice(argument: str, found: str, wanted: tuple[str, ...]) -> None:
    """:class:`InputError` that names the argument, unless ``found`` is one of ``wanted``."""
    if found not in wanted:
        raise InputError(f"{argument}: found {found!r}, wanted one of {', '.join(wanted)}")


def release_pages(values: np.ndarray) -> None:
    """Take a memory map's pages out of this process's memory; nothing is lost. No effect on other arrays.

    Pages that were read or written count as the process's own until the system needs them elsewhere, so that a map
    larger than memory looks like memory in use, and a limit on it is passed.
    """
    if isinstance(values.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        values.base.madvise(mmap.MADV_DONTNEED)


@contextmanager
def _moved(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """The model on ``device`` inside, and back where it was afterwards."""
    own = next(model.parameters()).device
    try:
        yield model.to(device)
    finally:
        model.to(own)


def _pool(hidden: torch.Tensor, nucleotides: torch.Tensor, pooling: str) -> torch.Tensor:
    """Pool (batch, length, d) over True of (batch, length): (batch, d), or (nucleotides in the batch, d) for none."""
    if pooling == "none":
        return hidden[nucleotides]
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "mean":
        return masked_mean(hidden, nucleotides)
    return hidden.masked_fill(~nucleotides.unsqueeze(-1), -torch.inf).amax(1)


def _convert(pooled: torch.Tensor, dtype: str, layer: int) -> torch.Tensor:
    converted = pooled.to(getattr(torch, dtype))
    if not torch.isfinite(converted).all():
        if torch.isfinite(pooled).all():
            largest = pooled.abs().max().item()
            raise InputError(
                f"layer {layer}: found a value of {largest:.6g}, too large for float16; use --dtype float32"
            )
        raise InputError(f"layer {layer}: found values that are not finite; the weights cannot be right")
    return converted


def _scatter(values: np.ndarray, offsets: np.ndarray | None, indices: np.ndarray, output: np.ndarray) -> None:
    """Put a batch's vectors, in the order of ``indices``, where their records belong."""
    if offsets is None:
        values[indices] = output
        return
    stop = 0
    for index in indices:
        start, stop = stop, stop + int(offsets[index + 1] - offsets[index])
        values[offsets[index] : offsets[index + 1]] = output[start:stop]


def extract_embeddings(
    model: torch.nn.Module,
    sequences: EncodedSequences,
    *,
    layers: Sequence[int],
    pooling: str,
    dtype: str = "float32",
    token_budget: int | None = None,
    progress: str | None = None,
    out: Mapping[int, np.ndarray] | None = None,
    device: str | torch.device | None = None,
    precision: str = "float32",
) -> dict[int, Embeddings]:
    """Embeddings of frozen weights, several layers from one pass.

    Parameters
    ----------
    model
        ``EsmModel``, or a model with one as ``model.esm``; d is its hidden size. Its mode and device are restored.
    layers
        See :func:`resolve_layers`. Blocks above the highest are not computed.
    pooling
        ``none`` (every nucleotide), ``mean`` or ``max`` (over nucleotides), ``cls``. Special tokens and padding never
        enter but for ``<cls>`` itself.
    dtype
        Of the values: ``float32`` or ``float16``. Pooling is in float32 in either case.
    token_budget, progress
        See :func:`batched`.
    out
        Arrays to fill, by resolved layer: shape as :func:`embedding_layout` says, of ``dtype``. New ones are made
        for other layers. Memory maps are filled batch by batch and their pages released on the way.
    device
        See :func:`choose_device`.
    precision
        Of the forward pass: ``float32``, or ``bfloat16`` for autocast, which changes values by about a percent.

    Returns
    -------
    Embeddings by resolved layer, in the order of ``layers``.

    Raises
    ------
    InputError
        For a wrong choice, a record without nucleotides, a value beyond float16's range (65504), or values that are
        not finite.
    ValueError
        When an array of ``out`` does not fit.
    """
    encoder = getattr(model, "esm", model)
    n_layers, width = encoder.config.num_hidden_layers, encoder.config.hidden_size
    layers = resolve_layers(layers, n_layers)
    check_choice("--dtype", dtype, DTYPES)
    check_choice("--precision", precision, PRECISIONS)
    shape, offsets = embedding_layout(sequences, pooling, width)
    device = choose_device(encoder, device)
    values: dict[int, np.ndarray] = {}
    for layer in layers:
        array = (out or {}).get(layer)
        if array is not None and (array.shape, array.dtype) != (shape, np.dtype(dtype)):
            raise ValueError(f"out[{layer}]: found {array.dtype} {array.shape}, wanted {dtype} {shape}")
        values[layer] = np.empty(shape, dtype=dtype) if array is None else array

    def encode(ids, mask):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            output = encoder(
                ids, mask, output_hidden_states=len(layers) > 1, output_attentions=False, stop_after_layer=max(layers)
            )
        nucleotides = nucleotide_mask(ids, mask)
        # hidden_states starts with the token embeddings, before block 0.
        states = [output.last_hidden_state] if len(layers) == 1 else [output.hidden_states[i + 1] for i in layers]
        pooled = (_pool(state.float(), nucleotides, pooling) for state in states)
        return [_convert(state, dtype, layer) for layer, state in zip(layers, pooled)]

    written = 0
    with _moved(encoder, device):
        for indices, pooled in batched(encoder, sequences, encode, token_budget=token_budget, progress=progress):
            for layer, output in zip(layers, pooled):
                _scatter(values[layer], offsets, indices, output.cpu().numpy())
                written += output.nbytes
            if written > RESIDENT_LIMIT_BYTES:
                written = 0
                for array in values.values():
                    release_pages(array)
    return {layer: Embeddings(array, offsets) for layer, array in values.items()}


def extract_features(
    model: torch.nn.Module,
    sequences: EncodedSequences,
    head_type: str,
    *,
    token_budget: int | None = None,
    progress: str | None = None,
    scratch: Path | None = None,
) -> Embeddings:
    """Features of a frozen encoder for a head of :mod:`LAMAR.sequence_classification_patch`, float32.

    Parameters
    ----------
    model
        ``EsmForSequenceClassification``; its encoder ``model.esm`` is run where it is.
    head_type
        ``linear`` (``<cls>``), ``mean`` (mean over nucleotides), or ``cnn`` (every nucleotide).
    scratch
        File for a memory map, used when the features pass 2 GiB. The caller removes it.
    """
    pooling = _HEAD_POOLING[head_type]
    shape, _ = embedding_layout(sequences, pooling, model.config.hidden_size)
    layer, out = model.config.num_hidden_layers - 1, {}
    if scratch is not None and shape[0] * shape[1] * 4 > MEMORY_LIMIT_BYTES:
        out[layer] = np.lib.format.open_memmap(scratch, mode="w+", dtype=np.float32, shape=shape)
    embeddings = extract_embeddings(
        model,
        sequences,
        layers=[layer],
        pooling=pooling,
        token_budget=token_budget,
        progress=progress,
        out=out,
        device=next(model.parameters()).device,
    )
    return embeddings[layer]
