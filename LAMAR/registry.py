"""Tables of the choices of a concept, read by parsers, runs, tables, figures and documentation alike.

The module is import-light: an entry names its function as ``"LAMAR.module:function"``, which is imported on first use,
so that a parser can list all choices without torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from .errors import InputError, quoted

__all__ = ["Entry", "Registry"]


@dataclass(frozen=True)
class Entry:
    """One choice of a concept.

    Attributes
    ----------
    name : str
        What a user writes, and what tables hold.
    label : str
        What figures, reports and ``--help`` show.
    function : str or callable
        What does the work: a callable, or ``"package.module:attribute"``, which `load` imports on first use.
    options : tuple of str
        Names of the parameters that only some choices read.
    columns : tuple of str
        Columns that this choice adds to result tables.
    """

    name: str
    label: str = ""
    function: str | Callable = ""
    options: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def load(self) -> Callable:
        """Return the function of this entry, importing its module where necessary."""
        if callable(self.function):
            return self.function
        module, _, attribute = self.function.partition(":")
        return getattr(importlib.import_module(module), attribute)


E = TypeVar("E", bound=Entry)


class Registry(Mapping[str, E], Generic[E]):
    """The entries of one concept by name, in a fixed order.

    Parameters
    ----------
    parameter : str
        Name of the parameter that chooses among them; errors name it.
    entries : iterable of Entry
        Names must differ.
    """

    def __init__(self, parameter: str, entries: Iterable[E] = ()):
        self.parameter = parameter
        self._entries: dict[str, E] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: E) -> E:
        """Add an entry at the end and return it; ValueError where its name is taken."""
        if entry.name in self._entries:
            raise ValueError(f"{self.parameter}: {entry.name!r} is registered twice")
        self._entries[entry.name] = entry
        return entry

    def remove(self, name: str) -> None:
        """Remove an entry, as tests do with a dummy entry."""
        del self._entries[name]

    def __getitem__(self, name: str) -> E:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all entries in order, as a parser's ``choices``."""
        return tuple(self._entries)

    def choose(self, name: str, parameter: str | None = None) -> E:
        """Return the entry of that name.

        Parameters
        ----------
        name : str
        parameter : str, optional
            What the caller calls the parameter, where that is not the registry's name for it.

        Raises
        ------
        InputError
            For an unknown name; the message names the parameter and all choices.
        """
        if name not in self._entries:
            choices = ", ".join(self._entries)
            raise InputError(f"`{parameter or self.parameter}`: found {quoted(name)}, wanted one of {choices}")
        return self._entries[name]
