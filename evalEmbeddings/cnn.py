"""The CNN that reads embeddings or one-hot sequence, in Keras 3: network, training, prediction.

TensorFlow by default; with KERAS_BACKEND=torch in the environment, PyTorch. Nothing heavy is imported before the first
function that needs Keras, so that ``--help`` of a script answers at once.

Recipes
-------
``doc`` has the numbers commonly written for this network: at most 30 epochs in batches of 256, early stopping after 5
epochs. On a few thousand sequences that is some ten optimiser steps an epoch: batch norm's running statistics, which
keep 99 % of themselves at each step, are still near their start after five epochs, so validation loss, computed with
them, says nothing about the weights and stops training.

``default`` has batches of 64, statistics that keep 90 %, and patience that is counted in steps too: nothing ends before
500 steps without improvement, and small sets get as many epochs as make 1,500 steps. It is the same for every
representation and every size of data set, and was chosen on validation figures of one-hot sequence.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from LAMAR.errors import InputError

if TYPE_CHECKING:
    import keras

__all__ = [
    "RECIPES",
    "REPRESENTATIONS",
    "CnnOptions",
    "Records",
    "build_cnn",
    "count_parameters",
    "load_keras",
    "predict",
    "train_cnn",
]

logger = logging.getLogger(__name__)

REPRESENTATIONS = ("one_hot", "lamar")
BLOCKS = ((64, 7, 4), (96, 5, 4), (128, 5, 2))  # filters, kernel, pool
SHORTEST = math.prod(pool for _, _, pool in BLOCKS)
REDUCED_WIDTH = 512

RECIPES = {
    "default": {
        "epochs": 30,
        "batch_size": 64,
        "patience": 5,
        "plateau_patience": 3,
        "plateau_factor": 0.2,
        "min_steps": 1500,
        "patience_steps": 500,
        "plateau_steps": 300,
        "bn_momentum": 0.9,
    },
    "doc": {
        "epochs": 30,
        "batch_size": 256,
        "patience": 5,
        "plateau_patience": 3,
        "plateau_factor": 0.2,
        "min_steps": 0,
        "patience_steps": 0,
        "plateau_steps": 0,
        "bn_momentum": 0.99,
    },
}


# ------------------------------------------------------------------------------------------------------ Keras


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep back what native code writes to file descriptor 2; shown after all when the block raises."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(saved, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@functools.cache
def load_keras(gpu: bool = False) -> ModuleType:
    """Keras on the backend that KERAS_BACKEND names, else on TensorFlow.

    Parameters
    ----------
    gpu : bool
        Let TensorFlow see the GPUs, all of whose memory it then takes. The first call decides. PyTorch takes only
        what it needs, and uses a GPU when there is one.

    Raises
    ------
    InputError
        The backend is not installed, or is neither of the two.
    """
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend not in ("tensorflow", "torch"):
        raise InputError(f"KERAS_BACKEND: found {backend!r}, wanted tensorflow or torch")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        # What TensorFlow writes before its log level holds would come with every start.
        with _quiet_stderr():
            # Keras imports TensorFlow on PyTorch too, where it is installed, to seed it.
            if backend == "tensorflow" or importlib.util.find_spec("tensorflow"):
                tensorflow = importlib.import_module("tensorflow")
                # Each model is traced anew, and after some repeats that would be a warning.
                logging.getLogger("tensorflow").setLevel(logging.ERROR)
                if not gpu:
                    tensorflow.config.set_visible_devices([], "GPU")
                tensorflow.config.experimental.enable_op_determinism()
            return importlib.import_module("keras")
    except ModuleNotFoundError as error:
        raise InputError(
            f"KERAS_BACKEND={backend}: {error.name} is not installed; pip install '.[cnn]' brings Keras and TensorFlow"
        ) from None


# -------------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True, eq=False)
class Records:
    """Records of n sequences, read in batches by their indices; memory maps stay on disk.

    Attributes
    ----------
    values : ndarray, any number type
        (n, L, d), or (total nucleotides, d) when ``offsets`` are given.
    offsets : int64 (n + 1,), optional
        Record i is ``values[offsets[i] : offsets[i + 1]]``.
    """

    values: np.ndarray
    offsets: np.ndarray | None = None

    def __post_init__(self):
        if self.offsets is None and self.values.ndim == 2:
            raise InputError("--pooling: found one vector a sequence, wanted 'none': the CNN reads every nucleotide")
        if self.values.ndim != (3 if self.offsets is None else 2):
            wanted = "(n, L, d)" if self.offsets is None else "(total, d)"
            raise ValueError(f"values: found shape {self.values.shape}, wanted {wanted}")
        if self.offsets is not None and (
            not len(self.offsets) or self.offsets[-1] > len(self.values) or (np.diff(self.offsets) < 0).any()
        ):
            raise ValueError(f"offsets: wanted n + 1 rising numbers, the last at most {len(self.values)}")
        if not len(self):
            raise InputError("the CNN found no record")

    @classmethod
    def of(cls, source: Any) -> Records:
        """Records of an array (n, L, d) or of `LAMAR.embeddings.Embeddings`; `Records` are handed through."""
        return source if isinstance(source, cls) else cls(getattr(source, "values", source), _offsets(source))

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    @property
    def width(self) -> int:
        """d, channels of a nucleotide."""
        return self.values.shape[-1]

    @functools.cached_property
    def length(self) -> int:
        """L, positions of the longest record."""
        return self.values.shape[1] if self.offsets is None else int(np.diff(self.offsets).max())

    def batch(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """float32 (len(indices), L, d): these records alone, padded at the end with zeros."""
        if self.offsets is None:
            return self.values[indices].astype(np.float32)
        batch = np.zeros((len(indices), self.length, self.width), dtype=np.float32)
        for row, i in zip(batch, indices):
            start, end = self.offsets[i], self.offsets[i + 1]
            row[: end - start] = self.values[start:end]
        return batch


def _offsets(source: Any) -> np.ndarray | None:
    offsets = getattr(source, "offsets", None)
    return None if offsets is None else np.asarray(offsets)


@functools.cache
def _batches_class() -> type:
    """The class is made when Keras is there, since it derives from one of Keras's."""

    class Batches(load_keras().utils.PyDataset):
        """Batches of records, and of labels where given; in a new order each epoch where ``seed`` is given.

        Batches differ by one record at most: a last batch of one or two records would tell batch norm nonsense.
        """

        def __init__(self, records: Records, labels, indices, batch_size: int, seed: int | None = None):
            super().__init__()
            self.records, self.labels = records, labels
            self.indices, self.seed, self.epoch = np.asarray(indices), seed, 0
            self.n_batches = math.ceil(len(self.indices) / batch_size)
            self._arrange()

        def __len__(self) -> int:
            return self.n_batches

        def __getitem__(self, number: int):
            chosen = self.parts[number]
            batch = self.records.batch(chosen)
            # A column, as the network's output is: a row of labels would be broadcast against it.
            return (batch,) if self.labels is None else (batch, self.labels[chosen][:, None])

        def _arrange(self) -> None:
            order = self.indices
            if self.seed is not None:
                order = np.random.default_rng([self.seed, self.epoch]).permutation(order)
            self.parts = np.array_split(order, self.n_batches)

        def on_epoch_end(self) -> None:
            self.epoch += 1
            self._arrange()

    return Batches


# ----------------------------------------------------------------------------------------------------- network


def build_cnn(length: int, width: int, *, representation: str, bn_momentum: float = 0.99) -> keras.Model:
    """The network, with weights drawn anew.

    Embeddings: batch norm, 1x1 convolution to 512 channels; then, and for one-hot sequence from the start: three
    blocks of same-padded convolution, batch norm, ReLU, max-pooling and dropout 0.2 (filters, kernel, pool: 64, 7, 4;
    96, 5, 4; 128, 5, 2); dense 256 with batch norm, ReLU and dropout 0.5; dense 1 with sigmoid.

    Parameters
    ----------
    length : int
        L, positions of the input.
    width : int
        d, channels of a position: 4 for one-hot sequence.
    representation : {"one_hot", "lamar"}
        ``lamar`` is for embeddings.
    bn_momentum : float
        Share of batch norm's running statistics that stays at each step.

    Returns
    -------
    keras.Model
        From float32 (n, L, d) to float32 (n, 1), the probability of label 1. The blocks' convolutions are
        He-uniform with seed 42 and so the same in every model; the other weights come from Keras's global seed.

    Raises
    ------
    InputError
        Fewer than 32 positions, of which three pools leave none.
    """
    if representation not in REPRESENTATIONS:
        raise ValueError(f"representation: found {representation!r}, wanted one of {', '.join(REPRESENTATIONS)}")
    if length < SHORTEST:
        raise InputError(
            f"the CNN pools {SHORTEST} positions into one: the longest sequence has {length} nucleotides, "
            f"wanted at least {SHORTEST}"
        )
    layers = (keras := load_keras()).layers

    def normalized(x):
        return layers.ReLU()(layers.BatchNormalization(momentum=bn_momentum)(x))

    inputs = x = keras.Input((length, width), dtype="float32")
    if representation != "one_hot":
        x = layers.Conv1D(REDUCED_WIDTH, 1)(layers.BatchNormalization(momentum=bn_momentum)(x))
    for filters, kernel, pool in BLOCKS:
        # One initializer object for several layers would warn that it draws the same numbers again.
        initializer = keras.initializers.HeUniform(seed=42)
        x = normalized(layers.Conv1D(filters, kernel, padding="same", kernel_initializer=initializer)(x))
        x = layers.Dropout(0.2)(layers.MaxPooling1D(pool)(x))
    x = layers.Dropout(0.5)(normalized(layers.Dense(256)(layers.Flatten()(x))))
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))


def count_parameters(model: keras.Model) -> int:
    """Parameters that training changes; batch norm's running statistics are none."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


# ---------------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class CnnOptions:
    """How to train; `CnnOptions.of` takes what is not given from a recipe.

    Epochs and patience count passes over the training part. Each has a floor in optimiser steps, so that small data
    sets are trained as long as they need.

    Attributes
    ----------
    recipe : {"default", "doc"}
        Where the other values came from; see the module.
    epochs, min_steps : int
        Most epochs: ``epochs``, or as many as make ``min_steps`` steps, whichever is more.
    batch_size : int
        Most records of a batch.
    lr : float
        Adam's learning rate.
    patience, patience_steps : int
        Training stops when validation loss has not improved for so many epochs, and so many steps.
    plateau_patience, plateau_steps : int
        The same for a reduction of the learning rate.
    plateau_factor : float
        What the learning rate is multiplied with then.
    bn_momentum : float
        See `build_cnn`.
    """

    recipe: str
    epochs: int
    batch_size: int
    patience: int
    plateau_patience: int
    plateau_factor: float
    min_steps: int
    patience_steps: int
    plateau_steps: int
    bn_momentum: float
    lr: float = 1e-3

    @classmethod
    def of(cls, recipe: str = "default", **changes: Any) -> CnnOptions:
        """The options of a recipe; changes that are None leave its value."""
        if recipe not in RECIPES:
            raise InputError(f"--recipe: found {recipe!r}, wanted one of {', '.join(RECIPES)}")
        changed = {name: value for name, value in changes.items() if value is not None}
        return cls(recipe=recipe, **{**RECIPES[recipe], **changed})

    def __post_init__(self):
        least = {"epochs": 1, "batch_size": 2, "patience": 1, "plateau_patience": 1}
        least |= {"min_steps": 0, "patience_steps": 0, "plateau_steps": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise InputError(f"--{name}: found {getattr(self, name)}, wanted at least {low}")
        if not 0 < self.lr < math.inf:
            raise InputError(f"--lr: found {self.lr}, wanted more than 0")
        for name in ("plateau_factor", "bn_momentum"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"--{name}: found {getattr(self, name)}, wanted between 0 and 1")

    def schedule(self, n_train: int) -> dict[str, int]:
        """``steps`` an epoch, and ``epochs``, ``patience`` and ``plateau_patience`` in epochs, for n_train records."""
        steps = math.ceil(n_train / self.batch_size)
        return {
            "steps": steps,
            "epochs": max(self.epochs, math.ceil(self.min_steps / steps)),
            "patience": max(self.patience, math.ceil(self.patience_steps / steps)),
            "plateau_patience": max(self.plateau_patience, math.ceil(self.plateau_steps / steps)),
        }


def train_cnn(
    records: Any,
    labels: np.ndarray,
    train: np.ndarray,
    val: np.ndarray,
    options: CnnOptions | None = None,
    seed: int = 0,
    *,
    representation: str = "lamar",
) -> tuple[keras.Model, dict[str, list[float]]]:
    """Train a new network; Adam, binary cross-entropy, early stopping on validation loss.

    One seed gives the same weights on one machine and thread count. It is set as the global seed of Python, numpy and
    the backend.

    Parameters
    ----------
    records : Records, array (n, L, d) or LAMAR.embeddings.Embeddings
        Read batch by batch.
    labels : (n,) of 0 and 1
    train, val : int (n_part,)
        Indices of the records to learn from and to stop by.
    options : CnnOptions, optional
        Default: ``CnnOptions.of("default")``.
    seed : int
    representation : {"one_hot", "lamar"}
        See `build_cnn`.

    Returns
    -------
    model : keras.Model
        With the weights of the epoch of the lowest validation loss.
    history : dict of list
        ``loss``, ``val_loss`` and ``learning_rate`` by epoch.

    Raises
    ------
    InputError
        An empty part, fewer than two records to learn from, sequences too short, or a loss that is no number.
    """
    keras, options, records = load_keras(), options or CnnOptions.of(), Records.of(records)
    labels = np.asarray(labels)
    if labels.shape != (len(records),) or not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels: found shape {labels.shape}, wanted ({len(records)},) of 0 and 1")
    labels = labels.astype(np.float32)
    for name, part, least in (("training", train, 2), ("validation", val, 1)):
        if len(part) < least:
            raise InputError(f"the CNN's {name} part: found {len(part)} records, wanted at least {least}")

    keras.utils.set_random_seed(seed)
    model = build_cnn(records.length, records.width, representation=representation, bn_momentum=options.bn_momentum)
    # Compiled by XLA, every new batch shape would cost seconds, and the last few steps of small sets are most of them.
    model.compile(keras.optimizers.Adam(options.lr), loss="binary_crossentropy", jit_compile=False)
    batches, plan = _batches_class(), options.schedule(len(train))
    callbacks = [
        keras.callbacks.EarlyStopping("val_loss", patience=plan["patience"], restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=options.plateau_factor, patience=plan["plateau_patience"]),
        keras.callbacks.TerminateOnNaN(),
    ]
    history = model.fit(
        batches(records, labels, train, options.batch_size, seed),
        validation_data=batches(records, labels, val, options.batch_size),
        epochs=plan["epochs"],
        callbacks=callbacks,
        shuffle=False,  # Keras would shuffle the batches' order, not what is in them
        verbose=0,
    ).history
    if not np.isfinite(history["loss"] + history.get("val_loss", [np.nan])).all():
        raise InputError("the CNN's loss is not a finite number: look at the embeddings, or lower --lr")
    history = {name: [float(value) for value in values] for name, values in history.items()}
    best = int(np.argmin(history["val_loss"]))
    logger.info(
        "CNN: %d of at most %d epochs of %d steps, lowest validation loss %.4f in epoch %d",
        len(history["loss"]),
        plan["epochs"],
        plan["steps"],
        history["val_loss"][best],
        best + 1,
    )
    return model, history


def predict(model: keras.Model, records: Any, indices: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Probability of label 1, float64 (len(indices),), in the order of ``indices``."""
    if not len(indices):
        return np.zeros(0)
    batches = _batches_class()(Records.of(records), None, indices, batch_size)
    return model.predict(batches, verbose=0)[:, 0].astype(np.float64)
