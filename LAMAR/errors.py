"""Errors that a user can mend, and how messages show values and list names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = ["InputError", "counted", "excerpt", "printable", "quoted", "shortened", "similar", "without_long_words"]

# Characters: of a value in a message; of a path, as file systems limit it; of a whole message.
_VALUE, _PATH, _MESSAGE = 80, 4096, 6_000
_LONG_WORD = re.compile(r"\S{201,}")


class InputError(ValueError):
    """A mistake in an argument or an input file.

    The message is one line that names the argument, or the file and row, what was found and what was wanted. Parameters
    stand in backticks, ```layers`: found 99, wanted -12 to 11``: a notebook shows them like this, and a script as its
    flags (`LAMAR.cli.errors`). `excerpt` and `quoted` cut values from files; what they leave is cut here, words of more
    than 200 characters that are no path, and messages of more than 6,000.
    """

    def __init__(self, message: str):
        text = without_long_words(printable(" ".join(str(message).split())))
        super().__init__(text if len(text) <= _MESSAGE else f"{text[: _MESSAGE // 2]} ... {text[-_MESSAGE // 2 :]}")


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Return a number and what it counts: "1 fold", "1,200 folds".

    Parameters
    ----------
    n : int
    noun : str
        Singular.
    plural : str, optional
        Default the singular and an s.
    """
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"


def printable(text: str, keep: str = "") -> str:
    """Return text with the characters that are not printable, except those in ``keep``, spelt out: ``\\x1b``.

    Names and cells of files may hold what moves a terminal's cursor, or halves of characters.
    """
    if text.isprintable():
        return text
    spelt = (c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)
    return "".join(spelt)


def excerpt(value: object) -> str:
    """Return a value as one line of at most 80 characters for a message; a longer one ends in "..."."""
    text = " ".join(str(value)[:_PATH].split())
    return text if len(text) <= _VALUE else f"{text[: _VALUE - 3]}..."


def quoted(value: object) -> str:
    """Return the `repr` of a value, cut by `excerpt`."""
    return excerpt(repr(value))


def without_long_words(text: str) -> str:
    """Return text with its words of more than 200 characters cut to 80, except those that can be paths."""

    def cut(match: re.Match) -> str:
        word = match[0]
        return word if "/" in word and len(word) <= _PATH else f"{word[: _VALUE - 20]}...{word[-17:]}"

    return _LONG_WORD.sub(cut, text)


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
