"""Gradient saliency at the token embeddings; conventions as in `LAMAR.interpretation.attribution`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..batches import CPU_TOKEN_BUDGET, CUDA_TOKEN_BUDGET, EncodedSequences, pad_batch, token_batches
from ..runs.progress import Progress
from .attribution_results import GradientResult
from .classifiers import model_task, resolve_region, resolve_scale, resolve_targets, target_scores, undisturbed
from .edits import normalized_sequences

__all__ = ["Saliency", "default_budget", "encoded_batches", "saliency"]


@dataclass(frozen=True)
class Saliency(GradientResult):
    """Gradient of the score with respect to the token embeddings, over a range [start, end) of a sequence.

    Attributes
    ----------
    norm : ndarray of float32, shape (end - start,)
        Euclidean norm of the gradient; unsigned.
    gradient_x_input : ndarray of float32, shape (end - start,)
        Sum over dimensions of gradient times embedding; signed.
    """

    norm: np.ndarray
    gradient_x_input: np.ndarray

    def importance(self) -> np.ndarray:
        """Return the signed track, gradient times input."""
        return self.gradient_x_input

    def columns(self, scale: str) -> dict[str, np.ndarray]:
        """Return gradient times input and the norm, in the scale in which they were computed."""
        return {"gradient_x_input": self.gradient_x_input, "norm": self.norm}


def default_budget(token_budget: int | None, device: torch.device) -> int:
    """Return ``token_budget``, or the device's default for None."""
    return token_budget or (CPU_TOKEN_BUDGET if device.type == "cpu" else CUDA_TOKEN_BUDGET)


def encoded_batches(
    encoded: EncodedSequences, token_budget: int, device: torch.device, progress: str | None
) -> Iterator[tuple[np.ndarray, torch.Tensor, torch.Tensor]]:
    """Yield record indices, token ids and attention mask of each batch; the caller decides about gradients."""
    with Progress(len(encoded), "sequences", progress or "", enabled=progress is not None) as shown:
        for indices in token_batches(encoded.lengths, token_budget):
            ids, mask = pad_batch([encoded[i] for i in indices])
            yield indices, ids.to(device), mask.to(device)
            shown.advance(len(indices))


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
    """Compute the gradient of the score at the embedding output, and gradient times input.

    One forward and one backward pass give all positions of a sequence.

    Parameters
    ----------
    model, sequences, target, region, token_budget, device, progress
        See `LAMAR.interpretation.mutagenesis.mutagenesis`.
    scale : {"log_odds", "logit", "probability"}, optional
        Score to differentiate, see `LAMAR.interpretation.classifiers.target_scores`; None for the task's default.

    Returns
    -------
    list of Saliency
        One result per sequence, in their order.

    Raises
    ------
    InputError
        For a sequence that is not nucleotides, or a class, scale or region that does not exist.

    References
    ----------
    Simonyan et al., ICLR workshop 2014 (gradient); Shrikumar et al., arXiv 1605.01713, 2016 (gradient times input).
    """
    sequences = normalized_sequences(sequences)
    spans = [resolve_region(region, len(sequence)) for sequence in sequences]
    encoded = EncodedSequences.encode(sequences)
    task = model_task(model)
    scale = resolve_scale(scale, task)
    results: dict[int, Saliency] = {}
    with undisturbed(model, device) as chosen, torch.enable_grad():
        budget = default_budget(token_budget, chosen)
        for indices, ids, mask in encoded_batches(encoded, budget, chosen, progress):
            embeddings = model.get_input_embeddings()(ids).detach().requires_grad_(True)
            logits = model(inputs_embeds=embeddings, attention_mask=mask).logits.float()
            batch_logits = logits.detach().cpu().numpy()
            targets = resolve_targets(batch_logits, target, task)
            score = target_scores(logits, torch.from_numpy(targets).to(chosen), scale, task)
            (gradient,) = torch.autograd.grad(score.sum(), embeddings)
            gradient = gradient.float()
            norms = gradient.norm(dim=-1).cpu().numpy()
            products = (gradient * embeddings.detach()).sum(-1).cpu().numpy()
            for row, index in enumerate(indices):
                start, end = spans[index]
                inside = slice(start + 1, end + 1)  # behind <cls>
                results[index] = Saliency(
                    sequences[index], start, end, int(targets[row]), task, scale, batch_logits[row],
                    norms[row, inside].copy(), products[row, inside].copy(),
                )  # fmt: skip
    return [results[i] for i in range(len(sequences))]
