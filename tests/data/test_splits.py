"""Splits into train, dev and test, and their reports."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequence_files import longest_run_by_search, random_sequences

from LAMAR.data.labelled import LabelledSet, load_labelled
from LAMAR.data.splits import chromosome_split, cluster_split, given_split, make_split, random_split
from LAMAR.errors import InputError

FEW = settings(max_examples=60)


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
    with pytest.raises(InputError, match=r"`split`: found only label 0 in the \d+ records of the \w+ part"):
        random_split(np.array([0] * 98 + [1] * 2))


def test_a_fraction_of_zero_leaves_its_part_empty():
    split = random_split(np.arange(100) % 2, (0.8, 0, 0.2))
    assert split.report["sizes"] == {"train": 80, "dev": 0, "test": 20}


@pytest.mark.parametrize(
    "fractions", [(0.5, 0.5), (0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (0, 0.5, 0.5), (0.7, 0.3, np.nan)]
)
def test_fractions_that_make_no_sense_are_refused(fractions):
    with pytest.raises(InputError, match=r"`fractions`: found .* wanted train, dev and test with sum 1"):
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
    with pytest.raises(InputError, match="`split` given: found no parts in toy"):
        given_split(labelled(sequences))
    with pytest.raises(InputError, match="`split`: found no record for the test part of `split` given"):
        given_split(labelled(sequences, split=parts_of(4, 2, 0)))
    with pytest.raises(InputError, match="`split`: found only label 1 in the 2 records of the test part"):
        given_split(labelled(sequences, [0, 1, 0, 1, 1, 1], split=parts_of(4, 0, 2)))


def test_auto_is_given_where_there_is_a_test_part_else_random(caplog):
    sequences = random_sequences(40)
    assert make_split(labelled(sequences, split=parts_of(20, 0, 20))).report["method"] == "given"
    assert make_split(labelled(sequences)).report["method"] == "random"
    assert make_split(labelled(sequences, split=parts_of(40, 0, 0))).report["method"] == "random"
    assert not caplog.records
    assert make_split(labelled(sequences, split=parts_of(20, 20, 0))).report["method"] == "random"
    assert "toy has no test part" in caplog.text
    with pytest.raises(InputError, match="`split`: found 'chromosomes', wanted one of auto, given, random"):
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


@pytest.mark.parametrize("asked", [["chr8", "chr9"], ["8", "9"], "8,chr9", [8, 9]])
def test_a_chromosome_is_held_out_under_all_its_names(cases_folder, asked):
    """The set has 20 records each of chr1, chr2, chr8 and chr9, some of each under the name without chr."""
    dataset = load_labelled(cases_folder / "chrom_names_mixed" / "set.csv")
    short = np.array([name.removeprefix("chr") for name in dataset.chrom])
    assert len(set(dataset.chrom)) == 8
    split = make_split(dataset, "chromosome", test_chroms=asked, dev_chroms=["2"])
    assert_partition(split, 80)
    np.testing.assert_array_equal(split.test, np.flatnonzero(np.isin(short, ["8", "9"])))
    np.testing.assert_array_equal(split.dev, np.flatnonzero(short == "2"))
    assert (len(split.test), len(split.dev)) == (40, 20)
    assert split.report["groups"] == {"train": 1, "dev": 1, "test": 2}
    assert (split.report["test_chroms"], split.report["dev_chroms"]) == (["chr8", "chr9"], ["chr2"])
    # Groups are what folds and inner validation keep whole.
    assert len(np.unique(split.groups)) == 4
    assert all(len(np.unique(split.groups[short == name])) == 1 for name in "1289")


def test_a_drawn_dev_chromosome_is_whole_under_all_its_names():
    names = np.array(["chr1", "1", "Chr2", "2", "chrM", "MT", "chrX", "x", "scaffold", "scaffold"]).repeat(6)
    for seed in range(6):
        split = chromosome_split(names, ["M"], dev_fraction=0.2, seed=seed)
        assert set(names[split.test]) == {"chrM", "MT"}
        assert len(split.dev) == 12
        assert len(np.unique(split.groups)) == 5


def test_chromosome_split_names_the_argument_at_fault():
    with pytest.raises(InputError, match="`split` chromosome: found no coordinates"):
        chromosome_split(None, ["chr9"])
    with pytest.raises(InputError, match="`test_chroms`: found none, wanted some of chr1, chr2"):
        chromosome_split(CHROM, [])
    with pytest.raises(InputError, match="`test_chroms`: found no record on 10, chrX, wanted some of chr1"):
        chromosome_split(CHROM, ["10", "chr1", "chrX"])
    with pytest.raises(InputError, match="`dev_chroms`: found no record on chr7"):
        chromosome_split(CHROM, ["chr9"], ["chr7"])
    with pytest.raises(InputError, match="`dev_chroms`: found chr9 in `test_chroms` too"):
        chromosome_split(CHROM, ["chr9"], ["9"])
    many = np.array([f"scaffold{i}" for i in range(500)])
    with pytest.raises(InputError, match=r"`test_chroms`: found no record on chr1, wanted .* and 488 more$"):
        chromosome_split(many, ["chr1"])
    with pytest.raises(InputError, match="`test_chroms`: found no record for the train part"):
        chromosome_split(CHROM, sorted(set(CHROM)))
    with pytest.raises(InputError, match="`test_chroms`: found only label 1 in the 10 records of the test part"):
        chromosome_split(CHROM, ["chr9"], labels=np.array([0, 1] * 45 + [1] * 10))


# Clusters


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
    with pytest.raises(InputError, match="`split`: found no record for the dev part"):
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
    assert "`split` given: found 2 sequences in more than one part" in message
    assert "r2 (train) and r16 (test)" in message
    assert "`allow_duplicates`" in message
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
    assert "toy: found 1 sequence with different labels" in caplog.text


@pytest.mark.parametrize("method", ["random", "cluster", "chromosome", "given"])
def test_every_method_reports_the_same_leakage_measures(method):
    sequences = random_sequences(100)
    dataset = labelled(sequences, chrom=CHROM, split=parts_of(70, 15, 15))
    split = make_split(dataset, method, test_chroms=["chr9"] if method == "chromosome" else (), seed=5)
    assert_partition(split, 100)
    train, test = ([sequences[i] for i in part] for part in (split.train, split.test))
    assert split.report["longest_shared_run"] == longest_run_by_search(train, test)
    assert split.report["test_sharing_30mer"] == 0
    assert (split.groups is None) == (method in ("random", "given"))


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


def test_a_method_added_to_the_table_splits_and_names_the_parameters_it_reads():
    from LAMAR.data.split_methods import SPLITS
    from LAMAR.data.splits import SplitOptions, given_split
    from LAMAR.registry import Entry

    def halves(dataset: LabelledSet, options: SplitOptions):
        part = np.where(np.arange(len(dataset)) % 4 < 2, "train", "test")
        part[np.isin(dataset.chrom, options.dev_chroms)] = "dev"
        return given_split(LabelledSet(dataset.sequences, dataset.labels, dataset.ids, split=part))

    SPLITS.add(Entry("halves", "every other pair of records", halves, options=("dev_chroms",)))
    try:
        dataset = labelled(random_sequences(100), chrom=CHROM)
        split = make_split(dataset, "halves", dev_chroms=["chr9"])
        assert split.dev.tolist() == list(range(90, 100))
        assert split.train[:3].tolist() == [0, 1, 4]
        assert "longest_shared_run" in split.report
        with pytest.raises(InputError, match="`dev_chroms` goes with `split` chromosome or halves, found `split` ran"):
            make_split(dataset, "random", dev_chroms=["chr9"])
    finally:
        SPLITS.remove("halves")


def test_a_method_added_to_the_table_is_a_choice_of_the_parsers():
    import argparse

    from LAMAR.cli.finetune_arguments import add_data_arguments
    from LAMAR.data.split_methods import SPLITS
    from LAMAR.registry import Entry

    SPLITS.add(Entry("halves", "every other pair of records", "LAMAR.nowhere:function"))
    try:
        parser = argparse.ArgumentParser()
        add_data_arguments(parser)
        assert parser.parse_args(["--split", "halves"]).split == "halves"
    finally:
        SPLITS.remove("halves")
