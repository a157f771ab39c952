"""evaluate_tracks.py on small track sets and a tiny model: figures, calibration, resume, tracks that differ, errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from evaluation_scripts import FOLDER, call, load_script
from finetune_runs import table
from track_sets import TRACKS, make_track_set, write_small_set
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from LAMAR.checkpoints import build_model
from LAMAR.cli import demo_tracks
from LAMAR.configuration import named_config
from LAMAR.data.track_calibration import write_calibration
from LAMAR.data.tracks import read_track_set, write_track_set
from LAMAR.evaluation import track_baselines, track_run
from LAMAR.modeling_nucESM2 import EsmForSequenceClassification
from LAMAR.statistics.calibration import fit_calibration
from LAMAR.statistics.metrics import auprc, auroc
from LAMAR.tokenization import LamarTokenizer

NAMES = [f"{target}_{cell}" for target, cell in TRACKS]
N = 600

script = load_script("evaluate_tracks.py")


def logits_of(model_folder: Path, sequences: list[str]) -> np.ndarray:
    """Logits through transformers' Auto classes."""
    model = AutoModelForSequenceClassification.from_pretrained(model_folder)
    with torch.no_grad():
        return model(
            AutoTokenizer.from_pretrained(model_folder)(sequences, return_tensors="pt")["input_ids"]
        ).logits.numpy()


def write_model(folder: Path, data: Path, names: list[str] = NAMES, **fields) -> Path:
    """Folder of a model with random weights, whose head counts as trained, and its calibration on dev."""
    options = {
        "head_type": "max_mean",
        "head_channels": 8,
        "loss_type": "bce",
        "head_trained": True,
        "window_length": 31,
    }
    options |= {"id2label": dict(enumerate(names)), "problem_type": "multi_label_classification", **fields}
    model = build_model(EsmForSequenceClassification, named_config("lamar-tiny", **options), seed=1)
    model.save_pretrained(folder)
    LamarTokenizer().save_pretrained(folder)
    source = read_track_set(data)
    dev = source.rows("dev")
    logits = logits_of(folder, [source.sequences[i] for i in dev])
    labels = np.zeros((len(dev), len(names)), dtype=np.int8)
    for j, name in enumerate(names):
        labels[:, j] = source.coded_labels(dev)[:, source.names.index(name) if name in source.names else 0]
    is_background = source.windows["kind"].to_numpy()[dev] == "background"
    write_calibration(folder / "calibration.json", fit_calibration(logits, labels, is_background, names, 1e-2))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_small_set(tmp_path_factory.mktemp("tracks"), n=N)


@pytest.fixture(scope="module")
def model(data, tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "joint", data)


def arguments(data: Path, model: Path, output: Path, *more) -> list:
    return ["--data_path", data, "--model_path", model, "--output_dir", output, "--min_bound", 5, *more]


def run(data: Path, model: Path, output: Path, *more) -> dict:
    assert call(script, *arguments(data, model, output, *more)) == 0
    return json.loads((output / "summary.json").read_text())


def error(capsys, data: Path, model: Path, output: Path, *more) -> str:
    """The one line of a run that is refused and leaves nothing behind."""
    capsys.readouterr()
    existed = output.exists()
    assert call(script, *arguments(data, model, output, *more)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert existed or not output.exists()
    return lines[0]


@pytest.fixture(scope="module")
def finished(data, model, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "out"
    run(data, model, output)
    return output


def test_figures_are_those_of_the_saved_model_on_known_labels_of_the_part(data, model, finished):
    source = read_track_set(data)
    test = source.rows("test")
    logits = logits_of(model, [source.sequences[i] for i in test])
    labels, mask = source.labels(test)
    sites = source.windows["kind"].to_numpy()[test] == "site"
    rows = table(finished / "tracks.csv")
    assert [row["track"] for row in rows] == NAMES * 3
    assert [row["method"] for row in rows] == ["joint"] * 4 + ["4mer"] * 4 + ["dinucleotide"] * 4
    for j, row in enumerate(rows[:4]):
        known = mask[:, j] == 1
        assert float(row["auroc"]) == pytest.approx(auroc(labels[known, j], logits[known, j]), abs=1e-4)
        assert float(row["auprc"]) == pytest.approx(auprc(labels[known, j], logits[known, j]), abs=1e-4)
        known &= sites
        assert float(row["auroc_sites"]) == pytest.approx(auroc(labels[known, j], logits[known, j]), abs=1e-4)
        assert float(row["auroc_low"]) < float(row["auroc"]) < float(row["auroc_high"])
        assert int(row["n_bound"]) == labels[:, j].sum()
        assert int(row["n_bound"]) + int(row["n_unbound"]) == mask[:, j].sum() < len(test)
        assert int(row["n_train_bound"]) == source.counts(source.rows("train"))[0][j]
    # The planted motif is one of the 4-mers' letters, and the model's weights are random.
    assert (
        np.mean([float(row["auroc"]) for row in rows[4:8]]) > 0.9 > np.mean([float(row["auroc"]) for row in rows[:4]])
    )


def test_p_values_and_calibration_are_counted_over_background_windows(data, model, finished):
    source = read_track_set(data)
    background = source.rows("test", "background")
    logits = logits_of(model, [source.sequences[i] for i in background])
    rows = table(finished / "p_values.csv")
    assert [row["track"] for row in rows] == [*NAMES, "all"]
    content = json.loads((model / "calibration.json").read_text())
    for j, row in enumerate(rows[:4]):
        assert int(row["n_background"]) == len(background)
        # 0.05 is the last level of the grid, where the tail begins.
        above = (logits[:, j] > content["tracks"][NAMES[j]]["quantiles"][-1]).mean()
        assert float(row["below_0.05"]) == pytest.approx(above, abs=0.021)
    pooled = rows[4]
    assert int(pooled["n_background"]) == 4 * len(background)
    for level in ("below_0.05", "below_0.01", "below_0.001"):
        assert float(pooled[level]) == pytest.approx(np.mean([float(row[level]) for row in rows[:4]]))
    bins = pd.read_csv(finished / "calibration.csv")
    n_bound = source.counts(source.rows("test"))[0].sum()
    for _, part in bins.groupby("scale"):
        assert part["n_bound"].sum() == n_bound
        assert part["n_background"].sum() == 4 * len(background)
        assert part["weight"].sum() == pytest.approx(1)
        # The weights of all windows are those of 100 background windows per site.
        assert part["site_share"] @ part["weight"] == pytest.approx(1 / 101)
    summary = json.loads((finished / "summary.json").read_text())
    for scale, part in bins.groupby("scale"):
        wanted = (part["weight"] * (part["mean_probability"] - part["site_share"]).abs()).sum()
        found = summary["calibration"][scale]
        assert found["expected_error"] == pytest.approx(wanted)
        assert found["relative_to_prior"] == pytest.approx(wanted / 0.01)
    assert summary["background_below"] == {name[6:]: float(pooled[name]) for name in pooled if name.startswith("below")}


def test_outputs(finished, data, model):
    images = {f"{name}.{kind}" for name in ("joint_vs_baseline", "reliability") for kind in ("png", "svg")}
    tables = {"tracks.csv", "pairs.csv", "calibration.csv", "p_values.csv", "summary.json", "run.json"}
    assert {path.name for path in finished.iterdir()} == {*images, *tables, "scores", "units", ".lock"}
    record = json.loads((finished / "run.json").read_text())
    assert record["status"] == "finished"
    assert {Path(path).name for path in record["inputs"]} == {"windows.parquet", "tracks.tsv", "calibration.json"}
    source = read_track_set(data)
    assert {path.name for path in (finished / "scores").iterdir()} == {"joint_0.npy", "4mer.npy", "dinucleotide.npy"}
    scores = np.load(finished / "scores" / "joint_0.npy")
    assert scores.shape == (len(source.rows("test")), 4)
    summary = json.loads((finished / "summary.json").read_text())
    assert (summary["n_tracks"], summary["prior"], summary["part"]) == (4, 0.01, "test")
    assert summary["not_in_model"] == summary["not_in_data"] == []


def comparable(folder: Path) -> dict[str, bytes]:
    names = ("tracks.csv", "pairs.csv", "calibration.csv", "p_values.csv", "summary.json")
    return {name: (folder / name).read_bytes() for name in names}


class Killed(Exception):
    """Stands for the end of a process."""


def test_a_killed_run_keeps_its_pieces_and_ends_as_an_uninterrupted_one(data, model, finished, tmp_path, monkeypatch):
    from LAMAR import batches

    predicted, whole = [], batches.batched_logits

    def noted(model, encoded, **options):
        predicted.append(len(encoded))
        return whole(model, encoded, **options)

    def killed(*_):
        raise Killed

    output = tmp_path / "out"
    monkeypatch.setattr(track_run, "PIECE", 25)
    monkeypatch.setattr(batches, "batched_logits", noted)
    with monkeypatch.context() as patch:
        patch.setattr(track_baselines, "fit_track_baseline", killed)
        with pytest.raises(Killed):
            run(data, model, output)
    n = len(read_track_set(data).rows("test"))
    assert sum(predicted) == n
    assert len(predicted) == -(-n // 25)
    assert json.loads((output / "run.json").read_text())["status"] == "stopped"
    predicted.clear()
    # One piece is damaged since.
    (output / "scores" / "joint_1.npy").write_bytes(b"damaged")
    run(data, model, output)
    assert predicted == [25]
    found, wanted = (pd.read_csv(folder / "tracks.csv") for folder in (output, finished))
    pd.testing.assert_frame_equal(found, wanted, atol=1e-4)
    # A finished run does nothing again, and its files stay to the last byte.
    before = comparable(output)
    predicted.clear()
    run(data, model, output, "--resume")
    assert predicted == []
    assert comparable(output) == before


def test_sizes_of_batches_change_nothing(data, model, finished, tmp_path):
    run(data, model, tmp_path / "out", "--token_budget", 40, "--device", "cpu")
    found, wanted = (pd.read_csv(folder / "tracks.csv") for folder in (tmp_path / "out", finished))
    pd.testing.assert_frame_equal(found, wanted, atol=1e-3)


def test_another_command_in_the_folder_is_refused_or_replaces_it(data, model, tmp_path, capsys):
    output = tmp_path / "out"
    first = run(data, model, output, "--baselines", "none", "--tracks", "QKI_K562")
    assert "holds a run with another --tracks" in error(
        capsys, data, model, output, "--baselines", "none", "--tracks", 2
    )
    assert json.loads((output / "summary.json").read_text()) == first
    assert run(data, model, output, "--baselines", "none", "--tracks", 2, "--overwrite")["n_tracks"] == 2


def test_without_baselines_the_model_alone_is_judged(data, model, tmp_path, capsys):
    summary = run(data, model, tmp_path / "out", "--baselines", "none", "--part", "dev", "--tracks", "TARDBP_HepG2")
    assert (summary["gains"], summary["wins"]) == ([], [])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert not names & {"pairs.csv", "joint_vs_baseline.png"}
    assert "reliability.png" in names
    (row,) = table(tmp_path / "out" / "tracks.csv")
    assert row["track"] == "TARDBP_HepG2"
    assert "1 track on part dev" in capsys.readouterr().out


def test_tracks_that_the_model_lacks_are_left_out_with_a_warning(data, model, tmp_path, caplog):
    other = write_model(tmp_path / "model", data, ["TARDBP_HepG2", "NEW_A", "QKI_K562"])
    summary = run(data, other, tmp_path / "out", "--baselines", "none")
    assert (
        "tracks left out: 1 that the data set lacks (NEW_A); 2 that the model lacks (PUM2_HepG2, PUM2_K562)"
        in caplog.text
    )
    assert (summary["not_in_data"], summary["not_in_model"]) == (["NEW_A"], ["PUM2_HepG2", "PUM2_K562"])
    # Outputs are found by name: QKI is the third of this model, and the first of the tracks judged.
    source = read_track_set(data)
    test = source.rows("test")
    logits = logits_of(other, [source.sequences[i] for i in test])
    scores = np.load(tmp_path / "out" / "scores" / "joint_0.npy")
    assert scores == pytest.approx(logits[:, [2, 0]], abs=1e-5)
    assert [row["track"] for row in table(tmp_path / "out" / "tracks.csv")] == ["QKI_K562", "TARDBP_HepG2"]


def test_a_part_without_background_has_no_calibration(model, tmp_path, caplog):
    source = make_track_set(n=N)
    folder = tmp_path / "data"
    folder.mkdir()
    write_track_set(folder, source.take(np.flatnonzero(source.windows["kind"].eq("site"))))
    summary = run(folder, model, tmp_path / "out", "--baselines", "none")
    assert "part test has no background windows" in caplog.text
    assert (summary["calibration"], summary["background_below"]) == ({}, {})
    assert not (tmp_path / "out" / "p_values.csv").exists()


def test_longer_windows_than_those_of_the_training_are_said(data, tmp_path, caplog):
    short = write_model(tmp_path / "model", data, window_length=25)
    run(data, short, tmp_path / "out", "--baselines", "none", "--tracks", "QKI_K562")
    assert "windows have up to 31 nt, those that the model was trained on up to 25" in caplog.text


def test_mistakes_are_one_line_and_leave_nothing(data, model, tmp_path, capsys):
    out = tmp_path / "out"
    assert "--data_path: found" in error(capsys, tmp_path / "no", model, out)
    assert "wanted a folder with windows.parquet and tracks.tsv" in error(capsys, model, model, out)
    assert "found no config.json, wanted a folder of finetune_all_rbps.py" in error(capsys, data, data, out)
    assert "--tracks: found 'QKI_HepG2', which is not in --data_path" in error(
        capsys, data, model, out, "--tracks", "QKI_HepG2"
    )
    assert "--tracks: found 5, wanted 1 to 4" in error(capsys, data, model, out, "--tracks", 5)
    assert "--min_bound: found no track with 500" in error(capsys, data, model, out, "--min_bound", 500)
    assert "--baselines: found none beside others" in error(capsys, data, model, out, "--baselines", "none", "4mer")
    assert "--device: found 'tpu'" in error(capsys, data, model, out, "--device", "tpu")
    capsys.readouterr()
    assert call(script, "--data_path", data, "--output_dir", out) == 2
    assert "--model_path: not given" in capsys.readouterr().err


def copied(model: Path, folder: Path) -> Path:
    shutil.copytree(model, folder)
    return folder


def test_models_that_cannot_be_judged_are_one_line(data, model, tmp_path, capsys):
    bare = copied(model, tmp_path / "bare")
    (bare / "calibration.json").unlink()
    assert "found no calibration.json" in error(capsys, data, bare, tmp_path / "out")
    other = copied(model, tmp_path / "other")
    content = json.loads((other / "calibration.json").read_text())
    content["tracks"]["QKI_HepG2"] = content["tracks"].pop("QKI_K562")
    (other / "calibration.json").write_text(json.dumps(content))
    assert "found 4 tracks that are not the model's 4" in error(capsys, data, other, tmp_path / "out")
    untrained = write_model(tmp_path / "untrained", data, head_trained=False)
    assert "found no trained classification head" in error(capsys, data, untrained, tmp_path / "out")
    classes = write_model(tmp_path / "classes", data, loss_type="ce", problem_type=None)
    assert "found a model without one output per track" in error(capsys, data, classes, tmp_path / "out")
    strangers = write_model(tmp_path / "strangers", data, ["A_K562", "B_K562"])
    message = error(capsys, data, strangers, tmp_path / "out")
    assert "--model_path, --data_path: found no common track (A_K562, B_K562 in the model" in message


@pytest.mark.slow
def test_without_arguments_it_judges_the_demo(tmp_path, monkeypatch, capsys):
    """The demo model is trained once: a second call takes the one that is there."""
    demo_tracks.demo_track_set()
    monkeypatch.setattr(demo_tracks, "DEMO_TRACKS", copied(demo_tracks.DEMO_TRACKS, tmp_path / "tracks"))
    monkeypatch.setitem(demo_tracks.DEMO_TRAINING, "max_steps", 60)
    monkeypatch.setattr(script, "DEMO", {**script.DEMO, "output_dir": tmp_path / "out"})
    assert script.main([]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("SYNTHETIC demo data")
    assert "3 tracks on part test" in printed
    rows = table(tmp_path / "out" / "tracks.csv")
    assert [row["track"] for row in rows[:3]] == ["IRPSYN_DEMO", "PUM2_DEMO", "QKI_DEMO"]
    assert all(float(row["auroc"]) > 0.6 for row in rows[:3])
    made = (tmp_path / "joint_model" / "model.safetensors").stat().st_mtime_ns
    assert demo_tracks.demo_joint_model() == tmp_path / "joint_model"
    assert (tmp_path / "joint_model" / "model.safetensors").stat().st_mtime_ns == made


def test_help_needs_no_heavy_import():
    path = str(FOLDER / "evaluate_tracks.py")
    code = f"import runpy, sys; sys.argv = ['x', '--help']; runpy.run_path({path!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"torch", "pandas", "scipy", "sklearn", "matplotlib", "pyarrow"}
    for word in ("--min_bound", "p_values.csv", "Quartiles"):
        assert word in done.stdout
