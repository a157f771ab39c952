"""Whole predictions: tables, tracks, resumed runs."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
from counting_model import calibrated, planted, random_sequence

from LAMAR import scan
from LAMAR.errors import InputError
from LAMAR.interpretation.run_record import RunRecord
from LAMAR.prediction import run as run_module
from LAMAR.prediction import scanning
from LAMAR.prediction.predictor import Predictor
from LAMAR.prediction.records import Place, Record
from LAMAR.prediction.run import Outputs, predict_records

RECORDS = [
    Record("planted", planted(), Place("planted", "+", (0,), (500,))),
    Record("spliced", random_sequence(60, 1), Place("chr1", "-", (100, 200), (130, 230))),
    Record("empty", "N" * 40, Place("empty", "+", (0,), (40,))),
    Record("short", "AAAAA", Place("short", "+", (0,), (5,))),
]


def predicted(folder: Path, records=RECORDS, predictor=None, **options):
    outputs = Outputs(**options)
    return predict_records(
        records, predictor or Predictor(calibrated(), stride=1, max_p=0.9), folder, RunRecord(), outputs
    )


def bed(folder: Path) -> tuple[list[str], list[dict]]:
    lines = (folder / "sites.bed").read_text().splitlines()
    comments = [line for line in lines if line.startswith("#")]
    header = comments[-1].lstrip("#").split("\t")
    return comments, [dict(zip(header, line.split("\t"))) for line in lines if not line.startswith("#")]


def table(path: Path) -> list[dict]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("family", ["track", "all"])
def test_sites_are_those_below_the_false_discovery_rate(tmp_path, family):
    outcome = predicted(tmp_path, q=0.6, family=family)
    comments, sites = bed(tmp_path)
    tests = 493 + 53 + 1  # of a track
    remark = {
        "track": f"0.6 or less over {tests} tests, those of its track. Where nothing binds, a track has a site with a "
        "chance of up to 0.6: 1.2 of the 2 tracks of this run.",
        "all": f"0.6 or less over {2 * tests:,} tests, those of all tracks.",
    }
    assert comments[1] == f"# Sites with a false discovery rate of {remark[family]}"
    assert outcome.remarks[1] == comments[1][2:]
    assert ("of all tiles of its track in this run" in comments[0]) is (family == "track")
    assert outcome.n_sites == len(sites) == sum(outcome.sites_by_track.values()) >= 3
    assert all(float(site["q"]) <= 0.6 for site in sites)
    everything = Predictor(calibrated(), stride=1, max_p=1)
    tables = [everything.predict(record).sites for record in RECORDS]
    rates = everything.p_counts.rates(family)
    wanted = [
        (record.name, "AT"[track], p)
        for record, table_ in zip(RECORDS, tables)
        for track, p, rate in zip(table_.track, table_.p, rates.q_values(table_.track, table_.p))
        if rate <= 0.6
    ]
    found = [(s["record"], s["track"], float(s["p"])) for s in sites]
    assert [name for name, *_ in found] == [name for name, *_ in wanted]
    assert [p for *_, p in found] == pytest.approx([p for *_, p in wanted], rel=1e-5)


def test_what_a_track_calls_does_not_depend_on_the_others(tmp_path):
    predicted(tmp_path / "both", q=0.6)
    alone = Predictor(calibrated(), stride=1, rbps=["T"], max_p=0.6)
    assert predicted(tmp_path / "one", q=0.6, predictor=alone).remarks[1].endswith("with a chance of up to 0.6.")
    both, one = ([line for line in bed(tmp_path / name)[1] if line["track"] == "T"] for name in ("both", "one"))
    assert one
    assert one == both


def test_sites_lie_on_the_chromosome_of_their_record(tmp_path):
    predicted(tmp_path, predictor=Predictor(calibrated(), stride=1, max_p=1, top=1))
    _, sites = bed(tmp_path)
    spliced = [site for site in sites if site["record"] == "spliced"]
    assert {site["track"] for site in spliced} == {"A", "T"}
    for site in spliced:
        assert (site["chrom"], site["strand"]) == ("chr1", "-")
        sizes, starts = ([int(n) for n in site[name].split(",")] for name in ("blockSizes", "blockStarts"))
        assert len(sizes) == int(site["blockCount"])
        assert sum(sizes) == 30
        assert starts[-1] + sizes[-1] == int(site["end"]) - int(site["start"])
        for start, size in zip(starts, sizes):
            left = int(site["start"]) + start
            assert 100 <= left < left + size <= 130 or 200 <= left < left + size <= 230
    short = [site for site in sites if site["record"] == "short"]
    assert {(site["start"], site["end"]) for site in short} == {("0", "5")}


def test_records_have_their_best_score_on_all_scales(tmp_path):
    predicted(tmp_path)
    rows = {(row["record"], row["track"]): row for row in table(tmp_path / "records.csv")}
    assert len(rows) == 8
    model = calibrated()
    scores = scan(model, planted(), stride=1)
    row = rows["planted", "A"]
    best = scores[:, 0].max()
    assert float(row["best_logit"]) == pytest.approx(best, rel=1e-5)
    assert float(row["best_p"]) == pytest.approx(model.calibration.p_values_of(0, scores[:, 0]).min(), rel=1e-5)
    assert float(row["best_probability"]) == pytest.approx(
        model.calibration.probabilities(scores)[:, 0].max(), rel=1e-5
    )
    assert scores[int(row["best_position"]), 0] == best
    assert (row["length"], row["skipped"]) == ("500", "0")
    assert {rows["empty", "A"][name] for name in ("best_logit", "best_p", "best_position")} == {""}
    assert rows["empty", "A"]["skipped"] == "40"
    _, sites = bed(tmp_path)
    for (name, track), row in rows.items():
        assert int(row["n_sites"]) == sum((site["record"], site["track"]) == (name, track) for site in sites)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "BATCH_NUCLEOTIDES", 100)
    predicted(tmp_path / "whole", bedgraph=True)

    def interrupted():
        yield from RECORDS[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predicted(tmp_path / "parts", interrupted(), bedgraph=True)
    assert not (tmp_path / "parts" / "sites.bed").exists()

    class Unused(Predictor):
        def predict(self, record, **options):
            assert record.name != "planted"  # the first batch was finished
            return super().predict(record, **options)

    predicted(tmp_path / "parts", predictor=Unused(calibrated(), stride=1, max_p=0.9), bedgraph=True)
    for name in ("sites.bed", "records.csv", "report.html", "tracks/A.bedgraph", "tracks/T.bedgraph"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_damaged_scores_are_computed_again(tmp_path, caplog):
    predicted(tmp_path, bedgraph=True, matrix=True)
    names = ("sites.bed", "tracks/A.bedgraph", "matrix.parquet")
    before = {name: (tmp_path / name).read_bytes() for name in names}
    (tmp_path / "profiles" / "batch_000000.npz").write_bytes(b"damaged")
    (tmp_path / "tracks" / "A.bedgraph").unlink()
    predicted(tmp_path, bedgraph=True, matrix=True)
    assert "missing or damaged, computed again" in caplog.text
    assert {name: (tmp_path / name).read_bytes() for name in names} == before


def test_the_matrix_has_each_tile_once(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "BATCH_NUCLEOTIDES", 100)
    monkeypatch.setattr(scanning, "N_TILES", 20)
    predicted(tmp_path, predictor=Predictor(calibrated(), stride=3), matrix=True)
    file = parquet.ParquetFile(tmp_path / "matrix.parquet")
    assert file.num_row_groups == 3  # one of each batch
    assert b"logit" in file.schema_arrow.metadata[b"meaning"]
    assert [str(file.schema_arrow.field(name).type) for name in "AT"] == ["float", "float"]
    rows = file.read().to_pylist()
    sequences = {record.name: record.sequence for record in RECORDS}
    starts = {"planted": [*range(0, 492, 3), 492], "spliced": [*range(0, 52, 3), 52], "short": [0]}
    wanted = [(name, start, min(start + 8, len(sequences[name]))) for name in starts for start in starts[name]]
    assert [(row["record"], row["start"], row["end"]) for row in rows] == wanted
    for row in rows:
        tile = sequences[row["record"]][row["start"] : row["end"]]
        assert (row["A"], row["T"]) == (tile.count("A"), tile.count("T"))


def test_batches_change_nothing(tmp_path, monkeypatch):
    predicted(tmp_path / "one")
    monkeypatch.setattr(run_module, "BATCH_NUCLEOTIDES", 1)
    predicted(tmp_path / "many")
    for name in ("sites.bed", "records.csv", "report.html"):
        assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_a_model_without_calibration_has_logits_only(tmp_path):
    model = calibrated()
    model.calibration = None
    outcome = predicted(tmp_path, predictor=Predictor(model, top=2), notice="DEMO: not real")
    comments, sites = bed(tmp_path)
    assert comments[0] == "# DEMO: not real"
    assert "no calibration" in comments[1]
    assert outcome.n_sites == len(sites)
    assert set(sites[0]).isdisjoint(("p", "q", "probability"))
    assert {site["score"] for site in sites} == {"0"}
    assert set(table(tmp_path / "records.csv")[0]).isdisjoint(("best_p", "best_q", "best_probability"))


def test_bad_records_leave_nothing(tmp_path):
    def records():
        raise InputError("x.fa: line 1: found no FASTA record")
        yield

    with pytest.raises(InputError, match="found no FASTA record"):
        predicted(tmp_path / "out", records())
    assert not (tmp_path / "out").exists()
