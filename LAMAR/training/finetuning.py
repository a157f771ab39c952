"""Cross-validated fine-tuning: which records a fold trains and is judged on, one fold's training."""

from __future__ import annotations

import logging
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..batches import EncodedSequences, batched
from ..checkpoints import LoadReport, load_pretrained
from ..data.folds import inner_validation, make_folds, subsample
from ..data.splits import Split
from ..embeddings import Embeddings, extract_features
from ..errors import InputError
from ..modeling_nucESM2 import EsmConfig, EsmForSequenceClassification
from ..runs import storage
from ..runs.provenance import provenance
from .collapse import diagnose
from .fitting import FeatureModel, FitOptions, LabelledData, add_lora, fit, probabilities
from .summaries import fold_figures
from .trainers import last_complete_checkpoint

__all__ = [
    "Fold",
    "ModelSettings",
    "build_classifier",
    "frozen_features",
    "plan_folds",
    "predict",
    "save_checkpoint",
    "train_fold",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fold:
    """Record indices of one fold, int64.

    ``validation`` chooses the epoch; ``heldout`` is used once, for the fold's own figures, and is empty when the
    data set's dev part is the validation set (``--cv_folds 1``).
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    heldout: np.ndarray


@dataclass(frozen=True)
class ModelSettings:
    """What is trained: source of the weights, head, loss, and which part of the model moves."""

    pretrain_path: str = ""
    config: EsmConfig | None = None
    num_labels: int = 2
    head: str = "linear"
    loss: str | None = None
    attention: str = "sdpa"
    freeze_encoder: bool = False
    lora_rank: int | None = None
    warmup_epochs: int = 0
    head_lr: float = 1e-3


def plan_folds(
    labels: np.ndarray,
    split: Split,
    n_folds: int,
    seed: int,
    *,
    groups: np.ndarray | None = None,
    n_pos: int | None = None,
    n_neg: int | None = None,
    n_draws: int = 1,
    task: str = "classification",
) -> list[Fold]:
    """Folds over train + dev, each with an inner validation part of 10 % of its training part.

    Parameters
    ----------
    labels
        Of all records, (n,).
    split
        Its test part is in no fold. With ``n_folds`` 1 the one fold is its train part with dev as validation.
    groups
        (n,) group of each record, never divided between training, validation and held-out part; or None.
    n_pos, n_neg
        Thin the training part (validation included, held-out and test not) to so many records of class 1 and 0.
    n_draws
        With ``n_folds`` 1 and one of these: so many "folds", each a draw from the train part. Their validation records
        are drawn ones too, as whoever has few labels has few to choose by; dev is not used.
    """
    if (n_pos or n_neg) and task != "classification":
        raise InputError("--subsample_pos and --subsample_neg need class labels, this is regression or multi-label")

    def thin(indices: np.ndarray, fold_seed: int) -> np.ndarray:
        return indices if n_pos is None and n_neg is None else subsample(indices, labels, n_pos, n_neg, fold_seed)

    if n_folds == 1 and (n_pos or n_neg):
        folds = []
        for number in range(n_draws):
            train, validation = _inner(labels, thin(split.train, seed + number), seed + number, None, task)
            folds.append(Fold(f"draw_{number}", train, validation, np.empty(0, dtype=np.int64)))
        return folds
    if n_folds == 1:
        train, dev = split.train, split.dev
        if not len(dev):
            train, dev = _inner(labels, train, seed, groups, task)
        return [Fold("fold_0", train, dev, np.empty(0, dtype=np.int64))]
    pool = np.sort(np.concatenate([split.train, split.dev]))
    pool_groups = None if groups is None else groups[pool]
    strata = labels[pool] if task == "classification" else np.zeros(len(pool), dtype=np.float32)
    folds = []
    for number, (inside, outside) in enumerate(make_folds(strata, n_folds, seed, pool_groups)):
        train = thin(pool[inside], seed + number)
        train, validation = _inner(labels, train, seed + number, groups, task)
        folds.append(Fold(f"fold_{number}", train, validation, pool[outside]))
    return folds


def _inner(labels, indices, seed, groups, task):
    strata = labels if task == "classification" else np.zeros(len(labels), dtype=np.float32)
    return inner_validation(strata, indices, 0.1, seed, groups)


def build_classifier(settings: ModelSettings, seed: int) -> tuple[EsmForSequenceClassification, LoadReport]:
    """A new classification model with a fresh head."""
    return load_pretrained(
        EsmForSequenceClassification,
        settings.pretrain_path,
        config=settings.config,
        seed=seed,
        new_head=True,
        attention=settings.attention,
        num_labels=settings.num_labels,
        head_type=settings.head,
        loss_type=settings.loss,
        head_trained=False,
    )


def _to_device(model):
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def frozen_features(
    settings: ModelSettings, encoded: EncodedSequences, seed: int, scratch: Path | None = None, progress=True
) -> tuple[dict[str, torch.Tensor], Embeddings]:
    """Run the encoder once over all records.

    Returns
    -------
    state, features
        State dict of the encoder that made them, and what the head reads of each record.
    """
    model, _ = build_classifier(settings, seed)
    model = _to_device(model)
    features = extract_features(
        model, encoded, settings.head, scratch=scratch, progress="encoder" if progress else None
    )
    return {name: tensor.cpu() for name, tensor in model.esm.state_dict().items()}, features


def predict(
    model: EsmForSequenceClassification,
    inputs: EncodedSequences | Embeddings,
    indices: np.ndarray,
    task: str,
    *,
    progress: bool = False,
) -> np.ndarray:
    """Predictions for ``indices`` in their order, see :func:`LAMAR.training.fitting.probabilities`; float64."""
    width = model.config.num_labels
    logits = np.empty((len(indices), width), dtype=np.float32)
    if isinstance(inputs, EncodedSequences):
        chosen = inputs.take(indices)
        label = "predictions" if progress else None
        for rows, output in batched(model, chosen, lambda ids, mask: model(ids, mask).logits.float(), progress=label):
            logits[rows] = output.cpu().numpy()
    else:
        head = model.classifier.eval()
        device = next(head.parameters()).device
        with torch.inference_mode():
            for row, index in enumerate(indices):
                features = torch.from_numpy(np.ascontiguousarray(inputs[index])).to(device)[None]
                mask = torch.ones(features.shape[:2], dtype=torch.bool, device=device)
                logits[row] = head(features, mask)[0].float().cpu().numpy()
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
    frozen: tuple[dict[str, torch.Tensor], Embeddings] | None = None,
) -> tuple[EsmForSequenceClassification, dict]:
    """Train a new model on a fold and score its held-out part and the test part.

    Parameters
    ----------
    frozen
        Of :func:`frozen_features`, when only the head is trained.
    folder
        For the Trainer's checkpoints; an interrupted fold goes on from the last of them.

    Returns
    -------
    model, result
        The model with its best epoch's weights, in evaluation mode on the CPU. ``result`` is plain data: history,
        best epoch, sizes, predictions on the three parts, the diagnosis of a collapse, seconds.
    """
    start = time.perf_counter()
    seed = options.seed + number
    options = replace(options, seed=seed)
    model, report = build_classifier(settings, seed)
    inputs: EncodedSequences | Embeddings = encoded
    history: list[dict] = []
    if frozen is not None:
        model.esm.load_state_dict(frozen[0], strict=True)
        inputs = frozen[1]
        trained = FeatureModel(model)
        options = replace(options, lr=settings.head_lr, gradient_checkpointing=False)
    else:
        if settings.warmup_epochs:
            history = _warm_up(model, fold, encoded, labels, settings, options, folder)
        trained = add_lora(model, settings.lora_rank) if settings.lora_rank else model
    outcome = fit(
        trained,
        LabelledData(inputs, fold.train, labels),
        LabelledData(inputs, fold.validation, labels),
        options,
        folder / "full",
    )
    if settings.lora_rank and frozen is None:
        model = trained.merge_and_unload()
    model.config.head_trained = True
    if frozen is None:
        model = _to_device(model)
    parts = {"validation": fold.validation, "heldout": fold.heldout, "test": test}
    predictions = {
        part: predict(model, inputs, indices, options.task, progress=options.progress)
        for part, indices in parts.items()
    }
    judged = predictions["test"] if len(test) else predictions["validation"]
    collapse = diagnose(
        outcome.history,
        labels[fold.train],
        judged,
        options.task,
        outcome.not_finite,
        settings.loss or "ce",
        settled=_settled(settings, options),
        n_steps=sum(entries[-1]["step"] for entries in (history, outcome.history) if entries),
    )
    result = {
        "fold": fold.name,
        "seed": seed,
        "n_train": len(fold.train),
        "n_validation": len(fold.validation),
        "n_parameters": report.n_parameters,
        "n_trained_parameters": sum(p.numel() for p in trained.parameters() if p.requires_grad),
        "best_epoch": outcome.best_epoch,
        "collapsed": collapse,
        "history": history + outcome.history,
        "indices": {part: indices.tolist() for part, indices in parts.items()},
        "predictions": {part: values.tolist() for part, values in predictions.items()},
        "weights": report.to_dict(),
        "seconds": round(time.perf_counter() - start, 1),
    }
    return model.cpu().eval(), result


def _settled(settings: ModelSettings, options: FitOptions) -> list[str]:
    """Arguments that are already what is advised after a collapse."""
    are = {
        "--warmup_epochs": settings.warmup_epochs >= 5 or settings.freeze_encoder,
        "--head": settings.head == "cnn",
        "--pretrain_path": bool(settings.pretrain_path),
        "--grad_clipping_norm": options.grad_clipping_norm <= 1,
        "--fp16": not options.fp16,
    }
    return [name for name, is_so in are.items() if is_so]


def _warm_up(model, fold, encoded, labels, settings, options, folder) -> list[dict]:
    """Train the head alone for ``warmup_epochs`` on features of the still untrained encoder; returns its history.

    An interrupted run whose training of the whole model had begun has the warmed-up head in its checkpoint already.
    """
    stored = folder / "warmup_history.json"
    if stored.is_file() and last_complete_checkpoint(folder / "full") is not None:
        return storage.read_json(stored)
    indices = fold.train
    chosen = encoded.take(indices)
    features = extract_features(
        _to_device(model), chosen, settings.head, progress="encoder" if options.progress else None
    )
    model.cpu()
    options = replace(options, epochs=settings.warmup_epochs, lr=settings.head_lr, gradient_checkpointing=False)
    data = LabelledData(features, np.arange(len(indices)), labels[indices])
    outcome = fit(FeatureModel(model), data, None, options, folder / "warmup")
    # Negative epochs keep the warm-up apart from, and in order before, the training of the whole model.
    history = [
        {**entry, "epoch": entry["epoch"] - settings.warmup_epochs, "phase": "warmup"}
        for entry in outcome.history
        if "loss" in entry
    ]
    if is_main_process():
        storage.write_json(stored, history)
    return history


def save_checkpoint(model, tokenizer, result: dict, labels: np.ndarray, task: str, work: Path, target: Path) -> None:
    """Write a fold's checkpoint folder so that ``target`` is there as a whole or not at all.

    It is put together in ``work``, the folder of the fold's training checkpoints on the same file system.
    """
    temporary = work / "final"
    discard(temporary)
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
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


def is_main_process() -> bool:
    """True in the only, or the first, process of a run."""
    return os.environ.get("RANK", "0") == "0"
