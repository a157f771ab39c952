"""The synthetic demo set that every script falls back to when it is called without arguments."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ..errors import InputError
from ..runs.storage import read_json_object
from .errors import with_flags

__all__ = ["DEMO_DATA", "NOTICE", "REPOSITORY", "demo_data", "demo_evaluation"]

REPOSITORY = Path(__file__).resolve().parents[2]
IN_CLONE = (REPOSITORY / "pyproject.toml").is_file()
NOTICE = "SYNTHETIC demo data: planted motifs in a random genome; scores say nothing about real binding"


def _demo_folder() -> Path:
    """Return the folder of everything made from the demo set: in the clone, or the user's cache without a clone."""
    if IN_CLONE:
        return REPOSITORY / "demo"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lamar" / "demo"


DEMO_DATA = _demo_folder() / "data"


def demo_data() -> Path:
    """Return the folder of the demo data, made in seconds on first use and after an update of the generator."""
    from ..data.synthetic_files import FORMAT_VERSION, make_demo_data

    folder = _demo_folder() / "data"
    version = None
    with suppress(InputError):
        version = read_json_object(folder / "truth.json").get("format_version")
    if version != FORMAT_VERSION:
        print(with_flags(make_demo_data(folder)))
    return folder


def demo_evaluation() -> Path:
    """Return the folder of the demo set's evaluation, which takes minutes and is therefore not made here."""
    folder = _demo_folder() / "evaluation"
    if not (folder / "results.csv").is_file():
        raise InputError(
            f"`results`: not given, and the demo set's {folder} is not there; "
            "first run: python evalEmbeddings/LAMAR_CNN_clip_data.py"
        )
    return folder
