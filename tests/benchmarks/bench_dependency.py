"""Dependency maps side by side, float32, random weights.

Run: python tests/benchmarks/bench_dependency.py
Tiny: python tests/benchmarks/bench_dependency.py --model lamar-tiny --length 24 --long 40 --rounds 1

1. Map of one sequence of 101 nt: `dependency_map` against one mutant per forward pass. The maps are compared.
2. The same map against extraction of embeddings of as many sequences of that length by the same loop: mutants per
   second over sequences per second; wanted within 15 %.
3. Peak memory of compute_dep_maps.py on one record of 1,000 nt with lamar-mini; wanted less than 1 GiB, everything
   that it loads included. On two cores this takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from timing import REPO, benchmark_parser, peak_memory, side_by_side

from LAMAR import EsmForMaskedLM, named_config
from LAMAR.alphabet import NUCLEOTIDES
from LAMAR.batches import EncodedSequences
from LAMAR.checkpoints import build_model
from LAMAR.embeddings import extract_outputs
from LAMAR.interpretation.dependency import dependency_map, nucleotide_log_odds

WANTED_GIB, WANTED_SHARE = 1, 0.85


def random_sequence(length: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list(NUCLEOTIDES), length))


@torch.no_grad()
def one_by_one(model, sequence: str) -> np.ndarray:
    """Return the map (L, L), computed with one forward pass per mutant."""

    def odds(text: str) -> torch.Tensor:
        ids = torch.from_numpy(EncodedSequences.encode([text]).ids.astype(np.int64))[None]
        return nucleotide_log_odds(model(ids, torch.ones_like(ids)).logits[0, 1:-1])

    unmutated = odds(sequence)
    values = np.zeros((len(sequence), len(sequence)), dtype=np.float32)
    for i, original in enumerate(sequence):
        for letter in NUCLEOTIDES.replace(original, ""):
            change = (odds(sequence[:i] + letter + sequence[i + 1 :]) - unmutated).abs().amax(-1).numpy()
            np.maximum(values[i], change, out=values[i])
    np.fill_diagonal(values, 0)
    return values


def speed(name: str, length: int, rounds: int) -> None:
    model = build_model(EsmForMaskedLM, named_config(name, attn_implementation="sdpa"), seed=0).eval()
    sequence, n = random_sequence(length), 3 * length + 1
    found = {}

    def batched():
        found["batched"] = dependency_map(model, sequence, device="cpu").values

    def single():
        found["single"] = one_by_one(model, sequence)

    facts = {"model": name, "nt": length, "mutants": n - 1, "threads": torch.get_num_threads()}
    side_by_side("dependency map", {"batched": batched, "one mutant per pass": single}, rounds=rounds, **facts)
    difference = float(np.abs(found["batched"] - found["single"]).max())
    print(f"largest difference {difference:.1e} of values up to {found['single'].max():.2g}")

    encoded, top = EncodedSequences.encode([random_sequence(length, seed) for seed in range(n)]), model.config
    layer = top.num_hidden_layers - 1
    alternatives = {
        "dependency map": batched,
        "extraction": lambda: extract_outputs(model, encoded, [(layer, "mean")], device="cpu"),
    }
    record = side_by_side("dependency map beside the extraction loop", alternatives, rounds=rounds, **facts)
    if "seconds" in record:
        share = record["times_as_fast_as_extraction"]["dependency map"]
        rate = n / max(record["seconds"]["dependency map"], 1e-3)
        print(f"{rate:.1f} mutants/s, {share:.0%} of the extraction loop's sequences/s (wanted {WANTED_SHARE:.0%})")


def memory(name: str, length: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        build_model(EsmForMaskedLM, named_config(name), seed=0).save_pretrained(folder / "model")
        (folder / "record.fa").write_text(f">record\n{random_sequence(length)}\n")
        script = REPO / "evalEmbeddings" / "depMaps" / "compute_dep_maps.py"
        command = [sys.executable, str(script), "--model_path", str(folder / "model"), "--device", "cpu"]
        command += ["--sequence_file", str(folder / "record.fa"), "--output_dir", str(folder / "out"), "--apc"]
        seconds, most = peak_memory(command)
    record = {"benchmark": "peak memory of a dependency map", "model": name, "nt": length, "peak_gib": round(most, 2)}
    print(json.dumps(record | {"wanted_below_gib": WANTED_GIB, "seconds": round(seconds, 1)}))


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, rounds=3)
    parser.add_argument("--model", nargs="+", default=["lamar-mini", "lamar"], help="default: %(default)s")
    parser.add_argument("--length", type=int, default=101, help="nt of the map that is timed (default: %(default)s)")
    parser.add_argument(
        "--long", type=int, default=1000, help="nt of the map whose memory is measured; 0: none (default: %(default)s)"
    )
    parser.add_argument("--long_model", default="lamar-mini", help="default: %(default)s")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    for name in args.model:
        speed(name, args.length, args.rounds)
    if args.long:
        memory(args.long_model, args.long)


if __name__ == "__main__":
    main()
