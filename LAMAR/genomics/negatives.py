"""Candidates for the negatives of a labelled set, one function per kind in `LAMAR.genomics.choices.NEGATIVES`.

Each takes a `NegativeRequest` and returns windows in random order with columns chrom, start, end, strand, sequence,
kind, origin, log2fc and neg_log10_p, and the counts of what was drawn and lost by reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..data.shuffling import dinucleotide_shuffle
from ..errors import InputError
from .binding_sets import SetOptions, Sources
from .intervals import overlap
from .site_windows import center_windows, far_from, random_windows, significant, with_sequence

__all__ = ["NegativeRequest", "genome_windows", "other_rbp_sites", "shuffled_positives"]


@dataclass(frozen=True, eq=False)
class NegativeRequest:
    """What candidates are wanted for.

    Attributes
    ----------
    rbp, cell : str
        RBP and cell line of the set.
    positives : DataFrame
        Windows at the sites, with their sequence and kind of region.
    sources : Sources
        Peaks of all RBPs, sequence, and annotation.
    options : SetOptions
        How the set is made.
    n_wanted : int
        Number of negatives wanted.
    n_draw : int
        Number of windows to draw, of which some are lost.
    rng : numpy.random.Generator
        Source of random numbers.
    """

    rbp: str
    cell: str
    positives: pd.DataFrame
    sources: Sources
    options: SetOptions
    n_wanted: int
    n_draw: int
    rng: np.random.Generator


def other_rbp_sites(request: NegativeRequest) -> tuple[pd.DataFrame, dict[str, int]]:
    """Draw sites of other RBPs in the same cell line that are far from every site of this RBP."""
    peaks, options = request.sources.peaks, request.options
    others = peaks[(peaks["cell"] == request.cell) & (peaks["rbp"] != request.rbp)]
    others = others[significant(others, options.min_log2fc, options.min_neg_log10_p)]

    def draw(n: int) -> tuple[pd.DataFrame, dict[str, int]]:
        drawn = others.iloc[request.rng.permutation(len(others))[:n]]
        windows = center_windows(drawn, options.window, options.center)
        return _usable(windows.assign(kind="other_rbp", origin=windows["rbp"]), request)

    candidates, counts = draw(request.n_draw)
    if len(candidates) < request.n_wanted:
        # A piece of a genome holds few of them: take all there are.
        candidates, counts = draw(len(peaks))
    return candidates, counts


def genome_windows(request: NegativeRequest) -> tuple[pd.DataFrame, dict[str, int]]:
    """Draw random windows of genes that hold positives, or of regions, that are far from every site of this RBP."""
    windows = random_windows(_spans(request), request.options.window, request.rng)
    return _usable(windows.assign(kind="genome", origin=".", log2fc=np.nan, neg_log10_p=np.nan), request)


def shuffled_positives(request: NegativeRequest) -> tuple[pd.DataFrame, dict[str, int]]:
    """Shuffle each positive, ``ratio`` times, preserving its dinucleotides; columns copy and parent name the source."""
    positives = request.positives
    copies = [
        positives.assign(
            sequence=dinucleotide_shuffle(positives["sequence"].tolist(), seed=int(request.rng.integers(2**31))),
            kind="shuffle",
            log2fc=np.nan,
            neg_log10_p=np.nan,
            copy=number,
            parent=np.arange(len(positives)),
        )
        for number in range(1, request.options.ratio + 1)
    ]
    negatives = pd.concat(copies, ignore_index=True)
    repeated = negatives["sequence"].duplicated() | negatives["sequence"].isin(positives["sequence"])
    return negatives[~repeated], {"drawn": len(negatives), "repeated_sequence": int(repeated.sum())}


def _usable(windows: pd.DataFrame, request: NegativeRequest) -> tuple[pd.DataFrame, dict[str, int]]:
    """Keep windows far from every site of the RBP whose sequence can be read and is not that of a positive."""
    peaks, options = request.sources.peaks, request.options
    counts = {"drawn": len(windows)}
    far = far_from(windows, peaks[peaks["rbp"] == request.rbp], options.min_distance)
    counts["near_a_site"] = int((~far).sum())
    known = request.positives["sequence"].tolist()
    windows, dropped = with_sequence(windows[far], request.sources.sequence, known, options.keep_nonstandard)
    return windows, counts | dropped


def _spans(request: NegativeRequest) -> pd.DataFrame:
    """Return where to draw each window: a gene that holds positives, or without annotation a region of the sequence."""
    sources, rng = request.sources, request.rng
    if sources.annotation is not None:
        gene = sources.annotation.genes_at(request.positives)
        if (gene < 0).all():
            raise InputError("`negatives` genome: found no positive in a gene of `gtf`, wanted the same genome build")
        # A gene with ten positives is drawn from ten times as often.
        spans = sources.annotation.genes.iloc[gene[gene >= 0]][["chrom", "start", "end", "strand"]]
    else:
        contigs = sources.sequence.contigs
        if (contigs["start"] == 0).all():
            raise InputError("`negatives` genome: needs `gtf`, or `fasta` with regions, to know where transcripts are")
        spans = contigs[["chrom", "start", "end", "strand"]]
    spans = spans[spans["end"] - spans["start"] >= request.options.window]
    spans = spans.iloc[rng.integers(len(spans), size=request.n_draw)] if len(spans) else spans
    if sources.annotation is None:
        # A region says nothing of its strand, the peaks in it do.
        region, peak = overlap(spans, sources.peaks)
        strand = spans["strand"].to_numpy(object).copy()
        strand[region] = sources.peaks["strand"].to_numpy(object)[peak]
        spans = spans.assign(strand=np.where(spans["strand"] == ".", strand, spans["strand"]))
    return spans
