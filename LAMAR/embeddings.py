"""Embeddings of frozen weights: layer selection and pooling over the inference loop of `LAMAR.batches`.

The forward pass stops after the highest layer that is asked for, and one pass gives several layers and poolings.
`LAMAR.embedding_cache` keeps the results on disk.

Layers are 0-based block indices, negative ones count from the end; the last block carries the final layer norm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .batches import EncodedSequences, batched
from .devices import check_choice, choose_device
from .errors import InputError
from .layers import normalize_layer, resolve_layers
from .memory_maps import RESIDENT_LIMIT_BYTES, release_pages
from .sequence_classification_patch import nucleotide_mask, pool
from .tasks import HEADS

__all__ = [
    "DTYPES",
    "POOLINGS",
    "PRECISIONS",
    "Embeddings",
    "embedding_layout",
    "extract_features",
    "extract_outputs",
    "resolve_outputs",
]

POOLINGS = ("none", "mean", "cls", "max")
DTYPES = ("float32", "float16")
PRECISIONS = ("float32", "bfloat16")

# Larger features are kept in a memory-mapped file.
MEMORY_LIMIT_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class Embeddings:
    """Vectors of n records, one per record or one per nucleotide.

    Attributes
    ----------
    values : np.ndarray of float32 or float16, shape (n, d) or (total nucleotides, d)
        The second shape where ``offsets`` are given. May be a memory map.
    offsets : np.ndarray of int64, shape (n + 1,), or None
        Record i is ``values[offsets[i]:offsets[i + 1]]``; None for one vector per record.
    """

    values: np.ndarray
    offsets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        if self.offsets is None:
            return self.values[index]
        return self.values[self.offsets[index] : self.offsets[index + 1]]


def resolve_outputs(outputs: Sequence[tuple[int, str]], n_layers: int) -> list[tuple[int, str]]:
    """Return pairs of layer and pooling with layers as 0-based block indices.

    Raises
    ------
    InputError
        For the layers of a pooling that `LAMAR.layers.resolve_layers` refuses.
    """
    layers_by_pooling: dict[str, list[int]] = {}
    for layer, pooling in outputs:
        layers_by_pooling.setdefault(pooling, []).append(layer)
    for layers in layers_by_pooling.values() or [[]]:
        resolve_layers(layers, n_layers)
    return [(normalize_layer(layer, n_layers), pooling) for layer, pooling in outputs]


def embedding_layout(
    sequences: EncodedSequences, pooling: str, width: int
) -> tuple[tuple[int, int], np.ndarray | None]:
    """Return the shape of the values and the offsets of embeddings of ``sequences``.

    Parameters
    ----------
    sequences : EncodedSequences
    pooling : str
        A name of `POOLINGS`.
    width : int
        The model's hidden size d.

    Returns
    -------
    shape : tuple of int
    offsets : np.ndarray of int64, shape (n + 1,), or None
        None for one vector per record.

    Raises
    ------
    InputError
        For an unknown pooling, or a record without nucleotides.
    """
    check_choice("`pooling`", pooling, POOLINGS)
    if (sequences.lengths < 3).any():
        raise InputError(f"record {int(np.argmax(sequences.lengths < 3))} (from 0): found no nucleotides")
    if pooling != "none":
        return (len(sequences), width), None
    # <cls> and <eos> of every record are left out.
    offsets = sequences.offsets - 2 * np.arange(len(sequences) + 1)
    return (int(offsets[-1]), width), offsets


@contextmanager
def _moved(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Move the model to ``device`` for the time of the context, and back afterwards."""
    previous = next(model.parameters()).device
    try:
        yield model.to(device)
    finally:
        model.to(previous)


def _pooled(hidden: torch.Tensor, nucleotides: torch.Tensor, pooling: str) -> torch.Tensor:
    """Return one vector per record, or per nucleotide of the batch with pooling ``none``."""
    return hidden[nucleotides] if pooling == "none" else pool(hidden, nucleotides, pooling)


def _convert(pooled: torch.Tensor, dtype: str, layer: int) -> torch.Tensor:
    converted = pooled.to(getattr(torch, dtype))
    if not torch.isfinite(converted).all():
        if torch.isfinite(pooled).all():
            largest = pooled.abs().max().item()
            raise InputError(
                f"layer {layer}: found a value of {largest:.6g}, too large for float16; use `dtype` float32"
            )
        raise InputError(f"layer {layer}: found values that are not finite; the weights cannot be right")
    return converted


def _scatter(values: np.ndarray, offsets: np.ndarray | None, indices: np.ndarray, output: np.ndarray) -> None:
    """Write a batch's vectors, in the order of ``indices``, to the places of their records."""
    if offsets is None:
        values[indices] = output
        return
    stop = 0
    for index in indices:
        start, stop = stop, stop + int(offsets[index + 1] - offsets[index])
        values[offsets[index] : offsets[index + 1]] = output[start:stop]


def extract_outputs(
    model: torch.nn.Module,
    sequences: EncodedSequences,
    outputs: Sequence[tuple[int, str]],
    *,
    dtype: str = "float32",
    token_budget: int | None = None,
    progress: str | None = None,
    out: Mapping[tuple[int, str], np.ndarray] | None = None,
    device: str | torch.device | None = None,
    precision: str = "float32",
) -> dict[tuple[int, str], Embeddings]:
    """Return embeddings of frozen weights, several layers and poolings from one pass.

    Parameters
    ----------
    model : torch.nn.Module
        ``EsmModel``, or a model with one as ``model.esm``; d is its hidden size. Its mode and device are restored.
    sequences : EncodedSequences
    outputs : sequence of (int, str)
        Pairs of layer and pooling. Layers: see `LAMAR.layers.resolve_layers`; blocks above the highest are not
        computed. Poolings: ``none`` (every nucleotide), ``mean`` or ``max`` (over nucleotides), ``cls``. Padding and
        special tokens other than ``<cls>`` itself never contribute.
    dtype : {"float32", "float16"}
        Of the values. Pooling is in float32 in either case.
    token_budget : int, optional
        See `LAMAR.batches.token_batches`.
    progress : str, optional
        Label of the progress bar; None shows none.
    out : mapping of (int, str) to np.ndarray, optional
        Arrays to fill, by resolved output, with the shape that `embedding_layout` gives, of ``dtype``. New ones are
        allocated for other outputs. Memory maps are filled batch by batch and their pages released meanwhile.
    device : str or torch.device, optional
        See `LAMAR.devices.choose_device`.
    precision : {"float32", "bfloat16"}
        Of the forward pass; ``bfloat16`` means autocast, which changes values by about a percent.

    Returns
    -------
    dict of (int, str) to Embeddings
        By resolved output, in the order of ``outputs``.

    Raises
    ------
    InputError
        For an unknown choice, a record without nucleotides, a value beyond float16's range (65504), or values that
        are not finite.
    ValueError
        When an array of ``out`` does not fit.
    """
    encoder = getattr(model, "esm", model)
    n_layers, width = encoder.config.num_hidden_layers, encoder.config.hidden_size
    outputs = resolve_outputs(outputs, n_layers)
    check_choice("`dtype`", dtype, DTYPES)
    check_choice("`precision`", precision, PRECISIONS)
    device = choose_device(encoder, device)
    values: dict[tuple[int, str], np.ndarray] = {}
    offsets: dict[str, np.ndarray | None] = {}
    for layer, pooling in outputs:
        shape, offsets[pooling] = embedding_layout(sequences, pooling, width)
        array = (out or {}).get((layer, pooling))
        if array is not None and (array.shape, array.dtype) != (shape, np.dtype(dtype)):
            raise ValueError(f"out[{layer}, {pooling}]: found {array.dtype} {array.shape}, wanted {dtype} {shape}")
        values[layer, pooling] = np.empty(shape, dtype=dtype) if array is None else array
    layers = sorted({layer for layer, _ in outputs})

    def encode(ids, mask):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            output = encoder(
                ids, mask, output_hidden_states=len(layers) > 1, output_attentions=False, stop_after_layer=layers[-1]
            )
        nucleotides = nucleotide_mask(ids, mask)
        # hidden_states starts with the token embeddings, before block 0.
        states = [output.last_hidden_state] if len(layers) == 1 else [output.hidden_states[i + 1] for i in layers]
        states = {layer: state.float() for layer, state in zip(layers, states)}
        return [_convert(_pooled(states[layer], nucleotides, pooling), dtype, layer) for layer, pooling in outputs]

    written = 0
    with _moved(encoder, device):
        for indices, pooled in batched(encoder, sequences, encode, token_budget=token_budget, progress=progress):
            for key, output in zip(outputs, pooled):
                _scatter(values[key], offsets[key[1]], indices, output.cpu().numpy())
                written += output.nbytes
            if written > RESIDENT_LIMIT_BYTES:
                written = 0
                for array in values.values():
                    release_pages(array)
    return {key: Embeddings(array, offsets[key[1]]) for key, array in values.items()}


def extract_features(
    model: torch.nn.Module,
    sequences: EncodedSequences,
    head_type: str,
    *,
    token_budget: int | None = None,
    progress: str | None = None,
    scratch: Path | None = None,
) -> Embeddings:
    """Return the features of a frozen encoder that a classification head reads.

    Parameters
    ----------
    model : EsmForSequenceClassification
        Its encoder ``model.esm`` runs on the device where it is.
    sequences : EncodedSequences
    head_type : str
        A key of `LAMAR.tasks.HEADS`, whose entry says what is stored.
    token_budget : int, optional
        See `LAMAR.batches.token_batches`.
    progress : str, optional
        Label of the progress bar; None shows none.
    scratch : path, optional
        File for a memory map, used when the features exceed 2 GiB. The caller removes it.

    Returns
    -------
    Embeddings
        float32, from the last block.
    """
    wanted = (model.config.num_hidden_layers - 1, HEADS.choose(head_type, "head_type").pooling)
    shape, _ = embedding_layout(sequences, wanted[1], model.config.hidden_size)
    out = {}
    if scratch is not None and shape[0] * shape[1] * 4 > MEMORY_LIMIT_BYTES:
        out[wanted] = np.lib.format.open_memmap(scratch, mode="w+", dtype=np.float32, shape=shape)
    outputs = extract_outputs(
        model,
        sequences,
        [wanted],
        token_budget=token_budget,
        progress=progress,
        out=out,
        device=next(model.parameters()).device,
    )
    return outputs[wanted]
