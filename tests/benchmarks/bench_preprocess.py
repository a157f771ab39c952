"""Joining regions with peaks, writing metadata, the whole of preprocess.py, and windows out of an indexed genome.

Run: python tests/benchmarks/bench_preprocess.py                # all
     python tests/benchmarks/bench_preprocess.py --only join    # or json, script, genome

1. join: 49,335 regions with 1,057,000 peaks of invented coordinates, lengths as in CLIP data and chromosomes of human
   sizes, at a quarter, half and all of both; against a nested loop over regions and peaks of one chromosome, in Python
   lists, at a fortieth, a twentieth and a tenth.
2. json: window metadata as JSON lines and as indented JSON.
3. script: preprocess.py on the real regions and peaks (LAMAR_SHARED), with one and two workers: seconds, peak memory.
4. genome: 100,000 windows of 101 nt out of an indexed FASTA of 100 Mnt; making the index is timed separately.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from timing import REPO, benchmark_parser, load_average, measure, peak_memory, shared_data, side_by_side

N_REGIONS, N_PEAKS = 49_335, 1_057_000
# Mb of chr1-22, chrX, chrY in GRCh38.
SIZES = [249, 242, 198, 190, 182, 171, 159, 145, 138, 134, 135, 133, 114, 107, 102, 90, 83, 80, 59, 64, 47, 51, 156, 57]
NAMES = [f"chr{name}" for name in [*range(1, 23), "X", "Y"]]


def intervals(n: int, median: float, spread: float, seed: int) -> pd.DataFrame:
    """Return sorted intervals at random positions, with log-normal lengths."""
    rng = np.random.default_rng(seed)
    chrom = rng.choice(len(SIZES), n, p=np.array(SIZES) / sum(SIZES))
    length = np.clip(rng.lognormal(np.log(median), spread, n), 10, 20_000).astype(np.int64)
    start = (rng.random(n) * (np.array(SIZES)[chrom] * 1_000_000 - length)).astype(np.int64)
    order = np.lexsort((start, chrom))
    chrom, start, length = chrom[order], start[order], length[order]
    return pd.DataFrame({"chrom": np.array(NAMES, object)[chrom], "start": start, "end": start + length})


def regions_and_peaks(share: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a share of all regions and peaks; four of five peaks start in a region, as most real ones do."""
    regions = intervals(int(N_REGIONS * share), 600, 1.0, seed=1)
    peaks = intervals(int(N_PEAKS * share), 60, 0.5, seed=2)
    rng = np.random.default_rng(3)
    home = regions.iloc[rng.integers(0, len(regions), len(peaks))].reset_index(drop=True)
    start = home["start"] + (rng.random(len(peaks)) * (home["end"] - home["start"])).astype(np.int64)
    inside = home.assign(start=start, end=start + (peaks["end"] - peaks["start"]))
    away = rng.random(len(peaks)) < 0.2
    return regions, pd.concat([inside[~away], peaks[away]], ignore_index=True)


def nested_loop(regions: pd.DataFrame, peaks: pd.DataFrame) -> list[tuple[int, int]]:
    """Return the overlapping pairs by comparing every region of a chromosome with every peak of it."""
    by_chrom: dict[str, list] = {}
    for j, (chrom, start, end) in enumerate(peaks.itertuples(index=False)):
        by_chrom.setdefault(chrom, []).append((j, start, end))
    return [
        (i, j)
        for i, (chrom, start, end) in enumerate(regions.itertuples(index=False))
        for j, a, b in by_chrom.get(chrom, [])
        if a < end and start < b
    ]


def bench_join() -> None:
    import bioframe

    from LAMAR.genomics.intervals import overlap

    for share in (0.25, 0.5, 1.0):
        regions, peaks = regions_and_peaks(share)
        side_by_side(
            "join",
            {
                "LAMAR.genomics.intervals.overlap": lambda a=regions, b=peaks: overlap(a, b),
                "bioframe.overlap": lambda a=regions, b=peaks: bioframe.overlap(a, b, how="inner"),
            },
            regions=len(regions),
            peaks=len(peaks),
            pairs=len(overlap(regions, peaks)[0]),
        )
    for share in (0.025, 0.05, 0.1):
        regions, peaks = regions_and_peaks(share)
        if nested_loop(regions, peaks) != list(zip(*(side.tolist() for side in overlap(regions, peaks)))):
            raise SystemExit("the nested loop finds other pairs: nothing to compare")
        side_by_side(
            "join, small",
            {
                "LAMAR.genomics.intervals.overlap": lambda a=regions, b=peaks: overlap(a, b),
                "nested loop": lambda a=regions, b=peaks: nested_loop(a, b),
            },
            rounds=3,
            regions=len(regions),
            peaks=len(peaks),
        )


def bench_json() -> None:
    from LAMAR.data.window_files import render
    from LAMAR.genomics.intervals import IntervalIndex
    from LAMAR.genomics.window_metadata import DescribedWindows, Record
    from LAMAR.genomics.windows import WindowRule

    regions, peaks = regions_and_peaks(0.1)
    rng = np.random.default_rng(3)
    batch = [
        Record(f"{chrom}:{start}-{end}", chrom, start, end, ".", "".join(rng.choice(list("ACGT"), end - start)))
        for chrom, start, end in regions.itertuples(index=False)
    ]
    peaks = peaks.assign(strand="+", rbp="HNRNPC", cell="HepG2")
    described = DescribedWindows(batch, WindowRule(), IntervalIndex(peaks))
    records = described.records(0, len(described))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metadata"

        def lines() -> None:
            path.write_text(render(records, "jsonl") + "\n")

        def indented() -> None:
            with open(path, "w") as handle:
                json.dump(records, handle, indent=2)

        megabytes = {}
        for name, write in (("lines", lines), ("indented", indented)):
            write()
            megabytes[name] = round(path.stat().st_size / 1e6, 1)
        n_peaks = sum(len(record["eclip_regions"]) for record in records)
        facts = {"windows": len(records), "peaks": n_peaks, "megabytes": megabytes}
        side_by_side("metadata", {"JSON lines": lines, "indented JSON": indented}, rounds=3, **facts)


def bench_script() -> None:
    fasta, peaks = shared_data() / "clip_regions" / "hg38_clip_regions.fa.gz", shared_data() / "eclip_peaks"
    if not fasta.is_file():
        print(json.dumps({"benchmark": "preprocess.py", "note": f"no real data: {fasta} is not there"}))
        return
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(REPO / "preprocess" / "preprocess.py"), "--fasta", str(fasta)]
            command += ["--eclip", str(peaks), "--output", f"{folder}/clip", "--workers", str(workers)]
            seconds, most = peak_memory(command)
            stats = json.loads(Path(folder, "clip_stats.json").read_text())
        record = {"benchmark": "preprocess.py", "workers": workers, "seconds": round(seconds, 1)}
        record |= {"peak_gib": round(most, 2), "regions": stats["records"]["read"], "peaks": stats["peaks"]["read"]}
        print(json.dumps(record | load_average()), flush=True)


def bench_genome() -> None:
    from LAMAR.genomics.genome import open_genome

    rng = np.random.default_rng(4)
    lengths = {"chr1": 50_000_040, "chr2": 30_000_000, "chr3": 20_000_040}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "genome.fa"
        with open(path, "wb") as handle:
            for chrom, length in lengths.items():
                lines = np.full((length // 60, 61), ord("\n"), np.uint8)
                lines[:, :60] = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, (length // 60, 60), np.uint8)]
                handle.write(f">{chrom}\n".encode() + lines.tobytes())
        chrom = rng.choice(list(lengths), 100_000, p=np.array(list(lengths.values())) / sum(lengths.values()))
        start = (rng.random(100_000) * (np.array([lengths[name] for name in chrom]) - 101)).astype(np.int64)
        windows = pd.DataFrame({"chrom": chrom.astype(object), "start": start, "end": start + 101})
        windows["strand"] = rng.choice(["+", "-"], 100_000).astype(object)
        began = time.perf_counter()
        with open_genome(path):
            indexed = time.perf_counter() - began
        for order, table in (
            ("random", windows),
            ("sorted", windows.sort_values(["chrom", "start"], ignore_index=True)),
        ):

            def extract(table: pd.DataFrame = table) -> None:
                with open_genome(path) as genome:
                    if {len(sequence) for sequence in genome.extract(table)} != {101}:
                        raise SystemExit("a window does not have 101 nt")

            record = {"benchmark": "windows from an indexed genome", "order": order, "windows": len(table)}
            record |= {"seconds": [round(measure(extract)[0], 2) for _ in range(3)]}
            record |= {"index_seconds": round(indexed, 1)}
            print(json.dumps(record | load_average()), flush=True)


BENCHMARKS = {"join": bench_join, "json": bench_json, "script": bench_script, "genome": bench_genome}


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__, rounds=None)
    parser.add_argument("--only", choices=list(BENCHMARKS), help="run one of them")
    return parser


def main(argv: list[str] | None = None) -> None:
    chosen = build_parser().parse_args(argv).only
    for name, function in BENCHMARKS.items():
        if chosen in (None, name):
            function()


if __name__ == "__main__":
    main()
