"""Attribution methods on toy models whose answer is known, and relations that must hold on LAMAR's own."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from toy_classifiers import Coupled, Linear, Sum

from LAMAR import EsmForSequenceClassification, named_config
from LAMAR.batches import EncodedSequences, pad_batch
from LAMAR.checkpoints import build_model
from LAMAR.data.shuffling import dinucleotide_shuffle
from LAMAR.errors import InputError
from LAMAR.interpretation import attribution
from LAMAR.interpretation import integrated_gradients as gradients
from LAMAR.interpretation.methods import BASELINES

TOKEN = {"A": 5, "T": 6, "C": 7, "G": 8, "N": 9, "mask": 4}
SEQUENCES = ["ACGTNACGGT", "TTGACA", "CCCCAGGTTTACATG"]


@pytest.fixture(scope="module")
def tiny():
    """A random LAMAR of three layers; the CNN head reads every nucleotide."""
    return build_model(EsmForSequenceClassification, named_config("lamar-tiny", head_type="cnn"), 1).eval()


@pytest.fixture(scope="module")
def smooth():
    """A random LAMAR without a maximum in it."""
    return build_model(EsmForSequenceClassification, named_config("lamar-tiny"), 2).eval()


def weights(model: Linear, sequence: str, k: int | None = None) -> np.ndarray:
    """Weights (L, 10) of each nucleotide position: of logit k, or of the log-odds of class 1."""
    found = model.weight.detach().numpy()[1 : len(sequence) + 1]
    return found[..., k] if k is not None else found[..., 1] - found[..., 0]


# ------------------------------------------------------------------------------------------------- mutagenesis


@pytest.mark.parametrize(("scale", "k"), [("logit", 1), ("log_odds", None)])
def test_mutagenesis_of_a_linear_model_is_the_difference_of_its_weights(scale, k):
    model = Linear()
    for sequence, result in zip(SEQUENCES, attribution.mutagenesis(model, SEQUENCES)):
        w = weights(model, sequence, k)
        own = w[np.arange(len(sequence)), [TOKEN[x] for x in sequence]]
        wanted = w[:, [TOKEN[x] for x in "ACGT"]] - own[:, None]
        is_n = np.array(list(sequence)) == "N"
        wanted[is_n] = np.nan
        np.testing.assert_allclose(result.effects(scale), wanted, atol=2e-5)
        np.testing.assert_allclose(result.importance(scale), -wanted.sum(1) / 3, atol=2e-5)


def test_own_letters_are_zero_and_n_is_not_substituted(tiny):
    (result,) = attribution.mutagenesis(tiny, ["ANGT"])
    effects = result.effects()
    assert effects[[0, 2, 3], [0, 2, 3]].tolist() == [0, 0, 0]
    assert np.isnan(effects[1]).all()
    assert np.isnan(result.importance()).tolist() == [False, True, False, False]
    assert np.isfinite(np.delete(effects, 1, axis=0)).all()


def test_identity_edits_are_skipped(tiny, monkeypatch):
    seen = []
    forward = tiny.forward
    monkeypatch.setattr(tiny, "forward", lambda ids, mask: seen.extend(ids.tolist()) or forward(ids, mask))
    attribution.mutagenesis(tiny, ["ACGNT"])
    assert len(seen) == 1 + 3 * 4
    assert len(set(map(tuple, seen))) == len(seen)


def test_an_effect_equals_two_single_forward_passes(tiny):
    sequence = SEQUENCES[2]
    (result,) = attribution.mutagenesis(tiny, [sequence], target=0)
    mutant = sequence[:4] + "G" + sequence[5:]
    with torch.no_grad():
        one, two = (tiny(*pad_batch([EncodedSequences.encode([s])[0]])).logits[0] for s in (sequence, mutant))
    assert result.effects("log_odds")[4, 2] == pytest.approx(float((two[0] - two[1]) - (one[0] - one[1])), abs=2e-6)
    change = two.softmax(0)[0] - one.softmax(0)[0]
    assert result.effects("probability")[4, 2] == pytest.approx(float(change), abs=2e-6)


# --------------------------------------------------------------------------------------------- pairs of mutations


def test_pairs_of_a_linear_model_have_no_epistasis():
    found = attribution.pairwise_mutagenesis(Linear(), "ACGNTA", region=(1, 6))
    assert np.nanmax(np.abs(found.epistasis())) < 2e-5
    assert np.isnan(found.epistasis()[2]).all()  # N
    assert np.isnan(found.epistasis()[0, :, 0, :]).all()  # one position
    assert found.strongest().shape == (5, 5)


def test_a_coupled_pair_is_the_only_epistasis():
    # A2 and T5 give 3; losing either gives 0, and losing the other too changes nothing more: 0 - 0 - 0 + 3 = 3.
    found = attribution.pairwise_mutagenesis(Coupled(2, 5), "GCACGTGC").strongest("logit")
    wanted = np.zeros((8, 8))
    wanted[2, 5] = wanted[5, 2] = 3.0
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_pairs_equal_direct_runs(tiny):
    sequence = "ACGTTGCA"
    found = attribution.pairwise_mutagenesis(tiny, sequence, region=(2, 6), token_budget=64)
    (direct,) = attribution.mutagenesis(tiny, [sequence[:3] + "C" + sequence[4:]])
    # Position 3 to C (1), and 5 from G to A (0).
    np.testing.assert_allclose(found.logits[1, 1, 3, 0], direct.logits[5, 0], atol=2e-6)
    np.testing.assert_array_equal(found.epistasis(), found.epistasis().transpose(2, 3, 0, 1))


# ------------------------------------------------------------------------------------------------ window masking


def test_masked_windows_of_a_linear_model():
    model, sequence = Linear(), "ACGTTG"
    w = weights(model, sequence)
    change = w[:, TOKEN["mask"]] - w[np.arange(6), [TOKEN[x] for x in sequence]]
    (result,) = attribution.window_masking(model, [sequence], window_size=3, step_size=2)
    # Windows at 0 and 2, and at 3 so that the end is covered.
    assert result.starts.tolist() == [0, 2, 3]
    sums = [change[0:3].sum(), change[2:5].sum(), change[3:6].sum()]
    np.testing.assert_allclose(result.effects(), sums, atol=2e-5)
    assert result.coverage().tolist() == [1, 1, 2, 2, 2, 1]
    means = [sums[0], sums[0], (sums[0] + sums[1]) / 2, (sums[1] + sums[2]) / 2, (sums[1] + sums[2]) / 2, sums[2]]
    np.testing.assert_allclose(result.importance(), -np.array(means), atol=2e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_size": 7}, "`window_size`: found 7, wanted at most 6"),
        ({"window_size": 2, "step_size": 3}, "`step_size`: found 3, wanted at most `window_size` 2"),
        ({"region": (4, 9)}, "`region`: found 4-9, wanted 0 <= start < end <= 6"),
    ],
)
def test_windows_that_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        attribution.window_masking(Linear(), ["ACGTTG"], **options)


# ------------------------------------------------------------------------------------------------------ gradients


def test_saliency_of_a_linear_model():
    model = Linear()
    for sequence, result in zip(SEQUENCES, attribution.saliency(model, SEQUENCES)):
        w = weights(model, sequence)
        np.testing.assert_allclose(result.norm, np.linalg.norm(w, axis=1), rtol=1e-5)
        own = w[np.arange(len(sequence)), [TOKEN[x] for x in sequence]]
        np.testing.assert_allclose(result.gradient_x_input, own, atol=1e-5)


@pytest.mark.parametrize("baseline", BASELINES)
def test_integrated_gradients_of_a_linear_model_are_exact_and_complete(baseline):
    model = Linear()
    found = attribution.integrated_gradients(model, SEQUENCES, baseline=baseline, n_steps=2, n_shuffles=3, seed=5)
    for sequence, result in zip(SEQUENCES, found):
        w, rows = weights(model, sequence), np.arange(len(sequence))
        own = w[rows, [TOKEN[x] for x in sequence]]
        if baseline == "shuffle":
            shuffles = dinucleotide_shuffle([sequence] * 3, 5)
            start = np.mean([w[rows, [TOKEN[x] for x in shuffled]] for shuffled in shuffles], axis=0)
        elif baseline == "mean":
            start = w[:, 5:9].mean(1)
        else:
            start = w[:, TOKEN["mask" if baseline == "mask" else "N"]]
        np.testing.assert_allclose(result.scores, own - start, atol=2e-5)
        assert result.difference == pytest.approx((own - start).sum(), abs=1e-4)
        assert abs(result.delta) < 1e-4
        assert result.n_steps == 2


def test_integrated_gradients_of_a_cube():
    # f = a^3 for a A's against a mask baseline: each A has a third of ... a^3 / a, whatever the path's curvature.
    model = Sum(lambda count: count**3)
    (result,) = attribution.integrated_gradients(model, ["AACAG"], n_steps=2)
    np.testing.assert_allclose(result.scores, [9, 9, 0, 9, 0], rtol=1e-5)  # two nodes are exact for a quadratic slope
    assert result.difference == pytest.approx(27)


def test_integrated_gradients_are_complete_on_lamar(smooth):
    for baseline in BASELINES:
        found = attribution.integrated_gradients(smooth, SEQUENCES, baseline=baseline, n_steps=32, n_shuffles=2)
        for result in found:
            assert abs(result.delta) < 1e-4 * abs(result.difference) + 1e-6
            assert result.scores.sum() == pytest.approx(result.difference, abs=1e-5)


def test_steps_are_raised_until_complete():
    steep = Sum(lambda count: torch.sigmoid(40 * (count - 1.3)))
    (result,) = attribution.integrated_gradients(steep, ["AACAG"], n_steps=3)
    assert result.converged
    assert result.n_steps > 3
    assert result.n_steps % 16 == 3  # the path at first, then parts of it
    assert abs(result.delta) <= 0.05 * abs(result.difference)


def test_a_small_tolerance_takes_as_many_steps_as_it_needs():
    curved = Sum(lambda count: torch.sin(4 * count))
    rough, fine = (attribution.integrated_gradients(curved, ["AACAG"], n_steps=6, tolerance=t)[0] for t in (0.5, 1e-5))
    assert rough.n_steps == 6 < fine.n_steps
    assert abs(fine.delta) <= 1e-5 * abs(fine.difference)


def test_a_sudden_turn_is_integrated_where_it_is():
    turn = Sum(lambda count: torch.sigmoid(2000 * (count - 1.3)))
    (halved,) = attribution.integrated_gradients(turn, ["AACAGA"], n_steps=16, tolerance=1e-4)
    (even,) = attribution.integrated_gradients(turn, ["AACAGA"], n_steps=960, tolerance=0.999)
    assert halved.converged
    assert halved.n_steps < even.n_steps
    assert abs(halved.delta) < abs(even.delta) / 100
    # Every A moves the sum alike; no other letter does.
    assert halved.scores == pytest.approx(np.array([1, 1, 0, 1, 0, 1]) / 4 * halved.difference, abs=1e-3)


def test_every_shuffle_has_its_own_turn():
    class First(Sum):
        def logits(self, embeddings):
            return super().logits(embeddings[:, 4:5])  # the fourth nucleotide

    turn = First(lambda count: torch.sigmoid(300 * (count - 0.3)))
    sequence = "ACGATTACGCATA"
    more = {"baseline": "shuffle", "n_shuffles": 6, "n_steps": 8}
    alone, *_ = attribution.integrated_gradients(turn, [sequence], tolerance=1e-4, **more)
    together = attribution.integrated_gradients(turn, ["CCCC", sequence, "GATTACA"], tolerance=1e-4, **more)
    assert alone.converged
    assert alone.n_steps > 8
    # Only shuffles with another letter there have anything to explain, and they explain it there.
    assert 0 < alone.difference < 1
    assert alone.scores == pytest.approx(np.eye(len(sequence))[3] * alone.difference, abs=1e-4)
    np.testing.assert_allclose(together[1].scores, alone.scores, atol=1e-5)


def test_what_never_converges_is_a_warning(caplog):
    step = Sum(lambda count: (count > 1.5).float() + 0 * count)
    with caplog.at_level(logging.WARNING, "LAMAR.interpretation.integrated_gradients"):
        found = attribution.integrated_gradients(step, ["AACAG", "CCGAT"], n_steps=300)
    assert found[0].n_steps == 300 + 960
    assert not found[0].converged
    assert found[0].delta == pytest.approx(-1)
    assert found[1].converged  # no A too few: both ends are 0
    assert "1 of 2 sequences have a convergence delta above 5 % of the difference (the worst, with 1260" in caplog.text


def test_the_class_is_fixed_along_the_path():
    # Class 1 wins on the sequence, class 0 at the baseline.
    model = Sum(lambda count: count - 1.5)
    (result,) = attribution.integrated_gradients(model, ["AAC"], target="predicted", scale="logit", n_steps=4)
    assert result.target == 1
    assert result.difference == pytest.approx(2)


def test_integrated_gradients_equal_captum_on_the_embedding_layer(smooth):
    captum = pytest.importorskip("captum.attr")
    ids, mask = pad_batch([EncodedSequences.encode([SEQUENCES[2]])[0]])
    baseline = torch.where(ids > 2, TOKEN["mask"], ids)

    def log_odds(ids, mask):
        logits = smooth(ids, mask).logits
        return logits[:, 1] - logits[:, 0]

    layer = captum.LayerIntegratedGradients(log_odds, smooth.esm.embeddings.word_embeddings)
    wanted = layer.attribute(
        ids, baselines=baseline, additional_forward_args=(mask,), n_steps=20, method="gausslegendre"
    )
    (result,) = attribution.integrated_gradients(smooth, [SEQUENCES[2]], n_steps=20)
    np.testing.assert_allclose(result.scores, wanted.sum(-1)[0, 1:-1].detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(result.norm, wanted.norm(dim=-1)[0, 1:-1].detach().numpy(), atol=1e-6)


def test_saliency_equals_captum(smooth):
    captum = pytest.importorskip("captum.attr")
    ids, mask = pad_batch([EncodedSequences.encode([SEQUENCES[0]])[0]])
    embeddings = smooth.get_input_embeddings()(ids).detach().requires_grad_(True)

    def log_odds(embeddings, mask):
        logits = smooth(inputs_embeds=embeddings, attention_mask=mask).logits
        return logits[:, 1] - logits[:, 0]

    gradient = captum.Saliency(log_odds).attribute(embeddings, abs=False, additional_forward_args=(mask,))
    (result,) = attribution.saliency(smooth, [SEQUENCES[0]])
    np.testing.assert_allclose(result.norm, gradient.norm(dim=-1)[0, 1:-1].numpy(), atol=1e-6)
    np.testing.assert_allclose(
        result.gradient_x_input, (gradient * embeddings).sum(-1)[0, 1:-1].detach().numpy(), atol=1e-6
    )


def test_mutagenesis_equals_tangermeme(smooth):
    """tangermeme is no dependency of the tests (it brings numba): install it to run this one."""
    module = pytest.importorskip("tangermeme.saturation_mutagenesis")
    sequence = SEQUENCES[2]

    class OneHot(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = smooth

        def forward(self, x):
            ids = torch.tensor([TOKEN[letter] for letter in "ACGT"])[x.argmax(1)]
            ids = torch.nn.functional.pad(torch.nn.functional.pad(ids, (1, 0), value=0), (0, 1), value=2)
            return self.model(ids, torch.ones_like(ids)).logits

    one_hot = torch.eye(4)[["ACGT".index(letter) for letter in sequence]].T[None]
    before, after = module.saturation_mutagenesis(OneHot(), one_hot, raw_outputs=True, device="cpu")[:2]
    wanted = (after - before[:, None, None])[0].permute(1, 0, 2).numpy()
    (result,) = attribution.mutagenesis(smooth, [sequence])
    assert wanted.shape == result.logits.shape == (len(sequence), 4, 2)
    np.testing.assert_allclose(result.logits - result.reference, wanted, atol=1e-6)


def test_without_captum_it_is_one_line(monkeypatch, smooth):
    find_spec = gradients.importlib.util.find_spec
    monkeypatch.setattr(
        gradients.importlib.util, "find_spec", lambda name, *rest: None if name == "captum" else find_spec(name, *rest)
    )
    with pytest.raises(InputError, match=r"need the package captum: pip install 'LAMAR\[interpret\]'"):
        attribution.integrated_gradients(smooth, ["ACGT"])


def test_embeddings_give_the_logits_that_ids_give(tiny):
    ids, mask = pad_batch([EncodedSequences.encode([sequence])[0] for sequence in SEQUENCES])
    with torch.no_grad():
        embeddings = tiny.get_input_embeddings()(ids)
        torch.testing.assert_close(
            tiny(inputs_embeds=embeddings, attention_mask=mask).logits, tiny(ids, mask).logits, atol=1e-6, rtol=0
        )


# ------------------------------------------------------------------------------------------- relations, all methods

CALLS = {
    "mutagenesis": lambda model, sequences, **more: attribution.mutagenesis(model, sequences, **more),
    "window": lambda model, sequences, **more: attribution.window_masking(
        model, sequences, window_size=3, step_size=2, **more
    ),
    "gradient": lambda model, sequences, **more: attribution.saliency(model, sequences, **more),
    "integrated": lambda model, sequences, **more: attribution.integrated_gradients(
        model, sequences, n_steps=16, baseline="shuffle", n_shuffles=2, **more
    ),
}


@pytest.mark.parametrize("method", CALLS)
def test_batch_size_and_company_do_not_change_results(method, smooth):
    together = CALLS[method](smooth, SEQUENCES)
    for budget in (1, 40, 4096):
        for one, other in zip(together, CALLS[method](smooth, SEQUENCES, token_budget=budget)):
            np.testing.assert_allclose(one.importance(), other.importance(), atol=2e-6)
    for sequence, one in zip(SEQUENCES, together):
        (alone,) = CALLS[method](smooth, [sequence])
        np.testing.assert_allclose(one.importance(), alone.importance(), atol=2e-6)


@pytest.mark.parametrize("method", CALLS)
def test_a_region_is_the_slice_of_the_whole(method, smooth):
    (whole,) = CALLS[method](smooth, [SEQUENCES[2]])
    (part,) = CALLS[method](smooth, [SEQUENCES[2]], region=(4, 11))
    assert (part.start, part.end) == (4, 11)
    np.testing.assert_allclose(part.importance(), whole.importance()[4:11], atol=2e-6)


def state(model) -> list:
    modes = [module.training for module in model.modules()]
    wants = [parameter.requires_grad for parameter in model.parameters()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()]
    grads = [parameter.grad is None for parameter in model.parameters()]
    return [modes, wants, hooks, grads, next(model.parameters()).device]


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(method, fails, monkeypatch):
    model = build_model(EsmForSequenceClassification, named_config("lamar-tiny"), 3).train()
    model.classifier.eval()
    model.esm.encoder.layer[0].requires_grad_(False)
    before, weights_before = state(model), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if fails:

        def fail(*arguments, **keywords):
            raise RuntimeError("out of memory")

        monkeypatch.setattr(model.esm.encoder.layer[1], "forward", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            CALLS[method](model, SEQUENCES)
    else:
        CALLS[method](model, SEQUENCES)
    assert state(model) == before
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights_before[name])
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("method", CALLS)
def test_scores_are_float32_under_autocast(method, smooth):
    (wanted,) = CALLS[method](smooth, [SEQUENCES[1]])
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = CALLS[method](smooth, [SEQUENCES[1]])
    assert found.importance().dtype == np.float32
    np.testing.assert_array_equal(found.importance(), wanted.importance())


def test_weights_that_are_not_finite_are_an_error():
    model = Linear()
    model.weight.data[2] = torch.nan
    with pytest.raises(InputError, match="logits that are not finite"):
        attribution.mutagenesis(model, ["ACG"])
