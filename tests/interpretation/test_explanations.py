"""Explanations as rows, arrays, tracks and figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from toy_classifiers import Linear

from LAMAR.interpretation import attribution_figures as plots
from LAMAR.interpretation.attribution_tables import (
    bedgraph_rows,
    coordinates,
    record_rows,
    top_rows,
    write_bedgraph,
)
from LAMAR.interpretation.explanations import ExplainOptions, Explanation, explain
from LAMAR.interpretation.methods import METHODS

pytest.importorskip("captum")

RECORDS = [("chr1:100-106(+)", "ACGNTA"), ("chr1:103-108(-)", "TTGCA"), ("plain", "ACGT")]


@pytest.fixture(scope="module")
def explained():
    return explain(Linear(), RECORDS, ExplainOptions(n_steps=4, window_size=2))


def test_every_method_has_its_table(explained):
    for found, (name, sequence) in zip(explained, RECORDS):
        assert list(found.tracks) == list(METHODS)
        n_known = len(sequence) - sequence.count("N")
        for method in METHODS:
            rows = found.rows(method)
            assert len(rows) == (3 * n_known if method == "mutagenesis" else len(sequence))
            assert all(tuple(row) == METHODS[method].columns for row in rows)
            assert {row["record"] for row in rows} == {name}
        substitution = found.rows("mutagenesis")[0]
        assert substitution["alternative"] != substitution["reference"] == sequence[0]


def test_tables_agree_with_the_tracks(explained):
    found = explained[1]
    effects = [row["effect_log_odds"] for row in found.rows("mutagenesis")]
    means = -np.array(effects).reshape(5, 3).mean(axis=1)
    np.testing.assert_allclose(found.tracks["mutagenesis"], means, atol=1e-6)
    integrated = found.rows("integrated")
    total = sum(row["score"] for row in integrated)
    # The special tokens are as in the baseline, so the nucleotides carry the whole difference.
    assert total == pytest.approx(integrated[0]["difference"] + integrated[0]["delta"], abs=1e-5)
    assert {row["n_steps"] for row in integrated} == {4}


def test_plain_form_is_the_same_to_the_bit(explained):
    for found in explained:
        # As a unit of a run holds it: NaN is null.
        text = json.dumps(found.to_plain()).replace("NaN", "null")
        back = Explanation.from_plain(json.loads(text))
        assert back.rows("integrated") == found.rows("integrated")
        for method, track in found.tracks.items():
            np.testing.assert_array_equal(back.tracks[method], track)
        np.testing.assert_array_equal(back.effects["probability"], found.effects["probability"])
        assert back.score() == found.score()
        assert back.arrays().keys() == found.arrays().keys()


def test_a_region_keeps_positions_of_the_whole(explained):
    (part,) = explain(Linear(), RECORDS[:1], ExplainOptions(n_steps=4, window_size=2, region=(4, 6)))
    whole = explained[0]
    assert part.explained == "TA"
    assert [row["position"] for row in part.rows("gradient")] == [4, 5]
    for method in METHODS:
        np.testing.assert_allclose(part.tracks[method], whole.tracks[method][4:6], atol=1e-6)


def test_bedgraph_turns_the_minus_strand_back_and_averages_overlaps():
    def with_track(record, sequence, values):
        track = {"score": np.array(values, dtype=np.float32), "n_windows": np.ones(len(values), np.float32)}
        logits = np.zeros(2, np.float32)
        return Explanation(
            record, sequence, 0, len(sequence), 1, "classification", "log_odds", logits, {"window": track}
        )

    found = [
        with_track("chr2:10-13(-)", "ACG", [1, 2, np.nan]),
        with_track("chr2:11-13(-)", "AC", [3, 5]),
        with_track("chr2:20-22(+)", "AC", [7, 8]),
        with_track("chr2:20-29(+)", "AC", [7, 8]),  # another length than its coordinates
        with_track("name", "AC", [7, 8]),
    ]
    # The first letter of a minus record is its last position.
    wanted = [("chr2", 11, 12, (2 + 5) / 2), ("chr2", 12, 13, (1 + 3) / 2)]
    assert bedgraph_rows(found, "window", "-") == wanted
    assert bedgraph_rows(found, "window", "+") == [("chr2", 20, 21, 7.0), ("chr2", 21, 22, 8.0)]
    assert coordinates(found[3]) is None


def test_bedgraph_file(tmp_path):
    write_bedgraph(tmp_path / "x.bedgraph", [("chr1", 5, 6, 0.25)], "window plus")
    assert (tmp_path / "x.bedgraph").read_text().splitlines() == [
        'track type=bedGraph name="window plus"',
        "chr1\t5\t6\t0.25",
    ]


def test_top_rows_are_by_absolute_score_without_nan(explained):
    rows = [row for row in top_rows(explained[:1], 10) if row["method"] == "mutagenesis"]
    assert len(rows) == 5  # six letters, one of them N
    strengths = [abs(row["score"]) for row in rows]
    assert strengths == sorted(strengths, reverse=True)
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    assert all(RECORDS[0][1][row["position"]] == row["nucleotide"] for row in rows)


def test_record_rows(explained):
    rows = record_rows(explained)
    assert [row["chrom"] for row in rows] == ["chr1", "chr1", None]
    assert rows[1]["strand"] == "-"
    for row in rows:
        assert row["probability"] == pytest.approx(1 / (1 + np.exp(-row["value"])), abs=1e-6)


def test_long_sequences_are_drawn_in_windows():
    assert plots.pages(101) == [(0, 101)]
    assert plots.pages(240) == [(0, 120), (120, 240)]
    assert plots.pages(250) == [(0, 83), (83, 167), (167, 250)]
    rng = np.random.default_rng(0)
    sequence = "".join(rng.choice(list("ACGTN"), 130))
    track = rng.normal(size=130).astype(np.float32)
    track[5] = np.nan
    values = {"window": {"score": track, "n_windows": np.ones(130, np.float32)}}
    found = Explanation("a $name", sequence, 0, 130, 1, "classification", "log_odds", np.zeros(2, np.float32), values)
    figures = plots.plot_tracks(found, top=3)
    assert len(figures) == 2
    limits = {figure.axes[1].get_ylim() for figure in figures}
    assert len(limits) == 1  # one scale over all pages
    shown = [figure.axes[1].get_xlim() for figure in figures]
    assert np.ravel(shown) == pytest.approx([-0.7, 64.7, 64.3, 129.7])


def test_heat_map_is_symmetric_around_zero():
    effects = np.array([[0, 1, -3, 0.5], [np.nan] * 4], dtype=np.float32)
    (figure,) = plots.plot_mutagenesis(effects, "AN", 7, "log_odds")
    (image,) = figure.axes[0].get_images()
    assert image.get_clim() == (-3.0, 3.0)
    assert image.get_array().shape == (4, 2)
    assert image.get_array().mask[:, 1].all()


def test_logo_heights():
    figure, axes = plots.new_figure(3, 2)
    plots.draw_logo(axes[0, 0], "AC", np.array([2.0, -1.0]), start=5)
    extents = [patch.get_path().get_extents() for patch in axes[0, 0].patches]
    assert max(box.y1 for box in extents) == pytest.approx(2.0)
    assert min(box.y0 for box in extents) == pytest.approx(-1.0)
    assert axes[0, 0].get_xticks().tolist() == [5]
    assert figure.axes
