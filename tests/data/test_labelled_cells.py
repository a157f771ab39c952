"""Cells of labelled tables: missing values, numbers, labels, and messages about them."""

from __future__ import annotations

import pytest
from sequence_files import write

from LAMAR.data.labelled import load_labelled
from LAMAR.errors import InputError


def test_missing_values_are_refused_in_every_form(cases_folder, tmp_path):
    from datasets import Dataset

    with pytest.raises(InputError, match=r"set\.csv: row 11: found the missing value NA, wanted nucleotides"):
        load_labelled(cases_folder / "missing_value_as_sequence" / "set.csv")
    for number, (missing, message) in enumerate(
        (("NaN", "found the missing value NaN, wanted"), (None, "found None, wanted a sequence as text"))
    ):
        folder = tmp_path / str(number)
        Dataset.from_dict({"sequence": ["ACGT", missing], "label": [1, 0]}).save_to_disk(str(folder))
        with pytest.raises(InputError, match=rf"{number}: index 1: {message}"):
            load_labelled(folder)
    write(tmp_path / "Q.positives.fa", ">a\nACGT\n>b\nnan\n")
    write(tmp_path / "Q.negatives.fa", ">a\nACGA\n")
    with pytest.raises(InputError, match=r"Q\.positives\.fa: record b: found the missing value nan"):
        load_labelled(tmp_path, name="Q")


@pytest.mark.parametrize("number", ["1_0", "0_1", "１", "0x1", "1,0"])
@pytest.mark.parametrize("column", ["label", "start"])
def test_numbers_that_only_python_reads_are_refused(tmp_path, number, column):
    cells = {"label": "0", "start": "5"} | {column: f'"{number}"'}
    rows = f"sequence,label,chrom,start,end\nACGT,1,chr1,1,5\nACGA,{cells['label']},chr1,{cells['start']},90\n"
    with pytest.raises(InputError, match=rf"a\.csv: row 3: column {column}: found {number}, wanted"):
        load_labelled(write(tmp_path / "a.csv", rows), task="regression")


def test_cells_that_arrow_holds_as_numbers_are_read_as_people_write_them(tmp_path):
    from datasets import Dataset

    columns = {"sequence": ["ACGT", "ACGA"], "label": [1.0, 0.0], "chrom": [8.0, 9.0], "id": [None, "b"]}
    Dataset.from_dict(columns).save_to_disk(str(tmp_path / "a"))
    dataset = load_labelled(tmp_path / "a")
    assert dataset.chrom.tolist() == ["8", "9"]
    assert dataset.ids == ["a:0", "b"]
    Dataset.from_dict(columns | {"chrom": [8.0, float("nan")]}).save_to_disk(str(tmp_path / "b"))
    with pytest.raises(InputError, match=r"b: index 1: column chrom: found nan, wanted a name"):
        load_labelled(tmp_path / "b")


# Columns that a user names


def columns_of(dataset) -> tuple:
    return dataset.sequences, dataset.labels.tolist()


@pytest.mark.parametrize("names", [("RNA", "Bound"), ("rna", "BOUND"), (" RNA ", "bound")])
def test_columns_may_have_other_names(tmp_path, names):
    from datasets import Dataset

    chosen = dict(zip(("sequence_column", "label_column"), names))
    wanted = (["ACGT", "ACGA"], [1, 0])
    table = write(tmp_path / "a.csv", "RNA,Bound,sequence,label\nACGT,1,TTTT,0\nACGA,0,TTTA,0\n")
    assert columns_of(load_labelled(table, **chosen)) == wanted
    assert columns_of(load_labelled(table)) == (["TTTT", "TTTA"], [0, 0])
    (tmp_path / "F").mkdir()
    for part in ("train", "test"):
        write(tmp_path / "F" / f"{part}.tsv", "Bound\tRNA\n1\tACGT\n")
    assert columns_of(load_labelled(tmp_path / "F", **chosen)) == (["ACGT"] * 2, [1, 1])
    Dataset.from_dict({"RNA": ["ACGT", "ACGA"], "Bound": [1, 0]}).save_to_disk(str(tmp_path / "b"))
    assert columns_of(load_labelled(tmp_path / "b", **chosen)) == wanted


def test_columns_of_several_labels_may_have_other_names(tmp_path):
    joined = write(tmp_path / "a.csv", "seq,hits,chrom\nACGT,0;1,8\nACGA,true;FALSE,9\n")
    spread = write(tmp_path / "b.csv", "seq,hits_0,hits_1,label_0,label_7,chrom\nACGT,0,1,5,5,8\nACGA,1,0,5,5,9\n")
    for path in (joined, spread):
        dataset = load_labelled(path, task="multilabel", nlabels=2, label_column="hits")
        assert dataset.labels.tolist() == [[0, 1], [1, 0]]
        assert dataset.chrom.tolist() == ["8", "9"]
    write(joined, "seq,Hits\nACGT,0;1\nACGA,1;\n")
    with pytest.raises(InputError, match=r"row 3: column label_1: found nothing, wanted 0 or 1"):
        load_labelled(joined, task="multilabel", nlabels=2, label_column="hits")
    with pytest.raises(InputError, match=r"row 2: column Hits: found 0;1, wanted 3 values"):
        load_labelled(joined, task="multilabel", nlabels=3, label_column="hits")


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path):
    path = write(tmp_path / "a.csv", "Seq,Bound\nACGT,1\n")
    message = r"`sequence_column`: found no 'rna' in .*a\.csv, wanted one of Seq, Bound"
    with pytest.raises(InputError, match=message):
        load_labelled(path, sequence_column="rna", label_column="bound")
    with pytest.raises(InputError, match=r"`label_column`: found no 'y' in .*a\.csv, wanted one of Seq, Bound"):
        load_labelled(path, label_column="y")
    with pytest.raises(InputError, match=r"a\.csv: row 2: column Bound: found 2, wanted 0 or 1"):
        load_labelled(write(path, "Seq,Bound\nACGT,2\n"), label_column="bound")
    several = "wanted .* and label or labels, or label_0, label_1 ...; `sequence_column` and `label_column` name others"
    with pytest.raises(InputError, match=rf"a\.csv: found columns Seq, Bound, {several}"):
        load_labelled(path, task="multilabel")


def test_columns_go_with_tables_only(tmp_path):
    for side in ("positives", "negatives"):
        write(tmp_path / f"Q.{side}.fa", ">a\nACGT\n")
    with pytest.raises(
        InputError, match=r"`label_column`: found 'y' for .*Q\.positives\.fa, wanted it with tables only"
    ):
        load_labelled(tmp_path, label_column="y")


@pytest.mark.parametrize("cells", [("TRUE", "FALSE"), ("True", "False"), ("true", " false "), ("1", "FALSE")])
def test_yes_and_no_may_be_true_and_false(tmp_path, cells):
    path = write(tmp_path / "a.csv", "sequence,label\nACGT,{}\nACGA,{}\n".format(*cells))
    assert load_labelled(path).labels.tolist() == [1, 0]
    for options, wanted in (
        ({"nlabels": 3}, "a whole number from 0 to 2"),
        ({"task": "regression"}, "a finite number"),
    ):
        row, found = (3, cells[1].strip()) if cells[0] == "1" else (2, cells[0])
        with pytest.raises(InputError, match=rf"row {row}: column label: found {found}, wanted {wanted}"):
            load_labelled(path, **options)


def test_true_and_false_of_arrow_and_near_misses(tmp_path):
    from datasets import Dataset

    Dataset.from_dict({"sequence": ["ACGT", "ACGA"], "label": [True, False]}).save_to_disk(str(tmp_path / "b"))
    assert load_labelled(tmp_path / "b").labels.tolist() == [1, 0]
    with pytest.raises(InputError, match="row 2: column label: found TRUE!, wanted 0 or 1"):
        load_labelled(write(tmp_path / "a.csv", "sequence,label\nACGT,TRUE!\n"))
