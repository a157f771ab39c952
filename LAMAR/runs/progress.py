"""How far a long computation is: a bar on a terminal and in a notebook, a line every minute elsewhere."""

from __future__ import annotations

import logging
import sys
from time import monotonic
from typing import TextIO

__all__ = ["BarSafeHandler", "Progress", "duration"]

logger = logging.getLogger(__name__)

QUIET_S, EVERY_S = 10.0, 60.0


def duration(seconds: float) -> str:
    """Return a time in its two largest units: "40 s", "12 min", "2 h 10 min", "1 d 3 h"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


class BarSafeHandler(logging.StreamHandler):
    """Handler of log messages that gives each a line of its own where a bar is being shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message, above the bars if there are any."""
        # Without tqdm in memory there is no bar, and importing it takes a tenth of a second.
        tqdm = sys.modules.get("tqdm")
        if tqdm is None:
            super().emit(record)
            return
        try:
            tqdm.tqdm.write(self.format(record), file=self.stream)
        except Exception:  # as every handler: a message that cannot be written must not end the program
            self.handleError(record)


class Progress:
    """Context manager that shows how far a computation is, once it has taken ten seconds.

    On a terminal and in a notebook it is a bar, which is removed at the end. Elsewhere, as in a log file, it is a log
    message (level INFO) after ten seconds and then every minute: how much is done of how much, the figures given last,
    the mean speed and the time that is left at this speed. A computation of less than ten seconds shows nothing.
    Messages can only come where `advance` is called: call it at least every few seconds.

    Parameters
    ----------
    total : int, optional
        Units to do; None where the number is unknown. It can be set later (`total`), as when an end is given by time.
    unit : str
        What is counted, in the plural: "sequences".
    label : str
        What is computed, before the numbers: "fold_0".
    stream : text file, optional
        Where a bar is shown, if this is a terminal; default stderr.
    every_s : float
        Seconds between two messages.
    quiet_s : float
        Seconds without any.
    done : int
        Units that an earlier start has done; the speed is that of this one.
    enabled : bool
        False shows nothing, as in all processes of a training but the first.

    Examples
    --------
    >>> from LAMAR.runs.progress import Progress
    >>> with Progress(2, "epochs", "fold_0") as progress:
    ...     for epoch in range(2):
    ...         progress.advance(1, loss=0.69)
    >>> progress.message(20.0)
    'fold_0: 2 of 2 epochs (100 %), loss 0.69, 6 epochs/min, about 0 s left'
    """

    def __init__(
        self,
        total: int | None,
        unit: str,
        label: str = "",
        *,
        stream: TextIO | None = None,
        every_s: float = EVERY_S,
        quiet_s: float = QUIET_S,
        done: int = 0,
        enabled: bool = True,
    ):
        self._total, self.unit, self.label = total, unit, label
        self.stream = sys.stderr if stream is None else stream
        self.every_s, self.quiet_s = every_s, quiet_s
        self.done = self._done_earlier = done
        self.enabled = enabled
        self.figures: dict[str, float | int | str] = {}
        self._bar = None
        self._begin()

    def _begin(self) -> None:
        self._started = monotonic()
        self._next = self._started + self.quiet_s

    def __enter__(self) -> Progress:
        self._begin()
        in_notebook = "ipykernel" in sys.modules and self.stream is sys.stderr
        if self.enabled and (in_notebook or self.stream.isatty()):
            self._bar = self._new_bar(in_notebook)
        return self

    def _new_bar(self, in_notebook: bool):
        # tqdm takes a tenth of a second to import.
        if in_notebook:
            from tqdm.auto import tqdm
        else:
            from tqdm import tqdm
        options = {"unit": f" {self.unit}", "unit_scale": True, "delay": self.quiet_s, "leave": False}
        return tqdm(total=self._total, desc=self.label or None, initial=self.done, file=self.stream, **options)

    def __exit__(self, *exception) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    @property
    def total(self) -> int | None:
        """Units to do, or None."""
        return self._total

    @total.setter
    def total(self, total: int | None) -> None:
        self._total = total
        if self._bar is not None:
            self._bar.total = total

    def resume(self, done: int) -> None:
        """Say, before the first unit of this start, how many units an earlier one has done."""
        self.done = self._done_earlier = done
        if self._bar is not None:
            self._bar.n = self._bar.initial = done

    def advance(self, n: int = 1, **figures: float | int | str | None) -> None:
        """Add ``n`` units, and show where the computation is if it is time to.

        Parameters
        ----------
        n : int
            0 gives new figures only.
        figures
            Figures to show, such as ``loss=0.69``; each stays until it is given again. None is left out, and
            underscores in names are shown as blanks.
        """
        self.done += n
        self.figures |= {name: value for name, value in figures.items() if value is not None}
        if self._bar is not None:
            if figures:
                self._bar.set_postfix_str(self._figures(), refresh=False)
            self._bar.update(n)
        elif self.enabled and (now := monotonic()) >= self._next:
            self._next = now + self.every_s
            logger.info("%s", self.message(now - self._started))

    def skip(self, n: int) -> None:
        """Add ``n`` units that an earlier start has done; the speed does not count them."""
        self._done_earlier += n
        self.done += n
        if self._bar is not None:
            self._bar.initial += n
            self._bar.update(n)

    def message(self, seconds: float) -> str:
        """Return the line that is logged ``seconds`` after the start."""
        parts = [f"{self.done:,} {self.unit}"]
        if self._total is not None:
            share = 100 * self.done // max(self._total, 1)
            parts = [f"{self.done:,} of {self._total:,} {self.unit} ({share} %)"]
        if self.figures:
            parts.append(self._figures())
        done_now = self.done - self._done_earlier
        if done_now > 0 and seconds > 0:
            speed = done_now / seconds
            parts.append(_speed(speed, self.unit))
            if self._total is not None:
                parts.append(f"about {duration(max(self._total - self.done, 0) / speed)} left")
        return (f"{self.label}: " if self.label else "") + ", ".join(parts)

    def _figures(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {_figure(value)}" for name, value in self.figures.items())


def _figure(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value


def _speed(speed: float, unit: str) -> str:
    """Return a number of units per second, or per minute where it is below one."""
    number, time = (speed, "s") if speed >= 1 else (60 * speed, "min")
    return f"{number:,.0f} {unit}/{time}" if number >= 10 else f"{number:.2g} {unit}/{time}"
