"""Markov chains of nucleotides against counts by hand and brute force over whole sequences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from LAMAR.statistics import markov
from LAMAR.statistics.markov import MarkovChain, MarkovCounts, best_chain, cross_entropy

LETTERS = "ACGTN"


def codes(text: str) -> np.ndarray:
    return np.array([LETTERS.index(letter) for letter in text], dtype=np.uint8)


def chain(text: str, order: int, prior: float = 4.0) -> MarkovChain:
    return MarkovChain(MarkovCounts(order).add(codes(text)), order, prior)


def word_counts(text: str, k: int) -> dict[str, int]:
    found = {}
    for start in range(len(text) - k + 1):
        word = text[start : start + k]
        if "N" not in word:
            found[word] = found.get(word, 0) + 1
    return found


@given(st.text("ACGTN", min_size=0, max_size=60))
def test_counts_are_those_of_all_words_without_n(text):
    counts = MarkovCounts(3).add(codes(text))
    for j in range(4):
        expected = word_counts(text, j + 1)
        for number, word in enumerate(itertools.product("ACGT", repeat=j + 1)):
            assert counts.counts[j][number] == expected.get("".join(word), 0)


def test_counting_in_pieces_loses_no_word(monkeypatch):
    text = "".join(np.random.default_rng(0).choice(list("ACGTN"), 500, p=[0.24] * 4 + [0.04]))
    whole = MarkovCounts(4).add(codes(text))
    monkeypatch.setattr(markov, "_LETTERS_AT_ONCE", 7)
    pieces = MarkovCounts(4).add(codes(text))
    assert all(np.array_equal(a, b) for a, b in zip(whole.counts, pieces.counts))


def test_smoothing_by_hand():
    """AACAN: A three times, C once; after A once A and once C; after C once A."""
    model = chain("AACAN", 1, prior=4.0)
    p0 = (np.array([3, 1, 0, 0]) + 4 * 0.25) / (4 + 4)
    after_a = (np.array([1, 1, 0, 0]) + 4 * p0) / (2 + 4)
    after_c = (np.array([1, 0, 0, 0]) + 4 * p0) / (1 + 4)
    found = np.exp(model.left(codes("GACTA"), np.array([0, 2, 3, 4])))
    np.testing.assert_allclose(found, [p0, after_a, after_c, p0], atol=1e-12)


def test_after_a_break_the_context_is_as_long_as_what_is_known():
    model, text = chain("ACGTTGCAACGGTCA" * 5, 3), "ACNGT"
    found = model.left(codes(text), np.array([0, 1, 3, 4]))
    for row, context in zip(found, ("", "A", "", "G")):
        alone = model.left(codes(context + "A"), np.array([len(context)]))
        np.testing.assert_allclose(row, alone[0])


@given(st.text("ACGTN", min_size=1, max_size=9), st.integers(0, 4))
def test_two_sided_equals_brute_force(text, order):
    """P(x_i = b | all others) from the joint probability of the whole sequence, letter by letter from the left."""
    model = chain("ACGTTGCAACGGTCATTTGACNGATTACA" * 3, order, prior=1.0)
    positions = [i for i, letter in enumerate(text) if letter != "N"]
    if not positions:
        return
    found = model.two_sided(codes(text), np.array(positions))

    def log_joint(whole: str) -> float:
        known = [i for i, letter in enumerate(whole) if letter != "N"]
        return sum(model.left(codes(whole), np.array([i]))[0, "ACGT".index(whole[i])] for i in known)

    for row, i in zip(found, positions):
        joint = np.array([log_joint(text[:i] + b + text[i + 1 :]) for b in "ACGT"])
        expected = joint - np.logaddexp.reduce(joint)
        np.testing.assert_allclose(row, expected, atol=1e-10)


def test_at_order_0_both_predictions_are_the_frequencies():
    model = chain("AACGT" * 100, 0, prior=1e-9)
    for predict in (model.left, model.two_sided):
        np.testing.assert_allclose(np.exp(predict(codes("TTT"), np.array([1])))[0], [0.4, 0.2, 0.2, 0.2], atol=1e-9)


def test_a_position_does_not_depend_on_the_pieces(monkeypatch):
    text = codes("".join(np.random.default_rng(1).choice(list("ACGTN"), 200)))
    positions = np.flatnonzero(text < 4)
    model = chain("ACGTTGCAACGG" * 9, 3)
    whole = model.two_sided(text, positions)
    monkeypatch.setattr(markov, "_POSITIONS_AT_ONCE", 5)
    np.testing.assert_array_equal(model.two_sided(text, positions), whole)


def test_cross_entropy_by_hand():
    log_probabilities = np.log([[0.7, 0.1, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1]])
    found = cross_entropy(log_probabilities, np.array([0, 1]))
    assert found["loss"] == pytest.approx(-(math.log(0.7) + math.log(0.3)) / 2)
    assert found["accuracy"] == 0.5


def sample(order: int, n: int, seed: int) -> np.ndarray:
    """A chain of that order with strong preferences."""
    rng = np.random.default_rng(99)
    table = rng.dirichlet([0.3] * 4, 4**order)
    rng, letters, context = np.random.default_rng(seed), [], 0
    for u in rng.random(n):
        letter = int(np.searchsorted(table[context].cumsum(), u).clip(0, 3))
        letters.append(letter)
        context = (4 * context + letter) % 4**order
    return np.array(letters, dtype=np.uint8)


def test_the_order_of_a_sampled_chain_is_found_and_both_sides_are_better_than_one():
    counts = MarkovCounts(6).add(sample(2, 20_000, seed=1))
    heldout = sample(2, 5_000, seed=2)
    positions = np.arange(len(heldout))
    left, losses = best_chain(counts, heldout, positions, False, range(7))
    assert left.order == 2
    assert min(losses, key=losses.get) == 2
    assert losses[0] > losses[1] > losses[2]
    both, two_sided = best_chain(counts, heldout, positions, True, range(7))
    assert both.order == 2
    assert two_sided[2] < losses[2] - 0.1


def test_the_loss_of_an_order_is_that_of_its_best_prior():
    counts = MarkovCounts(5).add(sample(2, 3_000, seed=1))
    heldout = sample(2, 3_000, seed=2)
    positions = np.arange(len(heldout))
    single = {prior: best_chain(counts, heldout, positions, False, [2, 5], [prior])[1] for prior in (1.0, 200.0)}
    best, losses = best_chain(counts, heldout, positions, False, [2, 5], [1.0, 200.0])
    assert losses == {order: min(single[1.0][order], single[200.0][order]) for order in (2, 5)}
    assert single[200.0][5] < single[1.0][5], "few observations a context: the shorter one says more"
    assert single[1.0][2] < single[200.0][2]
    assert (best.order, best.prior) == (2, 1.0)


@pytest.mark.parametrize("order", [-1, 13])
def test_orders_out_of_range(order):
    with pytest.raises(ValueError, match="wanted 0 to 12"):
        MarkovCounts(order)
