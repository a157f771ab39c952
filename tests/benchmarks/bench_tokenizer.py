"""Encoding of 100,000 sequences of 101 nucleotides on one core, beside transformers' EsmTokenizer.

Run: python tests/benchmarks/bench_tokenizer.py

Prints one JSON line for each tokenizer: seconds of every round for all sequences, their median, the ratio to
transformers' tokenizer in the same run, and the load average.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch
from timing import benchmark_parser, load_average, random_windows
from transformers import EsmTokenizer

from LAMAR.tokenization import TOKENIZER_FOLDER, LamarTokenizer, encode_ragged

# transformers' tokenizer is so slow that it gets a twentieth of the sequences, and its time is scaled.
SCALE = 20
LENGTH = 101


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--n_sequences", type=int, default=100_000, help="default: %(default)s")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    torch.set_num_threads(1)
    sequences = random_windows(args.n_sequences, LENGTH)
    few = sequences[: max(1, len(sequences) // SCALE)]
    lamar, esm = LamarTokenizer(), EsmTokenizer(str(TOKENIZER_FOLDER / "vocab.txt"))
    if lamar(few[:100])["input_ids"] != esm(few[:100])["input_ids"]:
        raise SystemExit("the two tokenizers do not give the same ids: nothing to compare")
    alternatives = {
        "EsmTokenizer": (lambda: esm(few), len(few)),
        "LamarTokenizer": (lambda: lamar(sequences), len(sequences)),
        "encode_ragged": (lambda: encode_ragged(sequences), len(sequences)),
    }
    seconds = {name: [] for name in alternatives}
    for _ in range(args.rounds):
        for name, (function, n) in alternatives.items():
            start = time.perf_counter()
            function()
            seconds[name].append((time.perf_counter() - start) * len(sequences) / n)
    reference = statistics.median(seconds["EsmTokenizer"])
    for name, rounds in seconds.items():
        median = statistics.median(rounds)
        line = {"benchmark": f"tokenizer, {name}", "sequences": len(sequences), "nucleotides": LENGTH}
        line |= {"scaled_from": alternatives[name][1], "seconds": [round(value, 4) for value in rounds]}
        line |= {"median_seconds": round(median, 4), "times_as_fast_as_EsmTokenizer": round(reference / median, 1)}
        print(json.dumps(line | load_average()), flush=True)


if __name__ == "__main__":
    main()
