"""Whole runs of variants: a VCF in, ``variants.csv`` and ``left_out.csv`` out, resumable in between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np

from ..interpretation.run_record import RunRecord
from ..interpretation.variant_windows import VariantWindow
from ..interpretation.variants import LeftOut, Variant
from ..runs import RunFolder, storage
from ..runs.progress import Progress
from .background import Background, calibrate
from .predictor import Predictor
from .variants import score_windows, variant_rows

__all__ = ["VariantRun", "predict_variants"]

logger = logging.getLogger(__name__)

VARIANTS_NAME, LEFT_OUT_NAME = "variants.csv", "left_out.csv"
VARIANTS_PER_UNIT = 200
_SCORES = "scores"


@dataclass(frozen=True)
class VariantRun:
    """Outcome of `predict_variants`.

    Attributes
    ----------
    n_variants, n_left_out : int
        Variants that were scored, once for each strand, and those that were not.
    strongest : list of (VariantWindow, str, float)
        Variants with the largest changes, with track and change; the largest first, one track of each.
    """

    n_variants: int
    n_left_out: int
    strongest: list[tuple[VariantWindow, str, float]]


def predict_variants(
    placed: Sequence[VariantWindow],
    left_out: Sequence[LeftOut],
    predictor: Predictor,
    output_dir: str,
    record: RunRecord,
    *,
    genes_of: Callable[[Variant], str] | None = None,
    background: Background | None = None,
) -> VariantRun:
    """Score variants for every track and write ``variants.csv`` and, where there are any, ``left_out.csv``.

    Scores are saved `VARIANTS_PER_UNIT` variants at a time, which a later start of the same run does not predict again.

    Parameters
    ----------
    placed, left_out
        As `LAMAR.interpretation.variant_windows.load_variants` returns them.
    predictor : Predictor
    output_dir : path
    record : RunRecord
        What ``run.json`` records.
    genes_of : callable, optional
        As for `LAMAR.prediction.variants.variant_rows`.
    background : Background, optional
        What to calibrate the predictor on before anything is predicted.

    Raises
    ------
    InputError
        The folder holds another run.
    """
    starts = range(0, len(placed), VARIANTS_PER_UNIT)
    with record.open(output_dir) as run:
        if background is not None:
            calibrate(run, predictor, background)
        with Progress(len(placed), "variants") as progress:
            for first in starts:
                _finish_chunk(placed[first : first + VARIANTS_PER_UNIT], first, predictor, run, progress)
        strongest: list[tuple[VariantWindow, str, float]] = []

        def rows() -> Iterator[dict]:
            for first in starts:
                chunk = placed[first : first + VARIANTS_PER_UNIT]
                scores = np.load(_score_file(run, first), allow_pickle=False)
                strongest[:] = _strongest([*strongest, *_largest(predictor, chunk, scores)])
                yield from variant_rows(predictor, chunk, scores, genes_of)

        storage.write_csv(run.file(VARIANTS_NAME), rows())
        if left_out:
            columns = [one.name for one in fields(LeftOut)]
            storage.write_csv(run.file(LEFT_OUT_NAME), map(asdict, left_out), columns)
        run.finish({"variants": len(placed), "left_out": len(left_out), "collapsed": record.collapsed})
    return VariantRun(len(placed), len(left_out), strongest)


def _score_file(run: RunFolder, first: int):
    return run.folder(_SCORES, is_work=True) / f"variants_{first:08d}.npy"


def _finish_chunk(
    chunk: Sequence[VariantWindow], first: int, predictor: Predictor, run: RunFolder, progress: Progress
) -> None:
    """Score variants and save them, unless an earlier start did."""
    name, path = f"variants {first}", _score_file(run, first)
    keys = [[window.variant.place, window.variant.alt, window.variant.strand] for window in chunk]
    saved = run.find_unit(name)
    if saved is not None and saved["variants"] == keys:
        if storage.is_intact(path, saved["sha256"]):
            progress.skip(len(chunk))
            return
        logger.warning("%s: missing or damaged, computed again", path)
    with storage.atomic_write(path, "wb") as handle:
        np.save(handle, score_windows(predictor, chunk))
    progress.advance(len(chunk))
    run.save_unit(name, {"variants": keys, "sha256": storage.sha256_file(path)})


def _largest(
    predictor: Predictor, chunk: Sequence[VariantWindow], scores: np.ndarray
) -> Iterator[tuple[VariantWindow, str, float]]:
    """Yield each variant with the track that it changes most, and the change."""
    changes = scores[:, 1] - scores[:, 0]
    for i, column in enumerate(np.abs(changes).argmax(axis=1).tolist()):
        yield chunk[i], predictor.names[column], float(changes[i, column])


def _strongest(found: list[tuple[VariantWindow, str, float]], most: int = 5) -> list[tuple[VariantWindow, str, float]]:
    return sorted(found, key=lambda one: -abs(one[2]))[:most]
