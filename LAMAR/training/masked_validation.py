"""Masked-LM validation: the same windows with the same positions masked, for the model and for Markov chains.

All positions to predict become ``<mask>``, whatever the training collator does, so that neither the model nor a chain
sees the nucleotide that it predicts. A chain sees all other nucleotides of the window. The model is therefore evaluated
twice: with all positions masked at once, as in training, and with an eighth of them at a time, when it sees nearly as
much as a chain.
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
from ..runs.progress import Progress
from ..statistics.markov import BREAK, MarkovCounts, best_chain, cross_entropy
from ..tokenization import encode_ragged
from .processes import process_count, process_rank
from .window_batches import cut_windows

__all__ = ["MaskedWindows", "closing_table", "evaluate", "evaluate_sparsely", "markov_figures"]

PASSES = 8  # parts that evaluate_sparsely masks in turn: of 15 %, 2 % at a time
_CHOOSING = 50_000  # largest number of positions on which a chain's order is chosen


def _codes(ids: np.ndarray) -> np.ndarray:
    """Return token ids as codes of `LAMAR.statistics.markov`; special tokens and N break the chain."""
    return np.where(is_nucleotide(ids), ids - np.uint8(NUCLEOTIDE_IDS.start), np.uint8(BREAK))


class MaskedWindows:
    """Windows of held-out sequences with the positions to predict, which the seed and the rate determine.

    Parameters
    ----------
    sequences : list of str
        Normalized; longer ones are cut every ``room`` nt.
    room : int
        Largest window, in nt.
    mask_rate : float
        Share of the nucleotides to mask.
    seed : int
        Seed of the choice of windows and positions.
    max_nucleotides : int
        Windows are drawn at random until they have about this many nucleotides.
    token_budget : int
        Tokens of a batch, padding included; it changes figures by rounding only.

    Attributes
    ----------
    windows : EncodedSequences
    hidden : int64, shape (m,)
        Masked positions in ``windows.ids``, ascending.
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
                f"`val_mask_rate` {mask_rate:g}: found none of {len(nucleotides)} held-out nucleotides drawn, wanted a "
                "larger rate, or more held-out sequence"
            )
        self.hidden, self._visible = nucleotides[drawn], nucleotides[~drawn]
        self.token_budget = token_budget

    def batches(self, rank: int = 0, world_size: int = 1) -> list[dict[str, torch.Tensor]]:
        """Return every ``world_size``-th batch from number ``rank``: input_ids, attention_mask, labels."""
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
        """Return the same windows n times, each with every n-th of the positions masked."""
        parts = [copy.copy(self) for _ in range(n)]
        for start, part in enumerate(parts):
            part.hidden = self.hidden[start::n]
        return parts

    @property
    def visible_sample(self) -> np.ndarray:
        """Positions that are not masked, at most about 50,000 and evenly spread, on which a chain's order is chosen."""
        step = max(1, len(self._visible) // _CHOOSING)
        return self._visible[::step]


@torch.inference_mode()
def evaluate(model, validation: MaskedWindows, progress: str | None = None) -> dict:
    """Return the figures of a masked LM at the masked positions.

    Each of several processes evaluates its share of the batches, and all get the figures of the whole.

    Parameters
    ----------
    model : EsmForMaskedLM
        Its training mode is restored.
    validation : MaskedWindows
    progress : str, optional
        Label of the progress (`LAMAR.runs.progress.Progress`); None shows none.

    Returns
    -------
    dict
        ``loss`` (mean cross-entropy in nats over the whole vocabulary), ``perplexity`` (its exponential), ``accuracy``
        (of the most probable nucleotide), ``n_hidden``, and the same by true nucleotide in ``by_nucleotide``.
    """
    device, training = next(model.parameters()).device, model.training
    model.eval()
    first, n_letters = NUCLEOTIDE_IDS.start, len(NUCLEOTIDE_IDS)
    sums = torch.zeros(3, n_letters, dtype=torch.float64)  # loss, right answers, positions
    batches = validation.batches(process_rank(), process_count())
    try:
        with Progress(len(batches), "batches", progress or "", enabled=progress is not None) as shown:
            for batch in batches:
                labels = batch["labels"]
                output = model(**{name: tensor.to(device) for name, tensor in batch.items()}, labelled_only=True)
                logits, truth = output.logits.float().cpu(), labels[labels.ne(IGNORED)]
                letters = truth - first
                right = logits[:, first : NUCLEOTIDE_IDS.stop].argmax(-1).eq(letters)
                losses = nn.functional.cross_entropy(logits, truth, reduction="none")
                for row, values in zip(sums, (losses, right, torch.ones_like(losses))):
                    row += torch.bincount(letters, values.double(), minlength=n_letters)
                shown.advance()
    finally:
        model.train(training)
    if process_count() > 1:
        sums = sums.to(device)
        torch.distributed.all_reduce(sums)
        sums = sums.cpu()
    by_letter = {VOCABULARY[first + i]: _figures(*sums[:, i].tolist()) for i in range(n_letters) if sums[2, i]}
    return {**_figures(*sums.sum(dim=1).tolist()), "by_nucleotide": by_letter}


def evaluate_sparsely(model, validation: MaskedWindows, progress: str | None = None) -> dict:
    """Return the figures of `evaluate` at the same positions, an eighth of them masked at a time.

    ``by_nucleotide`` is left out.
    """
    divided = [part for part in validation.divided(PASSES) if len(part.hidden)]
    labels = [progress and f"{progress}, pass {i} of {len(divided)}" for i in range(1, len(divided) + 1)]
    parts = [evaluate(model, part, label) for part, label in zip(divided, labels)]
    n = sum(figures["n_hidden"] for figures in parts)
    loss, right = (sum(figures[name] * figures["n_hidden"] for figures in parts) for name in ("loss", "accuracy"))
    return _figures(loss, right, n)


def _figures(loss: float, right: float, n: float) -> dict:
    return {"loss": loss / n, "perplexity": math.exp(min(loss / n, 700)), "accuracy": right / n, "n_hidden": int(n)}


def markov_figures(corpus: Corpus, validation: MaskedWindows, max_order: int) -> dict:
    """Return the figures of Markov chains of the training records at the masked positions of the validation windows.

    For each of the two predictions, order and smoothing are those with the smallest loss at positions of the same
    windows that are not masked.

    Parameters
    ----------
    corpus : Corpus
        Its training records are counted.
    validation : MaskedWindows
    max_order : int
        Largest order to choose from.

    Returns
    -------
    dict
        ``left`` (from the nucleotides before) and ``two_sided`` (from all others), each with ``order``, ``prior``,
        ``loss``, ``perplexity``, ``accuracy``, and ``loss_by_order`` at the positions where the order was chosen.
    """
    counts = MarkovCounts(max_order)
    for block in corpus.blocks():
        counts.add(_codes(block.ids))
    codes = _codes(validation.windows.ids)
    figures = {}
    for name, two_sided in (("left", False), ("two_sided", True)):
        chain, losses = best_chain(counts, codes, validation.visible_sample, two_sided, range(max_order + 1))
        predict = chain.two_sided if two_sided else chain.left
        result = cross_entropy(predict(codes, validation.hidden), codes[validation.hidden])
        figures[name] = {"order": chain.order, "prior": chain.prior, "loss": result["loss"]}
        figures[name] |= {"perplexity": math.exp(result["loss"]), "accuracy": result["accuracy"]}
        figures[name]["loss_by_order"] = losses
    return figures


def closing_table(results: dict) -> str:
    """Return the figures of the model and of the chains as aligned text."""
    lines = [("model", results), ("model, an eighth of them masked at a time", results["sparsely"])]
    for name, text in (("left", "from the left"), ("two_sided", "from both sides")):
        lines.append((f"Markov chain of order {results['markov'][name]['order']}, {text}", results["markov"][name]))
    head = f"{results['n_hidden']:,} masked nucleotides in {results['n_windows']:,} held-out windows:"
    table = [f"{head:60} {'loss':>8} {'perplexity':>11} {'accuracy':>9}"]
    table += [f"  {name:58} {f['loss']:8.4f} {f['perplexity']:11.3f} {f['accuracy']:9.4f}" for name, f in lines]
    return "\n".join(table)
