"""Style sheet and script of the page of a prediction: heat maps that can be zoomed, sorted, filtered and read."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
details { margin: .6rem 0; border-top: 1px solid #ccc; padding-top: .4rem; }
summary { cursor: pointer; } summary b { font-size: 1.05rem; }
.heat table { table-layout: fixed; width: 100%; font-size: 12px; line-height: 15px; }
.heat td, .heat th { padding: 0 4px; border: 0; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.heat thead th { overflow: visible; white-space: normal; padding-bottom: 2px; border-bottom: 1px solid #888;
  z-index: 1; }
.heat tbody th { font-weight: normal; } .heat tbody tr:hover th, .heat tbody tr:hover td { background: #eef3f7; }
.heat td.strip { padding: 0; border-left: 1px solid #888; border-right: 1px solid #888; }
.heat td.strip svg { display: block; width: 100%; height: 15px; cursor: crosshair; touch-action: pan-y; }
.heat .few td, .heat .few th, .heat .few td.strip svg { height: 30px; line-height: 30px; }
.heat .compact td, .heat .compact th, .heat .compact td.strip svg { height: 4px; line-height: 4px; font-size: 0; }
.heat image { image-rendering: pixelated; }
.heat td.strip path { stroke: #d55e00; stroke-width: 2px; vector-effect: non-scaling-stroke; fill: none; }
.heat .compact td.strip path { stroke-width: 3px; }
.ticks { position: relative; height: 18px; font-weight: normal; overflow: hidden; }
.ticks span { position: absolute; bottom: 0; padding-left: 2px; border-left: 1px solid #888; line-height: 14px; }
.c-order { width: 34px; } .c-track { width: 130px; } .c-sites { width: 56px; } .c-at { width: 68px; }
.c-p, .c-q, .c-logit { width: 62px; } .c-prob { width: 96px; }
.controls { display: flex; flex-wrap: wrap; gap: .3rem .6rem; align-items: center; font-size: .85rem; margin: .4rem 0; }
.controls input[type=search] { width: 9rem; } .controls button, .controls input { font: inherit; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: center; font-size: .8rem; margin: .4rem 0; }
.legend text { font-size: 11px; text-anchor: middle; } .legend .frame { fill: none; stroke: #888; }
.legend path { stroke-width: 2px; } .legend .gap path { stroke-width: 10px; }
#tip { position: fixed; z-index: 9; pointer-events: none; background: #1a1a1a; color: #fff; font-size: .8rem;
  line-height: 1.35; padding: .25rem .5rem; border-radius: .2rem; max-width: 22rem; white-space: pre-line; }
@media (max-width: 62rem) { .c-order, .c-prob, .heat .order, .heat .prob { display: none; } }
@media print { .controls, #tip { display: none; } .heat table { font-size: 7pt; line-height: 11px; }
  .heat td.strip svg, .heat .few td, .heat .few th, .heat .few td.strip svg { height: 11px; line-height: 11px; } }
"""

SCRIPT = """
const short = value => value >= 0.001 ? value.toPrecision(2) : value.toExponential(1);
const numbers = text => text ? text.trim().split(" ").map(Number) : [];
const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
document.body.append(tip);

// What the cells of a row hold: a score in 255 steps, and from it p-value and probability.
const readings = new WeakMap();
function reading(svg) {
  if (!readings.has(svg)) {
    const [low, high] = numbers(svg.dataset.range), knots = numbers(svg.dataset.p);
    const logistic = numbers(svg.dataset.logistic);
    const cells = Uint8Array.from(atob(svg.dataset.cells), letter => letter.charCodeAt(0));
    readings.set(svg, cell => {
      if (cells[cell] === 255) return null;
      const share = cells[cell] / 254, logit = low + share * (high - low), found = { logit };
      if (knots.length) {
        const at = share * (knots.length - 1), left = Math.min(Math.floor(at), knots.length - 2);
        found.p = 10 ** -(knots[left] + (at - left) * (knots[left + 1] - knots[left]));
      }
      if (logistic.length) found.probability = 1 / (1 + Math.exp(-(logistic[0] * logit + logistic[1])));
      return found;
    });
  }
  return readings.get(svg);
}

// Chromosome and 0-based position of a nucleotide of a record.
function onGenome(place, position) {
  let rest = place.strand === "-" ? place.length - 1 - position : position;
  for (const [start, end] of place.blocks) {
    if (rest < end - start) return `${place.chrom}:${(start + rest).toLocaleString("en")} (${place.strand})`;
    rest -= end - start;
  }
  return "";
}

for (const figure of document.querySelectorAll(".heat")) {
  const place = JSON.parse(figure.dataset.place), width = Number(figure.dataset.cell), length = place.length;
  const table = figure.querySelector("table"), ticks = figure.querySelector(".ticks");
  const strips = Array.from(figure.querySelectorAll("td.strip svg"));
  let start = 0, end = length;

  const show = (from, to) => {
    const span = Math.min(Math.max(Math.round(to - from), 8 * width), length);
    start = Math.round(Math.min(Math.max(from, 0), length - span));
    end = start + span;
    for (const svg of strips) svg.setAttribute("viewBox", `${start} 0 ${span} 1`);
    const raw = Math.max(span / 6, 1), power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map(factor => factor * power).find(value => value >= raw);
    ticks.textContent = "";
    for (let at = Math.ceil(start / step) * step; at < end; at += step) {
      const mark = document.createElement("span");
      mark.style.left = `${100 * (at - start) / span}%`;
      mark.textContent = at.toLocaleString("en");
      ticks.append(mark);
    }
  };
  const zoom = factor => {
    const middle = (start + end) / 2, half = (end - start) * factor / 2;
    show(middle - half, middle + half);
  };
  const move = share => show(start + share * (end - start), end + share * (end - start));

  const controls = document.createElement("div");
  controls.className = "controls";
  const button = (label, title, action) => {
    const element = document.createElement("button");
    element.type = "button";
    element.textContent = label;
    element.title = title;
    element.setAttribute("aria-label", title);
    element.addEventListener("click", action);
    controls.append(element);
  };
  const labelled = (type, label) => {
    const box = document.createElement("label"), input = document.createElement("input");
    input.type = type;
    box.append(type === "search" ? `${label} ` : "", input, type === "search" ? "" : ` ${label}`);
    controls.append(box);
    return input;
  };
  button("+", "zoom in", () => zoom(0.5));
  button("\\u2212", "zoom out", () => zoom(2));
  button("\\u25c0", "towards the start", () => move(-0.5));
  button("\\u25b6", "towards the end", () => move(0.5));
  button("whole record", "whole record", () => show(0, length));
  const search = labelled("search", "tracks with"), called = labelled("checkbox", "with sites only");
  const compact = labelled("checkbox", "low rows");
  const filter = () => {
    const wanted = search.value.trim().toLowerCase();
    for (const svg of strips) {
      const row = svg.closest("tr"), name = row.querySelector("th").textContent.toLowerCase();
      row.hidden = !name.includes(wanted) || (called.checked && !svg.dataset.sites);
    }
  };
  search.addEventListener("input", filter);
  called.addEventListener("change", filter);
  compact.addEventListener("change", () => table.tBodies[0].classList.toggle("compact", compact.checked));
  figure.prepend(controls);

  const positionAt = (svg, event) => {
    const box = svg.getBoundingClientRect(), share = (event.clientX - box.left) / box.width;
    return Math.min(Math.max(Math.floor(start + share * (end - start)), 0), length - 1);
  };
  table.addEventListener("pointermove", event => {
    const svg = event.target.closest("td.strip svg");
    tip.hidden = !svg;
    if (!svg) return;
    const position = positionAt(svg, event), found = reading(svg)(Math.floor(position / width));
    const lines = [`${svg.closest("tr").querySelector("th").textContent}, position ${position.toLocaleString("en")}`];
    if (place.chrom) lines.push(onGenome(place, position));
    if (!found) lines.push("not predicted (N)");
    else {
      const values = [`logit ${found.logit.toFixed(2)}`];
      if (found.probability !== undefined) values.unshift(`probability ${short(found.probability)}`);
      if (found.p !== undefined) values.unshift(`p ${short(found.p)}`);
      lines.push(values.join(", "));
    }
    const sites = numbers(svg.dataset.sites);
    for (let i = 0; i < sites.length; i += 2)
      if (sites[i] <= position && position < sites[i + 1]) lines.push(`called site ${sites[i]}\\u2013${sites[i + 1]}`);
    tip.textContent = lines.join("\\n");
    const left = event.clientX + 14, right = document.documentElement.clientWidth - tip.offsetWidth - 4;
    tip.style.left = `${Math.max(Math.min(left, right), 0)}px`;
    const below = event.clientY + 14, fits = below + tip.offsetHeight < document.documentElement.clientHeight;
    tip.style.top = `${fits ? below : event.clientY - tip.offsetHeight - 8}px`;
  });
  table.addEventListener("pointerleave", () => { tip.hidden = true; });

  let dragged = null;
  table.addEventListener("pointerdown", event => {
    const svg = event.target.closest("td.strip svg");
    dragged = svg && event.button === 0 ? { svg, x: event.clientX, at: positionAt(svg, event) } : null;
    if (svg) event.preventDefault();
  });
  table.addEventListener("pointerup", event => {
    if (dragged && Math.abs(event.clientX - dragged.x) > 5) {
      const other = positionAt(dragged.svg, event);
      show(Math.min(dragged.at, other), Math.max(dragged.at, other) + 1);
    }
    dragged = null;
  });
  table.addEventListener("dblclick", event => { if (event.target.closest("td.strip svg")) show(0, length); });
}

// A link to a record opens it.
const open = () => {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
};
addEventListener("hashchange", open);
open();
"""
