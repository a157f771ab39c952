"""Tables of evaluation runs: reading them, one figure per data set and method, and DeLong tests.

A method is a representation with its variant and layer. A linear probe, whose layer was chosen on validation, is one
method per variant, whichever layer that was. Rows that `chosen` marks with 0 serve the layer curves alone.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError
from ..runs.storage import read_json
from ..statistics.bootstrap import bootstrap_intervals
from ..statistics.comparisons import holm
from ..statistics.delong import delong_test
from ..statistics.metrics import auroc, classification_metrics
from .result_columns import METRICS, PREDICTED_UNIT, SIZES, UNIT

__all__ = [
    "Results",
    "check_metrics",
    "method_values",
    "paired_tests",
    "read_csv",
    "read_results",
    "refuse_cells",
    "summarise",
]

BASELINES = {"gc": "GC", "dinucleotide": "dinucleotide", "4mer": "4-mer"}
REPRESENTATIONS = (*BASELINES, "one_hot", "linear_probe", "lamar")
VARIANTS = ("Random", "TAPT", "Pretrained")
RIVALS = ("one-hot CNN", "dinucleotide", "4-mer")  # what a LAMAR method is tested against, data set by data set


@dataclass(frozen=True, eq=False)
class Results:
    """What `read_results` found.

    Attributes
    ----------
    table : DataFrame
        One row per unit, all layers: the columns of ``results.csv``, ``chosen`` (bool), ``method`` (its name) and
        ``run``. A data set with several splits is called ``NAME [SPLIT]``.
    methods : list of str
        Names in a fixed order: composition, one-hot, probes, CNNs.
    predictions : DataFrame
        Columns dataset, method, id, occurrence, label, probability (mean over repeats): test records of chosen rows.
    runs : list of (str, dict)
        Name of each folder and its ``run.json``.
    reports : list of (str, str, dict)
        Run, data set, and its entry in ``split_report.json``; the same entry of a second run is left out.
    """

    table: pd.DataFrame
    methods: list[str]
    predictions: pd.DataFrame
    runs: list[tuple[str, dict]]
    reports: list[tuple[str, str, dict]]

    @property
    def datasets(self) -> list[str]:
        return sorted(self.table["dataset"].unique())

    def of(self, *representations: str) -> list[str]:
        """Methods of these representations."""
        names = self.table.loc[self.table["representation"].isin(representations) & self.table["chosen"], "method"]
        return [name for name in self.methods if name in set(names)]


# ---------------------------------------------------------------------------------------------------- reading


def read_csv(path: Path, text: Sequence[str], numeric: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """A table with these columns; text as it stands, empty cells of numbers as NaN.

    Raises
    ------
    InputError
        Names the file and the row (the header is row 1): not a CSV, a column that is missing, no records, cells that
        are missing, or are no finite numbers in ``numeric`` and ``optional`` columns.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                dtype=dict.fromkeys(text, str),
                keep_default_na=False,  # a protein may be called NA
                na_values={name: [""] for name in (*numeric, *optional)},
                float_precision="round_trip",
                index_col=False,
                low_memory=False,  # one type per column
            )
    except (OSError, ValueError, pd.errors.ParserWarning) as error:  # parsing errors are ValueErrors
        raise InputError(f"{path}: cannot be read as a table of results: {error}") from None
    if missing := [name for name in (*text, *numeric) if name not in table]:
        raise InputError(f"{path}: found no column {missing[0]}, wanted {', '.join((*text, *numeric))}")
    if table.empty:
        raise InputError(f"{path}: found a header and no records")
    for name in text:
        refuse_cells(path, table, name, table[name].isna(), "as many cells as the header has")
    for name in (*numeric, *(name for name in optional if name in table)):
        if not pd.api.types.is_numeric_dtype(table[name]) or pd.api.types.is_bool_dtype(table[name]):
            values = pd.to_numeric(table[name].astype(str).where(table[name].notna()), errors="coerce")
            refuse_cells(path, table, name, values.isna() & table[name].notna(), "a number")
            table[name] = values
        refuse_cells(path, table, name, np.isinf(table[name]), "a finite number")
    return table


def refuse_cells(path: Path, table: pd.DataFrame, column: str, bad, wanted: str) -> None:
    """InputError that names the first row of ``table`` where ``bad``, bool (n,), is true, if there is one."""
    if np.any(bad):
        row = int(np.flatnonzero(bad)[0])
        found = table[column].iloc[row]
        found = "an empty cell" if pd.isna(found) or found == "" else found
        raise InputError(f"{path}: row {row + 2}: column {column}: found {found}, wanted {wanted}")


def _check_unit(path: Path, table: pd.DataFrame) -> None:
    """Layers, which may be empty, and repeats are whole numbers; layers become text."""
    for name in ("layer", "repeat"):
        bad = ~((table[name] >= 0) & (table[name] % 1 == 0))
        refuse_cells(path, table, name, bad & table[name].notna() if name == "layer" else bad, "a whole number from 0")
    table["layer"] = table["layer"].map(lambda layer: "" if pd.isna(layer) else str(int(layer))).astype(str)


def check_metrics(path: Path, table: pd.DataFrame, metrics: Sequence[str] = METRICS) -> None:
    """InputError for a figure that its metric cannot have; NaN, where a metric is not defined, is let through."""
    for name in metrics:
        low = -1 if name == "mcc" else 0
        refuse_cells(path, table, name, (table[name] < low) | (table[name] > 1), f"{low} to 1")


def _read_table(path: Path) -> pd.DataFrame:
    text = [name for name in UNIT if name not in ("layer", "repeat")]
    table = read_csv(path, text, ["layer", "repeat", *METRICS, *SIZES], ["chosen"])
    refuse_cells(path, table, "dataset", table["dataset"] == "", "a name")
    wanted = f"one of {', '.join(REPRESENTATIONS)}"
    refuse_cells(path, table, "representation", ~table["representation"].isin(REPRESENTATIONS), wanted)
    _check_unit(path, table)
    check_metrics(path, table)
    table["chosen"] = table.get("chosen", 1)
    refuse_cells(path, table, "chosen", ~table["chosen"].isin([0, 1]), "0 or 1")
    return table.astype({"chosen": bool})


def _read_predictions(path: Path) -> pd.DataFrame:
    text = ["dataset", "representation", "variant", "id"]
    table = read_csv(path, text, ["layer", "repeat", "label", "probability"])
    _check_unit(path, table)
    refuse_cells(path, table, "label", ~table["label"].isin([0, 1]), "0 or 1")
    refuse_cells(path, table, "probability", ~table["probability"].between(0, 1), "0 to 1")
    return table


def read_results(folders: Sequence[Path], argument: str = "--results") -> Results:
    """Read the folders of one or several runs, which ``argument`` named, and join their rows.

    Raises
    ------
    InputError
        A file or column is missing, a value is not what it should be (with its row; the header is row 1), a table
        is empty, or a unit has different figures in two runs. Seconds may differ.
    """
    tables, predictions, records, reports = [], [], [], []
    for number, folder in enumerate(folders):
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"{argument}: found no folder {folder}, wanted that of an evaluation run")
        tables.append(_read_table(folder / "results.csv").assign(run=str(folder), run_number=number))
        predictions.append(_read_predictions(folder / "predictions.csv").assign(run_number=number))
        found = {name: read_json(folder / name) for name in ("run.json", "split_report.json")}
        for name, content in found.items():
            within = content.values() if name != "run.json" and isinstance(content, dict) else ()
            if not all(isinstance(part, dict) for part in (content, *within)):
                raise InputError(f"{folder / name}: found no JSON object, wanted what an evaluation run writes")
        records.append((str(folder), found["run.json"]))
        known = [(name, report) for _, name, report in reports]
        reports += [(str(folder), *item) for item in found["split_report.json"].items() if item not in known]
    table = _join(tables)
    table["method"] = _method_names(table)
    scored = _join_predictions(pd.concat(predictions, ignore_index=True), table, folders)
    splits = table.groupby("dataset")["split"].transform("nunique")
    labels = table["dataset"].where(splits == 1, table["dataset"] + " [" + table["split"] + "]")
    scored["dataset"] = labels.loc[scored.pop("row")].to_numpy()
    table["dataset"] = labels
    methods = {row.method: _place(row) for row in table[table["chosen"]].itertuples()}
    return Results(table, sorted(methods, key=methods.get), _mean_predictions(scored), records, reports)


def _join(tables: list[pd.DataFrame]) -> pd.DataFrame:
    table = pd.concat(tables, ignore_index=True)
    compared = [name for name in table if name in (*UNIT, *METRICS, *SIZES) and name != "seconds"]
    table = table[~table.duplicated(compared)]
    again = table[table.duplicated(list(UNIT), keep=False)].sort_values(list(UNIT), kind="stable")
    if len(again):
        first, other = again.iloc[0], again.iloc[1]["run"]
        unit = " ".join(f"{name} {first[name]}" for name in UNIT if str(first[name]))
        raise InputError(f"--results: found {unit} with different figures in {first['run']} and {other}")
    return table.reset_index(drop=True)


def _method_names(table: pd.DataFrame) -> pd.Series:
    """Names by row; layer and pooling only where they tell methods apart."""
    probes = table[(table["representation"] == "linear_probe") & table["chosen"]]
    by_layer = probes.duplicated([name for name in UNIT if name not in ("layer", "pooling")]).any()
    poolings = table.groupby(["representation", "variant", "layer"])["pooling"].transform("nunique")

    def name(row, n_poolings: int) -> str:
        if row.representation in BASELINES:
            return BASELINES[row.representation]
        kind = "probe" if row.representation == "linear_probe" else "CNN"
        if row.representation == "one_hot":
            return "one-hot CNN"
        layer = f"L{row.layer}" if row.layer and (kind == "CNN" or by_layer or not row.chosen) else ""
        pooling = f"({row.pooling})" if n_poolings > 1 else ""
        return " ".join(filter(None, [row.variant or "LAMAR", layer, kind, pooling]))

    return pd.Series([name(*pair) for pair in zip(table.itertuples(), poolings)], table.index, dtype=object)


def _place(row) -> tuple:  # what methods are sorted by
    variant = VARIANTS.index(row.variant) if row.variant in VARIANTS else len(VARIANTS)
    return REPRESENTATIONS.index(row.representation), variant, row.variant, int(row.layer or 0), row.method


def _join_predictions(predictions: pd.DataFrame, table: pd.DataFrame, folders: Sequence[Path]) -> pd.DataFrame:
    """Predictions of chosen units, with their method and the row of ``table`` they belong to."""
    keys = ["run_number", *PREDICTED_UNIT]
    units = table[[*keys, "method", "chosen"]].assign(row=table.index)
    if (twice := units.duplicated(keys)).any():
        unit = units[twice].iloc[0]
        path = Path(folders[unit["run_number"]]) / "predictions.csv"
        raise InputError(f"{path}: cannot tell which pooling or split of {unit['dataset']} its rows belong to")
    known = set(table[list(PREDICTED_UNIT)].itertuples(index=False, name=None))
    for unit in predictions[keys].drop_duplicates().itertuples(index=False):
        if tuple(unit[1:]) not in known:
            path = Path(folders[unit.run_number]) / "predictions.csv"
            named = " ".join(map(str, filter(lambda part: part != "", unit[1:])))
            raise InputError(f"{path}: found predictions of {named}, which results.csv does not list")
    joined = predictions.merge(units[units["chosen"]], on=keys)
    # An id may stand for several records; runs write them in one order.
    joined["occurrence"] = joined.groupby(["row", "id"], sort=False).cumcount()
    _check_predictions(joined, table, folders)
    return joined[["row", "dataset", "method", "id", "occurrence", "label", "probability"]]


def _check_predictions(joined: pd.DataFrame, table: pd.DataFrame, folders: Sequence[Path]) -> None:
    """Predictions are those that the figures of their unit were made from, and of the same records in every run."""
    found = dict(iter(joined.groupby("row", sort=False)))
    tested: dict[tuple[str, str], tuple[frozenset, str]] = {}
    for unit in table[table["chosen"]].itertuples():
        path = Path(folders[unit.run_number]) / "predictions.csv"
        rows = found.get(unit.Index, joined.iloc[:0])
        name = " ".join(map(str, filter(None, (unit.dataset, unit.method, f"repeat {unit.repeat}"))))
        if len(rows) != unit.n_test:
            raise InputError(f"{path}: {name}: found {len(rows)} records, results.csv says {unit.n_test:g}")
        value = auroc(rows["label"].to_numpy(), rows["probability"].to_numpy()) if rows["label"].nunique() > 1 else None
        if value is not None and not abs(value - unit.auroc) < 1e-6:
            raise InputError(f"{path}: {name}: found an AUROC of {value:.6f}, results.csv says {unit.auroc:.6f}")
        records = frozenset(zip(rows["id"], rows["occurrence"]))
        first, where = tested.setdefault((unit.dataset, unit.split), (records, unit.run))
        if first != records:
            raise InputError(
                f"--results: {unit.dataset}: {where} and {unit.run} have different test records ({len(first)} and "
                f"{len(records)}, {len(first & records)} in common), wanted runs with the same split and --seed"
            )


def _mean_predictions(scored: pd.DataFrame) -> pd.DataFrame:
    differing = scored.groupby(["dataset", "id", "occurrence"], sort=False)["label"].transform("nunique") > 1
    if differing.any():
        row = scored[differing].iloc[0]
        raise InputError(f"predictions.csv: data set {row['dataset']}: record {row['id']} has two labels")
    by = ["dataset", "method", "id", "occurrence", "label"]
    return scored.groupby(by, sort=False, as_index=False)["probability"].mean()


# ---------------------------------------------------------------------------------------------------- figures


def method_values(results: Results, metric: str = "auroc") -> pd.DataFrame:
    """Mean over repeats: data sets in rows, methods in columns, NaN where a method was not run or is undefined."""
    chosen = results.table[results.table["chosen"]]
    values = chosen.groupby(["dataset", "method"])[metric].mean().unstack("method")
    return values.reindex(index=results.datasets, columns=results.methods)


def summarise(results: Results, metric: str = "auroc", n_boot: int = 1000, seed: int = 0) -> pd.DataFrame:
    """One row per data set and method.

    Columns: dataset, method, representation, n_repeats, n_train, n_test, n_parameters; for every metric its mean over
    repeats; ``sd`` of ``metric`` over repeats (n - 1; NaN for one); ``pooled``, the metric of the mean probability
    over repeats, with ``low`` and ``high``, its 95 % bootstrap interval (NaN without predictions).
    """
    chosen = results.table[results.table["chosen"]]
    groups = chosen.groupby(["dataset", "method"])
    summary = groups[list(METRICS)].mean()
    summary["sd"] = groups[metric].std()
    summary = summary.join(groups[["representation", "n_train", "n_test", "n_parameters"]].first())
    summary["n_repeats"] = groups.size()
    predicted = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # what is undefined shows as an empty cell
        for key, records in results.predictions.groupby(["dataset", "method"], sort=False):
            labels, scores = records["label"].to_numpy(), records["probability"].to_numpy()
            low, high = bootstrap_intervals(labels, scores, [metric], n_boot=n_boot, seed=seed)[metric]
            predicted[key] = classification_metrics(labels, scores)[metric], low, high
    summary[["pooled", "low", "high"]] = [predicted.get(key, (math.nan,) * 3) for key in summary.index]
    pairs = [(dataset, method) for dataset in results.datasets for method in results.methods]
    return summary.loc[[pair for pair in pairs if pair in summary.index]].reset_index()


# ------------------------------------------------------------------------------------------------------ tests


def paired_tests(results: Results) -> pd.DataFrame:
    """DeLong's test on mean probabilities: each LAMAR method against one-hot, dinucleotide and 4-mer, per data set.

    Columns: dataset, method_a, method_b, n (test records that both scored), difference (of AUROC, a - b), low, high,
    p_value, p_holm (over the whole table).
    """
    lamar, rows = results.of("linear_probe", "lamar"), []
    for dataset, records in results.predictions.groupby("dataset", sort=True):
        wide = records.pivot(index=["id", "occurrence", "label"], columns="method", values="probability")
        for a in (name for name in lamar if name in wide):
            for b in (name for name in RIVALS if name in wide):
                both = wide[[a, b]].dropna()
                row = {"dataset": dataset, "method_a": a, "method_b": b, "n": len(both)}
                if len(both):
                    labels = both.index.get_level_values("label").to_numpy()
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore", RuntimeWarning)  # undefined: an empty cell
                        test = delong_test(labels, both[a].to_numpy(), both[b].to_numpy())
                    row |= {"difference": test.difference, "low": test.low, "high": test.high, "p_value": test.p_value}
                rows.append(row)
    table = pd.DataFrame(rows, columns="dataset method_a method_b n difference low high p_value".split())
    table["p_holm"] = holm(table["p_value"].to_numpy(dtype=np.float64))
    return table
