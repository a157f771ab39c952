"""plot_results.py as a user starts it, on made-up runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from evaluation_runs import edit, write_five, write_run
from page_parser import PageParser

from LAMAR.evaluation.results import read_results
from LAMAR.evaluation.tables import METRICS

SCRIPT = Path(__file__).resolve().parents[2] / "evalEmbeddings" / "plot_results.py"


def call(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def five(tmp_path_factory) -> Path:
    return write_five(tmp_path_factory.mktemp("runs") / "five")


@pytest.fixture(scope="module")
def finished(five, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("report") / "out"
    done = call("--results", five, "--output_dir", output, "--n_boot", 20)
    assert done.returncode == 0, done.stderr
    assert str(output / "report.html") in done.stdout
    return output


def test_page(five, finished):
    source = (finished / "report.html").read_text(encoding="utf-8")
    page = PageParser(source)
    text = " ".join(page.text)
    for name in read_results([five]).datasets:
        assert name in text
    assert len(page.scripts) == 2  # the style sheet and the page's own script; the data set's is text
    assert not any("alert" in script for script in page.scripts)
    assert "http:" not in source.lower()
    assert "https:" not in source.lower()
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.addresses)
    ids = set(re.findall(r'id="(\w+)"', source))
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= ids
    for wanted in (
        "Not shown: pairs of methods are tested from 6 data sets on, because with 5, no p-value can be below 0.0625.",
        "commit",
        "12.5%",
        "not above dinucleotide",
    ):
        assert wanted in text
    assert page.tables == 7


def test_outputs(finished):
    stems = ["bars", "scatter", "layers", *(f"boxes_{name}" for name in METRICS)]
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


def test_script_refuses_in_one_line(tmp_path):
    folder = write_run(tmp_path / "run", ["QKI"])
    edit(folder / "results.csv", lambda table: table.assign(mcc="no"))
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
