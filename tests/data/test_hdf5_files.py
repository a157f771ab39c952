"""HDF5 files that declare what they do not hold, point elsewhere, or are damaged."""

from __future__ import annotations

import random
import resource

import h5py
import numpy as np
import pytest
from sequence_files import one_hot

from LAMAR.data import hdf5_files
from LAMAR.data.labelled import load_labelled
from LAMAR.errors import InputError

SEQUENCES, LABELS = ["ACGTACGT", "GGGTTTAA", "CCCCAAAT"], [1, 0, 1]


@pytest.fixture
def file(tmp_path):
    """An open HDF5 file with a readable train part."""
    with h5py.File(tmp_path / "a.h5", "w") as opened:
        opened["X_train"], opened["Y_train"] = one_hot(SEQUENCES, 8), np.array(LABELS)
        yield opened


def read(file):
    file.flush()
    path = file.filename
    file.close()
    return load_labelled(path)


def refused(file, fragment: str) -> None:
    with pytest.raises(InputError) as caught:
        read(file)
    assert "a.h5: " in str(caught.value)
    assert fragment in str(caught.value)


def test_links_inside_the_file_are_followed(file):
    file.move("X_train", "sequences")
    file["X_train"] = h5py.SoftLink("/again")
    file["again"] = h5py.SoftLink("sequences")
    assert read(file).sequences == SEQUENCES


@pytest.mark.parametrize("key", ["X_train", "Y_train"])
@pytest.mark.parametrize(
    ("target", "fragment"),
    [
        ("/nothing", "found a link to /nothing, wanted an array"),
        ("{key}", "found a link out of the file or in a circle, wanted an array"),
        ("group/array", "found a link to group/array, wanted an array"),
        ("circle_0", "found a link out of the file or in a circle, wanted an array"),
    ],
)
def test_links_that_lead_nowhere_or_in_circles(key, target, fragment, file):
    del file[key]
    file[key] = h5py.SoftLink(target.format(key=key))
    file["circle_0"], file["circle_1"] = h5py.SoftLink("circle_1"), h5py.SoftLink("circle_0")
    refused(file, f"{key}: {fragment.format(key=key)}")


def test_long_chains_of_links(file):
    file.move("X_train", "link_9")
    for i in range(9):
        file[f"link_{i}"] = h5py.SoftLink(f"link_{i + 1}")
    file["X_train"] = h5py.SoftLink("link_0")
    refused(file, "X_train: found a link out of the file or in a circle")


@pytest.fixture
def secret(tmp_path):
    """A file beside the set, of which nothing may be read."""
    with h5py.File(tmp_path / "secret.h5", "w") as opened:
        opened["X"], opened["Y"] = one_hot(SEQUENCES, 8), np.array(LABELS)
    return tmp_path / "secret.h5"


@pytest.mark.parametrize("key", ["X_train", "Y_train"])
@pytest.mark.parametrize("by_way_of_another", [False, True])
def test_links_to_other_files_are_refused(key, by_way_of_another, file, secret):
    del file[key]
    name = "other" if by_way_of_another else key
    file[name] = h5py.ExternalLink(secret.name, key[0])
    if by_way_of_another:
        file[key] = h5py.SoftLink("other")
    refused(file, f"{key}: found a link out of the file or in a circle, wanted an array")


def test_values_in_other_files_are_refused(file, secret):
    del file["Y_train"]
    file.create_dataset("Y_train", (3,), "i8", external=[(secret.name, 0, 24)])
    refused(file, "Y_train: found values in other files")


def test_views_of_other_files_are_refused(file, secret):
    del file["X_train"]
    layout = h5py.VirtualLayout((3, 8, 4), "u1")
    layout[:] = h5py.VirtualSource(secret.name, "X", (3, 8, 4))
    file.create_virtual_dataset("X_train", layout)
    refused(file, "X_train: found values in other files")


@pytest.mark.parametrize("key", ["X_train", "Y_train"])
@pytest.mark.parametrize(
    ("dtype", "fragment"),
    [
        (np.dtype([("a", "i4"), ("b", "f8")]), "found type [('a', '<i4'), ('b', '<f8')], wanted numbers"),
        (np.dtype("S3"), "found type |S3, wanted numbers"),
        (h5py.string_dtype(), "found type object, wanted numbers"),
        (h5py.ref_dtype, "found type object, wanted numbers"),
        (np.dtype("c16"), "found type complex128, wanted numbers"),
    ],
)
def test_types_that_are_no_numbers(key, dtype, fragment, file):
    shape = file[key].shape
    del file[key]
    file.create_dataset(key, shape, dtype)
    refused(file, f"{key}: {fragment}")


@pytest.mark.parametrize("key", ["X_train", "Y_train"])
def test_groups_and_single_values(key, file):
    del file[key]
    file[key] = h5py.Empty("f")
    refused(file, f"{key}: wanted an array, found a group or a single value")


@pytest.fixture
def little_memory():
    """No more than 1 GiB of address space beyond what is in use."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize("chunks", [None, True])
@pytest.mark.parametrize(
    ("key", "shape", "dtype"),
    [
        ("X_train", (10**9, 101, 4), "u1"),
        ("X_train", (3, 10**9, 4), "f8"),
        ("Y_train", (10**9,), "i8"),
        ("Y_train", (3, 10**9), "f4"),
    ],
)
def test_sizes_beyond_what_is_stored(key, shape, dtype, chunks, file, little_memory):
    del file[key]
    file.create_dataset(key, shape, dtype, chunks=chunks)
    refused(file, f"{key}: declares {' x '.join(map(str, shape))} values of {np.dtype(dtype).itemsize} bytes, but 0")


def test_chunks_beyond_what_is_stored(file, little_memory):
    del file["X_train"]
    array = file.create_dataset(
        "X_train", (3, 8, 4), "u1", chunks=(2**20, 8, 4), maxshape=(None, 8, 4), compression="gzip"
    )
    array[:] = one_hot(SEQUENCES, 8)
    # 32 MiB of zeros in a chunk of 33 kB are read; a chunk of 4 GiB would not be.
    assert read(file).sequences == SEQUENCES


def test_a_set_must_fit_into_memory(file, monkeypatch):
    monkeypatch.setattr(hdf5_files, "_FREE_BYTES", 0)
    monkeypatch.setattr(hdf5_files, "memory_limit", lambda: 20)
    # 96 values are 24 positions, of a byte each.
    refused(file, "X_train: declares 3 x 8 x 4 values")


def test_what_is_stored_may_be_compressed(tmp_path):
    n = 40_000
    x = np.zeros((n, 101, 4), dtype=np.float64)
    x[..., 0] = 1
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("X_train", data=x, compression="gzip", compression_opts=9)
        file.create_dataset("Y_train", data=np.arange(n) % 2, compression="gzip")
    assert x.nbytes > 300 * (tmp_path / "a.h5").stat().st_size
    assert load_labelled(tmp_path / "a.h5").sequences == ["A" * 101] * n


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_damaged_files_are_refused_or_read_never_a_crash(compression, tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for key, array in (("X_train", one_hot(SEQUENCES, 8)), ("Y_train", np.array(LABELS))):
            file.create_dataset(key, data=array, compression=compression, chunks=array.shape if compression else None)
    content, rng, refusals = path.read_bytes(), random.Random(0), []
    for _ in range(150):
        spoilt = bytearray(content)
        for _ in range(rng.choice([1, 2, 8])):
            start = rng.randrange(len(spoilt))
            spoilt[start : start + 8] = rng.choice(
                [rng.randbytes(1), b"\xff" * 8, bytes(8), (10**9).to_bytes(8, "little")]
            )
        path.write_bytes(spoilt[: rng.choice([len(spoilt), rng.randrange(len(spoilt))])])
        try:
            load_labelled(path)
        except InputError as error:
            refusals.append(str(error))
    assert len(refusals) > 30
    assert all(message.startswith(str(path)) for message in refusals)
