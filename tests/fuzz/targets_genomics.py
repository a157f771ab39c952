"""Targets that read genomes, intervals, annotation and variants, and the scripts that make windows of them."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
from mutations import TEXTS, damage_file, damage_files
from sequence_files import window
from targets import Target, attempt, in_letters, letters, run_script, write
from targets_sequences import damage_tables

from LAMAR.genomics import annotation, divide_windows, genome, peaks, site_windows, track_windows
from LAMAR.interpretation import variant_windows, variants
from LAMAR.prediction import bed_places, records

__all__ = ["TARGETS", "chromosomes", "make_genome"]

NAMES = ("chr1", "chr2", "chrM")
LENGTH = 600


def chromosomes() -> dict[str, str]:
    """Return the sequences of the genome that all targets here share."""
    return {name: letters(LENGTH + 37 * i, i) for i, name in enumerate(NAMES)}


def make_genome(path: Path, width: int = 50) -> Path:
    """Write the genome as FASTA, with a soft-masked stretch and an N."""
    text = ""
    for name, sequence in chromosomes().items():
        sequence = sequence[:100].lower() + "N" + sequence[101:]
        lines = (sequence[i : i + width] for i in range(0, len(sequence), width))
        text += f">{name} made up\n" + "".join(f"{line}\n" for line in lines)
    return write(path, text)


# -------------------------------------------------------------------------------------------------------- genome


def _index(path: Path) -> None:
    """Let the library write its index, as an earlier run left it."""
    with genome.open_genome(path):
        pass


def make_indexed(folder: Path) -> None:
    _index(make_genome(folder / "g.fa"))


def make_bgzip(folder: Path) -> None:
    from Bio import bgzf

    plain = make_genome(folder / "plain.fa")
    with bgzf.BgzfWriter(str(folder / "g.fa.gz")) as handle:
        handle.write(plain.read_bytes())
    plain.unlink()
    _index(folder / "g.fa.gz")


def make_regions(folder: Path) -> None:
    whole = chromosomes()
    spans = [("chr1", 10, 200), ("chr1", 150, 400), ("chr2", 0, 600), ("chrM", 30, 90)]
    write(folder / "r.fa", "".join(f">{c}:{a}-{b}\n{whole[c][a:b]}\n" for c, a, b in spans))
    write(folder / "other.fa.gz", make_genome(folder / "copy.fa").read_text())
    (folder / "copy.fa").unlink()


WINDOWS = pd.DataFrame(
    [("chr1", 20, 60, "+"), ("1", 160, 180, "-"), ("chr2", 500, 637, "."), ("MT", 40, 50, "+"), ("chr9", 1, 9, "+")],
    columns=["chrom", "start", "end", "strand"],
)


def check_genome(path: Path) -> None:
    with genome.open_genome(path) as source:
        for sequence, row in zip(source.extract(WINDOWS), WINDOWS.itertuples()):
            assert sequence is None or len(sequence) == row.end - row.start
            in_letters([sequence] if sequence else [])


def damage_genome(rng: Random, folder: Path) -> None:
    """Damage the sequences, or more often an index beside them, whose numbers are exchanged for others."""
    indices = sorted(path for path in folder.iterdir() if path.suffix in (".fai", ".gzi"))
    if rng.random() < 0.4 or not indices:
        damage_files(rng, folder)
        return
    path = rng.choice(indices)
    if path.suffix == ".gzi" and rng.random() < 0.5:
        numbers = np.fromfile(path, "<u8")
        numbers[rng.randrange(len(numbers))] = rng.choice([0, 1, 2**31, 2**62, 2**63, 2**64 - 1])
        numbers.tofile(path)
    elif path.suffix == ".fai" and rng.random() < 0.5:
        lines = [line.split("\t") for line in path.read_text().splitlines()]
        rng.choice(lines)[rng.randrange(5)] = rng.choice(TEXTS)
        path.write_text("".join("\t".join(line) + "\n" for line in lines), errors="replace")
    else:
        damage_file(rng, path)


# ----------------------------------------------------------------------------------------------------- intervals


def _intervals(n: int = 12) -> list[tuple[str, int, int, str, int, str]]:
    return [(NAMES[i % 2], 20 + 40 * i, 50 + 40 * i + i % 7, f"p{i}", i * 10, "+-"[i % 2]) for i in range(n)]


def _bed(rows, columns: int = 6, sep: str = "\t") -> str:
    return "".join(sep.join(map(str, row[:columns])) + "\n" for row in rows)


def _narrow(rows) -> str:
    return _bed([(*row, 4.5, 6.25, -1, 5 + i) for i, row in enumerate(rows)], 10)


def make_peaks(folder: Path) -> None:
    rows = _intervals()
    write(folder / "peaks" / "A.bed", "track name=x\n#c\n" + _bed(rows))
    write(folder / "peaks" / "B.narrowPeak.gz", _narrow(rows))
    write(folder / "peaks" / "C.bed", _bed(rows, 3))
    listed = "accession\ttarget\tcell\nA\tQKI\tK562\nB\tPUM2\tHepG2\nC\tPUM2\tK562\n"
    write(folder / "peaks" / "index.tsv", listed)
    write(folder / "yeo.bed", _bed([(*row[:3], 6.5, 4.25, row[5]) for row in rows]))


CENTERS = ("middle", "five_prime", "summit")


def check_peaks(found: pd.DataFrame, centers: tuple[str, ...] = CENTERS) -> None:
    assert len(found)
    assert (found["start"] >= 0).all()
    assert (found["start"] < found["end"]).all()
    kept = found[site_windows.significant(found, 3.0, 3.0)]
    attempt(*(lambda center=center: site_windows.center_windows(kept, 31, center) for center in centers))
    site_windows.merge_replicates(kept)
    peaks.merge_named_peaks(found)


def read_peaks(folder: Path) -> None:
    def of_tracks() -> None:
        found = track_windows.read_track_peaks([folder / "peaks"])
        clusters = track_windows.cluster_centers(found, 25)
        assert len(clusters)
        track_windows.track_table(found)

    attempt(
        lambda: check_peaks(peaks.read_peaks(folder / "peaks"), CENTERS[:1]),
        lambda: check_peaks(peaks.read_peaks(folder / "peaks" / "B.narrowPeak.gz")),
        lambda: check_peaks(peaks.read_peaks(folder / "yeo.bed", fc_column=5, p_column=4), CENTERS[:2]),
        of_tracks,
    )


def make_beds(folder: Path) -> None:
    rows = _intervals()
    write(folder / "five.bed", _bed(rows, 5))
    twelve = [(*row, row[1], row[2], "0,0,0", 2, "10,5,", f"0,{row[2] - row[1] - 5},") for row in rows]
    write(folder / "twelve.bed.gz", _bed(twelve, 12))
    write(folder / "three.bed", _bed(rows, 4, " "))


def read_beds(folder: Path) -> None:
    def places(name: str) -> None:
        for _, place in bed_places.bed_places(folder / name):
            assert 0 < len(place) < 10**12
            assert sum(end - start for start, end in place.blocks(0, len(place))) == len(place)

    def five() -> None:
        table = peaks.read_bed5(folder / "five.bed")
        assert (table["score"] >= 0).all()

    attempt(five, lambda: places("twelve.bed.gz"), lambda: places("three.bed"), lambda: places("five.bed"))


# ---------------------------------------------------------------------------------------------------- annotation


def _gtf() -> str:
    lines = ["#!genome-build made-up"]
    for i in range(4):
        chrom, strand, first = NAMES[i % 2], "+-"[i % 2], 11 + 100 * i
        attributes = f'gene_id "G{i}"; transcript_id "T{i}.1"; gene_name "N;{i}"; gene_type "protein_coding";'
        spans = [("exon", first, first + 30), ("CDS", first + 5, first + 30), ("exon", first + 50, first + 80)]
        for feature, start, end in [("gene", first, first + 80), *spans, ("stop_codon", first + 78, first + 80)]:
            lines.append("\t".join([chrom, "src", feature, str(start), str(end), ".", strand, "0", attributes]))
    return "\n".join(lines) + "\n"


def make_gtf(folder: Path) -> None:
    write(folder / "a.gtf", _gtf())
    write(folder / "a.gtf.gz", _gtf())


def read_gtf(folder: Path) -> None:
    def check(name: str) -> None:
        found = annotation.read_gtf(folder / name)
        assert len(found.region_types(WINDOWS)) == len(found.genes_at(WINDOWS)) == len(WINDOWS)
        assert all(len(place) > 0 for _, place in records.transcript_places(None, folder / name))

    attempt(lambda: check("a.gtf"), lambda: check("a.gtf.gz"))


# ------------------------------------------------------------------------------------------------------ variants


def make_variants(folder: Path) -> None:
    whole = chromosomes()
    make_genome(folder / "g.fa")
    places = [("chr1", 150, 1), ("chr1", 300, 2), ("2", 200, 1), ("chr2", 400, 3), ("chr1", 350, 1)]
    rows = []
    for i, (chrom, pos, n) in enumerate(places):
        ref = whole[f"chr{chrom.removeprefix('chr')}"][pos - 1 : pos - 1 + n]
        alts = [letter for letter in "ACGT" if letter != ref[0]]
        rows.append((chrom, pos, f"rs{i}", ref, ",".join(alts) if i == 4 else alts[0] + ref[1:]))
    head = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    write(folder / "v.vcf", head + "".join("\t".join(map(str, row)) + "\t.\tPASS\t.\n" for row in rows))
    write(folder / "v.vcf.gz", (folder / "v.vcf").read_text())
    table = "chrom,pos,id,ref,alt,strand\n" + "".join(
        f'{c},{p},{i},{r},"{a}",{"+-"[j % 2]}\n' for j, (c, p, i, r, a) in enumerate(rows)
    )
    write(folder / "v.csv", table)


def read_variants(folder: Path) -> None:
    def check(name: str, strand: str) -> None:
        placed, left_out = variant_windows.load_variants(folder / name, folder / "g.fa", strand, 41)
        assert placed
        assert all(len(one.sequence) == len(one.alternative) == 41 for one in placed)
        assert all(one.reason in variants.REASONS for one in left_out)

    attempt(lambda: check("v.vcf", "both"), lambda: check("v.vcf.gz", "+"), lambda: check("v.csv", "-"))


# ------------------------------------------------------------------------------------------------------- windows


def make_metadata(folder: Path) -> None:
    rows = []
    for i in range(12):
        start = 100 * (i // 2)
        one = window(letters(30, i), (3, 9))
        place = {"chrom": NAMES[i % 3], "start": start, "end": start + 30}
        rows.append(one | place | {"seq_id": f"{NAMES[i % 3]}:{start}-{start + 30}"})
    write(folder / "w_metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write(folder / "v_metadata.json", json.dumps(rows))
    pd.DataFrame(rows).to_parquet(folder / "u_metadata.parquet")


def read_metadata(folder: Path) -> None:
    def check(name: str, group: str) -> None:
        made = divide_windows.divide_windows(folder / name, folder / "out" / name, val_fraction=0.3, group=group)
        assert made.text

    names = ("w_metadata.jsonl", "v_metadata.json", "u_metadata.parquet")
    attempt(*(lambda n=n, g=g: check(n, g) for n, g in zip(names, ("region", "chrom", "none"))))


def make_prep(folder: Path) -> None:
    make_regions(folder)
    (folder / "other.fa.gz").unlink()
    rows = [("chr1", 10, 200, "x", 3), ("chr1", 150, 400, "y", 1), ("chr2", 0, 600, "z", 0), ("chrM", 30, 90, "w", 2)]
    write(folder / "r.bed", _bed(rows))
    write(folder / "peaks" / "B.narrowPeak", _narrow(_intervals(8)))


def run_prep(folder: Path) -> None:
    given = ["--fasta", folder / "r.fa", "--bed", folder / "r.bed", "--eclip", folder / "peaks"]
    out, more = folder / "out" / "o", ["--max_len", 60, "--stride", 30, "--keep_nonstandard"]
    run_script("preprocess/preprocess.py", *given, "--output", out, *more)
    assert (folder / "out" / "o_metadata.jsonl").stat().st_size


def make_sources(folder: Path) -> None:
    make_genome(folder / "g.fa")
    write(folder / "a.gtf", _gtf())
    places = [(NAMES[i % 3], 60 + 12 * i, 75 + 12 * i, f"p{i}", 0, "+-"[i % 2]) for i in range(36)]
    write(folder / "peaks" / "A.narrowPeak", _narrow(places))


def run_binding_sets(folder: Path) -> None:
    given = ["--peaks", folder / "peaks", "--fasta", folder / "g.fa", "--gtf", folder / "a.gtf"]
    more = ["--window", 21, "--min_sites", 5, "--negatives", "shuffle", "--split", "random"]
    run_script("preprocess/make_rbp_dataset.py", *given, "--output_dir", folder / "out", *more)


def run_track_set(folder: Path) -> None:
    given = ["--peaks", folder / "peaks", "--fasta", folder / "g.fa", "--gtf", folder / "a.gtf"]
    more = ["--window", 31, "--min_length", 21, "--core", 9, "--near", 11, "--cluster", 5, "--min_windows", 1]
    more += ["--test_chroms", "chr2", "--dev_chroms", "chrM", "--keep_nonstandard", "--background_windows", 4, 2, 2]
    more += ["--exclude_run", 12]
    run_script("preprocess/make_track_dataset.py", *given, "--output_dir", folder / "out", *more)


TARGETS = [
    Target("genome_fai", make_indexed, lambda folder: check_genome(folder / "g.fa"), damage_genome),
    Target("genome_bgzip", make_bgzip, lambda folder: check_genome(folder / "g.fa.gz"), damage_genome),
    Target(
        "genome_regions",
        make_regions,
        lambda folder: attempt(*(lambda n=n: check_genome(folder / n) for n in ("r.fa", "other.fa.gz"))),
    ),
    Target("peaks", make_peaks, read_peaks),
    Target("beds", make_beds, read_beds),
    Target("gtf", make_gtf, read_gtf),
    Target("variants", make_variants, read_variants),
    Target("window_metadata", make_metadata, read_metadata, damage_tables),
    Target("preprocess", make_prep, run_prep),
    Target("make_rbp_dataset", make_sources, run_binding_sets),
    Target("make_track_dataset", make_sources, run_track_set),
]
