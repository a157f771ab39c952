"""What a script shows its user: errors in one line, parameters as flags, exit codes, log messages."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
from contextlib import contextmanager

import pytest

from LAMAR.cli.arguments import log_messages
from LAMAR.cli.errors import FlagFormatter, exit_on_input_error, with_flags
from LAMAR.errors import InputError


@contextmanager
def new_process():
    """Let the root logger have no handlers, as in a new process; pytest adds its own to each test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    try:
        yield
    finally:
        root.handlers, root.level = handlers, level


def test_parameters_in_backticks_become_flags():
    assert with_flags("`layers`: found 99, wanted -12 to 11") == "--layers: found 99, wanted -12 to 11"
    assert with_flags("`a_1` and `b`") == "--a_1 and --b"
    # Neither expressions, nor names with capitals, nor a lone backtick are parameters.
    for text in ("`x + 1`", "`Genome`", "5` end of ``x``", "layers: 3"):
        assert with_flags(text) == text


def test_flags_that_differ_from_their_parameter():
    renamed = {"n_positives": "subsample_pos"}
    assert with_flags("`n_positives`, `seed`: found 0", renamed) == "--subsample_pos, --seed: found 0"


def test_exit_codes_and_messages(capsys):
    def fail(error):
        raise error

    assert exit_on_input_error(lambda: "a result is no exit code") == 0
    assert capsys.readouterr().err == ""
    assert exit_on_input_error(fail, InputError("`n`: found 0\n  wanted 1"), renamed={"n": "number"}) == 2
    assert capsys.readouterr().err == "error: --number: found 0 wanted 1\n"
    assert exit_on_input_error(fail, error=KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert exit_on_input_error(fail, OSError(errno.ENOSPC, "full", "out.csv")) == 2
    assert capsys.readouterr().err == "error: no space left on the device (out.csv)\n"
    assert exit_on_input_error(fail, OSError(errno.ENAMETOOLONG, "too long", "x" * 300)) == 2
    wanted = f"error: {'x' * 80}...: found a name of more letters than the file system takes\n"
    assert capsys.readouterr().err == wanted
    # Errors of this code keep their traceback.
    for error in (ValueError("`n`: wrong"), OSError(errno.EIO, "broken"), KeyError("n")):
        with pytest.raises(type(error)):
            exit_on_input_error(fail, error)


def test_log_messages_show_flags(capsys):
    with new_process():
        log_messages(renamed={"n": "number"})
        logging.getLogger("LAMAR.some.module").info("`batch_size` %d: using %d; `n`", 8, 4)
        logging.getLogger("LAMAR.some.module").debug("not shown")
        logging.getLogger("httpx").info("not shown")
    assert capsys.readouterr().err == "--batch_size 8: using 4; --number\n"


def test_a_logged_exception_keeps_its_traceback():
    record = logging.makeLogRecord({"msg": "`seed`: bad", "exc_info": (ValueError, ValueError("why"), None)})
    assert FlagFormatter().format(record) == "--seed: bad\nValueError: why"


@pytest.mark.parametrize(("rank", "training", "shown"), [("0", True, True), ("1", True, False), ("1", False, True)])
def test_of_many_training_processes_the_first_logs(monkeypatch, capsys, rank, training, shown):
    monkeypatch.setenv("RANK", rank)
    with new_process():
        log_messages(training=training)
        logging.getLogger("LAMAR").info("step 1")
        logging.getLogger("LAMAR").error("step 2")
    assert capsys.readouterr().err == ("step 1\n" if shown else "") + "step 2\n"


def test_a_script_in_a_process(tmp_path):
    """The whole chain, with a library function of this project that is told nothing of flags."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from LAMAR.cli.arguments import log_messages\n"
        "from LAMAR.cli.errors import exit_on_input_error\n"
        "from LAMAR.registry import Entry, Registry\n"
        "log_messages()\n"
        "registry = Registry('head', [Entry('cnn'), Entry('linear')])\n"
        "sys.exit(exit_on_input_error(registry.choose, sys.argv[1]))\n"
    )
    command = [sys.executable, str(script)]
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "LAMAR_LIGHT": "1"}
    done = subprocess.run([*command, "svm"], capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert done.stderr == "error: --head: found 'svm', wanted one of cnn, linear\n"
    assert subprocess.run([*command, "cnn"], env=environment).returncode == 0
