"""Make the SYNTHETIC demo data: a small invented genome with binding sites planted at known positions.

    python preprocess/make_demo_data.py                               # demo/data in this clone, seed 42
    python preprocess/make_demo_data.py --output_dir small --windows_per_rbp 60 --seed 7

The same seed and arguments give the same files, byte for byte. Coordinates: 0-based half-open, except in the GTF.

    genome.fa, genome.fa.fai            chr1, chr8, chr21: first-order Markov chain, AT-rich and GC-rich stretches
    annotation.gtf, transcripts.fa      genes on both strands; spliced transcripts, 5' to 3'
    peaks/<RBP>_DEMO.bed.gz, index.tsv  narrowPeak as in ENCODE's eCLIP: peaks on sites, and some without a site
    clip_regions.fa, clip_regions.bed   merged peaks, forward strand; BED5 score = number of peaks in the region
    labelled/<RBP>.{positives,negatives}.fa  101-nt windows on the transcript's strand, none overlaps another
    truth.json                          everything that was planted; written last, it marks a complete set

Sites: PUM2 `TGTANATA`; QKI `ACTAAY`, 1-20 nt, `TAAY`; IRPSYN (invented, after the iron-responsive element) the loop
`CAGTGH` closed by six random Watson-Crick pairs, so that the pairing is fixed and the stem's letters are not. A tenth
is weak: one letter of the motif, never of a stem, differs. No other full site stands in the genome, on either strand.

Negatives come from transcripts without a site of their RBP. Each holds a decoy made of the site's letters, so that
its composition is the positives': `scattered` (motif in 3-mers), `split` (in two), QKI also `half` (first part whole,
second cut), `far` (gap of 30 nt or more), `reversed` (second part first), IRPSYN also `unpaired` (loop between arms
that do not pair) and `moved` (stem around other letters, loop elsewhere; `scattered` has such a stem too).

truth.json: format, format_version, synthetic, statement, seed, arguments, window (nt), and
    rbps     {rbp: {kind (linear, bipartite, hairpin), motif, parts (what the spans in a site's `motif` are)}}
    sites    {rbp: [{chrom, start, end, strand, strength, instance, motif, pairs, mismatch, peak, window}]}, genomic
    windows  {rbp: {header: {label, chrom, start, end, strand, kind, motif, pairs, mismatch, decoy, site}}}: header is
             the first word in the FASTA, kind strong, weak or the decoy's; positions count from the first letter
             of the window as its strand reads it; site indexes `sites` (null for a negative)
    background_peaks {rbp: [[chrom, start, end, strand]]}, peaks without a site; files {path: {bytes, sha256}}
`instance` is the site as the strand reads it, spacer and loop included. `motif` and `decoy` are lists of [start, end),
5' to 3'. `pairs` are the [i, j] of every planted stem, decoys' too. `mismatch`: the changed position of a weak site.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))
if __name__ == "__main__":
    os.environ.setdefault("LAMAR_LIGHT", "1")  # no model here: spares the import of torch

from LAMAR.cli.arguments import OneLineParser, path
from LAMAR.cli.demo import DEMO_VERSION
from LAMAR.cli.errors import exit_on_input_error
from LAMAR.errors import InputError

STATEMENT = "SYNTHETIC demo data: invented sequences and sites, no organism, no experiment"
WINDOW, MARGIN, STEM = 101, 5, 6  # nt; the margin keeps planted letters off a window's ends
CHROM_SHARE = {"chr1": 0.5, "chr8": 0.3, "chr21": 0.2}
GC_STATES = (0.37, 0.52)  # G+C of the AT-rich and the GC-rich stretches
RBPS = {
    "PUM2": {"kind": "linear", "motif": "TGTANATA", "parts": ["motif"]},
    "QKI": {"kind": "bipartite", "motif": "ACTAAY N{1,20} TAAY", "parts": ["first", "second"]},
    "IRPSYN": {"kind": "hairpin", "motif": "CAGTGH", "parts": ["stem5", "loop", "stem3"]},
}
DECOYS = {
    "PUM2": {"scattered": 0.7, "split": 0.3},
    "QKI": {"scattered": 0.5, "split": 0.1, "half": 0.2, "far": 0.1, "reversed": 0.1},
    "IRPSYN": {"scattered": 0.5, "unpaired": 0.3, "moved": 0.2},
}
ARGUMENTS = {"seed": (0, 2**63 - 1), "windows_per_rbp": (10, 20_000), "weak_fraction": (0.0, 0.5)}
IUPAC = {"A": "A", "C": "C", "G": "G", "T": "T", "N": "ACGT", "Y": "CT", "H": "ACT"}
COMPLEMENT = str.maketrans("ACGT", "TGCA")
# Relative abundance of dinucleotides in human DNA, rounded (rows first letter, columns second, A C G T): CpG depleted.
ODDS = np.array(
    [[1.12, 0.84, 1.16, 0.87], [1.21, 1.21, 0.24, 1.16], [1.03, 1.01, 1.21, 0.84], [0.74, 1.03, 1.21, 1.12]]
)
Genome = dict[str, np.ndarray]  # chromosome -> ASCII letters, uint8


@dataclass
class Window:
    """One labelled window and what is planted in it; positions are local, in the window's orientation."""

    rbp: str
    label: int
    kind: str
    chrom: str = ""
    start: int = 0
    strand: str = ""
    motif: list[list[int]] = field(default_factory=list)
    pairs: list[list[int]] = field(default_factory=list)
    mismatch: int | None = None
    decoy: list[list[int]] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)  # genomic

    def genomic(self, start: int, end: int) -> list[int]:
        """Genomic [start, end) of a local one."""
        offset = start if self.strand == "+" else WINDOW - end
        return [self.start + offset, self.start + offset + end - start]

    def site(self) -> list[int]:
        return self.genomic(self.motif[0][0], self.motif[-1][1])

    def header(self) -> str:
        return f"{self.chrom}:{self.start}-{self.start + WINDOW}({self.strand})"


@dataclass
class Gene:
    """A gene with one transcript; ``exons`` ascend on the chromosome, ``span`` counts the intergenic nt too."""

    chrom: str
    strand: str
    gc: float
    windows: list[Window]
    exons: list[tuple[int, int]] = field(default_factory=list)
    span: int = 0


def revcomp(sequence: str) -> str:
    return sequence.translate(COMPLEMENT)[::-1]


def read(genome: Genome, chrom: str, start: int, end: int, strand: str = "+") -> str:
    sequence = genome[chrom][start:end].tobytes().decode()
    return sequence if strand == "+" else revcomp(sequence)


def design_genes(rng: np.random.Generator, args: argparse.Namespace) -> list[Gene]:
    """Lay out genes and windows: per chromosome three lncRNAs, then rounds of three genes, one per RBP, of one G+C.

    The gene of an RBP holds its sites and negatives of the other two: a round thus has as many positives as negatives
    of each RBP on the same background, while no transcript has both of one.
    """
    names, n = list(RBPS), args.windows_per_rbp
    kinds: dict[tuple[str, int], list[str]] = {}
    for rbp in names:
        sites = {"weak": args.weak_fraction, "strong": 1 - args.weak_fraction}
        for label, share in ((1, sites), (0, DECOYS[rbp])):
            counts = np.diff(np.round(np.cumsum([0.0, *share.values()]) * n).astype(int))
            kinds[rbp, label] = rng.permutation(np.repeat(list(share), counts)).tolist()
    rounds = np.array_split(np.arange(n), max(6, -(-n // 12)))
    last = dict(zip(CHROM_SHARE, np.round(np.cumsum(list(CHROM_SHARE.values())) * len(rounds)).astype(int)))
    genes, done = [], 0
    for chrom in CHROM_SHARE:
        rows: list[tuple[float, list]] = [(GC_STATES[k % 2], []) for k in range(3)]
        for number in range(done, last[chrom]):
            size, half = len(rounds[number]), len(rounds[number]) // 2
            for c in range(3):
                plan = [(names[c], 1)] * size + [(names[c - 2], 0)] * half + [(names[c - 1], 0)] * (size - half)
                rows.append((GC_STATES[number % 2], [plan[i] for i in rng.permutation(len(plan))]))
        done, cursor = last[chrom], 0
        for k, (gc, plan) in enumerate(rows):
            before, cursor, strand = cursor, cursor + int(rng.integers(200, 600)), "+-"[rng.integers(2)]
            gene = Gene(chrom, strand, gc, [Window(*key, kinds[key].pop(), chrom, 0, strand) for key in plan])
            if not plan:  # tiled with peaks later; one beyond 12 x 512 nt, the longest class in preprocessing
                length = 7000 if chrom == "chr1" and k == 0 else int(rng.integers(700, 2600))
                gene.exons, cursor = [(cursor, cursor + length)], cursor + length
            for part in np.array_split(np.arange(len(plan)), min(rng.integers(2, 6), len(plan))) if plan else []:
                exon_start, cursor = cursor, cursor + 30
                for i in part:
                    gene.windows[i].start = cursor
                    cursor += WINDOW + int(rng.integers(20, 41))  # so that the peaks of two windows never meet
                gene.exons.append((exon_start, cursor))
                cursor += int(rng.integers(80, 300))  # intron
            gene.span = cursor - before
            genes.append(gene)
    return genes


def draw_genome(rng: np.random.Generator, genes: list[Gene]) -> Genome:
    """The background: one Markov chain per gene and its surroundings, all genes stepped together."""
    single = np.array([[1 - gene.gc, gene.gc, gene.gc, 1 - gene.gc] for gene in genes]) / 2
    steps = ODDS * single[:, None, :]
    cumulative = np.cumsum(steps / steps.sum(-1, keepdims=True), axis=-1)[..., :3]
    chain = np.empty((max(gene.span for gene in genes), len(genes)), dtype=np.uint8)
    rows, letter = np.arange(len(genes)), rng.integers(0, 4, len(genes))
    for i in range(len(chain)):
        letter = (rng.random((len(genes), 1)) > cumulative[rows, letter]).sum(-1)
        chain[i] = letter
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)[chain.T]
    own = {chrom: [letters[k, : g.span] for k, g in enumerate(genes) if g.chrom == chrom] for chrom in CHROM_SHARE}
    return {chrom: np.concatenate(pieces) for chrom, pieces in own.items()}


def compose(rng: np.random.Generator, rbp: str, kind: str) -> tuple[list[str], int | None]:
    """The rigid blocks of a site (one) or decoy, 5' to 3' ('.' leaves the background), and a weak site's mismatch."""

    def fill(motif: str) -> str:
        return "".join(x if x == "." else IUPAC[x][rng.integers(len(IUPAC[x]))] for x in motif)

    def cut(motif: str) -> list[str]:  # both pieces have the letter at the cut: together, the motif's dinucleotides
        k = rng.integers(min(2, len(motif) - 3), len(motif) - 2)
        return [motif[: k + 1], motif[k:]]

    def scatter(motif: str) -> list[str]:
        return [motif[i : i + 3] for i in range(0, len(motif) - 1, 2)]

    left = fill("N" * STEM)
    right = fill("N" * STEM) if kind == "unpaired" else revcomp(left)
    while kind == "unpaired" and sum(x + y in "AT TA GC CG GT TG".split() for x, y in zip(left, right[::-1])) > 2:
        right = fill("N" * STEM)
    if kind in ("strong", "weak"):
        spacer = "." * rng.integers(1, 21)
        template = {"PUM2": "TGTANATA", "QKI": f"ACTAAY{spacer}TAAY", "IRPSYN": f"{left}CAGTGH{right}"}[rbp]
        # A mismatch is not at N, which bears any letter, nor in a stem: every planted pair stays a pair.
        hits = [i for i, x in enumerate(template) if x not in "N." and (rbp != "IRPSYN" or 6 <= i < 12)]
        letters, hit = fill(template), hits[rng.integers(len(hits))]
        other = [x for x in "ACGT" if x not in IUPAC[template[hit]]]
        changed = letters[:hit] + other[rng.integers(len(other))] + letters[hit + 1 :]
        return ([letters], None) if kind == "strong" else ([changed], hit)
    gap, stem = "." * rng.integers(30, 60), f"{left}......{right}"
    blocks = {
        "PUM2": {"scattered": scatter("TGTANATA"), "split": cut("TGTANATA")},
        "QKI": {
            "scattered": [*scatter("ACTAAY"), *scatter("TAAY")],
            "split": [*cut("ACTAAY"), "TAAY"],
            "half": ["ACTAAY", *cut("TAAY")],
            "far": [f"ACTAAY{gap}TAAY"],
            "reversed": [f"TAAY{gap[25:]}ACTAAY"],
        },
        "IRPSYN": {
            "scattered": [stem, *scatter("CAGTGH")],
            "unpaired": [f"{left}CAGTGH{right}"],
            "moved": [stem, "CAGTGH"],
        },
    }[rbp][kind]
    return [fill(blocks[i]) for i in rng.permutation(len(blocks))], None


def plant(rng: np.random.Generator, genome: Genome, planted: Genome, window: Window) -> None:
    """Write the window's site or decoy into the genome, mark its letters in ``planted``, annotate the window."""
    blocks, hit = compose(rng, window.rbp, window.kind)
    # Letters that hold another full site by chance (a stem's can) are drawn again.
    while sum(len(find_full_sites(x)) for b in blocks for x in (b, revcomp(b))) > (window.kind == "strong"):
        blocks, hit = compose(rng, window.rbp, window.kind)
    apart = 4  # least nt between two blocks
    free = WINDOW - 2 * MARGIN - sum(map(len, blocks)) - apart * (len(blocks) - 1)
    cursor = MARGIN
    for block, slack in zip(blocks, np.sort(rng.integers(0, free + 1, len(blocks)))):
        start = cursor + int(slack)
        cursor += len(block) + apart
        spans = [[start + run.start(), start + run.end()] for run in re.finditer("[ACGT]+", block)]
        for a, b in spans:
            letters = block[a - start : b - start]
            here = slice(*window.genomic(a, b))
            oriented = letters if window.strand == "+" else revcomp(letters)
            genome[window.chrom][here] = np.frombuffer(oriented.encode(), dtype=np.uint8)
            planted[window.chrom][here] = True
        if window.rbp == "IRPSYN" and len(block) == 18 and window.kind != "unpaired":
            window.pairs = [[start + k, start + 17 - k] for k in range(STEM)]
        if not window.label:
            window.decoy += spans
        else:
            window.motif = spans if window.rbp != "IRPSYN" else [[start + k, start + k + 6] for k in (0, 6, 12)]
        window.mismatch = None if hit is None else start + hit


def find_full_sites(text: str) -> list[tuple[str, int, int, list[int]]]:
    """Full sites on the forward strand of ``text``: RBP, start, end, and the positions that it cannot lose."""
    found = []
    for p in (m.start() for m in re.finditer("(?=TGTA.ATA)", text)):
        found.append(("PUM2", p, p + 8, [p + k for k in (0, 1, 2, 3, 5, 6, 7)]))
    for p in (m.start() for m in re.finditer("(?=ACTAA[CT])", text)):
        for q in (p + 7 + second.start() for second in re.finditer("(?=TAA[CT])", text[p + 7 : p + 30])):
            found.append(("QKI", p, q + 4, [*range(p, p + 6), *range(q, q + 4)]))
    for p in (m.start() - STEM for m in re.finditer("(?=CAGTG[ACT])", text)):
        if p >= 0 and text[p : p + 6] == revcomp(text[p + 12 : p + 18]):
            found.append(("IRPSYN", p, p + 18, [p + k for k in range(18) if k != 11]))
    return found


def remove_chance_sites(rng: np.random.Generator, genome: Genome, planted: Genome, windows: list[Window]) -> None:
    """Break every full site that was not planted, on both strands, by changing letters of the background."""
    wanted = {(w.rbp, w.chrom, w.strand, *w.site()) for w in windows if w.kind == "strong"}
    for chrom, letters in genome.items():
        size, again = len(letters), True
        while again:  # a change need not break a site (C to T in a Y), and can make another: drawn, so it ends
            again = False
            for strand in "+-":
                for rbp, a, b, needed in find_full_sites(read(genome, chrom, 0, size, strand)):
                    if strand == "-":
                        a, b, needed = size - b, size - a, [size - 1 - k for k in needed]
                    if (rbp, chrom, strand, a, b) not in wanted:
                        free = [k for k in needed if not planted[chrom][k]]
                        letters[free[rng.integers(len(free))]] = ord("ACGT"[rng.integers(4)])
                        again = True


def make_peaks(rng: np.random.Generator, genes: list[Gene]) -> tuple[dict[str, list], dict[str, list]]:
    """Rows per RBP (chrom, start, end, strand, log2 fold change, -log10 p), and the peaks without a site.

    A site's peak is 30-120 nt and ends within 10 nt of its window. Peaks without a site tile lncRNAs of their own and
    overlap, so that merged regions of all lengths arise. All ascend on each chromosome.
    """
    peaks: dict[str, list] = {rbp: [] for rbp in RBPS}
    background: dict[str, list] = {rbp: [] for rbp in RBPS}
    for gene in genes:
        for w in (w for w in gene.windows if w.label):
            (first, last), length = w.site(), int(rng.integers(30, 121))
            low, high = max(w.start - 10, last - length), min(first, w.start + WINDOW + 10 - length)
            w.peak = [start := int(rng.integers(low, high + 1)), start + length]
            fold = max(3.0, rng.normal(5.0 if w.kind == "strong" else 3.8, 0.8))
            peaks[w.rbp].append([w.chrom, *w.peak, w.strand, fold, 3.0 + rng.exponential(2.5 * (fold - 2.5))])
        start, k = gene.exons[0][0] + 20, 0
        while not gene.windows and start + 120 < gene.exons[0][1]:
            rbp, length = list(RBPS)[k % len(RBPS)], int(rng.integers(60, 121))
            background[rbp].append([gene.chrom, start, start + length, gene.strand])
            peaks[rbp].append([*background[rbp][-1], 3.0 + rng.exponential(0.5), 3.0 + rng.exponential(1.0)])
            start, k = start + int(rng.integers(40, length - 5)), k + 1
    return peaks, background


def merge_peaks(peaks: dict[str, list]) -> list[list]:
    """Overlapping peaks of all RBPs and both strands as one region: [chrom, start, end, number of peaks]."""
    regions: list[list] = []
    for chrom in CHROM_SHARE:
        for start, end in sorted(row[1:3] for rows in peaks.values() for row in rows if row[0] == chrom):
            if regions and regions[-1][0] == chrom and start < regions[-1][2]:
                regions[-1][2:] = [max(regions[-1][2], end), regions[-1][3] + 1]
            else:
                regions.append([chrom, start, end, 1])
    return regions


def fasta(records: list[tuple[str, str]], width: int) -> str:
    """FASTA text; a header is the name as its first word, then SYNTHETIC."""
    cut = [(name, [seq[i : i + width] for i in range(0, len(seq), width)]) for name, seq in records]
    return "".join("\n".join([f">{name} SYNTHETIC", *lines, ""]) for name, lines in cut)


def gtf(genes: list[Gene]) -> str:
    """GTF, 1-based inclusive. CDS and UTRs are intervals only: the sequence between them is no reading frame."""
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


def describe(genome: Genome, windows: list[Window], background: dict, args: argparse.Namespace) -> dict:
    """truth.json but for its list of files; the schema is in the module's docstring."""
    sites: dict[str, list] = {rbp: [] for rbp in RBPS}
    local: dict[str, dict] = {rbp: {} for rbp in RBPS}
    for w in windows:
        place = {"chrom": w.chrom, "start": w.start, "end": w.start + WINDOW, "strand": w.strand}
        found = {"kind": w.kind, "motif": w.motif, "pairs": w.pairs, "mismatch": w.mismatch, "decoy": w.decoy}
        index = len(sites[w.rbp]) if w.label else None
        local[w.rbp][w.header()] = {"label": w.label, **place, **found, "site": index}
        if w.label:
            place["start"], place["end"] = w.site()
            instance = read(genome, **place)
            spans = [w.genomic(*span) for span in w.motif]
            pairs = [[w.genomic(i, i + 1)[0] for i in pair] for pair in w.pairs]
            hit = None if w.mismatch is None else w.genomic(w.mismatch, w.mismatch + 1)[0]
            found = {"strength": w.kind, "instance": instance, "motif": spans, "pairs": pairs, "mismatch": hit}
            sites[w.rbp].append({**place, **found, "peak": w.peak, "window": w.header()})
    head = {"format": "lamar-demo-truth", "format_version": DEMO_VERSION, "synthetic": True, "statement": STATEMENT}
    head |= {"seed": args.seed, "arguments": {key: getattr(args, key) for key in ARGUMENTS}, "window": WINDOW}
    return head | {"rbps": RBPS, "sites": sites, "windows": local, "background_peaks": background}


def build(args: argparse.Namespace) -> tuple[dict[str, bytes], list[str]]:
    """The files of the set, path -> content with ``truth.json`` last, and the lines of the summary."""
    rng = np.random.default_rng(args.seed)
    genes = design_genes(rng, args)
    genome = draw_genome(rng, genes)
    planted = {chrom: np.zeros(len(letters), dtype=bool) for chrom, letters in genome.items()}
    windows = [w for gene in genes for w in gene.windows]
    for window in windows:
        plant(rng, genome, planted, window)
    remove_chance_sites(rng, genome, planted, windows)
    peaks, background = make_peaks(rng, genes)
    regions = merge_peaks(peaks)
    chromosomes = [(chrom, read(genome, chrom, 0, len(genome[chrom]))) for chrom in genome]
    transcripts = []
    for k, g in enumerate(genes, 1):
        exons = [read(genome, g.chrom, a, b, g.strand) for a, b in g.exons]
        transcripts.append((f"TSYN{k:05d}", "".join(exons if g.strand == "+" else exons[::-1])))

    fai, offset = "", 0  # samtools faidx: name, length, offset of the first letter, letters and bytes per line
    for chrom, sequence in chromosomes:
        offset += len(f">{chrom} SYNTHETIC\n")
        fai += f"{chrom}\t{len(sequence)}\t{offset}\t60\t61\n"
        offset += len(sequence) + -(-len(sequence) // 60)
    texts = {
        "README.txt": f"{STATEMENT}.\nMade by preprocess/make_demo_data.py, whose docstring explains the files.\n",
        "genome.fa": fasta(chromosomes, 60),
        "genome.fa.fai": fai,
        "transcripts.fa": fasta(transcripts, 60),
        "annotation.gtf": gtf(genes),
        "clip_regions.fa": fasta([(f"{c}:{a}-{b}", read(genome, c, a, b)) for c, a, b, _ in regions], 10_000),
        "clip_regions.bed": "\n".join([f"# {STATEMENT}", *(f"{c}\t{a}\t{b}\t.\t{n}" for c, a, b, n in regions), ""]),
    }
    index = "accession\ttarget\tcell\tassembly\tbiol_replicates\texperiment\tstatus\tbed_name\tn_peaks\n"
    for rbp, rows in peaks.items():
        index += f"{rbp}_DEMO\t{rbp}\tDEMO\tSYNTHETIC\t.\t.\tsynthetic\t{rbp}_DEMO_IDR\t{len(rows)}\n"
        texts[f"peaks/{rbp}_DEMO.bed.gz"] = f"# {STATEMENT}\n" + "".join(
            f"{c}\t{a}\t{b}\t{rbp}_DEMO_IDR\t1000\t{strand}\t{fold:.6f}\t{p:.6f}\t-1\t-1\n"
            for c, a, b, strand, fold, p in rows
        )
        for label, side in ((1, "positives"), (0, "negatives")):
            own = [w for w in windows if (w.rbp, w.label) == (rbp, label)]
            records = [(w.header(), read(genome, w.chrom, w.start, w.start + WINDOW, w.strand)) for w in own]
            texts[f"labelled/{rbp}.{side}.fa"] = fasta(records, WINDOW)
    files = {name: text.encode() for name, text in (texts | {"peaks/index.tsv": index}).items()}
    files |= {name: gzip.compress(files[name], 6, mtime=0) for name in files if name.endswith(".gz")}
    sums = {name: {"bytes": len(x), "sha256": hashlib.sha256(x).hexdigest()} for name, x in files.items()}
    truth = describe(genome, windows, background, args) | {"files": sums}
    # One window, site or file a line, to grep; no string in there holds "}, ".
    files["truth.json"] = (json.dumps(truth).replace("}, ", "},\n") + "\n").encode()
    lengths = ", ".join(f"{chrom} {len(sequence):,} nt" for chrom, sequence in chromosomes)
    long = sum(end - start > 512 for _, start, end, _ in regions)
    summary = [f"{lengths}; {len(genes)} genes; {len(regions):,} CLIP regions, {long} of them above 512 nt"]
    n = args.windows_per_rbp
    summary += [f"{rbp}: {n:,} positives, {n:,} negatives, {len(peaks[rbp]):,} peaks" for rbp in RBPS]
    return files, summary


def holds(folder: Path) -> dict | None:
    """Arguments of the complete set in ``folder``, None if there is none; InputError if it is somebody else's."""
    readme = folder / "README.txt"
    ours = readme.is_file() and readme.read_text(errors="replace").startswith(STATEMENT)
    if folder.exists() and not ours and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"--output_dir {folder}: not empty and not made by this script; name a new or empty folder")
    try:
        truth = json.loads((folder / "truth.json").read_text())
        whole = all((folder / name).stat().st_size == entry["bytes"] for name, entry in truth["files"].items())
        return truth["arguments"] if whole and truth["format_version"] == DEMO_VERSION else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_folder(files: dict[str, bytes], folder: Path) -> None:
    """Write a sibling folder and rename it, so that ``folder`` is never seen half-written."""
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if present - set(files):
        raise InputError(f"--output_dir {folder}: rebuilding would delete {min(present - set(files))}; move it first")
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
        # Whoever built the same set at the same time and was first has done the work.
        if not (folder / "truth.json").exists() or (folder / "truth.json").read_bytes() != files["truth.json"]:
            raise InputError(f"--output_dir {folder}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def build_parser() -> argparse.ArgumentParser:
    shows = argparse.ArgumentDefaultsHelpFormatter
    parser = OneLineParser(description=f"{STATEMENT}.", formatter_class=shows)
    parser.add_argument("--output_dir", type=path, default=REPO / "demo" / "data", help="folder of the data set")
    parser.add_argument("--seed", type=int, default=42, help="seed of everything random")
    parser.add_argument("--windows_per_rbp", type=int, default=1000, help="positives per RBP, and negatives")
    parser.add_argument("--weak_fraction", type=float, default=0.1, help="share of sites with one letter changed")
    parser.add_argument("--overwrite", action="store_true", help="rebuild a complete set, or one made otherwise")
    return parser


def run(args: argparse.Namespace) -> None:
    for name, (low, high) in ARGUMENTS.items():
        if not low <= getattr(args, name) <= high:
            raise InputError(f"--{name} {getattr(args, name)}: wanted {low} to {high}")
    folder = args.output_dir.expanduser().absolute()
    found = None if args.overwrite and holds(folder) else holds(folder)
    if found and found != {key: getattr(args, key) for key in ARGUMENTS}:
        raise InputError(f"--output_dir {folder}: holds demo data made with {found}; --overwrite replaces them")
    summary = ["complete already with these arguments, nothing done (--overwrite rebuilds)"]
    if not found:
        files, summary = build(args)
        write_folder(files, folder)
    print("\n".join([f"{STATEMENT}.", *summary, f"data set: {folder}"]))


def main(argv: list[str] | None = None) -> int:
    return exit_on_input_error(run, build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
