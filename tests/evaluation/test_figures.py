"""Figures of evaluation runs: texts that fit, limits that contain the data, data that are missing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from evaluation_runs import edit, write_run

from LAMAR.evaluation import figures
from LAMAR.evaluation.results import method_values, read_results, summarise


def figures_of(results, metric="auroc") -> list:
    summary = summarise(results, metric, n_boot=20)
    drawn = [figures.plot_boxes(results, metric), *figures.plot_bars(results, summary, metric)]
    return [*drawn, figures.plot_scatter(results, metric), figures.plot_layers(results, metric)]


def check_figure(figure) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()
    renderer, (width, height) = figure.canvas.get_renderer(), figure.get_size_inches()
    box = figure.get_tightbbox(renderer)
    assert min(box.x0, box.y0) >= -0.02
    assert box.x1 <= width + 0.02
    assert box.y1 <= height + 0.02
    for axis in figure.axes:
        labels = [label for label in axis.get_yticklabels() if label.get_text() and label.get_visible()]
        extents = sorted((e.y0, e.y1) for e in (label.get_window_extent(renderer) for label in labels))
        assert all(upper >= lower - 1 for (_, lower), (upper, _) in itertools.pairwise(extents)), "labels overlap"


@pytest.mark.parametrize("metric", ["auroc", "mcc"])
def test_figures_hold_their_text(results, metric):
    for figure in figures_of(results, metric):
        check_figure(figure)


@pytest.mark.parametrize(("n", "pages"), [(1, 1), (23, 2)])
def test_figures_of_one_and_many_sets(tmp_path, n, pages):
    many = read_results([write_run(tmp_path / "run", [f"RBP{i}" for i in range(n)], n_test=20, repeats=1)])
    drawn = figures_of(many)
    assert len(drawn) == 3 + pages
    for figure in drawn:
        check_figure(figure)


def test_limits_contain_the_data(results):
    values = method_values(results, "auroc")
    boxes = figures.plot_boxes(results).axes[0]
    low, high = boxes.get_xlim()
    assert low < np.nanmin(values)
    assert high > np.nanmax(values)
    assert [label.get_text() for label in boxes.get_yticklabels()][4] == "Random probe  (n = 4)"
    scatter = figures.plot_scatter(results)
    assert len(scatter.axes) == 2
    for axis in scatter.axes:
        assert axis.get_xlim() == axis.get_ylim()  # or the diagonal would not be one
        points = np.concatenate([part.get_offsets() for part in axis.collections])
        assert (points > axis.get_xlim()[0]).all()
        assert (points < axis.get_xlim()[1]).all()
    assert sum(len(part.get_offsets()) for part in scatter.axes[0].collections) == 5 * 2 + 4 * 2
    layers = figures.plot_layers(results).axes[0]
    for line in layers.lines:
        assert layers.get_ylim()[0] < min(line.get_ydata()) <= max(line.get_ydata()) < layers.get_ylim()[1]


def test_figures_that_lack_their_data(tmp_path):
    folder = write_run(tmp_path / "run", ["QKI"])
    for file in ("results.csv", "predictions.csv"):
        edit(folder / file, lambda table: table[table["representation"].isin(["gc", "dinucleotide"])])
    results = read_results([folder])
    assert figures.plot_scatter(results) is None
    assert figures.plot_layers(results) is None
    check_figure(figures.plot_boxes(results))


def test_error_bars_say_what_they_are(results):
    summary = summarise(results, n_boot=20)
    assert figures.error_bars(summary) == "bootstrap"
    without = summary.assign(low=np.nan)
    assert figures.error_bars(without) == "sd"
    assert "sd over repeats" in figures.plot_bars(results, without)[0].get_supxlabel()
