"""A method, and an analysis, are added in one place: parser, run, tables and figures show them."""

from __future__ import annotations

import csv
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from LAMAR import EsmForSequenceClassification, named_config
from LAMAR.checkpoints import build_model
from LAMAR.errors import InputError
from LAMAR.interpretation import attribution_figures
from LAMAR.interpretation.analyses import ANALYSES, Analysis, analysis_table, resolve_analyses
from LAMAR.interpretation.attribution_results import AttributionResult
from LAMAR.interpretation.classifiers import model_task
from LAMAR.interpretation.explanations import ExplainOptions, check_options
from LAMAR.interpretation.methods import METHODS, AttributionMethod

ROOT = Path(__file__).resolve().parents[2]
SITES = [f"ACGTTGCA{'ACGT'[i % 4]}GATTACA" for i in range(12)]


@dataclass(frozen=True)
class Guanine(AttributionResult):
    """Scores a G with the window size and anything else with 0."""

    window_size: int

    @property
    def sequence_logits(self) -> np.ndarray:
        return np.array([0.0, 1.0], dtype=np.float32)

    def columns(self, scale: str) -> dict[str, np.ndarray]:
        letters = np.array(list(self.sequence[self.start : self.end]))
        return {"guanine": np.where(letters == "G", self.window_size, 0).astype(np.float32)}


def guanine(model, sequences, *, window_size, target, region, token_budget, device, progress):
    """A method with one option; the class is 1 whatever the model says."""
    results = []
    for sequence in sequences:
        start, end = region or (0, len(sequence))
        results.append(Guanine(sequence, start, end, 1, model_task(model), window_size))
    return results


def refuse_thirteen(options) -> None:
    if options.window_size == 13:
        raise InputError("`window_size`: found 13, which brings bad luck")


@pytest.fixture
def dummy():
    entry = AttributionMethod(
        "guanine",
        "letters G counted",
        guanine,
        options=("window_size",),
        columns=("record", "position", "nucleotide", "guanine"),
        track="guanine",
        colour="#123456",
        check=refuse_thirteen,
    )
    METHODS.add(entry)
    yield entry
    METHODS.remove("guanine")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    config = named_config("lamar-tiny", num_hidden_layers=1, head_type="mean", head_trained=True)
    model = build_model(EsmForSequenceClassification, config, 0)
    model.classifier.out_proj.bias.data = torch.tensor([0.0, 3.0])
    folder = tmp_path_factory.mktemp("models") / "fold_0"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def fasta(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "sites.fa"
    path.write_text("".join(f">chr1:{100 * i}-{100 * i + 16}(+)\n{site}\n" for i, site in enumerate(SITES)))
    return path


def load_script(path: str):
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def table(path: Path) -> list[dict]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def choices(parser, flag: str) -> list[str]:
    return list(next(action.choices for action in parser._actions if flag in action.option_strings))


def note_axes(monkeypatch) -> list:
    """Axes of all figures of attributions that are drawn from now on, one array per figure."""
    drawn, new_figure = [], attribution_figures.new_figure

    def noting(*arguments, **options):
        figure, axes = new_figure(*arguments, **options)
        drawn.append(axes)
        return figure, axes

    monkeypatch.setattr(attribution_figures, "new_figure", noting)
    return drawn


def test_a_method_is_added_in_one_place(dummy, checkpoint, fasta, tmp_path, monkeypatch, capsys):
    script = load_script("visualisation/saliency_analyzer.py")
    parser = script.build_parser()
    assert choices(parser, "--methods") == ["mutagenesis", "window", "gradient", "integrated", "guanine", "all"]
    assert choices(parser, "--motif_method")[-1] == "guanine"
    drawn = note_axes(monkeypatch)
    words = ["--model_path", checkpoint, "--seq_file", fasta, "--output_dir", tmp_path / "out", "--n_figures", "1"]
    words += ["--methods", "guanine", "--window_size", "4", "--device", "cpu", "--kmer", "3"]
    assert script.main([str(word) for word in words]) == 0
    # Tables, arrays and genome tracks.
    rows = table(tmp_path / "out" / "guanine.csv")
    assert tuple(rows[0]) == dummy.columns
    assert [float(row["guanine"]) for row in rows[:4]] == [0, 0, 4, 0]
    assert {row["method"] for row in table(tmp_path / "out" / "top.csv")} == {"guanine"}
    assert {row["method"] for row in table(tmp_path / "out" / "aligned.csv")} == {"guanine"}
    with np.load(next((tmp_path / "out" / "arrays").iterdir())) as arrays:
        np.testing.assert_array_equal(arrays["guanine_guanine"][:4], [0, 0, 4, 0])
    assert (tmp_path / "out" / "tracks" / "guanine.plus.bedgraph").exists()
    # The run, and what it prints.
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["arguments"]["methods"] == ["guanine"]
    assert record["summary"]["motif"]["method"] == "guanine"
    assert "guanine" in capsys.readouterr().out
    # Figures: the logo track has the label, and the line of the aligned mean the colour.
    labels = [axis.get_ylabel() for axes in drawn for axis in axes.flat]
    assert labels.count("letters\nG\ncounted") == 2
    lines = [line for axes in drawn for axis in axes.flat for line in axis.get_lines()]
    assert "#123456" in [line.get_color() for line in lines if isinstance(line.get_color(), str)]


def test_a_method_is_an_analysis_of_dependency_maps_too(dummy, checkpoint, fasta, tmp_path):
    script = load_script("evalEmbeddings/depMaps/compute_dep_maps.py")
    wanted = ["mutagenesis", "saliency", "integrated", "window", "guanine", "dependency", "pairwise", "both", "all"]
    assert choices(script.build_parser(), "--analysis_type") == wanted
    words = ["--model_path", checkpoint, "--sequence_file", fasta, "--output_dir", tmp_path / "out"]
    words += ["--analysis_type", "guanine", "--n_figures", "0", "--device", "cpu"]
    assert script.main([str(word) for word in words]) == 0
    assert tuple(table(tmp_path / "out" / "guanine.csv")[0]) == dummy.columns
    assert json.loads((tmp_path / "out" / "run.json").read_text())["summary"]["analyses"] == ["guanine"]


def test_options_of_a_method_are_checked_and_counted_as_read(dummy, caplog):
    model = build_model(EsmForSequenceClassification, named_config("lamar-tiny", num_hidden_layers=1), 0)
    check_options(model, ExplainOptions(methods=["guanine"], window_size=3))
    assert not caplog.messages  # without the method, window_size would be reported as not used
    with pytest.raises(InputError, match="found 13, which brings bad luck"):
        check_options(model, ExplainOptions(methods=["guanine"], window_size=13))
    with pytest.raises(InputError, match="`methods`: found 'adenine', wanted one of mutagenesis, window"):
        check_options(model, ExplainOptions(methods=["adenine"]))


def write_lengths(folder, model, records, job) -> list[dict]:
    folder.file("lengths.txt").write_text("".join(f"{name} {len(sequence)}\n" for name, sequence in records))
    return [{"record": name} for name, _ in records]


@pytest.fixture
def dummy_analysis():
    ANALYSES.add(Analysis("lengths", "lengths of records", write_lengths))
    yield
    ANALYSES.remove("lengths")


def test_an_analysis_is_added_in_one_place(dummy_analysis, checkpoint, tmp_path):
    script = load_script("evalEmbeddings/depMaps/compute_dep_maps.py")
    assert "lengths" in choices(script.build_parser(), "--analysis_type")
    words = ["--model_path", checkpoint, "--sequence", "ACGTTGCA", "--output_dir", tmp_path / "out"]
    assert script.main([str(word) for word in (*words, "--analysis_type", "lengths", "--device", "cpu")]) == 0
    assert (tmp_path / "out" / "lengths.txt").read_text() == "sequence 8\n"
    names = [analysis.name for analysis in resolve_analyses("all", ["classification head"], "x", has_region=False)]
    assert names == ["mutagenesis", "saliency", "integrated", "window", "lengths"]


def test_all_is_what_the_heads_and_a_region_allow():
    both = ["masked-LM head", "classification head"]
    names = [analysis.name for analysis in resolve_analyses("all", both, "x", has_region=True)]
    assert names == ["dependency", "mutagenesis", "saliency", "integrated", "window", "pairwise"]
    assert [analysis.name for analysis in resolve_analyses("both", both, "x", False)] == ["mutagenesis", "saliency"]
    assert [one.name for one in resolve_analyses("all", both[:1], "x", has_region=True)] == ["dependency"]


def test_every_entry_can_be_loaded():
    for entry in METHODS.values():
        assert callable(entry.load())
        assert entry.track in entry.columns or entry.name == "mutagenesis"
    for entry in analysis_table().values():
        assert bool(entry.function) != bool(entry.method or entry.members)
        if entry.function:
            assert callable(entry.load())
