"""Extraction of embeddings side by side, float32, random weights (12 x 768 unless --model says otherwise).

Run: python tests/benchmarks/bench_embeddings.py
Tiny: python tests/benchmarks/bench_embeddings.py --model lamar-tiny --n_sequences 16 --rounds 1

1. 101-nt windows: extract_outputs of the top and of the middle layer, against what is commonly written: batches of
   8 padded to 512 tokens, eager attention, all hidden states returned. The outputs are compared.
2. The same windows by token budget: the fastest should be the default.
3. Share of this machine's float32 matrix multiplication: windows per second times arithmetic per window, over the
   speed of the model's own products and of a large square one, measured in the same rounds.
4. Mixed lengths of 50 to 512 nt: batches by token budget against all padded to the longest.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from timing import benchmark_parser, flop_per_sequence, prepare_torch, real_windows, side_by_side

from LAMAR import EsmModel, named_config
from LAMAR.batches import EncodedSequences, pad_batch
from LAMAR.checkpoints import build_model
from LAMAR.embeddings import extract_outputs
from LAMAR.layers import default_layers

PADDED, NAIVE_BATCH = 512, 8
# In windows of 103 tokens: 1, 2, 4, 8, 16, 20 (the default of 2,048 tokens gives 19), 32, 64.
BATCH_SIZES = (1, 2, 4, 8, 16, 20, 32, 64)
SQUARE = 4_096


def naive(model: EsmModel, encoded: EncodedSequences, layer: int, length: int | None = None) -> np.ndarray:
    """Return mean embeddings (n, d) from batches of 8, padded to one length, with every layer computed and returned."""
    length = length or max(PADDED, int(encoded.lengths.max()))
    results = []
    with torch.no_grad():
        for start in range(0, len(encoded), NAIVE_BATCH):
            ids, mask = pad_batch([encoded[i] for i in range(start, min(start + NAIVE_BATCH, len(encoded)))])
            ids = torch.nn.functional.pad(ids, (0, length - ids.shape[1]), value=1)
            mask = torch.nn.functional.pad(mask, (0, length - mask.shape[1]))
            hidden = model(ids, mask, output_hidden_states=True).hidden_states[layer + 1]
            keep = (mask.bool() & (ids > 2)).unsqueeze(-1)
            results.append(((hidden * keep).sum(1) / keep.sum(1)).numpy())
    return np.concatenate(results)


def compare(name: str, found: np.ndarray, wanted: np.ndarray) -> None:
    difference = float(np.abs(found - wanted).max())
    print(
        f"{name}: largest difference {difference:.1e} (wanted at most 1e-5; largest value {np.abs(wanted).max():.2f})"
    )


def windows(model, eager, encoded: EncodedSequences, source: str, rounds: int) -> None:
    top, middle = default_layers(model.config.num_hidden_layers)
    found = {}

    def fast(layer):
        def run():
            (output,) = extract_outputs(model, encoded, [(layer, "mean")], device="cpu").values()
            found[layer] = output.values

        return run

    def slow():
        found["naive"] = naive(eager, encoded, top)

    names = {f"layer {layer}": fast(layer) for layer in (top, middle)}
    side_by_side(
        "embeddings of windows",
        {**names, f"padded to {PADDED}, eager, all hidden states": slow},
        rounds=rounds,
        windows=len(encoded),
        data=source,
    )
    compare(f"layer {top}", found[top], found["naive"])
    compare(f"layer {middle}", found[middle], naive(eager, encoded, middle))


def budgets_and_limit(model, encoded: EncodedSequences, source: str, rounds: int) -> None:
    config, n_tokens = model.config, int(encoded.lengths.max())
    layer = config.num_hidden_layers - 1

    def with_budget(size):
        return lambda: extract_outputs(model, encoded, [(layer, "mean")], token_budget=size * n_tokens, device="cpu")

    def products(rows, inner, columns, repeats):
        a, b, result = torch.randn(rows, inner), torch.randn(inner, columns), torch.empty(rows, columns)

        def run():
            for _ in range(repeats):
                torch.mm(a, b, out=result)

        return run

    d, feed_forward = config.hidden_size, config.intermediate_size
    # Of the size that a batch of 8 windows gives, repeated until they take about as long as the windows.
    work = flop_per_sequence(config, n_tokens) * len(encoded)
    shapes = {
        f"{rows} x {inner} by {inner} x {columns}": (rows, inner, columns)
        for rows, inner, columns in (
            (8 * n_tokens, d, feed_forward),
            (8 * n_tokens, feed_forward, d),
            (8 * n_tokens, d, d),
            (SQUARE, SQUARE, SQUARE),
        )
    }
    repeats = {name: max(1, round(work / (4 * 2 * np.prod(shape)))) for name, shape in shapes.items()}
    if work < 2 * SQUARE**3:  # a tiny model: the large product would take all the time
        shapes.popitem()
    alternatives = {f"batch {size}": with_budget(size) for size in BATCH_SIZES if size <= len(encoded)}
    alternatives["default budget"] = lambda: extract_outputs(model, encoded, [(layer, "mean")], device="cpu")
    limits = {name: products(*shape, repeats[name]) for name, shape in shapes.items()}
    record = side_by_side(
        "token budgets and the limit of this machine",
        {**limits, **alternatives},
        rounds=rounds,
        windows=len(encoded),
        data=source,
    )
    if "seconds" not in record:
        return
    seconds = {name: max(value, 1e-3) for name, value in record["seconds"].items()}
    print(f"{flop_per_sequence(config, n_tokens) / 1e9:.2f} GFLOP per window of {n_tokens} tokens")
    speeds = {name: 2 * np.prod(shapes[name]) * repeats[name] / seconds[name] / 1e9 for name in shapes}
    for name, speed in speeds.items():
        print(f"{name}: {speed:.0f} GFLOP/s")
    for name in alternatives:
        speed = work / seconds[name] / 1e9
        shares = ", ".join(f"{speed / limit:.0%} of {product}" for product, limit in speeds.items())
        print(f"{name}: {len(encoded) / seconds[name]:.1f} windows/s, {speed:.0f} GFLOP/s ({shares})")
    fastest = min(alternatives, key=seconds.get)
    print(f"fastest: {fastest}")


def mixed(model, eager, n: int, rounds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(50, 513, n)
    encoded = EncodedSequences.encode(["".join(rng.choice(list("ACGT"), length)) for length in lengths])
    layer, longest = model.config.num_hidden_layers - 1, 514
    found = {}

    def by_budget():
        (output,) = extract_outputs(model, encoded, [(layer, "mean")], device="cpu").values()
        found["budget"] = output.values

    def padded():
        found["padded"] = naive(model, encoded, layer, longest)

    def padded_eager():
        found["eager"] = naive(eager, encoded, layer, longest)

    side_by_side(
        "mixed lengths of 50 to 512 nt",
        {"token budget": by_budget, "all padded, eager": padded_eager, "all padded, same backend": padded},
        rounds=rounds,
        sequences=n,
    )
    compare("mixed lengths", found["budget"], found["eager"])


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, threads=2)
    parser.add_argument(
        "--n_sequences", type=int, default=64, help="windows, and half as many of mixed length (default: %(default)s)"
    )
    parser.add_argument(
        "--model", default="lamar", choices=["lamar", "lamar-mini", "lamar-tiny"], help="default: %(default)s"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    prepare_torch(args.threads)
    model = build_model(EsmModel, named_config(args.model), seed=0).eval()
    eager = build_model(EsmModel, named_config(args.model, attn_implementation="eager"), seed=0).eval()
    sequences, _, source = real_windows(args.n_sequences)
    encoded = EncodedSequences.encode(sequences)
    windows(model, eager, encoded, source, args.rounds)
    budgets_and_limit(model, encoded, source, args.rounds)
    mixed(model, eager, max(1, args.n_sequences // 2), args.rounds, seed=0)


if __name__ == "__main__":
    main()
