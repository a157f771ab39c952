"""Arguments of ``finetune_all_rbps.py``, group by group; names and defaults are those of `JointOptions`."""

from __future__ import annotations

from pathlib import Path

from ..tasks import HEADS
from ..training.multi_rbp_options import DEFAULT_HEAD, JOINT_HEADS, JointOptions
from ..training.options import MAX_STEPS
from .arguments import (
    add_optimiser_arguments,
    add_run_arguments,
    fraction,
    names,
    not_negative,
    number,
    path,
    positive,
)

__all__ = ["add_data_arguments", "add_evaluation_arguments", "add_head_arguments", "add_step_arguments"]

DEFAULT = JointOptions()


def add_data_arguments(group) -> None:
    """Add the arguments that say which windows and tracks are trained on."""
    group.add_argument("--data_path", type=path, help="folder of make_track_dataset.py (default: a synthetic set)")
    group.add_argument(
        "--hold_out",
        type=names,
        default=list(DEFAULT.hold_out),
        metavar="TARGETS",
        help="train without these RBPs, joined by commas, in all cell lines, and without windows that only they bind",
    )
    group.add_argument(
        "--min_sites",
        type=positive(int),
        default=DEFAULT.min_sites,
        help="leave out tracks with fewer bound train windows (default: %(default)s)",
    )


def add_head_arguments(group) -> None:
    """Add the arguments of the head."""
    heads = ", ".join(f"{name} ({HEADS[name].label})" for name in JOINT_HEADS)
    group.add_argument(
        "--head", choices=JOINT_HEADS, help=f"{heads}; default: {DEFAULT_HEAD}, or that of --pretrain_path"
    )
    group.add_argument(
        "--head_channels",
        type=positive(int),
        default=DEFAULT.head_channels,
        help="width of its convolution (default: %(default)s)",
    )
    group.add_argument(
        "--head_kernel_size", type=positive(int), default=DEFAULT.head_kernel_size, help="nt (default: %(default)s)"
    )
    group.add_argument("--new_head", action="store_true", help="start with a new head where the weights have one")


def add_step_arguments(group) -> None:
    """Add the arguments of a training that is counted in steps or minutes, with a rate each for head and encoder."""
    group.add_argument(
        "--batch_size", type=positive(int), default=DEFAULT.batch_size, help="per process (default: %(default)s)"
    )
    group.add_argument("--max_steps", type=positive(int), help=f"default: {MAX_STEPS}, or with --max_minutes no limit")
    group.add_argument(
        "--max_minutes",
        type=positive(float),
        help="minutes of training, over all starts; the learning rate falls in time (default: no limit)",
    )
    for name in ("head_lr", "encoder_lr"):
        group.add_argument(
            f"--{name}", type=positive(float), default=getattr(DEFAULT, name), help="default: %(default)s"
        )
    group.add_argument(
        "--warmup_steps",
        type=not_negative(int),
        default=DEFAULT.warmup_steps,
        help="steps with a rising rate (default: %(default)s)",
    )
    group.add_argument(
        "--decay_ratio",
        type=fraction,
        default=DEFAULT.decay_ratio,
        help="share of the steps with a falling rate (default: %(default)s)",
    )
    add_optimiser_arguments(group)
    group.add_argument(
        "--track_power",
        type=number(float, "a number from -1 to 1", lambda value: -1 <= value <= 1),
        default=DEFAULT.track_power,
        help="a track's weight in the loss is its number of sites to this power; below 0 favours small tracks "
        "(default: %(default)s)",
    )


def add_evaluation_arguments(group) -> None:
    """Add the arguments of evaluation, checkpoints and output folder."""
    group.add_argument(
        "--eval_steps",
        type=positive(int),
        default=DEFAULT.eval_steps,
        help="steps between two evaluations (default: %(default)s)",
    )
    group.add_argument(
        "--save_steps",
        type=positive(int),
        default=DEFAULT.save_steps,
        help="steps between two checkpoints (default: %(default)s)",
    )
    group.add_argument(
        "--dev_windows",
        type=positive(int),
        default=DEFAULT.dev_windows,
        help="dev windows of evaluations during training, drawn once; the final one uses all (default: %(default)s)",
    )
    group.add_argument(
        "--prior",
        type=number(float, "more than 0, at most 1", lambda value: 0 < value <= 1),
        default=DEFAULT.prior,
        help="sites per background window that calibrated probabilities assume (default: %(default)s)",
    )
    add_run_arguments(group, Path("models") / "all_rbps")
