"""Labels of many tracks: dense tables from lists of ids, files that are read back as they were, and files that lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from LAMAR.data.tracks import TRACKS, WINDOWS, IdLists, TrackSet, read_track_set, write_track_set
from LAMAR.errors import InputError
from LAMAR.statistics.track_metrics import UNKNOWN


def lists(*ids: list[int]) -> IdLists:
    offsets = np.cumsum([0, *map(len, ids)])
    return IdLists(np.array([i for some in ids for i in some], dtype=np.int32), offsets)


@pytest.fixture
def data() -> TrackSet:
    """Four windows, three tracks: the first bound by track 2, the second by 0 and 1 with 2 unknown ..."""
    windows = pd.DataFrame(
        {
            "chrom": ["chr1", "chr2", "chr8", "T7"],
            "start": [0, 2**31, 5, 7],
            "end": [4, 2**31 + 4, 9, 11],
            "strand": ["+", "-", ".", "+"],
            "sequence": ["ACGT", "TTTT", "GGCC", "AAAA"],
            "part": ["train", "dev", "test", "train"],
            "kind": ["site", "site", "site", "background"],
        }
    )
    tracks = pd.DataFrame(
        {
            "id": [0, 1, 2],
            "track": ["A_K562", "B_K562", "A_HepG2"],
            "target": ["A", "B", "A"],
            "cell": ["K562", "K562", "HepG2"],
            "accession": ["X1;X2", "X3", "X4"],
            "n_peaks": [3, 2, 1],
        }
    )
    return TrackSet(windows, tracks, lists([2], [0, 1], [], []), lists([0], [2], [0, 1, 2], [])).with_part_counts()


@pytest.fixture
def folder(data, tmp_path) -> Path:
    write_track_set(tmp_path, data)
    return tmp_path


LABELS = np.array([[0, 0, 1], [1, 1, 0], [0, 0, 0], [0, 0, 0]], dtype=np.float32)
MASK = np.array([[0, 1, 1], [1, 1, 0], [0, 0, 0], [1, 1, 1]], dtype=np.float32)


def test_dense_labels_and_mask(data):
    labels, mask = data.labels(np.arange(4))
    assert labels.dtype == mask.dtype == np.float32
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(mask, MASK)


def test_labels_in_one_array_are_those_of_labels_and_mask(data):
    rows = np.array([3, 0, 0, 2])
    for chosen, found in ((rows, data.coded_labels(rows)), (np.arange(len(data)), data.coded_labels())):
        labels, mask = data.labels(chosen)
        assert found.dtype == np.int8
        assert np.array_equal(found, np.where(mask == 1, labels, UNKNOWN))


def test_rows_in_any_order_and_repeated(data):
    rows = np.array([3, 1, 1, 0])
    labels, mask = data.labels(rows)
    np.testing.assert_array_equal(labels, LABELS[rows])
    np.testing.assert_array_equal(mask, MASK[rows])
    taken = data.take(rows)
    assert taken.sequences == ["AAAA", "TTTT", "TTTT", "ACGT"]
    np.testing.assert_array_equal(taken.labels(np.arange(4))[1], MASK[rows])


def test_no_rows(data):
    labels, mask = data.labels(np.zeros(0, dtype=np.int64))
    assert labels.shape == mask.shape == (0, 3)
    assert len(data.take(np.zeros(0, dtype=np.int64))) == 0


def test_parts_kinds_and_counts(data):
    assert data.rows("train").tolist() == [0, 3]
    assert data.rows("train", "background").tolist() == [3]
    assert data.rows("dev", "background").tolist() == []
    bound, unknown = data.counts()
    assert (bound.tolist(), unknown.tolist()) == ([1, 1, 1], [2, 1, 2])
    assert data.tracks[["train_bound", "dev_unknown", "test_unknown"]].to_numpy().tolist() == [
        [0, 0, 1],
        [0, 0, 1],
        [1, 1, 1],
    ]
    with pytest.raises(ValueError, match="validation"):
        data.rows("validation")


def test_tracks_left_out_leave_the_others_labels(data):
    fewer = data.select_tracks([0, 2])
    assert fewer.names == ["A_K562", "A_HepG2"]
    assert fewer.tracks["id"].tolist() == [0, 1]
    labels, mask = fewer.labels(np.arange(4))
    np.testing.assert_array_equal(labels, LABELS[:, [0, 2]])
    np.testing.assert_array_equal(mask, MASK[:, [0, 2]])
    for wrong in ([2, 0], [0, 0], [3], [-1]):
        with pytest.raises(ValueError, match="ids"):
            data.select_tracks(wrong)


def test_lists_from_pairs_are_sorted_and_unique():
    made = IdLists.from_pairs(np.array([2, 0, 2, 2]), np.array([5, 1, 3, 5]), 4)
    assert made.ids.tolist() == [1, 3, 5]
    assert made.offsets.tolist() == [0, 1, 1, 3, 3]


def test_what_is_written_is_read_back(data, folder):
    again = read_track_set(folder)
    pd.testing.assert_frame_equal(again.windows, data.windows, check_dtype=False)
    pd.testing.assert_frame_equal(again.tracks, data.tracks, check_dtype=False)
    np.testing.assert_array_equal(again.labels(np.arange(4))[0], LABELS)
    np.testing.assert_array_equal(again.labels(np.arange(4))[1], MASK)
    assert again.windows["start"].dtype == np.int64


def test_columns_of_the_file(folder):
    schema = pq.read_schema(folder / WINDOWS)
    names = ["chrom", "start", "end", "strand", "sequence", "part", "kind", "bound", "unknown"]
    assert schema.names == names
    assert schema.field("start").type == pa.int64()
    assert schema.field("bound").type.value_type == pa.int32()
    assert pq.read_table(folder / WINDOWS)["bound"].to_pylist() == [[2], [0, 1], [], []]


def test_files_of_several_row_groups(data, tmp_path, monkeypatch):
    monkeypatch.setattr("LAMAR.data.tracks._ROWS_AT_ONCE", 3)
    write_track_set(tmp_path, data)
    assert pq.ParquetFile(tmp_path / WINDOWS).num_row_groups == 2
    np.testing.assert_array_equal(read_track_set(tmp_path).labels(np.arange(4))[1], MASK)


def rewrite(folder: Path, change) -> None:
    table = pq.read_table(folder / WINDOWS)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    change(columns)
    pq.write_table(pa.table(columns), folder / WINDOWS)


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("part", 1, "validation", "row 1: column part: found 'validation', wanted one of train, dev, test"),
        ("kind", 2, "peak", "row 2: column kind: found 'peak'"),
        ("bound", 1, [0, 3], "row 1: column bound: found track 3, wanted 0 to 2"),
        ("unknown", 3, [-1], "row 3: column unknown: found track -1"),
        ("bound", 1, [1, 0], "row 1: column bound: found ids that do not ascend"),
        ("bound", 1, [1, 1], "row 1: column bound: found ids that do not ascend"),
        ("unknown", 0, [0, 2], "row 0: found track 2 both bound and unknown"),
        ("sequence", 0, None, "column sequence: found 1 empty cells"),
    ],
)
def test_windows_that_make_no_sense(folder, column, row, value, message):
    def change(columns):
        columns[column][row] = value

    rewrite(folder, change)
    with pytest.raises(InputError, match=message):
        read_track_set(folder)


def test_text_that_is_no_utf8(folder):
    def change(columns):
        names = [name.encode() for name in columns["chrom"]]
        columns["chrom"] = pa.array([names[0] + b"\xa1", *names[1:]], pa.binary()).view(pa.string())

    rewrite(folder, change)
    with pytest.raises(InputError, match=r"windows.parquet: cannot be read as Parquet: "):
        read_track_set(folder)


def test_columns_that_are_missing_or_of_another_type(folder):
    rewrite(folder, lambda columns: columns.pop("unknown"))
    with pytest.raises(InputError, match=r"windows.parquet: found no column 'unknown'"):
        read_track_set(folder)
    rewrite(folder, lambda columns: columns.update(unknown=["a"] * 4))
    with pytest.raises(InputError, match="column unknown: found type string, wanted list<item: int32>"):
        read_track_set(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("B_K562", "A_K562", "row 3: found track 'A_K562' a second time"),
        ("\n1\tB", "\n2\tB", "row 3: column id: found '2', wanted 1"),
        ("target", "rbp", "row 1: found no column 'target'"),
        ("X1;X2\t3", "X1;X2\tmany", "row 2: column n_peaks: found 'many', wanted a whole number"),
        ("X1;X2\t3", "X1;X2\t1_0", "row 2: column n_peaks: found '1_0', wanted a whole number"),
    ],
)
def test_tracks_that_make_no_sense(folder, old, new, message):
    text = (folder / TRACKS).read_text()
    assert old in text
    (folder / TRACKS).write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        read_track_set(folder)


def test_files_that_are_not_there_or_no_parquet(folder, tmp_path):
    with pytest.raises(InputError, match=r"nowhere/windows.parquet: cannot be read"):
        read_track_set(tmp_path / "nowhere")
    (folder / WINDOWS).write_bytes(b"PAR1 and nothing more")
    with pytest.raises(InputError, match=r"windows.parquet: cannot be read as Parquet"):
        read_track_set(folder)
