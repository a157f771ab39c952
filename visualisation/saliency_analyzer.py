#!/usr/bin/env python
"""Explain a fine-tuned classifier's call nucleotide by nucleotide.

One sequence, or the records of a FASTA file:
    python visualisation/saliency_analyzer.py --model_path models/QKI/fold_0 --sequence ACTAACGT... --output_dir out
    python visualisation/saliency_analyzer.py --model_path models/QKI/fold_0 --seq_file sites.fa --output_dir out

Variants, on the strand that their column or --strand says:
    python visualisation/saliency_analyzer.py --model_path models/QKI/fold_0 --vcf variants.vcf --genome hg38.fa \\
        --strand - --output_dir out

Without arguments it explains held-out positives of the synthetic demo set with a small classifier of that set.

Methods: mutagenesis (every substitution), window (masked windows), gradient (saliency at the embeddings), integrated
(integrated gradients; needs the package captum). Tracks are importance: above 0, a nucleotide speaks for the class.

Outputs in OUTPUT_DIR: records.csv; METHOD.csv; top.csv; arrays/*.npz; figures/*_tracks and *_mutagenesis (PNG, SVG);
tracks/*.bedgraph where record names have coordinates (chr1:100-201(+)); with 10 records or more that the model calls,
aligned.csv, kmers.csv, seqlets.csv, motif.csv and figures of them; with --vcf variants.csv; run.json. A killed run goes
on where it stopped. Records that cannot be explained are left out, named at the end, and make the exit code 2.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # --help and errors of arguments come before the import of torch

from LAMAR.cli.arguments import (
    OneLineParser,
    add_method_arguments,
    log_training,
    not_negative,
    number,
    parse_or_demo,
    path,
    positive,
    region,
    target,
)
from LAMAR.cli.demo import NOTICE, REPOSITORY
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.errors import InputError

logger = logging.getLogger("saliency_analyzer")

METHODS = ("mutagenesis", "window", "gradient", "integrated")
# Arguments that variants alone and records alone read.
OF_VARIANTS = ("strand", "variant_window", "no_ranks")
OF_RECORDS = ("region", "methods", "motif_method", "kmer", "n_figures")
VARIANTS_PER_UNIT = 64
DEMO_RECORDS = 16
DEMO = {"n_steps": 64, "n_figures": 3, "output_dir": REPOSITORY / "demo" / "attribution"}


def build_parser() -> argparse.ArgumentParser:
    summary, _, epilog = __doc__.partition("\n\n")
    parser = OneLineParser(description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)

    what = parser.add_argument_group("what is explained")
    what.add_argument("--model_path", type=path, help="checkpoint folder of a fine-tuned classifier (fold_0 ...)")
    source = what.add_mutually_exclusive_group()
    source.add_argument("--sequence", help="one sequence (A C G T U N, either case)")
    source.add_argument("--seq_file", type=path, help="FASTA file, gzipped or plain")
    source.add_argument("--vcf", type=path, help="variants: VCF, or CSV/TSV with chrom, pos (from 1), ref, alt, strand")
    what.add_argument("--output_dir", type=path, help="folder of the results")
    what.add_argument("--region", type=region, help="START-END of every sequence, 0-based half-open (default: all)")
    what.add_argument("--target", type=target, help="class, or predicted (default: 1 of two classes, else predicted)")
    what.add_argument(
        "--score",
        choices=("log_odds", "logit", "probability"),
        help="what tracks are in; tables of mutagenesis have all three (default: log_odds; of regression the value)",
    )

    how = parser.add_argument_group("methods")
    how.add_argument("--methods", nargs="+", choices=(*METHODS, "all"), help="default: all")
    add_method_arguments(how)
    how.add_argument(
        "--tolerance",
        type=number(float, "more than 0 and less than 1", lambda value: 0 < value < 1),
        default=0.05,
        help="convergence delta, as a share of the difference to the baseline, above which the path is halved "
        "(default: %(default)s)",
    )
    how.add_argument("--n_shuffles", type=positive(int), default=10, help="for --baseline shuffle (default: 10)")

    over = parser.add_argument_group("variants")
    over.add_argument(
        "--genome", type=path, help="FASTA of the genome, or of regions with coordinates in their headers"
    )
    over.add_argument(
        "--strand",
        choices=("+", "-", "both"),
        help="of variants that say none; ref and alt stay letters of the plus strand, as a VCF has them (default: +)",
    )
    over.add_argument("--variant_window", type=positive(int), help="nt around a variant (default: 101)")
    over.add_argument("--no_ranks", action="store_true", help="do not rank among the window's substitutions; faster")

    many = parser.add_argument_group("many records")
    many.add_argument("--kmer", type=number(int, "2 to 8", lambda k: 2 <= k <= 8), help="default: 5")
    many.add_argument("--motif_method", choices=METHODS, help="method that motifs are taken from (default: the first)")

    output = parser.add_argument_group("run")
    output.add_argument(
        "--top", type=not_negative(int), default=10, help="positions in top.csv and shaded (default: 10)"
    )
    output.add_argument("--n_figures", type=not_negative(int), help="records that are drawn (default: 20)")
    output.add_argument("--batch_tokens", type=positive(int), help="tokens of a batch (default: by device)")
    output.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: a GPU when there is one)")
    output.add_argument("--seed", type=not_negative(int), default=42, help="of shuffles (default: %(default)s)")
    output.add_argument("--interactive", action="store_true", help="ask for what is missing")
    output.add_argument("--overwrite", action="store_true", help="start the run in --output_dir anew")
    return parser


class SaliencyAnalyzer:
    """A fine-tuned classifier and the methods that explain it.

    Parameters
    ----------
    model_path
        Checkpoint folder; :class:`LAMAR.errors.InputError` for one without a trained head.
    options
        :class:`LAMAR.interpretation.explanations.ExplainOptions`; None for their defaults.
    """

    def __init__(self, model_path: str | Path, options=None):
        from LAMAR.devices import choose_device
        from LAMAR.interpretation.classifiers import load_classifier
        from LAMAR.interpretation.explanations import ExplainOptions, check_options
        from LAMAR.training.collapse import warn_of_collapse

        self.options = options or ExplainOptions()
        self.model, self.report = load_classifier(model_path)
        self.collapsed = warn_of_collapse(model_path, "its explanations say")
        choose_device(self.model, self.options.device)
        check_options(self.model.config, self.options)

    def refuse(self, sequence: str) -> str | None:
        """Why a normalized sequence cannot be explained, or None."""
        from LAMAR.interpretation.classifiers import unexplainable

        size = self.options.window_size if "window" in self.options.methods else None
        return unexplainable(sequence, self.model.config, window_size=size, region=self.options.region)

    def explain(self, records: Sequence[tuple[str, str]], progress: str | None = None) -> list:
        """:class:`LAMAR.interpretation.explanations.Explanation` of each record of (name, normalized sequence)."""
        from LAMAR.interpretation.explanations import explain

        return explain(self.model, records, self.options, progress)

    def score_variants(self, placed: Sequence, ranks: bool = True, progress: str | None = None) -> list[dict]:
        """Rows of the variants' table, see :func:`LAMAR.interpretation.variant_effects.score_variants`."""
        from LAMAR.interpretation.variant_effects import score_variants

        options = self.options
        return score_variants(
            self.model,
            placed,
            target=options.target,
            scale=options.scale,
            ranks=ranks,
            token_budget=options.token_budget,
            device=options.device,
            progress=progress,
        )


def ask(arguments: argparse.Namespace) -> None:
    """Ask on the terminal for what was not given."""

    def answer(question: str) -> str:
        try:
            text = input(f"{question}: ").strip()
        except EOFError:  # no terminal, or Ctrl-D
            text = ""
            print()  # the error is a line of its own, not the rest of the question's
        if not text:
            raise InputError(f"--interactive: found no answer, wanted the {question}")
        return text

    if arguments.model_path is None:
        arguments.model_path = Path(answer("checkpoint folder of the classifier"))
    if not (arguments.sequence or arguments.seq_file or arguments.vcf):
        arguments.sequence = answer("sequence")
    if arguments.output_dir is None:
        arguments.output_dir = Path(answer("folder for the results"))


def complete(arguments: argparse.Namespace) -> None:
    """Fill in the demo's values, and refuse what cannot work before anything heavy is imported."""
    if arguments.interactive:
        ask(arguments)
    is_given = arguments.sequence is not None or arguments.seq_file is not None or arguments.vcf is not None
    if arguments.demo and is_given:
        raise InputError("--model_path: not given, wanted the checkpoint folder of a fine-tuned classifier")
    unread = OF_VARIANTS if arguments.vcf is None else OF_RECORDS
    for name in unread:
        value = getattr(arguments, name)
        if value is not None and value is not False:
            found = "goes with --vcf, found none" if arguments.vcf is None else "given, but not read with --vcf"
            raise InputError(f"--{name}: {found}; leave it out")
    arguments.strand, arguments.variant_window = arguments.strand or "+", arguments.variant_window or 101
    arguments.kmer = 5 if arguments.kmer is None else arguments.kmer
    arguments.n_figures = 20 if arguments.n_figures is None else arguments.n_figures
    asked = arguments.methods or ["all"]
    arguments.methods = [name for name in METHODS if name in asked or "all" in asked]
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


def input_records(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """Names and normalized sequences of what is explained; none for variants."""
    if arguments.vcf:
        return []
    if arguments.demo:
        from LAMAR.cli.demo_model import demo_heldout

        return demo_heldout(DEMO_RECORDS)
    from LAMAR.data.records import read_records

    return read_records(arguments.sequence, arguments.seq_file)


def open_run(arguments: argparse.Namespace, analyzer: SaliencyAnalyzer, inputs: Sequence[Path]):
    from LAMAR import runs

    unrecorded = ("overwrite", "interactive", "demo", "device", "batch_tokens", "output_dir")
    return runs.RunFolder.open(
        arguments.output_dir,
        arguments={name: value for name, value in vars(arguments).items() if name not in unrecorded},
        seed=arguments.seed,
        inputs=inputs,
        weights={"model_path": str(arguments.model_path), "sha256": analyzer.report.sha256},
        overwrite=arguments.overwrite,
    )


def run(arguments: argparse.Namespace) -> None:
    complete(arguments)
    if arguments.demo:
        from LAMAR.cli.demo_model import demo_classifier

        arguments.model_path = demo_classifier()
    records = input_records(arguments)

    from LAMAR.interpretation.explanation_files import explain_records, write_motifs, write_tables
    from LAMAR.interpretation.explanations import ExplainOptions

    taken = "methods target region window_size step_size n_steps tolerance baseline n_shuffles seed device".split()
    options = {name: getattr(arguments, name) for name in taken}
    if arguments.vcf:
        options["methods"] = ()
    options = ExplainOptions(**options, scale=arguments.score, token_budget=arguments.batch_tokens)
    analyzer = SaliencyAnalyzer(arguments.model_path, options)
    if arguments.vcf:
        run_variants(arguments, analyzer)
        return
    refused = {name: reason for name, sequence in records if (reason := analyzer.refuse(sequence))}
    for name, reason in refused.items():
        logger.warning("left out: record %s: %s", name, reason)
    kept = [record for record in records if record[0] not in refused]
    if kept:
        notice = " (SYNTHETIC demo data)" if arguments.demo else ""
        with open_run(arguments, analyzer, [arguments.seq_file] if arguments.seq_file else []) as folder:
            explanations = explain_records(
                folder,
                kept,
                analyzer.explain,
                n_figures=arguments.n_figures,
                top=arguments.top,
                notice=notice,
                progress=sys.stderr.isatty(),
            )
            write_tables(folder, explanations, arguments.methods, arguments.top)
            method = arguments.motif_method or arguments.methods[0]
            motifs = write_motifs(folder, explanations, arguments.methods, method, arguments.kmer, notice)
            summary = {"records": len(kept), "left_out": refused, "motif": motifs}
            folder.finish({**summary, "collapsed": analyzer.collapsed})
        report(arguments, explanations, motifs)
    if refused:
        name, reason = next(iter(refused.items()))
        more = (
            f" (the first of {len(refused)} records left out; {len(kept)} were explained)" if len(records) > 1 else ""
        )
        raise InputError(f"record {name}: {reason}{more}")


def run_variants(arguments: argparse.Namespace, analyzer: SaliencyAnalyzer) -> None:
    from LAMAR.genomics.genome import open_genome
    from LAMAR.interpretation.variant_effects import COLUMNS, place_variants, read_variants
    from LAMAR.runs import storage

    most = analyzer.model.config.max_position_embeddings - 2
    if arguments.variant_window > most:
        raise InputError(
            f"--variant_window: found {arguments.variant_window}, wanted at most {most}, the model's context"
        )
    variants, n_left_out = read_variants(arguments.vcf, arguments.strand)
    with open_genome(arguments.genome) as genome:
        placed = place_variants(variants, genome, arguments.variant_window)
    # Counted as the file has them: on both strands, a variant is one.
    seen: dict[tuple, int] = {}
    numbers = [seen.setdefault((one.variant.source, one.variant.alt), len(seen) + 1) for one in placed]
    n_read = len(seen) + n_left_out
    left_out = f", {n_left_out} left out" if n_left_out else ""
    rows: list[dict] = []
    with open_run(arguments, analyzer, [arguments.vcf, arguments.genome]) as folder:
        for first in range(0, len(placed), VARIANTS_PER_UNIT):
            chunk, unit = placed[first : first + VARIANTS_PER_UNIT], f"variants {first}"
            last = numbers[first + len(chunk) - 1]
            if not folder.done(unit):
                label = f"variants {numbers[first]}-{last} of {n_read}" if sys.stderr.isatty() else None
                folder.save_unit(unit, {"rows": analyzer.score_variants(chunk, not arguments.no_ranks, label)})
                logger.info("scored %d of %d variants%s", last, n_read, left_out)
            rows += folder.load_unit(unit)["rows"]
        storage.write_csv(folder.file("variants.csv"), rows, COLUMNS)
        folder.finish({"variants": len(rows), "left_out": n_left_out, "collapsed": analyzer.collapsed})
    for row in sorted(rows, key=lambda row: -abs(row["effect"]))[: arguments.top]:
        rank = "" if row["rank"] is None else f", rank {row['rank']} of {row['n_substitutions']}"
        print(f"  {row['id']} ({row['strand']}): {row['score']} {row['effect']:+.3f}{rank}")
    print(f"results: {arguments.output_dir}")


def report(arguments: argparse.Namespace, explanations: Sequence, motifs: dict | None) -> None:
    """What a user wants to see first: the call, and the strongest positions of each method."""
    from LAMAR.interpretation.explanations import top_rows

    for found in explanations[:5]:
        print(f"  {found.record}: {found.scale} of class {found.target} {found.score():+.3f}")
        strongest: dict[str, list[str]] = {}
        for row in top_rows([found], min(arguments.top, 8)):
            strongest.setdefault(row["method"], []).append(f"{row['nucleotide']}{row['position']}")
        for method, positions in strongest.items():
            print(f"    {method:<12} {' '.join(positions)}")
    if len(explanations) > 5:
        print(f"  ... {len(explanations)} records in records.csv")
    if motifs:
        print(f"enriched k-mers ({motifs['method']}): {' '.join(motifs['kmers'])}; motif {motifs['consensus']}")
    print(f"results: {arguments.output_dir}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.interactive:
        arguments.demo = False
    else:
        arguments = parse_or_demo(parser, argv, DEMO, "model_path")
    log_training()
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
