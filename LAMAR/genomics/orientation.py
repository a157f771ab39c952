"""Orientation of regions without strand by the peaks in them, since an RNA-binding protein binds transcribed RNA."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..alphabet import reverse_complement
from .intervals import IntervalIndex, overlap
from .window_metadata import Record

__all__ = ["orient_records"]


def orient_records(batch: Sequence[Record], peaks: IntervalIndex) -> list[Record]:
    """Return records as they are transcribed.

    A record of unknown strand is replaced by one record per strand that its peaks lie on, plus strand first; on the
    minus strand it is reverse-complemented. Records of known strand, and those without a peak of known strand, are
    returned unchanged.

    Parameters
    ----------
    batch : sequence of Record
        At least one record.
    peaks : IntervalIndex
        Peaks whose strands count.

    Returns
    -------
    list of Record
    """
    regions = pd.DataFrame([record[1:5] for record in batch], columns=["chrom", "start", "end", "strand"])
    table = peaks.rows(peaks.near(*(regions[name].to_numpy() for name in ("chrom", "start", "end"))))
    one, two = overlap(regions, table)
    strand = table["strand"].to_numpy(object)[two]
    has = {name: np.isin(np.arange(len(batch)), one[strand == name]) for name in "+-"}
    oriented = []
    for i, record in enumerate(batch):
        strands = [name for name in "+-" if has[name][i]] if record.strand == "." else []
        if not strands:
            oriented.append(record)
        for name in strands:
            sequence = record.sequence if name == "+" else reverse_complement(record.sequence)
            oriented.append(record._replace(strand=name, sequence=sequence))
    return oriented
