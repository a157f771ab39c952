"""The track set of the synthetic demo data, for the joint training without arguments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ..errors import InputError
from .demo import REPOSITORY, demo_data

__all__ = ["demo_track_set"]


def demo_track_set(argument: str = "--data_path") -> Path:
    """Folder of the demo data's track set, made (seconds) on first use and whenever the demo data are newer.

    Raises
    ------
    InputError
        The script that makes it is not there (the package was installed without the repository around it).
    """
    folder = REPOSITORY / "demo" / "tracks"
    truth = demo_data(argument) / "truth.json"
    record = folder / "report.json"
    if record.is_file() and record.stat().st_mtime >= truth.stat().st_mtime:
        return folder
    script = REPOSITORY / "preprocess" / "make_track_dataset.py"
    if not script.is_file():
        raise InputError(f"{argument}: not given, and the demo set needs a clone of the repository ({script})")
    # A process of its own: scripts do not import each other.
    subprocess.run([sys.executable, str(script), "--output_dir", str(folder), "--overwrite"], check=True)
    return folder
