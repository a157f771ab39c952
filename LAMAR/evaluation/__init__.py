"""Evaluation of frozen embeddings: probes, baselines, geometry, tables, figures, report."""
