"""Time of encoding 100,000 sequences of 101 nucleotides on one core, beside transformers' EsmTokenizer.

    python tests/benchmarks/bench_tokenizer.py

Prints one JSON line for each measure: seconds of every round for 100,000 sequences, their median, the ratio to
transformers' tokenizer in the same run, and the load average (a figure taken on a busy machine says little).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

N_SEQUENCES = 100_000
# transformers' tokenizer takes so long that a part of the sequences stands for all.
N_TRANSFORMERS = 5_000
LENGTH = 101
ROUNDS = 5


def main() -> None:
    # Before numpy and torch are imported: they read these once.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    import torch
    from timing import random_windows
    from transformers import EsmTokenizer

    from LAMAR.tokenization import TOKENIZER_FOLDER, LamarTokenizer, encode_ragged

    torch.set_num_threads(1)
    sequences = random_windows(N_SEQUENCES, LENGTH)
    few = sequences[:N_TRANSFORMERS]
    lamar = LamarTokenizer()
    esm = EsmTokenizer(str(TOKENIZER_FOLDER / "vocab.txt"))
    if lamar(few[:100])["input_ids"] != esm(few[:100])["input_ids"]:
        raise SystemExit("the two tokenizers do not give the same ids: nothing to compare")

    measures = {
        "EsmTokenizer": (lambda: esm(few), N_SEQUENCES / N_TRANSFORMERS),
        "LamarTokenizer": (lambda: lamar(sequences), 1.0),
        "encode_ragged": (lambda: encode_ragged(sequences), 1.0),
    }
    seconds = {name: [] for name in measures}
    for _ in range(ROUNDS):
        for name, (function, scale) in measures.items():
            start = time.perf_counter()
            function()
            seconds[name].append((time.perf_counter() - start) * scale)
    reference = statistics.median(seconds["EsmTokenizer"])
    for name, rounds in seconds.items():
        median = statistics.median(rounds)
        line = {
            "measure": name,
            "sequences": N_SEQUENCES,
            "nucleotides": LENGTH,
            "scaled_from": N_TRANSFORMERS if name == "EsmTokenizer" else N_SEQUENCES,
            "seconds": [round(value, 4) for value in rounds],
            "median_seconds": round(median, 4),
            "times_faster_than_EsmTokenizer": round(reference / median, 1),
            "load_average": [round(value, 2) for value in os.getloadavg()],
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
