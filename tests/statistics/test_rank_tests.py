"""Wilcoxon's signed-rank test, its table of pairs, and mean ranks, by hand and against scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from LAMAR.statistics import rank_tests


def test_signed_rank_by_hand():
    # Five positive differences: of 32 signs one is as extreme on each side.
    assert rank_tests.signed_rank([1, 2, 3, 4, 5]) == (15.0, 2 / 32)
    # The smallest of six negative: W+ = 20; sums of negative ranks of 0 and 1 on each side: 4 of 64.
    assert rank_tests.signed_rank([-0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == (20.0, 4 / 64)
    # Zeros are left out; one positive of rank 1 among three.
    assert rank_tests.signed_rank([0, 0.1, -0.2, -0.3]) == (1.0, 4 / 8)
    # Ties: ranks 1.5, 1.5, 3; W+ of the eight signs: 0, 1.5 (twice), 3 (twice), 4.5 (twice), 6.
    assert rank_tests.signed_rank([0.9 - 0.8, 0.7 - 0.8, 0.5]) == (4.5, 6 / 8)
    assert rank_tests.signed_rank([0.0, 0.0]) == (0.0, 1.0)


@pytest.mark.parametrize("n", [3, 8, 25, 40])
def test_signed_rank_as_scipy_without_ties(n):
    d = np.random.default_rng(n).normal(0.3, 1, n)
    expected = stats.wilcoxon(d, method="exact", alternative="two-sided").pvalue
    assert rank_tests.signed_rank(d)[1] == pytest.approx(expected, rel=1e-9)


def test_wilcoxon_table_by_hand():
    base = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    steps = np.array([0.01, 0.02, 0.03, 0.04, 0.05])
    values = pd.DataFrame({"a": base + steps, "b": base, "c": [np.nan, 0.7, 0.8, 0.7, np.nan]})
    table = rank_tests.wilcoxon_table(values).set_index(["method_a", "method_b"])
    assert table.loc[("a", "b"), ["n", "a_better", "b_better"]].tolist() == [5, 5, 0]
    assert table.loc[("a", "b"), "median_difference"] == pytest.approx(0.03)
    assert table["n"].tolist() == [5, 3, 3]
    # a - c: -0.08, -0.07, 0.14: W+ is 3, and 3 or less in five of the eight signs. b - c: three ranks of 2, W+ is 2.
    assert table["p_value"].tolist() == pytest.approx([2 / 32, 1.0, 1.0])
    assert table["p_holm"].tolist() == pytest.approx([6 / 32, 1.0, 1.0])
    assert table["smallest_p"].tolist() == [2 / 32, 2 / 8, 2 / 8]


def test_wilcoxon_holm_of_six_sets():
    d = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    values = pd.DataFrame({"a": 0.5 + d, "b": 0.5 + 0 * d, "c": 0.5 - 2 * d})
    table = rank_tests.wilcoxon_table(values)
    assert table["p_value"].tolist() == [2 / 64] * 3
    assert table["p_holm"].tolist() == [6 / 64] * 3


def test_mean_ranks_by_hand():
    values = pd.DataFrame(
        {"a": [0.9, 0.8, 0.7], "b": [0.8, 0.8, 0.6], "c": [0.7, 0.6, 0.9], "few": [0.99, np.nan, np.nan]},
        index=["x", "y", "z"],
    )
    table, facts = rank_tests.mean_ranks(values)
    assert dict(zip(table["method"], table["mean_rank"])) == pytest.approx({"a": 4.5 / 3, "b": 6.5 / 3, "c": 7 / 3})
    assert facts["n"] == 3
    assert facts["left_out"] == ["few"]
    # Demšar's table: q is 2.343 for three methods at 0.05.
    assert facts["critical_difference"] == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 3)), rel=1e-3)
    expected = stats.friedmanchisquare(*values[["a", "b", "c"]].to_numpy().T).pvalue
    assert facts["friedman_p"] == pytest.approx(expected)


def test_mean_ranks_drops_the_data_set_that_lacks_most():
    values = pd.DataFrame(np.random.default_rng(0).uniform(size=(10, 4)), columns=list("abcd"))
    values.loc[3, ["a", "b", "c"]] = np.nan
    table, facts = rank_tests.mean_ranks(values)
    assert (len(table), facts["n"], facts["left_out"]) == (4, 9, [])
