"""saliency_analyzer.py on small checkpoints, and on the demo set, whose planted sites are known."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from LAMAR import EsmForMaskedLM, EsmForSequenceClassification, named_config
from LAMAR.checkpoints import build_model
from LAMAR.cli import attribution as cli_attribution
from LAMAR.cli import demo_model
from LAMAR.cli.demo import demo_data
from LAMAR.data.shuffling import dinucleotide_shuffle
from LAMAR.interpretation import attribution_run
from LAMAR.interpretation.attribution import mutagenesis
from LAMAR.interpretation.classifiers import load_classifier

pytest.importorskip("captum")

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "visualisation" / "saliency_analyzer.py"

spec = importlib.util.spec_from_file_location("saliency_analyzer", SCRIPT)
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)

ANY = ["--n_steps", "4", "--device", "cpu"]
QUICK = [*ANY, "--n_figures", "0"]
METHODS = ("mutagenesis", "window", "gradient", "integrated")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A classifier that says it was trained, and calls everything class 1."""
    model = build_model(EsmForSequenceClassification, named_config("lamar-tiny", head_type="mean"), 0)
    model.classifier.out_proj.bias.data = torch.tensor([0.0, 3.0])
    model.config.head_trained = True
    folder = tmp_path_factory.mktemp("models") / "fold_0"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def fasta(tmp_path_factory) -> Path:
    """Twelve records on both strands, lower case, U and N among them, the last without coordinates."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "sites.fa"
    lines = []
    for i in range(12):
        sequence = "".join(rng.choice(list("ACGT"), 24))
        if i == 1:
            sequence = sequence.lower().replace("t", "u")[:23] + "n"
        name = "last" if i == 11 else f"chr1:{100 * i}-{100 * i + 24}({'+-'[i % 2]})"
        lines.append(f">{name} described\n{sequence}\n")
    path.write_text("".join(lines))
    return path


def call(checkpoint: Path, output: Path, *more) -> int:
    quick = ANY if "--vcf" in more else QUICK
    return script.main([str(word) for word in ("--model_path", checkpoint, "--output_dir", output, *quick, *more)])


def table(path: Path) -> list[dict]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def contents(folder: Path) -> dict[str, bytes]:
    kept = [path for path in folder.rglob("*") if path.suffix in (".csv", ".bedgraph")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(kept)}


@pytest.fixture(scope="module")
def finished(checkpoint, fasta, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "finished"
    assert call(checkpoint, output, "--seq_file", fasta, "--window_size", "3", "--step_size", "2", "--top", "4") == 0
    return output


def test_tables_arrays_and_tracks(finished, fasta):
    records = table(finished / "records.csv")
    assert [row["record"] for row in records][::11] == ["chr1:0-24(+)", "last"]
    lengths = {"mutagenesis": 3 * (12 * 24 - 1), "window": 12 * 24, "gradient": 12 * 24, "integrated": 12 * 24}
    for method, length in lengths.items():
        rows = table(finished / f"{method}.csv")
        assert len(rows) == length
        for strand in ("plus", "minus"):
            track = (finished / "tracks" / f"{method}.{strand}.bedgraph").read_text().splitlines()[1:]
            # Six records on plus, five on minus; mutagenesis has no score at the N of a minus record.
            assert len(track) == (6 if strand == "plus" else 5) * 24 - (method == "mutagenesis" and strand == "minus")
    letters = "".join(row["nucleotide"] for row in table(finished / "window.csv") if row["record"] == "chr1:100-124(-)")
    original = fasta.read_text().splitlines()[3]
    assert letters == original.upper().replace("U", "T")
    assert len(table(finished / "top.csv")) == 12 * 4 * 4
    assert {row["n_steps"] for row in table(finished / "integrated.csv")} == {"4"}
    with np.load(next((finished / "arrays").glob("00003_*.npz"))) as arrays:
        assert arrays["effects_log_odds"].shape == (24, 4)
        assert str(arrays["record"]) == "chr1:200-224(+)"
        integrated = [float(row["score"]) for row in table(finished / "integrated.csv")][48:72]
        np.testing.assert_array_equal(arrays["integrated_score"], np.float32(integrated))


def test_provenance(finished, checkpoint):
    run = json.loads((finished / "run.json").read_text())
    assert run["status"] == "finished"
    assert run["arguments"]["methods"] == list(METHODS)
    assert run["weights"]["model_path"] == str(checkpoint)
    assert len(run["weights"]["sha256"]) == 64
    assert run["summary"]["records"] == 12


def test_what_many_records_have_in_common(finished):
    aligned = table(finished / "aligned.csv")
    assert {row["method"] for row in aligned} == set(METHODS)
    assert table(finished / "kmers.csv")[0].keys() >= {"kmer", "n_high", "q_value"}
    for row in table(finished / "seqlets.csv"):
        assert int(row["end"]) - int(row["start"]) == len(row["sequence"]) == 8
    assert len(table(finished / "motif.csv")) == 10
    assert (finished / "figures" / "motif.png").stat().st_size > 1000


def test_results_do_not_depend_on_the_batch(finished, checkpoint, fasta, tmp_path):
    more = ("--window_size", "3", "--step_size", "2", "--top", "4", "--batch_tokens", "60")
    assert call(checkpoint, tmp_path / "small", "--seq_file", fasta, *more) == 0
    for method, column in (("mutagenesis", "effect_logit"), ("window", "score"), ("integrated", "score")):
        one, two = (table(folder / f"{method}.csv") for folder in (finished, tmp_path / "small"))
        values = [[float(row[column]) for row in rows] for rows in (one, two)]
        np.testing.assert_allclose(*values, atol=2e-6)


def test_a_killed_run_goes_on_and_gives_the_same(finished, checkpoint, fasta, tmp_path, monkeypatch):
    output, more = tmp_path / "run", ("--seq_file", fasta, "--window_size", "3", "--step_size", "2", "--top", "4")
    explain, calls = attribution_run.explain, []

    def once(model, records, options, progress=None):
        calls.append(len(records))
        if len(calls) == 2:
            raise RuntimeError("killed")
        return explain(model, records, options, progress)

    monkeypatch.setattr(attribution_run, "explain", once)
    with pytest.raises(RuntimeError, match="killed"):
        call(checkpoint, output, *more)
    assert not (output / "records.csv").exists()
    assert call(checkpoint, output, *more) == 0
    assert calls == [8, 4, 4]  # the first eight were not explained again
    assert contents(output) == contents(finished)
    assert call(checkpoint, output, *more) == 0
    assert calls == [8, 4, 4]


def test_another_run_in_the_same_folder_is_refused(finished, checkpoint, fasta, capsys):
    before = contents(finished)
    assert call(checkpoint, finished, "--seq_file", fasta, "--target", "0") == 2
    assert "holds a run with another --" in capsys.readouterr().err
    assert contents(finished) == before


def test_one_sequence_with_figures(checkpoint, tmp_path):
    sequence = "acguNACGTTGCA" * 10
    more = ("--sequence", sequence, "--n_figures", "1", "--region", "0-125", "--methods", "window", "mutagenesis")
    assert call(checkpoint, tmp_path / "one", *more, "--target", "predicted", "--score", "probability") == 0
    figures = sorted(path.name for path in (tmp_path / "one" / "figures").iterdir())
    assert figures == [
        f"00001_sequence_{part}_{kind}.{ending}"
        for part in ("0-62", "62-125")
        for kind in ("mutagenesis", "tracks")
        for ending in ("png", "svg")
    ]
    assert not (tmp_path / "one" / "gradient.csv").exists()
    assert not (tmp_path / "one" / "kmers.csv").exists()
    scores = [abs(float(row["score"])) for row in table(tmp_path / "one" / "window.csv")]
    assert max(scores) <= 1


def test_records_that_cannot_be_explained_are_left_out_and_the_others_kept(checkpoint, tmp_path, capsys):
    (tmp_path / "x.fa").write_text(">good\nACGTACGT\n>short\nACG\n>unknown\nNNNNNN\n>brief\nTGCA\n>fine\nTTGACA\n")
    more = ("--seq_file", tmp_path / "x.fa", "--window_size", "5", "--methods", "window")
    assert call(checkpoint, tmp_path / "out", *more) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    wanted = "error: record short: found 3 nucleotides, fewer than --window_size 5 (the first of 3 records left out;"
    assert errors[-1].startswith(wanted)
    assert [row["record"] for row in table(tmp_path / "out" / "records.csv")] == ["good", "fine"]
    left_out = json.loads((tmp_path / "out" / "run.json").read_text())["summary"]["left_out"]
    assert "found only N" in left_out["unknown"]
    assert left_out["brief"] == "found 4 nucleotides, fewer than `window_size` 5"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--sequence", "MKVLAA"], "--sequence: position 4: found 'L'"),
        (["--sequence", ""], "--sequence: found an empty sequence"),
        (["--sequence", "NNNN"], "record sequence: found only N"),
        (
            ["--sequence", "ACGT", "--window_size", "9"],
            "record sequence: found 4 nucleotides, fewer than --window_size",
        ),
        (["--sequence", "ACGT", "--step_size", "2"], "--step_size: found 2, wanted at most --window_size 1"),
        (["--sequence", "ACGT", "--region", "2-9"], "--region 2-9 ends behind them"),
        (["--sequence", "ACGT", "--target", "2"], "--target: found 2, wanted a class from 0 to 1"),
        (["--seq_file", "none.fa"], "none.fa: found no such file"),
        (["--sequence", "ACGT", "--methods", "window", "--motif_method", "gradient"], "is not among --methods"),
        (["--sequence", "ACGT", "--genome", "x.fa"], "--vcf and --genome: found one of them"),
        (["--vcf", "x.vcf", "--genome", "x.fa", "--variant_window", "5000"], "x.vcf: found no such file"),
        (["--vcf", "x.vcf", "--genome", "x.fa", "--region", "2-9"], "--region: given, but not read with --vcf"),
        (["--vcf", "x.vcf", "--genome", "x.fa", "--methods", "window"], "--methods: given, but not read with --vcf"),
        (["--vcf", "x.vcf", "--genome", "x.fa", "--kmer", "4"], "--kmer: given, but not read with --vcf"),
        (["--vcf", "x.vcf", "--genome", "x.fa", "--n_figures", "0"], "--n_figures: given, but not read with --vcf"),
        (["--sequence", "ACGT", "--strand", "+"], "--strand: goes with --vcf, found none"),
        (["--sequence", "ACGT", "--no_ranks"], "--no_ranks: goes with --vcf, found none"),
        (["--sequence", "ACGT", "--device", "tpu"], "--device: found 'tpu'"),
        ([], "--sequence, --seq_file, --vcf: found none of them, wanted one"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(checkpoint, tmp_path, capsys, more, message):
    assert call(checkpoint, tmp_path / "out", *more) == 2
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "out").exists()


def test_proteins_and_repeated_names_are_refused(checkpoint, tmp_path, capsys):
    (tmp_path / "p.fa").write_text(">p1\nMKVLAAGIVGLW\n")
    (tmp_path / "two.fa").write_text(">a first\nACGT\n>a second\nACGA\n")
    assert call(checkpoint, tmp_path / "out", "--seq_file", tmp_path / "p.fa") == 2
    assert "record p1: position 4: found 'L'" in capsys.readouterr().err  # M, K and V are ambiguity codes
    assert call(checkpoint, tmp_path / "out", "--seq_file", tmp_path / "two.fa") == 2
    assert "record a: found twice" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_language_model_is_refused(tmp_path, capsys):
    torch.manual_seed(0)
    EsmForMaskedLM(named_config("lamar-tiny")).save_pretrained(tmp_path / "lm")
    assert call(tmp_path / "lm", tmp_path / "out", "--sequence", "ACGT") == 2
    assert "found no trained classification head (the file has no head)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_variants(checkpoint, tmp_path, capsys):
    rng = np.random.default_rng(3)
    genome = "".join(rng.choice(list("ACGT"), 80))
    (tmp_path / "g.fa").write_text(f">chr5\n{genome}\n")
    lines = [f"5\t{pos}\trs{pos}\t{genome[pos - 1]}\t{'CATG'['ACGT'.index(genome[pos - 1])]}" for pos in (1, 40, 80)]
    (tmp_path / "v.vcf").write_text("#CHROM\tPOS\tID\tREF\tALT\n" + "\n".join(lines) + "\n")
    more = ("--vcf", tmp_path / "v.vcf", "--genome", tmp_path / "g.fa", "--variant_window", "31", "--strand", "both")
    assert call(checkpoint, tmp_path / "out", *more) == 0
    rows = table(tmp_path / "out" / "variants.csv")
    assert [(row["id"], row["strand"]) for row in rows] == [(f"rs{p}", s) for p in (1, 40, 80) for s in "+-"]
    assert all(1 <= int(row["rank"]) <= int(row["n_substitutions"]) == 93 for row in rows)
    assert "log_odds" in capsys.readouterr().out
    (tmp_path / "v.vcf").write_text(f"#CHROM\tPOS\tID\tREF\tALT\n5\t2\trs2\t{'CATG'['ACGT'.index(genome[1])]}\tN\n")
    assert call(checkpoint, tmp_path / "out2", *more) == 2
    assert "line 2: found alternative 'N', wanted letters of ACGT (the only variant)" in capsys.readouterr().err
    wrong = "CATG"["ACGT".index(genome[1])]
    (tmp_path / "v.vcf").write_text(f"#CHROM\tPOS\tID\tREF\tALT\n5\t2\trs2\t{wrong}\t{genome[1]}\n")
    assert call(checkpoint, tmp_path / "out2", *more) == 2
    assert f"line 2: 5:2: found reference {wrong}, but" in capsys.readouterr().err
    assert not (tmp_path / "out2").exists()


@pytest.mark.parametrize("strand", ["-", "both"])
def test_variants_are_counted_as_the_file_has_them(checkpoint, tmp_path, caplog, strand, monkeypatch):
    monkeypatch.setattr(attribution_run, "VARIANTS_PER_UNIT", 3)
    (tmp_path / "g.fa").write_text(f">chr5\n{'ACGT' * 10}\n")
    lines = ("5\t21\trs1\tA\tC,G", "5\t22\trs2\tG\tCA", "5\t23\trs3\tG\tT", "5\t23\trs4\tG\tGA")
    (tmp_path / "v.vcf").write_text("#CHROM\tPOS\tID\tREF\tALT\n" + "\n".join(lines) + "\n")
    more = ["--vcf", tmp_path / "v.vcf", "--genome", tmp_path / "g.fa", "--variant_window", "31", "--no_ranks"]
    with caplog.at_level(logging.INFO):
        assert call(checkpoint, tmp_path / "out", *more, "--strand", strand) == 0
    done = (3, 4) if strand == "-" else (2, 3, 4)
    assert [message for message in caplog.messages if message.startswith("scored")] == [
        f"scored {n} of 5 variants, 1 left out" for n in done
    ]
    found = "left out 1 of 5 variants: 1 whose reference letters are not those of the genome (line 3: 5:22: found"
    assert any(found in message for message in caplog.messages)
    [left_out] = table(tmp_path / "out" / "left_out.csv")
    assert [left_out[name] for name in ("place", "id", "chrom", "pos", "ref", "alt", "reason")] == [
        "line 3", "rs2", "5", "22", "G", "CA", "reference_differs"
    ]  # fmt: skip
    assert json.loads((tmp_path / "out" / "run.json").read_text())["summary"]["left_out"] == 1
    rows = table(tmp_path / "out" / "variants.csv")
    assert {row["ref"] + row["alt"] for row in rows if row["strand"] == "-"} == {"AC", "AG", "GT", "GGA"}


def test_help_says_which_strand_the_letters_are_on():
    text = " ".join(script.build_parser().format_help().split())
    assert "ref and alt stay letters of the plus strand" in text


@pytest.mark.parametrize("is_vcf", [False, True])
def test_a_collapsed_training_is_said_once_and_noted(checkpoint, tmp_path, caplog, is_vcf):
    shutil.copytree(checkpoint, tmp_path / "fold_0")
    evidence = "training loss ended at 0.6931; knowing class frequencies alone gives 0.6931"
    found = {"fold": "fold_0", "collapsed": {"kind": "loss_stuck", "evidence": evidence, "try": "another --lr"}}
    (tmp_path / "fold_0" / "eval_results.json").write_text(json.dumps(found))
    (tmp_path / "g.fa").write_text(f">chr5\n{'ACGT' * 10}\n")
    (tmp_path / "v.vcf").write_text("#CHROM\tPOS\tID\tREF\tALT\n5\t21\trs1\tA\tC\n")
    more = ["--sequence", "ACGTTGCA", "--methods", "gradient"]
    if is_vcf:
        more = ["--vcf", tmp_path / "v.vcf", "--genome", tmp_path / "g.fa", "--variant_window", "31", "--no_ranks"]
    assert call(tmp_path / "fold_0", tmp_path / "out", *more) == 0
    said = [record for record in caplog.records if "collapsed" in record.getMessage()]
    assert [record.levelname for record in said] == ["WARNING"]
    assert said[0].getMessage() == (
        f"{tmp_path / 'fold_0'}: its fine-tuning collapsed (loss_stuck: {evidence}); its explanations say nothing "
        "about binding"
    )
    assert json.loads((tmp_path / "out" / "run.json").read_text())["summary"]["collapsed"] == "loss_stuck"


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"collapsed": null}', '{"collapsed": {"fold_0": "loss_stuck"}}'])
def test_a_training_that_did_not_collapse_is_loaded_without_a_word(checkpoint, tmp_path, caplog, text):
    shutil.copytree(checkpoint, tmp_path / "fold_0")
    (tmp_path / "fold_0" / "eval_results.json").write_text(text)
    more = ("--sequence", "ACGT", "--methods", "gradient")
    assert call(tmp_path / "fold_0", tmp_path / "out", *more) == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["summary"]["collapsed"] is None
    assert not [message for message in caplog.messages if "collapsed" in message]


def test_a_run_folder_is_explained_as_the_mean_of_its_folds(checkpoint, tmp_path, caplog):
    run = tmp_path / "QKI"
    shutil.copytree(checkpoint, run / "fold_0")
    model = build_model(EsmForSequenceClassification, named_config("lamar-tiny", head_type="cnn", head_trained=True), 5)
    model.save_pretrained(run / "fold_1")
    collapse = {"collapsed": {"kind": "loss_stuck", "evidence": "loss 0.69", "try": "another --lr"}}
    (run / "fold_1" / "eval_results.json").write_text(json.dumps(collapse))
    effects = {}
    for name in ("QKI", "QKI/fold_0", "QKI/fold_1"):
        output = tmp_path / "out" / name.replace("/", "_")
        assert call(tmp_path / name, output, "--sequence", "ACGTTGCA", "--methods", "mutagenesis") == 0
        effects[name] = [float(row["effect_logit"]) for row in table(output / "mutagenesis.csv")]
    mean = np.mean([effects["QKI/fold_0"], effects["QKI/fold_1"]], axis=0)
    np.testing.assert_allclose(effects["QKI"], mean, atol=2e-6)
    record = json.loads((tmp_path / "out" / "QKI" / "run.json").read_text())
    assert record["summary"]["collapsed"] == {"fold_1": "loss_stuck"}
    assert record["weights"]["model_path"] == str(run)
    assert any(message.startswith(f"{run / 'fold_1'}: its fine-tuning collapsed") for message in caplog.messages)


def test_sequences_longer_than_the_configured_positions_are_explained(checkpoint, tmp_path, caplog):
    """A classifier trained on 1,500 nt: rotary positions have no limit, max_position_embeddings says 1026."""
    rng = np.random.default_rng(1)
    (tmp_path / "x.fa").write_text("".join(f">s{n}\n{''.join(rng.choice(list('ACGT'), n))}\n" for n in (1500, 40)))
    more = ("--seq_file", tmp_path / "x.fa", "--methods", "mutagenesis", "gradient", "--region", "30-33")
    assert call(checkpoint, tmp_path / "out", *more) == 0
    assert [row["length"] for row in table(tmp_path / "out" / "records.csv")] == ["1500", "40"]
    rows = table(tmp_path / "out" / "mutagenesis.csv")
    assert len(rows) == 2 * 9
    assert all(np.isfinite(float(row["effect_logit"])) for row in rows)
    warned = [message for message in caplog.messages if "max_position_embeddings" in message]
    assert len(warned) == 1
    assert warned[0].startswith("1 sequence is longer than 1024 nt")


def test_interactive_asks_for_what_is_missing(checkpoint, tmp_path, monkeypatch):
    answers = iter([str(checkpoint), "ACGTACGT", str(tmp_path / "asked")])
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    assert script.main(["--interactive", "--methods", "gradient", "--n_figures", "0"]) == 0
    assert len(table(tmp_path / "asked" / "gradient.csv")) == 8


@pytest.mark.parametrize("answers", [[], [""], ["CHECKPOINT"], ["CHECKPOINT", "ACGTACGT", " "]])
def test_interactive_without_an_answer_is_one_line(checkpoint, tmp_path, monkeypatch, capsys, answers):
    text = "".join(f"{checkpoint if answer == 'CHECKPOINT' else answer}\n" for answer in answers)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    monkeypatch.chdir(tmp_path)
    assert script.main(["--interactive", *QUICK]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --interactive: found no answer, wanted the ")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_options_that_no_method_reads_are_said(checkpoint, tmp_path, caplog):
    more = ["--sequence", "ACGTTGCA", "--methods", "window", "--window_size", "3"]
    assert call(checkpoint, tmp_path / "out", *more) == 0
    said = [message for message in caplog.messages if "not used" in message]
    assert said == ["`n_steps` 4: not used, integrated is not done"]
    caplog.clear()
    more = ["--sequence", "ACGTTGCA", "--methods", "integrated", "--n_shuffles", "3"]
    assert call(checkpoint, tmp_path / "integrated", *more) == 0
    said = [message for message in caplog.messages if "not used" in message]
    assert said == ["`n_shuffles` 3: not used, `baseline` is mask"]


def test_it_runs_as_a_program_and_asks_nothing(checkpoint, tmp_path):
    command = [sys.executable, str(SCRIPT), "--model_path", str(checkpoint), "--sequence", "ACGTTGCA", *QUICK]
    command += ["--output_dir", str(tmp_path / "out"), "--methods", "gradient"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert "log_odds of class 1" in done.stdout
    assert len(table(tmp_path / "out" / "gradient.csv")) == 8


# ------------------------------------------------------------------------------------------------------ the demo set


@pytest.fixture(scope="module")
def demo_checkpoint(tmp_path_factory):
    """The demo's classifier, trained now."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_model, "DEMO", tmp_path_factory.mktemp("demo"))
        yield demo_model.demo_classifier()


@pytest.mark.slow
def test_top_positions_are_the_planted_motif_and_shuffles_have_none(demo_checkpoint):
    model, _ = load_classifier(demo_checkpoint)
    truth = json.loads((demo_data() / "truth.json").read_bytes())["windows"]["PUM2"]
    records = demo_model.demo_heldout(40)
    found = mutagenesis(model, [sequence for _, sequence in records])
    strongest, on_motif = [], []
    for (name, _), result in zip(records, found):
        planted = {i for start, end in truth[name]["motif"] for i in range(start, end)}
        top = np.argsort(-result.importance())[:3].tolist()
        on_motif.append(planted.issuperset(top))
        strongest.append(result.importance("probability").max())
    print(f"three strongest positions on a planted motif: {np.mean(on_motif):.3f} of {len(on_motif)} positives")
    assert np.mean(on_motif) >= 0.9
    # Same dinucleotides, no motif: nothing that the call hangs on.
    shuffled = mutagenesis(model, dinucleotide_shuffle([sequence for _, sequence in records], seed=1))
    in_shuffles = [result.importance("probability").max() for result in shuffled]
    as_strong = np.mean(np.array(in_shuffles) >= np.median(strongest) / 2)
    print(f"shuffles with an effect half as large as the positives' median: {as_strong:.3f}")
    assert as_strong <= 0.1


@pytest.mark.slow
def test_without_arguments_it_explains_the_demo(demo_checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo_model, "demo_classifier", lambda: demo_checkpoint)
    monkeypatch.setattr(cli_attribution, "DEMO_RECORDS", 12)
    monkeypatch.setattr(script, "DEMO", {"n_steps": 8, "n_figures": 1, "output_dir": tmp_path / "demo"})
    assert script.main([]) == 0
    printed = capsys.readouterr().out
    assert "SYNTHETIC demo data" in printed
    assert "motif" in printed
    best = [row["kmer"] for row in table(tmp_path / "demo" / "kmers.csv")[:10]]
    # Five letters of TGTANATA, whatever stands at N.
    assert {kmer for kmer in best if kmer[:4] == "TGTA" or kmer[-3:] == "ATA"}
