#!/usr/bin/env python
"""Feed damaged files to every reader of users' files: each is read, or refused in one short line.

    python tests/fuzz/run_fuzz.py                                  10,000 inputs, shared among all targets
    python tests/fuzz/run_fuzz.py --targets hdf5 config --inputs 500 --seed 10000
    python tests/fuzz/run_fuzz.py --replay hdf5:137                one input again, with its traceback; its files stay

A target and a seed determine an input. Inputs are read in forked processes, in batches, so that a crash of the
interpreter is seen too. A finding is

- an exception other than `InputError`, or an `InputError` that is not one line of fewer than 400 letters
- a result that cannot be right
- more than 5 s of processor time, more than 2 GiB beyond what the process had, or the end of the process

Findings of one kind are printed once, with how to replay the first; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["LAMAR_LIGHT"] = "1"
sys.path[:0] = [str(FOLDER), str(FOLDER.parent), str(FOLDER.parents[1])]

from batches import Finding, Workplace  # noqa: E402

from LAMAR.cli.arguments import not_negative, positive  # noqa: E402

MODULES = ("targets_sequences", "targets_genomics", "targets_models", "targets_runs")
BATCH = 25


def all_targets() -> dict:
    """Return all targets by name; this imports whatever they need."""
    found = {target.name: target for name in MODULES for target in __import__(name).TARGETS}
    # What readers import late, once for all forked processes.
    for name in ("datasets", "h5py", "pyarrow.parquet", "Bio.bgzf", "scipy.stats", "sklearn.linear_model"):
        __import__(name)
    return found


def shares(targets: list, inputs: int) -> dict[str, int]:
    """Return the number of inputs of each target, at least one, that add up to ``inputs`` or a few more."""
    total = sum(target.share for target in targets)
    return {target.name: max(1, -int(-inputs * target.share // total)) for target in targets}


def fuzz(targets: list, inputs: int, first: int, folder: Path) -> tuple[Counter, list[Finding]]:
    """Read inputs of all targets; return how many ended in each way, and what was found."""
    outcomes, findings = Counter(), []
    for target, n in zip(targets, shares(targets, inputs).values()):
        place = Workplace(target, folder / target.name)
        before = Counter(outcomes)
        for start in range(first, first + n, BATCH):
            for _, outcome in place.run(range(start, min(start + BATCH, first + n))):
                outcomes[outcome if isinstance(outcome, str) else "findings"] += 1
                if isinstance(outcome, Finding):
                    if outcome.kind not in {finding.kind for finding in findings}:
                        print(f"{outcome.target}:{outcome.seed}: {outcome.what} at {outcome.where}", flush=True)
                    findings.append(outcome)
        counts = ", ".join(f"{count} {name}" for name, count in sorted((outcomes - before).items()))
        print(f"{target.name:<24} seeds {first} to {first + n - 1}: {counts}", flush=True)
    return outcomes, findings


def describe(findings: list[Finding]) -> str:
    """Return the kinds of findings, most frequent first, each with its first input."""
    kinds: dict[tuple, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.kind, []).append(finding)
    lines = []
    for found in sorted(kinds.values(), key=len, reverse=True):
        first = found[0]
        lines.append(f"{len(found)} x {first.what} at {first.where}")
        lines.append(f"    python tests/fuzz/run_fuzz.py --replay {first.target}:{first.seed}")
    return "\n".join(lines)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=positive(int), default=10_000, help="default: %(default)s")
    parser.add_argument("--seed", type=not_negative(int), default=0, help="first seed (default: %(default)s)")
    parser.add_argument("--targets", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--replay", metavar="TARGET:SEED", help="read one input, and keep its files")
    parser.add_argument("--list", action="store_true", help="print the names of the targets")
    return parser


def main(argv: list[str] | None = None) -> int:
    parser = build_parser()
    arguments = parser.parse_args(argv)
    targets = all_targets()
    wanted = [arguments.replay.partition(":")[0]] if arguments.replay else arguments.targets or list(targets)
    if unknown := [name for name in wanted if name not in targets]:
        parser.error(f"found target {unknown[0]}, wanted some of {' '.join(targets)}")
    if arguments.list:
        print("\n".join(targets))
        return 0
    if arguments.replay:
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        logging.basicConfig(format="%(message)s")
        Workplace(targets[wanted[0]], folder).replay(int(arguments.replay.partition(":")[2]))
        return 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        outcomes, findings = fuzz([targets[name] for name in wanted], arguments.inputs, arguments.seed, Path(folder))
    counts = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
    print(f"{outcomes.total()} inputs of {len(wanted)} targets: {counts}")
    if findings:
        print(describe(findings))
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
