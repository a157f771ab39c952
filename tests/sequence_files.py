"""Files and arrays of sequences, for tests that read them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def table(rows: list[tuple], header: str = "sequence,label") -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def random_sequences(n: int, length: int = 101, seed: int = 0) -> list[str]:
    codes = np.random.default_rng(seed).integers(0, 4, size=(n, length))
    return [row.tobytes().decode() for row in np.frombuffer(b"ACGT", dtype=np.uint8)[codes]]


def longest_run_by_search(a: list[str], b: list[str]) -> int:
    """Return the longest stretch without N that both lists of sequences hold, in nt, by trying all lengths."""

    def windows(sequences, k):
        return {s[i : i + k] for s in sequences for i in range(len(s) - k + 1)}

    best = 0
    for k in range(1, min(max(map(len, a), default=0), max(map(len, b), default=0)) + 1):
        if not any("N" not in window for window in windows(a, k) & windows(b, k)):
            break
        best = k
    return best


def one_hot(sequences: list[str], length: int) -> np.ndarray:
    array = np.zeros((len(sequences), length, 4), dtype=np.float32)
    for i, sequence in enumerate(sequences):
        for j, base in enumerate(sequence):
            if base != "N":
                array[i, j, "ACGT".index(base)] = 1
    return array


def window(sequence: str, *pieces: tuple[int, int]) -> dict:
    """Metadata of a window as preprocess.py writes it, with these peaks."""
    regions = [
        {"start": a, "end": b, "genomic_start": a, "genomic_end": b}
        | {"strand": "+", "rbp": "QKI", "cell": "K562", "complete": True}
        for a, b in pieces
    ]
    n = len(sequence)
    return {
        "sequence": sequence,
        **{"seq_id": "chr1:0-9", "chrom": "chr1", "start": 0, "end": n, "strand": "+", "local_start": 0},
        **{"local_end": n, "method": "whole", "seq_len": n, "binding_sites": None, "eclip_regions": regions},
    }
