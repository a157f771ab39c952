"""What an attribution method returns for one sequence, whatever the method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["AttributionResult"]


@dataclass(frozen=True)
class AttributionResult(ABC):
    """Attribution of one sequence, over a range [start, end) of it; R = end - start.

    Attributes
    ----------
    sequence : str
        The whole sequence, letters of ``ACGTN``.
    start, end : int
        The range, 0-based half-open.
    target : int
        The class that is explained.
    task : str
        See `LAMAR.tasks.task_of`.
    """

    sequence: str
    start: int
    end: int
    target: int
    task: str

    @property
    @abstractmethod
    def sequence_logits(self) -> np.ndarray:
        """Logits of the unchanged sequence, float32, shape (K,)."""

    @abstractmethod
    def columns(self, scale: str) -> dict[str, np.ndarray]:
        """Return the values of the method's table by column, float32, shape (R,) each.

        Parameters
        ----------
        scale : str
            One of `LAMAR.interpretation.methods.SCALES`; methods that read the scale when they run ignore it.
        """

    def effect_tables(self) -> dict[str, np.ndarray]:
        """Return effects of substitutions by scale, float32, shape (R, 4) each; empty for most methods."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Return numbers that concern the whole sequence, by name; empty for most methods."""
        return {}
