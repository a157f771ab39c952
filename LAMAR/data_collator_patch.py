"""Masked-LM collators: the choice of the positions that the model has to predict, and of what replaces them.

Positions to predict are drawn from the nucleotides A, C, G, T; special tokens, padding and N are neither predicted nor
replaced. Of the positions drawn, 80 % become ``<mask>``, 10 % a nucleotide drawn from A, C, G, T (which may be the
same), and 10 % stay as they are. The result depends only on the seed, or on the seed and a key per batch.

References
----------
Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding, NAACL 2019.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .alphabet import MASK, NUCLEOTIDE_IDS
from .batches import pad_batch

__all__ = [
    "IGNORED",
    "MaskedLMCollator",
    "RegionMaskedLMCollator",
    "is_nucleotide",
    "mask_tokens",
    "region_rates",
    "span_mask",
]

IGNORED = -100  # label of a position that is not predicted
MASKED_SHARE, REPLACED_SHARE = 0.8, 0.1


def is_nucleotide(ids: np.ndarray) -> np.ndarray:
    """Return a mask of the shape of ``ids``: True on A, C, G, T, False on N, special tokens and padding."""
    return (ids >= NUCLEOTIDE_IDS.start) & (ids < NUCLEOTIDE_IDS.stop)


def span_mask(shape: tuple[int, int], rate: float, length: int, rng: np.random.Generator) -> np.ndarray:
    """Return random positions in spans of ``length``.

    Every position, including those at the ends, is covered with probability ``rate``: spans may begin before the first
    position, and may overlap.

    Parameters
    ----------
    shape : tuple of int
        (batch, length).
    rate : float
        Probability of a position, below 1.
    length : int
        Positions in a span.
    rng : numpy.random.Generator

    Returns
    -------
    np.ndarray of bool, shape (batch, length)
    """
    rows, width = shape
    starts = rng.random((rows, width + length - 1)) < 1 - (1 - rate) ** (1 / length)
    begun = np.zeros((rows, width + length), dtype=np.int32)
    np.cumsum(starts, axis=1, out=begun[:, 1:])
    return begun[:, length:] > begun[:, :-length]


def region_rates(eligible: np.ndarray, inside: np.ndarray, rates: tuple[float, float], total: float) -> np.ndarray:
    """Return the probability of each position when regions are preferred and the expected total per row is fixed.

    Parameters
    ----------
    eligible : np.ndarray of bool, shape (batch, length)
        Positions that may be predicted.
    inside : np.ndarray of bool, shape (batch, length)
        Positions in a region.
    rates : tuple of float
        Inside and outside, both above 0; only their ratio matters, because each row is scaled to ``total``. Where that
        would lift a probability above 1, it is 1 and the other side takes the remainder.
    total : float
        Expected share of the eligible positions of each row.

    Returns
    -------
    np.ndarray of float64, shape (batch, length)
        Zero where not eligible.
    """
    inner, outer = eligible & inside, eligible & ~inside
    n_inner, n_outer = (side.sum(axis=1, keepdims=True).astype(np.float64) for side in (inner, outer))
    wanted = total * (n_inner + n_outer)
    scale = wanted / np.maximum(rates[0] * n_inner + rates[1] * n_outer, 1e-300)
    p_outer = np.minimum(scale * rates[1], 1.0)
    p_inner = np.minimum(_spread(wanted - p_outer * n_outer, n_inner), 1.0)
    # Only one of the two can be 1, because the total is below 1; the other takes the remainder.
    p_outer = _spread(wanted - p_inner * n_inner, n_outer)
    return inner * p_inner + outer * p_outer


def _spread(expected: np.ndarray, n_positions: np.ndarray) -> np.ndarray:
    """Return the probability per position of an expected number of positions; 0 where there is no position."""
    return np.divide(expected, n_positions, out=np.zeros_like(expected), where=n_positions > 0)


def mask_tokens(
    ids: np.ndarray, rng: np.random.Generator, rate: float | np.ndarray = 0.15, span_length: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the positions to predict, and return the corrupted ids with their labels.

    At least one position is drawn in a batch that has a nucleotide, so that there is always something to learn.

    Parameters
    ----------
    ids : np.ndarray of int, shape (batch, length)
        Left unchanged.
    rng : numpy.random.Generator
    rate : float or np.ndarray of float, shape (batch, length)
        Probability of a position; one number for spans.
    span_length : int
        Draw spans of that many positions (`span_mask`) instead of single ones.

    Returns
    -------
    inputs : np.ndarray, shape (batch, length)
        Of the dtype of ``ids``.
    labels : np.ndarray of int64, shape (batch, length)
        `IGNORED` where nothing is predicted.
    """
    eligible = is_nucleotide(ids)
    drawn = span_mask(ids.shape, rate, span_length, rng) if span_length > 1 else rng.random(ids.shape) < rate
    drawn &= eligible
    if not drawn.any() and eligible.any():
        drawn.flat[rng.choice(np.flatnonzero(eligible))] = True
    labels = np.where(drawn, ids, IGNORED).astype(np.int64)
    inputs = ids.copy()
    fate = rng.random(drawn.sum())
    replacement = ids[drawn]
    replacement[fate < MASKED_SHARE] = MASK
    random = (fate >= MASKED_SHARE) & (fate < MASKED_SHARE + REPLACED_SHARE)
    replacement[random] = rng.integers(NUCLEOTIDE_IDS.start, NUCLEOTIDE_IDS.stop, random.sum())
    inputs[drawn] = replacement
    return inputs, labels


class MaskedLMCollator:
    """Collator that pads windows and draws the positions to predict, each with probability ``mask_rate``.

    Parameters
    ----------
    mask_rate : float
        Above 0, below 1.
    span_length : int
        Number of consecutive nucleotides to hide; 1 hides single ones.
    seed : int
        Seed of the draws.
    """

    def __init__(self, mask_rate: float = 0.15, span_length: int = 1, seed: int = 0):
        self.mask_rate, self.span_length, self.seed = mask_rate, span_length, seed
        self._rng = np.random.default_rng(seed)

    def __call__(self, records: Sequence[dict], key: tuple[int, ...] | None = None) -> dict[str, torch.Tensor]:
        """Return a batch: ``input_ids``, ``attention_mask`` and ``labels``, int64 tensors (batch, longest).

        Parameters
        ----------
        records : sequence of dict
            Each with ``input_ids``, token ids with ``<cls>`` and ``<eos>``, (length,).
        key : tuple of int, optional
            Determines, with the seed, what is drawn; None continues with the collator's generator.
        """
        rng = self._rng if key is None else np.random.default_rng([self.seed, *key])
        ids, mask = pad_batch([record["input_ids"] for record in records])
        inputs, labels = mask_tokens(ids.numpy(), rng, self._rates(ids.numpy(), records), self.span_length)
        return {"input_ids": torch.from_numpy(inputs), "attention_mask": mask, "labels": torch.from_numpy(labels)}

    def _rates(self, ids: np.ndarray, records: Sequence[dict]) -> float | np.ndarray:
        return self.mask_rate


class RegionMaskedLMCollator(MaskedLMCollator):
    """Collator that draws positions in regions (peaks) more often, with an expected total of ``mask_rate`` per window.

    Records may have ``regions`` beside ``input_ids``: boolean (length,), True in a region. Without it, or with no
    region in the window, every position has the same probability.

    Parameters
    ----------
    rates : tuple of float
        Inside and outside of regions, see `region_rates`.
    mask_rate : float
        Above 0, below 1.
    seed : int
        Seed of the draws.
    """

    def __init__(self, rates: tuple[float, float], mask_rate: float = 0.15, seed: int = 0):
        super().__init__(mask_rate, seed=seed)
        self.rates = rates

    def _rates(self, ids: np.ndarray, records: Sequence[dict]) -> np.ndarray:
        inside = np.zeros(ids.shape, dtype=bool)
        for row, record in zip(inside, records):
            if record.get("regions") is not None:
                row[: len(record["regions"])] = record["regions"]
        return region_rates(is_nucleotide(ids), inside, self.rates, self.mask_rate)
