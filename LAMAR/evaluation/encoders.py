"""Frozen encoders of an evaluation: their options, loading each variant, and embeddings through the cache."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .registries import VARIANTS, weighted_variants

if TYPE_CHECKING:
    from ..embeddings import Embeddings

__all__ = ["EncoderOptions", "EncoderVariant", "embedder", "open_encoders", "open_variants"]

logger = logging.getLogger(__name__)

# (variant, sequences, outputs) -> Embeddings by output, a pair of layer and pooling
EmbeddingsOf = Callable[..., "dict[tuple[int, str], Embeddings]"]


@dataclass(frozen=True)
class EncoderOptions:
    """Encoders to evaluate, and how their embeddings are extracted.

    Attributes
    ----------
    variants : sequence of str, optional
        Names in `LAMAR.evaluation.registries.VARIANTS`; one without weights is an error. None takes
        ``default_variants`` and those that ``weights`` names; without weights they are reported and left out.
    default_variants : sequence of str, optional
        What None as ``variants`` stands for; None stands for all.
    weights : mapping of str to path
        Weights file or checkpoint folder by variant. Default: the weights that ship with the repository.
    config : str, optional
        Shape of random weights: a name such as ``"lamar-tiny"``, or a ``config.json``. None takes that of the first
        variant with weights, else ``lamar-mini``.
    layers : sequence of int, optional
        0-based block indices, negatives from the end. None takes the default of the run.
    extraction_batch_size : int, optional
        Records of the longest length per batch; None lets the inference loop choose.
    dtype : {"float16", "float32"}
        Number type of stored embeddings.
    device : str, optional
        ``"cpu"``, ``"cuda"``, ``"cuda:1"`` ...; None takes a GPU when there is one.
    cache_dir : path, optional
        Folder of stored embeddings; None takes ``embeddings`` in the folder of the run.
    """

    variants: Sequence[str] | None = None
    default_variants: Sequence[str] | None = None
    weights: Mapping[str, str | Path] = field(default_factory=dict)
    config: str | None = None
    layers: Sequence[int] | None = None
    extraction_batch_size: int | None = None
    dtype: str = "float16"
    device: str | None = None
    cache_dir: str | Path | None = None

    def recorded(self) -> dict:
        """Return what ``run.json`` holds of these options, under the names of the flags.

        Device and cache folder, which change no figure, are not among them.
        """
        values = {"variants": self.variants}
        values |= {variant.parameter: self.weights.get(variant.name) for variant in weighted_variants()}
        names = ("config", "layers", "extraction_batch_size", "dtype")
        return values | {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False)
class EncoderVariant:
    """A frozen encoder.

    Attributes
    ----------
    name : str
        Name in tables.
    model : EsmModel
    digest : str
        SHA-256 of its tensors, in hexadecimal.
    weights : dict
        Report of loading.
    layers : tuple of int
        0-based blocks to evaluate.
    """

    name: str
    model: object
    digest: str
    weights: dict
    layers: tuple[int, ...]

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.model.config.num_hidden_layers


def open_variants(
    names: Sequence[str],
    weights: Mapping[str, str | Path | None],
    *,
    named: set[str],
    config,
    layers: Sequence[int] | None,
    seed: int,
) -> list[EncoderVariant]:
    """Load each variant's encoder through the verified loader.

    Parameters
    ----------
    names : sequence of str
        Names in `LAMAR.evaluation.registries.VARIANTS`.
    weights : mapping
        Path by variant; None where there is none.
    named : set of str
        Variants that the user asked for: one of them without weights is an error. Others are reported and left out.
    config : EsmConfig or None
        Shape of random weights; None takes that of the first variant with weights, else ``lamar-mini``.
    layers : sequence of int or None
        Block indices, negatives from the end; None takes the top and the middle one.
    seed : int
        Seed of random weights.

    Returns
    -------
    list of EncoderVariant
        In the order of ``names``.

    Raises
    ------
    InputError
        For an unknown variant, weights that are missing or do not fit, layers that a model does not have, or if no
        variant is left.
    """
    from ..checkpoints import load_pretrained
    from ..configuration import named_config
    from ..embedding_cache import model_digest
    from ..layers import default_layers, resolve_layers
    from ..modeling_nucESM2 import EsmModel

    encoders: list[EncoderVariant] = []
    # Random weights last: their shape is that of the others.
    for variant in sorted(map(VARIANTS.choose, names), key=lambda variant: not variant.parameter):
        path = weights.get(variant.name)
        if variant.parameter and (path is None or not Path(path).exists()):
            where = f"no weights at {path}" if path else "no weights"
            if variant.name in named:
                raise InputError(
                    f"`{variant.parameter}`: found {where}, wanted a checkpoint for variant {variant.name}"
                )
            logger.warning("variant %s left out: %s", variant.name, where)
            continue
        shape = config
        if not variant.parameter and shape is None:
            shape = encoders[0].model.config if encoders else named_config("lamar-mini")
        model, report = load_pretrained(EsmModel, path if variant.parameter else "", config=shape, seed=seed)
        n_layers = model.config.num_hidden_layers
        chosen = resolve_layers(layers, n_layers) if layers else default_layers(n_layers)
        encoders.append(EncoderVariant(variant.name, model, model_digest(model), report.to_dict(), chosen))
    if not encoders:
        raise InputError("`variants`: found weights for none of them, wanted some, or Random")
    _warn_of_shapes(encoders)
    return sorted(encoders, key=lambda encoder: list(names).index(encoder.name))


def _warn_of_shapes(encoders: Sequence[EncoderVariant]) -> None:
    shapes = {encoder.name: f"{encoder.n_layers} x {encoder.model.config.hidden_size}" for encoder in encoders}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        logger.warning("variants of different shapes (%s): what differs between them is not pre-training alone", listed)


def open_encoders(options: EncoderOptions, seed: int) -> list[EncoderVariant]:
    """Load the encoders that the options ask for.

    A device or a cache folder that is not available is an error here and not in the middle of a run.

    Parameters
    ----------
    options : EncoderOptions
    seed : int
        Seed of random weights.

    Returns
    -------
    list of EncoderVariant

    Raises
    ------
    InputError
        As `open_variants`; for weights of a variant that ``variants`` leaves out, for an unknown configuration or
        device, or if the cache folder cannot be made.
    """
    from ..checkpoints import config_argument
    from ..devices import choose_device
    from ..embedding_cache import make_cache_folder

    weights = {variant.name: options.weights.get(variant.name) or variant.shipped for variant in weighted_variants()}
    asked = [*(options.variants or [])]
    asked += [name for name in weights if options.weights.get(name) and name not in asked]
    if options.variants and (unread := [name for name in asked if name not in options.variants]):
        parameter = VARIANTS[unread[0]].parameter
        among = f"`variants` {' '.join(options.variants)}"
        raise InputError(f"`{parameter}`: given, but {unread[0]} is not among {among}")
    defaults = VARIANTS if options.default_variants is None else options.default_variants
    encoders = open_variants(
        options.variants or [name for name in VARIANTS if name in defaults or name in asked],
        weights,
        named=set(asked),
        config=config_argument(options.config or ""),
        layers=options.layers,
        seed=seed,
    )
    choose_device(encoders[0].model, options.device)
    if options.cache_dir is not None:
        make_cache_folder(options.cache_dir)
    return encoders


def embedder(options: EncoderOptions, cache_dir: str | Path) -> EmbeddingsOf:
    """Return the function ``embeddings_of(variant, sequences, outputs)``, which reads and fills a cache.

    Parameters
    ----------
    options : EncoderOptions
    cache_dir : path
        Folder of the cache where the options name none.

    Returns
    -------
    callable
        From an object with ``model``, ``digest`` and ``name``, n sequences, and pairs of layer and pooling, to
        `LAMAR.embeddings.Embeddings` by pair.
    """
    from ..embedding_cache import cached_outputs

    def embeddings_of(encoder, sequences: Sequence[str], outputs: Sequence[tuple[int, str]]):
        budget = None
        if options.extraction_batch_size:
            budget = options.extraction_batch_size * (max(map(len, sequences)) + 2)
        return cached_outputs(
            encoder.model,
            encoder.digest,
            sequences,
            outputs,
            dtype=options.dtype,
            cache_dir=options.cache_dir or cache_dir,
            progress=f"{encoder.name} embeddings",
            token_budget=budget,
            device=options.device,
        )

    return embeddings_of
