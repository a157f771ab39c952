"""The model's configuration, which refuses what LAMAR's architecture does not have."""

from __future__ import annotations

import math

import torch
from transformers import PreTrainedConfig

from .alphabet import CLS, EOS, MASK, PAD, VOCABULARY
from .errors import InputError, excerpt, quoted, shortened
from .tasks import HEADS, LOSSES

__all__ = ["CONFIGS", "EsmConfig", "named_config"]

# Keys that configuration files of older transformers versions contain and no encoder reads. Any other key that is not a
# field is refused: with a misspelt field that was silently kept, this pipeline once lost its rotary positions.
_LEGACY_KEYS = frozenset(
    """_name_or_path _commit_hash add_cross_attention architectures attn_implementation auto_map bad_words_ids
    begin_suppress_tokens bos_token_id cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample
    early_stopping encoder_no_repeat_ngram_size esmfold_config exponential_decay_length_penalty finetuning_task
    forced_bos_token_id forced_eos_token_id gradient_checkpointing hidden_act is_decoder is_folding_model length_penalty
    max_length min_length model_type name_or_path no_repeat_ngram_size num_beam_groups num_beams num_labels
    num_return_sequences output_attentions output_scores prefix pruned_heads remove_invalid_values repetition_penalty
    return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss
    tie_encoder_decoder tokenizer_class top_k top_p torch_dtype torchscript typical_p use_bfloat16 use_cache
    use_return_dict vocab_list experts_implementation per_layer_config""".split()
)
# Keys whose value would change the model: only LAMAR's value is accepted.
_FIXED = {
    "add_cross_attention": (False, None),
    "is_decoder": (False, None),
    "is_folding_model": (False, None),
    "hidden_act": ("gelu", None),
    "emb_layer_norm_before": (False, None),
    "token_dropout": (False, None),
    "position_embedding_type": ("rotary",),
    "pad_token_id": (PAD,),
    "mask_token_id": (MASK,),
}
# Larger sizes are typing errors, which a model would be built of until memory is full. The largest ESM-2 has 48 blocks
# and tensors of 2**27 values.
_LARGEST = 2**20
_MOST_BLOCKS = 2**10
_LARGEST_TENSOR = 2**30
_SIZES = (
    "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size head_channels head_kernel_size "
    "max_position_embeddings"
).split()
_PROBABILITIES = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")
# The products of sizes that are the largest tensors of the encoder and of its heads.
_TENSORS = (
    ("vocab_size", "hidden_size"),
    ("hidden_size", "hidden_size"),
    ("hidden_size", "intermediate_size"),
    ("hidden_size", "head_channels", "head_kernel_size"),
    ("head_channels", "head_channels", "head_kernel_size"),
    ("hidden_size", "num_labels"),
)
_HANDLED_BY_BASE = (
    "_commit_hash attn_implementation experts_implementation name_or_path num_labels output_attentions torch_dtype"
).split()


class EsmConfig(PreTrainedConfig):
    """Configuration of the model; the defaults are those of the published LAMAR.

    ``positional_embedding_type`` is accepted as a second name of ``position_embedding_type``. ``tie_word_embeddings``
    is read and set to False, because the masked-LM decoder does not share the embeddings' weight.

    Parameters
    ----------
    vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size : int
        Sizes of the encoder.
    max_position_embeddings : int
        Upstream's field, kept in files. It is not a limit: rotary positions have no longest sequence.
    rope_theta : float
        Base of the rotary frequencies.
    head_type : str
        A key of `LAMAR.tasks.HEADS`, for sequence classification.
    loss_type : str, optional
        A key of `LAMAR.tasks.LOSSES`; None chooses by the labels.
    focal_gamma : float
        Exponent of the focal loss.
    classifier_dropout : float
        Dropout of the classification head.
    head_channels, head_kernel_size : int
        Width and kernel size, in nucleotides, of convolutional heads.
    window_length : int, optional
        Length in nucleotides of the longest window that the head was trained on; None where it is not recorded.
    head_trained : bool
        True in checkpoints whose classification head was trained; interpretation refuses others.

    Raises
    ------
    InputError
        For contradictions, unknown keys, and anything that LAMAR's architecture lacks (absolute positions, decoder,
        token dropout).
    """

    model_type = "lamar"

    vocab_size: int = 10
    pad_token_id: int | None = PAD
    mask_token_id: int | None = MASK
    cls_token_id: int | None = CLS
    eos_token_id: int | list[int] | None = EOS
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_dropout_prob: float | None = 0.0
    attention_probs_dropout_prob: float | None = 0.0
    max_position_embeddings: int = 1026
    rope_theta: float = 10000.0
    initializer_range: float = 0.02
    layer_norm_eps: float | None = 1e-5
    position_embedding_type: str | None = "rotary"
    emb_layer_norm_before: bool | None = False
    token_dropout: bool | None = False
    tie_word_embeddings: bool = False
    classifier_dropout: float | None = 0.0
    head_type: str = "linear"
    head_channels: int = 64
    head_kernel_size: int = 7
    loss_type: str | None = None
    focal_gamma: float = 2.0
    window_length: int | None = None
    head_trained: bool = False

    def __post_init__(self, **kwargs):
        alias = kwargs.pop("positional_embedding_type", None)
        if alias is not None and alias != self.position_embedding_type:
            raise InputError(
                f"config: positional_embedding_type={quoted(alias)} contradicts position_embedding_type="
                f"{quoted(self.position_embedding_type)}. Checkpoints of code that misspelt the field ran with "
                "absolute positions whatever the misspelt field says"
            )
        unknown = sorted(set(kwargs) - _LEGACY_KEYS)
        if unknown:
            raise InputError(f"config: unknown keys {shortened(map(excerpt, unknown))}")
        if kwargs.get("per_layer_config"):
            raise InputError("config: per_layer_config: found sizes of single blocks, LAMAR's blocks have one size")
        for key, allowed in _FIXED.items():
            value = kwargs.get(key, getattr(self, key, allowed[0]))
            if value not in allowed:
                raise InputError(f"config: {key}: found {quoted(value)}, LAMAR has {allowed[0]!r}")
        backend = kwargs.get("attn_implementation")
        if backend is not None and not isinstance(backend, str):
            raise InputError(f"config: attn_implementation: found {quoted(backend)}, wanted the name of a backend")
        if kwargs.get("num_labels") is None:
            kwargs.pop("num_labels", None)
        self._check_sizes(kwargs.get("num_labels"))
        self._check_labels()
        self._check_numbers()
        for key, table in (("head_type", HEADS), ("loss_type", LOSSES)):
            value = getattr(self, key)
            if not (isinstance(value, str) and value in table) and (key, value) != ("loss_type", None):
                raise InputError(f"config: {key}: found {quoted(value)}, wanted one of {', '.join(table)}")
        self.tie_word_embeddings = False
        for key in _PROBABILITIES:
            setattr(self, key, getattr(self, key) or 0.0)
        try:
            super().__post_init__(**{key: kwargs[key] for key in _HANDLED_BY_BASE if key in kwargs})
        except (ValueError, TypeError, AttributeError, KeyError) as error:  # what transformers checks itself
            raise InputError(f"config: {error}") from error

    def _check_sizes(self, num_labels) -> None:
        sizes = {key: getattr(self, key) for key in _SIZES}
        if num_labels is not None:
            sizes["num_labels"] = num_labels
        if self.window_length is not None:
            sizes["window_length"] = self.window_length
        for key, value in sizes.items():
            most = _MOST_BLOCKS if key == "num_hidden_layers" else _LARGEST
            if type(value) is not int or not 1 <= value <= most:
                raise InputError(f"config: {key}: found {quoted(value)}, wanted a whole number from 1 to {most}")
        for keys in _TENSORS:
            if math.prod(sizes.get(key, 1) for key in keys) > _LARGEST_TENSOR:
                found = " x ".join(f"{key} {sizes[key]}" for key in keys if key in sizes)
                raise InputError(f"config: {found}: wanted at most {_LARGEST_TENSOR} values in a tensor")
        n_tokens = len(VOCABULARY)
        if self.vocab_size < n_tokens:
            raise InputError(f"config: vocab_size: found {self.vocab_size}, wanted LAMAR's {n_tokens} tokens or more")
        if self.hidden_size % self.num_attention_heads or (self.hidden_size // self.num_attention_heads) % 2:
            raise InputError(
                f"config: hidden_size {self.hidden_size} over num_attention_heads {self.num_attention_heads} "
                "does not give an even head dimension"
            )

    def _check_labels(self) -> None:
        names = self.id2label
        if names is not None and not (isinstance(names, dict) and {*map(str, names)} == {*map(str, range(len(names)))}):
            raise InputError(f"config: id2label: found {quoted(names)}, wanted a name for each label 0, 1, ...")
        if self.label2id is not None and not isinstance(self.label2id, dict):
            raise InputError(f"config: label2id: found {quoted(self.label2id)}, wanted the label of each name")
        dtype = getattr(torch, self.dtype, None) if isinstance(self.dtype, str) else self.dtype
        if self.dtype is not None and not isinstance(dtype, torch.dtype):
            raise InputError(f"config: dtype: found {quoted(self.dtype)}, wanted the name of one, such as float32")
        if not isinstance(self.head_trained, bool):
            raise InputError(f"config: head_trained: found {quoted(self.head_trained)}, wanted true or false")

    def _check_numbers(self) -> None:
        for key in ("layer_norm_eps", "rope_theta", "initializer_range"):
            value = getattr(self, key)
            if not isinstance(value, int | float) or not 0 < value < math.inf:
                raise InputError(f"config: {key}: found {quoted(value)}, wanted a finite number above 0")
        for key in _PROBABILITIES:
            value = getattr(self, key)
            if value is not None and not (isinstance(value, int | float) and 0 <= value < 1):
                raise InputError(
                    f"config: {key}: found {quoted(value)}, wanted a number from 0 up to, not including, 1"
                )
        if not isinstance(self.focal_gamma, int | float) or not 0 <= self.focal_gamma < math.inf:
            raise InputError(f"config: focal_gamma: found {quoted(self.focal_gamma)}, wanted a finite number from 0")


CONFIGS = {
    # The published model.
    "lamar": {},
    # For CPUs and for the weights that ship.
    "lamar-mini": {
        "hidden_size": 256,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
    },
    # For tests and the demo.
    "lamar-tiny": {
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 256,
    },
}


def named_config(name: str, **overrides) -> EsmConfig:
    """Return the configuration of that name with some fields overridden.

    Parameters
    ----------
    name : str
        A key of `CONFIGS`.
    **overrides
        Fields of `EsmConfig`.

    Raises
    ------
    InputError
        For an unknown name.
    """
    if name not in CONFIGS:
        raise InputError(f"`config`: found {quoted(name)}, wanted one of {', '.join(CONFIGS)}")
    return EsmConfig(**{**CONFIGS[name], **overrides})
