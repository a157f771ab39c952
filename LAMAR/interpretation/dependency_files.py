"""Dependency maps of records as a run computes and writes them: rows in blocks that outlive a kill, arrays, tables."""

from __future__ import annotations

import logging
import time
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..alphabet import NUCLEOTIDES
from ..data.records import genome_positions
from ..runs.storage import atomic_write
from .dependency import (
    DependencyMap,
    average_product_correction,
    dependency_map,
    strongest_pairs,
    symmetrised,
    variant_influence,
)
from .stems import Stem, dot_bracket, find_stems

__all__ = [
    "INFLUENCE_COLUMNS",
    "PAIRWISE_COLUMNS",
    "PAIR_COLUMNS",
    "STEM_COLUMNS",
    "Remaining",
    "Shown",
    "block_rows",
    "draw_maps",
    "influence_rows",
    "map_by_blocks",
    "map_result",
    "map_tokens",
    "pair_rows",
    "pairwise_rows",
    "place_arrays",
    "save_arrays",
    "stem_rows",
    "write_structures",
]

logger = logging.getLogger(__name__)

# Tokens of the mutants of one block: half a minute of lamar-mini on two cores.
BLOCK_TOKENS = 200_000
REPORT_SECONDS = 20.0

INFLUENCE_COLUMNS = ("record", "position", "nucleotide", "influence", "chrom", "genome_position", "strand")
PAIR_COLUMNS = "record rank mutated affected mutated_nucleotide affected_nucleotide dependency".split()
PAIRWISE_COLUMNS = "record rank position other nucleotide other_nucleotide epistasis".split()
STEM_COLUMNS = "record stem start end length five_prime three_prime score dependency".split()


class Remaining:
    """Says now and then how much of a long computation is left."""

    def __init__(self, total: float):
        self.total, self.done, self.started, self.said = total, 0.0, time.monotonic(), time.monotonic()

    def skip(self, amount: float) -> None:
        """Leave out what was there already: it says nothing about the speed."""
        self.total -= amount

    def advance(self, amount: float, what: str) -> None:
        self.done += amount
        now = time.monotonic()
        if now - self.said >= REPORT_SECONDS and self.done < self.total:
            self.said = now
            left = (now - self.started) * (self.total / self.done - 1)
            logger.info("%s; %.0f %%, about %s left", what, 100 * self.done / self.total, _duration(left))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def map_tokens(length: int) -> int:
    """Tokens of all mutants of a sequence."""
    return 3 * length * (length + 2)


def block_rows(length: int) -> list[tuple[int, int]]:
    """Ranges of rows that are computed, and kept, one after the other."""
    step = max(8, BLOCK_TOKENS // (3 * (length + 2)))
    return [(start, min(start + step, length)) for start in range(0, length, step)]


def map_by_blocks(
    model: torch.nn.Module, name: str, sequence: str, blocks: Path, remaining: Remaining, **options
) -> DependencyMap:
    """:func:`LAMAR.interpretation.dependency.dependency_map`, its blocks kept in the folder ``blocks`` until the caller removes it.

    Blocks that are there already are read, unless they are damaged.
    """
    blocks.mkdir(parents=True, exist_ok=True)
    parts = []
    for start, end in block_rows(len(sequence)):
        file = blocks / f"{start:07d}.npz"
        tokens = map_tokens(len(sequence)) * (end - start) / len(sequence)
        part = _read_block(file)
        if part is None:
            part = dependency_map(model, sequence, rows=(start, end), **options)
            with atomic_write(file, "wb") as handle:
                np.savez(handle, values=part.values, log_odds=part.log_odds)
            remaining.advance(tokens, f"{name}: {end:,} of {len(sequence):,} positions")
        else:
            remaining.skip(tokens)
        parts.append(part)
    return DependencyMap(np.concatenate([part.values for part in parts]), parts[0].log_odds)


def _read_block(file: Path) -> DependencyMap | None:
    # Opened here: np.load leaves a damaged file open.
    with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), open(file, "rb") as handle:
        arrays = np.load(handle)
        return DependencyMap(arrays["values"], arrays["log_odds"])
    return None


@dataclass(frozen=True)
class Shown:
    """The form of a map that is drawn and ranked; stems and influence are always taken from the map itself."""

    symmetric: bool = False
    corrected: bool = False

    def __call__(self, values: np.ndarray) -> np.ndarray:
        values = symmetrised(values) if self.symmetric else values
        return average_product_correction(values) if self.corrected else values

    @property
    def label(self) -> str:
        """Of a colour bar."""
        made = [word for word, is_on in (("symmetrised", self.symmetric), ("APC", self.corrected)) if is_on]
        return "change in log2 odds" + (f" ({', '.join(made)})" if made else "")


def map_result(name: str, sequence: str, found: DependencyMap, shown: Shown, top: int, **options) -> dict[str, Any]:
    """What the tables need of one record, as plain numbers; ``options`` are those of :func:`find_stems`."""
    stems = find_stems(found.values, sequence, **options)
    values = shown(found.values)
    if shown.symmetric:
        values = np.where(np.tri(len(values), dtype=bool), np.nan, values)
    pairs = [(int(i), int(j), float(values[i, j])) for i, j in zip(*strongest_pairs(values, top))]
    return {
        "record": name,
        "sequence": sequence,
        "influence": variant_influence(found.values).tolist(),
        "pairs": pairs,
        "stems": [vars(stem) for stem in stems],
        "structure": dot_bracket(len(sequence), stems),
    }


def save_arrays(path: Path, name: str, sequence: str, found: DependencyMap, shown: Shown) -> None:
    """``.npz`` of a map.

    ``map`` float32 (L, L), rows mutated; ``log_odds`` (L, 4), ``influence`` (L,), ``sequence``, ``record``,
    ``nucleotides`` (order of ``log_odds``); ``shown`` (L, L) where another form was asked for; with coordinates in the
    record's name ``chrom``, ``strand``, and ``positions`` int64 (L,), 0-based.
    """
    arrays = {"map": found.values, "log_odds": found.log_odds, "influence": variant_influence(found.values)}
    arrays |= {"sequence": np.array(sequence), "record": np.array(name), "nucleotides": np.array(NUCLEOTIDES)}
    if shown != Shown():
        arrays["shown"] = shown(found.values)
    arrays |= place_arrays(name, len(sequence))
    with atomic_write(path, "wb") as handle:
        np.savez_compressed(handle, **arrays)


def place_arrays(name: str, length: int) -> dict[str, np.ndarray]:
    """``chrom``, ``strand`` and ``positions`` of a record with coordinates, else nothing."""
    placed = genome_positions(name, length)
    if placed is None:
        return {}
    place, positions = placed
    return {"chrom": np.array(place.chrom), "strand": np.array(place.strand), "positions": positions}


def draw_maps(
    stem: Path,
    result: Mapping[str, Any],
    found: DependencyMap,
    shown: Shown,
    region: tuple[int, int] | None = None,
    logo: bool = False,
    title: str = "",
) -> None:
    """Figure of a map, ``STEM_map``, and of a region of it on its own, ``STEM_region``; PNG and SVG each."""
    from ..runs.figures import save_figure
    from .dependency_figures import plot_map

    values, sequence = shown(found.values), result["sequence"]
    influence = np.array(result["influence"], dtype=np.float32)
    log_odds = found.log_odds if logo else None
    pairs = [pair for one in result["stems"] for pair in Stem(**one).pairs]
    common = {"label": shown.label, "signed": shown.corrected, "title": title}
    figure = plot_map(values, sequence, box=region, log_odds=log_odds, influence=influence, pairs=pairs, **common)
    save_figure(figure, f"{stem}_map")
    if region is None:
        return
    start, end = region
    inside = slice(start, end)
    figure = plot_map(
        values[inside, inside],
        sequence[inside],
        first=start,
        log_odds=None if log_odds is None else log_odds[inside],
        influence=influence[inside],
        pairs=[(i, j) for i, j in pairs if start <= i and j < end],
        **common,
    )
    save_figure(figure, f"{stem}_region")


# ------------------------------------------------------------------------------------------------------ tables


def influence_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a position, columns :data:`INFLUENCE_COLUMNS`; None at N."""
    name, sequence = result["record"], result["sequence"]
    placed = genome_positions(name, len(sequence))
    chrom, strand = (placed[0].chrom, placed[0].strand) if placed else (None, None)
    return [
        {
            "record": name,
            "position": i,
            "nucleotide": letter,
            "influence": value,
            "chrom": chrom,
            "genome_position": int(placed[1][i]) if placed else None,
            "strand": strand,
        }
        for i, (letter, value) in enumerate(zip(sequence, result["influence"]))
    ]


def pair_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The strongest pairs, columns :data:`PAIR_COLUMNS`."""
    sequence = result["sequence"]
    return [
        dict(zip(PAIR_COLUMNS, (result["record"], rank, i, j, sequence[i], sequence[j], value)))
        for rank, (i, j, value) in enumerate(result["pairs"], start=1)
    ]


def pairwise_rows(name: str, sequence: str, start: int, epistasis: np.ndarray, top: int) -> list[dict[str, Any]]:
    """The pairs of positions of the largest absolute epistasis, columns :data:`PAIRWISE_COLUMNS`.

    ``epistasis`` is (R, R), symmetric, over the range that begins at ``start``.
    """
    strength = np.where(np.tri(len(epistasis), dtype=bool), np.nan, np.abs(epistasis))
    rows = []
    for rank, (i, j) in enumerate(zip(*strongest_pairs(strength, top)), start=1):
        at, other = start + int(i), start + int(j)
        facts = (name, rank, at, other, sequence[at], sequence[other], float(epistasis[i, j]))
        rows.append(dict(zip(PAIRWISE_COLUMNS, facts)))
    return rows


def stem_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a stem, columns :data:`STEM_COLUMNS`; positions 0-based, ``end`` exclusive, sequences 5' to 3'."""
    rows, sequence = [], result["sequence"]
    for number, stem in enumerate((Stem(**stem) for stem in result["stems"]), start=1):
        left = sequence[stem.start : stem.start + stem.length]
        right = sequence[stem.end - stem.length : stem.end]
        facts = (result["record"], number, stem.start, stem.end, stem.length, left, right, stem.score, stem.dependency)
        rows.append(dict(zip(STEM_COLUMNS, facts)))
    return rows


def write_structures(path: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Sequences and structures as RNA tools read them: name and sum of the stems' scores, RNA letters, dot-bracket."""
    with atomic_write(path) as handle:
        for result in results:
            score = sum(stem["score"] for stem in result["stems"])
            rna = result["sequence"].replace("T", "U")
            handle.write(f">{result['record']} score={score:.2f}\n{rna}\n{result['structure']}\n")
