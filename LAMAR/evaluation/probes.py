"""Labelled sets, their parts, composition baselines and linear probes: what an evaluation scores without a CNN.

All methods that are compared see the same parts of the same records: train to fit on, validation to choose by, test to
score once.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ..data.composition import composition_scores, likeness, words
from ..data.duplicates import without_copies
from ..data.folds import inner_validation, subsample
from ..data.labelled import LabelledSet, load_labelled, set_names
from ..data.sequences import check_lengths
from ..data.splits import make_split
from ..errors import InputError
from ..statistics.metrics import auroc, classification_metrics
from .registries import REPRESENTATIONS
from .tables import METRICS

__all__ = [
    "Parts",
    "Probe",
    "baseline_row",
    "composition_baseline",
    "draw_training",
    "find_sets",
    "fit_probe",
    "prepare",
    "result",
    "unit_name",
]

# Inverse strengths of the L2 penalty that a probe chooses from on validation: 768 dimensions on 2,800 records need
# more than scikit-learn's 1.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
LONGEST_NAME = 120  # characters of a set's name, quoted as in file names


# -------------------------------------------------------------------------------------------------------- sets


def find_sets(
    data_dir: str | Path,
    rbps: Sequence[str] | None = None,
    *,
    max_length: int | None = None,
    truncate: bool = False,
    sequence_column: str | None = None,
    label_column: str | None = None,
) -> list[LabelledSet]:
    """Read the labelled sets below a folder, or the one set that a path is.

    Parameters
    ----------
    data_dir : path
        A folder of FASTA pairs ``<name>.positives.fa``, ``<name>.negatives.fa``, a folder of data-set folders or
        files, or any single form of `LAMAR.data.labelled.load_labelled`.
    rbps : sequence of str, optional
        Names of the sets to read; None reads all.
    max_length : int, optional
        Largest number of tokens per sequence, two of them special; None accepts any length.
    truncate : bool
        Cut longer sequences at the 3' end instead of raising; their number is logged.
    sequence_column, label_column : str, optional
        Columns of tables that have other names than ``sequence`` and ``label``.

    Returns
    -------
    list of LabelledSet

    Raises
    ------
    InputError
        If there is no labelled set, no set of a given name, a set that is not of two classes 0 and 1, two sets of one
        name, or a sequence too long.
    """
    path = Path(data_dir)
    names = rbps or set_names(path) or [None]
    how = {"arguments": ("`data_dir`", "`rbps`"), "sequence_column": sequence_column, "label_column": label_column}
    sets = [load_labelled(path, name=name, **how) for name in names]
    for dataset in sets:
        if dataset.labels.ndim != 1 or not np.array_equal(np.unique(dataset.labels), [0, 1]):
            labels = ", ".join(map(str, np.unique(dataset.labels)[:5]))
            raise InputError(f"`data_dir`: {dataset.name}: found labels {labels}, wanted two classes, 0 and 1")
        # Files of units of work are named after the set, and besides after method, variant, layer and repeat.
        if len(quote(dataset.name, errors="replace")) > LONGEST_NAME or not dataset.name.isprintable():
            raise InputError(f"`data_dir`: found a set called {dataset.name[:40]!r}..., wanted a shorter, plain name")
    names = [dataset.name for dataset in sets]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        parameter = "rbps" if rbps else "data_dir"
        raise InputError(f"`{parameter}`: found two sets called {repeated[0]!r} in {path}, wanted different names")
    if max_length is None:
        return sets
    # Before any split: sequences that are equal once truncated must not be in several parts.
    return [
        replace(dataset, sequences=check_lengths(dataset.sequences, dataset.ids, max_length, truncate))
        for dataset in sets
    ]


@dataclass(frozen=True, eq=False)
class Parts:
    """A labelled set and its parts.

    Attributes
    ----------
    dataset : LabelledSet
    train, validation, test : int64, shape (n_part,)
        Indices into the set.
    method : str
        Method of the split.
    report : dict
        ``split`` of `LAMAR.data.splits.make_split`, and ``composition`` of `LAMAR.data.composition.likeness`.
    groups, copies : array, shape (n,), optional
        Those of `LAMAR.data.splits.Split`: train and validation share neither a group nor a sequence, where the data
        themselves do not say so.
    """

    dataset: LabelledSet
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    method: str
    report: dict
    groups: np.ndarray | None = None
    copies: np.ndarray | None = None

    @property
    def labels(self) -> np.ndarray:
        """Labels of the whole set, int (n,)."""
        return self.dataset.labels

    def validated(self, records: np.ndarray, seed: int) -> Parts:
        """Return the parts with 10 % of these training records set aside for validation, never a copy of another."""
        train, validation = inner_validation(self.labels, records, seed=seed, groups=self.groups)
        train = without_copies(train, validation, self.copies, self.labels)
        return replace(self, train=train, validation=validation)


def prepare(
    dataset: LabelledSet,
    split: str = "auto",
    *,
    test_chroms: Sequence[str] = (),
    dev_chroms: Sequence[str] = (),
    seed: int = 42,
    allow_duplicates: bool = False,
    drop_duplicates: bool = False,
) -> Parts:
    """Split a labelled set into train, validation and test.

    Where the split has no dev part, 10 % of train are set aside for validation, never any of test.

    Parameters
    ----------
    dataset : LabelledSet
        Two classes, 0 and 1.
    split : {"auto", "given", "random", "chromosome", "cluster"}
    test_chroms, dev_chroms : sequence of str
        Chromosomes of the test and dev part, for ``chromosome``.
    seed : int
    allow_duplicates, drop_duplicates : bool
        Let one sequence appear in several parts, or keep only its records in the test part (else in dev).

    Returns
    -------
    Parts

    Raises
    ------
    InputError
        As `LAMAR.data.splits.make_split` and `LAMAR.data.folds.inner_validation`.
    """
    made = make_split(
        dataset,
        split,
        test_chroms=test_chroms,
        dev_chroms=dev_chroms,
        seed=seed,
        allow_duplicates=allow_duplicates,
        drop_duplicates=drop_duplicates,
    )
    method, optional = made.report["method"], {"groups": made.groups, "copies": made.copies}
    parts = Parts(dataset, made.train, made.dev, made.test, method, {}, **optional)
    if not len(made.dev):
        parts = parts.validated(made.train, seed)
    positives, negatives = (np.flatnonzero(dataset.labels == label) for label in (1, 0))
    place = np.empty(len(dataset), dtype=np.int64)
    place[np.concatenate([positives, negatives])] = np.arange(len(dataset))
    report = {
        "split": made.report,
        "composition": likeness(
            [dataset.sequences[i] for i in positives],
            [dataset.sequences[i] for i in negatives],
            split=(place[parts.train], place[made.test]),
            seed=seed,
        ),
    }
    return replace(parts, report=report)


def draw_training(parts: Parts, subsample_pos: int | None, subsample_neg: int | None, seed: int) -> Parts:
    """Draw fewer training records; the test part stays.

    10 % of the records drawn are set aside for validation, whole groups where the set has groups. The set's own dev
    part is not used, because a user with few labels has few to choose by.

    Parameters
    ----------
    parts : Parts
    subsample_pos, subsample_neg : int or None
        Number of positives and negatives, validation included; None keeps all.
    seed : int

    Returns
    -------
    Parts

    Raises
    ------
    InputError
        As `LAMAR.data.folds.subsample` and `LAMAR.data.folds.inner_validation`.
    """
    drawn = subsample(
        parts.train, parts.labels, subsample_pos, subsample_neg, seed, parts.dataset.name, groups=parts.groups
    )
    return parts.validated(drawn, seed)


# ----------------------------------------------------------------------------------------------------- results


def unit_name(dataset: str, representation: str, variant: str = "", layer: int | str = "", repeat: int = 0) -> str:
    """Return the name of a unit of work in `LAMAR.runs.RunFolder`."""
    return ",".join([dataset, representation, variant, str(layer), str(repeat)])


def result(
    parts: Parts,
    representation: str,
    probabilities: np.ndarray,
    *,
    n_parameters: int,
    seconds: float,
    variant: str = "",
    layer: int | str = "",
    pooling: str = "",
    repeat: int = 0,
    chosen: bool = True,
    learned: bool | None = None,
) -> dict:
    """Return one unit's row of ``results.csv`` and its test probabilities.

    Parameters
    ----------
    parts : Parts
    representation : str
        Name in `LAMAR.evaluation.registries.REPRESENTATIONS`.
    probabilities : float64, shape (n_test,)
        Probability of label 1, in the order of ``parts.test``.
    n_parameters : int
        Number of parameters that training changed.
    seconds : float
        Wall time of the unit.
    variant, layer, pooling, repeat, chosen
        Columns of the table; "" for what the representation does not have.
    learned : bool, optional
        Whether training lowered the validation loss, see `LAMAR.evaluation.cnn.model.has_learned`; CNNs only.

    Returns
    -------
    dict
        ``row``, the values by column of `LAMAR.evaluation.tables.COLUMNS`, and ``probabilities``, a list of float.
    """
    with warnings.catch_warnings():
        # A model that predicts one class has no F1 or MCC: the cell stays empty, which is message enough.
        warnings.simplefilter("ignore", RuntimeWarning)
        figures = classification_metrics(parts.labels[parts.test], probabilities)
    row = {"dataset": parts.dataset.name, "representation": representation, "variant": variant, "layer": layer}
    row |= {"pooling": pooling, "split": parts.method, "repeat": repeat}
    row |= {name: figures[name] for name in METRICS}
    row |= {"n_train": len(parts.train), "n_test": len(parts.test), "n_parameters": n_parameters}
    row |= {"seconds": round(seconds, 3), "chosen": int(chosen)}
    row["learned"] = None if learned is None else int(learned)
    return {"row": row, "probabilities": [float(value) for value in probabilities]}


# --------------------------------------------------------------------------------------------------- baselines


def composition_baseline(parts: Parts, features: str) -> tuple[np.ndarray, int]:
    """Fit a logistic regression on sequence composition, see `LAMAR.data.composition.composition_scores`.

    Parameters
    ----------
    parts : Parts
    features : {"gc", "dinucleotide", "4mer"}

    Returns
    -------
    (float64 (n_test,), int)
        Probability of label 1 of each test record, and the number of parameters.
    """
    sequences = parts.dataset.sequences
    train, test = ([sequences[i] for i in part] for part in (parts.train, parts.test))
    n_features = {"gc": 2, "dinucleotide": len(words(2)), "4mer": len(words(4))}[features]
    return composition_scores(train, parts.labels[parts.train], test, features), n_features + 1


def baseline_row(parts: Parts, representation: str, repeat: int = 0) -> dict:
    """Return the `result` of a representation of kind ``composition``, fitted on train."""
    start = time.perf_counter()
    probabilities, n_parameters = REPRESENTATIONS[representation].load()(parts, representation)
    seconds = time.perf_counter() - start
    return result(parts, representation, probabilities, n_parameters=n_parameters, seconds=seconds, repeat=repeat)


# ------------------------------------------------------------------------------------------------------ probes


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted linear probe.

    Attributes
    ----------
    probabilities : float64, shape (n_test,)
        Probability of label 1 of each test record.
    validation_auroc : float
        AUROC on the validation part.
    penalty : float
        The inverse strength C that validation chose.
    n_parameters : int
    seconds : float
    """

    probabilities: np.ndarray
    validation_auroc: float
    penalty: float
    n_parameters: int
    seconds: float


def fit_probe(parts: Parts, embeddings: np.ndarray, penalties: Sequence[float] = PENALTIES) -> Probe:
    """Fit a logistic regression on standardised embeddings, its penalty chosen on validation.

    Parameters
    ----------
    parts : Parts
    embeddings : float, shape (n, d)
        One vector per record of the whole set.
    penalties : sequence of float
        Inverse strengths of the L2 penalty to choose from by validation AUROC.

    Returns
    -------
    Probe

    References
    ----------
    Alain and Bengio, Understanding intermediate layers using linear classifier probes, ICLR workshop, 2017.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    start = time.perf_counter()
    train, validation, test = (
        np.asarray(embeddings[part], dtype=np.float64) for part in (parts.train, parts.validation, parts.test)
    )
    best: tuple[float, float, Callable] | None = None
    for penalty in penalties:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=2000))
        model.fit(train, parts.labels[parts.train])
        score = auroc(parts.labels[parts.validation], model.predict_proba(validation)[:, 1])
        if best is None or score > best[0]:
            best = score, penalty, model
    score, penalty, model = best
    probabilities = model.predict_proba(test)[:, 1]
    return Probe(probabilities, score, penalty, embeddings.shape[1] + 1, time.perf_counter() - start)
