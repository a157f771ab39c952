"""Effects of variants and their ranks, worked out by hand for small models."""

from __future__ import annotations

import numpy as np
import pytest
from toy_classifiers import Linear, Sum

from LAMAR.genomics.genome import open_genome
from LAMAR.interpretation.mutagenesis import mutagenesis
from LAMAR.interpretation.variant_effects import COLUMNS, score_variants
from LAMAR.interpretation.variant_windows import place_variants
from LAMAR.interpretation.variants import read_variants

GENOME = "ACGTTGCAAGCTTACGGATCCATG"
HEADER = "#CHROM\tPOS\tID\tREF\tALT\n"


@pytest.fixture
def genome(tmp_path):
    (tmp_path / "genome.fa").write_text(f">1\n{GENOME.lower()}\n>chr2\nACGT\n")
    with open_genome(tmp_path / "genome.fa") as source:
        yield source


def placed_of(tmp_path, genome, window: int, *lines: str, strand: str = "+"):
    (tmp_path / "v.vcf").write_text(HEADER + "".join(line.replace(" ", "\t") + "\n" for line in lines))
    placed, left_out = place_variants(read_variants(tmp_path / "v.vcf", strand)[0], genome, window)
    assert not left_out
    return placed


def test_effects_of_a_linear_model_and_their_ranks(tmp_path, genome):
    model = Linear()
    placed = placed_of(tmp_path, genome, 9, "1 11 . C A,T", "1 3 . G C", "1 3 . GT CT", strand="-")
    rows = score_variants(model, placed)
    weight = (model.weight[..., 1] - model.weight[..., 0]).detach().numpy()
    token = {"A": 5, "T": 6, "C": 7, "G": 8}
    for row, window in zip(rows, placed):
        assert tuple(row) == COLUMNS
        at = window.position + 1
        wanted = weight[at, token[window.letter]] - weight[at, token[window.sequence[window.position]]]
        assert row["effect"] == pytest.approx(wanted, abs=1e-5)
        assert row["alternative_score"] - row["reference_score"] == pytest.approx(row["effect"], abs=1e-5)
        (whole,) = mutagenesis(model, [window.sequence])
        stronger = (np.abs(whole.effects()) > abs(row["effect"])).sum()
        assert row["rank"] == stronger + 1
        assert row["n_substitutions"] == 27
    # A padded substitution is scored as the substitution is.
    assert [rows[3][name] for name in COLUMNS[6:]] == [rows[2][name] for name in COLUMNS[6:]]
    assert rows[3]["ref"] == "GT"
    # Without ranks, nothing else changes.
    quick = score_variants(model, placed, ranks=False)
    for row, other in zip(rows, quick):
        assert other["rank"] is None
        assert other["effect"] == pytest.approx(row["effect"], abs=1e-6)
        assert other["target"] == row["target"]


def test_an_effect_is_that_of_the_two_windows(tmp_path, genome):
    model = Linear(seed=4)
    (window,) = placed_of(tmp_path, genome, 11, "1 9 . A G")
    (row,) = score_variants(model, [window], scale="probability")
    changed = window.sequence[: window.position] + "G" + window.sequence[window.position + 1 :]
    one, two = mutagenesis(model, [window.sequence, changed])
    probability = [1 / (1 + np.exp(r.reference[0] - r.reference[1])) for r in (one, two)]
    assert row["reference_score"] == pytest.approx(probability[0], abs=1e-6)
    assert row["effect"] == pytest.approx(probability[1] - probability[0], abs=1e-6)


@pytest.mark.parametrize("ranks", [True, False])
def test_insertions_and_deletions_beside_substitutions(tmp_path, genome, ranks):
    """The model counts A: each effect is the number of A in the window with the alternative, minus before."""
    model = Sum(lambda n: 0.5 * n)
    lines = ("1 11 . C CAA", "1 11 . C A", "1 8 . AAG A", "1 9 . AGC TTT", "1 1 . A AT")
    placed = placed_of(tmp_path, genome, 9, *lines, strand="+")
    rows = score_variants(model, placed, ranks=ranks)
    wanted = [0.5 * (window.alternative.count("A") - window.sequence.count("A")) for window in placed]
    assert [row["effect"] for row in rows] == pytest.approx(wanted, abs=1e-6)
    # GCAAGCTTA becomes GCAAGCAAT; AAG is cut to A, and two bases move in from the right.
    assert wanted[0] == 0.5 * (4 - 3)
    assert [row["ref"] for row in rows] == ["C", "C", "AAG", "AGC", "A"]
    assert [row["window_end"] - row["window_start"] for row in rows] == [9] * 5
    for row, window in zip(rows, placed):
        (whole,) = mutagenesis(model, [window.sequence])
        rank = 1 + int((np.abs(whole.effects()) > abs(row["effect"])).sum())
        assert row["rank"] == (rank if ranks else None)
