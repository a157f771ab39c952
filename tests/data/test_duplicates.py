"""Equal sequences: never on both sides of a fold, of validation or of a drawn split; counted; dropped on request."""

from __future__ import annotations

import logging
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sequence_files import random_sequences

from LAMAR.data.duplicates import find_duplicates, first_copies, without_copies
from LAMAR.data.folds import inner_validation
from LAMAR.data.labelled import LabelledSet, load_labelled
from LAMAR.data.splits import make_split
from LAMAR.errors import InputError
from LAMAR.evaluation.probes import draw_training, prepare
from LAMAR.training.fold_plans import plan_folds


def labelled(sequences, labels=None, **columns) -> LabelledSet:
    labels = np.arange(len(sequences)) % 2 if labels is None else np.asarray(labels)
    return LabelledSet(list(sequences), labels, [f"r{i}" for i in range(len(sequences))], name="toy", **columns)


def share_a_sequence(dataset: LabelledSet, *parts: np.ndarray) -> bool:
    texts = [{dataset.sequences[i] for i in part} for part in parts]
    return any(one & two for i, one in enumerate(texts) for two in texts[i + 1 :])


# Counting


def test_first_copies_by_hand():
    assert first_copies(["AC", "GT", "AC", "TT", "GT", "AC"]).tolist() == [0, 1, 0, 3, 1, 0]
    assert first_copies(["AC", "GT"]) is None
    assert first_copies([]) is None


def test_counts_by_hand():
    # a: train, train, test; b: dev, dev; c: train, test with another class; d alone; e in no part.
    copies = first_copies(list("aabbcaced"))
    part = np.array([0, 0, 1, 1, 0, 2, 2, -1, 0])
    found = find_duplicates(copies, part, np.array([0, 0, 1, 1, 0, 0, 1, 0, 1]))
    assert found.across == [(0, 5), (4, 6)]
    assert found.counts == {
        "duplicates_across_parts": 2,
        "duplicates_within_parts": 2,
        "duplicate_records": 4,
        "conflicting_duplicates": 1,
    }
    assert found.kept.tolist() == [-1, -1, 1, 1, -1, 2, 2, -1, 0]
    nothing = find_duplicates(None, part, np.zeros(9))
    assert (set(nothing.counts.values()), nothing.across) == ({0}, [])
    np.testing.assert_array_equal(nothing.kept, part)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(-1, 2)), min_size=1, max_size=40))
def test_what_is_kept_is_in_one_part_and_as_late_as_possible(records):
    texts, part = [text for text, _ in records], np.array([part for _, part in records])
    kept = find_duplicates(first_copies(texts), part, np.zeros(len(part))).kept
    for text in set(texts):
        parts_before = [part[i] for i, other in enumerate(texts) if other == text]
        last = max(parts_before)
        assert [kept[i] for i, other in enumerate(texts) if other == text] == [
            p if p == last else -1 for p in parts_before
        ]


# Folds, draws, validation


def repeated_set(n_copies: int = 3) -> LabelledSet:
    """Forty sequences ``n_copies`` times each in train, of one class each, and ten in test."""
    sequences = random_sequences(50, 30, seed=4)
    repeated = [*np.repeat(sequences[:40], n_copies).tolist(), *sequences[40:]]
    labels = np.concatenate([np.repeat(np.arange(40) % 2, n_copies), np.arange(10) % 2])
    return labelled(repeated, labels, split=np.repeat(["train", "test"], [40 * n_copies, 10]))


def test_copies_within_a_part_are_groups():
    dataset = repeated_set()
    split = make_split(dataset)
    assert split.groups[:120].tolist() == np.repeat(np.arange(0, 120, 3), 3).tolist()
    assert split.groups[120:].tolist() == list(range(120, 130))
    for seed in range(10):
        train, validation = inner_validation(dataset.labels, split.train, seed=seed, groups=split.groups)
        assert not share_a_sequence(dataset, train, validation)
    distinct = make_split(labelled(random_sequences(50, 30), split=np.repeat(["train", "test"], [40, 10])))
    assert distinct.groups is distinct.copies is None


@pytest.mark.parametrize("cv_folds", [1, 2, 4])
def test_the_case_of_one_sequence_six_times(cases_folder, cv_folds, caplog):
    dataset = load_labelled(cases_folder / "cv_duplicates" / "cvdup")
    with caplog.at_level(logging.INFO):
        split = make_split(dataset)
    assert split.report["duplicates_within_parts"] == 1
    assert split.report["duplicate_records"] == 5
    assert split.report["duplicates_across_parts"] == split.report["dropped_duplicates"] == 0
    assert "cvdup: sequences repeated within a part: 1" in caplog.text
    for seed in range(10):
        for fold in plan_folds(dataset.labels, split, cv_folds, seed):
            assert not share_a_sequence(dataset, fold.train, fold.validation, fold.heldout, split.test)
        heldout = [fold.heldout.tolist() for fold in plan_folds(dataset.labels, split, cv_folds, seed)]
        assert cv_folds == 1 or sorted(np.concatenate(heldout)) == sorted([*split.train, *split.dev])


def by_chromosome() -> LabelledSet:
    """Twelve chromosomes of ten records; the first two of each are copies of the next one's, as a repeat would be."""
    sequences = random_sequences(120, 40, seed=9)
    for here, there in pairwise(range(0, 110, 10)):  # the last chromosome is the test part
        sequences[here : here + 2] = sequences[there : there + 2] = sequences[:2]
    return labelled(sequences, chrom=np.repeat([f"chr{i}" for i in range(1, 13)], 10))


@pytest.mark.parametrize("cv_folds", [1, 3])
@pytest.mark.parametrize("n_drawn", [None, 20])
def test_copies_on_several_chromosomes_judge_and_are_not_trained_on(cv_folds, n_drawn, caplog):
    dataset = by_chromosome()
    split = make_split(dataset, "chromosome", test_chroms=["chr12"], fractions=(0.85, 0, 0.15))
    assert len(np.unique(split.groups)) == 12
    with caplog.at_level(logging.INFO):
        for seed in range(5):
            drawn = {"subsample_pos": n_drawn, "subsample_neg": n_drawn, "draws": 2}
            for fold in plan_folds(dataset.labels, split, cv_folds, seed, **drawn):
                assert not share_a_sequence(dataset, fold.train, fold.validation, fold.heldout)
                for one, two in ((fold.train, fold.validation), (fold.train, fold.heldout)):
                    assert not set(dataset.chrom[one]) & set(dataset.chrom[two])
    assert "training records left out, as copies of them judge the model: " in caplog.text


@pytest.mark.parametrize("method", ["given", "random", "chromosome"])
def test_the_evaluation_validates_on_no_copy(method):
    dataset = by_chromosome() if method == "chromosome" else repeated_set()
    chroms = {"test_chroms": ["chr12"], "dev_chroms": ["chr3"]} if method == "chromosome" else {}
    parts = prepare(dataset, method, seed=1, drop_duplicates=True, **chroms)
    for each in (parts, *(parts.validated(parts.train, seed) for seed in range(5))):
        assert len(each.validation)
        assert not share_a_sequence(dataset, each.train, each.validation, each.test)
    for seed in range(5):
        drawn = draw_training(parts, 20, 20, seed)
        assert not share_a_sequence(dataset, drawn.train, drawn.validation, drawn.test)


def test_without_copies_needs_a_record_of_each_class():
    copies = first_copies(list("aabbcd"))
    labels = np.array([0, 0, 1, 1, 1, 1])
    assert without_copies(np.array([0, 2, 4]), np.array([3, 5]), copies, labels).tolist() == [0, 4]
    with pytest.raises(InputError, match="training part: found every record with label 0 among"):
        without_copies(np.array([0, 2, 4]), np.array([1]), copies, labels)
    assert without_copies(np.array([0]), np.array([0]), None, labels).tolist() == [0]


# Splits


@pytest.mark.parametrize("seed", range(5))
def test_a_random_split_keeps_copies_together(seed):
    sequences = random_sequences(150, 30)
    sequences[100:140] = sequences[:40]
    sequences[140:] = [sequences[0]] * 10
    split = make_split(labelled(sequences, np.arange(150) % 3 % 2), "random", seed=seed)
    assert split.report["duplicates_across_parts"] == 0
    assert split.report["duplicates_within_parts"] == 40
    assert split.report["duplicate_records"] == 50
    assert sum(split.report["sizes"].values()) == 150
    for fraction, part in zip((0.7, 0.15, 0.15), (split.train, split.dev, split.test)):
        assert len(part) == pytest.approx(150 * fraction, abs=3)
    assert split.report["groups_straddling"] == 0


def test_the_test_part_keeps_its_copy_on_request(caplog):
    sequences = random_sequences(24)
    part = np.array(["train"] * 12 + ["dev"] * 6 + ["test"] * 6)
    sequences[0] = sequences[1] = sequences[12] = sequences[18]  # twice in train, in dev, in test
    sequences[2] = sequences[13]  # in train and dev
    sequences[3] = sequences[4]  # twice in train
    dataset = labelled(sequences, split=part)
    with pytest.raises(InputError, match=r"found 2 sequences in more than one part.* set `drop_duplicates`"):
        make_split(dataset)
    with caplog.at_level(logging.INFO):
        split = make_split(dataset, drop_duplicates=True)
    assert split.train.tolist() == [3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert split.dev.tolist() == [13, 14, 15, 16, 17]
    assert split.test.tolist() == [18, 19, 20, 21, 22, 23]
    report = split.report
    assert report["sizes"] == {"train": 9, "dev": 5, "test": 6}
    assert report["labels"]["train"] == {"0": 4, "1": 5}
    assert (report["duplicates_across_parts"], report["dropped_duplicates"]) == (2, 4)
    assert (report["method"], report["seed"]) == ("given", None)
    assert "toy: copies left out of earlier parts: 4" in caplog.text
    assert report["longest_shared_run"] < 101
    for fold in plan_folds(dataset.labels, split, 3, 0):
        assert not {0, 1, 2, 12} & {*fold.train, *fold.validation, *fold.heldout}


def test_dropping_needs_something_to_be_left():
    sequences = random_sequences(8)
    dataset = labelled(sequences[:4] * 2, split=np.repeat(["train", "test"], 4))
    with pytest.raises(InputError, match="`split`: found no record for the train part"):
        make_split(dataset, drop_duplicates=True)
    with pytest.raises(InputError, match="`allow_duplicates` and `drop_duplicates`: found both"):
        make_split(dataset, drop_duplicates=True, allow_duplicates=True)
