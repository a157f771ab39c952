"""LAMAR.training.processes: one answer to which process this is, without torch."""

from __future__ import annotations

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


def test_the_rank_and_the_options_are_known_without_torch(run_python):
    code = "import sys, LAMAR.training.processes, LAMAR.training.options, LAMAR.training.schedules\n"
    code += "print([name for name in ('torch', 'transformers', 'accelerate', 'pandas') if name in sys.modules])"
    assert run_python(code, LAMAR_LIGHT="1").strip() == "[]"
