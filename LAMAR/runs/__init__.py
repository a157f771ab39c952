"""Run folders: what was run on what, and going on after a kill."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import InputError
from .provenance import now, provenance
from .storage import is_partial, jsonable, read_json, write_json

__all__ = ["RunFolder"]

logger = logging.getLogger(__name__)

RECORD, LOCK, UNITS = "run.json", ".lock", "units"
# What the record of a run has, and as what: a record edited by hand may hold anything.
_OWN = {"status": str, "command": list, "arguments": dict, "seed": int | None, "git": dict, "versions": dict}
_OWN |= {"inputs": dict, "weights": dict | None, "files": list, "started": str, "starts": int}
_OWN["wall_time_s"] = float | int


class RunFolder:
    """A folder that one run writes, and that the same run can go on with after it was killed.

    ``run.json`` holds :func:`provenance`, the status ("running", "stopped" by an exception, "finished"), wall
    time and number of starts, and ``files``: every file and folder of this run, noted before it is made.
    Nothing else is ever deleted. Work is cut into named units: their results are saved in ``units/``, and those
    that are there on the next start are not computed again.

    ``with RunFolder.open(...) as run`` holds the folder's lock, which ends with the process at the latest. A run that
    an :class:`InputError` ends before any unit was done leaves nothing, so that it does not stand in the way of the
    corrected one; one that an earlier start began stays.
    """

    def __init__(self, path: Path, is_writer: bool):
        self.path, self.is_writer = path, is_writer
        self.was_finished = False  # the folder held this very run, finished
        self.record: dict[str, Any] = {}
        self._work = [UNITS]  # folders with what is worth keeping
        self._lock: int | None = None
        self._started, self._wall_time_before = time.monotonic(), 0.0

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        arguments: Mapping[str, Any],
        seed: int | None,
        inputs: Iterable[str | Path] = (),
        weights: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        resume: bool = True,
        ignore: Iterable[str] = (),
        may_grow: Iterable[str] = (),
        is_writer: bool = True,
    ) -> RunFolder:
        """Start a run in ``path``, or go on with the one that is there.

        Parameters
        ----------
        path : folder, made when missing
        arguments, seed, inputs, weights : see :func:`provenance`; a run that goes on must have the same
        overwrite : delete what the earlier run made, and nothing else, then start afresh
        resume : go on with the run that is there; with False it is an error
        ignore : names of arguments that may differ between starts
        may_grow : names of integer arguments, counts of independent repeats, that may be larger in a later start
        is_writer : False for ranks above 0 of a distributed run: they read units, and lock, check and write
            nothing. Let them wait until rank 0 has opened the folder.

        Raises
        ------
        InputError
            An input is missing; the folder is in use, holds another run, or files but no run (which
            ``overwrite`` tolerates and leaves alone); ``overwrite`` would delete what this run reads, or what another
            script made. What the folder holds is unchanged then.
        """
        self = cls(Path(path), is_writer)
        if not is_writer:
            return self
        inputs = list(inputs)
        if overwrite:
            _refuse_to_delete([*inputs, *_paths_within(weights)], self.path)
        record = provenance(arguments, seed=seed, inputs=inputs, weights=weights)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            names = set(os.listdir(self.path)) - {LOCK}
            if RECORD not in names and not overwrite and not all(map(is_partial, names)):
                raise InputError(f"{path}: has files but no {RECORD}; use an empty or new --output_dir")
            self._read_record()  # what it refuses gets no lock file
            self._acquire()
        except OSError as error:
            raise InputError(f"{path}: cannot be used as output folder ({error.strerror})") from error
        try:
            self._begin(record, overwrite, resume, set(ignore), may_grow)
        except BaseException:
            self.close()
            raise
        return self

    def _acquire(self) -> None:
        lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).decode().strip() or "unknown"
            os.close(lock)
            raise InputError(f"{self.path}: in use by process {holder}") from None
        except OSError as error:  # some network file systems have no locks
            logger.warning("%s: cannot be locked (%s); start no second run in it", self.path, error.strerror)
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._lock = lock

    def _read_record(self) -> dict[str, Any] | None:
        if not (self.path / RECORD).exists():
            return None
        found = read_json(self.path / RECORD)
        if not isinstance(found, dict) or not all(isinstance(found.get(key, ...), kind) for key, kind in _OWN.items()):
            raise InputError(f"{self.path / RECORD}: not a run of this program; use another --output_dir")
        return found

    def _begin(
        self, record: dict[str, Any], overwrite: bool, resume: bool, ignore: set[str], may_grow: Iterable[str]
    ) -> None:
        found = self._read_record()
        if found is not None and overwrite and _script(found) != _script(record):
            raise InputError(f"{self.path}: holds a run of {_script(found)}; use another --output_dir")
        if found is not None and (overwrite or found["status"] == "emptying"):
            self._empty(found)
            found = None
        elif found is not None:
            if not resume:
                raise InputError(f"{self.path}: holds a run; use --overwrite or another --output_dir")
            for name in may_grow:
                was, now = (of["arguments"].get(name) for of in (found, record))
                if isinstance(was, int) and isinstance(now, int):
                    if now < was:
                        raise InputError(
                            f"--{name} {now}: {self.path} holds a run of {was}, wanted that many or more; "
                            "use --overwrite or another --output_dir"
                        )
                    ignore = ignore | {name}
            old, new = _identity(found, ignore), _identity(record, ignore)
            for name in [*new, *old]:
                was, now = old.get(name, "absent"), new.get(name, "absent")
                if was != now:
                    raise InputError(
                        f"{self.path}: holds a run with another {name}: found {was!r}, wanted {now!r}; "
                        "use --overwrite or another --output_dir"
                    )
            if found["git"] != record["git"] or found["versions"] != record["versions"]:
                logger.warning("%s: was started with other code or library versions", self.path)
        for partial in self.path.rglob(".*.partial"):
            # Folders are an embedding cache's, which clears up under its own locks.
            if is_partial(partial.name) and not partial.is_dir():
                partial.unlink()
        self.record = {"status": "running", **record, "finished": None, "starts": 1}
        self.record |= {"files": [], "summary": None}
        if found is not None:
            self.was_finished = found["status"] == "finished"
            self.record |= {name: found[name] for name in ("started", "files")}
            self.record["starts"] = found["starts"] + 1
            self._wall_time_before = found["wall_time_s"]
        self._write()
        self.folder(UNITS)

    def _empty(self, found: dict[str, Any]) -> None:
        # Marked first: killed half-way, the folder must not pass for a run to go on with.
        write_json(self.path / RECORD, found | {"status": "emptying"})
        for name in found["files"]:
            target = self._inside(name)
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            for parent in target.relative_to(self.path).parents[:-1]:
                if (self.path / parent).is_dir() and not os.listdir(self.path / parent):
                    (self.path / parent).rmdir()

    def _inside(self, name: str | Path) -> Path:
        target = self.path / name
        if Path(name).name in ("", "..") or not target.parent.resolve().is_relative_to(self.path.resolve()):
            raise ValueError(f"name: found {str(name)!r}, wanted a path inside {self.path}")
        return target

    def _write(self) -> None:
        self.record["wall_time_s"] = round(self._wall_time_before + time.monotonic() - self._started, 3)
        write_json(self.path / RECORD, self.record)

    def _register(self, name: str | Path) -> Path:
        target, name = self._inside(name), Path(name).as_posix()
        if not self.is_writer or any(Path(name).is_relative_to(made) for made in self.record["files"]):
            return target
        if os.path.lexists(target):
            raise InputError(f"{target}: in the way, and not made by this run; use another --output_dir")
        self.record["files"].append(name)
        self._write()
        return target

    def file(self, name: str | Path) -> Path:
        """Path of an output file, noted as this run's own; :class:`InputError` if someone else's is there."""
        target = self._register(name)
        if self.is_writer:
            target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def folder(self, name: str | Path, empty: bool = False, is_work: bool = False) -> Path:
        """Path of a folder that is this run's own with all that will be in it.

        ``empty`` clears it first. ``is_work``: what is in it is worth keeping, as units are, whatever ends the run.
        """
        target = self._register(name)
        self._work += [name] if is_work else []
        if self.is_writer:
            if empty and target.exists():
                shutil.rmtree(target)
            target.mkdir(parents=True, exist_ok=True)
        return target

    def _unit_path(self, name: str) -> Path:
        file = f"{quote(name, safe=' =,+@')}.json"
        if not name or len(file) > 200:
            raise ValueError(f"name: found {name!r}, wanted 1 to 195 characters")
        return self.path / UNITS / file

    def _read_unit(self, name: str) -> dict[str, Any] | None:
        path = self._unit_path(name)
        if not os.path.exists(path):  # nor in a folder that may not be read
            return None
        try:
            unit = read_json(path)
            if unit["unit"] == name and unit["sha256"] == _digest(unit["result"]):
                return unit["result"]
            reason = "its checksum is wrong"
        except (InputError, KeyError, TypeError) as error:
            reason = str(error)
        logger.warning("%s: ignored and done again: %s", path, reason)
        return None

    def done(self, name: str) -> bool:
        """Whether this unit's result is saved and whole."""
        return self._read_unit(name) is not None

    def save_unit(self, name: str, result: Mapping[str, Any]) -> dict[str, Any]:
        """Save a unit's result, and return it as :meth:`load_unit` will.

        Go on with what is returned: NaN has become None and tuples lists, so that tables made from fresh and
        from loaded units are the same to the last byte.
        """
        result = jsonable(result)
        if self.is_writer:
            write_json(self._unit_path(name), {"unit": name, "sha256": _digest(result), "result": result})
            self._write()
        return result

    def load_unit(self, name: str) -> dict[str, Any]:
        """A saved unit's result; KeyError unless :meth:`done`."""
        result = self._read_unit(name)
        if result is None:
            raise KeyError(f"unit {name!r} is not done")
        return result

    def drop_unit(self, name: str) -> None:
        """Forget a unit's result, since what it is about will be made anew."""
        if self.is_writer:
            self._unit_path(name).unlink(missing_ok=True)

    def finish(self, summary: Mapping[str, Any] | None = None) -> None:
        """Note in ``run.json`` that all is done, with the wall time over all starts and a summary."""
        if self.is_writer:
            self.record |= {"status": "finished", "finished": now(), "summary": jsonable(summary)}
            self._write()

    def discard(self) -> None:
        """Remove what this run has made, and the folder if nothing else is in it; for one that came to nothing."""
        self._empty(self.record)
        self.record["status"] = "discarded"
        for name in (RECORD, LOCK):
            (self.path / name).unlink(missing_ok=True)
        self.close()
        with suppress(OSError):
            self.path.rmdir()

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            with suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_UN)  # forked workers hold the file open too
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind, error, traceback) -> None:
        try:
            if kind is not None and self.is_writer and self.record["status"] == "running":
                has_work = any(any((self.path / name).glob("*")) for name in self._work)
                if issubclass(kind, InputError) and self.record["starts"] == 1 and not has_work:
                    self.discard()
                else:
                    self.record["status"] = "stopped"
                    self._write()
        finally:
            self.close()


def _script(record: Mapping[str, Any]) -> str:
    return Path(record["command"][0]).name if record.get("command") else "unknown"


def _paths_within(weights: Any) -> list[str]:
    """Texts in what is known of the weights that name a file or folder."""
    if isinstance(weights, Mapping):
        return [path for value in weights.values() for path in _paths_within(value)]
    return [weights] if isinstance(weights, str) and weights and len(weights) < 4096 and os.path.exists(weights) else []


def _refuse_to_delete(read: Iterable[str | Path], folder: Path) -> None:
    for path in read:
        if Path(path).resolve().is_relative_to(folder.resolve()):
            raise InputError(f"--output_dir: {folder} holds {path}, which this run reads; use another --output_dir")


def _digest(result: Any) -> str:
    return hashlib.sha256(json.dumps(result, allow_nan=False).encode()).hexdigest()


def _identity(record: Mapping[str, Any], ignore: set[str]) -> dict[str, Any]:
    """What must be equal for one start to go on with another."""
    arguments = {f"--{name}": value for name, value in record["arguments"].items() if name not in ignore}
    inputs = {f"content of {name}": value for name, value in record["inputs"].items()}
    return arguments | inputs | {"seed": record["seed"]} | dict(_leaves("weights", record["weights"]))


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What a nested dictionary holds, one by one, each under the names that lead to it."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(f"{name} {key}", inner)
    else:
        yield name, value
