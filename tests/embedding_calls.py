"""Embeddings of several layers with one pooling, by layer, as most tests of extraction and cache want them."""

from __future__ import annotations

from LAMAR.embedding_cache import cached_outputs
from LAMAR.embeddings import extract_outputs


def extract_layers(model, sequences, *, layers, pooling, **options):
    outputs = extract_outputs(model, sequences, [(layer, pooling) for layer in layers], **options)
    return {layer: embeddings for (layer, _), embeddings in outputs.items()}


def cached_layers(model, weights_digest, sequences, *, layers, pooling, **options):
    outputs = [(layer, pooling) for layer in layers]
    cached = cached_outputs(model, weights_digest, sequences, outputs, **options)
    return {layer: embeddings for (layer, _), embeddings in cached.items()}
