"""All attribution methods on records, and what is written about them: tables, arrays, genome tracks.

The methods are those of :mod:`LAMAR.interpretation.attribution`. An :class:`Explanation` is one record's result, as plain numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..alphabet import NUCLEOTIDES
from ..data.sequences import Region, parse_region
from ..errors import InputError
from ..runs.storage import atomic_write
from . import attribution
from .attribution_gradients import require_captum
from .classifiers import SCALES, resolve_scale, resolve_targets, scores, task_of

__all__ = [
    "COLUMNS",
    "METHODS",
    "TOP_COLUMNS",
    "ExplainOptions",
    "Explanation",
    "bedgraph_rows",
    "check_options",
    "coordinates",
    "explain",
    "record_rows",
    "top_positions",
    "top_rows",
    "write_bedgraph",
]

logger = logging.getLogger(__name__)

METHODS = ("mutagenesis", "window", "gradient", "integrated")
COLUMNS = {
    "mutagenesis": ("record", "position", "reference", "alternative", *(f"effect_{scale}" for scale in SCALES)),
    "window": ("record", "position", "nucleotide", "score", "n_windows"),
    "gradient": ("record", "position", "nucleotide", "gradient_x_input", "norm"),
    "integrated": ("record", "position", "nucleotide", "score", "norm", "delta", "difference", "n_steps"),
}
TOP_COLUMNS = ("record", "method", "rank", "position", "nucleotide", "score")
# Options that one method alone reads.
_READ_BY = {"window_size": "window", "step_size": "window"}
_READ_BY |= dict.fromkeys(("n_steps", "tolerance", "baseline", "n_shuffles"), "integrated")
# The signed column of each method that is drawn, ranked and averaged.
TRACK = {"mutagenesis": "importance", "window": "score", "gradient": "gradient_x_input", "integrated": "score"}


@dataclass(frozen=True)
class ExplainOptions:
    """Arguments of the methods, named as in :mod:`LAMAR.interpretation.attribution`."""

    methods: Sequence[str] = METHODS
    target: int | str | None = None
    scale: str | None = None
    region: tuple[int, int] | None = None
    window_size: int = 1
    step_size: int = 1
    n_steps: int = 120
    tolerance: float = 0.05
    baseline: str = "mask"
    n_shuffles: int = 10
    seed: int = 42
    token_budget: int | None = None
    device: str | torch.device | None = None


@dataclass(frozen=True)
class Explanation:
    """What the methods say of one record, over the range [start, end) of its sequence; R = end - start.

    Attributes
    ----------
    scale
        Score that tracks are in; effects of mutagenesis are there in every scale that the task has.
    logits
        float32 (K,): of the unchanged sequence.
    values
        float32 (R,) by method and column.
    effects
        float32 (R, 4) by scale, see :meth:`LAMAR.interpretation.attribution.Mutagenesis.effects`; empty without mutagenesis.
    integration
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
        """Signed importance by method, float32 (R,): positive where the nucleotide speaks for the class; NaN at N in
        mutagenesis."""
        return {method: columns[TRACK[method]] for method, columns in self.values.items()}

    def score(self, scale: str | None = None) -> float:
        """Of the unchanged sequence, in ``scale`` (None: the explanation's own)."""
        return float(scores(self.logits, self.target, scale or self.scale, self.task))

    def to_plain(self) -> dict[str, Any]:
        """As JSON holds it; :meth:`from_plain` reads it back bit for bit."""
        return {
            **{name: getattr(self, name) for name in ("record", "sequence", "start", "end", "target", "task", "scale")},
            "logits": self.logits.tolist(),
            "values": {m: {c: v.tolist() for c, v in columns.items()} for m, columns in self.values.items()},
            "effects": {scale: table.tolist() for scale, table in self.effects.items()},
            "integration": self.integration,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Explanation:
        """The inverse of :meth:`to_plain`; None is NaN."""
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
        """Rows of the method's table, columns as :data:`COLUMNS` says; positions count from the sequence's start."""
        if method == "mutagenesis":
            return self._mutagenesis_rows()
        columns = dict(self.values[method])
        facts = {name: self.integration[name] for name in COLUMNS[method] if name in self.integration}
        return [
            {"record": self.record, "position": self.start + i, "nucleotide": letter}
            | {name: _number(name, values[i]) for name, values in columns.items()}
            | facts
            for i, letter in enumerate(self.explained)
        ]

    def _mutagenesis_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "record": self.record,
                "position": self.start + i,
                "reference": letter,
                "alternative": other,
                **{
                    f"effect_{scale}": float(self.effects[scale][i, j]) if scale in self.effects else None
                    for scale in SCALES
                },
            }
            for i, letter in enumerate(self.explained)
            if letter != "N"
            for j, other in enumerate(NUCLEOTIDES)
            if other != letter
        ]

    def arrays(self) -> dict[str, np.ndarray]:
        """For ``.npz``: ``sequence``, ``start``, ``end``, ``target``, ``scale``, ``logits``; ``METHOD_COLUMN`` (R,);
        ``effects_SCALE`` (R, 4), order A C G T; ``integration_...``."""
        facts = {name: np.array(getattr(self, name)) for name in ("record", "sequence", "start", "end", "target")}
        facts |= {"scale": np.array(self.scale), "logits": self.logits}
        facts |= {f"{m}_{name}": values for m, columns in self.values.items() for name, values in columns.items()}
        facts |= {f"effects_{scale}": table for scale, table in self.effects.items()}
        return facts | {f"integration_{name}": np.array(value) for name, value in self.integration.items()}


def _number(name: str, value: np.float32) -> float | int:
    return int(value) if name == "n_windows" else float(value)


def check_options(config, options: ExplainOptions) -> None:
    """Find before the first record what would fail there; say in the log which options no method reads.

    Raises
    ------
    InputError
        A class or scale that a model of this configuration does not have, windows that leave positions out, or
        integrated gradients without the package captum.
    """
    task = task_of(config)
    resolve_scale(options.scale, task)
    resolve_targets(np.zeros((1, config.num_labels)), options.target, task)
    unused = {name: f"{method} is not done" for name, method in _READ_BY.items() if method not in options.methods}
    if options.baseline != "shuffle":
        unused.setdefault("n_shuffles", f"--baseline is {options.baseline}")
    for name, why in unused.items():
        if getattr(options, name) != getattr(ExplainOptions, name):
            logger.warning("--%s %s: not used, %s", name, getattr(options, name), why)
    if options.step_size > options.window_size and "window" in options.methods:
        raise InputError(
            f"--step_size: found {options.step_size}, wanted at most --window_size {options.window_size}: "
            "positions between windows would have no score"
        )
    if "integrated" in options.methods:
        require_captum()


def explain(
    model: torch.nn.Module, records: Sequence[tuple[str, str]], options: ExplainOptions, progress: str | None = None
) -> list[Explanation]:
    """Run the methods on records of (name, normalized sequence).

    Raises
    ------
    InputError
        As the methods do; which records they would refuse, :func:`LAMAR.interpretation.classifiers.unexplainable` says before.
    """
    sequences = [sequence for _, sequence in records]
    common = {"target": options.target, "region": options.region, "token_budget": options.token_budget}
    common["device"] = options.device

    def bar(method: str) -> str | None:
        return None if progress is None else f"{progress}{method}"

    found: dict[str, list] = {}
    for method in options.methods:
        if method == "mutagenesis":
            found[method] = attribution.mutagenesis(model, sequences, progress=bar(method), **common)
        elif method == "window":
            sizes = {"window_size": options.window_size, "step_size": options.step_size}
            found[method] = attribution.window_masking(model, sequences, progress=bar(method), **sizes, **common)
        elif method == "gradient":
            found[method] = attribution.saliency(model, sequences, scale=options.scale, progress=bar(method), **common)
        elif method == "integrated":
            found[method] = attribution.integrated_gradients(
                model,
                sequences,
                scale=options.scale,
                baseline=options.baseline,
                n_steps=options.n_steps,
                tolerance=options.tolerance,
                n_shuffles=options.n_shuffles,
                seed=options.seed,
                progress=bar(method),
                **common,
            )
        else:
            raise ValueError(f"methods: found {method!r}, wanted some of {', '.join(METHODS)}")
    return [
        _explanation(name, {method: results[i] for method, results in found.items()}, options.scale)
        for i, (name, _) in enumerate(records)
    ]


def _explanation(record: str, found: dict[str, Any], scale: str | None) -> Explanation:
    any_result = next(iter(found.values()))
    scale = resolve_scale(scale, any_result.task)
    values: dict[str, dict[str, np.ndarray]] = {}
    effects, integration = {}, {}
    for method, result in found.items():
        if method == "mutagenesis":
            values[method] = {"importance": result.importance(scale)}
            scales = ("logit",) if result.task == "regression" else SCALES
            effects = {name: result.effects(name) for name in scales}
        elif method == "window":
            values[method] = {"score": result.importance(scale), "n_windows": result.coverage().astype(np.float32)}
        elif method == "gradient":
            values[method] = {"gradient_x_input": result.gradient_x_input, "norm": result.norm}
        else:
            values[method] = {"score": result.scores, "norm": result.norm}
            names = ("delta", "difference", "n_steps", "converged", "baseline")
            integration = {name: getattr(result, name) for name in names}
    logits = any_result.reference if hasattr(any_result, "reference") else any_result.logits
    return Explanation(
        record,
        any_result.sequence,
        any_result.start,
        any_result.end,
        any_result.target,
        any_result.task,
        scale,
        logits,
        values,
        effects,
        integration,
    )


# ------------------------------------------------------------------------------------------------------ tables


def record_rows(explanations: Sequence[Explanation]) -> list[dict[str, Any]]:
    """One row a record: what was explained, the model's call, coordinates, convergence."""
    rows = []
    for found in explanations:
        place = coordinates(found) or Region(None, None, None, None)
        integration = found.integration
        rows.append(
            {
                "record": found.record,
                "length": len(found.sequence),
                "start": found.start,
                "end": found.end,
                "chrom": place.chrom,
                "chrom_start": place.start,
                "chrom_end": place.end,
                "strand": place.strand,
                "target": found.target,
                "score": found.scale,
                "value": found.score(),
                "probability": None if found.task == "regression" else found.score("probability"),
                "difference_to_baseline": integration.get("difference"),
                "delta": integration.get("delta"),
                "n_steps": integration.get("n_steps"),
            }
        )
    return rows


def top_positions(track: np.ndarray, n: int) -> np.ndarray:
    """Indices of the n largest absolute values, strongest first; NaN left out, ties in order of position."""
    strength = np.where(np.isnan(track), -1.0, np.abs(track))
    order = np.argsort(-strength, kind="stable")[:n]
    return order[strength[order] >= 0]


def top_rows(explanations: Sequence[Explanation], n: int) -> list[dict[str, Any]]:
    """The n positions of largest absolute score of each record and method."""
    return [
        {
            "record": found.record,
            "method": method,
            "rank": rank,
            "position": found.start + int(i),
            "nucleotide": found.explained[i],
            "score": float(track[i]),
        }
        for found in explanations
        for method, track in found.tracks.items()
        for rank, i in enumerate(top_positions(track, n), start=1)
    ]


# ------------------------------------------------------------------------------------------------------ tracks


def coordinates(found: Explanation) -> Region | None:
    """Genomic place of the whole sequence, from the record's name; None where it has none of this length."""
    place = parse_region(found.record)
    return place if place is not None and place.end - place.start == len(found.sequence) else None


def bedgraph_rows(explanations: Sequence[Explanation], method: str, strand: str) -> list[tuple[str, int, int, float]]:
    """Rows (chrom, start, end, score) of one base each, in order; 0-based, half-open.

    Records on ``strand`` (``.`` counts as +); a position of a record on the minus strand is turned back. Where records
    overlap, the mean; NaN is left out.
    """
    sums: dict[tuple[str, int], list[float]] = {}
    for found in explanations:
        place = coordinates(found)
        if place is None or (place.strand == "-") != (strand == "-"):
            continue
        for i, value in enumerate(found.tracks[method]):
            if np.isnan(value):
                continue
            position = found.start + i
            genomic = place.end - 1 - position if place.strand == "-" else place.start + position
            sums.setdefault((place.chrom, genomic), []).append(float(value))
    return [(chrom, at, at + 1, float(np.mean(values))) for (chrom, at), values in sorted(sums.items())]


def write_bedgraph(path: str | Path, rows: Sequence[tuple[str, int, int, float]], name: str) -> None:
    """Write a track that genome browsers read."""
    with atomic_write(path) as handle:
        handle.write(f'track type=bedGraph name="{name}"\n')
        handle.writelines(f"{chrom}\t{start}\t{end}\t{value:.6g}\n" for chrom, start, end, value in rows)
