"""Extraction, predictions and explanations on a GPU: the values of the CPU; TensorFlow leaves the GPU alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gpu_runs import DEVICE, NOTES, WEIGHTS, check_close, check_parity, pick

from LAMAR import (
    EsmForMaskedLM,
    dependency_map,
    embed,
    integrated_gradients,
    load_classifier,
    load_pretrained,
    mutagenesis,
    predict,
    scan,
    variant_effects,
)
from LAMAR.batches import EncodedSequences
from LAMAR.embeddings import extract_outputs

pytestmark = pytest.mark.gpu

PRECISION_LIMITS = 0.05, 0.99  # relative error and cosine in bfloat16


def random_sequences(lengths, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ACGT"), length)) for length in lengths]


@pytest.fixture(scope="module")
def language_model():
    return load_pretrained(EsmForMaskedLM, WEIGHTS / "lamar-mini")[0]


@pytest.fixture(scope="module")
def classifier():
    return load_classifier(WEIGHTS / "lamar-mini-rbp")[0]


WINDOWS = random_sequences(pick([101] * 40 + [60, 33, 500], [21, 30, 9]))
WINDOW = random_sequences([pick(101, 12)], seed=1)


@pytest.mark.parametrize("layer", [-1, 3])
@pytest.mark.parametrize("pooling", ["mean", "none"])
def test_extraction(language_model, layer, pooling):
    found, wanted = (embed(language_model, WINDOWS, layer, pooling, device=device) for device in (DEVICE, "cpu"))
    if pooling == "none":
        found, wanted = map(np.concatenate, (found, wanted))
    check_parity(f"extraction, layer {layer}, pooling {pooling}", (found, wanted))


def test_extraction_in_batches_of_any_size(language_model):
    budgets = pick((200, 8_192, 65_536), (40, 200))
    vectors = [embed(language_model, WINDOWS, device=DEVICE, token_budget=budget) for budget in budgets]
    check_parity(f"extraction in batches of {budgets} tokens", *((other, vectors[0]) for other in vectors[1:]))


def test_extraction_in_bfloat16(language_model):
    encoded = EncodedSequences.encode(WINDOWS)
    found, wanted = (
        extract_outputs(language_model, encoded, [(-1, "mean")], device=DEVICE, precision=precision).popitem()[1].values
        for precision in ("bfloat16", "float32")
    )
    check_close("extraction in bfloat16", (found, wanted), limits=PRECISION_LIMITS)


def test_prediction(classifier):
    found, wanted = (predict(classifier, WINDOWS, "logit", device=device) for device in (DEVICE, "cpu"))
    check_parity("predicted logits", (found, wanted))
    probabilities = tuple(predict(classifier, WINDOWS, device=device) for device in (DEVICE, "cpu"))
    check_parity("predicted probabilities", probabilities)


def test_prediction_with_the_precision_that_convolutions_have_by_default(classifier):
    """PyTorch lets cuDNN use TF32, with 10 bits of mantissa, unless it is told not to."""
    wanted = predict(classifier, WINDOWS, "logit", device="cpu")
    try:
        torch.backends.cudnn.allow_tf32 = True
        found = predict(classifier, WINDOWS, "logit", device=DEVICE)
    finally:
        torch.backends.cudnn.allow_tf32 = False
    check_parity("predicted logits, convolutions in TF32", (found, wanted), share=5e-3)


def test_mutagenesis(classifier):
    (found,), (wanted,) = (mutagenesis(classifier, WINDOW, target=0, device=device) for device in (DEVICE, "cpu"))
    pairs = (found.effects(), wanted.effects()), (found.logits, wanted.logits)
    check_parity("mutagenesis, effects, and logits of all tracks", *pairs)


@pytest.mark.parametrize("baseline", ["mask", "shuffle"])
def test_integrated_gradients(classifier, needs, baseline):
    needs("captum")
    # A tolerance that all reach: the choice of further nodes would turn on the last bit.
    options = {"target": 0, "baseline": baseline, "n_steps": pick(32, 4), "tolerance": 1e9, "n_shuffles": 2}
    (found,), (wanted,) = (
        integrated_gradients(classifier, WINDOW, device=device, **options) for device in (DEVICE, "cpu")
    )
    pairs = (found.scores, wanted.scores), (found.difference, wanted.difference)
    check_parity(f"integrated gradients, {baseline}", *pairs)


def test_integrated_gradients_are_refined(classifier, needs):
    needs("captum")
    (result,) = integrated_gradients(classifier, WINDOW, target=0, n_steps=4, tolerance=pick(1e-2, 0.2), device=DEVICE)
    NOTES.append(f"integrated gradients: {result.n_steps} nodes, {result.delta:.1e} of {result.difference:.3f} missed")
    assert result.n_steps > 4
    assert result.converged


@pytest.mark.parametrize("reduction", ["max", "mean"])
def test_dependency_map(language_model, reduction):
    sequence = WINDOW[0][: pick(80, 8)] + "N" + WINDOW[0][:4]
    found, wanted = (
        dependency_map(language_model, sequence, reduction=reduction, device=device) for device in (DEVICE, "cpu")
    )
    check_parity(f"dependency map, {reduction}", (found.values, wanted.values), (found.log_odds, wanted.log_odds))


def test_scan(classifier):
    (sequence,) = random_sequences([pick(4_000, 130)], seed=2)
    sequence = sequence[:-40] + "N" * 12 + sequence[-28:]
    stride = pick(25, 60)
    found, wanted = (scan(classifier, sequence, stride=stride, device=device) for device in (DEVICE, "cpu"))
    check_parity("scan", (found, wanted))
    low = scan(classifier, sequence, stride=stride, device=DEVICE, bf16=True)
    known = np.isfinite(wanted[:, 0])
    check_close("scan in bfloat16", (low[known], wanted[known]), limits=PRECISION_LIMITS)


def test_variant_effects(classifier, needs, tmp_path):
    needs("pyfaidx")
    (genome,) = random_sequences([pick(400, 60)], seed=3)
    (tmp_path / "genome.fa").write_text(f">chr1\n{genome}\n")
    middle = len(genome) // 2
    alternative = "A" if genome[middle] != "A" else "C"
    (tmp_path / "variants.csv").write_text(f"chrom,start,ref,alt\nchr1,{middle},{genome[middle]},{alternative}\n")
    files = tmp_path / "variants.csv", tmp_path / "genome.fa"
    found, wanted = (
        variant_effects(classifier, *files, variant_window=pick(101, 21), target=0, device=device)
        for device in (DEVICE, "cpu")
    )
    assert len(found) == 1
    check_parity("variant effect", (found["effect"], wanted["effect"]))


CNN = """
import numpy as np
import torch

is_cuda = torch.cuda.is_available()
free = torch.cuda.mem_get_info()[0] if is_cuda else 0
from LAMAR.evaluation.cnn.backend import load_keras

keras = load_keras()
import tensorflow

keras.utils.set_random_seed(1)
keras.layers.Conv1D(8, 5)(np.zeros((8, 101, 4), "float32"))
print(len(tensorflow.config.get_visible_devices("GPU")), free - torch.cuda.mem_get_info()[0] if is_cuda else 0)
"""


def test_tensorflow_takes_no_memory_of_the_gpu(needs, run_python):
    needs("tensorflow")
    visible, taken = map(int, run_python(CNN, KERAS_BACKEND="tensorflow").split())
    NOTES.append(f"TensorFlow: {visible} GPUs visible, {taken / 2**20:.0f} MiB taken")
    assert visible == 0
    assert taken < 64 * 2**20
