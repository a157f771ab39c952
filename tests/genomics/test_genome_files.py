"""Genomes in files that are irregular, damaged, or indexed wrongly, and contigs whose names are spelled alike."""

from __future__ import annotations

import os
import shutil
import struct

import numpy as np
import pandas as pd
import pytest
from Bio import bgzf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from LAMAR.data.sequences import read_fasta
from LAMAR.errors import InputError
from LAMAR.genomics.genome import open_genome

NAMES = {"plain": "g.fa", "bgzip": "g.fa.gz"}


def windows(*rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["chrom", "start", "end"])


def write(folder, text: str, pack: str = "plain", block: int = 1000):
    path = folder / NAMES[pack]
    if pack == "plain":
        path.write_text(text)
        return path
    with bgzf.BgzfWriter(path, "wb") as handle:
        for i in range(0, len(text), block):
            handle.write(text[i : i + block].encode())
            handle.flush()
    return path


def extract(path, *rows) -> list:
    with open_genome(path) as source:
        return source.extract(windows(*rows))


def contigs_of(path) -> dict[str, str]:
    return {header.split()[0]: sequence for header, sequence in read_fasta(path)}


# Lines


def test_a_long_line_and_a_blank_one(cases_folder, tmp_path, caplog):
    path = shutil.copy(cases_folder / "genome_odd_line" / "g.fa", tmp_path)
    assert extract(path, ("c", 0, 18), ("c", 3, 11), ("d", 0, 4)) == ["A" * 18, "A" * 8, "A" * 4]
    [message] = caplog.messages
    assert "cannot be indexed (lines of unequal length?), reading it all into memory" in message
    assert os.listdir(tmp_path) == ["g.fa"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_lines_are_windows_are_slices(tmp_path_factory, data):
    """Lines of any length, blank ones among them, in either form: by the index or from memory, never another letter."""
    letters = iter(range(10**6))
    text, contigs = "", {}
    for number in range(data.draw(st.integers(1, 3))):
        width = data.draw(st.integers(1, 6))
        lines = [width] * data.draw(st.integers(0, 4)) + data.draw(st.lists(st.integers(0, 14), max_size=3))
        lines = [*lines, data.draw(st.integers(1, 14))]
        # Letters that change all the time, so that a window at another place is another one.
        cut = ["".join("ACGT"[(next(letters) * 7 // 3) % 4] for _ in range(n)) for n in lines]
        contigs[f"c{number}"] = "".join(cut)
        end = data.draw(st.sampled_from(["\n", "\r\n"]))
        text += "".join(line + end for line in [f">c{number} x", *cut]) + data.draw(st.sampled_from(["", "\n", "\n\n"]))
    text = text.rstrip() if data.draw(st.booleans()) else text
    folder = tmp_path_factory.mktemp("genome")
    for pack in NAMES:
        (folder / pack).mkdir()
        path = write(folder / pack, text, pack, block=data.draw(st.integers(1, 40)))
        for name, sequence in contigs.items():
            rows = [(name, i, j) for i in range(len(sequence)) for j in range(i + 1, min(i + 9, len(sequence)) + 1)]
            assert extract(path, *rows) == [sequence[i:j] for _, i, j in rows]


# Damage


NUMBERS = [-1, 0, 2**31, 2**47, 2**62, 2**63, 2**64, 10**30, 10**400]


@pytest.mark.parametrize("pack", NAMES)
@pytest.mark.parametrize("column", [1, 2, 3, 4])
def test_absurd_numbers_in_an_index_renew_it(tmp_path, pack, column):
    path = write(tmp_path, ">chr1\nACGTACG\nTTTGG\n>chr2\nCCCAA\nC\n", pack)
    wanted = ["GTTT", "AAC"]
    rows = ("chr1", 6, 10), ("chr2", 3, 6)
    assert extract(path, *rows) == wanted
    index = path.with_name(path.name + ".fai")
    good = index.read_text()
    for number in NUMBERS:
        fields = [line.split("\t") for line in good.splitlines()]
        fields[1][column] = str(number)
        index.write_text("".join("\t".join(line) + "\n" for line in fields))
        assert extract(path, *rows) == wanted
        assert index.read_text() == good


@pytest.mark.parametrize("content", [b"", b"\xff" * 7, b"\xff" * 8, b"\xff" * 800, struct.pack("<QQQ", 1, 2**60, 5)])
def test_a_damaged_index_of_blocks_is_renewed(tmp_path, content):
    path = write(tmp_path, ">chr1\nACGTACG\nTTTGG\n>chr2\nCCCAA\nC\n", "bgzip", block=9)
    extract(path, ("chr1", 0, 1))
    index = path.with_name(path.name + ".gzi")
    good = index.read_bytes()
    index.write_bytes(content)
    assert extract(path, ("chr1", 6, 10), ("chr2", 3, 6)) == ["GTTT", "AAC"]
    assert index.read_bytes() == good


@pytest.mark.parametrize("entry", [1, 2, 3, 4])
@pytest.mark.parametrize("shift", [(1, 0), (0, 1), (-3, 2), (2**40, 0), (0, 2**63)])
def test_an_index_with_another_block_is_renewed(tmp_path, entry, shift):
    """Two blocks exchanged, say: the letters of one would be read for those of the other."""
    sequence = "".join(np.random.default_rng(5).choice(list("ACGT"), 4000))
    lines = "\n".join(sequence[i : i + 50] for i in range(0, 4000, 50))
    path = write(tmp_path, f">chr1\n{lines}\n", "bgzip", block=700)
    extract(path, ("chr1", 0, 1))
    index = path.with_name(path.name + ".gzi")
    good = index.read_bytes()
    numbers = list(struct.unpack(f"<{len(good) // 8}Q", good))
    if entry == 4:  # blocks 2 and 3 exchanged, whatever the shift
        numbers[3], numbers[5] = numbers[5], numbers[3]
    else:
        for i, move in zip((2 * entry - 1, 2 * entry), shift):
            numbers[i] = max(0, numbers[i] + move)
    index.write_bytes(struct.pack(f"<{len(numbers)}Q", *numbers))
    rows = [("chr1", start, start + 60) for start in range(0, 3900, 60)]
    assert extract(path, *rows) == [sequence[start:end] for _, start, end in rows]
    assert index.read_bytes() == good


def test_damaged_blocks_are_named_and_never_read_as_others(tmp_path):
    """Each window of a damaged file is right, or an error of one line that names file and place."""
    sequence = "".join(np.random.default_rng(3).choice(list("ACGT"), 4000))
    lines = "\n".join(sequence[i : i + 50] for i in range(0, 4000, 50))
    path = write(tmp_path, f">chr1\n{lines}\n", "bgzip", block=500)
    good = path.read_bytes()
    rows = [("chr1", start, start + 200) for start in range(0, 3800, 200)]
    wanted = extract(path, *rows)
    later = os.stat(f"{path}.fai").st_mtime_ns
    faults = []
    for at in range(0, len(good), 23):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x5A]) + good[at + 1 :])
        os.utime(path, ns=(later, later))
        try:
            with open_genome(path) as source:
                for row, right in zip(rows, wanted):
                    try:
                        assert source.extract(windows(row)) == [right]
                    except InputError as error:
                        faults.append(str(error))
        except InputError as error:
            faults.append(str(error))
    assert len(faults) > 40
    assert all(fault.startswith(f"{path}: ") for fault in faults)
    assert any(f"{path}: record chr1:" in fault and "cannot be read" in fault for fault in faults)


# Names


def test_contigs_that_are_spelled_alike_can_be_opened(cases_folder, tmp_path, caplog):
    path = shutil.copy(cases_folder / "hg19_chrM_chrMT" / "g.fa", tmp_path)
    contigs = contigs_of(path)
    assert list(contigs) == ["chr1", "chrM", "chrMT"]
    assert contigs["chrM"] != contigs["chrMT"]
    with open_genome(path) as source:
        assert source.contigs["chrom"].tolist() == ["chr1", "chrM", "chrM"]
        assert source.extract(windows(("chr1", 5, 9), ("1", 5, 9))) == [contigs["chr1"][5:9]] * 2
        assert caplog.messages == []
        for name in ("chrM", "chrMT", "chrM"):
            rows = windows((name, 0, 50), ("chr1", 0, 3))
            assert source.extract(rows) == [contigs[name][:50], contigs["chr1"][:3]]
        found = f"{path}: found contigs 'chrM' and 'chrMT'; windows on"
        assert caplog.messages == [f"{found} {name} are read from the one of this name" for name in ("chrM", "chrMT")]
        for name in ("MT", "M", "chrmt"):
            with pytest.raises(
                InputError, match=f"found contigs 'chrM' and 'chrMT', and windows on {name}, wanted one"
            ):
                source.locate(windows((name, 0, 5)))


@pytest.mark.parametrize("text", [">1\nACGT\n>chr1\nTTTT\n", ">1\nAC\n\nGT\n>chr1\nTTTT\n"])
def test_each_spelling_is_its_own_contig(tmp_path, text):
    with open_genome(write(tmp_path, text)) as source:
        assert source.extract(windows(("chr1", 0, 4), ("1", 0, 4))) == ["TTTT", "ACGT"]
        assert source.locate(windows(("chr1", 0, 4), ("1", 0, 4), ("1", 0, 5), ("chr2", 0, 1))).tolist() == [
            1,
            0,
            -1,
            -1,
        ]
        with pytest.raises(InputError, match="found contigs '1' and 'chr1', and windows on Chr1"):
            source.extract(windows(("Chr1", 0, 4)))


def test_regions_whose_coordinates_follow_a_name(tmp_path, caplog):
    path = write(tmp_path, ">a QKI chr1:10-14(-)\nAACC\n>b chr1:20-23\nACG\n>c score:1-9\nACG\n")
    assert extract(path, ("chr1", 10, 14), ("1", 21, 23)) == ["GGTT", "CG"]
    assert "left out 1 of 3 records, whose headers hold no coordinates (the first is 'c score:1-9')" in caplog.text


@pytest.mark.parametrize("blank", ["", "\n"])
def test_contigs_that_look_like_regions_are_named(tmp_path, caplog, blank):
    header = "hg38_dna{} range=chr1:101-104 5'pad=0 strand=+"
    path = write(tmp_path, f">{header.format(1)}\nACGT\n{blank}>{header.format(2)}\nAC{blank}\nGT\n>other\nACGT\n")
    assert extract(path, ("hg38_dna1", 0, 4), ("chr1", 100, 104)) == ["ACGT", None]
    found = f"{path}: found what looks like coordinates in the headers of 2 of 3 records, which are not used"
    assert any(message.startswith(f"{found} (first: {header.format(1)!r})") for message in caplog.messages)
