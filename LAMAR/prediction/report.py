"""The page of a prediction: heat maps of its first records, best tracks, what the scores mean, what was left out."""

from __future__ import annotations

import numpy as np

from ..runs import page
from ..statistics.calibration import Calibration
from .calls import DiscoveryRates
from .predictor import Predictor, StoredRecord
from .report_page import SCRIPT, STYLE
from .report_records import counted, p_text, ranked_tracks, record_section

__all__ = ["MOST_RECORDS", "REPORT_NAME", "Report"]

REPORT_NAME = "report.html"
MOST_RECORDS = 200  # that are drawn
_MOST_ROWS, _ROWS_OF_A_RECORD = 3_000, (10, 300)  # of all heat maps together, and of one
_SITES_OF_A_RECORD = (10, 200)
_MOST_NAMES, _MOST_TRACKS = 20, 300


def _share(most: int, limits: tuple[int, int], n: int) -> int:
    return int(np.clip(most // max(n, 1), *limits))


class Report:
    """Page of one run, to which records are added one by one; it does not grow beyond the first `MOST_RECORDS`.

    Parameters
    ----------
    predictor : Predictor
    rates : DiscoveryRates
        Of the run.
    n_records : int
        Of the run.
    """

    def __init__(self, predictor: Predictor, rates: DiscoveryRates, n_records: int):
        self._predictor, self._rates, self._n_records = predictor, rates, n_records
        n_drawn, k = min(n_records, MOST_RECORDS), len(predictor.names)
        self._n_rows = _share(_MOST_ROWS, _ROWS_OF_A_RECORD, n_drawn)
        self._n_listed = _share(_MOST_ROWS, _SITES_OF_A_RECORD, n_drawn)
        self._sections: list[str] = []
        self._rows: list[tuple] = []
        self._n_sites, self._n_bound = np.zeros(k, dtype=np.int64), np.zeros(k, dtype=np.int64)
        self._best = np.full(k, -np.inf, dtype=np.float32)
        self._best_record = [""] * k
        self._skipped: list[tuple[str, int]] = []  # the first names, and numbers of nucleotides
        self._short: list[tuple[str, int]] = []
        self._n_skipped = self._n_short = 0

    def add(self, stored: StoredRecord) -> None:
        """Add a record with its called sites and, to be drawn, its heat."""
        scores, k = stored.scores, len(self._predictor.names)
        n_sites = np.bincount(scores.sites.track, minlength=k)
        self._n_sites += n_sites
        self._n_bound += n_sites > 0
        for j in np.flatnonzero(scores.best_score > self._best).tolist():
            self._best[j], self._best_record[j] = scores.best_score[j], stored.name
        length = len(stored.place)
        if scores.n_skipped:
            self._n_skipped += 1
            self._skipped += [(stored.name, scores.n_skipped)] if len(self._skipped) < _MOST_NAMES else []
        if length < self._predictor.options.tile:
            self._n_short += 1
            self._short += [(stored.name, length)] if len(self._short) < _MOST_NAMES else []
        if len(self._sections) < MOST_RECORDS:
            self._draw(stored, int((n_sites > 0).sum()))

    def _draw(self, stored: StoredRecord, n_tracks: int) -> None:
        p = self._predictor.p_values(np.arange(len(self._best)), stored.scores.best_score)
        key = f"record-{len(self._sections) + 1}"
        section = record_section(
            stored,
            stored.heat,
            p,
            self._predictor,
            self._rates,
            key=key,
            n_rows=self._n_rows,
            n_sites=self._n_listed,
            is_open=not self._sections,
        )
        self._sections.append(section)
        link = page.Markup(f'<a href="#{key}">{page.text(stored.name)}</a>')
        row = [link, len(stored.place), stored.scores.n_skipped, len(stored.scores.sites), n_tracks]
        best = ranked_tracks(stored, p)[:1]
        row.append(self._predictor.names[best[0]] if len(best) else "–")
        if self._predictor.calibration is not None:
            values = (
                [float(p[best[0]]), float(self._rates.q_values(best, p[best])[0])] if len(best) else [np.nan, np.nan]
            )
            row += [(p_text(value), value) for value in values]
        self._rows.append(tuple(row))

    def page(self, model_name: str, n_nucleotides: int, remarks: list[str], notice: str = "") -> str:
        """Return the page as one HTML document; all text is escaped.

        Parameters
        ----------
        model_name : str
        n_nucleotides : int
            Of all records.
        remarks : list of str
            What the scores mean and how sites were called, as in the head of ``sites.bed``.
        notice : str
            Warning above all else.
        """
        names = self._predictor.names
        lead = (
            f"{counted(self._n_records, 'record')}, {n_nucleotides:,} nt, {counted(len(names), 'track')} of "
            f"{model_name}: {counted(int(self._n_sites.sum()), 'site')} in "
            f"{counted(int((self._n_sites > 0).sum()), 'track')}."
        )
        sections = {"records": ("Tracks along the records", self._records_section())}
        if self._n_records > 1:
            sections["tracks"] = ("Tracks of all records", self._tracks_section())
        sections["scores"] = ("What the scores mean", self._scores_section(remarks))
        sections["left-out"] = ("What was left out", self._left_out_section())
        title = "Which RNA-binding proteins bind, and where"
        return page.document(title, lead, sections, notice, style=STYLE, script=SCRIPT)

    def _records_section(self) -> str:
        colour = "the p-value" if self._predictor.calibration is not None else "the logit"
        parts = [
            page.paragraph(
                f"Each row is a track: an RBP in a cell line. Its colour is {colour} along the record, 5' to 3';",
                "orange marks are called sites. Like tracks stand together (#), and the columns show the best score of",
                "each. Drag over a map to zoom, double-click for the whole record, click headings to sort.",
            ),
            "<noscript><p>Zooming, sorting and values under the pointer need JavaScript.</p></noscript>",
        ]
        if self._n_records > 1:
            head = ["record", "nt", "not predicted (nt)", "sites", "tracks with sites", "best track"]
            head += ["p", "q"] if self._predictor.calibration is not None else []
            parts.append(page.table(head, self._rows, "", ("p", "q")))
        return "".join(parts) + "".join(self._sections)

    def _tracks_section(self) -> str:
        order = np.lexsort((-self._best, -self._n_bound, -self._n_sites))[:_MOST_TRACKS].tolist()
        p = self._predictor.p_values(np.arange(len(self._best)), self._best)
        rows = []
        for j in order:
            known = bool(np.isfinite(self._best[j]))
            row = [self._predictor.names[j], int(self._n_sites[j]), int(self._n_bound[j])]
            row += [
                self._best_record[j] or "–",
                (page.number(float(self._best[j]), 2), float(self._best[j])) if known else "–",
            ]
            if self._predictor.calibration is not None:
                value = float(p[j]) if known else np.nan
                row.append((p_text(value), value))
            rows.append(row)
        head = ["track", "sites", "records with sites", "highest score in", "logit"]
        head += ["p"] if self._predictor.calibration is not None else []
        caption = (
            f"The {len(order)} of {len(self._best):,} tracks with most sites" if len(order) < len(self._best) else ""
        )
        return page.table(head, rows, caption, ("highest score in", "p"))

    def _scores_section(self, remarks: list[str]) -> str:
        calibration, options = self._predictor.calibration, self._predictor.options
        parts = ["".join(map(page.paragraph, remarks))]
        parts.append(
            page.paragraph(
                f"Records are cut into tiles of {options.tile} nt, one every {options.stride} nt. The score of a",
                "nucleotide is the mean logit of the tiles that cover it.",
            )
        )
        if calibration is None:
            parts.append(
                page.paragraph("Logits order the positions of one track. They do not compare tracks with each other.")
            )
        else:
            parts.append(page.paragraph(*self._calibration_note(calibration)))
        parts.append(
            page.paragraph(
                "A track shows what resembles the peaks of one experiment, biases included; binding in other cells may",
                "differ.",
            )
        )
        return "".join(parts)

    @staticmethod
    def _calibration_note(calibration: Calibration) -> list[str]:
        n = calibration.n_background
        if calibration.negatives == "scan":
            of_p = f"from the scores along the given sequences, worth {n.min():,} independent tiles"
        else:
            smallest = f"{n.min():,} to " if n.min() < n.max() else ""
            of_p = f"from {smallest}{n.max():,} background windows per track"
        note = [f"Calibration: p-values come {of_p}; none is below a hundredth of one over their number."]
        if calibration.has_probabilities:
            note.append(f"Probabilities assume {calibration.prior:g} sites per background window.")
        if calibration.negatives != "scan":
            note.append("They were fitted to single windows; a mean over tiles varies less, so that they are cautious.")
        return note

    def _left_out_section(self) -> str:
        tile = self._predictor.options.tile
        items = []
        if self._n_skipped:
            items.append(
                f"Runs of N in {counted(self._n_skipped, 'record')}: {self._named(self._skipped, self._n_skipped)}."
            )
        if self._n_short:
            items.append(
                f"{counted(self._n_short, 'record')} shorter than a tile of {tile} nt, scored as they are, with less "
                f"context than the model was trained on: {self._named(self._short, self._n_short)}."
            )
        if (hidden := self._n_records - len(self._sections)) > 0:
            items.append(
                f"{counted(hidden, 'record')} after the first {len(self._sections)} are not drawn; records.csv and "
                "sites.bed have them."
            )
        if not items:
            return page.paragraph("Nothing: all nucleotides were predicted, and all records are shown.")
        return f"<ul>{''.join(f'<li>{page.text(item)}</li>' for item in items)}</ul>"

    @staticmethod
    def _named(first: list[tuple[str, int]], n: int) -> str:
        listed = ", ".join(f"{name} ({size:,} nt)" for name, size in first)
        return f"{listed} and {n - len(first):,} more" if n > len(first) else listed
