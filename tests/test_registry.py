"""Registries: entries in order, one error for unknown names, functions imported on first use."""

from __future__ import annotations

import math
import sys

import pytest

from LAMAR.errors import InputError
from LAMAR.registry import Entry, Registry


@pytest.fixture
def registry() -> Registry[Entry]:
    return Registry("shape", [Entry("square", "square", lambda x: x * x), Entry("root", "square root", "math:sqrt")])


def test_entries_keep_their_order(registry):
    assert registry.names == tuple(registry) == ("square", "root")
    assert [entry.label for entry in registry.values()] == ["square", "square root"]
    registry.add(Entry("cube"))
    assert registry.names == ("square", "root", "cube")
    assert len(registry) == 3
    registry.remove("cube")
    assert "cube" not in registry


def test_functions_are_called_or_imported(registry):
    assert registry["square"].load()(3) == 9
    assert registry["root"].load() is math.sqrt


def test_modules_are_imported_on_first_use_only(tmp_path, monkeypatch):
    (tmp_path / "late_module.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    entry = Entry("late", function="late_module:double")
    assert "late_module" not in sys.modules
    assert entry.load()(4) == 8
    assert sys.modules.pop("late_module")


def test_unknown_names_are_refused_with_all_choices(registry):
    with pytest.raises(InputError, match=r"^`shape`: found 'circle', wanted one of square, root$"):
        registry.choose("circle")
    with pytest.raises(InputError, match=r"^`form`: found 'circle', wanted one of square, root$"):
        registry.choose("circle", "form")
    assert registry.choose("root") is registry["root"]


def test_a_name_is_given_once(registry):
    with pytest.raises(ValueError, match="shape: 'root' is registered twice"):
        registry.add(Entry("root"))
    assert registry["root"].label == "square root"
