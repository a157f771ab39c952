"""Choices of the functions that cut windows and make labelled sets; import-light, so that parsers can list them."""

from __future__ import annotations

from dataclasses import dataclass

from ..registry import Entry, Registry

__all__ = ["CENTERS", "GROUPS", "MATCHES", "NEGATIVES", "SAMPLING", "MatchMethod", "NegativeKind"]

#: Rules that draw windows (`LAMAR.genomics.windows.WindowRule`).
SAMPLING = ("default", "doc")
#: Windows that a division keeps together, and what one such group is called (`LAMAR.genomics.divide_windows`).
GROUPS = {"none": "window", "chrom": "chromosome", "region": "group of overlapping regions"}
#: Centres of windows on peaks (`LAMAR.genomics.site_windows.center_windows`).
CENTERS = ("middle", "five_prime", "summit")


@dataclass(frozen=True)
class NegativeKind(Entry):
    """A kind of negatives of a labelled set.

    ``function`` takes a `LAMAR.genomics.negatives.NegativeRequest` and returns candidates in random order (DataFrame)
    and counts of what was drawn and lost (dict of int). ``options`` names ``match`` where negatives are chosen among
    the candidates by likeness; without it, the candidates are the negatives.

    Attributes
    ----------
    paired : bool
        Each negative derives from one positive (column ``parent``) and is put into the part of that positive.
    needs_other_rbps : bool
        Peaks of other RBPs are needed.
    """

    paired: bool = False
    needs_other_rbps: bool = False


NEGATIVES: Registry[NegativeKind] = Registry(
    "negatives",
    [
        NegativeKind(
            "other_rbps",
            label="sites of other RBPs in the same cell line, at least `min_distance` nt from every site of this RBP, "
            "including sites in other cell lines and below the thresholds",
            function="LAMAR.genomics.negatives:other_rbp_sites",
            options=("match", "min_distance"),
            needs_other_rbps=True,
        ),
        NegativeKind(
            "genome",
            label="random windows at the same distance from the sites, of the genes that hold the positives (`gtf`); "
            "without `gtf`, of the regions of `fasta`, on the strand of the peaks there",
            function="LAMAR.genomics.negatives:genome_windows",
            options=("match", "min_distance"),
        ),
        NegativeKind(
            "shuffle",
            label="each positive with its nucleotides shuffled and all dinucleotides preserved (Altschul and Erickson "
            "1985); coordinates are those of the positive",
            function="LAMAR.genomics.negatives:shuffled_positives",
            paired=True,
        ),
    ],
)


@dataclass(frozen=True)
class MatchMethod(Entry):
    """A way to choose negatives among candidates.

    ``function`` takes the features of positives and of candidates (lists), ``n`` (negatives per positive) and ``seed``,
    and returns positions of the candidates chosen.

    Attributes
    ----------
    column : str
        Column of the windows that holds the feature.
    n_candidates : int
        Least number of candidates to draw.
    needs_gtf : bool
        The feature comes from a gene annotation.
    """

    column: str = "sequence"
    n_candidates: int = 0
    needs_gtf: bool = False


# Rare compositions need many candidates, and 200,000 windows are read and searched in seconds.
_MANY = 200_000
MATCHES: Registry[MatchMethod] = Registry(
    "match",
    [
        MatchMethod("none", "at random", "LAMAR.genomics.matching:take_first"),
        MatchMethod("gc", "by GC content", "LAMAR.genomics.matching:match_gc", n_candidates=_MANY),
        MatchMethod(
            "dinucleotide",
            "by the frequencies of the 16 dinucleotides",
            "LAMAR.genomics.matching:match_dinucleotide",
            n_candidates=_MANY,
        ),
        MatchMethod(
            "region",
            "one by one, by the kind of region (5'UTR, CDS, ...; `gtf`)",
            "LAMAR.genomics.matching:match_categories",
            column="region",
            n_candidates=_MANY,
            needs_gtf=True,
        ),
    ],
)
