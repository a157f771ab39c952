"""Fine-tuning side by side on 101-nt windows, lamar-mini, float32.

Run: python tests/benchmarks/bench_finetune.py
Tiny: python tests/benchmarks/bench_finetune.py --n_frozen 40 --n_full 16 --rounds 1

1. Ten epochs of the head alone, on features computed once or with the frozen encoder run in every epoch; both train
   the same head with the same Trainer.
2. Samples per second of full fine-tuning: batches of 16, padded to the longest record, with SDPA; batches of 4 with
   eager attention; and the same padded to 512 tokens.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from timing import benchmark_parser, prepare_torch, real_windows, side_by_side

from LAMAR import EsmForSequenceClassification, named_config
from LAMAR.batches import EncodedSequences, pad_batch
from LAMAR.checkpoints import build_model
from LAMAR.embeddings import extract_features
from LAMAR.training.fitting import FeatureModel, LabelledData, fit
from LAMAR.training.options import FitOptions


def frozen(n: int, rounds: int) -> None:
    sequences, labels, source = real_windows(n)
    encoded, labels = EncodedSequences.encode(sequences), np.array(labels)
    indices = np.arange(len(sequences))
    options = FitOptions(epochs=10, batch_size=16, lr=1e-3, progress=False)
    finals = {}

    def new_model():
        return build_model(EsmForSequenceClassification, named_config("lamar-mini"), seed=0)

    def run(name, model, inputs):
        with tempfile.TemporaryDirectory() as folder:
            fit(model, LabelledData(inputs, indices, labels), None, options, Path(folder))
        finals[name] = model.classifier.out_proj.weight.detach().clone()

    def stored_features():
        model = new_model()
        run("stored", FeatureModel(model), extract_features(model, encoded, "linear"))

    def encoder_every_epoch():
        model = new_model()
        model.esm.requires_grad_(False)
        run("every epoch", model, encoded)

    side_by_side(
        "ten frozen epochs",
        {"features computed once": stored_features, "encoder every epoch": encoder_every_epoch},
        rounds=rounds,
        windows=len(sequences),
        data=source,
    )
    difference = (finals["stored"] - finals["every epoch"]).abs().max().item()
    print(f"largest difference between the two trained heads' weights: {difference:.1e}")


def full(n: int, rounds: int) -> None:
    sequences, labels, source = real_windows(n)
    encoded, labels = EncodedSequences.encode(sequences), torch.tensor(labels)

    def trainer(attention: str, batch_size: int, length: int | None = None):
        config = named_config("lamar-mini", attn_implementation=attention)
        model = build_model(EsmForSequenceClassification, config, seed=0).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

        def epoch():
            for start in range(0, len(sequences), batch_size):
                ids, mask = pad_batch([encoded[i] for i in range(start, min(start + batch_size, len(sequences)))])
                if length is not None:
                    ids = torch.nn.functional.pad(ids, (0, length - ids.shape[1]), value=1)
                    mask = torch.nn.functional.pad(mask, (0, length - mask.shape[1]))
                optimizer.zero_grad()
                model(ids, mask, labels=labels[start : start + batch_size]).loss.backward()
                optimizer.step()

        return epoch

    names = ("batch 16, SDPA", "batch 4, eager, padded to 512", "batch 4, eager")
    record = side_by_side(
        "full fine-tuning",
        dict(zip(names, (trainer("sdpa", 16), trainer("eager", 4, 512), trainer("eager", 4)))),
        rounds=rounds,
        windows=len(sequences),
        data=source,
    )
    for name, seconds in record.get("seconds", {}).items():
        print(f"{name}: {len(sequences) / seconds:.1f} samples/s")


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, rounds=5)
    parser.add_argument("--n_frozen", type=int, default=400, help="windows of the first part (default: %(default)s)")
    parser.add_argument("--n_full", type=int, default=64, help="windows of the second part (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    transformers.utils.logging.disable_progress_bar()
    prepare_torch()
    frozen(args.n_frozen, max(1, args.rounds * 3 // 5))
    full(args.n_full, args.rounds)


if __name__ == "__main__":
    main()
