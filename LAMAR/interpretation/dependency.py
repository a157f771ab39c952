"""Nucleotide dependency maps of masked language models.

A nucleotide depends on another when a substitution of the other changes how likely the model holds it to be (Tomaz da
Silva et al., Nature Genetics 2025). Each position is substituted by its three alternatives, nothing is masked, and the
log-odds of every nucleotide at every position are compared with those of the unmutated sequence:

    D[i, j] = max over b, c of | odds(x with b at i)[j, c] - odds(x)[j, c] |,    odds = log2(p / (1 - p))

Rows are mutated positions, columns the affected ones, both 0-based; the diagonal is zero. N is never mutated, and no
model is trained to predict it: its rows and columns are NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..alphabet import CLS, NUCLEOTIDES
from ..batches import EncodedSequences, batched
from ..devices import check_choice
from ..embeddings import PRECISIONS
from ..errors import InputError
from .classifiers import undisturbed
from .edits import TOKENS, EditedSequences, letter_codes, substitutions

__all__ = [
    "PARITY_EPS",
    "REDUCTIONS",
    "DependencyMap",
    "average_product_correction",
    "dependency_map",
    "nucleotide_log_odds",
    "strongest_pairs",
    "symmetrised",
    "variant_influence",
]

REDUCTIONS = ("max", "mean")
# What the published code adds to every probability; it bounds the odds at 2**33.
PARITY_EPS = 1e-10
_OTHERS = [[k for k in range(4) if k != letter] for letter in range(4)]


@dataclass(frozen=True)
class DependencyMap:
    """Dependencies of the nucleotides of one sequence.

    Attributes
    ----------
    values
        float32 (rows, L): changes in log2 odds, see the module's text.
    log_odds
        float32 (L, 4), order A C G T: log2 odds of the unmutated sequence.
    """

    values: np.ndarray
    log_odds: np.ndarray


def nucleotide_log_odds(logits: torch.Tensor, eps: float = 0.0) -> torch.Tensor:
    """Log2 odds p / (1 - p) of each nucleotide against the three others.

    Parameters
    ----------
    logits
        (..., vocabulary), of a masked-LM head.
    eps
        0: probabilities are the softmax of the four nucleotides' logits, and the odds are taken from the logits, so
        that they stay finite at any certainty. Above 0, as in the published code: softmax over the whole vocabulary,
        ``eps`` added to each nucleotide's probability, then renormalised over the four. Equal in the limit of 0.

    Returns
    -------
    float32 (..., 4), order A C G T.
    """
    logits = logits.float()
    tokens = TOKENS.tolist()
    if eps:
        four = logits.softmax(-1)[..., tokens] + eps
        # 1 - p as the sum of the others: of a p that rounds to 1 nothing would be left.
        return four.log2() - four[..., _OTHERS].sum(-1).log2()
    four = logits[..., tokens]
    return (four - four[..., _OTHERS].logsumexp(-1)) / math.log(2)


def dependency_map(
    model: torch.nn.Module,
    sequence: str,
    *,
    rows: tuple[int, int] | None = None,
    reduction: str = "max",
    eps: float = 0.0,
    token_budget: int | None = None,
    progress: str | None = None,
    device: str | torch.device | None = None,
    precision: str = "float32",
) -> DependencyMap:
    """Dependency map of one sequence; each batch is reduced at once, so that memory holds the map and one batch.

    Parameters
    ----------
    model
        ``EsmForMaskedLM``, or any module that takes ``input_ids`` and ``attention_mask`` and gives ``logits``
        (batch, L + 2, vocabulary). Its mode and device are restored.
    sequence
        Normalized: L letters of ``ACGTN``.
    rows
        Positions to mutate, [start, end); None for all. The map is then that slice of the whole.
    reduction
        Of the absolute changes of 3 substitutions x 4 nucleotides: ``max`` (as published) or ``mean``.
    eps
        See :func:`nucleotide_log_odds`.
    token_budget, progress
        See :func:`LAMAR.batches.batched`. The budget changes nothing but the rounding of the forward passes.
    device, precision
        See :func:`LAMAR.embeddings.extract_outputs`. Odds are in float32 whatever the precision.

    Raises
    ------
    InputError
        For a wrong choice, a sequence of N alone, or log-odds that are not finite.
    ValueError
        For rows that the sequence does not have.
    """
    check_choice("--reduction", reduction, REDUCTIONS)
    check_choice("--precision", precision, PRECISIONS)
    length = len(sequence)
    start, end = rows or (0, length)
    if not 0 <= start < end <= length:
        raise ValueError(f"rows: found {start}-{end}, wanted 0 <= start < end <= {length}")
    known = letter_codes(sequence) < len(NUCLEOTIDES)
    if not known.any():
        raise InputError("found only N, wanted nucleotides")
    position, letter = substitutions(sequence, start, end)
    # The first one is the sequence itself, <cls> put where <cls> is. All have one length: batches keep that order, and
    # all but the last their size.
    edited = EditedSequences(
        EncodedSequences.encode([sequence]),
        np.zeros(len(position) + 1, dtype=np.int64),
        np.concatenate([[0], position + 1])[:, None],
        np.concatenate([np.array([CLS], dtype=np.uint8), TOKENS[letter]])[:, None],
    )
    unmutated: list[torch.Tensor] = []

    def change(ids, mask):
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(input_ids=ids, attention_mask=mask).logits
        odds = nucleotide_log_odds(logits[:, 1:-1], eps)
        if not unmutated:
            unmutated.append(odds[0].clone())
        changes = odds.sub_(unmutated[0]).abs_()
        return (changes.amax(-1) if reduction == "max" else changes.mean(-1)).cpu().numpy()

    values = np.zeros((end - start, length), dtype=np.float32)
    with undisturbed(model, device):
        for indices, changes in batched(model, edited, change, token_budget=token_budget, progress=progress):
            skip = int(indices[0] == 0)
            at = position[indices[skip:] - 1] - start
            if reduction == "max":
                np.maximum.at(values, at, changes[skip:])
            else:
                np.add.at(values, at, changes[skip:] / np.float32(3))
    log_odds = unmutated[0].cpu().numpy()
    if not (np.isfinite(values).all() and np.isfinite(log_odds).all()):
        raise InputError("--model_path: found log-odds that are not finite; the weights cannot be right")
    values[np.arange(end - start), np.arange(start, end)] = 0
    values[~known[start:end]] = np.nan
    values[:, ~known] = np.nan
    return DependencyMap(values, log_odds)


# ------------------------------------------------------------------------------------------- what is made of a map


def _off_diagonal(values: np.ndarray) -> np.ndarray:
    """The map in float64 with NaN on its diagonal, which holds no dependency."""
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"values: found shape {values.shape}, wanted a whole map (L, L)")
    off = values.astype(np.float64)
    np.fill_diagonal(off, np.nan)
    return off


def _with_zero_diagonal(off: np.ndarray, values: np.ndarray) -> np.ndarray:
    np.fill_diagonal(off, np.where(np.isnan(values.diagonal()), np.nan, 0))
    return off.astype(np.float32)


def _mean(off: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Mean of what is not NaN; NaN where there is nothing."""
    count = np.isfinite(off).sum(axis=axis)
    return np.divide(np.nansum(off, axis=axis), count, where=count > 0, out=np.full(np.shape(count), np.nan))


def symmetrised(values: np.ndarray) -> np.ndarray:
    """Mean of both directions, (D + D^T) / 2: float32 (L, L)."""
    off = _off_diagonal(values)
    return _with_zero_diagonal((off + off.T) / 2, values)


def average_product_correction(values: np.ndarray) -> np.ndarray:
    """What a dependency has beyond its row and its column: float32 (L, L), signed, zero diagonal.

    D[i, j] - mean of row i x mean of column j / mean of all; the diagonal and N are left out of the means (Dunn et al.,
    Bioinformatics 2008).
    """
    off = _off_diagonal(values)
    total = _mean(off)
    if total > 0:
        off -= np.outer(_mean(off, axis=1), _mean(off, axis=0)) / total
    return _with_zero_diagonal(off, values)


def variant_influence(values: np.ndarray) -> np.ndarray:
    """How much substitutions at each position change the others: mean of its row, the diagonal left out.

    Returns
    -------
    float32 (L,), log2 odds; NaN at N, and where there is no other nucleotide.
    """
    return _mean(_off_diagonal(values), axis=1).astype(np.float32)


def strongest_pairs(values: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the n largest entries off the diagonal, largest first: int64 (n,) or fewer."""
    off = _off_diagonal(values).ravel()
    n = min(n, int(np.isfinite(off).sum()))
    order = np.argsort(-off, kind="stable")[:n]  # NaN comes last
    return np.unravel_index(order, values.shape)
