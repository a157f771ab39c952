"""Effects of single-nucleotide variants on a classifier's call.

A variant is scored in a window of the genome on its strand, with the reference and with the alternative letter. The
effect is alternative minus reference in log-odds; its rank among all substitutions of the same window shows whether it
is large for that window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..alphabet import NUCLEOTIDES
from ..batches import EncodedSequences
from ..genomics.genome import open_genome
from .classifiers import model_task, predict_logits, resolve_scale, resolve_targets, scores
from .edits import TOKENS, EditedSequences
from .mutagenesis import Mutagenesis, mutagenesis
from .variants import VariantWindow, place_variants, read_variants

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
        Rank each effect among all substitutions of its window by absolute value; 1 is the strongest, ties share the
        better rank. That takes the mutagenesis of each distinct window, 3 forward rows per nucleotide. Without ranks it
        is two rows per variant, and ``rank`` is None.

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
    if ranks:
        results = mutagenesis(model, windows, target=target, **options)
    else:
        results = _without_ranks(model, windows, placed, index, target, options)
    effects = [result.effects(scale) for result in results]
    return [
        _variant_row(window, results[index[window.sequence]], effects[index[window.sequence]], scale, ranks)
        for window in placed
    ]


def _variant_row(
    window: VariantWindow, result: Mutagenesis, effects: np.ndarray, scale: str, ranks: bool
) -> dict[str, Any]:
    effect = float(effects[window.position, NUCLEOTIDES.index(window.letter)])
    reference = float(scores(result.reference, result.target, scale, result.task))
    sequence = result.sequence
    return {
        **{name: getattr(window.variant, name) for name in ("id", "chrom", "pos", "ref", "alt", "strand")},
        "window_start": window.start,
        "window_end": window.end,
        "window_position": window.position,
        "target": result.target,
        "score": scale,
        "reference_score": reference,
        "alternative_score": reference + effect,
        "effect": effect,
        # The letters of the sequence itself have an effect of 0 and never rank above a variant.
        "rank": 1 + int((np.abs(effects) > abs(effect)).sum()) if ranks else None,
        "n_substitutions": 3 * (len(sequence) - sequence.count("N")),
    }


def _without_ranks(
    model: torch.nn.Module,
    windows: list[str],
    placed: Sequence[VariantWindow],
    index: Mapping[str, int],
    target: int | str | None,
    options: Mapping[str, Any],
) -> list[Mutagenesis]:
    """Return the mutagenesis of the windows with only the variants' substitutions filled in."""
    originals = EncodedSequences.encode(windows)
    reference = predict_logits(model, originals, **options)
    task = model_task(model)
    targets = resolve_targets(reference, target, task)
    record = np.array([index[window.sequence] for window in placed], dtype=np.int64)
    position = np.array([window.position for window in placed], dtype=np.int64)
    letter = np.array([NUCLEOTIDES.index(window.letter) for window in placed], dtype=np.int64)
    rows = EditedSequences(originals, record, position[:, None] + 1, TOKENS[letter][:, None])
    logits = predict_logits(model, rows, **options)
    results = []
    for i, sequence in enumerate(windows):
        table = np.full((len(sequence), 4, logits.shape[1]), np.nan, dtype=np.float32)
        inside = record == i
        table[position[inside], letter[inside]] = logits[inside]
        results.append(Mutagenesis(sequence, 0, len(sequence), int(targets[i]), task, reference[i], table))
    return results


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
        One row per variant and strand, columns `COLUMNS`: effects are alternative minus reference.

    Raises
    ------
    InputError
        For a file that cannot be read, a variant that does not fit the genome, or a class or scale that does not exist.
    """
    variants, _ = read_variants(vcf, strand)
    with open_genome(genome) as source:
        placed = place_variants(variants, source, variant_window)
    options = {"token_budget": token_budget, "device": device, "progress": progress}
    rows = score_variants(model, placed, target=target, scale=scale, ranks=ranks, **options)
    return pd.DataFrame(rows, columns=list(COLUMNS))
