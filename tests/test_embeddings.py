"""The inference loop: every record once, in its place, with the values that it has in a batch by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from embedding_calls import extract_layers
from hypothesis import given, settings
from hypothesis import strategies as st

from LAMAR import embeddings
from LAMAR.batches import EncodedSequences, batched, pad_batch, token_batches
from LAMAR.devices import choose_device
from LAMAR.embeddings import (
    POOLINGS,
    Embeddings,
    extract_features,
    extract_outputs,
)
from LAMAR.errors import InputError
from LAMAR.layers import default_layers, resolve_layers
from LAMAR.memory_maps import release_pages
from LAMAR.modeling_nucESM2 import EsmForMaskedLM, EsmForSequenceClassification, named_config
from LAMAR.tokenization import LamarTokenizer

# Lengths far apart, two equal ones, one nucleotide, none of them sorted.
LENGTHS = (12, 40, 1, 12, 25, 3, 31)


@pytest.fixture(scope="module")
def sequences() -> list[str]:
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list("ACGTN"), n)) for n in LENGTHS]


@pytest.fixture
def model() -> EsmForSequenceClassification:
    torch.manual_seed(0)
    model = EsmForSequenceClassification(named_config("lamar-tiny"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.15)
    return model


def hidden_alone(model, sequences) -> list[np.ndarray]:
    """Last hidden state of each record by itself, special tokens included."""
    tokenizer = LamarTokenizer()
    with torch.no_grad():
        return [
            model.esm(**tokenizer(sequence, return_tensors="pt")).last_hidden_state[0].numpy() for sequence in sequences
        ]


# --------------------------------------------------------------------------------------------- batches


@given(st.lists(st.integers(1, 600), max_size=60), st.integers(1, 1500))
def test_batches_hold_each_record_once_and_keep_the_budget(lengths, budget):
    lengths = np.array(lengths, dtype=np.int64)
    batches = token_batches(lengths, budget)
    order = np.concatenate([*batches, np.empty(0, dtype=np.int64)])
    assert sorted(order.tolist()) == list(range(len(lengths)))
    # Longest first: what does not fit into memory fails at once.
    assert np.all(np.diff(lengths[order.astype(int)]) <= 0)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
    # Only the last batch could have taken one more record.
    for batch in batches[:-1]:
        assert (len(batch) + 1) * lengths[batch].max() > budget


def test_batches_by_hand():
    # Longest first, ties in the order of the input: 9 alone, 5 + 5 (10 tokens), then 2 + 1.
    found = [batch.tolist() for batch in token_batches(np.array([5, 1, 9, 5, 2]), 10)]
    assert found == [[2], [0, 3], [4, 1]]
    assert token_batches(np.array([], dtype=np.int64), 10) == []


def test_encoded_sequences_and_padding():
    encoded = EncodedSequences.encode(["AC", "GTN"])
    assert len(encoded) == 2
    assert encoded.lengths.tolist() == [4, 5]
    assert encoded[1].tolist() == [0, 8, 6, 9, 2]
    ids, mask = pad_batch([encoded[0], encoded[1]])
    assert ids.tolist() == [[0, 5, 7, 2, 1], [0, 8, 6, 9, 2]]
    assert mask.tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert ids.dtype == mask.dtype == torch.int64


def test_features_of_records_of_different_lengths():
    values = np.arange(10).reshape(5, 2)
    ragged = Embeddings(values, np.array([0, 2, 5]))
    assert len(ragged) == 2
    assert ragged[1].tolist() == [[4, 5], [6, 7], [8, 9]]
    assert len(Embeddings(values)) == 5
    assert Embeddings(values)[3].tolist() == [6, 7]


# ------------------------------------------------------------------------------------------------ loop


def test_each_record_is_seen_once_with_its_own_ids(model, sequences):
    encoded = EncodedSequences.encode(sequences)
    seen = {}
    for indices, ids in batched(model, encoded, lambda ids, mask: ids * mask, token_budget=64):
        for index, row in zip(indices.tolist(), ids):
            assert index not in seen
            seen[index] = row[: len(encoded[index])].tolist()
    assert seen == {i: encoded[i].tolist() for i in range(len(sequences))}


def test_loop_runs_in_evaluation_mode_without_gradients(model, sequences):
    model.train()

    def function(ids, mask):
        assert not model.training
        hidden = model.esm(ids, mask).last_hidden_state
        assert not hidden.requires_grad
        return hidden[:, 0]

    for _ in batched(model, EncodedSequences.encode(sequences), function):
        # Between batches the caller has the previous gradient mode.
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("training", [True, False])
def test_training_mode_is_restored(model, sequences, training):
    encoded = EncodedSequences.encode(sequences)
    model.train(training)
    list(batched(model, encoded, lambda ids, mask: ids))
    assert model.training is training

    def failing(ids, mask):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        list(batched(model, encoded, failing))
    assert model.training is training

    # A caller that stops half-way.
    loop = batched(model, encoded, lambda ids, mask: ids, token_budget=16)
    next(loop)
    assert not model.training
    loop.close()
    assert model.training is training


# -------------------------------------------------------------------------------------------- features


def wanted_features(head_type, alone) -> list[np.ndarray]:
    return {
        "linear": [hidden[0] for hidden in alone],
        "mean": [hidden[1:-1].mean(0) for hidden in alone],
        "cnn": [hidden[1:-1] for hidden in alone],
    }[head_type]


@pytest.mark.parametrize("head_type", ["linear", "mean", "cnn"])
@given(budget=st.one_of(st.none(), st.integers(1, 400)))
@settings(max_examples=8)
def test_features_are_those_of_each_record_alone(model_and_alone, head_type, budget):
    model, sequences, alone = model_and_alone
    found = extract_features(model, EncodedSequences.encode(sequences), head_type, token_budget=budget)
    assert found.values.dtype == np.float32
    assert len(found) == len(sequences)
    for i, wanted in enumerate(wanted_features(head_type, alone)):
        assert found[i].shape == wanted.shape
        np.testing.assert_allclose(found[i], wanted, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def model_and_alone(sequences):
    torch.manual_seed(0)
    model = EsmForSequenceClassification(named_config("lamar-tiny")).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.15)
    return model, sequences, hidden_alone(model, sequences)


@pytest.mark.parametrize("head_type", ["linear", "mean", "cnn"])
def test_a_head_on_stored_features_gives_the_models_logits(sequences, head_type):
    torch.manual_seed(1)
    model = EsmForSequenceClassification(named_config("lamar-tiny", head_type=head_type, num_labels=3)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.15)
        wanted = model(**LamarTokenizer()(sequences, padding=True, return_tensors="pt")).logits
        features = extract_features(model, EncodedSequences.encode(sequences), head_type, token_budget=50)
        records = [torch.from_numpy(np.array(features[i])) for i in range(len(features))]
        if head_type != "cnn":
            found = model.classifier(torch.stack(records))
        else:
            padded = torch.nn.utils.rnn.pad_sequence(records, batch_first=True)
            mask = torch.arange(padded.shape[1]) < torch.tensor(LENGTHS)[:, None]
            found = model.classifier(padded, mask)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("head_type", ["mean", "cnn"])
def test_large_features_go_to_a_memory_map(model_and_alone, tmp_path, monkeypatch, head_type):
    model, sequences, _ = model_and_alone
    encoded = EncodedSequences.encode(sequences)
    scratch = tmp_path / "features.npy"
    rows = sum(LENGTHS) if head_type == "cnn" else len(LENGTHS)
    size = rows * 64 * 4

    monkeypatch.setattr(embeddings, "MEMORY_LIMIT_BYTES", size)
    in_memory = extract_features(model, encoded, head_type, scratch=scratch)
    assert not isinstance(in_memory.values, np.memmap)
    assert not scratch.exists()

    monkeypatch.setattr(embeddings, "MEMORY_LIMIT_BYTES", size - 1)
    mapped = extract_features(model, encoded, head_type, scratch=scratch)
    assert isinstance(mapped.values, np.memmap)
    mapped.values.flush()
    np.testing.assert_array_equal(np.load(scratch), in_memory.values)


def test_encoder_is_left_as_it_was(model, sequences):
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    extract_features(model, EncodedSequences.encode(sequences), "mean")
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    # The weights can still be trained after the loop's inference mode.
    ids, mask = pad_batch([EncodedSequences.encode(sequences)[0]])
    model(ids, mask, labels=torch.tensor([1])).loss.backward()
    assert model.esm.embeddings.word_embeddings.weight.grad is not None


# ---------------------------------------------------------------------------------- layers and pooling


@pytest.fixture(scope="module")
def states_alone(model_and_alone) -> list[list[np.ndarray]]:
    """Hidden states of each record by itself after blocks 0, 1 and 2, special tokens included."""
    model, sequences, _ = model_and_alone
    tokenizer = LamarTokenizer()
    with torch.no_grad():
        runs = [
            model.esm(**tokenizer(sequence, return_tensors="pt"), output_hidden_states=True) for sequence in sequences
        ]
    return [[state[0].numpy() for state in run.hidden_states[1:]] for run in runs]


POOLED_BY_HAND = {
    "none": lambda hidden: hidden[1:-1],
    "mean": lambda hidden: hidden[1:-1].mean(0),
    "max": lambda hidden: hidden[1:-1].max(0),
    "cls": lambda hidden: hidden[0],
}


@pytest.mark.parametrize("pooling", POOLINGS)
@given(budget=st.one_of(st.none(), st.integers(1, 400)), order=st.permutations(range(len(LENGTHS))))
@settings(max_examples=8)
def test_batches_order_and_padding_change_no_value(model_and_alone, states_alone, pooling, budget, order):
    model, sequences, _ = model_and_alone
    encoded = EncodedSequences.encode([sequences[i] for i in order])
    found = extract_layers(model, encoded, layers=[0, 1, 2], pooling=pooling, token_budget=budget)
    for layer in range(3):
        assert found[layer].values.dtype == np.float32
        assert len(found[layer]) == len(sequences)
        for position, record in enumerate(order):
            wanted = POOLED_BY_HAND[pooling](states_alone[record][layer])
            assert found[layer][position].shape == wanted.shape
            np.testing.assert_allclose(found[layer][position], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_several_layers_in_one_pass_equal_one_pass_each(model_and_alone, pooling):
    model, sequences, _ = model_and_alone
    encoded = EncodedSequences.encode(sequences)
    together = extract_layers(model, encoded, layers=[-1, 0, 1], pooling=pooling)
    assert list(together) == [2, 0, 1]
    for layer, embeddings_of_layer in together.items():
        alone = extract_layers(model, encoded, layers=[layer], pooling=pooling)[layer]
        np.testing.assert_array_equal(alone.values, embeddings_of_layer.values)


def test_several_poolings_in_one_pass_equal_one_pass_each(model_and_alone):
    model, sequences, _ = model_and_alone
    encoded = EncodedSequences.encode(sequences)
    passes = []
    hook = model.esm.register_forward_hook(lambda *_: passes.append(1))
    outputs = [(-1, "none"), (0, "mean"), (2, "mean"), (1, "cls")]
    together = extract_outputs(model, encoded, outputs)
    hook.remove()
    assert list(together) == [(2, "none"), (0, "mean"), (2, "mean"), (1, "cls")]
    assert len(passes) == 1  # all records fit into one batch
    for (layer, pooling), found in together.items():
        alone = extract_layers(model, encoded, layers=[layer], pooling=pooling)[layer]
        np.testing.assert_array_equal(alone.values, found.values)
    with pytest.raises(InputError, match="found 2 and -1, which are the same layer"):
        extract_outputs(model, encoded, [(2, "mean"), (0, "none"), (-1, "mean")])


def test_last_layer_is_the_last_hidden_state(model_and_alone):
    model, sequences, alone = model_and_alone
    found = extract_layers(model, EncodedSequences.encode(sequences), layers=[-1], pooling="none")[2]
    for i, hidden in enumerate(alone):
        np.testing.assert_allclose(found[i], hidden[1:-1], rtol=0, atol=1e-5)


class _Output:
    """Output of an encoder that returns, after block 0, each token's id and its position."""

    def __init__(self, ids, mask):
        positions = torch.arange(ids.shape[1]).expand_as(ids)
        # Padding gets a value that would win every maximum and overflow float16.
        self.last_hidden_state = torch.stack((ids, positions), dim=-1).float().masked_fill(mask[..., None] == 0, 1e9)


@pytest.mark.parametrize(
    ("pooling", "wanted"),
    [
        # A is 5, T 6, C 7, G 8; nucleotides stand at positions 1, 2, ...
        ("none", [[8, 1], [5, 1], [7, 2], [6, 3], [7, 4]]),
        ("mean", [[8, 1], [6.25, 2.5]]),
        ("max", [[8, 1], [7, 4]]),
        ("cls", [[0, 0], [0, 0]]),
    ],
)
def test_pooling_by_hand(monkeypatch, pooling, wanted):
    model = EsmForSequenceClassification(named_config("lamar-tiny", hidden_size=4, num_attention_heads=1))
    model.config.hidden_size = model.esm.config.hidden_size = 2
    monkeypatch.setattr(model.esm, "forward", lambda ids, mask, **kwargs: _Output(ids, mask))
    encoded = EncodedSequences.encode(["G", "ACTC"])
    for dtype in ("float32", "float16"):
        found = extract_layers(model, encoded, layers=[0], pooling=pooling, dtype=dtype)[0]
        assert found.values.tolist() == wanted
        assert (found.offsets is None) == (pooling != "none")


@pytest.mark.parametrize(("layers", "wanted"), [([0], [1, 0, 0]), ([1, 0], [1, 1, 0]), ([-1], [1, 1, 1])])
def test_blocks_above_the_highest_layer_are_not_run(model, sequences, layers, wanted):
    calls = [0, 0, 0]

    def counter(index):
        def count(*_):
            calls[index] += 1

        return count

    for index, block in enumerate(model.esm.encoder.layer):
        block.register_forward_hook(counter(index))
    extract_layers(model, EncodedSequences.encode(sequences), layers=layers, pooling="mean", token_budget=10_000)
    assert calls == wanted


@pytest.mark.parametrize("pooling", POOLINGS)
def test_float16_is_float32_rounded(model_and_alone, pooling):
    model, sequences, _ = model_and_alone
    encoded = EncodedSequences.encode(sequences)
    single = extract_layers(model, encoded, layers=[1], pooling=pooling)[1]
    half = extract_layers(model, encoded, layers=[1], pooling=pooling, dtype="float16")[1]
    assert half.values.dtype == np.float16
    np.testing.assert_array_equal(half.values, single.values.astype(np.float16))


def test_values_too_large_for_float16_are_an_error(model, sequences):
    encoded = EncodedSequences.encode(sequences)
    with torch.no_grad():
        model.esm.encoder.layer[0].output.dense.bias[0] = 70_000.0
    extract_layers(model, encoded, layers=[0], pooling="mean")
    with pytest.raises(InputError, match=r"layer 0: found a value of 7\d{4}.*, too large for float16.*`dtype` float32"):
        extract_layers(model, encoded, layers=[0], pooling="mean", dtype="float16")
    with torch.no_grad():
        model.esm.encoder.layer[0].output.dense.bias[0] = torch.nan
    with pytest.raises(InputError, match="layer 0: found values that are not finite"):
        extract_layers(model, encoded, layers=[0], pooling="mean")


def test_models_with_other_heads_and_without_one(model, sequences):
    encoded = EncodedSequences.encode(sequences)
    masked = EsmForMaskedLM(named_config("lamar-tiny"))
    masked.esm.load_state_dict(model.esm.state_dict())
    wanted = extract_layers(model, encoded, layers=[2], pooling="mean")[2].values
    for other in (masked, model.esm):
        np.testing.assert_array_equal(extract_layers(other, encoded, layers=[2], pooling="mean")[2].values, wanted)


def test_given_arrays_are_filled(model, sequences, tmp_path, monkeypatch):
    encoded = EncodedSequences.encode(sequences)
    wanted = extract_layers(model, encoded, layers=[0, 2], pooling="none")
    mapped = np.lib.format.open_memmap(tmp_path / "values.npy", mode="w+", dtype="float32", shape=(sum(LENGTHS), 64))
    released = []

    def counted(values):
        released.append(values)
        release_pages(values)

    monkeypatch.setattr(embeddings, "release_pages", counted)
    monkeypatch.setattr(embeddings, "RESIDENT_LIMIT_BYTES", 1)
    found = extract_layers(model, encoded, layers=[0, 2], pooling="none", out={(2, "none"): mapped}, token_budget=64)
    assert found[2].values is mapped
    # Pages are released after each of the three or more batches; their content stays.
    assert len(released) >= 2 * 3
    for layer in (0, 2):
        np.testing.assert_allclose(found[layer].values, wanted[layer].values, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"out\[0, mean\]: found float32 \(124, 64\), wanted float32 \(7, 64\)"):
        extract_layers(model, encoded, layers=[0], pooling="mean", out={(0, "mean"): mapped})


def test_reduced_precision_of_the_forward_pass(model_and_alone):
    model, sequences, _ = model_and_alone
    encoded = EncodedSequences.encode(sequences)
    exact = extract_layers(model, encoded, layers=[2], pooling="mean")[2].values
    rough = extract_layers(model, encoded, layers=[2], pooling="mean", precision="bfloat16")[2].values
    assert rough.dtype == np.float32
    assert 0 < np.abs(rough - exact).max() < 0.1 * np.abs(exact).max()


def test_layers_by_number():
    assert default_layers(12) == (11, 5)
    assert default_layers(3) == (2, 1)
    assert default_layers(1) == (0,)
    assert resolve_layers([-1, 5, 0], 12) == (11, 5, 0)
    for layers, message in (
        ([12], r"`layers`: found 12, wanted -12 to 11"),
        ([-13], r"`layers`: found -13"),
        ([11, 3, -1], r"`layers`: found 11 and -1, which are the same layer"),
        ([], r"`layers`: found none, wanted -12 to 11"),
    ):
        with pytest.raises(InputError, match=message):
            resolve_layers(layers, 12)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pooling": "sum"}, "`pooling`: found 'sum', wanted one of none, mean, cls, max"),
        ({"dtype": "int8"}, "`dtype`: found 'int8', wanted one of float32, float16"),
        ({"precision": "float16"}, "`precision`: found 'float16', wanted one of float32, bfloat16"),
        ({"device": "abacus"}, "`device`: found 'abacus'"),
        ({"device": "cuda:99"}, "`device`: found cuda:99, but"),
    ],
)
def test_wrong_choices_name_their_argument(model, sequences, wrong, message):
    with pytest.raises(InputError, match=message):
        extract_layers(model, EncodedSequences.encode(sequences), **{"layers": [0], "pooling": "mean", **wrong})


def test_record_without_nucleotides_is_an_error(model):
    with pytest.raises(InputError, match=r"record 1 .*no nucleotides"):
        extract_layers(model, EncodedSequences.encode(["A", ""]), layers=[0], pooling="max")


def test_device_is_the_models_own_unless_asked(model):
    assert choose_device(model, "cpu").type == "cpu"
    assert choose_device(model).type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_and_hands_the_model_back(model, sequences):
    encoded = EncodedSequences.encode(sequences)
    wanted = extract_layers(model, encoded, layers=[1, 2], pooling="none", device="cpu")
    found = extract_layers(model, encoded, layers=[1, 2], pooling="none")
    assert next(model.parameters()).device.type == "cpu"
    for layer in (1, 2):
        np.testing.assert_allclose(found[layer].values, wanted[layer].values, rtol=0, atol=5e-5)
