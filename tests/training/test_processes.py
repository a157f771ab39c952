"""LAMAR.training.processes: one answer to which process this is, without torch."""

from __future__ import annotations

import os

import pytest

from LAMAR.training import processes


def test_one_process_is_the_main_one_and_adds_nothing_to_a_record(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (processes.process_rank(), processes.process_count(), processes.is_main_process()) == (0, 1, True)
    assert processes.processes_argument() == {}
    processes.start_processes()
    processes.wait_for_everyone()


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_torchrun_says_which_process_this_is(monkeypatch, rank):
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert (processes.process_rank(), processes.process_count()) == (rank, 3)
    assert processes.is_main_process() == (rank == 0)
    assert processes.processes_argument() == {"processes": 3}


@pytest.mark.parametrize(
    ("n_gpus", "n_processes", "wanted"),
    [(0, 1, None), (4, 1, None), (0, 2, "gloo"), (1, 2, "gloo"), (2, 3, "gloo"), (2, 2, "nccl"), (8, 2, "nccl")],
)
def test_processes_that_share_a_gpu_do_not_use_nccl(monkeypatch, n_gpus, n_processes, wanted):
    import accelerate
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    monkeypatch.setattr(accelerate, "PartialState", lambda **options: options)
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, str(n_processes))
    gpus = []
    for rank in range(n_processes):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        assert processes.process_backend() == wanted
        for _ in range(2):
            assert processes._state() == {"cpu": n_gpus == 0, "backend": wanted}
        gpus.append(int(os.environ["LOCAL_RANK"]))
    assert gpus == [rank % n_gpus if n_gpus else rank for rank in range(n_processes)]


def test_processes_of_several_machines_count_their_own_gpus(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert processes.process_backend() == "nccl"


def test_the_rank_and_the_options_are_known_without_torch(run_python):
    code = "import sys, LAMAR.training.processes, LAMAR.training.options, LAMAR.training.schedules\n"
    code += "print([name for name in ('torch', 'transformers', 'accelerate', 'pandas') if name in sys.modules])"
    assert run_python(code, LAMAR_LIGHT="1").strip() == "[]"
