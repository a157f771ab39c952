"""Composition baselines of many tracks: a logistic regression on k-mer frequencies for each track."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data.composition import FEATURES, feature_transform
from ..data.tracks import TrackSet
from ..statistics.logistic_regressions import fit_path
from ..statistics.track_metrics import track_areas
from .probes import PENALTIES

__all__ = ["TrackBaseline", "fit_track_baseline"]

BLOCK = 20_000  # windows whose features are computed at a time, in float64
UNTUNED = 1.0  # penalty of `LAMAR.data.composition.composition_scores`


@dataclass(frozen=True, eq=False)
class TrackBaseline:
    """Scores of one baseline.

    Attributes
    ----------
    log_odds : numpy.ndarray of float32, shape (n, k)
        Of the windows of the part that was asked for.
    penalties : numpy.ndarray of float64, shape (k,)
        Inverse strength of the L2 penalty that was chosen for each track.
    """

    log_odds: np.ndarray
    penalties: np.ndarray


def fit_track_baseline(data: TrackSet, features: str, part: str) -> TrackBaseline:
    """Fit a logistic regression of each track on the train part, and return the log-odds in another part.

    Features, their standardisation and the objective are those of the baseline of single sets,
    `LAMAR.data.composition.composition_scores`; no class is weighted there or here. Three things differ. All tracks are
    fitted at once (`LAMAR.statistics.logistic_regressions`), which takes minutes instead of hours. Each fit goes on to
    the minimum, where scikit-learn's stops when the mean gradient is small, after few steps for tracks with few sites.
    And the penalty is chosen for each track by its dev AUROC from the strengths that linear probes choose from, because
    256 frequencies and a hundred sites need more than C = 1.

    Parameters
    ----------
    data : TrackSet
        Each of its k tracks has bound and unbound windows in the train part. Unknown labels do not count.
    features : {"gc", "dinucleotide", "4mer"}
    part : str
        Part to score.

    Returns
    -------
    TrackBaseline
        A track of which the dev part lacks a class has the penalty that is best for the others on average.
    """
    train, dev, scored = data.rows("train"), data.rows("dev"), data.rows(part)
    transform = feature_transform(features)
    train_features = transform.fit_transform(_features(data.sequences, train, features))
    scored_features = transform.transform(_features(data.sequences, scored, features))
    dev_features = transform.transform(_features(data.sequences, dev, features)) if len(dev) else None
    dev_labels = data.coded_labels(dev)
    areas, log_odds = [], []
    for fitted in fit_path(train_features, data.coded_labels(train), PENALTIES):
        no_areas = np.full(len(data.tracks), np.nan)
        areas.append(track_areas(dev_labels, fitted.log_odds(dev_features)) if len(dev) else no_areas)
        log_odds.append(fitted.log_odds(scored_features))
    best = _best_penalties(np.array(areas))
    chosen = np.stack([log_odds[place][:, j] for j, place in enumerate(best)], axis=1)
    return TrackBaseline(chosen, np.array(PENALTIES)[best])


def _features(sequences: Sequence[str], rows: np.ndarray, features: str) -> np.ndarray:
    """Return the features of the windows at ``rows``; float32, shape (m, d)."""
    blocks = [
        FEATURES[features]([sequences[i] for i in rows[start : start + BLOCK]]).astype(np.float32)
        for start in range(0, len(rows), BLOCK)
    ]
    return np.concatenate(blocks)


def _best_penalties(areas: np.ndarray) -> np.ndarray:
    """Return the place in `PENALTIES` of each track's choice, from dev AUROCs (n_penalties, k), NaN where undefined.

    Of equal AUROCs the strongest penalty wins.
    """
    is_defined = np.isfinite(areas).all(axis=0)
    usual = PENALTIES.index(UNTUNED)
    if is_defined.any():
        usual = int(areas[:, is_defined].mean(axis=1).argmax())
    return np.where(is_defined, np.nan_to_num(areas).argmax(axis=0), usual)
