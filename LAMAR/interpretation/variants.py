"""Single-nucleotide variants: reading from a VCF or a table, and placing in windows of a genome."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
import pandas as pd

from ..alphabet import COMPLEMENT, reverse_complement
from ..data.text_files import open_text, read_lines, read_table
from ..errors import InputError
from ..genomics.genome import SequenceSource

__all__ = ["Variant", "VariantWindow", "place_variants", "read_variants"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variant:
    """A substitution of one nucleotide.

    Attributes
    ----------
    id : str
    chrom : str
    pos : int
        Position counted from 1, as in a VCF.
    ref, alt : str
        Letters of the forward strand.
    strand : {"+", "-"}
        Strand on which the variant is scored.
    source : str
        File and line, for messages.
    """

    id: str
    chrom: str
    pos: int
    ref: str
    alt: str
    strand: str
    source: str


@dataclass(frozen=True)
class VariantWindow:
    """A variant in its window of the genome.

    Attributes
    ----------
    variant : Variant
    start, end : int
        Window in the genome, 0-based half-open.
    sequence : str
        Window on the variant's strand, with the reference letter.
    position : int
        Index of the variant in ``sequence``.
    letter : str
        Alternative letter on the variant's strand.
    """

    variant: Variant
    start: int
    end: int
    sequence: str
    position: int
    letter: str


@dataclass(frozen=True)
class _Row:
    """A row of a file of variants; ``pos`` is text, ``first`` the number from which positions count."""

    id: str
    chrom: str
    pos: str
    first: int
    ref: str
    alts: str
    strand: str
    place: str


def read_variants(path: str | PathLike, strand: str = "+") -> tuple[list[Variant], int]:
    """Read substitutions from a VCF or a CSV/TSV table.

    A VCF is recognised by its ``##fileformat=VCF`` or ``#CHROM`` line. A table has the columns ``chrom``, ``pos`` (from
    1) or ``start`` (from 0), ``ref``, ``alt``, and optionally ``id`` and ``strand``. Each of several alternatives
    joined by commas is a variant. Alternatives that are no substitution of one letter by another (insertions,
    deletions, ``<DEL>``, ``*``) are left out with a warning that names the first of them.

    Parameters
    ----------
    path : path
    strand : {"+", "-", "both"}, default "+"
        Strand of records that have none, as those of a VCF; ``both`` gives one variant on each strand. ``ref`` and
        ``alt`` are always read as letters of the forward strand.

    Returns
    -------
    variants : list of Variant
    n_left_out : int
        Number of alternatives that are no substitution.

    Raises
    ------
    InputError
        Names the file and the line or row: missing columns, a position that is no whole number or out of range, an
        unknown strand, no substitution at all.
    """
    with open_text(path) as handle:
        _, head = next(read_lines(handle, path), (0, ""))
    is_vcf = head.upper().startswith(("##FILEFORMAT=VCF", "#CHROM"))
    variants: list[Variant] = []
    left_out: list[str] = []
    for row in _vcf_rows(path) if is_vcf else _table_rows(path):
        for variant in _variants_of_row(path, row, strand, left_out):
            variants.append(variant)
    if left_out:
        are = "alternative that is" if len(left_out) == 1 else "alternatives that are"
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        message = "%s: left out %d %s no substitution of one nucleotide: %s%s"
        logger.warning(message, path, len(left_out), are, left_out[0], more)
    if not variants:
        raise InputError(f"{path}: found no substitution of one nucleotide by another")
    return variants, len(left_out)


def _variants_of_row(path: str | PathLike, row: _Row, strand: str, left_out: list[str]) -> Iterator[Variant]:
    """Yield the substitutions of a row; append where it stands to ``left_out`` for each other alternative."""
    source = f"{path}: {row.place}"
    # int() also takes 5_00 and digits of other alphabets, and numbers that the genome's arrays cannot hold.
    if not re.fullmatch("[0-9]{1,12}", row.pos.strip()) or int(row.pos) < row.first:
        raise InputError(f"{source}: found position {row.pos!r}, wanted a whole number from {row.first}, below 10**12")
    position = int(row.pos) + 1 - row.first
    has_name = row.id not in ("", ".")
    row_strand = row.strand if row.strand in ("+", "-") else strand
    ref = row.ref.upper().replace("U", "T")
    for alt in row.alts.upper().replace("U", "T").split(","):
        if ref not in COMPLEMENT or alt not in COMPLEMENT or ref == alt:
            left_out.append(f"{row.place} ({row.id if has_name else f'{row.chrom}:{position}'})")
            continue
        name = row.id if has_name else f"{row.chrom}:{position}{ref}>{alt}"
        for side in ("+", "-") if row_strand == "both" else (row_strand,):
            yield Variant(name, row.chrom, position, ref, alt, side, source)


def _vcf_rows(path: str | PathLike) -> Iterator[_Row]:
    with open_text(path) as handle:
        for number, line in read_lines(handle, path):
            if line.startswith("#"):
                continue
            fields = line.split("\t")
            if len(fields) < 5:
                raise InputError(f"{path}: line {number}: found {len(fields)} columns, wanted CHROM POS ID REF ALT ...")
            chrom, pos, name, ref, alts = fields[:5]
            yield _Row(name, chrom, pos, 1, ref, alts, "", f"line {number}")


def _table_rows(path: str | PathLike) -> Iterator[_Row]:
    columns, numbers = read_table(path)
    position = "pos" if "pos" in columns else "start"
    missing = [name for name in ("chrom", position, "ref", "alt") if name not in columns]
    if missing:
        raise InputError(
            f"{path}: found columns {', '.join(columns)}, wanted chrom, pos (or start), ref, alt, or a VCF"
        )
    n = len(numbers)
    for i, number in enumerate(numbers):
        strand = columns.get("strand", [""] * n)[i]
        if strand not in ("", ".", "+", "-"):
            raise InputError(f"{path}: row {number}: found strand {strand!r}, wanted +, - or .")
        name, first = columns.get("id", [""] * n)[i], 1 if position == "pos" else 0
        chrom, pos, ref, alts = (columns[column][i] for column in ("chrom", position, "ref", "alt"))
        yield _Row(name, chrom, pos, first, ref, alts, strand, f"row {number}")


def place_variants(variants: Sequence[Variant], genome: SequenceSource, variant_window: int) -> list[VariantWindow]:
    """Return windows with the variants in their middle, moved inwards at the ends of a contig or region.

    Parameters
    ----------
    variants : sequence of Variant
    genome : SequenceSource
        See `LAMAR.genomics.genome.open_genome`.
    variant_window : int
        Length of the windows, nt.

    Raises
    ------
    InputError
        Names the variant: not in the genome, a contig shorter than the window, or another reference letter there.
    """
    contigs = genome.contigs
    spots = pd.DataFrame(
        {
            "chrom": [variant.chrom for variant in variants],
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
        if size < variant_window:
            raise InputError(
                f"{where}: its contig has {size} nt in {genome.path}, fewer than `variant_window` {variant_window}"
            )
    first, last = (contigs[name].to_numpy()[rows] for name in ("start", "end"))
    start = np.clip(spots["start"].to_numpy() - variant_window // 2, first, last - variant_window)
    sequences = genome.extract(spots.assign(start=start, end=start + variant_window))
    return [
        _placed(variant, begin, begin + variant_window, sequence, genome)
        for variant, begin, sequence in zip(variants, start.tolist(), sequences)
    ]


def _placed(variant: Variant, start: int, end: int, sequence: str, genome: SequenceSource) -> VariantWindow:
    is_minus = variant.strand == "-"
    position = end - variant.pos if is_minus else variant.pos - 1 - start
    reference = reverse_complement(sequence[position]) if is_minus else sequence[position]
    if reference != variant.ref:
        raise InputError(
            f"{variant.source}: {variant.chrom}:{variant.pos}: found reference {variant.ref}, but {genome.path} "
            f"has {reference} there (positions of a VCF count from 1; is it the same genome build?)"
        )
    letter = COMPLEMENT[variant.alt] if is_minus else variant.alt
    return VariantWindow(variant, start, end, sequence, position, letter)
