"""Masked-LM training on a Hugging Face ``Trainer``: exact resume, time limit, log, validation."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_model
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, Trainer, TrainerCallback, set_seed
from transformers.utils import SAFE_WEIGHTS_NAME

from ..errors import InputError
from ..modeling_nucESM2 import EsmForMaskedLM
from ..runs import storage
from ..runs.progress import Progress
from .extended_runs import continue_schedule, end_by_time, end_of, expected_end, passes_through
from .masked_validation import MaskedWindows, evaluate
from .pretrain_options import PretrainOptions
from .processes import value_of_first_process, wait_for_everyone
from .schedules import Schedule
from .trainers import (
    COMPLETE,
    checkpoint_step,
    complete_checkpoints,
    discard_broken_checkpoints,
    last_complete_checkpoint,
    mark_complete,
    remove_checkpoint,
    training_arguments,
)
from .window_batches import TrainingBatches

__all__ = ["LOG_COLUMNS", "MaskedTraining", "train_masked_lm"]

logger = logging.getLogger(__name__)

LOG_COLUMNS = ("step", "tokens", "train_loss", "validation_loss", "learning_rate", "tokens_per_s")


@dataclass
class MaskedTraining:
    """Outcome of `train_masked_lm`, over all starts of the run.

    Attributes
    ----------
    rows : list of dict
        The log, with the keys `LOG_COLUMNS`.
    steps, tokens : int
        Optimiser steps, and tokens without padding of all processes.
    seconds : float
        Time in training steps, without validation and saving.
    padding : float
        Share of padding in all tokens of the batches.
    passes : int
        Passes over the corpus begun; the last one is usually unfinished.
    """

    rows: list[dict]
    steps: int
    tokens: int
    seconds: float
    padding: float
    passes: int


class _Keeper(TrainerCallback):
    """Keeps and shows time, log and schedule; marks checkpoints as complete, with all of these, and removes older ones.

    ``progress`` must be open while the Trainer runs.
    """

    def __init__(
        self,
        options: PretrainOptions,
        schedule: Schedule,
        batches: TrainingBatches,
        log_path: Path,
        progress: Progress,
    ):
        self.options, self.schedule, self.batches, self.log_path = options, schedule, batches, log_path
        self.progress = progress
        self.rows: list[dict] = []
        self.seconds = 0.0
        self.seen = {"tokens": 0, "padded": 0, "passes": 0, "seconds": 0.0}  # up to the last row
        self.ends_by_time = False

    def state(self) -> dict:
        """Return what a checkpoint needs beside the Trainer's own files."""
        state = {"rows": self.rows, "seconds": self.seconds, "seen": self.seen, "ends_by_time": self.ends_by_time}
        return state | {"schedule": asdict(self.schedule), "end": end_of(self.options)}

    def restore(self, state: dict) -> None:
        """Continue from a checkpoint's `state`; its end applies only where the options have the same end."""
        self.rows, self.seconds, self.seen = state["rows"], state["seconds"], state["seen"]
        if continue_schedule(self.schedule, state["schedule"], state["end"], self.options):
            self.ends_by_time = state["ends_by_time"]

    def on_train_begin(self, args, state, control, **kwargs):
        # A checkpoint restores those of the earlier start.
        state.logging_steps, state.save_steps = self.options.logging_steps, self.options.save_steps
        self.progress.resume(state.global_step)
        self._last = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        now = time.perf_counter()
        self.seconds, self._last = self.seconds + now - self._last, now
        step = state.global_step
        if self.options.max_minutes is not None and not self.ends_by_time:
            self._watch_the_clock(step, args.device)
        if step == self.schedule.decay_start and step < self.schedule.end:
            control.should_save = True  # an extended run resumes here
        if step >= self.schedule.end:
            control.should_training_stop = control.should_save = control.should_evaluate = True
        if step % self.options.eval_steps == 0:
            control.should_evaluate = True
        # The mean loss between two rows is not in a checkpoint, so a row ends where one is made.
        control.should_log = control.should_log or control.should_save or control.should_evaluate
        limit = self.options.max_minutes
        self.progress.total = expected_end(self.schedule, step, self.seconds, limit, self.ends_by_time)
        self.progress.advance()
        return control

    def _watch_the_clock(self, step: int, device) -> None:
        ratio = self.options.decay_ratio if self.options.schedule == "trapezoid" else 0.0
        seconds = value_of_first_process(self.seconds, device)
        self.ends_by_time = end_by_time(self.schedule, step, seconds, self.options.max_minutes, ratio)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise InputError(
                f"`peak_lr` {self.options.peak_lr:g}: the loss became {logs['loss']} before step {state.global_step}, "
                "wanted a lower rate, a longer warm-up, or no `fp16`"
            )
        tokens = self.batches.tokens
        speed = (tokens - self.seen["tokens"]) / max(self.seconds - self.seen["seconds"], 1e-9)
        self.seen = {"tokens": tokens, "padded": self.batches.padded, "passes": self.batches.passes}
        self.seen["seconds"] = self.seconds
        values = (state.global_step, tokens, logs["loss"], None, logs["learning_rate"], round(speed, 1))
        self.rows.append(dict(zip(LOG_COLUMNS, values)))
        self.progress.advance(0, loss=float(logs["loss"]), tokens=tokens, tokens_per_s=round(speed))
        self._write(state)

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        self.rows[-1]["validation_loss"] = metrics["eval_loss"]
        losses = self.rows[-1]["train_loss"], metrics["eval_loss"]
        logger.info("step %d: loss %.4f, validation loss %.4f", state.global_step, *losses)
        self.progress.advance(0, validation_loss=float(metrics["eval_loss"]))
        self._write(state)
        self._last = time.perf_counter()

    def _write(self, state) -> None:
        if state.is_world_process_zero:
            storage.write_csv(self.log_path, self.rows, LOG_COLUMNS)

    def on_save(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            folder = Path(args.output_dir)
            checkpoint = folder / f"checkpoint-{state.global_step}"
            mark_complete(checkpoint, self.state())
            complete = complete_checkpoints(folder)
            at_peak = [path for path in complete if not _has_fallen(path)]
            for path in complete:
                if path not in (complete[-1], *at_peak[-1:]):
                    remove_checkpoint(path)
        self._last = time.perf_counter()


# Entries of `_Keeper.state`, and their types.
_STATE = {"rows": list, "seconds": float | int, "seen": dict, "ends_by_time": bool, "schedule": dict, "end": dict}


def _stored_state(checkpoint: Path) -> dict:
    """Return what `_Keeper.state` was when a checkpoint was written; `InputError` where the file holds another."""
    state = storage.read_json_object(checkpoint / COMPLETE)
    wrong = [name for name, kind in _STATE.items() if not isinstance(state.get(name), kind)]
    if not wrong:
        numbers = (state["schedule"].get(name) for name in ("warmup", "decay_start", "end"))
        wrong = [] if all(isinstance(number, int) for number in numbers) else ["schedule"]
    if wrong:
        raise InputError(f"{checkpoint / COMPLETE}: {wrong[0]}: not what pre-training writes; delete {checkpoint.name}")
    return state


def _has_fallen(checkpoint: Path) -> bool:
    """Return whether the learning rate had begun to fall."""
    return checkpoint_step(checkpoint) > _stored_state(checkpoint)["schedule"]["decay_start"]


def _usable(checkpoint: Path, options: PretrainOptions, schedule: Schedule) -> bool:
    """Return whether the run with these options would have passed through this checkpoint."""
    stored = _stored_state(checkpoint)
    return passes_through(checkpoint_step(checkpoint), stored["schedule"], stored["end"], schedule, options)


class _Trainer(Trainer):
    def __init__(self, *args, batches: TrainingBatches, validation: MaskedWindows, schedule: Schedule, label, **kwargs):
        super().__init__(*args, **kwargs)
        self.batches, self.validation, self.schedule, self.label = batches, validation, schedule, label
        # Makes the Trainer count the predicted positions of all micro-batches and processes of a step.
        self.model_accepts_loss_kwargs = True

    def get_train_dataloader(self):
        # Its batches are already those of this process, and on the CPU: accelerate has nothing to divide or wrap.
        return self.batches

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        # A function, because the state of an object with __call__ would be stored, and restored over a schedule with
        # a new end.
        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, lambda step: self.schedule.factor(step))
        return self.lr_scheduler

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return the mean over all predicted positions of the step, however micro-batches and processes divide them."""
        output = model(**inputs, labelled_only=True)
        # Processes' gradients are averaged afterwards, hence the factor.
        share = inputs["labels"].ne(-100).sum() / num_items_in_batch * self.args.world_size
        loss = output.loss * share
        return (loss, output) if return_outputs else loss

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        figures = evaluate(self.model, self.validation, self.label)
        metrics = {"eval_loss": figures["loss"], "eval_accuracy": figures["accuracy"]}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def train_masked_lm(
    model: EsmForMaskedLM,
    batches: TrainingBatches,
    validation: MaskedWindows,
    options: PretrainOptions,
    folder: Path,
    log_path: Path,
) -> MaskedTraining:
    """Train ``model`` in place.

    Where ``folder`` holds complete checkpoints of an interrupted run, training resumes from the last one; on one
    process weights and losses are then bit for bit those of a run without the interruption. If the earlier run had
    another end (``max_steps``, ``max_minutes``), training resumes from the last one before its learning rate fell.

    Parameters
    ----------
    model : EsmForMaskedLM
    batches : TrainingBatches
    validation : MaskedWindows
    options : PretrainOptions
        Completed (`PretrainOptions.completed`).
    folder : path
        Existing folder for the checkpoints.
    log_path : path
        CSV file of `LOG_COLUMNS`, which the first process writes at every row.

    Raises
    ------
    InputError
        The loss became NaN or infinite, or ``max_steps`` is too small to resume what was trained.
    """
    set_seed(options.seed)
    schedule = Schedule.plan(options.schedule, options.max_steps, options.warmup_steps, options.decay_ratio)
    progress = Progress(schedule.end, "steps", "pre-training", enabled=options.progress)
    keeper = _Keeper(options, schedule, batches, log_path, progress)
    arguments = training_arguments(
        options,
        folder,
        max_steps=options.max_steps,
        learning_rate=options.peak_lr,
        logging_steps=options.logging_steps,
        save_steps=options.save_steps,
        # The batches begin where training stopped; the Trainer would read those before them one by one.
        ignore_data_skip=True,
        torch_compile=options.compile,
    )
    trainer = _Trainer(
        model=model,
        args=arguments,
        callbacks=[keeper],
        batches=batches,
        validation=validation,
        schedule=schedule,
        label="validation" if options.progress else None,
    )
    trainer.remove_callback(PrinterCallback)
    if trainer.args.should_save:
        _discard_unusable(folder, options, schedule)
    wait_for_everyone()
    checkpoint, done = last_complete_checkpoint(folder), 0
    if checkpoint is not None:
        done = checkpoint_step(checkpoint)
        keeper.restore(_stored_state(checkpoint))
        logger.info("resuming from step %d (%s)", done, checkpoint)
    batches.skip = done * options.accum_steps
    if done < schedule.end:
        with progress:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        done = trainer.state.global_step
    elif checkpoint is not None:
        # Stopped between its last step and its figures: load what training would have loaded, in its precision.
        load_model(model, checkpoint / SAFE_WEIGHTS_NAME)
        trainer.accelerator.prepare_model(model, evaluation_mode=True)
    if trainer.args.should_save:
        torch.save(trainer.args, folder / "training_args.bin")
    trainer.accelerator.free_memory()
    seen = keeper.seen
    padding = 1 - seen["tokens"] / max(seen["padded"], 1)
    return MaskedTraining(keeper.rows, done, seen["tokens"], keeper.seconds, padding, seen["passes"])


def _discard_unusable(folder: Path, options: PretrainOptions, schedule: Schedule) -> None:
    """Delete broken checkpoints, and those that a run with these options would not have passed through.

    Raises
    ------
    InputError
        They belong to a longer run.
    """
    discard_broken_checkpoints(folder)
    for path in complete_checkpoints(folder):
        if _usable(path, options, schedule):
            continue
        # Only a fall can be undone: the rate must still be at its peak where the new one begins.
        if checkpoint_step(path) > (options.max_steps if _has_fallen(path) else schedule.decay_start):
            raise InputError(
                f"`max_steps`: found {options.max_steps}, wanted more: {folder} holds {checkpoint_step(path)} "
                "steps of a longer run; use `overwrite` or another `output_dir` to start again"
            )
        remove_checkpoint(path)
