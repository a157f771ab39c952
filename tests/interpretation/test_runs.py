"""Whole runs as a notebook calls them: a model and records in, a folder and results out."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from toy_classifiers import Linear

from LAMAR.checkpoints import build_model
from LAMAR.configuration import named_config
from LAMAR.errors import InputError
from LAMAR.interpretation.analyses import MASKED_LM, resolve_analyses
from LAMAR.interpretation.attribution_run import VariantOptions, run_attribution, run_variants
from LAMAR.interpretation.dependency import dependency_map
from LAMAR.interpretation.dependency_run import DependencyJob, MapOptions, run_dependency
from LAMAR.interpretation.explanation_files import ReportOptions
from LAMAR.interpretation.explanations import ExplainOptions, explain
from LAMAR.interpretation.run_record import RunRecord, refuse_left_out, warn_of_length
from LAMAR.interpretation.variant_effects import COLUMNS, variant_effects
from LAMAR.modeling_nucESM2 import EsmForMaskedLM
from LAMAR.runs.records import digest

RECORDS = [("one", "ACGTNACGGT"), ("two", "TTGACA"), ("unknown", "NNN")]
QUICK = ReportOptions(n_figures=0)


def table(path: Path) -> list[dict]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_attribution_of_a_model_in_memory(tmp_path):
    model, options = Linear(), ExplainOptions(methods=("mutagenesis", "gradient"))
    result = run_attribution(model, RECORDS, tmp_path / "out", options, report=QUICK)
    assert result.left_out == {"unknown": "found only N, wanted nucleotides"}
    assert result.motif is None
    wanted = explain(model, RECORDS[:2], options)
    assert [one.record for one in result.explanations] == ["one", "two"]
    for one, other in zip(result.explanations, wanted):
        np.testing.assert_array_equal(one.effects["logit"], other.effects["logit"])
    assert {file.name for file in (tmp_path / "out").glob("*.csv")} == {
        f"{name}.csv" for name in ("records", "top", "mutagenesis", "gradient")
    }
    summary = json.loads((tmp_path / "out" / "run.json").read_text())["summary"]
    assert summary["records"] == 2
    with pytest.raises(InputError, match=r"record unknown: found only N.* \(the first of 1 records left out; 2 were"):
        refuse_left_out(result.left_out, len(RECORDS), "explained")


def test_nothing_is_written_when_nothing_can_be_explained(tmp_path):
    result = run_attribution(Linear(), RECORDS[2:], tmp_path / "out", ExplainOptions(methods=("gradient",)))
    assert (result.explanations, list(result.left_out)) == ([], ["unknown"])
    with pytest.raises(InputError, match="`step_size`: found 3"):
        run_attribution(Linear(), RECORDS, tmp_path / "out", ExplainOptions(methods=("window",), step_size=3))
    assert not (tmp_path / "out").exists()


def test_refused_options_leave_an_earlier_run_alone(tmp_path):
    options = ExplainOptions(methods=("gradient",))
    run_attribution(Linear(), RECORDS[:1], tmp_path, options, report=QUICK)
    before = (tmp_path / "gradient.csv").read_bytes()
    again = RunRecord(overwrite=True)
    with pytest.raises(InputError, match="`target`: found 7"):
        run_attribution(Linear(), RECORDS, tmp_path, ExplainOptions(methods=("gradient",), target=7), record=again)
    assert (tmp_path / "gradient.csv").read_bytes() == before


def test_variants_of_a_file_in_one_call(tmp_path):
    (tmp_path / "g.fa").write_text(">chr1\nACGTTGCAAGCTTACGGATCCATG\n")
    (tmp_path / "v.vcf").write_text("#CHROM\tPOS\tID\tREF\tALT\n1\t11\trs1\tC\tA,T\n1\t3\t.\tG\tC\n")
    model, files = Linear(), (tmp_path / "v.vcf", tmp_path / "g.fa")
    found = variant_effects(model, *files, strand="both", variant_window=9)
    assert tuple(found.columns) == COLUMNS
    assert found["id"].tolist() == ["rs1"] * 4 + ["1:3G>C"] * 2
    assert found["strand"].tolist() == ["+", "-"] * 3
    # logit[1] - logit[0] of the linear model, letter by letter: A 5, T 6, C 7, G 8 in the vocabulary.
    weight = (model.weight[..., 1] - model.weight[..., 0]).detach().numpy()
    first = found.iloc[0]
    position = first["window_position"] + 1
    assert first["effect"] == pytest.approx(weight[position, 5] - weight[position, 7], abs=1e-5)
    rows = run_variants(model, *files, tmp_path / "out", variants=VariantOptions("both", 9))
    assert [row["effect"] for row in rows] == found["effect"].tolist()
    assert [row["rank"] for row in rows] == found["rank"].tolist()
    assert len(table(tmp_path / "out" / "variants.csv")) == 6
    assert found.attrs["left_out"] == []
    assert not (tmp_path / "out" / "left_out.csv").exists()


def test_a_bad_variant_is_listed_and_rows_of_other_variants_are_computed_again(tmp_path):
    (tmp_path / "g.fa").write_text(">chr1\nACGTTGCAAGCTTACGGATCCATG\n")
    (tmp_path / "v.vcf").write_text("#CHROM\tPOS\tID\tREF\tALT\n1\t11\trs1\tC\tA\n1\t3\trs2\tC\tG\n1\t8\t.\tAA\tA\n")
    model, files, options = Linear(), (tmp_path / "v.vcf", tmp_path / "g.fa"), VariantOptions("+", 9)
    found = variant_effects(model, *files, variant_window=9)
    assert [(one["id"], one["reason"]) for one in found.attrs["left_out"]] == [("rs2", "reference_differs")]
    rows = run_variants(model, *files, tmp_path / "out", variants=options)
    assert [row["effect"] for row in rows] == found["effect"].tolist()
    assert [(one["place"], one["id"], one["alt"]) for one in table(tmp_path / "out" / "left_out.csv")] == [
        ("line 3", "rs2", "G")
    ]
    # Units of a version that left deletions out: their rows are those of other variants.
    unit = tmp_path / "out" / "units" / "variants 0.json"
    saved = json.loads(unit.read_text())
    saved["result"]["rows"].pop()
    saved["sha256"] = digest(saved["result"])
    unit.write_text(json.dumps(saved))
    assert run_variants(model, *files, tmp_path / "out", variants=options) == rows


def test_dependency_maps_of_a_model_in_memory(tmp_path):
    model = build_model(EsmForMaskedLM, named_config("lamar-tiny", num_hidden_layers=1), 0)
    analyses = resolve_analyses("dependency", ["masked-LM head"], "in memory", has_region=False)
    job = DependencyJob(maps=MapOptions(symmetrise=True), report=QUICK)
    result = run_dependency({MASKED_LM: model}, RECORDS, tmp_path / "out", analyses, job)
    assert list(result.left_out) == ["unknown"]
    assert [summary["record"] for summary in result.summaries["dependency"]] == ["one", "two"]
    with np.load(tmp_path / "out" / "maps" / "00002_two.npz") as arrays:
        wanted = dependency_map(model, RECORDS[1][1]).values
        np.testing.assert_allclose(arrays["map"], wanted, atol=1e-6)
        np.testing.assert_allclose(arrays["shown"], (wanted + wanted.T) / 2, atol=1e-6)


def test_long_sequences_are_counted_in_one_warning(caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_length(["A" * 1024, "A" * 1025, "A" * 1500], SimpleNamespace(max_position_embeddings=1026))
        warn_of_length(["A" * 1024], SimpleNamespace(max_position_embeddings=1026))
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("2 sequences are longer than 1024 nt, max_position_embeddings of the model")
