"""What is fuzzed: readers of users' files, each with small valid files and what must hold of what it reads."""

from __future__ import annotations

import gzip
import importlib.util
import io
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import numpy as np
from mutations import damage_files

from LAMAR.errors import InputError

__all__ = ["ROOT", "Target", "attempt", "in_letters", "letters", "run_script", "script", "write"]

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes
    ----------
    name : str
    make : callable
        Writes valid files into an empty folder.
    read : callable
        Reads the folder's files, which may be damaged, and asserts what must hold of what it returns.
    damage : callable
        Damages the files, with a `random.Random`.
    share : float
        Inputs of this target for one of another.
    """

    name: str
    make: Callable[[Path], Any]
    read: Callable[[Path], Any]
    damage: Callable[[Random, Path], None] = damage_files
    share: float = 1.0


def letters(n: int, seed: int = 0) -> str:
    """Return n random nucleotides."""
    return "".join(Random(seed).choices("ACGT", k=n))


def write(path: Path, text: str) -> Path:
    """Write a text file, gzipped if its name says so, in a folder that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.name.endswith(".gz") else data)
    return path


def attempt(*calls: Callable[[], Any]) -> None:
    """Call all functions, and raise the last `InputError` among theirs behind the last call."""
    refusal = None
    for call in calls:
        try:
            call()
        except InputError as error:
            check_message(error)
            refusal = error
    if refusal is not None:
        raise refusal


def check_message(error: InputError) -> None:
    """Assert that a message is one short line."""
    message = str(error)
    assert message, "an error without a message"
    assert message.isprintable(), f"a message with letters that cannot be printed: {message[:200]!r}"
    assert len(message) < 400, f"a message of {len(message)} letters: {message[:200]!r}"


def in_letters(sequences: Iterable[str]) -> None:
    """Assert that sequences are normalized nucleotides."""
    for sequence in sequences:
        assert sequence, "an empty sequence"
        assert not set(sequence) - set("ACGTN"), f"letters {set(sequence) - set('ACGTN')}"


def finite(array: np.ndarray) -> None:
    """Assert that there are numbers in an array, and all of them finite."""
    assert array.size, "an empty array"
    assert np.isfinite(array).all(), "numbers that are not finite"


# ------------------------------------------------------------------------------------------------------- scripts


@cache
def script(path: str) -> ModuleType:
    """Return a script as a module; ``path`` is relative to the clone."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_script(path: str, *arguments: Any) -> str:
    """Run a script in this process and return its output; what it refuses is raised as an `InputError`."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = script(path).main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
    errors = [line for line in err.getvalue().split("\n") if line.startswith("error: ")]
    if code == 0:
        assert not errors, f"exit code 0 beside {errors[0]!r}"
        return out.getvalue()
    assert code == 2, f"exit code {code}"
    assert len(errors) == 1, f"{len(errors)} lines of errors"
    raise InputError(errors[0])
