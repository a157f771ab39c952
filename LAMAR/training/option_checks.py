"""Ranges of the numbers in `LAMAR.training.options`, for callers whose values did not pass through a parser."""

from __future__ import annotations

import math
import numbers
from dataclasses import fields

from ..errors import InputError, quoted
from .options import OptimiserOptions

__all__ = ["check_numbers"]

# Smallest value of each whole number. ``max_length`` has its own check, with the records that are too long.
_WHOLE = {"seed": 0, "warmup_epochs": 0, "warmup_steps": 0} | dict.fromkeys(
    "accum_steps batch_size cv_folds dev_windows draws early_stopping_patience epochs eval_batch_size "
    "eval_steps head_channels head_kernel_size logging_steps lora_rank max_steps min_sites nlabels "
    "save_epochs save_steps span_length subsample_neg subsample_pos token_budget".split(),
    1,
)
_POSITIVE = ("encoder_lr", "grad_clipping_norm", "head_lr", "lr", "max_minutes", "peak_lr")
_FRACTIONS = ("decay_ratio", "warmup_ratio")


def check_numbers(options: OptimiserOptions) -> None:
    """Refuse numbers that no training can have, before anything is read or written.

    Parameters
    ----------
    options : OptimiserOptions
        Of any kind of training; options that are None are left to their defaults.

    Raises
    ------
    InputError
        Names the option, what was found and what was wanted.
    """
    for field in fields(options):
        name, value = field.name, getattr(options, field.name)
        if value is None:
            continue
        is_real = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
        if name in _WHOLE:
            fits = is_real and isinstance(value, numbers.Integral) and value >= _WHOLE[name]
            wanted = f"a whole number from {_WHOLE[name]}"
        elif name in _POSITIVE:
            fits, wanted = is_real and value > 0, "a number above 0"
        elif name in _FRACTIONS:
            fits, wanted = is_real and 0 <= value < 1, "a number from 0 up to, not including, 1"
        elif name == "weight_decay":
            fits, wanted = is_real and value >= 0, "0 or more"
        else:
            continue
        if not fits:
            raise InputError(f"`{name}`: found {quoted(value)}, wanted {wanted}")
