"""Optimisers of pre-training that transformers' Trainer does not have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

__all__ = ["MuonWithAdamW", "split_parameters"]


def split_parameters(model: torch.nn.Module) -> tuple[list, list, list]:
    """Trained parameters: weight matrices of the encoder's blocks, other matrices, and what has one dimension.

    Embeddings and the output layer have a row for each token rather than being maps between features, which is why they
    are not among the first (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/).
    """
    inner, outer, vectors = [], [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kind = vectors if parameter.ndim != 2 else inner if ".encoder.layer." in name else outer
            kind.append(parameter)
    return inner, outer, vectors


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for matrices between features, AdamW for everything else, as one optimiser.

    Muon steps in the direction of the momentum with its singular values made equal (torch.optim.Muon; Jordan et al.,
    2024). Its step is scaled to the size of AdamW's (Liu et al., 2025, arXiv 2502.16982), so that one learning rate
    serves both. Vectors have no weight decay.

    Parameters
    ----------
    matrices, others, vectors
        Of :func:`split_parameters`.
    betas
        Of AdamW.
    """

    def __init__(
        self,
        matrices: Sequence[torch.nn.Parameter],
        others: Sequence[torch.nn.Parameter],
        vectors: Sequence[torch.nn.Parameter],
        lr: float,
        weight_decay: float,
        betas: tuple[float, float],
    ):
        muon = torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        groups = [{"params": others, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        self.parts = muon, torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)
        super().__init__([*matrices, *others, *vectors], {"lr": lr})
        self._share_groups()

    def _share_groups(self) -> None:
        """A schedule sets the learning rate in the groups of this object, which are the parts' own."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()
