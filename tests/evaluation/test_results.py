"""Tables of evaluation runs, read and joined: methods, summaries, tests, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from evaluation_runs import edit, write_run

from LAMAR.errors import InputError
from LAMAR.evaluation.results import method_values, paired_tests, read_results, summarise
from LAMAR.statistics import comparisons, delong


def test_paired_tests_are_delong_of_mean_probabilities(five, results):
    table = paired_tests(results)
    of_random = {"Random probe", "Random L0 CNN", "Random L2 CNN"}
    assert set(table["method_b"]) == {"one-hot CNN", "dinucleotide", "4-mer"} | of_random
    # The same method on random weights: same representation, same layer.
    pairs = table[table["method_b"].isin(of_random)]
    assert (pairs["method_a"].str.removeprefix("Pretrained") == pairs["method_b"].str.removeprefix("Random")).all()
    raw = pd.read_csv(five / "predictions.csv", keep_default_na=False)
    raw = raw[raw["dataset"] == "QKI"]
    lamar = raw[(raw["variant"] == "Pretrained") & (raw["representation"] == "lamar") & (raw["layer"] == "2")]
    means = [
        part.groupby("id", sort=False)["probability"].mean()
        for part in (lamar, raw[raw["representation"] == "one_hot"])
    ]
    expected = delong.delong_test(raw["label"][:40], *means)
    row = table[(table["dataset"] == "QKI") & (table["method_a"] == "Pretrained L2 CNN")].iloc[0]
    assert (row["method_b"], row["n"]) == ("one-hot CNN", 40)
    found = row[["difference", "low", "high", "p_value"]].astype(float).tolist()
    assert found == pytest.approx([expected.difference, expected.low, expected.high, expected.p_value], nan_ok=True)
    np.testing.assert_allclose(table["p_holm"].astype(float), comparisons.holm(table["p_value"].astype(float)))
    # 4 sets with both variants (3 methods each), one with one variant; three rivals, and Random where it was run.
    assert len(table) == (4 * 6 + 3) * 3 + 4 * 3


def test_methods_values_and_summary(five, results):
    assert results.methods == [
        *("GC", "dinucleotide", "4-mer", "one-hot CNN", "Random probe", "Pretrained probe"),
        *("Random L0 CNN", "Random L2 CNN", "Pretrained L0 CNN", "Pretrained L2 CNN"),
    ]
    assert "NA" in results.datasets
    table = pd.read_csv(five / "results.csv", keep_default_na=False)
    one = table[(table["dataset"] == "QKI") & (table["representation"] == "one_hot")]["auroc"]
    values = method_values(results, "auroc")
    assert values.loc["QKI", "one-hot CNN"] == pytest.approx(one.mean())
    assert np.isnan(values.loc["PUM2", "Random probe"])
    summary = summarise(results, "auroc", n_boot=50).set_index(["dataset", "method"])
    row = summary.loc[("QKI", "one-hot CNN")]
    assert row["sd"] == pytest.approx(one.std())
    assert (row["n_repeats"], row["n_unlearned"]) == (2, 0)
    assert row["low"] <= row["pooled"] <= row["high"]
    assert np.isnan(summary.loc[("QKI", "GC"), "sd"])
    assert summary.loc[("QKI", "GC"), "pooled"] == pytest.approx(values.loc["QKI", "GC"])


def test_without_chosen_every_probe_layer_is_a_method(tmp_path):
    folder = write_run(tmp_path / "run", ["QKI"])
    edit(folder / "results.csv", lambda table: table.drop(columns="chosen"))
    probes = read_results([folder]).methods_of("probe")
    assert probes == [f"{variant} L{layer} probe" for variant in ("Random", "Pretrained") for layer in range(3)]


def test_runs_are_joined(tmp_path, five):
    other = write_run(tmp_path / "other", ["HNRNPL"], seed=1)
    joined = read_results([five, other])
    assert set(joined.datasets) == {*read_results([five]).datasets, "HNRNPL"}
    # The same unit twice is taken once, whatever time it took.
    edit(other / "results.csv", lambda table: table.assign(seconds="9"))
    again = tmp_path / "again"
    again.mkdir()
    for file in other.iterdir():
        (again / file.name).write_bytes(file.read_bytes())
    edit(again / "results.csv", lambda table: table.assign(seconds="8"))
    twice = read_results([other, again])
    assert len(twice.table) == len(pd.read_csv(other / "results.csv"))
    assert len(twice.reports) == 1
    pd.testing.assert_frame_equal(twice.predictions, read_results([other]).predictions)
    for keep, message in ((slice(40), r"found \d+ records, results\.csv says"), (slice(None, None, -1), None)):
        edit(again / "predictions.csv", lambda table, keep=keep: table.iloc[keep])
        if message:
            with pytest.raises(InputError, match=message):
                read_results([again])
            (again / "predictions.csv").write_bytes((other / "predictions.csv").read_bytes())
        else:
            read_results([again])  # the order of rows does not matter
    (again / "predictions.csv").write_bytes((other / "predictions.csv").read_bytes())
    edit(again / "predictions.csv", lambda table: table.assign(probability="0.5"))
    with pytest.raises(InputError, match=r"found an AUROC of 0\.500000, results\.csv says"):
        read_results([again])
    (again / "predictions.csv").write_bytes((other / "predictions.csv").read_bytes())
    edit(again / "results.csv", lambda table: table.assign(auroc="0.5"))
    with pytest.raises(InputError, match=r"HNRNPL .* different figures in .*other and .*again"):
        read_results([other, again])


def test_two_splits_of_a_set_are_two_sets(tmp_path):
    one, two = (write_run(tmp_path / name, ["QKI"], seed=i) for i, name in enumerate("ab"))
    edit(two / "results.csv", lambda table: table.assign(split="chromosome"))
    joined = read_results([one, two])
    assert joined.datasets == ["QKI [chromosome]", "QKI [given]"]
    assert set(joined.predictions["dataset"]) == set(joined.datasets)


def test_runs_with_different_test_records_are_not_compared(tmp_path):
    first = write_run(tmp_path / "first", ["QKI"])
    other = write_run(tmp_path / "other", ["QKI"], seed=1)
    # Other methods, so that no unit is in both, on other records.
    for name in ("results.csv", "predictions.csv"):
        edit(first / name, lambda table: table[table["representation"] == "one_hot"])
        edit(other / name, lambda table: table[table["representation"] == "lamar"])
    assert len(read_results([first, other]).methods) > 1
    edit(other / "predictions.csv", lambda table: table.assign(id=table["id"].replace({"r0": "r99"})))
    with pytest.raises(InputError, match=r"QKI: .*first and .*other have different test records \(40 and 40, 39 in"):
        read_results([first, other])


def drop(column):
    return lambda table: table.drop(columns=column)


def put(column, value, row=0):
    def change(table):
        table.loc[row, column] = value
        return table

    return change


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("results.csv", drop("auroc"), r"results\.csv: found no column auroc"),
        ("predictions.csv", drop("probability"), r"predictions\.csv: found no column probability"),
        ("results.csv", put("auroc", "high", 3), r"results\.csv: row 5: column auroc: found high, wanted a number"),
        ("results.csv", put("auroc", "1.2"), r"row 2: column auroc: found 1.2, wanted 0 to 1"),
        ("results.csv", put("auroc", "inf"), r"row 2: column auroc: found inf, wanted a finite number"),
        ("results.csv", put("layer", "1.5"), r"row 2: column layer: found 1.5, wanted a whole number"),
        ("results.csv", put("repeat", ""), r"row 2: column repeat: found an empty cell"),
        ("results.csv", put("representation", "rnn"), r"row 2: column representation: found rnn, wanted one of gc"),
        ("results.csv", put("chosen", "2"), r"row 2: column chosen: found 2, wanted 0 or 1"),
        ("results.csv", put("dataset", ""), r"row 2: column dataset: found an empty cell"),
        ("results.csv", lambda table: table.head(0), r"results\.csv: found a header and no records"),
        ("predictions.csv", put("probability", "x", 7), r"predictions\.csv: row 9: column probability: found x"),
        ("predictions.csv", put("probability", "1.5"), r"row 2: column probability: found 1.5, wanted 0 to 1"),
        ("predictions.csv", put("label", "2"), r"row 2: column label: found 2, wanted 0 or 1"),
        (
            "predictions.csv",
            put("label", "1"),
            r"GC repeat 0: found an AUROC of 0.784461, results.csv says 0.792500",
        ),
        ("predictions.csv", put("dataset", "X"), r"found predictions of X gc 0, which results.csv does not list"),
    ],
)
def test_bad_tables(tmp_path, file, change, message):
    folder = write_run(tmp_path / "run", ["QKI"])
    edit(folder / file, change)
    with pytest.raises(InputError, match=message):
        read_results([folder])


@pytest.mark.parametrize("file", ["results.csv", "predictions.csv", "run.json", "split_report.json"])
def test_missing_empty_and_torn_files(tmp_path, file):
    folder = write_run(tmp_path / "run", ["QKI"])
    whole = (folder / file).read_bytes()
    for content in (None, b"", whole[: len(whole) // 2] + b'"\xff', b"[]"):
        (folder / file).unlink(missing_ok=True)
        if content is not None:
            (folder / file).write_bytes(content)
        with pytest.raises(InputError, match=re.escape(file)):
            read_results([folder])


def test_rows_of_another_width(tmp_path):
    folder = write_run(tmp_path / "run", ["QKI"])
    path = folder / "results.csv"
    whole = path.read_text()
    header, first, rest = whole.split("\n", 2)
    for torn in (f"{header}\n{first},1\n{rest}", f"{header}\nQKI,gc\n{rest}"):
        path.write_text(torn)
        with pytest.raises(InputError, match=r"results\.csv"):
            read_results([folder])
