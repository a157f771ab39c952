"""Fixtures of the evaluation's tests: made-up runs of five data sets."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluation_runs import write_five

from LAMAR.evaluation.results import Results, read_results


@pytest.fixture(scope="module")
def five(tmp_path_factory) -> Path:
    """Folder of an evaluation run of five sets, with names that are hard to show."""
    return write_five(tmp_path_factory.mktemp("runs") / "five")


@pytest.fixture(scope="module")
def results(five) -> Results:
    """The same run, read."""
    return read_results([five])
