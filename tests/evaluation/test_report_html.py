"""The page of evaluation runs, and which scores composition alone reaches."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_runs import edit, write_run
from page_parser import PageParser

from LAMAR.errors import InputError
from LAMAR.evaluation import report
from LAMAR.evaluation.figures import plot_boxes
from LAMAR.evaluation.report import closing_table
from LAMAR.evaluation.report_html import FigureOnPage, build_report
from LAMAR.evaluation.report_tables import above_composition, report_tables
from LAMAR.evaluation.results import read_results
from LAMAR.evaluation.tables import closing_table as run_table
from LAMAR.runs.figures import save_figure


def test_above_composition(tmp_path):
    folder = write_run(tmp_path / "run", ["A", "B"])

    for name in ("results.csv", "predictions.csv"):
        # B has no dinucleotide row: its baseline is the 0.7 of split_report.json.
        edit(folder / name, lambda t: t[~((t["dataset"] == "B") & (t["representation"] == "dinucleotide"))])
    results = read_results([folder])
    results.table["auroc"] = 0.8
    one_hot = (results.table["dataset"] == "A") & (results.table["representation"] == "one_hot")
    results.table.loc[one_hot, "auroc"] = 0.81
    four_mers = (results.table["dataset"] == "A") & (results.table["representation"] == "4mer")
    results.table.loc[four_mers, "auroc"] = 0.9
    both = above_composition(results).set_index(["reference", "dataset", "method"]).sort_index()
    assert not both.loc[("4-mer", "A")]["exceeds"].any()
    assert (both.loc[("4-mer", "A")]["baseline"] == 0.9).all()
    assert not both.loc[("4-mer", "B")]["exceeds"].any()  # 0.8, as all of B
    table = both.loc["dinucleotide"]
    assert table.loc[("A", "one-hot CNN"), "exceeds"]
    assert not table.loc["A"].drop("one-hot CNN")["exceeds"].any()  # equal is not above
    assert table.loc["B"]["exceeds"].all()
    assert (table.loc["B"]["baseline"] == 0.7).all()
    of_f1 = above_composition(results, "f1").query("reference == 'dinucleotide' and dataset == 'B'")
    assert of_f1["exceeds"].isna().all()
    closing = closing_table(report_tables(results, n_boot=2))
    assert "scores of models are not above their data set's dinucleotide baseline" in closing
    assert "14 of 14 scores of models are not above their data set's 4-mer baseline" in closing


def test_page_with_one_set_and_an_unfinished_run(tmp_path):
    folder = write_run(tmp_path / "run", ["QKI"])
    (folder / "run.json").write_text('{"status": "stopped"}')
    (folder / "split_report.json").write_text("{}")
    results = read_results([folder])
    png = save_figure(plot_boxes(results), tmp_path / "boxes")
    figures = [FigureOnPage("a < b", "x & y", png)]
    source = build_report(results, report_tables(results, n_boot=20), figures, notice="MADE UP")
    text = " ".join(PageParser(source).text)
    assert "not finished (stopped)" in text
    assert "MADE UP" in text
    assert "a < b" in text


def page_text(folder) -> str:
    results = read_results([folder])
    return " ".join(PageParser(build_report(results, report_tables(results, n_boot=2), [])).text)


def test_trainings_that_learned_nothing_are_marked(tmp_path):
    folder = write_run(tmp_path / "run", ["QKI"])
    assert "learned next to nothing where" in page_text(folder)  # tables of earlier versions have no such column

    def learned(table):
        one_hot, first = table["representation"] == "one_hot", table["repeat"] == "0"
        of_random = (table["representation"] == "lamar") & (table["variant"] == "Random") & (table["layer"] == "2")
        is_cnn = table["representation"].isin(["one_hot", "lamar"])
        return table.assign(learned=np.where(is_cnn, np.where(one_hot & first | of_random, "0", "1"), ""))

    edit(folder / "results.csv", learned)
    text = page_text(folder)
    assert "Trainings that learned next to nothing: 3." in text
    assert text.count("1 of 2 trainings learned next to nothing") == 1
    assert text.count("2 of 2 trainings learned next to nothing") == 1
    rows = read_results([folder]).table.query("chosen").to_dict("records")
    marked = [line.split("  ")[1:] for line in run_table(rows).splitlines() if "nothing" in line]
    assert [(line[0], line[-1]) for line in marked] == [
        ("one_hot", "1 of 2 trainings learned next to nothing"),
        ("lamar Random layer 2", "2 of 2 trainings learned next to nothing"),
    ]
    edit(folder / "results.csv", lambda table: table.assign(learned="maybe"))
    with pytest.raises(InputError, match="row 2: column learned: found maybe, wanted a number"):
        read_results([folder])


def test_pairs_are_tested_from_six_sets_on_and_boxes_drawn_from_three(tmp_path):
    names = {n: [f"RBP{i}" for i in range(n)] for n in (1, 2, 3, 5, 6)}
    folders = {n: write_run(tmp_path / str(n), sets, n_test=20, n_layers=2, repeats=1) for n, sets in names.items()}
    assert "with 5, no p-value can be below 0.062" in page_text(folders[5])
    assert "smallest p" not in page_text(folders[5])
    assert "Not shown" not in page_text(folders[6])
    assert "smallest p" in page_text(folders[6])
    for n in (2, 3):
        results = read_results([folders[n]])
        stems = [stem for stem, *_ in report._plan(results, report_tables(results, n_boot=2))]
        assert ("boxes_auroc" in stems) == (n == 3)
        assert "bars" in stems
