"""One-hot encoding."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sequence_files import one_hot as one_hot_of

from LAMAR.data import one_hot
from LAMAR.data.one_hot import decode_one_hot, encode_one_hot
from LAMAR.errors import InputError

# Ends in a letter, since an N at the end is the same as padding, and an N alone the same as no sequence.
SEQUENCES = st.lists(
    st.builds(str.__add__, st.text("ACGTN", max_size=40), st.sampled_from("ACGT")), min_size=1, max_size=20
)


def test_order_is_acgt_and_n_and_padding_are_zeros():
    found = encode_one_hot(["TNA", "C", "GG"])
    assert found.dtype == np.uint8
    assert found.tolist() == [
        [[0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]],
        [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        [[0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]],
    ]


@given(SEQUENCES)
def test_decoding_is_the_inverse(sequences):
    assert decode_one_hot(encode_one_hot(sequences)) == sequences


@given(SEQUENCES, st.integers(0, 9))
def test_a_longer_length_adds_zeros_at_the_end(sequences, more):
    shortest = encode_one_hot(sequences)
    padded = encode_one_hot(sequences, shortest.shape[1] + more)
    assert padded.shape == (len(sequences), shortest.shape[1] + more, 4)
    assert np.array_equal(padded[:, : shortest.shape[1]], shortest)
    assert not padded[:, shortest.shape[1] :].any()


def test_blocks_do_not_change_the_result(monkeypatch):
    sequences = ["ACGTN" * k for k in range(1, 30)]
    whole = encode_one_hot(sequences)
    monkeypatch.setattr(one_hot, "_BLOCK", 300)
    assert np.array_equal(encode_one_hot(sequences), whole)
    with pytest.raises(InputError, match="sequence 30: position 2: found 'B'"):
        encode_one_hot([*sequences, "ABC"])


@pytest.mark.parametrize(
    ("sequences", "length", "message"),
    [
        (["AC", "ACGTA"], 4, "sequence 2 has 5 nucleotides, wanted at most 4"),
        (["AC", "AcG"], None, "sequence 2: position 2: found 'c', wanted A, C, G, T or N"),
        (["ACé"], None, "sequence 1: position 3: found 'é'"),
        (["A\0"], None, "sequence 1: position 2"),
        ([], None, "found no sequence"),
    ],
)
def test_what_cannot_be_encoded_is_named(sequences, length, message):
    with pytest.raises(InputError, match=message):
        encode_one_hot(sequences, length)


def test_a_hundred_thousand_windows_take_less_than_a_second():
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    sequences = [row.tobytes().decode() for row in letters[np.random.default_rng(0).integers(0, 4, (100_000, 101))]]
    # Processor time: other processes do not count.
    start = time.process_time()
    encode_one_hot(sequences)
    assert time.process_time() - start < 1


@given(
    st.lists(st.text("ACGTN", min_size=1, max_size=60).map(lambda s: s.rstrip("N") or "A"), min_size=1, max_size=6),
    st.booleans(),
    st.integers(0, 5),
)
def test_one_hot_decodes_to_the_sequences_that_made_it(sequences, channels_first, padding):
    longest = max(map(len, sequences)) + padding
    array = one_hot_of(sequences, longest)
    # Where both readings fit, (n, L, 4) is taken.
    if channels_first and longest != 4:
        array = array.transpose(0, 2, 1)
    assert decode_one_hot(array) == sequences


def test_one_hot_of_length_four_is_read_as_positions_by_letters():
    assert decode_one_hot(one_hot_of(["AACG"], 4)) == ["AACG"]


@pytest.mark.parametrize("value", [2.0, 0.25, -1.0, np.nan])
def test_one_hot_names_dataset_index_and_position(value):
    array = one_hot_of(["ACGT"] * 5000, 6)
    array[4500, 2, 1] = value
    with pytest.raises(InputError, match=r"f\.h5: X_train: index 4500: position 3: found"):
        decode_one_hot(array, "f.h5: X_train")


def test_one_hot_refuses_two_letters_empty_records_and_other_shapes():
    array = one_hot_of(["ACGT", "ACGT"], 5)
    array[1, 0] = 1
    with pytest.raises(InputError, match=r"index 1: position 1: found \[1.0, 1.0, 1.0, 1.0\]"):
        decode_one_hot(array)
    with pytest.raises(InputError, match=r"index 1: found zeros only"):
        decode_one_hot(one_hot_of(["ACGT", "N"], 5))
    with pytest.raises(InputError, match=r"found shape \(2, 5, 3\), wanted \(n, L, 4\)"):
        decode_one_hot(np.zeros((2, 5, 3)))
