#!/usr/bin/env python
"""Cut CLIP regions into windows for self-supervised training, and note the eCLIP peaks in each.

Real data (folders of gzipped narrowPeak files are read whole):
    python preprocess/preprocess.py --fasta hg38_clip_regions.fa.gz --eclip eclip_peaks --output prep/clip --workers 2

Without input files it runs on the synthetic demo set and writes demo/prep/demo_*.

Regions are FASTA records with coordinates in their headers, `chr1:100-110`, optionally `(+)` or `(-)`, as bedtools
getfasta writes them (0-based, half-open); `(-)` records are reverse-complemented already. Windows by length L:

    L <= max_len          the whole region
    L <= 12 max_len       sliding windows every --stride nt, and a last one flush with the end
    longer                a window around each peak, shifted by up to --jitter nt, and sqrt(L / max_len) uniform ones
    --sampling doc        sliding below 4 max_len with stride max_len // 2, sqrt(L / max_len) uniform ones above

The seed and a region's id determine its windows: neither --workers nor other regions change a byte of the output.

    PREFIX_sequences.txt   one window a line
    PREFIX_metadata.jsonl  one JSON object a line (or .json: an array of them, or .parquet), same order: sequence,
                           seq_id, chrom, start, end, strand (genomic), local_start, local_end (in the region), method,
                           seq_len, binding_sites (largest BED score, null without one), eclip_regions: the stretches
                           of peaks in the window as start, end (from the window's 5' end), genomic_start, genomic_end,
                           strand, rbp, cell, complete (the whole peak is in the window); --merge_peaks adds n_peaks
    PREFIX_stats.json      inputs with SHA-256, arguments, counts; written last, it marks a complete set

On a stranded region only peaks of its strand count, and those without strand. With --orient a region without strand is
read on the strand of its peaks, and on both where both have one: as RNA, which the FASTA of the forward strand is not.
"""

from __future__ import annotations

import argparse
import functools
import logging
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # no model here: spares the import of torch

from LAMAR.cli.arguments import OneLineParser, output_prefix, path, positive, usable_workers
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.errors import InputError

logger = logging.getLogger("preprocess")

BATCH_RECORDS, BATCH_NUCLEOTIDES = 20_000, 16_000_000
NUCLEOTIDES_IN_FLIGHT = 4 * BATCH_NUCLEOTIDES
WINDOWS_AT_ONCE = 4096  # as Python objects, which take many times the memory of their JSON
REASONS = {
    "no_coordinates": "without coordinates in the header",
    "nonstandard_chromosome": "outside chr1-22, chrX, chrY (--keep_nonstandard keeps them)",
    "excluded_chromosome": "on chromosomes of --exclude_chroms",
}


def build_parser() -> argparse.ArgumentParser:
    summary, _, details = __doc__.partition("\n\n")
    parser = OneLineParser(description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter)
    files = parser.add_argument_group("files")
    files.add_argument("--fasta", type=path, help="regions, gzipped or plain")
    files.add_argument("--bed", type=path, help="BED5 of the regions; the score is the number of binding sites")
    files.add_argument("--eclip", type=path, help="peaks: BED3+ or narrowPeak, or a folder of them with index.tsv")
    files.add_argument("--output", type=output_prefix, help="prefix of the output files, with the folder")
    files.add_argument(
        "--format", choices=("jsonl", "json", "parquet"), default="jsonl", help="form of the metadata (jsonl)"
    )
    files.add_argument("--overwrite", action="store_true", help="replace outputs that are there")
    how = parser.add_argument_group("windows")
    how.add_argument("--max_len", type=int, default=512, help="longest window in nt (512)")
    how.add_argument("--stride", type=int, default=256, help="distance of sliding windows in nt (256)")
    how.add_argument("--sampling", choices=("default", "doc"), default="default", help="rule by length, see below")
    how.add_argument("--jitter", type=int, help="largest shift of a window around a peak in nt (max_len // 4)")
    how.add_argument("--merge_peaks", action="store_true", help="join overlapping peaks of one strand first")
    how.add_argument("--orient", action="store_true", help="read regions without strand on the strands of their peaks")
    how.add_argument(
        "--exclude_chroms", nargs="+", default=[], metavar="CHROM", help="leave out the regions of these chromosomes"
    )
    how.add_argument("--keep_nonstandard", action="store_true", help="keep regions outside chr1-22, chrX, chrY")
    how.add_argument("--seed", type=int, default=42, help="seed of all that is random (42)")
    how.add_argument("--workers", type=positive(int), default=1, help="processes; the output is the same (1)")
    return parser


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    args = build_parser().parse_args(argv)
    args.demo = args.fasta is None and args.bed is None and args.eclip is None
    return args


@dataclass
class Context:
    """What a worker needs besides the batch."""

    rule: Any  # WindowRule
    peaks: Any  # IntervalIndex or None
    bed: Any  # IntervalIndex or None
    form: str
    schema: Any  # of Arrow, for parquet
    orient: bool = False


class Result(NamedTuple):
    """Of a batch: text of its windows, rendered metadata, counts, and the rows of the peaks in its windows."""

    sequences: str
    metadata: list
    counts: Counter
    found: Any


class Tally:
    """Counts over the whole run, and an example of each kind of record that was passed over."""

    def __init__(self):
        self.counts: Counter = Counter()
        self.examples: dict[str, str] = {}

    def skip(self, reason: str, header: str) -> None:
        self.counts["filtered", reason] += 1
        self.examples.setdefault(reason, header)


def read_batches(path: Path, rule, keep_nonstandard: bool, excluded: set[str], tally: Tally) -> Iterator[list]:
    """Regions of a FASTA file, checked, in batches that are bounded in records and in nucleotides of their windows."""
    from LAMAR.data.sequences import check_span, parse_region, read_fasta
    from LAMAR.genomics.intervals import canonical_chromosome, is_standard
    from LAMAR.genomics.windows import Record

    canonical = functools.cache(canonical_chromosome)
    batch, nucleotides = [], 0
    for header, sequence in read_fasta(path):
        tally.counts["total", "read"] += 1
        name = header.split(maxsplit=1)[0]
        region = parse_region(header)
        if region is None:
            tally.skip("no_coordinates", name)
            continue
        length = region.end - region.start
        check_span(region, len(sequence), f"{path}: record {name}", " (are they counted from 1?)")
        chrom = canonical(region.chrom)
        if not keep_nonstandard and not is_standard(chrom):
            tally.skip("nonstandard_chromosome", name)
            continue
        if chrom in excluded:
            tally.skip("excluded_chromosome", name)
            continue
        tally.counts["total", "nucleotides"] += length
        batch.append(Record(name, chrom, *region[1:], sequence))
        nucleotides += rule.nucleotides(length)
        del sequence  # it may be a whole chromosome, while the next one is read
        if len(batch) >= BATCH_RECORDS or nucleotides >= BATCH_NUCLEOTIDES:
            yield batch
            batch, nucleotides = [], 0
    if batch:
        yield batch


def process(batch: list, context: Context) -> Result:
    """Windows of a batch of regions, rendered."""
    from LAMAR.data.window_files import render
    from LAMAR.genomics.orientation import orient_records
    from LAMAR.genomics.windows import DescribedWindows

    if context.orient:
        batch = orient_records(batch, context.peaks)
    windows = DescribedWindows(batch, context.rule, context.peaks, context.bed)
    ranges = [(a, min(a + WINDOWS_AT_ONCE, len(windows))) for a in range(0, len(windows), WINDOWS_AT_ONCE)]
    metadata = [render(windows.records(*part), context.form, context.schema) for part in ranges]
    sequences = "\n".join(windows.sequences(0, len(windows))) + "\n"
    return Result(sequences, metadata, windows.counts, windows.found)


_context: Context | None = None  # of a worker process


def start_worker(context: Context) -> None:
    """Prepare a worker: its signals are the parent's to handle, and it ends with the parent, however that ends."""
    global _context
    _context = context
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def wait_for_parent() -> None:
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=wait_for_parent, daemon=True).start()


def process_in_worker(batch: list) -> Result:
    return process(batch, _context)


def process_all(batches: Iterable[list], context: Context, workers: int) -> Iterator[Result]:
    """Results in the order of the batches; few batches are on their way at any time, so that memory is bounded."""
    if workers == 1:
        for batch in batches:
            yield process(batch, context)
            del batch  # it may hold a whole chromosome, while the next one is read
        return
    pool = ProcessPoolExecutor(workers, initializer=start_worker, initargs=(context,))
    try:
        pending: deque = deque()
        for batch in batches:
            size = sum(len(record.sequence) for record in batch)
            while pending and (
                len(pending) >= 2 * workers or size + sum(n for n, _ in pending) > NUCLEOTIDES_IN_FLIGHT
            ):
                yield pending.popleft()[1].result()
            if size > NUCLEOTIDES_IN_FLIGHT:  # a whole chromosome: copies of it in two processes would cost too much
                yield process(batch, context)
            else:
                pending.append((size, pool.submit(process_in_worker, batch)))
            del batch
        while pending:
            yield pending.popleft()[1].result()
    except BrokenProcessPool:
        raise InputError(f"--workers {workers}: a process was killed (out of memory?), wanted fewer") from None
    finally:
        pool.shutdown(cancel_futures=True)


def summarise(counts: Counter, context: Context, found, n_read: int) -> dict:
    """Counts for the statistics; ``found``: whether each peak is in a window, ``n_read``: peaks before merging."""

    def of(kind: str) -> dict[str, int]:
        return {name: number for (of_kind, name), number in sorted(counts.items()) if of_kind == kind}

    total = of("total")
    on = {kind: of(kind) for kind in ("records", "windows", "complete", "partial")}
    sums = {kind: sum(on[kind].values()) for kind in on}
    records = {"read": total["read"], "filtered": of("filtered"), "used": sums["records"]}
    records |= {name: counts["class", name] for name in ("short", "medium", "long")}
    if context.bed is not None:
        records["without_bed"] = sums["records"] - total["in_bed"]
    peaks = None
    if context.peaks is not None:
        on["distinct"] = Counter(context.peaks.table["chrom"][found].tolist())
        peaks = {"read": n_read, "listed": len(found), "distinct_in_windows": int(found.sum())}
        peaks["in_no_window"] = len(found) - int(found.sum())
        peaks |= {"complete_in_windows": sums["complete"], "partial_in_windows": sums["partial"]}
        peaks |= {"overlaps_on_opposite_strand": total["opposite"]}
    return {
        "records": records,
        "windows": {"total": sums["windows"]} | of("method"),
        "nucleotides": {"in": total["nucleotides"], "in_windows": total["window_nucleotides"]},
        "expansion_factor": round(total["window_nucleotides"] / total["nucleotides"], 4),
        "peaks": peaks,
        "chromosomes": {
            chrom: {kind: number.get(chrom, 0) for kind, number in on.items()}
            for chrom in sorted(on["records"], key=natural)
        },
    }


def natural(chrom: str) -> tuple:
    """Sort key: chr2 before chr10 before chrX."""
    short = chrom.removeprefix("chr")
    return (0, int(short), "") if short.isdigit() else (1, 0, short)


def closing_table(stats: dict) -> str:
    """What was done, as aligned text."""
    records, windows, peaks = stats["records"], stats["windows"], stats["peaks"]
    rows = [("regions read", records["read"])]
    rows += [(f"  filtered: {reason.replace('_', ' ')}", n) for reason, n in records["filtered"].items()]
    rows += [(f"  {name.replace('_', ' ')}", n) for name, n in records.items() if name not in ("read", "filtered")]
    rows += [("windows", windows["total"]), *((f"  {name}", n) for name, n in windows.items() if name != "total")]
    rows += [(f"nucleotides {name.replace('_', ' ')}", n) for name, n in stats["nucleotides"].items()]
    rows += [(f"peaks {name.replace('_', ' ')}", n) for name, n in (peaks or {}).items()]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {n:>13,}" for name, n in rows]
    lines += [f"{'expansion factor':<{width}}  {stats['expansion_factor']:>13.2f}", ""]
    heads = ["records", "windows"] + ([] if peaks is None else ["distinct", "complete", "partial"])
    titles = {"records": "regions", "distinct": "peaks"}
    lines.append(f"{'chromosome':<{width}}" + "".join(f"{titles.get(head, head):>12}" for head in heads))
    for chrom, row in stats["chromosomes"].items():
        lines.append(f"{chrom:<{width}}" + "".join(f"{row[head]:>12,}" for head in heads))
    return "\n".join(lines)


def some_of(chromosomes: Iterable[str]) -> str:
    names = sorted(chromosomes, key=natural)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def check_found(args: argparse.Namespace, tally: Tally, context: Context, found) -> None:
    """Refuse a run without windows, and inputs that have nothing to do with each other."""
    counts = tally.counts
    if args.exclude_chroms and not counts["filtered", "excluded_chromosome"]:
        raise InputError(
            f"--exclude_chroms {' '.join(args.exclude_chroms)}: found no region of {args.fasta} there, wanted names as "
            "chr8"
        )
    used = {name for kind, name in counts if kind == "records"}
    if not used:
        kinds = [(name, n) for (kind, name), n in counts.items() if kind == "filtered"]
        reasons = "; ".join(f"{n} {name.replace('_', ' ')}, as {tally.examples[name]}" for name, n in kinds)
        raise InputError(f"{args.fasta}: found no region to use ({reasons}), wanted headers as chr1:100-110")
    for name, file, index, hits in (
        ("peak", args.eclip, context.peaks, "pairs"),
        ("line", args.bed, context.bed, "in_bed"),
    ):
        if index is not None and not counts["total", hits]:
            raise InputError(
                f"{file}: found no {name} that overlaps a region of {args.fasta}, wanted the same genome build and "
                f"chromosome names: here {some_of(index.chromosomes)}, there {some_of(used)}"
            )
    if context.peaks is not None and not found.any():
        n = counts["total", "opposite"]
        raise InputError(
            f"{args.eclip}: found no peak in a window of {args.fasta}: {n} overlaps are on the other strand"
        )


def warn(args: argparse.Namespace, tally: Tally, stats: dict) -> None:
    """Say what was passed over."""
    for reason, n in stats["records"]["filtered"].items():
        logger.warning("%s: left out %d records %s, such as %s", args.fasta, n, REASONS[reason], tally.examples[reason])
    if n := stats["records"].get("without_bed"):
        logger.warning("%s: found no line for %d of %d regions", args.bed, n, stats["records"]["used"])
    if n := (stats["peaks"] or {}).get("overlaps_on_opposite_strand"):
        logger.warning("%s: %d overlaps of a region with a peak on its other strand do not count", args.eclip, n)


def prepare(args: argparse.Namespace, rule) -> tuple[Context, int]:
    """Read peaks and BED; the number of peaks read."""
    from LAMAR.data.window_files import metadata_schema
    from LAMAR.genomics.peaks import read_bed5, read_peaks
    from LAMAR.genomics.windows import IntervalIndex, merge_named_peaks

    peaks, bed, n_read = None, None, 0
    if args.eclip is not None:
        table = read_peaks(args.eclip)[["chrom", "start", "end", "strand", "rbp", "cell"]]
        n_read, peaks = len(table), IntervalIndex(merge_named_peaks(table) if args.merge_peaks else table)
    if args.bed is not None:
        bed = IntervalIndex(read_bed5(args.bed)[["chrom", "start", "end", "strand", "score"]])
    schema = metadata_schema(args.merge_peaks) if args.format == "parquet" else None
    return Context(rule, peaks, bed, args.format, schema, args.orient), n_read


def check_arguments(args: argparse.Namespace):
    """The window rule; refuses arguments that cannot work."""
    from LAMAR.genomics.windows import WindowRule

    if args.fasta is None:
        raise InputError("--fasta: not given, wanted a FASTA file of regions")
    if args.output is None or not args.output.name:
        raise InputError(f"--output: found {args.output or 'nothing'}, wanted a prefix such as prep/clip")
    if args.orient and args.eclip is None:
        raise InputError("--orient: found no --eclip, wanted the peaks that tell the strand")
    rule = WindowRule(args.max_len, args.stride, args.sampling, args.jitter, args.seed)
    args.jitter = rule.jitter
    return rule


def run(args: argparse.Namespace) -> None:
    began = time.monotonic()
    import numpy as np

    from LAMAR.cli.demo import NOTICE, demo_data
    from LAMAR.data.window_files import OutputFiles, open_metadata
    from LAMAR.genomics.intervals import canonical_chromosome
    from LAMAR.runs import storage
    from LAMAR.runs.provenance import provenance

    if args.demo:
        data = demo_data()
        args.fasta, args.bed, args.eclip = data / "clip_regions.fa", data / "clip_regions.bed", data / "peaks"
        args.output = args.output or REPO / "demo" / "prep" / "demo"
        print(f"no --fasta given. {NOTICE}")
    rule = check_arguments(args)
    arguments = {name: value for name, value in vars(args).items() if name != "demo"}
    inputs = [path for path in (args.fasta, args.bed, args.eclip) if path is not None]
    stats = ({"data": NOTICE} if args.demo else {}) | provenance(arguments, seed=args.seed, inputs=inputs)
    outputs = OutputFiles(args.output, ["sequences.txt", f"metadata.{args.format}"], "stats.json")
    outputs.refuse(inputs)
    if outputs.are_complete(stats, ("fasta", "bed", "eclip"), ignore=("workers",)):
        print(f"{outputs.record}: complete already with these arguments, nothing done (--overwrite does it again)")
        return
    context, n_read = prepare(args, rule)
    excluded = {canonical_chromosome(name) for name in args.exclude_chroms}
    tally = Tally()
    found = np.zeros(0 if context.peaks is None else len(context.peaks), dtype=bool)
    with outputs.folder():
        with (
            storage.atomic_write(outputs.paths[0]) as sequences,
            open_metadata(outputs.paths[1], args.format, context.schema) as write,
        ):
            batches = read_batches(args.fasta, rule, args.keep_nonstandard, excluded, tally)
            for result in process_all(batches, context, usable_workers(args.workers)):
                sequences.write(result.sequences)
                for part in result.metadata:
                    write(part)
                tally.counts.update(result.counts)
                found[result.found] = True
            check_found(args, tally, context, found)
            stats |= summarise(tally.counts, context, found, n_read)
            outputs.retract()
        outputs.finish(stats | {"wall_time_s": round(time.monotonic() - began, 3)})
    print(closing_table(stats))
    print("outputs: " + ", ".join(map(str, (*outputs.paths, outputs.record))))
    warn(args, tally, stats)


def main(argv: list[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return exit_on_input_error(run, parse_arguments(argv))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that staged files are removed
    sys.exit(main())
