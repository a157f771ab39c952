"""bedGraph and bigWig files: every nucleotide has its score, on either strand and across splice junctions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from LAMAR.errors import InputError
from LAMAR.prediction import track_files
from LAMAR.prediction.records import Place
from LAMAR.prediction.tiling import Profile
from LAMAR.prediction.track_files import placed_intervals, require_bigwig, write_bedgraphs, write_bigwigs

PLACES = [
    Place("whole", "+", (0,), (40,)),
    Place("chr1", "-", (100, 200), (130, 230)),
    Place("chr1", "+", (90, 210, 300), (120, 215, 340)),
    Place("chr1", "+", (100,), (115,)),  # within the one before
    Place("chr1", "-", (400,), (450,)),
]


def parts(seed: int = 0) -> list[tuple[Place, Profile]]:
    """Two parts of each place, with a gap between them, and scores of three tracks."""
    rng = np.random.default_rng(seed)
    found = []
    for place in PLACES:
        cut = len(place) // 2
        for start, end in ((0, cut), (cut + 2, len(place))):
            inner = np.sort(rng.choice(np.arange(start + 1, end), size=min(4, end - start - 1), replace=False))
            bounds = np.concatenate([[start], inner, [end]])
            found.append((place, Profile(bounds, rng.integers(0, 3, (len(bounds) - 1, 3)).astype(np.float32))))
    return found


def expected(found: list[tuple[Place, Profile]], column: int, strand: str | None = None) -> dict:
    """Scores of each nucleotide, mapped one by one."""
    scores: dict[tuple[str, int], list[float]] = {}
    for place, profile in found:
        if strand in (None, place.strand):
            for offset, value in enumerate(profile.per_nucleotide()[:, column].tolist()):
                position = int(profile.bounds[0]) + offset
                scores.setdefault((place.chrom, place.blocks(position, position + 1)[0][0]), []).append(value)
    return scores


@pytest.mark.parametrize("place", PLACES)
def test_intervals_lie_where_blocks_says(place):
    bounds = np.array([0, 3, 7, len(place) - 2, len(place)])
    rows, starts, ends = placed_intervals(place, bounds)
    assert (np.diff(starts) > 0).all()
    wanted = {(i, *block) for i in range(4) for block in place.blocks(int(bounds[i]), int(bounds[i + 1]))}
    assert set(zip(rows.tolist(), starts.tolist(), ends.tolist())) == wanted


def test_bedgraphs_have_the_score_of_every_nucleotide(tmp_path, monkeypatch):
    monkeypatch.setattr(track_files, "_OPEN_FILES", 2)
    # Of each nucleotide of one record only.
    found = [(place, profile) for place, profile in parts() if place is not PLACES[3] and place is not PLACES[2]]
    write_bedgraphs(tmp_path, ["A", "B", "C"], lambda: iter(found))
    for column, name in enumerate("ABC"):
        head, *lines = (tmp_path / f"{name}.bedgraph").read_text().splitlines()
        assert f'name="{name}"' in head
        values, before = {}, None
        for line in lines:
            chrom, start, end, value = line.split("\t")
            assert (chrom, start, value) != before  # neighbours of one value are joined
            before = chrom, end, value
            values |= {(chrom, i): [float(value)] for i in range(int(start), int(end))}
        assert values == expected(found, column)


@pytest.mark.parametrize("at_once", [1 << 20, 1])
def test_bigwigs_have_the_mean_of_the_records_of_each_strand(tmp_path, monkeypatch, at_once):
    bigwig = pytest.importorskip("pybigtools")
    monkeypatch.setattr(track_files, "_VALUES", at_once)
    found = parts()
    write_bigwigs(tmp_path, ["A", "B", "C"], lambda: iter(found), {"1": 1000})
    assert len(list(tmp_path.iterdir())) == 6
    for column, name in enumerate("ABC"):
        for strand, ending, sizes in (("+", "plus", {"whole": 40, "chr1": 1000}), ("-", "minus", {"chr1": 1000})):
            file = bigwig.open(str(tmp_path / f"{name}.{ending}.bw"))
            assert file.chroms() == sizes
            read = {
                (chrom, i): value
                for chrom in sizes
                for start, end, value in file.records(chrom)
                for i in range(start, end)
            }
            wanted = expected(found, column, strand)
            assert read.keys() == wanted.keys()
            assert any(len(values) > 1 for values in wanted.values()) is (strand == "+")
            assert read == {key: pytest.approx(np.mean(values)) for key, values in wanted.items()}


def test_records_of_one_strand_have_one_file(tmp_path: Path):
    bigwig = pytest.importorskip("pybigtools")
    write_bigwigs(tmp_path, ["A", "B", "C"], lambda: iter([parts()[i] for i in (0, 1, 4)]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A.bw", "B.bw", "C.bw"]
    assert bigwig.open(str(tmp_path / "A.bw")).chroms() == {"whole": 40, "chr1": 302}


def test_the_package_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"`bigwig`: needs the package pybigtools: pip install 'LAMAR\[bigwig\]'"):
        require_bigwig()
