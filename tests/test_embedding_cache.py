"""The cache: entries are computed once, are complete or absent, and serve several processes."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from embedding_calls import cached_layers, extract_layers

from LAMAR import embedding_cache, embeddings
from LAMAR.batches import EncodedSequences
from LAMAR.checkpoints import build_model
from LAMAR.embedding_cache import model_digest, sequence_digest
from LAMAR.errors import InputError
from LAMAR.modeling_nucESM2 import EsmForSequenceClassification, EsmModel, named_config

SEQUENCES = ["ACGTN", "GG", "ACGTACGTACGTA", "T"]
N_NUCLEOTIDES = sum(map(len, SEQUENCES))
WEIGHTS = "0f" * 32


@pytest.fixture
def model():
    """A tiny encoder that records, for each batch, the layer after which the pass was to stop."""
    model = build_model(EsmModel, named_config("lamar-tiny"), seed=0).eval()
    model.stops = []
    model.register_forward_hook(
        lambda module, arguments, keywords, output: model.stops.append(keywords["stop_after_layer"]), with_kwargs=True
    )
    return model


def cached(model, folder, weights=WEIGHTS, sequences=SEQUENCES, **changed):
    options = {"layers": [2], "pooling": "none", "dtype": "float16", "cache_dir": folder, **changed}
    return cached_layers(model, weights, sequences, **options)


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob(".*.partial"))


# --------------------------------------------------------------------------------------------- entries


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("pooling", embeddings.POOLINGS)
def test_second_call_reads_what_the_first_computed(model, tmp_path, pooling, dtype):
    wanted = extract_layers(model, EncodedSequences.encode(SEQUENCES), layers=[0, 2], pooling=pooling, dtype=dtype)
    first = cached(model, tmp_path, layers=[0, -1], pooling=pooling, dtype=dtype)
    model.stops.clear()
    second = cached(model, tmp_path, layers=[2, 0], pooling=pooling, dtype=dtype)
    assert model.stops == []
    assert list(first) == [0, 2]
    assert list(second) == [2, 0]
    for layer in (0, 2):
        for found in (first[layer], second[layer]):
            assert isinstance(found.values, np.memmap)
            assert not found.values.flags.writeable
            assert found.values.dtype == dtype
            np.testing.assert_array_equal(found.values, wanted[layer].values)
            for i in range(len(SEQUENCES)):
                np.testing.assert_array_equal(found[i], wanted[layer][i])
    assert not leftovers(tmp_path)


def test_entry_says_what_it_is(model, tmp_path):
    cached(model, tmp_path, layers=[1])
    (entry,) = entries(tmp_path)
    assert entry.name.startswith("0f0f0f0f-layer1-none-float16-")
    assert sorted(path.name for path in entry.iterdir()) == ["entry.json", "offsets.npy", "values.npy"]
    assert np.load(entry / "values.npy").shape == (N_NUCLEOTIDES, 64)
    assert np.load(entry / "offsets.npy").tolist() == [0, 5, 7, 20, 21]
    record = json.loads((entry / "entry.json").read_text())
    assert record["key"]["weights"] == WEIGHTS
    assert record["key"]["sequences"] == sequence_digest(EncodedSequences.encode(SEQUENCES))
    assert record["shape"] == [N_NUCLEOTIDES, 64]
    assert record["bytes"]["values.npy"] == (entry / "values.npy").stat().st_size
    assert set(record["versions"]) == {"torch", "transformers", "numpy"}


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "0e" * 32},
        {"weights": ""},
        {"layers": [1]},
        {"pooling": "mean"},
        {"dtype": "float32"},
        {"precision": "bfloat16"},
        {"sequences": SEQUENCES[::-1]},
        {"sequences": SEQUENCES[:-1]},
        # The same letters, cut elsewhere.
        {"sequences": ["ACGTNG", "G", *SEQUENCES[2:]]},
    ],
)
def test_anything_else_is_another_entry(model, tmp_path, change):
    before = cached(model, tmp_path)[2].values.copy()
    model.stops.clear()
    cached(model, tmp_path, **change)
    assert model.stops
    assert len(entries(tmp_path)) == 2
    np.testing.assert_array_equal(cached(model, tmp_path)[2].values, before)


def test_same_tensors_in_another_architecture_are_another_entry(model, tmp_path):
    cached(model, tmp_path)
    other = EsmModel(named_config("lamar-tiny", num_attention_heads=2, layer_norm_eps=1e-6))
    other.load_state_dict(model.state_dict())
    assert model_digest(other) == model_digest(model)
    cached(other, tmp_path)
    assert len(entries(tmp_path)) == 2


def test_what_changes_no_value_is_the_same_entry(model, tmp_path):
    cached(model, tmp_path)
    model.stops.clear()
    cached(model, tmp_path, token_budget=5, device="cpu", layers=[-1], sequences=[s.lower() for s in SEQUENCES])
    assert model.stops == []


def test_only_missing_layers_are_computed(model, tmp_path):
    cached(model, tmp_path, layers=[0])
    cached(model, tmp_path, layers=[2])
    model.stops.clear()
    before = {entry: (entry / "values.npy").stat().st_mtime_ns for entry in entries(tmp_path)}
    found = cached(model, tmp_path, layers=[2, 1, 0], token_budget=10_000)
    # One batch holds all four records, and the pass stops after layer 1.
    assert model.stops == [1]
    assert len(entries(tmp_path)) == 3
    assert all((entry / "values.npy").stat().st_mtime_ns == time for entry, time in before.items())
    wanted = extract_layers(
        model, EncodedSequences.encode(SEQUENCES), layers=[0, 1, 2], pooling="none", dtype="float16"
    )
    for layer in range(3):
        np.testing.assert_array_equal(found[layer].values, wanted[layer].values)


def test_model_digest_is_of_the_encoders_tensors():
    build = lambda seed, **kind: build_model(EsmForSequenceClassification, named_config("lamar-tiny", **kind), seed)  # noqa: E731
    one = build(0)
    assert model_digest(one) == model_digest(build(0)) == model_digest(one.esm)
    assert model_digest(one) != model_digest(build(1))
    with torch.no_grad():
        one.classifier.out_proj.bias += 1
    assert model_digest(one) == model_digest(build(0))
    with torch.no_grad():
        one.esm.encoder.layer[1].output.dense.bias[3] += 1e-3
    assert model_digest(one) != model_digest(build(0))
    assert model_digest(build(0).half()) != model_digest(build(0))


def test_random_weights_have_entries_of_their_own(tmp_path):
    for seed in (0, 1, 0):
        model = build_model(EsmModel, named_config("lamar-tiny"), seed)
        found = cached(model, tmp_path, weights=None, pooling="mean", dtype="float32")[2].values
        wanted = extract_layers(model, EncodedSequences.encode(SEQUENCES), layers=[2], pooling="mean")[2].values
        np.testing.assert_array_equal(found, wanted)
    assert len(entries(tmp_path)) == 2


# ---------------------------------------------------------------------------------------------- damage


def truncate(entry: Path) -> None:
    os.truncate(entry / "values.npy", (entry / "values.npy").stat().st_size - 2)


def truncate_knowingly(entry: Path) -> None:
    truncate(entry)
    record = json.loads((entry / "entry.json").read_text())
    record["bytes"]["values.npy"] -= 2
    (entry / "entry.json").write_text(json.dumps(record))


def shift_offsets(entry: Path) -> None:
    np.save(entry / "offsets.npy", np.load(entry / "offsets.npy") + 1)


def overwrite_the_values(entry: Path) -> None:
    with open(entry / "values.npy", "r+b") as handle:
        handle.seek(-64, os.SEEK_END)
        handle.write(b"\0" * 64)


def replace_by_a_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_text("")


DAMAGES = [
    truncate,
    truncate_knowingly,
    shift_offsets,
    overwrite_the_values,
    replace_by_a_file,
    lambda entry: (entry / "entry.json").unlink(),
    lambda entry: (entry / "entry.json").write_text('{"key": {'),
    lambda entry: (entry / "entry.json").write_text("[]"),
    lambda entry: (entry / "entry.json").write_text("{}"),
    lambda entry: (entry / "values.npy").unlink(),
    lambda entry: (entry / "values.npy").write_bytes(b"\0" * (entry / "values.npy").stat().st_size),
    lambda entry: (entry / "offsets.npy").unlink(),
    lambda entry: np.save(entry / "values.npy", np.zeros((64, N_NUCLEOTIDES), dtype=np.float16)),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_entry_is_logged_and_computed_again(model, tmp_path, caplog, damage):
    wanted = cached(model, tmp_path)[2].values.copy()
    (entry,) = entries(tmp_path)
    damage(entry)
    model.stops.clear()
    with caplog.at_level(logging.WARNING, logger="LAMAR.embedding_cache"):
        found = cached(model, tmp_path)[2].values
    assert model.stops
    (message,) = caplog.messages
    assert message.startswith(f"{entry}: damaged, computed again (")
    np.testing.assert_array_equal(found, wanted)
    assert entries(tmp_path) == [entry]
    assert not leftovers(tmp_path)
    model.stops.clear()
    cached(model, tmp_path)
    assert model.stops == []


def test_failure_half_way_leaves_no_entry(model, tmp_path):
    def fail(*_):
        if len(model.stops) == 2:
            raise RuntimeError("out of memory")

    handle = model.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        cached(model, tmp_path, token_budget=1)
    assert entries(tmp_path) == leftovers(tmp_path) == []
    handle.remove()
    cached(model, tmp_path)
    assert len(entries(tmp_path)) == 1


def test_overflow_leaves_no_entry(model, tmp_path):
    with torch.no_grad():
        model.encoder.emb_layer_norm_after.bias += 1e5
    with pytest.raises(InputError, match="`dtype` float32"):
        cached(model, tmp_path)
    assert entries(tmp_path) == leftovers(tmp_path) == []
    assert cached(model, tmp_path, dtype="float32")[2].values.min() > 9e4


# ------------------------------------------------------------------------------------- space and limits


def test_full_disk_is_found_before_the_start(model, tmp_path, monkeypatch):
    wanted = N_NUCLEOTIDES * 64 * 2 + (len(SEQUENCES) + 1) * 8
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(0, 0, 2 * wanted - 1))
    with pytest.raises(InputError, match=rf"`cache_dir`: {tmp_path}: found .* free, wanted {2 * wanted:,} for"):
        cached(model, tmp_path, layers=[0, 2])
    assert model.stops == []
    # Entries that exist already need no room.
    cached(model, tmp_path, layers=[0])
    cached(model, tmp_path, layers=[0, 2])
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(0, 0, 0))
    cached(model, tmp_path, layers=[0, 2])


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve space")
def test_disk_that_fills_meanwhile_is_found_before_the_start(model, tmp_path, monkeypatch):
    def full(handle, start, n_bytes):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=rf"`cache_dir`: {tmp_path}.*no room for \d"):
        cached(model, tmp_path)
    assert model.stops == []
    assert entries(tmp_path) == leftovers(tmp_path) == []


def test_folder_that_cannot_be_made_is_an_error(model, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        with pytest.raises(InputError, match=rf"`cache_dir`: {folder} cannot be created"):
            cached(model, folder)


def test_folder_that_cannot_be_written_is_an_error_but_can_be_read(model, tmp_path, monkeypatch):
    wanted = cached(model, tmp_path)[2].values.copy()
    opened = os.open

    # Permissions would not stop an administrator.
    def refuse(path, flags, *rest, **more):
        if flags & (os.O_WRONLY | os.O_RDWR) and str(path).startswith(str(tmp_path)):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    np.testing.assert_array_equal(cached(model, tmp_path)[2].values, wanted)
    with pytest.raises(InputError, match=rf"`cache_dir`: {tmp_path} cannot be written \(Permission denied\)"):
        cached(model, tmp_path, layers=[0])


def test_wrong_input(model, tmp_path):
    with pytest.raises(InputError, match="found no sequences"):
        cached(model, tmp_path, sequences=[])
    with pytest.raises(InputError, match=r"`layers`: found 3"):
        cached(model, tmp_path, layers=[3])
    with pytest.raises(InputError, match="`dtype`: found 'int8'"):
        cached(model, tmp_path, dtype="int8")
    with pytest.raises(InputError, match="`device`: found 'abacus'"):
        cached(model, tmp_path, device="abacus")
    with pytest.raises(ValueError, match="weights_digest: found 'latest', wanted a SHA-256"):
        cached(model, tmp_path, weights="latest")
    assert list(tmp_path.iterdir()) == []


class _Wide(torch.nn.Module):
    """An encoder that computes nothing, so that writing takes all the time."""

    config = SimpleNamespace(
        num_hidden_layers=1, hidden_size=512, num_attention_heads=1, layer_norm_eps=1e-5, rope_theta=1e4
    )

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, ids, mask, **_):
        hidden = (ids[..., None] * self.scale).expand(*ids.shape, self.config.hidden_size)
        return SimpleNamespace(last_hidden_state=hidden)


def test_memory_stays_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "RESIDENT_LIMIT_BYTES", 4 * 1024**2)
    sequences = ["ACGT" * 250] * 120
    model = _Wide()
    cached(model, tmp_path, sequences=sequences[:4], layers=[0])
    sizes = []
    model.register_forward_hook(lambda *_: sizes.append(psutil.Process().memory_info().rss))
    found = cached(model, tmp_path, sequences=sequences, layers=[0])[0]
    assert found.values.nbytes > 120_000_000
    assert max(sizes) - sizes[0] < 40_000_000
    assert found[119][:4, 0].tolist() == [5, 7, 8, 6]


# ------------------------------------------------------------------------------------------- processes

# Prints the number of batches that it computed and the sum of the values.
WORKER = f"""
import os, signal, sys, time
from pathlib import Path
from LAMAR.checkpoints import build_model
from LAMAR.embedding_cache import cached_outputs
from LAMAR.modeling_nucESM2 import EsmModel, named_config

folder, kill_after = Path(sys.argv[1]), int(sys.argv[2])
model = build_model(EsmModel, named_config("lamar-tiny"), seed=0)
calls = []

def count(*_):
    calls.append(1)
    (folder.parent / f"computing-{{os.getpid()}}").touch()
    if len(calls) == kill_after:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.3)

model.register_forward_hook(count)
(folder.parent / f"ready-{{os.getpid()}}").touch()
while not (folder.parent / "go").exists():
    time.sleep(0.01)
found = cached_outputs(
    model, "{WEIGHTS}", {SEQUENCES}, [(2, "none")], dtype="float16", cache_dir=folder, token_budget=1
)
print(len(calls), found[2, "none"].values.astype("float64").sum())
"""


@pytest.fixture
def start_worker(repo_root):
    """Function that starts a process which asks for the cache once the file ``go`` is there."""
    workers = []

    def start(folder: Path, kill_after: int = 0) -> subprocess.Popen:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), str(kill_after)],
            env={**os.environ, "PYTHONPATH": str(repo_root)},
            stdout=subprocess.PIPE,
            text=True,
        )
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.kill()
        worker.communicate()


@pytest.mark.slow
def test_two_processes_at_once_compute_once(start_worker, model, tmp_path):
    folder = tmp_path / "cache"
    workers = [start_worker(folder), start_worker(folder)]
    deadline = time.monotonic() + 240
    while len(list(tmp_path.glob("ready-*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (tmp_path / "go").touch()
    outputs = [worker.communicate(timeout=240)[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    # A token budget of one makes a batch of each record.
    assert sorted(int(calls) for calls, _ in outputs) == [0, len(SEQUENCES)]
    assert outputs[0][1] == outputs[1][1]
    assert len(list(tmp_path.glob("computing-*"))) == 1
    assert len(entries(folder)) == 1
    assert not leftovers(folder)
    found = cached(model, folder)[2].values
    assert model.stops == []
    wanted = extract_layers(
        model, EncodedSequences.encode(SEQUENCES), layers=[2], pooling="none", dtype="float16", token_budget=1
    )
    np.testing.assert_array_equal(found, wanted[2].values)


@pytest.mark.slow
def test_killed_process_leaves_nothing_that_counts(start_worker, model, tmp_path, caplog):
    folder = tmp_path / "cache"
    (tmp_path / "go").touch()
    worker = start_worker(folder, kill_after=3)
    worker.communicate(timeout=240)
    assert worker.returncode == -signal.SIGKILL
    assert entries(folder) == []
    assert len(leftovers(folder)) == 1
    with caplog.at_level(logging.WARNING, logger="LAMAR.embedding_cache"):
        found = cached(model, folder)[2].values
    assert caplog.messages == []
    assert model.stops
    assert len(entries(folder)) == 1
    assert not leftovers(folder)
    wanted = extract_layers(model, EncodedSequences.encode(SEQUENCES), layers=[2], pooling="none", dtype="float16")
    np.testing.assert_array_equal(found, wanted[2].values)


def test_file_system_without_locks(model, tmp_path, monkeypatch, caplog):
    def refuse(handle, operation):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(embedding_cache.fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING, logger="LAMAR.embedding_cache"):
        cached(model, tmp_path)
    assert "cannot be locked" in caplog.text
    assert len(entries(tmp_path)) == 1
