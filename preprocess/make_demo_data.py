#!/usr/bin/env python
"""Make the SYNTHETIC demo data: a small invented genome with binding sites planted at known positions.

    python preprocess/make_demo_data.py                               # demo/data in this clone, seed 42
    python preprocess/make_demo_data.py --output_dir small --windows_per_rbp 60 --seed 7

The same seed and arguments give the same files, byte for byte. Coordinates: 0-based half-open, except in the GTF.

    genome.fa, genome.fa.fai            chr1, chr8, chr21: first-order Markov chain, AT-rich and GC-rich stretches
    annotation.gtf, transcripts.fa      genes on both strands; spliced transcripts, 5' to 3'
    peaks/<RBP>_DEMO.bed.gz, index.tsv  narrowPeak as in ENCODE's eCLIP: peaks on sites, and some without a site
    clip_regions.fa, clip_regions.bed   merged peaks, forward strand; BED5 score = number of peaks in the region
    labelled/<RBP>.{positives,negatives}.fa  101-nt windows on the transcript's strand, none overlaps another
    truth.json                          everything that was planted; written last, it marks a complete set

Sites: PUM2 `TGTANATA`; QKI `ACTAAY`, 1-20 nt, `TAAY`; IRPSYN (invented, after the iron-responsive element) the loop
`CAGTGH` closed by six random Watson-Crick pairs, so that the pairing is fixed and the stem's letters are not. A tenth
is weak: one letter of the motif, never of a stem, differs. No other full site stands in the genome, on either strand.

Negatives come from transcripts without a site of their RBP. Each holds a decoy made of the site's letters, so that
its composition is the positives': `scattered` (motif in 3-mers), `split` (in two), QKI also `half` (first part whole,
second cut), `far` (gap of 30 nt or more), `reversed` (second part first), IRPSYN also `unpaired` (loop between arms
that do not pair) and `moved` (stem around other letters, loop elsewhere; `scattered` has such a stem too).

truth.json: format, format_version, synthetic, statement, seed, arguments, window (nt), and
    rbps     {rbp: {kind (linear, bipartite, hairpin), motif, parts (what the spans in a site's `motif` are)}}
    sites    {rbp: [{chrom, start, end, strand, strength, instance, motif, pairs, mismatch, peak, window}]}, genomic
    windows  {rbp: {header: {label, chrom, start, end, strand, kind, motif, pairs, mismatch, decoy, site}}}: header is
             the first word in the FASTA, kind strong, weak or the decoy's; positions count from the first letter
             of the window as its strand reads it; site indexes `sites` (null for a negative)
    background_peaks {rbp: [[chrom, start, end, strand]]}, peaks without a site; files {path: {bytes, sha256}}
`instance` is the site as the strand reads it, spacer and loop included. `motif` and `decoy` are lists of [start, end),
5' to 3'. `pairs` are the [i, j] of every planted stem, decoys' too. `mismatch`: the changed position of a weak site.
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

from LAMAR.cli.arguments import path, script_parser
from LAMAR.cli.demo import DEMO_DATA
from LAMAR.cli.errors import exit_on_input_error, with_flags


def build_parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__)
    parser.add_argument("--output_dir", type=path, default=DEMO_DATA, help="folder of the data set (%(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="seed of everything random (%(default)s)")
    parser.add_argument("--windows_per_rbp", type=int, default=1000, help="positives per RBP, and negatives (1000)")
    parser.add_argument("--weak_fraction", type=float, default=0.1, help="share of sites with one letter changed (0.1)")
    parser.add_argument("--overwrite", action="store_true", help="replace a complete set, whatever its arguments")
    return parser


def run(arguments: argparse.Namespace) -> None:
    from LAMAR.data.synthetic_files import make_demo_data

    print(with_flags(make_demo_data(**vars(arguments))))


def main(argv: list[str] | None = None) -> int:
    return exit_on_input_error(run, build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
