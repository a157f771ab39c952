"""LAMAR.runs.checkpoint_folders: what a path to a model stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from LAMAR.errors import InputError
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


@pytest.mark.parametrize("above", ["", "finetuned", "models/finetuned"])
def test_folders_above_a_run_stand_for_it(tmp_path, above):
    run = tmp_path / above / "GTF2F1"
    make_checkpoints(run, "fold_0", "fold_1")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "units").mkdir()
    wanted = [run / "fold_0", run / "fold_1"]
    assert checkpoints_of(run) == checkpoints_of(run.parent) == wanted
    # Three levels above, a folder is no longer that of the run.
    assert checkpoints_of(tmp_path) == ([tmp_path] if above.count("/") else wanted)


@pytest.mark.parametrize("names", [("A", "B"), ("a/A", "b/B"), ("a/A", "a/B"), ("b", "a/A")])
def test_one_of_several_runs_must_be_named(tmp_path, names):
    for name in names:
        make_checkpoints(tmp_path / name, "draw_0")
    with pytest.raises(InputError, match=f"`model_path`: .* holds 2 runs, wanted one of them: {', '.join(names)}$"):
        checkpoints_of(tmp_path)


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model.safetensors.index.json"])
def test_other_forms_of_weights_make_a_checkpoint_too(tmp_path, weights):
    make_checkpoints(tmp_path, "inside/fold_0")
    (tmp_path / weights).touch()
    assert checkpoints_of(tmp_path) == [tmp_path]
