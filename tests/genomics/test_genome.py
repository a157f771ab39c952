"""Sequence of windows from contigs and from regions."""

from __future__ import annotations

import gzip
import logging
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from Bio import bgzf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from LAMAR.alphabet import reverse_complement
from LAMAR.data.sequences import read_fasta, write_fasta
from LAMAR.errors import InputError
from LAMAR.genomics import genome_index
from LAMAR.genomics.genome import open_genome

#            0         1         2
#            0123456789012345678901234
SEQUENCE = "acgtNACGTTTGGCCRAAUtgcatG"
CLEAN = "ACGTNACGTTTGGCCNAATTGCATG"


def windows(*rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["chrom", "start", "end", "strand"])


def write(folder, text: str | bytes, name: str = "genome.fa"):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def extract(path, *rows) -> list:
    with open_genome(path) as source:
        return source.extract(windows(*rows))


def wrapped(sequence: str, width: int) -> str:
    return "".join(f"{sequence[i : i + width]}\n" for i in range(0, len(sequence), width))


def bgzip(path, text: bytes, block: int = 1 << 16):
    with bgzf.BgzfWriter(path, "wb") as handle:
        for i in range(0, len(text), block):
            handle.write(text[i : i + block])
            handle.flush()
    return path


CONTIGS = f">9 first\n{wrapped(SEQUENCE, 7)}>chrX\n{wrapped('GGGTTTAAACCC', 5)}"
SAVED = {"plain": "genome.fa", "windows": "genome.fa", "bgzip": "genome.fa.gz", "gzip": "genome.fa.gz"}


@pytest.fixture(params=[*SAVED, "ragged", "regions", "minus regions"])
def source_path(request, tmp_path):
    """The same two contigs in each form that `open_genome` reads."""
    path = tmp_path / SAVED.get(request.param, "genome.fa")
    text = CONTIGS.encode()
    if request.param == "windows":
        path.write_bytes(text.replace(b"\n", b"\r\n"))
    elif request.param == "bgzip":
        bgzip(path, text, block=11)
    elif request.param == "gzip":
        path.write_bytes(gzip.compress(text))
    elif request.param == "ragged":
        path.write_bytes(text.replace(b"\n", b"\n\n"))
    elif request.param == "regions":
        write_fasta(path, [("9:0-25", SEQUENCE), ("chrX:0-12(+)", "GGGTTTAAACCC")])
    elif request.param == "minus regions":
        write_fasta(path, [("9:0-25(-)", reverse_complement(CLEAN)), ("chrX:0-12(-)", "GGGTTTAAACCC")])
    else:
        path.write_bytes(text)
    return path


def test_every_form_gives_the_same_windows(source_path):
    got = extract(
        source_path,
        ("chr9", 0, 4, "+"),
        ("9", 0, 4, "-"),
        ("chr9", 5, 10, "."),
        ("chr9", 0, 25, "+"),
        ("chr9", 20, 25, "-"),  # flush with the end
        ("chr9", 24, 25, "+"),
        ("chr9", 20, 26, "+"),  # past it
        ("chr9", 25, 26, "+"),
        ("chr9", -1, 3, "+"),
        ("chr9", -3, -1, "+"),
        ("chrX", 0, 12, "+"),
        ("X", 2, 7, "-"),
        ("chr1", 0, 4, "+"),
    )
    assert got == [
        "ACGT", "ACGT", "ACGTT", CLEAN, "CATGC", "G", None, None, None, None, "GGGTTTAAACCC", "TAAAC", None
    ]  # fmt: skip


def test_contigs_tell_what_is_there(source_path):
    with open_genome(source_path) as source:
        assert source.contigs[["chrom", "start", "end"]].to_numpy().tolist() == [["chr9", 0, 25], ["chrX", 0, 12]]
        assert source.contigs.columns.tolist() == ["chrom", "start", "end", "strand"]
        assert source.contigs["start"].dtype == source.contigs["end"].dtype == np.int64


def test_without_strand_and_with_any_index(tmp_path):
    table = windows(("chr9", 10, 13, "-"), ("chr9", 50, 60, "-"), ("chr9", 0, 4, "-")).set_index([[7, 7, 2]])
    with open_genome(write(tmp_path, CONTIGS)) as source:
        assert source.extract(table) == ["CCA", None, "ACGT"]
        assert source.extract(table.drop(columns="strand")) == ["TGG", None, "ACGT"]
        assert source.locate(table).tolist() == [0, -1, 0]
        assert source.extract(table.iloc[:0]) == []


def test_a_window_of_no_base_is_refused(tmp_path):
    with open_genome(write(tmp_path, CONTIGS)) as source, pytest.raises(ValueError, match=r"row 1: found 5-5"):
        source.extract(windows(("chr9", 0, 2, "+"), ("chr9", 5, 5, "+")))


# Regions


def test_regions_that_overlap_and_repeat(tmp_path):
    # The region that starts last before a window need not be the one that holds it.
    regions = [(8, 12), (0, 25), (8, 12), (3, 6), (20, 24)]
    path = tmp_path / "regions.fa.gz"
    write_fasta(path, [(f"chr9:{a}-{b}", SEQUENCE[a:b]) for a, b in regions])
    assert extract(path, ("chr9", 9, 11, "+"), ("chr9", 9, 20, "+"), ("chr9", 21, 25, "+")) == [
        CLEAN[9:11], CLEAN[9:20], CLEAN[21:25]
    ]  # fmt: skip


def test_neighbouring_regions_are_not_joined(tmp_path):
    path = write(tmp_path, ">chr1:10-14\nACGT\n>chr1:14-18(-)\nAACC\n")
    with open_genome(path) as source:
        assert source.extract(
            windows(("chr1", 12, 14, "+"), ("chr1", 12, 15, "+"), ("chr1", 14, 16, "+"), ("chr1", 14, 16, "-"))
        ) == ["GT", None, "GG", "CC"]
        assert source.contigs["strand"].tolist() == [".", "-"]


@pytest.mark.parametrize(("sequence", "hint"), [("ACG", ""), ("ACGTA", "; coordinates that count from 1, as samtools")])
def test_a_region_of_another_length_is_refused(tmp_path, sequence, hint):
    path = write(tmp_path, f">chr1:0-2\nAC\n>chr1:10-14(+)\n{sequence}\n")
    message = rf"genome.fa: record chr1:10-14\(\+\): found {len(sequence)} nucleotides, wanted end - start = 4{hint}"
    with pytest.raises(InputError, match=message):
        open_genome(path)


def test_records_without_coordinates_among_regions_are_counted(tmp_path, caplog):
    path = write(tmp_path, ">chr1:0-2\nAC\n>spike-in\nACGT\n>other\nACGT\n")
    assert extract(path, ("chr1", 0, 2, "+"), ("other", 0, 2, "+")) == ["AC", None]
    assert "left out 2 of 3 records, whose headers hold no coordinates (the first is 'spike-in')" in caplog.text


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_extraction_is_slicing(tmp_path_factory, data):
    lengths = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=3))
    contigs = [data.draw(st.text("ACGTacgtNnUu", min_size=n, max_size=n)) for n in lengths]
    clean = [sequence.upper().replace("U", "T") for sequence in contigs]
    rows = data.draw(
        st.lists(
            st.builds(
                lambda c, a, n, strand: (f"chr{c + 1}", a, a + n, strand),
                st.integers(0, len(contigs)), st.integers(-3, 45), st.integers(1, 30), st.sampled_from("+-."),
            ),
            max_size=20,
        )
    )  # fmt: skip
    wanted = []
    for chrom, start, end, strand in rows:
        contig = int(chrom[3:]) - 1
        inside = contig < len(contigs) and start >= 0 and end <= len(contigs[contig])
        sequence = clean[contig][start:end] if inside else None
        wanted.append(reverse_complement(sequence) if inside and strand == "-" else sequence)
    folder = tmp_path_factory.mktemp("genome")
    width = data.draw(st.integers(1, 45))
    text = "".join(f">{i + 1}\n{wrapped(sequence, width)}" for i, sequence in enumerate(contigs))
    packed = bgzip(folder / "packed.fa.gz", text.encode(), block=data.draw(st.integers(1, 50)))
    text = text.rstrip("\n") if data.draw(st.booleans()) else text
    plain = write(folder, text)
    records = []
    for i, sequence in enumerate(clean):
        strand = data.draw(st.sampled_from(["", "(+)", "(-)"]))
        records.append((f"chr{i + 1}:0-{len(sequence)}{strand}", sequence))
        a = data.draw(st.integers(0, len(sequence) - 1))
        records.append((f"{i + 1}:{a}-{len(sequence)}{strand}", sequence[a:]))
    records = [(name, reverse_complement(bases) if name.endswith("(-)") else bases) for name, bases in records]
    regions = folder / "regions.fa"
    write_fasta(regions, data.draw(st.permutations(records)))
    for path in (plain, packed, regions):
        assert extract(path, *rows) == wanted
        opposite = [(chrom, start, end, "+" if strand == "-" else "-") for chrom, start, end, strand in rows]
        turned = [None if sequence is None else reverse_complement(sequence) for sequence in extract(path, *opposite)]
        assert turned == wanted


@given(st.text("ACGTN", max_size=50))
def test_reverse_complement_twice_is_the_identity(sequence):
    assert reverse_complement(reverse_complement(sequence)) == sequence


# Index


def test_the_index_is_kept_and_renewed(tmp_path):
    path = write(tmp_path, CONTIGS)
    index = tmp_path / "genome.fa.fai"
    extract(path, ("chr9", 0, 1, "+"))
    assert index.read_text() == "9\t25\t9\t7\t8\nchrX\t12\t44\t5\t6\n"
    assert sorted(os.listdir(tmp_path)) == ["genome.fa", "genome.fa.fai"]
    before = index.stat().st_mtime_ns
    extract(path, ("chr9", 0, 1, "+"))
    assert index.stat().st_mtime_ns == before
    write(tmp_path, ">chr2\nAACCGGTT\n>chr3\nTTT\n")
    os.utime(index, ns=(0, 0))
    assert extract(path, ("chr2", 2, 6, "+"), ("chr9", 0, 1, "+")) == ["CCGG", None]
    assert index.read_text().startswith("chr2\t8\t")


@pytest.mark.parametrize(
    "text",
    [
        ">chr7\nACGTACG\n" + CONTIGS.partition("\n")[2],  # another name, other offsets
        CONTIGS.replace("9 f", "8 f"),
        CONTIGS.replace("chrX", "chrY"),
        CONTIGS + "A\n",
        CONTIGS.replace("\n", "\r\n"),
        CONTIGS[:-3],
        f">9 first\n{wrapped(SEQUENCE, 8)}>chrX\nGGGTTTAAACCC",
    ],
)
def test_an_index_of_another_file_is_renewed_whatever_its_time(tmp_path, text):
    path = write(tmp_path, CONTIGS)
    extract(path, ("chr9", 0, 1, "+"))
    write(tmp_path, text)
    os.utime(path, ns=(0, 0))
    contigs = {header.split()[0]: sequence for header, sequence in read_fasta(path)}
    rows = [(name, 0, len(sequence), "+") for name, sequence in contigs.items()]
    assert extract(path, *rows) == list(contigs.values())


@pytest.mark.parametrize(
    "content", ["", "no index\n", "9\t25\t9\t0\t0\n", "9\t25\t-9\t7\t8\n", "9\tx\t9\t7\t8\n", "\0"]
)
def test_a_damaged_index_is_renewed(tmp_path, content):
    path = write(tmp_path, CONTIGS)
    write(tmp_path, content, "genome.fa.fai")
    assert extract(path, ("chr9", 0, 4, "+"), ("chrX", 0, 4, "+")) == ["ACGT", "GGGT"]
    assert (tmp_path / "genome.fa.fai").read_text().startswith("9\t25\t9\t7\t8\n")


def test_a_folder_that_cannot_be_written_needs_no_index_there(tmp_path, monkeypatch):
    # Root writes anywhere, so a refusal is made up.
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(genome_index, "atomic_write", refuse)
    path = bgzip(tmp_path / "genome.fa.gz", CONTIGS.encode())
    assert extract(path, ("chr9", 0, 4, "+")) == ["ACGT"]
    assert os.listdir(tmp_path) == ["genome.fa.gz"]


def test_bgzip_keeps_both_indexes(tmp_path):
    path = bgzip(tmp_path / "genome.fa.gz", CONTIGS.encode())
    extract(path, ("chr9", 0, 4, "+"))
    assert sorted(os.listdir(tmp_path)) == ["genome.fa.gz", "genome.fa.gz.fai", "genome.fa.gz.gzi"]
    (tmp_path / "genome.fa.gz.gzi").unlink()
    assert extract(path, ("chrX", 0, 4, "+")) == ["GGGT"]
    assert (tmp_path / "genome.fa.gz.gzi").exists()


def test_files_read_into_memory_are_named(tmp_path, caplog):
    def warnings(path) -> list[str]:
        caplog.clear()
        assert extract(path, ("chr9", 0, 4, "+")) == ["ACGT"]
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    assert warnings(write(tmp_path, CONTIGS)) == []
    assert warnings(bgzip(tmp_path / "a.fa.gz", CONTIGS.encode())) == []
    [message] = warnings(write(tmp_path, gzip.compress(CONTIGS.encode()), "b.fa.gz"))
    assert "b.fa.gz: gzip cannot be indexed" in message
    assert "bgzip or gunzip it" in message
    [message] = warnings(write(tmp_path, CONTIGS.replace("\n", "\n\n"), "c.fa"))
    assert "c.fa: cannot be indexed (lines of unequal length?)" in message
    for path in (shutil.copy(tmp_path / "a.fa.gz", tmp_path / "d.fa"), write(tmp_path, CONTIGS, "e.fa.gz")):
        [message] = warnings(path)
        assert "its name does not tell its compression" in message
    assert warnings(write(tmp_path, ">chr9:0-4\nACGT\n", "f.fa")) == []


# Faults


@pytest.mark.parametrize("pack", ["plain", "gzip", "bgzip"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found no FASTA record"),
        ("; a comment\n", "found no FASTA record"),
        ("ACGT\nACGT\n", "line 1: found 'ACGT' before the first '>' line"),
        (">\nACGT\n", "line 1: found '>' alone"),
        (">chr1\n", "record chr1 has no sequence"),
        (">chr1\n>chr2\nACGT\n", "line 1: record chr1 has no sequence"),
        (">chr1\nACGT\n>chr2\n", "line 3: record chr2 has no sequence"),
        (">sp|P1\nMKVLAT\n", r"record sp\|P1.*: position 3: found 'V'|record sp\|P1.*: position 4: found 'L'"),
        (">chr1\nACGT\n>chr1\nACGT\n", "found two contigs of the name 'chr1', wanted different names"),
        (">chr1:0-4\nACLT\n", "record chr1:0-4: position 3: found 'L'"),
    ],
)
def test_fasta_faults(tmp_path, pack, text, message):
    path = tmp_path / ("genome.fa" if pack == "plain" else "genome.fa.gz")
    if pack == "bgzip":
        bgzip(path, text.encode())
    else:
        path.write_bytes(gzip.compress(text.encode()) if pack == "gzip" else text.encode())
    with pytest.raises(InputError, match=message) as caught:
        open_genome(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("headers", [("chr1", "chr2"), ("chr1:0-4000", "chr2:0-4000")])
@pytest.mark.parametrize("pack", [gzip.compress, None])
def test_a_truncated_file_is_refused(tmp_path, headers, pack):
    bases = np.frombuffer(b"ACGT", dtype=np.uint8)[np.random.default_rng(0).integers(0, 4, 4000)].tobytes()
    text = b"".join(b">%s\n%s\n" % (header.encode(), bases) for header in headers)
    path = tmp_path / "genome.fa.gz"
    if pack:
        path.write_bytes(pack(text))
    else:
        bgzip(path, text, block=1000)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"genome.fa.gz: the gzip stream ends early|genome.fa.gz: .* is damaged"):
        open_genome(path)


@pytest.mark.parametrize("letter", ["L", "-", "*"])
@pytest.mark.parametrize("pack", ["plain", "bgzip"])
def test_a_wrong_letter_in_a_window_is_named(tmp_path, pack, letter):
    text = (">chr1\n" + wrapped("A" * 5000, 50) + ">chr2\n" + "C" * 3000 + letter + "C" * 10 + "\n").encode()
    path = tmp_path / ("genome.fa.gz" if pack == "bgzip" else "genome.fa")
    bgzip(path, text) if pack == "bgzip" else path.write_bytes(text)
    with open_genome(path) as source:
        assert source.extract(windows(("chr2", 2990, 3000, "+"))) == ["C" * 10]
        with pytest.raises(InputError, match=rf"record chr2:2991-3002: position 10: found {letter!r}"):
            source.extract(windows(("chr2", 2991, 3002, "+")))


def test_blanks_in_a_line_are_named(tmp_path):
    path = write(tmp_path, ">chr1\n" + "A" * 2000 + "  " + "C" * 20 + "\n")
    with open_genome(path) as source:
        with pytest.raises(InputError, match=r"record chr1:1995-2001: found 5 nucleotides, wanted 6; there are blanks"):
            source.extract(windows(("chr1", 1995, 2001, "+")))
        with pytest.raises(InputError, match="record chr1:2000-2002: found an empty sequence"):
            source.extract(windows(("chr1", 2000, 2002, "+")))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none.fa: found no such file"):
        open_genome(tmp_path / "none.fa")


# Real data


@pytest.fixture(scope="module")
def eclip_windows(shared_dir) -> pd.DataFrame:
    """All windows of the 12 experiments, with the sequence that their files hold."""
    files = sorted((shared_dir / "data" / "eclip_windows").glob("*.tsv.gz"))
    return pd.concat([pd.read_csv(file, sep="\t").assign(experiment=file.name) for file in files], ignore_index=True)


def compared(path, table: pd.DataFrame) -> pd.Series:
    """Windows found in ``path`` by experiment, each asserted to be the table's own sequence."""
    with open_genome(path) as source:
        table = table.assign(extracted=pd.Series(source.extract(table), dtype=object, index=table.index))
    found = table[table["extracted"].notna()]
    assert (found["extracted"] == found["sequence"]).all()
    return found.groupby("experiment").size()


@pytest.mark.shared
def test_windows_of_chr9(shared_dir, tmp_path, eclip_windows):
    path = shutil.copy(shared_dir / "data" / "genome" / "GRCh38.chr9_1_1000000.fa.gz", tmp_path)
    inside = eclip_windows.query("chrom == 'chr9' and end <= 1_000_000")
    assert compared(path, eclip_windows).sum() == len(inside) > 0
    assert set(inside["strand"]) == {"+", "-"}


@pytest.mark.shared
def test_windows_of_chr6(shared_dir, tmp_path, eclip_windows):
    # Its own header holds no coordinates that can be read; its first base is chr6:34,000,000 counted from 1.
    [(_, sequence)] = read_fasta(shared_dir / "data" / "genome" / "GRCh38.chr6_34000000_35000000.fa.gz")
    start = 34_000_000 - 1
    end = start + len(sequence)
    path = tmp_path / "chr6.fa.gz"
    write_fasta(path, [(f"chr6:{start}-{end}", sequence)])
    inside = eclip_windows.query("chrom == 'chr6' and start >= @start and end <= @end")
    assert compared(path, eclip_windows).sum() == len(inside) > 0
    assert set(inside["strand"]) == {"+", "-"}


@pytest.mark.shared
def test_windows_of_the_clip_regions(shared_dir, eclip_windows):
    found = compared(shared_dir / "data" / "clip_regions" / "hg38_clip_regions.fa.gz", eclip_windows)
    assert len(found) == 12
    assert found.sum() == len(eclip_windows)
