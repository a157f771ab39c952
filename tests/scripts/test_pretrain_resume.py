"""pretrain.py, killed, started again, extended, ended by time: the weights of a run that nobody disturbed."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from pretrain_runs import Killed, arguments, log, make_corpus, run, same_run, script, start

from LAMAR.training import masked_training, pretraining


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("finished") / "run"
    run(data, output)
    return output


@pytest.mark.parametrize(("step", "damage"), [(10, None), (24, None), (24, "scheduler.pt"), (24, "optimizer.pt")])
def test_interrupted_after_a_checkpoint_equals_uninterrupted(
    finished, data, tmp_path, monkeypatch, capsys, step, damage, caplog
):
    original = masked_training._Keeper.on_step_end

    def stop(self, args, state, control, **kwargs):
        if state.global_step == step + 3:
            raise Killed
        return original(self, args, state, control, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(masked_training._Keeper, "on_step_end", stop)
        with pytest.raises(Killed):
            script.main(arguments(data, tmp_path / "run"))
    assert not (tmp_path / "run" / "model.safetensors").exists()
    newest = max((tmp_path / "run" / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    if not damage:
        assert script.main(arguments(data, tmp_path / "run", "--max_steps", step - 1)) == 2
        assert f"--max_steps: found {step - 1}, wanted more" in capsys.readouterr().err
    if damage == "scheduler.pt":
        (newest / damage).unlink()
    elif damage:
        os.truncate(newest / damage, 100)
    run(data, tmp_path / "run", "--resume_training")
    assert not damage or f"{newest} is damaged ({damage}" in caplog.text
    assert same_run(tmp_path / "run", finished)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["starts"] == (2 if damage else 3)
    kept, whole = (json.loads((path / "eval_results.json").read_text()) for path in (tmp_path / "run", finished))
    assert {k: kept[k] for k in ("tokens", "padding", "passes")} == {
        k: whole[k] for k in ("tokens", "padding", "passes")
    }


def test_a_finished_run_is_not_trained_again(finished, data, monkeypatch, capsys):
    before = (finished / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(masked_training.Trainer, "train", lambda *a, **k: pytest.fail("trained again"))
    run(data, finished)
    assert (finished / "model.safetensors").stat().st_mtime_ns == before
    assert script.main(arguments(data, finished, "--peak_lr", 1)) == 2
    assert "--peak_lr" in capsys.readouterr().err


def test_a_longer_run_goes_on_before_the_fall_and_equals_one_that_was_always_longer(data, tmp_path):
    run(data, tmp_path / "extended")
    assert {p.name for p in (tmp_path / "extended" / "checkpoints").glob("checkpoint-*")} == {
        "checkpoint-24",
        "checkpoint-30",
    }
    # Not at a multiple of --logging_steps, so that the rows differ there: the straight run has none at step 24.
    run(data, tmp_path / "extended", "--max_steps", 50)
    run(data, tmp_path / "straight", "--max_steps", 50)
    extended, straight = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("extended", "straight"))
    assert extended == straight
    losses = [{row["step"]: row["validation_loss"] for row in log(tmp_path / n)} for n in ("extended", "straight")]
    assert losses[0] | {"24": ""} == losses[1] | {"24": ""}


def test_a_shorter_run_never_replaces_a_longer_one(data, tmp_path, monkeypatch, capsys):
    """Whatever it was before: the folder holds one model, and figures are of that one."""
    output = tmp_path / "out"
    for steps in (4, 8):
        run(data, output, "--max_steps", steps)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    minutes = json.loads((output / "eval_results.json").read_text())["training_minutes"]
    for name, limit in (("--max_steps", 4), ("--max_steps", 7), ("--max_minutes", minutes / 2)):
        assert script.main(arguments(data, output, "--max_steps", 9, name, limit)) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {name}: found {limit}, wanted ")
        assert "--overwrite" in error
        assert error.count("\n") == 1
        assert before == {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    with monkeypatch.context() as patched:
        patched.setattr(masked_training.Trainer, "train", lambda *a, **k: pytest.fail("trained again"))
        assert run(data, output, "--max_steps", 8)["steps"] == 8
    record = json.loads((output / "run.json").read_text())
    assert (record["status"], record["summary"]["steps"]) == ("finished", 8)
    run(data, tmp_path / "straight", "--max_steps", 8)
    assert (output / "model.safetensors").read_bytes() == (tmp_path / "straight" / "model.safetensors").read_bytes()
    assert run(data, output, "--max_steps", 4, "--overwrite")["steps"] == 4


def test_a_longer_run_that_is_killed_leaves_no_figures_of_the_shorter_one(data, tmp_path, monkeypatch):
    output = tmp_path / "out"
    run(data, output, "--max_steps", 4)

    def kill(*arguments):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(pretraining, "write_checkpoint", kill)
        with pytest.raises(Killed):
            script.main(arguments(data, output, "--max_steps", 8))
    assert script.main(arguments(data, output, "--max_steps", 4)) == 2
    assert run(data, output, "--max_steps", 8)["steps"] == 8


@pytest.mark.parametrize("precision", [(), ("--bf16",)], ids=["float32", "bfloat16"])
def test_killed_after_its_last_step_a_run_ends_with_what_it_trained(data, tmp_path, monkeypatch, precision):
    more = ("--max_steps", 8, *precision)
    run(data, tmp_path / "whole", *more)
    with monkeypatch.context() as patched:
        patched.setattr(pretraining, "write_checkpoint", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            script.main(arguments(data, tmp_path / "killed", *more))
    run(data, tmp_path / "killed", *more)
    assert same_run(tmp_path / "killed", tmp_path / "whole")
    kept, whole = (json.loads((tmp_path / name / "eval_results.json").read_text()) for name in ("killed", "whole"))
    assert kept["loss"] == whole["loss"]


def test_a_linear_schedule_cannot_be_made_longer(data, tmp_path, capsys):
    run(data, tmp_path / "out", "--schedule", "linear", "--max_steps", 4)
    assert not list((tmp_path / "out").glob("checkpoints/*"))
    assert script.main(arguments(data, tmp_path / "out", "--schedule", "linear", "--max_steps", 8)) == 2
    assert "--max_steps" in capsys.readouterr().err


@pytest.fixture
def clock(monkeypatch) -> float:
    """Seconds of every training step, whatever else the machine does."""
    seconds = itertools.count(0.0, step := 0.06)
    monkeypatch.setattr(masked_training, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    return step


@pytest.mark.parametrize("schedule", ["trapezoid", "linear"])
def test_time_ends_a_run_cleanly(data, tmp_path, capsys, schedule, clock):
    more = ("--max_steps", 1_000_000, "--max_minutes", 0.03, "--schedule", schedule, "--logging_steps", 1)
    results = run(data, tmp_path / "out", *more, "--save_steps", 1_000_000)
    rows = log(tmp_path / "out")
    assert results["steps"] == pytest.approx(60 * 0.03 / clock, abs=1)
    assert rows[-1]["step"] == str(results["steps"])
    assert float(rows[-1]["validation_loss"]) == results["loss"]
    rates = [float(row["learning_rate"]) for row in rows]
    if schedule == "trapezoid":
        falling = sum(rate < 3e-3 * (1 - 1e-9) for rate in rates)
        assert falling == pytest.approx(0.2 * results["steps"], abs=2)
        assert rates[-1] == pytest.approx(3e-3 / (falling + 1))
    else:
        assert min(rates) > 2.9e-3
    again = run(data, tmp_path / "out", *more, "--save_steps", 1_000_000)
    assert again == results
    for change in (("--max_minutes", 0.02), ("--max_steps", results["steps"] - 1)):
        assert script.main(arguments(data, tmp_path / "out", *more, *change)) == 2
        assert f"{change[0]}: found {change[1]}, wanted" in capsys.readouterr().err
    if schedule == "trapezoid":
        assert run(data, tmp_path / "out", *more, "--max_steps", results["steps"]) == results


def test_time_that_is_up_in_the_fall_ends_it(data, tmp_path, clock):
    """The fall has begun by --max_steps and would last longer than there is time."""
    more = ("--max_steps", 100_000, "--max_minutes", 0.02, "--decay_ratio", 0.99999, "--save_steps", 100_000)
    results = run(data, tmp_path / "out", *more, "--logging_steps", 1)
    assert results["steps"] == pytest.approx(60 * 0.02 / clock, abs=1)
    assert float(log(tmp_path / "out")[-1]["learning_rate"]) > 2.8e-3


@pytest.mark.slow
def test_killed_and_restarted_equals_uninterrupted(data, tmp_path):
    """SIGKILL in the middle, twice, once wherever it hits; weights and loss curve are those of an undisturbed run."""
    more = ("--max_steps", 300, "--save_steps", 7)
    run(data, tmp_path / "whole", *more)
    rng, folder = random.Random(3), tmp_path / "killed"
    for kill in (1, 2):
        process = start(data, folder, *more)
        reached = 0
        while process.poll() is None and reached < 60 * kill:
            steps = [int(path.name.split("-")[1]) for path in folder.glob("checkpoints/checkpoint-*")]
            reached = max(steps, default=0)
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        assert process.poll() is None, process.communicate()[0]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (folder / "model.safetensors").exists()
    output, _ = (process := start(data, folder, *more)).communicate(timeout=300)
    assert process.returncode == 0, output
    assert "resuming from step" in output
    assert same_run(folder, tmp_path / "whole")
