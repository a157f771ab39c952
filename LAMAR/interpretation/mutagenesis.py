"""In-silico saturation mutagenesis of a classifier's call; conventions as in `LAMAR.interpretation.attribution`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..alphabet import CLS, UNKNOWN_CODE
from ..batches import EncodedSequences
from .attribution_results import PerturbationResult
from .classifiers import model_task, predict_logits, resolve_region, resolve_targets
from .edits import TOKENS, EditedSequences, letter_codes, normalized_sequences, substitutions
from .methods import SCALES

__all__ = ["Mutagenesis", "mutagenesis"]


@dataclass(frozen=True)
class Mutagenesis(PerturbationResult):
    """All single substitutions of a sequence, or of a range [start, end) of it.

    ``logits``, shape (end - start, 4, K), are those with A, C, G, T at each position: those of the unchanged sequence
    for the letter that is there already, NaN where the sequence has N, which is not substituted. So `effects`,
    alternative minus reference, has the shape (end - start, 4), 0 at the letters of the sequence and NaN at N.
    """

    def importance(self, scale: str | None = None) -> np.ndarray:
        """Return minus the mean effect of the three substitutions, float32, shape (end - start,); NaN at N."""
        return -self.effects(scale).sum(axis=1) / 3

    def columns(self, scale: str) -> dict[str, np.ndarray]:
        """Return the importance."""
        return {"importance": self.importance(scale)}

    def effect_tables(self) -> dict[str, np.ndarray]:
        """Return the effects in every scale that the task has."""
        return {scale: self.effects(scale) for scale in (("logit",) if self.task == "regression" else SCALES)}


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
    """Run in-silico saturation mutagenesis: each of the three substitutions per nucleotide is scored once.

    Parameters
    ----------
    model : Module
        A classifier, see `LAMAR.interpretation.classifiers`.
    sequences : sequence of str
        n sequences; case, U and ambiguity codes are normalized.
    target : int, "predicted" or None
        Class to explain, see `LAMAR.interpretation.classifiers.resolve_targets`.
    region : (int, int), optional
        Range [start, end) of every sequence to mutate, 0-based; None for the whole sequence.
    token_budget : int, optional
        Tokens per batch, see `LAMAR.batches.batched`; None chooses by device.
    device : str or torch.device, optional
        See `LAMAR.devices.choose_device`.
    progress : str, optional
        Label of the progress bar; None shows none.

    Returns
    -------
    list of Mutagenesis
        One result per sequence, in their order.

    Raises
    ------
    InputError
        For a sequence that is not nucleotides, or a class or a region that does not exist.
    """
    sequences = normalized_sequences(sequences)
    originals = EncodedSequences.encode(sequences)
    regions = [resolve_region(region, len(sequence)) for sequence in sequences]
    changes = [substitutions(sequence, *span) for sequence, span in zip(sequences, regions)]
    # An unchanged copy of each sequence comes first: it puts <cls> where <cls> is.
    counts = np.array([0, *(len(position) for position, _ in changes)])
    n = len(sequences)
    record = np.concatenate([np.arange(n), np.repeat(np.arange(n), counts[1:])])
    position = np.concatenate([np.zeros(n, np.int64), *(position + 1 for position, _ in changes)])
    token = np.concatenate([np.full(n, CLS, np.uint8), *(TOKENS[letter] for _, letter in changes)])
    rows = EditedSequences(originals, record, position[:, None], token[:, None])
    logits = predict_logits(model, rows, token_budget=token_budget, device=device, progress=progress)
    task = model_task(model)
    targets = resolve_targets(logits[:n], target, task)
    first = n + np.cumsum(counts)
    results = []
    for i, (sequence, (start, end), (position, letter)) in enumerate(zip(sequences, regions, changes)):
        table = np.full((end - start, 4, logits.shape[1]), np.nan, dtype=np.float32)
        codes = letter_codes(sequence)[start:end]
        known = np.flatnonzero(codes != UNKNOWN_CODE)
        table[known, codes[known]] = logits[i]
        table[position - start, letter] = logits[first[i] : first[i + 1]]
        results.append(Mutagenesis(sequence, start, end, int(targets[i]), task, logits[i], table))
    return results
