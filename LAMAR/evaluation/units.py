"""Units of work of one data set in an evaluation run: each method, variant, layer and repeat, computed once.

The CNN is a parameter, so that nothing here depends on Keras.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..runs import RunFolder
from .encoders import EmbeddingsOf, EncoderVariant
from .probes import Parts, baseline_row, draw_training, result, unit_name
from .registries import REPRESENTATIONS, Representation, select_representations

__all__ = ["TrainCnn", "evaluate"]

logger = logging.getLogger(__name__)

# (records, labels, train, validation, test, representation, seed) -> test probabilities, {n_parameters, learned}
TrainCnn = Callable[..., tuple[np.ndarray, dict]]


def evaluate(
    run: RunFolder,
    parts: Parts,
    variants: Sequence[EncoderVariant],
    train_cnn: TrainCnn | None,
    *,
    n_repeats: int,
    seed: int,
    pooling: str = "none",
    embeddings_of: EmbeddingsOf | None = None,
    no_baselines: bool = False,
    subsample_pos: int | None = None,
    subsample_neg: int | None = None,
) -> Iterator[dict]:
    """Yield the result of every unit of one data set, computed now or on an earlier start, in the order of the tables.

    Parameters
    ----------
    run : RunFolder
        Where results are saved and looked up.
    parts : Parts
    variants : sequence of EncoderVariant
        Frozen encoders; may be empty.
    train_cnn : callable or None
        ``train_cnn(records, labels, train, validation, test, representation, seed)`` returns test probabilities and a
        dict of ``n_parameters`` and ``learned``, arguments of `LAMAR.evaluation.probes.result`; ``representation`` is
        ``"one_hot"`` for sequence and ``"lamar"`` for embeddings. None leaves out every CNN.
    n_repeats : int
        Seeds of the CNN: ``seed``, ``seed + 1`` ...
    seed : int
    pooling : {"none", "mean", "cls", "max"}
        Pooling of the vectors that linear probes read; "none" is the mean, and that of the CNN, which reads every
        nucleotide.
    embeddings_of : callable, optional
        ``embeddings_of(variant, sequences, outputs)`` returns `LAMAR.embeddings.Embeddings` by output, a pair of layer
        and pooling. It is called once per variant, with all outputs that are still needed. Needed with variants only.
    no_baselines : bool
        Leave out composition, one-hot and linear probes.
    subsample_pos, subsample_neg : int, optional
        Positives and negatives to train on. Every repeat draws its own (`draw_training`) for all methods, and methods
        without a seed are repeated too.

    Yields
    ------
    dict
        As `LAMAR.evaluation.probes.result`; probes add ``validation_auroc`` and ``penalty``.
    """
    is_drawn = subsample_pos is not None or subsample_neg is not None
    draws = [
        draw_training(parts, subsample_pos, subsample_neg, seed + repeat) if is_drawn else parts
        for repeat in range(n_repeats)
    ]
    units = _Units(run, draws, train_cnn, seed, pooling, n_unseeded=n_repeats if is_drawn else 1)
    if not no_baselines:
        yield from units.composition()
        if train_cnn:
            yield from units.sequence_cnns()
    for variant in variants:
        yield from units.variant_units(variant, embeddings_of, with_probes=not no_baselines)


@dataclass(eq=False)
class _Units:
    """Units of one data set.

    Attributes
    ----------
    run : RunFolder
    draws : list of Parts
        Parts of each repeat: all the same, or training records drawn for each.
    train_cnn : callable or None
    seed : int
        Seed of repeat 0.
    pooling : str
        See `evaluate`.
    n_unseeded : int
        Repeats of methods that have no seed.
    """

    run: RunFolder
    draws: list[Parts]
    train_cnn: TrainCnn | None
    seed: int
    pooling: str
    n_unseeded: int
    name: str = field(init=False)
    sequences: Sequence[str] = field(init=False)

    def __post_init__(self):
        dataset = self.draws[0].dataset
        self.name, self.sequences = dataset.name, dataset.sequences

    @property
    def probe_pooling(self) -> str:
        return "mean" if self.pooling == "none" else self.pooling

    def unit(
        self, representation: str, compute: Callable[[], dict], variant="", layer: int | str = "", repeat=0
    ) -> dict:
        """Return the saved result of a unit, or compute, save and log it."""
        key = unit_name(self.name, representation, variant, layer, repeat)
        if (earlier := self.run.find_unit(key)) is not None:
            return earlier
        saved = self.run.save_unit(key, compute())
        row = saved["row"]
        method = " ".join(str(row[column]) for column in ("representation", "variant") if row[column])
        where = f" layer {layer}" if layer != "" else ""
        figures = f"AUROC {row['auroc']:.3f} ({row['seconds']:.0f} s)"
        logger.info("%s: %s%s, repeat %d: %s", self.name, method, where, repeat, figures)
        return saved

    # -------------------------------------------------------------------------------------- without an encoder

    def composition(self) -> Iterator[dict]:
        for entry in select_representations("composition"):
            for repeat in range(self.n_unseeded):

                def compute(entry=entry, repeat=repeat) -> dict:
                    return baseline_row(self.draws[repeat], entry.name, repeat)

                yield self.unit(entry.name, compute, repeat=repeat)

    def sequence_cnns(self) -> Iterator[dict]:
        for entry in select_representations("sequence"):
            keys = (unit_name(self.name, entry.name, repeat=repeat) for repeat in range(len(self.draws)))
            records = None if all(map(self.run.done, keys)) else entry.load()(self.sequences)
            for repeat in range(len(self.draws)):

                def compute(entry=entry, records=records, repeat=repeat) -> dict:
                    return self.cnn(entry, records, repeat)

                yield self.unit(entry.name, compute, repeat=repeat)

    def cnn(self, representation: Representation, records, repeat: int, **labels) -> dict:
        """Train the CNN on records, score it on test."""
        start, parts = time.perf_counter(), self.draws[repeat]
        network = "one_hot" if representation.kind == "sequence" else "lamar"
        probabilities, trained = self.train_cnn(
            records, parts.labels, parts.train, parts.validation, parts.test, network, self.seed + repeat
        )
        facts = trained | {"seconds": time.perf_counter() - start, "repeat": repeat}
        return result(parts, representation.name, probabilities, **facts, **labels)

    # ------------------------------------------------------------------------------------------ with an encoder

    def variant_units(self, variant: EncoderVariant, embeddings_of: EmbeddingsOf | None, with_probes: bool):
        """Yield the CNN's units of an encoder, then its probes, from one pass of the encoder at most."""
        cnns = [entry.name for entry in select_representations("embedding") if self.train_cnn]
        probes = [entry.name for entry in select_representations("probe") if with_probes]
        repeats = range(len(self.draws))
        outputs: list[tuple[int, str]] = []
        if not self.are_done(cnns, variant, variant.layers, repeats):
            outputs += [(layer, "none") for layer in variant.layers]
        if not self.are_done(probes, variant, range(variant.n_layers), range(self.n_unseeded)):
            outputs += [(layer, self.probe_pooling) for layer in range(variant.n_layers)]
        embeddings = embeddings_of(variant, self.sequences, outputs) if outputs else {}
        for representation in cnns:
            yield from self.embedding_cnns(REPRESENTATIONS[representation], variant, embeddings)
        for representation in probes:
            for repeat in range(self.n_unseeded):
                yield from self.probes(REPRESENTATIONS[representation], variant, embeddings, repeat)

    def are_done(self, representations, variant: EncoderVariant, layers: Sequence[int], repeats: Sequence[int]) -> bool:
        keys = (
            unit_name(self.name, representation, variant.name, layer, repeat)
            for representation in representations
            for layer in layers
            for repeat in repeats
        )
        return all(map(self.run.done, keys))

    def embedding_cnns(
        self, representation: Representation, variant: EncoderVariant, embeddings: dict
    ) -> Iterator[dict]:
        for layer in variant.layers:
            for repeat in range(len(self.draws)):

                def compute(layer=layer, repeat=repeat) -> dict:
                    labels = {"variant": variant.name, "layer": layer, "pooling": "none"}
                    return self.cnn(representation, embeddings[layer, "none"], repeat, **labels)

                yield self.unit(representation.name, compute, variant.name, layer, repeat)

    def probes(self, representation: Representation, variant: EncoderVariant, embeddings: dict, repeat: int):
        """Yield a probe of every layer; the one with the best validation AUROC is marked as chosen."""
        layers, name = range(variant.n_layers), representation.name
        if self.are_done([name], variant, layers, [repeat]):
            keys = (unit_name(self.name, name, variant.name, layer, repeat) for layer in layers)
            yield from map(self.run.load_unit, keys)
            return
        parts, fit = self.draws[repeat], representation.load()
        probes = {layer: fit(parts, embeddings[layer, self.probe_pooling].values) for layer in layers}
        best = max(layers, key=lambda layer: probes[layer].validation_auroc)
        for layer, probe in probes.items():

            def compute(layer=layer, probe=probe) -> dict:
                facts = {"n_parameters": probe.n_parameters, "seconds": probe.seconds, "chosen": layer == best}
                labels = {"variant": variant.name, "layer": layer, "pooling": self.probe_pooling, "repeat": repeat}
                scored = result(parts, name, probe.probabilities, **facts, **labels)
                return scored | {"validation_auroc": probe.validation_auroc, "penalty": probe.penalty}

            yield self.unit(name, compute, variant.name, layer, repeat)
