"""Fine-tuning on a Hugging Face ``Trainer``: data sets, collators, options, exact resume."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainerState, set_seed
from transformers.trainer import TRAINER_STATE_NAME

from ..batches import EncodedSequences, pad_batch
from ..embeddings import Embeddings
from ..sequence_classification_patch import sequence_loss
from .summaries import task_metrics
from .trainers import (
    KeepBestAndLast,
    discard_broken_checkpoints,
    last_complete_checkpoint,
    silence,
    training_arguments,
    world_size,
)

__all__ = [
    "FeatureModel",
    "FitOptions",
    "FitResult",
    "LabelledData",
    "add_lora",
    "fit",
    "probabilities",
]

logger = logging.getLogger(__name__)


class LabelledData(torch.utils.data.Dataset):
    """Records with labels, for the Trainer.

    Parameters
    ----------
    inputs
        Token ids, or features of a frozen encoder.
    indices
        Records to take, int (n,).
    labels
        Of all records: int64 (N,) classes, float32 (N,) targets, or (N, k) 0/1.
    """

    def __init__(self, inputs: EncodedSequences | Embeddings, indices: np.ndarray, labels: np.ndarray):
        self.inputs = inputs
        self.indices = np.asarray(indices)
        self.labels = labels
        self.key = "input_ids" if isinstance(inputs, EncodedSequences) else "features"

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> dict:
        index = self.indices[item]
        return {self.key: self.inputs[index], "labels": self.labels[index]}

    @property
    def lengths(self) -> list[int]:
        """In tokens (1 for features that are one vector)."""
        if isinstance(self.inputs, EncodedSequences):
            return self.inputs.lengths[self.indices].tolist()
        if self.inputs.offsets is None:
            return [1] * len(self)
        return np.diff(self.inputs.offsets)[self.indices].tolist()


def _collate(batch: list[dict]) -> dict[str, torch.Tensor]:
    labels = torch.from_numpy(np.asarray([record["labels"] for record in batch]))
    if "input_ids" in batch[0]:
        ids, mask = pad_batch([record["input_ids"] for record in batch])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}
    features = [torch.from_numpy(record["features"]) for record in batch]
    if features[0].dim() == 1:
        return {"features": torch.stack(features), "labels": labels}
    lengths = torch.tensor([len(record) for record in features])
    padded = nn.utils.rnn.pad_sequence(features, batch_first=True)
    mask = torch.arange(padded.shape[1]) < lengths[:, None]
    return {"features": padded, "mask": mask, "labels": labels}


class FeatureModel(nn.Module):
    """A classification head alone, trained on features computed once.

    The head is shared with the model it was taken from, so training it trains that model's head.
    """

    def __init__(self, model):
        super().__init__()
        self.config = model.config
        self.classifier = model.classifier

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None, labels=None) -> dict:
        logits = self.classifier(features, mask)
        loss = None
        if labels is not None:
            loss = sequence_loss(logits, labels, self.config.loss_type, self.config.focal_gamma)
        return {"loss": loss, "logits": logits}


@dataclass(frozen=True)
class FitOptions:
    """Hyperparameters of one training run; names and defaults as in ``finetune_rbp.py``."""

    task: str = "classification"
    epochs: int = 10
    batch_size: int = 4
    eval_batch_size: int = 32
    lr: float = 3e-5
    warmup_ratio: float = 0.05
    grad_clipping_norm: float = 1.0
    accum_steps: int = 1
    weight_decay: float = 0.01
    early_stopping_patience: int | None = None
    metric_for_best: str = "auprc"
    save_epochs: int = 1
    logging_steps: int = 50
    fp16: bool = False
    bf16: bool = False
    gradient_checkpointing: bool = False
    report_to: str = "none"
    seed: int = 42
    progress: bool = True


@dataclass
class FitResult:
    """Outcome of :func:`fit`.

    Attributes
    ----------
    history
        Log entries of the Trainer: loss, learning rate and validation figures by epoch.
    best_epoch
        Epoch whose weights the model carries now, None without a validation set.
    not_finite
        The loss became NaN or infinite and training was stopped.
    """

    history: list[dict]
    best_epoch: float | None
    not_finite: bool


def probabilities(logits: np.ndarray, task: str) -> np.ndarray:
    """Logits to predictions, in float32 or wider.

    Returns
    -------
    (n, k) softmax for ``classification``, (n, k) sigmoid for ``multilabel``, (n,) values for ``regression``.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if task == "regression":
        return logits.reshape(-1)
    if task == "multilabel":
        return 1.0 / (1.0 + np.exp(-np.clip(logits, -500, 500)))
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


class _StopOnNonFiniteLoss(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **kwargs):
        if _not_finite([logs or {}]):
            control.should_training_stop = True
        return control


class _EveryNEpochs(TrainerCallback):
    """Evaluates and saves every n epochs and after the last one."""

    def __init__(self, every: int):
        self.every = every

    def on_epoch_end(self, args, state, control, **kwargs):
        epoch = round(state.epoch)
        due = epoch % self.every == 0 or epoch >= args.num_train_epochs
        control.should_evaluate = control.should_evaluate and due
        control.should_save = control.should_save and due
        # The mean loss between two entries is not in a checkpoint, so an entry ends where one is made.
        control.should_log = control.should_log or due
        return control


class _EarlyStopping(EarlyStoppingCallback):
    """Knows the evaluations of earlier starts, which the Trainer does not hand on."""

    def on_train_begin(self, args, state, control, **kwargs):
        super().on_train_begin(args, state, control, **kwargs)
        self.early_stopping_patience_counter = _evaluations_since_best(state)


def _evaluations_since_best(state: TrainerState) -> int:
    evaluations = [entry["step"] for entry in state.log_history if "eval_loss" in entry]
    # While the metric is undefined, the first evaluation counts as the best.
    best = state.best_global_step or min(evaluations, default=0)
    return sum(step > best for step in evaluations)


def _not_finite(history: list[dict]) -> bool:
    """Whether a loss among the log's entries is no finite number."""
    losses = (entry[key] for entry in history for key in ("loss", "eval_loss") if key in entry)
    return not all(map(math.isfinite, losses))


class _GroupedTrainer(Trainer):
    """The Trainer with lengths known from the data set instead of read record by record."""

    def _get_train_sampler(self, train_dataset=None):
        from transformers.trainer_pt_utils import LengthGroupedSampler

        dataset = train_dataset if train_dataset is not None else self.train_dataset
        return LengthGroupedSampler(
            self.args.train_batch_size * self.args.gradient_accumulation_steps, lengths=dataset.lengths
        )


def fit(
    model: nn.Module,
    train: LabelledData,
    validation: LabelledData | None,
    options: FitOptions,
    folder: Path,
) -> FitResult:
    """Train ``model`` in place; with a validation set it ends with the weights of its best epoch.

    Batches are padded to their own longest record and grouped by length. Checkpoints go to ``folder``; if it holds
    complete ones of an interrupted run, training goes on from the last, to the same result as without the
    interruption. The caller removes ``folder`` when the result is safe.

    Parameters
    ----------
    model
        ``EsmForSequenceClassification``, the same with LoRA, or :class:`FeatureModel`.
    """
    set_seed(options.seed)
    folder.mkdir(parents=True, exist_ok=True)
    steps = math.ceil(math.ceil(len(train) / options.batch_size / world_size()) / options.accum_steps)
    keeps_best = validation is not None
    arguments = training_arguments(
        options,
        folder,
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=options.eval_batch_size,
        learning_rate=options.lr,
        warmup_steps=round(options.warmup_ratio * steps * options.epochs),
        eval_strategy="epoch" if keeps_best else "no",
        save_strategy="epoch",
        load_best_model_at_end=keeps_best,
        metric_for_best_model=options.metric_for_best if keeps_best else None,
        greater_is_better=options.metric_for_best not in ("mse", "mae", "rmse", "brier", "ece", "log_loss"),
        # At least one entry an epoch: the diagnosis of a collapse reads them.
        logging_steps=min(options.logging_steps, steps),
    )
    callbacks = [_StopOnNonFiniteLoss(), _EveryNEpochs(options.save_epochs), KeepBestAndLast()]
    if options.early_stopping_patience is not None and keeps_best:
        callbacks.append(_EarlyStopping(options.early_stopping_patience))

    def compute_metrics(prediction) -> dict[str, float]:
        logits = prediction.predictions
        if not np.isfinite(logits).all():
            return {options.metric_for_best: math.nan}
        return task_metrics(prediction.label_ids, probabilities(logits, options.task), options.task)

    trainer = _GroupedTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=validation,
        data_collator=_collate,
        compute_metrics=compute_metrics,
        callbacks=callbacks,
    )
    if not options.progress:
        silence(trainer)
    if trainer.args.should_save:
        discard_broken_checkpoints(folder)
    trainer.accelerator.wait_for_everyone()
    checkpoint = last_complete_checkpoint(folder)
    if checkpoint is not None:
        logger.info("resuming from %s", checkpoint)
        state = TrainerState.load_from_json(checkpoint / TRAINER_STATE_NAME)
        patience = options.early_stopping_patience or math.inf
        if _not_finite(state.log_history) or (keeps_best and _evaluations_since_best(state) >= patience):
            arguments.num_train_epochs = math.ceil(state.epoch)  # it had stopped there
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.args.should_save:
        torch.save(trainer.args, folder / "training_args.bin")
    trainer.accelerator.free_memory()
    best = trainer.state.best_global_step
    best_epoch = next(
        (entry["epoch"] for entry in trainer.state.log_history if best and entry.get("step") == best), None
    )
    not_finite = _not_finite(trainer.state.log_history)
    if keeps_best and best_epoch is None and not not_finite:
        logger.warning(
            "%s was undefined on the %d validation records in every epoch: the weights are those of the last one",
            options.metric_for_best,
            len(validation),
        )
    return FitResult(trainer.state.log_history, best_epoch, not_finite)


def add_lora(model, rank: int):
    """Wrap a classification model so that only rank-``rank`` updates of query and value and the head are trained.

    Low-rank adaptation (Hu et al., ICLR 2022), alpha = 2 x rank. ``merge_and_unload`` gives a plain model back.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=["query", "value"],
        modules_to_save=["classifier"],
    )
    return get_peft_model(model, config)
