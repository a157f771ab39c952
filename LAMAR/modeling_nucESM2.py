"""LAMAR's model: an ESM-2-style encoder for nucleotides with rotary positions.

Pre-norm transformer blocks, rotary position embedding on query and key, erf GELU, a final layer norm, no dropout,
a masked-LM head whose decoder weight is its own. Parameter names equal upstream LAMAR's, so published checkpoints
load. Layers are counted from 0; ``hidden_states`` has one entry more than there are layers, and its last entry
carries the final layer norm.

Sources: Lin et al., Science 2023 (ESM-2); Su et al., 2021, arXiv 2104.09864 (rotary positions); LAMAR, bioRxiv
2024.10.12.617732.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput, SequenceClassifierOutput

from .alphabet import EOS
from .configuration import CONFIGS, EsmConfig, named_config
from .flash_attn_patch import PaddingMask, attention, resolve_backend
from .sequence_classification_patch import build_head, head_features, sequence_loss

__all__ = [
    "CONFIGS",
    "EsmConfig",
    "EsmForMaskedLM",
    "EsmForSequenceClassification",
    "EsmModel",
    "RotaryEmbedding",
    "apply_rotary_pos_emb",
    "count_parameters",
    "gelu",
    "named_config",
    "normalize_layer",
    "nucleotide_mask",
    "rotate_half",
]


def gelu(x: torch.Tensor) -> torch.Tensor:
    """GELU in its erf form, x * Phi(x), operation for operation as ESM-2 writes it.

    The fused ``torch.nn.functional.gelu`` is the same function, some 20 times as fast on a CPU, but rounds
    differently (2e-6 after three blocks). The eager backend takes this one, so that it equals upstream to the bit;
    the others take the fused one.
    """
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def rotate_half(x: torch.Tensor) -> torch.Tensor:
    """(..., d) -> (-second half, first half)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def apply_rotary_pos_emb(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate (batch, heads, length, head_dim) by the angles of its positions, in float32; dtype is kept."""
    return (x * cos + rotate_half(x) * sin).to(x.dtype)


def _rotate_without_gradient(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """:func:`apply_rotary_pos_emb` without its temporaries, equal but for rounding: 3 % of a pass on a CPU."""
    rotated, wide, half = x * cos, x.to(cos.dtype), x.shape[-1] // 2
    rotated[..., :half].addcmul_(wide[..., half:], sin[..., :half], value=-1)
    rotated[..., half:].addcmul_(wide[..., :half], sin[..., half:])
    return rotated.to(x.dtype)


class RotaryEmbedding(nn.Module):
    """Rotary position embedding of query and key (Su et al. 2021); has no parameters.

    The frequencies ``theta ** (-2 i / dim)`` are recomputed in float32 at each call: as a stored buffer they would
    be rounded by ``.half()``.
    """

    def __init__(self, dim: int, theta: float = 10000.0):
        super().__init__()
        self.dim = dim
        self.theta = theta

    def inverse_frequencies(self, device=None) -> torch.Tensor:
        """(dim / 2,), float32."""
        exponents = torch.arange(0, self.dim, 2, dtype=torch.float32, device=device) / self.dim
        return 1.0 / (self.theta**exponents)

    def cos_sin(self, length: int, device=None) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine of the angles, each (1, 1, length, dim), float32."""
        positions = torch.arange(length, dtype=torch.float32, device=device)
        angles = torch.outer(positions, self.inverse_frequencies(device))
        angles = torch.cat((angles, angles), dim=-1)[None, None]
        return angles.cos(), angles.sin()

    def forward(self, q: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotated (q, k), each (batch, heads, length, dim)."""
        cos, sin = self.cos_sin(q.shape[-2], q.device)
        return apply_rotary_pos_emb(q, cos, sin), apply_rotary_pos_emb(k, cos, sin)


def nucleotide_mask(input_ids: torch.Tensor | None, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """True on nucleotides (``<mask>``, ``<unk>`` and N included), False on ``<cls>``, ``<eos>``, ``<pad>``.

    Without ids (a forward pass from embeddings) the first and the last attended position are taken as special.

    Returns
    -------
    boolean, (batch, length)
    """
    if input_ids is not None:
        mask = input_ids > EOS
        return mask if attention_mask is None else mask & attention_mask.bool()
    keep = attention_mask.bool().clone()
    last = keep.shape[1] - 1 - keep.flip(1).int().argmax(1)
    keep[:, 0] = False
    keep[torch.arange(len(keep), device=keep.device), last] = False
    return keep


def normalize_layer(layer: int, num_hidden_layers: int) -> int:
    """0-based block index; negatives count from the end. Raises ``ValueError`` outside the model."""
    if not -num_hidden_layers <= layer < num_hidden_layers:
        raise ValueError(
            f"layer: found {layer}, wanted {-num_hidden_layers} to {num_hidden_layers - 1} "
            f"(the model has {num_hidden_layers} blocks)"
        )
    return layer % num_hidden_layers


class EsmEmbeddings(nn.Module):
    """Token embeddings; padding is zeroed. No position table, no layer norm."""

    def __init__(self, config: EsmConfig):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None) -> torch.Tensor:
        embeddings = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if attention_mask is not None:
            embeddings = embeddings * attention_mask.unsqueeze(-1).to(embeddings.dtype)
        return embeddings


class EsmSelfAttention(nn.Module):
    def __init__(self, config: EsmConfig):
        super().__init__()
        self.config = config
        self.heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden, rotary, mask):
        batch, length, width = hidden.shape

        def split(x):
            return x.view(batch, length, self.heads, self.head_dim).transpose(1, 2)

        backend = resolve_backend(self.config._attn_implementation)
        exact = backend == "eager" or torch.is_grad_enabled()
        rotate = apply_rotary_pos_emb if exact else _rotate_without_gradient
        # The scale goes in before the rotation: rounding then equals upstream's.
        query = rotate(split(self.query(hidden)) * self.head_dim**-0.5, *rotary)
        key = rotate(split(self.key(hidden)), *rotary)
        dropout = self.config.attention_probs_dropout_prob if self.training else 0.0
        context, weights = attention(
            query,
            key,
            split(self.value(hidden)),
            mask,
            backend,
            dropout,
        )
        return context.transpose(1, 2).reshape(batch, length, width), weights


class EsmSelfOutput(nn.Module):
    def __init__(self, config: EsmConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden, residual):
        return residual + self.dropout(self.dense(hidden))


class EsmAttention(nn.Module):
    def __init__(self, config: EsmConfig):
        super().__init__()
        self.self = EsmSelfAttention(config)
        self.output = EsmSelfOutput(config)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden, rotary, mask):
        context, weights = self.self(self.LayerNorm(hidden), rotary, mask)
        return self.output(context, hidden), weights


class EsmIntermediate(nn.Module):
    def __init__(self, config: EsmConfig):
        super().__init__()
        self.config = config
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, hidden):
        hidden = self.dense(hidden)
        if self.config._attn_implementation == "eager":
            return gelu(hidden)
        # In place where no gradient wants the input: 7 % of an inference pass on a CPU.
        return nn.functional.gelu(hidden) if torch.is_grad_enabled() else torch.ops.aten.gelu_(hidden)


class EsmOutput(nn.Module):
    def __init__(self, config: EsmConfig):
        super().__init__()
        self.dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden, residual):
        return residual + self.dropout(self.dense(hidden))


class EsmLayer(GradientCheckpointingLayer):
    """One pre-norm block. Returns (hidden (batch, length, d), attention weights or None)."""

    def __init__(self, config: EsmConfig):
        super().__init__()
        self.attention = EsmAttention(config)
        self.intermediate = EsmIntermediate(config)
        self.output = EsmOutput(config)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden, rotary, mask):
        hidden, weights = self.attention(hidden, rotary, mask)
        return self.output(self.intermediate(self.LayerNorm(hidden)), hidden), weights


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
        last = top if stop_after_layer is None else normalize_layer(stop_after_layer, len(self.layer))
        rotary = self.rotary.cos_sin(hidden.shape[1], hidden.device)
        states, attentions = [hidden], []
        for layer in self.layer[: last + 1]:
            hidden, weights = layer(hidden, rotary, mask)
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


class EsmPreTrainedModel(PreTrainedModel):
    config_class = EsmConfig
    base_model_prefix = "esm"
    supports_gradient_checkpointing = True
    _no_split_modules = ("EsmLayer",)
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """BERT's initialisation: normal(0, 0.02), zero biases, unit norms, zero padding row.

        Convolutions (of the CNN head, no part of the encoder) get He's: at 0.02 two of them in a row would hand
        almost nothing on.
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
        elif isinstance(module, EsmLMHead):
            init.zeros_(module.bias)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """transformers' loader, which only warns, made to refuse an incomplete encoder.

        Raises
        ------
        ValueError
            When an encoder tensor is missing or has another shape, or a tensor of the file has no place. A missing
            classification or masked-LM head is new by nature and stays allowed. For foreign or older checkpoints
            use :func:`LAMAR.checkpoints.load_pretrained`.
        """
        wants_info = kwargs.pop("output_loading_info", False)
        model, info = super().from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        missing = [key for key in info["missing_keys"] if not key.startswith(("classifier.", "lm_head."))]
        unexpected = [key for key in info["unexpected_keys"] if not key.startswith(("classifier.", "lm_head."))]
        bad = {"missing": missing, "unexpected": unexpected, "mismatched": list(info["mismatched_keys"])}
        if any(bad.values()):
            listed = "; ".join(f"{kind}: {', '.join(map(str, keys))}" for kind, keys in bad.items() if keys)
            raise ValueError(f"{pretrained_model_name_or_path}: weights do not fit the model: {listed}")
        if any(key.startswith("classifier.") for key in info["missing_keys"]):
            model.config.head_trained = False
        return (model, info) if wants_info else model


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
        """Encode a batch.

        Parameters
        ----------
        input_ids, inputs_embeds
            (batch, length) int64, or (batch, length, d) float; exactly one of them.
        attention_mask
            (batch, length), 1 on tokens and 0 on padding. Derived from ``<pad>`` when only ids are given.
        output_hidden_states
            Also return the embeddings and every block's output: blocks run + 1 entries of (batch, length, d).
        output_attentions
            Also return the weights, (batch, heads, length, length) per block; needs the eager backend.
        stop_after_layer
            0-based block after which to stop (negatives from the end); later blocks are not computed. The final
            layer norm belongs to the last block.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_attentions and resolve_backend(self.config._attn_implementation) != "eager":
            raise ValueError("output_attentions needs attn_implementation='eager': other backends keep no weights")
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


class EsmLMHead(nn.Module):
    """Dense, GELU, layer norm, decoder with a weight of its own."""

    def __init__(self, config: EsmConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.layer_norm(gelu(self.dense(hidden)))) + self.bias


class EsmForMaskedLM(EsmPreTrainedModel):
    """Encoder with the masked-LM head."""

    def __init__(self, config: EsmConfig):
        super().__init__(config)
        self.esm = EsmModel(config)
        self.lm_head = EsmLMHead(config)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head.decoder

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
        """Logits (batch, length, vocab); the loss is the mean cross-entropy over labels other than -100.

        With ``labelled_only`` the head runs where there is such a label and nowhere else: logits (n_labelled, vocab),
        in reading order. The loss is the same.
        """
        output = self.esm(
            input_ids,
            attention_mask,
            inputs_embeds,
            output_hidden_states,
            output_attentions,
            return_dict=True,
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
    """Encoder with a head for one prediction per sequence (classes, several labels, or a number)."""

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
        """Logits (batch, num_labels); the loss as ``config.loss_type`` says."""
        if input_ids is None and attention_mask is None and inputs_embeds is not None:
            attention_mask = torch.ones(inputs_embeds.shape[:2], device=inputs_embeds.device)
        output = self.esm(
            input_ids,
            attention_mask,
            inputs_embeds,
            output_hidden_states,
            output_attentions,
            return_dict=True,
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
    """Number of parameters, each shared tensor once."""
    return sum(parameter.numel() for parameter in model.parameters())
