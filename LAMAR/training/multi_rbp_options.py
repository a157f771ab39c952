"""Options of the joint training on many RBPs; names and defaults are those of the flags of ``finetune_all_rbps.py``.

Import-light: the parser takes its defaults from here without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from typing import Any

from ..tasks import HEADS
from .options import MAX_STEPS, UNLIMITED_STEPS, EncoderOptions, OptimiserOptions

__all__ = ["DEFAULT_HEAD", "JOINT_HEADS", "JointOptions"]

# Heads that read nucleotides: <cls> alone has to be trained for longer than the joint training takes.
JOINT_HEADS = tuple(head.name for head in HEADS.values() if head.pooling != "cls")
DEFAULT_HEAD = "max_mean"


@dataclass(frozen=True, kw_only=True)
class JointOptions(EncoderOptions, OptimiserOptions):
    """Options of a whole joint training (`LAMAR.training.multi_rbp_run.finetune_all_rbps`).

    Attributes
    ----------
    pretrain_path : str or path, optional
        As in `LAMAR.training.options.FinetuneOptions`.
    hold_out : sequence of str
        Targets (``QKI``) of which no track is trained, see `LAMAR.training.multi_rbp_data.prepare_joint_data`.
    min_sites : int
        Bound windows in the train part below which a track is left out.
    head : str, optional
        One of `JOINT_HEADS`; None takes that of ``pretrain_path``, or `DEFAULT_HEAD`.
    head_channels, head_kernel_size : int
        Width and kernel size, in nucleotides, of the head's convolution.
    new_head : bool
        Start with a new head where the weights have one.
    batch_size : int
        Windows of one process's batch.
    max_steps : int, optional
        Optimiser steps; None takes 10,000, or with ``max_minutes`` no limit.
    max_minutes : float, optional
        Time in training steps, over all starts. The learning rate begins to fall early enough to have fallen by then.
    head_lr, encoder_lr : float
        Peak learning rates.
    warmup_steps : int
        Steps with a rising rate.
    decay_ratio : float
        Share of the steps with a falling rate.
    track_power : float
        Each track's weight in the loss is its number of sites to this power.
    eval_steps, save_steps : int
        Steps between two evaluations, and between two checkpoints.
    dev_windows : int
        Dev windows of the evaluations during training, drawn once; the final evaluation uses all.
    prior : float
        Sites per background window that calibrated probabilities assume.
    """

    pretrain_path: str | PathLike | None = None
    hold_out: Sequence[str] = ()
    min_sites: int = 1
    head: str | None = None
    head_channels: int = 256
    head_kernel_size: int = 9
    new_head: bool = False
    batch_size: int = 64
    max_steps: int | None = None
    max_minutes: float | None = None
    head_lr: float = 1e-3
    encoder_lr: float = 3e-4
    warmup_steps: int = 200
    decay_ratio: float = 0.3
    track_power: float = 0.0
    eval_steps: int = 500
    save_steps: int = 250
    dev_windows: int = 6_000
    prior: float = 1e-3

    def completed(self) -> JointOptions:
        """Return the same options with a number of steps where None stands for the default."""
        return replace(self, max_steps=self.max_steps or (UNLIMITED_STEPS if self.max_minutes else MAX_STEPS))

    def recorded(self, **others: Any) -> dict[str, Any]:
        """Return the arguments that a run's ``run.json`` holds: all options, and ``others``."""
        return asdict(self) | {"hold_out": list(self.hold_out)} | others
