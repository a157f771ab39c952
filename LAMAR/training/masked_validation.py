"""Masked-LM validation: fixed windows with fixed positions hidden; the model's figures and Markov chains' beside them.

All that is hidden becomes ``<mask>``, whatever the training collator does, so that neither the model nor a chain sees
the letter it is asked for. A chain sees every other letter of the window. The model's figure comes twice: with all
these positions hidden at once, as in training, and with an eighth of them at a time: then it sees nearly what a chain
sees.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import nn

from ..alphabet import MASK, NUCLEOTIDE_IDS, VOCABULARY
from ..batches import EncodedSequences, pad_batch, token_batches
from ..data.corpora import Corpus
from ..data_collator_patch import IGNORED, is_nucleotide
from ..errors import InputError
from ..statistics.markov import BREAK, MarkovCounts, best_chain, cross_entropy
from ..tokenization import encode_ragged
from .window_batches import cut_windows

__all__ = ["MaskedWindows", "closing_table", "evaluate", "evaluate_sparsely", "markov_figures"]

PASSES = 8  # of evaluate_sparsely: at 15 % hidden, 2 % at a time
_CHOOSING = 50_000  # positions on which a chain's order is chosen


def _codes(ids: np.ndarray) -> np.ndarray:
    """Token ids as codes of :mod:`LAMAR.statistics.markov`; special tokens and N break the chain."""
    return np.where(is_nucleotide(ids), ids - np.uint8(NUCLEOTIDE_IDS.start), np.uint8(BREAK))


class MaskedWindows:
    """Windows of held-out sequences with the positions to predict, which the seed and the rate determine.

    Parameters
    ----------
    sequences
        Normalized; longer ones are cut every ``room`` nt.
    room
        Longest window in nt.
    mask_rate
        Share of the nucleotides to hide.
    max_nucleotides
        Take so many windows, drawn at random, as have about this many nucleotides.
    token_budget
        Of the batches; no figure depends on it but for rounding.

    Attributes
    ----------
    windows : EncodedSequences
    hidden
        int64 (m,), positions in ``windows.ids``, ascending.
    """

    def __init__(
        self,
        sequences: list[str],
        room: int,
        mask_rate: float = 0.15,
        seed: int = 42,
        max_nucleotides: int = 200_000,
        token_budget: int = 8_192,
    ):
        rng = np.random.default_rng(seed)
        _, offsets = encode_ragged(sequences)
        starts, ends = cut_windows(offsets, room)
        order = rng.permutation(len(starts))
        before = np.cumsum((ends - starts)[order]) - (ends - starts)[order]
        chosen = np.sort(order[before < max_nucleotides])
        record = np.searchsorted(offsets, starts[chosen], side="right") - 1
        first = starts[chosen] - offsets[record] - 1
        last = ends[chosen] - offsets[record] - 1
        self.windows = EncodedSequences.encode([sequences[r][a:b] for r, a, b in zip(record, first, last)])
        nucleotides = np.flatnonzero(is_nucleotide(self.windows.ids))
        drawn = rng.random(len(nucleotides)) < mask_rate
        if not drawn.any():
            raise InputError(
                f"--val_mask_rate {mask_rate:g}: found none of {len(nucleotides)} held-out nucleotides drawn, wanted a "
                "larger rate, or more held-out sequence"
            )
        self.hidden, self._shown = nucleotides[drawn], nucleotides[~drawn]
        self.token_budget = token_budget

    def batches(self, rank: int = 0, world_size: int = 1) -> list[dict[str, torch.Tensor]]:
        """Every ``world_size``-th batch from number ``rank``: input_ids, attention_mask, labels."""
        inputs, labels = self.windows.ids.copy(), np.full(len(self.windows.ids), IGNORED, dtype=np.int64)
        inputs[self.hidden], labels[self.hidden] = MASK, self.windows.ids[self.hidden]
        hidden, offsets = EncodedSequences(inputs, self.windows.offsets), self.windows.offsets
        batches = []
        for indices in token_batches(self.windows.lengths, self.token_budget)[rank::world_size]:
            ids, mask = pad_batch([hidden[i] for i in indices])
            truth = torch.full(ids.shape, IGNORED)
            for row, i in zip(truth, indices):
                row[: offsets[i + 1] - offsets[i]] = torch.from_numpy(labels[offsets[i] : offsets[i + 1]])
            batches.append({"input_ids": ids, "attention_mask": mask, "labels": truth})
        return batches

    def divided(self, n: int) -> list[MaskedWindows]:
        """The same windows n times, every n-th of the positions hidden in each."""
        parts = [copy.copy(self) for _ in range(n)]
        for start, part in enumerate(parts):
            part.hidden = self.hidden[start::n]
        return parts

    @property
    def shown(self) -> np.ndarray:
        """Positions that are not hidden, at most 50,000, spread evenly: what an order is chosen on."""
        step = max(1, len(self._shown) // _CHOOSING)
        return self._shown[::step]


@torch.inference_mode()
def evaluate(model, validation: MaskedWindows, rank: int = 0, world_size: int = 1) -> dict:
    """Figures of a masked LM at the hidden positions.

    With several processes each calls this for its share of the batches and all get the figures of the whole.

    Returns
    -------
    dict
        ``loss`` (mean cross-entropy in nats over the whole vocabulary), ``perplexity`` (its exponential), ``accuracy``
        (of the most probable nucleotide), ``n_hidden``, and the same by true nucleotide in ``by_nucleotide``.
    """
    device, training = next(model.parameters()).device, model.training
    model.eval()
    first, n_letters = NUCLEOTIDE_IDS.start, len(NUCLEOTIDE_IDS)
    sums = torch.zeros(3, n_letters, dtype=torch.float64)  # of the loss, of right answers, of positions
    try:
        for batch in validation.batches(rank, world_size):
            labels = batch["labels"]
            output = model(**{name: tensor.to(device) for name, tensor in batch.items()}, labelled_only=True)
            logits, truth = output.logits.float().cpu(), labels[labels.ne(IGNORED)]
            letters = truth - first
            right = logits[:, first : NUCLEOTIDE_IDS.stop].argmax(-1).eq(letters)
            losses = nn.functional.cross_entropy(logits, truth, reduction="none")
            for row, values in zip(sums, (losses, right, torch.ones_like(losses))):
                row += torch.bincount(letters, values.double(), minlength=n_letters)
    finally:
        model.train(training)
    if world_size > 1:
        sums = sums.to(device)
        torch.distributed.all_reduce(sums)
        sums = sums.cpu()
    by_letter = {VOCABULARY[first + i]: _figures(*sums[:, i].tolist()) for i in range(n_letters) if sums[2, i]}
    return {**_figures(*sums.sum(dim=1).tolist()), "by_nucleotide": by_letter}


def evaluate_sparsely(model, validation: MaskedWindows, rank: int = 0, world_size: int = 1) -> dict:
    """:func:`evaluate` at the same positions, an eighth of them hidden at a time; without ``by_nucleotide``."""
    found = [evaluate(model, part, rank, world_size) for part in validation.divided(PASSES) if len(part.hidden)]
    n = sum(figures["n_hidden"] for figures in found)
    loss, right = (sum(figures[name] * figures["n_hidden"] for figures in found) for name in ("loss", "accuracy"))
    return _figures(loss, right, n)


def _figures(loss: float, right: float, n: float) -> dict:
    return {"loss": loss / n, "perplexity": math.exp(min(loss / n, 700)), "accuracy": right / n, "n_hidden": int(n)}


def markov_figures(corpus: Corpus, validation: MaskedWindows, max_order: int) -> dict:
    """Markov chains of the training records at the hidden positions of the validation windows.

    For each of the two predictions, order and smoothing are those with the smallest loss at positions of the same
    windows that are not hidden.

    Returns
    -------
    dict
        ``left`` (from the letters before) and ``two_sided`` (from all others), each with ``order``, ``prior``,
        ``loss``, ``perplexity``, ``accuracy``, and ``loss_by_order`` at the positions where the order was chosen.
    """
    counts = MarkovCounts(max_order)
    for block in corpus.blocks():
        counts.add(_codes(block.ids))
    codes = _codes(validation.windows.ids)
    figures = {}
    for name, two_sided in (("left", False), ("two_sided", True)):
        chain, losses = best_chain(counts, codes, validation.shown, two_sided, range(max_order + 1))
        predict = chain.two_sided if two_sided else chain.left
        found = cross_entropy(predict(codes, validation.hidden), codes[validation.hidden])
        figures[name] = {"order": chain.order, "prior": chain.prior, "loss": found["loss"]}
        figures[name] |= {"perplexity": math.exp(found["loss"]), "accuracy": found["accuracy"], "loss_by_order": losses}
    return figures


def closing_table(results: dict) -> str:
    """The model's and the chains' figures, a line each."""
    lines = [("model", results), ("model, an eighth of them hidden at a time", results["sparsely"])]
    for name, text in (("left", "from the left"), ("two_sided", "from both sides")):
        lines.append((f"Markov chain of order {results['markov'][name]['order']}, {text}", results["markov"][name]))
    head = f"{results['n_hidden']:,} hidden nucleotides in {results['n_windows']:,} held-out windows:"
    table = [f"{head:60} {'loss':>8} {'perplexity':>11} {'accuracy':>9}"]
    table += [f"  {name:58} {f['loss']:8.4f} {f['perplexity']:11.3f} {f['accuracy']:9.4f}" for name, f in lines]
    return "\n".join(table)
