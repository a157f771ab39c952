"""Splits, folds, clusters and shared runs."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from LAMAR.data.kmers import WindowHashes
from LAMAR.data.labelled import LabelledSet, load_labelled
from LAMAR.data.splits import (
    chromosome_split,
    cluster_sequences,
    cluster_split,
    given_split,
    inner_validation,
    longest_shared_run,
    make_folds,
    make_split,
    random_split,
    subsample,
)
from LAMAR.errors import InputError

FEW = settings(max_examples=60)


def random_sequences(n: int, length: int = 101, seed: int = 0) -> list[str]:
    codes = np.random.default_rng(seed).integers(0, 4, size=(n, length))
    return [row.tobytes().decode() for row in np.frombuffer(b"ACGT", dtype=np.uint8)[codes]]


def labelled(sequences, labels=None, **columns) -> LabelledSet:
    labels = np.arange(len(sequences)) % 2 if labels is None else np.asarray(labels)
    return LabelledSet(list(sequences), labels, [f"r{i}" for i in range(len(sequences))], name="toy", **columns)


def assert_partition(split, n):
    joined = np.concatenate([split.train, split.dev, split.test])
    assert sorted(joined.tolist()) == list(range(n))
    for part in (split.train, split.dev, split.test):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
    assert split.report["sizes"] == {name: len(getattr(split, name)) for name in ("train", "dev", "test")}
    json.dumps(split.report, allow_nan=False)


def test_reading_and_splitting_import_nothing_heavy(run_python):
    heavy = "{'torch', 'transformers', 'datasets', 'h5py', 'sklearn', 'scipy', 'pandas'}"
    code = f"import sys, LAMAR.data.labelled, LAMAR.data.splits; print(sorted({heavy} & sys.modules.keys()))"
    assert run_python(code, LAMAR_LIGHT="1").strip() == "[]"


# Random


@FEW
@given(
    counts=st.lists(st.integers(20, 200), min_size=2, max_size=4),
    fractions=st.sampled_from([(0.7, 0.15, 0.15), (0.8, 0.1, 0.1), (0.5, 0.25, 0.25)]),
    seed=st.integers(0, 99),
)
def test_random_split_keeps_each_class_within_one_record_of_its_fraction(counts, fractions, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    split = random_split(labels, fractions, seed)
    assert_partition(split, len(labels))
    for fraction, part in zip(fractions, (split.train, split.dev, split.test)):
        for label, count in enumerate(counts):
            assert abs((labels[part] == label).sum() - fraction * count) <= 1
    again = random_split(labels, fractions, seed)
    np.testing.assert_array_equal(split.train, again.train)
    assert not np.array_equal(split.train, random_split(labels, fractions, seed + 1).train)


def test_random_split_by_hand():
    report = random_split(np.array([0] * 60 + [1] * 40), (0.7, 0.15, 0.15), 1).report
    assert report["method"] == "random"
    assert report["seed"] == 1
    assert report["sizes"] == {"train": 70, "dev": 15, "test": 15}
    assert report["labels"] == {
        "train": {"0": 42, "1": 28}, "dev": {"0": 9, "1": 6}, "test": {"0": 9, "1": 6}
    }  # fmt: skip


def test_a_small_class_reaches_every_part():
    labels = np.array([0] * 97 + [1] * 3)
    split = random_split(labels)
    assert [int(labels[part].sum()) for part in (split.train, split.dev, split.test)] == [1, 1, 1]


def test_a_class_too_small_for_every_part_is_refused():
    with pytest.raises(InputError, match=r"--split: found only label 0 in the \d+ records of the \w+ part"):
        random_split(np.array([0] * 98 + [1] * 2))


def test_a_fraction_of_zero_leaves_its_part_empty():
    split = random_split(np.arange(100) % 2, (0.8, 0, 0.2))
    assert split.report["sizes"] == {"train": 80, "dev": 0, "test": 20}


@pytest.mark.parametrize(
    "fractions", [(0.5, 0.5), (0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (0, 0.5, 0.5), (0.7, 0.3, np.nan)]
)
def test_fractions_that_make_no_sense_are_refused(fractions):
    with pytest.raises(InputError, match=r"fractions: found .* wanted train, dev and test with sum 1"):
        random_split(np.arange(100) % 2, fractions)


def test_regression_and_multilabel_splits():
    values = np.linspace(0, 1, 100, dtype=np.float32)
    split = random_split(values)
    assert_partition(split, 100)
    assert split.report["labels"]["test"]["mean"] == pytest.approx(float(values[split.test].mean()))
    rows = np.stack([np.arange(100) % 2, np.zeros(100, dtype=np.int64)], axis=1)
    split = random_split(rows)
    assert split.report["labels"]["dev"] == {"label_0": int(rows[split.dev, 0].sum()), "label_1": 0}


# Given


def parts_of(train: int, dev: int, test: int) -> np.ndarray:
    return np.array(["train"] * train + ["dev"] * dev + ["test"] * test)


def test_given_split_takes_the_parts_as_they_are():
    split = given_split(labelled(random_sequences(8), split=parts_of(4, 2, 2)[::-1]))
    assert split.test.tolist() == [0, 1]
    assert split.dev.tolist() == [2, 3]
    assert split.train.tolist() == [4, 5, 6, 7]
    split = given_split(labelled(random_sequences(6), split=parts_of(4, 0, 2)))
    assert split.dev.tolist() == []


def test_given_split_refuses_missing_parts_and_single_classes():
    sequences = random_sequences(6)
    with pytest.raises(InputError, match="--split given: found no parts in toy"):
        given_split(labelled(sequences))
    with pytest.raises(InputError, match="--split: found no record for the test part of --split given"):
        given_split(labelled(sequences, split=parts_of(4, 2, 0)))
    with pytest.raises(InputError, match="--split: found only label 1 in the 2 records of the test part"):
        given_split(labelled(sequences, [0, 1, 0, 1, 1, 1], split=parts_of(4, 0, 2)))


def test_auto_is_given_where_there_is_a_test_part_else_random(caplog):
    sequences = random_sequences(40)
    assert make_split(labelled(sequences, split=parts_of(20, 0, 20))).report["method"] == "given"
    assert make_split(labelled(sequences)).report["method"] == "random"
    assert make_split(labelled(sequences, split=parts_of(40, 0, 0))).report["method"] == "random"
    assert not caplog.records
    assert make_split(labelled(sequences, split=parts_of(20, 20, 0))).report["method"] == "random"
    assert "toy has no test part" in caplog.text
    with pytest.raises(InputError, match="--split: found 'chromosomes', wanted auto, given, random"):
        make_split(labelled(sequences), "chromosomes")


# Chromosomes

CHROM = np.repeat(["chr1", "chr2", "chr3", "chr4", "chr9"], [40, 20, 20, 10, 10])


def test_chromosome_split_holds_whole_chromosomes_out():
    labels = np.arange(100) % 2
    split = chromosome_split(CHROM, ["chr9"], ["chr2", "chr4"], labels=labels)
    assert_partition(split, 100)
    assert set(CHROM[split.test]) == {"chr9"}
    assert set(CHROM[split.dev]) == {"chr2", "chr4"}
    assert set(CHROM[split.train]) == {"chr1", "chr3"}
    assert split.report["groups"] == {"train": 2, "dev": 2, "test": 1}
    assert split.report["groups_straddling"] == 0
    assert split.report["test_chroms"] == ["chr9"]
    assert split.report["dev_chroms"] == ["chr2", "chr4"]


@pytest.mark.parametrize("seed", range(8))
def test_chromosome_split_chooses_dev_chromosomes_near_the_fraction(seed):
    split = chromosome_split(CHROM, ["chr9"], dev_fraction=0.2, seed=seed)
    # 20 records wanted, and 10, 20 or 40 come at a time: the greedy choice is never off by more than 10.
    assert 10 <= len(split.dev) <= 30
    assert set(CHROM[split.dev]).isdisjoint(CHROM[split.train])
    assert split.report["dev_chroms"] == sorted(set(CHROM[split.dev]))
    np.testing.assert_array_equal(split.dev, chromosome_split(CHROM, ["chr9"], dev_fraction=0.2, seed=seed).dev)


def test_chromosome_split_accepts_a_comma_list_and_no_dev():
    for chroms in ("chr9,chr4", ["chr9, chr4"], ("chr4", "chr9")):
        split = chromosome_split(CHROM, chroms, dev_fraction=0)
        assert set(CHROM[split.test]) == {"chr4", "chr9"}
        assert len(split.dev) == 0


def test_chromosome_split_names_the_argument_at_fault():
    with pytest.raises(InputError, match="--split chromosome: found no coordinates"):
        chromosome_split(None, ["chr9"])
    with pytest.raises(InputError, match="--test_chroms: found none, wanted some of chr1, chr2"):
        chromosome_split(CHROM, [])
    with pytest.raises(InputError, match="--test_chroms: found no record on 9, chrX, wanted some of chr1"):
        chromosome_split(CHROM, ["9", "chr1", "chrX"])
    with pytest.raises(InputError, match="--dev_chroms: found no record on chr7"):
        chromosome_split(CHROM, ["chr9"], ["chr7"])
    with pytest.raises(InputError, match="--dev_chroms: found chr9 in --test_chroms too"):
        chromosome_split(CHROM, ["chr9"], ["chr9"])
    with pytest.raises(InputError, match="--test_chroms: found no record for the train part"):
        chromosome_split(CHROM, sorted(set(CHROM)))
    with pytest.raises(InputError, match="--test_chroms: found only label 1 in the 10 records of the test part"):
        chromosome_split(CHROM, ["chr9"], labels=np.array([0, 1] * 45 + [1] * 10))


# Clusters


def mutate(sequence: str, position: int) -> str:
    return sequence[:position] + {"A": "C", "C": "G", "G": "T", "T": "A"}[sequence[position]] + sequence[position + 1 :]


@FEW
@given(position=st.integers(0, 100), unit=st.sampled_from(["A", "CA", "TTTTC", ""]), seed=st.integers(0, 9))
@example(position=50, unit="A", seed=0)
def test_one_substitution_stays_together_even_in_repeats(position, unit, seed):
    others = random_sequences(150, seed=seed)
    base = (unit * 101)[:101] if unit else others[0]
    clusters = cluster_sequences([*others, mutate(base, position), base])
    assert clusters[-1] == clusters[-2]
    if unit:
        assert len(set(clusters)) == 151


@FEW
@given(sequence=st.text("ACGTN", min_size=1, max_size=40), position=st.integers(0, 39), letter=st.sampled_from("ACGTN"))
def test_short_sequences_with_one_difference_stay_together(sequence, position, letter):
    position %= len(sequence)
    other = sequence[:position] + letter + sequence[position + 1 :]
    clusters = cluster_sequences([sequence, *random_sequences(5, 60), other])
    assert clusters[0] == clusters[-1]


@FEW
@given(a=st.text("ACGT", min_size=3, max_size=23), b=st.text("ACGT", min_size=3, max_size=23))
def test_short_sequences_with_more_differences_stay_apart(a, b):
    near = len(a) == len(b) and sum(x != y for x, y in zip(a, b)) <= 1
    assert len(set(cluster_sequences([a, b]))) == (1 if near else 2)


@FEW
@given(shift=st.integers(0, 51), unit=st.sampled_from(["", "A", "CAG"]), seed=st.integers(0, 9))
def test_windows_that_overlap_by_fifty_stay_together(shift, unit, seed):
    genome = random_sequences(1, 200, seed)[0]
    genome = (unit * 200)[:200] if unit else genome
    clusters = cluster_sequences([genome[:101], *random_sequences(20, seed=seed + 50), genome[shift : shift + 101]])
    assert clusters[0] == clusters[-1]


@FEW
@given(shift=st.integers(52, 77), position=st.integers(0, 100), seed=st.integers(0, 9))
def test_windows_that_share_twenty_four_informative_nucleotides_stay_together(shift, position, seed):
    genome = random_sequences(1, 200, seed)[0]
    clusters = cluster_sequences([genome[:101], genome[shift : shift + 101]])
    assert clusters[0] == clusters[1]
    clusters = cluster_sequences([genome[:101], mutate(genome[20:121], position)])
    assert clusters[0] == clusters[1]


def test_simple_repeats_unknown_bases_and_common_flanks_do_not_join_everything():
    base = random_sequences(400, 60)
    flank = random_sequences(1, 40, seed=99)[0]  # as a library's adapter, shorter than `always`
    for tract in ("A" * 40, "CA" * 20, "CAG" * 13, "TTTTC" * 8, "N" * 40, flank):
        sizes = np.bincount(cluster_sequences([s + tract for s in base]))
        # Where the tract begins, 30 nt hold 7 of the 60 random ones: 400**2 / 2 / 4**7 = 5 chance pairs.
        assert len(sizes) >= 388
        assert sizes.max() <= 3
    assert len(set(cluster_sequences([s + flank for s in base], max_records=400))) == 1
    assert len(set(cluster_sequences([s + flank + flank[:10] for s in base]))) == 1


def test_windows_in_the_same_microsatellite_go_together_while_they_are_few():
    repeats = [
        f"{left}{'CA' * 20}{right}" for left, right in zip(random_sequences(90, 30), random_sequences(90, 31, 5))
    ]
    assert len(set(cluster_sequences(repeats + random_sequences(50, seed=9)))) == 51
    assert len(set(cluster_sequences(repeats + random_sequences(50, seed=9), max_records=80))) == 140


def test_frequent_sequences_still_stay_with_their_duplicates():
    common = random_sequences(1)[0]
    clusters = cluster_sequences([common] * 300 + random_sequences(50, seed=5))
    assert len(set(clusters[:300])) == 1
    assert len(set(clusters)) == 51


def test_the_reverse_complement_is_another_rna():
    from LAMAR.data.sequences import reverse_complement

    sequence = random_sequences(1)[0]
    assert len(set(cluster_sequences([sequence, reverse_complement(sequence)]))) == 2
    assert longest_shared_run([sequence], [reverse_complement(sequence)]) < 20


def test_clusters_are_numbered_in_order_of_appearance():
    a, b, c = random_sequences(3)
    assert cluster_sequences([a, b, a, c, b]).tolist() == [0, 1, 0, 2, 1]


def families(n: int, size: int, seed: int = 0) -> list[str]:
    """``n`` genomic stretches, each cut into ``size`` overlapping windows of 101 nt."""
    genomes = random_sequences(n, 101 + 20 * size, seed)
    return [genome[20 * i : 20 * i + 101] for genome in genomes for i in range(size)]


def test_cluster_split_never_separates_overlapping_windows():
    sequences = families(100, 4) + random_sequences(600, seed=7)
    labels = np.random.default_rng(0).integers(0, 2, size=1000)
    split = make_split(labelled(sequences, labels), "cluster", seed=3)
    assert_partition(split, 1000)
    part = np.zeros(1000, dtype=int)
    part[split.dev], part[split.test] = 1, 2
    assert all(len(set(part[4 * i : 4 * i + 4])) == 1 for i in range(100))
    assert split.report["groups_straddling"] == 0
    assert sum(split.report["groups"].values()) == 700
    assert split.report["largest_cluster"] == 4
    assert split.report["test_sharing_30mer"] == 0
    assert split.report["longest_shared_run"] < 24
    # Every part keeps its share of both classes, and gets families and loners alike.
    for fraction, records in zip((0.7, 0.15, 0.15), (split.train, split.dev, split.test)):
        assert abs(len(records) - 1000 * fraction) <= 2
        assert abs(labels[records].sum() - labels.sum() * fraction) <= 2
        assert (records < 400).any()
        assert (records >= 400).any()
    again = cluster_split(sequences, labels, seed=3)
    np.testing.assert_array_equal(split.test, again.test)
    assert not np.array_equal(split.test, cluster_split(sequences, labels, seed=4).test)


def test_a_cluster_larger_than_test_goes_to_train(caplog):
    sequences = [random_sequences(1)[0]] * 120 + random_sequences(80, seed=1)
    split = cluster_split(sequences, np.arange(200) % 2)
    assert set(range(120)) <= set(split.train.tolist())
    assert "one cluster holds 120 of 200 records" in caplog.text
    with pytest.raises(InputError, match="--split: found no record for the dev part"):
        cluster_split([sequences[0]] * 50, np.arange(50) % 2)


# Duplicates and the leakage report


def test_duplicates_across_parts_are_refused_unless_allowed(caplog):
    sequences = random_sequences(20)
    sequences[17] = sequences[3]
    sequences[19] = sequences[3]
    sequences[16] = sequences[2]
    dataset = labelled(sequences, split=parts_of(10, 4, 6))
    with pytest.raises(InputError) as error:
        make_split(dataset)
    message = str(error.value)
    assert "--split given: found 2 sequences in more than one part" in message
    assert "r2 (train) and r16 (test)" in message
    assert "--allow_duplicates" in message
    report = make_split(dataset, allow_duplicates=True).report
    assert report["duplicates_across_parts"] == 2
    assert report["conflicting_duplicates"] == 0
    assert report["longest_shared_run"] == 101
    assert report["test_sharing_30mer"] == pytest.approx(3 / 6)
    assert "found 2 sequences in more than one part" in caplog.text


def test_cluster_split_has_no_duplicates_across_parts():
    sequences = random_sequences(150) * 2
    report = make_split(labelled(sequences), "cluster").report
    assert report["duplicates_across_parts"] == 0


def test_conflicting_duplicates_warn_within_one_part_too(caplog):
    sequences = random_sequences(20)
    sequences[1] = sequences[0]
    with caplog.at_level(logging.WARNING):
        report = make_split(labelled(sequences, split=parts_of(10, 4, 6))).report
    assert report["conflicting_duplicates"] == 1
    assert report["duplicates_across_parts"] == 0
    assert "toy: 1 sequences appear with different labels" in caplog.text


@pytest.mark.parametrize("method", ["random", "cluster", "chromosome", "given"])
def test_every_method_reports_the_same_leakage_measures(method):
    sequences = random_sequences(100)
    dataset = labelled(sequences, chrom=CHROM, split=parts_of(70, 15, 15))
    split = make_split(dataset, method, test_chroms=["chr9"] if method == "chromosome" else (), seed=5)
    assert_partition(split, 100)
    train, test = ([sequences[i] for i in part] for part in (split.train, split.test))
    assert split.report["longest_shared_run"] == brute_force_run(train, test)
    assert split.report["test_sharing_30mer"] == 0
    assert (split.groups is None) == (method in ("random", "given"))


# Shared runs


def brute_force_run(a: list[str], b: list[str]) -> int:
    def windows(sequences, k):
        return {s[i : i + k] for s in sequences for i in range(len(s) - k + 1)}

    best = 0
    for k in range(1, min(max(map(len, a), default=0), max(map(len, b), default=0)) + 1):
        if not any("N" not in window for window in windows(a, k) & windows(b, k)):
            break
        best = k
    return best


@FEW
@given(
    a=st.lists(st.text("ACGTN", max_size=30), max_size=5),
    b=st.lists(st.text("ACN", max_size=40), max_size=5),
)
@example(a=["ACGT" * 10], b=["ACGT" * 8])
@example(a=["ACGTACGT"], b=["ACGNACGT"])
@example(a=[], b=["A"])
@example(a=["AC", "GT"], b=["ACGT"])
@example(a=["N"], b=["N"])
def test_longest_shared_run_equals_exhaustive_search(a, b):
    assert longest_shared_run(a, b) == brute_force_run(a, b)


@pytest.mark.parametrize("length", [1, 2, 31, 32, 63, 64, 65, 100])
def test_longest_shared_run_finds_a_planted_run(length):
    background = random_sequences(2, 400, seed=length)
    run = random_sequences(1, length, seed=1000 + length)[0]
    a, b = f"{background[0][:150]}N{run}N", f"N{run}N{background[1][:170]}"
    assert longest_shared_run([a], [b]) == max(length, brute_force_run([a], [b]))
    if length > 20:
        assert longest_shared_run([a], [b]) == length


@FEW
@given(st.lists(st.text("ACGTN", max_size=12), min_size=1, max_size=6), st.integers(1, 8))
def test_window_hashes_are_equal_exactly_where_windows_are(sequences, length):
    windows = WindowHashes(sequences)
    starts = windows.starts(length)
    expected = [
        (i, s[j : j + length])
        for i, s in enumerate(sequences)
        for j in range(len(s) - length + 1)
        if "N" not in s[j : j + length]
    ]
    assert windows.record[starts].tolist() == [record for record, _ in expected]
    hashes = windows.hashes(starts, length).tolist()
    assert len(set(hashes)) == len({window for _, window in expected})
    assert dict(zip(hashes, (window for _, window in expected))).keys() == set(hashes)
    by_hand = [
        min([length, *(sum(w[j] != w[j - p] for j in range(p, length)) for p in range(1, min(7, length)))])
        for _, w in expected
    ]
    assert windows.irregularity(starts, length).tolist() == by_hand


def test_large_random_sets_share_nothing_but_by_chance():
    sequences = random_sequences(35_000)
    clusters = cluster_sequences(sequences)
    run = longest_shared_run(sequences[:28_000], sequences[28_000:])
    assert len(set(clusters)) == 35_000
    assert 15 <= run <= 26


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
    with pytest.raises(InputError, match="--cv_folds: found 5 folds, but label 1 has only 4 records"):
        make_folds(labels, 5)
    with pytest.raises(InputError, match="--cv_folds: found 3 folds, but label 1 has only 2 groups"):
        make_folds(labels, 3, groups=np.arange(24) // 2)
    with pytest.raises(InputError, match="--cv_folds: found 5 folds, but there are only 3 records"):
        make_folds(np.array([0.1, 0.2, 0.3]), 5)
    with pytest.raises(InputError, match="--cv_folds: found 1, wanted at least 2"):
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
    with pytest.raises(InputError, match=r"_pos: found 3, wanted .* at most the 2 .* of QKI with label 1"):
        subsample(np.arange(5), labels, 3, None, name="QKI")
    with pytest.raises(InputError, match=r"--subsample_neg: found 4, wanted .* at most the 3 .* with label 0"):
        subsample(np.arange(5), labels, None, 4)
    with pytest.raises(InputError, match="--subsample_neg: found 1, wanted 2 or more"):
        subsample(np.arange(5), labels, None, 1)
    with pytest.raises(InputError, match="--subsample_pos, --subsample_neg: found labels other than 0 and 1"):
        subsample(np.arange(2), np.array([0.5, 1.0]), 1, None)


# Real data


@pytest.mark.shared
def test_cluster_split_removes_the_leakage_of_a_random_split(shared_dir):
    dataset = load_labelled(shared_dir / "data" / "eclip_idr", name="QKI_K562_IDR")
    given_report = make_split(dataset).report
    assert given_report["sizes"] == {"train": 2822, "dev": 605, "test": 605}
    assert given_report["longest_shared_run"] == 90
    assert given_report["test_sharing_30mer"] == pytest.approx(29 / 605)
    split = make_split(dataset, "cluster")
    assert split.report["longest_shared_run"] < 30
    assert split.report["test_sharing_30mer"] == 0
    assert split.report["groups_straddling"] == 0
    assert abs(len(split.test) - 0.15 * len(dataset)) <= 2
    assert split.report["labels"]["test"] == {"0": 302, "1": 302}


@pytest.mark.shared
def test_chromosome_split_on_real_windows(shared_dir):
    dataset = load_labelled(shared_dir / "data" / "eclip_windows" / "QKI_K562.ENCFF786UOW.tsv.gz")
    split = make_split(dataset, "chromosome", test_chroms=("chr8", "chr9"), allow_duplicates=True)
    assert set(dataset.chrom[split.test]) == {"chr8", "chr9"}
    assert set(dataset.chrom[split.dev]).isdisjoint({"chr8", "chr9", *dataset.chrom[split.train]})
    assert 0.1 < len(split.dev) / len(dataset) < 0.2
