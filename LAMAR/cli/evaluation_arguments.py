"""Arguments that the scripts of ``evalEmbeddings`` share, and what the four scripts of the CNN evaluation run.

Imports nothing heavy, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from ..data.split_methods import SPLITS
from ..errors import InputError
from ..evaluation.cnn.options import RECIPES, CnnOptions
from ..evaluation.registries import VARIANTS, select_representations, weighted_variants
from .arguments import (
    add_column_arguments,
    add_device_argument,
    add_length_arguments,
    add_part_arguments,
    log_messages,
    not_negative,
    number,
    parse_or_demo,
    path,
    positive,
    script_parser,
)
from .demo import DEMO_DATA, NOTICE, demo_data
from .errors import exit_on_input_error

__all__ = [
    "DEMO",
    "add_encoder_arguments",
    "add_extraction_arguments",
    "add_geometry_arguments",
    "add_set_arguments",
    "build_evaluation_parser",
    "complete_paths",
    "encoder_options",
    "geometry_options",
    "run_evaluation_script",
]

MAX_LENGTH = 512
# Smaller and shorter than on real data, so that a user can watch it. In small batches the loss may stay on a plateau
# for several hundred steps before the motif is learned; neither patience nor a lower rate may end training there.
DEMO = {"rbps": ["QKI"], "n_repeats": 1, "layers": [-1], "batch_size": 32, "bn_momentum": 0.9}
DEMO |= dict.fromkeys(("min_steps", "patience_steps", "plateau_steps"), 1200)
# Options of the CNN: type of the argument and what it means.
CNN_ARGUMENTS = {
    "epochs": (positive(int), "largest number of epochs, unless --min_steps asks for more"),
    "batch_size": (positive(int), "records of a training batch"),
    "lr": (positive(float), "learning rate of Adam"),
    "patience": (positive(int), "epochs without a lower validation loss before training stops"),
    "plateau_patience": (positive(int), "epochs without a lower validation loss before the learning rate is reduced"),
    "plateau_factor": (positive(float), "factor by which it is reduced"),
    "min_steps": (not_negative(int), "smallest number of optimiser steps, unless patience ends training"),
    "patience_steps": (not_negative(int), "floor of --patience in optimiser steps"),
    "plateau_steps": (not_negative(int), "floor of --plateau_patience in optimiser steps"),
    "bn_momentum": (positive(float), "share of batch norm's running statistics that is kept at each step"),
}


# ------------------------------------------------------------------------------------------------------ parsers


def add_set_arguments(group) -> None:
    """Add the arguments that name labelled sets."""
    group.add_argument("--data_dir", type=path, help="labelled set or folder of sets (default: the synthetic demo set)")
    group.add_argument("--rbps", nargs="+", help="names of sets (default: all)")
    add_column_arguments(group)


def add_encoder_arguments(
    parser: argparse.ArgumentParser, variants: Sequence[str], layers: str = "the top and the middle one"
):
    """Add the arguments of scripts that embed with several encoders, and return their group.

    Parameters
    ----------
    parser : ArgumentParser
    variants : sequence of str
        Variants that are evaluated by default.
    layers : str
        Default of ``--layers`` in words.
    """
    group = parser.add_argument_group("encoders")
    group.add_argument("--variants", nargs="+", choices=VARIANTS.names, help=f"default: {' '.join(variants)}")
    for variant in weighted_variants():
        group.add_argument(f"--{variant.parameter}", type=path, help=f"default: {variant.weights or 'none'}")
    group.add_argument(
        "--config",
        help="shape of random weights: lamar, lamar-mini ..., or a config.json (default: that of the weights)",
    )
    group.add_argument("--layers", nargs="+", type=int, help=f"block indices (default: {layers})")
    add_extraction_arguments(group)
    return group


def add_extraction_arguments(group, dtype: str = "float16") -> None:
    """Add the arguments of the extraction of embeddings."""
    group.add_argument("--extraction_batch_size", type=positive(int), help="records of the longest length per batch")
    group.add_argument("--dtype", choices=("float16", "float32"), default=dtype, help="default: %(default)s")
    add_device_argument(group)
    group.add_argument("--cache_dir", type=path, help="embeddings on disk (default: OUTPUT_DIR/embeddings)")


def build_evaluation_parser(description: str, variants: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of the scripts of the CNN evaluation.

    Parameters
    ----------
    description : str
        Docstring of the script.
    variants : sequence of str
        Variants that it evaluates by default; without any it has no arguments of encoders.
    """
    parser = script_parser(description)
    data = parser.add_argument_group("data")
    add_set_arguments(data)
    data.add_argument(
        "--split",
        choices=SPLITS.names,
        default="auto",
        help="auto keeps a set's own parts, else draws at random (default: %(default)s)",
    )
    add_part_arguments(data)
    for side in ("pos", "neg"):
        meaning = f"{'positives' if side == 'pos' else 'negatives'} to train on, drawn again in every repeat"
        data.add_argument(f"--subsample_{side}", type=positive(int), help=meaning)
    add_length_arguments(data, MAX_LENGTH)
    if variants:
        _add_method_arguments(add_encoder_arguments(parser, variants))
    fit = parser.add_argument_group("CNN and run")
    fit.add_argument("--n_repeats", type=positive(int), default=5, help="seeds of the CNN (default: %(default)s)")
    fit.add_argument(
        "--recipe",
        choices=tuple(RECIPES),
        default="default",
        help="values of the options below: doc as commonly given, default with floors in optimiser steps, which small "
        "sets need (default: %(default)s)",
    )
    for name, (kind, meaning) in CNN_ARGUMENTS.items():
        fit.add_argument(f"--{name}", type=kind, help=f"{meaning} (default: the recipe's)")
    _add_run_arguments(fit)
    return parser


def _add_method_arguments(group) -> None:
    group.add_argument(
        "--pooling",
        choices=("none", "mean", "cls", "max"),
        default="none",
        help="none: the CNN reads every nucleotide, linear probes their mean; the others are what linear probes read, "
        "with --no_cnn (default: %(default)s)",
    )
    group.add_argument("--no_cnn", action="store_true", help="composition and linear probes only")
    baselines = ", ".join(entry.label for entry in select_representations("composition", "sequence"))
    group.add_argument("--no_baselines", action="store_true", help=f"leave out {baselines} and linear probes")


def _add_run_arguments(group) -> None:
    group.add_argument("--output_dir", type=path, help="folder of the results")
    group.add_argument("--seed", type=not_negative(int), default=42, help="default: %(default)s")
    group.add_argument("--overwrite", action="store_true", help="delete the run in --output_dir first")


def add_geometry_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the scripts in ``evalEmbeddings/isoscore``."""
    group = parser.add_argument_group("geometry and run")
    group.add_argument(
        "--n_per_rbp",
        type=number(int, "2 or more", lambda value: 2 <= value < 2**31),
        default=2000,
        help="records of each set, the same for every model (default: %(default)s)",
    )
    group.add_argument(
        "--pooling",
        choices=("mean", "cls", "max"),
        default="mean",
        help="one vector per record: mean or max over nucleotides, or <cls> (default: %(default)s)",
    )
    group.add_argument(
        "--bootstrap", type=not_negative(int), default=100, help="resamples of intervals, 0 for none (default: 100)"
    )
    group.add_argument(
        "--zeta",
        type=number(float, "0 to 1", lambda value: 0 <= value <= 1),
        default=0.2,
        help="shrinkage of IsoScore* towards the covariance of all sets (default: %(default)s)",
    )
    _add_run_arguments(group)


# ------------------------------------------------------------------------------------------------------ options


def complete_paths(arguments: argparse.Namespace, output: str) -> None:
    """Fill in the folders of the demo set where no data are named, and print that it is used.

    Parameters
    ----------
    arguments : Namespace
    output : str
        Name of the default output folder, beside the demo data.

    Raises
    ------
    InputError
        If ``--output_dir`` is missing.
    """
    if arguments.demo:
        print(NOTICE)
        arguments.data_dir = demo_data() / "labelled"
        arguments.output_dir = arguments.output_dir or DEMO_DATA.parent / output
    if arguments.output_dir is None:
        raise InputError("`output_dir`: not given, wanted a folder for the results")


def encoder_options(arguments: argparse.Namespace, default_variants: Sequence[str]):
    """Return the `EncoderOptions` of arguments of `add_encoder_arguments`."""
    from ..evaluation.encoders import EncoderOptions

    weights = {variant.name: getattr(arguments, variant.parameter) for variant in weighted_variants()}
    shared = ("variants", "config", "layers", "extraction_batch_size", "dtype", "device", "cache_dir")
    return EncoderOptions(
        default_variants=default_variants,
        weights={name: weights[name] for name in weights if weights[name]},
        **{name: getattr(arguments, name) for name in shared},
    )


def geometry_options(arguments: argparse.Namespace):
    """Return the `GeometryOptions` of arguments of `add_geometry_arguments`."""
    from ..evaluation.geometry_units import GeometryOptions

    names = ("n_per_rbp", "pooling", "bootstrap", "zeta", "seed")
    return GeometryOptions(**{name: getattr(arguments, name) for name in names})


# -------------------------------------------------------------------------------------------------- CNN scripts


def _evaluate(arguments: argparse.Namespace, variants: Sequence[str], output: str) -> None:
    complete_paths(arguments, output)

    from ..evaluation.run import SetOptions, evaluate_sets
    from ..evaluation.tables import closing_table

    set_names = ("data_dir", "rbps", "split", "test_chroms", "dev_chroms", "allow_duplicates", "drop_duplicates")
    set_names += ("subsample_pos", "subsample_neg", "max_length", "truncate", "sequence_column", "label_column")
    methods = ("pooling", "no_cnn", "no_baselines") if variants else ()
    rows = evaluate_sets(
        SetOptions(**{name: getattr(arguments, name) for name in set_names}),
        arguments.output_dir,
        encoder_options(arguments, variants) if variants else None,
        CnnOptions.from_recipe(arguments.recipe, **{name: getattr(arguments, name) for name in CNN_ARGUMENTS}),
        **{name: getattr(arguments, name) for name in (*methods, "n_repeats", "seed", "overwrite")},
    )
    print(closing_table(rows))
    print(
        f"\nresults: {arguments.output_dir}; figures: python evalEmbeddings/plot_results.py "
        f"--results {arguments.output_dir}"
    )


def run_evaluation_script(
    argv: Sequence[str] | None,
    *,
    description: str,
    variants: Sequence[str] = VARIANTS.names,
    output: str = "evaluation",
) -> int:
    """Run one of the scripts of the CNN evaluation and return its exit code.

    Parameters
    ----------
    argv : sequence of str or None
        Arguments; None takes those of the process.
    description : str
        Docstring of the script.
    variants : sequence of str
        Variants that it evaluates by default; without any, it evaluates no encoder.
    output : str
        Name of the demo set's output folder, beside its data.
    """
    # One pretrained encoder and its control show what the evaluation is about, in two thirds of the time.
    demo = DEMO | {"variants": [name for name in variants if name != "Pretrained"]} if variants else DEMO
    arguments = parse_or_demo(build_evaluation_parser(description, variants), argv, demo, "data_dir")
    log_messages()
    for noisy in ("absl", "tensorflow", "h5py"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return exit_on_input_error(_evaluate, arguments, variants, output)
