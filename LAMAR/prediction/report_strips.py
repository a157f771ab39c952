"""Rows of a heat map as markup: images of cells, marks of sites, an axis and a legend.

Each row is an SVG whose user space is the record: x is the position in nucleotides, y runs from 0 to 1. Zooming changes
the view box of the rows and nothing else.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from ..runs import page

__all__ = ["N_COLOURS", "P_STEPS", "axis", "colour_levels", "hover_data", "indexed_png", "legend", "strip", "ticks"]

N_COLOURS = 15
P_STEPS = 3  # colours per decade of a p-value
GAP_COLOUR, SITE_COLOUR = "#d9d2c5", "#d55e00"
GAP_LEVEL, TOP_LEVEL = 255, 254
N_KNOTS = 24
# ColorBrewer's Blues: lightness falls throughout, so that the order holds without colour vision and in grey print.
_ANCHORS = ("#ffffff", "#deebf7", "#9ecae1", "#4292c6", "#08519c", "#041f4a")


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _ramp() -> list[tuple[int, int, int]]:
    anchors = np.array([_rgb(colour) for colour in _ANCHORS], dtype=np.float64)
    at = np.linspace(0, len(anchors) - 1, N_COLOURS)
    columns = [np.interp(at, np.arange(len(anchors)), channel) for channel in anchors.T]
    return [tuple(colour) for colour in np.round(np.stack(columns, axis=1)).astype(int).tolist()]


_PALETTE = [*_ramp(), _rgb(GAP_COLOUR)]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def indexed_png(levels: np.ndarray) -> bytes:
    """Return a row of cells as a PNG image of one row, 16 colours.

    Parameters
    ----------
    levels : numpy.ndarray of int, shape (n,)
        0 to `N_COLOURS` - 1, or `N_COLOURS` where nothing was predicted.
    """
    even = np.append(levels, np.zeros(len(levels) % 2, dtype=levels.dtype)).astype(np.uint8)
    row = b"\0" + (even[::2] << 4 | even[1::2]).tobytes()
    header = struct.pack(">IIBBBBB", len(levels), 1, 4, 3, 0, 0, 0)
    palette = bytes(channel for colour in _PALETTE for channel in colour)
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(row, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def colour_levels(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the colour of each value, `N_COLOURS` equal steps from ``low`` to ``high``; int64, NaN as a gap."""
    span = high - low if high > low else 1.0
    steps = np.clip(np.floor((np.nan_to_num(values, nan=low) - low) / span * N_COLOURS), 0, N_COLOURS - 1)
    return np.where(np.isnan(values), N_COLOURS, steps).astype(np.int64)


def hover_data(scores: np.ndarray, p_values, logistic: tuple[float, float] | None) -> str:
    """Return attributes from which the page's script tells score, probability and p-value of each cell.

    Scores are kept in 255 steps, p-values at `N_KNOTS` scores between which their logarithm is interpolated.

    Parameters
    ----------
    scores : numpy.ndarray of float32, shape (n,)
        Of one track; NaN where nothing was predicted.
    p_values : callable or None
        Gives the p-values of scores; None without calibration.
    logistic : (float, float) or None
        Slope and intercept of probabilities; None without them.
    """
    known = scores[~np.isnan(scores)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    steps = np.round((np.nan_to_num(scores, nan=low) - low) / (high - low or 1.0) * TOP_LEVEL)
    levels = np.where(np.isnan(scores), GAP_LEVEL, steps).astype(np.uint8)
    attributes = f'data-cells="{base64.b64encode(levels.tobytes()).decode()}" data-range="{low:.5g} {high:.5g}"'
    if p_values is None:
        return attributes
    knots = -np.log10(p_values(np.linspace(low, high, N_KNOTS)))
    listed = " ".join(f"{value:.4g}" for value in knots)
    attributes += f' data-p="{listed}"'
    return attributes if logistic is None else f'{attributes} data-logistic="{logistic[0]:.5g} {logistic[1]:.5g}"'


def strip(levels: np.ndarray, width: int, length: int, sites: Sequence[tuple[int, int]], attributes: str) -> str:
    """Return one row of a heat map.

    Parameters
    ----------
    levels : numpy.ndarray of int, shape (n,)
        See `indexed_png`.
    width : int
        Nucleotides of a cell.
    length : int
        Nucleotides of the record.
    sites : sequence of (int, int)
        Called sites, start and end in the record.
    attributes : str
        See `hover_data`.
    """
    image = base64.b64encode(indexed_png(levels)).decode()
    marks = "".join(f"M{(start + end) / 2:g} .5V1" for start, end in sites)
    path = f'<path d="{marks}"/>' if marks else ""
    listed = " ".join(f"{start} {end}" for start, end in sites)
    return (
        f'<svg viewBox="0 0 {length} 1" preserveAspectRatio="none" {attributes} data-sites="{listed}">'
        f'<image width="{len(levels) * width}" height="1" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{image}"/>{path}</svg>'
    )


def ticks(length: int, most: int = 6) -> list[int]:
    """Return round positions along a record: multiples of 1, 2 or 5 times a power of ten."""
    raw = max(length / most, 1)
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    return list(range(0, length, int(step)))


def axis(length: int) -> str:
    """Return the ticks of the column of strips."""
    spans = "".join(f'<span style="left:{100 * at / length:.3f}%">{at:,}</span>' for at in ticks(length))
    return f'<div class="ticks">{spans}</div>'


def legend(labels: Sequence[tuple[float, str]], title: str) -> str:
    """Return the colours of the cells with labels, the mark of a site and the colour of a gap.

    Parameters
    ----------
    labels : sequence of (float, str)
        Text, and the border between colours that it stands at (0 to `N_COLOURS`).
    title : str
        What the colours mean.
    """
    size = 17
    boxes = "".join(
        f'<rect x="{8 + i * size}" y="1" width="{size}" height="12" fill="#{r:02x}{g:02x}{b:02x}"/>'
        for i, (r, g, b) in enumerate(_PALETTE[:-1])
    )
    texts = "".join(f'<text x="{8 + at * size:g}" y="26">{page.text(label)}</text>' for at, label in labels)
    frame = f'<rect class="frame" x="8" y="1" width="{N_COLOURS * size}" height="12"/>'
    site = f'<svg width="8" height="14" aria-hidden="true"><path d="M4 0V14" stroke="{SITE_COLOUR}"/></svg>'
    gap = f'<svg width="16" height="14" aria-hidden="true"><path d="M0 7H16" stroke="{GAP_COLOUR}"/></svg>'
    return (
        f'<div class="legend"><span>{page.text(title)}</span><svg width="{16 + N_COLOURS * size}" height="30" '
        f'role="img" aria-label="{page.text(title)}">{boxes}{frame}{texts}</svg>'
        f'<span>{site} called site</span><span class="gap">{gap} not predicted (N)</span></div>'
    )
