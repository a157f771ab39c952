"""Composition: frequencies by hand, baselines that find what was planted, the report on two sides."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from LAMAR.data import composition
from LAMAR.data.composition import composition_scores, describe_likeness, gc_content, kmer_frequencies, likeness, words
from LAMAR.data.shuffling import dinucleotide_shuffle
from LAMAR.errors import InputError
from LAMAR.statistics.metrics import auroc


def random_sequences(n: int, gc: float, seed: int, length: int = 80) -> list[str]:
    rng = np.random.default_rng(seed)
    letters = rng.choice(list("ACGT"), size=(n, length), p=[(1 - gc) / 2, gc / 2, gc / 2, (1 - gc) / 2])
    return ["".join(row) for row in letters]


# Frequencies


def test_gc_content_by_hand():
    np.testing.assert_array_equal(gc_content(["ACGT", "GGN", "NA", "NNN", "ATTTTCAT"]), [0.5, 1, 0, np.nan, 0.125])
    assert gc_content([]).shape == (0,)


def test_dinucleotides_by_hand():
    assert words(2)[:5] == ["AA", "AC", "AG", "AT", "CA"]
    found = kmer_frequencies(["AAAC", "ANCG", "A", "NAN"])
    assert found.shape == (4, 16)
    assert found.dtype == np.float64
    # AA AA AC; the words with N are left out, so that CG is all there is.
    assert dict(zip(words(2), found[0])) | {"AA": 2 / 3, "AC": 1 / 3} == dict(zip(words(2), found[0]))
    assert dict(zip(words(2), found[1]))["CG"] == 1
    assert np.isnan(found[2:]).all()
    assert kmer_frequencies([], 3).shape == (0, 64)
    with pytest.raises(ValueError, match="`k`: found 0, wanted 1 or more"):
        kmer_frequencies(["ACGT"], 0)


@given(st.lists(st.text("ACGTN", max_size=12), max_size=8), st.integers(1, 4), st.integers(1, 40))
@example(["ACGT", "", "ACGTACGTACGT", ""], 2, 1)
def test_frequencies_equal_counting_word_by_word(sequences, k, block):
    # Blocks bound memory only: where they end must not matter.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composition, "_BLOCK", block)
        found = kmer_frequencies(sequences, k)
    assert found.shape == (len(sequences), 4**k)
    for row, sequence in zip(found, sequences):
        seen = [sequence[i : i + k] for i in range(len(sequence) - k + 1)]
        counts = Counter(word for word in seen if "N" not in word)
        total = sum(counts.values())
        np.testing.assert_array_equal(row, [counts[word] / total if total else np.nan for word in words(k)])


# Scores


def test_gc_scores_follow_gc_content():
    train = random_sequences(200, 0.4, seed=0) + random_sequences(200, 0.6, seed=1)
    scores = composition_scores(train, np.repeat([0, 1], 200), ["A" * 40 + "C" * 40, "AAAC" * 20, "GGCA" * 20], "gc")
    assert scores[1] < scores[0] < scores[2]
    assert 0.3 < scores[0] < 0.7


def test_gc_scores_see_a_difference_in_spread():
    # Both classes have a mean of 0.5, one of them in two halves.
    wide = random_sequences(150, 0.3, seed=0) + random_sequences(150, 0.7, seed=1)
    sequences, labels = wide + random_sequences(300, 0.5, seed=2), np.repeat([1, 0], 300)
    assert auroc(labels, composition_scores(sequences, labels, sequences, "gc")) > 0.95


def test_words_are_seen_by_the_features_long_enough_for_them():
    background = random_sequences(600, 0.5, seed=0)
    cg = [sequence.replace("GC", "CG") for sequence in background[:300]]
    labels = np.repeat([1, 0], 300)
    sequences = cg + background[300:]
    found = {
        name: auroc(labels, composition_scores(sequences, labels, sequences, name)) for name in ("gc", "dinucleotide")
    }
    assert found["gc"] < 0.6
    assert found["dinucleotide"] > 0.9
    # A shuffle keeps two letters of ACTAAC together, not four.
    planted = [f"{sequence[:40]}ACTAACACTAAC{sequence[40:]}" for sequence in background]
    sequences = planted + dinucleotide_shuffle(planted)
    train, test = np.arange(1200) % 600 < 400, np.arange(1200) % 600 >= 400
    labels = np.repeat([1, 0], 600)
    train_sequences, test_sequences = ([s for s, use in zip(sequences, part) if use] for part in (train, test))
    for name, low, high in (("dinucleotide", 0.49, 0.51), ("4mer", 0.8, 1)):
        assert (
            low < auroc(labels[test], composition_scores(train_sequences, labels[train], test_sequences, name)) < high
        )


def test_sequences_without_known_words_score_as_the_mean():
    train = [*random_sequences(50, 0.4, seed=0), *random_sequences(50, 0.6, seed=1), "NNNN", "NNNN"]
    labels = [*np.repeat([0, 1], 50), 0, 1]
    for features in composition.FEATURES:
        scores = composition_scores(train, labels, ["NNN", "ACGT" * 10], features)
        assert np.isfinite(scores).all()
    assert composition_scores(train, labels, ["NNN"], "dinucleotide")[0] == pytest.approx(0.5, abs=0.05)


def test_malformed_labels_and_features_are_refused():
    with pytest.raises(ValueError, match="`features`: found 'cpg', wanted gc, dinucleotide, 4mer"):
        composition_scores(["ACGT"] * 2, [0, 1], ["ACGT"], "cpg")
    for labels in ([1, 1], [0, 2], [0.5, 1]):
        with pytest.raises(ValueError, match=r"`train_labels`: found classes .*, wanted 0 and 1"):
            composition_scores(["ACGT"] * 2, labels, ["ACGT"], "gc")


# Likeness


def test_likeness_by_hand():
    report = likeness(["GGCC", "GGCCAT"], ["AATT", "AATTAATT", "GCAT"], n_boot=10)
    assert report["positives"]["n"] == 2
    assert report["negatives"]["length"] == {"min": 4, "median": 4.0, "max": 8}
    assert report["positives"]["gc"]["mean"] == pytest.approx((1 + 2 / 3) / 2)
    assert report["negatives"]["gc"]["quantiles"]["0.5"] == 0
    # Every positive lies above every negative in GC content.
    assert report["gc_ks"] == 1
    assert report["positives"]["dinucleotides"]["GG"] == pytest.approx((1 / 3 + 1 / 5) / 2)
    # CC: 1/3 and 1/5 against none; GG the same; GC: 1/3 and 1/5 against 0, 0 and 1/3; AA: none against 1/3, 2/7 and 0.
    assert report["largest_dinucleotide_difference"]["name"] == "CC"
    assert report["largest_dinucleotide_difference"]["difference"] == pytest.approx((1 / 3 + 1 / 5) / 2)


def test_likeness_of_planted_differences():
    positives, negatives = random_sequences(300, 0.6, seed=0), random_sequences(400, 0.45, seed=1)
    report = likeness(positives, negatives, n_boot=200)
    for judged in report["auroc"].values():
        assert 0.95 < judged["low"] <= judged["value"] <= judged["high"] <= 1
        assert (judged["method"], judged["n"]) == ("5-fold cross-validation", 700)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report == likeness(positives, negatives, n_boot=200)


def test_a_split_is_fitted_on_train_and_scored_on_test():
    # In train, the positives are rich in GC; in test it is the other way round.
    rich, poor = random_sequences(60, 0.6, seed=0), random_sequences(60, 0.4, seed=1)
    split = [*range(40), *range(60, 100)], [*range(40, 60), *range(100, 120)]
    report = likeness(rich[:40] + poor[40:], poor[:40] + rich[40:], split=split, n_boot=10)
    for judged in report["auroc"].values():
        assert judged["value"] < 0.1
        assert (judged["method"], judged["n"]) == ("fitted on train, scored on test", 40)
    with pytest.raises(InputError, match="`split`: found 20 records of one class in the test part, wanted both"):
        likeness(rich, poor, split=(range(40, 120), range(20)))


def test_shuffles_have_the_composition_of_their_sources():
    positives = random_sequences(200, 0.4, seed=0)
    report = likeness(positives, dinucleotide_shuffle(positives), n_boot=10)
    assert report["gc_ks"] == 0
    assert report["largest_dinucleotide_difference"]["difference"] == 0
    # Were a source and its shuffle in different folds, each would teach the opposite of the other: 0.4.
    assert report["auroc"]["dinucleotide"]["value"] == pytest.approx(0.5, abs=0.01)


def test_what_cannot_be_judged_is_none():
    for positives, negatives in ((["ACGT"], ["GGTT", "ACCA"]), (["ACGT"] * 9, ["TTGA"] * 9), (["NNN"], ["NN"])):
        report = likeness(positives, negatives)
        assert report["auroc"]["gc"]["value"] is None
        assert json.dumps(report, allow_nan=False)
        assert describe_likeness(report).endswith("Too few records to say what composition alone achieves.")
    assert report["gc_ks"] is None
    with pytest.raises(InputError, match="`negatives`: found no sequence"):
        likeness(["ACGT"], [])


def test_the_table_is_aligned_and_says_how_to_read_it():
    sides = random_sequences(100, 0.6, seed=0), random_sequences(1000, 0.45, seed=1)
    regions = ["CDS"] * 75 + ["intron"] * 25, ["intron"] * 1000
    report = likeness(*sides, regions=regions, n_boot=20)
    assert report["positives"]["regions"] == {"CDS": 0.75, "intron": 0.25}
    *table, reading = describe_likeness(report).splitlines()
    assert table[1].split() == ["sequences", "100", "1,000"]
    assert next(line for line in table if line.startswith("in CDS")).split() == ["in", "CDS", "75.0%", "0.0%"]
    sided = [line for line in table if not line.startswith(("GC KS", "AUROC"))]
    assert len({len(line) for line in sided}) == 1
    best = max(judged["value"] for judged in report["auroc"].values())
    assert (
        reading
        == f"Composition alone reaches an AUROC of {best:.3f}: a score below it says nothing beyond composition."
    )
    assert math.isclose(best, 1, abs_tol=0.05)
    alike = describe_likeness(likeness(sides[0], random_sequences(100, 0.6, seed=5), n_boot=10))
    assert "hardly tells the two sides apart" in alike.splitlines()[-1]
