"""Whether two starts belong to the same run, wherever their files are.

Inputs and weights are known by their SHA-256. Paths are information: a run that was moved or copied together with its
data, or to a machine where they lie elsewhere, is resumed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError

__all__ = ["check_same_run", "relocated"]

# Where the record lies says which folder the run is in.
_NEVER_COMPARED = {"output_dir"}
# Entries of a description of weights that say where they are.
_PATHS = ("path", "source", "pretrain_path", "model_path")


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
        Another argument, input, seed or weights; the message names the first that differs. A path is no other argument
        where the files that it stands for are the same.
    """
    ignored = {*ignore, *_NEVER_COMPARED}
    for name in may_grow:
        before, wanted = earlier["arguments"].get(name), current["arguments"].get(name)
        if isinstance(before, int) and isinstance(wanted, int):
            if wanted < before:
                raise InputError(
                    f"`{name}` {wanted}: {folder} holds a run of {before}, wanted that many or more; "
                    "use `overwrite` or another `output_dir`"
                )
            ignored.add(name)
    for name, before, wanted in _differences(earlier, current, ignored):
        raise InputError(
            f"{folder}: holds a run with another {name}: found {before!r}, wanted {wanted!r}; "
            "use `overwrite` or another `output_dir`"
        )


def _differences(
    earlier: Mapping[str, Any], current: Mapping[str, Any], ignored: set[str]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield what keeps one start from resuming another: its name in messages, and both values."""
    old, new = earlier["arguments"], current["arguments"]
    for name in dict.fromkeys((*new, *old)):
        before, wanted = old.get(name), new.get(name)
        # An argument that came to the program later is None where it is not given.
        if name not in ignored and before != wanted and not _same_content(before, wanted, earlier, current):
            yield f"`{name}`", old.get(name, "absent"), new.get(name, "absent")
    yield from _other_inputs(earlier["inputs"], current["inputs"])
    pairs = ({"seed": record["seed"]} | dict(_leaves("weights", record["weights"])) for record in (earlier, current))
    old, new = pairs
    for name in dict.fromkeys((*new, *old)):
        if old.get(name) != new.get(name):
            yield name, old.get(name, "absent"), new.get(name, "absent")


def _other_inputs(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield the inputs whose content the other start did not have, or had under another path that both have."""
    left = Counter(old.values())
    for path, digest in new.items():
        if old.get(path, digest) != digest or not left[digest]:
            yield f"content of {path}", old.get(path, "absent"), digest
        left[digest] -= 1
    for path, digest in old.items():
        if left[digest] > 0:
            yield f"content of {path}", digest, new.get(path, "absent")


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values of a nested description of weights, each under the names that lead to it, without paths."""
    if not isinstance(value, dict) or not value:
        yield name, value
        return
    for key, inner in value.items():
        if not (value.get("sha256") and key in _PATHS):
            yield from _leaves(f"{name} {key}", inner)


def _same_content(before: Any, wanted: Any, earlier: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
    """Return whether two values of an argument are paths of files with the same content."""
    found = _content(before, earlier["inputs"], dict(_weights(earlier["weights"])))
    return found is not None and found == _content(wanted, current["inputs"], dict(_weights(current["weights"])))


def _weights(value: Any) -> Iterator[tuple[str, str]]:
    """Yield path and SHA-256 of the weights in a nested description."""
    if not isinstance(value, dict):
        return
    if value.get("sha256"):
        yield from ((str(Path(value[key])), value["sha256"]) for key in _PATHS if isinstance(value.get(key), str))
    for inner in value.values():
        yield from _weights(inner)


def _content(value: Any, inputs: Mapping[str, str], weights: Mapping[str, str]) -> list | None:
    """Return the digests of the recorded files that a path, or each of a list of paths, stands for.

    Names within the path count, because ids of records are made of them; for weights they do not. The result is None
    for what is no path of a recorded file.
    """
    if isinstance(value, list):
        contents = [_content(one, inputs, weights) for one in value]
        return contents if contents and None not in contents else None
    if not isinstance(value, str) or not value:
        return None
    name, separator, inner = value.rpartition("=")  # as in NAME=FOLDER
    for label, text in (("", value), (name, inner)) if separator else (("", value),):
        if (path := str(Path(text))) in weights:
            return [label, weights[path]]
        files = [(Path(path).name, inputs[path])] if path in inputs else []
        # Files of a folder; a pair of FASTA files is named by what comes before ".positives.fa".
        inner_names = [(file[len(path) :], file) for file in {**inputs, **weights} if file.startswith(path)]
        files += [(rest, inputs.get(file) or weights[file]) for rest, file in inner_names if rest[:1] in ("/", ".")]
        if files:
            return [label, *sorted(files)]
    return None


def relocated(path: str, folder_then: str | Path, folder_now: str | Path) -> str:
    """Return where a recorded path is now, if it was moved together with the run's folder; else the path itself.

    Parameters
    ----------
    path : str
        As recorded.
    folder_then, folder_now : path
        The run's folder when it was recorded, and now.
    """
    then, now = Path(folder_then), Path(folder_now).resolve()
    if not path or Path(path).exists() or not then.is_absolute():
        return path
    while then.name and then.name == now.name:
        then, now = then.parent, now.parent
    moved = now / Path(path).relative_to(then) if Path(path).is_relative_to(then) else Path(path)
    return str(moved) if moved.exists() else path
