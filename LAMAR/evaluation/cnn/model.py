"""The CNN that reads embeddings or one-hot sequence, in Keras 3: network, training, prediction.

Options of training are those of `LAMAR.evaluation.cnn.options`.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import entropy

from ...errors import InputError
from ...runs.progress import Progress
from .backend import load_keras
from .data import Batches, Records
from .options import RECIPES, CnnOptions

if TYPE_CHECKING:
    import keras

__all__ = [
    "RECIPES",
    "REPRESENTATIONS",
    "CnnOptions",
    "build_cnn",
    "check_length",
    "count_parameters",
    "has_learned",
    "predict",
    "train_cnn",
]

logger = logging.getLogger(__name__)

REPRESENTATIONS = ("one_hot", "lamar")
BLOCKS = ((64, 7, 4), (96, 5, 4), (128, 5, 2))  # filters, kernel, pool
SHORTEST = math.prod(pool for _, _, pool in BLOCKS)
REDUCED_WIDTH = 512
# Share of the loss that class frequencies give: above it, training is reported as having learned nothing.
LEARNED_NOTHING = 0.97

# ----------------------------------------------------------------------------------------------------- network


@functools.cache
def _reduced_convolution_class() -> type:
    """Return the layer's class, which is defined late because it derives from a class of Keras."""
    keras = load_keras()

    @keras.saving.register_keras_serializable("LAMAR")
    class ReducedConv1D(keras.layers.Layer):
        """Scale and shift of a batch norm, 1x1 convolution to ``reduced`` channels, same-padded convolution.

        The three are linear, with nothing between them, so their weights are multiplied first and the sequence is
        convolved once: same function, parameters and gradients, a third of the arithmetic at width 256 and half of it
        at 768. A channel of ones carries the biases of the first two, which the convolution's padding cuts off at the
        ends.
        """

        def __init__(self, filters: int, kernel_size: int, reduced: int, **options):
            super().__init__(**options)
            self.filters, self.kernel_size, self.reduced = filters, kernel_size, reduced

        def build(self, input_shape):
            width, initializers = input_shape[-1], keras.initializers
            self.gamma = self.add_weight(shape=(width,), initializer="ones", name="gamma")
            self.beta = self.add_weight(shape=(width,), initializer="zeros", name="beta")
            self.reduce_kernel = self.add_weight(
                shape=(width, self.reduced), initializer="glorot_uniform", name="reduce_kernel"
            )
            self.reduce_bias = self.add_weight(shape=(self.reduced,), initializer="zeros", name="reduce_bias")
            self.kernel = self.add_weight(
                shape=(self.kernel_size, self.reduced, self.filters),
                initializer=initializers.HeUniform(seed=42),
                name="kernel",
            )
            self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

        def call(self, x):
            ops = keras.ops
            shift = ops.matmul(self.beta[None], self.reduce_kernel) + self.reduce_bias
            reduce = ops.concatenate([self.gamma[:, None] * self.reduce_kernel, shift])
            x = ops.concatenate([x, ops.ones_like(x[..., :1])], axis=-1)
            return ops.conv(x, ops.matmul(reduce[None], self.kernel), padding="same") + self.bias

        def get_config(self):
            names = ("filters", "kernel_size", "reduced")
            return super().get_config() | {name: getattr(self, name) for name in names}

    return ReducedConv1D


def check_length(length: int, name: str = "the CNN") -> None:
    """Raise unless the CNN's pools leave a position of the longest sequence.

    Parameters
    ----------
    length : int
        Positions of the longest sequence.
    name : str
        Data set that the message names.

    Raises
    ------
    InputError
        If there are fewer than 32 positions.
    """
    if length < SHORTEST:
        raise InputError(
            f"{name}: the longest sequence has {length} nucleotides, wanted at least {SHORTEST}, "
            "which the CNN pools into one"
        )


def build_cnn(length: int, width: int, *, representation: str, bn_momentum: float = 0.99) -> keras.Model:
    """Return the network with newly drawn weights.

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
        Kind of input: ``lamar`` for embeddings.
    bn_momentum : float
        Share of batch norm's running statistics that stays at each step.

    Returns
    -------
    keras.Model
        From float32 (n, L, d) to float32 (n, 1), the probability of label 1. The blocks' convolutions are
        He-uniform with seed 42 and therefore the same in every model; other weights come from Keras's global seed.

    Raises
    ------
    InputError
        If there are fewer than 32 positions, of which three pools leave none.
    """
    if representation not in REPRESENTATIONS:
        raise ValueError(f"representation: found {representation!r}, wanted one of {', '.join(REPRESENTATIONS)}")
    check_length(length)
    layers = (keras := load_keras()).layers

    def normalized(x):
        return layers.ReLU()(layers.BatchNormalization(momentum=bn_momentum)(x))

    inputs = x = keras.Input((length, width), dtype="float32")
    for filters, kernel, pool in BLOCKS:
        if x is inputs and representation != "one_hot":
            # Its scale and shift are part of the convolutions.
            x = layers.BatchNormalization(momentum=bn_momentum, center=False, scale=False)(x)
            convolution = _reduced_convolution_class()(filters, kernel, REDUCED_WIDTH)
        else:
            # One initializer object for several layers would warn that it draws the same numbers again.
            initializer = keras.initializers.HeUniform(seed=42)
            convolution = layers.Conv1D(filters, kernel, padding="same", kernel_initializer=initializer)
        x = layers.Dropout(0.2)(layers.MaxPooling1D(pool)(normalized(convolution(x))))
    x = layers.Dropout(0.5)(normalized(layers.Dense(256)(layers.Flatten()(x))))
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x), name=representation)


@functools.cache
def _compiled(length: int, width: int, representation: str, bn_momentum: float) -> keras.Model:
    """Return the one model of a shape that trains and predicts, with the variables of the model that it replaces.

    TensorFlow never releases the 30 MB that a compiled model takes: one for each training would fill the memory.
    """
    keras = load_keras()
    model = build_cnn(length, width, representation=representation, bn_momentum=bn_momentum)
    # With XLA, every new batch shape would cost seconds, which for small sets is most of the time.
    model.compile(keras.optimizers.Adam(), loss="binary_crossentropy", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def _stand_in(model: keras.Model) -> keras.Model:
    """Return the compiled model of this shape with ``model``'s variables: weights, statistics, seeds of dropout."""
    _, length, width = model.input_shape
    momentum = next(layer.momentum for layer in model.layers if hasattr(layer, "momentum"))
    compiled = _compiled(length, width, model.name, momentum)
    _copy_variables(model, compiled)
    return compiled


def _copy_variables(source: keras.Model, target: keras.Model) -> None:
    for variable, value in zip(target.variables, source.variables, strict=True):
        variable.assign(value)


def count_parameters(model: keras.Model) -> int:
    """Return the number of parameters that training changes; batch norm's running statistics are not among them."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


# ---------------------------------------------------------------------------------------------------- training


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
    """Train a new network by Adam on binary cross-entropy, with early stopping on validation loss.

    The same seed gives the same weights on one machine and thread count. It becomes the global seed of Python, NumPy
    and the backend.

    Parameters
    ----------
    records : Records, array (n, L, d) or LAMAR.embeddings.Embeddings
        Read batch by batch.
    labels : array of 0 and 1, shape (n,)
    train, val : int, shape (n_part,)
        Indices of the records to learn from and to stop by.
    options : CnnOptions, optional
        None takes the default recipe.
    seed : int
    representation : {"one_hot", "lamar"}
        See `build_cnn`.

    Returns
    -------
    model : keras.Model
        With the weights of the epoch with the lowest validation loss.
    history : dict of list of float
        ``loss``, ``val_loss`` and ``learning_rate`` by epoch.

    Raises
    ------
    InputError
        For an empty part, fewer than two records to learn from, sequences that are too short, or a loss that is not a
        finite number.
    ValueError
        For labels of another shape or other values.
    """
    keras, options, records = load_keras(), options or CnnOptions.from_recipe(), Records.from_source(records)
    labels = np.asarray(labels)
    if labels.shape != (len(records),) or not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels: found shape {labels.shape}, wanted ({len(records)},) of 0 and 1")
    labels = labels.astype(np.float32)
    for name, part, smallest in (("training", train, 2), ("validation", val, 1)):
        if len(part) < smallest:
            raise InputError(f"the CNN's {name} part: found {len(part)} records, wanted at least {smallest}")

    shape = {"representation": representation, "bn_momentum": options.bn_momentum}
    _compiled(records.length, records.width, **shape)  # before the seed, because it draws numbers too
    keras.utils.set_random_seed(seed)
    model = build_cnn(records.length, records.width, **shape)
    compiled = _stand_in(model)
    for variable in compiled.optimizer.variables:
        variable.assign(keras.ops.zeros_like(variable))
    compiled.optimizer.learning_rate = options.lr
    plan = options.schedule(len(train))
    callbacks = [
        keras.callbacks.EarlyStopping("val_loss", patience=plan["patience"], restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=options.plateau_factor, patience=plan["plateau_patience"]),
        keras.callbacks.TerminateOnNaN(),
    ]
    history = _fit(
        compiled,
        Batches(records, labels, train, options.batch_size, seed),
        Batches(records, labels, val, options.batch_size),
        plan["epochs"],
        keras.callbacks.CallbackList(callbacks, add_history=True, model=compiled),
    )
    if not np.isfinite(history["loss"] + history["val_loss"]).all():
        raise InputError("the CNN's loss is not a finite number: look at the embeddings, or lower `lr`")
    _copy_variables(compiled, model)
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
    if not has_learned(history, labels[val]):
        logger.warning(
            "CNN: lowest validation loss %.4f, class frequencies alone give %.4f: next to nothing was learned",
            history["val_loss"][best],
            _loss_of_frequencies(labels[val]),
        )
    return model, history


def _loss_of_frequencies(labels: np.ndarray) -> float:
    """Return the cross-entropy of predicting the share of label 1 for every record."""
    share = np.mean(labels)
    return float(entropy([share, 1 - share]))


def has_learned(history: Mapping[str, Sequence[float]], labels: np.ndarray) -> bool:
    """Return whether the lowest validation loss is at most 97 % of what class frequencies alone give.

    Parameters
    ----------
    history : mapping of sequence of float
        As `train_cnn` returns it.
    labels : array of 0 and 1, shape (n_val,)
        Labels of the validation part.
    """
    return min(history["val_loss"]) <= LEARNED_NOTHING * _loss_of_frequencies(labels)


def _fit(
    model: keras.Model, training: Batches, validation: Batches, epochs: int, callbacks: keras.callbacks.CallbackList
) -> dict[str, list]:
    """Do what ``model.fit`` does, without the tf.data pipelines that it builds twice per epoch.

    With a few hundred records those cost up to half of the time (tests/benchmarks/bench_cnn.py).
    """
    model.stop_training = False
    callbacks.on_train_begin()
    # Early stopping may end the training before.
    with Progress(epochs * training.n_batches, "steps", "CNN") as shown:
        for epoch in range(epochs):
            callbacks.on_epoch_begin(epoch)
            losses = []
            for step, batch in enumerate(training.epoch(epoch)):
                losses.append(_loss_on_batch(model, model.train_on_batch, batch))
                callbacks.on_train_batch_end(step, {"loss": losses[-1][0]})
                shown.advance(1)
                if model.stop_training:
                    break
            val_losses = [_loss_on_batch(model, model.test_on_batch, batch) for batch in validation.epoch()]
            figures = {"loss": _mean_loss(losses), "val_loss": _mean_loss(val_losses)}
            callbacks.on_epoch_end(epoch, figures)
            shown.advance(0, epoch=epoch + 1, loss=figures["loss"], validation_loss=figures["val_loss"])
            if model.stop_training:
                break
    callbacks.on_train_end()
    return model.history.history


def _loss_on_batch(model: keras.Model, function: Callable, batch: tuple[np.ndarray, ...]) -> tuple[float, int]:
    """Return the loss of this batch alone, by train_on_batch or test_on_batch, and its number of records."""
    model.reset_metrics()  # some versions of Keras return means over all batches since the last reset
    return float(function(*batch, return_dict=True)["loss"]), len(batch[0])


def _mean_loss(batches: list[tuple[float, int]]) -> float:
    """Return the mean loss over records, from (loss, number of records) of each batch."""
    losses, sizes = zip(*batches)
    return float(np.average(losses, weights=sizes))


def predict(model: keras.Model, records: Any, indices: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Return the probability of label 1, float64 (len(indices),), in the order of ``indices``.

    Parameters
    ----------
    model : keras.Model
        As `train_cnn` returns it.
    records : Records, array (n, L, d) or LAMAR.embeddings.Embeddings
    indices : int, shape (n_part,)
    batch_size : int
    """
    if not len(indices):
        return np.zeros(0)
    compiled, batches = _stand_in(model), Batches(Records.from_source(records), None, indices, batch_size)
    parts = [compiled.predict_on_batch(*batch) for batch in batches.epoch()]
    return np.concatenate(parts)[:, 0].astype(np.float64)
