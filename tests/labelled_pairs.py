"""Labelled sets as FASTA pairs of made-up sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_pair(folder: Path, name: str, n: int, rng: np.random.Generator, low: int = 36, high: int = 49) -> None:
    """Write n positives rich in G and C and n negatives rich in A and T, of ``low`` to ``high`` - 1 nt."""
    for side, weights in (("positives", [2, 3, 3, 2]), ("negatives", [3, 2, 2, 3])):
        drawn = (rng.choice(list("ACGT"), rng.integers(low, high), p=np.divide(weights, 10)) for _ in range(n))
        text = "".join(f">{name}_{side}_{i}\n{''.join(letters)}\n" for i, letters in enumerate(drawn))
        (folder / f"{name}.{side}.fa").write_text(text)
