"""First and second moments of any number of embeddings in one pass: the input of the figures of geometry."""

from __future__ import annotations

import numpy as np

__all__ = ["Moments"]

BLOCK_BYTES = 2**25  # of the float64 rows that are processed at a time
# Variance below this share of the mean square is rounding error: a relative spread of 1e-13, where float32 has steps
# of 6e-8.
_NO_VARIANCE = 1e-26


class Moments:
    """Count, mean, scatter and unit-vector sums of embeddings, accumulated in float64.

    Blocks are centred on their mean and then merged, so that a large common mean costs no digits. Memory: a few d x d
    matrices and one block of rows.

    Parameters
    ----------
    d : int
        Width of the embeddings.

    Attributes
    ----------
    n : int
        Number of embeddings, whatever their weight.
    weight, weight_squares : float
        Sum of their weights, and of squared weights; both n without weights.
    mean : float64, shape (d,)
    scatter : float64, shape (d, d)
        ``sum_i w_i (x_i - mean)(x_i - mean)'``
    unit_sum : float64, shape (d,)
        ``sum_i w_i x_i / |x_i|`` over embeddings that are not zero.
    unit_weight, unit_weight_squares : float
        Sums of the weights, and of squared weights, of embeddings that are not zero.

    Raises
    ------
    ValueError
        ``d`` is below 1.

    References
    ----------
    Chan, Golub and LeVeque, Am Stat 37:242 (1983).
    """

    def __init__(self, d: int):
        if d < 1:
            raise ValueError(f"`d`: found {d}, wanted 1 or more dimensions")
        self.n = 0
        self.weight = self.weight_squares = self.unit_weight = self.unit_weight_squares = 0.0
        self.mean, self.unit_sum = np.zeros(d), np.zeros(d)
        self.scatter = np.zeros((d, d))

    @classmethod
    def of(cls, embeddings: np.ndarray, weights: np.ndarray | None = None) -> Moments:
        """Return the moments of an array (n, d); parameters are those of `update`."""
        moments = cls(_checked(embeddings).shape[1])
        moments.update(embeddings, weights)
        return moments

    @property
    def d(self) -> int:
        """Width of the embeddings."""
        return len(self.mean)

    def update(self, embeddings: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Add embeddings, block by block.

        Parameters
        ----------
        embeddings : real numbers, shape (n, d)
            May be a memory map.
        weights : float, shape (n,), optional
            0 or more; the default is 1 each.

        Raises
        ------
        ValueError
            Another shape, values that are NaN or infinite (the message names the first such row), or a negative
            weight. Blocks before the bad one have been added then.
        """
        embeddings = _checked(embeddings, self.d)
        n = len(embeddings)
        weights = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
        if weights.shape != (n,) or not (np.isfinite(weights) & (weights >= 0)).all():
            raise ValueError(f"`weights`: found shape {weights.shape}, wanted ({n},) of finite values from 0")
        size = max(1, BLOCK_BYTES // (8 * self.d))
        for start in range(0, n, size):
            block = np.array(embeddings[start : start + size], dtype=np.float64)
            if not np.isfinite(block).all():
                row = start + int(np.argmin(np.isfinite(block).all(axis=1)))
                raise ValueError(f"`embeddings`: row {row} (from 0) has values that are NaN or infinite")
            self.merge(self._block_moments(block, weights[start : start + size]))

    def _block_moments(self, block: np.ndarray, weights: np.ndarray) -> Moments:
        moments = Moments(self.d)
        moments.n, moments.weight, moments.weight_squares = len(block), weights.sum(), (weights**2).sum()
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))
        inverse = np.divide(weights, norms, out=np.zeros_like(norms), where=norms > 0)
        moments.unit_sum = inverse @ block
        moments.unit_weight, moments.unit_weight_squares = weights[norms > 0].sum(), (weights[norms > 0] ** 2).sum()
        if moments.weight > 0:
            moments.mean = weights @ block / moments.weight
            block -= moments.mean
            block *= np.sqrt(weights)[:, None]
            moments.scatter = block.T @ block  # one symmetric product: half the work of a general one
        return moments

    def merge(self, other: Moments) -> None:
        """Add the embeddings of other moments of the same width."""
        if other.d != self.d:
            raise ValueError(f"`other`: found {other.d} dimensions, wanted {self.d}")
        total = self.weight + other.weight
        if total > 0:
            shift = other.mean - self.mean
            self.scatter += other.scatter
            self.scatter += np.outer(shift, shift * (self.weight * other.weight / total))
            self.mean = self.mean + shift * (other.weight / total)
        for name in ("n", "weight", "weight_squares", "unit_weight", "unit_weight_squares"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.unit_sum = self.unit_sum + other.unit_sum

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance, float64 (d, d); ``ValueError`` below two embeddings.

        It is ``scatter / (W - W2 / W)`` with W the sum of weights and W2 of their squares, which is
        ``scatter / (n - 1)`` without weights.
        """
        freedom = self.weight - self.weight_squares / self.weight if self.weight > 0 else 0.0
        if self.n < 2 or freedom <= 1e-12 * self.weight:
            raise ValueError(f"`embeddings`: found {self.n} with a weight, wanted 2 or more for a covariance")
        return self.scatter / freedom

    @property
    def second_moment(self) -> np.ndarray:
        """Second moment about the origin, ``sum_i w_i x_i x_i' / W``; float64 (d, d)."""
        if not self.weight > 0:
            raise ValueError("`embeddings`: found none")
        return self.scatter / self.weight + np.outer(self.mean, self.mean)

    @property
    def has_variance(self) -> bool:
        """Whether the embeddings differ by more than rounding."""
        return bool(np.trace(self.scatter) > _NO_VARIANCE * self.weight * (self.mean @ self.mean))


def _checked(embeddings: np.ndarray, d: int | None = None) -> np.ndarray:
    embeddings = np.asanyarray(embeddings)
    if embeddings.ndim != 2 or not len(embeddings) or (d or embeddings.shape[1] or -1) != embeddings.shape[1]:
        raise ValueError(f"`embeddings`: found shape {embeddings.shape}, wanted (n, {d or 'd'}), not empty")
    if embeddings.dtype.kind not in "fiu":
        raise ValueError(f"`embeddings`: found {embeddings.dtype}, wanted real numbers")
    return embeddings
