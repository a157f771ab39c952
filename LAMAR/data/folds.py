"""Division of records: the kernel of every split, cross-validation folds, inner validation, subsamples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InputError

__all__ = ["apportion", "assign_groups", "inner_validation", "make_folds", "strata_of", "subsample"]


def strata_of(labels: np.ndarray) -> np.ndarray:
    """Return the classes to keep in balance, shape (n,); one class for all where labels are floats or multi-label."""
    labels = np.asarray(labels)
    return labels if labels.ndim == 1 and labels.dtype.kind in "iub" else np.zeros(len(labels), dtype=np.int64)


def apportion(total: int, weights: np.ndarray) -> np.ndarray:
    """Apportion ``total`` items by ``weights`` in whole numbers, by largest remainder; int64, shape of ``weights``."""
    exact = total * np.asarray(weights, dtype=np.float64) / np.sum(weights)
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return counts


def assign_groups(groups: np.ndarray, strata: np.ndarray, weights: Sequence[float], seed: int) -> np.ndarray:
    """Assign records to parts without dividing groups, each class as near to the weights as groups allow.

    Groups of several records are assigned first, the largest first, each to a part drawn in proportion to the room left
    among those where it fits, or else to the part with most room. Groups of one record then fill up each class.

    Parameters
    ----------
    groups : array, shape (n,)
        Group of each record.
    strata : array, shape (n,)
        Class of each record.
    weights : sequence of float
        Relative sizes of the parts.
    seed : int
        Seed of the draws.

    Returns
    -------
    int64, shape (n,)
        Part of each record, an index into ``weights``.
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
    labels: np.ndarray, cv_folds: int, seed: int = 0, groups: np.ndarray | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the folds of a cross-validation, stratified by class where labels are integers.

    Parameters
    ----------
    labels : int or float, shape (n,) or (n, n_labels)
    cv_folds : int
        Number of folds, at least 2.
    seed : int
        Seed of the random assignment.
    groups : array, shape (n,), optional
        Group of each record. A group is never divided; the folds are then less equal in size.

    Returns
    -------
    list of (int64, int64)
        Positions in ``labels`` to train on and to hold out, per fold. Every record is held out once.

    Raises
    ------
    InputError
        If there are fewer than two folds, more folds than the smallest class has records (or groups), or a fold
        without one of the classes because its groups are too large.
    """
    from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold

    labels = np.asarray(labels)
    strata = strata_of(labels)
    if cv_folds < 2:
        raise InputError(f"`cv_folds`: found {cv_folds}, wanted at least 2")
    for value in np.unique(strata):
        members = np.flatnonzero(strata == value)
        size = len(members) if groups is None else len(np.unique(np.asarray(groups)[members]))
        if size < cv_folds:
            unit = "records" if groups is None else "groups"
            what = f"label {value} has" if strata is labels else "there are"
            raise InputError(f"`cv_folds`: found {cv_folds} folds, but {what} only {size} {unit}; wanted no more folds")
    if groups is not None:
        # Over one stratum (regression) this is a GroupKFold, but shuffled by the seed.
        folds = StratifiedGroupKFold(cv_folds, shuffle=True, random_state=seed).split(strata, strata, groups)
    elif strata is labels:
        folds = StratifiedKFold(cv_folds, shuffle=True, random_state=seed).split(strata, strata)
    else:
        folds = KFold(cv_folds, shuffle=True, random_state=seed).split(strata)
    folds = [(np.asarray(train, dtype=np.int64), np.asarray(held, dtype=np.int64)) for train, held in folds]
    for number, (_, held) in enumerate(folds, start=1):
        if len(np.unique(strata[held])) < len(np.unique(strata)):
            problem = f"found fold {number} of {cv_folds} without one of the classes: its groups are too large"
            raise InputError(f"`cv_folds`: {problem}; wanted fewer folds")
    return folds


def _group_classes(groups: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each record's group number, shape (n,), and the records per group and class, (n_groups, n_classes)."""
    _, group = np.unique(groups, return_inverse=True)
    _, y = np.unique(strata, return_inverse=True)
    counts = np.zeros((group.max() + 1, y.max() + 1), dtype=np.int64)
    np.add.at(counts, (group, y), 1)
    return group, counts


def _complete_sides(part: np.ndarray, groups: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Move whole groups between parts 0 and 1 until each has every class, the smallest possible group first.

    Parts that have every class, or that no move can complete without taking a class from the other part, stay as they
    are. With two classes this succeeds wherever a division of whole groups exists.
    """
    if not len(part):
        return part
    group, counts = _group_classes(groups, strata)
    side = np.zeros(len(counts), dtype=np.int64)
    side[group] = part
    for receiver in (1, 0):
        for c in range(counts.shape[1]):
            if counts[side == receiver, c].any():
                continue
            giver = side == 1 - receiver
            total = counts[giver].sum(axis=0)
            spared = ((counts < total) | (total == 0)).all(axis=1)  # the giving part keeps the classes that it has
            movable = np.flatnonzero(giver & spared & (counts[:, c] > 0))
            if len(movable):
                side[movable[counts[movable].sum(axis=1).argmin()]] = receiver
    return side[group]


def inner_validation(
    labels: np.ndarray, indices: np.ndarray, fraction: float = 0.1, seed: int = 0, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Set part of a fold's training records aside, for early stopping and the choice of a checkpoint.

    Parameters
    ----------
    labels : int or float, shape (n,) or (n, n_labels)
        Labels of the whole data set.
    indices : int64, shape (n_train,)
        The fold's training records, as indices into ``labels``.
    fraction : float
        Share to set aside, above 0 and below 1. Groups may make it larger or smaller.
    seed : int
        Seed of the random assignment.
    groups : array, shape (n,), optional
        Group of each record of the whole data set. A group is never divided.

    Returns
    -------
    (int64, int64)
        Sorted indices into ``labels``: to train on, to validate on. Each has every class that ``indices`` has.

    Raises
    ------
    InputError
        If there are too few records or groups for two parts with all classes.
    """
    if not 0 < fraction < 1:
        raise InputError(f"validation fraction: found {fraction}, wanted above 0 and below 1")
    indices = np.sort(np.asarray(indices, dtype=np.int64))
    strata = strata_of(labels)[indices]
    members = np.arange(len(indices)) if groups is None else np.asarray(groups)[indices]
    part = _complete_sides(assign_groups(members, strata, (1 - fraction, fraction), seed), members, strata)
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
    subsample_pos: int | None = None,
    subsample_neg: int | None = None,
    seed: int = 0,
    name: str = "",
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Draw positives and negatives from the training records.

    Parameters
    ----------
    indices : int64, shape (n_train,)
        Training records, as indices into ``labels``. Never those of a test part.
    labels : int, shape (n,)
        Labels of the whole data set, 0 and 1.
    subsample_pos, subsample_neg : int, optional
        Number of records to keep, two or more, since one is set aside for validation; None keeps all.
    seed : int
        Seed of the draw.
    name : str, optional
        Name of the set, for messages.
    groups : array, shape (n,), optional
        Group of each record of the whole data set. Each class is drawn from two groups at least, so that
        `inner_validation` can divide the draw: where all drawn records of a class are of one group, one of them is
        replaced by one of another group.

    Returns
    -------
    int64
        Sorted subset of ``indices``.

    Raises
    ------
    InputError
        If more records are wanted than there are, fewer than two, if there are labels other than 0 and 1, or if all
        training records of a class are of one group.
    """
    indices, labels = np.asarray(indices, dtype=np.int64), np.asarray(labels)
    if subsample_pos is None and subsample_neg is None:
        return np.sort(indices)
    if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise InputError("`subsample_pos`, `subsample_neg`: found labels other than 0 and 1, wanted two classes")
    rng = np.random.default_rng(seed)
    where = f" of {name}" if name else ""
    drawn = {}
    for parameter, value, number in (("subsample_pos", 1, subsample_pos), ("subsample_neg", 0, subsample_neg)):
        members = np.sort(indices[labels[indices] == value])
        if number is not None and not 2 <= number <= len(members):
            raise InputError(
                f"`{parameter}`: found {number}, wanted 2 or more, one of them to validate on, and at most the "
                f"{len(members)} training records{where} with label {value}"
            )
        drawn[value] = members if number is None else rng.choice(members, size=number, replace=False)
        if groups is not None and len(members) and len(np.unique(np.asarray(groups)[members])) == 1:
            raise InputError(
                f"`{parameter}`: found all {len(members)} training records{where} with label {value} in one group, "
                "wanted two groups or more: one to train on, one to validate on"
            )
    if groups is not None:
        for value, records in drawn.items():
            drawn[value] = _in_two_groups(records, indices[labels[indices] == value], np.asarray(groups), rng)
    return np.sort(np.concatenate(list(drawn.values())))


def _in_two_groups(drawn: np.ndarray, members: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Replace one of the drawn records by a member of another group where all of them are of one."""
    others = np.sort(members[groups[members] != groups[drawn[0]]]) if len(drawn) else members
    if not len(drawn) or (groups[drawn] != groups[drawn[0]]).any():
        return drawn
    return np.concatenate([drawn[1:], rng.choice(others, size=1)])
