"""Which build of a genome a file belongs to, from the lengths of its chromosomes."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike

from ..data.text_files import open_text, read_lines
from .intervals import canonical_chromosome

__all__ = ["build_of", "vcf_build"]

# Lengths of chromosomes 1, 2 ... and X, as `samtools faidx` prints them.
_HUMAN = [*map(str, range(1, 23)), "X"]
_LENGTHS = {
    "hg38": (248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636, 138394717,
             133797422, 135086622, 133275309, 114364328, 107043718, 101991189, 90338345, 83257441, 80373285, 58617616,
             64444167, 46709983, 50818468, 156040895),
    "hg19": (249250621, 243199373, 198022430, 191154276, 180915260, 171115067, 159138663, 146364022, 141213431,
             135534747, 135006516, 133851895, 115169878, 107349540, 102531392, 90354753, 81195210, 78077248, 59128983,
             63025520, 48129895, 51304566, 155270560),
    "T2T-CHM13": (248387328, 242696752, 201105948, 193574945, 182045439, 172126628, 160567428, 146259331, 150617247,
                  134758134, 135127769, 133324548, 113566686, 101161492, 99753195, 96330374, 84276897, 80542538,
                  61707364, 66210255, 45090682, 51324926, 154259566),
}  # fmt: skip
_BUILDS = {
    (canonical_chromosome(name), length): build
    for build, lengths in _LENGTHS.items()
    for name, length in zip(_HUMAN, lengths)
} | {("chr1", 195471971): "mm10", ("chr2", 182113224): "mm10", ("chrX", 171031299): "mm10"}


def build_of(lengths: Mapping[str, int]) -> str | None:
    """Return the build whose chromosomes have these lengths: hg38, hg19, T2T-CHM13 or mm10; None where none is known.

    Parameters
    ----------
    lengths : mapping of int
        Length by chromosome, in any spelling. Chromosomes of no known length are passed over; those of two builds
        together give None.
    """
    found = {_BUILDS.get((canonical_chromosome(name), length)) for name, length in lengths.items()} - {None}
    return found.pop() if len(found) == 1 else None


def vcf_build(path: str | PathLike) -> str | None:
    """Return the build of the ``##contig`` lines of a VCF, None without any that is known.

    Reference: The Variant Call Format Specification 4.3, section 1.4.7.
    """
    lengths: dict[str, int] = {}
    with open_text(path) as handle:
        for _, line in read_lines(handle, path):
            if not line.startswith("##"):
                break
            if line.startswith("##contig=<"):
                fields = dict(part.partition("=")[::2] for part in line[len("##contig=<") :].rstrip(">").split(","))
                length = fields.get("length", "")
                if length.isascii() and length.isdigit() and len(length) < 12:
                    lengths[fields.get("ID", "")] = int(length)
    return build_of(lengths)
