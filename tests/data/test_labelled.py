"""Labelled sets: every form reads the same records, and what is wrong is named by file and row."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import numpy as np
import pytest
from sequence_files import one_hot, table, write

from LAMAR.data.labelled import LabelledSet, load_labelled, set_names
from LAMAR.data.sequences import normalize_sequence, write_fasta
from LAMAR.errors import InputError

# Forms

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
    for name, argument in ((None, "`path`"), ("nothing", "`name`")):
        with pytest.raises(InputError, match=rf"{argument}: .*PUM2, QKI, RBM, SUB"):
            load_labelled(tmp_path, name=name)
    with pytest.raises(InputError, match=r"`path`: found no file or folder .*XYZ"):
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
    with pytest.raises(InputError, match=r"`path`: .*wanted train\.csv"):
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
        (
            "sequence,target\nACGT,1\n",
            r"found columns sequence, target, wanted sequence \(or seq\) and label or labels",
        ),
        ("RNA,Label\nACGT,1\n", r"found columns RNA, Label, wanted sequence \(or seq\) and .* `sequence_column` and"),
        ("Seq,Labels\nACGT,1\nACGT,2\n", r"row 3: column Labels: found 2, wanted 0 or 1"),
        ("CHROM,Sequence,label\na b,ACGT,1\n", r"row 2: column CHROM: found a b, wanted a name"),
        ("sequence,label\nACGT,1\nACGT,2\n", r"row 3: column label: found 2, wanted 0 or 1"),
        ("# note\nsequence,label\nACGT,1\n\nACGT,-1\n", r"row 4: column label: found -1, wanted 0 or 1"),
        ("sequence,label\nACGT,0.5\n", r"row 2: column label: found 0\.5, wanted 0 or 1"),
        ("sequence,label\nACGT,nan\n", r"row 2: column label: found nan, wanted 0 or 1"),
        ("sequence,label\nACGT,inf\n", r"row 2: column label: found inf, wanted 0 or 1"),
        ("sequence,label\nACGT,1\nACGT,\n", r"row 3: column label: found nothing, wanted 0 or 1"),
        ("sequence,label\nACGT,1\nACGT,yes\nACGT,no\n", r"row 3: column label: found yes, wanted 0 or 1"),
        ("sequence,label\nACGT,1\nAC!T,1\n", r"row 3: position 3: found '!'"),
        ("sequence,label\n,1\n", r"row 2: found an empty sequence"),
        ("sequence,label\nACGT,1\nNA,0\n", r"row 3: found the missing value NA, wanted nucleotides"),
        ("sequence,label\nnan,1\n", r"row 2: found the missing value nan, wanted nucleotides"),
        ("sequence,label\nACGT,NA\n", r"row 2: column label: found NA, wanted 0 or 1"),
        ("chrom,sequence,label\nNA,ACGT,1\n", r"row 2: column chrom: found NA, wanted a name"),
        ("chrom,start,end,sequence,label\nchr1,NA,9,ACGT,1\n", r"row 2: column start: found NA, wanted a whole number"),
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
    assert load_labelled(path, nlabels=3).labels.tolist() == [2, 0]
    with pytest.raises(InputError, match=r"row 2: column label: found 2, wanted 0 or 1"):
        load_labelled(path)
    write(tmp_path / "a.csv", table([("ACGT", 4)]))
    with pytest.raises(InputError, match=r"found 4, wanted a whole number from 0 to 3"):
        load_labelled(path, nlabels=4)
    with pytest.raises(InputError, match=r"`nlabels`: found 1"):
        load_labelled(path, nlabels=1)
    with pytest.raises(ValueError, match="`task`: found 'x'"):
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
        dataset = load_labelled(path, task="multilabel", nlabels=3)
        assert dataset.labels.dtype == np.int64
        assert dataset.labels.tolist() == expected
    with pytest.raises(InputError, match=r"row 2: column label: found 0;1;0, wanted 2 values joined by ';'"):
        load_labelled(joined, task="multilabel", nlabels=2)
    with pytest.raises(InputError, match=r"found columns label_0, label_1, label_2, wanted label_0, label_1"):
        load_labelled(spread, task="multilabel", nlabels=2)
    with pytest.raises(InputError, match=r"found columns label_1, .*wanted sequence \(or seq\) and label"):
        load_labelled(spread)
    with pytest.raises(InputError, match=r"c\.h5: Y_train: found shape \(2, 3\)"):
        load_labelled(array)
    write(joined, "sequence,label\nACGT,0;1;0\nACGA,1;2;0\n")
    with pytest.raises(InputError, match=r"row 3: column label_1: found 2, wanted 0 or 1"):
        load_labelled(joined, task="multilabel", nlabels=3)


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


def test_header_coordinates_that_some_records_lack_are_named(tmp_path, caplog):
    write(tmp_path / "Q.positives.fa", ">a QKI::chr1:5-9\nACGT\n>b chr1:15-19(-)\nACGG\n")
    path = write(tmp_path / "Q.negatives.fa", ">c chr2:0-4\nACGA\n>d\nACGC\n")
    assert load_labelled(tmp_path, name="Q").chrom is None
    found = (
        "found what looks like coordinates in the headers of 1 of 2 records, which are not used (first: 'c chr2:0-4')"
    )
    assert f"{path}: {found}, wanted chr1:100-110(+), 0-based and half-open, in every header" in caplog.messages
    write(path, ">c chr2:0-4\nACGA\n")
    assert load_labelled(tmp_path, name="Q").start.tolist() == [5, 15, 0]


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
    assert "in 1 record end - start is not the length" in caplog.text


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


def test_thirty_five_thousand_records(tmp_path):
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)[rng.integers(0, 4, size=(35_000, 101))]
    sequences = [row.tobytes().decode() for row in letters]
    write(tmp_path / "a.csv", table([(s, i % 2) for i, s in enumerate(sequences)]))
    for side, half in (("positives", sequences[::2]), ("negatives", sequences[1::2])):
        write_fasta(tmp_path / f"A.{side}.fa", [(f"chr1:{i}-{i + 101}(+)", s) for i, s in enumerate(half)])
    for path in (tmp_path / "a.csv", tmp_path / "A"):
        dataset = load_labelled(path)
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
