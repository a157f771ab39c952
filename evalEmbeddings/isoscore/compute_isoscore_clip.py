#!/usr/bin/env python
"""Measure how evenly LAMAR's embeddings fill their space, by layer: IsoScore and related figures, with intervals.

Labelled sets of make_rbp_dataset.py, or any folder of such sets:
    python evalEmbeddings/isoscore/compute_isoscore_clip.py --data_dir sets --rbps QKI_K562 PUM2_K562 \\
        --pretrained_weights weights/lamar-mini --tapt_weights weights/lamar-mini-tapt --output_dir results/geometry

Random weights of the published shape, the middle and the top layer:
    python evalEmbeddings/isoscore/compute_isoscore_clip.py --data_dir sets --variants Random --config lamar \\
        --layers 5 11 --n_per_rbp 2000 --output_dir results/geometry_random

Relation of geometry to performance, with the linear probes of an evaluation of the same sets and weights:
    python evalEmbeddings/LAMAR_CNN_clip_data.py --data_dir sets --output_dir results/cnn
    python evalEmbeddings/isoscore/compute_isoscore_clip.py --data_dir sets --with_probe results/cnn \\
        --output_dir results/geometry

Without arguments it measures the synthetic demo set with the weights that ship.

Every model sees the same records, drawn by --seed; all layers come from one pass. Figures are defined in
LAMAR/statistics/isotropy.py and LAMAR/statistics/intrinsic_dimension.py, intervals in LAMAR/evaluation/geometry.py.
Most figures depend on the number of records and dimensions: compare them at equal n and d.

Outputs in OUTPUT_DIR: results.csv (a row per variant, layer, data set and figure; "all sets" is their union),
differences.csv (variants of one width, resampled together), spectra.csv, probe_correlations.csv with --with_probe;
layers, spectra, components and probe as PNG and SVG; run.json. An interrupted run resumes.
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

from LAMAR.cli import evaluation_arguments
from LAMAR.cli.arguments import add_length_arguments, log_messages, parse_or_demo, path, script_parser
from LAMAR.cli.demo import NOTICE
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.evaluation.registries import VARIANTS


def build_parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__)
    data = parser.add_argument_group("data")
    evaluation_arguments.add_set_arguments(data)
    add_length_arguments(data, evaluation_arguments.MAX_LENGTH)
    data.add_argument(
        "--with_probe", type=path, metavar="DIR", help="folder of an evaluation run: correlate with its linear probes"
    )
    evaluation_arguments.add_encoder_arguments(parser, VARIANTS.names, layers="all")
    parser.set_defaults(dtype="float32")
    evaluation_arguments.add_geometry_arguments(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    evaluation_arguments.complete_paths(arguments, "geometry")

    from LAMAR.evaluation.geometry_run import closing_table, measure_geometry

    result = measure_geometry(
        arguments.data_dir,
        arguments.output_dir,
        evaluation_arguments.encoder_options(arguments, VARIANTS.names),
        evaluation_arguments.geometry_options(arguments),
        rbps=arguments.rbps,
        max_length=arguments.max_length,
        truncate=arguments.truncate,
        sequence_column=arguments.sequence_column,
        label_column=arguments.label_column,
        with_probe=arguments.with_probe,
        note=NOTICE.partition(":")[0] if arguments.demo else "",
        overwrite=arguments.overwrite,
    )
    print(closing_table(result))
    print(f"\nresults: {arguments.output_dir}")


def main(argv: Sequence[str] | None = None) -> int:
    demo = {"rbps": ["PUM2", "QKI"]}  # two, so that there is a pooled figure too
    arguments = parse_or_demo(build_parser(), argv, demo, "data_dir")
    log_messages()
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
