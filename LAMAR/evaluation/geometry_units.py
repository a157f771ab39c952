"""What both geometry runs share: their options, measuring the layers of one encoder, columns, figures as files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..runs import RunFolder
from ..runs.figures import save_figure
from ..runs.progress import Progress
from ..statistics.isotropy import FIGURES
from .geometry import measure

__all__ = [
    "DIFFERENCE_COLUMNS",
    "FIGURE_COLUMNS",
    "HEADLINES",
    "SPECTRUM_COLUMNS",
    "GeometryOptions",
    "component_panels",
    "headline_text",
    "measure_layers",
    "spectrum_rows",
    "warn_of_few",
    "write_figures",
]

logger = logging.getLogger(__name__)

FIGURE_COLUMNS = ("n", "d", "figure", "value", "low", "high", "bias")
DIFFERENCE_COLUMNS = ("n", "figure", "value_a", "value_b", "difference", "low", "high")
SPECTRUM_COLUMNS = ("layer", "component", "singular_value")
HEADLINES = ("isoscore", "k90_ratio", "average_cosine", "intrinsic_dimension")  # figures of closing tables
PANEL_ROWS = 6  # data sets that one figure of principal components has room for


@dataclass(frozen=True)
class GeometryOptions:
    """What is measured.

    Attributes
    ----------
    n_per_rbp : int
        Records of each set, 2 or more, the same for every model.
    pooling : {"mean", "cls", "max"}
        One vector per record: mean or maximum over nucleotides, or the vector of ``<cls>``.
    bootstrap : int
        Resamples of intervals; 0 for none.
    zeta : float
        Shrinkage of IsoScore* towards the covariance of all sets, 0 to 1.
    seed : int
        Seed of the records drawn, of resamples, and of random weights.
    """

    n_per_rbp: int = 2000
    pooling: str = "mean"
    bootstrap: int = 100
    zeta: float = 0.2
    seed: int = 42

    def recorded(self) -> dict:
        """Return what ``run.json`` holds of these options, under the names of the flags."""
        return asdict(self)


def measure_layers(
    run: RunFolder,
    names: Mapping[int, str],
    arrays: Callable[[list[int]], dict[int, dict]],
    labels: Mapping[str, Sequence[int]],
    title: str,
    options: GeometryOptions,
) -> dict[int, dict]:
    """Measure the layers of one encoder; those that an earlier start measured are read.

    Parameters
    ----------
    run : RunFolder
    names : mapping of int to str
        Name of the unit of each layer.
    arrays : callable
        ``arrays(layers)`` returns float embeddings (n, d) by layer and set, for all layers that are missing at once.
    labels : mapping of str
        Labels of the records by set. Those of the records that are drawn go into the unit of the highest layer.
    title : str
        What log messages call the encoder.
    options : GeometryOptions

    Returns
    -------
    dict
        Units by layer, each as `LAMAR.evaluation.geometry.measure` returns it.
    """
    missing = [layer for layer, name in names.items() if not run.done(name)]
    embeddings = arrays(missing) if missing else {}
    top = max(names)
    units = {}
    with Progress(len(missing), "layers", f"{title} geometry") as shown:
        for layer, name in names.items():
            if layer not in missing:
                units[layer] = run.load_unit(name)
                continue
            unit = measure(
                embeddings[layer],
                n_boot=options.bootstrap,
                seed=options.seed,
                zeta=options.zeta,
                with_scores=layer == top,
            )
            for dataset, scores in unit["scores"].items():
                scores["labels"] = [int(labels[dataset][row]) for row in scores["rows"]]
            units[layer] = run.save_unit(name, unit)
            logger.info("%s layer %d: %s", title, layer, headline_text(units[layer]))
            shown.advance()
    return units


def headline_text(unit: dict) -> str:
    """Return the most important figures of all sets as text."""
    figures = list(unit["figures"].values())[-1]
    labelled = {FIGURES[name].label: figures[name] for name in HEADLINES}
    return ", ".join(f"{label} {'undefined' if value is None else f'{value:.3g}'}" for label, value in labelled.items())


def warn_of_few(n: int, d: int, name: str) -> None:
    """Log a warning where there are fewer records than dimensions."""
    if n < d:
        logger.warning(
            "%s: %d records in %d dimensions: most figures are bounded by the records; compare at equal n only",
            name,
            n,
            d,
        )


def spectrum_rows(units: Iterable[tuple[Mapping, dict]]) -> list[dict]:
    """Return rows of ``spectra.csv``, one per component, from pairs of label columns and unit."""
    return [
        {**labels, "component": i, "singular_value": value}
        for labels, unit in units
        for i, value in enumerate(unit["spectrum"], start=1)
    ]


def component_panels(units: Mapping[str, dict], sets: Sequence[str]) -> dict:
    """Return the panels of `LAMAR.evaluation.geometry_figures.plot_components`.

    Parameters
    ----------
    units : mapping of str to dict
        Units of the highest layers, by the name of their column.
    sets : sequence of str
        Names of data sets, one row each; there is room for the first six.
    """
    if len(sets) > PANEL_ROWS:
        logger.info("principal components: the first %d of %d data sets are drawn", PANEL_ROWS, len(sets))
    return {
        (dataset, name): (unit["scores"][dataset], np.array(unit["scores"][dataset]["labels"]))
        for dataset in sets[:PANEL_ROWS]
        for name, unit in units.items()
        if dataset in unit["scores"]
    }


def write_figures(run: RunFolder, figures: Mapping[str, object]) -> None:
    """Write each figure as PNG and SVG under its name; None is skipped."""
    for stem, figure in figures.items():
        if figure is not None:
            for ending in ("png", "svg"):
                run.file(f"{stem}.{ending}")
            save_figure(figure, run.path / stem)
