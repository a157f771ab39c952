"""Dinucleotide shuffles: counts kept, uniform over all arrangements, reproducible."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import chisquare

from LAMAR.data.shuffling import dinucleotide_shuffle

sequences = st.lists(st.text("ACGTN", max_size=60), max_size=5)


def dinucleotides(sequence: str) -> Counter:
    return Counter(map("".join, itertools.pairwise(sequence)))


@given(sequences, st.integers(0, 2**32))
@example(["A", "AC", "ACGTTGCA", "NNNACNNN", "ACAC", "ACGA"], 0)
def test_dinucleotides_and_ends_are_kept(sequences, seed):
    shuffled = dinucleotide_shuffle(sequences, seed)
    assert len(shuffled) == len(sequences)
    for before, after in zip(sequences, shuffled):
        assert dinucleotides(after) == dinucleotides(before)
        assert (after[:1], after[-1:], len(after)) == (before[:1], before[-1:], len(before))


@pytest.mark.parametrize("sequence", ["", "A", "GA", "ACA", "AAAAAAAA", "AAAACCCC", "ACACACAC", "ACGT"])
def test_sequences_with_one_arrangement_come_back(sequence):
    assert dinucleotide_shuffle([sequence] * 3, seed=1) == [sequence] * 3


# The first has loops at A and C and a choice of last edge out of A; the second ends where it starts.
@pytest.mark.parametrize("sequence", ["AACAGACGAA", "CATCATTGACC", "ATNGANTCAG"])
def test_every_arrangement_is_equally_likely(sequence):
    counts = dinucleotides(sequence)
    inner = set(itertools.permutations(sequence[1:-1]))
    arrangements = {sequence[0] + "".join(letters) + sequence[-1] for letters in inner}
    arrangements = {arrangement for arrangement in arrangements if dinucleotides(arrangement) == counts}
    assert len(arrangements) > 5
    found = Counter(dinucleotide_shuffle([sequence] * (500 * len(arrangements)), seed=3))
    assert set(found) == arrangements
    assert chisquare(list(found.values())).pvalue > 0.001


def test_a_shuffle_depends_on_seed_and_index_alone():
    sequences = ["ACGTTGCATGCAACGTGGCATTAACGT" * 3, "GATTACAGATTACA" * 5, "ACGTTGCATGCAACGTGGCATTAACGT" * 3]
    shuffled = dinucleotide_shuffle(sequences, seed=7)
    assert shuffled == dinucleotide_shuffle(sequences, seed=7)
    assert shuffled[:1] == dinucleotide_shuffle(sequences[:1], seed=7)
    assert shuffled[1] == dinucleotide_shuffle(["ACC", sequences[1]], seed=7)[1]
    assert shuffled[0] != shuffled[2]
    assert shuffled[0] != dinucleotide_shuffle(sequences, seed=8)[0]
