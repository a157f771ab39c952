"""Counts of a run that cuts windows: statistics for its record, a closing table, errors and warnings."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from os import PathLike

import numpy as np

from ..errors import InputError, counted, shortened
from .window_processes import Context

__all__ = ["Tally", "check_counts", "closing_table", "summarise", "warn_of_omissions"]

logger = logging.getLogger(__name__)

REASONS = {
    "no_coordinates": "without coordinates in the header",
    "nonstandard_chromosome": "outside chr1-22, chrX, chrY (`keep_nonstandard` keeps them)",
    "excluded_chromosome": "on chromosomes of `exclude_chroms`",
}


class Tally:
    """Counts over a whole run.

    Parameters
    ----------
    n_peaks : int
        Number of peaks that windows are compared with.

    Attributes
    ----------
    counts : Counter
        Counts by (kind, name): those of `LAMAR.genomics.window_metadata.DescribedWindows`, and for the kinds
        ``filtered`` (records left out, by reason) and ``total`` (``read`` records and their ``nucleotides``).
    examples : dict of str
        Name of the first record left out for each reason.
    covered : bool, shape (n_peaks,)
        Whether each peak lies in a window.
    """

    def __init__(self, n_peaks: int = 0):
        self.counts: Counter = Counter()
        self.examples: dict[str, str] = {}
        self.covered = np.zeros(n_peaks, dtype=bool)

    def skip(self, reason: str, name: str) -> None:
        """Count a record that is left out."""
        self.counts["filtered", reason] += 1
        self.examples.setdefault(reason, name)

    def of(self, kind: str) -> dict[str, int]:
        """Return the counts of one kind by name, sorted."""
        return {name: number for (of_kind, name), number in sorted(self.counts.items()) if of_kind == kind}


def summarise(tally: Tally, context: Context, n_read: int) -> dict:
    """Return the statistics of a run, ready for JSON.

    Parameters
    ----------
    tally : Tally
        Counts of the whole run.
    context : Context
        What windows were compared with.
    n_read : int
        Number of peaks before merging.
    """
    counts, total = tally.counts, tally.of("total")
    by_chrom = {kind: tally.of(kind) for kind in ("records", "windows", "complete", "partial")}
    sums = {kind: sum(by_chrom[kind].values()) for kind in by_chrom}
    records = {"read": total["read"], "filtered": tally.of("filtered"), "used": sums["records"]}
    records |= {name: counts["class", name] for name in ("short", "medium", "long")}
    if context.bed is not None:
        records["without_bed"] = sums["records"] - total["in_bed"]
    peaks = None
    if context.peaks is not None:
        by_chrom["distinct"] = Counter(context.peaks.table["chrom"][tally.covered].tolist())
        n_covered = int(tally.covered.sum())
        peaks = {"read": n_read, "listed": len(tally.covered), "distinct_in_windows": n_covered}
        peaks["in_no_window"] = len(tally.covered) - n_covered
        peaks |= {"complete_in_windows": sums["complete"], "partial_in_windows": sums["partial"]}
        peaks |= {"overlaps_on_opposite_strand": total["opposite"]}
    return {
        "records": records,
        "windows": {"total": sums["windows"]} | tally.of("method"),
        "nucleotides": {"in": total["nucleotides"], "in_windows": total["window_nucleotides"]},
        "expansion_factor": round(total["window_nucleotides"] / total["nucleotides"], 4),
        "peaks": peaks,
        "chromosomes": {
            chrom: {kind: number.get(chrom, 0) for kind, number in by_chrom.items()}
            for chrom in sorted(by_chrom["records"], key=_natural)
        },
    }


def _natural(chrom: str) -> tuple:
    """Sort key that puts chr2 before chr10 before chrX."""
    short = chrom.removeprefix("chr")
    return (0, int(short), "") if short.isdigit() else (1, 0, short)


def closing_table(stats: dict) -> str:
    """Return the statistics of `summarise` as aligned text."""
    records, windows, peaks = stats["records"], stats["windows"], stats["peaks"]
    rows = [("regions read", records["read"])]
    rows += [(f"  filtered: {reason.replace('_', ' ')}", n) for reason, n in records["filtered"].items()]
    rows += [(f"  {name.replace('_', ' ')}", n) for name, n in records.items() if name not in ("read", "filtered")]
    rows += [("windows", windows["total"]), *((f"  {name}", n) for name, n in windows.items() if name != "total")]
    rows += [(f"nucleotides {name.replace('_', ' ')}", n) for name, n in stats["nucleotides"].items()]
    rows += [(f"peaks {name.replace('_', ' ')}", n) for name, n in (peaks or {}).items()]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {n:>13,}" for name, n in rows]
    lines += [f"{'expansion factor':<{width}}  {stats['expansion_factor']:>13.2f}", ""]
    heads = ["records", "windows"] + ([] if peaks is None else ["distinct", "complete", "partial"])
    titles = {"records": "regions", "distinct": "peaks"}
    lines.append(f"{'chromosome':<{width}}" + "".join(f"{titles.get(head, head):>12}" for head in heads))
    for chrom, row in stats["chromosomes"].items():
        lines.append(f"{chrom:<{width}}" + "".join(f"{row[head]:>12,}" for head in heads))
    return "\n".join(lines)


def check_counts(
    tally: Tally,
    context: Context,
    fasta: str | PathLike,
    bed: str | PathLike | None,
    eclip: str | PathLike | None,
    exclude_chroms: Sequence[str],
) -> None:
    """Refuse a run without windows, and inputs that have nothing to do with each other.

    Raises
    ------
    InputError
        If no region is on the excluded chromosomes, no region can be used, no peak or BED line overlaps a region, or
        all peaks in regions are on the other strand.
    """
    counts = tally.counts
    if exclude_chroms and not counts["filtered", "excluded_chromosome"]:
        raise InputError(
            f"`exclude_chroms` {' '.join(exclude_chroms)}: found no region of {fasta} there, wanted names as chr8"
        )
    used = {name for kind, name in counts if kind == "records"}
    if not used:
        kinds = [(name, n) for (kind, name), n in counts.items() if kind == "filtered"]
        reasons = "; ".join(f"{n} {name.replace('_', ' ')}, as {tally.examples[name]}" for name, n in kinds)
        raise InputError(f"{fasta}: found no region to use ({reasons}), wanted headers as chr1:100-110")
    for name, file, index, hits in (("peak", eclip, context.peaks, "pairs"), ("line", bed, context.bed, "in_bed")):
        if index is not None and not counts["total", hits]:
            here, there = (shortened(sorted(names, key=_natural), 5) for names in (index.chromosomes, used))
            raise InputError(
                f"{file}: found no {name} that overlaps a region of {fasta}, wanted the same genome build and "
                f"chromosome names: here {here}, there {there}"
            )
    if context.peaks is not None and not tally.covered.any():
        n = counts["total", "opposite"]
        raise InputError(f"{eclip}: found no peak in a window of {fasta}: {n} overlaps are on the other strand")


def warn_of_omissions(
    tally: Tally, stats: dict, fasta: str | PathLike, bed: str | PathLike | None, eclip: str | PathLike | None
) -> None:
    """Log what was left out or ignored, one warning per kind."""
    for reason, n in stats["records"]["filtered"].items():
        logger.warning(
            "%s: left out %s %s, such as %s", fasta, counted(n, "record"), REASONS[reason], tally.examples[reason]
        )
    if n := stats["records"].get("without_bed"):
        logger.warning("%s: found no line for %d of %d regions", bed, n, stats["records"]["used"])
    if n := (stats["peaks"] or {}).get("overlaps_on_opposite_strand"):
        logger.warning("%s: overlaps of a region with a peak on its other strand do not count (found %d)", eclip, n)
