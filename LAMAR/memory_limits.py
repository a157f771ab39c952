"""The memory that this process may use, for sizes that files declare."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["memory_limit"]

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def memory_limit() -> int | None:
    """Return the bytes of memory that this process may use at most, None where the system does not say.

    It is the least of the machine's memory, the limit of the container and that of the shell (``ulimit -v``).
    """
    limits = []
    with suppress(OSError, ValueError, AttributeError):  # names that Windows and some systems do not have
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):  # no such file outside containers, "max" where there is no limit
        limits.append(int(CGROUP_LIMIT.read_text()))
    with suppress(ImportError):
        import resource

        address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
        if address_space != resource.RLIM_INFINITY:
            limits.append(address_space)
    return min((limit for limit in limits if limit > 0), default=None)
