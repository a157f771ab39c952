"""The Keras CNN: network, records, training, recipes."""

from __future__ import annotations

import logging
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from LAMAR.data.one_hot import encode_one_hot
from LAMAR.embeddings import Embeddings
from LAMAR.errors import InputError
from LAMAR.statistics.metrics import auroc

pytest.importorskip("tensorflow")

MOTIF = "TGTAAATA"
LENGTH = 40


@pytest.fixture(scope="module")
def cnn():
    from LAMAR.evaluation.cnn import model

    return model


@pytest.fixture(scope="module")
def planted():
    """Random sequences, half of them with a motif at a random place: one-hot array, labels, parts."""
    rng = np.random.default_rng(0)
    labels = np.arange(640) % 2
    sequences = []
    for label in labels:
        letters = rng.choice(list("ACGT"), LENGTH)
        if label:
            start = rng.integers(LENGTH - len(MOTIF) + 1)
            letters[start : start + len(MOTIF)] = list(MOTIF)
        sequences.append("".join(letters))
    parts = np.split(rng.permutation(len(labels)), [320, 440])
    return SimpleNamespace(
        records=encode_one_hot(sequences), labels=labels, train=parts[0], val=parts[1], test=parts[2]
    )


def quick(cnn, **changes):
    return cnn.CnnOptions.from_recipe(**{"epochs": 12, "batch_size": 32, "min_steps": 0, "bn_momentum": 0.9, **changes})


@pytest.fixture(scope="module")
def trained(cnn, planted):
    model, history = cnn.train_cnn(
        planted.records, planted.labels, planted.train, planted.val, quick(cnn), seed=3, representation="one_hot"
    )
    return SimpleNamespace(model=model, history=history)


def cross_entropy(labels, p):
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return -np.mean(np.where(labels == 1, np.log(p), np.log(1 - p)))


# Network


BLOCKS = (
    "BatchNormalization (101, 64); ReLU (101, 64); MaxPooling1D (25, 64); Dropout (25, 64); "
    "Conv1D (25, 96); BatchNormalization (25, 96); ReLU (25, 96); MaxPooling1D (6, 96); Dropout (6, 96); "
    "Conv1D (6, 128); BatchNormalization (6, 128); ReLU (6, 128); MaxPooling1D (3, 128); Dropout (3, 128); "
    "Flatten (384,); Dense (256,); BatchNormalization (256,); ReLU (256,); Dropout (256,); Dense (1,)"
)


@pytest.mark.parametrize(
    ("representation", "width", "layers"),
    [
        ("one_hot", 4, f"InputLayer (101, 4); Conv1D (101, 64); {BLOCKS}"),
        ("lamar", 7, f"InputLayer (101, 7); BatchNormalization (101, 7); ReducedConv1D (101, 64); {BLOCKS}"),
    ],
)
def test_layers_and_their_shapes(cnn, representation, width, layers):
    model = cnn.build_cnn(101, width, representation=representation)
    found = []
    for layer in model.layers:
        shape = layer.output.shape[1:]
        found.append(f"{type(layer).__name__} {tuple(shape)}")
    assert found == layers.split("; ")
    assert model.layers[-1].activation.__name__ == "sigmoid"
    assert [layer.rate for layer in model.layers if type(layer).__name__ == "Dropout"] == [0.2, 0.2, 0.2, 0.5]


def test_parameter_counts_are_those_derived_by_hand(cnn):
    # A convolution has kernel * in * out weights and out biases; batch norm learns a scale and a shift a channel.
    blocks = {d: (7 * d * 64 + 64) + 128 + (5 * 64 * 96 + 96) + 192 + (5 * 96 * 128 + 128) + 256 for d in (4, 512)}
    dense = (3 * 128 * 256 + 256) + 512 + (256 + 1)
    one_hot = cnn.build_cnn(101, 4, representation="one_hot")
    assert cnn.count_parameters(one_hot) == blocks[4] + dense == 194_145
    assert one_hot.count_params() == 194_145 + 2 * (64 + 96 + 128 + 256)  # and running means and variances
    embeddings = cnn.build_cnn(101, 192, representation="lamar")
    assert cnn.count_parameters(embeddings) == 2 * 192 + (192 * 512 + 512) + blocks[512] + dense


@pytest.mark.parametrize("length", [3, 40])  # shorter than the kernel, too
def test_reduced_convolution_is_the_three_layers_it_stands_for(cnn, length):
    keras, width, rng = cnn.load_keras(), 5, np.random.default_rng(0)
    x = rng.normal(size=(2, length, width)).astype(np.float32)
    norm = keras.layers.BatchNormalization(epsilon=0)
    layers = [norm, keras.layers.Conv1D(cnn.REDUCED_WIDTH, 1), keras.layers.Conv1D(64, 7, padding="same")]
    three, reduced = keras.Sequential(layers), cnn._reduced_convolution_class()(64, 7, cnn.REDUCED_WIDTH)
    for model in (three, reduced):
        model(x)  # makes the weights
    # Scale and shift; kernel and bias; kernel and bias: none of them at the zeros and ones they start from.
    weights = [rng.normal(size=weight.shape) * 0.3 for layer in layers for weight in layer.trainable_weights]
    reduced.set_weights([weight[0] if weight.shape[:2] == (1, width) else weight for weight in weights])
    assert [weight.name for weight in reduced.weights] == [
        "gamma", "beta", "reduce_kernel", "reduce_bias", "kernel", "bias"
    ]  # fmt: skip
    norm.set_weights([*weights[:2], np.zeros(width), np.ones(width)])
    layers[1].set_weights(weights[2:4])
    layers[2].set_weights(weights[4:])
    wanted, found = (keras.ops.convert_to_numpy(model(x)) for model in (three, reduced))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(("representation", "width"), [("one_hot", 4), ("lamar", 6)])
def test_every_convolution_of_the_blocks_starts_from_seed_42(cnn, representation, width):
    first, second = (cnn.build_cnn(32, width, representation=representation) for _ in range(2))
    kernels = [[np.asarray(w) for w in model.weights if len(w.shape) == 3] for model in (first, second)]
    assert len(kernels[0]) == 3
    for a, b in zip(*kernels):
        assert np.array_equal(a, b)
        limit = np.sqrt(6 / np.prod(a.shape[:2]))  # He-uniform
        assert 0.9 * limit < np.abs(a).max() <= limit


def test_sequences_shorter_than_the_pools_are_refused(cnn):
    assert cnn.build_cnn(32, 4, representation="one_hot").output_shape == (None, 1)
    with pytest.raises(InputError, match="longest sequence has 31 nucleotides, wanted at least 32"):
        cnn.build_cnn(31, 4, representation="one_hot")
    with pytest.raises(ValueError, match="representation: found 'onehot'"):
        cnn.build_cnn(32, 4, representation="onehot")


# Records


def embeddings(lengths, width=5, dtype=np.float16):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = np.random.default_rng(1).normal(size=(offsets[-1], width)).astype(dtype)
    return Embeddings(values, offsets)


def test_ragged_and_fixed_records_give_the_same_batches(cnn):
    ragged = embeddings([3, 9, 1, 9, 4])
    fixed = np.zeros((5, 9, 5), dtype=np.float16)
    for i in range(5):
        record = ragged.values[ragged.offsets[i] : ragged.offsets[i + 1]]
        fixed[i, : len(record)] = record
    a, b = cnn.Records.from_source(ragged), cnn.Records.from_source(fixed)
    assert (len(a), a.length, a.width) == (len(b), b.length, b.width) == (5, 9, 5)
    for indices in ([0], [4, 1, 1], np.arange(5)):
        assert a.batch(indices).dtype == b.batch(indices).dtype == np.float16
        assert np.array_equal(a.batch(indices), b.batch(indices))
    assert np.array_equal(a.batch([2, 0]), fixed[[2, 0]])


def test_records_that_the_cnn_cannot_read_are_refused(cnn):
    with pytest.raises(InputError, match="`pooling`: found one vector per sequence"):
        cnn.Records.from_source(Embeddings(np.zeros((5, 8))))
    with pytest.raises(InputError, match="records: found none"):
        cnn.Records.from_source(np.zeros((0, 40, 4)))
    with pytest.raises(ValueError, match="values: found shape"):
        cnn.Records.from_source(np.zeros(5))
    with pytest.raises(ValueError, match="offsets: wanted"):
        cnn.Records.from_source(Embeddings(np.zeros((5, 8)), np.array([0, 9])))


def test_every_epoch_has_each_record_once_in_a_new_order(cnn):
    values = np.broadcast_to(np.arange(50, dtype=np.uint8)[:, None, None], (50, 2, 1))
    indices = np.arange(7, 50)

    def epochs(seed):
        batches = cnn.Batches(cnn.Records(values), np.arange(50.0), indices, 10, seed)
        orders = []
        for number in range(2):
            parts = list(batches.epoch(number))
            assert [len(x) for x, _ in parts] == [9, 9, 9, 8, 8]
            orders.append(np.concatenate([x[:, 0, 0] for x, _ in parts]))
            assert np.array_equal(np.concatenate([y[:, 0] for _, y in parts]), orders[-1])
        return orders

    first, second = epochs(0)
    assert sorted(first) == sorted(second) == indices.tolist()
    assert not np.array_equal(first, second)
    again, other = epochs(0)[0], epochs(1)[0]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(epochs(None)[1], indices)


def test_training_shows_the_model_the_new_order_of_each_epoch(cnn, planted, monkeypatch):
    seen, batch = [], cnn.Records.batch
    monkeypatch.setattr(cnn.Records, "batch", lambda self, i: seen.append(np.array(i)) or batch(self, i))
    cnn.train_cnn(
        planted.records, planted.labels, planted.train, planted.val, quick(cnn, epochs=2), representation="one_hot"
    )
    training = [i for i in seen if np.isin(i, planted.train).all()]
    epochs = [np.concatenate(training[:10]), np.concatenate(training[10:])]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(planted.train)
    assert not np.array_equal(*epochs)


# Training


def test_a_planted_motif_is_learned(cnn, planted, trained):
    p = cnn.predict(trained.model, planted.records, planted.test)
    assert p.dtype == np.float64
    assert p.shape == planted.test.shape
    assert auroc(planted.labels[planted.test], p) > 0.9


def test_one_compiled_model_serves_all_trainings_and_none_sees_another(cnn, planted, trained):
    compiled, first = cnn._compiled.cache_info().misses, cnn.predict(trained.model, planted.records, planted.test)

    def train(seed, **changes):
        parts = (planted.labels, planted.train, planted.val)
        model, _ = cnn.train_cnn(planted.records, *parts, quick(cnn, **changes), seed, representation="one_hot")
        return cnn.predict(model, planted.records, planted.test)

    other = train(4, epochs=2, lr=0.01)  # leaves another learning rate, momentum and dropout behind
    assert not np.array_equal(other, first)
    assert np.array_equal(train(3), first)
    assert np.array_equal(cnn.predict(trained.model, planted.records, planted.test), first)
    assert cnn._compiled.cache_info().misses == compiled


def test_a_cnn_that_learned_says_nothing_of_it(cnn, planted, caplog):
    options = quick(cnn, epochs=8)
    cnn.train_cnn(planted.records, planted.labels, planted.train, planted.val, options, 3, representation="one_hot")
    assert "nothing was learned" not in caplog.text


def test_shuffled_labels_are_not(cnn, planted, caplog):
    labels = np.random.default_rng(5).permutation(planted.labels)
    model, _ = cnn.train_cnn(
        planted.records, labels, planted.train, planted.val, quick(cnn, epochs=4), representation="one_hot"
    )
    assert 0.3 < auroc(labels[planted.test], cnn.predict(model, planted.records, planted.test)) < 0.7
    assert "class frequencies alone give 0.69" in caplog.text
    assert "next to nothing was learned" in caplog.text


def test_the_weights_are_those_of_the_lowest_validation_loss(cnn, planted):
    # A rate this high makes validation loss jump, so that the last epoch is hardly ever the best.
    model, history = cnn.train_cnn(
        planted.records,
        planted.labels,
        planted.train,
        planted.val,
        quick(cnn, lr=0.05, epochs=8),
        representation="one_hot",
    )
    losses = history["val_loss"]
    assert min(losses) < losses[-1]
    found = cross_entropy(planted.labels[planted.val], cnn.predict(model, planted.records, planted.val))
    assert found == pytest.approx(min(losses), abs=1e-4)


def test_one_seed_gives_the_same_model_and_another_does_not(cnn, planted):
    def trained_with(seed):
        options = quick(cnn, epochs=2)
        model, history = cnn.train_cnn(
            planted.records, planted.labels, planted.train, planted.val, options, seed, representation="one_hot"
        )
        return history, [np.asarray(weight) for weight in model.weights]

    (first, weights), (again, same), (other, _) = map(trained_with, (3, 3, 4))
    assert first == again
    assert all(np.array_equal(a, b) for a, b in zip(weights, same))
    assert first["loss"] != other["loss"]


def test_prediction_does_not_depend_on_order_or_batch_size(cnn, planted, trained):
    p = cnn.predict(trained.model, planted.records, planted.test)
    assert np.allclose(cnn.predict(trained.model, planted.records, planted.test[::-1], 7)[::-1], p, atol=1e-6)
    assert cnn.predict(trained.model, planted.records, []).shape == (0,)


def test_a_memory_map_of_float16_embeddings_trains(cnn, tmp_path):
    made = embeddings(np.random.default_rng(2).integers(32, 50, 24), width=8)
    np.save(tmp_path / "values.npy", made.values)
    source = Embeddings(np.load(tmp_path / "values.npy", mmap_mode="r"), made.offsets)
    labels, train, val = np.arange(24) % 2, np.arange(16), np.arange(16, 24)
    options = quick(cnn, epochs=1, batch_size=8)
    results = [
        cnn.train_cnn(records, labels, train, val, options, representation="lamar") for records in (source, made)
    ]
    assert results[0][1] == results[1][1]
    assert results[0][0].input_shape == (None, 49, 8)
    assert np.isfinite(cnn.predict(results[0][0], source, val)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": [0]}, "training part: found 1 records, wanted at least 2"),
        ({"val": []}, "validation part: found 0 records"),
        ({"records": np.full((640, LENGTH, 4), np.inf, np.float16)}, "loss is not a finite number"),
        ({"records": np.zeros((640, 31, 4), np.uint8)}, "wanted at least 32"),
    ],
)
def test_what_cannot_be_trained_is_told(cnn, planted, change, message):
    arguments = {"records": planted.records, "train": planted.train, "val": planted.val, **change}
    with pytest.raises(InputError, match=message):
        cnn.train_cnn(labels=planted.labels, options=quick(cnn, epochs=1), representation="one_hot", **arguments)


@pytest.mark.parametrize("labels", [np.zeros(3), np.full(640, 2)])
def test_labels_must_fit_the_records(cnn, planted, labels):
    with pytest.raises(ValueError, match=r"labels: found shape .*, wanted \(640,\) of 0 and 1"):
        cnn.train_cnn(planted.records, labels, planted.train, planted.val, quick(cnn), representation="one_hot")


# Options


def test_the_default_recipe_is_doc_with_floors_in_steps(cnn):
    differ = {name for name, value in cnn.RECIPES["doc"].items() if cnn.RECIPES["default"][name] != value}
    assert differ == {"min_steps", "patience_steps", "plateau_steps"}


def test_the_doc_recipe_has_the_usual_numbers(cnn):
    options = cnn.CnnOptions.from_recipe("doc")
    assert (options.epochs, options.batch_size, options.lr, options.patience) == (30, 256, 1e-3, 5)
    assert (options.plateau_factor, options.plateau_patience, options.bn_momentum) == (0.2, 3, 0.99)
    assert options.schedule(2822) == {"steps": 12, "epochs": 30, "patience": 5, "plateau_patience": 3}


def test_floors_in_steps_prolong_small_sets_only(cnn):
    options = cnn.CnnOptions.from_recipe(
        epochs=30, batch_size=50, patience=5, plateau_patience=3, min_steps=2000, patience_steps=500, plateau_steps=300
    )
    assert options.schedule(1001) == {"steps": 21, "epochs": 96, "patience": 24, "plateau_patience": 15}
    assert options.schedule(100_000) == {"steps": 2000, "epochs": 30, "patience": 5, "plateau_patience": 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": "best"}, "`recipe`: found 'best', wanted one of doc, default"),
        ({"epochs": 0}, "`epochs`: found 0, wanted at least 1"),
        ({"batch_size": 1}, "`batch_size`: found 1, wanted at least 2"),
        ({"lr": float("nan")}, "`lr`: found nan, wanted more than 0"),
        ({"plateau_factor": 1}, "`plateau_factor`: found 1, wanted between 0 and 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(cnn, arguments, message):
    with pytest.raises(InputError, match=message):
        cnn.CnnOptions.from_recipe(**arguments)


def test_options_that_are_none_are_the_recipes(cnn):
    assert cnn.CnnOptions.from_recipe("doc", epochs=None, lr=None) == cnn.CnnOptions.from_recipe("doc")
    assert cnn.CnnOptions.from_recipe("doc", epochs=3).epochs == 3


@pytest.mark.parametrize("recipe", ["default", "doc"])
def test_both_recipes_train(cnn, planted, recipe, caplog):
    options = cnn.CnnOptions.from_recipe(recipe, epochs=2, min_steps=0)
    with caplog.at_level(logging.INFO, logger="LAMAR.evaluation.cnn.model"):
        _, history = cnn.train_cnn(
            planted.records, planted.labels, planted.train, planted.val, options, representation="one_hot"
        )
    assert set(history) == {"loss", "val_loss", "learning_rate"}
    assert len(history["loss"]) == 2
    assert f"2 of at most 2 epochs of {options.schedule(320)['steps']} steps" in caplog.text


# Backends

IMPORT_CNN = "import sys\nsys.path.insert(0, {folder!r})\nfrom LAMAR.evaluation.cnn import model as cnn\n"


def test_import_starts_neither_keras_nor_a_backend(run_python, repo_root):
    code = IMPORT_CNN.format(folder=str(repo_root))
    code += "print({'keras', 'tensorflow', 'torch'} & set(sys.modules))"
    assert run_python(code, LAMAR_LIGHT="1") == "set()\n"


def test_a_backend_that_is_neither_is_refused(run_python, repo_root):
    code = IMPORT_CNN.format(folder=str(repo_root))
    code += "try:\n    cnn.load_keras()\nexcept cnn.InputError as error:\n    print(error)"
    assert (
        run_python(code, LAMAR_LIGHT="1", KERAS_BACKEND="jax")
        == "KERAS_BACKEND: found 'jax', wanted tensorflow or torch\n"
    )


TRAIN_ONE_EPOCH = """
import numpy as np
records, labels = np.random.default_rng(0).normal(size=(24, 40, 6)).astype(np.float16), np.arange(24) % 2
options = cnn.CnnOptions.from_recipe(epochs=1, batch_size=8, min_steps=0)
model, history = cnn.train_cnn(records, labels, np.arange(16), np.arange(16, 24), options)
p = cnn.predict(model, records, np.arange(24))
print(cnn.load_keras().backend.backend(), len(history["val_loss"]), p.shape, ((p > 0) & (p < 1)).all())
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_both_backends_train_and_write_nothing_of_theirs_to_stderr(repo_root, backend, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    code = IMPORT_CNN.format(folder=str(repo_root)) + TRAIN_ONE_EPOCH
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, f"{backend} 1 (24,) True\n"), done.stderr
    # Ours: one epoch of noise has taught the network nothing.
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["CNN"]
