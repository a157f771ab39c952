"""Genes and transcripts of a GTF file, and the kind of region that a genomic position lies in.

Kinds of region follow from exons, CDS and stop codons only, so that Ensembl's and GENCODE's files, which name and cut
their UTR features differently, give equal results. The coding part of a transcript runs from the first to the last
base of its CDS, with the stop codon, which both leave out of their CDS features. Exonic bases before the coding part
are 5'UTR and those after it 3'UTR, in the direction of the transcript. Exonic bases of a transcript without CDS are
ncRNA, also in a protein-coding gene. Bases between the exons of a transcript are intron; all others are intergenic.
"""

from __future__ import annotations

import logging
import re
from array import array
from os import PathLike

import numpy as np
import pandas as pd

from ..data.text_files import is_plain_number, open_text
from ..errors import InputError, quoted
from .intervals import canonical_chromosome, canonical_chromosomes, merge, overlap

__all__ = ["REGIONS", "Annotation", "read_gtf"]

logger = logging.getLogger(__name__)

#: Kinds of region in order of precedence where several overlap.
REGIONS = ("CDS", "3'UTR", "5'UTR", "ncRNA", "intron", "intergenic")
_CDS, _UTR3, _UTR5, _NCRNA, _INTRON, _INTERGENIC = range(len(REGIONS))

_CODING_FEATURES = frozenset(["CDS", "stop_codon"])
# The ninth column is a list of "key value;". Values in double quotes may hold ";" and words that look like keys, with
# the backslash escapes of GFF2 (https://gmod.org/wiki/GFF2); values without quotes end at ";" or with the line.
# Attributes before the one wanted are skipped as a whole. A missing ";" after a closing quote is tolerated.
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ATTRIBUTE = rf'(?:[^";]*(?:{_QUOTED}|;))*?\s*{{}}\s+(?:"((?:[^"\\]|\\.)*)"|([^\s";][^";]*))'
_TRANSCRIPT_ID, _GENE_ID, _GENE_NAME, _GENE_TYPE = (
    re.compile(_ATTRIBUTE.format(name)) for name in ("transcript_id", "gene_id", "gene_name", "gene_(?:bio)?type")
)
_GFF3 = re.compile(r"\s*\w+=")


class Annotation:
    """Genes, transcripts and exons; coordinates are 0-based, half-open, int64.

    Attributes
    ----------
    genes : DataFrame
        chrom (canonical), start, end (of all its transcripts), strand, gene_id, gene_name and gene_type ("" where the
        file has none; the type is ``gene_biotype`` in Ensembl's files).
    transcripts : DataFrame
        chrom, start, end, strand, transcript_id, gene_id, gene_name, gene_type, gene (row of `genes`), cds_start,
        cds_end (coding part on the genome, with the stop codon; -1 without one).
    exons : DataFrame
        chrom, start, end, strand, transcript (row of `transcripts`).
    """

    def __init__(self, genes: pd.DataFrame, transcripts: pd.DataFrame, exons: pd.DataFrame):
        self.genes, self.transcripts, self.exons = genes, transcripts, exons
        self._features = _features(genes, transcripts, exons)

    def region_types(self, windows: pd.DataFrame) -> pd.DataFrame:
        """Return the kind of region of the middle base of each window, ``(start + end) // 2``, on the window's strand.

        Where several overlap, the first in `REGIONS` is returned.

        Parameters
        ----------
        windows : DataFrame
            chrom (any spelling), start, end, strand; ``.`` matches genes of both strands.

        Returns
        -------
        DataFrame, n rows, index 0 to n - 1
            region (str, of `REGIONS`); gene (name of the gene with that region, or its id where it has no name; the
            first in `genes` of several; ``.`` without one); conflict (bool: no gene on this strand, but one on the
            other strand, so that the strand or the annotation may be wrong).
        """
        region, gene, conflict = self._type(windows)
        names = self.genes["gene_name"].where(self.genes["gene_name"] != "", self.genes["gene_id"]).to_numpy(object)
        return pd.DataFrame(
            {
                "region": np.array(REGIONS, dtype=object)[region],
                "gene": np.append(names, ".")[gene],
                "conflict": conflict,
            }
        )

    def genes_at(self, windows: pd.DataFrame) -> np.ndarray:
        """Return the row in `genes` of each window's gene as in `region_types`, -1 without one; int64, shape (n,)."""
        return self._type(windows)[1]

    def _type(self, windows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return index in `REGIONS` (int64), row of `genes` or -1 (int64) and conflict (bool) of each window."""
        middle = (windows["start"].to_numpy(dtype=np.int64) + windows["end"].to_numpy(dtype=np.int64)) // 2
        bases = pd.DataFrame(
            {
                "chrom": canonical_chromosomes(windows["chrom"]).to_numpy(object),
                "start": middle,
                "end": middle + 1,
                "strand": windows["strand"].to_numpy(object),
            }
        )
        window, feature = overlap(bases, self._features, stranded=True)
        # Features are ordered by precedence, so the first one of each window counts.
        window, first = np.unique(window, return_index=True)
        region = np.full(len(bases), _INTERGENIC, dtype=np.int64)
        gene = np.full(len(bases), -1, dtype=np.int64)
        region[window] = self._features["region"].to_numpy()[feature[first]]
        gene[window] = self._features["gene"].to_numpy()[feature[first]]
        conflict = np.zeros(len(bases), dtype=bool)
        without = np.flatnonzero(gene < 0)
        conflict[without[overlap(bases.iloc[without], self._features)[0]]] = True
        return region, gene, conflict


def _features(genes: pd.DataFrame, transcripts: pd.DataFrame, exons: pd.DataFrame) -> pd.DataFrame:
    """Return the parts of genes by kind of region, merged within gene and kind.

    Columns are chrom, start, end, strand, region (index in `REGIONS`), gene (row of ``genes``); rows are ordered by
    region, then gene.
    """
    owner = exons["transcript"].to_numpy()
    start, end = exons["start"].to_numpy(), exons["end"].to_numpy()
    is_coding = (transcripts["cds_start"] >= 0).to_numpy()[owner]
    is_minus = (transcripts["strand"] == "-").to_numpy()[owner]
    # Without CDS, the coding part is empty and at the end of the exon.
    first, last = (np.where(is_coding, transcripts[name].to_numpy()[owner], end) for name in ("cds_start", "cds_end"))
    before = np.where(is_coding, np.where(is_minus, _UTR3, _UTR5), _NCRNA)
    after = np.where(is_minus, _UTR5, _UTR3)
    parts = [
        (start, np.minimum(end, first), before, owner),
        (np.maximum(start, first), np.minimum(end, last), np.full(len(exons), _CDS), owner),
        (np.maximum(start, last), end, after, owner),
        (*transcripts[["start", "end"]].to_numpy().T, np.full(len(transcripts), _INTRON), np.arange(len(transcripts))),
    ]
    parts = [[column[part[0] < part[1]] for column in part] for part in parts]
    start, end, region, owner = (np.concatenate(columns) for columns in zip(*parts))
    group = region * len(genes) + transcripts["gene"].to_numpy()[owner]
    # All groups lie side by side on one axis without touching, so that one merge serves all and sorts by group.
    size = end.max() + 1
    axis = pd.DataFrame({"chrom": "axis", "start": group * size + start, "end": group * size + end})
    # Transcripts of a gene share most exons.
    merged = merge(axis.drop_duplicates(), stranded=False, min_gap=0)[0]
    group, start = np.divmod(merged["start"].to_numpy(), size)
    region, gene = np.divmod(group, len(genes))
    place = genes.iloc[gene]
    return pd.DataFrame(
        {
            "chrom": place["chrom"].to_numpy(object),
            "start": start,
            "end": merged["end"].to_numpy() - group * size,
            "strand": place["strand"].to_numpy(object),
            "region": region,
            "gene": gene,
        }
    )


def read_gtf(path: str | PathLike) -> Annotation:
    """Read a GTF file, gzipped or plain, of Ensembl, GENCODE or another source.

    Only exon, CDS and stop_codon lines are read: genes and transcripts follow from their ``gene_id`` and
    ``transcript_id``, separately for each strand of each chromosome. Names and types are those of a transcript's first
    such line. Transcripts that have CDS but no exon are left out, with a warning.

    Parameters
    ----------
    path : path
        File to read.

    Returns
    -------
    Annotation

    Raises
    ------
    InputError
        If a line has not nine columns, malformed coordinates, a strand other than ``+ - .``, no transcript_id or
        gene_id, or GFF3 attributes, or if there is no exon; names the file and the line. Also what
        `LAMAR.data.text_files.open_text` raises.
    """
    rows: dict[tuple[str, str, str], int] = {}
    transcripts: list[tuple[str, str, str, str, str, str]] = []
    chroms: dict[str, str] = {}
    exons, coding = array("q"), array("q")  # start, end, row of transcript, of one line after the other
    # A loop, because a full annotation takes 2 GB as a table, and of most lines only the transcript_id is needed.
    with open_text(path) as handle:
        for number, line in enumerate(handle, start=1):
            if line[0] == "#" or line.isspace():
                continue
            fields = line.split("\t", 8)
            if len(fields) != 9:
                raise InputError(f"{path}: line {number}: found {len(fields)} tab-separated columns, wanted 9")
            name, _, feature, start, end, _, strand, _, attributes = fields
            if feature != "exon" and feature not in _CODING_FEATURES:
                continue
            transcript_id = _value(_TRANSCRIPT_ID, attributes)
            if not transcript_id:
                raise _attribute_error(path, number, "transcript_id", attributes)
            if name not in chroms:
                chroms[name] = canonical_chromosome(name)
            key = chroms[name], strand, transcript_id
            if key not in rows:
                if strand not in {"+", "-", "."}:
                    raise InputError(f"{path}: line {number}: found strand {quoted(strand)}, wanted '+', '-' or '.'")
                patterns = (_GENE_ID, _GENE_NAME, _GENE_TYPE)
                gene_id, gene_name, gene_type = (_value(pattern, attributes) for pattern in patterns)
                if not gene_id:
                    raise _attribute_error(path, number, "gene_id", attributes)
                rows[key] = len(transcripts)
                transcripts.append((*key, gene_id, gene_name, gene_type))
            try:
                first, last = (int(start), int(end)) if is_plain_number(start + end) else (0, 0)
            except ValueError:
                first = last = 0
            if not 1 <= first <= last < 2**31:
                found = f"start {quoted(start)} and end {quoted(end)}"
                raise InputError(f"{path}: line {number}: found {found}, wanted whole numbers, 1 <= start <= end")
            (exons if feature == "exon" else coding).extend((first - 1, last, rows[key]))
    if not exons:
        raise InputError(f"{path}: found no exon line, wanted a GTF file with exons")
    return _annotation(path, transcripts, exons, coding)


def _value(pattern: re.Pattern, attributes: str) -> str:
    """Return the value of the attribute that a pattern of `_ATTRIBUTE` describes, "" without it."""
    match = pattern.match(attributes)
    return "" if match is None else match[1] or (match[2] or "").rstrip()


def _attribute_error(path: str | PathLike, number: int, name: str, attributes: str) -> InputError:
    if _GFF3.match(attributes):
        return InputError(f"{path}: line {number}: found GFF3 attributes ({attributes[:40].strip()!r}), wanted GTF")
    return InputError(f"{path}: line {number}: found no {name} in {attributes[:40].strip()!r}, wanted one")


def _annotation(
    path: str | PathLike, rows: list[tuple[str, str, str, str, str, str]], exons: array, coding: array
) -> Annotation:
    """Make the tables from what `read_gtf` collects."""
    columns = ["chrom", "strand", "transcript_id", "gene_id", "gene_name", "gene_type"]
    transcripts = pd.DataFrame(rows, columns=columns)
    n = len(transcripts)
    start, end, owner = np.array(exons, dtype=np.int64).reshape(-1, 3).T
    transcripts["start"], transcripts["end"] = _extent(n, start, end, owner)
    has_exon = np.bincount(owner, minlength=n) > 0
    transcripts["cds_start"], transcripts["cds_end"] = _extent(n, *np.array(coding, dtype=np.int64).reshape(-1, 3).T)
    if not has_exon.all():
        logger.warning("%s: left out %d of %d transcripts, which have CDS but no exon", path, n - has_exon.sum(), n)
        transcripts, owner = transcripts[has_exon].reset_index(drop=True), (np.cumsum(has_exon) - 1)[owner]
    grouped = transcripts.groupby(["chrom", "strand", "gene_id"], sort=False)
    transcripts["gene"] = grouped.ngroup().to_numpy(dtype=np.int64)
    genes = grouped.agg(start=("start", "min"), end=("end", "max"), gene_name=("gene_name", "first"),
                        gene_type=("gene_type", "first")).reset_index()  # fmt: skip
    place = ["chrom", "start", "end", "strand"]
    table = pd.DataFrame({"start": start, "end": end, "transcript": owner})
    for name in ("chrom", "strand"):
        table[name] = transcripts[name].to_numpy()[owner]
    return Annotation(
        genes[[*place, "gene_id", "gene_name", "gene_type"]],
        transcripts[[*place, *columns[2:], "gene", "cds_start", "cds_end"]],
        table[[*place, "transcript"]],
    )


def _extent(n: int, start: np.ndarray, end: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return smallest start and largest end of each of ``n`` owners; -1 and -1 without an interval."""
    first, last = np.full(n, np.iinfo(np.int64).max), np.full(n, -1)
    np.minimum.at(first, owner, start)
    np.maximum.at(last, owner, end)
    return np.where(last < 0, -1, first), last
