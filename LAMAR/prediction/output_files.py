"""Lines and rows of the files that a prediction writes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .calls import PValueCounts
from .predictor import Predictor, StoredRecord
from .records import Place
from .tiling import Profile

__all__ = ["BED_NAME", "MEANING", "RECORDS_NAME", "bed_columns", "bedgraph_lines", "record_rows", "site_lines"]

BED_NAME, RECORDS_NAME = "sites.bed", "records.csv"
MEANING = (
    "probability: of a site, with as many sites per background window as the prior says; p: share of background "
    "windows of transcripts that score as high; q: expected share of false ones among all that score as high here."
)
_BED6 = ("chrom", "start", "end", "track", "score", "strand")
_BLOCKS = ("thickStart", "thickEnd", "itemRgb", "blockCount", "blockSizes", "blockStarts")


def _scales(predictor: Predictor, counts: PValueCounts, track: np.ndarray, score: np.ndarray, p: np.ndarray) -> dict:
    """Return the columns of scores, shape (n,) each, that the model has."""
    columns = {"logit": score}
    if predictor.calibration is not None:
        columns |= {
            "probability": predictor.calibration.probabilities_at(track, score),
            "p": p,
            "q": counts.q_values(p),
        }
    return columns


def bed_columns(predictor: Predictor) -> list[str]:
    """Return the names of the columns of ``sites.bed``: BED12, the record, and scores."""
    scores = ["logit"] if predictor.calibration is None else ["logit", "probability", "p", "q"]
    return [*_BED6, *_BLOCKS, "record", *scores]


def _text(value: float) -> str:
    return f"{value:.6g}"


def site_lines(stored: StoredRecord, predictor: Predictor, counts: PValueCounts) -> Iterator[str]:
    """Yield a line of ``sites.bed`` for each site of a record, 0-based and half-open on its chromosome.

    Column 5 is -100 log10 p, 1,000 at most, or 0 without calibration. A site over a splice junction has blocks.
    """
    sites, place = stored.scores.sites, stored.place
    if not len(sites):
        return
    scales = _scales(predictor, counts, sites.track, sites.score, sites.p)
    for i in range(len(sites)):
        blocks = place.blocks(int(sites.start[i]), int(sites.end[i]))
        start, end = blocks[0][0], blocks[-1][1]
        score = 0 if np.isnan(sites.p[i]) else int(min(-100 * np.log10(sites.p[i]), 1000))
        sizes, starts = (",".join(map(str, values)) for values in zip(*((b - a, a - start) for a, b in blocks)))
        fields = [place.chrom, start, end, predictor.names[sites.track[i]], score, place.strand]
        fields += [start, end, 0, len(blocks), sizes, starts, stored.name]
        yield "\t".join([*map(str, fields), *(_text(values[i]) for values in scales.values())]) + "\n"


def record_rows(stored: StoredRecord, predictor: Predictor, counts: PValueCounts) -> Iterator[dict]:
    """Yield a row of ``records.csv`` for each track of a record: its best score, where, and the number of sites.

    Positions are 0-based in the record, in the direction of the RNA.
    """
    scores, columns = stored.scores, np.arange(len(predictor.names))
    n_sites = np.bincount(scores.sites.track, minlength=len(columns))
    known = np.isfinite(scores.best_score)
    p = predictor.p_values(columns, scores.best_score)
    scales = _scales(predictor, counts, columns, scores.best_score, np.where(known, p, 1.0))
    for j, name in enumerate(predictor.names):
        row = {"record": stored.name, "length": len(stored.place), "skipped": scores.n_skipped, "track": name}
        row |= {f"best_{key}": float(_text(values[j])) if known[j] else None for key, values in scales.items()}
        yield row | {"best_position": int(scores.best_position[j]) if known[j] else None, "n_sites": int(n_sites[j])}


def bedgraph_lines(place: Place, profile: Profile, column: int) -> Iterator[str]:
    """Yield the lines of one track along a part of a record, on its chromosome; intervals of one value are joined."""
    values = profile.scores[:, column]
    edges = np.flatnonzero(np.diff(values)) + 1
    bounds = profile.bounds[np.concatenate([[0], edges, [len(values)]])]
    for start, end, value in zip(bounds[:-1].tolist(), bounds[1:].tolist(), values[np.append(0, edges)].tolist()):
        for left, right in place.blocks(start, end):
            yield f"{place.chrom}\t{left}\t{right}\t{_text(value)}\n"
