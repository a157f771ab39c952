"""A model for records of any length whose scores are numbers of letters."""

from __future__ import annotations

import numpy as np
from toy_classifiers import ToyClassifier

from LAMAR.statistics.calibration import fit_calibration


class Counts(ToyClassifier):
    """One yes/no output each for the numbers of A and of T; the special tokens count as nothing."""

    def __init__(self, window_length: int | None = 8):
        super().__init__(num_labels=2, loss_type="bce")
        self.config.id2label, self.config.window_length = {0: "A", 1: "T"}, window_length

    def logits(self, embeddings):
        return embeddings[:, :, 5:7].sum(dim=1)


def random_sequence(n: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), n))


def calibrated(**options) -> Counts:
    """The counting model, with the numbers of A and T in random windows of eight as background."""
    model = Counts(**options)
    rng = np.random.default_rng(0)
    background = rng.binomial(8, 0.25, (20_000, 2)) + rng.uniform(-0.5, 0.5, (20_000, 2))
    sites = np.full((200, 2), 6.0) + rng.normal(size=(200, 2))
    labels = np.repeat([1, 0], [200, 20_000])[:, None].repeat(2, axis=1)
    model.calibration = fit_calibration(np.concatenate([sites, background]), labels, labels[:, 0] == 0, ["A", "T"])
    return model


def planted() -> str:
    """A sequence of C and G with eight A at 100, eight T at 300 and eight A at 400."""
    letters = np.random.default_rng(0).choice(list("CG"), 500)
    for start, letter in ((100, "A"), (300, "T"), (400, "A")):
        letters[start : start + 8] = letter
    return "".join(letters)
