"""A model for records of any length whose scores are numbers of letters."""

from __future__ import annotations

import numpy as np
from toy_classifiers import ToyClassifier


class Counts(ToyClassifier):
    """One yes/no output each for the numbers of A and of T; the special tokens count as nothing."""

    def __init__(self, window_length: int | None = 8):
        super().__init__(num_labels=2, loss_type="bce")
        self.config.id2label, self.config.window_length = {0: "A", 1: "T"}, window_length

    def logits(self, embeddings):
        return embeddings[:, :, 5:7].sum(dim=1)


def random_sequence(n: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), n))
