"""Figures of maps of positions against positions.

Each function returns a Figure made without pyplot; `LAMAR.runs.figures.save_figure` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..alphabet import NUCLEOTIDES
from ..runs.figures import TITLE_LENGTH, new_figure, short_text
from .attribution_figures import LETTER_COLOURS, draw_stacked_logo

__all__ = ["plot_map"]

SIDE = 7.0  # inches of the map
MAX_LETTERS = 130  # positions that have room for a letter each
# Colours end at this quantile of the absolute values: next to the diagonal a few are many times the others.
QUANTILE = 0.995


def plot_map(
    values: np.ndarray,
    sequence: str,
    *,
    label: str,
    title: str = "",
    signed: bool = False,
    first: int = 0,
    box: tuple[int, int] | None = None,
    log_odds: np.ndarray | None = None,
    influence: np.ndarray | None = None,
    pairs: Sequence[tuple[int, int]] = (),
    axis_labels: tuple[str, str] = ("affected position", "mutated position"),
):
    """Draw a heat map with the sequence along it.

    Parameters
    ----------
    values : ndarray, shape (L, L)
        Rows are drawn downwards; NaN is grey.
    sequence : str
        L letters; drawn where there is room (130), else positions alone.
    label : str
        Label of the colour bar.
    title : str, optional
    signed : bool, default False
        Colours symmetric about zero (blue to red), else from zero up.
    first : int, default 0
        Position of the first row and column.
    box : (int, int), optional
        Range [start, end) to mark, in the same numbering as ``first``.
    log_odds : ndarray, shape (L, 4), optional
        Log2 odds; the model's prediction is drawn above the map as a logo, heights in bits.
    influence : ndarray, shape (L,), optional
        Drawn at the right, along the rows.
    pairs : sequence of (int, int)
        Positions (i, j) of base pairs, in the same numbering as ``first``: marked above the diagonal.
    axis_labels : (str, str)
        Labels of columns and of rows.

    Returns
    -------
    Figure
    """
    length = len(sequence)
    with_logo = log_odds is not None and length <= MAX_LETTERS
    with_influence = influence is not None
    heights, widths = [0.12] * with_logo + [1.0], [1.0] + [0.14] * with_influence
    figure, axes = new_figure(
        SIDE * sum(widths) + 1.4,
        SIDE * sum(heights) + 0.9,
        len(heights),
        len(widths),
        height_ratios=heights,
        width_ratios=widths,
    )
    axis = axes[-1, 0]
    mesh = _draw_values(axis, values, signed, first)
    figure.colorbar(
        mesh, ax=axes[-1, :].tolist(), label=label, shrink=0.6, pad=0.02, extend="both" if signed else "max"
    )
    axis.set(xlabel=f"{axis_labels[0]} (0-based)", ylabel=f"{axis_labels[1]} (0-based)")
    if box is not None:
        axis.add_patch(_rectangle(box[0] - 0.5, box[1] - box[0]))
    if pairs:
        points = (SIDE * 72 * 0.8 / length) ** 2
        i, j = np.array(pairs).T
        axis.scatter(j, i, s=max(points, 4), marker="s", facecolors="none", edgecolors="#00A0A0", linewidths=0.9)
    if length <= MAX_LETTERS:
        _draw_letters(axis, sequence, first, top=not with_logo)
    if with_logo:
        _draw_logo(axes[0, 0], log_odds, first)
        if with_influence:
            axes[0, 1].set_axis_off()
    if with_influence:
        _draw_influence(axes[-1, 1], influence, first, axis.get_ylim())
    pad = 12 if not with_logo and length <= MAX_LETTERS else 6
    axes[0, 0].set_title(short_text(title, TITLE_LENGTH), fontsize=11, pad=pad)
    return figure


def _draw_influence(axis, influence: np.ndarray, first: int, limits: tuple[float, float]) -> None:
    axis.barh(np.arange(first, first + len(influence)), np.nan_to_num(influence), height=1.0, color="#4D4D4D")
    axis.set(ylim=limits, yticks=[], xlabel="influence")
    axis.xaxis.set_major_locator(_locator(2))
    axis.tick_params(labelsize=8)


def _draw_values(axis, values: np.ndarray, signed: bool, first: int):
    import matplotlib

    colours = matplotlib.colormaps["RdBu_r" if signed else "magma_r"].copy()
    colours.set_bad("#D9D9D9")
    finite = np.abs(values[np.isfinite(values)])
    limit = float(np.quantile(finite, QUANTILE)) if len(finite) else 0.0
    limit = limit or float(finite.max(initial=0.0)) or 1.0
    last = first + len(values)
    extent = (first - 0.5, last - 0.5, last - 0.5, first - 0.5)
    axis.grid(False)
    axis.spines[["top", "right"]].set_visible(True)
    limits = {"vmin": -limit if signed else 0, "vmax": limit}
    return axis.imshow(values, cmap=colours, extent=extent, aspect="auto", interpolation="nearest", **limits)


def _rectangle(start: float, size: float):
    from matplotlib.patches import Rectangle

    return Rectangle((start, start), size, size, fill=False, edgecolor="#0072B2", linewidth=1.4)


def _locator(n: int):
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(n)


def _draw_letters(axis, sequence: str, first: int, top: bool) -> None:
    """Draw the sequence along the left, and along the top unless a logo is there."""
    size = min(8.0, SIDE * 72 / len(sequence) * 0.85)
    style = {"fontsize": size, "family": "monospace", "clip_on": False}
    for k, letter in enumerate(sequence):
        colour = LETTER_COLOURS[letter]
        axis.annotate(
            letter, (0, first + k), xycoords=("axes fraction", "data"), xytext=(-4, 0), textcoords="offset points",
            ha="center", va="center", color=colour, **style,
        )  # fmt: skip
        if top:
            axis.annotate(
                letter, (first + k, 1), xycoords=("data", "axes fraction"), xytext=(0, 4), textcoords="offset points",
                ha="center", va="center", color=colour, **style,
            )  # fmt: skip
    axis.tick_params(axis="y", pad=10, length=0)


def _draw_logo(axis, log_odds: np.ndarray, first: int) -> None:
    """Draw the information content of the prediction at each position: p (2 - entropy), in bits."""
    import pandas as pd

    probability = 1 / (1 + np.exp2(-log_odds.astype(np.float64)))
    entropy = -(probability * np.log2(np.maximum(probability, 1e-300))).sum(axis=1)
    heights = probability * np.maximum(2 - entropy, 0)[:, None]
    index = np.arange(first, first + len(heights))
    draw_stacked_logo(axis, pd.DataFrame(heights, columns=list(NUCLEOTIDES), index=index))
    axis.set(xlim=(index[0] - 0.5, index[-1] + 0.5), ylim=(0, 2), yticks=[0, 2], xticks=[], ylabel="bits")
