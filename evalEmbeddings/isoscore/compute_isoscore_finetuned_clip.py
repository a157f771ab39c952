#!/usr/bin/env python
"""Measure what fine-tuning does to the geometry of embeddings: IsoScore and related figures before and after, per fold.

Runs of finetune_rbp.py under a folder, all of them or some:
    python evalEmbeddings/isoscore/compute_isoscore_finetuned_clip.py --models_dir models --rbps QKI PTBP1 \\
        --output_dir results/geometry_finetuned

Without arguments it measures the model that finetune_rbp.py trains on the synthetic demo set, which is trained first
where it is missing.

"After" is the encoder of a fold's checkpoint. "Before" is what that fold started from: the pretrained weights that its
run.json names, whose SHA-256 must still be the same, or random weights, drawn again from the recorded seed. Both see
the same records of the data that the run was trained on (--data_dir, where they have moved): its test part, which no
fold was trained on, else the fold's held-out or validation part; --records all takes training records too. Every fold
of a run gets the same number of records. Draws of few records (finetune_rbp.py --draws) are measured as folds are.

Outputs in OUTPUT_DIR: results.csv (a row per run, fold, before and after, layer and figure), differences.csv (after
minus before, resampled together), summary.csv (over folds), spectra.csv; layers, spectra and components of each run as
PNG and SVG; run.json. An interrupted run resumes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # --help and errors of arguments come before the import of torch
    from LAMAR.cli.signals import answer_signals

    answer_signals()

import argparse
import subprocess
from collections.abc import Sequence

from LAMAR.cli import evaluation_arguments
from LAMAR.cli.arguments import log_messages, parse_or_demo, path, script_parser
from LAMAR.cli.demo import NOTICE, REPOSITORY
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.errors import InputError

DEMO = {"output_dir": REPOSITORY / "demo" / "geometry_finetuned"}


def build_parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__)
    data = parser.add_argument_group("models and data")
    data.add_argument(
        "--models_dir", type=path, help="a run of finetune_rbp.py, or a folder of runs (default: the demo set's)"
    )
    data.add_argument("--rbps", nargs="+", help="names of runs in the folder (default: all)")
    data.add_argument("--data_dir", type=path, help="where the labelled data are now (default: as the runs recorded)")
    data.add_argument(
        "--pretrained_weights", type=path, help="where the starting weights are now (default: as the runs recorded)"
    )
    data.add_argument(
        "--records", choices=("test", "all"), default="test", help="which records to embed (default: %(default)s)"
    )
    model = parser.add_argument_group("encoders")
    model.add_argument("--layers", nargs="+", type=int, help="block indices, negatives from the end (default: all)")
    evaluation_arguments.add_extraction_arguments(model, dtype="float32")
    evaluation_arguments.add_geometry_arguments(parser)
    return parser


def complete_paths(arguments: argparse.Namespace) -> None:
    """Fill in the demo set's models, which are trained first if need be."""
    if arguments.demo:
        print(NOTICE)
        arguments.models_dir = REPOSITORY / "demo" / "finetune"
        if not any(arguments.models_dir.glob("*/eval_results.json")):
            print("the demo set's fine-tuned model is missing: finetune_scripts/finetune_rbp.py trains it now")
            # A separate process, because scripts do not import each other.
            subprocess.run([sys.executable, str(REPOSITORY / "finetune_scripts" / "finetune_rbp.py")], check=True)
    if arguments.output_dir is None:
        raise InputError("`output_dir`: not given, wanted a folder for the results")


def run(arguments: argparse.Namespace) -> None:
    complete_paths(arguments)

    from LAMAR.cli.tuned_folds import open_folds
    from LAMAR.evaluation.encoders import EncoderOptions
    from LAMAR.evaluation.geometry_stages import closing_table, measure_stages

    source = {
        name: getattr(arguments, name) for name in ("models_dir", "rbps", "data_dir", "pretrained_weights", "records")
    }
    opened = open_folds(**source)
    extraction = ("layers", "extraction_batch_size", "dtype", "device", "cache_dir")
    summary = measure_stages(
        opened.folds,
        arguments.output_dir,
        EncoderOptions(**{name: getattr(arguments, name) for name in extraction}),
        evaluation_arguments.geometry_options(arguments),
        source=source,
        inputs=opened.inputs,
        weights=opened.weights,
        note=NOTICE.partition(":")[0] if arguments.demo else "",
        overwrite=arguments.overwrite,
    )
    print(closing_table(summary))
    print(f"\nresults: {arguments.output_dir}")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_or_demo(build_parser(), argv, DEMO, "models_dir")
    log_messages()
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
