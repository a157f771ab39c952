"""A SYNTHETIC genome with binding sites planted at known positions, for demonstrations and tests.

`LAMAR.data.synthetic_sites` explains the sites, `LAMAR.data.synthetic_files` writes the files. Coordinates are 0-based
and half-open.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from ..alphabet import NUCLEOTIDES, reverse_complement
from ..errors import InputError
from .synthetic_sites import DECOYS, RBPS, STEM, compose, full_sites

__all__ = [
    "CHROM_SHARE",
    "WINDOW",
    "Gene",
    "Genome",
    "PlantedGenome",
    "SyntheticOptions",
    "Window",
    "read_genome",
    "simulate",
]
__all__ += ["simulate"]

WINDOW = 101  # nt
MARGIN = 5  # nt at each end of a window without planted letters
GAP = 4  # nt between two planted blocks, at least
CHROM_SHARE = {"chr1": 0.5, "chr8": 0.3, "chr21": 0.2}
GC_STATES = (0.37, 0.52)  # GC content of the AT-rich and the GC-rich stretches
# Relative abundance of dinucleotides in human DNA, rounded (rows first letter, columns second, A C G T): CpG depleted.
ODDS = np.array(
    [[1.12, 0.84, 1.16, 0.87], [1.21, 1.21, 0.24, 1.16], [1.03, 1.01, 1.21, 0.84], [0.74, 1.03, 1.21, 1.12]]
)
LIMITS = {"seed": (0, 2**63 - 1), "windows_per_rbp": (10, 20_000), "weak_fraction": (0.0, 0.5)}

Genome = dict[str, np.ndarray]  # chromosome -> ASCII letters, uint8


@dataclass(frozen=True)
class SyntheticOptions:
    """Size and seed of a synthetic data set, which determine its content.

    Attributes
    ----------
    seed : int
        Seed of everything random.
    windows_per_rbp : int
        Positives per RBP, and as many negatives; 10 to 20,000.
    weak_fraction : float
        Share of sites with one letter changed; 0 to 0.5.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    seed: int = 42
    windows_per_rbp: int = 1000
    weak_fraction: float = 0.1

    def __post_init__(self):
        for name, (low, high) in LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f"`{name}` {getattr(self, name)}: wanted {low} to {high}")


@dataclass
class Window:
    """A labelled window and what is planted in it; positions are local, 5' to 3' in the window's orientation.

    Attributes
    ----------
    rbp : str
        RBP that the window is a positive or a negative of.
    label : int
        1 or 0.
    kind : str
        ``strong`` or ``weak`` for positives, the kind of decoy for negatives.
    chrom, start, strand
        Genomic place of the window.
    motif, decoy : list of [start, end]
        Planted parts of the site, or of the decoy.
    pairs : list of [i, j]
        Paired positions of a planted stem.
    mismatch : int or None
        Changed position of a weak site.
    peak : [start, end]
        Genomic peak on the site.
    """

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
    peak: list[int] = field(default_factory=list)

    def genomic(self, start: int, end: int) -> list[int]:
        """Return the genomic [start, end) of a local interval."""
        offset = start if self.strand == "+" else WINDOW - end
        return [self.start + offset, self.start + offset + end - start]

    def site(self) -> list[int]:
        """Return the genomic [start, end) of the whole site, spacer and loop included."""
        return self.genomic(self.motif[0][0], self.motif[-1][1])

    def header(self) -> str:
        """Return the window's name in FASTA files, with its coordinates."""
        return f"{self.chrom}:{self.start}-{self.start + WINDOW}({self.strand})"


@dataclass
class Gene:
    """A gene with one transcript.

    Attributes
    ----------
    gc : float
        GC content of its background.
    windows : list of Window
        Windows on its transcript; empty for a lncRNA.
    exons : list of (start, end)
        Ascending on the chromosome.
    span : int
        nt of the gene and of the intergenic stretch before it.
    """

    chrom: str
    strand: str
    gc: float
    windows: list[Window]
    exons: list[tuple[int, int]] = field(default_factory=list)
    span: int = 0


@dataclass(frozen=True, eq=False)
class PlantedGenome:
    """A simulated genome, its genes and windows, and its peaks.

    Attributes
    ----------
    genome : dict of uint8 arrays
        ASCII letters of each chromosome.
    genes : list of Gene
    peaks : dict of list
        Rows (chrom, start, end, strand, log2 fold change, -log10 p) by RBP.
    background : dict of list
        Peaks without a site (chrom, start, end, strand) by RBP.
    """

    genome: Genome
    genes: list[Gene]
    peaks: dict[str, list]
    background: dict[str, list]

    @property
    def windows(self) -> list[Window]:
        """All windows, in the order of the genes."""
        return [window for gene in self.genes for window in gene.windows]


def simulate(options: SyntheticOptions) -> PlantedGenome:
    """Simulate a genome with planted sites and decoys, and peaks on it.

    Parameters
    ----------
    options : SyntheticOptions
        Equal options give equal results.

    Returns
    -------
    PlantedGenome
    """
    rng = np.random.default_rng(options.seed)
    genes = _design_genes(rng, options)
    genome = _draw_genome(rng, genes)
    planted = {chrom: np.zeros(len(letters), dtype=bool) for chrom, letters in genome.items()}
    windows = [window for gene in genes for window in gene.windows]
    for window in windows:
        _plant(rng, genome, planted, window)
    _remove_chance_sites(rng, genome, planted, windows)
    return PlantedGenome(genome, genes, *_make_peaks(rng, genes))


def read_genome(genome: Genome, chrom: str, start: int, end: int, strand: str = "+") -> str:
    """Return the sequence of [start, end) on a strand, 5' to 3'."""
    sequence = genome[chrom][start:end].tobytes().decode()
    return sequence if strand == "+" else reverse_complement(sequence)


def _window_kinds(rng: np.random.Generator, options: SyntheticOptions) -> dict[tuple[str, int], list[str]]:
    """Return the kinds of all windows of each RBP and label, in random order."""
    kinds = {}
    for rbp in RBPS:
        sites = {"weak": options.weak_fraction, "strong": 1 - options.weak_fraction}
        for label, shares in ((1, sites), (0, DECOYS[rbp])):
            bounds = np.round(np.cumsum([0.0, *shares.values()]) * options.windows_per_rbp)
            kinds[rbp, label] = rng.permutation(np.repeat(list(shares), np.diff(bounds.astype(int)))).tolist()
    return kinds


def _design_genes(rng: np.random.Generator, options: SyntheticOptions) -> list[Gene]:
    """Lay out genes and windows: per chromosome three lncRNAs, then rounds of three genes, one per RBP, of one GC.

    The gene of an RBP holds its sites and negatives of the other two: a round thus has as many positives as negatives
    of each RBP on the same background, while no transcript has both of one RBP.
    """
    names = list(RBPS)
    kinds = _window_kinds(rng, options)
    rounds = np.array_split(np.arange(options.windows_per_rbp), max(6, -(-options.windows_per_rbp // 12)))
    last = dict(zip(CHROM_SHARE, np.round(np.cumsum(list(CHROM_SHARE.values())) * len(rounds)).astype(int)))
    genes, first = [], 0
    for chrom in CHROM_SHARE:
        plans: list[tuple[float, list]] = [(GC_STATES[k % 2], []) for k in range(3)]
        for number in range(first, last[chrom]):
            size, half = len(rounds[number]), len(rounds[number]) // 2
            for c in range(3):
                plan = [(names[c], 1)] * size + [(names[c - 2], 0)] * half + [(names[c - 1], 0)] * (size - half)
                plans.append((GC_STATES[number % 2], [plan[i] for i in rng.permutation(len(plan))]))
        first, cursor = last[chrom], 0
        for k, (gc, plan) in enumerate(plans):
            before, cursor, strand = cursor, cursor + int(rng.integers(200, 600)), "+-"[rng.integers(2)]
            gene = Gene(chrom, strand, gc, [Window(*key, kinds[key].pop(), chrom, 0, strand) for key in plan])
            if plan:
                cursor = _place_exons(rng, gene, cursor)
            else:  # tiled with peaks later; one beyond 12 x 512 nt, the longest class in preprocessing
                length = 7000 if chrom == "chr1" and k == 0 else int(rng.integers(700, 2600))
                gene.exons, cursor = [(cursor, cursor + length)], cursor + length
            gene.span = cursor - before
            genes.append(gene)
    return genes


def _place_exons(rng: np.random.Generator, gene: Gene, cursor: int) -> int:
    """Place a gene's windows on 2 to 5 exons from position ``cursor`` on; return the end of the last intron."""
    for part in np.array_split(np.arange(len(gene.windows)), min(rng.integers(2, 6), len(gene.windows))):
        exon_start, cursor = cursor, cursor + 30
        for i in part:
            gene.windows[i].start = cursor
            cursor += WINDOW + int(rng.integers(20, 41))  # so that the peaks of two windows never meet
        gene.exons.append((exon_start, cursor))
        cursor += int(rng.integers(80, 300))  # intron
    return cursor


def _draw_genome(rng: np.random.Generator, genes: list[Gene]) -> Genome:
    """Draw the background: one first-order Markov chain per gene and its surroundings, all genes stepped together."""
    single = np.array([[1 - gene.gc, gene.gc, gene.gc, 1 - gene.gc] for gene in genes]) / 2
    steps = ODDS * single[:, None, :]
    cumulative = np.cumsum(steps / steps.sum(-1, keepdims=True), axis=-1)[..., :3]
    chain = np.empty((max(gene.span for gene in genes), len(genes)), dtype=np.uint8)
    rows, letter = np.arange(len(genes)), rng.integers(0, 4, len(genes))
    for i in range(len(chain)):
        letter = (rng.random((len(genes), 1)) > cumulative[rows, letter]).sum(-1)
        chain[i] = letter
    letters = np.frombuffer(NUCLEOTIDES.encode(), dtype=np.uint8)[chain.T]
    pieces = {chrom: [] for chrom in CHROM_SHARE}
    for k, gene in enumerate(genes):
        pieces[gene.chrom].append(letters[k, : gene.span])
    return {chrom: np.concatenate(parts) for chrom, parts in pieces.items()}


def _plant(rng: np.random.Generator, genome: Genome, planted: Genome, window: Window) -> None:
    """Write the window's site or decoy into the genome, mark its letters in ``planted``, annotate the window."""
    blocks, hit = compose(rng, window.rbp, window.kind)
    # Letters that hold another full site by chance (a stem's can) are drawn again.
    while sum(len(full_sites(x)) for b in blocks for x in (b, reverse_complement(b))) > (window.kind == "strong"):
        blocks, hit = compose(rng, window.rbp, window.kind)
    free = WINDOW - 2 * MARGIN - sum(map(len, blocks)) - GAP * (len(blocks) - 1)
    cursor = MARGIN
    for block, slack in zip(blocks, np.sort(rng.integers(0, free + 1, len(blocks)))):
        start = cursor + int(slack)
        cursor += len(block) + GAP
        spans = [[start + run.start(), start + run.end()] for run in re.finditer(f"[{NUCLEOTIDES}]+", block)]
        for a, b in spans:
            letters = block[a - start : b - start]
            here = slice(*window.genomic(a, b))
            oriented = letters if window.strand == "+" else reverse_complement(letters)
            genome[window.chrom][here] = np.frombuffer(oriented.encode(), dtype=np.uint8)
            planted[window.chrom][here] = True
        if window.rbp == "IRPSYN" and len(block) == 18 and window.kind != "unpaired":
            window.pairs = [[start + k, start + 17 - k] for k in range(STEM)]
        if not window.label:
            window.decoy += spans
        else:
            window.motif = spans if window.rbp != "IRPSYN" else [[start + k, start + k + 6] for k in (0, 6, 12)]
        window.mismatch = None if hit is None else start + hit


def _remove_chance_sites(rng: np.random.Generator, genome: Genome, planted: Genome, windows: list[Window]) -> None:
    """Break every full site that was not planted, on both strands, by changing letters of the background."""
    wanted = {(w.rbp, w.chrom, w.strand, *w.site()) for w in windows if w.kind == "strong"}
    for chrom, letters in genome.items():
        size, again = len(letters), True
        # A change need not break a site (C to T in a Y) and can make another. As changes are random, this ends.
        while again:
            again = False
            for strand in "+-":
                for rbp, a, b, needed in full_sites(read_genome(genome, chrom, 0, size, strand)):
                    if strand == "-":
                        a, b, needed = size - b, size - a, [size - 1 - k for k in needed]
                    if (rbp, chrom, strand, a, b) not in wanted:
                        free = [k for k in needed if not planted[chrom][k]]
                        letters[free[rng.integers(len(free))]] = ord(NUCLEOTIDES[rng.integers(4)])
                        again = True


def _make_peaks(rng: np.random.Generator, genes: list[Gene]) -> tuple[dict[str, list], dict[str, list]]:
    """Draw the peaks of each RBP, and return those without a site separately too.

    A site's peak has 30 to 120 nt and ends within 10 nt of its window. Peaks without a site tile lncRNAs and overlap,
    so that merged regions of all lengths arise. All ascend on each chromosome.
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
