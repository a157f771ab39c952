"""The small classifier of the synthetic demo set, for scripts that explain a fine-tuned model."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from .demo import REPOSITORY, demo_data

__all__ = ["DEMO_RBP", "demo_classifier", "demo_heldout"]

logger = logging.getLogger(__name__)

DEMO_RBP = "PUM2"
SEED = 42


def _split(argument: str):
    from ..data.labelled import load_labelled
    from ..data.splits import make_split

    dataset = load_labelled(demo_data() / "labelled", name=DEMO_RBP)
    return dataset, make_split(dataset, "auto", seed=SEED)


def demo_heldout(n: int, argument: str = "--seq_file") -> list[tuple[str, str]]:
    """Names and sequences of the first n positives of the part that no demo training saw."""
    dataset, split = _split(argument)
    positives = [i for i in split.test if dataset.labels[i] == 1]
    return [(dataset.ids[i].split()[0], dataset.sequences[i]) for i in positives[:n]]


def demo_classifier(argument: str = "--model_path") -> Path:
    """Checkpoint folder of a classifier of the demo set.

    That of ``finetune_rbp.py`` without arguments where it is there, else one of the same recipe, trained now (some 20
    seconds) and kept in ``demo/classifier``. Either was trained without the test part of :func:`demo_heldout`.
    """
    finetuned = REPOSITORY / "demo" / "finetune" / DEMO_RBP / "fold_0"
    own = REPOSITORY / "demo" / "classifier" / DEMO_RBP
    for folder in (finetuned, own):
        if (folder / "model.safetensors").is_file():
            return folder
    from ..batches import EncodedSequences
    from ..configuration import named_config
    from ..tokenization import LamarTokenizer
    from ..training import finetuning
    from ..training.fitting import FitOptions

    dataset, split = _split(argument)
    logger.info("training a small classifier of the demo set (some 20 s), kept in %s", own)
    (fold,) = finetuning.plan_folds(dataset.labels, split, 1, SEED)
    settings = finetuning.ModelSettings(config=named_config("lamar-tiny"), head="cnn", warmup_epochs=5)
    options = FitOptions(epochs=2, batch_size=16, lr=3e-4, seed=SEED, progress=False)
    encoded = EncodedSequences.encode(dataset.sequences)
    own.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=own.parent) as work:
        model, result = finetuning.train_fold(
            fold, 0, split.test, encoded, dataset.labels, settings, options, Path(work)
        )
        finetuning.save_checkpoint(model, LamarTokenizer(), result, dataset.labels, options.task, Path(work), own)
    return own
