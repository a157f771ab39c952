"""Nucleotide dependency maps of masked language models.

A nucleotide depends on another when a substitution of the other changes the probability that the model gives it (Tomaz
da Silva et al., Nature Genetics 2025). Each position is substituted by its three alternatives, nothing is masked, and
the log-odds of every nucleotide at every position are compared with those of the unmutated sequence:

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
from ..data.sequences import normalize_sequence
from ..devices import check_choice
from ..embeddings import PRECISIONS
from ..errors import InputError
from .analyses import REDUCTIONS
from .classifiers import resolve_region, undisturbed
from .edits import TOKENS, EditedSequences, letter_codes, substitutions

__all__ = [
    "DependencyMap",
    "average_product_correction",
    "dependency_map",
    "nucleotide_log_odds",
    "strongest_pairs",
    "symmetrised",
    "variant_influence",
]

_OTHERS = [[k for k in range(4) if k != letter] for letter in range(4)]


@dataclass(frozen=True)
class DependencyMap:
    """Dependencies of the nucleotides of one sequence.

    Attributes
    ----------
    values : ndarray of float32, shape (R, L)
        Changes in log2 odds, see the module's text; R is the number of mutated positions.
    log_odds : ndarray of float32, shape (L, 4)
        Log2 odds of the unmutated sequence, order A C G T.
    """

    values: np.ndarray
    log_odds: np.ndarray


def nucleotide_log_odds(logits: torch.Tensor, eps: float = 0.0) -> torch.Tensor:
    """Return log2 odds p / (1 - p) of each nucleotide against the three others.

    Parameters
    ----------
    logits : Tensor, shape (..., vocabulary)
        Of a masked-LM head.
    eps : float, default 0
        0: probabilities are the softmax of the four nucleotides' logits, and the odds are taken from the logits, so
        they stay finite at any certainty. Above 0, as in the published code: softmax over the whole vocabulary, ``eps``
        added to each nucleotide's probability, then renormalised over the four. The two are equal in the limit of 0.

    Returns
    -------
    Tensor of float32, shape (..., 4)
        Order A C G T.
    """
    logits = logits.float()
    tokens = TOKENS.tolist()
    if eps:
        four = logits.softmax(-1)[..., tokens] + eps
        # 1 - p as the sum of the others: of a p that rounds to 1 nothing would be left.
        return four.log2() - four[..., _OTHERS].sum(-1).log2()
    four = logits[..., tokens]
    return (four - four[..., _OTHERS].logsumexp(-1)) / math.log(2)


def _substituted(sequence: str, position: np.ndarray, letter: np.ndarray) -> EditedSequences:
    """Return the sequence itself, then one copy per substitution."""
    # The first copy puts <cls> where <cls> is. All have one length: batches keep that order, and all but the last their
    # size.
    return EditedSequences(
        EncodedSequences.encode([sequence]),
        np.zeros(len(position) + 1, dtype=np.int64),
        np.concatenate([[0], position + 1])[:, None],
        np.concatenate([np.array([CLS], dtype=np.uint8), TOKENS[letter]])[:, None],
    )


def dependency_map(
    model: torch.nn.Module,
    sequence: str,
    *,
    region: tuple[int, int] | None = None,
    reduction: str = "max",
    eps: float = 0.0,
    token_budget: int | None = None,
    progress: str | None = None,
    device: str | torch.device | None = None,
    precision: str = "float32",
) -> DependencyMap:
    """Compute the dependency map of one sequence.

    Each batch is reduced at once, so memory holds the map and one batch.

    Parameters
    ----------
    model : Module
        ``EsmForMaskedLM``, or any module that takes ``input_ids`` and ``attention_mask`` and returns an output with
        ``logits`` (batch, L + 2, vocabulary). Its mode and device are restored.
    sequence : str
        L nucleotides; case, U and ambiguity codes are normalized.
    region : (int, int), optional
        Positions [start, end) to mutate; None for all. The map then holds these rows of the whole map.
    reduction : {"max", "mean"}, default "max"
        Of the absolute changes of 3 substitutions x 4 nucleotides; ``max`` as published.
    eps : float, default 0
        See `nucleotide_log_odds`.
    token_budget : int, optional
        Tokens per batch, see `LAMAR.batches.batched`. It changes nothing but the rounding of the forward passes.
    progress : str, optional
        Label of the progress bar; None shows none.
    device : str or torch.device, optional
        See `LAMAR.devices.choose_device`.
    precision : {"float32", "bfloat16"}, default "float32"
        Of the forward passes; odds are float32 in any case.

    Returns
    -------
    DependencyMap

    Raises
    ------
    InputError
        For an option that does not exist, a region that the sequence does not have, a sequence of N alone or with
        letters that are no nucleotides, or log-odds that are not finite.
    """
    check_choice("`reduction`", reduction, REDUCTIONS)
    check_choice("`precision`", precision, PRECISIONS)
    sequence = normalize_sequence(sequence, source="`sequence`")
    start, end = resolve_region(region, len(sequence))
    is_known = letter_codes(sequence) < len(NUCLEOTIDES)
    if not is_known.any():
        raise InputError("`sequence`: found only N, wanted nucleotides")
    position, letter = substitutions(sequence, start, end)
    edited = _substituted(sequence, position, letter)
    unmutated: list[torch.Tensor] = []

    def reduced_change(ids, mask):
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(input_ids=ids, attention_mask=mask).logits
        odds = nucleotide_log_odds(logits[:, 1:-1], eps)
        if not unmutated:
            unmutated.append(odds[0].clone())
        changes = odds.sub_(unmutated[0]).abs_()
        return (changes.amax(-1) if reduction == "max" else changes.mean(-1)).cpu().numpy()

    values = np.zeros((end - start, len(sequence)), dtype=np.float32)
    with undisturbed(model, device):
        for indices, changes in batched(model, edited, reduced_change, token_budget=token_budget, progress=progress):
            n_unmutated = int(indices[0] == 0)
            rows = position[indices[n_unmutated:] - 1] - start
            if reduction == "max":
                np.maximum.at(values, rows, changes[n_unmutated:])
            else:
                np.add.at(values, rows, changes[n_unmutated:] / np.float32(3))
    log_odds = unmutated[0].cpu().numpy()
    if not (np.isfinite(values).all() and np.isfinite(log_odds).all()):
        raise InputError("`model`: found log-odds that are not finite; the weights cannot be right")
    values[np.arange(end - start), np.arange(start, end)] = 0
    values[~is_known[start:end]] = np.nan
    values[:, ~is_known] = np.nan
    return DependencyMap(values, log_odds)


# ------------------------------------------------------------------------------------------- forms of a map


def _off_diagonal(values: np.ndarray) -> np.ndarray:
    """Return the map in float64 with NaN on its diagonal, which holds no dependency."""
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"values: found shape {values.shape}, wanted a whole map (L, L)")
    off = values.astype(np.float64)
    np.fill_diagonal(off, np.nan)
    return off


def _with_zero_diagonal(off: np.ndarray, values: np.ndarray) -> np.ndarray:
    np.fill_diagonal(off, np.where(np.isnan(values.diagonal()), np.nan, 0))
    return off.astype(np.float32)


def _mean(off: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Return the mean of what is not NaN; NaN where there is nothing."""
    count = np.isfinite(off).sum(axis=axis)
    return np.divide(np.nansum(off, axis=axis), count, where=count > 0, out=np.full(np.shape(count), np.nan))


def symmetrised(values: np.ndarray) -> np.ndarray:
    """Return the mean of both directions, (D + D^T) / 2, of a whole map (L, L): float32, shape (L, L)."""
    off = _off_diagonal(values)
    return _with_zero_diagonal((off + off.T) / 2, values)


def average_product_correction(values: np.ndarray) -> np.ndarray:
    """Subtract from each dependency what its row and its column predict.

    D[i, j] - mean of row i x mean of column j / mean of all; the diagonal and N are left out of the means.

    Parameters
    ----------
    values : ndarray, shape (L, L)
        A whole map.

    Returns
    -------
    ndarray of float32, shape (L, L)
        Signed, with a zero diagonal.

    References
    ----------
    Dunn et al., Bioinformatics 2008.
    """
    off = _off_diagonal(values)
    total = _mean(off)
    if total > 0:
        off -= np.outer(_mean(off, axis=1), _mean(off, axis=0)) / total
    return _with_zero_diagonal(off, values)


def variant_influence(values: np.ndarray) -> np.ndarray:
    """Return how much substitutions at each position change the others: the mean of its row without the diagonal.

    Parameters
    ----------
    values : ndarray, shape (L, L)
        A whole map.

    Returns
    -------
    ndarray of float32, shape (L,)
        In log2 odds; NaN at N, and where there is no other nucleotide.
    """
    return _mean(_off_diagonal(values), axis=1).astype(np.float32)


def strongest_pairs(values: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the n largest entries off the diagonal, largest first: int64, shape (n,) or fewer."""
    off = _off_diagonal(values).ravel()
    n = min(n, int(np.isfinite(off).sum()))
    order = np.argsort(-off, kind="stable")[:n]  # NaN comes last
    return np.unravel_index(order, values.shape)
