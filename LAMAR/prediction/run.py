"""Whole runs of prediction: records in; tables of sites and of records, and tracks, out, resumable in between."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from ..interpretation.run_record import RunRecord
from ..runs import RunFolder, storage
from .calls import PValueCounts
from .output_files import BED_NAME, MEANING, RECORDS_NAME, bed_columns, bedgraph_lines, record_rows, site_lines
from .predictor import Predictor, RecordScores, SiteTable, StoredRecord
from .records import Place, Record
from .tiling import Profile

__all__ = ["PredictionRun", "predict_records"]

logger = logging.getLogger(__name__)

BATCH_NUCLEOTIDES = 200_000  # of the records that are predicted and saved together
_PROFILES = "profiles"
_OPEN_FILES = 200  # written at once; systems allow a process 1,024 or 256


@dataclass(frozen=True)
class PredictionRun:
    """Outcome of `predict_records`.

    Attributes
    ----------
    n_records, n_nucleotides, n_tiles, n_skipped, n_sites : int
        Nucleotides in runs of N are skipped.
    sites_by_track : dict of int
        Number of sites by track.
    """

    n_records: int
    n_nucleotides: int
    n_tiles: int
    n_skipped: int
    n_sites: int
    sites_by_track: dict[str, int]


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Yield the records in groups of `BATCH_NUCLEOTIDES`, or one longer record."""
    group, size = [], 0
    for record in records:
        if group and size + len(record.sequence) > BATCH_NUCLEOTIDES:
            yield group
            group, size = [], 0
        group.append(record)
        size += len(record.sequence)
    if group:
        yield group


def _packed(record: Record, scores: RecordScores) -> dict:
    """Return what is stored of a record, ready for JSON."""
    place, sites = record.place, scores.sites
    return {
        "name": record.name,
        "place": [place.chrom, place.strand, list(place.starts), list(place.ends)],
        "n_tiles": scores.n_tiles,
        "n_skipped": scores.n_skipped,
        "best_score": scores.best_score.tolist(),
        "best_position": scores.best_position.tolist(),
        "sites": {name: values.tolist() for name, values in vars(sites).items()},
    }


def _place(stored: dict) -> Place:
    chrom, strand, starts, ends = stored["place"]
    return Place(chrom, strand, tuple(starts), tuple(ends))


def _unpacked(stored: dict) -> StoredRecord:
    kinds = {"track": np.int64, "start": np.int64, "end": np.int64, "score": np.float32, "p": np.float64}
    # JSON has no NaN: a value that is missing is None.
    sites = SiteTable(
        **{name: np.array(stored["sites"][name], dtype=float).astype(kind) for name, kind in kinds.items()}
    )
    best = np.array(stored["best_score"], dtype=float).astype(np.float32)
    position = np.array(stored["best_position"], dtype=np.int64)
    scores = RecordScores(stored["n_tiles"], stored["n_skipped"], best, position, sites)
    return StoredRecord(stored["name"], _place(stored), scores)


def predict_records(
    records: Iterable[Record],
    predictor: Predictor,
    output_dir: str,
    record: RunRecord,
    *,
    q: float = 0.05,
    bedgraph: bool = False,
    notice: str = "",
    progress: bool = False,
) -> PredictionRun:
    """Predict records and write ``sites.bed``, ``records.csv`` and, on request, ``tracks/TRACK.bedgraph``.

    Records are read, predicted and saved in batches, which a later start of the same run does not predict again; memory
    does not grow with their number. Sites are called at the end, when all p-values are known.

    Parameters
    ----------
    records : iterable of Record
        Names differ.
    predictor : Predictor
    output_dir : path
    record : RunRecord
        What ``run.json`` records.
    q : float
        Largest false discovery rate of a site, over all tiles and tracks of the run. It has no meaning for a model
        without calibration, or with ``predictor.top``: all sites that the predictor keeps are written then.
    bedgraph : bool
        Write each track's mean logit along the records.
    notice : str
        What the head of ``sites.bed`` says of demonstration data.
    progress : bool
        Show a bar of nucleotides.

    Raises
    ------
    InputError
        Records that cannot be read; or the folder holds another run.
    """
    from tqdm.auto import tqdm

    with record.open(output_dir) as run:
        n_batches = 0
        counts, totals = PValueCounts(), np.zeros(4, dtype=np.int64)
        with tqdm(unit="nt", unit_scale=True, disable=not progress, leave=False) as bar:
            for batch in _batches(records):
                unit = _finish_batch(batch, n_batches, predictor, run, bedgraph)
                counts.counts += _expanded(unit["p_counts"])
                totals += [len(batch), sum(len(r.sequence) for r in batch), unit["n_tiles"], unit["n_skipped"]]
                n_batches += 1
                bar.update(sum(len(r.sequence) for r in batch))
        calls_by_q = predictor.calibration is not None and predictor.top is None
        finished = _Finished(run, n_batches, predictor, counts, q if calls_by_q else None)
        outcome = _write(finished, [int(value) for value in totals], bedgraph, notice)
        run.finish({"records": outcome.n_records, "tiles": outcome.n_tiles, "sites": outcome.n_sites})
    return outcome


def _unit_name(number: int) -> str:
    return f"batch_{number:06d}"


def _profile_file(run: RunFolder, number: int):
    return run.folder(_PROFILES, is_work=True) / f"{_unit_name(number)}.npz"


def _finish_batch(batch: list[Record], number: int, predictor: Predictor, run: RunFolder, bedgraph: bool) -> dict:
    """Return the unit of a batch, predicted now or by an earlier start."""
    name = _unit_name(number)
    if (earlier := run.find_unit(name)) is not None:
        return earlier
    predictor.p_counts = PValueCounts()
    found = [predictor.predict(record, keep_profiles=bedgraph) for record in batch]
    if bedgraph:
        profiles = [profile for scores in found for profile in scores.profiles]
        owner = [i for i, scores in enumerate(found) for _ in scores.profiles]
        _save_profiles(_profile_file(run, number), profiles, owner)
    counts = predictor.p_counts.counts
    filled = np.flatnonzero(counts)
    return run.save_unit(
        name,
        {
            "records": [_packed(record, scores) for record, scores in zip(batch, found)],
            "n_tiles": sum(scores.n_tiles for scores in found),
            "n_skipped": sum(scores.n_skipped for scores in found),
            "p_counts": [filled.tolist(), counts[filled].tolist()],
        },
    )


def _expanded(sparse: list[list[int]]) -> np.ndarray:
    counts = PValueCounts().counts
    counts[sparse[0]] = sparse[1]
    return counts


def _save_profiles(path, profiles: list[Profile], owner: list[int]) -> None:
    lengths = np.array([len(profile) for profile in profiles], dtype=np.int64)
    arrays = {
        "owner": np.array(owner, dtype=np.int64),
        "lengths": lengths,
        "bounds": np.concatenate([profile.bounds for profile in profiles] or [lengths]),
        "scores": np.concatenate([profile.scores for profile in profiles] or [np.empty((0, 0), dtype=np.float32)]),
    }
    with storage.atomic_write(path, "wb") as handle:
        np.savez(handle, **arrays)


def _load_profiles(path) -> Iterator[tuple[int, Profile]]:
    """Yield the number of a record in its batch, and one of its profiles."""
    with np.load(path, allow_pickle=False) as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    first_bound = first_row = 0
    for owner, length in zip(stored["owner"].tolist(), stored["lengths"].tolist()):
        bounds = stored["bounds"][first_bound : first_bound + length + 1]
        yield owner, Profile(bounds, stored["scores"][first_row : first_row + length])
        first_bound, first_row = first_bound + length + 1, first_row + length


@dataclass
class _Finished:
    """A run whose batches are all saved; ``q`` is None where sites are not called by their false discovery rate."""

    run: RunFolder
    n_batches: int
    predictor: Predictor
    counts: PValueCounts
    q: float | None

    def records(self) -> Iterator[StoredRecord]:
        """Yield the records with the sites that are called."""
        for number in range(self.n_batches):
            for stored in self.run.load_unit(_unit_name(number))["records"]:
                found = _unpacked(stored)
                if self.q is not None:
                    sites = found.scores.sites
                    found.scores.sites = sites.take(self.counts.q_values(sites.p) <= self.q)
                yield found


def _write(finished: _Finished, totals: list[int], bedgraph: bool, notice: str) -> PredictionRun:
    run, predictor = finished.run, finished.predictor
    by_track = np.zeros(len(predictor.names), dtype=np.int64)

    def lines() -> Iterator[str]:
        for stored in finished.records():
            by_track[:] += np.bincount(stored.scores.sites.track, minlength=len(by_track))
            yield from site_lines(stored, predictor, finished.counts)

    header = [notice] if notice else []
    header += [MEANING if predictor.calibration is not None else "The model has no calibration: scores are logits."]
    if finished.q is not None:
        header.append(
            f"Sites with a false discovery rate of {finished.q:g} or less over {finished.counts.total:,} tests."
        )
    with storage.atomic_write(run.file(BED_NAME)) as handle:
        handle.writelines(f"# {' '.join(text.split())}\n" for text in header)
        handle.write("#" + "\t".join(bed_columns(predictor)) + "\n")
        handle.writelines(lines())
    rows = (row for stored in finished.records() for row in record_rows(stored, predictor, finished.counts))
    storage.write_csv(run.file(RECORDS_NAME), rows)
    if bedgraph:
        _write_bedgraphs(finished)
    names = predictor.names
    return PredictionRun(*totals, int(by_track.sum()), dict(zip(names, by_track.tolist())))


def _write_bedgraphs(finished: _Finished) -> None:
    """Write one file per track, from the saved profiles."""
    run, names = finished.run, finished.predictor.names
    folder = run.folder("tracks")
    for first in range(0, len(names), _OPEN_FILES):
        columns = range(first, min(first + _OPEN_FILES, len(names)))
        with ExitStack() as stack:
            handles = [stack.enter_context(storage.atomic_write(folder / f"{names[j]}.bedgraph")) for j in columns]
            for column, handle in zip(columns, handles):
                handle.write(f'track type=bedGraph name="{names[column]}" description="mean logit"\n')
            for number in range(finished.n_batches):
                places = [_place(stored) for stored in run.load_unit(_unit_name(number))["records"]]
                for owner, profile in _load_profiles(_profile_file(run, number)):
                    for column, handle in zip(columns, handles):
                        handle.writelines(bedgraph_lines(places[owner], profile, column))
