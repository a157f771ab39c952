"""make_track_dataset.py: what a set holds, on made-up and on real data, and what it says of inputs that cannot work."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from LAMAR.alphabet import reverse_complement
from LAMAR.data.sequences import write_fasta
from LAMAR.data.tracks import read_track_set
from LAMAR.genomics.genome import open_genome

SCRIPT = Path(__file__).resolve().parents[2] / "preprocess" / "make_track_dataset.py"
spec = importlib.util.spec_from_file_location("make_track_dataset", SCRIPT)
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)

PARTS = {"chr1": "train", "chr2": "train", "chr8": "test", "chr10": "dev"}
# Middle of the windows on each chromosome, and the peaks around it: track, shift.
PLACES = (1000, 2500, 4000)


def write_inputs(folder: Path) -> None:
    """A genome, three experiments of A and B in K562 and one of C in HepG2, transcripts, sequences to leave out.

    At each place A is bound; B at 2,500 too, with its own window 60 nt further; C at 4,000.
    """
    rng = np.random.default_rng(7)
    sequences = {chrom: "".join(rng.choice(list("ACGT"), 6000)) for chrom in PARTS}
    write_fasta(folder / "genome.fa", sequences.items())
    peaks: dict[str, list[tuple[str, int]]] = {"A1": [], "A2": [], "B1": [], "C1": []}
    for chrom in PARTS:
        peaks["A1"] += [(chrom, 1000), (chrom, 2500)]
        peaks["A2"] += [(chrom, 4000)]
        peaks["B1"] += [(chrom, 2560)]
        peaks["C1"] += [(chrom, 4000)]
    (folder / "peaks").mkdir()
    rows = ["accession\ttarget\tcell", "A1\tA\tK562", "A2\tA\tK562", "B1\tB\tK562", "C1\tC\tHepG2"]
    (folder / "peaks" / "index.tsv").write_text("\n".join(rows) + "\n")
    for name, places in peaks.items():
        lines = [f"{chrom}\t{at - 20}\t{at + 20}\tx\t1000\t-\t5.0\t9.0\t-1\t-1" for chrom, at in places]
        (folder / "peaks" / f"{name}.bed").write_text("\n".join(lines) + "\n")
    transcripts = [(f"t{i}", "".join(rng.choice(list("ACGT"), 2000))) for i in range(60)]
    # Runs of 40 nt of a peak, on either strand, in the middle of two transcripts.
    run = sequences["chr2"][980:1020]
    for i, text in ((0, run), (1, reverse_complement(run))):
        transcripts[i] = (f"t{i}", transcripts[i][1][:1000] + text + transcripts[i][1][1000:])
    write_fasta(folder / "transcripts.fa", transcripts)
    # chr1:2500 in a sequence of another strand and set; 29 nt of chr1:1000.
    seen = [reverse_complement(sequences["chr1"][2460:2500]), reverse_complement(sequences["chr1"][1000:1029])]
    (folder / "seen.csv").write_text("sequence,label\n" + "".join(f"{text},1\n" for text in seen))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def arguments_of(folder: Path, output: Path, **changes) -> list[str]:
    arguments = {"peaks": folder / "peaks", "fasta": folder / "genome.fa", "output_dir": output} | changes
    words = []
    for name, value in arguments.items():
        if value is not None:
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


@pytest.fixture(scope="module")
def made(inputs, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("made") / "set"
    options = {"background": inputs / "transcripts.fa", "exclude": inputs / "seen.csv"}
    options["background_windows"] = [50, 20, 20]
    assert script.main(arguments_of(inputs, output, **options)) == 0
    return output


@pytest.fixture(scope="module")
def data(made):
    return read_track_set(made)


def test_site_windows_and_their_labels(data):
    assert data.names == ["A_K562", "B_K562", "C_HepG2"]
    sites = data.windows[data.windows["kind"] == "site"].assign(row=lambda table: table.index)
    middles = (sites["start"] + sites["end"]) // 2
    # chr1:2500 shares 40 nt with --exclude. chr1:2560 holds 2510-2611 and so does not; chr1:1000 shares 29 nt only.
    expected = {(chrom, at) for chrom in PARTS for at in (1000, 2500, 2560, 4000)} - {("chr1", 2500)}
    assert set(zip(sites["chrom"], middles)) == expected
    assert sites["part"].tolist() == [PARTS[chrom] for chrom in sites["chrom"]]
    labels, mask = data.labels(sites["row"].to_numpy())
    for middle, label, known in zip(middles, labels.tolist(), mask.tolist()):
        # Peaks are 40 nt: A's at 2,500 ends 25 nt before the middle of B's window, and the other way round.
        wanted = {
            1000: ([1, 0, 0], [1, 1, 0]),
            2500: ([1, 0, 0], [1, 0, 0]),
            2560: ([0, 1, 0], [0, 1, 0]),
            4000: ([1, 0, 1], [1, 1, 1]),
        }
        assert (label, known) == wanted[middle]


def test_sequences_are_those_of_the_genome(data, inputs):
    sites = data.windows[data.windows["kind"] == "site"]
    with open_genome(inputs / "genome.fa") as source:
        assert source.extract(sites) == sites["sequence"].tolist()
        forward = source.extract(sites.assign(strand="+"))
    assert [reverse_complement(text) for text in forward] == sites["sequence"].tolist()


def test_background_is_bound_by_none_and_shares_no_run(data):
    background = np.flatnonzero(data.windows["kind"] == "background")
    labels, mask = data.labels(background)
    assert not labels.any()
    assert mask.all()
    assert data.windows["part"].iloc[background].value_counts().to_dict() == {"train": 50, "dev": 20, "test": 20}
    runs = [
        {text[i : i + 30] for text in data.windows["sequence"][chosen] for i in range(len(text) - 29)}
        for chosen in (data.windows["kind"] == "site", data.windows["kind"] == "background")
    ]
    assert not runs[0] & runs[1]
    assert not {reverse_complement(run) for run in runs[0]} & runs[1]
    owners = {}
    for text, part in data.windows[["sequence", "part"]].iloc[background].itertuples(index=False):
        for i in range(len(text) - 29):
            assert owners.setdefault(text[i : i + 30], part) == part


def test_tracks_and_reports(made, data):
    tracks = pd.read_csv(made / "tracks.tsv", sep="\t")
    assert tracks["track"].tolist() == data.names
    assert tracks["accession"].tolist() == ["A1;A2", "B1", "C1"]
    assert tracks["n_peaks"].tolist() == [12, 4, 4]
    assert tracks["train_bound"].tolist() == [5, 2, 2]
    assert tracks["test_bound"].tolist() == tracks["dev_bound"].tolist() == [3, 1, 1]
    # C's cell line has peaks at 4,000 only; A and B are near each other once.
    assert tracks["test_unknown"].tolist() == [1, 1, 3]
    report = json.loads((made / "report.json").read_text())
    assert report["windows_by_kind"]["site"] == {"train": 7, "dev": 4, "test": 4}
    assert report["clusters"] == 16
    assert report["clusters_lost"]["excluded"] == 1
    assert report["experiments"] == 4
    bound = (5 + 2 + 2 + 2 * 5) / 15
    assert report["labels_per_site_window"]["bound"] == pytest.approx(bound)
    text = (made / "report.txt").read_text()
    assert "3 tracks of 3 RBPs (1 HepG2, 2 K562) from 4 experiments" in text
    assert "1 excluded" in text
    record = json.loads((made / "run.json").read_text())
    assert record["status"] == "finished"
    assert set(record["files"]) == {"units", "windows.parquet", "tracks.tsv", "report.txt", "report.json"}
    assert len(record["inputs"]) == 4


def test_the_same_command_gives_the_same_bytes(made, inputs, tmp_path, capsys):
    options = {"background": inputs / "transcripts.fa", "exclude": inputs / "seen.csv"}
    options["background_windows"] = [50, 20, 20]
    assert script.main(arguments_of(inputs, tmp_path / "set", **options)) == 0
    for name in ("windows.parquet", "tracks.tsv", "report.txt"):
        assert (tmp_path / "set" / name).read_bytes() == (made / name).read_bytes()
    before = (made / "windows.parquet").stat().st_mtime_ns
    assert script.main(arguments_of(inputs, made, **options)) == 0
    assert (made / "windows.parquet").stat().st_mtime_ns == before
    capsys.readouterr()
    assert script.main(arguments_of(inputs, made, **(options | {"seed": 3}))) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_some_rbps_without_background(inputs, tmp_path):
    options = arguments_of(inputs, tmp_path / "set", rbps="A,B", cells="K562", test_chroms="8", dev_chroms="chr10,chr2")
    assert script.main(options) == 0
    data = read_track_set(tmp_path / "set")
    assert data.names == ["A_K562", "B_K562"]
    assert set(data.windows["kind"]) == {"site"}
    assert set(data.windows.loc[data.windows["part"] == "dev", "chrom"]) == {"chr2", "chr10"}
    assert json.loads((tmp_path / "set" / "report.json").read_text())["background"] == {"source": None}


def test_values_of_peaks_in_other_columns(inputs, tmp_path, capsys, caplog):
    """BED with -log10 p and fold change in columns 4 and 5: thresholds apply to them where the user says so."""
    peaks = tmp_path / "peaks"
    shutil.copytree(inputs / "peaks", peaks)
    for file in peaks.glob("*.bed"):
        rows = [line.split("\t") for line in file.read_text().splitlines()]
        values = ["9.0\t5.0" if row[0] != "chr2" else "9.0\t2.0" for row in rows]
        lines = ["\t".join((*row[:3], value, row[5])) for row, value in zip(rows, values)]
        file.write_text("\n".join(lines) + "\n")

    def report(name: str, **options) -> dict:
        assert script.main(arguments_of(inputs, tmp_path / name, peaks=peaks, **options)) == 0
        return json.loads((tmp_path / name / "report.json").read_text())

    ignored = report("ignored")
    n = ignored["peaks"]["read"]
    assert ignored["peaks_without_value"] == {"min_log2fc": n, "min_neg_log10_p": n}
    assert ignored["peaks"]["below_threshold"] == 0
    assert f"`min_log2fc` has no effect on {n} of {n} peaks, whose files have no log2 fold change" in caplog.text
    said = f"{n} of {n} peaks have no -log10 p, so that min_neg_log10_p has no effect on them"
    assert said in capsys.readouterr().out
    caplog.clear()
    applied = report("applied", p_column=4, fc_column=5)
    assert applied["peaks_without_value"] == {"min_log2fc": 0, "min_neg_log10_p": 0}
    assert applied["peaks"]["below_threshold"] == 5  # those of chr2
    assert "no effect" not in capsys.readouterr().out + caplog.text


def test_tracks_without_training_windows_are_left_out(inputs, tmp_path):
    peaks = shutil.copytree(inputs / "peaks", tmp_path / "peaks")
    with (peaks / "index.tsv").open("a") as handle:
        handle.write("D1\tD\tK562\n")
    # Test windows only.
    (peaks / "D1.bed").write_text("chr8\t5000\t5040\tx\t1000\t+\t5.0\t9.0\t-1\t-1\n")
    assert script.main(arguments_of(inputs, tmp_path / "set", peaks=peaks)) == 0
    data = read_track_set(tmp_path / "set")
    assert data.names == ["A_K562", "B_K562", "C_HepG2"]
    assert 5020 not in ((data.windows["start"] + data.windows["end"]) // 2).tolist()
    report = json.loads((tmp_path / "set" / "report.json").read_text())
    assert report["tracks_left_out"] == {"D_K562": 0}
    assert report["clusters_lost"]["of_tracks_left_out"] == 1
    assert "D_K562 (0)" in (tmp_path / "set" / "report.txt").read_text()


def failure(words: list[str], output: Path, capsys) -> str:
    """The one line that a run ends with, which leaves nothing behind."""
    assert script.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not output.exists()
    return error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rbps": "A,NOBODY"}, "--rbps: found no peaks of 'NOBODY'"),
        ({"cells": "HeLa"}, "--cells: found no peaks of 'HeLa'"),
        ({"rbps": "B", "cells": "HepG2"}, "--rbps, --cells: found no peaks of 'B' in HepG2"),
        ({"rbps": "B", "min_windows": "3"}, "--rbps B: found 2 training windows of track B_K562"),
        ({"min_windows": "100"}, "--min_windows 100: the largest track has 6 training windows"),
        ({"min_log2fc": "20"}, "--min_log2fc, --min_neg_log10_p: none of 20 peaks reaches both"),
        ({"test_chroms": "chr8,chr1,chr2"}, "found no window for train"),
        ({"dev_chroms": "chr20"}, "--dev_chroms chr20: found no window for dev"),
        ({"dev_chroms": "chr8"}, "--dev_chroms: found chr8 in --test_chroms too"),
        ({"core": "60"}, "--core 60"),
        ({"peaks": None}, "--peaks: not given"),
        ({"output_dir": None}, "--output_dir: not given"),
        ({"fasta": "nowhere.fa"}, "nowhere.fa: cannot be read"),
        ({"exclude": "nowhere.csv"}, "nowhere.csv: cannot be read"),
        ({"background": "INPUTS/transcripts.fa", "gtf": "INPUTS/genome.fa"}, "--background and --gtf: found both"),
        ({"background": "INPUTS/seen.csv"}, "seen.csv: line 1: found 'sequence,label' before the first '>' line"),
        ({"gtf": "INPUTS/genome.fa"}, "genome.fa: line 1"),
    ],
)
def test_arguments_that_cannot_work(inputs, tmp_path, capsys, changes, message):
    changes = {
        name: value.replace("INPUTS", str(inputs)) if isinstance(value, str) else value
        for name, value in changes.items()
    }
    assert message in failure(arguments_of(inputs, tmp_path / "set", **changes), tmp_path / "set", capsys)


def test_peaks_and_genomes_that_do_not_go_together(inputs, tmp_path, capsys):
    output = tmp_path / "set"
    (tmp_path / "empty").mkdir()
    error = failure(arguments_of(inputs, output, peaks=tmp_path / "empty"), output, capsys)
    assert "found no *.bed" in error
    twice = shutil.copytree(inputs / "peaks", tmp_path / "twice")
    with (twice / "index.tsv").open("a") as handle:
        handle.write("A1\tE\tK562\n")
    assert "row 6: found accession 'A1' a second time" in failure(
        arguments_of(inputs, output, peaks=twice), output, capsys
    )
    files = [inputs / "peaks" / "A1.bed", twice / "A1.bed"]
    (twice / "index.tsv").unlink()
    assert "found 'A1' in" in failure(arguments_of(inputs, output, peaks=files), output, capsys)
    with open_genome(inputs / "genome.fa") as source:
        spans = pd.DataFrame({"chrom": ["chr1", "chr8"], "start": [0, 0], "end": [6000, 6000]})
        write_fasta(tmp_path / "two.fa", zip(spans["chrom"], source.extract(spans)))
    error = failure(arguments_of(inputs, output, fasta=tmp_path / "two.fa"), output, capsys)
    assert "found no chromosome chr10 and 1 more, on which peaks lie" in error
    write_fasta(tmp_path / "other.fa", [("chrZ", "ACGT" * 100)])
    words = [*arguments_of(inputs, output, fasta=tmp_path / "other.fa"), "--allow_missing"]
    assert "found no chromosome chr1 and 3 more" in failure(words, output, capsys)


def test_help_answers_without_heavy_imports():
    code = f"import sys, runpy; sys.argv = ['x', '--help']; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0
    assert "--background_windows" in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"torch", "pandas", "pyarrow", "bioframe"}


def test_without_arguments_it_runs_on_the_demo_set(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--output_dir", str(tmp_path / "set")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "LAMAR_LIGHT"},
    )
    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC demo data" in done.stdout
    assert (tmp_path / "set" / "report.txt").read_text().startswith("SYNTHETIC")
    data = read_track_set(tmp_path / "set")
    assert data.names == ["IRPSYN_DEMO", "PUM2_DEMO", "QKI_DEMO"]
    motif = re.compile("TGTA[ACGT]ATA")
    labels, mask = data.labels(data.rows("train"))
    shares = [
        np.mean([motif.search(data.sequences[i]) is not None for i in data.rows("train")[chosen]])
        for chosen in (labels[:, 1] == 1, (labels[:, 1] == 0) & (mask[:, 1] == 1))
    ]
    # Most peaks stand on a site. No site stands elsewhere, and next to none without a peak near it.
    assert shares[0] > 0.6
    assert shares[1] < 0.02
    assert len(data.rows("train", "background")) > 500


def test_real_peaks_of_two_experiments(shared_dir, tmp_path):
    """Real regions: windows near their ends are shorter, and the figures of the labels hold."""
    folder = shared_dir / "data"
    peaks = folder / "eclip_peaks"
    index = pd.read_csv(peaks / "index.tsv", sep="\t")
    qki = index[(index["target"] == "QKI")]
    files = [peaks / f"{name}.bed.gz" for name in qki["accession"]]
    options = {"peaks": files, "fasta": folder / "clip_regions" / "hg38_clip_regions.fa.gz"}
    assert script.main(arguments_of(tmp_path, tmp_path / "set", **options)) == 0
    data = read_track_set(tmp_path / "set")
    assert data.names == [f"QKI_{cell}" for cell in sorted(qki["cell"])]
    lengths = data.windows["sequence"].str.len()
    assert lengths.min() >= 45
    assert lengths.max() == 101
    assert (data.windows["end"] - data.windows["start"]).eq(lengths).all()
    motif = data.windows["sequence"].str.contains("ACTAA").mean()
    assert motif > 3 * data.windows["sequence"].str.contains("GATTA").mean()
    bound, unknown = data.labels(np.arange(len(data)))
    assert (bound.sum(axis=1) > 0).all()
    assert ((unknown == 0) & (bound == 1)).sum() == 0
