"""Whole runs of attribution: records, or variants, in; a folder of tables, arrays, figures and tracks out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from ..runs import RunFolder, storage
from .explanation_files import ReportOptions, explain_records, write_motifs, write_tables
from .explanations import ExplainOptions, Explanation, check_options, explain
from .run_record import RunRecord, separate_records, warn_of_length
from .variant_effects import COLUMNS, score_variants
from .variant_windows import VariantWindow, load_variants
from .variants import LeftOut

__all__ = ["AttributionRun", "VariantOptions", "run_attribution", "run_variants"]

logger = logging.getLogger(__name__)

VARIANTS_PER_UNIT = 64


@dataclass(frozen=True)
class AttributionRun:
    """Results of `run_attribution`.

    Attributes
    ----------
    explanations : list of Explanation
        One per record that was explained.
    left_out : dict of str
        Why a record cannot be explained, by name.
    motif : dict or None
        See `LAMAR.interpretation.explanation_files.write_motifs`.
    """

    explanations: list[Explanation] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    motif: dict[str, Any] | None = None


@dataclass(frozen=True)
class VariantOptions:
    """How variants are placed and scored.

    Attributes
    ----------
    strand : {"+", "-", "both"}
        Strand of variants that have none, see `LAMAR.interpretation.variants.read_variants`.
    variant_window : int
        Nucleotides around a variant.
    ranks : bool
        Whether each effect is ranked among all substitutions of its window.
    """

    strand: str = "+"
    variant_window: int = 101
    ranks: bool = True


def run_attribution(
    model: torch.nn.Module,
    records: Sequence[tuple[str, str]],
    output_dir: str | Path,
    options: ExplainOptions | None = None,
    *,
    report: ReportOptions | None = None,
    motif_method: str | None = None,
    kmer: int = 5,
    record: RunRecord | None = None,
) -> AttributionRun:
    """Explain records with several methods and write the results to a folder; an interrupted run resumes.

    Parameters
    ----------
    model : Module
        A classifier, see `LAMAR.interpretation.classifiers.load_classifier`.
    records : sequence of (str, str)
        Name and normalized sequence of each record; names differ.
    output_dir : path
        Gets ``records.csv``, ``METHOD.csv``, ``top.csv``, ``arrays/``, ``figures/``, ``tracks/``, ``run.json``, and
        with ten records or more that the model assigns to the class ``aligned.csv``, ``kmers.csv``, ``seqlets.csv``,
        ``motif.csv``. Nothing is written when no record can be explained.
    options : ExplainOptions, optional
        Methods and their parameters.
    report : ReportOptions, optional
        What is listed and drawn.
    motif_method : str, optional
        Method from which motifs are taken; by default the first.
    kmer : int, default 5
        Length of k-mers.
    record : RunRecord, optional
        What ``run.json`` records.

    Returns
    -------
    AttributionRun

    Raises
    ------
    InputError
        For options that the model or a method refuses, before anything is written, and for a folder that holds
        another run.
    """
    options, report, record = options or ExplainOptions(), report or ReportOptions(), record or RunRecord()
    check_options(model, options)
    window_size = options.window_size if "window" in options.methods else None
    kept, left_out = separate_records(records, model.config, window_size=window_size, region=options.region)
    if not kept:
        return AttributionRun(left_out=left_out)
    with record.open(output_dir) as folder:
        explanations = explain_records(folder, kept, lambda chunk, label: explain(model, chunk, options, label), report)
        write_tables(folder, explanations, options.methods, report.top)
        method = motif_method or options.methods[0]
        motif = write_motifs(folder, explanations, options.methods, method, kmer, report.notice)
        summary = {"records": len(kept), "left_out": left_out, "motif": motif, "collapsed": record.collapsed}
        folder.finish(summary)
    return AttributionRun(explanations, left_out, motif)


def run_variants(
    model: torch.nn.Module,
    vcf: str | Path,
    genome: str | Path,
    output_dir: str | Path,
    options: ExplainOptions | None = None,
    *,
    variants: VariantOptions | None = None,
    report: ReportOptions | None = None,
    record: RunRecord | None = None,
) -> list[dict[str, Any]]:
    """Score the variants of a file and write ``variants.csv`` to a folder; an interrupted run resumes.

    Variants that cannot be scored are listed in ``left_out.csv``, with reason and what was found.

    Parameters
    ----------
    model : Module
        A classifier, see `LAMAR.interpretation.classifiers.load_classifier`.
    vcf : path
        VCF or table, see `LAMAR.interpretation.variants.read_variants`.
    genome : path
        FASTA of the genome, or of regions with coordinates in their headers.
    output_dir : path
    options : ExplainOptions, optional
        ``target``, ``scale``, ``token_budget`` and ``device`` are read.
    variants : VariantOptions, optional
    report : ReportOptions, optional
        ``progress`` is read.
    record : RunRecord, optional
        What ``run.json`` records.

    Returns
    -------
    list of dict
        Rows of the table, columns `LAMAR.interpretation.variant_effects.COLUMNS`.

    Raises
    ------
    InputError
        As `LAMAR.interpretation.variant_windows.load_variants`, before anything is written.
    """
    options, report, record = options or ExplainOptions(), report or ReportOptions(), record or RunRecord()
    variants = variants or VariantOptions()
    check_options(model, replace(options, methods=()))
    placed, left_out = load_variants(vcf, genome, variants.strand, variants.variant_window)
    warn_of_length((window.sequence for window in placed), model.config)
    with record.open(output_dir) as folder:
        rows = _score_in_units(folder, model, placed, len(left_out), options, variants.ranks, report.progress)
        storage.write_csv(folder.file("variants.csv"), rows, COLUMNS)
        if left_out:
            columns = [one.name for one in fields(LeftOut)]
            storage.write_csv(folder.file("left_out.csv"), map(asdict, left_out), columns)
            logger.info("variants left out are listed in %s", folder.path / "left_out.csv")
        folder.finish({"variants": len(rows), "left_out": len(left_out), "collapsed": record.collapsed})
    return rows


def _score_in_units(
    folder: RunFolder,
    model: torch.nn.Module,
    placed: Sequence[VariantWindow],
    n_left_out: int,
    options: ExplainOptions,
    ranks: bool,
    progress: bool,
) -> list[dict[str, Any]]:
    """Return the rows of all variants, those of earlier starts read from the run's units."""
    # Progress counts variants as the file has them: a variant on both strands is one.
    numbers_by_variant: dict[tuple, int] = {}
    numbers = [
        numbers_by_variant.setdefault((window.variant.place, window.variant.alt), len(numbers_by_variant) + 1)
        for window in placed
    ]
    n_read = len(numbers_by_variant) + n_left_out
    left_out = f", {n_left_out} left out" if n_left_out else ""
    rows: list[dict[str, Any]] = []
    for first in range(0, len(placed), VARIANTS_PER_UNIT):
        chunk, unit = placed[first : first + VARIANTS_PER_UNIT], f"variants {first}"
        last = numbers[first + len(chunk) - 1]
        saved = folder.find_unit(unit)
        if saved is None or not _are_rows_of(saved["rows"], chunk):
            chunk_rows = score_variants(
                model,
                chunk,
                target=options.target,
                scale=options.scale,
                ranks=ranks,
                token_budget=options.token_budget,
                device=options.device,
                progress=f"variants {numbers[first]}-{last} of {n_read}" if progress else None,
            )
            saved = folder.save_unit(unit, {"rows": chunk_rows})
            logger.info("scored %d of %d variants%s", last, n_read, left_out)
        rows += saved["rows"]
    return rows


def _are_rows_of(rows: list[dict[str, Any]], chunk: Sequence[VariantWindow]) -> bool:
    """Return whether saved rows are those of the variants; an earlier version may have left out others."""
    names = ("chrom", "pos", "ref", "alt", "strand")
    return [[row[name] for name in names] for row in rows] == [
        [getattr(window.variant, name) for name in names] for window in chunk
    ]
