"""LAMAR.training.fold_plans: which records a fold or a draw gets."""

from __future__ import annotations

import numpy as np
import pytest

from LAMAR.data.labelled import LabelledSet
from LAMAR.data.splits import Split
from LAMAR.errors import InputError
from LAMAR.evaluation.probes import Parts, draw_training
from LAMAR.training.fold_plans import plan_folds

LABELS = np.tile([0, 1], 100)


def make_split(n_train: int, n_dev: int, n_test: int, groups: np.ndarray | None = None) -> Split:
    edges = np.cumsum([0, n_train, n_dev, n_test])
    return Split(*(np.arange(a, b) for a, b in zip(edges, edges[1:])), report={}, groups=groups)


@pytest.mark.parametrize("cv_folds", [2, 5])
def test_folds_hold_each_record_out_once_and_never_touch_test(cv_folds):
    folds = plan_folds(LABELS, make_split(120, 40, 40), cv_folds, seed=3)
    heldout = np.concatenate([fold.heldout for fold in folds])
    assert sorted(heldout) == list(range(160))
    for fold in folds:
        parts = [set(fold.train), set(fold.validation), set(fold.heldout)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 160
        assert len(fold.validation) == pytest.approx(0.1 * (160 - len(fold.heldout)), abs=2)


def shared_groups(groups: np.ndarray, *parts: np.ndarray) -> int:
    members = [set(groups[part]) for part in parts]
    return sum(map(len, members)) - len(set.union(*members))


@pytest.mark.parametrize("cv_folds", [1, 4])
@pytest.mark.parametrize("n_drawn", [None, 30])
def test_groups_are_never_divided(cv_folds, n_drawn):
    """Neither between the parts of a fold nor between those of a draw, with or without a dev part."""
    groups = np.arange(200) // 4
    for n_dev in (40, 0):
        split = make_split(160 - n_dev, n_dev, 40, groups)
        for seed in range(3):
            folds = plan_folds(LABELS, split, cv_folds, seed, subsample_pos=n_drawn, subsample_neg=n_drawn, draws=4)
            assert len(folds) == (4 if cv_folds > 1 or n_drawn else 1)
            for fold in folds:
                assert len(fold.train)
                assert len(fold.validation)
                assert shared_groups(groups, fold.train, fold.validation, fold.heldout) == 0, (fold.name, n_dev)


def test_one_fold_takes_the_given_dev_part():
    (fold,) = plan_folds(LABELS, make_split(120, 40, 40), 1, seed=0)
    assert fold.train.tolist() == list(range(120))
    assert fold.validation.tolist() == list(range(120, 160))
    assert not len(fold.heldout)


def test_subsampling_thins_training_only():
    folds = plan_folds(LABELS, make_split(120, 40, 40), 4, seed=0, subsample_pos=10, subsample_neg=20)
    for fold in folds:
        drawn = np.concatenate([fold.train, fold.validation])
        assert (LABELS[drawn].sum(), len(drawn)) == (10, 30)
        assert len(fold.heldout) == 40
    assert not np.array_equal(folds[0].train, folds[1].train)


@pytest.mark.parametrize("groups", [None, np.arange(200) // 4])
def test_draws_are_those_of_the_evaluation_of_embeddings(groups):
    split = make_split(120, 40, 40, groups)
    draws = plan_folds(LABELS, split, 1, seed=7, subsample_pos=20, subsample_neg=30, draws=3)
    assert [draw.name for draw in draws] == ["draw_0", "draw_1", "draw_2"]
    dataset = LabelledSet(["ACGT"] * 200, LABELS, [str(i) for i in range(200)])
    parts = Parts(dataset, split.train, split.dev, split.test, "given", {}, groups)
    for number, draw in enumerate(draws):
        assert not len(draw.heldout)
        drawn = draw_training(parts, 20, 30, 7 + number)
        np.testing.assert_array_equal(draw.train, drawn.train)
        np.testing.assert_array_equal(draw.validation, drawn.validation)
    assert not np.array_equal(draws[0].train, draws[1].train)


@pytest.mark.parametrize("labels", [np.linspace(0, 1, 200), np.stack([LABELS, 1 - LABELS], axis=1)])
def test_few_labels_of_two_classes_only(labels):
    with pytest.raises(InputError, match="`subsample_pos`, `subsample_neg`: found labels other than 0 and 1"):
        plan_folds(labels, make_split(120, 40, 40), 1, seed=0, subsample_pos=10)
