"""A whole run of the geometry before and after fine-tuning, fold by fold.

Reading runs of fine-tuning is not done here: a caller hands in `TunedFold` objects.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from ..data.labelled import LabelledSet
from ..devices import choose_device
from ..errors import InputError
from ..layers import resolve_layers
from ..runs import RunFolder, storage
from . import geometry, geometry_figures, geometry_units
from .encoders import EmbeddingsOf, EncoderOptions, embedder
from .geometry_units import DIFFERENCE_COLUMNS, FIGURE_COLUMNS, HEADLINES, SPECTRUM_COLUMNS, GeometryOptions

__all__ = [
    "PAIR_COLUMNS",
    "RESULT_COLUMNS",
    "STAGES",
    "SUMMARY_COLUMNS",
    "TunedFold",
    "closing_table",
    "measure_stages",
]

logger = logging.getLogger(__name__)

STAGES = ("before", "after")
RESULT_COLUMNS = ("dataset", "fold", "layer", "stage", "pooling", *FIGURE_COLUMNS)
PAIR_COLUMNS = ("dataset", "fold", "layer", *DIFFERENCE_COLUMNS)
SUMMARY_COLUMNS = ("dataset", "layer", "figure", "n_folds", "before", "after", "difference", "sd_over_folds")

Units = Mapping[tuple[str, str, str], Mapping[int, dict]]  # by run, fold and stage, then by layer


@dataclass(frozen=True, eq=False)
class TunedFold:
    """A fold or draw of a fine-tuning run, with the records to measure its encoder on.

    Attributes
    ----------
    run : str
        Name of the run, ``dataset`` in tables.
    fold : str
        Name of the fold or draw.
    path : Path
        Folder of the run, for messages.
    records : LabelledSet
        Records to draw from, the same data before and after.
    class_labels : int, shape (n,)
        Labels of these records to colour them by.
    load : callable
        ``load(stage)`` returns the model ``"before"`` or ``"after"`` fine-tuning, and the digest of its encoder.
    collapsed : str
        Kind of collapse of its training; "" for none.
    """

    run: str
    fold: str
    path: Path
    records: LabelledSet
    class_labels: np.ndarray
    load: Callable[[str], tuple[object, str]]
    collapsed: str = ""


def measure_stages(
    folds: Sequence[TunedFold],
    output_dir: str | Path,
    encoders: EncoderOptions | None = None,
    options: GeometryOptions | None = None,
    *,
    source: Mapping[str, object],
    inputs: Iterable[str | Path],
    weights: Mapping[str, object],
    note: str = "",
    overwrite: bool = False,
) -> list[dict]:
    """Measure what fine-tuning does to the geometry of embeddings, and write the tables and figures of a run folder.

    All folds of a run are measured on equally many records. A unit that an earlier start finished is not measured
    again.

    Parameters
    ----------
    folds : sequence of TunedFold
        Folds of one run after another.
    output_dir : path
        Run folder, made if missing: ``results.csv``, ``differences.csv``, ``summary.csv``, ``spectra.csv``, figures,
        ``run.json``.
    encoders : EncoderOptions, optional
        Layers (None takes all), number type, device and cache of the extraction. Default: float32.
    options : GeometryOptions, optional
    source : mapping
        Arguments that say where the folds are from, for ``run.json``.
    inputs : iterable of path
        Data files of the runs, for ``run.json``.
    weights : mapping
        Checkpoints of each run, for ``run.json``.
    note : str
        Remark in the titles of figures.
    overwrite : bool
        Delete an earlier run in ``output_dir`` first.

    Returns
    -------
    list of dict
        Rows of ``summary.csv``: means over folds, columns `SUMMARY_COLUMNS`.

    Raises
    ------
    InputError
        For fewer than two records, models that cannot be loaded, layers that they do not have, or a folder that holds
        another run; nothing is written then.
    """
    encoders, options = encoders or EncoderOptions(dtype="float32"), options or GeometryOptions()
    plan = _plan(folds, encoders, options)
    runs = list(dict.fromkeys(fold.run for fold, _ in plan))
    extraction = {"layers": encoders.layers, "dtype": encoders.dtype}
    with RunFolder.open(
        output_dir,
        arguments={**source, **extraction, **options.recorded(), "output_dir": output_dir},
        seed=options.seed,
        inputs=inputs,
        # Where they lie: digests say what they are.
        ignore=("models_dir", "data_dir", "pretrained_weights"),
        weights=weights,
        overwrite=overwrite,
    ) as run:
        embeddings_of = embedder(encoders, encoders.cache_dir or run.folder("embeddings"))
        units = {
            (fold.run, fold.fold, stage): _measure_stage(run, fold, stage, layers, embeddings_of, options)
            for fold, layers in plan
            for stage in STAGES
        }
        rows, summary = _write_tables(run, units, options)
        _write_figures(run, units, rows, runs, f" ({note})" if note else "")
        collapsed = {f"{fold.run} {fold.fold}": fold.collapsed for fold, _ in plan if fold.collapsed}
        run.finish({"runs": len(runs), "folds": len(plan), "collapsed": collapsed})
    return summary


def _plan(
    folds: Sequence[TunedFold], encoders: EncoderOptions, options: GeometryOptions
) -> list[tuple[TunedFold, list[int]]]:
    """Return each fold with the records to measure and its layers.

    Models that cannot be loaded are an error here, before anything is written; they are loaded again when they are
    measured.
    """
    names = list(dict.fromkeys(fold.run for fold in folds))
    geometry.check_names(names)
    plan = []
    for name in names:
        of_run = [fold for fold in folds if fold.run == name]
        n = min(options.n_per_rbp, *(len(fold.records) for fold in of_run))
        if n < 2:
            raise InputError(f"{of_run[0].path}: found {n} records to embed, wanted 2 or more; use `records` all")
        for fold in of_run:
            rows = geometry.sample_rows(fold.records.labels, n, options.seed, name)
            for stage in STAGES:
                model, _ = fold.load(stage)
            n_layers = model.config.num_hidden_layers
            layers = resolve_layers(encoders.layers or range(n_layers), n_layers)
            choose_device(model, encoders.device)
            sampled = replace(fold, records=fold.records.take(rows), class_labels=fold.class_labels[rows])
            plan.append((sampled, sorted(layers)))
        geometry_units.warn_of_few(n, model.config.hidden_size, name)
        logger.info("%s: %d folds, %d records each", name, len(of_run), n)
    return plan


def _measure_stage(
    run: RunFolder,
    fold: TunedFold,
    stage: str,
    layers: Sequence[int],
    embeddings_of: EmbeddingsOf,
    options: GeometryOptions,
) -> dict[int, dict]:
    title = f"{fold.run} {fold.fold} {stage}"

    def arrays(missing: list[int]) -> dict[int, dict]:
        model, digest = fold.load(stage)
        encoder = SimpleNamespace(model=model, digest=digest, name=title)
        outputs = [(layer, options.pooling) for layer in missing]
        embeddings = embeddings_of(encoder, fold.records.sequences, outputs)
        return {layer: {fold.run: embeddings[layer, options.pooling].values} for layer in missing}

    names = {layer: f"{fold.run},{fold.fold},{stage},{layer}" for layer in layers}
    return geometry_units.measure_layers(run, names, arrays, {fold.run: fold.class_labels}, title, options)


def _write_tables(run: RunFolder, units: Units, options: GeometryOptions) -> tuple[list[dict], list[dict]]:
    """Write all CSV files; return the rows of ``results.csv`` and of ``summary.csv``."""
    rows, pairs, labelled = [], [], []
    for (name, fold, stage), layers in units.items():
        for layer, unit in layers.items():
            labels = {"fold": fold, "layer": layer}
            labelled.append(({"dataset": name, **labels, "stage": stage}, unit))
            rows += geometry.figure_rows({**labels, "stage": stage, "pooling": options.pooling}, unit)
            if stage == "after":
                pairs += geometry.difference_rows(labels, units[name, fold, "before"][layer], unit)
    storage.write_csv(run.file("results.csv"), rows, RESULT_COLUMNS)
    storage.write_csv(run.file("differences.csv"), pairs, PAIR_COLUMNS)
    summary = _over_folds(pairs)
    storage.write_csv(run.file("summary.csv"), summary, SUMMARY_COLUMNS)
    columns = ("dataset", "fold", "stage", *SPECTRUM_COLUMNS)
    storage.write_csv(run.file("spectra.csv"), geometry_units.spectrum_rows(labelled), columns)
    return rows, summary


def _over_folds(pairs: Sequence[dict]) -> list[dict]:
    """Return means over folds of each figure before and after, and of the difference with its sd (n - 1)."""
    columns = ["value_a", "value_b", "difference"]
    table = pd.DataFrame(pairs)
    groups = table.groupby(["dataset", "layer", "figure"], sort=False)
    summary = groups[columns].mean().set_axis(["before", "after", "difference"], axis=1)
    summary["sd_over_folds"] = groups["difference"].std()
    summary["n_folds"] = groups.size()
    return summary.reset_index()[list(SUMMARY_COLUMNS)].to_dict("records")


def _write_figures(run: RunFolder, units: Units, rows: Sequence[dict], names: Sequence[str], note: str) -> None:
    table = pd.DataFrame(rows)
    numbers = ["value", "low", "high"]
    table[numbers] = table[numbers].astype(float)
    for name in names:
        of_run = {key[1:]: layers for key, layers in units.items() if key[0] == name}
        folds = list(dict.fromkeys(fold for fold, _ in of_run))
        lines = table[table["dataset"] == name].rename(columns={"stage": "series", "fold": "line"})
        spectra: dict[int, dict] = {}
        for stage in STAGES:
            for layer, unit in of_run[folds[0], stage].items():
                spectra.setdefault(layer, {})[stage] = unit["spectrum"]
        panels = {}
        for fold in folds:
            top = {stage: of_run[fold, stage][max(of_run[fold, stage])] for stage in STAGES}
            for (_, stage), panel in geometry_units.component_panels(top, [name]).items():
                panels[fold, stage] = panel
        title = f"principal components of layer {max(of_run[folds[0], 'before'])}, {name}{note}"
        figures = {
            f"layers_{name}": geometry_figures.plot_layers(lines, f"{name}, before and after, a line per fold{note}"),
            f"spectra_{name}": geometry_figures.plot_spectra(spectra, f"singular values, {name}, {folds[0]}{note}"),
            f"components_{name}": geometry_figures.plot_components(panels, title),
        }
        geometry_units.write_figures(run, figures)


def closing_table(summary: Sequence[dict]) -> str:
    """Return the headline figures before and after, means over folds in the highest layer of each run, as text."""
    lines = [""]
    for name in dict.fromkeys(row["dataset"] for row in summary):
        of_run = [row for row in summary if row["dataset"] == name]
        top = max(row["layer"] for row in of_run)
        lines.append(f"{name}, layer {top}, mean of {of_run[0]['n_folds']} folds:")
        for row in of_run:
            if row["layer"] == top and row["figure"] in HEADLINES:
                lines.append(f"  {row['figure']:<22} {row['before']:.3g} -> {row['after']:.3g}")
    return "\n".join(lines)
