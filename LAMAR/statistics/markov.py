"""Order-k Markov chains of nucleotides: the bar that a nucleotide language model has to clear.

Sequences are codes: uint8, 0-3 are nucleotides (in whatever order), 4 and above break the chain (N, the end of a
record). The probability of a letter after j known letters, j up to k, is that of an order-j chain, smoothed towards
order j - 1:

    P_j(x | c) = (n(c x) + a P_{j-1}(x | c')) / (n(c) + a),    P_{-1} = 1/4,

with c' the last j - 1 letters of c and a the weight of the shorter context (a Dirichlet prior of that strength;
MacKay & Peto, 1995). After fewer than k letters since the last break, j is what there is.
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
    """Where the contexts of 0, 1, ... ``order`` letters begin in one joined table of contexts."""
    return np.concatenate([[0], np.cumsum(4 ** np.arange(order + 1, dtype=np.int64))])


def _known_before(codes: np.ndarray, order: int) -> np.ndarray:
    """Known letters in a row before each position, at most ``order``; int64 (n,)."""
    positions = np.arange(len(codes))
    breaks = np.where(codes >= BREAK, positions, -1)
    last = np.maximum.accumulate(np.concatenate([[-1], breaks[:-1]])) if len(codes) else breaks
    return np.minimum(positions - last - 1, order)


class MarkovCounts:
    """Counts of all words of up to ``order`` + 1 letters, fed piece by piece.

    Parameters
    ----------
    order
        0 to 12; memory is 8 bytes x 4**(order + 1) x 4/3, 45 MB at order 10.
    """

    def __init__(self, order: int):
        if not 0 <= order <= 12:
            raise ValueError(f"order: found {order}, wanted 0 to 12")
        self.order = order
        self.counts = [np.zeros(4 ** (j + 1), dtype=np.int64) for j in range(order + 1)]

    def add(self, codes: np.ndarray) -> MarkovCounts:
        """Count the words of ``codes``, uint8 (n,); no word contains a break. Words across two calls are not seen."""
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
    """A chain of some order, made from counts of this order or a higher one.

    Parameters
    ----------
    counts
        Of the training sequences.
    order
        0 to that of the counts.
    prior
        Weight of the shorter context, in observations.
    """

    def __init__(self, counts: MarkovCounts, order: int, prior: float = 4.0):
        if not 0 <= order <= counts.order:
            raise ValueError(f"order: found {order}, wanted 0 to {counts.order}")
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
        self.log_probabilities = np.log(table)  # (contexts of 0 to order letters, 4)

    def _contexts(self, letters: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Rows of the table for contexts: letters (n, order), the last ``known`` (n,) of which count."""
        if self.order == 0:
            return np.zeros(len(letters), dtype=np.int64)
        place = 4 ** np.arange(self.order - 1, -1, -1, dtype=np.int64)
        counted = np.arange(self.order, 0, -1) <= known[:, None]
        return self._starts[known] + (np.where(counted, letters, 0) * place).sum(axis=1)

    def left(self, codes: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """log P(x_i = b | letters before i), float64 (m, 4).

        Parameters
        ----------
        codes
            uint8 (n,), see the module.
        positions
            int (m,), of letters in ``codes``.
        """
        return self._in_pieces(self._left, codes, positions)

    def two_sided(self, codes: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """log P(x_i = b | all other letters), float64 (m, 4), exact.

        Of the chain's joint probability only the factors of i and of the ``order`` letters after it depend on x_i:
        P(b | rest) is their product at x_i = b, normalised over b.
        """
        return self._in_pieces(self._two_sided, codes, positions)

    def _in_pieces(self, function, codes, positions) -> np.ndarray:
        positions = np.asarray(positions, dtype=np.int64)
        padding = np.full(self.order, BREAK, dtype=np.uint8)
        padded = np.concatenate([padding, codes, padding])
        known = _known_before(padded, self.order)
        pieces = [positions[i : i + _POSITIONS_AT_ONCE] for i in range(0, len(positions), _POSITIONS_AT_ONCE)]
        found = [function(padded, known, piece + self.order) for piece in pieces]
        return np.concatenate(found) if found else np.zeros((0, 4))

    def _left(self, padded, known, at) -> np.ndarray:
        letters = padded[at[:, None] + np.arange(-self.order, 0)].astype(np.int64)
        return self.log_probabilities[self._contexts(letters, known[at])]

    def _two_sided(self, padded, known, at) -> np.ndarray:
        around = padded[at[:, None] + np.arange(-self.order, self.order + 1)].astype(np.int64)
        scores = self._left(padded, known, at)
        going = np.ones(len(at), dtype=bool)
        for distance in range(1, self.order + 1):
            letter = around[:, self.order + distance]
            going = going & (letter < BREAK)  # a break ends what x_i has a say in
            rows = np.flatnonzero(going)
            letters = around[rows, distance : distance + self.order]
            for b in range(4):
                letters[:, self.order - distance] = b
                contexts = self._contexts(letters, known[at[rows] + distance])
                scores[rows, b] += self.log_probabilities[contexts, letter[rows]]
        scores -= scores.max(axis=1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def cross_entropy(log_probabilities: np.ndarray, letters: np.ndarray) -> dict[str, float]:
    """Mean negative log probability in nats, and accuracy of the most probable letter.

    Parameters
    ----------
    log_probabilities
        (m, 4).
    letters
        True codes, int (m,).
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
    """The chain whose predictions have the smallest loss at ``positions``, and the smallest loss of each order.

    Long contexts want a strong prior and short ones do not care, so both are tried together.
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
