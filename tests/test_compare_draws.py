"""compare_draws.py on made-up runs."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest

from LAMAR.result_columns import COLUMNS, METRICS, PREDICTION_COLUMNS

METHODS = {("one_hot", ""): 0.0, ("linear_probe", "Random"): 0.05, ("linear_probe", "Pretrained"): 0.2}


@pytest.fixture(scope="module")
def script(repo_root):
    path = repo_root / "evalEmbeddings" / "compare_draws.py"
    spec = importlib.util.spec_from_file_location("compare_draws", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ranked(auroc: float) -> list[tuple[int, float]]:
    """Labels and scores of 10 + 10 records with this AUROC, a multiple of 0.01: one pair in a hundred each."""
    below = round(100 * (1 - auroc))  # pairs in the wrong order
    negatives = np.arange(10.0)
    scores, left = [], below
    for _ in range(10):
        scores.append(10 - min(left, 10) - 0.5)
        left -= min(left, 10)
    return [(1, s / 20 + 0.2) for s in scores] + [(0, s / 20 + 0.2) for s in negatives]


@pytest.fixture
def runs(tmp_path):
    """An evaluation of two sets in six draws, and fine-tuning of the first; methods differ by constants."""
    rows, predictions = [], []
    for dataset, base in (("A", 0.6), ("B", 0.7)):
        for repeat in range(6):
            for (representation, variant), gain in METHODS.items():
                layer = 1 if variant else ""
                value = round(base + 0.01 * repeat + gain, 2)
                unit = {"dataset": dataset, "representation": representation, "variant": variant, "layer": layer}
                unit["repeat"] = repeat
                figures = dict.fromkeys(METRICS, 0.5) | {"auroc": value}
                sizes = {"n_train": 18, "n_test": 20, "n_parameters": 3, "seconds": 1.0, "chosen": 1}
                rows.append(unit | {"pooling": "mean" if variant else "", "split": "given"} | figures | sizes)
                records = enumerate(ranked(value))
                predictions += [unit | {"id": i, "label": y, "probability": p} for i, (y, p) in records]
    folder = tmp_path / "few"
    folder.mkdir()
    pd.DataFrame(rows)[list(COLUMNS)].to_csv(folder / "results.csv", index=False)
    pd.DataFrame(predictions)[list(PREDICTION_COLUMNS)].to_csv(folder / "predictions.csv", index=False)
    (folder / "split_report.json").write_text("{}")
    (folder / "run.json").write_text("{}")
    tuned = tmp_path / "tuned" / "A"
    tuned.mkdir(parents=True)
    names = [f"draw_{i}" for i in range(6)]
    parts = [(name, part, 0.9 if part == "test" else 0.1) for name in names for part in ("validation", "test")]
    table = pd.DataFrame([*parts, ("mean of folds", "test", 0.99)], columns=["fold", "evaluated_on", "auroc"])
    table.assign(dataset="A").to_csv(tuned / "results.csv", index=False)
    return folder, tuned.parent


def test_pairs_are_of_the_same_draw(script, runs, tmp_path):
    few, finetuned = runs
    out = tmp_path / "out"
    given = ["--results", str(few), "--finetuned", f"Pretrained={finetuned}", "--output_dir", str(out)]
    assert script.main(given) == 0
    pairs = pd.read_csv(out / "pairs.csv").set_index(["dataset", "method_a", "method_b"])
    for dataset in "AB":
        pair = pairs.loc[(dataset, "Pretrained probe", "Random probe")]
        assert pair["n"] == 6
        assert pair["median_difference"] == pytest.approx(0.15)
        assert pair["p_value"] == pytest.approx(2 / 2**6)  # six differences of one sign
    # Only test rows of draws: neither validation nor the mean over draws.
    methods = pd.read_csv(out / "methods.csv").set_index(["dataset", "method"])
    assert methods.loc[("A", "Pretrained fine-tuned"), ["mean", "sd", "n_repeats"]].tolist() == pytest.approx(
        [0.9, 0, 6]
    )
    assert ("B", "Pretrained fine-tuned") not in methods.index
    assert methods.loc[("A", "one-hot CNN"), "mean"] == pytest.approx(0.6 + 0.01 * 2.5)
    over = pd.read_csv(out / "pairs_over_sets.csv").set_index(["method_a", "method_b"])
    assert over.loc[("Pretrained probe", "Random probe"), "n"] == 2
    assert over.loc[("Pretrained fine-tuned", "one-hot CNN"), "n"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--finetuned", "Random"], "--finetuned: found 'Random', wanted NAME=DIR"),
        (["--finetuned", "Random=nowhere"], "--finetuned Random=nowhere: found no NAME/results.csv"),
        (["--results", "nowhere"], "nowhere"),
        (["--finetuned", "R=TUNED", "R=TUNED"], "in two of the runs"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(script, runs, tmp_path, capsys, changes, message):
    changes = [word.replace("TUNED", str(runs[1])) for word in changes]
    assert script.main([*changes, "--output_dir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
