"""What the two scripts of this folder share: their options, embedding, and the tables and figures that both write."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence

from ..cli.arguments import not_negative, number, path, positive

logger = logging.getLogger("isoscore")

FIGURE_COLUMNS = ("n", "d", "figure", "value", "low", "high", "bias")
DIFFERENCE_COLUMNS = ("n", "figure", "value_a", "value_b", "difference", "low", "high")
SPECTRUM_COLUMNS = ("layer", "component", "singular_value")
PANEL_ROWS = 6  # data sets that one figure of principal components has room for
SHOWN = ("isoscore", "k90_ratio", "average_cosine", "intrinsic_dimension")  # in the closing table


def add_geometry_options(parser: argparse.ArgumentParser) -> None:
    fit = parser.add_argument_group("geometry and run")
    fit.add_argument(
        "--n_per_rbp",
        type=number(int, "2 or more", lambda value: 2 <= value < 2**31),
        default=2000,
        help="records of each set, the same for every model (default: %(default)s)",
    )
    fit.add_argument(
        "--pooling",
        choices=("mean", "cls", "max"),
        default="mean",
        help="one vector a record: mean or max over nucleotides, or <cls> (default: %(default)s)",
    )
    fit.add_argument(
        "--bootstrap", type=not_negative(int), default=100, help="resamples of intervals, 0 for none (default: 100)"
    )
    fit.add_argument(
        "--zeta",
        type=number(float, "0 to 1", lambda value: 0 <= value <= 1),
        default=0.2,
        help="shrinkage of IsoScore* towards the covariance of all sets (default: %(default)s)",
    )
    fit.add_argument("--output_dir", type=path, help="folder of the results")
    fit.add_argument("--seed", type=not_negative(int), default=42, help="default: %(default)s")
    fit.add_argument("--overwrite", action="store_true", help="start the run in --output_dir anew")


def add_length_option(group) -> None:
    group.add_argument(
        "--max_length", type=positive(int), default=512, help="most tokens, two of them special (default: %(default)s)"
    )


def log_messages() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for noisy in ("httpx", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def measured(
    folder,
    names: Mapping[int, str],
    arrays: Callable[[list[int]], dict[int, dict]],
    labels: Mapping[str, Sequence[int]],
    what: str,
    arguments: argparse.Namespace,
) -> dict[int, dict]:
    """Units of one encoder, by layer: what an earlier start measured, and the rest now.

    ``names`` are the units' names by layer; ``arrays`` gives layer -> set -> embeddings for the layers it is asked for,
    in one pass. The labels of the rows that are drawn go into the unit of the highest layer.
    """
    from .geometry import measure

    missing = [layer for layer, name in names.items() if not folder.done(name)]
    embeddings = arrays(missing) if missing else {}
    top = max(names)
    found = {}
    for layer, name in names.items():
        if layer not in missing:
            found[layer] = folder.load_unit(name)
            continue
        unit = measure(
            embeddings[layer],
            n_boot=arguments.bootstrap,
            seed=arguments.seed,
            zeta=arguments.zeta,
            with_scores=layer == top,
        )
        for dataset, scores in unit["scores"].items():
            scores["labels"] = [int(labels[dataset][row]) for row in scores["rows"]]
        found[layer] = folder.save_unit(name, unit)
        logger.info("%s layer %d: %s", what, layer, in_words(found[layer]))
    return found


def in_words(unit: dict) -> str:
    """The figures that people look for first, of all sets."""
    from ..statistics.isotropy import FIGURES

    figures = list(unit["figures"].values())[-1]
    known = {FIGURES[name].label: figures[name] for name in SHOWN}
    return ", ".join(f"{label} {'undefined' if value is None else f'{value:.3g}'}" for label, value in known.items())


def warn_of_few(n: int, d: int, name: str) -> None:
    if n < d:
        logger.warning(
            "%s: %d records in %d dimensions: most figures are bounded by the records; compare at equal n only",
            name,
            n,
            d,
        )


def component_panels(units: Mapping[str, dict], sets: Sequence[str]) -> dict:
    """Panels of `LAMAR.evaluation.geometry_figures.plot_components`: sets in rows, units of the highest layer in columns."""
    import numpy as np

    if len(sets) > PANEL_ROWS:
        logger.info("principal components: the first %d of %d data sets are drawn", PANEL_ROWS, len(sets))
    return {
        (dataset, name): (unit["scores"][dataset], np.array(unit["scores"][dataset]["labels"]))
        for dataset in sets[:PANEL_ROWS]
        for name, unit in units.items()
        if dataset in unit["scores"]
    }


def write_figures(folder, figures: Mapping[str, object]) -> None:
    """PNG and SVG of each figure that is there."""
    from ..runs.figures import save_figure

    for stem, figure in figures.items():
        if figure is not None:
            for ending in ("png", "svg"):
                folder.file(f"{stem}.{ending}")
            save_figure(figure, folder.path / stem)
