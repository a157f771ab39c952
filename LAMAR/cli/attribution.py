"""The run of ``visualisation/saliency_analyzer.py``: its arguments checked and completed, the library called."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..interpretation.methods import METHODS
from .demo import NOTICE
from .interpretation import load_explained, run_record, taken

__all__ = ["complete", "explain"]

DEMO_RECORDS = 16
# Arguments that only variants read, and those that only records read.
VARIANT_ARGUMENTS = ("strand", "variant_window", "no_ranks")
RECORD_ARGUMENTS = ("region", "methods", "motif_method", "kmer", "n_figures")


def explain(arguments: argparse.Namespace) -> None:
    """Explain the records, or the variants, of the command line, and print what a user wants to see first.

    Raises
    ------
    InputError
        For arguments that do not fit together, and at the end for records that were left out.
    """
    complete(arguments)
    if arguments.demo:
        from .demo_model import demo_classifier

        arguments.model_path = demo_classifier()
    if arguments.vcf:
        _explain_variants(arguments)
    else:
        _explain_records(arguments)


def complete(arguments: argparse.Namespace) -> None:
    """Fill in defaults, and refuse what cannot work before anything heavy is imported."""
    if arguments.interactive:
        _ask(arguments)
    is_given = any(value is not None for value in (arguments.sequence, arguments.seq_file, arguments.vcf))
    if arguments.demo and is_given:
        raise InputError("--model_path: not given, wanted the checkpoint folder of a fine-tuned classifier")
    _refuse_unread(arguments)
    arguments.strand, arguments.variant_window = arguments.strand or "+", arguments.variant_window or 101
    arguments.kmer = 5 if arguments.kmer is None else arguments.kmer
    arguments.n_figures = 20 if arguments.n_figures is None else arguments.n_figures
    chosen = arguments.methods or ["all"]
    arguments.methods = [name for name in METHODS if name in chosen or "all" in chosen]
    if arguments.motif_method is not None and arguments.motif_method not in arguments.methods:
        raise InputError(f"--motif_method: found {arguments.motif_method}, which is not among --methods")
    if (arguments.vcf is None) != (arguments.genome is None):
        raise InputError("--vcf and --genome: found one of them, wanted both")
    if arguments.demo:
        print(NOTICE)
        return
    if not is_given:
        raise InputError("--sequence, --seq_file, --vcf: found none of them, wanted one")
    if arguments.output_dir is None:
        raise InputError("--output_dir: not given, wanted a folder for the results")


def _refuse_unread(arguments: argparse.Namespace) -> None:
    for name in VARIANT_ARGUMENTS if arguments.vcf is None else RECORD_ARGUMENTS:
        value = getattr(arguments, name)
        if value is not None and value is not False:
            problem = "goes with --vcf, found none" if arguments.vcf is None else "given, but not read with --vcf"
            raise InputError(f"--{name}: {problem}; leave it out")


def _ask(arguments: argparse.Namespace) -> None:
    """Ask on the terminal for arguments that were not given."""

    def answer(question: str) -> str:
        try:
            text = input(f"{question}: ").strip()
        except EOFError:  # no terminal, or Ctrl-D
            text = ""
            print()  # so that the error starts a new line after the question
        if not text:
            raise InputError(f"--interactive: found no answer, wanted the {question}")
        return text

    if arguments.model_path is None:
        arguments.model_path = Path(answer("checkpoint folder of the classifier"))
    if not (arguments.sequence or arguments.seq_file or arguments.vcf):
        arguments.sequence = answer("sequence")
    if arguments.output_dir is None:
        arguments.output_dir = Path(answer("folder for the results"))


def _options(arguments: argparse.Namespace):
    from ..interpretation.explanations import ExplainOptions

    names = "methods target region window_size step_size n_steps tolerance baseline n_shuffles seed device".split()
    return ExplainOptions(**taken(arguments, names), scale=arguments.score, token_budget=arguments.batch_tokens)


def _input_records(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    if arguments.demo:
        from .demo_model import demo_heldout

        return demo_heldout(DEMO_RECORDS)
    from ..data.records import read_records

    return read_records(arguments.sequence, arguments.seq_file)


def _explain_records(arguments: argparse.Namespace) -> None:
    records = _input_records(arguments)

    from ..interpretation.attribution_run import run_attribution
    from ..interpretation.explanation_files import ReportOptions
    from ..interpretation.run_record import refuse_left_out

    model, report, collapsed = load_explained(arguments.model_path)
    result = run_attribution(
        model,
        records,
        arguments.output_dir,
        _options(arguments),
        report=ReportOptions(
            top=arguments.top,
            shaded=arguments.top,
            n_figures=arguments.n_figures,
            notice=" (SYNTHETIC demo data)" if arguments.demo else "",
            progress=True,
        ),
        motif_method=arguments.motif_method,
        kmer=arguments.kmer,
        record=run_record(arguments, [arguments.seq_file] if arguments.seq_file else [], report.sha256, collapsed),
    )
    if result.explanations:
        _print_explanations(arguments, result.explanations, result.motif)
    refuse_left_out(result.left_out, len(records), "explained")


def _print_explanations(arguments: argparse.Namespace, explanations: Sequence, motif: dict | None) -> None:
    """Print the call and the strongest positions of the first records, and the motif."""
    from ..interpretation.attribution_tables import top_rows

    for explanation in explanations[:5]:
        print(f"  {explanation.record}: {explanation.scale} of class {explanation.target} {explanation.score():+.3f}")
        strongest: dict[str, list[str]] = {}
        for row in top_rows([explanation], min(arguments.top, 8)):
            strongest.setdefault(row["method"], []).append(f"{row['nucleotide']}{row['position']}")
        for method, positions in strongest.items():
            print(f"    {method:<12} {' '.join(positions)}")
    if len(explanations) > 5:
        print(f"  ... {len(explanations)} records in records.csv")
    if motif:
        print(f"enriched k-mers ({motif['method']}): {' '.join(motif['kmers'])}; motif {motif['consensus']}")
    print(f"results: {arguments.output_dir}")


def _explain_variants(arguments: argparse.Namespace) -> None:
    from ..interpretation.attribution_run import VariantOptions, run_variants
    from ..interpretation.explanation_files import ReportOptions

    model, report, collapsed = load_explained(arguments.model_path)
    rows = run_variants(
        model,
        arguments.vcf,
        arguments.genome,
        arguments.output_dir,
        _options(arguments),
        variants=VariantOptions(arguments.strand, arguments.variant_window, not arguments.no_ranks),
        report=ReportOptions(progress=True),
        record=run_record(arguments, [arguments.vcf, arguments.genome], report.sha256, collapsed),
    )
    for row in sorted(rows, key=lambda row: -abs(row["effect"]))[: arguments.top]:
        rank = "" if row["rank"] is None else f", rank {row['rank']} of {row['n_substitutions']}"
        print(f"  {row['id']} ({row['strand']}): {row['score']} {row['effect']:+.3f}{rank}")
    print(f"results: {arguments.output_dir}")
