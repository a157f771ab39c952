"""Validation figures of recipes for training the CNN, on sets of every size.

Run: python tests/benchmarks/study_recipes.py --data_dir DATA --rbps QKI_K562_IDR HNRNPL_K562_IDR
     python tests/benchmarks/study_recipes.py --data_dir DATA --rbps QKI_K562_IDR --representation lamar

A tenth of train is set aside for early stopping, and the AUROC is that of dev; test is never read. `lamar` is the top
layer of a random lamar-mini. Each run is one JSON line; a table of means over seeds comes last.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from timing import benchmark_parser

FLOORS = {"min_steps": 1500, "patience_steps": 500, "plateau_steps": 300}
RECIPES = {
    "doc": ("doc", {}),
    "doc, batch 64": ("doc", {"batch_size": 64}),
    "doc, momentum 0.9": ("doc", {"bn_momentum": 0.9}),
    "doc, batch 64, momentum 0.9": ("doc", {"batch_size": 64, "bn_momentum": 0.9}),
    "default: doc, floors in steps": ("default", {}),
    "doc, momentum 0.9, floors": ("doc", {"bn_momentum": 0.9, **FLOORS}),
    "doc, batch 64, momentum 0.9, floors": ("doc", {"batch_size": 64, "bn_momentum": 0.9, **FLOORS}),
}


def records_of(representation: str, sequences: list[str], folder: Path):
    if representation == "one_hot":
        from LAMAR.data.one_hot import encode_one_hot

        return encode_one_hot(sequences)
    from LAMAR.checkpoints import load_pretrained
    from LAMAR.configuration import named_config
    from LAMAR.embedding_cache import cached_outputs
    from LAMAR.modeling_nucESM2 import EsmModel

    model, _ = load_pretrained(EsmModel, "", config=named_config("lamar-mini"), seed=42)
    outputs = cached_outputs(model, None, sequences, [(-1, "none")], dtype="float16", cache_dir=folder)
    (embeddings,) = outputs.values()
    return embeddings


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, rounds=None)
    parser.add_argument("--data_dir", required=True, help="folder of labelled sets with parts of their own")
    parser.add_argument("--rbps", nargs="+", required=True)
    parser.add_argument(
        "--representation", choices=["one_hot", "lamar"], default="one_hot", help="default: %(default)s"
    )
    parser.add_argument(
        "--recipes", nargs="+", choices=RECIPES, default=list(RECIPES), metavar="NAME", help="default: all"
    )
    parser.add_argument("--seeds", type=int, default=2, help="default: %(default)s")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    from LAMAR.data.folds import inner_validation
    from LAMAR.data.splits import make_split
    from LAMAR.evaluation.cnn import model as cnn
    from LAMAR.evaluation.probes import find_sets
    from LAMAR.statistics.metrics import auroc

    found: dict[tuple[str, str], list[float]] = {}
    for dataset in find_sets(args.data_dir, args.rbps):
        split = make_split(dataset, "given")
        with tempfile.TemporaryDirectory() as folder:
            records = records_of(args.representation, dataset.sequences, Path(folder))
            for name in args.recipes:
                recipe, changes = RECIPES[name]
                for seed in range(args.seeds):
                    train, stop = inner_validation(dataset.labels, split.train, seed=seed)
                    start = time.perf_counter()
                    model, history = cnn.train_cnn(
                        records,
                        dataset.labels,
                        train,
                        stop,
                        cnn.CnnOptions.from_recipe(recipe, **changes),
                        seed,
                        representation=args.representation,
                    )
                    score = auroc(dataset.labels[split.dev], cnn.predict(model, records, split.dev))
                    found.setdefault((dataset.name, name), []).append(score)
                    line = {"dataset": dataset.name, "representation": args.representation, "recipe": name}
                    line |= {"seed": seed, "epochs": len(history["loss"]), "dev_auroc": round(score, 4)}
                    print(json.dumps(line | {"seconds": round(time.perf_counter() - start, 1)}), flush=True)
    for (dataset, name), scores in found.items():
        print(f"{dataset:<20} {name:<42} {statistics.mean(scores):.3f} ({min(scores):.3f} to {max(scores):.3f})")


if __name__ == "__main__":
    main()
