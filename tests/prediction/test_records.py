"""Records to predict from FASTA, tables, BED and transcripts, and the places of their nucleotides."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

from LAMAR.errors import InputError
from LAMAR.genomics.genome import open_genome
from LAMAR.prediction.bed_places import bed_places
from LAMAR.prediction.records import (
    Place,
    both_strands,
    fasta_records,
    genomic_records,
    table_records,
    transcript_places,
    without_repeats,
)

COMPLEMENTS = str.maketrans("ACGT", "TGCA")


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """chr1 of 400 random nucleotides, as text and as file."""
    text = "".join(np.random.default_rng(0).choice(list("ACGT"), 400))
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_text(f">chr1\n{text}\n")
    return text, path


@pytest.mark.parametrize("strand", ["+", "-"])
def test_every_nucleotide_of_a_spliced_record_is_found_on_the_genome(genome, strand):
    text, path = genome
    place = Place("chr1", strand, (10, 50, 90), (20, 53, 101))
    with open_genome(path) as source:
        ((record,),) = [list(genomic_records([("t", place)], source))]
    assert len(record.sequence) == len(place) == 24
    for i in range(24):
        ((start, end),) = place.blocks(i, i + 1)
        letter = text[start:end] if strand == "+" else text[start:end].translate(COMPLEMENTS)
        assert letter == record.sequence[i]
    for start, end in ((0, 24), (5, 12), (9, 14), (13, 23)):
        single = sorted(block for i in range(start, end) for block in place.blocks(i, i + 1))
        covered = [i for left, right in place.blocks(start, end) for i in range(left, right)]
        assert covered == [left for left, _ in single]


def test_fasta_headers_place_records(tmp_path, caplog):
    path = tmp_path / "r.fa.gz"
    path.write_bytes(gzip.compress(b">NORAD a lncRNA\nacguac\n>chr1:100-104(-)\nACGT\n>chr2:5-8\nGGG\n"))
    found = list(fasta_records(path))
    assert [(record.name, record.sequence) for record in found] == [
        ("NORAD", "ACGTAC"),
        ("chr1:100-104(-)", "ACGT"),
        ("chr2:5-8", "GGG"),
    ]
    assert [record.place for record in found] == [
        Place("NORAD", "+", (0,), (6,)),
        Place("chr1", "-", (100,), (104,)),
        Place("chr2", "+", (5,), (8,)),
    ]
    path.write_bytes(gzip.compress(b">a QKI::chr1:0-4(-)\nACGT\n>a chr2:5-8\nGGG\n>T1 range=chr3:1-3\nGGG\n"))
    found = list(fasta_records(path))
    assert [record.name for record in found] == ["a::chr1:0-4(-)", "a::chr2:5-8", "T1"]
    assert [record.place.chrom for record in found] == ["chr1", "chr2", "T1"]
    [message] = caplog.messages
    assert "coordinates in the headers of 1 of 3 records, which are not used (first: 'T1 range=chr3:1-3')" in message
    path.write_bytes(gzip.compress(b">chr1:101-104\nACGT\n"))
    with pytest.raises(InputError, match=r"found 4 nucleotides, wanted end - start = 3 \(0-based"):
        list(fasta_records(path))


def test_both_strands_of_a_record(tmp_path):
    (tmp_path / "r.fa").write_text(">a\nAACG\n>chr1:10-14(-)\nAACG\n")
    found = list(both_strands(fasta_records(tmp_path / "r.fa")))
    assert [(record.name, record.sequence, record.place.strand) for record in found] == [
        ("a", "AACG", "+"),
        ("a(-)", "CGTT", "-"),
        ("chr1:10-14(-)", "AACG", "-"),
        ("chr1:10-14(-)(+)", "CGTT", "+"),
    ]
    assert found[1].place.blocks(0, 1) == [(3, 4)]  # its first nucleotide is the record's last


def test_a_name_twice_is_refused(tmp_path):
    (tmp_path / "r.fa").write_text(">a x\nAACG\n>b\nA\n>a y\nAACG\n")
    with pytest.raises(InputError, match="record a: found twice, wanted names that differ"):
        list(without_repeats(fasta_records(tmp_path / "r.fa")))


def test_tables(tmp_path):
    (tmp_path / "t.csv").write_text("ID,RNA\none,acgu\ntwo,GGN\n")
    found = list(table_records(tmp_path / "t.csv", "rna"))
    assert [(record.name, record.sequence) for record in found] == [("one", "ACGT"), ("two", "GGN")]
    (tmp_path / "t.tsv").write_text("sequence\tlabel\nACGT\t1\n")
    assert [record.name for record in table_records(tmp_path / "t.tsv")] == ["row_2"]
    pd.DataFrame({"name": ["x"], "sequence": ["ACU"]}).to_parquet(tmp_path / "t.parquet")
    assert [(record.name, record.sequence) for record in table_records(tmp_path / "t.parquet")] == [("x", "ACT")]
    (tmp_path / "s.csv").write_text("ID,Seq\nx,ACU\n,ACA\nNA,ACC\n")
    assert [record.name for record in table_records(tmp_path / "s.csv")] == ["x", "row_3", "row_4"]
    with pytest.raises(InputError, match=r"s\.csv: found columns ID, Seq, wanted rna"):
        list(table_records(tmp_path / "s.csv", "RNA"))
    with pytest.raises(InputError, match=r"t\.csv: found columns ID, RNA, wanted sequence or seq"):
        list(table_records(tmp_path / "t.csv"))
    (tmp_path / "t.csv").write_text("sequence\nACGT\nMKVL\n")
    with pytest.raises(InputError, match=r"t\.csv: row 3: position 4: found 'L'"):
        list(table_records(tmp_path / "t.csv"))
    (tmp_path / "t.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match=r"t\.parquet: cannot be read as Parquet"):
        list(table_records(tmp_path / "t.parquet"))


def test_bed_of_three_to_twelve_columns(tmp_path, caplog):
    (tmp_path / "a.bed").write_text(
        "track name=x\nchr1\t10\t20\nchr1\t10\t20\tsite\t5\t-\n#c\n"
        "chr2\t100\t200\tt\t0\t+\t100\t200\t0\t2\t10,30,\t0,70,\n"
    )
    assert bed_places(tmp_path / "a.bed") == [
        ("chr1:10-20(+)", Place("chr1", "+", (10,), (20,))),
        ("site", Place("chr1", "-", (10,), (20,))),
        ("t", Place("chr2", "+", (100, 170), (110, 200))),
    ]
    assert "1 of 3 intervals have no strand and are read on +" in caplog.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("chr1\t10", "line 2: found 2 columns, wanted chrom, start, end"),
        ("chr1\t1_0\t20", "line 2: start: found '1_0', wanted a whole number"),
        ("chr1\t10\t1e3", "line 2: end: found '1e3', wanted a whole number"),
        ("chr1\t20\t20", "line 2: found 20 and 20, wanted start < end"),
        ("chr1\t10\t20\tx\t0\t*", r"line 2: strand: found '\*', wanted"),
        ("chr1\t10\t20\tx\t0\t+\t10\t20\t0\t2\t5,5\t0", "line 2: found 2 blockSizes and 1 blockStarts, wanted 2"),
        ("chr1\t10\t20\tx\t0\t+\t10\t20\t0\t2\t6,5\t0,5", "line 2: found blocks that overlap"),
        ("chr1\t10\t20\tx\t0\t+\t10\t20\t0\t1\t5\t0", "line 2: found blocks that .* do not span 10-20"),
    ],
)
def test_bad_bed_names_the_line(tmp_path, line, message):
    (tmp_path / "a.bed").write_text(f"chr1\t1\t5\n{line}\n")
    with pytest.raises(InputError, match=message):
        bed_places(tmp_path / "a.bed")


def test_no_interval_is_refused(tmp_path):
    (tmp_path / "a.bed").write_text("# nothing\n")
    with pytest.raises(InputError, match="found no interval, wanted lines of BED"):
        bed_places(tmp_path / "a.bed")


def test_blocks_beyond_the_genome_are_refused(genome):
    with open_genome(genome[1]) as source:
        for place in (Place("chr1", "+", (10, 390), (20, 401)), Place("chr7", "+", (390,), (401,))):
            with pytest.raises(InputError, match=f"record t: found {place.chrom}:390-401, which .*g.fa does not have"):
                list(genomic_records([("t", place)], source))


GTF = """\
chr1\tx\texon\t11\t20\t.\t-\t.\tgene_id "G1"; transcript_id "T1.2";
chr1\tx\texon\t51\t53\t.\t-\t.\tgene_id "G1"; transcript_id "T1.2";
chr1\tx\texon\t5\t30\t.\t+\t.\tgene_id "G2"; transcript_id "T2";
"""


@pytest.mark.parametrize("name", ["T1.2", "T1", "T1.7"])
def test_transcripts_with_and_without_version(tmp_path, name):
    (tmp_path / "a.gtf").write_text(GTF)
    assert transcript_places([name], tmp_path / "a.gtf") == [(name, Place("chr1", "-", (10, 50), (20, 53)))]


def test_all_transcripts_and_one_that_is_not_there(tmp_path):
    (tmp_path / "a.gtf").write_text(GTF)
    assert [name for name, _ in transcript_places(None, tmp_path / "a.gtf")] == ["T1.2", "T2"]
    with pytest.raises(InputError, match=r"`transcripts`: found NM_5, wanted a transcript of .*a\.gtf"):
        transcript_places(["NM_5"], tmp_path / "a.gtf")
