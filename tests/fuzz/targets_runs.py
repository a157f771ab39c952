"""Targets that read what runs left: records, units, checkpoints, tables of results, cached embeddings."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from unittest import mock

import numpy as np
import pandas as pd
import script_runs
from evaluation_runs import write_run
from mutations import damage_file, damage_files, files_in
from script_runs import SHAPE
from targets import Target, attempt, finite, letters, write
from tiny_models import randomise

from LAMAR.embedding_cache import cached_outputs
from LAMAR.evaluation import comparison, results
from LAMAR.interpretation import classifiers
from LAMAR.modeling_nucESM2 import EsmConfig, EsmModel
from LAMAR.runs import RunFolder
from LAMAR.runs.checkpoint_folders import checkpoints_of
from LAMAR.training import collapse, finetuned_runs

__all__ = ["TARGETS"]


class Stopped(BaseException):
    """Ends a run where a kill would."""


def stopped_at(target: str, call: int, start: Callable) -> None:
    """Call ``start``, which ends as by a kill at that call of the function named ``target``."""
    module, _, name = target.rpartition(".")
    original = getattr(pkgutil.resolve_name(module), name)
    n = 0

    def patched(*args, **kwargs):
        nonlocal n
        n += 1
        if n == call:
            raise Stopped
        return original(*args, **kwargs)

    with mock.patch(target, patched):
        try:
            start()
        except Stopped:
            return
    raise AssertionError(f"{target} was called {n} times only")


# ------------------------------------------------------------------------------------------------------- records


def _open(folder: Path, **more) -> RunFolder:
    arguments = {"epochs": 3, "data": str(folder / "data.csv"), "names": ["a"]}
    weights = {"path": str(folder / "data.csv"), "sha256": "0" * 64}
    inputs = [folder / "data.csv"]
    return RunFolder.open(folder / "run", arguments=arguments, seed=1, inputs=inputs, weights=weights, **more)


def make_run(folder: Path) -> None:
    write(folder / "data.csv", "sequence,label\nACGT,1\n")
    try:
        with _open(folder) as run:
            for name in ("fold_0", "fold/1"):
                run.save_unit(name, {"auroc": 0.75, "losses": [1.5, None], "name": name})
            write(run.file("figures/a.txt"), "a")
            run.folder("scores")
            raise Stopped
    except Stopped:
        pass


def read_run(folder: Path) -> None:
    def resume(**more) -> None:
        with _open(folder, **more) as run:
            for name in ("fold_0", "fold/1", "fold_2"):
                result = run.find_unit(name)
                assert result is None or result["auroc"] == 0.75
                run.save_unit(name, {"auroc": 0.75, "losses": [1.5, None], "name": name})
            run.file("results.csv").write_text("x\n")
            run.finish({"n": 3})
        assert json.loads((folder / "run" / "run.json").read_text())["status"] == "finished"

    attempt(resume, lambda: resume(overwrite=True))


# --------------------------------------------------------------------------------------------------- fine-tuning


def make_finetuned(folder: Path) -> None:
    script_runs.make_labelled(folder)
    script_runs.finetune(folder)


def read_finetuned(folder: Path) -> None:
    def check() -> None:
        for path in finetuned_runs.find_runs(folder / "out"):
            run = finetuned_runs.open_run(path)
            run.weights()
            run.is_from_random()
            for fold in run.folds:
                for which in ("test", "all"):
                    rows = finetuned_runs.fold_records(run, fold, which)
                    assert len(run.class_labels(rows)) == len(rows) > 0
                for stage in ("before", "after"):
                    finetuned_runs.fold_encoder(run, fold, stage)

    def explained() -> None:
        model, _ = classifiers.load_classifier(folder / "out")
        assert sum(parameter.numel() for parameter in model.parameters())

    def diagnosis() -> None:
        for path in checkpoints_of(folder / "out"):
            collapse.warn_of_collapse(path, "it says")

    attempt(check, explained, diagnosis)


def make_stopped_finetuning(folder: Path) -> None:
    script_runs.make_labelled(folder)
    # The second fold has one complete checkpoint, of its first epoch.
    stopped_at("LAMAR.training.trainers.mark_complete", 4, lambda: script_runs.finetune(folder))


def damage_run(rng: Random, folder: Path) -> None:
    """Damage a file of the run, and rarely one that it reads."""
    inside = [path for path in files_in(folder) if path.suffix not in (".png", ".lock")]
    names = sorted({path.name for path in inside})  # a name of many files is no more likely than that of one
    name = rng.choice(names)
    damage_file(rng, rng.choice([path for path in inside if path.name == name]))


def read_stopped_finetuning(folder: Path) -> None:
    run_folder = folder / "out" / "set"
    script_runs.finetune(folder)
    finite(pd.read_csv(run_folder / "predictions.csv")["probability"].to_numpy())
    assert json.loads((run_folder / "run.json").read_text())["status"] == "finished"


# -------------------------------------------------------------------------------------------------- pre-training


def make_stopped_pretraining(folder: Path) -> None:
    script_runs.make_corpus(folder)
    stopped_at("LAMAR.training.masked_training.mark_complete", 3, lambda: script_runs.pretrain(folder))


def read_stopped_pretraining(folder: Path) -> None:
    script_runs.pretrain(folder)
    assert json.loads((folder / "out" / "run.json").read_text())["status"] == "finished"


def make_stopped_joint_training(folder: Path) -> None:
    script_runs.make_track_set(folder)
    stopped_at("LAMAR.training.multi_rbp._Run.save", 3, lambda: script_runs.train_jointly(folder))


def read_stopped_joint_training(folder: Path) -> None:
    script_runs.train_jointly(folder)
    assert json.loads((folder / "out" / "run.json").read_text())["status"] == "finished"


# ------------------------------------------------------------------------------------------------------- results


def make_results(folder: Path) -> None:
    write_run(folder / "a", ["QKI", "PUM2"], n_test=12, n_layers=2, repeats=1)
    write_run(folder / "b", ["PTBP1"], n_test=12, n_layers=2, repeats=1, seed=1)


def read_results(folder: Path) -> None:
    def check() -> None:
        joined = results.read_results([folder / "a", folder / "b"])
        table = results.summarise(joined, n_boot=5)
        assert len(table)
        assert results.method_values(joined).shape == (len(joined.datasets), len(joined.methods))
        results.paired_tests(joined)

    attempt(check, lambda: results.read_results([folder / "a"]))


def make_draws(folder: Path) -> None:
    write_run(folder / "few", ["A"], n_test=12, n_layers=2, repeats=3)
    drawn = {"seed": 1, "subsample_pos": 10, "subsample_neg": 10}
    record = json.loads((folder / "few" / "run.json").read_text())
    write(folder / "few" / "run.json", json.dumps(record | {"arguments": drawn}))
    rows = [(f"draw_{i}", part, 0.5 + i / 10) for i in range(3) for part in ("validation", "test")]
    table = pd.DataFrame(rows, columns=["fold", "evaluated_on", "auroc"])
    path = folder / "tuned" / "A"
    path.mkdir(parents=True)
    table.assign(dataset="A", split="given", n_train=100, n_evaluated=12).to_csv(path / "results.csv", index=False)
    write(path / "run.json", json.dumps({"arguments": drawn | {"cv_folds": 1, "draws": 3}}))


def read_draws(folder: Path) -> None:
    found = comparison.compare_runs(
        folder / "out", results=[folder / "few"], finetuned=[("Pretrained", str(folder / "tuned"))]
    )
    assert comparison.closing_table(found)


# ---------------------------------------------------------------------------------------------------- embeddings


SEQUENCES = [letters(20 + i, i) for i in range(5)]


def _embed(folder: Path) -> np.ndarray:
    model = randomise(EsmModel(EsmConfig(**SHAPE)))
    found = cached_outputs(model, "0" * 64, SEQUENCES, [(1, "mean")], dtype="float32", cache_dir=folder / "cache")
    return np.array(found[1, "mean"].values)


def make_cache(folder: Path) -> None:
    np.save(folder / "wanted.npy", _embed(folder))


def read_cache(folder: Path) -> None:
    wanted = np.load(folder / "wanted.npy")
    np.testing.assert_array_equal(_embed(folder), wanted)


def damage_cache(rng: Random, folder: Path) -> None:
    damage_files(rng, folder / "cache")


SLOW = 0.25
TARGETS = [
    Target("run_json", make_run, read_run),
    Target("finetuned_runs", make_finetuned, read_finetuned),
    Target("resumed_finetuning", make_stopped_finetuning, read_stopped_finetuning, damage_run, SLOW),
    Target("resumed_pretraining", make_stopped_pretraining, read_stopped_pretraining, damage_run, SLOW),
    Target("resumed_joint_training", make_stopped_joint_training, read_stopped_joint_training, damage_run, SLOW),
    Target("results", make_results, read_results),
    Target("compared_draws", make_draws, read_draws),
    Target("embedding_cache", make_cache, read_cache, damage_cache),
]
