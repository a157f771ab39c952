"""LAMAR.errors: messages of one line, and lists of names in them."""

from __future__ import annotations

import pytest

from LAMAR.errors import InputError, shortened, similar


def test_a_message_is_one_line():
    assert str(InputError("`layers`: found 99,\n   wanted 0 to 11")) == "`layers`: found 99, wanted 0 to 11"


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
