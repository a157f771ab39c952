"""Geometry of the embeddings of several data sets: figures, bootstrap intervals, paired differences.

Resampling gives every row a random weight of mean 1 (exponential, scaled within each set: the Bayesian bootstrap,
Rubin, Ann Stat 9:130, 1981). It has the variance of drawing rows with replacement, but no row drops out: of n rows
drawn only 63 % differ, which would cut ranks for no reason of the data's. A resample is one weighted covariance.

What it cannot avoid: a resample's spectrum has the sampling noise of n rows twice, once of the data and once of the
weights, and so is spread more than that of the data. IsoScore, k90, RankMe and their like are lower in resamples than
in the data, often in every one of them, and percentile limits would leave the value outside. Intervals are therefore
the spread of the resamples moved to the value: they say how much the figure varies between samples of this n. The shift
is reported as ``bias``; the value minus it is an estimate of the figure with less of the noise of n rows (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, ch. 10).
"""

from __future__ import annotations

import logging
import math
import warnings
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from ..data.folds import apportion, strata_of
from ..errors import InputError
from ..statistics.intrinsic_dimension import SAMPLE, NeighbourRatios, neighbour_ratios, two_nn
from ..statistics.isotropy import FIGURES, ZETA, geometry
from ..statistics.moments import Moments

__all__ = ["POOLED", "check_names", "difference_rows", "figure_rows", "interval", "measure", "sample_rows"]

logger = logging.getLogger(__name__)

POOLED = "all sets"  # the union of the sets, under this name in tables
N_SCORES = 400  # rows of a set whose principal components are kept for drawing
LEVEL = 0.95


def check_names(names: Sequence[str]) -> None:
    """:class:`InputError` for a set that is called what the union of all sets is."""
    if POOLED in names:
        raise InputError(f"--data_dir: found a set called {POOLED!r}, which stands for all of them; rename it")


def sample_rows(labels: np.ndarray, n: int, seed: int, name: str) -> np.ndarray:
    """Records to measure: ``n`` drawn without replacement, classes in the set's own proportion.

    Parameters
    ----------
    labels : (n_records,) or (n_records, n_labels)
    n : int
        All records, where there are no more.
    seed, name
        The same for the same set whatever is measured on it, so that models see the same records.

    Returns
    -------
    int64, sorted
    """
    if n >= len(labels):
        return np.arange(len(labels))
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    classes, y = np.unique(strata_of(labels), return_inverse=True)
    counts = apportion(n, np.bincount(y, minlength=len(classes)))
    drawn = [rng.choice(np.flatnonzero(y == c), size=count, replace=False) for c, count in enumerate(counts)]
    return np.sort(np.concatenate(drawn))


# --------------------------------------------------------------------------------------------------- measuring


def measure(
    sets: Mapping[str, np.ndarray], *, n_boot: int = 100, seed: int = 42, zeta: float = ZETA, with_scores: bool = False
) -> dict:
    """Figures of each set and, of several sets, of their union.

    Parameters
    ----------
    sets : name -> embeddings (n, d), n of 2 or more
        May be memory maps; memory beyond them is a few d x d matrices and a block of rows.
    n_boot : int
        Resamples; 0 for none. Weights depend on seed, set, and number of the resample alone, so that embeddings of
        other models or layers of the same rows are resampled alike and differences are paired.
    zeta : float
        Each set's covariance is shrunk towards that of the union by this share for IsoScore* (see
        :func:`LAMAR.statistics.isotropy.isoscore_star`); in resamples the union's stays what it is. For the union, and for a
        single set, IsoScore* is IsoScore.
    with_scores : bool
        Also project up to 400 rows of each set on its first two principal components.

    Returns
    -------
    dict of plain data
        ``d``; ``n`` by set; ``figures`` by set and name of :data:`LAMAR.statistics.isotropy.FIGURES`; ``resamples``, the same with
        lists of n_boot values; ``spectrum``, normalised singular values of the union, largest first; ``scores`` by set:
        ``rows`` (of the embeddings), ``values`` (rows, 2), ``explained`` (2).

    Raises
    ------
    ValueError
        Sets of different width, fewer than two rows, or values that are not finite.
    """
    target = _pooled(sets).covariance if len(sets) > 1 else None
    ratios = {name: neighbour_ratios(values, seed=seed) for name, values in sets.items()}
    if len(sets) > 1:
        ratios[POOLED] = _pooled_ratios(sets, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # what is undefined is an empty cell of the table
        figures, spectrum = _figures(sets, ratios, target, zeta)
        resamples = {name: {figure: [] for figure in FIGURES} for name in figures}
        for number in range(n_boot):
            weights = {name: _weights(len(values), seed, name, number) for name, values in sets.items()}
            drawn, _ = _figures(sets, ratios, target, zeta, weights)
            for name, found in drawn.items():
                for figure, value in found.items():
                    resamples[name][figure].append(value)
    n = {name: len(values) for name, values in sets.items()}
    if len(sets) > 1:
        n[POOLED] = sum(n.values())
    found = {"d": next(iter(sets.values())).shape[1], "n": n}
    found |= {"figures": figures, "resamples": resamples, "spectrum": spectrum.tolist()}
    found["scores"] = {name: _scores(values, name, seed) for name, values in sets.items()} if with_scores else {}
    return found


def _pooled(sets: Mapping[str, np.ndarray]) -> Moments:
    pooled = None
    for values in sets.values():
        moments = Moments.of(values)
        if pooled is None:
            pooled = moments
        else:
            pooled.merge(moments)
    return pooled


def _pooled_ratios(sets: Mapping[str, np.ndarray], seed: int) -> NeighbourRatios:
    """Of a sample of the union; rows count through the sets in their order."""
    starts = np.concatenate([[0], np.cumsum([len(values) for values in sets.values()])])
    rows = np.random.default_rng(seed).permutation(starts[-1])[:SAMPLE]
    rows.sort()
    parts = np.split(rows, np.searchsorted(rows, starts[1:-1]))
    chosen = [values[part - start] for values, part, start in zip(sets.values(), parts, starts)]
    found = neighbour_ratios(np.concatenate(chosen))
    return NeighbourRatios(found.mu, rows[found.rows])


def _weights(n: int, seed: int, name: str, number: int) -> np.ndarray:
    drawn = np.random.default_rng([seed, zlib.crc32(name.encode()), 1 + number]).standard_exponential(n)
    return drawn / drawn.mean()


def _figures(
    sets: Mapping[str, np.ndarray],
    ratios: Mapping[str, NeighbourRatios],
    target: np.ndarray | None,
    zeta: float,
    weights: Mapping[str, np.ndarray] | None = None,
) -> tuple[dict[str, dict[str, float]], np.ndarray]:
    """Figures by set, the union last, and the spectrum of the last."""
    found, spectrum = {}, np.empty(0)
    pooled: Moments | None = None

    def add(name: str, moments: Moments, target, own_weights) -> None:
        nonlocal spectrum
        figures, spectrum = geometry(moments, target, zeta)
        own = None if own_weights is None else own_weights[ratios[name].rows]
        found[name] = {**figures, "intrinsic_dimension": two_nn(ratios[name], own)}

    for name, values in sets.items():
        own = None if weights is None else weights[name]
        moments = Moments.of(values, own)
        add(name, moments, target, own)
        if pooled is None:
            pooled = moments
        else:
            pooled.merge(moments)
    if len(sets) > 1:
        add(POOLED, pooled, None, None if weights is None else np.concatenate(list(weights.values())))
    return found, spectrum


def _scores(values: np.ndarray, name: str, seed: int) -> dict:
    """Rows of a set on its first two principal components, and the shares of variance that these explain."""
    from scipy.linalg import eigh

    moments = Moments.of(values)
    d = moments.d
    among = [max(0, d - 2), d - 1]
    variances, axes = eigh(moments.covariance, subset_by_index=among)
    axes = axes[:, ::-1]
    # A component's sign is arbitrary: its largest loading is positive.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    rows = np.sort(rng.permutation(len(values))[:N_SCORES])
    points = (np.asarray(values[rows], dtype=np.float64) - moments.mean) @ axes
    total = np.trace(moments.covariance)
    explained = variances[::-1] / total if total > 0 else np.zeros(axes.shape[1])
    return {"rows": rows.tolist(), "values": points.tolist(), "explained": explained.tolist()}


# ------------------------------------------------------------------------------------------------------ tables


def interval(value: float, resamples: Sequence[float], low: float, high: float) -> tuple[float, float, float]:
    """Limits of a figure at this n, and its bootstrap bias; see the module's text.

    Parameters
    ----------
    value, resamples
        Of the data and of the resamples; NaN or None is undefined.
    low, high
        The figure's range, which limits stay in.

    Returns
    -------
    (float, float, float)
        ``value + q - m`` for the 2.5 % and 97.5 % quantiles q of the resamples and their mean m; ``m - value``. NaN
        without resamples, or where any of these is undefined.
    """
    drawn = np.asarray(resamples, dtype=np.float64)
    value = _number(value)
    if not drawn.size or np.isnan(drawn).any() or math.isnan(value):
        return math.nan, math.nan, math.nan
    centre = drawn.mean()
    limits = value + np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - centre
    return (*map(float, np.clip(limits, low, high)), float(centre - value))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def figure_rows(labels: Mapping[str, object], found: dict) -> list[dict]:
    """Rows of ``results.csv`` for what :func:`measure` found: one per set and figure.

    Columns: those of ``labels``, dataset, n, d, figure, value, low, high, bias.
    """
    rows = []
    for name, figures in found["figures"].items():
        for figure, value in figures.items():
            known = FIGURES[figure]
            low, high, bias = interval(value, found["resamples"][name][figure], known.low, known.high)
            row = {**labels, "dataset": name, "n": found["n"][name], "d": found["d"], "figure": figure}
            rows.append(row | {"value": value, "low": low, "high": high, "bias": bias})
    return rows


def difference_rows(labels: Mapping[str, object], a: dict, b: dict) -> list[dict]:
    """Rows for two results of :func:`measure` on the same records: b minus a, resampled together.

    Columns: those of ``labels``, dataset, n, figure, value_a, value_b, difference, low, high. Empty where the widths
    differ: most figures then have another range.
    """
    if (a["d"], a["n"]) != (b["d"], b["n"]):
        return []
    rows = []
    for name in a["figures"]:
        for figure in FIGURES:
            values = [_number(one["figures"][name][figure]) for one in (a, b)]
            drawn = [np.asarray(one["resamples"][name][figure], dtype=np.float64) for one in (a, b)]
            low, high, _ = interval(values[1] - values[0], drawn[1] - drawn[0], -math.inf, math.inf)
            row = {**labels, "dataset": name, "n": a["n"][name], "figure": figure, "value_a": values[0]}
            row |= {"value_b": values[1], "difference": values[1] - values[0], "low": low, "high": high}
            rows.append(row)
    return rows
