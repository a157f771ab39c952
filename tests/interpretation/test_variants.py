"""Variants without a model: reading, trimming, placing on either strand, and what is left out and why."""

from __future__ import annotations

import re
import shutil
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from LAMAR.alphabet import reverse_complement
from LAMAR.errors import InputError
from LAMAR.genomics.genome import open_genome
from LAMAR.interpretation.variant_windows import load_variants, place_variants
from LAMAR.interpretation.variants import Variant, read_variants

#         0         10        20
GENOME = "ACGTTGCAAGCTTACGGATCCATG"
VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


@pytest.fixture
def genome_file(tmp_path):
    path = tmp_path / "genome.fa"
    path.write_text(f">1\n{GENOME.lower()}\n>chr2\nACGT\n")
    return path


@pytest.fixture
def genome(genome_file):
    with open_genome(genome_file) as source:
        yield source


def write(tmp_path, text: str, name: str = "v.vcf"):
    path = tmp_path / name
    path.write_text(text)
    return path


def vcf(tmp_path, *lines: str):
    return write(tmp_path, VCF + "".join(line.replace(" ", "\t") + "\n" for line in lines))


def placed_of(tmp_path, genome, *lines: str, window: int = 9, strand: str = "+"):
    variants, left_out = read_variants(vcf(tmp_path, *lines), strand)
    placed, misplaced = place_variants(variants, genome, window)
    return placed, left_out + misplaced


# Reading


def test_alternatives_and_what_is_no_sequence(tmp_path):
    path = vcf(
        tmp_path, "1 4 rs1 T A,C", "1 5 . T TA", "1 6 . g <DEL>,*,a,G", "1 9 . A .", "1 9 . A N", "1 9 . A ]1:3]A"
    )
    found, left_out = read_variants(path)
    assert [(v.id, v.pos, v.ref, v.alt, v.strand) for v in found] == [
        ("rs1", 4, "T", "A", "+"),
        ("rs1", 4, "T", "C", "+"),
        ("1:5T>TA", 5, "T", "TA", "+"),
        ("1:6G>A", 6, "G", "A", "+"),
    ]
    assert [(one.place, one.alt, one.reason) for one in left_out] == [
        ("line 5", "<DEL>", "no_nucleotides"),
        ("line 5", "*", "no_nucleotides"),
        ("line 5", "G", "no_change"),
        ("line 6", ".", "no_nucleotides"),
        ("line 7", "N", "no_nucleotides"),
        ("line 8", "]1:3]A", "no_nucleotides"),
    ]


def test_table_with_own_strands(tmp_path):
    text = "chrom,start,ref,alt,strand\nchr1,3,T,A,-\nchr1,3,T,C,.\n"
    found, _ = read_variants(write(tmp_path, text, "v.csv"), strand="both")
    assert [(v.pos, v.alt, v.strand) for v in found] == [(4, "A", "-"), (4, "C", "+"), (4, "C", "-")]


def test_a_large_table_is_read_in_one_pass(tmp_path):
    """40,000 rows took 47 s where a column was made anew for each row."""
    path = write(tmp_path, "chrom,pos,ref,alt\n" + "chr1,7,A,C\n" * 40_000, "v.csv")
    began = time.process_time()
    assert len(read_variants(path)[0]) == 40_000
    assert time.process_time() - began < 10


BAD = [
    ("1\t4\t.\tT", "line 4: found 4 columns, wanted CHROM POS ID REF ALT"),
    ("1\tfour\t.\tT\tA", "line 4: found position 'four', wanted a whole number"),
    ("1\t0\t.\tT\tA", "line 4: found position '0', wanted a whole number from 1"),
    (f"1\t{10**23}\t.\tT\tA", r"line 4: found position '1000.*', wanted .* below 10\*\*12"),
    ("1\t5_00\t.\tT\tA", "line 4: found position '5_00', wanted a whole number"),
    ("1\t²\t.\tT\tA", "line 4: found position '²', wanted a whole number"),
    ("1\t4\t.\tR\tA", "line 4: found reference 'R', wanted letters of ACGT"),
    ("1\t11\trs7\tG\tA", "line 4: 1:11: found reference G, but .*genome.fa has C there"),
    ("1\t10\trs7\tGG\tG", "line 4: 1:10: found reference GG, but .*genome.fa has GC there"),
    ("1\t99\t.\tG\tA", "line 4: 1:99: found no such place in"),
    ("1\t24\t.\tGA\tG", "line 4: 1:24: found no such place in"),
    ("7\t3\t.\tG\tA", "line 4: 7:3: found no such place in"),
    ("chr2\t2\t.\tC\tA", "line 4: chr2:2: its contig has 4 nt in .*, fewer than `variant_window` 7"),
]
ROWS = [
    ("chrom,start,ref,alt\n1,0,A,C\n1,--5,T,A\n", "row 3: found position '--5', wanted a whole number from 0"),
    ("chrom,start,ref,alt\n1,0,A,C\n1,²,T,A\n", "row 3: found position '²', wanted a whole number from 0"),
    ("chrom,pos,ref,alt,strand\n1,1,A,C,\n1,4,T,A,x\n", "row 3: found strand 'x', wanted"),
    ("chrom,start,ref,alt\n1,0,A,C\n1,-1,T,A\n", "row 3: found position '-1', wanted a whole number from 0"),
]


@pytest.mark.parametrize(("text", "message"), [(f"{VCF}1\t1\tok\tA\tC\n{line}\n", text) for line, text in BAD] + ROWS)
def test_one_bad_record_does_not_stop_the_others(tmp_path, genome_file, text, message, caplog):
    path = write(tmp_path, text, "v.vcf" if text.startswith("#") else "v.csv")
    (window, other), [left_out] = load_variants(path, genome_file, "both", 7)
    assert (window.variant.strand, other.variant.strand) == ("+", "-")
    assert re.match(message, f"{left_out.place}: {left_out.found}")
    assert (window.variant.pos, window.variant.alt) == (1, "C")
    assert caplog.messages[0].startswith(f"{path}: left out 1 of 2 variants: 1 ")
    # Alone, or with most of its kind, it is an error of one line.
    lines = text.splitlines()
    alone = [line for line in lines if line != lines[-2]]
    write(tmp_path, "\n".join(alone).replace("line 4", "line 3") + "\n", path.name)
    message = message.replace("line 4", "line 3").replace("row 3", "row 2")
    with pytest.raises(InputError, match=rf"{path.name}: {message}.*\(the only variant\)"):
        load_variants(path, genome_file, "+", 7)
    write(tmp_path, "\n".join([*lines[:-1], *[lines[-1]] * 2]) + "\n", path.name)
    with pytest.raises(InputError, match=r"\(2 of 3 variants cannot be scored\)"):
        load_variants(path, genome_file, "+", 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (VCF, "v.csv: found no variant"),
        (VCF + "1\t4\t.\tT\t<DEL>\n", "line 3: found alternative '<DEL>', wanted letters of ACGT .the only variant"),
        ("CHROM,Pos,ref\n1,4,T\n", "found columns CHROM, Pos, ref, wanted chrom, pos"),
    ],
)
def test_files_without_a_variant_to_score(tmp_path, genome_file, text, message):
    with pytest.raises(InputError, match=message):
        load_variants(write(tmp_path, text, "v.csv"), genome_file, "+", 7)


def test_kinds_that_are_not_scored_are_no_faults(tmp_path, genome_file, caplog):
    """However many there are: a file may hold structural variants above all."""
    lines = ["1 4 . T A", *["1 9 . A <DEL>"] * 3, "1 5 . T TACGTACGT", "1 20 . CCATG C"]
    placed, left_out = load_variants(vcf(tmp_path, *lines), genome_file, "+", 9)
    assert [window.variant.pos for window in placed] == [4]
    assert [one.reason for one in left_out] == ["no_nucleotides"] * 3 + ["too_long", "too_long"]
    [message] = caplog.messages
    assert "left out 5 of 6 variants: 3 whose alternative is not written as A, C, G, T (line 4: found" in message
    assert "2 that change more than half of the window (line 7: 1:5: found 1 and 9 nt, wanted at most half" in message


def test_the_bad_record_of_a_report(cases_folder, tmp_path):
    genome = shutil.copy(cases_folder / "genome.fa", tmp_path)
    placed, left_out = load_variants(cases_folder / "vcf_one_bad_record" / "refmismatch.vcf", genome, "+", 101)
    assert [window.variant.id for window in placed] == ["ok"]
    assert [(one.place, one.id, one.reason) for one in left_out] == [("line 4", "bad", "reference_differs")]


# Trimming and windows


@pytest.mark.parametrize(
    ("pos", "ref", "alt", "wanted"),
    [
        (5, "G", "A", (4, "G", "A")),
        (5, "GT", "AT", (4, "G", "A")),
        (5, "TG", "TA", (5, "G", "A")),
        (5, "CGT", "CAT", (5, "G", "A")),
        (5, "GT", "AC", (4, "GT", "AC")),
        (5, "CGTA", "CACA", (5, "GT", "AC")),
        (5, "G", "GT", (4, "G", "GT")),
        (5, "AG", "AGT", (5, "G", "GT")),
        (5, "GTT", "GT", (4, "GT", "G")),
        (5, "AAA", "A", (4, "AAA", "A")),
    ],
)
def test_alleles_are_trimmed(pos, ref, alt, wanted):
    assert Variant("", "1", pos, ref, alt, "+", "").trimmed() == wanted


def test_windows_on_both_strands(tmp_path, genome):
    (plus, minus), left_out = placed_of(tmp_path, genome, "chr1 11 . C A", window=7, strand="both")
    assert not left_out
    # Position 10 from 0 in the middle of 7: 7 to 14.
    assert (plus.start, plus.end, plus.sequence, plus.position, plus.letter) == (7, 14, GENOME[7:14], 3, "A")
    assert plus.alternative == GENOME[7:10] + "A" + GENOME[11:14]
    assert (minus.sequence, minus.position, minus.letter) == (reverse_complement(GENOME[7:14]), 3, "T")
    assert minus.alternative == reverse_complement(plus.alternative)
    assert minus.sequence[minus.position] == "G"


def test_a_padded_substitution_is_the_substitution(tmp_path, genome):
    (plain, *padded), left_out = placed_of(
        tmp_path, genome, "1 11 . C A", "1 11 . CT AT", "1 10 . GC GA", "1 9 . AGCTTA AGATTA"
    )
    assert not left_out
    for window in padded:
        assert (window.start, window.sequence, window.alternative, window.position, window.letter) == (
            plain.start, plain.sequence, plain.alternative, plain.position, plain.letter
        )  # fmt: skip
    # The table has alleles and position as the file has them.
    assert [(window.variant.pos, window.variant.ref, window.variant.alt) for window in padded][:2] == [
        (11, "CT", "AT"), (10, "GC", "GA")
    ]  # fmt: skip


def test_insertions_and_deletions(tmp_path, genome):
    lines = ("1 11 . C CGG", "1 10 . GCT G", "1 11 . CTT GAC")
    (inserted, deleted, block), left_out = placed_of(tmp_path, genome, *lines)
    assert not left_out
    assert (inserted.start, inserted.position, inserted.letter) == (6, 4, "")
    assert inserted.sequence == GENOME[6:15]
    assert inserted.alternative == GENOME[6:11] + "GG" + GENOME[11:13]
    # The middle of GCT, 9 to 12 from 0, is base 10.
    assert (deleted.start, deleted.position) == (6, 3)
    assert deleted.alternative == GENOME[6:10] + GENOME[12:17]
    assert (block.start, block.sequence, block.position) == (7, GENOME[7:16], 3)
    assert block.alternative == GENOME[7:10] + "GAC" + GENOME[13:16]


def test_windows_move_inwards_at_the_ends(tmp_path, genome):
    last = len(GENOME)
    lines = ("1 1 . A C", f"1 {last} . G C")
    placed, _ = placed_of(tmp_path, genome, *lines, window=8, strand="both")
    assert [(w.start, w.position) for w in placed] == [(0, 0), (0, 7), (last - 8, 7), (last - 8, 0)]
    for window in placed:
        own = "ACGT"["TGCA".index(window.variant.ref)] if window.variant.strand == "-" else window.variant.ref
        assert window.sequence[window.position] == own
    # After a deletion the window takes bases from behind it, which the last one does not have.
    placed, left_out = placed_of(tmp_path, genome, "1 19 . TCC T", "1 21 . CAT C", window=8)
    assert [(w.start, w.alternative) for w in placed] == [(14, GENOME[14:19] + GENOME[21:])]
    assert [(one.place, one.reason) for one in left_out] == [("line 4", "end_of_contig")]


@given(data=st.data())
def test_the_alternative_is_the_edited_genome(tmp_path_factory, data):
    """On either strand: the window at the same place of a genome that has the alternative."""
    text = "".join(np.random.default_rng(data.draw(st.integers(0, 99))).choice(list("ACGT"), 60))
    start, window = data.draw(st.integers(0, 59)), data.draw(st.integers(1, 30))
    ref = text[start : start + data.draw(st.integers(1, 6))]
    alt = data.draw(st.text("ACGT", min_size=1, max_size=6).filter(lambda letters: letters != ref))
    folder = tmp_path_factory.mktemp("variant")
    (folder / "g.fa").write_text(f">c\n{text}\n")
    strand = data.draw(st.sampled_from("+-"))
    variant = Variant("", "c", start + 1, ref, alt, strand, "line 1")
    with open_genome(folder / "g.fa") as source:
        placed, left_out = place_variants([variant], source, window)
    if left_out:
        assert not placed
        longest = max(map(len, variant.trimmed()[1:]))
        is_long = longest > max(1, window // 2)
        assert (
            left_out[0].reason == "too_long" if is_long else left_out[0].reason in ("end_of_contig", "contig_too_short")
        )
        return
    [one] = placed
    edited = text[:start] + alt + text[start + len(ref) :]
    wanted = text[one.start : one.end], edited[one.start : one.end]
    wanted = tuple(map(reverse_complement, wanted)) if strand == "-" else wanted
    assert (one.sequence, one.alternative) == wanted
    assert len(one.sequence) == len(one.alternative) == window == one.end - one.start
    differs = [i for i in range(window) if one.sequence[i] != one.alternative[i]]
    if one.letter:
        assert differs == [one.position]
        assert one.alternative[one.position] == one.letter
    trimmed_start, trimmed, _ = variant.trimmed()
    shown = one.sequence[one.position : one.position + len(trimmed)]
    assert shown == (reverse_complement(trimmed) if strand == "-" else trimmed)
    assert one.start <= trimmed_start
