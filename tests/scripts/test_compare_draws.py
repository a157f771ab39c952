"""compare_draws.py on made-up runs."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from evaluation_scripts import load_script

from LAMAR.evaluation.tables import COLUMNS, METRICS, PREDICTION_COLUMNS

METHODS = {("one_hot", ""): 0.0, ("linear_probe", "Random"): 0.05, ("linear_probe", "Pretrained"): 0.2}


@pytest.fixture(scope="module")
def script():
    return load_script("compare_draws.py")


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
                sizes = {"n_train": 18, "n_test": 20, "n_parameters": 3, "seconds": 1.0, "chosen": 1, "learned": ""}
                rows.append(unit | {"pooling": "mean" if variant else "", "split": "given"} | figures | sizes)
                records = enumerate(ranked(value))
                predictions += [unit | {"id": i, "label": y, "probability": p} for i, (y, p) in records]
    folder = tmp_path / "few"
    folder.mkdir()
    pd.DataFrame(rows)[list(COLUMNS)].to_csv(folder / "results.csv", index=False)
    pd.DataFrame(predictions)[list(PREDICTION_COLUMNS)].to_csv(folder / "predictions.csv", index=False)
    (folder / "split_report.json").write_text("{}")
    drawn = {"seed": 3, "subsample_pos": 10, "subsample_neg": 10}
    (folder / "run.json").write_text(json.dumps({"arguments": drawn}))
    tuned = tmp_path / "tuned" / "A"
    tuned.mkdir(parents=True)
    names = [f"draw_{i}" for i in range(6)]
    parts = [(name, part, 0.9 if part == "test" else 0.1) for name in names for part in ("validation", "test")]
    table = pd.DataFrame([*parts, ("mean of folds", "test", 0.99)], columns=["fold", "evaluated_on", "auroc"])
    sizes = {"n_train": [18] * 12 + [""], "n_evaluated": 20}
    table.assign(dataset="A", split="given", **sizes).to_csv(tuned / "results.csv", index=False)
    (tuned / "run.json").write_text(json.dumps({"arguments": drawn | {"cv_folds": 1, "draws": 6}}))
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


def test_holm_counts_the_pairs_of_the_methods_that_are_named(script, runs, tmp_path, capsys):
    given = ["--results", str(runs[0]), "--finetuned", f"Pretrained={runs[1]}"]
    for name, more in (("all", []), ("two", ["--methods", "Pretrained probe", "Random probe"])):
        assert script.main([*given, *more, "--output_dir", str(tmp_path / name)]) == 0
    pairs = {name: pd.read_csv(tmp_path / name / "pairs.csv") for name in ("all", "two")}
    assert len(pairs["two"]) == 2  # one a data set
    assert (pairs["two"]["p_holm"] == pairs["two"]["p_value"]).all()
    probes = pairs["all"][
        (pairs["all"]["method_a"] == "Pretrained probe") & (pairs["all"]["method_b"] == "Random probe")
    ]
    assert (probes["p_holm"] > probes["p_value"]).all()
    # Set B has no fine-tuned model: no mean over sets for it.
    shown = capsys.readouterr().out
    assert next(line for line in shown.splitlines() if line.startswith("Pretrained fine-tuned")).split()[-1] == "NaN"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--finetuned", "Random"], "--finetuned: found 'Random', wanted NAME=DIR"),
        (["--finetuned", "Random=nowhere"], "--finetuned Random=nowhere: found no NAME/results.csv"),
        (["--results", "nowhere"], "nowhere"),
        (["--finetuned", "R=TUNED", "R=TUNED"], "in two of the runs"),
        (["--finetuned", "R=TUNED", "--methods", "R", "Q"], "--methods: found 'R', wanted some of: 'R fine-tuned'"),
        (["--finetuned", "R=TUNED", "--methods", "R fine-tuned"], "--methods: found 1, wanted two or more"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(script, runs, tmp_path, capsys, changes, message):
    changes = [word.replace("TUNED", str(runs[1])) for word in changes]
    assert script.main([*changes, "--output_dir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def edit(**changes):
    """Change of the fine-tuned run's table: columns are set, or where None dropped."""

    def change(path):
        table = pd.read_csv(path).astype(object)
        for name, value in changes.items():
            table = table.drop(columns=name) if value is None else table.assign(**{name: value})
        table.to_csv(path, index=False)

    return change


def make_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text(""), "cannot be read as a table of results: No columns"),
        (lambda path: path.write_bytes(b"\x89PNG\xff\xfe"), "cannot be read as a table of results: 'utf-8'"),
        (lambda path: path.write_text(path.read_text() + "A,B\n1,2,3,4,5,6,7,8\n"), "cannot be read as a table"),
        (make_folder, "cannot be read as a table of results: [Errno 21]"),
        (lambda path: path.write_text(path.read_text().splitlines()[0]), "found a header and no records"),
        (edit(auroc=None), "found no column auroc, wanted dataset, fold"),
        (edit(auroc="abc"), "row 2: column auroc: found abc, wanted a number"),
        (edit(auroc="inf"), "row 2: column auroc: found inf, wanted a finite number"),
        (edit(auroc=1.5), "row 2: column auroc: found 1.5, wanted 0 to 1"),
        (edit(auroc=""), "found no auroc of A, Pretrained fine-tuned, wanted some"),
        (edit(dataset=""), "row 2: column dataset: found an empty cell, wanted a name"),
        (edit(fold=3), "found no rows of draw_N or fold_N on test, wanted a run of finetune_rbp.py"),
        (edit(evaluated_on="validation"), "found no rows of draw_N or fold_N on test"),
    ],
)
@pytest.mark.parametrize("with_results", [True, False])
def test_a_damaged_table_of_fine_tuning_is_one_line(script, runs, tmp_path, capsys, with_results, damage, message):
    few, finetuned = runs
    damage(finetuned / "A" / "results.csv")
    given = ["--results", str(few)] if with_results else []
    assert script.main([*given, "--finetuned", f"Pretrained={finetuned}", "--output_dir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert str(finetuned / "A" / "results.csv") in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_draws_without_the_figure_are_named_and_left_out(script, runs, tmp_path, caplog):
    few, finetuned = runs
    table = pd.read_csv(finetuned / "A" / "results.csv")
    table.loc[table["fold"] == "draw_2", "auroc"] = np.nan  # as of a draw that collapsed
    table.to_csv(finetuned / "A" / "results.csv", index=False)
    given = ["--results", str(few), "--finetuned", f"Pretrained={finetuned}", "--output_dir", str(tmp_path / "out")]
    assert script.main(given) == 0
    assert "left out: A, Pretrained fine-tuned, without auroc in repeats [2]" in caplog.text
    pairs = pd.read_csv(tmp_path / "out" / "pairs.csv").set_index(["dataset", "method_a", "method_b"])
    assert pairs.loc[("A", "Pretrained fine-tuned", "one-hot CNN"), "n"] == 5


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        ({}, {"seed": 4}, "found --seed 3 in {} and 4 in {}, wanted runs of the same draws"),
        ({}, {"subsample_pos": 20}, "found --subsample_pos 10 in {} and 20 in {}"),
        ({}, {"subsample_neg": None}, "found --subsample_neg 10 in {} and None in {}"),
        ({}, {"cv_folds": 5}, "found --cv_folds 1 in {} and 5 in {}"),
        ({"n_train": 45}, {}, "found n_train 18 in {} and 45 in {}"),
        ({"n_evaluated": 19}, {}, "found n_test 20 in {} and 19 in {}"),
        ({"split": "random"}, {}, "found split given in {} and random in {}"),
    ],
)
@pytest.mark.parametrize("against", ["evaluation", "fine-tuning"])
def test_runs_of_other_records_are_not_paired(script, runs, tmp_path, capsys, against, table, arguments, message):
    few, finetuned = runs
    other = tmp_path / "other"
    shutil.copytree(finetuned, other)
    edit(**table)(other / "A" / "results.csv")
    record = json.loads((other / "A" / "run.json").read_text())
    (other / "A" / "run.json").write_text(json.dumps({"arguments": record["arguments"] | arguments}))
    given = ["--results", str(few)] if against == "evaluation" else ["--finetuned", f"Pretrained={finetuned}"]
    given = [*given, *(["--finetuned"] if against == "evaluation" else []), f"Random={other}"]
    assert script.main([*given, "--output_dir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert f"A: {message.format(few if against == 'evaluation' else finetuned / 'A', other / 'A')}" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_data_sets_may_be_drawn_apart(script, runs, tmp_path):
    few, finetuned = runs
    edit(dataset="C", n_train=45)(finetuned / "A" / "results.csv")
    record = {"arguments": {"seed": 9, "subsample_pos": 25, "subsample_neg": 25, "cv_folds": 1}}
    (finetuned / "A" / "run.json").write_text(json.dumps(record))
    given = ["--results", str(few), "--finetuned", f"Pretrained={finetuned}", "--output_dir", str(tmp_path / "out")]
    assert script.main(given) == 0
