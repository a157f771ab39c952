"""False calls of a model of many RBPs in RNA in which order means nothing, by family of tests and by score.

Run: python tests/benchmarks/study_false_calls.py --fasta NORAD.fa --transcripts transcripts.fa.gz
Tiny: python tests/benchmarks/study_false_calls.py --n_shuffles 1 --n_transcripts 2

The first record of --fasta and some transcripts are predicted as they are and shuffled, their dinucleotides kept, each
in a run of its own. For both families of `LAMAR.prediction.families`, the table has the mean number of tracks with a
tile called at 0.05, and the share of p-values below 0.01 over what is expected, where a score is

1. the mean of the tiles over a nucleotide, with the model's background of single windows: what predict_rbp.py does;
2. that of a single tile, with the same background;
3. the mean of the tiles, with a background of means from every other transcript: --calibrate_on with few sequences.

The demo set's transcripts take the place of files that are not given: made up, they show that it runs.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
from timing import REPO, benchmark_parser, prepare_torch

from LAMAR import load_classifier
from LAMAR.cli.demo import demo_data
from LAMAR.data.sequences import read_fasta
from LAMAR.data.shuffling import dinucleotide_shuffle
from LAMAR.prediction.calls import PValueCounts
from LAMAR.prediction.families import FAMILIES
from LAMAR.prediction.predictor import Predictor
from LAMAR.prediction.scanning import scan_record
from LAMAR.statistics.calibration import background_calibration

Q, LENGTHS = 0.05, (1_500, 5_000)


def scores(predictor: Predictor, sequence: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean logits at the middles of the tiles, and the tiles' own; float32, shape (n, k) each."""
    parts = list(scan_record(predictor.model, sequence, predictor.options, predictor.columns))
    kept = [part.answered() for part in parts]
    means = [part.profile.at(part.middles()[rows]) for part, rows in zip(parts, kept)]
    return np.concatenate(means), np.concatenate([part.logits[rows] for part, rows in zip(parts, kept)])


def calls(p: np.ndarray, family: str) -> int:
    """Number of tracks with a tile called."""
    counts = PValueCounts(p.shape[1])
    counts.add(p)
    tracks = np.arange(p.shape[1])[None].repeat(len(p), axis=0)
    q = counts.rates(family).q_values(tracks.ravel(), p.ravel()).reshape(p.shape)
    return int((q <= Q).any(axis=0).sum())


def sequences(fasta: Path, transcripts: Path, n_shuffles: int, n_transcripts: int) -> dict[str, list[str]]:
    """Sequences by what they are; the last group gives the background of means."""
    first = next(read_fasta(fasta))[1]
    long_enough = [s for _, s in read_fasta(transcripts) if LENGTHS[0] <= len(s) <= LENGTHS[1] and "N" not in s]
    long_enough = long_enough or [s for _, s in read_fasta(transcripts)]
    chosen = np.random.default_rng(1).permutation(len(long_enough))[: 2 * n_transcripts]
    drawn = [long_enough[i] for i in chosen]
    return {
        "first record": [first],
        "first record, shuffled": [dinucleotide_shuffle([first], seed)[0] for seed in range(n_shuffles)],
        "transcripts": drawn[::2],
        "transcripts, shuffled": dinucleotide_shuffle(drawn[::2], seed=99),
        "background": drawn[1::2],
    }


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, rounds=None, threads=2)
    parser.add_argument("--fasta", type=Path, help="RNA whose shuffles are predicted")
    parser.add_argument("--transcripts", type=Path, help="FASTA file; those of 1,500 to 5,000 nt without N are drawn")
    parser.add_argument("--model_path", type=Path, default=REPO / "weights" / "lamar-mini-rbp", help="calibrated model")
    parser.add_argument("--n_shuffles", type=int, default=12, help="of the first record (default: %(default)s)")
    parser.add_argument("--n_transcripts", type=int, default=20, help="default: %(default)s")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    prepare_torch(args.threads)
    logging.disable(logging.WARNING)
    demo = demo_data() / "transcripts.fa"
    groups = sequences(args.fasta or demo, args.transcripts or demo, args.n_shuffles, args.n_transcripts)
    predictor = Predictor(load_classifier(args.model_path)[0])
    shipped = predictor.calibration
    found = {name: [scores(predictor, sequence) for sequence in group] for name, group in groups.items()}
    background = np.concatenate([means for means, _ in found.pop("background")])
    matched = background_calibration(background, predictor.names, max(len(background) // 4, 1))
    kinds = (("means", shipped, 0), ("single tiles", shipped, 1), ("means, background of means", matched, 0))
    for kind, calibration, which in kinds:
        for name, group in found.items():
            p_values = [calibration.p_values(pair[which]) for pair in group]
            tracks = {family: np.mean([calls(p, family) for p in p_values]) for family in FAMILIES}
            below = np.concatenate([p.ravel() for p in p_values]) <= 0.01
            numbers = ", ".join(f"{family} {number:.2f}" for family, number in tracks.items())
            print(
                f"{kind}; {name} ({len(group)}): tracks with a call of {len(predictor.names)}: {numbers}; "
                f"p <= 0.01 {below.mean() / 0.01:.2f} times as often as expected",
                flush=True,
            )


if __name__ == "__main__":
    main()
