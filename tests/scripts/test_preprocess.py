"""preprocess.py on small files, on bad ones, and on the real ones."""

from __future__ import annotations

import functools
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
from preprocess_runs import (
    FOLDER,
    GENOME,
    REGIONS,
    SMALL,
    call,
    names_in,
    options,
    read_lines,
    region_text,
    run,
    with_name,
)

from LAMAR.alphabet import reverse_complement
from LAMAR.data.sequences import parse_region, read_fasta
from LAMAR.errors import InputError
from LAMAR.genomics import cut_windows as cutting
from LAMAR.genomics.windows import WindowRule

PEAKS = [("chr1", 90, 120), ("chr1", 510, 530), ("chr1", 520, 600), ("chr1", 1500, 1540), ("chr1", 3400, 3600)]
PEAKS += [("chr2", 100, 150), ("chr10", 7500, 7540), ("chr10", 8600, 8640), ("chr10", 19000, 19050)]


def peak_text(peaks=PEAKS) -> str:
    strands = ["+", "-"] * len(peaks)
    rows = (f"{c}\t{a}\t{b}\t.\t1000\t{s}\t3.5\t4.5\t-1\t-1\n" for (c, a, b), s in zip(peaks, strands))
    return "".join(rows)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "peaks").mkdir()
    files = {
        "regions.fa": region_text(),
        "regions.bed": "".join(f"{c}\t{a}\t{b}\t.\t{i}\n" for i, (c, a, b, _) in enumerate(REGIONS[:-1], start=2)),
        "peaks/F1.bed": peak_text(PEAKS[:5]),
        "peaks/F2.bed": peak_text(PEAKS[3:]),
        "peaks/index.tsv": "accession\ttarget\tcell\nF1\tQKI\tK562\nF2\tFUS\tHepG2\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return {"fasta": folder / "regions.fa", "bed": folder / "regions.bed", "eclip": folder / "peaks"}


@pytest.fixture(scope="module")
def made(inputs, tmp_path_factory) -> Path:
    """Prefix of a run on the small inputs."""
    prefix = tmp_path_factory.mktemp("made") / "small"
    assert call("preprocess", *options(inputs, output=prefix, **SMALL)) == 0
    return prefix


def test_orient_reads_regions_on_the_strands_of_their_peaks(inputs, tmp_path):
    assert call("preprocess", *options(inputs, output=tmp_path / "o", **SMALL), "--orient") == 0
    records = read_lines(tmp_path / "o_metadata.jsonl")
    for record in records:
        here = GENOME[record["chrom"]][record["start"] : record["end"]]
        assert record["sequence"] == (reverse_complement(here) if record["strand"] == "-" else here)
        assert {piece["strand"] for piece in record["eclip_regions"]} <= {record["strand"]}
    strands = {}
    for record in records:
        strands.setdefault(record["seq_id"], set()).add(record["strand"])
    # Of the regions without strand, the first two have a peak on +, the third one on each strand.
    assert strands["chr1:100-160"] == strands["chr2:40-400"] == {"+"}
    assert strands["chr10:7000-9000"] == {"+", "-"}
    assert strands["chr1:500-780(+)"] == {"+"}
    assert strands["chr1:1000-3500(-)"] == {"-"}


def test_orient_without_peaks_is_refused(inputs, tmp_path, capsys):
    assert call("preprocess", "--fasta", inputs["fasta"], "--output", tmp_path / "o", "--orient") == 2
    assert "--orient: found no --eclip" in capsys.readouterr().err
    assert names_in(tmp_path) == []


def test_excluded_chromosomes_are_left_out_and_counted(inputs, tmp_path, capsys):
    given = options(inputs, output=tmp_path / "o", **SMALL)
    assert call("preprocess", *given, "--exclude_chroms", "10", "chr7") == 0
    assert {record["chrom"] for record in read_lines(tmp_path / "o_metadata.jsonl")} == {"chr1", "chr2"}
    assert json.loads((tmp_path / "o_stats.json").read_text())["records"]["filtered"] == {"excluded_chromosome": 2}
    assert call("preprocess", *options(inputs, output=tmp_path / "p", **SMALL), "--exclude_chroms", "chr7") == 2
    assert "--exclude_chroms chr7: found no region" in capsys.readouterr().err
    assert names_in(tmp_path) == [f"o_{name}" for name in ("metadata.jsonl", "sequences.txt", "stats.json")]


def test_every_window_is_what_its_metadata_say(made):
    records = read_lines(with_name(made, "metadata.jsonl"))
    assert [record["sequence"] for record in records] == with_name(made, "sequences.txt").read_text().split()
    for record in records:
        here = GENOME[record["chrom"]][record["start"] : record["end"]]
        assert record["sequence"] == (reverse_complement(here) if record["strand"] == "-" else here)
        assert record["method"] in {"whole", "sliding", "peak", "uniform"}
        for piece in record["eclip_regions"]:
            part = GENOME[record["chrom"]][piece["genomic_start"] : piece["genomic_end"]]
            part = reverse_complement(part) if record["strand"] == "-" else part
            assert record["sequence"][piece["start"] : piece["end"]] == part
            assert (piece["rbp"], piece["cell"]) in {("QKI", "K562"), ("FUS", "HepG2")}
    assert {record["seq_id"] for record in records} == {name for name, _ in read_fasta_of_regions()}
    scores = {record["seq_id"]: record["binding_sites"] for record in records}
    assert scores["chr1:100-160"] == 2.0
    assert scores["chr10:8500-8900(-)"] == 7.0  # the BED line of the region that it overlaps


def read_fasta_of_regions():
    lines = region_text().split("\n")
    return list(zip([line[1:] for line in lines[::2] if line], lines[1::2]))


def test_statistics_count_what_the_files_hold(made, inputs):
    stats = json.loads(with_name(made, "stats.json").read_text())
    records = read_lines(with_name(made, "metadata.jsonl"))
    pieces = [piece for record in records for piece in record["eclip_regions"]]
    assert stats["records"] == {
        "read": 7,
        "filtered": {},
        "used": 7,
        "short": 2,
        "medium": 3,
        "long": 2,
        "without_bed": 0,
    }
    assert stats["windows"] == {"total": len(records)} | Counter(record["method"] for record in records)
    assert stats["nucleotides"] == {
        "in": sum(end - start for _, start, end, _ in REGIONS),
        "in_windows": sum(len(record["sequence"]) for record in records),
    }
    assert stats["expansion_factor"] == round(stats["nucleotides"]["in_windows"] / stats["nucleotides"]["in"], 4)
    assert stats["peaks"]["read"] == stats["peaks"]["listed"] == 11
    assert stats["peaks"]["complete_in_windows"] == sum(piece["complete"] for piece in pieces)
    assert stats["peaks"]["partial_in_windows"] == sum(not piece["complete"] for piece in pieces)
    assert sum(row["windows"] for row in stats["chromosomes"].values()) == len(records)
    assert list(stats["chromosomes"]) == ["chr1", "chr2", "chr10"]
    assert stats["inputs"].keys() == {str(path) for path in inputs.values()}
    assert stats["files"] == {
        with_name(made, name).name: with_name(made, name).stat().st_size for name in ("sequences.txt", "metadata.jsonl")
    }


def test_peaks_on_the_other_strand_are_counted_and_left_out(tmp_path, capsys):
    (tmp_path / "r.fa").write_text(region_text([("chr1", 0, 50, "+"), ("chr1", 60, 90, ".")]))
    (tmp_path / "p.bed").write_text("chr1\t5\t10\ta\t0\t-\nchr1\t7\t20\tb\t0\t+\nchr1\t70\t80\tc\t0\t-\n")
    assert (
        call("preprocess", *options({"fasta": tmp_path / "r.fa", "eclip": tmp_path / "p.bed"}, output=tmp_path / "o"))
        == 0
    )
    found = [[p["genomic_start"] for p in r["eclip_regions"]] for r in read_lines(tmp_path / "o_metadata.jsonl")]
    assert found == [[7], [70]]
    peaks = json.loads((tmp_path / "o_stats.json").read_text())["peaks"]
    assert (peaks["overlaps_on_opposite_strand"], peaks["distinct_in_windows"]) == (1, 2)
    assert "overlaps on opposite strand" in capsys.readouterr().out


def test_merged_peaks_are_one_with_all_names(inputs, tmp_path):
    assert call("preprocess", *options(inputs, output=tmp_path / "o", **SMALL), "--merge_peaks") == 0
    pieces = [p for record in read_lines(tmp_path / "o_metadata.jsonl") for p in record["eclip_regions"]]
    assert {p["n_peaks"] for p in pieces} == {1}
    stats = json.loads((tmp_path / "o_stats.json").read_text())
    assert stats["peaks"]["read"] == stats["peaks"]["listed"] == 11  # F1 and F2 have their peaks on other strands
    folder = tmp_path / "twice"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.bed").write_text("chr1\t100\t130\t.\t0\t+\nchr1\t120\t140\t.\t0\t+\n")
    given = options({"fasta": inputs["fasta"], "eclip": folder}, output=tmp_path / "m", format="parquet")
    assert call("preprocess", *given, "--merge_peaks") == 0
    import pyarrow.parquet as pq

    pieces = [p for row in pq.read_table(tmp_path / "m_metadata.parquet").to_pylist() for p in row["eclip_regions"]]
    assert [(p["genomic_start"], p["genomic_end"], p["rbp"], p["n_peaks"]) for p in pieces] == [(100, 140, "a;b", 4)]


def test_output_does_not_depend_on_workers_or_batches(inputs, made, tmp_path, monkeypatch):
    done = run("preprocess", *options(inputs, output=tmp_path / "two" / "small", workers=2, **SMALL))
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(cutting, "BATCH_RECORDS", 2)
    assert call("preprocess", *options(inputs, output=tmp_path / "three" / "small", **SMALL)) == 0
    # Small batches in several processes, with many more batches than may be in flight at once.
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import preprocess\n"
        "from LAMAR.genomics import cut_windows, window_processes\n"
        "cut_windows.BATCH_RECORDS = 1; window_processes.NUCLEOTIDES_IN_FLIGHT = 1000\n"
        "sys.exit(preprocess.main(sys.argv[2:]))"
    )
    given = options(inputs, output=tmp_path / "four" / "small", workers=2, **SMALL)
    subprocess.run([sys.executable, "-c", code, str(FOLDER), *map(str, given)], check=True, capture_output=True)
    for name in ("sequences.txt", "metadata.jsonl"):
        expected = with_name(made, name).read_bytes()
        for folder in ("two", "three", "four"):
            assert (tmp_path / folder / f"small_{name}").read_bytes() == expected


def test_the_library_writes_the_same_files_and_names_parameters(inputs, made, tmp_path):
    files = cutting.cut_windows(**inputs, output=tmp_path / "lib", rule=WindowRule(**SMALL))
    assert files.paths == (tmp_path / "lib_sequences.txt", tmp_path / "lib_metadata.jsonl")
    for path, name in zip(files.paths, ("sequences.txt", "metadata.jsonl")):
        assert path.read_bytes() == with_name(made, name).read_bytes()
    assert files.record == tmp_path / "lib_stats.json"
    assert files.text.split()[:3] == ["regions", "read", str(len(REGIONS))]
    again = cutting.cut_windows(**inputs, output=str(tmp_path / "lib"), rule=WindowRule(**SMALL), workers=2)
    assert "nothing done (`overwrite` does it again)" in again.text
    for changed, message in (
        ({"orient": True, "eclip": None}, "`orient`: found no `eclip`"),
        ({"workers": 0}, "`workers`: found 0"),
        ({"format": "xml"}, "`format`: found 'xml', wanted one of jsonl, json, parquet"),
        ({"exclude_chroms": ["chr1"]}, "`overwrite` replaces it"),
    ):
        with pytest.raises(InputError, match=message):
            cutting.cut_windows(**inputs | {"output": tmp_path / "lib", "rule": WindowRule(**SMALL)} | changed)


def test_three_formats_hold_the_same_records(inputs, made, tmp_path):
    for form in ("json", "parquet"):
        given = options(inputs, output=tmp_path / "o", format=form, **SMALL)
        assert call("preprocess", *given, "--overwrite") == 0
        assert names_in(tmp_path) == sorted(["o_sequences.txt", f"o_metadata.{form}", "o_stats.json"])
        if form == "json":
            found = json.loads((tmp_path / "o_metadata.json").read_text())
        else:
            import pyarrow.parquet as pq

            found = pq.read_table(tmp_path / "o_metadata.parquet").to_pylist()
        assert found == read_lines(with_name(made, "metadata.jsonl"))


def test_coordinates_after_blanks_in_a_name_are_kept(tmp_path):
    """Two records whose first words are equal stay two regions, for the division into training and validation too."""
    text = ">site QKI::chr2:3-7(-)\nACGU\n>site PUM2 chr2:30-34\nACGT\n"
    (tmp_path / "r.fa").write_text(text)
    assert call("preprocess", "--fasta", tmp_path / "r.fa", "--output", tmp_path / "o") == 0
    records = read_lines(tmp_path / "o_metadata.jsonl")
    assert [(r["seq_id"], r["start"], r["end"], r["strand"]) for r in records] == [
        ("site::chr2:3-7(-)", 3, 7, "-"),
        ("site::chr2:30-34", 30, 34, "."),
    ]


def test_filtered_records_are_counted_and_named(tmp_path, caplog):
    text = ">1:0-4\nACGT\n>gene7\nACGT\n>MT:4-8\nACGT\n>chrUn_X:0-4\nACGT\n>x::chr2:3-7(-) note\nAcgU\n"
    (tmp_path / "r.fa").write_bytes(text.replace("\n", "\r\n").encode())
    assert call("preprocess", "--fasta", tmp_path / "r.fa", "--output", tmp_path / "o") == 0
    records = read_lines(tmp_path / "o_metadata.jsonl")
    assert [(r["chrom"], r["seq_id"], r["strand"]) for r in records] == [
        ("chr1", "1:0-4", "."),
        ("chr2", "x::chr2:3-7(-)", "-"),
    ]
    assert records[1]["sequence"] == "ACGT"
    assert records[0]["binding_sites"] is None
    filtered = json.loads((tmp_path / "o_stats.json").read_text())["records"]["filtered"]
    assert filtered == {"no_coordinates": 1, "nonstandard_chromosome": 2}
    assert "gene7" in caplog.text
    assert "MT:4-8" in caplog.text
    assert call("preprocess", "--fasta", tmp_path / "r.fa", "--output", tmp_path / "k", "--keep_nonstandard") == 0
    assert [r["chrom"] for r in read_lines(tmp_path / "k_metadata.jsonl")] == ["chr1", "chrM", "chrUn_X", "chr2"]


def test_a_complete_output_is_left_alone_and_another_one_not_overwritten(inputs, tmp_path, capsys):
    given = options(inputs, output=tmp_path / "o", **SMALL)
    assert call("preprocess", *given) == 0
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in names_in(tmp_path)}
    assert call("preprocess", *given, "--workers", 2) == 0
    assert "nothing done" in capsys.readouterr().out
    assert call("preprocess", *given, "--seed", 1) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in names_in(tmp_path)} == before
    (tmp_path / "o_sequences.txt").write_text("ACGT\n")
    assert call("preprocess", *given) == 2
    assert call("preprocess", *given, "--overwrite") == 0
    assert len((tmp_path / "o_sequences.txt").read_text().split()) > 1


GOOD_PEAK = "chr1\t100\t130\tx\t0\t+\n"
BAD = [
    ("eclip", "p.bed", GOOD_PEAK + "100\tchr1\t130\tx\t0\t+\n", "p.bed: line 2"),
    ("eclip", "p.bed", GOOD_PEAK + "chr1\t130\t100\tx\t0\t+\n", "p.bed: line 2"),
    ("eclip", "p.bed", GOOD_PEAK + "chr1\t-5\t100\tx\t0\t+\n", "p.bed: line 2"),
    ("eclip", "p.bed", "", "p.bed"),
    ("eclip", "p.bed", "chr1\t15000\t15010\nchr4\t4\t5\n", "p.bed: found no peak that overlaps"),
    ("eclip", "p.bed", "NC_000001.11\t100\t130\n", "here NC_000001.11, there chr1"),
    ("eclip", "p.bed", "chr1\t510\t530\tx\t0\t-\n", "on the other strand"),
    ("eclip", "p.bed.gz", gzip.compress(GOOD_PEAK.encode() * 999)[:-9], "p.bed.gz: the gzip stream ends early"),
    ("bed", "r.bed", "chr1\t100\t160\tx\tmany\n", "r.bed: line 1"),
    ("bed", "r.bed", "chr1\t100\t160\n", "r.bed: line 1"),
    ("bed", "r.bed", "chr3\t100\t160\tx\t3\n", "r.bed: found no line that overlaps"),
    ("fasta", "r.fa", "", "r.fa: found no FASTA record"),
    ("fasta", "r.fa", "ACGT\nACGT\n", "r.fa: line 1"),
    ("fasta", "r.fa", region_text() + ">chr1:10-14\nACGTA\n", "r.fa: record chr1:10-14: found 5 nucleotides"),
    ("fasta", "r.fa", region_text() + ">chr1:14-10\nACGT\n", "r.fa: record chr1:14-10"),
    ("fasta", "r.fa", ">gene1\nACGT\n>gene2\nACGT\n", "r.fa: found no region to use (2 no coordinates, as gene1)"),
    ("fasta", "r.fa", ">chrM:1-5\nACGT\n", "r.fa: found no region to use (1 nonstandard chromosome, as chrM:1-5)"),
    ("fasta", "r.fa", region_text() + ">chr1:10-14\nAC!T\n", "r.fa: record chr1:10-14: position 3"),
    ("fasta", "r.fa.gz", gzip.compress(region_text().encode())[:-20], "r.fa.gz: the gzip stream ends early"),
]


@pytest.mark.parametrize(("argument", "name", "content", "named"), BAD)
def test_bad_input_is_one_line_exit_code_2_and_leaves_nothing(
    argument, name, content, named, inputs, tmp_path, capsys, caplog
):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    regions = {"fasta": tmp_path / "r.fa"} if argument == "fasta" else {"fasta": inputs["fasta"]}
    if "other strand" in named:
        (tmp_path / "s.fa").write_text(region_text([("chr1", 500, 780, "+")]))
        regions = {"fasta": tmp_path / "s.fa"}
    before = names_in(tmp_path)
    given = options(regions | {argument: tmp_path / name}, output=tmp_path / "new" / "folder" / "o", **SMALL)
    assert call("preprocess", *given) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert named in errors[0]
    assert not caplog.records
    assert names_in(tmp_path) == before


def test_bad_input_in_a_process_of_its_own(inputs, tmp_path):
    (tmp_path / "r.fa").write_text(region_text() * 3 + ">chr1:10-14\nACGTA\n")
    given = options(inputs | {"fasta": tmp_path / "r.fa"}, output=tmp_path / "new" / "o", workers=2)
    done = run("preprocess", *given)
    assert (done.returncode, done.stdout) == (2, "")
    found = f"{tmp_path / 'r.fa'}: record chr1:10-14: found 5 nucleotides"
    assert done.stderr == f"error: {found}, wanted end - start = 4 (are they counted from 1?)\n"
    assert names_in(tmp_path) == ["r.fa"]


def test_windows_line_ends_and_a_track_line_are_read(inputs, tmp_path, caplog):
    text = "track name=peaks\n" + GOOD_PEAK
    (tmp_path / "p.bed").write_bytes(text.replace("\n", "\r\n").encode())
    assert (
        call("preprocess", *options({"fasta": inputs["fasta"], "eclip": tmp_path / "p.bed"}, output=tmp_path / "o"))
        == 0
    )
    assert "p.bed: line 1" in caplog.text
    stats = json.loads((tmp_path / "o_stats.json").read_text())
    assert stats["peaks"]["complete_in_windows"] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_run_leaves_no_output_and_no_process(number, tmp_path):
    letters = "".join(GENOME.values())[:1000]
    with open(tmp_path / "r.fa", "w") as handle:
        handle.writelines(f">chr1:{i * 2000}-{i * 2000 + 1000}\n{letters}\n" for i in range(60_000))
    given = options({"fasta": tmp_path / "r.fa"}, output=tmp_path / "new" / "o", stride=64, workers=2)
    command = [sys.executable, str(FOLDER / "preprocess.py"), *map(str, given)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # Whoever runs the tests in a shell's background has SIGINT ignored, and would hand that down.
    listening = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    started = subprocess.Popen(command, **quiet, preexec_fn=listening)
    while not any(path.stat().st_size for path in tmp_path.glob("new/.o_metadata*.partial")):
        assert started.poll() is None
        time.sleep(0.01)
    processes = psutil.Process(started.pid).children(recursive=True)
    assert len(processes) == 2
    started.send_signal(number)
    assert started.wait(60) != 0
    assert psutil.wait_procs(processes, timeout=60)[1] == []
    left = names_in(tmp_path)
    assert left == ["r.fa"] if number != signal.SIGKILL else not [name for name in left if "new/o" in name]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--max_len", 7], "--max_len"),
        (["--stride", 0], "--stride"),
        (["--stride", 513], "--stride"),
        (["--jitter", -1], "--jitter"),
        (["--workers", 0], "--workers"),
        (["--fasta", "absent.fa"], "absent.fa"),
        (["--eclip", "absent"], "absent"),
        (["--output", "regions.fa/o"], "--output regions.fa/o"),
    ],
)
def test_bad_arguments_are_named(arguments, named, inputs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "regions.fa").write_text(region_text())
    assert call("preprocess", "--fasta", "regions.fa", "--output", "o", *arguments) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert named in errors[0]
    assert names_in(tmp_path) == ["regions.fa"]


def test_fasta_and_output_are_wanted(inputs, capsys):
    assert call("preprocess", "--eclip", inputs["eclip"]) == 2
    assert "--fasta: not given" in capsys.readouterr().err
    assert call("preprocess", "--fasta", inputs["fasta"]) == 2
    assert "--output: found nothing" in capsys.readouterr().err


def test_inputs_are_never_replaced(tmp_path, capsys):
    fasta = tmp_path / "x_sequences.txt"
    fasta.write_text(">chr1:0-20\n" + "ACGTA" * 4 + "\n")
    assert call("preprocess", "--fasta", fasta, "--output", tmp_path / "x", "--overwrite") == 2
    assert "x_sequences.txt is an input of this run" in capsys.readouterr().err
    assert fasta.read_text().startswith(">chr1")


def test_what_a_killed_run_staged_is_removed(tmp_path):
    fasta = tmp_path / "regions.fa"
    fasta.write_text(">chr1:0-20\n" + "ACGTA" * 4 + "\n")
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    left = tmp_path / f".x_sequences.txt.{gone.stdout.strip()}-00000000.partial"
    mine = tmp_path / f".x_sequences.txt.{os.getpid()}-00000000.partial"
    left.touch()
    mine.touch()  # of a process that still runs
    assert call("preprocess", "--fasta", fasta, "--output", tmp_path / "x") == 0
    assert not left.exists()
    assert mine.exists()


@pytest.mark.shared
@pytest.mark.slow
def test_real_regions_and_all_real_peaks(shared_dir, tmp_path):
    fasta = shared_dir / "data" / "clip_regions" / "hg38_clip_regions.fa.gz"
    peaks = shared_dir / "data" / "eclip_peaks"
    done = run("preprocess", *options({"fasta": fasta, "eclip": peaks}, output=tmp_path / "clip", workers=2))
    assert done.returncode == 0, done.stderr
    stats = json.loads((tmp_path / "clip_stats.json").read_text())
    listed = Counter()
    for path in peaks.glob("*.bed.gz"):
        with gzip.open(path, "rt") as handle:
            listed.update((c, int(a), int(b), s) for c, a, b, _, _, s, *_ in map(str.split, handle))
    sequences = dict(read_fasta(fasta))
    regions: dict[str, list] = {}
    for region in map(parse_region, sequences):
        regions.setdefault(region.chrom, []).append((region.start, region.end))
    touched = 0
    for chrom in {chrom for chrom, *_ in listed} & (set(regions) - {"chrM"}):
        starts, ends = np.array(sorted(regions[chrom])).T
        assert (starts[1:] >= ends[:-1]).all()  # so that the first one to end behind a peak's start decides
        here = [(a, b, n) for (c, a, b, _), n in listed.items() if c == chrom]
        a, b, n = np.array(here).T
        touched += n[np.append(starts, 2**40)[np.searchsorted(ends, a, side="right")] < b].sum()
    assert stats["peaks"]["distinct_in_windows"] == touched
    windows, complete, partial = Counter(), 0, 0
    with open(tmp_path / "clip_metadata.jsonl") as handle:
        for record in map(json.loads, handle):
            windows[record["method"]] += 1
            start, end, length = record["start"], record["end"], record["seq_len"]
            local = slice(record["local_start"], record["local_end"])
            assert record["sequence"] == sequences[record["seq_id"]][local]
            assert end - start == length == len(record["sequence"])
            for piece in record["eclip_regions"]:
                a, b = piece["genomic_start"], piece["genomic_end"]
                assert start <= a < b <= end
                assert (piece["start"], piece["end"]) == (a - start, b - start)
                complete += piece["complete"]
                partial += not piece["complete"]
                if piece["complete"]:
                    assert (record["chrom"], a, b, piece["strand"]) in listed
    assert stats["windows"] == {"total": windows.total()} | windows
    assert stats["peaks"]["complete_in_windows"] == complete
    assert stats["peaks"]["partial_in_windows"] == partial
    assert stats["peaks"]["read"] == 939_120
    assert stats["records"]["read"] == 318_020
    assert stats["records"]["filtered"] == {"nonstandard_chromosome": 111}
