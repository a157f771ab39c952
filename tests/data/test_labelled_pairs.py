"""FASTA pairs of parts: NAME.train.positives.fa, NAME.train.negatives.fa, NAME.test.positives.fa ..."""

from __future__ import annotations

from pathlib import Path

import pytest
from sequence_files import write

from LAMAR.data.labelled import load_labelled, set_names
from LAMAR.data.splits import make_split
from LAMAR.errors import InputError

SEQUENCES = {
    ("train", 1): ["ACGTA", "ACGTC"],
    ("train", 0): ["TTTTA", "TTTTC"],
    ("dev", 1): ["ACGTG"],
    ("dev", 0): ["TTTTG"],
    ("test", 1): ["ACGTT"],
    ("test", 0): ["TTTTT"],
}
RECORDS = sorted((sequence, label, part) for (part, label), members in SEQUENCES.items() for sequence in members)


def write_pairs(folder: Path, beginning: str = "QKI.", parts=("train", "dev", "test"), end: str = ".fa") -> None:
    folder.mkdir(exist_ok=True)
    for (part, label), members in SEQUENCES.items():
        if part in parts:
            side = "positives" if label else "negatives"
            text = "".join(f">{part}{label}{i}\n{sequence}\n" for i, sequence in enumerate(members))
            write(folder / f"{beginning}{part}.{side}{end}", text)


def records_of(dataset) -> list[tuple]:
    return sorted(zip(dataset.sequences, dataset.labels.tolist(), dataset.split.tolist()))


@pytest.mark.parametrize("end", [".fa", ".fasta.gz"])
@pytest.mark.parametrize("beginning", ["QKI.", "QKI_", "QKI-"])
def test_pairs_of_parts_are_one_set(tmp_path, beginning, end):
    write_pairs(tmp_path, beginning, end=end)
    for dataset in (load_labelled(tmp_path), load_labelled(tmp_path, name="QKI"), load_labelled(tmp_path / "QKI")):
        assert records_of(dataset) == RECORDS
        assert dataset.name == "QKI"
        assert len(dataset.files) == 6
        assert set(dataset.ids) >= {"train10", "dev00", "test10"}
    assert set_names(tmp_path) == ["QKI"]
    split = make_split(load_labelled(tmp_path))
    assert split.report["method"] == "given"
    assert split.report["sizes"] == {"train": 4, "dev": 2, "test": 2}


def test_pairs_without_a_name_are_the_set_of_their_folder(tmp_path):
    write_pairs(tmp_path / "PUM2", "")
    for dataset in (load_labelled(tmp_path / "PUM2"), load_labelled(tmp_path, name="PUM2")):
        assert records_of(dataset) == RECORDS
        assert dataset.name == "PUM2"
    assert set_names(tmp_path) == ["PUM2"]


def test_several_sets_and_a_set_without_parts_lie_side_by_side(tmp_path):
    write_pairs(tmp_path)
    write_pairs(tmp_path, "PUM2.", ("train", "test"))
    for side in ("positives", "negatives"):
        write(tmp_path / f"FUS.{side}.fa", ">a\nACGT\n")
    assert set_names(tmp_path) == ["FUS", "PUM2", "QKI"]
    assert set(load_labelled(tmp_path, name="PUM2").split) == {"train", "test"}
    assert load_labelled(tmp_path, name="FUS").split is None
    with pytest.raises(InputError, match=r"wanted train\.csv or a name of: FUS, PUM2, QKI"):
        load_labelled(tmp_path)


@pytest.mark.parametrize("alias", ["valid", "validation", "val"])
def test_dev_may_have_its_other_names(tmp_path, alias):
    write_pairs(tmp_path)
    for path in list(tmp_path.glob("QKI.dev.*")):
        path.rename(tmp_path / path.name.replace(".dev.", f".{alias}."))
    assert records_of(load_labelled(tmp_path)) == RECORDS
    write_pairs(tmp_path, parts=("dev",))
    with pytest.raises(InputError, match=rf"found pairs QKI\.dev, QKI\.{alias}, wanted one for dev"):
        load_labelled(tmp_path)


def test_a_part_that_is_named_is_read_alone(tmp_path):
    write_pairs(tmp_path)
    for dataset in (
        load_labelled(tmp_path, name="QKI.train"),
        load_labelled(tmp_path / "QKI.train"),
        load_labelled(tmp_path / "QKI.train.positives.fa"),
    ):
        assert sorted(dataset.sequences) == ["ACGTA", "ACGTC", "TTTTA", "TTTTC"]
        assert dataset.split is None
        assert dataset.name == "QKI.train"


def test_a_lone_part_is_a_set_of_its_own(tmp_path):
    write_pairs(tmp_path, parts=("train",))
    assert load_labelled(tmp_path).name == "QKI.train"
    assert load_labelled(tmp_path).split is None
    write_pairs(tmp_path / "b", parts=("dev", "test"))
    assert set_names(tmp_path / "b") == ["QKI.dev", "QKI.test"]


def test_parts_go_before_a_pair_of_the_whole_set(tmp_path):
    write_pairs(tmp_path)
    for side in ("positives", "negatives"):
        write(tmp_path / f"QKI.{side}.fa", ">a\nACGT\n")
    assert records_of(load_labelled(tmp_path, name="QKI")) == RECORDS
    assert load_labelled(tmp_path / "QKI.positives.fa").sequences == ["ACGT"] * 2


def test_half_a_part_is_refused(tmp_path):
    write_pairs(tmp_path)
    (tmp_path / "QKI.test.negatives.fa").unlink()
    with pytest.raises(InputError, match=r"found nothing, wanted one file QKI\.test\.negatives\.fa"):
        load_labelled(tmp_path)
    with pytest.raises(InputError, match="a FASTA pair holds two classes, wanted a table for regression"):
        load_labelled(tmp_path, task="regression")
