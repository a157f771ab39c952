#!/usr/bin/env python
"""Fetch and verify LAMAR's published weights, or convert any upstream checkpoint to a folder that all scripts read.

Where there is a network:
    python weights/fetch_lamar.py                                 # contexts of 2,048 tokens
    python weights/fetch_lamar.py --context 4096

From a file or folder that is already here (safetensors, or a pickle of plain tensors), with its masked-LM head, or its
classification head and calibration:
    python weights/fetch_lamar.py --convert path/to/checkpoint --output_dir weights/mine

The published weights are in the Hugging Face repository zhw-e8/LAMAR, some 350 MB. They are verified before anything is
written: names and shapes of all encoder tensors, finite values, the published architecture. The folder then holds
config.json, model.safetensors, the tokenizer, and run.json with what was renamed or left out and SHA-256 digests; every
script takes it as --pretrain_path or --pretrained_weights.
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
import logging

from LAMAR.cli.arguments import log_messages, path, script_parser
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.errors import InputError


def build_parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__)
    parser.add_argument("--context", type=int, choices=(2048, 4096), default=2048, help="tokens (default: %(default)s)")
    parser.add_argument("--revision", help="branch, tag or commit of the repository (default: its main branch)")
    parser.add_argument("--convert", type=path, metavar="PATH", help="take this file or folder; nothing is downloaded")
    parser.add_argument(
        "--config",
        help="shape that the weights must have, a name or a config.json (default: lamar for a download, else as the "
        "weights say)",
    )
    parser.add_argument("--output_dir", type=path, help="default: weights/LAMAR-CONTEXT; needed with --convert")
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16"),
        default="float32",
        help="type of the stored weights (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace --output_dir")
    return parser


def run(arguments: argparse.Namespace) -> None:
    from LAMAR.published_weights import fetch_weights

    if arguments.convert is not None and arguments.output_dir is None:
        raise InputError("`output_dir`: not given, wanted a folder for the converted checkpoint")
    target = arguments.output_dir or Path(__file__).resolve().parent / f"LAMAR-{arguments.context}"
    print(f"verified: {fetch_weights(**vars(arguments) | {'output_dir': target})}\nweights: {target}")


def main(argv: list[str] | None = None) -> int:
    arguments = build_parser().parse_args(argv)
    log_messages(level=logging.WARNING)
    logging.getLogger("LAMAR.published_weights").setLevel(logging.INFO)
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
