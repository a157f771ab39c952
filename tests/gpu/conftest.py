"""Fixtures of the tests on a GPU: skipped without one, unless rehearsed; figures in the report; memory that returns."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gpu_runs
import pytest
import torch
from gpu_runs import DEVICE, IS_REHEARSAL, NOTES

HERE = Path(__file__).resolve().parent
SKIPPED = "no CUDA device; LAMAR_GPU_REHEARSAL=1 runs it on the CPU with tiny models"
MOST_LEFT = 2**20  # bytes
FAILED = pytest.StashKey[bool]()

# Read when CUDA starts: matrix products that are the same in every run.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if HERE not in item.path.resolve().parents:
            continue
        # A warning that only a GPU gives is to be read in the report; it must not hide what follows.
        item.add_marker(pytest.mark.filterwarnings("default"))
        if IS_REHEARSAL and os.environ.get("LAMAR_GPU_REHEARSAL") != "1":
            item.add_marker(pytest.mark.skip(reason=SKIPPED))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.stash[FAILED] = not report.passed
    return report


def pytest_terminal_summary(terminalreporter) -> None:
    if not NOTES:
        return
    name = "rehearsal on the CPU" if IS_REHEARSAL else torch.cuda.get_device_name()
    terminalreporter.section(f"figures ({name}, torch {torch.__version__})")
    for line in NOTES:
        terminalreporter.write_line(line)


def allocated_bytes() -> int:
    """Return the bytes of tensors on the GPU; 0 on the CPU."""
    if IS_REHEARSAL:
        return 0
    torch.cuda.synchronize()
    # Work space of matrix products is kept by thread and stream, and belongs to no test.
    getattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None)()
    return torch.cuda.memory_allocated()


@pytest.fixture(scope="session", autouse=True)
def settled_device() -> Iterator[None]:
    """Turn TF32 off, and let libraries take the memory that they keep, in the forward and in the backward thread."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = torch.ones(16, 16, device=DEVICE, dtype=dtype, requires_grad=True)
        torch.nn.functional.linear(x, x, x[0]).sum().backward()
    yield
    torch.backends.cudnn.allow_tf32 = before[0]
    torch.set_float32_matmul_precision(before[1])


@pytest.fixture(autouse=True)
def memory_returns(request, settled_device) -> Iterator[None]:
    """Assert that a test leaves nothing in the GPU's memory."""
    before = allocated_bytes()
    yield
    # The traceback of a test that failed holds its tensors.
    if not request.node.stash.get(FAILED, False):
        if (left := allocated_bytes() - before) >= MOST_LEFT:
            gc.collect()
            left = allocated_bytes() - before
        assert left < MOST_LEFT, f"{left / 2**20:.1f} MiB of the GPU's memory did not return"


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Let every operation choose an implementation that gives the same bits in each run; those without one raise."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture(scope="session")
def motif_set(tmp_path_factory) -> Path:
    return gpu_runs.write_motif_set(tmp_path_factory.mktemp("motif"))


@pytest.fixture(scope="session", autouse=True)
def cpu_finetuning(request, tmp_path_factory) -> Iterator[subprocess.Popen | None]:
    """Process that fine-tunes on the CPU from the first test on, where a test will compare figures with it."""
    if not any("cpu_figures" in getattr(item, "fixturenames", ()) for item in request.session.items):
        yield None
        return
    root = HERE.parents[1]
    path = os.pathsep.join(filter(None, [str(root), str(HERE.parent), os.environ.get("PYTHONPATH", "")]))
    folder = tmp_path_factory.mktemp("cpu")
    command = [sys.executable, gpu_runs.__file__, str(request.getfixturevalue("motif_set")), str(folder)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    process.log = folder / "log"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture(scope="session")
def cpu_figures(cpu_finetuning) -> dict[str, float]:
    """Test AUROC on the CPU by the name of the options."""
    output, _ = cpu_finetuning.communicate(timeout=600)
    assert cpu_finetuning.returncode == 0, cpu_finetuning.log.read_text()
    return json.loads(output.splitlines()[-1])


@pytest.fixture
def needs():
    """Function that skips the test where a package is not installed."""

    def check(package: str) -> None:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the package {package} is not installed")

    return check
