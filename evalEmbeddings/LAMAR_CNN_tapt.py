#!/usr/bin/env python
"""Run LAMAR_CNN_clip_data.py with LAMAR adapted to CLIP windows (TAPT) as the only variant.

    python evalEmbeddings/LAMAR_CNN_tapt.py --data_dir sets --rbps QKI_K562 --output_dir results/tapt

Without arguments it evaluates the synthetic demo set.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # --help and errors of arguments come before the import of torch
    from LAMAR.cli.signals import answer_signals

    answer_signals()

from LAMAR.cli.evaluation_arguments import run_evaluation_script


def main(argv: list[str] | None = None) -> int:
    return run_evaluation_script(argv, description=__doc__, variants=("TAPT",), output="evaluation_tapt")


if __name__ == "__main__":
    sys.exit(main())
