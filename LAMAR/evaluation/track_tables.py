"""Tables of a joint model beside its baselines: rows per track and method, means by quartile, tests, closing text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import expit

from ..statistics.calibration import Calibration
from ..statistics.delong import delong_interval
from ..statistics.rank_tests import wilcoxon_table
from ..statistics.reliability import counts_below, reliability
from ..statistics.track_metrics import UNKNOWN, track_table
from .track_choice import ChosenTracks

__all__ = [
    "BEST",
    "COLUMNS",
    "JOINT",
    "LEVELS",
    "calibration_tables",
    "closing_table",
    "gain_rows",
    "mean_rows",
    "method_rows",
    "p_value_rows",
    "pair_table",
    "win_rows",
]

JOINT, BEST = "joint", "best baseline"
METRICS = ("auroc", "auprc")
COLUMNS = (
    "track",
    "target",
    "cell",
    "quartile",
    "method",
    "n_train_bound",
    "n_bound",
    "n_unbound",
    "auroc",
    "auroc_low",
)
COLUMNS += ("auroc_high", "auprc", "auroc_sites")  # of tracks.csv
LEVELS = (0.05, 0.01, 0.001)  # of p-values
SCALES = ("sigmoid", "calibrated")  # before and after
QUARTILES = ("1", "2", "3", "4", "all")


# ---------------------------------------------------------------------------------------------------------- tracks


def method_rows(method: str, chosen: ChosenTracks, part: str, scores: np.ndarray) -> list[dict]:
    """Return the rows of one method in ``tracks.csv``, columns `COLUMNS`.

    Parameters
    ----------
    method : str
    chosen : ChosenTracks
    part : str
        Part that was scored.
    scores : numpy.ndarray of float, shape (n, k)
        Of the windows of the part, on any scale.

    Returns
    -------
    list of dict, length k
        ``auroc_low`` and ``auroc_high`` are DeLong's 95 % interval; ``auroc_sites`` is the AUROC without background
        windows, against sites of other RBPs alone.
    """
    windows = chosen.data.rows(part)
    labels = chosen.data.coded_labels(windows)
    is_background = chosen.data.windows["kind"].to_numpy()[windows] == "background"
    names = chosen.data.tracks[["track", "target", "cell"]].to_dict("records")
    rows = []
    for j, figures in enumerate(track_table(labels, scores, is_background)):
        known = labels[:, j] != UNKNOWN
        low, high = delong_interval(labels[known, j], scores[known, j])
        row = {**names[j], "quartile": int(chosen.quartile[j]), "method": method}
        row |= {"n_train_bound": int(chosen.n_train[j]), **figures, "auroc_low": low, "auroc_high": high}
        rows.append({name: row[name] for name in COLUMNS})
    return rows


def _wide(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a metric with tracks in rows and methods in columns, both in the order of the table."""
    methods, tracks = table["method"].unique(), table["track"].unique()
    return table.pivot(index="track", columns="method", values=metric).loc[tracks, methods]


def _by_quartile(table: pd.DataFrame, values: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each quartile that has tracks, and all of them."""
    quartile = table.drop_duplicates("track").set_index("track")["quartile"].astype(str)
    parts = {name: values[quartile.loc[values.index] == name] for name in QUARTILES[:-1]} | {"all": values}
    return {name: part for name, part in parts.items() if len(part)}


def mean_rows(table: pd.DataFrame) -> list[dict]:
    """Return mean figures over tracks by method and quartile: method, quartile, n_tracks, auroc, auprc, auroc_sites.

    Parameters
    ----------
    table : DataFrame
        All of ``tracks.csv``.
    """
    rows = []
    for method in table["method"].unique():
        of_method = table[table["method"] == method].set_index("track")
        for quartile, part in _by_quartile(table, of_method).items():
            means = {name: float(part[name].mean()) for name in (*METRICS, "auroc_sites")}
            rows.append({"method": method, "quartile": quartile, "n_tracks": len(part), **means})
    return rows


def gain_rows(table: pd.DataFrame) -> list[dict]:
    """Return mean differences joint minus baseline by quartile: baseline, quartile, n_tracks, auroc, auprc.

    `BEST` is the best baseline of each track on the very windows that are judged, which favours the baselines.
    """
    baselines = [name for name in table["method"].unique() if name != JOINT]
    rows = []
    for name in [*baselines, BEST] if len(baselines) > 1 else baselines:
        gains = {}
        for metric in METRICS:
            wide = _wide(table, metric)
            gains[metric] = wide[JOINT] - (wide[baselines].max(axis=1) if name == BEST else wide[name])
        for quartile, part in _by_quartile(table, pd.DataFrame(gains)).items():
            means = {metric: float(part[metric].mean()) for metric in METRICS}
            rows.append({"baseline": name, "quartile": quartile, "n_tracks": len(part), **means})
    return rows


def pair_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return Wilcoxon's test over tracks for each pair of methods and metric, Holm-adjusted within a metric.

    Columns are metric and those of `LAMAR.statistics.rank_tests.wilcoxon_table`.
    """
    tests = [wilcoxon_table(_wide(table, metric)).assign(metric=metric) for metric in METRICS]
    joined = pd.concat(tests, ignore_index=True)
    return joined[["metric", *(name for name in joined if name != "metric")]]


def win_rows(pairs: pd.DataFrame) -> list[dict]:
    """Return the pairs with the joint model of `pair_table`: metric, baseline, wins, n_tracks, p_holm."""
    with_joint = pairs[pairs["method_a"] == JOINT]
    return [
        {"metric": row.metric, "baseline": row.method_b, "wins": row.a_better, "n_tracks": row.n, "p_holm": row.p_holm}
        for row in with_joint.itertuples()
    ]


# ----------------------------------------------------------------------------------------------------- calibration


def calibration_tables(
    logits: np.ndarray, is_bound: np.ndarray, is_background: np.ndarray, calibration: Calibration, seed: int
) -> tuple[list[dict], dict]:
    """Return reliability and expected calibration error of the sigmoid of the logits and of calibrated probabilities.

    Parameters
    ----------
    logits : numpy.ndarray of float32, shape (n, k)
    is_bound, is_background : numpy.ndarray of bool, shape (n, k)
        Windows that count as sites and as background of each track; see `LAMAR.statistics.reliability`.
    calibration : Calibration
        Of these k tracks.
    seed : int
        Seed of the intervals.

    Returns
    -------
    rows : list of dict
        Of ``calibration.csv``: scale, and the columns of `LAMAR.statistics.reliability.Reliability.rows`.
    errors : dict of dict
        By scale: ``expected_error``, and ``relative_to_prior``, the same divided by the prior.
    """
    probabilities = dict(zip(SCALES, (expit(logits.astype(np.float64)), calibration.probabilities(logits))))
    rows, errors = [], {}
    for scale, values in probabilities.items():
        found = reliability(values, is_bound, is_background, calibration.prior)
        rows += [{"scale": scale, **row} for row in found.rows(seed=seed)]
        error = found.expected_error()
        errors[scale] = {"expected_error": error, "relative_to_prior": error / calibration.prior}
    return rows, errors


def p_value_rows(p_values: np.ndarray, is_background: np.ndarray, names: Sequence[str]) -> list[dict]:
    """Return the rows of ``p_values.csv``: the share of background windows with a p-value below each of `LEVELS`.

    Columns are track, n_background and ``below_0.05`` ...; the last row, ``all``, has the windows of all tracks pooled.
    """
    below, total = counts_below(p_values, is_background, LEVELS)
    below, total = np.vstack([below, below.sum(axis=0)]), np.append(total, total.sum())
    shares = np.divide(below, total[:, None], out=np.full(below.shape, np.nan), where=total[:, None] > 0)
    columns = [f"below_{level:g}" for level in LEVELS]
    return [
        {"track": name, "n_background": int(n), **dict(zip(columns, row.tolist()))}
        for name, n, row in zip([*names, "all"], total, shares)
    ]


# ---------------------------------------------------------------------------------------------------- closing text


def closing_table(summary: Mapping) -> str:
    """Return a run's ``summary.json`` as text: mean figures and gains by quartile, tests, calibration, p-values."""
    tracks = f"{summary['n_tracks']} track{'s' if summary['n_tracks'] != 1 else ''} on part {summary['part']}"
    windows = f"{summary['n_windows']:,} windows, of them {summary['n_background']:,} background"
    lines = [f"{tracks}: {windows}. Mean AUROC (average precision):"]
    means = {(row["method"], row["quartile"]): row for row in summary["means"]}
    gains = {(row["baseline"], row["quartile"]): row for row in summary["gains"]}
    methods = list(dict.fromkeys(method for method, _ in means))
    last = list(dict.fromkeys(name for name, _ in gains))[-1:]
    heads = ["quartile of size", "tracks", *methods, *(f"gain over {name}" for name in last)]
    rows = [heads]
    for quartile in (name for name in QUARTILES if (JOINT, name) in means):
        cells = [means[method, quartile] for method in methods]
        row = [quartile, str(cells[0]["n_tracks"]), *(f"{cell['auroc']:.3f} ({cell['auprc']:.3f})" for cell in cells)]
        rows.append(
            row + [f"{gains[name, quartile]['auroc']:+.3f} ({gains[name, quartile]['auprc']:+.3f})" for name in last]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows]
    for row in summary["wins"]:
        if row["metric"] == "auroc":
            test = f"in {row['wins']} of {row['n_tracks']} tracks (AUROC; Wilcoxon, Holm: p {row['p_holm']:.2g})"
            lines.append(f"joint above {row['baseline']} {test}")
    if summary["calibration"]:
        errors = [
            f"{scale} {error['expected_error']:.3g} ({error['relative_to_prior']:.3g} times the prior)"
            for scale, error in summary["calibration"].items()
        ]
        lines.append(
            f"expected calibration error at {summary['prior']:g} sites per background window: {', '.join(errors)}"
        )
        shares = [f"{share:.3g} below {level}" for level, share in summary["background_below"].items()]
        lines.append(f"share of background windows with a p-value: {', '.join(shares)}")
    return "\n".join(lines)
