"""Tables that an evaluation run writes: their columns, the files, and a summary as text.

Imports nothing heavy, so that parsers can list the metrics. Tables are read by `LAMAR.evaluation.results`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..runs import RunFolder, storage
from ..statistics.metrics import reported_metrics

if TYPE_CHECKING:
    from .probes import Parts

__all__ = [
    "COLUMNS",
    "METRICS",
    "PREDICTED_UNIT",
    "PREDICTION_COLUMNS",
    "SIZES",
    "UNIT",
    "closing_table",
    "unlearned_note",
    "write_tables",
]

UNIT = ("dataset", "representation", "variant", "layer", "pooling", "split", "repeat")
METRICS = reported_metrics("classification")
SIZES = ("n_train", "n_test", "n_parameters", "seconds")
COLUMNS = (*UNIT, *METRICS, *SIZES, "chosen", "learned")  # of results.csv

PREDICTED_UNIT = ("dataset", "representation", "variant", "layer", "repeat")
PREDICTION_COLUMNS = (*PREDICTED_UNIT, "id", "label", "probability")  # of predictions.csv


def write_tables(run: RunFolder, sets: Sequence[Parts], results: Mapping[str, Sequence[dict]]) -> None:
    """Write ``results.csv``, ``predictions.csv`` and ``split_report.json`` of all data sets.

    Parameters
    ----------
    run : RunFolder
    sets : sequence of Parts
        In the order of the tables.
    results : mapping
        Units of each data set by its name, each as `LAMAR.evaluation.probes.result` returns them.
    """
    # Units that an earlier version saved do not say whether anything was learned.
    rows = [{"learned": None} | unit["row"] for parts in sets for unit in results[parts.dataset.name]]
    storage.write_csv(run.file("results.csv"), rows, COLUMNS)
    storage.write_csv(run.file("predictions.csv"), _prediction_rows(sets, results), PREDICTION_COLUMNS)
    storage.write_json(run.file("split_report.json"), {parts.dataset.name: parts.report for parts in sets})


def _prediction_rows(sets: Sequence[Parts], results: Mapping[str, Sequence[dict]]) -> Iterator[dict]:
    for parts in sets:
        for unit in results[parts.dataset.name]:
            key = {name: unit["row"][name] for name in PREDICTED_UNIT}
            for index, probability in zip(parts.test.tolist(), unit["probabilities"]):
                label = int(parts.labels[index])
                yield {**key, "id": parts.dataset.ids[index], "label": label, "probability": probability}


def closing_table(rows: Iterable[Mapping]) -> str:
    """Return the mean test AUROC of each method on each data set, and its standard deviation over repeats, as text.

    Trainings that learned next to nothing are counted beside their method.

    Parameters
    ----------
    rows : iterable of mapping
        Rows of ``results.csv``; those that are not ``chosen`` are left out.
    """
    import numpy as np

    values: dict[str, dict[str, list[float]]] = {}
    unlearned: Counter[tuple[str, str]] = Counter()
    for row in rows:
        methods = values.setdefault(row["dataset"], {})
        if row["chosen"]:
            layer = f" layer {row['layer']}" if row["layer"] != "" else ""
            method = " ".join(filter(None, [row["representation"], row["variant"]])) + layer
            methods.setdefault(method, []).append(row["auroc"])
            unlearned[row["dataset"], method] += row.get("learned") == 0
    lines = []
    for dataset, methods in values.items():
        lines += ["", f"{dataset}: test AUROC, mean (sd over repeats)"]
        for method, aurocs in methods.items():
            spread = f" ({np.std(aurocs, ddof=1):.3f})" if len(aurocs) > 1 else ""
            line = f"  {method:<36} {np.mean(aurocs):.3f}{spread}"
            lines.append("  ".join(filter(None, [line, unlearned_note(unlearned[dataset, method], len(aurocs))])))
    return "\n".join(lines)


def unlearned_note(n_unlearned: int, n_repeats: int) -> str:
    """Return how many of a method's trainings learned next to nothing, in words; "" for none."""
    if not n_unlearned:
        return ""
    return f"{n_unlearned} of {n_repeats} trainings " * (n_repeats > 1) + "learned next to nothing"
