"""Image files depend on nothing but the data."""

from __future__ import annotations

import re

import numpy as np

from LAMAR.runs.figures import new_figure, save_figure


def draw():
    figure, axes = new_figure(3, 2, 1, 2)
    for i, axis in enumerate(axes.flat):
        values = np.random.default_rng(i).random((4, 4))
        axis.scatter(values[0], values[1], label="points")
        axis.bar([1, 2], [3, 4], hatch="//")
        axis.imshow(values)
        axis.set_xlabel("x")
    return figure


def test_svg_of_equal_figures_is_the_same_file(tmp_path):
    """The layout of a figure that was drawn before differs in its last bits."""
    figure = draw()
    files = []
    for target in (figure, figure, figure, draw(), figure):
        save_figure(target, tmp_path / "figure")
        files.append((tmp_path / "figure.svg").read_bytes())
    assert files == [files[0]] * 5


def test_svg_ids_are_numbered_by_appearance_and_all_references_resolve(tmp_path):
    save_figure(draw(), tmp_path / "figure")
    svg = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    ids = re.findall(r' id="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:url\(|href=")#([^")]+)', svg)
    assert references
    assert set(references) <= set(ids)
    clip_paths = {name for name in ids if re.fullmatch(r"p\d+", name)}
    assert len(clip_paths) == 2
    # Marker, hatch and image of each panel have numbers too; nothing of ten hexadecimal digits is left.
    assert not re.search(r'(id="|#)\w*[0-9a-f]{10}[")]', svg)
    numbered = re.findall(r'(?:id="|#)(?:p|m|h|image|C\w+_\w+_)(\d+)[")]', svg)
    assert list(dict.fromkeys(map(int, numbered))) == list(range(1, len(set(numbered)) + 1))
