"""Reading and validating sequences."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sequence_files import write

from LAMAR.alphabet import reverse_complement
from LAMAR.data.labelled import LabelledSet
from LAMAR.data.sequences import (
    Region,
    check_lengths,
    find_region,
    is_missing,
    normalize_sequence,
    parse_region,
    read_fasta,
    record_name,
    warn_of_unused_coordinates,
    write_fasta,
)
from LAMAR.data.text_files import open_text
from LAMAR.errors import InputError

DNA = st.text("ACGTN", min_size=1, max_size=60)
IN_TMP_PATH = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


# Alphabet


def test_normalize_maps_case_uracil_and_ambiguity_codes():
    assert normalize_sequence(" acgun\n") == "ACGTN"
    assert normalize_sequence("RYSWKMBDHVryswkmbdhv") == "N" * 20
    assert normalize_sequence("AUGC") == "ATGC"


@given(st.text("ACGTUNRYSWKMBDHVacgtunryswkmbdhv", min_size=1, max_size=200))
def test_normalize_agrees_with_a_letter_by_letter_reading(text):
    expected = "".join({"U": "T"}.get(c, c if c in "ACGTN" else "N") for c in text.upper())
    assert normalize_sequence(text, piece=True) == expected
    assert normalize_sequence(expected, piece=True) == expected
    if expected not in ("NA", "NAN"):
        assert normalize_sequence(text) == expected


@pytest.mark.parametrize("bad", ["X", "-", "*", " ", "é", "漢", "\x00", "?", "E"])
def test_normalize_names_file_record_position_and_character(bad):
    with pytest.raises(InputError) as error:
        normalize_sequence(f"ACG{bad}T", source="peaks.fa", record="record chr1:5-9")
    assert str(error.value).startswith("peaks.fa: record chr1:5-9: position 4: found")
    assert repr(bad) in str(error.value) or bad == " "


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_normalize_refuses_empty_sequences(empty):
    with pytest.raises(InputError, match=r"^x.csv: row 3: found an empty sequence"):
        normalize_sequence(empty, source="x.csv", record="row 3")


@pytest.mark.parametrize("missing", ["NA", "NaN", "nan", " na ", "NAN", "N/A", "#N/A", "<NA>", "None", "null", "NULL"])
def test_missing_values_of_tables_are_no_nucleotides(missing):
    with pytest.raises(InputError, match=rf"^x\.csv: row 3: found the missing value {missing.strip()}, wanted nucle"):
        normalize_sequence(missing, source="x.csv", record="row 3")


def test_a_record_of_a_genome_may_be_two_nucleotides(tmp_path):
    path = write(tmp_path / "x.fa", ">a\nACGT\n>b\nNA\n")
    assert list(read_fasta(path)) == [("a", "ACGT"), ("b", "NA")]
    with pytest.raises(InputError, match=r"x\.fa: record b: found the missing value NA, wanted nucleotides"):
        list(read_fasta(path, piece=False))


def test_what_is_missing_and_what_is_not():
    assert all(map(is_missing, [None, "", " ", float("nan"), np.float32("nan"), "NA", " nan"]))
    assert not any(map(is_missing, ["NAN" * 3, "N", "A", "chrNA", 0, 0.0, False, [], "0", "NANA"]))
    assert normalize_sequence("NANA") == "NANA"
    assert normalize_sequence("na", piece=True) == "NA"


@given(DNA)
def test_reverse_complement_is_an_involution_and_pairs_ends(sequence):
    complement = reverse_complement(sequence)
    assert reverse_complement(complement) == sequence
    assert complement[0] == {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}[sequence[-1]]


def test_reverse_complement_by_hand():
    assert reverse_complement("AACGN") == "NCGTT"


# Coordinates in headers


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (">chr1:100-110", Region("chr1", 100, 110, ".")),
        ("chr1:100-110(+)", Region("chr1", 100, 110, "+")),
        ("chrX:0-5(-)", Region("chrX", 0, 5, "-")),
        ("peak_7::chr1:100-110(+)", Region("chr1", 100, 110, "+")),
        ("a::b::chrUn_KI270742v1:7-9(.)", Region("chrUn_KI270742v1", 7, 9, ".")),
        ("HLA-A*01:01:01:01:5-9", Region("HLA-A*01:01:01:01", 5, 9, ".")),
        ("chr2:10-20(-) QKI site", Region("chr2", 10, 20, "-")),
        ("ENST00000456328.2", None),
        ("ENST1 cdna chromosome:GRCh38:1:11869:14409:1", None),
        ("chr1:100", None),
        ("chr1:a-b", None),
        ("chr1:100-110(x)", None),
        ("", None),
    ],
)
def test_parse_region(header, expected):
    assert parse_region(header) == expected


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from("+-."))
def test_parse_region_reads_back_what_bedtools_would_write(start, end, strand):
    assert parse_region(f"name::chr7:{start}-{end}({strand})") == Region("chr7", start, end, strand)


@pytest.mark.parametrize(
    ("header", "expected", "name"),
    [
        ("chr1:100-110(+) QKI", Region("chr1", 100, 110, "+"), "chr1:100-110(+)"),
        ("a::chr1:100-110", Region("chr1", 100, 110, "."), "a::chr1:100-110"),
        ("site1 QKI::chr1:100-110(-)", Region("chr1", 100, 110, "-"), "site1::chr1:100-110(-)"),
        ("site1 near QKI::chr1:100-110 x", Region("chr1", 100, 110, "."), "site1::chr1:100-110"),
        ("site1 chr1:100-110(-)", Region("chr1", 100, 110, "-"), "site1::chr1:100-110(-)"),
        ("site1 QKI chrX:7-17 b", Region("chrX", 7, 17, "."), "site1::chrX:7-17"),
        ("site1 ratio:1-5 chrX:7-17", Region("chrX", 7, 17, "."), "site1::chrX:7-17"),
        # Of another length, from 1, without coordinates.
        ("chr1:101-110", None, "chr1:101-110"),
        ("site1 QKI::chr1:101-110", None, "site1"),
        ("site1 chr1:101-110", None, "site1"),
        ("site1 loc=chr1:100-110", None, "site1"),
        ("site1", None, "site1"),
    ],
)
def test_coordinates_anywhere_in_the_header_if_they_fit_the_sequence(header, expected, name):
    assert find_region(header, 10) == expected
    assert record_name(header, 10) == name
    assert find_region(name, 10) == expected  # what is read from the name later is what the header said


@pytest.mark.parametrize(
    ("header", "is_like"),
    [
        ("chr1:101-110", True),
        ("hg38_dna range=chr1:101-110 5'pad=0 strand=+", True),
        ("2L type=golden_path_region; loc=2L:1..23513712; ID=2L;", True),
        ("T1 cdna chromosome:GRCh38:1:100:110:1 gene:G", True),
        ("chr1_100_110_+", True),
        ("chr1|100|110", True),
        ("chrX:1,000-1,010", True),
        ("chr1_KI270706v1_random", False),
        ("HLA-A*01:01:01:01 HLA00001 3503 bp", False),
        ("NC_000001.11 Homo sapiens chromosome 1, GRCh38.p14 Primary Assembly", False),
        ("Chr1 CHROMOSOME dumped from ADB: Jun/20/09 14:53; last updated: 2009-02-02", False),
        ("chr1  AC:CM000663.2  gi:568336023  LN:248956422  rl:Chromosome  M5:6aef897c3d6ff0c78aff06ac189178dd", False),
        ("ENST00000456328.2|ENSG00000290825.1|-|OTTHUMT00000362751.1|DDX11L2-202|1657|lncRNA|", False),
        ("site_7 score 0.5", False),
    ],
)
def test_what_looks_like_coordinates_is_counted_and_named(header, is_like, caplog):
    warn_of_unused_coordinates("a.fa", ["x", header, header], 5)
    found = "a.fa: found what looks like coordinates in the headers of 2 of 5 records, which are not used"
    assert [message.partition(", wanted")[0] for message in caplog.messages] == (
        [f"{found} (first: {header!r})"] if is_like else []
    )


# FASTA files


def test_read_fasta_joins_lines_and_skips_top_comments(tmp_path):
    text = "; synthetic\r\n# seed 1\r\n\r\n>chr1:1-9(+) x\r\nacgu\r\n\r\nACGT\r\n>b\r\nRNA\r\n"
    path = write(tmp_path / "a.fa.gz", text)
    assert list(read_fasta(path)) == [("chr1:1-9(+) x", "ACGTACGT"), ("b", "NNA")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ACGT\n>a\nAC\n", r"line 1: found 'ACGT' before the first '>'"),
        ("; ok\n\n>a\n>b\nAC\n", r"line 3: record a has no sequence"),
        (">a\nAC\n>b\n", r"line 3: record b has no sequence"),
        (">a\nAC\n>\nAC\n", r"line 3: found '>' alone"),
        (">a\nACGT\nACJT\n", r"record a: position 7: found 'J'"),
        (">a\nAC\n; late comment\n", r"record a: position 3: found ';'"),
        ("", r"found no FASTA record"),
        ("; only a comment\n", r"found no FASTA record"),
    ],
)
def test_read_fasta_names_file_and_place(tmp_path, text, message):
    path = write(tmp_path / "bad.fa", text)
    with pytest.raises(InputError, match=rf"bad\.fa: {message}"):
        list(read_fasta(path))


@IN_TMP_PATH
@given(
    records=st.lists(st.tuples(st.text("abc:-()019", min_size=1, max_size=9), DNA), min_size=1, max_size=8),
    width=st.integers(0, 7),
    name=st.sampled_from(["x.fa", "x.fa.gz"]),
)
def test_fasta_round_trip(tmp_path, records, width, name):
    write_fasta(tmp_path / name, records, comment="synthetic\nseed 1", width=width)
    assert list(read_fasta(tmp_path / name)) == records
    first = (tmp_path / name).read_bytes()
    write_fasta(tmp_path / name, records, comment="synthetic\nseed 1", width=width)
    assert (tmp_path / name).read_bytes() == first
    with open_text(tmp_path / name) as handle:
        lines = handle.read().splitlines()
    assert lines[:2] == ["; synthetic", "; seed 1"]
    if width:
        assert max(len(line) for line in lines[2:] if line[0] != ">") <= width


# Lengths


def test_check_lengths_counts_two_special_tokens():
    assert check_lengths(["A" * 101], ["r"], 103) == ["A" * 101]
    with pytest.raises(InputError) as error:
        check_lengths(["A", "C" * 101, "G" * 150], ["first", "second", "third"], 102)
    message = str(error.value)
    assert "record second has 101 nucleotides and needs 103 tokens" in message
    assert "`max_length` is 102" in message
    assert "2 of 3 records" in message
    assert "152" in message


def test_check_lengths_truncates_on_request_and_logs_how_many(caplog):
    dataset = LabelledSet(["ACGT", "AC", "ACGTA"], np.array([0, 1, 0]), ["a", "b", "c"])
    with caplog.at_level(logging.WARNING):
        assert check_lengths(dataset, None, 5, truncate=True) == ["ACG", "AC", "ACG"]
    assert "truncated 2 of 3 sequences to 3 nucleotides" in caplog.text
    with pytest.raises(InputError, match="record a has 4 nucleotides"):
        check_lengths(dataset, None, 5)
    with pytest.raises(InputError, match="record number 2 has"):
        check_lengths(["A", "ACGT"], None, 5)
    with pytest.raises(InputError, match=r"`max_length`: found 2, wanted at least 3"):
        check_lengths(["A"], None, 2)


# Real data


@pytest.mark.shared
def test_real_fasta_headers_give_the_length(shared_dir):
    path = shared_dir / "data" / "clip_regions" / "hg38_clip_regions.fa.gz"
    for number, (header, sequence) in zip(range(5000), read_fasta(path)):
        region = parse_region(header)
        assert region.end - region.start == len(sequence), number
