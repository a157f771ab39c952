"""Evaluation of frozen embeddings on labelled sets: data sets, parts, baselines, linear probes, and their figures.

Everything that is compared sees the same parts of the same records: train to fit on, validation to choose by, test to
score once.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ..data.composition import FEATURES, composition_scores, likeness, words
from ..data.folds import inner_validation, subsample
from ..data.labelled import LabelledSet, load_labelled, set_names
from ..data.splits import make_split
from ..errors import InputError
from ..statistics.metrics import auroc, classification_metrics
from .result_columns import METRICS

__all__ = [
    "Parts",
    "Probe",
    "baseline_row",
    "draw_training",
    "find_sets",
    "fit_probe",
    "prepare",
    "result",
    "unit_name",
]

logger = logging.getLogger(__name__)

# Inverse strengths of the L2 penalty that a probe chooses from on validation: 768 dimensions on 2,800 records need
# more than scikit-learn's 1.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def find_sets(data_dir: str | Path, rbps: Sequence[str] | None = None) -> list[LabelledSet]:
    """Read the labelled sets below a folder, or the one that a path is.

    Parameters
    ----------
    data_dir : path
        A folder of FASTA pairs ``<name>.positives.fa``, ``<name>.negatives.fa``, a folder of data-set folders or
        files, or any single form of `LAMAR.data.labelled.load_labelled`.
    rbps : sequence of str, optional
        Names of the sets to read; default all.

    Raises
    ------
    InputError
        Nothing there that is a labelled set, a name that is not there, a set that is not of two classes 0 and 1.
    """
    path = Path(data_dir)
    names = rbps or set_names(path) or [None]
    sets = [load_labelled(path, name=name, arguments=("--data_dir", "--rbps")) for name in names]
    for dataset in sets:
        if dataset.labels.ndim != 1 or not np.array_equal(np.unique(dataset.labels), [0, 1]):
            found = ", ".join(map(str, np.unique(dataset.labels)[:5]))
            raise InputError(f"--data_dir: {dataset.name}: found labels {found}, wanted two classes, 0 and 1")
        # Units of work are files called by it, and beside it by method, variant, layer and repeat.
        if len(quote(dataset.name, errors="replace")) > 120 or not dataset.name.isprintable():
            raise InputError(f"--data_dir: found a set called {dataset.name[:40]!r}..., wanted a shorter, plain name")
    names = [dataset.name for dataset in sets]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        argument = "--rbps" if rbps else "--data_dir"
        raise InputError(f"{argument}: found two sets called {twice[0]!r} in {path}, wanted different names")
    return sets


@dataclass(frozen=True, eq=False)
class Parts:
    """A labelled set and its parts.

    Attributes
    ----------
    dataset : LabelledSet
    train, validation, test : int64
        Indices into the set.
    method : str
        How they were made.
    report : dict
        ``split`` of `LAMAR.data.splits.make_split`, and ``composition`` of `LAMAR.data.composition.likeness`.
    """

    dataset: LabelledSet
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    method: str
    report: dict

    @property
    def labels(self) -> np.ndarray:
        return self.dataset.labels


def prepare(
    dataset: LabelledSet,
    method: str = "auto",
    *,
    test_chroms: Sequence[str] = (),
    dev_chroms: Sequence[str] = (),
    seed: int = 42,
    allow_duplicates: bool = False,
) -> Parts:
    """Split a set; where the split has no dev part, 10 % of train are set aside for validation, never any of test."""
    split = make_split(
        dataset,
        method,
        test_chroms=test_chroms,
        dev_chroms=dev_chroms,
        seed=seed,
        allow_duplicates=allow_duplicates,
    )
    train, validation = split.train, split.dev
    if not len(validation):
        train, validation = inner_validation(dataset.labels, split.train, seed=seed, groups=split.groups)
    positives, negatives = (np.flatnonzero(dataset.labels == label) for label in (1, 0))
    place = np.empty(len(dataset), dtype=np.int64)
    place[np.concatenate([positives, negatives])] = np.arange(len(dataset))
    report = {
        "split": split.report,
        "composition": likeness(
            [dataset.sequences[i] for i in positives],
            [dataset.sequences[i] for i in negatives],
            split=(place[train], place[split.test]),
            seed=seed,
        ),
    }
    return Parts(dataset, train, validation, split.test, split.report["method"], report)


def draw_training(parts: Parts, n_pos: int | None, n_neg: int | None, seed: int) -> Parts:
    """The same set and test part with fewer training records, drawn at random.

    10 % of those drawn are set aside for validation: whoever has few labels has few to choose by, so the set's own dev
    part is not used. None keeps all of a class.
    """
    drawn = subsample(parts.train, parts.labels, n_pos, n_neg, seed, parts.dataset.name)
    train, validation = inner_validation(parts.labels, drawn, seed=seed)
    return replace(parts, train=train, validation=validation)


def unit_name(dataset: str, representation: str, variant: str = "", layer: int | str = "", repeat: int = 0) -> str:
    """Name of a unit of work in `LAMAR.runs.RunFolder`."""
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
) -> dict:
    """One unit's row of ``results.csv`` and its test probabilities (float, in the order of ``parts.test``)."""
    with warnings.catch_warnings():
        # A model that predicts one class has no F1 or MCC: the cell stays empty, and says so.
        warnings.simplefilter("ignore", RuntimeWarning)
        figures = classification_metrics(parts.labels[parts.test], probabilities)
    row = {"dataset": parts.dataset.name, "representation": representation, "variant": variant, "layer": layer}
    row |= {"pooling": pooling, "split": parts.method, "repeat": repeat}
    row |= {name: figures[name] for name in METRICS}
    row |= {"n_train": len(parts.train), "n_test": len(parts.test), "n_parameters": n_parameters}
    row |= {"seconds": round(seconds, 3), "chosen": int(chosen)}
    return {"row": row, "probabilities": [float(value) for value in probabilities]}


def baseline_row(parts: Parts, features: str, repeat: int = 0) -> dict:
    """`result` of a composition baseline (``gc``, ``dinucleotide`` or ``4mer``), fitted on train."""
    start = time.perf_counter()
    sequences = parts.dataset.sequences
    train, test = ([sequences[i] for i in part] for part in (parts.train, parts.test))
    scores = composition_scores(train, parts.labels[parts.train], test, features)
    n_features = {"gc": 2, "dinucleotide": len(words(2)), "4mer": len(words(4))}[features]
    seconds = time.perf_counter() - start
    return result(parts, features, scores, n_parameters=n_features + 1, seconds=seconds, repeat=repeat)


BASELINES = tuple(FEATURES)


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted linear probe.

    Attributes
    ----------
    probabilities : float64 (n_test,)
    validation_auroc : float
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
    """Logistic regression on standardised mean-pooled embeddings (Alain and Bengio, 2017), penalty by validation.

    Parameters
    ----------
    embeddings : float (n, d)
        Of the whole set.
    penalties : sequence of float
        Inverse strengths of the L2 penalty to choose from by validation AUROC.
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
