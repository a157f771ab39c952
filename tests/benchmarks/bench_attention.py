"""Attention in training on a CPU: SDPA's kernel beside the plain products, forward and backward, by length and dtype.

Run: python tests/benchmarks/bench_attention.py

It shows which of the two `LAMAR.flash_attn_patch` should use where: in bfloat16 the products up to LONGEST_WITHOUT_SDPA
tokens, else SDPA. The alternative "as chosen" is the project's attention with its own choice.
"""

from __future__ import annotations

import argparse

import torch
from timing import benchmark_parser, prepare_torch, side_by_side

from LAMAR.flash_attn_patch import attention

BATCH, HEADS, HEAD_DIM = 16, 4, 64
LENGTHS = (40, 103, 192, 256, 512)


def products(query, key, value):
    return attention(query, key, value, None, "eager")[0]


def kernel(query, key, value):
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)


def chosen(query, key, value):
    return attention(query, key, value, None, "sdpa")[0]


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="tokens")
    parser.add_argument("--repeats", type=int, default=10, help="passes of a round (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    prepare_torch()
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.bfloat16, torch.float32):
        for length in args.lengths:
            drawn = torch.randn(3, BATCH, length, HEADS, HEAD_DIM, generator=generator).to(dtype)
            inputs = [x.transpose(1, 2).requires_grad_() for x in drawn]

            def step(function, inputs=inputs):
                for _ in range(args.repeats):
                    function(*inputs).sum().backward()

            side_by_side(
                f"attention, {str(dtype).removeprefix('torch.')}, {length} tokens",
                {
                    "products": lambda step=step: step(products),
                    "as chosen": lambda step=step: step(chosen),
                    "SDPA": lambda step=step: step(kernel),
                },
                rounds=args.rounds,
            )


if __name__ == "__main__":
    main()
