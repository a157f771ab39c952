"""Whole pre-training runs: from a corpus to a masked language model, its figures and its log in one folder."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from ..checkpoints import LoadReport, config_argument, load_pretrained
from ..configuration import EsmConfig
from ..data.corpora import Corpus, read_corpus
from ..data.corpus_files import corpus_files
from ..data_collator_patch import MaskedLMCollator, RegionMaskedLMCollator
from ..errors import InputError, counted
from ..flash_attn_patch import resolve_backend
from ..modeling_nucESM2 import EsmForMaskedLM
from ..runs import RunFolder, storage
from ..tokenization import verify_vocabulary
from .extended_runs import END, begin_training, earlier_results, open_run, save_results, write_checkpoint
from .figures import plot_loss_curve
from .masked_training import train_masked_lm
from .masked_validation import MaskedWindows, closing_table, evaluate, evaluate_sparsely, markov_figures
from .option_checks import check_numbers
from .pretrain_options import PretrainOptions
from .processes import (
    is_main_process,
    process_count,
    process_rank,
    start_processes,
    wait_for_everyone,
)
from .trainers import check_precision, check_reporters, without_file_bars
from .window_batches import TrainingBatches

__all__ = ["check_options", "pretrain"]

logger = logging.getLogger(__name__)

SHAPE = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers")
# May differ between the starts of a run: they change no weight, or (trapezoid) only where the run ends.
_MAY_DIFFER = ("report_to", "logging_steps", "save_steps", "eval_steps")


def check_options(options: PretrainOptions) -> None:
    """Refuse options that cannot work together, before anything is read or written.

    Parameters
    ----------
    options : PretrainOptions
        Completed.

    Raises
    ------
    InputError
        Names the options, what was found and what was wanted.
    """
    check_precision(options.fp16, options.bf16)
    check_reporters(options.report_to)
    if options.exclude and not options.exclude_run:
        raise InputError("`exclude` and `exclude_run` 0: found both, wanted a length of shared runs")
    if options.region_rates and options.span_length > 1:
        raise InputError("`region_rates` and `span_length`: found both, wanted one")
    if options.span_length > options.model_max_length - 2:
        raise InputError(
            f"`span_length`: found {options.span_length}, wanted at most the {options.model_max_length - 2} "
            "nucleotides of a window"
        )
    if options.token_budget < options.model_max_length:
        raise InputError(
            f"`token_budget`: found {options.token_budget}, wanted `model_max_length` "
            f"({options.model_max_length}) or more"
        )
    if options.flash_attention and options.attention not in ("auto", "flash"):
        raise InputError(f"`flash_attention` and `attention` {options.attention}: found both, wanted one")
    if options.tokenizer_path is not None:
        verify_vocabulary(options.tokenizer_path)


def _build_model(options: PretrainOptions) -> tuple[EsmForMaskedLM, LoadReport]:
    """Return the model to train and the report of its weights."""
    config = config_argument(options.config or ("" if options.pretrain_path else "lamar"))
    shape = {name: getattr(options, name) for name in SHAPE if getattr(options, name) is not None}
    if shape and config is not None:
        try:
            config = EsmConfig(**{**config.to_diff_dict(), **shape})
        except ValueError as error:
            raise InputError(f"`{next(iter(shape))}`: {error}") from error
        shape = {}
    return load_pretrained(
        EsmForMaskedLM,
        options.pretrain_path,
        config=config,
        seed=options.seed,
        attention=resolve_backend("flash" if options.flash_attention else options.attention),
        **shape,
    )


def _read_corpus(data_path: list[str | PathLike], options: PretrainOptions) -> Corpus:
    corpus = read_corpus(
        data_path,
        val_fraction=options.val_fraction,
        val_data=options.val_data,
        val_nucleotides=options.val_nucleotides,
        exclude=options.exclude,
        exclude_run=options.exclude_run,
        seed=options.seed,
        streaming=options.streaming,
        keep_duplicates=options.keep_duplicates,
        sequence_column=options.sequence_column,
    )
    logger.info("%s", corpus.describe())
    return corpus


def _validation(corpus: Corpus, options: PretrainOptions) -> MaskedWindows:
    return MaskedWindows(
        corpus.heldout,
        options.model_max_length - 2,
        options.val_mask_rate,
        options.seed,
        options.val_nucleotides,
        options.token_budget,
    )


def _batches(corpus: Corpus, options: PretrainOptions) -> TrainingBatches:
    if not options.region_rates:
        collator = MaskedLMCollator(options.mask_rate, options.span_length, options.seed)
    elif corpus.has_regions:
        collator = RegionMaskedLMCollator(tuple(options.region_rates), options.mask_rate, options.seed)
    else:
        raise InputError("`region_rates`: found no eclip_regions in `data_path`, wanted metadata of preprocess.py")
    room = options.model_max_length - 2
    return TrainingBatches(corpus, collator, room, options.token_budget, options.seed, process_rank(), process_count())


def pretrain(
    data_path: str | PathLike | Sequence[str | PathLike],
    output_dir: str | PathLike,
    *,
    pretrain_path: str | PathLike = "",
    seed: int = 42,
    overwrite: bool = False,
    notice: str = "",
    **options: Any,
) -> dict:
    """Train a masked language model on a corpus, and evaluate it beside Markov chains.

    The same call resumes an interrupted run, with the same result as without the interruption. With the trapezoid
    schedule a larger ``max_steps`` or ``max_minutes`` extends a run, from the last checkpoint before the learning rate
    fell.

    Parameters
    ----------
    data_path : path or sequence of path
        Files and folders, see `LAMAR.data.corpus_files.corpus_files`.
    output_dir : path
        Folder of the run: checkpoint, ``eval_results.json``, ``log.csv``, ``loss_curve.png``, ``run.json``.
    pretrain_path : str or path
        Weights file or checkpoint folder to start from; "" starts from random weights.
    seed : int
    overwrite : bool
        Discard an earlier run in the folder instead of resuming it.
    notice : str
        What figures of demonstration data say of them, "title: explanation".
    options
        Other fields of `LAMAR.training.pretrain_options.PretrainOptions`, such as ``config`` or ``max_steps``.

    Returns
    -------
    dict
        What ``eval_results.json`` holds.

    Raises
    ------
    InputError
        Options, data or weights that do not fit; nothing is written then.
    """
    data_path = [data_path] if isinstance(data_path, str | PathLike) else list(data_path)
    chosen = PretrainOptions(pretrain_path=pretrain_path, seed=seed, **options)
    check_numbers(chosen)
    chosen = chosen.completed()
    chosen = replace(chosen, progress=chosen.progress and is_main_process())
    check_options(chosen)
    start_processes()
    with without_file_bars():
        model, report = _build_model(chosen)
        corpus = _read_corpus(data_path, chosen)
        validation, batches = _validation(corpus, chosen), _batches(corpus, chosen)
        run_folder = _open(data_path, Path(output_dir), corpus, report, chosen, overwrite)
        wait_for_everyone()
        with run_folder:
            results = earlier_results(run_folder, chosen)
            if results is None:
                results = _train(model, report, corpus, validation, batches, chosen, run_folder, notice)
            run_folder.finish({key: results[key] for key in ("steps", "tokens", "loss", "accuracy")})
            wait_for_everyone()
    if is_main_process():
        _describe(results)
    if notice:
        logger.info(notice)
    logger.info("outputs: %s", output_dir)
    return results


def _open(
    data_path: list[str | PathLike],
    output_dir: Path,
    corpus: Corpus,
    report: LoadReport,
    options: PretrainOptions,
    overwrite: bool,
) -> RunFolder:
    may_differ = _MAY_DIFFER
    if options.schedule == "trapezoid":
        may_differ += (*END, "warmup_ratio", "warmup_steps")
    return open_run(
        output_dir,
        options,
        inputs=[*corpus.files, *corpus_files(options.val_data), *corpus_files(options.exclude)],
        sha256=report.sha256,
        overwrite=overwrite,
        ignore=may_differ,
        data_path=data_path,
    )


def _train(
    model: EsmForMaskedLM,
    report: LoadReport,
    corpus: Corpus,
    validation: MaskedWindows,
    batches: TrainingBatches,
    options: PretrainOptions,
    run_folder: RunFolder,
    notice: str,
) -> dict:
    """Train, evaluate and write the model; return its figures."""
    scratch, log_path = begin_training(run_folder)
    training = train_masked_lm(model, batches, validation, options, scratch, log_path)
    results, label = {"data": notice} if notice else {}, "evaluation" if options.progress else None
    results |= {
        "steps": training.steps,
        "tokens": training.tokens,
        "passes": training.passes,
        "padding": training.padding,
        "tokens_per_s": training.tokens / max(training.seconds, 1e-9),
        "training_minutes": training.seconds / 60,
        "n_parameters": report.n_parameters,
        "n_windows": len(validation.windows),
        **evaluate(model, validation, label),
        "sparsely": evaluate_sparsely(model, validation, label),
        "corpus": corpus.counts,
    }
    if is_main_process():
        results["markov"] = markov_figures(corpus, validation, options.markov_order)
        title = f"{model.config.num_hidden_layers} x {model.config.hidden_size}"
        title += f", {notice.partition(':')[0]}" if notice else ""
        chains = {name: figures["loss"] for name, figures in results["markov"].items()}
        plot_loss_curve(training.rows, chains, run_folder.file("loss_curve.png"), title)
        write_checkpoint(model, scratch, run_folder, [scratch / "training_args.bin"])
        storage.write_json(run_folder.file("eval_results.json"), results)
    results = save_results(run_folder, training, options, results)
    if is_main_process() and options.schedule == "linear":
        shutil.rmtree(scratch)  # nothing that a longer run could resume from
    return results


def _describe(results: dict) -> None:
    """Log what was trained, and the model's figures beside those of the chains."""
    logger.info(
        "%s, %s tokens, in pass %d over the corpus, %.0f tokens/s; %.2f %% padding",
        counted(results["steps"], "step"),
        f"{results['tokens']:,}",
        results["passes"],
        results["tokens_per_s"],
        100 * results["padding"],
    )
    logger.info("%s", closing_table(results))
