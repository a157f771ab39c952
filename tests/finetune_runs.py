"""Runs of finetune_rbp.py on small sets with a planted motif, for the tests of it."""

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
SCRIPT = ROOT / "finetune_scripts" / "finetune_rbp.py"
MOTIF = "TGTAAATA"

spec = importlib.util.spec_from_file_location("finetune_rbp", SCRIPT)
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


def windows(n: int, seed: int, lengths=(30, 40)) -> list[tuple[str, int]]:
    """n records, every second one with the motif."""
    rng = random.Random(seed)
    records = []
    for i in range(n):
        letters = rng.choices("ACGT", k=rng.randint(*lengths))
        if i % 2:
            at = rng.randrange(len(letters) - len(MOTIF))
            letters[at : at + len(MOTIF)] = MOTIF
        records.append(("".join(letters), i % 2))
    return records


def write_table(path: Path, records, header="sequence,label") -> None:
    path.write_text("\n".join([header, *(",".join(map(str, record)) for record in records)]) + "\n")


def make_dataset(folder: Path) -> Path:
    """train.csv, dev.csv and test.csv in ``folder``/RBP1."""
    folder = folder / "RBP1"
    folder.mkdir()
    for number, (part, n) in enumerate((("train", 120), ("dev", 40), ("test", 40))):
        write_table(folder / f"{part}.csv", windows(n, seed=number))
    return folder


def arguments(data: Path, output: Path, *more) -> list[str]:
    base = ["--data_path", data, "--output_dir", output, "--config", "lamar-tiny", "--epochs", 2, "--cv_folds", 2]
    return [str(word) for word in (*base, "--batch_size", 16, "--lr", 3e-3, *more)]


def run(data: Path, output: Path, *more) -> dict:
    assert script.main(arguments(data, output, *more)) == 0
    return json.loads((output / data.name / "eval_results.json").read_text())


def table(path: Path) -> list[dict]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def start(data: Path, output: Path, *more, launcher=(sys.executable,), script_path: Path = SCRIPT) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*map(str, launcher), str(script_path), *arguments(data, output, *more)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
