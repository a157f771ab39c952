"""Rows of a heat map: image, values under the pointer, axis."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from LAMAR.prediction.report_strips import (
    N_COLOURS,
    colour_levels,
    hover_data,
    indexed_png,
    legend,
    strip,
    ticks,
)


@pytest.mark.parametrize("n", [1, 2, 7, 600])
def test_the_image_has_the_levels_of_the_cells(n):
    levels = np.random.default_rng(n).integers(0, N_COLOURS + 1, n)
    image = Image.open(io.BytesIO(indexed_png(levels)))
    image.load()
    assert (image.size, image.mode) == ((n, 1), "P")
    assert np.asarray(image)[0].tolist() == levels.tolist()


def test_colours_darken_throughout():
    image = Image.open(io.BytesIO(indexed_png(np.arange(N_COLOURS)))).convert("RGB")
    lightness = np.asarray(image)[0].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) < -5).all()


def test_levels_are_equal_steps():
    values = np.array([-1, 0, 0.34, 4.99, 5, 9, np.nan])
    assert colour_levels(values, 0, 5).tolist() == [0, 0, 1, 14, 14, 14, N_COLOURS]
    assert colour_levels(np.array([2.0, 2.0]), 2, 2).tolist() == [0, 0]


def test_values_under_the_pointer_are_those_of_the_cells():
    scores = np.array([-3.0, np.nan, 1.25, 5.0], dtype=np.float32)
    data = dict(re.findall(r'data-([a-z]+)="([^"]*)"', hover_data(scores, lambda x: 10.0 ** (-x - 4), (2.0, -1.0))))
    levels = np.frombuffer(base64.b64decode(data["cells"]), dtype=np.uint8)
    low, high = map(float, data["range"].split())
    assert levels[1] == 255
    np.testing.assert_allclose(low + levels[[0, 2, 3]] / 254 * (high - low), scores[[0, 2, 3]], atol=0.02)
    knots = [float(value) for value in data["p"].split()]
    np.testing.assert_allclose(knots, np.linspace(-3, 5, len(knots)) + 4, atol=1e-3)
    assert data["logistic"] == "2 -1"
    assert "data-p=" not in hover_data(scores, None, None)


def test_sites_are_marked_at_their_middle():
    row = strip(np.zeros(3, dtype=int), 10, 25, [(2, 12), (15, 20)], "")
    assert 'viewBox="0 0 25 1"' in row
    assert '<image width="30"' in row  # the last cell reaches beyond the record, and is clipped
    assert '<path d="M7 .5V1M17.5 .5V1"/>' in row
    assert "<path" not in strip(np.zeros(3, dtype=int), 10, 25, [], "")


@pytest.mark.parametrize(
    ("length", "expected"), [(1, [0]), (5, [0, 1, 2, 3, 4]), (5401, [0, 1000, 2000, 3000, 4000, 5000])]
)
def test_ticks_are_round_positions(length, expected):
    assert ticks(length) == expected


@pytest.mark.parametrize("length", [1, 9, 101, 99_999, 10**8])
def test_ticks_are_few(length):
    assert 1 <= len(ticks(length)) <= 7


def test_the_legend_escapes_its_labels():
    assert "&lt;b&gt;" in legend([(0, "<b>")], "a & b")
    assert "a &amp; b" in legend([(0, "<b>")], "a & b")
