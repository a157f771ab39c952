"""Which weights a fine-tuning starts from, and what is said of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from ..shipped_weights import WEIGHTS, shipped_weights
from .options import SHIPPED_DEFAULTS, FinetuneOptions

__all__ = ["LABELLED", "UNLABELLED", "Start", "find_start"]

logger = logging.getLogger(__name__)

# The default has seen no labels: whatever a user holds out, its scores are those of records without known labels.
UNLABELLED, LABELLED = "lamar-mini-tapt", "lamar-mini-rbp"
_SEEN = (
    "weights/lamar-mini-rbp was trained on the eCLIP labels of 168 RBPs: for these, only records on chr8, chr9, chr19 "
    "and chr22 judge what starts from it"
)


@dataclass(frozen=True)
class Start:
    """Weights that a training starts from.

    Attributes
    ----------
    path : str
        Weights file or checkpoint folder; "" for random weights.
    is_default : bool
        Whether they are those that ship, because neither weights nor a shape were named.
    reason : str
        Why they were taken, in a clause; "" where the user named them.
    """

    path: str
    is_default: bool = False
    reason: str = ""

    def announce(self, options: FinetuneOptions | None = None) -> None:
        """Log which weights these are, why, and what they have seen.

        Parameters
        ----------
        options : FinetuneOptions, optional
            Completed; those that depend on the start are named.
        """
        if not self.path:
            logger.warning("weights are random, not pretrained: %s", self.reason)
            return
        if self.is_default:
            values = {} if options is None else {name: getattr(options, name) for name in SHIPPED_DEFAULTS}
            given = ", ".join(f"`{name}` {value}" for name, value in values.items() if value is not None)
            name = f"weights/{Path(self.path).name}"
            logger.info("starting from %s, %s%s", name, self.reason, f"; {given}" if given else "")
        if Path(self.path).resolve() == WEIGHTS / LABELLED:
            logger.warning(_SEEN)
        elif self.is_default:
            logger.info(
                'they have seen CLIP regions without labels. `pretrain_path` names others; "" is random, and %s', _SEEN
            )


def find_start(pretrain_path: str | PathLike | None, config: str | None, track: str | None = None) -> Start:
    """Return the weights that a fine-tuning starts from.

    Parameters
    ----------
    pretrain_path : str or path, optional
        What the user named; "" asks for random weights, None leaves the choice.
    config : str, optional
        Shape that the user named, which the weights that ship may not have.
    track : str, optional
        Output of a model of many RBPs to start with.

    Raises
    ------
    InputError
        The choice is left to this function, and the weights that ship are not there.
    """
    if pretrain_path is not None and str(pretrain_path):
        return Start(str(pretrain_path))
    if pretrain_path is not None:
        return Start("", reason='`pretrain_path` is ""')
    if config is not None:
        return Start("", reason="`config` is given, and `pretrain_path` is not")
    name, reason = UNLABELLED, "which ships: neither `pretrain_path` nor `config` is given"
    if track is not None:
        name, reason = LABELLED, "which ships and has tracks: `pretrain_path` is not given"
    return Start(str(shipped_weights(name)), is_default=True, reason=reason)
