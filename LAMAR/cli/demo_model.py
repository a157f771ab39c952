"""The small classifier of the synthetic demo set, for scripts that explain a fine-tuned model."""

from __future__ import annotations

import logging
from pathlib import Path

from ..runs.checkpoint_folders import checkpoints_of
from .demo import DEMO_DATA, NOTICE, demo_data

__all__ = ["DEMO_RBP", "demo_classifier", "demo_heldout"]

logger = logging.getLogger(__name__)

DEMO = DEMO_DATA.parent
DEMO_RBP = "PUM2"
SEED = 42


def demo_heldout(n: int) -> list[tuple[str, str]]:
    """Return names and sequences of the first n positives of the part that no demo training saw."""
    from ..data.labelled import load_labelled
    from ..data.splits import make_split

    dataset = load_labelled(demo_data() / "labelled", name=DEMO_RBP)
    split = make_split(dataset, "auto", seed=SEED)
    positives = [i for i in split.test if dataset.labels[i] == 1]
    return [(dataset.ids[i].split()[0], dataset.sequences[i]) for i in positives[:n]]


def demo_classifier() -> Path:
    """Return the checkpoint folder of a classifier of the demo set.

    That of ``finetune_rbp.py`` without arguments where it is there, else a tiny one, trained now (about 20 seconds) and
    kept in ``demo/classifier``. Neither was trained on the test part of `demo_heldout`.
    """
    folder = DEMO / "classifier"
    for run in (DEMO / "finetune" / DEMO_RBP, folder / DEMO_RBP):
        checkpoint = checkpoints_of(run)[0]
        if (checkpoint / "model.safetensors").is_file():
            return checkpoint
    from ..training.finetuning import finetune

    data = demo_data() / "labelled"
    logger.info("training a small classifier of the demo set (about 20 s), kept in %s", folder)
    result = finetune(
        data,
        folder,
        rbp_name=DEMO_RBP,
        config="lamar-tiny",
        head="cnn",
        warmup_epochs=5,
        epochs=2,
        batch_size=16,
        lr=3e-4,
        cv_folds=1,
        seed=SEED,
        notice=NOTICE,
        progress=False,
    )
    return result.checkpoints[0]
