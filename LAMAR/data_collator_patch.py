"""Masked-LM collators: which positions are hidden from the model, and by what.

Positions to predict are drawn from the nucleotides A, C, G, T; special tokens, padding and N are neither predicted nor
replaced. Of those drawn, 80 % become ``<mask>``, 10 % a nucleotide drawn from A, C, G, T (which may be the same), 10 %
stay as they are (Devlin et al., NAACL 2019). Everything is determined by the seed, or by a seed and a key per batch,
whatever happened before.
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
    """True on A, C, G, T; False on N, special tokens and padding."""
    return (ids >= NUCLEOTIDE_IDS.start) & (ids < NUCLEOTIDE_IDS.stop)


def span_mask(shape: tuple[int, int], rate: float, length: int, rng: np.random.Generator) -> np.ndarray:
    """Positions in spans of ``length`` in a row, at random places; boolean, of that shape.

    Each position is covered with probability ``rate``, those at the ends too: spans may begin before the first
    position, and overlap.
    """
    rows, width = shape
    starts = rng.random((rows, width + length - 1)) < 1 - (1 - rate) ** (1 / length)
    begun = np.zeros((rows, width + length), dtype=np.int32)
    np.cumsum(starts, axis=1, out=begun[:, 1:])
    return begun[:, length:] > begun[:, :-length]


def region_rates(eligible: np.ndarray, inside: np.ndarray, rates: tuple[float, float], total: float) -> np.ndarray:
    """Probability of each position such that regions get more of a row's share, and the row's share stays ``total``.

    Parameters
    ----------
    eligible, inside
        Boolean (batch, length): positions that may be predicted; positions in a region.
    rates
        Inside and outside, both above 0; their ratio counts. A row that they would give more or less than ``total`` is
        scaled; where that would lift a probability above 1, it stops at 1 and the other side has the rest.
    total
        Expected share of the eligible positions of each row.

    Returns
    -------
    float64 (batch, length)
        Zero where not eligible.
    """
    inner, outer = eligible & inside, eligible & ~inside
    n_inner, n_outer = (side.sum(axis=1, keepdims=True).astype(np.float64) for side in (inner, outer))
    wanted = total * (n_inner + n_outer)
    scale = wanted / np.maximum(rates[0] * n_inner + rates[1] * n_outer, 1e-300)
    p_outer = np.minimum(scale * rates[1], 1.0)
    p_inner = np.minimum(_rest(wanted - p_outer * n_outer, n_inner), 1.0)
    # Only one of the two can be at 1, because the total is below it; the other takes what is left.
    p_outer = _rest(wanted - p_inner * n_inner, n_outer)
    return inner * p_inner + outer * p_outer


def _rest(positions: np.ndarray, among: np.ndarray) -> np.ndarray:
    return np.divide(positions, among, out=np.zeros_like(positions), where=among > 0)


def mask_tokens(
    ids: np.ndarray, rng: np.random.Generator, rate: float | np.ndarray = 0.15, span_length: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Draw positions to predict and corrupt them.

    At least one position is drawn where there is a nucleotide at all, so that a batch never has nothing to learn from.

    Parameters
    ----------
    ids
        Integers (batch, length); left unchanged.
    rate
        Probability of a position, or an array of them, (batch, length).
    span_length
        Draw spans of so many positions in a row (:func:`span_mask`) instead of single ones; ``rate`` is one number.

    Returns
    -------
    inputs, labels
        Of the shape and dtype of ``ids``, and int64 with :data:`IGNORED` where nothing is predicted.
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
    """Pads windows and draws the positions to predict, each with probability ``mask_rate``.

    Parameters
    ----------
    mask_rate
        Above 0, below 1.
    span_length
        Hide so many nucleotides in a row; 1 hides single ones.
    seed
        Of what is drawn.
    """

    def __init__(self, mask_rate: float = 0.15, span_length: int = 1, seed: int = 0):
        self.mask_rate, self.span_length, self.seed = mask_rate, span_length, seed
        self._rng = np.random.default_rng(seed)

    def __call__(self, records: Sequence[dict], key: tuple[int, ...] | None = None) -> dict[str, torch.Tensor]:
        """A batch: ``input_ids``, ``attention_mask``, ``labels``, int64 (batch, longest).

        Parameters
        ----------
        records
            Each with ``input_ids``, token ids with ``<cls>`` and ``<eos>``, (length,).
        key
            With the seed it determines what is drawn; None goes on with the collator's own generator.
        """
        rng = self._rng if key is None else np.random.default_rng([self.seed, *key])
        ids, mask = pad_batch([record["input_ids"] for record in records])
        inputs, labels = mask_tokens(ids.numpy(), rng, self._rates(ids.numpy(), records), self.span_length)
        return {"input_ids": torch.from_numpy(inputs), "attention_mask": mask, "labels": torch.from_numpy(labels)}

    def _rates(self, ids: np.ndarray, records: Sequence[dict]) -> float | np.ndarray:
        return self.mask_rate


class RegionMaskedLMCollator(MaskedLMCollator):
    """Draws positions in regions (peaks) more often, the expected total of each window kept at ``mask_rate``.

    Records may have ``regions`` beside ``input_ids``: boolean (length,), True in a region. Without it, or with no
    region in the window, every position has the same probability.

    Parameters
    ----------
    rates
        Inside and outside of regions, see :func:`region_rates`.
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
