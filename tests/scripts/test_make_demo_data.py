"""The synthetic demo set: what truth.json says stands in the files, and composition does not give the labels away."""

from __future__ import annotations

import functools
import gzip
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from LAMAR.data import synthetic_files
from LAMAR.data.sequences import parse_region, read_fasta

SCRIPT = Path(__file__).resolve().parents[2] / "preprocess" / "make_demo_data.py"
RBPS = ("PUM2", "QKI", "IRPSYN")
PAIRS = {"AT", "TA", "GC", "CG"}
CLASSES = {"N": "ACGT", "Y": "CT", "H": "ACT"}
FULL = {
    "PUM2": re.compile("(?=TGTA[ACGT]ATA)"),
    "QKI": re.compile("(?=ACTAA[CT][ACGT]{1,20}TAA[CT])"),
    "IRPSYN": re.compile("(?=([ACGT]{6})CAGTG[ACT]([ACGT]{6}))"),
}
LETTERS = {"PUM2": ["TGTANATA"], "QKI": ["ACTAAY", "TAAY"], "IRPSYN": ["NNNNNN", "CAGTGH", "NNNNNN"]}


def revcomp(sequence: str) -> str:
    return sequence[::-1].translate(str.maketrans("ACGT", "TGCA"))


def full_sites(rbp: str, sequence: str) -> list[int]:
    """Starts of full sites on the given strand, written independently of the script."""
    hits = list(FULL[rbp].finditer(sequence))
    if rbp == "IRPSYN":
        hits = [m for m in hits if m.group(1) == revcomp(m.group(2))]
    return [m.start() for m in hits]


def mismatches(motif: str, letters: str) -> list[int]:
    return [i for i, (m, x) in enumerate(zip(motif, letters, strict=True)) if x not in CLASSES.get(m, m)]


def scan(rbp: str, sequence: str) -> int:
    """Best number of matching letters (and pairs) of a site anywhere in ``sequence``: the oracle's score."""

    def matches(motif: str) -> np.ndarray:
        rows = [[x in CLASSES.get(m, m) for x in sequence] for m in motif]
        n = len(sequence) - len(motif) + 1
        return np.sum([row[k : k + n] for k, row in enumerate(rows)], axis=0)

    if rbp == "PUM2":
        return int(matches("TGTANATA").max())
    if rbp == "QKI":
        first, second = matches("ACTAAY"), matches("TAAY")
        return max(int((first[: len(second) - 6 - s] + second[6 + s :][: len(first)]).max()) for s in range(1, 21))
    loop = matches("CAGTGH")
    return max(
        int(loop[p]) + sum(sequence[p - 1 - k] + sequence[p + 6 + k] in PAIRS for k in range(6))
        for p in range(6, len(sequence) - 11)
    )


def run(*arguments, cwd=None) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def make(folder: Path, *arguments) -> Path:
    done = run("--output_dir", folder, *arguments)
    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC" in done.stdout
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """The default data set."""
    return make(tmp_path_factory.mktemp("demo") / "data")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("small") / "data", "--windows_per_rbp", 24, "--seed", 3)


@pytest.fixture(scope="module")
def truth(demo) -> dict:
    return json.loads((demo / "truth.json").read_text())


@pytest.fixture(scope="module")
def genome(demo) -> dict[str, str]:
    return {name.split()[0]: sequence for name, sequence in read_fasta(demo / "genome.fa")}


@pytest.fixture(scope="module")
def labelled(demo) -> dict[tuple[str, int], dict[str, str]]:
    """(rbp, label) -> first word of the header -> sequence."""
    return {
        (rbp, label): {h.split()[0]: s for h, s in read_fasta(demo / "labelled" / f"{rbp}.{side}.fa")}
        for rbp in RBPS
        for label, side in ((1, "positives"), (0, "negatives"))
    }


def peak_rows(folder: Path, rbp: str) -> list[list[str]]:
    text = gzip.decompress((folder / "peaks" / f"{rbp}_DEMO.bed.gz").read_bytes()).decode()
    return [line.split("\t") for line in text.splitlines() if not line.startswith("#")]


def gtf_rows(folder: Path) -> list[list[str]]:
    lines = (folder / "annotation.gtf").read_text().splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def test_same_seed_same_bytes_other_seed_other_bytes(small, tmp_path):
    assert contents(make(tmp_path / "again", "--windows_per_rbp", 24, "--seed", 3)) == contents(small)
    other = make(tmp_path / "other", "--windows_per_rbp", 24, "--seed", 4)
    assert (other / "genome.fa").read_bytes() != (small / "genome.fa").read_bytes()


def test_every_file_says_synthetic_and_matches_its_checksum(demo, truth):
    files = contents(demo)
    assert set(truth["files"]) | {"truth.json"} == set(files)
    for name, entry in truth["files"].items():
        assert hashlib.sha256(files[name]).hexdigest() == entry["sha256"], name
        text = gzip.decompress(files[name]).decode() if name.endswith(".gz") else files[name].decode()
        assert name == "genome.fa.fai" or "SYNTHETIC" in text.splitlines()[0] + text.splitlines()[1], name
    assert truth["synthetic"] is True


def test_windows_are_the_genome_slice_on_their_strand(truth, genome, labelled):
    for (rbp, label), records in labelled.items():
        assert len(records) == 1000
        assert {h for h, w in truth["windows"][rbp].items() if w["label"] == label} == set(records)
        for header, sequence in records.items():
            region, w = parse_region(header), truth["windows"][rbp][header]
            assert tuple(region) == tuple(w[key] for key in ("chrom", "start", "end", "strand"))
            forward = genome[w["chrom"]][w["start"] : w["end"]]
            assert sequence == (forward if w["strand"] == "+" else revcomp(forward))
            assert len(sequence) == 101
    assert {w["strand"] for w in truth["windows"]["PUM2"].values()} == {"+", "-"}
    assert {w["chrom"] for w in truth["windows"]["PUM2"].values()} == set(genome)


def test_windows_do_not_overlap_and_are_unique(truth, labelled):
    spans = sorted((w["chrom"], w["start"], w["end"]) for rbp in RBPS for w in truth["windows"][rbp].values())
    assert all(a[0] != b[0] or a[2] <= b[1] for a, b in itertools.pairwise(spans))
    sequences = [s for records in labelled.values() for s in records.values()]
    assert len(set(sequences)) == len(sequences) == 6000


@pytest.mark.parametrize("rbp", RBPS)
def test_planted_sites_letter_for_letter(rbp, truth, genome, labelled):
    for index, site in enumerate(truth["sites"][rbp]):
        w = truth["windows"][rbp][site["window"]]
        window = labelled[rbp, 1][site["window"]]
        assert w["site"] == index
        forward = genome[site["chrom"]][site["start"] : site["end"]]
        instance = forward if site["strand"] == "+" else revcomp(forward)
        assert instance == site["instance"]
        assert window[w["motif"][0][0] : w["motif"][-1][1]] == instance
        wrong = []
        for (a, b), (left, right), motif in zip(w["motif"], site["motif"], LETTERS[rbp], strict=True):
            there = genome[site["chrom"]][left:right]
            assert (there if site["strand"] == "+" else revcomp(there)) == window[a:b]
            wrong += [a + i for i in mismatches(motif, window[a:b])]
        assert wrong == ([] if site["strength"] == "strong" else [w["mismatch"]])
        if site["strength"] == "weak":
            offset = site["mismatch"] - w["start"]
            assert w["mismatch"] == (offset if site["strand"] == "+" else 100 - offset)
        assert len(full_sites(rbp, instance)) == (site["strength"] == "strong")
    assert Counter(site["strength"] for site in truth["sites"][rbp]) == {"strong": 900, "weak": 100}
    spacers = {site["end"] - site["start"] - 10 for site in truth["sites"]["QKI"]}
    assert spacers == set(range(1, 21))


def test_stem_pairs_are_complementary(truth, genome, labelled):
    combinations, n_pairs = Counter(), Counter()
    for header, w in truth["windows"]["IRPSYN"].items():
        sequence = labelled["IRPSYN", w["label"]][header]
        found = [sequence[i] + sequence[j] for i, j in w["pairs"]]
        assert set(found) <= PAIRS
        assert all(j - i >= 7 for i, j in w["pairs"])
        n_pairs[w["kind"], len(found)] += 1
        combinations.update(found)
    with_stem = {(kind, 6) for kind in ("strong", "weak", "scattered", "moved")}
    assert set(n_pairs) == with_stem | {("unpaired", 0)}
    # Each of the four pairs is as common as the others: i and j vary together, neither is fixed.
    shares = np.array([combinations[pair] for pair in sorted(PAIRS)]) / sum(combinations.values())
    assert np.abs(shares - 0.25).max() < 0.03
    for site in truth["sites"]["IRPSYN"]:
        assert all(genome[site["chrom"]][i] + genome[site["chrom"]][j] in PAIRS for i, j in site["pairs"])
        assert all((i < j) == (site["strand"] == "+") for i, j in site["pairs"])
    assert all(not w["pairs"] for rbp in ("PUM2", "QKI") for w in truth["windows"][rbp].values())


@pytest.mark.parametrize("rbp", RBPS)
def test_no_full_site_but_the_planted_ones(rbp, truth, genome, labelled):
    assert not any(full_sites(rbp, sequence) for sequence in labelled[rbp, 0].values())
    strong = [site for site in truth["sites"][rbp] if site["strength"] == "strong"]
    expected = {(site["chrom"], site["strand"], site["start"], site["end"]) for site in strong}
    ends = {("+", c, a): b for c, s, a, b in expected if s == "+"}
    starts = {("-", c, b): a for c, s, a, b in expected if s == "-"}
    for chrom, sequence in genome.items():
        forward = [("+", chrom, p) for p in full_sites(rbp, sequence)]
        backward = [("-", chrom, len(sequence) - p) for p in full_sites(rbp, revcomp(sequence))]
        assert set(forward) == {key for key in ends if key[1] == chrom}
        assert set(backward) == {key for key in starts if key[1] == chrom}


def test_decoys(truth, labelled):
    first, second = "ACTAA[CT]", "TAA[CT]"
    order = {"far": [first, second], "reversed": [second, first]}
    for header, w in truth["windows"]["QKI"].items():
        parts = [labelled["QKI", w["label"]][header][a:b] for a, b in w["decoy"]]
        for part, pattern in zip(parts, order.get(w["kind"], []), strict=False):
            assert re.fullmatch(pattern, part)
        assert w["kind"] != "far" or w["decoy"][1][0] - w["decoy"][0][1] >= 30
        assert w["kind"] != "half" or sum(bool(re.fullmatch(first, part)) for part in parts) == 1
    kinds = Counter(w["kind"] for w in truth["windows"]["QKI"].values() if not w["label"])
    assert kinds == {"scattered": 750, "split": 100, "half": 50, "far": 50, "reversed": 50}
    kinds = Counter(w["kind"] for w in truth["windows"]["IRPSYN"].values())
    assert kinds == {"strong": 900, "weak": 100, "scattered": 500, "unpaired": 300, "moved": 200}
    for header, w in truth["windows"]["IRPSYN"].items():
        if w["kind"] in ("unpaired", "moved"):
            assert re.search("CAGTG[ACT]", labelled["IRPSYN", 0][header])


def test_negatives_come_from_transcripts_without_a_site(demo, truth):
    genes = [(x[0], int(x[3]) - 1, int(x[4]), x[6]) for x in gtf_rows(demo) if x[2] == "gene"]
    for rbp in RBPS:
        labels = {gene: set() for gene in genes}
        for w in truth["windows"][rbp].values():
            inside = [g for g in genes if g[0] == w["chrom"] and g[1] <= w["start"] and w["end"] <= g[2]]
            assert len(inside) == 1
            assert inside[0][3] == w["strand"]
            labels[inside[0]].add(w["label"])
        assert not any(found == {0, 1} for found in labels.values())


def test_peaks_and_regions(demo, truth, genome):
    everything = []
    index = [line.split("\t") for line in (demo / "peaks" / "index.tsv").read_text().splitlines()]
    assert index[0][:4] == ["accession", "target", "cell", "assembly"]
    for rbp, row in zip(RBPS, index[1:], strict=True):
        rows = peak_rows(demo, rbp)
        assert row[:2] == [f"{rbp}_DEMO", rbp]
        assert int(row[index[0].index("n_peaks")]) == len(rows)
        assert {(len(r), r[3], r[4], r[8], r[9]) for r in rows} == {(10, f"{rbp}_DEMO_IDR", "1000", "-1", "-1")}
        places = {(r[0], int(r[1]), int(r[2]), r[5]) for r in rows}
        assert all(0 <= a < b <= len(genome[c]) and 30 <= b - a <= 120 for c, a, b, _ in places)
        on_site = {(s["chrom"], *s["peak"], s["strand"]) for s in truth["sites"][rbp]}
        background = {tuple(p) for p in truth["background_peaks"][rbp]}
        assert all(s["peak"][0] <= s["start"] and s["end"] <= s["peak"][1] for s in truth["sites"][rbp])
        assert places == on_site | background
        assert not on_site & background
        assert len(background) > 50
        spots = [(s["chrom"], s["start"], s["end"]) for s in truth["sites"][rbp]]
        assert not any(c == x and start < b and a < end for c, a, b, _ in background for x, start, end in spots)
        everything += places
    regions = []
    for header, sequence in read_fasta(demo / "clip_regions.fa"):
        region = parse_region(header.split()[0])
        assert sequence == genome[region.chrom][region.start : region.end]
        regions.append((region.chrom, region.start, region.end))
    lines = (demo / "clip_regions.bed").read_text().splitlines()[1:]
    assert [(c, int(a), int(b)) for c, a, b, *_ in (line.split("\t") for line in lines)] == regions
    for chrom, sequence in genome.items():
        covered, merged = np.zeros((2, len(sequence)), dtype=bool)
        for track, spans in ((covered, everything), (merged, regions)):
            for _, start, end, *_ in (span for span in spans if span[0] == chrom):
                track[start:end] = True
        assert (covered == merged).all()
    assert sum(int(line.split("\t")[4]) for line in lines) == len(everything)
    lengths = np.array([end - start for _, start, end in regions])
    assert np.histogram(lengths, [0, 513, 12 * 512 + 1, 10**6])[0].all()  # short, medium and long ones


def test_transcripts_and_index_match_the_genome(small):
    data = {name.split()[0]: s for name, s in read_fasta(small / "genome.fa")}
    raw = (small / "genome.fa").read_bytes()
    for line in (small / "genome.fa.fai").read_text().splitlines():
        name, length, offset, bases, width = line.split("\t")
        length, offset, bases, width = int(length), int(offset), int(bases), int(width)
        position = length // 2
        assert raw[offset + position // bases * width + position % bases] == ord(data[name][position])
        assert length == len(data[name])
    exons, parts = {}, {}
    for x in (x for x in gtf_rows(small) if x[2] not in ("gene", "transcript")):
        name = re.search('transcript_id "([^"]+)"', x[8]).group(1)
        place = (x[0], int(x[3]) - 1, int(x[4]), x[6])
        if x[2] == "exon":
            exons.setdefault(name, []).append(place)
            assert f'exon_number "{len(exons[name])}"' in x[8]
        else:
            parts.setdefault(name, []).append((x[2], place[2] - place[1], x[7]))
    transcripts = {name.split()[0]: s for name, s in read_fasta(small / "transcripts.fa")}
    assert set(exons) == set(transcripts)
    for name, pieces in exons.items():
        joined = [data[c][a:b] if s == "+" else revcomp(data[c][a:b]) for c, a, b, s in pieces]
        assert "".join(joined) == transcripts[name]
        if name in parts:
            assert sum(length for _, length, _ in parts[name]) == len(transcripts[name])
            coding = [(length, int(frame)) for kind, length, frame in parts[name] if kind == "CDS"]
            assert sum(length for length, _ in coding) % 3 == 0
            before = itertools.accumulate((length for length, _ in coding), initial=0)
            assert all(frame == -done % 3 for (_, frame), done in zip(coding, before, strict=False))
    assert {p[0][3] for p in exons.values()} == {"+", "-"}


@pytest.mark.parametrize("rbp", RBPS)
def test_composition_does_not_tell_the_classes_apart_but_the_site_does(rbp, labelled):
    positives, negatives = (list(labelled[rbp, label].values()) for label in (1, 0))
    sequences = positives + negatives
    y = np.repeat([1, 0], [len(positives), len(negatives)])

    def auroc(k: int, letters: str = "ACGT") -> float:
        words = ["".join(word) for word in itertools.product("ACGT", repeat=k)]
        counts = [Counter(s[i : i + k] for i in range(len(s) - k + 1)) for s in sequences]
        x = np.array([[count[word] for word in words] for count in counts], dtype=float)
        x = x[:, [1, 2]].sum(1, keepdims=True) if letters == "GC" else x
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        return roc_auc_score(y, cross_val_predict(model, x, y, cv=folds, method="decision_function"))

    assert auroc(1, "GC") < 0.65
    assert auroc(2) < 0.65
    assert roc_auc_score(y, [scan(rbp, s) for s in sequences]) > 0.9


def test_a_complete_set_is_left_alone_and_a_broken_one_rebuilt(tmp_path):
    folder = make(tmp_path / "data", "--windows_per_rbp", 12)
    before, stamp = contents(folder), (folder / "genome.fa").stat().st_mtime_ns
    done = run("--output_dir", folder, "--windows_per_rbp", 12)
    assert "nothing done" in done.stdout
    assert (folder / "genome.fa").stat().st_mtime_ns == stamp
    (folder / "truth.json").unlink()
    (folder / "genome.fa").write_text(">chr1\nAC")
    make(folder, "--windows_per_rbp", 12)
    assert contents(folder) == before
    assert run("--output_dir", folder, "--windows_per_rbp", 13).returncode == 2
    assert contents(folder) == before
    make(folder, "--windows_per_rbp", 13, "--overwrite")
    assert json.loads((folder / "truth.json").read_text())["arguments"]["windows_per_rbp"] == 13
    (folder / "notes.txt").write_text("mine")
    refused = run("--output_dir", folder, "--windows_per_rbp", 13, "--overwrite")
    assert refused.returncode == 2
    assert "notes.txt" in refused.stderr
    assert (folder / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--windows_per_rbp", 3], "--windows_per_rbp 3"),
        (["--seed", -1], "--seed -1"),
        (["--weak_fraction", 0.9], "--weak_fraction 0.9"),
        (["--weak_fraction", "nan"], "--weak_fraction nan"),
        (["--output_dir", "taken"], "--output_dir"),
        (["--output_dir", "taken", "--overwrite"], "--output_dir"),
        (["--output_dir", "taken/mine.txt"], "--output_dir"),
        (["--output_dir", "taken/mine.txt/below"], "--output_dir"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(arguments, named, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    done = run("--output_dir", "fresh", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert named in done.stderr
    assert contents(tmp_path) == {"taken/mine.txt".replace("/", os.sep): b"mine"}


def test_from_another_working_directory_and_without_heavy_imports(tmp_path):
    assert run("--output_dir", "here", "--windows_per_rbp", 10, cwd=tmp_path).returncode == 0
    assert (tmp_path / "here" / "truth.json").is_file()
    code = (
        f"import runpy, sys; sys.argv = ['x', '--output_dir', {str(tmp_path / 'b')!r}, '--windows_per_rbp', '10']\n"
        f"try:\n    runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'pandas', 'transformers'} & set(sys.modules)"
    )
    light = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert light.returncode == 0, light.stderr


def test_without_a_clone_the_demo_data_are_kept_in_the_users_cache(tmp_path, monkeypatch, capsys, small):
    from LAMAR.cli import demo as fallback

    few = functools.partial(synthetic_files.make_demo_data, windows_per_rbp=24, seed=3)
    monkeypatch.setattr(synthetic_files, "make_demo_data", few)
    monkeypatch.setattr(fallback, "IN_CLONE", False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = fallback.demo_data()
    assert folder == tmp_path / "lamar" / "demo" / "data"
    assert "SYNTHETIC" in capsys.readouterr().out
    assert contents(folder) == contents(small)
    assert fallback.demo_data() == folder
    assert capsys.readouterr().out == ""
