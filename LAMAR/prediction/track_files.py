"""Files of scores along the genome or along records, one per track: bedGraph and bigWig."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, repeat
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..genomics.intervals import canonical_chromosome
from ..runs import storage
from .records import Place
from .tiling import Profile

__all__ = ["placed_intervals", "require_bigwig", "write_bedgraphs", "write_bigwigs"]

Parts = Callable[[], Iterable[tuple[Place, Profile]]]

_OPEN_FILES = 200  # written at once; systems allow a process 1,024 or 256
_VALUES = 1 << 26  # scores that are in memory at once: 256 MiB
_STRANDS = {"+": "plus", "-": "minus"}


def placed_intervals(place: Place, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where the intervals of a profile lie on the chromosome; one over a splice junction becomes several.

    Parameters
    ----------
    place : Place
    bounds : numpy.ndarray of int64, shape (m + 1,)
        In the record, ascending.

    Returns
    -------
    rows, starts, ends : numpy.ndarray of int64, shape (n,)
        Interval of each piece, and the piece, 0-based and half-open. Starts ascend.
    """
    lefts, rights = np.array(place.starts, dtype=np.int64), np.array(place.ends, dtype=np.int64)
    passed = np.append(0, np.cumsum(rights - lefts))  # nucleotides before each block, on the forward strand
    forward = bounds if place.strand != "-" else (passed[-1] - bounds)[::-1]
    inner = passed[(passed > forward[0]) & (passed < forward[-1])]
    cuts = np.unique(np.concatenate([forward, inner]))
    block = np.searchsorted(passed, cuts[:-1], side="right") - 1
    rows = np.searchsorted(forward, cuts[:-1], side="right") - 1
    starts = lefts[block] + cuts[:-1] - passed[block]
    return rows if place.strand != "-" else len(bounds) - 2 - rows, starts, starts + np.diff(cuts)


def _joined(starts: np.ndarray, ends: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the intervals with neighbours of one value joined."""
    is_first = np.append(True, (values[1:] != values[:-1]) | (starts[1:] != ends[:-1]))
    return starts[is_first], ends[np.append(is_first[1:], True)], values[is_first]


def write_bedgraphs(folder: Path, names: Sequence[str], parts: Parts) -> None:
    """Write ``NAME.bedgraph`` for each track: mean logits, neighbours of one value joined.

    Parameters
    ----------
    folder : Path
    names : sequence of str, length k
    parts : callable
        Returns an iterator over places and profiles with k tracks. It is called once for `_OPEN_FILES` tracks.
    """
    for first in range(0, len(names), _OPEN_FILES):
        columns = range(first, min(first + _OPEN_FILES, len(names)))
        with ExitStack() as stack:
            handles = [stack.enter_context(storage.atomic_write(folder / f"{names[j]}.bedgraph")) for j in columns]
            for column, handle in zip(columns, handles):
                handle.write(f'track type=bedGraph name="{names[column]}" description="mean logit"\n')
            for place, profile in parts():
                rows, starts, ends = placed_intervals(place, profile.bounds)
                for column, handle in zip(columns, handles):
                    handle.writelines(_bedgraph_lines(place.chrom, starts, ends, profile.scores[rows, column]))


def _bedgraph_lines(chrom: str, starts: np.ndarray, ends: np.ndarray, values: np.ndarray) -> Iterator[str]:
    for start, end, value in zip(*(array.tolist() for array in _joined(starts, ends, values))):
        yield f"{chrom}\t{start}\t{end}\t{value:.6g}\n"


def require_bigwig() -> None:
    """Raise `InputError` where the package pybigtools, of the extra ``bigwig``, is not installed."""
    if importlib.util.find_spec("pybigtools") is None:
        raise InputError("`bigwig`: needs the package pybigtools: pip install 'LAMAR[bigwig]'")


def write_bigwigs(folder: Path, names: Sequence[str], parts: Parts, sizes: Mapping[str, int] | None = None) -> None:
    """Write ``NAME.bw`` for each track, or ``NAME.plus.bw`` and ``NAME.minus.bw`` where records lie on both strands.

    A nucleotide of several records, such as the transcripts of a gene, has the mean of their scores. Tracks are written
    in groups, so that no more than `_VALUES` scores are in memory.

    Parameters
    ----------
    folder, names, parts
        As for `write_bedgraphs`; ``parts`` is called once, and once for each group.
    sizes : mapping of int, optional
        Lengths of chromosomes by name, in any spelling; of others, the end of the last record counts.
    """
    by_strand = _Layout.of_strands(parts, {canonical_chromosome(name): size for name, size in (sizes or {}).items()})
    total = sum(layout.n_pieces for layout in by_strand.values())
    at_once = int(np.clip(_VALUES // max(total, 1), 1, len(names)))
    for first in range(0, len(names), at_once):
        columns = slice(first, first + at_once)
        values = {strand: layout.empty(len(names[columns])) for strand, layout in by_strand.items()}
        filled = dict.fromkeys(by_strand, 0)
        for place, profile in parts():
            rows = placed_intervals(place, profile.bounds)[0]
            start = filled[place.strand]
            values[place.strand][start : start + len(rows)] = profile.scores[rows, columns]
            filled[place.strand] += len(rows)
        for strand, layout in by_strand.items():
            ending = "bw" if len(by_strand) < 2 else f"{_STRANDS[strand]}.bw"
            for name, column in zip(names[columns], values[strand].T):
                layout.write(folder / f"{name}.{ending}", column)


class _Layout:
    """Pieces of the records of one strand, in the order in which they come, and how a bigWig file orders them."""

    def __init__(self):
        self.chroms: dict[str, int] = {}
        self.sizes: list[int] = []
        self._chrom, self._starts, self._ends = [], [], []

    @classmethod
    def of_strands(cls, parts: Parts, sizes: Mapping[str, int]) -> dict[str, _Layout]:
        """Return the layouts of the strands on which records lie."""
        found: dict[str, _Layout] = {}
        for place, profile in parts():
            layout = found.setdefault(place.strand, cls())
            _, starts, ends = placed_intervals(place, profile.bounds)
            layout._add(place.chrom, starts, ends, sizes)
        for layout in found.values():
            layout._arrange()
        return found

    def _add(self, chrom: str, starts: np.ndarray, ends: np.ndarray, sizes: Mapping[str, int]) -> None:
        number = self.chroms.setdefault(chrom, len(self.chroms))
        if number == len(self.sizes):
            self.sizes.append(sizes.get(canonical_chromosome(chrom), 0))
        self.sizes[number] = max(self.sizes[number], int(ends[-1]))
        self._chrom.append(np.full(len(starts), number, dtype=np.int32))
        self._starts.append(starts)
        self._ends.append(ends)

    def _arrange(self) -> None:
        """Find, for each chromosome, the order of its pieces, and the intervals between all their ends."""
        chrom, starts, ends = (np.concatenate(ones) for ones in (self._chrom, self._starts, self._ends))
        self.n_pieces, self._chrom = len(chrom), []
        order = np.lexsort((starts, chrom))
        for rows in np.split(order, np.flatnonzero(np.diff(chrom[order])) + 1):
            bounds = np.unique(np.concatenate([starts[rows], ends[rows]]))
            first, last = np.searchsorted(bounds, starts[rows]), np.searchsorted(bounds, ends[rows])
            covering = np.zeros(len(bounds), dtype=np.int64)
            np.add.at(covering, first, 1)
            np.add.at(covering, last, -1)
            self._chrom.append((rows, bounds, first, last, np.cumsum(covering)[:-1]))
        self._starts = self._ends = []

    def empty(self, n_tracks: int) -> np.ndarray:
        """Return room for the scores of all pieces; float32, shape (n_pieces, n_tracks)."""
        return np.empty((self.n_pieces, n_tracks), dtype=np.float32)

    def write(self, path: Path, values: np.ndarray) -> None:
        """Write a bigWig file of one track, ``values`` float32, shape (n_pieces,), in the order in which they came."""
        import pybigtools

        entries = []
        for name, (rows, bounds, first, last, covering) in zip(self.chroms, self._chrom):
            mean = np.zeros(len(bounds) - 1)
            for step in range(int((last - first).max())):
                inside = first + step < last
                np.add.at(mean, first[inside] + step, values[rows[inside]])
            known = covering > 0
            means = (mean[known] / covering[known]).astype(np.float32)
            columns = _joined(bounds[:-1][known], bounds[1:][known], means)
            # Iterators without Python code: an exception in one, such as Ctrl-C, would be lost.
            entries.append(zip(repeat(name), *(column.tolist() for column in columns)))
        # It writes to names that end in .bw only, which those of unfinished files do not.
        with tempfile.TemporaryDirectory() as folder, storage.atomic_write(path, "wb") as handle:
            file = Path(folder) / path.name
            pybigtools.open(str(file), "w").write(dict(zip(self.chroms, self.sizes)), chain.from_iterable(entries))
            with file.open("rb") as written:
                shutil.copyfileobj(written, handle)
