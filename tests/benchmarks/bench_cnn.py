"""Training of the CNN on embeddings: the project's loop beside Keras's fit, with few records and with many.

Run: python tests/benchmarks/bench_cnn.py

Both train the compiled network of `LAMAR.evaluation.cnn` on the same batches of random float16 embeddings (101 x 256)
for the same number of epochs, with a pass over validation records after each.
"""

from __future__ import annotations

import argparse

import numpy as np
from timing import benchmark_parser, side_by_side

from LAMAR.evaluation.cnn.backend import load_keras
from LAMAR.evaluation.cnn.data import Batches, Records
from LAMAR.evaluation.cnn.model import _compiled, _fit

LENGTH, WIDTH = 101, 256
SIZES = {"200 records, batches of 64": (180, 20, 64, 20), "2,560 records, batches of 256": (2_304, 256, 256, 3)}


def build_parser() -> argparse.ArgumentParser:
    parser = benchmark_parser(__doc__)
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    keras, rng = load_keras(), np.random.default_rng(0)

    class FitBatches(keras.utils.PyDataset):
        """`Batches` in the form that fit takes."""

        def __init__(self, batches):
            super().__init__()
            self.parts = list(batches.epoch())

        def __len__(self):
            return len(self.parts)

        def __getitem__(self, number):
            return self.parts[number]

    model = _compiled(LENGTH, WIDTH, "lamar", 0.99)
    for title, (n_train, n_val, batch_size, epochs) in SIZES.items():
        n = n_train + n_val
        records = Records(rng.standard_normal((n, LENGTH, WIDTH)).astype(np.float16))
        labels = rng.integers(0, 2, n).astype(np.float32)
        training = Batches(records, labels, np.arange(n_train), batch_size)
        validation = Batches(records, labels, np.arange(n_train, n), batch_size)
        pairs = FitBatches(training), FitBatches(validation)

        def loop(training=training, validation=validation, epochs=epochs):
            _fit(model, training, validation, epochs, keras.callbacks.CallbackList(add_history=True, model=model))

        def fit(pairs=pairs, epochs=epochs):
            model.fit(pairs[0], validation_data=pairs[1], epochs=epochs, shuffle=False, verbose=0)

        side_by_side(
            f"CNN on embeddings, {title}", {"loop": loop, "fit": fit}, rounds=args.rounds, records=n, epochs=epochs
        )


if __name__ == "__main__":
    main()
