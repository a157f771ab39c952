"""The fuzz driver itself, and 300 of its inputs; all of them are read by ``make fuzz``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

from batches import READ, REFUSED, Finding, Workplace  # noqa: E402
from mutations import damage_files, damage_json  # noqa: E402
from targets import Target, attempt, write  # noqa: E402

from LAMAR.errors import InputError  # noqa: E402


def call(name: str, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, str(FOLDER / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=FOLDER.parents[1])


@pytest.mark.slow
def test_three_hundred_inputs():
    done = call("run_fuzz.py", "--inputs", 300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " read" in done.stdout
    assert " refused" in done.stdout
    assert len(done.stdout.splitlines()) >= 25  # a line for each of 24 targets or more, and their sum


@pytest.mark.slow
def test_kills_of_the_fastest_script():
    done = call("run_kills.py", "--scripts", "run_prep", "--kills", 6, "--seed", 3)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differ from an undisturbed one" in done.stdout


# ---------------------------------------------------------------------------------------------------- the driver


def read_number(folder: Path) -> int:
    """A reader with several faults, one for each small number."""
    number = int((folder / "x").read_text())
    if number == 1:
        raise InputError("x: found 1, wanted another number")
    if number == 2:
        raise InputError("x: found 2 " * 40)
    if number == 3:
        raise ValueError("a traceback")
    if number == 4:
        os.abort()
    if number == 5:
        np.ones(2**29)
    if number == 6:
        assert number == 7, "an insane result"
    if number == 7:
        while True:
            pass
    return number


def damage_number(rng: Random, folder: Path) -> None:
    drawn = rng.random()
    (folder / "x").write_text(next(seed for seed in map(str, range(9)) if drawn == Random(f"t:{seed}").random()))


@pytest.fixture
def place(tmp_path, monkeypatch) -> Workplace:
    """A place whose seed is the number that is read."""
    monkeypatch.setattr("batches.SECONDS", 0.2)
    target = Target("t", lambda folder: write(folder / "x", "0"), read_number, damage_number)
    return Workplace(target, tmp_path / "t")


def test_each_kind_of_fault_is_found_and_the_others_are_read(place):
    outcomes = dict(place.run(range(9)))
    assert sorted(outcomes) == list(range(9))
    assert [outcomes[seed] for seed in (0, 1, 8)] == [READ, REFUSED, READ]
    found = {seed: outcome.what for seed, outcome in outcomes.items() if isinstance(outcome, Finding)}
    assert found[2].startswith("AssertionError: a message of 4")
    assert found[3] == "ValueError: a traceback"
    assert found[4] == "the process ended: code -6"
    assert found[5].startswith("MemoryError: ")
    assert found[6].startswith("AssertionError: an insane result")
    assert found[7] == "the process ended: code -24"  # SIGXCPU
    assert len(found) == 6


def test_a_seed_determines_its_input(tmp_path):
    def make(folder: Path) -> None:
        write(folder / "a.csv", "sequence,label\n" + "ACGT,1\nGGCC,0\n" * 5)
        write(folder / "b" / "c.json", '{"a": [1, 2, {"b": "x"}], "c": {"d": null}}')
        write(folder / "d.txt.gz", "one\ttwo\n1\t2\n")

    def damaged(name: str, seed: int) -> dict[str, bytes | str]:
        place = Workplace(Target("t", make, read_number, damage_files), tmp_path / name)
        place.prepare(seed)
        paths = sorted(place.case.rglob("*"))
        return {str(p.relative_to(place.case)): p.read_bytes() if p.is_file() else "no file" for p in paths}

    ones = [damaged("one", seed) for seed in range(60)]
    assert ones == [damaged("two", seed) for seed in range(60)]
    assert sum(one != damaged("one", seed + 1) for seed, one in enumerate(ones)) > 50


def test_values_of_one_input_do_not_reach_the_next():
    for seed in range(300):
        damage_json(Random(seed), damage_json(Random(seed + 1), {"a": [1, {"b": 2}]}))
    assert damage_json(Random(5), {"a": [1, {"b": 2}]}) == damage_json(Random(5), {"a": [1, {"b": 2}]})


def test_all_calls_of_an_attempt_are_made():
    made = []

    def refuse() -> None:
        made.append(1)
        raise InputError("x: found 1, wanted 2")

    with pytest.raises(InputError):
        attempt(refuse, refuse, lambda: made.append(2))
    assert made == [1, 1, 2]
