"""LAMAR: an RNA language model, its evaluation on RNA-binding proteins, and its interpretation.

The public verbs are importable from here and loaded on first use::

    from LAMAR import embed, predict, mutagenesis, dependency_map, finetune

After ``import LAMAR``, transformers' ``AutoConfig``, ``AutoModel``, ``AutoModelForMaskedLM``,
``AutoModelForSequenceClassification`` and ``AutoTokenizer`` know LAMAR's checkpoints. This imports torch and
transformers, which takes seconds; scripts set the environment variable ``LAMAR_LIGHT=1`` first, and the Auto classes
are then registered with the first model that is loaded (`LAMAR.checkpoints`).
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__all__ = [
    "EsmConfig",
    "EsmForMaskedLM",
    "EsmForSequenceClassification",
    "EsmModel",
    "LamarTokenizer",
    "dependency_map",
    "embed",
    "finetune",
    "integrated_gradients",
    "load_classifier",
    "load_pretrained",
    "mutagenesis",
    "named_config",
    "predict",
    "read_labelled",
    "scan",
    "variant_effects",
]

__version__ = "0.1.0"

# Module of each public name, imported on first use.
_MODULES = {
    "EsmConfig": "configuration",
    "EsmForMaskedLM": "modeling_nucESM2",
    "EsmForSequenceClassification": "modeling_nucESM2",
    "EsmModel": "modeling_nucESM2",
    "LamarTokenizer": "tokenization",
    "dependency_map": "verbs.explanations",
    "embed": "verbs.models",
    "finetune": "training.finetuning",
    "integrated_gradients": "verbs.explanations",
    "load_classifier": "verbs.models",
    "load_pretrained": "checkpoints",
    "mutagenesis": "verbs.explanations",
    "named_config": "configuration",
    "predict": "verbs.models",
    "read_labelled": "verbs.models",
    "scan": "verbs.models",
    "variant_effects": "verbs.explanations",
}


# A plain import under a switch: an import hook that registers later was tried and runs into transformers' circular
# imports.
if not os.environ.get("LAMAR_LIGHT"):
    from . import auto as _auto  # noqa: F401 - registers

if TYPE_CHECKING:
    from .checkpoints import load_pretrained
    from .configuration import EsmConfig, named_config
    from .modeling_nucESM2 import EsmForMaskedLM, EsmForSequenceClassification, EsmModel
    from .tokenization import LamarTokenizer
    from .training.finetuning import finetune
    from .verbs.explanations import dependency_map, integrated_gradients, mutagenesis, variant_effects
    from .verbs.models import embed, load_classifier, predict, read_labelled, scan


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
