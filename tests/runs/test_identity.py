"""Runs that were moved or copied, and runs of other files under the same paths."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from LAMAR.errors import InputError
from LAMAR.runs import RunFolder
from LAMAR.runs.identity import relocated
from LAMAR.runs.storage import sha256_file


def files(folder: Path) -> Path:
    """Inputs and weights of a run, and a place for it."""
    for name, text in (
        ("data/QKI/train.csv", "train"),
        ("data/QKI/test.csv", "test"),
        ("data/PUM2.positives.fa", "bound"),
        ("data/PUM2.negatives.fa", "unbound"),
        ("genome.fa", "genome"),
        ("genes.gtf", "genes"),
        ("weights/mini/model.safetensors", "weights"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def start(folder: Path, **changed) -> RunFolder:
    """A start with every kind of path among its arguments."""
    data, weights = folder / "data", folder / "weights" / "mini"
    arguments = {
        "data_path": data / "QKI",
        "pair": data / "PUM2",
        "genome": folder / "genome.fa",
        "tables": [folder / "genes.gtf", data / "QKI"],
        "named": [f"TAPT={data / 'QKI'}"],
        "pretrain_path": weights,
        "head": "cnn",
        "output_dir": folder / "runs",
    }
    inputs = [data / "QKI/train.csv", data / "QKI/test.csv", *sorted(data.glob("PUM2*"))]
    inputs += [folder / "genome.fa", folder / "genes.gtf"]
    sha256 = sha256_file(weights / "model.safetensors")
    options = {"arguments": arguments | changed.pop("arguments", {}), "seed": 7, "inputs": inputs}
    options["weights"] = {
        "pretrain_path": str(weights),
        "sha256": sha256,
        "report": {"source": str(weights)} | {"n": 3},
    }
    options["weights"]["report"]["sha256"] = sha256
    return RunFolder.open(folder / "runs" / "QKI", **options | changed)


def begin(folder: Path) -> None:
    with start(files(folder)) as run:
        run.save_unit("fold_0", {"auroc": 0.5})


def test_a_copy_resumes_its_run_and_records_the_new_paths(tmp_path):
    begin(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    shutil.rmtree(tmp_path / "here")
    with start(tmp_path / "there") as run:
        assert run.done("fold_0")
        assert run.record["starts"] == 2
        assert run.record["arguments"]["genome"] == str(tmp_path / "there" / "genome.fa")
        assert all(path.startswith(str(tmp_path / "there")) for path in run.record["inputs"])


def test_inputs_of_another_place_are_the_same_inputs(tmp_path):
    begin(tmp_path / "here")
    shutil.move(tmp_path / "here" / "genome.fa", tmp_path / "genome.fa")
    inputs = [tmp_path / "genome.fa"]
    with start(files(tmp_path / "here")) as run:
        known = [path for path in run.record["inputs"] if not path.endswith("genome.fa")]
    run = start(tmp_path / "here", arguments={"genome": inputs[0]}, inputs=[*known, *inputs])
    assert run.done("fold_0")
    run.close()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("data/QKI/test.csv", r"another `data_path`: found .*here/data/QKI.*, wanted .*there/data/QKI"),
        ("data/PUM2.negatives.fa", r"another `pair`: found .*here/data/PUM2.*, wanted .*there/data/PUM2"),
        ("genome.fa", r"another `genome`: found .*here/genome\.fa.*, wanted .*there/genome\.fa"),
        ("genes.gtf", r"another `tables`"),
        ("weights/mini/model.safetensors", r"another `pretrain_path`: found .*here/weights/mini"),
    ],
)
def test_other_content_in_another_place_is_another_run(tmp_path, changed, message):
    begin(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    (tmp_path / "there" / changed).write_text("something else")
    with pytest.raises(InputError, match=message):
        start(tmp_path / "there")


def test_other_content_in_the_same_place_is_another_run(tmp_path):
    begin(tmp_path)
    (tmp_path / "genome.fa").write_text("something else")
    with pytest.raises(
        InputError, match=r"another content of .*genome\.fa: found '[0-9a-f]{64}', wanted '[0-9a-f]{64}'"
    ):
        start(tmp_path)
    (tmp_path / "genome.fa").write_text("genome")
    (tmp_path / "weights/mini/model.safetensors").write_text("something else")
    with pytest.raises(InputError, match=r"another weights sha256"):
        start(tmp_path)


def test_files_that_change_places_are_other_inputs(tmp_path):
    begin(tmp_path / "here")
    here = tmp_path / "here"
    # By their arguments ...
    with pytest.raises(InputError, match=r"another `genome`"):
        start(here, arguments={"genome": here / "genes.gtf", "tables": [here / "genome.fa", here / "data" / "QKI"]})
    # ... and on the disk.
    (here / "genome.fa").write_text("genes")
    (here / "genes.gtf").write_text("genome")
    with pytest.raises(InputError, match=r"another content of "):
        start(here)


@pytest.mark.parametrize("more", [0, 2])
def test_another_number_of_inputs_is_another_run(tmp_path, more):
    begin(tmp_path)
    names = ["data/QKI/train.csv", "data/QKI/test.csv", "data/PUM2.positives.fa", "data/PUM2.negatives.fa"]
    inputs = [tmp_path / name for name in [*names, "genome.fa", "genes.gtf"][: 5 + more]]
    if more:
        (tmp_path / "copy.gtf").write_text("genes")
        inputs.append(tmp_path / "copy.gtf")
    name = "copy" if more else "genes"
    with pytest.raises(InputError, match=rf"another content of .*{name}\.gtf: found .*, wanted "):
        start(tmp_path, inputs=inputs)


def test_texts_that_are_no_paths_are_compared_as_they_are(tmp_path):
    begin(tmp_path)
    with pytest.raises(InputError, match=r"another `head`: found 'cnn', wanted 'linear'"):
        start(tmp_path, arguments={"head": "linear"})


def test_recorded_paths_follow_the_runs_folder(tmp_path):
    then, now = tmp_path / "old" / "clone", tmp_path / "new" / "copy"
    files(now)
    for name in ("data/QKI", "weights/mini", "genome.fa"):
        assert relocated(str(then / name), then / "models" / "QKI", now / "models" / "QKI") == str(now / name)
    # What is still there, what lies elsewhere, and what was not moved stay as recorded.
    for path in (str(tmp_path), "/elsewhere/data", str(then / "data" / "nothing"), "data/QKI", ""):
        assert relocated(path, then / "models" / "QKI", now / "models" / "QKI") == path
    assert relocated("data/none", "models/QKI", now / "models" / "QKI") == "data/none"
