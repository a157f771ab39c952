"""What a run keeps of its records between starts: JSON of units, and arrays of scores in files beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike

import numpy as np

from ..runs import storage
from .predictor import RecordScores, SiteTable, StoredRecord, TileScores
from .records import Place, Record
from .tiling import Profile

__all__ = [
    "load_heat",
    "load_profiles",
    "load_sequences",
    "load_tiles",
    "pack_counts",
    "pack_record",
    "save_heat",
    "save_profiles",
    "save_sequences",
    "save_tiles",
    "unpack_counts",
    "unpack_place",
    "unpack_record",
]

_KINDS = {"track": np.int64, "start": np.int64, "end": np.int64, "score": np.float32, "p": np.float64}


def pack_record(record: Record, scores: RecordScores) -> dict:
    """Return what is stored of a record, ready for JSON."""
    place = record.place
    return {
        "name": record.name,
        "place": [place.chrom, place.strand, list(place.starts), list(place.ends)],
        "n_tiles": scores.n_tiles,
        "n_skipped": scores.n_skipped,
        "best_score": scores.best_score.tolist(),
        "best_position": scores.best_position.tolist(),
        "sites": {name: values.tolist() for name, values in vars(scores.sites).items()},
    }


def unpack_place(stored: dict) -> Place:
    """Return the place of a record that `pack_record` packed."""
    chrom, strand, starts, ends = stored["place"]
    return Place(chrom, strand, tuple(starts), tuple(ends))


def unpack_record(stored: dict) -> StoredRecord:
    """Return a record that `pack_record` packed."""
    # JSON has no NaN: a value that is missing is None.
    sites = SiteTable(
        **{name: np.array(stored["sites"][name], dtype=float).astype(kind) for name, kind in _KINDS.items()}
    )
    best = np.array(stored["best_score"], dtype=float).astype(np.float32)
    position = np.array(stored["best_position"], dtype=np.int64)
    scores = RecordScores(stored["n_tiles"], stored["n_skipped"], best, position, sites)
    return StoredRecord(stored["name"], unpack_place(stored), scores)


def pack_counts(counts: np.ndarray) -> list[list[list[int]]]:
    """Return counts of p-values, int64 (k, bins), as the bins that are filled and their counts, for each track."""
    filled = [np.flatnonzero(row) for row in counts]
    return [[bins.tolist(), row[bins].tolist()] for bins, row in zip(filled, counts)]


def unpack_counts(stored: list[list[list[int]]], n_bins: int) -> np.ndarray:
    """Return counts that `pack_counts` packed; int64, shape (k, n_bins)."""
    counts = np.zeros((len(stored), n_bins), dtype=np.int64)
    for row, (bins, numbers) in zip(counts, stored):
        row[bins] = numbers
    return counts


def _save(path: str | PathLike, owner: list[int], parts: Sequence, **arrays: list[np.ndarray]) -> None:
    """Save arrays of parts, joined along their first axis, with the number of each part's record and its length."""
    joined = {name: np.concatenate(ones) if ones else np.empty(0) for name, ones in arrays.items()}
    joined |= {"owner": np.array(owner, dtype=np.int64), "lengths": np.array(list(map(len, parts)), dtype=np.int64)}
    with storage.atomic_write(path, "wb") as handle:
        np.savez(handle, **joined)


def _load(path: str | PathLike) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def save_profiles(path: str | PathLike, found: Sequence[RecordScores]) -> None:
    """Save the profiles of the records of a batch."""
    parts = [(i, profile) for i, scores in enumerate(found) for profile in scores.profiles]
    profiles = [profile for _, profile in parts]
    bounds, scores = [one.bounds for one in profiles], [one.scores for one in profiles]
    _save(path, [i for i, _ in parts], profiles, bounds=bounds, scores=scores)


def load_profiles(path: str | PathLike) -> Iterator[tuple[int, Profile]]:
    """Yield the number of a record in its batch, and one of its profiles."""
    stored = _load(path)
    first_bound = first_row = 0
    for owner, length in zip(stored["owner"].tolist(), stored["lengths"].tolist()):
        bounds = stored["bounds"][first_bound : first_bound + length + 1]
        yield owner, Profile(bounds, stored["scores"][first_row : first_row + length])
        first_bound, first_row = first_bound + length + 1, first_row + length


def save_tiles(path: str | PathLike, found: Sequence[RecordScores]) -> None:
    """Save the tiles of the records of a batch."""
    parts = [(i, tiles) for i, scores in enumerate(found) for tiles in scores.tiles]
    arrays = {name: [getattr(tiles, name) for _, tiles in parts] for name in ("starts", "ends", "logits")}
    _save(path, [i for i, _ in parts], [tiles for _, tiles in parts], **arrays)


def load_tiles(path: str | PathLike) -> tuple[np.ndarray, TileScores]:
    """Return the tiles of a batch, and the number of the record of each, int64, shape (n,)."""
    stored = _load(path)
    return np.repeat(stored["owner"], stored["lengths"]), TileScores(stored["starts"], stored["ends"], stored["logits"])


def save_heat(path: str | PathLike, found: Sequence[RecordScores]) -> None:
    """Save the cells of the records of a batch."""
    heats = [scores.heat for scores in found]
    cells, widths = [heat.scores for heat in heats], [np.array([heat.width]) for heat in heats]
    _save(path, list(range(len(heats))), cells, cells=cells, widths=widths)


def load_heat(path: str | PathLike) -> list[tuple[int, np.ndarray]]:
    """Return the width of the cells of each record of a batch, and their scores, float32, shape (n_cells, k)."""
    stored = _load(path)
    return list(zip(stored["widths"].tolist(), np.split(stored["cells"], np.cumsum(stored["lengths"])[:-1])))


def save_sequences(path: str | PathLike, batch: Sequence[Record]) -> None:
    """Save the sequences of the records of a batch."""
    letters = [np.frombuffer(record.sequence.encode("ascii"), dtype=np.uint8) for record in batch]
    _save(path, list(range(len(batch))), letters, letters=letters)


def load_sequences(path: str | PathLike) -> Iterator[str]:
    """Yield the sequence of each record of a batch."""
    stored = _load(path)
    letters, last = stored["letters"].tobytes().decode("ascii"), np.cumsum(stored["lengths"]).tolist()
    yield from (letters[start:end] for start, end in zip([0, *last], last))
