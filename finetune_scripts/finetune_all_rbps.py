#!/usr/bin/env python
"""Fine-tune LAMAR on the binding sites of many RBPs at once: one model with one output per track.

All tracks of a data set of make_track_dataset.py, from the weights that ship, for three hours:
    python finetune_scripts/finetune_all_rbps.py --data_path DATA/tracks --pretrain_path weights/lamar-mini-tapt \\
        --bf16 --max_minutes 180 --output_dir models/all_rbps

The same with whole RBPs held out, to test a model on RBPs that it was not trained on:
    python finetune_scripts/finetune_all_rbps.py --data_path DATA/tracks --pretrain_path weights/lamar-mini-tapt \\
        --bf16 --max_minutes 60 --hold_out QKI,PUM1,PUM2 --output_dir models/all_but_qki_pum

Several processes (gloo on CPUs, NCCL on GPUs):
    torchrun --nproc_per_node 2 finetune_scripts/finetune_all_rbps.py --data_path DATA/tracks ...

Without arguments it trains a tiny model on a small synthetic track set.

The loss is the binary cross-entropy over all known labels. The model is trained on the train part. The dev part chooses
the step whose weights are kept, by the mean AUROC over tracks on a fixed sample of its windows; at the end, all of it
gives the figures of each track and the calibration. The test part is not used. The same command resumes an interrupted
run, and a larger --max_steps or --max_minutes extends one, from the last checkpoint before the learning rate fell.

Outputs, in OUTPUT_DIR: ``config.json`` (with the tracks' names), ``model.safetensors``, tokenizer, ``tracks.csv``
(AUROC and average precision of each track), ``calibration.json``, ``eval_results.json``, ``run.json``, ``log.csv``,
``learning_curve.png``; ``checkpoints`` while it runs, and to extend it.
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

from LAMAR.cli import joint_arguments
from LAMAR.cli.arguments import add_model_arguments, log_messages, parse_or_demo, script_parser
from LAMAR.cli.demo_tracks import DEMO_TRAINING
from LAMAR.cli.errors import exit_on_input_error

logger = logging.getLogger("finetune_all_rbps")

DEMO = {**DEMO_TRAINING, "output_dir": Path(__file__).resolve().parents[1] / "demo" / "all_rbps"}


def build_parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__)
    joint_arguments.add_data_arguments(parser.add_argument_group("data"))
    model = parser.add_argument_group("model")
    add_model_arguments(model, finetunes=True)
    joint_arguments.add_head_arguments(model)
    joint_arguments.add_step_arguments(parser.add_argument_group("training"))
    joint_arguments.add_evaluation_arguments(parser.add_argument_group("evaluation and output"))
    return parser


def run(data_path: Path, output_dir: Path, *, demo: bool = False, resume: bool = False, **options) -> None:
    """Train, evaluate and calibrate, on the demo set where no data are given; an interrupted run is always resumed."""
    from LAMAR.cli.demo import NOTICE
    from LAMAR.cli.demo_tracks import demo_track_set
    from LAMAR.training.multi_rbp_run import finetune_all_rbps

    if demo:
        data_path = demo_track_set()
        logger.info("no --data_path given. %s", NOTICE)
    finetune_all_rbps(data_path, output_dir, notice=NOTICE if demo else "", **options)


def main(argv=None) -> int:
    arguments = parse_or_demo(build_parser(), argv, DEMO)
    log_messages(training=True)
    return exit_on_input_error(run, **vars(arguments))


if __name__ == "__main__":
    sys.exit(main())
