"""The run of ``evalEmbeddings/depMaps/compute_dep_maps.py``: arguments checked and completed, the library called."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..errors import InputError
from ..interpretation.analyses import CLASSIFIER, MASKED_LM, Analysis, analysis_table, resolve_analyses
from .demo import NOTICE, REPOSITORY, demo_data
from .interpretation import load_explained, run_record, taken, warn_of_collapses

__all__ = ["complete", "map_dependencies"]

SHIPPED, DEMO_MODEL = REPOSITORY / "weights" / "lamar-mini", REPOSITORY / "demo" / "pretrain"
DEMO_RBP, DEMO_RECORDS = "IRPSYN", 2


def map_dependencies(arguments: argparse.Namespace, defaults: argparse.Namespace) -> None:
    """Run the analyses of the command line, and print what a user wants to see first.

    Parameters
    ----------
    arguments : Namespace
    defaults : Namespace
        Arguments of an empty command line, to tell which were given.

    Raises
    ------
    InputError
        For arguments that do not fit together, and at the end for records that were left out.
    """
    complete(arguments)
    records = _input_records(arguments)

    from ..checkpoint_files import stored_heads
    from ..interpretation.dependency_run import run_dependency
    from ..interpretation.run_record import refuse_left_out
    from ..runs.checkpoint_folders import checkpoints_of

    model_path = arguments.model_path
    heads = stored_heads(checkpoints_of(model_path)[0])
    analyses = resolve_analyses(arguments.analysis_type, heads, model_path, arguments.region is not None)
    _refuse_unread(arguments, defaults, analyses)
    models, sha256, collapsed = _load_models(arguments, analyses)
    result = run_dependency(
        models,
        records,
        arguments.output_dir,
        analyses,
        _job(arguments),
        record=run_record(arguments, [arguments.sequence_file] if arguments.sequence_file else [], sha256, collapsed),
    )
    if len(result.left_out) < len(records):
        for summary in result.summaries.get("dependency", [])[:5]:
            print(f"  {summary['record']}: {len(summary['stems'])} stems")
        print(f"results: {arguments.output_dir}")
    refuse_left_out(result.left_out, len(records), "mapped")


def complete(arguments: argparse.Namespace) -> None:
    """Fill in the defaults that depend on one another."""
    arguments.demo = arguments.sequence is None and arguments.sequence_file is None
    if arguments.demo:
        print(NOTICE)
        arguments.output_dir = arguments.output_dir or REPOSITORY / "demo" / "dep_maps"
    if arguments.output_dir is None:
        raise InputError("--output_dir: not given, wanted a folder for the results")
    if arguments.model_path is not None:
        return
    arguments.model_path = SHIPPED
    if not SHIPPED.is_dir():
        if not (arguments.demo and (DEMO_MODEL / "model.safetensors").is_file()):
            raise InputError(
                f"--model_path: not given, and the weights that ship are not there ({SHIPPED}); wanted a masked-LM "
                "checkpoint, such as the demo's: python finetune_scripts/pretrain.py"
            )
        arguments.model_path = DEMO_MODEL
        print(f"no {SHIPPED}; taking the demo's own model, which knows little: {DEMO_MODEL}")


def _input_records(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    from ..data.records import read_records

    if not arguments.demo:
        return read_records(arguments.sequence, arguments.sequence_file)
    sites = demo_data() / "labelled" / f"{DEMO_RBP}.positives.fa"
    return read_records(None, sites)[:DEMO_RECORDS]


def _refuse_unread(arguments: argparse.Namespace, defaults: argparse.Namespace, analyses: Sequence[Analysis]) -> None:
    """Raise `InputError` for an argument that only analyses of the other kind of model read."""
    models = {analysis.model for analysis in analyses}
    for analysis in analysis_table().values():
        if analysis.model in models:
            continue
        for name in analysis.options:
            if getattr(arguments, name, None) != getattr(defaults, name, None):
                done = ", ".join(one.name for one in analyses)
                raise InputError(
                    f"--{name}: given, but not read by {done}, all that is done with {arguments.model_path}; leave it "
                    "out"
                )


def _load_models(arguments: argparse.Namespace, analyses: Sequence[Analysis]):
    """Return the models by kind, the SHA-256 of the weights, and the kinds of collapses."""
    from ..checkpoints import load_pretrained
    from ..modeling_nucESM2 import EsmForMaskedLM

    kinds = {analysis.model for analysis in analyses}
    models, report, collapsed = {}, None, None
    if MASKED_LM in kinds:
        models[MASKED_LM], report = load_pretrained(EsmForMaskedLM, arguments.model_path)
    if CLASSIFIER in kinds:
        models[CLASSIFIER], report, collapsed = load_explained(arguments.model_path)
    else:
        collapsed = warn_of_collapses(arguments.model_path)
    return models, report.sha256, collapsed


def _job(arguments: argparse.Namespace):
    from ..interpretation.dependency_run import DependencyJob, MapOptions
    from ..interpretation.explanation_files import ReportOptions
    from ..interpretation.explanations import ExplainOptions

    maps = "reduction eps precision symmetrise apc logo min_stem stem_evalue".split()
    attribution = "target region window_size step_size n_steps baseline seed device".split()
    notice = " (SYNTHETIC demo data)" if arguments.demo else ""
    return DependencyJob(
        maps=MapOptions(**taken(arguments, maps)),
        explain=ExplainOptions(**taken(arguments, attribution), token_budget=arguments.batch_tokens),
        report=ReportOptions(top=arguments.top, n_figures=arguments.n_figures, notice=notice, progress=True),
    )
