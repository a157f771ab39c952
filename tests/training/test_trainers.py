"""LAMAR.training.trainers: which checkpoints of an interrupted run are whole, and which are kept."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from LAMAR.errors import InputError
from LAMAR.training import trainers


def checkpoint(folder: Path, step: int, best: int | None = None) -> Path:
    """A folder as the Trainer leaves it, not yet marked."""
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step, "best_global_step": best}))
    for name in ("model.safetensors", "optimizer.pt", "rng_state.pth"):
        (path / name).write_bytes(bytes(step))
    return path


def whole(folder: Path, step: int, best: int | None = None) -> Path:
    path = checkpoint(folder, step, best)
    trainers.mark_complete(path, {})
    return path


def save(folder: Path, step: int, best: int | None = None) -> None:
    """What happens after the Trainer has written a checkpoint."""
    checkpoint(folder, step, best)
    state = TrainerState(global_step=step, best_global_step=best)
    trainers.KeepBestAndLast().on_save(TrainingArguments(output_dir=str(folder)), state, TrainerControl())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("gone", ["complete", "sizes.json", "optimizer.pt", "rng_state.pth", "trainer_state.json"])
def test_half_of_a_checkpoint_is_none(tmp_path, caplog, gone):
    """In whatever order its files were deleted when the process was killed."""
    older, newer = whole(tmp_path, 5), whole(tmp_path, 10)
    assert trainers.last_complete_checkpoint(tmp_path) == newer
    (newer / gone).unlink()
    assert trainers.last_complete_checkpoint(tmp_path) == older
    trainers.discard_broken_checkpoints(tmp_path)
    assert names(tmp_path) == {"checkpoint-5"}
    assert f"{newer} is " in caplog.text
    assert "removed" in caplog.text


def test_a_cut_file_is_named_with_both_sizes(tmp_path, caplog):
    path = whole(tmp_path, 10)
    os.truncate(path / "optimizer.pt", 4)
    trainers.discard_broken_checkpoints(tmp_path)
    assert "damaged (optimizer.pt has 4 bytes, wanted 10)" in caplog.text


def test_a_copy_under_another_name_is_left_alone(tmp_path):
    whole(tmp_path, 5)
    for name in ("checkpoint-80.bak", "checkpoint-80-copy"):
        (tmp_path / name).mkdir()
    trainers.discard_broken_checkpoints(tmp_path)
    save(tmp_path, 10)
    assert names(tmp_path) == {"checkpoint-10", "checkpoint-80.bak", "checkpoint-80-copy"}


@pytest.mark.parametrize("names", ["none,none", "none,tensorboard", "", "mlflow9"])
def test_reporters_that_are_none_are_refused(names):
    with pytest.raises(InputError, match=r"`report_to`: found .*, wanted none alone"):
        trainers.check_reporters(names)


def test_steps_are_numbers(tmp_path):
    found = [whole(tmp_path, step) for step in (9, 10, 100)]
    assert trainers.complete_checkpoints(tmp_path) == found


@pytest.mark.parametrize("broken", ["checkpoint-5", "checkpoint-10"])
def test_a_checkpoint_needs_the_one_of_its_best_epoch(tmp_path, caplog, broken):
    """Without it the weights at the end would be the last ones."""
    whole(tmp_path, 5, best=5)
    whole(tmp_path, 10, best=5)
    (tmp_path / broken / "model.safetensors").unlink()
    trainers.discard_broken_checkpoints(tmp_path)
    assert names(tmp_path) == ({"checkpoint-5"} if broken == "checkpoint-10" else set())
    assert ("without its best epoch: checkpoint-5 is damaged" in caplog.text) == (broken == "checkpoint-5")


def test_best_and_last_are_kept_whatever_the_clock_says(tmp_path):
    for step, best, kept in ((5, 5, {5}), (10, 5, {5, 10}), (15, 5, {5, 15}), (20, 20, {20})):
        for path in tmp_path.iterdir():
            os.utime(path, (4e9, 4e9))  # newer than what comes
        save(tmp_path, step, best)
        assert names(tmp_path) == {f"checkpoint-{step}" for step in kept}
        assert trainers.last_complete_checkpoint(tmp_path) == tmp_path / f"checkpoint-{step}"


def test_no_earlier_checkpoint_goes_before_the_new_one_is_marked(tmp_path, monkeypatch):
    save(tmp_path, 5)
    monkeypatch.setattr(trainers, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 10)
    assert trainers.last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-5"


def test_the_best_checkpoint_is_found_in_a_folder_that_was_moved(tmp_path):
    state = TrainerState(best_global_step=5, best_model_checkpoint="/elsewhere/checkpoint-5")
    arguments = TrainingArguments(output_dir=str(tmp_path))
    trainers.KeepBestAndLast().on_train_begin(arguments, state, TrainerControl())
    assert state.best_model_checkpoint == str(tmp_path / "checkpoint-5")


@pytest.mark.parametrize("file", ["sizes.json", "trainer_state.json"])
@pytest.mark.parametrize(
    "content", ["[]", "3", "[" * 100_000, '{"../../escape": 3}', '{"a\\u0000": 1}', f'{{"{"x" * 300}": 1}}']
)
def test_an_edited_checkpoint_is_a_damaged_one(tmp_path, caplog, file, content):
    older, newer = whole(tmp_path, 5), whole(tmp_path, 10)
    (newer / file).write_text(content)
    assert trainers.last_complete_checkpoint(tmp_path) == older
    trainers.discard_broken_checkpoints(tmp_path)
    assert "damaged" in caplog.text
    assert names(tmp_path) == {"checkpoint-5"}
