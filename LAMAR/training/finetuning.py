"""Whole fine-tuning runs: from a labelled data set to checkpoints, figures and tables in one folder."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..batches import EncodedSequences
from ..checkpoints import config_argument
from ..data.labelled import LabelledSet, load_labelled
from ..data.sequences import check_lengths
from ..data.splits import Split, make_split
from ..errors import InputError, counted
from ..flash_attn_patch import resolve_backend
from ..runs import RunFolder, storage
from ..runs.checkpoint_folders import checkpoints_of
from ..runs.progress import QUIET_S, duration
from ..statistics.metrics import metric_names
from ..tasks import HEADS, TASKS, check_loss
from ..tokenization import verify_vocabulary
from . import figures, summaries
from .composition_baselines import composition_figures, composition_lines
from .fold_plans import Fold, plan_folds
from .fold_training import build_classifier, discard, frozen_features, save_checkpoint, train_fold
from .option_checks import check_numbers
from .options import FinetuneOptions, FitOptions, ModelSettings
from .processes import is_main_process, processes_argument, start_processes, wait_for_everyone
from .starting_weights import find_start
from .track_heads import stored_head
from .trainers import check_precision, check_reporters, without_file_bars

__all__ = ["FinetuneResult", "check_options", "cross_validate", "finetune"]

logger = logging.getLogger(__name__)

# May differ between the starts of a run, because they change no weight.
_MAY_DIFFER = ("report_to", "logging_steps")


@dataclass(frozen=True)
class FinetuneResult:
    """Outcome of `finetune`.

    Attributes
    ----------
    figures : dict
        What ``eval_results.json`` holds: figures by fold, of all folds, and of the test part, see
        `LAMAR.training.summaries.summarise`.
    folder : Path
        Folder of the run.
    checkpoints : list of Path
        Checkpoint folder of each fold or draw, for `LAMAR.load_pretrained` and its relatives.
    """

    figures: dict
    folder: Path
    checkpoints: list[Path]


def check_options(options: FinetuneOptions) -> str:
    """Refuse options that cannot work together, before anything is read or written, and return the task.

    Raises
    ------
    InputError
        Names the options, what was found and what was wanted.
    """
    check_numbers(options)
    task = check_loss(options.nlabels, options.loss)
    HEADS.choose(options.head)
    if options.track is not None and (task, options.nlabels, options.config) != ("classification", 2, None):
        raise InputError(
            "`track`: found `nlabels`, `loss` or `config` beside it, wanted two classes and the shape of the weights"
        )
    check_precision(options.fp16, options.bf16)
    if options.lora_rank and importlib.util.find_spec("peft") is None:
        raise InputError("`lora_rank` needs the package peft: pip install 'LAMAR[lora]'")
    if options.lora_rank and options.freeze_encoder:
        raise InputError("`lora_rank` and `freeze_encoder`: found both, but a frozen encoder has nothing to adapt")
    if options.metric_for_best not in (None, *metric_names(task)):
        wanted = ", ".join(metric_names(task))
        raise InputError(f"`metric_for_best`: found {options.metric_for_best!r}, wanted one of {wanted}")
    if options.freeze_encoder and options.warmup_epochs:
        logger.info("`warmup_epochs` %d: nothing left to do with `freeze_encoder`", options.warmup_epochs)
    if options.draws > 1 and (options.cv_folds > 1 or not (options.subsample_pos or options.subsample_neg)):
        raise InputError(
            f"`draws` {options.draws}: goes with `cv_folds` 1 and `subsample_pos` or `subsample_neg`, "
            f"found `cv_folds` {options.cv_folds}"
        )
    check_reporters(options.report_to)
    if options.tokenizer_path is not None:
        verify_vocabulary(options.tokenizer_path)
    return task


def _check_name(name: str | None) -> None:
    if name is not None and (Path(name).name != name or name in (".", "..") or len(name) > 200):
        raise InputError(f"`rbp_name`: found {name[:220]!r}, wanted a plain name without slashes")


def _check_labels(dataset: LabelledSet, where: str, task: str, nlabels: int) -> None:
    """Refuse labels of another task, or of one class only; ``where`` names their source in messages."""
    labels = dataset.labels
    kind = "multilabel" if labels.ndim == 2 else "regression" if labels.dtype.kind == "f" else "classification"
    if kind != task:
        raise InputError(f"{where}: found labels for {kind}, wanted them for {task} (see `nlabels` and `loss`)")
    if task == "multilabel" and labels.shape[1] != nlabels:
        raise InputError(f"{where}: found {labels.shape[1]} labels per record, wanted {nlabels} (`nlabels`)")
    if task == "classification":
        classes = np.unique(labels)
        if len(classes) < 2:
            raise InputError(f"{where}: found label {classes[0]} only, wanted two classes or more")
        if classes[0] < 0 or classes[-1] >= nlabels:
            raise InputError(f"{where}: found labels {classes[0]} to {classes[-1]}, wanted 0 to {nlabels - 1}")


def _read(
    dataset: LabelledSet | str | PathLike, rbp_name: str | None, task: str, options: FinetuneOptions
) -> LabelledSet:
    """Return the checked data set, its sequences no longer than the model takes."""
    where = getattr(dataset, "name", "") or "`dataset`" if isinstance(dataset, LabelledSet) else str(dataset)
    if not isinstance(dataset, LabelledSet):
        names = {"name": rbp_name, "arguments": ("`dataset`", "`rbp_name`")}
        columns = {"sequence_column": options.sequence_column, "label_column": options.label_column}
        dataset = load_labelled(dataset, task=task, nlabels=options.nlabels, **names, **columns)
    dataset = replace(dataset, name=rbp_name or dataset.name)
    if not dataset.name:
        raise InputError("`rbp_name`: not given, and the data set has no name to call the run's folder by")
    # Truncated first, because what is trained on is what must not be in several parts.
    sequences = check_lengths(dataset.sequences, dataset.ids, options.max_length, options.truncate)
    _check_labels(dataset, where, task, options.nlabels)
    return replace(dataset, sequences=sequences)


def _plan(dataset: LabelledSet, task: str, options: FinetuneOptions) -> tuple[Split, list[Fold]]:
    split = make_split(
        dataset,
        options.split,
        test_chroms=options.test_chroms,
        dev_chroms=options.dev_chroms,
        seed=options.seed,
        allow_duplicates=options.allow_duplicates,
        drop_duplicates=options.drop_duplicates,
    )
    folds = plan_folds(
        dataset.labels,
        split,
        options.cv_folds,
        options.seed,
        subsample_pos=options.subsample_pos,
        subsample_neg=options.subsample_neg,
        draws=options.draws,
    )
    draws = folds[0].name.startswith("draw")
    n_train, n_dev, n_test = len(split.train), len(split.dev), len(split.test)
    sizes = f"{counted(len(dataset), 'record')}, train {n_train:,}, dev {n_dev:,}, test {n_test:,}"
    logger.info("%s: %s; %s; %s", dataset.name, sizes, task, counted(len(folds), "draw" if draws else "fold"))
    return split, folds


def finetune(
    dataset: LabelledSet | str | PathLike,
    output_dir: str | PathLike,
    *,
    rbp_name: str | None = None,
    pretrain_path: str | PathLike | None = None,
    head: str | None = None,
    epochs: int = 10,
    cv_folds: int = 5,
    seed: int = 42,
    overwrite: bool = False,
    notice: str = "",
    **options: Any,
) -> FinetuneResult:
    """Fine-tune classifiers on a labelled data set, and evaluate them.

    Cross-validation runs on train + dev. Each fold builds a new model, sets 10 % of its training part aside to choose
    the best epoch, and uses its held-out part once. The test part is scored by every fold's model and by the mean of
    their predictions. The same call resumes an interrupted run, with the same result as without the interruption.

    Parameters
    ----------
    dataset : LabelledSet or path
        Any form that `LAMAR.data.labelled.load_labelled` reads.
    output_dir : path
        The run's folder is made in it, under the name of the data set.
    rbp_name : str, optional
        Which set, where the path holds several, and the name of the run's folder; default the data set's name.
    pretrain_path : str or path, optional
        Weights file or checkpoint folder to start from; "" starts from random weights. None starts from the weights
        that ship, or from random ones where ``config`` is given (`LAMAR.training.starting_weights`).
    head : str, optional
        A name of `LAMAR.tasks.HEADS`; None takes "mean" from the weights that ship, else "linear".
    epochs : int
    cv_folds : int
        Number of folds; 1 trains on the data set's own train part and validates on dev.
    seed : int
    overwrite : bool
        Discard an earlier run in the folder instead of resuming it.
    notice : str
        What figures and tables of demonstration data say of them, "title: explanation".
    options
        Other fields of `LAMAR.training.options.FinetuneOptions`, such as ``batch_size``, ``lr`` or ``max_length``.

    Returns
    -------
    FinetuneResult

    Raises
    ------
    InputError
        Options, data or weights that do not fit; nothing is written then.

    Examples
    --------
    >>> from LAMAR import finetune
    >>> options = {"pretrain_path": "weights/lamar-mini", "epochs": 1, "progress": False}
    >>> result = finetune("data/PUM2.csv", "models/example", cv_folds=1, **options)
    >>> [checkpoint.name for checkpoint in result.checkpoints], sorted(result.figures["test_ensemble"]["auroc"])
    (['fold_0'], ['high', 'low', 'value'])
    """
    settled = {"pretrain_path": pretrain_path, "head": head, "epochs": epochs, "cv_folds": cv_folds, "seed": seed}
    chosen = FinetuneOptions(**settled, **options)
    start = find_start(pretrain_path, chosen.config, chosen.track)
    chosen = chosen.completed(start.path, is_shipped=start.is_default)
    chosen = replace(chosen, progress=chosen.progress and is_main_process())
    _check_name(rbp_name)
    task = check_options(chosen)
    if chosen.track is not None:
        chosen = replace(chosen, head=stored_head(str(chosen.pretrain_path), chosen.track))
    start_processes()
    source = _source(dataset, rbp_name)
    with without_file_bars():
        start.announce(chosen)
        dataset = _read(dataset, rbp_name, task, chosen)
        split, folds = _plan(dataset, task, chosen)
        config = config_argument(chosen.config or ("" if start.path else "lamar"))
        settings = chosen.model_settings(config, resolve_backend(chosen.attention))
        # Weights that do not fit must end the run before it has written anything.
        _, report = build_classifier(settings, seed, log=True)
        run_folder = RunFolder.open(
            Path(output_dir) / dataset.name,
            arguments=chosen.recorded(**source, output_dir=output_dir, demo=bool(notice), **processes_argument()),
            seed=seed,
            inputs=dataset.files,
            weights={"pretrain_path": settings.pretrain_path, "sha256": report.sha256},
            overwrite=overwrite,
            ignore=_MAY_DIFFER,
            may_grow=("draws",),
            is_writer=is_main_process(),
        )
        wait_for_everyone()
        fit_options = chosen.fit_options(task, TASKS[task].best_metric)
        summary = cross_validate(dataset, split, settings, fit_options, run_folder, folds, notice=notice)
    logger.info("%s", "\n".join([summaries.closing_table(summary, task), *composition_lines(summary)]))
    if notice:
        logger.info(notice)
    logger.info("outputs: %s", run_folder.path)
    return FinetuneResult(summary, run_folder.path, checkpoints_of(run_folder.path))


def _source(dataset: LabelledSet | str | PathLike, rbp_name: str | None) -> dict[str, Any]:
    """Return what a run's record says of its data: their path, or the digest of records in memory."""
    if isinstance(dataset, LabelledSet):
        return {"rbp_name": rbp_name, "data_path": None, "data_digest": dataset.digest()}
    if not isinstance(dataset, str | PathLike):
        raise InputError(f"`dataset`: found {type(dataset).__name__}, wanted a path or what read_labelled returns")
    return {"rbp_name": rbp_name, "data_path": Path(dataset)}


def cross_validate(
    dataset: LabelledSet,
    split: Split,
    settings: ModelSettings,
    options: FitOptions,
    run_folder: RunFolder,
    folds: Sequence[Fold],
    *,
    notice: str = "",
) -> dict:
    """Train and judge a new model on each fold, and write checkpoints, figures and tables of all.

    Folds that an earlier start finished are kept; one that was interrupted resumes from its last checkpoint.

    Parameters
    ----------
    dataset : LabelledSet
    split : Split
        Its test part is predicted by the model of every fold.
    settings : ModelSettings
    options : FitOptions
        Fold ``k`` is trained with ``seed + k``.
    run_folder : RunFolder
        Open; it is closed at the end. It gets ``eval_results.json``, ``results.csv``, ``predictions.csv``,
        ``split_report.json``, the figures, and one checkpoint folder per fold.
    folds : sequence of Fold
        From `plan_folds`.
    notice : str
        As for `finetune`.

    Returns
    -------
    dict
        What ``eval_results.json`` holds.
    """
    labels, task = dataset.labels, options.task
    with run_folder:
        scratch = run_folder.folder("checkpoints")
        results = _train_folds(dataset, split, settings, options, run_folder, folds, scratch)
        summary, rows = summaries.summarise(results, labels, task, options.seed)
        summary = {"dataset": dataset.name, "task": task, "split": split.report["method"], **summary}
        if task == "classification":
            found = composition_figures(dataset.sequences, labels, folds, split.test, results, summary)
            summary["composition"] = found
        if notice:
            summary = {"data": notice, **summary}
        if is_main_process():
            rows = [{"dataset": dataset.name, "split": summary["split"], **row} for row in rows]
            storage.write_csv(run_folder.file("results.csv"), rows)
            predictions = summaries.prediction_rows(results, dataset, task)
            storage.write_csv(run_folder.file("predictions.csv"), predictions)
            storage.write_json(run_folder.file("split_report.json"), split.report)
            storage.write_json(run_folder.file("eval_results.json"), summary)
            title = f"{dataset.name} ({notice.partition(':')[0]})" if notice else dataset.name
            _draw(run_folder, results, labels, options, title)
            discard(scratch)
        run_folder.finish({"collapsed": summary["collapsed"]})
        wait_for_everyone()
    return summary


def _train_folds(dataset, split, settings, options, run_folder, folds, scratch: Path) -> list[dict]:
    """Return the results of all folds; those that no earlier start has saved are trained in ``scratch``."""
    encoded, labels = EncodedSequences.encode(dataset.sequences), dataset.labels
    results, frozen, start = [], None, time.monotonic()
    done = [run_folder.done(fold.name) for fold in folds]
    wait_for_everyone()
    for number, fold in enumerate(folds):
        if done[number]:
            logger.info("%s: finished earlier, kept", fold.name)
            results.append(run_folder.load_unit(fold.name))
            continue
        if settings.freeze_encoder and frozen is None:
            frozen = frozen_features(settings, encoded, options.seed, scratch, options.progress)
        work = scratch / fold.name
        label = f"{fold.name} ({number + 1} of {len(folds)})" if len(folds) > 1 else fold.name
        model, result = train_fold(fold, number, split.test, encoded, labels, settings, options, work, frozen, label)
        if is_main_process():
            save_checkpoint(model, result, labels, options.task, work, run_folder.folder(fold.name))
        results.append(run_folder.save_unit(fold.name, result))
        if is_main_process():
            discard(work)
        wait_for_everyone()
        logger.info("%s%s", summaries.describe(results[-1], labels, options.task), _time_left(start, done, number))
    return results


def _time_left(start: float, done: list[bool], number: int) -> str:
    """Return how long the folds after one will take, if it and those of this start before it are a guide."""
    n_left = done[number + 1 :].count(False)
    seconds = (time.monotonic() - start) / done[: number + 1].count(False) * n_left
    if seconds < QUIET_S:
        return ""
    return f"\n  about {duration(seconds)} left for {counted(n_left, 'fold')}"


def _draw(run_folder: RunFolder, results: list[dict], labels: np.ndarray, options: FitOptions, title: str) -> None:
    """Draw learning curves, and ROC and precision-recall curves (two classes) or a scatter plot (regression)."""
    histories = {result["fold"]: result["history"] for result in results}
    path = run_folder.file("learning_curves.png")
    figures.plot_learning_curves(histories, options.metric_for_best, path, title)
    sets = summaries.judged_sets(results, labels)
    if options.task == "regression" and sets:
        figures.plot_regression(sets, run_folder.file("scatter.png"), title)
    elif options.task == "classification" and sets and all(scores.shape[1] == 2 for _, scores in sets.values()):
        binary = {legend: (y, scores[:, 1]) for legend, (y, scores) in sets.items()}
        figures.plot_roc_pr(binary, run_folder.file("roc_pr.png"), title)
