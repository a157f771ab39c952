"""How a script reports errors that a user can mend."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

from ..errors import InputError

__all__ = ["exit_on_input_error"]


def exit_on_input_error(function: Callable, *args, **kwargs) -> int:
    """Call ``function`` and return the script's exit code.

    An :class:`InputError` becomes one line on stderr and exit code 2; any other exception keeps its traceback,
    because it is a fault of this code and not of the user. A full disk is the user's to mend too. Ctrl-C ends in
    130, as shells have it.
    """
    try:
        function(*args, **kwargs)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
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
