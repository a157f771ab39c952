"""Windows around sites: centres, replicates, distances, what is dropped and counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from LAMAR.alphabet import reverse_complement
from LAMAR.errors import InputError
from LAMAR.genomics.genome import open_genome
from LAMAR.genomics.peaks import read_peaks
from LAMAR.genomics.site_windows import (
    center_windows,
    describe_absent_values,
    far_from,
    merge_replicates,
    random_windows,
    significant,
    warn_of_absent_values,
    with_sequence,
    without_values,
)


def peaks_of(rows, **columns) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["chrom", "start", "end", "strand"])
    defaults = {"log2fc": 5.0, "neg_log10_p": 5.0, "summit": -1, "source": "a.bed", "rbp": "QKI", "cell": "K562"}
    return table.assign(**(defaults | columns))


def test_centres():
    peaks = peaks_of([("chr1", 100, 161, "+"), ("chr1", 100, 161, "-")], summit=[7, 7])
    spans = {c: center_windows(peaks, 11, c)[["start", "end"]].to_numpy().tolist() for c in ("middle", "five_prime")}
    assert spans["middle"] == [[125, 136], [125, 136]]  # base 130 is the middle of 100..160
    assert spans["five_prime"] == [[95, 106], [155, 166]]  # bases 100 and 160
    assert center_windows(peaks, 11, "summit")["start"].tolist() == [102, 102]
    assert center_windows(peaks, 4)[["start", "end"]].to_numpy().tolist() == [[128, 132]] * 2


@pytest.mark.parametrize(
    ("center", "row", "message"),
    [
        ("summit", ("chr1", 5, 9, "+"), "a.bed: peak chr1:5-9 has no summit"),
        ("five_prime", ("chr1", 5, 9, "."), "a.bed: peak chr1:5-9 has no strand"),
        ("summit", ("chr1", 5, 9, "+"), "in column 10, wanted an offset from 0 to 3; use middle"),
    ],
)
def test_centres_that_peaks_do_not_have(center, row, message):
    with pytest.raises(InputError, match=message):
        center_windows(peaks_of([row]), 11, center)


def test_absent_values_pass_thresholds():
    peaks = peaks_of([("chr1", 1, 2, "+")] * 4, log2fc=[3.0, 2.9, 5, np.nan], neg_log10_p=[3.0, 9, 2.9, np.nan])
    assert significant(peaks, 3, 3).tolist() == [True, False, False, True]


def test_thresholds_without_effect_are_named(caplog):
    """Each threshold that a peak passes because its file has no such value."""
    peaks = peaks_of([("chr1", 1, 2, "+")] * 3, log2fc=[5.0, np.nan, np.nan], source=["a.bed", "b.bed", "c.bed"])
    absent = without_values(peaks)
    assert absent == {"min_log2fc": 2, "min_neg_log10_p": 0}
    wanted = "2 of 3 peaks have no log2 fold change, so that min_log2fc has no effect on them"
    assert describe_absent_values(absent, len(peaks)) == wanted
    assert describe_absent_values(without_values(peaks[:1]), 1) == ""
    warn_of_absent_values(peaks)
    wanted = "whose files have no log2 fold change (first: b.bed); `fc_column` names its column"
    assert caplog.messages == [f"`min_log2fc` has no effect on 2 of 3 peaks, {wanted}"]


def test_a_summit_outside_its_peak_matters_only_to_windows_around_summits(cases_folder):
    peaks = read_peaks(cases_folder / "summit_unused_column" / "summitbig.narrowPeak")
    bad = np.flatnonzero(peaks["summit"] < 0)
    assert bad.tolist() == [3]  # line 4
    assert len(center_windows(peaks, 101, "middle")) == len(peaks)
    with pytest.raises(InputError, match=r"summitbig\.narrowPeak: peak chr1:679-719 has no summit in column 10"):
        center_windows(peaks, 101, "summit")


def test_replicates_leave_their_strongest_peak():
    rows = [("chr1", 100, 150, "+"), ("chr1", 140, 200, "+"), ("chr1", 140, 200, "-"), ("chr1", 100, 150, "+")]
    peaks = peaks_of(rows, log2fc=[4.0, 6.0, 1.0, 5.0], source=["a", "b", "b", "b"])
    assert merge_replicates(peaks).index.tolist() == [1, 2]
    # Peaks of one file overlap by the peak caller's own will.
    alone = peaks.assign(source="a")
    assert merge_replicates(alone).index.tolist() == [0, 1, 2, 3]
    # ... also where another file has peaks elsewhere.
    elsewhere = pd.concat([alone, peaks_of([("chr2", 5, 9, "+")], source="b")], ignore_index=True)
    assert merge_replicates(elsewhere).index.tolist() == [0, 1, 2, 3, 4]


def test_distance_counts_the_bases_between_on_the_same_strand():
    sites = peaks_of([("chr1", 300, 320, "+")])
    windows = peaks_of([("chr1", s, s + 101, strand) for strand in "+-" for s in (49, 50, 469, 470)])
    # 150 nt between 49 + 101 and 300, and between 320 and 470.
    assert far_from(windows, sites, 150).tolist() == [True, False, False, True] + [True] * 4
    assert far_from(windows.assign(strand="."), sites, 150).tolist() == [True, False, False, True] * 2


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_random_windows_lie_in_their_spans(seed):
    spans = peaks_of([("chr1", 10, 31, "+"), ("chr1", 50, 60, "-"), ("chr2", 100, 112, "-")])
    spans = spans.iloc[np.repeat([0, 1, 2], 50)]
    windows = random_windows(spans, 11, np.random.default_rng(seed))
    assert windows["chrom"].value_counts().to_dict() == {"chr1": 50, "chr2": 50}  # the second span is too short
    one, two = windows[windows["chrom"] == "chr1"], windows[windows["chrom"] == "chr2"]
    assert one["strand"].eq("+").all()
    assert two["strand"].eq("-").all()
    assert one["start"].between(10, 20).all()
    assert two["start"].isin([100, 101]).all()
    assert (windows["end"] - windows["start"] == 11).all()


def test_every_position_of_a_span_is_drawn():
    spans = peaks_of([("chr1", 10, 31, "+")] * 1000)
    windows = random_windows(spans, 11, np.random.default_rng(0))
    assert sorted(windows["start"].unique()) == list(range(10, 21))


def test_each_lost_window_is_counted_once(tmp_path):
    path = tmp_path / "genome.fa"
    bases = "ACGTTGCAAC" + "N" * 5 + "ACGTTGCAACGGGTA"
    path.write_text(f">chr1\n{bases}\n>chrUn_1\nACGTACGT\n")
    rows = [
        ("chr1", 0, 5, "+"),
        ("chr1", 0, 5, "+"),  # same window
        ("chr1", 0, 5, "-"),
        ("chr1", -1, 4, "+"),  # below 0
        ("chr1", 26, 31, "+"),  # past the end
        ("chr1", 25, 30, "+"),  # flush with it
        ("chr1", 8, 13, "+"),  # N
        ("chr1", 15, 20, "+"),  # ACGTT again
        ("chr2", 0, 5, "+"),  # not in the FASTA
        ("chrUn_1", 0, 5, "+"),  # not standard
        ("chr1", 1, 6, "+"),  # known
    ]
    with open_genome(path) as source:
        kept, dropped = with_sequence(peaks_of(rows), source, ["CGTTG"])
        assert dropped == {
            "nonstandard_chromosome": 1,
            "same_window": 1,
            "chromosome_absent": 1,
            "past_the_sequence": 2,
            "ambiguous_bases": 1,
            "repeated_sequence": 2,
        }
        assert kept["sequence"].tolist() == ["ACGTT", reverse_complement("ACGTT"), "GGGTA"]
        assert len(kept) + sum(dropped.values()) == len(rows)
        everything, dropped = with_sequence(peaks_of(rows), source, keep_nonstandard=True)
        assert dropped["nonstandard_chromosome"] == 0
        assert "ACGTA" in everything["sequence"].tolist()
        none, dropped = with_sequence(peaks_of(rows[8:9]), source)
        assert len(none) == 0
        assert dropped["chromosome_absent"] == 1


@pytest.mark.shared
@pytest.mark.parametrize("experiment", ["QKI_K562.ENCFF786UOW", "PUM2_K562.ENCFF880MWQ"])
def test_positions_are_those_of_the_published_windows(shared_dir, experiment):
    """Windows made elsewhere from the same peaks: each must be one of ours."""
    accession = experiment.split(".")[1]
    peaks = read_peaks(shared_dir / "data" / "eclip_peaks" / f"{accession}.bed.gz")
    ours = center_windows(peaks, 101)
    theirs = pd.read_csv(shared_dir / "data" / "eclip_windows" / f"{experiment}.tsv.gz", sep="\t")
    theirs = theirs[theirs["label"] == 1]
    keys = set(zip(ours["chrom"], ours["start"], ours["end"], ours["strand"]))
    assert len(theirs) > 1000
    assert all(key in keys for key in zip(theirs["chrom"], theirs["start"], theirs["end"], theirs["strand"]))
