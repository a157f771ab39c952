#!/usr/bin/env python
"""Divide the windows of preprocess.py into training and validation windows.

    python preprocess/train_val_split.py --metadata prep/clip_metadata.jsonl

Without --metadata it divides the windows of the synthetic demo set, which preprocess.py makes without arguments.

    --group region   windows of one region, and of regions that overlap on the genome (on either strand), stay together
    --group chrom    windows of one chromosome stay together
    --group none     every window on its own: sliding windows overlap, so validation windows then repeat training ones

Whole groups are drawn at random until the fraction of windows is met as nearly as possible.

    PREFIX_train.jsonl, PREFIX_val.jsonl              in the form of the metadata (.json, .parquet), in its order
    PREFIX_train_sequences.txt, PREFIX_val_sequences.txt    one window per line
    PREFIX_split.json                                 arguments, input with SHA-256, counts, and how many validation
                                                      windows share 30 nt in a row with a training window
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

from LAMAR.cli import demo
from LAMAR.cli.arguments import log_messages, not_negative, number, output_prefix, path, script_parser
from LAMAR.cli.errors import exit_on_input_error, with_flags
from LAMAR.errors import InputError
from LAMAR.genomics.choices import GROUPS

share = number(float, "more than 0 and less than 1", lambda value: 0 < value < 1)


def build_parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__)
    parser.add_argument("--metadata", type=path, help="PREFIX_metadata.jsonl, .json or .parquet of preprocess.py")
    parser.add_argument("--val_fraction", type=share, default=0.02, help="share of windows for validation (0.02)")
    parser.add_argument("--group", choices=tuple(GROUPS), default="region", help="windows that stay together (region)")
    parser.add_argument("--seed", type=not_negative(int), default=42, help="seed of the draw (42)")
    parser.add_argument("--output", type=output_prefix, help="prefix of the output files (that of the metadata)")
    parser.add_argument("--overwrite", action="store_true", help="replace existing outputs")
    return parser


def run(arguments: argparse.Namespace) -> None:
    from LAMAR.genomics.divide_windows import divide_windows

    options, notice = vars(arguments), None
    if arguments.metadata is None:
        options["metadata"] = demo.REPOSITORY / "demo" / "prep" / "demo_metadata.jsonl"
        if not options["metadata"].is_file():
            raise InputError(
                f"`metadata`: not given, and {options['metadata']} is not there; run preprocess/preprocess.py first"
            )
        notice = demo.NOTICE
        print(f"no --metadata given. {notice}")
    print(with_flags(divide_windows(**options, notice=notice).text))


def main(argv: list[str] | None = None) -> int:
    log_messages()
    return exit_on_input_error(run, build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
