"""Names of chromosomes, in which annotations, genomes and labelled sets differ."""

from __future__ import annotations

import re

__all__ = ["canonical_chromosome"]

_SHORT = re.compile(r"(?:chr)?(\d{1,2}|[XYM]|MT)", re.IGNORECASE)


def canonical_chromosome(name: str) -> str:
    """Return UCSC's name of a chromosome: ``9``, ``Chr9`` become ``chr9``, ``MT`` becomes ``chrM``; others stay."""
    match = _SHORT.fullmatch(name)
    if match is None:
        return name
    short = match[1].upper()
    return "chrM" if short == "MT" else f"chr{int(short) if short.isdigit() else short}"
