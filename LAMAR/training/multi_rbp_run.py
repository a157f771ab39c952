"""The joint training as a whole run: data set, model, training, figures of each track, calibration, outputs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ..checkpoints import LoadReport
from ..errors import InputError
from ..runs import RunFolder, storage
from ..statistics.calibration import fit_calibration
from ..tokenization import LamarTokenizer
from .figures import plot_learning_curves
from .multi_rbp import JointOptions, JointResult, train_jointly
from .multi_rbp_data import JointData, read_joint_data
from .multi_rbp_model import JointModelSettings, build_joint_model, predict_logits
from .track_metrics import QUARTILES, size_quartiles, summarise_tracks, track_table
from .trainers import check_precision, processes_argument

__all__ = ["closing_lines", "finetune_all_rbps"]

logger = logging.getLogger(__name__)

MODEL = "model"  # the unit of a run: the folder holds one model, however often it was made longer
END = ("max_steps", "max_minutes")
# May differ between starts: they change no step of the training, or only where it ends.
IGNORED = ("output_dir", "save_steps", "eval_steps", *END)


def _is_trained(trained: Mapping, options: JointOptions, folder: Path) -> bool:
    """Whether a model that was trained to an end is at the end that is asked for; one beyond it is an error."""
    limits = {name: getattr(options, name) for name in END if getattr(options, name) is not None}
    for name, limit in limits.items():
        if limit < trained[name]:
            raise InputError(
                f"--{name}: found {limit}, wanted {trained[name]} or more, for which the model in {folder} was "
                "trained; use --overwrite or another --output_dir"
            )
    return any(limit == trained[name] for name, limit in limits.items())


def _trained_for(result: JointResult, options: JointOptions) -> dict:
    """What :func:`_is_trained` compares with: a limit that ended the training stands for what it took."""
    minutes, limit = round(result.seconds / 60, 4), options.max_minutes
    if limit is not None and (minutes > limit or result.steps < options.max_steps):
        minutes = limit
    return {"max_steps": result.steps, "max_minutes": minutes}


def finetune_all_rbps(
    data_path: Path,
    output_dir: Path,
    settings: JointModelSettings,
    options: JointOptions,
    *,
    hold_out: Sequence[str] = (),
    min_sites: int = 1,
    prior: float = 1e-3,
    arguments: Mapping[str, object],
    overwrite: bool = False,
    note: str = "",
) -> dict:
    """Train one model on all tracks of a data set, judge it on the dev part, calibrate it, and write its folder.

    Parameters
    ----------
    data_path : Path
        Folder of ``make_track_dataset.py``.
    output_dir : Path
        Folder of the run and of the checkpoint; an interrupted run resumes there.
    hold_out, min_sites
        See :func:`LAMAR.training.multi_rbp_data.prepare_joint_data`.
    prior : float
        Sites per background window that calibrated probabilities assume.
    arguments
        What ``run.json`` records and a resumed run must have, apart from where it ends.
    note : str
        Goes into the figures' title and ``eval_results.json``, such as that the data are synthetic.

    Returns
    -------
    dict
        Content of ``eval_results.json``.
    """
    import transformers
    from accelerate import PartialState

    transformers.utils.logging.disable_progress_bar()  # its bars count files written
    check_precision(False, options.bf16)
    processes = PartialState(cpu=not torch.cuda.is_available())
    data, files = read_joint_data(data_path, hold_out, min_sites)
    model, report = build_joint_model(settings, data, options.seed)
    logger.info(
        "%d tracks; windows of up to %d nt: %d train, %d dev; %s parameters",
        *(len(data.tracks), data.window_length, len(data.train), len(data.dev), f"{report.n_parameters:,}"),
    )
    weights = {"pretrain_path": settings.pretrain_path, "sha256": report.sha256}
    run = _open_run(output_dir, arguments, options, files, weights, processes, overwrite)
    with run:
        unit = run.load_unit(MODEL) if run.done(MODEL) else None
        if unit is not None and _is_trained(unit["trained"], options, output_dir):
            logger.info("trained earlier, nothing to do: %d steps", unit["results"]["steps"])
        else:
            result = _train(model, data, options, run, processes)
            results = {}
            if processes.is_main_process:
                results = _write_outputs(model, data, result, options, run, prior, report, note)
            unit = run.save_unit(MODEL, {"trained": _trained_for(result, options), "results": results})
        run.finish({name: unit["results"].get(name) for name in ("steps", "windows", "auroc", "auprc")})
        processes.wait_for_everyone()
    if processes.is_main_process:
        logger.info("%s", closing_lines(unit["results"]))
    return unit["results"]


def _open_run(output_dir, arguments, options: JointOptions, files, weights, processes, overwrite: bool) -> RunFolder:
    """The run's folder, opened by the first process; an end before that of a finished run is refused first."""
    earlier = RunFolder(Path(output_dir), is_writer=False)
    if not overwrite and earlier.done(MODEL):
        _is_trained(earlier.load_unit(MODEL)["trained"], options, output_dir)
    run = RunFolder.open(
        output_dir,
        arguments={**arguments, **processes_argument(processes.num_processes)},
        seed=options.seed,
        inputs=files,
        weights=weights,
        overwrite=overwrite,
        ignore=IGNORED,
        is_writer=processes.is_main_process,
    )
    processes.wait_for_everyone()
    return run


def _train(model, data: JointData, options: JointOptions, run: RunFolder, processes) -> JointResult:
    """Train in the run's folder, or go on there."""
    folder, log_path = run.folder("checkpoints", is_work=True), run.file("log.csv")
    processes.wait_for_everyone()
    run.drop_unit(MODEL)
    return train_jointly(model, data, options, folder, log_path, processes)


def _write_outputs(
    model,
    data: JointData,
    result: JointResult,
    options: JointOptions,
    run: RunFolder,
    prior: float,
    report: LoadReport,
    note: str,
) -> dict:
    """Judge and calibrate the model on all dev windows, in the training's precision; write the checkpoint folder."""
    model.config.head_trained = True
    logits, labels = predict_logits(model, data, data.dev, options.bf16), data.labels[data.dev]
    is_background = data.is_background[data.dev]
    table = track_table(labels, logits, is_background)
    n_sites, _ = data.track_counts(data.train)
    figures = summarise_tracks(table, n_sites)
    results = {
        **({"data": note} if note else {}),
        "steps": result.steps,
        "windows": result.windows,
        "passes": result.windows / len(data.train),
        "best_step": result.best_step,
        "training_minutes": result.seconds / 60,
        "windows_per_s": result.windows / max(result.seconds, 1e-9),
        "n_parameters": report.n_parameters,
        **figures,
        "data_set": data.counts,
    }
    calibration = fit_calibration(logits, labels, is_background, data.names, prior)
    quartiles = size_quartiles(n_sites)
    columns = data.tracks[["track", "target", "cell"]].to_dict("records")
    rows = [
        {**names, "quartile": int(quartile) + 1, "n_train_bound": int(n), **{f"dev_{key}": row[key] for key in row}}
        for names, quartile, n, row in zip(columns, quartiles, n_sites, table)
    ]
    storage.write_csv(run.file("tracks.csv"), rows)
    storage.write_json(run.file("calibration.json"), calibration.to_dict())
    _plot(result, run.file("learning_curve.png"), note)
    staged = run.folder("checkpoints") / "final"
    shutil.rmtree(staged, ignore_errors=True)
    model.cpu().eval().save_pretrained(staged)
    LamarTokenizer().save_pretrained(staged)
    for file in sorted(staged.iterdir()):
        file.replace(run.file(file.name))
    staged.rmdir()
    storage.write_json(run.file("eval_results.json"), results)
    return results


def _plot(result: JointResult, path: Path, note: str) -> None:
    """Loss, and mean AUROC over all tracks and by quartile of size, by passes over the windows."""
    base = [
        {
            "epoch": row["passes"],
            "loss": row["train_loss"],
            "eval_loss": row["dev_loss"],
            "eval_auroc": row["dev_auroc"],
        }
        for row in result.rows
    ]
    histories = {"all tracks": base}
    for number, name in enumerate(QUARTILES, start=1):
        histories[f"quartile {number} of size"] = [
            {"epoch": row["passes"], "eval_auroc": row[name]} for row in result.rows
        ]
    plot_learning_curves(histories, "auroc", path, "mean over tracks" + (", SYNTHETIC demo data" if note else ""))


def closing_lines(results: Mapping) -> str:
    """The dev figures of a finished run in two lines."""
    by_quartile = ", ".join(f"{results[name]:.3f}" if results[name] is not None else "-" for name in QUARTILES)
    return (
        f"{results['steps']} steps, {results['windows']:,} windows ({results['passes']:.2f} passes), "
        f"{results['windows_per_s']:.0f} windows/s; best step {results['best_step']}\n"
        f"dev: mean AUROC {results['auroc'] or float('nan'):.4f} over {results['n_tracks']} tracks (by quartile of "
        f"size: {by_quartile}), mean average precision {results['auprc'] or float('nan'):.4f}"
    )
