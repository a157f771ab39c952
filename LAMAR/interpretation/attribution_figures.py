"""Figures of attributions: logo tracks, mutagenesis heat maps, aligned means, motif logos.

Each function returns a Figure, or a list of Figures where a long sequence is drawn on several pages;
`LAMAR.runs.figures.save_figure` writes PNG and SVG.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from ..alphabet import NUCLEOTIDES
from ..runs.figures import TITLE_LENGTH, new_figure, short_text
from .attribution_tables import top_positions
from .explanations import Explanation
from .methods import METHODS

__all__ = [
    "LETTER_COLOURS",
    "NT_PER_PAGE",
    "draw_heat_map",
    "draw_logo",
    "draw_stacked_logo",
    "pages",
    "plot_aligned",
    "plot_motif",
    "plot_mutagenesis",
    "plot_tracks",
]

# Colours of Okabe & Ito, which readers with any common kind of colour blindness can tell apart.
LETTER_COLOURS = {"A": "#009E73", "C": "#0072B2", "G": "#E69F00", "T": "#D55E00", "N": "#999999"}
SCALE_LABELS = {"log_odds": "log-odds", "logit": "logit", "probability": "probability"}
NT_PER_PAGE = 120
_INCHES_PER_NT = 0.125


def draw_logo(axis, sequence: str, heights: np.ndarray, start: int = 0) -> None:
    """Draw a sequence as a logo.

    Parameters
    ----------
    axis : matplotlib Axes
    sequence : str
        L letters of ``ACGTN``.
    heights : ndarray, shape (L,)
        Height of each letter; negative ones hang down, NaN and 0 are left out.
    start : int, default 0
        Position of the first letter, for the ticks.
    """
    letters = [letter for letter in LETTER_COLOURS if letter in sequence]
    table = pd.DataFrame(0.0, index=np.arange(start, start + len(sequence)), columns=letters)
    for i, (letter, height) in enumerate(zip(sequence, np.nan_to_num(heights, nan=0.0))):
        table.loc[start + i, letter] = height
    draw_stacked_logo(axis, table)


def draw_stacked_logo(axis, table: pd.DataFrame) -> None:
    """Draw a logo of letters (columns) by position (index), stacked where a position has several letters."""
    import logomaker

    if table.to_numpy().any():  # logomaker cannot draw a logo without height
        logomaker.Logo(table, ax=axis, color_scheme=LETTER_COLOURS, shade_below=0, fade_below=0, flip_below=False)
    first, last = int(table.index[0]), int(table.index[-1])
    axis.set_xlim(first - 0.7, last + 0.7)
    axis.grid(False)
    axis.spines[["top", "right"]].set_visible(False)
    axis.axhline(0, color="#444444", linewidth=0.6, zorder=0)
    axis.set_xticks([i for i in range(first, last + 1) if i % 10 == 0] or [first])


def _limits(*values: np.ndarray) -> tuple[float, float]:
    """Return axis limits that include 0 and have room for every value."""
    finite = np.concatenate([np.ravel(v)[np.isfinite(np.ravel(v))] for v in values]) if values else np.zeros(0)
    low, high = min(0.0, finite.min(initial=0.0)), max(0.0, finite.max(initial=0.0))
    room = 0.08 * (high - low) or 1.0
    return low - (room if low < 0 else 0), high + room


def pages(length: int, longest: int = NT_PER_PAGE) -> list[tuple[int, int]]:
    """Return ranges of about equal length, of at most ``longest`` nt each, that are drawn one per page."""
    n = math.ceil(length / longest)
    edges = np.linspace(0, length, n + 1).round().astype(int).tolist()
    return list(zip(edges, edges[1:]))


def _width(n: int) -> float:
    return max(5.0, 1.4 + _INCHES_PER_NT * n)


def _name_row(axis, label: str) -> None:
    axis.set_ylabel(label.replace(" ", "\n"), rotation=0, ha="right", va="center", fontsize=8)


def plot_tracks(explanation: Explanation, title: str = "", top: int = 0) -> list:
    """Draw the sequence and one logo track per method, on pages of `NT_PER_PAGE` nt with common scales.

    Parameters
    ----------
    explanation : Explanation
        Letters are as high as its `LAMAR.interpretation.explanations.Explanation.tracks`.
    title : str, optional
        By default the record's name.
    top : int, default 0
        Number of strongest positions that are shaded in each track.

    Returns
    -------
    list of Figure
        One per page.
    """
    tracks = explanation.tracks
    limits = {method: _limits(track) for method, track in tracks.items()}
    marked = {method: top_positions(track, top) for method, track in tracks.items()}
    figures = []
    for first, last in pages(explanation.end - explanation.start):
        figure, axes = new_figure(
            _width(last - first), 0.9 + 1.15 * len(tracks) + 0.4, 1 + len(tracks), 1,
            height_ratios=[0.4] + [1] * len(tracks), sharex=True,
        )  # fmt: skip
        sequence, start = explanation.explained[first:last], explanation.start + first
        axis = axes[0, 0]
        draw_logo(axis, sequence, np.ones(len(sequence)), start)
        axis.set(yticks=[], ylim=(0, 1.05))
        _name_row(axis, "sequence")
        axis.spines[["left", "bottom"]].set_visible(False)
        axis.tick_params(bottom=False)
        for axis, (method, track) in zip(axes[1:, 0], tracks.items()):
            draw_logo(axis, sequence, track[first:last], start)
            for i in marked[method]:
                if first <= i < last:
                    centre = explanation.start + i
                    axis.axvspan(centre - 0.5, centre + 0.5, color="#F0E442", alpha=0.4, linewidth=0, zorder=-1)
            axis.set_ylim(limits[method])
            _name_row(axis, METHODS[method].label)
            axis.tick_params(labelsize=7)
        axes[-1, 0].set_xlabel(f"position (nt, from 0); importance in {SCALE_LABELS[explanation.scale]}", fontsize=8)
        # The tick labels of shared axes are on the last one only.
        axes[-1, 0].tick_params(labelbottom=True)
        figure.suptitle(short_text(title or explanation.record, TITLE_LENGTH), fontsize=9)
        figures.append(figure)
    return figures


def draw_heat_map(axis, effects: np.ndarray, sequence: str, start: int, limit: float):
    """Draw effects of substitutions as a heat map, blue below 0 and red above.

    Dots mark the sequence's letters; positions of N are grey.

    Parameters
    ----------
    axis : matplotlib Axes
    effects : ndarray, shape (L, 4)
        Letters in the order A C G T.
    sequence : str
        L letters.
    start : int
        Position of the first letter.
    limit : float
        Largest absolute value of the colour scale.

    Returns
    -------
    matplotlib AxesImage
        For a colour bar.
    """
    import matplotlib

    colours = matplotlib.colormaps["RdBu_r"].with_extremes(bad="#BBBBBB")
    image = axis.imshow(
        np.ma.masked_invalid(effects.T), cmap=colours, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest",
        extent=(start - 0.5, start + len(sequence) - 0.5, 3.5, -0.5),
    )  # fmt: skip
    known = [(start + i, NUCLEOTIDES.index(letter)) for i, letter in enumerate(sequence) if letter != "N"]
    axis.scatter(*zip(*known), s=5, color="#222222", linewidths=0)
    axis.set_yticks(range(4), list(NUCLEOTIDES))
    axis.set_xticks([i for i in range(start, start + len(sequence)) if i % 10 == 0] or [start])
    axis.grid(False)
    return image


def plot_mutagenesis(effects: np.ndarray, sequence: str, start: int, scale: str, title: str = "") -> list:
    """Draw the effects of all substitutions, shape (R, 4), on pages of `NT_PER_PAGE` nt with one colour scale."""
    finite = effects[np.isfinite(effects)]
    limit = float(np.abs(finite).max(initial=0.0)) or 1.0
    figures = []
    for first, last in pages(len(sequence)):
        figure, axes = new_figure(_width(last - first) + 0.6, 1.9)
        axis = axes[0, 0]
        image = draw_heat_map(axis, effects[first:last], sequence[first:last], start + first, limit)
        axis.set_xlabel("position (nt, from 0); dots: the sequence's own letters", fontsize=8)
        axis.set_ylabel("put there", fontsize=8)
        axis.tick_params(labelsize=7)
        bar = figure.colorbar(image, ax=axis, pad=0.01, fraction=0.03)
        bar.set_label(f"change in\n{SCALE_LABELS[scale]}", fontsize=7)
        bar.ax.tick_params(labelsize=6)
        figure.suptitle(short_text(title, TITLE_LENGTH), fontsize=9)
        figures.append(figure)
    return figures


def plot_aligned(aligned: pd.DataFrame, title: str = ""):
    """Draw the mean importance around the strongest site by method, with the standard error of the mean as a band.

    Parameters
    ----------
    aligned : DataFrame
        As `LAMAR.interpretation.motifs.align_on_strongest` returns it.
    title : str, optional

    Returns
    -------
    Figure
    """
    methods = list(dict.fromkeys(aligned["method"]))
    figure, axes = new_figure(6.4, 0.8 + 1.4 * len(methods), len(methods), 1, sharex=True)
    for axis, method in zip(axes[:, 0], methods):
        rows = aligned[aligned["method"] == method]
        error = rows["sd"] / np.sqrt(rows["n"])
        colour = METHODS[method].colour
        axis.plot(rows["offset"], rows["mean"], color=colour, linewidth=1.4)
        axis.fill_between(rows["offset"], rows["mean"] - error, rows["mean"] + error, color=colour, alpha=0.25, lw=0)
        axis.axhline(0, color="#444444", linewidth=0.6)
        _name_row(axis, METHODS[method].label)
        axis.tick_params(labelsize=7)
    axes[-1, 0].set_xlabel("position relative to the first nt of the strongest site; band: standard error", fontsize=8)
    figure.suptitle(short_text(title, TITLE_LENGTH), fontsize=9)
    return figure


def plot_motif(frequencies: np.ndarray, bits: np.ndarray, n: int, title: str = ""):
    """Draw a motif as a logo.

    Parameters
    ----------
    frequencies : ndarray, shape (width, 4)
        Letters in the order A C G T.
    bits : ndarray, shape (width,)
        Information of each position, its height.
    n : int
        Number of seqlets that the motif is made of.
    title : str, optional

    Returns
    -------
    Figure
    """
    heights = pd.DataFrame(frequencies * bits[:, None], columns=list(NUCLEOTIDES), index=np.arange(1, len(bits) + 1))
    figure, axes = new_figure(max(3.4, 1.2 + 0.34 * len(bits)), 2.2)
    axis = axes[0, 0]
    draw_stacked_logo(axis, heights)
    axis.set_xticks(heights.index)
    axis.set(ylim=(0, 2.02))
    axis.set_ylabel("bits", fontsize=8)
    axis.set_xlabel(f"position in the motif; {n} seqlets", fontsize=8)
    axis.tick_params(labelsize=7)
    figure.suptitle(short_text(title, TITLE_LENGTH), fontsize=9)
    return figure
