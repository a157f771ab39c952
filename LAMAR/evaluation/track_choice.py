"""Which tracks of a data set for many RBPs a model is judged on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data.tracks import TrackSet
from ..errors import InputError, shortened, similar
from ..statistics.track_metrics import size_quartiles
from .registries import MIN_BOUND

__all__ = ["FEWEST", "ChosenTracks", "choose_tracks"]

logger = logging.getLogger(__name__)

FEWEST = 2  # windows of each class without which an AUROC has no interval


@dataclass(frozen=True, eq=False)
class ChosenTracks:
    """Tracks that a model is judged on.

    Attributes
    ----------
    data : TrackSet
        All windows, with the labels of these k tracks.
    outputs : numpy.ndarray of int64, shape (k,)
        The model's output for each.
    n_train : numpy.ndarray of int64, shape (k,)
        Bound windows in the train part.
    quartile : numpy.ndarray of int64, shape (k,)
        1 to 4 by ``n_train``, among all tracks that model and data share.
    lacking : dict of list of str
        Tracks that only one of them has: ``not_in_data`` and ``not_in_model``.
    """

    data: TrackSet
    outputs: np.ndarray
    n_train: np.ndarray
    quartile: np.ndarray
    lacking: dict[str, list[str]]


def choose_tracks(
    data: TrackSet,
    outputs: Sequence[str],
    part: str,
    tracks: int | Sequence[str] | None = None,
    *,
    min_bound: int = MIN_BOUND,
    seed: int = 42,
    needs_training: bool = True,
) -> ChosenTracks:
    """Return the tracks that a model is judged on, in the order of the data.

    Parameters
    ----------
    data : TrackSet
    outputs : sequence of str
        Names of the model's outputs. Tracks that only model or data have are left out, with a warning.
    part : str
        Part that they are judged on.
    tracks : int or sequence of str, optional
        Names, or how many to draw, from the quartiles in turn. None takes all.
    min_bound : int
        Bound windows in the part that drawn tracks, or all, have at least; named tracks need `FEWEST`.
    seed : int
        Seed of the draw.
    needs_training : bool
        Leave out tracks without windows of both classes in the train part, which a baseline cannot be fitted to.

    Raises
    ------
    InputError
        Model and data share no track, the part has no window, there is no track of a given name, a named track or all
        of them have too few windows, or there are fewer tracks than asked for.
    """
    rows = data.rows(part)
    if not len(rows):
        raise InputError(f"`part`: found no window of part {part} in `data_path`, wanted some")
    shared, lacking = _shared(data, outputs)
    n_train, enough = _judgeable(shared, rows, needs_training)
    quartile = size_quartiles(n_train) + 1
    bound, _ = shared.counts(rows)
    eligible = np.flatnonzero(enough & (bound >= max(min_bound, FEWEST)))
    if tracks is not None and not isinstance(tracks, int):
        chosen = np.sort([_named(name, shared, data, enough, part, needs_training) for name in dict.fromkeys(tracks)])
    elif not len(eligible):
        wanted = f"{min_bound} or more bound windows in part {part}"
        raise InputError(f"`min_bound`: found no track with {wanted}, wanted one or more (the most are {bound.max()})")
    elif tracks is None:
        chosen = eligible
    elif 1 <= tracks <= len(eligible):
        chosen = np.sort(_draw(eligible, quartile, tracks, seed))
    else:
        wanted = f"1 to {len(eligible)}, the tracks with {min_bound} or more bound windows in part {part}"
        raise InputError(f"`tracks`: found {tracks}, wanted {wanted} (`min_bound`)")
    columns = {name: column for column, name in enumerate(outputs)}
    return ChosenTracks(
        data=shared.select_tracks(chosen),
        outputs=np.array([columns[shared.names[i]] for i in chosen]),
        n_train=n_train[chosen],
        quartile=quartile[chosen],
        lacking=lacking,
    )


def _shared(data: TrackSet, outputs: Sequence[str]) -> tuple[TrackSet, dict[str, list[str]]]:
    """Return the set with the tracks that the model has too, and the names of the others."""
    of_model, of_data = set(outputs), set(data.names)
    lacking = {
        "not_in_data": [name for name in outputs if name not in of_data],
        "not_in_model": [name for name in data.names if name not in of_model],
    }
    ids = [number for number, name in enumerate(data.names) if name in of_model]
    if not ids:
        names = f"{shortened(outputs, 3)} in the model, {shortened(data.names, 3)} in the data"
        raise InputError(f"`model_path`, `data_path`: found no common track ({names}), wanted one or more")
    if any(lacking.values()):
        whose = {"not_in_data": "data set", "not_in_model": "model"}
        parts = [
            f"{len(names)} that the {whose[key]} lacks ({shortened(names, 4)})"
            for key, names in lacking.items()
            if names
        ]
        logger.warning("tracks left out: %s", "; ".join(parts))
    return data.select_tracks(ids), lacking


def _judgeable(data: TrackSet, rows: np.ndarray, needs_training: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return bound train windows of each track, and which tracks have the windows that judging them takes."""
    enough = np.ones(len(data.tracks), dtype=bool)
    train = data.rows("train")
    for chosen, least in ((rows, FEWEST), (train, int(needs_training))):
        bound, unknown = data.counts(chosen)
        enough &= (bound >= least) & (len(chosen) - bound - unknown >= least)
    return data.counts(train)[0], enough


def _named(name: str, shared: TrackSet, data: TrackSet, enough: np.ndarray, part: str, needs_training: bool) -> int:
    if name not in shared.names:
        why = "which the model lacks" if name in data.names else "which is not in `data_path`"
        raise InputError(f"`tracks`: found {name!r}, {why}, wanted tracks of both{similar(name, shared.names)}")
    track = shared.names.index(name)
    if not enough[track]:
        wanted = f"{FEWEST} or more bound and unbound windows in part {part}"
        wanted += " and one or more of each in part train, for `baselines`" if needs_training else ""
        found = (
            f"{shared.counts(shared.rows(part))[0][track]} and {shared.counts(shared.rows('train'))[0][track]} bound"
        )
        raise InputError(f"`tracks`: {name}: found {found} in parts {part} and train, wanted {wanted}")
    return track


def _draw(eligible: np.ndarray, quartile: np.ndarray, n: int, seed: int) -> list[int]:
    """Return ``n`` tracks, one from each quartile in turn, as long as it has any, from the smallest tracks on."""
    rng = np.random.default_rng([seed, 2])
    waiting = [rng.permutation(eligible[quartile[eligible] == number]).tolist() for number in range(1, 5)]
    drawn: list[int] = []
    while len(drawn) < n:
        for tracks in waiting:
            if tracks and len(drawn) < n:
                drawn.append(tracks.pop())
    counts = np.bincount(quartile[drawn], minlength=5)[1:]
    if counts.max() - counts.min() > 1:
        logger.warning("quartiles of size have too few tracks for equal shares: %s drawn", ", ".join(map(str, counts)))
    return drawn
