#!/usr/bin/env python
"""How evenly LAMAR's embeddings fill their space, by layer: IsoScore and its relatives, with intervals.

Labelled sets of make_rbp_dataset.py, or any folder of such sets:
    python evalEmbeddings/isoscore/compute_isoscore_clip.py --data_dir sets --rbps QKI_K562 PUM2_K562 \\
        --pretrained_weights weights/lamar-mini --tapt_weights weights/lamar-mini-tapt --output_dir results/geometry

Random weights of the published shape, the middle and the top layer:
    python evalEmbeddings/isoscore/compute_isoscore_clip.py --data_dir sets --variants Random --config lamar \\
        --layers 5 11 --n_per_rbp 2000 --output_dir results/geometry_random

Does geometry go with performance? With the linear probes of an evaluation of the same sets and weights:
    python evalEmbeddings/LAMAR_CNN_clip_data.py --data_dir sets --output_dir results/cnn
    python evalEmbeddings/isoscore/compute_isoscore_clip.py --data_dir sets --with_probe results/cnn \\
        --output_dir results/geometry

Without arguments it measures the synthetic demo set with the weights that ship.

Every model sees the same records, drawn by --seed; all layers come from one pass. Figures are defined in
LAMAR/isotropy.py and LAMAR/intrinsic_dimension.py, intervals in LAMAR/geometry.py. Most figures depend on the number of
records and dimensions: compare them at equal n and d.

Outputs in OUTPUT_DIR: results.csv (a row per variant, layer, data set and figure; "all sets" is their union),
differences.csv (variants of one width, resampled together), spectra.csv, probe_correlations.csv with --with_probe;
layers, spectra, components and probe as PNG and SVG; run.json. A killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # --help and errors of arguments come before the import of torch

from LAMAR.cli.arguments import OneLineParser, parse_or_demo, path
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.evaluation import embedding_run, geometry_run

logger = logging.getLogger("isoscore")

RESULT_COLUMNS = ("variant", "layer", "dataset", "pooling", *geometry_run.FIGURE_COLUMNS)
PAIR_COLUMNS = ("variant_a", "variant_b", "layer", "dataset", *geometry_run.DIFFERENCE_COLUMNS)


def build_parser() -> argparse.ArgumentParser:
    summary, _, epilog = __doc__.partition("\n\n")
    parser = OneLineParser(description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = parser.add_argument_group("data")
    data.add_argument("--data_dir", type=path, help="labelled set or folder of sets (default: the synthetic demo set)")
    data.add_argument("--rbps", nargs="+", help="names of sets (default: all)")
    geometry_run.add_length_option(data)
    data.add_argument(
        "--with_probe", type=path, metavar="DIR", help="folder of an evaluation run: correlate with its linear probes"
    )
    embedding_run.add_encoder_options(parser, embedding_run.VARIANTS, layers="all")
    parser.set_defaults(dtype="float32")
    geometry_run.add_geometry_options(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    arguments = embedding_run.complete(arguments, "geometry")

    from LAMAR import runs
    from LAMAR.data.sequences import check_lengths
    from LAMAR.evaluation import geometry
    from LAMAR.evaluation.geometry_probe import probe_aurocs
    from LAMAR.evaluation.probes import find_sets

    sets = find_sets(arguments.data_dir, arguments.rbps)
    geometry.check_names([dataset.name for dataset in sets])
    chosen = {}
    for dataset in sets:
        check_lengths(dataset, dataset.ids, arguments.max_length)
        rows = geometry.sample_rows(dataset.labels, arguments.n_per_rbp, arguments.seed, dataset.name)
        chosen[dataset.name] = dataset.take(rows)
        if len(rows) < arguments.n_per_rbp:
            logger.warning(
                "%s: has %d records, all are taken; not comparable with larger sets", dataset.name, len(rows)
            )
    encoders = embedding_run.load_encoders(arguments, embedding_run.VARIANTS)
    for encoder in encoders:
        smallest = min(chosen.values(), key=len)
        geometry_run.warn_of_few(len(smallest), encoder.model.config.hidden_size, f"{smallest.name}, {encoder.name}")
    aurocs = None
    inputs = sorted({file for dataset in sets for file in dataset.files})
    if arguments.with_probe is not None:
        aurocs = probe_aurocs(arguments.with_probe, {encoder.name: encoder.digest for encoder in encoders})
        inputs.append(arguments.with_probe / "results.csv")
    unrecorded = ("overwrite", "cache_dir", "device", "demo", "extraction_batch_size")
    with runs.RunFolder.open(
        arguments.output_dir,
        arguments={key: value for key, value in vars(arguments).items() if key not in unrecorded},
        seed=arguments.seed,
        inputs=inputs,
        ignore=("output_dir",),  # the folder may be called otherwise, or moved
        weights={encoder.name: encoder.weights | {"digest": encoder.digest} for encoder in encoders},
        overwrite=arguments.overwrite,
    ) as folder:
        embeddings_of = embedding_run.embedder(arguments, arguments.cache_dir or folder.folder("embeddings"))
        labels = {name: dataset.labels for name, dataset in chosen.items()}
        units = {}
        for encoder in encoders:
            layers = encoder.layers if arguments.layers else tuple(range(encoder.n_layers))

            def arrays(missing: list[int], encoder=encoder) -> dict[int, dict]:
                outputs = [(layer, arguments.pooling) for layer in missing]
                found = {name: embeddings_of(encoder, part.sequences, outputs) for name, part in chosen.items()}
                return {
                    layer: {name: of[layer, arguments.pooling].values for name, of in found.items()}
                    for layer in missing
                }

            names = {layer: f"{encoder.name},{layer}" for layer in sorted(layers)}
            units[encoder.name] = geometry_run.measured(folder, names, arrays, labels, encoder.name, arguments)
        summary = write_tables(folder, units, aurocs, arguments)
        write_figures(folder, units, list(chosen), aurocs, arguments)
        folder.finish({"data_sets": len(sets), "variants": list(units), **summary})
    print(closing_table(units))
    print(f"\nresults: {arguments.output_dir}")


def write_tables(folder, units: dict, aurocs, arguments: argparse.Namespace) -> dict:
    """All CSV files; returns what ``run.json`` says of them."""
    import pandas as pd

    from LAMAR.evaluation import geometry
    from LAMAR.evaluation.geometry_probe import FEW, rank_correlations
    from LAMAR.runs import storage

    each = [(name, layer, unit) for name, layers in units.items() for layer, unit in layers.items()]
    rows = []
    for name, layer, unit in each:
        rows += geometry.figure_rows({"variant": name, "layer": layer, "pooling": arguments.pooling}, unit)
    storage.write_csv(folder.file("results.csv"), rows, RESULT_COLUMNS)
    pairs = []
    for a, b in itertools.combinations(units, 2):
        if len(units[a]) == len(units[b]):  # blocks of one number are at one depth
            for layer in (layer for layer in units[a] if layer in units[b]):
                labels = {"variant_a": a, "variant_b": b, "layer": layer}
                pairs += geometry.difference_rows(labels, units[a][layer], units[b][layer])
    storage.write_csv(folder.file("differences.csv"), pairs, PAIR_COLUMNS)
    spectra = [
        {"variant": name, "layer": layer, "component": i, "singular_value": value}
        for name, layer, unit in each
        for i, value in enumerate(unit["spectrum"], start=1)
    ]
    storage.write_csv(folder.file("spectra.csv"), spectra, ("variant", *geometry_run.SPECTRUM_COLUMNS))
    if aurocs is None:
        return {}
    table = rank_correlations(pd.DataFrame(rows), aurocs, seed=arguments.seed)
    storage.write_csv(folder.file("probe_correlations.csv"), table)
    n = int(table["n_configurations"].max())
    print(f"\nrank correlation with the linear probe's AUROC over {n} configurations (variant and layer):")
    first = table[(table["variant"] == table["variant"].iloc[0]) & (table["dataset"] == table["dataset"].iloc[0])]
    for row in first.itertuples():
        print(f"  {row.figure:<22} {row.spearman:+.2f}  p = {row.p_value:.3g}, {row.p_holm:.3g} after Holm")
    if n < FEW:
        logger.warning(
            "%d configurations say little: the smallest p-value possible is %.2g", n, table["smallest_p"].min()
        )
    logger.warning("layers of one encoder are not independent, so these p-values are too small rather than too large")
    return {"configurations": n}


def write_figures(folder, units: dict, sets: Sequence[str], aurocs, arguments: argparse.Namespace) -> None:
    import pandas as pd

    from LAMAR.cli.demo import NOTICE
    from LAMAR.evaluation import geometry
    from LAMAR.evaluation import geometry_figures as geometry_plots

    rows = []
    for name, layers in units.items():
        for layer, unit in layers.items():
            rows += geometry.figure_rows({"variant": name, "layer": layer}, unit)
    table = pd.DataFrame(rows)
    numbers = ["value", "low", "high"]
    table[numbers] = table[numbers].astype(float)
    union = list(next(iter(next(iter(units.values())).values()))["figures"])[-1]
    note = f" ({NOTICE.partition(':')[0]})" if arguments.demo else ""
    overall = table[table["dataset"] == union].assign(line="")
    spectra: dict[int, dict] = {}
    for name, layers in units.items():
        for layer, unit in layers.items():
            spectra.setdefault(layer, {})[name] = unit["spectrum"]
    top = {f"{name} L{max(layers)}": layers[max(layers)] for name, layers in units.items()}
    drawn = {
        "layers": geometry_plots.plot_layers(overall.rename(columns={"variant": "series"}), f"{union}{note}"),
        "spectra": geometry_plots.plot_spectra(spectra, f"singular values of centred embeddings, {union}{note}"),
        "components": geometry_plots.plot_components(
            geometry_run.component_panels(top, sets), f"principal components{note}"
        ),
    }
    if aurocs is not None:
        both = table.merge(aurocs, on=["dataset", "variant", "layer"])
        drawn["probe"] = geometry_plots.plot_probe(both, f"geometry and performance{note}")
    geometry_run.write_figures(folder, drawn)


def closing_table(units: dict) -> str:
    lines = [""]
    for name, layers in units.items():
        lines += [f"  {name:<12} layer {layer:>2}: {geometry_run.in_words(unit)}" for layer, unit in layers.items()]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_or_demo(build_parser(), argv, {"rbps": embedding_run.DEMO["rbps"]}, "data_dir")
    geometry_run.log_messages()
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
