"""Text files and tables: compression, damage, rows."""

from __future__ import annotations

import gzip

import pytest
from sequence_files import write

from LAMAR.data.corpus_files import corpus_form
from LAMAR.data.sequences import read_fasta
from LAMAR.data.text_files import is_parquet, open_text, read_rows, read_table
from LAMAR.data.window_files import metadata_form
from LAMAR.errors import InputError


def test_open_text_tells_gzip_by_content(tmp_path):
    (tmp_path / "plain.gz").write_text("plain\n")
    (tmp_path / "packed.txt").write_bytes(gzip.compress(b"packed\r\n"))
    with open_text(tmp_path / "plain.gz") as handle:
        assert handle.read() == "plain\n"
    with open_text(tmp_path / "packed.txt") as handle:
        assert handle.read() == "packed\n"


@pytest.mark.parametrize("read", [is_parquet, corpus_form, metadata_form, lambda path: open_text(path).__enter__()])
def test_what_is_no_file_is_refused(tmp_path, read):
    (tmp_path / "windows.jsonl").mkdir()
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    for name, message in (("windows.jsonl", "Is a directory"), ("loop.txt", "Too many levels"), ("x", "no such file")):
        with pytest.raises(InputError, match=message):
            read(tmp_path / name)


def test_open_text_drops_a_byte_order_mark(tmp_path):
    path = tmp_path / "windows.csv"
    path.write_bytes(b"\xef\xbb\xbfsequence,label\r\nACGT,1\r\n")
    assert read_table(path) == ({"sequence": ["ACGT"], "label": ["1"]}, [2])


@pytest.mark.parametrize("keep", [3, 12, 30, -1])
def test_truncated_gzip_names_the_file(tmp_path, keep):
    packed = gzip.compress(b"".join(b">r%d\nACGT\n" % i for i in range(300)))
    path = tmp_path / "cut.fa.gz"
    path.write_bytes(packed[:keep])
    with pytest.raises(InputError, match=r"cut\.fa\.gz: .*the file is truncated"):
        list(read_fasta(path))


def test_damaged_gzip_names_the_file(tmp_path):
    packed = bytearray(gzip.compress(b">a\n" + b"ACGGTTCA" * 500))
    packed[-6] ^= 0xFF  # checksum
    path = tmp_path / "bad.fa.gz"
    path.write_bytes(packed)
    with pytest.raises(InputError, match=r"bad\.fa\.gz: the gzip stream is damaged"):
        list(read_fasta(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89HDF\r\n\x1a\n\x00\x00", "binary content"),
        (gzip.compress(b"a\x00b"), "binary content"),
        ("ACGT".encode("utf-16"), "binary content"),
        (b">a\nAC\xff\xfeGT\n", "not UTF-8"),
    ],
)
def test_content_that_is_no_text_names_the_file(tmp_path, content, message):
    path = tmp_path / "strange.fa"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"strange\.fa: .*{message}"):
        list(read_fasta(path))


def test_missing_file_and_folder_name_the_path(tmp_path):
    with pytest.raises(InputError, match=r"none\.fa: found no such file"):
        list(read_fasta(tmp_path / "none.fa"))
    with pytest.raises(InputError, match="cannot be read"):
        list(read_fasta(tmp_path))


def test_rows_are_streamed_with_their_line_numbers(tmp_path):
    long = "A" * 200_000  # more than the csv module's own limit of a cell
    path = write(tmp_path / "t.csv.gz", f'seq,"a, b"\n\n{long},"x ""y"""\n')
    assert list(read_rows(path)) == [(1, ["seq", "a, b"]), (3, [long, 'x "y"'])]
    path = write(tmp_path / "t.tsv", "seq\ta,b\nA\tc,d\n")
    assert list(read_rows(path)) == [(1, ["seq", "a,b"]), (2, ["A", "c,d"])]
    with pytest.raises(InputError, match=r"t\.tsv: line 1: found more than 5 characters"):
        list(read_rows(path, 5))
