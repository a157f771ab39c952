#!/usr/bin/env python
"""Predict which RNA-binding proteins bind RNA of any length, and where.

Transcripts in a FASTA file, all RBPs of the model that ships:
    python finetune_scripts/predict_rbp.py --fasta transcripts.fa --output_dir results/transcripts

Some RBPs, in all cell lines or in one, with tracks for a genome browser:
    python finetune_scripts/predict_rbp.py --fasta transcripts.fa --rbps QKI PUM2_K562 --bedgraph \\
        --output_dir results/some

Transcripts by their ids, spliced, with sites in genomic coordinates:
    python finetune_scripts/predict_rbp.py --transcripts ids.txt --gtf gencode.gtf.gz --genome hg38.fa \\
        --output_dir results/ids

What variants change, for every track, on the strands of the genes that they lie in:
    python finetune_scripts/predict_rbp.py --vcf variants.vcf --gtf gencode.gtf.gz --genome hg38.fa \\
        --output_dir results/variants

A model of one's own, such as a fine-tuned classifier of 101-nt windows:
    python finetune_scripts/predict_rbp.py --fasta transcripts.fa --model_path models/QKI --tile 101 \\
        --calibrate_on more_transcripts.fa --output_dir results/mine

Without arguments it predicts the transcripts of the synthetic demo set.

A record is cut into overlapping tiles of the length that the model was trained on. A nucleotide's score is the mean
logit of the tiles that cover it; runs of ten or more N are left out. Sites are local maxima of the score, called by
their false discovery rate over all tiles of their track in the run (``--q``; ``--family all``: of all tracks), or the
highest of each track and record (``--top``). Probabilities assume ``--prior`` sites per background window; the p-value
is the share of background windows of transcripts that score as high. A model without ``calibration.json`` has logits
only, or p-values with ``--calibrate_on``: sequences without labels say nothing about probabilities.

Outputs, in OUTPUT_DIR: ``sites.bed`` (0-based, half-open, blocks over splice junctions; its head explains the scores),
``records.csv`` (best score and number of sites of each record and track), ``report.html`` (heat maps of the first 200
records, in one page that needs no other file), ``tracks/TRACK.bedgraph`` with ``--bedgraph``, ``tracks/TRACK.bw`` with
``--bigwig``, ``matrix.parquet`` (tiles x tracks) with ``--matrix``, ``calibration.json`` with ``--calibrate_on``,
``run.json``. ``--explain`` adds the cores of the best sites to ``sites.bed`` (thickStart and thickEnd where a core lies
within its site) and ``report.html``: the stretch whose substitutions cost the track's score most. A site takes as long
as predicting 8,000 nt. With ``--vcf``: ``variants.csv`` (each variant and track: logits of the reference and of the
alternative window, change, probabilities, p-values; windows are of the genome, unspliced) and ``left_out.csv``
(variants that cannot be scored, and why). The same command resumes an interrupted run.
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
    add_inference_arguments,
    log_messages,
    number,
    parse_or_demo,
    path,
    positive,
    script_parser,
)
from LAMAR.cli.demo import REPOSITORY
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.cli.prediction import SOURCES, predict
from LAMAR.prediction.families import FAMILIES

# Two RBPs, and tiles side by side, so that it takes a minute.
DEMO = {"rbps": ["QKI", "PUM2"], "stride": 101, "top": 1, "output_dir": REPOSITORY / "demo" / "prediction"}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script's arguments."""
    parser = script_parser(__doc__)
    records = parser.add_argument_group("what is predicted")
    source = records.add_mutually_exclusive_group()
    source.add_argument("--fasta", type=path, help="FASTA file of RNA or its sense strand, gzipped or plain")
    source.add_argument("--bed", type=path, help="intervals of --genome, BED3 to BED12; strand and blocks count")
    source.add_argument("--transcripts", type=path, help="file of transcript ids, one per line, or all; with --gtf")
    source.add_argument("--vcf", type=path, help="VCF, or table of variants, of --genome; with --gtf or --strand")
    source.add_argument("--table", type=path, help="CSV, TSV or Parquet file with a column of sequences")
    records.add_argument("--genome", type=path, help="FASTA file of the genome, for --bed, --transcripts and --vcf")
    records.add_argument("--gtf", type=path, help="annotation: exons of --transcripts, genes that --vcf lies in")
    records.add_argument(
        "--strand",
        choices=("+", "-", "both"),
        help="of variants without --gtf, or in none of its genes (else left out)",
    )
    records.add_argument("--sequence_column", default="sequence", help="of --table (default: %(default)s)")
    records.add_argument("--both_strands", action="store_true", help="predict the reverse complement too, as NAME(-)")
    _add_model(parser.add_argument_group("model"))
    _add_calls(parser.add_argument_group("sites"))
    output = parser.add_argument_group("run")
    output.add_argument("--output_dir", type=path, help="folder of the results")
    output.add_argument("--bedgraph", action="store_true", help="write the score along the records, a file per track")
    output.add_argument(
        "--bigwig", action="store_true", default=None, help="the same as bigWig (pip install 'LAMAR[bigwig]')"
    )
    output.add_argument(
        "--matrix", action="store_true", default=None, help="write the logits of all tiles: matrix.parquet"
    )
    output.add_argument(
        "--explain",
        type=positive(int),
        nargs="?",
        const=100,
        metavar="N",
        help="find the cores of the N best sites by mutagenesis of their tiles (100 where no number is given)",
    )
    add_inference_arguments(output)
    output.add_argument("--bf16", action="store_true", help="run the model in bfloat16")
    output.add_argument("--overwrite", action="store_true", help="delete the run in --output_dir and start again")
    return parser


def _add_model(group) -> None:
    group.add_argument(
        "--model_path",
        type=path,
        help="model of many RBPs or classifier: checkpoint folder, or a run, whose folds are averaged (default: "
        "weights/lamar-mini-rbp)",
    )
    group.add_argument("--rbps", nargs="+", help="RBPs (QKI) or tracks (QKI_K562) to predict (default: all)")
    group.add_argument("--list", action="store_true", help="print the tracks of the model and end")
    group.add_argument(
        "--tile", type=positive(int), help="nt of a tile (default: the length that the model was trained on)"
    )
    group.add_argument(
        "--calibrate_on",
        type=path,
        help="FASTA file of sequences like those to predict: p-values are shares of its tiles; or the calibration.json "
        "of a run that did so (default: the model's calibration)",
    )
    group.add_argument("--stride", type=positive(int), help="nt between two tiles (default: a quarter of a tile)")


def _add_calls(group) -> None:
    share = "more than 0, at most 1", lambda value: 0 < value <= 1
    group.add_argument(
        "--q", type=number(float, *share), default=0.05, help="largest false discovery rate (default: %(default)s)"
    )
    group.add_argument(
        "--family",
        choices=tuple(FAMILIES),
        help="tests that --q is over: those of each track, or of all tracks together (default: track)",
    )
    group.add_argument(
        "--top", type=positive(int), help="sites of each track and record, in place of --q (without calibration: 10)"
    )
    group.add_argument(
        "--prior", type=number(float, *share), help="sites per background window (default: the model's, 0.001)"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    arguments = parse_or_demo(build_parser(), argv, DEMO, *SOURCES)
    log_messages()
    return exit_on_input_error(predict, arguments)


if __name__ == "__main__":
    sys.exit(main())
