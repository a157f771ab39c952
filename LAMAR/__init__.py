"""LAMAR: an RNA language model, its evaluation on RNA-binding proteins, and its interpretation.

After ``import LAMAR``, transformers' ``AutoConfig``, ``AutoModel``, ``AutoModelForMaskedLM``,
``AutoModelForSequenceClassification`` and ``AutoTokenizer`` know LAMAR's checkpoints. That takes the import of torch
and transformers, some seconds; scripts that run no model set the environment variable ``LAMAR_LIGHT=1`` first and get
the reading, splitting and metric modules without them.
"""

from __future__ import annotations

import os

__version__ = "0.1.0"

# A plain import under a switch, on purpose: an import hook that registers later was tried and runs into
# transformers' circular imports.
if not os.environ.get("LAMAR_LIGHT"):
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForMaskedLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    from .checkpoints import load_pretrained
    from .modeling_nucESM2 import EsmConfig, EsmForMaskedLM, EsmForSequenceClassification, EsmModel, named_config
    from .tokenization import LamarTokenizer

    # exist_ok: transformers compares class names and has an EsmConfig of its own, which stays what it was.
    AutoConfig.register(EsmConfig.model_type, EsmConfig)
    AutoModel.register(EsmConfig, EsmModel, exist_ok=True)
    AutoModelForMaskedLM.register(EsmConfig, EsmForMaskedLM, exist_ok=True)
    AutoModelForSequenceClassification.register(EsmConfig, EsmForSequenceClassification, exist_ok=True)
    AutoTokenizer.register(EsmConfig, tokenizer_class=LamarTokenizer, exist_ok=True)

    __all__ = [
        "EsmConfig",
        "EsmForMaskedLM",
        "EsmForSequenceClassification",
        "EsmModel",
        "LamarTokenizer",
        "load_pretrained",
        "named_config",
    ]
