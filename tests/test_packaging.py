"""The files that say how this project is installed agree with each other, and hold what they promise."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import LAMAR

REPO = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PYTHONS = SpecifierSet(PROJECT["requires-python"])
REQUIREMENTS = [
    pytest.param(Requirement(line), id=f"{group}:{Requirement(line).name}")
    for group, lines in {"core": PROJECT["dependencies"], **EXTRAS}.items()
    for line in lines
]
SCRIPTS = [
    path
    for folder in ("preprocess", "finetune_scripts", "evalEmbeddings", "visualisation", "weights")
    for path in sorted((REPO / folder).rglob("*.py"))
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
]
MEGABYTE = 1_000_000
SHIPPED_WEIGHTS = re.compile(r"weights/[^/]+/model\.safetensors")

# Makes packages look as if they were not installed: to import, and to a probe with importlib.util.find_spec.
WITHOUT = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in MISSING else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def _constraints() -> dict[str, Requirement]:
    lines = (REPO / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    by_name = {canonicalize_name(pin.name): pin for pin in pins}
    assert len(by_name) == len(pins), "a package is pinned twice"
    return by_name


def _pinned(pin: Requirement) -> Version:
    (specifier,) = pin.specifier
    assert specifier.operator == "==", f"{pin}: wanted an exact version"
    return Version(specifier.version)


def _environment() -> tuple[list[str], list[str]]:
    """Conda packages and pip arguments of environment.yml."""
    content = yaml.safe_load((REPO / "environment.yml").read_text(encoding="utf-8"))
    conda = [entry for entry in content["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict)]
    return conda, pip


def _editable(lines) -> Requirement:
    """The requirement in the one `-e .[extras]`, named as this project."""
    (target,) = {line.split()[1].strip('"') for line in lines if "[" in line and line.startswith("-e")}
    assert target.startswith(".["), target
    return Requirement(PROJECT["name"] + target[1:])


def _run_without(missing: set[str], code: str, *args: str, cwd: Path) -> subprocess.CompletedProcess:
    """Run ``code`` in a new interpreter in which the packages ``missing`` cannot be imported."""
    code = f"MISSING = {missing!r}\n{WITHOUT}\n{textwrap.dedent(code)}"
    return subprocess.run([sys.executable, "-c", code, *args], cwd=cwd, capture_output=True, text=True, timeout=300)


# --------------------------------------------------------------------------------------------------- versions


def test_every_pin_is_exact_and_public():
    pins = _constraints()
    assert len(pins) > 50
    assert canonicalize_name(PROJECT["name"]) not in pins
    for pin in pins.values():
        assert _pinned(pin).local is None, f"{pin}: a local build tag exists on few machines"


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_pin_lies_in_the_declared_range(requirement):
    pin = _constraints().get(canonicalize_name(requirement.name))
    assert pin is not None, f"{requirement.name} has no pin in constraints.txt"
    assert {specifier.operator for specifier in requirement.specifier} >= {">="}, "wanted a lower bound"
    assert requirement.specifier.contains(_pinned(pin)), f"{pin} is not {requirement}"


@pytest.mark.parametrize(("name", "oldest"), [("torch", "2.11"), ("transformers", "5.17")])
def test_ranges_reach_back_to_the_oldest_supported(name, oldest):
    (requirement,) = [r for r in map(Requirement, PROJECT["dependencies"]) if r.name == name]
    assert requirement.specifier.contains(oldest)


def test_extras_hold_what_the_core_must_run_without():
    names = {group: {Requirement(line).name for line in lines} for group, lines in EXTRAS.items()}
    assert names["cnn"] == {"tensorflow"}
    assert names["interpret"] == {"captum"}
    assert names["lora"] == {"peft"}
    assert names["dev"] >= {"pytest", "hypothesis", "ruff"}
    core = {Requirement(line).name for line in PROJECT["dependencies"]}
    assert not core & set().union(*names.values())


def test_installed_versions_are_the_pinned_ones():
    differing = []
    for name, pin in _constraints().items():
        try:
            installed = Version(importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            differing.append(f"{name} absent, pinned {_pinned(pin)}")
            continue
        if installed.public != _pinned(pin).public:
            differing.append(f"{name} {installed}, pinned {_pinned(pin)}")
    if differing:
        pytest.skip("not the environment of constraints.txt: " + "; ".join(differing))


# ------------------------------------------------------------------------------------- the files among each other


def test_environment_yml_installs_this_project_with_constraints_and_all_extras():
    _, pip = _environment()
    assert "-c constraints.txt" in pip
    assert _editable(pip).extras == set(EXTRAS)
    assert len(pip) == 2, "whatever else is needed belongs in pyproject.toml"


def test_makefile_installs_all_extras():
    words = re.findall(r'-e "?\.\[[^\]]+\]', (REPO / "Makefile").read_text(encoding="utf-8"))
    assert _editable(words).extras == set(EXTRAS)


def test_python_range_is_the_same_everywhere():
    classifiers = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if c.startswith("Programming Language")]
    assert sorted(classifiers) == [f"3.{minor}" for minor in range(30) if PYTHONS.contains(f"3.{minor}")]
    assert classifiers == ["3.11", "3.12"]
    conda, _ = _environment()
    (python,) = [entry for entry in conda if entry.startswith("python")]
    assert re.fullmatch(r"python=3\.\d+", python)
    assert PYTHONS.contains(python.partition("=")[2])
    assert PYTHONS.contains(".".join(map(str, sys.version_info[:3])))


def test_version_and_licence_are_the_same_everywhere():
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["version"] == LAMAR.__version__ == citation["version"]
    assert PROJECT["license"] == citation["license"] == "MIT"
    assert (REPO / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
    assert {reference["doi"] for reference in citation["references"]} == {
        "10.1101/2024.10.12.617732",
        "10.1126/science.ade2574",
    }


def test_ci_calls_make_test_and_nothing_else():
    lines = (REPO / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#!")
    commands = [line for line in lines[1:] if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["make test"]
    assert os.access(REPO / ".ci" / "run", os.X_OK)


def test_pre_commit_hooks_need_no_network():
    content = yaml.safe_load((REPO / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repo["repo"] for repo in content["repos"]} == {"local"}
    hooks = {hook["id"]: hook for repo in content["repos"] for hook in repo["hooks"]}
    assert {hook["language"] for hook in hooks.values()} <= {"system", "pygrep"}
    assert "ruff check" in hooks["ruff-check"]["entry"]
    assert "ruff format" in hooks["ruff-format"]["entry"]


def test_tokenizer_files_are_part_of_the_package():
    (pattern,) = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"][
        "package-data"
    ]["LAMAR"]
    packaged = {path.name for path in (REPO / "LAMAR").glob(pattern)}
    assert packaged >= {"vocab.txt", "tokenizer_config.json"}


# ------------------------------------------------------------------------------------------------ tracked files


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Files under version control that are in the working tree."""
    try:
        top = subprocess.run(
            ["git", "rev-parse", "--show-toplevel"], cwd=REPO, capture_output=True, text=True, check=True
        ).stdout.strip()
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"not a git checkout, or no git: {error}")
    if Path(top).resolve() != REPO or not listed:
        pytest.skip("git tracks no file of this project here")
    return [path for name in listed.split("\0") if name and (path := REPO / name).is_file()]


def test_no_large_file_is_tracked(tracked):
    large = {}
    for path in tracked:
        name = path.relative_to(REPO).as_posix()
        limit = 16 * MEGABYTE if SHIPPED_WEIGHTS.fullmatch(name) else MEGABYTE
        if path.stat().st_size > limit:
            large[name] = path.stat().st_size
    assert not large


def test_no_tracked_text_names_a_machine_path(tracked):
    machine_path = re.compile(rb"(?<![\w.$~})\]-])/(?:home|root|work|Users)/\w[^\s\"'`]*")
    found = {}
    for path in tracked:
        content = path.read_bytes()
        if b"\0" not in content and (hits := machine_path.findall(content)):
            found[path.relative_to(REPO).as_posix()] = hits[:3]
    assert not found


def test_only_the_readme_of_models_is_tracked(tracked):
    inside = [path.name for path in tracked if path.is_relative_to(REPO / "models")]
    assert inside in ([], ["README.md"])


# ------------------------------------------------------------------------------------- imports and command lines


def test_the_library_imports_without_tensorflow_and_the_extras(tmp_path):
    """Fine-tuning, pre-training and attribution must not need what only the CNN evaluation or an option uses."""
    paths = (path.relative_to(REPO).with_suffix("") for path in (REPO / "LAMAR").rglob("*.py"))
    modules = sorted(".".join(path.parts) for path in paths if path.name != "__init__")
    done = _run_without(
        {"tensorflow", "keras", "captum", "peft"},
        """
        import importlib, importlib.util
        assert importlib.util.find_spec("tensorflow") is None
        assert importlib.util.find_spec("torch") is not None
        for name in sys.argv[1:]:
            importlib.import_module(name)
        assert not MISSING & set(sys.modules), MISSING & set(sys.modules)
        print(*sorted(name for name in sys.modules if name.startswith("LAMAR.")))
        """,
        *modules,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert set(modules) <= set(done.stdout.split())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(REPO).as_posix())
def test_help_answers_without_heavy_imports(script, tmp_path):
    """From another folder, with no torch and no tensorflow to import, so none is imported."""
    done = _run_without(
        {"torch", "tensorflow", "keras", "transformers", "datasets", "captum", "peft"},
        """
        import pathlib, runpy
        sys.argv = sys.argv[1:]
        sys.path[0] = str(pathlib.Path(sys.argv[0]).parent)
        runpy.run_path(sys.argv[0], run_name="__main__")
        """,
        str(script),
        "--help",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {script.name}"), done.stdout[:200]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(REPO).as_posix())
def test_an_empty_path_is_not_the_current_folder(script, tmp_path):
    assert "type=Path" not in script.read_text(encoding="utf-8")
    option = {"preprocess.py": "--fasta", "train_val_split.py": "--metadata"}.get(script.name, "--output_dir")
    done = subprocess.run([sys.executable, script, option, ""], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"{option}: found '', wanted a path" in done.stderr
    assert done.stderr.count("\n") == 1


# ------------------------------------------------------------------------------------------------- the Makefile

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
    assert installs[1].endswith(" -e .[cnn,interpret,lora,dev]")
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


def test_half_made_environment_is_made_anew(clone):
    failed, _ = clone("setup", fail="-m venv")
    assert failed.returncode != 0
    assert (clone.folder / ".venv" / "bin" / "half-made").exists()
    done, calls = clone("setup")
    assert done.returncode == 0, done.stderr
    assert "making it anew" in done.stdout
    assert calls[0] == "-m venv .venv"
    assert not (clone.folder / ".venv" / "bin" / "half-made").exists()


def test_failed_installation_is_taken_up_again(clone):
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
