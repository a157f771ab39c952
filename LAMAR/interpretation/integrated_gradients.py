"""Integrated gradients over the token embeddings; conventions as in `LAMAR.interpretation.attribution`."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..alphabet import EOS, MASK, NUCLEOTIDES, TOKEN_IDS
from ..batches import EncodedSequences, pad_batch
from ..data.shuffling import dinucleotide_shuffle
from ..devices import check_choice
from ..errors import InputError
from .attribution_results import GradientResult
from .classifiers import model_task, resolve_region, resolve_scale, resolve_targets, target_scores, undisturbed
from .edits import normalized_sequences
from .methods import BASELINES, DEFAULT_STEPS, MOST_STEPS, TOLERANCE
from .saliency import default_budget, encoded_batches

__all__ = ["IntegratedGradients", "check_options", "integrated_gradients", "require_captum"]

logger = logging.getLogger(__name__)

SEGMENT_STEPS = 16  # nodes of each half of a path that is halved


@dataclass(frozen=True)
class IntegratedGradients(GradientResult):
    """Integrated gradients over a range [start, end) of a sequence.

    Attributes
    ----------
    scores : ndarray of float32, shape (end - start,)
        Sum over embedding dimensions; signed. Over the whole sequence they add up to ``difference + delta``.
    norm : ndarray of float32, shape (end - start,)
        Euclidean norm over dimensions, of the mean over baselines. It is unsigned and hardly correlates with
        ``scores``.
    difference : float
        Score of the sequence minus the (mean) score of its baseline.
    delta : float
        Convergence delta, the error of the quadrature: sum of all scores minus ``difference``.
    n_steps : int
        Quadrature nodes used on the path from a baseline (the mean over several), earlier attempts included.
    baseline : str
        One of `LAMAR.interpretation.methods.BASELINES`.
    tolerance : float
        Largest ``delta`` of a converged result, as a share of ``difference``.
    """

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
        """Return the signed track."""
        return self.scores

    def columns(self, scale: str) -> dict[str, np.ndarray]:
        """Return scores and norm, in the scale in which they were computed."""
        return {"score": self.scores, "norm": self.norm}

    def facts(self) -> dict[str, Any]:
        """Return ``delta``, ``difference``, ``n_steps``, ``converged`` and ``baseline``."""
        names = ("delta", "difference", "n_steps", "converged", "baseline")
        return {name: getattr(self, name) for name in names}


def require_captum() -> None:
    """Raise `InputError` where the package captum, of the extra ``interpret``, is not installed."""
    if importlib.util.find_spec("captum") is None:
        raise InputError("integrated gradients need the package captum: pip install 'LAMAR[interpret]'")


def check_options(options) -> None:
    """Check an ``ExplainOptions`` before anything is computed: captum must be installed.

    A number of shuffles that the baseline does not use is logged as a warning.
    """
    if options.baseline != "shuffle" and options.n_shuffles != type(options).n_shuffles:
        logger.warning("`n_shuffles` %s: not used, `baseline` is %s", options.n_shuffles, options.baseline)
    require_captum()


class _Path(torch.nn.Module):
    """A model's score as a function of embeddings, with the captum method that integrates it.

    ``entry`` is the layer that captum integrates over.
    """

    def __init__(self, model: torch.nn.Module, scale: str, token_budget: int):
        super().__init__()
        require_captum()
        from captum.attr import LayerIntegratedGradients

        # In a list, so that the model is no child: captum's hooks go on `entry`, and the model is not touched.
        self._model = [model]
        self.entry = torch.nn.Identity()
        self.scale, self.task, self.token_budget = scale, model_task(model), token_budget
        self.method = LayerIntegratedGradients(self, self.entry)

    @property
    def table(self) -> torch.nn.Module:
        """The model's embedding table."""
        return self._model[0].get_input_embeddings()

    def logits(self, embeddings: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return float32 logits (batch, K) of embeddings (batch, length, d)."""
        return self._model[0](inputs_embeds=self.entry(embeddings), attention_mask=mask).logits.float()

    def forward(self, embeddings: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the scores (batch,) of embeddings (batch, length, d)."""
        return target_scores(self.logits(embeddings, mask), targets, self.scale, self.task)

    def attribute(self, starts, ends, mask, targets, n_steps: int) -> torch.Tensor:
        """Return attributions (n, length, d) of the straight paths from ``starts`` to ``ends``."""
        n, rows = len(ends), max(self.token_budget // ends.shape[1], 1)
        # Batches of equal size: 120 nodes in batches of 19 at most are 7 of 18, not 6 of 19 and one of 6.
        passes = -(-n_steps * n // rows)
        return self.method.attribute(
            ends,
            baselines=starts,
            additional_forward_args=(mask, targets),
            n_steps=n_steps,
            method="gausslegendre",
            internal_batch_size=max(n, n * -(-n_steps // passes)),
        ).detach()


def _encoded_records(sequences: Iterable[str]) -> list[np.ndarray]:
    encoded = EncodedSequences.encode(list(sequences))
    return [encoded[i] for i in range(len(encoded))]


def _baselines(
    table: torch.nn.Module, ids: torch.Tensor, sequences: list[str], baseline: str, n_shuffles: int, seed: int
) -> Iterator[torch.Tensor]:
    """Yield embeddings (batch, length, d) of each baseline; special tokens and padding are those of ``ids``."""
    nucleotides = ids > EOS
    if baseline == "shuffle":
        # The shuffles of a sequence depend on it and the seed alone, not on the other sequences of the batch.
        shuffles = [dinucleotide_shuffle([sequence] * n_shuffles, seed) for sequence in sequences]
        for number in range(n_shuffles):
            shuffled, _ = pad_batch(_encoded_records(copies[number] for copies in shuffles))
            yield table(shuffled.to(ids.device))
    elif baseline == "mean":
        mean = table.weight[[TOKEN_IDS[letter] for letter in NUCLEOTIDES]].mean(0)
        yield torch.where(nucleotides.unsqueeze(-1), mean, table(ids))
    else:
        yield table(torch.where(nucleotides, MASK if baseline == "mask" else TOKEN_IDS["N"], ids))


@dataclass
class _Batch:
    """A batch on its paths, and what is known of its integrals so far.

    Attributes
    ----------
    ids, mask : Tensor of int64, shape (batch, length)
    starts : list of Tensor, shape (batch, length, d) each
        Embeddings of the baselines.
    targets : Tensor of int64, shape (batch,)
    logits : ndarray of float32, shape (batch, K)
    scores, norm : ndarray of float32, shape (batch, length)
    sums, difference : ndarray of float64, shape (batch,)
        Sum of all scores; score of the sequence minus the mean score of its baselines.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    starts: list[torch.Tensor]
    targets: torch.Tensor
    logits: np.ndarray
    scores: np.ndarray
    norm: np.ndarray
    sums: np.ndarray
    difference: np.ndarray

    def result(self, row: int, n_steps: int, sequence: str, span: tuple[int, int], path: _Path, **options):
        """Return the `IntegratedGradients` of one sequence of the batch."""
        start, end = span
        inside = slice(start + 1, end + 1)  # behind <cls>
        difference = float(self.difference[row])
        return IntegratedGradients(
            sequence, start, end, int(self.targets[row]), path.task, path.scale, self.logits[row],
            self.scores[row, inside].copy(), self.norm[row, inside].copy(),
            difference, float(self.sums[row]) - difference, n_steps, **options,
        )  # fmt: skip


def integrated_gradients(
    model: torch.nn.Module,
    sequences: Sequence[str],
    *,
    target: int | str | None = None,
    scale: str | None = None,
    baseline: str = "mask",
    n_steps: int = DEFAULT_STEPS,
    tolerance: float = TOLERANCE,
    n_shuffles: int = 10,
    seed: int = 42,
    region: tuple[int, int] | None = None,
    token_budget: int | None = None,
    device: str | torch.device | None = None,
    progress: str | None = None,
) -> list[IntegratedGradients]:
    """Integrate gradients over the embedding layer with captum's ``LayerIntegratedGradients``, Gauss-Legendre nodes.

    The nodes of the quadrature run in batches under the token budget, those of several sequences together where they
    fit. Where the convergence delta exceeds ``tolerance`` of the difference between sequence and baseline, the path is
    halved and each half gets 16 nodes; a part whose delta exceeds its share of the tolerance is halved again, until 960
    more nodes were used. Trained models turn from the baseline's call to the sequence's within a few hundredths of the
    path, where more nodes along all of it help little. Sequences that do not converge are logged as a warning. The
    class is fixed on the sequence and never chosen again along the path.

    Parameters
    ----------
    model, sequences, target, region, token_budget, device, progress
        See `LAMAR.interpretation.mutagenesis.mutagenesis`.
    scale : {"log_odds", "logit", "probability"}, optional
        Score to integrate, see `LAMAR.interpretation.classifiers.target_scores`; None for the task's default.
    baseline : {"mask", "n", "mean", "shuffle"}, default "mask"
        Nucleotides of the starting point; special tokens are kept. ``mask``: ``<mask>``. ``n``: N. ``mean``: the mean
        embedding of A, C, G, T. ``shuffle``: the mean over ``n_shuffles`` dinucleotide shuffles drawn with ``seed``.
    n_steps : int, default 120
        Nodes to begin with. The number that is needed depends on the model: at random weights 16 nodes reach 1e-5,
        trained ones need hundreds.
    tolerance : float, default 0.05
        Largest accepted delta, as a share of the difference. Few nodes to begin with and a small tolerance cost least:
        16 and 1e-3.
    n_shuffles : int, default 10
        Number of baselines for ``shuffle``.
    seed : int, default 42
        Seed of the shuffles.

    Returns
    -------
    list of IntegratedGradients
        One result per sequence, in their order.

    Raises
    ------
    InputError
        For an option that does not exist, a sequence that is not nucleotides, or without the package captum.

    References
    ----------
    Sundararajan et al., ICML 2017.
    """
    check_choice("`baseline`", baseline, BASELINES)
    if n_steps < 1 or n_shuffles < 1:
        raise InputError(f"`n_steps`, `n_shuffles`: found {n_steps}, {n_shuffles}, wanted 1 or more")
    sequences = normalized_sequences(sequences)
    spans = [resolve_region(region, len(sequence)) for sequence in sequences]
    encoded = EncodedSequences.encode(sequences)
    scale = resolve_scale(scale, model_task(model))
    results: dict[int, IntegratedGradients] = {}
    with undisturbed(model, device) as chosen:
        path = _Path(model, scale, default_budget(token_budget, chosen))
        # A batch holds all nodes of its sequences where the budget allows for it.
        for indices, ids, mask in encoded_batches(encoded, max(1, path.token_budget // n_steps), chosen, progress):
            batch_sequences = [sequences[i] for i in indices]
            starts = list(_baselines(path.table, ids, batch_sequences, baseline, n_shuffles, seed))
            batch = _integrate(path, ids, mask, starts, target, n_steps)
            for row, index in enumerate(indices):
                common = {"sequence": sequences[index], "span": spans[index], "path": path}
                common |= {"baseline": baseline, "tolerance": tolerance}
                results[index] = batch.result(row, n_steps, **common)
                if not results[index].converged:
                    n_more = _refine(path, batch, row, tolerance)
                    results[index] = batch.result(row, n_steps + n_more, **common)
    _warn_of_convergence(results.values(), tolerance)
    return [results[i] for i in range(len(sequences))]


def _warn_of_convergence(results: Iterable[IntegratedGradients], tolerance: float) -> None:
    results = list(results)
    pending = [result for result in results if not result.converged]
    if not pending:
        return
    worst = max(pending, key=lambda result: abs(result.delta) / max(abs(result.difference), 1e-12))
    logger.warning(
        "integrated gradients: %d of %d sequences have a convergence delta above %.3g %% of the difference (the "
        "worst, with %d steps: delta %.3g, difference %.3g)",
        len(pending), len(results), 100 * tolerance, worst.n_steps, worst.delta, worst.difference,
    )  # fmt: skip


def _integrate(path: _Path, ids, mask, starts: list[torch.Tensor], target, n_steps: int) -> _Batch:
    """Return a batch integrated with ``n_steps`` nodes on each whole path."""
    with torch.no_grad():
        embeddings = path.table(ids)
        logits = path.logits(embeddings, mask)
        targets = torch.from_numpy(resolve_targets(logits.cpu().numpy(), target, path.task)).to(ids.device)
        output = target_scores(logits, targets, path.scale, path.task).double()
    total, reference = 0, 0
    for start in starts:
        total = total + path.attribute(start, embeddings, mask, targets, n_steps)
        with torch.no_grad():
            reference = reference + path(start, mask, targets).double()
    attribution = total / len(starts)
    scores = attribution.sum(-1, dtype=torch.float64)
    return _Batch(
        ids=ids,
        mask=mask,
        starts=starts,
        targets=targets,
        logits=logits.cpu().numpy(),
        scores=scores.float().cpu().numpy(),
        norm=attribution.norm(dim=-1).float().cpu().numpy(),
        sums=scores.sum(1).cpu().numpy(),
        difference=(output - reference / len(starts)).cpu().numpy(),
    )


def _refine(path: _Path, batch: _Batch, row: int, tolerance: float) -> int:
    """Integrate one sequence of a batch again, in parts, update the batch, and return the nodes used per baseline.

    The parts of a path add up, in attributions and in differences, so each shows by itself whether its nodes suffice.
    """
    with torch.no_grad():
        end = path.table(batch.ids[row : row + 1])
    starts = torch.cat([start[row : row + 1] for start in batch.starts]).detach()
    target = batch.targets[row : row + 1]

    def points(paths, shares):
        return torch.lerp(starts[paths], end.expand(len(paths), -1, -1), shares[:, None, None])

    def repeated(n):  # mask and class of n points
        return batch.mask[row : row + 1].expand(n, -1), target.expand(n)

    @torch.no_grad()
    def score(paths, shares):
        return path(points(paths, shares), *repeated(len(paths))).double()

    allowed = tolerance * abs(float(batch.difference[row]))
    paths = torch.arange(len(starts), device=end.device)
    low, high = torch.zeros(len(starts)).to(starts), torch.ones(len(starts)).to(starts)
    at_low, at_high = score(paths, low), score(paths, high)
    total, n_nodes = torch.zeros(end.shape[1:], dtype=torch.float64, device=end.device), 0
    while len(paths):
        middle = (low + high) / 2
        at_middle = score(paths, middle)
        low, high, paths = torch.cat([low, middle]), torch.cat([middle, high]), paths.repeat(2)
        at_low, at_high = torch.cat([at_low, at_middle]), torch.cat([at_middle, at_high])
        parts = path.attribute(points(paths, low), points(paths, high), *repeated(len(paths)), SEGMENT_STEPS)
        n_nodes += len(paths) * SEGMENT_STEPS
        missed = (parts.sum((1, 2), dtype=torch.float64) - (at_high - at_low)).abs()
        again = missed > allowed * (high - low)
        if n_nodes + 2 * int(again.sum()) * SEGMENT_STEPS > MOST_STEPS * len(starts):
            again[:] = False
        total += parts[~again].sum(0, dtype=torch.float64)
        low, high, at_low, at_high, paths = (values[again] for values in (low, high, at_low, at_high, paths))
    attribution = (total / len(starts)).cpu()
    scores = attribution.sum(-1)
    batch.scores[row], batch.norm[row] = scores.float().numpy(), attribution.norm(dim=-1).float().numpy()
    batch.sums[row] = float(scores.sum())
    return round(n_nodes / len(starts))
