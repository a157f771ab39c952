"""Outputs of preprocess.py and train_val_split.py that a kill interrupts while they appear."""

from __future__ import annotations

import os

import pytest
from preprocess_runs import call, names_in, options, region_text

from LAMAR.data.window_files import read_metadata
from LAMAR.errors import InputError
from LAMAR.prediction.records import table_records


class Killed(BaseException):
    """Ends a run where SIGKILL would."""


def commands(folder):
    small = {"max_len": 100, "stride": 40}
    windows = ("preprocess", *options({"fasta": folder / "r.fa"}, output=folder / "out" / "o", **small))
    return windows, ("train_val_split", *options({"metadata": folder / "out" / "o_metadata.jsonl"}, val_fraction=0.3))


@pytest.fixture
def wanted(tmp_path_factory) -> dict[str, bytes]:
    """Content of all outputs but the records, which hold times."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "r.fa").write_text(region_text())
    assert [call(*command) for command in commands(folder)] == [0, 0]
    return contents(folder / "out")


def contents(folder) -> dict[str, bytes]:
    return {
        name: (folder / name).read_bytes() for name in names_in(folder) if not name.endswith(("ts.json", "it.json"))
    }


def killed(calls, renames: int, monkeypatch) -> None:
    """Make calls that end before the rename that follows so many others."""
    done, replace = [], os.replace

    def kill_later(source, target) -> None:
        if len(done) == renames:
            raise Killed
        done.append(target)
        replace(source, target)

    def run() -> None:
        for arguments in calls:
            call(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", kill_later)
        with pytest.raises(Killed):
            run()


@pytest.mark.parametrize("renames", range(9))
def test_files_of_a_run_that_was_killed_while_they_appeared_are_made_again(renames, tmp_path, monkeypatch, wanted):
    """Renames are those of the mark, two files and the record of the windows, and of the mark and five files."""
    (tmp_path / "r.fa").write_text(region_text())
    killed(commands(tmp_path), renames, monkeypatch)
    assert [call(*command) for command in commands(tmp_path)] == [0, 0]
    assert contents(tmp_path / "out") == wanted
    assert not [name for name in names_in(tmp_path) if name.startswith(("out/.", "."))]


def test_files_of_another_run_are_not_taken_for_ones_own(tmp_path, monkeypatch, capsys):
    """The mark is of a run with these arguments on these inputs only."""
    (tmp_path / "r.fa").write_text(region_text())
    windows, _ = commands(tmp_path)
    killed([windows], 2, monkeypatch)
    assert call(*windows, "--seed", 7) == 2
    assert "exists and is not of this run; --overwrite replaces it" in capsys.readouterr().err
    assert call(*windows) == 0


def test_text_in_parquet_that_is_no_utf8_is_refused(tmp_path):
    """Parquet does not check its text, which is decoded when Python reads it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "w.parquet"
    pq.write_table(pa.table({"sequence": pa.array([b"ACGT", b"AC\xa1"], pa.binary()).view(pa.string())}), path)
    with pytest.raises(InputError, match=r"w\.parquet: cannot be read as Parquet: 'utf-8' codec"):
        list(read_metadata(path, "parquet"))
    with pytest.raises(InputError, match=r"w\.parquet: cannot be read as Parquet: 'utf-8' codec"):
        list(table_records(path))
