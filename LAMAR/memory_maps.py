"""Memory maps that are larger than the memory they may take."""

from __future__ import annotations

import mmap

import numpy as np

__all__ = ["RESIDENT_LIMIT_BYTES", "release_pages"]

# Pages of a memory map that may stay in this process's memory while it is read or filled.
RESIDENT_LIMIT_BYTES = 256 * 1024**2


def release_pages(values: np.ndarray) -> None:
    """Take a memory map's pages out of this process's memory; nothing is lost. No effect on other arrays.

    Pages that were read or written count as the process's own until the system needs them elsewhere, so that a map
    larger than memory looks like memory in use, and a limit on it is passed.
    """
    if isinstance(values.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        values.base.madvise(mmap.MADV_DONTNEED)
