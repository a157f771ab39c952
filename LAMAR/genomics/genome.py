"""Sequences of genomic windows, from an indexed genome or a FASTA file of regions with coordinates in its headers."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from os import PathLike

import numpy as np
import pandas as pd

from ..alphabet import reverse_complement
from ..data.sequences import (
    check_span,
    find_region,
    looks_like_coordinates,
    normalize_sequence,
    parse_region,
    read_fasta,
    warn_of_unused_coordinates,
)
from ..data.text_files import open_text
from ..errors import InputError
from .genome_index import FastaIndex, open_index
from .intervals import canonical_chromosome, canonical_chromosomes

__all__ = ["SequenceSource", "open_genome"]

logger = logging.getLogger(__name__)


def open_genome(path: str | PathLike) -> SequenceSource:
    """Open a FASTA file, gzipped or plain, as a source of windows.

    The first header decides between two kinds of file:

    * Headers with coordinates, ``>chr1:100-200`` or ``>name chr1:100-200(-)`` (0-based, half-open; of
      `LAMAR.data.sequences.find_region`), name regions. All are read into memory, one byte per nucleotide. They may
      overlap and repeat; a ``(-)`` region is reverse-complemented to the forward strand. Pieces of chromosomes have
      this form too: ``>chr6:33999999-35000000``. Records without coordinates are left out, and their number is logged
      as a warning.
    * Other headers name contigs by their first word. Plain and bgzip-compressed files are read through an index
      (``.fai``, and ``.gzi`` with bgzip), which is made or renewed where necessary and kept beside the file if that
      folder is writable. Other gzip files, and files that cannot be indexed (lines of unequal length), are read into
      memory with a warning.

    Names are compared as `LAMAR.genomics.intervals.canonical_chromosome`, so that ``9`` and ``chr9`` are equal. Where
    two contigs are equal in this way, as ``chrM`` and ``chrMT`` of hg19, the one of a window's own spelling is read.

    Parameters
    ----------
    path : path
        FASTA file.

    Returns
    -------
    SequenceSource

    Raises
    ------
    InputError
        If the sequence of a region is not ``end - start`` long, two contigs have one name, or
        `LAMAR.data.sequences.read_fasta` fails; names the file and the record. In an indexed file, which is not read
        as a whole, a character that is not a nucleotide code is an error only in a window that holds it, and at the
        beginning of the file.
    """
    header = _first_header(path)
    # A first record may be a whole chromosome, which is read here only if its header may hold coordinates.
    if parse_region(header) or (
        find_region(header) and find_region(header, len(next(read_fasta(path))[1])) is not None
    ):
        return _read_regions(path)
    index = open_index(path)
    if index is None:
        return _read_contigs(path)
    source = _Indexed(path, index)
    if looks_like_coordinates(header):
        warn_of_unused_coordinates(path, map(index.header, range(len(index.names))), len(index.names))
    try:
        # Otherwise a file of proteins, for example, would only be noticed by no window being found.
        source._fetch(0, 0, min(1000, index.lengths[0]))
    except InputError:
        source.close()
        raise
    return source


class SequenceSource(ABC):
    """Source of the sequences of windows that lie in a contig or region.

    It is a context manager that closes its files at the end, as `close` does. It cannot be sent to another process;
    open one there.

    Attributes
    ----------
    contigs : DataFrame
        Contigs or regions in the order of the file: chrom (canonical name), start, end (int64; 0-based, half-open),
        strand (of a region with a strand in its header, else ``.``).
    """

    def __init__(self, path: str | PathLike, contigs: pd.DataFrame, names: Sequence[str] | None = None):
        """``names`` are those of the contigs as the file spells them; by default their canonical names."""
        self.path, self.contigs = path, contigs
        # By name: sorted starts and, for each, the row that reaches furthest among those that start no later.
        # If any region holds a window, that one does, however the regions overlap.
        self._furthest = {}
        ends = contigs["end"].to_numpy()
        ordered = contigs.assign(name=contigs["chrom"] if names is None else names).sort_values("start", kind="stable")
        for name, positions in ordered.groupby("name", sort=False).indices.items():
            rows = ordered.index.to_numpy()[positions]
            is_furthest = ends[rows] >= np.maximum.accumulate(ends[rows])
            best = np.maximum.accumulate(np.where(is_furthest, np.arange(len(rows)), 0))
            self._furthest[name] = (contigs["start"].to_numpy()[rows], rows[best])
        self._spellings: dict[str, list[str]] = {}
        for name in self._furthest:
            self._spellings.setdefault(canonical_chromosome(name), []).append(name)
        self._told: set[str] = set()  # names whose other spellings were logged

    def _name_of(self, chrom: str) -> str | None:
        """Return the name in the file of a window's chromosome, None without one."""
        names = self._spellings.get(canonical_chromosome(chrom), [])
        if len(names) < 2:
            return names[0] if names else None
        found = " and ".join(map(repr, names[:3]))
        if chrom not in names:
            raise InputError(
                f"{self.path}: found contigs {found}, and windows on {chrom}, wanted one contig of the name "
                f"{canonical_chromosome(chrom)}, or windows that are named like one of them"
            )
        if chrom not in self._told:
            self._told.add(chrom)
            logger.warning(
                "%s: found contigs %s; windows on %s are read from the one of this name", self.path, found, chrom
            )
        return chrom

    def locate(self, windows: pd.DataFrame) -> np.ndarray:
        """Return the row of `contigs` that holds each window completely, -1 without one.

        Parameters
        ----------
        windows : DataFrame
            chrom (any spelling), start, end (0-based, half-open).

        Returns
        -------
        int64, shape (n,)

        Raises
        ------
        ValueError
            If a window has no base.
        InputError
            If the canonical name of a window's chromosome is that of several contigs, none of which is named like it.
        """
        start, end = (windows[name].to_numpy(dtype=np.int64) for name in ("start", "end"))
        if (start >= end).any():
            i = int(np.argmax(start >= end))
            raise ValueError(f"`windows`: row {i}: found {start[i]}-{end[i]}, wanted start < end")
        found = np.full(len(windows), -1, dtype=np.int64)
        names = windows["chrom"].reset_index(drop=True)
        for chrom, positions in names.groupby(names, sort=False).indices.items():
            if (name := self._name_of(chrom)) is not None:
                starts, rows = self._furthest[name]
                before = np.searchsorted(starts, start[positions], side="right") - 1
                row = rows[before]
                holds = (before >= 0) & (self.contigs["end"].to_numpy()[row] >= end[positions])
                found[positions[holds]] = row[holds]
        return found

    def extract(self, windows: pd.DataFrame) -> list[str | None]:
        """Return the sequences of windows, letters of ``ACGTN`` in upper case.

        Parameters
        ----------
        windows : DataFrame
            chrom (any spelling), start, end (0-based, half-open) and optionally strand: ``-`` windows are
            reverse-complemented, ``+`` and ``.`` ones are not.

        Returns
        -------
        list of (str or None), length n
            ``end - start`` letters each. None where no single contig or region holds the whole window: it passes an
            end, starts below 0, or its chromosome is absent.

        Raises
        ------
        InputError
            If a character is not a nucleotide code, or an index does not fit its file.
        """
        row = self.locate(windows)
        start, end = (windows[name].to_numpy(dtype=np.int64) for name in ("start", "end"))
        is_minus = windows["strand"].eq("-").tolist() if "strand" in windows else [False] * len(windows)
        # In the order of the file, so that a disk reads forwards and each compressed block is unpacked once.
        order = np.lexsort((start, row))
        order = order[row[order] >= 0]
        sequences: list[str | None] = [None] * len(windows)
        columns = (order, row[order], start[order], end[order])
        for i, contig, first, last in zip(*(values.tolist() for values in columns)):
            sequence = self._fetch(contig, first, last)
            sequences[i] = reverse_complement(sequence) if is_minus[i] else sequence
        return sequences

    @abstractmethod
    def _fetch(self, contig: int, start: int, end: int) -> str:
        """Return the normalized forward sequence of genomic positions in row ``contig`` of `contigs`."""

    def close(self) -> None:  # noqa: B027 - a source in memory has nothing to close
        """Close the file; sequences cannot be read afterwards."""

    def __enter__(self) -> SequenceSource:
        return self

    def __exit__(self, *exception) -> None:
        self.close()


class _InMemory(SequenceSource):
    """Normalized forward sequences of all contigs or regions, joined in memory."""

    def __init__(
        self, path: str | PathLike, contigs: pd.DataFrame, bases: bytearray, names: Sequence[str] | None = None
    ):
        super().__init__(path, contigs, names)
        self._bases = bases
        self._starts = contigs["start"].tolist()
        lengths = (contigs["end"] - contigs["start"]).to_numpy()
        self._first = (np.cumsum(lengths) - lengths).tolist()

    def _fetch(self, contig: int, start: int, end: int) -> str:
        shift = self._first[contig] - self._starts[contig]
        return self._bases[start + shift : end + shift].decode("ascii")


class _Indexed(SequenceSource):
    """A file read through an index."""

    def __init__(self, path: str | PathLike, index: FastaIndex):
        super().__init__(path, _contigs(path, index.names, index.lengths), index.names)
        self._index = index

    def _fetch(self, contig: int, start: int, end: int) -> str:
        # Latin-1 decodes every byte to one letter, so that a wrong one is reported at its position.
        text = self._index.fetch(contig, start, end).decode("latin-1")
        record = f"record {self._index.names[contig]}:{start}-{end}"
        sequence = normalize_sequence(text, source=str(self.path), record=record, piece=True) if text else ""
        if len(sequence) != end - start:
            raise InputError(
                f"{self.path}: {record}: found {len(sequence)} nucleotides, wanted {end - start}; "
                f"there are blanks in its lines, or {self.path}.fai is the index of another file"
            )
        return sequence

    def close(self) -> None:
        self._index.close()


def _first_header(path: str | PathLike) -> str:
    """Return the first line that begins with ``>``; `read_fasta` reports any other text before it."""
    with open_text(path) as handle:
        for line in handle:
            if line.startswith(">"):
                return line
            if line.strip() and line[0] not in ";#":
                break
    return next(read_fasta(path))[0]


def _contigs(path: str | PathLike, names: list[str], lengths: list[int]) -> pd.DataFrame:
    """Return whole contigs as in `SequenceSource.contigs`; two of one name are an error."""
    again = pd.Series(names, dtype=object).duplicated()
    if again.any():
        name = names[int(np.argmax(again))]
        raise InputError(f"{path}: found two contigs of the name {name!r}, wanted different names")
    contigs = pd.DataFrame({"chrom": canonical_chromosomes(pd.Series(names, dtype=object)), "start": 0, "end": lengths})
    return contigs.assign(strand=".").astype({"start": np.int64, "end": np.int64})


def _read_contigs(path: str | PathLike) -> SequenceSource:
    headers, lengths, bases = [], [], bytearray()
    for header, sequence in read_fasta(path):
        headers.append(header)
        lengths.append(len(sequence))
        bases += sequence.encode("ascii")
    warn_of_unused_coordinates(path, headers, len(headers))
    names = [header.split()[0] for header in headers]
    return _InMemory(path, _contigs(path, names, lengths), bases, names)


def _read_regions(path: str | PathLike) -> SequenceSource:
    regions, bases, others = [], bytearray(), []
    for header, sequence in read_fasta(path):
        region = parse_region(header) or find_region(header, len(sequence))
        if region is None:
            others.append(header)
            continue
        hint = "; coordinates that count from 1, as samtools faidx writes them, need start - 1"
        check_span(region, len(sequence), f"{path}: record {header}", hint)
        regions.append(region)
        bases += (reverse_complement(sequence) if region.strand == "-" else sequence).encode("ascii")
    if others:
        logger.warning(
            "%s: left out %d of %d records, whose headers hold no coordinates (the first is %r)",
            path, len(others), len(others) + len(regions), others[0],
        )  # fmt: skip
    contigs = pd.DataFrame(regions, columns=["chrom", "start", "end", "strand"])
    return _InMemory(path, contigs.assign(chrom=canonical_chromosomes(contigs["chrom"])), bases)
