"""Comparison of methods by rank over data sets or repeats: Wilcoxon's test of pairs, and mean ranks of all at once."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd

from .comparisons import holm

__all__ = ["mean_ranks", "signed_rank", "wilcoxon_table"]


def signed_rank(differences) -> tuple[float, float]:
    """Run Wilcoxon's signed-rank test, two-sided and exact, ties included.

    Zeros are left out; tied sizes share their mean rank, and the distribution is that of all 2^n signs of these ranks.
    SciPy approximates where more than a few tie.

    Parameters
    ----------
    differences : array-like of float, shape (n,)

    Returns
    -------
    statistic : float
        Sum of the ranks of positive differences.
    p_value : float
        1 where no difference is left; never below ``2 / 2^n``.

    References
    ----------
    Wilcoxon, Biometrics Bull 1:80 (1945).
    """
    from scipy.stats import rankdata

    # Equal differences of decimal figures differ in the last bits: 0.9 - 0.8 and 0.8 - 0.7.
    differences = np.round(np.asarray(differences, dtype=np.float64), 12)
    differences = differences[differences != 0]
    if not len(differences):
        return 0.0, 1.0
    doubled = np.rint(2 * rankdata(np.abs(differences))).astype(np.int64)  # mean ranks are halves
    share = np.zeros(doubled.sum() + 1)
    share[0] = 1.0
    for rank in doubled:
        share /= 2
        share[rank:] += share[:-rank].copy()
    positive = int(doubled[differences > 0].sum())
    p_value = 2 * min(share[: positive + 1].sum(), share[positive:].sum())
    return positive / 2, min(1.0, float(p_value))


def wilcoxon_table(values: pd.DataFrame) -> pd.DataFrame:
    """Return `signed_rank` of every pair of columns, Holm-adjusted over all pairs.

    Parameters
    ----------
    values : DataFrame
        One column per method, one row per data set or repeat; a pair is compared on the rows that have both.

    Returns
    -------
    DataFrame
        Columns method_a, method_b, n (rows), median_difference (a - b), a_better, b_better, statistic, p_value,
        smallest_p (the smallest p-value that n allows), and p_holm.
    """
    rows = []
    for a, b in itertools.combinations(values.columns, 2):
        d = (values[a] - values[b]).dropna().round(12)
        statistic, p_value = signed_rank(d)
        better = {"a_better": int((d > 0).sum()), "b_better": int((d < 0).sum())}
        row = {"method_a": a, "method_b": b, "n": len(d), "median_difference": d.median(), **better}
        tested = {"p_value": p_value, "smallest_p": min(1.0, 2.0 ** (1 - len(d)))}
        rows.append(row | {"statistic": statistic} | (tested if len(d) else dict.fromkeys(tested, math.nan)))
    columns = "method_a method_b n median_difference a_better b_better statistic p_value smallest_p".split()
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = holm(table["p_value"].to_numpy(dtype=np.float64))
    return table


def mean_ranks(values: pd.DataFrame) -> tuple[pd.DataFrame, dict]:
    """Return the mean rank of each method over data sets, with Friedman's test and Nemenyi's critical difference.

    Rank 1 is the best. Only a complete block can be ranked: the row or column with the largest share of missing values
    is left out until none is missing (columns first).

    Parameters
    ----------
    values : DataFrame
        One column per method, one row per data set; larger is better.

    Returns
    -------
    table : DataFrame
        method, mean_rank, mean (of the metric), sorted by rank.
    facts : dict
        n (data sets), left_out (methods), friedman_p and critical_difference (mean ranks further apart than this
        differ at 0.05); the last two are NaN below two data sets or three methods.

    References
    ----------
    Demšar, J Mach Learn Res 7:1 (2006).
    """
    from scipy.stats import friedmanchisquare, studentized_range

    block = values.dropna(how="all").dropna(how="all", axis=1)
    while block.isna().any(axis=None):
        by_method, by_set = block.isna().mean(), block.isna().mean(axis=1)
        by_columns = by_method.max() >= by_set.max()
        block = block.drop(columns=by_method.idxmax()) if by_columns else block.drop(index=by_set.idxmax())
    n, k = block.shape
    ranks = block.round(12).rank(axis=1, ascending=False)
    table = pd.DataFrame({"mean_rank": ranks.mean(), "mean": block.mean()}).rename_axis("method").reset_index()
    left_out = [name for name in values if name not in block]
    facts = {"n": n, "left_out": left_out, "friedman_p": math.nan, "critical_difference": math.nan}
    if n >= 2 and k >= 3:
        if (ranks.nunique(axis=1) > 1).any():  # all tied: the statistic is 0 / 0
            facts["friedman_p"] = float(friedmanchisquare(*ranks.to_numpy().T).pvalue)
        q = studentized_range.ppf(0.95, k, math.inf) / math.sqrt(2)
        facts["critical_difference"] = float(q * math.sqrt(k * (k + 1) / (6 * n)))
    return table.sort_values("mean_rank", kind="stable", ignore_index=True), facts
