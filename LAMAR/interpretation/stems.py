"""Stems in a dependency map: runs of complementary nucleotides that depend on each other, antiparallel.

Base pairs (A-T, G-C, and the wobble G-T; T stands for U) show as runs along antidiagonals: i with j, i + 1 with
j - 1, and so on. How strong a dependency has to be is told by the map itself:

1.  Both directions are averaged, and what rows and columns have in common is taken off (average product correction).
2.  Each complementary cell gets the share p of background cells that are as large or larger, (1 + those) / (1 + all):
    the background are cells of nucleotides that cannot pair, about as far apart, since near nucleotides depend on each
    other whatever the structure.
3.  A run of n cells gets -sum ln p. Were its cells independent and like the background, that would be
    gamma-distributed with shape n (Fisher's method); its tail probability times the number of runs looked at is the
    expected number of runs as good by chance, E. The score is -log10 E.
4.  Runs are taken from the best score on, each if its nucleotides are free and it crosses no stem taken before. So
    structures are nested; pseudoknots are not found, and a bulge ends a stem.

Neighbouring cells are not quite independent, so E is a guide and no exact error rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .dependency import average_product_correction, symmetrised

__all__ = ["Stem", "dot_bracket", "find_stems", "is_complementary"]

MIN_LENGTH, MIN_LOOP, MAX_EVALUE = 3, 3, 0.05
# Background cells about as far apart that p is taken from, at least.
BACKGROUND_CELLS = 500
_PAIRS = ("AT", "TA", "GC", "CG", "GT", "TG")


@dataclass(frozen=True)
class Stem:
    """Nucleotides start, start + 1 ... pair with end - 1, end - 2 ...; 0-based, ``end`` is exclusive.

    Attributes
    ----------
    length
        Base pairs.
    score
        -log10 of the number of such runs expected by chance, see the module's text.
    dependency
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
    """Boolean (L, L): whether two nucleotides can pair, A-T, G-C or G-T."""
    letters = np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)
    can_pair = np.zeros((256, 256), dtype=bool)
    for one, other in _PAIRS:
        can_pair[ord(one), ord(other)] = True
    return can_pair[letters[:, None], letters]


def _evidence(corrected: np.ndarray, complementary: np.ndarray, min_loop: int) -> np.ndarray:
    """-ln p of the complementary cells above the diagonal, float64 (L, L); NaN elsewhere."""
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
    # Groups of background cells by distance; a cell goes to the group that its own distance falls into.
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
    """Nested stems of a dependency map, by start; see the module's text for how they are found.

    Parameters
    ----------
    values
        (L, L), dependency map; NaN at N.
    sequence
        Its L letters of ``ACGTN``.
    min_length
        Base pairs of a stem, at least.
    min_loop
        Nucleotides inside the innermost pair, at least.
    max_evalue
        Runs as good that are expected by chance in this map, at most.
    """
    from scipy.stats import gamma

    both = symmetrised(values)
    evidence = _evidence(average_product_correction(both), is_complementary(sequence), min_loop)
    # total[i, j]: of the run of n cells whose outermost is (i, j); NaN where one of them cannot pair.
    total, found, n_runs = evidence, [], 0
    log_limit = np.log(max_evalue)
    for n in range(1, len(sequence) // 2 + 1):
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
            found += zip(tail[good].tolist(), i[good].tolist(), j[good].tolist(), [n] * int(good.sum()))
    stems: list[Stem] = []
    partner = np.full(len(sequence), -1)
    for tail, i, j, n in sorted(run for run in found if run[0] <= log_limit - np.log(n_runs)):
        left, right = np.arange(i, i + n), np.arange(j, j - n, -1)
        if (partner[left] >= 0).any() or (partner[right] >= 0).any():
            continue
        inside = partner[i + n : j - n + 1]
        # Nested: what pairs inside the innermost pair pairs with what is inside too.
        if ((inside >= 0) & ((inside < i) | (inside > j))).any():
            continue
        partner[left], partner[right] = right, left
        score = -(tail + np.log(n_runs)) / np.log(10)
        stems.append(Stem(i, j + 1, n, float(score), float(both[left, right].mean())))
    return sorted(stems, key=lambda stem: stem.start)


def dot_bracket(length: int, stems: Sequence[Stem]) -> str:
    """The structure in dot-bracket form, one character a nucleotide."""
    letters = ["."] * length
    for stem in stems:
        for i, j in stem.pairs:
            letters[i], letters[j] = "(", ")"
    return "".join(letters)
