"""Region types from a GTF file."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from LAMAR.errors import InputError
from LAMAR.genomics import annotation as annotation_module
from LAMAR.genomics.annotation import REGIONS, read_gtf
from LAMAR.genomics.intervals import merge

# One coding transcript on each strand, by 0-based half-open coordinates of its parts as the genome runs.
#   PLUS  chr1 +  exons 100-200, 300-400, 500-600; coding 150-550 of which the last 3 are the stop codon
#   MINUS chr2 -  the same, mirrored: coding 150-550, stop codon 150-153
# NONC  chr1 +  exons 1000-1100, 1200-1300, no CDS; of gene PLUS there is a retained intron too, exon 350-520
PLUS_PARTS = {"5'UTR": [(100, 150)], "CDS": [(150, 200), (300, 400), (500, 550)], "3'UTR": [(550, 600)]}
MINUS_PARTS = {"3'UTR": [(100, 150)], "CDS": [(150, 200), (300, 400), (500, 550)], "5'UTR": [(550, 600)]}
EXONS = [(100, 200), (300, 400), (500, 600)]


def line(chrom, feature, start, end, strand, **attributes) -> str:
    text = " ".join(f'{name} "{value}";' for name, value in attributes.items())
    return f"{chrom}\tsource\t{feature}\t{start + 1}\t{end}\t.\t{strand}\t.\t{text}\n"


def coding_gene(flavour, chrom, strand, gene, shift=0) -> str:
    """A gene as Ensembl, GENCODE, or a file without UTR, gene and transcript features would write it."""
    if flavour != "ensembl":
        chrom = f"chr{chrom}"
    gene_type = "gene_biotype" if flavour == "ensembl" else "gene_type"
    ids = {"gene_id": f"ID_{gene}", "transcript_id": f"T_{gene}"}
    rest = {"gene_name": gene, gene_type: "protein_coding"}
    parts = PLUS_PARTS if strand == "+" else MINUS_PARTS
    stop = (547, 550) if strand == "+" else (150, 153)
    rows = [("transcript", 100, 600)] if flavour != "bare" else []
    rows += [("exon", *exon) for exon in EXONS]
    for start, end in parts["CDS"]:  # the CDS features leave the stop codon out
        rows.append(("CDS", start + 3 * (start == stop[0]), end - 3 * (end == stop[1])))
    rows.append(("stop_codon", *stop))
    for name, feature in (("5'UTR", "five_prime_utr"), ("3'UTR", "three_prime_utr")):
        if flavour == "ensembl":
            rows += [(feature, *part) for part in parts[name]]
        elif flavour == "gencode":
            [(start, end)] = parts[name]
            # GENCODE's UTR at the 3' end holds the stop codon.
            is_3utr = name == "3'UTR"
            rows.append(("UTR", start - 3 * (is_3utr and strand == "+"), end + 3 * (is_3utr and strand == "-")))
    text = "" if flavour == "bare" else line(chrom, "gene", 100 + shift, 600 + shift, strand, gene_id=ids["gene_id"])
    for number, (feature, start, end) in enumerate(rows):
        text += line(chrom, feature, start + shift, end + shift, strand, **ids, **rest, exon_number=number)
    return text


def noncoding(chrom, strand, gene, exons, transcript="", **more) -> str:
    ids = {"gene_id": f"ID_{gene}", "transcript_id": transcript or f"T_{gene}", **more}
    return "".join(line(chrom, "exon", start, end, strand, **ids) for start, end in exons)


def two_strands(flavour) -> str:
    return coding_gene(flavour, "1", "+", "PLUS") + coding_gene(flavour, "2", "-", "MINUS")


def write(folder, text: str, name: str = "genes.gtf") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def bases(chrom, positions, strand) -> pd.DataFrame:
    start = np.asarray(positions)
    return pd.DataFrame({"chrom": chrom, "start": start, "end": start + 1, "strand": strand})


def types(annotation, chrom, positions, strand) -> list[str]:
    return annotation.region_types(bases(chrom, positions, strand))["region"].tolist()


def expected(parts) -> list[str]:
    """Region of positions 0-699 of a gene with these exonic parts, introns filled in."""
    region = np.array(["intergenic"] * 700, dtype=object)
    region[100:600] = "intron"
    for name, spans in parts.items():
        for start, end in spans:
            region[start:end] = name
    return region.tolist()


# Types


@pytest.mark.parametrize("flavour", ["ensembl", "gencode", "bare"])
def test_every_base_of_a_coding_gene_on_each_strand(tmp_path, flavour):
    annotation = read_gtf(write(tmp_path, two_strands(flavour)))
    assert types(annotation, "chr1", range(700), "+") == expected(PLUS_PARTS)
    assert types(annotation, "chr2", range(700), "-") == expected(MINUS_PARTS)
    assert types(annotation, "1", range(700), ".") == expected(PLUS_PARTS)
    for chrom, strand in (("chr1", "-"), ("chr2", "+"), ("chr3", "+")):
        assert set(types(annotation, chrom, range(700), strand)) == {"intergenic"}


def test_flavours_give_the_same_tables(tmp_path):
    ensembl, gencode, bare = (
        read_gtf(write(tmp_path, two_strands(flavour), f"{flavour}.gtf.gz"))
        for flavour in ("ensembl", "gencode", "bare")
    )
    for name in ("genes", "transcripts", "exons"):
        for other in (gencode, bare):
            pd.testing.assert_frame_equal(getattr(ensembl, name), getattr(other, name))


def test_tables(tmp_path):
    text = two_strands("ensembl") + noncoding("MT", "+", "RNR", [(20, 30), (5, 10)])
    annotation = read_gtf(write(tmp_path, text))
    assert annotation.genes.to_numpy().tolist() == [
        ["chr1", 100, 600, "+", "ID_PLUS", "PLUS", "protein_coding"],
        ["chr2", 100, 600, "-", "ID_MINUS", "MINUS", "protein_coding"],
        ["chrM", 5, 30, "+", "ID_RNR", "", ""],
    ]
    transcripts = annotation.transcripts
    assert transcripts.columns.tolist() == [
        "chrom", "start", "end", "strand", "transcript_id", "gene_id", "gene_name", "gene_type", "gene", "cds_start",
        "cds_end",
    ]  # fmt: skip
    assert transcripts["transcript_id"].tolist() == ["T_PLUS", "T_MINUS", "T_RNR"]
    assert transcripts[["gene", "cds_start", "cds_end"]].to_numpy().tolist() == [
        [0, 150, 550],
        [1, 150, 550],
        [2, -1, -1],
    ]
    assert annotation.exons[["chrom", "start", "end", "strand", "transcript"]].to_numpy().tolist() == [
        *(["chr1", *exon, "+", 0] for exon in EXONS),
        *(["chr2", *exon, "-", 1] for exon in EXONS),
        ["chrM", 20, 30, "+", 2],
        ["chrM", 5, 10, "+", 2],
    ]
    for table in (annotation.genes, transcripts, annotation.exons):
        assert table.index.equals(pd.RangeIndex(len(table)))
        assert table["start"].dtype == table["end"].dtype == np.int64


def test_a_coding_gene_without_stop_codon_lines_ends_with_its_cds(tmp_path):
    text = "".join(row for row in two_strands("ensembl").splitlines(True) if "stop_codon" not in row)
    annotation = read_gtf(write(tmp_path, text))
    assert types(annotation, "chr1", [546, 547, 549, 550], "+") == ["CDS", "3'UTR", "3'UTR", "3'UTR"]
    assert types(annotation, "chr2", [149, 150, 152, 153], "-") == ["3'UTR", "3'UTR", "3'UTR", "CDS"]


def test_a_stop_codon_in_an_exon_of_its_own_is_coding(tmp_path):
    ids = {"gene_id": "G", "transcript_id": "T"}
    text = line("1", "exon", 0, 50, "+", **ids) + line("1", "exon", 80, 100, "+", **ids)
    text += line("1", "CDS", 20, 49, "+", **ids)
    text += line("1", "stop_codon", 49, 50, "+", **ids) + line("1", "stop_codon", 80, 82, "+", **ids)
    annotation = read_gtf(write(tmp_path, text))
    assert types(annotation, "1", [19, 20, 49, 50, 79, 80, 81, 82, 99], "+") == [
        "5'UTR", "CDS", "CDS", "intron", "intron", "CDS", "CDS", "3'UTR", "3'UTR"
    ]  # fmt: skip


def test_precedence_and_the_gene_that_decides(tmp_path):
    # On top of PLUS, as others on the same strand: a retained intron, a lncRNA, and another gene whose 5' and 3' UTR
    # run over PLUS's.
    text = coding_gene("ensembl", "1", "+", "PLUS")
    text += noncoding("1", "+", "PLUS", [(350, 520)], transcript="T_retained")
    text += noncoding("1", "+", "LNC", [(0, 120), (580, 700)])
    text += coding_gene("ensembl", "1", "+", "LATE", shift=460)  # 5'UTR 560-610, CDS 610-660
    annotation = read_gtf(write(tmp_path, text))
    got = annotation.region_types(bases("chr1", [50, 110, 130, 250, 390, 450, 510, 570, 605, 630, 680, 1200], "+"))
    assert got["region"].tolist() == [
        "ncRNA", "5'UTR", "5'UTR", "intron", "CDS", "ncRNA", "CDS", "3'UTR", "5'UTR", "CDS", "ncRNA", "intergenic"
    ]  # fmt: skip
    assert got["gene"].tolist() == [
        "ID_LNC", "PLUS", "PLUS", "PLUS", "PLUS", "PLUS", "PLUS", "PLUS", "LATE", "LATE", "ID_LNC", "."
    ]  # fmt: skip
    assert not got["conflict"].any()
    assert annotation.genes_at(bases("1", [50, 110, 605, 1200], "+")).tolist() == [1, 0, 2, -1]


def test_conflict_is_a_gene_on_the_other_strand_only(tmp_path):
    text = two_strands("ensembl") + noncoding("1", "-", "ANTI", [(550, 800)])
    annotation = read_gtf(write(tmp_path, text))
    got = annotation.region_types(
        pd.concat([bases("chr1", [50, 300, 250, 560, 700], strand) for strand in "+-."], ignore_index=True)
    )
    assert got["conflict"].tolist() == [
        *[False, False, False, False, True],
        *[False, True, True, False, False],
        *[False] * 5,
    ]
    assert got["gene"].tolist() == [
        *[".", "PLUS", "PLUS", "PLUS", "."],
        *[".", ".", ".", "ID_ANTI", "ID_ANTI"],
        *[".", "PLUS", "PLUS", "PLUS", "ID_ANTI"],
    ]
    assert got["region"].tolist()[10:] == ["intergenic", "CDS", "intron", "3'UTR", "ncRNA"]


@pytest.mark.parametrize(("start", "end", "region"), [(98, 101, "intergenic"), (99, 102, "5'UTR"), (99, 101, "5'UTR")])
def test_the_middle_base_decides(tmp_path, start, end, region):
    annotation = read_gtf(write(tmp_path, two_strands("bare")))
    window = pd.DataFrame({"chrom": ["1"], "start": [start], "end": [end], "strand": ["+"]}, index=[9])
    got = annotation.region_types(window)
    assert got["region"].tolist() == [region]
    assert got.index.tolist() == [0]


def test_no_windows(tmp_path):
    annotation = read_gtf(write(tmp_path, two_strands("bare")))
    assert annotation.region_types(bases("chr1", [], "+").astype({"start": int, "end": int})).empty


def test_a_transcript_on_two_chromosomes_is_two(tmp_path):
    # As the pseudoautosomal regions in Ensembl's files.
    text = noncoding("X", "+", "PAR", [(10, 20)]) + noncoding("Y", "+", "PAR", [(1010, 1020)])
    annotation = read_gtf(write(tmp_path, text))
    assert annotation.transcripts[["chrom", "start", "end", "gene"]].to_numpy().tolist() == [
        ["chrX", 10, 20, 0], ["chrY", 1010, 1020, 1]
    ]  # fmt: skip


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_types_equal_painting_base_by_base(tmp_path_factory, data):
    """Against a straightforward model: paint every transcript onto its strand, the highest precedence last."""
    rows, painted = "", {strand: np.full(80, REGIONS.index("intergenic")) for strand in "+-"}
    for number in range(data.draw(st.integers(1, 5))):
        strand = data.draw(st.sampled_from("+-"))
        edges = sorted(data.draw(st.sets(st.integers(0, 79), min_size=2, max_size=6)))
        exons = list(zip(edges[::2], edges[1::2]))
        ids = {"gene_id": f"G{data.draw(st.integers(0, 2))}", "transcript_id": f"T{number}"}
        rows += "".join(line("1", "exon", *exon, strand, **ids) for exon in exons)
        exonic = sorted(base for exon in exons for base in range(*exon))
        kind = dict.fromkeys(range(exons[0][0], exons[-1][1]), "intron") | dict.fromkeys(exonic, "ncRNA")
        if data.draw(st.booleans()):
            first, last = sorted(data.draw(st.lists(st.sampled_from(exonic), min_size=2, max_size=2)))
            for start, end in exons:
                if max(start, first) < min(end, last + 1):
                    rows += line("1", "CDS", max(start, first), min(end, last + 1), strand, **ids)
            for base in exonic:
                is_left = base < first
                outside = "5'UTR" if is_left == (strand == "+") else "3'UTR"
                kind[base] = "CDS" if first <= base <= last else outside
        for base, name in kind.items():
            painted[strand][base] = min(painted[strand][base], REGIONS.index(name))
    annotation = read_gtf(write(tmp_path_factory.mktemp("gtf"), rows))
    covered = {strand: painted[strand] < REGIONS.index("intergenic") for strand in "+-"}
    for strand, other in ("+-", "-+"):
        got = annotation.region_types(bases("chr1", range(80), strand))
        assert got["region"].tolist() == [REGIONS[i] for i in painted[strand]]
        assert got["conflict"].tolist() == (~covered[strand] & covered[other]).tolist()
        assert (got["gene"] != ".").tolist() == covered[strand].tolist()
    both = np.minimum(painted["+"], painted["-"])
    assert types(annotation, "chr1", range(80), ".") == [REGIONS[i] for i in both]


# Reading


def test_order_comments_names_and_line_ends_do_not_matter(tmp_path):
    text = two_strands("ensembl")
    rows = text.splitlines(True)
    untidy = "#!genome-build GRCh38\r\n\r\n" + "".join(rows[::-1]).replace("\n", "\r\n")
    one, two = read_gtf(write(tmp_path, text)), read_gtf(write(tmp_path, untidy, "untidy.gtf"))
    for chrom, strand in (("chr1", "+"), ("chr2", "-")):
        window = bases(chrom, range(700), strand)
        pd.testing.assert_frame_equal(one.region_types(window), two.region_types(window))


def test_attributes_are_found_by_their_whole_name(tmp_path):
    attributes = 'ref_gene_id "WRONG"; my_transcript_id "WRONG"; transcript_id T1;gene_id "G 1"; gene_name "A"; level 2'
    annotation = read_gtf(write(tmp_path, f"1\tx\texon\t1\t5\t.\t+\t.\t{attributes}\n"))
    assert annotation.transcripts.loc[0, ["transcript_id", "gene_id", "gene_name"]].tolist() == ["T1", "G 1", "A"]


@pytest.mark.parametrize(
    ("attributes", "wanted"),
    [
        ('gene_id "AtG;1"; transcript_id "AtG;1.1"; gene_name "ARF;1";', ["AtG;1.1", "AtG;1", "ARF;1"]),
        ('note "transcript_id W; gene_id V"; gene_id "G"; transcript_id "T"', ["T", "G", ""]),
        ('note "as gene_name W"; transcript_id T; gene_id G', ["T", "G", ""]),
        ("note see transcript_id W; transcript_id T; gene_id G \r", ["T", "G", ""]),
        ("transcript_id T;gene_id G;gene_name my gene ;", ["T", "G", "my gene"]),
        ('gene_id "5\\" end; gene_id W"; transcript_id "T";', ["T", '5\\" end; gene_id W', ""]),
        ('gene_id "2""-5"" A"; transcript_id "T"; gene_name ""; level 2;', ["T", "2", ""]),
        ('gene_id "G" transcript_id "T" gene_name "N"', ["T", "G", "N"]),
        (" ; gene_id\u00a0G ;; transcript_id  'T' ; gene_name \"  \"", ["'T'", "G", "  "]),
    ],
)
def test_attributes_are_read_as_gtf_defines_them(tmp_path, attributes, wanted):
    annotation = read_gtf(write(tmp_path, f"1\tx\texon\t1\t5\t.\t+\t.\t{attributes}\n"))
    assert annotation.transcripts.loc[0, ["transcript_id", "gene_id", "gene_name"]].tolist() == wanted


@given(st.data())
def test_any_quoted_value_comes_back(data):
    """Whatever stands in other attributes, quoted or not, before or after."""
    text = st.text(st.characters(codec="utf-8", exclude_characters='"\\\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029'))
    value = data.draw(text.filter(bool), label="value")
    notes = data.draw(st.lists(text | st.just("x; transcript_id y; "), max_size=3), label="notes")
    parts = [f'note{i} "{note}"' for i, note in enumerate(notes)]
    parts.insert(data.draw(st.integers(0, len(parts))), f'transcript_id "{value}"')
    assert annotation_module._value(annotation_module._TRANSCRIPT_ID, "; ".join(parts)) == value


def test_genes_are_neither_merged_nor_split(cases_folder):
    folder = cases_folder / "gtf_attributes"
    apart = read_gtf(folder / "merge.gtf")
    assert apart.genes[["gene_id", "gene_name", "start", "end"]].to_numpy().tolist() == [
        ["AtG;1", "ARF;1", 100, 200], ["AtG;2", "ARF;2", 5000, 5100]
    ]  # fmt: skip
    assert apart.transcripts["transcript_id"].tolist() == ["AtG;1.1", "AtG;2.1"]
    one = read_gtf(folder / "unq4.gtf")
    assert one.genes[["gene_id", "start", "end"]].to_numpy().tolist() == [["A", 100, 600]]
    assert one.transcripts[["transcript_id", "gene_id", "cds_start", "cds_end"]].to_numpy().tolist() == [
        ["T1", "A", 200, 300], ["T2", "A", -1, -1]
    ]  # fmt: skip
    assert types(one, "chr1", [150, 250, 350, 450, 550], "+") == ["5'UTR", "CDS", "3'UTR", "intergenic", "ncRNA"]


def test_a_hostile_line_of_attributes_takes_no_time():
    """The patterns must not try every way to divide a long line."""
    for text in ('"' * 50_001, '";' * 50_001, "a " * 100_000, '\\"' * 50_000, "transcript_id " * 20_000, " " * 100_000):
        began = time.perf_counter()
        assert annotation_module._value(annotation_module._GENE_ID, text) == ""
        assert time.perf_counter() - began < 5


def test_transcripts_without_exons_are_counted(tmp_path, caplog):
    text = line("1", "CDS", 10, 20, "+", gene_id="G0", transcript_id="T0") + two_strands("bare")
    annotation = read_gtf(write(tmp_path, text))
    assert "left out 1 of 3 transcripts, which have CDS but no exon" in caplog.text
    assert annotation.genes["gene_id"].tolist() == ["ID_PLUS", "ID_MINUS"]
    assert types(annotation, "chr2", range(700), "-") == expected(MINUS_PARTS)


GOOD = line("1", "exon", 0, 5, "+", gene_id="G", transcript_id="T")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found no exon line, wanted a GTF file with exons"),
        (line("1", "gene", 0, 5, "+", gene_id="G"), "found no exon line"),
        (line("1", "CDS", 0, 5, "+", gene_id="G", transcript_id="T"), "found no exon line"),
        (GOOD + "chr1\t10\t20\n", "line 2: found 3 tab-separated columns, wanted 9"),
        (GOOD + GOOD.replace("\t", " "), "line 2: found 1 tab-separated columns, wanted 9"),
        (GOOD + GOOD.replace("\t1\t", "\tone\t"), "line 2: found start 'one' and end '5', wanted whole numbers"),
        (GOOD + GOOD.replace("\t5\t", "\t1_000\t"), "line 2: found start '1' and end '1_000', wanted whole numbers"),
        (GOOD + GOOD.replace("\t1\t", "\t0\t"), "line 2: found start '0' and end '5'"),
        (GOOD + GOOD.replace("\t1\t", "\t6\t"), "line 2: found start '6' and end '5'"),
        (GOOD + GOOD.replace("+", "*"), r"line 2: found strand '\*', wanted '\+', '-' or '.'"),
        (GOOD + GOOD.replace("transcript_id", "id"), 'line 2: found no transcript_id in \'gene_id "G"; id "T";\''),
        (GOOD.replace("gene_id", "id"), "line 1: found no gene_id in"),
        (
            "##gff-version 3\n1\tx\texon\t1\t5\t.\t+\t.\tID=exon:1;Parent=transcript:T\n",
            "line 2: found GFF3 attributes .* wanted GTF",
        ),
    ],
)
def test_faults(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        read_gtf(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_missing_and_truncated_files(tmp_path):
    with pytest.raises(InputError, match=r"none.gtf: found no such file"):
        read_gtf(tmp_path / "none.gtf")
    path = write(tmp_path, two_strands("ensembl"), "genes.gtf.gz")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"genes.gtf.gz: the gzip stream ends early"):
        read_gtf(path)


# Real data


@pytest.fixture(scope="module")
def chr9(shared_dir) -> Path:
    return shared_dir / "data" / "genome" / "Ensembl91.chr9_1_1000000.gtf.gz"


@pytest.mark.shared
def test_derived_utrs_are_those_of_the_file(chr9):
    columns = ["chrom", "source", "feature", "start", "end", "score", "strand", "frame", "attributes"]
    table = pd.read_csv(chr9, sep="\t", header=None, names=columns, comment="#", dtype={"chrom": str})
    table["start"] -= 1
    table["transcript_id"] = table["attributes"].str.extract('transcript_id "([^"]+)"')
    annotation = read_gtf(chr9)
    exons = annotation.exons.join(annotation.transcripts[["transcript_id", "cds_start", "cds_end"]], on="transcript")
    left = exons.assign(end=exons["end"].clip(upper=exons["cds_start"]))
    right = exons.assign(start=exons["start"].clip(lower=exons["cds_end"]))
    derived = pd.concat([left, right])[lambda part: (part["start"] < part["end"]) & (part["cds_start"] >= 0)]
    wanted = table[table["feature"].isin(["five_prime_utr", "three_prime_utr"])]
    place = ["transcript_id", "start", "end"]
    assert sorted(derived[place].to_numpy().tolist()) == sorted(wanted[place].to_numpy().tolist())
    # Every base of every such feature is typed so, or as something of higher precedence.
    for feature, region in (("five_prime_utr", "5'UTR"), ("three_prime_utr", "3'UTR")):
        allowed = set(REGIONS[: REGIONS.index(region) + 1])
        spans = merge(wanted[wanted["feature"] == feature])[0]
        for _, span in spans.iterrows():
            assert set(types(annotation, "9", range(span["start"], span["end"]), span["strand"])) <= allowed


@pytest.mark.shared
def test_peaks_of_chr9_lie_in_genes_on_their_strand(chr9, shared_dir):
    files = sorted((shared_dir / "data" / "eclip_peaks").glob("*.bed.gz"))
    columns = {0: "chrom", 1: "start", 2: "end", 5: "strand"}
    peaks = pd.concat([pd.read_csv(file, sep="\t", header=None, usecols=list(columns)) for file in files])
    peaks = peaks.rename(columns=columns).query("chrom == 'chr9' and end <= 1_000_000")
    assert len(peaks) == 184
    got = read_gtf(chr9).region_types(peaks)
    # RNA-binding proteins bind RNA: nearly all sites are in transcripts, and of the right strand.
    assert (got["region"] == "intergenic").mean() < 0.05
    assert got["conflict"].mean() < 0.05
    assert set(got["gene"]) == {"DOCK8", "KANK1", "WASHC1"}
