"""Stems in a dependency map: runs of complementary nucleotides that depend on each other, antiparallel.

Base pairs (A-T, G-C, and the wobble G-T; T stands for U) show as runs along antidiagonals: i with j, i + 1 with
j - 1, and so on. How strong a dependency has to be is derived from the map itself:

1.  Both directions are averaged, and the average product correction is applied.
2.  Each complementary cell gets the share p of background cells that are as large or larger, (1 + those) / (1 + all).
    The background consists of cells of nucleotides that cannot pair and are about as far apart, because near
    nucleotides depend on each other whatever the structure.
3.  A run of n cells gets -sum ln p. If its cells were independent and like the background, that would be
    gamma-distributed with shape n (Fisher's method); its tail probability times the number of tested runs is the
    expected number of equally good runs by chance, E. The score is -log10 E.
4.  Runs are accepted in order of their score, each if its nucleotides are free and it crosses no accepted stem. So
    structures are nested; pseudoknots are not found, and a bulge ends a stem.

Neighbouring cells are not quite independent, so E is a guide and not an exact error rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .dependency import average_product_correction, symmetrised

__all__ = ["Stem", "dot_bracket", "find_stems", "is_complementary"]

MIN_LENGTH, MIN_LOOP, MAX_EVALUE = 3, 3, 0.05
# Smallest number of background cells of about equal distance from which p is computed.
BACKGROUND_CELLS = 500
_PAIRS = ("AT", "TA", "GC", "CG", "GT", "TG")


@dataclass(frozen=True)
class Stem:
    """A stem: nucleotides start, start + 1 ... pair with end - 1, end - 2 ...; 0-based, ``end`` is exclusive.

    Attributes
    ----------
    start, end : int
    length : int
        Number of base pairs.
    score : float
        -log10 of the number of equally good runs expected by chance, see the module's text.
    dependency : float
        Mean of the map over its cells, both directions, in log2 odds.
    """

    start: int
    end: int
    length: int
    score: float
    dependency: float

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Positions (i, j), i < j, from the outermost pair inwards."""
        return [(self.start + k, self.end - 1 - k) for k in range(self.length)]


def is_complementary(sequence: str) -> np.ndarray:
    """Return whether each two nucleotides can pair (A-T, G-C or G-T), bool, shape (L, L)."""
    letters = np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)
    can_pair = np.zeros((256, 256), dtype=bool)
    for one, other in _PAIRS:
        can_pair[ord(one), ord(other)] = True
    return can_pair[letters[:, None], letters]


def _evidence(corrected: np.ndarray, complementary: np.ndarray, min_loop: int) -> np.ndarray:
    """Return -ln p of the complementary cells above the diagonal, float64, shape (L, L); NaN elsewhere."""
    i, j = np.triu_indices(len(corrected), min_loop + 1)
    known = np.isfinite(corrected[i, j])
    i, j = i[known], j[known]
    can_pair = complementary[i, j]
    evidence = np.full(corrected.shape, np.nan)
    distance = (j - i)[~can_pair]
    order = np.argsort(distance, kind="stable")
    background = corrected[i[~can_pair], j[~can_pair]][order]
    if not len(background):
        return evidence
    # Groups of background cells by distance; a cell is compared with the group that its distance falls into.
    cuts = np.arange(0, max(1, len(order) - BACKGROUND_CELLS + 1), BACKGROUND_CELLS)
    nearest = np.unique(distance[order][cuts])
    bounds = np.append(np.searchsorted(distance[order], nearest), len(order))
    i, j = i[can_pair], j[can_pair]
    group = np.maximum(np.searchsorted(nearest, j - i, side="right") - 1, 0)
    for k in range(len(nearest)):
        cells = np.sort(background[bounds[k] : bounds[k + 1]])
        inside = group == k
        values = corrected[i[inside], j[inside]]
        as_large = len(cells) - np.searchsorted(cells, values, side="left")
        evidence[i[inside], j[inside]] = -np.log((1 + as_large) / (1 + len(cells)))
    return evidence


def find_stems(
    values: np.ndarray,
    sequence: str,
    *,
    min_length: int = MIN_LENGTH,
    min_loop: int = MIN_LOOP,
    max_evalue: float = MAX_EVALUE,
) -> list[Stem]:
    """Find nested stems in a dependency map, see the module's text for the method.

    Parameters
    ----------
    values : ndarray, shape (L, L)
        A whole dependency map; NaN at N.
    sequence : str
        Its L letters of ``ACGTN``.
    min_length : int, default 3
        Base pairs of a stem, at least.
    min_loop : int, default 3
        Nucleotides inside the innermost pair, at least.
    max_evalue : float, default 0.05
        Number of equally good runs expected by chance in this map, at most.

    Returns
    -------
    list of Stem
        In order of their starts.
    """
    both = symmetrised(values)
    evidence = _evidence(average_product_correction(both), is_complementary(sequence), min_loop)
    runs, log_n_runs = _significant_runs(evidence, min_length, np.log(max_evalue))
    stems: list[Stem] = []
    partner = np.full(len(sequence), -1)
    for tail, i, j, n in sorted(runs):
        left, right = np.arange(i, i + n), np.arange(j, j - n, -1)
        if (partner[left] >= 0).any() or (partner[right] >= 0).any():
            continue
        inside = partner[i + n : j - n + 1]
        # Nested: what pairs inside the innermost pair pairs with a position that is inside too.
        if ((inside >= 0) & ((inside < i) | (inside > j))).any():
            continue
        partner[left], partner[right] = right, left
        score = -(tail + log_n_runs) / np.log(10)
        stems.append(Stem(i, j + 1, n, float(score), float(both[left, right].mean())))
    return sorted(stems, key=lambda stem: stem.start)


def _significant_runs(
    evidence: np.ndarray, min_length: int, log_limit: float
) -> tuple[list[tuple[float, int, int, int]], float]:
    """Return runs of cells whose E is within the limit, and the logarithm of the number of tested runs.

    A run is the logarithm of its tail probability, its outermost cell (i, j) and its length.
    """
    from scipy.stats import gamma

    # total[i, j] is the evidence of the run of n cells whose outermost is (i, j); NaN where one of them cannot pair.
    total, runs, n_runs = evidence, [], 0
    for n in range(1, len(evidence) // 2 + 1):
        if n > 1:
            inner = np.full_like(total, np.nan)
            inner[:-1, 1:] = total[1:, :-1]
            total = evidence + inner
        i, j = np.nonzero(np.isfinite(total))
        if not len(i):
            break
        if n >= min_length:
            n_runs += len(i)
            tail = gamma.logsf(total[i, j], n)
            # More runs only lower the limit: what fails now would fail at the end.
            good = tail <= log_limit - np.log(n_runs)
            runs += zip(tail[good].tolist(), i[good].tolist(), j[good].tolist(), [n] * int(good.sum()))
    log_n_runs = np.log(n_runs) if n_runs else 0.0
    return [run for run in runs if run[0] <= log_limit - log_n_runs], log_n_runs


def dot_bracket(length: int, stems: Sequence[Stem]) -> str:
    """Return the structure in dot-bracket form, one character per nucleotide of a sequence of ``length`` nt."""
    letters = ["."] * length
    for stem in stems:
        for i, j in stem.pairs:
            letters[i], letters[j] = "(", ")"
    return "".join(letters)
