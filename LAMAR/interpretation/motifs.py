"""What many attributions have in common: their mean around the strongest site, enriched k-mers, one motif.

Kept simple on purpose, and no more than it says: one motif per call, of fixed width, found by thresholds; for several
motifs and for statistics of their instances use TF-MoDISco (Shrikumar et al., arXiv 1811.00416) on the ``.npz`` files.

Inputs are n sequences (letters of ``ACGTN``) and their tracks, float (L_i,) each: importance, positive where a letter
speaks for the class; NaN counts as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..alphabet import NUCLEOTIDES
from ..data.kmers import join_codes

__all__ = [
    "Motif",
    "Seqlet",
    "align_on_strongest",
    "align_seqlets",
    "enriched_kmers",
    "find_seqlets",
    "strongest_sites",
    "window_means",
]


def window_means(track: np.ndarray, width: int) -> np.ndarray:
    """Mean of each window of ``width``, float64 (L - width + 1,); empty for a shorter track."""
    filled = np.nan_to_num(np.asarray(track, dtype=np.float64), nan=0.0)
    if len(filled) < width:
        return np.zeros(0)
    return np.lib.stride_tricks.sliding_window_view(filled, width).mean(axis=1)


def strongest_sites(tracks: Sequence[np.ndarray], width: int) -> np.ndarray:
    """First position of the window with the largest mean, int64 (n,); -1 for a track shorter than it."""
    means = [window_means(track, width) for track in tracks]
    return np.array([int(values.argmax()) if len(values) else -1 for values in means], dtype=np.int64)


def align_on_strongest(
    tracks: Mapping[str, Sequence[np.ndarray]], width: int = 5, flank: int = 20, by: str | None = None
) -> pd.DataFrame:
    """Mean track around each record's strongest site.

    Parameters
    ----------
    tracks
        By method, n tracks each, of the same records.
    width
        Of the window whose mean is largest, nt.
    flank
        Positions to either side of its first one.
    by
        Method whose strongest sites all methods are aligned on; None for the first.

    Returns
    -------
    DataFrame
        method, offset (-flank ... flank), mean, sd (population), n (records that reach there). Offsets that no
        record reaches are left out.
    """
    sites = strongest_sites(tracks[by or next(iter(tracks))], width)
    rows = []
    for method, of in tracks.items():
        stacked = np.full((len(of), 2 * flank + 1), np.nan)
        for row, (track, site) in enumerate(zip(of, sites)):
            if site < 0:
                continue
            first, last = max(0, site - flank), min(len(track), site + flank + 1)
            stacked[row, first - site + flank : last - site + flank] = np.nan_to_num(track[first:last], nan=0.0)
        counts = (~np.isnan(stacked)).sum(0)
        for column in np.flatnonzero(counts):
            values = stacked[:, column][~np.isnan(stacked[:, column])]
            rows.append(
                {
                    "method": method,
                    "offset": int(column - flank),
                    "mean": float(values.mean()),
                    "sd": float(values.std()),
                    "n": len(values),
                }
            )
    return pd.DataFrame(rows, columns=["method", "offset", "mean", "sd", "n"])


def enriched_kmers(
    sequences: Sequence[str], tracks: Sequence[np.ndarray], k: int = 5, quantile: float = 0.95
) -> pd.DataFrame:
    """k-mers that are more frequent among windows of high attribution than among the other windows.

    High are the windows of k nt whose mean is positive and at least the ``quantile`` of all windows of all records.
    The background is every other window of the same records, so composition is the records' own. Significance is the
    hypergeometric tail (Fisher's exact test, one-sided), adjusted by Benjamini and Hochberg; overlapping windows are
    not independent, so it ranks k-mers and is no error rate.

    Returns
    -------
    DataFrame
        kmer, n_high, n_background, log2_enrichment (of the two shares, half a count added to each), p_value,
        q_value; the most significant first. K-mers that never stand in a high window are left out.
    """
    from scipy.stats import false_discovery_control, hypergeom

    columns = ["kmer", "n_high", "n_background", "log2_enrichment", "p_value", "q_value"]
    codes, values = _kmer_windows(sequences, tracks, k)
    if not len(codes):
        return pd.DataFrame(columns=columns)
    is_high = (values >= np.quantile(values, quantile)) & (values > 0)
    total = np.bincount(codes, minlength=4**k)
    high = np.bincount(codes[is_high], minlength=4**k)
    n_high, n_low = int(is_high.sum()), int((~is_high).sum())
    found = np.flatnonzero(high)
    low = total - high
    log_p = hypergeom.logsf(high[found] - 1, len(codes), total[found], n_high)
    # Every k-mer was looked for; those without a high window have p = 1.
    p_values = np.ones(4**k)
    p_values[found] = np.exp(log_p)
    enrichment = np.log2((high[found] + 0.5) / (n_high + 1)) - np.log2((low[found] + 0.5) / (n_low + 1))
    table = pd.DataFrame(
        {
            "kmer": [_spell(code, k) for code in found],
            "n_high": high[found],
            "n_background": low[found],
            "log2_enrichment": enrichment,
            "p_value": p_values[found],
            "q_value": false_discovery_control(p_values)[found],
        }
    )
    # By the logarithm: the smallest p-values are all 0 as numbers.
    order = np.lexsort((table["kmer"], -enrichment, log_p))
    return table.iloc[order].reset_index(drop=True)


def _kmer_windows(sequences: Sequence[str], tracks: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Code (base 4, A C G T) and mean importance of every window of k nt without N."""
    letters, _ = join_codes(sequences)
    filled = np.concatenate([*(np.append(np.nan_to_num(track, nan=0.0), 0.0) for track in tracks), np.zeros(0)])
    if len(letters) < k:
        return np.zeros(0, np.int64), np.zeros(0)
    windows = np.lib.stride_tricks.sliding_window_view(letters, k)
    is_known = (windows < 4).all(axis=1)
    codes = windows[is_known].astype(np.int64) @ (4 ** np.arange(k - 1, -1, -1))
    return codes, np.lib.stride_tricks.sliding_window_view(filled, k).mean(axis=1)[is_known]


def _spell(code: int, k: int) -> str:
    return "".join(NUCLEOTIDES[code // 4**i % 4] for i in range(k - 1, -1, -1))


@dataclass(frozen=True)
class Seqlet:
    """A stretch of high attribution: [start, end) of the sequence of ``record`` (its index), mean score."""

    record: int
    start: int
    end: int
    score: float


def find_seqlets(tracks: Sequence[np.ndarray], width: int = 8, quantile: float = 0.95, most: int = 3) -> list[Seqlet]:
    """Windows of ``width`` nt whose mean is positive and at least the ``quantile`` of all windows of all records.

    Per record the strongest first, those that overlap a stronger one left out, ``most`` at most.
    """
    means = [window_means(track, width) for track in tracks]
    everything = np.concatenate([*means, np.zeros(0)])
    if not len(everything):
        return []
    threshold = np.quantile(everything, quantile)
    seqlets = []
    for record, values in enumerate(means):
        taken: list[int] = []
        for start in np.argsort(-values, kind="stable").tolist():
            if len(taken) == most or values[start] < threshold or values[start] <= 0:
                break
            if all(abs(start - other) >= width for other in taken):
                taken.append(start)
        seqlets += [Seqlet(record, start, start + width, float(values[start])) for start in taken]
    return seqlets


@dataclass(frozen=True)
class Motif:
    """Aligned instances.

    Attributes
    ----------
    counts
        int64 (width, 4): letters A C G T of the instances; their N are not counted.
    instances
        (record, start) of each, in the order of the seqlets.
    """

    counts: np.ndarray
    instances: list[tuple[int, int]]

    @property
    def frequencies(self) -> np.ndarray:
        """float64 (width, 4)."""
        return self.counts / np.maximum(self.counts.sum(1, keepdims=True), 1)

    @property
    def information(self) -> np.ndarray:
        """float64 (width,): bits, 2 less the entropy of the letters."""
        return _bits(self.frequencies)

    @property
    def consensus(self) -> str:
        """Most frequent letters; N where the information is below half a bit."""
        best = self.counts.argmax(1)
        return "".join(NUCLEOTIDES[b] if bits >= 0.5 else "N" for b, bits in zip(best, self.information))


def align_seqlets(
    sequences: Sequence[str], seqlets: Sequence[Seqlet], seed: str, width: int = 10, n_rounds: int = 20
) -> Motif:
    """One motif from seqlets, by turns of placing instances and counting letters, from a seed k-mer.

    The first matrix has the seed in its middle. In each round every seqlet, with half a motif of its sequence to either
    side, takes the place of the largest log-likelihood ratio against equal letters; seqlets without a place above 0
    are left out. When no instance moves any more, the matrix is shifted to where its information is largest. (Hard
    assignment of one instance per seqlet; compare Bailey & Elkan, ISMB 1994.) The result depends on the seed: take the
    most enriched k-mer.
    """
    if len(seed) > width:
        raise ValueError(f"seed: found {len(seed)} nt, wanted at most the width, {width}")
    weights = np.full((width, 4), 0.25)
    first = (width - len(seed)) // 2
    for i, letter in enumerate(seed):
        weights[first + i] = np.where(np.array(list(NUCLEOTIDES)) == letter, 0.85, 0.05)
    instances: list[tuple[int, int]] = []
    codes = [join_codes([sequence])[0][:-1] for sequence in sequences]
    for _ in range(n_rounds):
        placed = _place(codes, seqlets, weights)
        if placed == instances:
            break
        instances = placed
        weights = _frequencies(_count(codes, instances, width))
    # The seed fixes where the matrix lies on the motif: move it to where it says most.
    reach = range(-(width // 2), width // 2 + 1)
    shift = max(reach, key=lambda by: (_bits(_frequencies(_count(codes, instances, width, by))).sum(), -abs(by)))
    # Placed once more: sites at a sequence's end had no room for the matrix as it lay before.
    instances = _place(codes, seqlets, _frequencies(_count(codes, instances, width, shift)))
    return Motif(_count(codes, instances, width), instances)


def _place(codes: list[np.ndarray], seqlets: Sequence[Seqlet], weights: np.ndarray) -> list[tuple[int, int]]:
    """Best place of a matrix (width, 4) in each seqlet and half a width around it, where its log-ratio is above 0."""
    width = len(weights)
    # A letter N scores as an average one.
    ratios = np.concatenate([np.log2(weights / 0.25), np.zeros((width, 1))], axis=1)
    placed = []
    for seqlet in seqlets:
        letters = codes[seqlet.record]
        low, high = max(0, seqlet.start - width // 2), min(len(letters), seqlet.end + width // 2)
        if high - low < width:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(letters[low:high], width)
        values = ratios[np.arange(width), windows].sum(1)
        if values.max() > 0:
            placed.append((seqlet.record, low + int(values.argmax())))
    return list(dict.fromkeys(placed))  # neighbouring seqlets may settle on one site


def _count(codes: list[np.ndarray], instances: Sequence[tuple[int, int]], width: int, shift: int = 0) -> np.ndarray:
    """Letters (width, 4) at instances moved by ``shift``, as far as they lie in their sequences; N is not counted."""
    counts = np.zeros((width, 4), dtype=np.int64)
    for record, start in instances:
        at = start + shift + np.arange(width)
        at = at[(at >= 0) & (at < len(codes[record]))]
        letters = codes[record][at]
        known = letters < 4
        counts[at[known] - start - shift, letters[known]] += 1
    return counts


def _frequencies(counts: np.ndarray) -> np.ndarray:
    """With a quarter of a count added to each letter, so that few instances claim little."""
    return (counts + 0.25) / (counts.sum(1, keepdims=True) + 1)


def _bits(frequencies: np.ndarray) -> np.ndarray:
    """Information of each position, 2 less the entropy of its letters."""
    return 2 + np.where(frequencies > 0, frequencies * np.log2(np.where(frequencies > 0, frequencies, 1)), 0).sum(1)
