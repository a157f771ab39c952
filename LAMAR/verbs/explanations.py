"""Verbs that explain: attributions of a classifier's call, dependencies of a language model, effects of variants."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

import torch

from ..checkpoints import LoadReport, load_pretrained
from ..errors import InputError
from ..modeling_nucESM2 import EsmForMaskedLM
from .models import loaded, loaded_classifier

if TYPE_CHECKING:
    import pandas as pd

    from ..interpretation.dependency import DependencyMap
    from ..interpretation.integrated_gradients import IntegratedGradients
    from ..interpretation.mutagenesis import Mutagenesis

__all__ = ["dependency_map", "integrated_gradients", "mutagenesis", "variant_effects"]


def mutagenesis(
    model: torch.nn.Module | str | PathLike,
    sequences: Sequence[str],
    *,
    target: int | str | None = None,
    region: tuple[int, int] | None = None,
    **options: Any,
) -> list[Mutagenesis]:
    """Score every single substitution of sequences with a fine-tuned classifier.

    Parameters
    ----------
    model : Module or path
        Model of `load_classifier`, or a checkpoint or fine-tuning run.
    sequences : sequence of str
        n sequences.
    target : int or "predicted", optional
        Class to explain; None takes class 1 of two, and else the predicted class of the unchanged sequence.
    region : (int, int), optional
        Range [start, end) to mutate, 0-based; None for the whole sequence.
    options
        ``device``, ``token_budget``, ``progress`` as `LAMAR.verbs` describes them.

    Returns
    -------
    list of Mutagenesis
        One per sequence, of L nucleotides in the region. ``effects(scale)``: alternative minus reference, float32
        (L, 4), letters in the order A C G T; 0 at the letters of the sequence, NaN at N. ``importance(scale)``: minus
        the mean effect of the three substitutions, float32 (L,). Scales are "log_odds" (natural logarithm, the
        default), "logit" and "probability".

    Raises
    ------
    InputError
        A sequence that is not nucleotides, or a class or region that does not exist.

    References
    ----------
    Zhou & Troyanskaya, Nat Methods 12:931 (2015).

    Examples
    --------
    >>> from LAMAR import mutagenesis
    >>> result, = mutagenesis("models/PUM2/fold_0", ["GGCAUGUAUAUAGGC"])
    >>> result.effects().shape, result.importance("probability").shape
    ((15, 4), (15,))
    """
    from ..interpretation import mutagenesis as module

    model = loaded_classifier(model)
    return module.mutagenesis(model, sequences, target=target, region=region, **options)


def integrated_gradients(
    model: torch.nn.Module | str | PathLike,
    sequences: Sequence[str],
    *,
    target: int | str | None = None,
    region: tuple[int, int] | None = None,
    baseline: str = "mask",
    **options: Any,
) -> list[IntegratedGradients]:
    """Attribute a classifier's score to nucleotides by integrated gradients over the token embeddings.

    It needs the package captum (``pip install 'LAMAR[interpret]'``).

    Parameters
    ----------
    model, sequences, target, region
        As in `mutagenesis`.
    baseline : {"mask", "n", "mean", "shuffle"}
        Start of the path: mask tokens, N, the mean embedding, or the mean over dinucleotide shuffles.
    options
        ``device``, ``token_budget``, ``progress`` as `LAMAR.verbs` describes them, and further parameters of
        `LAMAR.interpretation.integrated_gradients.integrated_gradients`: ``scale``, ``n_steps``, ``tolerance``,
        ``n_shuffles`` and ``seed``.

    Returns
    -------
    list of IntegratedGradients
        One per sequence. ``scores``: float32 (L,), signed, in units of the score (log-odds by default); over the whole
        sequence they sum to ``difference + delta``, score of the sequence minus that of the baseline plus the error of
        the quadrature. ``converged`` tells whether that error is within the tolerance.

    Raises
    ------
    InputError
        A choice, class or region that does not exist, or captum is not installed.

    References
    ----------
    Sundararajan, Taly & Yan, ICML (2017).

    Examples
    --------
    >>> from LAMAR import integrated_gradients
    >>> result, = integrated_gradients("models/PUM2/fold_0", ["GGCAUGUAUAUAGGC"], n_steps=16)
    >>> result.scores.shape, bool(abs(result.scores.sum() - result.difference - result.delta) < 1e-4)
    ((15,), True)
    """
    from ..interpretation import integrated_gradients as module

    model = loaded_classifier(model)
    return module.integrated_gradients(model, sequences, target=target, region=region, baseline=baseline, **options)


def dependency_map(
    model: torch.nn.Module | str | PathLike,
    sequence: str,
    *,
    region: tuple[int, int] | None = None,
    reduction: str = "max",
    **options: Any,
) -> DependencyMap:
    """Compute which nucleotides of a sequence depend on which, with a masked language model.

    Parameters
    ----------
    model : Module or path
        ``EsmForMaskedLM``, or a checkpoint with a masked-LM head.
    sequence : str
        L nucleotides.
    region : (int, int), optional
        Positions [start, end) to mutate, 0-based; None for all. The map then has these rows only.
    reduction : {"max", "mean"}
        Maximum (as published) or mean over 3 substitutions and 4 nucleotides.
    options
        ``device``, ``token_budget``, ``progress`` as `LAMAR.verbs` describes them.

    Returns
    -------
    DependencyMap
        ``values``: float32 (L, L), rows are mutated positions, columns the affected ones; largest absolute change of a
        nucleotide's log2 odds; zero diagonal, NaN at N. ``log_odds``: float32 (L, 4), log2 odds of A C G T in the
        unmutated sequence.

    Raises
    ------
    InputError
        A sequence that is not nucleotides, a region or choice that does not exist, or no masked-LM head.

    References
    ----------
    Tomaz da Silva et al., Nat Genet (2025).

    Examples
    --------
    >>> from LAMAR import dependency_map
    >>> result = dependency_map("weights/lamar-mini", "GGCAUGUAUAUAGGC")
    >>> result.values.shape, float(result.values.diagonal().max()), result.log_odds.shape
    ((15, 15), 0.0, (15, 4))
    """
    from ..interpretation import dependency

    model = loaded(model, _load_masked_lm)
    if not isinstance(model, EsmForMaskedLM):
        raise InputError(f"`model`: found {type(model).__name__}, wanted EsmForMaskedLM or a checkpoint of one")
    return dependency.dependency_map(model, sequence, region=region, reduction=reduction, **options)


def _load_masked_lm(path: str | PathLike) -> tuple[EsmForMaskedLM, LoadReport]:
    model, report = load_pretrained(EsmForMaskedLM, path)
    if report.new:
        raise InputError(f"`model`: {fspath(path)}: found no masked-LM head, wanted a pretrained language model")
    return model, report


def variant_effects(
    model: torch.nn.Module | str | PathLike,
    vcf: str | PathLike,
    genome: str | PathLike,
    *,
    strand: str = "+",
    variant_window: int = 101,
    **options: Any,
) -> pd.DataFrame:
    """Score substitutions and small insertions and deletions with a fine-tuned classifier.

    Each variant is placed in the middle of a window of the genome, on its strand. Those that cannot be scored are
    left out with a warning.

    Parameters
    ----------
    model : Module or path
        As in `mutagenesis`.
    vcf : path
        VCF, or CSV or TSV with columns ``chrom``, ``pos`` (from 1) or ``start`` (from 0), ``ref``, ``alt``, optionally
        ``id`` and ``strand``.
    genome : path
        FASTA of the genome, or of regions with coordinates in their headers.
    strand : {"+", "-", "both"}
        Strand of variants that have none.
    variant_window : int
        Length of the windows, nt.
    options
        ``device``, ``token_budget``, ``progress`` as `LAMAR.verbs` describes them, and further parameters of
        `LAMAR.interpretation.variant_effects.variant_effects`: ``target``, ``scale`` and ``ranks``.

    Returns
    -------
    DataFrame
        One row per variant and strand; ``effect`` is alternative minus reference. ``attrs["left_out"]`` lists the
        variants left out, and why.

    Raises
    ------
    InputError
        A file that cannot be read, a class or scale that does not exist; no variant can be scored, or most do not fit
        the genome.

    Examples
    --------
    >>> from LAMAR import variant_effects
    >>> table = variant_effects("models/PUM2/fold_0", "data/variants.vcf", "data/genome.fa", variant_window=31)
    >>> table[["id", "chrom", "pos", "ref", "alt", "n_substitutions"]].values.tolist()
    [['rs1', 'chr1', 60, 'A', 'C', 93]]
    """
    from ..interpretation import variant_effects as module

    model = loaded_classifier(model)
    return module.variant_effects(model, vcf, genome, strand=strand, variant_window=variant_window, **options)
