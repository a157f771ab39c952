"""Reading labelled sets and comparing their sequences, beside what is commonly written.

Run: python tests/benchmarks/bench_labelled.py

35,000 windows of 101 nt: a CSV beside pandas alone, a pair of FASTA files beside Biopython alone (neither checks a
letter), the longest run that two parts share beside sets of all their substrings.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from Bio import SeqIO
from timing import benchmark_parser, random_windows, side_by_side

from LAMAR.data.kmers import cluster_sequences, longest_shared_run
from LAMAR.data.labelled import load_labelled
from LAMAR.data.sequences import write_fasta

LENGTH = 101


def longest_by_sets(a: list[str], b: list[str]) -> int:
    """Return the longest shared run by bisection, with a set of all substrings of ``a`` for each length."""
    low, high = 0, LENGTH + 1
    while high - low > 1:
        length = (low + high) // 2
        substrings = {s[i : i + length] for s in a for i in range(len(s) - length + 1)}
        shared = any(s[i : i + length] in substrings for s in b for i in range(len(s) - length + 1))
        low, high = (length, high) if shared else (low, length)
    return low


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, rounds=3)
    parser.add_argument("--n_sequences", type=int, default=35_000, help="default: %(default)s")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    sequences = random_windows(args.n_sequences, LENGTH)
    facts = {"rounds": args.rounds, "sequences": args.n_sequences, "nucleotides": LENGTH}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labels = np.arange(args.n_sequences) % 2
        pd.DataFrame({"sequence": sequences, "label": labels}).to_csv(folder / "a.csv", index=False)
        pair = {side: folder / f"A.{side}.fa" for side in ("positives", "negatives")}
        for half, file in enumerate(pair.values()):
            write_fasta(file, [(f"chr1:{i}-{i + LENGTH}(+)", s) for i, s in enumerate(sequences[half::2])])
        ways = {
            "load_labelled": lambda: load_labelled(folder / "a.csv"),
            "pandas": lambda: pd.read_csv(folder / "a.csv"),
        }
        side_by_side("read a CSV", ways, **facts)
        ways = {
            "load_labelled": lambda: load_labelled(folder / "A"),
            "Biopython": lambda: [[str(r.seq) for r in SeqIO.parse(file, "fasta")] for file in pair.values()],
        }
        side_by_side("read a pair of FASTA files", ways, **facts)
    parts = sequences[: args.n_sequences * 4 // 5], sequences[args.n_sequences * 4 // 5 :]
    if longest_shared_run(*parts) != longest_by_sets(*parts):
        raise SystemExit("the two do not find the same run: nothing to compare")
    ways = {"longest_shared_run": lambda: longest_shared_run(*parts), "sets": lambda: longest_by_sets(*parts)}
    side_by_side("longest run that two parts share", ways, **facts)
    ways = {"all": lambda: cluster_sequences(sequences), "half of them": lambda: cluster_sequences(sequences[::2])}
    side_by_side("clusters of similar sequences", ways, **facts)


if __name__ == "__main__":
    main()
