"""The alphabet's tables agree with each other, with the tokenizer and with the rules of complements."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys

import numpy as np

from LAMAR.alphabet import (
    CLS,
    COMPLEMENT,
    EOS,
    IUPAC,
    LETTER_CODES,
    LETTERS,
    MASK,
    NORMALIZED,
    NUCLEOTIDE_IDS,
    NUCLEOTIDES,
    PAD,
    TOKEN_IDS,
    UNK,
    VOCABULARY,
    reverse_complement,
)
from LAMAR.data.sequences import normalize_sequence
from LAMAR.tokenization import encode_ragged

CODES = "ACGTURYSWKMBDHVN"


def test_vocabulary_has_the_published_ids():
    assert [VOCABULARY[i] for i in (CLS, PAD, EOS, UNK, MASK)] == ["<cls>", "<pad>", "<eos>", "<unk>", "<mask>"]
    assert [VOCABULARY[i] for i in NUCLEOTIDE_IDS] == ["A", "T", "C", "G"]
    assert (TOKEN_IDS["A"], TOKEN_IDS["T"], TOKEN_IDS["C"], TOKEN_IDS["G"], TOKEN_IDS["N"]) == (5, 6, 7, 8, 9)


def test_ambiguity_codes_are_all_sets_of_nucleotides_once():
    # U is T; the other codes name each of the 15 sets of one to four nucleotides.
    assert set(IUPAC) == set(CODES)
    assert IUPAC["U"] == IUPAC["T"]
    sets = ["".join(some) for n in range(1, 5) for some in itertools.combinations(NUCLEOTIDES, n)]
    assert sorted(value for code, value in IUPAC.items() if code != "U") == sorted(sets)


def test_complement_of_a_code_is_the_code_of_the_complements():
    # Purines and pyrimidines, strong and weak, and so on: R <-> Y, S and W stay, K <-> M, B <-> V, D <-> H.
    by_set = {frozenset(value): code for code, value in IUPAC.items() if code != "U"}
    turned = {code: by_set[frozenset(COMPLEMENT[x] for x in value)] for code, value in IUPAC.items() if code != "U"}
    assert "".join(turned[code] for code in "ACGTRYSWKMBDHVN") == "TGCAYRSWMKVHDBN"


def test_tables_agree_with_reader_and_tokenizer():
    for byte in range(256):
        letter = chr(byte)
        normalized = NORMALIZED[byte]
        assert (normalized != 0) == (letter.upper() in CODES)
        assert LETTER_CODES[byte] == (NUCLEOTIDES.index(letter) if letter in NUCLEOTIDES else 4)
        if normalized:
            assert normalize_sequence(letter) == chr(normalized)
            assert chr(normalized) in LETTERS
            assert encode_ragged([letter], False)[0].tolist() == [TOKEN_IDS[chr(normalized)]]


def test_tables_serve_numpy():
    codes = np.frombuffer(LETTER_CODES, dtype=np.uint8)[np.frombuffer(b"GATTACAN", dtype=np.uint8)]
    assert codes.tolist() == [2, 0, 3, 3, 0, 1, 0, 4]


def test_reverse_complement_by_hand():
    assert reverse_complement("AACGN") == "NCGTT"


def test_no_other_module_spells_the_alphabet(repo_root):
    # A string of a nucleotide table, in any order, or the same as bytes or between brackets.
    spelt = re.compile(r"\[?[ACGTUN]{4,5}\]?\+?|[NRYSWKMBDHV]{11}")
    found = [
        f"{path.relative_to(repo_root)}:{node.lineno}: {node.value!r}"
        for path in sorted((repo_root / "LAMAR").rglob("*.py"))
        if path.name != "alphabet.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        for text in [node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value]
        if spelt.fullmatch(text) and (len({*text} & {*LETTERS}) >= 4 or len(text) == 11)
    ]
    assert found == []


def test_alphabet_needs_no_other_module():
    program = "import sys; import LAMAR.alphabet; assert not {'numpy', 'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], env={"LAMAR_LIGHT": "1"}, check=True)
