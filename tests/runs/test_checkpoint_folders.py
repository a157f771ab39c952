"""LAMAR.runs.checkpoint_folders: what a path to a model stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from LAMAR.runs.checkpoint_folders import checkpoints_of, fold_names


def make_checkpoints(run: Path, *names: str) -> None:
    for name in names:
        (run / name).mkdir(parents=True)
        (run / name / "model.safetensors").touch()


@pytest.mark.parametrize("kind", ["fold", "draw"])
def test_a_run_stands_for_its_folds_or_draws_in_numerical_order(tmp_path, kind):
    make_checkpoints(tmp_path, *(f"{kind}_{i}" for i in (0, 10, 2, 1)), f"{kind}_best", "checkpoints")
    (tmp_path / f"{kind}_3").mkdir()  # not trained yet
    wanted = [f"{kind}_{i}" for i in (0, 1, 2, 10)]
    assert fold_names(tmp_path) == wanted
    assert checkpoints_of(tmp_path) == [tmp_path / name for name in wanted]


def test_a_checkpoint_stands_for_itself(tmp_path):
    make_checkpoints(tmp_path, "fold_0")
    folder = tmp_path / "fold_0"
    assert checkpoints_of(folder) == [folder]
    assert checkpoints_of(folder / "model.safetensors") == [folder / "model.safetensors"]
    # A folder with weights is a checkpoint, whatever else is in it.
    make_checkpoints(folder, "fold_0")
    assert checkpoints_of(folder) == [folder]


def test_what_is_not_there_is_left_to_the_loader(tmp_path):
    assert checkpoints_of(tmp_path / "nowhere") == [tmp_path / "nowhere"]
    assert checkpoints_of(tmp_path) == [tmp_path]
    assert fold_names(tmp_path / "nowhere") == []
