"""Runs of the scripts in preprocess/ on small made-up regions, for tests."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from LAMAR.alphabet import reverse_complement

FOLDER = Path(__file__).resolve().parents[1] / "preprocess"
RNG = np.random.default_rng(0)
GENOME = {f"chr{i}": "".join(RNG.choice(list("ACGT"), 20_000)) for i in (1, 2, 10)}
# One short, one medium, one long, one shorter than the 8 nt of the smallest window, on every kind of strand.
REGIONS = [
    ("chr1", 100, 160, "."),
    ("chr1", 500, 780, "+"),
    ("chr1", 1000, 3500, "-"),
    ("chr2", 0, 5, "-"),
    ("chr2", 40, 400, "."),
    ("chr10", 7000, 9000, "."),
    ("chr10", 8500, 8900, "-"),
]


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def call(name: str, *arguments) -> int:
    """The script's exit code, run in this process."""
    try:
        return load(name).main([str(argument) for argument in arguments])
    except SystemExit as stop:  # of the argument parser
        return stop.code


def run(name: str, *arguments, cwd=None) -> subprocess.CompletedProcess:
    command = [sys.executable, str(FOLDER / f"{name}.py"), *map(str, arguments)]
    environment = os.environ | {"LAMAR_LIGHT": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


def region_text(regions=REGIONS, genome=GENOME) -> str:
    lines = []
    for chrom, start, end, strand in regions:
        sequence = genome[chrom][start:end]
        lines.append(f">{chrom}:{start}-{end}" + (f"({strand})" if strand != "." else ""))
        lines.append(reverse_complement(sequence) if strand == "-" else sequence)
    return "\n".join(lines) + "\n"


def options(inputs: dict[str, Path], **others) -> list:
    return [item for name, value in (inputs | others).items() for item in (f"--{name}", value)]


SMALL = {"max_len": 100, "stride": 40}


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def with_name(prefix: Path, name: str) -> Path:
    return prefix.with_name(f"{prefix.name}_{name}")
