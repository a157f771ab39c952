"""One-hot encoding of 100,000 sequences of 101 nucleotides, beside a plain Python loop.

Run: python tests/benchmarks/bench_one_hot.py

Wanted: encode_one_hot under one second. The loop encodes a part of the sequences; both arrays must be equal for it.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from timing import benchmark_parser, random_windows, side_by_side

from LAMAR.data.one_hot import encode_one_hot

LENGTH, N_LOOP = 101, 5_000


def plain_loop(sequences: list[str]) -> np.ndarray:
    """Return the array (n, longest, 4) by the loop that is commonly written."""
    array = np.zeros((len(sequences), max(map(len, sequences)), 4), dtype=np.uint8)
    for i, sequence in enumerate(sequences):
        for j, letter in enumerate(sequence):
            if letter != "N":
                array[i, j, "ACGT".index(letter)] = 1
    return array


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--n_sequences", type=int, default=100_000, help="default: %(default)s")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    sequences = random_windows(args.n_sequences, LENGTH, "ACGTN")
    few = sequences[:N_LOOP]
    if not np.array_equal(encode_one_hot(few), plain_loop(few)):
        raise SystemExit("the two do not give the same array: nothing to compare")

    start = time.perf_counter()
    encode_one_hot(sequences)
    seconds = time.perf_counter() - start
    print(f"{args.n_sequences:,} sequences of {LENGTH} nt: {seconds:.3f} s in one call")
    side_by_side(
        "one-hot encoding",
        {"encode_one_hot": lambda: encode_one_hot(few), "plain Python loop": lambda: plain_loop(few)},
        rounds=args.rounds,
        sequences=len(few),
        nucleotides=LENGTH,
    )


if __name__ == "__main__":
    main()
