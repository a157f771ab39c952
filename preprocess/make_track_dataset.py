#!/usr/bin/env python
"""Windows labelled for every eCLIP experiment at once, to train one model for all RBPs.

All experiments of a folder of peaks, with background windows from transcripts:
    python preprocess/make_track_dataset.py --peaks PEAKS --fasta GRCh38.fa --background transcripts.fa.gz \\
        --output_dir prep/tracks

Some RBPs of one cell line, with background windows from genes:
    python preprocess/make_track_dataset.py --peaks PEAKS --rbps QKI,PUM2,TARDBP --cells K562 --fasta GRCh38.fa \\
        --gtf gencode.gtf.gz --output_dir prep/tracks_k562

Without arguments it makes the set of the synthetic demo data.

--peaks are folders of narrowPeak or BED files with index.tsv (columns accession, target, cell; files are called
ACCESSION.bed.gz), or such files; without an index each file is a track of its own, named like the file. A track is an
RBP in a cell line (QKI_K562); several experiments of the two are one track with all their peaks. --fasta is a genome,
or regions with coordinates in their headers. Coordinates are 0-based, half-open; windows on the minus strand are
reverse-complemented.

Windows: centres of all peaks of a strand are clustered within --cluster nt, and each cluster gives a window of --window
nt around its middle. Where its region or contig ends sooner it is cut at both ends alike, down to --min_length nt.

Labels, for each window and track:
    bound      a peak of the track overlaps the --core nt in the middle
    unknown    not bound, but fewer than --near bases lie between the core and a peak of the track; or no peak of the
               track's cell line overlaps the window, so that its RNA may be absent there; or a peak that is below
               --min_log2fc or --min_neg_log10_p is as near
    not bound  all others: the window is a site of other RBPs in the same cell line

Background windows, not bound by any track, come from --background or, in genes that hold a peak, from --gtf. What
surrounds them (--near) shares no --exclude_run nt in a row with any peak or window around one, on either strand; no two
of them share such a run either. Their lengths are distributed like those of the other windows.

Parts are chromosomes; transcripts whose headers tell none (as bedtools, UCSC and Ensembl write them) are assigned by a
hash of the sequence. Training windows that share --exclude_run nt in a row with a sequence of --exclude are left out.

Outputs, in OUTPUT_DIR: windows.parquet (chrom, start, end, strand, sequence, part, kind, bound, unknown; the last two
are lists of track ids; a background window from a transcript has its name in chrom), tracks.tsv (id, track, target,
cell, accession, n_peaks, windows bound and unknown by part), report.txt, report.json, run.json.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # no model here: spares the import of torch

from LAMAR.cli.arguments import OneLineParser, finite, names, not_negative, path, positive
from LAMAR.cli.demo import NOTICE, REPOSITORY, demo_data
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.errors import InputError

logger = logging.getLogger("make_track_dataset")

UNIT = "set"
# The demo genome has three chromosomes.
DEMO = {"test_chroms": ["chr8"], "dev_chroms": ["chr21"]}


def build_parser() -> argparse.ArgumentParser:
    summary, _, epilog = __doc__.partition("\n\n")
    parser = OneLineParser(description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)

    data = parser.add_argument_group("inputs")
    data.add_argument("--peaks", type=path, nargs="+", help="folders or files of peaks (default: the demo set)")
    data.add_argument("--fasta", type=path, help="genome, or regions with coordinates in their headers")
    data.add_argument("--background", type=path, nargs="+", default=[], help="FASTA files of transcripts, or folders")
    data.add_argument("--gtf", type=path, help="gene annotation to take background windows from instead")
    data.add_argument("--exclude", type=path, nargs="+", default=[], help="sequences that must not be trained on")
    data.add_argument("--rbps", type=names, help="RBPs to read peaks of, by commas (default: all)")
    data.add_argument("--cells", type=names, help="cell lines to read peaks of, by commas (default: all)")
    data.add_argument("--output_dir", type=path, help="folder of the set")

    windows = parser.add_argument_group("windows and labels")
    windows.add_argument("--window", type=positive(int), default=101, help="nt (default: %(default)s)")
    windows.add_argument("--min_length", type=positive(int), default=45, help="nt (default: %(default)s)")
    windows.add_argument("--cluster", type=not_negative(int), default=25, help="nt (default: %(default)s)")
    windows.add_argument("--core", type=positive(int), default=30, help="nt (default: %(default)s)")
    windows.add_argument("--near", type=not_negative(int), default=150, help="nt (default: %(default)s)")
    windows.add_argument("--min_log2fc", type=finite, default=3.0, help="column 7 of narrowPeak (default: %(default)s)")
    windows.add_argument("--min_neg_log10_p", type=finite, default=3.0, help="column 8 (default: %(default)s)")
    windows.add_argument(
        "--min_windows", type=positive(int), default=1, help="least training windows bound of a track (default: 1)"
    )
    windows.add_argument("--keep_nonstandard", action="store_true", help="keep chromosomes other than chr1-22, X, Y")
    windows.add_argument("--allow_missing", action="store_true", help="pass over chromosomes that --fasta lacks")

    parts = parser.add_argument_group("parts and run")
    parts.add_argument("--test_chroms", type=names, help="default: chr8,chr9,chr19,chr22")
    parts.add_argument("--dev_chroms", type=names, help="default: chr10,chr20")
    parts.add_argument("--exclude_run", type=positive(int), default=30, help="nt (default: %(default)s)")
    parts.add_argument(
        "--background_windows",
        type=not_negative(int),
        nargs=3,
        default=[40_000, 10_000, 10_000],
        metavar=("TRAIN", "DEV", "TEST"),
        help="background windows of each part (default: 40000 10000 10000)",
    )
    parts.add_argument("--seed", type=not_negative(int), default=42, help="default: %(default)s")
    parts.add_argument("--overwrite", action="store_true", help="make the set in --output_dir anew")
    return parser


def complete(arguments: argparse.Namespace) -> None:
    """Fill in what depends on other arguments; refuse what cannot work before anything is read."""
    arguments.demo = arguments.peaks is None and arguments.fasta is None
    if arguments.demo:
        print(NOTICE)
        data = demo_data("--peaks")
        arguments.peaks, arguments.fasta = [data / "peaks"], data / "genome.fa"
        if not arguments.background:
            arguments.gtf = arguments.gtf or data / "annotation.gtf"
        arguments.output_dir = arguments.output_dir or REPOSITORY / "demo" / "tracks"
        for name, value in DEMO.items():
            setattr(arguments, name, getattr(arguments, name) or value)
    for name in ("peaks", "fasta", "output_dir"):
        if getattr(arguments, name) is None:
            raise InputError(f"--{name}: not given, wanted a path")
    if arguments.background and arguments.gtf:
        raise InputError("--background and --gtf: found both, wanted one source of background windows")


def set_options(arguments: argparse.Namespace):
    """The arguments that say how windows are made."""
    from dataclasses import fields

    from LAMAR.genomics.track_windows import TrackOptions

    chosen = {field.name: getattr(arguments, field.name) for field in fields(TrackOptions)}
    return TrackOptions(**{name: value for name, value in chosen.items() if value is not None})


def run(arguments: argparse.Namespace) -> None:
    complete(arguments)

    from LAMAR import runs
    from LAMAR.data.tracks import TRACKS, WINDOWS, write_track_set
    from LAMAR.genomics.annotation import read_gtf
    from LAMAR.genomics.genome import open_genome
    from LAMAR.genomics.track_sets import describe, make_track_set, read_excluded
    from LAMAR.genomics.track_windows import read_track_peaks
    from LAMAR.runs import storage

    options = set_options(arguments)
    inputs = [*arguments.peaks, arguments.fasta, *arguments.background, *arguments.exclude]
    inputs += [arguments.gtf] if arguments.gtf else []
    # Read before the run's folder is made: what is wrong with the inputs must leave nothing behind.
    storage.require_files(inputs)
    peaks = read_track_peaks(arguments.peaks, arguments.rbps, arguments.cells)
    recorded = {key: value for key, value in vars(arguments).items() if key not in ("overwrite", "demo")}
    with runs.RunFolder.open(
        arguments.output_dir, arguments=recorded, seed=arguments.seed, inputs=inputs, overwrite=arguments.overwrite
    ) as folder:
        if folder.done(UNIT):
            report = folder.load_unit(UNIT)
            logger.info("made earlier, nothing to do: %s", arguments.output_dir)
        else:
            data, report = make_track_set(
                peaks,
                open_genome(arguments.fasta),
                options,
                named=arguments.rbps or (),
                excluded=read_excluded(arguments.exclude, options.exclude_run),
                transcripts=arguments.background,
                annotation=read_gtf(arguments.gtf) if arguments.gtf else None,
            )
            report = {"data": NOTICE, **report} if arguments.demo else report
            for name in (WINDOWS, TRACKS):
                folder.file(name)
            write_track_set(folder.path, data)
            with storage.atomic_write(folder.file("report.txt")) as handle:
                handle.write(describe(report))
            storage.write_json(folder.file("report.json"), report)
            report = folder.save_unit(UNIT, report)
        folder.finish({key: report[key] for key in ("tracks", "windows", "windows_by_kind")})
    print(describe(report), end="")
    print(f"outputs: {arguments.output_dir}")


def main(argv: list[str] | None = None) -> int:
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
