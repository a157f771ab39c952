"""What trainings and whole runs can be told, each option once; names and defaults are those of the scripts' flags.

Import-light: parsers take their defaults from here without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from ..configuration import EsmConfig

__all__ = [
    "HEAD_LR",
    "LR",
    "EncoderOptions",
    "EpochOptions",
    "FinetuneOptions",
    "FitOptions",
    "ModelSettings",
    "OptimiserOptions",
    "PretrainOptions",
    "TrainerOptions",
]

# Peak learning rates of a whole model, and of a head on a frozen encoder.
LR, HEAD_LR = 3e-5, 1e-3
TOKEN_BUDGET = 8_192
MAX_STEPS, UNLIMITED_STEPS, WARMUP_STEPS = 10_000, 10_000_000, 500


@dataclass(frozen=True, kw_only=True)
class OptimiserOptions:
    """Options of every training.

    Attributes
    ----------
    weight_decay, grad_clipping_norm : float
        Weight decay of AdamW, and the norm that gradients are clipped to.
    bf16 : bool
        Train in bfloat16 instead of float32.
    seed : int
        Seed of weights, batches, masks and samples.
    """

    weight_decay: float = 0.01
    grad_clipping_norm: float = 1.0
    bf16: bool = False
    seed: int = 42


@dataclass(frozen=True, kw_only=True)
class TrainerOptions(OptimiserOptions):
    """Options of every training on a Hugging Face ``Trainer``.

    Attributes
    ----------
    accum_steps : int
        Batches per optimiser step.
    warmup_ratio : float
        Share of the steps with a rising learning rate, 0 up to, not including, 1.
    fp16 : bool
        Train in half precision (CUDA only) instead of float32.
    gradient_checkpointing : bool
        Compute activations again in the backward pass: less memory, more time.
    logging_steps : int
        Steps between two entries of the log.
    report_to : str
        ``none``, or services joined by commas, such as ``tensorboard``.
    progress : bool
        Show progress bars.
    """

    accum_steps: int = 1
    warmup_ratio: float = 0.05
    fp16: bool = False
    gradient_checkpointing: bool = False
    logging_steps: int = 50
    report_to: str = "none"
    progress: bool = True

    # Options that are newer than runs that may still be resumed: recorded only where they differ from their default.
    added_later: ClassVar[tuple[str, ...]] = ()

    def recorded(self, **others: Any) -> dict[str, Any]:
        """Return the arguments that a run's ``run.json`` holds: these options, without ``progress``, and ``others``."""
        values = asdict(self)
        del values["progress"]
        for field in fields(self):
            if field.name in self.added_later and values[field.name] == field.default:
                del values[field.name]
        return values | others


@dataclass(frozen=True, kw_only=True)
class EpochOptions(TrainerOptions):
    """Options of a training that is counted in epochs.

    Attributes
    ----------
    epochs : int
    batch_size, eval_batch_size : int
        Records of one process's batch, in training and in validation.
    early_stopping_patience : int, optional
        Epochs without a better validation score after which training stops; None trains all epochs.
    save_epochs : int
        Epochs between two evaluations, each with a checkpoint.
    """

    epochs: int = 10
    batch_size: int = 4
    eval_batch_size: int = 32
    early_stopping_patience: int | None = None
    save_epochs: int = 1


@dataclass(frozen=True, kw_only=True)
class FitOptions(EpochOptions):
    """Options of one fold's training (`LAMAR.training.fitting.fit`).

    Attributes
    ----------
    task : str
        A name of `LAMAR.tasks.TASKS`.
    lr : float
        Peak learning rate.
    metric_for_best : str
        Name of the validation metric that chooses the epoch.
    """

    task: str = "classification"
    lr: float = LR
    metric_for_best: str = "auprc"


@dataclass(frozen=True)
class ModelSettings:
    """What is fine-tuned: the source of the weights, head, loss, and the part of the model that is trained.

    Attributes
    ----------
    pretrain_path : str
        Weights file or checkpoint folder; "" starts from random weights.
    config : EsmConfig, optional
        Shape of the encoder; None takes that of the weights.
    num_labels : int
        Outputs of the head.
    head : str
        A name of `LAMAR.tasks.HEADS`.
    loss : str, optional
        A name of `LAMAR.tasks.LOSSES`; None takes the task's default.
    attention : str
        Attention backend, as `LAMAR.flash_attn_patch.resolve_backend` gives it.
    freeze_encoder : bool
        Train the head only, on features computed once.
    lora_rank : int, optional
        Train updates of query and value of this rank, and the head.
    warmup_epochs : int
        Epochs of the head alone before the whole model is trained.
    head_lr : float
        Peak learning rate of the head alone, with a frozen encoder and in the warm-up.
    track : str, optional
        Output of the weights whose head a classifier of two classes starts with (`LAMAR.training.track_heads`).
    """

    pretrain_path: str = ""
    config: EsmConfig | None = None
    num_labels: int = 2
    head: str = "linear"
    loss: str | None = None
    attention: str = "sdpa"
    freeze_encoder: bool = False
    lora_rank: int | None = None
    warmup_epochs: int = 0
    head_lr: float = HEAD_LR
    track: str | None = None


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """Where the encoder's weights come from, and its shape.

    Attributes
    ----------
    pretrain_path : str or path
        Weights file or checkpoint folder; "" starts from random weights.
    tokenizer_path : path, optional
        Tokenizer that must agree with LAMAR's.
    config : str, optional
        Name of a configuration (``lamar``, ``lamar-mini``, ``lamar-tiny``) or a ``config.json``; None takes that of
        the weights, or ``lamar`` without any.
    attention : {"auto", "eager", "sdpa", "flash"}
    """

    pretrain_path: str | PathLike = ""
    tokenizer_path: str | PathLike | None = None
    config: str | None = None
    attention: str = "auto"


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions(EncoderOptions, EpochOptions):
    """Options of a whole fine-tuning run (`LAMAR.training.finetuning.finetune`).

    Attributes
    ----------
    sequence_column, label_column : str, optional
        Columns of tables that have other names than ``sequence`` and ``label``.
    split : {"auto", "given", "random", "chromosome", "cluster"}
        How train, dev and test are made, see `LAMAR.data.splits.make_split`.
    test_chroms, dev_chroms : sequence of str
        Chromosomes of the test and dev parts of a split by chromosome.
    allow_duplicates, drop_duplicates : bool
        Accept the same sequence in several parts, or keep only its records in the test part (else in dev).
    subsample_pos, subsample_neg : int, optional
        Positives and negatives to draw from each training part.
    draws : int
        With ``cv_folds`` 1 and a subsample: draws from the train part, each with its own model.
    max_length, truncate
        Largest number of tokens of a sequence, two of them special; whether longer ones are truncated.
    nlabels : int
        Number of classes, of yes/no labels (``loss`` "bce"), or 1 for regression.
    head, loss, freeze_encoder, lora_rank, warmup_epochs, track
        As in `ModelSettings`. With ``track``, ``head`` is that of the weights.
    lr : float, optional
        Peak learning rate; None takes `LR`, and `HEAD_LR` with ``freeze_encoder``.
    metric_for_best : str, optional
        Validation metric that chooses the epoch; None takes the task's.
    cv_folds : int
        Folds over train + dev; 1 trains on the data set's own train part and validates on dev.
    """

    sequence_column: str | None = None
    label_column: str | None = None
    split: str = "auto"
    test_chroms: Sequence[str] = ()
    dev_chroms: Sequence[str] = ()
    allow_duplicates: bool = False
    drop_duplicates: bool = False
    subsample_pos: int | None = None
    subsample_neg: int | None = None
    draws: int = 1
    max_length: int = 1026
    truncate: bool = False
    nlabels: int = 2
    head: str = "linear"
    loss: str | None = None
    freeze_encoder: bool = False
    lora_rank: int | None = None
    lr: float | None = None
    warmup_epochs: int = 0
    metric_for_best: str | None = None
    cv_folds: int = 5
    track: str | None = None

    added_later: ClassVar[tuple[str, ...]] = (
        *("dev_chroms", "drop_duplicates", "label_column", "sequence_column", "track", "weight_decay"),
    )

    def __post_init__(self):
        # One form of what a parser gives as lists and a caller as lists or a text, so that equal options are equal.
        for name in ("test_chroms", "dev_chroms"):
            chroms = getattr(self, name) or ()
            chroms = chroms.replace(",", " ").split() if isinstance(chroms, str) else chroms
            object.__setattr__(self, name, tuple(chroms))

    def fit_options(self, task: str, best_metric: str) -> FitOptions:
        """Return the options of one fold's training; ``best_metric`` chooses the epoch unless the user named one."""
        shared = {field.name: getattr(self, field.name) for field in fields(EpochOptions)}
        metric = self.metric_for_best or best_metric
        return FitOptions(**shared, task=task, lr=self.lr or LR, metric_for_best=metric)

    def model_settings(self, config: EsmConfig | None, attention: str) -> ModelSettings:
        """Return what a fold trains, with the configuration and the attention backend that the names stand for."""
        return ModelSettings(
            pretrain_path=str(self.pretrain_path),
            config=config,
            num_labels=self.nlabels,
            head=self.head,
            loss=self.loss,
            attention=attention,
            freeze_encoder=self.freeze_encoder,
            lora_rank=self.lora_rank,
            warmup_epochs=self.warmup_epochs,
            head_lr=self.lr if self.freeze_encoder and self.lr else HEAD_LR,
            track=self.track,
        )


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(EncoderOptions, TrainerOptions):
    """Options of a whole pre-training run (`LAMAR.training.pretraining.pretrain`).

    Attributes
    ----------
    val_data : sequence of path
        Corpus to validate on.
    val_fraction : float
        Without ``val_data``: share of the sequences held out.
    val_nucleotides : int
        Held-out nucleotides to validate on, approximately at most.
    exclude : sequence of path
        Corpus that must stay unseen, such as test sets.
    exclude_run : int
        Training records that share that many nucleotides in a row with a validation sequence or one of ``exclude``
        are left out; 0 leaves out only equals of validation sequences.
    sequence_column : str, optional
        Column or key of sequences, where it is neither ``sequence`` nor ``seq``; in ``data_path`` and ``val_data``.
    streaming, keep_duplicates : bool
        Read the files again in each pass instead of keeping them in memory; train on every copy of a sequence.
    model_max_length : int
        Largest number of tokens of a window, two of them special; longer sequences are cut into windows.
    hidden_size, intermediate_size, num_attention_heads, num_hidden_layers : int, optional
        In place of the configuration's.
    flash_attention : bool
        The same as ``attention`` "flash".
    mask_rate, val_mask_rate : float
        Share of the nucleotides to predict, in training and in validation.
    region_rates : (float, float), optional
        Relative rates inside and outside the peaks of window metadata; each window's share stays ``mask_rate``.
    span_length : int
        Nucleotides masked in a row.
    data_collator_patch : bool
        Replace nucleotides by nucleotides only; this always applies, the option is accepted for old command lines.
    token_budget, batch_size : int, optional
        Size of a process's batch, in tokens with padding, or in windows of ``model_max_length`` tokens.
    max_steps : int, optional
        Optimiser steps; None takes 10,000, or with ``max_minutes`` no limit.
    max_minutes : float, optional
        Time in training steps, over all starts. With the trapezoid schedule the learning rate begins to fall early
        enough to have fallen by then.
    peak_lr, schedule
        Peak learning rate, and a name of `LAMAR.training.schedules.SCHEDULES`.
    warmup_steps : int, optional
        Steps with a rising rate; None follows ``warmup_ratio``.
    decay_ratio : float
        Trapezoid: share of the steps with a falling rate.
    compile : bool
        Use ``torch.compile``.
    markov_order : int
        Largest order of the Markov chains to compare with.
    save_steps, eval_steps : int
        Steps between two checkpoints, and between two evaluations (None: as ``save_steps``).
    """

    val_data: Sequence[str | PathLike] = ()
    val_fraction: float = 0.02
    val_nucleotides: int = 200_000
    exclude: Sequence[str | PathLike] = ()
    exclude_run: int = 30
    sequence_column: str | None = None
    streaming: bool = False
    keep_duplicates: bool = False
    model_max_length: int = 512
    hidden_size: int | None = None
    intermediate_size: int | None = None
    num_attention_heads: int | None = None
    num_hidden_layers: int | None = None
    flash_attention: bool = False
    mask_rate: float = 0.15
    val_mask_rate: float = 0.15
    region_rates: Sequence[float] | None = None
    span_length: int = 1
    data_collator_patch: bool = False
    token_budget: int | None = None
    batch_size: int | None = None
    max_steps: int | None = None
    max_minutes: float | None = None
    peak_lr: float = 1e-4
    schedule: str = "trapezoid"
    warmup_steps: int | None = None
    decay_ratio: float = 0.2
    compile: bool = False
    markov_order: int = 10
    save_steps: int = 500
    eval_steps: int | None = None

    added_later: ClassVar[tuple[str, ...]] = ("sequence_column",)

    def completed(self) -> PretrainOptions:
        """Return the same options with a number wherever None stands for a default that follows from others."""
        budget = self.token_budget
        if self.batch_size is not None:
            budget = self.batch_size * self.model_max_length
        unlimited = self.max_steps is None and self.max_minutes is not None
        max_steps = self.max_steps or (UNLIMITED_STEPS if unlimited else MAX_STEPS)
        warmup_steps = self.warmup_steps
        if warmup_steps is None:
            warmup_steps = WARMUP_STEPS if unlimited else round(self.warmup_ratio * max_steps)
        return replace(
            self,
            token_budget=budget or TOKEN_BUDGET,
            max_steps=max_steps,
            warmup_steps=warmup_steps,
            eval_steps=self.eval_steps or self.save_steps,
        )
