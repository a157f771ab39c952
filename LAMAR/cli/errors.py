"""How a script reports to its user: errors in one line, parameters as flags, messages on stderr."""

from __future__ import annotations

import errno
import logging
import re
import sys
from collections.abc import Callable, Mapping

from ..errors import InputError

__all__ = ["FlagFormatter", "exit_on_input_error", "with_flags"]

_PARAMETER = re.compile(r"`([a-z][a-z0-9_]*)`")


def with_flags(message: str, renamed: Mapping[str, str] | None = None) -> str:
    """Return ``message`` with each parameter in backticks as a flag: "`layers`" becomes "--layers".

    Parameters
    ----------
    message : str
        Text of the library, which knows parameters and no flags.
    renamed : mapping, optional
        Flags without dashes by parameter, where the two differ: ``{"n_pos": "subsample_pos"}``.
    """
    renamed = renamed or {}
    return _PARAMETER.sub(lambda match: f"--{renamed.get(match[1], match[1])}", message)


class FlagFormatter(logging.Formatter):
    """Log messages as a script shows them: the text alone, parameters as flags."""

    def format(self, record: logging.LogRecord) -> str:
        return with_flags(super().format(record))


def exit_on_input_error(function: Callable, *args, renamed: Mapping[str, str] | None = None, **kwargs) -> int:
    """Call ``function`` and return the script's exit code.

    An :class:`InputError` becomes one line on stderr, its parameters as flags (``renamed`` as in `with_flags`), and exit
    code 2. Any other exception keeps its traceback, because it is a fault of this code and not of the user. A full disk
    is the user's to mend too. Ctrl-C ends in 130, as shells have it.
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
        if error.errno != errno.ENOSPC:
            raise
        print(f"error: no space left on the device ({error.filename or 'while writing outputs'})", file=sys.stderr)
        return 2
    return 0
