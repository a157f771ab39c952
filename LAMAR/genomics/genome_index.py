"""FASTA files, plain or compressed with bgzip, in which any stretch is read through an index of their records.

The index is that of ``samtools faidx`` (``.fai``; with bgzip ``.gzi`` too). pyfaidx makes and reads it; what an index
says is checked against the file, since pyfaidx trusts its numbers.
"""

from __future__ import annotations

import logging
import os
import struct
import tempfile
import warnings
import zlib
from bisect import bisect_right
from contextlib import suppress
from itertools import pairwise
from os import PathLike
from pathlib import Path

from ..errors import InputError
from ..runs.storage import atomic_write

__all__ = ["FastaIndex", "open_index"]

logger = logging.getLogger(__name__)

_PACKED_NAMES = (".gz", ".bgz", ".bz2", ".zip")  # names that pyfaidx does not read as plain text
_LARGEST = 2**48  # bytes; no file is longer, and sums of offsets stay far from the limit of int64
_HEAD, _LINE = 4096, 256  # bytes of a header, and of a line, that are compared with the index
# What pyfaidx, and Bio.bgzf below it, raise on a damaged or irregular index or file, besides FastaIndexingError.
_READ_ERRORS = (ArithmeticError, EOFError, LookupError, MemoryError, OSError, RuntimeError, ValueError)
_READ_ERRORS += (struct.error, zlib.error)


class FastaIndex:
    """An open FASTA file and the places of its records.

    Parameters
    ----------
    path : path
        The file.
    faidx : pyfaidx.Faidx
        Its index.
    bgzip : bool
        Whether it is compressed.

    Attributes
    ----------
    names : list of str
        First word of each header.
    lengths : list of int
        Number of letters of each record.
    """

    def __init__(self, path: str | PathLike, faidx, bgzip: bool):
        self.path, self._faidx = path, faidx
        self.names, self._records = list(faidx.index), list(faidx.index.values())
        self.lengths = [record.rlen for record in self._records]
        self._blocks = faidx.gzi_index if bgzip else None
        self._block_starts = [block.ustart for block in faidx.gzi_index] if bgzip else []

    def fetch(self, record: int, start: int, end: int) -> bytes:
        """Return the letters of a record from ``start`` to ``end``, 0-based half-open, as they are in the file.

        Raises
        ------
        InputError
            If the file is damaged there.
        """
        # pyfaidx's own fetch takes several times as long for a short window.
        place = self._records[record]
        first, last = (place.offset + base // place.lenc * place.lenb + base % place.lenc for base in (start, end - 1))
        try:
            return self._read(first, last + 1 - first).translate(None, b"\r\n")
        except _READ_ERRORS as error:
            index = f"{self.path}.{'fai' if self._blocks is None else 'gzi'}"
            raise InputError(
                f"{self.path}: record {self.names[record]}:{start}-{end}: cannot be read ({error}), wanted an "
                f"undamaged file; or {index} is the index of another file"
            ) from None

    def header(self, record: int) -> str:
        """Return the header of a record without ``>``; the last 4,096 bytes of a longer one."""
        return self._header(self._records[record]).decode("utf-8", "replace").removeprefix(">")

    def _header(self, place) -> bytes:
        above = self._read(max(0, place.offset - _HEAD), min(place.offset, _HEAD))
        return above.rstrip(b"\r\n").rpartition(b"\n")[2] if above.endswith(b"\n") else b""

    def _read(self, offset: int, size: int) -> bytes:
        """Return the bytes of the text at an offset; fewer at its end."""
        if self._blocks is None:
            # With mmap, every page that was read would count as memory of this process.
            return os.pread(self._faidx.file.fileno(), size, offset)
        from Bio.bgzf import make_virtual_offset

        block = self._blocks[bisect_right(self._block_starts, offset) - 1]
        try:
            self._faidx.file.seek(make_virtual_offset(block.cstart, offset - block.ustart))
            return self._faidx.file.read(size)
        except _READ_ERRORS:
            # The reader takes a block that it could not read for the one before it, until it reads another.
            with suppress(*_READ_ERRORS):
                self._faidx.file.seek(0)
            raise

    def blocks_agree_with_file(self) -> bool:
        """Return whether the blocks of a compressed file follow each other as the index has them."""
        if self._blocks is None:
            return True
        with open(self.path, "rb") as handle:
            file = handle.fileno()
            for block, following in pairwise(self._blocks):
                if not 0 <= block.cstart < _LARGEST:
                    return False
                # RFC 1952 and section 4.1 of https://samtools.github.io/hts-specs/SAMv1.pdf
                head = os.pread(file, 18, block.cstart)
                size = int.from_bytes(head[16:], "little") + 1
                length = int.from_bytes(os.pread(file, 4, block.cstart + size - 4), "little")
                if (
                    head[12:16] != b"BC\x02\x00"
                    or following.cstart != block.cstart + size
                    or following.ustart != block.ustart + length
                ):
                    return False
        return True

    def agrees_with_file(self) -> bool:
        """Return whether the index can be that of the file: header, first line and end of each record fit."""
        size = os.fstat(self._faidx.file.fileno()).st_size if self._blocks is None else _LARGEST
        try:
            return bool(self._records) and all(map(self._fits, self.names, self._records, [size] * len(self.names)))
        except _READ_ERRORS:
            return False

    def _fits(self, name: str, place, size: int) -> bool:
        last = place.rlen - 1
        if not (0 <= last < size and 0 < place.lenc <= place.lenb < size and 0 <= place.offset < size):
            return False
        row, column = divmod(last, place.lenc)
        end = place.offset + row * place.lenb + column
        if end >= size or self._header(place).split()[:1] != [b">" + name.encode()]:
            return False
        return (
            self._is_line(place.offset, min(place.lenc, place.rlen))
            # pyfaidx accepts a last line that is longer than the others.
            and self._is_line(end - column, column + 1)
            and self._read(end + 1, 64).lstrip()[:1] in (b"", b">")
        )

    def _is_line(self, offset: int, length: int) -> bool:
        """Return whether a line of that many letters can begin at an offset."""
        # A line may be a whole chromosome, of which the beginning and the end are looked at.
        before, stop = self._read(offset - 1, 1), self._read(offset + length - 1, 2)
        letters = self._read(offset, min(length, _LINE)) + stop[:1]
        return (
            before == b"\n"
            and len(letters) == min(length, _LINE) + 1
            and not any(letter in letters for letter in b"\r\n>")
            and stop[1:] in (b"", b"\r", b"\n")
        )

    def close(self) -> None:
        """Close the file."""
        self._faidx.close()


def open_index(path: str | PathLike) -> FastaIndex | None:
    """Open a FASTA file through an index, which is made or renewed where necessary and kept beside the file.

    Parameters
    ----------
    path : path
        FASTA file, plain or compressed.

    Returns
    -------
    FastaIndex or None
        None, with a warning, if the file can only be read as a whole.
    """
    bgzip = _is_bgzip(path)
    if bgzip is None:
        logger.warning("%s: gzip cannot be indexed, reading it all into memory; bgzip or gunzip it to avoid that", path)
        return None
    if bgzip != str(path).lower().endswith(_PACKED_NAMES):
        logger.warning("%s: its name does not tell its compression, reading it all into memory", path)
        return None
    index = _saved_index(path, bgzip) or _new_index(path, bgzip)
    if index is None:
        logger.warning("%s: cannot be indexed (lines of unequal length?), reading it all into memory", path)
    return index


def _is_bgzip(path: str | PathLike) -> bool | None:
    """Return True for bgzip, False for plain text, None for other gzip files, from the first bytes."""
    with open(path, "rb") as handle:
        start = handle.read(18)
    if start[:2] != b"\x1f\x8b":
        return False
    # RFC 1952: the flag of an extra field, whose first subfield in bgzip files is BC with two bytes.
    return True if len(start) == 18 and start[3] & 4 and start[12:16] == b"BC\x02\x00" else None


def _open(path: str | PathLike, bgzip: bool, **options) -> FastaIndex | None:
    """Return the index that pyfaidx reads or makes; None if it cannot, or the index does not agree with the file."""
    from pyfaidx import Faidx, FastaIndexingError

    with warnings.catch_warnings():
        # pyfaidx leaves the file open where it fails.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            index = FastaIndex(path, Faidx(path, as_raw=True, **options), bgzip)
        except (*_READ_ERRORS, FastaIndexingError):
            return None
    if index.agrees_with_file():
        return index
    index.close()
    return None


def _saved_index(path: str | PathLike, bgzip: bool) -> FastaIndex | None:
    """Return the index beside the file; None if it is missing, outdated, damaged, or of another file."""
    saved = [Path(f"{path}.fai")] + [Path(f"{path}.gzi")] * bgzip
    try:
        if min(file.stat().st_mtime for file in saved) < os.stat(path).st_mtime:
            return None
    except OSError:
        return None
    index = _open(path, bgzip, build_index=False, rebuild=False)
    # Each block that another one is read for is a stretch of other letters.
    if index is not None and not index.blocks_agree_with_file():
        index.close()
        return None
    return index


def _new_index(path: str | PathLike, bgzip: bool) -> FastaIndex | None:
    """Return a new index, kept beside the file if possible; None if none can be made."""
    # Made elsewhere and moved when complete: an incomplete index left by a kill would be newer than the file.
    with tempfile.TemporaryDirectory() as folder:
        names = {"indexname": ".fai", "gzi_indexname": ".gzi"}
        made = {name: Path(folder, f"index{end}") for name, end in names.items()}
        index = _open(path, bgzip, **made)
        with suppress(OSError):
            for name, end in names.items():
                if index is not None and made[name].exists():
                    with atomic_write(f"{path}{end}", "wb") as handle:
                        handle.write(made[name].read_bytes())
    return index
