"""Run folders: what was run on what, files that are complete or absent, and going on after a kill."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import itertools
import json
import logging
import math
import os
import platform
import re
import secrets
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import numpy as np

from LAMAR.errors import InputError

__all__ = [
    "RunFolder",
    "atomic_write",
    "hash_inputs",
    "library_versions",
    "partial_path",
    "provenance",
    "read_json",
    "remove_leftovers",
    "require_files",
    "sha256_file",
    "sha256_tree",
    "write_csv",
    "write_json",
]

logger = logging.getLogger(__name__)

RECORD, LOCK, UNITS = "run.json", ".lock", "units"
PACKAGES = ["torch", "transformers", "numpy", "scikit-learn", "scipy", "pandas", "safetensors", "accelerate"]
PACKAGES += ["peft", "captum", "tensorflow", "keras", "bioframe", "pyfaidx", "pyarrow"]
# What the record of a run has, and as what: a record edited by hand may hold anything.
_OWN = {"status": str, "command": list, "arguments": dict, "seed": int | None, "git": dict, "versions": dict}
_OWN |= {"inputs": dict, "weights": dict | None, "files": list, "started": str, "starts": int}
_OWN["wall_time_s"] = float | int
_PARTIAL = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)-[0-9a-f]{8}\.partial")


def partial_path(path: Path) -> Path:
    """A new hidden name beside ``path`` for what will be renamed to it; it tells the process."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")


def remove_leftovers(path: Path) -> None:
    """Remove what processes that are gone have staged for the file ``path``: a kill left them no time to."""
    for left in path.parent.iterdir():
        match = _PARTIAL.fullmatch(left.name)
        if match and match["name"] == path.name and not _is_running(int(match["process"])):
            left.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # someone else's
        return True
    return True


@contextmanager
def atomic_write(path: str | Path, mode: str = "w", newline: str | None = None) -> Iterator[IO]:
    """Open a file that appears under its name only when it is complete and on disk.

    What is written goes to a hidden file beside it, which replaces ``path`` at the end of the block. An
    exception removes it and leaves an older ``path`` as it was; after a kill :meth:`RunFolder.open` removes it.
    ``mode`` is "w" (UTF-8) or "wb"; ``newline`` as in :func:`open`.
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"mode: found {mode!r}, wanted 'w' or 'wb'")
    path = Path(path)
    partial = partial_path(path)
    text = {"encoding": "utf-8", "newline": newline} if mode == "w" else {}
    try:
        with open(partial, mode.replace("w", "x"), **text) as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    # Not every file system can: a power cut may then undo the rename, but not tear the file.
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _plain(value: Any) -> Any:
    """The value as JSON holds it: NaN and infinity are None, arrays and tuples lists, paths and keys text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, set | frozenset):
        value = sorted(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: str | Path, obj: Any) -> None:
    """Write JSON atomically, keys in their order; NaN and infinity as null; NumPy values, paths, sets too."""
    text = json.dumps(_plain(obj), indent=2, allow_nan=False, ensure_ascii=False)
    with atomic_write(path) as handle:
        handle.write(text + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; :class:`InputError` names one that is missing, cut off or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error


def write_csv(path: str | Path, rows: Any, columns: Sequence[str] | None = None) -> None:
    """Write a table atomically.

    ``rows`` is an iterable of mappings or a pandas DataFrame (its index is left out), ``columns`` the names in
    order, by default those of the first row. ``float`` reads each float back bit for bit, as does
    ``pandas.read_csv`` with ``float_precision="round_trip"``; None and NaN are empty cells. A row whose keys
    are not the columns is a ValueError. Rows are written as they come, so a generator needs no memory.
    """
    if hasattr(rows, "to_dict"):
        columns = list(rows.columns) if columns is None else columns
        rows = rows.astype(object).where(rows.notna(), None).to_dict("records")
    rows = iter(rows)
    if columns is None:
        if (first := next(rows, None)) is None:
            raise ValueError(f"{path}: no rows, so columns must be given")
        columns, rows = list(first), itertools.chain([first], rows)
    columns = list(columns)
    with atomic_write(path, newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        for i, row in enumerate(rows):
            if difference := set(row) ^ set(columns):
                raise ValueError(f"{path}: row {i} lacks or adds {', '.join(sorted(map(str, difference)))}")
            writer.writerow([_cell(row[name]) for name in columns])


def _cell(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()  # csv writes a Python float by repr, a NumPy one by str
    return None if isinstance(value, float) and math.isnan(value) else value


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal, read in pieces."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_tree(folder: str | Path) -> str:
    """SHA-256 over the relative paths and contents of all files below a folder, whatever its own name."""
    digest = hashlib.sha256()
    for file in sorted(file for file in Path(folder).rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()


def hash_inputs(paths: Iterable[str | Path]) -> dict[str, str]:
    """SHA-256 by path as given, of files and folders; :class:`InputError` names one that cannot be read."""
    hashes = {}
    for path in paths:
        require_files([path])
        try:
            hashes[str(path)] = sha256_tree(path) if Path(path).is_dir() else sha256_file(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return hashes


def require_files(paths: Iterable[str | Path]) -> None:
    """:class:`InputError` unless each is there and a file or a folder: what comes through a pipe is read but once."""
    for path in paths:
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise InputError(f"{path}: found a pipe or device, wanted a file: inputs are read more than once")


def _git(*arguments: str) -> str | None:
    # Variables that git sets for its hooks point at another tree; its lock would disturb the user's own git.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).resolve().parent), *arguments],
            env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            timeout=20,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _source() -> dict[str, Any]:
    # A package installed below some other project's checkout is not tracked there: that commit says nothing.
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {"commit": None, "dirty": None}
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": _git("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


def _versions() -> dict[str, str]:
    from LAMAR import __version__

    return {"LAMAR": __version__, "python": platform.python_version(), **library_versions(PACKAGES)}


def library_versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed; nothing is imported for it."""
    versions = {}
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance(
    arguments: Mapping[str, Any],
    *,
    seed: int | None,
    inputs: Iterable[str | Path] = (),
    weights: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a result came from, ready for JSON.

    Parameters
    ----------
    arguments : resolved arguments by name
    seed : int or None
    inputs : files and folders that are read; see :func:`hash_inputs`
    weights : what is known of the weights: path, SHA-256, ...

    Returns
    -------
    dict
        command, arguments, seed, git (commit and dirty; None where this code is not in a checkout), versions
        (of what is installed; nothing is imported for it), platform, cpu_count, threads (of torch; None before
        it is imported), inputs, weights, started (UTC). Neither host nor user name.
    """
    torch = sys.modules.get("torch")
    return _plain(
        {
            "command": sys.argv,
            "arguments": arguments,
            "seed": seed,
            "git": _source(),
            "versions": _versions(),
            "platform": platform.platform(),
            "cpu_count": os.cpu_count(),
            "threads": torch.get_num_threads() if torch is not None else None,
            "inputs": hash_inputs(inputs),
            "weights": weights,
            "started": _now(),
        }
    )


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
            if RECORD not in names and not overwrite and not all(map(_PARTIAL.fullmatch, names)):
                raise InputError(f"{path}: has files but no {RECORD}; use an empty or new --output_dir")
            self._read_record()  # what it refuses gets no lock file
            self._acquire()
        except OSError as error:
            raise InputError(f"{path}: cannot be used as output folder ({error.strerror})") from error
        try:
            self._begin(record, overwrite, resume, set(ignore))
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

    def _begin(self, record: dict[str, Any], overwrite: bool, resume: bool, ignore: set[str]) -> None:
        found = self._read_record()
        if found is not None and overwrite and _script(found) != _script(record):
            raise InputError(f"{self.path}: holds a run of {_script(found)}; use another --output_dir")
        if found is not None and (overwrite or found["status"] == "emptying"):
            self._empty(found)
            found = None
        elif found is not None:
            if not resume:
                raise InputError(f"{self.path}: holds a run; use --overwrite or another --output_dir")
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
            if _PARTIAL.fullmatch(partial.name) and not partial.is_dir():
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
        result = _plain(result)
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
            self.record |= {"status": "finished", "finished": _now(), "summary": _plain(summary)}
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
