"""Embeddings kept on disk: computed once, then read as memory maps.

There is one folder per combination of weights, layer, pooling, dtype and sequences::

    <weights>-layer<i>-<pooling>-<dtype>-<key>/
        values.npy      (n, d), or (total nucleotides, d)
        offsets.npy     (n + 1,), pooling "none" only
        entry.json      the whole key, file sizes, library versions

An entry is written to a hidden staging folder, which is renamed when it is complete and on disk. A lock per entry,
which ends with its process, makes a second process wait for the first and read what that one wrote.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .batches import EncodedSequences
from .devices import check_choice, choose_device
from .embeddings import DTYPES, PRECISIONS, Embeddings, embedding_layout, extract_outputs, resolve_outputs
from .errors import InputError
from .runs.provenance import library_versions
from .runs.storage import partial_path, read_json, write_json

__all__ = [
    "FORMAT_VERSION",
    "cached_outputs",
    "make_cache_folder",
    "model_digest",
    "sequence_digest",
]

logger = logging.getLogger(__name__)

_PACKAGES = ("torch", "transformers", "numpy")  # what the values may depend on
# Increased when entries that older code wrote must not be read any more.
FORMAT_VERSION = 2
VALUES, OFFSETS, ENTRY = "values.npy", "offsets.npy", "entry.json"
# Fields that change the embeddings and that tensors do not show.
_ARCHITECTURE = ("num_hidden_layers", "hidden_size", "num_attention_heads", "layer_norm_eps", "rope_theta")


def model_digest(model: torch.nn.Module) -> str:
    """Return the SHA-256 (hexadecimal) of names, types, shapes and contents of the encoder's tensors, without heads."""
    digest = hashlib.sha256()
    for name, tensor in sorted(getattr(model, "esm", model).state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def sequence_digest(sequences: EncodedSequences) -> str:
    """Return the SHA-256 (hexadecimal) of the token ids of the records in their order."""
    digest = hashlib.sha256(np.ascontiguousarray(sequences.offsets, dtype="<i8"))
    digest.update(np.ascontiguousarray(sequences.ids))
    return digest.hexdigest()


def cached_outputs(
    model: torch.nn.Module,
    weights_digest: str | None,
    sequences: Sequence[str],
    outputs: Sequence[tuple[int, str]],
    *,
    dtype: str,
    cache_dir: str | Path,
    progress: str | None = None,
    token_budget: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "float32",
) -> dict[tuple[int, str], Embeddings]:
    """Return embeddings from the cache, after computing in one pass those that it lacks.

    Memory use does not grow with the number of sequences, because values are written to memory-mapped files.

    Parameters
    ----------
    model : torch.nn.Module
        See `LAMAR.embeddings.extract_outputs`.
    weights_digest : str or None
        SHA-256 of the weights file that filled the encoder. Without one ("" or None: random initialisation, weights
        trained since) `model_digest` is used.
    sequences : sequence of str, n
        Nucleotides. Their origin and their labels do not matter to the cache.
    outputs, dtype, token_budget, progress, device, precision
        See `LAMAR.embeddings.extract_outputs`. Token budget and device are not part of the key.
    cache_dir : path
        Created when missing. Entries are folders in it and may be deleted whenever no run uses them.

    Returns
    -------
    dict of (int, str) to Embeddings
        By resolved output, in the order of ``outputs``; values are read-only memory maps.

    Raises
    ------
    InputError
        As `LAMAR.embeddings.extract_outputs`; when there are no sequences, when the folder cannot be written, or when
        its disk has no room for what is missing.
    ValueError
        When ``weights_digest`` is not a SHA-256.
    """
    if not len(sequences):
        raise InputError("found no sequences to embed")
    if weights_digest and not re.fullmatch(r"[0-9a-f]{64}", weights_digest):
        raise ValueError(f"weights_digest: found {weights_digest!r}, wanted a SHA-256 in hexadecimal")
    check_choice("`dtype`", dtype, DTYPES)
    check_choice("`precision`", precision, PRECISIONS)
    device = choose_device(model, device)
    config = getattr(model, "esm", model).config
    outputs = resolve_outputs(outputs, config.num_hidden_layers)
    encoded = EncodedSequences.encode(list(sequences))
    common = {
        "format": FORMAT_VERSION,
        "weights": weights_digest or model_digest(model),
        "architecture": {name: getattr(config, name) for name in _ARCHITECTURE},
        "dtype": dtype,
        "precision": precision,
        "sequences": sequence_digest(encoded),
    }
    folder = Path(cache_dir)
    entries = {
        output: _Entry(
            folder,
            {**common, "layer": output[0], "pooling": output[1]},
            *embedding_layout(encoded, output[1], config.hidden_size),
        )
        for output in outputs
    }
    cached = {output: entry.read() for output, entry in entries.items()}
    missing = {output: entries[output] for output in outputs if cached[output] is None}
    if missing:
        options = {"token_budget": token_budget, "progress": progress, "device": device, "precision": precision}
        with _writable(folder):
            cached |= _compute(model, encoded, missing, dtype=dtype, **options)
    return {output: cached[output] for output in outputs}


def _compute(
    model: torch.nn.Module, encoded: EncodedSequences, entries: dict[tuple[int, str], _Entry], **options
) -> dict[tuple[int, str], Embeddings]:
    """Return the embeddings of entries that were missing, from another process or from a pass of the model."""
    with ExitStack() as stack:
        # In the order of names, so that no two processes wait for each other.
        for entry in sorted(entries.values(), key=lambda entry: entry.name):
            stack.enter_context(entry.locked())
        # Another process may have written them while this one waited.
        cached = {output: entry.read(warn=True) for output, entry in entries.items()}
        missing = {output: entry for output, entry in entries.items() if cached[output] is None}
        for entry in missing.values():
            _remove(entry.path)
        _check_space(next(iter(entries.values())).path.parent, sum(entry.n_bytes for entry in missing.values()))
        arrays = {output: entry.stage(stack) for output, entry in missing.items()}
        if missing:
            extract_outputs(model, encoded, list(missing), out=arrays, **options)
        for output, entry in missing.items():
            arrays.pop(output).flush()
            entry.publish()
            cached[output] = entry.read(warn=True)
            if cached[output] is None:
                raise InputError(f"`cache_dir`: {entry.path} cannot be read back after it was written")
    return cached


def make_cache_folder(folder: Path) -> None:
    """Create the cache folder; `InputError` where the file system refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"`cache_dir`: {folder} cannot be created ({error.strerror})") from error


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Create the cache folder, and turn what the file system refuses inside into an `InputError`."""
    make_cache_folder(folder)
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f"`cache_dir`: {folder}: no space left on its disk") from error
        # Writing elsewhere, or torch reading a file, does not concern the cache.
        if error.filename is not None and Path(error.filename).is_relative_to(folder):
            raise InputError(f"`cache_dir`: {folder} cannot be written ({error.strerror})") from error
        raise


def _sample_digest(path: Path) -> str:
    """Return the SHA-256 of up to 256 pieces of 4 KiB, evenly spread with both ends, which is quick to check."""
    digest, size = hashlib.sha256(), path.stat().st_size
    with open(path, "rb") as handle:
        for offset in np.unique(np.linspace(0, max(0, size - 4096), 256).astype(np.int64)):
            handle.seek(int(offset))
            digest.update(handle.read(4096))
    return digest.hexdigest()


def _check_space(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise InputError(
            f"`cache_dir`: {folder}: found {free:,} bytes free, wanted {wanted:,} for the embeddings; "
            "choose a folder on another disk"
        )


def _reserve(path: Path, n_bytes: int) -> None:
    """Reserve the blocks of a file, because a full disk would kill a process that writes through a memory map."""
    if not hasattr(os, "posix_fallocate"):
        return
    with open(path, "r+b") as handle:
        try:
            os.posix_fallocate(handle.fileno(), 0, n_bytes)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise InputError(f"`cache_dir`: {path.parent.parent}: no room for {n_bytes:,} bytes") from error
            # A file system that cannot reserve; the check of free space has to suffice.
            logger.debug("%s: space cannot be reserved (%s)", path, error.strerror)


class _Entry:
    """One layer's embeddings in the cache.

    Parameters
    ----------
    folder : Path
        The cache.
    key : dict
        What the values depend on, for JSON.
    shape : tuple of int
        Shape that the values must have.
    offsets : np.ndarray of int64, or None
        Offsets that the entry must have.
    """

    def __init__(self, folder: Path, key: dict[str, Any], shape: tuple[int, int], offsets: np.ndarray | None):
        self.key, self.shape, self.offsets = key, shape, offsets
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        # The digest alone distinguishes entries; the rest is for people who look into the folder.
        self.name = f"{key['weights'][:8]}-layer{key['layer']}-{key['pooling']}-{key['dtype']}-{digest[:32]}"
        self.path = folder / self.name
        self.staging: Path | None = None

    @property
    def n_bytes(self) -> int:
        """Size of the entry on disk in bytes, without headers and ``entry.json``."""
        values = self.shape[0] * self.shape[1] * np.dtype(self.key["dtype"]).itemsize
        return values + (0 if self.offsets is None else self.offsets.nbytes)

    def read(self, warn: bool = False) -> Embeddings | None:
        """Return the embeddings, or None where the entry is absent or damaged; ``warn`` logs what is wrong with it."""
        if not os.path.lexists(self.path):
            return None
        try:
            record = read_json(self.path / ENTRY)
            if record["key"] != self.key:
                raise ValueError(f"{ENTRY} is that of another key")
            for file, size in record["bytes"].items():
                if (n_bytes := (self.path / file).stat().st_size) != size:
                    raise ValueError(f"{file} has {n_bytes} bytes, wanted {size}")
            if _sample_digest(self.path / VALUES) != record["sample"]:
                raise ValueError(f"{VALUES} is not what was written")
            values = np.lib.format.open_memmap(self.path / VALUES, mode="r")
            if (values.shape, values.dtype) != (self.shape, np.dtype(self.key["dtype"])):
                raise ValueError(f"{VALUES} holds {values.dtype} {values.shape}, wanted {self.shape}")
            if self.offsets is not None and not np.array_equal(np.load(self.path / OFFSETS), self.offsets):
                raise ValueError(f"{OFFSETS} are not those of the sequences")
        except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
            if warn:
                logger.warning("%s: damaged, computed again (%s)", self.path, error)
            return None
        return Embeddings(values, self.offsets)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the entry's lock after waiting for the process that has it, and remove what a killed one left."""
        # The lock file stays: removed, it could be locked by two processes under one name.
        lock = os.open(self.path.with_name(f".{self.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("%s: another process computes these embeddings; waiting for it", self.path)
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:  # some network file systems have no locks
                logger.warning("%s: cannot be locked (%s); start no second run on it", self.path, error.strerror)
            for remainder in self.path.parent.glob(f".{self.name}.*.partial"):
                _remove(remainder)
            yield
        finally:
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_UN)  # forked workers hold the file open too
            os.close(lock)

    def stage(self, stack: ExitStack) -> np.memmap:
        """Return an array to be filled, in a staging folder that is removed with ``stack`` unless it was published."""
        self.staging = partial_path(self.path)
        self.staging.mkdir()
        stack.callback(_remove, self.staging)
        values = np.lib.format.open_memmap(self.staging / VALUES, mode="w+", dtype=self.key["dtype"], shape=self.shape)
        _reserve(self.staging / VALUES, (self.staging / VALUES).stat().st_size)
        return values

    def publish(self) -> None:
        """Complete the staging folder, whose values must be on disk, and move it to its place."""
        files = [VALUES]
        if self.offsets is not None:
            files.append(OFFSETS)
            with open(self.staging / OFFSETS, "wb") as handle:
                np.save(handle, self.offsets)
                handle.flush()
                os.fsync(handle.fileno())
        sizes = {file: (self.staging / file).stat().st_size for file in files}
        write_json(
            self.staging / ENTRY,
            {
                "key": self.key,
                "shape": self.shape,
                "bytes": sizes,
                "sample": _sample_digest(self.staging / VALUES),
                "versions": library_versions(_PACKAGES),
            },
        )
        try:
            os.rename(self.staging, self.path)
        except OSError as error:
            # Where locks do not work, another process may have been faster; its entry is equivalent.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
