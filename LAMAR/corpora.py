"""Unlabelled sequences for masked-LM training: files of several forms, held-out records, memory or streaming.

A record is held out by a hash of its sequence, so copies of a sequence are on one side, whatever file they are in and
whichever way the corpus is read.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import InputError
from .runs import require_files
from .sequences import MAX_RECORD, normalize_sequence, open_text, read_fasta, read_lines
from .tokenization import VOCABULARY, encode_ragged
from .window_files import read_metadata

__all__ = ["Block", "Corpus", "corpus_files", "corpus_form", "read_corpus", "read_records"]

logger = logging.getLogger(__name__)

SUFFIXES = (".fa", ".fasta", ".fna", ".txt", ".jsonl", ".json", ".parquet")
MOST_UNKNOWN = 0.5  # share of N above which a file is taken for something else than nucleotides
_BLOCK_NUCLEOTIDES = 32_000_000
_COLUMNS = ("sequence", "seq", "eclip_regions")
_N = VOCABULARY.index("N")


class SequenceRecord(NamedTuple):
    """A normalized sequence, where it stands in its file, and its peaks as [start, end) or None."""

    where: str
    sequence: str
    regions: list[tuple[int, int]] | None


def corpus_files(paths: Sequence[str | PathLike], argument: str = "--data_path") -> list[Path]:
    """The files of a corpus: those named, and those in folders named whose suffix is a corpus's, gzipped or not.

    Where a folder has both ``X_metadata.jsonl`` (``.json``, ``.parquet``) and ``X_sequences.txt``, as preprocess.py
    writes them, the second has the same windows and is left out.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        require_files([path])
        if not path.is_dir():
            files.append(path)
            continue
        inside = [file for file in sorted(path.iterdir()) if file.is_file() and _is_corpus(file)]
        described = {_stem(file).removesuffix("_metadata") for file in inside if "_sequences" not in file.name}
        inside = [
            file
            for file in inside
            if _stem(file).removesuffix("_sequences") not in described or "_sequences" not in file.name
        ]
        if not inside:
            raise InputError(f"{argument} {path}: found no file with one of the suffixes {', '.join(SUFFIXES)}")
        files += inside
    twice = {file.resolve() for file in files if sum(file.samefile(other) for other in files) > 1}
    if twice:
        raise InputError(f"{argument}: {min(twice)} is named more than once")
    return files


def _stem(file: Path) -> str:
    return file.name.removesuffix(".gz").rsplit(".", 1)[0]


def _is_corpus(file: Path) -> bool:
    # Records of what preprocess.py did lie beside its windows.
    record = _stem(file).endswith(("_stats", "_split")) and file.suffix == ".json"
    return file.name.removesuffix(".gz").endswith(SUFFIXES) and not file.name.startswith(".") and not record


def corpus_form(path: str | PathLike) -> str:
    """``fasta``, ``text`` (a sequence a line), ``jsonl``, ``json`` or ``parquet``, told from the first character."""
    with open(path, "rb") as handle:
        if handle.read(4) == b"PAR1":
            return "parquet"
    with open_text(path) as handle:
        while piece := handle.read(4096):
            if piece := piece.lstrip():
                return {">": "fasta", ";": "fasta", "#": "fasta", "{": "jsonl", "[": "json"}.get(piece[0], "text")
    raise InputError(f"{path}: the file is empty, wanted sequences")


def read_records(path: str | PathLike, max_record: int = MAX_RECORD) -> Iterator[SequenceRecord]:
    """Yield the records of one file.

    Windows' metadata, as preprocess.py writes them, have their peaks in ``eclip_regions``. One record of at most
    ``max_record`` letters is in memory at a time (of Parquet, 4,096 records; a JSON array is read as a whole).

    Raises
    ------
    InputError
        Names the file and the record or line: what cannot be read, a letter that is no nucleotide code, a longer
        record, an empty file, and a file that is mostly N once its ambiguity codes are read as N.
    """
    form = corpus_form(path)
    letters = unknown = 0
    for record in _records(path, form, max_record):
        letters += len(record.sequence)
        unknown += record.sequence.count("N")
        yield record
    if not letters:
        raise InputError(f"{path}: found no record, wanted sequences")
    if unknown > MOST_UNKNOWN * letters:
        raise InputError(
            f"{path}: found {unknown / letters:.0%} letters other than A, C, G, T, U, wanted nucleotides "
            f"({MOST_UNKNOWN:.0%} at most; is this a file of proteins?)"
        )


def _records(path, form: str, max_record: int) -> Iterator[SequenceRecord]:
    source = str(path)
    if form == "fasta":
        for header, sequence in read_fasta(path, max_record):
            yield SequenceRecord(f"record {header}", sequence, None)
    elif form == "text":
        with open_text(path) as handle:
            for number, line in read_lines(handle, path, max_record):
                where = f"line {number}"
                yield SequenceRecord(where, normalize_sequence(line, source=source, record=where), None)
    else:
        for where, entry in read_metadata(path, form, _COLUMNS, max_record):
            text = entry.get("sequence", entry.get("seq"))
            if not isinstance(text, str):
                raise InputError(f"{path}: {where}: found no text under 'sequence' or 'seq', wanted nucleotides")
            sequence = normalize_sequence(text, source=source, record=where)
            yield SequenceRecord(where, sequence, _regions(entry.get("eclip_regions"), len(sequence), path, where))


def _regions(pieces, length: int, path, where: str) -> list[tuple[int, int]] | None:
    if pieces is None:
        return None
    try:
        regions = [(piece["start"], piece["end"]) for piece in pieces]
        right = all(0 <= start < end <= length for start, end in regions)
    except (KeyError, TypeError):
        right = False
    if not right:
        raise InputError(f"{path}: {where}: eclip_regions: wanted start and end of each, within 0 to {length}")
    return regions


@dataclass(frozen=True)
class Block:
    """Records as token ids, one after the other, each between ``<cls>`` and ``<eos>``.

    Attributes
    ----------
    ids
        uint8, (total,).
    offsets
        int64, (n + 1,): record i is ``ids[offsets[i]:offsets[i + 1]]``.
    regions
        boolean, (total,), True in peaks; None where no file has any.
    """

    ids: np.ndarray
    offsets: np.ndarray
    regions: np.ndarray | None

    @classmethod
    def of(cls, records: Sequence[SequenceRecord]) -> Block:
        ids, offsets = encode_ragged([record.sequence for record in records])
        if all(record.regions is None for record in records):
            return cls(ids, offsets, None)
        inside = np.zeros(len(ids), dtype=bool)
        for first, record in zip(offsets[:-1].tolist(), records):
            for start, end in record.regions or ():
                inside[first + 1 + start : first + 1 + end] = True
        return cls(ids, offsets, inside)

    @classmethod
    def join(cls, blocks: Sequence[Block]) -> Block:
        if len(blocks) == 1:
            return blocks[0]
        ids = np.concatenate([block.ids for block in blocks])
        lengths = np.concatenate([np.diff(block.offsets) for block in blocks])
        regions = None
        if any(block.regions is not None for block in blocks):
            none = (np.zeros(len(block.ids), dtype=bool) for block in blocks)
            regions = np.concatenate([z if b.regions is None else b.regions for b, z in zip(blocks, none)])
        return cls(ids, np.concatenate([[0], np.cumsum(lengths)]), regions)

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass
class Corpus:
    """Training records, in memory or read anew at each pass, and the sequences held out.

    Attributes
    ----------
    files
        Where the records come from.
    heldout
        Normalized sequences for validation, in the order of their hashes.
    counts
        ``records``, ``nucleotides``, ``unknown`` (N), ``training``, ``training_nucleotides``, ``duplicates`` (further
        copies, left out), ``heldout`` (kept out of training) and ``heldout_used`` (of different sequences).
    has_regions
        A record has a list of peaks, empty or not.
    """

    files: list[Path]
    heldout: list[str]
    counts: dict[str, int]
    has_regions: bool
    _side: _Side
    _block: Block | None = None
    _block_nucleotides: int = _BLOCK_NUCLEOTIDES
    _max_record: int = MAX_RECORD

    def describe(self) -> str:
        """The counts, in a line for the log."""
        counts = self.counts
        return (
            f"{len(self.files)} file(s): {counts['records']:,} records, {counts['nucleotides']:,} nt "
            f"({counts['unknown']:,} of them N); {counts['training']:,} to train on "
            f"({counts['training_nucleotides']:,} nt), {counts['heldout']:,} left out of training, "
            f"{counts['heldout_used']:,} used for validation, {counts['duplicates']:,} further copies left out"
        )

    def blocks(self, rng: np.random.Generator | None = None) -> Iterator[Block]:
        """Training records: one block, or when streaming bounded ones, the files in an order drawn from ``rng``."""
        if self._block is not None:
            yield self._block
            return
        order = np.arange(len(self.files)) if rng is None else rng.permutation(len(self.files))
        kept, size = [], 0
        for record in (record for i in order for record in read_records(self.files[i], self._max_record)):
            if self._side.is_training(_digest(record.sequence)):
                kept.append(record)
                size += len(record.sequence)
            if size >= self._block_nucleotides:
                yield Block.of(kept)
                kept, size = [], 0
        if kept:
            yield Block.of(kept)


def _digest(sequence: str) -> bytes:
    return hashlib.blake2b(sequence.encode("ascii"), digest_size=16).digest()


@dataclass
class _Side:
    """Which records are held out: those whose hash, stirred with the seed, is small, or those of another corpus."""

    seed: int
    val_fraction: float
    others: set[bytes] = field(default_factory=set)

    def rank(self, digest: bytes) -> float:
        """A number from 0 to 1 that the sequence and the seed determine."""
        stirred = hashlib.blake2b(digest, digest_size=8, key=self.seed.to_bytes(8, "big")).digest()
        return int.from_bytes(stirred, "big") / 2**64

    def is_training(self, digest: bytes) -> bool:
        return digest not in self.others and self.rank(digest) >= self.val_fraction


class _Heldout:
    """Held-out sequences, the smallest ranks first, until they have ``limit`` nucleotides; bounded memory."""

    def __init__(self, limit: int):
        self.limit, self.found, self.size = limit, {}, 0

    def add(self, rank: float, sequence: str) -> None:
        if rank not in self.found:
            self.found[rank] = sequence
            self.size += len(sequence)
            if self.size > 4 * self.limit:
                self._prune()

    def _prune(self) -> None:
        ranks, size, kept = sorted(self.found), 0, {}
        for rank in ranks:
            if size >= self.limit:
                break
            kept[rank] = self.found[rank]
            size += len(kept[rank])
        self.found, self.size = kept, size

    def sequences(self) -> list[str]:
        self._prune()
        return list(self.found.values())


def read_corpus(
    paths: Sequence[str | PathLike],
    *,
    val_fraction: float = 0.02,
    val_paths: Sequence[str | PathLike] = (),
    val_nucleotides: int = 200_000,
    seed: int = 42,
    streaming: bool = False,
    keep_duplicates: bool = False,
    block_nucleotides: int = _BLOCK_NUCLEOTIDES,
    max_record: int = MAX_RECORD,
) -> Corpus:
    """Read, check and count a corpus, and choose what is held out.

    Parameters
    ----------
    paths
        Files and folders, see :func:`corpus_files`.
    val_fraction
        Expected share of the different sequences that are held out; not used with ``val_paths``.
    val_paths
        Corpus to validate on instead. Training records with a sequence that is there too are left out.
    val_nucleotides
        Held-out sequences used: as many, whole, as have so many nucleotides. The rest is in no training batch either.
    streaming
        Keep no record but the held-out ones in memory; every pass reads the files anew, and duplicates stay.
    keep_duplicates
        Train on every copy of a sequence instead of the first one.
    block_nucleotides
        Size of the pieces in which a streamed corpus is shuffled, give or take a record.

    Raises
    ------
    InputError
        See :func:`read_records`; nothing held out, or nothing left to train on.
    """
    files = corpus_files(paths)
    side = _Side(seed, 0.0 if val_paths else val_fraction)
    heldout = _Heldout(val_nucleotides)
    counts = dict.fromkeys("records nucleotides unknown duplicates heldout training training_nucleotides".split(), 0)
    for file in corpus_files(val_paths, "--val_data"):
        for record in read_records(file, max_record):
            digest = _digest(record.sequence)
            side.others.add(digest)
            heldout.add(side.rank(digest), record.sequence)
    seen: set[bytes] = set()
    has_regions = False
    blocks, kept, size = [], [], 0
    for record in (record for file in files for record in read_records(file, max_record)):
        digest, length = _digest(record.sequence), len(record.sequence)
        counts["records"] += 1
        counts["nucleotides"] += length
        counts["unknown"] += record.sequence.count("N")
        if not side.is_training(digest):
            counts["heldout"] += 1
            if not val_paths:
                heldout.add(side.rank(digest), record.sequence)
            continue
        if not streaming and not keep_duplicates:
            if digest in seen:
                counts["duplicates"] += 1
                continue
            seen.add(digest)
        has_regions = has_regions or record.regions is not None
        counts["training"] += 1
        counts["training_nucleotides"] += length
        if not streaming:
            kept.append(record)
            size += length
            if size >= block_nucleotides:
                blocks.append(Block.of(kept))
                kept, size = [], 0
    if kept:
        blocks.append(Block.of(kept))
    sequences = heldout.sequences()
    counts["heldout_used"] = len(sequences)
    if not sequences:
        raise InputError(
            f"--val_fraction {val_fraction}: found none of {counts['records']} records held out, wanted a larger "
            "fraction, or --val_data"
        )
    if not counts["training"]:
        raise InputError("--data_path: found no record to train on, all are held out")
    block = None if streaming else Block.join(blocks)
    return Corpus(files, sequences, counts, has_regions, side, block, block_nucleotides, max_record)
