"""Files of dependency maps: rows computed in blocks that survive an interruption, arrays, figures, tables."""

from __future__ import annotations

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
from ..runs.figures import save_figure
from ..runs.progress import Progress
from ..runs.storage import atomic_write
from .dependency import (
    DependencyMap,
    average_product_correction,
    dependency_map,
    strongest_pairs,
    symmetrised,
    variant_influence,
)
from .dependency_figures import plot_map
from .stems import Stem, dot_bracket, find_stems

__all__ = [
    "INFLUENCE_COLUMNS",
    "PAIRWISE_COLUMNS",
    "PAIR_COLUMNS",
    "STEM_COLUMNS",
    "MapForm",
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
    "save_npz",
    "stem_rows",
    "write_structures",
]

# Tokens of the mutants of one block: half a minute of lamar-mini on two cores.
BLOCK_TOKENS = 200_000

INFLUENCE_COLUMNS = ("record", "position", "nucleotide", "influence", "chrom", "genome_position", "strand")
PAIR_COLUMNS = "record rank mutated affected mutated_nucleotide affected_nucleotide dependency".split()
PAIRWISE_COLUMNS = "record rank position other nucleotide other_nucleotide epistasis".split()
STEM_COLUMNS = "record stem start end length five_prime three_prime score dependency".split()


def map_tokens(length: int) -> int:
    """Return the number of tokens of all mutants of a sequence of ``length`` nt."""
    return 3 * length * (length + 2)


def block_rows(length: int) -> list[tuple[int, int]]:
    """Return the ranges of rows of a map of ``length`` nt that are computed and kept one after the other."""
    step = max(8, BLOCK_TOKENS // (3 * (length + 2)))
    return [(start, min(start + step, length)) for start in range(0, length, step)]


def map_by_blocks(
    model: torch.nn.Module, name: str, sequence: str, blocks: Path, shown: Progress, **options
) -> DependencyMap:
    """Compute a dependency map in blocks of rows that are kept in a folder until the caller removes it.

    Blocks of an earlier start are read, unless they are damaged.

    Parameters
    ----------
    model, sequence
        See `LAMAR.interpretation.dependency.dependency_map`.
    name : str
        Name of the record, for messages.
    blocks : Path
        Folder of the blocks.
    shown : Progress
        Counts tokens, see `map_tokens`. Blocks of an earlier start are taken off its total: they say nothing about the
        speed.
    options
        Further parameters of `LAMAR.interpretation.dependency.dependency_map`.
    """
    blocks.mkdir(parents=True, exist_ok=True)
    parts = []
    for start, end in block_rows(len(sequence)):
        file = blocks / f"{start:07d}.npz"
        tokens = 3 * (end - start) * (len(sequence) + 2)
        part = _read_block(file)
        if part is None:
            part = dependency_map(model, sequence, region=(start, end), **options)
            with atomic_write(file, "wb") as handle:
                np.savez(handle, values=part.values, log_odds=part.log_odds)
            shown.advance(tokens, record=name, positions=f"{end:,} of {len(sequence):,}")
        else:
            shown.total -= tokens
        parts.append(part)
    return DependencyMap(np.concatenate([part.values for part in parts]), parts[0].log_odds)


def _read_block(file: Path) -> DependencyMap | None:
    # Opened here: np.load leaves a damaged file open.
    with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), open(file, "rb") as handle:
        arrays = np.load(handle)
        return DependencyMap(arrays["values"], arrays["log_odds"])
    return None


@dataclass(frozen=True)
class MapForm:
    """The form of a map that is drawn and ranked; stems and influence always come from the unchanged map.

    Attributes
    ----------
    symmetric : bool
        Mean of both directions.
    corrected : bool
        With the average product correction.
    """

    symmetric: bool = False
    corrected: bool = False

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return a map (L, L) in this form."""
        values = symmetrised(values) if self.symmetric else values
        return average_product_correction(values) if self.corrected else values

    @property
    def label(self) -> str:
        """Label of a colour bar."""
        steps = [word for word, is_on in (("symmetrised", self.symmetric), ("APC", self.corrected)) if is_on]
        return "change in log2 odds" + (f" ({', '.join(steps)})" if steps else "")


def map_result(
    name: str, sequence: str, dependencies: DependencyMap, form: MapForm, top: int, **options
) -> dict[str, Any]:
    """Return what the tables need of one record, as plain numbers.

    Parameters
    ----------
    name, sequence : str
        The record.
    dependencies : DependencyMap
        Its whole map.
    form : MapForm
        Form in which pairs are ranked.
    top : int
        Number of pairs.
    options
        Those of `LAMAR.interpretation.stems.find_stems`.
    """
    stems = find_stems(dependencies.values, sequence, **options)
    values = form(dependencies.values)
    if form.symmetric:
        values = np.where(np.tri(len(values), dtype=bool), np.nan, values)
    pairs = [(int(i), int(j), float(values[i, j])) for i, j in zip(*strongest_pairs(values, top))]
    return {
        "record": name,
        "sequence": sequence,
        "influence": variant_influence(dependencies.values).tolist(),
        "pairs": pairs,
        "stems": [vars(stem) for stem in stems],
        "structure": dot_bracket(len(sequence), stems),
    }


def save_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write compressed arrays atomically."""
    with atomic_write(path, "wb") as handle:
        np.savez_compressed(handle, **arrays)


def save_arrays(path: Path, name: str, sequence: str, dependencies: DependencyMap, form: MapForm) -> None:
    """Write the arrays of a map to an ``.npz`` file.

    ``map`` float32 (L, L), rows mutated; ``log_odds`` (L, 4), ``influence`` (L,), ``sequence``, ``record``,
    ``nucleotides`` (order of ``log_odds``); ``shown`` (L, L) where another form is drawn; with coordinates in the
    record's name ``chrom``, ``strand``, and ``positions`` int64 (L,), 0-based.
    """
    values = dependencies.values
    arrays = {"map": values, "log_odds": dependencies.log_odds, "influence": variant_influence(values)}
    arrays |= {"sequence": np.array(sequence), "record": np.array(name), "nucleotides": np.array(NUCLEOTIDES)}
    if form != MapForm():
        arrays["shown"] = form(values)
    save_npz(path, arrays | place_arrays(name, len(sequence)))


def place_arrays(name: str, length: int) -> dict[str, np.ndarray]:
    """Return ``chrom``, ``strand`` and ``positions`` of a record with coordinates in its name, else nothing."""
    placed = genome_positions(name, length)
    if placed is None:
        return {}
    region, positions = placed
    return {"chrom": np.array(region.chrom), "strand": np.array(region.strand), "positions": positions}


def draw_maps(
    stem: Path,
    result: Mapping[str, Any],
    dependencies: DependencyMap,
    form: MapForm,
    region: tuple[int, int] | None = None,
    logo: bool = False,
    title: str = "",
) -> None:
    """Draw a map to ``STEM_map``, and a region of it to ``STEM_region``, as PNG and SVG each.

    Parameters
    ----------
    stem : Path
        Beginning of the names of the files.
    result : mapping
        As `map_result` returns it.
    dependencies : DependencyMap
    form : MapForm
    region : (int, int), optional
        Range that is marked in the map and drawn by itself.
    logo : bool, default False
        Draw the model's prediction above the map.
    title : str, optional
    """
    values, sequence = form(dependencies.values), result["sequence"]
    influence = np.array(result["influence"], dtype=np.float32)
    log_odds = dependencies.log_odds if logo else None
    pairs = [pair for one in result["stems"] for pair in Stem(**one).pairs]
    common = {"label": form.label, "signed": form.corrected, "title": title}
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
    """Return one row per position, columns `INFLUENCE_COLUMNS`; the influence is None at N."""
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
    """Return the strongest pairs, columns `PAIR_COLUMNS`."""
    sequence = result["sequence"]
    return [
        dict(zip(PAIR_COLUMNS, (result["record"], rank, i, j, sequence[i], sequence[j], value)))
        for rank, (i, j, value) in enumerate(result["pairs"], start=1)
    ]


def pairwise_rows(name: str, sequence: str, start: int, epistasis: np.ndarray, top: int) -> list[dict[str, Any]]:
    """Return the pairs of positions of largest absolute epistasis, columns `PAIRWISE_COLUMNS`.

    Parameters
    ----------
    name, sequence : str
        The record.
    start : int
        First position of the range.
    epistasis : ndarray, shape (R, R)
        Symmetric.
    top : int
        Number of pairs.
    """
    strength = np.where(np.tri(len(epistasis), dtype=bool), np.nan, np.abs(epistasis))
    rows = []
    for rank, (i, j) in enumerate(zip(*strongest_pairs(strength, top)), start=1):
        position, other = start + int(i), start + int(j)
        values = (name, rank, position, other, sequence[position], sequence[other], float(epistasis[i, j]))
        rows.append(dict(zip(PAIRWISE_COLUMNS, values)))
    return rows


def stem_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row per stem, columns `STEM_COLUMNS`.

    Positions are 0-based, ``end`` is exclusive, sequences run 5' to 3'.
    """
    rows, sequence = [], result["sequence"]
    for number, stem in enumerate((Stem(**stem) for stem in result["stems"]), start=1):
        left = sequence[stem.start : stem.start + stem.length]
        right = sequence[stem.end - stem.length : stem.end]
        values = (result["record"], number, stem.start, stem.end, stem.length, left, right, stem.score, stem.dependency)
        rows.append(dict(zip(STEM_COLUMNS, values)))
    return rows


def write_structures(path: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Write sequences and structures as RNA tools read them.

    Three lines per record: name and sum of the stems' scores, RNA letters, dot-bracket.
    """
    with atomic_write(path) as handle:
        for result in results:
            score = sum(stem["score"] for stem in result["stems"])
            rna = result["sequence"].replace("T", "U")
            handle.write(f">{result['record']} score={score:.2f}\n{rna}\n{result['structure']}\n")
