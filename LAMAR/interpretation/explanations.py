"""Several attribution methods on named records: the options of all methods, and one record's results.

The methods are those of `LAMAR.interpretation.methods.METHODS`. An `Explanation` holds the results of one record as
plain arrays; `LAMAR.interpretation.attribution_tables` makes tables and genome tracks of them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..alphabet import NUCLEOTIDES
from ..devices import choose_device
from .attribution_results import AttributionResult
from .classifiers import model_task, resolve_scale, resolve_targets, scores
from .methods import DEFAULT_STEPS, METHODS, SCALES, TOLERANCE

__all__ = ["ExplainOptions", "Explanation", "check_options", "explain", "position_rows", "substitution_rows"]

logger = logging.getLogger(__name__)

# Options that are never reported as unused: a seed may always be given.
_ALWAYS_ALLOWED = {"seed"}


@dataclass(frozen=True)
class ExplainOptions:
    """Methods, and their parameters as named in `LAMAR.interpretation.attribution`.

    Attributes
    ----------
    methods : sequence of str
        Names of `LAMAR.interpretation.methods.METHODS`; by default all of them.
    """

    methods: Sequence[str] = field(default_factory=lambda: METHODS.names)
    target: int | str | None = None
    scale: str | None = None
    region: tuple[int, int] | None = None
    window_size: int = 1
    step_size: int = 1
    n_steps: int = DEFAULT_STEPS
    tolerance: float = TOLERANCE
    baseline: str = "mask"
    n_shuffles: int = 10
    seed: int = 42
    token_budget: int | None = None
    device: str | torch.device | None = None


@dataclass(frozen=True)
class Explanation:
    """Results of the methods for one record, over the range [start, end) of its sequence; R = end - start.

    Attributes
    ----------
    scale : str
        Scale of the tracks; effects of mutagenesis are kept in every scale that the task has.
    logits : ndarray of float32, shape (K,)
        Logits of the unchanged sequence.
    values : dict of dict of ndarray
        float32, shape (R,), by method and column.
    effects : dict of ndarray
        float32, shape (R, 4), by scale, see `LAMAR.interpretation.mutagenesis.Mutagenesis.effects`; empty without
        mutagenesis.
    integration : dict
        ``delta``, ``difference``, ``n_steps``, ``converged``, ``baseline`` of integrated gradients, or empty.
    """

    record: str
    sequence: str
    start: int
    end: int
    target: int
    task: str
    scale: str
    logits: np.ndarray
    values: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    effects: dict[str, np.ndarray] = field(default_factory=dict)
    integration: dict[str, Any] = field(default_factory=dict)

    @property
    def explained(self) -> str:
        """The nucleotides of the range."""
        return self.sequence[self.start : self.end]

    @property
    def tracks(self) -> dict[str, np.ndarray]:
        """Signed importance by method, float32, shape (R,).

        Positive where the nucleotide speaks for the class; NaN at N in mutagenesis.
        """
        return {method: columns[METHODS[method].track] for method, columns in self.values.items()}

    def score(self, scale: str | None = None) -> float:
        """Return the score of the unchanged sequence in ``scale``, by default that of the explanation."""
        return float(scores(self.logits, self.target, scale or self.scale, self.task))

    def to_plain(self) -> dict[str, Any]:
        """Return the explanation as JSON can hold it; `from_plain` reads it back bit for bit."""
        return {
            **{name: getattr(self, name) for name in ("record", "sequence", "start", "end", "target", "task", "scale")},
            "logits": self.logits.tolist(),
            "values": {m: {c: v.tolist() for c, v in columns.items()} for m, columns in self.values.items()},
            "effects": {scale: table.tolist() for scale, table in self.effects.items()},
            "integration": self.integration,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Explanation:
        """Return the explanation that `to_plain` wrote; None becomes NaN."""
        arrays = {
            "logits": np.array(plain["logits"], dtype=np.float32),
            "values": {
                method: {name: np.array(values, dtype=np.float32) for name, values in columns.items()}
                for method, columns in plain["values"].items()
            },
            "effects": {scale: np.array(table, dtype=np.float32) for scale, table in plain["effects"].items()},
        }
        return cls(**{**plain, **arrays})

    def rows(self, method: str) -> list[dict[str, Any]]:
        """Return the rows of a method's table, with the columns of its entry.

        Positions count from the start of the sequence.
        """
        return METHODS[method].table_rows(self)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of an ``.npz`` file.

        ``record``, ``sequence``, ``start``, ``end``, ``target``, ``scale``, ``logits``; ``METHOD_COLUMN`` (R,);
        ``effects_SCALE`` (R, 4), order A C G T; ``integration_...``.
        """
        facts = {name: np.array(getattr(self, name)) for name in ("record", "sequence", "start", "end", "target")}
        facts |= {"scale": np.array(self.scale), "logits": self.logits}
        facts |= {f"{m}_{name}": values for m, columns in self.values.items() for name, values in columns.items()}
        facts |= {f"effects_{scale}": table for scale, table in self.effects.items()}
        return facts | {f"integration_{name}": np.array(value) for name, value in self.integration.items()}


def position_rows(explanation: Explanation, method: str) -> list[dict[str, Any]]:
    """Return one row per position, as most methods have them: its values, and facts about the whole record."""
    facts = {name: explanation.integration[name] for name in METHODS[method].columns if name in explanation.integration}
    return [
        {"record": explanation.record, "position": explanation.start + i, "nucleotide": letter}
        | {name: _number(name, values[i]) for name, values in explanation.values[method].items()}
        | facts
        for i, letter in enumerate(explanation.explained)
    ]


def substitution_rows(explanation: Explanation, method: str) -> list[dict[str, Any]]:
    """Return one row per substitution, with its effect in every scale; None in a scale that the task does not have."""
    effects = explanation.effects
    return [
        {
            "record": explanation.record,
            "position": explanation.start + i,
            "reference": letter,
            "alternative": other,
            **{f"effect_{scale}": float(effects[scale][i, j]) if scale in effects else None for scale in SCALES},
        }
        for i, letter in enumerate(explanation.explained)
        if letter != "N"
        for j, other in enumerate(NUCLEOTIDES)
        if other != letter
    ]


def _number(name: str, value: np.float32) -> float | int:
    return int(value) if name == "n_windows" else float(value)


def check_options(model: torch.nn.Module, options: ExplainOptions) -> None:
    """Check options before the first record is explained; log those that no method reads.

    Raises
    ------
    InputError
        For an unknown method or device, a class or scale that the model does not have, or options that a method
        refuses, such as windows that would leave positions out, or integrated gradients without the package captum.
    """
    choose_device(model, options.device)
    task = model_task(model)
    chosen = [METHODS.choose(method) for method in options.methods]
    resolve_scale(options.scale, task)
    resolve_targets(np.zeros((1, model.config.num_labels)), options.target, task)
    for entry in METHODS.values():
        for name in entry.options:
            is_read = any(name in other.options for other in chosen)
            if not is_read and name not in _ALWAYS_ALLOWED and getattr(options, name) != getattr(ExplainOptions, name):
                logger.warning("`%s` %s: not used, %s is not done", name, getattr(options, name), entry.name)
    for entry in chosen:
        entry.check_options(options)


def explain(
    model: torch.nn.Module, records: Sequence[tuple[str, str]], options: ExplainOptions, progress: str | None = None
) -> list[Explanation]:
    """Run the methods on records.

    Parameters
    ----------
    model : Module
        A classifier, see `LAMAR.interpretation.classifiers`.
    records : sequence of (str, str)
        Name and sequence of each record.
    options : ExplainOptions
        Methods and their parameters.
    progress : str, optional
        Beginning of the label of progress bars, before the method's name; None shows none.

    Returns
    -------
    list of Explanation
        One per record, in their order.

    Raises
    ------
    InputError
        As the methods do; `LAMAR.interpretation.classifiers.unexplainable` tells which records they would refuse.
    """
    sequences = [sequence for _, sequence in records]
    common = {name: getattr(options, name) for name in ("target", "region", "token_budget", "device")}
    results: dict[str, list[AttributionResult]] = {}
    for method in options.methods:
        entry = METHODS.choose(method)
        parameters = {name: getattr(options, name) for name in entry.options}
        if entry.reads_scale:
            parameters["scale"] = options.scale
        label = None if progress is None else f"{progress}{method}"
        results[method] = entry.load()(model, sequences, progress=label, **parameters, **common)
    return [
        _explanation(name, {method: values[i] for method, values in results.items()}, options.scale)
        for i, (name, _) in enumerate(records)
    ]


def _explanation(record: str, results: Mapping[str, AttributionResult], scale: str | None) -> Explanation:
    first = next(iter(results.values()))
    scale = resolve_scale(scale, first.task)
    values: dict[str, dict[str, np.ndarray]] = {}
    effects, facts = {}, {}
    for method, result in results.items():
        values[method] = result.columns(scale)
        effects |= result.effect_tables()
        facts |= result.facts()
    return Explanation(
        record=record,
        sequence=first.sequence,
        start=first.start,
        end=first.end,
        target=first.target,
        task=first.task,
        scale=scale,
        logits=first.sequence_logits,
        values=values,
        effects=effects,
        integration=facts,
    )
