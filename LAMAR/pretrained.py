"""What LAMAR's models share: how weights are initialised, and loading that verifies every tensor."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from .alphabet import VOCABULARY
from .checkpoint_configs import check_sizes, read_config
from .checkpoint_files import (
    FLOAT_DTYPES,
    canonical_name,
    half_heads,
    head_of,
    stored_tensors,
    tensor_problem,
    why_left_out,
)
from .configuration import EsmConfig
from .errors import InputError, shortened

__all__ = ["EsmPreTrainedModel"]

logger = logging.getLogger(__name__)

# Arguments of from_pretrained that say that weights are not those of `model.safetensors` in the folder itself.
_OTHER_SOURCES = ("state_dict", "gguf_file", "subfolder", "variant")


class EsmPreTrainedModel(PreTrainedModel):
    """Initialisation, and loading that verifies every tensor."""

    config_class = EsmConfig
    base_model_prefix = "esm"
    supports_gradient_checkpointing = True
    _no_split_modules = ("EsmLayer",)
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise a module as BERT does: normal(0, 0.02), zero biases, unit norms, zero padding row.

        Convolutions (of classification heads, not of the encoder) get He's initialisation: with a standard deviation of
        0.02, two of them in a row would let almost no signal through.
        """
        if isinstance(module, nn.Conv1d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            init.zeros_(module.bias)
        elif isinstance(module, nn.Linear | nn.Embedding):
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)
            if getattr(module, "bias", None) is not None:
                init.zeros_(module.bias)
            # While from_pretrained fills a model, a row write would spoil what was just loaded.
            if getattr(module, "padding_idx", None) is not None and not getattr(
                module.weight, "_is_hf_initialized", False
            ):
                init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(getattr(module, "bias", None), nn.Parameter):
            init.zeros_(module.bias)  # of the masked-LM head

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Change the number of tokens of the embeddings and, with a masked-LM head, of its decoder and bias.

        Parameters
        ----------
        new_num_tokens, pad_to_multiple_of : int, optional
            The wanted number, rounded up to a multiple.
        mean_resizing : bool
            New tokens start as the mean of those there are: the head gives them the mean of the others' logits. False
            draws them as a new model's, with a bias of zero.

        Returns
        -------
        nn.Embedding

        Raises
        ------
        InputError
            For fewer than LAMAR's ten tokens.
        """
        if new_num_tokens is not None and new_num_tokens < len(VOCABULARY):
            raise InputError(f"`new_num_tokens`: found {new_num_tokens}, wanted LAMAR's {len(VOCABULARY)} or more")
        n_tokens = self.get_input_embeddings().num_embeddings
        embeddings = super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        if mean_resizing and self.get_output_embeddings() is not None:
            bias = self.lm_head.bias.data
            bias[n_tokens:] = bias[:n_tokens].mean()
        return embeddings

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path, *args, ignore_mismatched_sizes=False, output_loading_info=False, **kwargs
    ):
        """Return a model from a checkpoint folder after verifying its tensors; used by the Auto classes too.

        Arguments are those of transformers' method, except that the model is float32 unless ``dtype`` is given,
        whatever the file stores. A head that the checkpoint lacks is freshly initialised with a warning, and
        ``config.head_trained`` is then False. Upstream's files and those of older code are read by
        `LAMAR.checkpoints.load_pretrained`.

        Parameters
        ----------
        ignore_mismatched_sizes : bool
            Start tensors of a head afresh where their shapes in the checkpoint differ, as with another ``num_labels``.
            The encoder must fit in any case.
        output_loading_info : bool
            Also return transformers' report, a dictionary.

        Raises
        ------
        InputError
            When an encoder tensor is missing or has another shape, a dtype is not floating point, a value is not
            finite, a tensor of the checkpoint has no place in the model, or a head is there in part.
        """
        if not any(kwargs.get(name) for name in _OTHER_SOURCES):
            _check_folder(pretrained_model_name_or_path, kwargs.get("config"))
        if all(kwargs.get(name) is None for name in ("dtype", "torch_dtype", "quantization_config")):
            kwargs["dtype"] = torch.float32
        with _without_load_report():
            model, info = super().from_pretrained(
                pretrained_model_name_or_path, *args, ignore_mismatched_sizes=True, output_loading_info=True, **kwargs
            )
        mismatched = {name: (list(found), list(wanted)) for name, found, wanted in info["mismatched_keys"]}
        untrained = {*info["missing_keys"], *mismatched}
        problems = _problems(model, untrained, mismatched, info["unexpected_keys"], ignore_mismatched_sizes)
        source = pretrained_model_name_or_path
        if problems:
            hint = _hint(model, info["unexpected_keys"])
            raise InputError(f"{source}: weights do not fit the model: {'; '.join(problems)}{hint}")
        if untrained:
            logger.warning("%s: head freshly initialised, not trained: %s", source, shortened(sorted(untrained), 6))
        if info["unexpected_keys"]:
            logger.info("%s: head left out: %s", source, shortened(sorted(info["unexpected_keys"]), 6))
        if any(head_of(name) == "classification head" for name in untrained):
            model.config.head_trained, model.config.window_length = False, None
        return (model, info) if output_loading_info else model


def _check_folder(source, config) -> None:
    """Raise `InputError` for a folder whose tensors are not of the configuration's sizes or not floating point.

    transformers would fill the memory with a model of the wrong sizes before it reports them, and convert integers.
    """
    if not isinstance(source, str | PathLike) or not (Path(source) / "config.json").is_file():
        return
    if (Path(source) / "adapter_config.json").is_file():  # the weights are another folder's
        return
    if not isinstance(config, EsmConfig):
        config = read_config(Path(source) / "config.json")
    stored = stored_tensors(source)
    check_sizes(config, {name: shape for name, (_, shape) in stored.items()}, source)
    wrong = [
        f"{name} ({dtype})"
        for name, (dtype, _) in stored.items()
        if dtype not in FLOAT_DTYPES and not why_left_out(canonical_name(name))
    ]
    if wrong:
        kinds = "floating point of 16, 32 or 64 bits"
        raise InputError(f"{source}: weights do not fit the model: wanted {kinds}, found {shortened(wrong, 2)}")


@contextmanager
def _without_load_report() -> Iterator[None]:
    """Silence transformers' table of tensors: what is new or left out is logged here, in one line each."""

    def is_another(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    transformers_logger = logging.getLogger("transformers.modeling_utils")
    transformers_logger.addFilter(is_another)
    try:
        yield
    finally:
        transformers_logger.removeFilter(is_another)


def _problems(model, untrained: set[str], mismatched: dict, unexpected: set[str], new_shapes: bool) -> list[str]:
    """Return what is wrong with a model that transformers has filled, one phrase each."""
    refused = {name: shapes for name, shapes in mismatched.items() if not (new_shapes and head_of(name))}
    kinds = {
        "missing": [name for name in untrained - mismatched.keys() if not head_of(name)],
        "unexpected": [name for name in unexpected if not head_of(name)],
        "mismatched": [f"{name} (found shape {found}, wanted {wanted})" for name, (found, wanted) in refused.items()],
        "not finite": [
            name
            for name, tensor in model.state_dict().items()
            if name not in untrained and not tensor.is_meta and tensor_problem(name, tensor, tensor)
        ],
    }
    problems = [f"{kind}: {shortened(sorted(names), 2)}" for kind, names in kinds.items() if names]
    missing = untrained - mismatched.keys()
    return problems + half_heads({*model.state_dict(), *unexpected} - missing, list(model.state_dict()))


def _hint(model, unexpected: set[str]) -> str:
    """Return where to turn with a file whose names `load_pretrained` knows and transformers does not."""
    prefix = "" if hasattr(model, "esm") else "esm."
    names = {prefix + name for name in model.state_dict()}
    known = [name for name in map(canonical_name, unexpected) if name in names or why_left_out(name)]
    return ". LAMAR.load_pretrained reads files of upstream and of wrapped models" if known else ""
