"""One run of the embedding evaluation: the units of work, their order, their tables.

The Keras CNN is handed in by the script, so that nothing here depends on TensorFlow.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import runs
from ..errors import InputError
from ..runs import storage
from .probes import BASELINES, Parts, baseline_row, draw_training, fit_probe, result, unit_name
from .result_columns import COLUMNS, PREDICTED_UNIT, PREDICTION_COLUMNS

__all__ = ["EncoderVariant", "evaluate", "open_variants", "write_tables"]

logger = logging.getLogger(__name__)

# (records, labels, train, validation, test, representation, seed) -> test probabilities, number of parameters
TrainCnn = Callable[..., tuple[np.ndarray, int]]


@dataclass(frozen=True, eq=False)
class EncoderVariant:
    """A frozen encoder: name in tables, model, digest of its tensors, report of loading, layers to evaluate."""

    name: str
    model: object
    digest: str
    weights: dict
    layers: tuple[int, ...]

    @property
    def n_layers(self) -> int:
        return self.model.config.num_hidden_layers


def open_variants(
    names: Sequence[str],
    weights: dict[str, str | Path | None],
    *,
    named: set[str],
    config,
    layers: Sequence[int] | None,
    seed: int,
) -> list[EncoderVariant]:
    """Load each variant's encoder through the verified loader.

    Parameters
    ----------
    names : of ``Pretrained``, ``TAPT``, ``Random``
    weights : path of each variant but ``Random``, None where there is none
    named : set of str
        Variants that the user asked for: one of them without weights is an error. Others are reported and left out.
    config : EsmConfig or None
        Shape of ``Random``; None takes that of the first variant that has weights, else ``lamar-mini``.
    layers : block indices, negatives from the end; None takes the top and the middle one
    seed : of ``Random``
    """
    from ..checkpoints import load_pretrained
    from ..configuration import named_config
    from ..embedding_cache import model_digest
    from ..layers import default_layers, resolve_layers
    from ..modeling_nucESM2 import EsmModel

    found = []
    for name in sorted(names, key=lambda name: name == "Random"):  # whose shape is that of the others
        path = weights.get(name)
        if name != "Random" and (path is None or not Path(path).exists()):
            where = f"no weights at {path}" if path else "no weights"
            if name in named:
                raise InputError(f"--{name.lower()}_weights: found {where}, wanted a checkpoint for variant {name}")
            logger.warning("variant %s left out: %s", name, where)
            continue
        shape = config
        if name == "Random" and shape is None:
            shape = found[0].model.config if found else named_config("lamar-mini")
        model, report = load_pretrained(EsmModel, path if name != "Random" else "", config=shape, seed=seed)
        n_layers = model.config.num_hidden_layers
        chosen = resolve_layers(layers, n_layers) if layers else default_layers(n_layers)
        found.append(EncoderVariant(name, model, model_digest(model), report.to_dict(), chosen))
    if not found:
        raise InputError("--variants: found weights for none of them, wanted some, or Random")
    shapes = {v.name: f"{v.n_layers} x {v.model.config.hidden_size}" for v in found}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        logger.warning("variants of different shapes (%s): what differs between them is not pre-training alone", listed)
    return sorted(found, key=lambda variant: list(names).index(variant.name))


def evaluate(
    run: runs.RunFolder,
    parts: Parts,
    variants: Sequence[EncoderVariant],
    train_cnn: TrainCnn | None,
    *,
    n_repeats: int,
    seed: int,
    pooling: str = "none",
    embeddings_of: Callable[..., dict] | None = None,
    baselines: bool = True,
    subsample: tuple[int | None, int | None] = (None, None),
) -> Iterator[dict]:
    """Results of every unit of one data set, done now or on an earlier start, in the order of the tables.

    ``embeddings_of(variant, sequences, outputs)`` gives `LAMAR.embeddings.Embeddings` by output, a pair of layer and
    pooling; it is called once for a variant, with all that is still needed of it. Without variants it is not needed.

    Without ``train_cnn`` there are composition baselines and linear probes only.

    With ``subsample``, positives and negatives to train on, every repeat draws its own (`draw_training`) for all
    methods, and what has no seed of its own is repeated too.
    """
    name = parts.dataset.name
    drawn = [parts] * n_repeats
    if subsample != (None, None):
        drawn = [draw_training(parts, *subsample, seed + repeat) for repeat in range(n_repeats)]
    draws = range(1 if subsample == (None, None) else n_repeats)  # repeats of methods that are not seeded

    def unit(representation: str, compute: Callable[[], dict], variant: str = "", layer: int | str = "", repeat=0):
        key = unit_name(name, representation, variant, layer, repeat)
        if run.done(key):
            return run.load_unit(key)
        found = run.save_unit(key, compute())
        row = found["row"]
        what = " ".join(str(row[column]) for column in ("representation", "variant") if row[column])
        where = f" layer {layer}" if layer != "" else ""
        logger.info("%s: %s%s, repeat %d: AUROC %.3f (%.0f s)", name, what, where, repeat, row["auroc"], row["seconds"])
        return found

    def cnn(records, representation: str, repeat: int, **labels) -> dict:
        start = time.perf_counter()
        of = drawn[repeat]
        probabilities, n_parameters = train_cnn(
            records, of.labels, of.train, of.validation, of.test, representation, seed + repeat
        )
        seconds = time.perf_counter() - start
        facts = {"n_parameters": n_parameters, "seconds": seconds, "repeat": repeat}
        return result(of, representation, probabilities, **facts, **labels)

    if baselines:
        for features in BASELINES:
            for repeat in draws:
                yield unit(features, functools.partial(baseline_row, drawn[repeat], features, repeat), repeat=repeat)
    if baselines and train_cnn:
        from ..data.one_hot import encode_one_hot

        one_hot = encode_one_hot(parts.dataset.sequences)
        for repeat in range(n_repeats):
            yield unit("one_hot", functools.partial(cnn, one_hot, "one_hot", repeat), repeat=repeat)

    for variant in variants:
        keys = [(layer, repeat) for layer in variant.layers for repeat in range(n_repeats) if train_cnn]
        outputs = []
        if not all(run.done(unit_name(name, "lamar", variant.name, *key)) for key in keys):
            outputs += [(layer, pooling) for layer in variant.layers]
        if baselines and not all(_probes_done(run, name, variant, repeat) for repeat in draws):
            outputs += [(layer, "mean") for layer in range(variant.n_layers)]
        found = embeddings_of(variant, parts.dataset.sequences, outputs) if outputs else {}
        for layer, repeat in keys:
            labels = {"variant": variant.name, "layer": layer, "pooling": pooling}
            compute = functools.partial(cnn, found.get((layer, pooling)), "lamar", repeat, **labels)
            yield unit("lamar", compute, variant.name, layer, repeat)
        if baselines:
            for repeat in draws:
                yield from _probes(run, drawn[repeat], variant, found, unit, repeat)


def _probe_names(dataset: str, variant: EncoderVariant, repeat: int) -> list[str]:
    layers = range(variant.n_layers)
    return [unit_name(dataset, "linear_probe", variant.name, layer, repeat) for layer in layers]


def _probes_done(run, dataset: str, variant: EncoderVariant, repeat: int) -> bool:
    return all(map(run.done, _probe_names(dataset, variant, repeat)))


def _probes(run, parts: Parts, variant: EncoderVariant, embeddings: dict, unit, repeat: int) -> Iterator[dict]:
    """Linear probes of every layer; the one with the best validation AUROC is marked as chosen."""
    layers = range(variant.n_layers)
    if _probes_done(run, parts.dataset.name, variant, repeat):
        yield from map(run.load_unit, _probe_names(parts.dataset.name, variant, repeat))
        return
    probes = {layer: fit_probe(parts, embeddings[layer, "mean"].values) for layer in layers}
    best = max(layers, key=lambda layer: probes[layer].validation_auroc)
    for layer, probe in probes.items():

        def one(layer=layer, probe=probe) -> dict:
            facts = {"n_parameters": probe.n_parameters, "seconds": probe.seconds, "chosen": layer == best}
            labels = {"variant": variant.name, "layer": layer, "pooling": "mean", "repeat": repeat}
            found = result(parts, "linear_probe", probe.probabilities, **facts, **labels)
            return found | {"validation_auroc": probe.validation_auroc, "penalty": probe.penalty}

        yield unit("linear_probe", one, variant.name, layer, repeat)


def write_tables(run: runs.RunFolder, sets: Sequence[Parts], results: dict[str, list[dict]]) -> None:
    """``results.csv``, ``predictions.csv`` and ``split_report.json`` of all data sets."""
    rows = [found["row"] for parts in sets for found in results[parts.dataset.name]]
    storage.write_csv(run.file("results.csv"), rows, COLUMNS)
    storage.write_csv(run.file("predictions.csv"), _prediction_rows(sets, results), PREDICTION_COLUMNS)
    storage.write_json(run.file("split_report.json"), {parts.dataset.name: parts.report for parts in sets})


def _prediction_rows(sets: Sequence[Parts], results: dict[str, list[dict]]) -> Iterator[dict]:
    for parts in sets:
        for found in results[parts.dataset.name]:
            of = {name: found["row"][name] for name in PREDICTED_UNIT}
            for index, probability in zip(parts.test.tolist(), found["probabilities"]):
                label = int(parts.labels[index])
                yield {**of, "id": parts.dataset.ids[index], "label": label, "probability": probability}
