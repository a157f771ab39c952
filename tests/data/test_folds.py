"""Folds, inner validation and subsamples, with and without groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from LAMAR.data.folds import inner_validation, make_folds, subsample
from LAMAR.errors import InputError

FEW = settings(max_examples=60)


# Folds


@FEW
@given(
    positives=st.integers(5, 60),
    negatives=st.integers(5, 60),
    n_folds=st.integers(2, 5),
    seed=st.integers(0, 20),
)
def test_folds_hold_every_record_out_once_and_keep_classes_balanced(positives, negatives, n_folds, seed):
    labels = np.array([1] * positives + [0] * negatives)
    folds = make_folds(labels, n_folds, seed)
    assert sorted(np.concatenate([held for _, held in folds]).tolist()) == list(range(len(labels)))
    for train, held in folds:
        assert set(train).isdisjoint(held)
        assert len(train) + len(held) == len(labels)
        assert abs(labels[held].sum() - positives / n_folds) < 1
    for (train, _), (again, _) in zip(folds, make_folds(labels, n_folds, seed)):
        np.testing.assert_array_equal(train, again)


@pytest.mark.parametrize("kind", ["classes", "regression"])
def test_folds_never_separate_groups(kind):
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, size=300)
    labels = rng.integers(0, 2, size=300) if kind == "classes" else rng.normal(size=300)
    folds = make_folds(labels, 5, 1, groups)
    assert sorted(np.concatenate([held for _, held in folds]).tolist()) == list(range(300))
    for train, held in folds:
        assert set(groups[train]).isdisjoint(groups[held])
        assert 40 <= len(held) <= 80
    other = make_folds(labels, 5, 2, groups)
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(folds, other))


def test_regression_folds_are_equal_in_size():
    folds = make_folds(np.linspace(0, 1, 50), 5, 0)
    assert [len(held) for _, held in folds] == [10] * 5


def test_too_many_folds_are_refused():
    labels = np.array([0] * 20 + [1] * 4)
    with pytest.raises(InputError, match="`cv_folds`: found 5 folds, but label 1 has only 4 records"):
        make_folds(labels, 5)
    with pytest.raises(InputError, match="`cv_folds`: found 3 folds, but label 1 has only 2 groups"):
        make_folds(labels, 3, groups=np.arange(24) // 2)
    with pytest.raises(InputError, match="`cv_folds`: found 5 folds, but there are only 3 records"):
        make_folds(np.array([0.1, 0.2, 0.3]), 5)
    with pytest.raises(InputError, match="`cv_folds`: found 1, wanted at least 2"):
        make_folds(labels, 1)


def test_inner_validation_is_stratified_and_stays_within_the_fold():
    labels = np.array([0, 0, 0, 1] * 100)
    indices = np.arange(0, 400, 2)[::-1]
    indices = np.concatenate([indices, np.arange(3, 400, 4)])
    train, validation = inner_validation(labels, indices, 0.1, 7)
    assert sorted([*train, *validation]) == sorted(indices)
    assert len(validation) == 30
    assert labels[validation].sum() == 10
    np.testing.assert_array_equal(validation, inner_validation(labels, indices, 0.1, 7)[1])
    assert not np.array_equal(validation, inner_validation(labels, indices, 0.1, 8)[1])


@FEW
@given(seed=st.integers(0, 50), n_groups=st.integers(20, 100))
def test_inner_validation_never_separates_groups(seed, n_groups):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, n_groups, size=400)
    labels = rng.integers(0, 2, size=400)
    indices = np.flatnonzero(rng.random(400) < 0.8)
    train, validation = inner_validation(labels, indices, 0.1, seed, groups)
    assert sorted([*train, *validation]) == indices.tolist()
    assert set(groups[train]).isdisjoint(groups[validation])
    assert 0.02 * len(indices) <= len(validation) <= 0.25 * len(indices)
    assert set(labels[validation]) == {0, 1}


def test_inner_validation_needs_records_and_groups_enough():
    labels = np.array([0, 0, 0, 0, 1])
    with pytest.raises(InputError, match=r"found 5 training records in 5 groups, too few"):
        inner_validation(labels, np.arange(5))
    with pytest.raises(InputError, match=r"found 40 training records in 1 groups"):
        inner_validation(np.arange(40) % 2, np.arange(40), groups=np.zeros(40))
    with pytest.raises(InputError, match=r"validation fraction: found 1\.0"):
        inner_validation(labels, np.arange(5), 1.0)
    train, validation = inner_validation(np.linspace(0, 1, 30), np.arange(30))
    assert (len(train), len(validation)) == (27, 3)


# Subsampling


@FEW
@given(n_pos=st.none() | st.integers(2, 30), n_neg=st.none() | st.integers(2, 60), seed=st.integers(0, 9))
def test_subsample_draws_from_the_indices_given(n_pos, n_neg, seed):
    labels = np.array([1, 0, 0, 1] * 50)
    indices = np.concatenate([np.flatnonzero(labels == 1)[:30], np.flatnonzero(labels == 0)[20:80]])
    kept = subsample(indices, labels, n_pos, n_neg, seed)
    assert set(kept) <= set(indices)
    assert (np.diff(kept) > 0).all()
    assert labels[kept].sum() == (30 if n_pos is None else n_pos)
    assert (labels[kept] == 0).sum() == (60 if n_neg is None else n_neg)
    np.testing.assert_array_equal(kept, subsample(indices[::-1], labels, n_pos, n_neg, seed))


def test_subsample_refuses_more_than_there_are_and_too_few_to_validate():
    labels = np.array([1, 1, 0, 0, 0, 1])
    with pytest.raises(InputError, match=r"_pos`: found 3, wanted .* at most the 2 .* of QKI with label 1"):
        subsample(np.arange(5), labels, 3, None, name="QKI")
    with pytest.raises(InputError, match=r"`subsample_neg`: found 4, wanted .* at most the 3 .* with label 0"):
        subsample(np.arange(5), labels, None, 4)
    with pytest.raises(InputError, match="`subsample_neg`: found 1, wanted 2 or more"):
        subsample(np.arange(5), labels, None, 1)
    with pytest.raises(InputError, match="`subsample_pos`, `subsample_neg`: found labels other than 0 and 1"):
        subsample(np.arange(2), np.array([0.5, 1.0]), 1, None)


# Groups


def test_inner_validation_keeps_groups_whole_where_only_large_groups_are_there():
    # Five pairs a class, 10 % of 10 is one record, and no pair fits into it: one pair of each class is moved.
    labels = np.repeat([1, 0], 10)
    groups = np.arange(20) // 2
    train, validation = inner_validation(labels, np.arange(20), 0.1, 0, groups)
    assert (len(train), len(validation)) == (16, 4)
    assert labels[validation].tolist() == [1, 1, 0, 0]
    assert set(groups[train]).isdisjoint(groups[validation])


def test_inner_validation_moves_the_smallest_group_that_leaves_every_class_behind():
    # Group 0 has all negatives but two: moving it, or group 1 with the only other positives, is wrong or costs more.
    groups = np.array([0] * 6 + [1] * 4 + [2] * 3)
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1])
    for seed in range(10):
        train, validation = inner_validation(labels, np.arange(13), 0.1, seed, groups)
        assert set(groups[validation]) == {2}
        assert set(groups[train]) == {0, 1}


@FEW
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), min_size=1, max_size=12), st.integers(0, 5))
def test_inner_validation_succeeds_exactly_where_whole_groups_can_be_divided(records, seed):
    groups, labels = np.array(records).T
    divisible = any(
        set(labels[inside]) == set(labels[~inside]) == set(labels)
        for chosen in range(2**5)
        for inside in [np.array([bool(chosen >> group & 1) for group in groups])]
    )
    if not divisible:
        with pytest.raises(InputError, match="too few to set some of every class aside"):
            inner_validation(labels, np.arange(len(labels)), 0.2, seed, groups)
        return
    train, validation = inner_validation(labels, np.arange(len(labels)), 0.2, seed, groups)
    assert sorted([*train, *validation]) == list(range(len(labels)))
    assert set(groups[train]).isdisjoint(groups[validation])
    assert set(labels[train]) == set(labels[validation]) == set(labels)


def test_a_draw_can_be_divided_between_groups():
    # Groups 0 and 1 hold 98 % of the records, each one class: a draw of two and two is nearly always out of these
    # alone, which leaves no group to validate on.
    groups = np.array([0] * 98 + [1] * 98 + [2] * 2 + [3] * 2)
    labels = np.array([1] * 98 + [0] * 98 + [1] * 2 + [0] * 2)
    for seed in range(20):
        kept = subsample(np.arange(200), labels, 2, 2, seed, groups=groups)
        assert sorted(groups[kept]) == [0, 1, 2, 3]
        assert labels[kept].sum() == 2
        train, validation = inner_validation(labels, kept, 0.1, seed, groups)
        assert set(groups[train]).isdisjoint(groups[validation])
        np.testing.assert_array_equal(kept, subsample(np.arange(200)[::-1], labels, 2, 2, seed, groups=groups))


def test_a_draw_that_can_be_divided_is_the_draw_without_groups():
    labels = np.arange(200) % 2
    groups = np.arange(200) // 20
    np.testing.assert_array_equal(
        subsample(np.arange(200), labels, 30, 40, 5, groups=groups), subsample(np.arange(200), labels, 30, 40, 5)
    )


def test_a_draw_that_no_groups_allow_is_refused():
    groups = np.array([0] * 10 + [1] * 10)
    labels = np.array([1] * 10 + [0] * 10)
    with pytest.raises(InputError, match="`subsample_pos`: found all 10 training records of QKI with label 1 in one"):
        subsample(np.arange(20), labels, 5, None, name="QKI", groups=groups)
    with pytest.raises(InputError, match="`subsample_neg`: found all 5 training records with label 0 in one group"):
        subsample(np.arange(5, 15), labels, 2, None, groups=np.append(np.arange(10), [10] * 10))
