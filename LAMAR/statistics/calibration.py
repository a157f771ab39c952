"""Calibrated probabilities and p-values of a model with one logit per track.

Two questions about a logit are answered apart. *How probable is a site?* depends on how common sites are: a logistic
recalibration (Platt, 1999) of each track, fitted to its bound windows and to background windows whose total weight is
set so that there are ``prior`` sites to a background window. *How often does background score that high?* does not: the
p-value is the share of background windows with that logit or a higher one, from a grid of quantiles, and beyond the
highest of them from a generalised Pareto tail (Hosking & Wallis, Technometrics 29:339, 1987).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..runs.storage import read_json

__all__ = ["P_LEVELS", "TAIL", "Calibration", "fit_calibration", "fit_logistic", "fit_tail", "read_calibration"]

FORMAT_VERSION = 1
TAIL = 0.05  # share of the background windows that the tail is fitted to
# Shares of background windows at or above each quantile of the grid, falling to TAIL.
P_LEVELS = np.round(np.concatenate([np.linspace(1.0, 0.1, 46), np.linspace(0.09, TAIL, 5)]), 4)
SLOPE_PENALTY = 10.0
MIN_TAIL = 10  # excesses to fit a tail to
SMALLEST_SLOPE = 0.05


@dataclass(frozen=True, eq=False)
class Calibration:
    """Recalibration and background distribution of each track.

    Attributes
    ----------
    names : list of str
        Tracks, in the order of the logits' columns (k).
    prior : float
        Sites per background window that the probabilities assume.
    slope, intercept : float64 (k,)
        Probability ``1 / (1 + exp(-(slope * logit + intercept)))``.
    quantiles : float64 (k, len(P_LEVELS))
        Logits that a share :data:`P_LEVELS` of the background windows reach; ascending.
    scale, shape : float64 (k,)
        Generalised Pareto distribution of the excess over the last quantile.
    n_bound : int64 (k,)
        Bound windows that each track was fitted to.
    n_background : int64 (k,)
        Background windows that each track was fitted to.
    negatives : str
        ``background``, or ``unbound`` where the data had no background windows and all unbound ones were taken.
    """

    names: list[str]
    prior: float
    slope: np.ndarray
    intercept: np.ndarray
    quantiles: np.ndarray
    scale: np.ndarray
    shape: np.ndarray
    n_bound: np.ndarray
    n_background: np.ndarray
    negatives: str = "background"

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probability that a window is a site, at the stated prior; float64 (n, k) of logits (n, k)."""
        odds = self._columns(logits) * self.slope + self.intercept
        return np.exp(-np.logaddexp(0.0, -odds))

    def p_values(self, logits: np.ndarray) -> np.ndarray:
        """Share of background windows with this logit or a higher one; float64 (n, k) of logits (n, k).

        Linear in the logit between the quantiles of the grid, a generalised Pareto tail beyond the last. No p-value is
        below a hundredth of 1 / ``n_background``: that is as far as the tail is trusted. NaN stays NaN.
        """
        logits = self._columns(logits)
        values = np.empty_like(logits)
        for j in range(logits.shape[1]):
            grid, z = self.quantiles[j], logits[:, j]
            values[:, j] = np.interp(z, grid, P_LEVELS)
            beyond = z > grid[-1]
            survival = _pareto_survival(z[beyond] - grid[-1], self.scale[j], self.shape[j])
            values[beyond, j] = P_LEVELS[-1] * survival
        return np.maximum(values, 0.01 / np.maximum(self.n_background, 1))

    def _columns(self, logits: np.ndarray) -> np.ndarray:
        logits = np.asarray(logits, dtype=np.float64)
        if logits.ndim != 2 or logits.shape[1] != len(self.names):
            raise ValueError(f"logits: found shape {logits.shape}, wanted (n, {len(self.names)})")
        return logits

    def to_dict(self) -> dict:
        """Content of ``calibration.json``."""
        tracks = {}
        for j, name in enumerate(self.names):
            tracks[name] = {
                "slope": _short(self.slope[j]),
                "intercept": _short(self.intercept[j]),
                "n_bound": int(self.n_bound[j]),
                "n_background": int(self.n_background[j]),
                "quantiles": [_short(value) for value in self.quantiles[j]],
                "tail": {"scale": _short(self.scale[j]), "shape": _short(self.shape[j])},
            }
        head = {"format_version": FORMAT_VERSION, "prior": self.prior, "negatives": self.negatives}
        return {**head, "p_levels": P_LEVELS.tolist(), "tracks": tracks}


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def read_calibration(path: str | PathLike, names: Sequence[str] | None = None) -> Calibration:
    """Read ``calibration.json``.

    Parameters
    ----------
    path : path
        The file, or the checkpoint folder that holds it.
    names : sequence of str, optional
        Tracks of the model, in the order of its outputs.

    Raises
    ------
    InputError
        The file is missing or damaged, or its tracks are not ``names``.
    """
    path = Path(path)
    path = path / "calibration.json" if path.is_dir() else path
    content = read_json(path)
    try:
        if content["format_version"] != FORMAT_VERSION or content["p_levels"] != P_LEVELS.tolist():
            raise InputError(f"{path}: found another format than version {FORMAT_VERSION}; calibrate the model again")
        tracks: Mapping = content["tracks"]
        found = list(tracks)
        if names is not None and found != list(names):
            differing = sorted(set(found) ^ set(names))
            what = f"such as {differing[0]}" if differing else "their order differs"
            raise InputError(f"{path}: found {len(found)} tracks that are not the model's {len(names)} ({what})")
        tails = [track["tail"] for track in tracks.values()]
        columns = {
            name: np.array([track[name] for track in tracks.values()])
            for name in ("slope", "intercept", "quantiles", "n_bound", "n_background")
        }
        columns |= {name: np.array([tail[name] for tail in tails]) for name in ("scale", "shape")}
        if columns["quantiles"].shape != (len(found), len(P_LEVELS)):
            raise InputError(f"{path}: found quantiles of shape {columns['quantiles'].shape}")
        return Calibration(found, float(content["prior"]), negatives=content["negatives"], **columns)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a calibration ({type(error).__name__}: {error})") from error


def fit_calibration(
    logits: np.ndarray, labels: np.ndarray, is_background: np.ndarray, names: Sequence[str], prior: float = 1e-3
) -> Calibration:
    """Calibrate each track on windows that the model was not trained on.

    Parameters
    ----------
    logits : float (n, k)
    labels : int (n, k)
        1 bound, 0 not bound, negative where unknown.
    is_background : bool (n,)
        Windows that stand for what a scan meets where nothing binds. Without any, all unbound windows do.
    names : sequence of str, k
    prior : float
        Sites per background window.

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
    # Each track's background has the weight of its own sites, as in the fits of single tracks.
    weight = np.concatenate([np.full(len(pair[1]), len(pair[0]) / len(pair[1])) for pair in usable])
    pooled = fit_logistic(bound, rest, prior, rest_weight=weight / weight.mean())
    fits, quantiles, tails = [], [], []
    for own, background in pairs:
        is_fitted = len(own) and len(background)
        fits.append(fit_logistic(own, background, prior, slope_prior=pooled[0]) if is_fitted else pooled)
        reference = background if len(background) else rest
        quantiles.append(np.quantile(reference, 1 - P_LEVELS))
        tails.append(fit_tail(reference[reference > quantiles[-1][-1]] - quantiles[-1][-1]))
    return Calibration(
        names=list(names),
        prior=float(prior),
        slope=np.array([fit[0] for fit in fits]),
        intercept=np.array([fit[1] for fit in fits]),
        quantiles=np.array(quantiles),
        scale=np.array([tail[0] for tail in tails]),
        shape=np.array([tail[1] for tail in tails]),
        n_bound=np.array([len(own) for own, _ in pairs]),
        n_background=np.array([len(background) for _, background in pairs]),
        negatives="background" if has_background else "unbound",
    )


def fit_logistic(
    bound: np.ndarray,
    rest: np.ndarray,
    prior: float,
    *,
    slope_prior: float | None = None,
    rest_weight: np.ndarray | None = None,
) -> tuple[float, float]:
    """Slope and intercept of ``P(site | logit)`` where there are ``prior`` sites to a background window.

    Maximum likelihood by Newton's method. Each bound window counts once and the background windows together
    ``len(bound) / prior`` times, so the fit is to the population of the stated prior and not to that of the data.

    Parameters
    ----------
    bound, rest : float (m,), float (n,)
        Logits of bound and of background windows, one or more of each.
    prior : float
        Sites per background window.
    slope_prior : float, optional
        Slope that the fit is drawn to by ``SLOPE_PENALTY / 2 * (slope - slope_prior) ** 2``: a track with few bound
        windows takes over the slope of all tracks, one with many is not affected.
    rest_weight : float (n,), optional
        Relative weights of the background windows, with a mean of 1.

    Returns
    -------
    slope, intercept
        The slope is :data:`SMALLEST_SLOPE` or more: the order of windows never turns round.
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
    """Slope and intercept of the weighted logistic regression; an infinite penalty holds the slope at ``target``."""
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
    """Scale and shape of a generalised Pareto distribution, by probability-weighted moments.

    The survival function is ``(1 + shape * x / scale) ** (-1 / shape)``; shape 0 is the exponential distribution. The
    shape is kept from -0.5 to 0.5. Fewer than ``MIN_TAIL`` excesses give an exponential tail of their mean.
    """
    x = np.sort(np.asarray(excesses, dtype=np.float64))
    mean = float(x.mean()) if len(x) else 1.0
    if len(x) < MIN_TAIL or mean <= 0:
        return max(mean, 1e-6), 0.0
    # Hosking & Wallis (1987): a_0 = E[x], a_1 = E[x (1 - F(x))], with plotting positions (i - 0.35) / n.
    position = (np.arange(1, len(x) + 1) - 0.35) / len(x)
    first = float((x * (1 - position)).mean())
    shape = min(0.5, max(-0.5, 2 - mean / max(mean - 2 * first, 1e-12)))
    # At the fitted shape, the mean of the distribution is that of the data.
    return max(mean * (1 - shape), 1e-6), shape


def _pareto_survival(x: np.ndarray, scale: float, shape: float) -> np.ndarray:
    if abs(shape) < 1e-9:
        return np.exp(-x / scale)
    return np.maximum(1 + shape * x / scale, 0.0) ** (-1 / shape)
