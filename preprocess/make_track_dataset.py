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
ACCESSION.bed.gz), or such files; without an index each file is one track, named like the file. A track is an
RBP in a cell line (QKI_K562); several experiments of the two are one track with all their peaks. --fasta is a genome,
or regions with coordinates in their headers. Coordinates are 0-based, half-open; windows on the minus strand are
reverse-complemented.

Windows: centres of all peaks of a strand are clustered within --cluster nt, and each cluster gives a window of --window
nt around its middle. Where its region or contig ends within it, the window is cut by the same amount at both ends, down
to --min_length nt.

Labels, for each window and track:
    bound      a peak of the track overlaps the --core nt in the middle
    unknown    not bound, but fewer than --near bases lie between the core and a peak of the track; or no peak of the
               track's cell line overlaps the window, so that its RNA may be absent there; or a peak that is below
               --min_log2fc or --min_neg_log10_p is as near
    not bound  all others: the window is a site of other RBPs in the same cell line

Background windows, not bound by any track, come from --background or, in genes that hold a peak, from --gtf. They and
the --near nt around them share no --exclude_run nt in a row with any peak or site window, on either strand; no two of
them share such a run either. Their lengths are distributed like those of the other windows.

Parts are chromosomes; transcripts without one in the header (of bedtools, UCSC or Ensembl) are assigned by a hash of
the sequence. Training windows that share --exclude_run nt in a row with a sequence of --exclude are left out.

Outputs, in OUTPUT_DIR: windows.parquet (chrom, start, end, strand, sequence, part, kind, bound, unknown; the last two
are lists of track ids; a background window from a transcript has its name in chrom), tracks.tsv (id, track, target,
cell, accession, n_peaks, windows bound and unknown by part), report.txt, report.json, run.json.
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

from LAMAR.cli.arguments import finite, log_messages, names, not_negative, path, positive, script_parser
from LAMAR.cli.demo import NOTICE
from LAMAR.cli.demo_tracks import DEMO_PARTS, DEMO_TRACKS, demo_inputs
from LAMAR.cli.errors import exit_on_input_error


def build_parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__)

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
    windows.add_argument("--min_length", type=positive(int), default=45, help="nt, see below (default: %(default)s)")
    windows.add_argument("--cluster", type=not_negative(int), default=25, help="nt, see below (default: %(default)s)")
    windows.add_argument("--core", type=positive(int), default=30, help="nt, see below (default: %(default)s)")
    windows.add_argument("--near", type=not_negative(int), default=150, help="nt, see below (default: %(default)s)")
    windows.add_argument("--min_log2fc", type=finite, default=3.0, help="column 7 of narrowPeak (default: %(default)s)")
    windows.add_argument("--min_neg_log10_p", type=finite, default=3.0, help="column 8 (default: %(default)s)")
    windows.add_argument("--fc_column", type=positive(int), help="column of the log2 fold change in other BED, from 1")
    windows.add_argument(
        "--p_column", type=positive(int), help="column of -log10 p in other BED, from 1 (Yeo's: fold change 5, p 4)"
    )
    windows.add_argument(
        "--min_windows", type=positive(int), default=1, help="least bound training windows of a track (default: 1)"
    )
    windows.add_argument("--keep_nonstandard", action="store_true", help="keep chromosomes other than chr1-22, X, Y")
    windows.add_argument("--allow_missing", action="store_true", help="ignore peaks on chromosomes that --fasta lacks")

    parts = parser.add_argument_group("parts and run")
    parts.add_argument("--test_chroms", type=names, help="default: chr8,chr9,chr19,chr22")
    parts.add_argument("--dev_chroms", type=names, help="default: chr10,chr20")
    parts.add_argument("--exclude_run", type=positive(int), default=30, help="nt, see below (default: %(default)s)")
    parts.add_argument(
        "--background_windows",
        type=not_negative(int),
        nargs=3,
        default=[40_000, 10_000, 10_000],
        metavar=("TRAIN", "DEV", "TEST"),
        help="background windows of each part (default: 40000 10000 10000)",
    )
    parts.add_argument("--seed", type=not_negative(int), default=42, help="default: %(default)s")
    parts.add_argument("--overwrite", action="store_true", help="replace the set in --output_dir")
    return parser


def run(arguments: argparse.Namespace) -> None:
    from LAMAR.genomics.track_files import make_track_dataset
    from LAMAR.genomics.track_windows import TrackOptions

    given = vars(arguments)
    notice = NOTICE if given["peaks"] is given["fasta"] is None else ""
    if notice:
        print(notice)
        demo = demo_inputs()
        if given["background"]:
            del demo["gtf"]
        for name, value in {**demo, **DEMO_PARTS, "output_dir": DEMO_TRACKS}.items():
            given[name] = given[name] or value
    chosen = {field.name: given.pop(field.name) for field in fields(TrackOptions)}
    options = TrackOptions(**{name: value for name, value in chosen.items() if value is not None})
    print(make_track_dataset(**given, options=options, notice=notice).text)


def main(argv: list[str] | None = None) -> int:
    log_messages()
    return exit_on_input_error(run, build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
