"""The training of one fold: its model, the head's warm-up, predictions, and the checkpoint folder."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..batches import EncodedSequences, batched_logits, token_batches
from ..checkpoints import LoadReport, load_pretrained
from ..embeddings import Embeddings, extract_features
from ..modeling_nucESM2 import EsmForSequenceClassification
from ..runs import storage
from ..runs.provenance import provenance
from ..tasks import TASKS
from ..tokenization import LamarTokenizer
from .collapse import UNDER_TRAINED, diagnose
from .fitting import FeatureModel, FitResult, LabelledData, add_lora, collate, fit, probabilities
from .fold_plans import Fold
from .options import FitOptions, ModelSettings
from .processes import is_main_process, process_rank
from .summaries import fold_figures
from .track_heads import classifier_of_track
from .trainers import last_complete_checkpoint

__all__ = [
    "FrozenEncoder",
    "build_classifier",
    "discard",
    "frozen_features",
    "predict",
    "save_checkpoint",
    "train_fold",
]

# Features of one batch of predictions, in rows: nucleotides with padding, or records of one vector.
FEATURE_ROWS = 4_096
# Peak rates of a whole model, and of a head alone, from which on a higher one is no good advice.
HIGH_LR, HIGH_HEAD_LR = 5e-4, 1e-2


@dataclass(frozen=True)
class FrozenEncoder:
    """An encoder that is not trained, and what it makes of all records.

    Attributes
    ----------
    state : dict of torch.Tensor
        Its weights, on the CPU.
    features : Embeddings
        What the head reads of each record.
    """

    state: dict[str, torch.Tensor]
    features: Embeddings


def build_classifier(
    settings: ModelSettings, seed: int, *, log: bool = False
) -> tuple[EsmForSequenceClassification, LoadReport]:
    """Return a new classification model, and the report of its weights; its head is untrained, or that of a track.

    With ``log`` the report is logged, which a run does once and not in each fold.
    """
    if settings.track:
        path, loss, attention = settings.pretrain_path, settings.loss, settings.attention
        return classifier_of_track(path, settings.track, loss=loss, attention=attention, log=log)
    return load_pretrained(
        EsmForSequenceClassification,
        settings.pretrain_path,
        config=settings.config,
        seed=seed,
        new_head=True,
        attention=settings.attention,
        log=log,
        num_labels=settings.num_labels,
        head_type=settings.head,
        loss_type=settings.loss,
        head_trained=False,
    )


def _to_device(model):
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def frozen_features(
    settings: ModelSettings, encoded: EncodedSequences, seed: int, folder: Path | None = None, progress: bool = True
) -> FrozenEncoder:
    """Run the encoder once over all records.

    Parameters
    ----------
    settings : ModelSettings
    encoded : EncodedSequences
    seed : int
        Seed of random weights.
    folder : path, optional
        Features of more than 2 GiB go to a memory map in it, one for each process: a file that two processes fill
        would be emptied by the second under the first. The caller removes the folder.
    progress : bool
        Show the progress (`LAMAR.runs.progress.Progress`).
    """
    model, _ = build_classifier(settings, seed)
    model = _to_device(model)
    scratch = None if folder is None else folder / f"features_{process_rank()}.npy"
    features = extract_features(
        model, encoded, settings.head, scratch=scratch, progress="encoder" if progress else None
    )
    return FrozenEncoder({name: tensor.cpu() for name, tensor in model.esm.state_dict().items()}, features)


def predict(
    model: EsmForSequenceClassification,
    inputs: EncodedSequences | Embeddings,
    indices: np.ndarray,
    task: str,
    *,
    progress: str | None = None,
) -> np.ndarray:
    """Return predictions for some records, in their order.

    Parameters
    ----------
    model : EsmForSequenceClassification
        Its head alone is run where ``inputs`` are features.
    inputs : EncodedSequences or Embeddings
        Token ids, or features of a frozen encoder, of all records.
    indices : int, shape (n,)
    task : str
    progress : str, optional
        Label of the progress; None shows none.

    Returns
    -------
    float64, shape (n, k) or (n,)
        See `LAMAR.training.fitting.probabilities`.
    """
    if isinstance(inputs, EncodedSequences):
        logits = batched_logits(model, inputs.take(indices), progress=progress)
    else:
        logits = np.empty((len(indices), model.config.num_labels), dtype=np.float32)
        data = LabelledData(inputs, indices)
        head = FeatureModel(model).eval()
        device = next(head.parameters()).device
        with torch.inference_mode():
            for rows in token_batches(np.asarray(data.lengths), FEATURE_ROWS):
                batch = {name: tensor.to(device) for name, tensor in collate([data[row] for row in rows]).items()}
                logits[rows] = head(**batch)["logits"].float().cpu().numpy()
    return probabilities(logits, task)


def train_fold(
    fold: Fold,
    number: int,
    test: np.ndarray,
    encoded: EncodedSequences,
    labels: np.ndarray,
    settings: ModelSettings,
    options: FitOptions,
    folder: Path,
    frozen: FrozenEncoder | None = None,
    label: str = "",
) -> tuple[EsmForSequenceClassification, dict]:
    """Train a new model on a fold, and predict its validation and held-out part and the test part.

    Parameters
    ----------
    fold : Fold
    number : int
        Added to the seed of ``options``.
    test : int64, shape (n_test,)
    encoded : EncodedSequences
        All records.
    labels : int or float, shape (n,) or (n, n_labels)
        Labels of all records.
    settings : ModelSettings
    options : FitOptions
    folder : path
        For the Trainer's checkpoints; an interrupted fold resumes from the last of them.
    frozen : FrozenEncoder, optional
        From `frozen_features`, when only the head is trained.
    label : str
        What the progress is that of; default the fold's name.

    Returns
    -------
    model : EsmForSequenceClassification
        With the weights of its best epoch, in evaluation mode on the CPU.
    result : dict
        Plain data: history, best epoch, sizes, indices and predictions of the three parts, the diagnosis of a
        collapse or a short training, seconds.
    """
    start = time.perf_counter()
    options, label = replace(options, seed=options.seed + number), label or fold.name
    model, report = build_classifier(settings, options.seed)
    inputs: EncodedSequences | Embeddings = encoded
    history: list[dict] = []
    if frozen is not None:
        model.esm.load_state_dict(frozen.state, strict=True)
        inputs = frozen.features
        trained = FeatureModel(model)
        options = replace(options, lr=settings.head_lr, gradient_checkpointing=False)
    else:
        if settings.warmup_epochs:
            history = _warm_up(model, fold, encoded, labels, settings, options, folder, f"{label}, head alone")
        trained = add_lora(model, settings.lora_rank) if settings.lora_rank else model
    training, validation = (LabelledData(inputs, indices, labels) for indices in (fold.train, fold.validation))
    outcome = fit(trained, training, validation, options, folder / "full", label)
    if settings.lora_rank and frozen is None:
        model = trained.merge_and_unload()
    model.config.head_trained = True
    if frozen is None:
        model = _to_device(model)
    result = _result(model, fold, test, inputs, labels, settings, options, history, outcome, label)
    result |= {
        "n_parameters": report.n_parameters,
        "n_trained_parameters": sum(p.numel() for p in trained.parameters() if p.requires_grad),
        "weights": report.to_dict(),
        "seconds": round(time.perf_counter() - start, 1),
    }
    return model.cpu().eval(), result


def _result(
    model,
    fold: Fold,
    test: np.ndarray,
    inputs: EncodedSequences | Embeddings,
    labels: np.ndarray,
    settings: ModelSettings,
    options: FitOptions,
    warmup_history: list[dict],
    outcome: FitResult,
    label: str,
) -> dict:
    """Return predictions and diagnosis of a trained fold, ready for JSON."""
    parts = {"validation": fold.validation, "heldout": fold.heldout, "test": test}
    predictions = {
        part: predict(model, inputs, indices, options.task, progress=f"{label}, {part}" if options.progress else None)
        for part, indices in parts.items()
    }
    judged = next(part for part in ("test", "heldout", "validation") if len(parts[part]))
    n_steps = [entries[-1]["step"] if entries else 0 for entries in (warmup_history, outcome.history)]
    verdict = diagnose(
        outcome.history,
        labels[fold.train],
        predictions[judged],
        options.task,
        outcome.not_finite,
        settings.loss or TASKS[options.task].loss,
        judged=labels[parts[judged]],
        settled=_settled(settings, options),
        n_steps=sum(n_steps),
        way=n_steps[0] * settings.head_lr + n_steps[1] * options.lr,
    )
    is_short = verdict is not None and verdict["kind"] == UNDER_TRAINED
    return {
        "fold": fold.name,
        "seed": options.seed,
        "n_train": len(fold.train),
        "n_validation": len(fold.validation),
        "best_epoch": outcome.best_epoch,
        "collapsed": None if is_short else verdict,
        "under_trained": verdict if is_short else None,
        "history": warmup_history + outcome.history,
        "indices": {part: indices.tolist() for part, indices in parts.items()},
        "predictions": {part: values.tolist() for part, values in predictions.items()},
    }


def _settled(settings: ModelSettings, options: FitOptions) -> list[str]:
    """Return the names of options that already are what would be advised after a collapse or a short training."""
    is_settled = {
        "warmup_epochs": settings.warmup_epochs >= 5 or settings.freeze_encoder,
        "head": settings.head == "cnn",
        "pretrain_path": bool(settings.pretrain_path),
        "grad_clipping_norm": options.grad_clipping_norm <= 1,
        "fp16": not options.fp16,
        "higher_lr": options.lr >= (HIGH_HEAD_LR if settings.freeze_encoder else HIGH_LR),
    }
    return [name for name, settled in is_settled.items() if settled]


def _warm_up(model, fold, encoded, labels, settings, options, folder, label) -> list[dict]:
    """Train the head alone for ``warmup_epochs`` on features of the untrained encoder, and return its history.

    Where the training of the whole model had begun before an interruption, its checkpoint holds the warmed-up head.
    """
    stored = folder / "warmup_history.json"
    if stored.is_file() and last_complete_checkpoint(folder / "full") is not None:
        return storage.read_json(stored)
    indices = fold.train
    features = extract_features(
        _to_device(model), encoded.take(indices), settings.head, progress="encoder" if options.progress else None
    )
    model.cpu()
    options = replace(options, epochs=settings.warmup_epochs, lr=settings.head_lr, gradient_checkpointing=False)
    data = LabelledData(features, np.arange(len(indices)), labels[indices])
    outcome = fit(FeatureModel(model), data, None, options, folder / "warmup", label)
    # Negative epochs place the warm-up before the training of the whole model.
    history = [
        {**entry, "epoch": entry["epoch"] - settings.warmup_epochs, "phase": "warmup"}
        for entry in outcome.history
        if "loss" in entry
    ]
    if is_main_process():
        storage.write_json(stored, history)
    return history


def save_checkpoint(model, result: dict, labels: np.ndarray, task: str, work: Path, target: Path) -> None:
    """Write a fold's checkpoint folder so that ``target`` is there as a whole or not at all.

    It is put together in ``work``, the folder of the fold's training checkpoints on the same file system.
    """
    temporary = work / "final"
    discard(temporary)
    model.save_pretrained(temporary)
    LamarTokenizer().save_pretrained(temporary)
    shutil.copy2(work / "full" / "training_args.bin", temporary)
    storage.write_json(temporary / "eval_results.json", fold_figures(result, labels, task))
    record = provenance({}, seed=result["seed"], weights=result["weights"])
    storage.write_json(temporary / "run.json", record)
    discard(target)
    temporary.replace(target)


def discard(folder: Path) -> None:
    """Remove a folder of this run, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)
