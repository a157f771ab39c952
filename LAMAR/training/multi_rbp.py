"""Joint training of one classifier on many tracks: trapezoid in steps or time, exact resume, log, best weights."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_model, save
from torch import nn
from transformers import set_seed

from ..errors import InputError
from ..modeling_nucESM2 import EsmForSequenceClassification
from ..runs import storage
from ..runs.progress import Progress
from ..statistics.track_metrics import QUARTILES, summarise_tracks, track_table
from .extended_runs import continue_schedule, end_by_time, end_of, expected_end, passes_through
from .multi_rbp_data import JointData, WindowOrder, subsample_rows
from .multi_rbp_model import masked_track_loss, predict_logits, token_batch, track_weights
from .multi_rbp_options import JointOptions
from .processes import (
    is_main_process,
    process_count,
    process_device,
    process_rank,
    value_of_first_process,
    wait_for_everyone,
)
from .schedules import Schedule

__all__ = ["LOG_COLUMNS", "JointTraining", "train_jointly"]

logger = logging.getLogger(__name__)

LOG_COLUMNS = ("step", "windows", "passes", "train_loss", "dev_loss", "dev_auroc", *QUARTILES, "dev_auprc")
LOG_COLUMNS += ("learning_rate", "windows_per_s")
LAST, AT_PEAK = "last.pt", "at_peak.pt"  # of the newest step, and of the last one before the learning rate fell
LOSS_S = 5.0  # seconds after which the loss that is shown is computed again


@dataclass
class JointTraining:
    """Outcome of `train_jointly`, over all starts of the run.

    Attributes
    ----------
    rows : list of dict
        The log, with the keys `LOG_COLUMNS`.
    steps, windows : int
        Optimiser steps, and windows trained on, of all processes.
    seconds : float
        Time in training steps, without evaluation and saving.
    best_step : int
        Step whose weights the model has.
    """

    rows: list[dict]
    steps: int
    windows: int
    seconds: float
    best_step: int


def _parameter_groups(model: nn.Module, options: JointOptions) -> list[dict]:
    """Return the optimiser's groups: different rates for encoder and head, weight decay on matrices and kernels."""
    groups = []
    for is_head, lr in ((False, options.encoder_lr), (True, options.head_lr)):
        chosen = [p for name, p in model.named_parameters() if name.startswith("classifier.") is is_head]
        for decays in (True, False):
            parameters = [p for p in chosen if (p.dim() > 1) is decays]
            groups.append({"params": parameters, "lr": lr, "weight_decay": options.weight_decay if decays else 0.0})
    return groups


@dataclass
class _State:
    """What a checkpoint holds beside weights and optimiser."""

    schedule: Schedule
    step: int = 0
    seconds: float = 0.0
    ends_by_time: bool = False
    loss_sum: float = 0.0  # since the last row of the log
    loss_steps: int = 0
    row_seconds: float = 0.0  # at the last row of the log
    best_auroc: float = -2.0  # -1 where no track has both classes
    best_step: int = 0
    rows: list[dict] = field(default_factory=list)


class _Run:
    """One training: model, optimiser and state, and the folder of its checkpoints."""

    def __init__(self, model, data: JointData, options: JointOptions, folder: Path, log_path: Path):
        self.data, self.options, self.folder, self.log_path = data, options, folder, log_path
        self.device = process_device()
        self.model = model.to(self.device)
        n_bound, _ = data.track_counts(data.train)
        self.n_sites = n_bound
        self.weights = torch.from_numpy(track_weights(n_bound, options.track_power)).to(self.device)
        size = options.batch_size * process_count()
        self.order = WindowOrder(data.train, data.lengths(data.train), size, options.seed)
        self.dev = subsample_rows(data.dev, options.dev_windows, options.seed)
        self.optimizer = torch.optim.AdamW(_parameter_groups(self.model, options), betas=(0.9, 0.98))
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        schedule = Schedule.plan("trapezoid", options.max_steps, options.warmup_steps, options.decay_ratio)
        self.state = _State(schedule)
        self.recent, self.recent_steps = torch.zeros((), dtype=torch.float64, device=self.device), 0
        self.forward: Callable = self.model
        if process_count() > 1:
            self.forward = nn.parallel.DistributedDataParallel(self.model)

    # ------------------------------------------------------------------------------------------ checkpoints

    def save(self, name: str) -> None:
        """Write a checkpoint, as a whole."""
        if not is_main_process():
            return
        content = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        content |= {"state": asdict(self.state), "end": end_of(self.options)}
        with storage.atomic_write(self.folder / name, "wb") as handle:
            torch.save(content, handle)

    def best_file(self, step: int) -> Path:
        """Return the file of the weights of a step that was the best one so far."""
        return self.folder / f"best-{step}.safetensors"

    def _remove_superfluous(self) -> None:
        """Delete the weights of best steps that no checkpoint names any more."""
        named = {self.best_file(self.state.best_step)}
        if (self.folder / AT_PEAK).exists():
            named.add(self.best_file(self._read(AT_PEAK)["state"]["best_step"]))
        for path in self.folder.glob("best-*.safetensors"):
            if path not in named:
                path.unlink(missing_ok=True)

    def _read(self, name: str) -> dict:
        return torch.load(self.folder / name, map_location="cpu", weights_only=True)

    def resume(self) -> None:
        """Continue from the newest checkpoint, or from the last one at the peak rate if the end has moved.

        Raises
        ------
        InputError
            The end lies before what was trained at the peak rate.
        """
        stored = [self._read(name) for name in (LAST, AT_PEAK) if (self.folder / name).exists()]
        usable = [content for content in stored if self._is_usable(content)]
        if not stored:
            return
        if not usable:
            raise InputError(
                f"`max_steps`: found {self.options.max_steps}, wanted more: {self.folder} holds "
                f"{stored[0]['state']['step']} steps; use `overwrite` or another `output_dir` to start again"
            )
        content = usable[0]
        state = content["state"]
        schedule = self.state.schedule
        keeps_end = continue_schedule(schedule, state["schedule"], content["end"], self.options)
        ends_by_time = state["ends_by_time"] and keeps_end
        self.state = _State(**{**state, "schedule": schedule, "ends_by_time": ends_by_time})
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        logger.info("resuming from step %d (%s)", self.state.step, self.folder)

    def _is_usable(self, content: dict) -> bool:
        """Return whether the run with these options would have passed through this checkpoint."""
        state = content["state"]
        return passes_through(state["step"], state["schedule"], content["end"], self.state.schedule, self.options)

    # ------------------------------------------------------------------------------------------------- steps

    def train(self) -> None:
        """Train to the end of the schedule."""
        self.model.train()
        done = self.state.step * self.order.batch_size
        with Progress(None, "windows", "training", done=done, enabled=is_main_process()) as progress:
            self._train_steps(progress)

    def _train_steps(self, progress: Progress) -> None:
        state, options = self.state, self.options
        shown = time.monotonic()
        while state.step < state.schedule.end:
            start = time.perf_counter()
            self.recent += self._step()
            self.recent_steps += 1
            state.step += 1
            state.seconds += time.perf_counter() - start
            if options.max_minutes is not None and not state.ends_by_time:
                seconds = value_of_first_process(state.seconds, self.device)
                limits = options.max_minutes, options.decay_ratio
                state.ends_by_time = end_by_time(state.schedule, state.step, seconds, *limits)
            at_end = state.step >= state.schedule.end
            is_due = at_end or state.step % options.eval_steps == 0
            saves = is_due or state.step % options.save_steps == 0 or state.step == state.schedule.decay_start
            if time.monotonic() - shown >= LOSS_S:
                progress.figures["loss"], shown = self._mean_loss(), time.monotonic()
            end = expected_end(state.schedule, state.step, state.seconds, options.max_minutes, state.ends_by_time)
            progress.total = end * self.order.batch_size
            progress.advance(self.order.batch_size, step=state.step)
            if saves:
                self._collect()
            if is_due:
                self._evaluate()
                progress.advance(0, dev_AUROC=state.rows[-1]["dev_auroc"] if state.rows else None)
            if saves:
                self.save(LAST)
                if state.step == state.schedule.decay_start and not at_end:
                    self.save(AT_PEAK)  # an extended run resumes here
                if is_main_process() and is_due:
                    self._remove_superfluous()
                wait_for_everyone()

    def _step(self) -> torch.Tensor:
        """Make one optimiser step; return its loss, the mean over all known labels of all processes, float64."""
        state, n_processes = self.state, process_count()
        size = self.options.batch_size
        rows = self.order(state.step)[process_rank() * size : (process_rank() + 1) * size]
        factor = state.schedule.factor(state.step)
        for group, rate in zip(self.optimizer.param_groups, self.rates):
            group["lr"] = rate * factor
        labels = torch.from_numpy(self.data.labels[rows]).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.bf16):
            logits = self.forward(token_batch(self.data, rows, self.device)).logits
        loss, weight = masked_track_loss(logits, labels, self.weights)
        sums = torch.stack([loss.detach(), weight]).double()
        if n_processes > 1:
            torch.distributed.all_reduce(sums)
        # A batch without a known label teaches nothing. Processes' gradients are averaged, hence the factor.
        mean = loss / sums[1].clamp(min=1e-6).to(loss.dtype) * n_processes
        self.optimizer.zero_grad(set_to_none=True)
        mean.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.options.grad_clipping_norm)
        self.optimizer.step()
        return sums[0] / sums[1].clamp(min=1e-6)

    def _collect(self) -> None:
        """Add the losses of the last steps to the next row of the log."""
        self.state.loss_sum += self._recent_loss()
        self.state.loss_steps += self.recent_steps
        self.recent.zero_()
        self.recent_steps = 0

    def _mean_loss(self) -> float:
        """Return the mean loss since the last row of the log; call it rarely, because a GPU waits for it."""
        return (self.state.loss_sum + self._recent_loss()) / max(self.state.loss_steps + self.recent_steps, 1)

    def _recent_loss(self) -> float:
        """Return the sum of the losses that were not collected yet; `InputError` where it is not finite."""
        if not bool(torch.isfinite(self.recent)):
            raise InputError(
                f"`encoder_lr` {self.options.encoder_lr:g}: the loss became {self.recent.item()} before step "
                f"{self.state.step}, wanted lower rates or a longer warm-up"
            )
        return self.recent.item()

    def _evaluate(self) -> None:
        """Add a row to the log; keep the weights if no earlier ones had as high a mean AUROC."""
        if not is_main_process():
            return
        state = self.state
        logits = predict_logits(self.model, self.data, self.dev, self.options.bf16, "dev windows")
        labels = self.data.labels[self.dev]
        figures = summarise_tracks(track_table(labels, logits), self.n_sites)
        loss, weight = masked_track_loss(
            torch.from_numpy(logits), torch.from_numpy(labels), torch.ones(logits.shape[1])
        )
        state.rows.append(self._row(figures, float(loss / weight)))
        state.loss_sum, state.loss_steps, state.row_seconds = 0.0, 0, state.seconds
        storage.write_csv(self.log_path, state.rows, LOG_COLUMNS)
        quartiles = " ".join(f"{figures[name]:.3f}" for name in QUARTILES)
        logger.info(
            "step %d: dev loss %.4f, AUROC %.4f (quartiles of size %s), average precision %.4f",
            *(state.step, state.rows[-1]["dev_loss"], figures["auroc"], quartiles, figures["auprc"]),
        )
        score = figures["auroc"] if np.isfinite(figures["auroc"]) else -1.0
        if score > state.best_auroc:
            state.best_auroc, state.best_step = score, state.step
            with storage.atomic_write(self.best_file(state.step), "wb") as handle:
                handle.write(save({name: tensor.contiguous() for name, tensor in self.model.state_dict().items()}))

    def _row(self, figures: dict[str, float], dev_loss: float) -> dict:
        state = self.state
        windows = state.step * self.order.batch_size
        steps = state.step - (state.rows[-1]["step"] if state.rows else 0)
        return {
            "step": state.step,
            "windows": windows,
            "passes": windows / len(self.data.train),
            "train_loss": state.loss_sum / max(state.loss_steps, 1),
            "dev_loss": dev_loss,
            "dev_auroc": figures["auroc"],
            **{name: figures[name] for name in QUARTILES},
            "dev_auprc": figures["auprc"],
            "learning_rate": self.optimizer.param_groups[-1]["lr"],
            "windows_per_s": round(steps * self.order.batch_size / max(state.seconds - state.row_seconds, 1e-9), 1),
        }


def train_jointly(
    model: EsmForSequenceClassification, data: JointData, options: JointOptions, folder: Path, log_path: Path
) -> JointTraining:
    """Train ``model`` in place on all tracks; it ends with the weights of the highest mean dev AUROC.

    Where ``folder`` holds a checkpoint of an interrupted run, training resumes from it; on one process the weights are
    then bit for bit those of a run without the interruption (with ``max_minutes``, the step at which the rate falls
    depends on the clock). If the earlier run had another end, training resumes from before its learning rate fell.

    Parameters
    ----------
    model : EsmForSequenceClassification
        One output per track of ``data``.
    data : JointData
    options : JointOptions
        Completed (`JointOptions.completed`).
    folder : path
        Existing folder for the checkpoints.
    log_path : path
        CSV file of `LOG_COLUMNS`, which the first process writes at every evaluation.

    Raises
    ------
    InputError
        The loss became NaN or infinite, or ``max_steps`` is too small to resume what was trained.
    """
    set_seed(options.seed)
    run = _Run(model, data, options, folder, log_path)
    run.resume()
    run.train()
    wait_for_everyone()
    state = run.state
    step = int(value_of_first_process(state.best_step, run.device))
    load_model(run.model, run.best_file(step))
    windows = state.step * run.order.batch_size
    return JointTraining(state.rows, state.step, windows, state.seconds, step)
