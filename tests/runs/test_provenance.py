"""The provenance of a result."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from LAMAR.runs import provenance as module
from LAMAR.runs.provenance import provenance
from LAMAR.runs.storage import sha256_file


def test_provenance_says_what_ran(tmp_path, monkeypatch):
    (tmp_path / "in.fa").write_text(">a\nACGT\n")
    found = provenance({"lr": 3e-5, "path": tmp_path}, seed=3, inputs=[tmp_path / "in.fa"])
    assert found["arguments"] == {"lr": 3e-5, "path": str(tmp_path)}
    assert found["seed"] == 3
    assert found["inputs"] == {str(tmp_path / "in.fa"): sha256_file(tmp_path / "in.fa")}
    assert found["command"] == [str(argument) for argument in sys.argv]
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["python"] == sys.version.split()[0]
    assert found["started"].endswith("+00:00")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    # No name of the host or the user among them.
    assert set(found) == set(
        "command arguments seed git versions platform cpu_count threads inputs weights started".split()
    )
    monkeypatch.setenv("PATH", "")
    assert provenance({}, seed=None)["git"] == {"commit": None, "dirty": None}


def test_git_state_of_a_checkout(tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        git("init", "--quiet")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    source = tmp_path / "LAMAR" / "provenance.py"
    source.parent.mkdir()
    source.write_text("")
    monkeypatch.setattr(module, "__file__", str(source))
    assert module._source() == {"commit": None, "dirty": None}  # in a checkout, but not part of it
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as inside a hook
    assert module._source()["dirty"] is False
    monkeypatch.delenv("GIT_DIR")
    (tmp_path / "results.csv").touch()  # outputs do not make the source dirty
    assert module._source() == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    source.write_text("changed")
    assert module._source()["dirty"] is True
