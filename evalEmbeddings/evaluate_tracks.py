#!/usr/bin/env python
"""Judge a model of many RBPs on held-out chromosomes: each track beside k-mer regressions, calibration, p-values.

All tracks with 50 or more bound test windows:
    python evalEmbeddings/evaluate_tracks.py --data_path prep/tracks --model_path models/all_rbps \\
        --output_dir results/tracks

24 of them, six from each quartile of size, or some by name:
    python evalEmbeddings/evaluate_tracks.py --data_path prep/tracks --model_path models/all_rbps --tracks 24
    python evalEmbeddings/evaluate_tracks.py --data_path prep/tracks --model_path models/all_rbps \\
        --tracks QKI_K562 PUM2_K562 --baselines none

Without arguments it judges a small model of the synthetic demo set, which is trained on first use.

A track's baseline is a logistic regression on its k-mer frequencies, fitted on all known labels of the train part, its
penalty chosen on dev. Labels that are unknown never count. Tracks that only the model or only the data have are left
out. Quartiles are by bound train windows, 1 for the tracks with the fewest. The same command resumes an interrupted
run.

Outputs, in OUTPUT_DIR: tracks.csv (AUROC with interval, average precision and AUROC without background windows of each
track and method), pairs.csv (Wilcoxon tests over tracks), calibration.csv (reliability before and after calibration,
at the prior of the model's calibration.json), p_values.csv (share of background windows below 0.05, 0.01, 0.001),
summary.json; joint_vs_baseline and reliability as PNG and SVG; scores/, the scores of all windows; run.json.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # --help and errors of arguments come before the import of torch
    from LAMAR.cli.signals import answer_signals

    answer_signals()

import argparse

from LAMAR.cli.arguments import log_messages, parse_or_demo, script_parser
from LAMAR.cli.demo import NOTICE
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.cli.track_arguments import add_track_arguments, baselines_argument, tracks_argument
from LAMAR.errors import InputError

DEMO = {
    "min_bound": 20,
    "output_dir": Path(__file__).resolve().parents[1] / "demo" / "track_evaluation",
}


def build_parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__)
    add_track_arguments(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    data_path, model_path = arguments.data_path, arguments.model_path
    if arguments.demo:
        from LAMAR.cli.demo_tracks import demo_joint_model, demo_track_set

        print(NOTICE)
        data_path, model_path = demo_track_set(), model_path or demo_joint_model()
    if model_path is None:
        raise InputError("`model_path`: not given, wanted a folder of finetune_all_rbps.py")

    from LAMAR.evaluation.track_run import evaluate_tracks
    from LAMAR.evaluation.track_tables import closing_table

    options = ("part", "min_bound", "seed", "token_budget", "device", "overwrite")
    summary = evaluate_tracks(
        data_path,
        model_path,
        arguments.output_dir,
        tracks=tracks_argument(arguments.tracks),
        baselines=baselines_argument(arguments.baselines),
        notice=NOTICE if arguments.demo else "",
        **{name: getattr(arguments, name) for name in options},
    )
    print(closing_table(summary))
    print(f"outputs: {arguments.output_dir}")


def main(argv: list[str] | None = None) -> int:
    arguments = parse_or_demo(build_parser(), argv, DEMO)
    log_messages()
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
