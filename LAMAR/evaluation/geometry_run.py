"""A whole run of the geometry of frozen encoders: labelled sets to tables, intervals and figures."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..data.labelled import LabelledSet
from ..runs import RunFolder, storage
from . import geometry, geometry_figures, geometry_units
from .encoders import EmbeddingsOf, EncoderOptions, EncoderVariant, embedder, open_encoders
from .geometry_probe import FEW, probe_aurocs, rank_correlations
from .geometry_units import DIFFERENCE_COLUMNS, FIGURE_COLUMNS, SPECTRUM_COLUMNS, GeometryOptions
from .probes import find_sets

__all__ = ["PAIR_COLUMNS", "RESULT_COLUMNS", "GeometryResult", "closing_table", "measure_geometry"]

logger = logging.getLogger(__name__)

RESULT_COLUMNS = ("variant", "layer", "dataset", "pooling", *FIGURE_COLUMNS)
PAIR_COLUMNS = ("variant_a", "variant_b", "layer", "dataset", *DIFFERENCE_COLUMNS)

Units = Mapping[str, Mapping[int, dict]]  # by variant and layer


@dataclass(frozen=True, eq=False)
class GeometryResult:
    """What `measure_geometry` measured.

    Attributes
    ----------
    units : dict
        By variant and layer, each as `LAMAR.evaluation.geometry.measure` returns it.
    correlations : DataFrame or None
        Rank correlations with the AUROC of linear probes, see `LAMAR.evaluation.geometry_probe.rank_correlations`.
    """

    units: dict[str, dict[int, dict]]
    correlations: pd.DataFrame | None


def measure_geometry(
    data_dir: str | Path,
    output_dir: str | Path,
    encoders: EncoderOptions | None = None,
    options: GeometryOptions | None = None,
    *,
    rbps: Sequence[str] | None = None,
    max_length: int = 512,
    truncate: bool = False,
    sequence_column: str | None = None,
    label_column: str | None = None,
    with_probe: str | Path | None = None,
    note: str = "",
    overwrite: bool = False,
) -> GeometryResult:
    """Measure how evenly the embeddings of frozen encoders fill their space, by layer, and write a run folder.

    All models see the same records, and all layers come from one pass. A unit that an earlier start finished is not
    measured again.

    Parameters
    ----------
    data_dir : path
        Labelled set, or folder of sets.
    output_dir : path
        Run folder, made if missing: ``results.csv``, ``differences.csv``, ``spectra.csv``, figures, ``run.json``.
    encoders : EncoderOptions, optional
        None takes all variants in float32. Without ``layers`` all layers are measured.
    options : GeometryOptions, optional
    rbps : sequence of str, optional
        Names of sets; None takes all.
    max_length : int
        Largest number of tokens per sequence, two of them special.
    truncate : bool
        Cut longer sequences at the 3' end instead of raising; their number is logged.
    sequence_column, label_column : str, optional
        Columns of tables that have other names than ``sequence`` and ``label``.
    with_probe : path, optional
        Folder of an evaluation run of the same sets and weights: correlate figures with its linear probes.
    note : str
        Remark in the titles of figures.
    overwrite : bool
        Delete an earlier run in ``output_dir`` first.

    Returns
    -------
    GeometryResult

    Raises
    ------
    InputError
        For data or weights that cannot be read, a run in ``with_probe`` of other weights, or a folder that holds
        another run; nothing is written then.
    """
    encoders, options = encoders or EncoderOptions(dtype="float32"), options or GeometryOptions()
    columns = {"sequence_column": sequence_column, "label_column": label_column}
    sets = find_sets(data_dir, rbps, max_length=max_length, truncate=truncate, **columns)
    chosen = _choose_records(sets, options)
    opened = open_encoders(encoders, options.seed)
    smallest = min(chosen.values(), key=len)
    for encoder in opened:
        width = encoder.model.config.hidden_size
        geometry_units.warn_of_few(len(smallest), width, f"{smallest.name}, {encoder.name}")
    aurocs, inputs = None, sorted({file for dataset in sets for file in dataset.files})
    if with_probe is not None:
        aurocs = probe_aurocs(Path(with_probe), {encoder.name: encoder.digest for encoder in opened})
        inputs.append(Path(with_probe) / "results.csv")
    recorded = {"data_dir": data_dir, "rbps": rbps, "max_length": max_length, "with_probe": with_probe}
    # Absent from runs begun before there were such options.
    recorded |= {name: value for name, value in {"truncate": truncate, **columns}.items() if value}
    recorded |= {name: value for name, value in encoders.recorded().items() if name != "extraction_batch_size"}
    with RunFolder.open(
        output_dir,
        arguments=recorded | options.recorded() | {"output_dir": output_dir},
        seed=options.seed,
        inputs=inputs,
        weights={encoder.name: encoder.weights | {"digest": encoder.digest} for encoder in opened},
        overwrite=overwrite,
    ) as run:
        embeddings_of = embedder(encoders, encoders.cache_dir or run.folder("embeddings"))
        units = {}
        for encoder in opened:
            layers = encoder.layers if encoders.layers else tuple(range(encoder.n_layers))
            units[encoder.name] = _measure_encoder(run, encoder, layers, chosen, embeddings_of, options)
        table, correlations = _write_tables(run, units, aurocs, options)
        _write_figures(run, units, table, list(chosen), aurocs, f" ({note})" if note else "")
        summary = {} if correlations is None else {"configurations": int(correlations["n_configurations"].max())}
        run.finish({"data_sets": len(sets), "variants": list(units), **summary})
    return GeometryResult(units, correlations)


def _choose_records(sets: Iterable[LabelledSet], options: GeometryOptions) -> dict[str, LabelledSet]:
    """Return the records of each set that are measured, by its name."""
    sets = list(sets)
    geometry.check_names([dataset.name for dataset in sets])
    chosen = {}
    for dataset in sets:
        rows = geometry.sample_rows(dataset.labels, options.n_per_rbp, options.seed, dataset.name)
        chosen[dataset.name] = dataset.take(rows)
        if len(rows) < options.n_per_rbp:
            logger.warning(
                "%s: has %d records, all are taken; not comparable with larger sets", dataset.name, len(rows)
            )
    return chosen


def _measure_encoder(
    run: RunFolder,
    encoder: EncoderVariant,
    layers: Iterable[int],
    sets: Mapping[str, LabelledSet],
    embeddings_of: EmbeddingsOf,
    options: GeometryOptions,
) -> dict[int, dict]:
    def arrays(missing: list[int]) -> dict[int, dict]:
        outputs = [(layer, options.pooling) for layer in missing]
        embeddings = {name: embeddings_of(encoder, dataset.sequences, outputs) for name, dataset in sets.items()}
        return {
            layer: {name: by_output[layer, options.pooling].values for name, by_output in embeddings.items()}
            for layer in missing
        }

    names = {layer: f"{encoder.name},{layer}" for layer in sorted(layers)}
    labels = {name: dataset.labels for name, dataset in sets.items()}
    return geometry_units.measure_layers(run, names, arrays, labels, encoder.name, options)


def _write_tables(
    run: RunFolder, units: Units, aurocs, options: GeometryOptions
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Write all CSV files; return that of the results, and the rank correlations where ``aurocs`` are given."""
    labelled = [
        ({"variant": name, "layer": layer}, unit) for name, layers in units.items() for layer, unit in layers.items()
    ]
    rows = []
    for labels, unit in labelled:
        rows += geometry.figure_rows({**labels, "pooling": options.pooling}, unit)
    storage.write_csv(run.file("results.csv"), rows, RESULT_COLUMNS)
    storage.write_csv(run.file("differences.csv"), _pair_rows(units), PAIR_COLUMNS)
    spectra = geometry_units.spectrum_rows(labelled)
    storage.write_csv(run.file("spectra.csv"), spectra, ("variant", *SPECTRUM_COLUMNS))
    results = pd.DataFrame(rows)
    if aurocs is None:
        return results, None
    table = rank_correlations(results, aurocs, seed=options.seed)
    storage.write_csv(run.file("probe_correlations.csv"), table)
    n = int(table["n_configurations"].max())
    if n < FEW:
        logger.warning(
            "%d configurations are weak evidence: the smallest p-value possible is %.2g", n, table["smallest_p"].min()
        )
    logger.warning("layers of one encoder are not independent, so these p-values are too small rather than too large")
    return results, table


def _pair_rows(units: Units) -> list[dict]:
    """Return the differences between variants that have equally many layers, so that equal numbers are equal depths."""
    pairs = []
    for a, b in itertools.combinations(units, 2):
        if len(units[a]) == len(units[b]):
            for layer in (layer for layer in units[a] if layer in units[b]):
                labels = {"variant_a": a, "variant_b": b, "layer": layer}
                pairs += geometry.difference_rows(labels, units[a][layer], units[b][layer])
    return pairs


def _write_figures(run: RunFolder, units: Units, table: pd.DataFrame, sets: Sequence[str], aurocs, note: str) -> None:
    spectra: dict[int, dict] = {}
    for name, layers in units.items():
        for layer, unit in layers.items():
            spectra.setdefault(layer, {})[name] = unit["spectrum"]
    table = table.astype(dict.fromkeys(("value", "low", "high"), float))
    union = list(next(iter(next(iter(units.values())).values()))["figures"])[-1]
    overall = table[table["dataset"] == union].assign(line="")
    top = {f"{name} L{max(layers)}": layers[max(layers)] for name, layers in units.items()}
    panels = geometry_units.component_panels(top, sets)
    figures = {
        "layers": geometry_figures.plot_layers(overall.rename(columns={"variant": "series"}), f"{union}{note}"),
        "spectra": geometry_figures.plot_spectra(spectra, f"singular values of centred embeddings, {union}{note}"),
        "components": geometry_figures.plot_components(panels, f"principal components{note}"),
    }
    if aurocs is not None:
        both = table.merge(aurocs, on=["dataset", "variant", "layer"])
        figures["probe"] = geometry_figures.plot_probe(both, f"geometry and performance{note}")
    geometry_units.write_figures(run, figures)


def closing_table(result: GeometryResult) -> str:
    """Return the headline figures of each variant and layer as text, after the correlations where there are some."""
    lines = []
    if result.correlations is not None:
        table = result.correlations
        n = int(table["n_configurations"].max())
        lines += ["", f"rank correlation with the linear probe's AUROC over {n} configurations (variant and layer):"]
        first = table[(table["variant"] == table["variant"].iloc[0]) & (table["dataset"] == table["dataset"].iloc[0])]
        for row in first.itertuples():
            p_values = f"p = {row.p_value:.3g}, {row.p_holm:.3g} after Holm"
            lines.append(f"  {row.figure:<22} {row.spearman:+.2f}  {p_values}")
    lines.append("")
    for name, layers in result.units.items():
        lines += [
            f"  {name:<12} layer {layer:>2}: {geometry_units.headline_text(unit)}" for layer, unit in layers.items()
        ]
    return "\n".join(lines)
