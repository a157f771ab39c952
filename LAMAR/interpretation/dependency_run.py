"""Whole runs of dependency maps and of attribution maps: records in; a folder of maps, figures and tables out."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.records import record_stem
from ..devices import choose_device
from ..runs import RunFolder, storage
from ..runs.figures import save_figure
from ..runs.progress import Progress
from . import dependency_files as files
from .analyses import CLASSIFIER, Analysis
from .dependency_figures import plot_map
from .explanation_files import ReportOptions, explain_records, write_tables
from .explanations import ExplainOptions, check_options, explain
from .pairwise import pairwise_mutagenesis
from .run_record import RunRecord, separate_records

__all__ = ["DependencyJob", "DependencyRun", "MapOptions", "run_dependency", "write_dependencies", "write_pairwise"]

logger = logging.getLogger(__name__)

_TABLES = {
    "influence": (files.INFLUENCE_COLUMNS, files.influence_rows),
    "pairs": (files.PAIR_COLUMNS, files.pair_rows),
    "stems": (files.STEM_COLUMNS, files.stem_rows),
}


@dataclass(frozen=True)
class MapOptions:
    """How dependency maps are computed, drawn and searched for stems.

    Attributes
    ----------
    reduction, eps, precision
        See `LAMAR.interpretation.dependency.dependency_map`.
    symmetrise, apc : bool
        Draw and rank the mean of both directions; with the average product correction.
    logo : bool
        Draw the model's prediction above maps.
    min_stem : int
        Base pairs of a stem, at least.
    stem_evalue : float
        Number of equally good stems expected by chance in a map, at most.
    """

    reduction: str = "max"
    eps: float = 0.0
    precision: str = "float32"
    symmetrise: bool = False
    apc: bool = False
    logo: bool = False
    min_stem: int = 3
    stem_evalue: float = 0.05


@dataclass(frozen=True)
class DependencyJob:
    """All options of a run.

    Attributes
    ----------
    maps : MapOptions
        Of dependency maps.
    explain : ExplainOptions
        Of the analyses of a classifier; ``token_budget`` and ``device`` are those of dependency maps too. ``region`` is
        explained of a classifier, and marked in dependency maps and drawn by itself.
    report : ReportOptions
        What is listed and drawn.
    """

    maps: MapOptions = field(default_factory=MapOptions)
    explain: ExplainOptions = field(default_factory=ExplainOptions)
    report: ReportOptions = field(default_factory=lambda: ReportOptions(top=100))


@dataclass(frozen=True)
class DependencyRun:
    """Results of `run_dependency`.

    Attributes
    ----------
    summaries : dict of list
        What each analysis returned, one summary per record, by name of the analysis.
    left_out : dict of str
        Why a record cannot be mapped, by name.
    """

    summaries: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def run_dependency(
    models: Mapping[str, torch.nn.Module],
    records: Sequence[tuple[str, str]],
    output_dir: str | Path,
    analyses: Sequence[Analysis],
    job: DependencyJob | None = None,
    *,
    record: RunRecord | None = None,
) -> DependencyRun:
    """Run analyses on records and write the results to a folder; an interrupted run resumes.

    Parameters
    ----------
    models : mapping of Module
        ``masked LM`` and ``classifier``, those that the analyses need.
    records : sequence of (str, str)
        Name and normalized sequence of each record; names differ.
    output_dir : path
        Nothing is written when no record can be mapped.
    analyses : sequence of Analysis
        See `LAMAR.interpretation.analyses.resolve_analyses`.
    job : DependencyJob, optional
        Options; ``explain.methods`` is ignored, the methods are those among the analyses.
    record : RunRecord, optional
        What ``run.json`` records.

    Returns
    -------
    DependencyRun

    Raises
    ------
    InputError
        For options that a model or a method refuses, before anything is written, and for a folder that holds another
        run.
    """
    job, record = job or DependencyJob(), record or RunRecord()
    methods = [analysis.method for analysis in analyses if analysis.method]
    explain_options = replace(job.explain, methods=methods)
    job = DependencyJob(job.maps, explain_options, job.report)
    for model in models.values():
        choose_device(model, explain_options.device)
    if CLASSIFIER in models:
        check_options(models[CLASSIFIER], explain_options)
    kept, left_out = separate_records(
        records,
        next(iter(models.values())).config,
        window_size=explain_options.window_size if "window" in methods else None,
        region=explain_options.region,
    )
    if not kept:
        return DependencyRun(left_out=left_out)
    summaries: dict[str, list[dict[str, Any]]] = {}
    with record.open(output_dir) as folder:
        for analysis in analyses:
            if not analysis.method:
                summaries[analysis.name] = analysis.load()(folder, models[analysis.model], kept, job) or []
            elif analysis.method == methods[0]:
                _write_explanations(folder, models[CLASSIFIER], kept, job)
        summary = {"records": len(kept), "analyses": [analysis.name for analysis in analyses], "left_out": left_out}
        folder.finish({**summary, "collapsed": record.collapsed})
    return DependencyRun(summaries, left_out)


def write_dependencies(
    folder: RunFolder, model: torch.nn.Module, records: Sequence[tuple[str, str]], job: DependencyJob
) -> list[dict[str, Any]]:
    """Write dependency maps of records: arrays and figures as each is ready, tables at the end.

    Parameters
    ----------
    folder : RunFolder
        An open run; maps that are there already are not computed again.
    model : Module
        A masked language model.
    records : sequence of (str, str)
        Name and normalized sequence of each record.
    job : DependencyJob

    Returns
    -------
    list of dict
        See `LAMAR.interpretation.dependency_files.map_result`.
    """
    report = job.report
    n_tokens, results = sum(files.map_tokens(len(sequence)) for _, sequence in records), []
    with Progress(n_tokens, "tokens", "dependency maps", enabled=report.progress) as shown:
        for i, (name, sequence) in enumerate(records):
            label = f"{i + 1} of {len(records)}" if report.progress else None
            results.append(_map_record(folder, model, i, name, sequence, job, shown, label))
    for table, (columns, rows_of) in _TABLES.items():
        rows = [row for result in results for row in rows_of(result)]
        storage.write_csv(folder.file(f"{table}.csv"), rows, columns)
    files.write_structures(folder.file("structures.dbn"), results)
    if len(records) > report.n_figures:
        logger.info("figures: drawn for %d of %d records (`n_figures`)", report.n_figures, len(records))
    return results


def _map_record(folder, model, i: int, name: str, sequence: str, job: DependencyJob, shown, label) -> dict[str, Any]:
    """Return the result of one record, computed and written unless an earlier start did."""
    options, unit, stem = job.maps, f"dependency {i}", record_stem(i, name)
    maps, blocks = folder.folder("maps"), folder.folder("blocks")
    earlier = folder.find_unit(unit)
    if earlier is not None and (maps / f"{stem}.npz").exists():
        shown.total -= files.map_tokens(len(sequence))
        return earlier
    dependencies = files.map_by_blocks(
        model,
        name,
        sequence,
        blocks / stem,
        shown,
        reduction=options.reduction,
        eps=options.eps,
        precision=options.precision,
        device=job.explain.device,
        token_budget=job.explain.token_budget,
        progress=label,
    )
    form = files.MapForm(options.symmetrise, options.apc)
    files.save_arrays(maps / f"{stem}.npz", name, sequence, dependencies, form)
    stem_options = {"min_length": options.min_stem, "max_evalue": options.stem_evalue}
    result = files.map_result(name, sequence, dependencies, form, job.report.top, **stem_options)
    if i < job.report.n_figures:
        title = name + job.report.notice
        figure = folder.folder("figures") / stem
        files.draw_maps(figure, result, dependencies, form, job.explain.region, options.logo, title)
    saved = folder.save_unit(unit, result)
    shutil.rmtree(blocks / stem)
    return saved


def _write_explanations(folder: RunFolder, model: torch.nn.Module, records, job: DependencyJob) -> None:
    """Write the attribution of records as visualisation/saliency_analyzer.py does: arrays, figures, tables, tracks."""
    explanations = explain_records(
        folder, records, lambda chunk, label: explain(model, chunk, job.explain, label), job.report
    )
    write_tables(folder, explanations, job.explain.methods, job.report.top)


def write_pairwise(
    folder: RunFolder, model: torch.nn.Module, records: Sequence[tuple[str, str]], job: DependencyJob
) -> None:
    """Write the epistasis of pairs of substitutions in the region: a map and a figure per record, and one table.

    Parameters are those of `write_dependencies`, with a classifier as the model.
    """
    rows: list[dict[str, Any]] = []
    for i, (name, sequence) in enumerate(records):
        unit, file = f"pairwise {i}", folder.folder("maps") / f"{record_stem(i, name)}_pairwise.npz"
        saved = folder.find_unit(unit)
        if saved is None or not file.exists():
            label = f"{i + 1} of {len(records)}: pairs" if job.report.progress else None
            unit_rows = _pairs_of_record(folder, model, i, name, sequence, job, label)
            saved = folder.save_unit(unit, {"rows": unit_rows})
        rows += saved["rows"]
    storage.write_csv(folder.file("pairwise.csv"), rows, files.PAIRWISE_COLUMNS)


def _pairs_of_record(
    folder, model, i: int, name: str, sequence: str, job: DependencyJob, label
) -> list[dict[str, Any]]:
    """Return the rows of one record, after its arrays and its figure are written."""
    options, stem = job.explain, record_stem(i, name)
    pairs = pairwise_mutagenesis(
        model,
        sequence,
        target=options.target,
        region=options.region,
        token_budget=options.token_budget,
        device=options.device,
        progress=label,
    )
    start, end = options.region
    values = pairs.strongest(None)
    arrays = {"epistasis": values, "start": np.array(start), "end": np.array(end)}
    arrays |= {"record": np.array(name), "sequence": np.array(sequence), **files.place_arrays(name, len(sequence))}
    files.save_npz(folder.folder("maps") / f"{stem}_pairwise.npz", arrays)
    if i < job.report.n_figures:
        figure = plot_map(
            values,
            sequence[start:end],
            label="epistasis (logit), largest of 3 x 3",
            title=f"{name}, class {pairs.singles.target}{job.report.notice}",
            signed=True,
            first=start,
            axis_labels=("position", "position"),
        )
        save_figure(figure, folder.folder("figures") / f"{stem}_pairwise")
    return files.pairwise_rows(name, sequence, start, values, job.report.top)
