"""make_rbp_dataset.py on the demo set: files, resumption, and one line for each mistake."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from LAMAR.data.synthetic_files import make_demo_data
from LAMAR.genomics.choices import NEGATIVES, NegativeKind


def call(*arguments, cwd=None) -> subprocess.CompletedProcess:
    script = Path(__file__).resolve().parents[2] / "preprocess" / "make_rbp_dataset.py"
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=cwd)


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "data"
    make_demo_data(folder, windows_per_rbp=60)
    return folder


def test_script_writes_resumes_and_does_not_depend_on_workers(demo, tmp_path):
    common = ["--peaks", demo / "peaks", "--fasta", demo / "genome.fa", "--gtf", demo / "annotation.gtf"]
    common += ["--min_sites", 10]
    done = call(*common, "--output_dir", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    assert "Composition alone" in done.stdout
    two = call(*common, "--output_dir", tmp_path / "two", "--workers", 2)
    assert two.returncode == 0, two.stderr
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*") if p.is_file())
    compared = [file for file in files if file.name not in ("run.json", ".lock")]
    assert len(compared) >= 3 * 7 + 1
    for file in compared:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file
    summary = pd.read_csv(tmp_path / "one" / "summary.csv")
    assert summary["rbp"].tolist() == ["PUM2", "QKI", "IRPSYN"]
    report = json.loads((tmp_path / "one" / "QKI_DEMO" / "report.json").read_text())
    assert summary["gc_auroc"][1] == report["composition"]["auroc"]["gc"]["value"]

    # One set lost on the way is made again, the others stay.
    (tmp_path / "one" / "units" / "QKI_DEMO.json").unlink()
    kept = (tmp_path / "one" / "PUM2_DEMO" / "train.csv").stat().st_mtime_ns
    again = call(*common, "--output_dir", tmp_path / "one")
    assert again.returncode == 0
    assert "2 of 3 sets are there already" in again.stderr
    assert (tmp_path / "one" / "PUM2_DEMO" / "train.csv").stat().st_mtime_ns == kept
    assert (tmp_path / "one" / "QKI_DEMO" / "train.csv").exists()
    other = call(*common, "--output_dir", tmp_path / "one", "--window", 51)
    assert other.returncode == 2
    assert "holds a run with another --window" in other.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--rbp": "QK1"}, "--rbp: found no peaks of 'QK1'"),
        ({"--cell": "HeLa"}, "--cell: found no peaks of 'HeLa'"),
        ({"--fasta": "absent.fa"}, "absent.fa: cannot be read (No such file"),
        ({"--peaks": "absent"}, "absent: found no such file"),
        ({"--gtf": "absent.gtf"}, "absent.gtf: cannot be read (No such file"),
        ({"--min_distance": str(2**63 - 1)}, "argument --min_distance: found 9223372036854775807, wanted 0 or more"),
        ({"--min_log2fc": "nan"}, "argument --min_log2fc: found nan, wanted a finite number"),
        ({"--window": "0"}, "argument --window: found 0, wanted more than 0"),
        (
            {"--negatives": "shuffle", "--match": "gc"},
            "--match gc goes with --negatives other_rbps or genome",
        ),
        ({"--match": "region", "--gtf": None}, "--match region: needs --gtf"),
        ({"--negatives": "genome", "--gtf": None}, "--negatives genome: needs --gtf, or --fasta with regions"),
        ({"--test_chroms": "chr8"}, "--test_chroms goes with --split chromosome"),
        ({"--split": "chromosome", "--test_chroms": "chr5"}, "found no record on chr5"),
        ({"--test_fraction": "0.9"}, "wanted a sum below 1"),
        ({"--center": "summit"}, "has no summit in column 10"),
        ({"--output_dir": None}, "--output_dir: not given"),
        ({"--min_sites": "4000"}, "none of 3 sets could be made"),
    ],
)
def test_user_errors_are_one_line(demo, tmp_path, change, message):
    arguments = {"--peaks": demo / "peaks", "--fasta": demo / "genome.fa", "--gtf": demo / "annotation.gtf"}
    arguments |= {"--output_dir": tmp_path / "out", "--min_sites": "10", **change}
    flat = [str(x) for pair in arguments.items() if pair[1] is not None for x in pair]
    done = call(*flat, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_peaks_of_another_genome(demo, tmp_path):
    """Chromosomes are there but no peak lies on them: said in one line, with what was lost to what."""
    peaks = tmp_path / "peaks"
    peaks.mkdir()
    for name in ("A", "B"):
        (peaks / f"{name}.bed").write_text("".join(f"chr9\t{i * 500}\t{i * 500 + 50}\tn\t1\t+\n" for i in range(1, 80)))
    done = call("--peaks", peaks, "--fasta", demo / "genome.fa", "--output_dir", tmp_path / "out")
    assert done.returncode == 2
    assert "79 chromosome absent" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_the_one_that_started_them(demo, tmp_path, number):
    """Ctrl-C reaches all processes of a terminal: only the first answers it."""
    script = Path(__file__).resolve().parents[2] / "preprocess" / "make_rbp_dataset.py"
    given = ["--peaks", demo / "peaks", "--fasta", demo / "genome.fa", "--output_dir", tmp_path / "out", "--workers", 2]
    # Whoever runs the tests in a shell's background has SIGINT ignored, and would hand that down.
    listening = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    started = subprocess.Popen(
        [sys.executable, str(script), *map(str, given)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=listening, start_new_session=True,
    )  # fmt: skip

    def are_ready(processes: list[psutil.Process]) -> bool:
        lines = (Path(f"/proc/{one.pid}/status").read_text().partition("SigIgn:")[2].split()[0] for one in processes)
        return len(processes) == 2 and all(int(ignored, 16) >> (signal.SIGINT - 1) & 1 for ignored in lines)

    while not are_ready(workers := psutil.Process(started.pid).children(recursive=True)):
        assert started.poll() is None
        time.sleep(0.01)
    if number == signal.SIGINT:
        os.killpg(started.pid, number)
    else:
        started.send_signal(number)
    error = started.communicate(timeout=120)[1]
    assert started.returncode == 130 if number == signal.SIGINT else started.returncode != 0
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    assert "Traceback" not in error
    assert error.count("interrupted") == (number == signal.SIGINT)


def test_thresholds_and_the_columns_that_they_apply_to(cases_folder, tmp_path):
    """YeoLab's BED has -log10 p and fold change in columns 4 and 5; half of its peaks are below both thresholds."""
    peaks = cases_folder / "thresholds_without_columns" / "yeo.bed"
    rows = [line.split("\t") for line in peaks.read_text().splitlines()]
    genome = shutil.copy(cases_folder / "genome.fa", tmp_path)  # its index is written beside it
    common = ["--peaks", peaks, "--fasta", genome, "--negatives", "shuffle", "--min_sites", 10]
    done = call(*common, "--output_dir", tmp_path / "ignored")
    assert done.returncode == 0, done.stderr
    for threshold, value, column in (
        ("min_log2fc", "log2 fold change", "fc_column"),
        ("min_neg_log10_p", "-log10 p", "p_column"),
    ):
        n = len(rows)
        wanted = f"whose files have no {value} (first: yeo.bed); --{column} names its column"
        assert f"--{threshold} has no effect on {n} of {n} peaks, {wanted}" in done.stderr
        assert f"{n} of {n} peaks have no {value}, so that {threshold} has no effect on them" in done.stdout
    report = json.loads((tmp_path / "ignored" / "yeo" / "report.json").read_text())
    assert report["positives"]["below_threshold"] == 0
    assert report["peaks_without_value"] == {"min_log2fc": len(rows), "min_neg_log10_p": len(rows)}

    done = call(*common, "--output_dir", tmp_path / "applied", "--p_column", 4, "--fc_column", 5)
    assert done.returncode == 0, done.stderr
    assert "no effect" not in done.stderr + done.stdout
    report = json.loads((tmp_path / "applied" / "yeo" / "report.json").read_text())
    weak = sum(float(row[3]) < 3 or float(row[4]) < 3 for row in rows)
    assert report["positives"]["below_threshold"] == weak == len(rows) // 2


def test_sets_that_would_share_a_name(demo, tmp_path):
    peaks = tmp_path / "peaks"
    peaks.mkdir()
    for name in ("one", "two"):
        (peaks / f"{name}.bed").write_text("chr1\t5\t9\n")
    (peaks / "index.tsv").write_text("accession\ttarget\tcell\none\tA_B\tC\ntwo\tA\tB_C\n")
    done = call("--peaks", peaks, "--fasta", demo / "genome.fa", "--output_dir", tmp_path / "out")
    assert done.returncode == 2
    assert "which would both be called A_B_C" in done.stderr


@pytest.mark.parametrize("name", ["../QKI", "Q/I", ".QKI", "Q" * 200])
def test_names_that_leave_the_output_folder(demo, tmp_path, name):
    peaks = tmp_path / "peaks"
    peaks.mkdir()
    (peaks / "A.bed").write_text("chr1\t5\t9\n")
    (peaks / "index.tsv").write_text(f"accession\ttarget\tcell\nA\t{name}\tK562\n")
    done = call("--peaks", peaks, "--fasta", demo / "genome.fa", "--output_dir", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --peaks")
    assert "wanted names that a folder can have" in done.stderr
    assert not (tmp_path / "out").exists()


def test_help_needs_no_torch():
    done = call("--help")
    assert done.returncode == 0
    assert "--min_distance" in done.stdout
    code = (
        "import sys; sys.argv=['x','--help']\n"
        "import runpy\n"
        "try: runpy.run_path('preprocess/make_rbp_dataset.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch','pandas','sklearn') if m in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, env=dict(os.environ), check=True
    )
    assert done.stdout.strip().endswith("[]")


def test_the_parser_lists_a_kind_of_negatives_added_to_the_table(capsys):
    from preprocess_runs import call as call_here

    NEGATIVES.add(NegativeKind("neighbours", "windows beside the sites", "LAMAR.nowhere:function"))
    try:
        assert call_here("make_rbp_dataset", "--help") == 0
    finally:
        NEGATIVES.remove("neighbours")
    text = " ".join(capsys.readouterr().out.split())
    assert "{other_rbps,genome,shuffle,neighbours}" in text
    assert "neighbours: windows beside the sites" in text
