"""Small track sets with a planted motif per target, for the tests of the joint training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from LAMAR.data.tracks import IdLists, TrackSet, write_track_set

MOTIFS = {"PUM2": "TGTAAATA", "QKI": "ACTAACAC", "TARDBP": "GTGTGTGT"}
# Track ids: PUM2_HepG2 0, PUM2_K562 1, QKI_K562 2, TARDBP_HepG2 3.
TRACKS = [("PUM2", "HepG2"), ("PUM2", "K562"), ("QKI", "K562"), ("TARDBP", "HepG2")]


def make_track_set(n: int = 240, seed: int = 0, length: int = 31) -> TrackSet:
    """n windows of which every fifth is background, two thirds train, a quarter dev, the rest test.

    Sites of a target hold its motif and are bound by all its tracks. A tenth of the other labels is unknown.
    """
    rng = np.random.default_rng(seed)
    letters = rng.choice(list("ACGT"), (n, length))
    kinds = np.where(np.arange(n) % 5 == 0, "background", "site")
    bound = np.zeros((n, len(TRACKS)), dtype=bool)
    for row in np.flatnonzero(kinds == "site"):
        target = rng.choice(list(MOTIFS))
        at = rng.integers(0, length - 8)
        letters[row, at : at + 8] = list(MOTIFS[target])
        bound[row] = [name == target for name, _ in TRACKS]
    unknown = (rng.random(bound.shape) < 0.1) & ~bound & (kinds == "site")[:, None]
    windows = pd.DataFrame(
        {
            "chrom": "chr1",
            "start": np.arange(n) * 200,
            "end": np.arange(n) * 200 + length,
            "strand": "+",
            "sequence": ["".join(row) for row in letters],
            "part": rng.choice(["train", "dev", "test"], n, p=[0.65, 0.25, 0.1]),
            "kind": kinds,
        }
    )
    tracks = pd.DataFrame(
        {
            "id": range(len(TRACKS)),
            "track": [f"{target}_{cell}" for target, cell in TRACKS],
            "target": [target for target, _ in TRACKS],
            "cell": [cell for _, cell in TRACKS],
            "accession": [f"ENC{i}" for i in range(len(TRACKS))],
        }
    )
    lists = [IdLists.from_pairs(*np.nonzero(labels), n) for labels in (bound, unknown)]
    return TrackSet(windows, tracks, *lists).with_part_counts()


def write_small_set(folder: Path, **options) -> Path:
    """Folder with the files of :func:`make_track_set`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_track_set(folder, make_track_set(**options))
    return folder


def tracks_by_hand(
    parts: list[str], kinds: list[str], labels: np.ndarray, sequences: list[str] | None = None
) -> TrackSet:
    """Windows of these parts and kinds, with tracks T0_A, T1_B ... and labels (n, k): 1, 0, or -1 where unknown."""
    n, k = labels.shape
    windows = pd.DataFrame(
        {
            "chrom": "chr1",
            "start": np.arange(n) * 200,
            "end": np.arange(n) * 200 + 12,
            "strand": "+",
            "sequence": sequences or ["ACGTTGCAACGT"] * n,
            "part": parts,
            "kind": kinds,
        }
    )
    targets, cells = [f"T{j}" for j in range(k)], ["AB"[j % 2] for j in range(k)]
    names = [f"{target}_{cell}" for target, cell in zip(targets, cells)]
    tracks = pd.DataFrame({"id": range(k), "track": names, "target": targets, "cell": cells, "accession": "ENC"})
    lists = [IdLists.from_pairs(*np.nonzero(labels == value), n) for value in (1, -1)]
    return TrackSet(windows, tracks, *lists).with_part_counts()
