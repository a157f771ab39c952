#!/usr/bin/env python
"""Which nucleotides depend on which: dependency maps of a masked language model, attribution maps of a classifier.

A masked-LM checkpoint, records of a FASTA file, one region marked and drawn on its own:
    python evalEmbeddings/depMaps/compute_dep_maps.py --model_path weights/lamar-mini --sequence_file sites.fa \\
        --region 30-70 --apc --logo --output_dir results/dep_maps

A fine-tuned classifier, the four attribution methods, and pairs of substitutions in a region:
    python evalEmbeddings/depMaps/compute_dep_maps.py --model_path models/QKI/fold_0 --sequence ACUAACGU... \\
        --analysis_type all --region 20-50 --output_dir results/qki

Without arguments it maps planted hairpins of the synthetic demo set with the weights that ship.

--analysis_type
    dependency    masked LM: change in log2 odds of each nucleotide when another is substituted; rows mutated, columns
                  affected (Tomaz da Silva et al., Nature Genetics 2025); stems in the map, in dot-bracket form
    mutagenesis, saliency, integrated, window
                  classifier: substitutions, gradient x input, integrated gradients, masked windows
    pairwise      classifier: what two substitutions in --region do beyond the sum of what each does, in logit
    both          classifier: mutagenesis and saliency
    all           all that the checkpoint's head allows; pairwise where --region is given (default)

Outputs in OUTPUT_DIR: maps (.npz) and figures (PNG, SVG) of each record, run.json, and of a masked LM influence.csv,
pairs.csv, stems.csv, structures.dbn; of a classifier records.csv, top.csv, a table per method, arrays, tracks,
pairwise.csv. Positions are 0-based. A killed run goes on where it was; records that cannot be mapped are left out and
named at the end.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # --help and errors of arguments come before the import of torch

from LAMAR.cli.arguments import (
    OneLineParser,
    add_method_arguments,
    not_negative,
    number,
    path,
    positive,
    region,
    target,
)
from LAMAR.cli.demo import NOTICE, REPOSITORY, demo_data
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.errors import InputError

logger = logging.getLogger("compute_dep_maps")

SHIPPED, DEMO_MODEL = REPOSITORY / "weights" / "lamar-mini", REPOSITORY / "demo" / "pretrain"
DEMO_RBP, DEMO_RECORDS = "IRPSYN", 2
SHADED = 10  # positions of each attribution track
# Analyses of a classifier and the methods' names in LAMAR.interpretation.explanations.
METHODS = {"mutagenesis": "mutagenesis", "saliency": "gradient", "integrated": "integrated", "window": "window"}
# Arguments that maps alone and attribution alone read.
OF_MAPS = ("reduction", "symmetrise", "apc", "eps", "logo", "min_stem", "stem_evalue", "precision")
OF_ATTRIBUTION = ("target", "window_size", "step_size", "n_steps", "baseline")
HEADS = {"masked-LM head": "masked LM", "classification head": "classifier"}


def build_parser() -> argparse.ArgumentParser:
    summary, _, epilog = __doc__.partition("\n\n")
    parser = OneLineParser(description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)

    what = parser.add_argument_group("what is mapped")
    what.add_argument(
        "--model_path", type=path, help="checkpoint folder, masked LM or classifier (default: what ships)"
    )
    source = what.add_mutually_exclusive_group()
    source.add_argument(
        "--sequence_file",
        "--seq_file",
        type=path,
        help="FASTA file, gzipped or plain (default: the demo set)",
    )
    source.add_argument("--sequence", help="one sequence (A C G T U N, either case)")
    what.add_argument("--output_dir", type=path, help="folder of the results")
    what.add_argument(
        "--analysis_type",
        choices=(*METHODS, "dependency", "pairwise", "both", "all"),
        default="all",
        help="default: %(default)s",
    )
    what.add_argument(
        "--region",
        type=region,
        help="START-END of every sequence, 0-based half-open: marked in maps and drawn on its own; what attribution "
        "and pairs are restricted to",
    )

    maps = parser.add_argument_group("dependency maps")
    maps.add_argument(
        "--reduction", choices=("max", "mean"), default="max", help="over substitutions x nucleotides (default: max)"
    )
    maps.add_argument("--symmetrise", action="store_true", help="draw and rank the mean of both directions")
    maps.add_argument("--apc", action="store_true", help="draw and rank with the average product correction")
    maps.add_argument(
        "--eps",
        type=number(float, "0 up to 0.01", lambda value: 0 <= value <= 0.01),
        nargs="?",
        const=1e-10,
        default=0.0,
        help="as the published code: softmax over the whole vocabulary, this added to each of the four probabilities, "
        "renormalised; without a value 1e-10 (default: log-softmax over the four)",
    )
    maps.add_argument("--logo", action="store_true", help="draw the model's prediction above maps of up to 130 nt")
    maps.add_argument("--min_stem", type=positive(int), default=3, help="base pairs of a stem (default: %(default)s)")
    maps.add_argument(
        "--stem_evalue",
        type=positive(float),
        default=0.05,
        help="stems as good expected by chance in a map, at most (default: %(default)s)",
    )
    maps.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="default: %(default)s")

    explained = parser.add_argument_group("attribution (see visualisation/saliency_analyzer.py)")
    explained.add_argument("--target", type=target, help="class, or predicted (default: 1 of two, else predicted)")
    add_method_arguments(explained)

    output = parser.add_argument_group("run")
    output.add_argument("--top", type=not_negative(int), default=100, help="pairs or positions listed (default: 100)")
    output.add_argument("--n_figures", type=not_negative(int), default=20, help="records that are drawn (default: 20)")
    output.add_argument("--batch_tokens", type=positive(int), help="tokens of a batch (default: by device)")
    output.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: a GPU when there is one)")
    output.add_argument("--seed", type=not_negative(int), default=42, help="of shuffled baselines (default: 42)")
    output.add_argument("--overwrite", action="store_true", help="start the run in --output_dir anew")
    return parser


def complete(arguments: argparse.Namespace) -> None:
    """Fill in the defaults that depend on one another."""
    arguments.demo = arguments.sequence is None and arguments.sequence_file is None
    if arguments.demo:
        print(NOTICE)
        arguments.output_dir = arguments.output_dir or REPOSITORY / "demo" / "dep_maps"
    if arguments.output_dir is None:
        raise InputError("--output_dir: not given, wanted a folder for the results")
    if arguments.model_path is None:
        arguments.model_path = SHIPPED
        if not SHIPPED.is_dir():
            if not (arguments.demo and (DEMO_MODEL / "model.safetensors").is_file()):
                raise InputError(
                    f"--model_path: not given, and the weights that ship are not there ({SHIPPED}); wanted a masked-LM "
                    "checkpoint, such as the demo's: python finetune_scripts/pretrain.py"
                )
            arguments.model_path = DEMO_MODEL
            print(f"no {SHIPPED}; taking the demo's own model, which knows little: {DEMO_MODEL}")


def resolve_analyses(wanted: str, heads: Sequence[str], path: Path, has_region: bool) -> list[str]:
    """Analyses that ``--analysis_type`` asks for; InputError for those that the checkpoint's head does not allow."""
    kinds = [HEADS[head] for head in heads]
    if not kinds:
        raise InputError(f"--model_path: {path} is an encoder without a head, wanted a masked LM or a classifier")
    of_classifier = [*METHODS, *(["pairwise"] if has_region else [])]
    if wanted == "all":
        return ["dependency"] * ("masked LM" in kinds) + (of_classifier if "classifier" in kinds else [])
    needed = "masked LM" if wanted == "dependency" else "classifier"
    if needed not in kinds:
        raise InputError(f"--analysis_type {wanted}: {path} is a {kinds[0]}, wanted a {needed}")
    if wanted == "pairwise" and not has_region:
        raise InputError("--region: not given, wanted START-END for --analysis_type pairwise")
    return ["mutagenesis", "saliency"] if wanted == "both" else [wanted]


def refuse_unread(arguments: argparse.Namespace, analyses: Sequence[str]) -> None:
    """InputError for an argument of maps where only a classifier is explained, or the other way round."""
    unread = () if "dependency" in analyses else OF_MAPS
    unread += () if set(analyses) - {"dependency"} else OF_ATTRIBUTION
    defaults = build_parser()
    for name in unread:
        if getattr(arguments, name) != defaults.get_default(name):
            done = f"{', '.join(analyses)}, all that is done with {arguments.model_path}"
            raise InputError(f"--{name}: given, but not read by {done}; leave it out")


def read_input(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    from LAMAR.data.records import read_records

    if not arguments.demo:
        return read_records(arguments.sequence, arguments.sequence_file)
    sites = demo_data() / "labelled" / f"{DEMO_RBP}.positives.fa"
    return read_records(None, sites)[:DEMO_RECORDS]


def run(arguments: argparse.Namespace) -> None:
    complete(arguments)
    records = read_input(arguments)

    from LAMAR import runs
    from LAMAR.checkpoints import stored_heads
    from LAMAR.interpretation.classifiers import load_classifier, unexplainable
    from LAMAR.training.collapse import warn_of_collapse

    path = arguments.model_path
    if path.is_dir() and not (path / "config.json").exists() and any(path.glob("fold_*/config.json")):
        load_classifier(path)  # refuses it: one of the folds is wanted
    analyses = resolve_analyses(arguments.analysis_type, stored_heads(path), path, arguments.region is not None)
    refuse_unread(arguments, analyses)
    options = explain_options(arguments, analyses)
    models = load_models(arguments, analyses, options)
    model, report = next(iter(models.values()))
    collapsed = warn_of_collapse(path, "its explanations say")
    size = arguments.window_size if "window" in analyses else None
    refused = {
        name: reason
        for name, sequence in records
        if (reason := unexplainable(sequence, model.config, window_size=size, region=arguments.region))
    }
    for name, reason in refused.items():
        logger.warning("left out: record %s: %s", name, reason)
    kept = [record for record in records if record[0] not in refused]
    unrecorded = ("overwrite", "demo", "device", "batch_tokens", "output_dir")
    if kept:
        with runs.RunFolder.open(
            arguments.output_dir,
            arguments={name: value for name, value in vars(arguments).items() if name not in unrecorded},
            seed=arguments.seed,
            inputs=[arguments.sequence_file] if arguments.sequence_file else [],
            weights={"model_path": str(path), "sha256": report.sha256},
            overwrite=arguments.overwrite,
        ) as folder:
            if "dependency" in models:
                write_dependencies(arguments, folder, models["dependency"][0], kept)
            if options.methods:
                write_explanations(arguments, folder, models["classifier"][0], kept, options)
            if "pairwise" in analyses:
                write_pairwise(arguments, folder, models["classifier"][0], kept)
            summary = {"records": len(kept), "analyses": analyses, "left_out": refused}
            folder.finish({**summary, "collapsed": collapsed})
        print(f"results: {arguments.output_dir}")
    if refused:
        name, reason = next(iter(refused.items()))
        more = f" (the first of {len(refused)} records left out; {len(kept)} were mapped)" if len(records) > 1 else ""
        raise InputError(f"record {name}: {reason}{more}")


def explain_options(arguments: argparse.Namespace, analyses: Sequence[str]):
    """Attribution methods among the analyses, and their options."""
    from LAMAR.interpretation.explanations import ExplainOptions

    taken = "target region window_size step_size n_steps baseline seed device".split()
    options = {name: getattr(arguments, name) for name in taken} | {"token_budget": arguments.batch_tokens}
    return ExplainOptions(methods=[METHODS[name] for name in analyses if name in METHODS], **options)


def load_models(arguments: argparse.Namespace, analyses: Sequence[str], options) -> dict:
    """Model and load report by kind; what would fail on the first record fails here."""
    from LAMAR.checkpoints import load_pretrained
    from LAMAR.devices import choose_device
    from LAMAR.interpretation.classifiers import load_classifier
    from LAMAR.interpretation.explanations import check_options
    from LAMAR.modeling_nucESM2 import EsmForMaskedLM

    models = {}
    if "dependency" in analyses:
        models["dependency"] = load_pretrained(EsmForMaskedLM, arguments.model_path)
    if set(analyses) - {"dependency"}:
        models["classifier"] = load_classifier(arguments.model_path)
        check_options(models["classifier"][0].config, options)
    for model, _ in models.values():
        choose_device(model, arguments.device)
    return models


def title_of(name: str, arguments: argparse.Namespace) -> str:
    return name + (" (SYNTHETIC demo data)" if arguments.demo else "")


# ------------------------------------------------------------------------------------------------ dependency maps


def write_dependencies(arguments: argparse.Namespace, folder, model, records: Sequence[tuple[str, str]]) -> None:
    """Map what is not mapped yet, record by record; arrays and figures on the way, tables at the end."""
    from LAMAR.data.records import record_stem
    from LAMAR.interpretation import dependency_files as files
    from LAMAR.runs import storage

    maps, blocks = folder.folder("maps"), folder.folder("blocks")
    shown = files.Shown(arguments.symmetrise, arguments.apc)
    remaining = files.Remaining(sum(files.map_tokens(len(sequence)) for _, sequence in records))
    options = {name: getattr(arguments, name) for name in ("reduction", "eps", "precision", "device")}
    stem_options = {"min_length": arguments.min_stem, "max_evalue": arguments.stem_evalue}
    results = []
    for i, (name, sequence) in enumerate(records):
        unit, stem = f"dependency {i}", record_stem(i, name)
        if folder.done(unit) and (maps / f"{stem}.npz").exists():
            results.append(folder.load_unit(unit))
            remaining.skip(files.map_tokens(len(sequence)))
            continue
        options["token_budget"] = arguments.batch_tokens
        options["progress"] = f"{i + 1} of {len(records)}" if sys.stderr.isatty() else None
        found = files.map_by_blocks(model, name, sequence, blocks / stem, remaining, **options)
        files.save_arrays(maps / f"{stem}.npz", name, sequence, found, shown)
        result = files.map_result(name, sequence, found, shown, arguments.top, **stem_options)
        if i < arguments.n_figures:
            figure = folder.folder("figures") / stem
            files.draw_maps(figure, result, found, shown, arguments.region, arguments.logo, title_of(name, arguments))
        results.append(folder.save_unit(unit, result))
        shutil.rmtree(blocks / stem)
    tables = {
        "influence": (files.INFLUENCE_COLUMNS, files.influence_rows),
        "pairs": (files.PAIR_COLUMNS, files.pair_rows),
        "stems": (files.STEM_COLUMNS, files.stem_rows),
    }
    for table, (columns, rows_of) in tables.items():
        rows = [row for result in results for row in rows_of(result)]
        storage.write_csv(folder.file(f"{table}.csv"), rows, columns)
    files.write_structures(folder.file("structures.dbn"), results)
    if len(records) > arguments.n_figures:
        logger.info("figures: drawn for %d of %d records (--n_figures)", arguments.n_figures, len(records))
    for result in results[:5]:
        print(f"  {result['record']}: {len(result['stems'])} stems")


# ---------------------------------------------------------------------------------------------------- classifiers


def write_explanations(arguments, folder, model, records: Sequence[tuple[str, str]], options) -> None:
    """Attribution of every record as visualisation/saliency_analyzer.py writes it: arrays, figures, tables, tracks."""
    from LAMAR.interpretation.explanation_files import explain_records, write_tables
    from LAMAR.interpretation.explanations import explain

    explanations = explain_records(
        folder,
        records,
        lambda chunk, label: explain(model, chunk, options, label),
        n_figures=arguments.n_figures,
        top=SHADED,
        notice=title_of("", arguments),
        progress=sys.stderr.isatty(),
    )
    write_tables(folder, explanations, options.methods, arguments.top)


def write_pairwise(arguments: argparse.Namespace, folder, model, records: Sequence[tuple[str, str]]) -> None:
    """Epistasis of pairs of substitutions in the region: a map and a figure of each record, one table."""
    import numpy as np

    from LAMAR.data.records import record_stem
    from LAMAR.interpretation.attribution import pairwise_mutagenesis
    from LAMAR.interpretation.dependency_figures import plot_map
    from LAMAR.interpretation.dependency_files import PAIRWISE_COLUMNS, pairwise_rows, place_arrays
    from LAMAR.runs import storage
    from LAMAR.runs.figures import save_figure

    maps, rows = folder.folder("maps"), []
    start, end = arguments.region
    for i, (name, sequence) in enumerate(records):
        unit, stem = f"pairwise {i}", record_stem(i, name)
        if not (folder.done(unit) and (maps / f"{stem}_pairwise.npz").exists()):
            label = f"{i + 1} of {len(records)}: pairs" if sys.stderr.isatty() else None
            options = {"target": arguments.target, "region": arguments.region, "device": arguments.device}
            options |= {"token_budget": arguments.batch_tokens, "progress": label}
            found = pairwise_mutagenesis(model, sequence, **options)
            values, place = found.strongest(None), place_arrays(name, len(sequence))
            arrays = {"epistasis": values, "start": np.array(start), "end": np.array(end)}
            arrays |= {"record": np.array(name), "sequence": np.array(sequence), **place}
            with storage.atomic_write(maps / f"{stem}_pairwise.npz", "wb") as handle:
                np.savez_compressed(handle, **arrays)
            if i < arguments.n_figures:
                title = title_of(f"{name}, class {found.singles.target}", arguments)
                label = "epistasis (logit), largest of 3 x 3"
                axes = ("position", "position")
                figure = plot_map(
                    values, sequence[start:end], label=label, title=title, signed=True, first=start, axis_labels=axes
                )
                save_figure(figure, folder.folder("figures") / f"{stem}_pairwise")
            folder.save_unit(unit, {"rows": pairwise_rows(name, sequence, start, values, arguments.top)})
        rows += folder.load_unit(unit)["rows"]
    storage.write_csv(folder.file("pairwise.csv"), rows, PAIRWISE_COLUMNS)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
