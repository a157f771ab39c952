"""Labels and noisy scores of them, for tests of metrics and of paired tests."""

from __future__ import annotations

import numpy as np


def noisy_scores(n: int, seed: int, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    return labels, rng.normal(size=n) + signal * labels
