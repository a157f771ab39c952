"""Endless batches of a corpus's windows under a token budget, reproducible from any batch on.

Every pass cuts long records at another random offset, so that no nucleotide is always at the end of a window. All
random numbers come from (seed, pass, block, batch), so that batch n does not depend on where training was resumed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch

from ..alphabet import CLS, EOS
from ..batches import token_batches
from ..data.corpora import Block, Corpus
from ..data_collator_patch import MaskedLMCollator, is_nucleotide
from ..errors import InputError

__all__ = ["MAX_PADDING", "TrainingBatches", "cut_windows", "known_windows", "plan_batches", "window_records"]

MAX_PADDING = 0.05  # as a share of all tokens


def cut_windows(
    offsets: np.ndarray, room: int, rng: np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return windows that together hold every nucleotide of every record once.

    A record of up to ``room`` nt is one window. A longer one is cut every ``room`` nt, first after a random number of
    nucleotides from 0 to ``room`` - 1 (0 without ``rng``), so that its first and last window may be shorter.

    Parameters
    ----------
    offsets : int64, shape (n + 1,)
        Offsets of a `LAMAR.data.corpora.Block`.
    room : int
        Largest window, in nt.
    rng : Generator, optional

    Returns
    -------
    starts, ends : int64, shape (n_windows,)
        Positions in the block's ids, ascending; special tokens are outside.
    """
    lengths = np.diff(offsets) - 2
    shift = np.zeros(len(lengths), dtype=np.int64)
    if rng is not None:
        shift = np.where(lengths > room, rng.integers(0, room, size=len(lengths)), 0)
    headed = shift > 0
    pieces = -(-(lengths - shift) // room) + headed
    record = np.repeat(np.arange(len(lengths)), pieces)
    number = np.arange(len(record)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    first = shift[record] + (number - headed[record]) * room
    base = offsets[record] + 1
    return base + np.maximum(first, 0), base + np.minimum(first + room, lengths[record])


def plan_batches(lengths: np.ndarray, token_budget: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Divide windows into batches of similar length, in random order.

    Padding is at most `MAX_PADDING` of all tokens. Many windows stay below it without further measures; for few,
    batches are made smaller.

    Parameters
    ----------
    lengths : int, shape (n,)
        Tokens of each window.
    token_budget : int
        Largest number of tokens in a batch, padding included; a longer window is a batch by itself.
    rng : Generator

    Returns
    -------
    list of int64 arrays
        Windows of each batch, as indices into ``lengths``.
    """
    shuffled = rng.permutation(len(lengths))
    batches = token_batches(lengths[shuffled], token_budget)
    padded = sum(len(batch) * int(lengths[shuffled[batch[0]]]) for batch in batches)
    if lengths.sum() < (1 - MAX_PADDING) * padded:
        batches = token_batches(lengths[shuffled], token_budget, MAX_PADDING)
    return [shuffled[batches[i]] for i in rng.permutation(len(batches))]


class TrainingBatches:
    """Collated batches of one process, without an end.

    Parameters
    ----------
    corpus : Corpus
        Records to train on.
    collator : MaskedLMCollator
        Called with a key, so that a batch's masks depend on nothing that came before it.
    room : int
        Largest window, in nt.
    token_budget : int
        Tokens of a batch of one process, special tokens and padding included.
    seed : int
    rank, world_size : int
        Each process has one of ``world_size`` successive batches. Fewer than ``world_size`` batches that are left at
        the end of a block are skipped until the next pass.

    Attributes
    ----------
    skip : int
        Batches of this process to skip first, those trained on before a restart.
    tokens, padded : int
        Tokens of the batches so far, those skipped included, of all processes: without padding, and with.
    passes : int
        Passes over the corpus begun.
    """

    def __init__(
        self,
        corpus: Corpus,
        collator: MaskedLMCollator,
        room: int,
        token_budget: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.corpus, self.collator, self.room, self.token_budget = corpus, collator, room, token_budget
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.skip = self.tokens = self.padded = self.passes = 0

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        self.tokens = self.padded = self.passes = 0
        number = 0
        for epoch in itertools.count():
            self.passes, before = epoch + 1, number
            for key, block, windows, batches in self._plans(epoch):
                for i in range(0, len(batches) - self.world_size + 1, self.world_size):
                    for batch in batches[i : i + self.world_size]:
                        lengths = windows[1][batch] - windows[0][batch] + 2
                        self.tokens += int(lengths.sum())
                        self.padded += int(lengths.max()) * len(lengths)
                    if number >= self.skip:
                        mine = i + self.rank
                        records = window_records(block, windows[0][batches[mine]], windows[1][batches[mine]])
                        yield self.collator(records, (*key, mine))
                    number += 1
            if number == before:
                raise InputError(
                    f"`data_path`: found fewer batches than the {self.world_size} processes, wanted a larger corpus or "
                    "a smaller `token_budget`"
                )

    def _plans(self, epoch: int):
        """Yield each block of a pass: its key, the block, its windows, and their batches."""
        for number, block in enumerate(self.corpus.blocks(np.random.default_rng([self.seed, epoch]))):
            rng = np.random.default_rng([self.seed, epoch, number])
            windows = known_windows(block, *cut_windows(block.offsets, self.room, rng))
            if len(windows[0]):
                batches = plan_batches(windows[1] - windows[0] + 2, self.token_budget, rng)
                yield (epoch, number), block, windows, batches


def known_windows(block: Block, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the windows with an A, C, G or T; there is nothing to learn in the others."""
    if not len(starts):
        return starts, ends
    # Windows tile the records, so what lies between two starts is a window and special tokens.
    known = np.add.reduceat(is_nucleotide(block.ids), starts, dtype=np.int64) > 0
    return starts[known], ends[known]


def window_records(block: Block, starts: np.ndarray, ends: np.ndarray) -> list[dict]:
    """Return windows as a collator takes them: ``input_ids`` with special tokens, and ``regions`` if there are any."""
    records = []
    for start, end in zip(starts.tolist(), ends.tolist()):
        # Around a window are another window or special tokens, which are overwritten in the copy.
        record = {"input_ids": block.ids[start - 1 : end + 1].copy()}
        record["input_ids"][0], record["input_ids"][-1] = CLS, EOS
        if block.regions is not None:
            record["regions"] = block.regions[start - 1 : end + 1].copy()
        records.append(record)
    return records
