"""Pairs of substitutions in a classifier's input, and their epistasis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..batches import EncodedSequences
from .classifiers import predict_logits, resolve_scale, scores
from .edits import TOKENS, EditedSequences, substitutions
from .mutagenesis import Mutagenesis, mutagenesis

__all__ = ["PairwiseMutagenesis", "pairwise_mutagenesis"]


@dataclass(frozen=True)
class PairwiseMutagenesis:
    """All pairs of substitutions at two positions of a range [start, end); R = end - start.

    Attributes
    ----------
    singles : Mutagenesis
        The single substitutions.
    logits : ndarray of float32, shape (R, 4, R, 4, K)
        Symmetric in the two positions; NaN where either letter is the sequence's, the sequence has N, or the two
        positions are the same.
    """

    singles: Mutagenesis
    logits: np.ndarray

    def epistasis(self, scale: str | None = "logit") -> np.ndarray:
        """Return the effect of each pair beyond the sum of its parts, f(ab) - f(a) - f(b) + f(0).

        Returns
        -------
        ndarray of float32, shape (R, 4, R, 4)
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
        """Return the epistasis of largest absolute value at each two positions, signed: float32, shape (R, R).

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
    """Score all pairs of substitutions in a range of one sequence.

    That takes 9 R (R - 1) / 2 forward rows, and 64 R^2 bytes for two classes.

    Parameters
    ----------
    model, target, region, token_budget, device, progress
        See `LAMAR.interpretation.mutagenesis.mutagenesis`.
    sequence : str
        One sequence.

    Returns
    -------
    PairwiseMutagenesis

    Raises
    ------
    InputError
        For a sequence that is not nucleotides, or a class or a region that does not exist.
    """
    options = {"token_budget": token_budget, "device": device}
    singles = mutagenesis(model, [sequence], target=target, region=region, **options)[0]
    position, letter = substitutions(singles.sequence, singles.start, singles.end)
    one, two = np.triu_indices(len(position), k=1)
    apart = position[one] != position[two]
    one, two = one[apart], two[apart]
    rows = EditedSequences(
        EncodedSequences.encode([singles.sequence]),
        np.zeros(len(one), np.int64),
        np.stack([position[one], position[two]], axis=1) + 1,
        TOKENS[np.stack([letter[one], letter[two]], axis=1)],
    )
    pair_logits = predict_logits(model, rows, progress=progress, **options)
    length = singles.end - singles.start
    logits = np.full((length, 4, length, 4, pair_logits.shape[1]), np.nan, dtype=np.float32)
    index = position - singles.start
    logits[index[one], letter[one], index[two], letter[two]] = pair_logits
    logits[index[two], letter[two], index[one], letter[one]] = pair_logits
    return PairwiseMutagenesis(singles, logits)
