#!/usr/bin/env python
"""Labelled data sets from eCLIP peaks: 101-nt windows at an RBP's sites, and windows without one.

All RBPs of a folder of peaks, negatives from the sites of other RBPs in the same cell line:
    python preprocess/make_rbp_dataset.py --peaks PEAKS --fasta GRCh38.fa --gtf gencode.gtf.gz --output_dir sets

One RBP, negatives of the same GC content:
    python preprocess/make_rbp_dataset.py --peaks PEAKS --rbp QKI --cell K562 --fasta GRCh38.fa --match gc \\
        --output_dir sets_gc

Without arguments it makes the sets of the synthetic demo data.

--peaks is a narrowPeak or BED file, or a folder of them with index.tsv (columns accession, target, cell; files are
called ACCESSION.bed.gz). --fasta is a genome, or regions with coordinates in their headers. Coordinates are 0-based,
half-open; windows on the minus strand are reverse-complemented.

Negatives (--negatives):
    other_rbps  sites of other RBPs in the same cell line, --min_distance nt or more from every site of this RBP, in any
                cell line and below the thresholds too
    genome      random windows, as far from the sites, of the genes that hold the positives (--gtf); without a GTF,
                of the regions of --fasta, on the strand of the peaks there
    shuffle     each positive with its nucleotides shuffled, all its dinucleotides kept (Altschul and Erickson 1985);
                coordinates are those of the positive
--match takes, from a larger draw of such negatives, those most alike the positives in GC content, in their 16
dinucleotides, or one by one of the same kind of region (5'UTR, CDS ...; --gtf).

A score is to be read against what composition alone gives: report.txt of each set holds the AUROC of logistic
regressions on GC content and on dinucleotides, and what test and train share.

Outputs, for each RBP and cell line in OUTPUT_DIR/RBP_CELL: RBP_CELL.positives.fa, RBP_CELL.negatives.fa, train.csv,
dev.csv, test.csv, report.json, report.txt; in OUTPUT_DIR: summary.csv, run.json. A killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # no model here: spares the import of torch

from LAMAR.cli.arguments import OneLineParser, finite, fraction, names, not_negative, path, positive, usable_workers
from LAMAR.cli.demo import NOTICE, REPOSITORY, demo_data
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.errors import InputError

logger = logging.getLogger("make_rbp_dataset")

FOLDER_NAME = re.compile(r"(?!\.)[\w.+()-]{1,100}")
RESERVED = ("units", "run.json", "summary.csv")
TEST_CHROMS = ("chr8", "chr9")
SUMMARY = ["rbp", "cell", "n_positives", "n_negatives", "n_train", "n_dev", "n_test", "gc_auroc", "dinucleotide_auroc"]
SUMMARY += ["test_sharing_30mer", "longest_shared_run", "status"]


def build_parser() -> argparse.ArgumentParser:
    summary, _, epilog = __doc__.partition("\n\n")
    parser = OneLineParser(description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)

    data = parser.add_argument_group("inputs")
    data.add_argument("--peaks", type=path, help="file or folder of peaks (default: the synthetic demo set)")
    data.add_argument("--fasta", type=path, help="genome, or regions with coordinates in their headers")
    data.add_argument("--gtf", type=path, help="gene annotation: types of region, and genes for --negatives genome")
    data.add_argument("--rbp", type=names, help="RBPs to make sets of, by commas (default: all); names a single file")
    data.add_argument("--cell", type=names, help="cell lines to make sets of, by commas (default: all)")
    data.add_argument("--output_dir", type=path, help="folder of the sets")

    sites = parser.add_argument_group("positives")
    sites.add_argument("--window", type=positive(int), default=101, help="nt (default: %(default)s)")
    sites.add_argument(
        "--center", choices=("middle", "five_prime", "summit"), default="middle", help="default: %(default)s"
    )
    sites.add_argument("--min_log2fc", type=finite, default=3.0, help="column 7 of narrowPeak (default: %(default)s)")
    sites.add_argument("--min_neg_log10_p", type=finite, default=3.0, help="column 8 (default: %(default)s)")
    sites.add_argument("--min_sites", type=positive(int), default=50, help="least positives of a set (default: 50)")
    sites.add_argument("--keep_nonstandard", action="store_true", help="keep chromosomes other than chr1-22, X, Y")

    others = parser.add_argument_group("negatives")
    others.add_argument(
        "--negatives", choices=("other_rbps", "genome", "shuffle"), default="other_rbps", help="default: %(default)s"
    )
    others.add_argument(
        "--match", choices=("none", "gc", "dinucleotide", "region"), default="none", help="default: %(default)s"
    )
    others.add_argument("--min_distance", type=not_negative(int), default=150, help="nt (default: %(default)s)")
    others.add_argument("--ratio", type=positive(int), default=1, help="negatives per positive (default: %(default)s)")

    split = parser.add_argument_group("split and run")
    split.add_argument(
        "--split",
        choices=("random", "chromosome", "cluster"),
        default="cluster",
        help="cluster keeps windows that share sequence in one part (default: %(default)s)",
    )
    split.add_argument("--test_chroms", type=names, help="for --split chromosome (default: chr8,chr9)")
    split.add_argument("--dev_chroms", type=names, help="for --split chromosome (default: drawn)")
    split.add_argument("--dev_fraction", type=fraction, default=0.15, help="default: %(default)s")
    split.add_argument("--test_fraction", type=fraction, default=0.15, help="default: %(default)s")
    split.add_argument("--seed", type=not_negative(int), default=42, help="default: %(default)s")
    split.add_argument("--workers", type=positive(int), default=1, help="processes (default: %(default)s)")
    split.add_argument("--overwrite", action="store_true", help="make the sets in --output_dir anew")
    return parser


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments; without --peaks and --fasta, the demo set's."""
    arguments = build_parser().parse_args(argv)
    arguments.demo = arguments.peaks is None and arguments.fasta is None
    return arguments


def complete(arguments: argparse.Namespace) -> None:
    """Fill in what depends on other arguments; refuse what cannot work before anything is read."""
    if arguments.demo:
        print(NOTICE)
        data = demo_data()
        arguments.peaks, arguments.fasta = data / "peaks", data / "genome.fa"
        arguments.gtf = arguments.gtf or data / "annotation.gtf"
        arguments.output_dir = arguments.output_dir or REPOSITORY / "demo" / "labelled_sets"
    for name in ("peaks", "fasta", "output_dir"):
        if getattr(arguments, name) is None:
            raise InputError(f"--{name}: not given, wanted a path")
    if arguments.negatives == "shuffle" and arguments.match != "none":
        raise InputError(f"--match {arguments.match}: shuffled negatives have the positives' composition and regions")
    if arguments.match == "region" and arguments.gtf is None:
        raise InputError("--match region: needs --gtf, which tells the kinds of region")
    if arguments.dev_fraction + arguments.test_fraction >= 1 or not arguments.test_fraction:
        found = f"{arguments.dev_fraction} and {arguments.test_fraction}"
        raise InputError(f"--dev_fraction, --test_fraction: found {found}, wanted a sum below 1 and some test part")
    for name in ("test_chroms", "dev_chroms"):
        if getattr(arguments, name) and arguments.split != "chromosome":
            raise InputError(f"--{name} goes with --split chromosome, found --split {arguments.split}")
    if arguments.split == "chromosome" and not arguments.test_chroms:
        arguments.test_chroms = list(TEST_CHROMS)


def choose_sets(peaks, arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """(RBP, cell line) of the sets to make, in the order of the peaks."""
    from LAMAR.genomics.binding_sets import set_name

    for argument, column in (("rbp", "rbp"), ("cell", "cell")):
        present = peaks[column].unique().tolist()
        missing = [name for name in getattr(arguments, argument) or () if name not in present]
        if missing:
            raise InputError(
                f"--{argument}: found no peaks of {missing[0]!r} in {arguments.peaks}, "
                f"wanted some of {', '.join(sorted(present))}"
            )
    wanted = peaks
    if arguments.rbp:
        wanted = wanted[wanted["rbp"].isin(arguments.rbp)]
    if arguments.cell:
        wanted = wanted[wanted["cell"].isin(arguments.cell)]
    sets = list(dict.fromkeys(zip(wanted["rbp"], wanted["cell"])))
    called: dict[str, tuple[str, str]] = {}
    for rbp, cell in sets:
        name = set_name(rbp, cell)
        # Some file systems take upper and lower case for the same.
        first = called.setdefault(name.lower(), (rbp, cell))
        if first != (rbp, cell):
            raise InputError(
                f"--peaks {arguments.peaks}: found RBP {first[0]!r} in {first[1]!r} and {rbp!r} in {cell!r}, which "
                f"would both be called {name}; wanted different names"
            )
        if not (rbp and FOLDER_NAME.fullmatch(name)) or name.lower() in RESERVED:
            raise InputError(
                f"--peaks {arguments.peaks}: found RBP {rbp[:50]!r} and cell line {cell[:50]!r}, wanted names that a "
                "folder can have: up to 100 letters, digits, '_', '-', '+', '.', '(', ')', no '.' at the beginning"
            )
    if not sets:
        found = f"{','.join(arguments.rbp)} in {','.join(arguments.cell)}"
        raise InputError(f"--rbp, --cell: found no peaks of {found} in {arguments.peaks}")
    return sets


def read_all_peaks(arguments: argparse.Namespace):
    """All peaks of --peaks; of the folder around a single file too where an index.tsv there lists the file."""
    from LAMAR.genomics.peaks import read_index, read_peaks

    peaks = read_peaks(arguments.peaks)
    if arguments.peaks.is_dir():
        return peaks
    index = arguments.peaks.parent / "index.tsv"
    if index.is_file() and peaks["accession"].iloc[0] in read_index(index)["accession"].tolist():
        arguments.rbp = arguments.rbp or peaks["rbp"].unique().tolist()
        arguments.cell = arguments.cell or peaks["cell"].unique().tolist()
        return read_peaks(arguments.peaks.parent) if arguments.negatives == "other_rbps" else peaks
    if arguments.negatives == "other_rbps":
        raise InputError(
            f"--negatives other_rbps: found the one file {arguments.peaks}, wanted a folder with peaks of other RBPs; "
            "or choose --negatives genome or shuffle"
        )
    if arguments.rbp and len(arguments.rbp) == 1:
        peaks["rbp"] = arguments.rbp[0]
    return peaks


_in_worker: dict = {}


def _start_worker(arguments: argparse.Namespace, peaks, sources=None) -> None:
    """Open the sequence once in each process; a handle on an indexed file cannot be sent there."""
    from LAMAR.genomics.binding_sets import Sources

    _in_worker["sources"] = sources or Sources.open(peaks, arguments.fasta, arguments.gtf)
    _in_worker["options"] = set_options(arguments)


def _build(key: tuple[str, str]):
    """One set, or the message of why it cannot be made."""
    from LAMAR.genomics.binding_sets import build_set

    try:
        return build_set(*key, **_in_worker)
    except InputError as error:
        return str(error)


def set_options(arguments: argparse.Namespace):
    """The arguments that say how a set is made."""
    from dataclasses import fields

    from LAMAR.genomics.binding_sets import SetOptions

    chosen = {field.name: getattr(arguments, field.name) for field in fields(SetOptions)}
    return SetOptions(**chosen)


def row_of(key: tuple[str, str], result) -> dict:
    """Line of summary.csv."""
    row = dict.fromkeys(SUMMARY)
    row |= {"rbp": key[0], "cell": key[1]}
    if isinstance(result, str):
        return row | {"status": result}
    report = result.report
    row |= {f"n_{side}": report[side]["kept"] for side in ("positives", "negatives")}
    row |= {f"n_{part}": size for part, size in report["split"]["sizes"].items()}
    row |= {name: report["split"][name] for name in ("test_sharing_30mer", "longest_shared_run")}
    for features in ("gc", "dinucleotide"):
        row[f"{features}_auroc"] = report["composition"]["auroc"][features]["value"]
    return row | {"status": "made"}


def run(arguments: argparse.Namespace) -> None:
    complete(arguments)

    from concurrent.futures import ProcessPoolExecutor
    from contextlib import ExitStack

    from LAMAR import runs
    from LAMAR.genomics.binding_sets import Sources, set_name
    from LAMAR.runs import storage

    peaks = read_all_peaks(arguments)
    sets = choose_sets(peaks, arguments)
    inputs = [path for path in (arguments.peaks, arguments.fasta, arguments.gtf) if path]
    # Opened before the run's folder is made: what is wrong with the inputs must leave nothing behind.
    storage.require_files(inputs)
    sources = Sources.open(peaks, arguments.fasta, arguments.gtf)
    options = {key: value for key, value in vars(arguments).items() if key not in ("overwrite", "workers", "demo")}
    with ExitStack() as stack:
        folder = stack.enter_context(
            runs.RunFolder.open(
                arguments.output_dir,
                arguments=options,
                seed=arguments.seed,
                inputs=inputs,
                overwrite=arguments.overwrite,
            )
        )
        todo = [key for key in sets if not folder.done(set_name(*key))]
        if len(todo) < len(sets):
            logger.info("%d of %d sets are there already", len(sets) - len(todo), len(sets))
        if arguments.workers > 1 and len(todo) > 1:
            n_workers = min(usable_workers(arguments.workers), len(todo))
            pool = ProcessPoolExecutor(n_workers, initializer=_start_worker, initargs=(arguments, peaks))
            results = stack.enter_context(pool).map(_build, todo)
        elif todo:
            _start_worker(arguments, peaks, sources)
            results = map(_build, todo)
        for key, result in zip(todo, results if todo else ()):
            name = set_name(*key)
            if isinstance(result, str):
                if len(sets) == 1:
                    folder.discard()
                    raise InputError(result)
                logger.warning("left out: %s", result)
            else:
                target = folder.folder(name, empty=True)
                for file, text in {**result.files, "report.txt": result.text}.items():
                    with storage.atomic_write(target / file) as handle:
                        handle.write(text)
                storage.write_json(target / "report.json", result.report)
                print(result.text)
            folder.save_unit(name, row_of(key, result))
        rows = [folder.load_unit(set_name(*key)) for key in sets]
        made = sum(row["status"] == "made" for row in rows)
        if not made:
            folder.discard()
            raise InputError(f"--peaks {arguments.peaks}: none of {len(sets)} sets could be made; {rows[0]['status']}")
        storage.write_csv(folder.file("summary.csv"), rows, SUMMARY)
        folder.finish({"sets": made, "left_out": len(sets) - made})
    print(f"{made} sets made, {len(sets) - made} left out: {arguments.output_dir / 'summary.csv'}")


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
