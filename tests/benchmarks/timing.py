"""Timing of alternatives side by side, in one process and one run.

Machines are noisy: each round runs every alternative once, in turning order, and a round in which other processes
used the processor is discarded. A busy core slows loops of small batches far more than large ones and so fakes
large ratios.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import psutil

# Share of one core that other processes may use in a round that counts.
MOST_OTHERS = 0.15


def _busy() -> float:
    times = psutil.cpu_times()
    return times.user + times.nice + times.system


def _own() -> float:
    times = psutil.Process().cpu_times()
    return times.user + times.system


def measure(function: Callable[[], object]) -> tuple[float, float]:
    """Seconds that a call took, and the share of a core that other processes used meanwhile."""
    busy, own, start = _busy(), _own(), time.perf_counter()
    function()
    seconds = time.perf_counter() - start
    others = (_busy() - busy) - (_own() - own)
    return seconds, max(0.0, others / seconds)


def side_by_side(title: str, alternatives: dict[str, Callable[[], object]], rounds: int = 5, **facts) -> dict:
    """Time the alternatives and print one JSON line.

    Parameters
    ----------
    alternatives
        Functions by name; the last is what the others are compared with.
    rounds
        Rounds to run, after one call of each that is not counted.
    facts
        Further entries of the line, such as the number of samples.

    Returns
    -------
    The printed record: median seconds by name, ratios to the last alternative, rounds kept and discarded, load average.
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
    record["load_average"] = [round(value, 2) for value in os.getloadavg()]
    print(json.dumps(record), flush=True)
    return record


def flop_per_sequence(config, n_tokens: int) -> int:
    """Floating-point operations of the matrix products of one forward pass; a multiplication and an addition are two.

    Per block and token: four projections of d x d, two of d x feed-forward; scores and context are two products of
    n_tokens x d each.
    """
    d, feed_forward = config.hidden_size, config.intermediate_size
    per_token = 2 * (4 * d * d + 2 * d * feed_forward + 2 * n_tokens * d)
    return config.num_hidden_layers * n_tokens * per_token


def random_windows(n: int, length: int, letters: str = "ACGT") -> list[str]:
    """n sequences of one length, the same in every run."""
    import numpy as np

    drawn = np.frombuffer(letters.encode(), dtype=np.uint8)[
        np.random.default_rng(0).integers(0, len(letters), (n, length))
    ]
    return [row.tobytes().decode() for row in drawn]


def real_windows(n: int) -> tuple[list[str], list[int], str]:
    """n labelled 101-nt windows and where they come from: real eCLIP sets, or the demo set where those are absent."""
    from LAMAR.cli.demo import REPOSITORY, demo_data
    from LAMAR.data.labelled import load_labelled

    shared = Path(os.environ.get("LAMAR_SHARED", REPOSITORY.parent / "shared"))
    folder, name = shared / "data" / "eclip_idr", "QKI_K562_IDR"
    if not folder.is_dir():
        folder, name = demo_data() / "labelled", "PUM2"
    records = load_labelled(folder, name=name)
    return records.sequences[:n], records.labels[:n].tolist(), name
