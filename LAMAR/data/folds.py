"""Dividing records: the kernel of every split, cross-validation folds, inner validation, subsamples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InputError

__all__ = ["assign_groups", "inner_validation", "make_folds", "strata_of", "subsample"]


def strata_of(labels: np.ndarray) -> np.ndarray:
    """Classes to keep in balance; one class for all where labels are floats or multi-label."""
    labels = np.asarray(labels)
    return labels if labels.ndim == 1 and labels.dtype.kind in "iub" else np.zeros(len(labels), dtype=np.int64)


def apportion(total: int, weights: np.ndarray) -> np.ndarray:
    """``total`` items by ``weights``, in whole numbers (largest remainder)."""
    exact = total * np.asarray(weights, dtype=np.float64) / np.sum(weights)
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return counts


def assign_groups(groups: np.ndarray, strata: np.ndarray, weights: Sequence[float], seed: int) -> np.ndarray:
    """Part of every record, an index (int64) into ``weights``: groups stay whole, each class is near ``weights``.

    Groups of several records go first, the largest first, each to a part drawn in proportion to the room left among
    those where it fits, or else to the part with most room. Records without company then fill each class up.
    """
    rng = np.random.default_rng(seed)
    weights = np.asarray(weights, dtype=np.float64)
    classes, y = np.unique(strata, return_inverse=True)
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    room = np.stack([apportion(count, weights) for count in np.bincount(y)], axis=1)  # (parts, classes)
    for column in room.T:
        # A class that a small part would miss by rounding costs the largest part one record.
        for part in np.flatnonzero((column == 0) & (weights > 0)):
            if column.max() > 1:
                column[column.argmax()] -= 1
                column[part] = 1
    counts = np.zeros((len(sizes), len(classes)), dtype=np.int64)
    np.add.at(counts, (group, y), 1)
    part_of_group = np.zeros(len(sizes), dtype=np.int64)
    several = rng.permutation(np.flatnonzero(sizes > 1))
    for g in several[np.argsort(-sizes[several], kind="stable")]:
        free = room[:, counts[g] > 0].sum(axis=1)
        fits = np.where((room >= counts[g]).all(axis=1), free, 0)
        if fits.any():
            part = np.searchsorted(np.cumsum(fits), rng.random() * fits.sum(), side="right")
        else:
            part = np.where(weights > 0, free, np.iinfo(np.int64).min).argmax()
        part_of_group[g] = part
        room[part] -= counts[g]
    parts = part_of_group[group]
    single = sizes[group] == 1
    for c in range(len(classes)):
        records = rng.permutation(np.flatnonzero(single & (y == c)))
        left = np.maximum(room[:, c], 0)
        parts[records] = np.repeat(np.arange(len(weights)), apportion(len(records), left if left.any() else weights))
    return parts


def make_folds(
    labels: np.ndarray, n_folds: int, seed: int = 0, groups: np.ndarray | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds for cross-validation, stratified by class where labels are integers.

    Parameters
    ----------
    labels : (n,) or (n, n_labels)
    n_folds : int
        At least 2.
    groups : (n,), optional
        Records of one group are never separated; the folds are then less equal in size.

    Returns
    -------
    list of (int64, int64)
        Positions in ``labels`` to train on and to hold out; every record is held out once.

    Raises
    ------
    InputError
        Fewer than two folds, or more folds than the smallest class has records (or groups).
    """
    from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold

    labels = np.asarray(labels)
    strata = strata_of(labels)
    if n_folds < 2:
        raise InputError(f"--cv_folds: found {n_folds}, wanted at least 2")
    for value in np.unique(strata):
        members = np.flatnonzero(strata == value)
        size = len(members) if groups is None else len(np.unique(np.asarray(groups)[members]))
        if size < n_folds:
            unit = "records" if groups is None else "groups"
            what = f"label {value} has" if strata is labels else "there are"
            raise InputError(f"--cv_folds: found {n_folds} folds, but {what} only {size} {unit}; wanted no more folds")
    if groups is not None:
        # Over one stratum (regression) this is a GroupKFold, but shuffled by the seed.
        folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed).split(strata, strata, groups)
    elif strata is labels:
        folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(strata, strata)
    else:
        folds = KFold(n_folds, shuffle=True, random_state=seed).split(strata)
    folds = [(np.asarray(train, dtype=np.int64), np.asarray(held, dtype=np.int64)) for train, held in folds]
    for number, (_, held) in enumerate(folds, start=1):
        if len(np.unique(strata[held])) < len(np.unique(strata)):
            lacks = f"found fold {number} of {n_folds} without one of the classes: its groups are too large"
            raise InputError(f"--cv_folds: {lacks}; wanted fewer folds")
    return folds


def inner_validation(
    labels: np.ndarray, indices: np.ndarray, fraction: float = 0.1, seed: int = 0, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Set part of a fold's training records aside, for early stopping and the choice of a checkpoint.

    Parameters
    ----------
    labels : (n,) or (n, n_labels)
        Of the whole data set.
    indices : int64 (n_train,)
        The fold's training records, as indices into ``labels``.
    fraction : float
        Share to set aside, above 0 and below 1.
    groups : (n,), optional
        Of the whole data set; never separated.

    Returns
    -------
    (int64, int64)
        Sorted indices into ``labels``: to train on, to validate on. Each has every class that ``indices`` has.

    Raises
    ------
    InputError
        Too few records or groups for two parts with all classes.
    """
    if not 0 < fraction < 1:
        raise InputError(f"validation fraction: found {fraction}, wanted above 0 and below 1")
    indices = np.sort(np.asarray(indices, dtype=np.int64))
    strata = strata_of(labels)[indices]
    members = np.arange(len(indices)) if groups is None else np.asarray(groups)[indices]
    part = assign_groups(members, strata, (1 - fraction, fraction), seed)
    for side in (0, 1):
        if len(np.unique(strata[part == side])) < max(1, len(np.unique(strata))):
            found = f"found {len(indices)} training records in {len(np.unique(members))} groups"
            raise InputError(
                f"training part: {found}, too few to set some of every class aside for validation; wanted more"
            )
    return indices[part == 0], indices[part == 1]


def subsample(
    indices: np.ndarray,
    labels: np.ndarray,
    n_pos: int | None = None,
    n_neg: int | None = None,
    seed: int = 0,
    name: str = "",
) -> np.ndarray:
    """Draw positives and negatives from the training records.

    Parameters
    ----------
    indices : int64 (n_train,)
        Training records, as indices into ``labels``. Never those of a test part.
    labels : int (n,)
        0 and 1.
    n_pos, n_neg : int, optional
        How many to keep, two or more, since one is set aside for validation; None keeps all.
    name : str, optional
        Of the set, for messages.

    Returns
    -------
    int64
        Sorted subset of ``indices``.

    Raises
    ------
    InputError
        More than there are, fewer than two, or labels other than 0 and 1.
    """
    indices, labels = np.asarray(indices, dtype=np.int64), np.asarray(labels)
    if n_pos is None and n_neg is None:
        return np.sort(indices)
    if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise InputError("--subsample_pos, --subsample_neg: found labels other than 0 and 1, wanted two classes")
    rng = np.random.default_rng(seed)
    kept = []
    for argument, value, wanted in (("--subsample_pos", 1, n_pos), ("--subsample_neg", 0, n_neg)):
        members = np.sort(indices[labels[indices] == value])
        if wanted is not None and not 2 <= wanted <= len(members):
            of = f" of {name}" if name else ""
            raise InputError(
                f"{argument}: found {wanted}, wanted 2 or more, one of them to validate on, and at most the "
                f"{len(members)} training records{of} with label {value}"
            )
        kept.append(members if wanted is None else rng.choice(members, size=wanted, replace=False))
    return np.sort(np.concatenate(kept))
