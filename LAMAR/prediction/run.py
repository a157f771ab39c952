"""Whole runs of prediction: records in; tables of sites and of records, and tracks, out, resumable in between."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..interpretation.run_record import RunRecord
from ..runs import RunFolder, storage
from ..runs.progress import Progress
from .background import Background, calibrate
from .calls import DiscoveryRates, PValueCounts
from .cores import BestSites, explain_sites
from .matrix_file import MATRIX_NAME, write_matrix
from .output_files import (
    BED_NAME,
    RECORDS_NAME,
    bed_columns,
    meaning_of,
    record_rows,
    remark_on_calls,
    remark_on_cores,
    site_lines,
)
from .predictor import Predictor, StoredRecord, TileScores
from .records import Place, Record
from .report import MOST_RECORDS, REPORT_NAME, Report
from .stored_records import (
    load_heat,
    load_profiles,
    load_sequences,
    load_tiles,
    pack_counts,
    pack_record,
    save_heat,
    save_profiles,
    save_sequences,
    save_tiles,
    unpack_counts,
    unpack_place,
    unpack_record,
)
from .tiling import Profile
from .track_files import require_bigwig, write_bedgraphs, write_bigwigs

__all__ = ["Outputs", "PredictionRun", "predict_records"]

logger = logging.getLogger(__name__)

BATCH_NUCLEOTIDES = 200_000  # of the records that are predicted and saved together


@dataclass(frozen=True)
class Outputs:
    """How sites are called, and what is written beside ``sites.bed``, ``records.csv`` and ``report.html``.

    Attributes
    ----------
    q : float
        Largest false discovery rate of a site. It has no meaning for a model without calibration, or where the
        predictor has ``top``: all sites that the predictor keeps are written then.
    family : str
        Tests that the rate refers to, of `LAMAR.prediction.families.FAMILIES`.
    bedgraph, bigwig : bool
        Write each track's mean logit along the records (`LAMAR.prediction.track_files`).
    matrix : bool
        Write the logits of all tiles (`LAMAR.prediction.matrix_file`).
    explain : int
        Number of sites, the best ones, whose cores are written (`LAMAR.prediction.cores`).
    sizes : mapping of int, optional
        Lengths of chromosomes by name, for bigWig files.
    notice : str
        What the head of ``sites.bed`` and of ``report.html`` says of demonstration data.
    """

    q: float = 0.05
    family: str = "track"
    bedgraph: bool = False
    bigwig: bool = False
    matrix: bool = False
    explain: int = 0
    sizes: Mapping[str, int] | None = None
    notice: str = ""


@dataclass(frozen=True)
class PredictionRun:
    """Outcome of `predict_records`.

    Attributes
    ----------
    n_records, n_nucleotides, n_tiles, n_skipped, n_sites : int
        Nucleotides in runs of N are skipped.
    sites_by_track : dict of int
        Number of sites by track.
    remarks : list of str
        What the scores mean, and how sites were called.
    """

    n_records: int
    n_nucleotides: int
    n_tiles: int
    n_skipped: int
    n_sites: int
    sites_by_track: dict[str, int]
    remarks: list[str] = field(default_factory=list)


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


def predict_records(
    records: Iterable[Record],
    predictor: Predictor,
    output_dir: str,
    record: RunRecord,
    outputs: Outputs | None = None,
    *,
    background: Background | None = None,
    n_nucleotides: int | None = None,
) -> PredictionRun:
    """Predict records and write ``sites.bed``, ``records.csv``, ``report.html`` and what ``outputs`` asks for.

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
    outputs : Outputs, optional
    background : Background, optional
        What to calibrate the predictor on before anything is predicted.
    n_nucleotides : int, optional
        Of all records, for the time that is left.

    Raises
    ------
    InputError
        Records that cannot be read; the folder holds another run; or a package is missing.
    """
    outputs = outputs or Outputs()
    if outputs.bigwig:
        require_bigwig()
    with record.open(output_dir) as run:
        if background is not None:
            calibrate(run, predictor, background)
        batches = _Batches(run, predictor, outputs)
        counts, totals = PValueCounts(len(predictor.names)), np.zeros(4, dtype=np.int64)
        with Progress(n_nucleotides, "nt", "predicting") as progress:
            for batch in _batches(records):
                size = sum(len(r.sequence) for r in batch)
                unit = batches.finish(batch, progress)
                counts.counts += unpack_counts(unit["p_counts"], counts.counts.shape[1])
                totals += [len(batch), size, unit["n_tiles"], unit["n_skipped"]]
        model_name = Path((record.weights or {}).get("model_path", "the model")).name
        outcome = _write(batches, counts.rates(outputs.family), [int(value) for value in totals], model_name)
        summary = {"records": outcome.n_records, "tiles": outcome.n_tiles, "sites": outcome.n_sites}
        run.finish(summary | {"remarks": outcome.remarks})
    return outcome


class _Batches:
    """The batches of a run: predicted once, saved, and read again when the results are written."""

    def __init__(self, run: RunFolder, predictor: Predictor, outputs: Outputs):
        self.run, self.predictor, self.outputs = run, predictor, outputs
        self.n = self.n_records = 0
        kinds = (("profiles", outputs.bedgraph or outputs.bigwig), ("tiles", outputs.matrix), ("heat", True))
        kinds += (("sequences", outputs.explain > 0),)
        self._folders = {kind: run.folder(kind, is_work=True) for kind, is_kept in kinds if is_kept}

    @staticmethod
    def _name(number: int) -> str:
        return f"batch_{number:06d}"

    def _file(self, kind: str, number: int) -> Path:
        return self._folders[kind] / f"{self._name(number)}.npz"

    def finish(self, batch: list[Record], progress: Progress) -> dict:
        """Return the unit of the next batch, predicted now or by an earlier start."""
        number, self.n = self.n, self.n + 1
        kinds = [kind for kind in self._folders if kind != "heat" or self.n_records < MOST_RECORDS]
        self.n_records += len(batch)
        if (earlier := self._find(number)) is not None:
            progress.skip(sum(len(record.sequence) for record in batch))
            return earlier
        predictor, kept = self.predictor, {f"keep_{kind}": True for kind in kinds if kind != "sequences"}
        predictor.p_counts = PValueCounts(len(predictor.names))
        found = [predictor.predict(record, progress=progress, **kept) for record in batch]
        for kind, save in (("profiles", save_profiles), ("tiles", save_tiles), ("heat", save_heat)):
            if kind in kinds:
                save(self._file(kind, number), found)
        if "sequences" in kinds:
            save_sequences(self._file("sequences", number), batch)
        return self.run.save_unit(
            self._name(number),
            {
                "records": [pack_record(record, scores) for record, scores in zip(batch, found)],
                "n_tiles": sum(scores.n_tiles for scores in found),
                "n_skipped": sum(scores.n_skipped for scores in found),
                "p_counts": pack_counts(predictor.p_counts.counts),
                "sha256": {kind: storage.sha256_file(self._file(kind, number)) for kind in kinds},
            },
        )

    def _find(self, number: int) -> dict | None:
        """Return the unit of a batch that an earlier start finished, with undamaged files; None without one."""
        unit = self.run.find_unit(self._name(number))
        if unit is None:
            return None
        for kind, digest in unit["sha256"].items():
            file = self._file(kind, number)
            if not storage.is_intact(file, digest):
                logger.warning("%s: missing or damaged, computed again", file)
                return None
        return unit

    @property
    def calls_by_q(self) -> bool:
        """Return whether sites are called by their false discovery rate."""
        return self.predictor.calibration is not None and self.predictor.top is None

    def units(self) -> Iterator[tuple[int, list[dict]]]:
        """Yield the number and the records, as they are stored, of each batch."""
        for number in range(self.n):
            yield number, self.run.load_unit(self._name(number))["records"]

    def records(self, rates: DiscoveryRates) -> Iterator[StoredRecord]:
        """Yield the records with the sites that are called, and the heat of the first ones."""
        for number, stored in self.units():
            file = self._file("heat", number)
            heats = load_heat(file) if file.is_file() else [None] * len(stored)
            for one, heat in zip(stored, heats):
                found = replace(unpack_record(one), heat=heat)
                if self.calls_by_q:
                    sites = found.scores.sites
                    found.scores.sites = sites.take(rates.q_values(sites.track, sites.p) <= self.outputs.q)
                yield found

    def sequences(self) -> Iterator[str]:
        """Yield the sequences of the records."""
        for number in range(self.n):
            yield from load_sequences(self._file("sequences", number))

    def profiles(self) -> Iterator[tuple[Place, Profile]]:
        """Yield the parts of the records, where they lie, and their scores."""
        for number, stored in self.units():
            places = [unpack_place(one) for one in stored]
            for owner, profile in load_profiles(self._file("profiles", number)):
                yield places[owner], profile

    def tiles(self) -> Iterator[tuple[list[str], TileScores]]:
        """Yield the names of the records of the tiles of each batch, and the tiles."""
        for number, stored in self.units():
            names = [one["name"] for one in stored]
            owner, tiles = load_tiles(self._file("tiles", number))
            if len(tiles):
                yield [names[i] for i in owner.tolist()], tiles


def _cores(batches: _Batches, rates: DiscoveryRates) -> dict[int, dict]:
    """Return the cores of the best sites by the number of their record, then by track and start."""
    best = BestSites(batches.outputs.explain)
    for stored in batches.records(rates):
        best.add(stored.scores.sites)
    found: dict[int, dict] = {}
    cores = explain_sites(batches.run, batches.predictor, best.chosen(), batches.sequences())
    for (record, track, start), core in cores.items():
        found.setdefault(record, {})[track, start] = core
    return found


def _write(batches: _Batches, rates: DiscoveryRates, totals: list[int], model_name: str) -> PredictionRun:
    run, predictor, outputs = batches.run, batches.predictor, batches.outputs
    by_track = np.zeros(len(predictor.names), dtype=np.int64)
    remarks = [meaning_of(predictor.calibration, outputs.family)]
    remarks += [remark_on_calls(rates, outputs.q)] if batches.calls_by_q else []
    cores = _cores(batches, rates) if outputs.explain else {}
    remarks += [remark_on_cores(sum(map(len, cores.values())))] if outputs.explain else []
    report = Report(predictor, rates, totals[0])
    with storage.atomic_write(run.file(BED_NAME)) as handle:
        header = [outputs.notice, *remarks] if outputs.notice else remarks
        handle.writelines(f"# {' '.join(text.split())}\n" for text in header)
        handle.write("#" + "\t".join(bed_columns(predictor, outputs.explain > 0)) + "\n")

        def rows() -> Iterator[dict]:
            # Tables and page from one pass over the saved batches.
            for number, stored in enumerate(batches.records(rates)):
                by_track[:] += np.bincount(stored.scores.sites.track, minlength=len(by_track))
                stored.cores = cores.get(number, {})
                report.add(stored)
                handle.writelines(site_lines(stored, predictor, rates, outputs.explain > 0))
                yield from record_rows(stored, predictor, rates)

        storage.write_csv(run.file(RECORDS_NAME), rows())
    with storage.atomic_write(run.file(REPORT_NAME)) as handle:
        handle.write(report.page(model_name, totals[1], remarks, outputs.notice))
    if outputs.bedgraph:
        write_bedgraphs(run.folder("tracks"), predictor.names, batches.profiles)
    if outputs.bigwig:
        write_bigwigs(run.folder("tracks"), predictor.names, batches.profiles, outputs.sizes)
    if outputs.matrix:
        write_matrix(run.file(MATRIX_NAME), predictor.names, batches.tiles(), "logit of each tile and track")
    names = predictor.names
    return PredictionRun(*totals, int(by_track.sum()), dict(zip(names, by_track.tolist())), remarks)
