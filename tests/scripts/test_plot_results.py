"""Tables, tests, figures and the page of evaluation runs, on made-up figures with known answers."""

from __future__ import annotations

import html.parser
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from LAMAR.errors import InputError
from LAMAR.evaluation import figures as result_plots
from LAMAR.evaluation import tables as result_tables
from LAMAR.evaluation.report_html import FigureOnPage, above_dinucleotide, build_report
from LAMAR.evaluation.tables import read_results
from LAMAR.statistics import comparisons, delong, metrics, rank_tests

SCRIPT = Path(__file__).resolve().parents[2] / "evalEmbeddings" / "plot_results.py"
HOSTILE = "<script>alert(1)</script>"


def call(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


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
        row |= {name: figures[name] for name in result_tables.METRICS}
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


@pytest.fixture(scope="module")
def five(tmp_path_factory) -> Path:
    names = ["QKI", "PUM2", HOSTILE, "NA", "a_name_of_a_data_set_that_is_far_too_long_for_any_figure_$x^2$"]
    return write_run(tmp_path_factory.mktemp("runs") / "five", names, skip={("PUM2", "Random")})


@pytest.fixture(scope="module")
def results(five):
    return read_results([five])


# ------------------------------------------------------------------------------------------------------ tests


def test_paired_tests_are_delong_of_mean_probabilities(five, results):
    table = result_tables.paired_tests(results)
    assert set(table["method_b"]) == {"one-hot CNN", "dinucleotide", "4-mer"}
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
    # 4 sets with both variants (3 methods each), one with one variant; three rivals.
    assert len(table) == (4 * 6 + 3) * 3


def test_methods_values_and_summary(five, results):
    assert results.methods == [
        *("GC", "dinucleotide", "4-mer", "one-hot CNN", "Random probe", "Pretrained probe"),
        *("Random L0 CNN", "Random L2 CNN", "Pretrained L0 CNN", "Pretrained L2 CNN"),
    ]
    assert "NA" in results.datasets
    table = pd.read_csv(five / "results.csv", keep_default_na=False)
    one = table[(table["dataset"] == "QKI") & (table["representation"] == "one_hot")]["auroc"]
    values = result_tables.method_values(results, "auroc")
    assert values.loc["QKI", "one-hot CNN"] == pytest.approx(one.mean())
    assert np.isnan(values.loc["PUM2", "Random probe"])
    summary = result_tables.summarise(results, "auroc", n_boot=50).set_index(["dataset", "method"])
    row = summary.loc[("QKI", "one-hot CNN")]
    assert row["sd"] == pytest.approx(one.std())
    assert row["n_repeats"] == 2
    assert row["low"] <= row["pooled"] <= row["high"]
    assert np.isnan(summary.loc[("QKI", "GC"), "sd"])
    assert summary.loc[("QKI", "GC"), "pooled"] == pytest.approx(values.loc["QKI", "GC"])


def test_without_chosen_every_probe_layer_is_a_method(tmp_path):
    folder = write_run(tmp_path / "run", ["QKI"])
    edit(folder / "results.csv", lambda table: table.drop(columns="chosen"))
    probes = read_results([folder]).of("linear_probe")
    assert probes == [f"{variant} L{layer} probe" for variant in ("Random", "Pretrained") for layer in range(3)]


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


# -------------------------------------------------------------------------------------------------- several runs


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


# ---------------------------------------------------------------------------------------------------- figures


def figures_of(results, metric="auroc") -> list:
    summary = result_tables.summarise(results, metric, n_boot=20)
    figures = [result_plots.plot_boxes(results, metric), *result_plots.plot_bars(results, summary, metric)]
    return [*figures, result_plots.plot_scatter(results, metric), result_plots.plot_layers(results, metric)]


def check_figure(figure) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()
    renderer, (width, height) = figure.canvas.get_renderer(), figure.get_size_inches()
    box = figure.get_tightbbox(renderer)
    assert min(box.x0, box.y0) >= -0.02
    assert box.x1 <= width + 0.02
    assert box.y1 <= height + 0.02
    for axis in figure.axes:
        labels = [label for label in axis.get_yticklabels() if label.get_text() and label.get_visible()]
        extents = sorted((e.y0, e.y1) for e in (label.get_window_extent(renderer) for label in labels))
        assert all(upper >= lower - 1 for (_, lower), (upper, _) in itertools.pairwise(extents)), "labels overlap"


@pytest.mark.parametrize("metric", ["auroc", "mcc"])
def test_figures_hold_their_text(results, metric):
    for figure in figures_of(results, metric):
        check_figure(figure)


@pytest.mark.parametrize(("n", "pages"), [(1, 1), (23, 2)])
def test_figures_of_one_and_many_sets(tmp_path, n, pages):
    many = read_results([write_run(tmp_path / "run", [f"RBP{i}" for i in range(n)], n_test=20, repeats=1)])
    figures = figures_of(many)
    assert len(figures) == 3 + pages
    for figure in figures:
        check_figure(figure)


def test_limits_contain_the_data(results):
    values = result_tables.method_values(results, "auroc")
    boxes = result_plots.plot_boxes(results).axes[0]
    low, high = boxes.get_xlim()
    assert low < np.nanmin(values)
    assert high > np.nanmax(values)
    assert [label.get_text() for label in boxes.get_yticklabels()][4] == "Random probe  (n = 4)"
    scatter = result_plots.plot_scatter(results)
    assert len(scatter.axes) == 2
    for axis in scatter.axes:
        assert axis.get_xlim() == axis.get_ylim()  # or the diagonal would not be one
        points = np.concatenate([part.get_offsets() for part in axis.collections])
        assert (points > axis.get_xlim()[0]).all()
        assert (points < axis.get_xlim()[1]).all()
    assert sum(len(part.get_offsets()) for part in scatter.axes[0].collections) == 5 * 2 + 4 * 2
    layers = result_plots.plot_layers(results).axes[0]
    for line in layers.lines:
        assert layers.get_ylim()[0] < min(line.get_ydata()) <= max(line.get_ydata()) < layers.get_ylim()[1]


def test_figures_that_lack_their_data(tmp_path):
    folder = write_run(tmp_path / "run", ["QKI"])
    for file in ("results.csv", "predictions.csv"):
        edit(folder / file, lambda table: table[table["representation"].isin(["gc", "dinucleotide"])])
    results = read_results([folder])
    assert result_plots.plot_scatter(results) is None
    assert result_plots.plot_layers(results) is None
    check_figure(result_plots.plot_boxes(results))


def test_error_bars_say_what_they_are(results):
    summary = result_tables.summarise(results, n_boot=20)
    assert result_plots.error_bars(summary) == "bootstrap"
    without = summary.assign(low=np.nan)
    assert result_plots.error_bars(without) == "sd"
    assert "sd over repeats" in result_plots.plot_bars(results, without)[0].get_supxlabel()


# ------------------------------------------------------------------------------------------------------- page


class Page(html.parser.HTMLParser):
    """Checks that tags nest, and collects text, scripts and addresses."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self, page: str):
        super().__init__()
        self.open, self.text, self.scripts, self.addresses, self.tables = [], [], [], [], 0
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        assert not any(name.startswith("on") for name, _ in attrs)
        self.tables += tag == "table"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.scripts if self.open and self.open[-1] in ("script", "style") else self.text).append(data)


@pytest.fixture(scope="module")
def finished(five, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("report") / "out"
    done = call("--results", five, "--output_dir", output, "--n_boot", 20)
    assert done.returncode == 0, done.stderr
    assert str(output / "report.html") in done.stdout
    return output


def test_page(finished, results):
    source = (finished / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    text = " ".join(page.text)
    for name in results.datasets:
        assert name in text
    assert len(page.scripts) == 2  # the style sheet and the page's own script; the data set's is text
    assert not any("alert" in script for script in page.scripts)
    assert "http:" not in source.lower()
    assert "https:" not in source.lower()
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.addresses)
    ids = set(re.findall(r'id="(\w+)"', source))
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= ids
    for wanted in (
        "Too few data sets: with 5, no p-value can be below 0.062",
        "commit",
        "12.5%",
        "not above dinucleotide",
    ):
        assert wanted in text
    assert page.tables == 7


def test_page_with_one_set_and_an_unfinished_run(tmp_path):
    folder = write_run(tmp_path / "run", ["QKI"])
    (folder / "run.json").write_text('{"status": "stopped"}')
    (folder / "split_report.json").write_text("{}")
    results = read_results([folder])
    values = result_tables.method_values(results)
    tables = result_tables.summarise(results, n_boot=20), rank_tests.wilcoxon_table(values)
    png = result_plots.save_figure(result_plots.plot_boxes(results), tmp_path / "boxes")
    figures = [FigureOnPage("a < b", "x & y", png)]
    source = build_report(results, *tables, result_tables.paired_tests(results), figures, notice="MADE UP")
    text = " ".join(Page(source).text)
    assert "not finished (stopped)" in text
    assert "MADE UP" in text
    assert "a < b" in text


def test_outputs(finished):
    stems = ["bars", "scatter", "layers", *(f"boxes_{name}" for name in result_tables.METRICS)]
    for stem in stems:
        assert (finished / f"{stem}.png").read_bytes()[:4] == b"\x89PNG"
        assert b"<svg" in (finished / f"{stem}.svg").read_bytes()[:2000]
    for table in ("summary", "wilcoxon", "mean_ranks", "delong"):
        assert len(pd.read_csv(finished / f"{table}.csv"))
    record = json.loads((finished / "run.json").read_text())
    assert record["status"] == "finished"
    assert not list(finished.glob(".*.partial"))


def test_again_gives_the_same_bytes_and_other_arguments_need_overwrite(five, finished):
    before = {file.name: file.read_bytes() for file in finished.iterdir() if file.suffix in (".html", ".svg", ".csv")}
    assert call("--results", five, "--output_dir", finished, "--n_boot", 20).returncode == 0
    assert {name: (finished / name).read_bytes() for name in before} == before
    done = call("--results", five, "--output_dir", finished, "--n_boot", 21)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--overwrite" in done.stderr


# --------------------------------------------------------------------------------------------------- bad input


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


def test_script_refuses_in_one_line(tmp_path):
    folder = write_run(tmp_path / "run", ["QKI"])
    edit(folder / "results.csv", put("mcc", "no"))
    cases = {
        ("--results", folder): "row 2: column mcc: found no, wanted a number",
        ("--results", tmp_path / "none"): "found no folder",
        ("--results", folder, "--metric", "brier"): "--metric",
    }
    for arguments, message in cases.items():
        done = call(*arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert message in done.stderr
    assert not (folder / "report").exists()


def test_without_a_demo_evaluation(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import plot_results

    monkeypatch.setattr("LAMAR.cli.demo.REPOSITORY", tmp_path)
    assert plot_results.main([]) == 2
    error = capsys.readouterr().err
    assert "python evalEmbeddings/LAMAR_CNN_clip_data.py" in error
    assert error.count("\n") == 1
    write_run(tmp_path / "demo" / "evaluation", ["QKI"])
    assert plot_results.main(["--n_boot", "10"]) == 0
    assert "SYNTHETIC" in (tmp_path / "demo" / "evaluation" / "report" / "report.html").read_text(encoding="utf-8")


def test_help_imports_nothing_heavy():
    code = (
        "import sys, runpy; sys.argv = ['plot_results.py', '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'matplotlib', 'pandas', 'scipy'} & set(sys.modules)))"
    ).replace("'plot_results.py'", repr(str(SCRIPT)))
    environment = {name: value for name, value in os.environ.items() if name != "LAMAR_LIGHT"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert "--results" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


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
