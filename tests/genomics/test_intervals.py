"""Interval operations against definitions written out pair by pair."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from LAMAR.genomics.intervals import (
    IntervalIndex,
    canonical_chromosome,
    canonical_chromosomes,
    is_standard,
    merge,
    overlap,
    within,
)

interval = st.tuples(
    st.sampled_from(["chr1", "chr2"]), st.integers(0, 60), st.integers(1, 25), st.sampled_from(["+", "-", "."])
)
intervals = st.lists(interval, max_size=12)


def table(rows) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["chrom", "start", "length", "strand"])
    frame = frame.astype({"chrom": str, "start": np.int64, "length": np.int64, "strand": str})
    frame["end"] = frame["start"] + frame.pop("length")
    return frame[["chrom", "start", "end", "strand"]]


def agree(a, b) -> bool:
    return a.strand == b.strand or "." in (a.strand, b.strand)


def gap(a, b) -> int:
    """Bases between two intervals of one chromosome; negative where they overlap."""
    return max(a.start, b.start) - min(a.end, b.end)


@pytest.mark.parametrize(
    ("name", "wanted", "standard"),
    [
        ("9", "chr9", True),
        ("chr9", "chr9", True),
        ("Chr09", "chr9", True),
        ("x", "chrX", True),
        ("MT", "chrM", False),
        ("chrMT", "chrM", False),
        ("M", "chrM", False),
        ("23", "chr23", False),
        ("chr1_KI270706v1_random", "chr1_KI270706v1_random", False),
        ("GL000195.1", "GL000195.1", False),
        ("ENST00000456328", "ENST00000456328", False),
    ],
)
def test_chromosome_names(name, wanted, standard):
    assert canonical_chromosome(name) == wanted
    assert is_standard(name) is standard
    assert canonical_chromosomes(pd.Series([name, name])).tolist() == [wanted] * 2


@settings(max_examples=40)
@given(intervals, intervals, st.booleans())
def test_overlap_is_every_pair_in_order(one, two, stranded):
    one, two = table(one), table(two)
    pairs = [
        (i, j)
        for i, a in enumerate(one.itertuples())
        for j, b in enumerate(two.itertuples())
        if a.chrom == b.chrom and gap(a, b) < 0 and (agree(a, b) or not stranded)
    ]
    first, second = overlap(one, two, stranded=stranded)
    assert first.dtype == second.dtype == np.int64
    assert list(zip(first.tolist(), second.tolist())) == pairs


def test_rows_are_positions_whatever_the_index():
    one = table([("chr1", 0, 5, "+"), ("chr1", 100, 5, "+")]).set_index(pd.Index([7, 3]))
    assert [rows.tolist() for rows in overlap(one, one)] == [[0, 1], [0, 1]]
    assert within(one, one.iloc[1:], 1).tolist() == [False, True]
    assert merge(one)[1].tolist() == [0, 1]


@settings(max_examples=40)
@given(intervals, intervals, st.integers(0, 30), st.booleans())
def test_within_counts_the_bases_between(one, two, distance, stranded):
    one, two = table(one), table(two)
    wanted = [
        any(a.chrom == b.chrom and gap(a, b) < distance and (agree(a, b) or not stranded) for b in two.itertuples())
        for a in one.itertuples()
    ]
    assert within(one, two, distance, stranded=stranded).tolist() == wanted


@settings(max_examples=40)
@given(intervals, st.booleans(), st.sampled_from([None, 0, 3]))
def test_merge_joins_what_overlaps_and_nothing_else(rows, stranded, min_gap):
    one = table(rows)
    merged, row = merge(one, stranded=stranded, min_gap=min_gap)
    key = ["chrom", "strand"] if stranded else ["chrom"]
    # Every interval lies in its own; ends are ends of members; merged ones are farther apart than min_gap.
    home = merged.iloc[row].reset_index(drop=True)
    assert (home[key].to_numpy() == one[key].to_numpy()).all()
    assert (home["start"] <= one["start"]).all()
    assert (home["end"] >= one["end"]).all()
    assert sorted(set(row.tolist())) == list(range(len(merged)))
    for i, found in enumerate(merged.itertuples()):
        members = one[row == i]
        assert (found.start, found.end) == (members["start"].min(), members["end"].max())
    for a, b in zip(merged.itertuples(), merged.iloc[1:].itertuples()):
        if a.chrom == b.chrom and (not stranded or a.strand == b.strand):
            assert gap(a, b) > (-1 if min_gap is None else min_gap)


@given(listed=intervals, asked=intervals)
def test_the_part_of_an_index_near_intervals_holds_all_that_overlap(listed, asked):
    listed, asked = table(listed).assign(name=range(len(listed))), table(asked)
    index = IntervalIndex(listed)
    rows = index.near(*(asked[name].to_numpy() for name in ("chrom", "start", "end")))
    assert (np.diff(rows) > 0).all()
    one, two = overlap(asked, index.rows(rows))
    expected = set(zip(*(found.tolist() for found in overlap(asked, listed))))
    assert set(zip(one.tolist(), index.table["name"][rows[two]].tolist())) == expected
