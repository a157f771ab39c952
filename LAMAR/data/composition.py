"""Composition of sequences, and how well composition alone separates positives from negatives.

Scores on labelled windows must be compared with those of base composition alone: a logistic regression on the 16
dinucleotide frequencies reaches an AUROC of 0.9 on popular eCLIP sets.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from ..alphabet import NUCLEOTIDES
from ..errors import InputError
from ..statistics.bootstrap import bootstrap_intervals
from ..statistics.metrics import auroc
from .folds import assign_groups
from .kmers import join_codes

__all__ = [
    "FEATURES",
    "FEATURE_LABELS",
    "composition_model",
    "composition_scores",
    "describe_likeness",
    "feature_transform",
    "gc_content",
    "kmer_frequencies",
    "likeness",
    "words",
]

N_FOLDS = 5
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_JUDGED = ("gc", "dinucleotide")
_BLOCK = 2_000_000  # letters counted at a time: bounds memory


def words(k: int) -> list[str]:
    """Return the 4**k words of ``k`` letters in lexicographic order, the columns of `kmer_frequencies`."""
    return ["".join(letters) for letters in itertools.product(NUCLEOTIDES, repeat=k)]


def kmer_frequencies(sequences: Sequence[str], k: int = 2) -> np.ndarray:
    """Return the share of each word among the overlapping words of ``k`` letters of each sequence.

    Parameters
    ----------
    sequences : sequence of str, length n
        Letters of ``ACGTN``, any lengths. Words with an N are ignored.
    k : int
        Length of the words in nt, 1 or more.

    Returns
    -------
    float64, shape (n, 4**k)
        Columns as in `words`. Rows sum to 1; a sequence without a word of k known letters is a row of NaN.
    """
    if k < 1:
        raise ValueError(f"`k`: found {k}, wanted 1 or more")
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    bounds = [0, *(np.flatnonzero(np.diff(np.cumsum(lengths) // _BLOCK)) + 1), len(sequences)]
    blocks = [_kmer_counts(sequences[start:end], k) for start, end in itertools.pairwise(bounds)]
    counts = np.concatenate(blocks)
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)


def _kmer_counts(sequences: Sequence[str], k: int) -> np.ndarray:
    """Count all words in the joined sequences; float64, shape (n, 4**k)."""
    codes, record = join_codes(sequences)
    n_starts = max(len(codes) - k + 1, 0)
    word, known = np.zeros(n_starts, dtype=np.int64), np.ones(n_starts, dtype=bool)
    for offset in range(k):
        letter = codes[offset : offset + n_starts]
        word = 4 * word + letter
        known &= letter < 4  # the line end after each sequence counts as unknown, so no word spans two
    counts = np.bincount((record[:n_starts] * 4**k + word)[known], minlength=len(sequences) * 4**k)
    return counts.reshape(len(sequences), 4**k).astype(np.float64)


def gc_content(sequences: Sequence[str]) -> np.ndarray:
    """Return the share of G and C among the known letters of each sequence.

    Parameters
    ----------
    sequences : sequence of str, length n
        Letters of ``ACGTN``.

    Returns
    -------
    float64, shape (n,)
        0 to 1; NaN for a sequence of only N.
    """
    return kmer_frequencies(sequences, 1)[:, [1, 2]].sum(axis=1)


# Features of a composition baseline, by name.
FEATURES = {
    "gc": lambda sequences: gc_content(sequences)[:, None],
    "dinucleotide": lambda sequences: kmer_frequencies(sequences, 2),
    "4mer": lambda sequences: kmer_frequencies(sequences, 4),
}
FEATURE_LABELS = {"gc": "GC content", "dinucleotide": "dinucleotides", "4mer": "4-mers"}


def composition_scores(
    train_sequences: Sequence[str], train_labels, test_sequences: Sequence[str], features: str = "dinucleotide"
) -> np.ndarray:
    """Return the probabilities of label 1 by a logistic regression on composition.

    Features are standardised on the training part; the penalty is scikit-learn's default (L2, C = 1). ``gc`` is GC
    content and its square, so that a class with the same mean and another spread can be recognised; ``dinucleotide``
    and ``4mer`` are the frequencies of all words of 2 and 4 letters. A sequence without a known word gets the mean of
    the training part.

    Parameters
    ----------
    train_sequences, test_sequences : sequence of str, length n_train and n_test
        Letters of ``ACGTN``.
    train_labels : int, shape (n_train,)
        0 and 1, both present.
    features : {"gc", "dinucleotide", "4mer"}
        Features of the regression.

    Returns
    -------
    float64, shape (n_test,)

    Raises
    ------
    ValueError
        If the features are unknown, or the labels are not two classes 0 and 1.
    """
    if features not in FEATURES:
        raise ValueError(f"`features`: found {features!r}, wanted {', '.join(FEATURES)}")
    labels = np.asarray(train_labels)
    if set(np.unique(labels).tolist()) != {0, 1}:
        raise ValueError(f"`train_labels`: found classes {np.unique(labels)[:5].tolist()}, wanted 0 and 1")
    compute = FEATURES[features]
    model = composition_model(features).fit(compute(train_sequences), labels)
    return model.predict_proba(compute(test_sequences))[:, 1]


def composition_model(features: str):
    """Return the scikit-learn classifier of `composition_scores`, not yet fitted, on an entry of `FEATURES`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(feature_transform(features), LogisticRegression(max_iter=1000))


def feature_transform(features: str):
    """Return the scikit-learn transformer, not yet fitted, between an entry of `FEATURES` and its regression.

    It puts the mean in the place of what is missing, standardises, and adds the square of GC content.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    # The square of a standardised value, not of a share: GC and its square would be nearly collinear.
    square = [PolynomialFeatures(2, include_bias=False), StandardScaler()] if features == "gc" else []
    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), *square)


def likeness(
    positives: Sequence[str],
    negatives: Sequence[str],
    *,
    split: tuple[Sequence[int], Sequence[int]] | None = None,
    regions: tuple[Sequence[str], Sequence[str]] | None = None,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict:
    """Describe how alike positives and negatives are, ready for JSON.

    Parameters
    ----------
    positives, negatives : sequence of str
        Sequences of both sides, not empty.
    split : (train, test), optional
        Indices into positives followed by negatives. The regressions of `composition_scores` are fitted on train and
        scored on test. Without a split, every record is scored by the fold of a stratified 5-fold cross-validation
        that left it out; folds never divide records with the same dinucleotides, such as duplicates, or a positive
        and its shuffle.
    regions : (str, str), shapes (n_positives,) and (n_negatives,), optional
        Kind of region of every record.
    n_boot, seed : int
        Resamples of the intervals; seed of folds and resamples.

    Returns
    -------
    dict
        - ``positives``, ``negatives``: ``n``, ``length`` and ``gc`` (``mean``, ``sd``, ``quantiles``),
          ``dinucleotides`` (mean frequency by name) and, with ``regions``, ``regions`` (share by name)
        - ``gc_ks``: Kolmogorov-Smirnov statistic of GC content, 0 to 1
        - ``largest_dinucleotide_difference``: ``name`` and ``difference`` of means, positives minus negatives
        - ``auroc``: for ``gc`` and ``dinucleotide`` the ``value``, the ``low`` and ``high`` end of its 95 %
          bootstrap interval, ``method`` and ``n`` scored. Negatives matched closely to the positives can bring it
          somewhat below 0.5, because an excess in one fold is a deficit in the others.

        None where a value is undefined: for classes too small for folds, or sequences of only N.

    Raises
    ------
    InputError
        If a side has no sequences, or the train or test part of the split lacks a class.
    """
    for name, side in (("positives", positives), ("negatives", negatives)):
        if not len(side):
            raise InputError(f"`{name}`: found no sequence, wanted at least one to compare")
    from scipy.stats import ks_2samp

    sides = {"positives": positives, "negatives": negatives}
    gc = {name: gc_content(side) for name, side in sides.items()}
    frequencies = {name: kmer_frequencies(side, 2) for name, side in sides.items()}
    means = {name: _column_means(values) for name, values in frequencies.items()}
    report = {name: _describe_side(side, gc[name], means[name]) for name, side in sides.items()}
    if regions is not None:
        for name, types in zip(sides, regions):
            values, counts = np.unique(np.asarray(types, dtype=str), return_counts=True)
            report[name]["regions"] = {str(value): float(n / len(types)) for value, n in zip(values, counts)}
    known = [values[~np.isnan(values)] for values in gc.values()]
    # Only the statistic is used; exact p-values would take longer than everything else.
    report["gc_ks"] = float(ks_2samp(*known, method="asymp").statistic) if min(map(len, known)) else None
    difference = means["positives"] - means["negatives"]
    largest = int(np.argmax(np.nan_to_num(np.abs(difference))))
    report["largest_dinucleotide_difference"] = {"name": words(2)[largest], "difference": _json(difference[largest])}
    sequences = [*positives, *negatives]
    labels = np.repeat([1, 0], [len(positives), len(negatives)])
    parts, method = _parts(labels, np.concatenate(list(frequencies.values())), split, seed)
    report["auroc"] = {name: _judge(name, sequences, labels, parts, method, n_boot, seed) for name in _JUDGED}
    return report


def _json(value) -> float | None:
    return None if np.isnan(value) else float(value)


def _column_means(frequencies: np.ndarray) -> np.ndarray:
    """Return the mean of the rows that are known, NaN without one."""
    known = frequencies[~np.isnan(frequencies[:, 0])]
    return known.mean(axis=0) if len(known) else np.full(frequencies.shape[1], np.nan)


def _describe_side(sequences: Sequence[str], gc: np.ndarray, dinucleotides: np.ndarray) -> dict:
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    known = gc[~np.isnan(gc)]
    if not len(known):
        known = np.array([np.nan])
    return {
        "n": len(sequences),
        "length": {"min": int(lengths.min()), "median": float(np.median(lengths)), "max": int(lengths.max())},
        "gc": {
            "mean": _json(known.mean()),
            "sd": _json(known.std()),
            "quantiles": {str(q): _json(np.quantile(known, q)) for q in _QUANTILES},
        },
        "dinucleotides": {name: _json(mean) for name, mean in zip(words(2), dinucleotides)},
    }


def _parts(labels: np.ndarray, frequencies: np.ndarray, split, seed: int) -> tuple[list[tuple], str]:
    """Return pairs of records to fit on and to score, and the name of the method."""
    if split is None:
        _, groups = np.unique(frequencies, axis=0, return_inverse=True)
        fold = assign_groups(groups.ravel(), labels, np.ones(N_FOLDS), seed)
        folds = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in np.unique(fold)]
        if any(len(np.unique(labels[train])) < 2 for train, _ in folds):
            return [], "none: too few different records of a class"
        return folds, f"{N_FOLDS}-fold cross-validation"
    train, test = (np.asarray(part, dtype=np.int64) for part in split)
    for name, part in (("train", train), ("test", test)):
        if len(np.unique(labels[part])) < 2:
            raise InputError(f"`split`: found {len(part)} records of one class in the {name} part, wanted both classes")
    return [(train, test)], "fitted on train, scored on test"


def _judge(features: str, sequences, labels: np.ndarray, parts, method: str, n_boot: int, seed: int) -> dict:
    """Return the AUROC of `composition_scores` over all records scored."""
    if not parts:
        return {"value": None, "low": None, "high": None, "method": method, "n": 0}
    scores = [
        composition_scores([sequences[i] for i in train], labels[train], [sequences[i] for i in test], features)
        for train, test in parts
    ]
    truth, scores = labels[np.concatenate([test for _, test in parts])], np.concatenate(scores)
    low, high = bootstrap_intervals(truth, scores, ["auroc"], n_boot=n_boot, seed=seed)["auroc"]
    return {"value": auroc(truth, scores), "low": low, "high": high, "method": method, "n": len(truth)}


def describe_likeness(report: dict) -> str:
    """Return the report of `likeness` as an aligned table of text, with a closing sentence on reading scores."""
    sides = report["positives"], report["negatives"]
    name = report["largest_dinucleotide_difference"]["name"]
    rows = [("", "positives", "negatives"), ("sequences", *(f"{side['n']:,}" for side in sides))]
    rows.append(("length min/median/max", *("{min}/{median:g}/{max}".format(**side["length"]) for side in sides)))
    rows.append(("GC mean", *(_number(side["gc"]["mean"]) for side in sides)))
    rows.append(("GC sd", *(_number(side["gc"]["sd"]) for side in sides)))
    quantiles = ("/".join(_number(side["gc"]["quantiles"][q]) for q in ("0.05", "0.5", "0.95")) for side in sides)
    rows.append(("GC 5/50/95 %", *quantiles))
    rows.append((f"{name} (most different)", *(_number(side["dinucleotides"][name]) for side in sides)))
    for region in sorted({*sides[0].get("regions", ()), *sides[1].get("regions", ())}):
        rows.append((f"in {region}", *(f"{side['regions'].get(region, 0):.1%}" for side in sides)))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = ["  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in (1, 2))]) for row in rows]
    lines.append(f"{'GC KS statistic'.ljust(widths[0])}  {_number(report['gc_ks'])}")
    for features, judged in report["auroc"].items():
        value = f"{_number(judged['value'])} [{_number(judged['low'])}, {_number(judged['high'])}]"
        lines.append(f"{f'AUROC of {features}'.ljust(widths[0])}  {value} ({judged['method']})")
    best = max((judged["value"] or 0.5 for judged in report["auroc"].values()), default=0.5)
    if report["auroc"]["dinucleotide"]["value"] is None:
        reading = "Too few records to say what composition alone achieves."
    elif best < 0.55:
        reading = f"Composition alone hardly tells the two sides apart: an AUROC of {best:.3f}."
    else:
        reading = f"Composition alone reaches an AUROC of {best:.3f}: a score below it says nothing beyond composition."
    return "\n".join([*lines, reading])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
