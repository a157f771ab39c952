"""Attribution of a classifier's call to nucleotides: all methods under one name.

Conventions. Positions are 0-based nucleotides of the sequence, special tokens excluded; ranges are half-open. Letters
are in the order A C G T. Effects are alternative minus reference. *Importance* has the opposite sign, so that every
method's track is positive where the nucleotides of the sequence speak for the class. What is explained is a score of
one class, see `LAMAR.interpretation.classifiers.target_scores`; the class is fixed on the unchanged sequence.

Every function takes many sequences and returns one result per sequence, in their order. A batch holds changed copies of
any of them under one token budget, so results do not depend on what else is explained. The model's mode, device and
``requires_grad`` are restored. Sequences are normalized first (`LAMAR.data.sequences.normalize_sequence`).
"""

from __future__ import annotations

from .attribution_results import AttributionResult
from .integrated_gradients import IntegratedGradients, integrated_gradients
from .mutagenesis import Mutagenesis, mutagenesis
from .pairwise import PairwiseMutagenesis, pairwise_mutagenesis
from .saliency import Saliency, saliency
from .window_masking import WindowMasking, window_masking

__all__ = [
    "AttributionResult",
    "IntegratedGradients",
    "Mutagenesis",
    "PairwiseMutagenesis",
    "Saliency",
    "WindowMasking",
    "integrated_gradients",
    "mutagenesis",
    "pairwise_mutagenesis",
    "saliency",
    "window_masking",
]
