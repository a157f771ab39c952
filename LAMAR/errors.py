"""Errors that a user can mend."""

from __future__ import annotations

__all__ = ["InputError"]


class InputError(ValueError):
    """A mistake in an argument or an input file.

    The message is one line that names the argument, or the file and row, what was found and what was wanted. Parameters
    stand in backticks, ```layers`: found 99, wanted -12 to 11``: a script shows them as its flags (``--layers``, see
    `LAMAR.cli.errors`), a notebook as they are.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))
