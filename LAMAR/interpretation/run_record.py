"""What all runs of this package share: what ``run.json`` records, and records that cannot be explained."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import runs
from ..errors import InputError, excerpt
from .classifiers import unexplainable

__all__ = ["RunRecord", "refuse_left_out", "separate_records", "warn_of_length"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunRecord:
    """What ``run.json`` records of a run beside its results.

    Attributes
    ----------
    arguments : mapping
        Arguments by name. A run is resumed only with equal arguments.
    seed : int, optional
    inputs : sequence of path
        Files that the run reads.
    weights : mapping, optional
        Path and SHA-256 of the weights.
    collapsed : optional
        Kind of the collapse of the classifier's training, or the kinds by checkpoint; recorded in the summary.
    overwrite : bool
        Delete what an earlier run wrote, and start again.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    inputs: Sequence[str | Path] = ()
    weights: Mapping[str, Any] | None = None
    collapsed: str | Mapping[str, str] | None = None
    overwrite: bool = False

    def open(self, output_dir: str | Path) -> runs.RunFolder:
        """Start or resume the run in a folder, see `LAMAR.runs.RunFolder.open`."""
        return runs.RunFolder.open(
            output_dir,
            arguments=self.arguments,
            seed=self.seed,
            inputs=self.inputs,
            weights=self.weights,
            overwrite=self.overwrite,
        )


def separate_records(
    records: Sequence[tuple[str, str]],
    config,
    *,
    window_size: int | None = None,
    region: tuple[int, int] | None = None,
) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Separate the records that can be explained from those that cannot, and log the latter.

    Records longer than ``config.max_position_embeddings`` are kept, with a warning.

    Parameters
    ----------
    records : sequence of (str, str)
        Name and normalized sequence of each record; names differ.
    config : EsmConfig
        Configuration of the model.
    window_size, region
        See `LAMAR.interpretation.classifiers.unexplainable`.

    Returns
    -------
    kept : list of (str, str)
    left_out : dict of str
        Reason by name.
    """
    kept: list[tuple[str, str]] = []
    left_out: dict[str, str] = {}
    for name, sequence in records:
        reason = unexplainable(sequence, window_size=window_size, region=region)
        if reason is None:
            kept.append((name, sequence))
        else:
            left_out[name] = reason
            logger.warning("left out: record %s: %s", name, reason)
    warn_of_length((sequence for _, sequence in kept), config)
    return kept, left_out


def warn_of_length(sequences: Iterable[str], config) -> None:
    """Log a warning when sequences are longer than what the configuration calls the longest.

    Rotary positions have no limit, so such sequences are explained; but the model may not have been trained on them.
    """
    longest = config.max_position_embeddings - 2
    n = sum(len(sequence) > longest for sequence in sequences)
    if n:
        logger.warning(
            "%d %s longer than %d nt, max_position_embeddings of the model without special tokens; rotary positions "
            "have no limit, but results are only meaningful for lengths that the model was trained on",
            n, "sequences are" if n > 1 else "sequence is", longest,
        )  # fmt: skip


def refuse_left_out(left_out: Mapping[str, str], n_records: int, done: str) -> None:
    """Raise `InputError` for the first record that was left out, at the end of a run that did the others.

    Parameters
    ----------
    left_out : mapping
        Reason by name; nothing is raised when it is empty.
    n_records : int
        Number of all records.
    done : str
        What was done with the others: "explained".
    """
    if not left_out:
        return
    name, reason = next(iter(left_out.items()))
    n_done = n_records - len(left_out)
    more = f" (the first of {len(left_out)} records left out; {n_done} were {done})" if n_records > 1 else ""
    raise InputError(f"record {excerpt(name)}: {reason}{more}")
