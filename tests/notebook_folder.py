"""A working folder like a notebook's in a clone: the weights that ship, small data sets, a genome and a variant."""

from __future__ import annotations

from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[1]
N_WINDOWS, LENGTH = 60, 31


def write_labelled(path: Path, n: int = N_WINDOWS, seed: int = 0) -> None:
    """Windows of random letters; those of label 1 hold UGUAUAUA."""
    rng = np.random.default_rng(seed)
    lines = ["sequence,label"]
    for i in range(n):
        letters = "".join(rng.choice(list("ACGU"), LENGTH))
        start = rng.integers(0, LENGTH - 8)
        lines.append(f"{letters[:start]}UGUAUAUA{letters[start + 8 :]},1" if i % 2 else f"{letters},0")
    path.write_text("\n".join(lines) + "\n")


def make_folder(folder: Path) -> Path:
    """Fill a folder with `weights`, `data` (PUM2.csv, genome.fa, variants.vcf) and `windows.csv`."""
    (folder / "weights").symlink_to(REPO / "weights")
    (folder / "data").mkdir()
    write_labelled(folder / "data" / "PUM2.csv")
    write_labelled(folder / "windows.csv", n=40, seed=1)
    genome = "".join(np.random.default_rng(2).choice(list("CGT"), 200))
    genome = genome[:59] + "A" + genome[60:]
    (folder / "data" / "genome.fa").write_text(f">chr1\n{genome}\n")
    (folder / "data" / "variants.vcf").write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\nchr1\t60\trs1\tA\tC\n"
    )
    return folder
