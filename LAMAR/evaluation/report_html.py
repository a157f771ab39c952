"""The page of evaluation runs: runs, results, figures, tests, data and their split, in one HTML document."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ..runs import page
from ..statistics.metrics import METRICS
from . import tables
from .registries import reference_representations
from .report_tables import Report, below_composition, composition_auroc, models_of
from .results import Results, method_values

__all__ = ["FigureOnPage", "below_remarks", "build_report"]

FEWEST_SETS = 6  # data sets: with five, no p-value of Wilcoxon's test is below 2 / 2^5 = 0.06


@dataclass(frozen=True)
class FigureOnPage:
    """A figure of the page.

    Attributes
    ----------
    title : str
    caption : str
    png : bytes
        The image.
    """

    title: str
    caption: str
    png: bytes


# --------------------------------------------------------------------------------------------------- sections


def _runs_section(results: Results) -> str:
    parts = []
    for folder, record in results.runs:
        rows = "".join(
            f'<tr><th scope="row">{page.text(name)}</th>'
            f'<td class="t">{page.text("–" if value is None else value)}</td></tr>'
            for name, value in _run_facts(record).items()
        )
        arguments = record.get("arguments") or {}
        items = "".join(f"<li>{page.text(name)}: {page.text(value)}</li>" for name, value in arguments.items())
        parts.append(
            f'<h3>{page.text(folder)}</h3><div class="scroll"><table>{rows}</table></div>'
            f"<details><summary>Arguments</summary><ul>{items}</ul></details>"
        )
        if record.get("status") not in (None, "finished"):
            parts.append(
                page.paragraph(f"This run is not finished ({record['status']}): figures may be missing.", kind="warn")
            )
    return "".join(parts)


def _run_facts(record: dict) -> dict:
    """Return what the page tells of a run, by heading, from its ``run.json``."""
    git, versions = record.get("git") or {}, record.get("versions") or {}
    commit = git.get("commit") or "not known"
    if git.get("dirty"):
        commit += " with uncommitted changes"
    command = record.get("command") or []
    return {
        "command": " ".join(map(str, command)) if isinstance(command, list) else command,
        "status": record.get("status"),
        "commit": commit,
        "seed": record.get("seed"),
        "started": record.get("started"),
        "finished": record.get("finished"),
        "wall time": f"{record['wall_time_s']:,} s" if record.get("wall_time_s") is not None else None,
        "platform": f"{record.get('platform')}, {record.get('cpu_count')} CPUs",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def below_remarks(report: Report) -> list[str]:
    """Return a sentence for each composition baseline that some models' scores do not exceed."""
    remarks = []
    for reference, rows in report.composition.groupby("reference", sort=False):
        if n_below := len(below_composition(rows)):
            what = f"scores of models are not above their data set's {reference} baseline"
            remarks.append(f"{n_below} of {len(rows)} {what}.")
    return remarks


def _overview(report: Report) -> str:
    values, ranks, facts = report.values, report.mean_ranks, report.rank_facts
    by_method = dict(zip(ranks["method"], ranks["mean_rank"]))
    rows = []
    for method in values:
        known = values[method].dropna()
        spread = (known.mean(), known.median(), known.min(), known.max()) if len(known) else (None,) * 4
        rows.append((method, len(known), *spread, (page.number(by_method.get(method), 2), by_method.get(method))))
    label = METRICS[report.metric].label
    head = ["method", "data sets", f"mean {label}", "median", "lowest", "highest", "mean rank"]
    remarks = [f"Mean ranks (1 is best) are over the {facts['n']} data sets that have all {len(ranks)} ranked methods."]
    remarks += [f"Not ranked, because it lacks data sets: {name}." for name in facts["left_out"]]
    if not math.isnan(facts["critical_difference"]):
        difference = f"{facts['critical_difference']:.2f}"
        remarks.append(f"Nemenyi test: ranks that differ by less than {difference} do not differ at 0.05.")
        remarks.append(f"Friedman test that all are equal: p = {page.number(facts['friedman_p'], 0)}.")
    return page.table(head, rows, f"{label} over data sets", {"mean rank"}) + page.paragraph(*remarks)


def _notes(report: Report) -> dict[tuple[str, str], str]:
    """Return what speaks against a score, by data set and method."""
    notes: dict[tuple[str, str], list[str]] = {}
    for row in report.summary.itertuples():
        if note := tables.unlearned_note(row.n_unlearned, row.n_repeats):
            notes[row.dataset, row.method] = [note]
    for key, rows in below_composition(report.composition).groupby(["dataset", "method"], sort=False):
        notes.setdefault(key, []).append(f"not above {', '.join(rows['reference'])}")
    return {key: "; ".join(parts) for key, parts in notes.items()}


def _results_section(report: Report) -> str:
    metric, notes = report.metric, _notes(report)
    label = METRICS[metric].label
    others = [name for name in tables.METRICS if name != metric]
    head = ["data set", "method", "note", label, "sd", "of mean prediction", "95 % interval", "repeats"]
    other_head = ["data set", "method", *(METRICS[name].label for name in others), "train", "test", "parameters"]
    rows, other_rows = [], []
    for row in report.summary.to_dict("records"):
        key = row["dataset"], row["method"]
        interval = "–" if page.missing(row["low"]) else f"{page.number(row['low'])} to {page.number(row['high'])}"
        note = page.Markup(f'<span class="flag">{page.text(notes[key])}</span>') if key in notes else ""
        rows.append((*key, note, row[metric], row["sd"], row["pooled"], (interval, row["low"]), int(row["n_repeats"])))
        sizes = [page.count(row[name]) for name in ("n_train", "n_test", "n_parameters")]
        other_rows.append((*key, *(row[name] for name in others), *sizes))
    explained = page.paragraph(
        f"{label} and the other metrics are means over repeats, sd their standard deviation. Repeats are also averaged",
        f"into one prediction per test record; its {label} has a bootstrap interval over test records. L5 is the block",
        "with index 5, from 0; a probe without a layer is that of the layer with the best validation score.",
        "A training learned next to nothing where its lowest validation loss is above 97 % of what class frequencies",
        "alone give: its score says nothing about the representation.",
    )
    scores = page.table(head, rows, "Each data set", {"method", "note"})
    return _overview(report) + explained + scores + page.table(other_head, other_rows, "Other metrics", {"method"})


def _figures_section(figures: Sequence[FigureOnPage]) -> str:
    parts = []
    for figure in figures:
        width = int.from_bytes(figure.png[16:20], "big") * 112 // 160  # pixels in the PNG header, at a fixed scale
        image = base64.b64encode(figure.png).decode("ascii")
        parts.append(
            f'<figure><h3>{page.text(figure.title)}</h3><div class="scroll" tabindex="0" role="region" '
            f'aria-label="{page.text(figure.title)}"><img width="{width}" alt="{page.text(figure.title)}" '
            f'src="data:image/png;base64,{image}"></div><figcaption>{page.text(figure.caption)}</figcaption></figure>'
        )
    return "".join(parts)


def _tests_section(report: Report) -> str:
    delong, parts = report.delong, ["<h3>Over data sets: Wilcoxon signed-rank</h3>", _wilcoxon(report)]
    references = [entry.label for entry in reference_representations()]
    parts.append("<h3>Within data sets: DeLong's test of AUROC</h3>")
    parts.append(
        page.paragraph(
            f"Each method on embeddings against {', '.join(references)} on the same test records, and against the same",
            "method on random weights; probabilities are averaged over repeats,",
            f"p-values Holm-adjusted over {delong['p_value'].notna().sum()} tests. A difference holds for these test",
            "records, not for another split or another training run.",
        )
    )
    head = ["data set", "method A", "method B", "records", "A − B", "95 % interval", "p", "p (Holm)"]
    rows = []
    for row in delong.itertuples(index=False):
        interval = f"{page.number(row.low)} to {page.number(row.high)}", row.low
        rows.append((*row[:5], interval, page.p_value(row.p_value), page.p_value(row.p_holm)))
    return "".join(parts) + page.table(head, rows, "", {"method A", "method B", "p", "p (Holm)"})


def _wilcoxon(report: Report) -> str:
    """Return the tests of pairs that have data sets enough for a p-value below 0.05, and what they can tell."""
    wilcoxon, n_sets = report.wilcoxon, int(report.wilcoxon["n"].max()) if len(report.wilcoxon) else 0
    m, smallest = int(wilcoxon["p_value"].notna().sum()), wilcoxon["smallest_p"].min()
    tested = wilcoxon[wilcoxon["n"] >= FEWEST_SETS]
    if tested.empty:
        least = f", because with {n_sets}, no p-value can be below {page.number(smallest, 0)}" if n_sets else ""
        return page.paragraph(f"Not shown: pairs of methods are tested from {FEWEST_SETS} data sets on{least}.")
    remarks = page.paragraph(
        f"{METRICS[report.metric].label} (mean over repeats) of every pair of methods, paired by data set; two-sided,",
        f"exact and Holm-adjusted over {m} pairs. Below 0.05 after Holm: {(wilcoxon['p_holm'] < 0.05).sum()}.",
        f"Pairs with fewer than {FEWEST_SETS} data sets in common are left out." if len(tested) < len(wilcoxon) else "",
    )
    if m * smallest >= 0.05:
        limit = f"Too few data sets: with {n_sets}, no p-value can be below {page.number(smallest, 0)},"
        holm = f"nor below {page.number(min(1.0, m * smallest), 0)} once adjusted as the smallest of {m}."
        remarks += page.paragraph(limit, holm, "Absence of a significant difference is no equality.", kind="warn")
    head = ["method A", "method B", "data sets", "median A − B", "A better", "B better", "p", "p (Holm)", "smallest p"]
    counts = tested[["method_a", "method_b", "n", "median_difference", "a_better", "b_better"]]
    p_values = tested[["p_value", "p_holm", "smallest_p"]]
    rows = [
        (*row, *map(page.p_value, p))
        for row, p in zip(counts.itertuples(index=False), p_values.itertuples(index=False))
    ]
    return remarks + page.table(head, rows, "", {"method B", "p", "p (Holm)", "smallest p"})


def _data_section(results: Results, report: Report) -> str:
    values = method_values(results, "auroc")[models_of(results)]
    split_rows = [_split_row(name, one) for _, name, one in results.reports]
    head = ["data set", "method", "train", "dev", "test", "sequences in two parts", "longest shared run (nt)"]
    parts = ["<h3>How the data were split</h3>"]
    parts.append(page.table([*head, "test records sharing 30 nt with train"], split_rows, "", {"method"}))
    parts.append("<h3>How similar positives and negatives are</h3>")
    parts.append(_baseline_remarks(report))
    head = ["data set", "positives", "negatives", "GC, positives", "GC, negatives", "GC, KS", "largest difference"]
    head += ["AUROC of GC", "AUROC of dinucleotides", "best AUROC of a model"]
    parts.append(page.paragraph("A score that composition alone achieves is no evidence of more than composition."))
    rows = [_composition_row(name, one, values) for _, name, one in results.reports]
    return "".join(parts) + page.table(head, rows)


def _split_row(name: str, report: dict) -> tuple:
    split = report.get("split") or {}
    sizes = split.get("sizes") or {}
    counts = [page.count(sizes.get(part)) for part in ("train", "dev", "test")]
    counts += [page.count(split.get("duplicates_across_parts")), page.count(split.get("longest_shared_run"))]
    shared = split.get("test_sharing_30mer")
    return name, split.get("method") or "–", *counts, ("–" if shared is None else f"{shared:.1%}", shared)


def _composition_row(name: str, report: dict, values: pd.DataFrame) -> list:
    composition = report.get("composition") or {}
    sides = [composition.get(side) or {} for side in ("positives", "negatives")]
    largest = composition.get("largest_dinucleotide_difference") or {}
    row = [name, *(page.count(side.get("n")) for side in sides)]
    row += [(side.get("gc") or {}).get("mean") for side in sides]
    row += [composition.get("gc_ks"), f"{largest.get('name', '–')} {page.number(largest.get('difference'))}"]
    for features in ("gc", "dinucleotide"):
        judged = composition_auroc(report, features)
        value, low, high = (page.number(judged.get(key)) for key in ("value", "low", "high"))
        row.append((f"{value} [{low}, {high}]", judged.get("value")))
    split = (report.get("split") or {}).get("method")
    key = name if name in values.index else f"{name} [{split}]"
    known = values.loc[key].dropna() if key in values.index else pd.Series(dtype=float)
    best = (f"{page.number(known.max())} ({known.idxmax()})", known.max()) if len(known) else ("–", None)
    return [*row, best]


def _baseline_remarks(report: Report) -> str:
    label, judged, remarks = METRICS[report.metric].label, report.composition, []
    for reference, rows in judged.groupby("reference", sort=False):
        if unknown := rows["dataset"][rows["exceeds"].isna()].nunique():
            text = f"Data sets without a value of the {reference} baseline ({label}): {unknown}."
            remarks.append(page.paragraph(text, kind="warn"))
    below = below_composition(judged)
    for (dataset, reference), rows in below.groupby(["dataset", "reference"], sort=False):
        listed = ", ".join(f"{row.method} {page.number(row.value)}" for row in rows.itertuples())
        baseline = f"the {reference} baseline ({label}), {page.number(rows['baseline'].iloc[0])}"
        remarks.append(page.paragraph(f"{dataset}: not above {baseline}: {listed}.", kind="warn"))
    if below.empty and judged["exceeds"].notna().any():
        text = f"Every model's score is above the baselines of composition ({label}) wherever those were computed."
        remarks.append(page.paragraph(text))
    return "".join(remarks)


def build_report(results: Results, report: Report, figures: Sequence[FigureOnPage], notice: str = "") -> str:
    """Return the page of evaluation runs as one HTML document; all text is escaped, images are inline.

    Parameters
    ----------
    results : Results
    report : Report
        Tables of these results.
    figures : sequence of FigureOnPage
    notice : str
        Warning above all else.
    """
    sections = {
        "runs": ("What was run", _runs_section(results)),
        "results": ("Results", _results_section(report)),
        "figures": ("Figures", _figures_section(figures)),
        "tests": ("Tests", _tests_section(report)),
        "data": ("Data: split and composition", _data_section(results, report)),
    }
    n, label = len(results.datasets), METRICS[report.metric].label
    lead = f"{n} data set{'s' * (n != 1)}, {len(results.methods)} methods, compared by {label} on test records."
    if unlearned := int(report.summary["n_unlearned"].sum()):
        lead += f" Trainings that learned next to nothing: {unlearned}."
    return page.document("Evaluation of embeddings", " ".join([lead, *below_remarks(report)]), sections, notice)
