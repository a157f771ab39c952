"""Sequence of genomic windows, from an indexed genome or from a FASTA of regions with coordinates in its headers."""

from __future__ import annotations

import gzip
import logging
import os
import struct
import tempfile
import zlib
from abc import ABC, abstractmethod
from contextlib import suppress
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from ..alphabet import reverse_complement
from ..data.sequences import check_span, normalize_sequence, parse_region, read_fasta
from ..data.text_files import open_text
from ..errors import InputError
from ..runs.storage import atomic_write
from .intervals import canonical_chromosomes

__all__ = ["SequenceSource", "open_genome"]

logger = logging.getLogger(__name__)

_PACKED_NAMES = (".gz", ".bgz", ".bz2", ".zip")  # those that pyfaidx does not take for plain text


def open_genome(path: str | PathLike) -> SequenceSource:
    """Open a FASTA file, gzipped or plain, as a source of windows.

    The first header tells which of two kinds it is:

    * Coordinates, as ``>chr1:100-200`` or ``>chr1:100-200(-)`` (0-based, half-open): regions. All are read into
      memory, a byte per nucleotide. They may overlap and repeat; a ``(-)`` region is turned to the forward strand.
      A piece of a chromosome comes so too: ``>chr6:33999999-35000000``. Records without coordinates are left out, and
      counted in a warning.
    * Anything else: contigs, named by the first word of their headers. Plain and bgzip-compressed files are read
      through an index (``.fai``, and ``.gzi`` with bgzip), made and renewed when needed and kept beside the file
      where that folder can be written. Other gzip files, and files that cannot be indexed (lines of unequal length),
      are read into memory with a warning.

    Names are those of `LAMAR.genomics.intervals.canonical_chromosome`, so that ``9`` and ``chr9`` are one.

    Raises
    ------
    InputError
        Names the file and the record: a region whose sequence is not ``end - start`` long, two contigs of one name,
        and all that `LAMAR.data.sequences.read_fasta` refuses. An indexed file is not read through: there, a character
        that is no nucleotide code is raised when a window holds it, except at the file's beginning.
    """
    header = _first_header(path)
    if parse_region(header) is not None:
        return _read_regions(path)
    return _open_index(path) or _read_contigs(path)


class SequenceSource(ABC):
    """Sequence of the windows that lie in some contig or region.

    A context manager; files are closed at its end, or by `close`. It cannot be sent to another process: open one there.

    Attributes
    ----------
    contigs : DataFrame
        What it holds sequence of, in the file's order: chrom (canonical name), start, end (int64; 0-based, half-open),
        strand (of a region as its header says, else ``.``).
    """

    def __init__(self, path: str | PathLike, contigs: pd.DataFrame):
        self.path, self.contigs = path, contigs
        # By chromosome: starts in order and, for each, the row that reaches furthest of those that start no later.
        # Some region holds a window exactly if that one does, however the regions overlap.
        self._furthest = {}
        ends = contigs["end"].to_numpy()
        ordered = contigs.sort_values("start", kind="stable")
        for chrom, positions in ordered.groupby("chrom", sort=False).indices.items():
            rows = ordered.index.to_numpy()[positions]
            is_furthest = ends[rows] >= np.maximum.accumulate(ends[rows])
            best = np.maximum.accumulate(np.where(is_furthest, np.arange(len(rows)), 0))
            self._furthest[chrom] = (contigs["start"].to_numpy()[rows], rows[best])

    def locate(self, windows: pd.DataFrame) -> np.ndarray:
        """Row of `contigs` that holds each window completely, -1 where none does; int64 (n,).

        Raises
        ------
        ValueError
            A window of no base.
        """
        start, end = (windows[name].to_numpy(dtype=np.int64) for name in ("start", "end"))
        if (start >= end).any():
            i = int(np.argmax(start >= end))
            raise ValueError(f"windows: row {i}: found {start[i]}-{end[i]}, wanted start < end")
        found = np.full(len(windows), -1, dtype=np.int64)
        names = canonical_chromosomes(windows["chrom"]).reset_index(drop=True)
        for chrom, positions in names.groupby(names, sort=False).indices.items():
            if chrom in self._furthest:
                starts, rows = self._furthest[chrom]
                before = np.searchsorted(starts, start[positions], side="right") - 1
                row = rows[before]
                holds = (before >= 0) & (self.contigs["end"].to_numpy()[row] >= end[positions])
                found[positions[holds]] = row[holds]
        return found

    def extract(self, windows: pd.DataFrame) -> list[str | None]:
        """Sequences of windows, letters of ``ACGTN`` in upper case.

        Parameters
        ----------
        windows : DataFrame
            chrom (any spelling), start, end (0-based, half-open) and, when there, strand: ``-`` windows are
            reverse-complemented, ``+`` and ``.`` ones are not.

        Returns
        -------
        list of (str or None), n
            Of ``end - start`` letters each. None where no single contig or region holds the whole window:
            it runs over an end, starts below 0, or its chromosome is not there.

        Raises
        ------
        InputError
            A character that is no nucleotide code; an index that does not fit its file.
        """
        row = self.locate(windows)
        start, end = (windows[name].to_numpy(dtype=np.int64) for name in ("start", "end"))
        is_minus = windows["strand"].eq("-").tolist() if "strand" in windows else [False] * len(windows)
        # In the file's order, so that a disk reads forwards and a compressed block is unpacked once.
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
        """Normalized forward sequence of genomic positions that row ``contig`` of `contigs` holds."""

    def close(self) -> None:  # noqa: B027 - a source in memory has nothing to close
        """Close the file; the source gives no more sequence."""

    def __enter__(self) -> SequenceSource:
        return self

    def __exit__(self, *exception) -> None:
        self.close()


class _InMemory(SequenceSource):
    """Normalized forward sequences one after the other; ``first`` is where each contig or region begins."""

    def __init__(self, path: str | PathLike, contigs: pd.DataFrame, bases: bytearray):
        super().__init__(path, contigs)
        self._bases = bases
        self._starts = contigs["start"].tolist()
        lengths = (contigs["end"] - contigs["start"]).to_numpy()
        self._first = (np.cumsum(lengths) - lengths).tolist()

    def _fetch(self, contig: int, start: int, end: int) -> str:
        shift = self._first[contig] - self._starts[contig]
        return self._bases[start + shift : end + shift].decode("ascii")


class _Indexed(SequenceSource):
    """A file that is read where the index says; ``faidx`` is a `pyfaidx.Faidx`, ``bgzip`` whether it is compressed."""

    def __init__(self, path: str | PathLike, faidx, bgzip: bool):
        self._names, self._records = list(faidx.index), list(faidx.index.values())
        lengths = [record.rlen for record in self._records]
        super().__init__(path, _contigs(path, self._names, lengths))
        self._faidx, self._bgzip = faidx, bgzip

    def _fetch(self, contig: int, start: int, end: int) -> str:
        if self._bgzip:
            text = self._faidx.fetch(self._names[contig], start + 1, end)
        else:
            # Not Faidx.fetch, which takes several times as long for a short window. Not mmap either: every page that
            # was read would count as this process's memory.
            index = self._records[contig]
            first, last = (
                index.offset + base // index.lenc * index.lenb + base % index.lenc for base in (start, end - 1)
            )
            raw = os.pread(self._faidx.file.fileno(), last + 1 - first, first)
            # Latin-1 gives every byte a letter, so that a wrong one is reported where it stands.
            text = raw.translate(None, b"\r\n").decode("latin-1")
        record = f"record {self._names[contig]}:{start}-{end}"
        sequence = normalize_sequence(text, source=str(self.path), record=record) if text else ""
        if len(sequence) != end - start:
            raise InputError(
                f"{self.path}: {record}: found {len(sequence)} nucleotides, wanted {end - start}; "
                f"there are blanks in its lines, or {self.path}.fai is the index of another file"
            )
        return sequence

    def close(self) -> None:
        self._faidx.close()


def _first_header(path: str | PathLike) -> str:
    """First line that begins with ``>``; where other text comes before it, `read_fasta` says what is wrong."""
    with open_text(path) as handle:
        for line in handle:
            if line.startswith(">"):
                return line
            if line.strip() and line[0] not in ";#":
                break
    return next(read_fasta(path))[0]


def _contigs(path: str | PathLike, names: list[str], lengths: list[int]) -> pd.DataFrame:
    """Whole contigs as `SequenceSource.contigs`; two of one canonical name are an error."""
    contigs = pd.DataFrame({"chrom": canonical_chromosomes(pd.Series(names, dtype=object)), "start": 0, "end": lengths})
    again = contigs["chrom"].duplicated()
    if again.any():
        name = contigs.loc[again, "chrom"].iloc[0]
        found = " and ".join(repr(name) for name in np.array(names)[contigs["chrom"] == name][:2].tolist())
        raise InputError(f"{path}: found contigs {found}, wanted one of the name {name}")
    return contigs.assign(strand=".").astype({"start": np.int64, "end": np.int64})


def _read_contigs(path: str | PathLike) -> SequenceSource:
    names, lengths, bases = [], [], bytearray()
    for header, sequence in read_fasta(path):
        names.append(header.split()[0])
        lengths.append(len(sequence))
        bases += sequence.encode("ascii")
    return _InMemory(path, _contigs(path, names, lengths), bases)


def _read_regions(path: str | PathLike) -> SequenceSource:
    regions, bases, others = [], bytearray(), []
    for header, sequence in read_fasta(path):
        region = parse_region(header)
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


def _is_bgzip(path: str | PathLike) -> bool | None:
    """True for bgzip, False for plain text, None for ordinary gzip, told from the first bytes."""
    with open(path, "rb") as handle:
        start = handle.read(18)
    if start[:2] != b"\x1f\x8b":
        return False
    # RFC 1952: the flag of an extra field, and bgzip's own subfield BC of two bytes as its first.
    return True if len(start) == 18 and start[3] & 4 and start[12:16] == b"BC\x02\x00" else None


def _open_index(path: str | PathLike) -> SequenceSource | None:
    """The file as `_Indexed`, or None, with a warning, where it must be read into memory."""
    bgzip = _is_bgzip(path)
    if bgzip is None:
        logger.warning("%s: gzip cannot be indexed, reading it all into memory; bgzip or gunzip it to avoid that", path)
        return None
    if bgzip != str(path).lower().endswith(_PACKED_NAMES):
        logger.warning("%s: its name does not tell its compression, reading it all into memory", path)
        return None
    faidx = _saved_index(path, bgzip) or _new_index(path, bgzip)
    if faidx is None:
        logger.warning("%s: cannot be indexed (lines of unequal length?), reading it all into memory", path)
        return None
    source = _Indexed(path, faidx, bgzip)
    try:
        # Proteins, for one, would otherwise only be noticed by no window being found.
        source._fetch(0, 0, min(1000, int(source.contigs["end"].iat[0])))
    except InputError:
        source.close()
        raise
    return source


# What pyfaidx, and Bio.bgzf below it, raise on an index or a file that is damaged or not regular.
def _index_errors() -> tuple[type[Exception], ...]:
    from pyfaidx import FastaIndexingError, FetchError, IndexNotFoundError

    kinds = (FastaIndexingError, FetchError, IndexNotFoundError, OSError, ValueError, EOFError)
    return (*kinds, zlib.error, gzip.BadGzipFile, struct.error)


def _saved_index(path: str | PathLike, bgzip: bool):
    """`pyfaidx.Faidx` by the index beside the file; None where that is missing, older than the file, or not its own."""
    from pyfaidx import Faidx

    saved = [Path(f"{path}.fai")] + [Path(f"{path}.gzi")] * bgzip
    try:
        if min(file.stat().st_mtime for file in saved) < os.stat(path).st_mtime:
            return None
        return _checked(Faidx(path, as_raw=True, build_index=False, rebuild=False), bgzip)
    except _index_errors():
        return None


def _new_index(path: str | PathLike, bgzip: bool):
    """`pyfaidx.Faidx` by an index made now, and kept beside the file if possible; None where none can be made."""
    from pyfaidx import Faidx

    # Made elsewhere and moved when complete: a half one that a kill left behind would be newer than the file.
    with tempfile.TemporaryDirectory() as folder:
        names = {"indexname": ".fai", "gzi_indexname": ".gzi"}
        made = {name: Path(folder, f"index{end}") for name, end in names.items()}
        try:
            faidx = _checked(Faidx(path, as_raw=True, **made), bgzip)
        except _index_errors():
            return None
        with suppress(OSError):
            for name, end in names.items():
                if faidx is not None and made[name].exists():
                    with atomic_write(f"{path}{end}", "wb") as handle:
                        handle.write(made[name].read_bytes())
    return faidx


def _checked(faidx, bgzip: bool):
    """The index, or None, closed, where a record is empty or the index does not agree with the file about it."""
    good = bool(faidx.index) and all(record.rlen > 0 and record.lenc > 0 for record in faidx.index.values())
    if good and not bgzip:
        good = all(_agrees(faidx.file.fileno(), name, record) for name, record in faidx.index.items())
    if not good:
        faidx.close()
    return faidx if good else None


def _agrees(file: int, name: str, record) -> bool:
    """Whether the header is there, the first line is of the right length, and the sequence ends where it should."""
    above = os.pread(file, min(record.offset, 4096), max(0, record.offset - 4096))
    header = above.rstrip(b"\r\n").rpartition(b"\n")[2].split()
    last = record.rlen - 1
    rest = os.pread(file, 64, record.offset + last // record.lenc * record.lenb + last % record.lenc)
    line = os.pread(file, record.lenb, record.offset)
    return (
        above.endswith(b"\n")
        and header[:1] == [b">" + name.encode()]
        and len(line.rstrip(b"\r\n")) == min(record.lenc, record.rlen)
        and rest[:1].strip(b">\r\n") != b""
        and rest[1:].lstrip()[:1] in (b"", b">")
    )
