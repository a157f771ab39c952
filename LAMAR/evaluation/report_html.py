"""One page that holds everything about evaluation runs: no other file, no network, readable without JavaScript."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd

from ..statistics.rank_tests import mean_ranks
from .figures import LABELS
from .result_columns import METRICS
from .tables import BASELINES, Results, method_values

__all__ = ["FigureOnPage", "above_dinucleotide", "build_report"]

_STYLE = """
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: #fff; color: #1a1a1a; overflow-wrap: anywhere;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
h3 { margin-bottom: .3rem; } p, li, figcaption { max-width: 48rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; list-style: none; }
a { color: #00507d; } .scroll { overflow-x: auto; max-width: 100%; }
.scroll.tall { max-height: 40rem; overflow-y: auto; border: 1px solid #ccc; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: left; border-bottom: 1px solid #ddd; overflow-wrap: normal; }
td.n { text-align: right; white-space: nowrap; }
td.t { overflow-wrap: break-word; min-width: 7.5rem; max-width: 22rem; }
thead th { position: sticky; top: 0; background: #f0f2f4; vertical-align: bottom; }
th button { all: unset; cursor: pointer; font-weight: bold; }
th button:focus-visible, a:focus-visible, .scroll:focus-visible { outline: 2px solid #00507d; outline-offset: 2px; }
th button::after { content: " \\2195"; color: #555; font-weight: normal; }
th[aria-sort=ascending] button::after { content: " \\2191"; color: #000; }
th[aria-sort=descending] button::after { content: " \\2193"; color: #000; }
caption { text-align: left; padding: .3rem 0; }
.warn { border-left: .4rem solid #b34700; background: #fff4eb; padding: .5rem .8rem; max-width: 60rem; }
.flag { background: #ffe3cc; white-space: nowrap; padding: 0 .3rem; border-radius: .2rem; }
figure { margin: 1rem 0 2rem; } figure img { height: auto; max-width: none; }
@media (min-width: 48rem) { figure img { max-width: 100%; } }
@media print {
  body { max-width: none; font-size: 10pt; } nav { display: none; }
  .scroll, .scroll.tall { overflow: visible; max-height: none; border: 0; }
  table { font-size: 7.5pt; } thead th { position: static; } tr, figure { break-inside: avoid; }
  th button::after { content: "" !important; } figure img { max-width: 100%; max-height: 23cm; }
}
"""

# Buttons come with the script: without it, headings are plain text.
_SCRIPT = """
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.textContent = "";
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === (head.dataset.first === "up" ? "ascending" : "descending")
        ? head.dataset.first !== "up" : head.dataset.first === "up";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => row.cells[column].dataset.v ?? row.cells[column].textContent;
      const compare = (a, b) => {
        const x = key(a), y = key(b);
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = "v" in a.cells[column].dataset && "v" in b.cells[column].dataset
          ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
        return up ? order : -order;
      };
      body.append(...Array.from(body.rows).sort(compare));
    });
  });
}
"""


@dataclass(frozen=True)
class FigureOnPage:
    """A figure of the page: heading, what it shows, and the image."""

    title: str
    caption: str
    png: bytes


# ----------------------------------------------------------------------------------------------------- pieces


class _Html(str):
    """Text that is markup already; all other text is escaped where it is put on the page."""


def _text(value) -> str:
    return str(value) if isinstance(value, _Html) else escape(str(value), quote=True)


def _missing(value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _p(value) -> tuple[str, float]:
    return _number(value, 0), value


def _number(value, digits: int = 3) -> str:
    """A figure as the page shows it; with ``digits`` of 0 three that count, as p-values have."""
    if _missing(value):
        return "–"
    if digits == 0:
        return f"{value:.3g}"
    return f"{value:.{digits}f}".replace("-", "\u2212")


def _cell(value) -> str:
    if isinstance(value, tuple):  # (what is shown, what is sorted by)
        key = "" if _missing(value[1]) else float(value[1])
        return f'<td class="n" data-v="{key}">{_text(value[0])}</td>'
    if isinstance(value, bool) or not (value is None or hasattr(value, "__float__")):
        return f'<td class="t">{_text(value)}</td>'
    if hasattr(value, "__index__"):
        return f'<td class="n" data-v="{int(value)}">{int(value):,}</td>'
    return _cell((_number(value), value))


def _count(value) -> int | None:
    return None if _missing(value) else int(value)


def _table(head: Sequence[str], rows: Iterable[Sequence], caption: str = "", ups: Iterable[str] = ()) -> str:
    """A sortable table; the first click sorts downwards, but upwards in the first column and those of ``ups``."""
    rows = [f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows]
    if not rows:
        return "<p>None.</p>"
    ups = {head[0], *ups}
    cells = "".join(f'<th scope="col" data-first="{"up" if h in ups else "down"}">{_text(h)}</th>' for h in head)
    box = "scroll tall" if len(rows) > 25 else "scroll"
    name, caption = _text(caption or head[0]), f"<caption>{_text(caption)}</caption>" if caption else ""
    return (
        f'<div class="{box}" tabindex="0" role="region" aria-label="{name}"><table class="sortable">{caption}'
        f"<thead><tr>{cells}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>"
    )


def _paragraph(*sentences: str, kind: str = "") -> str:
    opening = f'<p class="{kind}">' if kind else "<p>"
    return f"{opening}{' '.join(map(_text, sentences))}</p>"


# --------------------------------------------------------------------------------------------------- sections


def _runs_section(results: Results) -> str:
    parts = []
    for folder, record in results.runs:
        git = record.get("git") or {}
        commit = git.get("commit") or "not known"
        if git.get("dirty"):
            commit += " with uncommitted changes"
        versions = record.get("versions") or {}
        command = record.get("command") or []
        facts = {
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
        rows = "".join(
            f'<tr><th scope="row">{_text(name)}</th><td class="t">{_text("–" if value is None else value)}</td></tr>'
            for name, value in facts.items()
        )
        arguments = record.get("arguments") or {}
        items = "".join(f"<li>{_text(name)}: {_text(value)}</li>" for name, value in arguments.items())
        parts.append(
            f'<h3>{_text(folder)}</h3><div class="scroll"><table>{rows}</table></div>'
            f"<details><summary>Arguments</summary><ul>{items}</ul></details>"
        )
        if record.get("status") not in (None, "finished"):
            parts.append(
                _paragraph(f"This run is not finished ({record['status']}): figures may be missing.", kind="warn")
            )
    return "".join(parts)


def above_dinucleotide(results: Results, metric: str = "auroc") -> pd.DataFrame:
    """Whether each model's score exceeds what dinucleotides alone give on the same data set.

    The baseline is the ``dinucleotide`` method of the table or, for AUROC where that was not run, the figure in
    ``split_report.json``. Columns: dataset, method, value, baseline, exceeds (None without a baseline).
    """
    values = method_values(results, metric)
    reported = {name: _judged(report, "dinucleotide").get("value") for _, name, report in results.reports}
    rows = []
    for dataset, row in values.iterrows():
        baseline = row.get("dinucleotide", math.nan)
        if math.isnan(baseline) and metric == "auroc":
            found = reported.get(dataset, reported.get(dataset.rpartition(" [")[0]))
            baseline = math.nan if found is None else float(found)
        for method in (name for name in results.methods if name not in BASELINES.values()):
            if not math.isnan(row[method]):
                exceeds = None if math.isnan(baseline) else bool(row[method] > baseline)
                rows.append((dataset, method, row[method], baseline, exceeds))
    return pd.DataFrame(rows, columns=["dataset", "method", "value", "baseline", "exceeds"])


def _overview(results: Results, metric: str) -> str:
    values = method_values(results, metric)
    ranks, facts = mean_ranks(values)
    by_method = dict(zip(ranks["method"], ranks["mean_rank"]))
    rows = []
    for method in values:
        known = values[method].dropna()
        spread = (known.mean(), known.median(), known.min(), known.max()) if len(known) else (None,) * 4
        rows.append((method, len(known), *spread, (_number(by_method.get(method), 2), by_method.get(method))))
    label = LABELS[metric]
    head = ["method", "data sets", f"mean {label}", "median", "lowest", "highest", "mean rank"]
    said = [f"Mean ranks (1 is best) are over the {facts['n']} data sets that have all {len(ranks)} ranked methods."]
    said += [f"Not ranked, for want of data sets: {name}." for name in facts["left_out"]]
    if not math.isnan(facts["critical_difference"]):
        said.append(
            f"Nemenyi: ranks that differ by less than {facts['critical_difference']:.2f} do not differ at 0.05;"
        )
        said.append(f"Friedman test that all are equal: p = {_number(facts['friedman_p'], 0)}.")
    return _table(head, rows, f"{label} over data sets", {"mean rank"}) + _paragraph(*said)


def _results_section(results: Results, summary: pd.DataFrame, metric: str, judged: pd.DataFrame) -> str:
    below = {(row.dataset, row.method) for row in judged.itertuples() if row.exceeds is False}
    label = LABELS[metric]
    others = [name for name in METRICS if name != metric]
    head = ["data set", "method", "note", label, "sd", "of mean prediction", "95 % interval", "repeats"]
    head += [*(LABELS[name] for name in others), "train", "test", "parameters"]
    rows = []
    for row in summary.to_dict("records"):
        interval = "–" if _missing(row["low"]) else f"{_number(row['low'])} to {_number(row['high'])}"
        flag = (row["dataset"], row["method"]) in below
        note = _Html('<span class="flag">not above dinucleotide</span>') if flag else ""
        figures = [row[metric], row["sd"], row["pooled"], (interval, row["low"]), int(row["n_repeats"])]
        figures += [row[name] for name in others]
        figures += [_count(row[name]) for name in ("n_train", "n_test", "n_parameters")]
        rows.append((row["dataset"], row["method"], note, *figures))
    explained = _paragraph(
        f"{label} and the other metrics are means over repeats, sd their standard deviation. Repeats are also averaged",
        f"into one prediction per test record; its {label} has a bootstrap interval over test records. L5 is the block",
        "with index 5, from 0; a probe without a layer took the one that was best on validation.",
    )
    return _overview(results, metric) + explained + _table(head, rows, "Each data set", {"method", "note"})


def _figures_section(figures: Sequence[FigureOnPage]) -> str:
    parts = []
    for figure in figures:
        width = int.from_bytes(figure.png[16:20], "big") * 112 // 160  # of the PNG header, at a fixed scale
        image = base64.b64encode(figure.png).decode("ascii")
        parts.append(
            f'<figure><h3>{_text(figure.title)}</h3><div class="scroll" tabindex="0" role="region" '
            f'aria-label="{_text(figure.title)}"><img width="{width}" alt="{_text(figure.title)}" '
            f'src="data:image/png;base64,{image}"></div><figcaption>{_text(figure.caption)}</figcaption></figure>'
        )
    return "".join(parts)


def _tests_section(wilcoxon: pd.DataFrame, delong: pd.DataFrame, metric: str) -> str:
    head = ["method A", "method B", "data sets", "median A − B", "A better", "B better", "p", "p (Holm)", "smallest p"]
    shown = wilcoxon[["method_a", "method_b", "n", "median_difference", "a_better", "b_better"]]
    p_values = wilcoxon[["p_value", "p_holm", "smallest_p"]]
    rows = [(*row, *map(_p, p)) for row, p in zip(shown.itertuples(index=False), p_values.itertuples(index=False))]
    parts = ["<h3>Over data sets: Wilcoxon signed-rank</h3>"]
    m = int(wilcoxon["p_value"].notna().sum())
    if m:
        most, smallest = int(wilcoxon["n"].max()), wilcoxon["smallest_p"].min()
        parts.append(
            _paragraph(
                f"{LABELS[metric]} (mean over repeats) of every pair of methods, paired by data set; two-sided,",
                f"exact and Holm-adjusted over {m} pairs. Below 0.05 after Holm: {(wilcoxon['p_holm'] < 0.05).sum()}.",
            )
        )
        if m * smallest >= 0.05:
            said = f"Too few data sets: with {most}, no p-value can be below {_number(smallest, 0)},"
            holm = f"nor below {_number(min(1.0, m * smallest), 0)} once adjusted as the smallest of {m}."
            parts.append(_paragraph(said, holm, "No difference shown is not equality shown.", kind="warn"))
    parts.append(_table(head, rows, "", {"method B", "p", "p (Holm)", "smallest p"}))
    parts.append("<h3>Within data sets: DeLong's test of AUROC</h3>")
    parts.append(
        _paragraph(
            "Each LAMAR method against the one-hot CNN, dinucleotides and 4-mers on the same test records,",
            f"probabilities averaged over repeats; Holm-adjusted over {delong['p_value'].notna().sum()} tests.",
            "It speaks of these test records, and not of another split or another training run.",
        )
    )
    head = ["data set", "method A", "method B", "records", "A − B", "95 % interval", "p", "p (Holm)"]
    rows = [
        (*r[:5], (f"{_number(r.low)} to {_number(r.high)}", r.low), _p(r.p_value), _p(r.p_holm))
        for r in delong.itertuples(index=False)
    ]
    return "".join(parts) + _table(head, rows, "", {"method A", "method B", "p", "p (Holm)"})


def _judged(report: dict, features: str) -> dict:
    return ((report.get("composition") or {}).get("auroc") or {}).get(features) or {}


def _data_section(results: Results, judged: pd.DataFrame, metric: str) -> str:
    split_rows, rows = [], []
    values = method_values(results, "auroc")
    models = [name for name in values if name not in BASELINES.values()]
    for _, name, report in results.reports:
        split, composition = report.get("split") or {}, report.get("composition") or {}
        sizes = split.get("sizes") or {}
        figures = [_count(sizes.get(part)) for part in ("train", "dev", "test")]
        figures += [_count(split.get("duplicates_across_parts")), _count(split.get("longest_shared_run"))]
        shared = split.get("test_sharing_30mer")
        shown = "–" if shared is None else f"{shared:.1%}"
        split_rows.append((name, split.get("method") or "–", *figures, (shown, shared)))
        sides = [composition.get(side) or {} for side in ("positives", "negatives")]
        largest = composition.get("largest_dinucleotide_difference") or {}
        row = [
            name,
            *(_count(side.get("n")) for side in sides),
            *((side.get("gc") or {}).get("mean") for side in sides),
        ]
        row += [composition.get("gc_ks"), f"{largest.get('name', '–')} {_number(largest.get('difference'))}"]
        for features in ("gc", "dinucleotide"):
            found = _judged(report, features)
            shown = f"{_number(found.get('value'))} [{_number(found.get('low'))}, {_number(found.get('high'))}]"
            row.append((shown, found.get("value")))
        key = name if name in values.index else f"{name} [{split.get('method')}]"
        row += [float(values.loc[key, model]) if key in values.index else None for model in models]
        rows.append(row)
    parts = ["<h3>How the data were split</h3>"]
    head = ["data set", "method", "train", "dev", "test", "sequences in two parts", "longest shared run (nt)"]
    parts.append(_table([*head, "test records sharing 30 nt with train"], split_rows, "", {"method"}))
    parts.append("<h3>How alike positives and negatives are</h3>")
    baseline = f"the dinucleotide baseline ({LABELS[metric]})"
    below = judged[judged["exceeds"].map(lambda value: value is False)]
    if unknown := judged["dataset"][judged["exceeds"].isna()].nunique():
        parts.append(_paragraph(f"Without a figure of {baseline}: {unknown} data sets.", kind="warn"))
    for dataset, found in below.groupby("dataset"):
        named = ", ".join(f"{row.method} {_number(row.value)}" for row in found.itertuples())
        text = f"{dataset}: not above {baseline}, {_number(found['baseline'].iloc[0])}: {named}."
        parts.append(_paragraph(text, kind="warn"))
    if below.empty and judged["exceeds"].notna().any():
        parts.append(_paragraph(f"Every model's score is above {baseline} wherever that was computed."))
    head = ["data set", "positives", "negatives", "GC, positives", "GC, negatives", "GC, KS", "largest difference"]
    head += ["AUROC of GC", "AUROC of dinucleotides", *(f"AUROC: {name}" for name in models)]
    explained = "A score no better than what composition alone achieves says nothing about more than composition."
    return "".join(parts) + _paragraph(explained) + _table(head, rows)


def build_report(
    results: Results,
    summary: pd.DataFrame,
    wilcoxon: pd.DataFrame,
    delong: pd.DataFrame,
    figures: Sequence[FigureOnPage],
    metric: str = "auroc",
    notice: str = "",
) -> str:
    """The page as one HTML document; all text is escaped, images are inline.

    ``summary``, ``wilcoxon`` and ``delong`` are what `LAMAR.evaluation.tables.summarise`,
    `LAMAR.statistics.rank_tests.wilcoxon_table` and `LAMAR.evaluation.tables.paired_tests` return; ``notice`` is set out at the top.
    """
    judged = above_dinucleotide(results, metric)
    sections = {
        "runs": ("What was run", _runs_section(results)),
        "results": ("Results", _results_section(results, summary, metric, judged)),
        "figures": ("Figures", _figures_section(figures)),
        "tests": ("Tests", _tests_section(wilcoxon, delong, metric)),
        "data": ("Data: split and composition", _data_section(results, judged, metric)),
    }
    links = "".join(f'<li><a href="#{key}">{_text(title)}</a></li>' for key, (title, _) in sections.items())
    body = "\n".join(
        f'<section aria-labelledby="{key}"><h2 id="{key}">{_text(title)}</h2>{content}</section>'
        for key, (title, content) in sections.items()
    )
    n = len(results.datasets)
    lead = (
        f"{n} data set{'s' * (n != 1)}, {len(results.methods)} methods, compared by {LABELS[metric]} on test records."
    )
    if n_below := int(judged["exceeds"].map(lambda value: value is False).sum()):
        lead += f" {n_below} of {len(judged)} scores of models are not above their data set's dinucleotide baseline."
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>Evaluation of embeddings</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>Evaluation of embeddings</h1>\n{_paragraph(notice, kind='warn') if notice else ''}{_paragraph(lead)}\n"
        f"<nav><ul>{links}</ul></nav>\n<main>\n{body}\n</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )
