"""Attribution by gradients at the token embeddings: saliency and integrated gradients.

Both run the model from its embeddings on, with autograd; conventions are those of :mod:`LAMAR.interpretation.attribution`.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm.auto import tqdm

from ..alphabet import EOS, MASK, NUCLEOTIDES, TOKEN_IDS
from ..batches import CPU_TOKEN_BUDGET, CUDA_TOKEN_BUDGET, EncodedSequences, pad_batch, token_batches
from ..data.shuffling import dinucleotide_shuffle
from ..devices import check_choice
from ..errors import InputError
from .classifiers import resolve_region, resolve_scale, resolve_targets, target_scores, task_of, undisturbed

__all__ = [
    "BASELINES",
    "MOST_STEPS",
    "TOLERANCE",
    "IntegratedGradients",
    "Saliency",
    "integrated_gradients",
    "require_captum",
    "saliency",
]

logger = logging.getLogger(__name__)

BASELINES = ("mask", "n", "mean", "shuffle")
TOLERANCE = 0.05  # of the difference between sequence and baseline: a larger convergence delta asks for more steps
MOST_STEPS = 960  # nodes that halving the path may add
SEGMENT_STEPS = 16  # nodes of each half


@dataclass(frozen=True)
class Saliency:
    """Gradient of the score with respect to the token embeddings, over a range [start, end) of a sequence.

    Attributes
    ----------
    logits
        float32 (K,), of the sequence.
    norm
        float32 (end - start,): Euclidean norm of the gradient; no sign.
    gradient_x_input
        float32 (end - start,): sum over dimensions of gradient times embedding; signed.
    """

    sequence: str
    start: int
    end: int
    target: int
    task: str
    scale: str
    logits: np.ndarray
    norm: np.ndarray
    gradient_x_input: np.ndarray

    def importance(self) -> np.ndarray:
        """The signed track, gradient times input."""
        return self.gradient_x_input


@dataclass(frozen=True)
class IntegratedGradients:
    """Integrated gradients over a range [start, end) of a sequence (Sundararajan et al., ICML 2017).

    Attributes
    ----------
    scores
        float32 (end - start,): sum over embedding dimensions; signed. Over the whole sequence they add up to
        ``difference + delta``.
    norm
        float32 (end - start,): Euclidean norm over dimensions, of the mean over baselines. It has no sign and hardly
        correlates with ``scores``.
    logits
        float32 (K,), of the sequence.
    difference
        Score of the sequence minus the (mean) score of its baseline.
    delta
        Convergence delta: sum of all scores minus ``difference``; what the quadrature misses.
    n_steps
        Nodes that were used on the path from a baseline (the mean over several), those of attempts included.
    baseline
        One of :data:`BASELINES`.
    tolerance
        Largest ``delta`` that counts as converged, as a share of ``difference``.
    """

    sequence: str
    start: int
    end: int
    target: int
    task: str
    scale: str
    logits: np.ndarray
    scores: np.ndarray
    norm: np.ndarray
    difference: float
    delta: float
    n_steps: int
    baseline: str
    tolerance: float = TOLERANCE

    @property
    def converged(self) -> bool:
        """Whether ``delta`` is within the tolerance."""
        return abs(self.delta) <= self.tolerance * abs(self.difference)

    def importance(self) -> np.ndarray:
        """The signed track."""
        return self.scores


def _budget(token_budget: int | None, device: torch.device) -> int:
    return token_budget or (CPU_TOKEN_BUDGET if device.type == "cpu" else CUDA_TOKEN_BUDGET)


def _batches(
    encoded: EncodedSequences, token_budget: int, device: torch.device, progress: str | None
) -> Iterator[tuple[np.ndarray, torch.Tensor, torch.Tensor]]:
    """Indices, token ids and attention mask of batches of the records."""
    with tqdm(total=len(encoded), desc=progress, disable=progress is None, leave=False, unit="seq") as bar:
        for indices in token_batches(encoded.lengths, token_budget):
            ids, mask = pad_batch([encoded[i] for i in indices])
            yield indices, ids.to(device), mask.to(device)
            bar.update(len(indices))


def saliency(
    model: torch.nn.Module,
    sequences: Sequence[str],
    *,
    target: int | str | None = None,
    scale: str | None = None,
    region: tuple[int, int] | None = None,
    token_budget: int | None = None,
    device: str | torch.device | None = None,
    progress: str | None = None,
) -> list[Saliency]:
    """Gradient saliency on the embedding output (Simonyan et al., 2014; gradient times input: Shrikumar et al., 2016).

    Parameters as for :func:`LAMAR.interpretation.attribution.mutagenesis`, and ``scale``, the score that is differentiated
    (:func:`LAMAR.interpretation.classifiers.target_scores`; None for the task's default). One forward and one backward pass for all
    positions.
    """
    spans = [resolve_region(region, len(sequence)) for sequence in sequences]
    encoded = EncodedSequences.encode(list(sequences))
    task = task_of(model.config)
    scale = resolve_scale(scale, task)
    results: dict[int, Saliency] = {}
    with undisturbed(model, device) as place, torch.enable_grad():
        for indices, ids, mask in _batches(encoded, _budget(token_budget, place), place, progress):
            embeddings = model.get_input_embeddings()(ids).detach().requires_grad_(True)
            logits = model(inputs_embeds=embeddings, attention_mask=mask).logits.float()
            found = logits.detach().cpu().numpy()
            targets = resolve_targets(found, target, task)
            score = target_scores(logits, torch.from_numpy(targets).to(place), scale, task)
            (gradient,) = torch.autograd.grad(score.sum(), embeddings)
            gradient = gradient.float()
            norms = gradient.norm(dim=-1).cpu().numpy()
            products = (gradient * embeddings.detach()).sum(-1).cpu().numpy()
            for row, index in enumerate(indices):
                start, end = spans[index]
                inside = slice(start + 1, end + 1)  # behind <cls>
                results[index] = Saliency(
                    sequences[index], start, end, int(targets[row]), task, scale, found[row],
                    norms[row, inside].copy(), products[row, inside].copy(),
                )  # fmt: skip
    return [results[i] for i in range(len(sequences))]


class _FromEmbeddings(torch.nn.Module):
    """The model's score as a function of embeddings; ``entry`` is the layer that captum integrates over."""

    def __init__(self, model: torch.nn.Module, scale: str, task: str):
        super().__init__()
        # Not registered as a child: captum's hooks go on `entry`, and nothing of the model is touched.
        self.run = model.__call__
        self.entry = torch.nn.Identity()
        self.scale, self.task = scale, task

    def logits(self, embeddings: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.run(inputs_embeds=self.entry(embeddings), attention_mask=mask).logits.float()

    def forward(self, embeddings: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return target_scores(self.logits(embeddings, mask), targets, self.scale, self.task)


def _baselines(
    model: torch.nn.Module, ids: torch.Tensor, sequences: list[str], baseline: str, n_shuffles: int, seed: int
) -> Iterator[torch.Tensor]:
    """Embeddings (batch, length, d) of one baseline after the other; special tokens and padding as in ``ids``."""
    table = model.get_input_embeddings()
    nucleotides = ids > EOS
    if baseline == "shuffle":
        # The shuffles of a sequence depend on it and the seed alone, not on what it is explained with.
        drawn = [dinucleotide_shuffle([sequence] * n_shuffles, seed) for sequence in sequences]
        for number in range(n_shuffles):
            shuffled, _ = pad_batch(list(_records([shuffles[number] for shuffles in drawn])))
            yield table(shuffled.to(ids.device))
    elif baseline == "mean":
        mean = table.weight[[TOKEN_IDS[letter] for letter in NUCLEOTIDES]].mean(0)
        yield torch.where(nucleotides.unsqueeze(-1), mean, table(ids))
    else:
        yield table(torch.where(nucleotides, MASK if baseline == "mask" else TOKEN_IDS["N"], ids))


def _records(sequences: list[str]) -> Iterator[np.ndarray]:
    encoded = EncodedSequences.encode(sequences)
    return (encoded[i] for i in range(len(encoded)))


def require_captum() -> None:
    """:class:`InputError` where the package captum, of the extra ``interpret``, is not installed."""
    if importlib.util.find_spec("captum") is None:
        raise InputError("integrated gradients need the package captum: pip install 'LAMAR[interpret]'")


def _layer_integrated_gradients(explained: _FromEmbeddings):
    require_captum()
    from captum.attr import LayerIntegratedGradients

    return LayerIntegratedGradients(explained, explained.entry)


def integrated_gradients(
    model: torch.nn.Module,
    sequences: Sequence[str],
    *,
    target: int | str | None = None,
    scale: str | None = None,
    baseline: str = "mask",
    n_steps: int = 120,
    tolerance: float = TOLERANCE,
    n_shuffles: int = 10,
    seed: int = 42,
    region: tuple[int, int] | None = None,
    token_budget: int | None = None,
    device: str | torch.device | None = None,
    progress: str | None = None,
) -> list[IntegratedGradients]:
    """Integrated gradients over the embedding layer (captum's ``LayerIntegratedGradients``), Gauss-Legendre nodes.

    The nodes of the quadrature run in batches under the token budget, of several sequences where they fit. Where the
    convergence delta is above ``tolerance`` of the difference between sequence and baseline, the path is halved, each
    half gets 16 nodes, and a part whose own delta is above its share of the tolerance is halved again, until 960 nodes
    more were used: trained models turn from the baseline's call to the sequence's within a few hundredths of the path,
    where more nodes on all of it help little. What is still above is logged as a warning. The class is fixed on the
    sequence and never chosen again along the path.

    Parameters
    ----------
    scale
        Score that is integrated, see :func:`LAMAR.interpretation.classifiers.target_scores`; None for the task's default.
    baseline
        Nucleotides of the starting point; special tokens are kept. ``mask``: ``<mask>``. ``n``: N. ``mean``: the mean
        embedding of A, C, G, T. ``shuffle``: mean over ``n_shuffles`` dinucleotide shuffles, drawn with ``seed``.
    n_steps, tolerance
        Nodes to begin with, and when they are enough. How many a model needs is its own: at random weights 16 reach
        1e-5, trained ones need hundreds. Few nodes to begin with and a small tolerance cost least: 16 and 1e-3.

    Other parameters as for :func:`LAMAR.interpretation.attribution.mutagenesis`.

    Raises
    ------
    InputError
        For a wrong choice, or without the package captum.
    """
    check_choice("--baseline", baseline, BASELINES)
    if n_steps < 1 or n_shuffles < 1:
        raise InputError(f"--n_steps, --n_shuffles: found {n_steps}, {n_shuffles}, wanted 1 or more")
    spans = [resolve_region(region, len(sequence)) for sequence in sequences]
    encoded = EncodedSequences.encode(list(sequences))
    task = task_of(model.config)
    scale = resolve_scale(scale, task)
    explained = _FromEmbeddings(model, scale, task)
    method = _layer_integrated_gradients(explained)
    results: dict[int, IntegratedGradients] = {}
    with undisturbed(model, device) as place:
        budget = _budget(token_budget, place)
        # A batch holds every node of its sequences where the budget allows for it.
        for indices, ids, mask in _batches(encoded, max(1, budget // n_steps), place, progress):
            drawn = list(_baselines(model, ids, [sequences[i] for i in indices], baseline, n_shuffles, seed))
            found = _integrate(method, explained, model, ids, mask, drawn, target, n_steps, budget)
            for row, index in enumerate(indices):
                of = sequences[index], spans[index], explained, baseline, tolerance
                results[index] = _result(found, row, n_steps, *of)
                if not results[index].converged:
                    more = _refine(method, explained, model, ids, mask, drawn, found, row, tolerance, budget)
                    results[index] = _result(found, row, n_steps + more, *of)
    pending = [result for result in results.values() if not result.converged]
    if pending:
        worst = max(pending, key=lambda result: abs(result.delta) / max(abs(result.difference), 1e-12))
        logger.warning(
            "integrated gradients: %d of %d sequences have a convergence delta above %.3g %% of the difference (the "
            "worst, with %d steps: delta %.3g, difference %.3g)",
            len(pending), len(encoded), 100 * tolerance, worst.n_steps, worst.delta, worst.difference,
        )  # fmt: skip
    return [results[i] for i in range(len(sequences))]


def _quadrature(method, starts, ends, mask, targets, n_steps: int, token_budget: int) -> torch.Tensor:
    """Attributions (n, length, d) of the straight paths between two sets of embeddings, in batches of equal size."""
    n, rows = len(ends), max(token_budget // ends.shape[1], 1)
    # 120 nodes in batches of 19 at most are 7 of 18, not 6 of 19 and one of 6.
    passes = -(-n_steps * n // rows)
    return method.attribute(
        ends,
        baselines=starts,
        additional_forward_args=(mask, targets),
        n_steps=n_steps,
        method="gausslegendre",
        internal_batch_size=max(n, n * -(-n_steps // passes)),
    ).detach()


def _integrate(method, explained, model, ids, mask, baselines, target, n_steps, token_budget) -> dict[str, np.ndarray]:
    """Scores and norms (batch, length), sums, differences (batch,), targets and logits of one batch."""
    with torch.no_grad():
        embeddings = model.get_input_embeddings()(ids)
        logits = explained.logits(embeddings, mask)
        found = logits.cpu().numpy()
        targets = torch.from_numpy(resolve_targets(found, target, explained.task)).to(ids.device)
        output = target_scores(logits, targets, explained.scale, explained.task).double()
    total, reference = 0, 0
    for start in baselines:
        total = total + _quadrature(method, start, embeddings, mask, targets, n_steps, token_budget)
        with torch.no_grad():
            reference = reference + explained(start, mask, targets).double()
    attribution = total / len(baselines)
    scores = attribution.sum(-1, dtype=torch.float64)
    return {
        "scores": scores.float().cpu().numpy(),
        "norm": attribution.norm(dim=-1).float().cpu().numpy(),
        "sum": scores.sum(1).cpu().numpy(),
        "difference": (output - reference / len(baselines)).cpu().numpy(),
        "targets": targets.cpu().numpy(),
        "logits": found,
    }


def _refine(method, explained, model, ids, mask, baselines, found, row, tolerance: float, token_budget: int) -> int:
    """Integrate one sequence of a batch again, in parts, and put it into ``found``; returns the nodes of a baseline.

    The parts of a path add up, in attributions and in differences, so each shows by itself whether its nodes suffice.
    """
    with torch.no_grad():
        end = model.get_input_embeddings()(ids[row : row + 1])
    starts = torch.cat([start[row : row + 1] for start in baselines]).detach()
    target = torch.from_numpy(found["targets"][row : row + 1]).to(ids.device)

    def points(paths, shares):
        return torch.lerp(starts[paths], end.expand(len(paths), -1, -1), shares[:, None, None])

    def same(n):  # mask and class of n points
        return mask[row : row + 1].expand(n, -1), target.expand(n)

    @torch.no_grad()
    def score(paths, shares):
        return explained(points(paths, shares), *same(len(paths))).double()

    allowed = tolerance * abs(float(found["difference"][row]))
    paths = torch.arange(len(starts), device=ids.device)
    low, high = torch.zeros(len(starts)).to(starts), torch.ones(len(starts)).to(starts)
    at_low, at_high = score(paths, low), score(paths, high)
    total, n_nodes = torch.zeros(end.shape[1:], dtype=torch.float64, device=ids.device), 0
    while len(paths):
        middle = (low + high) / 2
        at_middle = score(paths, middle)
        low, high, paths = torch.cat([low, middle]), torch.cat([middle, high]), paths.repeat(2)
        at_low, at_high = torch.cat([at_low, at_middle]), torch.cat([at_middle, at_high])
        ends = points(paths, low), points(paths, high)
        parts = _quadrature(method, *ends, *same(len(paths)), SEGMENT_STEPS, token_budget)
        n_nodes += len(paths) * SEGMENT_STEPS
        missed = (parts.sum((1, 2), dtype=torch.float64) - (at_high - at_low)).abs()
        again = missed > allowed * (high - low)
        if n_nodes + 2 * int(again.sum()) * SEGMENT_STEPS > MOST_STEPS * len(starts):
            again[:] = False
        total += parts[~again].sum(0, dtype=torch.float64)
        low, high, at_low, at_high, paths = (values[again] for values in (low, high, at_low, at_high, paths))
    attribution = (total / len(starts)).cpu()
    scores = attribution.sum(-1)
    found["scores"][row], found["norm"][row] = scores.float().numpy(), attribution.norm(dim=-1).float().numpy()
    found["sum"][row] = float(scores.sum())
    return round(n_nodes / len(starts))


def _result(found, row: int, n_steps: int, sequence: str, span: tuple[int, int], explained, baseline: str, tolerance):
    start, end = span
    inside = slice(start + 1, end + 1)  # behind <cls>
    difference = float(found["difference"][row])
    return IntegratedGradients(
        sequence, start, end, int(found["targets"][row]), explained.task, explained.scale, found["logits"][row],
        found["scores"][row, inside].copy(), found["norm"][row, inside].copy(),
        difference, float(found["sum"][row]) - difference, n_steps, baseline, tolerance,
    )  # fmt: skip
