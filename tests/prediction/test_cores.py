"""Cores of sites, with a model that counts letters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from counting_model import Counts, planted

from LAMAR.interpretation.classifiers import load_classifier
from LAMAR.interpretation.mutagenesis import mutagenesis
from LAMAR.interpretation.run_record import RunRecord
from LAMAR.prediction import cores as cores_module
from LAMAR.prediction.cores import BestSites, core_of, site_tile
from LAMAR.prediction.predictor import Predictor, SiteTable
from LAMAR.prediction.records import Place, Record
from LAMAR.prediction.run import Outputs, predict_records

NAN = np.nan


@pytest.mark.parametrize(
    ("importance", "core"),
    [
        ([0, 0, 1, 1, 1, 0, 0], (2, 5)),
        ([0, 0.1, 2, 2, 0, 2, 2, 0.1], (2, 7)),  # a position without importance within a core, none at its ends
        ([NAN, 3, NAN, 3, 0], (1, 4)),
        ([0.1, 2, -3, 0], None),  # what speaks against the track is as strong
        ([0.5, -0.5, 0.5, -0.5], None),
        ([-1, 0, 0], None),
        ([0, 0], None),
        ([5], (0, 1)),
    ],
)
def test_a_core_is_the_stretch_that_stands_out(importance, core):
    assert core_of(np.array(importance, dtype=float)) == core


@pytest.mark.parametrize(
    ("start", "end", "tile"),
    [
        (20, 30, (0, 50)),
        (0, 30, (0, 50)),
        (35, 65, (10, 60)),
        (60, 90, (70, 120)),
        (170, 200, (150, 200)),
        (210, 222, (210, 222)),
    ],
)
def test_a_tile_lies_around_its_site_between_runs_of_n(start, end, tile):
    sequence = "A" * 60 + "N" * 10 + "A" * 130 + "N" * 10 + "A" * 12
    assert site_tile(sequence, start, end, 50) == tile


def sites(*rows) -> SiteTable:
    kinds = (np.int64, np.int64, np.int64, np.float32, np.float64)
    return SiteTable(*(np.array(column, dtype=kind) for column, kind in zip(zip(*rows), kinds)))


def test_the_best_sites_of_a_run():
    best = BestSites(3)
    best.add(sites((0, 10, 40, 1.0, 0.03), (1, 50, 80, 2.0, 0.001)))
    best.add(sites((0, 5, 35, 9.0, 0.03)))
    best.add(SiteTable.joined([]))
    best.add(sites((2, 7, 37, 0.0, 0.002)))
    assert [(site.record, site.track, site.start) for site in best.chosen()] == [(0, 1, 50), (1, 0, 5), (3, 2, 7)]
    by_score = BestSites(1)
    by_score.add(sites((0, 10, 40, 1.0, NAN), (1, 50, 80, 2.0, NAN)))
    assert [site.track for site in by_score.chosen()] == [1]


def test_many_records_keep_the_best_sites():
    rng, best, rows = np.random.default_rng(0), BestSites(5), []
    for record in range(100):
        p = float(rng.uniform())
        best.add(sites((0, 3, 33, 0.0, p)))
        rows.append((p, record))
    assert [site.record for site in best.chosen()] == sorted(record for _, record in sorted(rows)[:5])


PLACES = [Place("planted", "+", (0,), (500,)), Place("chr1", "-", (1000, 2000), (1104, 2396))]


def explained(folder: Path, n: int = 100, **options) -> list[dict]:
    """Sites of the planted sequence, on its own and on the genome; tiles of 24 nt hold a whole site."""
    records = [Record(place.chrom, planted(), place) for place in PLACES]
    predict_records(records, Predictor(Counts(24), stride=1, top=1), folder, RunRecord(), Outputs(explain=n, **options))
    lines = (folder / "sites.bed").read_text().splitlines()
    header = [line for line in lines if line.startswith("#")][-1].lstrip("#").split("\t")
    return [dict(zip(header, line.split("\t"))) for line in lines if not line.startswith("#")]


def test_cores_are_the_letters_that_the_model_counts(tmp_path):
    """A substitution of a counted letter costs 1; of another, one of three brings 1, so that it has minus a third."""
    rows = explained(tmp_path)
    assert [(row["record"], row["track"]) for row in rows] == [
        ("planted", "A"), ("planted", "T"), ("chr1", "A"), ("chr1", "T"),
    ]  # fmt: skip
    for row in rows:
        first = {"A": 100, "T": 300}[row["track"]]
        assert (int(row["core_start"]), int(row["core_end"])) == (first, first + 8)
        assert row["core"] == row["track"] * 8
        assert float(row["core_importance"]) == pytest.approx(1)
        place = PLACES[row["record"] == "chr1"]
        blocks = place.blocks(first, first + 8)
        assert (int(row["thickStart"]), int(row["thickEnd"])) == (blocks[0][0], blocks[-1][1])
        assert int(row["start"]) <= int(row["thickStart"]) < int(row["thickEnd"]) <= int(row["end"])
    page = (tmp_path / "report.html").read_text()
    assert "UUUUUUUU" in page
    assert "Cores of the 4 best sites" in page


def test_only_the_best_sites_are_explained(tmp_path):
    rows = explained(tmp_path, n=2)  # of equal scores those of the first record
    assert [row["core"] for row in rows] == ["A" * 8, "T" * 8, ".", "."]
    assert [row["thickStart"] for row in rows if row["core"] == "."] == [r["start"] for r in rows if r["core"] == "."]


def test_explained_sites_are_not_explained_again(tmp_path, monkeypatch):
    monkeypatch.setattr(cores_module, "_TILES_OF_A_UNIT", 1)
    expected = explained(tmp_path / "whole")
    compute, calls = cores_module.mutagenesis, []

    def counted(model, sequences, **options):
        calls.append(sequences)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compute(model, sequences, **options)

    monkeypatch.setattr(cores_module, "mutagenesis", counted)
    with pytest.raises(KeyboardInterrupt):
        explained(tmp_path / "parts")
    assert explained(tmp_path / "parts") == expected
    assert len(calls) == 5  # four tiles, one of them begun twice
    for name in ("sites.bed", "report.html"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_pumilio_rests_on_its_motif():
    """The model that ships, on NORAD (ENST00000565493.2, 763-864) around its first UGUANAUA."""
    model, _ = load_classifier(Path(__file__).resolve().parents[2] / "weights" / "lamar-mini-rbp")
    predictor = Predictor(model, rbps=["PUM2_K562"])
    sequence = "TTGGAAATGCCCACCACCCTCTGGGAAGATTTACTGGCCGTTTATGGAAGGCCTGTGTATATAATATGAAAAAGCTGCTCTCAACTCCACCCCAACCTTTT"
    result = mutagenesis(model, [sequence], target=int(predictor.columns[0]))[0]
    assert core_of(result.importance()) == (55, 63)
    assert sequence[55:63] == "TGTATATA"


def test_without_cores_the_columns_are_those_of_before(tmp_path):
    predict_records(
        [Record("planted", planted(), PLACES[0])], Predictor(Counts(24), stride=1, top=1), tmp_path, RunRecord()
    )
    assert "\tcore" not in (tmp_path / "sites.bed").read_text()
