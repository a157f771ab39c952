"""Effect of random absolute positions on k90 of a random 12 x 768 encoder, whose published values are 129 and 118.

Run: python tests/benchmarks/study_positions.py --data_dir sets
Tiny: python tests/benchmarks/study_positions.py --n_per_rbp 50 --layers 1 2

The published figures are those of layers 5 and 11 at random initialisation on eight sets. Code of that time misspelt
``position_embedding_type``, and models built by it add absolute positions to the tokens. This study compares the ESM of
transformers with absolute and with rotary positions, all weights normal with standard deviation 0.02, pooled over
nucleotides alone and over <cls> and <eos> too. It prints k90 (components for 90 % of the summed singular values) of the
union of the sets, by layer.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from timing import benchmark_parser

from LAMAR.alphabet import MASK, PAD, VOCABULARY
from LAMAR.batches import EncodedSequences, batched
from LAMAR.cli.demo import demo_data
from LAMAR.configuration import EsmConfig
from LAMAR.evaluation.geometry import sample_rows
from LAMAR.evaluation.probes import find_sets
from LAMAR.sequence_classification_patch import masked_mean, nucleotide_mask
from LAMAR.statistics.isotropy import geometry
from LAMAR.statistics.moments import Moments

POSITIONS, POOLED_OVER = ("rotary", "absolute"), ("nucleotides", "all tokens")


def random_encoder(positions: str, seed: int) -> torch.nn.Module:
    """Return transformers' ESM of the published shape."""
    from transformers.models.esm import EsmConfig as TheirConfig
    from transformers.models.esm import EsmModel as TheirModel

    shape = EsmConfig()
    config = TheirConfig(
        vocab_size=len(VOCABULARY),
        pad_token_id=PAD,
        mask_token_id=MASK,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.max_position_embeddings,
        position_embedding_type=positions,
        token_dropout=False,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = TheirModel(config, add_pooling_layer=False)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            module.weight.data.normal_(0, shape.initializer_range, generator=generator)
        if isinstance(module, torch.nn.Linear) and module.bias is not None:
            module.bias.data.zero_()
    return model.eval()


def pooled(model, sequences: EncodedSequences, layers: list[int]) -> dict[tuple[int, str], np.ndarray]:
    """Return mean embeddings, float32 (n, d), by layer and by the tokens that the mean is over."""
    keys = [(layer, over) for layer in layers for over in POOLED_OVER]
    found = {key: np.empty((len(sequences), model.config.hidden_size), dtype=np.float32) for key in keys}

    def encode(ids, mask):
        hidden = model(ids, mask, output_hidden_states=True).hidden_states
        masks = dict(zip(POOLED_OVER, (nucleotide_mask(ids, mask), mask.bool())))
        return {key: masked_mean(hidden[key[0] + 1], masks[key[1]]) for key in keys}

    label = "windows" if sys.stderr.isatty() else None
    for indices, output in batched(model, sequences, encode, progress=label):
        for key in keys:
            found[key][indices] = output[key].cpu().numpy()
    return found


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, rounds=None)
    parser.add_argument("--data_dir", type=Path, help="default: the demo set")
    parser.add_argument("--n_per_rbp", type=int, default=2000, help="default: %(default)s")
    parser.add_argument("--layers", type=int, nargs="+", default=[5, 11], help="default: %(default)s")
    parser.add_argument("--positions", choices=POSITIONS, nargs="+", default=POSITIONS, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=42, help="default: %(default)s")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    sequences = []
    for dataset in find_sets(args.data_dir or demo_data() / "labelled"):
        rows = sample_rows(dataset.labels, args.n_per_rbp, args.seed, dataset.name)
        sequences += dataset.take(rows).sequences
    encoded = EncodedSequences.encode(sequences)
    for positions in args.positions:
        model = random_encoder(positions, args.seed).to("cuda" if torch.cuda.is_available() else "cpu")
        for (layer, over), values in pooled(model, encoded, args.layers).items():
            figures, _ = geometry(Moments.of(values))
            record = {"positions": positions, "pooled_over": over, "layer": layer, "n": len(values)}
            record |= {"k90": round(figures["k90_ratio"] * values.shape[1]), "isoscore": round(figures["isoscore"], 4)}
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
