"""Arguments of ``pretrain.py``, group by group; names and defaults are those of `PretrainOptions`."""

from __future__ import annotations

from ..training.options import MAX_STEPS
from ..training.pretrain_options import TOKEN_BUDGET, WARMUP_STEPS, PretrainOptions
from ..training.schedules import SCHEDULES
from .arguments import column, fraction, not_negative, number, path, positive

__all__ = [
    "add_corpus_arguments",
    "add_evaluation_arguments",
    "add_masking_arguments",
    "add_shape_arguments",
    "add_step_arguments",
    "share",
]

DEFAULT = PretrainOptions()
SHAPE = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers")

share = number(float, "more than 0 and less than 1", lambda value: 0 < value < 1)


def add_corpus_arguments(group) -> None:
    """Add the arguments that say what is trained on, what is held out, and what must stay unseen."""
    group.add_argument(
        "--data_path",
        type=path,
        nargs="+",
        help="FASTA, text with a sequence a line, window metadata of preprocess.py (jsonl, json), CSV, TSV or Parquet "
        "with a column sequence, or folders of these; gzipped or plain (default: the synthetic demo set)",
    )
    group.add_argument(
        "--val_data", type=path, nargs="+", default=[], help="files to validate on, in any of these forms"
    )
    group.add_argument(
        "--val_fraction",
        type=share,
        default=DEFAULT.val_fraction,
        help="without --val_data: share of the sequences held out (default: %(default)s)",
    )
    group.add_argument(
        "--val_nucleotides",
        type=positive(int),
        default=DEFAULT.val_nucleotides,
        help="held-out nucleotides to validate on, approximately at most (default: %(default)s)",
    )
    group.add_argument(
        "--exclude", type=path, nargs="+", default=[], help="files of what must stay unseen, such as test sets"
    )
    group.add_argument(
        "--exclude_run",
        type=number(int, "0, or 12 to 1000", lambda value: value == 0 or 12 <= value <= 1000),
        default=DEFAULT.exclude_run,
        help="leave out training records that share that many nt in a row with a validation sequence or one of "
        "--exclude; 0 leaves out only equals of validation sequences (default: %(default)s)",
    )
    group.add_argument(
        "--sequence_column", type=column, help="column or key of sequences in tables (default: sequence or seq)"
    )
    group.add_argument(
        "--streaming",
        action="store_true",
        help="read the files again in each pass instead of keeping them in memory; copies of a sequence then stay",
    )
    group.add_argument(
        "--keep_duplicates", action="store_true", help="train on every copy of a sequence, not only the first"
    )
    group.add_argument(
        "--model_max_length",
        type=number(int, "10 or more", lambda value: 10 <= value < 2**31),
        default=DEFAULT.model_max_length,
        help="largest number of tokens of a window, two of them special; longer sequences are cut into windows "
        "(default: %(default)s)",
    )


def add_shape_arguments(group) -> None:
    """Add the arguments that replace values of the configuration."""
    for name in SHAPE:
        group.add_argument(f"--{name}", type=positive(int), help="in place of the configuration's")
    group.add_argument("--flash_attention", action="store_true", help="same as --attention flash")
    group.add_argument("--compile", action="store_true", help="use torch.compile")


def add_masking_arguments(group) -> None:
    """Add the arguments of the masks."""
    group.add_argument(
        "--mask_rate", type=share, default=DEFAULT.mask_rate, help="share to predict (default: %(default)s)"
    )
    group.add_argument(
        "--val_mask_rate",
        type=share,
        default=DEFAULT.val_mask_rate,
        help="share to predict in validation, where all of it is masked (default: %(default)s)",
    )
    group.add_argument(
        "--region_rates",
        type=positive(float),
        nargs=2,
        metavar=("INSIDE", "OUTSIDE"),
        help="predict more in the peaks of window metadata, in this ratio; each window's share stays --mask_rate",
    )
    group.add_argument(
        "--span_length",
        type=positive(int),
        default=DEFAULT.span_length,
        help="nucleotides masked in a row (default: %(default)s)",
    )
    group.add_argument(
        "--data_collator_patch",
        action="store_true",
        help="replace nucleotides by nucleotides only (this is always so)",
    )


def add_step_arguments(group) -> None:
    """Add the arguments of a training that is counted in steps or minutes."""
    size = group.add_mutually_exclusive_group()
    size.add_argument(
        "--token_budget",
        type=positive(int),
        help=f"tokens in a batch of one process, padding included (default: {TOKEN_BUDGET})",
    )
    size.add_argument("--batch_size", type=positive(int), help="the same as a number of windows of --model_max_length")
    group.add_argument("--max_steps", type=positive(int), help=f"default: {MAX_STEPS}, or with --max_minutes no limit")
    group.add_argument(
        "--max_minutes",
        type=positive(float),
        help="minutes of training, over all starts; a trapezoid's learning rate falls in time (default: no limit)",
    )
    group.add_argument(
        "--peak_lr", type=positive(float), default=DEFAULT.peak_lr, help="learning rate (default: %(default)s)"
    )
    group.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default=DEFAULT.schedule,
        help="after the warm-up: constant and then falling, or falling (default: %(default)s)",
    )
    group.add_argument(
        "--warmup_steps",
        type=not_negative(int),
        help=f"steps with a rising rate (default: by --warmup_ratio, or {WARMUP_STEPS} with --max_minutes alone)",
    )
    group.add_argument(
        "--decay_ratio",
        type=fraction,
        default=DEFAULT.decay_ratio,
        help="trapezoid: share of the steps with a falling rate (default: %(default)s)",
    )


def add_evaluation_arguments(group) -> None:
    """Add the arguments of evaluation and checkpoints."""
    group.add_argument(
        "--markov_order",
        type=number(int, "0 to 12", lambda value: 0 <= value <= 12),
        default=DEFAULT.markov_order,
        help="largest order of the Markov chains to compare with (default: %(default)s)",
    )
    group.add_argument(
        "--save_steps",
        type=positive(int),
        default=DEFAULT.save_steps,
        help="steps between two checkpoints (default: %(default)s)",
    )
    group.add_argument("--eval_steps", type=positive(int), help="steps between two evaluations (default: --save_steps)")
