"""Evaluation of frozen embeddings: finding sets, parts, probes, units of work, resuming, tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from LAMAR.data.labelled import LabelledSet, load_labelled
from LAMAR.embeddings import Embeddings
from LAMAR.errors import InputError
from LAMAR.evaluation.encoders import EncoderVariant, open_variants
from LAMAR.evaluation.probes import baseline_row, draw_training, find_sets, fit_probe, prepare, result
from LAMAR.evaluation.tables import COLUMNS, write_tables
from LAMAR.evaluation.units import evaluate
from LAMAR.runs import RunFolder
from LAMAR.statistics.metrics import auroc


def made_up(n: int = 200, seed: int = 0, name: str = "made") -> LabelledSet:
    """Positives rich in GC, negatives in AT, with parts 60/20/20."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    sequences = [
        "".join(rng.choice(list("ACGT"), 40, p=[0.2, 0.3, 0.3, 0.2] if y else [0.3, 0.2, 0.2, 0.3])) for y in labels
    ]
    split = np.array(["train", "train", "train", "dev", "test"])[np.arange(n) // 2 % 5]
    return LabelledSet(sequences, labels, [f"r{i}" for i in range(n)], name, split)


def write_csv(folder: Path, dataset: LabelledSet) -> None:
    folder.mkdir(parents=True)
    for part in ("train", "dev", "test"):
        rows = dataset.split == part
        table = pd.DataFrame({"sequence": dataset.sequences, "label": dataset.labels})[rows]
        table.to_csv(folder / f"{part}.csv", index=False)


def write_pair(folder: Path, dataset: LabelledSet) -> None:
    for side, label in (("positives", 1), ("negatives", 0)):
        records = [f">{i}\n{s}\n" for i, s, y in zip(dataset.ids, dataset.sequences, dataset.labels) if y == label]
        (folder / f"{dataset.name}.{side}.fa").write_text("".join(records))


def test_sets_are_found_in_every_arrangement(tmp_path):
    write_csv(tmp_path / "csv" / "QKI", made_up())
    write_csv(tmp_path / "csv" / "PUM2", made_up(seed=1))
    (tmp_path / "csv" / "units").mkdir()  # of the run that made the sets
    (tmp_path / "csv" / "run.json").write_text("{}")
    assert [s.name for s in find_sets(tmp_path / "csv")] == ["PUM2", "QKI"]
    assert [s.name for s in find_sets(tmp_path / "csv", ["QKI"])] == ["QKI"]
    assert [s.name for s in find_sets(tmp_path / "csv" / "QKI")] == ["QKI"]
    (tmp_path / "pairs").mkdir()
    write_pair(tmp_path / "pairs", made_up(name="A"))
    write_pair(tmp_path / "pairs", made_up(name="B"))
    assert [s.name for s in find_sets(tmp_path / "pairs")] == ["A", "B"]
    # A folder as make_rbp_dataset.py writes it: pair and tables are one set, with the tables' parts.
    both = tmp_path / "both" / "QKI"
    write_csv(both, made_up())
    write_pair(both, made_up(name="QKI"))
    (only,) = find_sets(tmp_path / "both")
    assert only.split is not None
    with pytest.raises(InputError, match="nothing called 'X'"):
        find_sets(tmp_path / "csv", ["X"])


def test_a_folder_of_tables_is_a_folder_of_sets(tmp_path):
    for name, ending in (("QKI_K562", ".tsv.gz"), ("PUM2.1", ".csv")):
        dataset = made_up()
        table = pd.DataFrame({"sequence": dataset.sequences, "label": dataset.labels})
        table.to_csv(tmp_path / f"{name}{ending}", index=False, sep="\t" if "tsv" in ending else ",")
    assert [s.name for s in find_sets(tmp_path)] == ["PUM2.1", "QKI_K562"]
    assert [s.name for s in find_sets(tmp_path, ["QKI_K562"])] == ["QKI_K562"]
    with pytest.raises(InputError, match=r"`rbps`: found nothing called 'X' in .*: PUM2.1, QKI_K562"):
        find_sets(tmp_path, ["X"])
    with pytest.raises(InputError, match=r"`rbps`: found two sets called 'PUM2.1'"):
        find_sets(tmp_path, ["PUM2.1", "PUM2.1"])
    with pytest.raises(InputError, match="`data_dir`: found no file or folder"):
        find_sets(tmp_path / "absent")


def test_sets_that_are_not_of_two_classes_are_refused(tmp_path):
    dataset = made_up()
    for labels, message in (
        (np.arange(len(dataset)) % 3, r"row 4: column label: found 2, wanted 0 or 1"),
        (np.ones(len(dataset), dtype=int), "set: found labels 1, wanted two classes"),
    ):
        table = pd.DataFrame({"sequence": dataset.sequences, "label": labels})
        table.to_csv(tmp_path / "set.csv", index=False)
        with pytest.raises(InputError, match=message):
            find_sets(tmp_path / "set.csv")


def test_parts_and_their_report():
    parts = prepare(made_up(), "given")
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [120, 40, 40]
    assert not set(parts.train) & set(parts.test)
    assert parts.report["split"]["method"] == "given"
    baseline = baseline_row(parts, "gc")
    # The report's baseline is fitted and scored on the same records.
    assert parts.report["composition"]["auroc"]["gc"]["value"] == pytest.approx(baseline["row"]["auroc"])
    assert list(baseline["row"]) == list(COLUMNS)
    assert baseline["row"]["auroc"] == auroc(parts.labels[parts.test], baseline["probabilities"])


def test_validation_never_comes_from_test():
    dataset = made_up()
    dataset = dataset.take(np.flatnonzero(dataset.split != "dev"))
    parts = prepare(dataset, "given")
    assert len(parts.validation) == 12  # a tenth of 120
    assert set(parts.test) == set(np.flatnonzero(dataset.split == "test"))
    assert not set(parts.validation) & (set(parts.test) | set(parts.train))


def test_probe_finds_a_direction_and_chooses_by_validation():
    parts = prepare(made_up(), "given")
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 30)).astype(np.float16)
    values[:, 3] += 3 * parts.labels
    probe = fit_probe(parts, values)
    assert probe.validation_auroc > 0.9
    assert auroc(parts.labels[parts.test], probe.probabilities) > 0.9
    assert probe.n_parameters == 31
    # Test records do not enter: other values there, same choice and same validation figure.
    other = values.copy()
    other[parts.test] = 7
    again = fit_probe(parts, other)
    assert (again.validation_auroc, again.penalty) == (probe.validation_auroc, probe.penalty)


def test_a_model_of_one_answer_has_empty_cells_not_numbers():
    parts = prepare(made_up(), "given")
    row = result(parts, "lamar", np.full(40, 0.2), n_parameters=1, seconds=0.0)["row"]
    assert row["auroc"] == 0.5
    assert np.isnan(row["mcc"])


@pytest.fixture
def encoder():
    class Config:
        num_hidden_layers = 3

    class Model:
        config = Config()

    return EncoderVariant("Random", Model(), "0" * 64, {}, (2, 1))


def run_all(folder, parts, encoder, calls: list, fail_at=None, trained: list | None = None, no_cnn=False, **others):
    def train_cnn(records, labels, train, validation, test, representation, seed):
        calls.append((representation, seed))
        if trained is not None:
            trained.append((seed, train.tolist(), validation.tolist(), test.tolist()))
        if fail_at is not None and len(calls) == fail_at:
            raise KeyboardInterrupt
        rng = np.random.default_rng(seed)
        facts = {"n_parameters": 11, "learned": representation == "lamar"}
        return np.clip(labels[test] * 0.3 + rng.random(len(test)) * 0.7, 0, 1), facts

    def embeddings_of(variant, sequences, outputs):
        calls.append(tuple(outputs))
        rng = np.random.default_rng(1)
        return {output: Embeddings(rng.normal(size=(len(sequences), 4)).astype(np.float32)) for output in outputs}

    arguments = {"pooling": "none"}
    with RunFolder.open(folder, arguments=arguments, seed=1) as run:
        options = {"n_repeats": 2, "pooling": "none", "seed": 5, "embeddings_of": embeddings_of} | others
        results = {parts.dataset.name: list(evaluate(run, parts, [encoder], None if no_cnn else train_cnn, **options))}
        write_tables(run, [parts], results)
        run.finish()
    return results


def test_units_tables_and_resume(tmp_path, encoder):
    parts = prepare(made_up(), "given")
    whole: list = []
    run_all(tmp_path / "whole", parts, encoder, whole)
    table = pd.read_csv(tmp_path / "whole" / "results.csv")
    assert table.columns.tolist() == list(COLUMNS)
    counts = table["representation"].value_counts().to_dict()
    assert counts == {"lamar": 4, "linear_probe": 3, "one_hot": 2, "gc": 1, "dinucleotide": 1, "4mer": 1}
    assert table.query("representation == 'linear_probe'")["chosen"].sum() == 1
    assert table.query("representation == 'lamar'")[["layer", "repeat"]].to_numpy().tolist() == [
        [2, 0],
        [2, 1],
        [1, 0],
        [1, 1],
    ]
    # One pass of the encoder gives the CNN's layers and those of the probes.
    assert [call for call in whole if call[0] not in ("one_hot", "lamar")] == [
        ((2, "none"), (1, "none"), (0, "mean"), (1, "mean"), (2, "mean"))
    ]
    # Seeds of repeats: seed + repeat, the same for every representation.
    assert [call for call in whole if call[0] in ("one_hot", "lamar")] == [
        ("one_hot", 5),
        ("one_hot", 6),
        *[("lamar", 5), ("lamar", 6)] * 2,
    ]
    predictions = pd.read_csv(tmp_path / "whole" / "predictions.csv", dtype={"layer": object})
    assert len(predictions) == len(table) * len(parts.test)
    first = predictions[(predictions["representation"] == "one_hot") & (predictions["repeat"] == 1)]
    assert auroc(first["label"], first["probability"]) == pytest.approx(
        table.query("representation == 'one_hot' and repeat == 1")["auroc"].item()
    )

    # Killed in the middle, and started again: only what was missing, to the same tables.
    calls: list = []
    with pytest.raises(KeyboardInterrupt):
        run_all(tmp_path / "killed", parts, encoder, calls, fail_at=5)
    again: list = []
    run_all(tmp_path / "killed", parts, encoder, again)
    assert ("one_hot", 5) not in again
    assert ("lamar", 5) in again
    for name in ("predictions.csv", "split_report.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    third: list = []
    run_all(tmp_path / "killed", parts, encoder, third)
    assert third == []


def test_draws_are_the_same_for_every_method_and_differ_between_repeats(tmp_path, encoder):
    parts = prepare(made_up(), "given")
    trained: list = []
    run_all(tmp_path / "few", parts, encoder, [], trained=trained, subsample_pos=20, subsample_neg=30)
    by_seed = {seed: [rest for s, *rest in trained if s == seed] for seed in (5, 6)}
    for seed, records in by_seed.items():
        assert records == [records[0]] * 3  # one-hot and the two layers
        train, validation, test = records[0]
        assert np.bincount(parts.labels[train + validation]).tolist() == [30, 20]
        assert len(validation) == 5
        assert set(train + validation) <= set(parts.train.tolist())
        assert not set(train) & set(validation)
        assert test == parts.test.tolist()
        drawn = draw_training(parts, 20, 30, seed)
        assert (drawn.train.tolist(), drawn.validation.tolist()) == (train, validation)
    assert by_seed[5] != by_seed[6]
    table = pd.read_csv(tmp_path / "few" / "results.csv")
    counts = table["representation"].value_counts().to_dict()
    assert counts == {"lamar": 4, "linear_probe": 6, "one_hot": 2, "gc": 2, "dinucleotide": 2, "4mer": 2}
    assert set(table["n_train"]) == {45}
    assert table.query("representation == 'linear_probe'").groupby("repeat")["chosen"].sum().tolist() == [1, 1]
    # What is not seeded differs between repeats because its records do.
    assert table.query("representation == '4mer'")["auroc"].nunique() == 2
    again: list = []
    run_all(tmp_path / "few", parts, encoder, again, subsample_pos=20, subsample_neg=30)
    assert again == []


def test_draws_keep_groups_whole():
    dataset = made_up()
    # Ten clusters of 20 records, each with records of both classes.
    parts = replace(prepare(dataset, "random", seed=1), groups=np.arange(len(dataset)) // 20)
    for seed in range(20):
        drawn = draw_training(parts, 40, 30, seed)
        train, validation = (set(parts.groups[part].tolist()) for part in (drawn.train, drawn.validation))
        assert not train & validation
        assert np.bincount(parts.labels[np.concatenate([drawn.train, drawn.validation])]).tolist() == [30, 40]
        for part in (drawn.train, drawn.validation):
            assert set(parts.labels[part]) == {0, 1}


def test_groups_of_one_record_change_no_draw():
    parts = prepare(made_up(), "random", seed=1)
    assert parts.groups is None
    alone = replace(parts, groups=np.random.default_rng(0).permutation(200))
    for seed in range(5):
        for name in ("train", "validation", "test"):
            drawn = [getattr(draw_training(each, 30, 30, seed), name).tolist() for each in (parts, alone)]
            assert drawn[0] == drawn[1]


def test_draws_by_chromosome_validate_on_other_chromosomes():
    dataset = made_up()
    names = np.array([f"chr{i % 8}" for i in range(100)]).repeat(2)  # two neighbours, one of each class, on each
    parts = prepare(replace(dataset, chrom=names), "chromosome", test_chroms=["chr0"], dev_chroms=["chr1"])
    drawn = draw_training(parts, 30, 30, seed=3)
    train, validation, test = (set(names[part]) for part in (drawn.train, drawn.validation, drawn.test))
    assert test == {"chr0"}
    assert train | validation <= {f"chr{i}" for i in range(2, 8)}
    assert len(validation) >= 1
    assert not train & validation


def test_pooling_is_what_probes_read(tmp_path, encoder):
    parts, read = prepare(made_up(), "given"), {}
    for pooling in ("none", "max"):
        calls: list = []
        results = run_all(tmp_path / pooling, parts, encoder, calls, pooling=pooling, no_cnn=True)
        read[pooling] = calls
        probes = [unit["row"] for unit in results["made"] if unit["row"]["representation"] == "linear_probe"]
        assert {row["pooling"] for row in probes} == {"mean" if pooling == "none" else "max"}
    assert read == {"none": [((0, "mean"), (1, "mean"), (2, "mean"))], "max": [((0, "max"), (1, "max"), (2, "max"))]}


def test_variants_without_weights(tmp_path, caplog):
    from LAMAR.configuration import named_config

    weights = {"Pretrained": tmp_path / "absent", "TAPT": None}
    settings = {"config": named_config("lamar-tiny"), "layers": None, "seed": 3}
    (only,) = open_variants(["Pretrained", "TAPT", "Random"], weights, named=set(), **settings)
    assert only.name == "Random"
    assert only.layers == (2, 1)
    assert "variant Pretrained left out: no weights at" in caplog.text
    with pytest.raises(InputError, match="`pretrained_weights`: found no weights at"):
        open_variants(["Pretrained", "Random"], weights, named={"Pretrained"}, **settings)
    with pytest.raises(InputError, match="`variants`: found weights for none"):
        open_variants(["Pretrained"], weights, named=set(), **settings)
    (same,) = open_variants(["Random"], weights, named=set(), **settings)
    (other,) = open_variants(["Random"], weights, named=set(), **(settings | {"seed": 4}))
    assert same.digest == only.digest != other.digest


def test_random_takes_the_shape_of_the_weights_and_another_shape_is_said(tmp_path, caplog):
    from LAMAR.checkpoints import load_pretrained
    from LAMAR.configuration import named_config
    from LAMAR.modeling_nucESM2 import EsmForMaskedLM

    model, _ = load_pretrained(EsmForMaskedLM, "", config=named_config("lamar-tiny"))
    model.save_pretrained(tmp_path / "weights")
    found = open_variants(
        ["Random", "Pretrained"], {"Pretrained": tmp_path / "weights"}, named=set(), config=None, layers=[-1], seed=1
    )
    assert [variant.name for variant in found] == ["Random", "Pretrained"]
    assert found[0].model.config.hidden_size == found[1].model.config.hidden_size == 64
    assert found[0].digest != found[1].digest
    assert "different shapes" not in caplog.text
    model, _ = load_pretrained(EsmForMaskedLM, "", config=named_config("lamar-tiny", num_hidden_layers=2))
    model.save_pretrained(tmp_path / "others")
    paths = {"Pretrained": tmp_path / "weights", "TAPT": tmp_path / "others"}
    open_variants(["Pretrained", "TAPT"], paths, named=set(), config=None, layers=[-1], seed=1)
    assert "variants of different shapes (Pretrained 3 x 64, TAPT 2 x 64)" in caplog.text


def test_demo_sets_load(repo_root):
    folder = repo_root / "demo" / "data" / "labelled"
    if not folder.is_dir():
        pytest.skip("the demo set is not built")
    assert {s.name for s in find_sets(folder)} == {"PUM2", "QKI", "IRPSYN"}
    assert load_labelled(folder, name="QKI").name == "QKI"
