"""Hugging Face data sets whose files were edited by hand or are damaged."""

from __future__ import annotations

import json
import random

import pytest
from datasets import Dataset, DatasetDict

from LAMAR.data.labelled import load_labelled
from LAMAR.errors import InputError


@pytest.fixture
def folder(tmp_path):
    part = Dataset.from_dict({"sequence": ["ACGT", "GGA", "CCATG"], "label": [1, 0, 1]})
    DatasetDict({"train": part, "test": part}).save_to_disk(str(tmp_path / "set"))
    part.save_to_disk(str(tmp_path / "other"))
    return tmp_path / "set"


def refused(folder, fragment: str) -> None:
    with pytest.raises(InputError) as caught:
        load_labelled(folder)
    assert str(folder) in str(caught.value)
    assert fragment in str(caught.value)


@pytest.mark.parametrize("name", ["../../other/data-00000-of-00001.arrow", "/etc/passwd", "..", 3, None, ["a"]])
def test_parts_of_other_folders_are_refused(name, folder):
    file = folder / "train" / "state.json"
    state = json.loads(file.read_text())
    file.write_text(json.dumps(state | {"_data_files": [{"filename": name}]}))
    refused(folder, f"train/state.json: found {str(name)!r}, wanted the name of a file or part in its folder")


@pytest.mark.parametrize("name", ["../other", "/tmp", 3])
def test_splits_of_other_folders_are_refused(name, folder):
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", name]}))
    refused(folder, f"dataset_dict.json: found {str(name)!r}, wanted the name of a file or part in its folder")


@pytest.mark.parametrize("file", ["dataset_dict.json", "train/state.json", "train/dataset_info.json"])
@pytest.mark.parametrize("depth", [90, 101, 900, 100_000])
def test_json_of_many_levels(file, depth, folder):
    (folder / file).write_text("[" * depth + "]" * depth)
    refused(folder, "")


CONTENT = ["", "[]", "{}", "3", '{"splits": "train"}', '{"_data_files": 3}', '{"features": []}']


@pytest.mark.parametrize("file", ["dataset_dict.json", "train/state.json", "train/dataset_info.json"])
@pytest.mark.parametrize("content", CONTENT)
def test_json_of_other_content(file, content, folder):
    (folder / file).write_text(content)
    if file == "train/dataset_info.json" and content in ("{}", '{"_data_files": 3}'):
        assert len(load_labelled(folder)) == 6  # the Arrow file says the same
    else:
        refused(folder, "")


def test_damaged_arrow_files_are_refused_or_read_never_a_crash(folder):
    file, rng = folder / "train" / "data-00000-of-00001.arrow", random.Random(1)
    content, refusals = file.read_bytes(), []
    for _ in range(60):
        spoilt = bytearray(content)
        for _ in range(rng.choice([1, 4])):
            spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        file.write_bytes(spoilt[: rng.choice([len(spoilt), rng.randrange(len(spoilt))])])
        try:
            load_labelled(folder)
        except InputError as error:
            refusals.append(str(error))
    assert len(refusals) > 20
    assert all(str(folder) in message for message in refusals)
