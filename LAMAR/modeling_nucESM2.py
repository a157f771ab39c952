"""LAMAR's model: an ESM-2-style encoder for nucleotides with rotary positions.

Pre-norm transformer blocks, rotary position embedding on query and key, erf GELU, a final layer norm, no dropout, and
a masked-LM head whose decoder weight is not shared with the embeddings. Parameter names equal upstream LAMAR's, so that
published checkpoints load. Layers are counted from 0; ``hidden_states`` has one entry more than there are layers, and
its last entry carries the final layer norm.

References
----------
Lin et al., Science 2023 (ESM-2); Su et al., 2021, arXiv 2104.09864 (rotary positions); LAMAR, bioRxiv
2024.10.12.617732.
"""

from __future__ import annotations

import logging

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput, SequenceClassifierOutput

from .configuration import CONFIGS, EsmConfig, named_config
from .errors import InputError
from .flash_attn_patch import PaddingMask, attention, resolve_backend
from .layers import normalize_layer
from .lm_head import EsmLMHead, gelu
from .pretrained import EsmPreTrainedModel
from .rotary import RotaryEmbedding, apply_rotary_pos_emb, rotate_without_gradient
from .sequence_classification_patch import build_head, head_features, nucleotide_mask, sequence_loss

__all__ = [
    "CONFIGS",
    "EsmConfig",
    "EsmForMaskedLM",
    "EsmForSequenceClassification",
    "EsmModel",
    "count_parameters",
    "gelu",
    "named_config",
]

logger = logging.getLogger(__name__)


class EsmEmbeddings(nn.Module):
    """Token embeddings with padding zeroed, without position table and layer norm."""

    def __init__(self, config: EsmConfig):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None) -> torch.Tensor:
        embeddings = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if attention_mask is not None:
            embeddings = embeddings * attention_mask.unsqueeze(-1).to(embeddings.dtype)
        return embeddings


class EsmSelfAttention(nn.Module):
    """Multi-head attention with rotary positions, before its output projection."""

    def __init__(self, config: EsmConfig):
        super().__init__()
        self.config = config
        self.heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden, rotary, mask, backend):
        batch, length, width = hidden.shape

        def split(x):
            return x.view(batch, length, self.heads, self.head_dim).transpose(1, 2)

        exact = backend == "eager" or torch.is_grad_enabled()
        rotate = apply_rotary_pos_emb if exact else rotate_without_gradient
        # Scaled before the rotation, so that rounding equals upstream's.
        query = rotate(split(self.query(hidden)) * self.head_dim**-0.5, *rotary)
        key = rotate(split(self.key(hidden)), *rotary)
        dropout = self.config.attention_probs_dropout_prob if self.training else 0.0
        context, weights = attention(query, key, split(self.value(hidden)), mask, backend, dropout)
        return context.transpose(1, 2).reshape(batch, length, width), weights


class EsmSelfOutput(nn.Module):
    """Output projection of the attention, and the residual connection."""

    def __init__(self, config: EsmConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden, residual):
        return residual + self.dropout(self.dense(hidden))


class EsmAttention(nn.Module):
    """Layer norm, attention and residual connection: the first half of a block."""

    def __init__(self, config: EsmConfig):
        super().__init__()
        self.self = EsmSelfAttention(config)
        self.output = EsmSelfOutput(config)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden, rotary, mask, backend):
        context, weights = self.self(self.LayerNorm(hidden), rotary, mask, backend)
        return self.output(context, hidden), weights


class EsmIntermediate(nn.Module):
    """First projection of the feed-forward part, and its GELU."""

    def __init__(self, config: EsmConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, hidden, backend):
        hidden = self.dense(hidden)
        if backend == "eager":
            return gelu(hidden)
        # In place where no gradient needs the input, which saves 7 % of an inference pass on a CPU.
        return nn.functional.gelu(hidden) if torch.is_grad_enabled() else torch.ops.aten.gelu_(hidden)


class EsmOutput(nn.Module):
    """Second projection of the feed-forward part, and the residual connection."""

    def __init__(self, config: EsmConfig):
        super().__init__()
        self.dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden, residual):
        return residual + self.dropout(self.dense(hidden))


class EsmLayer(GradientCheckpointingLayer):
    """One pre-norm block, which returns hidden states (batch, length, d) and attention weights or None."""

    def __init__(self, config: EsmConfig):
        super().__init__()
        self.attention = EsmAttention(config)
        self.intermediate = EsmIntermediate(config)
        self.output = EsmOutput(config)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden, rotary, mask, backend):
        hidden, weights = self.attention(hidden, rotary, mask, backend)
        return self.output(self.intermediate(self.LayerNorm(hidden), backend), hidden), weights


class EsmEncoder(nn.Module):
    """The stack of blocks and the final layer norm."""

    def __init__(self, config: EsmConfig):
        super().__init__()
        self.config = config
        self.layer = nn.ModuleList([EsmLayer(config) for _ in range(config.num_hidden_layers)])
        self.emb_layer_norm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.rotary = RotaryEmbedding(config.hidden_size // config.num_attention_heads, config.rope_theta)

    def forward(self, hidden, mask=None, output_hidden_states=False, output_attentions=False, stop_after_layer=None):
        top = len(self.layer) - 1
        last = top if stop_after_layer is None else normalize_layer(stop_after_layer, top + 1, "stop_after_layer")
        # What all blocks share is made once: angles, the forms of the mask, the backend.
        rotary = self.rotary.cos_sin(hidden.shape[1], hidden.device)
        backend = resolve_backend(self.config._attn_implementation)
        if output_attentions and backend != "eager":
            logger.warning_once("attention weights asked for: the eager backend is used, as %s keeps none", backend)
            backend = "eager"
        states, attentions = [hidden], []
        for layer in self.layer[: last + 1]:
            hidden, weights = layer(hidden, rotary, mask, backend)
            if output_hidden_states:
                states.append(hidden)
            if output_attentions:
                attentions.append(weights)
        if last == top:
            hidden = self.emb_layer_norm_after(hidden)
            states[-1] = hidden if output_hidden_states else states[-1]
        return BaseModelOutput(
            last_hidden_state=hidden,
            hidden_states=tuple(states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )


class EsmModel(EsmPreTrainedModel):
    """The encoder without a head."""

    def __init__(self, config: EsmConfig):
        super().__init__(config)
        self.embeddings = EsmEmbeddings(config)
        self.encoder = EsmEncoder(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embeddings.word_embeddings = value

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        stop_after_layer: int | None = None,
    ):
        """Return the encoder's output for a batch.

        Parameters
        ----------
        input_ids : torch.Tensor of int64, shape (batch, length)
        attention_mask : torch.Tensor, shape (batch, length)
            1 on tokens and 0 on padding. Derived from ``<pad>`` when only ids are given.
        inputs_embeds : torch.Tensor, shape (batch, length, d)
            In place of ``input_ids``.
        output_hidden_states : bool
            Also return the embeddings and every block's output: blocks run + 1 entries of (batch, length, d).
        output_attentions : bool
            Also return the weights, (batch, heads, length, length) per block. Only the eager backend keeps them: this
            pass runs with it, and a warning says so once where the model has another.
        return_dict : bool
            False returns a tuple.
        stop_after_layer : int
            0-based block after which to stop (negative numbers count from the end); later blocks are not computed. The
            final layer norm belongs to the last block.

        Returns
        -------
        BaseModelOutput or tuple

        Raises
        ------
        InputError
            When ids and embeddings are both given or both missing, or for a block that the model does not have.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise InputError("`input_ids` and `inputs_embeds`: wanted exactly one of them")
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if attention_mask is None and input_ids is not None:
            attention_mask = input_ids.ne(self.config.pad_token_id)
        output = self.encoder(
            self.embeddings(input_ids, attention_mask, inputs_embeds),
            mask=PaddingMask.from_attention_mask(attention_mask),
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            stop_after_layer=stop_after_layer,
        )
        return output.to_tuple() if return_dict is False else output


class EsmForMaskedLM(EsmPreTrainedModel):
    """Encoder with the masked-LM head."""

    def __init__(self, config: EsmConfig):
        super().__init__(config)
        self.esm = EsmModel(config)
        self.lm_head = EsmLMHead(config)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head.decoder

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.lm_head.set_decoder(value)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        labelled_only: bool = False,
    ):
        """Return logits (batch, length, vocab), and with ``labels`` the mean cross-entropy over those other than -100.

        Parameters
        ----------
        input_ids, attention_mask, inputs_embeds, output_hidden_states, output_attentions, return_dict
            See `EsmModel.forward`.
        labels : torch.Tensor of int64, shape (batch, length)
            Token ids, -100 where nothing is predicted.
        labelled_only : bool
            Run the head only where there is a label other than -100: logits (n_labelled, vocab), in reading order. The
            loss is the same.

        Returns
        -------
        MaskedLMOutput or tuple

        Raises
        ------
        InputError
            For ``labelled_only`` without labels.
        """
        if labelled_only and labels is None:
            raise InputError("`labelled_only` needs `labels`: found none")
        output = self.esm(
            input_ids, attention_mask, inputs_embeds, output_hidden_states, output_attentions, return_dict=True
        )
        hidden = output.last_hidden_state
        if labelled_only:
            labelled = labels.ne(-100)
            hidden, labels = hidden[labelled], labels[labelled]
        logits = self.lm_head(hidden)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits.float().flatten(0, -2), labels.flatten())
        result = MaskedLMOutput(loss, logits, output.hidden_states, output.attentions)
        return result.to_tuple() if return_dict is False else result


class EsmForSequenceClassification(EsmPreTrainedModel):
    """Encoder with a head for one prediction per sequence: a class, several labels, or a number."""

    def __init__(self, config: EsmConfig):
        super().__init__(config)
        self.esm = EsmModel(config)
        self.classifier = build_head(config)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ):
        """Return logits (batch, num_labels), and with ``labels`` the loss that ``config.loss_type`` names.

        Parameters
        ----------
        input_ids, attention_mask, inputs_embeds, output_hidden_states, output_attentions, return_dict
            See `EsmModel.forward`.
        labels : torch.Tensor
            See `LAMAR.sequence_classification_patch.sequence_loss`.

        Returns
        -------
        SequenceClassifierOutput or tuple
        """
        if input_ids is None and attention_mask is None and inputs_embeds is not None:
            attention_mask = torch.ones(inputs_embeds.shape[:2], device=inputs_embeds.device)
        output = self.esm(
            input_ids, attention_mask, inputs_embeds, output_hidden_states, output_attentions, return_dict=True
        )
        nucleotides = nucleotide_mask(input_ids, attention_mask)
        features = head_features(self.config.head_type, output.last_hidden_state, nucleotides)
        logits = self.classifier(features, nucleotides)
        loss = None
        if labels is not None:
            loss = sequence_loss(logits, labels, self.config.loss_type, self.config.focal_gamma)
        result = SequenceClassifierOutput(loss, logits, output.hidden_states, output.attentions)
        return result.to_tuple() if return_dict is False else result


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters; a shared tensor counts once."""
    return sum(parameter.numel() for parameter in model.parameters())
