"""The record of a run, ``run.json``: reading it, and telling whether two starts belong to the same run."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from .storage import read_json_object

__all__ = [
    "RECORD",
    "check_same_run",
    "digest",
    "entry_problem",
    "is_inside",
    "paths_within",
    "read_record",
    "refuse_to_delete",
    "script_name",
]

RECORD = "run.json"
# Entries of a record and their types: a record that was edited by hand may hold anything.
_ENTRY_TYPES = {"status": str, "command": list, "arguments": dict, "seed": int | None, "git": dict, "versions": dict}
_ENTRY_TYPES |= {"inputs": dict, "weights": dict | None, "files": list, "started": str, "starts": int}
_ENTRY_TYPES["wall_time_s"] = float | int
# Types of what lists and objects hold.
_ELEMENT_TYPES = {"command": str, "versions": str, "inputs": str, "files": str, "git": str | bool | None}
_LONGEST_NAME = 255  # bytes, of a file or folder


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the record of the run in a folder, or None where there is none.

    Raises
    ------
    InputError
        ``run.json`` is not the record of a run of this package.
    """
    if not (folder / RECORD).exists():
        return None
    record = read_json_object(folder / RECORD)
    missing = next((name for name in _ENTRY_TYPES if name not in record), None)
    problem = f"found no {missing}" if missing else entry_problem(record)
    if problem:
        raise InputError(f"{folder / RECORD}: not a run of this program ({problem}); use another `output_dir`")
    for name in record["files"]:
        if not is_inside(folder, name):
            raise InputError(f"{folder / RECORD}: files: found {name[:80]!r}, wanted paths inside the run's folder")
    return record


def entry_problem(record: Mapping[str, Any]) -> str | None:
    """Return what is wrong with an entry of a record that has another type than a run's, or None.

    Entries that the record does not have are no problem here.
    """
    for name, kind in _ENTRY_TYPES.items():
        value = record.get(name)
        elements = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        wrong = next((one for one in elements if not isinstance(one, _ELEMENT_TYPES.get(name, object))), None)
        if name in record and not isinstance(value, kind):
            return f"{name}: found {str(value)[:80]}"
        if wrong is not None:
            return f"{name}: found {str(wrong)[:80]} in it"
    if not 0 <= record.get("wall_time_s", 0) < math.inf:
        return f"wall_time_s: found {record['wall_time_s']}"
    return None


def is_inside(folder: Path, name: str) -> bool:
    """Return whether a name in a run's record is that of a file or folder below the run's folder."""
    parts = Path(name).parts
    if "\0" in name or not parts or parts[-1] == ".." or any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
        return False
    return (folder / name).parent.resolve().is_relative_to(folder.resolve())


def script_name(record: Mapping[str, Any]) -> str:
    """Return the file name of the script that wrote a record."""
    return Path(record["command"][0]).name if record.get("command") else "unknown"


def check_same_run(
    folder: Path,
    earlier: Mapping[str, Any],
    current: Mapping[str, Any],
    ignore: Iterable[str] = (),
    may_grow: Iterable[str] = (),
) -> None:
    """Check that a start can resume the run that a folder holds.

    Parameters
    ----------
    folder : Path
        For messages.
    earlier, current : mapping
        Record of the folder's run, and of the start.
    ignore : iterable of str
        Names of arguments that may differ.
    may_grow : iterable of str
        Names of integer arguments that may be larger in ``current``.

    Raises
    ------
    InputError
        Another argument, input, seed or weights; the message names the first that differs.
    """
    ignored = set(ignore)
    for name in may_grow:
        before, wanted = earlier["arguments"].get(name), current["arguments"].get(name)
        if isinstance(before, int) and isinstance(wanted, int):
            if wanted < before:
                raise InputError(
                    f"`{name}` {wanted}: {folder} holds a run of {before}, wanted that many or more; "
                    "use `overwrite` or another `output_dir`"
                )
            ignored.add(name)
    old, new = _identity(earlier, ignored), _identity(current, ignored)
    for name in [*new, *old]:
        before, wanted = old.get(name, "absent"), new.get(name, "absent")
        # An argument that came to the program later is None where it is not given.
        if old.get(name) != new.get(name):
            raise InputError(
                f"{folder}: holds a run with another {name}: found {before!r}, wanted {wanted!r}; "
                "use `overwrite` or another `output_dir`"
            )


def _identity(record: Mapping[str, Any], ignored: set[str]) -> dict[str, Any]:
    """Return what must be equal for one start to resume another, by name as messages show it."""
    arguments = {f"`{name}`": value for name, value in record["arguments"].items() if name not in ignored}
    inputs = {f"content of {name}": value for name, value in record["inputs"].items()}
    return arguments | inputs | {"seed": record["seed"]} | dict(_leaves("weights", record["weights"]))


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values of a nested dictionary, each under the names that lead to it."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(f"{name} {key}", inner)
    else:
        yield name, value


def paths_within(weights: Any) -> list[str]:
    """Return the texts in a (nested) description of weights that name an existing file or folder."""
    if isinstance(weights, Mapping):
        return [path for value in weights.values() for path in paths_within(value)]
    return [weights] if isinstance(weights, str) and weights and len(weights) < 4096 and os.path.exists(weights) else []


def refuse_to_delete(inputs: Iterable[str | Path], folder: Path) -> None:
    """Raise `InputError` if one of the inputs lies in the folder that is about to be emptied."""
    for path in inputs:
        if Path(path).resolve().is_relative_to(folder.resolve()):
            raise InputError(f"`output_dir`: {folder} holds {path}, which this run reads; use another `output_dir`")


def digest(result: Any) -> str:
    """Return the SHA-256, in hexadecimal, of a result in the form that `jsonable` gives it."""
    return hashlib.sha256(json.dumps(result, allow_nan=False).encode()).hexdigest()
