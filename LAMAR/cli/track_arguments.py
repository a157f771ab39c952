"""Arguments of ``evaluate_tracks.py``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..evaluation.registries import MIN_BOUND, TRACK_BASELINES, select_representations
from .arguments import add_inference_arguments, add_run_arguments, not_negative, path, positive

__all__ = ["add_track_arguments", "baselines_argument", "tracks_argument"]

NONE = "none"


def add_track_arguments(parser) -> None:
    """Add all arguments of the evaluation of a model of many RBPs."""
    data = parser.add_argument_group("data and model")
    data.add_argument(
        "--data_path", type=path, help="folder of make_track_dataset.py (default: the synthetic demo set)"
    )
    data.add_argument("--model_path", type=path, help="folder of finetune_all_rbps.py (with --data_path: required)")
    data.add_argument("--part", choices=("test", "dev"), default="test", help="default: %(default)s")
    data.add_argument(
        "--tracks",
        nargs="+",
        metavar="NAME",
        help="names of tracks, or a number: that many, drawn in equal shares from the quartiles of size (default: all)",
    )
    data.add_argument(
        "--min_bound",
        type=positive(int),
        default=MIN_BOUND,
        help="bound windows in the part that tracks have at least, unless they are named (default: %(default)s)",
    )
    method = parser.add_argument_group("methods and run")
    method.add_argument(
        "--baselines",
        nargs="+",
        choices=[*(entry.name for entry in select_representations("composition")), NONE],
        default=list(TRACK_BASELINES),
        help=f"logistic regressions on composition, one per track (default: {' '.join(TRACK_BASELINES)})",
    )
    add_inference_arguments(method)
    add_run_arguments(method, Path("results") / "tracks")


def tracks_argument(words: Sequence[str] | None) -> int | list[str] | None:
    """Return a number of tracks, or their names, from the words behind ``--tracks``."""
    if words is not None and len(words) == 1 and words[0].isascii() and words[0].isdigit():
        return not_negative(int)(words[0])
    return None if words is None else list(words)


def baselines_argument(names: Sequence[str]) -> list[str]:
    """Return the baselines that ``--baselines`` names, each once."""
    if NONE in names and len(set(names)) > 1:
        raise InputError(f"`baselines`: found {NONE} beside others, wanted it alone")
    return [name for name in dict.fromkeys(names) if name != NONE]
