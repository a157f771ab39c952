#!/usr/bin/env python
"""Figures, tests and one page from evaluation runs: embeddings against one-hot and composition.

One run, or several joined (a unit that is in two of them must have the same figures):
    python evalEmbeddings/plot_results.py --results results/cnn
    python evalEmbeddings/plot_results.py --results results/pretrained results/tapt --output_dir report --metric auprc

Without arguments it reports on the evaluation of the demo set, demo/evaluation.

Each folder holds results.csv, predictions.csv, split_report.json and run.json of LAMAR_CNN_clip_data.py and its like.

Outputs in OUTPUT_DIR: report.html (one file, inline images); figures as PNG and SVG: boxes_METRIC, bars, scatter,
layers; summary.csv, wilcoxon.csv, mean_ranks.csv, delong.csv; run.json.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # no model here: spares the import of torch

from LAMAR.cli.arguments import OneLineParser, not_negative, number, path
from LAMAR.cli.demo import NOTICE, demo_evaluation
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.evaluation.result_columns import METRICS

logger = logging.getLogger("plot_results")

READ = ("results.csv", "predictions.csv", "split_report.json")


def build_parser() -> argparse.ArgumentParser:
    summary, _, epilog = __doc__.partition("\n\n")
    parser = OneLineParser(description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--results", type=path, nargs="+", metavar="DIR", help="folders of runs (default: that of the demo set)"
    )
    parser.add_argument("--output_dir", type=path, help="default: report in the first folder of --results")
    parser.add_argument(
        "--metric", choices=METRICS, default="auroc", help="of figures, intervals and tests (default: %(default)s)"
    )
    parser.add_argument(
        "--n_boot",
        type=number(int, "1 to 100000", lambda value: 1 <= value <= 100_000),
        default=1000,
        help="resamples of intervals (default: 1000)",
    )
    parser.add_argument("--seed", type=not_negative(int), default=42, help="of resamples (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace the report in --output_dir")
    return parser


def complete(arguments: argparse.Namespace) -> None:
    """Fill in the defaults that depend on one another."""
    arguments.notice = ""
    if arguments.results is None:
        arguments.results, arguments.notice = [demo_evaluation()], NOTICE
        arguments.overwrite = arguments.output_dir is None or arguments.overwrite  # the demo's own report
        print(NOTICE)
    arguments.output_dir = arguments.output_dir or arguments.results[0] / "report"


def draw(results, summary, arguments: argparse.Namespace, folder) -> list:
    """Write every figure; what the page shows of them."""
    from LAMAR.evaluation import figures as result_plots
    from LAMAR.evaluation.report_html import FigureOnPage

    metric, label, labels = arguments.metric, result_plots.LABELS[arguments.metric], result_plots.LABELS
    over = "Boxes: quartiles and median over data sets, whiskers to 1.5 times their range; points are data sets."
    kind = (
        "Bars are the score of the mean prediction over repeats, lines its 95 % bootstrap interval over test records."
        if result_plots.error_bars(summary) == "bootstrap"
        else "Bars are means over repeats, lines their standard deviation."
    )
    planned = [("bars", f"{label} of each data set", kind, result_plots.plot_bars(results, summary, metric))]
    for name in (metric, *(name for name in METRICS if name != metric)):
        figure = result_plots.plot_boxes(results, name)
        planned.append((f"boxes_{name}", f"{labels[name]} by method", over, [figure]))
    against = "Above the diagonal, LAMAR is better; one point per data set and method, means over repeats."
    layers = (
        "Solid: linear probes on mean-pooled embeddings, with the quartiles over data sets; diamonds: CNNs. Means over "
        "the data sets that have all layers of a curve."
    )
    scatter, curves = result_plots.plot_scatter(results, metric), result_plots.plot_layers(results, metric)
    planned.insert(1, ("scatter", f"{label}: LAMAR against the one-hot CNN", against, [scatter] if scatter else []))
    planned.insert(2, ("layers", f"{label} by layer", layers, [curves] if curves else []))
    shown = []
    for stem, title, caption, pages in planned:
        for i, figure in enumerate(pages, start=1):
            numbered = len(pages) > 1
            name = f"{stem}_{i}" if numbered else stem
            for ending in ("png", "svg"):
                folder.file(f"{name}.{ending}")
            png = result_plots.save_figure(figure, folder.path / name)
            shown.append(FigureOnPage(f"{title}, page {i} of {len(pages)}" if numbered else title, caption, png))
    return shown


def run(arguments: argparse.Namespace) -> None:
    complete(arguments)

    from LAMAR import runs
    from LAMAR.evaluation.report_html import above_dinucleotide, build_report
    from LAMAR.evaluation.tables import method_values, paired_tests, read_results, summarise
    from LAMAR.runs import storage
    from LAMAR.statistics.rank_tests import mean_ranks, wilcoxon_table

    results = read_results(arguments.results)
    options = {name: getattr(arguments, name) for name in ("results", "output_dir", "metric", "n_boot")}
    inputs = [folder / name for folder in arguments.results for name in READ]
    with runs.RunFolder.open(
        arguments.output_dir, arguments=options, seed=arguments.seed, inputs=inputs, overwrite=arguments.overwrite
    ) as folder:
        logger.info("%d data sets, %d methods: intervals and tests", len(results.datasets), len(results.methods))
        summary = summarise(results, arguments.metric, arguments.n_boot, arguments.seed)
        values = method_values(results, arguments.metric)
        wilcoxon, delong, (ranks, _) = wilcoxon_table(values), paired_tests(results), mean_ranks(values)
        tables = {"summary": summary, "wilcoxon": wilcoxon, "mean_ranks": ranks, "delong": delong}
        for name, table in tables.items():
            storage.write_csv(folder.file(f"{name}.csv"), table)
        figures = draw(results, summary, arguments, folder)
        page = build_report(results, summary, wilcoxon, delong, figures, arguments.metric, arguments.notice)
        with storage.atomic_write(folder.file("report.html")) as handle:
            handle.write(page)
        judged = above_dinucleotide(results, arguments.metric)
        below = int(judged["exceeds"].map(lambda value: value is False).sum())
        folder.finish({"data_sets": len(results.datasets), "methods": len(results.methods), "not_above": below})
    for row in ranks.itertuples():
        print(f"  {row.method:<30} mean {arguments.metric.upper()} {row.mean:.3f}, mean rank {row.mean_rank:.2f}")
    if below:
        print(f"{below} of {len(judged)} scores of models are not above their data set's dinucleotide baseline")
    print(f"report: {arguments.output_dir / 'report.html'}")


def main(argv: list[str] | None = None) -> int:
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
