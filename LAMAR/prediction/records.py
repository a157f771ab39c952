"""Records to predict: sequences of RNA, and where each of their nucleotides lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from ..alphabet import reverse_complement
from ..data.corpus_files import COLUMNS
from ..data.sequences import (
    check_span,
    find_region,
    is_missing,
    normalize_sequence,
    parse_region,
    read_fasta,
    record_name,
    warn_of_unused_coordinates,
)
from ..data.text_files import read_named_table
from ..errors import InputError, excerpt, shortened, similar

if TYPE_CHECKING:
    from ..genomics.genome import SequenceSource

__all__ = [
    "Place",
    "Record",
    "both_strands",
    "fasta_records",
    "genomic_records",
    "table_records",
    "transcript_places",
    "without_repeats",
]


@dataclass(frozen=True)
class Place:
    """Where a record's nucleotides lie: blocks of a chromosome, or the whole of a record that lies nowhere else.

    Attributes
    ----------
    chrom : str
        Chromosome, or the name of the record.
    strand : {"+", "-"}
        Strand of the RNA.
    starts, ends : tuple of int
        Blocks (exons), 0-based and half-open, ascending.
    """

    chrom: str
    strand: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def __len__(self) -> int:
        return sum(self.ends) - sum(self.starts)

    def blocks(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the blocks of a part of the record, 0-based and half-open in its own direction, on the chromosome.

        Examples
        --------
        >>> Place("chr1", "-", (100, 200), (110, 205)).blocks(3, 8)
        [(107, 110), (200, 202)]
        """
        if self.strand == "-":
            start, end = len(self) - end, len(self) - start
        found, passed = [], 0
        for left, right in zip(self.starts, self.ends):
            first, last = max(start - passed, 0), min(end - passed, right - left)
            if first < last:
                found.append((left + first, left + last))
            passed += right - left
        return found


@dataclass(frozen=True)
class Record:
    """A sequence of RNA to predict.

    Attributes
    ----------
    name : str
    sequence : str
        Normalized nucleotides, 5' to 3'.
    place : Place
        Of as many nucleotides.
    """

    name: str
    sequence: str
    place: Place


def _whole(name: str, sequence: str) -> Record:
    return Record(name, sequence, Place(name, "+", (0,), (len(sequence),)))


def fasta_records(path: str | PathLike) -> Iterator[Record]:
    """Yield the records of a FASTA file, gzipped or plain, under the names of `LAMAR.data.sequences.record_name`.

    Headers with coordinates, such as ``chr1:100-200(-)`` or ``name chr1:100-200``, place a record on the genome; with
    ``-``, or without a strand, the sequence is read as it stands. At the end, a warning tells of headers with
    coordinates that cannot be used.

    Raises
    ------
    InputError
        As `LAMAR.data.sequences.read_fasta`; or the sequence is not as long as the header says.
    """
    without_place: list[str] = []
    n_records = 0
    for header, sequence in read_fasta(path):
        name = record_name(header, len(sequence))
        region = parse_region(header) or find_region(header, len(sequence))
        n_records += 1
        if region is None:
            without_place.append(header)
            yield _whole(name, sequence)
            continue
        check_span(region, len(sequence), f"{path}: record {header}", " (0-based half-open; these look 1-based)")
        strand = "-" if region.strand == "-" else "+"
        yield Record(name, sequence, Place(region.chrom, strand, (region.start,), (region.end,)))
    warn_of_unused_coordinates(path, without_place, n_records)


def table_records(path: str | PathLike, column: str = "sequence") -> Iterator[Record]:
    """Yield the records of a CSV, TSV or Parquet file; a column ``id`` or ``name`` names them, else their row.

    Parameters
    ----------
    path : path
    column : str
        Column of the sequences; ``sequence`` and ``seq`` stand for each other.

    Raises
    ------
    InputError
        There is no such column, or a cell is not nucleotides; names file and row.
    """
    if str(path).endswith(".parquet"):
        from pyarrow.parquet import read_table as read_parquet

        try:
            columns = read_parquet(path).to_pydict()
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read as Parquet: {error}") from None
        rows = range(1, len(next(iter(columns.values()), ())) + 1)
        written = list(columns)
    else:
        columns, rows, in_file = read_named_table(path)
        written = list(in_file.values())
    columns = {name.lower(): values for name, values in columns.items()}
    wanted = dict.fromkeys((column.lower(), *COLUMNS)) if column.lower() in COLUMNS else [column.lower()]
    chosen = next((name for name in wanted if name in columns), None)
    if chosen is None:
        raise InputError(f"{path}: found columns {shortened(map(excerpt, written))}, wanted {' or '.join(wanted)}")
    names = columns.get("id") or columns.get("name") or [None] * len(rows)
    for row, name, sequence in zip(rows, names, columns[chosen]):
        letters = normalize_sequence(str(sequence or ""), source=str(path), record=f"row {row}")
        yield _whole(f"row_{row}" if is_missing(name) else str(name), letters)


def both_strands(records: Iterable[Record]) -> Iterator[Record]:
    """Yield each record, and after it the reverse complement, which is called ``NAME(-)`` (or ``(+)``)."""
    for record in records:
        yield record
        place = record.place
        strand = "+" if place.strand == "-" else "-"
        other = Place(place.chrom, strand, place.starts, place.ends)
        yield Record(f"{record.name}({strand})", reverse_complement(record.sequence), other)


def without_repeats(records: Iterable[Record]) -> Iterator[Record]:
    """Yield the records; `InputError` where two have one name, under which their scores could not be told apart."""
    seen: set[str] = set()
    for record in records:
        if record.name in seen:
            raise InputError(f"record {record.name}: found twice, wanted names that differ")
        seen.add(record.name)
        yield record


def genomic_records(places: Sequence[tuple[str, Place]], source: SequenceSource) -> Iterator[Record]:
    """Yield records with the sequence of their blocks, joined, on their strand.

    Parameters
    ----------
    places : sequence of (str, Place)
        Names and places.
    source : SequenceSource
        Genome (`LAMAR.genomics.genome.open_genome`).

    Raises
    ------
    InputError
        A block beyond the end of its chromosome, or on one that the genome lacks.
    """
    import pandas as pd

    for name, place in places:
        blocks = pd.DataFrame({"chrom": place.chrom, "start": place.starts, "end": place.ends})
        parts = source.extract(blocks)
        if None in parts:
            missing = parts.index(None)
            where = f"{place.chrom}:{place.starts[missing]}-{place.ends[missing]}"
            raise InputError(f"record {name}: found {where}, which {source.path} does not have; another genome build?")
        sequence = "".join(parts)
        yield Record(name, reverse_complement(sequence) if place.strand == "-" else sequence, place)


def transcript_places(names: Sequence[str] | None, gtf: str | PathLike) -> list[tuple[str, Place]]:
    """Return the exons of transcripts.

    Parameters
    ----------
    names : sequence of str, optional
        Transcript ids, with or without version; None for all of the file.
    gtf : path
        Annotation (`LAMAR.genomics.annotation.read_gtf`).

    Raises
    ------
    InputError
        A transcript that the annotation lacks.
    """
    from ..genomics.annotation import read_gtf

    annotation = read_gtf(gtf)
    transcripts = annotation.transcripts
    ids = transcripts["transcript_id"].tolist()
    rows = {name: row for row, name in reversed(list(enumerate(ids)))}
    # Without its version a name stands for the transcript of any version.
    unversioned = {name.rpartition(".")[0] or name: row for name, row in rows.items()}
    chosen = []
    for name in ids if names is None else names:
        row = rows.get(name, unversioned.get(name, unversioned.get(name.rpartition(".")[0] or name)))
        if row is None:
            raise InputError(f"`transcripts`: found {name}, wanted a transcript of {gtf}{similar(name, rows)}")
        chosen.append((name, row))
    exons = annotation.exons.sort_values(["transcript", "start"], kind="stable")
    owner = exons["transcript"].to_numpy()
    starts, ends = exons["start"].to_numpy(), exons["end"].to_numpy()
    places = []
    for name, row in chosen:
        first, last = np.searchsorted(owner, [row, row + 1])
        chrom, strand = transcripts["chrom"].iat[row], transcripts["strand"].iat[row]
        places.append(
            (name, Place(chrom, strand, tuple(starts[first:last].tolist()), tuple(ends[first:last].tolist())))
        )
    return places
