"""Tables of a report on evaluation runs: means, intervals, ranks, tests, and scores that composition alone reaches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from ..statistics.rank_tests import mean_ranks, wilcoxon_table
from .registries import reference_representations, select_representations
from .results import Results, method_values, paired_tests, summarise

__all__ = ["Report", "above_composition", "below_composition", "composition_auroc", "models_of", "report_tables"]


@dataclass(frozen=True, eq=False)
class Report:
    """Tables of a report.

    Attributes
    ----------
    metric : str
        Metric of all tables except ``delong``.
    values : DataFrame
        Mean over repeats, data sets by methods, see `LAMAR.evaluation.results.method_values`.
    summary : DataFrame
        One row per data set and method, see `LAMAR.evaluation.results.summarise`.
    wilcoxon : DataFrame
        Tests of pairs of methods over data sets.
    mean_ranks : DataFrame
        Mean rank of each method over data sets.
    rank_facts : dict
        Number of ranked data sets and tests of their ranks, see `LAMAR.statistics.rank_tests.mean_ranks`.
    delong : DataFrame
        Tests within data sets, see `LAMAR.evaluation.results.paired_tests`.
    composition : DataFrame
        See `above_composition`.
    """

    metric: str
    values: pd.DataFrame
    summary: pd.DataFrame
    wilcoxon: pd.DataFrame
    mean_ranks: pd.DataFrame
    rank_facts: dict
    delong: pd.DataFrame
    composition: pd.DataFrame


def report_tables(results: Results, metric: str = "auroc", n_boot: int = 1000, seed: int = 0) -> Report:
    """Return the tables of a report.

    Parameters
    ----------
    results : Results
    metric : str
        One of `LAMAR.evaluation.tables.METRICS`.
    n_boot : int
        Resamples of intervals.
    seed : int
        Seed of the resamples.

    Returns
    -------
    Report
    """
    values = method_values(results, metric)
    return Report(
        metric,
        values,
        summarise(results, metric, n_boot, seed),
        wilcoxon_table(values),
        *mean_ranks(values),
        paired_tests(results),
        above_composition(results, metric),
    )


def models_of(results: Results) -> list[str]:
    """Return the methods that are more than a regression on composition."""
    composition = [entry.label for entry in select_representations("composition")]
    return [name for name in results.methods if name not in composition]


def composition_auroc(report: dict, features: str) -> dict:
    """Return value and interval of a composition baseline in a ``split_report.json``; empty where it has none."""
    return ((report.get("composition") or {}).get("auroc") or {}).get(features) or {}


def above_composition(results: Results, metric: str = "auroc") -> pd.DataFrame:
    """Compare each model's score with those of composition alone on the same data set.

    Baselines are the regressions on composition that have a ``reference_line``: dinucleotides and 4-mers. Their scores
    are those of the table or, for AUROC where they were not run, the figures in ``split_report.json``.

    Parameters
    ----------
    results : Results
    metric : str

    Returns
    -------
    DataFrame
        Columns dataset, method, value, reference (label of the baseline), baseline (its score), exceeds (None without
        a score of the baseline).
    """
    values, models, rows = method_values(results, metric), models_of(results), []
    for entry in (entry for entry in reference_representations() if entry.kind == "composition"):
        reported = {name: composition_auroc(report, entry.name).get("value") for _, name, report in results.reports}
        for dataset, row in values.iterrows():
            baseline = row.get(entry.label, math.nan)
            if math.isnan(baseline) and metric == "auroc":
                value = reported.get(dataset, reported.get(dataset.rpartition(" [")[0]))
                baseline = math.nan if value is None else float(value)
            for method in models:
                if not math.isnan(row[method]):
                    exceeds = None if math.isnan(baseline) else bool(row[method] > baseline)
                    rows.append((dataset, method, row[method], entry.label, baseline, exceeds))
    return pd.DataFrame(rows, columns=["dataset", "method", "value", "reference", "baseline", "exceeds"])


def below_composition(composition: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `above_composition` whose score does not exceed that of the baseline."""
    return composition[composition["exceeds"].map(lambda value: value is False)]
