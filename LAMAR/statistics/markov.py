"""Order-k Markov chains of nucleotides: the baseline that a nucleotide language model has to beat.

Sequences are codes: uint8, 0-3 are nucleotides (in any fixed order), 4 and above break the chain (N, the end of a
record). The probability of a letter after j known letters, j up to k, is that of an order-j chain, smoothed towards
order j - 1:

    P_j(x | c) = (n(c x) + a P_{j-1}(x | c')) / (n(c) + a),    P_{-1} = 1/4,

with c' the last j - 1 letters of c and a the weight of the shorter context (a Dirichlet prior of that strength;
MacKay & Peto, 1995). j is k, or the number of letters since the last break where that is smaller.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ["MarkovChain", "MarkovCounts", "best_chain", "cross_entropy"]

BREAK = 4
PRIORS = (4.0, 64.0, 1024.0)
_LETTERS_AT_ONCE = 4_000_000
_POSITIONS_AT_ONCE = 16_384


def _table_starts(order: int) -> np.ndarray:
    """Return where the contexts of 0, 1, ... ``order`` letters begin in one joined table of contexts."""
    return np.concatenate([[0], np.cumsum(4 ** np.arange(order + 1, dtype=np.int64))])


def _known_before(codes: np.ndarray, order: int) -> np.ndarray:
    """Return the number of known letters in a row before each position, at most ``order``; int64 (n,)."""
    positions = np.arange(len(codes))
    breaks = np.where(codes >= BREAK, positions, -1)
    last = np.maximum.accumulate(np.concatenate([[-1], breaks[:-1]])) if len(codes) else breaks
    return np.minimum(positions - last - 1, order)


class MarkovCounts:
    """Counts of all words of up to ``order`` + 1 letters, accumulated piece by piece.

    Parameters
    ----------
    order : int
        0 to 12; memory is 8 bytes x 4**(order + 1) x 4/3, 45 MB at order 10.

    Attributes
    ----------
    counts : list of int64 arrays
        Entry j has shape (4**(j + 1),): counts of words of j + 1 letters, read as numbers to the base of 4.

    Raises
    ------
    ValueError
        Another order.
    """

    def __init__(self, order: int):
        if not 0 <= order <= 12:
            raise ValueError(f"`order`: found {order}, wanted 0 to 12")
        self.order = order
        self.counts = [np.zeros(4 ** (j + 1), dtype=np.int64) for j in range(order + 1)]

    def add(self, codes: np.ndarray) -> MarkovCounts:
        """Add the words of ``codes``, uint8 (n,), and return the counts themselves.

        No word contains a break, and words across two calls are not counted.
        """
        for start in range(0, len(codes), _LETTERS_AT_ONCE):
            # Words end in this piece and may begin before it.
            first = max(0, start - self.order)
            self._add(codes[first : start + _LETTERS_AT_ONCE].astype(np.int64), start - first)
        return self

    def _add(self, letters: np.ndarray, overlap: int) -> None:
        word, known = np.zeros(len(letters), dtype=np.int64), np.ones(len(letters), dtype=bool)
        for j in range(self.order + 1):
            # word[i] grows by the letter j places before i, in front.
            before = letters[: max(0, len(letters) - j)]
            word[j:] += 4**j * before
            known[j:] &= before < BREAK
            known[:j] = False
            chosen = word[overlap:][known[overlap:]]
            self.counts[j] += np.bincount(chosen, minlength=4 ** (j + 1))


class MarkovChain:
    """A chain of some order, from counts of this order or a higher one.

    Parameters
    ----------
    counts : MarkovCounts
        Counts of the training sequences.
    order : int
        0 to the order of the counts.
    prior : float
        Weight of the shorter context, in observations.

    Attributes
    ----------
    log_probabilities : float64, shape (contexts, 4)
        Natural logarithms, for contexts of 0, 1, ... ``order`` letters one after the other.

    Raises
    ------
    ValueError
        Another order.
    """

    def __init__(self, counts: MarkovCounts, order: int, prior: float = 4.0):
        if not 0 <= order <= counts.order:
            raise ValueError(f"`order`: found {order}, wanted 0 to {counts.order}")
        self.order, self.prior = order, prior
        self._starts = _table_starts(order)
        table = np.empty((self._starts[-1], 4))
        shorter = np.full((1, 4), 0.25)
        for j in range(order + 1):
            seen = counts.counts[j].reshape(-1, 4)
            # Contexts with the same last j - 1 letters are 4**(j - 1) apart.
            expected = np.tile(shorter, (len(seen) // len(shorter), 1))
            shorter = (seen + prior * expected) / (seen.sum(axis=1, keepdims=True) + prior)
            table[self._starts[j] : self._starts[j + 1]] = shorter
        self.log_probabilities = np.log(table)

    def _contexts(self, letters: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Return the table's rows for contexts: letters (n, order), of which the last ``known`` (n,) are used."""
        if self.order == 0:
            return np.zeros(len(letters), dtype=np.int64)
        place = 4 ** np.arange(self.order - 1, -1, -1, dtype=np.int64)
        counted = np.arange(self.order, 0, -1) <= known[:, None]
        return self._starts[known] + (np.where(counted, letters, 0) * place).sum(axis=1)

    def left(self, codes: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return log P(x_i = b | letters before i).

        Parameters
        ----------
        codes : uint8, shape (n,)
            Sequence as the module describes it.
        positions : int, shape (m,)
            Indices i of letters in ``codes``.

        Returns
        -------
        float64, shape (m, 4)
        """
        return self._in_pieces(self._left, codes, positions)

    def two_sided(self, codes: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return log P(x_i = b | all other letters), exactly.

        Of the chain's joint probability only the factors of i and of the ``order`` letters after it depend on x_i:
        P(b | rest) is their product at x_i = b, normalised over b. Parameters and shape are those of `left`.
        """
        return self._in_pieces(self._two_sided, codes, positions)

    def _in_pieces(self, function, codes, positions) -> np.ndarray:
        positions = np.asarray(positions, dtype=np.int64)
        padding = np.full(self.order, BREAK, dtype=np.uint8)
        padded = np.concatenate([padding, codes, padding])
        known = _known_before(padded, self.order)
        pieces = [positions[i : i + _POSITIONS_AT_ONCE] for i in range(0, len(positions), _POSITIONS_AT_ONCE)]
        parts = [function(padded, known, piece + self.order) for piece in pieces]
        return np.concatenate(parts) if parts else np.zeros((0, 4))

    def _left(self, padded, known, at) -> np.ndarray:
        letters = padded[at[:, None] + np.arange(-self.order, 0)].astype(np.int64)
        return self.log_probabilities[self._contexts(letters, known[at])]

    def _two_sided(self, padded, known, at) -> np.ndarray:
        around = padded[at[:, None] + np.arange(-self.order, self.order + 1)].astype(np.int64)
        scores = self._left(padded, known, at)
        is_linked = np.ones(len(at), dtype=bool)
        for distance in range(1, self.order + 1):
            letter = around[:, self.order + distance]
            is_linked &= letter < BREAK  # letters behind a break do not depend on x_i
            rows = np.flatnonzero(is_linked)
            letters = around[rows, distance : distance + self.order]
            for b in range(4):
                letters[:, self.order - distance] = b
                contexts = self._contexts(letters, known[at[rows] + distance])
                scores[rows, b] += self.log_probabilities[contexts, letter[rows]]
        scores -= scores.max(axis=1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def cross_entropy(log_probabilities: np.ndarray, letters: np.ndarray) -> dict[str, float]:
    """Return the mean negative log probability in nats, and the accuracy of the most probable letter.

    Parameters
    ----------
    log_probabilities : float, shape (m, 4)
    letters : int, shape (m,)
        True codes.

    Returns
    -------
    dict of float
        ``loss`` and ``accuracy``.
    """
    rows = np.arange(len(letters))
    return {
        "loss": float(-log_probabilities[rows, letters].mean()),
        "accuracy": float((log_probabilities.argmax(axis=1) == letters).mean()),
    }


def best_chain(
    counts: MarkovCounts,
    codes: np.ndarray,
    positions: np.ndarray,
    two_sided: bool,
    orders: Iterable[int],
    priors: Sequence[float] = PRIORS,
) -> tuple[MarkovChain, dict[int, float]]:
    """Return the chain whose predictions have the smallest loss at ``positions``, and the smallest loss by order.

    Long contexts need a strong prior and short ones hardly depend on it, so orders and priors are tried together.

    Parameters
    ----------
    counts : MarkovCounts
    codes : uint8, shape (n,)
        Validation sequences.
    positions : int, shape (m,)
        Indices of the letters to predict.
    two_sided : bool
        Predict from the letters on both sides instead of those before.
    orders : iterable of int
    priors : sequence of float

    Returns
    -------
    chain : MarkovChain
    losses : dict of float
        By order, in nats.
    """
    losses, best, smallest = {}, None, math.inf
    for order in orders:
        for prior in priors:
            chain = MarkovChain(counts, order, prior)
            predict = chain.two_sided if two_sided else chain.left
            loss = cross_entropy(predict(codes, positions), codes[positions])["loss"]
            losses[order] = min(loss, losses.get(order, math.inf))
            if loss < smallest:
                best, smallest = chain, loss
    return best, losses
