"""Names of records in titles of figures: shown letter by letter, whatever matplotlib would take for a formula."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from LAMAR.evaluation.geometry_figures import plot_spectra
from LAMAR.interpretation.attribution_figures import plot_aligned, plot_motif
from LAMAR.interpretation.dependency_figures import plot_map
from LAMAR.runs.figures import TITLE_LENGTH, save_figure
from LAMAR.training.figures import plot_learning_curves, plot_loss_curve, plot_regression, plot_roc_pr

# Two dollar signs around what is no formula.
NAME = r"site$_{\frac$ 7"

ALIGNED = pd.DataFrame({"method": "mutagenesis", "offset": [-1, 0, 1], "mean": 0.5, "sd": 0.1, "n": 9})
FIGURES = {
    "map": lambda title: plot_map(np.eye(6), "ACGTAC", label="x", title=title),
    "aligned": lambda title: plot_aligned(ALIGNED, title),
    "motif": lambda title: plot_motif(np.full((3, 4), 0.25), np.ones(3), 12, title),
    "spectra": lambda title: plot_spectra({0: {"a": np.array([1.0, 0.5])}}, title),
}


def shown(figure) -> str:
    titles = [figure.get_suptitle(), *(axis.get_title() for axis in figure.axes)]
    return next(title for title in titles if title).replace(r"\$", "$")


@pytest.mark.parametrize("kind", FIGURES)
def test_a_name_with_dollar_signs_is_shown_as_it_is(kind, tmp_path):
    figure = FIGURES[kind](NAME)
    assert shown(figure).startswith(NAME)
    assert save_figure(figure, tmp_path / "figure")


@pytest.mark.parametrize("kind", ["map", "aligned", "motif"])
def test_the_middle_of_a_long_name_is_left_out(kind):
    title = shown(FIGURES[kind]("x" * 300 + " (SYNTHETIC demo data)"))
    assert len(title) == TITLE_LENGTH
    assert title.startswith("xxx")
    assert title.endswith("x (SYNTHETIC demo data)")


def test_figures_of_training_with_dollar_signs_in_their_titles(tmp_path):
    """They raise where matplotlib cannot read a title."""
    history = [{"epoch": 1.0, "loss": 0.7}, {"epoch": 1.0, "eval_loss": 0.6, "eval_auroc": 0.5}]
    points = np.array([0, 1, 0, 1]), np.array([0.2, 0.7, 0.4, 0.3])
    plot_learning_curves({"fold_0": history}, "auroc", tmp_path / "a.png", NAME)
    plot_loss_curve([{"tokens": 1, "train_loss": 1.2, "validation_loss": None}], {}, tmp_path / "b.png", NAME)
    plot_roc_pr({"fold_0": points}, tmp_path / "c.png", NAME)
    plot_regression({NAME: points}, tmp_path / "d.png", NAME)
    assert len(list(tmp_path.glob("*.png"))) == 4
