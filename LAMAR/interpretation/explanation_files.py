"""What a run writes about explanations: units that a kill cannot lose, arrays, figures, tables, tracks, motifs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .. import runs
from ..alphabet import NUCLEOTIDES
from ..data.records import record_stem
from ..runs import storage
from ..runs.figures import save_figure
from . import attribution_figures as plots
from . import motifs as motifs
from .explanations import COLUMNS, TOP_COLUMNS, Explanation, bedgraph_rows, record_rows, top_rows, write_bedgraph

__all__ = ["LEAST_RECORDS", "draw_record", "explain_records", "write_motifs", "write_tables"]

logger = logging.getLogger(__name__)

CHUNK = 8  # records of a unit: what a kill can lose
LEAST_RECORDS = 10  # from which on what they have in common is looked for


def explain_records(
    run_folder: runs.RunFolder,
    records: Sequence[tuple[str, str]],
    explain: Callable[[Sequence[tuple[str, str]], str | None], list[Explanation]],
    *,
    n_figures: int = 20,
    top: int = 10,
    notice: str = "",
    progress: bool = False,
) -> list[Explanation]:
    """Explain what is not done yet, chunk by chunk; arrays and figures are written on the way.

    Parameters
    ----------
    explain
        Takes records of (name, normalized sequence) and the label of its progress bars, or None.
    n_figures, top, notice
        Records that are drawn, the first ones; see :func:`draw_record`.
    progress
        Whether there are progress bars.
    """
    explanations: list[Explanation] = []
    arrays = run_folder.folder("arrays")
    for first in range(0, len(records), CHUNK):
        chunk, unit = records[first : first + CHUNK], f"records {first}"
        done = first + len(chunk)
        if run_folder.done(unit):
            plain = run_folder.load_unit(unit)
        else:
            label = f"records {first + 1}-{done} of {len(records)}, " if progress else None
            plain = run_folder.save_unit(unit, {"explanations": [one.to_plain() for one in explain(chunk, label)]})
            logger.info("explained %d of %d records", done, len(records))
        for i, one in enumerate(map(Explanation.from_plain, plain["explanations"]), start=first):
            explanations.append(one)
            stem = record_stem(i, one.record)
            if not (arrays / f"{stem}.npz").exists():
                with storage.atomic_write(arrays / f"{stem}.npz", "wb") as handle:
                    np.savez_compressed(handle, **one.arrays())
            if i < n_figures:
                draw_record(run_folder.folder("figures"), stem, one, top, notice)
    if len(records) > n_figures:
        logger.info("figures: drawn for the first %d of %d records", n_figures, len(records))
    return explanations


def draw_record(folder: Path, stem: str, found: Explanation, top: int = 10, notice: str = "") -> None:
    """Track figures, and the heat map of mutagenesis, of one record, where they are not there from an earlier start.

    Figures of a long sequence have the range that they show in their names.
    """
    pages = plots.pages(found.end - found.start)
    names = [stem] if len(pages) == 1 else [f"{stem}_{found.start + a}-{found.start + b}" for a, b in pages]
    call = "" if found.task == "regression" else f": p = {found.score('probability'):.3f}"
    title = f"{found.record}, class {found.target}{call}{notice}"

    def missing(kind: str) -> bool:
        # The SVG is written last.
        return not all((folder / f"{name}_{kind}.svg").exists() for name in names)

    drawn = {}
    if missing("tracks"):
        drawn["tracks"] = plots.plot_tracks(found, title, top)
    if found.effects and missing("mutagenesis"):
        effects = found.effects[found.scale]
        drawn["mutagenesis"] = plots.plot_mutagenesis(effects, found.explained, found.start, found.scale, title)
    for kind, figures in drawn.items():
        for name, figure in zip(names, figures):
            save_figure(figure, folder / f"{name}_{kind}")


def write_tables(
    run_folder: runs.RunFolder, explanations: Sequence[Explanation], methods: Sequence[str], top: int = 10
) -> None:
    """``records.csv``, ``METHOD.csv``, ``top.csv``, and ``tracks/METHOD.{plus,minus}.bedgraph`` of records with
    coordinates in their names."""
    storage.write_csv(run_folder.file("records.csv"), record_rows(explanations))
    storage.write_csv(run_folder.file("top.csv"), top_rows(explanations, top), TOP_COLUMNS)
    for method in methods:
        rows = (row for found in explanations for row in found.rows(method))
        storage.write_csv(run_folder.file(f"{method}.csv"), rows, COLUMNS[method])
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
    """What the records have in common that the model calls (probability of the class at least 0.5; all in regression).

    Writes ``aligned.csv``, ``kmers.csv``, ``seqlets.csv``, ``motif.csv`` and figures of the first and the last; see
    :mod:`LAMAR.interpretation.motifs`. ``method`` is the one that sites, k-mers and seqlets are taken from.

    Returns
    -------
    method, records, the first ten k-mers and the motif's consensus; None where fewer than ten records are called, or no
    window is above the others.
    """
    called = [one for one in explanations if one.task == "regression" or one.score("probability") >= 0.5]
    if len(called) < LEAST_RECORDS:
        logger.info("no motif: %d records that the model calls, wanted %d or more", len(called), LEAST_RECORDS)
        return None
    sequences, tracks = [one.explained for one in called], [one.tracks[method] for one in called]
    aligned = motifs.align_on_strongest({name: [one.tracks[name] for one in called] for name in methods}, k, by=method)
    kmers = motifs.enriched_kmers(sequences, tracks, k)
    seqlets = motifs.find_seqlets(tracks, k + 3)
    columns = ("record", "start", "end", "sequence", "score")
    rows = [
        (
            called[one.record].record,
            called[one.record].start + one.start,
            called[one.record].start + one.end,
            sequences[one.record][one.start : one.end],
            one.score,
        )
        for one in seqlets
    ]
    storage.write_csv(run_folder.file("aligned.csv"), aligned)
    storage.write_csv(run_folder.file("kmers.csv"), kmers, list(kmers.columns))
    storage.write_csv(run_folder.file("seqlets.csv"), (dict(zip(columns, row)) for row in rows), columns)
    figures = run_folder.folder("figures")
    title = f"{len(called)} records, {plots.TITLES[method]}{notice}"
    if len(aligned):
        save_figure(plots.plot_aligned(aligned, title), figures / "aligned")
    if not len(kmers):
        return None
    motif = motifs.align_seqlets(sequences, seqlets, kmers["kmer"].iat[0], width=k + 5)
    table = [
        {"position": i, **dict(zip(NUCLEOTIDES, frequencies)), "bits": float(bits), "n": int(counts.sum())}
        for i, (frequencies, bits, counts) in enumerate(
            zip(motif.frequencies.tolist(), motif.information, motif.counts), start=1
        )
    ]
    storage.write_csv(run_folder.file("motif.csv"), table)
    save_figure(plots.plot_motif(motif.frequencies, motif.information, len(motif.instances), title), figures / "motif")
    top = kmers["kmer"].head(10).tolist()
    return {"method": method, "records": len(called), "kmers": top, "consensus": motif.consensus}
