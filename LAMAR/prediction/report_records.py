"""The part of a prediction's page that shows one record: a heat map of tracks and positions, and its sites."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np

from ..runs import page
from .calls import DiscoveryRates
from .heat import cluster_order
from .output_files import score_columns
from .predictor import Predictor, StoredRecord
from .records import Place
from .report_strips import N_COLOURS, P_STEPS, axis, colour_levels, hover_data, legend, strip

__all__ = ["MOST_MARKS", "counted", "p_text", "ranked_tracks", "record_section"]

MOST_MARKS = 60  # of sites in a row


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def p_text(value: float) -> str:
    """Return a p-value, or another small number, with two significant digits."""
    return page.number(float(f"{value:.2g}"), 0) if np.isfinite(value) else "–"


def _is_genomic(stored: StoredRecord) -> bool:
    return stored.place.chrom != stored.name


def _place_data(stored: StoredRecord) -> str:
    """Return what the page's script needs to tell positions: JSON, escaped."""
    place: Place = stored.place
    data = {"length": len(place)}
    if _is_genomic(stored):
        data |= {"chrom": place.chrom, "strand": place.strand, "blocks": list(zip(place.starts, place.ends))}
    return page.text(json.dumps(data, separators=(",", ":")))


def ranked_tracks(stored: StoredRecord, p: np.ndarray) -> np.ndarray:
    """Return the columns of the tracks, those with the lowest p-values first, of equal ones those with higher scores.

    Parameters
    ----------
    stored : StoredRecord
    p : numpy.ndarray of float64, shape (k,)
        Of the best scores; NaN without calibration.

    Returns
    -------
    numpy.ndarray of int64, shape (k,)
        Empty where nothing was predicted.
    """
    best = stored.scores.best_score
    return np.lexsort((-best, np.nan_to_num(p))) if np.isfinite(best).all() else np.empty(0, dtype=np.int64)


def record_section(
    stored: StoredRecord,
    heat: tuple[int, np.ndarray] | None,
    p: np.ndarray,
    predictor: Predictor,
    rates: DiscoveryRates,
    *,
    key: str,
    n_rows: int,
    n_sites: int,
    is_open: bool,
) -> str:
    """Return the markup of a record.

    Parameters
    ----------
    stored : StoredRecord
        With its called sites.
    heat : (int, numpy.ndarray of float32, shape (n_cells, k)) or None
        Width of a cell in nucleotides, and the highest score in each (see `LAMAR.prediction.heat`).
    p : numpy.ndarray of float64, shape (k,)
        Of the best scores; NaN without calibration.
    predictor : Predictor
    rates : DiscoveryRates
        Of the run.
    key : str
        Id of the element.
    n_rows, n_sites : int
        Most tracks to draw and most sites to list.
    is_open : bool
        Whether the record is shown at first.
    """
    ranked = ranked_tracks(stored, p)
    facts = [f"{len(stored.place):,} nt", counted(len(stored.scores.sites), "site")]
    if len(ranked):
        value = "" if np.isnan(p[ranked[0]]) else f" (p {p_text(p[ranked[0]])})"
        facts.append(f"best track {predictor.names[ranked[0]]}{value}")
    summary = f"<summary><b>{page.text(stored.name)}</b> · {page.text(' · '.join(facts))}</summary>"
    opening = f'<details id="{key}"{" open" if is_open else ""}>{summary}'
    if not len(ranked) or heat is None:
        reason = "Nothing was predicted" if not len(ranked) else "The scores along this record are not kept"
        return f"{opening}{page.paragraph(f'{reason}.')}</details>"
    body = _heat_map(stored, heat, p, np.sort(ranked[:n_rows]), predictor, rates)
    return f"{opening}{body}{_site_table(stored, predictor, rates, n_sites)}</details>"


def _heat_map(stored: StoredRecord, heat: tuple[int, np.ndarray], p, tracks, predictor: Predictor, rates) -> str:
    """Return the heat map of ``tracks``, int64, shape (n,); otherwise as `record_section`."""
    width, scores = heat
    length, k = len(stored.place), scores.shape[1]
    is_calibrated = predictor.calibration is not None
    if is_calibrated:
        values = [-np.log10(predictor.calibration.p_values_of(j, scores[:, j])) for j in tracks]
        low, high = 0.0, N_COLOURS / P_STEPS
    else:
        values = [scores[:, j] for j in tracks]
        low, high = (float(edge(values)) for edge in (np.nanmin, np.nanmax))
    known = ~np.isnan(values[0])
    order = cluster_order(np.stack(values)[:, known])
    levels = [colour_levels(row, low, high) for row in values]
    n_sites = np.bincount(stored.scores.sites.track, minlength=k)
    columns = score_columns(predictor, rates, tracks, stored.scores.best_score[tracks], p[tracks])
    rows = []
    for number, i in enumerate(order.tolist(), start=1):
        best = {name: float(values[i]) for name, values in columns.items()}
        picture = _picture(int(tracks[i]), levels[i], width, scores[:, tracks[i]], stored, predictor)
        rows.append(_row(number, int(tracks[i]), picture, best, int(n_sites[tracks[i]]), stored, predictor.names))
    remarks = []
    if len(tracks) < k:
        remarks.append(f"{k - len(tracks):,} tracks with lower scores are not drawn; records.csv has them.")
    if len(tracks) and n_sites[tracks].max() > MOST_MARKS:
        remarks.append(f"Marked are the {MOST_MARKS} best sites of a track at most.")
    cell = f"A cell is the highest score of {width} nt." if width > predictor.options.stride else ""
    labels = _legend_labels(is_calibrated, low, high)
    title = "p-value" if is_calibrated else "logit"
    height = ' class="few"' if len(rows) <= 12 else ""
    box = "scroll tall" if len(rows) > 36 else "scroll"
    return (
        f'<div class="heat" data-cell="{width}" data-place="{_place_data(stored)}">'
        f'<div class="{box}" tabindex="0" role="region" aria-label="heat map of {page.text(stored.name)}">'
        f'<table class="sortable">{_head(length, columns)}<tbody{height}>\n'
        + "\n".join(rows)
        + "\n</tbody></table></div>"
        f"{legend(labels, title)}{page.paragraph(cell, *remarks) if cell or remarks else ''}</div>"
    )


def _legend_labels(is_calibrated: bool, low: float, high: float) -> list[tuple[float, str]]:
    if is_calibrated:
        return [(i, f"{10.0 ** -(i // P_STEPS):g}") for i in range(0, N_COLOURS, P_STEPS)]
    return [(share * N_COLOURS, f"{low + share * (high - low):.3g}") for share in (0, 0.5, 1)]


# Class, heading and order of the first click of the columns beside a strip; scores by their name.
_COLUMNS = (("sites", "sites", "down"), ("at", "best at", "up"))
_SCORES = {"p": ("p", "p", "up"), "q": ("q", "q", "up"), "probability": ("prob", "probability", "down")}
_LOGIT = {"logit": ("logit", "logit", "down")}


def _score_columns(names: Iterable[str]) -> dict[str, tuple[str, str, str]]:
    """Return the columns to show of the scores that a model has, by name."""
    return {name: column for name, column in _SCORES.items() if name in names} or _LOGIT


def _head(length: int, names: Iterable[str]) -> str:
    columns = (*_COLUMNS, *_score_columns(names).values())
    widths = ("order", "track", "", *(name for name, *_ in columns))
    cols = "".join(f'<col class="c-{name}">' if name else "<col>" for name in widths)
    heads = "".join(
        f'<th scope="col" class="{name}" data-first="{first}">{label}</th>' for name, label, first in columns
    )
    return (
        f'<colgroup>{cols}</colgroup><thead><tr><th scope="col" class="order" data-first="up">#</th>'
        f'<th scope="col" data-first="up">track</th><th scope="col">position (nt){axis(length)}</th>'
        f"{heads}</tr></thead>"
    )


def _picture(track: int, levels: np.ndarray, width: int, scores: np.ndarray, stored: StoredRecord, predictor) -> str:
    """Return the strip of one track, with its best sites."""
    table, calibration = stored.scores.sites, predictor.calibration
    mine = np.flatnonzero(table.track == track)
    mine = mine[np.argsort(-table.score[mine], kind="stable")[:MOST_MARKS]]
    sites = sorted(zip(table.start[mine].tolist(), table.end[mine].tolist()))
    if calibration is None:
        data = hover_data(scores, None, None)
    else:
        data = hover_data(
            scores,
            lambda values: calibration.p_values_of(track, values),
            (calibration.slope[track], calibration.intercept[track]) if calibration.has_probabilities else None,
        )
    return strip(levels, width, len(stored.place), sites, data)


def _score_cell(name: str, value: float) -> tuple[str, float]:
    return page.number(value, 2) if name == "logit" else p_text(value), value


def _row(number: int, track: int, picture: str, best: dict, n_sites: int, stored: StoredRecord, names) -> str:
    """Return the row of one track; ``best`` has the columns of its best score."""
    columns = _score_columns(best)
    cells = [n_sites, int(stored.scores.best_position[track]), *(_score_cell(name, best[name]) for name in columns)]
    marked = "".join(
        page.cell(value).replace('class="n"', f'class="n {kind}"', 1)
        for (kind, *_), value in zip((*_COLUMNS, *columns.values()), cells)
    )
    name = page.text(names[track])
    return (
        f'<tr><td class="n order" data-v="{number}">{number}</td><th scope="row" title="{name}">{name}</th>'
        f'<td class="strip">{picture}</td>{marked}</tr>'
    )


def _site_table(stored: StoredRecord, predictor: Predictor, rates: DiscoveryRates, most: int) -> str:
    sites = stored.scores.sites
    if not len(sites):
        return page.paragraph("No site is called in this record.")
    order = np.lexsort((-sites.score, np.nan_to_num(sites.p)))[:most]
    sites = sites.take(order)
    columns = score_columns(predictor, rates, sites.track, sites.score, sites.p)
    head = ["track", "start", "end", *columns]
    head += ["core", "core start"] if stored.cores else []
    if genomic := _is_genomic(stored):
        head.insert(3, "on the genome")
    rows = []
    for i in range(len(sites)):
        start, end = int(sites.start[i]), int(sites.end[i])
        row = [predictor.names[sites.track[i]], start, end]
        if genomic:
            blocks = stored.place.blocks(start, end)
            row.append(f"{stored.place.chrom}:{blocks[0][0]:,}-{blocks[-1][1]:,} ({stored.place.strand})")
        for name, values in columns.items():
            row.append(_score_cell(name, float(values[i])))
        if stored.cores:
            core = stored.cores.get((int(sites.track[i]), start))
            row += ["–", "–"] if core is None else [core.sequence.replace("T", "U"), core.start]
        rows.append(row)
    n = len(stored.scores.sites)
    which = f"The {len(rows):,} best of {n:,} sites" if n > len(rows) else "Sites"
    return page.table(head, rows, f"{which}, 0-based and half-open in the record", ("start", "end", "p", "q"))
