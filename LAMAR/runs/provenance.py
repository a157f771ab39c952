"""The provenance of a result: command, arguments, code, library versions, inputs and weights."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from .storage import hash_inputs, jsonable

__all__ = ["library_versions", "now", "provenance"]

PACKAGES = ["torch", "transformers", "numpy", "scikit-learn", "scipy", "pandas", "safetensors", "accelerate"]
PACKAGES += ["peft", "captum", "tensorflow", "keras", "bioframe", "pyfaidx", "pyarrow"]


def _git(*arguments: str) -> str | None:
    # Variables that git sets for its hooks point at another tree; its lock would disturb the user's own git.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).resolve().parent), *arguments],
            env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            timeout=20,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _source() -> dict[str, Any]:
    # A package installed inside another project's checkout is not tracked there: that commit is not this code's.
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {"commit": None, "dirty": None}
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": _git("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


def _versions() -> dict[str, str]:
    from .. import __version__

    return {"LAMAR": __version__, "python": platform.python_version(), **library_versions(PACKAGES)}


def library_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed, by name, without importing any."""
    versions = {}
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def now() -> str:
    """Return the time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance(
    arguments: Mapping[str, Any],
    *,
    seed: int | None,
    inputs: Iterable[str | Path] = (),
    weights: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what a result came from, ready for JSON.

    Parameters
    ----------
    arguments : mapping
        Resolved arguments by name.
    seed : int or None
    inputs : iterable of str or Path
        Files and folders that are read; `LAMAR.runs.storage.hash_inputs` computes their checksums.
    weights : mapping, optional
        Description of the weights: path, SHA-256, ...

    Returns
    -------
    dict
        command, arguments, seed, git (commit and dirty; None where this code is not in a checkout), versions
        (of installed packages; nothing is imported), platform, cpu_count, threads (of torch; None before it is
        imported), inputs, weights, started (UTC). Neither host nor user name.

    Raises
    ------
    InputError
        An input cannot be read.
    """
    torch = sys.modules.get("torch")
    return jsonable(
        {
            "command": sys.argv,
            "arguments": arguments,
            "seed": seed,
            "git": _source(),
            "versions": _versions(),
            "platform": platform.platform(),
            "cpu_count": os.cpu_count(),
            "threads": torch.get_num_threads() if torch is not None else None,
            "inputs": hash_inputs(inputs),
            "weights": weights,
            "started": now(),
        }
    )
