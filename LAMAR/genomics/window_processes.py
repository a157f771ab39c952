"""Windows of many batches of regions, in this process or in several, with bounded memory."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..data.window_files import render
from .intervals import IntervalIndex
from .orientation import orient_records
from .window_metadata import DescribedWindows, Record
from .windows import WindowRule
from .worker_processes import worker_pool

__all__ = ["BATCH_NUCLEOTIDES", "BatchResult", "Context", "process", "process_all"]

BATCH_NUCLEOTIDES = 16_000_000
NUCLEOTIDES_IN_FLIGHT = 4 * BATCH_NUCLEOTIDES
WINDOWS_AT_ONCE = 4096  # as Python objects, which take many times the memory of their JSON


@dataclass(frozen=True)
class Context:
    """What a worker needs besides the batch.

    Attributes
    ----------
    rule : WindowRule
        Rule that draws the windows.
    peaks, bed : IntervalIndex or None
        Peaks, and regions with binding sites.
    form : str
        Form of the metadata, of `LAMAR.data.window_files.FORMS`.
    schema : pyarrow.Schema or None
        Schema of the metadata, for Parquet.
    orient : bool
        Read records without strand on the strands of their peaks.
    """

    rule: WindowRule
    peaks: IntervalIndex | None
    bed: IntervalIndex | None
    form: str
    schema: Any = None
    orient: bool = False


class BatchResult(NamedTuple):
    """Windows of one batch, ready to be written.

    Attributes
    ----------
    sequences : str
        One window per line.
    metadata : list
        Pieces as `LAMAR.data.window_files.render` returns them.
    counts : Counter
        See `DescribedWindows.counts`.
    peak_rows : int64
        Rows of the peaks that lie in a window.
    """

    sequences: str
    metadata: list
    counts: Counter
    peak_rows: np.ndarray


def process(batch: list[Record], context: Context) -> BatchResult:
    """Cut one batch of records into windows and render them."""
    if context.orient:
        batch = orient_records(batch, context.peaks)
    windows = DescribedWindows(batch, context.rule, context.peaks, context.bed)
    ranges = [(a, min(a + WINDOWS_AT_ONCE, len(windows))) for a in range(0, len(windows), WINDOWS_AT_ONCE)]
    metadata = [render(windows.records(*part), context.form, context.schema) for part in ranges]
    sequences = "\n".join(windows.sequences(0, len(windows))) + "\n"
    return BatchResult(sequences, metadata, windows.counts, windows.peak_rows)


_context: Context | None = None  # of a worker process


def _keep(context: Context) -> None:
    global _context
    _context = context


def _process_in_worker(batch: list[Record]) -> BatchResult:
    return process(batch, _context)


def process_all(batches: Iterable[list[Record]], context: Context, workers: int) -> Iterator[BatchResult]:
    """Yield the results of all batches in their order.

    Only few batches are in flight at any time, so that memory is bounded.

    Parameters
    ----------
    batches : iterable of list of Record
        Each batch has at least one record.
    context : Context
        What to do with them.
    workers : int
        Number of processes; with 1 all work is done in this one.

    Raises
    ------
    InputError
        If a worker process was killed.
    """
    if workers == 1:
        for batch in batches:
            yield process(batch, context)
            del batch  # it may hold a whole chromosome, while the next one is read
        return
    with worker_pool(workers, _keep, context) as pool:
        pending: deque = deque()
        for batch in batches:
            size = sum(len(record.sequence) for record in batch)
            while pending and (
                len(pending) >= 2 * workers or size + sum(n for n, _ in pending) > NUCLEOTIDES_IN_FLIGHT
            ):
                yield pending.popleft()[1].result()
            if size > NUCLEOTIDES_IN_FLIGHT:  # a whole chromosome: copies of it in two processes would cost too much
                yield process(batch, context)
            else:
                pending.append((size, pool.submit(_process_in_worker, batch)))
            del batch
        while pending:
            yield pending.popleft()[1].result()
