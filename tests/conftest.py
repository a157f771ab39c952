"""Fixtures that every test module may use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Read when transformers is first imported, here and in subprocesses: a progress bar is noise in a test's output.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
# Nothing in the tests may depend on a network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# The models here are too small to gain from threads, which slow them down on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPO_ROOT = Path(__file__).resolve().parent.parent

# Time limits per example would fail on a busy machine.
settings.register_profile("repository", deadline=None)
settings.load_profile("repository")


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """Folder of the clone."""
    return REPO_ROOT


@pytest.fixture(scope="session")
def parity_folder(repo_root) -> Path:
    """Weights, inputs and outputs of upstream's own code."""
    return repo_root / "tests" / "data" / "parity_tiny"


@pytest.fixture(scope="session")
def cases_folder(repo_root) -> Path:
    """Small inputs made after reports of failures; each folder is named after what is special in it."""
    return repo_root / "tests" / "data" / "cases"


@pytest.fixture(scope="session")
def parity_tensors(parity_folder) -> dict:
    """Tensors of the weights in ``parity_folder`` under upstream's names, its leftovers included."""
    from safetensors.torch import load_file

    return load_file(parity_folder / "model.safetensors")


@pytest.fixture
def model_tensors(parity_tensors) -> dict:
    """Copies of the tensors in ``parity_folder`` that a masked LM has, under upstream's names."""
    from LAMAR.modeling_nucESM2 import EsmForMaskedLM, named_config

    names = set(EsmForMaskedLM(named_config("lamar-tiny")).state_dict())
    return {name: tensor.clone() for name, tensor in parity_tensors.items() if name in names}


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of the real data (``LAMAR_SHARED``, default ``../shared``); tests are skipped where it is absent."""
    folder = Path(os.environ.get("LAMAR_SHARED", REPO_ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data: {folder / 'data'} does not exist (set LAMAR_SHARED)")
    return folder


@pytest.fixture(scope="session")
def run_python():
    """Function that runs Python code in a fresh interpreter and returns its standard output.

    For what must be seen from the first import on: import order, environment variables that torch reads once.
    """

    def run(code: str, **environment: str) -> str:
        env = {**os.environ, "PYTHONPATH": str(REPO_ROOT), **environment}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture
def progress_at_once(monkeypatch, caplog):
    """Function that returns the lines of progress so far, which come at every step instead of every minute."""
    from LAMAR.runs.progress import Progress

    for name in ("quiet_s", "every_s"):
        monkeypatch.setitem(Progress.__init__.__kwdefaults__, name, 0.0)
    caplog.set_level("INFO", logger="LAMAR")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "LAMAR.runs.progress"]
