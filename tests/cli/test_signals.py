"""Ctrl-C, termination and hang-up of scripts: one line, no traceback, the status of the run, the exit code."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from finetune_runs import ROOT, SCRIPT, arguments, make_dataset

from LAMAR.cli.errors import exit_on_input_error
from LAMAR.cli.signals import EndingSignal, raised_signals
from LAMAR.runs import RunFolder

SCRIPT_FOLDERS = ("preprocess", "finetune_scripts", "evalEmbeddings", "visualisation", "weights")
SCRIPTS = sorted(path for folder in SCRIPT_FOLDERS for path in (ROOT / folder).rglob("*.py"))
WORDS = {signal.SIGINT: "interrupted\n", signal.SIGTERM: "terminated\n", signal.SIGHUP: "hung up\n"}
# Sends the process a signal while it imports a module, from the first line of the interpreter on.
CUSTOMIZE = """
import os, sys
name, number = os.environ["SIGNAL_ON_IMPORT"].split(":")
class Finder:
    def find_spec(self, wanted, path=None, target=None):
        if wanted == name:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), int(number))
sys.meta_path.insert(0, Finder())
"""


def start(command, environment: dict[str, str] | None = None, ignored: tuple[int, ...] = ()) -> subprocess.Popen:
    def prepare() -> None:
        # Whoever runs the tests in a shell's background has SIGINT ignored, and would hand that down.
        for number in WORDS:
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )


def signalled_on_import(folder: Path, module: str, number: int, command) -> subprocess.Popen:
    (folder / "sitecustomize.py").write_text(CUSTOMIZE)
    return start(command, {"PYTHONPATH": str(folder), "SIGNAL_ON_IMPORT": f"{module}:{int(number)}"})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_each_script_ends_in_one_line_while_it_starts(script, number, tmp_path):
    process = signalled_on_import(tmp_path, "LAMAR.cli.errors", number, [script, "--help"])
    assert process.communicate(timeout=300) == ("", WORDS[number])
    assert process.returncode == 128 + number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("module", ["numpy", "torch.nn", pytest.param("numpy.random.mtrand", marks=pytest.mark.slow)])
def test_heavy_imports_of_a_run_end_in_one_line(module, number, tmp_path):
    """mtrand is imported by compiled code, which makes another error of the one that strikes there."""
    command = [SCRIPT, *arguments(make_dataset(tmp_path), tmp_path / "out")]
    process = signalled_on_import(tmp_path, module, number, command)
    assert process.communicate(timeout=300) == ("", WORDS[number])
    assert process.returncode == 128 + number
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_run_that_is_ended_says_so(number, tmp_path):
    data = make_dataset(tmp_path)
    process = start([SCRIPT, *arguments(data, tmp_path / "out", "--epochs", 500)])
    record = tmp_path / "out" / data.name / "run.json"
    while not list(record.parent.glob("checkpoints/*/*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    assert json.loads(record.read_text())["status"] == "running"
    process.send_signal(number)
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 128 + number
    assert error.endswith(WORDS[number])
    assert "Traceback" not in error
    assert json.loads(record.read_text())["status"] == "stopped"


RUN = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
from LAMAR.cli.signals import answer_signals
answer_signals()
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.runs import RunFolder

def run(folder, numbers):
    with RunFolder.open(folder, arguments={{}}, seed=1) as run_folder:
        for number in numbers:
            os.kill(os.getpid(), number)
        run_folder.finish()

sys.exit(exit_on_input_error(run, sys.argv[1], [int(word) for word in sys.argv[2:]]))
"""


@pytest.fixture
def run_script(tmp_path) -> Path:
    path = tmp_path / "run.py"
    path.write_text(RUN.format(root=str(ROOT)))
    return path


@pytest.mark.parametrize("number", list(WORDS), ids=lambda number: number.name)
def test_signals_stop_a_run(run_script, tmp_path, number):
    process = start([run_script, tmp_path / "out", int(number)], {"LAMAR_LIGHT": "1"})
    assert process.communicate(timeout=300) == ("", WORDS[number])
    assert process.returncode == 128 + number
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "stopped"


def test_ignored_signals_stay_ignored(run_script, tmp_path):
    """As nohup and shells that start a process in the background ask for."""
    ignored = (signal.SIGINT, signal.SIGHUP)
    process = start([run_script, tmp_path / "out", *map(int, ignored)], {"LAMAR_LIGHT": "1"}, ignored)
    assert process.communicate(timeout=300) == ("", "")
    assert process.returncode == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "finished"


# ------------------------------------------------------------------------------------------------ in this process

# With SIGTERM, because whoever runs the tests in a shell's background has SIGINT ignored.


def test_a_signal_that_strikes_while_a_run_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(RunFolder, "folder", lambda *a, **k: signal.raise_signal(signal.SIGTERM))
    assert exit_on_input_error(RunFolder.open, tmp_path / "out", arguments={}, seed=1) == 143
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "stopped"


def test_handlers_are_restored(capsys):
    before = [signal.getsignal(number) for number in WORDS]
    assert exit_on_input_error(signal.raise_signal, signal.SIGTERM) == 143
    assert capsys.readouterr().err == "terminated\n"
    assert [signal.getsignal(number) for number in WORDS] == before
    assert exit_on_input_error(lambda: None) == 0
    assert [signal.getsignal(number) for number in WORDS] == before


def test_another_error_that_a_signal_became(capsys):
    """As compiled modules do it, whose import fails with an ImportError of their own."""

    def fail() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ImportError("numpy failed to import") from None

    assert exit_on_input_error(fail) == 143
    assert capsys.readouterr().err == "terminated\n"


def test_copies_of_a_signal_do_not_break_off_the_clean_up():
    cleaned = False

    def work() -> None:
        nonlocal cleaned
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)  # as a launcher sends it beside the one of the whole process group
            cleaned = True

    assert exit_on_input_error(work) == 143
    assert cleaned


class Unraisable:
    """Something whose finaliser, in which exceptions are lost, is where a signal strikes."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_is_lost_in_a_finaliser_is_raised_again(capsys):
    def work() -> None:
        Unraisable()
        gc.collect()
        for _ in range(600):
            time.sleep(0.1)
        pytest.fail("the signal was lost")

    assert exit_on_input_error(work) == 143
    assert capsys.readouterr().err == "terminated\n"


def test_the_exception_names_its_signal():
    with raised_signals() as received:
        with pytest.raises(EndingSignal) as caught:
            signal.raise_signal(signal.SIGTERM)
        assert received == [caught.value.number] == [signal.SIGTERM]
