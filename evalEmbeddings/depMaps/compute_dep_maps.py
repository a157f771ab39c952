#!/usr/bin/env python
"""Which nucleotides depend on which: dependency maps of a masked language model, attribution maps of a classifier.

A masked-LM checkpoint, records of a FASTA file, one region marked and drawn by itself:
    python evalEmbeddings/depMaps/compute_dep_maps.py --model_path weights/lamar-mini --sequence_file sites.fa \\
        --region 30-70 --apc --logo --output_dir results/dep_maps

A fine-tuned classifier, the four attribution methods, and pairs of substitutions in a region:
    python evalEmbeddings/depMaps/compute_dep_maps.py --model_path models/QKI/fold_0 --sequence ACUAACGU... \\
        --analysis_type all --region 20-50 --output_dir results/qki

Without arguments it maps planted hairpins of the synthetic demo set with the weights that ship.

--analysis_type
    dependency    masked LM: change in log2 odds of each nucleotide when another is substituted; rows mutated, columns
                  affected (Tomaz da Silva et al., Nature Genetics 2025); stems in the map, in dot-bracket form
    mutagenesis, saliency, integrated, window
                  classifier: substitutions, gradient x input, integrated gradients, masked windows
    pairwise      classifier: effect of two substitutions in --region beyond the sum of their effects, in logit
    both          classifier: mutagenesis and saliency
    all           all that the checkpoint's head allows; pairwise where --region is given (default)

Outputs in OUTPUT_DIR: maps (.npz) and figures (PNG, SVG) of each record, run.json, and of a masked LM influence.csv,
pairs.csv, stems.csv, structures.dbn; of a classifier records.csv, top.csv, a table per method, arrays, tracks,
pairwise.csv. Positions are 0-based. An interrupted run resumes; records that cannot be mapped are left out and listed
at the end.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # --help and errors of arguments come before the import of torch
    from LAMAR.cli.signals import answer_signals

    answer_signals()

import argparse
from collections.abc import Sequence

from LAMAR.cli.arguments import log_messages, not_negative, number, path, positive, region, script_parser, target
from LAMAR.cli.dependency import map_dependencies
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.cli.interpretation import RENAMED, add_method_arguments, add_run_arguments
from LAMAR.interpretation.analyses import ALL, PARITY_EPS, REDUCTIONS, analysis_table


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script's arguments."""
    parser = script_parser(__doc__)
    _add_input(parser.add_argument_group("what is mapped"))
    _add_maps(parser.add_argument_group("dependency maps"))

    explained = parser.add_argument_group("attribution (see visualisation/saliency_analyzer.py)")
    explained.add_argument("--target", type=target, help="class, or predicted (default: 1 of two, else predicted)")
    add_method_arguments(explained)

    output = parser.add_argument_group("run")
    output.add_argument("--top", type=not_negative(int), default=100, help="pairs or positions listed (default: 100)")
    output.add_argument("--n_figures", type=not_negative(int), default=20, help="records that are drawn (default: 20)")
    add_run_arguments(output, "of shuffled baselines")
    return parser


def _add_input(group) -> None:
    group.add_argument(
        "--model_path",
        type=path,
        help="masked LM or classifier: a checkpoint folder, or the folder of a fine-tuning run (or one above it), "
        "whose checkpoints are averaged (default: what ships)",
    )
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        "--sequence_file",
        "--seq_file",
        type=path,
        help="FASTA file, gzipped or plain (default: the demo set)",
    )
    source.add_argument("--sequence", help="one sequence (A C G T U N, either case)")
    group.add_argument("--output_dir", type=path, help="folder of the results")
    group.add_argument("--analysis_type", choices=(*analysis_table(), ALL), default=ALL, help="default: %(default)s")
    group.add_argument(
        "--region",
        type=region,
        help="START-END of every sequence, 0-based half-open: marked in maps and drawn by itself; attribution and "
        "pairs are restricted to it",
    )


def _add_maps(group) -> None:
    group.add_argument(
        "--reduction", choices=REDUCTIONS, default="max", help="over substitutions x nucleotides (default: max)"
    )
    group.add_argument("--symmetrise", action="store_true", help="draw and rank the mean of both directions")
    group.add_argument("--apc", action="store_true", help="draw and rank with the average product correction")
    group.add_argument(
        "--eps",
        type=number(float, "0 up to 0.01", lambda value: 0 <= value <= 0.01),
        nargs="?",
        const=PARITY_EPS,
        default=0.0,
        help="as the published code: softmax over the whole vocabulary, this added to each of the four probabilities, "
        f"renormalised; without a value {PARITY_EPS:g} (default: log-softmax over the four)",
    )
    group.add_argument("--logo", action="store_true", help="draw the model's prediction above maps of up to 130 nt")
    group.add_argument("--min_stem", type=positive(int), default=3, help="base pairs of a stem (default: %(default)s)")
    group.add_argument(
        "--stem_evalue",
        type=positive(float),
        default=0.05,
        help="number of equally good stems expected by chance in a map, at most (default: %(default)s)",
    )
    group.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="default: %(default)s")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    log_messages(renamed=RENAMED)
    return exit_on_input_error(map_dependencies, arguments, parser.parse_args([]), renamed=RENAMED)


if __name__ == "__main__":
    sys.exit(main())
