"""Errors that a user can mend, and how messages list names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["InputError", "shortened", "similar"]


class InputError(ValueError):
    """A mistake in an argument or an input file.

    The message is one line that names the argument, or the file and row, what was found and what was wanted. Parameters
    stand in backticks, ```layers`: found 99, wanted -12 to 11``: a notebook shows them like this, and a script as its
    flags (`LAMAR.cli.errors`).
    """

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))


def similar(name: str, choices: Iterable[str], most: int = 3) -> str:
    """Return " (similar: A, B)" with choices like a name that is not among them, or "".

    Choices with the same beginning up to an underscore, such as an RBP in another cell line, come first.
    """
    choices = sorted(set(choices))
    beginning = f"{name.partition('_')[0]}_".lower()
    near = [choice for choice in choices if f"{choice}_".lower().startswith(beginning)]
    near += [choice for choice in difflib.get_close_matches(name, choices, n=most) if choice not in near]
    return f" (similar: {', '.join(near[:most])})" if near else ""


def shortened(names: Iterable[object], most: int = 12) -> str:
    """Return names joined by commas; past ``most`` of them, the first ones and how many are left out.

    Parameters
    ----------
    names : iterable
        Anything that `str` makes a name of, in the order of the message.
    most : int
        Largest number of names to spell out.
    """
    names = [str(name) for name in names]
    remainder = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + remainder
