"""What many attributions have in common: their mean around the strongest site, enriched k-mers, one motif.

The methods are simple on purpose: one motif per call, of fixed width, found by thresholds. For several motifs and for
statistics of their instances use TF-MoDISco (Shrikumar et al., arXiv 1811.00416) on the ``.npz`` files.

Inputs are n sequences (letters of ``ACGTN``) and their tracks, float arrays (L_i,): importance, positive where a letter
speaks for the class; NaN is treated as 0.
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
    """Return the mean of each window of ``width``, float64, shape (L - width + 1,); empty for a shorter track."""
    filled = np.nan_to_num(np.asarray(track, dtype=np.float64), nan=0.0)
    if len(filled) < width:
        return np.zeros(0)
    return np.lib.stride_tricks.sliding_window_view(filled, width).mean(axis=1)


def strongest_sites(tracks: Sequence[np.ndarray], width: int) -> np.ndarray:
    """Return the first position of the window with the largest mean, int64, shape (n,); -1 for a shorter track."""
    means = [window_means(track, width) for track in tracks]
    return np.array([int(values.argmax()) if len(values) else -1 for values in means], dtype=np.int64)


def align_on_strongest(
    tracks: Mapping[str, Sequence[np.ndarray]], width: int = 5, flank: int = 20, by: str | None = None
) -> pd.DataFrame:
    """Average the tracks of records around their strongest sites.

    Parameters
    ----------
    tracks : mapping of sequence of ndarray
        n tracks of the same records, by method.
    width : int, default 5
        Length of the window with the largest mean, nt.
    flank : int, default 20
        Positions to either side of the window's first position.
    by : str, optional
        Method on whose strongest sites all methods are aligned; None for the first.

    Returns
    -------
    DataFrame
        ``method``, ``offset`` (-flank to flank), ``mean``, ``sd`` (population), ``n`` (records that reach the offset).
        Offsets that no record reaches are left out.
    """
    sites = strongest_sites(tracks[by or next(iter(tracks))], width)
    rows = []
    for method, method_tracks in tracks.items():
        stacked = np.full((len(method_tracks), 2 * flank + 1), np.nan)
        for row, (track, site) in enumerate(zip(method_tracks, sites)):
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
    """Find k-mers that are more frequent in windows of high attribution than in the other windows.

    A window of k nt is high when its mean is positive and at least the ``quantile`` of all windows of all records. The
    background is all other windows of the same records, so both have the composition of the records. P-values are
    hypergeometric tails (Fisher's exact test, one-sided), q-values are adjusted by Benjamini and Hochberg. Overlapping
    windows are not independent: use both for ranking only.

    Parameters
    ----------
    sequences : sequence of str
        n sequences, letters of ``ACGTN``; windows with N are left out.
    tracks : sequence of ndarray
        Their tracks, shape (L_i,) each.
    k : int, default 5
    quantile : float, default 0.95

    Returns
    -------
    DataFrame
        ``kmer``, ``n_high``, ``n_background``, ``log2_enrichment`` (of the two shares, half a count added to each),
        ``p_value``, ``q_value``; the most significant first. K-mers without a high window are left out.
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
    present = np.flatnonzero(high)
    low = total - high
    log_p = hypergeom.logsf(high[present] - 1, len(codes), total[present], n_high)
    # All k-mers are tested; those without a high window have p = 1.
    p_values = np.ones(4**k)
    p_values[present] = np.exp(log_p)
    enrichment = np.log2((high[present] + 0.5) / (n_high + 1)) - np.log2((low[present] + 0.5) / (n_low + 1))
    table = pd.DataFrame(
        {
            "kmer": [_spell(code, k) for code in present],
            "n_high": high[present],
            "n_background": low[present],
            "log2_enrichment": enrichment,
            "p_value": p_values[present],
            "q_value": false_discovery_control(p_values)[present],
        }
    )
    # Sorted by the logarithm: the smallest p-values underflow to 0.
    order = np.lexsort((table["kmer"], -enrichment, log_p))
    return table.iloc[order].reset_index(drop=True)


def _kmer_windows(sequences: Sequence[str], tracks: Sequence[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return code (base 4, A C G T) and mean importance of every window of k nt without N."""
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
    """A stretch of high attribution.

    Attributes
    ----------
    record : int
        Index of the sequence.
    start, end : int
        Range of the sequence, 0-based half-open.
    score : float
        Mean importance.
    """

    record: int
    start: int
    end: int
    score: float


def find_seqlets(tracks: Sequence[np.ndarray], width: int = 8, quantile: float = 0.95, most: int = 3) -> list[Seqlet]:
    """Return windows whose mean is positive and at least the ``quantile`` of all windows of all records.

    Windows that overlap a stronger window of their record are left out.

    Parameters
    ----------
    tracks : sequence of ndarray
        Shape (L_i,) each.
    width : int, default 8
        Length of the windows, nt.
    quantile : float, default 0.95
    most : int, default 3
        Largest number of windows per record.

    Returns
    -------
    list of Seqlet
        By record, the strongest first.
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
    """Aligned instances of a motif.

    Attributes
    ----------
    counts : ndarray of int64, shape (width, 4)
        Letters A C G T of the instances; N is not counted.
    instances : list of (int, int)
        Index of the record and start of each instance, in the order of the seqlets.
    """

    counts: np.ndarray
    instances: list[tuple[int, int]]

    @property
    def frequencies(self) -> np.ndarray:
        """Shares of the letters A C G T, float64, shape (width, 4)."""
        return self.counts / np.maximum(self.counts.sum(1, keepdims=True), 1)

    @property
    def information(self) -> np.ndarray:
        """Information in bits, 2 minus the entropy of the letters: float64, shape (width,)."""
        return _bits(self.frequencies)

    @property
    def consensus(self) -> str:
        """Most frequent letter at each position; N where the information is below half a bit."""
        best = self.counts.argmax(1)
        return "".join(NUCLEOTIDES[b] if bits >= 0.5 else "N" for b, bits in zip(best, self.information))


def align_seqlets(
    sequences: Sequence[str], seqlets: Sequence[Seqlet], seed: str, width: int = 10, n_rounds: int = 20
) -> Motif:
    """Align seqlets to one motif, alternately placing instances and counting letters, from a seed k-mer.

    The first matrix has the seed in its middle. In each round every seqlet, extended by half a motif on either side, is
    placed where the log-likelihood ratio against equal letter frequencies is largest; seqlets without a positive ratio
    are left out. When no instance moves, the matrix is shifted to where its information is largest. This is hard
    assignment of one instance per seqlet.

    Parameters
    ----------
    sequences : sequence of str
        n sequences, letters of ``ACGTN``.
    seqlets : sequence of Seqlet
        As `find_seqlets` returns them.
    seed : str
        K-mer to start from; the result depends on it. Use the most enriched one.
    width : int, default 10
        Length of the motif.
    n_rounds : int, default 20
        Largest number of rounds.

    Raises
    ------
    ValueError
        For a seed longer than the motif.

    References
    ----------
    Compare Bailey and Elkan, ISMB 1994.
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
    # The seed determines where the matrix lies on the motif: shift it to the most informative place.
    reach = range(-(width // 2), width // 2 + 1)
    shift = max(reach, key=lambda by: (_bits(_frequencies(_count(codes, instances, width, by))).sum(), -abs(by)))
    # Placed once more: sites at a sequence's end had no room for the matrix before the shift.
    instances = _place(codes, seqlets, _frequencies(_count(codes, instances, width, shift)))
    return Motif(_count(codes, instances, width), instances)


def _place(codes: list[np.ndarray], seqlets: Sequence[Seqlet], weights: np.ndarray) -> list[tuple[int, int]]:
    """Return the best place of a matrix (width, 4) in each seqlet extended by half a width, if its ratio is above 0."""
    width = len(weights)
    # N scores 0, as a letter of background frequency does.
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
    """Count letters (width, 4) at instances moved by ``shift``, as far as they lie in their sequences, without N."""
    counts = np.zeros((width, 4), dtype=np.int64)
    for record, start in instances:
        positions = start + shift + np.arange(width)
        positions = positions[(positions >= 0) & (positions < len(codes[record]))]
        letters = codes[record][positions]
        known = letters < 4
        counts[positions[known] - start - shift, letters[known]] += 1
    return counts


def _frequencies(counts: np.ndarray) -> np.ndarray:
    """Return frequencies with a quarter of a count added to each letter, so that few instances claim little."""
    return (counts + 0.25) / (counts.sum(1, keepdims=True) + 1)


def _bits(frequencies: np.ndarray) -> np.ndarray:
    """Return the information of each position, 2 minus the entropy of its letters."""
    return 2 + np.where(frequencies > 0, frequencies * np.log2(np.where(frequencies > 0, frequencies, 1)), 0).sum(1)
