"""What base composition alone achieves on the records that a fine-tuning is judged on, beside its model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.composition import FEATURE_LABELS, FEATURES, composition_model
from ..statistics.delong import delong_test
from .fold_plans import Fold
from .summaries import ORDER_METRICS, mean_on_test, mean_sd, scored

__all__ = ["composition_figures", "composition_lines"]

PARTS = ("heldout", "test")
LEVEL = 0.05  # of the test whether a model differs from composition


def composition_figures(
    sequences: Sequence[str],
    labels: np.ndarray,
    folds: Sequence[Fold],
    test: np.ndarray,
    results: list[dict],
    summary: dict,
) -> dict:
    """Return figures of composition alone, and in words where the model is not above them.

    The regressions of `LAMAR.data.composition.composition_scores` on GC content, dinucleotides and 4-mers are fitted on
    each fold's training records, those of its model, and score its held-out and the test part.

    Parameters
    ----------
    sequences : sequence of str, length n
        Of all records, as the model reads them.
    labels : int, shape (n,)
    folds : sequence of Fold
    test : int64, shape (n_test,)
    results : list of dict
        From `LAMAR.training.fold_training.train_fold`, one per fold.
    summary : dict
        Figures of the model, from `LAMAR.training.summaries.summarise`.

    Returns
    -------
    dict
        ``baselines``: for each of `FEATURES` ``cross_validation`` and ``test`` (mean, sd and n over folds) and
        ``test_ensemble`` (value of the mean over folds), in `ORDER_METRICS`. ``verdict``: sentences, where the AUROC of
        the model is below the best of these, or cannot be told from it on the test part (DeLong's test). Empty for
        labels that are not two classes, and where a fold is trained on one class.
    """
    if labels.ndim > 1 or any(set(np.unique(labels[fold.train]).tolist()) != {0, 1} for fold in folds):
        return {}
    baselines, on_test = {}, {}
    for name, compute in FEATURES.items():
        scores = _scores(name, compute(sequences), labels, folds, test)
        baselines[name] = _figures(scores, labels, folds, test)
        if len(test):
            on_test[name] = mean_on_test(scores)[:, 1]
    verdict = [*_below_on_heldout(baselines, summary), *_not_above_on_test(baselines, on_test, labels[test], results)]
    return {"baselines": baselines, "verdict": verdict}


def _scores(
    name: str, features: np.ndarray, labels: np.ndarray, folds: Sequence[Fold], test: np.ndarray
) -> list[dict[str, dict[str, np.ndarray]]]:
    """Return predictions, float64 (m, 2) by part, of one regression a fold, in the form of a fold's results."""
    scores = []
    for fold in folds:
        model = composition_model(name).fit(features[fold.train], labels[fold.train])
        rows = zip(PARTS, (fold.heldout, test))
        scores.append(
            {"predictions": {part: model.predict_proba(features[index]) for part, index in rows if len(index)}}
        )
    return scores


def _judged(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    values = scored(labels, predictions, "classification")
    return {name: values[name] for name in ORDER_METRICS}


def _figures(scores: list[dict], labels: np.ndarray, folds: Sequence[Fold], test: np.ndarray) -> dict[str, dict]:
    of_folds = [(fold.heldout, score["predictions"]) for fold, score in zip(folds, scores)]
    of_heldout = [_judged(labels[index], found["heldout"]) for index, found in of_folds if len(index)]
    figures = {"cross_validation": mean_sd(of_heldout)}
    if len(test):
        figures["test"] = mean_sd([_judged(labels[test], found["test"]) for _, found in of_folds])
        ensemble = _judged(labels[test], mean_on_test(scores))
        figures["test_ensemble"] = {name: {"value": value} for name, value in ensemble.items()}
    return figures


def _best(baselines: dict, key: str, entry: str) -> tuple[str, float] | None:
    """Return the features of the highest AUROC, and it; None where there is none."""
    values = {name: figures.get(key, {}).get("auroc", {}).get(entry, np.nan) for name, figures in baselines.items()}
    known = {name: value for name, value in values.items() if np.isfinite(value)}
    return max(known.items(), key=lambda item: item[1]) if known else None


def _below_on_heldout(baselines: dict, summary: dict) -> list[str]:
    best, model = _best(baselines, "cross_validation", "mean"), summary["cross_validation"].get("auroc")
    if best is None or model is None or not model["mean"] < best[1]:
        return []
    return [_sentence(f"mean held-out AUROC {model['mean']:.4f} is below", best)]


def _not_above_on_test(baselines: dict, on_test: dict, labels: np.ndarray, results: list[dict]) -> list[str]:
    best = _best(baselines, "test_ensemble", "value")
    if best is None:
        return []
    predictions = mean_on_test(results)
    area = scored(labels, predictions, "classification").get("auroc", np.nan)
    if not np.isfinite(area):
        return []
    if area < best[1]:
        return [_sentence(f"test AUROC {area:.4f} is below", best)]
    p_value = delong_test(labels, predictions[:, 1], on_test[best[0]]).p_value
    if p_value <= LEVEL:
        return []
    return [_sentence(f"test AUROC {area:.4f} cannot be told from", best, f" (DeLong p = {p_value:.2g})")]


def _sentence(beginning: str, best: tuple[str, float], end: str = "") -> str:
    return f"{beginning} that of {FEATURE_LABELS[best[0]]} alone, {best[1]:.4f}{end}"


def composition_lines(summary: dict) -> list[str]:
    """Return the ``composition`` of a run's figures as lines of its closing table."""
    composition, lines = summary.get("composition", {}), []
    for name, figures in composition.get("baselines", {}).items():
        parts = []
        for key, entry, part in (("cross_validation", "mean", "held-out"), ("test_ensemble", "value", "test")):
            values = [f"{metric} {figure[entry]:.4f}" for metric, figure in figures.get(key, {}).items()]
            if values:
                parts.append(f"{part} {' '.join(values)}")
        lines.append(f"{FEATURE_LABELS[name] + ' alone':<48}{'   '.join(parts)}")
    return lines + [f"NOT ABOVE COMPOSITION: {sentence}" for sentence in composition.get("verdict", ())]
