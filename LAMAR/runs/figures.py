"""Figures without pyplot, their colours and names, and image files that depend on nothing but the data."""

from __future__ import annotations

import io
import re
from pathlib import Path

from .storage import atomic_write

__all__ = ["MARKERS", "OTHERS", "TITLE_LENGTH", "new_figure", "save_figure", "short_text"]

# Okabe & Ito: distinguishable with every common kind of colour blindness.
OTHERS = ("#CC79A7", "#56B4E9", "#F0E442")
MARKERS = "oDs^vP*X"
DPI = 160
TITLE_LENGTH = 90  # characters that a title has room for
# Parts of an SVG that depend on the last bits of positions: decimals, and ids that matplotlib hashes (of clip paths,
# markers, hatches, collections and images), where they are defined or referred to.
HASHED_ID = re.compile(rb'(id="|#)(p|m|h|image|Im_image|C[0-9a-f]+_[0-9a-f]+_)([0-9a-f]{10})(?=[")])')
DECIMALS = re.compile(rb"-?\d+\.\d{5,}")


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, *, grid: float = 0.25, **kwargs):
    """Return a new figure and its axes.

    Parameters
    ----------
    width, height : float
        Inches.
    rows, columns : int
        Numbers of panels.
    grid : float
        Opacity of the grid lines, 0 to 1.
    **kwargs
        Passed to ``Figure.subplots``.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : ndarray of Axes, shape (rows, columns)
    """
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib.figure import Figure

    # Figures made without pyplot leave no global state behind.
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=grid, linewidth=0.6)
    return figure, axes


def short_text(name: str, longest: int = 30) -> str:
    """Return a name of at most ``longest`` characters that matplotlib shows letter by letter.

    The middle of longer names is replaced by an ellipsis, and dollar signs are escaped, which would begin a formula.
    """
    name = " ".join(str(name).split())
    if len(name) > longest:
        name = f"{name[: longest - longest // 3 - 1]}…{name[-(longest // 3) :]}"
    return name.replace("$", r"\$")


def _reproducible(svg: bytes) -> bytes:
    """Return an SVG with ids numbered in the order of their first appearance, and four decimals.

    The last bits of positions depend on what was drawn before. Matplotlib hashes positions in full precision for ids,
    and six decimals show where a position lies between two of them.
    """
    numbers: dict[bytes, int] = {}

    def numbered(match: re.Match) -> bytes:
        before, kind, digest = match.groups()
        return before + kind + str(numbers.setdefault(kind + digest, len(numbers) + 1)).encode()

    def rounded(match: re.Match) -> bytes:
        # Positions are often multiples of a power of two, which may lie between two decimals. The shift avoids that.
        return f"{float(match[0]) + 3.7e-6:.4f}".encode()

    return DECIMALS.sub(rounded, HASHED_ID.sub(numbered, svg))


def _render(figure, kind: str) -> bytes:
    import matplotlib

    # Same data, same bytes: no date, no version, and ids that do not depend on the process.
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "LAMAR"}):
        figure.savefig(buffer, format=kind, dpi=DPI, bbox_inches="tight", pad_inches=0.08, metadata=metadata)
    return _reproducible(buffer.getvalue()) if kind == "svg" else buffer.getvalue()


def save_figure(figure, stem: str | Path) -> bytes:
    """Write ``stem.png`` and ``stem.svg`` atomically and return the bytes of the PNG."""
    images = {kind: _render(figure, kind) for kind in ("png", "svg")}
    for kind, image in images.items():
        with atomic_write(f"{stem}.{kind}", "wb") as handle:
            handle.write(image)
    return images["png"]
