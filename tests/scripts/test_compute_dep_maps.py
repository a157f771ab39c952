"""The dependency-map script as a user starts it, its blocks of rows, and the notebook."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from LAMAR.checkpoints import build_model, load_pretrained
from LAMAR.configuration import named_config
from LAMAR.interpretation.attribution import mutagenesis, pairwise_mutagenesis
from LAMAR.interpretation.classifiers import load_classifier
from LAMAR.interpretation.dependency import average_product_correction, dependency_map, symmetrised, variant_influence
from LAMAR.interpretation.dependency_files import (
    MapForm,
    block_rows,
    map_by_blocks,
    map_result,
    map_tokens,
    stem_rows,
    write_structures,
)
from LAMAR.modeling_nucESM2 import EsmForMaskedLM, EsmForSequenceClassification, EsmModel
from LAMAR.runs.progress import Progress

FOLDER = Path(__file__).resolve().parents[2] / "evalEmbeddings" / "depMaps"
SHIPPED = FOLDER.parents[1] / "weights" / "lamar-mini"
FIRST, SECOND = "ACGTTGCAAGCTGATCNACGTAGGCTA", "TTGACCATGACGGATTACA"
NAME = "chr1:100-127(-)"


def call_process(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, str(FOLDER / "compute_dep_maps.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def call(*arguments) -> SimpleNamespace:
    """The script in this process, which has torch already: exit code and what went to standard error."""
    spec = importlib.util.spec_from_file_location("compute_dep_maps", FOLDER / "compute_dep_maps.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with redirect_stderr(io.StringIO()) as errors:
        try:
            code = script.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
    return SimpleNamespace(returncode=code, stderr=errors.getvalue())


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    """Folders ``lm``, ``classifier`` and ``encoder``; the first with weights that make dependencies of a few bits."""
    folder = tmp_path_factory.mktemp("checkpoints")
    config = {"num_hidden_layers": 2, "max_position_embeddings": 62}
    model = build_model(EsmForMaskedLM, named_config("lamar-tiny", **config), seed=0)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.data.mul_(6)
    model.save_pretrained(folder / "lm")
    config |= {"num_labels": 2, "head_type": "cnn", "head_trained": True}
    build_model(EsmForSequenceClassification, named_config("lamar-tiny", **config), 0).save_pretrained(
        folder / "classifier"
    )
    build_model(EsmModel, named_config("lamar-tiny", num_hidden_layers=2), 0).save_pretrained(folder / "encoder")
    return folder


@pytest.fixture(scope="module")
def fasta(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("fasta") / "records.fa"
    path.write_text(f">{NAME} a site\n{FIRST}\n>second\n{SECOND.lower()}\n")
    return path


@pytest.fixture(scope="module")
def mapped(checkpoints, fasta, tmp_path_factory):
    output = tmp_path_factory.mktemp("maps") / "run"
    common = ["--model_path", checkpoints / "lm", "--seq_file", fasta, "--output_dir", output]
    common += ["--symmetrise", "--apc", "--region", "4-12", "--logo"]
    return output, common, call_process(*common, "--analysis_type", "dependency")


# ------------------------------------------------------------------------------------------------ dependency maps


def test_maps_and_tables_are_those_of_the_library(checkpoints, mapped):
    folder, _, done = mapped
    assert done.returncode == 0, done.stderr
    model, _ = load_pretrained(EsmForMaskedLM, checkpoints / "lm")
    values = dependency_map(model, FIRST).values
    arrays = np.load(folder / "maps" / "00001_chr1_100-127_-.npz")
    assert arrays["map"] == pytest.approx(values, abs=1e-5, nan_ok=True)
    assert arrays["map"].dtype == np.float32
    assert arrays["shown"] == pytest.approx(average_product_correction(symmetrised(values)), abs=1e-5, nan_ok=True)
    assert (str(arrays["sequence"]), str(arrays["record"]), str(arrays["chrom"])) == (FIRST, NAME, "chr1")
    assert arrays["positions"].tolist() == list(range(126, 99, -1))  # the minus strand is read backwards
    assert arrays["log_odds"].shape == (27, 4)
    influence = pd.read_csv(folder / "influence.csv")
    assert len(influence) == 27 + 19
    of_first = influence[influence["record"] == NAME]
    assert of_first["influence"].to_numpy() == pytest.approx(variant_influence(values), abs=1e-5, nan_ok=True)
    assert of_first["influence"].isna().to_numpy().nonzero()[0].tolist() == [16]  # N
    assert of_first["genome_position"].tolist() == arrays["positions"].tolist()
    assert influence.loc[influence["record"] == "second", "chrom"].isna().all()
    assert "".join(influence.loc[influence["record"] == "second", "nucleotide"]) == SECOND


def test_pairs_are_ranked_in_the_form_that_is_shown(mapped):
    folder, _, _ = mapped
    pairs = pd.read_csv(folder / "pairs.csv")
    of_second = pairs[pairs["record"] == "second"]
    shown = np.load(folder / "maps" / "00002_second.npz")["shown"]
    assert (of_second["mutated"] < of_second["affected"]).all()  # each pair once
    assert of_second["dependency"].is_monotonic_decreasing
    assert of_second["dependency"].iat[0] == pytest.approx(np.nanmax(shown), rel=1e-6)
    first = of_second.iloc[0]
    assert shown[first["mutated"], first["affected"]] == pytest.approx(first["dependency"], rel=1e-6)
    assert SECOND[first["mutated"]] == first["mutated_nucleotide"]


def test_figures_and_structures_of_each_record(mapped):
    folder, _, _ = mapped
    stems = ["00001_chr1_100-127_-", "00002_second"]
    wanted = {f"{stem}_{kind}.{end}" for stem in stems for kind in ("map", "region") for end in ("png", "svg")}
    assert {file.name for file in (folder / "figures").iterdir()} == wanted
    lines = (folder / "structures.dbn").read_text().splitlines()
    assert lines[0].startswith(f">{NAME} score=")
    assert lines[4] == SECOND.replace("T", "U")
    assert all(len(lines[i]) == len(lines[i + 1]) for i in (1, 4))
    assert not list((folder / "blocks").iterdir())
    record = json.loads((folder / "run.json").read_text())
    assert record["summary"] == {"records": 2, "analyses": ["dependency"], "left_out": {}, "collapsed": None}


def test_a_run_goes_on_with_what_is_missing(mapped):
    folder, common, _ = mapped
    maps = {file.name: file for file in (folder / "maps").iterdir()}
    before = {name: (file.read_bytes(), file.stat().st_mtime_ns) for name, file in maps.items()}
    tables = {name: (folder / name).read_bytes() for name in ("influence.csv", "pairs.csv", "stems.csv")}
    (folder / "units" / "dependency 1.json").unlink()
    done = call(*common, "--analysis_type", "dependency")
    assert done.returncode == 0, done.stderr
    after = {name: (file.read_bytes(), file.stat().st_mtime_ns) for name, file in maps.items()}
    assert after["00001_chr1_100-127_-.npz"] == before["00001_chr1_100-127_-.npz"]  # not written again
    assert after["00002_second.npz"][0] == before["00002_second.npz"][0]
    assert after["00002_second.npz"][1] > before["00002_second.npz"][1]
    assert {name: (folder / name).read_bytes() for name in tables} == tables
    other = call(*common, "--analysis_type", "dependency", "--reduction", "mean")
    assert other.returncode == 2
    assert "holds a run with another --reduction: found 'max', wanted 'mean'" in other.stderr.splitlines()[-1]


def test_blocks_of_rows_are_the_whole_map_and_outlive_a_kill(checkpoints, tmp_path, monkeypatch):
    model, _ = load_pretrained(EsmForMaskedLM, checkpoints / "lm")
    whole = dependency_map(model, FIRST)
    monkeypatch.setattr("LAMAR.interpretation.dependency_files.BLOCK_TOKENS", 3 * 29 * 10)
    assert block_rows(len(FIRST)) == [(0, 10), (10, 20), (20, 27)]
    whole_map, rest = Progress(map_tokens(len(FIRST)), "tokens"), Progress(map_tokens(len(FIRST)), "tokens")
    found = map_by_blocks(model, "x", FIRST, tmp_path, whole_map)
    assert whole_map.done == whole_map.total == 3 * 27 * 29
    assert whole_map.figures == {"record": "x", "positions": "27 of 27"}
    assert found.values == pytest.approx(whole.values, abs=1e-5, nan_ok=True)
    assert found.log_odds == pytest.approx(whole.log_odds, abs=1e-5)
    # What is there is read; what is damaged is computed again.
    marked = dict(np.load(tmp_path / "0000010.npz"))
    marked["values"][0, 0] = 77
    np.savez(tmp_path / "0000010.npz", **marked)
    (tmp_path / "0000020.npz").write_bytes(b"PK\x03\x04 torn")
    again = map_by_blocks(model, "x", FIRST, tmp_path, rest)
    assert rest.done == rest.total == 3 * 7 * 29  # what was there is taken off the total
    assert again.values[10, 0] == 77
    again.values[10, 0] = found.values[10, 0]
    assert np.array_equal(again.values, found.values, equal_nan=True)


def test_stems_in_tables_and_files(tmp_path):
    sequence = "AAAACCCCCTTTT"
    values = np.zeros((13, 13), dtype=np.float32)
    for k in range(4):
        values[k, 12 - k] = values[12 - k, k] = 10
    found = type("Found", (), {"values": values})
    result = map_result("hairpin", sequence, found, MapForm(symmetric=True), top=3)
    (row,) = stem_rows(result)
    assert (row["start"], row["end"], row["length"], row["dependency"]) == (0, 13, 4, 10)
    assert (row["five_prime"], row["three_prime"]) == ("AAAA", "TTTT")
    assert [pair[:2] for pair in result["pairs"]] == [(0, 12), (1, 11), (2, 10)]
    write_structures(tmp_path / "structures.dbn", [result])
    text = (tmp_path / "structures.dbn").read_text()
    assert text == f">hairpin score={row['score']:.2f}\nAAAACCCCCUUUU\n((((.....))))\n"


# ---------------------------------------------------------------------------------------------------- classifiers


@pytest.fixture(scope="module")
def explained(checkpoints, fasta, tmp_path_factory):
    pytest.importorskip("captum")
    output = tmp_path_factory.mktemp("explained") / "run"
    options = ["--model_path", checkpoints / "classifier", "--sequence_file", fasta, "--output_dir", output]
    return output, call(*options, "--region", "4-10", "--n_steps", "8", "--n_figures", "1")


def test_all_analyses_of_a_classifier(checkpoints, explained):
    folder, done = explained
    assert done.returncode == 0, done.stderr
    model, _ = load_classifier(checkpoints / "classifier")
    for method in ("mutagenesis", "gradient", "integrated", "window"):
        table = pd.read_csv(folder / f"{method}.csv")
        assert table["record"].unique().tolist() == [NAME, "second"]
        assert sorted(table["position"].unique()) == list(range(4, 10))
    (wanted,) = mutagenesis(model, [SECOND], region=(4, 10))
    arrays = np.load(folder / "arrays" / "00002_second.npz")
    assert arrays["effects_log_odds"] == pytest.approx(wanted.effects(), abs=1e-5)
    figures = {file.stem for file in (folder / "figures").iterdir()}
    assert figures == {f"00001_chr1_100-127_-_{kind}" for kind in ("tracks", "mutagenesis", "pairwise")}


def test_a_collapsed_training_is_said_once(checkpoints, tmp_path, caplog):
    shutil.copytree(checkpoints / "classifier", tmp_path / "fold_0")
    collapse = {"kind": "constant_predictions", "evidence": "predictions of all records lie within 0", "try": "more"}
    (tmp_path / "fold_0" / "eval_results.json").write_text(json.dumps({"fold": "fold_0", "collapsed": collapse}))
    options = ["--model_path", tmp_path / "fold_0", "--sequence", SECOND, "--output_dir", tmp_path / "out"]
    done = call(*options, "--analysis_type", "saliency", "--n_figures", 0)
    assert done.returncode == 0, done.stderr
    (said,) = [message for message in caplog.messages if "collapsed" in message]
    assert said.startswith(f"{tmp_path / 'fold_0'}: its fine-tuning collapsed (constant_predictions: predictions of")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["summary"]["collapsed"] == "constant_predictions"


def test_pairs_of_substitutions(checkpoints, explained):
    folder, _ = explained
    model, _ = load_classifier(checkpoints / "classifier")
    values = pairwise_mutagenesis(model, SECOND, region=(4, 10)).strongest("log_odds")
    arrays = np.load(folder / "maps" / "00002_second_pairwise.npz")
    assert arrays["epistasis"] == pytest.approx(values, abs=1e-5)
    assert (int(arrays["start"]), int(arrays["end"])) == (4, 10)
    table = pd.read_csv(folder / "pairwise.csv").query("record == 'second'")
    assert len(table) == 15
    assert table["epistasis"].abs().is_monotonic_decreasing
    for row in table.itertuples():
        assert arrays["epistasis"][row.position - 4, row.other - 4] == pytest.approx(row.epistasis, rel=1e-6)
        assert SECOND[row.position] == row.nucleotide


def test_both_is_mutagenesis_and_saliency(checkpoints, tmp_path):
    options = ["--model_path", checkpoints / "classifier", "--sequence", SECOND, "--output_dir", tmp_path / "out"]
    done = call(*options, "--analysis_type", "both", "--n_figures", "0")
    assert done.returncode == 0, done.stderr
    assert {file.stem for file in (tmp_path / "out").glob("*.csv")} == {"mutagenesis", "gradient", "records", "top"}


def test_a_run_folder_is_mapped_as_the_mean_of_its_draws(checkpoints, tmp_path):
    config = named_config("lamar-tiny", num_hidden_layers=1, head_type="mean", head_trained=True)
    shutil.copytree(checkpoints / "classifier", tmp_path / "few" / "draw_0")
    build_model(EsmForSequenceClassification, config, 3).save_pretrained(tmp_path / "few" / "draw_1")
    values = {}
    for name in ("few", "few/draw_0", "few/draw_1"):
        output = tmp_path / "out" / name.replace("/", "_")
        options = ["--model_path", tmp_path / name, "--sequence", SECOND, "--output_dir", output, "--n_figures", "0"]
        done = call(*options, "--analysis_type", "pairwise", "--region", "4-8")
        assert done.returncode == 0, done.stderr
        values[name] = np.load(output / "maps" / "00001_sequence_pairwise.npz")["epistasis"]
    model, _ = load_classifier(tmp_path / "few")
    wanted = pairwise_mutagenesis(model, SECOND, region=(4, 8)).strongest(None)
    assert values["few"] == pytest.approx(wanted, abs=1e-5)
    assert np.abs(values["few"] - values["few/draw_0"]).max() > 1e-6
    # A run of classifiers has no masked-LM head.
    done = call("--model_path", tmp_path / "few", "--sequence", SECOND, "--output_dir", tmp_path / "x", "--apc")
    assert done.returncode == 2
    assert "--apc: given, but not read by mutagenesis, saliency, integrated, window, all that is done" in done.stderr


def test_records_longer_than_the_configured_positions_are_mapped(checkpoints, tmp_path):
    sequence = "ACGTTGCAAGCTGATC" * 5  # 80 nt; max_position_embeddings is 62
    options = ["--model_path", checkpoints / "lm", "--sequence", sequence, "--output_dir", tmp_path / "out"]
    done = call(*options, "--n_figures", "0")
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "out" / "maps" / "00001_sequence.npz")["map"].shape == (80, 80)


# ------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model_path", "{}/classifier", "--analysis_type", "dependency"], "is a classifier, wanted a masked LM"),
        (["--model_path", "{}/lm", "--analysis_type", "both"], "is a masked LM, wanted a classifier"),
        (["--model_path", "{}/lm", "--analysis_type", "pairwise", "--region", "2-9"], "wanted a classifier"),
        (["--model_path", "{}/classifier", "--analysis_type", "pairwise"], "--region: not given, wanted START-END"),
        (["--model_path", "{}/encoder"], "encoder without a head, wanted a masked LM or a classifier"),
        (["--model_path", "{}/none"], "none: no such file or folder"),
        (["--model_path", "{}"], "no weights found"),
        (["--model_path", "{}/lm", "--sequence", "MKVLEAQ"], "--sequence: position 4: found 'L', wanted A, C, G, T"),
        (["--model_path", "{}/lm", "--sequence", "NNNN"], "record sequence: found only N, wanted nucleotides"),
        (["--model_path", "{}/lm", "--sequence", SECOND, "--region", "5-40"], "found 19 nucleotides, --region 5-40"),
        (["--model_path", "{}/lm", "--sequence", SECOND, "--region", "9-5"], "wanted START-END"),
        (["--model_path", "{}/classifier", "--window_size", "30"], "fewer than --window_size 30"),
        (["--model_path", "{}/classifier", "--target", "5"], "--target: found 5, wanted a class from 0 to 1"),
        (
            ["--model_path", "{}/classifier", "--analysis_type", "pairwise", "--region", "2-9", "--target", "5"],
            "found 5",
        ),
        (["--model_path", "{}/classifier", "--step_size", "2"], "--step_size: found 2, wanted at most --window_size 1"),
        (["--model_path", "{}/lm", "--target", "1"], "--target: given, but not read by dependency, all that is done"),
        (["--model_path", "{}/lm", "--window_size", "3"], "--window_size: given, but not read by dependency"),
        (["--model_path", "{}/lm", "--step_size", "2"], "--step_size: given, but not read by dependency"),
        (["--model_path", "{}/classifier", "--apc"], "--apc: given, but not read by mutagenesis, saliency"),
        (["--model_path", "{}/lm", "--sequence_file", "none.fa"], "none.fa: found no such file"),
        (["--model_path", "{}/lm", "--device", "abacus"], "--device: found 'abacus'"),
        (["--model_path", "{}/lm", "--eps", "2"], "--eps: found 2, wanted 0 up to 0.01"),
        (["--model_path", "{}/lm", "--analysis_type", "everything"], "invalid choice"),
    ],
)
def test_what_cannot_be_mapped_is_one_line_and_leaves_nothing(checkpoints, tmp_path, options, message):
    options = [option.replace("{}", str(checkpoints)) for option in options]
    if not {"--sequence", "--sequence_file"} & set(options):
        options += ["--sequence", SECOND]
    done = call(*options, "--output_dir", tmp_path / "out")
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_weights_that_compute_no_numbers_are_named_and_leave_nothing(checkpoints, tmp_path):
    shutil.copytree(checkpoints / "lm", tmp_path / "lm")
    file = tmp_path / "lm" / "model.safetensors"
    save_file({name: tensor * 1e30 for name, tensor in load_file(file).items()}, file)
    done = call("--model_path", tmp_path / "lm", "--sequence", SECOND, "--output_dir", tmp_path / "out")
    assert done.returncode == 2
    assert "error: --model_path: found log-odds that are not finite" in done.stderr
    assert not (tmp_path / "out").exists()


def test_records_that_cannot_be_mapped_are_named_and_the_others_kept(checkpoints, tmp_path):
    fasta = tmp_path / "records.fa"
    fasta.write_text(f">n\nNNNN\n>good\n{SECOND}\n>none\nNN\n")
    done = call("--model_path", checkpoints / "lm", "--seq_file", fasta, "--output_dir", tmp_path / "out")
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        "error: record n: found only N, wanted nucleotides (the first of 2 records left out; 1 were mapped)"
    )
    assert [file.name for file in (tmp_path / "out" / "maps").iterdir()] == ["00001_good.npz"]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["status"] == "finished"
    assert list(record["summary"]["left_out"]) == ["n", "none"]
    proteins = tmp_path / "proteins.fa"
    proteins.write_text(">p\nMKVLEAQ\n")
    done = call("--model_path", checkpoints / "lm", "--seq_file", proteins, "--output_dir", tmp_path / "other")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith(f"error: {proteins}: record p: position 4: found 'L'")


# ------------------------------------------------------------------------------------------------------- notebook

# Cells run one after the other in one namespace, as a kernel would; the notebook uses plain Python only, so neither
# Jupyter nor its kernel has to be installed for the tests. Prints what was made of the last cell.
RUN_NOTEBOOK = """
import json, sys
import numpy as np

names, cells = {}, json.load(open("dep_map.ipynb"))["cells"]
shown = []
for cell in cells:
    source = "".join(cell["source"])
    if cell["cell_type"] != "code":
        continue
    source = source.replace(MARK, f"MODEL = Path({sys.argv[1]!r})")
    lines = source.splitlines()
    if lines[-1].startswith("Picture("):
        lines[-1] = f"picture = {lines[-1]}"
    exec(compile("\\n".join(lines), "cell", "exec"), names)
    if "picture" in names:
        shown.append(names.pop("picture")._repr_png_()[:8].hex())
values = names["dependencies"].values
facts = {"length": len(names["sequence"]), "shape": values.shape, "rows": bool((values.max(1) > 0).all())}
facts |= {"diagonal": float(values.diagonal().max()), "structure": len(names["structure"]), "shown": shown}
print("FACTS " + json.dumps(facts))
"""
MODEL_LINE = 'MODEL = ROOT / "weights" / "lamar-mini"'


@pytest.mark.slow
def test_the_notebook_runs_from_its_record_to_a_map(tmp_path):
    text = json.loads((FOLDER / "dep_map.ipynb").read_text())
    assert text["nbformat"] == 4
    assert all(cell["outputs"] == [] for cell in text["cells"] if cell["cell_type"] == "code")
    code = "".join("".join(cell["source"]) + "\n" for cell in text["cells"])
    assert code.count(MODEL_LINE) == 1
    model = SHIPPED
    if not SHIPPED.is_dir():
        model = tmp_path / "lm"
        build_model(EsmForMaskedLM, named_config("lamar-tiny"), 0).save_pretrained(model)
    program = f"MARK = {MODEL_LINE!r}\n{RUN_NOTEBOOK}"
    done = subprocess.run(
        [sys.executable, "-c", program, str(model)],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.rsplit("FACTS ", 1)[1])
    length = facts["length"]
    assert facts["shape"] == [length, length]
    assert facts["rows"]
    assert facts["diagonal"] == 0
    assert facts["structure"] == length
    assert facts["shown"] == [b"\x89PNG\r\n\x1a\n".hex()] * 2
