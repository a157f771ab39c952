#!/usr/bin/env python
"""Train LAMAR as a masked language model, from random weights or from a checkpoint.

From random weights, a laptop-sized model, for an hour:
    python finetune_scripts/pretrain.py --data_path transcripts.fa.gz --config lamar-mini --peak_lr 5e-4 \\
        --max_minutes 60 --output_dir models/mini

Task-adaptive (TAPT), on windows of preprocess.py, with more of their peaks masked:
    python finetune_scripts/pretrain.py --data_path prep/clip_train.jsonl --val_data prep/clip_val.jsonl \\
        --pretrain_path models/mini --region_rates 0.3 0.1 --output_dir models/mini-tapt

Several processes (gloo on CPUs, NCCL on GPUs):
    torchrun --nproc_per_node 2 finetune_scripts/pretrain.py --data_path transcripts.fa.gz ...

Without arguments it trains a tiny model on the synthetic demo set.

15 % of the nucleotides are predicted: 80 % of these are masked, 10 % replaced by a nucleotide, 10 % left. Special
tokens and N are neither predicted nor used as replacements. Long sequences are cut at another random offset in each
pass. The same command resumes an interrupted run. With --schedule trapezoid a larger --max_steps or --max_minutes
extends a run, from the last checkpoint before the learning rate fell; a smaller one is refused.

The held-out sequences are chosen by a hash. Training records that share 30 nt in a row with one of them, such as
isoforms and overlapping windows, are left out (--exclude_run). The validation loss is that of fixed positions, all of
them masked, with the best Markov chains of the training data beside it. A chain sees all other nucleotides; at the end
the model is therefore also evaluated with an eighth of these positions masked at a time.

Outputs, in OUTPUT_DIR: ``config.json``, ``model.safetensors``, tokenizer, ``training_args.bin``, ``eval_results.json``,
``run.json``, ``log.csv``, ``loss_curve.png``; ``checkpoints`` while it runs, and to extend it.
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
    # Windows differ in length, and on CPUs each new shape of a bfloat16 product leaves megabytes of code in this cache.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "200")

import argparse
import logging

from LAMAR.cli import pretrain_arguments
from LAMAR.cli.arguments import (
    add_model_arguments,
    add_output_arguments,
    add_training_arguments,
    log_messages,
    parse_or_demo,
    script_parser,
)
from LAMAR.cli.errors import exit_on_input_error

logger = logging.getLogger("pretrain")

DEMO = {
    "config": "lamar-tiny",
    "model_max_length": 130,
    "val_fraction": 0.1,
    "token_budget": 2048,
    "max_steps": 240,
    "peak_lr": 3e-3,
    "logging_steps": 20,
    "save_steps": 80,
    "markov_order": 5,
    "output_dir": Path(__file__).resolve().parents[1] / "demo" / "pretrain",
}


def build_parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__)
    pretrain_arguments.add_corpus_arguments(parser.add_argument_group("data"))
    model = parser.add_argument_group("model")
    add_model_arguments(model)
    pretrain_arguments.add_shape_arguments(model)
    pretrain_arguments.add_masking_arguments(parser.add_argument_group("masking"))
    training = parser.add_argument_group("training")
    pretrain_arguments.add_step_arguments(training)
    add_training_arguments(training)
    output = parser.add_argument_group("evaluation and output")
    pretrain_arguments.add_evaluation_arguments(output)
    add_output_arguments(output, Path("models") / "pretrained", resume="--resume_training")
    return parser


def run(
    data_path: list[Path], output_dir: Path, *, demo: bool = False, resume_training: bool = False, **options
) -> None:
    """Train and evaluate, on the demo set where no data are given; an interrupted run is always resumed."""
    from LAMAR.cli.demo import NOTICE, demo_data
    from LAMAR.training.pretraining import pretrain

    if demo:
        data_path = [demo_data() / "transcripts.fa"]
        logger.info("no --data_path given. %s", NOTICE)
    notice = NOTICE if demo else ""
    pretrain(data_path, output_dir, notice=notice, **options)


def main(argv=None) -> int:
    arguments = parse_or_demo(build_parser(), argv, DEMO)
    log_messages(training=True)
    return exit_on_input_error(run, **vars(arguments))


if __name__ == "__main__":
    sys.exit(main())
