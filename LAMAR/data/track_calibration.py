"""The file ``calibration.json`` of a checkpoint folder with one output per track."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import InputError, quoted
from ..runs.checkpoint_folders import CALIBRATION
from ..runs.storage import read_json, write_json
from ..statistics.calibration import NEGATIVES, P_LEVELS, Calibration

__all__ = ["read_calibration", "write_calibration"]

FORMAT_VERSION = 1
_NUMBERS = ("slope", "intercept")
_COUNTS = ("n_bound", "n_background")
_TAIL = ("scale", "shape")


def write_calibration(path: str | PathLike, calibration: Calibration) -> None:
    """Write a calibration as JSON, atomically; numbers have six significant digits.

    One without probabilities has no prior, slopes and intercepts.
    """
    tracks = {}
    for j, name in enumerate(calibration.names):
        numbers = _NUMBERS if calibration.has_probabilities else ()
        track = {key: _rounded(getattr(calibration, key)[j]) for key in numbers}
        track |= {key: int(getattr(calibration, key)[j]) for key in _COUNTS}
        track["quantiles"] = [_rounded(value) for value in calibration.quantiles[j]]
        track["tail"] = {key: _rounded(getattr(calibration, key)[j]) for key in _TAIL}
        tracks[name] = track
    prior = calibration.prior if calibration.has_probabilities else None
    head = {"format_version": FORMAT_VERSION, "prior": prior, "negatives": calibration.negatives}
    write_json(Path(path), {**head, "p_levels": P_LEVELS.tolist(), "tracks": tracks})


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def read_calibration(path: str | PathLike, names: Sequence[str] | None = None) -> Calibration:
    """Read a calibration that `write_calibration` wrote.

    Parameters
    ----------
    path : path
        The file, or the checkpoint folder that holds it.
    names : sequence of str, optional
        Tracks of the model, in the order of its outputs, which the file must have.

    Raises
    ------
    InputError
        The file is missing, damaged or of another format, or its tracks are not ``names``.
    """
    path = Path(path)
    path = path / CALIBRATION if path.is_dir() else path
    content = read_json(path)
    try:
        if content["format_version"] != FORMAT_VERSION or content["p_levels"] != P_LEVELS.tolist():
            raise InputError(f"{path}: found another format than version {FORMAT_VERSION}; calibrate the model again")
        stored = list(content["tracks"])
        if names is not None and stored != list(names):
            differing = sorted(set(stored) ^ set(names))
            what = f"such as {differing[0]}" if differing else "their order differs"
            raise InputError(f"{path}: found {len(stored)} tracks that are not the model's {len(names)} ({what})")
        tracks = list(content["tracks"].values())
        has_probabilities = content["prior"] is not None
        numbers = _NUMBERS if has_probabilities else ()
        columns = {key: _numbers([track[key] for track in tracks]) for key in (*numbers, *_COUNTS, "quantiles")}
        columns |= {} if has_probabilities else dict.fromkeys(_NUMBERS)
        columns |= {key: _numbers([track["tail"][key] for track in tracks]) for key in _TAIL}
        _check(path, columns, content)
        prior = float(content["prior"]) if has_probabilities else 1.0
        return Calibration(stored, prior, negatives=content["negatives"], **columns)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a calibration ({type(error).__name__}: {error})") from error


def _numbers(values: list) -> np.ndarray:
    """Return numbers, or lists of equally many numbers, as an array; ValueError for anything else."""
    array = np.array(values)
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError(f"found {quoted(values)}, wanted finite numbers")
    return array


def _check(path: Path, columns: dict, content: dict) -> None:
    """Refuse numbers that no calibration has."""
    n = len(content["tracks"])
    if columns["quantiles"].shape != (n, len(P_LEVELS)):
        raise InputError(f"{path}: found quantiles of shape {columns['quantiles'].shape}")
    if (np.diff(columns["quantiles"], axis=1) < 0).any():
        raise InputError(f"{path}: found quantiles that descend, wanted ascending ones")
    if not all(values is None or values.shape == (n,) for key, values in columns.items() if key != "quantiles"):
        raise InputError(f"{path}: found lists, wanted one number of each kind for a track")
    if not ((columns["scale"] > 0) & (abs(columns["shape"]) <= 0.5)).all():
        raise InputError(f"{path}: found a tail of another form, wanted a scale above 0, and a shape from -0.5 to 0.5")
    if any((columns[key] < 0).any() for key in _COUNTS):
        raise InputError(f"{path}: found a negative number of windows")
    if content["negatives"] not in NEGATIVES:
        raise InputError(f"{path}: found negatives {quoted(content['negatives'])}, wanted {', '.join(NEGATIVES)}")
    prior = content["prior"]
    if prior is not None and (isinstance(prior, bool | str) or not 0 < prior <= 1):
        raise InputError(f"{path}: found prior {quoted(prior)}, wanted a number above 0, at most 1")
