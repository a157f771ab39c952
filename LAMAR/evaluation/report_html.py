"""The page of evaluation runs: runs, results, figures, tests, data and their split, in one HTML document."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ..runs import page
from ..statistics.metrics import METRICS
from ..statistics.rank_tests import mean_ranks
from . import tables
from .registries import REPRESENTATIONS, reference_representations, select_representations
from .results import Results, method_values

__all__ = ["FigureOnPage", "above_dinucleotide", "build_report"]


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


def above_dinucleotide(results: Results, metric: str = "auroc") -> pd.DataFrame:
    """Compare each model's score with that of dinucleotides alone on the same data set.

    The baseline is the ``dinucleotide`` method of the table or, for AUROC where that was not run, the figure in
    ``split_report.json``.

    Parameters
    ----------
    results : Results
    metric : str

    Returns
    -------
    DataFrame
        Columns dataset, method, value, baseline, exceeds (None without a baseline).
    """
    values = method_values(results, metric)
    reported = {name: _judged(report, "dinucleotide").get("value") for _, name, report in results.reports}
    models = _models(results)
    rows = []
    for dataset, row in values.iterrows():
        baseline = row.get(REPRESENTATIONS["dinucleotide"].label, math.nan)
        if math.isnan(baseline) and metric == "auroc":
            value = reported.get(dataset, reported.get(dataset.rpartition(" [")[0]))
            baseline = math.nan if value is None else float(value)
        for method in models:
            if not math.isnan(row[method]):
                exceeds = None if math.isnan(baseline) else bool(row[method] > baseline)
                rows.append((dataset, method, row[method], baseline, exceeds))
    return pd.DataFrame(rows, columns=["dataset", "method", "value", "baseline", "exceeds"])


def _models(results: Results) -> list[str]:
    """Return the methods that are more than a regression on composition."""
    composition = [entry.label for entry in select_representations("composition")]
    return [name for name in results.methods if name not in composition]


def _overview(results: Results, metric: str) -> str:
    values = method_values(results, metric)
    ranks, facts = mean_ranks(values)
    by_method = dict(zip(ranks["method"], ranks["mean_rank"]))
    rows = []
    for method in values:
        known = values[method].dropna()
        spread = (known.mean(), known.median(), known.min(), known.max()) if len(known) else (None,) * 4
        rows.append((method, len(known), *spread, (page.number(by_method.get(method), 2), by_method.get(method))))
    label = METRICS[metric].label
    head = ["method", "data sets", f"mean {label}", "median", "lowest", "highest", "mean rank"]
    remarks = [f"Mean ranks (1 is best) are over the {facts['n']} data sets that have all {len(ranks)} ranked methods."]
    remarks += [f"Not ranked, because it lacks data sets: {name}." for name in facts["left_out"]]
    if not math.isnan(facts["critical_difference"]):
        difference = f"{facts['critical_difference']:.2f}"
        remarks.append(f"Nemenyi test: ranks that differ by less than {difference} do not differ at 0.05.")
        remarks.append(f"Friedman test that all are equal: p = {page.number(facts['friedman_p'], 0)}.")
    return page.table(head, rows, f"{label} over data sets", {"mean rank"}) + page.paragraph(*remarks)


def _results_section(results: Results, summary: pd.DataFrame, metric: str, judged: pd.DataFrame) -> str:
    below = {(row.dataset, row.method) for row in judged.itertuples() if row.exceeds is False}
    label = METRICS[metric].label
    others = [name for name in tables.METRICS if name != metric]
    head = ["data set", "method", "note", label, "sd", "of mean prediction", "95 % interval", "repeats"]
    head += [*(METRICS[name].label for name in others), "train", "test", "parameters"]
    rows = []
    for row in summary.to_dict("records"):
        interval = "–" if page.missing(row["low"]) else f"{page.number(row['low'])} to {page.number(row['high'])}"
        flag = (row["dataset"], row["method"]) in below
        note = page.Markup('<span class="flag">not above dinucleotide</span>') if flag else ""
        figures = [row[metric], row["sd"], row["pooled"], (interval, row["low"]), int(row["n_repeats"])]
        figures += [row[name] for name in others]
        figures += [page.count(row[name]) for name in ("n_train", "n_test", "n_parameters")]
        rows.append((row["dataset"], row["method"], note, *figures))
    explained = page.paragraph(
        f"{label} and the other metrics are means over repeats, sd their standard deviation. Repeats are also averaged",
        f"into one prediction per test record; its {label} has a bootstrap interval over test records. L5 is the block",
        "with index 5, from 0; a probe without a layer is that of the layer with the best validation score.",
    )
    return _overview(results, metric) + explained + page.table(head, rows, "Each data set", {"method", "note"})


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


def _tests_section(wilcoxon: pd.DataFrame, delong: pd.DataFrame, metric: str) -> str:
    parts = ["<h3>Over data sets: Wilcoxon signed-rank</h3>", _wilcoxon_remarks(wilcoxon, metric)]
    head = ["method A", "method B", "data sets", "median A − B", "A better", "B better", "p", "p (Holm)", "smallest p"]
    counts = wilcoxon[["method_a", "method_b", "n", "median_difference", "a_better", "b_better"]]
    p_values = wilcoxon[["p_value", "p_holm", "smallest_p"]]
    rows = [
        (*row, *map(page.p_value, p))
        for row, p in zip(counts.itertuples(index=False), p_values.itertuples(index=False))
    ]
    parts.append(page.table(head, rows, "", {"method B", "p", "p (Holm)", "smallest p"}))
    references = [entry.label for entry in reference_representations()]
    parts.append("<h3>Within data sets: DeLong's test of AUROC</h3>")
    parts.append(
        page.paragraph(
            f"Each method on embeddings against {', '.join(references)} on the same test records, probabilities",
            f"averaged over repeats; Holm-adjusted over {delong['p_value'].notna().sum()} tests. A difference holds",
            "for these test records, not for another split or another training run.",
        )
    )
    head = ["data set", "method A", "method B", "records", "A − B", "95 % interval", "p", "p (Holm)"]
    rows = []
    for row in delong.itertuples(index=False):
        interval = f"{page.number(row.low)} to {page.number(row.high)}", row.low
        rows.append((*row[:5], interval, page.p_value(row.p_value), page.p_value(row.p_holm)))
    return "".join(parts) + page.table(head, rows, "", {"method A", "method B", "p", "p (Holm)"})


def _wilcoxon_remarks(wilcoxon: pd.DataFrame, metric: str) -> str:
    m = int(wilcoxon["p_value"].notna().sum())
    if not m:
        return ""
    n_sets, smallest = int(wilcoxon["n"].max()), wilcoxon["smallest_p"].min()
    remarks = page.paragraph(
        f"{METRICS[metric].label} (mean over repeats) of every pair of methods, paired by data set; two-sided,",
        f"exact and Holm-adjusted over {m} pairs. Below 0.05 after Holm: {(wilcoxon['p_holm'] < 0.05).sum()}.",
    )
    if m * smallest >= 0.05:
        limit = f"Too few data sets: with {n_sets}, no p-value can be below {page.number(smallest, 0)},"
        holm = f"nor below {page.number(min(1.0, m * smallest), 0)} once adjusted as the smallest of {m}."
        remarks += page.paragraph(limit, holm, "Absence of a significant difference is no equality.", kind="warn")
    return remarks


def _judged(report: dict, features: str) -> dict:
    """Return value and interval of a composition baseline in a ``split_report.json``; empty where it has none."""
    return ((report.get("composition") or {}).get("auroc") or {}).get(features) or {}


def _data_section(results: Results, judged: pd.DataFrame, metric: str) -> str:
    values = method_values(results, "auroc")[_models(results)]
    split_rows = [_split_row(name, report) for _, name, report in results.reports]
    head = ["data set", "method", "train", "dev", "test", "sequences in two parts", "longest shared run (nt)"]
    parts = ["<h3>How the data were split</h3>"]
    parts.append(page.table([*head, "test records sharing 30 nt with train"], split_rows, "", {"method"}))
    parts.append("<h3>How similar positives and negatives are</h3>")
    parts.append(_baseline_remarks(judged, metric))
    head = ["data set", "positives", "negatives", "GC, positives", "GC, negatives", "GC, KS", "largest difference"]
    head += ["AUROC of GC", "AUROC of dinucleotides", *(f"AUROC: {name}" for name in values)]
    parts.append(page.paragraph("A score that composition alone achieves is no evidence of more than composition."))
    rows = [_composition_row(name, report, values) for _, name, report in results.reports]
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
        judged = _judged(report, features)
        value, low, high = (page.number(judged.get(key)) for key in ("value", "low", "high"))
        row.append((f"{value} [{low}, {high}]", judged.get("value")))
    split = (report.get("split") or {}).get("method")
    key = name if name in values.index else f"{name} [{split}]"
    return row + [float(values.loc[key, model]) if key in values.index else None for model in values]


def _baseline_remarks(judged: pd.DataFrame, metric: str) -> str:
    baseline = f"the dinucleotide baseline ({METRICS[metric].label})"
    remarks = []
    if unknown := judged["dataset"][judged["exceeds"].isna()].nunique():
        remarks.append(page.paragraph(f"Data sets without a value of {baseline}: {unknown}.", kind="warn"))
    below = judged[judged["exceeds"].map(lambda value: value is False)]
    for dataset, rows in below.groupby("dataset"):
        listed = ", ".join(f"{row.method} {page.number(row.value)}" for row in rows.itertuples())
        text = f"{dataset}: not above {baseline}, {page.number(rows['baseline'].iloc[0])}: {listed}."
        remarks.append(page.paragraph(text, kind="warn"))
    if below.empty and judged["exceeds"].notna().any():
        remarks.append(page.paragraph(f"Every model's score is above {baseline} wherever that was computed."))
    return "".join(remarks)


def build_report(
    results: Results,
    summary: pd.DataFrame,
    wilcoxon: pd.DataFrame,
    delong: pd.DataFrame,
    figures: Sequence[FigureOnPage],
    metric: str = "auroc",
    notice: str = "",
) -> str:
    """Return the page of evaluation runs as one HTML document; all text is escaped, images are inline.

    Parameters
    ----------
    results : Results
    summary : DataFrame
        As `LAMAR.evaluation.results.summarise` returns it.
    wilcoxon : DataFrame
        As `LAMAR.statistics.rank_tests.wilcoxon_table` returns it for `LAMAR.evaluation.results.method_values`.
    delong : DataFrame
        As `LAMAR.evaluation.results.paired_tests` returns it.
    figures : sequence of FigureOnPage
    metric : str
        Metric of summary and tests.
    notice : str
        Warning above all else.
    """
    judged = above_dinucleotide(results, metric)
    sections = {
        "runs": ("What was run", _runs_section(results)),
        "results": ("Results", _results_section(results, summary, metric, judged)),
        "figures": ("Figures", _figures_section(figures)),
        "tests": ("Tests", _tests_section(wilcoxon, delong, metric)),
        "data": ("Data: split and composition", _data_section(results, judged, metric)),
    }
    n, label = len(results.datasets), METRICS[metric].label
    lead = f"{n} data set{'s' * (n != 1)}, {len(results.methods)} methods, compared by {label} on test records."
    if n_below := int(judged["exceeds"].map(lambda value: value is False).sum()):
        lead += f" {n_below} of {len(judged)} scores of models are not above their data set's dinucleotide baseline."
    return page.document("Evaluation of embeddings", lead, sections, notice)
