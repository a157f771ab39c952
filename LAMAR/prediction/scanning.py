"""Scores along records of any length: tiles through the model, their mean over every nucleotide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..alphabet import CLS, EOS
from ..batches import EncodedSequences
from ..errors import InputError
from ..interpretation.classifiers import model_task, predict_logits, undisturbed
from ..tokenization import encode_ragged
from .tiling import Piece, Profile, pieces, profile_of, segments

__all__ = ["ScanOptions", "ScannedPiece", "positive_columns", "scan_record", "tile_length"]

N_TILES = 2_048  # of a piece: some 50,000 nucleotides at the default stride


def tile_length(model: torch.nn.Module) -> int:
    """Return the length of the windows that a model was trained on, in nucleotides.

    Raises
    ------
    InputError
        The model's configuration does not say it.
    """
    length = getattr(model.config, "window_length", None)
    if length is None:
        raise InputError("`tile`: not given, and config.json of the model has no window_length; wanted its length")
    return length


@dataclass(frozen=True)
class ScanOptions:
    """How records are tiled.

    Attributes
    ----------
    tile : int
        Length of a tile, in nucleotides.
    stride : int
        Distance of two tiles.
    margin : int
        Nucleotides beside a piece whose scores its profile has too, so that maxima at its border can be told.
    token_budget, bf16
        Tokens per batch; None chooses by device. Run the model in bfloat16 instead of float32.
    """

    tile: int
    stride: int
    margin: int = 0
    token_budget: int | None = None
    bf16: bool = False


@dataclass(frozen=True, eq=False)
class ScannedPiece:
    """A part of a record with its scores.

    Attributes
    ----------
    piece : Piece
        What it covers, and its tiles.
    logits : numpy.ndarray of float32, shape (n, k)
        Of each tile.
    profile : Profile
        Mean logit of every nucleotide of the piece, and of ``margin`` nucleotides beside it within the segment.
    """

    piece: Piece
    logits: np.ndarray
    profile: Profile

    def middles(self) -> np.ndarray:
        """Return the middle of each tile; int64, shape (n,)."""
        return (self.piece.starts + self.piece.ends) // 2

    def answered(self) -> np.ndarray:
        """Return whether a tile has its middle in the piece, as each tile has in one of them; bool, shape (n,)."""
        middles = self.middles()
        return (self.piece.start <= middles) & (middles < self.piece.end)


def positive_columns(model: torch.nn.Module) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the names of a model's scores, and which logits they are the difference of.

    Returns
    -------
    names : list of str, length k
        Outputs of a model of yes/no labels or values; of a classifier of two classes the second one.
    plus, minus : numpy.ndarray of int64, shape (k,)
        Score j is ``logits[plus[j]] - logits[minus[j]]``, without the second term where that is -1.

    Raises
    ------
    InputError
        A classifier of three classes or more, whose scores along a record have no one meaning.
    """
    names = [model.config.id2label[number] for number in range(model.config.num_labels)]
    if model_task(model) != "classification":
        return names, np.arange(len(names)), np.full(len(names), -1)
    if len(names) != 2:
        raise InputError(f"`model`: found a classifier of {len(names)} classes, wanted one of two, or of yes/no labels")
    return names[1:], np.array([1]), np.array([0])


def _encoded_tiles(ids: np.ndarray, piece: Piece) -> EncodedSequences:
    """Return the tiles of a piece from the token ids of the record, uint8 without special tokens."""
    lengths = piece.ends - piece.starts
    offsets = np.append(0, np.cumsum(lengths + 2))
    tokens = np.empty(offsets[-1], dtype=np.uint8)
    tokens[offsets[:-1]], tokens[offsets[1:] - 1] = CLS, EOS
    place = np.arange(lengths.sum()) + np.repeat(piece.starts - np.append(0, np.cumsum(lengths)[:-1]), lengths)
    inside = np.ones(len(tokens), dtype=bool)
    inside[offsets[:-1]] = inside[offsets[1:] - 1] = False
    tokens[inside] = ids[place]
    return EncodedSequences(tokens, offsets)


def scan_record(
    model: torch.nn.Module,
    sequence: str,
    options: ScanOptions,
    columns: np.ndarray | None = None,
    device: str | torch.device | None = None,
) -> Iterator[ScannedPiece]:
    """Yield the scores of a record piece by piece; memory does not grow with its length.

    Parameters
    ----------
    model : torch.nn.Module
        Model of `LAMAR.interpretation.classifiers.load_classifier`; its state is restored.
    sequence : str
        Normalized nucleotides. Runs of N are left out (`LAMAR.prediction.tiling.segments`).
    options : ScanOptions
    columns : numpy.ndarray of int64, shape (k,), optional
        Scores to return, of those of `positive_columns`; default all.
    device : str or torch.device, optional
        See `LAMAR.devices.choose_device`.

    Yields
    ------
    ScannedPiece
        In the order of the record.
    """
    _, plus, minus = positive_columns(model)
    if columns is not None:
        plus, minus = plus[columns], minus[columns]
    run = {"token_budget": options.token_budget, "bf16": options.bf16}
    with undisturbed(model, device) as chosen:
        ids, _ = encode_ragged([sequence], add_special_tokens=False)
        for start, end in segments(sequence):
            for piece in pieces(start, end, options.tile, options.stride, N_TILES, options.margin):
                logits = predict_logits(model, _encoded_tiles(ids, piece), device=chosen, **run)
                scores = logits[:, plus] - np.where(minus >= 0, logits[:, minus], 0)
                profile = profile_of(piece.starts, piece.ends, scores)
                left, right = max(piece.start - options.margin, start), min(piece.end + options.margin, end)
                yield ScannedPiece(piece, scores, profile.cut(left, right))
