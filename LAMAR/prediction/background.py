"""How often the tracks of a model score high along sequences where nothing is known to bind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.sequences import read_fasta
from ..data.track_calibration import read_calibration, write_calibration
from ..errors import InputError
from ..runs import RunFolder, storage
from ..runs.checkpoint_folders import CALIBRATION
from ..runs.progress import Progress
from ..statistics.calibration import Calibration, background_calibration
from .predictor import Predictor
from .scanning import ScannedPiece, scan_record

__all__ = ["MIN_TILES", "Background", "calibrate"]

logger = logging.getLogger(__name__)

MIN_TILES = 200  # of which the tail, a twentieth, has enough to be fitted
FEW_TILES = 10_000  # a quarter of a million nucleotides at the default stride
MAX_TILES = 100_000  # drawn of all; 100 MB for 244 tracks
_UNIT = "calibration"


@dataclass(frozen=True)
class Background:
    """Sequences to calibrate a model on, or the calibration that an earlier run made.

    Attributes
    ----------
    path : Path
        FASTA file, or ``calibration.json`` of a run.
    is_single : bool
        Calibrate single tiles, as variants are scored, instead of means over the tiles that cover a nucleotide.
    """

    path: Path
    is_single: bool = False

    @property
    def is_calibration(self) -> bool:
        """Return whether the path is that of a calibration."""
        return self.path.suffix == ".json"


class _Sample:
    """A random sample of rows, the same in every run, however many there are."""

    def __init__(self, most: int):
        self._rng, self._most, self.n_seen = np.random.default_rng(0), most, 0
        self._keys: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []
        self._n = 0

    def add(self, rows: np.ndarray) -> None:
        """Add rows; those with the smallest of random keys stay."""
        self.n_seen += len(rows)
        self._n += len(rows)
        self._keys.append(self._rng.random(len(rows)))
        self._rows.append(rows)
        if self._n > 2 * self._most:
            self._shrink()

    def _shrink(self) -> None:
        keys, rows = np.concatenate(self._keys), np.concatenate(self._rows)
        if len(rows) > self._most:
            kept = np.sort(np.argpartition(keys, self._most)[: self._most])
            keys, rows = keys[kept], rows[kept]
        self._keys, self._rows, self._n = [keys], [rows], len(rows)

    def rows(self) -> np.ndarray:
        """Return the sample, shape (n, k), in the order in which it came."""
        self._shrink()
        return self._rows[0]


def calibrate(run: RunFolder, predictor: Predictor, background: Background) -> None:
    """Give a predictor the background distribution of sequences, and write it to ``calibration.json`` of the run.

    Scores are those that a prediction tests: at the middle of each tile, `MAX_TILES` of them at most. The model keeps
    the probabilities that it has; one that has none gets none, since sequences without labels say nothing about them.

    Parameters
    ----------
    run : RunFolder
        An interrupted run does not compute a calibration again that is saved.
    predictor : Predictor
        Its ``calibration`` is changed.
    background : Background

    Raises
    ------
    InputError
        Sequences that cannot be read or have less than `MIN_TILES` tiles, or a calibration of other tracks.
    """
    path = run.file(CALIBRATION)
    unit = run.find_unit(_UNIT)
    if unit is None or not storage.is_intact(path, unit["sha256"]):
        made = _read(predictor, background) if background.is_calibration else _scan(predictor, background)
        write_calibration(path, made if predictor.calibration is None else predictor.calibration.with_background(made))
        run.save_unit(_UNIT, {"sha256": storage.sha256_file(path)})
    # Read in any case: numbers are rounded in the file, and the next start has those.
    predictor.calibration = read_calibration(path, predictor.names)


def _read(predictor: Predictor, background: Background) -> Calibration:
    calibration = read_calibration(background.path)
    missing = [name for name in predictor.names if name not in calibration.names]
    if missing:
        raise InputError(f"`calibrate_on`: {background.path}: found no track {missing[0]}, wanted those of the model")
    return calibration.take(np.array([calibration.names.index(name) for name in predictor.names]))


def _scan(predictor: Predictor, background: Background) -> Calibration:
    score_of: Callable[[ScannedPiece], np.ndarray] = _single_tiles if background.is_single else _means
    sample = _Sample(MAX_TILES)
    for scores in _scores(predictor, background.path, score_of):
        sample.add(scores)
    if sample.n_seen < MIN_TILES:
        found = f"found {sample.n_seen} tiles of {predictor.options.tile} nt"
        raise InputError(f"`calibrate_on`: {background.path}: {found}, wanted {MIN_TILES} or more")
    rows = sample.rows()
    logger.info("calibrated on %s of %s tiles of %s", f"{len(rows):,}", f"{sample.n_seen:,}", background.path)
    if sample.n_seen < FEW_TILES:
        logger.warning(
            "`calibrate_on`: %s: found %s tiles, fewer than %s: small p-values are extrapolated, and sequences differ "
            "more from each other than so few can show",
            background.path, f"{sample.n_seen:,}", f"{FEW_TILES:,}",
        )  # fmt: skip
    overlap = 1 if background.is_single else predictor.options.stride / predictor.options.tile
    return background_calibration(rows, predictor.names, max(int(len(rows) * overlap), 1))


def _scores(predictor: Predictor, path: Path, score_of: Callable[[ScannedPiece], np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the scores of the tiles of a FASTA file; float32, shape (n, k)."""
    total = sum(len(sequence) for _, sequence in read_fasta(path))
    with Progress(total, "nt", "calibrating") as progress:
        for _, sequence in read_fasta(path):
            for part in scan_record(predictor.model, sequence, predictor.options, predictor.columns, predictor.device):
                progress.advance(part.piece.end - part.piece.start)
                if part.answered().any():
                    yield score_of(part)


def _means(part: ScannedPiece) -> np.ndarray:
    return part.profile.at(part.middles()[part.answered()])


def _single_tiles(part: ScannedPiece) -> np.ndarray:
    return part.logits[part.answered()]
