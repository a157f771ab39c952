"""Figures of training: learning curves, ROC and precision-recall curves, scatter plots, written as PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..runs.figures import TITLE_LENGTH, new_figure, short_text
from ..runs.storage import atomic_write

__all__ = ["plot_learning_curves", "plot_loss_curve", "plot_regression", "plot_roc_pr"]


WARMUP_EPOCHS = "epoch (before 0: warm-up, the head alone is trained)"


def _figure(n_columns: int):
    figure, axes = new_figure(5.2 * n_columns, 4.2, 1, n_columns)
    return figure, axes[0]


def _save(figure, path: Path) -> None:
    with atomic_write(path, "wb") as handle:
        figure.savefig(handle, dpi=150, format="png")


def _colour(index: int) -> str:
    return f"C{index % 10}"


def plot_learning_curves(histories: dict[str, list[dict]], metric: str, path: Path, title: str = "") -> None:
    """Draw training and validation loss, and the validation metric, by epoch.

    Epochs of a warm-up stand to the left of a line at 0 and are explained below the axis.

    Parameters
    ----------
    histories : dict of list of dict
        The Trainer's log entries by fold, with keys ``epoch`` (negative in a warm-up), ``loss``, ``eval_loss``,
        ``eval_<metric>``.
    metric : str
        Name of the metric.
    path : path
        PNG file.
    title : str
    """
    figure, (left, right) = _figure(2)
    for index, (fold, history) in enumerate(histories.items()):
        for axis, key, style, label in (
            (left, "loss", "-", f"{fold}, training"),
            (left, "eval_loss", "--", f"{fold}, validation"),
            (right, f"eval_{metric}", "-", fold),
        ):
            points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
            if points:
                marker = "o" if key != "loss" else None
                axis.plot(*zip(*points), style, color=_colour(index), marker=marker, markersize=3, label=label)
    has_warmup = any(entry["epoch"] < 0 for history in histories.values() for entry in history)
    for axis, label in ((left, "loss"), (right, f"validation {metric.upper()}")):
        # The validation score is that of whole models, which a warm-up does not have.
        is_explained = has_warmup and axis is left
        axis.set(xlabel=WARMUP_EPOCHS if is_explained else "epoch", ylabel=label)
        if is_explained:
            axis.axvline(0, color="grey", linewidth=0.8, linestyle=":")
        axis.xaxis.get_major_locator().set_params(integer=True)
        if axis.lines:
            axis.legend(frameon=False, fontsize=8)
    figure.suptitle(short_text(title, TITLE_LENGTH))
    _save(figure, path)


def plot_loss_curve(rows: list[dict], chains: dict[str, float], path: Path, title: str = "") -> None:
    """Draw the masked-LM loss by tokens trained on, beside the loss of Markov chains.

    Parameters
    ----------
    rows : list of dict
        Entries with ``tokens``, ``train_loss``, and ``validation_loss`` or None.
    chains : dict of float
        Loss in nats by name.
    path : path
        PNG file.
    title : str
    """
    figure, (axis,) = _figure(1)
    for key, style, label in (("train_loss", "-", "training"), ("validation_loss", "o-", "validation")):
        points = [(row["tokens"], row[key]) for row in rows if row[key] is not None]
        if points:
            axis.plot(*zip(*points), style, markersize=3, label=label)
    for index, (name, loss) in enumerate(chains.items(), start=2):
        label = f"Markov chain, {name.replace('_', '-')}"
        axis.axhline(loss, color=_colour(index), linewidth=1, linestyle="--", label=label)
    axis.set(xlabel="tokens", ylabel="loss (nats)", title=short_text(title, TITLE_LENGTH))
    axis.legend(frameon=False, fontsize=8)
    _save(figure, path)


def plot_roc_pr(curves: dict[str, tuple[np.ndarray, np.ndarray]], path: Path, title: str = "") -> None:
    """Draw ROC and precision-recall curves of binary predictions.

    Parameters
    ----------
    curves : dict of (array, array)
        Labels 0/1, shape (n,), and probabilities of class 1, shape (n,), by legend name. Sets with one class are left
        out.
    path : path
        PNG file.
    title : str
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    from ..statistics.metrics import auprc, auroc

    figure, (left, right) = _figure(2)
    for index, (name, (labels, scores)) in enumerate(curves.items()):
        if len(np.unique(labels)) < 2:
            continue
        false_positive, true_positive, _ = roc_curve(labels, scores)
        precision, recall, _ = precision_recall_curve(labels, scores)
        left.plot(false_positive, true_positive, color=_colour(index), label=f"{name}: {auroc(labels, scores):.3f}")
        right.plot(
            recall,
            precision,
            color=_colour(index),
            drawstyle="steps-post",
            label=f"{name}: {auprc(labels, scores):.3f}",
        )
        right.axhline(np.mean(labels), color=_colour(index), linewidth=0.6, linestyle=":")
    left.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    left.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC (area)")
    right.set(xlabel="recall", ylabel="precision", title="precision-recall (average precision)", ylim=(0, 1.02))
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=8, loc="lower right" if axis is left else "lower left")
    figure.suptitle(short_text(title, TITLE_LENGTH))
    _save(figure, path)


def plot_regression(points: dict[str, tuple[np.ndarray, np.ndarray]], path: Path, title: str = "") -> None:
    """Draw predicted against measured values.

    Parameters
    ----------
    points : dict of (array, array)
        Targets, shape (n,), and predictions, shape (n,), by the title of their panel.
    path : path
        PNG file.
    title : str
    """
    figure, axes = _figure(len(points))
    for axis, (name, (targets, predictions)) in zip(axes, points.items()):
        axis.scatter(targets, predictions, s=6, alpha=0.4, linewidths=0)
        axis.set(xlabel="measured", ylabel="predicted", title=short_text(name))
    figure.suptitle(short_text(title, TITLE_LENGTH))
    _save(figure, path)
