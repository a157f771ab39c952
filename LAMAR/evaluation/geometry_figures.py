"""Figures of embedding geometry.

Each function returns a Figure made without pyplot, which `LAMAR.runs.figures.save_figure` writes, or None where there
is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..runs.figures import MARKERS, TITLE_LENGTH, new_figure, short_text
from ..statistics.isotropy import FIGURES
from ..statistics.metrics import METRICS
from .figures import series_colours

__all__ = ["plot_components", "plot_layers", "plot_probe", "plot_spectra"]

STAGE_COLOURS = {"before": "#7F7F7F", "after": "#0072B2"}
CLASS_COLOURS = ("#56B4E9", "#D55E00", "#009E73", "#CC79A7")
COLUMNS = 4
# Figures that the scatter against AUROC shows; the others carry much the same information.
AGAINST = ("isoscore", "k90_ratio", "average_cosine", "variance_share_1", "rankme", "intrinsic_dimension")


def plot_layers(table: pd.DataFrame, title: str):
    """Draw every figure over layers, a panel each: a line with its bootstrap interval for each series.

    Parameters
    ----------
    table : DataFrame
        Columns series, line (lines of one series share a colour: folds), layer (int), figure, value, low, high.
    title : str

    Returns
    -------
    matplotlib.figure.Figure or None
        None where no figure is defined.
    """
    defined = [name for name in FIGURES if table.loc[table["figure"] == name, "value"].notna().any()]
    if not defined:
        return None
    rows = -(-len(defined) // COLUMNS)
    figure, axes = new_figure(3.0 * COLUMNS, 2.35 * rows + 0.7, rows, COLUMNS, grid=0.3)
    colours = series_colours(list(dict.fromkeys(table["series"])), STAGE_COLOURS)
    for axis, name in zip(axes.flat, defined):
        part = table[table["figure"] == name]
        named = set()
        for (series, _), line in part.groupby(["series", "line"], sort=False):
            line = line.sort_values("layer")
            label = None if series in named else short_text(series)
            named.add(series)
            style = {"color": colours[series], "marker": "o", "markersize": 3, "linewidth": 1.3}
            axis.plot(line["layer"], line["value"], label=label, **style)
            if line["low"].notna().any():
                axis.fill_between(
                    line["layer"], line["low"], line["high"], color=colours[series], alpha=0.18, linewidth=0
                )
                if len(line) == 1:  # a band has no width there
                    axis.vlines(line["layer"], line["low"], line["high"], color=colours[series], linewidth=1.3)
        axis.set_title(FIGURES[name].label, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.ticklabel_format(useOffset=False)
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    for axis in axes.flat[max(0, len(defined) - COLUMNS) : len(defined)]:
        axis.set_xlabel("layer (block, from 0)", fontsize=8)
    for axis in axes.flat[len(defined) :]:
        axis.set_axis_off()
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=9, loc="outside lower center", ncols=max(1, len(labels)))
    bands = "; bands: 95 % bootstrap intervals" if table["low"].notna().any() else ""
    figure.suptitle(short_text(title, TITLE_LENGTH) + bands, fontsize=11)
    return figure


def plot_spectra(spectra: Mapping[int, Mapping[str, Sequence[float]]], title: str):
    """Draw normalised singular values of centred embeddings, a panel per layer, with the component that reaches 90 %.

    Parameters
    ----------
    spectra : mapping
        By layer and series: singular values over their sum, largest first.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    layers = sorted(spectra)
    columns = min(len(layers), COLUMNS)
    rows = -(-len(layers) // columns)
    figure, axes = new_figure(3.1 * columns + 0.6, 2.8 * rows + 0.8, rows, columns, grid=0.3, sharex=True, sharey=True)
    series = list(dict.fromkeys(name for layer in layers for name in spectra[layer]))
    colours, handles = series_colours(series, STAGE_COLOURS), {}
    for axis, layer in zip(axes.flat, layers):
        for name, values in spectra[layer].items():
            values = np.asarray(values, dtype=np.float64)
            kept = values[values > 0]
            if not len(kept):
                continue
            places = np.arange(1, len(kept) + 1)
            (handles[name],) = axis.plot(places, kept, color=colours[name], linewidth=1.4)
            k90 = int(np.searchsorted(np.cumsum(values), 0.9 * (1 - 1e-12)))
            axis.plot(places[k90], kept[k90], marker="o", markersize=5, color=colours[name], markeredgecolor="white")
        axis.set_title(f"layer {layer}", fontsize=9)
        axis.set(xscale="log", yscale="log")
        axis.tick_params(labelsize=8, labelbottom=True)
        axis.set_xlabel("component", fontsize=8)
    for axis in axes.flat[len(layers) :]:
        axis.set_axis_off()
    names = [short_text(name) for name in handles]
    figure.legend(
        handles.values(), names, frameon=False, fontsize=9, loc="outside lower center", ncols=max(1, len(names))
    )
    figure.supylabel("singular value / sum", fontsize=9)
    figure.suptitle(short_text(title, TITLE_LENGTH) + "; points: 90 % of the sum", fontsize=11)
    return figure


def plot_components(panels: Mapping[tuple[str, str], tuple[dict, np.ndarray]], title: str):
    """Draw the first two principal components, coloured by label, in rows and columns of panels.

    Parameters
    ----------
    panels : mapping
        By (row, column): ``scores`` of `LAMAR.evaluation.geometry.measure`, and the labels, int (rows,), of those
        records.
    title : str

    Returns
    -------
    matplotlib.figure.Figure or None
        None without panels.
    """
    rows, columns = (list(dict.fromkeys(key[i] for key in panels)) for i in (0, 1))
    if not panels:
        return None
    figure, axes = new_figure(2.9 * len(columns) + 0.5, 2.6 * len(rows) + 0.8, len(rows), len(columns), grid=0.3)
    classes = sorted({int(label) for _, labels in panels.values() for label in labels})
    for (row, column), (scores, labels) in panels.items():
        axis = axes[rows.index(row), columns.index(column)]
        points = np.asarray(scores["values"], dtype=np.float64).reshape(len(labels), -1)
        second = points[:, 1] if points.shape[1] > 1 else np.zeros(len(points))
        # In random order, so that no class lies on top of the other as a whole.
        colours = [CLASS_COLOURS[classes.index(int(label)) % len(CLASS_COLOURS)] for label in labels]
        order = np.random.default_rng(0).permutation(len(points))
        axis.scatter(points[order, 0], second[order], c=np.array(colours)[order], s=7, alpha=0.65, linewidths=0)
        shares = [f"PC{i} ({share:.0%})" for i, share in enumerate(scores["explained"], start=1)]
        axis.set_xlabel(shares[0], fontsize=8)
        axis.set_ylabel(shares[1] if len(shares) > 1 else "", fontsize=8)
        axis.set_title(f"{short_text(row, 24)}, {short_text(column, 24)}", fontsize=8.5)
        axis.tick_params(labelsize=7)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            if (row, column) not in panels:
                axes[i, j].set_axis_off()
    from matplotlib.lines import Line2D

    style = {"linestyle": "", "marker": "o", "markersize": 5}
    names = {0: "not bound (0)", 1: "bound (1)"} if classes in ([0], [1], [0, 1]) else {}
    handles = [Line2D([], [], color=CLASS_COLOURS[i % len(CLASS_COLOURS)], **style) for i in range(len(classes))]
    labels = [names.get(value, f"label {value}") for value in classes]
    figure.legend(handles, labels, frameon=False, fontsize=9, loc="outside lower center", ncols=max(1, len(labels)))
    figure.suptitle(short_text(title, TITLE_LENGTH), fontsize=11)
    return figure


def plot_probe(table: pd.DataFrame, title: str):
    """Draw the AUROC of linear probes against figures, a panel each; colours are variants, marks are data sets.

    Parameters
    ----------
    table : DataFrame
        Columns dataset, variant, layer, figure, value, auroc.
    title : str

    Returns
    -------
    matplotlib.figure.Figure or None
        None where none of the figures is defined.
    """
    defined = [name for name in AGAINST if table.loc[table["figure"] == name, "value"].notna().any()]
    if not defined:
        return None
    columns = min(3, len(defined))
    rows = -(-len(defined) // columns)
    figure, axes = new_figure(3.3 * columns + 0.4, 2.7 * rows + 1.0, rows, columns, grid=0.3, sharey=True)
    variants, sets = (list(dict.fromkeys(table[name])) for name in ("variant", "dataset"))
    colours = series_colours(variants)
    from matplotlib.lines import Line2D

    for axis, name in zip(axes.flat, defined):
        for (variant, dataset), part in table[table["figure"] == name].groupby(["variant", "dataset"], sort=False):
            marker = MARKERS[sets.index(dataset) % len(MARKERS)]
            part = part.sort_values("layer")
            axis.plot(part["value"], part["auroc"], color=colours[variant], linewidth=0.5, alpha=0.5)
            axis.scatter(
                part["value"],
                part["auroc"],
                s=20,
                color=colours[variant],
                marker=marker,
                edgecolor="white",
                linewidth=0.3,
            )
        axis.set_xlabel(FIGURES[name].label, fontsize=9)
        axis.locator_params(axis="x", nbins=5)
        axis.tick_params(labelsize=8)
    for axis in axes.flat[len(defined) :]:
        axis.set_axis_off()
    style = {"linestyle": "", "markersize": 6}
    handles = [Line2D([], [], color=colours[name], marker="s", **style) for name in variants]
    few = sets[: len(MARKERS)] if len(sets) <= len(MARKERS) else []
    handles += [Line2D([], [], color="black", marker=MARKERS[i], **style) for i in range(len(few))]
    names = [short_text(name, 22) for name in (*variants, *few)]
    figure.legend(handles, names, frameon=False, fontsize=8, loc="outside lower center", ncols=min(4, len(names)))
    figure.supylabel(f"linear probe, {METRICS['auroc'].label} on test", fontsize=9)
    figure.suptitle(short_text(title, TITLE_LENGTH), fontsize=11)
    return figure
