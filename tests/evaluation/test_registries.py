"""One entry in a registry is enough: a new variant or baseline is in parser, run, tables, tests, figures and page."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from labelled_pairs import write_pair

from LAMAR.checkpoints import build_model
from LAMAR.cli.evaluation_arguments import build_evaluation_parser, encoder_options
from LAMAR.configuration import named_config
from LAMAR.errors import InputError
from LAMAR.evaluation import figures, geometry_figures
from LAMAR.evaluation.encoders import EncoderOptions, open_encoders
from LAMAR.evaluation.registries import REPRESENTATIONS, VARIANTS, Representation, Variant
from LAMAR.evaluation.report_html import build_report
from LAMAR.evaluation.report_tables import report_tables
from LAMAR.evaluation.results import read_results
from LAMAR.evaluation.run import SetOptions, evaluate_sets
from LAMAR.modeling_nucESM2 import EsmForMaskedLM


def by_first_letter(parts, name):
    """A baseline of one parameter: sequences that begin with G or C are positive."""
    scores = np.array([0.8 if sequence[0] in "GC" else 0.2 for sequence in parts.dataset.sequences])
    return scores[parts.test], 1


@pytest.fixture
def entries():
    """A variant and a baseline that nothing but the registries knows."""
    VARIANTS.add(Variant("Adapted", "adapted", colour="#123456", parameter="adapted_weights"))
    REPRESENTATIONS.add(
        Representation("first", "first letter", by_first_letter, colour="#654321", reference_line=(0, (5, 1)))
    )
    yield
    VARIANTS.remove("Adapted")
    REPRESENTATIONS.remove("first")


@pytest.fixture
def weights(tmp_path):
    build_model(EsmForMaskedLM, named_config("lamar-tiny"), seed=1).save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


def parse(*words):
    return build_evaluation_parser("A script.\n\nIts help.", VARIANTS.names).parse_args(list(map(str, words)))


def test_parser(entries, weights):
    arguments = parse("--variants", "Adapted", "--adapted_weights", weights)
    options = encoder_options(arguments, VARIANTS.names)
    assert options.weights == {"Adapted": weights}
    assert options.recorded()["adapted_weights"] == weights
    # The help is wrapped at spaces and hyphens.
    text = " ".join(build_evaluation_parser("A script.", VARIANTS.names).format_help().split()).replace("- ", "-")
    assert "--variants {Pretrained,TAPT,Random,Adapted}" in text
    assert "leave out GC, dinucleotide, 4-mer, first letter, one-hot CNN and linear probes" in text


def test_parser_without_the_entry(weights, capsys):
    with pytest.raises(SystemExit):
        parse("--adapted_weights", weights)
    assert "unrecognized arguments: --adapted_weights" in capsys.readouterr().err
    assert "adapted_weights" not in EncoderOptions().recorded()


def test_missing_weights_name_the_parameter_of_the_entry(entries, tmp_path):
    with pytest.raises(InputError, match="`adapted_weights`: found no weights, wanted a checkpoint for variant Ad"):
        open_encoders(EncoderOptions(variants=["Adapted"]), seed=1)


def test_run_tables_figures_and_page(entries, weights, tmp_path):
    (tmp_path / "sets").mkdir()
    for name in ("A", "B"):
        write_pair(tmp_path / "sets", name, 40, np.random.default_rng(ord(name)))
    encoders = EncoderOptions(variants=["Adapted", "Random"], weights={"Adapted": weights}, layers=[-1])
    rows = evaluate_sets(SetOptions(tmp_path / "sets"), tmp_path / "run", encoders, no_cnn=True, n_repeats=1)
    methods = {(row["representation"], row["variant"]) for row in rows}
    assert methods == {(name, "") for name in ("gc", "dinucleotide", "4mer", "first")} | {
        ("linear_probe", "Adapted"),
        ("linear_probe", "Random"),
    }
    results = read_results([tmp_path / "run"])
    pd.testing.assert_frame_equal(pd.DataFrame(rows)[["auroc"]], results.table[["auroc"]])
    # Composition first, in the order of the registry; variants from random to the last entry.
    assert results.methods == ["GC", "dinucleotide", "4-mer", "first letter", "adapted probe", "Random probe"]
    report = report_tables(results, n_boot=20)
    assert set(report.delong["method_b"]) == {"dinucleotide", "4-mer", "first letter", "Random probe"}
    assert set(report.delong.query("method_b == 'Random probe'")["method_a"]) == {"adapted probe"}
    assert set(report.composition["reference"]) == {"dinucleotide", "4-mer", "first letter"}
    assert "first letter" not in set(report.composition["method"])  # it is composition, no model

    boxes = figures.plot_boxes(results).axes[0]
    ticks = [label.get_text().split("  ")[0] for label in boxes.get_yticklabels()]
    assert ticks == results.methods
    bars = figures.plot_bars(results, report.summary)[0].axes[0]
    colours = {"#123456": "adapted probe", "#654321": "first letter"}
    for patch, method in zip(bars.patches, results.methods):
        assert (colours.get(to_hex(patch)) or method) == method
    assert {"#123456", "#654321"} <= {to_hex(patch) for patch in bars.patches}
    layers = figures.plot_layers(results).axes[0]
    lines = {line.get_label().partition(" (")[0]: line.get_color() for line in layers.lines}
    assert lines["adapted probe"] == "#123456"
    assert lines["first letter"] == "#654321"
    page = build_report(results, report, [])
    assert "adapted probe" in page
    assert "against one-hot CNN, dinucleotide, 4-mer, first letter on the same test records" in page


def to_hex(patch) -> str:
    from matplotlib.colors import to_hex

    return to_hex(patch.get_facecolor())


def test_geometry_figures(entries):
    spectra = {0: {"Adapted": [0.6, 0.4], "Random": [0.5, 0.5], "unknown": [0.9, 0.1]}}
    axis = geometry_figures.plot_spectra(spectra, "spectra").axes[0]
    colours = [line.get_color() for line in axis.lines if len(line.get_xdata()) > 1]
    assert colours == ["#123456", VARIANTS["Random"].colour, "#CC79A7"]
