"""Packaging: the files that describe the installation agree, a wheel is complete, and scripts answer --help at once."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
import zipfile
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
    assert names["bigwig"] == {"pybigtools"}
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy of the tree, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(REPO / name, folder / name)
    shutil.copytree(REPO / "LAMAR", folder / "LAMAR", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "-w", "dist"], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (built,) = (folder / "dist").glob("*.whl")
    return built


def test_a_wheel_holds_every_module_and_the_tokenizer(wheel):
    """A list of packages in pyproject.toml, in place of a search, would lose each sub-package that it does not name."""
    wanted = {path.relative_to(REPO).as_posix() for path in (REPO / "LAMAR").rglob("*.py")}
    wanted |= {path.relative_to(REPO).as_posix() for path in (REPO / "LAMAR" / "tokenizer").iterdir()}
    assert {"LAMAR/tokenizer/vocab.txt", "LAMAR/tokenizer/tokenizer_config.json"} <= wanted
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if not name.startswith("lamar-")} == wanted


def test_the_wheel_works_without_the_repository(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = """
        import sys
        sys.path.insert(0, sys.argv[1])
        import LAMAR, LAMAR.evaluation.cnn
        from LAMAR.tokenization import LamarTokenizer
        print(LAMAR.__file__, LamarTokenizer()("ACGTN")["input_ids"])
    """
    command = [sys.executable, "-I", "-c", textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    # <cls> <pad> <eos> <unk> <mask> A T C G N
    assert done.stdout.split(maxsplit=1) == [str(tmp_path / "LAMAR" / "__init__.py"), "[0, 5, 7, 8, 6, 9, 2]\n"]


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
    """Only the CNN evaluation needs TensorFlow, and only single options need the other extras."""
    paths = (path.relative_to(REPO).with_suffix("") for path in (REPO / "LAMAR").rglob("*.py"))
    modules = sorted(".".join(path.parts) for path in paths if path.name != "__init__")
    done = _run_without(
        {"tensorflow", "keras", "captum", "peft", "pybigtools"},
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
    """From another folder, and with none of the libraries that take long to import."""
    done = _run_without(
        {"torch", "tensorflow", "keras", "transformers", "datasets", "captum", "peft", "pandas", "matplotlib", "scipy"},
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
