"""What the benchmarks share: timing of alternatives side by side, peak memory of a command, sequences, parsers.

Timings depend on what else the machine does: each round runs every alternative once, in rotating order, and a round in
which other processes used the processor is discarded. A busy core slows loops of small batches far more than loops of
large ones, which would exaggerate ratios.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

REPO = Path(__file__).resolve().parents[2]
# Benchmarks run from any folder, and without the package being installed.
sys.path.insert(0, str(REPO))
# Those that need no model start without torch; a model registers its Auto class itself.
os.environ.setdefault("LAMAR_LIGHT", "1")

# Largest share of one core that other processes may use in a round that is kept.
MOST_OTHERS = 0.15


def benchmark_parser(description: str, rounds: int | None = 5, threads: int | None = None) -> argparse.ArgumentParser:
    """Return a parser with the module's docstring as help.

    Parameters
    ----------
    description : str
        The docstring.
    rounds, threads : int, optional
        Defaults of ``--rounds`` and ``--threads``; None leaves the argument out.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help="rounds to time (default: %(default)s)")
    if threads is not None:
        parser.add_argument("--threads", type=int, default=threads, help="threads of torch (default: %(default)s)")
    return parser


def prepare_torch(threads: int | None = None) -> None:
    """Set the number of threads unless it is None, silence the library's log, and print threads and version."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    logging.disable(logging.WARNING)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")


def _busy() -> float:
    times = psutil.cpu_times()
    return times.user + times.nice + times.system


def _own() -> float:
    times = psutil.Process().cpu_times()
    return times.user + times.system


def measure(function: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that a call took, and the share of a core that other processes used meanwhile."""
    busy, own, start = _busy(), _own(), time.perf_counter()
    function()
    seconds = time.perf_counter() - start
    others = (_busy() - busy) - (_own() - own)
    return seconds, max(0.0, others / seconds)


def side_by_side(title: str, alternatives: dict[str, Callable[[], object]], rounds: int = 5, **facts) -> dict:
    """Time the alternatives and print one JSON line.

    Parameters
    ----------
    title : str
        Name of the benchmark.
    alternatives : dict of callable
        Functions by name; the others are compared with the last.
    rounds : int
        Rounds to run, after one call of each that is not timed.
    **facts
        Further entries of the line, such as the number of samples.

    Returns
    -------
    dict
        The printed record: median seconds by name, ratios to the last alternative, rounds kept and discarded, load
        average.
    """
    names = list(alternatives)
    for name in names:
        alternatives[name]()
    kept, discarded = [], 0
    for number in range(rounds):
        order = names[number % len(names) :] + names[: number % len(names)]
        timed = {name: measure(alternatives[name]) for name in order}
        if max(others for _, others in timed.values()) > MOST_OTHERS:
            discarded += 1
        else:
            kept.append({name: seconds for name, (seconds, _) in timed.items()})
    record = {"benchmark": title, **facts, "rounds_kept": len(kept), "rounds_discarded": discarded}
    if kept:
        record["seconds"] = {name: round(statistics.median(r[name] for r in kept), 3) for name in names}
        record["times_as_fast_as_" + names[-1].replace(" ", "_")] = {
            name: round(statistics.median(r[names[-1]] / r[name] for r in kept), 2) for name in names[:-1]
        }
    else:
        record["note"] = "no round was undisturbed; run again on a quiet machine"
    print(json.dumps(record | load_average()), flush=True)
    return record


def load_average() -> dict[str, list[float]]:
    """Return the load averages as an entry of a record: a figure from a busy machine means little."""
    return {"load_average": [round(value, 2) for value in os.getloadavg()]}


def peak_memory(command: Sequence[str]) -> tuple[float, float]:
    """Run a command and return its seconds and the largest memory of its processes together, in GiB.

    Memory is the proportional set size, memory-mapped pages included, or the resident size where the system has no such
    figure; it is read ten times a second. The command's output is shown if it fails.
    """
    start, most = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                most = max(most, sum(_memory(one) for one in [watched, *watched.children(recursive=True)]))
            except psutil.Error:  # a process ended while it was looked at
                continue
            time.sleep(0.1)
        if process.returncode:
            log.seek(0)
            raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{log.read()}")
    return time.perf_counter() - start, most / 2**30


def _memory(process: psutil.Process) -> int:
    used = process.memory_full_info() if psutil.LINUX else process.memory_info()
    return getattr(used, "pss", used.rss)


def flop_per_sequence(config, n_tokens: int) -> int:
    """Return the floating-point operations of the matrix products of one forward pass.

    A multiplication and an addition are two operations. Per block and token: four projections of d x d, two of d x
    feed-forward; scores and context are two products of n_tokens x d each.
    """
    d, feed_forward = config.hidden_size, config.intermediate_size
    per_token = 2 * (4 * d * d + 2 * d * feed_forward + 2 * n_tokens * d)
    return config.num_hidden_layers * n_tokens * per_token


def random_windows(n: int, length: int, letters: str = "ACGT") -> list[str]:
    """Return n random sequences of one length, the same in every run."""
    import numpy as np

    drawn = np.frombuffer(letters.encode(), dtype=np.uint8)[
        np.random.default_rng(0).integers(0, len(letters), (n, length))
    ]
    return [row.tobytes().decode() for row in drawn]


def shared_data() -> Path:
    """Return the folder of the real data (``LAMAR_SHARED``, default ``../shared``), which may be absent."""
    return Path(os.environ.get("LAMAR_SHARED", REPO.parent / "shared")) / "data"


def real_windows(n: int) -> tuple[list[str], list[int], str]:
    """Return n labelled 101-nt windows and their source: a real eCLIP set, or the demo set where that is absent."""
    from LAMAR.cli.demo import demo_data
    from LAMAR.data.labelled import load_labelled

    folder, name = shared_data() / "eclip_idr", "QKI_K562_IDR"
    if not folder.is_dir():
        folder, name = demo_data() / "labelled", "PUM2"
    records = load_labelled(folder, name=name)
    return records.sequences[:n], records.labels[:n].tolist(), name
