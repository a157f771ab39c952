"""Windows labelled for many tracks as the joint training takes them: token ids, dense labels, batches."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from ..alphabet import PAD
from ..batches import EncodedSequences
from ..data.tracks import TRACKS, WINDOWS, TrackSet, read_track_set
from ..errors import InputError, similar
from ..statistics.track_metrics import UNKNOWN

__all__ = ["JointData", "WindowOrder", "prepare_joint_data", "read_joint_data", "subsample_rows"]

logger = logging.getLogger(__name__)

GROUP = 32  # batches that are drawn together and then sorted by length


@dataclass(frozen=True, eq=False)
class JointData:
    """Train and dev windows with labels of the tracks that are trained.

    Attributes
    ----------
    tracks : pandas.DataFrame, k rows
        track, target, cell and the other columns of ``tracks.tsv``, in the order of the model's outputs.
    input_ids : numpy.ndarray of uint8, shape (n, window_length + 2)
        Token ids with ``<cls>`` and ``<eos>``, padded to the longest window.
    labels : numpy.ndarray of int8, shape (n, k)
        1 bound, 0 not bound, `LAMAR.statistics.track_metrics.UNKNOWN`.
    train, dev : numpy.ndarray of int64, shape (m,)
        Rows of each part, ascending.
    is_background : numpy.ndarray of bool, shape (n,)
        Windows that no track binds, drawn from transcripts or genes.
    counts : dict of int
        Windows and tracks that were used and left out.
    """

    tracks: pd.DataFrame
    input_ids: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    dev: np.ndarray
    is_background: np.ndarray
    counts: dict[str, int]

    @property
    def names(self) -> list[str]:
        """Return the names of the tracks, in the order of the model's outputs."""
        return self.tracks["track"].tolist()

    @property
    def window_length(self) -> int:
        """Return the number of nucleotides of the longest window."""
        return self.input_ids.shape[1] - 2

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Return the number of tokens of each window, special ones included; int64, shape (m,)."""
        return (self.input_ids[rows] != PAD).sum(axis=1)

    def encoded(self, rows: np.ndarray) -> EncodedSequences:
        """Return the token ids of the windows at ``rows`` without padding, for `LAMAR.batches.batched`."""
        ids = self.input_ids[rows]
        return EncodedSequences(ids[ids != PAD], np.append(0, np.cumsum(self.lengths(rows))))

    def track_counts(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of bound windows and of unbound ones of each track among ``rows``; int64, shape (k,)."""
        chosen = self.labels[rows]
        return (chosen == 1).sum(axis=0), (chosen == 0).sum(axis=0)


def read_joint_data(
    folder: str | PathLike, hold_out: Sequence[str] = (), min_sites: int = 1
) -> tuple[JointData, list[Path]]:
    """Read a folder that ``make_track_dataset.py`` wrote, and prepare it as `prepare_joint_data` does.

    Returns
    -------
    data : JointData
    files : list of Path
        Files that the data were read from.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"`data_path`: found {folder}, wanted a folder with {WINDOWS} and {TRACKS}")
    data = prepare_joint_data(read_track_set(folder), hold_out, min_sites, source=str(folder / WINDOWS))
    return data, [folder / WINDOWS, folder / TRACKS]


def prepare_joint_data(
    data: TrackSet, hold_out: Sequence[str] = (), min_sites: int = 1, source: str = "windows"
) -> JointData:
    """Return the encoded train and dev windows of a track set, with dense labels.

    Parameters
    ----------
    data : TrackSet
        Its test windows are not used.
    hold_out : sequence of str
        Targets (``QKI``) of which no track is trained, in any cell line. Windows that no other track binds are left
        out with them: as sites that none of the others binds, they would teach the encoder what the held-out RBP
        binds. Windows that other tracks bind too stay, with the labels of these tracks.
    min_sites : int
        Tracks with fewer bound windows in the train part are left out, with a warning.
    source : str
        Name of the windows in messages.

    Raises
    ------
    InputError
        An unknown target, no window in the train or dev part, no track left, or no known label.
    """
    data = data.take(np.flatnonzero(data.windows["part"].ne("test").to_numpy()))
    for part in ("train", "dev"):
        if not len(data.rows(part)):
            raise InputError(f"{source}: found no window of part {part}, wanted one or more")
    n_all, n_windows = len(data.tracks), len(data)
    if hold_out:
        data = _without_targets(data, hold_out, source)
    counts = {"held_out_tracks": n_all - len(data.tracks), "held_out_windows": n_windows - len(data)}
    kept = data.counts(data.rows("train"))[0] >= max(min_sites, 1)
    if not kept.all():
        missing = data.tracks["track"][~kept].tolist()
        logger.warning("fewer than %d bound train windows, left out: %s", max(min_sites, 1), ", ".join(missing))
        data = data.select_tracks(np.flatnonzero(kept))
    if not len(data.tracks):
        raise InputError(f"{source}: found no track with {max(min_sites, 1)} or more bound windows in the train part")
    labels = data.coded_labels()
    train, dev = data.rows("train"), data.rows("dev")
    for part, rows in (("train", train), ("dev", dev)):
        if (labels[rows] == UNKNOWN).all():
            raise InputError(f"{source}: found only unknown labels in part {part}, wanted some that are known")
    counts |= {"tracks": len(data.tracks), "few_sites_tracks": int((~kept).sum())}
    counts |= {"train_windows": len(train), "dev_windows": len(dev)}
    return JointData(
        tracks=data.tracks,
        input_ids=_padded_ids(data.sequences),
        labels=labels,
        train=train,
        dev=dev,
        is_background=data.windows["kind"].eq("background").to_numpy(),
        counts=counts,
    )


def _padded_ids(sequences: list[str]) -> np.ndarray:
    """Return token ids with special tokens, padded to the longest sequence; uint8, shape (n, longest + 2)."""
    # Most windows have one length: padding costs less than a table of offsets.
    encoded = EncodedSequences.encode(sequences)
    ids = np.full((len(sequences), encoded.lengths.max()), PAD, dtype=np.uint8)
    ids[np.arange(ids.shape[1]) < encoded.lengths[:, None]] = encoded.ids
    return ids


def _without_targets(data: TrackSet, hold_out: Sequence[str], source: str) -> TrackSet:
    """Return the set without the tracks of these targets, and without the windows that only they bind."""
    targets = data.tracks["target"].tolist()
    for target in hold_out:
        if target not in targets:
            raise InputError(f"`hold_out`: found {target!r}, wanted targets of {source}{similar(target, targets)}")
    kept = ~data.tracks["target"].isin(list(hold_out)).to_numpy()
    if not kept.any():
        raise InputError(f"`hold_out`: found all {len(set(targets))} targets of {source}, wanted some left to train")
    rest = data.select_tracks(np.flatnonzero(kept))
    only_held_out = (data.bound.lengths > 0) & (rest.bound.lengths == 0)
    return rest.take(np.flatnonzero(~only_held_out))


def subsample_rows(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return at most ``most`` of ``rows``, drawn without replacement, in their order; int64."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng([seed, 1]).choice(rows, most, replace=False))


class WindowOrder:
    """Rows of each training step; every pass goes through all rows in a new random order.

    Windows of similar length share a batch: the rows of `GROUP` batches are drawn at random, sorted by length and
    divided, and these batches are taken in random order. What a step trains on depends on the seed and its number
    alone, so that a resumed run has the batches of an uninterrupted one. Rows at the end of a pass that do not fill a
    batch are left out.

    Parameters
    ----------
    rows : numpy.ndarray of int64, shape (n,)
        Rows to train on.
    lengths : numpy.ndarray of int, shape (n,)
        Tokens of each.
    batch_size : int
        Rows of a step, of all processes.
    seed : int

    Raises
    ------
    InputError
        There are fewer rows than a batch takes.
    """

    def __init__(self, rows: np.ndarray, lengths: np.ndarray, batch_size: int, seed: int):
        self.rows, self.lengths, self.batch_size, self.seed = rows, lengths, batch_size, seed
        self.steps_per_pass = len(rows) // batch_size
        if not self.steps_per_pass:
            raise InputError(f"`batch_size`: found {batch_size} over all processes, wanted at most {len(rows)} windows")
        self._pass, self._order = -1, rows

    def __call__(self, step: int) -> np.ndarray:
        """Return the rows of the step that ``step`` others precede; int64, shape (batch_size,)."""
        number, index = divmod(step, self.steps_per_pass)
        if number != self._pass:
            self._pass, self._order = number, self._draw(np.random.default_rng([self.seed, 0, number]))
        return self._order[index * self.batch_size : (index + 1) * self.batch_size]

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        order = rng.permutation(len(self.rows))[: self.steps_per_pass * self.batch_size]
        for start in range(0, len(order), GROUP * self.batch_size):
            group = order[start : start + GROUP * self.batch_size]
            batches = group[np.argsort(self.lengths[group], kind="stable")].reshape(-1, self.batch_size)
            order[start : start + len(group)] = rng.permutation(batches).ravel()
        return self.rows[order]
