"""Relation of geometry to performance: rank correlation of each figure with the AUROC of linear probes.

Points are configurations, one layer of one variant each, on every data set. Because data sets differ in difficulty,
figures and AUROCs are ranked within each set and the correlations averaged over sets. The permutation test exchanges
whole configurations, in the same way in all sets: a layer that is good on one RBP is good on most, so that sets are not
independent evidence. Layers of one encoder resemble their neighbours, which the test ignores: p-values are too small
rather than too large, and few configurations are weak evidence.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError
from ..statistics.comparisons import holm
from ..statistics.isotropy import FIGURES
from .results import read_results

__all__ = ["ALL_VARIANTS", "EVERY_SET", "FEW", "probe_aurocs", "rank_correlations"]

logger = logging.getLogger(__name__)

ALL_VARIANTS, EVERY_SET = "all variants", "mean over sets"
FEW = 10  # configurations below which a run warns
_LARGEST_EXACT = 7  # 5,040 permutations


def probe_aurocs(folder: Path, digests: Mapping[str, str]) -> pd.DataFrame:
    """Return the test AUROC of the linear probes of an evaluation run.

    Parameters
    ----------
    folder : path
        Run of `LAMAR.evaluation.run.evaluate_sets`, read by `LAMAR.evaluation.results.read_results`.
    digests : mapping of str
        Digest of each variant's encoder; the run's variant of that name must have the same.

    Returns
    -------
    DataFrame
        Columns dataset, variant, layer (int), auroc.

    Raises
    ------
    InputError
        If there are no linear probes of these variants, or those of another encoder.
    """
    results = read_results([folder], "with_probe")
    table = results.table[results.table["representation"] == "linear_probe"]
    table = table[table["variant"].isin(list(digests))]
    if table.empty:
        raise InputError(f"`with_probe`: {folder}: found no linear probes of {', '.join(digests)}")
    weights = results.runs[0][1].get("weights") or {}
    for variant in table["variant"].unique():
        digest = (weights.get(variant) or {}).get("digest")
        if digest != digests[variant]:
            raise InputError(
                f"`with_probe`: {folder}: its {variant} has other weights than {variant} here "
                f"({str(digest)[:12]} and {digests[variant][:12]}); wanted the same weights, `config` and `seed`"
            )
    table = table.assign(layer=table["layer"].astype(int))
    return table.groupby(["dataset", "variant", "layer"], as_index=False)["auroc"].mean()


def rank_correlations(
    figures: pd.DataFrame, aurocs: pd.DataFrame, *, n_permutations: int = 9999, seed: int = 42
) -> pd.DataFrame:
    """Return Spearman's rank correlation of every figure with AUROC over configurations.

    Parameters
    ----------
    figures : DataFrame
        Columns dataset, variant, layer, figure, value.
    aurocs : DataFrame
        As `probe_aurocs` returns it.
    n_permutations : int
        Number of permutations drawn for the test; with up to seven configurations all permutations are tested.
    seed : int
        Seed of the permutations.

    Returns
    -------
    DataFrame
        Columns variant (one, or all), dataset (one, or the mean over sets), figure, n_configurations, n_sets, spearman,
        p_value (two-sided, by permutation), smallest_p (that n allows), p_holm (over the figures of one variant and
        data set). A data set on which the figure or AUROC is undefined, or the same in all configurations, has no
        correlation and does not enter the mean; NaN where no set remains, and below three configurations.

    Raises
    ------
    InputError
        If no configuration is in both tables for all data sets that they share.
    """
    keys = ["variant", "layer"]
    both = figures.merge(aurocs, on=["dataset", *keys])
    if both.empty:
        raise InputError("`with_probe`: found no data set, variant and layer that the evaluation has too")
    sets = sorted(both["dataset"].unique())
    pivot = both.pivot_table(index=keys, columns=["figure", "dataset"], values="value", dropna=False)
    scores = both.drop_duplicates([*keys, "dataset"]).pivot(index=keys, columns="dataset", values="auroc")
    complete = scores.dropna().index
    if not len(complete):
        raise InputError("`with_probe`: found no variant and layer that has a probe on every data set")
    if len(complete) < len(scores):
        logger.warning("`with_probe`: %d configurations lack a data set, left out", len(scores) - len(complete))
    rows = []
    variants = [ALL_VARIANTS, *dict.fromkeys(complete.get_level_values("variant"))]
    for variant in variants if len(variants) > 2 else variants[1:]:
        chosen = complete if variant == ALL_VARIANTS else complete[complete.get_level_values("variant") == variant]
        chosen_scores = scores.loc[chosen]
        orders = _permutations(len(chosen), n_permutations, seed)
        for dataset in [EVERY_SET, *sets] if len(sets) > 1 else sets:
            among = sets if dataset == EVERY_SET else [dataset]
            block = []
            for figure in (figure for figure in FIGURES if figure in pivot):
                x, y = (table[among].to_numpy() for table in (pivot.loc[chosen, figure], chosen_scores))
                value, p_value, n_sets = _tested(x, y, orders)
                row = {"variant": variant, "dataset": dataset, "figure": figure, "n_configurations": len(chosen)}
                smallest = 2 / len(orders) if len(chosen) <= _LARGEST_EXACT else 1 / (len(orders) + 1)
                row |= {"n_sets": n_sets, "spearman": value, "p_value": p_value}
                block.append(row | {"smallest_p": min(1.0, smallest)})
            for row, adjusted in zip(block, holm([row["p_value"] for row in block])):
                row["p_holm"] = float(adjusted)
            rows += block
    return pd.DataFrame(rows)


def _permutations(n: int, n_permutations: int, seed: int) -> np.ndarray:
    if n <= _LARGEST_EXACT:
        return np.array(list(itertools.permutations(range(n))), dtype=np.int64)
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(n) for _ in range(n_permutations)])


def _standard_ranks(values: np.ndarray) -> np.ndarray:
    """Return midranks of each column, centred and of length 1; NaN for a column that is constant or holds a NaN."""
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=0)  # a NaN makes its whole column NaN
    ranks -= ranks.mean(axis=0)
    length = np.sqrt((ranks**2).sum(axis=0))
    return np.divide(ranks, length, out=np.full_like(ranks, math.nan), where=length > 0)


def _tested(x: np.ndarray, y: np.ndarray, orders: np.ndarray) -> tuple[float, float, int]:
    """Return the mean over columns of Spearman's correlation of x and y (n, sets), its p-value, and their number.

    The p-value is over the orders of y's rows. Columns in which x or y is undefined or constant do not enter.
    """
    if len(x) < 3:
        return math.nan, math.nan, 0
    x, y = _standard_ranks(x), _standard_ranks(y)
    defined = ~(np.isnan(x).any(axis=0) | np.isnan(y).any(axis=0))
    if not defined.any():
        return math.nan, math.nan, 0
    x, y = x[:, defined], y[:, defined]
    value = float((x * y).sum(axis=0).mean())
    # Entry (i, j): contribution of row i of x paired with row j of y to the mean correlation.
    products = x @ y.T / x.shape[1]
    drawn = products[np.arange(len(x)), orders].sum(axis=1)
    extreme = int((np.abs(drawn) >= abs(value) - 1e-12).sum())
    exact = len(x) <= _LARGEST_EXACT
    return value, extreme / len(orders) if exact else (extreme + 1) / (len(orders) + 1), int(defined.sum())
