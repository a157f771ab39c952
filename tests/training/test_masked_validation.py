"""LAMAR.training.masked_validation: which positions are masked, and what a model is asked."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pretrain_runs import NEXT, cycles

from LAMAR import EsmForMaskedLM, named_config
from LAMAR.alphabet import VOCABULARY
from LAMAR.training.masked_validation import MaskedWindows, evaluate, evaluate_sparsely


def test_the_head_at_labelled_positions_only_gives_the_same_logits_and_loss():
    torch.manual_seed(0)
    model = EsmForMaskedLM(named_config("lamar-tiny")).eval()
    ids = torch.randint(5, 9, (3, 20))
    labels = torch.where(torch.rand(3, 20) < 0.3, ids, -100)
    with torch.no_grad():
        whole = model(ids, labels=labels)
        part = model(ids, labels=labels, labelled_only=True)
    assert part.logits.shape == (labels.ne(-100).sum(), 10)
    torch.testing.assert_close(part.logits, whole.logits[labels.ne(-100)], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(part.loss, whole.loss, atol=1e-6, rtol=1e-5)


def test_validation_masks_depend_on_the_seed_and_not_on_the_batches():
    sequences = cycles(40, seed=3)
    one, two = (MaskedWindows(sequences, 50, seed=1, token_budget=budget) for budget in (200, 5_000))
    assert np.array_equal(one.hidden, two.hidden)
    assert not np.array_equal(one.hidden, MaskedWindows(sequences, 50, seed=2).hidden)
    nucleotides = sum(map(len, sequences))
    assert len(one.hidden) == pytest.approx(0.15 * nucleotides, abs=5 * math.sqrt(0.13 * nucleotides))
    for validation in (one, two):
        ids = torch.cat([b["input_ids"][b["labels"] != -100] for b in validation.batches()])
        labels = torch.cat([b["labels"][b["labels"] != -100] for b in validation.batches()])
        assert (ids == 4).all(), "all of them hidden"
        assert sorted(labels.tolist()) == sorted(one.windows.ids[one.hidden].tolist())
    shares = [two.batches(rank, 2) for rank in (0, 1)]
    assert sum(map(len, shares)) == len(two.batches())
    few = MaskedWindows(sequences, 50, max_nucleotides=300)
    assert 300 <= (few.windows.lengths - 2).sum() < 350


class LeftNeighbour(torch.nn.Module):
    """Gives 70 % to the cycle's next letter after a visible A, C, G or T, and knows nothing else."""

    def __init__(self):
        super().__init__()
        self.device_of = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, attention_mask, labels, labelled_only):
        probabilities = torch.full((*input_ids.shape, 10), 1e-9)
        probabilities[..., 5:9] = 0.25
        for letter, following in NEXT.items():
            rows, columns = (input_ids[:, :-1] == VOCABULARY.index(letter)).nonzero(as_tuple=True)
            probabilities[rows, columns + 1, 5:9] = 0.1
            probabilities[rows, columns + 1, VOCABULARY.index(following)] = 0.7
        return SimpleNamespace(logits=probabilities.log()[labels != -100])


def test_an_eighth_hidden_at_a_time_shows_the_neighbours():
    validation = MaskedWindows(cycles(40, seed=3), 50, mask_rate=0.4, seed=1)
    ids, hidden = validation.windows.ids, validation.hidden

    def expected(hidden_too: np.ndarray) -> float:
        """Loss by hand: 70 % or 10 % after a visible letter, a quarter after a masked one and at the 5' end."""
        before, here = ids[hidden - 1], ids[hidden]
        follows = [VOCABULARY[b] in NEXT and NEXT[VOCABULARY[b]] == VOCABULARY[h] for b, h in zip(before, here)]
        blind = np.isin(hidden - 1, hidden_too) | (before == 0)
        return -np.log(np.where(blind, 0.25, np.where(follows, 0.7, 0.1))).mean()

    model = LeftNeighbour()
    assert evaluate(model, validation)["loss"] == pytest.approx(expected(hidden), abs=1e-5)
    sparsely = evaluate_sparsely(model, validation)
    assert sparsely["n_hidden"] == len(hidden)
    # No two neighbours are hidden at once: those drawn are eight apart in the list of hidden positions.
    assert sparsely["loss"] == pytest.approx(expected(np.zeros(0)), abs=1e-5)
    assert sparsely["loss"] < evaluate(model, validation)["loss"] - 0.05
