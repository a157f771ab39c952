"""Figures of evaluation results.

Each function returns a Figure made without pyplot, which `LAMAR.runs.figures.save_figure` writes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..runs.figures import MARKERS, OTHERS, new_figure, short_text
from ..statistics.metrics import METRICS
from .registries import REPRESENTATIONS, VARIANTS, Representation, reference_representations, variant_label
from .results import Results, method_values

__all__ = [
    "FEWEST_FOR_BOX",
    "PANELS_PER_PAGE",
    "error_bars",
    "plot_bars",
    "plot_boxes",
    "plot_layers",
    "plot_scatter",
    "series_colours",
]

PANELS_PER_PAGE = 20
FEWEST_FOR_BOX = 3  # data sets; fewer are drawn as points alone
NAMED = 8  # data sets that the scatter has room to name


def series_colours(names: Sequence[str], fixed: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a colour for each name: variants have that of the registry, unknown names those left over, in order.

    Parameters
    ----------
    names : sequence of str
        Names of variants, or of other series.
    fixed : mapping of str, optional
        Colours of other series by name.
    """
    known = {name: variant.colour for name, variant in VARIANTS.items()} | dict(fixed or {})
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    return {name: known.get(name) or OTHERS[unknown.index(name) % len(OTHERS)] for name in names}


def _unnamed_colour() -> str:
    """Return the colour of encoders that a table gives no variant."""
    return next(iter(VARIANTS.values())).colour


def _figure(width: float, height: float, rows: int = 1, columns: int = 1, **kwargs):
    figure, axes = new_figure(width, height, rows, columns, grid=0.3, **kwargs)
    for axis in axes.flat:
        axis.set_axisbelow(True)
    return figure, axes


def _styles(results: Results) -> dict[str, dict]:
    """Return colour, hatch and marker of each method."""
    chosen = results.table[results.table["chosen"]].drop_duplicates("method").set_index("method")
    colours = series_colours([name for name in dict.fromkeys(results.table["variant"]) if name])
    is_cnn = chosen["representation"].map(lambda name: REPRESENTATIONS[name].kind == "embedding")
    layers = sorted({int(layer) for layer in chosen.loc[is_cnn, "layer"] if layer})
    styles = {}
    for method in results.methods:
        row = chosen.loc[method]
        entry = REPRESENTATIONS[row["representation"]]
        colour = entry.colour or colours.get(row["variant"], _unnamed_colour())
        marker = layers.index(int(row["layer"])) if is_cnn[method] and row["layer"] else 0
        styles[method] = {"colour": colour, "hatch": entry.hatch, "marker": MARKERS[marker % len(MARKERS)]}
    return styles


def _limits(values, metric: str) -> tuple[float, float]:
    """Return axis limits with some room around all finite values."""
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    pad = 0.02 + 0.04 * (high - low)
    return float(low - pad), float(high + pad)


# -------------------------------------------------------------------------------------------------- box plots


def plot_boxes(results: Results, metric: str = "auroc"):
    """Draw a box of each method over data sets (mean over repeats), every data set a point.

    Boxes show median and quartiles, whiskers reach to 1.5 times the interquartile range.

    Parameters
    ----------
    results : Results
    metric : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    values, styles = method_values(results, metric), _styles(results)
    n = len(values.columns)
    figure, axes = _figure(7.6, 1.1 + 0.3 * n)
    axis, rng = axes[0, 0], np.random.default_rng(0)
    for i, method in enumerate(values.columns):
        points = values[method].dropna().to_numpy()
        style = styles[method]
        if len(points) >= FEWEST_FOR_BOX:
            box = axis.boxplot(
                points,
                positions=[i],
                orientation="horizontal",
                widths=0.62,
                showfliers=False,
                patch_artist=True,
                manage_ticks=False,
                medianprops={"color": "black", "linewidth": 1.4},
            )
            for patch in box["boxes"]:
                patch.set(facecolor=style["colour"], alpha=0.35, hatch=style["hatch"], edgecolor="black", linewidth=0.8)
        spread = rng.uniform(-0.16, 0.16, len(points)) if len(points) > 1 else np.zeros(len(points))
        face = {"facecolor": style["colour"], "edgecolor": "black", "linewidth": 0.4}
        axis.scatter(points, i + spread, s=16, zorder=3, **face)
    _methods_axis(axis, values.columns, [f"  (n = {k})" for k in values.notna().sum()])
    axis.set_xlim(_limits(values, metric))
    _chance_line(axis, metric)
    axis.set_xlabel(f"{METRICS[metric].label} on test, mean over repeats; one point per data set")
    return figure


def _methods_axis(axis, methods: Sequence[str], suffixes: Sequence[str] | None = None, size: float = 9) -> None:
    suffixes = suffixes or [""] * len(methods)
    axis.set_yticks(
        range(len(methods)), [short_text(name) + end for name, end in zip(methods, suffixes)], fontsize=size
    )
    axis.set_ylim(len(methods) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)


def _chance_line(axis, metric: str) -> None:
    low, high = axis.get_xlim()
    chance = METRICS[metric].chance
    if chance is not None and low < chance < high:
        axis.axvline(chance, color="black", linewidth=0.8, linestyle=":")


# ------------------------------------------------------------------------------------------------------- bars


def error_bars(summary: pd.DataFrame) -> str:
    """Return "bootstrap" where every row of `LAMAR.evaluation.results.summarise` has an interval, else "sd"."""
    return "sd" if summary[["pooled", "low", "high"]].isna().any(axis=None) else "bootstrap"


def plot_bars(results: Results, summary: pd.DataFrame, metric: str = "auroc") -> list:
    """Draw bars of every method, one panel per data set, on as many pages as needed.

    Where the summary has intervals, a bar is the metric of the mean probability over repeats with its 95 % bootstrap
    interval, else the mean over repeats ± standard deviation.

    Parameters
    ----------
    results : Results
    summary : DataFrame
        As `LAMAR.evaluation.results.summarise` returns it.
    metric : str

    Returns
    -------
    list of matplotlib.figure.Figure
        Pages of at most `PANELS_PER_PAGE` panels.
    """
    kind = error_bars(summary)
    centre = summary["pooled"] if kind == "bootstrap" else summary[metric]
    low = summary["low"] if kind == "bootstrap" else centre - summary["sd"].fillna(0)
    high = summary["high"] if kind == "bootstrap" else centre + summary["sd"].fillna(0)
    bars = pd.DataFrame({"centre": centre, "low": low, "high": high}).set_axis(
        pd.MultiIndex.from_frame(summary[["dataset", "method"]])
    )
    sets = results.datasets
    # Equal pages: 21 panels are 11 and 10, not 20 and 1.
    n_pages = math.ceil(len(sets) / PANELS_PER_PAGE)
    pages = [list(page) for page in np.array_split(np.array(sets, dtype=object), n_pages)]
    start = METRICS[metric].chance or 0.0
    limits = min(_limits(bars, metric)[0], start) if (bars["low"] < start).any() else start, _limits(bars, metric)[1]
    return [_bar_page(results, page, bars, metric, start, limits, kind) for page in pages]


def _bar_page(results: Results, sets: Sequence[str], bars: pd.DataFrame, metric: str, start: float, limits, kind: str):
    methods, styles = results.methods, _styles(results)
    rows = math.ceil(len(sets) / 4)
    columns = math.ceil(len(sets) / rows)
    width = 7.6 if columns == 1 else 2.0 + 2.1 * columns
    height = 0.5 + rows * (0.45 + 0.17 * max(len(methods), 3))
    figure, axes = _figure(width, height, rows, columns, sharex=True, sharey=True)
    for axis in axes.flat[len(sets) :]:
        axis.set_visible(False)
    for i, (axis, name) in enumerate(zip(axes.flat, sets)):
        axis.set_title(short_text(name, 60 if columns == 1 else 24), fontsize=9, pad=3)
        for y, method in enumerate(methods):
            if (name, method) not in bars.index or math.isnan(bars.loc[(name, method), "centre"]):
                axis.text(start + 0.01, y, "not run", fontsize=6.5, color="#555555", va="center")
                continue
            centre, low, high = bars.loc[(name, method)]
            style = styles[method]
            face = {"color": style["colour"], "edgecolor": "white" if style["hatch"] else "none"}
            axis.barh(y, centre - start, 0.74, left=start, hatch=style["hatch"], linewidth=0, **face)
            if high > low:
                axis.plot([low, high], [y, y], color="white", linewidth=2.6, solid_capstyle="butt")
                axis.plot([low, high], [y, y], color="black", linewidth=1.1, solid_capstyle="butt")
        _methods_axis(axis, methods, size=7.5)
        axis.set_xlim(limits)
        _chance_line(axis, metric)
        axis.tick_params(labelsize=7.5, labelbottom=i + columns >= len(sets))
    what = "mean prediction, 95 % bootstrap interval" if kind == "bootstrap" else "mean ± sd over repeats"
    figure.supxlabel(f"{METRICS[metric].label} on test, from {start:g} ({what})", fontsize=9)
    return figure


# ---------------------------------------------------------------------------------------------------- scatter


def plot_scatter(results: Results, metric: str = "auroc"):
    """Draw LAMAR methods against the one-hot CNN, a panel for CNNs and one for probes.

    Parameters
    ----------
    results : Results
    metric : str

    Returns
    -------
    matplotlib.figure.Figure or None
        None without a data set that both have.
    """
    values, styles = method_values(results, metric), _styles(results)
    one_hot, label = REPRESENTATIONS["one_hot"].label, METRICS[metric].label
    if one_hot not in values:
        return None
    x = values[one_hot]
    kinds = {"CNN on embeddings": results.methods_of("embedding"), "linear probe": results.methods_of("probe")}
    kinds = {kind: [m for m in methods if (values[m] - x).notna().any()] for kind, methods in kinds.items()}
    kinds = {kind: methods for kind, methods in kinds.items() if methods}
    if not kinds:
        return None
    y = pd.concat([values[m][(values[m] - x).notna()] for methods in kinds.values() for m in methods])
    x_drawn = x[y.index.unique()]
    limits = _limits(np.concatenate([y, x_drawn]), metric)
    legend = 0.22 * max(map(len, kinds.values()))
    names = 1.6 if len(values) <= NAMED else 0
    figure, axes = _figure(0.4 + 4.4 * len(kinds), 5.1 + legend + names, 1, len(kinds), sharex=True, sharey=True)
    for axis, (kind, methods) in zip(axes[0], kinds.items()):
        axis.plot(limits, limits, color="black", linewidth=0.8, linestyle="--", zorder=1)
        for method in methods:
            _scatter_method(axis, method, x, values[method], styles[method])
        axis.set(xlim=limits, ylim=limits, aspect="equal")
        axis.set(xlabel=f"{one_hot}, {label}", ylabel=f"{kind}, {label}")
        # Below the panel: inside, it would hide points somewhere.
        axis.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), borderaxespad=0)
        if len(values) <= NAMED:
            _name_positions(axis, x_drawn, limits)
        axis.tick_params(labelleft=True)
    return figure


def _scatter_method(axis, method: str, x: pd.Series, y: pd.Series, style: dict) -> None:
    both = (y - x).notna()
    above = int((y > x)[both].sum())
    label = f"{short_text(method)}: above in {above} of {both.sum()}"
    look = {"color": style["colour"], "marker": style["marker"], "alpha": 0.8, "edgecolor": "white", "linewidth": 0.5}
    axis.scatter(x[both], y[both], s=26, label=label, **look)


def _name_positions(axis, x: pd.Series, limits: tuple[float, float]) -> None:
    """Write the names of data sets above the panel, upright and without overlap, each with a line to its value."""
    x = x.sort_values()
    span = limits[1] - limits[0]
    gap, places = 0.05 * span, x.to_numpy(copy=True)
    for _ in range(200):
        for i in range(1, len(places)):
            if (overlap := gap - (places[i] - places[i - 1])) > 0:
                places[i - 1] -= overlap / 2
                places[i] += overlap / 2
        places += max(0.0, limits[0] + gap / 2 - places.min()) - max(0.0, places.max() - limits[1] + gap / 2)
    top = limits[1] + 0.03 * span
    for name, value, place in zip(x.index, x, places):
        axis.plot([value, value], limits, color="#999999", linewidth=0.6, linestyle=":", zorder=0)
        axis.plot([value, place], [limits[1], top], color="#999999", linewidth=0.6, clip_on=False)
        axis.text(place, top + 0.01 * span, short_text(name, 22), fontsize=7.5, rotation=90, ha="center", va="bottom")


# ----------------------------------------------------------------------------------------------- layer curves


def plot_layers(results: Results, metric: str = "auroc"):
    """Draw a metric over layers by variant: probes as curves, CNNs as markers, references as horizontal lines.

    Points are means over the data sets that have every layer of that curve, bands their quartiles.

    Parameters
    ----------
    results : Results
    metric : str

    Returns
    -------
    matplotlib.figure.Figure or None
        None where no row has a layer.
    """
    table = results.table[results.table["layer"] != ""]
    has_encoder = [name for name, entry in REPRESENTATIONS.items() if entry.kind in ("probe", "embedding")]
    groups = table[table["representation"].isin(has_encoder)].groupby(
        ["representation", "variant", "pooling"], sort=False
    )
    if not len(groups):
        return None
    styles = _styles(results)
    colours = {row.variant: styles[row.method]["colour"] for row in table.itertuples() if row.method in styles}
    figure, axes = _figure(8.6, 4.4)
    axis, drawn = axes[0, 0], []
    for (representation, variant, pooling), rows in groups:
        colour = colours.get(variant, _unnamed_colour())
        drawn += _draw_curve(axis, REPRESENTATIONS[representation], variant, pooling, rows, metric, colour)
    if not drawn:
        return None
    drawn += _draw_references(axis, method_values(results, metric))
    axis.set_ylim(_limits(np.concatenate(drawn), metric))
    axis.set(xlabel="layer (block, from 0)", ylabel=f"{METRICS[metric].label}, mean over data sets")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), borderaxespad=0)
    return figure


def _draw_curve(
    axis, representation: Representation, variant: str, pooling: str, rows: pd.DataFrame, metric: str, colour: str
) -> list:
    """Draw one representation of one variant over its layers; return the values drawn."""
    curves = rows.assign(layer=rows["layer"].astype(int)).groupby(["dataset", "layer"])[metric].mean()
    curves = curves.unstack("layer").dropna()
    if curves.empty:
        return []
    is_probe = representation.kind == "probe"
    usual = ("", "mean") if is_probe else ("", "none")
    name = representation.label + ("" if pooling in usual else f" ({pooling})")
    style = {"linestyle": "-", "marker": "o", "markersize": 4} if is_probe else {"linestyle": "--", "marker": "D"}
    label = f"{short_text(variant_label(variant))} {name} (n = {len(curves)})"
    axis.plot(curves.columns, curves.mean(), color=colour, label=label, **style)
    if not is_probe or len(curves) <= 2:
        return [curves.mean()]
    low, high = curves.quantile(0.25), curves.quantile(0.75)
    axis.fill_between(curves.columns, low, high, color=colour, alpha=0.13, linewidth=0)
    return [low, high, curves.mean()]


def _draw_references(axis, values: pd.DataFrame) -> list:
    """Draw the mean of each reference over data sets as a horizontal line; return the values drawn."""
    drawn = []
    for entry in reference_representations():
        if entry.label in values and values[entry.label].notna().any():
            mean = values[entry.label].mean()
            label = f"{entry.label} (n = {values[entry.label].notna().sum()})"
            axis.axhline(mean, color=entry.colour, linestyle=entry.reference_line, linewidth=1.3, label=label)
            drawn.append([mean])
    return drawn
