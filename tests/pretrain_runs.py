"""Runs of pretrain.py on small corpora of a known rule, for the tests of it."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "finetune_scripts" / "pretrain.py"
NEXT = {"A": "C", "C": "G", "G": "T", "T": "A"}

spec = importlib.util.spec_from_file_location("pretrain", SCRIPT)
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)

SHAPE = ["--hidden_size", 32, "--intermediate_size", 64, "--num_attention_heads", 2, "--num_hidden_layers", 2]
# The rule alone makes sequences share long runs.
BASE = ["--exclude_run", 0, "--model_max_length", 66, "--token_budget", 700, "--val_fraction", 0.1, "--markov_order", 3]
BASE += ["--max_steps", 30, "--peak_lr", 3e-3, "--save_steps", 10, "--logging_steps", 5, "--warmup_ratio", 0]


class Killed(BaseException):
    """Ends a run at this very place, as SIGKILL would."""


def cycles(n: int, seed: int) -> list[str]:
    """Sequences of 30 to 90 nt in which C follows A, G C, T G and A T, nine times in ten."""
    rng = random.Random(seed)
    sequences = []
    for _ in range(n):
        letters = [rng.choice("ACGT")]
        for _ in range(rng.randint(29, 89)):
            letters.append(NEXT[letters[-1]] if rng.random() < 0.9 else rng.choice("ACGT"))
        sequences.append("".join(letters))
    return sequences


def make_corpus(folder: Path) -> Path:
    """FASTA of 300 such sequences."""
    path = folder / "cycles.fa"
    path.write_text("".join(f">r{i}\n{sequence}\n" for i, sequence in enumerate(cycles(300, seed=1))))
    return path


def arguments(data: Path, output: Path, *more, shape=SHAPE) -> list[str]:
    return [str(word) for word in ("--data_path", data, "--output_dir", output, *shape, *BASE, *more)]


def run(data: Path, output: Path, *more, shape=SHAPE) -> dict:
    assert script.main(arguments(data, output, *more, shape=shape)) == 0
    return json.loads((output / "eval_results.json").read_text())


def log(output: Path, *without: str) -> list[dict]:
    with (output / "log.csv").open(newline="") as handle:
        return [{k: v for k, v in row.items() if k not in without} for row in csv.DictReader(handle)]


def same_run(one: Path, two: Path) -> bool:
    """Weights, and the log but for the speed, are equal to the last bit."""
    files = [path / "model.safetensors" for path in (one, two)]
    rows = [log(path, "tokens_per_s") for path in (one, two)]
    return files[0].read_bytes() == files[1].read_bytes() and rows[0] == rows[1]


def start(data: Path, output: Path, *more, launcher=(sys.executable,)) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*map(str, launcher), str(SCRIPT), *arguments(data, output, *more)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
