"""Sequences of genomic windows, from an indexed genome or a FASTA file of regions with coordinates in its headers."""

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

_PACKED_NAMES = (".gz", ".bgz", ".bz2", ".zip")  # names that pyfaidx does not read as plain text


def open_genome(path: str | PathLike) -> SequenceSource:
    """Open a FASTA file, gzipped or plain, as a source of windows.

    The first header decides between two kinds of file:

    * Headers with coordinates, ``>chr1:100-200`` or ``>chr1:100-200(-)`` (0-based, half-open), name regions. All are
      read into memory, one byte per nucleotide. They may overlap and repeat; a ``(-)`` region is reverse-complemented
      to the forward strand. Pieces of chromosomes have this form too: ``>chr6:33999999-35000000``. Records without
      coordinates are left out, and their number is logged as a warning.
    * Other headers name contigs by their first word. Plain and bgzip-compressed files are read through an index
      (``.fai``, and ``.gzi`` with bgzip), which is made or renewed where necessary and kept beside the file if that
      folder is writable. Other gzip files, and files that cannot be indexed (lines of unequal length), are read into
      memory with a warning.

    Names are those of `LAMAR.genomics.intervals.canonical_chromosome`, so that ``9`` and ``chr9`` are equal.

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
    if parse_region(header) is not None:
        return _read_regions(path)
    return _open_index(path) or _read_contigs(path)


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

    def __init__(self, path: str | PathLike, contigs: pd.DataFrame):
        self.path, self.contigs = path, contigs
        # By chromosome: sorted starts and, for each, the row that reaches furthest among those that start no later.
        # If any region holds a window, that one does, however the regions overlap.
        self._furthest = {}
        ends = contigs["end"].to_numpy()
        ordered = contigs.sort_values("start", kind="stable")
        for chrom, positions in ordered.groupby("chrom", sort=False).indices.items():
            rows = ordered.index.to_numpy()[positions]
            is_furthest = ends[rows] >= np.maximum.accumulate(ends[rows])
            best = np.maximum.accumulate(np.where(is_furthest, np.arange(len(rows)), 0))
            self._furthest[chrom] = (contigs["start"].to_numpy()[rows], rows[best])

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
        """
        start, end = (windows[name].to_numpy(dtype=np.int64) for name in ("start", "end"))
        if (start >= end).any():
            i = int(np.argmax(start >= end))
            raise ValueError(f"`windows`: row {i}: found {start[i]}-{end[i]}, wanted start < end")
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
    """A file read through an index: ``faidx`` is a `pyfaidx.Faidx`, ``bgzip`` tells whether it is compressed."""

    def __init__(self, path: str | PathLike, faidx, bgzip: bool):
        self._names, self._records = list(faidx.index), list(faidx.index.values())
        lengths = [record.rlen for record in self._records]
        super().__init__(path, _contigs(path, self._names, lengths))
        self._faidx, self._bgzip = faidx, bgzip

    def _fetch(self, contig: int, start: int, end: int) -> str:
        if self._bgzip:
            text = self._faidx.fetch(self._names[contig], start + 1, end)
        else:
            # Faidx.fetch takes several times as long for a short window. With mmap, every page that was read would
            # count as memory of this process.
            index = self._records[contig]
            first, last = (
                index.offset + base // index.lenc * index.lenb + base % index.lenc for base in (start, end - 1)
            )
            raw = os.pread(self._faidx.file.fileno(), last + 1 - first, first)
            # Latin-1 decodes every byte to one letter, so that a wrong one is reported at its position.
            text = raw.translate(None, b"\r\n").decode("latin-1")
        record = f"record {self._names[contig]}:{start}-{end}"
        sequence = normalize_sequence(text, source=str(self.path), record=record, piece=True) if text else ""
        if len(sequence) != end - start:
            raise InputError(
                f"{self.path}: {record}: found {len(sequence)} nucleotides, wanted {end - start}; "
                f"there are blanks in its lines, or {self.path}.fai is the index of another file"
            )
        return sequence

    def close(self) -> None:
        self._faidx.close()


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
    """Return whole contigs as in `SequenceSource.contigs`; two of one canonical name are an error."""
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
    """Return True for bgzip, False for plain text, None for other gzip files, from the first bytes."""
    with open(path, "rb") as handle:
        start = handle.read(18)
    if start[:2] != b"\x1f\x8b":
        return False
    # RFC 1952: the flag of an extra field, whose first subfield in bgzip files is BC with two bytes.
    return True if len(start) == 18 and start[3] & 4 and start[12:16] == b"BC\x02\x00" else None


def _open_index(path: str | PathLike) -> SequenceSource | None:
    """Open the file through an index; None, with a warning, if it must be read into memory."""
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
        # Otherwise a file of proteins, for example, would only be noticed by no window being found.
        source._fetch(0, 0, min(1000, int(source.contigs["end"].iat[0])))
    except InputError:
        source.close()
        raise
    return source


def _index_errors() -> tuple[type[Exception], ...]:
    """Return what pyfaidx, and Bio.bgzf below it, raise on a damaged or irregular index or file."""
    from pyfaidx import FastaIndexingError, FetchError, IndexNotFoundError

    kinds = (FastaIndexingError, FetchError, IndexNotFoundError, OSError, ValueError, EOFError)
    return (*kinds, zlib.error, gzip.BadGzipFile, struct.error)


def _saved_index(path: str | PathLike, bgzip: bool):
    """Return a `pyfaidx.Faidx` with the index beside the file; None if it is missing, outdated, or of another file."""
    from pyfaidx import Faidx

    saved = [Path(f"{path}.fai")] + [Path(f"{path}.gzi")] * bgzip
    try:
        if min(file.stat().st_mtime for file in saved) < os.stat(path).st_mtime:
            return None
        return _checked(Faidx(path, as_raw=True, build_index=False, rebuild=False), bgzip)
    except _index_errors():
        return None


def _new_index(path: str | PathLike, bgzip: bool):
    """Return a `pyfaidx.Faidx` with a new index, kept beside the file if possible; None if none can be made."""
    from pyfaidx import Faidx

    # Made elsewhere and moved when complete: an incomplete index left by a kill would be newer than the file.
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
    """Return the index; close it and return None if a record is empty or does not agree with the file."""
    good = bool(faidx.index) and all(record.rlen > 0 and record.lenc > 0 for record in faidx.index.values())
    if good and not bgzip:
        good = all(_agrees(faidx.file.fileno(), name, record) for name, record in faidx.index.items())
    if not good:
        faidx.close()
    return faidx if good else None


def _agrees(file: int, name: str, record) -> bool:
    """Return whether header, length of the first line and end of the sequence agree with the index."""
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
