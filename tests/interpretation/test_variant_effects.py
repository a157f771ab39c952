"""Variants: reading, placing on either strand, effects and ranks that can be worked out by hand."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from toy_classifiers import Linear

from LAMAR.alphabet import reverse_complement
from LAMAR.errors import InputError
from LAMAR.genomics.genome import open_genome
from LAMAR.interpretation.mutagenesis import mutagenesis
from LAMAR.interpretation.variant_effects import COLUMNS, score_variants
from LAMAR.interpretation.variants import place_variants, read_variants

#         0         10        20
GENOME = "ACGTTGCAAGCTTACGGATCCATG"
VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


@pytest.fixture
def genome(tmp_path):
    (tmp_path / "genome.fa").write_text(f">1\n{GENOME.lower()}\n>chr2\nACGT\n")
    with open_genome(tmp_path / "genome.fa") as source:
        yield source


def variants_of(tmp_path, text: str, name: str = "v.vcf", **options):
    (tmp_path / name).write_text(text)
    return read_variants(tmp_path / name, **options)[0]


def test_vcf_alternatives_and_what_is_no_substitution(tmp_path, caplog):
    lines = "1\t4\trs1\tT\tA,C\t.\t.\t.\n1\t5\t.\tT\tTA\t.\t.\t.\n1\t6\t.\tg\t<DEL>,*,a\t.\t.\t.\n"
    with caplog.at_level(logging.WARNING):
        found = variants_of(tmp_path, VCF + lines)
    assert [(v.id, v.pos, v.ref, v.alt, v.strand) for v in found] == [
        ("rs1", 4, "T", "A", "+"),
        ("rs1", 4, "T", "C", "+"),
        ("1:6G>A", 6, "G", "A", "+"),
    ]
    said = "no substitution of one nucleotide: line 4 (1:5)"
    assert caplog.messages == [f"{tmp_path / 'v.vcf'}: left out 3 alternatives that are {said} and 2 more"]
    caplog.clear()
    table = "chrom,pos,ref,alt,id\n1,4,T,A,rs1\n1,5,T,TA,rs2\n"
    (tmp_path / "v.csv").write_text(table)
    found, n_left_out = read_variants(tmp_path / "v.csv")
    assert ([v.id for v in found], n_left_out) == (["rs1"], 1)
    said = "no substitution of one nucleotide: row 3 (rs2)"
    assert caplog.messages == [f"{tmp_path / 'v.csv'}: left out 1 alternative that is {said}"]


def test_table_with_own_strands(tmp_path):
    text = "chrom,start,ref,alt,strand\nchr1,3,T,A,-\nchr1,3,T,C,.\n"
    found = variants_of(tmp_path, text, "v.csv", strand="both")
    assert [(v.pos, v.alt, v.strand) for v in found] == [(4, "A", "-"), (4, "C", "+"), (4, "C", "-")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (VCF + "1\t4\t.\tT\n", "line 3: found 4 columns, wanted CHROM POS ID REF ALT"),
        (VCF + "1\tfour\t.\tT\tA\n", "line 3: found position 'four', wanted a whole number"),
        (VCF + "1\t0\t.\tT\tA\n", "line 3: found position '0', wanted a whole number from 1"),
        (VCF + f"1\t{10**23}\t.\tT\tA\n", r"line 3: found position '1000.*', wanted .* below 10\*\*12"),
        (VCF + "1\t5_00\t.\tT\tA\n", "line 3: found position '5_00', wanted a whole number"),
        (VCF + "1\t²\t.\tT\tA\n", "line 3: found position '²', wanted a whole number"),
        ("chrom,start,ref,alt\n1,--5,T,A\n", "row 2: found position '--5', wanted a whole number from 0"),
        ("chrom,start,ref,alt\n1,²,T,A\n", "row 2: found position '²', wanted a whole number from 0"),
        (VCF + "1\t4\t.\tT\tTA\n", "found no substitution of one nucleotide"),
        ("chrom,pos,ref\n1,4,T\n", "found columns chrom, pos, ref, wanted chrom, pos"),
        ("chrom,pos,ref,alt,strand\n1,4,T,A,x\n", "row 2: found strand 'x'"),
        ("chrom,start,ref,alt\n1,-1,T,A\n", "row 2: found position '-1', wanted a whole number from 0"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        variants_of(tmp_path, text)


def test_windows_on_both_strands(tmp_path, genome):
    found = variants_of(tmp_path, VCF + "chr1\t11\t.\tC\tA\t.\t.\t.\n", strand="both")
    plus, minus = place_variants(found, genome, 7)
    # Position 10 from 0 in the middle of 7: 7 to 14.
    assert (plus.start, plus.end, plus.sequence, plus.position, plus.letter) == (7, 14, GENOME[7:14], 3, "A")
    assert (minus.sequence, minus.position, minus.letter) == (reverse_complement(GENOME[7:14]), 3, "T")
    assert minus.sequence[minus.position] == "G"


def test_windows_move_inwards_at_the_ends(tmp_path, genome):
    last = len(GENOME)
    found = variants_of(tmp_path, VCF + f"1\t1\t.\tA\tC\t.\t.\t.\n1\t{last}\t.\tG\tC\t.\t.\t.\n", strand="both")
    placed = place_variants(found, genome, 8)
    assert [(w.start, w.position) for w in placed] == [(0, 0), (0, 7), (last - 8, 7), (last - 8, 0)]
    for window in placed:
        own = "ACGT"["TGCA".index(window.variant.ref)] if window.variant.strand == "-" else window.variant.ref
        assert window.sequence[window.position] == own


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\t11\trs7\tG\tA", "line 3: 1:11: found reference G, but .*genome.fa has C there"),
        ("1\t99\t.\tG\tA", "line 3: 1:99: found no such place in"),
        ("7\t3\t.\tG\tA", "line 3: 7:3: found no such place in"),
        ("chr2\t2\t.\tC\tA", "line 3: chr2:2: its contig has 4 nt in .*, fewer than `variant_window` 7"),
    ],
)
def test_what_does_not_fit_the_genome_names_the_record(tmp_path, genome, line, message):
    with pytest.raises(InputError, match=message):
        place_variants(variants_of(tmp_path, f"{VCF}{line}\t.\t.\t.\n"), genome, 7)


def test_effects_of_a_linear_model_and_their_ranks(tmp_path, genome):
    model = Linear()
    lines = "1\t11\t.\tC\tA,T\t.\t.\t.\n1\t3\t.\tG\tC\t.\t.\t.\n"
    placed = place_variants(variants_of(tmp_path, VCF + lines, strand="-"), genome, 9)
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
    # Without ranks, nothing else changes.
    quick = score_variants(model, placed, ranks=False)
    for row, other in zip(rows, quick):
        assert other["rank"] is None
        assert other["effect"] == pytest.approx(row["effect"], abs=1e-6)
        assert other["target"] == row["target"]


def test_an_effect_is_that_of_the_two_windows(tmp_path, genome):
    model = Linear(seed=4)
    (window,) = place_variants(variants_of(tmp_path, VCF + "1\t9\t.\tA\tG\t.\t.\t.\n"), genome, 11)
    (row,) = score_variants(model, [window], scale="probability")
    changed = window.sequence[: window.position] + "G" + window.sequence[window.position + 1 :]
    one, two = mutagenesis(model, [window.sequence, changed])
    probability = [1 / (1 + np.exp(r.reference[0] - r.reference[1])) for r in (one, two)]
    assert row["reference_score"] == pytest.approx(probability[0], abs=1e-6)
    assert row["effect"] == pytest.approx(probability[1] - probability[0], abs=1e-6)
