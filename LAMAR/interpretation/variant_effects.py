"""Effects of single-nucleotide variants on a classifier's call, from a VCF or a table and a genome.

A variant is scored in a window of the genome on its strand, with the reference and with the alternative letter. The
effect is alternative minus reference in log-odds; its rank among all substitutions of the same window says whether it
is large for that place.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
import pandas as pd
import torch

from ..alphabet import COMPLEMENT, NUCLEOTIDES, reverse_complement
from ..batches import EncodedSequences
from ..data.sequences import open_text, read_lines, read_table
from ..errors import InputError
from ..genomics.genome import SequenceSource
from ..genomics.intervals import canonical_chromosome
from .attribution import TOKENS, EditedSequences, Mutagenesis, mutagenesis, predict_logits
from .classifiers import resolve_scale, resolve_targets, scores, task_of

__all__ = ["COLUMNS", "Variant", "VariantWindow", "place_variants", "read_variants", "score_variants"]

logger = logging.getLogger(__name__)

COLUMNS = (
    "id", "chrom", "pos", "ref", "alt", "strand", "window_start", "window_end", "window_position", "target", "score",
    "reference_score", "alternative_score", "effect", "rank", "n_substitutions",
)  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One substitution. ``pos`` counts from 1, as in a VCF; ``ref`` and ``alt`` are on the forward strand; ``source``
    names the file and the line for messages."""

    id: str
    chrom: str
    pos: int
    ref: str
    alt: str
    strand: str
    source: str


@dataclass(frozen=True)
class VariantWindow:
    """A variant's window: [start, end) of the genome, 0-based; the sequence on the variant's strand with the reference
    letter; where in it the variant is, and the letter that it puts there."""

    variant: Variant
    start: int
    end: int
    sequence: str
    position: int
    letter: str


def read_variants(path: str | PathLike, strand: str = "+") -> tuple[list[Variant], int]:
    """Substitutions of a VCF (told by its ``##fileformat=VCF`` or ``#CHROM`` line), or of a CSV/TSV table.

    A table has the columns ``chrom``, ``pos`` (from 1) or ``start`` (from 0), ``ref``, ``alt``, and optionally ``id``
    and ``strand``. Several alternatives, joined by commas, are variants of their own. What is no substitution of one
    letter by another (insertions, deletions, ``<DEL>``, ``*``) is left out with a warning that names the first.

    Parameters
    ----------
    strand
        ``+``, ``-``, or ``both`` for one variant on each; of records that say none (a VCF never does). ``ref`` and
        ``alt`` are read as letters of the forward strand whatever it is.

    Returns
    -------
    variants, n_left_out
        ``n_left_out``: alternatives that are no substitution.

    Raises
    ------
    InputError
        Names the file and the line or row: missing columns, a position that is no whole number or no place, a strand
        that is none, no substitution at all.
    """
    with open_text(path) as handle:
        _, head = next(read_lines(handle, path), (0, ""))
    is_vcf = head.upper().startswith(("##FILEFORMAT=VCF", "#CHROM"))
    rows = _vcf_rows(path) if is_vcf else _table_rows(path)
    variants, n_others, first_other = [], 0, ""
    for name, chrom, pos, first, ref, alts, own_strand, source in rows:
        where = f"{path}: {source}"
        # int() also takes 5_00 and digits of other alphabets, and numbers that the genome's arrays cannot hold.
        if not re.fullmatch("[0-9]{1,12}", pos.strip()) or int(pos) < first:
            raise InputError(f"{where}: found position {pos!r}, wanted a whole number from {first}, below 10**12")
        position = int(pos) + 1 - first
        own_strand = own_strand if own_strand in ("+", "-") else ""
        for alt in alts.upper().replace("U", "T").split(","):
            letter = ref.upper().replace("U", "T")
            if letter not in COMPLEMENT or alt not in COMPLEMENT or letter == alt:
                n_others += 1
                first_other = first_other or f"{source} ({name if name not in ('', '.') else f'{chrom}:{position}'})"
                continue
            for side in ("+", "-") if (own_strand or strand) == "both" else (own_strand or strand,):
                label = name if name not in ("", ".") else f"{chrom}:{position}{letter}>{alt}"
                variants.append(Variant(label, chrom, position, letter, alt, side, where))
    if n_others:
        are, more = "alternative that is", ""
        if n_others > 1:
            are, more = "alternatives that are", f" and {n_others - 1} more"
        message = "%s: left out %d %s no substitution of one nucleotide: %s%s"
        logger.warning(message, path, n_others, are, first_other, more)
    if not variants:
        raise InputError(f"{path}: found no substitution of one nucleotide by another")
    return variants, n_others


# Rows: name, contig, position as text, the number it counts from, reference, alternatives, strand, where it stands.
def _vcf_rows(path: str | PathLike):
    with open_text(path) as handle:
        for number, line in read_lines(handle, path):
            if line.startswith("#"):
                continue
            fields = line.split("\t")
            if len(fields) < 5:
                raise InputError(f"{path}: line {number}: found {len(fields)} columns, wanted CHROM POS ID REF ALT ...")
            chrom, pos, name, ref, alt = fields[:5]
            yield name, chrom, pos, 1, ref, alt, "", f"line {number}"


def _table_rows(path: str | PathLike):
    columns, numbers = read_table(path)
    place = "pos" if "pos" in columns else "start"
    missing = [name for name in ("chrom", place, "ref", "alt") if name not in columns]
    if missing:
        raise InputError(
            f"{path}: found columns {', '.join(columns)}, wanted chrom, pos (or start), ref, alt, or a VCF"
        )
    n = len(numbers)
    for i, number in enumerate(numbers):
        strand = columns.get("strand", [""] * n)[i]
        if strand not in ("", ".", "+", "-"):
            raise InputError(f"{path}: row {number}: found strand {strand!r}, wanted +, - or .")
        name, first = columns.get("id", [""] * n)[i], 1 if place == "pos" else 0
        chrom, pos, ref, alt = (columns[column][i] for column in ("chrom", place, "ref", "alt"))
        yield name, chrom, pos, first, ref, alt, strand, f"row {number}"


def place_variants(variants: Sequence[Variant], genome: SequenceSource, window: int) -> list[VariantWindow]:
    """Windows of ``window`` nt with the variants in their middle, moved inwards at the ends of a contig or region.

    Raises
    ------
    InputError
        Names the variant: not in the genome, a contig shorter than the window, or another reference letter there.
    """
    contigs = genome.contigs
    spots = pd.DataFrame(
        {
            "chrom": [canonical_chromosome(variant.chrom) for variant in variants],
            "start": [variant.pos - 1 for variant in variants],
            "end": [variant.pos for variant in variants],
            "strand": [variant.strand for variant in variants],
        }
    )
    rows = genome.locate(spots)
    for variant, row in zip(variants, rows):
        where = f"{variant.source}: {variant.chrom}:{variant.pos}"
        if row < 0:
            raise InputError(f"{where}: found no such place in {genome.path}")
        size = int(contigs["end"].iat[row] - contigs["start"].iat[row])
        if size < window:
            raise InputError(
                f"{where}: its contig has {size} nt in {genome.path}, fewer than --variant_window {window}"
            )
    first, last = (contigs[name].to_numpy()[rows] for name in ("start", "end"))
    start = np.clip(spots["start"].to_numpy() - window // 2, first, last - window)
    sequences = genome.extract(spots.assign(start=start, end=start + window))
    placed = []
    for variant, begin, sequence in zip(variants, start.tolist(), sequences):
        is_minus = variant.strand == "-"
        position = begin + window - variant.pos if is_minus else variant.pos - 1 - begin
        found = reverse_complement(sequence[position]) if is_minus else sequence[position]
        if found != variant.ref:
            raise InputError(
                f"{variant.source}: {variant.chrom}:{variant.pos}: found reference {variant.ref}, but {genome.path} "
                f"has {found} there (positions of a VCF count from 1; is it the same genome build?)"
            )
        letter = COMPLEMENT[variant.alt] if is_minus else variant.alt
        placed.append(VariantWindow(variant, begin, begin + window, sequence, position, letter))
    return placed


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
) -> list[dict]:
    """Rows of the variants' table, columns :data:`COLUMNS`, in the order given.

    Parameters
    ----------
    scale
        Of the scores; None for log-odds (natural logarithm), for regression the value.
    ranks
        Rank each effect among all substitutions of its window by absolute value, 1 the strongest, ties share the
        better rank: the mutagenesis of each different window, 3 rows a nucleotide. Without, two rows a variant, and
        ``rank`` is None.

    Other parameters as for :func:`LAMAR.interpretation.attribution.mutagenesis`.
    """
    task = task_of(model.config)
    scale = resolve_scale(scale, task)
    options = {"token_budget": token_budget, "device": device, "progress": progress}
    windows = list(dict.fromkeys(window.sequence for window in placed))
    index = {sequence: i for i, sequence in enumerate(windows)}
    if ranks:
        found = mutagenesis(model, windows, target=target, **options)
    else:
        found = _without_ranks(model, windows, placed, index, target, task, options)
    rows = []
    for window in placed:
        result = found[index[window.sequence]]
        effects = result.effects(scale)
        effect = float(effects[window.position, NUCLEOTIDES.index(window.letter)])
        reference = float(scores(result.reference, result.target, scale, task))
        own = result.sequence
        n_substitutions = 3 * (len(own) - own.count("N"))
        variant = window.variant
        rows.append(
            {
                **{name: getattr(variant, name) for name in ("id", "chrom", "pos", "ref", "alt", "strand")},
                "window_start": window.start,
                "window_end": window.end,
                "window_position": window.position,
                "target": result.target,
                "score": scale,
                "reference_score": reference,
                "alternative_score": reference + effect,
                "effect": effect,
                # The sequence's own letters have an effect of 0 and are never above one.
                "rank": 1 + int((np.abs(effects) > abs(effect)).sum()) if ranks else None,
                "n_substitutions": n_substitutions,
            }
        )
    return rows


def _without_ranks(model, windows, placed, index, target, task, options) -> list[Mutagenesis]:
    """As :func:`mutagenesis` of the windows, with the variants' own substitutions alone filled in."""
    originals = EncodedSequences.encode(windows)
    reference = predict_logits(model, originals, **options)
    targets = resolve_targets(reference, target, task)
    record = np.array([index[window.sequence] for window in placed], dtype=np.int64)
    position = np.array([window.position for window in placed], dtype=np.int64)
    letter = np.array([NUCLEOTIDES.index(window.letter) for window in placed], dtype=np.int64)
    rows = EditedSequences(originals, record, position[:, None] + 1, TOKENS[letter][:, None])
    logits = predict_logits(model, rows, **options)
    results = []
    for i, sequence in enumerate(windows):
        table = np.full((len(sequence), 4, logits.shape[1]), np.nan, dtype=np.float32)
        of = record == i
        table[position[of], letter[of]] = logits[of]
        results.append(Mutagenesis(sequence, 0, len(sequence), int(targets[i]), task, reference[i], table))
    return results
