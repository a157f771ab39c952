"""What a finished fine-tuning run says: figures by fold, intervals, prediction tables, closing text."""

from __future__ import annotations

import warnings

import numpy as np

from ..statistics import metrics
from ..statistics.bootstrap import bootstrap_intervals

__all__ = ["closing_table", "describe", "fold_figures", "judged_sets", "prediction_rows", "summarise", "task_metrics"]

PARTS = ("validation", "heldout", "test")
INTERVAL_METRICS = {
    "classification": ("auroc", "auprc", "accuracy", "f1", "mcc"),
    "regression": ("pearson", "spearman", "mse"),
}


def task_metrics(labels: np.ndarray, predictions: np.ndarray, task: str) -> dict[str, float]:
    """The metrics of :mod:`LAMAR.statistics.metrics` for a task; undefined ones are NaN."""
    with warnings.catch_warnings():
        # Undefined metrics stay NaN in the tables; a line per fold and epoch would bury the other messages.
        warnings.simplefilter("ignore", RuntimeWarning)
        if task == "regression":
            return metrics.regression_metrics(labels, predictions)
        if task == "multilabel":
            return metrics.multilabel_metrics(labels, predictions)
        return metrics.classification_metrics(labels, predictions)


def _scored(labels, predictions, task) -> dict[str, float]:
    predictions = np.asarray(predictions, dtype=np.float64)
    if not len(predictions) or not np.isfinite(predictions).all():
        return {}
    return task_metrics(labels, predictions, task)


def _mean_sd(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    rows = [row for row in rows if row]
    if not rows:
        return {}
    summary = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        summary[name] = {
            "mean": float(values.mean()),
            "sd": float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
            "n": len(values),
        }
    return summary


def _with_intervals(labels, predictions, task, seed) -> dict[str, dict[str, float]]:
    values = _scored(labels, predictions, task)
    summary = {name: {"value": value} for name, value in values.items()}
    wanted = [name for name in INTERVAL_METRICS.get(task, ()) if np.isfinite(values.get(name, np.nan))]
    if wanted:
        with warnings.catch_warnings():
            # A resample in which a metric is undefined is counted by the function and left out.
            warnings.simplefilter("ignore", RuntimeWarning)
            intervals = bootstrap_intervals(labels, predictions, wanted, seed=seed, task=task)
        for name, (low, high) in intervals.items():
            summary[name].update(low=low, high=high)
    return summary


def fold_figures(result: dict, labels: np.ndarray, task: str) -> dict:
    """Sizes, best epoch, diagnosis, and metrics by part, of one fold; a part without records is absent."""
    entry = {
        key: result[key] for key in ("fold", "seed", "n_train", "n_validation", "best_epoch", "collapsed", "seconds")
    }
    for part in PARTS:
        indices = np.array(result["indices"][part], dtype=np.int64)
        if len(indices):
            entry[part] = _scored(labels[indices], result["predictions"][part], task)
    return entry


def summarise(results: list[dict], labels: np.ndarray, task: str, seed: int) -> tuple[dict, list[dict]]:
    """Figures of a finished run.

    Parameters
    ----------
    results
        Of :func:`train_fold`, by fold.

    Returns
    -------
    summary, rows
        ``summary``: per fold, mean, sd and number of folds (``cross_validation`` on held-out parts, ``test``), pooled
        out-of-fold predictions, and the mean of the fold models' predictions on the test part
        (``test_ensemble``), the last two with bootstrap 95 % intervals. ``rows``: one flat row per fold and part.
    """
    folds, rows = [], []
    for result in results:
        entry = fold_figures(result, labels, task)
        folds.append(entry)
        rows += [
            {
                "fold": result["fold"],
                "evaluated_on": part,
                "n_train": result["n_train"],
                "n_evaluated": len(result["indices"][part]),
                "collapsed": result["collapsed"]["kind"] if result["collapsed"] else "",
                **entry[part],
            }
            for part in PARTS
            if part in entry
        ]
    summary = {
        "collapsed": {fold["fold"]: fold["collapsed"]["kind"] for fold in folds if fold["collapsed"]},
        "folds": folds,
        "cross_validation": _mean_sd([fold.get("heldout", {}) for fold in folds]),
        "test": _mean_sd([fold.get("test", {}) for fold in folds]),
    }
    heldout = np.concatenate([np.array(r["indices"]["heldout"], dtype=np.int64) for r in results])
    if len(heldout):
        pooled = np.concatenate([np.array(r["predictions"]["heldout"], dtype=np.float64) for r in results])
        summary["out_of_fold"] = _with_intervals(labels[heldout], pooled, task, seed)
    test = np.array(results[0]["indices"]["test"], dtype=np.int64)
    if len(test):
        mean = np.mean([np.array(r["predictions"]["test"], dtype=np.float64) for r in results], axis=0)
        summary["test_ensemble"] = _with_intervals(labels[test], mean, task, seed)
        flat = {name: figures["value"] for name, figures in summary["test_ensemble"].items()}
        rows.append(
            {
                "fold": "mean of folds",
                "evaluated_on": "test",
                "n_train": "",
                "n_evaluated": len(test),
                "collapsed": "",
                **flat,
            }
        )
    # A part that was predicted with no finite number has no figures; its row has their columns all the same.
    columns = dict.fromkeys(name for row in rows for name in row)
    return summary, [{name: row.get(name) for name in columns} for row in rows]


def judged_sets(results: list[dict], labels: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Labels and predictions that a figure shows, by legend: out of fold (or dev, with one fold) and test.

    Sets with a prediction that is not finite are left out.
    """
    sets = {}
    for part, legend in (("heldout", "out of fold"), ("validation", "dev"), ("test", "test, mean of folds")):
        indices = [np.array(result["indices"][part], dtype=np.int64) for result in results]
        values = [np.array(result["predictions"][part], dtype=np.float64) for result in results]
        if not len(indices[0]) or (part == "validation" and len(results) > 1):
            continue
        if part == "test":
            sets[legend] = (labels[indices[0]], np.mean(values, axis=0))
        else:
            sets[legend] = (labels[np.concatenate(indices)], np.concatenate(values))
    return {legend: pair for legend, pair in sets.items() if np.isfinite(pair[1]).all()}


def prediction_rows(results: list[dict], dataset, task: str) -> list[dict]:
    """One row per record and model: validation, out-of-fold and test predictions, and their mean on test."""
    rows = []

    def add(index: int, part: str, fold: str, values) -> None:
        row = {"record": dataset.ids[index], "index": index}
        if dataset.chrom is not None:
            row.update(
                chrom=dataset.chrom[index],
                start=int(dataset.start[index]),
                end=int(dataset.end[index]),
                strand=dataset.strand[index],
            )
        row.update(evaluated_on=part, fold=fold)
        label = dataset.labels[index]
        values = np.atleast_1d(np.asarray(values, dtype=np.float64))
        if task == "multilabel":
            row.update({f"label_{k}": int(value) for k, value in enumerate(label)})
        else:
            row["label"] = label.item()
        if task == "regression":
            row["prediction"] = float(values[0])
        elif task == "classification" and len(values) == 2:
            row["probability"] = float(values[1])
        else:
            row.update({f"probability_{k}": float(value) for k, value in enumerate(values)})
        rows.append(row)

    for part in ("heldout", "validation", "test"):
        # Inner validation chose the epoch; its figures are worth showing only where there is no held-out part.
        if part == "validation" and len(results) > 1:
            continue
        for result in results:
            for index, values in zip(result["indices"][part], result["predictions"][part]):
                add(index, part, result["fold"], values)
    if len(results) > 1:
        mean = np.mean([np.array(r["predictions"]["test"], dtype=np.float64) for r in results], axis=0)
        for index, values in zip(results[0]["indices"]["test"], mean):
            add(index, "test", "mean of folds", values)
    return rows


def describe(result: dict, labels: np.ndarray, task: str) -> str:
    """One line on a finished fold."""
    fold = fold_figures(result, labels, task)
    parts = [
        f"{part} " + " ".join(f"{name} {fold[part][name]:.4f}" for name in _headline(task) if name in fold[part])
        for part in ("heldout", "test")
        if fold.get(part)
    ]
    line = f"{fold['fold']}: best epoch {fold['best_epoch']}, {'; '.join(parts)} ({fold['seconds']} s)"
    if fold["collapsed"]:
        collapse = fold["collapsed"]
        line += f"\n  COLLAPSED ({collapse['kind']}): {collapse['evidence']}. Try {collapse['try']}"
    return line


def _headline(task: str) -> tuple[str, str]:
    return ("pearson", "spearman") if task == "regression" else ("auroc", "auprc")


def closing_table(summary: dict, task: str) -> str:
    """The figures a reader wants first, as aligned text."""
    lines = []
    for key, title in (
        ("cross_validation", "held-out parts, mean and sd over folds"),
        ("out_of_fold", "out-of-fold predictions, 95 % interval"),
        ("test", "test part, mean and sd over fold models"),
        ("test_ensemble", "test part, mean of fold models, 95 % interval"),
    ):
        figures = []
        for name in _headline(task):
            figure = summary.get(key, {}).get(name)
            if not figure:
                continue
            if "mean" in figure:
                if len(summary["folds"]) == 1:
                    continue
                figures.append(f"{name} {figure['mean']:.4f} ± {figure['sd']:.4f}")
            else:
                interval = f" ({figure['low']:.4f} to {figure['high']:.4f})" if "low" in figure else ""
                figures.append(f"{name} {figure['value']:.4f}{interval}")
        if figures:
            lines.append(f"{title:<48}{'   '.join(figures)}")
    if summary["collapsed"]:
        named = ", ".join(f"{fold} ({kind})" for fold, kind in summary["collapsed"].items())
        lines.append(f"COLLAPSED: {named}; see eval_results.json")
    return "\n".join(lines)
