"""Options of pre-training; names and defaults are those of the flags of ``pretrain.py``.

Import-light: the parser takes its defaults from here without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import ClassVar

from .options import MAX_STEPS, UNLIMITED_STEPS, EncoderOptions, TrainerOptions

__all__ = ["TOKEN_BUDGET", "WARMUP_STEPS", "PretrainOptions"]

TOKEN_BUDGET, WARMUP_STEPS = 8_192, 500


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(EncoderOptions, TrainerOptions):
    """Options of a whole pre-training run (`LAMAR.training.pretraining.pretrain`).

    Attributes
    ----------
    val_data : sequence of path
        Corpus to validate on.
    val_fraction : float
        Without ``val_data``: share of the sequences held out.
    val_nucleotides : int
        Held-out nucleotides to validate on, approximately at most.
    exclude : sequence of path
        Corpus that must stay unseen, such as test sets.
    exclude_run : int
        Training records that share that many nucleotides in a row with a validation sequence or one of ``exclude``
        are left out; 0 leaves out only equals of validation sequences.
    sequence_column : str, optional
        Column or key of sequences, where it is neither ``sequence`` nor ``seq``; in ``data_path`` and ``val_data``.
    streaming, keep_duplicates : bool
        Read the files again in each pass instead of keeping them in memory; train on every copy of a sequence.
    model_max_length : int
        Largest number of tokens of a window, two of them special; longer sequences are cut into windows.
    hidden_size, intermediate_size, num_attention_heads, num_hidden_layers : int, optional
        In place of the configuration's.
    flash_attention : bool
        The same as ``attention`` "flash".
    mask_rate, val_mask_rate : float
        Share of the nucleotides to predict, in training and in validation.
    region_rates : (float, float), optional
        Relative rates inside and outside the peaks of window metadata; each window's share stays ``mask_rate``.
    span_length : int
        Nucleotides masked in a row.
    data_collator_patch : bool
        Replace nucleotides by nucleotides only; this always applies, the option is accepted for old command lines.
    token_budget, batch_size : int, optional
        Size of a process's batch, in tokens with padding, or in windows of ``model_max_length`` tokens.
    max_steps : int, optional
        Optimiser steps; None takes 10,000, or with ``max_minutes`` no limit.
    max_minutes : float, optional
        Time in training steps, over all starts. With the trapezoid schedule the learning rate begins to fall early
        enough to have fallen by then.
    peak_lr, schedule
        Peak learning rate, and a name of `LAMAR.training.schedules.SCHEDULES`.
    warmup_steps : int, optional
        Steps with a rising rate; None follows ``warmup_ratio``.
    decay_ratio : float
        Trapezoid: share of the steps with a falling rate.
    compile : bool
        Use ``torch.compile``.
    markov_order : int
        Largest order of the Markov chains to compare with.
    save_steps, eval_steps : int
        Steps between two checkpoints, and between two evaluations (None: as ``save_steps``).
    """

    val_data: Sequence[str | PathLike] = ()
    val_fraction: float = 0.02
    val_nucleotides: int = 200_000
    exclude: Sequence[str | PathLike] = ()
    exclude_run: int = 30
    sequence_column: str | None = None
    streaming: bool = False
    keep_duplicates: bool = False
    model_max_length: int = 512
    hidden_size: int | None = None
    intermediate_size: int | None = None
    num_attention_heads: int | None = None
    num_hidden_layers: int | None = None
    flash_attention: bool = False
    mask_rate: float = 0.15
    val_mask_rate: float = 0.15
    region_rates: Sequence[float] | None = None
    span_length: int = 1
    data_collator_patch: bool = False
    token_budget: int | None = None
    batch_size: int | None = None
    max_steps: int | None = None
    max_minutes: float | None = None
    peak_lr: float = 1e-4
    schedule: str = "trapezoid"
    warmup_steps: int | None = None
    decay_ratio: float = 0.2
    compile: bool = False
    markov_order: int = 10
    save_steps: int = 500
    eval_steps: int | None = None

    added_later: ClassVar[tuple[str, ...]] = ("sequence_column",)

    def completed(self) -> PretrainOptions:
        """Return the same options with a number wherever None stands for a default that follows from others."""
        budget = self.token_budget
        if self.batch_size is not None:
            budget = self.batch_size * self.model_max_length
        unlimited = self.max_steps is None and self.max_minutes is not None
        max_steps = self.max_steps or (UNLIMITED_STEPS if unlimited else MAX_STEPS)
        warmup_steps = self.warmup_steps
        if warmup_steps is None:
            warmup_steps = WARMUP_STEPS if unlimited else round(self.warmup_ratio * max_steps)
        return replace(
            self,
            token_budget=budget or TOKEN_BUDGET,
            max_steps=max_steps,
            warmup_steps=warmup_steps,
            eval_steps=self.eval_steps or self.save_steps,
        )
