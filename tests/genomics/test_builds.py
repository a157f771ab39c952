"""Builds of genomes from lengths of chromosomes."""

from __future__ import annotations

import pytest

from LAMAR.genomics.builds import build_of, vcf_build


@pytest.mark.parametrize(
    ("lengths", "build"),
    [
        ({"chr1": 248956422}, "hg38"),
        ({"X": 155270560, "MT": 16569, "22": 51304566}, "hg19"),
        ({"chr9": 150617247, "chrUn_1": 5}, "T2T-CHM13"),
        ({"chr1": 195471971}, "mm10"),
        ({"chr1": 248956422, "chr2": 243199373}, None),  # of two builds
        ({"chr1": 1000}, None),
        ({}, None),
    ],
)
def test_lengths_tell_the_build(lengths, build):
    assert build_of(lengths) == build


def test_contig_lines_of_a_vcf(tmp_path):
    path = tmp_path / "v.vcf"
    head = '##fileformat=VCFv4.2\n##contig=<ID=chr1,assembly="B37, mine",length=249250621>\n##contig=<ID=2>\n'
    path.write_text(head + "#CHROM\tPOS\tID\tREF\tALT\n##contig=<ID=chr2,length=242193529>\n")
    assert vcf_build(path) == "hg19"
    path.write_text("chrom,pos,ref,alt\n")
    assert vcf_build(path) is None
