"""Pieces of a page that stands alone: style, script, escaped text, numbers and sortable tables.

The page needs no other file and no network, and is readable without JavaScript.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

__all__ = ["Markup", "cell", "count", "document", "missing", "number", "p_value", "paragraph", "table", "text"]

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
.flag { background: #ffe3cc; padding: 0 .3rem; border-radius: .2rem; }
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
    if (!head.dataset.first) return;
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


class Markup(str):
    """Text that is markup already; all other text is escaped when it is written into the page."""


def text(value) -> str:
    """Return a value as escaped text, `Markup` as it is."""
    return str(value) if isinstance(value, Markup) else escape(str(value), quote=True)


def missing(value) -> bool:
    """Return whether a value is None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def p_value(value) -> tuple[str, float]:
    """Return the cell of a p-value: its text, and the value to sort by."""
    return number(value, 0), value


def number(value, digits: int = 3) -> str:
    """Return a number with that many decimals, or with three significant digits where ``digits`` is 0; "–" for none."""
    if missing(value):
        return "–"
    if digits == 0:
        return f"{value:.3g}"
    return f"{value:.{digits}f}".replace("-", "\u2212")


def cell(value) -> str:
    """Return a cell of a table, escaped: text, a number, or a pair of text and the number to sort by."""
    if isinstance(value, tuple):  # (text, value to sort by)
        key = "" if missing(value[1]) else float(value[1])
        return f'<td class="n" data-v="{key}">{text(value[0])}</td>'
    if isinstance(value, bool) or not (value is None or hasattr(value, "__float__")):
        return f'<td class="t">{text(value)}</td>'
    if hasattr(value, "__index__"):
        return f'<td class="n" data-v="{int(value)}">{int(value):,}</td>'
    return cell((number(value), value))


def count(value) -> int | None:
    """Return a value as a whole number; None where it is missing."""
    return None if missing(value) else int(value)


def table(head: Sequence[str], rows: Iterable[Sequence], caption: str = "", ascending: Iterable[str] = ()) -> str:
    """Return a sortable table, its cells escaped.

    Parameters
    ----------
    head : sequence of str
        Headings of the columns.
    rows : iterable of sequence
        Cells: text, a number, or a pair of text and the number to sort by.
    caption : str
    ascending : iterable of str
        Headings of columns that the first click sorts upwards, as it does the first column; it sorts others downwards.
    """
    rows = [f"<tr>{''.join(map(cell, row))}</tr>" for row in rows]
    if not rows:
        return "<p>None.</p>"
    ascending = {head[0], *ascending}
    cells = "".join(f'<th scope="col" data-first="{"up" if h in ascending else "down"}">{text(h)}</th>' for h in head)
    box = "scroll tall" if len(rows) > 25 else "scroll"
    name, caption = text(caption or head[0]), f"<caption>{text(caption)}</caption>" if caption else ""
    return (
        f'<div class="{box}" tabindex="0" role="region" aria-label="{name}"><table class="sortable">{caption}'
        f"<thead><tr>{cells}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>"
    )


def paragraph(*sentences: str, kind: str = "") -> str:
    """Return a paragraph of escaped sentences, of the class ``kind`` of the style sheet."""
    opening = f'<p class="{kind}">' if kind else "<p>"
    return f"{opening}{' '.join(map(text, sentences))}</p>"


def document(
    title: str,
    lead: str,
    sections: Mapping[str, tuple[str, str]],
    notice: str = "",
    *,
    style: str = "",
    script: str = "",
) -> str:
    """Return a page as one HTML document.

    Parameters
    ----------
    title : str
    lead : str
        First sentence of the page.
    sections : mapping of str to (str, str)
        Heading and markup of each section, by its id.
    notice : str
        Warning above all else.
    style, script : str
        What a page adds to the style sheet and the script that all pages have.
    """
    links = "".join(f'<li><a href="#{key}">{text(heading)}</a></li>' for key, (heading, _) in sections.items())
    body = "\n".join(
        f'<section aria-labelledby="{key}"><h2 id="{key}">{text(heading)}</h2>{content}</section>'
        for key, (heading, content) in sections.items()
    )
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n"
        f"<h1>{text(title)}</h1>\n{paragraph(notice, kind='warn') if notice else ''}{paragraph(lead)}\n"
        f"<nav><ul>{links}</ul></nav>\n<main>\n{body}\n</main>\n<script>{_SCRIPT}{script}</script>\n</body>\n</html>\n"
    )
