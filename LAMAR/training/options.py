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
    "DEFAULTS",
    "HEAD_LR",
    "LR",
    "SHIPPED_DEFAULTS",
    "EncoderOptions",
    "EpochOptions",
    "FinetuneOptions",
    "FitOptions",
    "ModelSettings",
    "OptimiserOptions",
    "TrainerOptions",
]

# Peak learning rates of a whole model, and of a head on a frozen encoder.
LR, HEAD_LR = 3e-5, 1e-3
# Head, batch size and rate of a fine-tuning that leaves them open, and of one that also leaves its start open: LAMAR's
# own for the published model, and those that docs/RESULTS.md was measured with for the small weights that ship.
DEFAULTS = {"head": "linear", "batch_size": 4, "lr": None}
SHIPPED_DEFAULTS = {"head": "mean", "batch_size": 16, "lr": 3e-4}
MAX_STEPS, UNLIMITED_STEPS = 10_000, 10_000_000


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
        Show the progress (`LAMAR.runs.progress.Progress`).
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
    batch_size: int = DEFAULTS["batch_size"]
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
    pretrain_path : str or path, optional
        Weights file or checkpoint folder; "" starts from random weights, and None from those that ship, unless
        ``config`` asks for another shape (`LAMAR.training.starting_weights`).
    batch_size : int, optional
        Records of one process's batch in training; None takes 4, or 16 from the weights that ship.
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
        As in `ModelSettings`. ``head`` None is "linear", or "mean" from the weights that ship; with ``track`` it is
        that of the weights.
    lr : float, optional
        Peak learning rate; None takes `LR`, 3e-4 from the weights that ship, and `HEAD_LR` with ``freeze_encoder``.
    metric_for_best : str, optional
        Validation metric that chooses the epoch; None takes the task's.
    cv_folds : int
        Folds over train + dev; 1 trains on the data set's own train part and validates on dev.
    """

    pretrain_path: str | PathLike | None = None
    batch_size: int | None = None
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
    head: str | None = None
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

    def completed(self, pretrain_path: str, *, is_shipped: bool = False) -> FinetuneOptions:
        """Return the same options with a start, and with a value for each that the user left to it.

        Parameters
        ----------
        pretrain_path : str
            Weights file or checkpoint folder; "" for random weights.
        is_shipped : bool
            Whether these are the weights that ship, which nobody named.
        """
        defaults = DEFAULTS | (SHIPPED_DEFAULTS if is_shipped else {})
        if self.freeze_encoder:
            del defaults["lr"]
        chosen = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        return replace(self, pretrain_path=pretrain_path, **chosen)

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
