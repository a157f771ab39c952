"""Families of tests: the p-values among which a false discovery rate is taken."""

from __future__ import annotations

__all__ = ["FAMILIES"]

#: What a q-value refers to, by name.
FAMILIES = {
    "track": "all tiles of its track in this run",
    "all": "all tiles of all tracks in this run",
}
