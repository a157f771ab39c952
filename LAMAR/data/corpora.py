"""Corpora for masked-LM training: what is trained on and what is held out, in memory or streamed.

A record is held out by a hash of its sequence, so copies of a sequence are on one side, whatever file they are in and
whichever way the corpus is read.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..tokenization import encode_ragged
from .corpus_files import SequenceRecord, corpus_files, read_records
from .kmers import RunIndex
from .text_files import MAX_RECORD

__all__ = ["Block", "Corpus", "read_corpus"]

_BLOCK_NUCLEOTIDES = 32_000_000
_COUNTS = "records nucleotides unknown heldout heldout_used training training_nucleotides duplicates overlapping"


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


class _Reader:
    """The training records of some files, in blocks.

    Parameters
    ----------
    side
        Says which records are held out.
    apart
        Records that share a run with its sequences are left out; None for none.
    """

    def __init__(self, files: list[Path], side: _Side, apart: RunIndex | None, block_nucleotides: int, max_record: int):
        self.files, self.side, self.apart = files, side, apart
        self.block_nucleotides, self.max_record = block_nucleotides, max_record

    def blocks(self, order: Iterable[int], counts: Counter, seen: set[bytes] | None = None) -> Iterator[Block]:
        """Blocks of the files in that order; ``seen`` are digests of records already read, to leave out copies."""
        kept, size = [], 0
        for record in (record for i in order for record in read_records(self.files[i], self.max_record)):
            digest = _digest(record.sequence)
            if not self.side.is_training(digest):
                continue
            if seen is not None:
                if digest in seen:
                    counts["duplicates"] += 1
                    continue
                seen.add(digest)
            kept.append(record)
            size += len(record.sequence)
            if size >= self.block_nucleotides:
                yield from self._block(kept, counts)
                kept, size = [], 0
        yield from self._block(kept, counts)

    def _block(self, records: list[SequenceRecord], counts: Counter) -> Iterator[Block]:
        if self.apart is not None and records:
            shares = self.apart.shares([record.sequence for record in records]).tolist()
            counts["overlapping"] += sum(shares)
            records = [record for record, out in zip(records, shares) if not out]
        counts["training"] += len(records)
        counts["training_nucleotides"] += sum(len(record.sequence) for record in records)
        if records:
            yield Block.of(records)


@dataclass
class Corpus:
    """Training records, in memory or read anew at each pass, and the sequences held out.

    Attributes
    ----------
    heldout
        Normalized sequences for validation, in the order of their hashes.
    counts
        ``records``, ``nucleotides``, ``unknown`` (N), ``heldout`` (records kept out of training), ``heldout_used`` (of
        different sequences), ``duplicates`` (further copies, left out), ``overlapping`` (left out because they share a
        run with what must stay unseen), ``training``, ``training_nucleotides``.
    has_regions
        A training record has a list of peaks, empty or not.
    """

    heldout: list[str]
    counts: dict[str, int]
    has_regions: bool
    _reader: _Reader
    _block: Block | None

    @property
    def files(self) -> list[Path]:
        return self._reader.files

    def describe(self) -> str:
        """The counts, in a line for the log."""
        counts = {name: f"{number:,}" for name, number in self.counts.items()}
        return (
            f"{len(self.files)} file(s): {counts['records']} records, {counts['nucleotides']} nt "
            f"({counts['unknown']} N); {counts['training']} to train on ({counts['training_nucleotides']} nt), "
            f"{counts['heldout']} held out ({counts['heldout_used']} used), {counts['overlapping']} left out as they "
            f"overlap what must stay unseen, {counts['duplicates']} as further copies"
        )

    def blocks(self, rng: np.random.Generator | None = None) -> Iterator[Block]:
        """Training records: one block, or when streaming bounded ones, the files in an order drawn from ``rng``."""
        if self._block is not None:
            yield self._block
            return
        order = range(len(self.files)) if rng is None else rng.permutation(len(self.files))
        yield from self._reader.blocks(order, Counter())


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
    exclude_paths: Sequence[str | PathLike] = (),
    exclude_run: int = 30,
    seed: int = 42,
    streaming: bool = False,
    keep_duplicates: bool = False,
    block_nucleotides: int = _BLOCK_NUCLEOTIDES,
    max_record: int = MAX_RECORD,
) -> Corpus:
    """Read, check and count a corpus, and choose what is held out; the files are read twice.

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
    exclude_paths
        Corpus that must stay unseen, such as test sets.
    exclude_run
        Training records that share so many nt in a row with a held-out sequence that is used, or with one of
        ``exclude_paths``, are left out: isoforms and overlapping windows would give their answers away. 0 for none.
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
    heldout, counts = _Heldout(val_nucleotides), Counter(dict.fromkeys(_COUNTS.split(), 0))
    has_regions = False
    for file in corpus_files(val_paths, "--val_data"):
        for record in read_records(file, max_record):
            digest = _digest(record.sequence)
            side.others.add(digest)
            heldout.add(side.rank(digest), record.sequence)
    for record in (record for file in files for record in read_records(file, max_record)):
        digest = _digest(record.sequence)
        counts["records"] += 1
        counts["nucleotides"] += len(record.sequence)
        counts["unknown"] += record.sequence.count("N")
        if side.is_training(digest):
            has_regions = has_regions or record.regions is not None
            continue
        counts["heldout"] += 1
        if not val_paths:
            heldout.add(side.rank(digest), record.sequence)
    sequences = heldout.sequences()
    counts["heldout_used"] = len(sequences)
    if not sequences:
        raise InputError(
            f"--val_fraction {val_fraction}: found none of {counts['records']} records held out, wanted a larger "
            "fraction, or --val_data"
        )
    apart = None
    if exclude_run:
        unseen = (r.sequence for f in corpus_files(exclude_paths, "--exclude") for r in read_records(f, max_record))
        apart = RunIndex([*sequences, *unseen], exclude_run)
    reader = _Reader(files, side, apart, block_nucleotides, max_record)
    blocks = []
    for block in reader.blocks(range(len(files)), counts, None if streaming or keep_duplicates else set()):
        if not streaming:
            blocks.append(block)
    if not counts["training"]:
        raise InputError(
            f"--data_path: found no record to train on, {counts['heldout']} of {counts['records']} are held out and "
            f"{counts['overlapping']} share {exclude_run} nt with one (--exclude_run)"
        )
    block = None if streaming else Block.join(blocks)
    return Corpus(sequences, dict(counts), has_regions, reader, block)
