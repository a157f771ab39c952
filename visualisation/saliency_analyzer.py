#!/usr/bin/env python
"""Explain a fine-tuned classifier's call nucleotide by nucleotide.

One sequence, or the records of a FASTA file:
    python visualisation/saliency_analyzer.py --model_path models/QKI/fold_0 --sequence ACTAACGT... --output_dir out
    python visualisation/saliency_analyzer.py --model_path models/QKI/fold_0 --seq_file sites.fa --output_dir out

All folds or draws of a fine-tuning run, whose mean logits are explained:
    python visualisation/saliency_analyzer.py --model_path models/QKI --seq_file sites.fa --output_dir out

Variants, on the strand that their column or --strand gives:
    python visualisation/saliency_analyzer.py --model_path models/QKI/fold_0 --vcf variants.vcf --genome hg38.fa \\
        --strand - --output_dir out

Without arguments it explains held-out positives of the synthetic demo set with a small classifier of that set.

Methods: mutagenesis (every substitution), window (masked windows), gradient (saliency at the embeddings), integrated
(integrated gradients; needs the package captum). Tracks are importance: above 0, a nucleotide speaks for the class.

Outputs in OUTPUT_DIR: records.csv; METHOD.csv; top.csv; arrays/*.npz; figures/*_tracks and *_mutagenesis (PNG, SVG);
tracks/*.bedgraph where record names have coordinates (chr1:100-201(+)); with 10 records or more that the model assigns
to the class, aligned.csv, kmers.csv, seqlets.csv, motif.csv and figures of them; with --vcf variants.csv, and
left_out.csv of variants that cannot be scored; run.json. An interrupted run resumes. Records that cannot be explained
are left out, listed at the end, and make the exit code 2.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # --help and errors of arguments come before the import of torch
    from LAMAR.cli.signals import answer_signals

    answer_signals()

import argparse
from collections.abc import Sequence

from LAMAR.cli.arguments import (
    log_messages,
    not_negative,
    number,
    parse_or_demo,
    path,
    positive,
    region,
    script_parser,
    target,
)
from LAMAR.cli.attribution import explain
from LAMAR.cli.demo import REPOSITORY
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.cli.interpretation import RENAMED, add_method_arguments, add_run_arguments
from LAMAR.interpretation.methods import METHODS, SCALES, TOLERANCE

DEMO = {"n_steps": 64, "n_figures": 3, "output_dir": REPOSITORY / "demo" / "attribution"}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script's arguments."""
    parser = script_parser(__doc__)
    _add_input(parser.add_argument_group("what is explained"))
    _add_methods(parser.add_argument_group("methods"))
    _add_variants(parser.add_argument_group("variants"))

    many = parser.add_argument_group("many records")
    many.add_argument("--kmer", type=number(int, "2 to 8", lambda k: 2 <= k <= 8), help="default: 5")
    many.add_argument(
        "--motif_method", choices=METHODS.names, help="method that motifs are taken from (default: the first)"
    )

    output = parser.add_argument_group("run")
    output.add_argument(
        "--top", type=not_negative(int), default=10, help="positions in top.csv and shaded (default: 10)"
    )
    output.add_argument("--n_figures", type=not_negative(int), help="records that are drawn (default: 20)")
    add_run_arguments(output, "of shuffles")
    output.add_argument("--interactive", action="store_true", help="ask for what is missing")
    return parser


def _add_input(group) -> None:
    group.add_argument(
        "--model_path",
        type=path,
        help="fine-tuned classifier: a checkpoint folder (fold_0 ...), or the folder of a run (or one above it), whose "
        "checkpoints are averaged",
    )
    source = group.add_mutually_exclusive_group()
    source.add_argument("--sequence", help="one sequence (A C G T U N, either case)")
    source.add_argument("--seq_file", type=path, help="FASTA file, gzipped or plain")
    source.add_argument("--vcf", type=path, help="variants: VCF, or CSV/TSV with chrom, pos (from 1), ref, alt, strand")
    group.add_argument("--output_dir", type=path, help="folder of the results")
    group.add_argument("--region", type=region, help="START-END of every sequence, 0-based half-open (default: all)")
    group.add_argument("--target", type=target, help="class, or predicted (default: 1 of two classes, else predicted)")
    group.add_argument(
        "--score",
        choices=SCALES,
        help="scale of tracks; tables of mutagenesis have all three (default: log_odds; of regression the value)",
    )


def _add_methods(group) -> None:
    group.add_argument("--methods", nargs="+", choices=(*METHODS, "all"), help="default: all")
    add_method_arguments(group)
    group.add_argument(
        "--tolerance",
        type=number(float, "more than 0 and less than 1", lambda value: 0 < value < 1),
        default=TOLERANCE,
        help="convergence delta, as a share of the difference to the baseline, above which the path is halved "
        "(default: %(default)s)",
    )
    group.add_argument("--n_shuffles", type=positive(int), default=10, help="for --baseline shuffle (default: 10)")


def _add_variants(group) -> None:
    group.add_argument(
        "--genome", type=path, help="FASTA of the genome, or of regions with coordinates in their headers"
    )
    group.add_argument(
        "--strand",
        choices=("+", "-", "both"),
        help="of variants without one; ref and alt stay letters of the plus strand, as a VCF has them (default: +)",
    )
    group.add_argument("--variant_window", type=positive(int), help="nt around a variant (default: 101)")
    group.add_argument("--no_ranks", action="store_true", help="do not rank among the window's substitutions; faster")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.interactive:
        arguments.demo = False
    else:
        arguments = parse_or_demo(parser, argv, DEMO, "model_path")
    log_messages(renamed=RENAMED)
    return exit_on_input_error(explain, arguments, renamed=RENAMED)


if __name__ == "__main__":
    sys.exit(main())
