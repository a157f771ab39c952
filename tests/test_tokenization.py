"""The tokenizer against ids written out by hand, its own inverse, and what it must refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

import LAMAR  # noqa: F401 - registers the tokenizer
from LAMAR.alphabet import VOCABULARY
from LAMAR.errors import InputError
from LAMAR.tokenization import TOKENIZER_FOLDER, LamarTokenizer, encode_ragged, verify_vocabulary

nucleotides = st.text(alphabet="ACGTN", max_size=40)
IUPAC = "RYSWKMBDHV"


@pytest.fixture(scope="module")
def tokenizer() -> LamarTokenizer:
    return LamarTokenizer()


# --------------------------------------------------------------------------------------------- ids


def test_ids_are_upstreams(tokenizer):
    tokens = "<cls> <pad> <eos> <unk> <mask> A T C G N".split()
    assert tokenizer.convert_tokens_to_ids(tokens) == list(range(10))
    assert tokenizer.get_vocab() == {token: i for i, token in enumerate(tokens)}
    assert len(tokenizer) == tokenizer.vocab_size == 10
    special = (
        tokenizer.cls_token_id,
        tokenizer.pad_token_id,
        tokenizer.eos_token_id,
        tokenizer.unk_token_id,
        tokenizer.mask_token_id,
    )
    assert special == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("ATCGN", [0, 5, 6, 7, 8, 9, 2]),
        ("atcgn", [0, 5, 6, 7, 8, 9, 2]),
        ("AUCGu", [0, 5, 6, 7, 8, 6, 2]),
        ("GATTACA", [0, 8, 5, 6, 6, 5, 7, 5, 2]),
        ("", [0, 2]),
        ("A<mask>C", [0, 5, 4, 7, 2]),
        ("<mask>", [0, 4, 2]),
        ("<unk>g<pad>", [0, 3, 8, 1, 2]),
    ],
)
def test_exact_ids(tokenizer, text, ids):
    assert tokenizer(text) == {"input_ids": ids, "attention_mask": [1] * len(ids)}
    assert tokenizer([text, "A"])["input_ids"] == [ids, [0, 5, 2]]
    assert tokenizer.encode(text) == ids
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids[1:-1]


@pytest.mark.parametrize("code", list(IUPAC + IUPAC.lower() + "Nn"))
def test_every_iupac_code_is_n(tokenizer, code):
    assert tokenizer(f"A{code}C")["input_ids"] == [0, 5, 9, 7, 2]


def test_alphabet_is_exactly_the_documented_one():
    accepted = set()
    for value in range(0x250):
        try:
            encode_ragged([chr(value)])
        except ValueError:
            continue
        accepted.add(chr(value))
    assert accepted == set("ACGTUN" + IUPAC + ("ACGTUN" + IUPAC).lower())


def test_ragged_encoding_equals_record_by_record(tokenizer):
    sequences = ["ACGT", "", "N", "uuuu", "GATTACA"]
    ids, offsets = encode_ragged(sequences)
    assert ids.dtype == np.uint8
    assert offsets.tolist() == [0, 6, 8, 11, 17, 26]
    for i, sequence in enumerate(sequences):
        assert ids[offsets[i] : offsets[i + 1]].tolist() == tokenizer.encode(sequence)
    bare, bare_offsets = encode_ragged(sequences, add_special_tokens=False)
    assert bare_offsets.tolist() == [0, 4, 4, 5, 9, 16]
    assert bare.tolist() == [5, 7, 8, 6, 9, 6, 6, 6, 6, 8, 5, 6, 6, 5, 7, 5]


def test_parity_sequences_give_the_parity_ids(tokenizer, repo_root):
    with np.load(repo_root / "tests/data/parity_tiny/inputs.npz") as inputs:
        ids, mask, sequences = (inputs[key] for key in ("input_ids", "attention_mask", "sequences"))
    texts = [list(str(sequence)) for sequence in sequences]
    # The reference put <unk> and <mask> into its last record after encoding it; the text says so here.
    for row, column in zip(*np.nonzero((ids == 3) | (ids == 4))):
        texts[row][column - 1] = VOCABULARY[ids[row, column]]
    assert ["".join(text) == sequence for text, sequence in zip(texts, sequences)] == [True] * 4 + [False]
    batch = tokenizer(["".join(text) for text in texts], padding=True, return_tensors="np")
    np.testing.assert_array_equal(batch["input_ids"], ids)
    np.testing.assert_array_equal(batch["attention_mask"], mask)


# --------------------------------------------------------------------------------------- round trips


@given(st.lists(nucleotides, min_size=1, max_size=5))
def test_decode_inverts_encode(sequences):
    tokenizer = LamarTokenizer()
    for sequence, ids in zip(sequences, tokenizer(sequences)["input_ids"]):
        assert tokenizer.decode(ids, skip_special_tokens=True) == sequence
        assert tokenizer.decode(ids) == f"<cls>{sequence}<eos>"


@given(st.lists(st.sampled_from(VOCABULARY), max_size=30))
def test_texts_with_special_tokens_round_trip(tokens):
    tokenizer = LamarTokenizer()
    text = "".join(tokens)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == [VOCABULARY.index(token) for token in tokens]
    assert tokenizer.tokenize(text) == tokens
    assert tokenizer.decode(ids) == text


@given(nucleotides.map(str.lower), st.data())
def test_case_and_u_do_not_matter(sequence, data):
    tokenizer = LamarTokenizer()
    mixed = "".join(letter.upper() if data.draw(st.booleans()) else letter for letter in sequence)
    assert tokenizer.encode(mixed.replace("T", "U").replace("t", "u")) == tokenizer.encode(sequence.upper())


# -------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("texts", "record", "position", "letter"),
    [
        (["ACGX"], 0, 4, "X"),
        (["ACGT", "AC GT"], 1, 3, " "),
        (["ACGT", "A", "-ACGT"], 2, 1, "-"),
        (["ACGT\n"], 0, 5, "\n"),
        (["AC", "CGé"], 1, 3, "é"),
        (["AC", "CG–T"], 1, 3, "–"),
        (["A\U0001f9ecC"], 0, 2, "\U0001f9ec"),
        # Positions count letters of the text as it was given, special tokens included.
        (["ACGT", "AC<mask>GX"], 1, 10, "X"),
        (["<mask>A", "ACE"], 1, 3, "E"),
        (["A<cat>"], 0, 2, "<"),
        (["a<MASK>"], 0, 2, "<"),
    ],
)
def test_other_letters_are_errors_with_record_and_position(tokenizer, texts, record, position, letter):
    with pytest.raises(ValueError, match=rf"^record {record}, position {position}: found ") as caught:
        tokenizer(texts)
    assert repr(letter) in str(caught.value)


@given(st.text(min_size=1, max_size=20))
def test_any_text_is_encoded_letter_by_letter_or_refused(text):
    allowed = set("ACGTUN" + IUPAC + ("ACGTUN" + IUPAC).lower())
    tokenizer = LamarTokenizer()
    wrong = [i for i, letter in enumerate(text) if letter not in allowed]
    if "<" in text and any(token in text for token in VOCABULARY[:5]):
        return
    if wrong:
        with pytest.raises(ValueError, match=f"position {wrong[0] + 1}:"):
            tokenizer(text)
    else:
        assert len(tokenizer(text)["input_ids"]) == len(text) + 2


def test_pairs_are_refused(tokenizer):
    with pytest.raises(ValueError, match="not pairs"):
        tokenizer.build_inputs_with_special_tokens([5], [6])


# -------------------------------------------------------------------------------- length and padding


def test_101_nucleotides_are_103_tokens(tokenizer):
    sequence = "A" * 101
    assert len(tokenizer(sequence, max_length=103)["input_ids"]) == 103
    with pytest.raises(ValueError, match=r"record 1: 103 tokens with the special ones, `max_length` is 101"):
        tokenizer(["A", sequence], max_length=101)
    with pytest.raises(ValueError, match="103 tokens"):
        tokenizer.encode(sequence, max_length=101)
    with pytest.raises(ValueError, match="103 tokens"):
        tokenizer([sequence], max_length=101, padding="max_length")


def test_truncation_cuts_the_3_prime_end_and_keeps_eos(tokenizer):
    assert tokenizer("ATCGN", max_length=5, truncation=True)["input_ids"] == [0, 5, 6, 7, 2]
    assert tokenizer("ATC", max_length=5, truncation=True)["input_ids"] == [0, 5, 6, 7, 2]
    assert tokenizer("ATCGN", max_length=2, truncation=True)["input_ids"] == [0, 2]
    assert tokenizer("A<mask>CGN", max_length=4, truncation=True)["input_ids"] == [0, 5, 4, 2]
    # Without special tokens there is no <eos> to keep: a prefix, never the last nucleotide stitched on.
    cut = tokenizer("ATCGN", max_length=3, truncation=True, add_special_tokens=False)
    assert cut["input_ids"] == [5, 6, 7]


@pytest.mark.parametrize("max_length", [-1, 0, 1])
def test_no_room_for_the_special_tokens_is_an_error(tokenizer, max_length):
    with pytest.raises(ValueError, match=f"`max_length`: found {max_length}"):
        tokenizer("ACGT", max_length=max_length, truncation=True)


def test_padding(tokenizer):
    batch = tokenizer(["ACGT", "A"], padding=True, return_special_tokens_mask=True)
    assert batch["input_ids"] == [[0, 5, 7, 8, 6, 2], [0, 5, 2, 1, 1, 1]]
    assert batch["attention_mask"] == [[1] * 6, [1, 1, 1, 0, 0, 0]]
    assert batch["special_tokens_mask"] == [[1, 0, 0, 0, 0, 1], [1, 0, 1, 1, 1, 1]]
    fixed = tokenizer(["ACGT", "A"], padding="max_length", max_length=8)["input_ids"]
    assert [len(ids) for ids in fixed] == [8, 8]
    eights = tokenizer(["ACGTACG", "A"], padding=True, pad_to_multiple_of=8)["input_ids"]
    assert [len(ids) for ids in eights] == [16, 16]
    assert tokenizer(["ACG", "A"], return_attention_mask=False).keys() == {"input_ids"}


@pytest.mark.parametrize(("kind", "module"), [("pt", "torch"), ("np", "numpy")])
def test_return_tensors(tokenizer, kind, module):
    batch = tokenizer(["ACGT", "A"], padding=True, return_tensors=kind)
    assert type(batch["input_ids"]).__module__ == module
    assert tuple(batch["input_ids"].shape) == tuple(batch["attention_mask"].shape) == (2, 6)
    # One sequence is a batch of one, padded or not.
    assert tuple(tokenizer("ACGT", return_tensors=kind)["input_ids"].shape) == (1, 6)
    assert tuple(tokenizer("ACGT", padding=True, return_tensors=kind)["input_ids"].shape) == (1, 6)


# ------------------------------------------------------------------------------------------- folders


def test_folder_is_what_save_pretrained_writes(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == sorted(file.name for file in TOKENIZER_FOLDER.iterdir())
    for name in names:
        assert (tmp_path / name).read_text() == (TOKENIZER_FOLDER / name).read_text(), name


def test_auto_tokenizer_loads_the_packaged_and_a_saved_folder(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    for folder in (TOKENIZER_FOLDER, tmp_path):
        loaded = AutoTokenizer.from_pretrained(folder)
        assert type(loaded) is LamarTokenizer
        assert loaded(["acgu", "N<mask>"])["input_ids"] == [[0, 5, 7, 8, 6, 2], [0, 9, 4, 2]]


def test_verify_vocabulary_accepts_lamars_forms(tmp_path):
    verify_vocabulary(TOKENIZER_FOLDER)
    verify_vocabulary(TOKENIZER_FOLDER / "vocab.txt")
    ids = {token: i for i, token in enumerate(VOCABULARY)}
    added = [{"content": token, "id": ids.pop(token)} for token in VOCABULARY[:5]]
    fast = tmp_path / "tokenizer.json"
    fast.write_text(json.dumps({"model": {"vocab": ids}, "added_tokens": added}))
    verify_vocabulary(fast)
    verify_vocabulary(tmp_path)


@pytest.mark.parametrize(
    "tokens",
    [
        # ESM-2's order of special tokens, A C G T instead of A T C G, one token too few, one too many.
        "<cls> <pad> <eos> <unk> A T C G N <mask>".split(),
        "<cls> <pad> <eos> <unk> <mask> A C G T N".split(),
        list(VOCABULARY[:-1]),
        [*VOCABULARY, "U"],
        [],
    ],
)
def test_verify_vocabulary_refuses_others(tmp_path, tokens):
    (tmp_path / "vocab.txt").write_text("\n".join(tokens))
    with pytest.raises(InputError, match=r"wanted <cls> <pad> <eos> <unk> <mask> A T C G N"):
        verify_vocabulary(tmp_path)
    with pytest.raises(InputError, match="found tokens"):
        LamarTokenizer(tmp_path / "vocab.txt")


def test_verify_vocabulary_looks_at_ids_and_not_at_order_only(tmp_path):
    ids = {token: i if i < 5 else i + 3 for i, token in enumerate(VOCABULARY)}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": ids}}))
    with pytest.raises(InputError, match="not a tokenizer file"):
        verify_vocabulary(tmp_path)


BROKEN = ["", "[]", '{"model": {}}', '{"model": {"vocab": 3}}', "\x00", '{"model": []}', "[" * 100_000]
BROKEN += ['{"model": {"vocab": {"a": "b", "c": 1}}}', '{"model": {"vocab": {}}, "added_tokens": [3]}']
BROKEN += [f'{{"model": {"[" * 900}{"]" * 900}}}', '{"model": {"vocab": {"\\ud800": 0}}}']


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: content[:20])
def test_broken_tokenizer_files_are_input_errors(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        verify_vocabulary(tmp_path)


def test_folder_without_tokenizer(tmp_path):
    with pytest.raises(InputError, match=r"no tokenizer found, wanted vocab\.txt or tokenizer\.json"):
        verify_vocabulary(tmp_path)
