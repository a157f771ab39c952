"""The alphabet: nucleotide letters, ambiguity codes, complements, and the vocabulary of the model.

Import-light: plain strings, dictionaries and 256-byte tables. A table serves ``bytes.translate`` as well as NumPy
(``np.frombuffer(table, np.uint8)[bytes]``).
"""

from __future__ import annotations

__all__ = [
    "CLS",
    "COMPLEMENT",
    "EOS",
    "IUPAC",
    "LETTERS",
    "LETTER_CODES",
    "MASK",
    "NORMALIZED",
    "NUCLEOTIDES",
    "NUCLEOTIDE_IDS",
    "PAD",
    "TOKEN_IDS",
    "UNK",
    "UNKNOWN_CODE",
    "VOCABULARY",
    "reverse_complement",
]

# The order of one-hot channels, k-mer codes, and columns of tables.
NUCLEOTIDES = "ACGT"
# What a normalized sequence consists of.
LETTERS = NUCLEOTIDES + "N"
# Nucleotides that a code stands for, with T for U (Cornish-Bowden, Nucleic Acids Research 1985).
IUPAC = {
    "A": "A",
    "C": "C",
    "G": "G",
    "T": "T",
    "U": "T",
    "R": "AG",
    "Y": "CT",
    "S": "CG",
    "W": "AT",
    "K": "GT",
    "M": "AC",
    "B": "CGT",
    "D": "AGT",
    "H": "ACT",
    "V": "ACG",
    "N": "ACGT",
}
COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}

# Upstream's order, which the pretrained weights fix. It is not the order of `NUCLEOTIDES`.
VOCABULARY = ("<cls>", "<pad>", "<eos>", "<unk>", "<mask>", "A", "T", "C", "G", "N")
TOKEN_IDS = {token: index for index, token in enumerate(VOCABULARY)}
CLS, PAD, EOS, UNK, MASK = range(5)
NUCLEOTIDE_IDS = range(TOKEN_IDS["A"], TOKEN_IDS["G"] + 1)  # A T C G

# Code of every byte that is not a nucleotide in `LETTER_CODES`.
UNKNOWN_CODE = len(NUCLEOTIDES)


def _normalized() -> bytes:
    table = bytearray(256)
    for code, nucleotides in IUPAC.items():
        table[ord(code)] = table[ord(code.lower())] = ord(nucleotides if len(nucleotides) == 1 else "N")
    return bytes(table)


# Byte to letter of a normalized sequence; 0 for bytes that are not nucleotide codes.
NORMALIZED = _normalized()
# Byte to position in `NUCLEOTIDES`, 0 to 3; 4 for N and everything else.
LETTER_CODES = bytes(NUCLEOTIDES.find(chr(byte)) if chr(byte) in NUCLEOTIDES else UNKNOWN_CODE for byte in range(256))
_COMPLEMENTED = bytes.maketrans("".join(COMPLEMENT).encode(), "".join(COMPLEMENT.values()).encode())


def reverse_complement(sequence: str) -> str:
    """Return the reverse complement of a normalized sequence (letters of ``ACGTN``)."""
    return sequence.encode("ascii").translate(_COMPLEMENTED)[::-1].decode("ascii")
