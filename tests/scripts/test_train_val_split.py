"""train_val_split.py on small windows, on bad ones, and on the demo set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from preprocess_runs import call, names_in, options, read_lines, region_text, with_name

from LAMAR.data.sequences import parse_region
from LAMAR.data.synthetic_files import make_demo_data
from LAMAR.errors import InputError
from LAMAR.genomics.divide_windows import divide_windows


def split(metadata: Path, prefix: Path, *arguments) -> tuple[list[dict], list[dict], dict]:
    assert call("train_val_split", "--metadata", metadata, "--output", prefix, *arguments) == 0
    form = metadata.suffix[1:]
    if form == "parquet":
        import pyarrow.parquet as pq

        sides = [pq.read_table(with_name(prefix, f"{side}.parquet")).to_pylist() for side in ("train", "val")]
    else:
        read = read_lines if form == "jsonl" else lambda path: json.loads(path.read_text())
        sides = [read(with_name(prefix, f"{side}.{form}")) for side in ("train", "val")]
    for side, name in zip(sides, ("train", "val")):
        assert [r["sequence"] for r in side] == with_name(prefix, f"{name}_sequences.txt").read_text().split()
    return *sides, json.loads(with_name(prefix, "split.json").read_text())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    regions=st.lists(
        st.tuples(
            st.sampled_from(["chr1", "chr2", "chr10"]),
            st.integers(0, 2000),
            st.integers(1, 300),
            st.sampled_from("+-."),
        ),
        min_size=2,
        max_size=25,
        unique=True,
    ),
    group=st.sampled_from(["none", "chrom", "region"]),
    fraction=st.floats(0.02, 0.9),
    seed=st.integers(0, 3),
)
def test_groups_are_never_separated(regions, group, fraction, seed, tmp_path_factory, capsys):
    folder = tmp_path_factory.mktemp("split")
    (folder / "r.fa").write_text(region_text([(c, a, a + n, s) for c, a, n, s in regions]))
    assert call("preprocess", *options({"fasta": folder / "r.fa"}, output=folder / "o", max_len=60, stride=30)) == 0
    code = call(
        "train_val_split",
        *options({"metadata": folder / "o_metadata.jsonl"}, group=group, seed=seed, val_fraction=fraction),
    )
    records = read_lines(folder / "o_metadata.jsonl")
    if code == 2:
        assert "found all" in capsys.readouterr().err
        assert group != "none" or len(records) == 1
        assert not list(folder.glob("*train*"))
        return
    train, val = read_lines(folder / "o_train.jsonl"), read_lines(folder / "o_val.jsonl")
    assert train
    assert val
    key = lambda record: json.dumps(record)  # noqa: E731
    assert sorted(map(key, train + val)) == sorted(map(key, records))
    if group == "chrom":
        assert not {r["chrom"] for r in train} & {r["chrom"] for r in val}
    if group == "region":
        for one in {r["seq_id"] for r in train}:
            for two in {r["seq_id"] for r in val}:
                a, b = parse_region(one), parse_region(two)
                assert a.chrom != b.chrom or a.end <= b.start or b.end <= a.start
    if group == "none":
        assert abs(len(val) - fraction * len(records)) <= 1


def test_split_meets_its_fraction_and_reports_what_is_shared(tmp_path):
    genome = "".join(np.random.default_rng(5).choice(list("ACGT"), 60_000))
    regions = [("chr1", i, i + 40, ".") for i in range(0, 60_000, 60)]
    copy = [("chr2", a, b, s) for _, a, b, s in regions[:500]]  # the same letters elsewhere
    (tmp_path / "r.fa").write_text(region_text(regions + copy, {"chr1": genome, "chr2": genome}))
    for form in ("jsonl", "json", "parquet"):
        assert (
            call(
                "preprocess", "--fasta", tmp_path / "r.fa", "--output", tmp_path / "o", "--format", form, "--overwrite"
            )
            == 0
        )
        metadata = tmp_path / f"o_metadata.{form}"
        train, val, report = split(metadata, tmp_path / form, "--val_fraction", 0.1, "--seed", 3)
        assert len(val) == report["val"]["windows"] == 150
        assert len(train) == report["train"]["windows"] == 1350
        both = {r["sequence"] for r in train}
        shared = report["sharing_30mer"]
        assert shared["val_windows_sharing"] == sum(r["sequence"] in both for r in val) > 0
        assert shared["all_were_compared"]
        assert report["inputs"].keys() == {str(metadata)}
        if form == "jsonl":
            first = train, val
        assert (train, val) == first
    again, *_ = split(tmp_path / "o_metadata.parquet", tmp_path / "other", "--val_fraction", 0.1, "--seed", 4)
    assert again != first[0]


WINDOW = '{"sequence":"ACGT","seq_id":"chr1:1-5","chrom":"chr1","start":1,"end":5}\n'


@pytest.mark.parametrize(
    ("content", "arguments", "named"),
    [
        ("", [], "m.jsonl: the file is empty"),
        ("{}\n", [], "m.jsonl: line 1: sequence: found None"),
        ("\n7\n", [], "m.jsonl: line 2: found no JSON object"),
        ("{\n", [], "m.jsonl: line 1: cannot be read as JSON"),
        ("[{},\n", [], "m.jsonl: cannot be read as JSON"),
        ("PAR1 and no more", [], "m.jsonl: cannot be read as Parquet"),
        (None, ["--val_fraction", 0], "--val_fraction: found 0, wanted more than 0"),
        (None, ["--val_fraction", 1], "--val_fraction: found 1, wanted more than 0"),
        (None, ["--seed", -1], "--seed: found -1"),
        (None, ["--output", "prep/"], "--output: found 'prep/', wanted a folder and the beginning of a name"),
        (WINDOW.replace('"end":5', '"end":1'), [], "line 1: found start 1 and end 1, wanted 0 <= start < end"),
        (WINDOW.replace("ACGT", "AC\\nGT"), [], "line 1: sequence: found 'AC\\nGT', wanted letters of ACGTN"),
        (None, [], "found all 1 windows in one group"),
        (None, ["--group", "chrom"], "found all 1 windows in one chromosome"),
    ],
)
def test_a_split_that_cannot_be_is_one_line_and_leaves_nothing(content, arguments, named, tmp_path, capsys):
    (tmp_path / "m.jsonl").write_text(WINDOW if content is None else content)
    assert call("train_val_split", "--metadata", tmp_path / "m.jsonl", *arguments) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert named in errors[0]
    assert names_in(tmp_path) == ["m.jsonl"]


def test_the_demo_split_wants_the_demo_windows(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("LAMAR.cli.demo.REPOSITORY", tmp_path)
    assert call("train_val_split") == 2
    assert "--metadata: not given" in (message := capsys.readouterr().err)
    assert "run preprocess/preprocess.py first" in message


def test_both_scripts_on_the_demo_set(tmp_path, monkeypatch):
    monkeypatch.setattr("LAMAR.cli.demo.REPOSITORY", tmp_path)
    make_demo_data(tmp_path / "demo" / "data", windows_per_rbp=60)  # that the scripts find complete
    assert call("preprocess") == 0
    assert call("train_val_split") == 0
    stats = json.loads((tmp_path / "demo" / "prep" / "demo_stats.json").read_text())
    assert "SYNTHETIC" in stats["data"]
    assert stats["records"]["long"] > 0
    assert stats["peaks"]["distinct_in_windows"] == stats["peaks"]["read"]
    assert (tmp_path / "demo" / "prep" / "demo_val.jsonl").is_file()


def test_a_chromosome_is_whole_under_both_its_names(tmp_path):
    record = json.loads(WINDOW)
    named = [
        record | {"chrom": name, "seq_id": f"{name}:{start}-{start + 4}"} for name, start in (("8", 0), ("chr8", 9))
    ]
    (tmp_path / "m.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in named))
    with pytest.raises(InputError, match="`group` chrom: found all 2 windows in one chromosome"):
        divide_windows(tmp_path / "m.jsonl", group="chrom")
    overlapping = [r | {"seq_id": r["chrom"] + ":0-4", "start": 0, "end": 4} for r in named]
    (tmp_path / "m.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in overlapping))
    with pytest.raises(InputError, match="`group` region: found all 2 windows in one group of overlapping regions"):
        divide_windows(tmp_path / "m.jsonl", group="region")


def test_the_library_names_parameters(tmp_path):
    (tmp_path / "m.jsonl").write_text(WINDOW * 3)
    for changed, message in (
        ({"group": "gene"}, "`group`: found 'gene', wanted one of none, chrom, region"),
        ({"val_fraction": 1.5}, r"`val_fraction`: found 1\.5"),
        ({"group": "chrom"}, "`group` chrom: found all 3 windows in one chromosome"),
    ):
        with pytest.raises(InputError, match=message):
            divide_windows(tmp_path / "m.jsonl", **changed)
    files = divide_windows(tmp_path / "m.jsonl", group="none", val_fraction=0.4, seed=1)
    assert [path.name for path in files.paths[:2]] == ["m_train.jsonl", "m_val.jsonl"]
    assert files.paths[1].read_text() == WINDOW
