"""Shuffles of sequences that keep every dinucleotide count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["dinucleotide_shuffle"]


def dinucleotide_shuffle(sequences: Sequence[str], seed: int = 0) -> list[str]:
    """Shuffle each sequence so that it keeps the count of every dinucleotide, exactly.

    A sequence is a walk over letters that uses each of its dinucleotides once, as an edge from the first letter to
    the second; its shuffles are the other such walks between the same ends. One is drawn uniformly (Altschul &
    Erickson, Mol Biol Evol 2:526, 1985): first the edge by which each letter is left for the last time, which must
    form a tree towards the last letter and is drawn uniformly by Wilson's loop-erased random walks (STOC 1996); then
    the order of all other edges of each letter. Expected time is linear in the length.

    Parameters
    ----------
    sequences : sequence of str, n
        Any length, also 0. Letters are taken as they are, so N is a fifth one.
    seed : int
        At least 0. The shuffle of a sequence depends on the seed, the sequence and its index, not on the others.

    Returns
    -------
    list of str, n
        First and last letter of each are its own. A sequence that has no other arrangement, such as a homopolymer,
        comes back as it is, and by chance any sequence may.
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
    """Positions of one edge out of each letter but the last, drawn uniformly among those that lead to the last."""
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
