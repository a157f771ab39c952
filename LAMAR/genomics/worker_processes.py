"""Worker processes that leave signals to the process that started them, and end with it."""

from __future__ import annotations

import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from ..errors import InputError

__all__ = ["worker_pool"]


@contextmanager
def worker_pool(workers: int, prepare: Callable[..., Any], *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of processes.

    On the way out, calls that have not begun are cancelled, and those that have are waited for.

    Parameters
    ----------
    workers : int
        Number of processes.
    prepare : callable
        Called with ``arguments`` in each process, before anything else; a function of a module.

    Raises
    ------
    InputError
        If a process was killed.
    """
    pool = ProcessPoolExecutor(workers, initializer=_start, initargs=(prepare, arguments))
    try:
        yield pool
    except BrokenProcessPool:
        raise InputError(f"`workers` {workers}: a process was killed (out of memory?), wanted fewer") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start(prepare: Callable[..., Any], arguments: tuple) -> None:
    """Prepare a worker: the parent handles signals, and the worker ends with the parent, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def wait_for_parent() -> None:
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=wait_for_parent, daemon=True).start()
    prepare(*arguments)
