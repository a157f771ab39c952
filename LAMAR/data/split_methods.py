"""Table of the methods that divide a labelled set into train, dev and test parts; import-light for parsers."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from ..registry import Entry, Registry

__all__ = ["SPLITS", "refuse_unread"]

#: ``function`` takes a `LAMAR.data.labelled.LabelledSet` and a `LAMAR.data.splits.SplitOptions`, and returns a
#: `LAMAR.data.splits.Split`. ``options`` names the parameters that no other method accepts.
SPLITS: Registry[Entry] = Registry(
    "split",
    [
        Entry("auto", "given where the data name a test part, else random", "LAMAR.data.splits:split_auto"),
        Entry("given", "the parts that the data name", "LAMAR.data.splits:split_given"),
        Entry("random", "random records, stratified by class", "LAMAR.data.splits:split_random"),
        Entry(
            "chromosome",
            "whole chromosomes for test and dev",
            "LAMAR.data.splits:split_by_chromosome",
            options=("test_chroms", "dev_chroms"),
        ),
        Entry(
            "cluster",
            "random clusters: records that share sequence are in one part",
            "LAMAR.data.splits:split_by_cluster",
        ),
    ],
)


def refuse_unread(split: str, **values: Sequence[str] | None) -> None:
    """Refuse values of parameters that a method does not read.

    Parameters
    ----------
    split : str
        Name of the method.
    **values
        Values by parameter; empty ones count as not given.

    Raises
    ------
    InputError
        Names the parameter and the methods that read it.
    """
    method = SPLITS.choose(split)
    for name, value in values.items():
        if value and name not in method.options:
            readers = " or ".join(entry.name for entry in SPLITS.values() if name in entry.options)
            raise InputError(f"`{name}` goes with `split` {readers}, found `split` {split}")
