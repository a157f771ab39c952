"""weights/train_on_gpu.sh, rehearsed on the CPU as on a GPU machine: without a network and with few packages."""

import gzip
import json
import os
import subprocess
import tarfile

import numpy as np
import pytest
from track_sets import write_small_set

# Not needed for training, and absent from machines that come with PyTorch and transformers alone.
ABSENT = ("tensorflow", "keras", "bioframe", "pyfaidx", "Bio", "logomaker", "captum", "h5py", "datasets", "peft")
HIDE = f"""
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in {ABSENT}
        return None if hidden else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""


def write_lines(path, n, rng):
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as handle:
        handle.writelines("".join(rng.choice(list("ACGT"), 60)) + "\n" for _ in range(n))


@pytest.fixture
def call(repo_root, tmp_path):
    """Function that runs the script with some stages, on tmp_path/pack, without the packages `ABSENT`."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HIDE)

    def run(*stages, **variables):
        names = {"PACK": tmp_path / "pack", "RUNS": tmp_path / "runs", "PYTHONPATH": tmp_path / "site"}
        environment = {**os.environ, **{name: str(value) for name, value in (names | variables).items()}}
        environment |= {"CUDA_VISIBLE_DEVICES": ""}
        command = ["bash", str(repo_root / "weights" / "train_on_gpu.sh"), *stages]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return run


def test_each_stage_starts_from_the_one_before_and_leaves_one_small_file(call, tmp_path):
    rng = np.random.default_rng(0)
    write_lines(tmp_path / "pack" / "clip" / "train.txt.gz", 400, rng)
    write_lines(tmp_path / "pack" / "clip" / "val.txt.gz", 40, rng)
    (tmp_path / "pack" / "unseen").mkdir()
    with gzip.open(tmp_path / "pack" / "unseen" / "SET.test.csv.gz", "wt") as handle:
        handle.write(f"sequence,label\n{'ACGT' * 10},1\n")
    write_small_set(tmp_path / "pack" / "tracks", n=300)
    few = {"PRETRAIN_ARGS": "--max_steps 2 --warmup_steps 1", "JOINT_ARGS": "--max_steps 3 --warmup_steps 1"}
    small = {"TOKENS": 1024, "WINDOWS": 16, "PRECISION": "", "HELD_OUT": "QKI"}
    done = call("tapt", "held_out", **few, **small)
    assert done.returncode == 0, done.stderr
    assert "tapt: 99 tensors loaded" in done.stdout + done.stderr  # held_out starts from the run of tapt
    for stage, table in (("tapt", "loss_curve.png"), ("held_out", "tracks.csv")):
        with tarfile.open(tmp_path / "runs" / f"{stage}.tar") as archive:
            names = {name.rpartition("/")[2] for name in archive.getnames()}
            config = json.load(archive.extractfile(f"{stage}-float16/config.json"))
        assert {"model.safetensors", "vocab.txt", "eval_results.json", "log.csv", table} <= names
        assert config["hidden_size"] == 256
    assert sorted(config["id2label"].values()) == ["PUM2_HepG2", "PUM2_K562", "TARDBP_HepG2"]
    again = call("held_out", **few, **small)  # as after an interruption: nothing is trained again
    assert again.returncode == 0, again.stderr
    assert "windows/s, loss" not in again.stdout + again.stderr


@pytest.mark.parametrize("stages", [["joined"], ["tapt"], []])
def test_unknown_stages_and_missing_files_end_before_training(call, tmp_path, stages):
    done = call(*stages)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: stage: found 'joined'" if stages == ["joined"] else "error: PACK: found no")
    assert not (tmp_path / "runs").exists()
