"""Aligned means, enriched k-mers and motifs, on tracks whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import fisher_exact

from LAMAR.interpretation.motifs import (
    align_on_strongest,
    align_seqlets,
    enriched_kmers,
    find_seqlets,
    strongest_sites,
    window_means,
)


def planted(n: int = 30, motif: str = "TGTANATA", length: int = 40, seed: int = 0):
    """Random sequences with the motif at known places, and tracks of 1 on it and noise elsewhere."""
    rng = np.random.default_rng(seed)
    sequences, tracks, places = [], [], []
    for _ in range(n):
        letters = rng.choice(list("ACGT"), length)
        at = int(rng.integers(0, length - len(motif) + 1))
        letters[at : at + len(motif)] = [x if x != "N" else rng.choice(list("ACGT")) for x in motif]
        track = rng.normal(0, 0.02, length)
        track[at : at + len(motif)] = [1.0 if x != "N" else 0.0 for x in motif]
        sequences.append("".join(letters))
        tracks.append(track.astype(np.float32))
        places.append(at)
    return sequences, tracks, places


def test_window_means_take_nan_as_zero():
    np.testing.assert_allclose(window_means(np.array([1, np.nan, 2, 3]), 2), [0.5, 1.0, 2.5])
    assert len(window_means(np.ones(3), 4)) == 0


def test_strongest_site_and_mean_around_it():
    tracks = [np.array([0, 0, 4, 2, 0.0]), np.array([6, 2, 0, 0, 0.0]), np.array([1.0])]
    assert strongest_sites(tracks, 2).tolist() == [2, 0, -1]
    table = align_on_strongest({"window": tracks}, width=2, flank=2)
    rows = table.set_index("offset")
    # Aligned: [0, 0, 4, 2, 0] and [-, -, 6, 2, 0].
    assert rows["mean"].to_dict() == {-2: 0.0, -1: 0.0, 0: 5.0, 1: 2.0, 2: 0.0}
    assert rows["n"].to_dict() == {-2: 1, -1: 1, 0: 2, 1: 2, 2: 2}
    assert rows["sd"].to_dict() == {-2: 0.0, -1: 0.0, 0: 1.0, 1: 0.0, 2: 0.0}


def test_all_methods_are_aligned_on_the_sites_of_one():
    one, other = [np.array([0, 5, 0, 0.0])], [np.array([0, 0, 1, 2.0])]
    table = align_on_strongest({"mutagenesis": one, "gradient": other}, width=1, flank=2, by="gradient")
    at_zero = table[table["offset"] == 0].set_index("method")["mean"]
    assert at_zero.to_dict() == {"mutagenesis": 0.0, "gradient": 2.0}


def test_enriched_kmers_by_hand():
    # Windows of 2: AC CG GA (record 1) and AC CA (record 2), means 3, 2, 1 and 4, 0.
    sequences = ["ACGA", "ACA"]
    tracks = [np.array([4, 2, 2, 0.0]), np.array([6, 2, -2.0])]
    table = enriched_kmers(sequences, tracks, k=2, quantile=0.7)  # the threshold lies between 2 and 3
    assert table["kmer"].tolist() == ["AC"]
    row = table.iloc[0]
    assert (row["n_high"], row["n_background"]) == (2, 0)
    assert row["p_value"] == pytest.approx(fisher_exact([[2, 0], [0, 3]], alternative="greater").pvalue)
    assert row["p_value"] == pytest.approx(0.1)  # one of the ten ways to choose two of five
    assert row["log2_enrichment"] == pytest.approx(np.log2((2.5 / 3) / (0.5 / 4)))
    assert row["q_value"] == pytest.approx(1.0)


def test_windows_with_n_and_negative_windows_are_not_counted():
    table = enriched_kmers(["ANCAT"], [np.array([5, 5, -1, -1, -1.0])], k=2, quantile=0.0)
    assert not len(table)
    assert not len(enriched_kmers(["A"], [np.ones(1)], k=2))


def test_planted_motif_is_found():
    sequences, tracks, places = planted()
    kmers = enriched_kmers(sequences, tracks, k=4)
    assert {"TGTA"} <= set(kmers["kmer"].head(3))
    assert kmers["q_value"].iat[0] < 1e-6
    seqlets = find_seqlets(tracks, width=8, quantile=0.9, most=1)
    assert [s.record for s in seqlets] == list(range(len(places)))
    assert all(abs(s.start - place) <= 1 for s, place in zip(seqlets, places))
    motif = align_seqlets(sequences, seqlets, kmers["kmer"].iat[0], width=8)
    assert motif.consensus == "TGTANATA"
    assert motif.instances == list(enumerate(places))
    assert motif.counts.sum(1).max() == len(motif.instances)


def test_seqlets_do_not_overlap_and_are_few():
    track = np.zeros(40)
    track[[5, 6, 7, 20, 21, 22]] = 2.0, 2.0, 2.0, 1.0, 1.0, 1.0
    found = find_seqlets([track], width=3, quantile=0.5, most=2)
    assert [(s.start, s.end, s.score) for s in found] == [(5, 8, 2.0), (20, 23, 1.0)]
    assert not find_seqlets([np.zeros(20), -np.ones(20)], width=3)


def test_information_of_a_motif():
    # Seed and sequences agree: position 1 is always A (2 bits), position 2 A or C at equal shares (1 bit).
    sequences = ["AAGG", "ACGG"]
    seqlets = find_seqlets([np.array([1, 1, 0, 0.0])] * 2, width=2, quantile=0.5, most=1)
    motif = align_seqlets(sequences, seqlets, "A", width=2)
    starts = [start for _, start in motif.instances]
    assert starts == [0, 0]
    np.testing.assert_allclose(motif.information, [2.0, 1.0])
    assert motif.frequencies.tolist() == [[1, 0, 0, 0], [0.5, 0.5, 0, 0]]
    with pytest.raises(ValueError, match="seed: found 3 nt, wanted at most the width, 2"):
        align_seqlets(sequences, seqlets, "AAA", width=2)
