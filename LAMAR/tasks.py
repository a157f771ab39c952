"""The heads, losses and tasks of sequence-level prediction, each described in one place.

The tables are import-light: parsers list their choices without torch. To add a head, write its module in
`LAMAR.sequence_classification_patch` and add one entry to `HEADS`; configuration, model, frozen-feature training and
the scripts' parsers read it from there.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import InputError
from .registry import Entry, Registry

__all__ = ["HEADS", "LOSSES", "TASKS", "Head", "Loss", "Task", "check_loss", "task_of"]


@dataclass(frozen=True)
class Head(Entry):
    """A classification head; ``function`` builds its module from an ``EsmConfig``.

    Attributes
    ----------
    pooling : {"cls", "mean", "max", "none"}
        What the head reads of the encoder's last hidden state, which is also what is stored of a frozen encoder:
        the ``<cls>`` embedding, the mean or the maximum over nucleotides, or every position (``none``).
    """

    pooling: str = "none"


@dataclass(frozen=True)
class Loss(Entry):
    """A training loss; ``function`` takes float32 logits, labels and the ``options`` by name.

    Attributes
    ----------
    tasks : tuple of str
        Names of the tasks that the loss fits.
    """

    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task(Entry):
    """A kind of label; ``function`` computes its metrics from labels and predictions.

    Attributes
    ----------
    loss : str
        Name of the default loss.
    best_metric : str
        Name of the metric that chooses the epoch unless the user names another.
    """

    loss: str = ""
    best_metric: str = ""


_MODULES = "LAMAR.sequence_classification_patch"
_METRICS = "LAMAR.statistics.metrics"

HEADS: Registry[Head] = Registry(
    "head",
    (
        Head("linear", "dense layer and projection of <cls>", f"{_MODULES}:LinearHead", pooling="cls"),
        Head("mean", "projection of the mean nucleotide embedding", f"{_MODULES}:MeanHead", pooling="mean"),
        Head(
            "cnn",
            "two convolutions over nucleotides and their maximum",
            f"{_MODULES}:CNNHead",
            options=("head_channels", "head_kernel_size"),
            pooling="none",
        ),
        Head("attention", "attention pooling over nucleotides", f"{_MODULES}:AttentionHead", pooling="none"),
        Head(
            "max_mean",
            "maximum of a convolution over nucleotides, beside their mean",
            f"{_MODULES}:MaxMeanHead",
            options=("head_channels", "head_kernel_size"),
            pooling="none",
        ),
    ),
)

LOSSES: Registry[Loss] = Registry(
    "loss",
    (
        Loss("ce", "cross-entropy", f"{_MODULES}:cross_entropy", tasks=("classification",)),
        Loss("focal", "focal loss", f"{_MODULES}:focal", options=("focal_gamma",), tasks=("classification",)),
        Loss("mse", "mean squared error", f"{_MODULES}:squared_error", tasks=("regression",)),
        Loss("bce", "binary cross-entropy of each label", f"{_MODULES}:binary_cross_entropy", tasks=("multilabel",)),
    ),
)

TASKS: Registry[Task] = Registry(
    "task",
    (
        Task(
            "classification",
            "one class per sequence",
            f"{_METRICS}:classification_metrics",
            loss="ce",
            best_metric="auprc",
        ),
        Task(
            "regression",
            "one number per sequence",
            f"{_METRICS}:regression_metrics",
            loss="mse",
            best_metric="pearson",
        ),
        Task(
            "multilabel",
            "several yes/no labels per sequence",
            f"{_METRICS}:multilabel_metrics",
            loss="bce",
            best_metric="auprc",
        ),
    ),
)


def task_of(nlabels: int, loss: str | None) -> str:
    """Return the name of the task that a model with that many outputs and that loss was made for.

    Parameters
    ----------
    nlabels : int
        Number of the model's outputs (``config.num_labels``).
    loss : str or None
        Name of the loss (``config.loss_type``); None for the task's default.

    Returns
    -------
    str
        ``regression`` for one output, ``multilabel`` where the loss fits that task, else ``classification``.
    """
    if nlabels == 1:
        return "regression"
    return "multilabel" if loss in LOSSES and LOSSES[loss].tasks == ("multilabel",) else "classification"


def check_loss(nlabels: int, loss: str | None) -> str:
    """Return the task (see `task_of`) of a model to be trained, after checking that its loss fits.

    Raises
    ------
    InputError
        For a loss that is unknown or does not fit the number of labels.
    """
    task = task_of(nlabels, loss)
    if loss is None or task in LOSSES.choose(loss).tasks:
        return task
    if LOSSES[loss].tasks == ("multilabel",):
        raise InputError(f"`loss` {loss}: found `nlabels` {nlabels}, wanted 2 or more yes/no labels")
    raise InputError(f"`loss` {loss} does not fit `nlabels` {nlabels} ({task})")
