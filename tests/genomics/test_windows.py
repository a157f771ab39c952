"""Where windows lie: by length, on either strand, with the peaks in them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from LAMAR.alphabet import reverse_complement
from LAMAR.data.window_files import metadata_form, metadata_schema, open_metadata, read_metadata, render
from LAMAR.errors import InputError
from LAMAR.genomics.intervals import overlap
from LAMAR.genomics.windows import (
    CLASSES,
    METHODS,
    DescribedWindows,
    IntervalIndex,
    Record,
    WindowRule,
    merge_named_peaks,
    place_windows,
    to_genomic,
    to_local,
)

NO_PEAKS = np.zeros(0, np.int64), np.zeros((0, 2), np.int64)


def windows_of(length: int, rule: WindowRule, peaks=(), name: str = "r") -> list[tuple[int, int, str]]:
    peaks = np.asarray(peaks, np.int64).reshape(-1, 2)
    placed = place_windows(np.array([length]), [name], rule, np.zeros(len(peaks), np.int64), peaks)
    return [(a, b, METHODS[m]) for _, a, b, m in zip(*(column.tolist() for column in placed))]


def test_windows_by_length_that_one_can_write_down():
    rule = WindowRule(max_len=100, stride=40)
    assert windows_of(100, rule) == [(0, 100, "whole")]
    assert windows_of(101, rule) == [(0, 100, "sliding"), (1, 101, "sliding")]
    assert windows_of(180, rule) == [(0, 100, "sliding"), (40, 140, "sliding"), (80, 180, "sliding")]
    assert [a for a, *_ in windows_of(190, rule)] == [0, 40, 80, 90]
    assert {m for *_, m in windows_of(1200, rule)} == {"sliding"}
    assert [m for *_, m in windows_of(1201, rule)] == ["uniform"] * 3  # sqrt(12.01) rounded down
    assert [m for *_, m in windows_of(2500, rule)] == ["uniform"] * 5


def test_the_other_rule_changes_at_four_windows_and_strides_by_half():
    rule = WindowRule(max_len=100, stride=7, sampling="doc")
    assert windows_of(100, rule) == [(0, 100, "whole")]
    assert [(a, m) for a, _, m in windows_of(399, rule)] == [(x, "sliding") for x in (0, 50, 100, 150, 200, 250, 299)]
    assert [m for *_, m in windows_of(400, rule, [[10, 20]])] == ["uniform"] * 2


def test_a_peak_window_without_jitter_is_centred_and_moved_into_the_sequence():
    rule = WindowRule(max_len=100, stride=50, jitter=0)
    for peak, start in (([1000, 1020], 960), ([0, 10], 0), ([4990, 5000], 4900)):
        assert (start, start + 100, "peak") in windows_of(5000, rule, [peak])
    twice = windows_of(5000, rule, [[1000, 1020], [1005, 1015]])
    assert [m for *_, m in twice].count("peak") == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"max_len": 7, "stride": 4}, "--max_len: found 7"),
        ({"stride": 0}, "--stride: found 0"),
        ({"stride": 513}, "--stride: found 513"),
        ({"jitter": -1}, "--jitter: found -1"),
        ({"seed": -1}, "--seed: found -1"),
        ({"sampling": "all"}, "--sampling: found 'all'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_by_name(arguments, named):
    with pytest.raises(InputError, match=named):
        WindowRule(**arguments)


@st.composite
def rules(draw) -> WindowRule:
    max_len = draw(st.integers(8, 60))
    stride = draw(st.integers(1, max_len))
    sampling, jitter = draw(st.sampled_from(["default", "doc"])), draw(st.none() | st.integers(0, 100))
    return WindowRule(max_len, stride, sampling, jitter, draw(st.integers(0, 5)))


@given(rule=rules(), length=st.integers(1, 1500), data=st.data())
def test_windows_are_different_inside_and_as_the_class_says(rule, length, data):
    starts = data.draw(st.lists(st.integers(0, length - 1), max_size=8))
    peaks = [[a, data.draw(st.integers(a + 1, min(a + 40, length)))] for a in sorted(starts)]
    placed = windows_of(length, rule, peaks)
    kind = CLASSES[rule.length_class(length)]
    assert placed == sorted(placed)
    assert len({(a, b) for a, b, _ in placed}) == len(placed) > 0
    assert all(0 <= a < b <= length and b - a == min(length, rule.max_len) for a, b, _ in placed)
    if kind == "short":
        assert placed == [(0, length, "whole")]
    elif kind == "medium":
        assert {m for *_, m in placed} == {"sliding"}
        assert set().union(*(range(a, b) for a, b, _ in placed)) == set(range(length))  # every base is covered
        assert max(b[0] - a[0] for a, b in zip(placed, placed[1:])) <= rule.step
    else:
        assert {m for *_, m in placed} <= {"peak", "uniform"}
        if rule.sampling == "default":
            for a, b in peaks:
                assert any(x <= (a + b) // 2 < y for x, y, m in placed if m == "peak")
        else:
            assert len(placed) == int((length / rule.max_len) ** 0.5)


@given(rule=rules(), lengths=st.lists(st.integers(1, 1500), min_size=1, max_size=6), data=st.data())
def test_windows_of_a_sequence_do_not_depend_on_the_others(rule, lengths, data):
    names = [f"chr1:{i}-{i + n}" for i, n in enumerate(lengths)]
    together = place_windows(np.array(lengths), names, rule, *NO_PEAKS)
    order = data.draw(st.permutations(range(len(lengths))))
    turned = place_windows(np.array(lengths)[order], [names[i] for i in order], rule, *NO_PEAKS)
    for place, i in enumerate(order):
        one, two = together.record == i, turned.record == place
        assert together.start[one].tolist() == turned.start[two].tolist()
        assert together.method[one].tolist() == turned.method[two].tolist()


def test_seed_and_name_change_what_is_random():
    rules = [WindowRule(max_len=100, stride=50, seed=seed) for seed in (1, 1, 2)]
    one, same, other = (windows_of(100_000, rule) for rule in rules)
    assert one == same != other
    assert windows_of(100_000, rules[0], name="another") != one


@given(
    start=st.integers(0, 10**9),
    length=st.integers(1, 10**6),
    strand=st.sampled_from("+-."),
    data=st.data(),
)
def test_local_and_genomic_coordinates_undo_each_other(start, length, strand, data):
    a = data.draw(st.integers(0, length - 1))
    b = data.draw(st.integers(a + 1, length))
    genomic = to_genomic(start, start + length, strand, a, b)
    assert start <= genomic[0] < genomic[1] <= start + length
    assert genomic[1] - genomic[0] == b - a
    assert tuple(map(int, to_local(start, start + length, strand, *genomic))) == (a, b)


intervals = st.lists(
    st.tuples(st.sampled_from(["chr1", "chr2"]), st.integers(0, 300), st.integers(1, 80), st.sampled_from("+-.")),
    max_size=25,
)


def frame(rows) -> pd.DataFrame:
    table = pd.DataFrame([(c, a, a + n, s) for c, a, n, s in rows], columns=["chrom", "start", "end", "strand"])
    return table.astype({"chrom": object, "start": np.int64, "end": np.int64, "strand": object})


@given(listed=intervals, asked=intervals)
def test_the_part_of_an_index_near_intervals_holds_all_that_overlap(listed, asked):
    listed, asked = frame(listed).assign(name=range(len(listed))), frame(asked)
    index = IntervalIndex(listed)
    rows = index.near(*(asked[name].to_numpy() for name in ("chrom", "start", "end")))
    assert (np.diff(rows) > 0).all()
    one, two = overlap(asked, index.rows(rows))
    expected = set(zip(*(found.tolist() for found in overlap(asked, listed))))
    assert set(zip(one.tolist(), index.table["name"][rows[two]].tolist())) == expected


GENOME = {name: "".join(np.random.default_rng(i).choice(list("ACGT"), 3000)) for i, name in enumerate(["chr1", "chr2"])}


@given(
    regions=st.lists(
        st.tuples(st.sampled_from(["chr1", "chr2"]), st.integers(0, 900), st.integers(1, 900), st.sampled_from("+-.")),
        min_size=1,
        max_size=6,
    ),
    peaks=intervals,
    bed=intervals,
)
def test_windows_and_peaks_agree_with_the_genome_letter_for_letter(regions, peaks, bed):
    batch = []
    for chrom, start, length, strand in regions:
        sequence = GENOME[chrom][start : start + length]
        sequence = reverse_complement(sequence) if strand == "-" else sequence
        name = f"{chrom}:{start}-{start + length}({strand})"
        batch.append(Record(name, chrom, start, start + length, strand, sequence))
    peaks, bed = frame(peaks).assign(rbp="X", cell="Y"), frame(bed).assign(score=[float(i) for i in range(len(bed))])
    described = DescribedWindows(batch, WindowRule(50, 20, jitter=5), IntervalIndex(peaks), IntervalIndex(bed))
    records = described.records(0, len(described))
    assert [record["sequence"] for record in records] == described.sequences(0, len(described))
    assert records == described.records(0, 1) + described.records(1, len(described))
    count = {True: 0, False: 0}
    for record in records:
        here = GENOME[record["chrom"]][record["start"] : record["end"]]
        assert record["sequence"] == (reverse_complement(here) if record["strand"] == "-" else here)
        source = next(known for known in batch if known.seq_id == record["seq_id"])
        assert source.sequence[record["local_start"] : record["local_end"]] == record["sequence"]
        assert record["seq_len"] == len(record["sequence"]) == record["local_end"] - record["local_start"]

        def touches(row, record=record):
            strands = {row.strand, record["strand"]} - {"."}
            apart = row.end <= record["start"] or record["end"] <= row.start
            return row.chrom == record["chrom"] and not apart and len(strands) < 2

        wanted = [row for row in peaks.itertuples() if touches(row)]
        found = record["eclip_regions"]
        assert sorted((max(w.start, record["start"]), min(w.end, record["end"]), w.strand) for w in wanted) == sorted(
            (piece["genomic_start"], piece["genomic_end"], piece["strand"]) for piece in found
        )
        assert sum(piece["complete"] for piece in found) == sum(
            record["start"] <= w.start and w.end <= record["end"] for w in wanted
        )
        for piece in found:
            count[piece["complete"]] += 1
            part = GENOME[record["chrom"]][piece["genomic_start"] : piece["genomic_end"]]
            part = reverse_complement(part) if record["strand"] == "-" else part
            assert record["sequence"][piece["start"] : piece["end"]] == part
        assert record["binding_sites"] == max((row.score for row in bed.itertuples() if touches(row)), default=None)
    for kind, complete in (("complete", True), ("partial", False)):
        assert sum(n for (name, _), n in described.counts.items() if name == kind) == count[complete]


def test_merged_peaks_name_all_rbps_once_and_keep_strands_apart():
    rows = [("chr1", 10, 20, "+"), ("chr1", 15, 30, "+"), ("chr1", 25, 40, "+"), ("chr1", 12, 18, "-")]
    peaks = pd.DataFrame(rows, columns=["chrom", "start", "end", "strand"])
    merged = merge_named_peaks(peaks.assign(rbp=["QKI", "FUS", "QKI", "FUS"], cell=["K562", "K562", "HepG2", "K562"]))
    assert merged.to_dict("list") == {
        "chrom": ["chr1", "chr1"],
        "start": [10, 12],
        "end": [40, 18],
        "strand": ["+", "-"],
        "rbp": ["FUS;QKI", "FUS"],
        "cell": ["HepG2;K562", "K562"],
        "n_peaks": [3, 1],
    }


@pytest.mark.parametrize("form", ["jsonl", "json", "parquet"])
def test_metadata_read_back_as_written(form, tmp_path):
    peaks = frame([("chr1", 5, 10, "-"), ("chr1", 8, 90, ".")]).assign(rbp=["A", "B;Ü"], cell="K562", n_peaks=[1, 2])
    batch = [Record(f"chr1:{i}-{i + 60}", "chr1", i, i + 60, ".", "A" * 60) for i in (0, 70)]
    described = DescribedWindows(batch, WindowRule(40, 20), IntervalIndex(peaks))
    records, schema = described.records(0, len(described)), metadata_schema(merged=True)
    path = tmp_path / "metadata"
    with open_metadata(path, form, schema) as write:
        for part in (records[:1], records[1:]):
            write(render(part, form, schema))
        assert not path.exists()
    assert metadata_form(path) == form
    assert [record for _, record in read_metadata(path, form)] == records
    where = "record 2" if form != "jsonl" else "line 2"
    assert [place for place, _ in read_metadata(path, form)][1] == where
