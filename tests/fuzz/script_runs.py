"""Runs of the long scripts that take seconds, in this process: inputs in a folder, outputs in its folder ``out``."""

from __future__ import annotations

import json
from pathlib import Path

from targets import letters, run_script, write

__all__ = [
    "SHAPE",
    "finetune",
    "make_corpus",
    "make_labelled",
    "make_track_set",
    "pretrain",
    "train_jointly",
]

SHAPE = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def _given(folder: Path, data: str) -> list:
    """Return the arguments that the scripts share: data, a new model of `SHAPE`, the output folder."""
    given = ["--data_path", folder / data, "--output_dir", folder / "out", "--config", folder / "config.json"]
    return [*given, "--pretrain_path", ""]


def _write_config(folder: Path) -> None:
    write(folder / "config.json", json.dumps(SHAPE | {"model_type": "lamar"}))


def make_labelled(folder: Path) -> None:
    """Write the inputs of `finetune`."""
    _write_config(folder)
    write(folder / "set.csv", "sequence,label\n" + "".join(f"{letters(20, i)},{i % 2}\n" for i in range(36)))


def finetune(folder: Path) -> None:
    """Run ``finetune_rbp.py``: two folds of two epochs."""
    more = ["--epochs", 2, "--batch_size", 8, "--cv_folds", 2, "--lr", 1e-3]
    run_script("finetune_scripts/finetune_rbp.py", *_given(folder, "set.csv"), *more)


def make_corpus(folder: Path) -> None:
    """Write the inputs of `pretrain`."""
    _write_config(folder)
    write(folder / "r.fa", "".join(f">r{i}\n{letters(30, i)}\n" for i in range(40)))


def pretrain(folder: Path) -> None:
    """Run ``pretrain.py``: six steps, three checkpoints."""
    more = ["--max_steps", 6, "--save_steps", 2, "--logging_steps", 1, "--token_budget", 200, "--exclude_run", 0]
    more += ["--val_fraction", 0.2, "--markov_order", 1, "--model_max_length", 32]
    run_script("finetune_scripts/pretrain.py", *_given(folder, "r.fa"), *more)


def make_track_set(folder: Path) -> None:
    """Write the inputs of `train_jointly`."""
    from track_sets import write_small_set

    _write_config(folder)
    write_small_set(folder / "set", n=120, length=21)


def train_jointly(folder: Path) -> None:
    """Run ``finetune_all_rbps.py``: six steps, three evaluations."""
    more = ["--max_steps", 6, "--eval_steps", 2, "--batch_size", 32, "--min_sites", 1, "--head_channels", 4]
    run_script("finetune_scripts/finetune_all_rbps.py", *_given(folder, "set"), *more)
