#!/usr/bin/env python
"""Report on evaluation runs, embeddings against one-hot and composition: figures, tests and one page.

One run, or several joined (a unit that is in two of them must have the same figures):
    python evalEmbeddings/plot_results.py --results results/cnn
    python evalEmbeddings/plot_results.py --results results/pretrained results/tapt --output_dir report --metric auprc

Without arguments it reports on the evaluation of the demo set, demo/evaluation.

Each folder holds results.csv, predictions.csv, split_report.json and run.json, as LAMAR_CNN_clip_data.py writes them.

Outputs in OUTPUT_DIR: report.html (one file, inline images); figures as PNG and SVG: bars, scatter, layers, from
three data sets on boxes_METRIC; summary.csv, wilcoxon.csv, mean_ranks.csv, delong.csv; run.json.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # no model here: spares the import of torch
    from LAMAR.cli.signals import answer_signals

    answer_signals()

import argparse

from LAMAR.cli.arguments import log_messages, not_negative, number, path, script_parser
from LAMAR.cli.demo import NOTICE, demo_evaluation
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.evaluation.tables import METRICS


def build_parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__)
    parser.add_argument(
        "--results", type=path, nargs="+", metavar="DIR", help="folders of runs (default: that of the demo set)"
    )
    parser.add_argument("--output_dir", type=path, help="default: report in the first folder of --results")
    parser.add_argument(
        "--metric",
        choices=METRICS,
        default="auroc",
        help="metric of figures, intervals and tests (default: %(default)s)",
    )
    parser.add_argument(
        "--n_boot",
        type=number(int, "1 to 100000", lambda value: 1 <= value <= 100_000),
        default=1000,
        help="resamples of intervals (default: 1000)",
    )
    parser.add_argument("--seed", type=not_negative(int), default=42, help="seed of resamples (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace the report in --output_dir")
    return parser


def run(arguments: argparse.Namespace) -> None:
    results, notice, overwrite = arguments.results, "", arguments.overwrite
    if results is None:
        results, notice = [demo_evaluation()], NOTICE
        overwrite = overwrite or arguments.output_dir is None  # the report that belongs to the demo
        print(NOTICE)
    output_dir = arguments.output_dir or results[0] / "report"

    from LAMAR.evaluation.report import closing_table, write_report

    report = write_report(
        results,
        output_dir,
        metric=arguments.metric,
        n_boot=arguments.n_boot,
        seed=arguments.seed,
        notice=notice,
        overwrite=overwrite,
    )
    print(closing_table(report))
    print(f"report: {output_dir / 'report.html'}")


def main(argv: list[str] | None = None) -> int:
    arguments = build_parser().parse_args(argv)
    log_messages()
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
