"""Arguments of ``finetune_rbp.py``, group by group; names and defaults are those of `FinetuneOptions`."""

from __future__ import annotations

from ..data.split_methods import SPLITS
from ..tasks import HEADS, LOSSES, TASKS
from ..training.options import DEFAULTS, HEAD_LR, LR, SHIPPED_DEFAULTS, FinetuneOptions
from .arguments import add_column_arguments, add_length_arguments, add_part_arguments, not_negative, path, positive

__all__ = ["add_data_arguments", "add_epoch_arguments", "add_head_arguments", "add_sampling_arguments"]

DEFAULT = FinetuneOptions()


def _default(name: str) -> str:
    """Return the default of an option that depends on the weights, in words."""
    return f"default: {DEFAULTS[name]}, or {SHIPPED_DEFAULTS[name]} from the weights that ship"


def add_data_arguments(group) -> None:
    """Add the arguments that say which records there are, and how they are split."""
    group.add_argument("--rbp_name", help="data set in --data_path, and name of the output folder (default: its name)")
    group.add_argument(
        "--data_path",
        type=path,
        help="labelled data: a folder with train/dev/test.csv, NAME.positives.fa and NAME.negatives.fa (or "
        "NAME.train.positives.fa ... for each part), one CSV/TSV, "
        "a Hugging Face save_to_disk folder, HDF5, or a folder of make_track_dataset.py of which --rbp_name is a track "
        "(default: the synthetic demo set)",
    )
    add_column_arguments(group)
    group.add_argument(
        "--split",
        choices=SPLITS.names,
        default=DEFAULT.split,
        help="how train, dev and test are made; auto keeps the data set's own parts, else draws at random "
        "(default: %(default)s)",
    )
    add_part_arguments(group)
    add_length_arguments(group, DEFAULT.max_length)
    group.add_argument(
        "--nlabels",
        type=positive(int),
        default=DEFAULT.nlabels,
        help="classes, or 1 for regression (default: %(default)s)",
    )


def add_sampling_arguments(group) -> None:
    """Add the arguments of folds, and of draws of few records."""
    group.add_argument(
        "--cv_folds",
        type=positive(int),
        default=DEFAULT.cv_folds,
        help="folds of train and dev together; 1: no folds, train on train and choose on dev (default: %(default)s)",
    )
    group.add_argument("--subsample_pos", type=positive(int), help="positives to draw from each training part")
    group.add_argument("--subsample_neg", type=positive(int), help="negatives to draw from each training part")
    group.add_argument(
        "--draws",
        type=positive(int),
        default=DEFAULT.draws,
        help="with --cv_folds 1 and --subsample_*: number of draws, each with its own model, in place of folds "
        "(default: %(default)s)",
    )


def add_head_arguments(group) -> None:
    """Add the arguments of head and loss, and of the part of the model that is trained."""
    heads = ", ".join(f"{entry.name} ({entry.label})" for entry in HEADS.values())
    losses = ", ".join(f"{entry.name} ({entry.label})" for entry in LOSSES.values())
    defaults = ", ".join(f"{task.loss} for {name}" for name, task in TASKS.items() if name != "multilabel")
    group.add_argument("--head", choices=HEADS.names, help=f"{heads}; {_default('head')}")
    group.add_argument(
        "--loss",
        choices=LOSSES.names,
        help=f"{losses}; bce is for several yes/no labels per record (default: {defaults})",
    )
    group.add_argument(
        "--track",
        help="start with the head of this output of --pretrain_path, a model of many RBPs, such as QKI_K562 "
        "(default: a new head)",
    )
    group.add_argument("--freeze_encoder", action="store_true", help="train the head only, on features computed once")
    group.add_argument("--lora_rank", type=positive(int), help="train low-rank updates of this rank and the head")


def add_epoch_arguments(group) -> None:
    """Add the arguments of a training that is counted in epochs."""
    best = " or ".join(dict.fromkeys(task.best_metric for task in TASKS.values()))
    group.add_argument("--epochs", type=positive(int), default=DEFAULT.epochs, help="default: %(default)s")
    group.add_argument("--batch_size", type=positive(int), help=f"per process ({_default('batch_size')})")
    group.add_argument(
        "--eval_batch_size", type=positive(int), default=DEFAULT.eval_batch_size, help="default: %(default)s"
    )
    group.add_argument(
        "--lr",
        type=positive(float),
        help=f"peak learning rate (default: {LR}, {SHIPPED_DEFAULTS['lr']} from the weights that ship, {HEAD_LR} with "
        "--freeze_encoder and in warm-up epochs)",
    )
    group.add_argument(
        "--warmup_epochs",
        type=not_negative(int),
        default=DEFAULT.warmup_epochs,
        help="epochs of the head alone before the encoder is trained too (default: %(default)s)",
    )
    group.add_argument(
        "--early_stopping_patience",
        type=positive(int),
        help="epochs without a better validation score before training stops (default: off)",
    )
    group.add_argument("--metric_for_best", help=f"metric that chooses the epoch (default: {best})")
    group.add_argument(
        "--save_epochs",
        type=positive(int),
        default=DEFAULT.save_epochs,
        help="epochs between two evaluations, each with a checkpoint (default: %(default)s)",
    )
