#!/usr/bin/env python
"""Methods paired by repeat: what a difference is worth when all methods saw the same few training records.

    python evalEmbeddings/compare_draws.py --results results/few --finetuned Random=models/few_random \\
        Pretrained=models/few_pretrained --output_dir results/few_compared

--results are folders of LAMAR_CNN_clip_data.py and its like, whose repeats are draws of training records
(--subsample_pos, --subsample_neg) or seeds. --finetuned are output folders of finetune_rbp.py, NAME=DIR, with
--cv_folds 1 --subsample_pos ... --draws; draw n there has the records of repeat n here when --seed and the data are the
same. Runs of one data set that differ in what decides the draw, or in the number of records, are refused. Every pair of
methods is compared in the repeats that both have, by Wilcoxon's signed-rank test within a data set and, over data sets,
on its means. Draws share one test part and, by chance, training records: a p-value within a data set speaks about other
draws from this set, not about other proteins.

Holm's correction counts every pair: ten draws give no p below 0.002, which 45 pairs make 0.09. --methods compares those
alone that the question, asked beforehand, is about.

Without arguments it compares the methods of the demo set's evaluation, demo/evaluation.

Outputs in OUTPUT_DIR: values.csv (data set, method, repeat, figure), methods.csv (mean and standard deviation over
repeats), pairs.csv (within data sets), pairs_over_sets.csv, run.json.
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

from LAMAR.cli.arguments import OneLineParser, path
from LAMAR.cli.demo import NOTICE, REPOSITORY, demo_evaluation
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.errors import InputError
from LAMAR.evaluation.result_columns import METRICS

logger = logging.getLogger("compare_draws")

# What is the same in runs that drew the same records: arguments, and columns of their tables.
ARGUMENTS = ("--seed", "--subsample_pos", "--subsample_neg", "--cv_folds")
COLUMNS = ("split", "n_train", "n_test")


def build_parser() -> argparse.ArgumentParser:
    summary, _, epilog = __doc__.partition("\n\n")
    parser = OneLineParser(description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=path, nargs="+", metavar="DIR", default=[], help="evaluation runs")
    parser.add_argument(
        "--finetuned", nargs="+", metavar="NAME=DIR", default=[], help="--output_dir of finetune_rbp.py by variant"
    )
    parser.add_argument(
        "--methods", nargs="+", metavar="NAME", help="compare these alone, named as in values.csv (default: all)"
    )
    parser.add_argument("--output_dir", type=path, help="folder of the tables")
    parser.add_argument("--metric", choices=METRICS, default="auroc", help="default: %(default)s")
    parser.add_argument("--overwrite", action="store_true", help="replace the tables in --output_dir")
    return parser


def finetuned_folders(arguments: argparse.Namespace) -> list[tuple[str, Path]]:
    """Variant and folder of every fine-tuning run below those that the arguments name."""
    found = []
    for text in arguments.finetuned:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise InputError(f"--finetuned: found {text!r}, wanted NAME=DIR")
        runs = sorted(path.parent for path in Path(folder).glob("*/results.csv"))
        if not runs:
            raise InputError(f"--finetuned {text}: found no NAME/results.csv there, wanted folders of finetune_rbp.py")
        found += [(name, run) for run in runs]
    return found


def read_finetuned(variant: str, folder: Path, metric: str):
    """Figures of every fold or draw on the test part: a table with the columns of an evaluation's."""
    from LAMAR.evaluation.tables import check_metrics, read_csv, refuse_cells

    path = folder / "results.csv"
    table = read_csv(path, ["dataset", "fold", "evaluated_on", "split"], ["n_train", "n_evaluated", metric])
    refuse_cells(path, table, "dataset", table["dataset"] == "", "a name")
    check_metrics(path, table, [metric])
    numbers = table["fold"].str.extract(r"^(?:draw|fold)_([0-9]{1,9})$", expand=False)
    rows = table[(table["evaluated_on"] == "test") & numbers.notna()].rename(columns={"n_evaluated": "n_test"})
    if rows.empty:
        raise InputError(f"{path}: found no rows of draw_N or fold_N on test, wanted a run of finetune_rbp.py")
    return rows.assign(method=f"{variant} fine-tuned", repeat=numbers[rows.index].astype(int), run=str(folder))


def arguments_of(folder: Path) -> dict[str, str]:
    """The arguments of a run that decide which records it draws; an evaluation has no folds, which counts as one."""
    from LAMAR.runs.storage import read_json

    record = read_json(folder / "run.json")
    arguments = record.get("arguments") if isinstance(record, dict) else None
    if not isinstance(arguments, dict):
        raise InputError(f"{folder / 'run.json'}: found no arguments, wanted those of the run")
    arguments = {"cv_folds": 1} | arguments
    return {name: str(arguments.get(name.removeprefix("--"), "absent")) for name in ARGUMENTS}


def check_draws(values) -> None:
    """InputError for two runs that have a repeat of one number but other records in it."""
    arguments = {run: arguments_of(Path(run)) for run in values["run"].unique()}
    values = values.assign(**{name: values[name].map("{:.0f}".format) for name in ("n_train", "n_test")})
    for (dataset, _), rows in values.groupby(["dataset", "repeat"], sort=False):
        first, *others = (arguments[row["run"]] | row for row in rows.to_dict("records"))
        for other in others:
            for name in (*ARGUMENTS, *COLUMNS):
                if other[name] != first[name]:
                    found = f"found {name} {first[name]} in {first['run']} and {other[name]} in {other['run']}"
                    raise InputError(f"--results, --finetuned: {dataset}: {found}, wanted runs of the same draws")


def of_methods(values, names: list[str] | None):
    """The rows of these methods, all where none are named."""
    if names is None:
        return values
    there = sorted(values["method"].unique())
    if unknown := [name for name in names if name not in there]:
        raise InputError(f"--methods: found {unknown[0]!r}, wanted some of: {', '.join(map(repr, there))}")
    if len(set(names)) < 2:
        raise InputError(f"--methods: found {len(set(names))}, wanted two or more to compare")
    return values[values["method"].isin(names)]


def with_figure(values, metric: str):
    """The rows that have a figure. Others, of runs that collapsed, are named; a method without any is an error."""
    for (run, dataset, method), rows in values.groupby(["run", "dataset", "method"], sort=False):
        without = rows.loc[rows["value"].isna(), "repeat"].tolist()
        if len(without) == len(rows):
            raise InputError(f"{Path(run) / 'results.csv'}: found no {metric} of {dataset}, {method}, wanted some")
        if without:
            logger.warning("left out: %s, %s, without %s in repeats %s (%s)", dataset, method, metric, without, run)
    return values[values["value"].notna()]


def run(arguments: argparse.Namespace) -> None:
    import pandas as pd

    from LAMAR import runs
    from LAMAR.evaluation.tables import read_results
    from LAMAR.runs import storage
    from LAMAR.statistics.rank_tests import wilcoxon_table

    folders = finetuned_folders(arguments)
    demo = not arguments.results and not folders
    if demo:
        print(NOTICE)
        arguments.results = [demo_evaluation()]
    if arguments.output_dir is None and not demo:
        raise InputError("--output_dir: not given, wanted a folder for the tables")
    arguments.output_dir = arguments.output_dir or REPOSITORY / "demo" / "compared"
    tables = [read_finetuned(variant, folder, arguments.metric) for variant, folder in folders]
    if arguments.results:
        table = read_results(arguments.results).table
        tables.insert(0, table[table["chosen"]])
    columns = ["dataset", "method", "repeat", "value", *COLUMNS, "run"]
    values = pd.concat([table.rename(columns={arguments.metric: "value"})[columns] for table in tables])
    if (twice := values.duplicated(["dataset", "method", "repeat"])).any():
        row = values[twice].iloc[0]
        unit = f"{row['dataset']}, {row['method']}, repeat {row['repeat']}"
        raise InputError(f"--results, --finetuned: found {unit} in two of the runs, wanted one")
    values = of_methods(values, arguments.methods)
    check_draws(values)
    values = with_figure(values, arguments.metric)[columns[:4]]
    sets = values.groupby("dataset")
    by_set = {name: rows.pivot(index="repeat", columns="method", values="value") for name, rows in sets}
    within = pd.concat([wilcoxon_table(wide).assign(dataset=name) for name, wide in by_set.items()], ignore_index=True)
    within.insert(0, "dataset", within.pop("dataset"))
    means = pd.DataFrame({name: wide.mean() for name, wide in by_set.items()}).T
    grouped = values.groupby(["dataset", "method"], sort=False)["value"]
    methods = grouped.agg(["mean", "std", "count"]).rename(columns={"std": "sd", "count": "n_repeats"}).reset_index()
    inputs = [folder / name for folder in arguments.results for name in ("results.csv", "predictions.csv")]
    inputs += [folder / "results.csv" for _, folder in folders]
    options = {key: value for key, value in vars(arguments).items() if key != "overwrite"}
    with runs.RunFolder.open(
        arguments.output_dir, arguments=options, seed=None, inputs=inputs, overwrite=demo or arguments.overwrite
    ) as folder:
        tables = {"values": values, "methods": methods, "pairs": within, "pairs_over_sets": wilcoxon_table(means)}
        for name, table in tables.items():
            storage.write_csv(folder.file(f"{name}.csv"), table)
        folder.finish({"data_sets": len(by_set), "methods": means.shape[1]})
    # A mean over fewer sets than others have would be compared with theirs.
    shown = means.T.assign(mean=means.mean(skipna=False)).sort_values("mean", ascending=False)
    print(f"{arguments.metric.upper()}, means over repeats\n{shown.to_string(float_format='%.3f')}")
    print(f"outputs: {arguments.output_dir}")


def main(argv: list[str] | None = None) -> int:
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
