"""The synthetic demo set that every script falls back to when it is called without arguments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ..errors import InputError

__all__ = ["DEMO_VERSION", "NOTICE", "REPOSITORY", "demo_data", "demo_evaluation"]

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO_VERSION = 1  # of truth.json and of what the generator makes: raise it when either changes
NOTICE = "SYNTHETIC demo data: planted motifs in a random genome; scores say nothing about real binding"


def demo_data(argument: str = "--data_path") -> Path:
    """Folder of the demo data, built (seconds) on first use and after an update of its generator.

    Raises
    ------
    InputError
        When the generator is not there (the package was installed without the repository around it).
    """
    folder = REPOSITORY / "demo" / "data"
    truth = folder / "truth.json"
    if truth.is_file() and json.loads(truth.read_bytes())["format_version"] == DEMO_VERSION:
        return folder
    script = REPOSITORY / "preprocess" / "make_demo_data.py"
    if not script.is_file():
        raise InputError(f"{argument}: not given, and the demo data need a clone of the repository ({script})")
    # A process of its own: scripts do not import each other.
    subprocess.run([sys.executable, str(script), "--output_dir", str(folder)], check=True)
    return folder


def demo_evaluation() -> Path:
    """Folder of the demo set's evaluation, which takes minutes and is therefore not made here."""
    folder = REPOSITORY / "demo" / "evaluation"
    if not (folder / "results.csv").is_file():
        raise InputError(
            f"--results: not given, and the demo set's {folder} is not there; "
            "first run: python evalEmbeddings/LAMAR_CNN_clip_data.py"
        )
    return folder
