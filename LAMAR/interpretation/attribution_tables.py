"""Tables and genome tracks of explanations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.sequences import Region, parse_region
from ..runs.storage import atomic_write
from .explanations import Explanation

__all__ = [
    "TOP_COLUMNS",
    "bedgraph_rows",
    "coordinates",
    "record_rows",
    "top_positions",
    "top_rows",
    "write_bedgraph",
]

TOP_COLUMNS = ("record", "method", "rank", "position", "nucleotide", "score")


def record_rows(explanations: Sequence[Explanation]) -> list[dict[str, Any]]:
    """Return one row per record: what was explained, the model's call, coordinates, convergence."""
    rows = []
    for explanation in explanations:
        region = coordinates(explanation) or Region(None, None, None, None)
        integration = explanation.integration
        rows.append(
            {
                "record": explanation.record,
                "length": len(explanation.sequence),
                "start": explanation.start,
                "end": explanation.end,
                "chrom": region.chrom,
                "chrom_start": region.start,
                "chrom_end": region.end,
                "strand": region.strand,
                "target": explanation.target,
                "score": explanation.scale,
                "value": explanation.score(),
                "probability": None if explanation.task == "regression" else explanation.score("probability"),
                "difference_to_baseline": integration.get("difference"),
                "delta": integration.get("delta"),
                "n_steps": integration.get("n_steps"),
            }
        )
    return rows


def top_positions(track: np.ndarray, n: int) -> np.ndarray:
    """Return indices of the n largest absolute values of a track, int64, strongest first.

    NaN is left out; ties are in order of position.
    """
    strength = np.where(np.isnan(track), -1.0, np.abs(track))
    order = np.argsort(-strength, kind="stable")[:n]
    return order[strength[order] >= 0]


def top_rows(explanations: Sequence[Explanation], n: int) -> list[dict[str, Any]]:
    """Return the n positions of largest absolute score of each record and method, columns `TOP_COLUMNS`."""
    return [
        {
            "record": explanation.record,
            "method": method,
            "rank": rank,
            "position": explanation.start + int(i),
            "nucleotide": explanation.explained[i],
            "score": float(track[i]),
        }
        for explanation in explanations
        for method, track in explanation.tracks.items()
        for rank, i in enumerate(top_positions(track, n), start=1)
    ]


def coordinates(explanation: Explanation) -> Region | None:
    """Return the genomic region of the whole sequence, from the record's name.

    None where the name has no coordinates, or those of another length.
    """
    region = parse_region(explanation.record)
    return region if region is not None and region.end - region.start == len(explanation.sequence) else None


def bedgraph_rows(explanations: Sequence[Explanation], method: str, strand: str) -> list[tuple[str, int, int, float]]:
    """Return sorted rows (chrom, start, end, score) of one base each, 0-based half-open.

    Records on ``strand`` are taken (``.`` counts as +); positions on the minus strand are converted to the plus strand.
    Where records overlap, the score is their mean; NaN is left out.
    """
    scores: dict[tuple[str, int], list[float]] = {}
    for explanation in explanations:
        region = coordinates(explanation)
        if region is None or (region.strand == "-") != (strand == "-"):
            continue
        for i, value in enumerate(explanation.tracks[method]):
            if np.isnan(value):
                continue
            position = explanation.start + i
            genomic = region.end - 1 - position if region.strand == "-" else region.start + position
            scores.setdefault((region.chrom, genomic), []).append(float(value))
    return [(chrom, base, base + 1, float(np.mean(values))) for (chrom, base), values in sorted(scores.items())]


def write_bedgraph(path: str | Path, rows: Sequence[tuple[str, int, int, float]], name: str) -> None:
    """Write rows of `bedgraph_rows` as a track that genome browsers read."""
    with atomic_write(path) as handle:
        handle.write(f'track type=bedGraph name="{name}"\n')
        handle.writelines(f"{chrom}\t{start}\t{end}\t{value:.6g}\n" for chrom, start, end, value in rows)
