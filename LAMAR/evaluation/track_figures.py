"""Figures of a joint model: each track against its best baseline, and reliability of its probabilities.

Each function returns a Figure made without pyplot, which `LAMAR.runs.figures.save_figure` writes.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..runs.figures import MARKERS, new_figure
from .registries import REPRESENTATIONS
from .track_tables import JOINT, SCALES

__all__ = ["plot_joint_vs_baseline", "plot_reliability"]

# Okabe & Ito, from the tracks with the fewest sites on.
QUARTILE_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7")
SCALE_STYLES = {
    "sigmoid": {"color": "#D55E00", "marker": "s", "label": "sigmoid of the logit"},
    "calibrated": {"color": "#0072B2", "marker": "o", "label": "calibrated"},
}


def plot_joint_vs_baseline(table: pd.DataFrame, part: str, notice: str = ""):
    """Draw the AUROC of the joint model against that of the best baseline, a point per track, with DeLong's intervals.

    Parameters
    ----------
    table : DataFrame
        All of ``tracks.csv``, with a baseline at least.
    part : str
        Part that was judged.
    notice : str
        Remark in the title.

    Returns
    -------
    matplotlib.figure.Figure
    """
    joint = table[table["method"] == JOINT].set_index("track")
    others = table[table["method"] != JOINT]
    best = others.loc[others.groupby("track")["auroc"].idxmax()].set_index("track").loc[joint.index]
    values = np.concatenate([joint["auroc"], best["auroc"]])
    low, high = max(0.0, float(values.min()) - 0.03), min(1.0, float(values.max()) + 0.03)
    figure, axis = _axis_with_diagonal(5.6, 6.1, (low, high))
    bars = {"linewidth": 0.7, "alpha": 0.35, "zorder": 2}
    for number in range(1, 5):
        chosen = (joint["quartile"] == number).to_numpy()
        if not chosen.any():
            continue
        x, y = best[chosen], joint[chosen]
        colour = QUARTILE_COLOURS[number - 1]
        axis.hlines(y["auroc"], x["auroc_low"], x["auroc_high"], color=colour, **bars)
        axis.vlines(x["auroc"], y["auroc_low"], y["auroc_high"], color=colour, **bars)
        above = int((y["auroc"] > x["auroc"]).sum())
        sizes = " to ".join(f"{size:,}" for size in dict.fromkeys((y["n_train_bound"].min(), y["n_train_bound"].max())))
        label = f"quartile {number}, {sizes} train sites: above in {above} of {len(y)}"
        face = {"color": colour, "marker": MARKERS[number - 1], "edgecolor": "black", "linewidth": 0.4}
        axis.scatter(x["auroc"], y["auroc"], s=34, label=label, zorder=3, **face)
    names = [REPRESENTATIONS[name].label for name in others["method"].unique()]
    axis.set_xlabel(f"{'best of ' if len(names) > 1 else ''}{', '.join(names)} regression, AUROC on {part}")
    axis.set_ylabel(f"joint model, AUROC on {part}")
    axis.set_title(f"{len(joint)} tracks; lines: 95 % intervals{_remark(notice)}", fontsize=10)
    axis.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.12), borderaxespad=0)
    return figure


def plot_reliability(rows: pd.DataFrame, prior: float, part: str, notice: str = ""):
    """Draw the share of sites among windows against their mean probability, on logarithmic axes, before and after.

    Bins without any site have no place on a logarithmic axis and are left out.

    Parameters
    ----------
    rows : DataFrame
        All of ``calibration.csv``.
    prior : float
        Sites per background window.
    part : str
        Part that was judged.
    notice : str
        Remark in the title.

    Returns
    -------
    matplotlib.figure.Figure
    """
    drawn = rows[rows["n_bound"] > 0]
    low = min(drawn["mean_probability"].min(), drawn["site_share"].min(), prior) / 2 if len(drawn) else prior / 2
    limits = 10 ** np.floor(np.log10(low)), 1.4
    figure, axis = _axis_with_diagonal(5.6, 5.9, limits)
    for scale in SCALES:
        part_rows = drawn[drawn["scale"] == scale]
        style = SCALE_STYLES[scale]
        shown = part_rows[part_rows["high"] > 0]  # neither 0 nor missing
        bottoms = shown["low"].clip(lower=limits[0])
        axis.vlines(shown["mean_probability"], bottoms, shown["high"], color=style["color"], linewidth=1.2)
        axis.plot(part_rows["mean_probability"], part_rows["site_share"], markersize=5, linewidth=1.2, **style)
    axis.axhline(prior, color="#555555", linewidth=0.8, linestyle=":", zorder=1)
    axis.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    # Beside the axis, where no curve runs.
    axis.text(1.6, prior, "prior", fontsize=9, color="#555555", va="center", clip_on=False)
    axis.set_xlabel(f"mean probability of a bin, on {part}")
    axis.set_ylabel(f"share of sites, {prior:g} per background window")
    axis.set_title(f"lines: 95 % intervals over tracks{_remark(notice)}", fontsize=10)
    axis.legend(frameon=False, fontsize=9, loc="upper left")
    return figure


def _axis_with_diagonal(width: float, height: float, limits: tuple[float, float]):
    """Return a figure, in inches, and its axis: square, both ways from one limit to the other, with the diagonal."""
    figure, axes = new_figure(width, height, grid=0.3)
    axis = axes[0, 0]
    axis.set_axisbelow(True)
    axis.plot(limits, limits, color="black", linewidth=0.8, linestyle="--", zorder=1)
    axis.set(xlim=limits, ylim=limits, aspect="equal")
    return figure, axis


def _remark(notice: str) -> str:
    return f"\n{notice.partition(':')[0]}" if notice else ""
