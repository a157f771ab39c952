"""The tracks of a model along one record: candidates for sites, best scores, and how often p-values occur."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..errors import InputError, similar
from ..runs.progress import Progress
from ..statistics.calibration import Calibration
from .calls import PValueCounts, local_maxima
from .heat import HeatCells
from .records import Place, Record
from .scanning import ScannedPiece, ScanOptions, positive_columns, scan_record, tile_length
from .tiling import Profile

__all__ = [
    "SITE_WIDTH",
    "Core",
    "Predictor",
    "RecordScores",
    "SiteTable",
    "StoredRecord",
    "TileScores",
    "choose_tracks",
]

SITE_WIDTH = 30  # a window's label is that of its middle 30 nt (`LAMAR.genomics.track_windows`)


@dataclass
class SiteTable:
    """Candidates for sites of one record; arrays of one length, ordered by position, then by track.

    Attributes
    ----------
    track : numpy.ndarray of int64
        Column of the scores.
    start, end : numpy.ndarray of int64
        0-based, half-open, in the record.
    score : numpy.ndarray of float32
        Mean logit at the site.
    p : numpy.ndarray of float64
        p-value; NaN without calibration.
    """

    track: np.ndarray
    start: np.ndarray
    end: np.ndarray
    score: np.ndarray
    p: np.ndarray

    def __len__(self) -> int:
        return len(self.track)

    def take(self, rows: np.ndarray) -> SiteTable:
        """Return the sites at ``rows``, an index or a mask."""
        return SiteTable(*(values[rows] for values in vars(self).values()))

    @classmethod
    def joined(cls, tables: Sequence[SiteTable]) -> SiteTable:
        """Return the sites of several tables, one after the other."""
        if not tables:
            whole, real = np.empty(0, dtype=np.int64), np.empty(0)
            return cls(whole, whole, whole, real.astype(np.float32), real)
        return cls(*map(np.concatenate, zip(*(vars(table).values() for table in tables))))


@dataclass(frozen=True, eq=False)
class TileScores:
    """Logits of tiles.

    Attributes
    ----------
    starts, ends : numpy.ndarray of int64, shape (n,)
        0-based, half-open, in the record.
    logits : numpy.ndarray of float32, shape (n, k)
    """

    starts: np.ndarray
    ends: np.ndarray
    logits: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)


@dataclass
class RecordScores:
    """What is kept of a record.

    Attributes
    ----------
    n_tiles, n_skipped : int
        Tiles that were predicted, and nucleotides in runs of N, which were not.
    best_score : numpy.ndarray of float32, shape (k,)
        Highest score of each track; NaN where nothing was predicted.
    best_position : numpy.ndarray of int64, shape (k,)
        Middle of the first interval with it, 0-based; -1 where nothing was predicted.
    sites : SiteTable
    profiles : list of Profile
        Scores along the record, if they are kept.
    tiles : list of TileScores
        Scores of its tiles, if they are kept.
    heat : HeatCells or None
        Highest scores in cells along the record, if they are kept.
    """

    n_tiles: int
    n_skipped: int
    best_score: np.ndarray
    best_position: np.ndarray
    sites: SiteTable
    profiles: list[Profile] = field(default_factory=list)
    tiles: list[TileScores] = field(default_factory=list)
    heat: HeatCells | None = None


@dataclass(frozen=True)
class Core:
    """The stretch that a site's score rests on (`LAMAR.prediction.cores`).

    Attributes
    ----------
    start, end : int
        0-based, half-open, in the record.
    sequence : str
    importance : float
        Mean loss of the score by a substitution of one of its nucleotides, in logits.
    """

    start: int
    end: int
    sequence: str
    importance: float


@dataclass
class StoredRecord:
    """A record's scores without its sequence.

    Attributes
    ----------
    name, place, scores
    heat : (int, numpy.ndarray of float32, shape (n_cells, k)) or None
        Width and scores of the cells (`LAMAR.prediction.heat.HeatCells`) of a record that is drawn.
    cores : dict of Core or None
        Of the sites that were explained, by track and start; None where no stretch stands out.
    """

    name: str
    place: Place
    scores: RecordScores
    heat: tuple[int, np.ndarray] | None = None
    cores: dict[tuple[int, int], Core | None] = field(default_factory=dict)


def choose_tracks(names: Sequence[str], wanted: Sequence[str] | None) -> np.ndarray:
    """Return the columns of tracks that are named, or all; int64, ascending.

    Parameters
    ----------
    names : sequence of str
        The model's tracks, such as ``QKI_K562``.
    wanted : sequence of str, optional
        Tracks, or RBPs, which stand for their tracks in all cell lines. Case does not matter.

    Raises
    ------
    InputError
        A name that is neither.
    """
    if not wanted:
        return np.arange(len(names))
    chosen: set[int] = set()
    for name in wanted:
        low = name.lower()
        found = [i for i, track in enumerate(names) if low in (track.lower(), track.lower().rpartition("_")[0])]
        if not found:
            raise InputError(f"`rbps`: found {name!r}, wanted an RBP or a track of the model{similar(name, names)}")
        chosen.update(found)
    return np.array(sorted(chosen), dtype=np.int64)


class Predictor:
    """A model, the tracks that are asked for, and how records are tiled.

    Parameters
    ----------
    model : torch.nn.Module
        Model of `LAMAR.interpretation.classifiers.load_classifier`.
    rbps : sequence of str, optional
        See `choose_tracks`.
    tile, stride : int, optional
        Length of a tile, by default that of the model's training windows; distance of two tiles, by default a quarter.
    prior : float, optional
        Sites per background window that probabilities assume; None keeps the calibration's.
    max_p : float
        Sites with a larger p-value are not kept.
    top : int, optional
        Keep this many sites of each track and record at most, those with the highest scores.
    device, token_budget, bf16
        See `LAMAR.prediction.scanning`.

    Attributes
    ----------
    names : list of str, length k
    calibration : Calibration or None
        Of the k tracks, at the prior.
    p_counts : PValueCounts
        Of all tiles that were tested, at their middle.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        rbps: Sequence[str] | None = None,
        tile: int | None = None,
        stride: int | None = None,
        prior: float | None = None,
        max_p: float = 0.05,
        top: int | None = None,
        device: str | torch.device | None = None,
        token_budget: int | None = None,
        bf16: bool = False,
    ):
        names, _, _ = positive_columns(model)
        self.model, self.device = model, device
        self.columns = choose_tracks(names, rbps)
        self.names = [names[column] for column in self.columns]
        tile = tile_length(model) if tile is None else tile
        stride = max(tile // 4, 1) if stride is None else stride
        # Half a tile: two maxima that are nearer share most of what they were predicted from.
        self.distance = tile // 2
        self.options = ScanOptions(tile, stride, margin=self.distance + stride, token_budget=token_budget, bf16=bf16)
        self.calibration: Calibration | None = getattr(model, "calibration", None)
        if self.calibration is not None:
            self.calibration = self.calibration.take(self.columns)
            self.calibration = self.calibration if prior is None else self.calibration.at_prior(prior)
        elif prior is not None:
            raise InputError("`prior`: given, but the model has no calibration.json")
        self.max_p, self.top = max_p, top
        self.p_counts = PValueCounts(len(self.names))

    def predict(
        self,
        record: Record,
        keep_profiles: bool = False,
        keep_tiles: bool = False,
        keep_heat: bool = False,
        progress: Progress | None = None,
    ) -> RecordScores:
        """Return the scores of a record; its tiles are added to `p_counts`, and its nucleotides to ``progress``."""
        n_tiles, n_covered, tables, profiles, tiles = 0, 0, [], [], []
        heat = HeatCells(len(record.sequence), len(self.names), self.options.stride) if keep_heat else None
        best = np.full(len(self.names), -np.inf, dtype=np.float32)
        position = np.full(len(self.names), -1, dtype=np.int64)
        for part in scan_record(self.model, record.sequence, self.options, self.columns, self.device):
            core = part.profile.cut(part.piece.start, part.piece.end)
            n_covered += part.piece.end - part.piece.start
            answered = part.answered()
            n_tiles += int(answered.sum())
            self._count(part, core, answered)
            row = core.scores.argmax(axis=0)
            highest = core.scores[row, np.arange(len(best))]
            middle = (core.bounds[row] + core.bounds[row + 1]) // 2
            position = np.where(highest > best, middle, position)
            best = np.maximum(best, highest)
            tables.append(self._sites(part, len(record.sequence)))
            if self.top is not None:  # else the maxima of a long record fill the memory
                tables = [self._highest(SiteTable.joined(tables))]
            if progress is not None:
                progress.advance(part.piece.end - part.piece.start)
            if heat is not None:
                heat.add(core)
            if keep_profiles:
                profiles.append(core)
            if keep_tiles:
                piece = part.piece
                tiles.append(TileScores(piece.starts[answered], piece.ends[answered], part.logits[answered]))
        sites = SiteTable.joined(tables)
        best[position < 0] = np.nan
        if progress is not None:
            progress.advance(len(record.sequence) - n_covered)
        return RecordScores(n_tiles, len(record.sequence) - n_covered, best, position, sites, profiles, tiles, heat)

    def p_values(self, tracks: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return the p-value of each score, shape (n,), of its track, a column, int64 (n,); NaN without calibration."""
        return (
            np.full(len(scores), np.nan) if self.calibration is None else self.calibration.p_values_at(tracks, scores)
        )

    def _count(self, part: ScannedPiece, core: Profile, answered: np.ndarray) -> None:
        """Count the p-values at the middles of the tiles that the piece answers for."""
        if self.calibration is not None and answered.any():
            self.p_counts.add(self.calibration.p_values(core.at(part.middles()[answered])))

    def _sites(self, part: ScannedPiece, length: int) -> SiteTable:
        """Return the local maxima in a piece whose p-value is small enough."""
        intervals, tracks = local_maxima(part.profile, self.distance)
        bounds = part.profile.bounds
        middle = (bounds[intervals] + bounds[intervals + 1]) // 2
        score = part.profile.scores[intervals, tracks]
        p = self.p_values(tracks, score)
        start = np.clip(middle - SITE_WIDTH // 2, 0, max(length - SITE_WIDTH, 0))
        sites = SiteTable(tracks, start, np.minimum(start + SITE_WIDTH, length), score, p)
        return sites.take((part.piece.start <= middle) & (middle < part.piece.end) & ~(p > self.max_p))

    def _highest(self, sites: SiteTable) -> SiteTable:
        """Return the ``top`` sites of each track."""
        order = np.lexsort((sites.start, -sites.score, sites.track))
        tracks = sites.track[order]
        first = np.searchsorted(tracks, tracks)  # of each track's run
        kept = order[np.arange(len(order)) - first < self.top]
        return sites.take(np.sort(kept))
