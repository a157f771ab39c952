"""finetune_rbp.py, killed, moved, started again, added to: the figures of a run that nobody disturbed."""

from __future__ import annotations

import itertools
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from finetune_runs import ROOT, SCRIPT, arguments, make_dataset, run, script, start, table

from LAMAR.training import finetuning, fitting, trainers

BOTH_PHASES = ("--cv_folds", 1, "--epochs", 3, "--warmup_epochs", 2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory) -> Path:
    """Output folder of a two-fold run."""
    output = tmp_path_factory.mktemp("run")
    run(dataset, output)
    return output / dataset.name


def test_a_seed_repeats_bit_for_bit(finished, dataset, tmp_path):
    run(dataset, tmp_path / "again")
    run(dataset, tmp_path / "other", "--seed", 1, "--cv_folds", 1)
    again = tmp_path / "again" / dataset.name / "predictions.csv"
    assert again.read_bytes() == (finished / "predictions.csv").read_bytes()
    test = [r["probability"] for r in table(tmp_path / "other" / dataset.name / "predictions.csv")]
    assert not set(test) & {r["probability"] for r in table(again)}


class Killed(BaseException):
    """Ends a run at this very place, as SIGKILL would."""


def run_killed_after(epoch: int, monkeypatch, data: Path, output: Path, *more) -> None:
    """A run that ends once the checkpoint of this epoch is whole."""
    original = trainers.KeepBestAndLast.on_save

    def stop(self, args, state, control, **kwargs):
        original(self, args, state, control, **kwargs)
        if state.epoch == epoch:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(trainers.KeepBestAndLast, "on_save", stop)
        with pytest.raises(Killed):
            run(data, output, *more)


@pytest.fixture(scope="module")
def warmed_up(dataset, tmp_path_factory) -> Path:
    """Output folder of a run with both phases."""
    output = tmp_path_factory.mktemp("whole")
    run(dataset, output, *BOTH_PHASES)
    return output / dataset.name


# Two checkpoints of the warm-up and three of the whole model are marked, and at least one of each is deleted.
@pytest.mark.parametrize(("name", "call"), [("mark_complete", 2), ("mark_complete", 4), ("rmtree", 1), ("rmtree", 2)])
def test_killed_amid_checkpoints_and_restarted_equals_uninterrupted(
    dataset, warmed_up, tmp_path, monkeypatch, name, call
):
    """The second start finds an unmarked checkpoint, or half of a superfluous one, beside the last whole one."""
    calls, original = 0, getattr(trainers, name)

    def kill(checkpoint, *_, **__):
        nonlocal calls
        calls += 1
        if calls == call:
            if name == "rmtree":
                (checkpoint / "optimizer.pt").unlink()
            raise Killed
        original(checkpoint, *_, **__)

    with monkeypatch.context() as patched:
        patched.setattr(trainers, name, kill)
        with pytest.raises(Killed):
            run(dataset, tmp_path, *BOTH_PHASES)
    run(dataset, tmp_path, *BOTH_PHASES)
    for file in ("results.csv", "predictions.csv"):
        assert (tmp_path / dataset.name / file).read_bytes() == (warmed_up / file).read_bytes(), file


@pytest.mark.parametrize("killed_after", [2, 3])
def test_early_stopping_counts_the_epochs_of_earlier_starts(dataset, tmp_path, monkeypatch, killed_after):
    """Patience ends after epoch 3; a start that had forgotten it would come to epoch 4, which is better."""
    more = ("--cv_folds", 1, "--epochs", 6, "--early_stopping_patience", 2)
    by_epoch = (0.5, 0.4, 0.3, 0.9, 0.9, 0.9)
    for folder, kills in (("whole", False), ("killed", True)):
        values = iter(by_epoch)
        monkeypatch.setattr(fitting, "task_metrics", lambda *_, values=values: {"auprc": next(values)})
        if kills:
            run_killed_after(killed_after, monkeypatch, dataset, tmp_path / folder, *more)
        run(dataset, tmp_path / folder, *more)
        assert next(values) == 0.9
    killed, whole = (tmp_path / folder / dataset.name / "predictions.csv" for folder in ("killed", "whole"))
    assert killed.read_bytes() == whole.read_bytes()


def test_a_run_that_was_moved_ends_with_the_weights_of_its_best_epoch(dataset, tmp_path, monkeypatch):
    """A checkpoint of the Trainer holds the path where its best one lay."""
    more = ("--cv_folds", 1, "--epochs", 3)
    falling = itertools.count(0, -1)
    monkeypatch.setattr(fitting, "task_metrics", lambda *_: {"auprc": next(falling)})  # the first epoch is the best
    run(dataset, tmp_path / "whole", *more)
    run_killed_after(3, monkeypatch, dataset, tmp_path / "first", *more)
    (tmp_path / "first").rename(tmp_path / "moved")
    run(dataset, tmp_path / "moved", *more)
    moved, whole = (table(tmp_path / folder / dataset.name / "results.csv") for folder in ("moved", "whole"))
    assert moved == whole


def test_draws_can_be_added_to_a_finished_run(dataset, tmp_path, monkeypatch, capsys):
    more = ("--cv_folds", 1, "--subsample_pos", 20, "--subsample_neg", 20, "--epochs", 1)
    run(dataset, tmp_path / "added", *more, "--draws", 1)
    trained, original = [], finetuning.train_fold
    with monkeypatch.context() as patched:
        patched.setattr(finetuning, "train_fold", lambda fold, *a: trained.append(fold.name) or original(fold, *a))
        run(dataset, tmp_path / "added", *more, "--draws", 3)
    assert trained == ["draw_1", "draw_2"]
    run(dataset, tmp_path / "at_once", *more, "--draws", 3)
    for file in ("results.csv", "predictions.csv"):
        added, at_once = (tmp_path / name / dataset.name / file for name in ("added", "at_once"))
        assert added.read_bytes() == at_once.read_bytes(), file
    assert script.main(arguments(dataset, tmp_path / "added", *more, "--draws", 2)) == 2
    assert "--draws 2: " in capsys.readouterr().err


def test_a_finished_run_is_not_trained_again(finished, dataset, monkeypatch):
    before = {path.name: path.read_bytes() for path in finished.glob("*.csv")}
    monkeypatch.setattr(finetuning, "train_fold", lambda *a, **k: pytest.fail("trained again"))
    run(dataset, finished.parent)
    assert {path.name: path.read_bytes() for path in finished.glob("*.csv")} == before


def test_another_run_in_the_same_folder_is_refused(finished, dataset, capsys):
    assert script.main(arguments(dataset, finished.parent, "--epochs", 3)) == 2
    assert "--epochs" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_and_restarted_equals_uninterrupted(dataset, tmp_path):
    """SIGKILL at random points of the work; the tables are those of a run that nobody disturbed."""
    process = start(dataset, tmp_path / "whole", "--epochs", 3, "--warmup_epochs", 2)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    whole = tmp_path / "whole" / dataset.name
    rng = random.Random(5)
    kills = 0
    for _ in range(12):
        process = start(dataset, tmp_path / "killed", "--epochs", 3, "--warmup_epochs", 2)
        folder = tmp_path / "killed" / dataset.name
        # Start-up is longer than the work, so the clock starts when the run has its folder.
        while process.poll() is None and not (folder / "run.json").exists():
            time.sleep(0.05)
        started = json.loads((folder / "run.json").read_text())["starts"]
        while process.poll() is None and kills and started == kills:
            time.sleep(0.05)
            started = json.loads((folder / "run.json").read_text())["starts"]
        try:
            process.communicate(timeout=rng.uniform(0.1, 1.5))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
    else:
        process = start(dataset, tmp_path / "killed", "--epochs", 3, "--warmup_epochs", 2)
        process.communicate(timeout=300)
    assert process.returncode == 0
    assert kills >= 2
    for name in ("results.csv", "predictions.csv"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


# Without --standalone it would want a fixed port, which another program may have.
TWO = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one(dataset, tmp_path):
    for name, batch_size, launcher in (("two", 8, TWO), ("one", 16, (sys.executable,))):
        process = start(dataset, tmp_path / name, "--batch_size", batch_size, launcher=launcher)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    results = [
        json.loads((tmp_path / name / dataset.name / "eval_results.json").read_text()) for name in ("one", "two")
    ]
    for metric in ("auroc", "auprc", "accuracy"):
        a, b = (result["test"][metric]["mean"] for result in results)
        assert a == pytest.approx(b, abs=0.1)


@pytest.mark.slow
def test_two_processes_with_large_features_give_those_in_memory(dataset, tmp_path):
    """Features on disk are those of each process: nothing that one writes disturbs the other."""
    runner = tmp_path / "on_disk.py"
    runner.write_text(
        f"import runpy, sys\nsys.path.insert(0, {str(ROOT)!r})\nimport LAMAR.embeddings\n"
        f"LAMAR.embeddings.MEMORY_LIMIT_BYTES = 0\nrunpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    more = ("--freeze_encoder", "--head", "cnn", "--batch_size", 8)
    for name, script_path in (("memory", SCRIPT), ("disk", runner)):
        process = start(dataset, tmp_path / name, *more, launcher=TWO, script_path=script_path)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    memory, disk = (tmp_path / name / dataset.name / "predictions.csv" for name in ("memory", "disk"))
    assert memory.read_bytes() == disk.read_bytes()
    assert not (disk.parent / "checkpoints").exists()
