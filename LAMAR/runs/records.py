"""The record of a run, ``run.json``: reading it and checking what it holds."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from .storage import read_json_object

__all__ = [
    "RECORD",
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
