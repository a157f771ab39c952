#!/usr/bin/env python
"""Fine-tune LAMAR on the binding sites of many RBPs at once: one model with one output per track.

All tracks of a data set of make_track_dataset.py, from the weights that ship, for three hours:
    python finetune_scripts/finetune_all_rbps.py --data_path DATA/tracks --pretrain_path weights/lamar-mini-tapt \\
        --bf16 --max_minutes 180 --output_dir models/all_rbps

The same without whole RBPs, to test a model on RBPs that it never saw:
    python finetune_scripts/finetune_all_rbps.py --data_path DATA/tracks --pretrain_path weights/lamar-mini-tapt \\
        --bf16 --max_minutes 60 --hold_out QKI,PUM1,PUM2 --output_dir models/all_but_qki_pum

Several processes (gloo on CPUs, NCCL on GPUs):
    torchrun --nproc_per_node 2 finetune_scripts/finetune_all_rbps.py --data_path DATA/tracks ...

Without arguments it trains a tiny model on a small synthetic track set.

The loss is the binary cross-entropy over all labels that are known. The train part is trained on; the dev part chooses
the step whose weights are kept, by the mean AUROC over tracks on a fixed sample of its windows, and at the end all of
it gives the figures of each track and the calibration. The test part is not read. An interrupted run resumes when the
same command is given again, and a larger --max_steps or --max_minutes makes it longer, from the last checkpoint before
the learning rate fell.

Outputs, in OUTPUT_DIR: ``config.json`` (with the tracks' names), ``model.safetensors``, tokenizer, ``tracks.csv``
(AUROC and average precision of each track), ``calibration.json``, ``eval_results.json``, ``run.json``, ``log.csv``,
``learning_curve.png``; ``checkpoints`` while it runs, and to make it longer.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # --help and errors of arguments come before the import of torch

from LAMAR.cli.arguments import (
    OneLineParser,
    add_model_arguments,
    fraction,
    log_training,
    names,
    not_negative,
    number,
    parse_or_demo,
    path,
    positive,
)
from LAMAR.cli.errors import exit_on_input_error

logger = logging.getLogger("finetune_all_rbps")

DEMO = {
    "config": "lamar-tiny",
    "head_channels": 64,
    "max_steps": 150,
    "eval_steps": 50,
    "save_steps": 50,
    "warmup_steps": 10,
    "head_lr": 3e-3,
    "encoder_lr": 1e-3,
    "output_dir": Path(__file__).resolve().parents[1] / "demo" / "all_rbps",
}
MAX_STEPS, UNLIMITED_STEPS = 10_000, 10_000_000


def build_parser() -> argparse.ArgumentParser:
    summary, _, epilog = __doc__.partition("\n\n")
    parser = OneLineParser(description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)

    data = parser.add_argument_group("data")
    data.add_argument("--data_path", type=path, help="folder of make_track_dataset.py (default: a synthetic set)")
    data.add_argument(
        "--hold_out",
        type=names,
        default=[],
        metavar="TARGETS",
        help="train without these RBPs, joined by commas, in all cell lines, and without windows that only they bind",
    )
    data.add_argument(
        "--min_sites",
        type=positive(int),
        default=1,
        help="leave out tracks with fewer bound train windows (default: %(default)s)",
    )

    model = parser.add_argument_group("model")
    add_model_arguments(model)
    model.add_argument(
        "--head",
        choices=("mean", "attention", "max_mean", "cnn"),
        help="pooling over nucleotides (default: max_mean, or that of --pretrain_path)",
    )
    model.add_argument("--head_channels", type=positive(int), default=256, help="of its convolution (default: 256)")
    model.add_argument("--head_kernel_size", type=positive(int), default=9, help="nucleotides (default: 9)")
    model.add_argument("--new_head", action="store_true", help="start with a new head where the weights have one")

    _add_training_arguments(parser.add_argument_group("training"))
    _add_output_arguments(parser.add_argument_group("evaluation and output"))
    return parser


def _add_training_arguments(training) -> None:
    training.add_argument("--batch_size", type=positive(int), default=64, help="per process (default: %(default)s)")
    training.add_argument(
        "--max_steps", type=positive(int), help=f"default: {MAX_STEPS}, or with --max_minutes no limit"
    )
    training.add_argument(
        "--max_minutes",
        type=positive(float),
        help="end after this much training, over all starts; the learning rate falls in time (default: no limit)",
    )
    training.add_argument("--head_lr", type=positive(float), default=1e-3, help="default: %(default)s")
    training.add_argument("--encoder_lr", type=positive(float), default=3e-4, help="default: %(default)s")
    training.add_argument(
        "--warmup_steps", type=not_negative(int), default=200, help="steps with a rising rate (default: %(default)s)"
    )
    training.add_argument(
        "--decay_ratio", type=fraction, default=0.3, help="part of the steps with a falling rate (default: 0.3)"
    )
    training.add_argument("--weight_decay", type=not_negative(float), default=0.01, help="default: %(default)s")
    training.add_argument("--grad_clipping_norm", type=positive(float), default=1.0, help="default: %(default)s")
    training.add_argument(
        "--track_power",
        type=number(float, "a number from -1 to 1", lambda value: -1 <= value <= 1),
        default=0.0,
        help="weight of a track in the loss: its sites to this power; below 0 favours small tracks (default: 0)",
    )
    training.add_argument("--bf16", action="store_true", help="bfloat16 autocast")


def _add_output_arguments(output) -> None:
    output.add_argument("--eval_steps", type=positive(int), default=500, help="default: %(default)s")
    output.add_argument("--save_steps", type=positive(int), default=250, help="default: %(default)s")
    output.add_argument(
        "--dev_windows",
        type=positive(int),
        default=6_000,
        help="dev windows of evaluations on the way, drawn once; at the end all are used (default: %(default)s)",
    )
    output.add_argument(
        "--prior",
        type=number(float, "more than 0, at most 1", lambda value: 0 < value <= 1),
        default=1e-3,
        help="sites per background window that calibrated probabilities assume (default: %(default)s)",
    )
    output.add_argument("--output_dir", type=path, default=Path("models") / "all_rbps", help="default: %(default)s")
    output.add_argument("--seed", type=not_negative(int), default=42, help="default: %(default)s")
    again = output.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="resume an interrupted run (what happens anyway)")
    again.add_argument("--overwrite", action="store_true", help="start the run in --output_dir anew")


def run(arguments: argparse.Namespace) -> dict:
    """Train, evaluate and calibrate; returns what ``eval_results.json`` holds."""
    from LAMAR.checkpoints import config_argument
    from LAMAR.cli.demo import NOTICE
    from LAMAR.cli.demo_tracks import demo_track_set
    from LAMAR.flash_attn_patch import backend_argument
    from LAMAR.tokenization import verify_vocabulary
    from LAMAR.training.multi_rbp import JointOptions
    from LAMAR.training.multi_rbp_model import JointModelSettings
    from LAMAR.training.multi_rbp_run import finetune_all_rbps

    if arguments.demo:
        arguments.data_path = demo_track_set()
        logger.info("no --data_path given. %s", NOTICE)
    if arguments.tokenizer_path is not None:
        verify_vocabulary(arguments.tokenizer_path)
    if arguments.max_steps is None:
        arguments.max_steps = MAX_STEPS if arguments.max_minutes is None else UNLIMITED_STEPS
    settings = JointModelSettings(
        pretrain_path=str(arguments.pretrain_path),
        config=config_argument(arguments.config or ("" if arguments.pretrain_path else "lamar")),
        head=arguments.head,
        head_channels=arguments.head_channels,
        head_kernel_size=arguments.head_kernel_size,
        new_head=arguments.new_head,
        attention=backend_argument(arguments.attention),
    )
    results = finetune_all_rbps(
        arguments.data_path,
        arguments.output_dir,
        settings,
        JointOptions(**{name: getattr(arguments, name) for name in JointOptions.__dataclass_fields__}),
        hold_out=arguments.hold_out,
        min_sites=arguments.min_sites,
        prior=arguments.prior,
        arguments={key: value for key, value in vars(arguments).items() if key not in ("resume", "overwrite", "demo")},
        overwrite=arguments.overwrite,
        note=NOTICE if arguments.demo else "",
    )
    if arguments.demo:
        logger.info(NOTICE)
    logger.info("outputs: %s", arguments.output_dir)
    return results


def main(argv=None) -> int:
    arguments = parse_or_demo(build_parser(), argv, DEMO)
    log_training()
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
