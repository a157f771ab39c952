"""Lines and rows of the files that a prediction writes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..statistics.calibration import Calibration
from .calls import DiscoveryRates
from .families import FAMILIES
from .predictor import Predictor, StoredRecord

__all__ = [
    "BED_NAME",
    "RECORDS_NAME",
    "bed_columns",
    "meaning_of",
    "record_rows",
    "remark_on_calls",
    "remark_on_cores",
    "score_columns",
    "site_lines",
]

BED_NAME, RECORDS_NAME = "sites.bed", "records.csv"
_BED6 = ("chrom", "start", "end", "track", "score", "strand")
_CORE = ("core_start", "core_end", "core", "core_importance")
_BLOCKS = ("thickStart", "thickEnd", "itemRgb", "blockCount", "blockSizes", "blockStarts")


def meaning_of(calibration: Calibration | None, family: str) -> str:
    """Return what the scores of a run mean, in a sentence for each."""
    if calibration is None:
        return "The model has no calibration: scores are logits."
    background = "background windows of transcripts that score"
    if calibration.negatives == "scan":
        background = "tiles of the sequences that the run was calibrated on that score"
    texts = [f"p: share of {background} as high"]
    if calibration.has_probabilities:
        texts.insert(0, "probability: of a site, with as many sites per background window as the prior says")
    texts.append(f"q: expected share of false ones among all that score as high, of {FAMILIES[family]}")
    return f"{'; '.join(texts)}."


def remark_on_calls(rates: DiscoveryRates, q: float) -> str:
    """Return how sites were called, and what to expect of tracks without any."""
    text = f"Sites with a false discovery rate of {q:g} or less over {rates.n_tests:,} tests"
    if rates.family == "all":
        return f"{text}, those of all tracks."
    share = f": {q * rates.n_tracks:.2g} of the {rates.n_tracks} tracks of this run" if rates.n_tracks > 1 else ""
    return f"{text}, those of its track. Where nothing binds, a track has a site with a chance of up to {q:g}{share}."


def remark_on_cores(n: int) -> str:
    """Return what a core is, and how many sites were explained."""
    return (
        f"Cores of the {n:,} best site{'s' * (n != 1)}: the stretch whose substitutions cost the track's score most, "
        "by mutagenesis of the tile around the site; none where no stretch stands out."
    )


def score_columns(
    predictor: Predictor, rates: DiscoveryRates, track: np.ndarray, score: np.ndarray, p: np.ndarray
) -> dict:
    """Return the columns of scores, shape (n,) each, that the model has."""
    columns, calibration = {"logit": score}, predictor.calibration
    if calibration is not None:
        if calibration.has_probabilities:
            columns["probability"] = calibration.probabilities_at(track, score)
        columns |= {"p": p, "q": rates.q_values(track, p)}
    return columns


def bed_columns(predictor: Predictor, with_cores: bool = False) -> list[str]:
    """Return the names of the columns of ``sites.bed``: BED12, the record, scores and, if asked for, cores."""
    none = np.empty(0, dtype=np.int64)
    scores = score_columns(predictor, predictor.p_counts.rates("track"), none, none, none)
    return [*_BED6, *_BLOCKS, "record", *scores, *(_CORE if with_cores else ())]


def _text(value: float) -> str:
    return f"{value:.6g}"


def site_lines(
    stored: StoredRecord, predictor: Predictor, rates: DiscoveryRates, with_cores: bool = False
) -> Iterator[str]:
    """Yield a line of ``sites.bed`` for each site of a record, 0-based and half-open on its chromosome.

    Column 5 is -100 log10 p, 1,000 at most, or 0 without calibration. A site over a splice junction has blocks. The
    thick part is the core where that lies within the site, else the site; ``core_start`` and ``core_end`` are those in
    the record.
    """
    sites, place = stored.scores.sites, stored.place
    if not len(sites):
        return
    scales = score_columns(predictor, rates, sites.track, sites.score, sites.p)
    for i in range(len(sites)):
        blocks = place.blocks(int(sites.start[i]), int(sites.end[i]))
        start, end = blocks[0][0], blocks[-1][1]
        score = 0 if np.isnan(sites.p[i]) else int(min(-100 * np.log10(sites.p[i]), 1000))
        sizes, starts = (",".join(map(str, values)) for values in zip(*((b - a, a - start) for a, b in blocks)))
        fields = [place.chrom, start, end, predictor.names[sites.track[i]], score, place.strand]
        core = stored.cores.get((int(sites.track[i]), int(sites.start[i])))
        thick = start, end
        if core is not None and sites.start[i] <= core.start and core.end <= sites.end[i]:
            inner = place.blocks(core.start, core.end)
            thick = inner[0][0], inner[-1][1]
        fields += [*thick, 0, len(blocks), sizes, starts, stored.name]
        fields += [_text(values[i]) for values in scales.values()]
        if with_cores:
            fields += "...." if core is None else [core.start, core.end, core.sequence, _text(core.importance)]
        yield "\t".join(map(str, fields)) + "\n"


def record_rows(stored: StoredRecord, predictor: Predictor, rates: DiscoveryRates) -> Iterator[dict]:
    """Yield a row of ``records.csv`` for each track of a record: its best score, where, and the number of sites.

    Positions are 0-based in the record, in the direction of the RNA.
    """
    scores, columns = stored.scores, np.arange(len(predictor.names))
    n_sites = np.bincount(scores.sites.track, minlength=len(columns))
    known = np.isfinite(scores.best_score)
    p = predictor.p_values(columns, scores.best_score)
    scales = score_columns(predictor, rates, columns, scores.best_score, np.where(known, p, 1.0))
    for j, name in enumerate(predictor.names):
        row = {"record": stored.name, "length": len(stored.place), "skipped": scores.n_skipped, "track": name}
        row |= {f"best_{key}": float(_text(values[j])) if known[j] else None for key, values in scales.items()}
        yield row | {"best_position": int(scores.best_position[j]) if known[j] else None, "n_sites": int(n_sites[j])}
