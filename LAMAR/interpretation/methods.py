"""The attribution methods, one entry each, from which parsers, runs, tables and figures read.

This module imports nothing heavy, so that a parser lists the methods without torch. To add a method, write a function
that returns one `LAMAR.interpretation.attribution_results.AttributionResult` per sequence, and add an entry to
`METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..registry import Entry, Registry

__all__ = ["BASELINES", "DEFAULT_STEPS", "METHODS", "MOST_STEPS", "SCALES", "TOLERANCE", "AttributionMethod"]

# Scales of a classifier's score, see `LAMAR.interpretation.classifiers.target_scores`.
SCALES = ("log_odds", "logit", "probability")
# Starting points of integrated gradients: mask tokens, N, the mean embedding, dinucleotide shuffles.
BASELINES = ("mask", "n", "mean", "shuffle")
DEFAULT_STEPS = 120  # quadrature nodes of integrated gradients to begin with
MOST_STEPS = 960  # nodes that refinement of the path may add
TOLERANCE = 0.05  # largest convergence delta, as a share of the difference between sequence and baseline


@dataclass(frozen=True)
class AttributionMethod(Entry):
    """An attribution method; ``function`` runs it and ``columns`` are those of its table.

    The function takes a model, a list of sequences, and by name ``target``, ``region``, ``token_budget``, ``device``,
    ``progress`` and the parameters in ``options``, which are fields of
    `LAMAR.interpretation.explanations.ExplainOptions`.

    Attributes
    ----------
    track : str
        Column of the results that is drawn, ranked and averaged: signed, positive where a nucleotide speaks for the
        class.
    colour : str
        Colour of the method in figures that compare methods.
    analysis : str
        Name of the method in ``compute_dep_maps.py``; "" for ``name``.
    reads_scale : bool
        Whether the function also takes ``scale``.
    rows : str or callable
        Makes the rows of the table, dictionaries with the keys ``columns``, from an explanation and the method's name.
    check : str or callable
        Called with the options before anything is computed; raises `InputError` for what the function would refuse.
        "" for no check.
    """

    track: str = "score"
    colour: str = "#56B4E9"
    analysis: str = ""
    reads_scale: bool = False
    rows: str | Callable = "LAMAR.interpretation.explanations:position_rows"
    check: str | Callable = ""

    def table_rows(self, explanation) -> list[dict[str, Any]]:
        """Return the rows of the method's table for one `LAMAR.interpretation.explanations.Explanation`."""
        return replace(self, function=self.rows).load()(explanation, self.name)

    def check_options(self, options) -> None:
        """Raise `InputError` where the method would refuse the options (an ``ExplainOptions``)."""
        if self.check:
            replace(self, function=self.check).load()(options)


_PACKAGE = "LAMAR.interpretation"
_POSITION = ("record", "position", "nucleotide")
# Colours are those of Okabe & Ito, which readers with any common kind of colour blindness can tell apart.
METHODS: Registry[AttributionMethod] = Registry(
    "methods",
    (
        AttributionMethod(
            "mutagenesis",
            "mutagenesis",
            f"{_PACKAGE}.mutagenesis:mutagenesis",
            columns=("record", "position", "reference", "alternative", *(f"effect_{scale}" for scale in SCALES)),
            track="importance",
            colour="#0072B2",
            rows=f"{_PACKAGE}.explanations:substitution_rows",
        ),
        AttributionMethod(
            "window",
            "masked window",
            f"{_PACKAGE}.window_masking:window_masking",
            options=("window_size", "step_size"),
            columns=(*_POSITION, "score", "n_windows"),
            colour="#E69F00",
            check=f"{_PACKAGE}.window_masking:check_options",
        ),
        AttributionMethod(
            "gradient",
            "gradient x input",
            f"{_PACKAGE}.saliency:saliency",
            columns=(*_POSITION, "gradient_x_input", "norm"),
            track="gradient_x_input",
            colour="#CC79A7",
            analysis="saliency",
            reads_scale=True,
        ),
        AttributionMethod(
            "integrated",
            "integrated gradients",
            f"{_PACKAGE}.integrated_gradients:integrated_gradients",
            options=("n_steps", "tolerance", "baseline", "n_shuffles", "seed"),
            columns=(*_POSITION, "score", "norm", "delta", "difference", "n_steps"),
            colour="#009E73",
            reads_scale=True,
            check=f"{_PACKAGE}.integrated_gradients:check_options",
        ),
    ),
)
