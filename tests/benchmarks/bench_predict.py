"""Prediction of many RBPs along RNA: speed side by side, and memory.

Run: python tests/benchmarks/bench_predict.py
Tiny: python tests/benchmarks/bench_predict.py --rounds 1 --n_nucleotides 600 --n_tracks 2 --memory_nt 3000

1. The model that ships along random RNA: all tracks in one pass over the tiles, in float32 and in bfloat16, against one
   pass per track (for a few tracks; the ratio is their number) and one tile per forward pass. Scores are compared.
2. The share of this machine's matrix products: tiles per second times the arithmetic of a tile, over the speed of the
   encoder's own products, measured in the same rounds; and the time that a transcriptome of 37 Mnt would take.
3. Peak memory of predict_rbp.py on 1 and on 30 times as much RNA, bedGraph and matrix asked for, with a small random
   model of as many tracks: what is kept does not depend on the encoder.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from timing import (
    REPO,
    benchmark_parser,
    flop_per_sequence,
    load_average,
    peak_memory,
    prepare_torch,
    random_windows,
    side_by_side,
)

from LAMAR import load_classifier
from LAMAR.checkpoints import build_model
from LAMAR.modeling_nucESM2 import EsmForSequenceClassification, named_config
from LAMAR.prediction.predictor import Predictor
from LAMAR.prediction.records import Place, Record

MODEL = REPO / "weights" / "lamar-mini-rbp"
TRANSCRIPTOME, TIMES, RECORD_NT = 37_000_000, 30, 2_500


def speed(n_nucleotides: int, n_tracks: int, rounds: int) -> None:
    model, _ = load_classifier(MODEL)
    (sequence,) = random_windows(1, n_nucleotides)
    record = Record("made_up", sequence, Place("made_up", "+", (0,), (n_nucleotides,)))
    names = list(model.config.id2label.values())
    found: dict[str, np.ndarray] = {}
    n_tiles = 0

    def scanning(key: str, **options):
        def run():
            nonlocal n_tiles
            scores = Predictor(model, device="cpu", **options).predict(record, keep_tiles=True)
            found[key], n_tiles = np.concatenate([tiles.logits for tiles in scores.tiles]), scores.n_tiles

        return run

    def per_track():
        for name in names[:n_tracks]:
            scanning(name, rbps=[name])()

    n_tokens, config = model.config.window_length + 2, model.config
    d, feed_forward, rows = config.hidden_size, config.intermediate_size, 19 * (model.config.window_length + 2)
    a, b, result = torch.randn(rows, d), torch.randn(d, feed_forward), torch.empty(rows, feed_forward)
    scanning("float32")()
    work = flop_per_sequence(config, n_tokens) * n_tiles
    repeats = max(1, round(work / (2 * rows * d * feed_forward)))

    def products():
        for _ in range(repeats):
            torch.mm(a, b, out=result)

    each = f"one pass per track, {n_tracks} of {len(names)}"
    record_ = side_by_side(
        "prediction along RNA",
        {
            "products": products,
            "all tracks, float32": scanning("float32"),
            "all tracks, bfloat16": scanning("bfloat16", bf16=True),
            each: per_track,
            "one tile per forward pass": scanning("single", token_budget=1),
        },
        rounds=rounds,
        nucleotides=n_nucleotides,
        tiles=n_tiles,
    )
    for key, wanted in (("single", 1e-4), ("bfloat16", 0.5)):
        difference = float(np.abs(found[key] - found["float32"]).max())
        print(f"{key}: largest difference of a logit from float32 {difference:.1e} (wanted at most {wanted})")
    if "seconds" in record_:
        seconds = {name: max(value, 1e-3) for name, value in record_["seconds"].items()}
        limit = work / seconds["products"] / 1e9
        for name in list(seconds)[1:]:
            passes = n_tracks if name == each else 1
            rate = n_nucleotides / seconds[name]
            share = passes * work / seconds[name] / 1e9 / limit
            hours = TRANSCRIPTOME / rate / 3600
            print(f"{name}: {rate:,.0f} nt/s, {share:.0%} of {limit:.0f} GFLOP/s; 37 Mnt would take {hours:.1f} h")


def memory(n_nucleotides: int) -> None:
    names = [f"RBP{i}_K562" for i in range(244)]
    config = named_config(
        "lamar-tiny",
        num_labels=len(names),
        loss_type="bce",
        head_type="max_mean",
        head_channels=8,
        head_kernel_size=5,
        head_trained=True,
        window_length=101,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
    )
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        build_model(EsmForSequenceClassification, config, seed=0).save_pretrained(folder / "model")
        for times in (1, TIMES):
            lines = [
                f">{i}\n{s}\n" for i, s in enumerate(random_windows(times * n_nucleotides // RECORD_NT, RECORD_NT))
            ]
            (folder / f"{times}.fa").write_text("".join(lines))
            command = [sys.executable, str(REPO / "finetune_scripts" / "predict_rbp.py"), "--bedgraph", "--matrix"]
            command += ["--fasta", str(folder / f"{times}.fa"), "--model_path", str(folder / "model"), "--top", "3"]
            seconds, peaks[times] = peak_memory([*command, "--output_dir", str(folder / f"out{times}")])
            print(f"{times * n_nucleotides:,} nt: {seconds:.0f} s, {peaks[times]:.2f} GiB", flush=True)
    record = {"benchmark": "peak memory of predict_rbp.py", "nucleotides": n_nucleotides, "times": TIMES}
    record |= {"peak_gib": round(peaks[1], 3), f"peak_gib_{TIMES}": round(peaks[TIMES], 3), "wanted_ratio_below": 1.2}
    print(json.dumps(record | {"ratio": round(peaks[TIMES] / peaks[1], 2)} | load_average()))


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, rounds=3, threads=2)
    parser.add_argument("--n_nucleotides", type=int, default=5_000, help="of the timed record (default: %(default)s)")
    parser.add_argument("--n_tracks", type=int, default=4, help="predicted one by one (default: %(default)s)")
    parser.add_argument("--memory_nt", type=int, default=250_000, help="times 1 and 30 (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    prepare_torch(args.threads)
    speed(args.n_nucleotides, args.n_tracks, args.rounds)
    memory(max(args.memory_nt, RECORD_NT))


if __name__ == "__main__":
    main()
