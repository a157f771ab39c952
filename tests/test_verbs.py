"""The public verbs: their examples run, results are those of the model called by hand, and mistakes are named."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import logging
import re

import numpy as np
import pytest
import torch
from notebook_folder import REPO, make_folder
from tiny_models import tiny

import LAMAR
from LAMAR import (
    EsmForMaskedLM,
    EsmForSequenceClassification,
    EsmModel,
    LamarTokenizer,
    dependency_map,
    embed,
    integrated_gradients,
    load_classifier,
    load_pretrained,
    mutagenesis,
    predict,
    read_labelled,
    variant_effects,
)
from LAMAR.errors import InputError

VERBS = (
    "load_pretrained load_classifier embed predict mutagenesis integrated_gradients dependency_map variant_effects "
    "finetune read_labelled"
).split()
SEQUENCES = ["GGCAUGUAUAUAGGC", "acgtacgtac", "NNACGTRYACGTACGTTTT", "A"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A notebook's folder with a classifier in models/PUM2/fold_0, fine-tuned for one epoch."""
    folder = make_folder(tmp_path_factory.mktemp("notebook"))
    weights = folder / "weights" / "lamar-mini"
    LAMAR.finetune(
        folder / "data" / "PUM2.csv", folder / "models", pretrain_path=weights, epochs=1, cv_folds=1, progress=False
    )
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def classifier(**fields) -> EsmForSequenceClassification:
    return tiny(EsmForSequenceClassification, head_type="mean", **fields)


def ids_of(sequence: str) -> torch.Tensor:
    return torch.tensor([LamarTokenizer()(sequence)["input_ids"]])


# ------------------------------------------------------------------------------------------------------- examples


@pytest.mark.parametrize("verb", VERBS)
def test_examples_run(verb, here):
    """With the weights that ship; the examples name files below the folder that a clone or a notebook is in."""
    function = getattr(LAMAR, verb)
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(function, verb, globs={})
    assert example.examples, "wanted an example"
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example)
    assert results.failed == 0


@pytest.mark.parametrize("verb", VERBS)
def test_docstrings_have_all_sections(verb):
    text = inspect.getdoc(getattr(LAMAR, verb))
    assert text.split("\n", 1)[0].endswith(".")
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert f"\n{section}\n{'-' * len(section)}\n" in text, section


@pytest.mark.slow
def test_the_readme_section_runs_as_a_notebook(tmp_path, monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    monkeypatch.chdir(make_folder(tmp_path))
    text = (REPO / "README.md").read_text(encoding="utf-8")
    section = text.split("\n## In a notebook\n")[1].split("\n## ")[0]
    cells = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(cells) == 5
    assert all(len(cell.splitlines()) <= 5 for cell in cells)
    names: dict = {}
    for cell in cells:
        exec(compile(cell, "README.md", "exec"), names)
    length = len(names["sequences"][4])
    assert names["vectors"].shape == (10, 256)
    assert {"value", "low", "high"} == set(names["result"].figures["out_of_fold"]["auroc"])
    assert names["probabilities"].shape == (10, 2)
    assert len(names["logo"].df) == length
    assert names["dependencies"].values.shape == (length, length)
    pyplot.close("all")


# ---------------------------------------------------------------------------------------------------- embeddings


def test_embeddings_are_those_of_the_model_by_hand():
    model = tiny(EsmModel)
    with torch.no_grad():
        hidden = [model(ids_of(s), output_hidden_states=True).hidden_states for s in SEQUENCES]
    for layer in (0, -1):
        index = layer % 3 + 1
        by_hand = [states[index][0, 1:-1].numpy() for states in hidden]
        np.testing.assert_allclose(embed(model, SEQUENCES, layer), [h.mean(0) for h in by_hand], atol=1e-5)
        np.testing.assert_allclose(embed(model, SEQUENCES, layer, "max"), [h.max(0) for h in by_hand], atol=1e-5)
        for found, wanted in zip(embed(model, SEQUENCES, layer, "none"), by_hand, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5)
    cls = [states[-1][0, 0].numpy() for states in hidden]
    np.testing.assert_allclose(embed(model, SEQUENCES, pooling="cls"), cls, atol=1e-5)


def test_embeddings_do_not_depend_on_company_case_or_alphabet():
    model = tiny(EsmModel)
    together = embed(model, SEQUENCES)
    assert together.dtype == np.float32
    for sequence, vector in zip(SEQUENCES, together):
        np.testing.assert_allclose(embed(model, [sequence.lower().replace("t", "u")])[0], vector, atol=1e-5)
    np.testing.assert_array_equal(embed(model, SEQUENCES, -3), embed(model, SEQUENCES, 0))


def test_a_path_and_its_model_give_the_same(here):
    model, _ = load_pretrained(EsmModel, "weights/lamar-mini")
    np.testing.assert_array_equal(embed("weights/lamar-mini", SEQUENCES), embed(model, SEQUENCES))
    model, _ = load_classifier("models/PUM2/fold_0")
    np.testing.assert_array_equal(predict(here / "models" / "PUM2", SEQUENCES), predict(model, SEQUENCES))


def test_the_model_is_left_as_it_was():
    model = classifier().train()
    model.esm.requires_grad_(False)
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    embed(model, SEQUENCES)
    predict(model, SEQUENCES)
    mutagenesis(model, SEQUENCES[:1])
    dependency_map(tiny(EsmForMaskedLM), SEQUENCES[0])
    assert model.training
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert all(parameter.grad is None for parameter in model.parameters())


# --------------------------------------------------------------------------------------------------- predictions


def logits_by_hand(model) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([model(ids_of(s), torch.ones_like(ids_of(s))).logits for s in SEQUENCES])


def test_predictions_are_probabilities_of_each_task():
    model = classifier(num_labels=3)
    found = predict(model, SEQUENCES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, logits_by_hand(model).softmax(1), atol=1e-5)
    model = classifier(num_labels=3, loss_type="bce")
    np.testing.assert_allclose(predict(model, SEQUENCES), logits_by_hand(model).sigmoid(), atol=1e-5)
    model = classifier(num_labels=1)
    assert predict(model, SEQUENCES).shape == (4,)
    np.testing.assert_allclose(predict(model, SEQUENCES), logits_by_hand(model)[:, 0], atol=1e-5)


def test_mutagenesis_agrees_with_predictions_of_mutants():
    model = classifier()
    (result,) = mutagenesis(model, ["ACGU"])
    probabilities = predict(model, ["ACGT", "CCGT", "ACGA"])[:, 1].astype(np.float64)
    log_odds = np.log(probabilities / (1 - probabilities))
    effects = result.effects()
    assert effects[0, 1] == pytest.approx(log_odds[1] - log_odds[0], abs=1e-4)
    assert effects[3, 0] == pytest.approx(log_odds[2] - log_odds[0], abs=1e-4)
    assert effects[0, 0] == 0


def test_fine_tuning_learns_and_its_classifier_is_found(here):
    dataset = read_labelled("data/PUM2.csv")
    record = json.loads((here / "models" / "PUM2" / "run.json").read_text())
    assert record["status"] == "finished"
    assert predict("models/PUM2", dataset.sequences).shape == (60, 2)


def test_a_collapsed_classifier_is_warned_of(tmp_path, caplog):
    model = classifier(head_trained=True)
    model.save_pretrained(tmp_path)
    load_classifier(tmp_path)
    assert not caplog.records
    collapse = {"kind": "constant_predictions", "evidence": "all lie within 0"}
    (tmp_path / "eval_results.json").write_text(json.dumps({"collapsed": collapse}))
    with caplog.at_level(logging.WARNING):
        predict(tmp_path, SEQUENCES)
    assert "constant_predictions" in caplog.text


def test_labelled_sets_of_three_classes_and_of_several_labels_are_read(tmp_path):
    (tmp_path / "three.csv").write_text("sequence,label\nACGT,0\nACGA,2\n")
    assert read_labelled(tmp_path / "three.csv", nlabels=3).labels.tolist() == [0, 2]
    (tmp_path / "several.csv").write_text("sequence,label\nACGT,0;1\nACGA,1;1\n")
    assert read_labelled(tmp_path / "several.csv", task="multilabel", nlabels=2).labels.tolist() == [[0, 1], [1, 1]]


# ------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: embed(model, "ACGT"), "`sequences`: found one string, wanted a list"),
        (lambda model: predict(model, "ACGT"), "`sequences`: found one string, wanted a list"),
        (lambda model: predict(model, ["ACGT"], scale="odds"), "`scale`: found 'odds', wanted one of probability,"),
        (lambda model: predict(model, ["ACGT"], scale="p_value"), "but the model has no calibration.json; wanted"),
        (lambda model: embed(model, ["ACGT", "AC-T"]), r"`sequences`: item 1: position 3: found '-'"),
        (lambda model: embed(model, ["ACGT", ""]), "`sequences`: item 1: found an empty sequence"),
        (lambda model: embed(model, ["ACGT", None]), "`sequences`: item 1: found None, wanted a sequence as text"),
        (lambda model: predict(model, [float("nan")]), "`sequences`: item 0: found nan, wanted a sequence as text"),
        (lambda model: predict(model, None), "`sequences`: found None, wanted a list"),
        (lambda model: embed(model, ["ACGT"], layer=99), "`layer`: found 99, wanted -3 to 2"),
        (lambda model: embed(model, ["ACGT"], layer="top"), "`layer`: found 'top', wanted a whole number"),
        (lambda model: embed(model, ["ACGT"], layer=1.5), "`layer`: found 1.5, wanted a whole number"),
        (lambda model: embed("", ["ACGT"]), "`model`: found '', wanted a loaded model or the path"),
        (lambda model: predict(tiny(EsmModel), ["ACGT"]), "`model`: found EsmModel, wanted a fine-tuned classifier"),
        (lambda model: mutagenesis(tiny(EsmForMaskedLM), ["ACGT"]), "`model`: found EsmForMaskedLM, wanted a fine-t"),
        (lambda model: integrated_gradients(None, ["ACGT"]), "`model`: found NoneType, wanted a fine-tuned classifier"),
        (lambda model: dependency_map(model, "ACGT"), "`model`: found EsmForSequenceClassification, wanted EsmForMask"),
        (lambda model: dependency_map(tiny(EsmForMaskedLM), ["ACGT"]), r"`sequence`: found \['ACGT'\], wanted a sequ"),
        (lambda model: mutagenesis(model, ["ACGT"], region="1-3"), "`region`: found '1-3', wanted two whole numbers"),
        (lambda model: mutagenesis(model, ["ACGT"], region=(0.5, 2)), "`region`: found .*, wanted two whole numbers"),
        (lambda model: embed(model, ["ACGT"], pooling="median"), "`pooling`: found .?median"),
        (lambda model: embed(torch.nn.Linear(1, 1), ["ACGT"]), "`model`: found Linear, wanted EsmModel"),
        (lambda model: mutagenesis(model, ["ACGT"], target=2), "`target`: found 2, wanted a class from 0 to 1"),
        (lambda model: mutagenesis(model, ["ACGT"], region=(2, 9)), "`region`: found 2-9"),
        (lambda model: dependency_map(tiny(EsmForMaskedLM), "ACGT", reduction="min"), "`reduction`: found .?min"),
        (lambda model: embed("no/such/folder", ["ACGT"]), "no/such/folder: no such file or folder"),
        (lambda model: read_labelled("no/such/file.csv"), "no/such/file.csv"),
        (lambda model: variant_effects(model, "no.vcf", "no.fa"), r"no\.vcf"),
    ],
)
def test_mistakes_name_the_parameter_and_no_flag(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call(classifier())
    assert "--" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_the_head_is_refused(tmp_path):
    tiny(EsmModel).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="found no masked-LM head"):
        dependency_map(tmp_path, "ACGT")
    with pytest.raises(InputError, match="found no trained classification head"):
        predict(tmp_path, ["ACGT"])


# --------------------------------------------------------------------------------------------------- the package


def test_every_public_name_is_listed_and_found():
    assert set(VERBS) < set(LAMAR.__all__) == set(LAMAR._MODULES)
    assert set(LAMAR.__all__) < set(dir(LAMAR))
    for name, module in LAMAR._MODULES.items():
        assert getattr(LAMAR, name) is getattr(importlib.import_module(f"LAMAR.{module}"), name)
        assert name in importlib.import_module(f"LAMAR.{module}").__all__
    with pytest.raises(AttributeError, match="no attribute 'embedd'"):
        LAMAR.embedd  # noqa: B018
    with pytest.raises(ImportError, match="embedd"):
        from LAMAR import embedd  # noqa: F401


def test_names_are_known_before_torch_is_imported(run_python):
    code = (
        "import sys, LAMAR; assert 'embed' in dir(LAMAR);"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules);"
        "from LAMAR import EsmModel, read_labelled; print(EsmModel.__name__, read_labelled.__module__)"
    )
    assert run_python(code, LAMAR_LIGHT="1").split() == ["EsmModel", "LAMAR.verbs.models"]


def test_the_auto_classes_are_registered_by_import(run_python):
    code = (
        "import LAMAR; from transformers import AutoModel;"
        f"print(type(AutoModel.from_pretrained({str(REPO / 'weights' / 'lamar-mini')!r})).__name__)"
    )
    assert run_python(code, LAMAR_LIGHT="").split() == ["EsmModel"]
