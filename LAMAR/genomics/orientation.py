"""Strand of regions that came without one, from the peaks in them: what an RNA-binding protein binds is transcribed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..alphabet import reverse_complement
from .intervals import overlap
from .windows import IntervalIndex, Record

__all__ = ["orient_records"]


def orient_records(batch: Sequence[Record], peaks: IntervalIndex) -> list[Record]:
    """Records as they are transcribed.

    A record of unknown strand becomes one for each strand that a peak in it lies on, the plus strand first, and on the
    minus strand its reverse complement. Records of known strand, and those without a peak of known strand, stay.

    Parameters
    ----------
    batch : sequence of Record
        At least one.
    peaks : IntervalIndex
    """
    regions = pd.DataFrame([record[1:5] for record in batch], columns=["chrom", "start", "end", "strand"])
    table = peaks.rows(peaks.near(*(regions[name].to_numpy() for name in ("chrom", "start", "end"))))
    one, two = overlap(regions, table)
    strand = table["strand"].to_numpy(object)[two]
    has = {name: np.isin(np.arange(len(batch)), one[strand == name]) for name in "+-"}
    oriented = []
    for i, record in enumerate(batch):
        found = [name for name in "+-" if has[name][i]] if record.strand == "." else []
        if not found:
            oriented.append(record)
        for name in found:
            sequence = record.sequence if name == "+" else reverse_complement(record.sequence)
            oriented.append(record._replace(strand=name, sequence=sequence))
    return oriented
