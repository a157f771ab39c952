"""Inputs of a target in forked processes with limits: what each came to."""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from targets import ROOT, Target, check_message

from LAMAR.errors import InputError

__all__ = ["BYTES", "READ", "REFUSED", "SECONDS", "Finding", "Workplace"]

SECONDS = 5  # of processor time for an input
BYTES = 2**31  # beyond what the process had before it
_PATIENCE = 600  # seconds without a word from a process, which may have little of a processor
READ, REFUSED = "read", "refused"


@dataclass(frozen=True)
class Finding:
    """Something that must not happen.

    Attributes
    ----------
    target : str
    seed : int
    what : str
        Kind of exception and its message, or what limit was passed.
    where : str
        Innermost place in the library, or in the target.
    """

    target: str
    seed: int
    what: str
    where: str

    @property
    def kind(self) -> tuple[str, str, str]:
        """What findings that are alike share."""
        return self.target, self.what.partition(":")[0], self.where


class _StrictHandler(logging.Handler):
    """Formats log messages as a script does, and lets errors in them be seen."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)


class Workplace:
    """A target's folder: its valid files, and the damaged copy that is read.

    Parameters
    ----------
    target : Target
    folder : path
        Made, with its parents.
    """

    def __init__(self, target: Target, folder: Path):
        self.target, self.folder = target, folder
        self.valid, self.case = folder / "valid", folder / "case"

    def prepare(self, seed: int) -> None:
        """Lay the damaged files of a seed into `case`, which is always the same path: records may name it."""
        shutil.rmtree(self.case, ignore_errors=True)
        if not self.valid.exists():
            self.case.mkdir(parents=True)
            self.target.make(self.case)
            self.case.rename(self.valid)
        shutil.copytree(self.valid, self.case, symlinks=True)
        self.target.damage(Random(f"{self.target.name}:{seed}"), self.case)

    def replay(self, seed: int) -> None:
        """Read one input in this process, say what it comes to, and keep its files."""
        self.prepare(seed)
        print(f"files: {self.case}")
        try:
            self.target.read(self.case)
        except InputError as error:
            print(f"{REFUSED}: {error}")
            check_message(error)
        else:
            print(READ)

    # ------------------------------------------------------------------------------------------------- processes

    def run(self, seeds: Iterable[int]) -> Iterator[tuple[int, str | Finding]]:
        """Yield each seed with `READ`, `REFUSED` or a `Finding`; a process that ends early is followed by another."""
        left = list(seeds)
        while left:
            for seed, outcome in self._in_process(left):
                left.remove(seed)
                yield seed, outcome

    def _in_process(self, seeds: list[int]) -> Iterator[tuple[int, str | Finding]]:
        receiver, sender = os.pipe()
        sys.stdout.flush()
        process = os.fork()
        if not process:
            os.close(receiver)
            self._work(seeds, sender)
        os.close(sender)
        begun, silent = seeds[0], False
        with os.fdopen(receiver, "rb") as lines:
            while True:
                if not select.select([lines], [], [], _PATIENCE)[0]:
                    silent = True
                    os.kill(process, signal.SIGKILL)
                if not (line := lines.readline()):
                    break
                seed, outcome = json.loads(line)
                if outcome is None:
                    begun = seed
                else:
                    begun = None
                    yield seed, outcome if isinstance(outcome, str) else Finding(**outcome)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if begun is not None:
            what = f"silent for {_PATIENCE} s" if silent else f"the process ended: code {status}"
            yield begun, Finding(self.target.name, begun, what, "unknown")

    def _work(self, seeds: list[int], sender: int) -> None:
        """Read inputs in this forked process, report, and end it."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        faulthandler.disable()  # pytest's writes elsewhere; a crash is the parent's to report
        # The terminal's Ctrl-C is the parent's to answer; library messages are formatted and go nowhere.
        logging.basicConfig(handlers=[_StrictHandler()], level=logging.INFO, force=True)

        def report(seed: int, outcome: str | dict | None) -> None:
            os.write(sender, json.dumps([seed, outcome]).encode() + b"\n")

        try:
            for seed in seeds:
                report(seed, None)
                self.prepare(seed)
                outcome = self._read(seed)
                report(seed, outcome if isinstance(outcome, str) else asdict(outcome))
        except BaseException:
            report(seed, asdict(Finding(self.target.name, seed, _exception(), "the driver")))
        finally:
            os._exit(0)

    def _read(self, seed: int) -> str | Finding:
        _limit()
        start = time.process_time()
        try:
            self.target.read(self.case)
            outcome = READ
        except InputError as error:
            outcome = REFUSED
            try:
                check_message(error)
            except AssertionError:
                return Finding(self.target.name, seed, _exception(), _place(error))
        except BaseException as error:
            return Finding(self.target.name, seed, _exception(), _place(error))
        if (seconds := time.process_time() - start) > SECONDS:
            return Finding(self.target.name, seed, f"slow: {seconds:.1f} s", outcome)
        return outcome


def _limit() -> None:
    """Let this process have `BYTES` more, and end where one input takes far more than `SECONDS`."""
    with open("/proc/self/status") as handle:
        data = next(int(line.split()[1]) * 1024 for line in handle if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (data + BYTES, resource.RLIM_INFINITY))
    seconds = int(time.process_time() + 6 * SECONDS) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


def _exception() -> str:
    kind, error, _ = sys.exc_info()
    return f"{kind.__name__}: {' '.join(str(error).split())[:300]}"


def _place(error: BaseException) -> str:
    """Return the innermost line of the library in a traceback, or of the tests where it has none."""
    frames = traceback.extract_tb(error.__traceback__)
    for folder in ("LAMAR", "tests/fuzz/targets"):
        inside = [frame for frame in frames if frame.filename.startswith(str(ROOT / folder))]
        if inside:
            return f"{Path(inside[-1].filename).relative_to(ROOT)}:{inside[-1].lineno}"
    return "unknown"
