"""`make`: set-up once and again after whatever interrupted it, targets in their order, Python versions refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

REPO = Path(__file__).resolve().parents[1]
PYTHONS = SpecifierSet(
    tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
)

# Stands in for Python: says the version it is told to be, "creates" environments whose python is itself, and keeps a
# record of its calls. A file named `fail` in the folder makes the next call that its first line names fail.
FAKE_PYTHON = """#!/bin/sh
echo "$*" >> calls
if [ -e fail ] && case "$*" in *"$(cat fail)"*) true;; *) false;; esac; then
    case "$*" in "-m venv"*) mkdir -p .venv/bin && : > .venv/bin/half-made;; esac
    rm fail
    exit 1
fi
case "$1" in
    -c) exec "{python}" -c 'import sys
sys.version_info = tuple(map(int, "{version}".split(".")))
exec(sys.argv[1])' "$2";;
esac
case "$*" in
    "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python;;
esac
"""


@pytest.fixture
def clone(tmp_path):
    """A folder with the files that `make setup` reads, and a way to call make in it from another folder."""
    if shutil.which("make") is None:
        pytest.skip("no make")
    (tmp_path / "preprocess").mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "preprocess/run_prep.sh"):
        shutil.copyfile(REPO / name, tmp_path / name)
    # This test may itself run under make, whose variables would reach the make called here.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MAKE", "MFLAGS", "PYTHON", "PIP_", "PYTEST"))
    }

    def make(*args: str, version: str = "3.11.7", fail: str = "") -> tuple[subprocess.CompletedProcess, list[str]]:
        fake = tmp_path / "python-stand-in"
        fake.write_text(FAKE_PYTHON.format(python=sys.executable, version=version), encoding="utf-8")
        fake.chmod(0o755)
        (tmp_path / "calls").write_text("", encoding="utf-8")
        if fail:
            (tmp_path / "fail").write_text(fail, encoding="utf-8")
        done = subprocess.run(
            ["make", "-C", str(tmp_path), *args, f"PYTHON={fake}"],
            cwd=REPO.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
        return done, [call for call in calls if call.startswith("-m ") and not call.endswith("--version")]

    make.folder = tmp_path
    return make


def test_setup_installs_with_constraints_once(clone):
    done, calls = clone("setup")
    assert done.returncode == 0, done.stderr
    assert calls[0] == "-m venv .venv"
    installs = calls[1:]
    assert len(installs) == 2
    assert all(call.startswith("-m pip install ") and " -c constraints.txt " in call for call in installs)
    assert all("--no-input" in call for call in installs)
    assert installs[1].endswith(" -e .[bigwig,cnn,interpret,lora,dev]")
    assert done.stdout.count("== set-up") == 4

    again, calls = clone("setup")
    assert again.returncode == 0
    assert calls == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_setup_follows_the_files_it_reads(clone, name):
    clone("setup")
    stamp = (clone.folder / ".venv" / ".setup-complete").stat().st_mtime
    os.utime(clone.folder / name, (stamp + 10, stamp + 10))
    done, calls = clone("setup")
    assert done.returncode == 0, done.stderr
    assert len(calls) == 2, "installs again, into the same environment"


def test_half_made_environment_is_created_again(clone):
    failed, _ = clone("setup", fail="-m venv")
    assert failed.returncode != 0
    assert (clone.folder / ".venv" / "bin" / "half-made").exists()
    done, calls = clone("setup")
    assert done.returncode == 0, done.stderr
    assert "creating it again" in done.stdout
    assert calls[0] == "-m venv .venv"
    assert not (clone.folder / ".venv" / "bin" / "half-made").exists()


def test_failed_installation_is_continued(clone):
    failed, calls = clone("setup", fail="interpret")
    assert failed.returncode != 0
    assert len(calls) == 3
    done, calls = clone("setup")
    assert done.returncode == 0, done.stderr
    assert [call.split()[2] for call in calls] == ["install", "install"]


def test_targets_set_up_first(clone):
    done, calls = clone("test")
    assert done.returncode == 0, done.stderr
    assert calls[0] == "-m venv .venv"
    assert calls[-1] == "-m pytest"
    _, calls = clone("lint")
    assert calls == ["-m ruff check .", "-m ruff format --check ."]


def test_demo_runs_its_steps_in_order_and_stops_at_the_first_that_fails(clone):
    clone("setup")
    done, _ = clone("demo")
    assert done.returncode == 0, done.stderr
    calls = (clone.folder / "calls").read_text(encoding="utf-8").splitlines()
    steps = [call for call in calls if ".py" in call and not call.endswith("--help")]
    scripts = [step.split()[0].removeprefix(f"{clone.folder}/") for step in steps]
    assert scripts == [
        "preprocess/make_demo_data.py",
        "preprocess/preprocess.py",
        "preprocess/train_val_split.py",
        "preprocess/make_rbp_dataset.py",
        "finetune_scripts/finetune_rbp.py",
        "evalEmbeddings/LAMAR_CNN_clip_data.py",
        "evalEmbeddings/plot_results.py",
    ]
    assert all((REPO / script).is_file() for script in scripts)
    assert "SYNTHETIC" in done.stdout
    assert str(clone.folder / "demo") in done.stdout
    failed, _ = clone("demo", fail="make_demo_data")
    assert failed.returncode != 0
    assert "finetune" not in (clone.folder / "calls").read_text(encoding="utf-8")
    assert "demo done" not in failed.stdout


@pytest.mark.parametrize("version", ["2.7.18", "3.10.13", "3.11.0", "3.12.9", "3.13.0", "4.0.0"])
def test_python_outside_the_range_is_refused(clone, version):
    done, calls = clone("setup", version=version)
    if PYTHONS.contains(version):
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 2
    short = version.rpartition(".")[0]
    assert "wanted Python 3.11 or 3.12" in done.stderr
    assert f"({short})" in done.stderr
    assert calls == []
    assert not (clone.folder / ".venv").exists()


def test_existing_environment_of_another_python_is_named_and_kept(clone):
    clone("setup")
    python = clone.folder / ".venv" / "bin" / "python"
    python.write_text(FAKE_PYTHON.format(python=sys.executable, version="3.13.1"), encoding="utf-8")
    (clone.folder / ".venv" / ".setup-complete").unlink()
    done, calls = clone("setup")
    assert done.returncode == 2
    assert "Python 3.13, wanted 3.11 or 3.12" in done.stderr
    assert calls == []
    assert python.exists()


def test_help_names_every_target(clone):
    done, calls = clone()
    assert calls == []
    text = (REPO / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert re.findall(r"^make (\w+) +\S", done.stdout, re.MULTILINE) == phony.split()
