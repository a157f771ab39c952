"""Variants of a VCF or a table: substitutions and small insertions and deletions, and what cannot be scored and why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike

from ..alphabet import COMPLEMENT
from ..data.text_files import open_text, read_lines, read_named_table
from ..errors import InputError, excerpt, shortened

__all__ = ["REASONS", "LeftOut", "Reason", "Variant", "read_variants"]


@dataclass(frozen=True)
class Reason:
    """Why a variant is left out.

    Attributes
    ----------
    text : str
        Words that follow "variants".
    is_fault : bool
        Whether the record is wrong, or does not fit the genome; else it is a variant of a kind that is not scored.
    """

    text: str
    is_fault: bool


REASONS = {
    "malformed": Reason("that cannot be read", True),
    "not_in_genome": Reason("at places that the genome does not have", True),
    "reference_differs": Reason("whose reference letters are not those of the genome", True),
    "contig_too_short": Reason("in contigs that are shorter than the window", True),
    "no_nucleotides": Reason("whose alternative is not written as A, C, G, T", False),
    "no_change": Reason("whose alternative is the reference", False),
    "no_gene": Reason("that lie in no gene", False),
    "too_long": Reason("that change more than half of the window", False),
    "end_of_contig": Reason("too near the end of a contig", False),
}


@dataclass(frozen=True)
class LeftOut:
    """A record of a file, or one of its alternatives, that is not scored.

    Attributes
    ----------
    place : str
        Line or row in the file.
    id, chrom, pos, ref, alt : str
        As the file has them; "" where a malformed record has none.
    reason : str
        Key of `REASONS`.
    found : str
        What was found there and what was wanted.
    """

    place: str
    id: str
    chrom: str
    pos: str
    ref: str
    alt: str
    reason: str
    found: str


@dataclass(frozen=True)
class Variant:
    """A variant as its file has it.

    Attributes
    ----------
    id : str
    chrom : str
    pos : int
        Position of the first letter of ``ref``, counted from 1, as in a VCF.
    ref, alt : str
        Different letters of the forward strand, one or more each.
    strand : {"+", "-"}
        Strand on which the variant is scored.
    place : str
        Line or row in the file.
    """

    id: str
    chrom: str
    pos: int
    ref: str
    alt: str
    strand: str
    place: str

    def trimmed(self) -> tuple[int, str, str]:
        """Return position from 0, reference and alternative without the letters that both share at their ends.

        One letter stays of each, as in the normal form of a VCF (Tan et al. 2015, doi:10.1093/bioinformatics/btv112):
        ``GT`` > ``AT`` is ``G`` > ``A``.
        """
        start, ref, alt = self.pos - 1, self.ref, self.alt
        while min(len(ref), len(alt)) > 1 and ref[-1] == alt[-1]:
            ref, alt = ref[:-1], alt[:-1]
        while min(len(ref), len(alt)) > 1 and ref[0] == alt[0]:
            start, ref, alt = start + 1, ref[1:], alt[1:]
        return start, ref, alt

    def left_out(self, reason: str, found: str) -> LeftOut:
        """Return this variant as one that is not scored."""
        return LeftOut(self.place, self.id, self.chrom, str(self.pos), self.ref, self.alt, reason, found)


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


def read_variants(path: str | PathLike, strand: str = "+") -> tuple[list[Variant], list[LeftOut]]:
    """Read variants from a VCF or a CSV/TSV table.

    A VCF is recognised by its ``##fileformat=VCF`` or ``#CHROM`` line. A table has the columns ``chrom``, ``pos`` (from
    1) or ``start`` (from 0), ``ref``, ``alt``, and optionally ``id`` and ``strand``. Each of several alternatives
    joined by commas is a variant.

    Parameters
    ----------
    path : path
    strand : {"+", "-", "both"}, default "+"
        Strand of records that have none, as those of a VCF; ``both`` gives one variant on each strand. ``ref`` and
        ``alt`` are always read as letters of the forward strand.

    Returns
    -------
    variants : list of Variant
    left_out : list of LeftOut
        Records that cannot be read, and alternatives that are no nucleotides (``<DEL>``, ``*``, ``N``) or no change.

    Raises
    ------
    InputError
        If the file cannot be read or a table lacks a column.
    """
    with open_text(path) as handle:
        _, head = next(read_lines(handle, path), (0, ""))
    is_vcf = head.upper().startswith(("##FILEFORMAT=VCF", "#CHROM"))
    variants: list[Variant] = []
    left_out: list[LeftOut] = []
    for row in _vcf_rows(path) if is_vcf else _table_rows(path):
        if isinstance(row, LeftOut):
            left_out.append(row)
            continue
        for variant in _variants_of_row(row, strand):
            (left_out if isinstance(variant, LeftOut) else variants).append(variant)
    return variants, left_out


def _variants_of_row(row: _Row, strand: str) -> Iterator[Variant | LeftOut]:
    """Yield the variants of a row, one per alternative and strand, and the alternatives that are left out."""

    def left_out(reason: str, found: str, alt: str = row.alts) -> LeftOut:
        return LeftOut(row.place, row.id, row.chrom, row.pos, row.ref, alt, reason, found)

    # int() also takes 5_00 and digits of other alphabets, and numbers that the genome's arrays cannot hold.
    if not re.fullmatch("[0-9]{1,12}", row.pos.strip()) or int(row.pos) < row.first:
        wanted = f"wanted a whole number from {row.first}, below 10**12"
        yield left_out("malformed", f"found position {row.pos[:40]!r}, {wanted}")
        return
    if row.strand not in ("", ".", "+", "-"):
        yield left_out("malformed", f"found strand {row.strand[:40]!r}, wanted +, - or .")
        return
    position = int(row.pos) + 1 - row.first
    sides = (row.strand,) if row.strand in ("+", "-") else ("+", "-") if strand == "both" else (strand,)
    ref = row.ref.upper().replace("U", "T")
    if not _is_sequence(ref):
        yield left_out("malformed", f"found reference {row.ref[:40]!r}, wanted letters of ACGT")
        return
    for alt in row.alts.upper().replace("U", "T").split(","):
        if not _is_sequence(alt):
            yield left_out("no_nucleotides", f"found alternative {alt[:40]!r}, wanted letters of ACGT", alt)
        elif alt == ref:
            yield left_out("no_change", f"found alternative {alt[:40]!r} like the reference", alt)
        else:
            name = row.id if row.id not in ("", ".") else f"{row.chrom}:{position}{ref}>{alt}"
            for side in sides:
                yield Variant(name, row.chrom, position, ref, alt, side, row.place)


def _is_sequence(letters: str) -> bool:
    return bool(letters) and all(letter in COMPLEMENT for letter in letters)


def _vcf_rows(path: str | PathLike) -> Iterator[_Row | LeftOut]:
    with open_text(path) as handle:
        for number, line in read_lines(handle, path):
            if line.startswith("#"):
                continue
            fields = line.split("\t")
            if len(fields) < 5:
                found = f"found {len(fields)} columns, wanted CHROM POS ID REF ALT ..."
                yield LeftOut(f"line {number}", "", "", "", "", "", "malformed", found)
                continue
            chrom, pos, name, ref, alts = fields[:5]
            yield _Row(name, chrom, pos, 1, ref, alts, "", f"line {number}")


def _table_rows(path: str | PathLike) -> Iterator[_Row]:
    columns, numbers, written = read_named_table(path)
    position = "pos" if "pos" in columns else "start"
    missing = [name for name in ("chrom", position, "ref", "alt") if name not in columns]
    if missing:
        raise InputError(
            f"{path}: found columns {shortened(map(excerpt, written.values()))}, "
            "wanted chrom, pos (or start), ref, alt, or a VCF"
        )
    first = 1 if position == "pos" else 0
    absent = [""] * len(numbers)
    names = ("id", "chrom", position, "ref", "alt", "strand")
    for number, name, chrom, pos, ref, alts, strand in zip(numbers, *(columns.get(key, absent) for key in names)):
        yield _Row(name, chrom, pos, first, ref, alts, strand, f"row {number}")
