"""Files of the SYNTHETIC demo data set (`LAMAR.data.synthetic`): genome, annotation, peaks, labelled windows, truth.

``preprocess/make_demo_data.py`` describes the files and the schema of ``truth.json``. Coordinates are 0-based and
half-open, except in the GTF file.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from ..errors import InputError
from ..runs.storage import read_json_object
from .synthetic import CHROM_SHARE, WINDOW, Gene, Genome, PlantedGenome, SyntheticOptions, Window, read_genome, simulate
from .synthetic_sites import RBPS

__all__ = ["FORMAT_VERSION", "STATEMENT", "make_demo_data"]

FORMAT_VERSION = 2  # of truth.json and of the simulation: raise it when either changes
STATEMENT = "SYNTHETIC demo data: invented sequences and sites, no organism, no experiment"


def make_demo_data(
    output_dir: str | Path,
    *,
    seed: int = 42,
    windows_per_rbp: int = 1000,
    weak_fraction: float = 0.1,
    overwrite: bool = False,
) -> str:
    """Write the synthetic demo data set into a folder; equal arguments give equal files, byte for byte.

    A complete set of the same arguments is left as it is. A set that is incomplete, or of an earlier format, is
    replaced. The folder is never half-written.

    Parameters
    ----------
    output_dir : path
        Folder of the set; new, empty, or that of an earlier set.
    seed, windows_per_rbp, weak_fraction
        See `LAMAR.data.synthetic.SyntheticOptions`.
    overwrite : bool
        Replace a complete set, whatever its arguments.

    Returns
    -------
    str
        Summary of the set in a few lines of text.

    Raises
    ------
    InputError
        If an argument is out of range, or the folder holds other files, a set with other arguments, or cannot be
        written.
    """
    options = SyntheticOptions(seed, windows_per_rbp, weak_fraction)
    folder = Path(output_dir).expanduser().absolute()
    present = _complete_set(folder)
    if present and not overwrite and present != asdict(options):
        raise InputError(f"`output_dir` {folder}: holds demo data made with {present}; `overwrite` replaces them")
    if present and not overwrite:
        summary = ["complete already with these arguments, nothing done (`overwrite` rebuilds)"]
    else:
        planted = simulate(options)
        regions = _merge_peaks(planted.peaks)
        files = _render(planted, regions, options)
        _write_folder(files, folder)
        summary = _summary(planted, regions, options)
    return "\n".join([f"{STATEMENT}.", *summary, f"data set: {folder}"])


def _complete_set(folder: Path) -> dict | None:
    """Return the arguments of the complete set in ``folder``, None without one; refuse a folder of other files."""
    readme = folder / "README.txt"
    ours = readme.is_file() and readme.read_text(errors="replace").startswith(STATEMENT)
    if folder.exists() and not ours and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"`output_dir` {folder}: not empty and not made by this script; name a new or empty folder")
    try:
        truth = read_json_object(folder / "truth.json")
        whole = all((folder / name).stat().st_size == entry["bytes"] for name, entry in truth["files"].items())
        return truth["arguments"] if whole and truth["format_version"] == FORMAT_VERSION else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _merge_peaks(peaks: dict[str, list]) -> list[list]:
    """Merge overlapping peaks of all RBPs and both strands into regions [chrom, start, end, number of peaks]."""
    regions: list[list] = []
    for chrom in CHROM_SHARE:
        for start, end in sorted(row[1:3] for rows in peaks.values() for row in rows if row[0] == chrom):
            if regions and regions[-1][0] == chrom and start < regions[-1][2]:
                regions[-1][2:] = [max(regions[-1][2], end), regions[-1][3] + 1]
            else:
                regions.append([chrom, start, end, 1])
    return regions


def _render(planted: PlantedGenome, regions: list[list], options: SyntheticOptions) -> dict[str, bytes]:
    """Return the content of every file by its path in the folder, ``truth.json`` last."""
    genome = planted.genome
    chromosomes = [(chrom, read_genome(genome, chrom, 0, len(genome[chrom]))) for chrom in genome]
    texts = {
        "README.txt": f"{STATEMENT}.\nMade by preprocess/make_demo_data.py, whose docstring explains the files.\n",
        "genome.fa": _fasta(chromosomes, 60),
        "genome.fa.fai": _fasta_index(chromosomes),
        "transcripts.fa": _fasta(_transcripts(planted), 60),
        "annotation.gtf": _gtf(planted.genes),
        "clip_regions.fa": _fasta([(f"{c}:{a}-{b}", read_genome(genome, c, a, b)) for c, a, b, _ in regions], 10_000),
        "clip_regions.bed": "\n".join([f"# {STATEMENT}", *(f"{c}\t{a}\t{b}\t.\t{n}" for c, a, b, n in regions), ""]),
    }
    index = "accession\ttarget\tcell\tassembly\tbiol_replicates\texperiment\tstatus\tbed_name\tn_peaks\n"
    for rbp, rows in planted.peaks.items():
        index += f"{rbp}_DEMO\t{rbp}\tDEMO\tSYNTHETIC\t.\t.\tsynthetic\t{rbp}_DEMO_IDR\t{len(rows)}\n"
        texts[f"peaks/{rbp}_DEMO.bed.gz"] = f"# {STATEMENT}\n" + "".join(
            f"{c}\t{a}\t{b}\t{rbp}_DEMO_IDR\t1000\t{strand}\t{fold:.6f}\t{p:.6f}\t-1\t-1\n"
            for c, a, b, strand, fold, p in rows
        )
        for label, side in ((1, "positives"), (0, "negatives")):
            members = [w for w in planted.windows if (w.rbp, w.label) == (rbp, label)]
            records = [(w.header(), read_genome(genome, w.chrom, w.start, w.start + WINDOW, w.strand)) for w in members]
            texts[f"labelled/{rbp}.{side}.fa"] = _fasta(records, WINDOW)
    files = {name: text.encode() for name, text in (texts | {"peaks/index.tsv": index}).items()}
    files |= {name: gzip.compress(files[name], 6, mtime=0) for name in files if name.endswith(".gz")}
    sums = {name: {"bytes": len(x), "sha256": hashlib.sha256(x).hexdigest()} for name, x in files.items()}
    truth = _truth(planted, options) | {"files": sums}
    # One window, site or file per line, for grep; no string in there holds "}, ".
    files["truth.json"] = (json.dumps(truth).replace("}, ", "},\n") + "\n").encode()
    return files


def _fasta(records: list[tuple[str, str]], width: int) -> str:
    """Return FASTA text; a header is the name as its first word, then SYNTHETIC."""
    cut = [(name, [seq[i : i + width] for i in range(0, len(seq), width)]) for name, seq in records]
    return "".join("\n".join([f">{name} SYNTHETIC", *lines, ""]) for name, lines in cut)


def _fasta_index(chromosomes: list[tuple[str, str]]) -> str:
    """Return the index that ``samtools faidx`` writes: name, length, offset of the first letter, line widths."""
    text, offset = "", 0
    for chrom, sequence in chromosomes:
        offset += len(f">{chrom} SYNTHETIC\n")
        text += f"{chrom}\t{len(sequence)}\t{offset}\t60\t61\n"
        offset += len(sequence) + -(-len(sequence) // 60)
    return text


def _transcripts(planted: PlantedGenome) -> list[tuple[str, str]]:
    """Return names and spliced sequences of all transcripts, 5' to 3'."""
    transcripts = []
    for k, gene in enumerate(planted.genes, 1):
        exons = [read_genome(planted.genome, gene.chrom, a, b, gene.strand) for a, b in gene.exons]
        transcripts.append((f"TSYN{k:05d}", "".join(exons if gene.strand == "+" else exons[::-1])))
    return transcripts


def _gtf(genes: list[Gene]) -> str:
    """Return the annotation as GTF, 1-based inclusive.

    CDS and UTRs are intervals only: the sequence between them is no reading frame.
    """
    lines = [f"#!{STATEMENT}", "#!genome-build SYNTHETIC"]
    for k, gene in enumerate(genes, 1):
        tags = f'gene_id "GSYN{k:05d}"; gene_biotype "{"protein_coding" if gene.windows else "lncRNA"}";'
        inner = f'{tags} transcript_id "TSYN{k:05d}";'
        whole = (gene.exons[0][0], gene.exons[-1][1], ".")
        rows = [("gene", *whole, tags), ("transcript", *whole, inner)]
        done, total = 0, sum(end - start for start, end in gene.exons)
        first, last = total // 8, total // 8 + total // 6 * 3
        parts = [("five_prime_utr", 0, first), ("CDS", first, last), ("three_prime_utr", last, total)]
        for number, (start, end) in enumerate(gene.exons[:: 1 if gene.strand == "+" else -1], 1):
            rows.append(("exon", start, end, ".", f'{inner} exon_number "{number}";'))
            for part, a, b in parts if gene.windows else []:
                x, y = max(a - done, 0), min(b - done, end - start)  # from the exon's 5' end
                if x < y:
                    frame = str((first - done - x) % 3) if part == "CDS" else "."
                    place = (start + x, start + y) if gene.strand == "+" else (end - y, end - x)
                    rows.append((part, *place, frame, rows[-1][-1]))
            done += end - start
        fixed = f"{gene.chrom}\tsynthetic"
        lines += [f"{fixed}\t{p}\t{a + 1}\t{b}\t.\t{gene.strand}\t{f}\t{t}" for p, a, b, f, t in rows]
    return "\n".join([*lines, ""])


def _truth(planted: PlantedGenome, options: SyntheticOptions) -> dict:
    """Return the content of ``truth.json`` without the list of files."""
    sites: dict[str, list] = {rbp: [] for rbp in RBPS}
    local: dict[str, dict] = {rbp: {} for rbp in RBPS}
    for w in planted.windows:
        place = {"chrom": w.chrom, "start": w.start, "end": w.start + WINDOW, "strand": w.strand}
        content = {"kind": w.kind, "motif": w.motif, "pairs": w.pairs, "mismatch": w.mismatch, "decoy": w.decoy}
        index = len(sites[w.rbp]) if w.label else None
        local[w.rbp][w.header()] = {"label": w.label, **place, **content, "site": index}
        if w.label:
            sites[w.rbp].append(_site(planted.genome, w))
    head = {"format": "lamar-demo-truth", "format_version": FORMAT_VERSION, "synthetic": True, "statement": STATEMENT}
    head |= {"seed": options.seed, "arguments": asdict(options), "window": WINDOW}
    return head | {"rbps": RBPS, "sites": sites, "windows": local, "background_peaks": planted.background}


def _site(genome: Genome, window: Window) -> dict:
    """Return the site of a positive window in genomic coordinates."""
    start, end = window.site()
    place = {"chrom": window.chrom, "start": start, "end": end, "strand": window.strand}
    mismatch = window.mismatch
    return place | {
        "strength": window.kind,
        "instance": read_genome(genome, **place),
        "motif": [window.genomic(*span) for span in window.motif],
        "pairs": [[window.genomic(i, i + 1)[0] for i in pair] for pair in window.pairs],
        "mismatch": None if mismatch is None else window.genomic(mismatch, mismatch + 1)[0],
        "peak": window.peak,
        "window": window.header(),
    }


def _summary(planted: PlantedGenome, regions: list[list], options: SyntheticOptions) -> list[str]:
    """Return the sizes of the set as lines of text."""
    lengths = ", ".join(f"{chrom} {len(letters):,} nt" for chrom, letters in planted.genome.items())
    long = sum(end - start > 512 for _, start, end, _ in regions)
    n = options.windows_per_rbp
    return [
        f"{lengths}; {len(planted.genes)} genes; {len(regions):,} CLIP regions, {long} of them above 512 nt",
        *(f"{rbp}: {n:,} positives, {n:,} negatives, {len(planted.peaks[rbp]):,} peaks" for rbp in RBPS),
    ]


def _write_folder(files: dict[str, bytes], folder: Path) -> None:
    """Write a sibling folder and rename it, so that ``folder`` is never seen half-written."""
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if present - set(files):
        raise InputError(f"`output_dir` {folder}: rebuilding would delete {min(present - set(files))}; move it first")
    fresh, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{end}") for end in ("new", "old"))
    try:
        for name, data in files.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(data)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    except OSError as error:
        if old.exists() and not folder.exists():
            old.rename(folder)
        # Another process that built the same set at the same time, and was first, has done the work.
        if not (folder / "truth.json").exists() or (folder / "truth.json").read_bytes() != files["truth.json"]:
            raise InputError(f"`output_dir` {folder}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
