"""Geometry of the embeddings of several data sets: figures, bootstrap intervals, paired differences.

Resampling gives every row a random weight of mean 1, exponential and scaled within each set (Bayesian bootstrap). It
has the variance of drawing rows with replacement, but no row drops out: of n rows drawn with replacement only 63 %
differ, which would reduce ranks for a reason that is not in the data. A resample is one weighted covariance.

The spectrum of a resample contains the sampling noise of n rows twice, once from the data and once from the weights,
and is therefore more spread than that of the data. IsoScore, k90, RankMe and related figures are lower in resamples
than in the data, often in every resample, so that percentile limits would exclude the value. Intervals are therefore
the spread of the resamples moved to the value: they tell how much the figure varies between samples of this n. The
shift is reported as ``bias``; the value minus it estimates the figure with less of the noise of n rows.

References
----------
Rubin, The Bayesian bootstrap, Ann Stat 9:130-134, 1981.
Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 10.
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

POOLED = "all sets"  # name of the union of the sets in tables
N_SCORES = 400  # rows of a set whose principal components are kept for drawing
LEVEL = 0.95


def check_names(names: Sequence[str]) -> None:
    """Raise an `InputError` for a set with the name that tables give to the union of all sets."""
    if POOLED in names:
        raise InputError(f"`data_dir`: found a set called {POOLED!r}, which stands for all of them; rename it")


def sample_rows(labels: np.ndarray, n: int, seed: int, name: str) -> np.ndarray:
    """Draw records to measure without replacement, classes in the proportion of the set.

    Parameters
    ----------
    labels : array, shape (n_records,) or (n_records, n_labels)
    n : int
        Number of records to draw; all records where there are no more.
    seed : int
    name : str
        Name of the set. The same seed and name give the same records, whichever model is measured on them.

    Returns
    -------
    int64, shape (min(n, n_records),)
        Sorted indices.
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
    """Measure the figures of each set and, where there are several sets, of their union.

    Parameters
    ----------
    sets : mapping of str to float array, shape (n, d)
        Embeddings by name of the set, n of 2 or more. They may be memory maps; memory beyond them is a few d x d
        matrices and a block of rows.
    n_boot : int
        Number of resamples; 0 for none. Weights depend on seed, set and number of the resample alone, so that
        embeddings of the same rows by other models or layers are resampled alike and differences are paired.
    seed : int
    zeta : float
        Share by which each set's covariance is shrunk towards that of the union for IsoScore* (see
        `LAMAR.statistics.isotropy.isoscore_star`); the union's is not resampled. For the union, and for a single set,
        IsoScore* is IsoScore.
    with_scores : bool
        Also project up to 400 rows of each set on its first two principal components.

    Returns
    -------
    dict of plain data
        ``d``; ``n`` by set; ``figures`` by set and name of `LAMAR.statistics.isotropy.FIGURES`; ``resamples``, the same
        with lists of n_boot values; ``spectrum``, normalised singular values of the union, largest first; ``scores`` by
        set: ``rows`` (of the embeddings), ``values`` (rows, 2), ``explained`` (2).

    Raises
    ------
    ValueError
        For sets of different width, fewer than two rows, or values that are not finite.
    """
    target = _pooled(sets).covariance if len(sets) > 1 else None
    ratios = {name: neighbour_ratios(values, seed=seed) for name, values in sets.items()}
    if len(sets) > 1:
        ratios[POOLED] = _pooled_ratios(sets, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # undefined values become empty cells
        figures, spectrum = _figures(sets, ratios, target, zeta)
        resamples = {name: {figure: [] for figure in FIGURES} for name in figures}
        for number in range(n_boot):
            weights = {name: _weights(len(values), seed, name, number) for name, values in sets.items()}
            drawn, _ = _figures(sets, ratios, target, zeta, weights)
            for name, values in drawn.items():
                for figure, value in values.items():
                    resamples[name][figure].append(value)
    n = {name: len(values) for name, values in sets.items()}
    if len(sets) > 1:
        n[POOLED] = sum(n.values())
    measured = {"d": next(iter(sets.values())).shape[1], "n": n}
    measured |= {"figures": figures, "resamples": resamples, "spectrum": spectrum.tolist()}
    measured["scores"] = {name: _scores(values, name, seed) for name, values in sets.items()} if with_scores else {}
    return measured


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
    """Return the neighbour ratios of a sample of the union; rows count through the sets in their order."""
    starts = np.concatenate([[0], np.cumsum([len(values) for values in sets.values()])])
    rows = np.random.default_rng(seed).permutation(starts[-1])[:SAMPLE]
    rows.sort()
    parts = np.split(rows, np.searchsorted(rows, starts[1:-1]))
    chosen = [values[part - start] for values, part, start in zip(sets.values(), parts, starts)]
    ratios = neighbour_ratios(np.concatenate(chosen))
    return NeighbourRatios(ratios.mu, rows[ratios.rows])


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
    """Return the figures by set, the union last, and the spectrum of the last."""
    figures_by_set, spectrum = {}, np.empty(0)
    pooled: Moments | None = None

    def add(name: str, moments: Moments, target, row_weights) -> None:
        nonlocal spectrum
        figures, spectrum = geometry(moments, target, zeta)
        sampled = None if row_weights is None else row_weights[ratios[name].rows]
        figures_by_set[name] = {**figures, "intrinsic_dimension": two_nn(ratios[name], sampled)}

    for name, values in sets.items():
        row_weights = None if weights is None else weights[name]
        moments = Moments.of(values, row_weights)
        add(name, moments, target, row_weights)
        if pooled is None:
            pooled = moments
        else:
            pooled.merge(moments)
    if len(sets) > 1:
        add(POOLED, pooled, None, None if weights is None else np.concatenate(list(weights.values())))
    return figures_by_set, spectrum


def _scores(values: np.ndarray, name: str, seed: int) -> dict:
    """Project rows of a set on its first two principal components; return with them the variance explained."""
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
    """Return the limits of a figure at this n, and its bootstrap bias, as the module explains them.

    Parameters
    ----------
    value : float or None
        Figure of the data; NaN or None is undefined.
    resamples : sequence of float
        Figure of each resample.
    low, high : float
        Range of the figure, to which limits are clipped.

    Returns
    -------
    (float, float, float)
        ``value + q - m`` for the 2.5 % and 97.5 % quantiles q of the resamples and their mean m, then ``m - value``.
        NaN without resamples, or where any of these is undefined.
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


def figure_rows(labels: Mapping[str, object], measured: dict) -> list[dict]:
    """Return rows of ``results.csv``, one per set and figure.

    Parameters
    ----------
    labels : mapping
        Columns that are the same in all rows.
    measured : dict
        As `measure` returns it.

    Returns
    -------
    list of dict
        Columns: those of ``labels``, dataset, n, d, figure, value, low, high, bias.
    """
    rows = []
    for name, figures in measured["figures"].items():
        for figure, value in figures.items():
            known = FIGURES[figure]
            low, high, bias = interval(value, measured["resamples"][name][figure], known.low, known.high)
            row = {**labels, "dataset": name, "n": measured["n"][name], "d": measured["d"], "figure": figure}
            rows.append(row | {"value": value, "low": low, "high": high, "bias": bias})
    return rows


def difference_rows(labels: Mapping[str, object], a: dict, b: dict) -> list[dict]:
    """Return rows of ``differences.csv``: b minus a on the same records, resampled together.

    Parameters
    ----------
    labels : mapping
        Columns that are the same in all rows.
    a, b : dict
        As `measure` returns them.

    Returns
    -------
    list of dict
        Columns: those of ``labels``, dataset, n, figure, value_a, value_b, difference, low, high. Empty where widths or
        numbers of records differ, because most figures then have another range.
    """
    if (a["d"], a["n"]) != (b["d"], b["n"]):
        return []
    rows = []
    for name in a["figures"]:
        for figure in FIGURES:
            values = [_number(measured["figures"][name][figure]) for measured in (a, b)]
            drawn = [np.asarray(measured["resamples"][name][figure], dtype=np.float64) for measured in (a, b)]
            low, high, _ = interval(values[1] - values[0], drawn[1] - drawn[0], -math.inf, math.inf)
            row = {**labels, "dataset": name, "n": a["n"][name], "figure": figure, "value_a": values[0]}
            row |= {"value_b": values[1], "difference": values[1] - values[0], "low": low, "high": high}
            rows.append(row)
    return rows
