"""Errors and log messages of scripts: one line on stderr, with parameters shown as flags."""

from __future__ import annotations

import errno
import logging
import re
import sys
from collections.abc import Callable, Mapping

from ..errors import InputError, printable, without_long_words
from .signals import print_end, raised_signals

__all__ = ["FlagFormatter", "exit_on_input_error", "with_flags"]

_PARAMETER = re.compile(r"(?<!`)`([a-z][a-z0-9_]*)`(?!`)")


def with_flags(message: str, renamed: Mapping[str, str] | None = None) -> str:
    """Return ``message`` with each parameter in backticks as a flag: "`layers`" becomes "--layers".

    Parameters
    ----------
    message : str
        Message of the library, which names parameters and never flags.
    renamed : mapping, optional
        Flags without dashes by parameter, where the two differ: ``{"n_pos": "subsample_pos"}``.
    """
    renamed = renamed or {}
    return _PARAMETER.sub(lambda match: f"--{renamed.get(match[1], match[1])}", message)


class FlagFormatter(logging.Formatter):
    """Formatter of log messages for a script's user: the text alone, with parameters as flags.

    Parameters
    ----------
    renamed : mapping, optional
        As in `with_flags`.
    """

    def __init__(self, renamed: Mapping[str, str] | None = None):
        super().__init__("%(message)s")
        self.renamed = renamed

    def format(self, record: logging.LogRecord) -> str:
        """Return the message, and the traceback of a logged exception below it."""
        return with_flags(without_long_words(printable(super().format(record), keep="\n\t")), self.renamed)


def exit_on_input_error(function: Callable, *args, renamed: Mapping[str, str] | None = None, **kwargs) -> int:
    """Call ``function`` and return the script's exit code.

    Parameters
    ----------
    function : callable
        Called with ``args`` and ``kwargs``; its result is discarded.
    renamed : mapping, optional
        As in `with_flags`.

    Returns
    -------
    int
        - 0 when the call returns
        - 2 after an `InputError`, printed as one line on stderr with parameters as flags, on a full disk, and for names
          that are too long
        - 130 after Ctrl-C, 143 after SIGTERM and 129 when the terminal is closed, as shells have it

        Any other exception is an error of this code and not of the user, and keeps its traceback.
    """
    with raised_signals() as received:
        try:
            function(*args, **kwargs)
        except BaseException as error:
            if received or isinstance(error, KeyboardInterrupt):
                return print_end(*received[:1])
            if (message := _user_message(error)) is None:
                raise
            print(f"error: {with_flags(message, renamed)}", file=sys.stderr)
            return 2
    return 0


def _user_message(error: BaseException) -> str | None:
    """Return the line for an error that a user can mend, or None for an error of this code."""
    if isinstance(error, InputError):
        return str(error)
    if not isinstance(error, OSError):
        return None
    if error.errno == errno.ENOSPC:
        return f"no space left on the device ({error.filename or 'while writing outputs'})"
    if error.errno == errno.ENAMETOOLONG:
        return f"{str(error.filename)[:80]}...: found a name of more letters than the file system takes"
    return None
