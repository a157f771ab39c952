"""Masked windows of a classifier's input; conventions as in `LAMAR.interpretation.attribution`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..alphabet import CLS, MASK
from ..batches import EncodedSequences
from ..errors import InputError
from .attribution_results import PerturbationResult
from .classifiers import model_task, predict_logits, resolve_region, resolve_targets
from .edits import EditedSequences, normalized_sequences

__all__ = ["WindowMasking", "check_options", "window_masking"]


@dataclass(frozen=True)
class WindowMasking(PerturbationResult):
    """Masked windows over a range [start, end) of a sequence.

    ``logits``, shape (w, K), are those with the nucleotides of each window as ``<mask>``; `effects`, masked minus
    unchanged, has the shape (w,).

    Attributes
    ----------
    size : int
        Length of a window, nt.
    starts : ndarray of int64, shape (w,)
        First nucleotide of each window that overlaps the range; it may lie before the range.
    """

    size: int
    starts: np.ndarray

    def coverage(self) -> np.ndarray:
        """Return the number of windows over each position, int64, shape (end - start,); at least 1."""
        return self._sum(np.ones(len(self.starts))).astype(np.int64)

    def importance(self, scale: str | None = None) -> np.ndarray:
        """Return minus the mean effect of the windows that cover a position, float32, shape (end - start,)."""
        return (-self._sum(self.effects(scale)) / self.coverage()).astype(np.float32)

    def columns(self, scale: str) -> dict[str, np.ndarray]:
        """Return the importance as ``score``, and ``n_windows``."""
        return {"score": self.importance(scale), "n_windows": self.coverage().astype(np.float32)}

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over the windows that cover each position, float64, shape (end - start,)."""
        total = np.zeros(len(self.sequence))
        # Window by window: differences of running sums would leave rounding errors behind.
        for first, value in zip(self.starts, values):
            total[first : first + self.size] += value
        return total[self.start : self.end]


def check_options(options) -> None:
    """Raise `InputError` for the windows of an ``ExplainOptions`` that `window_masking` would refuse."""
    _check_windows(options.window_size, options.step_size)


def _check_windows(size: int, step: int) -> None:
    if size < 1 or step < 1:
        raise InputError(f"`window_size`, `step_size`: found {size}, {step}, wanted 1 or more")
    if step > size:
        raise InputError(
            f"`step_size`: found {step}, wanted at most `window_size` {size}: positions between windows would have no "
            "score"
        )


def _window_starts(sequence: str, span: tuple[int, int], size: int, step: int) -> np.ndarray:
    """Return the starts of windows that overlap a span; windows begin at 0, ``step``, ..., the last ends at the end."""
    if len(sequence) < size:
        raise InputError(f"`window_size`: found {size}, wanted at most {len(sequence)}, the sequence's nt")
    last = len(sequence) - size
    starts = np.unique([*range(0, last + 1, step), last])
    return starts[(starts < span[1]) & (starts + size > span[0])]


def window_masking(
    model: torch.nn.Module,
    sequences: Sequence[str],
    *,
    window_size: int = 1,
    step_size: int = 1,
    target: int | str | None = None,
    region: tuple[int, int] | None = None,
    token_budget: int | None = None,
    device: str | torch.device | None = None,
    progress: str | None = None,
) -> list[WindowMasking]:
    """Mask sliding windows with ``<mask>``; a position's score is the mean over the windows that cover it.

    Windows begin at 0, ``step_size``, ... of the sequence, and one ends at its end, so the result for a region is the
    slice of the result for the whole sequence.

    Parameters
    ----------
    model, sequences, target, region, token_budget, device, progress
        See `LAMAR.interpretation.mutagenesis.mutagenesis`.
    window_size, step_size : int, default 1
        Length of a window and distance between windows, nt.

    Returns
    -------
    list of WindowMasking
        One result per sequence, in their order.

    Raises
    ------
    InputError
        For a sequence that is not nucleotides or is shorter than the window, for steps longer than the window, which
        would pass over positions, or for a class or a region that does not exist.
    """
    _check_windows(window_size, step_size)
    sequences = normalized_sequences(sequences)
    spans = [resolve_region(region, len(sequence)) for sequence in sequences]
    starts = [_window_starts(sequence, span, window_size, step_size) for sequence, span in zip(sequences, spans)]
    n = len(sequences)
    counts = np.array([0, *map(len, starts)])
    record = np.concatenate([np.arange(n), np.repeat(np.arange(n), counts[1:])])
    first = np.concatenate([np.zeros(n, np.int64), *(windows + 1 for windows in starts)])
    position = first[:, None] + np.arange(window_size)
    token = np.full(position.shape, MASK, dtype=np.uint8)
    position[:n], token[:n] = 0, CLS  # unchanged copies
    rows = EditedSequences(EncodedSequences.encode(sequences), record, position, token)
    logits = predict_logits(model, rows, token_budget=token_budget, device=device, progress=progress)
    task = model_task(model)
    targets = resolve_targets(logits[:n], target, task)
    bounds = n + np.cumsum(counts)
    return [
        WindowMasking(
            sequence, *spans[i], int(targets[i]), task, logits[i], logits[bounds[i] : bounds[i + 1]], window_size,
            starts[i],
        )
        for i, sequence in enumerate(sequences)
    ]  # fmt: skip
