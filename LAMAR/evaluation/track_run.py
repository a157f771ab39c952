"""A whole evaluation of a model of many RBPs on a part of a track set, from files to tables and figures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.track_tables import is_track_folder
from ..data.tracks import PARTS, TRACKS, WINDOWS, read_track_set
from ..errors import InputError
from ..runs import RunFolder, storage
from ..runs.checkpoint_folders import CALIBRATION
from ..statistics.calibration import Calibration
from . import track_figures, track_tables
from .geometry_units import write_figures
from .registries import MIN_BOUND, TRACK_BASELINES, select_representations
from .track_choice import ChosenTracks, choose_tracks
from .track_tables import JOINT

__all__ = ["evaluate_tracks"]

logger = logging.getLogger(__name__)

PIECE = 8_192  # windows whose logits are one unit of work
SCORES = "scores"


@dataclass(frozen=True, eq=False)
class _JointModel:
    """A model of many RBPs: what predicts, its calibration, the names of its outputs, and the digest of its weights."""

    model: object
    calibration: Calibration
    outputs: list[str]
    sha256: str


def evaluate_tracks(
    data_path: str | PathLike,
    model_path: str | PathLike,
    output_dir: str | PathLike,
    *,
    part: str = "test",
    tracks: int | Sequence[str] | None = None,
    min_bound: int = MIN_BOUND,
    baselines: Sequence[str] = TRACK_BASELINES,
    seed: int = 42,
    token_budget: int | None = None,
    device: str | None = None,
    notice: str = "",
    overwrite: bool = False,
) -> dict:
    """Judge a model of many RBPs on a part of a track set, beside a composition baseline of each track.

    Unknown labels never count. The same call resumes an interrupted run.

    Parameters
    ----------
    data_path : path
        Folder of ``make_track_dataset.py``.
    model_path : path
        Folder of ``finetune_all_rbps.py``.
    output_dir : path
        Run folder, made if missing: ``tracks.csv``, ``pairs.csv``, ``calibration.csv``, ``p_values.csv``,
        ``summary.json``, figures, ``run.json``, and ``scores``: logits of the model in pieces of `PIECE` windows and
        log-odds of each baseline, float32 arrays with the part's windows in rows and the tracks of ``tracks.csv`` in
        columns.
    part : {"test", "dev"}
    tracks : int or sequence of str, optional
        See `LAMAR.evaluation.track_choice.choose_tracks`.
    min_bound : int
        Bound windows in the part that tracks have at least, unless they are named.
    baselines : sequence of str
        Representations of kind ``composition`` in `LAMAR.evaluation.registries.REPRESENTATIONS`; there may be none.
    seed : int
        Seed of the drawn tracks and of the intervals of reliability.
    token_budget : int, optional
        Tokens per batch, see `LAMAR.batches.batched`.
    device : str, optional
        See `LAMAR.devices.choose_device`.
    notice : str
        What figures of demonstration data say of them, "title: explanation".
    overwrite : bool
        Delete an earlier run in ``output_dir`` first.

    Returns
    -------
    dict
        What ``summary.json`` holds.

    Raises
    ------
    InputError
        Files that cannot be read, a model without trained head, calibration or common track, tracks that cannot be
        judged (`choose_tracks`), or a folder that holds another run; nothing is written then.
    """
    _check_options(data_path, part, baselines)
    joint = _open_model(Path(model_path), device)
    data = read_track_set(data_path)
    choice = {"min_bound": min_bound, "seed": seed, "needs_training": bool(baselines)}
    chosen = choose_tracks(data, joint.outputs, part, tracks, **choice)
    _warn_of_length(chosen, joint, part)
    arguments = {"data_path": data_path, "model_path": model_path, "part": part, "tracks": tracks}
    arguments |= {"min_bound": min_bound, "baselines": list(baselines), "output_dir": output_dir}
    with RunFolder.open(
        output_dir,
        arguments=arguments,
        seed=seed,
        inputs=[Path(data_path, WINDOWS), Path(data_path, TRACKS), Path(model_path, CALIBRATION)],
        weights={"model_path": str(model_path), "sha256": joint.sha256},
        overwrite=overwrite,
    ) as run:
        scores = {JOINT: _joint_logits(run, chosen, joint, part, token_budget)}
        for name in baselines:
            scores[name] = _baseline_scores(run, chosen, name, part)
        summary = _write_outputs(run, chosen, joint.calibration, part, scores, seed, notice)
        run.finish({"tracks": summary["n_tracks"], "methods": list(scores)})
    return summary


def _check_options(data_path: str | PathLike, part: str, baselines: Sequence[str]) -> None:
    if not is_track_folder(Path(data_path)):
        raise InputError(f"`data_path`: found {data_path}, wanted a folder with {WINDOWS} and {TRACKS}")
    if part not in PARTS[1:]:
        raise InputError(f"`part`: found {part!r}, wanted test or dev, which the model was not trained on")
    known = [entry.name for entry in select_representations("composition")]
    if unknown := [name for name in baselines if name not in known]:
        raise InputError(f"`baselines`: found {unknown[0]!r}, wanted some of {', '.join(known)}")
    if len(set(baselines)) < len(baselines):
        raise InputError("`baselines`: found one of them twice, wanted each once")


def _open_model(path: Path, device: str | None) -> _JointModel:
    from ..data.track_calibration import read_calibration
    from ..devices import choose_device
    from ..tasks import task_of
    from ..trained_heads import load_trained_classifier

    wanted = "a folder of finetune_all_rbps.py"
    for name in ("config.json", CALIBRATION):
        if not (path / name).is_file():
            raise InputError(f"`model_path`: {path}: found no {name}, wanted {wanted}")
    model, report = load_trained_classifier(path)
    if task_of(model.config.num_labels, model.config.loss_type) != "multilabel":
        raise InputError(f"`model_path`: {path}: found a model without one output per track, wanted {wanted}")
    outputs = [model.config.id2label[number] for number in range(model.config.num_labels)]
    calibration = read_calibration(path, outputs)
    return _JointModel(model.to(choose_device(model, device)), calibration, outputs, report.sha256)


def _warn_of_length(chosen: ChosenTracks, joint: _JointModel, part: str) -> None:
    trained = joint.model.config.window_length
    longest = int(chosen.data.windows["sequence"].iloc[chosen.data.rows(part)].str.len().max())
    if trained is not None and longest > trained:
        logger.warning("windows have up to %d nt, those that the model was trained on up to %d", longest, trained)


# ---------------------------------------------------------------------------------------------------------- scores


def _stored(run: RunFolder, unit: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Return the array of a unit of work, computed now unless an earlier start has stored it undamaged."""
    path = run.folder(SCORES) / f"{unit}.npy"
    earlier = run.find_unit(unit)
    if earlier is not None and storage.is_intact(path, earlier["sha256"]):
        return np.load(path)
    start = time.perf_counter()
    array = compute()
    with storage.atomic_write(path, "wb") as handle:
        np.save(handle, array)
    seconds = time.perf_counter() - start
    run.save_unit(unit, {"sha256": storage.sha256_file(path), "seconds": round(seconds, 1)})
    logger.info("%s: %s windows in %.0f s", unit, f"{len(array):,}", seconds)
    return array


def _joint_logits(
    run: RunFolder, chosen: ChosenTracks, joint: _JointModel, part: str, token_budget: int | None
) -> np.ndarray:
    """Return the model's logits of the chosen tracks in all windows of the part; float32, shape (n, k)."""
    from ..batches import EncodedSequences, batched_logits

    sequences = chosen.data.windows["sequence"].iloc[chosen.data.rows(part)].tolist()
    pieces = []
    for number, start in enumerate(range(0, len(sequences), PIECE)):

        def compute(start=start) -> np.ndarray:
            encoded = EncodedSequences.encode(sequences[start : start + PIECE])
            logits = batched_logits(joint.model, encoded, token_budget=token_budget)[:, chosen.outputs]
            if not np.isfinite(logits).all():
                raise InputError("`model_path`: found logits that are not finite; the weights cannot be right")
            return logits

        pieces.append(_stored(run, f"{JOINT}_{number}", compute))
    return np.concatenate(pieces)


def _baseline_scores(run: RunFolder, chosen: ChosenTracks, name: str, part: str) -> np.ndarray:
    from .track_baselines import fit_track_baseline

    return _stored(run, name, lambda: fit_track_baseline(chosen.data, name, part).log_odds)


# --------------------------------------------------------------------------------------------------------- outputs


def _write_outputs(
    run: RunFolder,
    chosen: ChosenTracks,
    calibration: Calibration,
    part: str,
    scores: dict[str, np.ndarray],
    seed: int,
    notice: str,
) -> dict:
    """Write all tables and figures; return the summary."""
    windows = chosen.data.rows(part)
    rows = [row for name, values in scores.items() for row in track_tables.method_rows(name, chosen, part, values)]
    table = pd.DataFrame(rows)
    storage.write_csv(run.file("tracks.csv"), table)
    summary = {"data": notice} if notice else {}
    summary |= {"part": part, "n_tracks": len(chosen.outputs), "n_windows": len(windows)}
    summary |= {"n_background": len(chosen.data.rows(part, "background")), **chosen.lacking}
    summary |= {"means": track_tables.mean_rows(table), "gains": [], "wins": []}
    if len(scores) > 1:
        pairs = track_tables.pair_table(table)
        storage.write_csv(run.file("pairs.csv"), pairs)
        summary |= {"gains": track_tables.gain_rows(table), "wins": track_tables.win_rows(pairs)}
        figure = track_figures.plot_joint_vs_baseline(table, part, notice)
        write_figures(run, {"joint_vs_baseline": figure})
    summary |= _write_calibration(run, chosen, calibration, part, scores[JOINT], seed, notice)
    # As the file says it, so that a fresh and a resumed run return the same.
    storage.write_json(run.file("summary.json"), summary)
    return storage.read_json(run.path / "summary.json")


def _write_calibration(
    run: RunFolder,
    chosen: ChosenTracks,
    calibration: Calibration,
    part: str,
    logits: np.ndarray,
    seed: int,
    notice: str,
) -> dict:
    """Write reliability and shares of p-values; return their part of the summary, empty without background windows."""
    data, of_tracks = chosen.data, calibration.take(chosen.outputs)
    windows = data.rows(part)
    labels = data.coded_labels(windows)
    is_background = labels == 0
    if calibration.negatives == "background":
        is_background &= data.windows["kind"].eq("background").to_numpy()[windows, None]
    facts = {"prior": calibration.prior, "negatives": calibration.negatives}
    if not is_background.any():
        logger.warning("part %s has no background windows: no calibration and no p-values are judged", part)
        return {**facts, "calibration": {}, "background_below": {}}
    rows, errors = track_tables.calibration_tables(logits, labels == 1, is_background, of_tracks, seed)
    storage.write_csv(run.file("calibration.csv"), rows)
    figure = track_figures.plot_reliability(pd.DataFrame(rows), calibration.prior, part, notice)
    write_figures(run, {"reliability": figure})
    shares = track_tables.p_value_rows(of_tracks.p_values(logits), is_background, of_tracks.names)
    storage.write_csv(run.file("p_values.csv"), shares)
    below = {f"{level:g}": shares[-1][f"below_{level:g}"] for level in track_tables.LEVELS}
    return {**facts, "calibration": errors, "background_below": below}
