"""Learning-rate schedules of trainings that are counted in steps."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SCHEDULES", "Schedule"]

SCHEDULES = ("trapezoid", "linear")


@dataclass
class Schedule:
    """A learning rate as a factor of its peak.

    ``linear`` rises over the warm-up and falls to the last step. ``trapezoid`` stays at the peak in between, and falls
    over the last ``decay_ratio`` of the steps. Up to where the fall begins, the trained weights do not depend on where
    the run ends, so that a run can be extended or ended early.

    Attributes
    ----------
    warmup : int
        Steps with a rising rate.
    decay_start : int
        Steps before the fall.
    end : int
        Number of steps; the last one has a rate above 0.

    References
    ----------
    Hägele et al., Scaling laws and compute-optimal training beyond fixed training durations, arXiv:2405.18392 (2024).
    """

    warmup: int
    decay_start: int
    end: int

    @classmethod
    def plan(cls, kind: str, max_steps: int, warmup: int, decay_ratio: float) -> Schedule:
        """Return the schedule of a run of ``max_steps`` steps.

        Parameters
        ----------
        kind : str
            One of `SCHEDULES`.
        max_steps, warmup : int
            Steps of the run, and those with a rising rate.
        decay_ratio : float
            Trapezoid: share of the steps with a falling rate.

        Raises
        ------
        ValueError
            For another kind.
        """
        if kind not in SCHEDULES:
            raise ValueError(f"schedule: found {kind!r}, wanted one of {', '.join(SCHEDULES)}")
        warmup = min(warmup, max_steps)
        falling = max_steps - warmup if kind == "linear" else round(decay_ratio * max_steps)
        return cls(warmup, max(warmup, max_steps - falling), max_steps)

    def factor(self, step: int) -> float:
        """Return the learning-rate factor, 0 to 1, of the step that ``step`` others precede."""
        rise = (step + 1) / self.warmup if step < self.warmup else 1.0
        fall = (self.end - step) / max(1, self.end - self.decay_start) if step > self.decay_start else 1.0
        return max(0.0, min(rise, fall))

    def end_early(self, step: int, decay_ratio: float) -> None:
        """Begin the fall now, for as many steps as make ``decay_ratio`` of all steps."""
        falling = round(step * decay_ratio / (1 - decay_ratio))
        self.decay_start, self.end = step, min(self.end, step + falling)
