"""Files that are complete or absent, JSON, CSV and checksums."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from LAMAR.errors import InputError
from LAMAR.runs.storage import (
    active_text,
    atomic_write,
    hash_inputs,
    inert_text,
    read_json,
    read_json_object,
    sha256_file,
    sha256_tree,
    write_csv,
    write_json,
)


@pytest.mark.parametrize(("mode", "old", "new"), [("w", "old", "new é\n"), ("wb", b"old", b"\x00\xff")])
def test_atomic_write_shows_the_new_content_only_when_complete(tmp_path, mode, old, new):
    path = tmp_path / "table.csv"
    with atomic_write(path, mode) as handle:
        handle.write(old)
    with atomic_write(path, mode) as handle:
        handle.write(new)
        handle.flush()
        assert path.read_bytes() == (old if mode == "wb" else old.encode())
    assert path.read_bytes() == (new if mode == "wb" else new.encode())
    assert os.listdir(tmp_path) == ["table.csv"]


def test_atomic_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as handle:  # noqa: PT012
        handle.write("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]
    with pytest.raises(ValueError, match="mode"), atomic_write(path, "a"):
        pass


def test_written_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "plain").touch()
    write_json(tmp_path / "atomic", {})
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_json_holds_what_scientific_code_has(tmp_path):
    path = tmp_path / "x.json"
    value = {
        "z": np.float32(0.5),
        "a": (np.int64(3), np.bool_(True), np.nan, np.inf, np.float64("-inf")),
        "array": np.array([[1.5, np.nan]]),
        "path": Path("a/b"),
        3: {2, 1},
    }
    write_json(path, value)
    text = path.read_text()
    assert text.endswith("}\n")
    assert "NaN" not in text
    assert "Infinity" not in text
    expected = {"z": 0.5, "a": [3, True, None, None, None], "array": [[1.5, None]], "path": "a/b", "3": [1, 2]}
    assert read_json(path) == expected
    assert list(read_json(path)) == ["z", "a", "array", "path", "3"]
    with pytest.raises(TypeError):
        write_json(path, {"model": object()})
    assert path.read_text() == text


def test_a_cut_or_missing_json_file_is_named(tmp_path):
    path = tmp_path / "run.json"
    write_json(path, {"a": list(range(50))})
    for damaged in (path.read_bytes()[:40], b"[" * 200_000):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"run\.json: cannot be read as JSON"):
            read_json(path)
    with pytest.raises(InputError, match=r"none\.json"):
        read_json(tmp_path / "none.json")


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_csv_floats_come_back_bit_for_bit(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    write_csv(path, [{"x": value, "n": np.float64(value)} for value in values])
    table = pd.read_csv(path, float_precision="round_trip")
    assert [v.hex() for v in table["x"].astype(float)] == [float(v).hex() for v in values]
    assert [v.hex() for v in table["n"].astype(float)] == [float(v).hex() for v in values]


def test_csv_of_rows_and_of_a_frame_agree(tmp_path):
    rows = [
        {"name": "QKI, K562", "auroc": 0.1 + 0.2, "n": 3, "layer": None},
        {"name": 'a "b"', "auroc": float("nan"), "n": np.int32(4), "layer": 5},
    ]
    write_csv(tmp_path / "rows.csv", rows)
    assert (tmp_path / "rows.csv").read_bytes() == (
        b'name,auroc,n,layer\n"QKI, K562",0.30000000000000004,3,\n"a ""b""",,4,5\n'
    )
    write_csv(tmp_path / "frame.csv", pd.DataFrame(rows).astype({"layer": "Int64"}))
    assert (tmp_path / "frame.csv").read_bytes() == (tmp_path / "rows.csv").read_bytes()
    write_csv(tmp_path / "empty.csv", [], ["a", "b"])
    assert (tmp_path / "empty.csv").read_text() == "a,b\n"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("-chr1:5-9", "'-chr1:5-9"),
        ("'=1", "''=1"),
        ("\t=1", "'\t=1"),
        ("＝1", "'＝1"),
        *(
            (text, text)
            for text in ("-1.5", "+3", "-1e-05", "-.5", "-inf", "+", "-", ".", "", "a=b", "'a", "chr1:5-9(-)")
        ),
    ],
)
def test_text_that_a_spreadsheet_would_run_is_written_behind_a_quote(tmp_path, text, cell):
    assert inert_text(text) == cell
    assert active_text(cell) == text
    write_csv(tmp_path / "x.csv", [{"id": text, "n": -0.5}])
    table = pd.read_csv(tmp_path / "x.csv", dtype={"id": str}, keep_default_na=False)
    assert table.values.tolist() == [[cell, -0.5]]


@given(st.text("'=+-@\t1.ae", max_size=6))
def test_each_cell_comes_from_one_text(text):
    assert active_text(inert_text(text)) == text


def test_csv_refuses_rows_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match="row 1 lacks or adds auprc, auroc"):
        write_csv(tmp_path / "x.csv", [{"auroc": 1}, {"auprc": 1}])
    with pytest.raises(ValueError, match="`columns` must be given"):
        write_csv(tmp_path / "x.csv", [])
    assert not os.listdir(tmp_path)


def test_hashes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a/x") == hashlib.sha256(b"abc").hexdigest()
    before = sha256_tree(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert sha256_tree(tmp_path / "b") == before
    (tmp_path / "b/x").rename(tmp_path / "b/y")
    assert sha256_tree(tmp_path / "b") != before
    assert hash_inputs([tmp_path / "b/y"]) == {str(tmp_path / "b/y"): hashlib.sha256(b"abc").hexdigest()}
    with pytest.raises(InputError, match="none"):
        hash_inputs([tmp_path / "none"])


def test_pipes_are_no_inputs(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: found a pipe or device, wanted a file"):
        hash_inputs([tmp_path / "pipe"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[" * 101 + "]" * 101, "found JSON nested deeper than 100 levels"),
        ('{"a":' * 101 + "1" + "}" * 101, "found JSON nested deeper than 100 levels"),
        ('{"a": "\\ud800"}', "cannot be read as JSON"),
        ('{"\\uDFFF": 1}', "cannot be read as JSON"),
        ("1" * 5000, "cannot be read as JSON"),
    ],
    ids=lambda text: text[:20],
)
def test_json_that_cannot_be_used_is_an_input_error(tmp_path, text, problem):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=rf"a\.json: {problem}"):
        read_json(tmp_path / "a.json")


def test_names_that_are_no_utf8_are_spelt_out(tmp_path):
    name = os.fsdecode(b"caf\xe9.csv")
    write_json(tmp_path / "a.json", {name: [Path(name), name, "é"]})
    assert read_json(tmp_path / "a.json") == {"caf\\udce9.csv": ["caf\\udce9.csv", "caf\\udce9.csv", "é"]}
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_text("x")
    wanted = hashlib.sha256(b"caf\xe9.csv\0" + hashlib.sha256(b"x").hexdigest().encode() + b"\n").hexdigest()
    assert sha256_tree(tmp_path / "folder") == wanted


def test_json_that_can_be_used_is_read(tmp_path):
    for text, content in (("[" * 100 + "]" * 100, None), ('{"a": "\\ud83e\\uddec \\\\ud800"}', {"a": "🧬 \\ud800"})):
        (tmp_path / "a.json").write_text(text)
        found = read_json(tmp_path / "a.json")
        assert content is None or found == read_json_object(tmp_path / "a.json") == content
        write_json(tmp_path / "b.json", found)
    write_json(tmp_path / "b.json", [1])
    with pytest.raises(InputError, match=r"b\.json: found a JSON list, wanted an object"):
        read_json_object(tmp_path / "b.json")
