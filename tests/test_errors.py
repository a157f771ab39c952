"""LAMAR.errors: messages of one line, and lists of names in them."""

from __future__ import annotations

import pytest

from LAMAR.errors import InputError, counted, excerpt, printable, quoted, shortened, similar


def test_a_message_is_one_line():
    assert str(InputError("`layers`: found 99,\n   wanted 0 to 11")) == "`layers`: found 99, wanted 0 to 11"


def test_what_cannot_be_printed_is_spelt_out():
    """Control characters move a terminal's cursor, and halves of characters cannot be written anywhere."""
    found = "\x1b[31m\0\u202e\ud800 a\u00e9\u6f22"
    assert str(InputError(f"x: found {found}")) == "x: found \\x1b[31m\\x00\\u202e\\ud800 a\u00e9\u6f22"
    assert printable("a\n\x1b\n", keep="\n") == "a\n\\x1b\n"


def test_values_are_cut_to_eighty_characters():
    assert excerpt("A" * 80) == "A" * 80
    assert excerpt("A" * 81) == "A" * 77 + "..."
    assert excerpt(" two\n words ") == "two words"
    assert excerpt(12) == "12"
    assert quoted("A") == "'A'"
    assert quoted("é" * 90) == "'" + "é" * 76 + "..."
    assert len(quoted({"a": "b" * 70_000})) == 80


def test_what_nobody_cut_is_cut_in_the_message():
    long = "C" * 30_000 + "G" * 40_000
    message = str(InputError(f"x.csv: row 3: found {long}, wanted 0 or 1"))
    assert message == "x.csv: row 3: found " + "C" * 60 + "..." + "G" * 16 + ", wanted 0 or 1"
    path = "/".join(["folder" * 30] * 5)
    assert str(InputError(f"{path}: found no such file")) == f"{path}: found no such file"
    message = str(InputError(f"x.csv: found {'many words ' * 10_000}, wanted one"))
    assert len(message) < 6_010
    assert message.startswith("x.csv: found many words")
    assert message.endswith("many words , wanted one")


@pytest.mark.parametrize(
    ("n", "text"), [(0, ""), (1, "0"), (3, "0, 1, 2"), (4, "0, 1, 2 and 1 more"), (9, "0, 1, 2 and 6 more")]
)
def test_long_lists_say_how_many_are_left_out(n, text):
    assert shortened(range(n), 3) == text
    assert shortened((str(i) for i in range(n)), most=3) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("QKI_HepG3", " (similar: QKI_HepG2, QKI_K562)"),
        ("qki", " (similar: QKI_HepG2, QKI_K562)"),
        ("PUM3_K562", " (similar: PUM2_K562)"),
        ("ACTB", ""),
    ],
)
def test_similar_names_have_the_same_target_first(name, text):
    assert similar(name, ["PUM2_K562", "QKI_K562", "QKI_HepG2"])[: len(text)] == text
    assert bool(similar(name, ["PUM2_K562", "QKI_K562", "QKI_HepG2"])) == bool(text)


def test_counts_have_a_noun_that_fits():
    assert [counted(n, "fold") for n in (0, 1, 2, 1200)] == ["0 folds", "1 fold", "2 folds", "1,200 folds"]
    assert [counted(n, "entry", "entries") for n in (1, 2)] == ["1 entry", "2 entries"]
