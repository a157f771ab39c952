"""Figures of a finished fine-tuning run: metrics by fold, intervals, prediction tables, closing text."""

from __future__ import annotations

import warnings

import numpy as np

from ..data.labelled import LabelledSet
from ..statistics.bootstrap import TASKS as RESAMPLED_TASKS
from ..statistics.bootstrap import bootstrap_intervals
from ..statistics.checks import classification_records
from ..statistics.metrics import METRICS, headline_metrics, metric_names, metric_value, reported_metrics
from ..tasks import TASKS

__all__ = [
    "ORDER_METRICS",
    "closing_table",
    "describe",
    "fold_figures",
    "judged_sets",
    "mean_on_test",
    "mean_sd",
    "prediction_rows",
    "scored",
    "summarise",
    "task_metrics",
]

PARTS = ("validation", "heldout", "test")
ORDER_METRICS = tuple(name for name in metric_names("classification") if METRICS[name].any_score)
SCALE_GAP = 0.02  # between the AUROC of pooled ranks and that of pooled probabilities


def task_metrics(labels: np.ndarray, predictions: np.ndarray, task: str) -> dict[str, float]:
    """Return all metrics of a task (`LAMAR.tasks.TASKS`); undefined ones are NaN."""
    with warnings.catch_warnings():
        # Undefined metrics stay NaN in the tables; a line per fold and epoch would bury the other messages.
        warnings.simplefilter("ignore", RuntimeWarning)
        return TASKS[task].load()(labels, predictions)


def scored(labels: np.ndarray, predictions: np.ndarray, task: str) -> dict[str, float]:
    """Return all metrics of a task; none for no records, or predictions that are not finite."""
    predictions = np.asarray(predictions, dtype=np.float64)
    if not len(predictions) or not np.isfinite(predictions).all():
        return {}
    return task_metrics(labels, predictions, task)


def mean_sd(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return ``mean``, ``sd`` and ``n`` of each metric over folds; folds without metrics do not count."""
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
    values = scored(labels, predictions, task)
    summary = {name: {"value": value} for name, value in values.items()}
    wanted = [name for name in reported_metrics(task) if np.isfinite(values.get(name, np.nan))]
    if wanted and task in RESAMPLED_TASKS:
        with warnings.catch_warnings():
            # The function leaves resamples out in which a metric is undefined, and warns.
            warnings.simplefilter("ignore", RuntimeWarning)
            intervals = bootstrap_intervals(labels, predictions, wanted, seed=seed, task=task)
        for name, (low, high) in intervals.items():
            summary[name].update(low=low, high=high)
    return summary


def _on_rank_scale(predictions: np.ndarray) -> np.ndarray:
    """Return the share of records with a lower prediction, a tie counting one half, for each class; shape (n, k)."""
    from scipy.stats import rankdata

    return (rankdata(predictions, axis=0) - 0.5) / len(predictions)


def _rank_figures(results: list[dict], labels: np.ndarray, seed: int) -> dict[str, dict[str, float]]:
    """Return the metrics that need an order only, of held-out predictions that are pooled as ranks within folds."""
    pooled = np.concatenate([_on_rank_scale(np.array(r["predictions"]["heldout"])) for r in results])
    if not np.isfinite(pooled).all():
        return {}
    names = list(ORDER_METRICS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        records = classification_records(labels, pooled, "ranks", probabilities=False)
        values = {name: metric_value(name, records) for name in names}
        intervals = bootstrap_intervals(labels, pooled, names, seed=seed)
    return {name: {"value": values[name], "low": low, "high": high} for name, (low, high) in intervals.items()}


def fold_figures(result: dict, labels: np.ndarray, task: str) -> dict:
    """Return sizes, best epoch, diagnosis, and metrics by part, of one fold; a part without records is absent.

    Parameters
    ----------
    result : dict
        From `LAMAR.training.fold_training.train_fold`.
    labels : array, shape (n,) or (n, n_labels)
        Labels of all records.
    task : str
    """
    entry = {
        key: result[key] for key in ("fold", "seed", "n_train", "n_validation", "best_epoch", "collapsed", "seconds")
    }
    entry["under_trained"] = result.get("under_trained")  # not in results of earlier versions
    for part in PARTS:
        indices = np.array(result["indices"][part], dtype=np.int64)
        if len(indices):
            entry[part] = scored(labels[indices], result["predictions"][part], task)
    return entry


def _row(result: dict, part: str, figures: dict[str, float]) -> dict:
    return {
        "fold": result["fold"],
        "evaluated_on": part,
        "n_train": result["n_train"],
        "n_evaluated": len(result["indices"][part]),
        "collapsed": result["collapsed"]["kind"] if result["collapsed"] else "",
        **figures,
    }


def mean_on_test(results: list[dict]) -> np.ndarray:
    """Return the mean over folds of predictions on the test part."""
    return np.mean([np.array(result["predictions"]["test"], dtype=np.float64) for result in results], axis=0)


def summarise(results: list[dict], labels: np.ndarray, task: str, seed: int) -> tuple[dict, list[dict]]:
    """Return the figures of a finished run.

    Parameters
    ----------
    results : list of dict
        From `LAMAR.training.fold_training.train_fold`, one per fold.
    labels : array, shape (n,) or (n, n_labels)
        Labels of all records.
    task : str
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    summary : dict
        Figures per fold; mean, standard deviation and number of folds (``cross_validation`` on held-out parts,
        ``test``); pooled out-of-fold predictions (``out_of_fold``), for classes also pooled as ranks within their fold
        (``out_of_fold_ranks``), and the mean of the fold models' predictions on the test part (``test_ensemble``),
        these three with 95 % bootstrap intervals. The models of two folds need not be on one scale: pooled as they are,
        the predictions of a fold may all lie above those of another, and a pooled AUROC far below that of each fold
        says this and nothing about the order within folds. Ranks assume that folds hold the classes in like shares.
    rows : list of dict
        One row per fold and part, all with the same columns.
    """
    folds = [fold_figures(result, labels, task) for result in results]
    rows = [_row(result, part, entry[part]) for result, entry in zip(results, folds) for part in PARTS if part in entry]
    summary = {
        "collapsed": {fold["fold"]: fold["collapsed"]["kind"] for fold in folds if fold["collapsed"]},
        "under_trained": {fold["fold"]: fold["under_trained"]["evidence"] for fold in folds if fold["under_trained"]},
        "folds": folds,
        "cross_validation": mean_sd([fold.get("heldout", {}) for fold in folds]),
        "test": mean_sd([fold.get("test", {}) for fold in folds]),
    }
    heldout = np.concatenate([np.array(r["indices"]["heldout"], dtype=np.int64) for r in results])
    if len(heldout):
        pooled = np.concatenate([np.array(r["predictions"]["heldout"], dtype=np.float64) for r in results])
        summary["out_of_fold"] = _with_intervals(labels[heldout], pooled, task, seed)
        if task == "classification":
            summary["out_of_fold_ranks"] = _rank_figures(results, labels[heldout], seed)
    test = np.array(results[0]["indices"]["test"], dtype=np.int64)
    if len(test):
        summary["test_ensemble"] = _with_intervals(labels[test], mean_on_test(results), task, seed)
        ensemble = {"fold": "mean of folds", "n_train": "", "indices": {"test": test}, "collapsed": None}
        figures = {name: figure["value"] for name, figure in summary["test_ensemble"].items()}
        rows.append(_row(ensemble, "test", figures))
    # A part with predictions that are not finite has no figures, but a row with the same columns.
    columns = dict.fromkeys(name for row in rows for name in row)
    return summary, [{name: row.get(name) for name in columns} for row in rows]


def judged_sets(results: list[dict], labels: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return labels and predictions that a figure shows, by legend: out of fold (one fold: dev), and test.

    Sets with a prediction that is not finite are left out.
    """
    sets = {}
    for part, legend in (("heldout", "out of fold"), ("validation", "dev"), ("test", "test, mean of folds")):
        indices = [np.array(result["indices"][part], dtype=np.int64) for result in results]
        if not len(indices[0]) or (part == "validation" and len(results) > 1):
            continue
        if part == "test":
            sets[legend] = (labels[indices[0]], mean_on_test(results))
            continue
        values = [np.array(result["predictions"][part], dtype=np.float64) for result in results]
        of_set = labels[np.concatenate(indices)]
        sets[legend] = (of_set, np.concatenate(values))
        if part == "heldout" and labels.ndim == 1 and values[0].ndim == 2:
            sets["the same, as ranks within folds"] = (of_set, np.concatenate(list(map(_on_rank_scale, values))))
    return {legend: pair for legend, pair in sets.items() if np.isfinite(pair[1]).all()}


def _prediction_row(dataset: LabelledSet, task: str, index: int, part: str, fold: str, values) -> dict:
    row = {"record": dataset.ids[index], "index": index}
    # A table may have the chromosome alone, which is all that a split by chromosome needs.
    if dataset.chrom is not None:
        columns = {name: getattr(dataset, name) for name in ("chrom", "start", "end", "strand")}
        row.update({name: values[index].item() for name, values in columns.items() if values is not None})
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
    return row


def prediction_rows(results: list[dict], dataset: LabelledSet, task: str) -> list[dict]:
    """Return one row per record and model: validation, out-of-fold and test predictions, and their mean on test."""
    rows = []
    for part in ("heldout", "validation", "test"):
        # Inner validation chose the epoch; its predictions matter only where there is no held-out part.
        if part == "validation" and len(results) > 1:
            continue
        for result in results:
            for index, values in zip(result["indices"][part], result["predictions"][part]):
                rows.append(_prediction_row(dataset, task, index, part, result["fold"], values))
    if len(results) > 1:
        for index, values in zip(results[0]["indices"]["test"], mean_on_test(results)):
            rows.append(_prediction_row(dataset, task, index, "test", "mean of folds", values))
    return rows


def describe(result: dict, labels: np.ndarray, task: str) -> str:
    """Return one line on a finished fold, with a second one where its training collapsed or was too short."""
    fold = fold_figures(result, labels, task)
    names = headline_metrics(task)
    parts = [
        f"{part} " + " ".join(f"{name} {fold[part][name]:.4f}" for name in names if name in fold[part])
        for part in ("heldout", "test")
        if fold.get(part)
    ]
    best = "" if fold["best_epoch"] is None else f"best epoch {fold['best_epoch']:g}, "
    line = f"{fold['fold']}: {best}{'; '.join(parts)} ({fold['seconds']} s)"
    for verdict, word in ((fold["collapsed"], "COLLAPSED"), (fold["under_trained"], "UNDER-TRAINED")):
        if verdict:
            kind = f" ({verdict['kind']})" if verdict is fold["collapsed"] else ""
            line += f"\n  {word}{kind}: {verdict['evidence']}. Try {verdict['try']}"
    return line


def closing_table(summary: dict, task: str) -> str:
    """Return the figures that a reader wants first, as aligned text."""
    lines = []
    for key, title in (
        ("cross_validation", "held-out parts, mean and sd over folds"),
        ("out_of_fold", "out-of-fold predictions, 95 % interval"),
        ("out_of_fold_ranks", "the same, as ranks within folds"),
        ("test", "test part, mean and sd over fold models"),
        ("test_ensemble", "test part, mean of fold models, 95 % interval"),
    ):
        figures = []
        for name in headline_metrics(task):
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
    lines += _scale_note(summary)
    if summary["collapsed"]:
        named = ", ".join(f"{fold} ({kind})" for fold, kind in summary["collapsed"].items())
        lines.append(f"COLLAPSED: {named}; see eval_results.json")
    if summary.get("under_trained"):
        lines.append(f"UNDER-TRAINED: {', '.join(summary['under_trained'])}; see eval_results.json")
    return "\n".join(lines)


def _scale_note(summary: dict) -> list[str]:
    """Return a line where the pooled AUROC is lower than that of ranks by more than `SCALE_GAP`."""
    pooled, ranks = (summary.get(key, {}).get("auroc") for key in ("out_of_fold", "out_of_fold_ranks"))
    if not pooled or not ranks or not ranks["value"] - pooled["value"] > SCALE_GAP:
        return []
    return ["the folds' probabilities are not on one scale: pooled, they understate how each fold orders its records"]
