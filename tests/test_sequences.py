"""Reading and validating sequences and labelled data sets."""

from __future__ import annotations

import gzip
import logging
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from LAMAR.errors import InputError
from LAMAR.labelled import LabelledSet, load_labelled, set_names
from LAMAR.sequences import (
    Region,
    check_lengths,
    decode_one_hot,
    normalize_sequence,
    open_text,
    parse_region,
    read_fasta,
    read_table,
    reverse_complement,
    write_fasta,
)

DNA = st.text("ACGTN", min_size=1, max_size=60)
IN_TMP_PATH = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def table(rows: list[tuple], header: str = "sequence,label") -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def one_hot(sequences: list[str], length: int) -> np.ndarray:
    array = np.zeros((len(sequences), length, 4), dtype=np.float32)
    for i, sequence in enumerate(sequences):
        for j, base in enumerate(sequence):
            if base != "N":
                array[i, j, "ACGT".index(base)] = 1
    return array


# Alphabet


def test_normalize_maps_case_uracil_and_ambiguity_codes():
    assert normalize_sequence(" acgun\n") == "ACGTN"
    assert normalize_sequence("RYSWKMBDHVryswkmbdhv") == "N" * 20
    assert normalize_sequence("AUGC") == "ATGC"


@given(st.text("ACGTUNRYSWKMBDHVacgtunryswkmbdhv", min_size=1, max_size=200))
def test_normalize_agrees_with_a_letter_by_letter_reading(text):
    expected = "".join({"U": "T"}.get(c, c if c in "ACGTN" else "N") for c in text.upper())
    assert normalize_sequence(text) == expected
    assert normalize_sequence(expected) == expected


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


def test_normalize_is_fast_enough_for_large_sets():
    sequences = ["ACGTTGCAuu" * 10 + "A"] * 35_000
    started = time.perf_counter()
    for sequence in sequences:
        normalize_sequence(sequence)
    # Measured 0.03 s; the bound leaves room for a busy machine.
    assert time.perf_counter() - started < 1


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


# Text and FASTA files


def test_open_text_tells_gzip_by_content(tmp_path):
    (tmp_path / "plain.gz").write_text("plain\n")
    (tmp_path / "packed.txt").write_bytes(gzip.compress(b"packed\r\n"))
    with open_text(tmp_path / "plain.gz") as handle:
        assert handle.read() == "plain\n"
    with open_text(tmp_path / "packed.txt") as handle:
        assert handle.read() == "packed\n"


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
    assert "--max_length is 102" in message
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
    with pytest.raises(InputError, match=r"--max_length: found 2, wanted at least 3"):
        check_lengths(["A"], None, 2)


# One-hot arrays


@given(st.lists(DNA.map(lambda s: s.rstrip("N") or "A"), min_size=1, max_size=6), st.booleans(), st.integers(0, 5))
def test_one_hot_decodes_to_the_sequences_that_made_it(sequences, channels_first, padding):
    longest = max(map(len, sequences)) + padding
    array = one_hot(sequences, longest)
    # Where both readings fit, (n, L, 4) is taken.
    if channels_first and longest != 4:
        array = array.transpose(0, 2, 1)
    assert decode_one_hot(array) == sequences


def test_one_hot_of_length_four_is_read_as_positions_by_letters():
    assert decode_one_hot(one_hot(["AACG"], 4)) == ["AACG"]


@pytest.mark.parametrize("value", [2.0, 0.25, -1.0, np.nan])
def test_one_hot_names_dataset_index_and_position(value):
    array = one_hot(["ACGT"] * 5000, 6)
    array[4500, 2, 1] = value
    with pytest.raises(InputError, match=r"f\.h5: X_train: index 4500: position 3: found"):
        decode_one_hot(array, "f.h5: X_train")


def test_one_hot_refuses_two_letters_empty_records_and_other_shapes():
    array = one_hot(["ACGT", "ACGT"], 5)
    array[1, 0] = 1
    with pytest.raises(InputError, match=r"index 1: position 1: found \[1.0, 1.0, 1.0, 1.0\]"):
        decode_one_hot(array)
    with pytest.raises(InputError, match=r"index 1: found zeros only"):
        decode_one_hot(one_hot(["ACGT", "N"], 5))
    with pytest.raises(InputError, match=r"found shape \(2, 5, 3\), wanted \(n, L, 4\)"):
        decode_one_hot(np.zeros((2, 5, 3)))


# Labelled data sets: every form reads the same records

TRAIN = [("ACGTT", 1), ("GGCAU", 0), ("TTRAC", 1)]
DEV = [("CCCCA", 0)]
TEST = [("gattc", 1), ("CATAG", 0)]
ALL = TRAIN + DEV + TEST
SEQUENCES = ["ACGTT", "GGCAT", "TTNAC", "CCCCA", "GATTC", "CATAG"]


def csv_folder(folder: Path, dev: str = "dev", end: str = ".csv", seq: str = "sequence") -> Path:
    for part, rows in (("train", TRAIN), (dev, DEV), ("test", TEST)):
        text = table(rows, f"{seq},label")
        write(folder / f"{part}{end}", text.replace(",", "\t") if ".tsv" in end else text)
    return folder


def pair_folder(folder: Path, name: str = "QKI", end: str = ".fa") -> Path:
    for side, label in (("positives", 1), ("negatives", 0)):
        records = [f">{side}{i}\n{s}\n" for i, (s, found) in enumerate(ALL) if found == label]
        write(folder / f"{name}.{side}{end}", "; synthetic\n" + "".join(records))
    return folder


def arrow_folder(folder: Path) -> Path:
    from datasets import Dataset, DatasetDict

    parts = {
        part: Dataset.from_dict({"seq": [s for s, _ in rows], "labels": [label for _, label in rows]})
        for part, rows in (("train", TRAIN), ("validation", DEV), ("test", TEST))
    }
    DatasetDict(parts).save_to_disk(str(folder))
    return folder


def hdf5_file(path: Path, dev: str = "valid", channels_first: bool = False, **replaced) -> Path:
    import h5py

    arrays = {}
    for part, rows in (("train", TRAIN), (dev, DEV), ("test", TEST)):
        x = one_hot([normalize_sequence(s) for s, _ in rows], 8)
        arrays[f"X_{part}"] = x.transpose(0, 2, 1) if channels_first else x
        arrays[f"Y_{part}"] = np.array([label for _, label in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, array in (arrays | replaced).items():
            if array is not None:
                file[key] = array
    return path


def content(dataset: LabelledSet) -> list[tuple]:
    split = dataset.split if dataset.split is not None else [None] * len(dataset)
    return sorted(zip(dataset.sequences, dataset.labels.tolist(), split))


PARTS = ["train"] * 3 + ["dev"] + ["test"] * 2
WITH_PARTS = sorted(zip(SEQUENCES, [label for _, label in ALL], PARTS))
WITHOUT_PARTS = sorted((sequence, label, None) for sequence, label, _ in WITH_PARTS)


@pytest.mark.parametrize(
    "make",
    [
        csv_folder,
        lambda folder: csv_folder(folder, "validation", seq="seq"),
        lambda folder: csv_folder(folder, "valid", ".tsv"),
        lambda folder: csv_folder(folder, "val", ".csv.gz", "Sequence"),
        lambda folder: csv_folder(folder, end=".tsv.gz"),
        arrow_folder,
        lambda folder: hdf5_file(folder / "a.h5"),
        lambda folder: hdf5_file(folder / "renamed.data", "dev", channels_first=True),
        lambda folder: hdf5_file(folder / "a.hdf5", "val", Y_train=np.array([[1], [0], [1]], dtype=np.float64)),
        lambda folder: hdf5_file(folder / "a.h5", Y_train=np.eye(2)[[1, 0, 1]]),
        lambda folder: csv_folder(folder / "QKI") and folder,
    ],
)
def test_forms_with_parts_agree(tmp_path, make):
    folder = tmp_path / "set"
    dataset = load_labelled(make(folder), name="QKI" if (folder / "QKI").exists() else None)
    assert content(dataset) == WITH_PARTS
    assert dataset.sequences == SEQUENCES
    assert dataset.labels.dtype == np.int64
    assert dataset.split.tolist() == PARTS
    assert len(set(dataset.ids)) == len(dataset) == 6
    assert all(path.is_file() for path in dataset.files)


@pytest.mark.parametrize(
    ("end", "argument"),
    [(".fa", ""), (".fa.gz", ""), (".fasta", "QKI"), (".fa", "QKI.positives.fa"), (".fa.gz", "QKI.negatives.fa.gz")],
)
def test_fasta_pair_by_folder_prefix_or_file(tmp_path, end, argument):
    dataset = load_labelled(pair_folder(tmp_path, end=end) / argument)
    assert content(dataset) == WITHOUT_PARTS
    assert dataset.name == "QKI"
    assert dataset.split is None
    assert [path.name for path in dataset.files] == [f"QKI.positives{end}", f"QKI.negatives{end}"]
    assert dataset.ids[0] == "positives0"


@pytest.mark.parametrize("name", ["one.csv", "one.tsv", "one.csv.gz", "one.tsv.gz", "one.txt"])
def test_single_table(tmp_path, name):
    text = "# synthetic, seed 1\n# not real\n" + table(ALL)
    path = write(tmp_path / name, text.replace(",", "\t") if ".tsv" in name else text)
    dataset = load_labelled(path)
    assert content(dataset) == WITHOUT_PARTS
    assert dataset.ids == [f"one:{row}" for row in range(2, 8)]
    assert dataset.name == "one"
    assert dataset.files == (path,)


def test_gzipped_hdf5_and_plain_arrow_data_set(tmp_path):
    from datasets import Dataset

    path = hdf5_file(tmp_path / "a.h5")
    (tmp_path / "b.h5.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert content(load_labelled(tmp_path / "b.h5.gz")) == WITH_PARTS
    Dataset.from_dict({"sequence": SEQUENCES, "label": [label for _, label in ALL]}).save_to_disk(tmp_path / "d")
    dataset = load_labelled(tmp_path / "d")
    assert content(dataset) == WITHOUT_PARTS
    assert dataset.ids[2] == "d:2"


def test_name_chooses_among_several(tmp_path):
    pair_folder(tmp_path, "PUM2")
    pair_folder(tmp_path, "QKI")
    write(tmp_path / "RBM.tsv.gz", table(ALL).replace(",", "\t"))
    csv_folder(tmp_path / "SUB")
    assert load_labelled(tmp_path, name="PUM2").files[0].name == "PUM2.positives.fa"
    assert content(load_labelled(tmp_path, name="RBM")) == WITHOUT_PARTS
    assert content(load_labelled(tmp_path, name="SUB")) == WITH_PARTS
    for name, argument in ((None, "--data_path"), ("nothing", "--rbp_name")):
        with pytest.raises(InputError, match=rf"{argument}: .*PUM2, QKI, RBM, SUB"):
            load_labelled(tmp_path, name=name)
    with pytest.raises(InputError, match=r"--data_path: found no file or folder .*XYZ"):
        load_labelled(tmp_path / "XYZ")


def test_only_sets_are_offered_where_a_name_is_not_found(tmp_path):
    from datasets import Dataset

    write(tmp_path / "tables" / "train.tsv", "seq\tlabel\nACGT\t1\nTTTT\t0\n")
    write(tmp_path / "pair" / "pair.positives.fa", ">a\nACGT\n")
    write(tmp_path / "pair" / "pair.negatives.fa", ">b\nTTTT\n")
    Dataset.from_dict({"sequence": ["ACGT", "TTTT"], "label": [1, 0]}).save_to_disk(tmp_path / "arrow")
    write(tmp_path / "file.csv.gz", '# made up\n"Seq","Labels"\nACGT,1\nTTTT,0\n')
    write(tmp_path / "summary.csv", "dataset,n\ntables,2\n")
    (tmp_path / "broken.csv.gz").write_bytes(b"no gzip")
    write(tmp_path / "units" / "tables.json", "{}")
    with pytest.raises(InputError, match=r"nothing called 'X' in .*, wanted train.csv or a name of: (.*)") as error:
        load_labelled(tmp_path, name="X")
    assert str(error.value).rpartition(": ")[2] == "arrow, file, pair, tables"
    assert set_names(tmp_path) == ["arrow", "pair", "tables"]
    for name in ("arrow", "file", "pair", "tables"):
        assert sorted(load_labelled(tmp_path, name=name).sequences) == ["ACGT", "TTTT"]


def test_name_does_not_hide_the_folders_own_parts(tmp_path):
    dataset = load_labelled(csv_folder(tmp_path), name="QKI")
    assert dataset.name == "QKI"
    assert content(dataset) == WITH_PARTS


def test_validation_is_never_made_from_test(tmp_path):
    csv_folder(tmp_path)
    (tmp_path / "dev.csv").unlink()
    assert set(load_labelled(tmp_path).split) == {"train", "test"}
    (tmp_path / "train.csv").unlink()
    with pytest.raises(InputError, match=r"--data_path: .*wanted train\.csv"):
        load_labelled(tmp_path)


def test_two_files_for_one_part_are_refused(tmp_path):
    csv_folder(tmp_path)
    write(tmp_path / "valid.tsv", "sequence\tlabel\nACGT\t1\n")
    with pytest.raises(InputError, match=r"found dev\.csv, valid\.tsv, wanted one file for dev"):
        load_labelled(tmp_path)


def test_half_a_pair_and_a_lone_fasta_are_refused(tmp_path):
    pair_folder(tmp_path)
    (tmp_path / "QKI.negatives.fa").unlink()
    with pytest.raises(InputError, match=r"found nothing, wanted one file QKI\.negatives\.fa"):
        load_labelled(tmp_path)
    with pytest.raises(InputError, match=r"x\.fa: found one FASTA file, wanted"):
        load_labelled(write(tmp_path / "x.fa", ">a\nACGT\n"))
    write(tmp_path / "QKI.negatives.fa", "")
    with pytest.raises(InputError, match=r"QKI\.negatives\.fa: found no FASTA record"):
        load_labelled(tmp_path)


# Bad tables: file, row, found and wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"the file is empty"),
        ("# comment\n\n", r"the file is empty"),
        ("sequence,label\n", r"found a header and no records"),
        ("sequence,target\nACGT,1\n", r"found columns sequence, target, wanted sequence \(or seq\) and label"),
        ("rna,label\nACGT,1\n", r"found columns label, rna, wanted sequence"),
        ("sequence,label\nACGT,1\nACGT,2\n", r"row 3: column label: found 2, wanted 0 or 1"),
        ("# note\nsequence,label\nACGT,1\n\nACGT,-1\n", r"row 4: column label: found -1, wanted 0 or 1"),
        ("sequence,label\nACGT,0.5\n", r"row 2: column label: found 0\.5, wanted 0 or 1"),
        ("sequence,label\nACGT,nan\n", r"row 2: column label: found nan, wanted 0 or 1"),
        ("sequence,label\nACGT,inf\n", r"row 2: column label: found inf, wanted 0 or 1"),
        ("sequence,label\nACGT,1\nACGT,\n", r"row 3: column label: found nothing, wanted 0 or 1"),
        ("sequence,label\nACGT,1\nACGT,yes\nACGT,no\n", r"row 3: column label: found yes, wanted 0 or 1"),
        ("sequence,label\nACGT,1\nAC!T,1\n", r"row 3: position 3: found '!'"),
        ("sequence,label\n,1\n", r"row 2: found an empty sequence"),
        ("sequence,label\nACGT,1\nACGT\n", r"row 3: found 1 columns, wanted 2"),
        ("sequence,label\nACGT,1,7\n", r"row 2: found 3 columns, wanted 2"),
        ("chrom,start,end,sequence,label\nchr1,5,9,ACGT,1\n,5,9,ACGT,1\n", r"row 3: column chrom: found nothing"),
        ("chrom,start,end,sequence,label\nchr1,5,x,ACGT,1\n", r"row 2: column end: found x, wanted a whole number"),
        ("chrom,start,end,sequence,label\nchr1,-1,3,ACGT,1\n", r"row 2: column start: found -1, wanted a whole"),
        ("chrom,start,end,sequence,label\nchr1,9,5,ACGT,1\n", r"row 2: .*found 9 and 5, wanted start < end"),
        ("chrom,strand,sequence,label\nchr1,x,ACGT,1\n", r"row 2: column strand: found x, wanted \+, - or \."),
    ],
)
@pytest.mark.parametrize("in_folder", [True, False])
def test_bad_tables_name_file_and_row(tmp_path, text, message, in_folder):
    write(tmp_path / "train.csv", text)
    with pytest.raises(InputError, match=rf"train\.csv: {message}"):
        load_labelled(tmp_path if in_folder else tmp_path / "train.csv")


def test_the_file_named_is_the_one_with_the_fault(tmp_path):
    write(csv_folder(tmp_path) / "test.csv", "sequence,label\nACGT,1\nACGT,7\n")
    with pytest.raises(InputError, match=r"test\.csv: row 3: column label: found 7, wanted 0 or 1"):
        load_labelled(tmp_path)


def test_more_classes_and_too_few(tmp_path):
    path = write(tmp_path / "a.csv", table([("ACGT", 2), ("ACGT", 0)]))
    assert load_labelled(path, n_labels=3).labels.tolist() == [2, 0]
    with pytest.raises(InputError, match=r"row 2: column label: found 2, wanted 0 or 1"):
        load_labelled(path)
    write(tmp_path / "a.csv", table([("ACGT", 4)]))
    with pytest.raises(InputError, match=r"found 4, wanted a whole number from 0 to 3"):
        load_labelled(path, n_labels=4)
    with pytest.raises(InputError, match=r"--nlabels: found 1"):
        load_labelled(path, n_labels=1)
    with pytest.raises(ValueError, match="task: found 'x'"):
        load_labelled(path, task="x")


def test_whole_numbers_written_as_floats_are_classes(tmp_path):
    path = write(tmp_path / "a.csv", table([("ACGT", "1.0"), ("ACGA", " 0 ")]))
    assert load_labelled(path).labels.tolist() == [1, 0]


def test_regression(tmp_path):
    path = write(tmp_path / "a.csv", table([("ACGT", "1.5"), ("ACGA", "-2e-3")]))
    labels = load_labelled(path, task="regression").labels
    assert labels.dtype == np.float32
    np.testing.assert_allclose(labels, [1.5, -0.002], rtol=1e-6)
    for bad in ("nan", "-inf", "1e300", "x"):
        write(path, table([("ACGT", 1), ("ACGT", bad)]))
        with pytest.raises(InputError, match=rf"a\.csv: row 3: column label: found {bad}, wanted a finite number"):
            load_labelled(path, task="regression")
    pair_folder(tmp_path)
    with pytest.raises(InputError, match="a FASTA pair holds two classes, wanted a table for regression"):
        load_labelled(tmp_path, task="regression")


def test_multilabel_forms_agree(tmp_path):
    expected = [[0, 1, 0], [1, 1, 0]]
    joined = write(tmp_path / "a.csv", "sequence,label\nACGT,0;1;0\nACGA,1;1;0\n")
    spread = write(tmp_path / "b.csv", "label_1,sequence,label_0,label_2\n1,ACGT,0,0\n1,ACGA,1,0\n")
    x = one_hot(["ACGT", "ACGA"], 5)
    array = hdf5_file(tmp_path / "c.h5", X_train=x, Y_train=np.array(expected), X_valid=None, X_test=None)
    for path in (joined, spread, array):
        dataset = load_labelled(path, task="multilabel", n_labels=3)
        assert dataset.labels.dtype == np.int64
        assert dataset.labels.tolist() == expected
    with pytest.raises(InputError, match=r"row 2: column label: found 0;1;0, wanted 2 values joined by ';'"):
        load_labelled(joined, task="multilabel", n_labels=2)
    with pytest.raises(InputError, match=r"found columns label_0, label_1, label_2, wanted label_0, label_1"):
        load_labelled(spread, task="multilabel", n_labels=2)
    with pytest.raises(InputError, match=r"found columns label_0, .*wanted sequence \(or seq\) and label"):
        load_labelled(spread)
    with pytest.raises(InputError, match=r"c\.h5: Y_train: found shape \(2, 3\)"):
        load_labelled(array)
    write(joined, "sequence,label\nACGT,0;1;0\nACGA,1;2;0\n")
    with pytest.raises(InputError, match=r"row 3: column label_1: found 2, wanted 0 or 1"):
        load_labelled(joined, task="multilabel", n_labels=3)


# Coordinates


def test_coordinates_of_tables_and_headers(tmp_path):
    text = "chrom,start,end,strand,sequence,label\nchr1,5,9,+,ACGT,1\nchr2,0,4,-,ACGA,0\n"
    dataset = load_labelled(write(tmp_path / "a.csv", text))
    write(tmp_path / "Q.positives.fa", ">chr1:5-9(+)\nACGT\n")
    write(tmp_path / "Q.negatives.fa", ">n::chr2:0-4(-)\nACGA\n")
    for found in (dataset, load_labelled(tmp_path, name="Q")):
        assert found.chrom.tolist() == ["chr1", "chr2"]
        assert found.start.tolist() == [5, 0]
        assert found.end.tolist() == [9, 4]
        assert found.end.dtype == np.int64
        assert found.strand.tolist() == ["+", "-"]
    assert dataset.digest() == load_labelled(tmp_path, name="Q").digest()


def test_header_coordinates_must_fit_the_sequence(tmp_path):
    write(tmp_path / "Q.negatives.fa", ">chr2:0-4\nACGA\n")
    path = write(tmp_path / "Q.positives.fa", ">chr1:5-9\nACGT\n>chr1:5-9\nACG\n")
    with pytest.raises(InputError, match=r"Q\.positives\.fa: record chr1:5-9: found 3 nucleotides, .* = 4$"):
        load_labelled(tmp_path)
    write(path, ">chr1:5-9\nACGTA\n")
    with pytest.raises(InputError, match=r"found 5 nucleotides, .* = 4 .*look 1-based"):
        load_labelled(tmp_path)


def test_coordinates_that_only_some_parts_have_are_dropped_with_a_warning(tmp_path, caplog):
    write(tmp_path / "train.csv", "chrom,start,end,sequence,label\nchr1,5,9,ACGT,1\n")
    write(tmp_path / "test.csv", "chrom,sequence,label\nchr1,ACGA,1\n")
    with caplog.at_level(logging.WARNING):
        dataset = load_labelled(tmp_path)
    assert dataset.chrom.tolist() == ["chr1", "chr1"]
    assert dataset.start is None
    assert dataset.end is None
    assert "end, start is missing from a part" in caplog.text


def test_table_coordinates_of_another_length_warn(tmp_path, caplog):
    path = write(tmp_path / "a.csv", "chrom,start,end,sequence,label\nchr1,5,9,ACGTACGT,1\nchr1,5,9,ACGT,1\n")
    with caplog.at_level(logging.WARNING):
        assert load_labelled(path).start.tolist() == [5, 5]
    assert "in 1 records end - start is not the length" in caplog.text


def test_id_column_names_records(tmp_path):
    path = write(tmp_path / "a.csv", "id,sequence,label\npeak7,ACGT,1\n,ACGA,0\n")
    assert load_labelled(path).ids == ["peak7", "a:3"]


# Bad arrays


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"Y_train": np.array([1, 0])}, r"found 3 records in X_train and 2 labels in Y_train"),
        ({"Y_test": None}, r"found 2 records in X_test and 0 labels in Y_test"),
        ({"X_train": None}, r"found X_test, X_valid, .*wanted X_train and Y_train"),
        ({"Y_train": np.array([1, 0, 3])}, r"Y_train: index 2: column label: found 3, wanted 0 or 1"),
        ({"X_dev": np.zeros((1, 8, 4))}, r"found X_dev and X_valid, wanted one of them"),
        ({"X_test": np.zeros((2, 8, 4))}, r"X_test: index 0: found zeros only"),
        ({"X_train": np.full((3, 8, 4), 0.25)}, r"X_train: index 0: position 1: found \[0\.25, 0\.25"),
    ],
)
def test_bad_hdf5_names_file_and_array(tmp_path, replaced, message):
    path = hdf5_file(tmp_path / "a.h5", **replaced)
    with pytest.raises(InputError, match=rf"a\.h5: {message}"):
        load_labelled(path)


def test_damaged_hdf5_names_the_file(tmp_path):
    path = hdf5_file(tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(InputError, match=r"a\.h5: cannot be read as HDF5"):
        load_labelled(path)


def test_bad_arrow_folders_name_the_folder(tmp_path):
    from datasets import Dataset, DatasetDict

    one = Dataset.from_dict({"sequence": ["ACGT", "ACGA"], "label": [1, None]})
    DatasetDict({"train": one}).save_to_disk(str(tmp_path / "a"))
    with pytest.raises(InputError, match=r"a: train: index 1: column label: found None, wanted 0 or 1"):
        load_labelled(tmp_path / "a")
    DatasetDict({"other": one}).save_to_disk(str(tmp_path / "b"))
    with pytest.raises(InputError, match=r"b: other: found a part of this name, wanted one of dev, test, train"):
        load_labelled(tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "state.json").write_text("{}")
    with pytest.raises(InputError, match=r"c: cannot be loaded as a Hugging Face data set"):
        load_labelled(tmp_path / "c")


# LabelledSet


def test_take_keeps_columns_together(tmp_path):
    text = "id,chrom,start,end,strand,sequence,label\na,chr1,5,9,+,ACGT,1\nb,chr2,0,4,-,ACGA,0\nc,chr3,1,5,.,TTTT,1\n"
    write(tmp_path / "train.csv", text)
    taken = load_labelled(tmp_path).take([2, 0, 2])
    assert taken.ids == ["c", "a", "c"]
    assert taken.sequences == ["TTTT", "ACGT", "TTTT"]
    assert taken.labels.tolist() == [1, 1, 1]
    assert taken.start.tolist() == [1, 5, 1]
    assert taken.strand.tolist() == [".", "+", "."]
    assert taken.split.tolist() == ["train"] * 3
    assert len(taken.take([])) == 0


def test_digest_depends_on_sequences_and_labels_alone():
    def digest(sequences, labels, ids="ab"):
        return LabelledSet(sequences, np.array(labels), list(ids)).digest()

    base = digest(["AC", "GT"], [0, 1])
    assert len(base) == 64
    assert base == digest(["AC", "GT"], [0, 1], "xy")
    changed = [digest(["AC", "GA"], [0, 1]), digest(["AC", "GT"], [1, 1]), digest(["GT", "AC"], [0, 1])]
    changed += [digest(["ACG", "T"], [0, 1]), digest(["AC", "GT"], [0.0, 1.0])]
    assert len({base, *changed}) == 6


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="labels has 1 entries for 2 sequences"):
        LabelledSet(["AC", "GT"], np.array([1]), ["a", "b"])


def test_thirty_five_thousand_records_load_in_under_three_seconds(tmp_path):
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)[rng.integers(0, 4, size=(35_000, 101))]
    sequences = [row.tobytes().decode() for row in letters]
    write(tmp_path / "a.csv", table([(s, i % 2) for i, s in enumerate(sequences)]))
    for side, half in (("positives", sequences[::2]), ("negatives", sequences[1::2])):
        write_fasta(tmp_path / f"A.{side}.fa", [(f"chr1:{i}-{i + 101}(+)", s) for i, s in enumerate(half)])
    for path in (tmp_path / "a.csv", tmp_path / "A"):
        started = time.perf_counter()
        dataset = load_labelled(path)
        # Measured 0.2 s; a shared machine may be ten times as slow.
        assert time.perf_counter() - started < 3
        assert len(dataset) == 35_000
        assert int(dataset.labels.sum()) == 17_500


# Real data


@pytest.mark.shared
@pytest.mark.parametrize(("name", "records"), [("QKI_K562_IDR", 4032), ("HNRNPM_HepG2_IDR", 21224)])
def test_real_windows_load_as_described(shared_dir, name, records):
    dataset = load_labelled(shared_dir / "data" / "eclip_idr", name=name)
    assert len(dataset) == records
    assert int(dataset.labels.sum()) == records // 2
    assert {len(sequence) for sequence in dataset.sequences} == {101}
    assert len(set(dataset.sequences)) == records
    assert set(dataset.split) == {"train", "dev", "test"}


@pytest.mark.shared
def test_real_windows_with_coordinates(shared_dir):
    dataset = load_labelled(shared_dir / "data" / "eclip_windows" / "QKI_K562.ENCFF786UOW.tsv.gz")
    assert set(dataset.end - dataset.start) == {101}
    assert "chr9" in dataset.chrom
    assert set(dataset.strand) == {"+", "-"}


@pytest.mark.shared
def test_real_fasta_headers_give_the_length(shared_dir):
    path = shared_dir / "data" / "clip_regions" / "hg38_clip_regions.fa.gz"
    for number, (header, sequence) in zip(range(5000), read_fasta(path)):
        region = parse_region(header)
        assert region.end - region.start == len(sequence), number
