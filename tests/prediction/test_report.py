"""The page of a prediction: what it shows, what it bounds, what it escapes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from counting_model import calibrated, planted, random_sequence
from page_parser import PageParser

from LAMAR import scan
from LAMAR.data.track_calibration import read_calibration
from LAMAR.interpretation.run_record import RunRecord
from LAMAR.prediction.calls import PValueCounts
from LAMAR.prediction.predictor import Predictor, RecordScores, SiteTable, StoredRecord
from LAMAR.prediction.records import Place, Record
from LAMAR.prediction.report import MOST_RECORDS, Report
from LAMAR.prediction.report_page import SCRIPT
from LAMAR.prediction.run import Outputs, predict_records
from LAMAR.prediction.scanning import ScanOptions

REPO = Path(__file__).resolve().parents[2]
WEIGHTS = REPO / "weights" / "lamar-mini-rbp"


def record(name: str, sequence: str, place: Place | None = None) -> Record:
    return Record(name, sequence, place or Place(name, "+", (0,), (len(sequence),)))


def page_of(folder: Path, records: list[Record], predictor: Predictor | None = None, **options) -> str:
    predictor = predictor or Predictor(calibrated(), stride=1, max_p=0.9)
    predict_records(records, predictor, folder, RunRecord(weights={"model_path": "models/counts"}), Outputs(**options))
    return (folder / "report.html").read_text(encoding="utf-8")


def rows_of(page: str) -> list[dict]:
    """The rows of the first heat map: track, and the attributes of its strip."""
    body = re.search(r'<div class="heat".*?</table>', page, re.DOTALL)[0]
    found = re.findall(r'<th scope="row" title="([^"]*)">.*?<svg ([^>]*)>', body, re.DOTALL)
    return [{"track": name} | dict(re.findall(r'([\w-]+)="([^"]*)"', attributes)) for name, attributes in found]


def test_a_row_has_the_scores_and_the_sites_of_its_track(tmp_path):
    page = page_of(tmp_path, [record("planted", planted())], q=0.9)
    rows = {row["track"]: row for row in rows_of(page)}
    assert set(rows) == {"A", "T"}
    sites = [line.split("\t") for line in (tmp_path / "sites.bed").read_text().splitlines() if line[0] != "#"]
    for track, row in rows.items():
        marked = [(int(site[1]), int(site[2])) for site in sites if site[3] == track]
        assert marked == list(zip(*[iter(map(int, row["data-sites"].split()))] * 2))
        assert row["viewBox"] == "0 0 500 1"
    scores = scan(calibrated(), planted(), stride=1)[:, 0]
    assert [float(edge) for edge in rows["A"]["data-range"].split()] == pytest.approx([scores.min(), scores.max()])
    text = " ".join(PageParser(page).text)
    assert f"1 record, 500 nt, 2 tracks of counts: {len(sites)} sites in 2 tracks." in text
    assert "false discovery rate of 0.9 or less" in text
    assert "Probabilities assume 0.001 sites per background window" in text
    assert "come from 20,000 background windows" in text
    assert "Nothing: all nucleotides were predicted" in text


def test_positions_are_those_of_the_genome_too(tmp_path):
    place = Place("chr<1>", "-", (100, 200), (130, 230))
    page = page_of(tmp_path, [record("spliced", random_sequence(60, 1), place)])
    data = json.loads(unescape(re.search(r'data-place="([^"]*)"', page)[1]))
    assert data == {"length": 60, "chrom": "chr<1>", "strand": "-", "blocks": [[100, 130], [200, 230]]}


def test_names_are_escaped_and_nothing_is_loaded(tmp_path):
    name = "<script>alert('x')</script>&\"</details>"
    page = page_of(tmp_path, [record(name, planted()), record("b", planted())], notice="<b>DEMO</b>")
    parsed = PageParser(page)  # asserts that tags nest
    assert len([text for text in parsed.scripts if "alert(" in text]) == 0
    assert name in "".join(parsed.text)
    assert "<b>DEMO</b>" in "".join(parsed.text)
    for address in parsed.addresses:
        assert address.startswith(("#", "data:image/png;base64,"))
    assert "http" not in re.sub(r"http-equiv", "", page)


def test_what_was_left_out_is_named(tmp_path):
    records = [
        record("gap", planted()[:200] + "N" * 30 + planted()[:100]),
        record("short", "AAAAA"),
        record("nothing", "N" * 40),
    ]
    text = " ".join(PageParser(page_of(tmp_path, records)).text)
    assert "Runs of N in 2 records: gap (30 nt), nothing (40 nt)." in text
    assert "1 record shorter than a tile of 8 nt" in text
    assert "short (5 nt)" in text
    assert "Nothing was predicted." in text


def test_a_model_without_calibration_shows_logits(tmp_path):
    model = calibrated()
    model.calibration = None
    page = page_of(tmp_path, [record("planted", planted())], Predictor(model, top=2))
    assert "data-logistic" not in page
    text = " ".join(PageParser(page).text)
    assert "Its colour is the logit" in text
    assert "The model has no calibration" in text
    assert "robabilit" not in text


def test_the_same_input_gives_the_same_page(tmp_path):
    records = [record("a", planted()), record("b", random_sequence(300))]
    assert page_of(tmp_path / "one", records) == page_of(tmp_path / "two", records)


def stored(name: str, length: int, k: int, rng: np.random.Generator, n_sites: int) -> StoredRecord:
    heat = rng.normal(-6, 2, (600, k)).astype(np.float32)
    start = np.sort(rng.integers(0, length - 30, n_sites))
    sites = SiteTable(
        rng.integers(0, k, n_sites), start, start + 30, rng.normal(0, 1, n_sites).astype(np.float32),
        10.0 ** -rng.uniform(2, 6, n_sites),
    )  # fmt: skip
    best = RecordScores(4000, 0, heat.max(axis=0), heat.argmax(axis=0) * 167, sites)
    return StoredRecord(name, Place(name, "+", (0,), (length,)), best, (167, heat))


def many_tracks() -> SimpleNamespace:
    """What the page needs of the predictor of the model that ships."""
    names = list(json.loads((WEIGHTS / "config.json").read_text())["id2label"].values())
    calibration = read_calibration(WEIGHTS, names)
    return SimpleNamespace(
        names=names, calibration=calibration, options=ScanOptions(101, 25), p_values=calibration.p_values_at
    )


@pytest.mark.parametrize(("n_records", "n_rows"), [(1, 244), (250, 15)])
def test_the_page_stays_small(n_records, n_rows):
    predictor, rng = many_tracks(), np.random.default_rng(0)
    counts = PValueCounts(len(predictor.names))
    counts.add(10.0 ** -rng.uniform(0, 6, (1000, len(predictor.names))))
    report = Report(predictor, counts.rates("track"), n_records)
    one = stored("r", 100_000, len(predictor.names), rng, 20_000)
    for number in range(n_records):
        report.add(replace(one, name=f"r{number}", heat=one.heat if number < MOST_RECORDS else None))
    page = report.page("lamar-mini-rbp", n_records * 100_000, ["What scores mean."])
    assert len(page) < 15e6
    assert len(rows_of(page)) == n_rows
    text = " ".join(PageParser(page).text)
    assert "A cell is the highest score of 167 nt." in text
    assert "Marked are the 60 best sites of a track at most." in text
    if n_records > MOST_RECORDS:
        assert "50 records after the first 200 are not drawn" in text
        assert f"{len(predictor.names) - n_rows} tracks with lower scores are not drawn" in text


def test_the_script_is_javascript(tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    path = tmp_path / "script.js"
    path.write_text('"use strict";\n' + SCRIPT, encoding="utf-8")
    subprocess.run([node, "--check", path], check=True)
