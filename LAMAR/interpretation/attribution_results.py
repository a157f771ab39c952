"""What attribution methods return for one sequence: the part common to all methods, and to each family of methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from .classifiers import resolve_scale, scores

__all__ = ["AttributionResult", "GradientResult", "PerturbationResult"]


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


@dataclass(frozen=True)
class PerturbationResult(AttributionResult):
    """Logits of changed copies of a sequence.

    Attributes
    ----------
    reference : ndarray of float32, shape (K,)
        Logits of the unchanged sequence.
    logits : ndarray of float32, shape (..., K)
        Logits of the changed copies.
    """

    reference: np.ndarray
    logits: np.ndarray

    @property
    def sequence_logits(self) -> np.ndarray:
        """Logits of the unchanged sequence, float32, shape (K,)."""
        return self.reference

    def effects(self, scale: str | None = None) -> np.ndarray:
        """Return the scores of the changed copies minus that of the unchanged sequence: float32, shape (...).

        Parameters
        ----------
        scale : {"log_odds", "logit", "probability"}, optional
            See `LAMAR.interpretation.classifiers.target_scores`; None for the task's default.
        """
        scale = resolve_scale(scale, self.task)
        changed = scores(self.logits, self.target, scale, self.task)
        return changed - scores(self.reference, self.target, scale, self.task)


@dataclass(frozen=True)
class GradientResult(AttributionResult):
    """What gradients of a score at the token embeddings give.

    Attributes
    ----------
    scale : str
        Scale of the score, see `LAMAR.interpretation.classifiers.target_scores`.
    logits : ndarray of float32, shape (K,)
        Logits of the sequence.
    """

    scale: str
    logits: np.ndarray

    @property
    def sequence_logits(self) -> np.ndarray:
        """Logits of the sequence, float32, shape (K,)."""
        return self.logits
