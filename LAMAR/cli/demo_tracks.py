"""The track set of the synthetic demo data, for the joint training without arguments."""

from __future__ import annotations

from pathlib import Path

from .demo import DEMO_DATA, NOTICE, demo_data

__all__ = ["DEMO_PARTS", "DEMO_TRACKS", "demo_inputs", "demo_track_set"]

DEMO_TRACKS = DEMO_DATA.parent / "tracks"
DEMO_PARTS = {"test_chroms": ["chr8"], "dev_chroms": ["chr21"]}  # the demo genome has three chromosomes


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
