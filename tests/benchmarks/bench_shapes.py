"""Shapes for lamar-mini at about 5 M parameters: training speed, and the signal that passes random weights.

Run: python tests/benchmarks/bench_shapes.py

Speed: full training steps, batch 16, 101-nt windows, SDPA, float32, every shape in each round. Signal: at random
initialisation (normal, 0.02), the share of the top layer's squared norm that varies between positions, and the share
of that variation which the nucleotide explains (between-nucleotide over total sum of squares). Where both are small, a
head has little to start from and fine-tuning from random weights is slow.
"""

from __future__ import annotations

import argparse

import torch
from timing import benchmark_parser, prepare_torch, real_windows, side_by_side

from LAMAR import EsmForSequenceClassification, EsmModel, named_config
from LAMAR.batches import EncodedSequences, pad_batch
from LAMAR.checkpoints import build_model
from LAMAR.modeling_nucESM2 import count_parameters

# layers, width, heads
SHAPES = ((11, 192, 6), (8, 224, 7), (4, 320, 5), (3, 384, 6), (6, 256, 4), (6, 256, 8))
BATCH, N_SIGNAL = 16, 64


def config(layers: int, width: int, heads: int):
    return named_config(
        "lamar", num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width
    )


def signal(configuration, ids: torch.Tensor, mask: torch.Tensor) -> tuple[float, float]:
    """Return the share of the squared norm that varies, and the share of that explained by the nucleotide."""
    model = build_model(EsmModel, configuration, seed=0).eval()
    with torch.no_grad():
        hidden = model(ids, mask).last_hidden_state[:, 1:-1].flatten(0, 1)
    tokens = ids[:, 1:-1].flatten()
    mean = hidden.mean(0)
    total = (hidden - mean).square().sum()
    between = sum(
        ((hidden[tokens == token].mean(0) - mean).square().sum() * (tokens == token).sum()) for token in tokens.unique()
    )
    return (total / hidden.square().sum()).item(), (between / total).item()


def build_parser() -> argparse.ArgumentParser:
    return benchmark_parser(__doc__)


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    prepare_torch()
    sequences, labels, source = real_windows(N_SIGNAL)
    encoded = EncodedSequences.encode(sequences)
    ids, mask = pad_batch([encoded[i] for i in range(len(sequences))])
    target = torch.tensor(labels[:BATCH])

    def trainer(shape):
        model = build_model(EsmForSequenceClassification, config(*shape), seed=0).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

        def steps():
            for _ in range(3):
                optimizer.zero_grad()
                model(ids[:BATCH], mask[:BATCH], labels=target).loss.backward()
                optimizer.step()

        return steps

    names = {f"{layers} x {width}, {heads} heads": (layers, width, heads) for layers, width, heads in SHAPES}
    record = side_by_side(
        "training step by shape",
        {name: trainer(shape) for name, shape in names.items()},
        rounds=args.rounds,
        data=source,
    )
    for name, shape in [
        *names.items(),
        ("lamar-tiny: 3 x 64, 4 heads", (3, 64, 4)),
        ("lamar: 12 x 768", (12, 768, 12)),
    ]:
        with torch.device("meta"):
            parameters = count_parameters(EsmForSequenceClassification(config(*shape)))
        varies, explained = signal(config(*shape), ids, mask)
        line = f"{name}: {parameters / 1e6:.2f} M parameters"
        if name in record.get("seconds", {}):
            line += f", {3 * BATCH / record['seconds'][name]:.1f} samples/s"
        print(f"{line}, varying share {varies:.3f}, of it the nucleotide {explained:.3f}", flush=True)


if __name__ == "__main__":
    main()
