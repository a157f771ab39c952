"""Fixtures that several tests of scripts use."""

from __future__ import annotations

from pathlib import Path

import pytest

from LAMAR.checkpoints import build_model
from LAMAR.configuration import named_config
from LAMAR.modeling_nucESM2 import EsmForMaskedLM


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory) -> Path:
    """Checkpoint folder of a small masked LM."""
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    build_model(EsmForMaskedLM, named_config("lamar-tiny"), seed=1).save_pretrained(folder)
    return folder


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Leave out the figures of geometry, which take most of a small run's time."""
    monkeypatch.setattr("LAMAR.evaluation.geometry_units.write_figures", lambda *_: None)
