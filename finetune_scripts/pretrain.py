#!/usr/bin/env python
"""Train LAMAR as a masked language model, from random weights or from a checkpoint.

From random weights, a laptop-sized model, for an hour:
    python finetune_scripts/pretrain.py --data_path transcripts.fa.gz --config lamar-mini --peak_lr 5e-4 \\
        --max_minutes 60 --output_dir models/mini

Task-adaptive (TAPT), on windows of preprocess.py, with their peaks hidden more often:
    python finetune_scripts/pretrain.py --data_path prep/clip_train.jsonl --val_data prep/clip_val.jsonl \\
        --pretrain_path models/mini --region_rates 0.3 0.1 --output_dir models/mini-tapt

Several processes (gloo on CPUs, NCCL on GPUs):
    torchrun --nproc_per_node 2 finetune_scripts/pretrain.py --data_path transcripts.fa.gz ...

Without arguments it trains a tiny model on the synthetic demo set.

15 % of the nucleotides are predicted; 80 % of these are hidden, 10 % replaced by a nucleotide, 10 % left. Special
tokens and N are neither predicted nor replaced. Long sequences are cut at another random offset in each pass. An
interrupted run goes on where it was when the same command is given again, and with --schedule trapezoid a larger
--max_steps or --max_minutes makes it longer, from the last checkpoint before the learning rate fell; a smaller one is
refused.

Held out are sequences drawn by a hash; training records that share 30 nt in a row with one of them, such as isoforms
and overlapping windows, are left out (--exclude_run). The validation loss is over the nucleotides of a fixed masking,
all of them hidden, with the best Markov chains of the training data beside it. A chain sees all other letters; at the
end the model is therefore also asked with an eighth of these positions hidden at a time.

Outputs, in OUTPUT_DIR: ``config.json``, ``model.safetensors``, tokenizer, ``training_args.bin``, ``eval_results.json``,
``run.json``, ``log.csv``, ``loss_curve.png``; ``checkpoints`` while it runs, and to make it longer.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # --help and errors of arguments come before the import of torch
    # Windows differ in length, and on CPUs each new shape of a bfloat16 product leaves megabytes of code in this cache.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "200")

from LAMAR.cli.arguments import (
    OneLineParser,
    add_model_arguments,
    add_precision_arguments,
    fraction,
    log_training,
    not_negative,
    number,
    parse_or_demo,
    path,
    positive,
)
from LAMAR.cli.errors import exit_on_input_error

logger = logging.getLogger("pretrain")

DEMO = {
    "config": "lamar-tiny",
    "model_max_length": 130,
    "val_fraction": 0.1,
    "token_budget": 2048,
    "max_steps": 240,
    "peak_lr": 3e-3,
    "logging_steps": 20,
    "save_steps": 80,
    "markov_order": 5,
    "output_dir": Path(__file__).resolve().parents[1] / "demo" / "pretrain",
}
SHAPE = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers")
TOKEN_BUDGET = 8_192
MAX_STEPS, UNLIMITED_STEPS, WARMUP_STEPS = 10_000, 10_000_000, 500
# May differ between starts: they change no weight, or (trapezoid) only where the run ends.
IGNORED = ("report_to", "logging_steps", "save_steps", "eval_steps", "output_dir")
END = ("max_steps", "max_minutes")
MODEL = "model"  # the unit of a run: the folder holds one model, however often it was made longer

share = number(float, "more than 0 and less than 1", lambda value: 0 < value < 1)


def build_parser() -> argparse.ArgumentParser:
    summary, _, epilog = __doc__.partition("\n\n")
    parser = OneLineParser(description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)

    data = parser.add_argument_group("data")
    data.add_argument(
        "--data_path",
        type=path,
        nargs="+",
        help="FASTA, text with a sequence a line, window metadata of preprocess.py (jsonl, json), CSV, TSV or Parquet "
        "with a column sequence, or folders of these; gzipped or plain (default: the synthetic demo set)",
    )
    data.add_argument(
        "--val_data", type=path, nargs="+", default=[], help="files to validate on, in any of these forms"
    )
    data.add_argument(
        "--val_fraction", type=share, default=0.02, help="else: share of the sequences held out (default: %(default)s)"
    )
    data.add_argument(
        "--val_nucleotides",
        type=positive(int),
        default=200_000,
        help="held-out nucleotides to validate on, at most about (default: %(default)s)",
    )
    data.add_argument(
        "--exclude",
        type=path,
        nargs="+",
        default=[],
        help="files of what must stay unseen, such as test sets",
    )
    data.add_argument(
        "--exclude_run",
        type=number(int, "0, or 12 to 1000", lambda value: value == 0 or 12 <= value <= 1000),
        default=30,
        help="leave out training records that share so many nt in a row with a validation sequence or one of "
        "--exclude; 0 leaves out only equals of validation sequences (default: %(default)s)",
    )
    data.add_argument(
        "--streaming",
        action="store_true",
        help="read the files anew in each pass instead of keeping them in memory; copies of a sequence then stay",
    )
    data.add_argument("--keep_duplicates", action="store_true", help="train on every copy of a sequence, not the first")
    data.add_argument(
        "--model_max_length",
        type=number(int, "10 or more", lambda value: 10 <= value < 2**31),
        default=512,
        help="most tokens of a window, two of them special; longer sequences are cut (default: %(default)s)",
    )

    model = parser.add_argument_group("model")
    add_model_arguments(model)
    for name in SHAPE:
        model.add_argument(f"--{name}", type=positive(int), help="instead of the configuration's")
    model.add_argument("--flash_attention", action="store_true", help="same as --attention flash")

    masking = parser.add_argument_group("masking")
    masking.add_argument("--mask_rate", type=share, default=0.15, help="share to predict (default: %(default)s)")
    masking.add_argument(
        "--val_mask_rate",
        type=share,
        default=0.15,
        help="share to predict in validation, where all of it is hidden (default: %(default)s)",
    )
    masking.add_argument(
        "--region_rates",
        type=positive(float),
        nargs=2,
        metavar=("INSIDE", "OUTSIDE"),
        help="predict more in the peaks of window metadata, in this ratio; each window's share stays --mask_rate",
    )
    masking.add_argument(
        "--span_length", type=positive(int), default=1, help="hide so many nucleotides in a row (default: 1)"
    )
    masking.add_argument(
        "--data_collator_patch", action="store_true", help="replace by nucleotides only (what happens anyway)"
    )

    training = parser.add_argument_group("training")
    size = training.add_mutually_exclusive_group()
    size.add_argument(
        "--token_budget",
        type=positive(int),
        help=f"tokens in a batch of one process, padding included (default: {TOKEN_BUDGET})",
    )
    size.add_argument(
        "--batch_size", type=positive(int), help="the same in windows of --model_max_length: that many of them"
    )
    training.add_argument("--accum_steps", type=positive(int), default=1, help="batches a step (default: 1)")
    training.add_argument(
        "--max_steps", type=positive(int), help=f"default: {MAX_STEPS}, or with --max_minutes no limit"
    )
    training.add_argument(
        "--max_minutes",
        type=positive(float),
        help="end after so much training, over all starts; a trapezoid's rate falls in time (default: no limit)",
    )
    training.add_argument("--peak_lr", type=positive(float), default=1e-4, help="learning rate (default: %(default)s)")
    training.add_argument(
        "--schedule",
        choices=("trapezoid", "linear"),
        default="trapezoid",
        help="after the warm-up: constant and then falling, or falling (default: %(default)s)",
    )
    training.add_argument(
        "--warmup_ratio", type=fraction, default=0.05, help="part of --max_steps with a rising rate (default: 0.05)"
    )
    training.add_argument(
        "--warmup_steps",
        type=not_negative(int),
        help=f"steps with a rising rate (default: by --warmup_ratio, or {WARMUP_STEPS} without --max_steps to go by)",
    )
    training.add_argument(
        "--decay_ratio", type=fraction, default=0.2, help="trapezoid: part of the steps with a falling rate (0.2)"
    )
    training.add_argument("--weight_decay", type=not_negative(float), default=0.01, help="default: %(default)s")
    training.add_argument("--grad_clipping_norm", type=positive(float), default=1.0, help="default: %(default)s")
    add_precision_arguments(training)
    training.add_argument("--compile", action="store_true", help="torch.compile")

    output = parser.add_argument_group("evaluation and output")
    output.add_argument(
        "--markov_order",
        type=number(int, "0 to 12", lambda value: 0 <= value <= 12),
        default=10,
        help="largest order of the Markov chains to compare with (default: %(default)s)",
    )
    output.add_argument("--output_dir", type=path, default=Path("models") / "pretrained", help="default: %(default)s")
    output.add_argument("--save_steps", type=positive(int), default=500, help="default: %(default)s")
    output.add_argument("--eval_steps", type=positive(int), help="default: --save_steps")
    output.add_argument("--logging_steps", type=positive(int), default=50, help="default: %(default)s")
    output.add_argument("--report_to", default="none", help="tensorboard, wandb ... (default: none)")
    output.add_argument("--seed", type=not_negative(int), default=42, help="default: %(default)s")
    again = output.add_mutually_exclusive_group()
    again.add_argument(
        "--resume_training", action="store_true", help="go on with an interrupted run (what happens anyway)"
    )
    again.add_argument("--overwrite", action="store_true", help="start the run in --output_dir anew")
    return parser


def parse_arguments(argv=None) -> argparse.Namespace:
    """Arguments; without --data_path, the demo set's values for everything not given."""
    arguments = parse_or_demo(build_parser(), argv, DEMO)
    if arguments.batch_size is not None:
        arguments.token_budget = arguments.batch_size * arguments.model_max_length
    arguments.token_budget = arguments.token_budget or TOKEN_BUDGET
    unlimited = arguments.max_steps is None and arguments.max_minutes is not None
    arguments.max_steps = arguments.max_steps or (UNLIMITED_STEPS if unlimited else MAX_STEPS)
    if arguments.warmup_steps is None:
        by_ratio = round(arguments.warmup_ratio * arguments.max_steps)
        arguments.warmup_steps = WARMUP_STEPS if unlimited else by_ratio
    arguments.eval_steps = arguments.eval_steps or arguments.save_steps
    return arguments


def check(arguments: argparse.Namespace) -> None:
    """Refuse combinations that cannot work, before anything is read or written."""
    from LAMAR.errors import InputError
    from LAMAR.tokenization import verify_vocabulary
    from LAMAR.training.trainers import check_precision, check_reporters

    check_precision(arguments.fp16, arguments.bf16)
    check_reporters(arguments.report_to)
    if arguments.exclude and not arguments.exclude_run:
        raise InputError("--exclude and --exclude_run 0: found both, wanted a length of shared runs")
    if arguments.region_rates and arguments.span_length > 1:
        raise InputError("--region_rates and --span_length: found both, wanted one")
    if arguments.span_length > arguments.model_max_length - 2:
        raise InputError(
            f"--span_length: found {arguments.span_length}, wanted at most the {arguments.model_max_length - 2} "
            "nucleotides of a window"
        )
    if arguments.token_budget < arguments.model_max_length:
        raise InputError(
            f"--token_budget: found {arguments.token_budget}, wanted --model_max_length "
            f"({arguments.model_max_length}) or more"
        )
    if arguments.flash_attention and arguments.attention not in ("auto", "flash"):
        raise InputError(f"--flash_attention and --attention {arguments.attention}: found both, wanted one")
    if arguments.tokenizer_path is not None:
        verify_vocabulary(arguments.tokenizer_path)


def build_model(arguments: argparse.Namespace):
    """The model to train and the report of its weights."""
    from LAMAR.checkpoints import config_argument, load_pretrained
    from LAMAR.configuration import EsmConfig
    from LAMAR.errors import InputError
    from LAMAR.flash_attn_patch import resolve_backend
    from LAMAR.modeling_nucESM2 import EsmForMaskedLM

    config = config_argument(arguments.config or ("" if arguments.pretrain_path else "lamar"))
    shape = {name: getattr(arguments, name) for name in SHAPE if getattr(arguments, name) is not None}
    if shape and config is not None:
        try:
            config = EsmConfig(**{**config.to_diff_dict(), **shape})
        except ValueError as error:
            raise InputError(f"--{next(iter(shape))}: {error}") from error
        shape = {}
    return load_pretrained(
        EsmForMaskedLM,
        arguments.pretrain_path,
        config=config,
        seed=arguments.seed,
        attention=resolve_backend("flash" if arguments.flash_attention else arguments.attention),
        **shape,
    )


def build_collator(arguments: argparse.Namespace, has_regions: bool):
    """The collator that the masking arguments ask for."""
    from LAMAR.data_collator_patch import MaskedLMCollator, RegionMaskedLMCollator
    from LAMAR.errors import InputError

    if not arguments.region_rates:
        return MaskedLMCollator(arguments.mask_rate, arguments.span_length, arguments.seed)
    if not has_regions:
        raise InputError("--region_rates: found no eclip_regions in --data_path, wanted metadata of preprocess.py")
    return RegionMaskedLMCollator(tuple(arguments.region_rates), arguments.mask_rate, arguments.seed)


def is_trained(trained: dict, arguments: argparse.Namespace) -> bool:
    """Whether a model that was trained for so many steps and minutes is at an end that is asked for.

    Raises
    ------
    InputError
        It is beyond one: what was trained longer is not replaced by what was trained less.
    """
    from LAMAR.errors import InputError

    limits = {name: getattr(arguments, name) for name in END if getattr(arguments, name) is not None}
    for name, limit in limits.items():
        if limit < trained[name]:
            raise InputError(
                f"--{name}: found {limit}, wanted {trained[name]} or more, for which the model in "
                f"{arguments.output_dir} was trained; use --overwrite or another --output_dir"
            )
    return any(limit == trained[name] for name, limit in limits.items())


def trained_for(result, arguments: argparse.Namespace) -> dict:
    """What :func:`is_trained` compares with: a limit that ended the training stands for what it took."""
    minutes, limit = round(result.seconds / 60, 4), arguments.max_minutes
    if limit is not None and (minutes > limit or result.steps < arguments.max_steps):
        minutes = limit
    return {"max_steps": result.steps, "max_minutes": minutes}


def run(arguments: argparse.Namespace) -> dict:
    """Train and evaluate; returns what ``eval_results.json`` holds."""
    from LAMAR.cli.demo import NOTICE, demo_data

    check(arguments)
    if arguments.demo:
        arguments.data_path = [demo_data() / "transcripts.fa"]
        logger.info("no --data_path given. %s", NOTICE)

    import torch
    import transformers
    from accelerate import PartialState

    from LAMAR import runs
    from LAMAR.data.corpora import read_corpus
    from LAMAR.data.corpus_files import corpus_files
    from LAMAR.training.figures import plot_loss_curve
    from LAMAR.training.masked_validation import (
        MaskedWindows,
        closing_table,
        evaluate,
        evaluate_sparsely,
        markov_figures,
    )
    from LAMAR.training.pretraining import PretrainOptions, pretrain
    from LAMAR.training.trainers import processes_argument
    from LAMAR.training.window_batches import TrainingBatches

    transformers.utils.logging.disable_progress_bar()
    processes = PartialState(cpu=not torch.cuda.is_available())
    model, report = build_model(arguments)
    room = arguments.model_max_length - 2
    corpus = read_corpus(
        arguments.data_path,
        val_fraction=arguments.val_fraction,
        val_paths=arguments.val_data,
        val_nucleotides=arguments.val_nucleotides,
        exclude_paths=arguments.exclude,
        exclude_run=arguments.exclude_run,
        seed=arguments.seed,
        streaming=arguments.streaming,
        keep_duplicates=arguments.keep_duplicates,
    )
    logger.info("%s", corpus.describe())
    validation = MaskedWindows(
        corpus.heldout,
        room,
        arguments.val_mask_rate,
        arguments.seed,
        arguments.val_nucleotides,
        arguments.token_budget,
    )
    batches = TrainingBatches(
        corpus,
        build_collator(arguments, corpus.has_regions),
        room,
        arguments.token_budget,
        arguments.seed,
        processes.process_index,
        processes.num_processes,
    )
    fields = {name: getattr(arguments, name) for name in PretrainOptions.__dataclass_fields__ if name != "progress"}
    options = PretrainOptions(**fields, progress=processes.is_main_process and sys.stderr.isatty())
    if not arguments.overwrite and (earlier := runs.RunFolder(arguments.output_dir, is_writer=False)).done(MODEL):
        is_trained(earlier.load_unit(MODEL)["trained"], arguments)
    may_differ = ("resume_training", "overwrite", "demo")
    run_folder = runs.RunFolder.open(
        arguments.output_dir,
        arguments={key: value for key, value in vars(arguments).items() if key not in may_differ}
        | processes_argument(processes.num_processes),
        seed=arguments.seed,
        inputs=[*corpus.files, *corpus_files(arguments.val_data), *corpus_files(arguments.exclude)],
        weights={"pretrain_path": str(arguments.pretrain_path), "sha256": report.sha256},
        overwrite=arguments.overwrite,
        ignore=IGNORED + ((*END, "warmup_ratio", "warmup_steps") if arguments.schedule == "trapezoid" else ()),
        is_writer=processes.is_main_process,
    )
    processes.wait_for_everyone()
    with run_folder:
        unit = run_folder.load_unit(MODEL) if run_folder.done(MODEL) else None
        if unit is not None and is_trained(unit["trained"], arguments):
            results = unit["results"]
            logger.info("trained earlier, nothing to do: %d steps", results["steps"])
        else:
            scratch, log_path = run_folder.folder("checkpoints", is_work=True), run_folder.file("log.csv")
            processes.wait_for_everyone()
            run_folder.drop_unit(MODEL)
            result = pretrain(model, batches, validation, options, scratch, log_path)
            results = {
                "steps": result.steps,
                "tokens": result.tokens,
                "passes": result.passes,
                "padding": result.padding,
                "tokens_per_s": result.tokens / max(result.seconds, 1e-9),
                "training_minutes": result.seconds / 60,
                "n_parameters": report.n_parameters,
                "n_windows": len(validation.windows),
                **evaluate(model, validation, processes.process_index, processes.num_processes),
                "sparsely": evaluate_sparsely(model, validation, processes.process_index, processes.num_processes),
                "corpus": corpus.counts,
            }
            if arguments.demo:
                results = {"data": NOTICE, **results}
            if processes.is_main_process:
                results["markov"] = markov_figures(corpus, validation, arguments.markov_order)
                title = f"{model.config.num_hidden_layers} x {model.config.hidden_size}"
                title += ", SYNTHETIC demo data" if arguments.demo else ""
                chains = {name: figures["loss"] for name, figures in results["markov"].items()}
                plot_loss_curve(result.rows, chains, run_folder.file("loss_curve.png"), title)
                write_checkpoint(model, results, scratch, run_folder)
            unit = {"trained": trained_for(result, arguments), "results": results}
            results = run_folder.save_unit(MODEL, unit)["results"]
            if processes.is_main_process and arguments.schedule == "linear":
                shutil.rmtree(scratch)  # nothing that a longer run could go on from
        run_folder.finish({key: results[key] for key in ("steps", "tokens", "loss", "accuracy")})
        processes.wait_for_everyone()
    if processes.is_main_process:
        logger.info(
            "%d steps, %s tokens, in pass %d over the corpus, %.0f tokens/s; %.2f %% padding",
            results["steps"],
            f"{results['tokens']:,}",
            results["passes"],
            results["tokens_per_s"],
            100 * results["padding"],
        )
        logger.info("%s", closing_table(results))
    if arguments.demo:
        logger.info(NOTICE)
    logger.info("outputs: %s", arguments.output_dir)
    return results


def write_checkpoint(model, results: dict, scratch: Path, run_folder) -> None:
    """Put the model, its tokenizer and its figures into the run's folder, each file as a whole."""
    from LAMAR.runs import storage
    from LAMAR.tokenization import LamarTokenizer

    staged = scratch / "final"
    shutil.rmtree(staged, ignore_errors=True)
    model.save_pretrained(staged)
    LamarTokenizer().save_pretrained(staged)
    shutil.copy2(scratch / "training_args.bin", staged)
    for file in sorted(staged.iterdir()):
        file.replace(run_folder.file(file.name))
    staged.rmdir()
    storage.write_json(run_folder.file("eval_results.json"), results)


def main(argv=None) -> int:
    arguments = parse_arguments(argv)
    log_training()
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
