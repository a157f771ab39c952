"""Variants in windows of a genome, with the reference and with the alternative; what does not fit is left out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
import pandas as pd

from ..alphabet import reverse_complement
from ..errors import InputError
from ..genomics.builds import build_of, vcf_build
from ..genomics.genome import SequenceSource, open_genome
from .variants import REASONS, LeftOut, Variant, read_variants

__all__ = ["VariantWindow", "load_variants", "place_variants"]

logger = logging.getLogger(__name__)

_MISFITS = ("reference_differs", "not_in_genome")  # reasons of which another build is the likely cause


@dataclass(frozen=True)
class VariantWindow:
    """A variant in its window of the genome.

    Attributes
    ----------
    variant : Variant
    start, end : int
        Window in the genome, 0-based half-open.
    sequence, alternative : str
        Window on the variant's strand with the reference, and with the alternative: equally long.
    position : int
        Index in ``sequence`` of the first letter that the variant changes; of the one before, where it inserts or
        deletes letters.
    letter : str
        Alternative letter on the variant's strand, of a substitution of one nucleotide; else "".
    """

    variant: Variant
    start: int
    end: int
    sequence: str
    alternative: str
    position: int
    letter: str


def load_variants(
    path: str | PathLike,
    genome: str | PathLike,
    strand: str,
    variant_window: int,
    choose: Callable[[list[Variant]], tuple[list[Variant], list[LeftOut]]] | None = None,
) -> tuple[list[VariantWindow], list[LeftOut]]:
    """Read variants and place them in windows of a genome.

    Those that are left out are counted by reason in a warning.

    Parameters
    ----------
    path, strand
        See `LAMAR.interpretation.variants.read_variants`.
    genome : path
        See `LAMAR.genomics.genome.open_genome`.
    variant_window : int
        Length of the windows, nt.
    choose : callable, optional
        Divides the variants that were read into those to place and those to leave out.

    Returns
    -------
    placed : list of VariantWindow
        At least one.
    left_out : list of LeftOut

    Raises
    ------
    InputError
        If a file cannot be read, no variant can be scored, or more than half of those of a kind that is scored are
        malformed or do not fit the genome, as with another build. Where the lengths of chromosomes tell the builds of
        genome and VCF, the message names them.
    """
    variants, left_out = read_variants(path, strand)
    if choose is not None:
        variants, others = choose(variants)
        left_out += others
    with open_genome(genome) as source:
        placed, misplaced = place_variants(variants, source, variant_window)
        builds = _builds(path, source) if any(one.reason in _MISFITS for one in misplaced) else ""
    left_out += misplaced
    n_placed = len({(window.variant.place, window.variant.alt) for window in placed})
    faults = [one for one in left_out if REASONS[one.reason].is_fault]
    total = n_placed + len(left_out)
    if not placed or len(faults) > n_placed:
        if not left_out:
            raise InputError(f"{path}: found no variant")
        first = (faults or left_out)[0]
        counts = f"{len(left_out)} of {total} variants cannot be scored" if total > 1 else "the only variant"
        raise InputError(f"{path}: {first.place}: {first.found} ({counts}){builds}")
    if left_out:
        logger.warning("%s: left out %d of %d variants: %s%s", path, len(left_out), total, _summary(left_out), builds)
    return placed, left_out


def _builds(path: str | PathLike, genome: SequenceSource) -> str:
    """Return what the lengths of chromosomes say about the builds of a file of variants and a genome, or ""."""
    whole = genome.contigs[genome.contigs["start"] == 0]
    found = {str(genome.path): build_of(dict(zip(whole["chrom"], whole["end"]))), str(path): vcf_build(path)}
    known = [f"{name} is {build}" for name, build in found.items() if build]
    return f"; by the lengths of chromosomes, {' and '.join(known)}" if known else ""


def _summary(left_out: Sequence[LeftOut]) -> str:
    """Return how many variants were left out for each reason, with the first of each."""
    by_reason: dict[str, list[LeftOut]] = {}
    for one in left_out:
        by_reason.setdefault(one.reason, []).append(one)
    return "; ".join(
        f"{len(ones)} {REASONS[reason].text} ({ones[0].place}: {ones[0].found})" for reason, ones in by_reason.items()
    )


def place_variants(
    variants: Sequence[Variant], genome: SequenceSource, variant_window: int
) -> tuple[list[VariantWindow], list[LeftOut]]:
    """Return windows with the variants in their middle, moved inwards at the ends of a contig or region.

    Letters that reference and alternative share at their ends are trimmed. The window with the alternative begins at
    the same base of the genome and is as long as that with the reference: after an insertion it ends some bases
    earlier, after a deletion some bases later.

    Parameters
    ----------
    variants : sequence of Variant
    genome : SequenceSource
        See `LAMAR.genomics.genome.open_genome`.
    variant_window : int
        Length of the windows, nt.

    Returns
    -------
    placed : list of VariantWindow
    left_out : list of LeftOut
        Variants that are not in the genome, have other reference letters there, or do not fit a window; once each,
        however many strands they were to be scored on.
    """
    spots = pd.DataFrame(
        {
            "chrom": pd.Series([variant.chrom for variant in variants], dtype=object),
            "start": np.array([variant.pos - 1 for variant in variants], dtype=np.int64),
            "end": np.array([variant.pos - 1 + len(variant.ref) for variant in variants], dtype=np.int64),
        }
    )
    rows = genome.locate(spots)
    firsts, lasts = (genome.contigs[name].to_numpy()[rows].tolist() for name in ("start", "end"))
    found = zip(variants, (rows >= 0).tolist(), firsts, lasts, genome.extract(spots))
    left_out: dict[tuple[str, str], LeftOut] = {}
    kept, starts, ends = [], [], []
    for i, (variant, is_inside, first, last, letters) in enumerate(found):
        contig = (first, last) if is_inside else None
        if problem := _problem(variant, contig, letters, str(genome.path), variant_window):
            left_out.setdefault((variant.place, variant.alt), variant.left_out(*problem))
            continue
        kept.append(i)
        starts.append(_window_start(variant, contig, variant_window))
        ends.append(starts[-1] + variant_window + _growth(variant))
    texts = genome.extract(spots.iloc[kept].assign(start=starts, end=ends))
    placed = [_placed(variants[i], start, text, variant_window) for i, start, text in zip(kept, starts, texts)]
    return placed, list(left_out.values())


def _growth(variant: Variant) -> int:
    """Return the number of bases behind the window that the one with the alternative needs."""
    return max(0, len(variant.ref) - len(variant.alt))


def _window_start(variant: Variant, contig: tuple[int, int], variant_window: int) -> int:
    start, ref, _ = variant.trimmed()
    middle = start + (len(ref) - 1) // 2 - variant_window // 2
    return max(contig[0], min(middle, contig[1] - variant_window - _growth(variant)))


def _problem(
    variant: Variant, contig: tuple[int, int] | None, letters: str | None, genome: str, variant_window: int
) -> tuple[str, str] | None:
    """Return why a variant cannot be placed, a key of `REASONS`, and what was found."""
    where = f"{variant.chrom}:{variant.pos}"
    if contig is None:
        return "not_in_genome", f"{where}: found no such place in {genome}"
    if letters != variant.ref:
        found = f"found reference {variant.ref[:40]}, but {genome} has {letters[:40]} there"
        build = "(positions of a VCF count from 1; is it the same genome build?)"
        return "reference_differs", f"{where}: {found} {build}"
    start, ref, alt = variant.trimmed()
    if max(len(ref), len(alt)) > max(1, variant_window // 2):
        found = f"found {len(ref)} and {len(alt)} nt, wanted at most half of `variant_window` {variant_window}"
        return "too_long", f"{where}: {found}"
    size = contig[1] - contig[0]
    if size < variant_window + _growth(variant):
        found = f"its contig has {size} nt in {genome}, fewer than `variant_window` {variant_window}"
        return "contig_too_short", f"{where}: {found}" + (" and what is deleted" if size >= variant_window else "")
    if start + len(ref) > _window_start(variant, contig, variant_window) + variant_window:
        return "end_of_contig", f"{where}: found too few bases behind it to fill the window after the deletion"
    return None


def _placed(variant: Variant, window_start: int, text: str, variant_window: int) -> VariantWindow:
    """Return the window of a variant from the bases of the genome that both alleles need."""
    start, ref, alt = variant.trimmed()
    offset = start - window_start
    sequence, alternative = text[:variant_window], (text[:offset] + alt + text[offset + len(ref) :])[:variant_window]
    letter = alt if len(ref) == len(alt) == 1 else ""
    position = offset
    if variant.strand == "-":
        sequence, alternative, letter = map(reverse_complement, (sequence, alternative, letter))
        position = variant_window - offset - len(ref)
    return VariantWindow(variant, window_start, window_start + variant_window, sequence, alternative, position, letter)
