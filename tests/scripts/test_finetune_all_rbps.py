"""finetune_all_rbps.py on small track sets: outputs, resume, errors, processes, imports."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from finetune_runs import table
from track_sets import write_small_set
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from LAMAR import load_classifier, predict
from LAMAR.data.track_calibration import read_calibration
from LAMAR.data.tracks import read_track_set
from LAMAR.errors import InputError
from LAMAR.statistics.metrics import auroc

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "finetune_scripts" / "finetune_all_rbps.py"
NAMES = ["PUM2_HepG2", "PUM2_K562", "QKI_K562", "TARDBP_HepG2"]

spec = importlib.util.spec_from_file_location("finetune_all_rbps", SCRIPT)
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


def arguments(data: Path, output: Path, *more) -> list[str]:
    base = ["--data_path", data, "--output_dir", output, "--config", "lamar-tiny", "--head_channels", 8]
    base += ["--max_steps", 8, "--batch_size", 16, "--warmup_steps", 2, "--eval_steps", 4, "--save_steps", 3]
    return [str(word) for word in (*base, *more)]


def run(data: Path, output: Path, *more) -> dict:
    assert script.main(arguments(data, output, *more)) == 0
    return json.loads((output / "eval_results.json").read_text())


def error(data: Path, output: Path, capsys, *more) -> str:
    """The one line of a run that is refused and leaves nothing behind."""
    capsys.readouterr()
    existed = output.exists()
    assert script.main(arguments(data, output, *more)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in lines if line.startswith("error:")]) == 1
    assert existed or not output.exists()
    return lines[-1]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_small_set(tmp_path_factory.mktemp("tracks"))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "joint"
    run(data, output)
    return output


def test_checkpoint_has_named_outputs_and_loads_with_auto_classes(finished):
    model = AutoModelForSequenceClassification.from_pretrained(finished)
    config = model.config
    assert list(config.id2label.values()) == NAMES
    assert config.label2id == {name: i for i, name in enumerate(NAMES)}
    assert (config.head_type, config.loss_type, config.problem_type) == (
        "max_mean",
        "bce",
        "multi_label_classification",
    )
    assert (config.window_length, config.head_trained) == (31, True)
    tokens = AutoTokenizer.from_pretrained(finished)(["ACGUACGU"], return_tensors="pt")
    with torch.no_grad():
        assert model(tokens["input_ids"], tokens["attention_mask"]).logits.shape == (1, 4)


def test_figures_and_calibration_are_those_of_the_saved_model_on_all_dev_windows(data, finished):
    source = read_track_set(data)
    dev = source.rows("dev")
    model = AutoModelForSequenceClassification.from_pretrained(finished)
    tokenizer = AutoTokenizer.from_pretrained(finished)
    with torch.no_grad():
        ids = tokenizer([source.sequences[i] for i in dev], return_tensors="pt")["input_ids"]
        logits = model(ids).logits.numpy()
    labels, mask = source.labels(dev)
    tracks = table(finished / "tracks.csv")
    assert [row["track"] for row in tracks] == NAMES
    counts = source.counts(source.rows("train"))[0]
    for j, row in enumerate(tracks):
        known = mask[:, j] == 1
        assert float(row["dev_auroc"]) == pytest.approx(auroc(labels[known, j], logits[known, j]), abs=1e-4)
        assert int(row["dev_n_bound"]) == labels[:, j].sum()
        assert int(row["dev_n_unbound"]) == (known & (labels[:, j] == 0)).sum()
        assert int(row["n_train_bound"]) == counts[j]
    results = json.loads((finished / "eval_results.json").read_text())
    assert results["auroc"] == pytest.approx(np.mean([float(row["dev_auroc"]) for row in tracks]))
    calibration = read_calibration(finished, NAMES)
    assert calibration.prior == 1e-3
    background = source.windows["kind"].to_numpy()[dev] == "background"
    assert calibration.n_background.tolist() == [background.sum()] * 4
    # Probabilities sum to the sites of a population with one to 1,000 background windows.
    p = calibration.probabilities(logits)
    for j in range(4):
        bound = labels[:, j] == 1
        total = p[bound, j].sum() + bound.sum() / calibration.prior * p[background, j].mean()
        assert total == pytest.approx(bound.sum(), rel=0.02)


def test_predict_applies_the_calibration(finished):
    sequences = ["UGUAUAUAGGCAUGCCUGUGAAUAGCAUGGA", "GGGCCCAAAUUUGGGCCCAAAUUUGGGCCCA"]
    model, _ = load_classifier(finished)
    logits = predict(model, sequences, scale="logit")
    with torch.no_grad():
        ids = AutoTokenizer.from_pretrained(finished)(sequences, return_tensors="pt")["input_ids"]
        assert logits == pytest.approx(model(ids).logits.numpy(), abs=1e-5)
    calibration = read_calibration(finished, NAMES)
    odds = calibration.slope * logits + calibration.intercept
    assert predict(finished, sequences) == pytest.approx(1 / (1 + np.exp(-odds)), rel=1e-4)
    assert predict(model, sequences, scale="p_value") == pytest.approx(calibration.p_values(logits), rel=1e-4)


def test_calibration_of_other_tracks_is_an_error(finished, tmp_path):
    for name in ("config.json", "model.safetensors", "calibration.json"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    content = json.loads((tmp_path / "calibration.json").read_text())
    content["tracks"]["QKI_HepG2"] = content["tracks"].pop("QKI_K562")
    (tmp_path / "calibration.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"calibration\.json: found 4 tracks that are not the model's 4"):
        load_classifier(tmp_path)


def test_outputs_and_their_tables(finished):
    names = {path.name for path in finished.iterdir()}
    assert names >= {"config.json", "model.safetensors", "vocab.txt", "run.json", "log.csv", "learning_curve.png"}
    log = table(finished / "log.csv")
    assert [int(row["step"]) for row in log] == [4, 8]
    assert [int(row["windows"]) for row in log] == [64, 128]
    record = json.loads((finished / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["weights"]["pretrain_path"] == ""
    assert {Path(path).name for path in record["inputs"]} == {"windows.parquet", "tracks.tsv"}


def test_a_finished_run_is_not_done_again_and_can_be_made_longer(data, tmp_path, capsys):
    output = tmp_path / "joint"
    run(data, output)
    before = (output / "model.safetensors").stat().st_mtime_ns
    run(data, output)
    assert (output / "model.safetensors").stat().st_mtime_ns == before
    assert run(data, output, "--max_steps", 12)["steps"] == 12
    assert [int(row["step"]) for row in table(output / "log.csv")] == [4, 8, 12]
    assert "--max_steps: found 8, wanted 12 or more" in error(data, output, capsys)
    assert "another --head_lr" in error(data, output, capsys, "--head_lr", 0.5, "--max_steps", 12)


def test_held_out_rbps_are_not_in_the_model(data, tmp_path):
    results = run(data, tmp_path / "joint", "--hold_out", "PUM2")
    config = json.loads((tmp_path / "joint" / "config.json").read_text())
    assert list(config["id2label"].values()) == ["QKI_K562", "TARDBP_HepG2"]
    assert results["data_set"]["held_out_tracks"] == 2
    assert results["data_set"]["held_out_windows"] > 0


def test_training_goes_on_from_a_joint_model_of_the_same_tracks_only(data, finished, tmp_path, capsys):
    start = ("--pretrain_path", finished)
    run(data, tmp_path / "same", *start, "--head_lr", 1e-12, "--encoder_lr", 1e-12)
    old, new = (AutoModelForSequenceClassification.from_pretrained(path) for path in (finished, tmp_path / "same"))
    assert torch.allclose(old.classifier.out_proj.weight, new.classifier.out_proj.weight, atol=1e-6)
    fewer = ("--hold_out", "QKI")
    message = error(data, tmp_path / "fewer", capsys, *start, *fewer)
    assert "found a head of other tracks than the 3 of --data_path ('QKI_K562' where these have" in message
    assert "has a trained max_mean head" in error(data, tmp_path / "other", capsys, *start, "--head", "cnn")
    run(data, tmp_path / "fewer", *start, *fewer, "--new_head", "--head", "attention")
    config = json.loads((tmp_path / "fewer" / "config.json").read_text())
    assert (config["head_type"], len(config["id2label"])) == ("attention", 3)


def test_mistakes_are_one_line_and_leave_nothing(data, tmp_path, capsys):
    output = tmp_path / "out"
    assert "similar: PUM2" in error(data, output, capsys, "--hold_out", "PUM1")
    assert "wanted a folder with windows.parquet and tracks.tsv" in error(tmp_path / "no", output, capsys)
    assert "windows.parquet: cannot be read" in error(tmp_path, output, capsys)
    assert "--batch_size: found 5000" in error(data, output, capsys, "--batch_size", 5000)
    assert "--config: found 'lamar-nano'" in error(data, output, capsys, "--config", "lamar-nano")


def rewritten(data: Path, folder: Path, change) -> Path:
    """The set with its table of windows changed."""
    folder.mkdir()
    windows = pd.read_parquet(data / "windows.parquet")
    change(windows).to_parquet(folder / "windows.parquet")
    (folder / "tracks.tsv").write_bytes((data / "tracks.tsv").read_bytes())
    return folder


def test_labels_that_cannot_be_learned_are_refused(data, tmp_path, capsys):
    def mask_all(windows):
        ids = [np.arange(4, dtype=np.int32)] * len(windows)
        return windows.assign(bound=[np.zeros(0, dtype=np.int32)] * len(windows), unknown=ids)

    masked = rewritten(data, tmp_path / "masked", mask_all)
    assert "found no track with 1 or more bound windows" in error(masked, tmp_path / "out", capsys)
    no_dev = rewritten(data, tmp_path / "no_dev", lambda windows: windows[windows["part"] != "dev"])
    assert "found no window of part dev" in error(no_dev, tmp_path / "out", capsys)
    other = rewritten(data, tmp_path / "other", lambda windows: windows)
    tracks = (other / "tracks.tsv").read_text().splitlines(keepends=True)
    (other / "tracks.tsv").write_text("".join(tracks[:-1]))
    assert "found track 3, wanted 0 to 2 (tracks.tsv)" in error(other, tmp_path / "out", capsys)


@pytest.mark.slow
def test_two_processes_train_what_one_trains(data, tmp_path):
    single = tmp_path / "one"
    run(data, single, "--batch_size", 32, "--dev_windows", 60)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29533"]
    command += [str(SCRIPT), *arguments(data, tmp_path / "two", "--dev_windows", 60)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    first, second = (table(path / "log.csv")[-1] for path in (single, tmp_path / "two"))
    assert first["windows"] == second["windows"] == "256"
    for name in ("train_loss", "dev_loss"):
        assert float(first[name]) == pytest.approx(float(second[name]), rel=1e-3)


def test_training_needs_no_package_of_other_tasks(data, tmp_path, run_python):
    words = arguments(data, tmp_path / "out", "--max_steps", "2")
    code = f"""
import runpy, sys
sys.argv = {[str(SCRIPT), *words]!r}
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
print([name for name in ("tensorflow", "bioframe", "pyfaidx", "Bio", "logomaker", "captum") if name in sys.modules])
"""
    assert run_python(code).splitlines()[-1] == "[]"


def test_help_lists_what_is_written():
    done = subprocess.run([sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, check=True)
    for word in ("--hold_out", "--max_minutes", "calibration.json", "torchrun"):
        assert word in done.stdout


def test_rows_of_tracks_have_no_empty_name(finished):
    with (finished / "tracks.csv").open(newline="") as handle:
        assert all(row["track"] and row["quartile"] in "1234" for row in csv.DictReader(handle))
