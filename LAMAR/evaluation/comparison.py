"""Comparison of methods paired by repeat: evaluation and fine-tuning runs on the same draws of training records."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..errors import InputError
from ..runs import RunFolder, storage
from ..statistics.rank_tests import wilcoxon_table
from .checked_csv import check_metrics, read_csv, refuse_cells
from .results import read_results

__all__ = ["Comparison", "closing_table", "compare_runs"]

logger = logging.getLogger(__name__)

# What runs that drew the same records share: arguments, and columns of their tables.
ARGUMENTS = ("seed", "subsample_pos", "subsample_neg", "cv_folds")
COLUMNS = ("split", "n_train", "n_test")
VALUE_COLUMNS = ["dataset", "method", "repeat", "value"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Tables of a comparison.

    Attributes
    ----------
    values : DataFrame
        Columns dataset, method, repeat, value: the metric of every repeat.
    methods : DataFrame
        Columns dataset, method, mean, sd (n - 1), n_repeats.
    pairs : DataFrame
        Wilcoxon's test of every pair of methods within each data set, see `LAMAR.statistics.rank_tests`.
    pairs_over_sets : DataFrame
        The same over data sets, on means over repeats.
    means : DataFrame
        Means over repeats, data sets in rows, methods in columns.
    """

    values: pd.DataFrame
    methods: pd.DataFrame
    pairs: pd.DataFrame
    pairs_over_sets: pd.DataFrame
    means: pd.DataFrame


def compare_runs(
    output_dir: str | Path,
    results: Sequence[str | Path] = (),
    finetuned: Sequence[tuple[str, str]] = (),
    *,
    methods: Sequence[str] | None = None,
    metric: str = "auroc",
    overwrite: bool = False,
) -> Comparison:
    """Compare methods in the repeats that they share, and write the tables of a run folder.

    Parameters
    ----------
    output_dir : path
        Run folder, made if missing: ``values.csv``, ``methods.csv``, ``pairs.csv``, ``pairs_over_sets.csv``,
        ``run.json``.
    results : sequence of path
        Folders of evaluation runs.
    finetuned : sequence of (str, str)
        Name of a variant, and a folder of fine-tuning runs of that variant. Draw n there is compared with repeat n of
        the evaluation.
    methods : sequence of str, optional
        Methods to compare, named as in ``values.csv``; None compares all. Holm's correction counts these pairs.
    metric : str
        Column of the tables to compare.
    overwrite : bool
        Delete an earlier run in ``output_dir`` first.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        For tables that cannot be read, a unit that is in two runs, runs of other draws, methods that are not there, or
        a method without any value.
    """
    runs = [(name, folder) for name, parent in finetuned for folder in _finetuned_folders(name, parent)]
    results = [Path(folder) for folder in results]
    values = _of_methods(_read_values(results, runs, metric), methods)
    _check_draws(values)
    values = _with_value(values, metric)[VALUE_COLUMNS]
    comparison = _compare(values)
    inputs = [folder / name for folder in results for name in ("results.csv", "predictions.csv")]
    inputs += [folder / "results.csv" for _, folder in runs]
    arguments = {"results": results, "finetuned": [f"{name}={folder}" for name, folder in finetuned]}
    arguments |= {"methods": methods, "output_dir": output_dir, "metric": metric}
    with RunFolder.open(output_dir, arguments=arguments, seed=None, inputs=inputs, overwrite=overwrite) as run:
        for name in ("values", "methods", "pairs", "pairs_over_sets"):
            storage.write_csv(run.file(f"{name}.csv"), getattr(comparison, name))
        run.finish({"data_sets": len(comparison.means), "methods": comparison.means.shape[1]})
    return comparison


# ---------------------------------------------------------------------------------------------------- reading


def _finetuned_folders(name: str, parent: str) -> list[Path]:
    """Return the folders of all fine-tuning runs in ``parent``."""
    folders = sorted(path.parent for path in Path(parent).glob("*/results.csv"))
    if not folders:
        given = f"{name}={parent}"
        raise InputError(f"`finetuned` {given}: found no NAME/results.csv there, wanted folders of finetune_rbp.py")
    return folders


def _read_values(results: Sequence[Path], runs: Sequence[tuple[str, Path]], metric: str) -> pd.DataFrame:
    """Join the values of all runs: columns dataset, method, repeat, value, those of `COLUMNS`, run."""
    tables = [_read_finetuned(variant, folder, metric) for variant, folder in runs]
    if results:
        table = read_results(results).table
        tables.insert(0, table[table["chosen"]])
    columns = [*VALUE_COLUMNS, *COLUMNS, "run"]
    values = pd.concat([table.rename(columns={metric: "value"})[columns] for table in tables])
    if (repeated := values.duplicated(["dataset", "method", "repeat"])).any():
        row = values[repeated].iloc[0]
        unit = f"{row['dataset']}, {row['method']}, repeat {row['repeat']}"
        raise InputError(f"`results`, `finetuned`: found {unit} in two of the runs, wanted one")
    return values


def _read_finetuned(variant: str, folder: Path, metric: str) -> pd.DataFrame:
    """Read the figures of every fold or draw on the test part, as a table with the columns of an evaluation's."""
    path = folder / "results.csv"
    table = read_csv(path, ["dataset", "fold", "evaluated_on", "split"], ["n_train", "n_evaluated", metric])
    refuse_cells(path, table, "dataset", table["dataset"] == "", "a name")
    check_metrics(path, table, [metric])
    numbers = table["fold"].str.extract(r"^(?:draw|fold)_([0-9]{1,9})$", expand=False)
    rows = table[(table["evaluated_on"] == "test") & numbers.notna()].rename(columns={"n_evaluated": "n_test"})
    if rows.empty:
        raise InputError(f"{path}: found no rows of draw_N or fold_N on test, wanted a run of finetune_rbp.py")
    return rows.assign(method=f"{variant} fine-tuned", repeat=numbers[rows.index].astype(int), run=str(folder))


def _arguments_of(folder: Path) -> dict[str, str]:
    """Return the arguments of a run that decide which records it draws; an evaluation's fold counts as one."""
    record = storage.read_json(folder / "run.json")
    arguments = record.get("arguments") if isinstance(record, dict) else None
    if not isinstance(arguments, dict):
        raise InputError(f"{folder / 'run.json'}: found no arguments, wanted those of the run")
    arguments = {"cv_folds": 1} | arguments
    return {name: str(arguments.get(name, "absent")) for name in ARGUMENTS}


# ------------------------------------------------------------------------------------------- what is compared


def _check_draws(values: pd.DataFrame) -> None:
    """Refuse two runs that have a repeat of the same number with different records in it."""
    arguments = {run: _arguments_of(Path(run)) for run in values["run"].unique()}
    values = values.assign(**{name: values[name].map("{:.0f}".format) for name in ("n_train", "n_test")})
    for (dataset, _), rows in values.groupby(["dataset", "repeat"], sort=False):
        first, *others = (arguments[row["run"]] | row for row in rows.to_dict("records"))
        for other in others:
            for name in (*ARGUMENTS, *COLUMNS):
                if other[name] != first[name]:
                    what = f"`{name}`" if name in ARGUMENTS else name
                    clash = f"{what} {first[name]} in {first['run']} and {other[name]} in {other['run']}"
                    wanted = "runs of the same draws"
                    raise InputError(f"`results`, `finetuned`: {dataset}: found {clash}, wanted {wanted}")


def _of_methods(values: pd.DataFrame, methods: Sequence[str] | None) -> pd.DataFrame:
    """Return the rows of these methods, all rows without methods."""
    if methods is None:
        return values
    present = sorted(values["method"].unique())
    if unknown := [name for name in methods if name not in present]:
        raise InputError(f"`methods`: found {unknown[0]!r}, wanted some of: {', '.join(map(repr, present))}")
    if len(set(methods)) < 2:
        raise InputError(f"`methods`: found {len(set(methods))}, wanted two or more to compare")
    return values[values["method"].isin(methods)]


def _with_value(values: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows that have a value, and log the others, of trainings that collapsed.

    A method without any value is an error.
    """
    for (run, dataset, method), rows in values.groupby(["run", "dataset", "method"], sort=False):
        without = rows.loc[rows["value"].isna(), "repeat"].tolist()
        if len(without) == len(rows):
            raise InputError(f"{Path(run) / 'results.csv'}: found no {metric} of {dataset}, {method}, wanted some")
        if without:
            logger.warning("left out: %s, %s, without %s in repeats %s (%s)", dataset, method, metric, without, run)
    return values[values["value"].notna()]


def _compare(values: pd.DataFrame) -> Comparison:
    sets = values.groupby("dataset")
    by_set = {name: rows.pivot(index="repeat", columns="method", values="value") for name, rows in sets}
    within = pd.concat([wilcoxon_table(wide).assign(dataset=name) for name, wide in by_set.items()], ignore_index=True)
    within.insert(0, "dataset", within.pop("dataset"))
    means = pd.DataFrame({name: wide.mean() for name, wide in by_set.items()}).T
    grouped = values.groupby(["dataset", "method"], sort=False)["value"]
    methods = grouped.agg(["mean", "std", "count"]).rename(columns={"std": "sd", "count": "n_repeats"}).reset_index()
    return Comparison(values, methods, within, wilcoxon_table(means), means)


def closing_table(comparison: Comparison) -> str:
    """Return the means over repeats by method and data set as text, the best method first.

    A method that was not run on all data sets has no mean over sets: it would be over fewer sets than the others'.
    """
    means = comparison.means
    table = means.T.assign(mean=means.mean(skipna=False)).sort_values("mean", ascending=False)
    return table.to_string(float_format="%.3f")
