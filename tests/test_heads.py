"""Classification heads and losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from LAMAR.modeling_nucESM2 import EsmForSequenceClassification, named_config
from LAMAR.sequence_classification_patch import (
    build_head,
    default_loss,
    head_features,
    masked_mean,
    sequence_loss,
)
from LAMAR.tasks import HEADS, LOSSES


def head(head_type: str, **fields) -> nn.Module:
    """A head on 2 channels."""
    fields = {"num_labels": 1, "head_channels": 2, "head_kernel_size": 3, **fields}
    config = named_config("lamar-tiny", hidden_size=2, num_attention_heads=1, head_type=head_type, **fields)
    return build_head(config).eval()


def classifier(head_type: str, **fields) -> EsmForSequenceClassification:
    config = named_config("lamar-tiny", head_type=head_type, head_channels=8, **fields)
    torch.manual_seed(3)
    model = EsmForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.2)
    return model


# ---------------------------------------------------------------------------------------------- losses

# Two records, two classes; logits ln 3 and 0 give probabilities 3/4 and 1/4.
LOGITS = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]])
CLASSES = torch.tensor([0, 1])


def test_cross_entropy_by_hand():
    wanted = (-math.log(3 / 4) - math.log(1 / 4)) / 2
    assert float(sequence_loss(LOGITS, CLASSES, "ce")) == pytest.approx(wanted)
    assert float(sequence_loss(LOGITS, CLASSES)) == pytest.approx(wanted)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_loss_by_hand(gamma):
    # (1 - p) ** gamma * -ln p with p = 3/4 and 1/4.
    wanted = (-(0.25**gamma) * math.log(0.75) - 0.75**gamma * math.log(0.25)) / 2
    assert float(sequence_loss(LOGITS, CLASSES, "focal", gamma)) == pytest.approx(wanted)


@given(st.lists(st.tuples(st.floats(-8, 8), st.floats(-8, 8), st.integers(0, 1)), min_size=1, max_size=8))
def test_focal_loss_without_gamma_is_cross_entropy_and_never_above_it(records):
    logits = torch.tensor([record[:2] for record in records])
    labels = torch.tensor([record[2] for record in records])
    cross_entropy = sequence_loss(logits, labels, "ce")
    torch.testing.assert_close(sequence_loss(logits, labels, "focal", 0.0), cross_entropy)
    assert sequence_loss(logits, labels, "focal", 2.0) <= cross_entropy + 1e-6


def test_focal_loss_has_finite_gradients_when_sure():
    logits = torch.tensor([[60.0, -60.0], [-60.0, 60.0]], requires_grad=True)
    for labels in ([0, 1], [1, 0]):
        loss = sequence_loss(logits, torch.tensor(labels), "focal", 0.5)
        loss.backward()
        assert bool(torch.isfinite(loss))
        assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_mean_squared_error_by_hand(shape):
    logits = torch.tensor([[1.0], [2.0]])
    labels = torch.tensor([0.0, 4.0]).reshape(shape)
    # (1 + 4) / 2; were (2, 1) broadcast against (2,), it would be (1 + 9 + 4 + 4) / 4.
    assert float(sequence_loss(logits, labels)) == 2.5
    assert float(sequence_loss(logits, labels, "mse")) == 2.5


def test_binary_cross_entropy_by_hand():
    # Logits 0 and ln 3 are probabilities 1/2 and 3/4.
    logits = torch.tensor([[0.0, math.log(3), 0.0]])
    labels = torch.tensor([[1, 0, 0]])
    wanted = (math.log(2) - math.log(1 / 4) + math.log(2)) / 3
    assert float(sequence_loss(logits, labels)) == pytest.approx(wanted)
    assert float(sequence_loss(logits, labels, "bce")) == pytest.approx(wanted)


def test_losses_are_chosen_by_labels():
    assert default_loss(1, torch.zeros(4)) == "mse"
    assert default_loss(1, torch.zeros(4, 1)) == "mse"
    assert default_loss(3, torch.zeros(4, dtype=torch.long)) == "ce"
    assert default_loss(3, torch.zeros(4, 3)) == "bce"


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_float32_whatever_the_logits_are(loss):
    logits = torch.tensor([[0.3, -0.2]], dtype=torch.bfloat16)
    labels = {"ce": [1], "focal": [1], "mse": [[0.5, 0.0]], "bce": [[1.0, 0.0]]}[loss]
    assert sequence_loss(logits, torch.tensor(labels), loss).dtype == torch.float32


def test_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="`loss_type`: found 'hinge', wanted one of ce, focal, mse, bce"):
        sequence_loss(LOGITS, CLASSES, "hinge")


# ----------------------------------------------------------------------------------------------- heads

HIDDEN = torch.tensor(
    [[[9.0, 9.0], [1.0, 2.0], [3.0, 6.0], [7.0, 7.0]], [[8.0, 8.0], [5.0, 1.0], [9.0, 9.0], [4.0, 4.0]]]
)
# <cls> A C <eos>; <cls> A <eos> <pad>.
NUCLEOTIDES = torch.tensor([[False, True, True, False], [False, True, False, False]])


def test_masked_mean_by_hand():
    assert masked_mean(HIDDEN, NUCLEOTIDES).tolist() == [[2.0, 4.0], [5.0, 1.0]]
    # Nothing to average is zero, not NaN.
    assert masked_mean(HIDDEN, torch.zeros(2, 4, dtype=torch.bool)).tolist() == [[0.0, 0.0]] * 2


def test_features_of_each_head():
    assert head_features("linear", HIDDEN, NUCLEOTIDES).tolist() == [[9.0, 9.0], [8.0, 8.0]]
    assert head_features("mean", HIDDEN, NUCLEOTIDES).tolist() == [[2.0, 4.0], [5.0, 1.0]]
    assert head_features("cnn", HIDDEN, NUCLEOTIDES) is HIDDEN


def test_linear_head_by_hand():
    linear = head("linear")
    with torch.no_grad():
        linear.dense.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.5]]))
        linear.dense.bias.zero_()
        linear.out_proj.weight.copy_(torch.tensor([[2.0, -1.0]]))
        linear.out_proj.bias.fill_(0.25)
        found = linear(torch.tensor([[1.0, 2.0]]))
    # dense gives (1, 1): 2 tanh 1 - tanh 1 + 0.25.
    assert float(found) == pytest.approx(math.tanh(1.0) + 0.25)


def test_mean_head_by_hand():
    mean = head("mean")
    with torch.no_grad():
        mean.out_proj.weight.copy_(torch.tensor([[10.0, 1.0]]))
        mean.out_proj.bias.fill_(-1.0)
        found = mean(head_features("mean", HIDDEN, NUCLEOTIDES))
    assert found[:, 0].tolist() == [23.0, 50.0]


def test_cnn_head_by_hand():
    cnn = head("cnn")
    with torch.no_grad():
        for parameter in cnn.parameters():
            parameter.zero_()
        # Channel 0 is the first feature, channel 1 the second with its sign turned.
        cnn.reduce.weight[:, :, 0] = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
        # Position i sees 1 * left + 2 * itself + 4 * right in channel 0, the plain sum in channel 1.
        cnn.conv.weight[0, 0] = torch.tensor([1.0, 2.0, 4.0])
        cnn.conv.weight[1, 1] = 1.0
        cnn.out_proj.weight.copy_(torch.tensor([[1.0, 100.0]]))
        found = cnn(HIDDEN, NUCLEOTIDES)

    g = gelu
    # Record 0 has nucleotides (1, 2) and (3, 6) between zeros, record 1 (5, 1) alone. Channel 1 is negative
    # everywhere: zeros at the masked positions would win the maximum.
    first = max(g(2 * g(1) + 4 * g(3)), g(g(1) + 2 * g(3))) + 100 * g(g(-2) + g(-6))
    second = g(2 * g(5)) + 100 * g(g(-1))
    assert found[:, 0].tolist() == pytest.approx([first, second], rel=1e-5)
    assert g(g(-1)) < 0


def gelu(x: float) -> float:
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


def test_attention_head_by_hand():
    attention = head("attention")
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
        # A score of ln 3 per unit of the first channel's difference; dense swaps the channels.
        attention.score.weight.copy_(torch.tensor([[math.log(3) / 2, 0.0]]))
        attention.dense.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        attention.out_proj.weight.copy_(torch.tensor([[1.0, 100.0]]))
        found = attention(HIDDEN, NUCLEOTIDES)
    # Record 0: (1, 2) and (3, 6) have weights 1/4 and 3/4, which gives (2.5, 5); record 1 has (5, 1) alone.
    wanted = [gelu(5) + 100 * gelu(2.5), gelu(1) + 100 * gelu(5)]
    assert found[:, 0].tolist() == pytest.approx(wanted, rel=1e-5)


def test_each_head_of_attention_pools_its_own_channels():
    config = named_config("lamar-tiny", hidden_size=4, num_attention_heads=2, head_type="attention", num_labels=1)
    attention = build_head(config).eval()
    hidden = torch.tensor([[[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]])
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
        # The first head looks at position 0 alone, the second at both alike.
        attention.score.weight[0, 0] = -100.0
        attention.dense.weight.copy_(torch.eye(4))
        attention.out_proj.weight.copy_(torch.tensor([[1.0, 10.0, 100.0, 1000.0]]))
        found = float(attention(hidden, torch.ones(1, 2, dtype=torch.bool)))
    assert found == pytest.approx(gelu(0) + 10 * gelu(1) + 100 * gelu(4) + 1000 * gelu(5), rel=1e-5)


def test_max_mean_head_by_hand():
    module = head("max_mean")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        # Channel 0: 1 * left + 2 * itself + 4 * right of the first feature. Channel 1: the second, its sign turned.
        module.conv.weight[0, 0] = torch.tensor([1.0, 2.0, 4.0])
        module.conv.weight[1, 1, 1] = -1.0
        # The two maxima and the two means come out one by one.
        module.dense.weight.copy_(torch.tensor([[1.0, 0.0, 10.0, 0.0], [0.0, 1.0, 0.0, 10.0]]))
        module.out_proj.weight.copy_(torch.tensor([[1.0, 100.0]]))
        found = module(HIDDEN, NUCLEOTIDES)
    # Record 0 has (1, 2), (3, 6) between zeros and means (2, 4); record 1 has (5, 1) alone. Channel 1 is negative
    # everywhere: zeros at the masked positions would win the maximum.
    first = gelu(max(gelu(2 + 12), gelu(1 + 6)) + 20) + 100 * gelu(max(gelu(-2), gelu(-6)) + 40)
    second = gelu(gelu(10) + 50) + 100 * gelu(gelu(-1) + 10)
    assert found[:, 0].tolist() == pytest.approx([first, second], rel=1e-5)


@pytest.mark.parametrize("head_type", HEADS)
def test_special_tokens_and_padding_count_for_no_nucleotide_head(head_type):
    torch.manual_seed(0)
    module = head(head_type, num_labels=3)
    changed = HIDDEN.clone()
    changed[~NUCLEOTIDES] = torch.randn(int((~NUCLEOTIDES).sum()), 2)
    with torch.no_grad():
        before = module(head_features(head_type, HIDDEN, NUCLEOTIDES), NUCLEOTIDES)
        after = module(head_features(head_type, changed, NUCLEOTIDES), NUCLEOTIDES)
    assert before.shape == (2, 3)
    assert torch.equal(before, after) is (head_type != "linear")


@pytest.mark.parametrize("head_type", HEADS)
def test_logits_do_not_depend_on_padding(head_type):
    model = classifier(head_type, num_labels=3)
    generator = torch.Generator().manual_seed(1)
    # Longer and shorter than the convolution's reach of 7.
    records = [torch.randint(5, 10, (n,), generator=generator) for n in (30, 9, 3, 1)]
    records = [torch.cat([torch.tensor([0]), record, torch.tensor([2])]) for record in records]
    padded = nn.utils.rnn.pad_sequence(records, batch_first=True, padding_value=1)
    wider = nn.functional.pad(padded, (0, 13), value=1)
    with torch.no_grad():
        alone = torch.cat([model(record[None]).logits for record in records])
        torch.testing.assert_close(model(padded).logits, alone, rtol=0, atol=1e-5)
        torch.testing.assert_close(model(wider).logits, alone, rtol=0, atol=1e-5)


def test_model_computes_the_configured_loss():
    ids = torch.tensor([[0, 5, 6, 7, 2], [0, 8, 2, 1, 1]])
    cases = {
        "ce": ({"num_labels": 3}, torch.tensor([2, 0])),
        "focal": ({"num_labels": 3, "loss_type": "focal", "focal_gamma": 1.5}, torch.tensor([2, 0])),
        "mse": ({"num_labels": 1}, torch.tensor([0.5, -2.0])),
        "bce": ({"num_labels": 3}, torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])),
    }
    for loss_type, (fields, labels) in cases.items():
        model = classifier("mean", **fields)
        output = model(ids, labels=labels)
        assert output.logits.shape == (2, fields["num_labels"])
        torch.testing.assert_close(output.loss, sequence_loss(output.logits, labels, loss_type, 1.5))
        assert model(ids).loss is None
        assert torch.equal(model(ids, labels=labels, return_dict=False)[0], output.loss)


def test_heads_have_the_sizes_of_the_configuration():
    shapes = {
        name: {key: tuple(tensor.shape) for key, tensor in build_head(config).state_dict().items()}
        for name in HEADS
        for config in [named_config("lamar-tiny", head_type=name, num_labels=3, head_channels=5, head_kernel_size=9)]
    }
    projection = {"out_proj.weight": (3, 64), "out_proj.bias": (3,)}
    assert shapes["mean"] == projection
    assert shapes["linear"] == {"dense.weight": (64, 64), "dense.bias": (64,), **projection}
    assert shapes["cnn"] == {
        "reduce.weight": (5, 64, 1),
        "reduce.bias": (5,),
        "conv.weight": (5, 5, 9),
        "conv.bias": (5,),
        "out_proj.weight": (3, 5),
        "out_proj.bias": (3,),
    }
    dense = {"dense.bias": (64,), **projection}
    # lamar-tiny has four attention heads.
    assert shapes["attention"] == {"score.weight": (4, 64), "score.bias": (4,), "dense.weight": (64, 64), **dense}
    assert shapes["max_mean"] == {"conv.weight": (5, 64, 9), "conv.bias": (5,), "dense.weight": (64, 69), **dense}
