"""The analyses of ``compute_dep_maps.py``, one entry each, and which of them a checkpoint allows.

This module imports nothing heavy, so that a parser lists the analyses without torch. Every attribution method of
`LAMAR.interpretation.methods.METHODS` is an analysis too; to add another one, add an entry to `ANALYSES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

from ..errors import InputError
from ..registry import Entry, Registry
from .methods import METHODS

__all__ = [
    "ALL",
    "ANALYSES",
    "CLASSIFIER",
    "MASKED_LM",
    "PARITY_EPS",
    "REDUCTIONS",
    "Analysis",
    "analysis_table",
    "resolve_analyses",
]

CLASSIFIER, MASKED_LM = "classifier", "masked LM"
ALL = "all"  # the choice that stands for all analyses that the checkpoint's heads allow
# Models by the heads that `LAMAR.checkpoint_files.stored_heads` finds in a checkpoint.
_MODELS = {"masked-LM head": MASKED_LM, "classification head": CLASSIFIER}

REDUCTIONS = ("max", "mean")
# What the published code adds to every probability; it bounds the odds at 2**33.
PARITY_EPS = 1e-10

# Result tables list these methods first, in this order.
_FIRST_METHODS = ("mutagenesis", "gradient", "integrated", "window")


@dataclass(frozen=True)
class Analysis(Entry):
    """An analysis of records; ``function`` writes its files.

    The function takes an open `LAMAR.runs.RunFolder`, the model, the records and a
    `LAMAR.interpretation.dependency_run.DependencyJob`, and returns a summary per record or None. ``options`` are the
    parameters that only this analysis, or others of the same model, read.

    Attributes
    ----------
    model : {"classifier", "masked LM"}
        Model that the analysis needs.
    method : str
        Name of the attribution method that the analysis is; "" for others. Attribution methods of a run are computed
        together and need no ``function``.
    needs_region : bool
        Whether a region must be given.
    members : tuple of str
        Names of the analyses that this one stands for, if any.
    """

    model: str = CLASSIFIER
    method: str = ""
    needs_region: bool = False
    members: tuple[str, ...] = ()


_RUN = "LAMAR.interpretation.dependency_run"
ANALYSES: Registry[Analysis] = Registry(
    "analysis_type",
    (
        Analysis(
            "dependency",
            "dependency map",
            f"{_RUN}:write_dependencies",
            options=("reduction", "symmetrise", "apc", "eps", "logo", "min_stem", "stem_evalue", "precision"),
            model=MASKED_LM,
        ),
        Analysis("pairwise", "epistasis of pairs", f"{_RUN}:write_pairwise", options=("target",), needs_region=True),
        Analysis("both", "mutagenesis and saliency", members=("mutagenesis", "saliency")),
    ),
)


def analysis_table() -> Registry[Analysis]:
    """Return all analyses: the attribution methods, then those of `ANALYSES`."""
    others = [name for name in METHODS if name not in _FIRST_METHODS]
    methods = [METHODS[name] for name in (*_FIRST_METHODS, *others)]
    attribution = (
        Analysis(entry.analysis or entry.name, entry.label, options=("target", *entry.options), method=entry.name)
        for entry in methods
    )
    return Registry("analysis_type", (*attribution, *ANALYSES.values()))


def resolve_analyses(
    analysis_type: str, heads: Sequence[str], model_path: str | PathLike, has_region: bool
) -> list[Analysis]:
    """Return the analyses that ``analysis_type`` stands for.

    Parameters
    ----------
    analysis_type : str
        Name of an analysis, or ``all`` for all that the heads allow; those that need a region only with one.
    heads : sequence of str
        Heads of the checkpoint, see `LAMAR.checkpoint_files.stored_heads`.
    model_path : path
        The checkpoint, for messages.
    has_region : bool
        Whether a region was given.

    Raises
    ------
    InputError
        For an analysis that the checkpoint's heads do not allow, or that lacks a region.
    """
    models = [_MODELS[head] for head in heads]
    if not models:
        raise InputError(f"`model_path`: {model_path} is an encoder without a head, wanted a masked LM or a classifier")
    table = analysis_table()
    if analysis_type == ALL:
        allowed = [
            entry
            for entry in table.values()
            if entry.model in models and not entry.members and (has_region or not entry.needs_region)
        ]
        return sorted(allowed, key=lambda entry: entry.model != MASKED_LM)
    entry = table.choose(analysis_type)
    chosen = [table[name] for name in entry.members] or [entry]
    for one in chosen:
        if one.model not in models:
            raise InputError(f"`analysis_type` {analysis_type}: {model_path} is a {models[0]}, wanted a {one.model}")
        if one.needs_region and not has_region:
            raise InputError(f"`region`: not given, wanted START-END for `analysis_type` {analysis_type}")
    return chosen
