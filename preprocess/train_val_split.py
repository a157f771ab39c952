#!/usr/bin/env python
"""Divide the windows of preprocess.py into training and validation windows.

    python preprocess/train_val_split.py --metadata prep/clip_metadata.jsonl

Without --metadata it divides the windows of the synthetic demo set, which preprocess.py makes without arguments.

    --group region   windows of one region, and of regions that overlap on the genome (on either strand), stay together
    --group chrom    windows of one chromosome stay together
    --group none     every window by itself: sliding windows overlap, so validation windows then repeat training ones

Groups are drawn at random, and stay whole, until the fraction of windows is met as nearly as possible.

    PREFIX_train.jsonl, PREFIX_val.jsonl              in the form of the metadata (.json, .parquet), in its order
    PREFIX_train_sequences.txt, PREFIX_val_sequences.txt    one window a line
    PREFIX_split.json                                 arguments, input with SHA-256, counts, and how many validation
                                                      windows share 30 nt in a row with a training window
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # no model here: spares the import of torch

from LAMAR.cli.arguments import OneLineParser, not_negative, number, output_prefix, path
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.errors import InputError

logger = logging.getLogger("train_val_split")

SIDES = ("train", "val")
KEYS = {"sequence": str, "seq_id": str, "chrom": str, "start": int, "end": int}
COMPARED_WINDOWS, COMPARED_NUCLEOTIDES = 20_000, 8_000_000  # a side; comparing takes some 60 bytes a nucleotide
LETTERS = re.compile("[ACGTN]+")
RUN = 30  # nt in a row that count as shared
RECORDS_AT_ONCE = 4096

share = number(float, "more than 0 and less than 1", lambda value: 0 < value < 1)


def build_parser() -> argparse.ArgumentParser:
    summary, _, details = __doc__.partition("\n\n")
    parser = OneLineParser(description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metadata", type=path, help="PREFIX_metadata.jsonl, .json or .parquet of preprocess.py")
    parser.add_argument("--val_fraction", type=share, default=0.02, help="share of windows for validation (0.02)")
    parser.add_argument("--group", choices=("none", "chrom", "region"), default="region", help="what stays together")
    parser.add_argument("--seed", type=not_negative(int), default=42, help="seed of the draw (42)")
    parser.add_argument("--output", type=output_prefix, help="prefix of the output files (that of the metadata)")
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that are there")
    return parser


def read_groups(path: Path, form: str, group: str):
    """Group and length (nt) of every window, int64 (n,) each."""
    import numpy as np
    import pandas as pd

    from LAMAR.data.sequences import parse_region
    from LAMAR.data.window_files import read_metadata
    from LAMAR.genomics.intervals import merge

    region_of, spans, codes, lengths = {}, [], [], []
    for where, record in read_metadata(path, form):
        for key, kind in KEYS.items():
            if not isinstance(record.get(key), kind):
                wanted = "text" if kind is str else "an integer"
                raise InputError(f"{path}: {where}: {key}: found {record.get(key)!r}, wanted {wanted}")
        if not 0 <= record["start"] < record["end"] < 2**31:
            found = f"found start {record['start']} and end {record['end']}"
            raise InputError(f"{path}: {where}: {found}, wanted 0 <= start < end")
        if not LETTERS.fullmatch(record["sequence"]):
            raise InputError(f"{path}: {where}: sequence: found {record['sequence'][:20]!r}, wanted letters of ACGTN")
        region = record["chrom"], record["seq_id"]
        code = region_of.setdefault(region, len(spans))
        if code == len(spans):
            header = parse_region(record["seq_id"])
            spans.append([header.start, header.end] if header else [record["start"], record["end"]])
        spans[code] = [min(spans[code][0], record["start"]), max(spans[code][1], record["end"])]
        codes.append(code)
        lengths.append(len(record["sequence"]))
    if not codes:
        raise InputError(f"{path}: found no window")
    codes, lengths = np.array(codes), np.array(lengths)
    if group == "none":
        return np.arange(len(codes)), lengths
    chrom = pd.Series([name for name, _ in region_of], dtype=object)
    if group == "chrom":
        return pd.factorize(chrom)[0][codes], lengths
    start, end = zip(*spans)
    return merge(pd.DataFrame({"chrom": chrom, "start": start, "end": end}), stranded=False)[1][codes], lengths


def draw(groups, fraction: float, seed: int, kind: str):
    """Whether each window is for validation, bool (n,)."""
    import numpy as np

    from LAMAR.data.folds import assign_groups

    if groups.max() == 0:
        unit = {"none": "window", "chrom": "chromosome", "region": "group of overlapping regions"}[kind]
        raise InputError(f"--group {kind}: found all {len(groups)} windows in one {unit}, wanted two or more to divide")
    validation = assign_groups(groups, np.zeros(len(groups), dtype=np.int64), [1 - fraction, fraction], seed) == 1
    if validation.all() or not validation.any():
        # Every group is larger than the smaller part should be: its smallest is the nearest that there is.
        small = groups == np.bincount(groups).argmin()
        validation = small if fraction <= 0.5 else ~small
    if abs(validation.mean() - fraction) > fraction / 2:
        logger.warning(
            "--val_fraction %g: %g of the windows are for validation, as groups stay whole", fraction, validation.mean()
        )
    return validation


def choose_compared(validation, lengths, seed: int):
    """Windows of either side, drawn at random, that are few enough to compare; bool (n,)."""
    import numpy as np

    chosen = np.zeros(len(lengths), dtype=bool)
    rng = np.random.default_rng(seed)
    for side in (~validation, validation):
        some = rng.permutation(np.flatnonzero(side))[:COMPARED_WINDOWS]
        chosen[some[np.cumsum(lengths[some]) <= COMPARED_NUCLEOTIDES]] = True
    return chosen


def write_sides(path: Path, form: str, outputs, validation, compared) -> tuple[list[str], list[str]]:
    """Write all files but the record; sequences of the windows to compare, of either side."""
    from LAMAR.data.window_files import open_metadata, read_metadata, render
    from LAMAR.runs.storage import atomic_write

    schema = None
    if form == "parquet":
        import pyarrow.parquet as pq

        schema = pq.read_schema(path)
    sequences, records = ([], []), ([], [])
    with ExitStack() as stack:
        write = [stack.enter_context(open_metadata(name, form, schema)) for name in outputs.paths[:2]]
        lines = [stack.enter_context(atomic_write(name)) for name in outputs.paths[2:]]

        def flush(side: int) -> None:
            if records[side]:
                write[side](render(records[side], form, schema))
                lines[side].writelines(f"{record['sequence']}\n" for record in records[side])
                records[side].clear()

        for (_, record), side, kept in zip(read_metadata(path, form), validation.astype(int).tolist(), compared):
            records[side].append(record)
            if kept:
                sequences[side].append(record["sequence"])
            if len(records[side]) == RECORDS_AT_ONCE:
                flush(side)
        flush(0)
        flush(1)
        outputs.retract()
    return sequences


def default_prefix(metadata: Path, form: str) -> Path:
    """``prep/clip`` for ``prep/clip_metadata.jsonl``."""
    name = metadata.name.removesuffix(".gz").removesuffix(f".{form}")
    return metadata.with_name(name.removesuffix("_metadata") or name)


def run(args: argparse.Namespace) -> None:
    began = time.monotonic()
    import numpy as np

    from LAMAR.cli.demo import NOTICE
    from LAMAR.data.kmers import SharedRuns
    from LAMAR.data.window_files import OutputFiles, metadata_form
    from LAMAR.runs.provenance import provenance

    if args.demo:
        args.metadata = REPO / "demo" / "prep" / "demo_metadata.jsonl"
        if not args.metadata.is_file():
            raise InputError(
                f"--metadata: not given, and {args.metadata} is not there; run preprocess/preprocess.py first"
            )
        print(f"no --metadata given. {NOTICE}")
    form = metadata_form(args.metadata)
    args.output = args.output or default_prefix(args.metadata, form)
    if not args.output.name:
        raise InputError(f"--output: found {args.output}, wanted a prefix such as prep/clip")
    arguments = {name: value for name, value in vars(args).items() if name != "demo"}
    report = {"data": NOTICE} if args.demo else {}
    report |= provenance(arguments, seed=args.seed, inputs=[args.metadata])
    names = [f"{side}.{form}" for side in SIDES] + [f"{side}_sequences.txt" for side in SIDES]
    outputs = OutputFiles(args.output, names, "split.json")
    outputs.refuse([args.metadata])
    if outputs.are_complete(report, ("metadata",)):
        print(f"{outputs.record}: complete already with these arguments, nothing done (--overwrite does it again)")
        return
    groups, lengths = read_groups(args.metadata, form, args.group)
    validation = draw(groups, args.val_fraction, args.seed, args.group)
    compared = choose_compared(validation, lengths, args.seed)
    for side, members in zip(SIDES, (~validation, validation)):
        counts = {"windows": members.sum(), "nucleotides": lengths[members].sum()}
        report[side] = counts | {"groups": len(np.unique(groups[members]))}
    with outputs.folder():
        train, val = write_sides(args.metadata, form, outputs, validation, compared)
        sharing = SharedRuns(train, val).records_sharing(RUN)
        report["val_fraction_reached"] = round(float(validation.mean()), 6)
        report[f"sharing_{RUN}mer"] = {
            "val_windows_sharing": sharing,
            "val_windows_compared": len(val),
            "train_windows_compared": len(train),
            "all_were_compared": bool(compared.all()),
        }
        outputs.finish(report | {"wall_time_s": round(time.monotonic() - began, 3)})
    print(f"{'':<6}{'windows':>12}{'groups':>12}{'nucleotides':>14}")
    for side in SIDES:
        print(f"{side:<6}" + "{windows:>12,}{groups:>12,}{nucleotides:>14,}".format(**report[side]))
    part = "" if compared.all() else f" (of {len(val):,} and {len(train):,} drawn at random: there may be more)"
    print(f"validation windows that share {RUN} nt in a row with a training window: {sharing:,}{part}")
    print("outputs: " + ", ".join(map(str, (*outputs.paths, outputs.record))))


def main(argv: list[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = build_parser().parse_args(argv)
    args.demo = args.metadata is None
    return exit_on_input_error(run, args)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that staged files are removed
    sys.exit(main())
