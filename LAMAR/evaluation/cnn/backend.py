"""Keras 3, loaded on first use: TensorFlow by default; with KERAS_BACKEND=torch in the environment, PyTorch.

Nothing heavy is imported before :func:`load_keras`, so that ``--help`` of a script answers at once.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType

from ...errors import InputError

__all__ = ["check_backend", "load_keras"]


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Withhold what native code writes to file descriptor 2, and write it after all when the block raises."""
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


def check_backend() -> str:
    """Return the name of the backend, importing none.

    Raises
    ------
    InputError
        If the environment variable ``KERAS_BACKEND`` names another backend, or Keras or the backend is not installed.
    """
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend not in ("tensorflow", "torch"):
        raise InputError(f"KERAS_BACKEND: found {backend!r}, wanted tensorflow or torch")
    for package in ("keras", backend):
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"KERAS_BACKEND={backend}: {package} is not installed; pip install '.[cnn]' brings Keras and TensorFlow"
            )
    return backend


@functools.cache
def load_keras() -> ModuleType:
    """Import and return Keras on the backend that ``KERAS_BACKEND`` names, else on TensorFlow.

    GPUs are hidden from TensorFlow, which would take all of their memory. PyTorch takes only the memory that it needs,
    and uses a GPU when there is one.

    Raises
    ------
    InputError
        As `check_backend`.
    """
    backend = check_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow writes to stderr before its log level takes effect.
    with _quiet_stderr():
        # Keras imports TensorFlow on PyTorch too, where it is installed, to seed it.
        if backend == "tensorflow" or importlib.util.find_spec("tensorflow"):
            tensorflow = importlib.import_module("tensorflow")
            # Batches of another shape are traced again, which TensorFlow warns of after some times.
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
            tensorflow.config.set_visible_devices([], "GPU")
            tensorflow.config.experimental.enable_op_determinism()
        return importlib.import_module("keras")
