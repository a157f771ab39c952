"""What a result came from: command, arguments, code, library versions, inputs and weights."""

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
    # A package installed below some other project's checkout is not tracked there: that commit says nothing.
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {"commit": None, "dirty": None}
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": _git("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


def _versions() -> dict[str, str]:
    from .. import __version__

    return {"LAMAR": __version__, "python": platform.python_version(), **library_versions(PACKAGES)}


def library_versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed; nothing is imported for it."""
    versions = {}
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance(
    arguments: Mapping[str, Any],
    *,
    seed: int | None,
    inputs: Iterable[str | Path] = (),
    weights: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a result came from, ready for JSON.

    Parameters
    ----------
    arguments : resolved arguments by name
    seed : int or None
    inputs : files and folders that are read; see :func:`hash_inputs`
    weights : what is known of the weights: path, SHA-256, ...

    Returns
    -------
    dict
        command, arguments, seed, git (commit and dirty; None where this code is not in a checkout), versions
        (of what is installed; nothing is imported for it), platform, cpu_count, threads (of torch; None before
        it is imported), inputs, weights, started (UTC). Neither host nor user name.
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
