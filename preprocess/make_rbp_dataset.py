#!/usr/bin/env python
"""Make labelled data sets from eCLIP peaks: 101-nt windows at an RBP's sites, and windows without one.

All RBPs of a folder of peaks, negatives from the sites of other RBPs in the same cell line:
    python preprocess/make_rbp_dataset.py --peaks PEAKS --fasta GRCh38.fa --gtf gencode.gtf.gz --output_dir sets

One RBP, negatives of the same GC content:
    python preprocess/make_rbp_dataset.py --peaks PEAKS --rbp QKI --cell K562 --fasta GRCh38.fa --match gc \\
        --output_dir sets_gc

Without arguments it makes the sets of the synthetic demo data.

--peaks is a narrowPeak or BED file, or a folder of them with index.tsv (columns accession, target, cell; files are
called ACCESSION.bed.gz). --fasta is a genome, or regions with coordinates in their headers. Coordinates are 0-based,
half-open; windows on the minus strand are reverse-complemented.

--negatives names the source of windows without a site; --match chooses, from a larger draw of these candidates, those
most like the positives.

Compare scores with those of composition alone: report.txt of each set holds the AUROC of logistic regressions on GC
content and on dinucleotides, and what test and train share.

Outputs, for each RBP and cell line in OUTPUT_DIR/RBP_CELL: RBP_CELL.positives.fa, RBP_CELL.negatives.fa, train.csv,
dev.csv, test.csv, report.json, report.txt; in OUTPUT_DIR: summary.csv, run.json. An interrupted run resumes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # no model here: spares the import of torch
    from LAMAR.cli.signals import answer_signals

    answer_signals()

import argparse
from dataclasses import fields

from LAMAR.cli import demo
from LAMAR.cli.arguments import (
    finite,
    fraction,
    log_messages,
    names,
    not_negative,
    path,
    positive,
    script_parser,
    usable_workers,
)
from LAMAR.cli.errors import exit_on_input_error, with_flags
from LAMAR.data.split_methods import SPLITS
from LAMAR.genomics.choices import CENTERS, MATCHES, NEGATIVES


def build_parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__)

    data = parser.add_argument_group("inputs")
    data.add_argument("--peaks", type=path, help="file or folder of peaks (default: the synthetic demo set)")
    data.add_argument("--fasta", type=path, help="genome, or regions with coordinates in their headers")
    data.add_argument("--gtf", type=path, help="gene annotation: kinds of region, and genes for --negatives genome")
    data.add_argument("--rbp", type=names, help="RBPs to make sets of, by commas (default: all); names a single file")
    data.add_argument("--cell", type=names, help="cell lines to make sets of, by commas (default: all)")
    data.add_argument("--output_dir", type=path, help="folder of the sets")

    sites = parser.add_argument_group("positives")
    sites.add_argument("--window", type=positive(int), default=101, help="nt (default: %(default)s)")
    sites.add_argument("--center", choices=CENTERS, default="middle", help="default: %(default)s")
    sites.add_argument("--min_log2fc", type=finite, default=3.0, help="column 7 of narrowPeak (default: %(default)s)")
    sites.add_argument("--min_neg_log10_p", type=finite, default=3.0, help="column 8 (default: %(default)s)")
    sites.add_argument("--fc_column", type=positive(int), help="column of the log2 fold change in other BED, from 1")
    sites.add_argument(
        "--p_column", type=positive(int), help="column of -log10 p in other BED, from 1 (Yeo's: fold change 5, p 4)"
    )
    sites.add_argument("--min_sites", type=positive(int), default=50, help="least positives of a set (default: 50)")
    sites.add_argument("--keep_nonstandard", action="store_true", help="keep chromosomes other than chr1-22, X, Y")

    others = parser.add_argument_group("negatives")
    kinds = "; ".join(with_flags(f"{kind.name}: {kind.label}") for kind in NEGATIVES.values())
    others.add_argument(
        "--negatives", choices=NEGATIVES.names, default="other_rbps", help=f"{kinds} (default: %(default)s)"
    )
    matches = "; ".join(with_flags(f"{method.name}: {method.label}") for method in MATCHES.values())
    others.add_argument(
        "--match",
        choices=MATCHES.names,
        default="none",
        help=f"choice among candidates: {matches} (default: %(default)s)",
    )
    others.add_argument("--min_distance", type=not_negative(int), default=150, help="nt (default: %(default)s)")
    others.add_argument("--ratio", type=positive(int), default=1, help="negatives per positive (default: %(default)s)")

    split = parser.add_argument_group("split and run")
    methods = [method for method in SPLITS.values() if method.name not in ("auto", "given")]
    split.add_argument(
        "--split",
        choices=[method.name for method in methods],
        default="cluster",
        help="; ".join(f"{method.name}: {method.label}" for method in methods) + " (default: %(default)s)",
    )
    split.add_argument("--test_chroms", type=names, help="for --split chromosome (default: chr8,chr9)")
    split.add_argument("--dev_chroms", type=names, help="for --split chromosome (default: drawn)")
    split.add_argument("--dev_fraction", type=fraction, default=0.15, help="default: %(default)s")
    split.add_argument("--test_fraction", type=fraction, default=0.15, help="default: %(default)s")
    split.add_argument("--seed", type=not_negative(int), default=42, help="default: %(default)s")
    split.add_argument("--workers", type=positive(int), default=1, help="processes (default: %(default)s)")
    split.add_argument("--overwrite", action="store_true", help="replace the sets in --output_dir")
    return parser


def run(arguments: argparse.Namespace) -> None:
    from LAMAR.genomics.binding_set_files import make_binding_sets
    from LAMAR.genomics.binding_sets import SetOptions

    given = vars(arguments)
    if given["peaks"] is given["fasta"] is None:
        print(demo.NOTICE)
        data = demo.demo_data()
        given |= {"peaks": data / "peaks", "fasta": data / "genome.fa", "gtf": given["gtf"] or data / "annotation.gtf"}
        given["output_dir"] = given["output_dir"] or demo.REPOSITORY / "demo" / "labelled_sets"
    given["workers"] = usable_workers(given["workers"])
    options = SetOptions(**{field.name: given.pop(field.name) for field in fields(SetOptions)})
    print(with_flags(make_binding_sets(**given, options=options, on_set=lambda made: print(made.text)).text))


def main(argv: list[str] | None = None) -> int:
    log_messages()
    return exit_on_input_error(run, build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
