"""One fine-tuning on a Hugging Face ``Trainer``: records and batches, callbacks, exact resume."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME

from ..batches import EncodedSequences, pad_batch
from ..embeddings import Embeddings
from ..runs.progress import Progress
from ..sequence_classification_patch import sequence_loss
from ..statistics.metrics import METRICS
from .options import FitOptions
from .processes import process_count, wait_for_everyone
from .summaries import task_metrics
from .trainers import (
    KeepBestAndLast,
    ShowProgress,
    discard_broken_checkpoints,
    last_complete_checkpoint,
    training_arguments,
)

__all__ = ["FeatureModel", "FitResult", "LabelledData", "add_lora", "collate", "fit", "probabilities"]

logger = logging.getLogger(__name__)


class LabelledData(torch.utils.data.Dataset):
    """Records, with their labels where there are any, as the Trainer takes them.

    Parameters
    ----------
    inputs : EncodedSequences or Embeddings
        Token ids, or features of a frozen encoder, of N records.
    indices : int, shape (n,)
        Records to take.
    labels : array, optional
        Labels of all records: int64 (N,) classes, float32 (N,) targets, or (N, k) 0/1.
    """

    def __init__(self, inputs: EncodedSequences | Embeddings, indices: np.ndarray, labels: np.ndarray | None = None):
        self.inputs = inputs
        self.indices = np.asarray(indices)
        self.labels = labels
        self.key = "input_ids" if isinstance(inputs, EncodedSequences) else "features"

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> dict:
        index = self.indices[item]
        record = {self.key: self.inputs[index]}
        return record if self.labels is None else record | {"labels": self.labels[index]}

    @property
    def lengths(self) -> list[int]:
        """Length of each record in tokens; 1 for features that are one vector."""
        if isinstance(self.inputs, EncodedSequences):
            return self.inputs.lengths[self.indices].tolist()
        if self.inputs.offsets is None:
            return [1] * len(self)
        return np.diff(self.inputs.offsets)[self.indices].tolist()


def collate(batch: list[dict]) -> dict[str, torch.Tensor]:
    """Return the records of a `LabelledData` as one batch, padded to the longest of them.

    Returns
    -------
    dict of torch.Tensor
        ``input_ids`` and ``attention_mask`` (batch, longest), or ``features`` (batch, d), or ``features`` (batch,
        longest, d) and ``mask`` (batch, longest); and ``labels`` where the records have them.
    """
    labels = {}
    if "labels" in batch[0]:
        labels["labels"] = torch.from_numpy(np.asarray([record["labels"] for record in batch]))
    if "input_ids" in batch[0]:
        ids, mask = pad_batch([record["input_ids"] for record in batch])
        return {"input_ids": ids, "attention_mask": mask, **labels}
    features = [torch.from_numpy(record["features"]) for record in batch]
    if features[0].dim() == 1:
        return {"features": torch.stack(features), **labels}
    lengths = torch.tensor([len(record) for record in features])
    padded = nn.utils.rnn.pad_sequence(features, batch_first=True)
    mask = torch.arange(padded.shape[1]) < lengths[:, None]
    return {"features": padded, "mask": mask, **labels}


class FeatureModel(nn.Module):
    """A classification head alone, on features computed once.

    The head is shared with the model that it was taken from, so training it trains that model's head.
    """

    def __init__(self, model):
        super().__init__()
        self.config = model.config
        self.classifier = model.classifier

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None, labels=None) -> dict:
        """Return ``logits``, and ``loss`` where labels are given, of a batch of `collate`."""
        logits = self.classifier(features, mask)
        loss = None
        if labels is not None:
            loss = sequence_loss(logits, labels, self.config.loss_type, self.config.focal_gamma)
        return {"loss": loss, "logits": logits}


@dataclass
class FitResult:
    """Outcome of `fit`.

    Attributes
    ----------
    history : list of dict
        The Trainer's log: loss, learning rate and validation figures by epoch.
    best_epoch : float or None
        Epoch whose weights the model has; None without a validation set, or where its metric was never defined.
    not_finite : bool
        Whether the loss became NaN or infinite, which ended the training.
    """

    history: list[dict]
    best_epoch: float | None
    not_finite: bool


def probabilities(logits: np.ndarray, task: str) -> np.ndarray:
    """Return predictions, computed in float64.

    Parameters
    ----------
    logits : float, shape (n, k)
    task : str

    Returns
    -------
    float64
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
    """Early stopping that counts the evaluations of earlier starts, which the Trainer does not pass on."""

    def on_train_begin(self, args, state, control, **kwargs):
        super().on_train_begin(args, state, control, **kwargs)
        self.early_stopping_patience_counter = _evaluations_since_best(state)


def _evaluations_since_best(state: TrainerState) -> int:
    evaluations = [entry["step"] for entry in state.log_history if "eval_loss" in entry]
    # While the metric is undefined, the first evaluation counts as the best.
    best = state.best_global_step or min(evaluations, default=0)
    return sum(step > best for step in evaluations)


def _patience(options: FitOptions) -> float:
    """Return the evaluations without a better score that end training: as many as the epochs of the option take."""
    if options.early_stopping_patience is None:
        return math.inf
    return math.ceil(options.early_stopping_patience / options.save_epochs)


def _not_finite(history: list[dict]) -> bool:
    """Return whether a loss among the log's entries is NaN or infinite."""
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


def _arguments(options: FitOptions, folder: Path, n_train: int, keeps_best: bool) -> TrainingArguments:
    steps = math.ceil(math.ceil(n_train / options.batch_size / process_count()) / options.accum_steps)
    return training_arguments(
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
        greater_is_better=METRICS[options.metric_for_best].higher_is_better,
        # At least one entry an epoch: the diagnosis of a collapse reads them.
        logging_steps=min(options.logging_steps, steps),
    )


def fit(
    model: nn.Module,
    train: LabelledData,
    validation: LabelledData | None,
    options: FitOptions,
    folder: Path,
    label: str = "training",
) -> FitResult:
    """Train ``model`` in place; with a validation set it ends with the weights of its best epoch.

    Batches are padded to their own longest record and grouped by length. Where ``folder`` holds complete checkpoints
    of an interrupted run, training resumes from the last one, with the same result as without the interruption.

    Parameters
    ----------
    model : nn.Module
        ``EsmForSequenceClassification``, the same with LoRA, or `FeatureModel`.
    train, validation : LabelledData
        ``validation`` None trains all epochs and keeps the last.
    options : FitOptions
    folder : path
        For the checkpoints; the caller removes it once the result is safe.
    label : str
        What the progress is that of.
    """
    set_seed(options.seed)
    folder.mkdir(parents=True, exist_ok=True)
    keeps_best = validation is not None
    arguments = _arguments(options, folder, len(train), keeps_best)
    callbacks = [_StopOnNonFiniteLoss(), _EveryNEpochs(options.save_epochs), KeepBestAndLast()]
    if keeps_best and math.isfinite(_patience(options)):
        callbacks.append(_EarlyStopping(_patience(options)))

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
        data_collator=collate,
        compute_metrics=compute_metrics,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    if trainer.args.should_save:
        discard_broken_checkpoints(folder)
    wait_for_everyone()
    checkpoint = _checkpoint_to_resume(arguments, options, folder, keeps_best)
    with Progress(None, "steps", label, enabled=options.progress) as progress:
        trainer.add_callback(ShowProgress(progress, options.metric_for_best))
        trainer.train(resume_from_checkpoint=checkpoint)
    if trainer.args.should_save:
        torch.save(trainer.args, folder / "training_args.bin")
    trainer.accelerator.free_memory()
    return _outcome(trainer.state, options, validation)


def _checkpoint_to_resume(
    arguments: TrainingArguments, options: FitOptions, folder: Path, keeps_best: bool
) -> str | None:
    """Return the last complete checkpoint; ``arguments`` get no further epoch where training had ended there."""
    checkpoint = last_complete_checkpoint(folder)
    if checkpoint is None:
        return None
    logger.info("resuming from %s", checkpoint)
    state = TrainerState.load_from_json(checkpoint / TRAINER_STATE_NAME)
    if _not_finite(state.log_history) or (keeps_best and _evaluations_since_best(state) >= _patience(options)):
        arguments.num_train_epochs = math.ceil(state.epoch)
    return str(checkpoint)


def _outcome(state: TrainerState, options: FitOptions, validation: LabelledData | None) -> FitResult:
    best = state.best_global_step
    best_epoch = next((entry["epoch"] for entry in state.log_history if best and entry.get("step") == best), None)
    not_finite = _not_finite(state.log_history)
    if validation is not None and best_epoch is None and not not_finite:
        logger.warning(
            "%s was undefined on the %d validation records in every epoch: the weights are those of the last one",
            options.metric_for_best,
            len(validation),
        )
    return FitResult(state.log_history, best_epoch, not_finite)


def add_lora(model, rank: int):
    """Wrap a classification model so that only low-rank updates of query and value, and the head, are trained.

    The scale alpha is twice the rank. ``merge_and_unload`` of the result gives a plain model back.

    References
    ----------
    Hu et al., LoRA: low-rank adaptation of large language models, ICLR (2022).
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
