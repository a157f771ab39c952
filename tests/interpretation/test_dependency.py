"""Dependency maps against models whose dependencies are known, and stems in maps with planted ones."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from LAMAR.alphabet import VOCABULARY, reverse_complement
from LAMAR.checkpoints import build_model
from LAMAR.configuration import EsmConfig, named_config
from LAMAR.errors import InputError
from LAMAR.interpretation.analyses import PARITY_EPS
from LAMAR.interpretation.dependency import (
    average_product_correction,
    dependency_map,
    nucleotide_log_odds,
    strongest_pairs,
    symmetrised,
    variant_influence,
)
from LAMAR.interpretation.dependency_figures import plot_map
from LAMAR.interpretation.stems import Stem, dot_bracket, find_stems
from LAMAR.modeling_nucESM2 import EsmForMaskedLM
from LAMAR.statistics.metrics import auroc
from LAMAR.tokenization import encode_ragged

A, C, G, T = (VOCABULARY.index(letter) for letter in "ACGT")
SEQUENCE = "ACGTTGCAAGCTGATC"


class ToyModel(torch.nn.Module):
    """A masked LM whose logits are a function of the token ids (batch, L + 2)."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(logits=self.logits(input_ids))


def random_model(seed: int = 0) -> EsmForMaskedLM:
    """Untrained, but with weights large enough for dependencies of a few bits."""
    model = build_model(EsmForMaskedLM, named_config("lamar-tiny", num_hidden_layers=2), seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(6)
    return model


def log2_odds(logits: np.ndarray) -> np.ndarray:
    """(..., 10) -> (..., 4), float64, by the definition."""
    p = np.exp(logits.astype(np.float64)[..., [A, C, G, T]])
    p /= p.sum(-1, keepdims=True)
    return np.log2(p) - np.log2(1 - p)


# ------------------------------------------------------------------------------------------------------- log-odds


def test_log_odds_are_over_the_four_nucleotides():
    logits = torch.zeros(10)
    logits[A], logits[0] = math.log(3), 50.0  # whatever <cls> has does not count
    # p = 3/6, 1/6, 1/6, 1/6.
    assert nucleotide_log_odds(logits).numpy() == pytest.approx([0, *[-math.log2(5)] * 3], abs=1e-6)


def test_log_odds_of_a_certainty_are_finite_and_eps_bounds_them():
    logits = torch.full((10,), -1000.0)
    logits[[A, C, G, T]] = torch.tensor([300.0, 0.0, 0.0, 0.0])
    assert nucleotide_log_odds(logits)[0].item() == pytest.approx(300 / math.log(2) - math.log2(3), rel=1e-6)
    assert nucleotide_log_odds(logits, PARITY_EPS)[0].item() == pytest.approx(-math.log2(3e-10), rel=1e-6)


def test_eps_is_added_to_probabilities_over_the_vocabulary():
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 10)) * 3).float()
    p = torch.softmax(logits.double(), -1)[:, [A, C, G, T]].numpy() + 0.01
    p /= p.sum(-1, keepdims=True)
    assert nucleotide_log_odds(logits, 0.01).numpy() == pytest.approx(np.log2(p) - np.log2(1 - p), abs=1e-5)


# ------------------------------------------------------------------------------------------------------------ maps


def test_a_model_without_context_gives_a_zero_map():
    table = torch.randn(10, 10, generator=torch.Generator().manual_seed(0)) * 3
    found = dependency_map(ToyModel(lambda ids: table[ids]), SEQUENCE)
    assert not found.values.any()
    assert found.log_odds == pytest.approx(log2_odds(table[encode_ragged([SEQUENCE])[0][1:-1].astype(int)].numpy()))


def coupled(i: int, j: int, letter: int, weight: float):
    """Position j is likelier to be A, by ``weight`` in its logit, where position i holds ``letter``."""

    def logits(ids):
        values = torch.zeros(*ids.shape, 10)
        values[:, j + 1, A] = weight * (ids[:, i + 1] == letter)
        return values

    return ToyModel(logits)


@pytest.mark.parametrize("letter", [G, T])  # position 2 is G: the coupling is lost, or made, by a substitution
def test_one_coupled_pair_gives_exactly_that_pair(letter):
    values = dependency_map(coupled(2, 9, letter, 1.5), SEQUENCE).values
    # The odds of A change by the weight, those of the others by less: log2((e^w + 2) / 3).
    assert values[2, 9] == pytest.approx(1.5 / math.log(2), rel=1e-6)
    values[2, 9] = 0
    assert not values.any()


def test_mean_is_over_substitutions_and_nucleotides():
    weight = 1.5
    of_a, of_others = weight / math.log(2), math.log2((math.exp(weight) + 2) / 3)
    gained = dependency_map(coupled(2, 9, T, weight), SEQUENCE, reduction="mean").values  # one substitution of three
    assert gained[2, 9] == pytest.approx((of_a + 3 * of_others) / 12, rel=1e-5)
    lost = dependency_map(coupled(2, 9, G, weight), SEQUENCE, reduction="mean").values  # each of the three
    assert lost[2, 9] == pytest.approx((of_a + 3 * of_others) / 4, rel=1e-5)


def test_a_row_is_what_single_mutants_give():
    model, i = random_model().eval(), 5
    texts = [SEQUENCE[:i] + letter + SEQUENCE[i + 1 :] for letter in "ACGT"]
    with torch.no_grad():
        logits = [model(torch.from_numpy(encode_ragged([text])[0].astype(int))[None]).logits[0] for text in texts]
    odds = log2_odds(torch.stack(logits).numpy()[:, 1:-1])
    wanted = np.abs(odds - odds["ACGT".index(SEQUENCE[i])]).max((0, 2))
    wanted[i] = 0
    found = dependency_map(model, SEQUENCE)
    assert wanted.max() > 0.5
    assert found.values[i] == pytest.approx(wanted, abs=1e-4)
    assert dependency_map(model, SEQUENCE, eps=PARITY_EPS).values == pytest.approx(found.values, abs=1e-4)


def test_batches_and_ranges_of_rows_change_nothing():
    model = random_model()
    whole = dependency_map(model, SEQUENCE)
    for budget in (1, 18 * 7, 18 * 1000):
        found = dependency_map(model, SEQUENCE, token_budget=budget)
        assert found.values == pytest.approx(whole.values, abs=1e-4)
    part = dependency_map(model, SEQUENCE, region=(3, 11))
    assert part.values == pytest.approx(whole.values[3:11], abs=1e-4)
    mean = dependency_map(model, SEQUENCE, reduction="mean")
    found = dependency_map(model, SEQUENCE, reduction="mean", token_budget=18 * 5)
    assert found.values == pytest.approx(mean.values, abs=1e-4)
    assert (mean.values <= whole.values + 1e-6).all()


def test_bfloat16_passes_give_about_the_same_map():
    model = random_model()
    exact, rough = (dependency_map(model, SEQUENCE, precision=name).values for name in ("float32", "bfloat16"))
    assert rough.dtype == np.float32
    assert not np.array_equal(rough, exact)
    assert np.corrcoef(rough.ravel(), exact.ravel())[0, 1] > 0.95


def test_the_model_is_left_as_it_was():
    model = random_model().train()
    model.esm.requires_grad_(False)
    dependency_map(model, SEQUENCE)
    assert model.training
    assert model.lm_head.bias.requires_grad
    assert not model.esm.embeddings.word_embeddings.weight.requires_grad


def test_n_has_no_dependencies_and_is_not_mutated():
    model, text = random_model(), "ACGNTTNGCA"
    seen = []
    model.register_forward_pre_hook(lambda module, args, kwargs: seen.append(kwargs["input_ids"]), with_kwargs=True)
    values = dependency_map(model, text).values
    ids = torch.cat(seen).numpy()
    assert len(ids) == 1 + 3 * 8
    assert (ids[:, [4, 7]] == VOCABULARY.index("N")).all()
    unknown = np.array([letter == "N" for letter in text])
    assert np.isnan(values[unknown]).all()
    assert np.isnan(values[:, unknown]).all()
    assert np.isfinite(values[np.ix_(~unknown, ~unknown)]).all()
    for form in (symmetrised, average_product_correction):
        assert (np.isnan(form(values)) == np.isnan(values)).all()
    assert (np.isnan(variant_influence(values)) == unknown).all()


def test_what_cannot_be_mapped_is_refused():
    model = random_model()
    with pytest.raises(InputError, match="only N"):
        dependency_map(model, "NNN")
    with pytest.raises(InputError, match="`reduction`: found 'sum'"):
        dependency_map(model, SEQUENCE, reduction="sum")
    with pytest.raises(InputError, match="`region`: found 3-20, wanted 0 <= start < end <= 16"):
        dependency_map(model, SEQUENCE, region=(3, 20))
    with pytest.raises(InputError, match="not finite"):
        dependency_map(ToyModel(lambda ids: torch.full((*ids.shape, 10), torch.nan)), SEQUENCE)


# ---------------------------------------------------------------------------------------------- what maps are made


def test_forms_of_a_map_by_hand():
    values = np.array([[0, 1, 2], [3, 0, 4], [5, 6, 0]], dtype=np.float32)
    assert symmetrised(values).tolist() == [[0, 2, 3.5], [2, 0, 5], [3.5, 5, 0]]
    # Means off the diagonal: rows 1.5, 3.5, 5.5, columns 4, 3.5, 3, all 3.5.
    wanted = np.array([[0, 1 - 1.5, 2 - 4.5 / 3.5], [3 - 4, 0, 4 - 3], [5 - 22 / 3.5, 6 - 5.5, 0]])
    assert average_product_correction(values) == pytest.approx(wanted, abs=1e-6)
    assert variant_influence(values).tolist() == [1.5, 3.5, 5.5]
    rows, columns = strongest_pairs(values, 2)
    assert list(zip(rows.tolist(), columns.tolist())) == [(2, 1), (2, 0)]
    assert len(strongest_pairs(values, 100)[0]) == 6
    with pytest.raises(ValueError, match="wanted a whole map"):
        symmetrised(values[:2])


def test_correction_of_a_map_without_structure_is_zero():
    constant = np.full((6, 6), 2.0, dtype=np.float32)
    assert average_product_correction(constant) == pytest.approx(np.zeros((6, 6)), abs=1e-6)
    assert not average_product_correction(np.zeros((6, 6), dtype=np.float32)).any()


# ----------------------------------------------------------------------------------------------------------- stems


def planted(sequence: str, stems: list[tuple[int, int, int]], seed: int, strength: float = 8.0) -> np.ndarray:
    """Log-normal noise, and ``strength`` on the pairs of stems (start, end, length)."""
    values = np.exp(np.random.default_rng(seed).normal(size=(len(sequence), len(sequence))))
    for start, end, length in stems:
        for k in range(length):
            values[start + k, end - 1 - k] += strength
            values[end - 1 - k, start + k] += strength
    np.fill_diagonal(values, 0)
    return values.astype(np.float32)


def with_stems(length: int, stems: list[tuple[int, int, int]], seed: int) -> str:
    """A random sequence in which the two strands of each stem are complementary, and the nucleotides beside it are
    not."""
    rng = np.random.default_rng(seed)
    letters = rng.choice(list("ACGT"), length)
    for start, end, n in stems:
        letters[end - n : end] = list(reverse_complement("".join(letters[start : start + n])))
        letters[[start - 1, end % length]] = "A"
        letters[[start + n, end - n - 1]] = "C"
    return "".join(letters)


def test_planted_stems_are_found_whole_and_nothing_else():
    stems = [(5, 60, 6), (15, 38, 5), (40, 52, 4)]
    sequence = with_stems(80, stems, seed=1)
    found = find_stems(planted(sequence, stems, seed=2, strength=15), sequence)
    assert [(stem.start, stem.end, stem.length) for stem in found] == stems
    text = dot_bracket(80, found)
    assert text == (
        "." * 5 + "(" * 6 + "." * 4 + "(" * 5 + "." * 13 + ")" * 5 + ".." + "((((....))))" + ".." + ")" * 6 + "." * 20
    )
    assert all(10 < stem.dependency < 25 for stem in found)


def test_runs_that_cannot_pair_and_maps_without_structure_have_no_stem():
    sequence = "A" * 40  # nothing pairs
    assert find_stems(planted(sequence, [(5, 30, 6)], seed=0), sequence) == []
    sequence = with_stems(60, [(5, 40, 7)], seed=3)
    assert find_stems(np.zeros((60, 60), dtype=np.float32), sequence) == []
    assert find_stems(np.ones((60, 60), dtype=np.float32), sequence) == []
    assert find_stems(np.zeros((2, 2), dtype=np.float32), "AT") == []


def test_noise_seldom_has_stems():
    rng = np.random.default_rng(0)
    calls = 0
    for seed in range(30):
        sequence = "".join(rng.choice(list("ACGT"), 60))
        calls += len(find_stems(planted(sequence, [], seed), sequence))
    # E is 0.05 a map at most: 1.5 calls are expected of 30 maps, and 6 or more have probability 0.4 %.
    assert calls < 6


def test_the_score_by_hand():
    sequence = "AAAACCCCCTTTT"
    values = np.zeros((13, 13), dtype=np.float32)
    for k in range(4):
        values[k, 12 - k] = values[12 - k, k] = 10
    (stem,) = find_stems(values, sequence)
    assert (stem.start, stem.end, stem.length, stem.dependency) == (0, 13, 4, 10)
    # Of the 45 cells more than 3 apart 16 are A with T; the corrected value of each background cell is 0 or less. Of
    # runs of A with T there are 5 of three pairs or more: antidiagonals of 3, 4, 3 cells have 1, 3, 1.
    fisher = 4 * math.log(30)
    tail = math.exp(-fisher) * sum(fisher**k / math.factorial(k) for k in range(4))
    assert stem.score == pytest.approx(-math.log10(5 * tail), rel=1e-6)


def test_of_crossing_stems_the_better_one_is_kept():
    stems = [(5, 40, 7), (20, 60, 5)]
    sequence = with_stems(70, stems, seed=4)
    values = planted(sequence, stems, seed=5, strength=15)
    found = find_stems(values, sequence)
    assert [(stem.start, stem.end, stem.length) for stem in found] == stems[:1]


def test_loops_and_short_stems_are_left_out():
    sequence = "A" * 10 + "GCGCAAGCGC" + "A" * 20
    values = planted(sequence, [(10, 20, 4)], seed=0, strength=50)
    (stem,) = find_stems(values, sequence, min_loop=2)
    assert stem.pairs == [(10, 19), (11, 18), (12, 17), (13, 16)]
    (stem,) = find_stems(values, sequence)  # without the innermost pair, which leaves a loop of two
    assert stem.pairs == [(10, 19), (11, 18), (12, 17)]
    assert find_stems(values, sequence, min_length=4) == []
    assert find_stems(values, sequence, min_loop=2, min_length=5) == []


def test_dot_bracket():
    stems = [Stem(1, 14, 2, 0.0, 0.0), Stem(4, 11, 2, 0.0, 0.0)]
    assert dot_bracket(16, stems) == ".((.((...)).)).."


# --------------------------------------------------------------------------------------------------------- figures


def test_a_figure_shows_the_map():
    values = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    values[3] = np.nan
    sequence = SEQUENCE[:3] + "N" + SEQUENCE[4:]
    figure = plot_map(values, sequence, label="x", signed=True, first=20, box=(22, 26), log_odds=np.zeros((16, 4)))
    axis = next(axis for axis in figure.axes if axis.images)
    (image,) = axis.images
    assert np.array_equal(image.get_array().filled(np.nan), values, equal_nan=True)
    low, high = image.get_clim()
    assert low == -high
    assert list(image.get_extent()) == [19.5, 35.5, 35.5, 19.5]
    assert "".join(text.get_text() for text in axis.texts) == sequence
    with_influence = plot_map(np.abs(values), sequence, label="x", influence=np.ones(16), pairs=[(1, 9)])
    image = next(image for axis in with_influence.axes for image in axis.images)
    assert image.get_clim()[0] == 0


# --------------------------------------------------------------------------------------- a model that learned pairs

STEM, LOOP = 6, 4
COMPLEMENT = np.array([T, A, G, C])  # of A, T, C, G: ids 5 to 8


def hairpins(n: int, rng: np.random.Generator, held_out: np.ndarray | None = None) -> np.ndarray:
    """Token ids (n, L) of stems of six random pairs around a loop of four; none with a left strand of ``held_out``."""
    ids = rng.integers(A, A + 4, (n, 2 * STEM + LOOP))
    if held_out is not None:
        key = 4 ** np.arange(STEM)
        ids = ids[~np.isin((ids[:, :STEM] - A) @ key, (held_out[:, :STEM] - A) @ key)]
    ids[:, -STEM:] = COMPLEMENT[ids[:, :STEM] - A][:, ::-1]
    return ids


@pytest.mark.slow
def test_a_model_trained_on_hairpins_has_their_pairs_in_its_maps():
    """Some 1,200 steps of batches of 32 suffice for two layers; stems that are mapped were not trained on."""
    from LAMAR.data_collator_patch import MaskedLMCollator

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    heldout, steps, rate = hairpins(10, rng), 1200, 3e-3
    config = EsmConfig(num_hidden_layers=2, hidden_size=64, num_attention_heads=4, intermediate_size=128)
    model = build_model(EsmForMaskedLM, config, seed=0).train()
    collator = MaskedLMCollator(0.3, 1, 0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, (step + 1) / 50, (steps - step) / (0.4 * steps))
    )
    for _ in range(steps):
        ids = np.pad(hairpins(32, rng, heldout), ((0, 0), (1, 1)), constant_values=(0, 0))
        ids[:, -1] = VOCABULARY.index("<eos>")
        batch = collator([{"input_ids": row} for row in ids])
        loss = model(**batch, labelled_only=True).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    scores, planted_pairs, found = [], [], 0
    length = 2 * STEM + LOOP
    i, j = np.triu_indices(length, 1)
    for ids in heldout:
        sequence = "".join(VOCABULARY[token] for token in ids)
        values = dependency_map(model, sequence).values
        scores.append(symmetrised(values)[i, j])
        planted_pairs.append((i + j == length - 1) & (i < STEM))
        found += dot_bracket(length, find_stems(values, sequence)) == "((((((....))))))"
    area = auroc(np.concatenate(planted_pairs).astype(int), np.concatenate(scores))
    print(f"AUROC of planted pairs {area:.4f}; whole stems found in {found} of {len(heldout)} hairpins")
    assert area >= 0.9
    assert found >= 7
