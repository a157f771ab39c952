"""Sites: local maxima of a profile, and how many of them are expected to be false."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .tiling import Profile

__all__ = ["DiscoveryRates", "PValueCounts", "local_maxima"]


def local_maxima(profile: Profile, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the intervals of a profile whose score no other within a distance reaches.

    Parameters
    ----------
    profile : Profile
        m intervals, k tracks.
    distance : int
        Nucleotides between the middles of two intervals that are compared. Of equal scores the first is the maximum.

    Returns
    -------
    intervals, tracks : numpy.ndarray of int64, shape (n_maxima,)
        Ordered by interval, then by track.
    """
    middles = (profile.bounds[:-1] + profile.bounds[1:]) / 2
    scores = profile.scores
    is_maximum = np.ones(scores.shape, dtype=bool)
    for lag in range(1, len(profile)):
        near = np.flatnonzero(middles[lag:] - middles[:-lag] <= distance)
        if not len(near):
            break
        rises = scores[near + lag] > scores[near]
        is_maximum[near] &= ~rises
        is_maximum[near + lag] &= rises
    return np.nonzero(is_maximum)


class PValueCounts:
    """Number of p-values of each track by size, from which false discovery rates follow without keeping all of them.

    Counts are kept in bins of a two-hundredth of a decade, so that q-values are at most 1.2 % too high.

    Parameters
    ----------
    n_tracks : int

    Attributes
    ----------
    counts : numpy.ndarray of int64, shape (n_tracks, bins)
    """

    BINS_PER_DECADE, DECADES = 200, 12

    def __init__(self, n_tracks: int):
        self.counts = np.zeros((n_tracks, self.BINS_PER_DECADE * self.DECADES + 1), dtype=np.int64)

    @classmethod
    def bins_of(cls, p: np.ndarray) -> np.ndarray:
        """Return the bin of each p-value; bin b has those from its upper end, 10 ** (-b / 200), down to the next's."""
        exponent = -np.log10(np.clip(p, 10.0**-cls.DECADES, 1.0)) * cls.BINS_PER_DECADE
        # Rounded before it is cut off: a p-value at the end of a bin belongs to it whatever the last bit says.
        return np.minimum(np.floor(np.round(exponent, 6)).astype(np.int64), cls.BINS_PER_DECADE * cls.DECADES)

    def add(self, p: np.ndarray) -> None:
        """Count p-values, shape (n, n_tracks)."""
        flat = self.bins_of(p) + np.arange(len(self.counts)) * self.counts.shape[1]
        self.counts += np.bincount(flat.ravel(), minlength=self.counts.size).reshape(self.counts.shape)

    @property
    def total(self) -> int:
        """Return the number of p-values that were counted."""
        return int(self.counts.sum())

    def rates(self, family: str) -> DiscoveryRates:
        """Return the false discovery rates of what was counted, over a family (`LAMAR.prediction.families`)."""
        counts = self.counts if family == "track" else self.counts.sum(axis=0, keepdims=True)
        upper = 10.0 ** (-np.arange(counts.shape[1]) / self.BINS_PER_DECADE)
        at_or_below = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
        total = counts.sum(axis=1, keepdims=True)
        rates = np.minimum(upper * total / np.maximum(at_or_below, 1), 1.0)
        # The rate at a p-value is the lowest of all larger ones.
        return DiscoveryRates(family, len(self.counts), int(total.max(initial=0)), np.minimum.accumulate(rates, axis=1))


@dataclass(frozen=True, eq=False)
class DiscoveryRates:
    """False discovery rates by p-value, of each track or of all together.

    Attributes
    ----------
    family : {"track", "all"}
    n_tracks, n_tests : int
        Tracks, and tests of a family.
    table : numpy.ndarray of float64, shape (n_tracks or 1, bins)

    References
    ----------
    Benjamini and Hochberg, Controlling the false discovery rate, J. R. Statist. Soc. B 57:289, 1995.
    """

    family: str
    n_tracks: int
    n_tests: int
    table: np.ndarray

    def q_values(self, tracks: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Return the smallest false discovery rate at which p-values, some of those counted, are called.

        Parameters
        ----------
        tracks : numpy.ndarray of int64, shape (n,)
            Column of each.
        p : numpy.ndarray of float, shape (n,)

        Returns
        -------
        numpy.ndarray of float64, shape (n,)
            From 0 to 1.
        """
        rows = np.asarray(tracks) if self.family == "track" else 0
        return self.table[rows, PValueCounts.bins_of(np.asarray(p))]
