"""predict_rbp.py with a tiny model of many RBPs: inputs, outputs, errors."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from tiny_models import tiny

from LAMAR import load_classifier, scan
from LAMAR.data.track_calibration import write_calibration
from LAMAR.modeling_nucESM2 import EsmForSequenceClassification
from LAMAR.statistics.calibration import fit_calibration

SCRIPT = Path(__file__).resolve().parents[2] / "finetune_scripts" / "predict_rbp.py"
NAMES = ["PUM2_HepG2", "PUM2_K562", "QKI_K562"]

spec = importlib.util.spec_from_file_location("predict_rbp", SCRIPT)
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


def random_sequence(n: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), n))


@pytest.fixture(scope="module")
def joint(tmp_path_factory) -> Path:
    """Folder of a model of three tracks with a calibration."""
    folder = tmp_path_factory.mktemp("joint")
    options = {"loss_type": "bce", "head_type": "max_mean", "head_channels": 8, "head_kernel_size": 5}
    names = {"id2label": dict(enumerate(NAMES)), "label2id": {name: i for i, name in enumerate(NAMES)}}
    model = tiny(
        EsmForSequenceClassification, num_labels=3, head_trained=True, window_length=21, **options, **names
    ).eval()
    model.save_pretrained(folder)
    tiles = [random_sequence(21, seed) for seed in range(400)]
    logits = np.concatenate([scan(model, tile)[:1] for tile in tiles])
    labels = np.repeat([1, 0], [40, 360])[:, None].repeat(3, axis=1)
    write_calibration(folder / "calibration.json", fit_calibration(logits, labels, labels[:, 0] == 0, NAMES))
    return folder


@pytest.fixture
def fasta(tmp_path) -> Path:
    path = tmp_path / "t.fa"
    path.write_text(f">one first\n{random_sequence(300, 1)}\n>two\n{random_sequence(15, 2).lower()}\n")
    return path


def predict(joint: Path, output: Path, *more) -> list[dict]:
    arguments = ["--model_path", joint, "--output_dir", output, *more]
    assert script.main([str(word) for word in arguments]) == 0
    with (output / "records.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def sites(output: Path) -> list[dict]:
    lines = (output / "sites.bed").read_text().splitlines()
    header = next(line for line in lines if line.startswith("#chrom")).lstrip("#").split("\t")
    return [dict(zip(header, line.split("\t"))) for line in lines if not line.startswith("#")]


def error(capsys, *words) -> str:
    """The one line of a run that is refused."""
    capsys.readouterr()
    assert script.main([str(word) for word in words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in lines if line.startswith("error:")]) == 1
    return lines[-1]


def test_cores_of_the_best_sites(joint, fasta, tmp_path):
    predict(joint, tmp_path / "out", "--fasta", fasta, "--rbps", "QKI", "--top", 2, "--explain", 1)
    lines = (tmp_path / "out" / "sites.bed").read_text().splitlines()
    header = next(line for line in lines if line.startswith("#chrom")).lstrip("#").split("\t")
    assert header[-4:] == ["core_start", "core_end", "core", "core_importance"]
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert len(rows) == 3
    assert all(len(row) == len(header) for row in rows)
    assert sum(row[-4] != "." for row in rows) <= 1
    assert "Cores of the 1 best site" in "\n".join(lines)


def test_scores_are_those_of_scan(joint, fasta, tmp_path, capsys):
    rows = predict(joint, tmp_path / "out", "--fasta", fasta, "--top", 2, "--bedgraph")
    assert [(row["record"], row["track"]) for row in rows] == [(r, t) for r in ("one", "two") for t in NAMES]
    model, _ = load_classifier(joint)
    best = scan(model, random_sequence(300, 1)).max(axis=0)
    assert [float(row["best_logit"]) for row in rows[:3]] == pytest.approx(best, rel=1e-4)
    assert {path.name for path in (tmp_path / "out" / "tracks").iterdir()} == {f"{name}.bedgraph" for name in NAMES}
    found = sites(tmp_path / "out")
    assert {site["track"] for site in found} == set(NAMES)
    assert sum(int(row["n_sites"]) for row in rows) == len(found)
    assert "2 records, 315 nt" in capsys.readouterr().out


def test_rbps_prior_and_list(joint, fasta, tmp_path, capsys):
    usual = predict(joint, tmp_path / "a", "--fasta", fasta, "--rbps", "pum2")
    assert {row["track"] for row in usual} == {"PUM2_HepG2", "PUM2_K562"}
    other = predict(joint, tmp_path / "b", "--fasta", fasta, "--rbps", "pum2", "--prior", 0.5)
    for one, two in zip(usual, other):
        odds = [float(row["best_probability"]) / (1 - float(row["best_probability"])) for row in (one, two)]
        assert odds[1] / odds[0] == pytest.approx(500, rel=1e-3)
        assert one["best_p"] == two["best_p"]
    capsys.readouterr()
    assert script.main(["--model_path", str(joint), "--list"]) == 0
    assert capsys.readouterr().out.split() == NAMES


def test_intervals_transcripts_and_tables_give_the_scores_of_their_sequence(joint, tmp_path):
    genome = random_sequence(400, 3)
    spliced = genome[50:110] + genome[200:260]
    reverse = spliced[::-1].translate(str.maketrans("ACGT", "TGCA"))
    (tmp_path / "g.fa").write_text(f">chr1\n{genome}\n")
    (tmp_path / "t.fa").write_text(f">x\n{reverse}\n")
    wanted = [row["best_logit"] for row in predict(joint, tmp_path / "fasta", "--fasta", tmp_path / "t.fa")]
    (tmp_path / "t.csv").write_text(f"name,rna\nx,{reverse.replace('T', 'U')}\n")
    (tmp_path / "t.bed").write_text("chr1\t50\t260\tx\t0\t-\t50\t260\t0\t2\t60,60\t0,150\n")
    exons = ((51, 110), (201, 260))
    lines = [f'1\ts\texon\t{a}\t{b}\t.\t-\t.\tgene_id "G"; transcript_id "T.4";' for a, b in exons]
    (tmp_path / "a.gtf").write_text("\n".join(lines) + "\n")
    (tmp_path / "ids.txt").write_text("# mine\nT\n")
    genomic = ["--genome", tmp_path / "g.fa"]
    for number, source in enumerate(
        (
            ["--table", tmp_path / "t.csv", "--sequence_column", "rna"],
            ["--bed", tmp_path / "t.bed", *genomic],
            ["--transcripts", tmp_path / "ids.txt", "--gtf", tmp_path / "a.gtf", *genomic],
            ["--transcripts", "all", "--gtf", tmp_path / "a.gtf", *genomic],
        )
    ):
        rows = predict(joint, tmp_path / str(number), *source, "--top", 3)
        assert [row["best_logit"] for row in rows] == wanted
    for site in sites(tmp_path / "3"):
        assert (site["strand"], site["record"]) == ("-", "T.4")
        assert 50 <= int(site["start"]) < int(site["end"]) <= 260


def test_variants_on_the_minus_strand_have_the_scores_of_the_complement(joint, tmp_path, capsys):
    genome = random_sequence(200, 3)
    letter = "G" if genome[99] != "G" else "C"
    (tmp_path / "g.fa").write_text(f">chr1\n{genome}\n")
    (tmp_path / "a.gtf").write_text('1\ts\texon\t51\t150\t.\t-\t.\tgene_id "G"; transcript_id "T";\n')
    (tmp_path / "v.vcf").write_text(f"#CHROM\tPOS\tID\tREF\tALT\n1\t100\tx\t{genome[99]}\t{letter},*\n1\t7\ty\tA\n")
    window = genome[89:110]
    alleles = [window, window[:10] + letter + window[11:]]
    by_hand = [allele[::-1].translate(str.maketrans("ACGT", "TGCA")) for allele in alleles]
    (tmp_path / "t.fa").write_text("".join(f">{i}\n{allele}\n" for i, allele in enumerate(by_hand)))
    wanted = predict(joint, tmp_path / "fasta", "--fasta", tmp_path / "t.fa", "--top", 1)
    words = ["--model_path", joint, "--vcf", tmp_path / "v.vcf", "--genome", tmp_path / "g.fa"]
    words += ["--output_dir", tmp_path / "out"]
    assert "--gtf, --strand: not given" in error(capsys, *words)
    assert "--stride: given, but it does not go with --vcf" in error(capsys, *words, "--strand", "-", "--stride", 3)
    assert script.main([str(word) for word in [*words, "--gtf", tmp_path / "a.gtf"]]) == 0
    assert "variants: 1, each on one strand; left out: 2" in capsys.readouterr().out
    with (tmp_path / "out" / "variants.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    for scale in ("logit", "probability", "p"):
        for allele, expected in (("reference", wanted[:3]), ("alternative", wanted[3:])):
            found = [float(row[f"{allele}_{scale}"]) for row in rows]
            assert found == pytest.approx([float(one[f"best_{scale}"]) for one in expected], rel=1e-4)
    assert {(row["strand"], row["genes"]) for row in rows} == {("-", "G")}


def test_both_strands(joint, fasta, tmp_path):
    rows = predict(joint, tmp_path / "out", "--fasta", fasta, "--both_strands")
    assert [row["record"] for row in rows[::3]] == ["one", "one(-)", "two", "two(-)"]


def test_the_same_command_does_nothing_more_and_another_is_refused(joint, fasta, tmp_path, capsys):
    output = tmp_path / "out"
    predict(joint, output, "--fasta", fasta)
    before = {path.name: path.read_bytes() for path in output.glob("*.*") if path.name != "run.json"}
    predict(joint, output, "--fasta", fasta, "--token_budget", 100)
    assert {path.name: path.read_bytes() for path in output.glob("*.*") if path.name != "run.json"} == before
    words = ["--model_path", joint, "--output_dir", output, "--fasta", fasta]
    assert "stride" in error(capsys, *words, "--stride", 3)
    predict(joint, output, "--fasta", fasta, "--stride", 3, "--overwrite")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (">p\nMKVLAAGE\n", "record p: position 4: found 'L', wanted A, C, G, T, U, N"),
        ("", "found no FASTA record"),
        (">a\nACGTACGT\n>a\nACGT\n", "record a: found twice, wanted names that differ"),
    ],
)
def test_bad_records_end_in_one_line_and_leave_nothing(joint, tmp_path, capsys, text, message):
    (tmp_path / "x.fa").write_text(text)
    words = ["--model_path", joint, "--output_dir", tmp_path / "out", "--fasta", tmp_path / "x.fa"]
    assert message in error(capsys, *words)
    assert not (tmp_path / "out").exists()


def test_arguments_that_do_not_fit_end_in_one_line(joint, fasta, tmp_path, capsys):
    fixed = ["--model_path", joint, "--output_dir", tmp_path / "out"]
    (tmp_path / "a.bed").write_text("chr1\t0\t50\n")
    (tmp_path / "g.fa").write_text(f">chr1\n{random_sequence(40, 0)}\n")
    bed = ["--bed", tmp_path / "a.bed"]
    assert "--genome: not given, wanted the FASTA file that --bed refers to" in error(capsys, *fixed, *bed)
    message = error(capsys, *fixed, *bed, "--genome", tmp_path / "g.fa")
    assert "record chr1:0-50(+): found chr1:0-50, which" in message
    assert "--genome: given, but it goes with --bed, --transcripts or --vcf" in error(
        capsys, *fixed, "--fasta", fasta, "--genome", tmp_path / "g.fa"
    )
    assert "--transcripts and --gtf: found one of them" in error(
        capsys, *fixed, "--transcripts", "all", "--genome", tmp_path / "g.fa"
    )
    assert "--fasta: not given, wanted records" in error(capsys, *fixed)
    assert "--rbps: found 'HNRNPX', wanted an RBP or a track" in error(
        capsys, *fixed, "--fasta", fasta, "--rbps", "HNRNPX"
    )
    assert "--stride: found 22, wanted 1 to 21" in error(capsys, *fixed, "--fasta", fasta, "--stride", 22)
    assert "--output_dir: not given" in error(capsys, "--model_path", joint, "--fasta", fasta)
    assert not (tmp_path / "out").exists()
