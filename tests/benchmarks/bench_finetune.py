"""Fine-tuning side by side on 101-nt windows, lamar-mini, float32.

Run: python tests/benchmarks/bench_finetune.py

1. Ten frozen epochs on features computed once, against ten epochs that run the frozen encoder each time; both train
   the same head through the same Trainer.
2. Samples per second of full fine-tuning: batch 16, padded to its longest record, SDPA; against batch 4 with eager
   attention, and against that padded to 512 tokens.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from timing import real_windows, side_by_side

from LAMAR import EsmForSequenceClassification, named_config
from LAMAR.batches import EncodedSequences, pad_batch
from LAMAR.checkpoints import build_model
from LAMAR.embeddings import extract_features
from LAMAR.training.fitting import FeatureModel, FitOptions, LabelledData, fit

N_FROZEN, N_FULL = 400, 64


def frozen() -> None:
    sequences, labels, source = real_windows(N_FROZEN)
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
        rounds=3,
        windows=len(sequences),
        data=source,
    )
    difference = (finals["stored"] - finals["every epoch"]).abs().max().item()
    print(f"largest difference between the two trained heads' weights: {difference:.1e}")


def full() -> None:
    sequences, labels, source = real_windows(N_FULL)
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
        rounds=5,
        windows=len(sequences),
        data=source,
    )
    for name, seconds in record.get("seconds", {}).items():
        print(f"{name}: {len(sequences) / seconds:.1f} samples/s")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    frozen()
    full()
