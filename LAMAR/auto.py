"""Registration of LAMAR's classes with transformers' Auto classes, which importing this module performs."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from .modeling_nucESM2 import EsmConfig, EsmForMaskedLM, EsmForSequenceClassification, EsmModel
from .tokenization import LamarTokenizer

# exist_ok: transformers compares class names, and its own EsmConfig stays registered as it was.
AutoConfig.register(EsmConfig.model_type, EsmConfig)
AutoModel.register(EsmConfig, EsmModel, exist_ok=True)
AutoModelForMaskedLM.register(EsmConfig, EsmForMaskedLM, exist_ok=True)
AutoModelForSequenceClassification.register(EsmConfig, EsmForSequenceClassification, exist_ok=True)
AutoTokenizer.register(EsmConfig, tokenizer_class=LamarTokenizer, exist_ok=True)
