"""Which records each fold, or each draw of few records, is trained, validated and judged on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np

from ..data.duplicates import without_copies
from ..data.folds import inner_validation, make_folds, strata_of, subsample
from ..data.splits import Split

__all__ = ["Fold", "plan_folds"]

logger = logging.getLogger(__name__)

NO_RECORDS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Fold:
    """Records of one fold, as indices into the data set.

    Attributes
    ----------
    name : str
        ``fold_<number>`` or ``draw_<number>``, also the name of its checkpoint folder.
    train : int64, shape (n_train,)
    validation : int64, shape (n_validation,)
        Records that choose the epoch.
    heldout : int64, shape (n_heldout,)
        Records used once, for the fold's own figures; empty without cross-validation.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    heldout: np.ndarray = field(default_factory=lambda: NO_RECORDS)


def plan_folds(
    labels: np.ndarray,
    split: Split,
    cv_folds: int,
    seed: int,
    *,
    subsample_pos: int | None = None,
    subsample_neg: int | None = None,
    draws: int = 1,
) -> list[Fold]:
    """Return the folds over train + dev, each with 10 % of its training part set aside for validation.

    Groups of ``split.groups`` (chromosomes, clusters, copies of a sequence) are never divided between training,
    validation and held-out part. Where groups divide copies, as chromosomes can, those in the validation and the
    held-out part stay and are not trained on. The split's test part is in no fold.

    Parameters
    ----------
    labels : int or float, shape (n,) or (n, n_labels)
        Labels of all records.
    split : Split
    cv_folds : int
        Number of folds. With 1 the only fold is the split's train part, with dev as validation (10 % of train where
        there is no dev part).
    seed : int
        Fold ``k`` draws with ``seed + k``.
    subsample_pos, subsample_neg : int, optional
        Records of class 1 and 0 to draw from each training part, validation included; held-out and test parts stay
        whole.
    draws : int
        With ``cv_folds`` 1 and a subsample: number of draws from the train part, in place of folds. Validation records
        are then drawn ones too, because a user with few labels has few to choose by; dev is not used.

    Raises
    ------
    InputError
        Too few records, classes or groups for that many folds or that large a draw.
    """
    groups, strata = split.groups, strata_of(labels)

    def drawn(indices: np.ndarray, name: str, number: int, heldout: np.ndarray = NO_RECORDS) -> Fold:
        kept = without_copies(indices, heldout, split.copies, strata)
        chosen = subsample(kept, labels, subsample_pos, subsample_neg, seed + number, groups=groups)
        train, validation = inner_validation(labels, chosen, seed=seed + number, groups=groups)
        alone = without_copies(train, validation, split.copies, strata)
        if left_out := len(indices) - len(kept) + len(train) - len(alone):
            logger.info("%s: training records left out, as copies of them judge the model: %d", name, left_out)
        return Fold(name, alone, validation, heldout)

    if cv_folds == 1 and (subsample_pos or subsample_neg):
        return [drawn(split.train, f"draw_{number}", number) for number in range(draws)]
    if cv_folds == 1:
        return [Fold("fold_0", split.train, split.dev)] if len(split.dev) else [drawn(split.train, "fold_0", 0)]
    pool = np.sort(np.concatenate([split.train, split.dev]))
    folds = make_folds(labels[pool], cv_folds, seed, None if groups is None else groups[pool])
    return [
        drawn(pool[inside], f"fold_{number}", number, pool[outside]) for number, (inside, outside) in enumerate(folds)
    ]
