"""Masked-LM collators: counts over many draws, and positions that must never be touched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from LAMAR.alphabet import CLS, EOS, MASK, PAD
from LAMAR.data_collator_patch import (
    IGNORED,
    MaskedLMCollator,
    RegionMaskedLMCollator,
    mask_tokens,
    region_rates,
    span_mask,
)
from LAMAR.tokenization import encode_ragged

A, T, C, G, N = range(5, 10)


def records(*sequences: str) -> list[dict]:
    ids, offsets = encode_ragged(list(sequences))
    return [{"input_ids": ids[a:b]} for a, b in zip(offsets, offsets[1:])]


def deviations(successes: int, trials: int, probability: float) -> float:
    """Distance of a count from its expectation, in standard deviations of the binomial."""
    return abs(successes - trials * probability) / np.sqrt(trials * probability * (1 - probability))


def test_shares_of_what_is_drawn_and_of_what_becomes_of_it():
    ids = np.full((200, 2000), A)
    inputs, labels = mask_tokens(ids, np.random.default_rng(1), 0.15)
    drawn = labels != IGNORED
    assert deviations(drawn.sum(), ids.size, 0.15) < 4
    fate = inputs[drawn]
    n = len(fate)
    assert deviations((fate == MASK).sum(), n, 0.8) < 4
    # Of the tenth that is replaced a quarter is A again, and looks like the tenth that stays.
    assert deviations((fate == A).sum(), n, 0.1 + 0.025) < 4
    for letter in (T, C, G):
        assert deviations((fate == letter).sum(), n, 0.025) < 4
    assert set(np.unique(fate)) == {MASK, A, T, C, G}
    assert (inputs[~drawn] == A).all()
    assert (ids == A).all()


@pytest.mark.parametrize(
    "collator",
    [
        MaskedLMCollator(0.5, seed=3),
        MaskedLMCollator(0.5, span_length=4, seed=3),
        RegionMaskedLMCollator((0.9, 0.3), 0.5, seed=3),
    ],
    ids=["single", "spans", "regions"],
)
def test_special_tokens_padding_and_n_are_never_touched(collator):
    batch_records = records("ACGTNACGTNNGT", "NNACG", "TTTTTTTTTTTTTTTTTTNT")
    for record in batch_records:
        record["regions"] = np.ones(len(record["input_ids"]), dtype=bool)  # of special tokens and N too
    plain = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(r["input_ids"]).long() for r in batch_records], batch_first=True, padding_value=PAD
    )
    eligible = (plain >= A) & (plain <= G)
    touched = torch.zeros_like(eligible)
    for _ in range(300):
        batch = collator(batch_records)
        changed, labelled = batch["input_ids"] != plain, batch["labels"] != IGNORED
        assert not (changed & ~labelled).any()
        assert not (labelled & ~eligible).any()
        assert torch.equal(batch["labels"][labelled], plain[labelled])
        assert torch.equal(batch["attention_mask"], plain.ne(PAD).long())
        assert torch.isin(batch["input_ids"][eligible], torch.tensor([MASK, A, T, C, G])).all()
        touched |= labelled
    assert torch.equal(touched, eligible), "and every nucleotide is drawn at some time"
    assert (plain[:, 0] == CLS).all()
    assert (plain == EOS).sum() == 3


def test_a_key_determines_the_masks_whatever_came_before():
    batch = records("ACGT" * 50, "GGCA" * 30)
    one, two = MaskedLMCollator(seed=7), MaskedLMCollator(seed=7)
    one(batch)
    first, again = one(batch, (3, 0, 5)), two(batch, (3, 0, 5))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["labels"], two(batch, (3, 0, 6))["labels"])
    assert not torch.equal(first["labels"], MaskedLMCollator(seed=8)(batch, (3, 0, 5))["labels"])


def test_without_a_key_a_seed_determines_the_sequence_of_masks():
    batch = records("ACGT" * 50)
    one, two = MaskedLMCollator(seed=7), MaskedLMCollator(seed=7)
    pairs = [(one(batch)["labels"], two(batch)["labels"]) for _ in range(3)]
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(pairs[0][0], pairs[1][0])


def test_a_batch_with_a_nucleotide_always_has_one_to_predict():
    for seed in range(50):
        labels = MaskedLMCollator(0.001, seed=seed)(records("NNNGNN"))["labels"]
        assert labels[labels != IGNORED].tolist() == [G]
    assert (MaskedLMCollator(0.9)(records("NNNN"))["labels"] == IGNORED).all()


# ------------------------------------------------------------------------------------------------ regions


def test_region_rates_by_hand():
    """Rows of 100: 20 in a region; none; all; 60 in one, whose rate would exceed 1."""
    inside = np.zeros((4, 100), dtype=bool)
    inside[0, :20] = inside[2] = inside[3, :60] = True
    rates = region_rates(np.ones_like(inside), inside, (0.3, 0.1), 0.15)
    # 0.3 x 20 + 0.1 x 80 = 14 wanted 15: scaled by 15/14.
    np.testing.assert_allclose(rates[0], np.where(inside[0], 0.3 * 15 / 14, 0.1 * 15 / 14))
    np.testing.assert_allclose(rates[1:3], 0.15)
    np.testing.assert_allclose(rates[3], np.where(inside[3], 0.3 * 15 / 22, 0.1 * 15 / 22))
    capped = region_rates(np.ones_like(inside), inside, (1.0, 0.01), 0.7)
    np.testing.assert_allclose(capped[3], np.where(inside[3], 1.0, 10 / 40))
    np.testing.assert_allclose(capped[0], np.where(inside[0], 1.0, 50 / 80))
    other_way = region_rates(np.ones_like(inside), inside, (0.01, 1.0), 0.7)
    np.testing.assert_allclose(other_way[3], np.where(inside[3], 30 / 60, 1.0))


def test_every_row_keeps_its_total_and_what_is_not_eligible_gets_nothing():
    rng = np.random.default_rng(0)
    eligible, inside = rng.random((2, 50, 300)) < rng.random((2, 50, 1))
    rates = region_rates(eligible, inside, (0.4, 0.05), 0.15)
    np.testing.assert_allclose(rates.sum(axis=1), 0.15 * eligible.sum(axis=1))
    assert (rates[~eligible] == 0).all()
    assert rates.max() <= 1


def test_peaks_are_drawn_more_often_and_the_share_of_the_window_stays():
    (record,) = records("ACGT" * 25)
    record["regions"] = np.zeros(102, dtype=bool)
    record["regions"][1:21] = True
    collator = RegionMaskedLMCollator((0.3, 0.1), 0.15, seed=1)
    drawn = np.zeros(102)
    for _ in range(4000):
        drawn += collator([record])["labels"][0].ne(IGNORED).numpy()
    assert deviations(drawn[1:21].sum(), 20 * 4000, 0.3 * 15 / 14) < 4
    assert deviations(drawn[21:101].sum(), 80 * 4000, 0.1 * 15 / 14) < 4
    assert deviations(drawn.sum(), 100 * 4000, 0.15) < 4


def test_without_a_region_both_collators_draw_the_same():
    batch = records("ACGT" * 40, "ACGTN" * 10)
    plain, weighted = MaskedLMCollator(seed=2), RegionMaskedLMCollator((0.3, 0.1), seed=2)
    assert torch.equal(plain(batch, (1,))["labels"], weighted(batch, (1,))["labels"])


# ------------------------------------------------------------------------------------------------ spans


@pytest.mark.parametrize("length", [2, 5, 12])
def test_spans_cover_every_position_at_the_rate(length):
    covered = span_mask((20_000, 15), 0.15, length, np.random.default_rng(4))
    for position in range(15):
        assert deviations(covered[:, position].sum(), 20_000, 0.15) < 4.5


def test_spans_lie_in_a_row():
    covered = span_mask((3_000, 60), 0.15, 5, np.random.default_rng(4))
    edges = np.diff(np.pad(covered, ((0, 0), (1, 1))).astype(int), axis=1)
    begin, end = (np.argwhere(edges == sign) for sign in (1, -1))
    lengths = end[:, 1] - begin[:, 1]
    inner = (begin[:, 1] > 0) & (end[:, 1] < 60)
    assert lengths[inner].min() == 5
    # Spans that touch or overlap make a longer one: alone is one that no other begins in or at the end of.
    start = 1 - 0.85 ** (1 / 5)
    alone = (lengths[inner] == 5).sum()
    assert deviations(alone, inner.sum(), (1 - start) ** 5) < 4.5
