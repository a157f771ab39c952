"""The inference loop: every record once, in its place, with the values it has alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from LAMAR import embeddings
from LAMAR.embeddings import EncodedSequences, Features, batched, extract_features, pad_batch, token_batches
from LAMAR.modeling_nucESM2 import EsmForSequenceClassification, named_config
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
    """Last hidden state of each record run alone, special tokens included."""
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
    # Longest first: what does not fit into memory is found out at once.
    assert np.all(np.diff(lengths[order.astype(int)]) <= 0)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
    # No batch but the last could have taken one record more.
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
    ragged = Features(values, np.array([0, 2, 5]))
    assert len(ragged) == 2
    assert ragged[1].tolist() == [[4, 5], [6, 7], [8, 9]]
    assert len(Features(values)) == 5
    assert Features(values)[3].tolist() == [6, 7]


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
        # Between batches the caller has his own mode back.
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

    # Somebody who stops reading half-way.
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
    # Still trainable: nothing of the loop's inference mode clings to the weights.
    ids, mask = pad_batch([EncodedSequences.encode(sequences)[0]])
    model(ids, mask, labels=torch.tensor([1])).loss.backward()
    assert model.esm.embeddings.word_embeddings.weight.grad is not None
