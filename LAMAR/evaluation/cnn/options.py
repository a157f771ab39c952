"""How the CNN is trained: recipes, and the options they give.

``doc`` has the numbers commonly written for this network: at most 30 epochs in batches of 256, early stopping after 5
epochs. On a few thousand sequences that is some ten optimiser steps per epoch. The running statistics of batch norm,
which keep 99 % of themselves at each step, are still near their start after five epochs, so that validation loss, which
is computed with them, says nothing about the weights and stops training.

``default`` is the same with floors in optimiser steps: training never stops before 500 steps without improvement, and
small sets get as many epochs as make 1,500 steps. It serves every representation and every size of data set, and was
chosen on validation figures alone (tests/benchmarks/study_recipes.py, docs/RESULTS.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ...errors import InputError

__all__ = ["RECIPES", "CnnOptions"]

RECIPES = {
    "doc": {
        "epochs": 30,
        "batch_size": 256,
        "patience": 5,
        "plateau_patience": 3,
        "plateau_factor": 0.2,
        "min_steps": 0,
        "patience_steps": 0,
        "plateau_steps": 0,
        "bn_momentum": 0.99,
    },
}
RECIPES["default"] = RECIPES["doc"] | {"min_steps": 1500, "patience_steps": 500, "plateau_steps": 300}

_SMALLEST = {"epochs": 1, "batch_size": 2, "patience": 1, "plateau_patience": 1}
_SMALLEST |= {"min_steps": 0, "patience_steps": 0, "plateau_steps": 0}


@dataclass(frozen=True)
class CnnOptions:
    """Options of the CNN's training; `CnnOptions.from_recipe` takes what is not given from a recipe.

    Epochs and patience count passes over the training part. Each has a floor in optimiser steps, so that small data
    sets are trained as long as they need.

    Attributes
    ----------
    recipe : {"default", "doc"}
        Source of the values that were not given; see the module.
    epochs, min_steps : int
        Largest number of epochs: ``epochs``, or as many as make ``min_steps`` steps, whichever is more.
    batch_size : int
        Largest number of records per batch.
    patience, patience_steps : int
        Training stops when validation loss has not improved for that many epochs, and that many steps.
    plateau_patience, plateau_steps : int
        The same for a reduction of the learning rate.
    plateau_factor : float
        Factor of a reduction.
    bn_momentum : float
        See `LAMAR.evaluation.cnn.model.build_cnn`.
    lr : float
        Adam's learning rate.

    Raises
    ------
    InputError
        For a number out of range.
    """

    recipe: str
    epochs: int
    batch_size: int
    patience: int
    plateau_patience: int
    plateau_factor: float
    min_steps: int
    patience_steps: int
    plateau_steps: int
    bn_momentum: float
    lr: float = 1e-3

    @classmethod
    def from_recipe(cls, recipe: str = "default", **changes: Any) -> CnnOptions:
        """Return the options of a recipe with some of them changed.

        Parameters
        ----------
        recipe : {"default", "doc"}
        **changes
            Other attributes; None leaves the recipe's value.

        Raises
        ------
        InputError
            For an unknown recipe, or a number out of range.
        """
        if recipe not in RECIPES:
            raise InputError(f"`recipe`: found {recipe!r}, wanted one of {', '.join(RECIPES)}")
        given = {name: value for name, value in changes.items() if value is not None}
        return cls(recipe=recipe, **{**RECIPES[recipe], **given})

    def __post_init__(self):
        for name, smallest in _SMALLEST.items():
            if getattr(self, name) < smallest:
                raise InputError(f"`{name}`: found {getattr(self, name)}, wanted at least {smallest}")
        if not 0 < self.lr < math.inf:
            raise InputError(f"`lr`: found {self.lr}, wanted more than 0")
        for name in ("plateau_factor", "bn_momentum"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"`{name}`: found {getattr(self, name)}, wanted between 0 and 1")

    def schedule(self, n_train: int) -> dict[str, int]:
        """Return the schedule for a number of training records.

        Returns
        -------
        dict of int
            ``steps`` per epoch; ``epochs``, ``patience`` and ``plateau_patience`` in epochs, floors applied.
        """
        steps = math.ceil(n_train / self.batch_size)
        return {
            "steps": steps,
            "epochs": max(self.epochs, math.ceil(self.min_steps / steps)),
            "patience": max(self.patience, math.ceil(self.patience_steps / steps)),
            "plateau_patience": max(self.plateau_patience, math.ceil(self.plateau_steps / steps)),
        }
