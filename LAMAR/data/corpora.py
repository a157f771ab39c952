"""Corpora for masked-LM training: records to train on and records held out, in memory or streamed.

A hash of its sequence decides whether a record is held out, so that copies of a sequence are on one side, in whatever
file they are and however the corpus is read.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import InputError, counted, excerpt
from ..tokenization import encode_ragged
from .corpus_files import COLUMNS, SequenceRecord, corpus_files, corpus_form, read_records
from .kmers import RunIndex
from .text_files import MAX_RECORD

__all__ = ["Block", "Corpus", "read_corpus"]

_BLOCK_NUCLEOTIDES = 32_000_000
_COUNTS = "records nucleotides unknown heldout heldout_used training training_nucleotides duplicates overlapping"


@dataclass(frozen=True)
class Block:
    """Records as joined token ids, each between ``<cls>`` and ``<eos>``.

    Attributes
    ----------
    ids : uint8, shape (total,)
        Token ids of all records.
    offsets : int64, shape (n + 1,)
        Record i is ``ids[offsets[i]:offsets[i + 1]]``.
    regions : bool, shape (total,), or None
        True in peaks; None if no record has peaks.
    """

    ids: np.ndarray
    offsets: np.ndarray
    regions: np.ndarray | None

    @classmethod
    def encode(cls, records: Sequence[SequenceRecord]) -> Block:
        """Encode records as one block."""
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
        """Join blocks, at least one, into one."""
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
    """Reader of the training records of files, in blocks.

    Parameters
    ----------
    files : list of Path
        Files to read.
    side : _Side
        Decides which records are held out.
    apart : RunIndex or None
        Records that share a run with its sequences are left out.
    block_nucleotides : int
        See `read_corpus`.
    how : dict
        Further arguments of `LAMAR.data.corpus_files.read_records`.
    """

    def __init__(self, files: list[Path], side: _Side, apart: RunIndex | None, block_nucleotides: int, how: dict):
        self.files, self.side, self.apart = files, side, apart
        self.block_nucleotides, self.how = block_nucleotides, how

    def blocks(self, order: Iterable[int], counts: Counter, seen: set[bytes] | None = None) -> Iterator[Block]:
        """Yield blocks of the files in this order, and count.

        Records whose digest is in ``seen`` are left out as copies, and new digests are added to it.
        """
        kept, size = [], 0
        for record in (record for i in order for record in read_records(self.files[i], **self.how)):
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
            yield Block.encode(records)


@dataclass
class Corpus:
    """Training records, in memory or read again in each pass, and held-out sequences.

    Attributes
    ----------
    heldout : list of str
        Normalized sequences for validation, in the order of their hashes.
    counts : dict of int
        ``records``, ``nucleotides``, ``unknown`` (N), ``heldout`` (records kept out of training), ``heldout_used``
        (distinct sequences), ``duplicates`` (further copies, left out), ``overlapping`` (left out because they share a
        run with a sequence that must stay unseen), ``training``, ``training_nucleotides``.
    has_regions : bool
        Whether a training record has a list of peaks, empty or not.
    """

    heldout: list[str]
    counts: dict[str, int]
    has_regions: bool
    _reader: _Reader
    _block: Block | None

    @property
    def files(self) -> list[Path]:
        """Files of the training records."""
        return self._reader.files

    def describe(self) -> str:
        """Return the counts as a line of text."""
        counts = {name: f"{number:,}" for name, number in self.counts.items()}
        read = f"{counted(len(self.files), 'file')}: {counted(self.counts['records'], 'record')}"
        return (
            f"{read}, {counts['nucleotides']} nt "
            f"({counts['unknown']} N); {counts['training']} to train on ({counts['training_nucleotides']} nt), "
            f"{counts['heldout']} held out ({counts['heldout_used']} used), {counts['overlapping']} left out as they "
            f"overlap what must stay unseen, {counts['duplicates']} as further copies"
        )

    def blocks(self, rng: np.random.Generator | None = None) -> Iterator[Block]:
        """Yield the training records: one block, or bounded blocks if streamed.

        A streamed corpus reads its files in an order drawn from ``rng``, or in their own order without it.
        """
        if self._block is not None:
            yield self._block
            return
        order = range(len(self.files)) if rng is None else rng.permutation(len(self.files))
        yield from self._reader.blocks(order, Counter())


def _digest(sequence: str) -> bytes:
    return hashlib.blake2b(sequence.encode("ascii"), digest_size=16).digest()


@dataclass
class _Side:
    """Decision which records are held out: those with a small keyed hash, or those of another corpus."""

    seed: int
    val_fraction: float
    others: set[bytes] = field(default_factory=set)

    def rank(self, digest: bytes) -> float:
        """Return a number from 0 to 1 that the sequence and the seed determine."""
        keyed = hashlib.blake2b(digest, digest_size=8, key=self.seed.to_bytes(8, "big")).digest()
        return int.from_bytes(keyed, "big") / 2**64

    def is_training(self, digest: bytes) -> bool:
        """Return whether a record is for training."""
        return digest not in self.others and self.rank(digest) >= self.val_fraction


class _Heldout:
    """Held-out sequences in the order of their ranks up to ``limit`` nucleotides, in bounded memory."""

    def __init__(self, limit: int):
        self.limit, self.by_rank, self.size = limit, {}, 0

    def add(self, rank: float, sequence: str) -> None:
        if rank not in self.by_rank:
            self.by_rank[rank] = sequence
            self.size += len(sequence)
            if self.size > 4 * self.limit:
                self._prune()

    def _prune(self) -> None:
        ranks, size, kept = sorted(self.by_rank), 0, {}
        for rank in ranks:
            if size >= self.limit:
                break
            kept[rank] = self.by_rank[rank]
            size += len(kept[rank])
        self.by_rank, self.size = kept, size

    def sequences(self) -> list[str]:
        self._prune()
        return list(self.by_rank.values())


def read_corpus(
    data_path: Sequence[str | PathLike],
    *,
    val_fraction: float = 0.02,
    val_data: Sequence[str | PathLike] = (),
    val_nucleotides: int = 200_000,
    exclude: Sequence[str | PathLike] = (),
    exclude_run: int = 30,
    seed: int = 42,
    streaming: bool = False,
    keep_duplicates: bool = False,
    sequence_column: str | None = None,
    block_nucleotides: int = _BLOCK_NUCLEOTIDES,
    max_record: int = MAX_RECORD,
) -> Corpus:
    """Read, check and count a corpus, and choose the held-out sequences; the files are read twice.

    Parameters
    ----------
    data_path : sequence of path
        Files and folders; see `LAMAR.data.corpus_files.corpus_files`.
    val_fraction : float
        Expected share of the distinct sequences that are held out; ignored with ``val_data``.
    val_data : sequence of path
        Corpus to validate on instead. Training records whose sequence is also there are left out.
    val_nucleotides : int
        Nucleotides of the held-out sequences to use, in whole sequences. Other held-out sequences are not trained on
        either.
    exclude : sequence of path
        Corpus that must stay unseen, such as test sets.
    exclude_run : int
        Training records that share a run of this many nt with a held-out sequence that is used, or with one of
        ``exclude``, are left out, because isoforms and overlapping windows would reveal the masked letters; 0
        leaves out none.
    seed : int
        Seed of the choice.
    streaming : bool
        Keep only held-out records in memory. Every pass then reads the files again, and duplicates stay.
    keep_duplicates : bool
        Train on every copy of a sequence instead of the first one.
    sequence_column : str, optional
        Column or key of sequences in tables and JSON, where it is neither ``sequence`` nor ``seq``. In ``exclude`` it
        may be either.
    block_nucleotides : int
        Size of the blocks in which a streamed corpus is shuffled; a block ends with a whole record.
    max_record : int
        Most letters of a record.

    Returns
    -------
    Corpus

    Raises
    ------
    InputError
        If a file cannot be read (see `LAMAR.data.corpus_files.read_records`), nothing is held out, or nothing is left
        to train on.
    """
    files = corpus_files(data_path)
    columns = COLUMNS if sequence_column is None else (sequence_column,)
    if sequence_column is not None and all(corpus_form(file, columns) in ("fasta", "text") for file in files):
        raise InputError(f"`sequence_column` {excerpt(sequence_column)}: found no table in `data_path`")
    how = {"max_record": max_record, "columns": columns}
    side = _Side(seed, 0.0 if val_data else val_fraction)
    heldout, counts = _Heldout(val_nucleotides), Counter(dict.fromkeys(_COUNTS.split(), 0))
    has_regions = False
    for file in corpus_files(val_data, "val_data"):
        for record in read_records(file, **how):
            digest = _digest(record.sequence)
            side.others.add(digest)
            heldout.add(side.rank(digest), record.sequence)
    for record in (record for file in files for record in read_records(file, **how)):
        digest = _digest(record.sequence)
        counts["records"] += 1
        counts["nucleotides"] += len(record.sequence)
        counts["unknown"] += record.sequence.count("N")
        if side.is_training(digest):
            has_regions = has_regions or record.regions is not None
            continue
        counts["heldout"] += 1
        if not val_data:
            heldout.add(side.rank(digest), record.sequence)
    sequences = heldout.sequences()
    counts["heldout_used"] = len(sequences)
    if not sequences:
        raise InputError(
            f"`val_fraction` {val_fraction}: found none of {counts['records']} records held out, wanted a larger "
            "fraction, or `val_data`"
        )
    apart = None
    if exclude_run:
        either = {"max_record": max_record, "columns": tuple(dict.fromkeys((*columns, *COLUMNS)))}
        unseen = (r.sequence for f in corpus_files(exclude, "exclude") for r in read_records(f, **either))
        apart = RunIndex([*sequences, *unseen], exclude_run)
    reader = _Reader(files, side, apart, block_nucleotides, how)
    blocks = []
    for block in reader.blocks(range(len(files)), counts, None if streaming or keep_duplicates else set()):
        if not streaming:
            blocks.append(block)
    if not counts["training"]:
        raise InputError(
            f"`data_path`: found no record to train on, {counts['heldout']} of {counts['records']} are held out and "
            f"{counts['overlapping']} share {exclude_run} nt with one (`exclude_run`)"
        )
    block = None if streaming else Block.join(blocks)
    return Corpus(sequences, dict(counts), has_regions, reader, block)
