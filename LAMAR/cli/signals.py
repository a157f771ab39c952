"""Signals that end a script, as Ctrl-C does: one line on stderr and no traceback, from the first import on."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["EndingSignal", "answer_signals", "print_end", "raised_signals"]

_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
# Seconds: one Ctrl-C can arrive several times, from the terminal and from a launcher, and would break off the clean-up.
_REPEATED = 1.0
_AGAIN = 0.05


class EndingSignal(KeyboardInterrupt):
    """A signal that ends the script; raised where the program is, so that runs are closed and files removed.

    Attributes
    ----------
    number : int
        Of the signal.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def answer_signals() -> None:
    """End the script at once, in one line, on a signal that comes before the script does anything.

    For the first lines of a script: an exception inside an import prints a traceback, or is lost. Signals that the
    process was started to ignore stay ignored.
    """
    _handle(_end_at_once)


@contextmanager
def raised_signals() -> Iterator[list[int]]:
    """Raise `EndingSignal` on a signal inside the block, and restore the handlers behind it.

    Elsewhere than in the main thread this has no effect, because only that one may set handlers.

    Yields
    ------
    list of int
        Signals that have come. Compiled modules replace an exception that strikes while they are imported: whatever
        the block raises once this list is not empty is the signal's work.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    process, last = os.getpid(), -_REPEATED

    def raise_it(number: int, frame) -> None:
        nonlocal last
        if os.getpid() != process:  # a forked worker, which its parent ends
            os._exit(128 + number)
        if time.monotonic() - last >= _REPEATED:
            last = time.monotonic()
            received.append(number)
            raise EndingSignal(number)

    def unraisable(event) -> None:
        nonlocal last
        if not isinstance(event.exc_value, EndingSignal):
            return hook(event)
        # It struck in a callback that cannot raise: once more, a moment later.
        last = -_REPEATED
        threading.Timer(_AGAIN, signal.raise_signal, [event.exc_value.number]).start()

    hook = sys.unraisablehook
    earlier = _handle(raise_it)
    sys.unraisablehook = unraisable
    try:
        yield received
    finally:
        sys.unraisablehook = hook
        for number, handler in earlier.items():
            signal.signal(number, handler)


def print_end(number: int = signal.SIGINT) -> int:
    """Print the line that a signal ends a script with, and return the exit code, as shells have it."""
    with suppress(OSError, ValueError):  # the terminal may be gone
        sys.stdout.flush()
        print(_WORDS[signal.Signals(number)], file=sys.stderr, flush=True)
    return 128 + number


def _handle(handler: Callable) -> dict[int, Callable]:
    """Set a handler of all ending signals but the ignored ones, and return what it replaced."""
    replaced = {number: signal.getsignal(number) for number in _WORDS}
    replaced = {number: old for number, old in replaced.items() if old not in (signal.SIG_IGN, None)}
    for number in replaced:
        signal.signal(number, handler)
    return replaced


def _end_at_once(number: int, frame) -> None:
    with suppress(RuntimeError):  # the signal struck while a line was being printed
        print_end(number)
    os._exit(128 + number)
