"""Cores of sites: the nucleotides that a track's score rests on, from mutagenesis of the tile around a site."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..interpretation.mutagenesis import mutagenesis
from ..runs import RunFolder
from ..runs.progress import Progress
from .predictor import Core, Predictor, SiteTable
from .scanning import positive_columns
from .tiling import segments

__all__ = ["SIGNAL", "BestSites", "core_of", "explain_sites", "site_tile"]

SIGNAL = 2.0  # a core is this much stronger than the strongest stretch of the opposite sign
_FLOOR = 0.2  # share of the largest importance that a nucleotide of a core has, on average, at either end
_TILES_OF_A_UNIT = 8


@dataclass(frozen=True)
class _Site:
    record: int
    track: int
    start: int
    end: int


class BestSites:
    """The best sites of a run: those with the lowest p-values, or without calibration with the highest scores.

    Of equal ones, those with the higher score and then the earlier ones are kept.

    Parameters
    ----------
    n : int
        Number of sites to keep.
    """

    def __init__(self, n: int):
        self._n, self._n_records = n, 0
        self._keys: list[tuple] = []

    def add(self, sites: SiteTable) -> None:
        """Add the sites of the next record."""
        order = np.lexsort((sites.start, -sites.score, np.nan_to_num(sites.p)))[: self._n]
        for i in order.tolist():
            key = float(np.nan_to_num(sites.p[i])), -float(sites.score[i]), self._n_records
            self._keys.append((*key, int(sites.start[i]), int(sites.track[i]), int(sites.end[i])))
        self._n_records += 1
        if len(self._keys) > 4 * self._n:
            self._keys = sorted(self._keys)[: self._n]

    def chosen(self) -> list[_Site]:
        """Return the sites that are kept, in the order of their records and positions."""
        best = sorted(self._keys)[: self._n]
        found = [_Site(record, track, start, end) for _, _, record, start, track, end in best]
        return sorted(found, key=lambda site: (site.record, site.start, site.track))


def site_tile(sequence: str, start: int, end: int, tile: int) -> tuple[int, int]:
    """Return the tile around a site, within the part between runs of N that has most of the site; 0-based, half-open.

    Parameters
    ----------
    sequence : str
        Normalized nucleotides of the record.
    start, end : int
        The site.
    tile : int
        Length of a tile; a shorter part is a tile of its own.
    """
    first, last = max(segments(sequence), key=lambda part: min(part[1], end) - max(part[0], start))
    left = max(min((start + end) // 2 - tile // 2, last - tile), first)
    return left, min(left + tile, last)


def _best_stretch(values: np.ndarray) -> tuple[float, int, int]:
    """Return the largest sum of a stretch, and its range; the sum 0 of an empty one where no value is above 0."""
    sums = np.append(0.0, np.cumsum(values))
    lowest = np.minimum.accumulate(sums)
    end = int((sums - lowest).argmax())
    start = end - int(sums[: end + 1][::-1].argmin())
    return float(sums[end] - sums[start]), start, end


def core_of(importance: np.ndarray) -> tuple[int, int] | None:
    """Return the stretch that a score rests on, or None where none stands out.

    It is the stretch with the largest sum of importance above a fifth of the largest one, so that nucleotides without
    importance may lie within it, as in UGUANAUA, and not at its ends. Where a tile has two sites that stand in for each
    other, no substitution changes much, and no stretch need stand out.

    Parameters
    ----------
    importance : numpy.ndarray of float, shape (n,)
        Positive where the nucleotide speaks for the track; NaN at N.

    Returns
    -------
    (int, int) or None
        0-based, half-open.
    """
    values = np.nan_to_num(np.asarray(importance, dtype=np.float64))
    floor = _FLOOR * values.max(initial=0.0)
    strength, start, end = _best_stretch(values - floor)
    opposite, _, _ = _best_stretch(-values - floor)
    return (start, end) if strength > SIGNAL * opposite else None


def explain_sites(
    run: RunFolder, predictor: Predictor, chosen: list[_Site], sequences: Iterable[str]
) -> dict[tuple[int, int, int], Core | None]:
    """Return the cores of sites, by record, track and start; what an earlier start found is not computed again.

    Parameters
    ----------
    run : RunFolder
    predictor : Predictor
    chosen : list
        Of `BestSites.chosen`.
    sequences : iterable of str
        Normalized nucleotides of all records of the run, in their order.
    """
    tiles = list(_tiles(chosen, sequences, predictor.options.tile))
    cores: dict[tuple[int, int, int], Core | None] = {}
    with Progress(len(tiles), "tiles", "explaining") as progress:
        for first in range(0, len(tiles), _TILES_OF_A_UNIT):
            part, name = tiles[first : first + _TILES_OF_A_UNIT], f"cores_{first:06d}"
            unit = run.find_unit(name)
            if unit is None:
                unit = run.save_unit(name, {"cores": list(_explained(predictor, part))})
                progress.advance(len(part))
            else:
                progress.skip(len(part))
            for record, track, start, core in unit["cores"]:
                cores[record, track, start] = None if core is None else Core(*core)
    return cores


def _tiles(chosen: list[_Site], sequences: Iterable[str], tile: int) -> Iterator[tuple[int, str, list[_Site]]]:
    """Yield the start and the sequence of each tile, and its sites; tracks with a site at one place share it."""
    by_record: dict[int, list[_Site]] = {}
    for site in chosen:
        by_record.setdefault(site.record, []).append(site)
    for record, sequence in enumerate(sequences):
        shared: dict[tuple[int, int], list[_Site]] = {}
        for site in by_record.pop(record, []):
            shared.setdefault(site_tile(sequence, site.start, site.end, tile), []).append(site)
        yield from ((start, sequence[start:end], sites) for (start, end), sites in shared.items())
        if not by_record:
            return


def _explained(predictor: Predictor, tiles: list[tuple[int, str, list[_Site]]]) -> Iterator[list]:
    """Yield record, track and start of each site, and its core, in an order that JSON keeps."""
    outputs = positive_columns(predictor.model)[1][predictor.columns]
    found = mutagenesis(
        predictor.model,
        [sequence for _, sequence, _ in tiles],
        target=int(outputs[0]),
        token_budget=predictor.options.token_budget,
        device=predictor.device,
    )
    for (left, sequence, sites), result in zip(tiles, found):
        for site in sites:
            importance = replace(result, target=int(outputs[site.track])).importance()
            core = core_of(importance)
            if core is not None:
                start, end = core
                mean = float(np.nanmean(importance[start:end]))
                core = [left + start, left + end, sequence[start:end], round(mean, 4)]
            yield [site.record, site.track, site.start, core]
