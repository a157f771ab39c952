#!/usr/bin/env python
"""Cut CLIP regions into windows for self-supervised training, and note the eCLIP peaks in each.

On real data (all narrowPeak files of a folder are read):
    python preprocess/preprocess.py --fasta hg38_clip_regions.fa.gz --eclip eclip_peaks --output prep/clip --workers 2

Without input files it runs on the synthetic demo set and writes demo/prep/demo_*.

Regions are FASTA records with coordinates in their headers, `chr1:100-110`, optionally `(+)` or `(-)`, as bedtools
getfasta writes them (0-based, half-open); `(-)` records are reverse-complemented already. Windows by length L:

    L <= max_len          the whole region
    L <= 12 max_len       sliding windows every --stride nt, and a last one that ends with the region
    longer                a window around each peak, shifted by up to --jitter nt, and sqrt(L / max_len) uniform ones
    --sampling doc        sliding below 4 max_len with stride max_len // 2, sqrt(L / max_len) uniform ones above

The seed and a region's id determine its windows: neither --workers nor other regions change a byte of the output.

    PREFIX_sequences.txt   one window per line
    PREFIX_metadata.jsonl  one JSON object per line (or .json: an array of them, or .parquet), in the same order:
                           sequence, seq_id, chrom, start, end, strand (genomic), local_start, local_end (in the
                           region), method, seq_len, binding_sites (largest BED score, null without one),
                           eclip_regions: the pieces of peaks in the window as start, end (from the window's 5' end),
                           genomic_start, genomic_end, strand, rbp, cell, complete (the whole peak is in the window);
                           --merge_peaks adds n_peaks
    PREFIX_stats.json      inputs with SHA-256, arguments, counts; written last, it marks a complete set

On a stranded region, peaks of the other strand are ignored; those without strand count. With --orient, a region
without strand is read on the strands of its peaks, as the transcribed RNA: once per strand where both have peaks.
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

from LAMAR.cli import demo
from LAMAR.cli.arguments import log_messages, output_prefix, path, positive, script_parser, usable_workers
from LAMAR.cli.errors import exit_on_input_error, with_flags
from LAMAR.genomics.choices import SAMPLING


def build_parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__)
    files = parser.add_argument_group("files")
    files.add_argument("--fasta", type=path, help="regions, gzipped or plain")
    files.add_argument("--bed", type=path, help="BED5 of the regions; the score is the number of binding sites")
    files.add_argument("--eclip", type=path, help="peaks: BED3+ or narrowPeak, or a folder of them with index.tsv")
    files.add_argument("--output", type=output_prefix, help="prefix of the output files, with the folder")
    files.add_argument(
        "--format", choices=("jsonl", "json", "parquet"), default="jsonl", help="form of the metadata (jsonl)"
    )
    files.add_argument("--overwrite", action="store_true", help="replace existing outputs")
    windows = parser.add_argument_group("windows")
    windows.add_argument("--max_len", type=int, default=512, help="longest window in nt (512)")
    windows.add_argument("--stride", type=int, default=256, help="distance of sliding windows in nt (256)")
    windows.add_argument("--sampling", choices=SAMPLING, default="default", help="rule by length, see below")
    windows.add_argument("--jitter", type=int, help="largest shift of a window around a peak in nt (max_len // 4)")
    windows.add_argument("--merge_peaks", action="store_true", help="merge overlapping peaks of one strand first")
    windows.add_argument(
        "--orient", action="store_true", help="read regions without strand on the strands of their peaks"
    )
    windows.add_argument(
        "--exclude_chroms", nargs="+", default=[], metavar="CHROM", help="leave out the regions of these chromosomes"
    )
    windows.add_argument("--keep_nonstandard", action="store_true", help="keep regions outside chr1-22, chrX, chrY")
    windows.add_argument("--seed", type=int, default=42, help="seed of everything random (42)")
    windows.add_argument("--workers", type=positive(int), default=1, help="processes; the output is the same (1)")
    return parser


def run(arguments: argparse.Namespace) -> None:
    from LAMAR.genomics.cut_windows import cut_windows
    from LAMAR.genomics.windows import WindowRule

    options, notice = vars(arguments), None
    if arguments.fasta is arguments.bed is arguments.eclip is None:
        data, notice = demo.demo_data(), demo.NOTICE
        options |= {"fasta": data / "clip_regions.fa", "bed": data / "clip_regions.bed", "eclip": data / "peaks"}
        options["output"] = options["output"] or demo.REPOSITORY / "demo" / "prep" / "demo"
        print(f"no --fasta given. {notice}")
    rule = WindowRule(*(options.pop(name) for name in ("max_len", "stride", "sampling", "jitter", "seed")))
    options["workers"] = usable_workers(options["workers"])
    print(with_flags(cut_windows(**options, rule=rule, notice=notice).text))


def main(argv: list[str] | None = None) -> int:
    log_messages()
    return exit_on_input_error(run, build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
