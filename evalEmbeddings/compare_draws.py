#!/usr/bin/env python
"""Compare methods paired by repeat, where all methods saw the same few training records.

    python evalEmbeddings/compare_draws.py --results results/few --finetuned Random=models/few_random \\
        Pretrained=models/few_pretrained --output_dir results/few_compared

--results are folders of LAMAR_CNN_clip_data.py and the other CNN scripts, whose repeats are draws of training records
(--subsample_pos, --subsample_neg) or seeds. --finetuned are output folders of finetune_rbp.py, NAME=DIR, with
--cv_folds 1 --subsample_pos ... --draws; draw n there has the records of repeat n here when --seed and the data are the
same. Runs of one data set that differ in the arguments that decide the draw, or in the number of records, are refused.
Every pair of methods is compared in the repeats that both have, by Wilcoxon's signed-rank test within a data set and,
over data sets, on its means. Draws share one test part and, by chance, training records: a p-value within a data set
holds for other draws from this set, not for other proteins.

Holm's correction counts every pair: with ten draws no p-value is below 0.002, which 45 pairs turn into 0.09. --methods
limits the comparison to the methods of a question asked beforehand.

Without arguments it compares the methods of the demo set's evaluation, demo/evaluation.

Outputs in OUTPUT_DIR: values.csv (data set, method, repeat, figure), methods.csv (mean and standard deviation over
repeats), pairs.csv (within data sets), pairs_over_sets.csv, run.json.
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

from LAMAR.cli.arguments import log_messages, path, script_parser
from LAMAR.cli.demo import DEMO_DATA, NOTICE, demo_evaluation
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.errors import InputError
from LAMAR.evaluation.tables import METRICS


def build_parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__)
    parser.add_argument("--results", type=path, nargs="+", metavar="DIR", default=[], help="evaluation runs")
    parser.add_argument(
        "--finetuned", nargs="+", metavar="NAME=DIR", default=[], help="--output_dir of finetune_rbp.py by variant"
    )
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME", help="methods to compare, named as in values.csv (default: all)"
    )
    parser.add_argument("--output_dir", type=path, help="folder of the tables")
    parser.add_argument("--metric", choices=METRICS, default="auroc", help="default: %(default)s")
    parser.add_argument("--overwrite", action="store_true", help="replace the tables in --output_dir")
    return parser


def named_folder(text: str) -> tuple[str, str]:
    """Return name and folder of NAME=DIR."""
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise InputError(f"`finetuned`: found {text!r}, wanted NAME=DIR")
    return name, folder


def run(arguments: argparse.Namespace) -> None:
    finetuned = [named_folder(text) for text in arguments.finetuned]
    results, output_dir, overwrite = arguments.results, arguments.output_dir, arguments.overwrite
    if not results and not finetuned:
        print(NOTICE)
        results, overwrite = [demo_evaluation()], True
        output_dir = output_dir or DEMO_DATA.parent / "compared"
    if output_dir is None:
        raise InputError("`output_dir`: not given, wanted a folder for the tables")

    from LAMAR.evaluation.comparison import closing_table, compare_runs

    comparison = compare_runs(
        output_dir, results, finetuned, methods=arguments.methods, metric=arguments.metric, overwrite=overwrite
    )
    print(f"{arguments.metric.upper()}, means over repeats\n{closing_table(comparison)}")
    print(f"outputs: {output_dir}")


def main(argv: list[str] | None = None) -> int:
    arguments = build_parser().parse_args(argv)
    log_messages()
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
