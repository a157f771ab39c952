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
