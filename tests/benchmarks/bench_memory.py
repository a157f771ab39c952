"""Peak memory of an evaluation whose embeddings are larger than the memory it may take.

Run: python tests/benchmarks/bench_memory.py
Tiny: python tests/benchmarks/bench_memory.py --n_sequences 400 --width 64

35,000 made-up sequences of 101 nt under one block of width 768: 5.4 GB of embeddings in float16, twice that in float32.
LAMAR_CNN_clip_data.py runs on them for one epoch; wanted: less than 6 GiB at any moment, memory-mapped pages included.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from timing import REPO, benchmark_parser, peak_memory, random_windows

LENGTH, WANTED_GIB = 101, 6


def write_set(path: Path, n: int) -> None:
    lines = [f"{sequence},{i % 2}\n" for i, sequence in enumerate(random_windows(n, LENGTH))]
    path.write_text("sequence,label\n" + "".join(lines))


def write_weights(path: Path, width: int) -> None:
    from LAMAR.checkpoints import build_model
    from LAMAR.configuration import EsmConfig
    from LAMAR.modeling_nucESM2 import EsmForMaskedLM

    config = EsmConfig(
        num_hidden_layers=1, hidden_size=width, intermediate_size=4 * width, num_attention_heads=max(1, width // 64)
    )
    build_model(EsmForMaskedLM, config, seed=0).save_pretrained(path)


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, rounds=None)
    parser.add_argument("--n_sequences", type=int, default=35_000, help="default: %(default)s")
    parser.add_argument("--width", type=int, default=768, help="default: %(default)s")
    parser.add_argument("--dtype", default="float16", choices=["float16", "float32"], help="default: %(default)s")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_set(folder / "made_up.csv", args.n_sequences)
        write_weights(folder / "weights", args.width)
        script = REPO / "evalEmbeddings" / "LAMAR_CNN_clip_data.py"
        options = f"--variants Pretrained --layers 0 --n_repeats 1 --epochs 1 --min_steps 0 --dtype {args.dtype}"
        command = [sys.executable, str(script), *options.split(), "--data_dir", str(folder / "made_up.csv")]
        command += ["--pretrained_weights", str(folder / "weights"), "--output_dir", str(folder / "results")]
        seconds, most = peak_memory([*command, "--split", "random", "--allow_duplicates"])
        size = sum(file.stat().st_size for file in (folder / "results" / "embeddings").rglob("*.npy")) / 2**30
    record = {"benchmark": "peak memory of an evaluation", "sequences": args.n_sequences, "width": args.width}
    record |= {"embeddings_gib": round(size, 2), "peak_gib": round(most, 2), "wanted_below_gib": WANTED_GIB}
    print(json.dumps(record | {"dtype": args.dtype, "seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
