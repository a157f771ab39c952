"""Letters of the binding sites and decoys of the SYNTHETIC data set.

Three RBPs are simulated. PUM2 binds ``TGTANATA``; QKI binds ``ACTAAY``, 1 to 20 nt of spacer and ``TAAY``; IRPSYN
(invented, after the iron-responsive element) binds the loop ``CAGTGH`` closed by six random Watson-Crick pairs, so that
the pairing is fixed and the letters of the stem are not. A share of the sites is weak: one letter of the motif, never
of a stem, is changed. No other full site occurs in the genome, on either strand.

Negatives come from transcripts without a site of their RBP. Each holds a decoy made of the site's letters, so that its
composition is that of the positives: ``scattered`` (the motif in 3-mers), ``split`` (in two pieces), for QKI also
``half`` (first part whole, second part cut), ``far`` (spacer of 30 nt or more) and ``reversed`` (second part first),
for IRPSYN also ``unpaired`` (loop between arms that do not pair) and ``moved`` (stem around other letters, loop
elsewhere; ``scattered`` has such a stem too).
"""

from __future__ import annotations

import re

import numpy as np

from ..alphabet import IUPAC, NUCLEOTIDES, reverse_complement

__all__ = ["DECOYS", "RBPS", "STEM", "compose", "full_sites"]

STEM = 6  # pairs
RBPS = {
    "PUM2": {"kind": "linear", "motif": "TGTANATA", "parts": ["motif"]},
    "QKI": {"kind": "bipartite", "motif": "ACTAAY N{1,20} TAAY", "parts": ["first", "second"]},
    "IRPSYN": {"kind": "hairpin", "motif": "CAGTGH", "parts": ["stem5", "loop", "stem3"]},
}
# Most decoys of QKI lack its first part. Where many hold it, a network that sees 1,400 windows gains too little from
# learning the first part, and memorises the windows instead.
DECOYS = {
    "PUM2": {"scattered": 0.7, "split": 0.3},
    "QKI": {"scattered": 0.75, "split": 0.1, "half": 0.05, "far": 0.05, "reversed": 0.05},
    "IRPSYN": {"scattered": 0.5, "unpaired": 0.3, "moved": 0.2},
}


def compose(rng: np.random.Generator, rbp: str, kind: str) -> tuple[list[str], int | None]:
    """Draw the letters of a site or of a decoy.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of random numbers.
    rbp : str
        Name in `RBPS`.
    kind : str
        ``strong`` or ``weak`` for a site, else a kind of decoy in `DECOYS`.

    Returns
    -------
    blocks : list of str
        Rigid blocks to plant, 5' to 3'; one for a site. The letter "." leaves the background.
    mismatch : int or None
        Changed position of a weak site.
    """

    def fill(motif: str) -> str:
        return "".join(x if x == "." else IUPAC[x][rng.integers(len(IUPAC[x]))] for x in motif)

    def cut(motif: str) -> list[str]:  # both pieces have the letter at the cut: together, the motif's dinucleotides
        k = rng.integers(min(2, len(motif) - 3), len(motif) - 2)
        return [motif[: k + 1], motif[k:]]

    def scatter(motif: str) -> list[str]:
        return [motif[i : i + 3] for i in range(0, len(motif) - 1, 2)]

    left = fill("N" * STEM)
    right = fill("N" * STEM) if kind == "unpaired" else reverse_complement(left)
    while kind == "unpaired" and sum(x + y in "AT TA GC CG GT TG".split() for x, y in zip(left, right[::-1])) > 2:
        right = fill("N" * STEM)
    if kind in ("strong", "weak"):
        spacer = "." * rng.integers(1, 21)
        template = {"PUM2": "TGTANATA", "QKI": f"ACTAAY{spacer}TAAY", "IRPSYN": f"{left}CAGTGH{right}"}[rbp]
        # A mismatch is not at N, which bears any letter, nor in a stem: every planted pair stays a pair.
        hits = [i for i, x in enumerate(template) if x not in "N." and (rbp != "IRPSYN" or 6 <= i < 12)]
        letters, hit = fill(template), hits[rng.integers(len(hits))]
        other = [x for x in NUCLEOTIDES if x not in IUPAC[template[hit]]]
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


def full_sites(text: str) -> list[tuple[str, int, int, list[int]]]:
    """Return the full sites on the forward strand: RBP, start, end, and the positions that each cannot lose."""
    sites = []
    for p in (m.start() for m in re.finditer("(?=TGTA.ATA)", text)):
        sites.append(("PUM2", p, p + 8, [p + k for k in (0, 1, 2, 3, 5, 6, 7)]))
    for p in (m.start() for m in re.finditer("(?=ACTAA[CT])", text)):
        for q in (p + 7 + second.start() for second in re.finditer("(?=TAA[CT])", text[p + 7 : p + 30])):
            sites.append(("QKI", p, q + 4, [*range(p, p + 6), *range(q, q + 4)]))
    for p in (m.start() - STEM for m in re.finditer("(?=CAGTG[ACT])", text)):
        if p >= 0 and text[p : p + 6] == reverse_complement(text[p + 12 : p + 18]):
            sites.append(("IRPSYN", p, p + 18, [p + k for k in range(18) if k != 11]))
    return sites
