"""Attribution of a classifier's call to nucleotides: mutagenesis and masking here, gradients from
:mod:`LAMAR.interpretation.attribution_gradients`.

Conventions. Positions are 0-based nucleotides of the sequence, special tokens not counted; ranges are half-open.
Letters are in the order A C G T. Effects are alternative minus reference. *Importance* has the opposite sign, so that
every method's track is positive where the letters at hand speak for the class. What is explained is a score of one
class, see :func:`LAMAR.interpretation.classifiers.target_scores`; the class is fixed on the unchanged sequence.

Every function takes many sequences and returns one result each, in their order; a batch holds changed copies of any
of them under one token budget, so results do not depend on what else is explained. The model's mode, device and
``requires_grad`` are what they were afterwards. Sequences are normalized (:func:`LAMAR.data.sequences.normalize_sequence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..alphabet import CLS, MASK
from ..batches import EncodedSequences, batched
from ..errors import InputError
from .attribution_gradients import BASELINES, IntegratedGradients, Saliency, integrated_gradients, saliency
from .classifiers import resolve_region, resolve_scale, resolve_targets, scores, task_of, undisturbed
from .edits import TOKENS, EditedSequences, letter_codes, substitutions

__all__ = [
    "BASELINES",
    "EditedSequences",
    "IntegratedGradients",
    "Mutagenesis",
    "PairwiseMutagenesis",
    "Saliency",
    "WindowMasking",
    "integrated_gradients",
    "mutagenesis",
    "pairwise_mutagenesis",
    "predict_logits",
    "saliency",
    "window_masking",
]


def predict_logits(
    model: torch.nn.Module,
    sequences: EncodedSequences | EditedSequences,
    *,
    token_budget: int | None = None,
    device: str | torch.device | None = None,
    progress: str | None = None,
) -> np.ndarray:
    """Logits of every sequence, float32 (n, K), through the one inference loop (:func:`LAMAR.batches.batched`).

    Raises
    ------
    InputError
        For logits that are not finite.
    """
    logits = np.empty((len(sequences), model.config.num_labels), dtype=np.float32)
    with undisturbed(model, device):
        for rows, found in batched(
            model,
            sequences,
            lambda ids, mask: model(ids, mask).logits.float(),
            token_budget=token_budget,
            progress=progress,
        ):
            logits[rows] = found.cpu().numpy()
    if not np.isfinite(logits).all():
        raise InputError("--model_path: found logits that are not finite; the weights cannot be right")
    return logits


def _effects(result: Mutagenesis | WindowMasking, scale: str | None) -> np.ndarray:
    """Score of the changed sequences minus that of the unchanged one."""
    scale = resolve_scale(scale, result.task)
    changed = scores(result.logits, result.target, scale, result.task)
    return changed - scores(result.reference, result.target, scale, result.task)


@dataclass(frozen=True)
class Mutagenesis:
    """Every substitution of a sequence, or of a range [start, end) of it.

    Attributes
    ----------
    target, task
        Class that is explained; see :func:`LAMAR.interpretation.classifiers.task_of`.
    reference
        float32 (K,): logits of the unchanged sequence.
    logits
        float32 (end - start, 4, K): with A, C, G, T put there; the reference's own where that is the letter already,
        NaN where the sequence has N, which is not substituted.
    """

    sequence: str
    start: int
    end: int
    target: int
    task: str
    reference: np.ndarray
    logits: np.ndarray

    def effects(self, scale: str | None = None) -> np.ndarray:
        """Alternative minus reference, float32 (end - start, 4): 0 at the sequence's own letters, NaN at N."""
        return _effects(self, scale)

    def importance(self, scale: str | None = None) -> np.ndarray:
        """Minus the mean effect of the three substitutions, float32 (end - start,); NaN at N."""
        return -self.effects(scale).sum(axis=1) / 3


def mutagenesis(
    model: torch.nn.Module,
    sequences: Sequence[str],
    *,
    target: int | str | None = None,
    region: tuple[int, int] | None = None,
    token_budget: int | None = None,
    device: str | torch.device | None = None,
    progress: str | None = None,
) -> list[Mutagenesis]:
    """In-silico saturation mutagenesis: three substitutions a nucleotide, each scored once.

    Parameters
    ----------
    model
        See :mod:`LAMAR.interpretation.classifiers`.
    sequences
        n normalized sequences.
    target
        See :func:`LAMAR.interpretation.classifiers.resolve_targets`.
    region
        Range [start, end) of every sequence that is mutated; None for all of it.
    token_budget, progress
        See :func:`LAMAR.batches.batched`.
    device
        See :func:`LAMAR.devices.choose_device`.

    Raises
    ------
    InputError
        For a class or a region that is not there.
    """
    originals = EncodedSequences.encode(list(sequences))
    regions = [resolve_region(region, len(sequence)) for sequence in sequences]
    changes = [substitutions(sequence, *span) for sequence, span in zip(sequences, regions)]
    # An unchanged copy of each comes first: it puts <cls> where <cls> is.
    counts = np.array([0, *(len(position) for position, _ in changes)])
    n = len(sequences)
    record = np.concatenate([np.arange(n), np.repeat(np.arange(n), counts[1:])])
    position = np.concatenate([np.zeros(n, np.int64), *(position + 1 for position, _ in changes)])
    token = np.concatenate([np.full(n, CLS, np.uint8), *(TOKENS[letter] for _, letter in changes)])
    rows = EditedSequences(originals, record, position[:, None], token[:, None])
    logits = predict_logits(model, rows, token_budget=token_budget, device=device, progress=progress)
    task = task_of(model.config)
    targets = resolve_targets(logits[:n], target, task)
    first = n + np.cumsum(counts)
    results = []
    for i, (sequence, (start, end), (position, letter)) in enumerate(zip(sequences, regions, changes)):
        table = np.full((end - start, 4, logits.shape[1]), np.nan, dtype=np.float32)
        own = letter_codes(sequence)[start:end]
        known = np.flatnonzero(own != 4)
        table[known, own[known]] = logits[i]
        table[position - start, letter] = logits[first[i] : first[i + 1]]
        results.append(Mutagenesis(sequence, start, end, int(targets[i]), task, logits[i], table))
    return results


@dataclass(frozen=True)
class PairwiseMutagenesis:
    """Every pair of substitutions at two positions of a range [start, end).

    Attributes
    ----------
    singles
        The single substitutions.
    logits
        float32 (R, 4, R, 4, K), R = end - start, symmetric in the two positions; NaN where either letter is the
        sequence's own, the sequence has N, or both positions are one.
    """

    singles: Mutagenesis
    logits: np.ndarray

    def epistasis(self, scale: str | None = "logit") -> np.ndarray:
        """What a pair does beyond the sum of its parts: f(ab) - f(a) - f(b) + f(0), float32 (R, 4, R, 4).

        NaN where there is no pair of substitutions.
        """
        single = self.singles
        scale = resolve_scale(scale, single.task)
        both = scores(self.logits, single.target, scale, single.task)
        effects = single.effects(scale)
        # The two effects are added first, so that rounding is the same in both orders.
        parts = effects[:, :, None, None] + effects
        return both - scores(single.reference, single.target, scale, single.task) - parts

    def strongest(self, scale: str | None = "logit") -> np.ndarray:
        """The epistasis of the largest absolute value of each two positions, with its sign: float32 (R, R).

        The diagonal, and rows and columns of N, are 0.
        """
        values = np.nan_to_num(self.epistasis(scale), nan=0.0)
        length = len(values)
        flat = values.transpose(0, 2, 1, 3).reshape(length, length, 16)
        return np.take_along_axis(flat, np.abs(flat).argmax(axis=2)[..., None], axis=2)[..., 0]


def pairwise_mutagenesis(
    model: torch.nn.Module,
    sequence: str,
    *,
    target: int | str | None = None,
    region: tuple[int, int] | None = None,
    token_budget: int | None = None,
    device: str | torch.device | None = None,
    progress: str | None = None,
) -> PairwiseMutagenesis:
    """All pairs of substitutions in a range: 9 R (R - 1) / 2 forward rows and 64 R^2 bytes for two classes.

    Parameters as for :func:`mutagenesis`.
    """
    options = {"token_budget": token_budget, "device": device}
    singles = mutagenesis(model, [sequence], target=target, region=region, **options)[0]
    position, letter = substitutions(sequence, singles.start, singles.end)
    one, two = np.triu_indices(len(position), k=1)
    apart = position[one] != position[two]
    one, two = one[apart], two[apart]
    rows = EditedSequences(
        EncodedSequences.encode([sequence]),
        np.zeros(len(one), np.int64),
        np.stack([position[one], position[two]], axis=1) + 1,
        TOKENS[np.stack([letter[one], letter[two]], axis=1)],
    )
    found = predict_logits(model, rows, progress=progress, **options)
    length = singles.end - singles.start
    logits = np.full((length, 4, length, 4, found.shape[1]), np.nan, dtype=np.float32)
    at = position - singles.start
    logits[at[one], letter[one], at[two], letter[two]] = found
    logits[at[two], letter[two], at[one], letter[one]] = found
    return PairwiseMutagenesis(singles, logits)


@dataclass(frozen=True)
class WindowMasking:
    """Masked windows over a range [start, end) of a sequence.

    Attributes
    ----------
    size
        Of a window, nt.
    starts
        int64 (w,): first nucleotide of each window that overlaps the range; they may begin before it.
    reference, logits
        float32 (K,) and (w, K): of the unchanged sequence, and with the window's nucleotides as ``<mask>``.
    """

    sequence: str
    start: int
    end: int
    target: int
    task: str
    size: int
    starts: np.ndarray
    reference: np.ndarray
    logits: np.ndarray

    def effects(self, scale: str | None = None) -> np.ndarray:
        """Masked minus unchanged, float32 (w,)."""
        return _effects(self, scale)

    def coverage(self) -> np.ndarray:
        """Windows over each position, int64 (end - start,); at least 1."""
        return self._sum(np.ones(len(self.starts))).astype(np.int64)

    def importance(self, scale: str | None = None) -> np.ndarray:
        """Minus the mean effect of the windows that cover a position, float32 (end - start,)."""
        return (-self._sum(self.effects(scale)) / self.coverage()).astype(np.float32)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """Sum over the windows that cover each position, float64 (end - start,)."""
        total = np.zeros(len(self.sequence))
        # Window by window: differences of running sums would leave rounding errors behind.
        for first, value in zip(self.starts, values):
            total[first : first + self.size] += value
        return total[self.start : self.end]


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
    """Sliding windows whose nucleotides become ``<mask>``; a position's score is the mean over windows that cover it.

    Windows begin at 0, ``step_size``, ... of the sequence, and one ends at its end, so a region gives the slice of
    the whole. Other parameters as for :func:`mutagenesis`.

    Raises
    ------
    InputError
        For a sequence shorter than the window, or steps longer than it, which would pass over positions.
    """
    if window_size < 1 or step_size < 1:
        raise InputError(f"--window_size, --step_size: found {window_size}, {step_size}, wanted 1 or more")
    if step_size > window_size:
        raise InputError(f"--step_size: found {step_size}, wanted at most --window_size {window_size}")
    spans, chosen = [], []
    for sequence in sequences:
        if len(sequence) < window_size:
            raise InputError(f"--window_size: found {window_size}, wanted at most {len(sequence)}, the sequence's nt")
        spans.append(resolve_region(region, len(sequence)))
        last = len(sequence) - window_size
        starts = np.unique([*range(0, last + 1, step_size), last])
        chosen.append(starts[(starts < spans[-1][1]) & (starts + window_size > spans[-1][0])])
    n = len(sequences)
    counts = np.array([0, *map(len, chosen)])
    record = np.concatenate([np.arange(n), np.repeat(np.arange(n), counts[1:])])
    first = np.concatenate([np.zeros(n, np.int64), *(starts + 1 for starts in chosen)])
    position = first[:, None] + np.arange(window_size)
    token = np.full(position.shape, MASK, dtype=np.uint8)
    position[:n], token[:n] = 0, CLS  # unchanged copies
    rows = EditedSequences(EncodedSequences.encode(list(sequences)), record, position, token)
    logits = predict_logits(model, rows, token_budget=token_budget, device=device, progress=progress)
    task = task_of(model.config)
    targets = resolve_targets(logits[:n], target, task)
    bounds = n + np.cumsum(counts)
    return [
        WindowMasking(
            sequence, *spans[i], int(targets[i]), task, window_size, chosen[i], logits[i],
            logits[bounds[i] : bounds[i + 1]],
        )
        for i, sequence in enumerate(sequences)
    ]  # fmt: skip
