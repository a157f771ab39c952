"""Figures of evaluation results. Each function returns a Figure made without pyplot; `LAMAR.runs.figures.save_figure` writes it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..runs.figures import COLOURS, MARKERS, OTHERS, new_figure, short_text
from .tables import Results, method_values

__all__ = [
    "LABELS",
    "PANELS_PER_PAGE",
    "plot_bars",
    "plot_boxes",
    "plot_layers",
    "plot_scatter",
]

BASELINE_COLOURS = {"GC": "#F0E442", "dinucleotide": "#009E73", "4-mer": "#E69F00", "one-hot CNN": "#000000"}
LABELS = {"accuracy": "accuracy", "auroc": "AUROC", "auprc": "AUPRC", "f1": "F1", "mcc": "MCC"}
CHANCE = {"auroc": 0.5, "mcc": 0.0}
PANELS_PER_PAGE = 20
NAMED = 8  # data sets that the scatter has room to name


def _figure(width: float, height: float, rows: int = 1, columns: int = 1, **kwargs):
    figure, axes = new_figure(width, height, rows, columns, grid=0.3, **kwargs)
    for axis in axes.flat:
        axis.set_axisbelow(True)
    return figure, axes


def _styles(results: Results) -> dict[str, dict]:
    """Colour, hatch and marker by method."""
    chosen = results.table[results.table["chosen"]].drop_duplicates("method").set_index("method")
    variants = [name for name in dict.fromkeys(results.table["variant"]) if name and name not in COLOURS]
    colours = COLOURS | {name: OTHERS[i % len(OTHERS)] for i, name in enumerate(variants)}
    layers = sorted({int(layer) for layer in chosen.loc[chosen["representation"] == "lamar", "layer"] if layer})
    styles = {}
    for method in results.methods:
        row = chosen.loc[method]
        colour = BASELINE_COLOURS.get(method) or colours.get(row["variant"], COLOURS["Pretrained"])
        is_probe = row["representation"] == "linear_probe"
        marker = layers.index(int(row["layer"])) if not is_probe and row["layer"] else 0
        styles[method] = {"colour": colour, "hatch": "////" if is_probe else "", "marker": MARKERS[marker % 8]}
    return styles


def _limits(values, metric: str) -> tuple[float, float]:
    """Axis limits with room for every finite value, from the level of chance where the metric has one."""
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    pad = 0.02 + 0.04 * (high - low)
    return float(low - pad), float(high + pad)


# -------------------------------------------------------------------------------------------------- box plots


def plot_boxes(results: Results, metric: str = "auroc"):
    """Box of each method over data sets (mean over repeats), every data set a point; median, quartiles, 1.5 IQR."""
    values, styles = method_values(results, metric), _styles(results)
    n = len(values.columns)
    figure, axes = _figure(7.6, 1.1 + 0.3 * n)
    axis, rng = axes[0, 0], np.random.default_rng(0)
    for i, method in enumerate(values.columns):
        points = values[method].dropna().to_numpy()
        style = styles[method]
        if len(points) > 2:
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
    axis.set_xlabel(f"{LABELS[metric]} on test, mean over repeats; one point per data set")
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
    if metric in CHANCE and low < CHANCE[metric] < high:
        axis.axvline(CHANCE[metric], color="black", linewidth=0.8, linestyle=":")


# ------------------------------------------------------------------------------------------------------- bars


def error_bars(summary: pd.DataFrame) -> str:
    """ "bootstrap" where every row of `summarise` has an interval, else "sd"."""
    return "sd" if summary[["pooled", "low", "high"]].isna().any(axis=None) else "bootstrap"


def plot_bars(results: Results, summary: pd.DataFrame, metric: str = "auroc") -> list:
    """Bars of every method, one panel per data set, a page per `PANELS_PER_PAGE`.

    ``summary`` is that of `summarise`. Where it has intervals, a bar is the metric of the mean probability over
    repeats with its 95 % bootstrap interval, else the mean over repeats ± standard deviation.
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
    start = CHANCE.get(metric, 0.0)
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
    figure.supxlabel(f"{LABELS[metric]} on test, from {start:g} ({what})", fontsize=9)
    return figure


# ---------------------------------------------------------------------------------------------------- scatter


def plot_scatter(results: Results, metric: str = "auroc"):
    """LAMAR methods against the one-hot CNN, a panel for CNNs and one for probes; None without a common data set."""
    values, styles = method_values(results, metric), _styles(results)
    if "one-hot CNN" not in values:
        return None
    kinds = {"CNN on embeddings": results.of("lamar"), "linear probe": results.of("linear_probe")}
    x = values["one-hot CNN"]
    kinds = {kind: [m for m in methods if (values[m] - x).notna().any()] for kind, methods in kinds.items()}
    kinds = {kind: methods for kind, methods in kinds.items() if methods}
    if not kinds:
        return None
    shown = pd.concat([values[m][(values[m] - x).notna()] for methods in kinds.values() for m in methods])
    limits = _limits(np.concatenate([shown, x[shown.index.unique()]]), metric)
    legend = 0.22 * max(map(len, kinds.values()))
    names = 1.6 if len(values) <= NAMED else 0
    figure, axes = _figure(0.4 + 4.4 * len(kinds), 5.1 + legend + names, 1, len(kinds), sharex=True, sharey=True)
    for axis, (kind, methods) in zip(axes[0], kinds.items()):
        axis.plot(limits, limits, color="black", linewidth=0.8, linestyle="--", zorder=1)
        for method in methods:
            both = (values[method] - x).notna()
            above = int((values[method] > x)[both].sum())
            style = {"color": styles[method]["colour"], "marker": styles[method]["marker"], "alpha": 0.8}
            label = f"{short_text(method)}: above in {above} of {both.sum()}"
            axis.scatter(x[both], values[method][both], s=26, edgecolor="white", linewidth=0.5, label=label, **style)
        axis.set(xlim=limits, ylim=limits, aspect="equal")
        axis.set(xlabel=f"one-hot CNN, {LABELS[metric]}", ylabel=f"{kind}, {LABELS[metric]}")
        # Below the panel: inside, it would hide points somewhere.
        axis.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), borderaxespad=0)
        if len(values) <= NAMED:
            _name_positions(axis, x[shown.index.unique()], limits)
        axis.tick_params(labelleft=True)
    return figure


def _name_positions(axis, x: pd.Series, limits: tuple[float, float]) -> None:
    """Names of data sets above the panel, upright, pushed apart, each with a line to its value."""
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
    """Metric over layers by variant: probes as curves, CNNs as markers; None where no row has a layer.

    Points are means over the data sets that have every layer of that curve, bands their quartiles.
    """
    table = results.table[results.table["layer"] != ""]
    groups = table[table["representation"].isin(["linear_probe", "lamar"])].groupby(
        ["representation", "variant", "pooling"], sort=False
    )
    if not len(groups):
        return None
    values, styles = method_values(results, metric), _styles(results)
    figure, axes = _figure(8.6, 4.4)
    axis, seen = axes[0, 0], []
    colours = {row.variant: styles[row.method]["colour"] for row in table.itertuples() if row.method in styles}
    for (representation, variant, pooling), rows in groups:
        curves = rows.assign(layer=rows["layer"].astype(int)).groupby(["dataset", "layer"])[metric].mean()
        curves = curves.unstack("layer").dropna()
        if curves.empty:
            continue
        is_probe = representation == "linear_probe"
        kind = "probe" if is_probe else "CNN" + (f" ({pooling})" if pooling not in ("", "none") else "")
        colour = colours.get(variant, COLOURS["Pretrained"])
        style = {"linestyle": "-", "marker": "o", "markersize": 4} if is_probe else {"linestyle": "--", "marker": "D"}
        label = f"{short_text(variant or 'LAMAR')} {kind} (n = {len(curves)})"
        axis.plot(curves.columns, curves.mean(), color=colour, label=label, **style)
        if is_probe and len(curves) > 2:
            low, high = curves.quantile(0.25), curves.quantile(0.75)
            axis.fill_between(curves.columns, low, high, color=colour, alpha=0.13, linewidth=0)
            seen += [low, high]
        seen.append(curves.mean())
    if not seen:
        return None
    for method, style in (("one-hot CNN", "-."), ("dinucleotide", ":"), ("4-mer", (0, (1, 1)))):
        if method in values and values[method].notna().any():
            mean = values[method].mean()
            label = f"{method} (n = {values[method].notna().sum()})"
            axis.axhline(mean, color=BASELINE_COLOURS[method], linestyle=style, linewidth=1.3, label=label)
            seen.append([mean])
    axis.set_ylim(_limits(np.concatenate(seen), metric))
    axis.set(xlabel="layer (block, from 0)", ylabel=f"{LABELS[metric]}, mean over data sets")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), borderaxespad=0)
    return figure
