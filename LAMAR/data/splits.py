"""Division of labelled sets into train, dev and test parts.

Parts are indices into a data set and are determined by a seed. Sequences are compared on the strand given: a reverse
complement is another RNA.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError, counted, excerpt, shortened
from .chromosomes import canonical_chromosome
from .duplicates import Duplicates, find_duplicates, first_copies
from .folds import assign_groups, strata_of
from .kmers import SharedRuns, cluster_sequences
from .labelled import LabelledSet
from .split_methods import SPLITS, refuse_unread

__all__ = [
    "Split",
    "SplitOptions",
    "chromosome_split",
    "cluster_split",
    "given_split",
    "make_split",
    "random_split",
    "split_auto",
    "split_by_chromosome",
    "split_by_cluster",
    "split_given",
    "split_random",
]

logger = logging.getLogger(__name__)

PARTS = ("train", "dev", "test")
FRACTIONS = (0.7, 0.15, 0.15)


@dataclass(frozen=True, eq=False)
class Split:
    """Parts of a data set, as sorted int64 indices into it.

    Attributes
    ----------
    train, dev, test : int64, shape (n_part,)
        Disjoint. ``dev`` is empty when the source has none, or when its fraction is 0.
    report : dict
        Ready for JSON: method, seed, sizes, labels per part, groups per part. `make_split` adds duplicates and how
        much test and train share.
    groups : int64, shape (n,), optional
        Chromosome or cluster of every record, or the first record with its sequence where the method has no groups and
        sequences are repeated. Folds, draws and inner validation must not divide groups either.
    copies : int64, shape (n,), optional
        First record with the sequence of every record, where sequences are repeated. Chromosomes can divide copies:
        a record is not trained on where a copy of it validates or judges (`LAMAR.data.duplicates.without_copies`).
    """

    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray
    report: dict
    groups: np.ndarray | None = None
    copies: np.ndarray | None = None

    def part_of(self, n: int) -> np.ndarray:
        """Return the part of each of n records, an index into `PARTS`, -1 for none; int64, shape (n,)."""
        part = np.full(n, -1)
        for i, name in enumerate(PARTS):
            part[getattr(self, name)] = i
        return part


@dataclass(frozen=True)
class SplitOptions:
    """Options of the methods in `LAMAR.data.split_methods.SPLITS`; see `make_split`."""

    fractions: Sequence[float] = FRACTIONS
    test_chroms: Sequence[str] = ()
    dev_chroms: Sequence[str] = ()
    seed: int = 0


def _describe_labels(labels: np.ndarray) -> dict:
    if labels.dtype.kind == "f":
        return {"mean": float(labels.mean()), "sd": float(labels.std())} if len(labels) else {}
    if labels.ndim == 2:
        return {f"label_{k}": int(column.sum()) for k, column in enumerate(labels.T)}
    return {str(value): int(count) for value, count in zip(*np.unique(labels, return_counts=True))}


def _split(
    method: str, part: np.ndarray, labels, seed: int | None, groups=None, parameter="split", optional=()
) -> Split:
    """Return a `Split` from the part index of every record; refuse empty parts and parts of one class."""
    labels = np.zeros(len(part), dtype=np.int64) if labels is None else np.asarray(labels)
    indices = {name: np.flatnonzero(part == i) for i, name in enumerate(PARTS)}
    classes = np.unique(strata_of(labels))
    for name, records in indices.items():
        if not len(records) and name not in optional:
            raise InputError(f"`{parameter}`: found no record for the {name} part of `split` {method}, wanted some")
        present = np.unique(strata_of(labels)[records])
        if len(records) and len(present) < 2 <= len(classes):
            where = f"the {counted(len(records), 'record')} of the {name} part of `split` {method}"
            raise InputError(f"`{parameter}`: found only label {present[0]} in {where}, wanted {len(classes)} classes")
    report = {
        "method": method,
        "seed": seed,
        "sizes": {name: len(records) for name, records in indices.items()},
        "labels": {name: _describe_labels(labels[records]) for name, records in indices.items()},
    }
    if groups is not None:
        members = {name: set(groups[records].tolist()) for name, records in indices.items()}
        report["groups"] = {name: len(distinct) for name, distinct in members.items()}
        report["groups_straddling"] = sum(report["groups"].values()) - len(set.union(*members.values()))
    return Split(*indices.values(), report=report, groups=groups)


def _check_fractions(fractions: Sequence[float]) -> tuple[str, ...]:
    """Return the parts that are meant to be empty; refuse fractions that make no sense."""
    values = np.asarray(fractions, dtype=np.float64)
    if values.shape != (3,) or not (values >= 0).all() or values[0] == 0 or abs(values.sum() - 1) > 1e-6:
        raise InputError(f"`fractions`: found {tuple(fractions)}, wanted train, dev and test with sum 1, train above 0")
    return tuple(name for name, value in zip(PARTS, values) if value == 0)


def given_split(dataset: LabelledSet) -> Split:
    """Return the parts that the source itself names; ``dev`` may be absent and is never taken from elsewhere.

    Raises
    ------
    InputError
        If the source names no parts, has no train or no test part, or a part has one class only.
    """
    if dataset.split is None:
        raise InputError(f"`split` given: found no parts in {dataset.name or 'the data set'}, wanted train and test")
    part = np.select([dataset.split == name for name in PARTS], [0, 1, 2], default=-1)
    return _split("given", part, dataset.labels, None, optional=("dev",))


def random_split(
    labels: np.ndarray, fractions: Sequence[float] = FRACTIONS, seed: int = 0, groups: np.ndarray | None = None
) -> Split:
    """Return random parts, stratified by class where labels are integers.

    Parameters
    ----------
    labels : int or float, shape (n,) or (n, n_labels)
    fractions : three floats with sum 1
        Shares of train, dev, test; a part with fraction 0 is empty.
    seed : int
        Seed of the draw.
    groups : array, shape (n,), optional
        Group of every record, such as the first record with its sequence. A group is never divided.

    Raises
    ------
    InputError
        If the fractions make no sense, a part is empty, or a part has one class only.
    """
    optional = _check_fractions(fractions)
    members = np.arange(len(labels)) if groups is None else groups
    part = assign_groups(members, strata_of(labels), fractions, seed)
    return _split("random", part, labels, seed, groups, optional=optional)


def _chromosomes(parameter: str, wanted: str | Sequence[str], present: np.ndarray) -> list[str]:
    """Return the distinct canonical names of a list, or of a text with commas, in order; each must have records."""
    names = ",".join([wanted] if isinstance(wanted, str) else map(str, wanted)).split(",")
    names = {canonical_chromosome(name.strip()): name.strip() for name in names if name.strip()}
    if missing := [name for canonical, name in names.items() if canonical not in present]:
        found = f"found no record on {shortened(missing)}"
        raise InputError(f"`{parameter}`: {found}, wanted some of {shortened(present)}")
    return list(names)


def chromosome_split(
    chrom: np.ndarray | None,
    test_chroms: Sequence[str],
    dev_chroms: Sequence[str] | None = None,
    dev_fraction: float = FRACTIONS[1],
    seed: int = 0,
    labels: np.ndarray | None = None,
) -> Split:
    """Return parts that are whole chromosomes.

    Names are compared in UCSC's form (`LAMAR.data.chromosomes.canonical_chromosome`): ``8`` and ``chr8`` are one.

    Parameters
    ----------
    chrom : str, shape (n,)
        Chromosome of every record.
    test_chroms, dev_chroms : sequence of str
        Names of chromosomes. Without ``dev_chroms``, chromosomes in random order go to dev as long as each brings
        it nearer to ``dev_fraction`` of all records; 0 leaves dev empty.
    dev_fraction : float
        Share of the records wanted in dev.
    seed : int
        Seed of the order of chromosomes.
    labels : array, shape (n,), optional
        For the report and the check that each part has both classes.

    Raises
    ------
    InputError
        If there are no coordinates, a chromosome has no records or is in two parts, a part is empty or has one class
        only.
    """
    if chrom is None:
        raise InputError("`split` chromosome: found no coordinates, wanted a chrom column or headers as chr1:5-9")
    written, code = np.unique(np.asarray(chrom), return_inverse=True)
    canonical = np.array([canonical_chromosome(name) for name in written.tolist()])
    names, code, sizes = np.unique(canonical[code], return_inverse=True, return_counts=True)
    test = _chromosomes("test_chroms", test_chroms or (), names)
    dev = _chromosomes("dev_chroms", dev_chroms or (), names)
    if not test:
        raise InputError(f"`test_chroms`: found none, wanted some of {shortened(names)} for `split` chromosome")
    if both := set(test) & set(dev):
        raise InputError(f"`dev_chroms`: found {', '.join(sorted(both))} in `test_chroms` too, wanted others")
    if not dev and dev_fraction > 0:
        rest = [i for i in np.random.default_rng(seed).permutation(len(names)) if names[i] not in test]
        goal, size = dev_fraction * len(chrom), 0
        for i in rest[:-1]:  # the last one stays in train, whatever its size
            if abs(size + sizes[i] - goal) < abs(size - goal):
                dev.append(str(names[i]))
                size += sizes[i]
        if not dev and len(rest) > 1:
            dev.append(str(names[min(rest, key=lambda i: sizes[i])]))
    part = np.select([np.isin(names, test), np.isin(names, dev)], [2, 1], default=0)[code]
    optional = () if dev_chroms or dev_fraction > 0 else ("dev",)
    split = _split("chromosome", part, labels, seed, code, "test_chroms", optional)
    split.report.update(test_chroms=sorted(test), dev_chroms=sorted(dev))
    return split


def cluster_split(
    sequences: Sequence[str], labels: np.ndarray, fractions: Sequence[float] = FRACTIONS, seed: int = 0, **options
) -> Split:
    """Return random parts, as `random_split` does, that never divide clusters of similar sequences.

    Fractions and balance of classes are kept as far as the clusters' sizes allow.

    Parameters
    ----------
    sequences : sequence of str, length n
        Letters of ``ACGTN``.
    labels, fractions, seed
        See `random_split`.
    **options
        Passed to `LAMAR.data.kmers.cluster_sequences`.
    """
    optional = _check_fractions(fractions)
    clusters = cluster_sequences(sequences, **options)
    largest = int(np.bincount(clusters).max())
    if largest > len(sequences) / 2:
        logger.warning("one cluster holds %d of %d records; parts may miss their fractions", largest, len(sequences))
    part = assign_groups(clusters, strata_of(labels), fractions, seed)
    split = _split("cluster", part, labels, seed, clusters, optional=optional)
    split.report["largest_cluster"] = largest
    return split


def split_auto(dataset: LabelledSet, options: SplitOptions) -> Split:
    """Return the parts that the source names where it has a test part, else random parts of all its records."""
    present = () if dataset.split is None else np.unique(dataset.split)
    if "test" in present:
        return given_split(dataset)
    if len(present) > 1:
        logger.warning("%s has no test part: its parts are joined and split at random", dataset.name)
    return split_random(dataset, options)


def split_given(dataset: LabelledSet, options: SplitOptions) -> Split:
    """Return the parts that the source names; see `given_split`."""
    return given_split(dataset)


def split_random(dataset: LabelledSet, options: SplitOptions) -> Split:
    """Return random parts that never divide copies of a sequence; see `random_split`."""
    return random_split(dataset.labels, options.fractions, options.seed, first_copies(dataset.sequences))


def split_by_chromosome(dataset: LabelledSet, options: SplitOptions) -> Split:
    """Return parts that are whole chromosomes; see `chromosome_split`."""
    _check_fractions(options.fractions)
    chroms = options.test_chroms, options.dev_chroms
    return chromosome_split(dataset.chrom, *chroms, options.fractions[1], options.seed, dataset.labels)


def split_by_cluster(dataset: LabelledSet, options: SplitOptions) -> Split:
    """Return random parts that never divide clusters of similar sequences; see `cluster_split`."""
    return cluster_split(dataset.sequences, dataset.labels, options.fractions, options.seed)


def make_split(
    dataset: LabelledSet,
    split: str = "auto",
    *,
    fractions: Sequence[float] = FRACTIONS,
    test_chroms: Sequence[str] | None = None,
    dev_chroms: Sequence[str] | None = None,
    seed: int = 0,
    allow_duplicates: bool = False,
    drop_duplicates: bool = False,
) -> Split:
    """Split a data set by the method named, refuse leaking duplicates, and report what train and test share.

    Parameters
    ----------
    dataset : LabelledSet
        Sequences, labels, and for some methods parts or chromosomes.
    split : str
        Name of a method in `LAMAR.data.split_methods.SPLITS`: ``auto`` takes the source's own parts where it has a
        test part, else ``random``; ``given``, ``random``, ``chromosome``, ``cluster``.
    fractions : three floats with sum 1
        Shares of train, dev, test for ``random`` and ``cluster``; ``chromosome`` uses the second for dev.
    test_chroms, dev_chroms : sequence of str, optional
        Chromosomes of the test and the dev part for ``chromosome``.
    seed : int
        Seed of everything random.
    allow_duplicates : bool
        Accept a sequence in several parts.
    drop_duplicates : bool
        Of a sequence in several parts, keep the records of the test part, or of dev where test has none.

    Returns
    -------
    Split
        Its report adds to that of the method the counts of `LAMAR.data.duplicates.Duplicates`,
        ``dropped_duplicates`` (records), ``longest_shared_run`` (nt, train against test), ``test_sharing_30mer``
        (share of test records with 30 nt in common with train).

    Raises
    ------
    InputError
        If the method fails, there are duplicates across parts, or chromosomes are given to a method that does not
        read them.
    """
    if allow_duplicates and drop_duplicates:
        raise InputError("`allow_duplicates` and `drop_duplicates`: found both, wanted one of them")
    chroms = {"test_chroms": test_chroms or (), "dev_chroms": dev_chroms or ()}
    refuse_unread(split, **chroms)
    parts = SPLITS.choose(split).load()(dataset, SplitOptions(fractions, **chroms, seed=seed))
    copies, part = first_copies(dataset.sequences), parts.part_of(len(dataset))
    duplicates = find_duplicates(copies, part, strata_of(dataset.labels))
    _tell(dataset, parts, duplicates, allow_duplicates or drop_duplicates)
    report = parts.report | duplicates.counts | {"dropped_duplicates": 0}
    if duplicates.across and drop_duplicates:
        method, optional = parts.report["method"], () if len(parts.dev) else ("dev",)
        parts = _split(method, duplicates.kept, dataset.labels, None, parts.groups, optional=optional)
        report |= parts.report | {"seed": report["seed"], "dropped_duplicates": int((part != duplicates.kept).sum())}
        logger.info("%s: copies left out of earlier parts: %d", dataset.name, report["dropped_duplicates"])
    train, test = ([dataset.sequences[i] for i in part] for part in (parts.train, parts.test))
    runs = SharedRuns(train, test)
    report["longest_shared_run"] = runs.longest()
    report["test_sharing_30mer"] = runs.records_sharing(30) / max(len(test), 1)
    groups = copies if parts.groups is None else parts.groups
    return replace(parts, report=report, groups=groups, copies=copies)


def _tell(dataset: LabelledSet, split: Split, duplicates: Duplicates, allowed: bool) -> None:
    """Log how many sequences are repeated; refuse those in several parts unless they are allowed."""
    counts = duplicates.counts
    if counts["conflicting_duplicates"]:
        found = counted(counts["conflicting_duplicates"], "sequence")
        logger.warning("%s: found %s with different labels", dataset.name, found)
    if counts["duplicates_within_parts"]:
        found = f"sequences repeated within a part: {counts['duplicates_within_parts']}"
        logger.info("%s: %s; copies are never on both sides of a fold or of validation", dataset.name, found)
    if not duplicates.across:
        return
    part = split.part_of(len(dataset))
    one, two = (f"{excerpt(dataset.ids[i])} ({PARTS[part[i]]})" for i in duplicates.across[0])
    message = f"found {counted(len(duplicates.across), 'sequence')} in more than one part, for example {one} and {two}"
    if not allowed:
        advice = "wanted none: use `split` cluster or random, or set `drop_duplicates` (test keeps its copy)"
        raise InputError(f"`split` {split.report['method']}: {message}; {advice} or `allow_duplicates`")
    logger.warning("%s: %s", dataset.name, message)
