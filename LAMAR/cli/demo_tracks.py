"""The track set of the synthetic demo data, and a small model of it, for scripts of many RBPs without arguments."""

from __future__ import annotations

import logging
from pathlib import Path

from .demo import DEMO_DATA, NOTICE, demo_data

__all__ = ["DEMO_PARTS", "DEMO_TRACKS", "DEMO_TRAINING", "demo_inputs", "demo_joint_model", "demo_track_set"]

logger = logging.getLogger(__name__)

DEMO_TRACKS = DEMO_DATA.parent / "tracks"
DEMO_PARTS = {"test_chroms": ["chr8"], "dev_chroms": ["chr21"]}  # the demo genome has three chromosomes
# Options of the joint training of the demo set.
DEMO_TRAINING = {
    "config": "lamar-tiny",
    "head": "cnn",
    "head_channels": 128,
    "batch_size": 32,
    "max_steps": 160,
    "eval_steps": 40,
    "save_steps": 40,
    "warmup_steps": 20,
    # Higher rates leave some seeds at the tracks' shares.
    "head_lr": 2e-3,
    "encoder_lr": 1e-4,
}


def demo_inputs() -> dict:
    """Return the arguments of `LAMAR.genomics.track_files.make_track_dataset` that name the demo data."""
    data = demo_data()
    return {"peaks": [data / "peaks"], "fasta": data / "genome.fa", "gtf": data / "annotation.gtf"}


def demo_track_set() -> Path:
    """Return the folder of the demo data's track set, made in seconds on first use and after a change of the data."""
    from ..genomics.track_files import make_track_dataset
    from ..genomics.track_windows import TrackOptions

    inputs = demo_inputs()
    record, truth = DEMO_TRACKS / "report.json", DEMO_DATA / "truth.json"
    if not record.is_file() or record.stat().st_mtime < truth.stat().st_mtime:
        options = TrackOptions(**DEMO_PARTS)
        make_track_dataset(**inputs, output_dir=DEMO_TRACKS, options=options, overwrite=True, notice=NOTICE)
    return DEMO_TRACKS


def demo_joint_model() -> Path:
    """Return the folder of a model of the demo data's track set.

    That of ``finetune_all_rbps.py`` without arguments where it is there, else one of the same recipe, trained now
    (about half a minute) and kept in ``demo/joint_model``. Neither was trained on the test part.
    """
    data = demo_track_set()
    made = (data / "report.json").stat().st_mtime
    folders = [DEMO_TRACKS.parent / name for name in ("all_rbps", "joint_model")]
    for folder in folders:
        results = folder / "eval_results.json"  # the last file of a training
        if results.is_file() and results.stat().st_mtime >= made:
            return folder
    from ..training.multi_rbp_run import finetune_all_rbps

    own = folders[-1]
    logger.info("training a small model of the demo set (about half a minute), kept in %s", own)
    finetune_all_rbps(data, own, notice=NOTICE, overwrite=(own / "run.json").is_file(), **DEMO_TRAINING)
    return own
