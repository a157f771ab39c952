"""Files of explanations: units that survive an interruption, arrays, figures, tables, genome tracks, motifs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import runs
from ..alphabet import NUCLEOTIDES
from ..data.records import record_stem
from ..runs import storage
from ..runs.figures import save_figure
from . import attribution_figures as plots
from . import motifs
from .attribution_tables import TOP_COLUMNS, bedgraph_rows, record_rows, top_rows, write_bedgraph
from .explanations import Explanation
from .methods import METHODS

__all__ = ["MIN_RECORDS", "ReportOptions", "draw_record", "explain_records", "write_motifs", "write_tables"]

logger = logging.getLogger(__name__)

CHUNK = 8  # records per unit: what an interruption can lose
MIN_RECORDS = 10  # fewer records give no motif


@dataclass(frozen=True)
class ReportOptions:
    """Which results of a run are listed and drawn.

    Attributes
    ----------
    top : int
        Positions or pairs listed per record.
    shaded : int
        Strongest positions that are shaded in each track.
    n_figures : int
        Records that are drawn, from the first on.
    notice : str
        Appended to titles of figures, such as " (SYNTHETIC demo data)".
    progress : bool
        Whether progress is shown, see `LAMAR.runs.progress.Progress`.
    """

    top: int = 10
    shaded: int = 10
    n_figures: int = 20
    notice: str = ""
    progress: bool = False


def explain_records(
    run_folder: runs.RunFolder,
    records: Sequence[tuple[str, str]],
    explain: Callable[[Sequence[tuple[str, str]], str | None], list[Explanation]],
    report: ReportOptions,
) -> list[Explanation]:
    """Explain the records that have no saved result yet, in chunks, and write arrays and figures as they are ready.

    Parameters
    ----------
    run_folder : RunFolder
        An open run.
    records : sequence of (str, str)
        Name and normalized sequence of each record.
    explain : callable
        Takes records and the beginning of the label of progress bars, or None.
    report : ReportOptions

    Returns
    -------
    list of Explanation
        One per record, in their order.
    """
    explanations: list[Explanation] = []
    arrays = run_folder.folder("arrays")
    for first in range(0, len(records), CHUNK):
        chunk, unit = records[first : first + CHUNK], f"records {first}"
        n_done = first + len(chunk)
        plain = run_folder.find_unit(unit)
        if plain is None:
            label = f"records {first + 1}-{n_done} of {len(records)}, " if report.progress else None
            results = explain(chunk, label)
            plain = run_folder.save_unit(unit, {"explanations": [result.to_plain() for result in results]})
            logger.info("explained %d of %d records", n_done, len(records))
        for i, explanation in enumerate(map(Explanation.from_plain, plain["explanations"]), start=first):
            explanations.append(explanation)
            stem = record_stem(i, explanation.record)
            if not (arrays / f"{stem}.npz").exists():
                with storage.atomic_write(arrays / f"{stem}.npz", "wb") as handle:
                    np.savez_compressed(handle, **explanation.arrays())
            if i < report.n_figures:
                draw_record(run_folder.folder("figures"), stem, explanation, report.shaded, report.notice)
    if len(records) > report.n_figures:
        logger.info("figures: drawn for the first %d of %d records", report.n_figures, len(records))
    return explanations


def draw_record(folder: Path, stem: str, explanation: Explanation, shaded: int = 10, notice: str = "") -> None:
    """Draw the tracks of one record, and the heat map of its mutagenesis, unless an earlier start did.

    Names of the figures of a long sequence contain the range that they show.
    """
    pages = plots.pages(explanation.end - explanation.start)
    start = explanation.start
    names = [stem] if len(pages) == 1 else [f"{stem}_{start + first}-{start + last}" for first, last in pages]
    call = "" if explanation.task == "regression" else f": p = {explanation.score('probability'):.3f}"
    title = f"{explanation.record}, class {explanation.target}{call}{notice}"

    def is_missing(kind: str) -> bool:
        # The SVG is written last.
        return not all((folder / f"{name}_{kind}.svg").exists() for name in names)

    drawn = {}
    if is_missing("tracks"):
        drawn["tracks"] = plots.plot_tracks(explanation, title, shaded)
    if explanation.effects and is_missing("mutagenesis"):
        effects = explanation.effects[explanation.scale]
        drawn["mutagenesis"] = plots.plot_mutagenesis(effects, explanation.explained, start, explanation.scale, title)
    for kind, figures in drawn.items():
        for name, figure in zip(names, figures):
            save_figure(figure, folder / f"{name}_{kind}")


def write_tables(
    run_folder: runs.RunFolder, explanations: Sequence[Explanation], methods: Sequence[str], top: int = 10
) -> None:
    """Write ``records.csv``, ``top.csv``, one ``METHOD.csv`` per method, and genome tracks.

    Genome tracks, ``tracks/METHOD.{plus,minus}.bedgraph``, hold the records with coordinates in their names.
    """
    storage.write_csv(run_folder.file("records.csv"), record_rows(explanations))
    storage.write_csv(run_folder.file("top.csv"), top_rows(explanations, top), TOP_COLUMNS)
    for method in methods:
        rows = (row for explanation in explanations for row in explanation.rows(method))
        storage.write_csv(run_folder.file(f"{method}.csv"), rows, METHODS[method].columns)
        for strand, word in (("+", "plus"), ("-", "minus")):
            if track := bedgraph_rows(explanations, method, strand):
                write_bedgraph(run_folder.folder("tracks") / f"{method}.{word}.bedgraph", track, f"{method} {word}")


def write_motifs(
    run_folder: runs.RunFolder,
    explanations: Sequence[Explanation],
    methods: Sequence[str],
    method: str,
    k: int = 5,
    notice: str = "",
) -> dict | None:
    """Write what the records have in common that the model assigns to the class.

    These are records of probability 0.5 or more; in regression all records. The files are ``aligned.csv``,
    ``kmers.csv``, ``seqlets.csv``, ``motif.csv`` and figures of the first and the last, see
    `LAMAR.interpretation.motifs`.

    Parameters
    ----------
    run_folder : RunFolder
        An open run.
    explanations : sequence of Explanation
    methods : sequence of str
        Methods whose mean tracks are aligned.
    method : str
        Method from which sites, k-mers and seqlets are taken.
    k : int, default 5
        Length of k-mers.
    notice : str, optional
        Appended to titles.

    Returns
    -------
    dict or None
        ``method``, ``records``, the first ten ``kmers`` and the motif's ``consensus``; None for fewer than ten
        records, or where no window scores higher than the others.
    """
    called = [result for result in explanations if result.task == "regression" or result.score("probability") >= 0.5]
    if len(called) < MIN_RECORDS:
        logger.info("no motif: %d records that the model calls, wanted %d or more", len(called), MIN_RECORDS)
        return None
    sequences, tracks = [result.explained for result in called], [result.tracks[method] for result in called]
    aligned = motifs.align_on_strongest(
        {name: [result.tracks[name] for result in called] for name in methods}, k, by=method
    )
    kmers = motifs.enriched_kmers(sequences, tracks, k)
    seqlets = motifs.find_seqlets(tracks, k + 3)
    storage.write_csv(run_folder.file("aligned.csv"), aligned)
    storage.write_csv(run_folder.file("kmers.csv"), kmers, list(kmers.columns))
    storage.write_csv(run_folder.file("seqlets.csv"), _seqlet_rows(called, seqlets), _SEQLET_COLUMNS)
    figures = run_folder.folder("figures")
    title = f"{len(called)} records, {METHODS[method].label}{notice}"
    if len(aligned):
        save_figure(plots.plot_aligned(aligned, title), figures / "aligned")
    if not len(kmers):
        return None
    motif = motifs.align_seqlets(sequences, seqlets, kmers["kmer"].iat[0], width=k + 5)
    storage.write_csv(run_folder.file("motif.csv"), _motif_rows(motif))
    save_figure(plots.plot_motif(motif.frequencies, motif.information, len(motif.instances), title), figures / "motif")
    top = kmers["kmer"].head(10).tolist()
    return {"method": method, "records": len(called), "kmers": top, "consensus": motif.consensus}


_SEQLET_COLUMNS = ("record", "start", "end", "sequence", "score")


def _seqlet_rows(called: Sequence[Explanation], seqlets: Sequence[motifs.Seqlet]) -> list[dict]:
    rows = []
    for seqlet in seqlets:
        explanation = called[seqlet.record]
        start, end = explanation.start + seqlet.start, explanation.start + seqlet.end
        values = (explanation.record, start, end, explanation.sequence[start:end], seqlet.score)
        rows.append(dict(zip(_SEQLET_COLUMNS, values)))
    return rows


def _motif_rows(motif: motifs.Motif) -> list[dict]:
    return [
        {"position": i, **dict(zip(NUCLEOTIDES, frequencies)), "bits": float(bits), "n": int(counts.sum())}
        for i, (frequencies, bits, counts) in enumerate(
            zip(motif.frequencies.tolist(), motif.information, motif.counts), start=1
        )
    ]
