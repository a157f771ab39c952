"""compute_isoscore_clip.py as a user starts it, on small made-up sets and models."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaluation_scripts import FOLDER, call, load_script
from labelled_pairs import write_pair

from LAMAR import runs
from LAMAR.embedding_cache import cached_outputs
from LAMAR.evaluation import geometry_run
from LAMAR.evaluation.encoders import open_variants
from LAMAR.evaluation.geometry import POOLED, sample_rows
from LAMAR.evaluation.probes import find_sets, prepare
from LAMAR.evaluation.tables import write_tables
from LAMAR.evaluation.units import evaluate
from LAMAR.statistics.isotropy import FIGURES

TINY = ["--config", "lamar-tiny"]
IMAGES = {f"{name}.{ending}" for name in ("layers", "spectra", "components") for ending in ("png", "svg")}


script = load_script("isoscore/compute_isoscore_clip.py")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    """Two sets as FASTA pairs, GC-rich positives, 24 to 30 nt: 80 and 60 records."""
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    write_pair(folder, "A", 40, rng, 24, 31)
    write_pair(folder, "B", 30, rng, 24, 31)
    return folder


@pytest.fixture(scope="module")
def evaluation(data_dir, tiny_weights, tmp_path_factory) -> Path:
    """An evaluation run with linear probes of both variants; in the place of the CNN stands a constant."""
    folder = tmp_path_factory.mktemp("evaluation")
    variants = open_variants(
        ["Pretrained", "Random"], {"Pretrained": tiny_weights}, named={"Pretrained"}, config=None, layers=[-1], seed=42
    )
    parts = [prepare(dataset) for dataset in find_sets(data_dir)]

    def embeddings_of(variant, sequences, outputs):
        return cached_outputs(
            variant.model, variant.digest, sequences, outputs, dtype="float32", cache_dir=folder / "cache"
        )

    def constant(records, labels, train, validation, test, representation, seed):
        return np.full(len(test), 0.5), {"n_parameters": 1, "learned": False}

    with runs.RunFolder.open(
        folder / "run", arguments={}, seed=42, weights={one.name: {"digest": one.digest} for one in variants}
    ) as run:
        settings = {"n_repeats": 1, "seed": 42, "embeddings_of": embeddings_of}
        results = {one.dataset.name: list(evaluate(run, one, variants, constant, **settings)) for one in parts}
        write_tables(run, parts, results)
        run.finish()
    return folder / "run"


@pytest.fixture(scope="module")
def measured(data_dir, tiny_weights, evaluation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("geometry") / "run"
    common = ["--data_dir", data_dir, "--variants", "Pretrained", "Random", "--pretrained_weights", tiny_weights]
    common += ["--n_per_rbp", 50, "--bootstrap", 8, "--with_probe", evaluation, "--output_dir", folder]
    assert call(script, *common) == 0
    return folder, common


def test_tables_of_a_run(measured):
    folder, _ = measured
    table = pd.read_csv(folder / "results.csv")
    assert tuple(table.columns) == geometry_run.RESULT_COLUMNS
    # Two variants of three layers, two sets and their union.
    assert len(table) == 2 * 3 * 3 * len(FIGURES)
    assert table.groupby("dataset")["n"].unique().map(list).to_dict() == {"A": [50], "B": [50], POOLED: [100]}
    for name, rows in table.groupby("figure"):
        assert rows["value"].between(FIGURES[name].low, FIGURES[name].high).all(), name
    assert (table["low"] <= table["value"] + 1e-9).mean() > 0.99
    assert table["value"].notna().all()
    wide = table.pivot(index=["variant", "layer", "dataset"], columns="figure", values="value")
    np.testing.assert_allclose(wide["isoscore"], (wide["participation_ratio"] - 1) / (64 - 1), rtol=1e-9)
    spectra = pd.read_csv(folder / "spectra.csv")
    assert spectra.groupby(["variant", "layer"])["singular_value"].sum().to_numpy() == pytest.approx(1)
    assert {path.name for path in folder.iterdir()} >= IMAGES | {"probe.png", "run.json"}


def test_figures_are_those_of_the_embeddings(measured, data_dir, tiny_weights, tmp_path):
    """One cell, made by hand: the sampled records through the encoder, and NumPy's covariance."""
    folder, _ = measured
    (dataset,) = find_sets(data_dir, ["A"])
    rows = sample_rows(dataset.labels, 50, 42, "A")
    (encoder,) = open_variants(
        ["Pretrained"], {"Pretrained": tiny_weights}, named={"Pretrained"}, config=None, layers=[1], seed=0
    )
    chosen = [dataset.sequences[i] for i in rows]
    found = cached_outputs(encoder.model, "", chosen, [(1, "mean")], dtype="float32", cache_dir=tmp_path)
    values = np.linalg.eigvalsh(np.cov(np.asarray(found[1, "mean"].values, dtype=np.float64).T))
    table = pd.read_csv(folder / "results.csv")
    cell = table.query("variant == 'Pretrained' and layer == 1 and dataset == 'A' and figure == 'participation_ratio'")
    assert cell["value"].item() == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-5)


def test_differences_are_of_the_same_records(measured):
    folder, _ = measured
    table, pairs = pd.read_csv(folder / "results.csv"), pd.read_csv(folder / "differences.csv")
    assert tuple(pairs.columns) == geometry_run.PAIR_COLUMNS
    assert len(pairs) == 3 * 3 * len(FIGURES)
    wide = table.pivot(index=["layer", "dataset", "figure"], columns="variant", values="value")
    wanted = pairs.set_index(["layer", "dataset", "figure"])["difference"]
    np.testing.assert_allclose((wide["Random"] - wide["Pretrained"]).loc[wanted.index], wanted, atol=1e-12)


def test_probe_correlations(measured, evaluation):
    folder, _ = measured
    found = pd.read_csv(folder / "probe_correlations.csv")
    assert found["n_configurations"].max() == 6  # two variants of three layers
    probes = pd.read_csv(evaluation / "results.csv").query("representation == 'linear_probe'")
    table = pd.read_csv(folder / "results.csv").query("figure == 'average_cosine' and dataset == 'A'")
    both = table.merge(probes, on=["dataset", "variant", "layer"])
    assert len(both) == 6
    row = found.query("variant == 'all variants' and dataset == 'A' and figure == 'average_cosine'")
    assert row["spearman"].item() == pytest.approx(both["value"].corr(both["auroc"], method="spearman"))


def test_a_run_goes_on_where_it_was(measured, tmp_path, capsys, undrawn):
    folder, common = measured
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    before = (copy / "results.csv").read_bytes()
    for unit in sorted((copy / "units").iterdir())[:2]:
        unit.unlink()
    shutil.rmtree(copy / "embeddings")
    again = [*common[:-1], copy]
    assert call(script, *again) == 0
    assert (copy / "results.csv").read_bytes() == before
    assert call(script, *again, "--zeta", 0.5) == 2
    assert "another --zeta: found 0.2, wanted 0.5" in capsys.readouterr().err


def test_one_set_layers_and_no_bootstrap(data_dir, tmp_path, undrawn):
    options = ["--data_dir", data_dir, "--rbps", "B", "--variants", "Random", *TINY, "--layers", -1, 0]
    assert call(script, *options, "--bootstrap", 0, "--pooling", "max", "--output_dir", tmp_path / "out") == 0
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert table["layer"].unique().tolist() == [0, 2]
    assert set(table["dataset"]) == {"B"}
    assert table[["low", "high", "bias"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--rbps", "C"], "nothing called 'C'"),
        (["--layers", 7], "--layers: found 7"),
        (["--max_length", 20], "nucleotides"),
        (["--variants", "TAPT", "--tapt_weights", "none"], "--tapt_weights: found no weights at none"),
        (["--tapt_weights", "none"], "--tapt_weights: given, but TAPT is not among --variants Random"),
        (["--config", "huge"], "--config: found 'huge'"),
        (["--with_probe", "nowhere"], "--with_probe: found no folder nowhere"),
        (["--device", "tpu"], "--device: found 'tpu'"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_leaves_nothing(data_dir, tmp_path, capsys, changes, message):
    output = tmp_path / "out"
    options = ["--data_dir", data_dir, "--variants", "Random", *TINY, "--output_dir", output]
    assert call(script, *options, *changes) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not output.exists()


def test_probes_of_other_weights_are_refused(data_dir, evaluation, tmp_path, capsys):
    options = ["--data_dir", data_dir, "--variants", "Random", *TINY, "--with_probe", evaluation, "--seed", 7]
    assert call(script, *options, "--output_dir", tmp_path / "out") == 2
    assert "its Random has other weights than Random here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("script", ["compute_isoscore_clip.py", "compute_isoscore_finetuned_clip.py"])
@pytest.mark.parametrize(("option", "value"), [("--n_per_rbp", "1"), ("--zeta", "2"), ("--bootstrap", "-1")])
def test_impossible_numbers_are_refused_by_name(script, option, value):
    command = [sys.executable, str(FOLDER / "isoscore" / script), "--data_dir", "x", "--models_dir", "x", option, value]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert option in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_without_arguments_the_demo_set(tmp_path):
    command = [
        sys.executable,
        str(FOLDER / "isoscore" / "compute_isoscore_clip.py"),
        "--output_dir",
        str(tmp_path / "out"),
    ]
    command += ["--n_per_rbp", "60", "--bootstrap", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC demo data" in done.stdout
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert {"PUM2", "QKI", POOLED} == set(table["dataset"])
    assert "Random" in set(table["variant"])
