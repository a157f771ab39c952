#!/usr/bin/env python
"""Evaluate frozen LAMAR embeddings on binding: a CNN on them, beside one-hot, composition and linear probes.

Labelled sets of make_rbp_dataset.py, or any folder of such sets:
    python evalEmbeddings/LAMAR_CNN_clip_data.py --data_dir sets --rbps QKI_K562 PUM2_K562 \\
        --pretrained_weights weights/lamar-mini --tapt_weights weights/lamar-mini-tapt --output_dir results/cnn

Random weights of the published shape, chromosomes 8 and 9 held out:
    python evalEmbeddings/LAMAR_CNN_clip_data.py --data_dir sets --variants Random --config lamar \\
        --split chromosome --test_chroms chr8,chr9 --output_dir results/random

Without arguments it evaluates the synthetic demo set with the weights that ship.

Each data set is split once; every method fits on train, chooses by dev (10 % of train where there is none) and is
scored on test. Methods (`representation` in the tables):
    gc, dinucleotide, 4mer   logistic regression on composition
    one_hot                  the CNN on one-hot encoded sequence
    lamar                    the CNN on embeddings of each layer of --layers, of each variant
    linear_probe             logistic regression on pooled embeddings of every layer; `chosen` marks the layer that was
                             best on dev
Repeats differ in the CNN's seed, and with --subsample_* in the training records of every method. Layers are block
indices from 0; negatives count from the end.

Outputs in OUTPUT_DIR: results.csv (`learned` is 0 for a CNN whose validation loss stayed at that of class
frequencies), predictions.csv, split_report.json, run.json. An interrupted run resumes.
Embeddings are kept in --cache_dir and read from there the next time. Figures: evalEmbeddings/plot_results.py
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
    return run_evaluation_script(argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
