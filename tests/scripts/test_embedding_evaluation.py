"""The evaluation scripts as a user starts them, on small made-up sets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from labelled_pairs import write_pair

from LAMAR.evaluation.tables import COLUMNS

pytest.importorskip("tensorflow")

FOLDER = Path(__file__).resolve().parents[2] / "evalEmbeddings"
QUICK = ["--n_repeats", "1", "--epochs", "2", "--min_steps", "0", "--batch_size", "16", "--seed", "3"]
RANDOM = ["--variants", "Random", "--config", "lamar-tiny", "--layers", "-1"]


def call(script: str, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, str(FOLDER / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Two sets as FASTA pairs, lengths of 36 to 48 nt, GC-rich positives; and one of sequences too short."""
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for name, low, high in (("A", 36, 49), ("B", 36, 49), ("short", 20, 31)):
        write_pair(folder, name, 60, rng, low, high)
    return folder


@pytest.fixture(scope="module")
def evaluated(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation") / "run"
    common = ["--data_dir", data_dir, "--rbps", "A", "B", "--output_dir", folder, *QUICK, *RANDOM]
    return folder, common, call("LAMAR_CNN_clip_data.py", *common)


def without_time(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "results.csv").drop(columns="seconds")


@pytest.mark.slow
def test_tables_of_a_run(evaluated):
    folder, _, done = evaluated
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(folder / "results.csv")
    assert table.columns.tolist() == list(COLUMNS)
    for _, rows in table.groupby("dataset"):
        # Three layers of lamar-tiny have a probe each; the CNN read the top one.
        counts = rows["representation"].value_counts().to_dict()
        assert counts == {"gc": 1, "dinucleotide": 1, "4mer": 1, "one_hot": 1, "lamar": 1, "linear_probe": 3}
        assert rows.query("representation == 'lamar'")["layer"].tolist() == [2]
    assert table["auroc"].between(0, 1).all()
    assert set(table.loc[table["learned"].isin([0, 1]), "representation"]) == {"one_hot", "lamar"}
    assert (table["n_train"] > table["n_test"]).all()
    predictions = pd.read_csv(folder / "predictions.csv")
    assert len(predictions) == (table["n_test"]).sum()
    assert predictions["probability"].between(0, 1).all()
    record = json.loads((folder / "run.json").read_text())
    assert record["arguments"]["patience_steps"] == 500  # of the recipe, though nobody named it
    assert record["arguments"]["epochs"] == 2


@pytest.mark.slow
def test_a_finished_run_is_read_and_another_is_refused(evaluated):
    folder, common, _ = evaluated
    before = (folder / "results.csv").read_bytes()
    again = call("LAMAR_CNN_clip_data.py", *common)
    assert again.returncode == 0, again.stderr
    assert "CNN:" not in again.stderr
    assert (folder / "results.csv").read_bytes() == before
    other = call("LAMAR_CNN_clip_data.py", *common, "--patience", "7")
    assert other.returncode == 2
    assert "holds a run with another --patience: found 5, wanted 7" in other.stderr.splitlines()[-1]
    assert (folder / "results.csv").read_bytes() == before


@pytest.mark.slow
def test_one_hot_script_gives_the_baselines_of_the_whole_run(evaluated, data_dir, tmp_path):
    folder, _, _ = evaluated
    done = call("OneHot_CNN_clip_data.py", "--data_dir", data_dir, "--rbps", "A", "B", "--output_dir", tmp_path, *QUICK)
    assert done.returncode == 0, done.stderr
    whole = without_time(folder)
    wanted = whole[~whole["representation"].isin(["lamar", "linear_probe"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(without_time(tmp_path), wanted, check_dtype=False)
    assert not (tmp_path / "embeddings").exists()


@pytest.mark.slow
def test_the_one_hot_cnn_learns_the_demo_set(tmp_path):
    """The demo shows what each method can do, so that sequence alone has to be learned whatever the seed."""
    done = call("OneHot_CNN_clip_data.py", "--n_repeats", 2, "--output_dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "run" / "results.csv").set_index("representation")
    assert table.loc["one_hot", "learned"].tolist() == [1, 1]
    assert table.loc["one_hot", "auroc"].min() > table.loc["4mer", "auroc"] + 0.05


@pytest.mark.slow
def test_repeats_can_be_added(data_dir, tmp_path):
    few = ["--data_dir", data_dir, "--rbps", "A", "--subsample_pos", 12, "--subsample_neg", 12, "--seed", 3, *RANDOM]
    for folder, n in (("added", 1), ("added", 3), ("at_once", 3)):
        done = call("LAMAR_CNN_clip_data.py", *few, "--no_cnn", "--n_repeats", n, "--output_dir", tmp_path / folder)
        assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(without_time(tmp_path / "added"), without_time(tmp_path / "at_once"))
    assert without_time(tmp_path / "added")["repeat"].nunique() == 3


@pytest.mark.slow
def test_without_the_cnn_the_rest_is_the_same(evaluated, data_dir, tmp_path):
    folder, _, _ = evaluated
    options = ["--data_dir", data_dir, "--rbps", "A", "B", "--output_dir", tmp_path / "few", *QUICK, *RANDOM]
    done = call("LAMAR_CNN_clip_data.py", *options, "--no_cnn")
    assert done.returncode == 0, done.stderr
    whole, few = without_time(folder), without_time(tmp_path / "few")
    kept = whole[~whole["representation"].isin(["one_hot", "lamar"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(few, kept)


@pytest.mark.parametrize(
    ("script", "changes", "message"),
    [
        ("LAMAR_CNN_random.py", ["--no_cnn", "--no_baselines"], "--no_cnn and --no_baselines: found both"),
        ("LAMAR_CNN_clip_data.py", ["--rbps", "A", "C"], "nothing called 'C'"),
        ("LAMAR_CNN_clip_data.py", ["--rbps", "short"], "short: the longest sequence has 30 nucleotides, wanted"),
        ("OneHot_CNN_clip_data.py", ["--rbps", "short"], "short: the longest sequence has 30 nucleotides, wanted"),
        ("LAMAR_CNN_clip_data.py", ["--max_length", "40"], "nucleotides"),
        ("LAMAR_CNN_clip_data.py", ["--pretrained_weights", "none"], "--pretrained_weights: found no weights at none"),
        ("LAMAR_CNN_tapt.py", ["--tapt_weights", "none"], "--tapt_weights: found no weights at none"),
        ("LAMAR_CNN_random.py", ["--layers", "7"], "--layers: found 7"),
        ("LAMAR_CNN_random.py", ["--rbps", "A", "B", "--subsample_pos", "5000"], "--subsample_pos: found 5000"),
        ("LAMAR_CNN_random.py", ["--bn_momentum", "1.5"], "--bn_momentum: found 1.5, wanted between 0 and 1"),
        ("LAMAR_CNN_random.py", ["--config", "huge"], "--config: found 'huge'"),
        ("OneHot_CNN_clip_data.py", ["--layers", "1"], "--layers"),
        ("OneHot_CNN_clip_data.py", ["--split", "chromosome", "--test_chroms", "chr8"], "chrom"),
        ("OneHot_CNN_clip_data.py", ["--split", "given", "--test_chroms", "chr8"], "--test_chroms goes with --split"),
        ("OneHot_CNN_clip_data.py", ["--dev_chroms", "chr8"], "--dev_chroms goes with --split chromosome"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_leaves_nothing(data_dir, tmp_path, script, changes, message):
    output = tmp_path / "results"
    done = call(script, "--data_dir", data_dir, "--rbps", "A", "--output_dir", output, *QUICK, *changes)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert message in lines[-1]
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not output.exists()
