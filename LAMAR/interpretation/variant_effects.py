"""Effects of substitutions and small insertions and deletions on a classifier's call.

A variant is scored in a window of the genome on its strand, with the reference and with the alternative. The effect is
alternative minus reference in log-odds; its rank among all substitutions of the same window shows whether it is large
for that window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..alphabet import NUCLEOTIDES
from ..batches import EncodedSequences
from .classifiers import model_task, predict_logits, resolve_scale, resolve_targets, scores
from .mutagenesis import mutagenesis
from .variant_windows import VariantWindow, load_variants

__all__ = ["COLUMNS", "score_variants", "variant_effects"]

COLUMNS = (
    "id", "chrom", "pos", "ref", "alt", "strand", "window_start", "window_end", "window_position", "target", "score",
    "reference_score", "alternative_score", "effect", "rank", "n_substitutions",
)  # fmt: skip


def score_variants(
    model: torch.nn.Module,
    placed: Sequence[VariantWindow],
    *,
    target: int | str | None = None,
    scale: str | None = None,
    ranks: bool = True,
    token_budget: int | None = None,
    device: str | torch.device | None = None,
    progress: str | None = None,
) -> list[dict[str, Any]]:
    """Return one row per variant, columns `COLUMNS`, in the order given.

    Parameters
    ----------
    model, target, token_budget, device, progress
        See `LAMAR.interpretation.mutagenesis.mutagenesis`.
    placed : sequence of VariantWindow
    scale : {"log_odds", "logit", "probability"}, optional
        Scale of the scores; None for log-odds (natural logarithm), for regression the predicted value.
    ranks : bool, default True
        Rank each effect among all substitutions of one nucleotide in its window by absolute value; 1 is the strongest,
        ties share the better rank. That takes the mutagenesis of each distinct window, 3 forward rows per nucleotide.
        Without ranks it is two rows per variant, and ``rank`` is None.

    Raises
    ------
    InputError
        For a class or scale that does not exist.
    """
    task = model_task(model)
    scale = resolve_scale(scale, task)
    options = {"token_budget": token_budget, "device": device, "progress": progress}
    windows = list(dict.fromkeys(window.sequence for window in placed))
    index = {sequence: i for i, sequence in enumerate(windows)}
    # Mutagenesis scores all substitutions of one nucleotide; what is left is scored by itself.
    single = [window for window in placed if not (ranks and window.letter)]
    if ranks:
        results = mutagenesis(model, windows, target=target, **options)
        reference = np.stack([result.reference for result in results])
        targets = [result.target for result in results]
        substitutions = [result.effects(scale) for result in results]
        alternatives = _logits(model, [window.alternative for window in single], options)
    else:
        logits = _logits(model, [*windows, *(window.alternative for window in single)], options)
        reference, alternatives = logits[: len(windows)], logits[len(windows) :]
        targets = resolve_targets(reference, target, task).tolist()
    by_window = {id(window): logits for window, logits in zip(single, alternatives)}
    rows = []
    for window in placed:
        i = index[window.sequence]
        before = float(scores(reference[i], targets[i], scale, task))
        if id(window) in by_window:
            effect = float(scores(by_window[id(window)], targets[i], scale, task)) - before
        else:
            effect = float(substitutions[i][window.position, NUCLEOTIDES.index(window.letter)])
        # The letters of the sequence itself have an effect of 0 and never rank above a variant.
        rank = 1 + int((np.abs(substitutions[i]) > abs(effect)).sum()) if ranks else None
        rows.append(_variant_row(window, targets[i], scale, before, effect, rank))
    return rows


def _logits(model: torch.nn.Module, sequences: list[str], options: dict[str, Any]) -> np.ndarray:
    """Return the logits of sequences, float32 (n, K)."""
    if not sequences:
        return np.zeros((0, model.config.num_labels), dtype=np.float32)
    return predict_logits(model, EncodedSequences.encode(sequences), **options)


def _variant_row(
    window: VariantWindow, target: int, scale: str, before: float, effect: float, rank: int | None
) -> dict[str, Any]:
    sequence = window.sequence
    return {
        **{name: getattr(window.variant, name) for name in ("id", "chrom", "pos", "ref", "alt", "strand")},
        "window_start": window.start,
        "window_end": window.end,
        "window_position": window.position,
        "target": target,
        "score": scale,
        "reference_score": before,
        "alternative_score": before + effect,
        "effect": effect,
        "rank": rank,
        "n_substitutions": 3 * (len(sequence) - sequence.count("N")),
    }


def variant_effects(
    model: torch.nn.Module,
    vcf: str | PathLike,
    genome: str | PathLike,
    *,
    strand: str = "+",
    variant_window: int = 101,
    target: int | str | None = None,
    scale: str | None = None,
    ranks: bool = True,
    token_budget: int | None = None,
    device: str | torch.device | None = None,
    progress: str | None = None,
) -> pd.DataFrame:
    """Read variants, place them in windows of a genome, and score them.

    Parameters
    ----------
    model, target, token_budget, device, progress
        See `LAMAR.interpretation.mutagenesis.mutagenesis`.
    vcf : path
        VCF or table, see `LAMAR.interpretation.variants.read_variants`.
    genome : path
        FASTA of the genome, or of regions with coordinates in their headers.
    strand : {"+", "-", "both"}, default "+"
        Strand of variants that have none.
    variant_window : int, default 101
        Nucleotides around a variant.
    scale, ranks
        See `score_variants`.

    Returns
    -------
    DataFrame
        One row per variant and strand, columns `COLUMNS`: effects are alternative minus reference. Its
        ``attrs["left_out"]`` lists variants that cannot be scored, a dict of the fields of
        `LAMAR.interpretation.variants.LeftOut` each.

    Raises
    ------
    InputError
        For a class or scale that does not exist, and as `LAMAR.interpretation.variant_windows.load_variants`.
    """
    placed, left_out = load_variants(vcf, genome, strand, variant_window)
    options = {"token_budget": token_budget, "device": device, "progress": progress}
    rows = score_variants(model, placed, target=target, scale=scale, ranks=ranks, **options)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.attrs["left_out"] = [asdict(one) for one in left_out]
    return table
