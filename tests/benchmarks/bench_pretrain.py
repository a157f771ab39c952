"""Masked-LM training side by side: the project's batches and model against a plain loop padded to 512 tokens.

Run: python tests/benchmarks/bench_pretrain.py
Tiny: python tests/benchmarks/bench_pretrain.py --model lamar-tiny --n_windows 32 --rounds 1

Every alternative takes one pass over the same windows, forward, backward and a step of AdamW:

    token budget         TrainingBatches (padding at most 5 %), SDPA, decoder on the predicted positions only; float32
    token budget, bf16   the same under autocast, for processors with bfloat16 units
    plain loop           batches of 16, all padded to 512 tokens, eager attention, decoder on all positions; float32

on CLIP-like windows (log-normal lengths around 70 nt) and on windows of 510 nt, which need no padding. Tokens are those
of the windows with their special tokens, without padding. The share of the machine's peak counts the model's matrix
products, three times those of a forward pass, against a large square product in the same precision and the same rounds.
For a GPU there is bench_gpu.py.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from timing import benchmark_parser, flop_per_sequence, prepare_torch, side_by_side

from LAMAR import EsmForMaskedLM, named_config
from LAMAR.batches import EncodedSequences
from LAMAR.checkpoints import build_model
from LAMAR.data.corpora import read_corpus
from LAMAR.data_collator_patch import MaskedLMCollator
from LAMAR.training.window_batches import TrainingBatches

PADDED, PLAIN_BATCH, BUDGET, SQUARE = 512, 16, 8_192, 4_096


def clip_like_lengths(n: int, rng) -> np.ndarray:
    """Return lengths in nt with the median of merged CLIP regions, 70, and some of 510."""
    return np.clip(np.exp(rng.normal(np.log(70), 0.7, n)), 20, PADDED - 2).astype(int)


def train_step(model, optimizer, batch: dict, labelled_only: bool, bf16: bool) -> None:
    device = next(model.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        loss = model(**batch, labelled_only=labelled_only).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def new_model(name: str, attention: str, device: str = "cpu"):
    model = build_model(EsmForMaskedLM, named_config(name, attn_implementation=attention), seed=0).train().to(device)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)


def by_budget(args, corpus, bf16: bool):
    model, optimizer = new_model(args.model, "sdpa")
    batches = TrainingBatches(corpus, MaskedLMCollator(seed=1), PADDED - 2, BUDGET, seed=1)

    def run():
        for batch in batches:
            if batches.passes > 1:
                return
            train_step(model, optimizer, batch, True, bf16)

    return run


def plain(args, sequences: list[str]):
    model, optimizer = new_model(args.model, "eager")
    encoded, collator = EncodedSequences.encode(sequences), MaskedLMCollator(seed=1)

    def run():
        for start in range(0, len(encoded), PLAIN_BATCH):
            rows = range(start, min(start + PLAIN_BATCH, len(encoded)))
            batch = collator([{"input_ids": encoded[i]} for i in rows])
            missing = PADDED - batch["input_ids"].shape[1]
            for name, value in (("input_ids", 1), ("attention_mask", 0), ("labels", -100)):
                batch[name] = torch.nn.functional.pad(batch[name], (0, missing), value=value)
            train_step(model, optimizer, batch, False, False)

    return run


def square(dtype: torch.dtype, repeats: int):
    a, b = (torch.randn(SQUARE, SQUARE).to(dtype) for _ in range(2))

    def run():
        for _ in range(repeats):
            a @ b

    return run


def compare(args, title: str, lengths: np.ndarray, rng) -> None:
    sequences = ["".join(rng.choice(list("ACGT"), length)) for length in lengths]
    with tempfile.TemporaryDirectory() as folder:
        # One more record is held out, because read_corpus needs validation data.
        files = [Path(folder) / name for name in ("train.txt", "validation.txt")]
        for file, lines in zip(files, (sequences, ["".join(rng.choice(list("ACGT"), 100))])):
            file.write_text("\n".join(lines) + "\n")
        corpus = read_corpus(files[:1], val_data=files[1:], exclude_run=0, keep_duplicates=True)
    work = 3 * sum(flop_per_sequence(named_config(args.model), int(length) + 2) for length in lengths)
    repeats = max(1, round(work / 4 / (2 * SQUARE**3)))
    limits = {f"square product, {name}": square(getattr(torch, name), repeats) for name in ("float32", "bfloat16")}
    alternatives = {"token budget": by_budget(args, corpus, False), "token budget, bf16": by_budget(args, corpus, True)}
    tokens = int(lengths.sum()) + 2 * len(lengths)
    record = side_by_side(
        title,
        limits | alternatives | {"plain loop": plain(args, sequences)},
        rounds=args.rounds,
        model=args.model,
        windows=len(lengths),
        tokens=tokens,
    )
    if "seconds" not in record:
        return
    seconds = record["seconds"]
    peaks = {name: 2 * SQUARE**3 * repeats / seconds[name] for name in limits}
    for name, peak in peaks.items():
        print(f"{name}: {peak / 1e9:.0f} GFLOP/s")
    for name in (*alternatives, "plain loop"):
        peak = peaks["square product, bfloat16" if "bf16" in name else "square product, float32"]
        speed = f"{tokens / seconds[name]:,.0f} tokens/s"
        print(
            f"{name}: {speed}, {work / seconds[name] / 1e9:.0f} GFLOP/s, {work / seconds[name] / peak:.0%} of the peak"
        )


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, threads=2)
    parser.add_argument(
        "--n_windows", type=int, default=256, help="CLIP-like ones; a quarter as many of 510 nt (default: %(default)s)"
    )
    parser.add_argument("--model", default="lamar-mini", choices=["lamar", "lamar-mini", "lamar-tiny"])
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    prepare_torch(args.threads)
    rng = np.random.default_rng(0)
    compare(args, "training on CLIP-like windows", clip_like_lengths(args.n_windows, rng), rng)
    compare(args, "training on windows of 510 nt", np.full(max(1, args.n_windows // 4), PADDED - 2), rng)


if __name__ == "__main__":
    main()
