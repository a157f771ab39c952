"""Every benchmark can start: its imports exist, and its help answers; the small one that needs no model runs."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parent / "benchmarks"
BENCHMARKS = sorted([*FOLDER.glob("bench_*.py"), *FOLDER.glob("study_*.py")])


def load(path: Path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv("LAMAR_LIGHT", "1")  # which importing timing would set for good
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_help_answers(path, monkeypatch, capsys):
    module = load(path, monkeypatch)
    with pytest.raises(SystemExit) as stopped:
        module.main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: ")
    assert f"python tests/benchmarks/{path.name}" in shown, "wanted the command in the docstring"


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_what_they_import_late_exists(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "LAMAR":
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


def test_a_benchmark_runs_from_another_folder(tmp_path):
    command = [sys.executable, str(FOLDER / "bench_one_hot.py"), "--n_sequences", "6000", "--rounds", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["benchmark"] == "one-hot encoding"
    assert record["rounds_kept"] + record["rounds_discarded"] == 1


def test_peak_memory_of_a_command(monkeypatch):
    timing = load(FOLDER / "timing.py", monkeypatch)
    code = "import time; block = b'x' * (200 * 2**20); time.sleep(0.5); print(len(block))"
    seconds, most = timing.peak_memory([sys.executable, "-c", code])
    assert seconds > 0.5
    assert 0.19 < most < 0.5
    with pytest.raises(SystemExit, match="exit code 3\nwhy"):
        timing.peak_memory([sys.executable, "-c", "print('why'); raise SystemExit(3)"])


def test_rates_on_a_device_keep_errors_and_what_was_left_out(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    gpu_rates = importlib.import_module("gpu_rates")
    rates = gpu_rates.Rates(torch.device("cpu"), minutes=1, limits={"float32": 1e3})
    place, calls = ("embeddings", "lamar", "101 nt"), []

    def slow():
        calls.append(1)
        time.sleep(0.05)

    rates.measure(place, "plain", slow, 10, "sequences", flop=5, limit="float32", is_reference=True)
    rates.measure(place, "ours", lambda: time.sleep(0.01), 10, "sequences")
    rates.measure(place, "broken", lambda: 1 / 0, 10, "sequences")
    rates.measure(place, "late", pytest.fail, 10, "sequences", needs=61)
    rates.compare()
    plain, ours, broken, late = rates.rows
    assert len(calls) == 1 + plain.rounds
    assert plain.rounds >= 3
    assert 100 < plain.rate <= 200
    assert plain.share == pytest.approx(plain.rate / 10 * 5 / 1e3)
    assert ours.times_reference == pytest.approx(ours.rate / plain.rate)
    assert (broken.rate, broken.error) == (None, "ZeroDivisionError: division by zero")
    assert (late.rate, late.error, late.note) == (None, "", "not run: no time left")
    table = gpu_rates.markdown(rates, "A card", ["Facts."]).splitlines()
    assert table[:3] == ["# A card", "", "Facts."]
    assert {row.count("|") for row in table[4:]} == {10}
    assert table[-2].endswith("| **ZeroDivisionError: division by zero** |")
