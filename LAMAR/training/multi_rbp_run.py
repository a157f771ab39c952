"""Whole joint trainings: data set, model, training, figures of each track, calibration, outputs in one folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints import LoadReport, config_argument
from ..data.track_calibration import write_calibration
from ..errors import InputError, counted
from ..flash_attn_patch import resolve_backend
from ..modeling_nucESM2 import EsmForSequenceClassification
from ..runs import RunFolder, storage
from ..runs.checkpoint_folders import CALIBRATION
from ..statistics.calibration import fit_calibration
from ..statistics.track_metrics import QUARTILES, size_quartiles, summarise_tracks, track_table
from ..tokenization import verify_vocabulary
from .extended_runs import END, begin_training, earlier_results, open_run, save_results, write_checkpoint
from .figures import plot_learning_curves
from .multi_rbp import JointTraining, train_jointly
from .multi_rbp_data import JointData, read_joint_data
from .multi_rbp_model import build_joint_model, predict_logits
from .multi_rbp_options import JOINT_HEADS, JointOptions
from .option_checks import check_numbers
from .processes import is_main_process, start_processes, wait_for_everyone
from .starting_weights import find_start
from .trainers import check_precision, without_file_bars

__all__ = ["check_options", "closing_lines", "finetune_all_rbps"]

logger = logging.getLogger(__name__)

# May differ between the starts of a run: they change no step of the training, or only where it ends.
_MAY_DIFFER = ("save_steps", "eval_steps", *END)


def check_options(options: JointOptions) -> None:
    """Refuse options that cannot work, before anything is read or written.

    Raises
    ------
    InputError
        Names the option, what was found and what was wanted.
    """
    check_precision(False, options.bf16)
    if options.head not in (None, *JOINT_HEADS):
        raise InputError(f"`head`: found {options.head!r}, wanted one of {', '.join(JOINT_HEADS)}")
    config_argument(options.config or "")
    resolve_backend(options.attention)
    if options.tokenizer_path is not None:
        verify_vocabulary(options.tokenizer_path)


def finetune_all_rbps(
    data_path: str | PathLike,
    output_dir: str | PathLike,
    *,
    pretrain_path: str | PathLike | None = None,
    hold_out: Sequence[str] = (),
    seed: int = 42,
    overwrite: bool = False,
    notice: str = "",
    **options: Any,
) -> dict:
    """Train one model on all tracks of a data set, evaluate and calibrate it on the dev part, and write its folder.

    The same call resumes an interrupted run. A larger ``max_steps`` or ``max_minutes`` extends a run, from the last
    checkpoint before the learning rate fell.

    Parameters
    ----------
    data_path : path
        Folder of ``make_track_dataset.py``.
    output_dir : path
        Folder of the run and of the checkpoint, for `LAMAR.load_pretrained` and its relatives.
    pretrain_path : str or path, optional
        Weights file or checkpoint folder to start from; "" starts from random weights. None starts from the weights
        that ship, or from random ones where ``config`` is given (`LAMAR.training.starting_weights`).
    hold_out : sequence of str
        Targets of which no track is trained.
    seed : int
    overwrite : bool
        Discard an earlier run in the folder instead of resuming it.
    notice : str
        What figures of demonstration data say of them, "title: explanation".
    options
        Other fields of `LAMAR.training.multi_rbp_options.JointOptions`, such as ``max_minutes`` or ``head``.

    Returns
    -------
    dict
        What ``eval_results.json`` holds.

    Raises
    ------
    InputError
        Options, data or weights that do not fit; nothing is written then.
    """
    chosen = JointOptions(pretrain_path=pretrain_path, hold_out=hold_out, seed=seed, **options)
    check_numbers(chosen)
    start = find_start(pretrain_path, chosen.config)
    chosen = replace(chosen.completed(), pretrain_path=start.path)
    check_options(chosen)
    start_processes()
    with without_file_bars():
        start.announce()
        data, files = read_joint_data(data_path, chosen.hold_out, chosen.min_sites)
        model, report = build_joint_model(chosen, data)
        logger.info(
            "%s; windows of up to %d nt: %d train, %d dev; %s parameters",
            counted(len(data.tracks), "track"),
            *(data.window_length, len(data.train), len(data.dev), f"{report.n_parameters:,}"),
        )
        run_folder = open_run(
            Path(output_dir),
            chosen,
            inputs=files,
            sha256=report.sha256,
            overwrite=overwrite,
            ignore=_MAY_DIFFER,
            data_path=Path(data_path),
        )
        wait_for_everyone()
        with run_folder:
            results = earlier_results(run_folder, chosen)
            if results is None:
                results = _train(model, data, report, chosen, run_folder, notice)
            run_folder.finish({name: results.get(name) for name in ("steps", "windows", "auroc", "auprc")})
            wait_for_everyone()
    if is_main_process():
        logger.info("%s", closing_lines(results))
    if notice:
        logger.info(notice)
    logger.info("outputs: %s", output_dir)
    return results


def _train(
    model: EsmForSequenceClassification,
    data: JointData,
    report: LoadReport,
    options: JointOptions,
    run_folder: RunFolder,
    notice: str,
) -> dict:
    """Train, evaluate, calibrate and write the model; return its figures."""
    scratch, log_path = begin_training(run_folder)
    training = train_jointly(model, data, options, scratch, log_path)
    results = {}
    if is_main_process():
        model.config.head_trained = True
        # In float32 whatever the training ran in: that is how the model is used, and what the calibration must fit.
        logits = predict_logits(model, data, data.dev, progress="dev windows")
        results = {"data": notice} if notice else {}
        results |= {
            "steps": training.steps,
            "windows": training.windows,
            "passes": training.windows / len(data.train),
            "best_step": training.best_step,
            "training_minutes": training.seconds / 60,
            "windows_per_s": training.windows / max(training.seconds, 1e-9),
            "n_parameters": report.n_parameters,
            **_write_tracks(data, logits, run_folder, options.prior),
            "data_set": data.counts,
        }
        _plot(training, run_folder.file("learning_curve.png"), notice)
        write_checkpoint(model.cpu().eval(), scratch, run_folder)
        storage.write_json(run_folder.file("eval_results.json"), results)
    return save_results(run_folder, training, options, results)


def _write_tracks(data: JointData, logits: np.ndarray, run_folder: RunFolder, prior: float) -> dict:
    """Write the figures of each track and the calibration, on all dev windows; return the mean figures."""
    labels, is_background = data.labels[data.dev], data.is_background[data.dev]
    table = track_table(labels, logits, is_background)
    n_sites, _ = data.track_counts(data.train)
    columns = data.tracks[["track", "target", "cell"]].to_dict("records")
    rows = [
        {**names, "quartile": int(quartile) + 1, "n_train_bound": int(n), **{f"dev_{key}": row[key] for key in row}}
        for names, quartile, n, row in zip(columns, size_quartiles(n_sites), n_sites, table)
    ]
    storage.write_csv(run_folder.file("tracks.csv"), rows)
    calibration = fit_calibration(logits, labels, is_background, data.names, prior)
    write_calibration(run_folder.file(CALIBRATION), calibration)
    return summarise_tracks(table, n_sites)


def _plot(training: JointTraining, path: Path, notice: str) -> None:
    """Draw loss, and mean AUROC over all tracks and by quartile of size, by passes over the windows."""
    base = [
        {
            "epoch": row["passes"],
            "loss": row["train_loss"],
            "eval_loss": row["dev_loss"],
            "eval_auroc": row["dev_auroc"],
        }
        for row in training.rows
    ]
    histories = {"all tracks": base}
    for number, name in enumerate(QUARTILES, start=1):
        histories[f"quartile {number} of size"] = [
            {"epoch": row["passes"], "eval_auroc": row[name]} for row in training.rows
        ]
    title = "mean over tracks" + (f", {notice.partition(':')[0]}" if notice else "")
    plot_learning_curves(histories, "auroc", path, title)


def closing_lines(results: Mapping) -> str:
    """Return the dev figures of a finished run in two lines of text."""
    by_quartile = ", ".join(f"{results[name]:.3f}" if results[name] is not None else "-" for name in QUARTILES)
    return (
        f"{counted(results['steps'], 'step')}, {results['windows']:,} windows ({results['passes']:.2f} passes), "
        f"{results['windows_per_s']:.0f} windows/s; best step {results['best_step']}\n"
        f"dev: mean AUROC {results['auroc'] or float('nan'):.4f} over {counted(results['n_tracks'], 'track')} "
        f"(by quartile of size: {by_quartile}), mean average precision {results['auprc'] or float('nan'):.4f}"
    )
