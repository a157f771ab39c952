"""Finished fine-tuning runs read back: their data, the records of each fold, the encoder before and after training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..checkpoints import load_pretrained, read_config
from ..data.labelled import LabelledSet, load_labelled
from ..data.sequences import check_lengths
from ..embedding_cache import model_digest
from ..errors import InputError, shortened
from ..modeling_nucESM2 import EsmForSequenceClassification
from ..runs.checkpoint_folders import fold_names, subfolders
from ..runs.identity import relocated
from ..runs.records import entry_problem
from ..runs.storage import active_text, hash_inputs, is_plain_name, read_json_object, sha256_file
from ..tasks import task_of
from .collapse import warn_of_collapse

__all__ = ["FinetunedRun", "find_runs", "fold_encoder", "fold_records", "open_run"]

logger = logging.getLogger(__name__)

_WANTED = ("run.json", "predictions.csv", "eval_results.json")
# Arguments of a run that are read here, and their types: a record that was edited by hand may hold anything.
_ARGUMENTS = {"data_path": str | None, "rbp_name": str | None, "nlabels": int, "loss": str | None, "max_length": int}
_ARGUMENTS |= {"truncate": bool, "freeze_encoder": bool, "seed": int}
_WEIGHTS = {"source": str, "sha256": str, "seed": int}


@dataclass(frozen=True, eq=False)
class FinetunedRun:
    """A finished fine-tuning run.

    Attributes
    ----------
    path : Path
    name : str
        Name of its folder.
    arguments : dict
        Arguments that its ``run.json`` holds.
    dataset : LabelledSet
        Its data, with sequences truncated where the run truncated them.
    task : str
    folds : list of str
        Names of its checkpoint folders, of folds or of draws.
    collapsed : dict of str
        Kind of collapse by fold, for folds whose training collapsed.
    """

    path: Path
    name: str
    arguments: dict
    dataset: LabelledSet
    task: str
    folds: list[str]
    collapsed: dict[str, str]

    def weights(self) -> dict:
        """Return the SHA-256 of each fold's checkpoint, and of its starting weights (their seed if random)."""
        digests = {}
        for fold in self.folds:
            start = _start(self, fold)
            checkpoint = self.path / fold
            digests[fold] = {"path": str(checkpoint), "sha256": sha256_file(checkpoint / "model.safetensors")}
            digests[fold] |= {"start": start["sha256"] or f"random, seed {start['seed']}"}
        return digests

    def is_from_random(self) -> bool:
        """Return whether all folds started from random weights."""
        return not any(_start(self, fold)["source"] for fold in self.folds)

    def class_labels(self, rows: np.ndarray) -> np.ndarray:
        """Return int64 labels to colour records by, shape (rows,); zeros where the task has no classes."""
        labels = self.dataset.labels[rows]
        return labels if self.task == "classification" else np.zeros(len(labels), dtype=np.int64)


def find_runs(folder: Path, names: Sequence[str] | None = None) -> list[Path]:
    """Return folders of finished runs: ``folder`` itself, those in it, or those one level deeper.

    A warning names the other folders in it, with the reason, where all runs are taken.

    Parameters
    ----------
    folder : path
    names : sequence of str, optional
        Names of the runs to take; None takes all.

    Raises
    ------
    InputError
        Nothing is there, or a name is not that of a finished run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"`models_dir`: found no folder {folder}, wanted a run of finetune_rbp.py or a folder of runs")
    if _is_run(folder) and not names:
        return [folder]
    folders = subfolders(folder)
    runs = [path for path in folders if _is_run(path)]
    if not runs and (inner := [path for outer in folders for path in subfolders(outer) if _is_run(path)]):
        # A folder for each run, which holds the run under the name of its data set.
        folders, runs = inner, inner
    by_name = {path.name: path for path in runs}
    if len(by_name) < len(runs):
        twice = next(path for path in runs if by_name[path.name] != path)
        raise InputError(f"`models_dir`: found two runs {twice.name} in {folder}, wanted runs of different names")
    if names:
        if unknown := [name for name in names if name not in by_name]:
            known = shortened(path.name for path in runs) or "none"
            why = f" ({_why_not(folder / unknown[0])})" if (folder / unknown[0]).is_dir() else ""
            raise InputError(f"`rbps`: found no finished run {unknown[0]!r} in {folder}{why}, wanted some of: {known}")
        return [by_name[name] for name in dict.fromkeys(names)]
    if not runs:
        # A folder with a record is meant to be the run itself.
        others = [folder] if (folder / "run.json").is_file() else folders
        reasons = f": {_left_out(others)}" if others else ""
        raise InputError(
            f"`models_dir`: found no finished run of finetune_rbp.py in {folder} ({', '.join(_WANTED)}){reasons}"
        )
    if others := [path for path in folders if path not in runs]:
        logger.warning("left out: %s", _left_out(others))
    return runs


def _is_run(path: Path) -> bool:
    return all((path / name).is_file() for name in _WANTED) and bool(fold_names(path))


def _left_out(folders: Sequence[Path]) -> str:
    """Return the names of folders that are no finished runs, each with the reason."""
    return shortened(f"{path.name} ({_why_not(path)})" for path in folders)


def _why_not(path: Path) -> str:
    if not (path / "run.json").is_file():
        return "no run.json"
    try:
        record = read_json_object(path / "run.json")
        arguments = _arguments(path, record)
    except InputError:
        return "run.json cannot be read"
    if arguments is None:
        return "no run of finetune_rbp.py"
    if record.get("status") != "finished":
        return "not finished"
    missing = (name for name in _WANTED if not (path / name).is_file())
    return f"no {next(missing, 'fold_0 or draw_0 with model.safetensors')}"


def _arguments(path: Path, record: dict) -> dict | None:
    """Return the arguments in the ``run.json`` of a fine-tuning run in ``path``; None for that of anything else.

    Raises
    ------
    InputError
        An argument is none that such a run has: a value of another type, or a name that leaves its folder.
    """
    arguments = record.get("arguments")
    if not isinstance(arguments, dict) or not arguments.keys() >= _ARGUMENTS.keys():
        return None
    for name, kind in _ARGUMENTS.items():
        value = arguments[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InputError(f"{path / 'run.json'}: arguments: {name}: found {str(value)[:80]}, not what a run writes")
    name = arguments["rbp_name"]
    if name and not is_plain_name(name):
        raise InputError(f"{path / 'run.json'}: arguments: rbp_name: found {name[:80]!r}, wanted no folders in it")
    return arguments


def open_run(path: Path, data_dir: Path | None = None) -> FinetunedRun:
    """Read a run and the data that it was trained on.

    A warning is logged for each fold whose training collapsed.

    Parameters
    ----------
    path : path
        From `find_runs`.
    data_dir : path, optional
        Where its data are now; None takes the path that the run recorded.

    Raises
    ------
    InputError
        Files are missing or do not belong to a fine-tuning run, or the data are not those of the run.
    """
    record = read_json_object(path / "run.json")
    arguments = _arguments(path, record)
    if arguments is None:
        raise InputError(f"{path / 'run.json'}: not of a run of finetune_rbp.py")
    if problem := entry_problem(record):
        raise InputError(f"{path / 'run.json'}: {problem}, not what a run writes")
    task = task_of(arguments["nlabels"], arguments["loss"])
    dataset = _read_data(path, arguments, record, task, data_dir)
    sequences = check_lengths(dataset.sequences, dataset.ids, arguments["max_length"], arguments["truncate"])
    folds = fold_names(path)
    kinds = {fold: warn_of_collapse(path / fold, "its geometry after training says") for fold in folds}
    collapsed = {fold: kind for fold, kind in kinds.items() if kind}
    return FinetunedRun(path, path.name, arguments, replace(dataset, sequences=sequences), task, folds, collapsed)


def _where_now(path: Path, arguments: dict, recorded: str | None) -> str | None:
    """Return a path that a run recorded, or where it is if all was moved or copied together; digests are compared."""
    output_dir = arguments.get("output_dir")
    return (
        relocated(recorded, Path(output_dir) / path.name, path)
        if recorded and isinstance(output_dir, str)
        else recorded
    )


def _read_data(path: Path, arguments: dict, record: dict, task: str, data_dir: Path | None) -> LabelledSet:
    """Return the data of a run, checked to be those that it recorded."""
    source = data_dir or _where_now(path, arguments, arguments["data_path"])
    if source is None:
        raise InputError(f"`data_dir`: not given, but {path} was trained on records in memory; wanted a file of them")
    # Elsewhere it may be one of several sets.
    name = arguments["rbp_name"] or (path.name if data_dir else None)
    columns = {column: arguments.get(column) for column in ("sequence_column", "label_column")}
    dataset = load_labelled(
        source, name=name, task=task, nlabels=arguments["nlabels"], arguments=("`data_dir`", "`rbps`"), **columns
    )
    if arguments["data_path"] is None:
        same = dataset.digest() == arguments.get("data_digest")
    else:
        same = sorted(hash_inputs(dataset.files).values()) == sorted(record.get("inputs", {}).values())
    if not same:
        raise InputError(
            f"`data_dir`: {source}: not the data that {path} was trained on (its run.json has other SHA-256)"
        )
    return dataset


def fold_records(run: FinetunedRun, fold: str, which: str) -> np.ndarray:
    """Return the indices of records to measure a fold on, int64, sorted, into the run's data.

    Parameters
    ----------
    run : FinetunedRun
    fold : str
    which : {"test", "all"}
        The test part, else the fold's held-out or validation part; or all records.

    Raises
    ------
    InputError
        None of these parts was predicted, or ``predictions.csv`` names records that the data do not have.
    """
    import pandas as pd

    if which == "all":
        return np.arange(len(run.dataset))
    path = run.path / "predictions.csv"
    try:
        columns = ["record", "index", "evaluated_on", "fold"]
        # A record may be called NA.
        table = pd.read_csv(path, usecols=columns, dtype={"record": str}, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as predictions of finetune_rbp.py: {error}") from None
    for part in ("test", "heldout", "validation"):
        rows = table[(table["evaluated_on"] == part) & (table["fold"] == fold)]
        if len(rows):
            break
    else:
        raise InputError(f"{path}: found no predictions of {fold} on test or held-out records; use `records` all")
    indices = pd.to_numeric(rows["index"], errors="coerce").to_numpy(dtype=np.float64)
    inside = (indices >= 0) & (indices < len(run.dataset)) & (indices == np.floor(indices))
    indices = np.where(inside, indices, 0).astype(np.int64)
    if not inside.all() or [run.dataset.ids[i] for i in indices] != [*map(active_text, rows["record"])]:
        raise InputError(f"{path}: names records that are not in the data of the run")
    return np.sort(indices)


def _start(run: FinetunedRun, fold: str) -> dict:
    """Return what the fold's ``run.json`` says of its starting weights: source, sha256, seed, version of torch."""
    path = run.path / fold / "run.json"
    record = read_json_object(path)
    weights = record.get("weights")
    if not isinstance(weights, dict) or not all(isinstance(weights.get(name), kind) for name, kind in _WEIGHTS.items()):
        raise InputError(f"{path}: does not say what the fold started from")
    if problem := entry_problem(record):
        raise InputError(f"{path}: {problem}, not what a run writes")
    return {**weights, "torch": record.get("versions", {}).get("torch")}


def fold_encoder(
    run: FinetunedRun, fold: str, stage: str, pretrained: Path | None = None
) -> tuple[EsmForSequenceClassification, str]:
    """Return the model before or after a fold's training, in evaluation mode, and the digest of its encoder.

    Parameters
    ----------
    run : FinetunedRun
    fold : str
    stage : {"before", "after"}
    pretrained : path, optional
        Where the starting weights are now; None takes the path that the run recorded.

    Raises
    ------
    InputError
        As in `LAMAR.checkpoints.load_pretrained`; or the starting weights are gone or not those of the run.
    """
    folder = run.path / fold
    if stage == "after":
        model, _ = load_pretrained(EsmForSequenceClassification, folder)
        return model, model_digest(model)
    start = _start(run, fold)
    source = (pretrained or _where_now(run.path, run.arguments, start["source"])) if start["source"] else ""
    if source and not Path(source).exists():
        raise InputError(f"`pretrained_weights`: found no {source}, wanted the weights that {folder} started from")
    # A frozen encoder is drawn once for all folds.
    seed = run.arguments["seed"] if run.arguments["freeze_encoder"] else start["seed"]
    config = read_config(folder / "config.json")
    model, report = load_pretrained(EsmForSequenceClassification, source, config=config, seed=seed, new_head=True)
    if source and report.sha256 != start["sha256"]:
        raise InputError(f"`pretrained_weights`: {source}: not the weights that {folder} started from (other SHA-256)")
    if not source and start["torch"] not in (None, torch.__version__):
        logger.warning(
            "%s: its random weights were drawn by torch %s; %s may draw others",
            folder,
            start["torch"],
            torch.__version__,
        )
    return model, model_digest(model)
