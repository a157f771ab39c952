"""Masked-LM training on a Hugging Face ``Trainer``: schedule, exact resume, time limit, log, validation."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_model
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainerCallback, set_seed
from transformers.utils import SAFE_WEIGHTS_NAME

from ..errors import InputError
from ..modeling_nucESM2 import EsmForMaskedLM
from ..runs import storage
from .masked_validation import MaskedWindows, evaluate
from .trainers import (
    COMPLETE,
    checkpoint_step,
    complete_checkpoints,
    discard_broken_checkpoints,
    last_complete_checkpoint,
    mark_complete,
    remove_checkpoint,
    silence,
    training_arguments,
    world_size,
)
from .window_batches import TrainingBatches

__all__ = ["LOG_COLUMNS", "PretrainOptions", "PretrainResult", "Schedule", "pretrain"]

logger = logging.getLogger(__name__)

LOG_COLUMNS = ("step", "tokens", "train_loss", "validation_loss", "learning_rate", "tokens_per_s")
SCHEDULES = ("trapezoid", "linear")


@dataclass
class Schedule:
    """Learning rate as a factor of its peak.

    ``linear`` rises over the warm-up and falls to the last step. ``trapezoid`` stays at the peak in between, and falls
    over the last ``decay_ratio`` of the steps: until the fall begins, what was trained does not depend on where the
    end is, so that a run can be made longer or end early (Hägele et al., 2024, arXiv 2405.18392).

    Attributes
    ----------
    end
        Number of steps; the last one has a rate above 0.
    decay_start
        Steps before the fall.
    """

    warmup: int
    decay_start: int
    end: int

    @classmethod
    def plan(cls, kind: str, max_steps: int, warmup: int, decay_ratio: float) -> Schedule:
        warmup = min(warmup, max_steps)
        falling = max_steps - warmup if kind == "linear" else round(decay_ratio * max_steps)
        return cls(warmup, max(warmup, max_steps - falling), max_steps)

    def factor(self, step: int) -> float:
        """Of the step after ``step`` others: 0 to 1."""
        rise = (step + 1) / self.warmup if step < self.warmup else 1.0
        fall = (self.end - step) / max(1, self.end - self.decay_start) if step > self.decay_start else 1.0
        return max(0.0, min(rise, fall))

    def end_early(self, step: int, decay_ratio: float) -> None:
        """Let the fall begin now, as long as ``decay_ratio`` of all steps will then have been."""
        falling = round(step * decay_ratio / (1 - decay_ratio))
        self.decay_start, self.end = step, min(self.end, step + falling)


@dataclass(frozen=True)
class PretrainOptions:
    """Hyperparameters of one run; names and defaults as in ``pretrain.py``.

    ``max_minutes`` bounds the time spent in training, over all starts. With the trapezoid schedule the learning rate
    begins to fall early enough to have fallen by then.
    """

    max_steps: int = 10_000
    max_minutes: float | None = None
    peak_lr: float = 1e-4
    schedule: str = "trapezoid"
    warmup_steps: int = 500
    decay_ratio: float = 0.2
    weight_decay: float = 0.01
    grad_clipping_norm: float = 1.0
    accum_steps: int = 1
    save_steps: int = 500
    eval_steps: int = 500
    logging_steps: int = 50
    fp16: bool = False
    bf16: bool = False
    gradient_checkpointing: bool = False
    compile: bool = False
    report_to: str = "none"
    seed: int = 42
    progress: bool = True


@dataclass
class PretrainResult:
    """Outcome of :func:`pretrain`.

    Attributes
    ----------
    rows
        The log, dicts of :data:`LOG_COLUMNS`.
    steps, tokens, seconds
        Trained over all starts; tokens without padding, of all processes; seconds without validation and saving.
    padding
        Share of padding in all tokens of the batches.
    passes
        Passes over the corpus, the last one as a rule unfinished.
    """

    rows: list[dict]
    steps: int
    tokens: int
    seconds: float
    padding: float
    passes: int


class _Progress(TrainerCallback):
    """Keeps time, log and schedule; marks checkpoints as whole, with all of these, and removes older ones."""

    def __init__(self, options: PretrainOptions, schedule: Schedule, batches: TrainingBatches, log_path: Path):
        self.options, self.schedule, self.batches, self.log_path = options, schedule, batches, log_path
        self.rows: list[dict] = []
        self.seconds = 0.0
        self.seen = {"tokens": 0, "padded": 0, "passes": 0, "seconds": 0.0}  # at the last row
        self.ends_by_time = False

    def state(self) -> dict:
        """What a checkpoint needs beside the Trainer's own files."""
        state = {"rows": self.rows, "seconds": self.seconds, "seen": self.seen, "ends_by_time": self.ends_by_time}
        return state | {"schedule": asdict(self.schedule), "end": _end(self.options)}

    def restore(self, state: dict) -> None:
        self.rows, self.seconds, self.seen = state["rows"], state["seconds"], state["seen"]
        # The warm-up is over or in course; that the end has moved must not bend it.
        self.schedule.warmup = state["schedule"]["warmup"]
        if state["end"] == _end(self.options):
            self.schedule.decay_start, self.schedule.end = (state["schedule"][key] for key in ("decay_start", "end"))
            self.ends_by_time = state["ends_by_time"]

    def on_train_begin(self, args, state, control, **kwargs):
        # A checkpoint brings those of the earlier start.
        state.logging_steps, state.save_steps = self.options.logging_steps, self.options.save_steps
        self._last = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        now = time.perf_counter()
        self.seconds, self._last = self.seconds + now - self._last, now
        step = state.global_step
        if self.options.max_minutes is not None and not self.ends_by_time:
            self._watch_the_clock(step, args.device)
        if step == self.schedule.decay_start and step < self.schedule.end:
            control.should_save = True  # whoever makes the run longer goes on from here
        if step >= self.schedule.end:
            control.should_training_stop = control.should_save = control.should_evaluate = True
        if step % self.options.eval_steps == 0:
            control.should_evaluate = True
        # The mean loss between two rows is not in a checkpoint, so a row ends where one is made.
        control.should_log = control.should_log or control.should_save or control.should_evaluate
        return control

    def _watch_the_clock(self, step: int, device) -> None:
        limit = 60 * self.options.max_minutes
        ratio = self.options.decay_ratio if self.options.schedule == "trapezoid" else 0.0
        seconds, schedule = _of_first_process(self.seconds, device), self.schedule
        if step < schedule.decay_start and seconds >= (1 - ratio) * limit:
            schedule.end_early(step, ratio)
            self.ends_by_time = True
        elif step >= schedule.decay_start and seconds >= limit:
            schedule.end = step  # the number of steps had begun the fall, too late
            self.ends_by_time = True
        if self.ends_by_time:
            logger.info("--max_minutes %g: training ends at step %d", self.options.max_minutes, schedule.end)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise InputError(
                f"--peak_lr {self.options.peak_lr:g}: the loss became {logs['loss']} before step {state.global_step}, "
                "wanted a lower rate, a longer warm-up, or no --fp16"
            )
        tokens = self.batches.tokens
        speed = (tokens - self.seen["tokens"]) / max(self.seconds - self.seen["seconds"], 1e-9)
        self.seen = {"tokens": tokens, "padded": self.batches.padded, "passes": self.batches.passes}
        self.seen["seconds"] = self.seconds
        values = (state.global_step, tokens, logs["loss"], None, logs["learning_rate"], round(speed, 1))
        self.rows.append(dict(zip(LOG_COLUMNS, values)))
        logger.info("step %d: loss %.4f, %s tokens, %.0f tokens/s", values[0], values[2], f"{tokens:,}", speed)
        self._write(state)

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        self.rows[-1]["validation_loss"] = metrics["eval_loss"]
        logger.info("step %d: validation loss %.4f", state.global_step, metrics["eval_loss"])
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
            found = complete_checkpoints(folder)
            at_peak = [path for path in found if not _has_fallen(path)]
            for path in found:
                if path not in (found[-1], *at_peak[-1:]):
                    remove_checkpoint(path)
        self._last = time.perf_counter()


def _of_first_process(value: float, device) -> float:
    """The value that the first process has, so that all decide alike."""
    if world_size() == 1:
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    torch.distributed.broadcast(shared, 0)
    return shared.item()


def _end(options: PretrainOptions) -> dict:
    """What says where a run ends, which may change between starts."""
    return {"max_steps": options.max_steps, "max_minutes": options.max_minutes, "decay_ratio": options.decay_ratio}


def _has_fallen(checkpoint: Path) -> bool:
    """Whether the learning rate had begun to fall."""
    return checkpoint_step(checkpoint) > storage.read_json(checkpoint / COMPLETE)["schedule"]["decay_start"]


def _usable(checkpoint: Path, options: PretrainOptions, schedule: Schedule) -> bool:
    """Whether the run with these options would have come by this checkpoint."""
    same_end = storage.read_json(checkpoint / COMPLETE)["end"] == _end(options)
    return same_end or (checkpoint_step(checkpoint) <= schedule.decay_start and not _has_fallen(checkpoint))


class _Trainer(Trainer):
    def __init__(self, *args, batches: TrainingBatches, validation: MaskedWindows, schedule: Schedule, **kwargs):
        super().__init__(*args, **kwargs)
        self.batches, self.validation, self.schedule = batches, validation, schedule
        # Has the Trainer count the predicted positions of all micro-batches and processes of a step.
        self.model_accepts_loss_kwargs = True

    def get_train_dataloader(self):
        # Its batches are this process's own already, and on the CPU: nothing for accelerate to divide or to wrap.
        return self.batches

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        # A function: the state of an object with __call__ would be stored, and put back over a schedule that has a
        # new end.
        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, lambda step: self.schedule.factor(step))
        return self.lr_scheduler

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Mean over all predicted positions of the step, however they lie in micro-batches and processes."""
        output = model(**inputs, labelled_only=True)
        # Processes' gradients are averaged afterwards, hence the factor.
        share = inputs["labels"].ne(-100).sum() / num_items_in_batch * self.args.world_size
        loss = output.loss * share
        return (loss, output) if return_outputs else loss

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        figures = evaluate(self.model, self.validation, self.args.process_index, self.args.world_size)
        metrics = {"eval_loss": figures["loss"], "eval_accuracy": figures["accuracy"]}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def pretrain(
    model: EsmForMaskedLM,
    batches: TrainingBatches,
    validation: MaskedWindows,
    options: PretrainOptions,
    folder: Path,
    log_path: Path,
) -> PretrainResult:
    """Train ``model`` in place.

    Checkpoints go to ``folder``. If it holds whole ones of an interrupted run, training goes on from the last, and on
    one process weights and losses are bit for bit those of a run that nobody interrupted. If the earlier run had
    another end (``max_steps``, ``max_minutes``), it goes on from the last one before its learning rate fell.

    Parameters
    ----------
    folder
        Is there already.
    log_path
        CSV file of :data:`LOG_COLUMNS`, written by the first process at every row.

    Raises
    ------
    InputError
        The loss is no number any more; or ``max_steps`` is too small to go on from what was trained.
    """
    set_seed(options.seed)
    schedule = Schedule.plan(options.schedule, options.max_steps, options.warmup_steps, options.decay_ratio)
    progress = _Progress(options, schedule, batches, log_path)
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
        callbacks=[progress],
        batches=batches,
        validation=validation,
        schedule=schedule,
    )
    if not options.progress:
        silence(trainer)
    if trainer.args.should_save:
        discard_broken_checkpoints(folder)
        for path in complete_checkpoints(folder):
            if _usable(path, options, schedule):
                continue
            # Only a fall may be taken back: the rate must still be at its peak where the new one begins.
            if checkpoint_step(path) > (options.max_steps if _has_fallen(path) else schedule.decay_start):
                raise InputError(
                    f"--max_steps: found {options.max_steps}, wanted more: {folder} holds {checkpoint_step(path)} "
                    "steps of a longer run; use --overwrite or another --output_dir to start anew"
                )
            remove_checkpoint(path)
    trainer.accelerator.wait_for_everyone()
    checkpoint, done = last_complete_checkpoint(folder), 0
    if checkpoint is not None:
        done = checkpoint_step(checkpoint)
        progress.restore(storage.read_json(checkpoint / COMPLETE))
        logger.info("going on from step %d (%s)", done, checkpoint)
    batches.skip = done * options.accum_steps
    if done < schedule.end:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        done = trainer.state.global_step
    elif checkpoint is not None:
        # Stopped between its last step and its figures: what training would have loaded, and its precision.
        load_model(model, checkpoint / SAFE_WEIGHTS_NAME)
        trainer.accelerator.prepare_model(model, evaluation_mode=True)
    if trainer.args.should_save:
        torch.save(trainer.args, folder / "training_args.bin")
    trainer.accelerator.free_memory()
    seen = progress.seen
    padding = 1 - seen["tokens"] / max(seen["padded"], 1)
    return PretrainResult(progress.rows, done, seen["tokens"], progress.seconds, padding, seen["passes"])
