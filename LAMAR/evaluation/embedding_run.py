"""The run that the LAMAR_CNN_*.py scripts and OneHot_CNN_clip_data.py start, each with its defaults."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..cli.arguments import OneLineParser, names, not_negative, parse_or_demo, path, positive
from ..cli.demo import NOTICE, REPOSITORY, demo_data
from ..cli.errors import exit_on_input_error
from ..errors import InputError

logger = logging.getLogger("embedding_run")

VARIANTS = ("Pretrained", "TAPT", "Random")
# What ships; a variant whose folder is not there is reported and left out, unless it was asked for.
SHIPPED = {"Pretrained": "weights/lamar-mini", "TAPT": "weights/lamar-mini-tapt"}
# Smaller and shorter than on real data: the demo is there to be watched. In small batches loss may stay where it is for
# several hundred steps before the motif is found; neither patience nor a lower rate may end it there.
DEMO = {"rbps": ["PUM2", "QKI"], "n_repeats": 1, "layers": [-1], "batch_size": 64, "bn_momentum": 0.9}
DEMO |= dict.fromkeys(("min_steps", "patience_steps", "plateau_steps"), 900)
# Options of the CNN: type of the argument and what it means.
CNN_OPTIONS = {
    "epochs": (positive(int), "most epochs, or as many as make --min_steps"),
    "batch_size": (positive(int), "records of a training batch"),
    "lr": (positive(float), "learning rate of Adam"),
    "patience": (positive(int), "epochs without a lower validation loss before training stops"),
    "plateau_patience": (positive(int), "the same before the learning rate is reduced"),
    "plateau_factor": (positive(float), "what the learning rate is multiplied with then"),
    "min_steps": (not_negative(int), "optimiser steps that small sets get at least, unless patience ends"),
    "patience_steps": (not_negative(int), "floor of --patience in optimiser steps"),
    "plateau_steps": (not_negative(int), "floor of --plateau_patience in optimiser steps"),
    "bn_momentum": (positive(float), "share of batch norm's running statistics that stays at each step"),
}


def build_parser(description: str, variants: Sequence[str] = VARIANTS) -> argparse.ArgumentParser:
    summary, _, epilog = description.partition("\n\n")
    parser = OneLineParser(description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)

    data = parser.add_argument_group("data")
    data.add_argument("--data_dir", type=path, help="labelled set or folder of sets (default: the synthetic demo set)")
    data.add_argument("--rbps", nargs="+", help="names of sets (default: all)")
    data.add_argument(
        "--split",
        choices=("auto", "given", "random", "chromosome", "cluster"),
        default="auto",
        help="auto keeps a set's own parts, else draws at random (default: %(default)s)",
    )
    data.add_argument("--test_chroms", type=names, default=[], help="for --split chromosome: chr8,chr9")
    data.add_argument("--dev_chroms", type=names, default=[], help="for --split chromosome (default: drawn)")
    data.add_argument("--allow_duplicates", action="store_true", help="accept the same sequence in several parts")
    data.add_argument("--subsample_pos", type=positive(int), help="positives to train on, drawn anew in every repeat")
    data.add_argument("--subsample_neg", type=positive(int), help="negatives to train on, drawn anew in every repeat")
    data.add_argument(
        "--max_length", type=positive(int), default=512, help="most tokens, two of them special (default: %(default)s)"
    )

    if variants:
        model = add_encoder_options(parser, variants)
        model.add_argument("--pooling", choices=("none",), default="none", help="what the CNN reads: every nucleotide")
        model.add_argument("--no_cnn", action="store_true", help="composition and linear probes only")
        model.add_argument(
            "--no_baselines", action="store_true", help="leave out composition, one-hot and linear probes"
        )

    fit = parser.add_argument_group("CNN and run")
    fit.add_argument("--n_repeats", type=positive(int), default=5, help="seeds of the CNN (default: %(default)s)")
    fit.add_argument(
        "--recipe", choices=("default", "doc"), default="default", help="see evalEmbeddings/cnn_options.py"
    )
    for name, (kind, meaning) in CNN_OPTIONS.items():
        fit.add_argument(f"--{name}", type=kind, help=f"{meaning} (default: the recipe's)")
    fit.add_argument("--output_dir", type=path, help="folder of the results")
    fit.add_argument("--seed", type=not_negative(int), default=42, help="default: %(default)s")
    fit.add_argument("--overwrite", action="store_true", help="start the run in --output_dir anew")
    return parser


def add_encoder_options(
    parser: argparse.ArgumentParser, variants: Sequence[str], layers: str = "the top and the middle one"
):
    """Options of every script that embeds with several encoders; ``layers`` says which is the default."""
    model = parser.add_argument_group("encoders")
    model.add_argument("--variants", nargs="+", choices=VARIANTS, help=f"default: {' '.join(variants)}")
    model.add_argument("--pretrained_weights", type=path, help=f"default: {SHIPPED['Pretrained']}")
    model.add_argument("--tapt_weights", type=path, help=f"default: {SHIPPED['TAPT']}")
    model.add_argument("--config", help="shape of Random: lamar, lamar-mini ... (default: that of the weights)")
    model.add_argument("--layers", nargs="+", type=int, help=f"block indices (default: {layers})")
    add_extraction_options(model)
    return model


def add_extraction_options(model) -> None:
    """Options of the extraction itself, for `embedder`."""
    model.add_argument("--extraction_batch_size", type=positive(int), help="records of the longest length per batch")
    model.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="default: %(default)s")
    model.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: a GPU when there is one)")
    model.add_argument("--cache_dir", type=path, help="embeddings on disk (default: OUTPUT_DIR/embeddings)")


def complete(arguments: argparse.Namespace, output: str) -> argparse.Namespace:
    """Folders of the demo where no data are named."""
    if arguments.demo:
        print(NOTICE)
        arguments.data_dir = demo_data() / "labelled"
        arguments.output_dir = arguments.output_dir or REPOSITORY / "demo" / output
    if arguments.output_dir is None:
        raise InputError("--output_dir: not given, wanted a folder for the results")
    return arguments


def load_encoders(arguments: argparse.Namespace, variants: Sequence[str]) -> list:
    """The encoders that the arguments ask for, see `LAMAR.evaluation.run.open_variants`.

    What would fail in the middle of a run, a device or a cache folder that is not to be had, fails here.
    """
    from ..configuration import CONFIGS, named_config
    from ..devices import choose_device
    from ..embedding_cache import make_cache_folder
    from .run import open_variants

    if arguments.config is not None and arguments.config not in CONFIGS:
        raise InputError(f"--config: found {arguments.config!r}, wanted one of {', '.join(CONFIGS)}")
    weights = {
        "Pretrained": arguments.pretrained_weights or REPOSITORY / SHIPPED["Pretrained"],
        "TAPT": arguments.tapt_weights or REPOSITORY / SHIPPED["TAPT"],
    }
    asked = list(arguments.variants or [])
    asked += [name for name in weights if getattr(arguments, f"{name.lower()}_weights") and name not in asked]
    if arguments.variants and (unread := [name for name in asked if name not in arguments.variants]):
        option = f"--{unread[0].lower()}_weights"
        raise InputError(f"{option}: given, but {unread[0]} is not among --variants {' '.join(arguments.variants)}")
    encoders = open_variants(
        arguments.variants or [name for name in VARIANTS if name in variants or name in asked],
        weights,
        named=set(asked),
        config=named_config(arguments.config) if arguments.config else None,
        layers=arguments.layers,
        seed=arguments.seed,
    )
    choose_device(encoders[0].model, arguments.device)
    if arguments.cache_dir is not None:
        make_cache_folder(arguments.cache_dir)
    return encoders


def embedder(arguments: argparse.Namespace, cache: Path):
    """Embeddings through the cache, as `LAMAR.evaluation.run.evaluate` asks for them."""
    from ..embedding_cache import cached_outputs

    def embeddings_of(encoder, sequences, outputs):
        budget = None
        if arguments.extraction_batch_size:
            budget = arguments.extraction_batch_size * (max(map(len, sequences)) + 2)
        return cached_outputs(
            encoder.model,
            encoder.digest,
            sequences,
            outputs,
            dtype=arguments.dtype,
            cache_dir=cache,
            progress=f"{encoder.name} embeddings" if sys.stderr.isatty() else None,
            token_budget=budget,
            device=arguments.device,
        )

    return embeddings_of


def run(arguments: argparse.Namespace, variants: Sequence[str]) -> None:
    from .. import runs
    from ..data.sequences import check_lengths
    from .probes import draw_training, find_sets, prepare
    from .run import evaluate, write_tables

    options = None
    if getattr(arguments, "no_cnn", False):
        if arguments.no_baselines:
            raise InputError("--no_cnn and --no_baselines: found both, which leaves nothing to do")
    else:
        from .cnn import model as cnn
        from .cnn.backend import check_backend

        options = cnn.CnnOptions.of(arguments.recipe, **{name: getattr(arguments, name) for name in CNN_OPTIONS})
        check_backend()
    sets = find_sets(arguments.data_dir, arguments.rbps)
    for dataset in sets:
        check_lengths(dataset, dataset.ids, arguments.max_length)
        if options:
            cnn.check_length(max(map(len, dataset.sequences)), dataset.name)
    parts = [
        prepare(
            dataset,
            arguments.split,
            test_chroms=arguments.test_chroms,
            dev_chroms=arguments.dev_chroms,
            seed=arguments.seed,
            allow_duplicates=arguments.allow_duplicates,
        )
        for dataset in sets
    ]
    subsample = arguments.subsample_pos, arguments.subsample_neg
    for one in parts if subsample != (None, None) else []:
        draw_training(one, *subsample, arguments.seed)  # what cannot be drawn stops the run before it begins
    encoders = load_encoders(arguments, variants) if variants else []
    unrecorded = ("overwrite", "cache_dir", "device", "demo")
    resolved = {key: value for key, value in vars(arguments).items() if key not in unrecorded}
    resolved |= asdict(options) if options else {}
    inputs = sorted({file for dataset in sets for file in dataset.files})
    with runs.RunFolder.open(
        arguments.output_dir,
        arguments=resolved,
        seed=arguments.seed,
        inputs=inputs,
        ignore=("output_dir",),  # the folder may be called otherwise, or moved
        may_grow=("n_repeats",),
        weights={encoder.name: encoder.weights | {"digest": encoder.digest} for encoder in encoders},
        overwrite=arguments.overwrite,
    ) as folder:
        settings = {"n_repeats": arguments.n_repeats, "seed": arguments.seed, "subsample": subsample}
        if variants:
            settings |= {
                "pooling": arguments.pooling,
                "embeddings_of": embedder(arguments, arguments.cache_dir or folder.folder("embeddings")),
                "baselines": not arguments.no_baselines,
            }
        train = cnn_trainer(options) if options else None
        results = {one.dataset.name: list(evaluate(folder, one, encoders, train, **settings)) for one in parts}
        write_tables(folder, parts, results)
        folder.finish({"data_sets": len(parts), "units": sum(map(len, results.values()))})
        print(closing_table(results))
    print(
        f"\nresults: {arguments.output_dir}; figures: python evalEmbeddings/plot_results.py "
        f"--results {arguments.output_dir}"
    )


def cnn_trainer(options):
    """`train_cnn` of evalEmbeddings/cnn.py as `LAMAR.evaluation.run.evaluate` calls it."""
    from .cnn import model as cnn

    def train(records, labels, train, validation, test, representation, seed):
        model, _ = cnn.train_cnn(records, labels, train, validation, options, seed, representation=representation)
        return cnn.predict(model, records, test), cnn.count_parameters(model)

    return train


def closing_table(results: dict[str, list[dict]]) -> str:
    """Mean test AUROC of each method, its standard deviation over repeats behind it."""
    import numpy as np

    lines = []
    for name, found in results.items():
        values: dict[str, list[float]] = {}
        for row in (unit["row"] for unit in found if unit["row"]["chosen"]):
            layer = f" layer {row['layer']}" if row["layer"] != "" else ""
            method = " ".join(filter(None, [row["representation"], row["variant"]])) + layer
            values.setdefault(method, []).append(row["auroc"])
        lines += ["", f"{name}: test AUROC, mean (sd over repeats)"]
        for method, aurocs in values.items():
            spread = f" ({np.std(aurocs, ddof=1):.3f})" if len(aurocs) > 1 else ""
            lines.append(f"  {method:<36} {np.mean(aurocs):.3f}{spread}")
    return "\n".join(lines)


def main(
    argv: Sequence[str] | None = None,
    *,
    description: str,
    variants: Sequence[str] = VARIANTS,
    output: str = "evaluation",
) -> int:
    parser = build_parser(description, variants)
    arguments = parse_or_demo(parser, argv, DEMO, "data_dir")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for noisy in ("httpx", "matplotlib", "absl", "tensorflow", "h5py"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return exit_on_input_error(lambda: run(complete(arguments, output), variants))
