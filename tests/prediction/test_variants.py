"""Variants for every track of a model that counts letters: alleles, strands of genes, resumed runs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from counting_model import Counts, calibrated

from LAMAR.alphabet import reverse_complement
from LAMAR.errors import InputError
from LAMAR.genomics.annotation import read_gtf
from LAMAR.interpretation.run_record import RunRecord
from LAMAR.interpretation.variant_windows import load_variants
from LAMAR.prediction import variant_run
from LAMAR.prediction.predictor import Predictor
from LAMAR.prediction.variants import GeneStrands, score_windows

TILE = 8
LETTERS = "".join(np.random.default_rng(3).choice(list("ACGT"), 80))
VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n"


@pytest.fixture
def genome(tmp_path) -> Path:
    path = tmp_path / "g.fa"
    path.write_text(f">chr1\n{LETTERS.lower()}\n")
    return path


@pytest.fixture
def gtf(tmp_path) -> Path:
    """One on +, at 0-30; Two on -, at 20-60; nothing behind."""
    path = tmp_path / "g.gtf"
    genes = (("One", "+", 1, 30), ("Two", "-", 21, 60))
    lines = [
        f'1\ts\texon\t{a}\t{b}\t.\t{strand}\t.\tgene_id "{name}id"; transcript_id "{name}t"; gene_name "{name}";'
        for name, strand, a, b in genes
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def other(letter: str) -> str:
    return {"A": "C", "C": "A", "G": "T", "T": "G"}[letter]


def substitutions(folder: Path, *starts: int) -> Path:
    """VCF of substitutions at positions from 0."""
    lines = [f"1\t{i + 1}\ts{i}\t{LETTERS[i]}\t{other(LETTERS[i])}\n" for i in starts]
    path = folder / "v.vcf"
    path.write_text(VCF + "".join(lines))
    return path


def run(folder: Path, vcf: Path, genome: Path, predictor=None, strand="+", choose=None):
    placed, left_out = load_variants(vcf, genome, strand, TILE, choose)
    genes_of = None if choose is None else choose.genes_of
    variant_run.predict_variants(
        placed, left_out, predictor or Predictor(calibrated()), folder, RunRecord(), genes_of=genes_of
    )
    return table(folder / "variants.csv")


def table(path: Path) -> list[dict]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("strand", ["+", "-"])
def test_both_alleles_have_the_counts_of_their_windows(tmp_path, genome, strand):
    vcf = tmp_path / "v.vcf"
    lines = [
        f"chr1\t41\tsnv\t{LETTERS[40].lower()}\t{other(LETTERS[40]).lower()},<DEL>,*",
        f"1\t21\tins\t{LETTERS[20]}\t{LETTERS[20]}TTT",
        f"1\t51\tdel\t{LETTERS[50:53]}\t{LETTERS[50]}",
    ]
    vcf.write_text(VCF + "\n".join(lines) + "\n")
    rows = run(tmp_path / "out", vcf, genome, strand=strand)
    wanted = {}  # windows begin half a tile before the middle of what the variant replaces
    wanted["snv"] = LETTERS[36:44], LETTERS[36:40] + other(LETTERS[40]) + LETTERS[41:44]
    wanted["ins"] = LETTERS[16:24], (LETTERS[16:21] + "TTT" + LETTERS[21:])[:TILE]
    wanted["del"] = LETTERS[47:55], LETTERS[47:51] + LETTERS[53:57]
    assert [(row["id"], row["track"]) for row in rows] == [(name, t) for name in wanted for t in "AT"]
    calibration = calibrated().calibration
    for row in rows:
        windows = wanted[row["id"]] if strand == "+" else map(reverse_complement, wanted[row["id"]])
        counts = [window.count(row["track"]) for window in windows]
        assert [float(row[f"{allele}_logit"]) for allele in ("reference", "alternative")] == counts
        assert float(row["change"]) == counts[1] - counts[0]
        assert row["strand"] == strand
        track = "AT".index(row["track"])
        p = calibration.p_values_of(track, np.array(counts))
        assert [float(row[f"{allele}_p"]) for allele in ("reference", "alternative")] == pytest.approx(p, rel=1e-5)
        probability = calibration.probabilities_at(np.array([track]), np.array(counts[1:]))[0]
        assert float(row["alternative_probability"]) == pytest.approx(probability, rel=1e-5)
    left_out = table(tmp_path / "out" / "left_out.csv")
    assert [(one["place"], one["alt"], one["reason"]) for one in left_out] == [
        ("line 3", alt, "no_nucleotides") for alt in ("<DEL>", "*")
    ]


def test_strands_are_those_of_the_genes(tmp_path, genome, gtf):
    vcf = substitutions(tmp_path, 10, 25, 45, 70)
    choose = GeneStrands(read_gtf(gtf))
    rows = run(tmp_path / "genes", vcf, genome, strand="both", choose=choose)
    found = [(row["id"], row["strand"], row["genes"]) for row in rows[::2]]
    assert found == [("s10", "+", "One"), ("s25", "+", "One"), ("s25", "-", "Two"), ("s45", "-", "Two")]
    [left_out] = table(tmp_path / "genes" / "left_out.csv")
    assert (left_out["reason"], left_out["id"]) == ("no_gene", "s70")
    assert left_out["found"] == "1:71: found no gene there, wanted one, or `strand`"
    for strand, more in (("-", "-"), ("both", "+-")):
        choose = GeneStrands(read_gtf(gtf), strand)
        rows = run(tmp_path / f"fallback{strand}", vcf, genome, strand="both", choose=choose)
        assert [(row["id"], row["strand"], row["genes"]) for row in rows[8::2]] == [("s70", one, "") for one in more]


def test_a_strand_of_the_table_counts_more_than_genes(tmp_path, genome, gtf):
    path = tmp_path / "v.csv"
    path.write_text(f"chrom,start,ref,alt,strand\n1,10,{LETTERS[10]},{other(LETTERS[10])},-\n")
    [row, _] = run(tmp_path / "out", path, genome, strand="both", choose=GeneStrands(read_gtf(gtf)))
    assert (row["strand"], row["genes"]) == ("-", "")


def test_equal_windows_are_predicted_once_and_units_change_nothing(tmp_path, genome, monkeypatch):
    vcf = substitutions(tmp_path, 12, 12, 30, 31, 50)
    whole = run(tmp_path / "whole", vcf, genome)
    assert whole[:2] == whole[2:4]
    monkeypatch.setattr(variant_run, "VARIANTS_PER_UNIT", 2)
    run(tmp_path / "parts", vcf, genome)
    # Of an interrupted run what is finished stays, and what is damaged is made again.
    scores = tmp_path / "parts" / "scores"
    (scores / "variants_00000002.npy").write_bytes(b"damaged")
    (tmp_path / "parts" / "units" / "variants 4.json").unlink()
    calls = []
    monkeypatch.setattr(variant_run, "score_windows", lambda *a: calls.append(len(a[1])) or score_windows(*a))
    run(tmp_path / "parts", vcf, genome)
    assert calls == [2, 1]
    assert (tmp_path / "parts" / "variants.csv").read_bytes() == (tmp_path / "whole" / "variants.csv").read_bytes()


def test_without_calibration_there_are_logits_only(tmp_path, genome):
    rows = run(tmp_path / "out", substitutions(tmp_path, 12), genome, Predictor(Counts(), top=3, rbps=["T"]))
    assert [row["track"] for row in rows] == ["T"]
    assert not [name for name in rows[0] if name.endswith(("_p", "_probability")) or name == "genes"]


def test_another_build_is_named(tmp_path, genome, monkeypatch):
    """The genome of the test stands for hg38."""
    vcf = tmp_path / "v.vcf"
    wrong = other(LETTERS[12])
    vcf.write_text(
        f"##fileformat=VCFv4.2\n##contig=<ID=1,length=249250621>\n#CHROM\n1\t13\tx\t{wrong}\t{LETTERS[12]}\n"
    )
    monkeypatch.setattr("LAMAR.genomics.builds._BUILDS", {("chr1", 80): "hg38", ("chr1", 249250621): "hg19"})
    with pytest.raises(InputError) as error:
        load_variants(vcf, genome, "+", TILE)
    text = str(error.value)
    assert f"line 4: 1:13: found reference {wrong}, but {genome} has {LETTERS[12]} there" in text
    assert text.endswith(f"by the lengths of chromosomes, {genome} is hg38 and {vcf} is hg19")
