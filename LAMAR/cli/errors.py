"""Errors and log messages of scripts: one line on stderr, with parameters shown as flags."""

from __future__ import annotations

import errno
import logging
import re
import sys
from collections.abc import Callable, Mapping

from ..errors import InputError, without_long_words

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
        return with_flags(without_long_words(super().format(record)), self.renamed)


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
        - 130 after Ctrl-C, as shells have it

        Any other exception is an error of this code and not of the user, and keeps its traceback.
    """
    try:
        function(*args, **kwargs)
    except InputError as error:
        print(f"error: {with_flags(str(error), renamed)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno == errno.ENOSPC:
            message = f"no space left on the device ({error.filename or 'while writing outputs'})"
        elif error.errno == errno.ENAMETOOLONG:
            message = f"{str(error.filename)[:80]}...: found a name of more letters than the file system takes"
        else:
            raise
        print(f"error: {message}", file=sys.stderr)
        return 2
    return 0
