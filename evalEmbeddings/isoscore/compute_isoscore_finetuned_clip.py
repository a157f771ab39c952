#!/usr/bin/env python
"""What fine-tuning does to the geometry of embeddings: IsoScore and its relatives before and after, per fold.

Runs of finetune_rbp.py under a folder, all of them or some:
    python evalEmbeddings/isoscore/compute_isoscore_finetuned_clip.py --models_dir models --rbps QKI PTBP1 \\
        --output_dir results/geometry_finetuned

Without arguments it measures the model that finetune_rbp.py makes on the synthetic demo set (made first if need be).

"After" is the encoder of a fold's checkpoint. "Before" is what that fold started from: the pretrained weights that its
run.json names, whose SHA-256 must still be the same, or random weights, drawn again from the recorded seed. Both see
the same records of the data that the run was trained on (--data_dir, where they have moved): its test part, which no
fold was trained on, else the fold's held-out or validation part; --records all takes training records too. Every fold
of a run gets the same number of records.

Outputs in OUTPUT_DIR: results.csv (a row per run, fold, before and after, layer and figure), differences.csv (after
minus before, resampled together), summary.csv (over folds), spectra.csv; layers, spectra and components of each run as
PNG and SVG; run.json. A killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # --help and errors of arguments come before the import of torch

from LAMAR.cli.arguments import OneLineParser, parse_or_demo, path
from LAMAR.cli.demo import NOTICE, REPOSITORY
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.errors import InputError
from LAMAR.evaluation import embedding_run, geometry_run

logger = logging.getLogger("isoscore")

DEMO = {"output_dir": REPOSITORY / "demo" / "geometry_finetuned"}
STAGES = ("before", "after")
LABELS = ("dataset", "fold", "layer")
RESULT_COLUMNS = (*LABELS, "stage", "pooling", *geometry_run.FIGURE_COLUMNS)
PAIR_COLUMNS = (*LABELS, *geometry_run.DIFFERENCE_COLUMNS)
SUMMARY_COLUMNS = ("dataset", "layer", "figure", "n_folds", "before", "after", "difference", "sd_over_folds")


def build_parser() -> argparse.ArgumentParser:
    summary, _, epilog = __doc__.partition("\n\n")
    parser = OneLineParser(description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = parser.add_argument_group("models and data")
    data.add_argument(
        "--models_dir", type=path, help="a run of finetune_rbp.py, or a folder of runs (default: the demo set's)"
    )
    data.add_argument("--rbps", nargs="+", help="names of runs in the folder (default: all)")
    data.add_argument("--data_dir", type=path, help="where the labelled data are now (default: as the runs recorded)")
    data.add_argument(
        "--pretrained_weights", type=path, help="where the starting weights are now (default: as the runs recorded)"
    )
    data.add_argument(
        "--records", choices=("test", "all"), default="test", help="which records to embed (default: %(default)s)"
    )
    model = parser.add_argument_group("encoders")
    model.add_argument("--layers", nargs="+", type=int, help="block indices, negatives from the end (default: all)")
    embedding_run.add_extraction_options(model)
    parser.set_defaults(dtype="float32")
    geometry_run.add_geometry_options(parser)
    return parser


def complete(arguments: argparse.Namespace) -> None:
    if arguments.demo:
        print(NOTICE)
        arguments.models_dir = REPOSITORY / "demo" / "finetune"
        if not any(arguments.models_dir.glob("*/eval_results.json")):
            print("the demo set's fine-tuned model is not there: finetune_scripts/finetune_rbp.py makes it now")
            # A process of its own: scripts do not import each other.
            subprocess.run([sys.executable, str(REPOSITORY / "finetune_scripts" / "finetune_rbp.py")], check=True)
    if arguments.output_dir is None:
        raise InputError("--output_dir: not given, wanted a folder for the results")


def run(arguments: argparse.Namespace) -> None:
    complete(arguments)

    from LAMAR import runs
    from LAMAR.devices import choose_device
    from LAMAR.evaluation import geometry
    from LAMAR.evaluation.geometry import difference_rows, figure_rows
    from LAMAR.layers import resolve_layers
    from LAMAR.runs import storage
    from LAMAR.training.finetuned_runs import find_runs, fold_encoder, fold_records, open_run

    found = [open_run(path, arguments.data_dir) for path in find_runs(arguments.models_dir, arguments.rbps)]
    geometry.check_names([one.name for one in found])
    if arguments.pretrained_weights is not None:
        random = [one.name for one in found if one.is_from_random()]
        if len(random) == len(found):
            raise InputError(f"--pretrained_weights: given, but {', '.join(random)} started from random weights")
        if random:
            logger.warning("--pretrained_weights: not used for %s, started from random weights", ", ".join(random))
    plan = {}
    for one in found:
        records = {fold: fold_records(one, fold, arguments.records) for fold in one.folds}
        n = min(arguments.n_per_rbp, *map(len, records.values()))
        if n < 2:
            raise InputError(f"{one.path}: found {n} records to embed, wanted 2 or more; use --records all")
        for fold, indices in records.items():
            rows = indices[geometry.sample_rows(one.dataset.labels[indices], n, arguments.seed, one.name)]
            # What cannot be had must fail before anything is written; weights are loaded again when it is their turn.
            for stage in STAGES:
                first, _ = fold_encoder(one, fold, stage, arguments.pretrained_weights)
            layers = resolve_layers(
                arguments.layers or range(first.config.num_hidden_layers), first.config.num_hidden_layers
            )
            choose_device(first, arguments.device)
            plan[one.name, fold] = one, rows, sorted(layers)
        geometry_run.warn_of_few(n, first.config.hidden_size, one.name)
        logger.info("%s: %d folds, %d records each (%s)", one.name, len(one.folds), n, arguments.records)
    unrecorded = ("overwrite", "cache_dir", "device", "demo", "extraction_batch_size")
    with runs.RunFolder.open(
        arguments.output_dir,
        arguments={key: value for key, value in vars(arguments).items() if key not in unrecorded},
        seed=arguments.seed,
        inputs=sorted({file for one in found for file in one.dataset.files}),
        ignore=("output_dir",),
        weights={one.name: one.weights() for one in found},
        overwrite=arguments.overwrite,
    ) as folder:
        embeddings_of = embedding_run.embedder(arguments, arguments.cache_dir or folder.folder("embeddings"))
        units = {}
        for (name, fold), (one, rows, layers) in plan.items():
            part = one.dataset.take(rows)
            for stage in STAGES:

                def arrays(missing: list[int], one=one, fold=fold, stage=stage, part=part) -> dict[int, dict]:
                    model, digest = fold_encoder(one, fold, stage, arguments.pretrained_weights)
                    encoder = SimpleNamespace(model=model, digest=digest, name=f"{one.name} {fold} {stage}")
                    outputs = [(layer, arguments.pooling) for layer in missing]
                    of = embeddings_of(encoder, part.sequences, outputs)
                    return {layer: {one.name: of[layer, arguments.pooling].values} for layer in missing}

                names = {layer: f"{name},{fold},{stage},{layer}" for layer in layers}
                what = f"{name} {fold} {stage}"
                labels = {name: one.class_labels(rows)}
                units[name, fold, stage] = geometry_run.measured(folder, names, arrays, labels, what, arguments)
        rows, pairs = [], []
        for (name, fold, stage), layers in units.items():
            for layer, unit in layers.items():
                labels = {"fold": fold, "layer": layer}
                rows += figure_rows({**labels, "stage": stage, "pooling": arguments.pooling}, unit)
                if stage == "after":
                    pairs += difference_rows(labels, units[name, fold, "before"][layer], unit)
        storage.write_csv(folder.file("results.csv"), rows, RESULT_COLUMNS)
        storage.write_csv(folder.file("differences.csv"), pairs, PAIR_COLUMNS)
        summary = over_folds(pairs)
        storage.write_csv(folder.file("summary.csv"), summary, SUMMARY_COLUMNS)
        spectra = [
            {"dataset": name, "fold": fold, "stage": stage, "layer": layer, "component": i, "singular_value": value}
            for (name, fold, stage), layers in units.items()
            for layer, unit in layers.items()
            for i, value in enumerate(unit["spectrum"], start=1)
        ]
        columns = ("dataset", "fold", "stage", *geometry_run.SPECTRUM_COLUMNS)
        storage.write_csv(folder.file("spectra.csv"), spectra, columns)
        write_figures(folder, units, rows, [one.name for one in found], arguments.demo)
        collapsed = {f"{one.name} {fold}": kind for one in found for fold, kind in one.collapsed.items()}
        folder.finish({"runs": len(found), "folds": len(plan), "collapsed": collapsed})
    print(closing_table(summary))
    print(f"\nresults: {arguments.output_dir}")


def over_folds(pairs: Sequence[dict]) -> list[dict]:
    """Mean over folds of each figure before and after, and of the difference with its standard deviation (n - 1)."""
    import pandas as pd

    columns = ["value_a", "value_b", "difference"]
    table = pd.DataFrame(pairs)
    groups = table.groupby(["dataset", "layer", "figure"], sort=False)
    summary = groups[columns].mean().set_axis(["before", "after", "difference"], axis=1)
    summary["sd_over_folds"] = groups["difference"].std()
    summary["n_folds"] = groups.size()
    return summary.reset_index()[list(SUMMARY_COLUMNS)].to_dict("records")


def write_figures(folder, units: dict, rows: Sequence[dict], names: Sequence[str], demo: bool) -> None:
    import pandas as pd

    from LAMAR.evaluation import geometry_figures as geometry_plots

    table = pd.DataFrame(rows)
    numbers = ["value", "low", "high"]
    table[numbers] = table[numbers].astype(float)
    note = f" ({NOTICE.partition(':')[0]})" if demo else ""
    for name in names:
        own = {key[1:]: layers for key, layers in units.items() if key[0] == name}
        folds = list(dict.fromkeys(fold for fold, _ in own))
        lines = table[table["dataset"] == name].rename(columns={"stage": "series", "fold": "line"})
        spectra: dict[int, dict] = {}
        for stage in STAGES:
            for layer, unit in own[folds[0], stage].items():
                spectra.setdefault(layer, {})[stage] = unit["spectrum"]
        panels = {}
        for fold in folds:
            top = {stage: own[fold, stage][max(own[fold, stage])] for stage in STAGES}
            for (_, stage), panel in geometry_run.component_panels(top, [name]).items():
                panels[fold, stage] = panel
        top_layer = max(own[folds[0], "before"])
        title = f"principal components of layer {top_layer}, {name}{note}"
        drawn = {
            f"layers_{name}": geometry_plots.plot_layers(lines, f"{name}, before and after, a line per fold{note}"),
            f"spectra_{name}": geometry_plots.plot_spectra(spectra, f"singular values, {name}, {folds[0]}{note}"),
            f"components_{name}": geometry_plots.plot_components(panels, title),
        }
        geometry_run.write_figures(folder, drawn)


def closing_table(summary: Sequence[dict]) -> str:
    """Mean over folds, before -> after, of the figures that people look for first, in the highest layer of each run."""
    lines = [""]
    for name in dict.fromkeys(row["dataset"] for row in summary):
        own = [row for row in summary if row["dataset"] == name]
        top = max(row["layer"] for row in own)
        lines.append(f"{name}, layer {top}, mean of {own[0]['n_folds']} folds:")
        for row in own:
            if row["layer"] == top and row["figure"] in geometry_run.SHOWN:
                lines.append(f"  {row['figure']:<22} {row['before']:.3g} -> {row['after']:.3g}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_or_demo(build_parser(), argv, DEMO, "models_dir")
    geometry_run.log_messages()
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
