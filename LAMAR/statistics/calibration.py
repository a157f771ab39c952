"""Calibrated probabilities and p-values of a model with one logit per track.

They answer two questions about a logit. *How probable is a site?* depends on how common sites are: a logistic
recalibration of each track is fitted to its bound windows and to background windows, whose total weight is set so that
there are ``prior`` sites per background window. *How often does background score that high?* does not depend on it: the
p-value is the share of background windows with that logit or a higher one, from a grid of quantiles, and beyond the
highest of them from a generalised Pareto tail.

References
----------
Platt, Probabilistic outputs for support vector machines, Advances in Large Margin Classifiers, 1999.
Hosking and Wallis, Parameter and quantile estimation for the generalized Pareto distribution, Technometrics 29:339,
1987.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.special import expit

from ..errors import InputError

__all__ = [
    "NEGATIVES",
    "P_LEVELS",
    "TAIL",
    "Calibration",
    "background_calibration",
    "fit_calibration",
    "fit_logistic",
    "fit_tail",
]

TAIL = 0.05  # share of the background windows that the tail is fitted to
# Shares of background windows at or above each quantile of the grid, falling to TAIL.
P_LEVELS = np.round(np.concatenate([np.linspace(1.0, 0.1, 46), np.linspace(0.09, TAIL, 5)]), 4)
SLOPE_PENALTY = 10.0
NEGATIVES = ("background", "unbound", "scan")  # see `Calibration`
MIN_TAIL = 10  # excesses to fit a tail to
SMALLEST_SLOPE = 0.05


@dataclass(frozen=True, eq=False)
class Calibration:
    """Recalibration and background distribution of each track.

    Attributes
    ----------
    names : list of str, length k
        Tracks, in the order of the logits' columns.
    prior : float
        Sites per background window that the probabilities assume.
    slope, intercept : numpy.ndarray of float64, shape (k,), or None
        Probability ``1 / (1 + exp(-(slope * logit + intercept)))``; None where no bound windows were known.
    quantiles : numpy.ndarray of float64, shape (k, len(P_LEVELS))
        Logits that a share `P_LEVELS` of the background windows reach; ascending.
    scale, shape : numpy.ndarray of float64, shape (k,)
        Generalised Pareto distribution of the excess over the last quantile.
    n_bound : numpy.ndarray of int64, shape (k,)
        Bound windows that each track was fitted to.
    n_background : numpy.ndarray of int64, shape (k,)
        Background windows that each track was fitted to.
    negatives : str
        ``background``; ``unbound`` where the data had no background windows and all unbound ones were used; ``scan``
        where the scores are those along sequences that a user gave (`background_calibration`).
    """

    names: list[str]
    prior: float
    slope: np.ndarray | None
    intercept: np.ndarray | None
    quantiles: np.ndarray
    scale: np.ndarray
    shape: np.ndarray
    n_bound: np.ndarray
    n_background: np.ndarray
    negatives: str = "background"

    def take(self, columns: np.ndarray) -> Calibration:
        """Return the calibration of the tracks at ``columns``, int64, shape (m,)."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays = {name: values[columns] for name, values in arrays.items() if isinstance(values, np.ndarray)}
        return replace(self, names=[self.names[column] for column in columns], **arrays)

    @property
    def has_probabilities(self) -> bool:
        """Return whether bound windows were known, without which there are p-values only."""
        return self.slope is not None

    def with_background(self, other: Calibration) -> Calibration:
        """Return this recalibration with the background distribution of another calibration of the same tracks."""
        names = ("quantiles", "scale", "shape", "n_background", "negatives")
        return replace(self, **{name: getattr(other, name) for name in names})

    def at_prior(self, prior: float) -> Calibration:
        """Return the calibration for another number of sites per background window, by Bayes' rule.

        Raises
        ------
        InputError
            A prior that is not above 0 and at most 1, or a calibration without probabilities.
        """
        self._require_probabilities()
        if not 0 < prior <= 1:
            raise InputError(f"`prior`: found {prior}, wanted more than 0, at most 1")
        return replace(self, prior=float(prior), intercept=self.intercept + math.log(prior / self.prior))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return the calibrated probability that each window is a site, at the stated prior. NaN stays NaN.

        Parameters
        ----------
        logits : numpy.ndarray of float, shape (n, k)

        Returns
        -------
        numpy.ndarray of float64, shape (n, k)

        Raises
        ------
        InputError
            The calibration has none.
        """
        self._require_probabilities()
        return expit(self._columns(logits) * self.slope + self.intercept)

    def p_values(self, logits: np.ndarray) -> np.ndarray:
        """Return the share of background windows with each logit or a higher one.

        It is linear in the logit between the quantiles of the grid, and a generalised Pareto tail beyond the last. No
        p-value is below a hundredth of 1 / ``n_background``, which is as far as the tail is trusted. NaN stays NaN.

        Parameters
        ----------
        logits : numpy.ndarray of float, shape (n, k)

        Returns
        -------
        numpy.ndarray of float64, shape (n, k)
        """
        logits = self._columns(logits)
        return np.stack([self.p_values_of(j, column) for j, column in enumerate(logits.T)], axis=1)

    def p_values_of(self, track: int, logits: np.ndarray) -> np.ndarray:
        """Return `p_values` of logits of one track, the column ``track``; float64, shape (n,)."""
        logits, grid = np.asarray(logits, dtype=np.float64), self.quantiles[track]
        values = np.interp(logits, grid, P_LEVELS)
        beyond = logits > grid[-1]
        survival = _pareto_survival(logits[beyond] - grid[-1], self.scale[track], self.shape[track])
        values[beyond] = P_LEVELS[-1] * survival
        return np.maximum(values, 0.01 / max(self.n_background[track], 1))

    def probabilities_at(self, tracks: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return `probabilities` of single logits, shape (n,), each of its track, a column, int64 (n,); float64."""
        return expit(np.asarray(logits, dtype=np.float64) * self.slope[tracks] + self.intercept[tracks])

    def p_values_at(self, tracks: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return `p_values` of single logits, shape (n,), each of its track, a column, int64 (n,); float64."""
        values = np.empty(len(logits))
        for track in np.unique(tracks):
            chosen = tracks == track
            values[chosen] = self.p_values_of(track, logits[chosen])
        return values

    def _require_probabilities(self) -> None:
        if not self.has_probabilities:
            raise InputError("calibration: found p-values only, wanted probabilities too, which need bound windows")

    def _columns(self, logits: np.ndarray) -> np.ndarray:
        logits = np.asarray(logits, dtype=np.float64)
        if logits.ndim != 2 or logits.shape[1] != len(self.names):
            raise ValueError(f"`logits`: found shape {logits.shape}, wanted (n, {len(self.names)})")
        return logits


def fit_calibration(
    logits: np.ndarray, labels: np.ndarray, is_background: np.ndarray, names: Sequence[str], prior: float = 1e-3
) -> Calibration:
    """Return the calibration of each track, fitted to windows that the model was not trained on.

    Parameters
    ----------
    logits : numpy.ndarray of float, shape (n, k)
    labels : numpy.ndarray of int, shape (n, k)
        1 bound, 0 not bound, negative where unknown.
    is_background : numpy.ndarray of bool, shape (n,)
        Windows that are like what a scan meets where nothing binds. Without any, all unbound windows are used.
    names : sequence of str, length k
    prior : float
        Sites per background window.

    Returns
    -------
    Calibration
        A track without bound or without background windows has the fit of all tracks together.

    Raises
    ------
    InputError
        No track has a bound window and a background one.
    """
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    is_background = np.asarray(is_background, dtype=bool)
    has_background = bool(is_background.any())
    pairs = []
    for column, z in zip(labels.T, logits.T):
        pairs.append((z[column == 1], z[(column == 0) & (is_background if has_background else True)]))
    usable = [(bound, rest) for bound, rest in pairs if len(bound) and len(rest)]
    if not usable:
        raise InputError("calibration: found no track with bound and background windows, wanted one or more")
    bound, rest = (np.concatenate([pair[i] for pair in usable]) for i in range(2))
    # Each track's background has the weight of its sites, as in the fits of single tracks.
    weight = np.concatenate([np.full(len(pair[1]), len(pair[0]) / len(pair[1])) for pair in usable])
    pooled = fit_logistic(bound, rest, prior, rest_weight=weight / weight.mean())
    fits = []
    for sites, background in pairs:
        is_fitted = len(sites) and len(background)
        fits.append(fit_logistic(sites, background, prior, slope_prior=pooled[0]) if is_fitted else pooled)
    return Calibration(
        names=list(names),
        prior=float(prior),
        slope=np.array([fit[0] for fit in fits]),
        intercept=np.array([fit[1] for fit in fits]),
        **_distributions(background if len(background) else rest for _, background in pairs),
        n_bound=np.array([len(sites) for sites, _ in pairs]),
        n_background=np.array([len(background) for _, background in pairs]),
        negatives="background" if has_background else "unbound",
    )


def _distributions(references: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """Return ``quantiles``, ``scale`` and ``shape`` of a `Calibration` from the background scores of each track."""
    quantiles, tails = [], []
    for logits in references:
        grid = np.quantile(logits, 1 - P_LEVELS)
        quantiles.append(grid)
        tails.append(fit_tail(logits[logits > grid[-1]] - grid[-1]))
    scale, shape = np.array(tails).T
    return {"quantiles": np.array(quantiles), "scale": scale, "shape": shape}


def background_calibration(logits: np.ndarray, names: Sequence[str], n_independent: int) -> Calibration:
    """Return a calibration without probabilities, from scores where nothing is known to bind.

    Parameters
    ----------
    logits : numpy.ndarray of float, shape (n, k)
    names : sequence of str, length k
    n_independent : int
        Number of independent scores among the n, as overlapping tiles are not; it limits how small p-values become.
    """
    columns = np.asarray(logits, dtype=np.float64).T
    return Calibration(
        names=list(names),
        prior=1.0,
        slope=None,
        intercept=None,
        **_distributions(columns),
        n_bound=np.zeros(len(columns), dtype=np.int64),
        n_background=np.full(len(columns), n_independent),
        negatives="scan",
    )


def fit_logistic(
    bound: np.ndarray,
    rest: np.ndarray,
    prior: float,
    *,
    slope_prior: float | None = None,
    rest_weight: np.ndarray | None = None,
) -> tuple[float, float]:
    """Return slope and intercept of the log-odds of a site where there are ``prior`` sites per background window.

    The fit maximises the likelihood by Newton's method. Each bound window has weight 1, and the background windows
    together ``len(bound) / prior``: the population is that of the stated prior, not that of the data.

    Parameters
    ----------
    bound, rest : numpy.ndarray of float, shapes (m,) and (n,)
        Logits of bound and of background windows, one or more of each.
    prior : float
        Sites per background window.
    slope_prior : float, optional
        Slope towards which ``SLOPE_PENALTY / 2 * (slope - slope_prior) ** 2`` draws the fit: a track with few bound
        windows gets the slope of all tracks, one with many is hardly affected.
    rest_weight : numpy.ndarray of float, shape (n,), optional
        Relative weights of the background windows, with a mean of 1.

    Returns
    -------
    slope, intercept : float
        The slope is `SMALLEST_SLOPE` or more, so that the order of windows never reverses.
    """
    x = np.concatenate([bound, rest]).astype(np.float64)
    y = np.concatenate([np.ones(len(bound)), np.zeros(len(rest))])
    each = len(bound) / prior / len(rest)
    weight = np.concatenate([np.ones(len(bound)), each * (np.ones(len(rest)) if rest_weight is None else rest_weight)])
    centre = x[: len(bound)].mean()
    x = x - centre  # slope and intercept are then nearly independent
    penalty, target = (0.0, 1.0) if slope_prior is None else (SLOPE_PENALTY, slope_prior)
    start = np.array([target, math.log(prior)])
    slope, intercept = _newton(x, y, weight, start, penalty, target)
    if slope < SMALLEST_SLOPE:
        slope, intercept = _newton(x, y, weight, np.array([SMALLEST_SLOPE, math.log(prior)]), math.inf, SMALLEST_SLOPE)
    return slope, intercept - slope * centre


def _newton(x, y, weight, theta: np.ndarray, penalty: float, target: float) -> tuple[float, float]:
    """Return slope and intercept of a weighted logistic regression; an infinite penalty fixes the slope."""
    free = np.isfinite(penalty)
    penalty = penalty if free else 0.0

    def objective(theta: np.ndarray) -> float:
        odds = theta[0] * x + theta[1]
        return float(weight @ (np.logaddexp(0.0, odds) - y * odds)) + penalty / 2 * (theta[0] - target) ** 2

    value = objective(theta)
    for _ in range(100):
        p = np.exp(-np.logaddexp(0.0, -(theta[0] * x + theta[1])))
        residual, curvature = weight * (p - y), weight * p * (1 - p)
        gradient = np.array([free * (residual @ x + penalty * (theta[0] - target)), residual.sum()])
        cross = free * (curvature @ x)
        hessian = np.array([[curvature @ x**2 + penalty, cross], [cross, curvature.sum()]])
        # The small ridge bounds the step where bound and background windows are perfectly separated.
        step = np.linalg.solve(hessian + 1e-6 * np.eye(2), gradient)
        size = 1.0
        while size > 1e-6 and not objective(theta - size * step) <= value:
            size /= 2
        theta = theta - size * step
        before, value = value, objective(theta)
        if abs(before - value) <= 1e-12 * (1 + abs(value)):
            break
    return float(theta[0]), float(theta[1])


def fit_tail(excesses: np.ndarray) -> tuple[float, float]:
    """Return scale and shape of a generalised Pareto distribution, by probability-weighted moments.

    The survival function is ``(1 + shape * x / scale) ** (-1 / shape)``; shape 0 is the exponential distribution. The
    shape is limited to -0.5 to 0.5. Fewer than `MIN_TAIL` excesses give an exponential tail with their mean.

    Parameters
    ----------
    excesses : numpy.ndarray of float, shape (n,)
        Above the threshold, 0 or more.

    Returns
    -------
    scale, shape : float

    References
    ----------
    Hosking and Wallis, Technometrics 29:339, 1987.
    """
    x = np.sort(np.asarray(excesses, dtype=np.float64))
    mean = float(x.mean()) if len(x) else 1.0
    if len(x) < MIN_TAIL or mean <= 0:
        return max(mean, 1e-6), 0.0
    # Moments a_0 = E[x] and a_1 = E[x (1 - F(x))], with plotting positions (i - 0.35) / n.
    position = (np.arange(1, len(x) + 1) - 0.35) / len(x)
    first = float((x * (1 - position)).mean())
    shape = min(0.5, max(-0.5, 2 - mean / max(mean - 2 * first, 1e-12)))
    # At the fitted shape, the mean of the distribution is that of the data.
    return max(mean * (1 - shape), 1e-6), shape


def _pareto_survival(x: np.ndarray, scale: float, shape: float) -> np.ndarray:
    if abs(shape) < 1e-9:
        return np.exp(-x / scale)
    return np.maximum(1 + shape * x / scale, 0.0) ** (-1 / shape)
