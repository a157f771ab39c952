"""Evaluation runs of made-up predictions, as `LAMAR.evaluation.run.evaluate_sets` would write them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd

from LAMAR.evaluation.tables import METRICS
from LAMAR.statistics import metrics

HOSTILE = "<script>alert(1)</script>"


def write_run(folder: Path, names: list[str], *, seed=0, n_test=40, n_layers=3, repeats=2, skip=()) -> Path:
    """An evaluation run of made-up predictions; ``skip`` holds (data set, variant) that were not run."""
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1], n_test // 2)
    rows, predictions = [], []

    def add(dataset, representation, variant="", layer="", pooling="", repeat=0, strength=1.0, chosen=1):
        scores = 1 / (1 + np.exp(-(strength * (labels - 0.5) + rng.normal(size=n_test))))
        figures = metrics.classification_metrics(labels, scores)
        unit = {"dataset": dataset, "representation": representation, "variant": variant, "layer": layer}
        row = unit | {"pooling": pooling, "split": "given", "repeat": repeat}
        row |= {name: figures[name] for name in METRICS}
        rows.append(row | {"n_train": 100, "n_test": n_test, "n_parameters": 17, "seconds": 0.5, "chosen": chosen})
        for i in range(n_test):
            record = {"repeat": repeat, "id": f"r{i}", "label": labels[i], "probability": scores[i]}
            predictions.append(unit | record)

    for dataset in names:
        for representation, strength in (("gc", 0.5), ("dinucleotide", 1.0), ("4mer", 1.5)):
            add(dataset, representation, strength=strength)
        for repeat in range(repeats):
            add(dataset, "one_hot", pooling="none", repeat=repeat, strength=2)
        for variant in ("Pretrained", "Random"):
            if (dataset, variant) in skip:
                continue
            for layer in range(n_layers):
                add(dataset, "linear_probe", variant, layer, "mean", strength=1 + layer, chosen=int(layer == 1))
            for layer, repeat in itertools.product((0, n_layers - 1), range(repeats)):
                add(dataset, "lamar", variant, layer, "none", repeat, strength=2 + layer)
    side = {"n": 70, "gc": {"mean": 0.45}}
    judged = {"value": 0.7, "low": 0.6, "high": 0.8, "method": "fitted on train, scored on test", "n": n_test}
    report = {
        "split": {
            "method": "given",
            "sizes": {"train": 100, "dev": 0, "test": n_test},
            "duplicates_across_parts": 0,
            "longest_shared_run": 23,
            "test_sharing_30mer": 0.125,
        },
        "composition": {
            "positives": side,
            "negatives": side,
            "gc_ks": 0.1,
            "largest_dinucleotide_difference": {"name": "TA", "difference": -0.02},
            "auroc": {"gc": judged, "dinucleotide": judged},
        },
    }
    record = {"command": ["script.py", "--rbps", HOSTILE], "status": "finished", "seed": 1, "wall_time_s": 3.5}
    record |= {"arguments": {"rbps": names}, "git": {"commit": "abc", "dirty": False}, "versions": {"numpy": "2"}}
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "results.csv", index=False)
    pd.DataFrame(predictions).to_csv(folder / "predictions.csv", index=False)
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "split_report.json").write_text(json.dumps(dict.fromkeys(names, report)), encoding="utf-8")
    return folder


def edit(path: Path, change) -> None:
    """Change a CSV file as a table of text."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(table).to_csv(path, index=False)


def write_five(folder: Path) -> Path:
    """Five data sets, one of them without one variant, with names that are hard to show."""
    names = ["QKI", "PUM2", HOSTILE, "NA", "a_name_of_a_data_set_that_is_far_too_long_for_any_figure_$x^2$"]
    return write_run(folder, names, skip={("PUM2", "Random")})
