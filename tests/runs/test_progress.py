"""Progress of long computations: silence at first, a bar on a terminal, lines at intervals elsewhere."""

from __future__ import annotations

import io
import logging

import pytest

from LAMAR.cli.arguments import log_messages
from LAMAR.runs import progress as module
from LAMAR.runs.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Time in seconds, in a list that tests change."""
    now = [1000.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, logger="LAMAR")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_line_after_ten_seconds_and_then_every_minute(clock, lines):
    with Progress(100, "steps", "fold_0", stream=io.StringIO()) as progress:
        for step in range(100):
            clock[0] += 2
            progress.advance(1, loss=1 - step / 100)
    at = [int(line.split()[1]) for line in lines()]
    assert at == [5, 35, 65, 95]
    assert lines()[1] == "fold_0: 35 of 100 steps (35 %), loss 0.66, 30 steps/min, about 2 min left"


def test_nothing_is_shown_of_what_takes_less_than_ten_seconds(clock, lines):
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        with Progress(100, "steps", stream=stream) as progress:
            for _ in range(100):
                clock[0] += 0.099
                progress.advance()
    assert lines() == []
    assert (terminal.getvalue(), file.getvalue()) == ("", "")


def test_a_bar_on_a_terminal_alone(lines):
    terminal = Terminal()
    with Progress(4, "steps", "fold_0", stream=terminal, quiet_s=0) as progress:
        progress.advance(4, loss=0.25, learning_rate=None, AUROC="0.9")
        progress._bar.refresh()
    assert "fold_0: 100%" in terminal.getvalue()
    assert "loss 0.25, AUROC 0.9" in terminal.getvalue()
    assert "learning" not in terminal.getvalue()
    assert lines() == []


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_what_is_not_enabled_shows_nothing(clock, lines, stream):
    with Progress(4, "steps", stream=stream, quiet_s=0, enabled=False) as progress:
        clock[0] += 100
        progress.advance(4)
    assert stream.getvalue() == ""
    assert lines() == []


def test_speed_and_remaining_time_are_those_of_this_start():
    progress = Progress(1000, "windows", done=900)
    progress.advance(50)
    assert progress.message(10.0) == "950 of 1,000 windows (95 %), 5 windows/s, about 10 s left"


def test_an_end_that_is_not_known_or_changes():
    progress = Progress(None, "nt")
    progress.advance(50_000, records=3)
    assert progress.message(10.0) == "50,000 nt, records 3, 5,000 nt/s"
    progress.total = 60_000
    assert progress.message(10.0) == "50,000 of 60,000 nt (83 %), records 3, 5,000 nt/s, about 2 s left"
    progress.advance(20_000)
    assert progress.message(10.0).endswith("about 0 s left")


def test_a_new_total_reaches_the_bar():
    with Progress(None, "steps", stream=Terminal(), quiet_s=0) as progress:
        progress.total = 7
        assert progress._bar.total == 7


def test_nothing_done_yet_has_no_speed():
    assert Progress(0, "records").message(5.0) == "0 of 0 records (0 %)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (99.4, "99 s"),
        (99.6, "2 min"),
        (3569, "59 min"),
        (3571, "1 h 0 min"),
        (7800, "2 h 10 min"),
        (84_700, "23 h 32 min"),
        (86_399, "1 d 0 h"),
        (97_200, "1 d 3 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_log_messages_of_a_script_do_not_break_a_bar(monkeypatch):
    """The bar is removed, the message gets a line of its own, and the bar is drawn again below it."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        log_messages()
        with Progress(4, "steps", "fold_0", quiet_s=0) as progress:
            progress.advance(1)
            logging.getLogger("LAMAR").info("`lr` is small")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    before, _, after = terminal.getvalue().partition("--lr is small\n")
    assert before.endswith("\r")
    assert "fold_0" in before
    assert "fold_0" in after
