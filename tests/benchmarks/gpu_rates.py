"""Rates on one device: each alternative timed by itself, with peak memory and the share of the device's own limits."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import torch

__all__ = ["Rate", "Rates", "markdown"]

# Of an alternative, after one call that is not timed: rounds as long as they are few or short, but not too long.
LEAST_ROUNDS, LEAST_SECONDS, MOST_SECONDS = 3, 0.4, 2.0


@dataclass
class Rate:
    """What was measured of one alternative.

    Attributes
    ----------
    part, model, work, alternative : str
        Alternatives of the same part, model and work are compared with each other.
    unit : str
        What the rate counts.
    rate : float or None
        Items of the unit per second; None where nothing was measured.
    rounds : int
        Timed calls, of which the median counts.
    times_reference : float or None
        The rate over that of the reference of the same work.
    share : float or None
        Floating-point operations per second over those of the device's large square product in that precision.
    peak_gib : float or None
        Largest memory of the device's tensors.
    note, error : str
        Why nothing was measured, or what else was found.
    """

    part: str
    model: str
    work: str
    alternative: str
    unit: str
    rate: float | None = None
    rounds: int = 0
    times_reference: float | None = None
    share: float | None = None
    peak_gib: float | None = None
    note: str = ""
    error: str = ""
    is_reference: bool = False


@dataclass
class Rates:
    """The measurements of a run.

    Parameters
    ----------
    device : torch.device
    minutes : float
        Time after which no alternative is begun any more.
    """

    device: torch.device
    minutes: float
    rows: list[Rate] = field(default_factory=list)
    # Floating-point operations per second by precision, as `limit` names it.
    limits: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def remaining(self) -> float:
        """Return the seconds that are left."""
        return 60 * self.minutes - (time.monotonic() - self.started)

    def free(self) -> None:
        """Return memory that nothing uses to the device, and forget its peak."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def seconds(self, function: Callable[[], object]) -> float:
        """Return the time of a call and of what it left the device to do."""
        start = time.perf_counter()
        function()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def failed(self, row: Rate, error: Exception) -> None:
        """Record an error in a row, in one line."""
        row.error = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"

    def measure(
        self,
        place: tuple[str, str, str],
        alternative: str,
        function: Callable[[], object],
        n: float,
        unit: str,
        *,
        flop: float = 0.0,
        limit: str = "",
        is_reference: bool = False,
        needs: float = 0.0,
        note: str = "",
    ) -> Rate:
        """Time an alternative and append its row; an error is recorded, and the others go on.

        Parameters
        ----------
        place : tuple of str
            Part, model and work.
        alternative : str
        function : callable
        n : float
            Items that a call does.
        unit : str
        flop : float
            Floating-point operations of a call; 0 where they are not counted.
        limit : str
            Precision whose limit the operations are compared with.
        is_reference : bool
            Others of the same place are compared with this one.
        needs : float
            Seconds that must be left.
        note : str
        """
        row = Rate(*place, alternative, unit, is_reference=is_reference, note=note)
        self.rows.append(row)
        if self.remaining() < needs:
            row.note = "not run: no time left"
            return row
        self.free()
        try:
            self._fill(row, function, n, flop, limit)
        except Exception as error:  # whatever it is, the other alternatives shall be measured
            self.failed(row, error)
        print(line(row), flush=True)
        return row

    def _fill(self, row: Rate, function: Callable[[], object], n: float, flop: float, limit: str) -> None:
        first, timed = self.seconds(function), []
        if first > 2 * MOST_SECONDS:  # which loses little by having been the first
            timed.append(first)
        while sum(timed) < MOST_SECONDS and (len(timed) < LEAST_ROUNDS or sum(timed) < LEAST_SECONDS):
            timed.append(self.seconds(function))
        row.rounds = len(timed)
        seconds = sorted(timed)[len(timed) // 2]
        row.rate = n / seconds
        if flop and limit in self.limits:
            row.share = flop / seconds / self.limits[limit]
        if self.device.type == "cuda":
            row.peak_gib = torch.cuda.max_memory_allocated() / 2**30

    def compare(self) -> None:
        """Fill the rates over those of the reference."""
        references = {
            (row.part, row.model, row.work): row.rate for row in self.rows if row.is_reference and row.rate is not None
        }
        for row in self.rows:
            reference = references.get((row.part, row.model, row.work))
            if row.rate is not None and reference:
                row.times_reference = row.rate / reference

    def as_dicts(self) -> list[dict]:
        """Return the rows as plain data."""
        return [asdict(row) for row in self.rows]


def line(row: Rate) -> str:
    """Return what a row says, in one line."""
    rate = row.error or row.note if row.rate is None else f"{row.rate:,.4g} {row.unit}/s"
    return f"{row.part}, {row.model}, {row.work}, {row.alternative}: {rate}"


def markdown(rates: Rates, title: str, facts: list[str]) -> str:
    """Return the rows as a Markdown table below a title and some facts."""
    heads = ["part", "model", "work", "alternative", "rate", "x reference", "share of limit", "peak GiB", "note"]
    lines = [f"# {title}", "", *facts, "", f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for row in rates.rows:
        ratio = "reference" if row.is_reference else "" if row.times_reference is None else f"{row.times_reference:.2f}"
        cells = [
            *(row.part, row.model, row.work, row.alternative),
            "" if row.rate is None else f"{row.rate:,.4g} {row.unit}/s",
            ratio,
            "" if row.share is None else f"{row.share:.1%}",
            "" if row.peak_gib is None else f"{row.peak_gib:.2f}",
            f"**{row.error}**" if row.error else row.note,
        ]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
