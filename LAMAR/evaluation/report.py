"""A whole report on evaluation runs: tables, tests, figures and one page."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import counted
from ..runs import RunFolder, storage
from ..runs.figures import save_figure
from ..statistics.metrics import METRICS
from . import figures, tables
from .report_html import FigureOnPage, below_remarks, build_report
from .report_tables import Report, below_composition, report_tables
from .results import Results, read_results

__all__ = ["Report", "closing_table", "write_report"]

logger = logging.getLogger(__name__)

READ = ("results.csv", "predictions.csv", "split_report.json")


def write_report(
    results: Sequence[str | Path],
    output_dir: str | Path,
    *,
    metric: str = "auroc",
    n_boot: int = 1000,
    seed: int = 42,
    notice: str = "",
    overwrite: bool = False,
) -> Report:
    """Report on evaluation runs: write tables, tests, figures and a page that stands alone.

    Parameters
    ----------
    results : sequence of path
        Folders of evaluation runs; their rows are joined.
    output_dir : path
        Run folder, made if missing: ``report.html``, figures as PNG and SVG, ``summary.csv``, ``wilcoxon.csv``,
        ``mean_ranks.csv``, ``delong.csv``, ``run.json``.
    metric : str
        Metric of figures, intervals and tests, one of `LAMAR.evaluation.tables.METRICS`.
    n_boot : int
        Resamples of intervals.
    seed : int
        Seed of the resamples.
    notice : str
        Warning at the top of the page.
    overwrite : bool
        Delete an earlier report in ``output_dir`` first.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        As `LAMAR.evaluation.results.read_results`, or if the folder holds another run; nothing is written then.
    """
    results = [Path(folder) for folder in results]
    joined = read_results(results)
    with RunFolder.open(
        output_dir,
        arguments={"results": results, "output_dir": output_dir, "metric": metric, "n_boot": n_boot},
        seed=seed,
        inputs=[folder / name for folder in results for name in READ],
        overwrite=overwrite,
    ) as run:
        joined_names = counted(len(joined.datasets), "data set"), counted(len(joined.methods), "method")
        logger.info("%s, %s: intervals and tests", *joined_names)
        report = report_tables(joined, metric, n_boot, seed)
        for name in ("summary", "wilcoxon", "mean_ranks", "delong"):
            storage.write_csv(run.file(f"{name}.csv"), getattr(report, name))
        page = build_report(joined, report, _draw(run, joined, report), notice)
        with storage.atomic_write(run.file("report.html")) as handle:
            handle.write(page)
        below = below_composition(report.composition).drop_duplicates(["dataset", "method"])
        run.finish({"data_sets": len(joined.datasets), "methods": len(joined.methods), "not_above": len(below)})
    return report


def closing_table(report: Report) -> str:
    """Return the mean score and rank of each method as text, and how many scores are not above composition's."""
    lines = [
        f"  {row.method:<30} mean {report.metric.upper()} {row.mean:.3f}, mean rank {row.mean_rank:.2f}"
        for row in report.mean_ranks.itertuples()
    ]
    return "\n".join(lines + below_remarks(report))


# ----------------------------------------------------------------------------------------------------- figures


def _draw(run: RunFolder, results: Results, report: Report) -> list[FigureOnPage]:
    """Write every figure as PNG and SVG; return them as the page shows them."""
    drawn = []
    for stem, title, caption, pages in _plan(results, report):
        for i, figure in enumerate(pages, start=1):
            numbered = len(pages) > 1
            name = f"{stem}_{i}" if numbered else stem
            for ending in ("png", "svg"):
                run.file(f"{name}.{ending}")
            png = save_figure(figure, run.path / name)
            drawn.append(FigureOnPage(f"{title}, page {i} of {len(pages)}" if numbered else title, caption, png))
    return drawn


def _plan(results: Results, report: Report) -> Iterator[tuple[str, str, str, list]]:
    """Yield file name, title, caption and pages of every figure, in the order of the page."""
    metric, summary = report.metric, report.summary
    label = METRICS[metric].label
    caption = (
        "Bars are the score of the mean prediction over repeats, lines its 95 % bootstrap interval over test records."
        if figures.error_bars(summary) == "bootstrap"
        else "Bars are means over repeats, lines their standard deviation."
    )
    yield "bars", f"{label} of each data set", caption, figures.plot_bars(results, summary, metric)
    scatter = figures.plot_scatter(results, metric)
    caption = "Above the diagonal, LAMAR is better; one point per data set and method, means over repeats."
    yield "scatter", f"{label}: LAMAR against the one-hot CNN", caption, [scatter] if scatter else []
    layers = figures.plot_layers(results, metric)
    caption = (
        "Solid: linear probes on pooled embeddings, with the quartiles over data sets; diamonds: CNNs. Means over the "
        "data sets that have all layers of a curve."
    )
    yield "layers", f"{label} by layer", caption, [layers] if layers else []
    if report.values.notna().sum().max() < figures.FEWEST_FOR_BOX:
        return
    caption = "Boxes: quartiles and median over data sets, whiskers to 1.5 times their range; points are data sets."
    for name in (metric, *(name for name in tables.METRICS if name != metric)):
        yield f"boxes_{name}", f"{METRICS[name].label} by method", caption, [figures.plot_boxes(results, name)]
