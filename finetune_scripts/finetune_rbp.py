#!/usr/bin/env python
"""Fine-tune LAMAR on a labelled RBP data set, with cross-validation.

Real data:
    python finetune_scripts/finetune_rbp.py --rbp_name QKI --data_path DATA/QKI \\
        --pretrain_path path/to/model.safetensors --output_dir models

Laptop-sized, random initialisation (the head first, then all at a small rate):
    python finetune_scripts/finetune_rbp.py --data_path DATA/QKI --config lamar-mini --head cnn \\
        --warmup_epochs 8 --epochs 5 --lr 5e-5 --batch_size 16 --cv_folds 3

Several processes (gloo on CPUs, NCCL on GPUs):
    torchrun --nproc_per_node 2 finetune_scripts/finetune_rbp.py --data_path DATA/QKI ...

Without arguments it trains a tiny model on the synthetic demo set.

Cross-validation runs on train + dev. Each fold builds a new model, sets 10 % of its training part aside to choose
the best epoch, and uses its held-out part once. The test part is scored by every fold's model and by the mean of
their probabilities. With ``--cv_folds 1`` the data set's own train and dev parts are used instead, and with
``--subsample_pos`` or ``--subsample_neg`` beside it one or several draws from the train part (``--draws``).

Outputs, in OUTPUT_DIR/RBP_NAME: ``eval_results.json``, ``results.csv``, ``predictions.csv``, ``split_report.json``,
``learning_curves.png``, ``roc_pr.png``, ``run.json``, and one checkpoint folder a fold (``fold_0`` ...).
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # --help and errors of arguments come before the import of torch

from LAMAR.cli.arguments import (
    OneLineParser,
    add_model_arguments,
    add_precision_arguments,
    fraction,
    log_training,
    not_negative,
    parse_or_demo,
    path,
    positive,
)
from LAMAR.cli.errors import exit_on_input_error

logger = logging.getLogger("finetune_rbp")

DEMO = {
    "rbp_name": "PUM2",
    "config": "lamar-tiny",
    "head": "cnn",
    "cv_folds": 3,
    "warmup_epochs": 5,
    "epochs": 2,
    "batch_size": 16,
    "lr": 3e-4,
    "output_dir": Path(__file__).resolve().parents[1] / "demo" / "finetune",
}
LR, HEAD_LR = 3e-5, 1e-3


def build_parser() -> argparse.ArgumentParser:
    summary, _, epilog = __doc__.partition("\n\n")
    parser = OneLineParser(description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)

    data = parser.add_argument_group("data")
    data.add_argument("--rbp_name", help="data set in --data_path, and name of the output folder (default: its name)")
    data.add_argument(
        "--data_path",
        type=path,
        help="labelled data: a folder with train/dev/test.csv, NAME.positives.fa and NAME.negatives.fa, one CSV/TSV, "
        "a Hugging Face save_to_disk folder, or HDF5 (default: the synthetic demo set)",
    )
    data.add_argument(
        "--split",
        choices=("auto", "given", "random", "chromosome", "cluster"),
        default="auto",
        help="how train, dev and test are made; auto keeps the data set's own parts, else draws at random "
        "(default: %(default)s)",
    )
    data.add_argument(
        "--test_chroms",
        type=lambda text: text.split(","),
        default=[],
        help="for --split chromosome: chr8,chr9",
    )
    data.add_argument("--allow_duplicates", action="store_true", help="accept the same sequence in several parts")
    data.add_argument("--subsample_pos", type=positive(int), help="positives to draw from each training part")
    data.add_argument("--subsample_neg", type=positive(int), help="negatives to draw from each training part")
    data.add_argument(
        "--draws",
        type=positive(int),
        default=1,
        help="with --cv_folds 1 and --subsample_*: so many draws, a model each, instead of folds (default: 1)",
    )
    data.add_argument(
        "--max_length",
        type=positive(int),
        default=1026,
        help="most tokens of a sequence, two of them special (default: %(default)s)",
    )
    data.add_argument("--truncate", action="store_true", help="cut longer sequences instead of stopping")
    data.add_argument("--nlabels", type=positive(int), default=2, help="classes, or 1 for regression (default: 2)")

    model = parser.add_argument_group("model")
    add_model_arguments(model)
    model.add_argument("--head", choices=("linear", "mean", "cnn"), default="linear", help="default: %(default)s")
    model.add_argument(
        "--loss",
        choices=("ce", "focal", "mse", "bce"),
        help="bce is for several yes/no labels a record (default: ce, or mse with --nlabels 1)",
    )
    model.add_argument("--freeze_encoder", action="store_true", help="train the head only, on features computed once")
    model.add_argument("--lora_rank", type=positive(int), help="train low-rank updates of this rank and the head")

    training = parser.add_argument_group("training")
    training.add_argument("--epochs", type=positive(int), default=10, help="default: %(default)s")
    training.add_argument("--batch_size", type=positive(int), default=4, help="per process (default: %(default)s)")
    training.add_argument("--eval_batch_size", type=positive(int), default=32, help="default: %(default)s")
    training.add_argument(
        "--lr",
        type=positive(float),
        help=f"peak learning rate (default: {LR}, or {HEAD_LR} with --freeze_encoder and in warm-up epochs)",
    )
    training.add_argument(
        "--warmup_epochs",
        type=not_negative(int),
        default=0,
        help="epochs of the head alone before the encoder is trained too (default: 0)",
    )
    training.add_argument(
        "--warmup_ratio",
        type=fraction,
        default=0.05,
        help="part of the steps with a rising rate (default: 0.05)",
    )
    training.add_argument("--grad_clipping_norm", type=positive(float), default=1.0, help="default: %(default)s")
    training.add_argument("--accum_steps", type=positive(int), default=1, help="default: %(default)s")
    training.add_argument(
        "--early_stopping_patience",
        type=positive(int),
        help="epochs without a better validation score (default: off)",
    )
    training.add_argument("--metric_for_best", help="chooses the epoch (default: auprc, or pearson)")
    add_precision_arguments(training)

    evaluation = parser.add_argument_group("evaluation and output")
    evaluation.add_argument("--cv_folds", type=positive(int), default=5, help="1: own train and dev (default: 5)")
    evaluation.add_argument("--output_dir", type=path, default=Path("models"), help="default: %(default)s")
    evaluation.add_argument(
        "--save_epochs",
        type=positive(int),
        default=1,
        help="evaluate and checkpoint every n epochs (default: 1)",
    )
    evaluation.add_argument("--logging_steps", type=positive(int), default=50, help="default: %(default)s")
    evaluation.add_argument("--report_to", default="none", help="tensorboard, wandb ... (default: none)")
    evaluation.add_argument("--seed", type=not_negative(int), default=42, help="default: %(default)s")
    again = evaluation.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with an interrupted run (what happens anyway)")
    again.add_argument("--overwrite", action="store_true", help="start the run in --output_dir anew")
    return parser


def check(arguments: argparse.Namespace) -> str:
    """Refuse combinations that cannot work, before anything is read or written; returns the task."""
    import importlib.util

    from LAMAR.errors import InputError
    from LAMAR.statistics.metrics import metric_names
    from LAMAR.training.trainers import check_precision, check_reporters

    task = "regression" if arguments.nlabels == 1 else "multilabel" if arguments.loss == "bce" else "classification"
    wrong = {"regression": ("ce", "focal"), "classification": ("mse",), "multilabel": ("mse",)}[task]
    if arguments.loss in wrong:
        raise InputError(f"--loss {arguments.loss} does not fit --nlabels {arguments.nlabels} ({task})")
    if arguments.loss == "bce" and arguments.nlabels < 2:
        raise InputError("--loss bce: found --nlabels 1, wanted 2 or more yes/no labels")
    check_precision(arguments.fp16, arguments.bf16)
    if arguments.lora_rank and importlib.util.find_spec("peft") is None:
        raise InputError("--lora_rank needs the package peft: pip install 'LAMAR[lora]'")
    if arguments.lora_rank and arguments.freeze_encoder:
        raise InputError("--lora_rank and --freeze_encoder: found both, but a frozen encoder has nothing to adapt")
    if arguments.metric_for_best not in (None, *metric_names(task)):
        raise InputError(
            f"--metric_for_best: found {arguments.metric_for_best!r}, wanted one of {', '.join(metric_names(task))}"
        )
    if arguments.freeze_encoder and arguments.warmup_epochs:
        logger.info("--warmup_epochs %d: nothing left to do with --freeze_encoder", arguments.warmup_epochs)
    if arguments.draws > 1 and (arguments.cv_folds > 1 or not (arguments.subsample_pos or arguments.subsample_neg)):
        raise InputError(
            f"--draws {arguments.draws}: goes with --cv_folds 1 and --subsample_pos or --subsample_neg, "
            f"found --cv_folds {arguments.cv_folds}"
        )
    check_reporters(arguments.report_to)
    name = arguments.rbp_name
    if name is not None and (Path(name).name != name or name in (".", "..") or len(name) > 200):
        raise InputError(f"--rbp_name: found {name[:220]!r}, wanted a plain name without slashes")
    return task


def run(arguments: argparse.Namespace) -> dict:
    """Train and evaluate; returns the summary that ``eval_results.json`` holds."""
    from LAMAR.cli.demo import NOTICE, demo_data

    task = check(arguments)
    if arguments.demo:
        arguments.data_path = demo_data() / "labelled"
        logger.info("no --data_path given. %s", NOTICE)

    import torch
    import transformers
    from accelerate import PartialState

    from LAMAR import runs
    from LAMAR.batches import EncodedSequences
    from LAMAR.checkpoints import config_argument
    from LAMAR.data.labelled import load_labelled
    from LAMAR.data.sequences import check_lengths
    from LAMAR.data.splits import make_split
    from LAMAR.errors import InputError
    from LAMAR.flash_attn_patch import resolve_backend
    from LAMAR.runs import storage
    from LAMAR.tokenization import LamarTokenizer, verify_vocabulary
    from LAMAR.training import finetuning, summaries
    from LAMAR.training.fitting import FitOptions
    from LAMAR.training.trainers import processes_argument

    # Its bars count files written; the Trainer's own bar, which counts steps, stays.
    transformers.utils.logging.disable_progress_bar()
    processes = PartialState(cpu=not torch.cuda.is_available())
    if arguments.tokenizer_path is not None:
        verify_vocabulary(arguments.tokenizer_path)
    dataset = load_labelled(arguments.data_path, name=arguments.rbp_name, task=task, n_labels=arguments.nlabels)
    sequences = check_lengths(dataset.sequences, dataset.ids, arguments.max_length, arguments.truncate)
    # What is trained on is what must not be in several parts, so cut before anything is compared.
    dataset = replace(dataset, sequences=sequences)
    if task == "classification" and len(set(dataset.labels.tolist())) < 2:
        raise InputError(f"{arguments.data_path}: found label {dataset.labels[0]} only, wanted two classes or more")
    name = arguments.rbp_name or dataset.name
    split = make_split(
        dataset,
        arguments.split,
        test_chroms=arguments.test_chroms,
        seed=arguments.seed,
        allow_duplicates=arguments.allow_duplicates,
    )
    folds = finetuning.plan_folds(
        dataset.labels,
        split,
        arguments.cv_folds,
        arguments.seed,
        groups=split.groups,
        n_pos=arguments.subsample_pos,
        n_neg=arguments.subsample_neg,
        n_draws=arguments.draws,
        task=task,
    )
    settings = finetuning.ModelSettings(
        pretrain_path=str(arguments.pretrain_path),
        config=config_argument(arguments.config or ("" if arguments.pretrain_path else "lamar")),
        num_labels=arguments.nlabels,
        head=arguments.head,
        loss=arguments.loss,
        attention=resolve_backend(arguments.attention),
        freeze_encoder=arguments.freeze_encoder,
        lora_rank=arguments.lora_rank,
        warmup_epochs=arguments.warmup_epochs,
        head_lr=arguments.lr if arguments.freeze_encoder and arguments.lr else HEAD_LR,
    )
    options = FitOptions(
        task=task,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        eval_batch_size=arguments.eval_batch_size,
        lr=arguments.lr or LR,
        warmup_ratio=arguments.warmup_ratio,
        grad_clipping_norm=arguments.grad_clipping_norm,
        accum_steps=arguments.accum_steps,
        early_stopping_patience=arguments.early_stopping_patience,
        metric_for_best=arguments.metric_for_best or ("pearson" if task == "regression" else "auprc"),
        save_epochs=arguments.save_epochs,
        logging_steps=arguments.logging_steps,
        fp16=arguments.fp16,
        bf16=arguments.bf16,
        gradient_checkpointing=arguments.gradient_checkpointing,
        report_to=arguments.report_to,
        seed=arguments.seed,
        progress=finetuning.is_main_process() and sys.stderr.isatty(),
    )
    # Weights that do not fit must stop the run before it has written anything.
    _, report = finetuning.build_classifier(settings, arguments.seed)
    logger.info(
        "%s: %d records, train %d, dev %d, test %d; %s; %d fold(s)",
        name,
        len(dataset),
        len(split.train),
        len(split.dev),
        len(split.test),
        task,
        len(folds),
    )
    encoded = EncodedSequences.encode(sequences)
    output = Path(arguments.output_dir) / name
    run_folder = runs.RunFolder.open(
        output,
        arguments={key: value for key, value in vars(arguments).items() if key not in ("resume", "overwrite")}
        | processes_argument(processes.num_processes),
        seed=arguments.seed,
        inputs=dataset.files,
        weights={"pretrain_path": settings.pretrain_path, "sha256": report.sha256},
        overwrite=arguments.overwrite,
        ignore=("report_to", "logging_steps", "output_dir"),
        may_grow=("draws",),
        is_writer=processes.is_main_process,
    )
    processes.wait_for_everyone()
    with run_folder:
        scratch = run_folder.folder("checkpoints")
        results = []
        frozen = None
        done = [run_folder.done(fold.name) for fold in folds]
        processes.wait_for_everyone()
        for number, fold in enumerate(folds):
            if done[number]:
                logger.info("%s: finished earlier, kept", fold.name)
                results.append(run_folder.load_unit(fold.name))
                continue
            if settings.freeze_encoder and frozen is None:
                frozen = finetuning.frozen_features(
                    settings, encoded, arguments.seed, scratch / "features.npy", options.progress
                )
            work = scratch / fold.name
            model, result = finetuning.train_fold(
                fold, number, split.test, encoded, dataset.labels, settings, options, work, frozen
            )
            if processes.is_main_process:
                checkpoint = run_folder.folder(fold.name)
                finetuning.save_checkpoint(model, LamarTokenizer(), result, dataset.labels, task, work, checkpoint)
            results.append(run_folder.save_unit(fold.name, result))
            if processes.is_main_process:
                finetuning.discard(work)
            processes.wait_for_everyone()
            logger.info(summaries.describe(results[-1], dataset.labels, task))
        summary, rows = summaries.summarise(results, dataset.labels, task, arguments.seed)
        summary = {"dataset": name, "task": task, "split": split.report["method"], **summary}
        if arguments.demo:
            summary = {"data": NOTICE, **summary}
        if processes.is_main_process:
            rows = [{"dataset": name, "split": summary["split"], **row} for row in rows]
            storage.write_csv(run_folder.file("results.csv"), rows)
            predictions = summaries.prediction_rows(results, dataset, task)
            storage.write_csv(run_folder.file("predictions.csv"), predictions)
            storage.write_json(run_folder.file("split_report.json"), split.report)
            storage.write_json(run_folder.file("eval_results.json"), summary)
            title = f"{name} (SYNTHETIC demo data)" if arguments.demo else name
            write_plots(run_folder, results, dataset.labels, task, options.metric_for_best, title)
            finetuning.discard(scratch)
        run_folder.finish({"collapsed": summary["collapsed"]})
        processes.wait_for_everyone()
    logger.info("%s", summaries.closing_table(summary, task))
    if arguments.demo:
        logger.info(NOTICE)
    logger.info("outputs: %s", output)
    return summary


def write_plots(run_folder, results: list[dict], labels, task: str, metric: str, title: str) -> None:
    """Learning curves, and ROC/PR curves (binary) or a scatter plot (regression)."""
    from LAMAR.training import figures as plots
    from LAMAR.training import summaries

    histories = {result["fold"]: result["history"] for result in results}
    plots.plot_learning_curves(histories, metric, run_folder.file("learning_curves.png"), title)
    sets = summaries.judged_sets(results, labels)
    if task == "regression" and sets:
        plots.plot_regression(sets, run_folder.file("scatter.png"), title)
    elif task == "classification" and sets and all(scores.shape[1] == 2 for _, scores in sets.values()):
        plots.plot_roc_pr({k: (y, p[:, 1]) for k, (y, p) in sets.items()}, run_folder.file("roc_pr.png"), title)


def main(argv=None) -> int:
    arguments = parse_or_demo(build_parser(), argv, DEMO)
    log_training()
    return exit_on_input_error(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
