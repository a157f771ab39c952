"""Runs of nucleotides that sequences share: rolling hashes, clusters of similar sequences, longest shared run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..alphabet import LETTER_CODES

__all__ = ["RunIndex", "SharedRuns", "WindowHashes", "cluster_sequences", "join_codes", "longest_shared_run"]

_LETTERS_AT_ONCE = 2_000_000  # hashing takes some 50 bytes a letter


def cluster_sequences(
    sequences: Sequence[str], k: int = 24, *, repeat_k: int = 30, always: int = 50, max_records: int | None = None
) -> np.ndarray:
    """Cluster sequences that share a run, as connected components; linear in the number of records.

    Two records are linked when they share one of these:

    1. ``k`` nt in a row that are not a simple repeat and contain no frequent 16-mer. A 16-mer is frequent when it
       occurs in more than ``max_records`` records: poly(A) tails and adapters that most records carry say nothing about
       descent.
    2. ``repeat_k`` nt in a row that contain no frequent 16-mer, so that windows in the same microsatellite count as
       similar.
    3. ``always`` nt in a row, however frequent or repetitive.
    4. All positions except one, at equal length (found by hashes that leave out each position in turn).

    Duplicates, and windows that differ by one substitution, therefore always stay together (4); so do windows shifted
    against each other by up to 51 of 101 nt (3), and by up to 71 nt, or 77 nt outside simple repeats, unless the run
    that they share is frequent (2, 1). N matches nothing in 1 to 3, and itself in 4. The reverse complement is not
    considered, because RNA is stranded.

    Parameters
    ----------
    sequences : sequence of str, length n
        Letters of ``ACGTN``.
    k, repeat_k, always : int
        Lengths in nt. With 24, chance matches are rare among millions of windows (4**24 = 2.8e14); 30 is the length
        that the leakage report of `LAMAR.data.splits.make_split` counts; no single substitution touches more than 51
        of 101 nt, so that 50 remain in a row.
    max_records : int, optional
        Default 20 % of the records, at least 100.

    Returns
    -------
    int64, shape (n,)
        Cluster of each record, numbered in order of first appearance.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(sequences)
    windows = WindowHashes(sequences)
    links = []
    most = max(100, n // 5) if max_records is None else max_records
    starts = windows.starts(min(16, k))
    frequent = starts[_frequent(windows.hashes(starts, min(16, k)), windows.record[starts], most)]
    for length in (k, repeat_k):
        starts = windows.starts(length)
        inside = np.searchsorted(frequent, [starts, starts + length - min(16, k) + 1])
        starts = starts[inside[0] == inside[1]]
        if length == k:
            # A third of the positions differs where some 10 nt of other sequence adjoin a repeat.
            starts = starts[windows.irregularity(starts, k) >= k / 3]
        links.append(_links(windows.hashes(starts, length), windows.record[starts]))
    starts = windows.starts(always)
    links.append(_links(windows.hashes(starts, always), windows.record[starts]))
    # In a longer sequence without N, one substitution leaves a run that rule 3 has found.
    rest = [i for i, sequence in enumerate(sequences) if len(sequence) < 2 * always or "N" in sequence]
    keys, records = _hashes_but_one([sequences[i] for i in rest])
    links.append(_links(keys, np.asarray(rest, dtype=np.int64)[records]))
    one, two = (np.concatenate(side) for side in zip(*links))
    graph = coo_matrix((np.ones(len(one), dtype=bool), (one, two)), shape=(n, n))
    clusters = connected_components(graph, directed=False)[1]
    _, first, code = np.unique(clusters, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[code]


def longest_shared_run(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the length in nt of the longest run that a sequence of ``a`` shares with one of ``b``.

    The result is exact: bisection over the length, by rolling hashes, and comparison of letters where hashes agree. N
    matches nothing; the reverse complement is not considered.
    """
    return SharedRuns(a, b).longest()


def _links(keys: np.ndarray, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of records that chain all records with the same key."""
    order = np.argsort(keys)
    linked = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    return records[order[linked]], records[order[linked + 1]]


def _frequent(keys: np.ndarray, records: np.ndarray, limit: int) -> np.ndarray:
    """Return whether each key occurs in more than ``limit`` distinct records; ``records`` ascend."""
    order = np.argsort(keys, kind="stable")
    new_key = np.ones(len(keys), dtype=bool)
    new_key[1:] = keys[order][1:] != keys[order][:-1]
    new_record = new_key.copy()
    new_record[1:] |= records[order][1:] != records[order][:-1]
    number = np.cumsum(new_key) - 1
    frequent = np.empty(len(keys), dtype=bool)
    frequent[order] = (np.bincount(number, weights=new_record) > limit)[number]
    return frequent


def _hashes_but_one(sequences: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the hashes of every sequence with each position left out in turn, and the sequence of each hash.

    Two sequences of one length share such a hash if, and except for collisions only if, they differ at no more than one
    position.
    """
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    first = np.cumsum(lengths) - lengths
    record = np.repeat(np.arange(len(sequences)), lengths)
    offset = np.arange(lengths.sum()) - first[record]
    letters = np.frombuffer("".join(sequences).encode("ascii"), dtype=np.uint8).astype(np.uint64)
    weights, left_out = np.random.default_rng(0x5EED).integers(
        0, 2**64, size=(2, lengths.max(initial=0)), dtype=np.uint64
    )
    terms = letters * weights[offset]
    prefix = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])
    totals = prefix[first + lengths] - prefix[first]
    return totals[record] - terms + left_out[offset], record


def _is_in(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return `numpy.isin` of hashes: a bitmap of their first 24 bits leaves few to look up."""
    seen = np.zeros(1 << 24, dtype=bool)
    seen[table >> np.uint64(40)] = True
    present = seen[values >> np.uint64(40)]
    present[present] = np.isin(values[present], table)
    return present


def join_codes(sequences: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Join sequences, each followed by a separator.

    Parameters
    ----------
    sequences : sequence of str
        Letters of ``ACGTN``.

    Returns
    -------
    codes : uint8, shape (total,)
        0 to 3 for A, C, G, T; 4 for N and the separator.
    record : int64, shape (total,)
        Index of the sequence that each position belongs to.
    """
    text = "".join(f"{sequence}\n" for sequence in sequences).encode("ascii")
    lengths = np.fromiter((len(sequence) + 1 for sequence in sequences), np.int64, len(sequences))
    return np.frombuffer(text.translate(LETTER_CODES), dtype=np.uint8), np.repeat(np.arange(len(sequences)), lengths)


class WindowHashes:
    """Rolling hashes of all windows of a set of sequences, which find the runs that records share.

    A window's hash is the polynomial ``sum_j value[base_j] * B**j`` modulo 2**64 with fixed random odd ``B``
    and ``value``; prefix sums give it for any window length in one subtraction and one multiplication. Equal
    windows always have equal hashes. Different windows have equal hashes with a probability near 2**-64 per pair.

    Parameters
    ----------
    sequences : sequence of str
        Letters of ``ACGTN``.

    Attributes
    ----------
    codes, record
        See `join_codes`.
    """

    def __init__(self, sequences: Sequence[str]):
        self.codes, self.record = join_codes(sequences)
        constants = np.random.default_rng(0x5EED).integers(0, 2**64, size=5, dtype=np.uint64)
        base, values = constants[0] | np.uint64(1), np.append(constants[1:], np.uint64(0))
        inverse = np.uint64(pow(int(base), -1, 2**64))
        total = len(self.codes)
        self._inverse_powers = np.cumprod(np.full(total, inverse))
        terms = values[self.codes] * np.cumprod(np.full(total, base))
        self._prefix = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])
        self._unknown = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.codes == 4)])

    def starts(self, length: int) -> np.ndarray:
        """Return the positions (int64) at which a window of ``length`` lies within one sequence and contains no N."""
        if length > len(self.codes):
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(self._unknown[length:] == self._unknown[: len(self._unknown) - length])

    def hashes(self, starts: np.ndarray, length: int) -> np.ndarray:
        """Return the hashes (uint64, shape of ``starts``) of the windows of ``length`` at ``starts``."""
        return (self._prefix[starts + length] - self._prefix[starts]) * self._inverse_powers[starts]

    def irregularity(self, starts: np.ndarray, length: int, periods: int = 6) -> np.ndarray:
        """Return how far the windows of ``length`` at ``starts`` are from tandem repeats.

        For each period ``p`` up to ``periods`` nt (below ``length``), the positions of the window that differ from the
        position ``p`` before are counted. The smallest count (int64, shape of ``starts``) is near 0 in a repeat of a
        short unit, also beside another repeat, and about 3/4 of ``length`` in random sequence.
        """
        least = np.full(len(starts), length)
        for period in range(1, min(periods, length - 1) + 1):
            differ = np.zeros(len(self.codes) + 1, dtype=np.int64)
            np.cumsum(self.codes[period:] != self.codes[:-period], out=differ[period + 1 :])
            np.minimum(least, differ[starts + length] - differ[starts + period], out=least)
        return least


class RunIndex:
    """Index of all runs of ``length`` nt of a set of sequences, to find others that share one.

    Memory is 8 to 24 bytes per run and 16 MB. N matches nothing; the reverse complement is not considered.

    Parameters
    ----------
    sequences : sequence of str
        Letters of ``ACGTN``.
    length : int
        Length of the runs, in nt.
    """

    def __init__(self, sequences: Sequence[str], length: int):
        self.length = length
        hashes = [hashes for _, hashes in self._hashes(sequences)]
        # np.unique of NumPy 2.3 and later takes a minute for 32 million hashes, sorting half a second.
        table = np.sort(np.concatenate([np.zeros(0, np.uint64), *hashes]))
        self._table = table[np.append(True, table[1:] != table[:-1])[: len(table)]]
        # A bitmap of the first bits, at most one in eight of them set up to 32 million runs, leaves few to look up.
        bits = min(max(24, (8 * len(self._table)).bit_length()), 28)
        self._shift = np.uint64(64 - bits)
        self._seen = np.zeros(1 << bits, dtype=bool)
        self._seen[self._table >> self._shift] = True

    def shares(self, sequences: Sequence[str]) -> np.ndarray:
        """Return whether each of n sequences shares a run with the index; bool, shape (n,)."""
        shared = np.zeros(len(sequences), dtype=bool)
        for records, hashes in self._hashes(sequences):
            candidates = np.flatnonzero(self._seen[hashes >> self._shift])
            # Not np.isin, which would sort the table for each piece.
            place = np.searchsorted(self._table, hashes[candidates])
            is_hit = self._table[np.minimum(place, len(self._table) - 1)] == hashes[candidates]
            shared[records[candidates[is_hit]]] = True
        return shared

    def _hashes(self, sequences: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield sequence number and hash of every run, in pieces of bounded size."""
        records, texts, size = [], [], 0
        for number, sequence in enumerate(sequences):
            # Pieces of a long sequence overlap, so that each run is in one of them.
            for start in range(0, max(1, len(sequence) - self.length + 1), _LETTERS_AT_ONCE):
                texts.append(sequence[start : start + _LETTERS_AT_ONCE + self.length - 1])
                records.append(number)
                size += len(texts[-1])
                if size >= _LETTERS_AT_ONCE:
                    yield self._hash(records, texts)
                    records, texts, size = [], [], 0
        if texts:
            yield self._hash(records, texts)

    def _hash(self, records: list[int], texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        windows = WindowHashes(texts)
        starts = windows.starts(self.length)
        return np.asarray(records)[windows.record[starts]], windows.hashes(starts, self.length)


class SharedRuns:
    """Runs of nucleotides that two sets of sequences have in common.

    Parameters
    ----------
    a, b : sequence of str
        Letters of ``ACGTN``.
    """

    def __init__(self, a: Sequence[str], b: Sequence[str]):
        self.windows = WindowHashes([*a, *b])
        self.first_of_b = sum(len(sequence) + 1 for sequence in a)
        self.longest_possible = min(max(map(len, a), default=0), max(map(len, b), default=0))

    def shared(self, length: int, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return those of the sorted ``starts``, in a and in b, whose window of ``length`` is in the other set too."""
        cut = np.searchsorted(starts, self.first_of_b)
        a, b = starts[:cut], starts[cut:]
        hashes_a, hashes_b = self.windows.hashes(a, length), self.windows.hashes(b, length)
        in_b = _is_in(hashes_a, hashes_b)
        a, hashes_a = a[in_b], hashes_a[in_b]
        return a, b[_is_in(hashes_b, hashes_a)]

    def records_sharing(self, length: int) -> int:
        """Return the number of records of b that share a window of ``length`` with a."""
        return len(np.unique(self.windows.record[self.shared(length, self.windows.starts(length))[1]]))

    def longest(self) -> int:
        """Return the length of the longest common run; every length is confirmed letter by letter."""
        low, high, candidates = 0, self.longest_possible, None
        while low < high:
            length = (low + high + 1) // 2
            starts = self.windows.starts(length)
            if candidates is not None:
                # A longer window can only be shared where a shorter one is.
                starts = np.intersect1d(starts, candidates, assume_unique=True)
            a, b = self.shared(length, starts)
            if self._confirmed(a, b, length):
                low, candidates = length, np.concatenate([a, b])
            else:
                high = length - 1
        return low

    def _confirmed(self, a: np.ndarray, b: np.ndarray, length: int) -> bool:
        """Return whether a window at ``a`` equals one at ``b``, comparing letters where the hashes agree."""
        hashes, first_a = np.unique(self.windows.hashes(a, length), return_index=True)
        same, first_b = np.unique(self.windows.hashes(b, length), return_index=True)
        codes = self.windows.codes
        return any(
            np.array_equal(codes[i : i + length], codes[j : j + length])
            for i, j in zip(a[first_a[np.isin(hashes, same)]], b[first_b[np.isin(same, hashes)]])
        )
