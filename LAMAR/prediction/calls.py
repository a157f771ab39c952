"""Sites: local maxima of a profile, and how many of them are expected to be false."""

from __future__ import annotations

import numpy as np

from .tiling import Profile

__all__ = ["PValueCounts", "local_maxima"]


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
    """Number of p-values by size, from which false discovery rates follow without keeping all of them.

    Counts are kept in bins of a two-hundredth of a decade, so that q-values are at most 1.2 % too high.

    References
    ----------
    Benjamini and Hochberg, Controlling the false discovery rate, J. R. Statist. Soc. B 57:289, 1995.
    """

    BINS_PER_DECADE, DECADES = 200, 12

    def __init__(self):
        self.counts = np.zeros(self.BINS_PER_DECADE * self.DECADES + 1, dtype=np.int64)

    def _bin(self, p: np.ndarray) -> np.ndarray:
        """Return the bin of each p-value; bin b has those from its upper end, 10 ** (-b / 200), down to the next's."""
        exponent = -np.log10(np.clip(p, 10.0**-self.DECADES, 1.0)) * self.BINS_PER_DECADE
        # Rounded before it is cut off: a p-value at the end of a bin belongs to it whatever the last bit says.
        return np.minimum(np.floor(np.round(exponent, 6)).astype(np.int64), len(self.counts) - 1)

    def add(self, p: np.ndarray) -> None:
        """Count p-values, in any shape."""
        self.counts += np.bincount(self._bin(np.ravel(p)), minlength=len(self.counts))

    @property
    def total(self) -> int:
        """Return the number of p-values that were counted."""
        return int(self.counts.sum())

    def q_values(self, p: np.ndarray) -> np.ndarray:
        """Return the smallest false discovery rate at which a p-value, one of those counted, is called.

        Parameters
        ----------
        p : numpy.ndarray of float, shape (n,)

        Returns
        -------
        numpy.ndarray of float64, shape (n,)
            From 0 to 1.
        """
        upper = 10.0 ** (-np.arange(len(self.counts)) / self.BINS_PER_DECADE)
        at_or_below = np.cumsum(self.counts[::-1])[::-1]
        rates = np.minimum(upper * self.total / np.maximum(at_or_below, 1), 1.0)
        # The rate at a p-value is the lowest of all larger ones.
        return np.minimum.accumulate(rates)[self._bin(np.asarray(p))]
