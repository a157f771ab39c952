"""Results of evaluation runs: reading and joining their tables, one figure per data set and method, DeLong tests.

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

from ..errors import InputError, excerpt
from ..runs.records import entry_problem
from ..runs.storage import read_json
from ..statistics.bootstrap import bootstrap_intervals
from ..statistics.comparisons import holm
from ..statistics.delong import delong_test
from ..statistics.metrics import auroc, classification_metrics
from .checked_csv import check_metrics, read_csv, refuse_cells
from .registries import KINDS, REPRESENTATIONS, VARIANTS, reference_representations, variant_label
from .tables import METRICS, PREDICTED_UNIT, SIZES, UNIT

__all__ = ["Results", "method_values", "paired_tests", "read_results", "summarise"]


@dataclass(frozen=True, eq=False)
class Results:
    """Joined tables of evaluation runs, as `read_results` returns them.

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
        """Names of the data sets, sorted."""
        return sorted(self.table["dataset"].unique())

    def methods_of(self, *kinds: str) -> list[str]:
        """Return the methods on representations of these kinds, see `LAMAR.evaluation.registries.Representation`."""
        names = [name for name, entry in REPRESENTATIONS.items() if entry.kind in kinds]
        chosen = self.table.loc[self.table["representation"].isin(names) & self.table["chosen"], "method"]
        return [name for name in self.methods if name in set(chosen)]


# ---------------------------------------------------------------------------------------------------- reading


def _check_unit(path: Path, table: pd.DataFrame) -> None:
    """Refuse layers, which may be empty, and repeats that are not whole numbers; turn layers into text."""
    for name in ("layer", "repeat"):
        bad = ~((table[name] >= 0) & (table[name] % 1 == 0))
        refuse_cells(path, table, name, bad & table[name].notna() if name == "layer" else bad, "a whole number from 0")
    table["layer"] = table["layer"].map(lambda layer: "" if pd.isna(layer) else str(int(layer))).astype(str)


def _read_table(path: Path) -> pd.DataFrame:
    text = [name for name in UNIT if name not in ("layer", "repeat")]
    table = read_csv(path, text, ["layer", "repeat", *METRICS, *SIZES], ["chosen", "learned"])
    refuse_cells(path, table, "dataset", table["dataset"] == "", "a name")
    wanted = f"one of {', '.join(REPRESENTATIONS)}"
    refuse_cells(path, table, "representation", ~table["representation"].isin(REPRESENTATIONS), wanted)
    _check_unit(path, table)
    check_metrics(path, table)
    table["chosen"] = table.get("chosen", 1)
    refuse_cells(path, table, "chosen", ~table["chosen"].isin([0, 1]), "0 or 1")
    table["learned"] = table.get("learned", math.nan)  # runs of earlier versions have no such column
    refuse_cells(path, table, "learned", table["learned"].notna() & ~table["learned"].isin([0, 1]), "0, 1 or nothing")
    return table.astype({"chosen": bool})


def _read_predictions(path: Path) -> pd.DataFrame:
    text = ["dataset", "representation", "variant", "id"]
    table = read_csv(path, text, ["layer", "repeat", "label", "probability"])
    _check_unit(path, table)
    refuse_cells(path, table, "label", ~table["label"].isin([0, 1]), "0 or 1")
    refuse_cells(path, table, "probability", ~table["probability"].between(0, 1), "0 to 1")
    return table


def read_results(folders: Sequence[str | Path], parameter: str = "results") -> Results:
    """Read the folders of one or several evaluation runs and join their rows.

    Parameters
    ----------
    folders : sequence of path
    parameter : str
        Parameter that named the folders, for messages.

    Returns
    -------
    Results

    Raises
    ------
    InputError
        If a file or column is missing, a value is not what it should be (with its row; the header is row 1), a table
        is empty, or a unit has different figures in two runs. Seconds may differ.
    """
    folders = [Path(folder) for folder in folders]
    tables, predictions, records, reports = [], [], [], []
    for number, folder in enumerate(folders):
        if not folder.is_dir():
            raise InputError(f"`{parameter}`: found no folder {folder}, wanted that of an evaluation run")
        tables.append(_read_table(folder / "results.csv").assign(run=str(folder), run_number=number))
        predictions.append(_read_predictions(folder / "predictions.csv").assign(run_number=number))
        record = _read_objects(folder / "run.json", nested=False)
        if problem := entry_problem(record):
            raise InputError(f"{folder / 'run.json'}: {problem}, wanted what an evaluation run writes")
        records.append((str(folder), record))
        known = [(name, report) for _, name, report in reports]
        split_reports = _read_objects(folder / "split_report.json", nested=True)
        reports += [(str(folder), *item) for item in split_reports.items() if item not in known]
    table = _join(tables)
    table["method"] = _method_names(table)
    scored = _join_predictions(pd.concat(predictions, ignore_index=True), table, folders)
    splits = table.groupby("dataset")["split"].transform("nunique")
    labels = table["dataset"].where(splits == 1, table["dataset"] + " [" + table["split"] + "]")
    scored["dataset"] = labels.loc[scored.pop("row")].to_numpy()
    table["dataset"] = labels
    methods = {row.method: _sort_key(row) for row in table[table["chosen"]].itertuples()}
    return Results(table, sorted(methods, key=methods.get), _mean_predictions(scored), records, reports)


def _read_objects(path: Path, nested: bool) -> dict:
    """Read a JSON object, of objects where ``nested``."""
    content = read_json(path)
    inner = content.values() if nested and isinstance(content, dict) else ()
    if not all(isinstance(part, dict) for part in (content, *inner)):
        raise InputError(f"{path}: found no JSON object, wanted what an evaluation run writes")
    return content


def _join(tables: list[pd.DataFrame]) -> pd.DataFrame:
    table = pd.concat(tables, ignore_index=True)
    compared = [name for name in table if name in (*UNIT, *METRICS, *SIZES) and name != "seconds"]
    table = table[~table.duplicated(compared)]
    repeated = table[table.duplicated(list(UNIT), keep=False)].sort_values(list(UNIT), kind="stable")
    if len(repeated):
        first, other = repeated.iloc[0], repeated.iloc[1]["run"]
        unit = " ".join(f"{name} {first[name]}" for name in UNIT if str(first[name]))
        raise InputError(f"`results`: found {unit} with different figures in {first['run']} and {other}")
    return table.reset_index(drop=True)


def _method_names(table: pd.DataFrame) -> pd.Series:
    """Return the method of each row; layer and pooling are in its name only where they tell methods apart."""
    is_probe = table["representation"].map(lambda name: REPRESENTATIONS[name].kind == "probe")
    unit_but_layer = [name for name in UNIT if name not in ("layer", "pooling")]
    by_layer = table[is_probe & table["chosen"]].duplicated(unit_but_layer).any()
    poolings = table.groupby(["representation", "variant", "layer"])["pooling"].transform("nunique")

    def name(row, n_poolings: int) -> str:
        entry = REPRESENTATIONS[row.representation]
        if entry.kind in ("composition", "sequence"):
            return entry.label
        layer = f"L{row.layer}" if row.layer and (entry.kind == "embedding" or by_layer or not row.chosen) else ""
        pooling = f"({row.pooling})" if n_poolings > 1 else ""
        return " ".join(filter(None, [variant_label(row.variant), layer, entry.label, pooling]))

    return pd.Series([name(*pair) for pair in zip(table.itertuples(), poolings)], table.index, dtype=object)


def _sort_key(row) -> tuple:
    """Return the place of a row's method: by representation, then variants from random to pre-trained, then layer."""
    entry = REPRESENTATIONS[row.representation]
    representation = KINDS.index(entry.kind), REPRESENTATIONS.names.index(entry.name)
    variants = [*reversed(VARIANTS.names)]
    variant = variants.index(row.variant) if row.variant in VARIANTS else len(variants)
    return *representation, variant, row.variant, int(row.layer or 0), row.method


def _join_predictions(predictions: pd.DataFrame, table: pd.DataFrame, folders: Sequence[Path]) -> pd.DataFrame:
    """Return the predictions of chosen units, with their method and the row of ``table`` that they belong to."""
    keys = ["run_number", *PREDICTED_UNIT]
    units = table[[*keys, "method", "chosen"]].assign(row=table.index)
    if (repeated := units.duplicated(keys)).any():
        unit = units[repeated].iloc[0]
        path = Path(folders[unit["run_number"]]) / "predictions.csv"
        raise InputError(f"{path}: cannot tell which pooling or split of {unit['dataset']} its rows belong to")
    known = set(table[list(PREDICTED_UNIT)].itertuples(index=False, name=None))
    for unit in predictions[keys].drop_duplicates().itertuples(index=False):
        if tuple(unit[1:]) not in known:
            path = Path(folders[unit.run_number]) / "predictions.csv"
            named = " ".join(map(excerpt, filter(lambda part: part != "", unit[1:])))
            raise InputError(f"{path}: found predictions of {named}, which results.csv does not list")
    joined = predictions.merge(units[units["chosen"]], on=keys)
    # An id may stand for several records; all runs write them in the same order.
    joined["occurrence"] = joined.groupby(["row", "id"], sort=False).cumcount()
    _check_predictions(joined, table, folders)
    return joined[["row", "dataset", "method", "id", "occurrence", "label", "probability"]]


def _check_predictions(joined: pd.DataFrame, table: pd.DataFrame, folders: Sequence[Path]) -> None:
    """Refuse predictions that do not give the figures of their unit, or are of other records than in another run."""
    predicted = dict(iter(joined.groupby("row", sort=False)))
    tested: dict[tuple[str, str], tuple[frozenset, str]] = {}
    for unit in table[table["chosen"]].itertuples():
        path = Path(folders[unit.run_number]) / "predictions.csv"
        rows = predicted.get(unit.Index, joined.iloc[:0])
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
                f"`results`: {unit.dataset}: {where} and {unit.run} have different test records ({len(first)} and "
                f"{len(records)}, {len(first & records)} in common), wanted runs with the same split and `seed`"
            )


def _mean_predictions(scored: pd.DataFrame) -> pd.DataFrame:
    """Average the probabilities of each record over repeats."""
    differing = scored.groupby(["dataset", "id", "occurrence"], sort=False)["label"].transform("nunique") > 1
    if differing.any():
        row = scored[differing].iloc[0]
        raise InputError(
            f"predictions.csv: data set {excerpt(row['dataset'])}: record {excerpt(row['id'])} has two labels"
        )
    by = ["dataset", "method", "id", "occurrence", "label"]
    return scored.groupby(by, sort=False, as_index=False)["probability"].mean()


# ---------------------------------------------------------------------------------------------------- figures


def method_values(results: Results, metric: str = "auroc") -> pd.DataFrame:
    """Return the mean of a metric over repeats, a DataFrame of data sets by methods.

    Cells are NaN where a method was not run or the metric is undefined.
    """
    chosen = results.table[results.table["chosen"]]
    values = chosen.groupby(["dataset", "method"])[metric].mean().unstack("method")
    return values.reindex(index=results.datasets, columns=results.methods)


def summarise(results: Results, metric: str = "auroc", n_boot: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Summarise results in one row per data set and method.

    Parameters
    ----------
    results : Results
    metric : str
        Metric of standard deviation and interval.
    n_boot : int
        Bootstrap resamples of test records.
    seed : int
        Seed of the resamples.

    Returns
    -------
    DataFrame
        Columns dataset, method, representation, n_train, n_test, n_parameters, n_repeats, ``n_unlearned`` (repeats
        whose training learned next to nothing); for every metric its mean over repeats; ``sd`` of ``metric`` over
        repeats (n - 1; NaN for one); ``pooled``, the metric of the mean probability over repeats, with ``low`` and
        ``high``, its 95 % bootstrap interval (NaN without predictions).
    """
    chosen = results.table[results.table["chosen"]]
    groups = chosen.groupby(["dataset", "method"])
    summary = groups[list(METRICS)].mean()
    summary["sd"] = groups[metric].std()
    summary = summary.join(groups[["representation", "n_train", "n_test", "n_parameters"]].first())
    summary["n_repeats"] = groups.size()
    summary["n_unlearned"] = groups["learned"].agg(lambda learned: int((learned == 0).sum()))
    predicted = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # undefined values become empty cells
        for key, records in results.predictions.groupby(["dataset", "method"], sort=False):
            labels, scores = records["label"].to_numpy(), records["probability"].to_numpy()
            low, high = bootstrap_intervals(labels, scores, [metric], n_boot=n_boot, seed=seed)[metric]
            predicted[key] = classification_metrics(labels, scores)[metric], low, high
    summary[["pooled", "low", "high"]] = [predicted.get(key, (math.nan,) * 3) for key in summary.index]
    pairs = [(dataset, method) for dataset in results.datasets for method in results.methods]
    return summary.loc[[pair for pair in pairs if pair in summary.index]].reset_index()


# ------------------------------------------------------------------------------------------------------ tests


def paired_tests(results: Results) -> pd.DataFrame:
    """Test each method on embeddings against the references within each data set, by DeLong's test.

    References are the representations with a ``reference_line`` (one-hot, dinucleotides and 4-mers), and for methods on
    trained weights the same method on random weights. Probabilities are means over repeats.

    Returns
    -------
    DataFrame
        Columns dataset, method_a, method_b, n (test records that both scored), difference (of AUROC, a - b), low, high,
        p_value, p_holm (over the whole table).

    References
    ----------
    DeLong, DeLong and Clarke-Pearson, Biometrics 44:837-845, 1988.
    """
    methods, rows = results.methods_of("probe", "embedding"), []
    references = [entry.label for entry in reference_representations()]
    random = _random_counterparts(results)
    for dataset, records in results.predictions.groupby("dataset", sort=True):
        wide = records.pivot(index=["id", "occurrence", "label"], columns="method", values="probability")
        for a in (name for name in methods if name in wide):
            for b in (name for name in [*references, random.get(a)] if name in wide):
                both = wide[[a, b]].dropna()
                row = {"dataset": dataset, "method_a": a, "method_b": b, "n": len(both)}
                if len(both):
                    labels = both.index.get_level_values("label").to_numpy()
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore", RuntimeWarning)  # undefined values become empty cells
                        test = delong_test(labels, both[a].to_numpy(), both[b].to_numpy())
                    row |= {"difference": test.difference, "low": test.low, "high": test.high, "p_value": test.p_value}
                rows.append(row)
    table = pd.DataFrame(rows, columns="dataset method_a method_b n difference low high p_value".split())
    table["p_holm"] = holm(table["p_value"].to_numpy(dtype=np.float64))
    return table


def _random_counterparts(results: Results) -> dict[str, str]:
    """Return the method on random weights that differs from a method on trained ones in nothing else, by its name."""
    random = [variant.label for variant in VARIANTS.values() if not variant.parameter]
    encoders = results.table[results.table["variant"] != ""]
    counterparts = {}
    for method, variant in dict.fromkeys(zip(encoders["method"], encoders["variant"])):
        # What follows the variant in a method's name is its layer, representation and pooling.
        for name in (label + method.removeprefix(variant_label(variant)) for label in random):
            if name != method and name in results.methods:
                counterparts[method] = name
    return counterparts
