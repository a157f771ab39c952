"""Clusters of similar sequences, and the runs that two sets of sequences share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sequence_files import longest_run_by_search, random_sequences

from LAMAR.alphabet import reverse_complement
from LAMAR.data.kmers import WindowHashes, cluster_sequences, longest_shared_run

FEW = settings(max_examples=60)


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
    sequence = random_sequences(1)[0]
    assert len(set(cluster_sequences([sequence, reverse_complement(sequence)]))) == 2
    assert longest_shared_run([sequence], [reverse_complement(sequence)]) < 20


def test_clusters_are_numbered_in_order_of_appearance():
    a, b, c = random_sequences(3)
    assert cluster_sequences([a, b, a, c, b]).tolist() == [0, 1, 0, 2, 1]


# Shared runs


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
    assert longest_shared_run(a, b) == longest_run_by_search(a, b)


@pytest.mark.parametrize("length", [1, 2, 31, 32, 63, 64, 65, 100])
def test_longest_shared_run_finds_a_planted_run(length):
    background = random_sequences(2, 400, seed=length)
    run = random_sequences(1, length, seed=1000 + length)[0]
    a, b = f"{background[0][:150]}N{run}N", f"N{run}N{background[1][:170]}"
    assert longest_shared_run([a], [b]) == max(length, longest_run_by_search([a], [b]))
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
