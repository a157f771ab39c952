"""Run folders: the outputs of one run, what it was run on, and the finished parts that a resumed run skips."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import InputError
from . import provenance
from .identity import check_same_run
from .records import (
    RECORD,
    digest,
    is_inside,
    paths_within,
    read_record,
    refuse_to_delete,
    script_name,
)
from .storage import is_partial, jsonable, read_json, write_json

__all__ = ["RunFolder"]

logger = logging.getLogger(__name__)

LOCK, UNITS = ".lock", "units"


class RunFolder:
    """Folder of one run, which the same run resumes after an interruption.

    ``run.json`` holds `LAMAR.runs.provenance.provenance`, the status ("running", "stopped" by an exception,
    "finished"), wall time and number of starts, and ``files``: every file and folder of this run, recorded before it
    is made. Nothing else is ever deleted. A run consists of named units: their results are saved in ``units/``, and
    the next start computes only those that are missing.

    ``with RunFolder.open(...) as run`` holds the folder's lock, which ends with the process at the latest. A run that
    an `InputError` ends before any unit was done is removed, so that it does not block the corrected run; one that an
    earlier start began stays.

    Attributes
    ----------
    path : Path
    is_writer : bool
        False for ranks above 0 of a distributed run, which write nothing.
    was_finished : bool
        Whether the folder held this very run, finished.
    record : dict
        Content of ``run.json``.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with RunFolder.open(folder, arguments={"epochs": 3}, seed=42) as run:
    ...     for fold in ("fold_0", "fold_1"):
    ...         if not run.done(fold):
    ...             result = run.save_unit(fold, {"auroc": 0.9})
    ...     run.finish({"folds": 2})
    >>> with RunFolder.open(folder, arguments={"epochs": 3}, seed=42) as run:
    ...     run.was_finished, run.done("fold_1"), run.load_unit("fold_1")
    (True, True, {'auroc': 0.9})
    """

    def __init__(self, path: Path, is_writer: bool):
        self.path, self.is_writer = path, is_writer
        self.was_finished = False
        self.record: dict[str, Any] = {}
        self._work = [UNITS]  # folders whose content is worth keeping
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
        """Start a run in a folder, or resume the one that the folder holds.

        Parameters
        ----------
        path : str or Path
            Folder, made when missing.
        arguments, seed, inputs, weights
            As in `LAMAR.runs.provenance.provenance`; a resumed run must have the same. Inputs and weights are the same
            by their content, wherever they lie, and ``output_dir`` is not compared.
        overwrite : bool
            Delete what the earlier run made, and nothing else, then start from the beginning.
        resume : bool
            Resume the run that the folder holds; with False such a run is an error.
        ignore : iterable of str
            Names of arguments that may differ between starts.
        may_grow : iterable of str
            Names of integer arguments (numbers of independent repeats) that may be larger in a later start.
        is_writer : bool
            False for ranks above 0 of a distributed run: they read units, and lock, check and write nothing. Let them
            wait until rank 0 has opened the folder.

        Returns
        -------
        RunFolder
            Locked until it is closed.

        Raises
        ------
        InputError
            An input is missing; the folder is in use, holds another run, or files but no run (which ``overwrite``
            tolerates and leaves alone); ``overwrite`` would delete what this run reads, or what another script made.
            The folder's content is unchanged then.
        """
        self = cls(Path(path), is_writer)
        if not is_writer:
            return self
        inputs = list(inputs)
        if overwrite:
            refuse_to_delete([*inputs, *paths_within(weights)], self.path)
        record = provenance.provenance(arguments, seed=seed, inputs=inputs, weights=weights)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            names = set(os.listdir(self.path)) - {LOCK}
            if RECORD not in names and not overwrite and not all(map(is_partial, names)):
                raise InputError(f"{path}: has files but no {RECORD}; use an empty or new `output_dir`")
            read_record(self.path)  # a folder that is refused gets no lock file
            self._acquire()
        except OSError as error:
            raise InputError(f"{path}: cannot be used as output folder ({error.strerror})") from error
        try:
            self._begin(record, overwrite, resume, ignore, may_grow)
        except BaseException:
            self.__exit__(*sys.exc_info())
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

    def _begin(
        self,
        record: dict[str, Any],
        overwrite: bool,
        resume: bool,
        ignore: Iterable[str],
        may_grow: Iterable[str],
    ) -> None:
        earlier = read_record(self.path)
        if earlier is not None and overwrite and script_name(earlier) != script_name(record):
            raise InputError(f"{self.path}: holds a run of {script_name(earlier)}; use another `output_dir`")
        if earlier is not None and (overwrite or earlier["status"] == "emptying"):
            self._empty(earlier)
            earlier = None
        elif earlier is not None:
            if not resume:
                raise InputError(f"{self.path}: holds a run; use `overwrite` or another `output_dir`")
            check_same_run(self.path, earlier, record, ignore, may_grow)
            if earlier["git"] != record["git"] or earlier["versions"] != record["versions"]:
                logger.warning("%s: was started with other code or library versions", self.path)
        for partial in self.path.rglob(".*.partial"):
            # Folders belong to an embedding cache, which removes them under its own locks.
            if is_partial(partial.name) and not partial.is_dir():
                partial.unlink()
        self.record = {"status": "running", **record, "finished": None, "starts": 1}
        self.record |= {"files": [], "summary": None}
        if earlier is not None:
            self.was_finished = earlier["status"] == "finished"
            self.record |= {name: earlier[name] for name in ("started", "files")}
            self.record["starts"] = earlier["starts"] + 1
            self._wall_time_before = earlier["wall_time_s"]
        self._write()
        self.folder(UNITS)

    def _empty(self, record: dict[str, Any]) -> None:
        # Marked first: after a kill half-way, the folder must not pass for a run that can be resumed.
        write_json(self.path / RECORD, record | {"status": "emptying"})
        for name in record["files"]:
            target = self._inside(name)
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            for parent in target.relative_to(self.path).parents[:-1]:
                if (self.path / parent).is_dir() and not os.listdir(self.path / parent):
                    (self.path / parent).rmdir()

    def _inside(self, name: str | Path) -> Path:
        if not is_inside(self.path, str(name)):
            raise ValueError(f"`name`: found {str(name)!r}, wanted a path inside {self.path}")
        return self.path / name

    def _write(self) -> None:
        self.record["wall_time_s"] = round(self._wall_time_before + time.monotonic() - self._started, 3)
        write_json(self.path / RECORD, self.record)

    def _register(self, name: str | Path) -> Path:
        target, name = self._inside(name), Path(name).as_posix()
        if not self.is_writer or any(Path(name).is_relative_to(made) for made in self.record["files"]):
            return target
        if os.path.lexists(target):
            raise InputError(f"{target}: in the way, and not made by this run; use another `output_dir`")
        self.record["files"].append(name)
        self._write()
        return target

    def file(self, name: str | Path) -> Path:
        """Return the path of an output file, recorded as this run's; its folder is made.

        Raises
        ------
        InputError
            A file of this name exists that this run did not make.
        """
        target = self._register(name)
        if self.is_writer:
            target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def folder(self, name: str | Path, empty: bool = False, is_work: bool = False) -> Path:
        """Return the path of a folder that belongs to this run with everything in it; it is made.

        Parameters
        ----------
        name : str or Path
            Relative to the run's folder.
        empty : bool
            Remove its content first.
        is_work : bool
            Its content is worth keeping, as that of ``units/`` is, however the run ends.

        Raises
        ------
        InputError
            A file or folder of this name exists that this run did not make.
        """
        target = self._register(name)
        self._work += [name] if is_work else []
        if self.is_writer:
            if empty and target.exists():
                shutil.rmtree(target)
            target.mkdir(parents=True, exist_ok=True)
        return target

    def _unit_path(self, name: str) -> Path:
        file = f"{quote(name, safe=' =,+@', errors='backslashreplace')}.json"
        if not name or len(file) > 200:
            # Names of sets and records, which a file may bring.
            raise InputError(f"{self.path}: found the name {name[:80]!r}, wanted 1 to 195 letters to name a file by")
        return self.path / UNITS / file

    def find_unit(self, name: str) -> dict[str, Any] | None:
        """Return a saved unit's result; None unless it is saved and undamaged."""
        path = self._unit_path(name)
        if not os.path.exists(path):  # nor in a folder that may not be read
            return None
        try:
            unit = read_json(path)
            if unit["unit"] == jsonable(name) and unit["sha256"] == digest(unit["result"]):
                return unit["result"]
            reason = "its checksum is wrong"
        except (InputError, KeyError, TypeError) as error:
            reason = str(error)
        logger.warning("%s: ignored and computed again: %s", path, reason)
        return None

    def done(self, name: str) -> bool:
        """Return whether this unit's result is saved and undamaged."""
        return self.find_unit(name) is not None

    def save_unit(self, name: str, result: Mapping[str, Any]) -> dict[str, Any]:
        """Save a unit's result, and return it as `load_unit` will.

        Continue with the result that is returned: NaN has become None and tuples lists, so that tables made from fresh
        and from loaded units agree to the last byte.
        """
        result = jsonable(result)
        if self.is_writer:
            write_json(self._unit_path(name), {"unit": name, "sha256": digest(result), "result": result})
            self._write()
        return result

    def load_unit(self, name: str) -> dict[str, Any]:
        """Return a saved unit's result; KeyError unless it is `done`."""
        result = self.find_unit(name)
        if result is None:
            raise KeyError(f"unit {name!r} is not done")
        return result

    def drop_unit(self, name: str) -> None:
        """Delete a unit's result, because the files that it describes will be made again."""
        if self.is_writer:
            self._unit_path(name).unlink(missing_ok=True)

    def finish(self, summary: Mapping[str, Any] | None = None) -> None:
        """Mark the run as finished in ``run.json``, with the wall time over all starts and a summary."""
        if self.is_writer:
            self.record |= {"status": "finished", "finished": provenance.now(), "summary": jsonable(summary)}
            self._write()

    def discard(self) -> None:
        """Remove everything that this run has made, and the folder if nothing else is in it."""
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
            if kind is not None and self.is_writer and self.record.get("status") == "running":
                has_work = any(any((self.path / name).glob("*")) for name in self._work)
                if issubclass(kind, InputError) and self.record["starts"] == 1 and not has_work:
                    self.discard()
                else:
                    self.record["status"] = "stopped"
                    self._write()
        finally:
            self.close()
