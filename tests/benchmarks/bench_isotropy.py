"""All figures of geometry of 100,000 embeddings of width 768, beside a full SVD of the same matrix.

Run: python tests/benchmarks/bench_isotropy.py
Tiny: python tests/benchmarks/bench_isotropy.py --n 2000 --width 64 --rounds 1

Wanted on 2 cores: all figures in less than 10 s and less than 1 GiB beyond the input. The SVD is of the centred matrix
in float64, values only; the k90 ratio from it must be that of the figures.
"""

from __future__ import annotations

import argparse
import json
import threading
import time

import numpy as np
import psutil
from timing import benchmark_parser, side_by_side

from LAMAR.evaluation.geometry import measure
from LAMAR.statistics.isotropy import k90_ratio

WANTED_SECONDS, WANTED_GIB = 10, 1


def made_up(n: int, d: int) -> np.ndarray:
    """Return float32 (n, d) with singular values that fall off as 1 / sqrt(i), a common mean, and rotated axes."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32)
    scale = (1 / np.sqrt(np.arange(1, d + 1))).astype(np.float32)
    values = np.empty((n, d), dtype=np.float32)
    for start in range(0, n, 4096):
        block = values[start : start + 4096]
        block[:] = (rng.standard_normal(block.shape, dtype=np.float32) * scale) @ axes + 0.5
    return values


def peak_beyond(function) -> tuple[float, float]:
    """Return the seconds of a call, and the rise of resident memory during it in GiB, read every 5 ms."""
    process, stop, most = psutil.Process(), threading.Event(), [0]
    before = process.memory_info().rss

    def watch() -> None:
        while not stop.wait(0.005):
            most[0] = max(most[0], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    start = time.perf_counter()
    function()
    seconds = time.perf_counter() - start
    stop.set()
    thread.join()
    return seconds, max(0, most[0] - before) / 2**30


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, rounds=3)
    parser.add_argument("--n", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--width", type=int, default=768, help="default: %(default)s")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    values = made_up(args.n, args.width)

    def figures() -> float:
        return measure({"made up": values}, n_boot=0)["figures"]["made up"]["k90_ratio"]

    def full_svd() -> float:
        centred = values - values.mean(axis=0, dtype=np.float64)
        return k90_ratio(np.linalg.svd(centred, compute_uv=False))

    seconds, gib = peak_beyond(figures)
    record = {"benchmark": "memory of all figures", "n": args.n, "width": args.width, "seconds_first_call": seconds}
    record |= {"input_gib": values.nbytes / 2**30, "gib_beyond_input": gib}
    record |= {"wanted_seconds": WANTED_SECONDS, "wanted_gib": WANTED_GIB}
    print(json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in record.items()}))
    if figures() != full_svd():
        raise SystemExit("the two do not give the same k90: nothing to compare")
    side_by_side(
        "geometry of embeddings",
        {"all figures": figures, "full SVD": full_svd},
        rounds=args.rounds,
        n=args.n,
        width=args.width,
    )


if __name__ == "__main__":
    main()
