"""Peak memory of an evaluation whose embeddings are larger than the memory it may take.

Run: python tests/benchmarks/bench_memory.py
Tiny: python tests/benchmarks/bench_memory.py --n_sequences 400 --width 64

35,000 made-up sequences of 101 nt under one block of width 768: 5.4 GB of embeddings in float16, twice that in float32.
LAMAR_CNN_clip_data.py runs on them in a process of its own, one epoch; wanted: less than 6 GiB at any moment. Resident
memory is read ten times a second, memory-mapped pages included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from LAMAR.cli.demo import REPOSITORY

LENGTH, WANTED_GIB = 101, 6


def write_set(path: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)[rng.integers(0, 4, (n, LENGTH))]
    lines = [f"{row.tobytes().decode()},{i % 2}\n" for i, row in enumerate(letters)]
    path.write_text("sequence,label\n" + "".join(lines))


def write_weights(path: Path, width: int) -> None:
    from LAMAR.checkpoints import build_model
    from LAMAR.configuration import EsmConfig
    from LAMAR.modeling_nucESM2 import EsmForMaskedLM

    config = EsmConfig(
        num_hidden_layers=1, hidden_size=width, intermediate_size=4 * width, num_attention_heads=max(1, width // 64)
    )
    build_model(EsmForMaskedLM, config, seed=0).save_pretrained(path)


def peak(command: list[str], log: Path) -> tuple[float, float]:
    """Seconds that a command took, and the largest sum of resident memory over its processes, in GiB."""
    start, most = time.perf_counter(), 0
    with open(log, "w") as handle:
        process = subprocess.Popen(command, stdout=handle, stderr=subprocess.STDOUT)
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            most = max(most, sum(p.memory_info().rss for p in [watched, *watched.children(recursive=True)]))
        except psutil.NoSuchProcess:
            continue
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"the evaluation failed:\n{log.read_text()}")
    return time.perf_counter() - start, most / 2**30


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_sequences", type=int, default=35_000, help="[35000]")
    parser.add_argument("--width", type=int, default=768, help="[768]")
    parser.add_argument("--dtype", default="float16", choices=["float16", "float32"], help="[float16]")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_set(folder / "made_up.csv", args.n_sequences)
        write_weights(folder / "weights", args.width)
        script = REPOSITORY / "evalEmbeddings" / "LAMAR_CNN_clip_data.py"
        options = f"--variants Pretrained --layers 0 --n_repeats 1 --epochs 1 --min_steps 0 --dtype {args.dtype}"
        command = [sys.executable, str(script), *options.split(), "--data_dir", str(folder / "made_up.csv")]
        command += ["--pretrained_weights", str(folder / "weights"), "--output_dir", str(folder / "results")]
        seconds, most = peak([*command, "--split", "random", "--allow_duplicates"], folder / "log")
        size = sum(file.stat().st_size for file in (folder / "results" / "embeddings").rglob("*.npy")) / 2**30
    record = {"benchmark": "peak memory of an evaluation", "sequences": args.n_sequences, "width": args.width}
    record |= {"embeddings_gib": round(size, 2), "peak_gib": round(most, 2), "wanted_below_gib": WANTED_GIB}
    print(json.dumps(record | {"dtype": args.dtype, "seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
