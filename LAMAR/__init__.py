"""LAMAR: an RNA language model, its evaluation on RNA-binding proteins, and its interpretation.

After ``import LAMAR``, transformers' ``AutoConfig``, ``AutoModel``, ``AutoModelForMaskedLM``,
``AutoModelForSequenceClassification`` and ``AutoTokenizer`` know LAMAR's checkpoints. That takes the import of torch
and transformers, some seconds; scripts set the environment variable ``LAMAR_LIGHT=1`` first, get the reading, splitting
and metric modules without them, and the Auto classes with the first model that they load (`LAMAR.checkpoints`).
"""

from __future__ import annotations

import os

__version__ = "0.1.0"

# A plain import under a switch, on purpose: an import hook that registers later was tried and runs into
# transformers' circular imports.
if not os.environ.get("LAMAR_LIGHT"):
    from . import auto as _auto  # noqa: F401 - registers
    from .checkpoints import load_pretrained
    from .modeling_nucESM2 import EsmConfig, EsmForMaskedLM, EsmForSequenceClassification, EsmModel, named_config
    from .tokenization import LamarTokenizer

    __all__ = [
        "EsmConfig",
        "EsmForMaskedLM",
        "EsmForSequenceClassification",
        "EsmModel",
        "LamarTokenizer",
        "load_pretrained",
        "named_config",
    ]
