"""How evenly embeddings fill their space: IsoScore and related figures.

There are three kinds of figures, all independent of the embeddings' scale and of rotations about the origin:

- of the covariance's eigenvalues ``l_1 >= ... >= l_d`` and their roots ``s_i``, the singular values of the centred
  embeddings: IsoScore, participation ratio, k90 ratio, partition entropy, variance shares, NESum;
- of the second moment's eigenvalues, whose roots are the singular values of the embeddings without centring: RankMe,
  stable rank, and a second k90 ratio. Where embeddings share a large mean, as those of language models do, its
  direction is the first component;
- of unit vectors: average cosine similarity.

All come from count, mean and a d x d matrix (`LAMAR.statistics.moments.Moments`), accumulated in float64 in one pass
over any number of embeddings. The intrinsic dimension, which needs the rows, is in
`LAMAR.statistics.intrinsic_dimension`.

The sample covariance of n embeddings is more spread out than the true one, the more so the smaller n / d: IsoScore, k90
and ranks are too low by an amount that depends on n. Compare figures at equal n and d only.

A figure without a value (no variance, a zero vector's cosine) is NaN with a ``RuntimeWarning``, never 0.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .moments import Moments

__all__ = [
    "FIGURES",
    "Figure",
    "average_cosine",
    "eigenvalues",
    "geometry",
    "isoscore",
    "isoscore_star",
    "k90_ratio",
    "nesum",
    "participation_ratio",
    "partition_entropy",
    "rankme",
    "singular_values",
    "stable_rank",
    "variance_share",
]

NAN = math.nan
ZETA = 0.2  # shrinkage of IsoScore*
_CONSTANT = "the embeddings have no variance"


@dataclass(frozen=True)
class Figure:
    """A figure of geometry as plots need it.

    Attributes
    ----------
    label : str
        Name on axes.
    low, high : float
        Smallest and largest value that it can have; ``inf`` where that grows with d.
    """

    label: str
    low: float = 0.0
    high: float = 1.0


FIGURES = {
    "isoscore": Figure("IsoScore"),
    "isoscore_star": Figure("IsoScore*"),
    "participation_ratio": Figure("participation ratio", 1, math.inf),
    "k90_ratio": Figure("k90 / d"),
    "k90_ratio_uncentred": Figure("k90 / d, uncentred"),
    "partition_entropy": Figure("partition entropy"),
    "average_cosine": Figure("average cosine", -1),
    "variance_share_1": Figure("variance share, 1 PC"),
    "variance_share_5": Figure("variance share, 5 PCs"),
    "variance_share_10": Figure("variance share, 10 PCs"),
    "rankme": Figure("RankMe", 1, math.inf),
    "nesum": Figure("NESum", 1, math.inf),
    "stable_rank": Figure("stable rank", 1, math.inf),
    "intrinsic_dimension": Figure("intrinsic dimension", 0, math.inf),
}


def _undefined(name: str, reason: str) -> float:
    warnings.warn(f"{name} is undefined: {reason}", RuntimeWarning, stacklevel=3)
    return NAN


# ----------------------------------------------------------------------------------------------------- spectra


def eigenvalues(matrix: np.ndarray) -> np.ndarray:
    """Return the eigenvalues of a covariance (d, d), largest first, float64 (d,).

    Values below the largest by a factor of d x 2.2e-16 or more are rounding errors of float64 and become 0.
    """
    values = np.linalg.eigvalsh(np.asarray(matrix, dtype=np.float64))[::-1]
    return np.where(values > values[0] * len(values) * np.finfo(np.float64).eps, values, 0.0)


def singular_values(matrix: np.ndarray) -> np.ndarray:
    """Return the roots of `eigenvalues`: the singular values of the embeddings up to a common factor."""
    return np.sqrt(eigenvalues(matrix))


def _values(values: Sequence[float] | np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not values.size or not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"`{name}`: found shape {values.shape}, wanted (d,) finite values of 0 or more")
    return np.sort(values)[::-1]


def participation_ratio(values) -> float:
    """Return the participation ratio ``(sum_i l_i)^2 / sum_i l_i^2`` of covariance eigenvalues (d,).

    It is 1 for one direction and d for d equal ones; NaN without variance.

    References
    ----------
    Gao et al., bioRxiv 214262 (2017).
    """
    values = _values(values, "values")
    if not values[0] > 0:
        return _undefined("participation ratio", _CONSTANT)
    values = values / values[0]
    return float(values.sum() ** 2 / (values @ values))


def isoscore(values) -> float:
    """Return IsoScore ``(PR - 1) / (d - 1)`` of covariance eigenvalues (d,), PR their `participation_ratio`.

    It is 0 for one direction and 1 for an isotropic spectrum; NaN without variance, or for d = 1. The reference defines
    it by the distance of ``sqrt(d) l / |l|`` from the vector of ones, ``delta^2 = (d - sqrt(d PR)) / (d - sqrt(d))``,
    and ``((d - delta^2 (d - sqrt(d)))^2 - d) / (d (d - 1))``, which is the same number.

    References
    ----------
    Rudman et al., Findings of ACL (2022).
    """
    values = _values(values, "values")
    if len(values) == 1:
        return _undefined("IsoScore", "there is one dimension")
    if not values[0] > 0:
        return _undefined("IsoScore", _CONSTANT)
    return (participation_ratio(values) - 1) / (len(values) - 1)


def isoscore_star(covariance: np.ndarray, target: np.ndarray, zeta: float = ZETA) -> float:
    """Return IsoScore*, the IsoScore of a covariance shrunk towards a better known one.

    It is meant for few samples in many dimensions: the IsoScore of ``(1 - zeta) C + zeta T``.

    Parameters
    ----------
    covariance : float, shape (d, d)
        Covariance C of the samples.
    target : float, shape (d, d)
        T, in the same units: the covariance of a larger sample of the same embeddings, or a multiple of the identity
        where there is none. The identity itself would make the score depend on the embeddings' scale.
    zeta : float
        0 (IsoScore of C) to 1 (IsoScore of T).

    Returns
    -------
    float
        NaN with a ``RuntimeWarning`` without variance, or for d = 1.

    Raises
    ------
    ValueError
        The shapes differ, or ``zeta`` is out of range.

    References
    ----------
    Rudman and Eickhoff, "Stable Anisotropic Regularization", ICLR (2024). Shrinkage: Friedman, J Am Stat Assoc 84:165
    (1989).
    """
    covariance, target = np.asarray(covariance, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if covariance.ndim != 2 or covariance.shape != covariance.T.shape or target.shape != covariance.shape:
        raise ValueError(f"`target`: found shapes {covariance.shape} and {target.shape}, wanted (d, d) twice")
    if not 0 <= zeta <= 1:
        raise ValueError(f"`zeta`: found {zeta}, wanted 0 to 1")
    shrunk = (1 - zeta) * covariance + zeta * target
    d, total = len(shrunk), np.trace(shrunk)
    if d == 1:
        return _undefined("IsoScore*", "there is one dimension")
    if not total > 0:
        return _undefined("IsoScore*", _CONSTANT)
    # Sum and sum of squares of the eigenvalues without computing any.
    shrunk = shrunk / total
    return float((1 / np.einsum("ij,ij->", shrunk, shrunk) - 1) / (d - 1))


def k90_ratio(singular) -> float:
    """Return the smallest number of components whose singular values (d,) sum to 90 % of the total, over d.

    An isotropic spectrum gives 0.9, one direction 1 / d. The sum is over s_i, not over the variances s_i^2. Some report
    this figure, on centred embeddings pooled over data sets, under the name IsoScore, which it is not.

    Parameters
    ----------
    singular : float, shape (d,)
    """
    singular = _values(singular, "singular")
    if not singular[0] > 0:
        return _undefined("k90 ratio", _CONSTANT)
    cumulative = np.cumsum(singular)
    # 0.9 of ten equal values is nine of them, in spite of rounding.
    k = int(np.searchsorted(cumulative, 0.9 * cumulative[-1] * (1 - 1e-12))) + 1
    return k / len(singular)


def _entropy(singular: np.ndarray) -> float:
    shares = singular[singular > 0] / singular.sum()
    return float(-(shares * np.log(shares)).sum())


def partition_entropy(singular) -> float:
    """Return the entropy ``-sum_i p_i ln p_i / ln d`` with ``p_i = s_i / sum_j s_j`` of singular values (d,).

    It is 0 for one direction and 1 for an isotropic spectrum. ``d ** partition_entropy`` is the effective rank, which
    some report as "partition function".

    References
    ----------
    Effective rank: Roy and Vetterli, EUSIPCO (2007).
    """
    singular = _values(singular, "singular")
    if len(singular) == 1:
        return _undefined("partition entropy", "there is one dimension")
    return _entropy(singular) / math.log(len(singular)) if singular[0] > 0 else _undefined("entropy", _CONSTANT)


def variance_share(values, k: int) -> float:
    """Return the share ``sum_(i<=k) l_i / sum_i l_i`` of variance along the first k principal components."""
    values = _values(values, "values")
    return float(values[:k].sum() / values.sum()) if values[0] > 0 else _undefined("variance share", _CONSTANT)


def rankme(singular) -> float:
    """Return RankMe ``exp(-sum_i p_i ln p_i)``, ``p_i = s_i / sum_j s_j``, of uncentred embeddings.

    ``singular`` (d,) are their singular values. The reference adds 1e-7 to each p_i so that zeros have a logarithm;
    here 0 ln 0 is 0, which makes rank r with equal values exactly r and differs by 0.2 % at most for d up to 1,024.

    References
    ----------
    Garrido et al., ICML (2023).
    """
    singular = _values(singular, "singular")
    return math.exp(_entropy(singular)) if singular[0] > 0 else _undefined("RankMe", "all embeddings are zero")


def nesum(values) -> float:
    """Return NESum ``sum_i l_i / l_1`` of covariance eigenvalues (d,), from 1 to d.

    References
    ----------
    He and Ozay, ICML (2022).
    """
    values = _values(values, "values")
    return float((values / values[0]).sum()) if values[0] > 0 else _undefined("NESum", _CONSTANT)


def stable_rank(singular) -> float:
    """Return the stable rank ``sum_i s_i^2 / s_1^2`` of singular values (d,) of uncentred embeddings.

    It is the squared ratio of Frobenius and operator norm. For centred embeddings it equals `nesum`.

    References
    ----------
    Rudelson and Vershynin, J ACM 54:21 (2007).
    """
    singular = _values(singular, "singular")
    if not singular[0] > 0:
        return _undefined("stable rank", "all embeddings are zero")
    return float(((singular / singular[0]) ** 2).sum())


def average_cosine(moments: Moments) -> float:
    """Return the mean cosine similarity over all pairs of different embeddings, exactly.

    With unit vectors ``u_i = x_i / |x_i|``, ``sum_(i != j) u_i . u_j = |sum_i u_i|^2 - n``, so the mean over the
    n (n - 1) ordered pairs is ``(|sum_i u_i|^2 - n) / (n (n - 1))``; with weights,
    ``(|sum w u|^2 - sum w^2) / ((sum w)^2 - sum w^2)``. Zero vectors have no direction and are left out; with fewer
    than two others the value is NaN.

    References
    ----------
    As a measure of anisotropy: Ethayarajh, EMNLP (2019).
    """
    pairs = moments.unit_weight**2 - moments.unit_weight_squares
    if not pairs > 1e-12 * moments.unit_weight**2:
        return _undefined("average cosine", "fewer than two embeddings have a direction")
    return float((moments.unit_sum @ moments.unit_sum - moments.unit_weight_squares) / pairs)


def geometry(
    moments: Moments, target: np.ndarray | None = None, zeta: float = ZETA
) -> tuple[dict[str, float], np.ndarray]:
    """Return all figures of `FIGURES` except the intrinsic dimension.

    Parameters
    ----------
    moments : Moments
        Of two embeddings or more.
    target : float, shape (d, d), optional
        Target of `isoscore_star`; the default is the covariance itself, so that IsoScore* is IsoScore.
    zeta : float
        As in `isoscore_star`.

    Returns
    -------
    figures : dict of float
        By name in `FIGURES`.
    singular : float64, shape (d,)
        Singular values of the centred embeddings over their sum, largest first; zeros without variance.

    Raises
    ------
    ValueError
        Fewer than two embeddings.
    """
    covariance = moments.covariance
    values = eigenvalues(covariance) if moments.has_variance else np.zeros(moments.d)
    roots, raw = np.sqrt(values), singular_values(moments.second_moment)
    figures = {
        "isoscore": isoscore(values),
        "isoscore_star": isoscore_star(covariance, covariance if target is None else target, zeta)
        if moments.has_variance
        else _undefined("IsoScore*", _CONSTANT),
        "participation_ratio": participation_ratio(values),
        "k90_ratio": k90_ratio(roots),
        "k90_ratio_uncentred": k90_ratio(raw),
        "partition_entropy": partition_entropy(roots),
        "average_cosine": average_cosine(moments),
        **{f"variance_share_{k}": variance_share(values, k) for k in (1, 5, 10)},
        "rankme": rankme(raw),
        "nesum": nesum(values),
        "stable_rank": stable_rank(raw),
    }
    return figures, roots / roots.sum() if roots[0] > 0 else roots
