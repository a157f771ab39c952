"""Shuffles of sequences that preserve all dinucleotide counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["dinucleotide_shuffle"]


def dinucleotide_shuffle(sequences: Sequence[str], seed: int = 0) -> list[str]:
    """Shuffle each sequence, preserving the exact count of every dinucleotide.

    A sequence is a walk over letters that uses each of its dinucleotides once, as an edge from the first letter to
    the second; its shuffles are the other such walks between the same ends. One of them is drawn uniformly: first the
    last edge out of each letter, which together must form a tree towards the last letter and are drawn uniformly by
    Wilson's loop-erased random walks; then the order of all other edges of each letter. Expected time is linear in the
    length.

    Parameters
    ----------
    sequences : sequence of str, length n
        Sequences of any length, including 0. N counts as a fifth letter.
    seed : int
        At least 0. The shuffle of a sequence depends on the seed, the sequence and its index, not on the others.

    Returns
    -------
    list of str, length n
        The first and the last letter of each sequence stay in place. A sequence without another arrangement, such as a
        homopolymer, is returned unchanged; by chance any sequence may be.

    References
    ----------
    Altschul and Erickson, Mol Biol Evol 2:526 (1985); Wilson, STOC 1996.
    """
    return [_shuffle(sequence, np.random.default_rng([seed, index])) for index, sequence in enumerate(sequences)]


def _shuffle(sequence: str, rng: np.random.Generator) -> str:
    if len(sequence) < 4:  # both ends fixed: at most one letter could move
        return sequence
    letters = np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)
    sources, targets = letters[:-1], letters[1:]
    keys = rng.random(len(sources))
    keys[_last_edges(sequence, rng)] = 1  # above all random keys
    order = np.lexsort((keys, sources))
    present, first = np.unique(sources[order], return_index=True)
    edges = np.split(targets[order], first[1:])
    leave = {letter: iter(group.tolist()) for letter, group in zip(present.tolist(), edges)}
    walk = bytearray(sequence[:1], "ascii")
    for _ in range(len(sources)):
        walk.append(next(leave[walk[-1]]))
    return walk.decode("ascii")


def _last_edges(sequence: str, rng: np.random.Generator) -> list[int]:
    """Draw one edge out of each letter except the last, uniformly among the trees that lead to the last letter."""
    edges = {letter: [] for letter in sequence}
    for position, letter in enumerate(sequence[:-1]):
        edges[letter].append(position)
    in_tree, chosen = {sequence[-1]}, []
    for start in edges:
        letter, last_exit = start, {}
        while letter not in in_tree:
            # Overwriting an earlier exit is what erases the loop since.
            last_exit[letter] = edges[letter][int(rng.random() * len(edges[letter]))]
            letter = sequence[last_exit[letter] + 1]
        letter = start
        while letter not in in_tree:
            in_tree.add(letter)
            chosen.append(last_exit[letter])
            letter = sequence[last_exit[letter] + 1]
    return chosen
