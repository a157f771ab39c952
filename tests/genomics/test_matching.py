"""Matched negatives: none twice, nearer to the positives than random ones, as many as there are."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from LAMAR.data.composition import gc_content, kmer_frequencies, likeness
from LAMAR.genomics import matching
from LAMAR.genomics.matching import match, match_categories, match_dinucleotide, match_gc


def random_sequences(n: int, gc: float, seed: int, length: int = 60) -> list[str]:
    rng = np.random.default_rng(seed)
    letters = rng.choice(list("ACGT"), size=(n, length), p=[(1 - gc) / 2, gc / 2, gc / 2, (1 - gc) / 2])
    return ["".join(row) for row in letters]


@given(
    positives=st.lists(st.integers(0, 20), max_size=20),
    candidates=st.lists(st.integers(0, 20), max_size=60),
    n=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_no_candidate_is_taken_twice_and_none_is_missing(positives, candidates, n, seed):
    chosen = match(np.array(positives, dtype=float), np.array(candidates, dtype=float), n, seed)
    assert chosen.dtype == np.int64
    assert (np.diff(chosen) > 0).all()
    assert len(chosen) == min(n * len(positives), len(candidates))
    assert set(chosen.tolist()) <= set(range(len(candidates)))
    np.testing.assert_array_equal(chosen, match(np.array(positives), np.array(candidates), n, seed))


def test_candidates_equal_to_the_positives_are_found():
    positives = np.random.default_rng(0).normal(size=(300, 5))
    others = np.random.default_rng(1).normal(4, 1, size=(2000, 5))
    np.testing.assert_array_equal(match(positives, np.concatenate([others, positives])), np.arange(2000, 2300))


def test_equal_candidates_are_drawn_by_the_seed():
    positives, candidates = np.full(50, 0.5), np.repeat([0.4, 0.5, 0.6], 1000)
    one, two = match(positives, candidates, 2, seed=1), match(positives, candidates, 2, seed=2)
    assert (candidates[one] == 0.5).all()
    assert (candidates[two] == 0.5).all()
    assert not np.array_equal(one, two)
    assert abs(one.mean() - 1500) < 150  # from all over the thousand: standard error 29


def test_shifts_level_the_means_where_candidates_are_sparse_on_one_side(monkeypatch):
    rng = np.random.default_rng(0)
    positives, candidates = rng.normal(0.8, 1, size=(400, 4)), rng.normal(0, 1, size=(8000, 4))

    def largest_gap() -> float:
        chosen = candidates[match(positives, candidates)]
        assert np.abs(chosen.std(axis=0) - positives.std(axis=0)).max() < 0.1
        return np.abs(chosen.mean(axis=0) - positives.mean(axis=0)).max()

    gap = largest_gap()
    monkeypatch.setattr(matching, "MAX_SHIFTS", 0)
    assert gap < 0.05 < 2 * gap < largest_gap()


@pytest.mark.parametrize("n", [1, 3])
def test_gc_content_is_matched(n):
    positives, candidates = random_sequences(300, 0.45, seed=1), random_sequences(9000, 0.5, seed=2)
    chosen = match_gc(positives, candidates, n, seed=3)
    assert len(chosen) == 300 * n
    gc = gc_content(candidates)
    before, after = (ks_2samp(gc_content(positives), side).statistic for side in (gc, gc[chosen]))
    assert before > 0.25
    assert after < 0.05


def test_dinucleotides_are_matched():
    # CG is four times as frequent in a tenth of the candidates; GC content hardly tells.
    rich = [sequence.replace("GC", "CG") for sequence in random_sequences(3500, 0.5, seed=1)]
    candidates = random_sequences(27000, 0.5, seed=2) + rich[500:]
    positives = rich[:500]
    chosen = match_dinucleotide(positives, candidates, seed=0)
    by_gc = match_gc(positives, candidates, seed=0)
    wanted, taken, taken_by_gc = (
        kmer_frequencies(side)[:, 6].mean()  # CG
        for side in (positives, [candidates[i] for i in chosen], [candidates[i] for i in by_gc])
    )
    assert abs(taken - wanted) < 0.005
    assert wanted - taken_by_gc > 0.02


def test_running_out_returns_all_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        chosen = match(np.arange(10.0), np.arange(15.0), n=2)
    assert chosen.tolist() == list(range(15))
    assert caplog.messages == ["candidates run out: matched 15 where 20 were wanted"]


def test_candidates_unlike_the_positives_are_reported(caplog):
    rng = np.random.default_rng(0)
    with caplog.at_level(logging.WARNING):
        match(rng.normal(0, 1, 100), rng.normal(0, 1, 5000))
        assert not caplog.messages
        match(rng.normal(0, 1, 100), rng.normal(20, 1, 5000))
    (message,) = caplog.messages
    assert message.startswith("matched negatives still differ from the positives, by")


def test_unknown_values_are_not_taken():
    candidates = np.array([np.nan, 0.5, np.nan, 0.6, 0.1, np.inf])
    assert match(np.array([0.55, np.nan]), candidates).tolist() in ([1, 3], [3, 4], [1, 4])
    assert match_gc(["ACGT"], ["NNNN", "AAAA", "GGCA", "NNN"]).tolist() in ([1], [2])
    assert match(np.zeros((2, 3)), np.zeros((0, 3))).tolist() == []


def test_malformed_features_are_refused():
    with pytest.raises(ValueError, match="`candidates`: found 3 features, wanted 2 as in positives"):
        match(np.zeros((2, 2)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="`positives`: found 3 dimensions, wanted 1 or 2"):
        match(np.zeros((2, 2, 2)), np.zeros(5))
    with pytest.raises(ValueError, match="`n`: found 0, wanted 1 or more"):
        match(np.zeros(2), np.zeros(5), n=0)


def test_categories_keep_their_counts(caplog):
    candidates = np.array(["CDS", "intron", "3'UTR", "intron"] * 25)
    positives = ["CDS"] * 5 + ["intron"] * 20
    with caplog.at_level(logging.WARNING):
        chosen = match_categories(positives, candidates, 2, seed=0)
        assert not caplog.messages
    assert (np.diff(chosen) > 0).all()
    assert {str(c): int(n) for c, n in zip(*np.unique(candidates[chosen], return_counts=True))} == {
        "CDS": 10,
        "intron": 40,
    }
    np.testing.assert_array_equal(chosen, match_categories(positives, candidates, 2, seed=0))
    assert not np.array_equal(chosen, match_categories(positives, candidates, 2, seed=1))
    assert match_categories([], candidates).tolist() == []


def test_categories_that_run_out_are_counted(caplog):
    with caplog.at_level(logging.WARNING):
        chosen = match_categories(["a", "a", "b", "c"], ["b", "a", "b", "b"])
    assert chosen[np.isin(chosen, [1])].tolist() == [1]
    assert len(chosen) == 2
    assert caplog.messages == ["candidates run out: matched 2 where 4 were wanted (1 of 2 a, 0 of 1 c)"]


@pytest.mark.shared
@pytest.mark.parametrize("name", ["GTF2F1_K562", "QKI_K562"])
def test_real_negatives_become_alike_in_composition(shared_dir, name):
    tables = {path.name: pd.read_csv(path, sep="\t") for path in (shared_dir / "data" / "eclip_windows").glob("*.gz")}
    rbp = name.split("_")[0]
    positives = next(t[t.label == 1].sequence.tolist() for file, t in tables.items() if file.startswith(name))
    others = pd.concat([t for file, t in sorted(tables.items()) if not file.startswith(rbp)])
    candidates = [s for s in others.sequence.drop_duplicates() if s not in set(positives)]
    drawn = np.random.default_rng(0).choice(len(candidates), len(positives), replace=False)
    chosen = match_dinucleotide(positives, candidates)
    before, after = (
        likeness(positives, [candidates[i] for i in rows], n_boot=10)["auroc"]["dinucleotide"]["value"]
        for rows in (drawn, chosen)
    )
    assert before > 0.83
    assert after < 0.58
