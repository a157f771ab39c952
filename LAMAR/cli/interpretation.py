"""What the scripts that explain models share: arguments, records of runs, and the loading of classifiers."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..interpretation.methods import BASELINES, DEFAULT_STEPS, MOST_STEPS
from .arguments import add_inference_arguments, not_negative, number, positive

__all__ = [
    "RENAMED",
    "add_method_arguments",
    "add_run_arguments",
    "load_explained",
    "run_record",
    "taken",
    "warn_of_collapses",
]

# Flags by parameter of the library, where the two differ.
RENAMED = {"model": "model_path", "scale": "score", "token_budget": "batch_tokens", "sequences": "sequence"}
# Arguments that may differ between the starts of one run.
_NOT_RECORDED = ("overwrite", "interactive", "demo", "list", "device", "batch_tokens", "token_budget", "output_dir")


def add_method_arguments(group) -> None:
    """Add the arguments of window masking and of integrated gradients."""
    group.add_argument("--window_size", type=positive(int), default=1, help="masked nt (default: %(default)s)")
    group.add_argument("--step_size", type=positive(int), default=1, help="nt between windows (default: %(default)s)")
    group.add_argument(
        "--n_steps",
        type=number(int, f"1 to {MOST_STEPS}", lambda value: 1 <= value <= MOST_STEPS),
        default=DEFAULT_STEPS,
        help="nodes of integrated gradients to begin with (default: %(default)s)",
    )
    group.add_argument(
        "--baseline",
        choices=BASELINES,
        default="mask",
        help="start of integrated gradients: mask tokens, N, mean embedding, dinucleotide shuffles (default: mask)",
    )


def add_run_arguments(group, seeded: str) -> None:
    """Add the arguments of a run; ``seeded`` completes the help of ``--seed``."""
    add_inference_arguments(group, "batch_tokens")
    group.add_argument("--seed", type=not_negative(int), default=42, help=f"{seeded} (default: %(default)s)")
    group.add_argument("--overwrite", action="store_true", help="delete the run in --output_dir and start again")


def load_explained(model_path: str | Path) -> tuple[Any, Any, str | dict[str, str] | None]:
    """Load a classifier, or all checkpoints of a run as one, and warn of each whose training collapsed.

    Returns
    -------
    model, report
        See `LAMAR.interpretation.classifiers.load_classifier`.
    collapsed : str, dict or None
        Kind of the collapse; for a run the kinds by checkpoint; None without a collapse.
    """
    from ..interpretation.classifiers import load_classifier

    model, report = load_classifier(model_path)
    return model, report, warn_of_collapses(model_path)


def warn_of_collapses(model_path: str | Path) -> str | dict[str, str] | None:
    """Warn of each checkpoint whose training collapsed, and return the kinds as `load_explained` does."""
    from ..runs.checkpoint_folders import checkpoints_of
    from ..training.collapse import warn_of_collapse

    folders = checkpoints_of(model_path)
    kinds = {folder.name: warn_of_collapse(folder, "its explanations say") for folder in folders}
    if folders == [Path(model_path)]:
        return kinds[folders[0].name]
    return {name: kind for name, kind in kinds.items() if kind} or None


def run_record(arguments: argparse.Namespace, inputs: Sequence[Path], sha256: str, collapsed):
    """Return the `LAMAR.interpretation.run_record.RunRecord` of a script's arguments, with or without a seed."""
    from ..interpretation.run_record import RunRecord

    return RunRecord(
        arguments={name: value for name, value in vars(arguments).items() if name not in _NOT_RECORDED},
        seed=getattr(arguments, "seed", None),
        inputs=inputs,
        weights={"model_path": str(arguments.model_path), "sha256": sha256},
        collapsed=collapsed,
        overwrite=arguments.overwrite,
    )


def taken(arguments: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Return some of the arguments by name."""
    return {name: getattr(arguments, name) for name in names}
