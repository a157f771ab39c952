#!/usr/bin/env python
"""Evaluate sequence itself on binding: a CNN on one-hot encoded sequence, beside composition baselines.

    python evalEmbeddings/OneHot_CNN_clip_data.py --data_dir sets --rbps QKI_K562 --output_dir results/one_hot

Without arguments it evaluates the synthetic demo set.

Parts, CNN, recipe, seeds and tables are those of LAMAR_CNN_clip_data.py, which runs these baselines too; this script
needs no encoder. One-hot channels are A C G T, N and padding are zeros, records are padded to the longest of their set.
evalEmbeddings/plot_results.py joins the results with those of other runs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # no model here: spares the import of torch
    from LAMAR.cli.signals import answer_signals

    answer_signals()

from LAMAR.cli.evaluation_arguments import run_evaluation_script


def main(argv: list[str] | None = None) -> int:
    return run_evaluation_script(argv, description=__doc__, variants=(), output="evaluation_one_hot")


if __name__ == "__main__":
    sys.exit(main())
