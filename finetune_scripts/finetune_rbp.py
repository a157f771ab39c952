#!/usr/bin/env python
"""Fine-tune LAMAR on a labelled RBP data set, with cross-validation.

Real data, from the weights that ship (weights/lamar-mini-tapt):
    python finetune_scripts/finetune_rbp.py --rbp_name QKI --data_path DATA/QKI

From LAMAR's published weights, on a GPU (weights/README.md):
    python finetune_scripts/finetune_rbp.py --rbp_name QKI --data_path DATA/QKI \\
        --pretrain_path path/to/model.safetensors --output_dir models/lamar

Laptop-sized, random initialisation (the head first, then the whole model at a small rate):
    python finetune_scripts/finetune_rbp.py --data_path DATA/QKI --config lamar-mini --head cnn \\
        --warmup_epochs 8 --epochs 5 --lr 5e-5 --batch_size 16 --cv_folds 3

Several processes (gloo on CPUs, NCCL on GPUs):
    torchrun --nproc_per_node 2 finetune_scripts/finetune_rbp.py --data_path DATA/QKI ...

Without arguments it fine-tunes the weights that ship on the synthetic demo set.

Cross-validation runs on train + dev. Each fold builds a new model, sets 10 % of its training part aside to choose
the best epoch, and uses its held-out part once. The test part is scored by every fold's model and by the mean of
their probabilities. With ``--cv_folds 1`` the data set's own train and dev parts are used instead, and with
``--subsample_pos`` or ``--subsample_neg`` beside it one or several draws from the train part (``--draws``). The same
command resumes an interrupted run.

Outputs, in OUTPUT_DIR/RBP_NAME: ``eval_results.json``, ``results.csv``, ``predictions.csv``, ``split_report.json``,
``learning_curves.png``, ``roc_pr.png``, ``run.json``, and one checkpoint folder per fold (``fold_0`` ...) or draw.
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

from LAMAR.cli import finetune_arguments
from LAMAR.cli.arguments import (
    add_model_arguments,
    add_output_arguments,
    add_training_arguments,
    log_messages,
    parse_or_demo,
    script_parser,
)
from LAMAR.cli.demo import REPOSITORY
from LAMAR.cli.errors import exit_on_input_error

logger = logging.getLogger("finetune_rbp")

DEMO = {
    "rbp_name": "PUM2",
    "pretrain_path": REPOSITORY / "weights" / "lamar-mini-tapt",
    "head": "cnn",
    "cv_folds": 1,
    "warmup_epochs": 3,
    "epochs": 1,
    "batch_size": 16,
    "lr": 3e-4,
    "output_dir": REPOSITORY / "demo" / "finetune",
}


def build_parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__)
    data = parser.add_argument_group("data")
    finetune_arguments.add_data_arguments(data)
    finetune_arguments.add_sampling_arguments(data)
    model = parser.add_argument_group("model")
    add_model_arguments(model, finetunes=True)
    finetune_arguments.add_head_arguments(model)
    training = parser.add_argument_group("training")
    finetune_arguments.add_epoch_arguments(training)
    add_training_arguments(training)
    add_output_arguments(parser.add_argument_group("output"), Path("models"))
    return parser


def run(data_path: Path, output_dir: Path, *, demo: bool = False, resume: bool = False, **options) -> None:
    """Train and evaluate, on the demo set where no data are given; an interrupted run is always resumed."""
    from LAMAR.cli.demo import NOTICE, demo_data
    from LAMAR.training.finetuning import finetune

    if demo:
        data_path = demo_data() / "labelled"
        logger.info("no --data_path given. %s", NOTICE)
    notice = NOTICE if demo else ""
    finetune(data_path, output_dir, notice=notice, **options)


def main(argv=None) -> int:
    arguments = parse_or_demo(build_parser(), argv, DEMO)
    log_messages(training=True)
    return exit_on_input_error(run, **vars(arguments), renamed={"dataset": "data_path"})


if __name__ == "__main__":
    sys.exit(main())
