"""The page of evaluation runs, and which scores dinucleotides alone reach."""

from __future__ import annotations

from evaluation_runs import edit, write_run
from page_parser import PageParser

from LAMAR.evaluation.figures import plot_boxes
from LAMAR.evaluation.report_html import FigureOnPage, above_dinucleotide, build_report
from LAMAR.evaluation.results import method_values, paired_tests, read_results, summarise
from LAMAR.runs.figures import save_figure
from LAMAR.statistics import rank_tests


def test_above_dinucleotide(tmp_path):
    folder = write_run(tmp_path / "run", ["A", "B"])

    for name in ("results.csv", "predictions.csv"):
        # B has no dinucleotide row: its baseline is the 0.7 of split_report.json.
        edit(folder / name, lambda t: t[~((t["dataset"] == "B") & (t["representation"] == "dinucleotide"))])
    results = read_results([folder])
    results.table["auroc"] = 0.8
    one_hot = (results.table["dataset"] == "A") & (results.table["representation"] == "one_hot")
    results.table.loc[one_hot, "auroc"] = 0.81
    table = above_dinucleotide(results).set_index(["dataset", "method"])
    assert table.loc[("A", "one-hot CNN"), "exceeds"]
    assert not table.loc["A"].drop("one-hot CNN")["exceeds"].any()  # equal is not above
    assert table.loc["B"]["exceeds"].all()
    assert (table.loc["B"]["baseline"] == 0.7).all()
    assert above_dinucleotide(results, "f1").set_index("dataset").loc["B"]["exceeds"].isna().all()


def test_page_with_one_set_and_an_unfinished_run(tmp_path):
    folder = write_run(tmp_path / "run", ["QKI"])
    (folder / "run.json").write_text('{"status": "stopped"}')
    (folder / "split_report.json").write_text("{}")
    results = read_results([folder])
    values = method_values(results)
    tables = summarise(results, n_boot=20), rank_tests.wilcoxon_table(values)
    png = save_figure(plot_boxes(results), tmp_path / "boxes")
    figures = [FigureOnPage("a < b", "x & y", png)]
    source = build_report(results, *tables, paired_tests(results), figures, notice="MADE UP")
    text = " ".join(PageParser(source).text)
    assert "not finished (stopped)" in text
    assert "MADE UP" in text
    assert "a < b" in text
