"""Checked arrays: what the metrics, bootstrap and tests of this package compute on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

__all__ = ["ScoredRecords", "classification_records", "finite_array", "integer_classes", "regression_records", "warn"]

# Of a classification labels (n,) int, scores (n, k) and predicted classes (n,) int; of a regression targets and
# predictions, (n,) each.
ScoredRecords = tuple[np.ndarray, ...]


def finite_array(values, name: str, ndim: Sequence[int] = (1,)) -> np.ndarray:
    """Return ``values`` as a float64 array without NaN and infinity.

    Parameters
    ----------
    values : array-like of numbers
    name : str
        Name of the parameter, for messages.
    ndim : sequence of int
        Allowed numbers of dimensions.

    Raises
    ------
    ValueError
        The array is empty, has another number of dimensions, or holds values that are not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in ndim or array.size == 0:
        wanted = " or ".join(str(d) for d in ndim)
        raise ValueError(f"`{name}`: found shape {array.shape}, wanted {wanted} dimensions, not empty")
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}`: {np.count_nonzero(~np.isfinite(array))} values are NaN or infinite")
    return array


def integer_classes(values, name: str, k: int, ndim: Sequence[int] = (1,)) -> np.ndarray:
    """Return class numbers as int64 with the shape given.

    Parameters
    ----------
    values : array-like
        Integers from 0 to ``k - 1``; integral floats and booleans are accepted.
    name : str
        Name of the parameter, for messages.
    k : int
        Number of classes.
    ndim : sequence of int
        Allowed numbers of dimensions.

    Raises
    ------
    ValueError
        As `finite_array`, and for a value that is not a class number.
    """
    array = finite_array(values, name, ndim)
    bad = (array != np.floor(array)) | (array < 0) | (array >= k)
    if bad.any():
        raise ValueError(f"`{name}`: found {array[bad][0]:g}, wanted integers from 0 to {k - 1}")
    return array.astype(np.int64)


def classification_records(
    labels, scores, name: str, threshold: float = 0.5, probabilities: bool = True
) -> ScoredRecords:
    """Return labels, scores per class, and predicted classes of a binary or multi-class classifier.

    Parameters
    ----------
    labels : array-like of int, shape (n,)
    scores : array-like of float, shape (n,) or (n, k)
        Score of class 1, or of each class.
    name : str
        Name of the parameter that ``scores`` were given as, for messages.
    threshold : float
        With two classes, class 1 is predicted from this score on; with more, the class of the largest score is.
    probabilities : bool
        Whether ``scores`` must be probabilities.

    Returns
    -------
    labels : int64, shape (n,)
    scores : float64, shape (n, k)
    predicted : int64, shape (n,)

    Raises
    ------
    ValueError
        The arrays have other shapes, values that are not finite, or values out of range.
    """
    scores = finite_array(scores, name, (1, 2))
    if scores.ndim == 1:
        scores = np.column_stack([1 - scores, scores])
    elif scores.shape[1] < 2:
        raise ValueError(f"`{name}`: found shape {scores.shape}, wanted (n,) or (n, k) with k of 2 or more")
    labels = integer_classes(labels, "labels", scores.shape[1])
    if len(labels) != len(scores):
        raise ValueError(f"`{name}`: found {len(scores)} rows, wanted {len(labels)} as in `labels`")
    if probabilities and (scores.min() < 0 or np.abs(scores.sum(axis=1) - 1).max() > 1e-3):
        raise ValueError(f"`{name}`: wanted probabilities from 0 to 1, in rows that sum to 1")
    predicted = scores[:, 1] >= threshold if scores.shape[1] == 2 else scores.argmax(axis=1)
    return labels, scores, predicted.astype(np.int64)


def regression_records(targets, predictions, name: str) -> ScoredRecords:
    """Return targets and predictions, float64 (n,) each.

    Parameters
    ----------
    targets, predictions : array-like of float, shape (n,)
    name : str
        Name of the parameter that ``predictions`` were given as, for messages.

    Raises
    ------
    ValueError
        The lengths differ, or a value is not finite.
    """
    targets, predictions = finite_array(targets, "targets"), finite_array(predictions, name)
    if targets.shape != predictions.shape:
        raise ValueError(f"`{name}`: found {len(predictions)} rows, wanted {len(targets)} as in `targets`")
    return targets, predictions


def warn(message: str) -> None:
    """Issue a ``RuntimeWarning`` for the caller of the public function three frames up."""
    warnings.warn(message, RuntimeWarning, stacklevel=4)
